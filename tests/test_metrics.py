"Metrics against scikit-learn, intervals against known truth"

import subprocess

import numpy as np
import pandas as pd
import pytest
from conftest import BIN, environment
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from nbs_lib.core.scorers import find_scorer, scorer_names, scorer_tasks
from nbs_lib.core.settings import NbsError
from nbs_lib.core.study import METRIC_NAMES, make_study
from nbs_lib.tasks.intervals import benjamini_hochberg, wilson
from nbs_lib.tasks.metrics import bootstrap_interval, get_metric, paired_difference

seeds = st.integers(0, 10_000)
quick = settings(max_examples=40, deadline=None)


def binary(seed: int, rows: int, ties: bool) -> tuple[pd.Series, pd.DataFrame, np.ndarray, np.ndarray]:
    "Labels with both classes, predictions, truth as 0/1 and the score"
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, rows)
    truth[:2] = [0, 1]
    score = np.clip(rng.normal(0.4 + 0.2 * truth, 0.25), 0.001, 0.999)
    score = score.round(1).clip(0.1, 0.9) if ties else score
    said = np.where(score > 0.5, "yes", "no")
    frame = pd.DataFrame({"prediction": pd.Series(said, dtype="str"), "p_no": 1 - score, "p_yes": score})
    return pd.Series(np.where(truth, "yes", "no"), dtype="str"), frame, truth, score


SK_BINARY = {
    "roc_auc": lambda t, s, w: sk.roc_auc_score(t, s, sample_weight=w),
    "average_precision": lambda t, s, w: sk.average_precision_score(t, s, sample_weight=w),
    "log_loss": lambda t, s, w: sk.log_loss(t, np.column_stack([1 - s, s]), sample_weight=w, labels=[0, 1]),
    "brier": lambda t, s, w: sk.brier_score_loss(t, s, sample_weight=w),
    "accuracy": lambda t, s, w: sk.accuracy_score(t, s > 0.5, sample_weight=w),
    "balanced_accuracy": lambda t, s, w: sk.balanced_accuracy_score(t, s > 0.5, sample_weight=w),
    "f1": lambda t, s, w: sk.f1_score(t, s > 0.5, sample_weight=w, zero_division=0),
    "mcc": lambda t, s, w: sk.matthews_corrcoef(t, s > 0.5, sample_weight=w),
    "cost": lambda t, s, w: sk.zero_one_loss(t, s > 0.5, sample_weight=w),
}
SK_REGRESSION = {
    "mae": sk.mean_absolute_error,
    "rmse": sk.root_mean_squared_error,
    "r2": sk.r2_score,
    "mape": sk.mean_absolute_percentage_error,
}


@pytest.mark.parametrize("name", METRIC_NAMES["binary"])
@quick
@given(seed=seeds, rows=st.integers(4, 60), ties=st.booleans())
def test_binary_metrics_are_scikit_learns(name, seed, rows, ties):
    y, predictions, truth, score = binary(seed, rows, ties)
    weights = np.random.default_rng(seed + 1).integers(0, 4, rows).astype(float)
    weights[:2] = 1  # both classes keep some weight
    found = get_metric(name, "binary").score(y, predictions, weights, "yes")
    assert found == pytest.approx(SK_BINARY[name](truth, score, weights), abs=1e-9)


@pytest.mark.parametrize("name", METRIC_NAMES["multiclass"])
@quick
@given(seed=seeds, rows=st.integers(6, 60), classes=st.integers(3, 5))
def test_multiclass_metrics_are_scikit_learns(name, seed, rows, classes):
    rng = np.random.default_rng(seed)
    labels = [f"c{i}" for i in range(classes)]
    truth = np.concatenate([np.arange(classes), rng.integers(0, classes, rows)])
    p = rng.dirichlet(np.ones(classes), len(truth))
    said = p.argmax(axis=1)
    frame = pd.DataFrame(p, columns=[f"p_{c}" for c in labels])
    frame.insert(0, "prediction", pd.Series([labels[i] for i in said], dtype="str"))
    expected = {
        "accuracy": lambda: sk.accuracy_score(truth, said),
        "balanced_accuracy": lambda: sk.balanced_accuracy_score(truth, said),
        "log_loss": lambda: sk.log_loss(truth, p, labels=range(classes)),
        "f1_macro": lambda: sk.f1_score(truth, said, average="macro", zero_division=0),
        "roc_auc_ovr": lambda: sk.roc_auc_score(truth, p, multi_class="ovr"),
        "cost": lambda: sk.zero_one_loss(truth, said),
    }[name]()
    y = pd.Series([labels[i] for i in truth], dtype="str")
    assert get_metric(name, "multiclass").score(y, frame) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", METRIC_NAMES["regression"])
@quick
@given(seed=seeds, rows=st.integers(3, 60))
def test_regression_metrics_are_scikit_learns(name, seed, rows):
    rng = np.random.default_rng(seed)
    y, said = rng.normal(5, 3, rows), rng.normal(5, 3, rows)
    weights = rng.integers(1, 4, rows).astype(float)
    found = get_metric(name, "regression").score(pd.Series(y), pd.DataFrame({"prediction": said}), weights)
    if name == "median_absolute_error":  # scikit-learn's weighted median takes the lower of two middle values
        expected = sk.median_absolute_error(
            np.repeat(y, weights.astype(int)), np.repeat(said, weights.astype(int))
        )
    else:
        expected = SK_REGRESSION[name](y, said, sample_weight=weights)
    assert found == pytest.approx(expected, rel=1e-9)


class Told:
    "An estimator whose answers are known: what scikit-learn's own scorers are asked about"

    _estimator_type = "classifier"

    def __init__(self, frame, classes):
        self.frame, self.classes_ = frame, np.array(classes)

    def __sklearn_tags__(self):
        from sklearn.utils import Tags, TargetTags

        kind = "classifier" if len(self.classes_) else "regressor"
        return Tags(estimator_type=kind, target_tags=TargetTags(required=True))

    def fit(self, X, y):
        return self

    def predict(self, X):
        return self.frame["prediction"].to_numpy()

    def predict_proba(self, X):
        return self.frame[[f"p_{c}" for c in self.classes_]].to_numpy(float)


def told(task: str, rows: int = 80) -> tuple[pd.Series, pd.DataFrame, Told]:
    "Truth, predictions, and the same predictions as an estimator"
    rng = np.random.default_rng(4)
    if task == "regression":
        y = pd.Series(rng.gamma(3, 2, rows))
        frame = pd.DataFrame({"prediction": y * rng.uniform(0.7, 1.4, rows)})
        return y, frame, Told(frame, [])
    if task == "binary":
        y, frame, *_ = binary(4, rows, ties=False)
        return y, frame, Told(frame, ["no", "yes"])
    p = rng.dirichlet(np.ones(3), rows)
    labels = np.array(["a", "b", "c"])
    y = pd.Series(labels[[rng.choice(3, p=row) for row in p]], dtype="str")
    frame = pd.DataFrame(p, columns=["p_a", "p_b", "p_c"]).assign(prediction=labels[p.argmax(axis=1)])
    return y, frame, Told(frame, labels)


SCORERS = [(n, t) for n in scorer_names() for t in scorer_tasks(n)]


@pytest.mark.parametrize("name, task", SCORERS)
def test_a_scorer_says_what_scikit_learn_says(name, task):
    y, frame, estimator = told(task)
    metric = get_metric(name, task)
    found = metric.sign * metric.score(y, frame, positive="yes" if task == "binary" else None)
    scorer = sk.get_scorer(name)
    if task == "binary":  # scikit-learn's scorers take 1 as positive
        said = frame["prediction"].eq("yes").astype(int)
        frame = frame.assign(prediction=said).rename(columns={"p_no": "p_0", "p_yes": "p_1"})
        y, estimator = y.eq("yes").astype(int), Told(frame, [0, 1])
    expected = scorer(estimator, np.zeros((len(y), 1)), y)
    assert found == pytest.approx(expected, rel=1e-6), metric.label


def test_all_scorers_that_suit_a_task_are_known():
    tasks = {n: scorer_tasks(n) for n in scorer_names()}
    assert sum(map(bool, tasks.values())) > 35
    assert {n for n, t in tasks.items() if not t} >= {"rand_score", "f1_samples"}
    assert tasks["jaccard"] == ("binary",) and tasks["jaccard_macro"] == ("binary", "multiclass")


@pytest.mark.parametrize("name, task", SCORERS)
def test_resamples_of_a_scorer_are_rows_counted_again(name, task):
    y, frame, _ = told(task, 40)
    counts = np.random.default_rng(0).integers(0, 3, 40)
    metric, again = get_metric(name, task), np.repeat(np.arange(40), counts)
    positive = "yes" if task == "binary" else None
    once = metric.score(y, frame, counts.astype(float), positive)
    twice = metric.score(y.iloc[again], frame.iloc[again], None, positive)
    known = 1e-9 if name != "d2_absolute_error_score" else 0.02  # its weighted median is the lower of two
    assert once == pytest.approx(twice, abs=known, nan_ok=True)


OWN = """
from sklearn.metrics import fbeta_score, make_scorer

def profit(y_true, y_pred):
    return float(10 * (y_true * y_pred).sum() - 2 * y_pred.sum())

def gap(y_true, y_pred, sample_weight=None):
    import numpy as np
    return np.average(abs(y_true - y_pred), weights=sample_weight)

gap.greater_is_better, gap.response_method, gap.label = False, "predict_proba", "mean gap"

def log_cost(y_true, y_pred):
    return 1.0

f2 = make_scorer(fbeta_score, beta=2)
number = 3

def words(y_true, y_pred):
    return "much"

def wrong(y_true, y_pred):
    return y_true.nothing

wants = lambda a, b: 1
wants.response_method = "decision_function"
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    "A module of the team's own; its name"
    name = f"own_{abs(hash(tmp_path)) % 10**9}"
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_an_own_metric_goes_all_the_way(own):
    y, frame, truth, score = binary(1, 60, ties=False)
    said = frame["prediction"].eq("yes").to_numpy().astype(int)
    profit, gap, f2 = (get_metric(f"{own}.{n}", "binary") for n in ("profit", "gap", "f2"))
    assert profit.score(y, frame, positive="yes") == 10 * (truth * said).sum() - 2 * said.sum()
    assert gap.score(y, frame, positive="yes") == pytest.approx(abs(truth - score).mean())
    assert f2.score(y, frame, positive="yes") == pytest.approx(sk.fbeta_score(truth, said, beta=2))
    assert (gap.label, gap.greater_is_better, profit.label, profit.sign) == ("mean gap", False, "profit", 1)
    assert not get_metric(f"{own}.log_cost", "binary").greater_is_better
    assert profit.of_decisions and not gap.of_decisions
    value, low, high = bootstrap_interval(profit, y, frame, n=100, positive="yes")
    assert low < value < high
    assert paired_difference(gap, y, frame, frame, n=20, positive="yes") == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    "name, message",
    [
        ("nothing", "cannot be imported"),
        ("number", "is no function"),
        ("words", "has to return one number, found str"),
        ("wrong", r"failed at own_\d+.py, line 2\d: AttributeError"),
        ("wants", "response_method has to be"),
    ],
)
def test_what_is_wrong_with_an_own_metric_is_one_message(own, name, message):
    y, frame, *_ = binary(1, 30, ties=False)
    with pytest.raises(NbsError, match=f"metric: '{own}.{name}'.*{message}"):
        get_metric(f"{own}.{name}", "binary").score(y, frame, positive="yes")


def test_a_module_that_does_not_even_compile_is_one_message(tmp_path, monkeypatch):
    (tmp_path / "own_broken.py").write_text("def f(:\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(NbsError, match="'own_broken.f' cannot be imported: SyntaxError"):
        find_scorer("own_broken.f")


def test_scikit_learn_is_only_imported_for_its_own_metrics(tmp_path):
    study = {"question": "Will it rain?", "task": "binary", "data": {"path": "x.csv"}, "target": "rain"}
    for metric, imported in [("neg_brier_score", False), ("own.profit", False), ("jaccard", True)]:
        code = (
            f"import sys; from nbs_lib.core.study import make_study; make_study('t', {study | {'metric': metric}!r});"
            "from nbs_lib.core import check; import nbs_lib.tasks.metrics; print('sklearn' in sys.modules)"
        )
        done = subprocess.run(
            [BIN / "python", "-c", code], env=environment(tmp_path), capture_output=True, text=True
        )
        assert done.stdout.strip() == str(imported), done.stderr


def test_errors_in_the_targets_unit_say_so():
    config = {"question": "How much rain?", "task": "regression", "data": {"path": "x.csv"}, "target": "rain"}
    for name, unit in [("max_error", "mm"), ("neg_mean_squared_error", ""), ("mae", "mm")]:
        metric = get_metric(make_study("t", config | {"metric": name, "units": {"rain": "mm"}}))
        assert (metric.unit, metric.greater_is_better) == (unit, False)


def test_a_weight_is_a_row_counted_again():
    y, predictions, *_ = binary(3, 40, ties=True)
    counts = np.random.default_rng(0).integers(0, 3, 40)
    counts[:2] = 1
    again = np.repeat(np.arange(40), counts)
    for name in METRIC_NAMES["binary"]:
        metric = get_metric(name, "binary")
        once = metric.score(y, predictions, counts.astype(float), "yes")
        twice = metric.score(y.iloc[again], predictions.iloc[again], None, "yes")
        assert once == pytest.approx(twice, abs=1e-12), name


def test_a_metric_that_is_not_defined_is_no_number():
    y = pd.Series(["yes"] * 5, dtype="str")
    predictions = binary(0, 5, False)[1]
    assert np.isnan(get_metric("roc_auc", "binary").score(y, predictions, positive="yes"))
    assert np.isnan(get_metric("roc_auc", "binary").score(y.iloc[:0], predictions.iloc[:0], positive="yes"))


def test_bootstrap_intervals_cover_the_truth():
    "Accuracy 0.7 is known; about 95 of 100 intervals hold it"
    rng, metric, hits = np.random.default_rng(1), get_metric("accuracy", "binary"), 0
    for repeat in range(100):
        right = rng.random(200) < 0.7
        y = pd.Series(np.where(rng.random(200) < 0.5, "a", "b"), dtype="str")
        said = pd.Series(np.where(right, y, np.where(y == "a", "b", "a")), dtype="str")
        frame = pd.DataFrame({"prediction": said, "p_a": said.eq("a") * 1.0, "p_b": said.eq("b") * 1.0})
        _, low, high = bootstrap_interval(metric, y, frame, n=300, seed=repeat, positive="b")
        hits += low <= 0.7 <= high
    assert 88 <= hits <= 100


def test_intervals_of_grouped_rows_are_wider():
    "Twenty groups of fifty equal rows hold twenty facts and not a thousand"
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(20), 50)
    error = rng.normal(size=20)[group]
    y, said = pd.Series(np.zeros(1000)), pd.DataFrame({"prediction": error})
    metric = get_metric("mae", "regression")
    alone = bootstrap_interval(metric, y, said, n=400)
    whole = bootstrap_interval(metric, y, said, n=400, groups=group)
    assert alone[0] == whole[0]
    assert whole[2] - whole[1] > 3 * (alone[2] - alone[1])


def test_a_model_is_not_better_than_itself():
    y, predictions, *_ = binary(1, 100, False)
    found = paired_difference(
        get_metric("roc_auc", "binary"), y, predictions, predictions, n=50, positive="yes"
    )
    assert found == (0.0, 0.0, 0.0)


def test_the_same_seed_gives_the_same_interval():
    y, predictions, *_ = binary(1, 100, False)
    metric = get_metric("roc_auc", "binary")
    a, b, c = (bootstrap_interval(metric, y, predictions, 100, s, positive="yes") for s in (0, 0, 1))
    assert a == b and a != c


@quick
@given(hits=st.integers(0, 50), more=st.integers(0, 50))
def test_wilsons_interval_is_statsmodels(hits, more):
    from statsmodels.stats.proportion import proportion_confint

    n = hits + more
    if n:
        low, high = proportion_confint(hits, n, method="wilson")
        found = wilson(hits, n)
        assert found[-2:] == pytest.approx((low, high), abs=1e-3)


def test_benjamini_hochberg_is_scipys():
    from scipy.stats import false_discovery_control

    p = np.random.default_rng(0).random(50) ** 3
    found = np.asarray(benjamini_hochberg(p))
    expected = false_discovery_control(p)
    assert np.allclose(found, expected) or np.array_equal(found, expected <= 0.05)
