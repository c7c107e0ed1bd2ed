"What kernels cost: the same notebooks with ordinary and with warm kernels, side by side, medians of several rounds."

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import papermill
from jupyter_client.manager import KernelManager

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from conftest import BIN, environment, make_project
from small import add_cell, make_small

IMPORTS = "import pandas, sklearn.ensemble, matplotlib.pyplot, shap"
LINES = "four cold cells memory unchanged twenty flights".split()


def notebook(folder: Path, name: str, cells: list[str]) -> Path:
    "A notebook file with these code cells"
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    nb.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path = folder / f"{name}.ipynb"
    nbformat.write(nb, path)
    return path


def execute(path: Path, times: int, kernel: str, engine: str | None) -> float:
    "Seconds to run a notebook so many times, one after the other"
    began = time.perf_counter()
    for _ in range(times):
        papermill.execute_notebook(
            str(path),
            str(path.with_suffix(".out.ipynb")),
            kernel_name=kernel,
            engine_name=engine,
            progress_bar=False,
        )
    return time.perf_counter() - began


def share(pid: int) -> float:
    "Megabytes of a process, shared pages divided among those that share them"
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("Pss:")).split()[1]) / 1024


def memory(kernel: str, kernels: int = 4) -> float:
    "Megabytes by which the memory of all grows with each further kernel, everything imported; the warm process counts"
    managers = [KernelManager(kernel_name=kernel) for _ in range(kernels)]
    totals = []
    for manager in managers:
        manager.start_kernel()
        client = manager.client()
        client.start_channels()
        client.wait_for_ready(timeout=120)
        client.execute_interactive(IMPORTS, timeout=120)
        client.stop_channels()
        pids = [m.provisioner.process.pid for m in managers if m.has_kernel]
        parents = {int(Path(f"/proc/{p}/stat").read_text().rsplit(")", 1)[1].split()[1]) for p in pids} - {
            os.getpid()
        }
        totals.append(sum(map(share, [*pids, *parents])))
    for manager in managers:
        manager.shutdown_kernel(now=True)
    return statistics.median(b - a for a, b in itertools.pairwise(totals))


def cold(path: Path) -> float:
    "The four notebooks with no warm process running"
    with tempfile.TemporaryDirectory(prefix="nbsb") as folder:
        os.environ["XDG_RUNTIME_DIR"] = folder
        try:
            return execute(path, 4, "nbs", "nbs")
        finally:
            del os.environ["XDG_RUNTIME_DIR"]
            subprocess.run(["pkill", "-f", f"forkserver.py {folder}"])


def studies(folder: Path, names: list[str]) -> Path:
    "Small studies whose notebooks have the usual imports"
    root = make_small(folder, tuple(names))
    for stage in ("exploration", "features", "modeling", "evaluation"):
        add_cell(root, stage, IMPORTS, at=1)
    return root


def command(root: Path, *args: str) -> float:
    "Seconds of a whole `nbs run`"
    began = time.perf_counter()
    subprocess.run(
        [BIN / "nbs", "run", "--quiet", *args],
        cwd=root,
        env=environment(root),
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return time.perf_counter() - began


def by_papermill(root: Path, names: list[str]) -> float:
    "Seconds for the same notebooks by plain papermill, one after the other"
    began, before = time.perf_counter(), dict(os.environ)
    os.environ.update(environment(root))
    try:
        for name in names:
            for path in sorted((root / "notebooks").glob("*.ipynb")):
                papermill.execute_notebook(
                    str(path),
                    str(root / "out.ipynb"),
                    {"study": name},
                    kernel_name="python3",
                    progress_bar=False,
                    cwd=str(root),
                )
    finally:
        os.environ.clear()
        os.environ.update(before)
    return time.perf_counter() - began


def unchanged(rounds: int) -> None:
    "A run in which nothing has changed, and one in which a line of the last stage has"
    with tempfile.TemporaryDirectory() as name:
        root = studies(Path(name) / "p", ["a"])
        full = command(root, "a")
        nothing = statistics.median(command(root, "a") for _ in range(rounds))
        print(
            f"{'nothing has changed, whole command, seconds':<52} {full:9.2f} {nothing:9.2f} {nothing / full:8.3f}      0.5 s",
            flush=True,
        )
        over = []
        for i in range(rounds):
            add_cell(root, "evaluation", f"line_{i} = {i}\nimport time; time.sleep(2)")
            whole = command(root, "a")
            manifest = json.loads(
                max((root / "reports/a").glob("v*"), key=lambda p: int(p.name[1:]))
                .joinpath("manifest.json")
                .read_text()
            )
            over.append(whole - manifest["timings"]["evaluation"])
        print(
            f"{'a line of 04 has changed: seconds beyond those of 04':<52} {'':9} {statistics.median(over):9.2f} {'':8} {1.0:8.2f}",
            flush=True,
        )


def twenty(rounds: int) -> None:
    "Twenty studies, two at a time; papermill is given two of them, because all would take a quarter of an hour"
    names = [f"s{i}" for i in range(20)]
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as name:
            root = studies(Path(name) / "p", names)
            plain = by_papermill(root, names[:1])
            ours = command(root, "--all", "-j", "2")
            plain = 10 * (plain + by_papermill(root, names[1:2]))
        print(
            f"{'20 small studies, two at a time, seconds':<52} {plain:9.2f} {ours:9.2f} {ours / plain:8.3f} {0.10:8.2f}",
            flush=True,
        )


def inside_cells() -> None:
    "The share of `nbs run flights` that is spent in cells, no warm process running"
    with tempfile.TemporaryDirectory(prefix="nbsb") as folder, tempfile.TemporaryDirectory() as name:
        scratch = make_project(Path(name) / "p")
        env = {"XDG_RUNTIME_DIR": folder}
        began = time.perf_counter()
        subprocess.run(
            [BIN / "nbs", "run", "flights", "-q"],
            cwd=scratch,
            env=environment(scratch, **env),
            check=True,
            stdout=subprocess.DEVNULL,
        )
        whole = time.perf_counter() - began
        cells = 0.0
        for path in (scratch / "reports/flights/v001").glob("*.ipynb"):
            nb = json.loads(path.read_text())
            cells += sum(
                c["metadata"]["papermill"]["duration"] or 0 for c in nb["cells"] if c["cell_type"] == "code"
            )
        subprocess.run(["pkill", "-f", f"forkserver.py {folder}"])
    print(
        f"{'flights from cold: seconds, seconds in cells':<52} {whole:9.2f} {cells:9.2f} {cells / whole:8.3f} {0.85:8.2f}   (more is better)",
        flush=True,
    )


def compare(
    name: str, goal: float, plain: Callable[[], float], ours: Callable[[], float], rounds: int
) -> None:
    "One line of the table; both sides by turns"
    pairs = []
    for i in range(rounds):
        pairs.append((plain(), ours()))
        print(f"  {name}: round {i + 1} of {rounds}", end="\r", file=sys.stderr, flush=True)
    a, b = (statistics.median(p[i] for p in pairs) for i in (0, 1))
    ratio = statistics.median(y / x for x, y in pairs)
    print(f"{name:<52} {a:9.2f} {b:9.2f} {ratio:8.3f} {goal:8.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", choices=LINES, default=LINES)
    options = parser.parse_args()
    rounds, only = options.rounds, options.only
    if sys.platform != "linux":
        raise SystemExit("kernels are forked on Linux only")
    with tempfile.TemporaryDirectory() as name:
        imports = notebook(Path(name), "imports", [IMPORTS])
        many = notebook(Path(name), "many", [f"x = {i}" for i in range(1000)])
        execute(imports, 1, "nbs", "nbs")  # the warm process is running
        print(f"{'work':<52} {'plain':>9} {'ours':>9} {'ratio':>8} {'goal':>8}")
        plain, four = (
            (lambda: execute(imports, 4, "python3", None)),
            "four notebooks with the usual imports, seconds",
        )
        if "four" in only:
            compare(four, 0.08, plain, lambda: execute(imports, 4, "nbs", "nbs"), rounds)
        if "cold" in only:
            compare("the same, no warm process running, seconds", 0.40, plain, lambda: cold(imports), rounds)
        if "cells" in only:
            one = lambda *how: lambda: execute(many, 1, *how)
            compare("1,000 trivial cells, seconds", 0.25, one("python3", None), one("nbs", "nbs"), rounds)
        if "memory" in only:
            compare(
                "memory of a further kernel, MB", 0.35, lambda: memory("python3"), lambda: memory("nbs"), 1
            )
    if "unchanged" in only:
        unchanged(rounds)
    if "twenty" in only:
        twenty(1)
    if "flights" in only:
        inside_cells()


if __name__ == "__main__":
    main()
