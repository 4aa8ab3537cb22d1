"""Runs other optimisers on the landscapes of this folder, with the same noise, seeds and trial counts.

    python3 -m venv venv && venv/bin/pip install optuna pymoo scipy torch
    cargo bench --no-default-features --bench search --no-run      # prints the path of the binary
    venv/bin/python benches/search/peers.py BINARY --landscape smooth --peers tpe,nsga2,gp,pymoo --seeds 3 [--filter] [--region]

`--warm`: the first trials are presets, all groups at one weight type and the rest at its first level, as far as they fit (six at most).
`--filter`: what does not fit is refused before it is tried and costs no trial, as for our samplers. Without it such a trial is
spent. `--region`: the bounds of the region are told as constraints, to peers that take constraints. Optuna's GP sampler, refused,
would ask the same point again: it is given one that fits a few steps away.
"""

import argparse
import json
import random
import statistics
import subprocess
import time
import warnings

warnings.filterwarnings("ignore")


class Oracle:
    """One landscape, answered by our binary."""

    def __init__(self, binary, landscape):
        self.process = subprocess.Popen(
            [binary, "--oracle", landscape], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        about = json.loads(self.process.stdout.readline())
        self.levels, self.ordered = about["levels"], about["ordered"]
        self.reference, self.volume = about["reference"], about["hypervolume"]
        self.presets = about["presets"]

    def ask(self, point, seed, number):
        line = json.dumps({"point": [int(p) for p in point], "seed": seed, "number": number})
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def hypervolume(points, reference):
    from pymoo.indicators.hv import HV
    import numpy as np

    inside = [p for p in points if all(x < r for x, r in zip(p, reference))]
    return float(HV(ref_point=np.array(reference))(np.array(inside))) if inside else 0.0


class Search:
    """Counts trials and keeps the true losses of what fits."""

    def __init__(self, oracle, seed, trials, use_filter):
        self.oracle, self.seed, self.trials, self.filter = oracle, seed, trials, use_filter
        self.number, self.reached = 0, []

    def fits(self, point):
        return self.oracle.ask(point, self.seed, self.number)["feasible"]

    def repaired(self, point, rng):
        """The point that fits a few steps away: each step takes the level that saves most of three parameters drawn at random."""
        point, size = list(point), lambda p: self.oracle.ask(p, self.seed, self.number)["true"][1]
        while not self.fits(point):
            drawn = rng.sample(range(len(point)), min(3, len(point)))
            near = [[*point[:d], level, *point[d + 1 :]] for d in drawn for level in range(self.oracle.levels[d])]
            point = min(near, key=size)
        return point

    def evaluate(self, point):
        """Noisy losses of a trial; None when it does not fit, which costs a trial."""
        answer = self.oracle.ask(point, self.seed, self.number)
        self.number += 1
        self.reached.append(answer["true"] if answer["feasible"] else None)
        return answer["noisy"] if answer["feasible"] else None

    def shares(self, marks):
        return [
            hypervolume([p for p in self.reached[:m] if p], self.oracle.reference) / self.oracle.volume for m in marks
        ]


def run_optuna(search, name, region, warm):
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    reference = search.oracle.reference

    def constraints(trial):
        return trial.user_attrs.get("constraints", (1.0,) * (1 + len(reference)))

    constrained = constraints if region else None
    sampler = {
        "tpe": lambda: optuna.samplers.TPESampler(
            seed=search.seed, multivariate=True, constraints_func=constrained
        ),
        "nsga2": lambda: optuna.samplers.NSGAIISampler(
            seed=search.seed, population_size=20, constraints_func=constrained
        ),
        "gp": lambda: optuna.samplers.GPSampler(
            seed=search.seed, deterministic_objective=False, constraints_func=constrained
        ),
    }[name]()
    study = optuna.create_study(directions=["minimize"] * 3, sampler=sampler)
    rng = random.Random(search.seed)
    refused = 0
    if warm:
        for point in search.oracle.presets:
            study.enqueue_trial({f"p{i}": v for i, v in enumerate(point)})
    while search.number < search.trials:
        trial = study.ask()
        point = []
        for i, n in enumerate(search.oracle.levels):
            if search.oracle.ordered[i]:
                point.append(trial.suggest_int(f"p{i}", 0, n - 1))
            else:
                point.append(trial.suggest_categorical(f"p{i}", list(range(n))))
        if search.filter and not search.fits(point):
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            refused += 1
            if name == "gp":  # knowing nothing new, it would ask the same again
                point = search.repaired(point, rng)
                study.enqueue_trial({f"p{i}": v for i, v in enumerate(point)})
            elif refused % 30 == 0:  # it asks for nothing else: help it with a random point that fits
                while True:
                    point = [rng.randrange(n) for n in search.oracle.levels]
                    if search.fits(point):
                        break
                study.enqueue_trial({f"p{i}": v for i, v in enumerate(point)})
            continue
        noisy = search.evaluate(point)
        if noisy is None:
            trial.set_user_attr("constraints", (1.0,) * (1 + len(reference)))
            study.tell(trial, [5.0, reference[1] + 1.0, 5.0] if region else None,
                       state=None if region else optuna.trial.TrialState.FAIL)
        else:
            trial.set_user_attr("constraints", (-1.0, *(x - r for x, r in zip(noisy, reference))))
            study.tell(trial, noisy)


def run_pymoo(search, name, region, warm):
    import numpy as np
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.problem import Problem
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.operators.sampling.rnd import IntegerRandomSampling
    from pymoo.problems.static import StaticProblem
    from pymoo.core.evaluator import Evaluator

    reference = search.oracle.reference
    problem = Problem(
        n_var=len(search.oracle.levels), n_obj=3, n_ieq_constr=4, xl=0,
        xu=np.array(search.oracle.levels) - 1, vtype=int,
    )
    start = IntegerRandomSampling()
    if warm:
        rng = np.random.default_rng(search.seed)
        presets = search.oracle.presets
        rest = [[rng.integers(n) for n in search.oracle.levels] for _ in range(20 - len(presets))]
        start = np.array(presets + rest)
    algorithm = NSGA2(
        pop_size=20, sampling=start, crossover=SBX(repair=RoundingRepair(), vtype=float),
        mutation=PM(repair=RoundingRepair(), vtype=float), eliminate_duplicates=True,
    )
    algorithm.setup(problem, termination=("n_gen", 10_000), seed=search.seed, verbose=False)
    while search.number < search.trials:
        population = algorithm.ask()
        losses, constraints = [], []
        for point in population.get("X"):
            noisy = None
            if search.number < search.trials and (not search.filter or search.fits(point)):
                noisy = search.evaluate(point)
            if noisy is None:
                losses.append([5.0, reference[1] + 1.0, 5.0])
                constraints.append([1.0, 1.0, 1.0, 1.0])
            else:
                losses.append(noisy)
                over = [x - r for x, r in zip(noisy, reference)] if region else [-1.0] * 3
                constraints.append([-1.0, *over])
        static = StaticProblem(problem, F=np.array(losses), G=np.array(constraints))
        Evaluator().eval(static, population)
        algorithm.tell(infills=population)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--landscape", default="smooth")
    parser.add_argument("--peers", default="tpe,nsga2,pymoo")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--filter", action="store_true")
    parser.add_argument("--region", action="store_true")
    parser.add_argument("--warm", action="store_true")
    args = parser.parse_args()
    marks = [m for m in (25, 50, 100, 200) if m <= args.trials]
    for landscape in args.landscape.split(","):
        oracle = Oracle(args.binary, landscape)
        for peer in args.peers.split(","):
            rows, seconds = [], time.process_time()
            for seed in range(1, args.seeds + 1):
                search = Search(oracle, seed, args.trials, args.filter)
                (run_pymoo if peer == "pymoo" else run_optuna)(search, peer, args.region, args.warm)
                rows.append(search.shares(marks))
            seconds = (time.process_time() - seconds) / args.seeds
            how = " ".join(["filter"] * args.filter + ["region"] * args.region + ["warm"] * args.warm) or "plain"
            quartiles = [statistics.quantiles([r[i] for r in rows], n=4, method="inclusive") for i in range(len(marks))]
            text = "  ".join(f"{100 * q[1]:5.1f} ({100 * q[0]:4.1f}-{100 * q[2]:4.1f})" for q in quartiles)
            print(f"{landscape:12} {peer:6} {how:14} {text}   {seconds:.0f} CPU-s a run", flush=True)


if __name__ == "__main__":
    main()
