"What monitoring says about months in which something is known to have changed, or nothing; wild inputs; alerts"

import json
import math

import numpy as np
import pandas as pd
import pytest
import watch_truths as w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from truths import at_least, at_most

from nbs_lib.tasks.metrics import get_metric
from nbs_lib.watch.alerts import measures_of, rules_of, step, to_file, watch
from nbs_lib.watch.drift import drift, drift_sentence
from nbs_lib.watch.performance import estimated, learn_classes, learn_numbers, measured
from nbs_lib.watch.profile import build_profile, profile_json, read_profile, see
from nbs_lib.watch.schema import breach_sentence, breaches


@pytest.fixture(scope="module")
def world():
    return w.World()


# ---- planted truths


@pytest.mark.parametrize("what", w.PLANTED)
def test_planted_changes_are_found(world, what):
    alarms, real, guess, _ = world.report(world.month(np.random.default_rng(3), w.PLANTED[what]))
    if what == "outcome":
        assert "worse" in alarms and not any(a.startswith(("drift", "breach")) for a in alarms), (alarms, real, guess)  # fmt: skip
    else:
        assert f"drift {what}" in alarms, alarms
    if what == "carrier":
        assert "breach carrier" in alarms, alarms


def test_nothing_is_left_alone(world):
    months = [world.report(world.month(np.random.default_rng([s, 1])), s)[0] for s in range(12)]
    assert sum(bool(alarms) for alarms in months) <= at_most(0.05, 12), months


def test_season_is_drift():
    "Temperatures of November and December against January to August: found, by days as by rows"
    frame = w.flights()
    cut = frame["scheduled"]
    train, later = frame[cut < "2013-09-01"][::5], frame[cut >= "2013-11-01"][::5]
    found = drift(build_profile(train[w.INPUTS], time="scheduled"), later[w.INPUTS], together=False)
    assert set(found.table.loc[found.table["verdict"] == "drifted", "view"]) >= {"temp", "dewp"}, drift_sentence(found)  # fmt: skip


# ---- levels and intervals where the truth is known


def independent(rng, n):
    "Ten columns of every kind; rows are independent"
    numbers = {f"n{i}": rng.gamma(2, 1, n) if i % 2 else rng.normal(size=n) for i in range(6)}
    texts = {f"c{i}": rng.choice(list("abcdefghij"[: 2 + 3 * i]), n) for i in range(3)}
    return pd.DataFrame({**numbers, **texts, "gaps": np.where(rng.random(n) < 0.1, np.nan, rng.random(n))})


@pytest.mark.parametrize(("trained", "later"), [(60, 30), (3000, 400), (200, 20_000)])
def test_independent_rows_keep_the_level(trained, later):
    alarms, n = 0, 15
    for s in range(n):
        rng = np.random.default_rng([s, trained])
        found = drift(build_profile(independent(rng, trained)), independent(rng, later), together=False, seed=s)  # fmt: skip
        alarms += (found.table["verdict"] == "drifted").any()
    assert alarms <= at_most(0.03, n), alarms


def by_day(rng, days, per_day, shift=0.0):
    "Rows of a day share a shock as large as their own spread, and most of them a category"
    day = np.repeat(np.arange(days), per_day)
    shared = rng.normal(size=days)[day]
    usual = rng.integers(0, 4, days)[day]
    kind = np.where(rng.random(len(day)) < 0.7, usual, rng.integers(0, 4, len(day)))
    when = pd.Timestamp("2024-01-01") + pd.to_timedelta(day, unit="D")
    x = [shift + shared + rng.normal(size=len(day)) for _ in range(4)]
    return pd.DataFrame({"when": when, "kind": np.array(list("abcd"))[kind], **{f"x{i}": v for i, v in enumerate(x)}})  # fmt: skip


def test_rows_of_a_day_keep_the_level():
    "Counting rows, nearly every month of these would be a drift"
    alarms, naive, n = 0, 0, 30
    for s in range(n):
        rng = np.random.default_rng([s, 77])
        train, later = by_day(rng, 120, 40), by_day(rng, 30, 40)
        found = drift(build_profile(train, time="when"), later, seed=s, together=s < 6)
        alarms += (found.table["verdict"] == "drifted").any() or found.together.get("verdict") == "drifted"
        if s < 10:
            plain = drift(build_profile(train.drop(columns="when")), later, together=False, least=0)
            naive += (plain.table["verdict"] == "drifted").any()
    assert alarms <= at_most(0.04, n) and naive == 10, (alarms, naive)


def test_thousands_of_groups_keep_the_level():
    "More groups than are kept: customers with five rows each, all alike"
    alarms, found = 0, 0
    for s in range(4):
        rng = np.random.default_rng([s, 8])
        make = lambda n, shift, start, rng=rng: pd.DataFrame({"who": np.repeat(np.arange(start, start + n), 5), **{f"x{i}": np.repeat(rng.normal(shift, 1, n), 5) for i in range(4)}})  # fmt: skip
        profile = build_profile(make(1500, 0, 0), group="who")
        verdicts = [set(drift(profile, make(1200, shift, 5000), together=False, seed=s).table["verdict"]) for shift in (0, 0.5)]  # fmt: skip
        alarms, found = alarms + ("drifted" in verdicts[0]), found + (verdicts[1] == {"drifted"})
    assert alarms <= at_most(0.03, 4) and found == 4, (alarms, found)


def test_the_interval_of_moved_covers():
    from scipy.stats import norm

    hits, n, truth = 0, 50, 2 * norm.cdf(0.3) - 1  # of two normals 0.6 apart; bins lose next to nothing
    for s in range(n):
        rng = np.random.default_rng([s, 5])
        found = drift(build_profile(pd.DataFrame({"x": rng.normal(size=2000)})), pd.DataFrame({"x": rng.normal(0.6, 1, 500)}), together=False).table.iloc[0]  # fmt: skip
        hits += found["low"] <= truth <= found["high"]
    assert hits >= at_least(0.92, n), hits


def test_estimates_cover_outcomes():
    "Days share shocks that no feature tells; the stated error allows for them"
    auc, loss = get_metric("roc_auc", "binary"), get_metric("log_loss", "binary")

    def world(rng, days):
        codes = np.repeat(np.arange(days), 40)
        z, shock = rng.normal(size=len(codes)), rng.normal(0, 0.6, days)[codes]
        p = 1 / (1 + np.exp(1 - 1.5 * z))
        y = rng.random(len(codes)) < 1 / (1 + np.exp(1 - 1.5 * z - shock))
        said = pd.DataFrame({"prediction": np.where(p > 0.5, "yes", "no"), "p_no": 1 - p, "p_yes": p})
        return pd.Series(np.where(y, "yes", "no")), said, codes

    hits, n = {"roc_auc": 0, "log_loss": 0}, 0
    for s in range(4):
        rng = np.random.default_rng([s, 31])
        facts = learn_classes([auc, loss], *world(rng, 100))
        for _ in range(6):
            y, said, _ = world(rng, 20)
            n += 1
            for m in (auc, loss):
                _, low, high, _ = estimated(facts, m, said)(np.arange(len(y)))
                hits[m.name] += low <= m.score(y, said) <= high
    assert min(hits.values()) >= at_least(0.9, n), (hits, n)


def test_errors_of_numbers_are_estimated():
    rng = np.random.default_rng(2)
    mae, rmse = get_metric("mae", "regression"), get_metric("rmse", "regression")

    def world(n, hard):
        frame = pd.DataFrame({"x": rng.normal(size=n), "kind": np.where(rng.random(n) < hard, "hard", "easy")})  # fmt: skip
        y = frame["x"] + rng.normal(size=n) * np.where(frame["kind"] == "hard", 5, 1)
        return frame, y, pd.DataFrame({"prediction": frame["x"]})

    frame, y, said = world(5000, 0.2)
    profile = build_profile(frame, said)
    facts = json.loads(json.dumps(learn_numbers([mae, rmse], y, said, profile, see(profile, frame, said))))
    hits = 0
    for _ in range(15):
        frame, y, said = world(
            1500, 0.7
        )  # more of the hard ones: the error doubles, and no feature alone is new
        for m in (mae, rmse):
            _, low, high, _ = estimated(facts, m, said, profile, see(profile, frame, said))(np.arange(1500))
            hits += low <= m.score(y, said) <= high
    assert hits >= at_least(0.9, 30), hits


def test_estimates_for_many_classes():
    rng = np.random.default_rng(4)

    def world(n):
        raw = np.exp(rng.normal(0, 1.3, (n, 3)))
        p = raw / raw.sum(1, keepdims=True)
        y = (rng.random((n, 1)) > p.cumsum(1)[:, :-1]).sum(1)
        said = pd.DataFrame({"prediction": np.array(list("abc"))[p.argmax(1)], **{f"p_{c}": p[:, i] for i, c in enumerate("abc")}})  # fmt: skip
        return pd.Series(np.array(list("abc"))[y]), said

    metrics = [get_metric(m, "multiclass") for m in ("log_loss", "accuracy", "f1_macro", "roc_auc_ovr")]
    facts, hits = learn_classes(metrics, *world(3000)), 0
    for _ in range(6):
        y, said = world(800)
        for m in metrics:
            _, low, high, _ = estimated(facts, m, said)(np.arange(800))
            hits += low <= m.score(y, said) <= high
    assert hits >= at_least(0.9, 24), hits


def test_without_its_time_nothing_is_called_drift():
    "Where the column is gone that says which rows hang together, no test can be made"
    rng = np.random.default_rng(1)
    profile = build_profile(by_day(rng, 60, 30), time="when")
    later = by_day(rng, 20, 30, shift=3).drop(columns="when")
    assert set(drift(profile, later).table["verdict"]) == {"cannot be told"}
    assert breaches(profile, later)["breach"].tolist()[0] == "missing column"


def test_only_rows_with_outcomes_are_measured():
    rng = np.random.default_rng(0)
    p = rng.random(500)
    y = pd.Series(np.where(rng.random(500) < p, "yes", "no"))
    said = pd.DataFrame({"prediction": np.where(p > 0.5, "yes", "no"), "p_no": 1 - p, "p_yes": p})
    auc = get_metric("roc_auc", "binary")
    part = measured(auc, y.where(np.arange(500) < 200), said)(np.arange(500))
    assert part == measured(auc, y[:200], said[:200])(np.arange(200)) and part[3] == 200
    none = measured(auc, y.where(np.arange(500) < 0), said)(np.arange(500))
    assert math.isnan(none[0]) and none[3] == 0


# ---- wild inputs

SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-(2**40), 2**40), st.floats(), st.text(max_size=5))
COLUMN = st.one_of(
    st.lists(st.floats(), min_size=1, max_size=30),
    st.lists(st.one_of(st.none(), st.text(max_size=3)), min_size=1, max_size=30),
    st.lists(st.booleans(), min_size=1, max_size=30),
    st.lists(SCALARS, min_size=1, max_size=30),
    st.lists(
        st.datetimes(min_value=pd.Timestamp("1700-01-01"), max_value=pd.Timestamp("2200-01-01")),
        min_size=1,
        max_size=30,
    ),  # fmt: skip
)


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(before=COLUMN, after=COLUMN)
def test_any_column_can_be_watched(before, after):
    train, later = pd.DataFrame({"a": pd.Series(before)}), pd.DataFrame({"a": pd.Series(after)})
    profile = read_profile(profile_json(build_profile(train)))
    assert not len(breaches(profile, train)), breaches(profile, train)
    found = drift(profile, later, together=False)
    assert set(found.table["verdict"]) <= {"drifted", "not drifted", "cannot be told"}
    assert found.table[["low", "moved", "high"]].apply(lambda r: 0 <= r["low"] <= r["high"] <= 1, axis=1).all()  # fmt: skip
    assert drift_sentence(found) and breach_sentence(breaches(profile, later))


# ---- alerts


@settings(max_examples=80, deadline=None)
@given(
    values=st.lists(st.one_of(st.floats(0, 1), st.just(math.nan)), min_size=1, max_size=40),
    wait=st.integers(1, 4), back=st.integers(1, 3), quiet=st.integers(0, 5), repeat=st.integers(0, 4),
)  # fmt: skip
def test_rules_never_storm(values, wait, back, quiet, repeat):
    rules = rules_of([{"name": "r", "measure": "x", "above": 0.5, "clear": 0.4, "for": wait, "clear_for": back, "cooldown": quiet, "repeat": repeat}])  # fmt: skip
    state, told = {}, []
    for i, value in enumerate(values):
        state = json.loads(json.dumps(step(rules, state, {"x": value}, f"{i:03}")))
        assert step(rules, state, {"x": value}, f"{i:03}") == state
        told += [(i, m["kind"]) for n in state["outbox"] for m in n["messages"] if n["chunk"] == f"{i:03}"]
    changes = [kind for _, kind in told if kind != "reminds"]
    assert changes[::2] == ["fires"] * len(changes[::2]) and changes[1::2] == ["recovers"] * len(changes[1::2])  # fmt: skip
    assert all(b - a > quiet for (a, _), (b, _) in zip(told, told[1:], strict=False)), told
    if told:
        known = [v for v in values[: told[0][0] + 1] if not math.isnan(v)]
        assert sum(v > 0.5 for v in known) >= wait


def test_a_killed_monitor_sends_what_it_could_not(tmp_path):
    "Killed between writing the state and sending: the notice goes out with the next chunk, once"
    rules = rules_of([{"name": "r", "measure": "x", "above": 0}])
    log = tmp_path / "log.jsonl"

    def killed(notice):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        watch(tmp_path / "state.json", rules, {"x": 1}, "1", {"file": killed})
    assert not log.exists()
    for chunk in ("1", "2"):
        watch(tmp_path / "state.json", rules, {"x": 1}, chunk, {"file": to_file(log)})
    assert [json.loads(line)["chunk"] for line in log.read_text().splitlines()] == ["1"]


def test_rules_take_a_month_without_any_breach():
    frame = pd.DataFrame({"age": np.arange(100.0), "job": ["cook", "pilot"] * 50})
    table = breaches(build_profile(frame), frame)
    assert not len(table) and measures_of(breaches=table) == {"breaches": 0.0}


@pytest.mark.parametrize("sizes", [[1] * 60, [120, 60, *[3] * 10]], ids=["a row a day", "two days in front"])
def test_few_rows_of_large_days_raise_no_alarm(sizes):
    rng = np.random.default_rng(4)
    days = np.repeat(np.arange(150), 300)
    shift = rng.normal(0, 0.3, 150)  # rows of a day are alike
    x = rng.normal(size=len(days)) + shift[days]
    when = pd.Timestamp("2025-01-01") + pd.to_timedelta(days, unit="D")
    job = np.where(rng.random(len(days)) < 0.3 + 0.1 * np.tanh(shift[days]), "cook", "pilot")
    frame = pd.DataFrame({"when": when, "x": x, "job": job, "y": rng.normal(size=len(days))})
    profile, alarms = build_profile(frame, time="when"), 0
    for _ in range(12):
        some = rng.choice(150, len(sizes), replace=False)
        at = np.concatenate(
            [d * 300 + rng.choice(300, n, replace=False) for d, n in zip(some, sizes, strict=True)]
        )
        found = drift(profile, frame.iloc[np.sort(at)])
        alarms += (found.table["verdict"] == "drifted").any() or found.together["verdict"] == "drifted"
    assert alarms <= at_most(0.05, 12)
    moved = frame.iloc[np.sort(at)].assign(x=lambda f: f["x"] + 3)
    assert "x" in set(drift(profile, moved).table.query("verdict == 'drifted'")["view"]) or len(sizes) < 20
