"Tuned LightGBM: Optuna's TPE, five folds with early stopping, a last fit on all rows."

import time
from collections.abc import Callable

import lightgbm
import numpy as np
import optuna
import pandas as pd
from common import calendar, probabilities, run
from sklearn.model_selection import KFold, StratifiedKFold

OBJECTIVES = {
    "binary": {"objective": "binary", "metric": "auc"},
    "multiclass": {"objective": "multiclass", "metric": "multi_logloss"},
    "regression": {"objective": "regression", "metric": "rmse"},
}
START = {  # the first trial
    "learning_rate": 0.05,
    "num_leaves": 31,
    "min_child_samples": 20,
    "feature_fraction": 0.9,
    "bagging_fraction": 0.9,
    "lambda_l1": 1e-3,
    "lambda_l2": 1e-3,
    "cat_smooth": 10.0,
}


class OutOfTime(Exception):
    "The search's time is over"


def suggest(trial: optuna.Trial) -> dict:
    "The space that is searched"
    return {
        "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.2, log=True),
        "num_leaves": trial.suggest_int("num_leaves", 4, 255, log=True),
        "min_child_samples": trial.suggest_int("min_child_samples", 2, 100, log=True),
        "feature_fraction": trial.suggest_float("feature_fraction", 0.3, 1.0),
        "bagging_fraction": trial.suggest_float("bagging_fraction", 0.5, 1.0),
        "lambda_l1": trial.suggest_float("lambda_l1", 1e-3, 10.0, log=True),
        "lambda_l2": trial.suggest_float("lambda_l2", 1e-3, 10.0, log=True),
        "cat_smooth": trial.suggest_float("cat_smooth", 1.0, 100.0, log=True),
    }


class Search:
    "The folds of one job and the best parameters so far"

    def __init__(self, job: dict, X: pd.DataFrame, y: np.ndarray, classes: int, began: float):
        "Store, and choose the folds"
        self.X, self.y = X, y
        self.end = began + 0.98 * job["budget"]
        self.deadline = began + 0.75 * job["budget"]  # until it is known how long the last fit takes
        self.fixed = OBJECTIVES[job["task"]] | {"num_threads": job["cores"], "seed": job["seed"]}
        self.fixed |= {"verbosity": -1, "bagging_freq": 1, "feature_pre_filter": False}
        self.fixed |= {"num_class": classes} if job["task"] == "multiclass" else {}
        kind = KFold if job["task"] == "regression" else StratifiedKFold
        self.folds = list(kind(5, shuffle=True, random_state=job["seed"]).split(X, y))
        self.sign = -1 if job["task"] == "binary" else 1
        self.best = (np.inf, START, 100)  # loss, parameters, rounds

    def look_at_clock(self, env: object) -> None:
        "A callback that ends a fit at the deadline"
        if time.perf_counter() > self.deadline:
            raise OutOfTime

    def fold(self, params: dict, train: np.ndarray, valid: np.ndarray) -> tuple[float, int, float]:
        "Loss, number of rounds and seconds of one fold"
        began = time.perf_counter()
        data = lightgbm.Dataset(self.X.iloc[train], self.y[train])
        check = lightgbm.Dataset(self.X.iloc[valid], self.y[valid], reference=data)
        stop = [lightgbm.early_stopping(50, verbose=False), self.look_at_clock]
        model = lightgbm.train(params, data, 5000, valid_sets=[check], callbacks=stop)
        value = next(iter(model.best_score["valid_0"].values()))
        return self.sign * value, model.best_iteration, time.perf_counter() - began

    def __call__(self, trial: optuna.Trial) -> float:
        "The mean loss over the folds"
        params, done = suggest(trial), []
        try:
            for train, valid in self.folds:
                done.append(self.fold(self.fixed | params, train, valid))
        except OutOfTime:
            trial.study.stop()
            if not done or np.isfinite(self.best[0]):  # an unfinished trial counts only where it is the first
                raise optuna.TrialPruned from None
        loss, rounds, seconds = np.mean(done, axis=0)
        if loss < self.best[0]:
            self.best = (loss, params, max(1, round(rounds)))
            self.deadline = self.end - 1.3 * seconds  # the last fit has a quarter more rows
        return loss


def fit(job: dict, train: pd.DataFrame) -> Callable:
    "Search until it is time to fit all rows"
    began = time.perf_counter()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    X = calendar(train.drop(columns=job["target"]))
    texts = X.select_dtypes(["object", "string"]).columns
    levels = {name: pd.CategoricalDtype(sorted(X[name].dropna().unique())) for name in texts}
    y, classes = train[job["target"]].to_numpy(), []
    if job["task"] != "regression":
        classes, y = np.unique(y.astype(str), return_inverse=True)
    search = Search(job, X.astype(levels), y, len(classes), began)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=job["seed"]))
    study.enqueue_trial(START)
    study.optimize(search)
    _, params, rounds = search.best
    model = lightgbm.train(search.fixed | params, lightgbm.Dataset(search.X, y), rounds)

    def predict(rows: pd.DataFrame) -> pd.DataFrame | np.ndarray:
        "Probabilities, or numbers"
        values = model.predict(calendar(rows).astype(levels), num_threads=job["cores"])
        if job["task"] == "binary":
            values = np.column_stack([1 - values, values])
        return probabilities(values, classes) if len(classes) else values

    return predict


if __name__ == "__main__":
    run(fit)
