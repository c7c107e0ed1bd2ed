"""Months of flights in which something is known to have changed, or nothing, through the commands: run, bundle, monitor.

Every fourth day of the year is kept from training, so that those days are like the training days. A month is thirty of
them, drawn by chance; some are changed on purpose. Takes a quarter of an hour.

    python tests/benchmarks/bench_planted.py                # in a scratch project
    python tests/benchmarks/bench_planted.py --quiet 20     # twenty months without a change instead of four
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]
from conftest import make_project, nbs

STUDY = "flights_watched"
EXPECTED = {"plane_built": "plane_built", "carrier": "carrier", "distance": "distance", "outcome": "worse"}


def configure(root: Path) -> None:
    "The default study, with every fourth day kept for later; features look back over hours alone, since days are missing"
    config = yaml.safe_load((root / "configs/flights.yaml").read_text(encoding="utf-8"))
    inner = config["data"]["sql"]
    config["data"]["sql"] = f"SELECT *, CASE WHEN dayofyear(scheduled) % 4 = 0 THEN 'later' ELSE 'now' END AS part FROM ({inner}) ORDER BY scheduled, carrier, origin, dest"  # fmt: skip
    config["split"] = {"by": "column", "column": "part", "values": ["later"]}
    config["features"]["history"] = [h for h in config["features"]["history"] if h["window"] != "7d"]
    (root / f"configs/{STUDY}.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")


def months(root: Path, quiet: int) -> dict[str, pd.DataFrame]:
    "Thirty later days each, drawn by chance; some changed"
    import watch_truths as w

    later = pd.read_parquet(root / f"data/processed/{STUDY}/v001/holdout.parquet").reset_index(drop=True)
    later = later.assign(late=later["arrival"] == "late")
    days, found = w.days_of(later), {}
    changes = {**{f"nothing {i + 1}": w.nothing for i in range(quiet)}, **w.PLANTED}
    for i, (name, change) in enumerate(changes.items()):
        rng = np.random.default_rng([i, 7])
        chosen = np.sort(np.concatenate([days[d] for d in rng.choice(len(days), 30, replace=False)]))
        found[name] = change(later.iloc[chosen].reset_index(drop=True), rng).drop(columns="late")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quiet", type=int, default=4, help="months in which nothing changes")
    parser.add_argument("--project", type=Path, help="a scratch project from an earlier time")
    asked = parser.parse_args()
    root = asked.project or Path(tempfile.mkdtemp()) / "project"
    if not (root / f"reports/{STUDY}/v001").is_dir():
        make_project(root)
        configure(root)
        done = nbs(root, "run", STUDY, timeout=3600)
        print(done.stdout.splitlines()[-4:] if not done.returncode else done.stdout + done.stderr)
    wrong = 0
    for name, month in months(root, asked.quiet).items():
        month.to_parquet(root / "month.parquet")
        done = nbs(root, "monitor", STUDY, "--data", "month.parquet", timeout=3600)
        file = root / f"reports/{STUDY}/monitoring/v001/monitoring.json"
        record = json.loads(file.read_text(encoding="utf-8"))
        said = " ".join(record["findings"])
        right = (
            EXPECTED[name] in said and done.returncode in (1, 3) if name in EXPECTED else done.returncode == 0
        )
        wrong += not right
        print(f"\n{name}: {'right' if right else 'WRONG'} (exit code {done.returncode})")
        print("\n".join(f"  {f}" for f in record["findings"][1:]) if done.returncode != 2 else done.stderr, flush=True)  # fmt: skip
    print(f"\n{wrong} wrong; the project is {root}")


if __name__ == "__main__":
    main()
