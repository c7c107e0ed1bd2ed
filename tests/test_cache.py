"Only what has changed runs, what is taken is checked, and nobody can tell a taken result from a computed one"

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import BIN, environment, nbs, processes_in
from hypothesis import given
from hypothesis import strategies as st
from small import add_cell, change, code, make_small, prose

from nbs_lib.core.settings import STAGES
from nbs_lib.runner.cache import FORMAT, _sum, code_parts, graft

ALL = list(STAGES)


@pytest.fixture(scope="session")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    "A small study that has been run once"
    root = make_small(tmp_path_factory.mktemp("small") / "project")
    done = nbs(root, "run", "a")
    assert done.returncode == 0, done.stdout + done.stderr
    return root


@pytest.fixture
def project(ran: Path, tmp_path: Path) -> Path:
    "A copy of it in another place, as a clone with a copied cache would be"
    shutil.copytree(ran, tmp_path / "clone", symlinks=True)
    return tmp_path / "clone"


def run(root: Path, *args: str, code: int = 0) -> tuple[list[str], str]:
    "The stages that ran, and all that was said"
    done = nbs(root, "run", "a", *args)
    said = done.stdout + done.stderr
    assert done.returncode == code, said
    assert "Traceback" not in said
    return [s for s in ALL if re.search(rf"(?m)^  {s} +[\d.]+ s$", said)], said


def manifest(root: Path, version: int = 1, study: str = "a") -> dict:
    return json.loads((root / f"reports/{study}/v{version:03}/manifest.json").read_text())


def numbers(m: dict) -> dict:
    return {s: e["metrics"] for s, e in m["stages"].items()} | {
        "headline": {k: v for k, v in m["headline"].items()}
    }


def hashes(m: dict) -> dict:
    return {n: a["sha256"] for e in m["stages"].values() for n, a in e["artifacts"].items()}


def why(root: Path, *args: str) -> str:
    return nbs(root, "run", "a", "--why", *args).stdout


def test_when_nothing_has_changed_nothing_is_made(project):
    assert "nothing has changed since v001" in why(project)
    ran, said = run(project)
    assert ran == [] and "nothing has changed since v001" in said and "mean absolute error" in said
    assert not (project / "reports/a/v002").exists()
    ledger = (project / "reports/a/holdout.jsonl").read_text().splitlines()
    assert len(ledger) == 1, "the holdout was not opened again"


def test_prose_and_comments_run_nothing_but_are_read(project):
    def edit(cells):
        cells[-1]["source"] = "# a remark\n\n" + cells[-1]["source"].replace(
            "stage.close()", "stage.close()  # done"
        )
        return [cells[0], prose("A NEW THOUGHT about water."), *cells[1:], prose("And another one.")]

    change(project, "modeling", edit)
    assert "no stage would run; a new version would be made" in why(project)
    ran, _ = run(project)
    assert ran == []
    page = (project / "reports/a/v002/03_modeling.html").read_text()
    assert "A NEW THOUGHT" in page and "A centre." in page and "computed" in page
    assert numbers(manifest(project, 2)) == numbers(manifest(project, 1))
    assert manifest(project, 2)["holdout"]["openings"] == 1
    assert set(manifest(project, 2)["reused"]) == set(ALL)
    change(project, "modeling", lambda cells: [cells[0], *cells[2:], cells[1]])
    assert run(project)[0] == [], "the order of prose is prose too"


LEAKY = """from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
X = StandardScaler().fit_transform(X)
X_train, X_test, y_train, y_test = train_test_split(X, y)
"""


def test_a_leak_in_the_code_is_told_and_runs_nothing(project):
    (project / "helper.py").write_text("import numpy\n")
    assert run(project)[0] == [] and not (project / "reports/a/v002").exists(), "clean code changes nothing"
    (project / "helper.py").write_text(LEAKY)
    ran, _ = run(project)
    made = manifest(project, 2)
    features = next(c for c in made["checks"] if c["code"] == "FEATURES")
    assert ran == [] and features["verdict"] == "fail" and "helper.py:3" in features["evidence"]
    page = (project / "reports/a/v002/index.html").read_text()
    assert "Leaks hunted" in page and "helper.py:3" in page
    done = nbs(project, "verify", "a", "v002")
    assert done.returncode == 0, f"nobody has touched it: {done.stdout}{done.stderr}"
    assert "nothing has changed since v002" in run(project)[1]
    (project / "helper.py").unlink()
    assert run(project)[0] == [] and not manifest(project, 3)["leaks"]["bad"]


def test_a_changed_function_runs_what_imports_it(project):
    helper = project / "helpers.py"
    helper.write_text('"Says."\n# why\ndef centre(values):\n    "Doc"\n    return float(values.mean())\n')
    assert "nothing has changed" in why(project), "comments and docstrings are no code"
    helper.write_text("def centre(values):\n    return float(values.median())\n")
    assert "code helpers: centre changed" in why(project)
    ran, _ = run(project)
    assert ran == ["modeling", "evaluation"]
    assert "helpers" in " ".join(manifest(project, 2)["changes"]["code"])


def test_what_is_written_the_same_is_not_read_again(project):
    add_cell(project, "features", "nothing_at_all = 1")
    text = why(project)
    assert "notebook 02_features.ipynb: code changed under “Features”" in text
    assert "if features writes something else than before" in text
    assert run(project)[0] == ["features"]


def test_a_goal_judges_again_and_computes_nothing(project):
    assert "config goal: 5.0 → 2.0" in why(project, "--set", "goal=2")
    assert run(project, "--set", "goal=2")[0] == ["evaluation"]
    assert run(project)[0] == [], "the answer to the old goal is still there"


def test_new_data_runs_everything(project):
    table = project / "data/raw/water.csv"
    table.write_text(table.read_text() + "60,3,12\n")
    assert "data data/raw/water.csv: changed" in why(project)
    assert run(project)[0] == ["exploration", "evaluation"], "the training rows are the same"
    table.write_text(table.read_text().replace("\n0,0,10\n", "\n0,0,99\n"))
    assert run(project)[0] == ALL


def test_a_file_that_a_cell_reads_is_an_input(project):
    (project / "data/raw/extra.txt").write_text("1")
    add_cell(project, "modeling", "extra = open('data/raw/extra.txt').read()")
    assert run(project)[0] == ["modeling"]
    (project / "data/raw/extra.txt").write_text("2")
    assert "file data/raw/extra.txt: changed" in why(project)
    assert run(project)[0] == ["modeling"]


def test_a_cell_that_loads_the_config_itself_depends_on_all_of_it(project):
    add_cell(project, "features", "from nbs_lib.core.study import load_study; mine = load_study(study).goal")
    assert run(project)[0] == ["features"]
    config = project / "configs/a.yaml"
    config.write_text(config.read_text().replace("goal: 5", "goal: 6"))
    assert "features     runs    config goal: 5.0 → 6.0" in why(project)
    assert run(project)[0] == ["features", "evaluation"]


def entry_files(root: Path, stage: str) -> list[Path]:
    return list((root / ".nbs/cache/entries/a" / stage).glob("*.json"))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [("packages", {"pandas": "0.1"}, "package pandas: 0.1 →"), ("python", "3.1.4", "Python: 3.1.4 →")],
)
def test_another_package_or_python_runs_again(key, value, said, project):
    for file in entry_files(project, "features"):
        entry = json.loads(file.read_text())
        entry["inputs"][key] = {**entry["inputs"][key], **value} if isinstance(value, dict) else value
        file.write_text(json.dumps({**entry, "sum": _sum(entry)}))
    assert said in why(project)


@pytest.mark.parametrize("damage", ["truncate", "alter", "remove"])
def test_a_damaged_entry_is_a_miss(damage, project):
    entry = json.loads(entry_files(project, "exploration")[0].read_text())
    sha = entry["record"]["artifacts"]["train"]["sha256"]
    file = project / ".nbs/cache/objects" / sha[:2] / sha
    content = file.read_bytes()
    file.unlink()
    if damage != "remove":
        file.write_bytes(content[:-9] if damage == "truncate" else content[:-9] + b"somethin!")
    if damage == "remove":
        assert "exploration  runs    what it left behind is missing from the cache" in why(project)
    ran, said = run(project, "--set", "goal=3")
    assert ran == ["exploration", "evaluation"], said
    assert damage == "remove" or "note: 'train' of exploration" in said
    assert hashes(manifest(project, 2)) == hashes(manifest(project, 1))


def test_a_lost_cache_or_nonsense_in_it_costs_time_only(project):
    for file in entry_files(project, "modeling"):
        file.write_text('{"inputs": {')
    (project / f".nbs/cache/code-{FORMAT}.json").write_text("nonsense")
    assert run(project)[0] == ["modeling"]
    shutil.rmtree(project / ".nbs/cache")
    assert run(project)[0] == ALL
    shutil.rmtree(project / ".nbs/cache")
    (project / ".nbs/cache").write_text("a file where the folder should be")
    ran, said = run(project, "--force")
    assert ran == ALL and "the cache cannot be written" in said


def test_from_and_force_do_what_they_say(project):
    assert run(project, "--from", "modeling")[0] == ["modeling", "evaluation"]
    assert run(project, "--force")[0] == ALL
    assert hashes(manifest(project, 3)) == hashes(manifest(project, 1)), "computed or taken, it is the same"
    assert "you asked for it" in why(project, "--from", "evaluation")
    _, said = run(project, "--from", "modelling", code=2)
    assert "did you mean" in said


def test_after_a_failure_the_same_command_goes_on(project):
    add_cell(project, "features", "unchanged_result = 2")
    add_cell(project, "evaluation", "1 / 0")
    ran, said = run(project, code=1)
    assert (
        ran == ["features"]
        and "stage evaluation, cell 5: ZeroDivisionError" in said
        and "begins: 1 / 0" in said
    )
    change(project, "evaluation", lambda cells: [c for c in cells if c["source"] != "1 / 0"])
    ran, _ = run(project)
    assert ran == [], "features was kept, evaluation is as it was"


def test_after_a_kill_the_same_command_goes_on(project):
    add_cell(project, "features", "unchanged_result = 3")
    add_cell(project, "modeling", "import time; time.sleep(120)")
    process = subprocess.Popen([BIN / "nbs", "run", "a"], cwd=project, env=environment(project))
    deadline = time.time() + 60
    while not list(project.glob("models/a/v002")) and time.time() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(2)
    assert processes_in(project) == []
    assert not (project / "reports/a/v002").exists()
    change(project, "modeling", lambda cells: [c for c in cells if "sleep" not in c["source"]])
    assert run(project)[0] == []
    assert not list(project.glob("reports/a/.v*")), "what the killed run left is cleared away"


def test_entries_hold_no_path_of_this_machine(ran):
    for path in (ran / ".nbs/cache").rglob("*"):
        if path.is_file() and "packages-" not in path.name:
            assert str(ran).encode() not in path.read_bytes(), path


def test_clocks_that_jump_do_no_harm(project):
    future = time.time() + 10 * 365 * 86400
    for path in [*(project / ".nbs/cache").rglob("*"), *project.glob("notebooks/*"), project / "helpers.py"]:
        os.utime(path, (future, future))
    assert "nothing has changed" in why(project)
    assert run(project, "--set", "goal=4")[0] == ["evaluation"]
    for path in (project / ".nbs/cache").rglob("*"):
        os.utime(path, (0, 0))
    assert "nothing has changed" in nbs(project, "run", "a", "--why", "--set", "goal=4").stdout


def test_stages_that_need_not_wait_do_not(project):
    change(project, "modeling", lambda cells: [{**c, "source": c["source"].replace(', stage.read("plan")', ", None")} for c in cells])  # fmt: skip
    run(project)
    sleep = "import time; began = time.time(); time.sleep(4)"
    for stage in ("features", "modeling"):
        add_cell(project, stage, sleep)
    began = time.time()
    assert run(project)[0] == ["features", "modeling"]
    stages = manifest(project, 3)["stages"]
    assert stages["modeling"]["started"] <= stages["features"]["finished"], "they ran side by side"
    assert time.time() - began < 60
    # it reads the plan again: what it found without is not used
    change(project, "modeling", lambda cells: [{**c, "source": c["source"].replace(", None", ', stage.read("plan")')} for c in cells])  # fmt: skip
    add_cell(project, "features", "again = 1")
    ran, _ = run(project)
    assert "plan" in manifest(project, 4)["stages"]["modeling"]["inputs"] and "features" in ran


def test_several_studies_at_once_give_what_they_give_alone(tmp_path):
    names = ("a", "b", "c", "broken")
    root = make_small(tmp_path / "p", names)
    config = root / "configs/broken.yaml"
    config.write_text(config.read_text().replace("target: level", "target: wind"))
    add_cell(root, "modeling", "assert stage.study.name != 'broken', 'this one fails'")
    done = nbs(root, "run", "--all", "-j", "2")
    assert done.returncode == 1 and "3 of 4 studies done; failed: broken" in done.stdout, (
        done.stdout + done.stderr
    )
    assert "this one fails" in done.stdout and "Traceback" not in done.stdout
    alone = nbs(root, "run", "a", "--force")
    assert alone.returncode == 0
    same = [hashes(manifest(root, v, s)) for v, s in ((1, "a"), (1, "b"), (1, "c"), (2, "a"))]
    assert all(h == same[0] for h in same)
    index = (root / "reports/index.html").read_text()
    assert all(f"{n}/v001/index.html" in index for n in ("b", "c"))
    assert not list(root.glob("reports/*/.v*"))


def test_the_cache_can_be_seen_and_pruned(project):
    shown = nbs(project, "cache").stdout
    assert "exploration" in shown and "4 entries" in shown
    os.utime(entry_files(project, "features")[0], (1, 1))
    assert "removed 1 entry" in nbs(project, "cache", "--prune", "--days", "30").stdout
    assert "features     runs    nothing of it is in the cache" in why(project)
    small = nbs(project, "cache", "--prune", NBS_EXECUTION_CACHE_SIZE="0").stdout
    assert "removed 3 entries" in small
    assert "removed everything" in nbs(project, "cache", "--clear").stdout
    assert nbs(project, "cache", "--days", "3").returncode == 2


def test_the_command_line_refuses_what_contradicts_itself(cli):
    assert cli("run", "wine", "--all")[0] == 2
    code, _, err = cli("run")
    assert code == 2 and "which study" in err
    assert cli("run", "wine", "--from", "nowhere")[0] == 2


LINES = [
    "x = 1",
    "def f(a):\n    return a + 1",
    "class C:\n    y = 2",
    "for i in range(3):\n    x += i",
    "import os",
]


@given(st.lists(st.sampled_from(LINES), max_size=5), st.lists(st.text("abc #'\"\\", max_size=20), max_size=5))
def test_remarks_and_blank_lines_never_change_what_code_says(parts, remarks):
    noisy = "\n\n".join(f"{p}\n# {r}" for p, r in zip(parts, [*remarks, *[""] * len(parts)], strict=False))
    assert code_parts(noisy) == code_parts("\n".join(parts))


@given(st.lists(st.sampled_from(LINES), min_size=1, max_size=5), st.integers(0, 4))
def test_any_other_code_is_noticed(parts, at):
    at %= len(parts)
    other = [*parts[:at], "z = 9", *parts[at + 1 :]]
    assert code_parts("\n".join(parts)) != code_parts("\n".join(other))


@given(st.lists(st.booleans(), min_size=1, max_size=8), st.integers(0, 99))
def test_grafting_keeps_outputs_with_their_cells(kinds, seed):
    executed = [{**code(f"x = {i}"), "outputs": [i]} for i, k in enumerate(kinds) if k]
    cells = [code(f"x = {i}  # {seed}") if k else prose(f"Thought {i}") for i, k in enumerate(kinds)]
    done = graft({"cells": cells, "metadata": {}}, {"cells": executed, "metadata": {"a": 1}})["cells"]
    assert [c["source"] for c in done] == [c["source"] for c in cells]
    for cell in done:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [int(re.search(r"x = (\d+)", cell["source"])[1])]
