"Notebooks are carried to the library; a run says when the library is behind them"

import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from conftest import BIN, ROOT, nbs
from hypothesis import given, settings
from hypothesis import strategies as st
from small import code, make_small, prose, write_notebook

from nbs_lib.runner import export as carry

BODY = "#| export\nfrom nbs_lib.core.numbers import fmt\n\n\ndef double(x):\n    return {} * x"


def write(root: Path, name: str, *sources: str, standfirst: str = "Numbers.") -> Path:
    "A notebook of the project"
    path = root / "notebooks" / f"{name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = [prose(f"# Own\n\n> {standfirst}"), *map(code, sources)]
    for i, cell in enumerate(cells):
        cell["id"] = f"cell{i}"
    write_notebook(path, cells)
    return path


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    "A small study, and a library of one module in step with its notebook"
    root = make_small(tmp_path / "project")
    (root / "nbs_lib").mkdir()
    shutil.copyfile(ROOT / "pyproject.toml", root / "pyproject.toml")
    monkeypatch.setenv("NBS_ROOT", str(root))
    monkeypatch.delenv("IN_TEST", raising=False)
    notebook = write(root, "core/00_own", "#| default_exp core.own", BODY.format(2))
    assert carry.export([notebook]) == [root / "nbs_lib/core/own.py"]
    return root


def module(root: Path) -> Path:
    return root / "nbs_lib/core/own.py"


def later(path: Path) -> None:
    "As if it had been saved a moment after everything else"
    now = time.time_ns() + 10**9
    os.utime(path, ns=(now, now))


def test_the_library_of_this_checkout_says_what_its_notebooks_say():
    pairs = [(n, carry.exports_of(n)) for n in carry.notebooks(ROOT / "notebooks")]
    wrong = [
        n.name
        for n, said in pairs
        if said.cells and not carry.agree(n, ROOT / "nbs_lib" / (said.module.replace(".", "/") + ".py"))
    ]
    assert len(pairs) > 80 and wrong == []


def test_what_is_in_step_is_known_without_reading_it(project, monkeypatch):
    assert carry.behind() == []
    monkeypatch.setattr(carry, "exports_of", None)  # whoever reads a notebook now fails
    assert carry.behind() == []


@pytest.mark.parametrize(
    ("sources", "standfirst"),
    [
        (["#| default_exp core.own", BODY.format(3)], "Numbers."),
        (["#| default_exp core.own", BODY.format(2), "#|export\nTWO = 2"], "Numbers."),
        (["#| default_exp core.own", BODY.format(2)], "Other words."),
    ],
    ids=["a changed function", "a new cell", "another standfirst"],
)
def test_a_change_that_matters_is_seen_and_carried_over(project, sources, standfirst):
    before = module(project).read_text()
    path = write(project, "core/00_own", *sources, standfirst=standfirst)
    (pair,) = carry.behind()
    assert pair.module == module(project) and not pair.by_hand
    assert carry.export([path]) == [module(project)]
    assert module(project).read_text() != before and carry.behind() == []


@pytest.mark.parametrize(
    "more",
    ["#| hide\nassert True", "# an example\ndouble(2)", "x = '#| export'"],
)
def test_a_change_that_the_library_does_not_hold_is_none(project, more):
    write(project, "core/00_own", "#| default_exp core.own", BODY.format(2), more)
    assert carry.behind() == []


def test_an_edit_of_the_module_is_not_overwritten(project):
    module(project).write_text(module(project).read_text().replace("2 * x", "7 * x"))
    path = write(project, "core/00_own", "#| default_exp core.own", BODY.format(3))
    done = nbs(project, "export")
    assert done.returncode == 2 and "nbs_lib/core/own.py: edited since the last export" in done.stderr
    assert (
        "nbdev-update --fname nbs_lib/core/own.py" in done.stderr and "7 * x" in module(project).read_text()
    )
    assert "edited since the last export: nbs_lib/core/own.py" in carry.behind_text(carry.behind())[0]
    assert carry.export([path], force=True) and "3 * x" in module(project).read_text()


def test_an_edit_of_the_module_goes_back_to_its_notebook(project):
    module(project).write_text(module(project).read_text().replace("2 * x", "7 * x"))
    assert [p.by_hand for p in carry.behind()] == [True]
    subprocess.run([BIN / "nbdev-update", "--fname", "nbs_lib/core/own.py"], cwd=project, check=True)
    assert "return 7 * x" in (project / "notebooks/core/00_own.ipynb").read_text() and carry.behind() == []


def test_without_a_memory_the_clock_tells_who_was_edited(project):
    (project / ".nbs/library.json").unlink()
    module(project).write_text(module(project).read_text().replace("2 * x", "7 * x"))
    later(module(project))
    assert [p.by_hand for p in carry.behind()] == [True]
    later(write(project, "core/00_own", "#| default_exp core.own", BODY.format(3)))
    later(project / "notebooks/core/00_own.ipynb")
    module(project).touch()
    assert [p.by_hand for p in carry.behind()] == [False]


def test_a_mistake_in_one_cell_carries_nothing_over(project):
    before = module(project).read_text()
    write(project, "core/00_own", "#| default_exp core.own", BODY.format(3))
    write(project, "core/01_other", "#| default_exp core.other", "x = 1", "#| export\ndef f(:\n    pass")
    done = nbs(project, "export")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "notebooks/core/01_other.ipynb: cell 4, which begins with 'def f(:': invalid syntax" in done.stderr
    assert module(project).read_text() == before and not (project / "nbs_lib/core/other.py").exists()


def test_a_run_says_it_in_a_line(project):
    write(project, "core/00_own", "#| default_exp core.own", BODY.format(3))
    done = nbs(project, "run", "nothing")
    assert (
        done.stdout
        == "  note: the library is behind the notebooks: nbs_lib/core/own.py; `nbs export` carries them over\n"
    )
    assert nbs(project, "run", "nothing", "--quiet").stdout == ""
    done = nbs(project, "export", "notebooks/core")
    assert done.returncode == 0 and done.stdout.splitlines()[0] == "  nbs_lib/core/own.py", done.stderr
    assert "1 module changed" in done.stdout
    assert nbs(project, "run", "nothing").stdout == ""


def test_an_export_cleans_and_keeps_the_parameters_tag(project):
    path = project / "notebooks/01_exploration.ipynb"
    nb = json.loads(path.read_text())
    nb["cells"][1] |= {"execution_count": 7, "metadata": {"tags": ["parameters"], "scrolled": True}}
    path.write_text(json.dumps(nb))
    done = nbs(project, "export", str(path))
    assert done.returncode == 0 and "1 notebook cleaned" in done.stdout, done.stderr
    cell = json.loads(path.read_text())["cells"][1]
    assert cell["execution_count"] is None and cell["metadata"] == {"tags": ["parameters"]}


def test_paths_that_are_no_notebooks_of_the_project(project, tmp_path):
    (tmp_path / "far.ipynb").write_text("{}")
    for path, says in (
        ("nowhere.ipynb", "there is no such notebook"),
        ("nbs_lib/core/own.py", "nbdev-update"),
        (str(tmp_path / "far.ipynb"), "lies outside notebooks"),
    ):
        done = nbs(project, "export", path)
        assert done.returncode == 2 and says in done.stderr and "Traceback" not in done.stderr


LINES = st.lists(
    st.sampled_from(
        [
            "from nbs_lib.core.numbers import fmt",
            "from nbs_lib.core import files",
            "from nbs_lib.core.files import (\n    parse,\n)",
            "text = '''\n # %% no cell\nfrom . import x\n'''",
            "import os  # from .a import b",
            "#| later",
            "x = 1  ",
            "",
            "def f():\n    from nbs_lib.core.files import parse\n\n    return parse",
        ]
    ),
    max_size=6,
)


@settings(max_examples=25, deadline=None)
@given(st.lists(LINES, min_size=1, max_size=3))
def test_after_an_export_the_two_agree(cells):
    "nbdev's writing and our reading of it: whatever a cell holds"
    with tempfile.TemporaryDirectory() as home, pytest.MonkeyPatch.context() as patch:
        root = Path(home)
        (root / "nbs_lib").mkdir()
        (root / "settings.ini").write_text("")
        shutil.copyfile(ROOT / "pyproject.toml", root / "pyproject.toml")
        patch.setenv("NBS_ROOT", home)
        patch.delenv("IN_TEST", raising=False)
        sources = ["#| export\n" + "\n".join(lines) for lines in cells]
        path = write(root, "core/00_own", "#| default_exp core.own", "#| export\nkept = 1", *sources)
        assert carry.export([path])
        assert carry.behind() == [] and (root / "nbs_lib/core/own.py").is_file()
