"""How quickly do the pages of a report open? Each page of a version in a real Chromium, several times; target: under 1 s.

python tests/benchmarks/bench_pages.py [STUDY]      # the newest version; without a name the one that was made last
"""

import statistics
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

TIMES, TARGET = 7, 1000  # openings of a page, milliseconds


def newest(name: str | None) -> Path:
    "The folder of a version"
    found = sorted((ROOT / "reports").glob(f"{name or '*'}/v*/index.html"), key=lambda p: p.stat().st_mtime)
    if not found:
        sys.exit(f"no version of {name or 'any study'} yet: make report")
    return found[-1].parent


def main() -> None:
    from conftest import browser_path
    from playwright.sync_api import sync_playwright

    home = newest(sys.argv[1] if len(sys.argv) > 1 else None)
    pages = [home.parents[1] / "index.html", *sorted(home.glob("*.html"))]
    print(
        f"{home.relative_to(ROOT)}: milliseconds until the page is loaded, median of {TIMES} (slowest); target {TARGET}"
    )
    with sync_playwright() as p:
        chromium = p.chromium.launch(executable_path=browser_path(), args=["--no-sandbox"])
        tab = chromium.new_page(viewport={"width": 1440, "height": 900})
        tab.goto(pages[0].as_uri())
        for page in pages:
            took = []
            for _ in range(TIMES):
                tab.goto(page.as_uri())
                took.append(tab.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd"))
            kb = page.stat().st_size / 1e3
            print(f"  {statistics.median(took):6.0f} ({max(took):5.0f})  {kb:6.0f} kB  {page.name}")
        chromium.close()


if __name__ == "__main__":
    main()
