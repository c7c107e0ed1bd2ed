"Pages: nothing from data executes or breaks them, nothing is loaded, links lead somewhere, they fit a phone"

import contextlib
import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
import report_samples as samples

from nbs_lib.core.settings import STAGES
from nbs_lib.runner.card import card_markdown, card_page, wrong_markdown, wrong_page
from nbs_lib.runner.check_page import render_checks
from nbs_lib.runner.diff import render_diff
from nbs_lib.runner.reports import (
    ReportExporter,
    page_name,
    render_index,
    render_stage,
    render_summary,
)
from nbs_lib.runner.trend import render_trend
from nbs_lib.runner.weight import over_budget, weights

VOID = {"meta", "input", "img", "br", "hr", "link"}


class Page(HTMLParser):
    "A page as a browser's parser sees it, roughly: tags with attributes, identifiers, headings"

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict]] = []
        self.stack: list[str] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.stack and self.stack.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data):
        if not {"style", "script"} & set(self.stack[-1:]):
            self.text.append(data)

    def ids(self) -> list[str]:
        return [a["id"] for _, a in self.tags if "id" in a]

    def links(self) -> list[str]:
        return [a["href"] for t, a in self.tags if t == "a" and "href" in a]

    def levels(self) -> list[int]:
        return [int(t[1]) for t, _ in self.tags if re.fullmatch("h[1-6]", t)]


CONTEXT = {
    "study": "flights",
    "version": "v003",
    "question": "Will it be late?",
    "created": "2026-11-24T14:02:00+00:00",
    "stages": list(STAGES),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    "A folder of reports: three versions of a study, a hostile page, a failed one"
    root = tmp_path_factory.mktemp("reports")
    versions = samples.history()
    for i, m in enumerate(versions):
        home = root / "flights" / m["version"]
        home.mkdir(parents=True)
        (home / "index.html").write_text(
            render_summary(m, versions[i - 1] if i else None, versions[: i + 1]), encoding="utf-8"
        )
        (home / "checklist.html").write_text(render_checks(m), encoding="utf-8")
        (home / "model_card.html").write_text(card_page(m), encoding="utf-8")
        (home / "model_card.md").write_text(card_markdown(m), encoding="utf-8")
    nb = root / "nb.ipynb"
    nbformat.write(samples.stage_notebook(), nb)
    for version in ("v001", "v002", "v003"):
        for stage in STAGES:
            shown = {**CONTEXT, "version": version, "stage": stage}
            if version == "v003":
                render_stage(nb, root / "flights" / version / page_name(stage), shown)
            else:
                shutil.copy(
                    root / "flights" / version / "index.html", root / "flights" / version / page_name(stage)
                )
    for name in ("hostile", "error"):
        nbformat.write(samples.stage_notebook(**{name: True}), nb)
        render_stage(
            nb, root / f"{name}.html", {**CONTEXT, "stage": "exploration", "question": samples.HOSTILE[1]}
        )
    (root / "hostile_summary.html").write_text(_hostile_summary(), encoding="utf-8")
    (root / "hostile_checks.html").write_text(render_checks(_spoiled()), encoding="utf-8")
    (root / "hostile_card.html").write_text(card_page(_spoiled()), encoding="utf-8")
    (root / "index.html").write_text(render_index(versions), encoding="utf-8")
    (root / "flights/diff").mkdir()
    for name in ("v001-v002", "v002-v003", "hostile"):
        page = render_diff(samples.comparison(hostile=name == "hostile"))
        (root / f"flights/diff/{name}.html").write_text(page, encoding="utf-8")
    (root / "flights/trend.html").write_text(render_trend(versions), encoding="utf-8")
    return root


def _hostile_summary() -> str:
    "A summary in which every text is hostile"
    spoiled = _spoiled()
    return render_summary(spoiled, spoiled, [spoiled, spoiled])


def _spoiled() -> dict:
    "A manifest in which every text is hostile"
    m = samples.manifest()

    def spoil(value, i=0):
        if isinstance(value, dict):
            return {k: spoil(v, i + n) for n, (k, v) in enumerate(value.items())}
        if isinstance(value, list):
            return [spoil(v, i + n) for n, v in enumerate(value)]
        return samples.HOSTILE[i % len(samples.HOSTILE)] if isinstance(value, str) else value

    spoiled = spoil(m)
    for check, original in zip(spoiled["checks"], m["checks"], strict=True):
        check |= {"verdict": original["verdict"], "code": original["code"]}
    return spoiled


def pages(site: Path) -> list[Path]:
    "One page of each kind"
    home = site / "flights" / "v003"
    return [
        home / "index.html",
        home / page_name("exploration"),
        home / "checklist.html",
        home / "model_card.html",
        site / "hostile_checks.html",
        site / "hostile_card.html",
        site / "index.html",
        site / "hostile.html",
        site / "hostile_summary.html",
        site / "error.html",
        site / "flights/diff/v002-v003.html",
        site / "flights/diff/hostile.html",
        site / "flights/trend.html",
    ]


def test_pages_are_well_formed_and_load_nothing(site):
    for path in pages(site):
        text = path.read_text(encoding="utf-8")
        page = Page(text)
        assert not page.stack, path.name
        assert len(page.ids()) == len(set(page.ids())), [i for i in page.ids() if page.ids().count(i) > 1]
        csp = next(
            a["content"]
            for t, a in page.tags
            if t == "meta" and a.get("http-equiv") == "Content-Security-Policy"
        )
        assert "default-src 'none'" in csp and "sha256-" in csp and "script-src 'unsafe" not in csp
        assert [t for t, _ in page.tags].count("script") == 1
        for tag, attrs in page.tags:
            assert not [k for k in attrs if k.startswith("on")], (path.name, tag, attrs)
            for key in ("src", "href", "xlink:href", "data", "action", "srcset", "poster"):
                value = attrs.get(key) or ""
                assert not re.match(r"\s*(https?:|//|javascript:|file:)", value), (path.name, tag, value[:80])
        assert not re.search(r"url\((?!#)|@import", text.split("</style>")[0])


def test_headings_are_in_order(site):
    for path in pages(site):
        levels = Page(path.read_text(encoding="utf-8")).levels()
        assert levels[0] == 1 and levels.count(1) == 1, path.name
        assert all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False)), (path.name, levels)


def test_links_lead_somewhere(site):
    home = site / "flights" / "v003"
    beside = [home / "checklist.html", home / "model_card.html", *pages(site)[-3:]]
    for path in [home / "index.html", home / page_name("modeling"), *beside, site / "index.html"]:
        for link in Page(path.read_text(encoding="utf-8")).links():
            file, _, anchor = link.partition("#")
            target = (path.parent / file) if file else path
            assert target.is_file(), (path.name, link)
            if anchor and target.name == path.name:
                assert anchor in Page(target.read_text(encoding="utf-8")).ids(), (path.name, link)


def test_hostile_values_are_text(site):
    for name in ("hostile.html", "hostile_summary.html"):
        text = (site / name).read_text(encoding="utf-8")
        body = text[text.index("<body>") :]
        assert body.count("<script") == 1 and "<iframe" not in body
        assert "{{ 7 * 7 }}" in body
        # prose of the notebook itself is not cut
        assert "x" * (10_001 if name == "hostile.html" else 2000) not in body
    shown = " ".join(Page((site / "hostile.html").read_text(encoding="utf-8")).text)
    assert "<script>document.title='owned'</script>" in shown
    assert "‹U+202E›" in shown


def test_what_a_reader_does_not_need_is_left_out(site):
    text = (site / "flights" / "v003" / page_name("exploration")).read_text(encoding="utf-8")
    for hidden in (
        "secret_definition",
        "default_exp",
        "#|",
        "open_stage",
        "study = 'flights'",
        "FutureWarning",
        "Only definitions",
        "assert True",
    ):
        assert hidden not in text, hidden
    shown = Page(text)
    assert ("details", {"class": "code"}) in shown.tags
    assert "stage.show(quality(train))" in " ".join("".join(shown.text).split())


def test_a_section_opens_with_its_finding(site):
    text = (site / "flights" / "v003" / page_name("exploration")).read_text(encoding="utf-8")
    section = text[text.index('id="over-time"') :]
    assert section.index("nbs-finding") < section.index("One year cannot tell")


def test_a_failed_run_says_where(site):
    text = (site / "error.html").read_text(encoding="utf-8")
    assert "This run stopped before its end" in text and 'id="error"' in text
    assert "&lt;b&gt;NaN&lt;/b&gt;" in text and "\x1b" not in text


def test_both_colour_schemes_and_paper(site):
    text = (site / "flights" / "v003" / page_name("exploration")).read_text(encoding="utf-8")
    style, body = text.split("</style>", 1)
    assert "prefers-color-scheme: dark" in style and "@media print" in style
    defined = set(re.findall(r"(--[\w-]+):", style))
    used = set(re.findall(r"var\((--(?!v-|jp-)[\w-]+)", text)) - {"--b"}
    assert used <= defined, used - defined
    drawn = re.findall(r'<svg viewBox="0 0 \d+\.?\d* .*?</svg>', body, flags=re.S)
    inks = {c.lower() for svg in drawn for c in re.findall(r"(?:fill|stroke):(#[0-9a-fA-F]{6})", svg)}
    assert not inks, f"colours that do not follow the scheme: {inks}"


def test_size_is_a_budget(site):
    text = (site / "flights" / "v003" / page_name("exploration")).read_text(encoding="utf-8")
    assert len(text) < 500_000
    assert over_budget(text, "exploration") is None
    assert abs(sum(n for _, n in weights(text)) - len(text.encode())) < 10
    message = over_budget(text, "exploration", 0.05)
    assert "budget is 0.05" in message and "What goes with lateness" in message


def test_the_exporter_is_found_by_name():
    from nbconvert.exporters import get_exporter

    assert get_exporter("nbs") is ReportExporter
    page, _ = ReportExporter().from_notebook_node(samples.stage_notebook())
    assert page.startswith("<!doctype html>") and "<h1>Exploration</h1>" in page


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"baseline": 0.75}, "The baseline is better: do not use this model"),
        ({"baseline": 0.72}, "Cannot be told apart from the baseline"),
        ({"goal": None}, "no goal was set"),
        ({"goal": 0.8}, "the goal is missed."),
        ({"baseline": None}, "No baseline to compare with"),
        ({"low": None, "high": None}, "without an interval"),
        ({"value": None}, "No answer yet"),
    ],
)
def test_the_verdict_is_plain(change, words):
    m = samples.manifest()
    m["headline"] |= change
    assert words in render_summary(m, None, [m])


def test_first_version_and_missing_keys():
    first = samples.manifest("v001")
    assert "This is the first version" in render_summary(first, None, [first])
    for key in samples.manifest():
        m = samples.manifest()
        m[key] = None
        assert "<h1>" in render_summary(m, samples.manifest("v002"), [m])
        del m[key]
        assert "<h1>" in render_summary(m, samples.manifest("v002"), [m])
        assert "<h1>Studies</h1>" in render_index([m])


def test_a_failed_check_is_named_and_leads_to_its_evidence():
    m = samples.manifest()
    m["stages"]["modeling"]["todos"] = []
    page = render_summary(m, None, [m])
    assert "1 fails: OVERFIT" in page and 'href="checklist.html#check-OVERFIT"' in page
    assert "a gap of 0.091" in page and 'href="03_modeling.html">modeling</a>' in page


def test_the_checklist_has_a_page_of_its_own():
    m = samples.manifest()
    page = render_checks(m)
    assert page.count('<article class="check"') == 20 and 'id="check-OVERFIT"' in page
    failed = page[page.index('id="check-OVERFIT"') :].split("</article>")[0]
    assert "a gap of 0.091" in failed and "<b" not in failed and 'class="verdict alarm">fail' in failed
    for key in samples.manifest():
        less = {k: v for k, v in samples.manifest().items() if k != key}
        assert "<h1>Checklist</h1>" in render_checks(less)


def test_a_card_of_hostile_texts_agrees_with_its_manifest():
    m = _spoiled()
    assert wrong_page(m, card_page(m)) == [] and wrong_markdown(m, card_markdown(m)) == []
    assert "\u202e" not in card_page(m) + card_markdown(m).split("---")[2] + render_checks(m)


# ---- in a real browser


def chromium_path() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return os.environ.get("NBS_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


@pytest.fixture(scope="module")
def browser():
    path = chromium_path()
    if not path:
        pytest.skip(
            "needs Chromium or Chrome: install one (Debian: apt install chromium) or set NBS_CHROMIUM to its path"
        )
    sync = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    with (
        sync.sync_playwright() as p,
        contextlib.closing(p.chromium.launch(executable_path=path, args=["--no-sandbox"])) as b,
    ):
        yield b


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_executes_nothing_is_asked_for_and_a_phone_does_not_scroll_sideways(site, browser, scheme):
    for path in pages(site):
        for width in (390, 768, 1440):
            page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
            asked, broken = [], []
            page.on("request", lambda r, asked=asked: asked.append(r.url))
            page.on("pageerror", lambda e, broken=broken: broken.append(str(e)))
            page.goto(path.as_uri())
            page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
            title = page.title()
            assert title != "owned" and not broken, (path.name, broken)
            assert [u for u in asked if not u.startswith(("file:", "data:"))] == []
            wide = page.evaluate(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            assert wide <= 0, f"{path.name} at {width} px scrolls {wide} px sideways"
            page.close()


@pytest.mark.browser
def test_tables_sort_contents_follow_and_paper_has_everything(site, browser):
    page = browser.new_page(viewport={"width": 1300, "height": 800})
    page.goto((site / "flights" / "v003" / page_name("exploration")).as_uri())
    head = page.locator(".nbs-tabular").first.locator("th", has_text="distinct")
    head.locator("button").click()
    cells = page.locator(".nbs-tabular").first.locator("tbody tr td:nth-child(4)").all_inner_texts()
    numbers = [int(c.replace(",", "")) for c in cells]
    assert numbers == sorted(numbers, reverse=True) and head.get_attribute("aria-sort") == "descending"
    page.locator("#over-time").scroll_into_view_if_needed()
    page.evaluate("document.getElementById('over-time').scrollIntoView()")
    page.locator('.toc a.here[href="#over-time"]').wait_for(timeout=10_000)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open]):not(.code)").count() == 0
    page.close()


@pytest.mark.browser
def test_text_has_contrast(site, browser):
    "Ink, grey, links and alarms against the paper: at least 4.5 to 1 in both schemes"

    def luminance(rgb):
        parts = [
            c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4
            for c in (int(rgb[i : i + 2], 16) / 255 for i in (1, 3, 5))
        ]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    for scheme in ("light", "dark"):
        page = browser.new_page(color_scheme=scheme)
        page.goto((site / "index.html").as_uri())
        value = lambda name, page=page: page.evaluate(
            f"getComputedStyle(document.documentElement).getPropertyValue('--{name}').trim()"
        )
        for ground in ("paper", "wash"):
            for name in ("ink", "grey", "accent-text", "compare-text", "alarm-text"):
                a, b = sorted([luminance(value(name)), luminance(value(ground))])
                assert (b + 0.05) / (a + 0.05) >= 4.5, (scheme, name, ground)
        page.close()
