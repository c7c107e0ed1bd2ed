"What leaves the notebooks: linted manifests, and the container's entry point run as it stands in a clean environment"

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml
from conftest import BIN, nbs

from nbs_lib.serving.manifests import ENTRY, PORT


@pytest.fixture(scope="module")
def deployed(wine: Path) -> Path:
    "The folder that `nbs deploy` writes"
    done = nbs(wine, "deploy", "wine", "v001")
    assert done.returncode == 0, done.stdout + done.stderr
    return wine / "models" / "wine" / "deploy" / "v001"


def lint(*command: object) -> None:
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_tells_and_the_checklist_knows(wine, deployed):
    home = wine / "reports" / "wine" / "deployment" / "v001"
    record = json.loads((home / "deployment.json").read_text(encoding="utf-8"))
    assert record["metrics"]["served_as_offline"]["value"] == 1
    assert "to the last bit" in (home / "index.html").read_text(encoding="utf-8")
    assert all((home / t["data"]).is_file() for t in record["tables"])
    rows = json.loads(nbs(wine, "checklist", "wine", "v001", "--json").stdout)["checks"]
    assert {r["code"]: r["verdict"] for r in rows}["INPUTS"] == "pass"
    done = nbs(wine, "verify", "wine", "v001")
    assert done.returncode == 0, "what is made of a version later leaves it as it is: " + done.stdout


def test_linters_find_nothing(deployed):
    lint(BIN / "hadolint", deployed / "Dockerfile")
    lint(BIN / "kubernetes-validate", "--strict", "-k", "1.34", deployed / "kubernetes.yaml")
    lint(BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", deployed / "compose.yaml")


def test_linters_would_find_something(deployed, tmp_path):
    text = (deployed / "kubernetes.yaml").read_text(encoding="utf-8")
    (tmp_path / "k.yaml").write_text(text.replace("readinessProbe", "readynessProbe"), encoding="utf-8")
    with pytest.raises(AssertionError):
        lint(BIN / "kubernetes-validate", "--strict", "-k", "1.34", tmp_path / "k.yaml")


def test_queries_can_be_parsed_and_count_what_the_server_counts(deployed):
    import promql_parser

    alerts = yaml.safe_load((deployed / "alerts.yaml").read_text(encoding="utf-8"))
    board = json.loads((deployed / "grafana.json").read_text(encoding="utf-8"))
    queries = [rule["expr"] for group in alerts["groups"] for rule in group["rules"]]
    queries += [t["expr"] for panel in board["panels"] for t in panel["targets"]]
    assert len(queries) > 10
    for query in queries:
        promql_parser.parse(query)


@pytest.fixture(scope="module")
def served(deployed: Path, tmp_path_factory: pytest.TempPathFactory):
    "The entry point with the packages of the bundle's lock and nothing else: address, key"
    uv = BIN / "uv"
    if not uv.is_file():
        pytest.skip("needs uv, which `make test` installs")
    home = tmp_path_factory.mktemp("clean")
    lint(uv, "venv", "-q", "--python", sys.executable, home / "env")
    needs = deployed / "bundle" / "requirements.txt"
    lint(uv, "pip", "install", "-q", "--python", home / "env/bin/python", "--no-deps", "-r", needs)
    root = home / "var"
    root.mkdir()
    env = {"PATH": f"{home}/env/bin:/usr/bin:/bin", "PYTHONPATH": str(deployed / "app"), "NBS_ROOT": str(root),
           "NBS_SERVING_HOST": "127.0.0.1", "NBS_SERVING_API_KEY": "a key of the test", "PYTHONDONTWRITEBYTECODE": "1"}  # fmt: skip
    entry = [
        str(deployed / "bundle") if part == "/bundle" else "0" if part == str(PORT) else part
        for part in ENTRY
    ]
    entry[0] = str(home / "env/bin/python")
    process = subprocess.Popen(
        entry, env=env, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    address = process.stdout.readline().strip()
    assert address.startswith("http://"), address + process.stdout.read()
    yield address, "a key of the test", root
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) in (0, -signal.SIGTERM), process.stdout.read()


def ask(address: str, path: str, body: object = None, key: str = "") -> tuple[int, dict | str]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address.rstrip("/") + path, data)
    request.add_header("Content-Type", "application/json")
    if key:
        request.add_header("X-API-Key", key)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            status, text = answer.status, answer.read().decode()
    except urllib.error.HTTPError as e:
        status, text = e.code, e.read().decode()
    return status, json.loads(text) if text.startswith(("{", "[")) else text


def ready(address: str) -> bool:
    try:
        return ask(address, "/readyz")[0] == 200
    except urllib.error.URLError:  # its port is taken before it listens
        return False


def test_the_entry_point_answers_as_the_report_does(deployed, served):
    address, key, root = served
    until = time.monotonic() + 60
    while not ready(address):
        assert time.monotonic() < until
        time.sleep(0.2)
    sample = json.loads((deployed / "bundle/sample.json").read_text(encoding="utf-8"))
    assert ask(address, "/predict", {"rows": sample["rows"]})[0] == 401
    status, found = ask(address, "/predict", {"rows": sample["rows"]}, key)
    assert status == 200
    told = [{k: v for k, v in one.items() if k != "id"} for one in found["predictions"]]
    assert told == sample["predictions"], "to the last bit"
    assert "nbs_predictions_total" in ask(address, "/metrics")[1]
    while not list(root.rglob("predictions-*")):
        assert time.monotonic() < until, "predictions are kept where the volume is"
        time.sleep(0.2)


def test_a_secret_stays_out_of_the_folder(deployed):
    for file in deployed.rglob("*"):
        if file.is_file() and file.suffix in (".yaml", ".json", "", ".txt"):
            assert "a key of the test" not in file.read_text(encoding="utf-8", errors="replace"), file


def test_a_version_that_is_not_there_is_one_clear_message(wine):
    done = nbs(wine, "deploy", "wine", "v077")
    assert done.returncode == 2 and "v077" in done.stderr and "Traceback" not in done.stderr
    assert not os.path.exists(wine / "models/wine/deploy/v077")
