"Every page of a real run: accessible (axe-core), sound HTML, no dead link, quick, within its weight"

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from conftest import browser_path

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
