"Leaks hunted in a run: features on training rows, the study's answers, the team's code, the summary"

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT, nbs

from nbs_lib.core.study import load_study
from nbs_lib.runner.reports import leaks_hunted, todos
from nbs_lib.trust.code import Finding, study_code
from nbs_lib.trust.findings import from_plain, to_plain
from nbs_lib.trust.hunted import code_answers, fails, hunted


def cells_of(name: str) -> list[str]:
    nb = json.loads((ROOT / f"notebooks/{name}.ipynb").read_text(encoding="utf-8"))
    return ["".join(c["source"]) for c in nb["cells"] if c["cell_type"] == "code"]


CELLS = {n: cells_of(n) for n in ("01_exploration", "02_features")}


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "configs").mkdir()
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "settings.ini").write_text((ROOT / "settings.ini").read_text())
    monkeypatch.setenv("NBS_ROOT", str(tmp_path))
    monkeypatch.setenv("NBS_RUN", "work")
    return tmp_path


@pytest.fixture
def both(project, monkeypatch):
    "Run exploration and features on a frame; their records and audits"

    def run(frame: pd.DataFrame, task: str = "binary", target: str = "late", **config):
        frame.to_parquet(project / "t.parquet")
        base = {"question": "What will it be?", "task": task, "data": {"path": "t.parquet"}, "target": target}
        (project / "configs/t.yaml").write_text(yaml.safe_dump(base | config))
        monkeypatch.setattr("nbs_lib.core.record.display", lambda x, **more: None)
        for cells in CELLS.values():
            names: dict = {"__name__": "notebook"}
            for cell in cells:
                exec(compile('study = "t"' if cell.startswith("study =") else cell, "cell", "exec"), names)
        return Ran(project)

    return run


class Ran:
    "What the two stages left behind"

    def __init__(self, root: Path):
        found = {s: root / f"data/{f}/t/work/{s}.json" for s, f in
                 (("exploration", "processed"), ("features", "features"))}  # fmt: skip
        self.records = {s: json.loads(p.read_text(encoding="utf-8")) for s, p in found.items()}
        self.checks = {k: c for r in self.records.values() for k, c in r["checks"].items()}
        read = lambda r, n: from_plain(json.loads((root / r["artifacts"][n]["path"]).read_text()))
        self.audits = [read(self.records["exploration"], "leaks_rows"), read(self.records["features"], "leaks_features")]  # fmt: skip
        self.todos = " ".join(t["text"] for r in self.records.values() for t in r["todos"])


def table(n: int = 900) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({f"x{i}": rng.normal(size=n) for i in range(4)})
    frame["when"] = pd.Timestamp("2020-01-01") + pd.to_timedelta(np.arange(n) * 86400, unit="s")
    frame["late"] = np.where(frame["x0"] + 0.3 * frame["x1"] + rng.normal(size=n) > 0.8, "yes", "no")
    return frame


BY_TIME = {"positive": "yes", "time": "when", "split": {"by": "time"}}


def test_a_clean_table_passes(both):
    got = both(table(), **BY_TIME)
    assert got.checks["SPLIT"]["passed"] and got.checks["FEATURES"]["passed"]
    assert not any(a.alarms for a in got.audits) and got.todos == ""
    assert "Looked for a column that alone nearly gives the target" in got.checks["FEATURES"]["evidence"]


def test_a_column_that_gives_the_target_fails_the_features(both):
    frame = table()
    frame["copy"] = (frame["late"] == "yes") * 5 + np.random.default_rng(1).normal(0, 0.1, 900)
    got = both(frame, **BY_TIME)
    assert got.checks["FEATURES"]["passed"] is False
    assert "copy alone nearly gives the target" in got.checks["FEATURES"]["evidence"]
    assert "leaks_ok: {copy: the reason}" in got.todos and got.checks["SPLIT"]["passed"]
    fine = both(frame, **BY_TIME, leaks_ok={"copy": "measured at the gate, an hour before"})
    assert fine.checks["FEATURES"]["passed"] is True
    assert "an hour before" in fine.checks["FEATURES"]["evidence"]


def test_filled_in_afterwards_is_found_by_its_gaps(both):
    frame = table()
    frame["filled"] = np.where(frame["late"] == "yes", np.random.default_rng(1).normal(size=900), np.nan)
    frame["closed_at"] = frame["when"] + pd.Timedelta("3D")
    got = both(frame, **BY_TIME)
    said = {(f.code, f.columns[0], f.severity) for a in got.audits for f in a.findings}
    assert ("LATE-DATE", "closed_at", "note") in said
    assert any(code == "GAP-TELLS" and c.startswith("filled") for code, c, _ in said)
    assert got.checks["FEATURES"]["passed"] is False


def write_notebook(path: Path, *cells: str) -> None:
    made = [{"cell_type": "code", "metadata": {}, "source": c, "outputs": [], "execution_count": None} for c in cells]  # fmt: skip
    path.write_text(json.dumps({"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))


LEAKY = """import pandas as pd
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
df = pd.read_csv("x.csv")
X = StandardScaler().fit_transform(df.drop(columns="late"))
X_train, X_test, y_train, y_test = train_test_split(X, df["late"])
"""
ANSWERS = {c: {"passed": True, "evidence": "Fine.", "stage": s} for c, s in (("SPLIT", "exploration"), ("FEATURES", "features"))}  # fmt: skip


def study_in(project: Path):
    base = {"question": "What will it be?", "task": "binary", "data": {"path": "x.csv"}, "target": "late"}
    (project / "configs/t.yaml").write_text(yaml.safe_dump(base))
    return load_study("t")


def test_code_about_the_study_fails_the_check_and_other_code_is_shown(project):
    study = study_in(project)
    assert study_code(study).findings == []
    write_notebook(project / "notebooks/idea.ipynb", LEAKY)
    code = study_code(study)
    assert [f.kind for f in code.errors] == ["fit-before-split"]
    assert code_answers(ANSWERS, code, "t")["FEATURES"]["passed"] is True
    said = hunted([], code, "t")
    assert {k["kind"]: k["outcome"] for k in said["kinds"]}["L1.2"] == "suspicion" and not said["bad"]
    write_notebook(project / "notebooks/idea.ipynb", 'study = "t"', LEAKY)
    code = study_code(study)
    answer = code_answers(ANSWERS, code, "t")["FEATURES"]
    assert answer["passed"] is False and "idea.ipynb, cell 2, line 5" in answer["evidence"]
    said = hunted([], code, "t")
    assert said["bad"] and todos({"leaks": said})[0]["href"] == "#leaks"
    assert leaks_hunted({"leaks": said})["kinds"][1]["bad"]
    write_notebook(project / "notebooks/idea.ipynb", 'study = "t"', LEAKY.replace('"late"))', '"late"))  # nbs: ignore fit-before-split a sketch', 1))  # fmt: skip
    assert study_code(study).errors == []


def test_a_changed_module_is_read_again(project):
    study = study_in(project)
    (project / "helper.py").write_text("x = 1\n")
    assert study_code(study).findings == []
    (project / "helper.py").write_text(LEAKY)
    assert [f.file for f in study_code(study).errors] == ["helper.py"]


def test_nothing_is_said_of_nothing():
    assert leaks_hunted({}) is None
    kinds = [{"kind": "L2", "title": "<b>", "outcome": "leak", "numbers": "<script>", "not_looked_at": ""}]
    found = leaks_hunted({"leaks": {"sentence": "", "bad": True, "kinds": kinds, "notes": []}})
    assert found["kinds"][0]["bad"]


def test_a_finding_that_fails_another_check_is_no_remark(project):
    code = study_code(study_in(project))
    code.findings.append(
        Finding("idea.py", 0, 3, "holdout-read", "error", "pd.read_parquet(held)", "the holdout is read.")
    )
    answers = code_answers(ANSWERS, code, "t")
    assert not answers["SPLIT"]["passed"] and answers["FEATURES"]["passed"]
    assert answers["FEATURES"]["evidence"].endswith("none that fails this check.")


def test_a_study_is_named_by_code_and_not_by_the_notebooks_format(project):
    write_notebook(project / "notebooks/idea.ipynb", LEAKY)
    assert not fails(study_code(study_in(project)).errors[0], "source")


def test_an_audit_survives_json():
    from nbs_lib.trust.findings import Finding, Look, sort_out

    audit = sort_out([Finding("GIVES-TARGET", "leak", ("a",), "1", "2", "s", "t"), Look("COPIES", 1, "x")])
    assert from_plain(json.loads(json.dumps(to_plain(audit)))) == audit


def test_the_command_hunts_in_a_studys_data(project):
    frame = table(600).assign(copy=lambda f: (f["late"] == "yes") * 5 + f["x3"] / 10)
    frame.to_csv(project / "x.csv", index=False)
    study_in(project)
    done = nbs(project, "audit", "--data", "t")
    assert done.returncode == 1 and "GIVES-TARGET: copy" in done.stdout
    assert "not looked at: groups on both sides" in done.stdout
    told = nbs(project, "audit", "--data", "t", "--json")
    assert from_plain(json.loads(told.stdout)).leaks[0].columns == ("copy",)
    both = nbs(project, "audit", "x.ipynb", "--data", "t")
    assert both.returncode == 2 and "goes alone" in both.stderr + both.stdout
