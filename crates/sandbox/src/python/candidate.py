"""The process of the judged code: it loads the solution and answers requests. Nothing of the tests is ever in its memory."""

import operator
import sys
import types


def call(function, args, kwargs):
    return function(*args, **kwargs)


def run(awaitable):
    """Runs something that can be awaited to its end. One loop serves all, as objects of the solution may belong to it."""
    import asyncio

    async def wait():
        return await awaitable

    loop = LOOPS[0] if LOOPS else asyncio.new_event_loop()
    if not LOOPS:
        LOOPS.append(loop)
    return loop.run_until_complete(wait())


LOOPS = []


def leave(manager, error):
    """Leaves a `with` statement; an error of the tests arrives as a general one."""
    error = None if error is None else RuntimeError(error)
    return manager.__exit__(None if error is None else RuntimeError, error, None)


def leave_async(manager, error):
    error = None if error is None else RuntimeError(error)
    return run(manager.__aexit__(None if error is None else RuntimeError, error, None))


CANDIDATE_OPERATIONS = {
    "hash": hash,
    "format": format,
    "bytes": bytes,
    "int": int,
    "index": operator.index,
    "float": float,
    "round": round,
    "reversed": reversed,
    "send": lambda generator, value: generator.send(value),
    "enter": lambda manager: manager.__enter__(),
    "exit": leave,
    "await": run,
    "aiter": lambda value: value.__aiter__(),
    "anext": lambda value: run(value.__anext__()),
    "aenter": lambda manager: run(manager.__aenter__()),
    "aexit": leave_async,
    "neg": operator.neg,
    "pos": operator.pos,
    "abs": abs,
    "invert": operator.invert,
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "truediv": operator.truediv,
    "floordiv": operator.floordiv,
    "mod": operator.mod,
    "pow": operator.pow,
    "matmul": operator.matmul,
    "and": operator.and_,
    "or": operator.or_,
    "xor": operator.xor,
    "lshift": operator.lshift,
    "rshift": operator.rshift,
    "call": call,
    "getattr": getattr,
    "setattr": setattr,
    "getitem": operator.getitem,
    "setitem": operator.setitem,
    "delitem": operator.delitem,
    "len": len,
    "bool": bool,
    "iter": lambda value: iter(value),
    "next": next,
    "str": str,
    "repr": repr,
    "isinstance": isinstance,
    "eq": operator.eq,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
}


def rebuild(peer, tag, value, table):
    """An object of a class that the prompt defines at both ends, of this end's class; where there is none, of an empty one."""
    name, content = value
    found = vars(sys.modules["solution"]).get(name)
    if tag == "member":
        return getattr(found, content)
    if type(content) is dict and content.get("t") == "value":
        plain_value = peer.decode(content["v"], table)
        base = type(plain_value)
        if isinstance(found, type) and issubclass(found, base) and base is tuple:
            return tuple.__new__(found, plain_value)
        return found(plain_value) if isinstance(found, type) and issubclass(found, base) else plain_value
    if not isinstance(found, type):
        found = EMPTY.setdefault(name, type(name, (), {}))
    instance = object.__new__(found)
    table.append(instance)
    peer.fill(instance, content, table)
    return instance


EMPTY = {}


def candidate_main(reading, writing, source):
    """Ends with Gone when the tests' end of the channel is closed."""
    module = types.ModuleType("solution")
    peer = Peer(reading, writing, dict(CANDIDATE_OPERATIONS), lambda value: True, None, rebuild)
    peer.operations["global"] = lambda name: vars(module)[name]
    sys.modules["solution"] = module
    peer.send({"v": "ready"})
    try:
        exec(compile(source, "<solution>", "exec", dont_inherit=True), vars(module))
        # The built-in modules' attributes are not the solution's.
        reply = {"v": [name for name in list(vars(module)) if type(name) is str and not name.startswith("__")]}
    except BaseException as error:
        reply = describe(peer, error)
    peer.send(reply)
    while True:
        peer.answer(peer.receive())
