"Explanation, robustness and mending on odd tables: each section shows something or says why it does not"

import subprocess
import sys

import matplotlib

matplotlib.use("agg")
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from sklearn.neighbors import KNeighborsClassifier

from nbs_lib import evaluation as ev
from nbs_lib.core.record import Stage
from nbs_lib.core.study import make_study
from nbs_lib.models.boosting import BoostedClasses, BoostedNumbers
from nbs_lib.models.bundle import Baseline, Ensemble, TabularModel
from nbs_lib.models.features import FeatureBuilder, make_encoder, plan_features


def kind_of(values):
    if pd.api.types.is_datetime64_any_dtype(values):
        return "date"
    if pd.api.types.is_numeric_dtype(values):
        return "number"
    return "text" if values.str.contains(" ").any() else "category"


def judged_on(frame, task, make=None, holdout=0.4, kind="tree", **more):
    "A model of the table's first rows, judged on the others"
    config = {"question": "What?", "task": task, "data": {"path": "x.csv"}, "target": "y", **more}
    study = make_study("t", config)
    frame = frame.rename_axis("row")
    n = int(len(frame) * (1 - holdout))
    train, rest = frame.iloc[:n], frame.iloc[n:]
    builder = FeatureBuilder(plan_features(study, {c: kind_of(frame[c]) for c in frame}, train)).fit(train)
    X = builder.transform(train)
    facts = {"name": "m", "label": "boosting", "task": task, "target": "y"}
    if task != "regression":
        facts["classes"] = sorted(train["y"].unique())
    if task == "binary":
        facts["positive"] = facts["classes"][-1]
    k = len(facts.get("classes", []))
    boosted = (
        BoostedClasses("lightgbm", k, 15, {"min_child_samples": 5})
        if k
        else BoostedNumbers("lightgbm", 0, 15, {})
    )
    estimator = make or boosted
    model = TabularModel(facts, make_encoder(kind, X, task), estimator, builder).fit(train, X)
    baseline = Baseline(facts).fit(train)
    return ev.judge(study, rest, model, baseline), Stage("evaluation", study, "work"), train


def show_what_was_added(judged, stage, train, oof=None):
    "Every section, as the notebook shows it"
    explanation, few, picked = ev.explain_holdout(judged)
    ev.show_importance(stage, judged, explanation)
    ev.show_reliance(stage, judged, explanation)
    ev.show_courses(stage, judged, explanation)
    known = ev.known_rows(judged, train)
    ev.show_steadiness(stage, judged, explanation, known)
    ev.show_rows(stage, judged, explanation, few, picked, known)
    ev.show_turned(stage, judged, explanation, picked, known)
    ev.show_robustness(stage, judged, explanation, 0.1)
    ev.show_hardest(stage, judged, explanation, known)
    if judged.model.classes:
        ev.show_labels(stage, judged, train, judged.model.predict(train) if oof is None else oof)
    text = " ".join(stage.record["findings"] + [f["caption"] for f in stage.record["figures"]])
    assert " nan" not in text and "None" not in text, text
    return stage.record


WORDS = np.array(["dry", "ripe", "old", "oak", "red", "sweet"])


def dice():
    return np.random.default_rng(1)


def numbers(n, k):
    return pd.DataFrame(np.random.default_rng(0).normal(size=(n, k)), columns=[f"c{i}" for i in range(k)])


def labelled(frame, score):
    return frame.assign(y=pd.Series(np.where(score > 0, "yes", "no"), index=frame.index, dtype="str"))


def one_feature():
    X = numbers(200, 1)
    return labelled(X, X["c0"] + dice().normal(size=200) / 3), "binary"


def only_categories():
    rng = dice()
    X = pd.DataFrame({c: pd.Series(rng.choice(["a", "b", None], 300), dtype="str") for c in ("one", "two")})
    return labelled(X, (X["one"] == "a") + rng.normal(size=300) / 3 - 0.5), "binary"


def texts():
    rng = dice()
    X = pd.DataFrame({"note": pd.Series([" ".join(rng.choice(WORDS, 5)) for _ in range(300)], dtype="str")})
    return labelled(X, X["note"].str.contains("sweet").astype(float) - 0.5), "binary"


def many_columns():
    X = numbers(120, 1000)
    return labelled(X, X["c3"]), "binary"


def many_classes():
    X = numbers(900, 3)
    return X.assign(y=pd.Series([f"k{i % 300:03d}" for i in range(900)], dtype="str")), "multiclass"


def few_rows():
    X = numbers(30, 3)
    return labelled(X, X["c0"]), "binary"


def amounts():
    X = numbers(300, 3)
    X["c1"] = X["c1"].mask(X["c2"] > 1)
    return X.assign(y=10 * X["c0"] + dice().normal(size=300)), "regression"


TABLES = [one_feature, only_categories, texts, many_columns, few_rows, amounts]


@pytest.mark.parametrize("table", TABLES, ids=lambda t: t.__name__)
def test_every_section_shows_something_or_says_why_not(table):
    frame, task = table()
    record = show_what_was_added(*judged_on(frame, task))
    assert record["findings"]


def test_a_model_that_says_the_same_of_every_row():
    frame, task = amounts()
    judged, stage, train = judged_on(
        frame, task, BoostedNumbers("lightgbm", 0, 5, {"min_child_samples": 1000})
    )
    assert judged.predictions["prediction"].nunique() == 1
    assert "No feature moves any prediction" in show_what_was_added(judged, stage, train)["findings"][0]


def test_hundreds_of_classes():
    frame, task = many_classes()
    judged, stage, train = judged_on(frame, task, KNeighborsClassifier(3), kind="linear")
    judged.study.evaluation.explain_rows = 20
    show_what_was_added(judged, stage, train)


def test_a_model_that_fails_on_gaps_is_told():
    frame, task = few_rows()
    judged, stage, _ = judged_on(frame, task, KNeighborsClassifier(3))
    explanation, *_ = ev.explain_holdout(judged)
    ev.show_robustness(stage, judged, explanation, 0.3)
    assert any(f.startswith("The model fails on rows with") for f in stage.record["findings"])


def test_the_same_holdout_is_told_the_same():
    frame, task = amounts()
    first, second = (show_what_was_added(*judged_on(frame, task)) for _ in range(2))
    assert first["findings"] == second["findings"] and first["metrics"] == second["metrics"]


def test_a_time_gives_the_oldest_and_the_newest_rows_and_stays_as_it_is():
    frame, task = one_feature()
    frame["when"] = pd.date_range("2024-01-01", periods=len(frame), freq="D")
    judged, stage, train = judged_on(frame, task, time="when")
    assert "when" in ev.fixed_columns(judged.study)
    show_what_was_added(judged, stage, train)


def test_a_column_that_decides_alone_is_called_harmful():
    frame, task = one_feature()
    judged, stage, train = judged_on(frame, task)
    explanation, *_ = ev.explain_holdout(judged)
    ev.show_robustness(stage, judged, explanation, 0.3)
    assert any("c0" in t["text"] for t in stage.record["todos"])


def test_swapped_labels_are_listed():
    frame, task = one_feature()
    frame["c0"] *= 30
    frame["y"] = np.where(frame["c0"] > 0, "yes", "no")
    wrong = frame.index[:100:20]
    frame.loc[wrong, "y"] = np.where(frame.loc[wrong, "c0"] > 0, "no", "yes")
    frame["y"] = frame["y"].astype("str")
    judged, stage, train = judged_on(frame, task)
    p = 1 / (1 + np.exp(-train["c0"]))
    oof = pd.DataFrame({"prediction": np.where(p > 0.5, "yes", "no"), "p_no": 1 - p, "p_yes": p}, train.index)
    ev.show_labels(stage, judged, train, oof)
    assert 3 <= stage.record["metrics"]["suspect_labels"]["value"] <= len(wrong)


def test_an_ensemble_goes_the_same_way():
    frame, task = amounts()
    judged, stage, train = judged_on(frame, task)
    one = judged.model
    X = one.features.transform(train)
    line = TabularModel(one.facts, make_encoder("tree", X, task), BoostedNumbers("xgboost", 0, 15, {})).fit(
        train, X
    )
    alone = TabularModel(one.facts, one.encoder, one.estimator)
    alone.columns, alone.present = one.columns, None
    judged.model = Ensemble(one.facts, [alone, line], [0.6, 0.4], one.features)
    judged.predictions = judged.model.predict(judged.frame, features=judged.features)
    show_what_was_added(judged, stage, train)
    explanation, *_ = ev.explain_holdout(judged)
    assert "exact" in explanation.method and explanation.error < 1e-5


def test_what_a_loaded_model_takes():
    # in a process of its own: memory that others have given back is taken again, and seen as none
    code = "import numpy as np; from nbs_lib import evaluation as ev; print(*ev.memory_of(lambda: np.ones(4_000_000), 60, 100e6))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    bytes_, copies = map(float, done.stdout.split())
    assert copies == 4 and 20e6 < bytes_ < 40e6


def test_no_feature_is_varied_without_those_that_the_plan_made_with_it():
    "A sine without its cosine is a time that does not exist"
    rng = np.random.default_rng(0)
    hour = rng.integers(0, 24, 400)
    frame = pd.DataFrame({"hour": hour.astype(float), "wind": rng.normal(size=400)})
    frame["at"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(24 * rng.integers(0, 300, 400) + hour, "h")
    frame["note"] = pd.Series([f"{a} rain {b}" for a, b in rng.choice(["much", "no", "some"], (400, 2))])
    frame["y"] = 3 * np.sin(hour / 24 * 2 * np.pi) + frame["wind"] + rng.normal(size=400) / 5
    judged, _, _ = judged_on(frame, "regression", features={"cyclic": ["hour"]})
    made = judged.model.features.plan["features"]
    waves = {s["name"] for s in made if s["how"] == "circle"}
    explanation = ev.explain_holdout(judged)[0]
    assert len(waves) >= 4 and waves & set(explanation.importance().index[:3])
    varied = {c.feature for c in ev.courses(ev.probe_of(judged, 1.0, 72), explanation, len(made))}
    assert varied and not varied & (waves | {"hour"} | {s["name"] for s in made if s["how"] == "text"})
    assert "wind" in varied
