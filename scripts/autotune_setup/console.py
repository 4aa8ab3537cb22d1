"""What the set-up prints. Progress goes to stderr, as in the program itself."""

import sys


class SetupError(Exception):
    """One sentence that names the missing thing and the remedy."""


def say(text):
    print(f"setup: {text}", file=sys.stderr, flush=True)


def size_text(count):
    """Bytes as people read them: `size_text(93_000_000)` is `93 MB`."""
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= unit:
            value = count / unit
            return f"{value:.1f} {name}" if value < 10 else f"{value:.0f} {name}"
    return f"{count} B"
