"AutoGluon: a preset within the budget, its models kept in memory for predictions."

from collections.abc import Callable

import numpy as np
import pandas as pd
from autogluon.tabular import TabularPredictor
from common import run

METRICS = {"roc_auc": "roc_auc", "log_loss": "log_loss", "rmse": "root_mean_squared_error"}


def fit(job: dict, train: pd.DataFrame) -> Callable:
    "Fit and persist; AutoGluon has no seed of its own, its models have fixed ones"
    np.random.seed(job["seed"])
    predictor = TabularPredictor(
        job["target"], problem_type=job["task"], eval_metric=METRICS[job["metric"]], path="autogluon"
    )
    predictor.fit(train, time_limit=job["budget"], presets=job["preset"], num_cpus=job["cores"], num_gpus=0)
    predictor.persist()
    return predictor.predict if job["task"] == "regression" else predictor.predict_proba


if __name__ == "__main__":
    run(fit)
