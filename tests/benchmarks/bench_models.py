"""How good are the models that nbs finds? The same tables, budget and cores for nbs and its peers.

    make bench-models ARGS="--systems nbs,autogluon --tables judge --budget 60"   # runs what is missing
    make bench-models ARGS=--dev        # nbs on the tables for tuning, beside the peers' scores
    make bench-models ARGS=--report     # writes docs/benchmarks/models.md

Each system runs in an environment and a process of its own. What is in the results file already is not run again.
"""

import argparse
import hashlib
import json
import math
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import log_loss, mean_squared_error, roc_auc_score
from sklearn.model_selection import train_test_split

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "tests/benchmarks/models"
BENCH = ROOT / ".nbs/bench"
sys.path.insert(0, str(MODELS))
from report import best_first, markdown, read_results  # noqa: E402
from tables import FOLDER, TABLES, Table  # noqa: E402

SYSTEMS = {  # the package that names the version, and the preset
    "nbs": ("nbs", ""),
    # On credit, computing and ames (60 s, one core) the mean ranks of five presets were: best_quality 2.3,
    # medium_quality 2.7, high_quality 2.8, good_quality 3.5, best_quality_v150 3.7. All but medium_quality end
    # 3 to 11 s after their limit. extreme_quality needs downloaded weights. Without Ray, folds are fitted in turn.
    "autogluon": ("autogluon.tabular", "best_quality"),
    "flaml": ("flaml", ""),
    "mljar": ("mljar-supervised", "Compete"),
    "lightgbm": ("lightgbm", "tuned"),
}
METRICS = {"binary": "roc_auc", "multiclass": "log_loss", "regression": "rmse"}
KEY = ("system", "version", "table", "budget", "seed", "cores")


def environment(
    name: str,  # of a requirements file in tests/benchmarks/models
) -> Path:  # its python
    "An environment with exactly what the file pins, made where it is missing or out of date"
    pins, folder = MODELS / f"{name}.txt", BENCH / f"env-{name}"
    python, stamp = folder / "bin/python", folder / "installed.txt"
    if not stamp.is_file() or stamp.read_text() != pins.read_text():
        print(f"setting up {folder.relative_to(ROOT)}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        # pip, not uv: it takes a local build of torch. The pins are complete, so nothing is to be resolved; left
        # out are torchvision, which does not fit such a build, and NCCL, which is for several GPUs.
        install = [python, "-m", "pip", "install", "--quiet", "--no-deps", "-r", pins]
        subprocess.run(install, check=True)
        stamp.write_text(pins.read_text())
    return python


def version_of(
    system: str,  # as in SYSTEMS
    preset: str,  # or nothing
) -> str:  # part of the key of a result
    "The version and preset; for nbs a hash of the sources that make its models"
    if system == "nbs":
        digest = hashlib.sha256()
        made_by = [
            path for part in ("core", "models", "tasks") for path in (ROOT / "nbs_lib" / part).glob("*.py")
        ]
        for path in sorted(made_by):
            digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        return f"{project['version']} {digest.hexdigest()[:8]}"
    pins = (MODELS / f"{system}.txt").read_text()
    version = re.search(rf"(?im)^{re.escape(SYSTEMS[system][0])}==(\S+)", pins)[1]
    return f"{version} {preset}".strip()


def load(
    table: Table,  # from the list
) -> pd.DataFrame:  # tidied
    "A table, fetched from its package the first time"
    path = FOLDER / f"{table.name}.parquet"
    if not path.is_file():
        subprocess.run([environment("tables"), MODELS / "tables.py", table.name], check=True)
    return pd.read_parquet(path)


def split(
    frame: pd.DataFrame,  # the whole table
    table: Table,  # what is asked of it
    seed: int,  # by chance unless the table has an order in time
) -> tuple[pd.DataFrame, pd.DataFrame]:  # training and test part
    "Four fifths to learn from, one fifth to judge by"
    if table.time:
        cut = math.ceil(0.8 * len(frame))
        train, test = frame.iloc[:cut], frame.iloc[cut:]
    else:
        by = None if table.task == "regression" else frame[table.target]
        train, test = train_test_split(frame, test_size=0.2, random_state=seed, stratify=by)
    return train.reset_index(drop=True), test.reset_index(drop=True)


def score(
    task: str,  # binary, multiclass or regression
    truth: pd.Series,  # of the test part
    answer: pd.DataFrame,  # probabilities by class, or a column of numbers
) -> float:  # ROC-AUC, log loss or RMSE
    "The task's metric, the same code for every system"
    if len(answer) != len(truth) or answer.isna().any(axis=None):
        raise ValueError("predictions are missing")
    if task == "regression":
        return float(mean_squared_error(truth, answer["prediction"])) ** 0.5
    classes = sorted(truth.unique())
    if task == "binary":
        return float(roc_auc_score(truth == classes[1], answer[classes[1]]))
    shares = answer.reindex(columns=sorted({*classes, *answer.columns}), fill_value=0.0).clip(1e-15, 1)
    shares = shares.div(shares.sum(axis=1), axis=0)
    return float(log_loss(truth, shares, labels=list(shares.columns)))


def spread(
    task: str,  # binary, multiclass or regression
    truth: pd.Series,  # of the test part
    answer: pd.DataFrame,  # as `score` takes it
) -> float:  # in the unit of the score
    "The standard error of a score, by 200 resamples of the test rows"
    rng, found = np.random.default_rng(0), []
    for _ in range(200):
        at = rng.integers(0, len(truth), len(truth))
        if task == "regression" or truth.iloc[at].nunique() > 1:
            found.append(score(task, truth.iloc[at], answer.iloc[at].reset_index(drop=True)))
    return float(np.std(found))


def call(
    system: str,  # as in SYSTEMS
    job: dict,  # what the adapter is told
    folder: Path,  # where it may write
) -> dict:  # its record; an error where it failed
    "Run an adapter on its cores; end it where it takes grossly too long"
    python = sys.executable if system == "nbs" else environment(system)
    (folder / "job.json").write_text(json.dumps(job))
    cores = sorted(os.sched_getaffinity(0))[: job["cores"]]
    threads = ("OMP", "OPENBLAS", "MKL", "NUMEXPR")
    variables = os.environ | {f"{name}_NUM_THREADS": str(job["cores"]) for name in threads}
    variables |= {"LOKY_MAX_CPU_COUNT": str(job["cores"]), "CUDA_VISIBLE_DEVICES": "", "MPLBACKEND": "agg"}
    variables |= {"TMPDIR": str(folder), "HF_HUB_OFFLINE": "1"}
    with open(folder / "log.txt", "w") as log:
        child = subprocess.Popen(
            [str(python), MODELS / f"fit_{system}.py", "job.json"],
            cwd=folder,
            env=variables,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
        try:
            child.wait(timeout=3 * job["budget"] + 300)  # imports and predictions are not in the budget
        except subprocess.TimeoutExpired:
            return {"error": "took grossly too long"}
        finally:
            try:  # whatever it has left behind
                os.killpg(child.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            child.wait()
    if child.returncode:
        last = (folder / "log.txt").read_text(errors="replace").strip().splitlines()[-1:]
        return {"error": f"exit code {child.returncode}: {''.join(last)[:300]}"}
    record = json.loads((folder / "record.json").read_text())
    late = record["fit_seconds"] > 3 * job["budget"]
    return record | ({"error": "took more than three times the budget"} if late else {})


def measure(
    system: str,  # as in SYSTEMS
    table: Table,  # from the list
    options: argparse.Namespace,  # budget, cores
    seed: int,  # of the split and of the system
    preset: str,  # or nothing
) -> dict:  # one line of the results
    "One system on one table"
    frame = load(table)
    train, test = split(frame, table, seed)
    truth = test.pop(table.target)
    metric = METRICS[table.task]
    result = {"system": system, "version": version_of(system, preset), "table": table.name}
    result |= {"task": table.task, "part": table.part, "rows": len(frame), "columns": frame.shape[1] - 1}
    result |= {"metric": metric, "score": None, "budget": options.budget}
    with tempfile.TemporaryDirectory(dir=BENCH, prefix="job-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        job = {what: getattr(table, what) for what in ("task", "target", "time")}
        job |= {"table": table.name, "metric": metric, "preset": preset, "seed": seed}
        job |= {"budget": options.budget, "cores": options.cores}
        job |= {what: str(folder / f"{what}.parquet") for what in ("train", "test", "predictions")}
        job["record"] = str(folder / "record.json")
        train.to_parquet(job["train"], index=False)
        test.to_parquet(job["test"], index=False)
        record = call(system, job, folder)
        if "error" not in record:
            try:
                answer = pd.read_parquet(job["predictions"])
                result["score"] = score(table.task, truth, answer)
                if "promised" in record:
                    result |= {k: v for k, v in record.items() if k.startswith("promised")}
                    result["by_time"] = bool(table.time)
                    result["score_error"] = spread(table.task, truth, answer)
            except (KeyError, ValueError, OSError) as e:
                record["error"] = f"{type(e).__name__}: {e}"[:300]
    for what in ("fit_seconds", "predict_one_ms", "predict_10k_s", "memory_mb"):
        result[what] = round(record[what], 3) if what in record else None
    result |= {"cores": options.cores, "seed": seed, "date": time.strftime("%Y-%m-%d %H:%M")}
    return result | {"error": record.get("error")}


def chosen(
    text: str,  # all, tune, judge, or names with commas between
) -> list[Table]:  # in the order of the list
    "The tables that are meant"
    names = text.split(",")
    unknown = set(names) - {t.name for t in TABLES} - {"all", "tune", "judge"}
    if unknown:
        raise SystemExit(f"--tables: no such table: {', '.join(sorted(unknown))}")
    return [t for t in TABLES if {"all", t.part, t.name} & set(names)]


def run(
    systems: list[str],  # as in SYSTEMS
    tables: list[Table],  # in this order
    options: argparse.Namespace,  # budget, cores, seeds
    results: Path,  # appended to
) -> None:
    "Everything that is not in the results yet, table by table"
    results.parent.mkdir(parents=True, exist_ok=True)
    BENCH.mkdir(parents=True, exist_ok=True)
    for seed in options.seeds:
        for table in tables:
            for system in systems:
                preset = options.preset or SYSTEMS[system][1]
                there = {tuple(r[k] for k in KEY) for r in read_results(results)}
                key = (system, version_of(system, preset), table.name, options.budget, seed, options.cores)
                if key in there and not options.again:
                    continue
                result = measure(system, table, options, seed, preset)
                with open(results, "a") as file:
                    file.write(json.dumps(result) + "\n")
                said = result["error"] or f"{result['metric']} {result['score']:.5f}"
                print(f"{result['date']} {table.name:<14}{system:<10} {said}", flush=True)


def develop(
    tables: list[Table],  # for tuning
    options: argparse.Namespace,  # budget, cores, seeds, results
) -> None:
    "nbs beside the peers' scores; its own results are kept apart, in .nbs/bench/dev.jsonl"
    mine = BENCH / "dev.jsonl"
    run(["nbs"], tables, options, mine)
    same = {"budget": options.budget, "cores": options.cores}
    rows = [r for r in read_results(options.results) if r["system"] != "nbs"]
    version = version_of("nbs", "")
    rows += [r for r in read_results(mine) if r["version"] == version]
    rows = [r for r in rows if r["seed"] in options.seeds and all(r[k] == v for k, v in same.items())]
    print(best_first(rows, [t.name for t in tables]))


def main() -> None:
    "Run, develop or report"
    here = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--systems", default=",".join(SYSTEMS), help="names with commas between (default: all)")
    add("--tables", help="all, tune, judge, or names with commas between")
    add("--budget", type=float, default=60, help="seconds to fit one table")
    add("--seeds", default="0", help="numbers with commas between")
    add("--cores", type=int, default=here, help="of those that this process may use (default: all)")
    add("--preset", help="another preset than usual, for the systems that have one")
    add("--results", type=Path, default=ROOT / "docs/benchmarks/models.jsonl")
    add("--again", action="store_true", help="run what is in the results already, too")
    add("--dev", action="store_true", help="nbs on the tables for tuning, beside the peers' scores")
    add("--report", action="store_true", help="write docs/benchmarks/models.md from the results")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the system that runs is ended, too
    options.seeds = [int(s) for s in options.seeds.split(",")]
    systems = options.systems.split(",")
    if unknown := set(systems) - set(SYSTEMS):
        raise SystemExit(f"--systems: no such system: {', '.join(sorted(unknown))}")
    if not 1 <= options.cores <= here:
        raise SystemExit(f"--cores: this process may use {here}, found {options.cores}")
    if options.report:
        page = options.results.with_suffix(".md")
        page.write_text(markdown(read_results(options.results), TABLES))
        print(page)
    elif options.dev:
        develop(chosen(options.tables or "tune"), options)
    else:
        run(systems, chosen(options.tables or "all"), options, options.results)


if __name__ == "__main__":
    main()
