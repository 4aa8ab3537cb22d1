"""What the operating system must give: a compiler, Rust, and for some tests Node.js and Chromium.

As root on Debian and its like, missing packages are installed with apt-get. Everywhere else the user is told what
to install; nothing here asks for a password.
"""

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .console import SetupError, say
from .fetch import find_pip, last_error_line

# C++17 and a static libstdc++ are what llama.cpp and the feature `static-stdcxx` need.
PROBE_PROGRAM = """
#include <optional>
#include <string>
#include <thread>
int main() { std::optional<std::string> text{"x"}; return text->size() == 1 ? 0 : std::thread::hardware_concurrency(); }
"""


def can_apt():
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def parse_version(text):
    """The first dotted number of a tool's version line, as a tuple: `cmake version 3.25.1` is (3, 25, 1)."""
    match = re.search(r"(\d+(?:\.\d+)+)", text)
    return tuple(int(part) for part in match.group(1).split(".")) if match else None


def tool_version(command):
    """The version that `command --version` prints, or None when it cannot be run."""
    try:
        done = subprocess.run(
            command + ["--version"], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse_version(done.stdout) if done.returncode == 0 else None


class Apt:
    """apt-get as root; the package lists are brought up to date at most once."""

    def __init__(self):
        self._updated = False
        self._environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive", LC_ALL="C")

    def _call(self, arguments):
        return subprocess.run(
            ["apt-get"] + arguments, capture_output=True, text=True, env=self._environment, stdin=subprocess.DEVNULL
        )

    def install(self, packages, why):
        """Install Debian packages and say how large they are; failure is a SetupError."""
        names = " ".join(packages)
        if not self._updated:
            say("apt-get update")
            done = self._call(["update", "-q"])
            if done.returncode != 0:
                raise SetupError(
                    f"apt-get update failed ({last_error_line(done.stderr)}): it is needed to install {names} ({why})"
                )
            self._updated = True
        plan = self._call(["install", "--assume-no", "--no-install-recommends"] + packages)
        size = re.search(r"Need to get (.+?) of archives", plan.stdout)
        say(f"apt-get install {names}: {why}" + (f" ({size.group(1)} to download)" if size else ""))
        done = self._call(["install", "-y", "-q", "--no-install-recommends"] + packages)
        if done.returncode != 0:
            raise SetupError(f"apt-get install {names} failed ({last_error_line(done.stderr)}): install {why} yourself")


def compiler_problem():
    """Why C++ cannot be compiled and linked here, or None."""
    cxx = shlex.split(os.environ.get("CXX", "c++"))
    cc = shlex.split(os.environ.get("CC", "cc"))
    for name, command in (("C", cc), ("C++", cxx)):
        if not command or shutil.which(command[0]) is None:
            return f"a {name} compiler ({' '.join(command)})"
    if shutil.which("make") is None:
        return "make"
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.cpp")
        source.write_text(PROBE_PROGRAM)
        done = subprocess.run(
            cxx + ["-std=c++17", "-static-libstdc++", "-pthread", str(source), "-o", str(Path(folder, "probe"))],
            capture_output=True, text=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    if done.returncode != 0:
        return f"a C++17 compiler with a static libstdc++ ({last_error_line(done.stderr)})"
    return None


@dataclass(frozen=True)
class Basic:
    """A part that only the system can give."""

    problem: object
    """A function that says what is missing, or None."""
    package: str
    """The Debian package that brings it."""
    what: str
    elsewhere: str
    """How to get it where there is no apt-get."""


COMPILER = Basic(
    problem=compiler_problem,
    package="build-essential",
    what="the C and C++ compiler and make",
    elsewhere="Fedora: dnf install gcc gcc-c++ make libstdc++-static",
)
PIP = Basic(
    problem=lambda: None if find_pip() else "pip",
    package="python3-pip",
    what="pip, which downloads the pinned packages",
    elsewhere="elsewhere: python3 -m ensurepip --user",
)


def require(apt, basics):
    """Install what is missing in one go, or name all of it in one sentence."""
    missing = [(basic, problem) for basic in basics if (problem := basic.problem())]
    if missing and can_apt():
        apt.install([basic.package for basic, _ in missing], " and ".join(basic.what for basic, _ in missing))
        missing = [(basic, problem) for basic in basics if (problem := basic.problem())]
    if missing:
        problems = " and ".join(problem for _, problem in missing)
        packages = " ".join(basic.package for basic, _ in missing)
        others = "; ".join(basic.elsewhere for basic, _ in missing)
        raise SetupError(
            f"missing: {problems}; install them (Debian, Ubuntu: apt-get install {packages}; {others}) "
            "and run this again"
        )


def rust_problem(root):
    """Why this package cannot be compiled by the Rust found here, or None."""
    manifest = (root / "Cargo.toml").read_text(encoding="utf-8")
    wanted = re.search(r'^rust-version = "([\d.]+)"', manifest, re.MULTILINE)
    least = tuple(int(part) for part in wanted.group(1).split(".")) if wanted else (1,)
    text = ".".join(map(str, least))
    for tool in ("cargo", "rustc"):
        found = tool_version([tool])
        if found is None:
            return f"{tool} is missing: install Rust {text} or newer with rustup and run this again"
        if found[: len(least)] < least:
            return f"{tool} {'.'.join(map(str, found))} is too old: install Rust {text} or newer (rustup update)"
    return None


def require_rust(root):
    problem = rust_problem(root)
    if problem:
        raise SetupError(problem)


def find_chromium():
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"):
        path = shutil.which(name)
        if path:
            return path
    return None


def find_node():
    return shutil.which("node") or shutil.which("nodejs")


def offer(apt, find, package, what, without):
    """An optional Debian package: installed when root and missing, else a note that says what falls away."""
    if find() is not None:
        return
    if can_apt():
        try:
            apt.install([package], what)
            return
        except SetupError as error:
            say(f"note: {error}")
    say(f"note: {what} is missing: {without} (Debian, Ubuntu: apt-get install {package})")
