"Metrics against scikit-learn, intervals against known truth"

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from nbs_lib.core.study import METRIC_NAMES
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
