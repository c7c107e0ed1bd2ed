"A real server on loopback: what it answers, what it refuses, what it keeps, and how it is swapped and stopped"

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import yaml
from conftest import BIN, ROOT, environment, make_project, nbs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from served import CONFIG, KINDS, make_bundle, people

for package in ("orjson", "uvicorn"):
    pytest.importorskip(package, reason="the server's packages are not installed; make test installs them")

from nbs_lib.core.settings import NbsError
from nbs_lib.serving.bundle import as_answers, as_rows, open_bundle
from nbs_lib.serving.log import read_served, record_outcomes
from nbs_lib.serving.server import read_limits

GOOD = {
    "age": 41,
    "children": 2,
    "job": "cook",
    "city": "Bern",
    "since": "2024-05-01T12:00:00",
    "owner": True,
    "note": "paid early",
}


class Client:
    "One process of a server"

    def __init__(self, root: Path, *options: str, **env: str):
        self.stderr = root / f"server-{time.monotonic_ns()}.log"
        with self.stderr.open("wb") as log:
            command = [str(BIN / "nbs"), "serve", "people", "--port", "0", *options]
            self.process = subprocess.Popen(
                command, cwd=root, env=environment(root, **env), stdout=subprocess.PIPE, stderr=log, text=True
            )
        first = self.process.stdout.readline()
        assert first.startswith("http://127.0.0.1:"), self.stderr.read_text()
        self.port = int(first.strip().rstrip("/").rpartition(":")[2])
        deadline = time.monotonic() + 120
        while self.process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                if self.get("/readyz")[0] == 200:
                    return
            time.sleep(0.1)
        raise AssertionError(self.stderr.read_text())

    def send(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def get(self, path: str) -> tuple[int, bytes]:
        return self.send("GET", path)

    def post(self, value: object, path: str = "/predict", **headers: str) -> tuple[int, dict]:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        status, said = self.send("POST", path, body, **{"content_type": "application/json", **headers})
        return status, json.loads(said)

    def metric(self, line: str) -> float:
        for found in self.get("/metrics")[1].decode().splitlines():
            if found.startswith(line + " "):
                return float(found.rpartition(" ")[2])
        return 0.0

    def stop(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=60)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, people_bundle: Path) -> Path:
    "A project whose study has three bundles: the champion, another one, and a broken one"
    root = make_project(tmp_path_factory.mktemp("serving") / "project")
    (root / "configs/people.yaml").write_text(yaml.safe_dump(CONFIG, allow_unicode=True))
    bundles = root / "models/people/bundles"
    shutil.copytree(people_bundle, bundles / "v001")
    make_bundle(bundles / "v002", "v002", "linear")
    shutil.copytree(people_bundle, bundles / "v003")
    with (bundles / "v003/model.skops").open("r+b") as f:
        f.seek(100)
        f.write(b"\0")
    name_champion(root, "v001")
    return root


def name_champion(root: Path, version: str) -> None:
    file = root / "reports/people/aliases.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    (file.parent / "new").write_text(json.dumps({"champion": version}))
    os.replace(file.parent / "new", file)


@pytest.fixture(scope="module")
def server(root: Path) -> Iterator[Client]:
    client = Client(root)
    yield client
    if client.process.poll() is None:
        client.stop()


@pytest.fixture(scope="module")
def strict(root: Path) -> Iterator[Client]:
    "A server with a key and narrow limits"
    keys = ("API_KEY", "MOST_BYTES", "MOST_ROWS", "TIMEOUT")
    client = Client(
        root, **dict(zip([f"NBS_SERVING_{k}" for k in keys], ["sesame", "20000", "50", "2"], strict=True))
    )
    yield client
    if client.process.poll() is None:
        client.stop()


def test_served_and_offline_are_equal_bit_for_bit(server, root):
    bundle, frame = open_bundle(root / "models/people/bundles/v001"), people(3000, seed=2)
    raw = frame[list(KINDS)].drop(columns="paid")
    rows, offline = as_rows(raw, bundle.reader.names), as_answers(bundle.model.predict(raw))
    bare = lambda answer: {k: answer[k] for k in ("prediction", "probabilities")}
    for start in range(0, 3000, 1000):
        status, said = server.post({"rows": rows[start : start + 1000]})
        assert status == 200 and [bare(a) for a in said["predictions"]] == offline[start : start + 1000]
    found: dict[int, dict] = {}

    def ask(part: int) -> None:
        for i in range(part, 400, 8):
            found[i] = bare(server.post({"row": rows[i]})[1])

    threads = [threading.Thread(target=ask, args=(part,)) for part in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert [found[i] for i in range(400)] == offline[:400]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"age": "41"}, "column 'age' (row 0): has to be a number, found '41'"),
        ({"age": None}, "column 'age' (row 0): must not be missing"),
        ({"age": float("nan")}, "column 'age' (row 0): has to be a finite number"),
        ({"age": float("inf")}, "column 'age' (row 0): has to be a finite number"),
        ({"age": 1e300}, "column 'age' (row 0): is above 120, the study's limit"),
        ({"age": 12}, "column 'age' (row 0): is below 16, the study's limit: found 12"),
        ({"age": [41]}, "column 'age' (row 0): has to be a number, found [41]"),
        ({"city": "Paris"}, "column 'city' (row 0): has to be one of Bern, Rom, Ulm, found 'Paris'"),
        ({"job": {"a": 1}}, "column 'job' (row 0): has to be a text"),
        ({"since": "yesterday"}, "column 'since' (row 0): has to be a moment"),
        ({"since": 20240501}, "column 'since' (row 0): has to be a moment"),
        ({"owner": "perhaps"}, "column 'owner' (row 0): has to be true or false"),
        ({"jbo": "cook"}, "column 'jbo' (row 0): is no column of this study; nearest: 'job'"),
        ({"x" * 5000: 1}, "is no column of this study"),
    ],
)
def test_a_faulty_value_is_refused_by_name(server, change, says):
    status, said = server.post({"row": GOOD | change})
    assert status == 422 and says in said["error"], said
    assert said["details"][0]["row"] == 0
    status, said = server.post({"rows": [GOOD, GOOD | change]})
    assert status == 422 and said["details"][0]["row"] == 1


def test_what_training_never_saw_is_answered_with_a_warning(server):
    status, said = server.post({"row": GOOD | {"job": "astronaut", "paid": "no", "age": 110}})
    told = {w["column"]: w["says"] for w in said["warnings"]}
    assert status == 200 and set(told) == {"job", "paid", "age"}
    assert "'astronaut' was never seen in training" in told["job"] and "left out" in told["paid"]
    without = {k: v for k, v in GOOD.items() if k != "children"}
    status, said = server.post({"row": without})
    assert status == 200 and said["warnings"][0]["says"] == "was not given, and counts as missing"
    status, null = server.post({"row": GOOD | {"children": None}})
    assert null["warnings"] == [] and null["probabilities"] == said["probabilities"]
    lacking = {k: v for k, v in GOOD.items() if k != "city"}
    status, said = server.post({"row": lacking})
    assert status == 422 and "column 'city' (row 0): is missing; every row has to bring it" in said["error"]


def test_forms_of_the_same_value_are_the_same(server):
    answer = server.post({"row": GOOD})[1]["probabilities"]
    for change in (
        {"since": "2024-05-01T14:00:00+02:00"},
        {"owner": "yes"},
        {"owner": 1},
        {"job": " cook "},
        {"age": 41.0},
    ):
        assert server.post({"row": GOOD | change})[1]["probabilities"] == answer, change


WILD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["", "NA", "\ud800", "1e999"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
ROWS = st.dictionaries(st.sampled_from([*GOOD, "paid", "extra"]), WILD, max_size=8).map(lambda d: GOOD | d)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    WILD | ROWS.map(lambda r: {"row": r}) | st.lists(ROWS | WILD, max_size=4).map(lambda r: {"rows": r}),
    st.booleans(),
)
def test_no_json_makes_the_server_fail(server, value, why):
    status, said = server.post(
        value, "/explain" if why and isinstance(value, dict) and "rows" in value else "/predict"
    )
    assert status in (200, 400, 422), (status, said)
    assert "error" in said or "version" in said


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_make_the_server_fail(server, body):
    assert server.post(body)[0] in (400, 422)


def test_addresses_methods_and_kinds_of_content(server):
    assert server.send("POST", "/predikt")[0] == 404
    status, said = server.send("GET", "/predict")
    assert status == 405 and b"takes POST" in said
    status, said = server.send("POST", "/predict", b"{}", content_type="text/plain")
    assert status == 415 and b"application/json" in said
    status, said = server.post(b"[" * 50_000)
    assert status == 400 and "no valid JSON" in said["error"]
    assert server.get("/healthz") == (200, b'{"status":"ok"}')
    status, said = server.post({"rows": [GOOD, GOOD]}, "/explain")
    assert status == 422 and "one row is explained at a time" in said["error"]


def test_the_openapi_example_works_and_the_page_loads_nothing(server):
    page = server.get("/")[1].decode()
    assert not any(word in page for word in ("http://", "https://", " src=", "@import"))
    described = json.loads(server.get("/openapi.json")[1])
    for path in ("/predict", "/explain"):
        example = described["paths"][path]["post"]["requestBody"]["content"]["application/json"]["example"]
        status, said = server.post(example, path)
        assert status == 200 and said["warnings"] == [], said
    assert abs(said["explanation"]["total"] - said["explanation"]["base"]) > 0


def test_counted_and_logged_without_values(server):
    before = server.metric('nbs_predictions_total{prediction="yes",version="v001"}')
    answers = [
        server.post({"row": GOOD | {"age": a, "job": "Geheimrat"}})[1]["prediction"] for a in range(20, 90, 5)
    ]
    after = server.metric('nbs_predictions_total{prediction="yes",version="v001"}')
    assert after - before == answers.count("yes") > 0
    assert server.metric('nbs_warnings_total{column="job"}') >= len(answers)
    lines = [json.loads(line) for line in server.stderr.read_text().splitlines()]
    assert {"when", "level", "event"} <= lines[0].keys() and any(line["event"] == "request" for line in lines)
    assert "Geheimrat" not in server.stderr.read_text()
    assert not [line for line in lines if line["level"] == "error"]


def test_the_champion_is_swapped_without_losing_a_request(server, root):
    expected = {}
    for version in ("v001", "v002"):
        bundle = open_bundle(root / "models/people/bundles" / version)
        expected[version] = as_answers(bundle.predict(bundle.reader.read([GOOD])[0]))[0]["probabilities"]
    assert expected["v001"] != expected["v002"]
    answers, stop = [], threading.Event()

    def load() -> None:
        while not stop.is_set():
            answers.append(server.post({"row": GOOD}))

    threads = [threading.Thread(target=load) for _ in range(4)]
    [t.start() for t in threads]

    def until(version: str) -> None:
        deadline = time.monotonic() + 60
        while json.loads(server.get("/readyz")[1])["version"] != version:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    try:
        for version in ("v002", "v001", "v002"):
            name_champion(root, version)
            until(version)
        name_champion(root, "v003")
        deadline = time.monotonic() + 60
        while not server.metric('nbs_swaps_total{result="refused"}') and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        stop.set()
        [t.join() for t in threads]
    assert len(answers) > 20 and {status for status, _ in answers} == {200}
    assert {said["version"] for _, said in answers} == {"v001", "v002"}
    assert all(said["probabilities"] == expected[said["version"]] for _, said in answers)
    assert json.loads(server.get("/readyz")[1])["version"] == "v002"
    assert server.metric('nbs_swaps_total{result="taken over"}') == 3
    (line,) = [json.loads(x) for x in server.stderr.read_text().splitlines() if "champion refused" in x]
    assert (
        line["version"] == "v003"
        and line["stays"] == "v002"
        and "model.skops: is not what was sealed" in line["why"]
    )
    name_champion(root, "v001")
    until("v001")


def test_a_key_and_narrow_limits(strict):
    status, said = strict.post({"row": GOOD})
    assert status == 401 and "X-API-Key" in said["error"]
    assert strict.post({"row": GOOD}, x_api_key="sesam")[0] == 401
    assert strict.post({"row": GOOD}, x_api_key="sesame")[0] == 200
    assert strict.post({"row": GOOD}, authorization="Bearer sesame")[0] == 200
    assert strict.get("/healthz")[0] == strict.get("/metrics")[0] == 200
    status, said = strict.post({"rows": [GOOD] * 51}, x_api_key="sesame")
    assert status == 413 and "51 are too many, 50 are allowed" in said["error"]
    status, said = strict.post({"row": GOOD | {"note": "x" * 30_000}}, x_api_key="sesame")
    assert status == 413 and "larger than 20,000 bytes" in said["error"]
    with socket.create_connection(("127.0.0.1", strict.port), timeout=30) as slow:
        head = "POST /predict HTTP/1.1\r\nHost: x\r\nX-API-Key: sesame\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        slow.sendall(head.encode())
        answer = b"".join(iter(lambda: slow.recv(4096), b""))
    assert b" 408 " in answer and b"did not arrive within 2 s" in answer
    assert "sesame" not in strict.stderr.read_text()


def test_an_interrupt_answers_what_is_under_way_and_ends(strict, root, monkeypatch):
    answers = []
    ask = lambda: answers.append(strict.post({"rows": [GOOD] * 50}, x_api_key="sesame"))
    threads = [threading.Thread(target=ask) for _ in range(6)]
    [t.start() for t in threads]
    while strict.metric('nbs_requests_total{path="/predict",status="200"}') < 3:
        time.sleep(0.01)
    assert strict.stop() == 0
    [t.join() for t in threads]
    told = {p["id"] for status, said in answers if status == 200 for p in said["predictions"]}
    assert len(told) >= 50
    monkeypatch.setenv("NBS_ROOT", str(root))
    assert told <= set(read_served("people")["id"])


def test_a_killed_server_keeps_its_log_and_outcomes_join(root, tmp_path, monkeypatch):
    killed = Client(root, "--workers", "2")
    ids = [killed.post({"row": GOOD | {"age": 20 + i}})[1]["id"] for i in range(30)]
    ids += [p["id"] for p in killed.post({"rows": [GOOD] * 20})[1]["predictions"]]
    assert len(set(ids)) == 50
    assert killed.metric('nbs_requests_total{path="/predict",status="200"}') == 31
    time.sleep(1)
    children = subprocess.run(
        ["pgrep", "-P", str(killed.process.pid)], capture_output=True, text=True
    ).stdout.split()
    for pid in [*map(int, children), killed.process.pid]:
        os.kill(pid, signal.SIGKILL)
    killed.process.wait()
    file = tmp_path / "came.csv"
    file.write_text("id,paid\n" + "".join(f"{i},{'yes' if n % 2 else 'no'}\n" for n, i in enumerate(ids)))
    for new, known in ((50, 0), (0, 50)):
        done = nbs(root, "outcomes", "people", "--data", str(file))
        assert (
            done.returncode == 0
            and f"people: {new} new outcome" in done.stdout
            and f"{known} told before" in done.stdout
        ), done.stderr
    file.write_text("id,paid\nnobody-1,yes\nnobody-2,no\n")
    done = nbs(root, "outcomes", "people", "--data", str(file))
    assert done.returncode == 1 and "never served: nobody-1, nobody-2" in done.stdout
    monkeypatch.setenv("NBS_ROOT", str(root))
    with pytest.raises(NbsError, match="was told before; nothing was written"):
        record_outcomes("people", pd.DataFrame({"id": ids[:2], "paid": ["yes", "yes"]}))
    served = read_served("people").set_index("id").loc[ids]
    assert served["outcome"].tolist() == ["yes" if n % 2 else "no" for n in range(50)]
    assert served["age"].tolist()[:30] == list(range(20, 50)) and set(served["version"]) == {"v001"}


def test_what_cannot_be_served_is_said(root, wine):
    done = nbs(wine, "serve", "wine")
    assert done.returncode == 2 and "has no champion yet; `nbs promote wine" in done.stderr
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = nbs(root, "serve", "people", "--port", port)
        assert done.returncode == 2 and f"port {port} of 127.0.0.1 cannot be used" in done.stderr


def test_an_open_door_needs_a_key_and_the_key_stays_out_of_files(root, monkeypatch):
    monkeypatch.setenv("NBS_ROOT", str(root))
    monkeypatch.setenv("NBS_SERVING_HOST", "0.0.0.0")
    with pytest.raises(NbsError, match="is open to others; set api_key"):
        read_limits()
    ini = root / "settings.ini"
    whole = ini.read_text()
    ini.write_text(whole.replace("api_key =", "api_key = hunter2"))
    with pytest.raises(NbsError, match="put it into the environment") as said:
        read_limits()
    assert "hunter2" not in str(said.value)
    ini.write_text(whole.replace("api_key =", "api_key = ${env:THE_KEY}"))
    monkeypatch.setenv("THE_KEY", "sesame")
    assert read_limits().api_key == "sesame"
    ini.write_text(whole)


def test_a_bundle_is_served_without_a_project(people_bundle, tmp_path):
    env = {k: v for k, v in environment(tmp_path).items() if not k.startswith("NBS_TRACKING")}
    env |= {"PYTHONPATH": str(ROOT)}
    command = [str(BIN / "python"), "-m", "nbs_lib.serving.server", str(people_bundle), "0"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as run:
        port = int(run.stdout.readline().strip().rstrip("/").rpartition(":")[2])
        try:
            for _ in range(600):
                with contextlib.suppress(OSError):
                    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
                    connection.request(
                        "POST", "/predict", json.dumps({"row": GOOD}), {"Content-Type": "application/json"}
                    )
                    assert json.loads(connection.getresponse().read())["version"] == "v001"
                    break
                time.sleep(0.1)
            else:
                raise AssertionError("it did not answer")
        finally:
            run.send_signal(signal.SIGTERM)
    assert list((tmp_path / "data/served/people").glob("predictions-*.sqlite"))
