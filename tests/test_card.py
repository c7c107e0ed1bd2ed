"The model card: every number has a source, and none can be changed unnoticed; limits and own checks, in a small study"

import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest
import report_samples as samples
import yaml
from conftest import ROOT, nbs
from small import add_cell, make_small

from nbs_lib.runner.card import FILE, PAGE, card_markdown, card_page, wrong_markdown, wrong_page

CHECKS = """
limit = stage.study.checks.latency_ms
stage.check("LATENCY", 20 <= limit, f"20 ms. Limit: {limit:g} ms ({stage.study.checks.origin('latency_ms')}).")
stage.check("TEAM-LEVEL", True, "All 20 levels.", question="Is no level below nought?", severity="high", mend="Mend the gauge.")
"""
CARD = """
card:
  owner: water board
  license: cc-by-4.0
  intended_use: To warn people 24 hours ahead.
waivers:
  - {check: TEAM-LEVL, reason: a slip of the pen, owner: ann, until: 2099-01-01}
"""
RULES = """
def owner(facts, study):
    named = study.card.owner
    return {"code": "TEAM-OWNER", "passed": bool(named), "evidence": f"The card names {named or 'nobody'}.",
            "question": "Does somebody answer for the model?", "severity": "high", "mend": "Name one: card: owner:."}

def broken(facts, study):
    return facts["nothing"]
"""


def make_package(folder: Path, checks: dict[str, str]) -> Path:
    "An installed package with entry points"
    info = folder / "our_rules-1.2.dist-info"
    info.mkdir(parents=True)
    (folder / "our_rules.py").write_text(RULES)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: our-rules\nVersion: 1.2\n")
    lines = "".join(f"{name} = our_rules:{function}\n" for name, function in checks.items())
    (info / "entry_points.txt").write_text(f"[nbs.checks]\n{lines}")
    return folder


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    "The environment in which these checks are installed"
    fine = make_package(tmp_path_factory.mktemp("packages"), {"owner": "owner"})
    return {"PYTHONPATH": f"{ROOT}:{fine}"}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, packages: dict[str, str]) -> Path:
    "A small study with a card, limits and checks of its own, run once"
    root = make_small(tmp_path_factory.mktemp("card") / "project")
    add_cell(root, "evaluation", CHECKS)
    with (root / "configs/a.yaml").open("a") as f:
        f.write(CARD)
    done = nbs(root, "run", "a", **packages)
    assert done.returncode == 0, done.stdout + done.stderr
    return root


@pytest.fixture
def root(ran: Path, tmp_path: Path) -> Path:
    "A copy of it, to be changed"
    shutil.copytree(ran, tmp_path / "project", symlinks=True)
    return tmp_path / "project"


def manifest(root: Path, version: str = "v001") -> dict:
    return json.loads((root / f"reports/a/{version}/manifest.json").read_text())


def rows(root: Path, version: str = "v001") -> dict[str, dict]:
    return {c["code"]: c for c in manifest(root, version)["checks"]}


def write_again(home: Path, name: str, text: str) -> None:
    "Change a file of a version and all hashes with it, as a forger would"
    for file in home.iterdir():
        file.chmod(0o644)
    (home / name).write_text(text)
    if name != "manifest.json":
        facts = json.loads((home / "manifest.json").read_text())
        facts["files"][name] = hashlib.sha256(text.encode()).hexdigest()
        (home / "manifest.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False))
    seal = hashlib.sha256((home / "manifest.json").read_bytes()).hexdigest()
    (home / "manifest.sha256").write_text(f"{seal}  manifest.json\n")


# ---- the card


def test_the_card_says_what_the_manifest_says(ran):
    assert nbs(ran, "verify", "a").returncode == 0
    m, home = manifest(ran), ran / "reports/a/v001"
    text, page = (home / FILE).read_text(), (home / PAGE).read_text()
    head = yaml.safe_load(text.split("---\n")[1])
    assert head["license"] == "cc-by-4.0" and head["pipeline_tag"] == "tabular-regression"
    (result,) = head["model-index"][0]["results"]
    assert set(result) == {"task", "dataset", "metrics"} and {"type", "name"} <= set(result["dataset"])
    assert result["metrics"][0] == {
        "type": "mae",
        "name": "mean absolute error",
        "value": m["headline"]["value"],
    }
    for said in ("To warn people 24 hours ahead.", "water board", "Not written: risks and harms"):
        assert said in page
    assert "TEAM-LEVEL" not in page, "what passes is left to the checklist"
    for section in ("Model details", "Intended use", "Factors", "Metrics", "Evaluation data", "Training data",
                    "Quantitative analyses", "Ethical considerations", "Caveats and recommendations"):  # fmt: skip
        assert f"## {section}\n" in text and f"<h2>{section}<" in page
    assert f'href="{PAGE}"' in (home / "index.html").read_text()


@pytest.mark.parametrize("name", [FILE, PAGE])
def test_a_number_that_was_changed_with_its_hashes_is_found(root, name):
    home = root / "reports/a/v001"
    text = (home / name).read_text()
    shown = re.search(r"/headline/value(?:-->|\"[^>]*>)([\d.]+)<", text)
    better = text[: shown.start(1)] + "0.01" + text[shown.end(1) :]
    write_again(home, name, better)
    done = nbs(root, "verify", "a", "--json")
    (fault,) = json.loads(done.stdout)["faults"]
    assert done.returncode == 1 and fault["path"] == f"reports/a/v001/{name}" and fault["what"] == "disagrees"
    assert "'0.01': the manifest has" in fault["says"] and "/headline/value" in fault["says"]
    promoted = nbs(root, "promote", "a", "--force", "--reason", "the shop opens tomorrow")
    assert promoted.returncode == 2 and "disagrees" in promoted.stderr


def test_words_that_were_changed_are_found_by_the_code_that_wrote_them(root):
    home = root / "reports/a/v001"
    write_again(home, FILE, (home / FILE).read_text().replace("## Factors", "## Facts"))
    done = nbs(root, "verify", "a")
    assert done.returncode == 1 and "is not what the manifest and this code give" in done.stdout


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("## Metrics\n", "## Metrics\n\nIt is right in 99 of 100 cases.\n", "'99': has no source"),
        ("owner", "owner", ""),
        ("license: ", "verified: 1\nlicense: ", "has no source"),
        ("cc-by-4.0", "cc-by-3.0", "the manifest has 'cc-by-4.0'"),
        ("To warn people 24", "To warn people 48", "/config/card/intended_use"),
        ("<!--/headline/value-->", "<!--/headline/low-->", "/headline/low"),
        ("<!--/headline/value-->", "", "has no source"),
    ],
)
def test_what_a_forger_writes_has_no_source(ran, old, new, said):
    m, text = manifest(ran), (ran / "reports/a/v001" / FILE).read_text()
    assert old in text
    assert said in "; ".join(wrong_markdown(m, text.replace(old, new, 1)))
    assert bool(wrong_markdown(m, text.replace(old, new, 1))) == bool(said)


def test_a_manifest_that_was_changed_with_its_hashes_is_not_what_the_stages_recorded(root):
    home, m = root / "reports/a/v001", manifest(root)
    m["headline"]["value"] = 0.01
    m["stages"]["evaluation"]["metrics"]["mae"]["value"] = 0.01
    next(c for c in m["checks"] if c["code"] == "SPLIT")["verdict"] = "not applicable"
    write_again(home, "manifest.json", json.dumps(m, indent=1, ensure_ascii=False))
    said = nbs(root, "verify", "a").stdout
    for part in ("evaluation: metrics", "headline", "verdict of SPLIT"):
        assert f"{part} is not what the stage recorded" in said


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"headline": {}},
        {"headline": {"metric": "mae", "label": "mean absolute error", "value": 3.2, "better": "lower"}},
        {"holdout": {}},
        {"holdout": {"rows": 1, "openings": 0}},
        {"checks": []},
        {"stages": {}},
        {"config": {"sensitive": ["sex"], "use_sensitive": False, "leaks": ["paid", "left"], "group": "shop", "time": "day"}},
        {"config": {"sensitive": ["sex", "race", "age"], "use_sensitive": True, "target": "late", "notes": "Read this."}},
        {"data": {"rows": 1, "columns": 1}},
    ],
)  # fmt: skip
def test_a_card_reads_well_whatever_is_missing(task, change):
    m = samples.manifest(task=task, **change)
    text, page = card_markdown(m), card_page(m)
    assert wrong_markdown(m, text) == [] and wrong_page(m, page) == []
    words = re.sub(r"<!--.*?-->", "", text.split("\n---\n", 1)[1])
    assert not re.search(
        r"None|nan|\bTrue\b|\(\)|  \w| [.,;]|\.\.|: *\.|: *$(?!\n\n[-|])",
        words.replace("holdout:", "holdout"),
        re.M,
    ), words


# ---- limits


def test_a_limit_of_the_study_runs_only_what_reads_it(root, packages):
    assert "the default: one second" in rows(root)["LATENCY"]["evidence"]
    config = root / "configs/a.yaml"
    config.write_text(config.read_text() + "checks: {latency_ms: 10}\n")
    done = nbs(root, "run", "a", **packages)
    assert re.findall(r"(?m)^  (\w+) +[\d.]+ s$", done.stdout + done.stderr) == ["evaluation"]
    check = rows(root, "v002")["LATENCY"]
    assert check["verdict"] == "fail" and check["evidence"].endswith("Limit: 10 ms (set by the study).")
    assert [c["key"] for c in manifest(root, "v002")["changes"]["config"]] == ["checks.latency_ms"]


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ("{latency: 10}", "checks: latency: unknown key; nearest: 'latency_ms'"),
        ("{latency_ms: fast}", "checks.latency_ms: input should be a valid number, found 'fast'"),
        ("{overfit: 0}", "checks.overfit: input should be greater than 0, found '0'"),
        ("{settings: 2.5}", "checks.settings: input should be a valid integer"),
        ("{missing: .nan}", "checks.missing: input should be a finite number"),
    ],
)
def test_limits_that_are_none_are_refused(cli, project, block, said):
    with (project / "configs/wine.yaml").open("a") as f:
        f.write(f"checks: {block}\n")
    code, _, err = cli("check", "wine")
    assert code == 2 and said in err and "Traceback" not in err


# ---- checks of a team's own


def test_own_checks_stand_on_the_checklist_with_their_place(ran):
    own = {k: c for k, c in rows(ran).items() if c["phase"] == "Own checks"}
    assert set(own) == {"TEAM-LEVEL", "TEAM-OWNER"}
    assert own["TEAM-LEVEL"]["page"] == "04_evaluation.html#check-TEAM-LEVEL"
    assert own["TEAM-OWNER"]["source"] == "our-rules 1.2" and "water board" in own["TEAM-OWNER"]["evidence"]
    for c in rows(ran).values():
        page, _, anchor = c.get("page", "").partition("#")
        assert not anchor or f'id="{anchor}"' in (ran / "reports/a/v001" / page).read_text()
    page = (ran / "reports/a/v001/checklist.html").read_text()
    assert "<h2>Own checks<" in page and "asked by our-rules 1.2" in page and "has the code TEAM-LEVL" in page


def test_an_own_check_counts_at_the_gate_and_can_be_waived(root, packages):
    config = root / "configs/a.yaml"
    config.write_text(config.read_text().replace("  owner: water board\n", ""))
    assert nbs(root, "run", "a", **packages).returncode == 0
    seen = nbs(root, "checklist", "a", "--json")
    facts = json.loads(seen.stdout)
    assert "TEAM-OWNER" in facts["lacking"]["challenger"] and "nearest: 'TEAM-LEVEL'" in facts["note"]
    done = nbs(root, "promote", "a", "--to", "challenger")
    assert done.returncode == 1
    for said in (
        "TEAM-OWNER",
        "The card names nobody.",
        "Does somebody answer for the model?",
        "Name one: card: owner:.",
    ):
        assert said in done.stdout
    config.write_text(config.read_text().replace("TEAM-LEVL", "TEAM-OWNER"))
    facts = json.loads(nbs(root, "checklist", "a", "--json").stdout)
    (own,) = [c for c in facts["checks"] if c["code"] == "TEAM-OWNER"]
    assert own["verdict"] == "waived" and own["waiver"]["owner"] == "ann" and not facts["note"]
    assert {"severity", "question", "why", "mend", "rule", "evidence", "place", "phase"} <= set(own)
    assert "TEAM-OWNER" not in facts["lacking"]["challenger"]


def test_a_check_that_breaks_fails_and_the_run_goes_on(root, tmp_path):
    where = make_package(
        tmp_path / "packages", {"owner": "owner", "broken": "broken", "gone": "no_such_name"}
    )
    env = {"PYTHONPATH": f"{ROOT}:{where}"}
    done = nbs(root, "run", "a", **env)
    assert done.returncode == 0 and "v002" in done.stdout, done.stdout + done.stderr
    found = rows(root, "v002")
    assert found["TEAM-OWNER"]["verdict"] == "pass"
    assert (
        found["BROKEN-BROKEN"]["verdict"] == "fail"
        and "KeyError: 'nothing'" in found["BROKEN-BROKEN"]["evidence"]
    )
    assert "no_such_name" in found["BROKEN-GONE"]["evidence"]
    assert "nothing has changed" in nbs(root, "run", "a", **env).stdout


def test_a_cell_with_a_code_and_no_question_is_one_clear_error(root):
    add_cell(root, "evaluation", 'stage.check("TEAM-WET", True, "Dry.")')
    done = nbs(root, "run", "a")
    assert done.returncode != 0
    assert "there is no check 'TEAM-WET'; a check of your own needs question=" in done.stdout + done.stderr


def test_numbers_are_called_by_words_where_the_record_has_some():
    timed = {"value": 0.1, "unit": "s", "n": 30, "label": "time of 55 rows at once, p50"}
    facts = {
        "study": "a", "task": "binary", "headline": {"metric": "roc_auc", "label": "ROC-AUC", "value": 0.7},
        "stages": {
            "evaluation": {"metrics": {"latency_55_p50": timed, "own_name": {"value": 3}, "model_memory": {"value": None}}},
            "modeling": {"metrics": {"cv_roc_auc": {"value": 0.7}, "train_score": {"value": 0.8}}},
        },
    }  # fmt: skip
    text = card_markdown(facts)
    rows = re.findall(r"^\| ([^|]+) \| [\d.]", re.sub(r"<!--.*?-->", "", text), re.M)
    assert rows == ["time of 55 rows at once, p50", r"own\_name", "ROC-AUC", "score on the training rows"]
    assert (wrong_markdown(facts, text), wrong_page(facts, card_page(facts))) == ([], [])
