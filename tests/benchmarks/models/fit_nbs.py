"nbs: its search, as a study would call it."

from collections.abc import Callable

import pandas as pd
from common import run

from nbs_lib.core.study import make_study
from nbs_lib.core.tables import settle
from nbs_lib.models.best import fit_best


def fit(job: dict, train: pd.DataFrame) -> Callable:
    "Settle the types as a run does, search, predict raw rows"
    config = {
        "question": "How well can this target be predicted?",
        "task": job["task"],
        "data": {"path": job["train"]},
        "target": job["target"],
        "metric": job["metric"],
        "seed": job["seed"],
    }
    study = make_study(job["table"], config | ({"time": job["time"]} if job["time"] else {}))
    frame = settle(train, study.types, study.target, study.task).frame
    model = fit_best(frame, study, job["budget"], jobs=job["cores"])

    def predict(rows: pd.DataFrame) -> pd.DataFrame | pd.Series:
        "Probabilities, or numbers"
        answer = model.predict(rows)
        if study.task == "regression":
            return answer["prediction"]
        return answer.drop(columns="prediction").set_axis(model.classes, axis=1)

    return predict


if __name__ == "__main__":
    run(fit)
