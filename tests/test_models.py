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
from nbs_lib.models.candidates import CANDIDATES
from nbs_lib.models.selection import choose, cross_validate, make_model, open_contest
from nbs_lib.models.tuning import tune

TASKS = ("binary", "multiclass", "regression")


def make(task: str = "binary", **more) -> Study:
    config = {"question": "Will it rain?", "task": task, "data": {"path": "x.csv"}, "target": "rain"}
    return make_study("t", config | more)


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


@pytest.mark.parametrize("name", CANDIDATES)
@pytest.mark.parametrize("task", TASKS)
def test_a_saved_model_says_the_same_in_a_fresh_process(name, task, tmp_path):
    if (name, task) == ("discriminant", "regression"):
        pytest.skip("it tells classes apart")
    study, frame = make(task), weather(task)
    classes = sorted(frame["rain"].unique()) if task != "regression" else []
    model = make_model(CANDIDATES[name], study, frame[FEATURES], classes, {})
    model.fit(frame, frame[FEATURES])
    unseen = weather(task, 200, seed=1)[FEATURES]
    unseen.loc[:3, "place"] = "moon"
    unseen.loc[4:8, ["wind", "place"]] = np.nan
    expected = model.predict(unseen)
    assert expected.notna().all().all()
    save_model(model, tmp_path / "model.skops")
    assert load_model(tmp_path / "model.skops").predict(unseen).equals(expected)
    if name not in ("lightgbm", "few"):  # one fresh process for each kind would only take time
        return
    unseen.to_parquet(tmp_path / "rows.parquet")
    expected.to_parquet(tmp_path / "expected.parquet")
    code = (
        "import pandas as pd, sys; from nbs_lib.models.bundle import load_model;"
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
    model = make_model(CANDIDATES["linear"], study, frame[FEATURES], ["no", "yes"], {}).fit(
        frame, frame[FEATURES]
    )
    path = tmp_path / "model.skops"
    save_model(model, path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(Exception) as e:  # noqa: PT011
        load_model(path)
    assert isinstance(e.value, NbsError), repr(e.value)


@pytest.mark.parametrize("name", ["few", "linear", "lightgbm", "forest"])
def test_validation_rows_teach_nothing(name):
    "Whatever stands in a validation fold, the model of that fold is the same"
    study, frame = make(), weather()
    contest = open_contest(frame, frame[FEATURES], study)
    enter = lambda c: cross_validate(
        c, name, name, 1, lambda X: make_model(CANDIDATES[name], study, X, c.classes, {})
    )
    before = enter(contest)
    train, val = contest.pairs[0]
    probe = contest.frame.index[val[:20]]  # these stay as they are, and are predicted
    changed = frame.copy()
    rest = contest.frame.index[val[20:]]
    changed.loc[rest, "wind"] = 1e6
    changed.loc[rest, "place"] = "moon"
    changed.loc[rest, "rain"] = np.where(changed.loc[rest, "rain"] == "yes", "no", "yes")
    other = open_contest(changed, changed[FEATURES], study)
    other.pairs = contest.pairs
    after = enter(other)
    pd.testing.assert_frame_equal(before.oof.loc[probe], after.oof.loc[probe], check_exact=True)


@pytest.mark.parametrize("task", TASKS)
def test_the_search_is_the_same_twice(task):
    study, frame = make(task, modeling={"folds": 3}), weather(task)
    contest = open_contest(frame, frame[FEATURES], study)
    build = lambda X: make_model(CANDIDATES["lightgbm"], study, X, contest.classes, {})
    entry = cross_validate(contest, "lightgbm", "LightGBM", 4, build)
    one, two = (tune(contest, entry, trials=4, budget=300) for _ in range(2))
    assert one.trials.equals(two.trials)
    assert one.entry.oof.equals(two.entry.oof)


def test_noise_is_not_worth_a_complicated_model():
    "With nothing to learn, the simplest of the candidates is taken"
    frame = weather(rows=400)
    frame["rain"] = pd.Series(np.random.default_rng(5).choice(["no", "yes"], 400), dtype="str")
    study = make()
    contest = open_contest(frame, frame[FEATURES], study)
    entries = [
        cross_validate(
            contest,
            n,
            n,
            CANDIDATES[n].rank,
            lambda X, n=n: make_model(CANDIDATES[n], study, X, contest.classes, {}),
        )
        for n in ("few", "linear", "forest")
    ]
    chosen = choose(contest, entries).chosen
    assert chosen.rank == 1
    assert abs(chosen.mean("roc_auc") - 0.5) < 0.1


@pytest.mark.parametrize(
    ("improved", "rows", "says"),
    [
        (-0.1, 40, "None of 2 trials beat the defaults of LightGBM: the defaults stay."),
        (0.1, 40, "The best of 2 trials beat the defaults of LightGBM on average, but in too few folds"),
        (-0.1, 20, "The best of 2 trials on 20 rows did not beat the defaults of LightGBM on all 40 rows"),
    ],
)
def test_a_search_that_brought_nothing_says_where_it_was_compared(improved, rows, says):
    from types import SimpleNamespace as Some

    from nbs_lib.modeling import tuning_finding
    from nbs_lib.models.tuning import Tuning

    contest = Some(frame=range(40), metric=Some(unit="", label="ROC-AUC"))
    tuning = Tuning(None, pd.DataFrame({"trial": range(3)}), improved, False, False, 1.0, rows)
    assert tuning_finding(contest, tuning, Some(label="LightGBM")).startswith(says)
