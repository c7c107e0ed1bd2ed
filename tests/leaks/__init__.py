"""Leaks planted in real tables, each kind in several disguises, and clean twins that only look like them.

`case` makes a study of a table and splits it; `PLANTS[kind][disguise]` puts a leak into a case, `TWINS[name]` something
harmless. Each takes a case and a random generator and returns a new case, or None where it does not fit the table.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from nbs_lib.core.profile import as_numbers, prepare_target, standardised_ranks
from nbs_lib.core.splits import split_holdout
from nbs_lib.core.study import Study, make_study
from nbs_lib.core.tables import settle
from nbs_lib.models.features import FeatureBuilder, plan_features
from nbs_lib.trust.columns import as_matrix, scan_column, truth_of


@dataclass
class Case:
    "One table with its question, split, and what the audit is told"

    name: str
    task: str
    study: Study
    kinds: dict[str, str]
    train: pd.DataFrame
    holdout: pd.DataFrame
    codes: tuple[str, ...] = ()  # findings that count as found
    columns: tuple[str, ...] = ()  # one of which has to be named; none: any
    more: dict = field(default_factory=dict)  # builder, features, prepare for the audit

    @property
    def y(self) -> pd.Series:
        "The target of all rows"
        return self.whole[self.study.target]

    @property
    def whole(self) -> pd.DataFrame:
        "Training rows, then holdout rows"
        return pd.concat([self.train, self.holdout])


def case(
    name: str,  # of the table
    frame: pd.DataFrame,  # raw
    task: str,  # binary, multiclass or regression
    target: str,  # its name
    time: str | None = None,  # a split by time
    rows: int = 4000,  # at most
    seed: int = 0,  # of the study, the order of the rows and the sample
) -> Case:
    "A clean case: rows in random order (unless they have a time), the study's own split"
    if len(frame) > rows:
        at = np.sort(np.random.default_rng(seed).permutation(len(frame))[:rows])
        frame = frame.iloc[at]
    if not time:
        frame = frame.sample(frac=1, random_state=seed)
    if task != "regression":
        label = frame[target].astype(str)
        frame = frame[label.map(label.value_counts()) >= 20]
    frame = frame.reset_index(drop=True)
    return of_frame(name, frame, task, target, time, seed)


def of_frame(
    name: str, frame: pd.DataFrame, task: str, target: str, time: str | None, seed: int, **more
) -> Case:
    "Settle a frame and split it as the study says"
    config = {
        "question": "What will it be?",
        "task": task,
        "data": {"path": "x"},
        "target": target,
        "seed": seed,
    }
    config |= ({"time": time} if time else {}) | more
    study = make_study(name, config)
    table = settle(frame, None, target, task)
    split = split_holdout(table.frame, study)
    return Case(
        name, task, study, table.kinds, table.frame.iloc[split.train], table.frame.iloc[split.holdout]
    )


def score(c: Case) -> np.ndarray:
    "The target as numbers: itself, or the class codes; standardised"
    y = c.y
    if c.task == "regression":
        return standardised_ranks(as_numbers(y))
    codes = pd.factorize(y.astype(str), sort=True)[0].astype(float)
    return (codes - codes.mean()) / codes.std()


def codes_of(c: Case) -> np.ndarray:
    "The target as classes from 0: its own, or five intervals"
    if c.task == "regression":
        return np.clip(((standardised_ranks(as_numbers(c.y)) / np.sqrt(12) + 0.5) * 5).astype(int), 0, 4)
    return pd.factorize(c.y.astype(str), sort=True)[0]


def with_columns(c: Case, codes: str, **columns: np.ndarray) -> Case:
    "The case with more columns, of all rows; kinds by their types"
    n, kinds = len(c.train), dict(c.kinds)
    train, holdout = c.train.copy(), c.holdout.copy()
    for name, values in columns.items():
        values = pd.Series(np.asarray(values))
        text = values.dtype == object or pd.api.types.is_string_dtype(values)
        values = values.astype("str") if text else values
        if not text and values.dtype.kind in "iub":
            values = values.astype(float)
        kinds[name] = "category" if text else "date" if values.dtype.kind == "M" else "number"
        train[name] = values.iloc[:n].set_axis(c.train.index)
        holdout[name] = values.iloc[n:].set_axis(c.holdout.index)
    return replace(
        c, train=train, holdout=holdout, kinds=kinds, codes=tuple(codes.split()), columns=tuple(columns)
    )


def put(frame: pd.DataFrame, columns: dict) -> pd.DataFrame:
    "The frame with other columns, whatever their names"
    frame = frame.copy()
    for name, values in columns.items():
        frame[name] = values
    return frame


def words(values: np.ndarray, gone: np.ndarray | None = None) -> np.ndarray:
    "Values as text, some missing"
    out = np.array([f"v{v}" for v in values], dtype=object)
    if gone is not None:
        out[gone] = None
    return out


def share(c: Case, k: float, rng: np.random.Generator) -> pd.DataFrame:
    "Some training rows, as many as that share of the holdout"
    return c.train.iloc[np.sort(rng.permutation(len(c.train))[: max(int(k * len(c.holdout)), 20)])]


def fine(c: Case) -> list[str]:
    "Columns of numbers with many values"
    return [
        x for x, k in c.kinds.items() if k == "number" and x != c.study.target and c.train[x].nunique() > 100
    ]


def joined(c: Case, rows: pd.DataFrame, codes: str) -> Case:
    "The case with more holdout rows"
    rows = rows.set_axis(pd.RangeIndex(10**6, 10**6 + len(rows), name="row"))
    if c.study.time and c.study.split.by == "time":  # they pretend to be late
        rows = rows.assign(
            **{
                c.study.time: c.holdout[c.study.time]
                .sample(len(rows), replace=True, random_state=0)
                .to_numpy()
            }
        )
    held = pd.concat([c.holdout, rows]).sample(frac=1, random_state=0)
    return replace(c, holdout=held, codes=tuple(codes.split()), columns=())


PLANTS: dict[str, dict[str, Callable]] = {}
TWINS: dict[str, Callable] = {}


def plant(kind: str):
    "Register a disguise of a kind of leak"

    def add(f: Callable) -> Callable:
        PLANTS.setdefault(kind, {})[f.__name__.removeprefix(kind.replace(" ", "_") + "_")] = f
        return f

    return add


def twin(f: Callable) -> Callable:
    "Register something harmless"
    TWINS[f.__name__.removeprefix("twin_")] = f
    return f


# Rows on both sides


@plant("copies")
def copies_exact(c, rng):
    return joined(c, share(c, 0.2, rng), "COPIES NEAR-COPIES")


@plant("copies")
def copies_few(c, rng):
    return joined(c, share(c, 0.06, rng), "COPIES NEAR-COPIES")


@plant("copies")
def copies_new_number(c, rng):
    c = with_columns(c, "", case_no=rng.permutation(len(c.whole)) + 1000)
    rows = share(c, 0.2, rng)
    return joined(c, rows.assign(case_no=np.arange(len(rows)) + 50_000.0), "COPIES NEAR-COPIES")


@plant("copies")
def copies_one_column_changed(c, rng):
    rows = share(c, 0.2, rng)
    column = max(
        (x for x in c.train if x not in (c.study.target, c.study.time)), key=lambda x: c.train[x].nunique()
    )
    return joined(c, put(rows, {column: rng.permutation(rows[column].to_numpy())}), "COPIES NEAR-COPIES")


@plant("copies")
def copies_written_otherwise(c, rng):
    texts = [x for x, k in c.kinds.items() if k == "category" and x != c.study.target]
    rows = share(c, 0.2, rng)
    return (
        joined(c, put(rows, {x: " " + rows[x].str.upper() for x in texts}), "COPIES NEAR-COPIES")
        if texts
        else None
    )


def _spread(c: Case, x: str) -> float:
    "A column's spread, whatever its outliers"
    low, high = c.train[x].quantile([0.05, 0.95])
    return float(high - low) / 3.3 or float(c.train[x].std())


def _noisy(c: Case, rows: pd.DataFrame, columns: list[str], size: float, rng) -> pd.DataFrame:
    return put(rows, {x: rows[x] + rng.normal(0, size * _spread(c, x), len(rows)) for x in columns})


@plant("near copies")
def near_copies_noise(c, rng):
    return (
        joined(c, _noisy(c, share(c, 0.2, rng), fine(c), 0.002, rng), "NEAR-COPIES COPIES")
        if len(fine(c)) > 3
        else None
    )


@plant("near copies")
def near_copies_more_noise(c, rng):
    return (
        joined(c, _noisy(c, share(c, 0.2, rng), fine(c), 0.01, rng), "NEAR-COPIES COPIES")
        if len(fine(c)) > 5
        else None
    )


@plant("near copies")
def near_copies_half_of_the_columns(c, rng):
    return (
        joined(c, _noisy(c, share(c, 0.2, rng), fine(c)[::2], 0.01, rng), "NEAR-COPIES COPIES")
        if len(fine(c)) > 4
        else None
    )


@plant("near copies")
def near_copies_rounded(c, rng):
    rows, columns = share(c, 0.2, rng), fine(c)
    digits = {x: 2 - int(np.floor(np.log10(_spread(c, x) + 1e-12))) for x in columns}
    return (
        joined(c, put(rows, {x: rows[x].round(d) for x, d in digits.items()}), "NEAR-COPIES COPIES")
        if len(columns) > 3
        else None
    )


@plant("resampled")
def resampled_five_times(c, rng):
    return _multiplied(c, rng, 4)


@plant("resampled")
def resampled_twice(c, rng):
    return _multiplied(c, rng, 1)


def _random_split(c: Case, frame: pd.DataFrame, rng, codes: str) -> Case:
    "Rows dealt out at random, whatever they have in common"
    frame = frame.iloc[rng.permutation(len(frame))].set_axis(pd.RangeIndex(len(frame), name="row"))
    cut = int(len(frame) * 0.8)
    return replace(
        c, train=frame.iloc[:cut], holdout=frame.iloc[cut:], codes=tuple(codes.split()), columns=()
    )


def _rare(c: Case) -> str | None:
    if c.task == "regression" or c.study.time:
        return None
    counts = c.y.astype(str).value_counts()
    return counts.index[-1] if counts.iloc[-1] < 0.4 * len(c.y) and counts.iloc[-1] >= 40 else None


def _multiplied(c: Case, rng, times: int) -> Case | None:
    rare = _rare(c)
    if rare is None:
        return None
    few = c.whole[c.y.astype(str) == rare]
    return _random_split(c, pd.concat([c.whole, *[few] * times]), rng, "RESAMPLED COPIES NO-TEST")


def _smote(c: Case, rng, times: float, digits: int | None = None) -> Case | None:
    from sklearn.neighbors import NearestNeighbors

    rare, numbers = _rare(c), [x for x, k in c.kinds.items() if k == "number" and x != c.study.target]
    if rare is None or len(fine(c)) < 3:
        return None
    few = c.whole[c.y.astype(str) == rare]
    x = few[numbers].to_numpy(float)
    near = NearestNeighbors(n_neighbors=6).fit(
        np.nan_to_num((x - np.nanmean(x, 0)) / (np.nanstd(x, 0) + 1e-12))
    )
    pairs = near.kneighbors(return_distance=False)
    at = rng.integers(0, len(x), int(times * len(x)))
    other = pairs[at, rng.integers(0, 6, len(at))]
    new = x[at] + rng.random((len(at), 1)) * (x[other] - x[at])
    new = new if digits is None else np.round(new, digits)
    rows = put(few.iloc[at], {name: new[:, i] for i, name in enumerate(numbers)})
    return _random_split(c, pd.concat([c.whole, rows]), rng, "RESAMPLED NEAR-COPIES")


@plant("resampled")
def resampled_smote(c, rng):
    return _smote(c, rng, 2)


@plant("resampled")
def resampled_smote_once(c, rng):
    return _smote(c, rng, 1)


# Units and times


def _units(c: Case, rng, size: int, wrong: float) -> np.ndarray:
    "Units whose rows have nearly the same target"
    y, n = codes_of(c), len(c.whole)
    at = np.lexsort((rng.random(n), y + (rng.random(n) < wrong) * rng.integers(0, 3, n)))
    unit = np.empty(n, int)
    unit[at] = np.arange(n) // size
    return rng.permutation(unit.max() + 1)[unit]


def _hidden(c: Case, values: np.ndarray) -> Case:
    return with_columns(c, "HIDDEN-GROUP GIVES-TARGET IDENTIFIER", patient=values)


@plant("hidden group")
def hidden_group_number(c, rng):
    return _hidden(c, _units(c, rng, 6, 0.0))


@plant("hidden group")
def hidden_group_text(c, rng):
    return _hidden(c, words(_units(c, rng, 5, 0.02)))


@plant("hidden group")
def hidden_group_some_wrong(c, rng):
    return _hidden(c, _units(c, rng, 8, 0.05) * 17 + 40_000)


@plant("hidden group")
def hidden_group_gaps(c, rng):
    return _hidden(c, words(_units(c, rng, 6, 0.0), rng.random(len(c.whole)) < 0.2))


def _grouped(c: Case, rng, train: np.ndarray, held: np.ndarray) -> Case | None:
    if c.study.time:
        return None
    c = with_columns(c, "GROUP-SPLIT", unit=np.r_[train, held])
    config = {
        "question": "What will it be?",
        "task": c.task,
        "data": {"path": "x"},
        "target": c.study.target,
        "group": "unit",
        "split": {"by": "group"},
    }
    return replace(c, study=make_study(c.name, config))


@plant("group split")
def group_split_many(c, rng):
    return _grouped(c, rng, rng.integers(0, 300, len(c.train)), rng.integers(0, 300, len(c.holdout)))


@plant("group split")
def group_split_few(c, rng):
    held = rng.integers(300, 360, len(c.holdout))
    held[:3] = [1, 2, 3]
    return _grouped(c, rng, np.arange(len(c.train)) % 300, held)


@plant("group split")
def group_split_written_otherwise(c, rng):
    a, b = words(rng.integers(0, 300, len(c.train))), words(rng.integers(0, 300, len(c.holdout)))
    return _grouped(c, rng, a, np.array([f" {v.upper()}" for v in b], dtype=object))


@plant("group split")
def group_split_leading_zeros(c, rng):
    a = np.array([f"{v:05d}" for v in rng.integers(1, 300, len(c.train))], dtype=object)
    b = np.array([f"{v}" for v in rng.integers(1, 300, len(c.holdout))], dtype=object)
    return _grouped(c, rng, a, b)


def _timed(c: Case, rng, late: int, number: bool = False) -> Case | None:
    if c.study.time:
        return None
    n, m = len(c.train), len(c.holdout)
    days = np.r_[np.sort(rng.integers(0, 800, n)), rng.integers(801, 1000, m)]
    days[rng.permutation(n)[:late]] = rng.integers(850, 990, late)
    values = days if number else np.datetime64("2022-01-01", "us") + days * np.timedelta64(1, "D")
    c = with_columns(c, "TIME-OVERLAP", moment=values)
    config = {
        "question": "What will it be?",
        "task": c.task,
        "data": {"path": "x"},
        "target": c.study.target,
        "time": "moment",
    }
    return replace(c, study=make_study(c.name, config))


@plant("time overlap")
def time_overlap_one_row(c, rng):
    return _timed(c, rng, 1)


@plant("time overlap")
def time_overlap_some(c, rng):
    return _timed(c, rng, 20)


@plant("time overlap")
def time_overlap_number(c, rng):
    return _timed(c, rng, 5, number=True)


@plant("time overlap")
def time_overlap_all(c, rng):
    return _timed(c, rng, len(c.train) // 3)


# Columns that give the target

ALONE = "GIVES-TARGET HIDDEN-GROUP GIVES-PART TARGET-STATISTIC IDENTIFIER"


def _number(c: Case, rng, noise: float) -> np.ndarray:
    return score(c) + rng.normal(0, noise, len(c.whole))


@plant("gives target")
def gives_target_noise(c, rng):
    step = 1.0 if c.task == "regression" else float(np.diff(np.unique(score(c))).min())
    return with_columns(c, ALONE, x9=_number(c, rng, step * (0.12 if c.task == "regression" else 0.2)))


@plant("gives target")
def gives_target_monotone(c, rng):
    return with_columns(c, ALONE, level=np.exp(1.5 * _number(c, rng, 0.02)))


@plant("gives target")
def gives_target_inverted_and_rounded(c, rng):
    return with_columns(c, ALONE, rest=np.round(100 - 10 * _number(c, rng, 0.02), 1))


@plant("gives target")
def gives_target_jumbled_codes(c, rng):
    y = codes_of(c) if c.task != "regression" else np.argsort(np.argsort(score(c))) * 40 // len(c.whole)
    code = rng.permutation((y.max() + 1) * 5)
    return with_columns(c, ALONE, ward=words(code[y * 5 + rng.integers(0, 5, len(y))]))


@plant("gives target")
def gives_target_v_shaped(c, rng):
    y = standardised_ranks(score(c)) if c.task == "regression" else codes_of(c)
    side = rng.choice([-1.0, 1.0], len(y))
    return with_columns(c, ALONE, turn=side * (y - y.min() + 0.5) + rng.normal(0, 0.03, len(y)))


@plant("gives target")
def gives_target_some_flipped(c, rng):
    y = codes_of(c) if c.task != "regression" else np.argsort(np.argsort(score(c))) * 30 // len(c.whole)
    wrong = rng.random(len(y)) < 0.02
    return with_columns(c, ALONE, status=words(np.where(wrong, rng.permutation(y), y)))


@plant("gives part")
def gives_part_else_missing(c, rng):
    return with_columns(
        c,
        "GIVES-PART GIVES-TARGET GAP-TELLS",
        note=np.where(rng.random(len(c.whole)) < 0.5, _number(c, rng, 0.02), np.nan),
    )


@plant("gives part")
def gives_part_else_constant(c, rng):
    return with_columns(
        c,
        "GIVES-PART GIVES-TARGET",
        note=np.where(rng.random(len(c.whole)) < 0.4, 20 + 5 * _number(c, rng, 0.02), 0.0),
    )


@plant("gives part")
def gives_part_category(c, rng):
    y = codes_of(c) if c.task != "regression" else np.argsort(np.argsort(score(c))) * 30 // len(c.whole)
    return with_columns(
        c,
        "GIVES-PART GIVES-TARGET HIDDEN-GROUP",
        note=np.where(rng.random(len(y)) < 0.4, words(y), "unknown"),
    )


@plant("gives part")
def gives_part_inverted(c, rng):
    return with_columns(
        c,
        "GIVES-PART GIVES-TARGET GAP-TELLS",
        note=np.where(rng.random(len(c.whole)) < 0.35, -np.sinh(_number(c, rng, 0.01)), np.nan),
    )


def _yes(c: Case) -> np.ndarray:
    "Which rows are of one class, or above the middle"
    return score(c) > 0 if c.task == "regression" else codes_of(c) == np.bincount(codes_of(c)).argsort()[-2]


GAPS = "GAP-TELLS GIVES-TARGET GIVES-PART TOGETHER"


@plant("gaps")
def gaps_exact(c, rng):
    return with_columns(c, GAPS, stay=np.where(_yes(c), rng.normal(5, 2, len(c.whole)), np.nan))


@plant("gaps")
def gaps_mostly(c, rng):
    kept = _yes(c) & (rng.random(len(c.whole)) < 0.9)
    return with_columns(c, GAPS, stay=np.where(kept, rng.normal(5, 2, len(c.whole)), np.nan))


@plant("gaps")
def gaps_where_not(c, rng):
    gone = _yes(c) & (rng.random(len(c.whole)) < 0.97)
    return with_columns(c, GAPS, stay=words(rng.integers(0, 5, len(c.whole)), gone))


@plant("gaps")
def gaps_of_two_columns(c, rng):
    yes, flag = _yes(c), rng.random(len(c.whole)) < 0.5
    value = lambda gone: np.where(gone, np.nan, rng.normal(5, 2, len(c.whole)))
    c = with_columns(c, GAPS, stay=value(flag), cost=value(flag ^ yes))
    return replace(c, columns=(*c.columns, "(number of gaps in the row)", "(which gaps the row has)"))


TOGETHER = "TOGETHER GIVES-TARGET GAP-TELLS GIVES-PART HIDDEN-GROUP"


@plant("together")
def together_sum(c, rng):
    part = rng.normal(0, 2, len(c.whole))
    return with_columns(c, TOGETHER, one=part, two=_number(c, rng, 0.02) - part)


@plant("together")
def together_difference(c, rng):
    part = rng.normal(10, 3, len(c.whole))
    return with_columns(c, TOGETHER, begin=part, end=(part + 4 + _number(c, rng, 0.05)).round(2))


@plant("together")
def together_flags(c, rng):
    if c.task == "regression":
        part = rng.uniform(1, 5, len(c.whole))
        y = as_numbers(c.y)
        return with_columns(c, TOGETHER, left=part, right=y / part) if (y > 0).all() else together_sum(c, rng)
    y = codes_of(c)
    key = rng.integers(0, y.max() + 1, len(y))
    return with_columns(c, TOGETHER, left=words(key), right=words((y + key) % (y.max() + 1)))


@plant("together")
def together_tens_and_ones(c, rng):
    n, part = len(c.whole), rng.integers(0, 50, len(c.whole))
    if c.task != "regression":
        return with_columns(
            c, TOGETHER, total=part * 1.0, paid=part - 3.0 * codes_of(c) + rng.normal(0, 0.1, n)
        )
    y = np.argsort(np.argsort(score(c))) * 99 // n
    return with_columns(c, TOGETHER, tens=y // 10, ones=y % 10)


# The order of rows


def _in_order(c: Case, rng, noise: float) -> np.ndarray:
    return np.argsort(np.argsort(score(c) + rng.normal(0, noise, len(c.whole)), kind="stable"), kind="stable")


COUNTS = "IDENTIFIER ROW-ORDER GIVES-TARGET HIDDEN-GROUP"


@plant("order")
def order_counter(c, rng):
    return with_columns(c, COUNTS, case_no=_in_order(c, rng, 0.4) + 1000)


@plant("order")
def order_counter_downwards(c, rng):
    return with_columns(c, COUNTS, ticket_id=900_000 - 3 * _in_order(c, rng, 0.6))


@plant("order")
def order_of_the_file(c, rng):
    if c.study.time:
        return None
    place = _in_order(c, rng, 0.0)
    n = len(c.train)
    return replace(
        c, train=c.train.set_axis(pd.Index(place[:n], name="row")).sort_index(),
        holdout=c.holdout.set_axis(pd.Index(place[n:], name="row")).sort_index(), codes=tuple(COUNTS.split()), columns=(),
    )  # fmt: skip


@plant("order")
def order_counter_with_gaps(c, rng):
    return with_columns(
        c, COUNTS, record=np.cumsum(rng.integers(1, 4, len(c.whole)))[_in_order(c, rng, 0.3)] + 5000
    )


# Statistics of the target


def _category(c: Case, levels: int = 12) -> tuple[str, np.ndarray] | None:
    "A column of the table with enough values that are frequent enough"
    for x, k in c.kinds.items():
        counts = c.whole[x].value_counts()
        if (
            x != c.study.target
            and k in ("category", "number")
            and (counts >= 5).sum() >= levels
            and len(counts) <= 150
        ):
            return x, pd.factorize(c.whole[x], use_na_sentinel=False)[0]
    return None


def _binary_target(c: Case) -> np.ndarray:
    return (
        as_numbers(c.y)
        if c.task == "regression"
        else (codes_of(c) == np.bincount(codes_of(c)).argmax()).astype(float)
    )


def _means(c: Case, rng, of: slice | None = None) -> tuple[Case, np.ndarray, np.ndarray, np.ndarray]:
    "A case that surely has a category; codes, the target, and each row's group mean"
    found = _category(c)
    if found is None:
        codes = rng.integers(0, 40, len(c.whole))
        c = with_columns(c, "", shop=words(codes))
    else:
        codes = found[1]
    y = _binary_target(c)
    rows = np.arange(len(y))[of or slice(None)]
    size = np.bincount(codes[rows], minlength=codes.max() + 1)
    mean = np.bincount(codes[rows], y[rows], minlength=codes.max() + 1) / np.maximum(size, 1)
    return c, codes, y, np.where(size > 0, mean, y.mean())[codes]


STAT = "TARGET-STATISTIC GIVES-TARGET HIDDEN-GROUP"


@plant("target statistic")
def target_statistic_all_rows(c, rng):
    c, _, _, mean = _means(c, rng)
    return with_columns(c, STAT, rate=mean)


@plant("target statistic")
def target_statistic_training_rows(c, rng):
    c, _, _, mean = _means(c, rng, slice(0, len(c.train)))
    return with_columns(c, STAT, rate=np.round(mean, 4))


@plant("target statistic")
def target_statistic_left_out(c, rng):
    c, codes, y, _ = _means(c, rng)
    size, total = np.bincount(codes), np.bincount(codes, y)
    return with_columns(c, STAT, rate=(total[codes] - y) / np.maximum(size[codes] - 1, 1))


@plant("target statistic")
def target_statistic_smoothed(c, rng):
    c, codes, y, _ = _means(c, rng)
    size, total = np.bincount(codes), np.bincount(codes, y)
    return with_columns(c, STAT, rate=((total + 10 * y.mean()) / (size + 10))[codes])


@plant("target statistic")
def target_statistic_logarithm(c, rng):
    c, _, _, mean = _means(c, rng)
    return with_columns(c, STAT, rate=-np.log(mean - mean.min() + mean.std() + 1e-9))


@plant("target statistic")
def target_statistic_noise(c, rng):
    c, codes, y, mean = _means(c, rng)
    size = np.bincount(codes)
    error = y.std() / np.sqrt(np.maximum(size, 1))
    return with_columns(c, STAT, rate=mean + 0.2 * error[codes] * rng.normal(size=len(size))[codes])


# Features and folds


class Leaky(FeatureBuilder):
    "A feature builder that adds a feature of the whole frame that it gets"

    def __init__(self, plan: dict, add: Callable = None):
        super().__init__(plan)
        self.add = add

    def fit(self, X, y=None):
        self.mean_ = self.add(X).mean()
        return super().fit(X, y)

    def transform(self, X):
        return super().transform(X).assign(extra=self.mean_)

    def fit_transform(self, X, y=None):
        return super().fit_transform(X, y).assign(extra=self.add(X))

    def __sklearn_clone__(self):
        return Leaky(self.plan, self.add)


class Served(FeatureBuilder):
    "A feature builder whose features depend on the rows that are served together"

    def __init__(self, plan: dict, add: Callable = None):
        super().__init__(plan)
        self.add = add

    def transform(self, X):
        return super().transform(X).assign(extra=self.add(X))

    def fit_transform(self, X, y=None):
        return super().fit_transform(X, y).assign(extra=self.add(X))

    def __sklearn_clone__(self):
        return Served(self.plan, self.add)


def _plan(c: Case) -> dict:
    return plan_features(c.study, c.kinds, c.train)


def _built(c: Case, codes: str, add: Callable, kind: type = Leaky) -> Case:
    plan = _plan(c)
    return replace(c, codes=tuple(codes.split()), columns=(), more={"plan": plan, "builder": kind(plan, add)})


def _as_y(c: Case) -> Callable:
    "Reads the target of a frame as numbers"
    name, task = c.study.target, c.task
    first = c.train[name].astype(str).value_counts().index[0]
    return lambda X: (
        X[name].astype(float) if task == "regression" else (X[name].astype(str) == first).astype(float)
    )


def _any_category(c: Case) -> Callable:
    found = _category(c, 3)
    column = found[0] if found else None
    return lambda X: X[column].astype(object).fillna("?") if column else pd.Series(X.index % 7, index=X.index)


@plant("other targets")
def other_targets_mean_by_category(c, rng):
    y, by = _as_y(c), _any_category(c)
    return _built(c, "OTHER-TARGETS OWN-TARGET FUTURE", lambda X: y(X).groupby(by(X)).transform("mean"))


@plant("other targets")
def other_targets_left_out(c, rng):
    y, by = _as_y(c), _any_category(c)

    def add(X):
        g = y(X).groupby(by(X))
        return (g.transform("sum") - y(X)) / (g.transform("size") - 1).clip(lower=1)

    return _built(c, "OTHER-TARGETS FUTURE", add)


@plant("other targets")
def other_targets_row_before(c, rng):
    y = _as_y(c)
    return _built(c, "OTHER-TARGETS FUTURE", lambda X: y(X).shift(1))


@plant("other targets")
def other_targets_neighbours(c, rng):
    from sklearn.neighbors import NearestNeighbors

    y, numbers = _as_y(c), [x for x, k in c.kinds.items() if k == "number" and x != c.study.target][:4]
    if not numbers:
        return None

    def add(X):
        x = np.nan_to_num(X[numbers].to_numpy(float))
        at = NearestNeighbors(n_neighbors=5).fit(x).kneighbors(return_distance=False)
        return pd.Series(y(X).to_numpy()[at].mean(1), index=X.index)

    return _built(c, "OTHER-TARGETS FUTURE", add)


@plant("other targets")
def other_targets_rounded(c, rng):
    y, by = _as_y(c), _any_category(c)
    return _built(
        c, "OTHER-TARGETS OWN-TARGET FUTURE", lambda X: y(X).groupby(by(X)).transform("mean").rank().round(-1)
    )


def _with_time(c: Case, rng) -> Case:
    "The case with a time, and a value that becomes known later"
    n = len(c.whole)
    if not c.study.time:
        c = with_columns(
            c, "", moment=np.datetime64("2022-01-01", "us") + np.arange(n) * np.timedelta64(1, "h")
        )
    time = c.study.time or "moment"
    c = with_columns(
        c,
        "",
        known=c.whole[time].to_numpy() + rng.integers(1, 60, n) * np.timedelta64(1, "h"),
        delay=rng.normal(size=n),
        unit=words(rng.integers(0, 8, n)),
    )
    past = {
        "name": "delay before",
        "by": ["unit"],
        "value": "delay",
        "stat": "mean",
        "known_at": "known",
        "window": "30d",
    }
    config = {
        "question": "What will it be?",
        "task": c.task,
        "data": {"path": "x"},
        "target": c.study.target,
        "time": time,
    }
    study = make_study(c.name, {**config, "leaks": ["delay", "known"], "features": {"history": [past]}})
    return replace(c, study=study)


@plant("future")
def future_mean_around(c, rng):
    c = _with_time(c, rng)
    return _built(
        c,
        "FUTURE",
        lambda X: (
            X.sort_values(c.study.time)["delay"]
            .rolling(5, center=True, min_periods=1)
            .mean()
            .reindex(X.index)
        ),
    )


@plant("future")
def future_next_value(c, rng):
    c = _with_time(c, rng)
    return _built(
        c, "FUTURE", lambda X: X.sort_values(c.study.time).groupby("unit")["delay"].shift(-1).reindex(X.index)
    )


@plant("future")
def future_known_at_forgotten(c, rng):
    c = _with_time(c, rng)
    return _built(
        c,
        "FUTURE",
        lambda X: (
            X.sort_values(c.study.time)
            .groupby("unit")["delay"]
            .transform(lambda v: v.shift(1).rolling(10, min_periods=1).mean())
            .reindex(X.index)
        ),
    )


@plant("future")
def future_over_all(c, rng):
    c = _with_time(c, rng)
    return _built(c, "FUTURE", lambda X: X.groupby("unit")["delay"].transform("mean"))


@plant("future")
def future_count_of_all(c, rng):
    c = _with_time(c, rng)
    return _built(c, "FUTURE", lambda X: X.groupby("unit")["delay"].transform("size") * 1.0)


def _handed(c: Case, change: Callable) -> Case:
    "Features handed over that were made with the holdout at hand"
    plan = _plan(c)
    builder = FeatureBuilder(plan)
    features = builder.fit_transform(c.train)
    held = builder.transform(c.holdout)
    features, held = change(features, held, pd.concat([features, held]))
    return replace(
        c,
        codes=("NOT-FROM-TRAIN",),
        columns=(),
        more={"plan": plan, "builder": builder, "features": features, "holdout_features": held},
    )


def _floats(features: pd.DataFrame) -> list[str]:
    return [x for x in features.select_dtypes("number") if features[x].nunique() > 2]


@plant("not from training")
def not_from_training_scaled(c, rng):
    def change(a, b, both):
        mean, sd = both[_floats(a)].mean(), both[_floats(a)].std()
        return put(a, dict((a[_floats(a)] - mean) / sd)), put(b, dict((b[_floats(a)] - mean) / sd))

    return _handed(c, change)


@plant("not from training")
def not_from_training_filled(c, rng):
    def change(a, b, both):
        return a.fillna(both[_floats(a)].mean()), b.fillna(both[_floats(a)].mean())

    found = _handed(c, change)
    return found if c.train[[x for x, k in c.kinds.items() if k == "number"]].isna().any().any() else None


@plant("not from training")
def not_from_training_ranked(c, rng):
    def change(a, b, both):
        ranks = both[_floats(a)].rank(pct=True)
        return put(a, dict(ranks.iloc[: len(a)])), put(b, dict(ranks.iloc[len(a) :]))

    return _handed(c, change)


@plant("not from training")
def not_from_training_clipped(c, rng):
    def change(a, b, both):
        x = _floats(a)[0]
        low, high = both[x].quantile([0.05, 0.95]) + 1e-3 * both[x].std()
        return put(a, {x: a[x].clip(low, high)}), put(b, {x: b[x].clip(low, high)})

    return _handed(c, change)


def _number_column(c: Case) -> str | None:
    found = [
        x for x, k in c.kinds.items() if k == "number" and x != c.study.target and c.holdout[x].nunique() > 5
    ]
    return found[0] if found else None


def _batch(c: Case, add: Callable) -> Case | None:
    x = _number_column(c)
    return _built(c, "BATCH FUTURE", lambda X: add(X[x].astype(float)), Served) if x else None


@plant("batch")
def batch_rank(c, rng):
    return _batch(c, lambda v: v.rank(pct=True))


@plant("batch")
def batch_scaled(c, rng):
    return _batch(c, lambda v: (v - v.mean()) / v.std())


@plant("batch")
def batch_above_median(c, rng):
    return _batch(c, lambda v: v - v.median())


@plant("batch")
def batch_counts(c, rng):
    return _batch(c, lambda v: v.map(v.value_counts()).astype(float))


def _folded(c: Case, prepare: Callable, codes: str = "FOLD-TARGETS FOLD-ROWS SHUFFLED") -> Case:
    return replace(c, codes=tuple(codes.split()), columns=(), more={"prepare": prepare})


def _noise(features: pd.DataFrame, n: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(len(features), n))


@plant("folds")
def folds_selection(c, rng):
    def prepare(features, y, train, val):
        X = np.column_stack([np.nan_to_num(as_matrix(features)), _noise(features, 200)])
        strength = np.abs(np.nan_to_num((X - X.mean(0)).T @ (y - y.mean()) / (X.std(0) + 1e-12)))
        best = np.argsort(-strength)[:20]
        return X[np.ix_(train, best)], X[np.ix_(val, best)]

    return _folded(c, prepare)


@plant("folds")
def folds_target_means(c, rng):
    def prepare(features, y, train, val):
        X = np.nan_to_num(as_matrix(features))
        cells = np.argsort(np.argsort(X[:, 0])) * 60 // len(X)
        mean = np.bincount(cells, y) / np.bincount(cells)
        X = np.column_stack([X, mean[cells]])
        return X[train], X[val]

    return _folded(c, prepare)


@plant("folds")
def folds_scaled(c, rng):
    def prepare(features, y, train, val):
        X = np.nan_to_num(as_matrix(features))
        X = (X - X.mean(0)) / (X.std(0) + 1e-12)
        return X[train], X[val]

    return _folded(c, prepare)


@plant("folds")
def folds_components(c, rng):
    def prepare(features, y, train, val):
        X = np.nan_to_num(as_matrix(features))
        X = (X - X[train].mean(0)) / (X[train].std(0) + 1e-12)
        _, _, V = np.linalg.svd(X - X.mean(0), full_matrices=False)
        return X[train] @ V[:5].T, X[val] @ V[:5].T

    return _folded(c, prepare)


@plant("folds")
def folds_most_frequent(c, rng):
    def prepare(features, y, train, val):
        X = as_matrix(features)
        X = np.where(np.isnan(X), np.nanmedian(X, axis=0), X)
        edges = np.quantile(X[:, 0], np.linspace(0, 1, 9)[1:-1])
        X[:, 0] = np.searchsorted(edges, X[:, 0])
        return X[train], X[val]

    return _folded(c, prepare)


# Harmless


@twin
def twin_untouched(c, rng):
    return c


@twin
def twin_strong_and_honest(c, rng):
    "A feature that alone reaches a ROC-AUC (rank correlation) of about .9"
    truth = truth_of(prepare_target(c.train[c.study.target], c.task, c.study.positive))
    y, noise = score(c), rng.normal(size=len(c.whole))
    for size in np.geomspace(0.1, 5, 60):
        strong = pd.Series((y + size * noise)[: len(c.train)])
        if scan_column("strong", strong.iloc[truth.rows], "number", truth).score < 0.9:
            break
    return with_columns(c, "", strong=y + size * noise)


@twin
def twin_random_number(c, rng):
    n = len(c.whole)
    return with_columns(c, "", case_id=rng.permutation(n) + 1000, key=words(rng.permutation(n)))


@twin
def twin_units_without_meaning(c, rng):
    n = len(c.whole)
    return with_columns(c, "", customer=rng.integers(0, n // 6, n), shop=words(rng.integers(0, n // 10, n)))


@twin
def twin_sorted_by_time(c, rng):
    if c.study.time:
        return None
    n = len(c.whole)
    c = with_columns(
        c,
        "",
        moment=np.datetime64("2022-01-01", "us") + np.arange(n) * np.timedelta64(3, "h"),
        trend=np.arange(n) * 1.0,
    )
    config = {
        "question": "What will it be?",
        "task": c.task,
        "data": {"path": "x"},
        "target": c.study.target,
        "time": "moment",
    }
    return replace(c, study=make_study(c.name, config))


@twin
def twin_gaps_at_random(c, rng):
    gone = rng.random(len(c.whole)) < np.where(_yes(c), 0.3, 0.15)
    return with_columns(
        c,
        "",
        stay=np.where(gone, np.nan, rng.normal(size=len(gone))),
        cost=np.where(rng.random(len(gone)) < 0.2, np.nan, 1.0 * rng.integers(0, 9, len(gone))),
    )


@twin
def twin_rate_from_elsewhere(c, rng):
    "The true mean of each group as far as other rows of the same size would tell it"
    c, codes, y, mean = _means(c, rng)
    size = np.bincount(codes)
    error = y.std() / np.sqrt(np.maximum(size, 1))
    return with_columns(c, "", rate=mean + 1.4 * error[codes] * rng.normal(size=len(size))[codes])


@twin
def twin_history_declared(c, rng):
    return _with_time(c, rng)


@twin
def twin_features_handed_over(c, rng):
    return _handed(c, lambda a, b, both: (a, b))


@twin
def twin_near_twins_that_differ(c, rng):
    "Two measurements of the same thing, each with an error of its own"
    x = _number_column(c)
    return (
        with_columns(c, "", again=c.whole[x] + rng.normal(0, 0.1 * float(c.train[x].std()), len(c.whole)))
        if x
        else None
    )


# Later answers, and answers in three parts (added last, so that the other cases keep their places)


def _ahead(c: Case, rows: int, change: Callable) -> Case:
    n = len(c.train)
    if not c.study.time:
        c = with_columns(
            c, "", moment=np.datetime64("2022-01-01", "us") + np.arange(len(c.whole)) * np.timedelta64(1, "h")
        )
        config = {
            "question": "What will it be?",
            "task": c.task,
            "data": {"path": "x"},
            "target": c.study.target,
            "time": "moment",
        }
        c = replace(c, study=make_study(c.name, config))
    order = np.argsort(c.whole[c.study.time].to_numpy(), kind="stable")
    later = np.empty(len(order), object)
    values = c.y.to_numpy()[order]
    later[order] = np.r_[values[rows:], values[:rows]]
    made = change(
        later.astype(float) if c.task == "regression" else np.array([f"{v}" for v in later], object)
    )
    assert n == len(c.train)
    return with_columns(c, "FUTURE GIVES-TARGET", tomorrow=made)


@plant("later answer")
def later_answer_plain(c, rng):
    return _ahead(c, 1, lambda v: v)


@plant("later answer")
def later_answer_two_rows(c, rng):
    return _ahead(c, 2, lambda v: v)


@plant("later answer")
def later_answer_written_otherwise(c, rng):
    return _ahead(
        c, 1, lambda v: -3 * v + 1 if v.dtype.kind == "f" else np.array([f"was {x}" for x in v], object)
    )


@plant("later answer")
def later_answer_some_wrong(c, rng):
    def change(v):
        return np.where(rng.random(len(v)) < 0.005, rng.permutation(v), v)

    return _ahead(c, 1, change)


@plant("three parts")
def three_parts_sum(c, rng):
    one, two = rng.normal(0, 1, (2, len(c.whole)))
    return with_columns(c, "TOGETHER GIVES-TARGET", one=one, two=two, three=_line(c, rng) - one - two)


def _line(c: Case, rng) -> np.ndarray:
    return score(c) + rng.normal(0, 0.02, len(c.whole))


@plant("three parts")
def three_parts_weighted(c, rng):
    one, two = rng.normal(0, 1, (2, len(c.whole)))
    return with_columns(
        c,
        "TOGETHER GIVES-TARGET",
        one=one,
        two=10 * two,
        three=(_line(c, rng) - 0.5 * one + 0.7 * two).round(3),
    )


@plant("three parts")
def three_parts_net(c, rng):
    gross, tax = rng.normal(50, 2, (2, len(c.whole)))
    return with_columns(c, "TOGETHER GIVES-TARGET", gross=gross, tax=tax, net=gross - tax - 2 * _line(c, rng))


@plant("three parts")
def three_parts_shifted(c, rng):
    one, two = rng.uniform(0, 3, (2, len(c.whole)))
    return with_columns(
        c, "TOGETHER GIVES-TARGET", one=one + 100, two=-two, three=(_line(c, rng) + one - two) * 1000
    )
