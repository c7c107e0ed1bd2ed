"mljar-supervised: mode Compete."

from collections.abc import Callable

import pandas as pd
from common import run
from supervised import AutoML

METRICS = {"roc_auc": "auc", "log_loss": "logloss", "rmse": "rmse"}
TASKS = {
    "binary": "binary_classification",
    "multiclass": "multiclass_classification",
    "regression": "regression",
}


def fit(job: dict, train: pd.DataFrame) -> Callable:
    "Compete within the budget"
    model = AutoML(
        results_path="mljar",
        mode="Compete",
        ml_task=TASKS[job["task"]],
        eval_metric=METRICS[job["metric"]],
        total_time_limit=round(job["budget"]),
        n_jobs=job["cores"],
        random_state=job["seed"],
        explain_level=0,
        verbose=0,
    )
    model.fit(train.drop(columns=job["target"]), train[job["target"]])
    if job["task"] == "regression":
        return model.predict

    def predict(rows: pd.DataFrame) -> pd.DataFrame:
        "Probabilities; mljar names its columns prediction_<class>"
        answer = model.predict_all(rows).filter(regex="^prediction_")
        return answer.rename(columns=lambda name: name.removeprefix("prediction_"))

    return predict


if __name__ == "__main__":
    run(fit)
