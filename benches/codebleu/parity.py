#!/usr/bin/env python3
"""Pairs that nobody has seen, scored by PyPI `codebleu` 0.7.0 and by `autotune score codebleu --published`: they must be equal.

    python3 -m venv .venv && .venv/bin/pip install --no-deps -r benches/codebleu/requirements.txt
    cargo build --release
    .venv/bin/python benches/codebleu/parity.py reference.jsonl [FOLDER ...] [--pairs 400] [--seed 1]

References are pieces of the sources in the file and in the folders (told apart by their names' ends), as they are or mutated: lines and tokens
dropped, doubled, swapped, renamed; quotes, comments, brackets and odd characters put in; cut off; line ends changed; prose. Predictions are
made from them in the same way. The package is copied and its parents put in the order of their first occurrence (the installed one orders
them by the interpreter's hash seed).

PyPI's newest tree-sitter runtime, 0.26.1, recovers from some syntax errors in another way than 0.27.1, which autotune uses. To see that nothing
else differs, build it with the sources of the crate: unpack `pip download --no-deps --no-binary :all: tree-sitter==0.26.1`, put `src` and
`include` of the crate `tree-sitter` 0.27.1 in the place of those under `tree_sitter/core/lib`, and `pip install --no-deps` that folder.
"""

import argparse
import importlib.util
import json
import logging
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile

ENDS = {".py": "python", ".js": "javascript", ".java": "java", ".go": "go", ".rs": "rust", ".c": "c", ".h": "c", ".cpp": "cpp", ".cc": "cpp",
        ".cs": "c_sharp", ".php": "php", ".rb": "ruby"}
ODD = ["é", "\u00a0", "\u2028", "\x1c", "\x1f", "\x85", "\x0b", "\x0c", "\r\n", "\r", "\t", "😀", "中文", "\ufeff", "\u0301", "𝒳", "\x00", "\\", "`", "$",
       "@", "\\\n", "\\\r\n"]
PIECES = ['"', "'", '"""', "'''", "/*", "*/", "//", "#", "(", ")", "[", "]", "{", "}", ";", ",", 'f"{x!r:>3}"', "b'x'", "0x_1", "1e5j", "...", "->", "=>",
          "::", "?.", "=begin\n", "=end\n", "<<~EOS\n", "?>", "<?php ", '@"a""b"', '$"{x}"', "`a${b}c`", "/re/g", "#if A\n", "'a", "x := y",
          "a, b = b, a", "a, b, c = 'xyz'", "for i in range(3):\n    x = x + i\n", "while (i < n) { i++; }", "let mut y = 1;", "x += 1", "async ",
          "yield ", "&mut ", "\f# c"]
PROSE = ["I am sorry, but I cannot do that.", "Here it is: ```python\nx = 1\n```", "x", "", "   ", "\x1c", "def", "#", "/* c */", "Ich weiß nicht."]
PARTS = {"ngram": "ngram_match_score", "weighted_ngram": "weighted_ngram_match_score", "syntax": "syntax_match_score",
         "dataflow": "dataflow_match_score", "codebleu": "codebleu"}


def deterministic_package():
    """The installed package, copied with its one source of chance removed."""
    installed = pathlib.Path(importlib.util.find_spec("codebleu").origin).parent
    folder = tempfile.mkdtemp(prefix="codebleu-")
    shutil.copytree(installed, pathlib.Path(folder, "codebleu"))
    for name in ["parser/DFG.py", "dataflow_match.py"]:
        path = pathlib.Path(folder, "codebleu", name)
        path.write_text(path.read_text().replace("list(set(", "list(dict.fromkeys("))
    sys.path.insert(0, folder)
    logging.disable(logging.CRITICAL)
    from codebleu import calc_codebleu

    return calc_codebleu, folder


def mutated(rng, text, others):
    for _ in range(rng.choice([1, 1, 2, 3, 5])):
        lines, tokens, at = text.split("\n"), re.findall(r"\w+|\s+|[^\w\s]", text), rng.randrange(len(text) + 1)
        line = rng.randrange(len(lines))
        kind = rng.randrange(11)
        if kind == 0:
            del lines[line]
        elif kind == 1:
            lines.insert(line, rng.choice(lines))
        elif kind == 2:
            lines[line] += rng.choice(["  # c é", '  // c "q"', " /* c", " \\", '"', ";", "  # type: int\f"])
        elif kind == 3:
            lines[line] = rng.choice(["  ", "\t", ""]) + lines[line].lstrip()
        elif kind == 4:
            lines[line:line] = rng.choice(others).split("\n")[: rng.randrange(1, 6)]
        if kind < 5:
            text = "\n".join(lines)
        elif kind == 5:
            text = text[:at] + rng.choice(ODD + PIECES) + text[at:]
        elif kind == 6:
            text = text[:at] if rng.random() < 0.3 else text[:at] + text[at + rng.randrange(30) :]
        elif kind == 7 and tokens:
            a, b = rng.randrange(len(tokens)), rng.randrange(len(tokens))
            tokens[a], tokens[b] = tokens[b], tokens[a]
            text = "".join(tokens)
        elif kind == 8 and (names := sorted(set(re.findall(r"[A-Za-z_]\w*", text)))):
            text = re.sub(r"\b%s\b" % rng.choice(names), rng.choice(names + ["xé", "变量"]), text)
        elif kind == 9:
            text = text.replace("\n", rng.choice(["\r\n", "\r", "\n\n", " "]))
        elif kind == 10:
            text = rng.choice(PIECES) + text
    return text[:5000]


def sources(reference, folders, rng):
    found = {}
    for line in reference.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        found.setdefault(row["lang"], []).extend(row["references"] + [row["prediction"]])
    for folder in folders:
        for path in sorted(p for p in pathlib.Path(folder).rglob("*") if p.suffix in ENDS and p.is_file()):
            try:
                lines = path.read_text(encoding="utf-8").split("\n")
            except UnicodeDecodeError:
                continue
            for _ in range(4):
                begin, count = rng.randrange(len(lines)), rng.choice([3, 6, 10, 20, 40])
                found.setdefault(ENDS[path.suffix], []).append("\n".join(lines[begin : begin + count])[:4000])
    return found


def pairs(rng, texts, others, count):
    for _ in range(count):
        reference = rng.choice(PROSE) if rng.random() < 0.05 else rng.choice(texts)
        if rng.random() < 0.3:
            reference = mutated(rng, reference, texts)
        references = [reference]
        while rng.random() < 0.15:
            references.append(rng.choice([reference, rng.choice(texts), mutated(rng, reference, texts)]))
        made = rng.random()
        prediction = (mutated(rng, reference, texts) if made < 0.6 else rng.choice(texts) if made < 0.8
                      else rng.choice(PROSE) if made < 0.9 else rng.choice(others) if made < 0.95 else reference)
        yield {"prediction": prediction, "references": references}


class TooLong(BaseException):
    """The package's time doubles with each nested loop."""


def too_long(*_):
    raise TooLong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reference", type=pathlib.Path)
    parser.add_argument("folders", nargs="*")
    parser.add_argument("--binary", default="target/release/autotune")
    parser.add_argument("--pairs", type=int, default=400, help="pairs for each language (default 400)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--differing", type=pathlib.Path, help="write the pairs that differ to this file")
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    calc_codebleu, folder = deterministic_package()
    signal.signal(signal.SIGPROF, too_long)
    texts = sources(arguments.reference, arguments.folders, rng)
    everything = [text for lang in sorted(texts) for text in texts[lang]]
    all_pairs, differing, skipped = 0, [], 0
    for lang in sorted(texts):
        rows = list(pairs(rng, texts[lang], everything, arguments.pairs))
        command = [arguments.binary, "score", "codebleu", "--published", "-q", "--lang", lang, "-"]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        ours = subprocess.run(command, input=text, check=True, capture_output=True, text=True).stdout.splitlines()
        wrong = []
        for row, line in zip(rows, ours, strict=True):
            signal.setitimer(signal.ITIMER_PROF, 10)
            try:
                package = calc_codebleu([row["references"]], [row["prediction"]], lang)
            except TooLong:
                skipped += 1
                continue
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
            own = json.loads(line)
            parts = {name: [own[name], package[key]] for name, key in PARTS.items() if abs(own[name] - package[key]) > 1e-6}
            if parts:
                wrong.append({"lang": lang, **row, "autotune and package": parts})
        print(f"{lang:12} {len(rows) - len(wrong)}/{len(rows)} equal", flush=True)
        all_pairs += len(rows)
        differing += wrong
    shutil.rmtree(folder)
    print(f"{'all':12} {all_pairs - len(differing)}/{all_pairs} equal" + (f", {skipped} of them left out after 10 s" if skipped else ""))
    if arguments.differing:
        arguments.differing.write_text("".join(json.dumps(row) + "\n" for row in differing), encoding="utf-8")
    sys.exit(1 if differing else 0)


if __name__ == "__main__":
    main()
