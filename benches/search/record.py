"""Records a measured landscape: candidates of a real model through `autotune evaluate`, as a table that `autotune simulate` searches.

    python3 benches/search/record.py target/release/autotune --budget 8GB --artifacts 60 --each 7 --out landscape/ [-- --model M.gguf ...]

Draws what decides the answers (weight types, pruning, cache types, repacking) at random, and for each a few ways to run it (batch, threads,
micro-batch), so that divergence and grades are measured once for all that share them; latency and memory are measured for every candidate. Whatever is written behind `--` goes to `autotune evaluate`.

Writes OUT/space.toml and OUT/table.csv (one row a candidate: its parameters, latency_ms, memory_bytes, kl, quality, predicted_latency_ms, assumed_kl),
a row at a time; a second call goes on where the first stopped. Then:

    autotune simulate --space OUT/space.toml --table OUT/table.csv --objectives latency_ms:min,kl:min,memory_bytes:min \\
        --cheap predicted_latency_ms,assumed_kl --sampler autotune --trials 25 --seed 1
"""

import argparse
import csv
import json
import pathlib
import random
import subprocess
import sys

COLUMNS = {
    "latency_ms": "request_latency_p50_ms",
    "memory_bytes": "peak_memory_bytes",
    "kl": "kl_mean",
    "quality": "pass_at_1",
    "predicted_latency_ms": "predicted_latency_ms",
}


class Evaluation:
    """A running `autotune evaluate`."""

    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.about = self.read()

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit("autotune evaluate ended; its messages are above")
        return json.loads(line)

    def ask(self, question):
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        return self.read()


def plan(params, artifacts, each, seed):
    """Candidates in groups that give the same answers, all different."""
    rng = random.Random(seed)
    decides = [p for p in params if p["name"].startswith(("weights.", "prune.", "kv.", "repack"))]
    runs = [p for p in params if p not in decides]
    seen = set()
    for _ in range(artifacts):
        artifact = {p["name"]: rng.choice(p["levels"]) for p in decides}
        for _ in range(each):
            candidate = artifact | {p["name"]: rng.choice(p["levels"]) for p in runs}
            key = json.dumps(candidate, sort_keys=True)
            if key not in seen:
                seen.add(key)
                yield candidate


def text(level):
    """A level as TOML and as a cell."""
    return json.dumps(level), str(level).lower() if isinstance(level, bool) else str(level)


def arguments():
    """What is written before `--`, and behind it."""
    argv = sys.argv[1:]
    cut = argv.index("--") if "--" in argv else len(argv)
    return argv[:cut], argv[cut + 1 :]


def main():
    argv, extra = arguments()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("autotune")
    parser.add_argument("--budget", default="8GB")
    parser.add_argument("--artifacts", type=int, default=60)
    parser.add_argument("--each", type=int, default=7)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    evaluation = Evaluation([args.autotune, "evaluate", "--budget", args.budget, "--trials", "1000000", *extra])
    params = evaluation.about["space"]
    with open(args.out / "space.toml", "w") as space:
        space.write("[params]\n")
        for p in params:
            levels = ", ".join(text(level)[0] for level in p["levels"])
            ordered = "true" if p["kind"] == "ordinal" else "false"
            space.write(f'"{p["name"]}" = {{ values = [{levels}], ordered = {ordered} }}\n')
    path = args.out / "table.csv"
    names = [p["name"] for p in params]
    done = set()
    if path.exists():
        with open(path) as table:
            done = {tuple(row[n] for n in names) for row in csv.DictReader(table)}
    with open(path, "a", newline="") as table:
        writer = csv.writer(table)
        if not done:
            writer.writerow([*names, *COLUMNS, "assumed_kl"])
        for candidate in plan(params, args.artifacts, args.each, args.seed):
            row = [text(candidate[n])[1] for n in names]
            before = evaluation.ask({"fits": candidate})
            if tuple(row) in done or not before["fits"]:
                continue
            answer = evaluation.ask(candidate)
            if answer.get("state") != "complete":
                print(f"left out: {answer.get('failure') or answer.get('error')}", file=sys.stderr)
                continue
            values = [answer["measurements"].get(metric, {}).get("value") for metric in COLUMNS.values()]
            values.append(before["assumed_kl"])
            writer.writerow(row + ["" if v is None else repr(v) for v in values])
            table.flush()
    evaluation.process.stdin.close()
    evaluation.process.wait()


if __name__ == "__main__":
    main()
