"A study is watched as a person would do it: saves, mistakes, an open page, Ctrl-C"

import hashlib
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import BIN, ROOT, browser_path, environment, nbs, processes_in
from small import add_cell, change, code, make_small, prose, write_notebook

EXTRA = "#| export\ndef share(values):\n    return len(values) / {}"


def with_library(folder: Path) -> Path:
    "A project of a small study that has a library of its own, with one notebook for one module of it"
    root = make_small(folder)
    for name in ("nbs_lib", "nbs_assets"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(ROOT / "pyproject.toml", root / "pyproject.toml")
    (root / "notebooks/models").mkdir()
    write_extra(root, EXTRA.format(60))
    add_cell(
        root, "modeling", "from nbs_lib.models.extra import share\nstage.metric('share', share(range(6)))"
    )
    change(
        root,
        "evaluation",
        lambda cells: [*cells, *(prose(f"# Part {i}\n\nWords.\n\n" * 9) for i in range(9))],
    )
    done = nbs(root, "export", PYTHONPATH=str(root))
    assert done.returncode == 0 and "nbs_lib/models/extra.py" in done.stdout, done.stdout + done.stderr
    return root


def write_extra(root: Path, source: str) -> None:
    "The notebook of the project's own module"
    cells = [prose("# Extra\n\n> One function."), code("#| default_exp models.extra"), code(source)]
    cells[2]["id"] = "extra"
    write_notebook(root / "notebooks/models/90_extra.ipynb", cells)


class Watching:
    "`nbs run a --watch` in a process of its own"

    def __init__(self, root: Path, *args: str):
        self.root, self.said, self._lines = root, [], queue.Queue()
        self.process = subprocess.Popen(
            [BIN / "nbs", "run", "a", "--watch", "--no-open", *args],
            cwd=root,
            env=environment(root, PYTHONPATH=str(root), NBS_EXECUTION_WARM_IDLE="20"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))

    def line(self, pattern: str, seconds: float = 180) -> str:
        "The next line that says something like this"
        deadline = time.time() + seconds
        while time.time() < deadline:
            try:
                self.said.append(self._lines.get(timeout=0.2))
            except queue.Empty:
                assert self.process.poll() is None, "\n".join(self.said)
                continue
            if re.search(pattern, self.said[-1]):
                return self.said[-1]
        raise AssertionError(f"nothing like {pattern}:\n" + "\n".join(self.said))

    def quiet(self, seconds: float) -> None:
        "Nothing is said for so long"
        time.sleep(seconds)
        assert self._lines.empty(), self._lines.get()


@pytest.fixture(scope="module")
def watching(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watching]:
    root = with_library(tmp_path_factory.mktemp("watch") / "project")
    one = Watching(root)
    yield one
    if one.process.poll() is None:
        one.process.kill()


def edit(path: Path, old: str, new: str) -> None:
    "Save a file as an editor does: beside it first, then in its place"
    text = path.read_text()
    assert old in text
    beside = path.with_name(f".{path.name}.swp")
    beside.write_text(text.replace(old, new))
    os.replace(beside, path)


def on_disk(root: Path, version: str) -> dict[str, str]:
    return {
        p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in (root / "reports/a" / version).iterdir()
    }


@pytest.mark.browser
def test_a_session_of_watching(watching):
    from playwright.sync_api import sync_playwright

    root, config = watching.root, watching.root / "configs/a.yaml"
    url = re.search(r"http://\S+", watching.line("watching a: http"))[0]
    first = watching.line("v001")
    assert re.search(
        r"^\d\d:\d\d:\d\d  ran exploration, features, modeling, evaluation in .* s; v001, mean",
        first,
    )
    before = on_disk(root, "v001")
    assert (
        json.loads((root / "reports/a/v001/manifest.json").read_text())["stages"]["modeling"]["metrics"][
            "share"
        ]["value"]
        == 0.1
    )

    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=browser_path(), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 900, "height": 400})
        problems = []
        page.on("console", lambda m: problems.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: problems.append(str(e)))
        page.goto(url.replace("index.html", "04_evaluation.html"))
        bar = page.locator(".nbs-live")
        page.evaluate("scrollTo(0, 900)")

        # another goal: nothing is computed but what reads it, and the page comes anew where it was
        edit(config, "goal: 5", "goal: 4")
        assert re.search(r"saved configs/a.yaml; ran evaluation in .* s; v002", watching.line("saved"))
        page.get_by_text("a · v002").wait_for(timeout=60_000)
        assert page.evaluate("scrollY") == 900 and page.url.endswith("/a/newest/04_evaluation.html")
        assert not bar.is_visible()

        # a mistake is one message, here and there
        edit(config, "target: level", "target: levle")
        said = watching.line("saved")
        assert re.search(r"failed after .*: error: configs/a.yaml: target: .*levle", said)
        bar.get_by_text("The last run failed.").wait_for(timeout=60_000)
        assert "nearest: 'level'" in bar.inner_text()
        edit(config, "target: levle", "target: level")
        assert "nothing to run: v002 is the newest" in watching.line("saved")
        bar.wait_for(state="hidden", timeout=60_000)

        # a cell that fails
        add_cell(root, "features", "import time; time.sleep(1); raise ValueError('</script><b>no</b>')")
        bar.get_by_text("A run is going on.").wait_for(timeout=60_000)
        watching.line("saved notebooks/02_features.ipynb; failed after")
        watching.line("what was done is kept in")
        bar.get_by_text("ValueError: </script><b>no</b>").wait_for(timeout=60_000)
        change(root, "features", lambda cells: [c for c in cells if "no</b>" not in c["source"]])
        watching.line("nothing to run: v002")

        # a library notebook: exported first, then what imports the module runs with its new code
        write_extra(root, EXTRA.format(30))
        said = watching.line("saved")
        assert (
            "saved notebooks/models/90_extra.ipynb; exported nbs_lib/models/extra.py; ran modeling in" in said
        )
        manifest = json.loads((root / "reports/a/v003/manifest.json").read_text())
        assert manifest["stages"]["modeling"]["metrics"]["share"]["value"] == 0.2
        page.get_by_text("a · v003").wait_for(timeout=60_000)
        write_extra(root, "#| export\ndef share(:")
        assert "cell 3, which begins with 'def share(:': invalid syntax" in watching.line("saved")
        edit(config, "goal: 4", "goal: 3")
        both = watching.line("saved notebooks/models/90_extra.ipynb, configs/a.yaml; failed")
        assert "invalid syntax" in both, "no run with a library that nobody meant"
        edit(config, "goal: 3", "goal: 4")
        watching.line("saved notebooks/models/90_extra.ipynb, configs/a.yaml; failed")
        write_extra(root, EXTRA.format(30))
        watching.line("nothing to run: v003")

        # a mistake in settings.ini
        edit(root / "settings.ini", "[paths]", "[paths")
        watching.line("saved settings.ini; failed after .* settings.ini: cannot be read")
        edit(root / "settings.ini", "[paths", "[paths]")
        watching.line("saved settings.ini; nothing to run: v003")

        # editors' and Jupyter's files beside it are no saves; a burst is one
        (root / "notebooks/.ipynb_checkpoints").mkdir()
        shutil.copy(
            root / "notebooks/02_features.ipynb",
            root / "notebooks/.ipynb_checkpoints/02_features-checkpoint.ipynb",
        )
        (root / "notebooks/02_features.ipynb~").write_text("half")
        watching.quiet(1.2)
        rows = root / "data/raw/water.csv"
        for i in range(60, 64):
            rows.write_text(rows.read_text() + f"{i},1,12\n")
            time.sleep(0.1)
        assert "saved data/raw/water.csv; ran exploration, evaluation in" in watching.line("saved"), (
            "the same training rows"
        )
        page.get_by_text("a · v004").wait_for(timeout=60_000)
        watching.quiet(1.2)

        # the files know nothing of it, and nobody else is answered
        assert (
            on_disk(root, "v001") == before
            and "EventSource" not in (root / "reports/a/v004/index.html").read_text()
        )
        assert "starts from" not in (root / "reports/a/v004/04_evaluation.html").read_text(), (
            "that is for notebooks"
        )
        asked = urllib.request.Request(url, headers={"Host": "evil.example"})
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(asked)

        watching.process.send_signal(signal.SIGINT)
        watching.process.wait(20)
        bar.get_by_text("Nobody is watching any more.").wait_for(timeout=60_000)
        assert not [x for x in problems if "ERR_" not in x], problems
        browser.close()
    rest = [*watching._lines.queue]
    assert (
        watching.process.returncode == 0 and rest[-1] == "stopped watching a: 4 versions made (v001 to v004)"
    )
    deadline = time.time() + 10
    while processes_in(root) and time.time() < deadline:
        time.sleep(0.2)
    assert processes_in(root) == []


def test_what_watch_does_not_go_with(cli):
    for options in (["--all"], ["wine", "hotel"], ["wine", "--why"], ["wine", "-j", "2"]):
        code, _, err = cli("run", *options, "--watch")
        assert code == 2 and "--watch is for one study" in err
    code, _, err = cli("run", "wine", "--no-open")
    assert code == 2 and "--no-open goes with --watch" in err
    assert cli("run", "wnie", "--watch")[0] == 2
