"Each bad input: one clear message, exit code 2, no traceback, nothing half-written."

import gzip
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

GOOD = pd.DataFrame(
    {
        "day": pd.date_range("2024-01-01", periods=120).astype(str),
        "shop": np.arange(120) % 6,
        "wind": np.arange(120) * 7 % 13,
        "temp": np.arange(120) * 5 % 17 + 0.5,
        "rain": np.where(np.arange(120) % 3 == 0, "yes", "no"),
    }
)
STUDY = """\
question: Will it rain tomorrow?
task: {task}
data: {{path: {path}}}
target: "{target}"
"""


def snapshot(root: Path) -> set[str]:
    "Everything that a run could have left behind"
    return {
        p.relative_to(root).as_posix()
        for p in root.rglob("*")
        if "notebooks" not in p.parts and "raw" not in p.parts
    }


def csv(**columns: object) -> str:
    return GOOD.assign(**columns).to_csv(index=False)


def binary(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(5000))


def truncated_parquet(path: Path) -> None:
    GOOD.to_parquet(path)
    path.write_bytes(path.read_bytes()[:-200])


def truncated_gzip(path: Path) -> None:
    whole = gzip.compress(csv().encode())
    path.write_bytes(whole[: len(whole) // 2])


FILES: dict[str, tuple[str, Callable[[Path], object] | None, str]] = {
    "missing file": ("none.csv", None, "none.csv"),
    "empty file": ("t.csv", lambda p: p.write_text(""), "empty"),
    "header only": ("t.csv", lambda p: p.write_text("a,b,rain\n"), "row"),
    "binary garbage": ("t.csv", binary, "t.csv"),
    "broken encoding": (
        "t.csv",
        lambda p: p.write_bytes(
            csv().encode() + b"2024-05-01,1,2,3,\xff\xfe\xfa\x80\n" * 3 + b"\x81\x00\x8d"
        ),
        "t.csv",
    ),
    "truncated Parquet": ("t.parquet", truncated_parquet, "t.parquet"),
    "truncated gzip": ("t.csv.gz", truncated_gzip, "t.csv.gz"),
    "duplicate column names": (
        "t.csv",
        lambda p: p.write_text("a,a,rain\n" + "1,2,yes\n3,4,no\n" * 40),
        "'a'",
    ),
    "one row": ("t.csv", lambda p: p.write_text("a,rain\n1,yes\n"), "row"),
    "not a table": ("t.docx", lambda p: p.write_text("hello"), "t.docx"),
}


@pytest.mark.parametrize("case", FILES)
def test_bad_file(case, project, cli):
    name, write, message = FILES[case]
    if write:
        write(project / name)
    (project / "configs/rain.yaml").write_text(STUDY.format(task="binary", path=name, target="rain"))
    before = snapshot(project)
    for command in (["new", "other", "--data", name], ["check", "rain"], ["run", "rain"]):
        code, out, err = cli(*command)
        assert code == 2, (command, out, err)
        assert err.startswith("error: ") and message in err and "Traceback" not in err, (command, err)
    assert snapshot(project) == before


def test_wrong_delimiter(project, cli):
    (project / "t.csv").write_text(csv())
    text = STUDY.format(task="binary", path="t.csv", target="rain").replace(
        "t.csv}", 't.csv, delimiter: ";"}'
    )
    (project / "configs/rain.yaml").write_text(text)
    code, _, err = cli("check", "rain")
    assert code == 2 and "delimiter" in err


TARGETS: dict[str, tuple[str, str, str, str]] = {
    "absent": (csv(), "binary", "rian", "nearest: 'rain'"),
    "constant": (csv(rain="yes"), "binary", "rain", "'rain'"),
    "all missing": (csv(rain=""), "binary", "rain", "'rain'"),
    "one row of a class": (csv(rain=["yes"] + ["no"] * 119), "binary", "rain", "yes"),
    "text in regression": (csv(), "regression", "rain", "regression needs numbers"),
    "infinite in regression": (
        csv(temp=[np.inf] + [1.5, 2.5, 3.5] * 39 + [1.0, 2.0]),
        "regression",
        "temp",
        "nfinit",
    ),
    "three classes in binary": (csv(rain=["a", "b", "c"] * 40), "binary", "rain", "binary"),
}


@pytest.mark.parametrize("case", TARGETS)
def test_bad_target(case, project, cli):
    text, task, target, message = TARGETS[case]
    (project / "t.csv").write_text(text)
    (project / "configs/rain.yaml").write_text(STUDY.format(task=task, path="t.csv", target=target))
    before = snapshot(project)
    for command in ("check", "run"):
        code, _, err = cli(command, "rain")
        assert code == 2 and message in err and err.startswith("error: configs/rain.yaml"), err
    assert snapshot(project) == before


CONFIGS: dict[str, tuple[str, str]] = {
    "unknown key": ("targett: x", "nearest: 'target'"),
    "unknown nested key": ("modeling: {bugdet: 3}", "nearest: 'budget'"),
    "wrong type": ("modeling: {budget: much}", "modeling.budget"),
    "unknown column in leaks": ("leaks: [winnd]", "nearest: 'wind'"),
    "unknown column in a history": (
        "time: day\nfeatures: {history: [{name: h, by: [shopp], value: wind}]}",
        "nearest: 'shop'",
    ),
    "time does not parse": ("time: rain2", "rain2"),
    "time that is no time": ("time: words", "words"),
    "group that spans everything": ("group: same", "same"),
    "a split outside the data": ("time: day\nsplit: {by: time, from: 2031-01-01}", "split"),
    "a value that is no holdout": ("split: {by: column, column: shop, values: [99]}", "99"),
    "a positive class that is none": ("positive: maybe", "maybe"),
    "contradictory roles": ("time: day\nleaks: [day]", "day"),
    "a metric of another task": ("metric: rmse", "'rmse' goes with task: regression"),
    "a scorer of another task": ("metric: max_error", "'max_error' goes with task: regression"),
    "a scorer misspelt": ("metric: jacard", "nearest: 'jaccard'"),
    "a metric that cannot be imported": ("metric: no_such_module.profit", "cannot be imported"),
    "a metric that is no function": ("metric: math.pi", "is no function"),
    "a metric that raises": ("metric: math.sqrt", "failed"),
    "a negative cost": ("cost: {false_negative: -1}", "cost.false_negative"),
    "a cost of no column": ("cost: {false_negative: wnd}", "nearest: 'wind'"),
    "a cost of words": ("cost: {false_negative: words}", "has to hold numbers"),
    "a cost known too late": ("leaks: [wind]\ncost: {false_negative: wind}", "not known when"),
    "a matrix for two classes": ("cost: {matrix: {yes: {no: 3}}}", "matrix goes with task: multiclass"),
    "YAML that executes": ("notes: !!python/object/apply:os.system ['touch /tmp/owned']", "not valid YAML"),
    "a key that stands twice": ("target: rain", "stands twice"),
    "not YAML at all": ("{]", "not valid YAML"),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_bad_config(case, project, cli):
    extra, message = CONFIGS[case]
    (project / "t.csv").write_text(csv(same="x", words=["abc", "xyz"] * 60))
    (project / "configs/rain.yaml").write_text(
        STUDY.format(task="binary", path="t.csv", target="rain") + extra + "\n"
    )
    before = snapshot(project)
    code, _, err = cli("run", "rain")
    assert code == 2 and message in err and "Traceback" not in err, err
    assert err.startswith("error: configs/rain.yaml"), err
    assert snapshot(project) == before


@pytest.mark.parametrize("name", ["../evil", "a/b", ".hidden", "", "x" * 100, "a b", "é"])
def test_bad_study_name(name, project, cli):
    (project / "t.csv").write_text(csv())
    before = snapshot(project)
    for command in (["new", name, "--data", "t.csv"], ["run", name], ["show", name], ["open", name]):
        code, _, err = cli(*command)
        assert code == 2 and "Traceback" not in err, err
    assert snapshot(project) == before


WRITES = [
    "DROP TABLE t",
    "SELECT 1; DELETE FROM t",
    "INSERT INTO t SELECT * FROM t",
    "COPY (SELECT 1) TO 'x.csv'",
    "UPDATE t SET wind = 0",
]


@pytest.mark.parametrize("sql", WRITES)
def test_sql_that_writes(sql, project, cli):
    with sqlite3.connect(project / "db.sqlite") as db:
        GOOD.to_sql("t", db, index=False)
    GOOD.to_parquet(project / "t.parquet")
    head = "question: Will it rain tomorrow?\ntask: binary\ntarget: rain\n"
    (project / "configs/files.yaml").write_text(head + f"data:\n  sql: >\n    {sql}\n")
    (project / "configs/base.yaml").write_text(
        head + f"data:\n  url: sqlite:///db.sqlite\n  query: >\n    {sql}\n"
    )
    before = snapshot(project)
    for study in ("files", "base"):
        code, _, err = cli("check", study)
        assert code == 2 and "SELECT" in err, err
    assert snapshot(project) == before
    with sqlite3.connect(project / "db.sqlite") as db:
        assert len(pd.read_sql("SELECT * FROM t WHERE wind > 0", db)) == (GOOD["wind"] > 0).sum()


def test_what_can_be_worked_with_works(project, cli):
    "More columns than rows, 10,000 columns and 100,000 categories are remarked on, not refused"
    wide = pd.DataFrame(
        np.random.default_rng(0).normal(size=(80, 10_000)), columns=[f"c{i}" for i in range(10_000)]
    )
    wide.assign(rain=["yes", "no"] * 40).to_parquet(project / "wide.parquet")
    many = pd.DataFrame({"who": [f"name {i}" for i in range(100_000)], "wind": np.arange(100_000) % 7})
    many.assign(rain=np.where(np.arange(100_000) % 3 == 0, "yes", "no")).to_parquet(project / "many.parquet")
    for name in ("wide", "many"):
        (project / f"configs/{name}.yaml").write_text(
            STUDY.format(task="binary", path=f"{name}.parquet", target="rain")
        )
        code, out, err = cli("check", name)
        assert code == 0 and "can be run" in out, err
    assert "columns" in cli("check", "wide")[1]


def test_hostile_names_are_drafted_and_checked(project, cli):
    hostile = {
        "a b": 1,
        "😀": 2,
        "<script>alert(1)</script>": 3,
        'say "hi"': 4,
        "it's": 5,
        "a/b\\c": 6,
        "x: y": 7,
        "#h": 8,
    }
    frame = GOOD[["rain"]].assign(**{k: np.arange(120) * (v + 2) % 11 for k, v in hostile.items()})
    frame.to_csv(project / "t.csv", index=False)
    code, _, err = cli("new", "hostile", "--data", "t.csv", "--target", "rain")
    assert code == 0, err
    code, out, err = cli("check", "hostile")
    assert code == 0 and "can be run" in out, err
