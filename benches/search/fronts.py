"""The same wall time for our sampler, for Optuna through `autotune evaluate`, and for nobody (the presets alone): three fronts of a real model.

    python3 -m venv venv && venv/bin/pip install optuna pymoo
    venv/bin/python benches/search/fronts.py target/release/autotune --results FOLDER --minutes 8 --seeds 3 [-- --task-limit 30 ...]

Each seed is one study of ours and one of Optuna's TPE, one after the other, in turns of who comes first. Both begin with the presets, and TPE
is told what they scored at the nearest points of the space; it asks `{"fits": candidate}` first, as our sampler does, and has the bounds of
the region as constraints. What the presets alone reach is taken from our studies. Hypervolumes (log latency, log peak memory, pass@1; pymoo)
are inside one region for all: the worst values on the fronts of all presets and a tenth of their range, and `--min-quality` as the worst
pass@1, which all are told. Prints a table and FOLDER/fronts.json.
"""

import argparse
import json
import math
import pathlib
import statistics
import subprocess
import time

from peers import hypervolume
from record import Evaluation, arguments

METRICS = ["request_latency_p50_ms", "peak_memory_bytes", "pass_at_1"]


def losses(values):
    """Smaller is better: logarithms of costs, the negative of quality."""
    return [math.log(values[0]), math.log(values[1]), -values[2]]


def front(points):
    dominates = lambda a, b: all(x <= y for x, y in zip(a, b)) and a != b
    return [p for p in points if not any(dominates(q, p) for q in points)]


def region_of(points, least):
    """The worst values on the front of these points, and a tenth of their range; `least` is the worst quality."""
    best = front(points)
    ends = [(min(p[i] for p in best), max(p[i] for p in best)) for i in range(3)]
    region = [high + 0.1 * (high - low) for low, high in ends]
    return [*region[:2], min(region[2], -least)]


class Runs:
    def __init__(self, args, extra):
        self.args = args
        self.common = ["--budget", args.budget, "--min-quality", str(args.min_quality), "--results", str(args.results), "--reports", str(args.results / "reports"), *extra]

    def trials(self, study):
        command = [self.args.autotune, "trials", str(study), "--json", "--results", str(self.args.results)]
        listed = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        trials = listed["trials"] if isinstance(listed, dict) else listed
        return [t for t in trials if t["state"] == "complete"]

    def newest(self):
        command = [self.args.autotune, "studies", "--json", "--results", str(self.args.results)]
        listed = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        studies = listed["studies"] if isinstance(listed, dict) else listed
        return max(s["id"] for s in studies)

    def ours(self, seed):
        command = [self.args.autotune, "tune", *self.common, "--time", f"{self.args.minutes}m", "--seed", str(seed)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return self.newest()

    def optuna(self, seed, presets):
        import optuna
        from optuna.trial import TrialState, create_trial

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        begun = time.monotonic()
        command = [self.args.autotune, "evaluate", *self.common, "--seed", str(seed)]
        evaluation = Evaluation(command)
        ask, about = evaluation.ask, evaluation.about
        space = {p["name"]: optuna.distributions.CategoricalDistribution([json.dumps(v) for v in p["levels"]]) for p in about["space"]}
        sampler = optuna.samplers.TPESampler(
            seed=seed, multivariate=True, constraints_func=lambda t: t.user_attrs.get("constraints", (1.0,))
        )
        study = optuna.create_study(directions=["minimize"] * 3, sampler=sampler)
        known = []
        for candidate in presets:
            answer = ask(candidate)
            if answer.get("state") != "complete":
                continue
            values = losses([answer["objectives"][m] for m in METRICS])
            known.append((ask({"fits": candidate})["place"], values))
        region = region_of([values for _, values in known], self.args.min_quality)
        for near, values in known:
            if near is not None:
                inside = {"constraints": tuple(v - r for v, r in zip(values, region))}
                params = {name: json.dumps(value) for name, value in near.items()}
                study.add_trial(create_trial(params=params, distributions=space, values=values, user_attrs=inside))
        while time.monotonic() - begun < 60 * self.args.minutes:
            trial = study.ask(space)
            candidate = {name: json.loads(value) for name, value in trial.params.items()}
            if not ask({"fits": candidate})["fits"]:
                study.tell(trial, state=TrialState.FAIL)
                continue
            answer = ask(candidate)
            if answer.get("state") != "complete":
                study.tell(trial, state=TrialState.FAIL)
                continue
            values = losses([answer["objectives"][m] for m in METRICS])
            trial.set_user_attr("constraints", tuple(v - r for v, r in zip(values, region)))
            study.tell(trial, values)
        evaluation.process.stdin.close()
        evaluation.process.wait()
        return about["study"]


def tell(studies, args):
    """Prints all seeds that both have run, and keeps their fronts."""
    value = lambda t, m: t["measurements"][m]["value"]
    points = lambda trials: [losses([value(t, m) for m in METRICS]) for t in trials]
    is_preset = lambda t: "weights.preset" in t["candidate"]
    all_presets = [p for trials in studies.values() for p in points([t for t in trials if is_preset(t)])]
    reference = region_of(all_presets, args.min_quality)
    rows = []
    for seed in sorted({seed for _, seed in studies}):
        ours, theirs = studies["ours", seed], studies["optuna", seed]
        for who, trials in (("ours", ours), ("optuna", theirs), ("presets", [t for t in ours if is_preset(t)])):
            reached = front(points(trials))
            rows.append({"seed": seed, "who": who, "complete": len(trials), "hypervolume": hypervolume(reached, reference), "front": reached})
    (args.results / "fronts.json").write_text(json.dumps({"reference": reference, "runs": rows}, indent=1))
    base = statistics.median(r["hypervolume"] for r in rows if r["who"] == "presets")
    for who in ("ours", "optuna", "presets"):
        mine = [r for r in rows if r["who"] == who]
        shares = [r["hypervolume"] / base for r in mine]
        print(f"{who:8} complete {[r['complete'] for r in mine]}  on the front {[len(r['front']) for r in mine]}  "
              f"hypervolume, as a multiple of the presets' median: {[round(s, 3) for s in shares]}, median {statistics.median(shares):.3f}", flush=True)


def main():
    argv, extra = arguments()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("autotune")
    parser.add_argument("--results", type=pathlib.Path, required=True)
    parser.add_argument("--budget", default="8GB")
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--min-quality", type=float, default=0.25, help="the lowest pass@1 of interest")
    args = parser.parse_args(argv)
    runs = Runs(args, extra)
    studies, presets = {}, None
    for seed in range(1, args.seeds + 1):
        # The first study of ours tells what the presets are.
        order = ["ours", "optuna"] if seed % 2 == 1 else ["optuna", "ours"]
        for who in order:
            study = runs.ours(seed) if who == "ours" else runs.optuna(seed, presets)
            studies[who, seed] = runs.trials(study)
            if presets is None:
                presets = [t["candidate"] for t in studies[who, seed] if t["origin"].startswith("preset")]
        tell(studies, args)


if __name__ == "__main__":
    main()
