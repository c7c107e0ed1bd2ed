"In a real browser: JupyterLab runs a stage and shows its figures, with the numbers of `nbs run`."

import contextlib
import json
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import BIN, browser_path, environment, make_project
from test_run import numbers, own_notebooks

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def lab(wine: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    "JupyterLab as `nbs lab` starts it, on a scratch project with a report, whose exploration notebook is set to that study"
    root = make_project(tmp_path_factory.mktemp("lab") / "project")
    shutil.copytree(wine / "reports", root / "reports")
    path = own_notebooks(root) / "01_exploration.ipynb"
    path.write_text(path.read_text().replace('study = \\"flights\\"', 'study = \\"wine\\"'))
    options = [
        "--no-browser",
        "--port=0",
        "--ServerApp.port_retries=0",
        "--allow-root",
        "--IdentityProvider.token=secret",
        "--ip=127.0.0.1",
    ]
    log = (root / "lab.log").open("w")
    server = subprocess.Popen(
        [BIN / "nbs", "lab", *options],
        cwd=root,
        env=environment(root, JUPYTER_CONFIG_DIR=str(root / ".jupyter")),
        stdout=log,
        stderr=log,
    )
    try:
        yield wait_for_server(root / "lab.log"), root
    finally:
        server.terminate()
        server.wait(30)
        log.close()


def wait_for_server(log: Path) -> str:
    "The server's address, once it answers"
    deadline = time.time() + 90
    while time.time() < deadline:
        if found := re.search(r"http://127\.0\.0\.1:(\d+)/lab", log.read_text()):
            address = f"http://127.0.0.1:{found[1]}"
            with contextlib.suppress(OSError):  # the log names the address a moment before it answers
                urllib.request.urlopen(f"{address}/api?token=secret", timeout=20).read()
                return address
        time.sleep(0.3)
    raise AssertionError(log.read_text()[-2000:])


def run_all(page) -> None:
    "Run All Cells; JupyterLab drops the command while it is still restoring the page, so ask until a cell has run"
    prompt = page.locator(".jp-InputPrompt").filter(has_text=re.compile(r"\[[*\d]+\]"))
    for _ in range(10):
        if (
            accept := page.locator(".jp-Dialog .jp-mod-accept")
        ).count():  # it asks for a kernel when it is slow
            accept.first.click()
        page.get_by_role("menuitem", name="Run", exact=True).click()
        item = page.get_by_role("menuitem", name="Run All Cells", exact=True)
        item.wait_for(state="visible", timeout=20_000)
        item.click()
        try:
            prompt.first.wait_for(timeout=6_000)
            return
        except page_timeout():
            page.keyboard.press("Escape")
    raise AssertionError("JupyterLab did not run the notebook")


def page_timeout() -> type[Exception]:
    "Playwright's exception for waiting in vain; the package is imported only where it is used"
    from playwright.sync_api import TimeoutError as PlaywrightTimeout

    return PlaywrightTimeout


def test_jupyterlab_opens_with_a_way_to_stages_and_reports(lab):
    from playwright.sync_api import sync_playwright

    address, root = lab
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=browser_path(), args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": 1400, "height": 1000})
        page = context.new_page()
        page.goto(f"{address}/?token=secret")
        start = page.locator(".jp-RenderedMarkdown")
        start.locator("h2", has_text="Newest reports").wait_for(timeout=90_000)
        assert "wine v001" in start.inner_text() and "nbs run flights" in start.inner_text()
        with context.expect_page(timeout=60_000) as opened:
            start.get_by_role("link", name="evaluation", exact=True).click()
        report = opened.value
        report.wait_for_load_state()
        assert report.title() == "wine · v001 · Evaluation"
        report.locator(".toc a[aria-current=location]").wait_for(timeout=60_000)  # its script runs
        report.locator("nav a", has_text="summary").click()
        report.wait_for_url("**/reports/wine/v001/index.html", timeout=60_000)
        report.locator("nav a", has_text="all studies").click()
        report.wait_for_url("**/reports/index.html", timeout=60_000)
        start.get_by_role("link", name="Features", exact=True).click()
        page.wait_for_url("**/lab/tree/notebooks/02_features.ipynb", timeout=60_000)
        browser.close()
    for path in ("wine/v001/index.html", "%2e%2e/settings.ini"):  # only who is logged in, and only reports
        with contextlib.suppress(urllib.error.HTTPError):
            answer = urllib.request.urlopen(f"{address}/reports/{path}", timeout=20)
            assert "/login?" in answer.url
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"{address}/reports/%2e%2e/settings.ini?token=secret", timeout=20)


def test_jupyterlab_runs_a_stage_and_shows_its_figures(lab, wine):
    from playwright.sync_api import sync_playwright

    address, root = lab
    with sync_playwright() as p:
        browser = p.chromium.launch(
            executable_path=browser_path(), args=["--no-sandbox", "--disable-background-networking"]
        )
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.goto(f"{address}/lab/tree/notebooks/01_exploration.ipynb?token=secret")
        page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=90_000)
        page.locator(".jp-Toolbar-kernelName", has_text="nbs").wait_for(timeout=90_000)
        page.wait_for_selector('.jp-Notebook-ExecutionIndicator[data-status="idle"]', timeout=90_000)
        run_all(page)
        record = root / "data/processed/wine/work/exploration.json"
        deadline = time.time() + 180
        while not record.exists() and time.time() < deadline:
            page.wait_for_timeout(500)
        assert record.exists(), page.inner_text(".jp-Notebook")[-1500:]
        page.wait_for_selector("figure svg, figure img", timeout=20_000, state="attached")
        shown = page.evaluate("""() => [...document.querySelectorAll('.jp-OutputArea figure')]
            .map(f => f.querySelector('svg, img')?.getBoundingClientRect().width || 0)""")
        # JupyterLab keeps only the cells in sight
        page.evaluate("document.querySelector('.jp-WindowedPanel-outer').scrollTo(0, 0)")
        start = page.get_by_text("wine · exploration · starts from data/raw/wine.csv").first
        start.wait_for(state="attached", timeout=20_000)
        browser.close()
    assert shown and max(shown) > 200, "no figure is visible"
    ours = json.loads((wine / "data/processed/wine/v001/exploration.json").read_text())
    assert numbers(json.loads(record.read_text())) == numbers(ours)
