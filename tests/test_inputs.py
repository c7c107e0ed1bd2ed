"Whatever a stage has really read counts, in whatever way it was read; and a run sees one state of everything"

import json
import os
import shutil
import sqlite3
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
from conftest import BIN, environment, nbs
from small import add_cell, change, make_small, prose
from test_cache import manifest, run, why

from nbs_lib.runner.cache import FORMAT


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_small(tmp_path / "project")


def reads(project: Path, code: str) -> None:
    "Let modeling do something more, before anything else"
    add_cell(project, "modeling", code, at=1)


READERS = {
    "arrow": "import pandas as pd\nmore = len(pd.read_parquet('data/raw/more.parquet'))",
    "sqlite": "import sqlite3\nmore = sqlite3.connect('data/raw/more.db').execute('select * from t').fetchall()",
    "import": "import reads_at_import",
    "update": "more = open('data/raw/more.txt', 'r+').read()",
    "folder": "from pathlib import Path\nmore = [p.read_text() for p in sorted(Path('data/raw/parts').glob('*.txt'))]",
    "script": "exec(open('script.py').read())",
}


def write_all(project: Path, n: int) -> None:
    raw = project / "data/raw"
    (raw / "parts").mkdir(exist_ok=True)
    pd.DataFrame({"a": range(n)}).to_parquet(raw / "more.parquet")
    (raw / "more.db").unlink(missing_ok=True)
    with sqlite3.connect(raw / "more.db") as db:
        db.execute("create table t (a)")
        db.executemany("insert into t values (?)", [(i,) for i in range(n)])
    db.close()
    (raw / "more.txt").write_text(str(n))
    (raw / f"parts/{n}.txt").write_text("same")
    (raw / "table.json").write_text(json.dumps(n))
    (project / "script.py").write_text(f"more = {n}\n")


def test_every_way_of_reading_is_seen(project):
    (project / "reads_at_import.py").write_text(
        "import json\nTABLE = json.load(open('data/raw/table.json'))\n"
    )
    write_all(project, 1)
    reads(project, "\n".join(READERS.values()))
    assert run(project)[0]
    assert "nothing has changed" in why(project)
    write_all(project, 2)
    said = why(project)
    for what in ("more.parquet", "more.db", "table.json", "more.txt", "script.py"):
        assert f"{what}: changed" in said, what
    assert "folder data/raw/parts: holds other files" in said


def test_a_module_beside_the_project_is_code(project, tmp_path, monkeypatch):
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "shared_by_all.py").write_text("def f():\n    return 1\n")
    monkeypatch.setenv("PYTHONPATH", str(shared))
    reads(project, "import shared_by_all")

    def call(*args: str) -> str:
        path = os.pathsep.join([environment(project)["PYTHONPATH"], str(shared)])
        return nbs(project, "run", "a", *args, PYTHONPATH=path).stdout

    call()
    (shared / "shared_by_all.py").write_text("def f():\n    return 2\n")
    assert "shared_by_all: f changed" in call("--why")


def begin(project: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [BIN / "nbs", "run", "a"], cwd=project, env=environment(project), stdout=subprocess.PIPE, text=True
    )


def wait_for(path: Path, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < until, f"{path} did not appear"
        time.sleep(0.02)


PAUSE = """
import pathlib, time
if not pathlib.Path(".nbs/once").exists():
    for name in ("once", "here"):
        pathlib.Path(f".nbs/{name}").write_text("")
while pathlib.Path(".nbs/here").exists():
    time.sleep(0.02)
"""


def test_what_is_edited_while_it_is_read_is_not_kept(project):
    (project / "data/raw/more.txt").write_text("1")
    reads(project, "import helpers\nmore = open('data/raw/more.txt').read()\n" + PAUSE)
    going = begin(project)
    wait_for(project / ".nbs/here")
    (project / "data/raw/more.txt").write_text("22")
    (project / ".nbs/here").unlink()
    said = going.communicate(timeout=120)[0]
    assert "data/raw/more.txt was edited while it ran" in said
    assert "modeling     runs" in why(project)


def test_a_run_sees_the_config_and_the_notebooks_of_its_beginning(project):
    reads(project, PAUSE)
    going = begin(project)
    wait_for(project / ".nbs/here")
    config = project / "configs/a.yaml"
    config.write_text(config.read_text().replace("goal: 5", "goal: 1"))
    change(project, "exploration", lambda cells: [cells[0], prose("WRITTEN MEANWHILE."), *cells[1:]])
    (project / ".nbs/here").unlink()
    assert going.wait(120) == 0
    first = manifest(project)
    assert first["config"]["goal"] == first["headline"]["goal"] == 5
    said = why(project)
    assert "nothing has changed" not in said and "config goal: 5.0 → 1.0" in said
    reads(project, "pass")
    run(project)
    assert "WRITTEN MEANWHILE." in (project / "reports/a/v002/01_exploration.html").read_text()


def test_what_an_earlier_stage_said_is_an_input(project):
    add_cell(
        project,
        "evaluation",
        'seen = stage.metric_of("modeling", "rows")\n'
        "from nbs_lib.core.record import read_record\n"
        'said = read_record("features", "a", stage.run)["findings"]',
    )
    run(project)
    change(
        project,
        "modeling",
        lambda cells: [{**c, "source": c["source"].replace("len(train)", "1000")} for c in cells],
    )
    assert run(project)[0] == ["modeling", "evaluation"]
    change(
        project,
        "features",
        lambda cells: [{**c, "source": c["source"].replace("A plan.", "Another.")} for c in cells],
    )
    assert run(project)[0] == ["features", "evaluation"]


def test_a_config_read_in_a_cell_counts_as_a_whole(project):
    reads(project, "from nbs_lib.core.study import load_study\nmore = load_study('a').goal")
    run(project)
    assert "config goal: 5.0 → 2.0" in why(project, "--set", "goal=2").split("evaluation")[0]


def test_an_altered_entry_is_not_believed(project):
    run(project)
    home = project / ".nbs/cache/entries/a/evaluation"
    file = next(home.glob("*.json"))
    entry = json.loads(file.read_text())
    entry["record"]["metrics"]["mae"]["value"] = 0.001
    file.write_text(json.dumps(entry))
    for i, odd in enumerate(("[]", "null", "{}", "not json", '{"format": 2, "record": {}}')):
        (home / f"odd{i}.json").write_text(odd)
    (project / f".nbs/cache/code-{FORMAT}.json").write_text("[]")
    change(project, "features", lambda cells: [*cells, prose("More.")])
    assert run(project)[0] == ["evaluation"]
    assert manifest(project, 2)["headline"]["value"] == manifest(project, 1)["headline"]["value"]
    assert len(list(home.glob("*.json"))) == 1, "what is no entry is pruned, and nothing else"


def test_what_fails_after_publishing_costs_nothing_that_was_published(project):
    (project / "reports").mkdir(exist_ok=True)
    (project / "reports/index.html").mkdir()
    ran, said = run(project)
    assert len(ran) == 4 and "v001 is complete; what comes after failed" in said
    for entry in manifest(project)["stages"].values():
        assert all((project / a["path"]).is_file() for a in entry["artifacts"].values())
    (project / "reports/index.html").rmdir()
    shutil.rmtree(project / "models/a")
    assert run(project)[0] == [] and (project / "models/a/v002").is_dir(), "made again from the cache"


def test_a_damaged_notebook_is_one_message(project):
    next((project / "notebooks").glob("03_*.ipynb")).write_text("{")
    done = nbs(project, "run", "a", "--why")
    assert done.returncode == 2 and "damaged JSON" in done.stderr and "Traceback" not in done.stderr


def test_a_long_folder_for_temporary_files_is_no_problem(project, tmp_path):
    long = tmp_path / ("x" * 60) / ("y" * 60)
    long.mkdir(parents=True)
    done = nbs(project, "run", "a", "--force", TMPDIR=str(long), XDG_RUNTIME_DIR=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_password_in_a_query_string_is_refused(project):
    config = project / "configs/a.yaml"
    url = "{url: 'postgresql://db/x?password=s3cret', query: select 1}"
    config.write_text(config.read_text().replace("{path: data/raw/water.csv}", url))
    done = nbs(project, "run", "a")
    assert done.returncode == 2 and "holds a password" in done.stderr and "s3cret" not in done.stderr


def test_a_run_without_a_warm_process_says_why(project, tmp_path):
    open_to_all = tmp_path / "run" / f"nbs-{os.getuid()}"
    open_to_all.mkdir(parents=True)
    open_to_all.chmod(0o777)
    done = nbs(project, "run", "a", XDG_RUNTIME_DIR=str(tmp_path / "run"))
    assert done.returncode == 0 and "note: kernels import for themselves" in done.stdout, done.stdout
    assert "is not a private folder of yours" in done.stdout
    assert done.stdout.count("note: kernels import") == 1
