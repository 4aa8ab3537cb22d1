#!/usr/bin/env python3
"""Checks the documents: every page of the book is listed in SUMMARY.md, every relative link and anchor resolves, every source
file that a page names exists, and so does every page that a source file names.

    python3 scripts/check_book.py [FOLDER]

FOLDER is the repository (default: the one that holds this script). Pages of the book may link to other pages and pictures of
the book only, since the rest of the repository is not part of the rendered book. Exit code 1 when something is wrong.
"""

import os
import re
import sys
import unicodedata
from pathlib import Path
from urllib.parse import unquote

BOOK = Path("docs/src")
SUMMARY = BOOK / "SUMMARY.md"
TOP_LEVEL = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "CODE_OF_CONDUCT.md",
    "reports/README.md",
    "results/README.md",
    "search-spaces/README.md",
]

SOURCES = ["src", "crates", "tests", "benches", "examples", "fuzz", "scripts"]
NAMED = re.compile(r"\bdocs/(?:src/[\w./-]+|[A-Z_]+)\.md\b")
# Its test names pages that do not exist.
UNREAD = Path("scripts/tests/test_check_book.py")

# A source file, named as code by its whole path.
SOURCE = re.compile(rf"`((?:{'|'.join(SOURCES)})/[\w./-]+\.\w+)`")

FENCE = re.compile(r"^ {0,3}(```+|~~~+)")
INLINE_CODE = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)")
# [text](target) and ![text](target "title"); the text may hold a picture.
LINK = re.compile(r"\]\(\s*<?([^)\s>]+)>?(?:\s+[\"'][^)]*[\"'])?\s*\)")
DEFINITION = re.compile(r"^ {0,3}\[[^\]]+\]:\s*<?(\S+?)>?(?:\s|$)")
HTML = re.compile(r"<(?:a|img)\b[^>]*?\b(?:href|src)=[\"']([^\"']+)[\"']", re.IGNORECASE)
HTML_ANCHOR = re.compile(r"<[a-z]+\b[^>]*?\b(?:id|name)=[\"']([^\"']+)[\"']", re.IGNORECASE)
HEADING = re.compile(r"^ {0,3}(#{1,6})\s+(.*?)\s*#*\s*$")
SCHEME = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]*:")


def prose(text):
    """The lines outside code blocks, each with its number."""
    fence = None
    for number, line in enumerate(text.splitlines(), 1):
        mark = FENCE.match(line)
        if fence is None and mark:
            fence = mark.group(1)
        elif fence is not None:
            if mark and mark.group(1).startswith(fence[0]) and len(mark.group(1)) >= len(fence) and line.strip() == mark.group(1):
                fence = None
        else:
            yield number, line


def links(text):
    """The targets of all links and pictures outside code, each with its line."""
    for number, line in prose(text):
        line = INLINE_CODE.sub("``", line)
        for pattern in (LINK, HTML):
            for match in pattern.finditer(line):
                yield number, match.group(1)
        definition = DEFINITION.match(line)
        if definition:
            yield number, definition.group(1)


def slug(heading):
    """The anchor of a heading, as mdBook and GitHub make it: lower case, spaces to hyphens, other signs dropped."""
    heading = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    heading = heading.replace("`", "").replace("*", "")
    kept = []
    for char in heading.strip():
        if char.isalnum() or char in "_-":
            kept.append(char.lower())
        elif char.isspace():
            kept.append("-")
        elif unicodedata.category(char).startswith("M"):
            kept.append(char)
    return "".join(kept)


def anchors(text):
    """The anchors of a page; a repeated heading gets a number."""
    found = set()
    seen = {}
    for _, line in prose(text):
        heading = HEADING.match(line)
        if heading:
            name = slug(heading.group(2))
            count = seen.get(name, 0)
            seen[name] = count + 1
            found.add(name if count == 0 else f"{name}-{count}")
        found.update(HTML_ANCHOR.findall(INLINE_CODE.sub("``", line)))
    return found


def unlisted(root):
    """Pages that SUMMARY.md does not list, pages listed twice."""
    listed = [unquote(target).split("#")[0] for _, target in links((root / SUMMARY).read_text("utf-8"))]
    for target in sorted(set(listed)):
        if listed.count(target) > 1:
            yield f"{SUMMARY}: {target} is listed {listed.count(target)} times"
    pages = {page.relative_to(root / BOOK).as_posix() for page in (root / BOOK).rglob("*.md")} - {"SUMMARY.md"}
    for page in sorted(pages - set(listed)):
        yield f"{SUMMARY}: {page} is not listed"


def dead(root, page):
    """Dead links of one page, given relative to the repository."""
    in_book = page.is_relative_to(BOOK) if hasattr(page, "is_relative_to") else str(page).startswith(f"{BOOK}/")
    text = (root / page).read_text("utf-8")
    for number, line in prose(text):
        for name in SOURCE.findall(line):
            if not (root / name).exists():
                yield f"{page}:{number}: {name}: no such file"
    for number, target in links(text):
        if SCHEME.match(target) or target.startswith("//"):
            continue
        where = f"{page}:{number}: {target}"
        path, _, anchor = unquote(target).partition("#")
        if path.startswith("/"):
            yield f"{where}: absolute paths do not work in a clone"
            continue
        file = Path(os.path.normpath(page.parent / path)) if path else page
        if str(file).startswith(".."):
            yield f"{where}: leads out of the repository"
        elif in_book and not str(file).startswith(f"{BOOK}{os.sep}"):
            yield f"{where}: leads out of the book, where it is dead after rendering"
        elif not (root / file).exists():
            yield f"{where}: no such file"
        elif anchor and file.suffix == ".md" and anchor not in anchors((root / file).read_text("utf-8")):
            yield f"{where}: no such heading in {file}"


def misnamed(root):
    """Pages that source files name and that do not exist."""
    for folder in SOURCES:
        for path in sorted((root / folder).rglob("*")):
            name = path.relative_to(root)
            if path.suffix not in (".rs", ".py", ".mjs", ".toml") or name == UNREAD or not path.is_file():
                continue
            for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
                for page in NAMED.findall(line):
                    if not (root / page).is_file():
                        yield f"{name}:{number}: {page}: no such file"


def findings(root):
    """Everything that is wrong, one line each."""
    if not (root / SUMMARY).is_file():
        yield f"{SUMMARY}: no such file"
        return
    yield from unlisted(root)
    pages = sorted(page.relative_to(root) for page in (root / BOOK).rglob("*.md"))
    pages += [Path(name) for name in TOP_LEVEL if (root / name).is_file()]
    for page in pages:
        yield from dead(root, page)
    yield from misnamed(root)


def main(arguments):
    root = Path(arguments[0]) if arguments else Path(__file__).resolve().parent.parent
    found = list(findings(root))
    for line in found:
        print(line)
    if found:
        print(f"{len(found)} finding{'s' if len(found) > 1 else ''}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
