"""Features: never ahead of their time, the same for one row as for many, and robust."""

import json
import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nbs_lib.core.settings import NbsError
from nbs_lib.core.study import make_study
from nbs_lib.models.features import (
    FeatureBuilder,
    feature_dictionary,
    make_encoder,
    microseconds,
    plan_features,
)

STATS = ["mean", "sum", "count", "std", "min", "max", "last"]
MINUTE = pd.Timedelta(minutes=1)
START = pd.Timestamp("2024-01-01")
quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def study_of(features=None, **more):
    config = {"question": "Is it so?", "task": "binary", "data": {"path": "x.csv"}, "target": "y", **more}
    return make_study("t", {**config, "features": features or {}})


def history_study(stat="mean", window="10min", delay="2min", known_at="seen", by=("who",), lag=1):
    feature = {"name": "past", "by": list(by), "value": "v", "stat": stat, "window": window, "delay": delay}
    feature |= {"known_at": known_at, "lag": lag}
    return study_of({"history": [feature]}, time="t", leaks=["v", "seen"])


@st.composite
def events(draw, most=25):
    "A table of events on a coarse clock, so that ties, gaps and values known before their own row are common"
    n = draw(st.integers(2, most))
    minutes = lambda: draw(st.lists(st.none() | st.integers(0, 30), min_size=n, max_size=n))
    moment = lambda ms: pd.Series(
        pd.to_datetime([pd.NaT if m is None else START + m * MINUTE for m in ms])
    ).astype("datetime64[us]")
    values = draw(
        st.lists(st.none() | st.floats(-1e6, 1e6, width=32) | st.integers(-3, 3), min_size=n, max_size=n)
    )
    who = draw(st.lists(st.sampled_from(["a", "b", "ü|", None]), min_size=n, max_size=n))
    return pd.DataFrame(
        {
            "t": moment(minutes()),
            "seen": moment(minutes()),
            "v": pd.Series(values, dtype=float),
            "who": pd.Series(who, dtype="str"),
            "x": np.arange(n, dtype=float),
            "y": pd.Series(["yes", "no"] * n, dtype="str")[:n],
        }
    ).rename_axis("row")


KINDS = {"t": "date", "seen": "date", "v": "number", "who": "category", "x": "number", "y": "category"}


def builder_for(study, frame):
    return FeatureBuilder(plan_features(study, KINDS, frame))


def past_of(builder, frame):
    return builder.fit_transform(frame)["past"].to_numpy()


def reference(study, frame):
    "The definition, row by row and event by event"
    h = study.features.history[0]
    delay, window = (
        pd.Timedelta(microseconds(h.delay), "us"),
        h.window and pd.Timedelta(microseconds(h.window), "us"),
    )
    out = []
    for row in frame.itertuples():
        if pd.isna(row.t) or (h.by and pd.isna(row.who)):
            out.append(np.nan)
            continue
        found = []
        for event in frame.itertuples():
            seen = event.seen if h.known_at else event.t
            if pd.isna(event.v) or pd.isna(seen) or pd.isna(event.t) or (h.by and event.who != row.who):
                continue
            known = max(seen, event.t)
            if known < row.t - delay and (not window or known >= row.t - delay - window):
                found.append((known, event.v))
        out.append(summary(h.stat, [v for _, v in sorted(found)], h.lag))
    return np.array(out, dtype=float)


def summary(stat, values, lag):
    if stat == "count":
        return len(values)
    if stat == "sum":
        return sum(values)
    if stat == "last":
        return values[-lag] if len(values) >= lag else np.nan
    if stat == "std":
        return np.std(values, ddof=1) if len(values) >= 2 else np.nan
    return {"mean": np.mean, "min": np.min, "max": np.max}[stat](values) if values else np.nan


specs = st.builds(
    history_study,
    stat=st.sampled_from(STATS),
    window=st.sampled_from([None, "1min", "10min", "1h"]),
    delay=st.sampled_from(["0 s", "2min"]),
    known_at=st.sampled_from([None, "seen"]),
    by=st.sampled_from([(), ("who",)]),
    lag=st.integers(1, 3),
)


@quick
@given(specs, events())
def test_history_is_what_its_definition_says(study, frame):
    got = past_of(builder_for(study, frame), frame)
    scale = max(1.0, frame["v"].abs().max(skipna=True) if frame["v"].notna().any() else 1.0)
    np.testing.assert_allclose(got, reference(study, frame), rtol=1e-9, atol=1e-7 * scale)


@quick
@given(specs, events(), st.data())
def test_changing_the_future_changes_nothing(study, frame, data):
    "Whatever becomes known at t - delay or later may be anything: a row at t does not move by one bit"
    at = data.draw(st.integers(0, len(frame) - 1))
    now = frame["t"].iloc[at]
    if pd.isna(now):
        return
    h = study.features.history[0]
    seen = frame["seen"] if h.known_at else frame["t"]
    known = seen.where(seen >= frame["t"], frame["t"]).where(seen.notna() & frame["t"].notna())
    future = (known >= now - pd.Timedelta(microseconds(h.delay), "us")) | known.isna()
    changed = frame.copy()
    changed.loc[future, "v"] = data.draw(
        st.lists(st.floats(-1e9, 1e9), min_size=int(future.sum()), max_size=int(future.sum()))
    )
    builder = builder_for(study, frame)
    before, after = past_of(builder, frame)[at], past_of(builder, changed)[at]
    assert before == after or (np.isnan(before) and np.isnan(after))
    # and without those rows altogether, the row itself apart
    fewer = frame[~future.to_numpy() | (np.arange(len(frame)) == at)]
    alone = builder.fit_transform(fewer)["past"].loc[at]
    assert before == alone or (np.isnan(before) and np.isnan(alone))


@quick
@given(specs, events(12), st.floats(-1e9, 1e9))
def test_a_row_never_sees_itself(study, frame, value):
    "Not even where the table claims that its value was known before its time"
    frame["seen"] = START - 60 * MINUTE
    builder = builder_for(study, frame)
    before = past_of(builder, frame)
    for at in range(len(frame)):
        changed = frame.copy()
        changed.loc[at, "v"] = value
        after = past_of(builder, changed)[at]
        # a count or a mean may only move through the *other* rows, and these are unchanged
        assert before[at] == after or (np.isnan(before[at]) and np.isnan(after))


@quick
@given(specs, events(), st.randoms(use_true_random=False))
def test_order_of_rows_does_not_matter(study, frame, random):
    order = list(range(len(frame)))
    random.shuffle(order)
    builder = builder_for(study, frame)
    straight = builder.fit_transform(frame)
    mixed = builder.fit_transform(frame.iloc[order])
    pd.testing.assert_frame_equal(mixed.sort_index(), straight, check_exact=True)


@quick
@given(specs, events(), st.integers(1, 24))
def test_training_then_holdout_is_the_union(study, frame, cut):
    "Rows of the holdout see the training rows and their own past, each once"
    cut = min(cut, len(frame) - 1)
    builder = builder_for(study, frame)
    union = builder.fit_transform(frame)["past"]
    builder.fit(frame.iloc[:cut])
    pd.testing.assert_series_equal(
        builder.transform(frame.iloc[cut:])["past"], union.iloc[cut:], check_exact=True
    )
    pd.testing.assert_series_equal(builder.transform(frame)["past"], union, check_exact=True)


@quick
@given(specs, events(8))
def test_row_by_row_equals_the_batch(study, frame):
    "Served rows bring no outcome: one by one or all at once, from the same known events"
    builder = builder_for(study, frame).fit(frame)
    served = frame.drop(columns=["v", "seen", "y"]).reset_index(drop=True)
    batch = builder.transform(served)
    for at in range(len(frame)):
        pd.testing.assert_frame_equal(
            builder.transform(served.iloc[[at]]), batch.iloc[[at]], check_exact=True
        )


def test_ties_do_not_depend_on_the_order_of_rows():
    frame = pd.DataFrame(
        {
            "t": [START] * 4 + [START + MINUTE] * 2,
            "v": [0.1, 1e16, 0.3, -1e16, 0.0, 0.0],
            "x": np.arange(6.0),
            "y": list("ababab"),
        }
    )
    kinds = {"t": "date", "v": "number", "x": "number", "y": "category"}
    for stat in STATS:
        study = study_of({"history": [{"name": "past", "value": "v", "stat": stat}]}, time="t", leaks=["v"])
        builder = FeatureBuilder(plan_features(study, kinds, frame))
        straight, mirrored = past_of(builder, frame), past_of(builder, frame[::-1])[::-1]
        np.testing.assert_array_equal(straight, mirrored)
        assert straight[4] == straight[5]


def test_numeric_time_and_suggested_count():
    frame = pd.DataFrame(
        {
            "t": [1, 2, 3, 3],
            "g": [1.0, 1.0, 1.0, 2.0],
            "v": [5.0, 7.0, 1.0, 2.0],
            "x": [1.0, 2.0, 3.0, 4.0],
            "y": ["a", "b", "a", "b"],
        }
    )
    kinds = {"t": "number", "g": "number", "v": "number", "x": "number", "y": "category"}
    study = study_of(
        {"history": [{"name": "h", "by": ["g"], "value": "v"}]}, time="t", group="g", leaks=["v"]
    )
    got = FeatureBuilder(plan_features(study, kinds, frame)).fit_transform(frame)["h"]
    np.testing.assert_array_equal(got, [np.nan, 5.0, 6.0, np.nan])
    with pytest.raises(NbsError, match="window and delay are durations"):
        plan_features(
            study_of({"history": [{"name": "h", "value": "v", "window": "3h"}]}, time="t"), kinds, frame
        )
    dated = frame.assign(t=pd.to_datetime(frame["t"], unit="D"))
    suggested = plan_features(study_of(time="t", group="g"), kinds | {"t": "date"}, dated)
    count = FeatureBuilder(suggested).fit_transform(dated)["g: rows before"]
    assert count.tolist() == [0, 1, 2, 0]


def test_past_of_the_target():
    frame = pd.DataFrame(
        {
            "t": pd.date_range("2024-01-01", periods=4),
            "x": [1.0, 2.0, 3.0, 4.0],
            "y": ["late", "ok", "late", "ok"],
        }
    )
    study = study_of({"history": [{"name": "rate", "value": "y", "delay": "1h"}]}, time="t", positive="late")
    plan = plan_features(study, {"t": "date", "x": "number", "y": "category"}, frame)
    got = FeatureBuilder(plan).fit_transform(frame)["rate"]
    np.testing.assert_allclose(got, [np.nan, 1, 1 / 2, 2 / 3])


def mixed(n=200, seed=0):
    rng = np.random.default_rng(seed)
    names = [
        "plain",
        "a b",
        "<script>alert(1)</script>",
        "😀",
        'it\'s "quoted"',
        "../up",
        "x: text",
        "text: missing",
    ]
    frame = pd.DataFrame({name: rng.normal(size=n) for name in names})
    frame["const"] = 1.0
    frame["empty"] = np.nan
    frame["endless"] = np.where(rng.random(n) < 0.1, np.inf, rng.normal(size=n))
    frame["gaps"] = np.where(rng.random(n) < 0.3, np.nan, rng.normal(size=n))
    frame["flag"] = rng.random(n) < 0.5
    frame["few"] = pd.Series(rng.choice(["a", "b", "c"], n), dtype="str").where(rng.random(n) < 0.9)
    frame["many"] = pd.Series([f"v{i}" for i in rng.integers(0, 80, n)], dtype="str")
    frame["text"] = pd.Series(rng.choice(["good day to you", "bad night", "so so it goes"], n), dtype="str")
    frame["day"] = pd.Series(pd.date_range("2020-01-01", periods=n, freq="9h")).astype("datetime64[us]")
    frame["y"] = pd.Series(rng.choice(["yes", "no"], n), dtype="str")
    kinds = dict.fromkeys(frame.columns, "number")
    kinds |= {
        "flag": "bool",
        "few": "category",
        "many": "category",
        "text": "text",
        "day": "date",
        "y": "category",
    }
    return frame.rename_axis("row"), kinds


def test_hostile_names_and_values():
    frame, kinds = mixed()
    study = study_of()
    plan = plan_features(study, kinds, frame)
    assert json.loads(json.dumps(plan)) == plan
    features = FeatureBuilder(plan).fit_transform(frame)
    assert features.columns.is_unique
    assert not np.isinf(features.select_dtypes("number")).any().any()
    reasons = {d["name"]: d["reason"] for d in plan["dropped"]}
    assert {"const", "empty"} <= set(reasons)
    words = feature_dictionary(plan, features, study)
    assert list(words["name"]) == list(features.columns)
    for kind in ("tree", "linear"):
        encoder = make_encoder(kind, features, "binary")
        X = encoder.fit_transform(features, frame["y"])
        names = encoder.get_feature_names_out()
        assert len(names) == len(set(names)) == X.shape[1]
        assert kind == "tree" or np.isfinite(X).all()


def test_one_row_features_depend_on_the_row_only():
    frame, kinds = mixed()
    builder = FeatureBuilder(plan_features(study_of(), kinds, frame)).fit(frame)
    batch = builder.transform(frame)
    for at in (0, 7, 199):
        pd.testing.assert_frame_equal(builder.transform(frame.iloc[[at]]), batch.iloc[[at]], check_exact=True)


def test_missing_columns_are_named():
    frame, kinds = mixed()
    builder = FeatureBuilder(plan_features(study_of(), kinds, frame)).fit(frame)
    with pytest.raises(NbsError, match="2 of the 15 columns .* missing: '😀', 'day'"):
        builder.transform(frame.drop(columns=["😀", "day", "y", "const"]))


@pytest.mark.parametrize("kind", ["tree", "linear"])
@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_encoder_takes_what_it_never_saw(kind, task):
    frame, kinds = mixed()
    y = {"binary": frame["y"], "multiclass": frame["few"].fillna("d"), "regression": frame["plain"]}[task]
    builder = FeatureBuilder(plan_features(study_of(), kinds, frame))
    features = builder.fit_transform(frame)
    encoder = make_encoder(kind, features, task)
    width = encoder.fit_transform(features, y).shape[1]
    strange = frame.iloc[:5].copy()
    strange["few"], strange["many"], strange["text"] = "new", "new", "unheard of"
    strange["plain"] = [np.nan, np.inf, -np.inf, 1e308, -1e308]
    X = encoder.transform(builder.transform(strange))
    assert X.shape == (5, width) and not np.isinf(X).any()
    gone = frame.iloc[:3].copy()
    for column in gone.columns.drop("flag"):
        gone[column] = pd.Series([None] * 3, index=gone.index, dtype=frame[column].dtype)
    X = encoder.transform(builder.transform(gone))
    assert X.shape == (3, width) and (kind == "tree" or np.isfinite(X).all())
    assert encoder.transform(builder.transform(frame.iloc[:0])).shape == (0, width)


@pytest.mark.parametrize("rows", [1, 64, 65, 200])
def test_features_without_a_frame_are_the_same(rows):
    frame, kinds = mixed()
    builder = FeatureBuilder(plan_features(study_of(), kinds, frame))
    features = builder.fit_transform(frame)
    columns = builder.columns_of(frame.tail(rows))
    for kind in ("tree", "linear", "native"):
        encoder = make_encoder(kind, features, "binary").fit(features, frame["y"])
        framed = encoder.transform(builder.transform(frame.tail(rows)))
        np.testing.assert_array_equal(encoder.transform(columns), framed)
        np.testing.assert_array_equal(framed, encoder.transform(features)[-rows:])


def test_target_means_do_not_leak_a_rows_own_target():
    "On pure noise with a category for every other row, cross-fitted means say nothing about the target"
    rng = np.random.default_rng(0)
    features = pd.DataFrame({"c": pd.Series([f"v{i // 2}" for i in range(4000)], dtype="str")})
    y = rng.normal(size=4000)
    encoder = make_encoder("tree", features, "regression")
    crossed = encoder.fit_transform(features, y)[:, 0]
    assert abs(np.corrcoef(crossed, y)[0, 1]) < 0.05
    assert np.corrcoef(encoder.transform(features)[:, 0], y)[0, 1] > 0.5
    assert (make_encoder("tree", features, "regression").fit_transform(features, y)[:, 0] == crossed).all()


@pytest.mark.parametrize("kind", ["tree", "linear"])
def test_wide_tall_and_tiny(kind):
    rng = np.random.default_rng(0)
    wide = pd.DataFrame(rng.normal(size=(60, 5000)), columns=[f"c{i}" for i in range(5000)])
    assert make_encoder(kind, wide, "binary").fit_transform(wide, rng.choice(["a", "b"], 60)).shape == (
        60,
        5000,
    )
    tall = pd.DataFrame({"c": pd.Series([f"v{i}" for i in range(100_000)], dtype="str")})
    assert (
        len(make_encoder(kind, tall, "multiclass").fit_transform(tall, rng.choice(["a", "b", "c"], 100_000)))
        == 100_000
    )
    many = rng.choice([f"k{i}" for i in range(50)], 100_000)
    assert make_encoder(kind, tall, "multiclass").fit_transform(tall, many).shape[1] <= 20
    tiny = pd.DataFrame(
        {
            "a": [1.0, 2.0],
            "b": pd.Series(["x", "y"], dtype="str"),
            "b: text": pd.Series([None, "?"], dtype="str"),
        }
    )
    assert len(make_encoder(kind, tiny, "binary").fit_transform(tiny, ["n", "y"])) == 2


def test_stored_and_loaded_they_are_the_same(tmp_path):
    import skops.io

    from nbs_lib.models.features import TRUSTED

    frame, kinds = mixed()
    frame = frame.assign(t=frame["day"], who=frame["many"], v=frame["plain"])
    study = study_of({"history": [{"name": "past", "by": ["who"], "value": "v", "window": "9d"}]}, time="t")
    builder = FeatureBuilder(
        plan_features(study, kinds | {"t": "date", "who": "category", "v": "number"}, frame)
    )
    features = builder.fit_transform(frame)
    encoder = make_encoder("linear", features, "binary").fit(features, frame["y"])
    path = tmp_path / "x.skops"
    skops.io.dump([builder, encoder], path)
    for loaded in (skops.io.load(path, trusted=TRUSTED), pickle.loads(pickle.dumps([builder, encoder]))):
        pd.testing.assert_frame_equal(loaded[0].transform(frame), features, check_exact=True)
        np.testing.assert_array_equal(loaded[1].transform(features), encoder.transform(features))


def test_scikit_learn_can_clone_and_chain():
    from sklearn.base import clone
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    frame, kinds = mixed()
    plan = plan_features(study_of(), kinds, frame)
    encoder = make_encoder("linear", FeatureBuilder(plan).fit_transform(frame), "binary")
    model = clone(make_pipeline(FeatureBuilder(plan), encoder, LogisticRegression()))
    assert set(model.fit(frame, frame["y"]).predict(frame)) == {"yes", "no"}


def test_only_a_whole_interval_beyond_the_line_tells_more_than_chance():
    from nbs_lib.features import strength_sentence

    scores = pd.DataFrame(
        {"column": ["a", "b"], "score": [0.9, 0.62], "low": [0.85, 0.55], "high": [0.95, 0.69]}
    )
    assert "1 of 2 features tells more than chance" in strength_sentence(scores, [], 0.6, 2)
    assert strength_sentence(scores, [], 0.87, 2).startswith("None of 2 features")
