#!/usr/bin/env python3
"""Kills a real study at random moments with SIGKILL, resumes it each time, and compares what the database holds.

usage: kill_resume.py AUTOTUNE FOLDER [KILLS] [SEED] [LONGEST_S]

The model is the demo model (AUTOTUNE_DEMO_MODEL). After each kill every rung, measurement and generation that was committed before
must still be there with the same bits, and each kill comes at most LONGEST_S (20) seconds after a start; in the end the study must finish by itself, without a duplicate. Ends with 1 where it does not.
"""

import os
import random
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

TUNE = [
    "tune", "--budget", "1GB", "--space", "smoke", "--workload", "64:16:2", "--task-limit", "6", "--trials", "16",
    "--time", "60m",
]
QUERIES = {
    "studies": "select id, name from study",
    "rungs": "select t.number, r.rung, r.started_ms, r.duration_ms from rung r join trial t on t.id = r.trial_id",
    "measurements": "select t.number, m.rung, m.metric, m.unit, m.value, m.low, m.high, m.samples, m.raw"
    " from measurement m join trial t on t.id = m.trial_id",
    "generations": "select t.number, g.task, g.sample, g.completion, g.verdict"
    " from generation g join trial t on t.id = g.trial_id join rung r on r.trial_id = t.id and r.rung = 'graded'",
    "ended trials": "select number, candidate, hash, state, rung, artifact_hash, ended_ms from trial"
    " where state not in ('queued', 'running')",
}


def snapshot(database: Path) -> dict[str, set]:
    if not database.exists():
        return {name: set() for name in QUERIES}
    with sqlite3.connect(database, timeout=10) as db:
        try:
            return {name: set(db.execute(query)) for name, query in QUERIES.items()}
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return {name: set() for name in QUERIES}
            raise


def main() -> int:
    if not os.path.exists(os.environ.get("AUTOTUNE_DEMO_MODEL", "")):
        sys.exit("AUTOTUNE_DEMO_MODEL names no file; `make setup` installs .deps/models/SmolLM2-135M-Instruct.Q4_1.gguf")
    program, folder = sys.argv[1], Path(sys.argv[2])
    kills = int(sys.argv[3]) if len(sys.argv) > 3 else 20
    chance = random.Random(int(sys.argv[4]) if len(sys.argv) > 4 else 1)
    longest = float(sys.argv[5]) if len(sys.argv) > 5 else 20.0
    database = folder / "autotune.db"
    places = ["--results", str(folder), "--reports", str(folder / "reports")]
    seen, lost, early = snapshot(database), 0, 0

    def run(limit: float | None) -> int | None:
        begun = snapshot(database)["studies"]
        command = [program, *(["resume"] if begun else TUNE), *places]
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            return child.wait(limit)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            return None

    for kill in range(kills):
        code = run(chance.uniform(1.0, longest))
        now = snapshot(database)
        gone = {name: len(seen[name] - now[name]) for name in QUERIES}
        lost += sum(gone.values())
        early += code is not None
        counts = ", ".join(f"{len(now[name])} {name}" for name in QUERIES)
        print(f"kill {kill + 1}: {counts}; lost or changed {sum(gone.values())}", flush=True)
        seen = now
    code = run(None)
    now = snapshot(database)
    lost += sum(len(seen[name] - now[name]) for name in QUERIES)
    with sqlite3.connect(database) as db:
        twice = db.execute("select count(*) from (select hash from trial group by study_id, hash having count(*) > 1)").fetchone()[0]
        states = dict(db.execute("select state, count(*) from trial group by state"))
    time.sleep(2)
    left = subprocess.run(["pgrep", "-fc", f"{program} worker"], capture_output=True, text=True).stdout.strip()
    print(f"{kills} kills ({early} came after the end); lost or changed {lost}; duplicates {twice}; workers left {left}")
    print(f"last resume ended with {code}; trials {states}, {len(now['measurements'])} measurements, {len(now['generations'])} generations")
    return int(lost > 0 or twice > 0 or code != 0)


if __name__ == "__main__":
    sys.exit(main())
