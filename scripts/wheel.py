#!/usr/bin/env python3
"""Builds a wheel that puts `autotune` into PATH, with maturin.

    python3 scripts/wheel.py [--out FOLDER] [--no-llama] [--profile PROFILE]

maturin is taken from PATH, else installed by pip into a virtual environment under target/. Prints the wheel's path. The build needs
what `cargo build` needs (`python3 scripts/setup.py --build-only`).
"""

import argparse
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MATURIN = "maturin>=1.7,<2"


def maturin(folder):
    """The command that starts maturin."""
    found = shutil.which("maturin")
    if found:
        return found
    program = folder / "bin" / "maturin"
    if not program.is_file():
        venv.create(folder, with_pip=True)
        subprocess.run(
            [folder / "bin" / "python", "-m", "pip", "install", "--quiet", MATURIN], check=True, stdout=sys.stderr
        )
    return str(program)


def build(out, llama=True, profile="dist"):
    """Build the wheel into the folder `out` and return its path."""
    out.mkdir(parents=True, exist_ok=True)
    before = set(out.glob("*.whl"))
    command = [maturin(ROOT / "target" / "maturin-venv"), "build", "--profile", profile, "--out", str(out)]
    if not llama:
        command.append("--no-default-features")
    stamp = {path: path.stat().st_mtime_ns for path in before}
    subprocess.run(command, check=True, cwd=ROOT, stdout=sys.stderr)
    built = [path for path in out.glob("*.whl") if stamp.get(path) != path.stat().st_mtime_ns]
    if len(built) != 1:
        raise SystemExit(f"maturin wrote {len(built)} wheels to {out}, expected one")
    return built[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "target" / "wheels", help="the folder of the wheel")
    parser.add_argument("--no-llama", action="store_true", help="leave out llama.cpp (for tests of the packaging)")
    parser.add_argument("--profile", default="dist", help="the cargo profile (default: dist)")
    arguments = parser.parse_args()
    print(build(arguments.out.resolve(), not arguments.no_llama, arguments.profile))


if __name__ == "__main__":
    main()
