"FLAML: as its documentation shows it."

from collections.abc import Callable

import pandas as pd
from common import probabilities, run
from flaml import AutoML


def fit(job: dict, train: pd.DataFrame) -> Callable:
    "Search within the budget; it can be told of an order in time"
    model = AutoML()
    model.fit(
        train.drop(columns=job["target"]),
        train[job["target"]],
        task="regression" if job["task"] == "regression" else "classification",
        metric=job["metric"],
        time_budget=job["budget"],
        n_jobs=job["cores"],
        seed=job["seed"],
        split_type="time" if job["time"] else "auto",
        verbose=1,
    )
    if job["task"] == "regression":
        return model.predict
    return lambda rows: probabilities(model.predict_proba(rows), model.classes_)


if __name__ == "__main__":
    run(fit)
