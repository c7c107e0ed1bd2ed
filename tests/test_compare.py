"Comparison: each deliberate change is shown as exactly what it is, and nothing else"

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import nbs
from small import CELLS, change, code, make_small, prose

from nbs_lib.core.files import file_sha256
from nbs_lib.core.settings import NbsError
from nbs_lib.runner import scores
from nbs_lib.runner.compare import find_sides
from nbs_lib.runner.diff import as_dict, compare, diff_text, write_diff

FEATURES = """train = stage.read("train")
import pandas as pd
names = [c for c in train if c not in (stage.study.target, *stage.study.features.drop)]
stage.write("plan", {"columns": names})
stage.write("dictionary", pd.DataFrame({"name": names, "meaning": [f"{n}, unchanged" for n in names],
    "sources": names, "type": "number", "known": "with the row"}))
stage.finding("A plan.")
stage.close()"""
MODELING = """import helpers
train = stage.read("train")
luck = float(stage.rng.random())
stage.write("recipe", {"centre": helpers.centre(train[stage.study.target]), "slope": helpers.SLOPE, "luck": luck})
stage.metric("rows", len(train))
stage.finding("A centre.")
stage.close()"""
EVALUATION = """import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
recipe, holdout = stage.read("recipe"), stage.read("holdout")
said = recipe["centre"] + recipe["slope"] * (holdout["wind"] - 3) + 0.02 * (recipe["luck"] - 0.5) * np.sin(holdout["day"])
truth = holdout[stage.study.target]
stage.write("predictions", pd.DataFrame({"prediction": said, "truth": truth}))
losses = np.abs(said - truth)
error, half = float(losses.mean()), float(1.96 * losses.std() / len(losses) ** 0.5)
stage.headline(metric="mae", label="mean absolute error", value=error, low=error - half, high=error + half,
               baseline=9.0, goal=stage.study.goal, better="lower", sentence="It is near.")
stage.metric("mae", error, error - half, error + half)
stage.check("PROBLEM", stage.study.goal is not None and error <= stage.study.goal, f"The error is {error:.3f}.")
fig, ax = plt.subplots(figsize=(3, 2))
ax.plot(np.asarray(truth), np.asarray(said), "o")
stage.figure(fig, "Truth and prediction", f"{len(truth)} rows.")
stage.finding("An error.")
stage.close()"""
HELPERS = "SLOPE = 0.0\n\n\ndef centre(values):\n    return float(values.mean())\n"


def _cells(stage: str, last: str) -> list[dict]:
    "A notebook of the small study with another last cell"
    opening = f'from nbs_lib.core.record import open_stage\nstage = open_stage("{stage}", study)'
    return [
        prose(f"# {stage.capitalize()}\n\n> Small."),
        code('study = "a"', "parameters"),
        code(opening),
        prose("## What it does"),
        code(last),
    ]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    "A study of five hundred rows that has been run once: its level follows the wind, which its model leaves out"
    root = make_small(tmp_path_factory.mktemp("compare") / "project")
    explore = CELLS["01_exploration"][1].replace("40:]", "300:]").replace(":40]", ":300]")
    for stage, last in (
        ("exploration", explore),
        ("features", FEATURES),
        ("modeling", MODELING),
        ("evaluation", EVALUATION),
    ):
        change(root, stage, lambda _, stage=stage, last=last: _cells(stage, last))
    (root / "helpers.py").write_text(HELPERS)
    (root / "data/raw/water.csv").write_text(table(500))
    run(root)
    return root


def table(rows: int) -> str:
    "Rows whose level follows the wind, and something else"
    lines = [f"{i},{i % 7},{(i * 13) % 5},{10 + (i * 37) % 11 + 2 * (i % 7)}\n" for i in range(rows)]
    return "day,wind,gust,level\n" + "".join(lines)


@pytest.fixture
def root(ran: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    "A copy of it, cache included"
    monkeypatch.setenv("NBS_ROOT", str(tmp_path / "clone"))
    shutil.copytree(ran, tmp_path / "clone", symlinks=True)
    return tmp_path / "clone"


def run(root: Path, *args: str) -> str:
    done = nbs(root, "run", "a", *args)
    assert done.returncode == 0 and "comparison" not in done.stdout, done.stdout + done.stderr
    return done.stdout


def diff(root: Path, *words: str) -> dict:
    "What a comparison finds, as a program gets it"
    found = compare(*find_sides(["a", *words]))
    write_diff(found)
    return json.loads(json.dumps(as_dict(found)))


def fails(root: Path, what: str, *words: str) -> int:
    "The exit code of the command"
    return nbs(root, "diff", "a", *words, "--fail-on", what).returncode


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def slope(root: Path, value: str) -> None:
    edit(root / "helpers.py", "SLOPE = 0.0", f"SLOPE = {value}")


def only(found: dict, *parts: str) -> dict:
    "The parts, once it is certain that nothing else moved"
    assert set(found["moved"]) == set(parts), (found["moved"], found["verdict"])
    assert not found["notes"]
    return found["parts"]


# -- ten deliberate changes ---------------------------------------------------------------------------------------------


def test_nothing(root):
    run(root, "--force")
    found = diff(root)
    only(found)
    assert (found["verdict"]["word"], found["verdict"]["identical"]) == ("the same", True)
    assert fails(root, "change") == 0
    said = diff_text(compare(*find_sides(["a"]))).splitlines()
    assert said == [
        "Nothing moved from v001 to v002",
        "  The headline is the same: every prediction is the same.",
    ]
    summary = (root / "reports/a/v002/index.html").read_text()
    assert (
        "config, data, code and packages the same" in summary and 'href="../diff/v001-v002.html"' in summary
    )


def test_a_row(root):
    (root / "data/raw/water.csv").write_text(table(501))
    run(root)
    found = diff(root)
    parts = only(found, "data", "split", "figures")
    assert [(d["what"], d["old"], d["new"]) for d in parts["data"] if d["what"] == "rows"] == [
        ("rows", 500, 501)
    ]
    assert {d["what"] for d in parts["data"]} == {"data/raw/water.csv", "rows"}
    assert [(s["what"], s["old"], s["new"]) for s in parts["split"]] == [("holdout", 200, 201)]
    assert (found["verdict"]["word"], found["verdict"]["paired"]) == ("cannot be told apart", False)
    assert "other rows" in found["verdict"]["why"]


def test_a_config_key(root):
    edit(root / "configs/a.yaml", "goal: 5", "goal: 4.5")
    run(root)
    found = diff(root)
    parts = only(found, "config")
    assert parts["config"] == [{"key": "goal", "old": 5.0, "new": 4.5}]
    assert found["verdict"]["word"] == "the same"


def test_a_config_key_that_fails_a_check(root):
    edit(root / "configs/a.yaml", "goal: 5", "goal: 1")
    run(root)
    found = diff(root)
    parts = only(found, "config", "checks")
    assert found["worse"] and found["verdict"]["word"] == "the same"
    assert [(c["code"], c["old"], c["new"]) for c in parts["checks"]] == [("PROBLEM", "pass", "fail")]


def test_a_feature(root):
    with (root / "configs/a.yaml").open("a") as f:
        f.write("features: {drop: [gust]}\n")
    run(root)
    found = diff(root)
    parts = only(found, "config", "features")
    assert [(f["name"], f["change"]) for f in parts["features"]] == [("gust", "dropped")]
    assert [c["key"] for c in parts["config"]] == ["features.drop"]


def test_a_features_definition(root):
    change(
        root,
        "features",
        lambda cells: [{**c, "source": c["source"].replace("unchanged", "as measured")} for c in cells],
    )
    run(root)
    parts = only(diff(root), "code", "features")
    assert {f["change"] for f in parts["features"]} == {"changed"} and len(parts["features"]) == 3


def test_a_seed(root):
    run(root, "--set", "seed=3")
    found = diff(root)
    parts = only(found, "config", "metrics", "figures")
    assert parts["config"] == [{"key": "seed", "old": 0, "new": 3}]
    assert (found["verdict"]["word"], found["verdict"]["paired"]) == ("cannot be told apart", True)
    assert found["verdict"]["difference"] != 0


def test_a_package(root):
    run(root, "--force")
    rewrite(root, "v002", lambda m: m["packages"].update(pandas="99.0"))
    found = diff(root)
    parts = only(found, "packages")
    assert [(p["name"], p["new"]) for p in parts["packages"]] == [("pandas", "99.0")]


def test_a_cell(root):
    change(
        root,
        "modeling",
        lambda cells: [{**c, "source": c["source"].replace("A centre.", "The centre.")} for c in cells],
    )
    run(root)
    parts = only(diff(root), "code")
    [cell] = parts["code"]
    assert (cell["file"], cell["heading"], cell["change"], cell["kind"]) == (
        "03_modeling.ipynb",
        "What it does",
        "changed",
        "code",
    )
    assert [line for line in cell["diff"] if line[0] in "+-"] == [
        '-stage.finding("A centre.")',
        '+stage.finding("The centre.")',
    ]


def test_a_cell_of_text_and_a_remark(root):
    change(
        root,
        "modeling",
        lambda cells: [
            {**c, "source": c["source"].replace("> Small.", "> Small, and quick.")} for c in cells
        ],
    )
    edit(root / "helpers.py", "def centre(values):\n", "def centre(values):\n    # the middle\n")
    run(root, "--force")
    parts = only(diff(root), "code")
    assert [(c["file"], c["kind"]) for c in parts["code"]] == [
        ("03_modeling.ipynb", "text"),
        ("helpers.py", "remarks"),
    ]


def test_better(root):
    slope(root, "2.0")
    run(root)
    found = diff(root)
    parts = only(found, "code", "metrics", "figures")
    assert [c["file"] for c in parts["code"]] == ["helpers.py"]
    assert (
        found["verdict"]["word"] == "better" and found["verdict"]["high"] < 0 and found["verdict"]["paired"]
    )
    assert {m["word"] for m in parts["metrics"]} == {"better"}
    assert "Better: " in (root / "reports/a/v002/index.html").read_text()


def test_worse(root):
    slope(root, "-2.0")
    run(root)
    found = diff(root)
    assert found["verdict"]["word"] == "worse" and found["worse"]
    assert nbs(root, "diff", "a", "v002", "v001", "--fail-on", "worse").returncode == 0, (
        "the other way round it is better"
    )
    page = (root / "reports/a/diff/v001-v002.html").read_text()
    assert "v002 is worse than v001" in page and page.count("<svg") >= 2


def test_the_same_within_noise(root):
    change(
        root,
        "evaluation",
        lambda cells: [{**c, "source": c["source"].replace("0.02 *", "0.5 *")} for c in cells],
    )
    run(root)
    found = diff(root)
    parts = only(found, "code", "metrics", "figures")
    assert found["verdict"]["difference"] != 0 and found["verdict"]["word"] == "cannot be told apart"
    assert {m["word"] for m in parts["metrics"]} == {"cannot be told apart"}


# -- what is missing, and who is meant ------------------------------------------------------------------------------------


def rewrite(root: Path, version: str, alter: object) -> None:
    "Alter a manifest, as another machine might have written it"
    path = root / f"reports/a/{version}/manifest.json"
    manifest = json.loads(path.read_text())
    alter(manifest)
    path.chmod(0o644)
    path.write_text(json.dumps(manifest))


def test_an_artifact_that_is_not_what_it_was_is_not_believed(root):
    slope(root, "-2.0")
    run(root)
    predictions = root / "models/a/v001/predictions.parquet"
    shutil.copyfile(root / "models/a/v002/predictions.parquet", predictions)
    found = diff(root)
    assert found["verdict"]["word"] == "worse" and not found["verdict"]["paired"]
    assert any("predictions.parquet" in n for n in found["notes"])
    predictions.unlink()
    assert any("is missing" in n for n in diff(root)["notes"])


def test_another_target_or_no_number_cannot_be_compared(root):
    run(root, "--force")
    rewrite(root, "v002", lambda m: m["config"].update(target="wind"))
    found = diff(root)
    assert fails(root, "worse") == 3
    assert found["verdict"]["word"] == "cannot be compared" and "target" in found["verdict"]["why"]
    rewrite(root, "v002", lambda m: (m["config"].update(target="level"), m.update(headline={})))
    assert diff(root)["verdict"]["word"] == "cannot be compared"


def test_rows_of_a_single_unit_prove_nothing():
    noise = np.random.default_rng(0).normal(size=40)
    assert scores._change(noise, np.zeros(40))["p"] == 1.0
    assert scores._change(noise + 5, np.arange(40))["p"] < 1e-6


def test_names_of_versions_and_the_working_state(root):
    with pytest.raises(NbsError, match="only v001"):
        find_sides(["a"])
    slope(root, "0.5")
    found = diff(root, "now")
    assert (found["old"]["version"], found["new"]["version"], found["verdict"]) == ("v001", "now", None)
    assert [c["file"] for c in only(found, "code")["code"]] == ["helpers.py"] and "modeling" in found["plan"]
    assert (root / "reports/a/diff/v001-now.html").is_file()
    run(root)
    (root / "reports/a/aliases.json").write_text('{"champion": "v001"}')
    assert diff(root, "champion")["new"]["version"] == "v002"
    assert diff(root, "2", "champion")["old"]["version"] == "v002"
    assert only(diff(root, "now")) is not None
    for wrong, said in (
        (("v009",), "did you mean"),
        (("chmpion",), "champion"),
        (("v001", "v002", "v003"), "two versions"),
    ):
        done = nbs(root, "diff", "a", *wrong)
        assert done.returncode == 2 and said in done.stderr
    assert nbs(root, "diff", "a", "--fail-on", "wors").returncode == 2


def test_two_studies(root):
    shutil.copyfile(root / "configs/a.yaml", root / "configs/b.yaml")
    done = nbs(root, "run", "b")
    assert done.returncode == 0, done.stderr
    done = nbs(root, "diff", "a:v001", "b:v001", "--json")
    found = json.loads(done.stdout)
    assert [c["key"] for c in only(found, "config")["config"]] == ["name"]
    assert found["page"] == "reports/a/diff/v001-b-v001.html"


def test_pages_lie_outside_of_versions_and_are_safe(root):
    hostile = "<script>alert(1)</script>\\u202e"
    edit(root / "helpers.py", "def centre", f'NOTE = "{hostile}"\n\n\ndef centre')
    run(root)
    assert nbs(root, "verify", "a", "v001").returncode == nbs(root, "verify", "a", "v002").returncode == 0
    page = (root / "reports/a/diff/v001-v002.html").read_text()
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page and "Content-Security-Policy" in page
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    trend = (root / "reports/a/trend.html").read_text()
    assert "Mean absolute error: " in trend and 'href="diff/v001-v002.html"' in trend
    assert 'href="a/trend.html"' in (root / "reports/index.html").read_text()
    for name, text in (("diff", page), ("trend.html", trend)):
        here = root / "reports/a" / name
        for href in re.findall(r'href="([^"#]+)"', text):
            assert ((here if here.is_dir() else here.parent) / href).resolve().is_file(), href


def test_a_source_that_was_never_committed_is_kept(root):
    sha = file_sha256(root / "helpers.py")
    assert (root / ".nbs/sources" / sha).read_text() == HELPERS
