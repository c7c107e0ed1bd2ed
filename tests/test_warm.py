"Warm kernels behave as ordinary ones do, and whatever happens to the warm process, nobody is left without a kernel"

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import BIN, ROOT
from jupyter_client.manager import KernelManager

from nbs_lib.runner import warm

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="kernels are forked on Linux only")


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    "A folder for sockets with a short path; the warm processes in it are ended afterwards"
    folder = Path(tempfile.mkdtemp(prefix="nbsw"))
    yield folder
    for pid in servers(folder):
        os.kill(pid, signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def settings(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(place))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(place))
    monkeypatch.setenv("NBS_EXECUTION_PRELOAD", "ipykernel.kernelapp ipykernel.ipkernel numpy colorsys")
    monkeypatch.setenv("NBS_EXECUTION_WARM", "on")


def servers(folder: Path) -> list[int]:
    "The warm processes that listen in a folder"
    found = subprocess.run(["pgrep", "-f", f"forkserver.py {folder}"], capture_output=True, text=True).stdout
    return [int(pid) for pid in found.split() if not Path(f"/proc/{pid}/comm").read_text().startswith("nbs-")]


class Kernel:
    "A kernel that evaluates expressions"

    def __init__(self, name: str = "nbs", **options: object):
        self.manager = KernelManager(kernel_name=name)
        self.manager.start_kernel(**options)
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=90)

    def __enter__(self) -> "Kernel":
        return self

    def __exit__(self, *_: object) -> None:
        self.client.stop_channels()
        if self.manager.has_kernel:
            self.manager.shutdown_kernel(now=True)

    @property
    def process(self) -> object:
        return self.manager.provisioner.process

    def run(self, code: str, timeout: float = 90) -> str:
        "What a cell prints"
        said = []
        hook = lambda m: said.append(m["content"].get("text") or m["content"].get("ename", ""))
        self.client.execute_interactive(code, timeout=timeout, output_hook=hook, store_history=False)
        return "".join(said).strip()

    def ask(self, expression: str) -> object:
        "The value of an expression"
        return eval(self.run(f"print(repr({expression}))"))


def gone(pid: int, seconds: float = 20) -> bool:
    "Whether a process ends in time; a zombie has ended"
    deadline = time.time() + seconds
    while time.time() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def test_libraries_are_there_and_the_project_is_not():
    with Kernel() as kernel:
        assert isinstance(kernel.process, warm.ForkedProcess)
        assert kernel.ask("[m in __import__('sys').modules for m in ('numpy', 'colorsys', 'nbs_lib')]") == [
            True,
            True,
            False,
        ]
        assert kernel.manager.transport == "ipc" and kernel.manager.provisioner.why_ordinary == ""


def test_the_projects_code_is_todays_although_papermill_has_brought_it_along(monkeypatch):
    monkeypatch.setenv("NBS_EXECUTION_PRELOAD", "ipykernel.kernelapp ipykernel.ipkernel papermill")
    with Kernel() as kernel:
        assert isinstance(kernel.process, warm.ForkedProcess)
        kernel.run("import sys")
        assert kernel.ask("['papermill' in sys.modules, 'nbs_lib' in sys.modules]") == [True, False]
        kernel.run("import papermill.engines, nbs_lib.runner.engine as mine")
        assert kernel.ask("papermill.engines.papermill_engines.get_engine('nbs') is mine.NbsEngine")


def test_what_a_child_inherits_is_taken_over(tmp_path):
    out = tmp_path / "out.txt"
    with out.open("w") as file:
        env = {**os.environ, "NBS_ROOT": str(tmp_path), "TZ": "Asia/Tokyo"}
        before = os.umask(0o027)
        try:
            kernel = Kernel(cwd=str(tmp_path), env=env, stdout=file, stderr=file)
        finally:
            os.umask(before)
        with kernel:
            assert kernel.ask("__import__('os').getcwd()") == str(tmp_path)
            assert kernel.ask("__import__('os').environ['NBS_ROOT']") == str(tmp_path)
            assert kernel.ask("__import__('time').strftime('%z')") == "+0900"
            assert kernel.ask("oct(__import__('os').umask(0))") == "0o27"
            assert kernel.ask("__import__('os').getpgid(0) == __import__('os').getpid()")
            kernel.run("import os; os.write(1, b'straight to the stream'); None")
    assert "straight to the stream" in out.read_text()


def test_limits_are_the_clients(tmp_path):
    code = f"""
import resource, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
resource.setrlimit(resource.RLIMIT_NOFILE, (200, 300))
from test_warm import Kernel
with Kernel() as kernel:
    print(type(kernel.process).__name__, kernel.ask("__import__('resource').getrlimit(7)"))
"""
    done = subprocess.run([BIN / "python", "-c", code], capture_output=True, text=True)
    assert done.stdout.strip().endswith("ForkedProcess (200, 300)"), done.stderr[-2000:]


def test_random_states_differ():
    code = (
        "(__import__('random').random(), __import__('numpy').random.random(), __import__('uuid').uuid4().hex)"
    )
    with Kernel() as one, Kernel() as two:
        assert all(a != b for a, b in zip(one.ask(code), two.ask(code), strict=True))
        seeded = "(__import__('numpy').random.seed(3), __import__('numpy').random.random())"
        assert one.ask(seeded) == two.ask(seeded)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import os; os._exit(7)", 7),
        ("import os; os.kill(os.getpid(), 9)", -9),
        ("import os; os.kill(os.getpid(), 11)", -11),
    ],
)
def test_exit_codes(code, expected):
    with Kernel() as kernel:
        process = kernel.process
        assert process.poll() is None
        kernel.client.execute(code)
        assert process.wait(20) == expected and process.poll() == expected
        assert not kernel.manager.is_alive()


def test_interrupt_and_restart():
    with Kernel() as kernel:
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(kernel.run, "import time\nfor _ in range(600): time.sleep(0.1)")
            time.sleep(1.5)
            kernel.manager.interrupt_kernel()
            assert answer.result(30) == "KeyboardInterrupt"
        first = kernel.ask("__import__('os').getpid()")
        kernel.manager.restart_kernel(now=True)
        kernel.client.wait_for_ready(timeout=60)
        assert kernel.ask("__import__('os').getpid()") != first and gone(first)
        assert isinstance(kernel.process, warm.ForkedProcess)


def test_a_shutdown_leaves_nothing():
    with Kernel() as kernel:
        pid = kernel.process.pid
        child = kernel.ask("__import__('subprocess').Popen(['sleep', '300']).pid")
    assert gone(pid) and gone(child)


def test_a_kernel_ends_with_its_client(tmp_path):
    code = f"""
import os, sys, time
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_warm import Kernel
kernel = Kernel()
print(kernel.process.pid, kernel.ask("__import__('subprocess').Popen(['sleep', '300']).pid"), flush=True)
time.sleep(300)
"""
    client = subprocess.Popen([BIN / "python", "-c", code], stdout=subprocess.PIPE, text=True)
    pid, started = map(int, client.stdout.readline().split())
    client.kill()
    client.wait()
    assert gone(pid) and gone(started)


def test_a_killed_warm_process_takes_no_kernel_along(place):
    with Kernel() as kernel:
        for pid in servers(place):
            os.kill(pid, signal.SIGKILL)
            assert gone(pid)
        assert kernel.ask("1 + 1") == 2 and kernel.process.poll() is None
        with Kernel() as other:
            assert isinstance(other.process, warm.ForkedProcess) and other.ask("2 + 2") == 4
        process = kernel.process
        process.kill()
        assert process.wait(20) == -9


def test_a_warm_process_ends_after_idling(place, monkeypatch):
    monkeypatch.setenv("NBS_EXECUTION_WARM_IDLE", "1")
    monkeypatch.setenv("NBS_EXECUTION_PRELOAD", "ipykernel.kernelapp")
    before = set(servers(place))
    with Kernel() as kernel:
        mine = (set(servers(place)) - before).pop()
        time.sleep(2)
        assert kernel.ask("1") == 1 and not gone(mine, 0.1), "it stays while a kernel lives"
    assert gone(mine)
    with Kernel() as kernel:
        assert isinstance(kernel.process, warm.ForkedProcess)


def test_another_environment_gets_another_warm_process(place):
    with Kernel() as one, Kernel(env={**os.environ, "OMP_NUM_THREADS": "1"}) as two:
        assert one.ask("__import__('os').getppid()") != two.ask("__import__('os').getppid()")


def test_sixteen_at_once():
    with ThreadPoolExecutor(16) as pool:
        kernels = list(pool.map(lambda _: Kernel(), range(16)))
    pids = {k.ask("__import__('os').getpid()") for k in kernels}
    for kernel in kernels:
        kernel.__exit__()
    assert len(pids) == 16


def test_a_library_that_cannot_be_imported_is_left_out(monkeypatch):
    monkeypatch.setenv("NBS_EXECUTION_PRELOAD", "ipykernel.kernelapp no_such_library")
    with Kernel() as kernel:
        assert isinstance(kernel.process, warm.ForkedProcess) and kernel.ask("3") == 3


def test_switched_off_or_impossible_an_ordinary_kernel_starts(monkeypatch, tmp_path):
    monkeypatch.setenv("NBS_EXECUTION_WARM", "off")
    with Kernel() as kernel:
        assert isinstance(kernel.process, subprocess.Popen) and kernel.ask("1") == 1
        assert "warm is off" in kernel.manager.provisioner.why_ordinary
    monkeypatch.setenv("NBS_EXECUTION_WARM", "on")
    trap = tmp_path / f"nbs-{os.getuid()}"
    trap.mkdir()
    trap.chmod(0o777)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with pytest.raises(warm.NotWarm, match="not a private folder"):
        warm.socket_folder("x")
    with Kernel() as kernel:
        assert isinstance(kernel.process, subprocess.Popen) and kernel.ask("1") == 1
        assert "not a private folder" in kernel.manager.provisioner.why_ordinary


def test_only_the_same_user_is_served(place):
    if os.getuid():
        pytest.skip("needs root to become somebody else")
    with Kernel() as kernel:
        mine = kernel.ask("__import__('os').getppid()")
        parent = Path(f"/proc/{mine}/cmdline").read_text()
        socket_file = next(f for f in place.glob(f"nbs-{os.getuid()}/*/s") if str(f.parent) in parent)
        opened = [socket_file.parent, socket_file.parent.parent, place]
        modes = [p.stat().st_mode for p in opened]
        for p in (*opened, socket_file):
            p.chmod(0o777)  # the folder is not the only guard
        code = f"""
import os, socket
os.setuid(65534)
s = socket.socket(socket.AF_UNIX); s.settimeout(20); s.connect({str(socket_file)!r})
print(s.recv(1) == b"")
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        for p, mode in zip(opened, modes, strict=True):
            p.chmod(mode)
        assert done.stdout.strip() == "True", done.stderr


COMPUTE = """
import hashlib, json, matplotlib, matplotlib.pyplot as plt, numpy as np, io
import duckdb, lightgbm, pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
rng = np.random.default_rng(0)
X = rng.normal(size=(4000, 20)); y = (X[:, 0] + rng.normal(size=4000) > 0).astype(int)
found = [np.linalg.svd(X @ X.T[:, :300])[1][:5].tolist()]
for model in (LogisticRegression(), RandomForestClassifier(20, n_jobs=2, random_state=0), HistGradientBoostingClassifier(random_state=0),
              lightgbm.LGBMClassifier(n_estimators=20, n_jobs=2, deterministic=True, force_row_wise=True, verbose=-1)):
    found.append(model.fit(X, y).predict_proba(X[:5])[:, 1].tolist())
frame = pd.DataFrame(X[:, :2], columns=["a", "b"])
found.append(duckdb.sql("select sum(a) s, avg(b) m from frame").fetchall())
fig, ax = plt.subplots(); ax.plot(X[:50, 0]); fig.savefig(io.BytesIO()); plt.close(fig)
print(repr(hashlib.sha256(json.dumps(found).encode()).hexdigest()))
"""


def test_libraries_compute_the_same_as_in_an_ordinary_kernel(monkeypatch):
    monkeypatch.setenv("NBS_EXECUTION_PRELOAD", warm.PRELOAD)
    with Kernel() as forked, Kernel() as again:
        values = [forked.run(COMPUTE).splitlines()[-1], again.run(COMPUTE).splitlines()[-1]]
        assert isinstance(forked.process, warm.ForkedProcess)
    with Kernel("python3") as ordinary:
        values.append(ordinary.run(COMPUTE).splitlines()[-1])
    assert len(set(values)) == 1 and len(values[0]) == 66


def test_a_client_that_gives_up_gets_no_kernel_later(place, monkeypatch, tmp_path):
    (tmp_path / "slow_library.py").write_text("import time; time.sleep(3)")
    monkeypatch.setenv("NBS_EXECUTION_PRELOAD", "slow_library ipykernel.kernelapp")
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH') or tmp_path}"}
    cmd = [sys.executable, "-m", "ipykernel_launcher", "-f", str(tmp_path / "kernel.json")]
    with pytest.raises(warm.NotWarm):
        warm.fork_kernel(cmd, env, str(tmp_path), timeout=0.5)
    process = warm.fork_kernel(cmd[:-1] + [str(tmp_path / "other.json")], env, str(tmp_path))
    time.sleep(1)
    assert not (tmp_path / "kernel.json").exists()
    process.kill()
    assert process.wait(20) == -9


def test_a_kernel_that_says_what_it_needs_does_not_wait_for_the_rest(place, monkeypatch, tmp_path):
    (tmp_path / "quick_library.py").write_text("")
    (tmp_path / "slow_library.py").write_text(
        f"import pathlib, time; time.sleep(3); pathlib.Path({str(tmp_path)!r}, 'done').touch()"
    )
    monkeypatch.setenv("NBS_EXECUTION_PRELOAD", "slow_library quick_library")
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    cmd = [sys.executable, "-m", "ipykernel_launcher", "--help"]
    choosy = warm.fork_kernel(cmd, {**env, warm.NEEDS: "quick_library"}, str(tmp_path))
    assert not (tmp_path / "done").exists()
    other = warm.fork_kernel(cmd, env, str(tmp_path))
    assert (tmp_path / "done").exists()
    assert choosy.wait(60) == other.wait(60) == 0


def test_nonsense_does_not_end_the_warm_process(place):
    import socket

    from nbs_lib.runner.forkserver import send

    with Kernel() as kernel:
        parent = kernel.ask("__import__('os').getppid()")
        path = next(
            p for p in place.glob("nbs-*/*/s") if f"{p.parent}" in Path(f"/proc/{parent}/cmdline").read_text()
        )
        for message in (5, None, "args", ["args"], {"args": []}):
            with socket.socket(socket.AF_UNIX) as conn:
                conn.connect(str(path))
                send(conn, message, (0, 1, 2) if message != {"args": []} else ())
        with socket.socket(socket.AF_UNIX) as conn:
            conn.connect(str(path))
            conn.sendall(b"\xff\xff\xff\xff{")
        with Kernel() as other:
            assert other.ask("__import__('os').getppid()") == parent


def test_high_descriptors_can_be_watched():
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2000:
        pytest.skip("too few descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2000), hard))
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        cmd = [sys.executable, "-m", "ipykernel_launcher", "-f", "/nowhere/kernel.json"]
        process = warm.fork_kernel(
            cmd, dict(os.environ), streams=(None, subprocess.DEVNULL, subprocess.DEVNULL)
        )
        assert process.poll() in (None, 1)
        process.kill()
        assert process.wait(20) in (-9, 1)
    finally:
        for fd in held:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("path", ["", "/opt/mine", "CWD"])
def test_modules_are_looked_for_where_an_ordinary_kernel_does(path, tmp_path):
    env = {**os.environ, "PYTHONPATH": path.replace("CWD", str(tmp_path))}
    found = []
    for name in ("nbs", "python3"):
        with Kernel(name, env=env, cwd=str(tmp_path)) as kernel:
            found.append(kernel.ask("[p for p in __import__('sys').path if 'editable' not in p]"))
    assert found[0] == found[1]


def test_what_cannot_be_passed_on_makes_an_ordinary_kernel():
    with Kernel(preexec_fn=lambda: os.nice(3)) as kernel:
        assert isinstance(kernel.process, subprocess.Popen)
        assert kernel.manager.provisioner.why_ordinary == "preexec_fn cannot be passed on"
        assert kernel.ask("__import__('os').nice(0)") == os.nice(0) + 3


def test_the_provisioner_does_what_jupyter_asks_of_one():
    """As jupyter_client's own tests of provisioners: the life of a kernel through the interface alone"""
    import asyncio

    from jupyter_client.manager import AsyncKernelManager

    async def live() -> None:
        manager = AsyncKernelManager(kernel_name="nbs")
        await manager.start_kernel()
        one = manager.provisioner
        assert type(one).__name__ == "WarmProvisioner" and one.has_process and await one.poll() is None
        info = await one.get_provisioner_info()
        assert info["pid"] == one.process.pid
        assert one.connection_info["transport"] == "ipc" and one.get_stable_start_time() >= 0
        assert one.get_shutdown_wait_time(5) >= 5
        first = one.process.pid
        client = manager.client()
        client.start_channels()
        await client.wait_for_ready(timeout=60)
        client.stop_channels()
        await manager.interrupt_kernel()
        await asyncio.sleep(0.5)
        assert await manager.is_alive(), "an interrupt ends no kernel"
        await manager.restart_kernel(now=True)
        assert one.process.pid != first and await manager.is_alive()
        await one.send_signal(0)
        await one.terminate()
        assert await asyncio.wait_for(one.wait(), 20) is not None
        assert not one.has_process and not await manager.is_alive()
        await manager.start_kernel()
        await manager.provisioner.kill()
        await asyncio.wait_for(manager.provisioner.wait(), 20)
        await manager.shutdown_kernel(now=True)
        await manager.cleanup_resources()

    asyncio.run(live())


def test_nobody_waits_so_the_kernel_is_ended(monkeypatch, tmp_path):
    import asyncio

    from jupyter_client.manager import AsyncKernelManager

    (tmp_path / "slow_start.py").write_text("import time; time.sleep(2)")
    monkeypatch.setenv("NBS_EXECUTION_PRELOAD", "slow_start ipykernel.kernelapp")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH') or tmp_path}")

    async def give_up() -> AsyncKernelManager:
        manager = AsyncKernelManager(kernel_name="nbs")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(manager.start_kernel(), 1)
        await asyncio.sleep(4)
        return manager

    manager = asyncio.run(give_up())
    found = subprocess.run(["pgrep", "-f", manager.connection_file], capture_output=True, text=True).stdout
    running = [p for p in found.split() if int(p) != os.getpid()]
    assert all(gone(int(p)) for p in running)


TORCH = """
import torch
torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Linear(20, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1))
x, y = torch.randn(512, 20), torch.randn(512, 1)
opt = torch.optim.Adam(net.parameters(), 1e-2)
for _ in range(50):
    opt.zero_grad(); loss = ((net(x) - y) ** 2).mean(); loss.backward(); opt.step()
print(repr(loss.item()))
"""


def test_torch_computes_the_same_after_the_fork(monkeypatch):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    monkeypatch.setenv("NBS_EXECUTION_PRELOAD", warm.PRELOAD + " torch")
    with Kernel() as forked, Kernel("python3") as ordinary:
        assert isinstance(forked.process, warm.ForkedProcess)
        values = [kernel.run(TORCH).splitlines()[-1] for kernel in (forked, ordinary)]
        assert values[0] == values[1] and float(values[0]) < 1.2


def test_the_copy_that_runs_a_study_hands_on_streams_signals_and_code(place):
    code = """
import sys
from nbs_lib.runner import warm
warm.fork_call("platform:python_version", ["x"], patience=60, start=True).wait()
process = warm.fork_call("nbs_lib.cli:main", ["nbs", "run", "no-such-study"], patience=60)
print("ended", process.wait(), flush=True)
"""
    done = subprocess.run([BIN / "python", "-c", code], capture_output=True, text=True, timeout=120)
    assert "ended 2" in done.stdout and "there is no such study" in done.stderr, done.stderr


@pytest.mark.parametrize("answers", [False, True])
def test_a_copy_begins_when_its_client_has_answered_and_not_before(answers, tmp_path):
    """The warm process is killed right after the fork: whoever heard of no copy does the work otherwise"""
    from nbs_lib.runner.forkserver import receive, send

    (tmp_path / "once.py").write_text("def main(): open('done', 'w').close()")
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    request = {**warm._request(["once"], env, str(tmp_path), False), "call": "once:main"}
    with warm.connect(sys.executable, env) as conn:
        conn.settimeout(60)
        send(conn, request, (0, 1, 2))
        pid = receive(conn)[0]["pid"]
        server = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
        os.kill(server, signal.SIGKILL)
        assert gone(server) and not gone(pid, 0.3) and os.getpgid(pid) == pid
        if answers:
            conn.sendall(b"+")
    assert gone(pid) and (tmp_path / "done").exists() is answers


LIKE_ORDINARY = {
    "figure": "import matplotlib.pyplot as plt\nplt.plot([1]); None",
    "shown": "plt.plot([2]); plt.show()",
    "by pandas": "import pandas as pd; pd.DataFrame({'a': [1, 2]}).plot(); None",
    "columns": "print(pd.get_option('display.max_columns'), pd.DataFrame([range(40)])._repr_html_().count('<td>'))",
    "log": "import optuna; optuna.create_study(study_name='mine'); None",
    "progress": "import tqdm; print(tqdm.tqdm([1]).disable)",
    "settings": "print(plt.rcParams['lines.linewidth'], plt.isinteractive(), plt.get_backend())",
    "fastcore": "import fastcore.imports; print(fastcore.imports.IN_NOTEBOOK)",
}


def test_what_libraries_decide_on_import_is_as_in_an_ordinary_kernel(tmp_path, monkeypatch):
    (tmp_path / "matplotlibrc").write_text("lines.linewidth: 7")
    monkeypatch.setenv("NBS_EXECUTION_PRELOAD", warm.PRELOAD.replace(" lightgbm shap", " optuna tqdm"))
    options = {"env": {**os.environ, "TQDM_DISABLE": "1"}, "cwd": str(tmp_path)}
    options |= {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    found = {}
    for name in ("nbs", "python3"):
        with Kernel(name, **options) as kernel:
            found[name] = {what: outputs(kernel, code) for what, code in LIKE_ORDINARY.items()}
            assert isinstance(kernel.process, warm.ForkedProcess) is (name == "nbs")
    assert found["nbs"] == found["python3"]
    assert "image/png" in found["nbs"]["figure"] and "name: mine" in found["nbs"]["log"]
    assert found["nbs"]["progress"] == "True" and found["nbs"]["settings"].startswith("7.0")


def outputs(kernel: Kernel, code: str) -> str:
    "What a cell prints, and the kinds of what it shows; times and advice on widgets aside"
    said = []

    def hook(message: dict) -> None:
        content = message["content"]
        said.append(content.get("text") or " ".join(sorted(content.get("data", {}))))

    kernel.client.execute_interactive(code, timeout=90, output_hook=hook, store_history=False)
    lines = re.sub(r"\d{4}-\d\d-\d\d [\d:,]+", "", "".join(said)).splitlines()
    return "\n".join(line for line in lines if "tqdm" not in line.lower()).strip()


@pytest.mark.parametrize(
    ("number", "ignored", "code"),
    [(signal.SIGHUP, True, "0"), (signal.SIGHUP, False, "9"), (signal.SIGINT, False, "130")],
)
def test_signals_reach_the_copy_unless_they_were_ignored(number, ignored, code, place):
    """`nohup` ignores the end of the terminal; without it, that end lets a run clear up as SIGTERM does"""
    (place / "slow_work.py").write_text(
        "import signal, sys, time\n"
        "def main():\n"
        "    signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))\n"
        "    print('here', flush=True)\n"
        "    time.sleep(1.5)\n"
    )
    program = f"""
import signal
from nbs_lib.runner import warm
warm.fork_call("platform:python_version", ["x"], patience=60, start=True).wait()
{"signal.signal(signal.SIGHUP, signal.SIG_IGN)" if ignored else ""}
print(warm.hand_over("slow_work:main", ["x"]), flush=True)
"""
    env = {**os.environ, "PYTHONPATH": f"{place}{os.pathsep}{ROOT}"}
    client = subprocess.Popen(
        [BIN / "python", "-c", program], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert client.stdout.readline() == "here\n"
    client.send_signal(number)
    said, errors = client.communicate(timeout=60)
    assert said.strip() == code and "Traceback" not in errors, errors


def test_another_group_gets_another_warm_process():
    if os.getuid():
        pytest.skip("needs root to change its groups")
    program = """
import os
from nbs_lib.runner import warm
key = lambda: warm.environment_key("python", {}, [])
first = key()
os.setgroups([12345])
assert first != key()
first = key()
os.setregid(2000, 2000)
assert first != key() == key()
"""
    done = subprocess.run([BIN / "python", "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
