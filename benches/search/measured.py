"""Samplers on a measured landscape (`record.py`): the share of its front's hypervolume after 10, 25 and 50 trials.

    python3 -m venv venv && venv/bin/pip install optuna pymoo scipy torch
    venv/bin/python benches/search/measured.py target/release/autotune FOLDER --samplers autotune,random --peers tpe,nsga2,gp,pymoo --seeds 10

FOLDER holds space.toml and table.csv. Half of the rows fit the budget, their median peak memory; the bounds of the region are the median
latency and the median divergence of what fits. What is not in the table cannot be asked: a point of a peer
becomes the nearest row that was not asked before, and it is told that row's values.
Everybody is told the bounds; our sampler runs without and with predictions and assumptions (`--cheap`), which no peer can read.
A measurement is the table's with 3 % noise of latency, which is about what one has from the next.
"""

import argparse
import csv
import json
import math
import pathlib
import random
import statistics
import subprocess
import time

from peers import Search, hypervolume, run_optuna, run_pymoo

OBJECTIVES = ["latency_ms", "memory_bytes", "kl"]
CHEAP = ["predicted_latency_ms", "assumed_kl"]
NOISE = 0.03
MARKS = (10, 25, 50)


def losses(row):
    """Smaller is better: logarithms of costs; divergence as it is."""
    return [math.log(row["latency_ms"]), math.log(row["memory_bytes"]), row["kl"]]


class Table:
    """A recorded landscape, answered as `peers.Oracle` answers."""

    def __init__(self, folder):
        import tomllib

        with open(folder / "space.toml", "rb") as file:
            space = tomllib.load(file)["params"]
        self.names = list(space)
        texts = {n: [str(v).lower() if isinstance(v, bool) else str(v) for v in p["values"]] for n, p in space.items()}
        self.levels = [len(texts[n]) for n in self.names]
        self.ordered = [p["ordered"] for p in space.values()]
        with open(folder / "table.csv") as file:
            rows = list(csv.DictReader(file))
        self.rows = {}
        for row in rows:
            if all(row[o] for o in OBJECTIVES):
                point = tuple(texts[n].index(row[n]) for n in self.names)
                self.rows[point] = {o: float(row[o]) for o in OBJECTIVES}
        median = lambda column, rows: statistics.median(r[column] for r in rows)
        self.budget = median("memory_bytes", self.rows.values())
        fitting = [r for r in self.rows.values() if r["memory_bytes"] <= self.budget]
        self.bounds = {"latency_ms": median("latency_ms", fitting), "memory_bytes": self.budget, "kl": median("kl", fitting)}
        self.reference = losses(self.bounds)
        self.volume = hypervolume([losses(r) for r in fitting], self.reference)

    def ask(self, point, seed, number):
        row = self.rows.get(tuple(int(p) for p in point))
        if row is None or row["memory_bytes"] > self.budget:
            return {"feasible": False, "noisy": None, "true": None}
        true = losses(row)
        noise = random.Random(f"{seed} {number}").gauss(0.0, NOISE)
        return {"feasible": True, "noisy": [true[0] + noise, *true[1:]], "true": true}


class Rows(Search):
    """What is not in the table is never asked: an optimiser's point becomes the row nearest to it that was not asked before."""

    def __init__(self, oracle, seed, trials):
        super().__init__(oracle, seed, trials, use_filter=True)
        self.left = [p for p, r in oracle.rows.items() if r["memory_bytes"] <= oracle.budget]

    def fits(self, point):
        return True

    def distance(self, a, b):
        o = self.oracle
        apart = lambda d: abs(a[d] - b[d]) / max(1, o.levels[d] - 1) if o.ordered[d] else float(a[d] != b[d])
        return sum(apart(d) for d in range(len(o.levels)))

    def evaluate(self, point):
        nearest = min(self.left, key=lambda row: (self.distance(point, row), row))
        self.left.remove(nearest)
        return super().evaluate(nearest)


def ours(args, table, sampler, seed, told):
    region = [f"{o}={table.bounds[o]!r}" for o in OBJECTIVES]
    command = [args.autotune, "simulate", "--space", str(args.folder / "space.toml"), "--table", str(args.folder / "table.csv"),
               "--objectives", "latency_ms:min,memory_bytes:min,kl:min:linear", "--budget", repr(table.budget),
               "--budget-column", "memory_bytes", "--noise", f"latency_ms={NOISE}", "--sampler", sampler, "--trials", str(MARKS[-1]),
               "--seed", str(seed), "--json", *[w for r in region for w in ("--region", r)], *(["--cheap", ",".join(CHEAP)] if told else [])]
    trials = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["trials"]
    reached = [losses(t["objectives"]) for t in trials]
    return [hypervolume(reached[:m], table.reference) / table.volume for m in MARKS]


def theirs(table, peer, seed):
    search = Rows(table, seed, MARKS[-1])
    (run_pymoo if peer == "pymoo" else run_optuna)(search, peer, True, False)
    return search.shares(MARKS)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("autotune")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--samplers", default="autotune,random")
    parser.add_argument("--peers", default="")
    parser.add_argument("--seeds", type=int, default=10)
    args = parser.parse_args()
    table = Table(args.folder)
    fitting = sum(r["memory_bytes"] <= table.budget for r in table.rows.values())
    inside = [r for r in table.rows.values() if all(x < y for x, y in zip(losses(r), table.reference))]
    print(f"{len(table.rows)} rows, {fitting} fit, {len(inside)} in the region {table.bounds}; trials {MARKS}")
    runs = [(s, lambda seed, s=s: ours(args, table, s, seed, False)) for s in args.samplers.split(",") if s]
    if "autotune" in args.samplers.split(","):
        runs.append(("autotune, told predictions", lambda seed: ours(args, table, "autotune", seed, True)))
    runs += [(p, lambda seed, p=p: theirs(table, p, seed)) for p in args.peers.split(",") if p]
    for name, run in runs:
        begun = time.monotonic()
        rows = [run(seed) for seed in range(1, args.seeds + 1)]
        cells = []
        for i in range(len(MARKS)):
            low, middle, high = statistics.quantiles([r[i] for r in rows], n=4, method="inclusive")
            cells.append(f"{100 * middle:5.1f} ({100 * low:.0f}-{100 * high:.0f})")
        print(f"{name:28} {'  '.join(cells)}   {(time.monotonic() - begun) / args.seeds:.1f} s a run", flush=True)


if __name__ == "__main__":
    main()
