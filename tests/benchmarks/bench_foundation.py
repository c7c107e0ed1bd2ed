"Time to answer, to explore a large table, and to make a whole version: medians of several runs, as text."

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from conftest import BIN, environment, make_project  # noqa: E402


def seconds(command: list[object], root: Path, runs: int) -> list[float]:
    "Wall time of a command, several times"
    times = []
    for _ in range(runs):
        began = time.perf_counter()
        done = subprocess.run(
            [str(c) for c in command], cwd=root, env=environment(root), capture_output=True, text=True
        )
        times.append(time.perf_counter() - began)
        if done.returncode:
            raise SystemExit(done.stderr[-2000:])
    return times


def large_table(rows: int = 300_000, columns: int = 30) -> pd.DataFrame:
    "Numbers, categories, dates and missing values, with a target that depends on a few of them"
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({f"n{i}": rng.normal(size=rows) for i in range(columns - 8)})
    frame["day"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(
        np.sort(rng.integers(0, 365 * 24, rows)), unit="h"
    )
    for i, levels in enumerate((2, 5, 30, 300, 5000)):
        frame[f"c{i}"] = pd.Series(rng.integers(0, levels, rows)).map(lambda v: f"level {v}")
    frame.loc[rng.random(rows) < 0.1, ["n3", "c2"]] = None
    frame["text"] = "note " + pd.Series(rng.integers(0, rows, rows)).astype(str)
    frame["target"] = np.where(frame["n0"] + frame["n1"] ** 2 + rng.normal(size=rows) > 1, "yes", "no")
    return frame


def main() -> None:
    "Print a table of medians and their limits"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        root = make_project(Path(folder) / "project")
        large_table().to_parquet(root / "large.parquet")
        config = {
            "question": "How long does a large table take?",
            "task": "binary",
            "data": {"path": "large.parquet"},
            "target": "target",
            "time": "day",
        }
        (root / "configs/large.yaml").write_text(json.dumps(config))
        explore = [
            BIN / "papermill",
            ROOT / "notebooks/01_exploration.ipynb",
            root / "out.ipynb",
            "-p",
            "study",
            "large",
            "--no-progress-bar",
        ]
        rows = [("nbs --help", seconds([BIN / "nbs", "--help"], root, max(runs, 5)), 0.3)]
        whole = seconds(explore, root, runs)
        record = json.loads((root / "data/processed/large/work/exploration.json").read_text())
        rows += [
            ("exploration of 300,000 x 30, papermill and kernel included", whole, None),
            ("the same, from opening the stage to closing it", [record["seconds"]], 10),
        ]
        flights = [BIN / "nbs", "run", "flights", "--force"]  # without it the second run would only look
        rows += [("nbs run flights", seconds(flights, root, runs), 90)]
    print(f"{os.cpu_count()} cores")
    for name, times, limit in rows:
        print(
            f"{name:<60} median {statistics.median(times):6.2f} s   {'limit ' + str(limit) + ' s' if limit else ''}"
        )


if __name__ == "__main__":
    main()
