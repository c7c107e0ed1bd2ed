"What the modeling stage says of candidates, search and curves is what their numbers say"

import re
from types import SimpleNamespace

import matplotlib

matplotlib.use("agg")
import numpy as np
import pandas as pd
import pytest

from nbs_lib import modeling as md
from nbs_lib.core.study import make_study
from nbs_lib.models.best import settle_choice
from nbs_lib.models.candidates import CANDIDATES
from nbs_lib.models.coefficients import Regression
from nbs_lib.models.selection import Entry, enter_constant, judge, open_contest, trained_on


def planted(rows: int = 300, task: str = "binary", metric: str = "balanced_accuracy", **modeling):
    "A contest without anything to fit: entries are planted"
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=rows)}).rename_axis("row")
    frame["y"] = frame["x"] if task == "regression" else np.where(np.arange(rows) % 2, "yes", "no")
    config = {
        "question": "Which one?",
        "task": task,
        "data": {"path": "x.csv"},
        "target": "y",
        "metric": metric,
    }
    config |= {"positive": "yes"} if task == "binary" else {}
    return open_contest(frame, frame[["x"]], make_study("t", config | {"modeling": modeling}))


def sure(contest, wrong: int, how: float, seed: int) -> np.ndarray:
    "Probabilities that are as sure as `how` and wrong in so many rows of each fold"
    rng, right = np.random.default_rng(seed), np.ones(len(contest.frame), bool)
    for k in range(contest.folds):
        right[rng.permutation(np.flatnonzero(contest.part == k))[:wrong]] = False
    p = np.where((contest.codes == 1) == right, how, 1 - how)
    return np.stack([1 - p, p], axis=1)


def enter(contest, name: str, outputs: np.ndarray) -> Entry:
    "A candidate that predicts so"
    trained = [outputs[a[trained_on(contest, k)]] for k, (a, _) in enumerate(contest.pairs)]
    kind, (oof, scores) = CANDIDATES[name], judge(contest, outputs, trained)
    return Entry(name, kind.label, kind.rank, oof, scores, 0.1, 0.1, trained=trained)


def settled(contest, wrong: dict[str, int]):
    "What is taken of LightGBM, nearest neighbours (both hardly sure) and a network that is very sure"
    entries = [
        enter(contest, name, sure(contest, n, 0.99 if name == "network" else 0.52, i))
        for i, (name, n) in enumerate(wrong.items())
    ]
    for i, e in enumerate(entries):
        e.number = i
    return settle_choice(contest, entries)


def test_who_scored_best_is_told_even_if_it_was_passed_over():
    "LightGBM is right most often, but not surely more often than the ensemble, which follows the network"
    contest = planted()
    choice, blended = settled(contest, {"lightgbm": 3, "neighbours": 4, "network": 5})
    scores = {e.name: e.mean("balanced_accuracy") for e in choice.rivals}
    assert max(scores, key=scores.get) == "lightgbm" and choice.chosen.name == "neighbours"
    assert md.choice_title(contest, choice) == (
        "LightGBM scored best, but not surely better than the ensemble; nearest neighbours was taken as the best of the others"
    )
    note = md.choice_note(contest, choice)
    assert note.startswith("LightGBM is ahead of the ensemble by 0.03 (") and "2 are needed" in note
    assert md.runner_sentence(contest, choice, choice.rivals).startswith("LightGBM scores better by 0.0")


def test_several_that_were_passed_over_are_told_together():
    contest = planted()
    choice, _ = settled(contest, {"lightgbm": 3, "catboost": 3, "linear": 4, "network": 5})
    assert set(choice.passed) >= {"lightgbm", "catboost"} and choice.chosen.name == "linear"
    assert re.match(
        r"\w+ and \w+ scored best, but not surely better than the ensemble; regularised linear was taken",
        md.choice_title(contest, choice),
    )
    assert re.match(
        r"\w+ is ahead of the ensemble by 0.03 \([^)]+\), 1.\d+ standard errors and \w+ by 1.\d+, and 2 are needed to take one of them\.",
        md.choice_note(contest, choice),
    )


def test_without_a_single_one_that_was_passed_over_the_best_is_the_best():
    contest = planted()
    choice, _ = settled(contest, {"lightgbm": 0, "neighbours": 9, "network": 20})
    assert md.choice_title(contest, choice) == "LightGBM scored best"
    note = md.choice_note(contest, choice)
    assert note.startswith(
        "Every simpler one is behind by more than chance would explain, and only a tenth of a standard error is allowed for"
    )


def test_how_close_a_simpler_one_came_is_told():
    contest = planted()
    choice, _ = settled(contest, {"lightgbm": 5, "neighbours": 6, "network": 30})
    assert choice.chosen.name == "lightgbm"
    assert md.choice_title(contest, choice).endswith("though not clearly better than every other")
    note = md.choice_note(contest, choice)
    assert re.match(
        r"The closest of the simpler ones, nearest neighbours, is 0\.\d+ standard errors behind, and only a",
        note,
    )


def test_a_simpler_one_that_is_as_good_is_told_with_what_prefer_allows():
    contest = planted(prefer="simple")
    choice, _ = settled(contest, {"lightgbm": 5, "neighbours": 6, "network": 30})
    assert choice.chosen.name == "neighbours" and choice.best.name == "lightgbm"
    assert md.choice_title(contest, choice) == (
        "LightGBM scored best, but is hardly better than nearest neighbours, which is simpler and was taken"
    )
    assert "one standard error is allowed for (modeling.prefer: simple)" in md.choice_note(contest, choice)


def test_an_ensemble_that_is_behind_is_not_said_to_be_ahead():
    contest = planted()
    choice, blended = settled(contest, {"lightgbm": 0, "neighbours": 9, "network": 20})
    constant = enter_constant(contest)
    said = md.ensemble_finding(contest, choice, blended, constant)
    assert "worse than the best of them alone (LightGBM), more than chance would explain" in said
    assert said.endswith("It was not taken: LightGBM is better alone.")
    assert "ahead" not in said and "−" not in said


def test_a_sure_gain_of_an_ensemble_is_small_where_it_is_small():
    contest = planted(4000, "regression", "rmse")
    rng, y = np.random.default_rng(0), contest.codes
    shared = rng.normal(size=len(y)) / 2
    entries = [
        enter(contest, n, (y + shared + rng.normal(size=len(y)) / 10)[:, None])
        for n in ("lightgbm", "xgboost", "catboost")
    ]
    choice, blended = settle_choice(contest, entries)
    assert choice.chosen is blended.entry
    said = md.ensemble_finding(contest, choice, blended, enter_constant(contest))
    assert (
        "better than the best of them alone" in said
        and "more than chance would explain. It was taken." in said
    )
    assert "The gain is small: 0.9" in said


def curve_of(contest, gains: list[float], start: float = 0.8) -> pd.DataFrame:
    "Half of the rows and all of them, in the last folds"
    folds = range(contest.folds - len(gains) + 1, contest.folds + 1)
    rows = [
        (k, share, 100 * share, start + (share == 1) * g, 0.9)
        for k, g in zip(folds, gains, strict=True)
        for share in (0.5, 1.0)
    ]
    return pd.DataFrame(rows, columns=["fold", "share", "rows", "score", "train"])


@pytest.mark.parametrize(
    "gains, rising, says",
    [
        ([0.0, 0.0667, 0.0333], None, "cannot be told"),  # three folds that differ
        ([0.03, 0.04, 0.05], True, "would still help"),
        ([0.012, 0.012, 0.012], True, "help a little"),
        ([-0.004, 0.004, 0.001], False, "would bring little"),
        ([-0.05, 0.05, 0.1], None, "cannot be told"),
    ],
)
def test_more_rows_are_judged_by_what_the_folds_agree_on(gains, rising, says):
    found, step, text = md._doubling(planted(), curve_of(planted(), gains), 0.5)
    assert found is rising and says in text and np.isclose(step, np.mean(gains))


class Told:
    "A stage that keeps what it is told"

    def __init__(self, study):
        self.study, self.said, self.checks = study, [], {}

    def __getattr__(self, name):
        return lambda *args, **more: self.said.append((name, *args))

    def check(self, code, passed, text, **more):
        self.checks[code] = passed


@pytest.mark.parametrize(
    "task, metric, verb", [("regression", "mae", "falls"), ("binary", "roc_auc", "rises")]
)
def test_what_gets_better_with_rows_is_worded_by_the_metric(task, metric, verb):
    contest = planted(task=task, metric=metric)
    width = 1 if task == "regression" else 2
    entry = enter(
        contest,
        "lightgbm",
        np.full((300, width), 0.5) + np.random.default_rng(0).normal(size=(300, width)) / 9,
    )
    sign = contest.metric.sign
    curve = curve_of(contest, [sign * 0.2, sign * 0.3, sign * 0.2])
    told = Told(contest.study)
    verdict = md.Verdict(*md._doubling(contest, curve, 0.5)[:2], 0.0, 0.0, False, "", "")
    md.show_curves(told, contest, curve, entry, entry, verdict, True, 300)
    assert any(f"still {verb} with the number of rows" in str(one) for one in told.said)
    assert told.checks["CURVES"]
    caption = next(one[3] for one in told.said if one[0] == "figure")
    few = "too few to tell it from that on new rows"
    assert few in caption  # what was planted is worse on training rows
    assert few not in md.curve_caption(contest, curve.assign(train=0.8 + sign), entry, entry)
    assert "the last 3 of 5 folds" in caption and "240 of them in each fold" in caption
    assert f"scores {md.number(entry.mean(metric))} on new rows, and not" in caption


def trials(contest, scores: list[float], names: list[str]) -> SimpleNamespace:
    "A search that is over"
    rows = [
        {"trial": i, "candidate": n, "score": v, "state": "complete"}
        for i, (v, n) in enumerate(zip(scores, names, strict=True), 1)
    ]
    return SimpleNamespace(
        table=lambda: pd.DataFrame(rows), trials=[SimpleNamespace(state="complete")] * len(rows)
    )


def drawn(fig) -> set[float]:
    "The trials that have a mark"
    return {
        float(x) for line in fig.axes[0].lines if line.get_linestyle() == "None" for x in line.get_xdata()
    }


def test_every_trial_that_lies_in_the_figure_has_its_mark():
    "Also the first, from which the line starts, and the last, which is worse than most"
    contest = planted(metric="roc_auc")
    scores = [0.7236, 0.7301, 0.7377, 0.7391, 0.7386, 0.7325, 0.7362, 0.7295]
    names = ["few", "linear", "lightgbm", "xgboost", "lightgbm", "xgboost", "lightgbm", "linear"]
    found = trials(contest, scores, names)
    assert drawn(md.search_figure(contest, found)) == set(range(1, 9))
    assert md.search_caption(contest, found) == (
        "8 complete trials on 300 rows; the line is the best so far; grey: other kinds of model."
    )
    same = trials(contest, [*scores, 0.31], ["linear"] * 9)
    assert drawn(md.search_figure(contest, same)) == set(range(1, 9))
    assert md.search_caption(contest, same) == (
        "9 complete trials on 300 rows; the line is the best so far; 1 trial that is far off is not drawn."
    )


def test_a_trial_far_off_is_known_where_less_is_better():
    contest = planted(task="regression", metric="mae")
    found = trials(contest, [27.7, 160.4, 30.3, 31.5, 27.1, 27.8, 22.0, 17.5, 29.6], ["linear"] * 9)
    assert drawn(md.search_figure(contest, found)) == set(range(1, 10)) - {2}


def coefficients(n: int) -> Regression:
    "Terms with coefficients on both sides of nought"
    value = np.linspace(-8, 7, n)
    table = pd.DataFrame(
        {"term": [f"od280_od315_of_diluted_wines_{i}" for i in range(n)], "coefficient": value}
    )
    table = table.assign(low=value - 1, high=value + 1, per="1 more", **{"class": "second"})
    return Regression(table, pd.DataFrame(), [], "robust", "log-odds")


def test_the_number_of_a_negative_coefficient_stands_outside():
    fig = md.regression_figure(coefficients(20))
    ax, table = fig.axes[0], coefficients(20).table
    texts = [t for t in ax.texts if t.get_text()]
    assert len(texts) == md.DRAWN
    for t in texts:
        value = float(t.get_text().replace("−", "-"))
        term = table.iloc[(table["coefficient"] - value).abs().argmin()]
        outer, side = (term["low"], "right") if value < 0 else (term["high"], "left")
        assert t.get_ha() == side and np.isclose(t.xy[0], outer) and np.sign(t.xyann[0]) == np.sign(value)
    assert all(t.get_text().endswith("… (second)") for t in ax.get_yticklabels())
    fig.canvas.draw()
    inside = ax.get_window_extent()
    assert all(inside.x0 <= t.get_window_extent().x0 and t.get_window_extent().x1 <= inside.x1 for t in texts)
    box, whole = ax.xaxis.label.get_window_extent(), fig.bbox
    assert box.x0 >= 0 and box.x1 <= whole.x1


def test_the_caption_says_how_many_coefficients_are_drawn():
    for n, says in ((20, "The 14 largest of 20 coefficients of"), (9, "All coefficients of")):
        told, contest = Told(planted().study), planted()
        md.show_regression(told, contest, coefficients(n))
        assert next(one[3] for one in told.said if one[0] == "figure").startswith(says)


@pytest.mark.parametrize(
    "ends, says",
    [
        ((6.45, 3.74, 9.15), "630 (42 to 9,400)"),
        ((0.631, 0.555, 0.708), "1.88 (1.74 to 2.03)"),
        ((-8.01, -12.34, -3.68), "0.00033 (0.0000044 to 0.025)"),
    ],
)
def test_an_odds_ratio_has_the_figures_that_its_interval_allows(ends, says):
    assert md.odds_text(pd.Series(ends, ["coefficient", "low", "high"])) == says


def test_names_are_told_from_the_words_around_them():
    found = coefficients(3)
    found.table["term"], found.table["class"] = ["missing", "other", "is"], "first"
    said = md.regression_finding(planted(), found)
    assert said.startswith("Where “missing” is 1 higher, “first” is less frequent, odds ratio 0.00034 (")


def test_sets_that_name_no_class_are_told():
    p = np.where(np.arange(300) < 24, 0.5, 0.97)
    oof = pd.DataFrame({"p_no": 1 - p, "p_yes": p})
    said = md.ranges_finding(planted(), {"level": 0.9, "limits": [0.6, 0.6]}, oof)
    assert re.sub(r"\s", " ", said).endswith(
        "92.0 % of the answers name one class, 0 % more than one and 8.0 % none: no class is probable enough there."
    )


def test_times_are_not_rounded_to_nought():
    assert [md.at_least(v, 1) for v in (0.04, 0.06, 2.63)] == ["< 0.1", "0.1", "2.6"]
