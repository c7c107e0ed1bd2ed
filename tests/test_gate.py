"The gate: nothing gets a name that its checklist does not allow, and every move is written down"

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import nbs


@pytest.fixture
def root(worse: Path, tmp_path: Path) -> Path:
    "A copy of that project, to be changed"
    root = tmp_path / "project"
    shutil.copytree(worse, root, symlinks=True, ignore=shutil.ignore_patterns(".nbs", "wandb"))
    return root


@pytest.fixture(scope="module")
def worse(wine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    "A project whose newest version misses its goal"
    root = tmp_path_factory.mktemp("gate") / "project"
    shutil.copytree(wine, root, symlinks=True, ignore=shutil.ignore_patterns("wandb"))
    config = root / "configs/wine.yaml"
    lines = [line for line in config.read_text().splitlines() if not line.startswith("goal:")]
    config.write_text("\n".join([*lines, "goal: 0.99999", ""]))
    done = nbs(root, "run", "wine")
    assert done.returncode == 0, done.stdout + done.stderr
    return root


def newest(root: Path) -> str:
    "The version that misses its goal"
    return max(p.parent.name for p in (root / "reports/wine").glob("v*/manifest.json"))


def checks(root: Path) -> dict[str, str]:
    "Verdicts by code"
    done = nbs(root, "checklist", "wine", "--json")
    return {c["code"]: c["verdict"] for c in json.loads(done.stdout)["checks"]}


def waive(root: Path, codes: list[str], until: str = "2099-01-01") -> None:
    "Add waivers to the config"
    with (root / "configs/wine.yaml").open("a") as f:
        waivers = [f"  - {{check: {c}, reason: a pilot, owner: ann, until: {until}}}\n" for c in codes]
        f.write("\nwaivers:\n" + "".join(waivers))


def test_the_gate_holds_until_all_is_mended_or_waived(root):
    before = checks(root)
    failing = [c for c, v in before.items() if v == "fail"]
    first = nbs(root, "promote", "wine", "--to", "champion")
    assert failing and first.returncode == 1 and all(c in first.stdout for c in failing)
    assert not (root / "reports/wine/aliases.json").exists(), "refused: nothing is changed"
    waive(root, failing)
    assert {c: v for c, v in checks(root).items() if c in failing} == dict.fromkeys(failing, "waived")
    first = nbs(root, "promote", "wine", "--to", "champion")
    assert first.returncode == 0, first.stdout + first.stderr
    assert json.loads((root / "reports/wine/aliases.json").read_text()) == {"champion": newest(root)}
    (entry,) = map(json.loads, (root / "reports/wine/aliases.jsonl").read_text().splitlines())
    assert entry["to"] == newest(root) and not entry["forced"] and not entry["lacking"]


def test_an_expired_waiver_does_not_open_the_gate(root):
    waive(root, [c for c, v in checks(root).items() if v == "fail"], until="2020-01-01")
    done = nbs(root, "promote", "wine")
    assert done.returncode == 1 and "expired on 2020-01-01" in done.stdout


def test_force_needs_a_reason_and_leaves_a_trace(root):
    assert nbs(root, "promote", "wine", "--force").returncode == 2
    done = nbs(root, "promote", "wine", "--force", "--reason", "the shop opens tomorrow")
    assert done.returncode == 0, done.stderr
    (entry,) = map(json.loads, (root / "reports/wine/aliases.jsonl").read_text().splitlines())
    lacking = [c for c, v in checks(root).items() if v == "fail"]
    assert entry["reason"] == "the shop opens tomorrow"
    assert lacking and entry["lacking"] == lacking and entry["forced"]


def forced(root: Path, version: str) -> None:
    "Make a version the champion whatever its checklist says"
    done = nbs(root, "promote", "wine", version, "--force", "--reason", "a trial of it")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_rollback_goes_back_one_by_one_and_never_to_what_is_damaged(root):
    def back() -> subprocess.CompletedProcess:
        return nbs(root, "rollback", "wine", "--reason", "all predictions are equal")

    assert "has no champion" in back().stderr
    forced(root, "v001")
    assert "v001 has no champion before it" in back().stderr
    forced(root, "v002")
    assert "sentence" in nbs(root, "rollback", "wine", "--reason", "no").stderr
    done = back()
    assert done.returncode == 0 and "v001 is the champion again instead of v002" in done.stdout, done.stderr
    assert json.loads((root / "reports/wine/aliases.json").read_text()) == {"champion": "v001"}
    last = json.loads((root / "reports/wine/aliases.jsonl").read_text().splitlines()[-1])
    assert last["rollback"] and last["from"] == "v002" and last["reason"] == "all predictions are equal"
    assert "v001" in (root / "reports/index.html").read_text().split("champion")[1][:200]
    again = back()
    assert again.returncode == 2 and "nothing was changed" in again.stderr, "v002 is not brought back"
    forced(root, "v002")
    model = root / "models/wine/v001/model.skops"
    model.write_bytes(model.read_bytes() + b" ")
    assert "no champion before it that is still as it was written (v001)" in back().stderr
    assert json.loads((root / "reports/wine/aliases.json").read_text()) == {"champion": "v002"}


def test_models_says_who_is_what_since_when_and_why(root):
    assert nbs(root, "models", "wines").returncode == 2
    before = f"v{int(newest(root)[1:]) - 1:03}"
    forced(root, before)
    out = nbs(root, "models", "wine").stdout.splitlines()
    assert [line.split()[0] for line in out[:3]] == ["wine", newest(root), before]
    assert "champion since 20" in out[2] and "champion since" not in out[1] and "balanced accuracy" in out[1]
    moved = next(line for line in out if "→" in line)
    assert f"champion: none → {before} by" in moved and moved.endswith(": a trial of it")
    found = json.loads(nbs(root, "models", "--json").stdout)["wine"]
    assert list(found["versions"][1]["aliases"]) == ["champion"] and len(found["moves"]) == 1


def test_what_was_tampered_with_gets_no_name(root):
    model = root / f"models/wine/{newest(root)}/model.skops"
    model.write_bytes(model.read_bytes() + b" ")
    done = nbs(root, "promote", "wine", "--force", "--reason", "the shop opens tomorrow")
    assert done.returncode == 2 and f"models/wine/{newest(root)}/model.skops (changed)" in done.stderr
    assert not (root / "reports/wine/aliases.json").exists()


def test_mistakes_are_named(root):
    assert "nearest: 'champion'" in nbs(root, "promote", "wine", "--to", "champoin").stderr
    assert nbs(root, "promote", "wine", "7").returncode == 2
    assert nbs(root, "checklist", "wines").returncode == 2
