"What kernels cost: the same notebooks with ordinary and with warm kernels, side by side, medians of several rounds."

import argparse
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

IMPORTS = "import pandas, sklearn.ensemble, matplotlib.pyplot, shap"


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
    "Megabytes that each further kernel costs, everything imported"
    managers, costs = [KernelManager(kernel_name=kernel) for _ in range(kernels)], []
    for manager in managers:
        manager.start_kernel()
        client = manager.client()
        client.start_channels()
        client.wait_for_ready(timeout=120)
        client.execute_interactive(IMPORTS, timeout=120)
        client.stop_channels()
    for manager in managers:
        costs.append(share(manager.provisioner.process.pid))
        manager.shutdown_kernel(now=True)
    return statistics.median(costs)


def cold(path: Path) -> float:
    "The four notebooks with no warm process running"
    with tempfile.TemporaryDirectory(prefix="nbsb") as folder:
        os.environ["XDG_RUNTIME_DIR"] = folder
        try:
            return execute(path, 4, "nbs", "nbs")
        finally:
            del os.environ["XDG_RUNTIME_DIR"]
            subprocess.run(["pkill", "-f", f"forkserver.py {folder}"])


def compare(
    name: str, goal: float, plain: Callable[[], float], ours: Callable[[], float], rounds: int
) -> None:
    "One line of the table; both sides by turns"
    pairs = [(plain(), ours()) for _ in range(rounds)]
    a, b = (statistics.median(p[i] for p in pairs) for i in (0, 1))
    ratio = statistics.median(y / x for x, y in pairs)
    print(f"{name:<52} {a:9.2f} {b:9.2f} {ratio:8.3f} {goal:8.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
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
        compare(four, 0.08, plain, lambda: execute(imports, 4, "nbs", "nbs"), rounds)
        compare("the same, no warm process running, seconds", 0.40, plain, lambda: cold(imports), rounds)
        one = lambda *how: lambda: execute(many, 1, *how)
        compare("1,000 trivial cells, seconds", 0.25, one("python3", None), one("nbs", "nbs"), rounds)
        compare("memory of a further kernel, MB", 0.35, lambda: memory("python3"), lambda: memory("nbs"), 1)


if __name__ == "__main__":
    main()
