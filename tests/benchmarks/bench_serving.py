"""The server beside `mlflow models serve` and a bare FastAPI + uvicorn, the same model, the same client, on loopback.

Rounds alternate, medians count. Server and client share the machine, and on few cores they share a core: look at the ratios.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from conftest import BIN, ROOT

WORK = ROOT / ".nbs" / "bench" / "serving"
PACKAGES = "mlflow==3.17.2 fastapi uvicorn httptools uvloop".split()
BARE = """
import os, pandas as pd
from fastapi import FastAPI
from nbs_lib.models.bundle import load_model
model, app = load_model(os.environ["MODEL"]), FastAPI()

@app.post("/predict")
def predict(body: dict):
    return {"predictions": model.predict(pd.DataFrame(body.get("rows") or [body["row"]])).to_dict("records")}
"""
SAVE = """
import os, sys, mlflow
from mlflow.pyfunc import PythonModel
class Model(PythonModel):
    def load_context(self, context):
        from nbs_lib.models.bundle import load_model
        self.model = load_model(os.environ["MODEL"])
    def predict(self, context, model_input, params=None):
        return self.model.predict(model_input)
mlflow.pyfunc.save_model(sys.argv[1], python_model=Model(), pip_requirements=["mlflow"])
"""
WRK = """
local f = io.open(os.getenv("BODY")); wrk.body = f:read("*a"); wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
"""


def peer_python(given: str | None) -> str:
    "An environment with MLflow and FastAPI beside the library's packages"
    if given:
        return given
    home = WORK / "env"
    if not (home / "bin/python").exists():
        subprocess.run([BIN / "uv", "venv", "-q", home], check=True)
        install = [BIN / "uv", "pip", "install", "-q", "--python", home / "bin/python"]
        subprocess.run([*install, "-r", ROOT / "requirements.lock"], check=True)
        subprocess.run([*install, *PACKAGES], check=True)
    return str(home / "bin/python")


@contextlib.contextmanager
def running(command: list, port: int, ready: str, **env: str) -> Iterator[int]:
    "A server while it is measured; its process"
    env = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}:{WORK}",
        "NBS_ROOT": str(WORK / "project"),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        **env,
    }
    with (WORK / f"server-{port}.log").open("wb") as log:
        server = subprocess.Popen(command, env=env, stdout=log, stderr=log, cwd=WORK, start_new_session=True)
    try:
        for _ in range(1200):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}{ready}", timeout=5).close()
                break
            if server.poll() is not None:
                raise SystemExit((WORK / f"server-{port}.log").read_text()[-2000:])
            time.sleep(0.2)
        yield server.pid
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=60)


def load(url: str, body: dict, seconds: float, clients: int) -> dict:
    "Requests a second, milliseconds at p50 and p99, answers that were no success"
    (WORK / "body.json").write_text(json.dumps(body))
    (WORK / "post.lua").write_text(WRK)
    if not shutil.which("wrk"):
        raise SystemExit("wrk is not installed (Debian: apt install wrk)")
    command = [
        "wrk",
        "-t1",
        f"-c{clients}",
        f"-d{max(round(seconds), 1)}s",
        "--timeout",
        "30s",
        "--latency",
        "-s",
        str(WORK / "post.lua"),
        url,
    ]
    text = subprocess.run(
        command, env={**os.environ, "BODY": str(WORK / "body.json")}, capture_output=True, text=True
    ).stdout
    units = {"us": 1e-3, "ms": 1.0, "s": 1e3}
    at = {p: float(v) * units[u] for p, v, u in re.findall(r"^\s+(50|99)%\s+([\d.]+)(us|ms|s)$", text, re.M)}
    bad = sum(map(int, re.findall(r"Non-2xx or 3xx responses: (\d+)", text)))
    bad += sum(
        sum(map(int, m))
        for m in re.findall(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    )
    return {
        "rate": float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1]),
        "p50": at["50"],
        "p99": at["99"],
        "bad": bad,
    }


def resident(pid: int) -> float:
    "Megabytes"
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) / 1024


def itself(bundle: Path, rows: list[dict], times: int = 15) -> float:
    "Milliseconds that `predict` takes for these rows, here"
    from nbs_lib.serving.bundle import open_bundle

    opened = open_bundle(bundle)
    frame, taken = opened.reader.read(rows)[0], []
    for _ in range(times):
        began = time.perf_counter()
        opened.model.predict(frame)
        taken.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken)


def main() -> None:
    "Measure, and print"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--bundle", type=Path, help="of any study; the newest of wine (run first) unless given"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10, help="of one round")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--minutes", type=float, default=10, help="of the soak")
    parser.add_argument("--peers", help="a Python with MLflow and FastAPI; made unless given")
    asked = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    if asked.bundle is None:
        for command in (["run", "wine"], ["bundle", "wine", "--out", str(WORK / "bundle")]):
            subprocess.run([BIN / "nbs", *command], check=True, cwd=ROOT)
    bundle = (asked.bundle or WORK / "bundle").resolve()
    python, model = peer_python(asked.peers), str(bundle / "model.skops")
    (WORK / "bare.py").write_text(BARE)
    shutil.rmtree(WORK / "saved", ignore_errors=True)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "MODEL": model}
    subprocess.run(
        [python, "-c", SAVE, str(WORK / "saved")], check=True, env=env, cwd=WORK, capture_output=True
    )
    rows = json.loads((bundle / "sample.json").read_text())["rows"]
    many = (rows * 1000)[:1000]
    uvicorn = ["-m", "uvicorn", "bare:app", "--port", "7702", "--log-level", "warning", "--no-access-log"]
    serve = [
        "-m",
        "mlflow",
        "models",
        "serve",
        "-m",
        str(WORK / "saved"),
        "--env-manager",
        "local",
        "--port",
        "7703",
        "--workers",
        "1",
    ]
    bodies = {
        "nbs": lambda r: {"rows": r} if len(r) > 1 else {"row": r[0]},
        "mlflow": lambda r: {"dataframe_records": r},
    }
    bodies["bare"] = bodies["nbs"]
    urls = {
        "nbs": "http://127.0.0.1:7701/predict",
        "bare": "http://127.0.0.1:7702/predict",
        "mlflow": "http://127.0.0.1:7703/invocations",
    }
    found: dict[tuple, list] = {}
    with (
        running(
            [sys.executable, "-m", "nbs_lib.serving.server", str(bundle), "7701"], 7701, "/readyz"
        ) as pid,
        running([python, *uvicorn], 7702, "/docs", MODEL=model),
        running(
            [python, *serve], 7703, "/ping", MODEL=model, PATH=f"{Path(python).parent}:{os.environ['PATH']}"
        ),
    ):
        for _ in range(asked.rounds):
            for name, url in urls.items():
                found.setdefault(("single", name), []).append(
                    load(url, bodies[name](rows[:1]), asked.seconds, asked.clients)
                )
                found.setdefault(("batch", name), []).append(load(url, bodies[name](many), asked.seconds, 1))
            found.setdefault(("batch", "predict"), []).append({"p50": itself(bundle, many)})
        begun = resident(pid)
        soak = load(urls["nbs"], bodies["nbs"](rows[:1]), asked.minutes * 60, asked.clients)
        ended = resident(pid)
    report(found, asked.clients)
    print(f"soak: {asked.minutes:g} min, {soak['rate'] * asked.minutes * 60:,.0f} requests, {soak['bad']} failed, p99 {soak['p99']:.1f} ms, "
          f"memory {begun:.0f} MB → {ended:.0f} MB")  # fmt: skip


def report(found: dict[tuple, list], clients: int) -> None:
    "Medians, and what they are against the goals"
    middle = lambda kind, name, key: statistics.median(r[key] for r in found[kind, name])
    print(
        f"{os.cpu_count()} cores, servers and client on {len(os.sched_getaffinity(0))}; {clients} clients; medians of {len(found['batch', 'predict'])} rounds"
    )
    for name in ("nbs", "bare", "mlflow"):
        bad = sum(r["bad"] for kind in ("single", "batch") for r in found[kind, name])
        print(f"  {name:<7} single rows {middle('single', name, 'rate'):8.0f}/s  p50 {middle('single', name, 'p50'):7.1f} ms  "
              f"p99 {middle('single', name, 'p99'):7.1f} ms   batch of 1,000 {middle('batch', name, 'p50'):7.1f} ms   failed {bad}")  # fmt: skip
    rate, p99 = (lambda n: middle("single", n, "rate")), (lambda n: middle("single", n, "p99"))
    print(
        f"  throughput: {rate('nbs') / rate('bare'):.2f} × bare (goal 0.7), {rate('nbs') / rate('mlflow'):.2f} × mlflow (goal 3)"
    )
    print(f"  p99: {p99('nbs') / p99('bare'):.2f} × bare (goal 2)")
    alone = middle("batch", "predict", "p50")
    print(f"  batch: {middle('batch', 'nbs', 'p50') / alone:.2f} × predict itself, {alone:.1f} ms (goal 1.3)")


if __name__ == "__main__":
    main()
