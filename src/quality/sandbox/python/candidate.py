"""The process of the judged code: it loads the solution and answers requests. Nothing of the tests is ever in its memory."""

import operator
import sys
import types


def call(function, args, kwargs):
    return function(*args, **kwargs)


CANDIDATE_OPERATIONS = {
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


def candidate_main(reading, writing, source):
    """Ends with Gone when the tests' end of the channel is closed."""
    module = types.ModuleType("solution")
    peer = Peer(reading, writing, dict(CANDIDATE_OPERATIONS), lambda value: True)
    peer.operations["global"] = lambda name: vars(module)[name]
    sys.modules["solution"] = module
    peer.send({"v": "ready"})
    try:
        exec(compile(source, "<solution>", "exec", dont_inherit=True), vars(module))
        # The built-in modules' attributes are not the solution's.
        reply = {"v": [name for name in list(vars(module)) if type(name) is str and not name.startswith("__")]}
    except BaseException as error:
        reply = describe(error)
    peer.send(reply)
    while True:
        peer.answer(peer.receive())
