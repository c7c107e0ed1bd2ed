"nbs: its search, as a study would call it."

import time
from collections.abc import Callable

import pandas as pd
from common import run

from nbs_lib.core.study import make_study
from nbs_lib.core.tables import settle
from nbs_lib.models.best import find_best
from nbs_lib.models.features import FeatureBuilder, plan_features
from nbs_lib.models.search import Clock
from nbs_lib.models.selection import interval


def fit(job: dict, train: pd.DataFrame) -> Callable:
    "Settle the types as a run does, search, note what cross-validation promises, predict raw rows"
    began = time.perf_counter()
    config = {
        "question": "How well can this target be predicted?",
        "task": job["task"],
        "data": {"path": job["train"]},
        "target": job["target"],
        "metric": job["metric"],
        "seed": job["seed"],
    }
    study = make_study(job["table"], config | ({"time": job["time"]} if job["time"] else {}))
    table = settle(train, study.types, study.target, study.task)
    builder = FeatureBuilder(plan_features(study, table.kinds, table.frame))
    features = builder.fit_transform(table.frame)
    clock = Clock(job["budget"], began, 0.3)
    best = find_best(table.frame, features, builder, study, clock, job["cores"])
    model = best.model
    job["more"] = lambda: dict(
        zip(("promised", "promised_low", "promised_high"), interval(best.contest, best.oof), strict=True)
    )

    def predict(rows: pd.DataFrame) -> pd.DataFrame | pd.Series:
        "Probabilities, or numbers"
        answer = model.predict(rows)
        if study.task == "regression":
            return answer["prediction"]
        return answer.drop(columns="prediction").set_axis(model.classes, axis=1)

    return predict


if __name__ == "__main__":
    run(fit)
