"The rule by which probabilities become answers: what costs say, however they are given"

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbs_lib.core.costs import paid
from nbs_lib.core.study import Study, make_study
from nbs_lib.models.bundle import Baseline, answer, load_model, save_model
from nbs_lib.models.decision import Rule, apply_rule, choose_rule, class_policies
from nbs_lib.models.selection import decide_by, first_threshold, model_facts, open_contest
from nbs_lib.tasks.classification import policies, threshold_curve
from nbs_lib.tasks.metrics import get_metric

quick = settings(max_examples=40, deadline=None)
costs = st.floats(0.1, 50)


def make(task: str = "binary", **more) -> Study:
    config = {"question": "Will it rain?", "task": task, "data": {"path": "x.csv"}, "target": "rain"}
    return make_study("t", config | more)


def guesses(seed: int, rows: int = 120) -> tuple[pd.DataFrame, pd.DataFrame]:
    "Rows with amounts, and probabilities that are bent: theory need not be right"
    rng = np.random.default_rng(seed)
    true = rng.beta(0.8, 2, rows)
    p = np.clip(true ** rng.uniform(0.3, 3), 0, 1).round(rng.integers(1, 4))
    rain = np.where(rng.random(rows) < true, "yes", "no")
    rain[:10], rain[10:20] = "yes", "no"
    frame = pd.DataFrame({"rain": pd.Series(rain, dtype="str"), "worth": rng.gamma(1, 5, rows)})
    frame["warm"] = rng.normal(size=rows)
    return frame.rename_axis("row"), answer(np.stack([1 - p, p], 1), ["no", "yes"], frame.index, "yes", 0.5)


def ruled(study: Study, frame: pd.DataFrame, oof: pd.DataFrame) -> tuple[Rule, pd.DataFrame]:
    "The rule of a study, and the predictions by it"
    contest = open_contest(frame, frame[["warm"]], study)
    rule = choose_rule(contest, oof.iloc[contest.scored])
    return rule, apply_rule(oof.iloc[contest.scored], None, rule, "yes")


def spent(study: Study, frame: pd.DataFrame, told: pd.DataFrame) -> float:
    rows = frame.loc[told.index]
    return float(paid(study, rows["rain"], told["prediction"], rows, "yes").mean())


@quick
@given(seed=st.integers(0, 10_000), alarm=costs, miss=costs, own=st.booleans())
def test_the_threshold_taken_costs_no_more_than_theory(seed, alarm, miss, own):
    frame, oof = guesses(seed)
    study = make(cost={"false_positive": alarm, "false_negative": "worth" if own else miss})
    rule, told = ruled(study, frame, oof)
    by_theory = Rule(rule.theory, costs=rule.costs, rows=rule.rows)
    assert spent(study, frame, told) <= spent(study, frame, apply_rule(oof, None, by_theory, "yes")) + 1e-9


@quick
@given(seed=st.integers(0, 10_000), alarm=costs, miss=costs, factor=st.sampled_from([0.25, 2.0, 1024.0]))
def test_the_unit_of_costs_does_not_matter(seed, alarm, miss, factor):
    frame, oof = guesses(seed)
    one = ruled(make(cost={"false_positive": alarm, "false_negative": miss}), frame, oof)
    other = ruled(make(cost={"false_positive": factor * alarm, "false_negative": factor * miss}), frame, oof)
    assert one[0].threshold == pytest.approx(other[0].threshold)
    assert one[1]["prediction"].equals(other[1]["prediction"])


@quick
@given(seed=st.integers(0, 10_000), cost=costs)
def test_a_mistake_that_costs_nothing_is_always_made(seed, cost):
    frame, oof = guesses(seed)
    oof.loc[oof.index[:3], ["p_no", "p_yes"]] = [[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]]
    nobody = ruled(make(cost={"false_positive": cost, "false_negative": 0}), frame, oof)[1]
    everybody = ruled(make(cost={"false_positive": 0, "false_negative": cost}), frame, oof)[1]
    assert nobody["prediction"].eq("no").all() and everybody["prediction"].eq("yes").all()


@quick
@given(seed=st.integers(0, 10_000), alarm=costs, miss=costs)
def test_equal_amounts_in_all_rows_are_a_fixed_cost(seed, alarm, miss):
    frame, oof = guesses(seed)
    frame["worth"] = miss
    fixed = ruled(make(cost={"false_positive": alarm, "false_negative": miss}), frame, oof)
    each = ruled(make(cost={"false_positive": alarm, "false_negative": "worth"}), frame, oof)
    assert each[0].threshold == pytest.approx(fixed[0].threshold)
    assert each[1]["prediction"].equals(fixed[1]["prediction"])


@quick
@given(seed=st.integers(0, 10_000), alarm=costs)
def test_amounts_decide_row_by_row_as_theory_says(seed, alarm):
    frame, oof = guesses(seed)
    study = make(cost={"false_positive": alarm, "false_negative": "worth"})
    model = Baseline(model_facts("m", "m", study, ["no", "yes"]))
    decide_by(model, study, frame["rain"], frame)
    p, worth = oof["p_yes"], frame["worth"]
    told = answer(
        oof[["p_no", "p_yes"]].to_numpy(), ["no", "yes"], frame.index, "yes", model.threshold, None,
        model.costs, frame,
    )["prediction"]  # fmt: skip
    clear = ~np.isclose(p * worth, (1 - p) * alarm)
    assert told[clear].eq("yes").equals((p * worth > (1 - p) * alarm)[clear])


def test_a_saved_model_knows_the_amounts_and_does_without_them(tmp_path):
    frame, _ = guesses(3)
    study = make(cost={"false_positive": 5, "false_negative": "worth"})
    model = Baseline(model_facts("m", "m", study, ["no", "yes"])).fit(frame)
    decide_by(model, study, frame["rain"], frame)
    save_model(model, tmp_path / "m.skops")
    again = load_model(tmp_path / "m.skops")
    rows = pd.DataFrame({"worth": [0.0, 1e6, np.nan]})
    usual = again.predict(rows[[]].assign(warm=0.0))["prediction"]
    assert again.predict(rows)["prediction"].tolist() == ["no", "yes", usual[0]]
    assert usual.nunique() == 1


@quick
@given(seed=st.integers(0, 10_000), scale=st.floats(0.1, 20))
def test_classes_of_least_expected_cost_are_the_cheapest_where_probabilities_are_right(seed, scale):
    "On rows in which everything happens as often as its probability says"
    rng = np.random.default_rng(seed)
    matrix = {a: {b: float(scale * rng.gamma(1)) for b in "abc" if b != a} for a in "abc"}
    study = make("multiclass", cost={"matrix": matrix})
    p = rng.dirichlet([1, 1, 1], 20)
    p = np.round(p * 20) / 20
    p[:, 2] = 1 - p[:, 0] - p[:, 1]
    model = Baseline(model_facts("m", "m", study, list("abc")))
    frame = pd.DataFrame({"rain": pd.Series(list("abc"), dtype="str")})
    decide_by(model, study, frame["rain"], frame)
    told = answer(p, list("abc"), pd.RangeIndex(20), costs=model.costs)["prediction"]
    cost = np.array([[0 if a == b else matrix[a][b] for b in "abc"] for a in "abc"])
    taken = (p @ cost)[np.arange(20), [list("abc").index(c) for c in told]]
    assert np.allclose(taken, (p @ cost).min(axis=1))


def test_a_matrix_goes_all_the_way():
    rng = np.random.default_rng(0)
    p = rng.dirichlet([1, 1, 1], 300)
    rain = pd.Series([rng.choice(list("abc"), p=row) for row in p], dtype="str")
    frame = pd.DataFrame({"rain": rain, "warm": rng.normal(size=300)}).rename_axis("row")
    study = make("multiclass", metric="cost", cost={"matrix": {"a": {"b": 20, "c": 20}, "b": {"b": -1}}})
    contest = open_contest(frame, frame[["warm"]], study)
    oof = answer(p, list("abc"), frame.index)
    rule = choose_rule(contest, oof)
    told = apply_rule(oof, None, rule, None)
    table = class_policies(study, frame["rain"], told)
    values = table["cost for 1,000 rows"]
    assert rule.curve.equals(table) and values[0] < values[1] and values[0] < values[2]
    cost = get_metric(study, frame=frame)
    assert 1000 * cost.score(frame["rain"], told) == pytest.approx(values[0])
    decided = contest.decided(p, np.arange(300), 0)
    assert decided["prediction"].equals(told["prediction"])


@quick
@given(seed=st.integers(0, 10_000), alarm=costs)
def test_curves_and_policies_add_up_the_amounts(seed, alarm):
    frame, oof = guesses(seed)
    truth, worth = frame["rain"].eq("yes").to_numpy(), frame["worth"].to_numpy()
    curve = threshold_curve(truth, oof["p_yes"].to_numpy(), alarm, worth)
    for t, cost in zip(curve["threshold"][::5], curve["cost"][::5], strict=True):
        flagged = oof["p_yes"].to_numpy() >= t
        assert cost == pytest.approx((flagged & ~truth).sum() * alarm + worth[~flagged & truth].sum())
    table = policies(truth, oof["p_yes"].to_numpy(), 0.5, (alarm, worth))
    assert table["cost for 1,000 rows"].iloc[2] == pytest.approx(1000 * worth[truth].sum() / len(truth))


def test_what_theory_says_of_metrics():
    assert first_threshold(make(metric="jaccard"), 0.3) == 0.3
    assert first_threshold(make(metric="f1_weighted"), 0.3) == 0.5
    assert first_threshold(make(metric="precision"), 0.3) == 0.5
