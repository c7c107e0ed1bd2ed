"""Bad studies and bad tables, from the file to the message: one line that says what and where, and what to do."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import yaml

from nbs_lib.core.check import check_study
from nbs_lib.core.settings import NbsError
from nbs_lib.core.study import load_study, study_names
from nbs_lib.core.tables import read_table

N = 200


def table(**changes):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "when": pd.date_range("2024-01-01", periods=N).strftime("%Y-%m-%d"),
            "who": rng.integers(0, 40, N),
            "size": rng.normal(10, 3, N),
            "sky": rng.choice(["blue", "grey", "black"], N),
            "late": rng.choice(["yes", "no"], N),
        }
    )
    return frame.assign(**changes)


@pytest.fixture
def check(tmp_path, monkeypatch):
    """Writes table and config, reads both back as `nbs check` does."""
    (tmp_path / "configs").mkdir()
    monkeypatch.setenv("NBS_PATHS_CONFIGS", str(tmp_path / "configs"))

    def run(frame, **config):
        frame.to_csv(tmp_path / "t.csv", index=False)
        config = {
            "question": "Will it be late?",
            "task": "binary",
            "target": "late",
            "data": {"path": str(tmp_path / "t.csv")},
            **config,
        }
        (tmp_path / "configs" / "t.yaml").write_text(
            yaml.safe_dump(config, allow_unicode=True), encoding="utf-8"
        )
        study = load_study("t", [])
        return check_study(study, read_table(study))

    return run


def test_a_sound_study_has_no_notes(check):
    assert check(table()) == []
    assert (
        check(
            table(), time="when", split={"from": "2024-05-01"}, baseline={"by": ["sky"]}, units={"size": "cm"}
        )
        == []
    )
    assert check(table(), group="who") == []
    assert check(table(), task="multiclass", target="sky") == []
    assert check(table(), task="regression", target="size", features={"calendar": ["when"]}) == []


@pytest.mark.parametrize("name", study_names())
def test_the_studies_that_ship_pass(name):
    study = load_study(name, [])
    check_study(study, read_table(study))


REFUSED = {
    "unknown column": (table(), {"leaks": ["sise"]}, r"leaks: column 'sise' is not in .*t\.csv; nearest: 'size' \(did you mean it\?\)"),
    "unknown target": (table(), {"target": "lates"}, "target: column 'lates' is not in .*nearest: 'late'"),
    "constant target": (table(late="no"), {}, "target: column 'late' is constant"),
    "empty target": (table(late=None), {}, "target: column 'late' has no value in any of 200 rows"),
    "one row of a class": (table(late=["yes"] + ["no"] * (N - 1)), {}, "target: class 'yes' has 1 row; each class needs at least 8"),
    "one row of one of many": (table(sky=["odd"] + ["blue", "grey"] * 99 + ["blue"]), {"target": "sky", "task": "multiclass"}, "target: class 'odd' has 1 row"),
    "three classes": (table(), {"target": "sky"}, "task: binary needs a target of two classes, 'sky' has 3"),
    "unknown class": (table(), {"positive": "Yes"}, "positive: 'Yes' is no class of 'late'"),
    "as many classes as rows": (table(), {"target": "size", "task": "multiclass"}, "task: 'size' has 200 classes in 200 rows"),
    "words in a regression": (table(), {"target": "sky", "task": "regression"}, "a regression needs numbers|regression needs a target of numbers"),
    "infinite": (table(size=[np.inf] + [1.5, 2] * 99 + [3]), {"target": "size", "task": "regression"}, "target: 'size' is infinite in 1 row"),
    "no time": (table(), {"time": "sky"}, "time: has to be a column of dates"),
    "one group": (table(who="a"), {"group": "who"}, "one group spans everything"),
    "few groups": (table(), {"group": "sky"}, "5 folds and a holdout need at least 6"),
    "split outside": (table(), {"time": "when", "split": {"from": "2031-01-01"}}, "split.from: 2031-01-01 lies outside the data, which goes from 2024-01-01 to 2024-07-18"),
    "split near the end": (table(), {"time": "when", "split": {"from": "2024-07-15"}}, "leaves 196 training, 4 holdout rows"),
    "split without a class": (table(late=["yes"] * 100 + ["no"] * 100), {"time": "when"}, "leaves no row of class 'yes' in the holdout rows"),
    "split by no value": (table(), {"split": {"column": "sky", "values": ["bleu"]}}, "split.values: 'bleu' does not occur in column 'sky'; nearest: 'blue'"),
    "tiny holdout": (table(), {"split": {"by": "random", "holdout": 0.01}}, "at least 8 holdout rows"),
    "one row": (table().head(1), {}, "at least 40 rows with a target are needed .* found 1 row "),
    "few rows": (table().head(39), {}, "at least 40 rows .* found 39 rows"),
    "few targets": (table(late=["yes", "no"] * 15 + [None] * 170), {}, "found 200 rows, 30 of them with a target"),
    "history of nothing": (table(), {"time": "when", "features": {"history": [{"name": "h", "value": "sise"}]}}, r"features.history \(h\).value: column 'sise'"),
    "history of words": (table(), {"time": "when", "features": {"history": [{"name": "h", "value": "sky"}]}}, "stat: mean needs numbers"),
    "history known at no time": (table(), {"time": "when", "features": {"history": [{"name": "h", "value": "size", "known_at": "sky"}]}}, "known_at: has to be a time"),
    "leak in two roles": (table(), {"leaks": ["when"], "features": {"calendar": ["when"]}}, "leaks: column 'when' is known only after the outcome, but features.calendar"),
    "nothing left": (table()[["who", "late"]], {"leaks": ["who"]}, "features: no column is left for the model"),
    "constant columns": (table()[["sky", "late"]].assign(sky="blue"), {}, "every column left for the model is constant"),
    "goal in percent": (table(), {"goal": 72}, "goal: roc_auc lies between 0 and 1, found 72"),
    "division by zero": (table(size=[0, 1.5] * 100), {"task": "regression", "target": "size", "metric": "mape"}, "metric: mape divides by the target, which is 0 in 100 rows"),
    "unknown waiver": (table(), {"waivers": [{"check": "FAIRNES", "reason": "a pilot", "owner": "a", "until": "2027-01-31"}]}, "waivers: 'FAIRNES' is no check"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused(check, case):
    frame, config, message = REFUSED[case]
    with pytest.raises(NbsError, match=message) as caught:
        check(frame, **config)
    text = str(caught.value)
    assert "configs/t.yaml: " in text or "t.csv" in text or text.startswith("target: ")
    assert len(text) < 600 and "nan" not in text.lower()


NOTED = {
    "missing targets": (
        table(late=[None] * 10 + ["yes", "no"] * 95),
        {},
        "target: 10 rows of 200 without 'late' will be left out",
    ),
    "rare class": (
        table(late=["yes"] * 12 + ["no"] * 188),
        {"metric": "accuracy"},
        "has an accuracy of 0.94 already",
    ),
    "more columns than rows": (
        pd.concat(
            [table(), pd.DataFrame(np.random.default_rng(1).normal(size=(N, 300))).add_prefix("x")], axis=1
        ),
        {},
        "more columns (305) than rows (200)",
    ),
    "constant column": (table(sky="blue"), {}, "features: 1 column constant and of no use: 'sky'"),
    "missing times": (
        table(when=[None] * 20 + list(table()["when"][20:])),
        {"time": "when"},
        "time: 20 rows without 'when' will be left out",
    ),
    "class of the past": (
        table(sky=["old"] * 20 + ["blue", "grey"] * 90),
        {"task": "multiclass", "target": "sky", "time": "when"},
        "split: class 'old' does not occur in the holdout rows",
    ),
    "unclear history": (
        table(),
        {"time": "when", "leaks": ["size"], "features": {"history": [{"name": "h", "value": "size"}]}},
        "is known only after the row's own time",
    ),
}


@pytest.mark.parametrize("case", NOTED)
def test_noted(check, case):
    frame, config, note = NOTED[case]
    notes = check(frame, **config)
    assert any(note in n for n in notes), notes


@pytest.mark.parametrize(
    "name",
    [
        "with space",
        "😀",
        "<script>alert(1)</script>",
        "a: b",
        '"quoted"',
        "a/b\\c",
        "two\nlines",
        "#",
        "x" * 800,
    ],
)
def test_hostile_names_are_only_names(check, name):
    frame = table().rename(columns={"sky": name, "late": f"{name} target"})
    assert check(frame, target=f"{name} target", baseline={"by": [name]}) == []
    with pytest.raises(NbsError, match="leaks: column"):
        check(frame, target=f"{name} target", leaks=[f"{name}?"])


def test_it_is_quick_and_light():
    code = (
        "import sys; import nbs_lib.core.check, nbs_lib.core.draft; "
        "print([m for m in ('sklearn', 'scipy.stats', 'matplotlib', 'statsmodels', 'shap', 'lightgbm') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_ten_thousand_columns(check):
    rng = np.random.default_rng(2)
    wide = pd.concat([table(), pd.DataFrame(rng.integers(0, 9, (N, 10_000))).add_prefix("x")], axis=1)
    assert "more columns (10,005) than rows (200)" in check(wide)[0]


def test_a_hundred_thousand_values(check):
    n = 100_000
    frame = pd.DataFrame(
        {"key": [f"v{i}" for i in range(n)], "x": np.arange(n) % 7, "late": ["yes", "no"] * (n // 2)}
    )
    assert check(frame) == []
