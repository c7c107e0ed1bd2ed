"A run from raw table to version, and what may go wrong on the way."

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import papermill
import pytest
from conftest import BIN, ROOT, environment, make_project, nbs, processes_in

STAGES = ["01_exploration", "02_features", "03_modeling", "04_evaluation"]


def numbers(record: dict) -> dict:
    "The numbers of a stage's record, without those that measure time"
    kept = {k: v for k, v in record["metrics"].items() if not re.search("second|latency|_ms|model_memory", k)}
    return {k: {n: x for n, x in v.items() if n != "seconds"} for k, v in kept.items()}


def manifest(root: Path, study: str = "wine", version: str = "v001") -> dict:
    return json.loads((root / "reports" / study / version / "manifest.json").read_text())


def test_a_version_holds_what_it_should_and_nothing_else(wine):
    folder = wine / "reports/wine/v001"
    own = {"checklist.html", "model_card.html", "model_card.md"}
    expected = (
        own
        | {"index.html", "manifest.json", "manifest.sha256", "data"}
        | {f"{s}.{e}" for s in STAGES for e in ("ipynb", "html")}
    )
    assert {p.name for p in folder.iterdir()} == expected
    files = [p for p in folder.rglob("*") if p.is_file()]
    assert all(p.stat().st_mode & 0o222 == 0 for p in files), "versions are read-only"
    assert {p.relative_to(folder).parts[0] for p in files if p.suffix == ".csv"} == {"data"}
    assert (wine / "reports/index.html").exists()
    assert not list((wine / "reports/wine").glob(".v*"))


def test_the_manifest_tells_where_the_numbers_came_from(wine):
    m = manifest(wine)
    assert m["version"] == "v001" and m["study"] == "wine" and m["seed"] == 0
    assert m["config"]["target"] == "cultivar" and len(m["config_fingerprint"]) == 64
    assert re.fullmatch(r"[0-9a-f]{64}", m["data"]["fingerprint"]) and m["data"]["rows"] == 178
    assert m["packages"]["pandas"] == pd.__version__
    assert {"commit", "dirty", "timings", "parameters"} <= set(m)
    head = m["headline"]
    assert head["low"] <= head["value"] <= head["high"] and head["baseline"] is not None
    assert m["holdout"]["openings"] == 1 and len(m["checks"]) == 20
    for name, sha in m["files"].items():
        assert hashlib.sha256((wine / "reports/wine/v001" / name).read_bytes()).hexdigest() == sha
    for stage in m["stages"].values():
        for entry in stage["artifacts"].values():
            assert hashlib.sha256((wine / entry["path"]).read_bytes()).hexdigest() == entry["sha256"]


def test_the_terminal_says_what_was_found(wine):
    out = (wine / "output.txt").read_text()
    for word in ("exploration", "evaluation", "baseline", "checks pass", "reports/wine/v001/index.html"):
        assert word in out


def test_pages_work_without_network_and_stay_small(wine):
    for page in (wine / "reports/wine/v001").glob("*.html"):
        text = page.read_text()
        assert len(text) < 3_000_000, page.name
        assert not re.search(r"""<(script|link|img|iframe)[^>]+(src|href)=["']?(https?:)?//""", text), (
            page.name
        )
        assert "Content-Security-Policy" in text
        assert "#| export" not in text and "Traceback" not in text


def test_the_run_is_tracked_offline(wine):
    runs = list((wine / ".nbs/wandb").rglob("run-*.wandb"))
    assert runs, "no offline run was written"
    check = {c["code"]: c for c in manifest(wine)["checks"]}["TRACKED"]
    assert check["verdict"] == "pass" and "offline" in check["evidence"]


def test_raw_data_is_left_alone(wine):
    listed = subprocess.run(
        ["git", "status", "--porcelain", "data/raw"], cwd=ROOT, capture_output=True, text=True
    ).stdout
    assert listed == ""


@pytest.fixture(scope="module")
def by_papermill(tmp_path_factory: pytest.TempPathFactory) -> Path:
    "The wine study run stage by stage with plain papermill"
    root = make_project(tmp_path_factory.mktemp("plain") / "project")
    for stage in STAGES:
        command = [
            BIN / "papermill",
            ROOT / f"notebooks/{stage}.ipynb",
            root / "out.ipynb",
            "-p",
            "study",
            "wine",
            "-k",
            "python3",  # an ordinary kernel; `nbs run` takes warm ones
            "--no-progress-bar",
        ]
        done = subprocess.run(
            [str(c) for c in command], cwd=root, env=environment(root), capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-2000:]
    return root


def test_plain_papermill_gives_the_same_numbers_bit_for_bit(wine, by_papermill):
    kinds = dict(
        exploration="data/processed", features="data/features", modeling="models", evaluation="models"
    )
    for stage, kind in kinds.items():
        ours = json.loads((wine / kind / "wine/v001" / f"{stage}.json").read_text())
        plain = json.loads((by_papermill / kind / "wine/work" / f"{stage}.json").read_text())
        assert numbers(ours) == numbers(plain), stage
    assert ours["headline"] == plain["headline"]


def test_a_second_run_gives_the_same_numbers_and_says_what_changed(wine, tmp_path):
    wine = Path(shutil.copytree(wine, tmp_path / "project", symlinks=True))  # others count on its one version
    done = nbs(wine, "run", "wine", "--quiet", "--set", "goal=0.5")
    assert done.returncode == 0, done.stderr
    first, second = manifest(wine), manifest(wine, version="v002")
    for stage in first["stages"]:
        assert numbers(first["stages"][stage]) == numbers(second["stages"][stage]), stage
    assert second["changes"]["config"] == [{"key": "goal", "old": 0.9, "new": 0.5}]
    assert second["changes"]["data"] == "same" and second["changes"]["code"] == []
    assert second["changes"]["metric_delta"] == {"value": 0, "low": 0, "high": 0}
    assert second["holdout"]["openings"] == 2
    ledger = [json.loads(line) for line in (wine / "reports/wine/holdout.jsonl").read_text().splitlines()]
    assert [e["run"] for e in ledger if "said" not in e] == ["v001", "v002"]
    assert len([e for e in ledger if "said" in e]) == 2, "and which model was judged"


def test_the_saved_model_takes_raw_rows_in_a_fresh_process(wine):
    code = """
import pandas as pd, sys
from nbs_lib.models.bundle import load_model
frame = pd.read_csv("data/raw/wine.csv").drop(columns="cultivar").head(5)
print(load_model("models/wine/v001/model.skops").predict(frame)["prediction"].tolist())
print([m for m in ("shap", "matplotlib", "IPython") if m in sys.modules])
"""
    done = subprocess.run(
        [BIN / "python", "-c", code], cwd=wine, env=environment(wine), capture_output=True, text=True
    )
    assert done.stdout.splitlines() == ["['first', 'first', 'first', 'first', 'first']", "[]"], done.stderr


def own_notebooks(project: Path) -> Path:
    "Give the project a copy of the notebooks that may be damaged"
    (project / "notebooks").unlink()
    shutil.copytree(ROOT / "notebooks", project / "notebooks")
    return project / "notebooks"


def break_stage(project: Path, line: str) -> None:
    "Put a cell into the features stage"
    path = own_notebooks(project) / "02_features.ipynb"
    nb = json.loads(path.read_text())
    at = next(
        i
        for i, c in enumerate(nb["cells"])
        if "open_stage(" in "".join(c["source"]) and c["cell_type"] == "code"
    )
    nb["cells"].insert(
        at + 1,
        {
            "cell_type": "code",
            "id": "broken",
            "metadata": {},
            "source": line,
            "outputs": [],
            "execution_count": None,
        },
    )
    path.write_text(json.dumps(nb))


def left_behind(project: Path) -> list[str]:
    "Versions and artifacts, finished or not"
    found = [
        *project.glob("reports/wine/*v0*"),
        *project.glob("data/*/wine/*"),
        *project.glob("models/wine/*"),
    ]
    return [p.relative_to(project).as_posix() for p in found]


def test_a_failing_cell_is_named_and_leaves_no_version(project):
    break_stage(project, "print('so far so good')\n1 / 0")
    done = nbs(project, "run", "wine")
    assert done.returncode == 1
    assert (
        "stage features" in done.stderr
        and "ZeroDivisionError" in done.stderr
        and "Traceback" not in done.stderr
    )
    assert left_behind(project) == []
    kept = next((project / ".nbs/failed").rglob("02_features.ipynb"))
    assert "so far so good" in kept.read_text()


def test_a_killed_kernel_is_told_and_leaves_no_version(project):
    break_stage(project, "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    done = nbs(project, "run", "wine")
    assert done.returncode == 4 and "stage features" in done.stderr and "Traceback" not in done.stderr
    assert left_behind(project) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing_and_no_process(number, project):
    break_stage(project, "import time\ntime.sleep(300)")
    process = subprocess.Popen(
        [BIN / "nbs", "run", "wine"],
        cwd=project,
        env=environment(project),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.time() + 120
    while not list(project.glob("data/features/wine/v001")) and time.time() < deadline:
        time.sleep(0.2)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, err
    assert "Traceback" not in err
    assert left_behind(project) == []
    assert processes_in(project) == []


def test_two_runs_at_once_get_two_versions(project):
    processes = [
        subprocess.Popen([BIN / "nbs", "run", "wine", "-q"], cwd=project, env=environment(project))
        for _ in range(2)
    ]
    assert [p.wait(600) for p in processes] == [0, 0]
    a, b = manifest(project, version="v001"), manifest(project, version="v002")
    openings = [m["headline"].pop("openings") for m in (a, b)]
    assert sorted(openings) == [1, 2], "each opening of the holdout is counted"
    assert a["headline"] == b["headline"]


def test_a_reports_folder_that_cannot_be_written_is_one_message(project):
    (project / "reports").write_text("a file where the folder should be")
    done = nbs(project, "run", "wine")
    assert done.returncode == 2 and "reports" in done.stderr and "Traceback" not in done.stderr


def test_the_engine_is_registered_with_papermill():
    from papermill.engines import papermill_engines

    assert papermill_engines.get_engine("nbs").__name__ == "NbsEngine"
    assert papermill.__version__
    assert os.environ.get("NBS_RUN") is None
