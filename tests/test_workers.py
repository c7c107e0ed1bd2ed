"Where fits run must not change what is found"

import subprocess
import sys

import pytest
from conftest import ROOT, environment
from test_models import FEATURES, make, weather

from nbs_lib.core.settings import NbsError
from nbs_lib.models import workers
from nbs_lib.models.candidates import CANDIDATES
from nbs_lib.models.search import Clock, Searcher
from nbs_lib.models.selection import open_contest

NAMES = ["linear", "lightgbm"]


def search(task: str = "binary", trials: int = 11, replay: list | None = None):
    study = make(task, modeling={"folds": 3, "candidates": NAMES})
    frame = weather(task)
    contest = open_contest(frame, frame[FEATURES], study, jobs=2)
    return Searcher(contest, [CANDIDATES[n] for n in NAMES], Clock(None, 0.0), trials, replay=replay).run()


def test_mistakes_in_the_settings_are_one_message(monkeypatch):
    contest = open_contest(weather(), weather()[FEATURES], make())
    monkeypatch.setenv("NBS_EXECUTION_ENGINE", "spark")
    with pytest.raises(
        NbsError, match="settings.ini: .execution. engine: has to be 'local' or 'ray', found 'spark'"
    ):
        workers.open_workers(contest)
    monkeypatch.setenv("NBS_EXECUTION_ENGINE", "ray")
    monkeypatch.setattr(workers, "find_spec", lambda name: None)
    with pytest.raises(NbsError, match="Ray is not installed .pip install -e '.\\[ray\\]'."):
        workers.open_workers(contest)


def test_a_cluster_that_does_not_answer_is_one_message(monkeypatch):
    pytest.importorskip("ray", reason="Ray is an extra: pip install -e '.[ray]'")
    contest = open_contest(weather(), weather()[FEATURES], make())
    monkeypatch.setenv("NBS_EXECUTION_ENGINE", "ray")
    monkeypatch.setenv("NBS_EXECUTION_RAY_ADDRESS", "127.0.0.1:9")
    with pytest.raises(NbsError, match="ray_address = 127.0.0.1:9: nobody answers there"):
        workers.open_workers(contest)


CODE = """
import os, pickle, sys
sys.path.insert(0, 'TESTS')
from test_workers import search, summary
first = search(trials=11)
again = search(trials=3, replay=[{'name': t.name, 'params': t.params, 'caps': [7, 8, 9, 7, 8, 9] if t.name == 'lightgbm' else None} for t in first.trials])
assert ('ray' in sys.modules) == (os.environ['NBS_EXECUTION_ENGINE'] == 'ray')
pickle.dump([summary(first), summary(again)], open(sys.argv[1], 'wb'))
"""


def summary(found) -> list:
    "What a search found, to the last bit"
    plain = lambda e: (
        None if e is None else (e.rounds, e.oof.to_numpy().tolist(), e.scores.to_numpy().tolist())
    )
    return [
        (t.number, t.name, t.params, t.origin, t.state, t.value, t.caps, plain(t.entry)) for t in found.trials
    ]


def test_ray_finds_what_threads_find(tmp_path):
    "Bit for bit; slow, because Ray takes half a minute to start"
    pytest.importorskip("ray", reason="Ray is an extra: pip install -e '.[ray]'")
    import pickle

    code, found = CODE.replace("TESTS", str(ROOT / "tests")), {}
    for engine in ("local", "ray"):
        where = environment(ROOT, NBS_EXECUTION_ENGINE=engine)
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / engine)],
            env=where,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        found[engine] = pickle.loads((tmp_path / engine).read_bytes())
    assert found["local"] == found["ray"]
    assert [t[3] for t in found["ray"][0]].count("search") >= 4, "the guided part took part"
