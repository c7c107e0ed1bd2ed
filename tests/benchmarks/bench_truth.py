"""Simulate worlds whose truth is known, and count how often the library is wrong. Writes docs/benchmarks/truth.md.

make bench-truth                       # what is missing in docs/benchmarks/truth.jsonl; about an hour on one core
make bench-truth ARGS="--sims 200 --only slices"
make bench-truth ARGS=--report         # writes the page from the results that there are
"""

import argparse
import json
import sys
import time
from functools import partial
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import truths as t

from nbs_lib.tasks.intervals import wilson

ROOT = HERE.parents[1]
RESULTS, PAGE = ROOT / "docs/benchmarks/truth.jsonl", ROOT / "docs/benchmarks/truth.md"
SIZES = [(200, None), (2000, None), (200, 10), (200, 20), (2000, 10), (2000, 20), (2000, 60)]
TITLES = {
    "intervals": ("Intervals", "95 % intervals of a metric hold the truth. Rows: independent, or in groups of unequal size that share a shock."),
    "paired": ("Paired comparison", "Two equally good models are told apart (5 % at most is promised), and one that is better is found."),
    "looks": ("Repeated looks", "The interval of the best of five equal models holds its truth, as it is and widened for five looks."),
    "promise": ("Promise and holdout", "The holdout is said to be worse than promised though nothing differs: 2.5 % is meant."),
    "slices": ("Weak spots", "A model that is equally good everywhere is said to have a weak spot: 5 % at most is promised for all together."),
    "power": ("Weak spots that are there", "A slice of 10 % of the rows (two columns) with a loss twice as large is found."),
    "fairness": ("Sensitive groups", "Groups that are treated alike are said to differ; the four-fifths rule is said to be broken at a true ratio of 1, or of exactly 0.8. 5 % at most is promised."),
    "ranges": ("Ranges and sets", "Ranges and sets of classes that promise 90 %: mean share that holds the truth, over as many training samples."),
}  # fmt: skip


def jobs() -> dict[str, tuple]:
    "Section, name, function of the number of simulations -> hits by what was counted, share of the simulations that is made"
    found = {}
    for task in t.METRICS:
        for n, g in SIZES:
            rows = f"{n:,} rows" + (f" in {g} groups" if g else "")
            found["intervals", f"{task}, {rows}"] = (partial(t.coverage, task, n, g), 1 if n < 1000 else 0.5)
    for n, g in SIZES:
        rows = f"{n:,} rows" + (f" in {g} groups" if g else "")
        names = ("bootstrap", "DeLong")[: 1 if g else 2]
        found["paired", f"equal, {rows}"] = (
            lambda s, n=n, g=g, names=names: dict(zip(names, t.paired_alarms(n, g, s), strict=False)),
            1 if n < 1000 else 0.5,
        )
    found["paired", "one ahead, 2,000 rows"] = (
        lambda s: dict(zip(("bootstrap", "DeLong"), t.paired_alarms(2000, None, s, ahead=0.35), strict=True)),
        0.25,
    )
    found["looks", "mean absolute error, 400 rows"] = (
        lambda s: {"as it is": t.looks_covered(5, 400, s, False), "widened": t.looks_covered(5, 400, s)},
        0.5,
    )
    for n, m, g in [(800, 400, None), (2000, 2000, None), (800, 400, 20)]:
        found["promise", f"{n:,} training, {m:,} holdout rows" + (f", {g} groups each" if g else "")] = (
            lambda s, a=(n, m, g): {"worse than promised": t.broken_promises(*a, s)},
            1,
        )
    worlds = {
        "binary": None,
        "binary, 5 % cases": t.rare,
        "regression, long tails": None,
        "regression, lognormal errors": t.skewed,
        "multiclass": None,
    }
    for task, world in worlds.items():
        for n, g in [(1000, None), (4000, None), (2000, 40)]:
            kind = task.split(",")[0]
            found["slices", f"{task}, {n:,} rows" + (f" in {g} groups" if g else "")] = (
                lambda s, a=(kind, n, g), w=world: t.slice_alarms(*a, s, w),
                1 if n < 4000 else 0.5,
            )
    for task in t.METRICS:
        found["power", f"{task}, 2,000 rows"] = (lambda s, k=task: {"found": t.slice_power(k, 2000, s)}, 0.25)
    for n, k, g in [(600, 2, None), (1000, 5, None), (4000, 8, None), (2000, 5, 40)]:
        for ratio in (1.0, 0.8):
            what = (
                f"{n:,} rows, {k} origins"
                + (f", {g} units" if g else "")
                + (", one at 0.8" if ratio < 1 else ", alike")
            )
            found["fairness", what] = (lambda s, a=(n, k, g), r=ratio: fairness(*a, s, r), 0.5)
    for task in t.METRICS:
        for n in (200, 2000):
            found["ranges", f"{task}, learned from {n:,} rows"] = (
                lambda s, k=task, n=n: {"share": float(t.ranges_kept(k, n, s).mean())},
                0.25,
            )
    return found


def fairness(n: int, groups: int, g: int | None, sims: int, ratio: float) -> dict:
    "Alarms; where a group is treated unlike on purpose only the rule at its border counts"
    gap, rule = t.fairness_alarms(n, groups, g, sims, ratio)
    return {"gap": gap, "rule broken": rule} if ratio == 1 else {"rule broken": rule}


def read() -> dict[tuple, dict]:
    "Results that there are"
    rows = map(json.loads, RESULTS.read_text().splitlines()) if RESULTS.exists() else []
    return {(r["section"], r["name"]): r for r in rows}


def run(args: argparse.Namespace) -> None:
    "Simulate what is missing"
    done = read()
    for (section, name), (count, share) in jobs().items():
        if (section, name) in done or (args.only and section not in args.only.split(",")):
            continue
        sims, began = max(int(args.sims * share), 20), time.perf_counter()
        row = {
            "section": section,
            "name": name,
            "sims": sims,
            "found": count(sims),
            "seconds": round(time.perf_counter() - began),
        }
        with RESULTS.open("a") as f:
            f.write(json.dumps(row) + "\n")
        print(section, name, sims, row["found"], f"{row['seconds']} s", flush=True)


def said(value: float, sims: int) -> str:
    "A share in percent, with its 95 % interval"
    if isinstance(value, float):
        return f"{100 * value:.1f}"
    low, high = wilson(value, sims)
    return f"{100 * value / sims:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def report(rows: dict[tuple, dict]) -> str:
    "The page"
    lines = []
    for section, (title, text) in TITLES.items():
        mine = [r for (s, _), r in rows.items() if s == section]
        if not mine:
            continue
        counted = any(isinstance(v, int) for r in mine for v in r["found"].values())
        interval = ", with Wilson's 95 % interval" if counted else ""
        heads = list(dict.fromkeys(k for r in mine for k in r["found"]))
        lines += [
            "",
            f"## {title}",
            "",
            f"{text} In percent{interval}.",
            "",
        ]
        lines += [
            f"| world | samples | {' | '.join(heads)} |",
            f"| --- | ---: | {' | '.join(['---:'] * len(heads))} |",
        ]
        for r in mine:
            cells = [said(r["found"][h], r["sims"]) if h in r["found"] else "" for h in heads]
            lines.append(f"| {r['name']} | {r['sims']:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


HEAD = """# Is what the reports say true?

Worlds whose truth is known are drawn many times, and what the library says about each sample is held against the truth:
do intervals cover as often as they say, does noise raise an alarm, is what is there found? The worlds are in
`tests/truths.py`, and a small part of this runs with the tests (`tests/test_truth.py`).

```sh
make bench-truth
```
"""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--sims", type=int, default=1000, help="samples of each world; the slow ones get a half or a quarter"
    )
    parser.add_argument("--only", default="", help=f"sections, with commas: {', '.join(TITLES)}")
    parser.add_argument("--report", action="store_true", help="write the page and run nothing")
    args = parser.parse_args()
    if not args.report:
        run(args)
    PAGE.write_text(f"{HEAD}{report(read())}\n", encoding="utf-8")
    print(PAGE.relative_to(ROOT))
