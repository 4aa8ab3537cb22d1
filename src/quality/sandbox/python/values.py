"""What crosses between the process of the judged code and the process of the tests.

Plain values cross by value, as JSON with tags, and are rebuilt from exact built-in types: an object that claims to equal everything arrives
as an opaque reference that equals no plain value. Other objects cross by reference; operations on a reference are requests to its owner.
Both ends run the same code; what an end answers is decided by its table of operations.
"""

import collections
import json
import os
import struct
import sys
import types

FRAME_LIMIT = 64 << 20
INT_LIMIT = 1 << 62


class ProtocolError(BaseException):
    """The other end sent what no honest end sends. No `Exception`, so that tests which expect one do not take this for it."""


class Gone(BaseException):
    """The other end is closed."""


def read_exactly(fd, size):
    parts = []
    while size:
        part = os.read(fd, min(size, 1 << 20))
        if not part:
            raise Gone("the other end is closed")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def read_frame(fd):
    size = struct.unpack(">I", read_exactly(fd, 4))[0]
    if size > FRAME_LIMIT:
        raise ProtocolError("a frame of %d bytes" % size)
    return read_exactly(fd, size)


def write_frame(fd, data):
    data = struct.pack(">I", len(data)) + data
    sent = os.write(fd, data)
    while sent < len(data):
        sent += os.write(fd, data[sent:])


BUILTIN_TYPES = {
    t.__name__: t
    for t in (bool, int, float, complex, str, bytes, bytearray, list, tuple, dict, set, frozenset, range, object)
}
# Exceptions that may be raised anew at the other end, by name; what is no Exception becomes a RuntimeError.
EXCEPTIONS = {
    name: value
    for name, value in vars(__import__("builtins")).items()
    if isinstance(value, type) and issubclass(value, Exception)
}
SEQUENCES = {"t": tuple, "s": set, "f": frozenset}
SEQUENCE_TAGS = {tuple: "t", set: "s", frozenset: "f"}
MAPPINGS = {"d": dict, "O": collections.OrderedDict, "C": collections.Counter}
MAPPING_TAGS = {dict: "d", collections.OrderedDict: "O", collections.Counter: "C"}
# Values of modules that few programs load, as the arguments that make them anew.
RARE = {
    ("decimal", "Decimal"): lambda d: [str(d)],
    ("fractions", "Fraction"): lambda f: [f.numerator, f.denominator],
    ("datetime", "date"): lambda d: [d.year, d.month, d.day],
    ("datetime", "datetime"): lambda d: [d.year, d.month, d.day, d.hour, d.minute, d.second, d.microsecond],
    ("datetime", "time"): lambda d: [d.hour, d.minute, d.second, d.microsecond],
    ("datetime", "timedelta"): lambda d: [d.days, d.seconds, d.microseconds],
}
# Subclasses are sent as the built-in type that they extend: namedtuple, IntEnum, defaultdict, str with methods.
BASES = (bool, int, float, complex, str, bytes, bytearray, list, tuple, dict, set, frozenset)


class Remote:
    """An object of the other end. Comparisons with plain values are never forwarded: the other end must not see what it is compared with."""

    __slots__ = ("_peer", "_key")

    def __init__(self, peer, key):
        object.__setattr__(self, "_peer", peer)
        object.__setattr__(self, "_key", key)

    def __call__(self, *args, **kwargs):
        return self._peer.call(self, args, kwargs)

    def __getattr__(self, name):
        if name.startswith("__") and name not in ("__name__", "__doc__"):
            raise AttributeError(name)
        return self._peer.request("getattr", self, name)

    def __setattr__(self, name, value):
        self._peer.request("setattr", self, name, value)

    def __getitem__(self, key):
        return self._peer.request("getitem", self, key)

    def __setitem__(self, key, value):
        self._peer.request("setitem", self, key, value)

    def __delitem__(self, key):
        self._peer.request("delitem", self, key)

    def __len__(self):
        return self._peer.request("len", self)

    def __bool__(self):
        return self._peer.request("bool", self) is True

    def __iter__(self):
        return self._peer.request("iter", self)

    def __next__(self):
        return self._peer.request("next", self)

    def __contains__(self, item):
        return any(item is other or item == other for other in self)

    def __str__(self):
        return text_of(self._peer.request("str", self))

    def __repr__(self):
        return text_of(self._peer.request("repr", self))

    def __instancecheck__(self, instance):
        return self._peer.request("isinstance", instance, self) is True

    def __hash__(self):
        return hash(self._key)

    def _compare(self, name, other):
        if type(other) is Remote and other._peer is self._peer:
            return self._peer.request(name, self, other) is True
        return NotImplemented

    def __eq__(self, other):
        return True if other is self else self._compare("eq", other)

    def __lt__(self, other):
        return self._compare("lt", other)

    def __le__(self, other):
        return self._compare("le", other)

    def __gt__(self, other):
        return self._compare("gt", other)

    def __ge__(self, other):
        return self._compare("ge", other)


def text_of(value):
    if type(value) is not str:
        raise TypeError("the text of an object is no str")
    return value


class Peer:
    """One end of the channel: encodes, decodes, asks, answers."""

    def __init__(self, reading, writing, operations, may_export):
        self.reading = reading
        self.writing = writing
        self.operations = operations
        self.may_export = may_export
        self.exported = {}
        self.keys = {}
        self.remotes = {}
        self.broken = None

    # Values

    def encode(self, value):
        kind = type(value)
        if value is None or kind is str or kind is bool or kind is float:
            return value
        if kind is int:
            return value if -INT_LIMIT < value < INT_LIMIT else {"t": "i", "v": hex(value)}
        if kind is list:
            return [self.encode(item) for item in value]
        tag = SEQUENCE_TAGS.get(kind)
        if tag:
            return {"t": tag, "v": [self.encode(item) for item in value]}
        tag = MAPPING_TAGS.get(kind)
        if tag:
            return {"t": tag, "v": [[self.encode(k), self.encode(v)] for k, v in value.items()]}
        return self.encode_rare(value, kind)

    def encode_rare(self, value, kind):
        if kind is Remote:
            return {"t": "own", "v": value._key}
        if kind is bytes or kind is bytearray:
            return {"t": kind.__name__, "v": value.hex()}
        if kind is complex:
            return {"t": "complex", "v": [value.real, value.imag]}
        if kind is range:
            return {"t": "range", "v": [self.encode(v) for v in (value.start, value.stop, value.step)]}
        if kind is collections.deque:
            return {"t": "deque", "v": [[self.encode(item) for item in value], value.maxlen]}
        name = (kind.__module__, kind.__qualname__)
        if name in RARE and kind is getattr(sys.modules.get(name[0]), name[1], None) and getattr(value, "tzinfo", None) is None:
            return {"t": "rare", "v": [name, [self.encode(part) for part in RARE[name](value)]]}
        if kind is type and BUILTIN_TYPES.get(value.__name__) is value:
            return {"t": "type", "v": value.__name__}
        if kind is types.ModuleType:
            return {"t": "module", "v": value.__name__}
        for base in BASES:
            if isinstance(value, base):
                return self.encode(plain(base, value))
        return self.export(value)

    def export(self, value):
        key = self.keys.get(id(value))
        if key is None:
            if not self.may_export(value):
                raise TypeError("a %s cannot be passed to the judged code" % type(value).__name__)
            key = len(self.exported)
            self.exported[key] = value
            self.keys[id(value)] = key
        return {"t": "ref", "v": key}

    def decode(self, data):
        kind = type(data)
        if data is None or kind is str or kind is bool or kind is float or kind is int:
            return data
        if kind is list:
            return [self.decode(item) for item in data]
        if kind is not dict:
            raise ProtocolError("a %s" % kind.__name__)
        tag, value = data["t"], data["v"]
        if tag in SEQUENCES:
            return SEQUENCES[tag]([self.decode(item) for item in value])
        if tag in MAPPINGS:
            return MAPPINGS[tag]({self.decode(k): self.decode(v) for k, v in value})
        return self.decode_rare(tag, value)

    def decode_rare(self, tag, value):
        if tag == "i":
            return int(value, 16)
        if tag == "ref":
            if type(value) is not int:
                raise ProtocolError("a reference that is no number")
            remote = self.remotes.get(value)
            if remote is None:
                remote = self.remotes[value] = Remote(self, value)
            return remote
        if tag == "own":
            return self.exported[value]
        if tag == "bytes":
            return bytes.fromhex(value)
        if tag == "bytearray":
            return bytearray.fromhex(value)
        if tag == "complex":
            return complex(float(value[0]), float(value[1]))
        if tag == "range":
            return range(*(self.decode(item) for item in value))
        if tag == "deque":
            return collections.deque([self.decode(item) for item in value[0]], value[1])
        if tag == "rare":
            name, parts = value
            if tuple(name) not in RARE:
                raise ProtocolError("the type %r" % (name,))
            return getattr(import_standard(name[0]), name[1])(*(self.decode(part) for part in parts))
        if tag == "type":
            return BUILTIN_TYPES[value]
        if tag == "module":
            return import_standard(value)
        raise ProtocolError("the unknown tag %r" % (tag,))

    # Messages

    def send(self, message):
        data = json.dumps(message, separators=(",", ":")).encode()
        try:
            write_frame(self.writing, data)
        except OSError:
            self.broken = "gone"
            raise Gone("the other end is closed")

    def receive(self):
        if self.broken:
            raise Gone(self.broken)
        try:
            message = json.loads(read_frame(self.reading))
            if type(message) is not dict:
                raise ProtocolError("a message that is no object")
            return message
        except BaseException as error:
            # Tests may catch what is raised here, but they cannot pass any more.
            self.broken = "gone" if isinstance(error, Gone) else "protocol"
            raise

    def request(self, operation, *args):
        return self.ask({"o": operation, "a": [self.encode(arg) for arg in args]}, None)

    def call(self, function, args, kwargs):
        args, kwargs = list(args), dict(kwargs)
        sent = [self.encode(function), self.encode(args), self.encode(kwargs)]
        return self.ask({"o": "call", "a": sent}, args)

    def ask(self, message, args):
        self.send(message)
        while True:
            reply = self.receive()
            if "o" in reply:
                self.answer(reply)
            else:
                break
        if args is not None and "m" in reply:
            update(args, self.decode(reply["m"]))
        if "x" in reply:
            raise self.exception(reply, message["o"])
        if args is not None and "s" in reply:
            return args[reply["s"]]
        return self.decode(reply.get("v"))

    def answer(self, message):
        """Does what the other end asks for and sends the result."""
        operation, raw = message["o"], message["a"]
        reply = {}
        args = None
        try:
            function = self.operations.get(operation)
            if function is None:
                raise TypeError("the operation %r is not allowed here" % (operation,))
            args = [self.decode(arg) for arg in raw]
            value = function(*args)
            if operation == "call":
                for index, arg in enumerate(args[1]):
                    if value is arg and type(arg) in CONTAINERS:
                        reply["s"] = index
            if "s" not in reply:
                reply["v"] = self.encode(value)
        except (Gone, ProtocolError):
            raise
        except BaseException as error:
            reply = describe(error)
        if operation == "call" and args and any(type(arg) not in IMMUTABLE for arg in args[1]):
            try:
                after = self.encode(args[1])
                if after != raw[1]:
                    reply["m"] = after
            except (TypeError, RecursionError, MemoryError):
                pass
        self.send(reply)

    def exception(self, reply, operation):
        names, text = reply["x"], text_of(reply.get("d", ""))
        # A StopIteration that leaves a function would silently end a loop of the tests.
        if "StopIteration" in names and operation != "next":
            return RuntimeError("StopIteration left a function")
        for name in names:
            if name in EXCEPTIONS:
                try:
                    error = EXCEPTIONS[name](text)
                except TypeError:
                    continue
                error.remote = reply
                return error
        error = RuntimeError(text)
        error.remote = reply
        return error


IMMUTABLE = (str, int, float, bool, type(None), Remote, bytes, complex, range)
CONTAINERS = (list, dict, set, bytearray, collections.deque, collections.OrderedDict, collections.Counter)


def plain(base, value):
    """The content of an instance of a subclass, read by the base's own methods."""
    if base in (list, tuple, set, frozenset):
        return base(base.__iter__(value))
    if base is dict:
        return {key: dict.__getitem__(value, key) for key in dict.__iter__(value)}
    if base is int:
        return int.__add__(value, 0)
    if base is float:
        return float.__add__(value, 0.0)
    if base is str:
        return str.__str__(value)
    return base(value)


def describe(error):
    """An exception as data: the names of its classes, its text, and where it was raised in the solution."""
    line = None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<solution>":
            line = trace.tb_lineno
        trace = trace.tb_next
    if isinstance(error, SyntaxError):
        line = error.lineno
    try:
        text = str(error)[:400]
    except BaseException:
        text = ""
    return {"x": [cls.__name__ for cls in type(error).__mro__], "d": text, "l": line, "e": getattr(error, "errno", None)}


def update(old, new):
    """Gives `old` the content of `new` in place, as far down as the shapes agree."""
    if type(old) is not type(new):
        return new
    if type(old) is list:
        old[:] = [update(old[i], item) if i < len(old) else item for i, item in enumerate(new)]
    elif type(old) in MAPPING_TAGS:
        merged = [(key, update(old[key], value) if key in old else value) for key, value in new.items()]
        old.clear()
        old.update(merged if type(old) is not collections.Counter else dict(merged))
    elif type(old) is set or type(old) is collections.deque or type(old) is bytearray:
        old.clear()
        (old.update if type(old) is set else old.extend)(new)
    elif type(old) is tuple and len(old) == len(new):
        merged = tuple(update(a, b) for a, b in zip(old, new))
        return old if all(a is b for a, b in zip(old, merged)) else merged
    else:
        return new
    return old


def import_standard(name):
    """A module of the standard library by name; nothing else."""
    import importlib

    if type(name) is not str or name.split(".")[0] not in getattr(sys, "stdlib_module_names", ("math", "re", "collections")):
        raise ProtocolError("the module %r" % (name,))
    return importlib.import_module(name)
