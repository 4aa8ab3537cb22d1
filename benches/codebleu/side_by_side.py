#!/usr/bin/env python3
"""CPU time per pair of `autotune score codebleu` and of PyPI `codebleu` 0.7.0 on the same pairs, in one run on one thread.

    python3 -m venv .venv && .venv/bin/pip install --no-deps -r benches/codebleu/requirements.txt
    cargo build --release
    .venv/bin/python benches/codebleu/side_by_side.py PAIRS.jsonl

PAIRS.jsonl has rows with `lang`, `prediction` and `references`, for example reference.jsonl. The package runs
inside this process, imports and one warm-up call per language excluded. autotune runs as a child process on every pair `--repeat`
times; the CPU time of the same command on one pair (the start) is subtracted. Answers of one task stand together: autotune then
prepares their references once, the package for each pair. With `--answers N` each task gets N answers, those that are missing made from
the task's own by leaving out one line.
`--no-deps` because the package asks for an old tree-sitter that cannot load these grammars.
"""

import argparse
import json
import logging
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from itertools import groupby, islice


def with_answers(rows, wanted):
    """Tasks with `wanted` answers each, from rows sorted by references."""
    result = []
    for references, task in groupby(rows, key=lambda row: row["references"]):
        answers = [row["prediction"] for row in task]
        shorter = (
            "\n".join(lines[:at] + lines[at + 1 :])
            for lines in [answer.split("\n") for answer in answers + references]
            for at in range(len(lines))
        )
        answers += islice((text for text in shorter if text not in answers), max(0, wanted - len(answers)))
        result += [{"prediction": text, "references": references} for text in answers[:wanted]]
    return result


def children_cpu():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def autotune_cpu(binary, lang, rows, repeat, published):
    """Seconds of CPU for the rows, repeated; and the scores of the first pass."""
    command = [binary, "score", "codebleu", "-q", "--lang", lang] + (["--published"] if published else [])
    lines = [json.dumps({"prediction": r["prediction"], "references": r["references"]}) for r in rows]
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        for _ in range(repeat):
            file.write("\n".join(lines) + "\n")
        file.flush()
        before = children_cpu()
        out = subprocess.run(command + [file.name], check=True, capture_output=True, text=True).stdout
        used = children_cpu() - before
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.write(lines[0] + "\n")
        file.flush()
        before = children_cpu()
        subprocess.run(command + [file.name], check=True, capture_output=True)
        used -= children_cpu() - before
    return used, [json.loads(line)["codebleu"] for line in out.splitlines()[: len(rows)]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs")
    parser.add_argument("--binary", default="target/release/autotune")
    parser.add_argument("--repeat", type=int, default=20, help="how often autotune runs each pair (default 20)")
    parser.add_argument("--answers", type=int, default=0, help="answers per task (default: those in the file)")
    arguments = parser.parse_args()
    os.environ.setdefault("PYTHONHASHSEED", "0")
    logging.disable(logging.CRITICAL)
    try:
        from codebleu import calc_codebleu
    except ImportError:
        sys.exit("PyPI codebleu is missing: pip install --no-deps -r benches/codebleu/requirements.txt")

    by_lang = defaultdict(list)
    with open(arguments.pairs, encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            by_lang[row["lang"]].append(row)
    for rows in by_lang.values():
        # The answers of a task stand together, as they do when a model is graded.
        rows.sort(key=lambda row: row["references"])

    print(f"{'language':12} {'pairs':>5} {'package':>9} {'published':>9} {'sound':>9}   ratio  ratio  scores that")
    print(f"{'':12} {'':5} {'µs/pair':>9} {'µs/pair':>9} {'µs/pair':>9}    publ.  sound  agree (1e-6)")
    totals = [0, 0.0, 0.0, 0.0, 0]
    for lang, rows in by_lang.items():
        rows = with_answers(rows, arguments.answers) if arguments.answers else rows
        calc_codebleu([rows[0]["references"]], [rows[0]["prediction"]], lang)
        begin = time.process_time()
        package = [calc_codebleu([r["references"]], [r["prediction"]], lang)["codebleu"] for r in rows]
        package_s = time.process_time() - begin
        published_s, published = autotune_cpu(arguments.binary, lang, rows, arguments.repeat, True)
        sound_s, _ = autotune_cpu(arguments.binary, lang, rows, arguments.repeat, False)
        agree = sum(abs(a - b) < 1e-6 for a, b in zip(package, published))
        numbers = [len(rows), package_s, published_s / arguments.repeat, sound_s / arguments.repeat, agree]
        totals = [a + b for a, b in zip(totals, numbers)]
        report(lang, numbers)
    report("all", totals)


def report(name, numbers):
    pairs, package, published, sound, agree = numbers
    us = [seconds / pairs * 1e6 for seconds in (package, published, sound)]
    print(
        f"{name:12} {pairs:5} {us[0]:9.0f} {us[1]:9.0f} {us[2]:9.0f}"
        f"   {us[0] / us[1]:5.1f}  {us[0] / us[2]:5.1f}  {agree}/{pairs}"
    )


if __name__ == "__main__":
    main()
