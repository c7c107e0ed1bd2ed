"Splits, candidates, tuning and saved models: nothing leaks, nothing changes when it is done again"

import subprocess

import numpy as np
import pandas as pd
import pytest
from conftest import BIN, ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from nbs_lib.core.settings import NbsError
from nbs_lib.core.splits import folds, split_holdout, units
from nbs_lib.core.study import Study, make_study
from nbs_lib.models.bundle import load_model, save_model
from nbs_lib.models.candidates import CANDIDATES, choose_candidates, lacking, make_estimator
from nbs_lib.models.search import Clock, Searcher
from nbs_lib.models.selection import (
    choose,
    cross_validate,
    enter_constant,
    fit_candidate,
    make_model,
    new_encoder,
    open_contest,
)

TASKS = ("binary", "multiclass", "regression")


def make(task: str = "binary", **more) -> Study:
    config = {"question": "Will it rain?", "task": task, "data": {"path": "x.csv"}, "target": "rain"}
    return make_study("t", config | more)


def model_of(name: str, study: Study, features: pd.DataFrame, classes: list[str]):
    "A candidate with its defaults, not fitted"
    encoder = new_encoder(CANDIDATES[name].kind, study, features, classes)
    return make_model(CANDIDATES[name], study, encoder, len(features), classes)


def enter(contest, name: str, params: dict | None = None):
    "A candidate cross-validated"
    candidate = CANDIDATES[name]
    fit = lambda k: fit_candidate(contest, candidate, params or {}, k)
    return cross_validate(contest, name, candidate.label, candidate.rank, fit)


def weather(task: str = "binary", rows: int = 300, seed: int = 0) -> pd.DataFrame:
    "Raw rows with numbers, a category, a group, a time and missing values"
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"wind": rng.normal(size=rows), "damp": rng.normal(size=rows)}).rename_axis("row")
    frame["place"] = pd.Series(rng.choice(["hill", "lake", "town"], rows), dtype="str")
    frame["station"] = pd.Series(rng.integers(0, max(rows // 6, 2), rows).astype(str), dtype="str")
    frame["day"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 365, rows), "D")
    latent = frame["wind"] + (frame["place"] == "lake") + rng.normal(size=rows) / 2
    frame.loc[frame.index[::11], "damp"] = np.nan
    if task == "regression":
        frame["rain"] = 10 + 3 * latent
    else:
        edges, names = ([0.3], ["no", "yes"]) if task == "binary" else ([-0.4, 0.8], ["a", "b", "c"])
        frame["rain"] = pd.Series(np.array(names)[np.digitize(latent, edges)], dtype="str")
    return frame


FEATURES = ["wind", "damp", "place"]


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000), rows=st.integers(30, 200), by=st.sampled_from(["random", "group", "time"])
)
def test_splits_and_folds_keep_apart_what_belongs_apart(seed, rows, by):
    frame = weather(rows=rows, seed=seed)
    frame = pd.concat([frame, frame.iloc[:5]], ignore_index=True).rename_axis("row")  # rows that occur twice
    more = {
        "group": {"group": "station", "split": {"by": "group"}},
        "time": {"time": "day", "split": {"by": "time"}},
    }
    study = make(**more.get(by, {}))
    split = split_holdout(frame, study)
    every = np.concatenate([split.train, split.holdout, split.dropped])
    assert sorted(every) == list(range(len(frame)))
    pairs = [(split.train, split.holdout)]
    train = frame.iloc[split.train].reset_index(drop=True)
    try:
        pairs_of_train = folds(train, study)
    except NbsError:
        pairs_of_train = []
    for table, (a, b) in [(frame, pairs[0]), *[(train, p) for p in pairs_of_train]]:
        assert len(a) and len(b) and not set(a) & set(b)
        if by == "time":
            assert table["day"].iloc[a].max() < table["day"].iloc[b].min()
        else:
            unit = units(table, study)
            assert not set(unit[a]) & set(unit[b])


def test_random_splits_keep_the_shares_of_the_classes():
    frame = weather(rows=2000)
    split = split_holdout(frame, make())
    shares = [frame["rain"].iloc[p].eq("yes").mean() for p in (split.train, split.holdout)]
    assert abs(shares[0] - shares[1]) < 0.01


WITHOUT_EXTRAS = """
import sys

class Without:
    def find_spec(name, *more):
        if name in ("torch", "keras"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Without)
"""


@pytest.mark.parametrize("name", CANDIDATES)
@pytest.mark.parametrize("task", TASKS)
def test_a_saved_model_says_the_same_in_a_fresh_process(name, task, tmp_path):
    if (name, task) == ("discriminant", "regression"):
        pytest.skip("it tells classes apart")
    if why := lacking(CANDIDATES[name]):
        pytest.skip(f"{name} is an extra: {why}")
    study, frame = make(task), weather(task)
    classes = sorted(frame["rain"].unique()) if task != "regression" else []
    model = model_of(name, study, frame[FEATURES], classes)
    model.fit(frame, frame[FEATURES])
    unseen = weather(task, 200, seed=1)[FEATURES]
    unseen.loc[:3, "place"] = "moon"
    unseen.loc[4:8, ["wind", "place"]] = np.nan
    expected = model.predict(unseen)
    assert expected.notna().all().all()
    save_model(model, tmp_path / "model.skops")
    assert load_model(tmp_path / "model.skops").predict(unseen).equals(expected)
    if name not in (
        "lightgbm",
        "catboost",
        "xgboost",
        "network",
        "realmlp",
        "keras",
    ):  # one fresh process for each kind would only take time
        return
    unseen.to_parquet(tmp_path / "rows.parquet")
    expected.to_parquet(tmp_path / "expected.parquet")
    code = WITHOUT_EXTRAS + (
        "import pandas as pd; from nbs_lib.models.bundle import load_model;"
        "found = load_model('model.skops').predict(pd.read_parquet('rows.parquet'));"
        "pd.testing.assert_frame_equal(found, pd.read_parquet('expected.parquet'), check_exact=True)"
    )
    done = subprocess.run(
        [BIN / "python", "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "NBS_ROOT": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-1500:]


def test_a_model_file_with_foreign_types_is_refused(tmp_path):
    from fractions import Fraction

    import skops.io

    skops.io.dump({"model": Fraction(1, 2)}, tmp_path / "model.skops")
    with pytest.raises(NbsError, match="not trusted"):
        load_model(tmp_path / "model.skops")


def test_a_damaged_model_file_is_refused(tmp_path):
    study, frame = make(), weather()
    model = model_of("linear", study, frame[FEATURES], ["no", "yes"]).fit(frame, frame[FEATURES])
    path = tmp_path / "model.skops"
    save_model(model, path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(Exception) as e:  # noqa: PT011
        load_model(path)
    assert isinstance(e.value, NbsError), repr(e.value)


@pytest.mark.parametrize("name", ["few", "linear", "lightgbm", "xgboost", "catboost", "kernel", "forest"])
def test_validation_rows_teach_nothing(name):
    "Whatever stands in a validation fold, the model of that fold is the same"
    study, frame = make(), weather()
    contest = open_contest(frame, frame[FEATURES], study)
    contest.pairs, contest.part = contest.pairs[:5], contest.part  # one repeat
    before = enter(contest, name)
    train, val = contest.pairs[0]
    probe = contest.frame.index[val[:20]]  # these stay as they are, and are predicted
    changed = frame.copy()
    rest = contest.frame.index[val[20:]]
    changed.loc[rest, "wind"] = 1e6
    changed.loc[rest, "place"] = "moon"
    changed.loc[rest, "rain"] = np.where(changed.loc[rest, "rain"] == "yes", "no", "yes")
    other = open_contest(changed, changed[FEATURES], study)
    other.pairs = contest.pairs
    after = enter(other, name)
    pd.testing.assert_frame_equal(before.oof.loc[probe], after.oof.loc[probe], check_exact=True)


@pytest.mark.parametrize("task", TASKS)
def test_the_search_is_the_same_twice(task):
    names = ["linear", "lightgbm", "catboost"]
    study, frame = make(task, modeling={"folds": 3, "candidates": names}), weather(task)
    contest = open_contest(frame, frame[FEATURES], study)
    search = lambda jobs: Searcher(
        open_contest(frame, frame[FEATURES], study, jobs=jobs),
        [CANDIDATES[n] for n in names],
        Clock(None, 0.0),
        12,
    ).run()
    one, two = search(1), search(2)
    assert [(t.name, t.params, t.value) for t in one.trials] == [
        (t.name, t.params, t.value) for t in two.trials
    ]
    assert all(a.oof.equals(b.oof) for a, b in zip(one.entries, two.entries, strict=True))
    assert contest.folds == 3


def test_noise_is_not_worth_a_complicated_model():
    "With nothing to learn, the simplest of the candidates is taken"
    frame = weather(rows=400)
    frame["rain"] = pd.Series(np.random.default_rng(5).choice(["no", "yes"], 400), dtype="str")
    contest = open_contest(frame, frame[FEATURES], make(modeling={"prefer": "simple"}))
    entries = [enter(contest, n) for n in ("few", "linear", "forest")]
    chosen = choose(contest, entries).chosen
    assert chosen.rank == 1
    assert abs(chosen.mean("roc_auc") - 0.5) < 0.1


@pytest.mark.parametrize("rows", [123, 300, 700])
@pytest.mark.parametrize(
    "task, metric, expected",
    [
        ("multiclass", "balanced_accuracy", 1 / 3),
        ("multiclass", "recall_macro", 1 / 3),
        ("multiclass", "roc_auc_ovr", 0.5),
        ("binary", "balanced_accuracy", 0.5),
        ("binary", "roc_auc", 0.5),
        ("binary", "mcc", 0.0),
    ],
)
def test_the_same_answer_for_every_row_scores_what_it_must(task, metric, expected, rows):
    "However often the rows are dealt, and whatever rule serves the metric"
    frame = weather(task, rows)
    contest = open_contest(frame, frame[FEATURES], make(task, metric=metric))
    entry = enter_constant(contest)
    assert entry.oof["prediction"].nunique() == 1
    assert np.allclose(entry.scores[metric], expected, atol=1e-12), entry.scores


@pytest.mark.parametrize("metric, centre", [("mae", np.median), ("rmse", np.mean)])
def test_the_same_number_for_every_row_is_that_of_the_fold(metric, centre):
    frame = weather("regression", 123)
    contest = open_contest(frame, frame[FEATURES], make("regression", metric=metric))
    entry = enter_constant(contest)
    for k, (learn, judged) in enumerate(contest.pairs[: contest.folds]):
        off = frame["rain"].to_numpy()[judged] - centre(frame["rain"].to_numpy()[learn])
        assert np.isclose(
            entry.scores[metric][k], np.abs(off).mean() if metric == "mae" else np.sqrt((off**2).mean())
        )


def test_the_same_answer_is_the_cheapest_where_costs_are_given():
    frame = weather("binary", 123)
    share = frame["rain"].eq("yes").mean()
    for miss, answer in ((0.9 * (1 - share) / share, "no"), (1.1 * (1 - share) / share, "yes")):
        costs = {"false_positive": 1.0, "false_negative": miss}
        contest = open_contest(frame, frame[FEATURES], make(positive="yes", cost=costs, metric="log_loss"))
        assert set(enter_constant(contest).oof["prediction"]) == {answer}


@pytest.mark.parametrize("name, library", [("realmlp", "PyTorch"), ("keras", "Keras and PyTorch")])
def test_a_candidate_without_its_library_is_named(name, library, monkeypatch):
    "A sentence in the report; an error where the study asks for it"
    monkeypatch.setattr("nbs_lib.models.candidates.find_spec", lambda module: None)
    found, notes = choose_candidates(make(), 2)
    assert name not in [c.name for c in found]
    label, extra = CANDIDATES[name].label, CANDIDATES[name].extra
    assert f"{label} was left out: it needs {library} (pip install -e '.[{extra}]')" in notes
    with pytest.raises(
        NbsError, match=f"configs/t.yaml: modeling.candidates: '{name}' cannot run.*pip install"
    ):
        choose_candidates(make(modeling={"candidates": ["linear", name]}), 2)


@pytest.mark.parametrize("name, task", [("realmlp", "binary"), ("keras", "regression")])
def test_networks_of_extras_search_the_same_twice(name, task):
    "Whatever runs beside them; settings that a replay repeats included"
    if why := lacking(CANDIDATES[name]):
        pytest.skip(f"{name} is an extra: {why}")
    study, frame = make(task, modeling={"folds": 3}), weather(task)
    contest = lambda jobs: open_contest(frame, frame[FEATURES], study, jobs=jobs)
    settings = {"hidden": 32, "epochs": 12}
    fit = lambda contest: cross_validate(
        contest, name, name, 5, lambda k: fit_candidate(contest, CANDIDATES[name], settings, k)
    )
    one, two = fit(contest(1)), fit(contest(2))
    assert one.oof.equals(two.oof)
    assert one.rounds == two.rounds and max(one.rounds) <= 12
    final = make_estimator(
        name, study, 300, 2 if task == "binary" else 0, {**settings, "rounds": 5, "seed": 1}
    )
    assert (final.rounds, final.seed) == (5, 1)


def test_raw_rows_are_read_as_the_table_was():
    "A model that was fitted on settled columns takes rows as a file holds them, one or many"
    from nbs_lib.core.study import make_study
    from nbs_lib.core.tables import settle
    from nbs_lib.models.best import fit_best

    rng = np.random.default_rng(0)
    n = 400
    smokes, income = rng.random(n) < 0.4, rng.normal(3000, 900, n).round(2)
    raw = pd.DataFrame(
        {
            "smokes": np.where(smokes, "Yes", " no"),
            "income": [f"{v:,.2f} €" for v in income],
            "town": rng.choice(["Rome", "Oslo ", "-", "n/a"], n),
            "since": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 300, n), unit="D"),
        }
    )
    raw["since"] = raw["since"].dt.strftime("%d.%m.%Y")
    risk = 2.0 * smokes - (income - 3000) / 900 + rng.normal(size=n)
    raw["ill"] = np.where(risk > 0.5, "yes", "no")
    config = {
        "question": "Who falls ill?",
        "task": "binary",
        "data": {"path": "x"},
        "target": "ill",
        "positive": "yes",
    }
    study = make_study("t", config | {"modeling": {"trials": 3, "candidates": ["linear", "lightgbm"]}})
    settled = settle(raw, study.types, study.target, study.task).frame
    assert settled["smokes"].dtype == bool and settled["income"].dtype == float
    model = fit_best(raw, study)
    asked = raw.drop(columns="ill")
    expected = model.predict(settled).reset_index(drop=True)
    assert expected["p_yes"].std() > 0.1
    pd.testing.assert_frame_equal(model.predict(asked).reset_index(drop=True), expected)
    few = pd.concat([model.predict(asked.iloc[[i]]) for i in range(40)]).reset_index(drop=True)
    pd.testing.assert_frame_equal(few, expected.head(40))
    given = pd.DataFrame([{**asked.iloc[0].to_dict(), "income": None, "town": None}])
    assert model.predict(given)["p_yes"].between(0, 1).all()
