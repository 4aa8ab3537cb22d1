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


def require_compiler(apt):
    problem = compiler_problem()
    if problem and can_apt():
        apt.install(["build-essential"], "the C and C++ compiler and make")
        problem = compiler_problem()
    if problem:
        raise SetupError(
            f"{problem} is missing: install a C and C++ compiler and make (Debian, Ubuntu: apt-get install "
            "build-essential; Fedora: dnf install gcc gcc-c++ make libstdc++-static) and run this again"
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


def require_pip(apt):
    """The command that starts pip; installed when root and missing."""
    command = find_pip()
    if command is None and can_apt():
        apt.install(["python3-pip"], "pip, which downloads the pinned packages")
        command = find_pip()
    if command is None:
        raise SetupError(
            "pip is missing: install it (Debian, Ubuntu: apt-get install python3-pip; "
            "elsewhere: python3 -m ensurepip --user) and run this again"
        )
    return command


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
