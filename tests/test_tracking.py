"Trackers that hang, crash, end or are missing neither break nor delay a run, and nothing that they missed is lost"

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from conftest import BIN, environment, nbs
from small import make_small


def needs(package: str) -> pytest.MarkDecorator:
    "A test that is skipped where an extra is not installed"
    reason = f"{package} is not installed here; .venv/bin/pip install -e '.[{package}]' brings it"
    return pytest.mark.skipif(not importlib.util.find_spec(package), reason=reason)


TRACKERS = """
import os, signal, time
from pathlib import Path

class Good:
    label = "Good"
    def ready(self):
        return "in told.txt"
    def send(self, result):
        with open("told.txt", "a") as f:
            f.write(f"{result.study} {result.version} {len(result.parts)}\\n")
        return "told.txt"

class Hangs(Good):
    label = "Hangs"
    def send(self, result):
        Path(f"hanging-{os.getpid()}").touch()
        time.sleep(3600)

class Stuck(Good):
    label = "Stuck"
    def ready(self):
        time.sleep(3600)

class Crashes(Good):
    label = "Crashes"
    def send(self, result):
        print("noise on standard output")
        os.kill(os.getpid(), signal.SIGSEGV)

class Ends(Good):
    label = "Ends"
    def send(self, result):
        raise SystemExit("it had enough")
"""
BAD = {
    "Hangs": "ended with 1",
    "Stuck": "ended with 1",
    "Crashes": "ended with -11",
    "Ends": "SystemExit: it had enough",
}
ALL = "my_trackers.Good, " + ", ".join(f"my_trackers.{name}" for name in BAD) + ", my_trackers.Gone"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    "A small study that has been run once while five trackers failed in as many ways"
    root = make_small(tmp_path_factory.mktemp("tracked") / "project")
    (root / "my_trackers.py").write_text(TRACKERS)
    done = nbs(root, "run", "a", NBS_TRACKING_TRACKERS=ALL, NBS_TRACKING_LIMIT="3")
    assert done.returncode == 0, done.stdout + done.stderr
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    "A copy of that project, without what was kept"
    shutil.copytree(
        made, tmp_path / "project", symlinks=True, ignore=shutil.ignore_patterns("tracking", "hanging-*")
    )
    (tmp_path / "project" / "told.txt").unlink(missing_ok=True)
    return tmp_path / "project"


def kept(root: Path) -> dict[str, list[str]]:
    "What is kept, by tracker"
    found: dict[str, list[str]] = {}
    for file in sorted((root / ".nbs/tracking").glob("*/*/*.json")):
        found.setdefault(file.parts[-3].removeprefix("my_trackers."), []).append(file.stem)
    return found


def python(root: Path, code: str, **more: str) -> subprocess.CompletedProcess:
    "Run some code in the project"
    env = environment(root, **more)
    return subprocess.run(
        [sys.executable, "-c", code], cwd=root, env=env, capture_output=True, text=True, timeout=60
    )


def test_a_run_goes_on_whatever_its_trackers_do(made):
    (check,) = [
        c
        for c in json.loads((made / "reports/a/v001/manifest.json").read_text())["checks"]
        if c["code"] == "TRACKED"
    ]
    assert (
        check["verdict"] == "fail"
        and "my_trackers.Gone" in check["evidence"]
        and "Good (in told.txt)" in check["evidence"]
    )
    assert kept(made) == {name: ["v001"] for name in (*BAD, "Gone")}
    assert (made / "told.txt").read_text() == "a v001 5\n"


def test_sync_sends_what_was_missed_once_the_trackers_work(made):
    done = nbs(made, "sync", NBS_TRACKING_TRACKERS=ALL, NBS_TRACKING_LIMIT="2")
    assert done.returncode == 1 and "5 things left" in done.stdout, done.stdout + done.stderr
    for name, problem in BAD.items():
        assert any(
            name in line and "kept" in line and problem in line for line in done.stdout.splitlines()
        ), done.stdout
    log = (made / ".nbs/tracking/my_trackers.Hangs.log").read_text()
    assert "in send" in log, "the log says where it hung"
    good = TRACKERS[: TRACKERS.index("class Hangs")]
    (made / "my_trackers.py").write_text(
        good + "".join(f"class {name}(Good):\n    label = '{name}'\n" for name in (*BAD, "Gone"))
    )
    done = nbs(made, "sync", NBS_TRACKING_TRACKERS=ALL)
    assert done.returncode == 0 and done.stdout.endswith("nothing is left to send\n"), (
        done.stdout + done.stderr
    )
    assert kept(made) == {} and (made / "told.txt").read_text() == "a v001 5\n" * 6
    assert nbs(made, "sync", NBS_TRACKING_TRACKERS=ALL).stdout == "nothing is left to send\n"


FINISH = """
import time
from nbs_lib.integrations.tracking import Trackers
began = time.perf_counter()
trackers = Trackers("a", "v001")
trackers.answer()
waited = {wait}
time.sleep(waited)
trackers.keep()
trackers.send()
trackers.finish()
trackers.close()
print(time.perf_counter() - began - waited)
"""


@pytest.mark.parametrize("wait", [0, 3], ids=["early", "ready"])
def test_hanging_trackers_delay_a_run_by_less_than_a_second(root, wait):
    names = "my_trackers.Hangs, my_trackers.Stuck, my_trackers.Ends"
    (root / "my_trackers.py").write_text(TRACKERS)
    done = python(root, FINISH.format(wait=wait), NBS_TRACKING_TRACKERS=names, NBS_TRACKING_LIMIT="6")
    assert float(done.stdout) < 1, done.stderr
    assert {"Hangs", "Stuck"} <= set(kept(root))


def test_a_killed_tracker_and_a_killed_run_lose_nothing(root):
    (root / "my_trackers.py").write_text(TRACKERS)
    code = FINISH.format(wait=1)
    python(root, code, NBS_TRACKING_TRACKERS="my_trackers.Hangs")
    until = time.monotonic() + 30
    while not (marks := list(root.glob("hanging-*"))) and time.monotonic() < until:
        time.sleep(0.05)
    os.kill(int(marks[0].name.split("-")[1]), signal.SIGKILL)
    run = "import os; from nbs_lib.integrations.tracking import Trackers; t = Trackers('a', 'v001'); t.keep(); os.kill(os.getpid(), 9)"
    assert python(root, run, NBS_TRACKING_TRACKERS="my_trackers.Good").returncode == -9
    assert kept(root) == {"Hangs": ["v001"], "Good": ["v001"]}
    (root / "my_trackers.py").write_text(
        TRACKERS.replace("time.sleep(3600)", "return Good.send(self, result)")
    )
    names = "my_trackers.Hangs, my_trackers.Good"
    assert nbs(root, "sync", NBS_TRACKING_TRACKERS=names).returncode == 0
    assert kept(root) == {} and (root / "told.txt").read_text() == "a v001 5\n" * 2


def test_what_never_appeared_is_dropped_and_what_is_being_built_is_kept(root):
    for version in ("v001", "v007", "v008"):
        file = root / f".nbs/tracking/my_trackers.Good/a/{version}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{}")
    (root / "reports/a/.v008").mkdir()
    done = nbs(root, "sync", NBS_TRACKING_TRACKERS="my_trackers.Good")
    assert (
        "v007: dropped: there is no such version" in done.stdout
        and "v008: kept: it is not published" in done.stdout
    )
    assert done.returncode == 1 and kept(root) == {"Good": ["v008"]}
    left = nbs(root, "sync", NBS_TRACKING_TRACKERS="")
    assert left.returncode == 0 and "my_trackers.Good: 1 thing kept" in left.stdout


def test_a_failed_run_leaves_nothing_to_send(root):
    (root / "helpers.py").write_text("def centre(values):\n    raise ValueError('dry')\n")
    done = nbs(root, "run", "a", NBS_TRACKING_TRACKERS="my_trackers.Good")
    assert done.returncode == 1 and kept(root) == {} and not (root / "told.txt").exists()


def test_a_mistake_in_the_settings_stops_a_run_before_it_begins(root):
    done = nbs(root, "run", "a", "--force", NBS_TRACKING_TRACKERS="mlfow")
    assert done.returncode == 2 and "nearest: 'mlflow'" in done.stderr
    assert not (root / "reports/a/v002").exists() and not (root / "reports/a/.v002").exists()
    assert nbs(root, "sync", "b").returncode == 2


def test_weights_and_biases_has_one_set_of_runs_however_often_it_is_told(root):
    done = nbs(root, "sync", "a", NBS_TRACKING_WANDB="offline")
    assert done.returncode == 0 and "a v001: sent" in done.stdout, done.stdout + done.stderr
    keep = "from nbs_lib.integrations.tracking import keep; keep('wandb', 'a', 'v001')"
    assert python(root, keep).returncode == 0 and kept(root) == {"wandb": ["v001"]}
    assert nbs(root, "sync", NBS_TRACKING_WANDB="offline").returncode == 0 and kept(root) == {}
    runs = sorted((root / ".nbs/wandb/wandb").glob("offline-run-*"))
    assert len(runs) == 5, "the version and its four stages"
    whole = min(runs, key=lambda p: len(p.name))
    logged = next(whole.glob("*.wandb")).read_bytes()
    for word in (b"evaluation/mae", b"mae/low", b"check/SPLIT", b"nbs.manifest", b"a-report", b"a-v001"):
        assert word in logged, word


@pytest.mark.skipif(bool(importlib.util.find_spec("mlflow")), reason="MLflow is installed here")
def test_names_wait_for_a_registry_that_is_not_there(root):
    done = nbs(root, "promote", "a", "--force", "--reason", "a trial of it", NBS_TRACKING_TRACKERS="mlflow")
    assert done.returncode == 0, done.stderr
    assert len(kept(root)["mlflow"]) == 1 and json.loads((root / "reports/a/aliases.json").read_text()) == {
        "champion": "v001"
    }
    done = nbs(root, "sync", NBS_TRACKING_TRACKERS="mlflow")
    assert done.returncode == 1 and "names of a: kept: it is not installed" in done.stdout
    assert "not installed" in nbs(root, "ui").stderr


@pytest.fixture(scope="module")
def registry(wine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    "A project whose wine study was sent to MLflow and made the champion there"
    root = tmp_path_factory.mktemp("mlflow") / "project"
    shutil.copytree(wine, root, symlinks=True, ignore=shutil.ignore_patterns(".nbs"))
    done = nbs(
        root, "promote", "wine", "--force", "--reason", "a trial of it", NBS_TRACKING_TRACKERS="mlflow"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    done = nbs(root, "sync", "wine", NBS_TRACKING_TRACKERS="mlflow")
    assert done.returncode == 0, done.stdout + done.stderr
    return root


def in_mlflow(root: Path, code: str) -> object:
    "What some lines that set `said` find, told as JSON"
    begin = "import json, logging, mlflow\nfrom nbs_lib.integrations.mlflow import MLflow\nm = MLflow()\nm.ready()\nc = m.client\n"
    done = python(root, f"{begin}{code}\nprint(json.dumps(said, default=str))")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@needs("mlflow")
def test_mlflow_has_the_version_its_stages_and_all_that_was_found(registry):
    code = """
experiment = c.get_experiment_by_name("wine").experiment_id
runs = c.search_runs([experiment])
whole = next(r for r in runs if r.data.tags["nbs.stage"] == "version")
files = [f.path for f in c.list_artifacts(whole.info.run_id)] + [f.path for f in c.list_artifacts(whole.info.run_id, "tables")]
said = {"runs": {r.data.tags["nbs.stage"]: dict(r.data.tags) for r in runs}, "status": [r.info.status for r in runs], "id": whole.info.run_id,
        "metrics": whole.data.metrics, "params": whole.data.params, "files": files,
        "folds": len(c.get_metric_history(whole.info.run_id, "folds/balanced_accuracy/constant")),
        "search": len(c.get_metric_history(whole.info.run_id, "search/score"))}
"""
    found = in_mlflow(registry, code)
    manifest = json.loads((registry / "reports/wine/v001/manifest.json").read_text())
    assert set(found["runs"]) == {"version", *manifest["stages"]} and set(found["status"]) == {"FINISHED"}
    ids = {stage: found["runs"]["version"][f"nbs.run.{stage}"] for stage in found["runs"]}
    for stage, tags in found["runs"].items():
        assert {s: tags[f"nbs.run.{s}"] for s in ids} == ids
        assert tags.get("mlflow.parentRunId") == (None if stage == "version" else found["id"])
    metric = manifest["stages"]["evaluation"]["metrics"]["balanced_accuracy"]
    for end in ("low", "high"):
        assert found["metrics"][f"evaluation/balanced_accuracy/{end}"] == metric[end]
    assert found["metrics"]["evaluation/balanced_accuracy"] == metric["value"] == found["metrics"]["value"]
    assert found["params"]["modeling.budget"] == "60.0" and found["params"]["model.name"]
    assert {"report", "figures", "tables/cv.csv", "tables/trials.csv"} <= set(found["files"])
    trials = manifest["stages"]["modeling"]["metrics"]["trials"]["value"]
    assert found["folds"] >= 5 and 1 <= found["search"] <= trials


@needs("mlflow")
def test_the_registry_leads_back_and_its_champion_predicts_as_the_file_does(registry):
    code = """
import hashlib, pandas as pd
from nbs_lib.models.bundle import load_model
v = c.get_model_version_by_alias("wine", "champion")
rows = pd.read_parquet("data/processed/wine/v001/holdout.parquet")
there, here = mlflow.pyfunc.load_model("models:/wine@champion").predict(rows), load_model("models/wine/v001/model.skops").predict(rows)
said = {"tags": v.tags, "same": there.equals(here), "text": c.get_registered_model("wine").description, "n": len(c.search_model_versions("name = 'wine'"))}
"""
    found, report = in_mlflow(registry, code), registry / "reports/wine/v001"
    assert found["same"] and found["n"] == 1
    assert (registry / found["tags"]["nbs.report"]).is_file()
    assert found["tags"]["nbs.manifest"] == (report / "manifest.sha256").read_text().split()[0]
    assert found["tags"]["nbs.champion.reason"] == "a trial of it" and "none → v001" in found["text"]


@needs("mlflow")
def test_a_server_out_of_reach_is_told_later(registry):
    env = {"NBS_TRACKING_TRACKERS": "mlflow", "NBS_TRACKING_MLFLOW_URI": "http://127.0.0.1:9"}
    began = time.monotonic()
    done = nbs(
        registry, "promote", "wine", "--to", "challenger", "--force", "--reason", "next in line", **env
    )
    assert done.returncode == 0 and time.monotonic() - began < 20, done.stderr
    done = nbs(registry, "sync", **env)
    assert done.returncode == 1 and "kept: " in done.stdout and "1 thing left" in done.stdout, done.stdout
    done = nbs(registry, "sync", NBS_TRACKING_TRACKERS="mlflow")
    assert done.returncode == 0 and "champion v001, challenger v001" in done.stdout, done.stdout
    found = in_mlflow(
        registry, "said = {k: str(v) for k, v in c.get_registered_model('wine').aliases.items()}"
    )
    assert found == {"champion": "1", "challenger": "1"}


@needs("mlflow")
def test_what_was_broken_off_is_sent_anew_and_stands_there_once(registry):
    code = """
from nbs_lib.integrations.results import read_result
experiment = c.get_experiment_by_name("wine").experiment_id
whole = next(r for r in c.search_runs([experiment]) if r.data.tags["nbs.stage"] == "version")
c.delete_tag(whole.info.run_id, "nbs.complete")  # as a kill leaves it
m.send(read_result("wine", "v001"))
m.send(read_result("wine", "v001"))
said = [len(c.search_runs([experiment])), len(c.search_model_versions("name = 'wine'"))]
"""
    assert in_mlflow(registry, code) == [5, 1]


@needs("mlflow")
def test_the_web_page_opens_on_loopback(registry):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [str(BIN / "nbs"), "ui", "--port", str(port)], cwd=registry, env=environment(registry)
    )
    try:
        until, page = time.monotonic() + 240, b""
        while not page and time.monotonic() < until and server.poll() is None:
            with contextlib.suppress(OSError):
                page = urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10).read()
            time.sleep(0.2)
        assert b"MLflow" in page
    finally:
        server.terminate()
        server.wait(60)


@needs("neptune")
def test_neptune_offline_has_the_version_and_its_stages(wine, tmp_path):
    root = tmp_path / "project"
    shutil.copytree(wine, root, symlinks=True, ignore=shutil.ignore_patterns(".nbs"))
    for _ in range(2):
        done = nbs(root, "sync", "wine", NBS_TRACKING_TRACKERS="neptune")
        assert done.returncode == 0, done.stdout + done.stderr
    logs = [p.read_text() for p in (root / ".nbs/neptune").glob("*/.neptune/offline/*/data-1.log")]
    assert len(logs) == 5
    whole = max(logs, key=len)
    for word in ("balanced_accuracy low", "search", "model.skops", "index.html", "nbs.manifest"):
        assert word in whole, word
