"What the repository says about its environment agrees with itself."

import json
import re
from pathlib import Path

import pytest
import yaml
from make_environment_yml import direct_dependencies, environment_yml, locked_versions

ROOT = Path(__file__).resolve().parents[1]
STAGES = sorted((ROOT / "notebooks").glob("0[0-9]_*.ipynb"))


def test_environment_yml_is_in_step_with_pyproject():
    text = (ROOT / "environment.yml").read_text()
    assert text == environment_yml(), "run: python tests/make_environment_yml.py"
    pins = next(d["pip"] for d in yaml.safe_load(text)["dependencies"] if isinstance(d, dict))
    assert {p.split("==")[0] for p in pins if "==" in p} == set(direct_dependencies())


def test_every_direct_dependency_is_locked_with_hashes():
    locked = locked_versions()
    assert set(direct_dependencies()) <= set(locked)
    blocks = re.split(r"\n(?=[a-z0-9])", (ROOT / "requirements.lock").read_text())
    assert all("--hash=sha256:" in b for b in blocks if re.match(r"[a-z0-9._-]+==", b))


@pytest.mark.parametrize("path", STAGES, ids=lambda p: p.stem)
def test_each_stage_has_exactly_one_parameters_cell(path):
    cells = json.loads(path.read_text())["cells"]
    tagged = [c for c in cells if "parameters" in c["metadata"].get("tags", [])]
    assert len(tagged) == 1
    assert "".join(tagged[0]["source"]).strip() == 'study = "flights"'


def test_the_stages_are_numbered_in_their_order():
    from nbs_lib.core import settings

    told = [*settings.STAGES, *settings.AFTER]
    assert [p.stem for p in STAGES] == [f"0{i + 1}_{name}" for i, name in enumerate(told) if i < len(STAGES)]


def test_stages_do_not_import_the_runner():
    for path in STAGES:
        assert "nbs_lib.runner" not in path.read_text(), path.name
    for path in (ROOT / "notebooks" / "core").glob("*.ipynb"):
        assert not re.search(
            r"nbs_lib\.(runner|models|tasks|integrations|cli)\b",
            path.read_text().replace("nbs_lib.models.bundle", ""),
        ), path.name
