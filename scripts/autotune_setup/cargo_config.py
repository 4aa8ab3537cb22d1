"""`.cargo/config.toml`: the variables that every cargo call must see, so that plain `cargo build` works.

The file is written only when its content changes, since a changed variable makes cargo rebuild llama.cpp. A file
without our marker belongs to the user and is never touched.
"""

import os
from dataclasses import dataclass

from .console import SetupError, say

MARKER = "# Written by scripts/setup.py, which may rewrite it; delete this line to keep your own version."


@dataclass(frozen=True)
class Entry:
    """The value of one variable; `relative` paths start at the repository's root."""

    value: str
    relative: bool = False


def toml_string(value):
    """A TOML basic string."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    if any(ord(char) < 0x20 or ord(char) == 0x7F for char in escaped):
        raise SetupError(f"the path {value!r} has a control character in it: use a folder without")
    return f'"{escaped}"'


def render(entries):
    """The file's text for `{name: Entry}`."""
    lines = [MARKER, "[env]"]
    for name, entry in sorted(entries.items()):
        value = toml_string(entry.value)
        lines.append(f"{name} = {{ value = {value}, relative = true }}" if entry.relative else f"{name} = {value}")
    return "\n".join(lines) + "\n"


def is_ours(path):
    try:
        return path.read_text(encoding="utf-8").startswith(MARKER)
    except FileNotFoundError:
        return False


def write(root, entries):
    """Make the file say `entries`; with none, there is no file."""
    path = root / ".cargo" / "config.toml"
    if path.exists() and not is_ours(path):
        theirs = path.read_text(encoding="utf-8")
        absent = {
            name: entry for name, entry in entries.items() if name not in theirs and name not in os.environ
        }
        if absent:
            wanted = "; ".join(render(absent).splitlines()[2:])
            raise SetupError(f"{path} is your own file and is left alone: add to its [env] section: {wanted}")
        return
    if not entries:
        if path.exists():
            path.unlink()
            say("removed .cargo/config.toml: the system's tools need no variables")
        return
    content = render(entries)
    if path.exists() and path.read_text(encoding="utf-8") == content:
        return
    path.parent.mkdir(exist_ok=True)
    partial = path.with_name("config.toml.partial")
    partial.write_text(content, encoding="utf-8")
    os.replace(partial, path)
    say(f"wrote .cargo/config.toml ({', '.join(sorted(entries))})")


def remove(root):
    path = root / ".cargo" / "config.toml"
    if is_ours(path):
        path.unlink()
