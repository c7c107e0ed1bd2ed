"What may go wrong while a study runs: each fault is one clear message, keeps what was done, and leaves nothing half made"

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from conftest import BIN, environment, nbs, processes_in
from small import PARAMETERS, add_cell, change, code, make_small

PRINTED = "print('fold 1 of 5')\nprint('fold 2 of 5', flush=True)\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_small(tmp_path / "project")


def run(root: Path, *args: str, **more: str) -> tuple[int, str]:
    "Exit code and all that was said"
    began = time.time()
    done = nbs(root, "run", "a", *args, timeout=180, **more)
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    assert time.time() - began < 120
    return done.returncode, done.stdout + done.stderr


def nothing_is_left(root: Path) -> None:
    "No version, no artifact of one, no process"
    left = [*root.glob("reports/a/*v0*"), *root.glob("data/*/a/*"), *root.glob("models/a/*")]
    assert left == []
    deadline = time.time() + 10
    while processes_in(root) and time.time() < deadline:
        time.sleep(0.2)
    assert processes_in(root) == []


def kept_page(root: Path, stage: str) -> str:
    return next((root / ".nbs/failed").rglob(f"{stage}.html")).read_text()


def test_a_kernel_that_is_killed(project):
    add_cell(project, "features", PRINTED + "import os, time; time.sleep(0.5); os.kill(os.getpid(), 9)")
    exit_code, said = run(project)
    assert exit_code == 4
    assert "stage features, cell 5: its kernel was killed" in said
    assert "| fold 2 of 5" in said and "begins: print('fold 1 of 5')" in said
    page = kept_page(project, "02_features")
    assert "killed" in page and "fold 2 of 5" in page and "(failed)" in page
    nothing_is_left(project)


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ("{cell: 2}", "stage modeling, cell 5: it has taken more than 2 s"),
        ("{stage: 3}", "stage modeling, cell 5: the stage has taken more than 3 s"),
    ],
)
def test_a_cell_that_hangs(limits, said, project):
    config = project / "configs/a.yaml"
    config.write_text(config.read_text() + f"limits: {limits}\n")
    add_cell(project, "modeling", PRINTED + "import time; time.sleep(100)")
    exit_code, text = run(project)
    assert exit_code == 3 and said in text and "| fold 2 of 5" in text
    assert "has taken more than" in kept_page(project, "03_modeling")
    nothing_is_left(project)


def test_a_limit_of_the_checkout(project):
    add_cell(project, "modeling", "import time; time.sleep(100)")
    exit_code, said = run(project, NBS_EXECUTION_CELL_TIMEOUT="1.5")
    assert exit_code == 3 and "more than 1.5 s" in said


def test_a_gigabyte_of_output_stops_the_stage(project):
    add_cell(project, "features", "for i in range(1_000_000): print('x' * 1000, i)")
    exit_code, said = run(project)
    assert exit_code == 3 and "it has printed more than 100 MB" in said
    kept = next((project / ".nbs/failed").rglob("02_features.ipynb"))
    assert kept.stat().st_size < 5_000_000
    nothing_is_left(project)


def test_much_output_is_cut_and_a_huge_print_too(project):
    add_cell(project, "features", "print('y' * 1_000_000_000)")
    add_cell(project, "modeling", "for i in range(3000): print('z' * 1000, i)")
    exit_code, said = run(project)
    assert exit_code == 0, said
    folder = project / "reports/a/v001"
    assert all(p.stat().st_size < 3_000_000 for p in folder.iterdir())
    assert "more than 1 MB of output" in (folder / "03_modeling.ipynb").read_text()
    assert "characters are left out" in (folder / "02_features.ipynb").read_text()


def test_the_error_of_a_cell_that_has_printed_much_is_told(project):
    add_cell(
        project, "features", "for i in range(3000): print('z' * 1000, i)\nraise ValueError('the reason')"
    )
    exit_code, said = run(project)
    assert exit_code == 1 and "stage features, cell 5: ValueError: the reason" in said
    assert "the reason" in kept_page(project, "02_features")


def test_a_full_disk_inside_a_cell(project):
    add_cell(project, "modeling", "with open('/dev/full', 'w') as f: f.write('x' * 100_000)")
    exit_code, said = run(project)
    assert exit_code == 5 and "No space left on device" in said
    nothing_is_left(project)


@pytest.fixture
def tiny(project: Path) -> Path:
    "A reports folder with room for hardly anything"
    (project / "reports").mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", project / "reports"], capture_output=True
    )
    if done.returncode:
        pytest.skip("needs the right to mount a small file system")
    yield project
    subprocess.run(["umount", "-l", project / "reports"], check=True)


def test_a_full_disk_under_the_reports(tiny):
    exit_code, said = run(tiny)
    assert exit_code == 5 and "cannot be written (No space left on device)" in said
    assert "goes on from the last finished stage" in said
    assert not list((tiny / "reports").glob("a/v*"))
    subprocess.run(["mount", "-o", "remount,size=64m", tiny / "reports"], check=True)
    exit_code, said = run(tiny)
    assert exit_code == 0 and "fresh" in said, "what had finished is not computed again"


def test_a_reports_folder_that_is_read_only(tiny):
    subprocess.run(["mount", "-o", "remount,ro", tiny / "reports"], check=True)
    exit_code, said = run(tiny)
    assert exit_code == 2 and "reports/a: cannot be written (Read-only file system)" in said
    subprocess.run(["mount", "-o", "remount,rw,size=64m", tiny / "reports"], check=True)
    nothing_is_left(tiny)


def test_a_notebook_without_its_parameter_is_found_before_a_kernel_starts(project):
    change(project, "modeling", lambda cells: [c for c in cells if c["source"] != PARAMETERS])
    exit_code, said = run(project)
    assert exit_code == 2 and 'notebooks/03_modeling.ipynb: needs a cell with the tag "parameters"' in said
    assert not (project / "reports/a").exists()


def test_an_unknown_parameter_is_refused_by_the_engine(project):
    command = [
        BIN / "papermill",
        "notebooks/01_exploration.ipynb",
        "out.ipynb",
        "-p",
        "stduy",
        "a",
        "--engine",
        "nbs",
    ]
    done = subprocess.run(command, cwd=project, env=environment(project), capture_output=True, text=True)
    assert (
        done.returncode and "there is no parameter 'stduy'" in done.stderr and "did you mean" in done.stderr
    )


def test_papermill_alone_runs_a_notebook_with_the_engine(project):
    command = [
        BIN / "papermill",
        "notebooks/01_exploration.ipynb",
        "out.ipynb",
        "-p",
        "study",
        "a",
        "--engine",
        "nbs",
    ]
    done = subprocess.run(command, cwd=project, env=environment(project), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (project / "data/processed/a/work/exploration.json").exists()


def test_a_stage_that_is_not_closed(project):
    change(
        project,
        "features",
        lambda cells: [{**c, "source": c["source"].replace("stage.close()", "")} for c in cells],
    )
    exit_code, said = run(project)
    assert exit_code == 1 and "has to call stage.close()" in said


SECRET = "s3cret-Pass99"


@pytest.fixture
def secretive(project: Path) -> Path:
    "A study whose table lies in a database with a password"
    import sqlite3

    with sqlite3.connect(project / "water.db") as db:
        db.execute("create table water (day integer, wind integer, level integer)")
        db.executemany(
            "insert into water values (?, ?, ?)", [(i, i % 7, 10 + (i * 37) % 11) for i in range(60)]
        )
    config = project / "configs/a.yaml"
    source = "data: {url: 'sqlite:///water.db?timeout=${env:WATER_TIMEOUT}', query: select * from water}"
    config.write_text(
        config.read_text().replace("data: {path: data/raw/water.csv}", source) + "notes: ${env:WATER_PASS}\n"
    )
    return project


def shows_secret(root: Path) -> list[str]:
    files = [p for p in root.rglob("*") if p.is_file() and "water.db" not in p.name]
    return [str(p.relative_to(root)) for p in files if SECRET.encode() in p.read_bytes()]


def test_a_secret_reaches_the_code_and_nothing_else(secretive):
    add_cell(secretive, "features", "import os; used = len(os.environ['WATER_PASS'])")
    exit_code, said = run(secretive, WATER_PASS=SECRET, WATER_TIMEOUT="17")
    assert exit_code == 0, said
    assert SECRET not in said and shows_secret(secretive) == []


@pytest.mark.parametrize(
    "cell",
    [
        "import os; print('password', os.environ['WATER_PASS'])",
        "import os; os.environ['WATER_PASS']",
        "import os; stage.finding('It is ' + os.environ['WATER_PASS'])",
        "import os; stage.metric('m', 1.0, note=os.environ['WATER_PASS'])",
        "import os; raise ValueError(os.environ['WATER_PASS'])",
        "import os; raise ValueError('cannot connect:\\n' + os.environ['WATER_PASS'])",
        "import os, time; s = os.environ['WATER_PASS']; print(s[:6], end='', flush=True); time.sleep(0.5); print(s[6:])",
        "import os; h = display('x', display_id=True); h.update(os.environ['WATER_PASS'] + '_ro')",
    ],
)
def test_a_cell_that_shows_a_secret_is_refused(cell, secretive):
    add_cell(secretive, "features", cell)
    exit_code, said = run(secretive, WATER_PASS=SECRET, WATER_TIMEOUT="17")
    assert exit_code in (1, 2) and SECRET not in said, said
    assert "WATER_PASS" in said
    assert shows_secret(secretive) == []
    nothing_is_left(secretive)


def test_a_password_in_the_config_is_refused(project):
    config = project / "configs/a.yaml"
    source = f"data: {{url: 'postgresql://me:{SECRET}@localhost/water', query: select 1}}"
    config.write_text(config.read_text().replace("data: {path: data/raw/water.csv}", source))
    exit_code, said = run(project)
    assert exit_code == 2 and "${env:" in said and SECRET not in said


def test_a_damaged_notebook_is_one_message(project):
    (project / "notebooks/02_features.ipynb").write_text('{"cells": [')
    exit_code, said = run(project)
    assert exit_code == 2 and "02_features.ipynb: is not a notebook" in said


def end_warm_processes() -> None:
    "Kill those that these tests use, and nobody else's"
    base = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()) / f"nbs-{os.getuid()}"
    found = subprocess.run(["pgrep", "-f", f"forkserver.py {base}/"], capture_output=True, text=True).stdout
    for pid in found.split():
        with contextlib.suppress(OSError):
            if not Path(f"/proc/{pid}/comm").read_text().startswith("nbs-"):
                os.kill(int(pid), signal.SIGKILL)


def test_the_warm_process_may_die_at_any_time(project):
    add_cell(project, "features", "import os, time; open('here', 'w').close(); time.sleep(3)")
    process = subprocess.Popen(
        [BIN / "nbs", "run", "a"], cwd=project, env=environment(project), stdout=subprocess.PIPE
    )
    while not (project / "here").exists():
        time.sleep(0.1)
    end_warm_processes()
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 0 and b"mean absolute error" in said
    assert run(project, "--force")[0] == 0


def test_the_cache_folder_may_vanish_while_a_study_runs(project):
    add_cell(project, "modeling", "import shutil; shutil.rmtree('.nbs/cache', ignore_errors=True)")
    assert run(project)[0] == 0
    assert (project / "reports/a/v001/manifest.json").exists()


def test_code_that_is_edited_while_it_runs_is_not_kept(project):
    add_cell(project, "modeling", "open('helpers.py', 'a').write('\\nedited = 1\\n')", at=4)
    exit_code, said = run(project)
    assert exit_code == 0 and "helpers.py was edited while it ran" in said
    assert not list((project / ".nbs/cache/entries/a/modeling").glob("*"))


def test_what_was_done_is_kept_when_a_cell_fails(project):
    add_cell(project, "modeling", PRINTED + "1 / 0")
    exit_code, said = run(project)
    assert exit_code == 1 and "stage modeling, cell 5: ZeroDivisionError: division by zero" in said
    page = kept_page(project, "03_modeling")
    assert "ZeroDivisionError" in page and "fold 2 of 5" in page
    kept = json.loads(next((project / ".nbs/failed").rglob("03_modeling.ipynb")).read_text())
    assert any(re.search("ZeroDivision", str(c.get("outputs"))) for c in kept["cells"])
    shutil.rmtree(project / ".nbs/failed")
    assert code("x")["source"] == "x"
