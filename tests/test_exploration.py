"The exploration notebook on tables that nobody prepared for it: its cells are run in this process, in a scratch project"

import json
import re
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT

CELLS = [
    "".join(c["source"])
    for c in json.loads((ROOT / "notebooks/01_exploration.ipynb").read_text(encoding="utf-8"))["cells"]
    if c["cell_type"] == "code"
]
HOSTILE = [
    '<script>alert("x")</script>',
    "naïve 🙈 column",
    "a/b\\c",
    "quote\"s'",
    "$x^{",
    "  spaces  ",
    "=1+1",
]


class Explored:
    "What one run of the notebook left behind"

    def __init__(self, names: dict, shown: list[str], root: Path, study: str):
        self.names, self.html = names, "\n".join(shown)
        folder = root / "data/processed" / study / "work"
        self.record = json.loads((folder / "exploration.json").read_text(encoding="utf-8"))
        self.read = lambda name: pd.read_parquet(folder / f"{name}.parquet")
        self.checks = {k: v["passed"] for k, v in self.record["checks"].items()}
        self.findings = " ".join(self.record["findings"])


@pytest.fixture
def explore(tmp_path, monkeypatch):
    "Explore a frame as a study of its own"
    (tmp_path / "configs").mkdir()
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "settings.ini").write_text((ROOT / "settings.ini").read_text())
    monkeypatch.setenv("NBS_ROOT", str(tmp_path))
    monkeypatch.setenv("NBS_RUN", "work")

    def run(frame: pd.DataFrame, target: str, task: str, **config) -> Explored:
        frame.to_parquet(tmp_path / "t.parquet")
        base = {"question": "What will it be?", "task": task, "data": {"path": "t.parquet"}, "target": target}
        (tmp_path / "configs/t.yaml").write_text(yaml.safe_dump(base | config, allow_unicode=True))
        shown: list[str] = []
        monkeypatch.setattr("nbs_lib.core.record.display", lambda x, **more: shown.append(str(x)))
        names: dict = {"__name__": "notebook"}
        for cell in CELLS:
            exec(compile('study = "t"' if cell.startswith("study =") else cell, "cell", "exec"), names)
        return Explored(names, shown, tmp_path, "t")

    return run


def make(n: int, seed: int = 0) -> pd.DataFrame:
    "A plain table: one strong column, one weak, noise, categories, dates, gaps"
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({f"x{i}": rng.normal(size=n) for i in range(4)})
    frame["colour"] = rng.choice(["red", "green", "blue"], n, p=[0.6, 0.3, 0.1])
    frame["when"] = pd.Timestamp("2020-01-01") + pd.to_timedelta(np.arange(n) * 86400 * 700 // n, unit="s")
    frame["late"] = np.where(frame["x0"] + 0.3 * frame["x1"] + rng.normal(size=n) > 0.8, "yes", "no")
    frame.loc[rng.random(n) < 0.2, "x2"] = np.nan
    return frame


def test_a_plain_table(explore):
    got = explore(make(900), "late", "binary", positive="yes", goal=0.7, time="when", split={"by": "time"})
    assert got.checks == {"QUALITY": True, "SPLIT": True}
    assert got.names["scores"]["column"].iloc[0] == "x0"
    assert "x0 tells most" in got.findings
    train, holdout = got.read("train"), got.read("holdout")
    assert train.index.name == "row" and not set(train.index) & set(holdout.index)
    assert len(train) + len(holdout) == 900 and train["when"].max() < holdout["when"].min()
    assert set(got.read("quality").columns) == {"column", "issue", "rows", "share", "detail", "severe"}


def test_nothing_of_the_holdout_is_shown(explore):
    frame = make(600)
    frame["colour"] = frame["colour"].where(frame.index < 450, "zzz-holdout-only")
    frame.loc[450:, "x3"] = 123456.0
    got = explore(frame, "late", "binary", positive="yes", time="when", split={"by": "time", "holdout": 0.25})
    assert "zzz-holdout-only" not in got.html and "123456" not in got.html and "123,456" not in got.html


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_sixty_rows_of_each_task(explore, task):
    frame = make(60)
    target = {"binary": "late", "multiclass": "colour", "regression": "x0"}[task]
    got = explore(frame, target, task, sensitive=["late"] if task != "binary" else ["colour"])
    assert got.checks["SPLIT"] is True


def test_hostile_names_and_values(explore):
    frame = make(300)
    frame.columns = [*HOSTILE[:4], HOSTILE[4], HOSTILE[5], "<b>late</b>"]
    frame[HOSTILE[6]] = np.nan
    frame["constant"] = "<img src=x onerror=alert(1)>"
    frame["infinite"] = np.where(np.arange(300) % 7 == 0, np.inf, 1.5 * np.arange(300))
    frame["text"] = [f"a long text about thing {i} <script>" * 3 for i in range(300)]
    got = explore(
        frame,
        "<b>late</b>",
        "binary",
        positive="yes",
        time=HOSTILE[5],
        group="constant",
        types={"text": "text"},
    )
    assert "<script>alert" not in got.html and "<img src=x" not in got.html and "<b>late" not in got.html
    issues = got.read("quality")
    assert {"empty", "constant"} <= set(issues["issue"]) and "infinite values" in got.html


def test_a_declared_leak_is_told_and_kept_out(explore):
    frame = make(900)
    rng = np.random.default_rng(1)
    frame["copy"] = (frame["late"] == "yes") * 5 + rng.normal(0, 0.1, 900)
    declared = explore(frame, "late", "binary", positive="yes", goal=0.7, leaks=["copy"])
    assert declared.checks["QUALITY"] is True
    assert re.search(r"copy alone would reach (1|1\.00|0\.99)\b.*kept out", declared.findings)


def test_a_strong_column_named_like_an_outcome_is_a_question(explore):
    frame = make(900)
    rng = np.random.default_rng(1)
    frame["late_fee"] = (frame["late"] == "yes") * 2.6 + rng.normal(size=900)
    frame["late_bus"] = rng.normal(size=900)
    got = explore(frame, "late", "binary", positive="yes")
    assert list(got.names["suspicious"]["column"]) == ["late_fee"] and got.checks["QUALITY"] is True


def test_a_unit_that_the_study_does_not_name_fails_the_split(explore):
    frame = make(900)
    rng = np.random.default_rng(1)
    who = np.arange(900) // 6
    frame["late"] = np.where(rng.random(150) < 0.4, "yes", "no")[who]
    frame["patient"] = rng.permutation(150)[who] + 1000
    got = explore(frame, "late", "binary", positive="yes")
    assert got.checks["SPLIT"] is False and "patient" in got.record["checks"]["SPLIT"]["evidence"]
    reason = {"patient": "a number that is drawn anew for each visit"}
    answered = explore(frame, "late", "binary", positive="yes", leaks_ok=reason)
    assert answered.checks["SPLIT"] is True
    assert "drawn anew" in answered.record["checks"]["SPLIT"]["evidence"]


def test_the_contract_and_impossible_values(explore):
    frame = make(300)
    frame["age"] = np.where(np.arange(300) < 3, -4, 40)
    frame["joined"] = pd.Timestamp("2019-05-01") + pd.to_timedelta(np.arange(300), unit="D")
    frame.loc[0, "joined"] = pd.Timestamp("1066-10-14")
    got = explore(frame, "late", "binary", contract={"columns": {"x0": {"max": 1}}})
    evidence = got.record["checks"]["QUALITY"]["evidence"]
    assert got.checks["QUALITY"] is False and "1 of 1 rule of the contract broken" in evidence
    assert "age" in evidence and "joined" in evidence


def test_a_leaking_split_fails(explore):
    frame = make(400)
    frame = pd.concat([frame, frame.head(50)], ignore_index=True)
    frame["part"] = ["train"] * 400 + ["test"] * 50
    got = explore(frame, "late", "binary", split={"by": "column", "column": "part", "values": ["test"]})
    assert got.checks["SPLIT"] is False and "50 holdout rows" in got.record["checks"]["SPLIT"]["evidence"]


def test_rows_without_target_and_groups(explore):
    frame = make(800)
    frame["who"] = np.arange(800) // 8
    frame["late"] = frame["late"].where(frame.index % 10 > 0, None)
    got = explore(frame, "late", "binary", positive="yes", group="who", split={"by": "group"})
    assert "80 rows (10\u00a0%) without a value in late are dropped" in got.html.replace(" %", "\u00a0%")
    assert "groups of who hold" in got.findings and got.checks["SPLIT"] is True


def test_noise_is_not_taken_for_signal(explore):
    rng = np.random.default_rng(5)
    frame = pd.DataFrame(rng.normal(size=(300, 60)), columns=[f"n{i}" for i in range(60)])
    frame["y"] = rng.normal(size=300)
    got = explore(frame, "y", "regression")
    assert "No column alone tells more" in got.findings or "1 of 60 columns tells more" in got.findings
    assert not len(got.names["suspicious"])


def test_a_column_that_starts_late(explore):
    frame = make(900)
    frame.loc[:300, "x3"] = np.nan
    got = explore(frame, "late", "binary", time="when", split={"by": "time"})
    assert re.search(r"x3 (starts in|is missing most often.*this starts in)", got.findings)


def test_real_tables_of_others(explore):
    from sklearn.datasets import load_breast_cancer, load_diabetes
    from statsmodels.datasets import anes96, fair

    for frame, target, task in (
        (load_breast_cancer(as_frame=True).frame, "target", "binary"),
        (load_diabetes(as_frame=True).frame, "target", "regression"),
        (fair.load_pandas().data, "affairs", "regression"),
        (anes96.load_pandas().data, "PID", "multiclass"),
    ):
        got = explore(frame, target, task)
        assert got.checks["SPLIT"] is True and not any(
            "alone nearly gives" in str(c) for c in got.record["checks"].values()
        )


def test_ten_thousand_columns(explore):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(200, 10_000)), columns=[f"w{i}" for i in range(10_000)])
    frame["y"] = np.where(frame["w17"] + rng.normal(0, 0.3, 200) > 0, "a", "b")
    begin = time.process_time()
    got = explore(frame, "y", "binary")
    assert time.process_time() - begin < 120
    assert got.names["scores"]["column"].iloc[0] == "w17" and len(got.html) < 2_000_000


def test_a_hundred_thousand_categories(explore):
    rng = np.random.default_rng(0)
    frame = make(120_000)
    frame["key"] = [f"k{i}" for i in rng.integers(0, 100_000, 120_000)]
    got = explore(frame, "late", "binary", types={"key": "category"})
    scores = got.names["scores"].set_index("column")["score"]
    assert abs(scores["key"] - 0.5) < 0.02 and len(got.html) < 2_000_000


def test_three_hundred_thousand_rows_come_through(explore):
    "Figures are aggregated, and nothing grows with the square of the rows; how fast it is, bench_foundation measures"
    rng = np.random.default_rng(0)
    frame = make(300_000)
    for i in range(16):
        frame[f"y{i}"] = rng.normal(size=300_000).round(2)
    for i in range(7):
        frame[f"c{i}"] = rng.choice([f"v{j}" for j in range(5 * i + 2)], 300_000)
    explore(make(100), "late", "binary")
    begin = time.process_time()
    got = explore(frame, "late", "binary", positive="yes", time="when", split={"by": "time"})
    assert time.process_time() - begin < 60
    assert len(got.html) < 3e6 and "300,000 rows" in got.findings


def test_a_few_common_rows_name_no_pair(explore):
    frame = make(900)
    frame["pool"] = pd.Series(np.where(frame.index % 45, None, np.where(frame.index % 90, "Ex", "Gd")))
    frame["porch"] = np.where(frame["pool"] == "Ex", 300.0, np.where(frame["pool"] == "Gd", 0.0, frame["x3"]))
    got = explore(frame, "late", "binary", positive="yes")
    named = set(got.names["pairs"]["first"]) | set(got.names["pairs"]["second"])
    assert "pool" not in named and "closest are pool" not in got.findings


@pytest.mark.parametrize(("metric", "centre"), [("mae", "median"), ("rmse", "mean")])
def test_the_baseline_is_the_one_that_is_used(explore, metric, centre):
    got = explore(make(60), "x0", "regression", metric=metric)
    asked = got.names["the_question"](got.names["spec"], got.names["metric"]).set_index("what")["answer"]
    assert asked["Baseline to beat"].startswith(f"the {centre} of the target over all rows")


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_a_column_scores_the_same_in_exploration_and_features(explore, task):
    target = {"binary": "late", "regression": "x3"}[task]
    got = explore(make(900), target, task, time="when", split={"by": "time"})
    cells = json.loads((ROOT / "notebooks/02_features.ipynb").read_text(encoding="utf-8"))["cells"]
    names: dict = {"__name__": "notebook"}
    for cell in ("".join(c["source"]) for c in cells if c["cell_type"] == "code"):
        exec(compile('study = "t"' if cell.startswith("study =") else cell, "cell", "exec"), names)
    before, after = (n["scores"].set_index("column")["score"] for n in (got.names, names))
    same = before.index.intersection(after.index)
    assert {"x0", "x1", "x2", "colour"} <= set(same)
    assert before[same].to_dict() == after[same].to_dict()


def test_rows_of_one_day_share_events(explore):
    rng = np.random.default_rng(0)
    day = np.repeat(np.arange(60), 20)
    frame = pd.DataFrame(
        {"when": pd.Timestamp("2024-01-01") + pd.to_timedelta(day, "D"), "x": rng.normal(size=1200)}
    )
    frame["wet"] = np.where(rng.normal(size=60)[day] + 0.5 * rng.normal(size=1200) > 0, "yes", "no")
    got = explore(frame, "wet", "binary", positive="yes", time="when", split={"by": "time"})
    assert "Intervals count whole days" in got.html and "independent" not in got.findings
    share = got.names["classes"].set_index("class").loc["yes"]
    alone = got.names["profile"].wilson(share["rows"], len(got.read("train")))
    assert share["high"] - share["low"] > 2 * (alone[1] - alone[0])
