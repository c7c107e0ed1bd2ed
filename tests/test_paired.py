"The champion is found, and it is compared only on rows that it has not seen"

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from nbs_lib import evaluation as ev
from nbs_lib.core.files import file_sha256
from nbs_lib.core.record import Stage
from nbs_lib.core.study import make_study
from nbs_lib.models.bundle import Baseline, save_model
from nbs_lib.tasks.paired import champion_sentence, find_champion

FACTS = {
    "name": "m",
    "label": "a model",
    "task": "binary",
    "target": "rain",
    "classes": ["no", "yes"],
    "positive": "yes",
}
COLUMNS = lambda model: ["wind", "day"]


@pytest.fixture
def project(tmp_path, monkeypatch):
    "A study of which version v001 is the champion"
    monkeypatch.setenv("NBS_ROOT", str(tmp_path))
    (tmp_path / "settings.ini").write_text("")
    home, models, data = (tmp_path / p for p in ("reports/t/v001", "models/t/v001", "data/processed/t/v001"))
    for folder in (home, models, data):
        folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"wind": rng.normal(size=600), "day": np.arange(600)})
    frame["rain"] = pd.Series(np.where(rng.random(600) < 0.4, "yes", "no"), dtype="str")
    save_model(Baseline(FACTS).fit(frame[:300]), models / "model.skops")
    frame[:300].to_parquet(data / "train.parquet")
    entry = lambda path, **how: {"path": str(path.relative_to(tmp_path)), "sha256": file_sha256(path), **how}
    manifest = {
        "holdout": {"fingerprint": "then"},
        "stages": {
            "modeling": {
                "artifacts": {
                    "model": entry(models / "model.skops", type="model", module="nbs_lib.models.bundle")
                }
            },
            "exploration": {"artifacts": {"train": entry(data / "train.parquet", type="frame")}},
        },
    }
    (home / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "reports/t/aliases.json").write_text(json.dumps({"champion": "v001"}))
    return tmp_path, frame


def open_stage(fingerprint="then", sha="another", target="rain", task="binary"):
    asked = {"question": "Will it rain?", "task": task, "data": {"path": "x.csv"}, "target": target}
    stage = Stage("evaluation", make_study("t", asked), "v002")
    stage.record["holdout"] = {"fingerprint": fingerprint, "openings": 1, "models": 1}
    stage.record["inputs"]["model"] = {"sha256": sha}
    return stage


def test_rows_that_were_sealed_for_both_are_all_compared(project):
    found = find_champion(open_stage(), project[1][300:], COLUMNS)
    assert found.model is not None and not found.known.any() and found.version == "v001"


def test_rows_that_the_champion_was_trained_on_are_left_out(project):
    found = find_champion(open_stage("now"), project[1][280:], COLUMNS)
    assert found.known.sum() == 20 and found.known[:20].all()
    assert "Left out: 20 rows that the champion was trained on" in champion_sentence(found, "ROC-AUC", "0.1")


def test_too_few_rows_are_left(project):
    found = find_champion(open_stage("now"), project[1][:320], COLUMNS)
    assert (
        found.model is None
        and "trained on 300 rows of this holdout" in found.why
        and "20 others" in found.why
    )


def test_nothing_is_compared_when_nobody_knows_what_it_was_trained_on(project):
    (project[0] / "data/processed/t/v001/train.parquet").unlink()
    found = find_champion(open_stage("now"), project[1][300:], COLUMNS)
    assert found.model is None and "train.parquet: is missing" in found.why


def test_a_champion_of_another_task_is_not_compared(project):
    _, frame = project
    found = find_champion(open_stage(task="regression"), frame[300:], COLUMNS)
    assert found.model is None and "binary question" in found.why


def test_a_changed_file_is_not_loaded(project):
    with (project[0] / "models/t/v001/model.skops").open("ab") as f:
        f.write(b"x")
    assert "changed or truncated" in find_champion(open_stage(), project[1][300:], COLUMNS).why


def test_the_champion_itself_and_no_champion(project):
    sha = file_sha256(project[0] / "models/t/v001/model.skops")
    same = find_champion(open_stage(sha=sha), project[1][300:], COLUMNS)
    assert same.same and "says the same of every row" in champion_sentence(same)
    assert (
        "predicts 'rain' and not 'snow'"
        in find_champion(open_stage(target="snow"), project[1][300:], COLUMNS).why
    )
    (project[0] / "reports/t/aliases.json").unlink()
    assert find_champion(open_stage(), project[1][300:], COLUMNS) is None


def test_a_better_model_is_called_better(project):
    frame, stage = project[1][300:], open_stage()
    p = np.where(frame["rain"] == "yes", 0.7, 0.3)
    said = pd.DataFrame(
        {"prediction": np.where(p > 0.5, "yes", "no"), "p_no": 1 - p, "p_yes": p}, index=frame.index
    )
    champion = find_champion(stage, frame, COLUMNS)
    model = SimpleNamespace(positive="yes", classes=["no", "yes"], facts=FACTS)
    judged = ev.Judged(
        stage.study,
        frame,
        frame,
        model,
        frame["rain"],
        said,
        said,
        ev.get_metric(stage.study),
        None,
        "",
    )
    assert ev.against_champion(stage, judged, champion, 100) is not None
    assert "better than the champion, v001" in stage.record["findings"][-1]
    assert stage.record["metrics"]["champion_difference"]["low"] > 0
    judged.predictions = champion.model.predict(frame)
    ev.against_champion(stage, judged, champion, 100)
    assert "says the same of every row as the champion" in stage.record["findings"][-1]
