"What the modeling stage says of candidates, search and curves is what their numbers say"

import numpy as np
import pandas as pd

from nbs_lib import modeling as md
from nbs_lib.core.study import make_study
from nbs_lib.models.best import settle_choice
from nbs_lib.models.candidates import CANDIDATES
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
    assert note.startswith("LightGBM is ahead of the ensemble by 0.03 (") and "2 would be needed" in note
    assert md.runner_sentence(contest, choice, choice.rivals).startswith("LightGBM scores better by 0.0")


def test_without_a_single_one_that_was_passed_over_the_best_is_the_best():
    contest = planted()
    choice, _ = settled(contest, {"lightgbm": 0, "neighbours": 9, "network": 20})
    assert md.choice_title(contest, choice) == "LightGBM scored best"
    note = md.choice_note(contest, choice)
    assert note.startswith("The best of the simpler ones, nearest neighbours, is behind by 0.15 (")
    assert "only a tenth of a standard error is allowed for" in note


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
