"The search, the ensemble and the recipe: shares that add up, scores that are honest, results that can be repeated"

import json
import os
import signal
import subprocess
import time

import numpy as np
import pandas as pd
import pytest
from conftest import BIN, ROOT, environment, make_project
from hypothesis import given, settings
from hypothesis import strategies as st
from test_models import FEATURES, make, weather

from nbs_lib.core.settings import NbsError
from nbs_lib.core.splits import folds
from nbs_lib.models.best import find_best, follow, make_recipe, plain_recipe, read_past, settle_choice
from nbs_lib.models.bundle import Ensemble, load_model, save_model
from nbs_lib.models.candidates import CANDIDATES, choose_candidates
from nbs_lib.models.ensemble import blend, greedy, loss_for
from nbs_lib.models.search import Clock, Searcher, makespan
from nbs_lib.models.selection import open_contest

TASKS = ("binary", "multiclass", "regression")
QUICK = ["few", "linear", "lightgbm", "kernel"]


def search(task: str, trials: int = 6, rows: int = 300, **modeling):
    "A contest and a search of a few quick candidates"
    study, frame = (
        make(task, modeling={"folds": 3, "candidates": QUICK, "trials": trials, **modeling}),
        weather(task, rows),
    )
    contest = open_contest(frame, frame[FEATURES], study)
    kinds = choose_candidates(study, len(contest.classes))[0]
    return study, frame, contest, Searcher(contest, kinds, Clock(None, 0.0), trials).run()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    models=st.integers(1, 8),
    rows=st.integers(6, 80),
    classes=st.sampled_from([0, 2, 4]),
)
def test_shares_are_shares_and_no_worse_than_the_best_alone(seed, models, rows, classes):
    rng = np.random.default_rng(seed)
    if classes:
        y = np.r_[np.arange(classes), rng.integers(0, classes, rows - classes)]
        P, task = rng.dirichlet(np.ones(classes), (models, rows)), "binary" if classes == 2 else "multiclass"
    else:
        y, task = rng.normal(size=rows), "regression"
        P = y[None, :, None] + rng.normal(size=(models, rows, 1)) * rng.uniform(0.1, 3, (models, 1, 1))
    metric = {"binary": "roc_auc", "multiclass": "log_loss", "regression": "rmse"}[task]
    frame = weather(task, 60)
    loss = loss_for(open_contest(frame, frame[FEATURES], make(task, metric=metric)))
    parts = [np.arange(rows)]
    shares = greedy(P, y, loss, parts)
    assert (shares >= 0).all() and abs(shares.sum() - 1) < 1e-9
    alone = min(loss(P, y))
    assert loss(np.einsum("m,mro->ro", shares, P)[None], y)[0] <= alone + 1e-9


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000), rows=st.integers(40, 200), gap=st.sampled_from(["1d", "10d", "30d", "300d"])
)
def test_nothing_within_the_gap_teaches(seed, rows, gap):
    frame = weather(rows=rows, seed=seed)
    study = make(time="day", split={"by": "time", "gap": gap})
    for train, val in folds(frame, study):
        first = frame["day"].iloc[val].min()
        before = frame["day"] < first - pd.Timedelta(gap.upper())
        if before.any():
            assert frame["day"].iloc[train].max() < first - pd.Timedelta(gap.upper())


def test_folds_of_another_repeat_are_others():
    frame, study = weather(rows=200), make()
    one, two = folds(frame, study), folds(frame, study, repeat=1)
    assert any(set(a[1]) != set(b[1]) for a, b in zip(one, two, strict=True))
    for pairs in (one, two):
        assert sorted(np.concatenate([v for _, v in pairs])) == list(range(200))


@pytest.mark.parametrize("task", TASKS)
def test_an_ensemble_says_the_same_in_a_fresh_process(task, tmp_path):
    study, frame, contest, found = search(task)
    blended = blend(contest, found.entries)
    choice, _ = settle_choice(contest, found.entries)
    members = [
        {
            "name": e.name,
            "params": e.params | ({"rounds": 20} if e.rounds else {}),
            "share": s,
            "seeds": [0, 7],
        }
        for e, s in zip(blended.members, blended.shares, strict=True)
    ]
    recipe = plain_recipe({"name": "ensemble", "label": "ensemble", "members": members})
    assert abs(sum(m.share for m in recipe.members) - 1) < 1e-9 and choice.chosen in choice.rivals
    model = follow(recipe, study, contest.classes, frame, frame[FEATURES], None, jobs=2)
    assert isinstance(model, Ensemble) and len(model.members) == 2 * len(members)
    again = follow(recipe, study, contest.classes, frame, frame[FEATURES], None, jobs=1)
    unseen = weather(task, 100, seed=3)[FEATURES]
    unseen.loc[:3, "place"] = "moon"
    expected = model.predict(unseen)
    assert expected.equals(again.predict(unseen)), "the number of cores must not matter"
    alone = pd.concat([model.predict(unseen.iloc[[i]]) for i in range(len(unseen))])
    assert alone.equals(expected), "a row gets the same answer alone"
    save_model(model, tmp_path / "model.skops")
    save_model(again, tmp_path / "again.skops")
    assert (tmp_path / "model.skops").read_bytes() == (tmp_path / "again.skops").read_bytes()
    unseen.to_parquet(tmp_path / "rows.parquet")
    expected.to_parquet(tmp_path / "expected.parquet")
    code = (
        "import pandas as pd; from nbs_lib.models.bundle import load_model;"
        "found = load_model('model.skops').predict(pd.read_parquet('rows.parquet'));"
        "pd.testing.assert_frame_equal(found, pd.read_parquet('expected.parquet'), check_exact=True)"
    )
    env = {"PYTHONPATH": str(ROOT), "NBS_ROOT": str(ROOT)}
    done = subprocess.run([BIN / "python", "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-1500:]


def test_a_search_against_the_clock_is_repeated_from_its_record():
    study, frame = make("binary", modeling={"candidates": QUICK, "folds": 3}), weather(rows=400)
    first = find_best(frame, frame[FEATURES], None, study, Clock(6.0, time.perf_counter()), 1)
    past = read_past(first.search.table(), json.loads(json.dumps(first.recipe.plain())))
    contest = open_contest(frame, frame[FEATURES], study, past.recipe.search_rows, 2)
    again = Searcher(contest, choose_candidates(study, 2)[0], Clock(None, 0.0), replay=past.trials).run()
    assert [t.value for t in again.trials] == [t.value for t in first.search.trials if t.state == "complete"]
    model = follow(past.recipe, study, contest.classes, frame, frame[FEATURES], None, 2)
    assert contest.outputs(model.predict(frame)).tolist() == model.outputs(frame[FEATURES]).tolist()
    assert settle_choice(contest, again.entries)[0].chosen.name == first.choice.chosen.name


def test_what_fails_costs_the_others_nothing(monkeypatch):
    from nbs_lib.models import selection

    plain = selection.make_estimator

    def broken(name, *args):
        if name == "kernel":
            raise ValueError("this one never works")
        return plain(name, *args)

    monkeypatch.setattr(selection, "make_estimator", broken)
    found = search("binary")[3]
    states = {t.name: t.state for t in found.trials if not t.params}
    assert states["kernel"] == "failed" and states["linear"] == states["lightgbm"] == "complete"
    assert "never works" in next(t.reason for t in found.trials if t.state == "failed")


def test_an_estimator_by_its_import_path(tmp_path, monkeypatch):
    "It is searched within the ranges of the study, saved, and read again by whoever has the study"
    names = ["linear", "sklearn.naive_bayes.GaussianNB"]
    spaces = {names[1]: {"var_smoothing": [1e-10, 1e-2, "log"]}}
    study, frame = make(modeling={"candidates": names, "spaces": spaces, "trials": 8, "folds": 3}), weather()
    contest = open_contest(frame, frame[FEATURES], study)
    found = Searcher(contest, choose_candidates(study, 2)[0], Clock(None, 0.0), 8).run()
    own = [t for t in found.trials if t.name == names[1]]
    assert len(own) >= 2 and all(1e-10 <= t.params.get("var_smoothing", 1e-9) <= 1e-2 for t in own)
    recipe = plain_recipe(
        {"name": "x", "label": "x", "members": [{"name": names[1], "params": {}, "share": 1.0, "seeds": [0]}]}
    )
    model = follow(recipe, study, contest.classes, frame, frame[FEATURES], None)
    save_model(model, tmp_path / "own.skops")
    assert load_model(tmp_path / "own.skops").predict(frame[FEATURES]).equals(model.predict(frame[FEATURES]))


@pytest.mark.parametrize(
    ("modeling", "says"),
    [
        ({"candidates": ["lightgmb"]}, "nearest: 'lightgbm'"),
        ({"candidates": ["no.such.Model"]}, "cannot be imported"),
        ({"candidates": ["pathlib.Path"]}, "is no estimator"),
    ],
)
def test_a_candidate_that_is_none_is_refused(modeling, says):
    with pytest.raises(NbsError, match=says):
        choose_candidates(make(modeling=modeling), 2)


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        ([3], "a range is"),
        ([5, 2], "low below high"),
        ([0, 1, "log"], "above 0"),
        ({"values": [1]}, "choices"),
    ],
)
def test_a_range_that_cannot_be_searched_is_refused(wish, says):
    with pytest.raises(NbsError, match=says):
        make(modeling={"spaces": {"lightgbm": {"num_leaves": wish}}})


def test_an_interrupt_ends_the_search_and_not_the_run(tmp_path):
    root = make_project(tmp_path / "project")
    config = root / "configs/wine.yaml"
    text = config.read_text().splitlines()
    text = [line for line in text if not line.startswith("modeling:")]
    config.write_text(
        "\n".join(
            [*text, "modeling: {budget: 300, candidates: [few, linear, neighbours], learning_curve: false}"]
        )
    )
    done = subprocess.Popen(
        [BIN / "nbs", "run", "wine"], cwd=root, env=environment(root), stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    until = time.monotonic() + 120
    while not list((root / ".nbs/search").glob("running-*")) and time.monotonic() < until:
        time.sleep(0.1)
    time.sleep(2)
    os.killpg(done.pid, signal.SIGINT)
    said = done.communicate(timeout=120)[0]
    assert done.returncode == 0, said
    assert "ending the search with the best so far" in said
    assert "The search was ended by hand" in (root / "reports/wine/v001/03_modeling.html").read_text()
    assert not list((root / ".nbs/search").iterdir()), "what a search kept is gone once its result is stored"


def test_marks_of_a_killed_process_of_the_same_number_are_removed(project):
    "Else its first interrupt would go to whatever process has the kernel's number by now"
    script = f"mkdir -p .nbs/search; touch .nbs/search/running-$$-1; exec {BIN / 'nbs'} check nothing"
    done = subprocess.run(
        ["sh", "-c", script], cwd=project, env=environment(project), capture_output=True, text=True
    )
    assert done.returncode == 2, done.stderr
    assert not list((project / ".nbs/search").glob("running-*"))


def followed(tmp_path, study, frame, members: list[dict], left: float):
    "A recipe followed against the clock, and again from what it says then: the recipe, and whether the files are equal"
    recipe = plain_recipe({"name": "ensemble", "label": "ensemble", "members": members})
    classes = sorted(frame[study.target].unique()) if study.task != "regression" else []
    fit = lambda recipe, jobs, *left: follow(
        recipe, study, classes, frame, frame[FEATURES], None, jobs, *left
    )
    save_model(fit(recipe, 2, left), tmp_path / "a.skops")
    save_model(fit(plain_recipe(recipe.plain()), 1), tmp_path / "b.skops")
    return recipe, (tmp_path / "a.skops").read_bytes() == (tmp_path / "b.skops").read_bytes()


def member(name, rounds, share, *seeds, seconds=1.0):
    "One of a recipe"
    params = {"rounds": rounds} if rounds else {}
    return {"name": name, "params": params, "share": share, "seeds": list(seeds) or [0], "seconds": seconds}


@pytest.mark.parametrize("task", ["binary", "regression"])
@pytest.mark.parametrize("name", ["lightgbm", "xgboost", "catboost", "network"])
def test_what_the_clock_ended_in_the_final_fit_is_repeated_from_the_recipe(tmp_path, name, task):
    study, frame = make(task), weather(task, 600)
    began = time.perf_counter()
    long = {"params": {"epochs": 1_000_000, "alpha": 0.0}} if name == "network" else {}
    cut, same = followed(tmp_path, study, frame, [{**member(name, 1_000_000, 1.0), **long}], 1.0)
    assert same and cut.members[0].caps[0] > 1 and "ended" in cut.notes[0]
    assert time.perf_counter() - began < 20
    rounds = 0 if name == "network" else 300
    whole, same = followed(tmp_path, study, frame, [member(name, rounds, 1.0)], 100.0)
    assert same and whole.members[0].caps is None and not whole.notes


def test_members_that_did_not_come_far_are_left_out_unless_they_are_most_of_it(tmp_path):
    study, frame = make("binary"), weather("binary", 600)
    few = [member("lightgbm", 1_000_000, 0.3, 0, 1000), member("linear", 0, 0.7)]
    few[0]["params"]["learning_rate"] = 1e-6
    found, same = followed(tmp_path, study, frame, few, 1.0)
    assert same and [(m.name, m.share) for m in found.members] == [("linear", 1.0)] and len(found.notes) == 2
    most = [{**few[0], "share": 0.7}, {**few[1], "share": 0.3}]
    found, same = followed(tmp_path, study, frame, most, 1.0)
    assert same and [m.share for m in found.members] == [0.7, 0.3] and len(found.members[0].caps) == 2


@pytest.mark.parametrize("left", [0.0, 3.0, 30.0, 1e6])
@pytest.mark.parametrize("jobs", [1, 2])
def test_the_recipe_fits_into_the_time(left, jobs):
    study, frame, contest, found = search("binary", 8, 400)
    contest.jobs = jobs
    choice, made = settle_choice(contest, found.entries)
    choice.chosen = made.entry
    for e in found.entries:
        e.fit_seconds = {"few": 0.1, "linear": 2.0, "lightgbm": 9.0, "kernel": 5.0}[e.name]
    recipe = make_recipe(contest, choice, made, len(frame), left)
    takes = makespan([m.seconds for m in recipe.members for _ in m.seeds], jobs)
    slowest = max(m.seconds for m in recipe.members)
    assert takes <= max(left, 9.0 if len(recipe.members) == 1 else 0.0, 0.1) + slowest * (left == 0)
    assert abs(sum(m.share for m in recipe.members) - 1) < 1e-9
    if left == 1e6:
        assert len(recipe.members) == len(made.members) and not recipe.notes


def test_every_default_candidate_is_known():
    from nbs_lib.models.candidates import ORDER, PORTFOLIO, SPACES

    assert set(ORDER) <= set(CANDIDATES) and {n for n, _ in PORTFOLIO} <= set(ORDER)
    assert set(SPACES) <= set(CANDIDATES)
