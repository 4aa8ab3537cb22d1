"""The fork server: an interpreter started once, which forks a candidate for each program and an examiner for a run of them, watches both,
and ends them.

It never reads a solution, a test or a token itself (each process of a pair reads its own frame), so no later program can find an earlier
one's in the memory that it inherits. Most of a program's time is the pages that a fork makes its child copy, so the examiner, which runs
the tests and never the judged code, stays for the next program where the last one left it as it was.
"""

import builtins
import ctypes
import gc
import json
import os
import resource
import select
import signal
import sys
import time

CONTROL, VERDICT = 3, 4
# Above all descriptors of the server.
HIGH = 256
# Programs that one examiner examines at most.
PROGRAMS = 16
CANDIDATE_SEED, EXAMINER_SEED = 1, 2
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 1, 4, 22, 38, 2

libc = ctypes.CDLL(None, use_errno=True)


class SockFprog(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def checked(result, what):
    if result != 0:
        raise OSError(ctypes.get_errno(), "%s: %s" % (what, os.strerror(ctypes.get_errno())))


class Layers:
    """What each forked process puts on before it runs anything."""

    def __init__(self, init):
        self.landlock_fd = init["landlock_fd"]
        self.landlock_call = init["landlock_restrict_self"]
        self.buffers = [ctypes.create_string_buffer(bytes.fromhex(text)) for text in init["filters"]]
        self.programs = [SockFprog((len(b) - 1) // 8, ctypes.cast(b, ctypes.c_void_p)) for b in self.buffers]

    def fds(self):
        return [] if self.landlock_fd is None else [self.landlock_fd]

    def put_on(self, landlock_fd):
        """Restricts this process for good; the ruleset stands at `landlock_fd` where there is one."""
        checked(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
        if self.landlock_fd is not None:
            checked(libc.syscall(self.landlock_call, landlock_fd, 0), "landlock")
            os.close(landlock_fd)
        for program in self.programs:
            checked(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0), "seccomp")


def limit(kind, value):
    hard = resource.getrlimit(kind)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def become_child(parent, limits):
    """The first steps of both processes of a pair."""
    os.setsid()
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
    limit(resource.RLIMIT_AS, limits["memory_bytes"])
    limit(resource.RLIMIT_FSIZE, limits["file_bytes"])
    limit(resource.RLIMIT_CPU, int(limits["cpu_s"]) + 2)
    limit(resource.RLIMIT_NOFILE, limits["open_files"])
    gc.enable()


def keep_only(fds):
    """Moves descriptors to 3, 4, ... and closes all others; the standard ones are the caller's."""
    high = [os.dup2(fd, HIGH + index) for index, fd in enumerate(fds)]
    for index, fd in enumerate(high):
        os.dup2(fd, 3 + index)
    os.closerange(3 + len(fds), 4096)


def candidate_process(parent, reading, writing, output, limits, layers, scratch):
    source = read_frame(CONTROL).decode("utf-8", "surrogatepass")
    os.dup2(output, 1)
    os.dup2(output, 2)
    keep_only([reading, writing] + layers.fds())
    if scratch:
        os.chdir(scratch)
    become_child(parent, limits)
    layers.put_on(5)
    candidate_main(3, 4, source)


def examiner_process(parent, channels, done, limits, layers):
    """Examines one program for each channel (a reading and a writing descriptor), and tells on `done` when it has."""
    os.dup2(1, 2)
    flat = [fd for channel in channels for fd in channel]
    keep_only([CONTROL, VERDICT, done] + flat + layers.fds())
    become_child(parent, dict(limits, cpu_s=limits["cpu_s"] * len(channels), open_files=limits["open_files"] + len(flat)))
    layers.put_on(6 + len(flat))
    sources = untouched()
    for first in range(6, 6 + len(flat), 2):
        peer = Peer(first, first + 1, EXAMINER_OPERATIONS, examiner_may_export, by_value)
        # The candidate has read its own frame when it says so; the next one is for the tests.
        if peer.receive() != {"v": "ready"}:
            os._exit(1)
        task = json.loads(read_frame(CONTROL))
        os.write(VERDICT, b"read\n")
        if "random" in sys.modules:
            sys.modules["random"].seed(EXAMINER_SEED)
        result = examine(peer, task)
        result = {"token": task["token"], "passed": True} if result is None else dict(result, passed=False)
        result["detail"] = result.get("detail", "")[:1500]
        os.write(VERDICT, json.dumps(result).encode() + b"\n")
        if peer.broken or untouched() != sources:
            os._exit(0)
        os.close(first)
        os.close(first + 1)
        os.write(5, b".")


def untouched():
    """What tests could leave behind for those of the next program."""
    return dict(vars(builtins)), len(sys.modules), sys.getrecursionlimit()


class Examiner:
    """A forked examiner and the channels to it that are still unused."""

    def __init__(self, limits, layers):
        ours, theirs = [], []
        for _ in range(PROGRAMS):
            questions, asking = os.pipe()
            replies, answering = os.pipe()
            ours.append((questions, answering))
            theirs.append((replies, asking))
        self.done, done = os.pipe()
        self.limits = limits
        self.pid = forked(examiner_process, os.getpid(), theirs, done, limits, layers)
        self.fd = os.pidfd_open(self.pid)
        self.channels = ours
        os.close(done)
        for channel in theirs:
            for fd in channel:
                os.close(fd)

    def usable(self, limits):
        return bool(self.channels) and limits == self.limits

    def end(self):
        """Ends it where it has not ended; its wait status."""
        try:
            signal.pidfd_send_signal(self.fd, signal.SIGKILL)
        except ProcessLookupError:
            pass
        for fd in [self.fd, self.done] + [fd for channel in self.channels for fd in channel]:
            os.close(fd)
        return os.waitpid(self.pid, 0)[1]


def forked(function, *args):
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        function(*args)
        code = 0
    except BaseException as error:
        try:
            os.write(2, ("%s: %s\n" % (type(error).__name__, error))[:500].encode("utf-8", "replace"))
        except BaseException:
            pass
    finally:
        os._exit(code)


def cpu_seconds(pid):
    """CPU time of another process, by its clock (CPUCLOCK_SCHED)."""
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0


def watch(candidate, examiner, output, limits, scratch):
    """Waits until the examiner has ended or is done with the program, or a limit is passed. Says which limit, the first bytes printed,
    and whether the examiner may stay."""
    began = checked = time.monotonic()
    candidate_fd = os.pidfd_open(candidate)
    before = cpu_seconds(examiner.pid)
    poll = select.poll()
    for fd in (examiner.fd, examiner.done, output):
        poll.register(fd, select.POLLIN)
    poll.register(CONTROL, 0)
    printed, head, reason, stays = 0, b"", None, False
    tick = 0.02
    while reason is None:
        events = poll.poll(tick * 1000)
        ready = {fd: event for fd, event in events}
        if CONTROL in ready:
            # Our owner is gone.
            signal.pidfd_send_signal(candidate_fd, signal.SIGKILL)
            examiner.end()
            leave(scratch)
            os._exit(1)
        if output in ready:
            data = os.read(output, 65536)
            if not data:
                poll.unregister(output)
            head = (head + data)[:2000]
            printed += len(data)
            if printed > limits["output_bytes"]:
                reason = "output"
        if examiner.done in ready:
            stays = os.read(examiner.done, 1) == b"."
            break
        if examiner.fd in ready:
            break
        now = time.monotonic()
        # By the clock, not when nothing happens: a program that never stops printing a little would never be looked at.
        if reason is None and now - checked >= tick:
            checked = now
            used = cpu_seconds(candidate) + cpu_seconds(examiner.pid) - before
            wall = now - began
            if used >= limits["cpu_s"] or wall >= limits["wall_s"]:
                reason = "time"
            elif scratch and count_files(scratch, limits["files"]) > limits["files"]:
                reason = "files"
            tick = min(0.1, tick * 1.5, max(0.005, limits["wall_s"] - wall))
    try:
        signal.pidfd_send_signal(candidate_fd, signal.SIGKILL)
    except ProcessLookupError:
        pass
    os.close(candidate_fd)
    return {
        "reason": reason,
        "stays": stays and reason is None,
        "output": head.decode("utf-8", "replace"),
        "wall_s": time.monotonic() - began,
        "cpu_s": cpu_seconds(examiner.pid) - before,
    }


def count_files(scratch, most):
    count = 0
    with os.scandir(scratch) as entries:
        for _ in entries:
            count += 1
            if count > most:
                break
    return count


def clean(scratch):
    """Empties the scratch folder. Folders cannot be made in it, so it is flat."""
    if scratch:
        with os.scandir(scratch) as entries:
            for entry in entries:
                try:
                    os.unlink(entry.path)
                except OSError:
                    pass


def leave(scratch):
    """Removes the scratch folder; one that is mounted goes with this process's namespace."""
    if scratch:
        clean(scratch)
        try:
            os.rmdir(scratch)
        except OSError:
            pass


class Judge:
    """Judges one program after another."""

    def __init__(self, layers):
        self.layers = layers
        self.examiner = None

    def judge(self, limits, scratch):
        if self.examiner and not self.examiner.usable(limits):
            self.retire()
        if not self.examiner:
            self.examiner = Examiner(limits, self.layers)
        questions, answering = self.examiner.channels.pop(0)
        output, printing = os.pipe()
        ends = (questions, answering, printing)
        candidate = forked(candidate_process, os.getpid(), *ends, limits, self.layers, scratch)
        for fd in ends:
            os.close(fd)
        seen = watch(candidate, self.examiner, output, limits, scratch)
        os.close(output)
        _, status, usage = os.wait4(candidate, 0)
        if not seen.pop("stays"):
            self.retire()
        clean(scratch)
        seen["cpu_s"] += usage.ru_utime + usage.ru_stime
        return dict(seen, status=status)

    def retire(self):
        self.examiner.end()
        self.examiner = None


def warm_up():
    """Plays both parts once for all paths of a program: what the interpreter would adapt, cache and load in each child is then shared."""
    r, w = os.pipe()
    r2, w2 = os.pipe()
    solution = "from typing import List\ndef f(x, y):\n    return [x, y, (1, 2.5), {'a': None}, {1, 2}]\n"
    tests = "def check(candidate):\n    assert candidate == candidate\n    assert 1 == 2, 'x'\ncheck(f)\n"
    for _ in range(30):
        examiner = Peer(r, w2, EXAMINER_OPERATIONS, examiner_may_export, by_value)
        candidate = Peer(r2, w, dict(CANDIDATE_OPERATIONS), lambda value: True, None, rebuild)
        space = {}
        exec(compile(solution, "<solution>", "exec", dont_inherit=True), space)
        candidate.operations["global"] = space.__getitem__
        candidate.send({"v": ["f"]})
        examiner.receive()
        names = Names(examiner, ["f"], "f")

        def ask(message, items=()):
            examiner.send(message)
            candidate.answer(candidate.receive())
            return examiner.decode(examiner.receive().get("v"), list(items))

        names["f"] = ask({"o": "global", "a": ["f"]})
        args = [[1, 2, 3], "text"]
        sent, table = examiner.encode_all([names["f"], args, {}])
        ask({"o": "call", "a": sent}, table.items)
        ask({"o": "no such operation", "a": []})
        try:
            exec(compile(tests, "<tests>", "exec", dont_inherit=True), names)
        except AssertionError as error:
            where(error, tests)
    for fd in (r, w, r2, w2):
        os.close(fd)


class PipeEnd:
    """An end of a pair of pipes with what event loops use of a socket: sockets are refused, and a loop wakes itself through one."""

    def __init__(self, reading, writing):
        self.reading, self.writing = reading, writing

    def fileno(self):
        return self.reading

    def recv(self, size):
        return os.read(self.reading, size)

    def send(self, data):
        return os.write(self.writing, data)

    def setblocking(self, flag):
        os.set_blocking(self.reading, flag)
        os.set_blocking(self.writing, flag)

    def close(self):
        os.close(self.reading)
        os.close(self.writing)


def pipe_pair():
    (a, b), (c, d) = os.pipe(), os.pipe()
    return PipeEnd(a, d), PipeEnd(c, b)


def make_self_pipe(loop):
    loop._ssock, loop._csock = pipe_pair()
    loop._ssock.setblocking(False)
    loop._csock.setblocking(False)
    loop._internal_fds += 1
    loop._add_reader(loop._ssock.fileno(), loop._read_from_self)


class LoopFinder:
    """Lets the event loops of `asyncio`, when it is first imported, wake themselves through pipes."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name != "asyncio.selector_events":
            return None
        from importlib.machinery import PathFinder

        spec = PathFinder.find_spec(name, path, target)
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            module.BaseSelectorEventLoop._make_self_pipe = make_self_pipe

        spec.loader.exec_module = exec_module
        return spec


def serve():
    # Nothing is ever imported from the scratch folder.
    sys.path[:] = [path for path in sys.path if path]
    # No process of this user may look into this one or its children through /proc.
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    init = json.loads(read_frame(CONTROL))
    # Behind the standard library, and without what `site` would run (.pth files, sitecustomize).
    sys.path.extend(init["packages"])
    register, os.register_at_fork = os.register_at_fork, lambda **functions: None
    for name in init["preload"]:
        __import__(name)
    os.register_at_fork = register
    # What judged code draws is the same each time; what tests draw is another sequence, so that neither foretells the other's.
    if "random" in sys.modules:
        sys.modules["random"].seed(CANDIDATE_SEED)
    sys.meta_path.insert(0, LoopFinder)
    judge = Judge(Layers(init))
    warm_up()
    gc.collect()
    gc.freeze()
    gc.disable()
    write_frame(CONTROL, json.dumps({"ready": sys.version.split()[0]}).encode())
    while True:
        try:
            header = json.loads(read_frame(CONTROL))
        except Gone:
            leave(init["scratch"])
            return
        # Without landlock no file can be opened for writing, so there is nothing to watch or to clean.
        scratch = init["scratch"] if init["writable"] else None
        write_frame(CONTROL, json.dumps(judge.judge(header, scratch)).encode())


serve()
