"What the results of the model benchmark say, as text."

import json
import math
from pathlib import Path
from statistics import mean, median

LOWER = {"roc_auc": False, "log_loss": True, "rmse": True}  # whether less is better
NAMES = {"roc_auc": "ROC-AUC", "log_loss": "log loss", "rmse": "RMSE"}


def read_results(
    path: Path,  # JSON lines
) -> list[dict]:  # none where there is no file
    "All results so far"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def loss(
    result: dict,  # one line
) -> float:  # infinite where the system failed
    "The score, less is better"
    if result["score"] is None:
        return math.inf
    return result["score"] if LOWER[result["metric"]] else -result["score"]


def tied(a: float, b: float) -> bool:
    "Whether two losses are as good as equal"
    return math.isclose(a, b, rel_tol=1e-6)


def ranks(
    losses: dict[str, float],  # by system
) -> dict[str, float]:  # 1 is best; ties share the mean, failures are last
    "The ranks on one table"
    out = {}
    for name, value in losses.items():
        ties = sum(tied(value, other) for other in losses.values())
        better = sum(other < value and not tied(value, other) for other in losses.values())
        out[name] = len(losses) if math.isinf(value) else better + (ties + 1) / 2
    return out


def latest(
    results: list[dict],  # in the order of the file
) -> dict[tuple, dict[str, dict]]:  # by (budget, cores), (table, seed), then system
    "The last result of each system; of nbs only its newest version"
    newest = next((r["version"] for r in reversed(results) if r["system"] == "nbs"), None)
    out: dict = {}
    for r in results:
        if r["system"] != "nbs" or r["version"] == newest:
            cells = out.setdefault((r["budget"], r["cores"]), {})
            cells.setdefault((r["table"], r["seed"]), {})[r["system"]] = r
    return out


def grid(
    head: list[str],  # of the columns
    rows: list[list],  # texts
) -> str:  # Markdown
    "A table"
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def digits(value: float) -> str:
    "A score, five significant digits"
    return f"{value:.5g}" if abs(value) < 1e5 else f"{value:.0f}"


def mean_ranks(
    cells: dict,  # (table, seed) to system to result
    systems: list[str],  # that are compared
) -> str:  # Markdown
    "Mean ranks, on the tables that all systems have run on"
    whole = [by for by in cells.values() if set(systems) <= set(by)]
    rows = []
    for title, what in (("all", None), ("judge", "judge"), ("tune", "tune"), *((t, t) for t in TASKS)):
        picked = [by for by in whole if what in (None, *(by[systems[0]][k] for k in ("part", "task")))]
        if picked:
            found = [ranks({s: loss(by[s]) for s in systems}) for by in picked]
            values = {s: mean(f[s] for f in found) for s in systems}
            texts = [bold(f"{v:.2f}", v == min(values.values())) for v in values.values()]
            rows.append([title, len(picked), *texts])
    return grid(["tables", "results", *systems], rows)


TASKS = ("binary", "multiclass", "regression")


def bold(text: str, really: bool) -> str:
    "Bold, or as it is"
    return f"**{text}**" if really else text


def win_rates(
    cells: dict,  # (table, seed) to system to result
    peers: list[str],  # the others
) -> str:  # Markdown
    "How often nbs is better than each peer, ties counting half"
    rows = []
    for peer in peers:
        row = [peer]
        for part in ("judge", "tune"):
            pairs = [(loss(by["nbs"]), loss(by[peer])) for by in cells.values() if {"nbs", peer} <= set(by)
                     and by["nbs"]["part"] == part]  # fmt: skip
            wins = [0.5 if a == b or tied(a, b) else float(a < b) for a, b in pairs]
            row += [f"{100 * mean(wins):.0f} %" if wins else "", len(wins)]
        rows.append(row)
    return grid(["nbs against", "judge", "results", "tune", "results"], rows)


def scores(
    cells: dict,  # (table, seed) to system to result
    systems: list[str],  # the columns
    order: list[str],  # of the tables
) -> str:  # Markdown
    "All scores, the best in bold"
    rows = []
    for (table, seed), by in sorted(cells.items(), key=lambda c: (order.index(c[0][0]), c[0][1])):
        one = next(iter(by.values()))
        best = min(loss(r) for r in by.values())
        texts = ["" if s not in by else "failed" if by[s]["score"] is None
                 else bold(digits(by[s]["score"]), tied(loss(by[s]), best)) for s in systems]  # fmt: skip
        about = [table, one["part"], f"{one['rows']:,} x {one['columns']}", NAMES[one["metric"]], seed]
        rows.append([*about, *texts])
    return grid(["table", "part", "rows x columns", "metric", "seed", *systems], rows)


def costs(
    cells: dict,  # (table, seed) to system to result
    systems: list[str],  # the rows
    budget: float,  # seconds
) -> str:  # Markdown
    "Time to fit, time to predict against AutoGluon's, memory, failures"
    rows = []
    for system in systems:
        runs = [by for by in cells.values() if system in by]
        fitted = [by[system] for by in runs if by[system]["fit_seconds"] is not None]
        row = [system, len(runs), sum(by[system]["score"] is None for by in runs)]
        if fitted:
            times = [r["fit_seconds"] for r in fitted]
            row += [f"{median(times) / budget:.2f}", f"{max(times) / budget:.2f}"]
            row += [ratio(runs, system, what) for what in ("predict_one_ms", "predict_10k_s")]
            row += [f"{median(r[what] for r in fitted):.3g}" for what in ("predict_one_ms", "predict_10k_s")]
            row += [f"{max(r['memory_mb'] for r in fitted):.0f}"]
        rows.append(row + [""] * (10 - len(row)))
    head = ["system", "results", "failed", "fit / budget, median", "most"]
    head += ["one row / AutoGluon", "10,000 rows / AutoGluon", "one row, ms", "10,000 rows, s", "memory, MB"]
    return grid(head, rows)


def ratio(runs: list[dict], system: str, what: str) -> str:
    "The median of a system's time by AutoGluon's on the same table"
    pairs = [(by[system][what], by.get("autogluon", {}).get(what)) for by in runs]
    found = [a / b for a, b in pairs if a and b]
    return f"{median(found):.3g}" if found else ""


def kept_promises(
    cells: dict,  # (table, seed) to system to result
    order: list[str],  # of the tables
) -> str:  # Markdown; empty where nothing was promised
    "nbs: the score of cross-validation beside the one on the test part"
    rows, apart = [], []
    for (table, seed), by in sorted(cells.items(), key=lambda c: (order.index(c[0][0]), c[0][1])):
        r = by.get("nbs", {})
        if r.get("promised") is None or r["score"] is None:
            continue
        error = math.hypot((r["promised_high"] - r["promised_low"]) / 3.92, r["score_error"])
        worse = (r["score"] - r["promised"]) * (1 if LOWER[r["metric"]] else -1) / error
        timed = r["by_time"]
        if not timed:
            apart.append(worse)
        said = f"{digits(r['promised'])} ({digits(r['promised_low'])} to {digits(r['promised_high'])})"
        rows.append(
            [
                table,
                NAMES[r["metric"]],
                seed,
                said,
                digits(r["score"]),
                f"{worse:+.1f}",
                "yes" if timed else "",
            ]
        )
    if not apart:
        return ""
    head = [
        "table",
        "metric",
        "seed",
        "promised (95 % interval)",
        "held",
        "worse by, standard errors",
        "by time",
    ]
    flattered = sum(w > 1.96 for w in apart)
    lead = f"""The last column but one says by how many standard errors of both together the test part turned out worse than
cross-validation had promised. A promise that is honest is broken by more than 1.96 once in forty tables where rows are
dealt by chance: here it was {flattered} times out of {len(apart)}, and {mean(apart):+.2f} on average. Below 0 it was too
careful: the final model has more rows than those of the folds, many more where a large table is searched on a part of it.
Where the test part is later than the rest, the world may have changed in between; these do not count."""
    return lead + "\n\n" + grid(head, rows)


def best_first(
    results: list[dict],  # of one budget and number of cores
    order: list[str],  # of the tables
) -> str:  # plain text
    "A line for each table: nbs' score and place, then all scores from the best on"
    cells = next(iter(latest(results).values()), {})
    lines, places = [], []
    for (table, seed), by in sorted(cells.items(), key=lambda c: (order + [c[0][0]]).index(c[0][0])):
        if table in order and "nbs" in by:
            place = ranks({s: loss(r) for s, r in by.items()})["nbs"]
            places.append(place)
            said = [f"{s} {digits(r['score']) if r['score'] is not None else 'failed'}"
                    for s, r in sorted(by.items(), key=lambda pair: loss(pair[1]))]  # fmt: skip
            seconds = by["nbs"]["fit_seconds"]
            head = f"{table:<14}{NAMES[by['nbs']['metric']]:<9}seed {seed}  place {place:g} of {len(by)}"
            lines.append(f"{head}  {'-' if seconds is None else f'{seconds:.0f}'} s   {'  '.join(said)}")
    return "\n".join([*lines, f"mean place {mean(places):.2f} on {len(places)}" if places else "no results"])


def markdown(
    results: list[dict],  # all
    tables: list,  # the list of tables
) -> str:  # the page
    "docs/benchmarks/models.md"
    groups = latest(results)
    order = [t.name for t in tables]
    versions = {r["system"]: r["version"] for cells in groups.values() for by in cells.values()
                for r in by.values()}  # fmt: skip
    first = [s for s in ("nbs", "autogluon", "flaml", "mljar", "lightgbm") if s in versions]
    parts = [INTRODUCTION, ", ".join(f"{s} {versions[s]}" for s in first) + "."]
    for (budget, cores), cells in sorted(groups.items()):
        systems = [s for s in first if any(s in by for by in cells.values())]
        parts += [f"## {budget:g} seconds, {cores} {'core' if cores == 1 else 'cores'}", "### Mean ranks"]
        parts += ["Of the results that all systems have; 1 is best.", mean_ranks(cells, systems)]
        if "nbs" in systems:
            parts += ["### Wins of nbs", win_rates(cells, systems[1:])]
        parts += ["### Scores", "ROC-AUC: more is better; log loss and RMSE: less is."]
        parts += [scores(cells, systems, order), "### What it costs", costs(cells, systems, budget)]
        if promises := kept_promises(cells, order):
            parts += ["### What cross-validation promised", promises]
        failed = [f"- {s} on {table}, seed {seed}: {by[s]['error']}" for (table, seed), by in cells.items()
                  for s in systems if s in by and by[s]["error"]]  # fmt: skip
        parts += ["Failures:", "\n".join(failed)] if failed else []
    drops = [[t.name, t.part, t.task, t.target, t.source, t.drop, t.time or ""] for t in tables]
    head = ["table", "part", "task", "target", "source", "dropped", "sorted by"]
    parts += ["## Tables", "Dropped are identifiers and what is known only after the outcome."]
    return "\n\n".join([*parts, grid(head, drops)]) + "\n"


INTRODUCTION = """# Models

How good are the models that nbs finds, against other systems that look for models? Each system gets the same training
part of each table (four fifths; by time where there is an order in time), the same seconds and the same cores, and is
told the metric. It is judged on the other fifth. Importing a system is not counted. A system that fails, or takes more
than three times the budget, is last on that table. Where a table is split by time, nbs and FLAML are told the column of
time; the others have no place for it.

Tables marked *tune* may be looked at while nbs is tuned; tables marked *judge* are only judged on. Believe those.

The results here were measured on one core of a machine whose second core was busy with other work, for every system. On
a quiet machine nbs (60 seconds, an earlier state, in docs/benchmarks/models.jsonl too) came out better: mean rank 1.75,
ahead of AutoGluon on 13 of 20 tables; the others were not measured again there.

```sh
make bench-models                                            # runs what is missing in docs/benchmarks/models.jsonl
make bench-models ARGS="--systems nbs --tables judge --budget 60 --seeds 0,1 --cores 1"
make bench-models ARGS=--dev                                 # nbs on the tables for tuning, beside the peers
make bench-models ARGS=--report                              # writes this page
```"""
