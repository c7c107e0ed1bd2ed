"Leaks in code: planted ones are found in their disguises, clean twins and the project's own code stay quiet."

import json
import time

import pytest
from conftest import ROOT, nbs
from leak_snippets import snippets

from nbs_lib.core.settings import NbsError
from nbs_lib.trust.code import CATEGORIES, KINDS, audit_code, own_code, read_code

DEVELOPED = ["preprocessing.txt", "selecting.txt", "features.txt"]
HELD_BACK = [
    "held_back.txt",
    "held_back_2.txt",
    "held_back_3.txt",
]  # written before they were first run, and run once before mending
SUITE = [s for file in [*DEVELOPED, *HELD_BACK] for s in snippets(file)]


@pytest.fixture(autouse=True)
def in_the_checkout(monkeypatch):
    monkeypatch.setenv("NBS_ROOT", str(ROOT))


def kinds_in(path, study=None):
    return {f.kind for f in audit_code([path], study).findings}


@pytest.mark.parametrize("snippet", [s for s in SUITE if s.leaky], ids=lambda s: s.name)
def test_a_planted_leak_is_found(snippet, tmp_path):
    assert kinds_in(snippet.write(tmp_path), snippet.study) & {snippet.kind, *snippet.also}


@pytest.mark.parametrize("snippet", [s for s in SUITE if not s.leaky], ids=lambda s: s.name)
def test_its_clean_twin_is_quiet(snippet, tmp_path):
    found = audit_code([snippet.write(tmp_path)], snippet.study)
    assert not found.findings and not found.notes


def test_every_kind_is_planted_and_has_its_place():
    assert {s.kind for s in SUITE} == set(KINDS)
    assert all(k.category in CATEGORIES for k in KINDS.values())


def test_the_projects_own_code_is_clean():
    found = audit_code(own_code())
    assert [f for f in found.findings if not f.ignored] == []
    assert len(found.files) > 50


def test_what_has_not_changed_is_not_read_again():
    audit_code(own_code())
    began = time.process_time()
    audit_code(own_code())
    assert time.process_time() - began < 5


LEAK = """
X = StandardScaler().fit_transform(X)
X_train, X_test = train_test_split(X)
"""


def notebook(path, *cells, **metadata):
    code = [{"cell_type": "code", "source": c, "metadata": {}, "outputs": []} for c in cells]
    path.write_text(json.dumps({"cells": code, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}))
    return path


def test_what_is_no_python_is_said_and_the_rest_is_read(tmp_path):
    path = notebook(
        tmp_path / "n.ipynb",
        "%%bash\nls",
        "!pip install x\n%matplotlib inline\ndf.head?",
        "def broken(:",
        LEAK,
        "%%time\nx = 1",
    )
    found = audit_code([path])
    assert [(f.cell, f.line) for f in found.findings] == [(4, 2)]
    assert len(found.notes) == 1 and "cell 3" in found.notes[0]
    assert audit_code([notebook(tmp_path / "r.ipynb", "x <- 1", language_info={"name": "R"})]).notes


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff\xfe\x00fit",
        b"x = '\xe4\xf6' # fit\n",
        b"fit(\x00)",
        b"fit" + b"(" * 3000,
        b"f.fit(" + b"[" * 150 + b"]" * 150 + b")",
    ],
)
def test_broken_modules_do_not_crash(raw, tmp_path):
    path = tmp_path / "m.py"
    path.write_bytes(raw)
    assert audit_code([path]).findings == []


@pytest.mark.parametrize(
    "raw", ["", "{", "[]", '{"cells": 3}', '{"cells": [{"cell_type": "code"}]}', '{"worksheets": [{}]}']
)
def test_broken_notebooks_do_not_crash(raw, tmp_path):
    path = tmp_path / "n.ipynb"
    path.write_text(raw)
    assert audit_code([path]).findings == []


def test_endless_code_ends(tmp_path):
    path = tmp_path / "m.py"
    calls = "\n".join(f"def f{i}(x):\n    return f{i + 1}(x).fit(f{i + 1}(x + {i}))" for i in range(300))
    path.write_text(calls + "\ndef f300(x):\n    return f0(x)\nf0(X)\n" + "model.fit(X, y)\n" * 20000)
    began = time.process_time()
    audit_code([path])
    assert time.process_time() - began < 20


def test_a_comment_with_a_reason_silences_its_kind(tmp_path):
    path = tmp_path / "m.py"
    line = "X = StandardScaler().fit_transform(X)"
    for comment, ignored, notes in [
        (
            "  # nbs: ignore fit-before-split the scale is given by the sensor",
            "the scale is given by the sensor",
            0,
        ),
        ("  #nbs: ignore fit-before-split: the sensor's own", "the sensor's own", 0),
        ("  # nbs: ignore fit-before-split", "", 1),
        ("  # nbs: ignore future-look the plan is known", "", 0),
        ("  # nbs: ignore fit-befor-split a typo", "", 1),
    ]:
        path.write_text(f"{line}{comment}\nX_train, X_test = train_test_split(X)\n")
        found = audit_code([path])
        assert [f.ignored for f in found.findings] == [ignored] and len(found.notes) == notes
        assert bool(found.errors) != bool(ignored)


@pytest.mark.parametrize("other", ["[1]", "{0: 1}", "[[1]]", "(1, 2)"])
def test_a_call_is_not_taken_for_an_earlier_one(tmp_path, other):
    path = tmp_path / "m.py"
    path.write_text(
        "def prep(parts):\n    return StandardScaler().fit_transform(parts[0])\n"
        f"A = prep({other})\nB = prep({other})\nZ = prep([df])\ntrain, test = train_test_split(Z)\n"
    )
    assert [f.kind for f in audit_code([path]).findings] == ["fit-before-split"]


def test_a_module_is_followed_from_the_notebook_that_uses_it(tmp_path):
    (tmp_path / "own_steps.py").write_text(
        "from sklearn.preprocessing import StandardScaler\ndef scaled(t):\n    return StandardScaler().fit_transform(t)\n"
    )
    path = notebook(
        tmp_path / "n.ipynb", "from own_steps import scaled\nZ = scaled(X)", "a, b = train_test_split(Z)"
    )
    (found,) = audit_code([path]).findings
    assert found.file.endswith("own_steps.py") and found.line == 3
    (tmp_path / "own_steps.py").write_text("def scaled(t):\n    return t / 255\n")
    assert audit_code([path]).findings == []


def test_a_finding_names_what_is_in_the_code(tmp_path):
    path = notebook(
        tmp_path / "n.ipynb",
        "sc = StandardScaler()\nZ = sc.fit_transform(table)",
        "tr, te = train_test_split(Z)",
    )
    (found,) = audit_code([path]).findings
    assert "`sc`" in found.says and "`table`" in found.says and "cell 2" in found.says
    assert found.category == "L1.2" and found.mend and found.code == "Z = sc.fit_transform(table)"


def test_own_code_finds_what_configs_and_notebooks_name(project):
    (project / "configs/wine_own.yaml").write_text("modeling: {candidates: [own_models.tree.Small]}\n")
    (project / "own_models").mkdir()
    (project / "own_models/tree.py").write_text("from helpers import x\n")
    (project / "helpers.py").write_text("x = 1\n")
    (project / ".venv").mkdir()
    (project / ".venv/other.py").write_text("x = 1\n")
    names = [p.relative_to(project).as_posix() for p in own_code(project)]
    assert {"own_models/tree.py", "helpers.py", "notebooks/02_features.ipynb"} <= set(names)
    assert not any(n.startswith((".venv", "nbs_lib")) for n in names)


def test_reading_a_file_that_is_not_there_is_one_clear_error(tmp_path):
    with pytest.raises(NbsError, match="no such file"):
        audit_code([tmp_path / "none.py"])
    with pytest.raises(NbsError, match="has to be a notebook"):
        (tmp_path / "a.txt").write_text("")
        audit_code([tmp_path / "a.txt"])
    assert read_code(notebook(tmp_path / "n.ipynb", "a = 1")).cells[0].source == "a = 1"


def test_the_command(project, cli):
    path = project / "mine.py"
    path.write_text(LEAK)
    code, out, _ = cli("audit", "mine.py")
    assert code == 1 and "fit-before-split" in out and "to mend:" in out and "1 leak found" in out
    code, out, _ = cli("audit", "mine.py", "--json")
    assert code == 1 and json.loads(out)["findings"][0]["category"] == "L1.2"
    path.write_text("X = 1\n")
    code, out, _ = cli("audit", "mine.py")
    assert code == 0 and "no leak found" in out
    assert cli("audit", "none.py")[0] == 2
    assert cli("audit", "mine.py", "--study", "flihgts")[0] == 2
    assert "target-in-features" in cli("audit", "--kinds")[1]


def test_the_command_takes_the_teams_code_unless_told(project):
    done = nbs(project, "audit")
    assert done.returncode == 0, done.stdout
    assert "no leak found" in done.stdout
