"What reports say about worlds whose truth is known; the limits come from the simulations' own error (see truths.py)"

import numpy as np
import pytest
import truths as t
from truths import at_least, at_most

from nbs_lib.tasks.intervals import bootstrap_ends, effective_units, left_out


@pytest.mark.parametrize(
    ("task", "n", "g", "rate"),
    [
        ("binary", 200, None, 0.93),
        ("binary", 400, 12, 0.92),
        ("regression", 200, None, 0.915),
        ("regression", 400, 12, 0.91),
    ],
)
def test_intervals_cover(task, n, g, rate):
    "Somewhat below 95 % is what few groups and long tails cost, see docs/benchmarks/truth.md"
    hits = t.coverage(task, n, g, 80, draws=150)
    assert min(hits.values()) >= at_least(rate, 80), hits


def test_equal_models_are_not_told_apart():
    told, exact = t.paired_alarms(200, None, 150, draws=150)
    assert max(told, exact) <= at_most(0.05, 150), (told, exact)
    assert t.paired_alarms(300, 15, 120, draws=150)[0] <= at_most(0.05, 120)


def test_a_better_model_is_told_apart():
    told, exact = t.paired_alarms(2000, None, 15, ahead=0.4, draws=150)
    assert min(told, exact) >= 13, (told, exact)


def test_the_best_of_five_needs_a_wider_interval():
    plain, wide = t.looks_covered(5, 300, 100, False, 150), t.looks_covered(5, 300, 100, True, 150)
    assert wide >= at_least(0.95, 100) and plain < wide, (plain, wide)


def test_promises_are_seldom_called_broken():
    assert t.broken_promises(800, 400, None, 150, 100) <= at_most(0.025, 150)


@pytest.mark.parametrize(
    ("task", "n", "g", "world"),
    [
        ("binary", 1000, None, t.rare),
        ("regression", 1000, None, t.skewed),
        ("multiclass", 1000, 30, None),
        ("binary", 1000, 30, None),
    ],
)
def test_noise_is_no_weak_spot(task, n, g, world):
    found = t.slice_alarms(task, n, g, 40, world)
    assert found["any"] <= at_most(0.05, 40), found


@pytest.mark.parametrize("task", list(t.METRICS))
def test_a_planted_weakness_is_found(task):
    assert t.slice_power(task, 3000, 12) >= 10


def test_equal_groups_raise_no_alarm():
    gap, rule = t.fairness_alarms(1000, 5, None, 40)
    assert max(gap, rule) <= at_most(0.05, 40), (gap, rule)
    assert t.fairness_alarms(1000, 3, None, 40, ratio=0.8)[1] <= at_most(0.05, 40)
    assert t.fairness_alarms(1000, 3, 30, 40)[0] <= at_most(0.05, 40)


@pytest.mark.parametrize("task", list(t.METRICS))
def test_ranges_hold_what_they_promise(task):
    held = t.ranges_kept(task, 500, 20)
    assert held.mean() + 4 * held.std() / np.sqrt(20) >= 0.9, held.mean()


def test_few_groups_make_an_interval_wider():
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(10), 30)
    values = rng.normal(size=10)[group] + rng.normal(size=300)
    mean = lambda w: float(w @ values / w.sum())
    drawn = [
        mean(np.bincount(rng.integers(0, 10, 10), minlength=10)[group].astype(float)) for _ in range(400)
    ]
    plain = np.quantile(drawn, [0.025, 0.975])
    honest = bootstrap_ends(drawn, values.mean(), effective_units(group, 300), left_out(mean, group, 300))
    assert honest[0] < plain[0] and plain[1] < honest[1]
