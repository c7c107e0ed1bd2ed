"A small model of people, with dates, texts, truth values and gaps, and its bundle; made in seconds, without a run"

from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

from nbs_lib.core.study import make_study
from nbs_lib.models.boosting import BoostedClasses
from nbs_lib.models.bundle import TabularModel, save_model
from nbs_lib.models.features import FeatureBuilder, make_encoder, plan_features

KINDS = {"age": "number", "children": "number", "job": "category", "city": "category", "since": "date", "owner": "bool", "note": "text", "paid": "category"}  # fmt: skip
CONFIG = {
    "question": "Will the loan be paid back?", "task": "binary", "target": "paid", "positive": "yes",
    "data": {"path": "data/raw/people.csv"},
    "contract": {"columns": {"age": {"min": 16, "max": 120, "max_missing": 0}, "city": {"allowed": ["Bern", "Rom", "Ulm"]}}},
    "card": {"license": "apache-2.0"},
}  # fmt: skip


def people(n: int, seed: int = 0) -> pd.DataFrame:
    "Settled rows"
    rng = np.random.default_rng(seed)
    gap = lambda values, share: [None if rng.random() < share else v for v in values]
    age = rng.integers(18, 90, n)
    jobs = rng.choice(["cook", "clerk", "pilot", "nurse, night", "żółć"], n)
    words = np.array("late again called twice paid early no answer moved house".split())
    notes = [" ".join(rng.choice(words, 6)) for _ in range(n)]
    since = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 2_000 * 86400, n), unit="s")
    frame = pd.DataFrame(
        {
            "age": age,
            "children": pd.Series(gap(rng.integers(0, 5, n).tolist(), 0.1), dtype="float64"),
            "job": pd.Series(gap(jobs.tolist(), 0.1), dtype="str"),
            "city": pd.Series(rng.choice(["Bern", "Rom", "Ulm"], n), dtype="str"),
            "since": pd.Series(gap(list(since), 0.05), dtype="datetime64[us]"),
            "owner": rng.random(n) < 0.4,
            "note": pd.Series(notes, dtype="str"),
        },
        index=pd.RangeIndex(n, name="row"),
    )
    score = age / 30 + frame["owner"] * 2 - frame["children"].fillna(1) + rng.normal(size=n)
    return frame.assign(paid=pd.Series(np.where(score > 1.5, "yes", "no"), dtype="str"))


def fitted(train: pd.DataFrame, kind: str = "tree", seed: int = 0) -> TabularModel:
    "A model with features of its own"
    study = make_study("people", CONFIG)
    builder = FeatureBuilder(plan_features(study, KINDS, train))
    features = builder.fit_transform(train)
    facts = {
        "name": kind,
        "label": kind,
        "task": "binary",
        "target": "paid",
        "classes": ["no", "yes"],
        "positive": "yes",
    }
    estimator = (
        BoostedClasses("lightgbm", 2, 30, {"num_leaves": 7, "learning_rate": 0.1}, seed=seed)
        if kind == "tree"
        else LogisticRegression(C=1 + seed, max_iter=500)
    )
    model = TabularModel(facts, make_encoder(kind, features, "binary"), estimator, builder)
    model.fit(train, features)
    model.threshold, model.calibration = 0.4, [1.1, -0.2]
    return model


def manifest(version: str) -> dict:
    "What a run would have written down"
    facts = {
        "study": "people",
        "version": version,
        "question": CONFIG["question"],
        "title": "paid",
        "task": "binary",
    }
    return facts | {
        "created": "2026-11-26T00:00:00+00:00", "commit": None, "dirty": False, "python": "3.11", "platform": "Linux",
        "headline": {}, "config": make_study("people", CONFIG).model_dump(mode="json", by_alias=True),
    }  # fmt: skip


def make_bundle(home: Path, version: str = "v001", kind: str = "tree", seed: int = 0) -> Path:
    "A bundle, as `nbs bundle` makes it of a version"
    from nbs_lib.serving.build import pack

    train = people(800)
    home.mkdir(parents=True)
    file = home.parent / f"{version}.skops"
    save_model(fitted(train, kind, seed), file)
    pack(home, manifest(version), file, train, KINDS)
    return home
