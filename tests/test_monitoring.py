"Monitoring as a person would: rows that are as they were are left alone, planted changes are told, alerts arrive"

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pandas as pd
import pytest
import yaml
from conftest import nbs


@pytest.fixture(scope="module")
def rows(wine: Path) -> pd.DataFrame:
    "Rows that the model has not seen, with their outcomes"
    return pd.read_parquet(wine / "data/processed/wine/v001/holdout.parquet").reset_index(drop=True)


class Receiver(BaseHTTPRequestHandler):
    got: list = []

    def do_POST(self) -> None:
        Receiver.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def webhook(wine: Path):
    "A server that takes alerts, named by the study's config"
    server = HTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    config = wine / "configs" / "wine.yaml"
    before = config.read_text(encoding="utf-8")
    asked = {"webhook": f"http://127.0.0.1:{server.server_port}/alerts", "by": "month", "keep": 2}
    config.write_text(yaml.safe_dump({**yaml.safe_load(before), "monitoring": asked}), encoding="utf-8")
    yield Receiver.got
    config.write_text(before, encoding="utf-8")
    server.shutdown()


def monitor(wine: Path, rows: pd.DataFrame, name: str) -> tuple[int, dict, str]:
    rows.to_csv(wine / f"{name}.csv", index=False)
    done = nbs(wine, "monitor", "wine", "--version", "v001", "--data", f"{name}.csv")
    assert "Traceback" not in done.stderr, done.stderr
    record = json.loads((wine / "reports/wine/monitoring/v001/monitoring.json").read_text(encoding="utf-8"))
    return done.returncode, record, done.stdout + done.stderr


def test_rows_as_they_were_are_left_alone_and_a_changed_unit_is_told(wine, rows, webhook):
    code, record, said = monitor(wine, rows, "same")
    assert code == 0, said
    assert record["metrics"]["drifted_views"]["value"] == 0 and not webhook
    measured = record["metrics"]["balanced_accuracy_measured"]
    manifest = json.loads((wine / "reports/wine/v001/manifest.json").read_text(encoding="utf-8"))
    assert measured["value"] == pytest.approx(manifest["headline"]["value"]), "the same rows, the same metric"

    code, record, said = monitor(wine, rows.assign(alcohol=10 * rows["alcohol"]), "unit")
    assert code == 1, said
    assert "alcohol" in said and record["metrics"]["drifted_views"]["value"] >= 1
    assert [n["severity"] for n in webhook] == ["critical"]
    assert {m["rule"] for m in webhook[0]["messages"]} >= {"schema", "drift"}

    monitor(wine, rows.assign(alcohol=10 * rows["alcohol"]), "unit")
    assert len(webhook) == 1, "what goes on is told once"

    home = wine / "reports/wine/monitoring/v001"
    assert len([p for p in home.iterdir() if p.is_dir() and p.name[:2] == "20"]) == 2, (
        "the newest reports are kept"
    )
    assert (
        'nbs_monitor_moved{study="wine",version="v001",view="alcohol"}' in (home / "metrics.prom").read_text()
    )
    verdicts = {
        r["code"]: r["verdict"]
        for r in json.loads(nbs(wine, "checklist", "wine", "v001", "--json").stdout)["checks"]
    }
    assert verdicts["DRIFT"] == verdicts["ALERTS"] == verdicts["DASHBOARD"] == "pass"

    assert nbs(wine, "verify", "wine", "v001").returncode == 0
    file = home / "monitoring.json"
    told = file.read_bytes()
    file.write_bytes(told.replace(b'"passed": true', b'"passed": null', 1))
    done = nbs(wine, "verify", "wine", "v001")
    assert done.returncode == 1 and "changed: reports/wine/monitoring/v001/monitoring.json" in done.stdout
    checks = json.loads(nbs(wine, "checklist", "wine", "v001", "--json").stdout)["checks"]
    row = next(r for r in checks if r["code"] == "DRIFT")
    assert row["verdict"] == "fail" and "not as it was written" in row["evidence"]
    file.write_bytes(told)


def test_mistakes_are_one_clear_message(wine, rows):
    done = nbs(wine, "monitor", "wine")
    assert done.returncode == 2 and "--data" in done.stderr, done.stderr
    code, _, said = monitor(wine, rows.drop(columns="alcohol"), "gone")
    assert code == 2 and "alcohol" in said
    assert nbs(wine, "monitor", "wine", "--every", "soon").returncode == 2
    assert nbs(wine, "monitor", "wine", "--by", "hour").returncode == 2
