"Every page of a real run: accessible (axe-core), sound HTML, no dead link, within its weight, also as data, PDF and text"

import json
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from conftest import browser_path, nbs

PAGE, VERSION = 3_000_000, 10_000_000  # bytes


@pytest.fixture(scope="module")
def pages(wine: Path) -> list[Path]:
    "All pages that the run has left"
    found = sorted((wine / "reports").rglob("*.html"))
    assert len(found) >= 6
    return found


class Links(HTMLParser):
    "Where a page points to, and what can be pointed at in it"

    def __init__(self, page: Path):
        super().__init__()
        self.targets, self.names = [], set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.names |= {found[k] for k in ("id", "name") if found.get(k)}
        self.targets += [found[k] for k in ("href", "src") if found.get(k)]


def test_no_link_is_dead(pages):
    known = {p.resolve(): Links(p) for p in pages}
    dead = []
    for page, links in known.items():
        for target in links.targets:
            parts = urlsplit(target)
            if parts.scheme:
                assert parts.scheme in ("https", "data"), (page, target)
                continue
            aim = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            ok = aim.exists()
            if ok and parts.fragment and aim.suffix == ".html":
                names = known[aim].names if aim in known else Links(aim).names
                ok = unquote(parts.fragment) in names
            if not ok:
                dead.append((page.name, target))
    assert not dead, dead


def test_the_html_is_sound(pages):
    import html5lib

    for page in pages:
        parser = html5lib.HTMLParser()
        parser.parse(page.read_text(encoding="utf-8"))
        assert not parser.errors, (page.name, parser.errors[:5])


def test_pages_keep_to_their_weight(pages):
    for page in pages:
        assert page.stat().st_size <= PAGE, page
    for version in {p.parent for p in pages}:
        assert sum(p.stat().st_size for p in version.glob("*.html")) <= VERSION, version


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p:
        chromium = p.chromium.launch(executable_path=browser_path(), args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_axe_finds_no_violation(pages, browser, scheme, width):
    import axe_playwright_python

    axe = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True
    )
    found = []
    for page in pages:
        tab = context.new_page()
        tab.goto(page.as_uri())
        tab.evaluate(axe)
        for v in tab.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]:
            found.append((page.name, v["id"], v["help"], [n["html"][:200] for n in v["nodes"][:3]]))
        assert tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), page.name
        tab.close()
    context.close()
    assert not found, found


def test_every_figure_and_table_can_be_had_as_data(wine):
    import pandas as pd

    home = wine / "reports" / "wine" / "v001"
    manifest = json.loads((home / "manifest.json").read_text(encoding="utf-8"))
    shown = 0
    for stage, entry in manifest["stages"].items():
        page = next(home.glob(f"0*_{stage}.html")).read_text(encoding="utf-8")
        for item in [*entry["figures"], *entry["tables"]]:
            assert f'href="{item["data"]}"' in page, (stage, item)
            assert item["data"] in manifest["files"]
            text = (home / item["data"]).read_text(encoding="utf-8")
            if text.strip():
                frame = pd.read_csv(home / item["data"])
                assert frame.shape[1] and ("rows" not in item or len(frame) == item["rows"]), item
            shown += 1
        numbers = [pd.read_csv(home / f["data"]) for f in entry["figures"]]
        assert all(len(n) for n in numbers), [
            f["title"] for f, n in zip(entry["figures"], numbers, strict=True) if not len(n)
        ]
    assert shown > 20


def test_the_manifest_follows_its_published_schema(wine):
    import jsonschema

    schema = json.loads((wine / "reports" / "manifest.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    done = nbs(wine, "show", "wine", "v001", "--json")
    manifest = json.loads(done.stdout)
    jsonschema.validate(manifest, schema, jsonschema.Draft202012Validator)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**manifest, "surprise": 1}, schema, jsonschema.Draft202012Validator)
    text = nbs(wine, "show", "wine", "v001", "--weights").stdout
    assert "04_evaluation.html" in text and "data beside the pages" in text


@pytest.mark.browser
def test_a_version_as_pdf(wine):
    done = nbs(wine, "report", "wine", "v001", "--pdf")
    assert done.returncode == 0, done.stderr
    pdf = (wine / done.stdout.strip()).read_bytes()
    assert pdf.startswith(b"%PDF-") and pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page ") > 10


def test_a_version_as_markdown(wine):
    done = nbs(wine, "report", "wine", "v001", "--md")
    assert done.returncode == 0, done.stderr
    file = wine / done.stdout.strip()
    text = file.read_text(encoding="utf-8")
    headline = json.loads((wine / "reports/wine/v001/manifest.json").read_text(encoding="utf-8"))["headline"]
    assert headline["sentence"].split(";")[0] in text and "\n# Evaluation\n" in text
    assert text.count("| --- |") > 5 and "<svg" not in text and "](#" not in text.replace("](#page", "")
    import re

    for target in re.findall(r"\]\(([^)#]+)", text):
        assert target.startswith("https") or (file.parent / target).exists(), target
    assert nbs(wine, "report", "wine").returncode == 2


def test_no_browser_is_one_clear_message(wine, tmp_path):
    done = nbs(wine, "report", "wine", "--pdf", PATH=str(tmp_path))
    assert done.returncode == 2 and "--md" in done.stderr and "Traceback" not in done.stderr
