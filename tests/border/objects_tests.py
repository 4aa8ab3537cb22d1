assert f('point') == (1, 2)
assert f('enum') == 3
assert f('default') == {'a': [1]}
s = f('stack')
assert len(s.push(5)) == 1 and s[0] == 5 and s.items == [5]
assert s == s and s != f('stack') and f('stack') == f('stack')
assert isinstance(s, Stack) and not isinstance(3, Stack)
assert Stack.limit == 2 and len(Stack()) == 0
s.push(6)
try:
    s.push(7)
    assert False
except OverflowError as error:
    assert 'full' in str(error)
assert f('map', lambda x, k=1: x * k, [1, 2, 3], k=10) == [10, 20, 30]
assert f('map', len, ['a', 'bb']) == [1, 2]
items = ['ccc', 'a', 'bb']
assert f('sort', items, len) is None and items == ['a', 'bb', 'ccc']
assert list(f('generate')) == [0, 1, 4] and sum(f('generate')) == 5
assert f('consume', iter([1, 2, 3])) == 6 and f('consume', (x for x in [4, 5])) == 9
for kind, expected in (('raise', ValueError), ('key', KeyError)):
    try:
        f(kind)
    except expected:
        pass
    else:
        assert False, kind
nested = {'a': [3, 2], 'b': [1]}
inner = nested['a']
assert f('nest', nested) == 2 and nested == {'a': [1, 2, 3], 'b': []} and inner is nested['a']
assert f('function')(41) == 42
before = calls
f('point')
assert calls == before + 1
assert Colour.RED == 3 and Point(3, 4) == (3, 4)
