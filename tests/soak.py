"""Faults at random moments, many times in a row: `make soak`, or python tests/soak.py --times 100 --seed 3.

Each round starts a run of a small study, does something bad to it after a random time, and then asks for four things:
no half version, no process left behind, an exit code that is one of ours, and that the same command then gives the
numbers that an undisturbed run gives.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from conftest import BIN, environment
from small import add_cell, make_small


def start(root: Path, *args: str) -> subprocess.Popen:
    "A run that goes on in the background"
    return subprocess.Popen(
        [BIN / "nbs", "run", "a", *args],
        cwd=root,
        env=environment(root),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def inside(root: Path) -> list[int]:
    "Processes that work in the project"
    found = []
    for path in Path("/proc").glob("[0-9]*/cwd"):
        with contextlib.suppress(OSError):
            if str(root) in os.path.realpath(path):
                found.append(int(path.parent.name))
    return found


def warm(kernels: bool) -> list[int]:
    "Warm processes, or the kernels made by them"
    ours = f"forkserver.py {os.environ['XDG_RUNTIME_DIR']}"
    found = subprocess.run(["pgrep", "-f", ours], capture_output=True, text=True).stdout.split()
    names = {}
    for pid in found:
        with contextlib.suppress(OSError):
            names[int(pid)] = Path(f"/proc/{pid}/comm").read_text().strip()
    return [
        p
        for p, n in names.items()
        if (n == "nbs-kernel") == kernels and (kernels or not n.startswith("nbs-"))
    ]


def kill(pids: list[int]) -> None:
    "End processes without asking"
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


FAULTS: dict[str, Callable[[subprocess.Popen, Path], None]] = {
    "interrupt": lambda run, root: run.send_signal(signal.SIGINT),
    "interrupt twice": lambda run, root: (
        run.send_signal(signal.SIGINT),
        time.sleep(0.3),
        run.send_signal(signal.SIGINT),
    ),
    "terminate": lambda run, root: run.terminate(),
    "kill the run": lambda run, root: run.kill(),
    "kill a kernel": lambda run, root: kill([p for p in warm(True) if p in inside(root)][:1]),
    "kill the warm process": lambda run, root: kill(warm(False)),
    "kill everything in the project": lambda run, root: kill([run.pid, *inside(root)]),
    "lose the cache": lambda run, root: shutil.rmtree(root / ".nbs/cache", ignore_errors=True),
    "a second run": lambda run, root: start(root, "--quiet").communicate(timeout=120),
    "nothing": lambda run, root: None,
}
OURS = {0, 1, 2, 3, 4, 5, 130, 137, 143, -2, -9, -15}  # or the signal itself, before Python has begun


def numbers(root: Path) -> tuple[str, dict]:
    "The newest version and the hashes of all its artifacts"
    folder = max((root / "reports/a").glob("v*"), key=lambda p: int(p.name[1:]))
    manifest = json.loads((folder / "manifest.json").read_text())
    return folder.name, {
        n: a["sha256"] for s in manifest["stages"].values() for n, a in s["artifacts"].items()
    }


def whole(root: Path) -> None:
    "Every version that can be seen is complete"
    for folder in (root / "reports/a").glob("v*"):
        manifest = json.loads((folder / "manifest.json").read_text())
        assert set(manifest["files"]) | {"manifest.json", "manifest.sha256"} == {
            p.name for p in folder.iterdir()
        }, folder
        for artifact in [a for s in manifest["stages"].values() for a in s["artifacts"].values()]:
            assert (root / artifact["path"]).is_file(), f"{folder}: {artifact['path']} is gone"
    index = root / "reports/index.html"
    assert not index.exists() or "</html>" in index.read_text(), "a half index"


def one_round(root: Path, dice: random.Random, expected: dict) -> tuple[str, int]:
    "Disturb a run, look at what is left, run again"
    fault, moment = dice.choice(list(FAULTS)), dice.uniform(0.02, 3.5)
    again = dice.choice([["--force"], ["--from", "features"], ["--from", "evaluation"]])
    run = start(root, *again)
    time.sleep(moment)
    FAULTS[fault](run, root)
    said = run.communicate(timeout=120)[0]
    what = f"{fault} after {moment:.2f} s of {' '.join(again)}: exit code {run.returncode}\n{said}"
    assert run.returncode in OURS, what
    assert "Traceback" not in said, what
    deadline = time.time() + 15
    while inside(root) and time.time() < deadline:
        time.sleep(0.1)
    assert not inside(root), (
        f"{what}\nleft behind: {[Path(f'/proc/{p}/cmdline').read_text() for p in inside(root)]}"
    )
    whole(root)
    later = start(root, "--from", "modeling")
    said = later.communicate(timeout=120)[0]
    assert later.returncode == 0, f"{what}\nand then: {said}"
    assert numbers(root)[1] == expected, f"{what}: other numbers"
    assert not list((root / "reports/a").glob(".v*")), f"{what}: something half made is left"
    return fault, run.returncode


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    dice, seen = random.Random(options.seed), Counter()
    with tempfile.TemporaryDirectory(prefix="nbs-soak-") as name:
        os.environ["XDG_RUNTIME_DIR"] = name  # a warm process of one's own: others' are not to be killed
        root = make_small(Path(name) / "project")
        for stage in ("features", "modeling"):
            add_cell(root, stage, "import time; time.sleep(0.5)")
        first = start(root)
        assert first.communicate(timeout=180) and first.returncode == 0
        expected = numbers(root)[1]
        for i in range(options.times):
            fault, code = one_round(root, dice, expected)
            seen[fault, code] += 1
            print(f"{i + 1:4} of {options.times}   {fault:<32} exit code {code}", flush=True)
            for folder in sorted((root / "reports/a").glob("v*"), key=lambda p: int(p.name[1:]))[:-3]:
                shutil.rmtree(folder)  # a hundred versions would only slow the list of studies
        kill(warm(kernels=False))
    print(
        f"survived {options.times} faults; "
        + ", ".join(f"{f} ({c}): {n}" for (f, c), n in sorted(seen.items()))
    )


if __name__ == "__main__":
    main()
