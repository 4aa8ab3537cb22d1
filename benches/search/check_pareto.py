"""Checks our hypervolume and Pareto code against pymoo's on random sets, to 1e-9.

    python3 -m venv venv && venv/bin/pip install pymoo
    cargo bench --no-default-features --bench search --no-run      # prints the path of the binary
    venv/bin/python benches/search/check_pareto.py BINARY
"""

import json
import subprocess
import sys

import numpy as np
from pymoo.indicators.hv import HV
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting


def main():
    process = subprocess.Popen([sys.argv[1], "--answer"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    rng = np.random.default_rng(1)
    worst, sets = 0.0, 0
    for objectives in (1, 2, 3, 4, 5):
        for count in (1, 2, 10, 60, 200 if objectives < 5 else 60):
            for coarse in (False, True):
                for _ in range(10):
                    points = rng.random((count, objectives)) * 1.2
                    if coarse:  # ties and duplicates
                        points = np.round(points * 6) / 6
                    reference = np.full(objectives, 1.0)
                    process.stdin.write(json.dumps({"points": points.tolist(), "reference": reference.tolist()}) + "\n")
                    process.stdin.flush()
                    answer = json.loads(process.stdout.readline())
                    inside = points[(points < reference).all(axis=1)]
                    theirs = float(HV(ref_point=reference)(inside)) if len(inside) else 0.0
                    worst = max(worst, abs(theirs - answer["hypervolume"]))
                    fronts = NonDominatedSorting().do(points)
                    assert sorted(fronts[0].tolist()) == answer["front"], (points, fronts[0], answer["front"])
                    ranks = np.empty(count, dtype=int)
                    for rank, front in enumerate(fronts):
                        ranks[front] = rank
                    assert ranks.tolist() == answer["ranks"]
                    sets += 1
    print(f"{sets} sets: fronts and ranks equal, hypervolumes within {worst:.1e}")
    sys.exit(worst > 1e-9)


if __name__ == "__main__":
    main()
