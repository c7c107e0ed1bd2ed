"What every adapter does: read the job, fit within the budget, time predictions, write both down."

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd


def seconds_of(
    what: Callable,  # called without arguments
) -> float:  # seconds
    "How long a call takes"
    began = time.perf_counter()
    what()
    return time.perf_counter() - began


def one_row_ms(
    predict: Callable,  # of a frame
    test: pd.DataFrame,  # without the target
    seed: int,  # which rows
) -> float:  # milliseconds, the median of 20 calls after one to warm up
    "The time of predicting a single row"
    picks = np.random.default_rng(seed).integers(0, len(test), 21)
    rows = [test.iloc[[i]].reset_index(drop=True) for i in picks]
    times = [seconds_of(lambda row=row: predict(row)) for row in rows]
    return 1000 * median(times[1:])


def many_rows_s(
    predict: Callable,  # of a frame
    test: pd.DataFrame,  # without the target
) -> float:  # seconds, the median of three calls
    "The time of predicting 10,000 rows"
    rows = test.iloc[np.arange(10_000) % len(test)].reset_index(drop=True)
    return median(seconds_of(lambda: predict(rows)) for _ in range(3))


def calendar(
    frame: pd.DataFrame,  # may hold moments
) -> pd.DataFrame:  # none
    "Moments as numbers, for systems that take none"
    frame = frame.copy()
    for name in frame.select_dtypes("datetime"):
        t = frame.pop(name).dt
        parts = {"day": t.dayofyear, "month": t.month, "weekday": t.weekday, "hour": t.hour}
        parts["days"] = (t.normalize() - pd.Timestamp("2000-01-01")).dt.days
        frame = frame.assign(**{f"{name}_{part}": values for part, values in parts.items()})
    return frame


def peak_mb() -> float:  # megabytes
    "The most memory that this process, or one that it started, has held"
    status = Path("/proc/self/status").read_text()  # getrusage would count the process that started this one
    own = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    return max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024


def probabilities(
    values: np.ndarray,  # a column for each class
    classes: list,  # their names
) -> pd.DataFrame:  # columns named by class
    "Class probabilities as the harness wants them"
    return pd.DataFrame(np.asarray(values, dtype=float), columns=[str(c) for c in classes])


def run(
    fit: Callable,  # of job and training table; returns a function that predicts a frame of raw rows
) -> None:
    """Do the job that the command line names.

    The function returned by `fit` gives probabilities with a column for each class, or an array of numbers. It may
    leave a function in the job, `more`, that tells more for the record once everything is measured.
    """
    job = json.loads(Path(sys.argv[1]).read_text())
    train, test = pd.read_parquet(job["train"]), pd.read_parquet(job["test"])
    began = time.perf_counter()
    predict = fit(job, train)
    record = {"fit_seconds": time.perf_counter() - began}
    answer = predict(test)
    if not isinstance(answer, pd.DataFrame):
        answer = pd.DataFrame({"prediction": np.asarray(answer, dtype=float).ravel()})
    answer.reset_index(drop=True).to_parquet(job["predictions"])
    record["predict_one_ms"] = one_row_ms(predict, test, job["seed"])
    record["predict_10k_s"] = many_rows_s(predict, test)
    record["memory_mb"] = peak_mb()
    record |= job.get("more", dict)()
    Path(job["record"]).write_text(json.dumps(record))
