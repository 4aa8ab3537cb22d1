#!/usr/bin/env python3
"""Checks the words of text that users read: phrases that the project replaced by standard terms must not return.

    python3 scripts/check_language.py [FOLDER]

FOLDER is the repository (default: the one that holds this script). Read are string literals of the sources outside tests, documentation
comments of the command line's arguments (clap prints them as help), and the prose of the documents. A literal without a space is a stored
or JSON word, which stays as it is. Exit code 1 when a phrase is found; the output names the place and a better phrase.
"""

import re
import sys
from pathlib import Path

SOURCES = ["src", "crates"]
# Their documentation comments are the text of `--help`.
HELP = Path("src/cli/args")
DOCUMENTS = ["docs/src", "results", "reports", "search-spaces"]
TESTS = "\n#[cfg(test)]\nmod "


class Phrase:
    """A phrase as a regular expression, a text that it matches, and what to write instead."""

    def __init__(self, pattern, example, instead):
        self.pattern = re.compile(pattern, re.IGNORECASE)
        self.example = example
        self.instead = instead


PHRASES = [
    # Grammar of errors: the input, what is wrong with it, what is expected.
    Phrase(r"` is no (?!longer\b)", "`q9` is no cache type", "invalid X `...`: expected one of ..."),
    Phrase(r"(?<!there )\b(?:is|are) no (?:cache type|device|number|answer|preset|JSON|folder|file|size|share|objective)s?\b",
           "the model file is no folder", "is not a ..."),
    Phrase(r"\bis large enough\b", "takes a number that is large enough", "must be an integer >= the bound"),
    Phrase(r"\bwhole numbers?\b", "takes a whole number", "an integer"),
    # Personification: programs do not tell, hear or know.
    Phrase(r"\btold\b", "differences that are told by the turns", "reported, distinguished"),
    Phrase(r"\btells? (?:which|what|how|where|apart|.{1,40} apart)\b", "Tell which parameters moved each objective",
           "show, report, explain, distinguish"),
    Phrase(r"\bhears?\b", "hear from the process", "receive, read from"),
    Phrase(r"\bforeseen?\b", "tokens that were foreseen", "predicted"),
    Phrase(r"\bhand(?:s|ed)? (?:\w+ ){0,3}over\b", "Hand a trial over", "export"),
    Phrase(r"\bpass(?:es)? (?:anything|it|them|this file) on\b", "passes anything on", "forwards, redistributes"),
    # Private names.
    Phrase(r"\b(?:the|a|this|its) (?:room|house|kit|lab|rung)s?\b", "stands in this room", "module, project, format, trainer, stage"),
    Phrase(r"\bclimb(?:s|ed|ing)?\b", "the trial climbs", "runs its stages"),
    Phrase(r"\bits doors?\b", "re-exports its door", "public API"),
    Phrase(r"\bstraw man\b", "would be a straw man", "would understate ..."),
    Phrase(r"\bfolders? of Hugging Face\b", "a folder of Hugging Face", "a Hugging Face model directory"),
    Phrase(r"\bhas no word for\b", "which config.json has no word for", "cannot express"),
    # Terms of the field.
    Phrase(r"\bcomes? to the same\b", "what comes to the same", "yields identical tensors"),
    Phrase(r"\bdrawn (?:answers?|completions?|samples?|tokens?)\b", "a drawn answer", "sampled"),
    Phrase(r"\bdraws? (?:N |from the likeliest|answers)", "draw N answers of each task at random", "sample"),
    Phrase(r"\bmeasure[sd]? again\b", "it is measured again", "re-measured"),
    Phrase(r"\bonce more\b|\btimed again\b", "Timed once more", "re-timed, re-measured"),
    Phrase(r"\b(?:built|builds|building) (?:it )?again\b", "building it again", "rebuilt"),
    Phrase(r"\b(?:convert|get) (?:\w+ ){1,2}anew\b", "convert the model anew", "reconvert, download again"),
    Phrase(r"\bmeasurements? (?:is|are|was|were) doubted\b", "a measurement is doubted", "flagged as unreliable"),
    Phrase(r"\bcounted as disturbed\b", "3 measurements counted as disturbed", "affected by interference"),
    Phrase(r"\b(?:likeness|nearness) (?:of|to)\b", "likeness of the answers", "similarity, divergence"),
    Phrase(r"\bbeyond doubt\b", "better beyond doubt", "significantly"),
    Phrase(r"\bso many (?!(?:\w+ )?(?:that|as)\b)", "is given so many tokens", "the number"),
    Phrase(r"\bbeside (?:it|them|the|a|an|autotune)\b", "belongs beside autotune", "next to, compared with, in the same directory"),
    Phrase(r"\bgo(?:es)? on apart\b", "to go on apart from the trials so far", "continue separately"),
    Phrase(r"\bwas begun\b", "the study was begun by", "was started"),
    Phrase(r"\bis of interest\b", "latency that is of interest", "upper bound, acceptable"),
    Phrase(r"\bto be had\b", "where no layer is to be had", "available"),
    Phrase(r"\bsaid to be so\b", "what is quantized is said to be so", "a warning is printed"),
    Phrase(r"\b(?:end|ends) behind\b", "the next wave would end behind the cap", "exceed"),
    Phrase(r"\bstands nowhere\b", "but stands nowhere", "is not used for ..."),
    Phrase(r"\bis asked once\b", "is asked once", "is evaluated once"),
    Phrase(r"\bwithout a chance\b", "a trial without a chance", "hopeless"),
    Phrase(r"\bmatters to nobody\b", "how bad it is matters to nobody", "does not matter"),
    Phrase(r"\bhow this was done\b", "How this was done", "Method"),
    Phrase(r"\bword for word\b", "word for word those of the reference", "identical"),
    Phrase(r"\bas good as nothing\b", "it costs as good as nothing", "is negligible"),
    # Documents compare with targets that readers can see.
    Phrase(r"\|\s*(?:asked|reached|not reached)\s*\|", "| asked | reached |", "target, measured"),
]

RAW = re.compile(r'\bb?r(#*)"')
CHARACTER = re.compile(r"b?'(?:\\[^']+|\\'|[^\\'\n])'")
FENCE = re.compile(r"^ {0,3}(```+|~~~+)")
INLINE_CODE = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)")


def literals(text):
    """(line, text) of each string literal and, with its marker, of each `///` comment of Rust or JavaScript source."""
    at, line = 0, 1
    while at < len(text):
        start = at
        if text.startswith("//", at):
            at = text.find("\n", at) if "\n" in text[at:] else len(text)
            if text.startswith("///", start):
                yield line, text[start:at]
        elif text.startswith("/*", at):
            end = text.find("*/", at)
            at = len(text) if end < 0 else end + 2
        elif (raw := RAW.match(text, at)) and not text[at - 1 : at].isalnum():
            end = text.find('"' + raw.group(1), raw.end())
            yield line, text[raw.end() : end]
            at = end + 1 + len(raw.group(1))
        elif text[at] == '"':
            at += 1
            while at < len(text) and text[at] != '"':
                at += 2 if text[at] == "\\" else 1
            # A backslash at the end of a line joins it to the next one.
            yield line, re.sub(r"\\\n\s*", "", text[start + 1 : at])
            at += 1
        elif text[at] in "b'" and (character := CHARACTER.match(text, at)):
            at = character.end()
        else:
            at += 1
        line += text.count("\n", start, at)


def help_texts(pieces):
    """Literals as they are; consecutive `///` comments joined to the paragraph that clap prints."""
    began, last, lines = 0, 0, []
    for line, text in pieces:
        if not text.startswith("///"):
            yield line, text
            continue
        if lines and line != last + 1:
            yield began, " ".join(lines)
            lines = []
        if not lines:
            began = line
        lines.append(text.removeprefix("///").strip())
        last = line
    if lines:
        yield began, " ".join(lines)


def source_texts(path, text):
    """What users may read of a source file."""
    pieces = literals(text.split(TESTS)[0])
    if path.is_relative_to(HELP):
        pieces = help_texts(pieces)
    for line, piece in pieces:
        if " " in piece and not piece.startswith("///"):
            yield line, piece


def document_texts(text):
    """The prose of a document, a paragraph each, without code."""
    fence, began, lines = None, 0, []
    for number, line in enumerate(text.splitlines() + [""], 1):
        mark = FENCE.match(line)
        if mark and fence is None:
            fence = mark.group(1)
        elif mark and line.strip() == fence:
            fence = None
            continue
        if fence is not None or not line.strip():
            if lines:
                yield began, " ".join(lines)
            lines = []
            continue
        if not lines:
            began = number
        # A quoted input of an error keeps its quotes.
        lines.append(INLINE_CODE.sub("`x`", line.strip()))


def found_in(pieces):
    """(line, phrase, what it matched) for every phrase in every text."""
    for line, text in pieces:
        text = " ".join(text.split())
        for phrase in PHRASES:
            if match := phrase.pattern.search(text):
                yield line, phrase, match.group()


def files(root):
    """Every file that is read, relative to the root."""
    for folder in SOURCES:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in (".rs", ".js") and not {"tests", "target"} & set(path.relative_to(root).parts):
                yield path.relative_to(root)
    for path in sorted(root.glob("*.md")):
        yield path.relative_to(root)
    for folder in DOCUMENTS:
        for path in sorted((root / folder).rglob("*.md")):
            yield path.relative_to(root)


def check(root):
    """A line for each phrase that is found under the root."""
    lines = []
    for path in files(root):
        text = (root / path).read_text(encoding="utf-8")
        pieces = document_texts(text) if path.suffix == ".md" else source_texts(path, text)
        for line, phrase, match in found_in(pieces):
            lines.append(f"{path}:{line}: `{match}`: write {phrase.instead}")
    return lines


def main(arguments):
    root = Path(arguments[0]) if arguments else Path(__file__).resolve().parent.parent
    lines = check(root)
    for line in lines:
        print(line, file=sys.stderr)
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
