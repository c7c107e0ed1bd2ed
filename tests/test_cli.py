"The command line: help in a blink, typed configs, versions listed and shown."

import subprocess
import sys

import pytest
import yaml
from conftest import BIN, nbs


def test_help_imports_nothing_heavy():
    code = "import sys; import nbs_lib.cli; print([m for m in ('pandas', 'numpy', 'pydantic', 'papermill', 'yaml') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


@pytest.mark.parametrize("command", ["new", "check", "run", "list", "show", "open", "export", "lab"])
def test_every_command_has_help(command):
    done = subprocess.run([BIN / "nbs", command, "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "Usage: nbs " + command in done.stdout


def test_a_mistyped_command_and_a_missing_argument_exit_with_2(cli):
    assert cli("rnu")[0] == 2
    code, _, err = cli("run")
    assert code == 2 and "which study" in err
    code, _, err = cli("run", "flihgts")
    assert code == 2 and "nearest: 'flights'" in err


def test_new_writes_a_config_that_loads_and_keeps_the_old_one(project, cli):
    code, out, _ = cli("new", "mine", "--data", "data/raw/wine.csv", "--target", "cultivar")
    assert code == 0 and "configs/mine.yaml" in out
    text = (project / "configs/mine.yaml").read_text()
    assert yaml.safe_load(text)["task"] == "multiclass" and text.count("#") > 5
    code, _, err = cli("new", "mine", "--data", "data/raw/wine.csv")
    assert code == 2 and "--force" in err
    assert (project / "configs/mine.yaml").read_text() == text
    assert cli("new", "mine", "--data", "data/raw/wine.csv", "--force")[0] == 0
    assert cli("check", "mine")[0] == 0


def test_set_changes_one_key_for_once(cli):
    assert cli("check", "wine", "--set", "split.holdout=0.4")[0] == 0
    code, _, err = cli("check", "wine", "--set", "split.holdot=0.4")
    assert code == 2 and "nearest: 'holdout'" in err
    assert cli("check", "wine", "--set", "nonsense")[0] == 2


def test_shipped_studies_can_be_run(cli):
    for study in ("flights", "hotel", "income", "wine"):
        code, out, err = cli("check", study)
        assert code == 0 and "can be run" in out, err


def test_list_and_show(wine):
    listed = nbs(wine, "list").stdout
    assert "wine" in listed and "v001" in listed and "flights" in listed and "not run yet" in listed
    shown = nbs(wine, "show", "wine")
    assert shown.returncode == 0 and "balanced" in shown.stdout.lower() and "checks pass" in shown.stdout
    assert nbs(wine, "show", "wine", "v009").returncode == 2
    assert nbs(wine, "show", "flights").returncode == 2
