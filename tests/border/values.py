import collections, datetime, decimal, fractions, math
values = [
    None, True, False, 0, -1, 2**62, -2**62, 2**200, 10**5000, 0.0, -0.0, 1e300, 0.1, math.inf, -math.inf, 1j, 'text', '\u00e9\U0001f600', '\ud800',
    '', b'\x00\xff', bytearray(b'ab'), [], [1, [2, [3]]], (), (1,), ((1, 2), [3]), set(), {1, 'a'}, frozenset({(1, 2)}), {}, {1: 'a', 'b': [2], (3, 4): {5: 6}},
    range(1, 10, 3), decimal.Decimal('1.10'), fractions.Fraction(1, 3), datetime.date(2024, 2, 29), datetime.datetime(2024, 2, 29, 1, 2, 3, 4),
    datetime.timedelta(1, 2, 3), collections.deque([1, 2], 5), collections.OrderedDict([('b', 1), ('a', 2)]), collections.Counter('aab'), int, str, dict,
]
for value in values:
    result = f(value)
    assert result == value, value
    assert type(result) is type(value), value
assert math.isnan(f(math.nan))
assert math.copysign(1, f(-0.0)) == -1
assert list(f({'b': 1, 'a': 2})) == ['b', 'a']
assert f(collections.deque([1], 5)).maxlen == 5
shared = [1]
assert f(shared) is shared
