"Verification: a changed byte is found and named, and a version's numbers come out again"

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import nbs

from nbs_lib.runner.verify import Number, inspect


@pytest.fixture
def kept(wine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    "A copy of the project with one version, to be tampered with"
    root = tmp_path / "project"
    shutil.copytree(wine, root, symlinks=True, ignore=shutil.ignore_patterns(".nbs", "wandb"))
    monkeypatch.setenv("NBS_ROOT", str(root))
    return root


def belongings(root: Path) -> list[Path]:
    "Every file that belongs to the version"
    manifest = json.loads((root / "reports/wine/v001/manifest.json").read_text())
    own = [p for p in (root / "reports/wine/v001").rglob("*") if p.is_file()]
    own += [root / a["path"] for s in manifest["stages"].values() for a in s["artifacts"].values()]
    return own + [root / r["path"] for r in manifest["records"].values()]


def test_any_changed_byte_is_found_and_named(kept):
    assert not inspect("wine").faults
    files, rng = belongings(kept), np.random.default_rng(0)
    assert len(files) > 20 and any(p.name == "model.skops" for p in files)
    for i in range(100):
        path = files[i % len(files)] if i < len(files) else files[rng.integers(len(files))]
        whole = bytearray(path.read_bytes())
        at = int(rng.integers(len(whole)))
        changed = whole.copy()
        changed[at] ^= int(rng.integers(1, 256))
        path.chmod(0o644)
        path.write_bytes(changed)
        faults = inspect("wine", "v001").faults
        assert path.relative_to(kept).as_posix() in [f.path for f in faults], (path, at)
        path.write_bytes(whole)
    assert not inspect("wine").faults


def test_missing_and_additional_files_are_found(kept):
    home = kept / "reports/wine/v001"
    (home / "note.txt").write_text("mine")
    (home / "03_modeling.html").unlink()
    (kept / "models/wine/v001/model.skops").unlink()
    found = {f.path: f.what for f in inspect("wine").faults}
    assert found == {
        "reports/wine/v001/note.txt": "unexpected",
        "reports/wine/v001/03_modeling.html": "missing",
        "models/wine/v001/model.skops": "missing",
    }


def test_without_its_seal_a_version_is_not_whole(kept):
    seal = kept / "reports/wine/v001/manifest.sha256"
    seal.unlink()
    assert [f.path for f in inspect("wine").faults] == ["reports/wine/v001/manifest.sha256"]


def test_the_command_says_so(kept):
    done = nbs(kept, "verify", "wine")
    assert done.returncode == 0 and "files are as they were written" in done.stdout, done.stderr
    model = kept / "models/wine/v001/model.skops"
    model.write_bytes(model.read_bytes()[:-1])
    done = nbs(kept, "verify", "wine", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["faults"] == [
        {"path": "models/wine/v001/model.skops", "what": "changed", "says": ""}
    ]
    assert nbs(kept, "verify", "wine", "v009").returncode == 2


def test_a_version_is_replayed_to_the_same_numbers(kept):
    done = nbs(kept, "verify", "wine", "--replay", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)["replay"]
    assert found["same"] and len(found["numbers"]) > 15 and not found["data"]
    assert {n["verdict"] for n in found["numbers"]} == {"same"}
    assert len(list((kept / "reports/wine").glob("v*"))) == 1, "the replay leaves nothing behind"


@pytest.mark.parametrize(
    ("then", "now", "spread", "verdict"),
    [
        (0.5, 0.5, None, "same"),
        (0.5, 0.5 + 1e-16 * 4, None, "different"),
        (0.5, 0.52, (0.48, 0.53), "within the spread over seeds"),
        (0.5, 0.6, (0.48, 0.53), "different"),
        (0.5, None, (0.48, 0.53), "different"),
    ],
)
def test_what_a_difference_is_called(then, now, spread, verdict):
    assert Number("modeling", "auc", then, now, spread).verdict == verdict
