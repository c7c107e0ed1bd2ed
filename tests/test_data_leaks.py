"""The leak audit: one disguise or two of each kind of leak, clean twins, and tables that try to break it."""

import zlib

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from leaks import PLANTS, TWINS, Case, case, of_frame
from sklearn import datasets

from nbs_lib.trust.data import audit_data
from nbs_lib.trust.findings import CODES, audit_sentence, clean_table, findings_table

SELECTED = [
    ("copies", "exact", "income"),
    ("near copies", "noise", "tumour"),
    ("resampled", "five_times", "income"),
    ("resampled", "smote", "tumour"),
    ("hidden group", "number", "income"),
    ("group split", "written_otherwise", "income"),
    ("time overlap", "one_row", "progress"),
    ("gives target", "v_shaped", "income"),
    ("gives target", "jumbled_codes", "progress"),
    ("gives part", "category", "income"),
    ("gaps", "mostly", "income"),
    ("gaps", "exact", "progress"),
    ("together", "flags", "income"),
    ("together", "difference", "hotel"),
    ("order", "counter", "income"),
    ("order", "of_the_file", "progress"),
    ("target statistic", "training_rows", "income"),
    ("target statistic", "left_out", "hotel"),
    ("other targets", "left_out", "income"),
    ("future", "known_at_forgotten", "hotel"),
    ("not from training", "scaled", "income"),
    ("batch", "rank", "hotel"),
    ("folds", "selection", "income"),
    ("later answer", "plain", "progress"),
    ("three parts", "net", "hotel"),
]
QUIET = [("untouched", "hotel"), ("untouched", "tumour"), ("strong_and_honest", "income"), ("random_number", "progress"),
         ("units_without_meaning", "income"), ("sorted_by_time", "income"), ("rate_from_elsewhere", "income"), ("history_declared", "hotel")]  # fmt: skip


@pytest.fixture(scope="module")
def tables() -> dict[str, Case]:
    income = pd.read_parquet(ROOT / "data/raw/income.parquet").drop(columns="part")
    hotel = pd.read_parquet(ROOT / "data/raw/hotel_rates.parquet").drop(
        columns=["assigned_room_type", "booking_changes", "historical_adr", "days_in_waiting_list"]
    )
    tumour = datasets.load_breast_cancer(as_frame=True).frame
    tumour = tumour[[c for c in tumour if c.startswith("mean") or c == "target"]]
    progress = datasets.load_diabetes(as_frame=True, scaled=False).frame
    return {
        "income": case("income", income, "binary", "income", rows=800),
        "hotel": case("hotel", hotel, "regression", "avg_price_per_room", "arrival_date", rows=800),
        "tumour": case(
            "tumour", tumour.assign(target=tumour["target"].map({0: "bad", 1: "good"})), "binary", "target"
        ),
        "progress": case("progress", progress, "regression", "target"),
    }


def planted(tables: dict[str, Case], kind: str, name: str, table: str) -> Case:
    rng = np.random.default_rng(zlib.crc32(f"{table} {kind} {name}".encode()))
    return (TWINS[name] if kind == "clean" else PLANTS[kind][name])(tables[table], rng)


def audit_of(c: Case):
    return audit_data(c.study, c.train, c.kinds, c.holdout, **c.more)


@pytest.mark.parametrize(("kind", "name", "table"), SELECTED)
def test_leaks_are_found(tables, kind, name, table):
    c = planted(tables, kind, name, table)
    audit = audit_of(c)
    hits = [f for f in audit.findings if f.code in c.codes]  # a file in the target's order is a remark
    assert hits, findings_table(audit.findings)
    assert not c.columns or any(x in f.columns for f in hits for x in c.columns)
    assert all(
        f.found and f.expected and f.action and f.sentence.endswith((".", "?")) for f in audit.findings
    )


@pytest.mark.parametrize(("name", "table"), QUIET)
def test_clean_tables_are_left_alone(tables, name, table):
    audit = audit_of(planted(tables, "clean", name, table))
    assert not audit.alarms, findings_table(audit.alarms)
    assert "found" in audit_sentence(audit) and len(clean_table(audit)) > 10


def test_every_test_speaks(tables):
    "Each code is either found, came out clean, or says why it could not be tested"
    audit = audit_of(tables["hotel"])
    spoken = {x.code for x in [*audit.clean, *audit.findings]}
    assert set(CODES) - spoken <= {"NO-TEST", "TIME-MIXED"}
    assert all(x.found for x in audit.clean)


def test_the_holdout_may_stay_closed(tables):
    c = tables["income"]
    audit = audit_data(c.study, c.train, c.kinds)
    assert not audit.alarms
    assert {x.code for x in audit.clean if "closed" in x.found} >= {"COPIES", "BATCH", "SHIFT"}


def test_the_training_part_is_no_holdout(tables):
    c = tables["income"]
    assert [
        f.code for f in audit_data(c.study, c.train, c.kinds, c.train.sample(300, random_state=0)).leaks
    ] == ["NO-TEST"]


def test_the_same_study_gives_the_same_audit(tables):
    c = planted(tables, "gives target", "noise", "income")
    assert audit_of(c) == audit_of(c)


def test_a_shift_is_no_alarm(tables):
    c = tables["income"]
    old = c.holdout.assign(age=c.holdout["age"] + 30.0)
    audit = audit_data(c.study, c.train, c.kinds, old)
    assert not audit.alarms
    assert [(f.code, f.columns[0]) for f in audit.findings] == [("SHIFT", "age")]


def test_a_waiver_can_name_a_finding(tables):
    c = planted(tables, "gives target", "monotone", "income")
    assert [f.key for f in audit_of(c).alarms] == ["GIVES-TARGET: level"]


@pytest.mark.parametrize("n", [60, 300])
def test_odd_tables_break_nothing(n):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "self": rng.normal(size=n), "constant": 1.0, "empty": np.nan, "flag": rng.random(n) < 0.5,
            "word": rng.choice(["a", "b", None], n), "unique": [f"k{i}" for i in range(n)],
            "long text": ["some words of a note " * (1 + i % 3) for i in range(n)],
            "when": pd.date_range("2024-01-01", periods=n).where(rng.random(n) < 0.8),
            "huge": np.where(rng.random(n) < 0.1, 1e30, 0.0), "y": rng.choice(["yes", "no", "perhaps"], n),
        }
    )  # fmt: skip
    c = of_frame("odd", frame, "multiclass", "y", None, 0)
    assert not audit_of(c).leaks
    number = of_frame("odd", frame.assign(y=rng.normal(size=n)), "regression", "y", None, 0)
    assert not audit_of(number).leaks
