"""cmake and libclang, which compiling llama.cpp and its bindings needs.

The system's are used where they fit. A choice once made is kept while it works: changing the variables would
rebuild llama.cpp, so a wheel under `.deps/` stays in use until `make clean-deps`.
"""

import functools
import glob
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from . import fetch
from .cargo_config import Entry
from .console import SetupError, say
from .pins import CMAKE, LIBCLANG
from .system import tool_version

OLDEST_CMAKE = (3, 14)
CMAKE_IN_WHEEL = "cmake/data/bin/cmake"
LIBCLANG_IN_WHEEL_SUFFIX = "clang/native/libclang.so"
PROBE = Path(__file__).with_name("libclang_probe.py")

# Where the bindings' build script looks (crate clang-sys), newest first; `-cpp` is another library.
LIBRARY_FOLDERS = (
    "/usr/local/llvm*/lib*", "/usr/local/lib*/*/*", "/usr/local/lib*/*", "/usr/local/lib*",
    "/usr/lib*/*/*", "/usr/lib*/*", "/usr/lib*",
)  # fmt: skip
LIBRARY_NAMES = ("libclang.so", "libclang-*.so", "libclang.so.*", "libclang-*.so.*")


def forced():
    return os.environ.get("AUTOTUNE_SETUP_FORCE_WHEELS", "") not in ("", "0")


class Chosen:
    """A tool that will be used: where it is, what it is, and the variables that lead cargo to it."""

    def __init__(self, description, entries=None):
        self.description = description
        self.entries = entries or {}


# --- cmake ---------------------------------------------------------------------------------------------------


def system_cmake():
    """The system's cmake as Chosen, else None."""
    command = os.environ.get("CMAKE", "cmake")
    version = tool_version([command])
    if version is None or version < OLDEST_CMAKE:
        return None
    return Chosen(f"cmake {'.'.join(map(str, version))} of the system")


def wheel_cmake(deps):
    """The cmake unpacked earlier as Chosen, else None."""
    program = deps / "cmake" / CMAKE_IN_WHEEL
    version = tool_version([str(program)])
    if version is None or ".".join(map(str, version)) != CMAKE.version:
        return None
    entry = Entry(f".deps/cmake/{CMAKE_IN_WHEEL}", relative=True)
    return Chosen(f"cmake {CMAKE.version} from PyPI", {"CMAKE": entry})


def find_cmake(deps):
    return wheel_cmake(deps) or (None if forced() else system_cmake())


def require_cmake(deps):
    chosen = find_cmake(deps)
    if chosen:
        return chosen
    wheel = fetch.fetch(CMAKE, deps)
    fetch.unpack(wheel, deps / "cmake")
    wheel.unlink()
    chosen = wheel_cmake(deps)
    if chosen is None:
        raise SetupError(
            f"cmake {CMAKE.version} from PyPI does not start on this machine: "
            "install cmake 3.14 or newer with your system's package manager"
        )
    return chosen


# --- libclang ------------------------------------------------------------------------------------------------


def candidate_libraries():
    """Every libclang that the bindings' build script could pick, as real paths, in no particular order."""
    named = os.environ.get("LIBCLANG_PATH")
    if named:
        path = Path(named)
        folders = [path] if path.is_dir() else []
        files = [] if folders else [path]
    else:
        folders, files = [], []
        config = os.environ.get("LLVM_CONFIG_PATH", "llvm-config")
        try:
            done = subprocess.run([config, "--prefix"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
            if done.returncode == 0 and done.stdout.strip():
                prefix = Path(done.stdout.splitlines()[0])
                folders += [prefix / "lib", prefix / "lib64"]
        except OSError:
            pass
        for variable in ("LD_LIBRARY_PATH", "LIBRARY_PATH"):
            folders += [Path(part) for part in os.environ.get(variable, "").split(os.pathsep) if part]
        for pattern in LIBRARY_FOLDERS:
            folders += [Path(folder) for folder in glob.glob(pattern)]
    for folder in folders:
        for name in LIBRARY_NAMES:
            files += [Path(path) for path in glob.glob(os.path.join(glob.escape(str(folder)), name))]
    return sorted({path.resolve() for path in files if path.is_file() and "-cpp." not in path.name})


@functools.lru_cache(maxsize=None)
def probe(library, arguments):
    """(fits, text): the text is the version, or the reason why not."""
    given = shlex.split(os.environ.get("BINDGEN_EXTRA_CLANG_ARGS", "")) or list(arguments)
    command = [sys.executable, "-I", str(PROBE), str(library)] + given
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    text = done.stdout.strip() or fetch.last_error_line(done.stderr)
    return done.returncode == 0, text


def compiler_headers():
    """`-I` with the folder of the C compiler's own headers (stddef.h, stdbool.h), which the wheel lacks."""
    compiler = shlex.split(os.environ.get("CC", "cc"))
    if shutil.which(compiler[0]) is None:
        return ()
    for name in ("include", "include/stddef.h"):
        done = subprocess.run(
            compiler + [f"-print-file-name={name}"], capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        path = Path(done.stdout.strip())
        folder = path if name == "include" else path.parent
        if done.returncode == 0 and (folder / "stddef.h").is_file():
            return (f"-I{folder.resolve()}",)
    return ()


def header_entries(arguments):
    return {"BINDGEN_EXTRA_CLANG_ARGS": Entry(" ".join(arguments))} if arguments else {}


def system_libclang():
    """The system's libclang as Chosen, else None. All that could be picked must fit, with the same arguments."""
    libraries = candidate_libraries()
    if not libraries:
        return None
    for arguments in ((), compiler_headers()):
        results = [probe(library, arguments) for library in libraries]
        if all(fits for fits, _ in results):
            return Chosen(f"libclang of the system ({results[-1][1]})", header_entries(arguments))
    return None


def wheel_libclang(deps):
    """The libclang unpacked earlier as Chosen, else None."""
    library = deps / "libclang" / "libclang.so"
    if not library.is_file():
        return None
    arguments = compiler_headers()
    fits, text = probe(library, arguments)
    if not fits:
        say(f"libclang {LIBCLANG.version} from PyPI cannot be used as it is: {text}")
        return None
    entries = {"LIBCLANG_PATH": Entry(".deps/libclang", relative=True)}
    entries.update(header_entries(arguments))
    return Chosen(f"libclang {LIBCLANG.version} from PyPI", entries)


def find_libclang(deps):
    return wheel_libclang(deps) or (None if forced() else system_libclang())


def require_libclang(deps):
    chosen = find_libclang(deps)
    if chosen:
        return chosen
    if os.environ.get("LIBCLANG_PATH"):
        raise SetupError(
            f"LIBCLANG_PATH={os.environ['LIBCLANG_PATH']} leads to no libclang that fits: "
            "unset it, or let it name the folder of libclang 11 or newer with its headers"
        )
    wheel = fetch.fetch(LIBCLANG, deps)
    target = deps / "libclang"
    shutil.rmtree(deps / "libclang-wheel", ignore_errors=True)
    fetch.unpack(wheel, deps / "libclang-wheel")
    libraries = list((deps / "libclang-wheel").glob(f"**/{LIBCLANG_IN_WHEEL_SUFFIX}"))
    if len(libraries) != 1:
        raise SetupError(f"{wheel.name} has no {LIBCLANG_IN_WHEEL_SUFFIX}: report this as a bug of scripts/setup.py")
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    os.replace(libraries[0], target / "libclang.so")
    shutil.rmtree(deps / "libclang-wheel")
    wheel.unlink()
    chosen = wheel_libclang(deps)
    if chosen is None:
        raise SetupError(
            f"libclang {LIBCLANG.version} from PyPI does not work with this machine's C headers: install libclang 11 "
            "or newer with its headers (Debian, Ubuntu: apt-get install libclang-dev)"
        )
    return chosen
