"Scratch projects: the checkout's notebooks, studies and data of one's own, nothing written outside a temporary folder."

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent


def make_project(folder: Path) -> Path:
    "A project in `folder` that shares this checkout's notebooks and raw data"
    for name in ("notebooks", "data/raw"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "configs", folder / "configs")
    shutil.copyfile(ROOT / "settings.ini", folder / "settings.ini")
    return folder


def environment(root: Path, **more: str) -> dict[str, str]:
    "The environment of a command that works in a scratch project"
    return {**os.environ, "NBS_ROOT": str(root), "NBS_TRACKING_WANDB": "off", "PYTHONPATH": str(ROOT), **more}


def nbs(root: Path, *args: str, timeout: float = 600, **more: str) -> subprocess.CompletedProcess:
    "Run the command line in a scratch project, as a person would"
    return subprocess.run(
        [str(BIN / "nbs"), *args],
        cwd=root,
        env=environment(root, **more),
        capture_output=True,
        text=True,
        timeout=timeout,
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path / "project")


@pytest.fixture(scope="session")
def wine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    "A project in which the wine study has been run once, tracked offline"
    root = make_project(tmp_path_factory.mktemp("wine") / "project")
    done = nbs(root, "run", "wine", NBS_TRACKING_WANDB="offline")
    assert done.returncode == 0, done.stdout + done.stderr
    nbs(root, "sync", NBS_TRACKING_WANDB="offline")  # waits for the tracker, so that nothing moves any more
    (root / "output.txt").write_text(done.stdout)
    return root


@pytest.fixture(scope="session")
def people_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    "The bundle of a small model with dates, texts and gaps"
    from served import make_bundle

    return make_bundle(tmp_path_factory.mktemp("people") / "bundle")


@pytest.fixture
def cli(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    "Call the command line in this process: (exit code, standard output, standard error)"
    from nbs_lib import cli as module

    monkeypatch.setenv("NBS_ROOT", str(project))
    monkeypatch.setenv("NBS_TRACKING_WANDB", "off")
    monkeypatch.setattr(module.signal, "signal", lambda *a: None)
    monkeypatch.chdir(project)

    def call(*args: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["nbs", *args])
        with pytest.raises(SystemExit) as end:
            module.main()
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return call


def processes_in(folder: Path) -> list[str]:
    "Processes that work in a folder; one that ends meanwhile does not"
    found = []
    for place in Path("/proc").glob("[0-9]*/cwd"):
        with contextlib.suppress(OSError):
            if str(folder) in os.path.realpath(place):
                found.append(str(place))
    return found


def browser_path() -> str | None:
    "A Chromium or Chrome on this machine, if there is one"
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
    return next((p for n in names if (p := shutil.which(n))), None)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    "Begin with the longest file when there are several processes; say which tests need a browser that is not here"
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.path.name != "test_run.py")
    if browser_path():
        return
    reason = "no Chromium or Chrome here; install one (Debian: apt install chromium) to run this test"
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.skip(reason=reason))
