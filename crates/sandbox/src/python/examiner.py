"""The process of the tests: it asks the judged code for results, compares them here, and alone knows the token that means success."""

import builtins
import functools
import types


def examiner_call(function, args, kwargs):
    return function(*args, **kwargs)


def examiner_next(iterator):
    return next(iterator)


# What the judged code may do with objects of the tests: call the functions and advance the iterators that it was given.
EXAMINER_OPERATIONS = {"call": examiner_call, "next": examiner_next, "iter": lambda value: value}
FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.GeneratorType)


def examiner_may_export(value):
    return isinstance(value, FUNCTIONS) or (hasattr(value, "__next__") and type(value).__module__ in ("builtins", "itertools"))


def by_value(peer, value, kind, table):
    """An instance of a class of the prompt or the tests as its content: nothing of the tests can be reached through it."""
    if kind.__module__ != "tests" or isinstance(value, BaseException) or isinstance(value, type):
        return None
    name = kind.__qualname__
    if hasattr(kind, "__members__") and getattr(value, "_name_", None) in kind.__members__:
        return {"t": "member", "v": [name, value._name_]}
    base = next((base for base in BASES if isinstance(value, base)), None)
    if base is not None:
        return {"t": "instance", "v": [name, {"t": "value", "v": peer.encode(plain(base, value), table)}]}
    return table.met(value) or {"t": "instance", "v": [name, peer.content(value, table)]}


# Taken once: to walk over the built-in names is to write to the pages of all of them.
BUILTINS = frozenset(vars(builtins))


@functools.lru_cache(maxsize=12)
def compiled(source, name):
    """The code of a prompt or of tests: the samples of a task follow each other, and have these in common."""
    return compile(source, name, "exec", dont_inherit=True)


GONE = {"kind": "gone", "detail": "the judged process ended before the tests did"}


class Names(dict):
    """The tests' global names: their own, then the solution's."""

    def __init__(self, peer, exported, entry_point):
        super().__init__()
        self._peer = peer
        self._exported = {name for name in exported if type(name) is str and (name == entry_point or name not in BUILTINS)}

    def __missing__(self, name):
        if name not in self._exported:
            raise KeyError(name)
        value = self._peer.request("global", name)
        # Plain values may change from call to call and are asked for each time.
        if type(value) is Remote:
            self[name] = value
        return value


def run_prelude(source, names):
    """Runs the prompt for its imports and helpers. It may stop in the middle of a function, which `pass` completes."""
    for ending in ("", "\n    pass\n", "    pass\n", "\n        pass\n"):
        try:
            code = compiled(source + ending, "<prompt>")
        except SyntaxError:
            continue
        try:
            exec(code, names)
        except Exception:
            pass
        return


def examine(peer, task):
    """Runs the tests; returns a description of what went wrong, or None when they returned."""
    try:
        loaded = peer.receive()
    except Gone:
        return GONE
    if type(loaded.get("x", loaded.get("v"))) is not list:
        return {"kind": "ProtocolError", "detail": "the judged process did not say what it defines"}
    if "x" in loaded:
        return failure(loaded, "while loading")
    names = Names(peer, loaded["v"], task["entry_point"])
    names["__name__"] = "tests"
    stage = "tests"
    try:
        if task["prelude"]:
            run_prelude(task["prelude"], names)
        if task["entry_point"]:
            if task["entry_point"] in loaded["v"]:
                names[task["entry_point"]] = peer.request("global", task["entry_point"])
            else:
                return {"kind": "NameError", "detail": "the solution defines no %s" % task["entry_point"]}
        for stage in ("setup", "tests"):
            exec(compiled(task[stage], "<%s>" % stage), names)
    except Gone:
        return GONE
    except BaseException as error:
        remote = getattr(error, "remote", None)
        if isinstance(remote, dict) and not isinstance(error, AssertionError):
            return failure(remote, "when called")
        return {"kind": type(error).__name__, "detail": where(error, task[stage])}
    if peer.broken:
        return GONE if peer.broken == "gone" else {"kind": "ProtocolError", "detail": "the judged process broke the protocol"}
    return None


def failure(reply, when):
    """An exception of the judged code. What it says is not trusted beyond being a text."""
    names = [name for name in reply["x"] if type(name) is str] or ["Exception"]
    text, line = reply.get("d"), reply.get("l")
    detail = "%s %s" % (names[0], when)
    if type(text) is str and text:
        detail += ": " + text
    if type(line) is int:
        detail += " (line %d)" % line
    kinds = ("SyntaxError", "MemoryError", "PermissionError", "BlockingIOError")
    kind = next((name for name in names if name in kinds), names[0])
    return {"kind": kind, "errno": reply.get("e") if type(reply.get("e")) is int else None, "detail": detail}


def where(error, source):
    """The text of an exception of the tests, and the line of the tests that raised it."""
    line = None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename in ("<tests>", "<setup>"):
            line = trace.tb_lineno
        trace = trace.tb_next
    detail = type(error).__name__
    if type(error).__str__ is BaseException.__str__ and error.args and type(error.args[0]) is str:
        detail += ": " + error.args[0][:400]
    elif isinstance(error, ImportError) and type(error.msg) is str:
        detail += ": " + error.msg[:400]
    lines = source.splitlines()
    if line is not None and 0 < line <= len(lines):
        detail += " at test line %d: %s" % (line, lines[line - 1].strip()[:400])
    return detail
