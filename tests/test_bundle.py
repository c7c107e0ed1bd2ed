"A bundle stands alone: it predicts what the run predicted, opens without the rest, and refuses what was not sealed"

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, nbs
from served import KINDS, people

from nbs_lib.core.settings import NbsError
from nbs_lib.serving.build import build_bundle
from nbs_lib.serving.bundle import ABOUT, SEAL, as_answers, as_rows, open_bundle


@pytest.fixture(scope="module")
def bundled(wine: Path) -> Path:
    "The bundle of a version that was run"
    done = nbs(wine, "bundle", "wine", "v001")
    assert done.returncode == 0, done.stdout + done.stderr
    return wine / "models/wine/bundles/v001"


@pytest.fixture
def copied(bundled: Path, tmp_path: Path) -> Path:
    "A copy of it, to be spoilt"
    return Path(shutil.copytree(bundled, tmp_path / "bundle"))


def test_it_predicts_what_the_run_predicted(wine, bundled):
    bundle = open_bundle(bundled)
    holdout = pd.read_parquet(wine / "data/processed/wine/v001/holdout.parquet")
    run = pd.read_parquet(wine / "models/wine/v001/predictions.parquet")
    rows = json.loads(json.dumps(as_rows(holdout, bundle.reader.names)))
    said = bundle.predict(bundle.reader.read(rows)[0])
    for column in [c for c in run if c == "prediction" or c.startswith("p_")]:
        assert (said[column].to_numpy() == run[column].to_numpy()).all(), column


def test_it_says_what_it_is(bundled):
    about = json.loads((bundled / ABOUT).read_text())
    assert about["license"] == "apache-2.0" and about["version"] == "v001"
    alcohol = about["input"]["columns"][0]
    assert alcohol["name"] == "alcohol" and alcohol["lowest"] < alcohol["example"] < alcohol["highest"]
    assert about["output"]["prediction"]["values"] == ["first", "second", "third"]
    assert {p.name for p in bundled.iterdir()} == {*about["files"], ABOUT, SEAL}
    assert "model_card.md" in about["files"]
    lock = (bundled / "requirements.txt").read_text()
    assert "scikit-learn==" in lock and "--hash=sha256:" in lock
    for absent in ("shap", "matplotlib", "jupyter", "ipython", "papermill", "duckdb", "pytest"):
        assert absent not in lock, absent


def test_the_same_version_makes_the_same_bundle(wine, bundled, tmp_path):
    done = nbs(wine, "bundle", "wine", "1", "--out", str(tmp_path / "again"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "again" / SEAL).read_bytes() == (bundled / SEAL).read_bytes()


def test_a_fresh_process_imports_nothing_that_it_does_not_need(bundled, tmp_path):
    code = "import sys; from nbs_lib.serving.bundle import open_bundle; b = open_bundle(sys.argv[1]); print(*sys.modules)"
    env = {k: v for k, v in os.environ.items() if k != "NBS_ROOT"} | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(bundled)], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    loaded = {m.split(".")[0] for m in done.stdout.split()}
    unwanted = {
        "shap",
        "matplotlib",
        "IPython",
        "jupyter_client",
        "papermill",
        "mlflow",
        "wandb",
        "duckdb",
        "pytest",
    }
    assert not loaded & unwanted, loaded & unwanted
    assert not {m for m in done.stdout.split() if m.startswith("nbs_lib.runner")}


def test_any_changed_byte_is_refused(copied):
    for file in sorted(copied.iterdir()):
        whole = file.read_bytes()
        spoilt = bytearray(whole)
        spoilt[len(whole) // 2] ^= 1
        file.chmod(0o644)
        file.write_bytes(spoilt)
        with pytest.raises(NbsError, match="is not what was sealed"):
            open_bundle(copied)
        file.write_bytes(whole)
    open_bundle(copied)


def test_a_file_more_or_less_or_another_seal_is_refused(copied):
    (copied / "extra.py").write_text("print()")
    with pytest.raises(NbsError, match="extra.py: does not belong to the bundle"):
        open_bundle(copied)
    (copied / "extra.py").unlink()
    with pytest.raises(NbsError, match="was asked for"):
        open_bundle(copied, seal="0" * 64)
    (copied / "model_card.md").unlink()
    with pytest.raises(NbsError, match="model_card.md: is missing"):
        open_bundle(copied)


def test_a_bundle_that_asks_for_other_types_is_refused_though_sealed(copied):
    from skops.io import dump

    from nbs_lib.serving.build import _seal

    dump(subprocess.Popen.__init__, copied / "model.skops")
    _seal(copied, json.loads((copied / ABOUT).read_text()))
    with pytest.raises(NbsError, match="types that are not trusted"):
        open_bundle(copied)


def test_a_sample_that_comes_out_otherwise_is_refused(copied):
    from nbs_lib.serving.build import _seal

    known = json.loads((copied / "sample.json").read_text())
    first = known["predictions"][0]["probabilities"]
    first["first"] = float(np.nextafter(first["first"], 2))
    (copied / "sample.json").write_text(json.dumps(known))
    _seal(copied, json.loads((copied / ABOUT).read_text()))
    with pytest.raises(NbsError, match="row 0 of the sample is predicted as"):
        open_bundle(copied)
    open_bundle(copied, verify=False)


def test_thousands_of_rows_with_dates_texts_and_gaps(people_bundle):
    bundle, frame = open_bundle(people_bundle), people(3000, seed=1)
    raw = frame[list(KINDS)].drop(columns="paid")
    offline = bundle.model.predict(raw)
    rows = json.loads(json.dumps(as_rows(raw, bundle.reader.names)))
    read, _ = bundle.reader.read(rows)
    assert [str(t) for t in read.dtypes] == [str(raw[c].dtype) for c in bundle.reader.names]
    assert as_answers(bundle.predict(read)) == as_answers(offline)
    one_by_one = [as_answers(bundle.predict(bundle.reader.read([row])[0]))[0] for row in rows[:200]]
    assert one_by_one == as_answers(offline)[:200]


def test_an_explanation_adds_up(people_bundle):
    bundle = open_bundle(people_bundle)
    (why,) = bundle.explain(bundle.sample()["rows"][:1])
    total = why["base"] + sum(c["contribution"] for c in why["contributions"])
    share = bundle.sample()["predictions"][0]["probabilities"]["yes"]
    assert abs(total - why["total"]) < 1e-9 and abs(1 / (1 + np.exp(-total)) - share) < 1e-6


def test_what_cannot_be_bundled_is_said(wine, tmp_path, monkeypatch):
    done = nbs(wine, "bundle", "wine", "champion")
    assert done.returncode == 2 and "has no champion yet; `nbs promote wine" in done.stderr
    monkeypatch.setenv("NBS_ROOT", str(wine))
    with pytest.raises(NbsError, match="has no version 'v999'"):
        build_bundle("wine", "v999")
    (tmp_path / "notes.txt").write_text("keep")
    with pytest.raises(NbsError, match="is no bundle; choose another folder"):
        build_bundle("wine", out=tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]
