"Evaluation against known truth: intervals cover, alarms keep their level, tiny holdouts work"

import matplotlib

matplotlib.use("agg")
import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.preprocessing import StandardScaler

from nbs_lib import evaluation as ev
from nbs_lib.core.record import Stage
from nbs_lib.core.study import make_study
from nbs_lib.models.bundle import Baseline, TabularModel
from nbs_lib.models.explain import explain, sampled
from nbs_lib.tasks.classification import calibration_fit, calibration_verdict
from nbs_lib.tasks.fairness import group_gaps, rates_by_group
from nbs_lib.tasks.intervals import mean_interval, rate_interval, resample_weights
from nbs_lib.tasks.slices import cut_all, try_slices, weak_slices


def covers(interval, truth):
    return interval[1] <= truth <= interval[2]


def make_frame(rng, n, task="binary"):
    frame = pd.DataFrame(rng.normal(size=(n, 3)), columns=["wind", "warm", "damp"]).rename_axis("row")
    latent = frame["damp"] + 0.5 * frame["wind"] + rng.normal(size=n)
    if task == "binary":
        frame["rain"] = pd.Series(np.where(latent > 0.5, "yes", "no"), dtype="str")
    elif task == "multiclass":
        frame["rain"] = pd.Series(np.digitize(latent, [-0.7, 0.7]).astype(str), dtype="str")
    else:
        frame["rain"] = 20 + 5 * latent
    frame["town"] = pd.Series(rng.choice(["a", "b", "c"], n), dtype="str")
    return frame


def make_models(task, train, classes):
    facts = {"name": "m", "label": "boosting", "task": task, "target": "rain"}
    if classes:
        facts["classes"] = classes
    if task == "binary":
        facts["positive"] = "yes"
    make = LGBMClassifier if classes else LGBMRegressor
    X = train[["wind", "warm", "damp"]]
    model = TabularModel(facts, Scaler(), make(n_estimators=20, n_jobs=1, verbose=-1, min_child_samples=5))
    return model.fit(train, X), Baseline(facts).fit(train)


class Scaler(StandardScaler):
    def transform(self, X):
        return super().transform(X[["wind", "warm", "damp"]])


def make_judged(task, n, seed=0, drop=None):
    rng = np.random.default_rng(seed)
    study = make_study(
        "t",
        {
            "question": "Will it rain?",
            "task": task,
            "data": {"path": "x.csv"},
            "target": "rain",
            "sensitive": ["town"],
        },
    )
    train, frame = make_frame(rng, 400, task), make_frame(rng, n, task)
    classes = sorted(train["rain"].unique()) if task != "regression" else []
    model, baseline = make_models(task, train, classes)
    frame = frame[frame["rain"] != drop] if drop else frame
    groups, why = ev.dependence(frame, study)
    X = frame[["wind", "warm", "damp"]]
    judged = ev.Judged(
        study,
        frame,
        X,
        model,
        frame["rain"],
        model.predict(frame, X),
        baseline.predict(frame),
        ev.get_metric(study),
        groups,
        why,
    )
    return judged, Stage("evaluation", study, "work")


def show_all(judged, stage):
    task = judged.study.task
    found = ev.compare(judged, 200)
    ev.answer_figure(judged, found[judged.metric.name])
    ev.metrics_table(judged, found)
    ev.show_meaning(stage, judged)
    if task == "binary":
        ev.show_decision(stage, judged)
        ev.show_ranking(stage, judged)
    elif task == "multiclass":
        ev.show_classes(stage, judged)
    else:
        ev.show_errors(stage, judged)
        ev.show_ranges(stage, judged)
    if task != "regression":
        ev.show_calibration(stage, judged)
        ev.show_sets(stage, judged)
    ev.show_time(stage, judged)
    explanation, few, picked = ev.explain_holdout(judged)
    assert explanation.error < 1e-6
    ev.show_importance(stage, judged, explanation)
    ev.show_reliance(stage, judged, explanation)
    ev.show_courses(stage, judged, explanation)
    known = ev.known_rows(judged, make_frame(np.random.default_rng(5), 400, task))
    ev.show_rows(stage, judged, explanation, few, picked, known)
    ev.show_turned(stage, judged, explanation, picked, known)
    ev.show_robustness(stage, judged, explanation, 0.1)
    ev.show_hardest(stage, judged, explanation, known)
    kinds = {"wind": "number", "warm": "number", "damp": "number", "town": "category"}
    cuts = cut_all(judged.frame[ev.slice_columns(judged, kinds, explanation)])
    ev.show_slices(stage, judged, cuts)
    if task != "multiclass":
        ev.show_leanings(stage, judged, cuts)
    ev.show_groups(stage, judged, ["town"])
    if task == "binary":
        ev.show_selection(stage, judged, ["town"])
        ev.show_remedies(stage, judged, "town", {"the baseline": judged.before})
    ev.check_answer(stage, judged, found[judged.metric.name])
    ev.tell_headline(stage, judged, found[judged.metric.name], judged.model)
    return found[judged.metric.name]


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize("n", [1, 2, 12, 400])
def test_every_section_works_on_any_size(task, n):
    judged, stage = make_judged(task, n)
    show_all(judged, stage)
    assert stage.record["headline"]["sentence"]
    assert stage.record["checks"]["HOLDOUT"]["passed"] in (True, False)


@pytest.mark.parametrize("task, drop", [("binary", "yes"), ("binary", "no"), ("multiclass", "0")])
def test_a_class_may_be_missing_in_the_holdout(task, drop):
    judged, stage = make_judged(task, 40, drop=drop)
    assert drop in ev.missing_classes(judged)
    show_all(judged, stage)


def test_a_good_model_is_called_better_and_a_useless_one_is_not():
    judged, stage = make_judged("binary", 400)
    show_all(judged, stage)
    assert stage.record["checks"]["HOLDOUT"]["passed"] is True
    judged.predictions = judged.before
    found = ev.compare(judged, 200)["roc_auc"]
    assert "not to be told apart" in ev.answer_sentence(found, judged.metric)
    ev.check_answer(stage, judged, found)
    assert stage.record["checks"]["HOLDOUT"]["passed"] is False


@pytest.mark.parametrize(
    "value, sign, verdict",
    [((0.8, 0.7, 0.9), 1, "met"), ((0.8, 0.6, 0.9), 1, "just"), ((0.6, 0.5, 0.8), 1, "open"), ((0.5, 0.4, 0.6), 1, "missed"),
     ((0.5, 0.4, 0.6), -1, "met"), ((0.6, 0.5, 0.8), -1, "just"), ((0.8, 0.6, 0.9), -1, "open"), ((0.9, 0.8, 1.0), -1, "missed"),
     ((np.nan,) * 3, 1, ""), ((0.7, np.nan, np.nan), 1, "met")],
)  # fmt: skip
def test_goal_in_four_ways(value, sign, verdict):
    assert ev.against(value, 0.7, sign) == verdict


def test_intervals_of_grouped_rows_cover():
    rng, codes = np.random.default_rng(1), np.repeat(np.arange(30), 20)
    draws = [rng.normal(size=30)[codes] + rng.normal(size=600) for _ in range(400)]
    assert 0.92 <= np.mean([covers(mean_interval(v, codes), 0) for v in draws]) <= 0.98
    assert np.mean([covers(mean_interval(v), 0) for v in draws]) < 0.7
    assert 0.92 <= np.mean([covers(rate_interval(v > 0, codes), 0.5) for v in draws]) <= 0.985


def test_intervals_of_rare_events_cover():
    rng = np.random.default_rng(2)
    assert np.mean([covers(rate_interval(rng.random(40) < 0.05), 0.05) for _ in range(1000)]) >= 0.92


def test_bootstrap_interval_of_auc_covers():
    from scipy.stats import norm

    rng, judged, hits = np.random.default_rng(3), make_judged("binary", 12)[0], []
    for _ in range(100):
        truth = rng.random(200) < 0.4
        p = norm.cdf(rng.normal(size=200) + truth)
        judged.y = pd.Series(np.where(truth, "yes", "no"))
        judged.predictions = pd.DataFrame(
            {"prediction": np.where(p > 0.5, "yes", "no"), "p_no": 1 - p, "p_yes": p}
        )
        judged.before = judged.predictions.assign(p_yes=0.5, p_no=0.5)
        hits.append(covers(ev.compare(judged, 200)["roc_auc"]["model"], norm.cdf(1 / np.sqrt(2))))
    assert 0.87 <= np.mean(hits) <= 0.99


def test_compressing_rows_leaves_the_interval_alone():
    rng, judged = np.random.default_rng(4), make_judged("binary", 12)[0]
    p = rng.random(20_000)
    y = pd.Series(np.where(rng.random(20_000) < p, "yes", "no"))
    predictions = pd.DataFrame({"prediction": np.where(p > 0.5, "yes", "no"), "p_no": 1 - p, "p_yes": p})
    for name in ("roc_auc", "average_precision", "log_loss", "brier"):
        metric = ev.get_metric(name, "binary")
        slow, quick = (
            ev.prepared(metric, y, predictions, "yes", s)
            for s in (None, ev.compressed(y, predictions, "yes"))
        )
        for w in resample_weights(20_000, 3, [0, 4]):
            assert abs(slow(w) - quick(w)) < 1e-4
    assert judged.positive == "yes"


@pytest.mark.parametrize("grouped", [False, True])
def test_slices_raise_no_alarm_from_noise(grouped):
    rng, alarms = np.random.default_rng(5), 0
    for _ in range(60):
        codes = np.sort(rng.integers(0, 40, 1500))
        frame = pd.DataFrame({f"x{i}": rng.normal(size=1500) for i in range(3)})
        frame["c"] = pd.Series(rng.choice(list("abcde"), 1500), dtype="str")
        frame["day_weather"] = rng.normal(size=40)[codes]
        loss = rng.exponential(1, 1500) + (rng.normal(size=40)[codes] if grouped else 0)
        cuts = cut_all(frame)
        alarms += len(weak_slices(cuts, try_slices(cuts, loss, codes if grouped else None))) > 0
    assert alarms <= 7  # 5 % of 60 is 3; more than 7 would be seen once in a hundred times


def test_slices_find_a_planted_weakness():
    rng = np.random.default_rng(6)
    frame = pd.DataFrame(
        {"hour": rng.integers(0, 24, 5000), "c": pd.Series(rng.choice(list("abc"), 5000), dtype="str")}
    )
    weak = (frame["hour"] >= 18) & (frame["c"] == "b")
    cuts = cut_all(frame)
    found = weak_slices(cuts, try_slices(cuts, rng.exponential(1, 5000) + weak))
    assert found["slice"].iloc[0] == "hour: 18 or more, c: b" or "c: b" in found["slice"].iloc[0]


def calibrated(rng, n, shift=0.0, slope=1.0):
    logit = rng.normal(-1, 1, n)
    truth = rng.random(n) < 1 / (1 + np.exp(-(shift + slope * logit)))
    return truth, 1 / (1 + np.exp(-logit))


def verdict(truth, p, groups=None):
    return calibration_verdict(calibration_fit(truth, p, groups), int(truth.sum()), int((~truth).sum()))


def test_calibration_is_judged_rightly():
    rng = np.random.default_rng(7)
    assert np.mean([verdict(*calibrated(rng, 800))[0] == "right" for _ in range(200)]) >= 0.91
    low = [verdict(*calibrated(rng, 2000, shift=0.6)) for _ in range(30)]
    assert all(kind == "off" and "too low" in text for kind, text in low)
    assert np.mean(["too extreme" in verdict(*calibrated(rng, 2000, slope=0.5))[1] for _ in range(30)]) > 0.9
    assert np.mean(["too timid" in verdict(*calibrated(rng, 2000, slope=2.0))[1] for _ in range(30)]) > 0.9


def test_calibration_allows_for_days_that_differ():
    rng, codes, kinds = np.random.default_rng(8), np.repeat(np.arange(40), 50), []
    for _ in range(150):
        logit = rng.normal(-1, 1, 2000)
        shock = rng.normal(0, 0.7, 40)[codes]
        z = rng.logistic(size=2000) + shock
        p = (
            np.searchsorted(np.sort(-(rng.logistic(size=20_000) + rng.normal(0, 0.7, 20_000))), logit)
            / 20_000
        )
        kinds.append(verdict(z > -logit, p, codes)[0])
    assert np.mean([k != "right" for k in kinds]) <= 0.12


def test_gaps_between_groups_keep_their_level():
    rng, alarms = np.random.default_rng(9), []
    for _ in range(200):
        group = pd.Series(rng.choice(list("abcde"), 1000), dtype="str")
        truth = rng.random(1000) < 0.4
        flagged = rng.random(1000) < np.where(truth, 0.7, 0.2)
        found = group_gaps(rates_by_group({"town": group}, truth, flagged)).set_index("measure")
        alarms.append(found.loc["true positive rate", "low"] > 0)
    assert np.mean(alarms) <= 0.09
    flagged = rng.random(1000) < np.where(truth, np.where(group == "a", 0.3, 0.8), 0.2)
    found = (
        group_gaps(rates_by_group({"town": group}, truth, flagged))
        .set_index("measure")
        .loc["true positive rate"]
    )
    assert found["low"] > 0 and found["lowest"] == "a"


def test_small_groups_are_not_compared():
    group = pd.Series(["a"] * 500 + ["b"] * 10, dtype="str")
    table = rates_by_group({"town": group}, np.ones(510, bool), np.r_[np.ones(500, bool), np.zeros(10, bool)])
    assert not table.loc[table["group"] == "b", "enough"].any()
    assert len(group_gaps(table)) == 0


def test_sampled_contributions_agree_with_exact_ones():
    judged, _ = make_judged("binary", 60)
    exact = explain(judged.model, judged.features, judged.features)
    values, base = sampled(lambda X: ev_output(judged.model, X), judged.features, judged.features, seed=1)
    assert np.corrcoef(values[:, :, 0].ravel(), exact.values[:, :, 0].ravel())[0, 1] > 0.8
    assert np.allclose(base + values.sum(axis=1), ev_output(judged.model, judged.features))


def ev_output(model, X):
    from nbs_lib.models.explain import model_output

    return model_output(model, X)


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_forests_are_explained_exactly(task):
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    judged, _ = make_judged(task, 30)
    make = RandomForestRegressor if task == "regression" else RandomForestClassifier
    rng = np.random.default_rng(0)
    train = make_frame(rng, 200, task)
    model = TabularModel(judged.model.facts, Scaler(), make(n_estimators=20, random_state=0))
    model.fit(train, train[["wind", "warm", "damp"]])
    e = explain(model, judged.features, judged.features)
    assert e.method.endswith("shap") and e.error < 1e-6


def weighted_classes(n=3000):
    "Three classes whose probabilities are true, named with a large weight on the rarest"
    rng, (judged, stage) = np.random.default_rng(10), make_judged("multiclass", 12)
    p = rng.dirichlet([6, 3, 1], n)
    said = (p * [1, 4, 20]).argmax(axis=1).astype(str)
    judged.y = pd.Series((p.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1).astype(str))
    judged.predictions = pd.DataFrame({"prediction": said, **{f"p_{c}": p[:, c] for c in range(3)}})
    return judged, stage, p, said.astype(int)


def test_calibration_of_weighted_classes_is_that_of_the_class_named():
    judged, stage, p, said = weighted_classes()
    assert np.mean(p.argmax(axis=1) != said) > 0.2
    ev.show_calibration(stage, judged)
    assert stage.record["findings"][-1].startswith(
        "The probabilities of the classes named agree with what happened, within chance (slope and intercept tested together: p = 0."
    )


def test_a_telling_row_is_sure_of_the_class_named():
    judged, _ = make_judged("multiclass", 12)
    judged.y = pd.Series(["0", "0", "1", "0"])
    p = {"p_0": [0.7, 0.5, 0.4, 0.6], "p_1": [0.2, 0.4, 0.6, 0.2], "p_2": [0.1, 0.1, 0.0, 0.2]}
    judged.predictions = pd.DataFrame({"prediction": ["2", "1", "1", "0"], **p})
    picked = ev.telling_rows(judged)
    assert picked["wrong and sure"] == 1  # 0.7 is said of a class that row 0 is not given
    assert picked["right and sure"] == 2


def test_the_start_of_the_contributions_is_not_called_the_share_of_cases():
    judged, _ = make_judged("binary", 60)
    e = explain(judged.model, judged.features, judged.features)
    start = ev.in_probability(e, e.base[0])
    assert e.unit == "log-odds" and ev.start_sentence(e) == (
        f" They start from {start}, the average prediction on the log-odds scale, which is not the share of cases."
    )
    judged, _ = make_judged("regression", 60)
    e = explain(judged.model, judged.features, judged.features)
    assert (
        ev.start_sentence(e) == f" They start from {ev.in_probability(e, e.base[0])}, the average prediction."
    )


def test_years_are_written_without_a_comma():
    rng = np.random.default_rng(11)
    frame = pd.DataFrame({"built": rng.integers(1950, 2010, 2000), "area": rng.integers(1000, 9000, 2000)})
    cuts = cut_all(frame)
    found = weak_slices(cuts, try_slices(cuts, rng.exponential(1, 2000) + 3 * (frame["built"] >= 1995)))
    assert found["slice"].iloc[0].startswith("built: 19") and "," not in found["slice"].iloc[0]
    assert all("," in name for name in cuts["area"][1])


def test_a_holdout_in_years_is_named_without_a_comma():
    judged, _ = make_judged("regression", 12)
    judged.study.time, judged.frame = "when", judged.frame.assign(when=range(1981, 1993))
    assert "from 1981 to 1992" in ev.rows_sentence(judged, 1)


def covered(ax):
    "Whether the legend lies on the axes"
    ax.figure.canvas.draw()
    return ax.get_legend().get_window_extent().overlaps(ax.get_window_extent())


def test_legends_cover_no_line(monkeypatch):
    judged, stage = make_judged("binary", 400)
    drawn = []
    monkeypatch.setattr(stage, "figure", lambda fig, *_: drawn.append(fig))
    ev.show_ranking(stage, judged)
    periods = pd.Series(pd.Categorical(np.repeat(["2024-01", "2024-02"], 200), ordered=True))
    drawn.append(ev.periods_figure(ev.by_period(judged, periods), judged.metric))
    axes = [ax for fig in drawn for ax in fig.axes]
    assert len(axes) == 3 and not any(covered(ax) for ax in axes)


def test_many_rows_with_few_scores_keep_their_ties():
    "A baseline gives thousands of rows the same score: the interval has to hold the estimate"
    rng, (judged, _) = np.random.default_rng(12), make_judged("binary", 12)
    level = rng.integers(0, 6, 12_000)
    truth = rng.random(12_000) < 0.1 + 0.1 * level
    score = np.array([0.1, 0.23, 0.29, 0.37, 0.51, 0.63])[level]
    judged.y = pd.Series(np.where(truth, "yes", "no"))
    judged.predictions = judged.before = pd.DataFrame(
        {"prediction": np.where(score > 0.5, "yes", "no"), "p_no": 1 - score, "p_yes": score}
    )
    judged.frame = pd.DataFrame(index=judged.y.index)
    for name, found in ev.compare(judged, 200).items():
        value, low, high = found["baseline"]
        assert low < value < high, name


def test_the_ranges_judged_and_drawn_are_those_that_are_served(monkeypatch):
    "Ranges of one width everywhere: what is drawn is what the headline counts"
    rng, (judged, stage) = np.random.default_rng(13), make_judged("regression", 12)
    judged.predictions = pd.DataFrame({"prediction": rng.normal(20, 5, 2000)})
    judged.y = judged.predictions["prediction"] + rng.normal(0, 2, 2000)
    judged.model.ranges = {"level": 0.9, "edges": [], "low": [-6.0], "high": [6.0], "rows": 500}
    drawn = []
    monkeypatch.setattr(stage, "figure", lambda fig, title, caption: drawn.append((fig, title, caption)))
    ev.show_ranges(stage, judged)
    ((fig, title, caption),) = drawn
    dots = next(line for line in fig.axes[0].lines if line.get_label() == "kept").get_ydata()
    share = np.mean(np.abs(judged.errors) <= 6)
    assert share > 0.99 and np.mean(dots) == pytest.approx(share)
    assert ev.percent(share) in title and f"hold it in {100 * share:.2f}" in stage.record["findings"][-1]
    assert "from 12 to 12 wide" in caption and "more often" in stage.record["findings"][-1]


def test_empty_sets_are_named_and_each_class_is_judged():
    judged, stage = make_judged("multiclass", 12)
    truth = np.repeat(["0", "1"], [900, 100])
    sure = np.r_[np.full(900, 0.9), np.full(60, 0.9), np.full(40, 0.4)]  # of the true class
    p = {f"p_{c}": np.where(truth == c, sure, (1 - sure) / 2) for c in "012"}
    judged.y, judged.predictions = pd.Series(truth), pd.DataFrame({"prediction": truth, **p})
    judged.model.ranges = {"level": 0.9, "limits": [0.5] * 3, "rows": 500}
    ev.show_sets(stage, judged)
    told = stage.record["findings"][-1].replace("\u00a0", " ")
    assert told.endswith("96.0 % of them name a single class, 0 % several, 4.0 % none.")
    assert "less often" not in told
    assert "hold the truth of 1 less often" in stage.record["todos"][-1]["text"]


def test_a_verdict_of_calibration_names_its_test_and_what_differs():
    fit = {"slope": (1.043, 1.007, 1.080), "intercept": (0.01, -0.04, 0.07), "gap": (0.0, -0.01, 0.01)}
    fit |= {"p_value": 0.066, "distance": 0.0, "brier": 0.1}
    assert calibration_verdict(fit, 500, 500)[1] == (
        "The probabilities agree with what happened, within chance (slope and intercept tested together: p = 0.066); "
        "taken alone, the slope 1.043 (1.007 to 1.080) differs from 1."
    )


def test_too_few_mistakes_are_told_in_words_and_by_the_figure(monkeypatch):
    judged, stage = make_judged("multiclass", 12)
    judged.y = pd.Series(["0"] * 55)
    judged.predictions = pd.DataFrame({"prediction": ["0"] * 55, "p_0": 0.9, "p_1": 0.1, "p_2": 0.0})
    drawn = []
    monkeypatch.setattr(stage, "figure", lambda fig, *said: drawn.append((fig, *said)))
    ev.show_calibration(stage, judged)
    fig, title, caption = drawn[0]
    assert "the holdout has no wrong answer, and ten are needed" in stage.record["findings"][-1]
    assert title.endswith("too few rows to judge the probabilities") and "–" not in caption
    assert not covered(fig.axes[0]) and fig.axes[0].get_ylabel() == "share named right"


def test_the_promise_is_judged_by_the_difference_that_is_shown():
    metric = ev.get_metric("mae", "regression")
    text, worse = ev.promise_sentence((18.0, 15.0, 23.0), (22.1, 20.6, 23.7), metric)
    assert not worse and text.endswith("the same within chance (difference 4 (−1 to 8)).")
    text, worse = ev.promise_sentence((18.0, 17.0, 19.0), (22.1, 20.6, 23.7), metric)
    assert worse and text.endswith("worse than promised (difference 4.1 (2.3 to 6.0)).")


def test_a_title_about_gaps_names_the_rates_that_it_speaks_of():
    judged, _ = make_judged("binary", 400)
    _, gap, overall = ev.compare_groups(judged, ev.attributes_of(judged.frame, ["town"]))
    mine = gap[gap["measure"].isin(list(overall))]
    title = ev.figure_title(judged, mine, mine.head(0))
    assert title.startswith("No gap in true positive rate or false positive rate is surely there")


def test_differences_from_a_perfect_score_are_no_surer_than_the_score():
    judged, _ = make_judged("multiclass", 60)
    n = len(judged.y)
    p = {f"p_{c}": (judged.y == c).astype(float) for c in "012"}
    judged.predictions = pd.DataFrame({"prediction": judged.y, **p})
    found = ev.compare(judged, 200)["balanced_accuracy"]
    (value, low, high), base, diff = (found[k] for k in ("model", "baseline", "difference"))
    assert (value, high) == (1, 1) and low < 0.97
    assert base[0] == pytest.approx(1 / 3) and np.isnan(base[1:]).all()  # a constant answer has no interval
    assert diff[1] == pytest.approx(low - base[0]) and diff[2] == pytest.approx(1 - base[0])
    assert n == 60 and ev.standing(diff, 1) == "better"


def test_a_leaning_is_told_as_it_is_drawn(monkeypatch):
    rng, (judged, stage) = np.random.default_rng(14), make_judged("regression", 12)
    town = pd.Series(rng.choice(["a", "b", "c"], 3000), dtype="str")
    judged.frame = pd.DataFrame({"town": town})
    judged.predictions = pd.DataFrame({"prediction": np.full(3000, 20.0)})
    judged.y = pd.Series(30 - 20.0 * (town == "b") + rng.normal(size=3000))
    drawn = []
    monkeypatch.setattr(stage, "figure", lambda fig, *said: drawn.append(fig))
    ev.show_leanings(stage, judged, cut_all(judged.frame))
    dots = drawn[0].axes[0].lines[0].get_xdata()
    assert (np.diff(dots) <= 0).all() and drawn[0].axes[0].get_xlabel().startswith(
        "truth less prediction, difference"
    )
    assert (
        ": truth less prediction is −10.0 there and 10.0 elsewhere, a difference of −20.0 ("
        in stage.record["findings"][-1]
    )


def test_what_the_accuracy_keeps_is_said_to_stay():
    from nbs_lib.tasks.fairness import alternatives_sentence

    table = pd.DataFrame({
        "decision": ["the model as it is", "thresholds that find equally many of the cases"], "true positive gap": [0.067, 0.009],
        "accuracy": [0.87412, 0.87377], "cost for 1,000 rows": [126.0, 126.4],
    })  # fmt: skip
    text = alternatives_sentence(table).replace("\u00a0", " ")
    assert "from 6.7 to 0.9 points and leave the accuracy at 87.4 %;" in text


def test_periods_begin_where_the_rows_begin():
    days = pd.Series(pd.date_range("2013-11-01 05:00", "2013-12-31 23:00", freq="h"))
    periods = ev.periods_of(days)
    assert list(periods.cat.categories[:2]) == ["2013-11-01", "2013-11-04"]


def test_memory_that_cannot_be_measured_is_not_told():
    assert np.isnan(ev.memory_of(lambda: object())[0])
    megabytes, copies = ev.memory_of(lambda: np.ones(1_000_000))
    assert 7e6 < megabytes < 9e6 and copies > 5


def brightness(colour):
    "Relative luminance (WCAG)"
    c = np.array(colour[:3])
    return float(np.where(c <= 0.03928, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722])


def test_numbers_in_the_confusion_table_can_be_read():
    from matplotlib.colors import to_rgba

    from nbs_lib.tasks.classification import confusion, confusion_figure

    ax = confusion_figure(confusion(["a"] * 100 + ["b"] * 100, ["a"] * 200)).axes[0]
    cells = [to_rgba(p.get_facecolor()) for p in ax.patches]
    darkest = min(brightness(np.array(c[:3]) * c[3] + 1 - c[3]) for c in cells)
    for text in ax.texts:
        assert (darkest + 0.05) / (brightness(to_rgba(text.get_color())) + 0.05) >= 4.5, text.get_text()


def test_damage_is_told_as_it_is_counted(monkeypatch):
    judged, stage = make_judged("regression", 400)
    judged.model.columns = ["wind", "warm", "damp"]
    captions = []
    monkeypatch.setattr(stage, "figure", lambda fig, title, caption: captions.append(caption))
    explanation, *_ = ev.explain_holdout(judged)
    ev.show_robustness(stage, judged, explanation, 0.5)
    todo = stage.record["todos"][-1]["text"]
    assert "half or more of what the model gains over the baseline: check these columns" in todo
    assert "Blue: surely worse; grey: not. Of single columns the six faults that hurt most." in captions[-1]
