#!/usr/bin/env python3
"""Packs `autotune` with its licences, manual pages and shell completions as a .tar.gz, with a SHA-256 file beside it.

    python3 scripts/tarball.py [--out FOLDER] [--program FILE]

Builds with `cargo build --profile dist` unless --program names a built command. libstdc++ is linked statically; what remains are the C
library's own shared libraries, and the script fails where the program needs any other. The archive is the same for the same files:
entries are sorted, owners and times fixed (SOURCE_DATE_EPOCH).
"""

import argparse
import gzip
import hashlib
import io
import os
import platform
import re
import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = ["README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE"]
SHELLS = {"bash": "autotune.bash", "zsh": "_autotune", "fish": "autotune.fish"}
# Shared libraries of glibc and of the compiler's run time that every Linux distribution has.
COMMON = re.compile(r"^(linux-vdso|ld-linux[\w-]*|libc|libm|libdl|libpthread|librt|libgcc_s)\.so(\.\d+)?$")


def version():
    """The version in Cargo.toml."""
    text = (ROOT / "Cargo.toml").read_text("utf-8")
    return re.search(r'^\[workspace\.package\]\nversion = "(.*)"', text, re.MULTILINE).group(1)


def build():
    """Build the command and return its path."""
    subprocess.run(["cargo", "build", "--locked", "--profile", "dist"], check=True, cwd=ROOT, stdout=sys.stderr)
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "dist" / "autotune"


def needed(ldd_output):
    """The shared libraries beyond the common ones in the output of `ldd`."""
    names = [line.split()[0] for line in ldd_output.splitlines() if ".so" in line]
    return sorted(name for name in (Path(n).name for n in names) if not COMMON.match(name))


def shared_libraries(program):
    """The shared libraries beyond the common ones that a program needs; none for a static one."""
    done = subprocess.run(["ldd", program], capture_output=True, text=True)
    return needed(done.stdout) if done.returncode == 0 else []


def output(program, *arguments):
    return subprocess.run([program, *arguments], check=True, capture_output=True).stdout


def contents(program):
    """What the archive holds: name, bytes, mode."""
    yield "autotune", program.read_bytes(), 0o755
    for name in DOCUMENTS:
        yield name, (ROOT / name).read_bytes(), 0o644
    yield "man/autotune.1", output(program, "man"), 0o644
    for shell, name in SHELLS.items():
        yield f"completions/{name}", output(program, "completions", shell), 0o644


def pack(program, out):
    """Write the archive and its checksum to the folder `out`; return the archive's path."""
    name = f"autotune-{version()}-{platform.machine()}-{platform.system().lower()}"
    out.mkdir(parents=True, exist_ok=True)
    archive = out / f"{name}.tar.gz"
    time = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
    partial = archive.with_suffix(".partial")
    with open(partial, "wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=time) as packed:
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for member, data, mode in sorted(contents(program)):
                entry = tarfile.TarInfo(f"{name}/{member}")
                entry.size, entry.mode, entry.mtime = len(data), mode, time
                tar.addfile(entry, io.BytesIO(data))
    os.replace(partial, archive)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    Path(f"{archive}.sha256").write_text(f"{digest}  {archive.name}\n", "utf-8")
    return archive


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "target" / "tarballs", help="the folder of the archive")
    parser.add_argument("--program", type=Path, help="a built command, in place of a build")
    arguments = parser.parse_args()
    program = (arguments.program or build()).resolve()
    foreign = shared_libraries(program)
    if foreign:
        raise SystemExit(f"{program} needs shared libraries that not every system has: {', '.join(foreign)}")
    print(pack(program, arguments.out.resolve()))


if __name__ == "__main__":
    main()
