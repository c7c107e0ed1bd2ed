"A model's life from end to end, as the README tells it: run, promoted, served, watched, replaced without a lost request, rolled back"

import json
import os
import re
import shlex
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml
from conftest import BIN, ROOT, environment, make_project, nbs


def call(address: str, rows: list[dict]) -> dict:
    body = json.dumps({"rows": rows}).encode()
    request = urllib.request.Request(address + "predict", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


class Caller(threading.Thread):
    "Asks again and again; whatever is not an answer is kept"

    def __init__(self, address: str, rows: list[dict]):
        super().__init__(daemon=True)
        self.address, self.rows, self.on = address, rows, True
        self.versions, self.faults, self.count = [], [], 0

    def run(self) -> None:
        while self.on:
            try:
                version = call(self.address, self.rows)["version"]
                self.count += 1
                if not self.versions or self.versions[-1] != version:
                    self.versions.append(version)
            except OSError as e:
                self.faults.append(repr(e))


def wait_for(condition: Callable[[], object], seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if condition():
                return
        except (OSError, urllib.error.URLError):
            pass
        time.sleep(0.2)
    raise AssertionError("it did not happen in time")


def told() -> list[str]:
    "The commands of the README's walk-through, with their comments"
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"### A model's life.*?```sh\n(.*?)```", readme, re.DOTALL)[1]
    return block.strip().splitlines()


class Walk:
    "Does what the README says, line by line, in a project of its own"

    def __init__(self, root: Path):
        self.root, self.server, self.address, self.callers = root, None, "", []
        self.said: dict[str, list[str]] = {}  # command -> what it said, time after time

    def do(self, line: str) -> None:
        command, _, comment = line.partition("  #")
        words = shlex.split(command.replace("http://127.0.0.1:8000/", self.address))
        words[0] = str(BIN / Path(words[0]).name)
        words = [str(ROOT / w) if w.startswith("examples/") else w for w in words]
        if words[-1] == "&":
            return self.serve(words[:-1])
        done = subprocess.run(words, cwd=self.root, env=environment(self.root), capture_output=True, text=True, timeout=600)  # fmt: skip
        due = re.search(r"exit code (\d)", comment)
        assert done.returncode == int(due[1] if due else 0), line + done.stdout + done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        self.said.setdefault(command.strip().removeprefix(".venv/bin/"), []).append(done.stdout)
        return None

    def serve(self, words: list[str]) -> None:
        self.server = subprocess.Popen(
            [*words, "--port", "0"], cwd=self.root, env=environment(self.root),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self.address = self.server.stdout.readline().strip()
        assert self.address.startswith("http://127.0.0.1"), self.address + self.server.stdout.read()
        threading.Thread(target=self.server.stdout.read, daemon=True).start()
        wait_for(lambda: urllib.request.urlopen(self.address + "readyz", timeout=5).status == 200)

    def call_all_the_time(self) -> None:
        train = pd.read_parquet(self.root / "data/processed/wine/v002/train.parquet")
        rows = train.drop(columns="cultivar").head(3).to_dict("records")
        self.callers = [Caller(self.address, rows) for _ in range(3)]
        for caller in self.callers:
            caller.start()
        wait_for(lambda: all(c.count > 5 for c in self.callers))

    def wait_for_version(self, version: str) -> None:
        wait_for(lambda: all(c.versions[-1] == version for c in self.callers))


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory):
    "The walk-through, in a project of its own"
    walk = Walk(make_project(tmp_path_factory.mktemp("life") / "project"))
    yield walk
    if walk.server:
        walk.server.send_signal(signal.SIGINT)
        assert walk.server.wait(60) in (0, 130)


def test_the_whole_way(walk):
    lines = told()
    last = max(i for i, line in enumerate(lines) if "nbs promote" in line)
    for line in lines[:last]:
        walk.do(line)
        time.sleep(0.5 if "ask.py" in line else 0)  # the log is written behind the answers
    assert "HOLDOUT" in walk.said["nbs promote wine"][0]
    alerts = (walk.root / "reports/wine/monitoring/alerts.jsonl").read_text(encoding="utf-8")
    assert "alcohol" in alerts and len(alerts.splitlines()) == 1, "told once"
    assert "15,000 rows answered" in walk.said["nbs monitor wine"][1]
    assert "of 10,000 the outcome is known" in walk.said["nbs monitor wine"][0]
    assert "seed" in walk.said["nbs diff wine champion newest"][0]

    walk.call_all_the_time()
    walk.do(lines[last])
    walk.wait_for_version("v003")
    for line in lines[last + 1 :]:
        walk.do(line)
    walk.wait_for_version("v002")
    for caller in walk.callers:
        caller.on = False
        caller.join(60)
        assert not caller.faults and caller.versions == ["v002", "v003", "v002"], caller.faults[:3]
    done = nbs(walk.root, "checklist", "wine", "v002", "--json")
    rows = {r["code"]: r["verdict"] for r in json.loads(done.stdout)["checks"]}
    assert [rows[c] for c in ("INPUTS", "DASHBOARD", "DRIFT", "ALERTS")] == ["pass"] * 4
    assert "v003" in nbs(walk.root, "models", "wine").stdout
    assert os.path.exists(walk.root / "reports/wine/diff/v002-v003.html")


def test_an_alert_may_take_the_champion_back(walk):
    root, config = walk.root, walk.root / "configs" / "wine.yaml"
    names = lambda: json.loads((root / "reports/wine/aliases.json").read_text(encoding="utf-8"))
    before = config.read_text(encoding="utf-8")
    rule = {"name": "unit", "measure": "drift", "above": 0, "rollback": True}
    config.write_text(yaml.safe_dump({**yaml.safe_load(before), "monitoring": {"alerts": [rule]}}), "utf-8")
    train = pd.read_parquet(root / "data/processed/wine/v003/train.parquet")
    train.assign(alcohol=10 * train["alcohol"]).to_csv(root / "unit.csv", index=False)
    look = lambda *more: nbs(root, "monitor", "wine", "--data", "unit.csv", *more)

    other = look("--version", "v003")
    assert other.returncode == 3 and "v003 is not the champion" in other.stdout, other.stdout + other.stderr
    assert names()["champion"] == "v002"

    train.to_csv(root / "same.csv", index=False)
    calm = nbs(root, "monitor", "wine", "--data", "same.csv")
    assert calm.returncode == 0, calm.stdout + calm.stderr
    assert nbs(root, "promote", "wine", "v003").returncode == 0
    taken = look()
    assert taken.returncode == 3 and "v002 is the champion again instead of v003" in taken.stdout, taken.stdout + taken.stderr  # fmt: skip
    assert names()["champion"] == "v002"
    moved = json.loads((root / "reports/wine/aliases.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    assert moved["rollback"] and "unit" in moved["reason"]

    again = look()
    assert again.returncode == 3 and "champion again" not in again.stdout, "one alert, one rollback"
    assert names()["champion"] == "v002"
