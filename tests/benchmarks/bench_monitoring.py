"""How fast is monitoring, and how often does it raise a false alarm? Beside Evidently's drift preset on the same tables.

    python tests/benchmarks/bench_monitoring.py                     # a million rows by thirty columns, nbs alone
    python tests/benchmarks/bench_monitoring.py --evidently         # in an environment of its own, made the first time
    python tests/benchmarks/bench_monitoring.py --months 200        # months of flights in which nothing changed

Other processes lengthen wall time, so that processor time stands beside it.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "tests/benchmarks/models"
sys.path[:0] = [str(ROOT / "tests/benchmarks"), str(ROOT / "tests"), str(ROOT)]


def table(
    rows: int,
    seed: int,
    shift: float = 0.0,  # of three numbers, in standard deviations
) -> pd.DataFrame:  # twenty numbers, some with gaps, and ten categories of 2 to 800 levels
    "A table as a server may log it"
    rng = np.random.default_rng(seed)
    columns = {}
    for i in range(20):
        x = rng.normal(shift if i in (1, 3, 5) else 0, 1, rows) if i % 2 else rng.gamma(2, 2, rows)
        columns[f"n{i}"] = np.where(rng.random(rows) < 0.05, np.nan, x) if i % 5 == 0 else x
    for i, levels in enumerate((2, 3, 5, 8, 12, 20, 50, 100, 300, 800)):
        share = 1 / np.arange(1, levels + 1)
        names = np.array([f"level {k}" for k in range(levels)], object)
        columns[f"c{i}"] = pd.array(names[rng.choice(levels, rows, p=share / share.sum())], dtype="str")
    return pd.DataFrame(columns)


def ours(profile: Path, current: Path) -> dict:
    "Schema, drift of each column and of all together, from a saved profile; run in a process of its own"
    from nbs_lib.watch.drift import drift
    from nbs_lib.watch.profile import read_profile
    from nbs_lib.watch.schema import breaches

    frame = pd.read_parquet(current)
    began, busy = time.perf_counter(), time.process_time()
    reference = read_profile(profile.read_text())
    breaches(reference, frame)
    found = drift(reference, frame)
    seconds, processor = time.perf_counter() - began, time.process_time() - busy
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    drifted = int((found.table["verdict"] == "drifted").sum())
    return {"seconds": seconds, "processor": processor, "GiB": peak, "drifted": drifted}


def asked(command: list[object]) -> dict:
    "What a process prints last"
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2"}
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, env=env)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def speed(rows: int, evidently: bool) -> None:
    "Print a line for each system"
    from bench_models import environment

    from nbs_lib.watch.profile import build_profile, profile_json

    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{name}.parquet" for name in ("reference", "current")]
        for i, path in enumerate(paths):
            table(rows, i, 0.5 * i).to_parquet(path)
        profile = Path(folder) / "profile.json"
        profile.write_text(profile_json(build_profile(pd.read_parquet(paths[0]))))
        found = {"nbs": asked([sys.executable, __file__, "--once", profile, paths[1]])}
        if evidently:
            found["evidently"] = asked([environment("evidently"), MODELS / "drift_evidently.py", *paths])
    for name, f in found.items():
        print(f"{name:10} {f['seconds']:8.1f} s  {f['processor']:8.1f} s of a processor  {f['GiB']:.2f} GiB  {f['drifted']} columns drifted")  # fmt: skip


def false_alarms(months: int) -> None:
    "Print how many undrifted months raise an alarm, each against a reference of its own"
    from watch_truths import World, resampled

    from nbs_lib.watch.drift import LEVELS

    world, found, covered = World(), {}, 0
    rows, days = world.rows, world.days
    for s in range(months):
        rng = np.random.default_rng([s, 99])
        world.set_reference(resampled(rows, days, len(days), rng, "2013-01-01"))
        alarms, real, guess, _ = world.report(world.month(rng), s)
        covered += guess[1] <= real[0] <= guess[2]
        for kind in {a.split()[0] for a in alarms} | ({"any"} if alarms else set()):
            found[kind] = found.get(kind, 0) + 1
    print(f"{months} months without a change: alarms {found or 'none'}; allowed {sum(LEVELS.values()):.0%}; the stated error of ROC-AUC covered {covered}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--evidently", action="store_true")
    parser.add_argument("--months", type=int, default=0)
    parser.add_argument("--once", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        print(json.dumps(ours(*options.once)))
    elif options.months:
        false_alarms(options.months)
    else:
        speed(options.rows, options.evidently)


if __name__ == "__main__":
    main()
