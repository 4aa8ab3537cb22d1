import collections, enum, heapq
Point = collections.namedtuple('Point', 'x y')
class Colour(enum.IntEnum):
    RED = 3
class Stack:
    limit = 2
    def __init__(self): self.items = []
    def push(self, item):
        if len(self.items) >= Stack.limit: raise OverflowError('full')
        self.items.append(item)
        return self
    def __len__(self): return len(self.items)
    def __getitem__(self, i): return self.items[i]
    def __eq__(self, other): return isinstance(other, Stack) and self.items == other.items
class Problem(ValueError): pass
calls = 0
def f(kind, *args, **kwargs):
    global calls
    calls += 1
    if kind == 'point': return Point(1, 2)
    if kind == 'enum': return Colour.RED
    if kind == 'default': return collections.defaultdict(list, {'a': [1]})
    if kind == 'stack': return Stack()
    if kind == 'map': return [args[0](x, **kwargs) for x in args[1]]
    if kind == 'sort': args[0].sort(key=args[1]); return None
    if kind == 'generate': return (i * i for i in range(3))
    if kind == 'consume': return sum(args[0])
    if kind == 'raise': raise Problem('bad value')
    if kind == 'key': return {}['missing']
    if kind == 'nest': args[0]['a'].append(args[0]['b'].pop()); heapq.heapify(args[0]['a']); return len(args[0])
    if kind == 'function': return lambda x: x + 1
    if kind == 'lines': return open.__name__
