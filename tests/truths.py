"Worlds whose truth is known, and how often what the library says about them is wrong"

import numpy as np
import pandas as pd
from scipy.special import expit
from scipy.stats import binom

from nbs_lib import evaluation as ev
from nbs_lib.models.ranges import apply_ranges, learn_class_sets, learn_number_ranges
from nbs_lib.tasks.fairness import attributes_of, four_fifths, group_gaps, rates_by_group
from nbs_lib.tasks.metrics import bootstrap_interval, get_metric, paired_difference
from nbs_lib.tasks.paired import delong, for_looks, standing
from nbs_lib.tasks.slices import cut_all, tree_slices, try_slices, usual_variance, weak_slices

METRICS = {
    "binary": ["roc_auc", "log_loss", "accuracy"],
    "regression": ["rmse", "mae", "r2"],
    "multiclass": ["accuracy", "log_loss"],
}


def at_most(rate, n, sure=0.999):
    "So many of n may happen by chance where each happens at this rate"
    return int(binom.ppf(sure, n, rate))


def at_least(rate, n, sure=0.999):
    "At least so many of n happen where each happens at this rate"
    return int(binom.ppf(1 - sure, n, rate))


def text(values):
    return pd.Series(values, dtype="str")


# ---- worlds


def clusters(rng, n, g):
    "Each row's group: g of them, of unequal size, none empty"
    if g is None:
        return None
    weight = rng.gamma(3, 1, g)
    return np.sort(np.r_[np.arange(g), rng.choice(g, n - g, p=weight / weight.sum())])


def shocks(rng, codes, n, size):
    "What rows of a group share"
    return np.zeros(n) if codes is None else rng.normal(0, size, codes.max() + 1)[codes]


def binary(rng, n, g=None):
    codes = clusters(rng, n, g)
    x = rng.normal(size=n) * (1.0 if g is None else 0.7) + shocks(rng, codes, n, 0.7)
    case = rng.random(n) < expit(-1.2 + 1.3 * x + shocks(rng, codes, n, 0.7))
    return text(np.where(case, "yes", "no")), said_binary(expit(-1.2 + 1.2 * x)), codes


def said_binary(p):
    return pd.DataFrame({"prediction": text(np.where(p >= 0.5, "yes", "no")), "p_no": 1 - p, "p_yes": p})


def regression(rng, n, g=None):
    "Errors with long tails, larger for extreme rows"
    codes = clusters(rng, n, g)
    x = rng.normal(size=n) + shocks(rng, codes, n, 1.0)
    error = rng.standard_t(5, n) * (1 + 0.5 * np.minimum(np.abs(x), 3)) + shocks(rng, codes, n, 1.0)
    return pd.Series(2 * x + error), pd.DataFrame({"prediction": 2 * x}), codes


def multiclass(rng, n, g=None):
    codes = clusters(rng, n, g)
    score = rng.normal(size=(n, 3)) + [0.8, 0.0, -0.5]
    p = np.exp(score) / np.exp(score).sum(axis=1, keepdims=True)
    moved = np.exp(score + np.column_stack([shocks(rng, codes, n, 0.7) for _ in range(3)]))
    true = (
        (rng.random((n, 1)) > (moved / moved.sum(axis=1, keepdims=True)).cumsum(axis=1))
        .sum(axis=1)
        .clip(0, 2)
    )
    said = pd.DataFrame(p, columns=["p_a", "p_b", "p_c"])
    return (
        text(np.array(list("abc"))[true]),
        said.assign(prediction=text(np.array(list("abc"))[p.argmax(axis=1)])),
        codes,
    )


WORLDS = {"binary": binary, "regression": regression, "multiclass": multiclass}


def positive(task):
    return "yes" if task == "binary" else None


# ---- intervals


def true_values(task, g, rows=400_000):
    "The metrics of a world, from very many rows"
    y, said, _ = WORLDS[task](np.random.default_rng(1), rows, None if g is None else rows // 20)
    return {m: get_metric(m, task).score(y, said, positive=positive(task)) for m in METRICS[task]}


def coverage(task, n, g, sims, draws=400):
    "How many intervals hold the truth, by metric"
    truth = true_values(task, g)
    hits = dict.fromkeys(truth, 0)
    for s in range(sims):
        y, said, codes = WORLDS[task](np.random.default_rng([7, n, g or 0, s]), n, g)
        for name in hits:
            _, low, high = bootstrap_interval(
                get_metric(name, task), y, said, draws, s, codes, positive(task)
            )
            hits[name] += bool(low <= truth[name] <= high)
    return hits


# ---- comparisons


def rivals(rng, n, g=None, ahead=0.0):
    "Two models of the same rows, equally good unless one is ahead"
    codes = clusters(rng, n, g)
    case = rng.random(n) < expit(shocks(rng, codes, n, 1.0))
    shared = rng.normal(size=n) + shocks(rng, codes, n, 0.5)
    noise = [rng.normal(size=n) + shocks(rng, codes, n, 0.5) for _ in range(2)]
    scores = [expit(case + shared + noise[0] + ahead * case - 0.5), expit(case + shared + noise[1] - 0.5)]
    return text(np.where(case, "yes", "no")), [said_binary(p) for p in scores], codes


def paired_alarms(n, g, sims, metric="roc_auc", ahead=0.0, draws=400):
    "How often two models are told apart by the bootstrap, and by DeLong's test"
    told, exact = 0, 0
    for s in range(sims):
        y, (a, b), codes = rivals(np.random.default_rng([9, n, g or 0, s]), n, g, ahead)
        difference = paired_difference(get_metric(metric, "binary"), y, a, b, draws, s, codes, "yes")
        told += standing(difference, 1) != "open"
        exact += delong((y == "yes").to_numpy(), a["p_yes"], b["p_yes"])[3] < 0.05
    return told, exact


def looks_covered(models, n, sims, corrected=True, draws=300):
    "How often the interval of the best of several equal models holds its truth"
    truth, metric, held = true_values("regression", None)["mae"], get_metric("mae", "regression"), 0
    for s in range(sims):
        found = []
        for k in range(models):
            y, said, _ = regression(np.random.default_rng([11, s, k]), n)
            found.append(bootstrap_interval(metric, y, said, draws, k))
        best = min(found, key=lambda f: f[0])
        _, low, high = for_looks(best, models if corrected else 1)
        held += low <= truth <= high
    return held


def broken_promises(n_train, n_holdout, g, sims, draws=200):
    "How often the holdout is said to be worse than cross-validation promised though nothing differs"
    metric, worse = get_metric("roc_auc", "binary"), 0
    for s in range(sims):
        rng = np.random.default_rng([12, s])
        parts = [binary(rng, n, g) for n in (n_train, n_holdout)]
        promise, held = (bootstrap_interval(metric, y, p, draws, s, codes, "yes") for y, p, codes in parts)
        worse += ev.promise_sentence(promise, held, metric)[1]
    return worse


# ---- slices


def columns(rng, n, codes):
    frame = pd.DataFrame({f"x{i}": rng.normal(size=n) for i in range(4)})
    frame["kind"], frame["rare"] = (
        text(rng.choice(list("abcde"), n)),
        text(rng.choice(["no", "yes"], n, p=[0.93, 0.07])),
    )
    if codes is not None:
        frame["of_group"] = rng.normal(size=codes.max() + 1)[codes]
    return frame


def losses(task, y, said):
    "Loss, error with sign, and what its variance is where the predictions are right"
    if task == "regression":
        error = (y - said["prediction"]).to_numpy(float)
        return np.abs(error), error, usual_variance(error, said["prediction"].to_numpy(float))
    classes = [c[2:] for c in said if c.startswith("p_")]
    p = said[[f"p_{c}" for c in classes]].to_numpy()
    own = p[np.arange(len(p)), pd.Index(classes).get_indexer(y)]
    loss = -np.log(np.clip(own, 1e-3, 1))
    if task == "multiclass":
        return loss, None, None
    chance = said["p_yes"].to_numpy()
    return loss, (y == "yes").to_numpy() - chance, chance * (1 - chance)


def rare(rng, n, g=None):
    "Yes or no with few cases, and predictions that are right"
    codes = clusters(rng, n, g)
    p = expit(rng.normal(-3.5, 1, n))
    return text(np.where(rng.random(n) < p, "yes", "no")), said_binary(p), codes


def skewed(rng, n, g=None):
    "Numbers whose errors are lognormal, with mean nought"
    codes = clusters(rng, n, g)
    x = rng.normal(size=n)
    error = np.exp(rng.normal(size=n) + shocks(rng, codes, n, 0.3)) - np.exp(
        0.5 + (0 if g is None else 0.045)
    )
    return pd.Series(x + error), pd.DataFrame({"prediction": x}), codes


def slice_alarms(task, n, g, sims, world=None):
    "How often noise is called a weak spot: by the search, by the tree, as a leaning, and by any of them"
    found = np.zeros(4, int)
    for s in range(sims):
        rng = np.random.default_rng([13, n, g or 0, s])
        y, said, codes = (world or WORLDS[task])(rng, n, g)
        loss, error, variance = losses(task, y, said)
        cuts, levels = cut_all(columns(rng, n, codes)), ev.LEVELS
        alarms = [len(weak_slices(cuts, try_slices(cuts, loss, codes), level=levels["slices"])) > 0,
                  len(tree_slices(cuts, loss, codes, s, levels["tree"])) > 0]  # fmt: skip
        if error is not None:
            tried = try_slices(cuts, error, codes, two_sided=True, variance=variance)
            alarms.append(len(weak_slices(cuts, tried, level=levels["leanings"])) > 0)
        found += [*map(int, alarms), *([0] if error is None else []), int(any(alarms))]
    return dict(zip(["search", "tree", "leaning", "any"], found.tolist(), strict=True))


def slice_power(task, n, sims):
    "How often a slice of 10 % of the rows, of two columns, with a loss twice as large, is found"
    hits = 0
    for s in range(sims):
        rng = np.random.default_rng([14, n, s])
        y, said, codes = WORLDS[task](rng, n, None)
        loss, frame = losses(task, y, said)[0], columns(rng, n, None)
        frame["kind"] = text(rng.choice(list("abc"), n))
        weak = ((frame["kind"] == "a") & (frame["x0"] > np.quantile(frame["x0"], 0.7))).to_numpy()
        cuts = cut_all(frame)
        found = weak_slices(cuts, try_slices(cuts, np.where(weak, 2 * loss, loss)), level=ev.LEVELS["slices"])
        hits += any(
            {c for c, _ in m} <= {"kind", "x0"} and ev.in_slice(cuts, m)[weak].mean() > 0.5
            for m in found["members"]
        )
    return hits


# ---- fairness


def fairness_alarms(n, groups, g, sims, ratio=1.0):
    "How often equal groups are said to differ, and the four-fifths rule to be broken; with a ratio of 0.8 at the border"
    share = np.r_[0.5, np.full(groups - 1, 0.5 / (groups - 1))]
    gap_seen = rule = 0
    for s in range(sims):
        rng = np.random.default_rng([15, n, groups, g or 0, s])
        codes = clusters(rng, n, g)
        frame = pd.DataFrame(
            {
                "origin": text(rng.choice(list("abcdefgh")[:groups], n, p=share)),
                "sex": text(rng.choice(["f", "m"], n)),
            }
        )
        shared = shocks(rng, codes, n, 0.5)
        truth = rng.random(n) < expit(-0.8 + shared)
        cut_rate = np.where(frame["origin"] == "b", ratio, 1.0)
        flagged = rng.random(n) < np.where(truth, 0.6, 0.15) * cut_rate
        attributes = attributes_of(frame, ["origin", "sex"])
        table = rates_by_group(attributes, truth, flagged, codes)
        gap = group_gaps(table, 2)
        gap_seen += bool(
            (gap[gap["measure"].isin(["true positive rate", "false positive rate"])]["low"] > 0).any()
        )
        rule += bool((four_fifths(table)["answer"] == "broken").any())
    return gap_seen, rule


# ---- ranges


def ranges_kept(task, n, sims, level=0.9):
    "The share of later rows whose truth lies in the range or set that n rows taught"
    held = []
    for s in range(sims):
        rng = np.random.default_rng([16, n, s])
        (y, said, _), (later, new, _) = (WORLDS[task](rng, m) for m in (n, 2000))
        if task == "regression":
            ranges = learn_number_ranges(y.to_numpy(), said["prediction"].to_numpy(), level)
            found = apply_ranges(ranges, new)
            held.append(((found["low"] <= later) & (later <= found["high"])).mean())
        else:
            names = [c[2:] for c in said if c.startswith("p_")]
            ranges = learn_class_sets(y.to_numpy(), said[[f"p_{c}" for c in names]].to_numpy(), names, level)
            found = apply_ranges(ranges, new)["set"]
            held.append(np.mean([f"|{a}|" in f"|{b}|" for a, b in zip(later, found, strict=True)]))
    return np.array(held)
