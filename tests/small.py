"Studies that run in seconds: four short notebooks, a table of sixty rows, a module of the project's own"

import json
import shutil
from pathlib import Path

from conftest import ROOT

PARAMETERS = 'study = "a"'
CELLS = {
    "01_exploration": [
        '# # Exploration\nfrom nbs_lib.core.record import open_stage\nstage = open_stage("exploration", study)',
        """frame = stage.table().frame.rename_axis("row")
stage.seal(frame.iloc[40:])
stage.write("train", frame.iloc[:40])
stage.check("SPLIT", True, "The last rows.")
stage.finding(f"{len(frame)} rows of {stage.study.target}.")
stage.close()""",
    ],
    "02_features": [
        'from nbs_lib.core.record import open_stage\nstage = open_stage("features", study)',
        """train = stage.read("train")
stage.write("plan", {"columns": [c for c in train if c != stage.study.target]})
stage.finding("A plan.")
stage.close()""",
    ],
    "03_modeling": [
        """import helpers
from nbs_lib.core.record import open_stage
stage = open_stage("modeling", study)""",
        """train, plan = stage.read("train"), stage.read("plan")
stage.write("centre", {"value": helpers.centre(train[stage.study.target]), "luck": float(stage.rng.random())})
stage.metric("rows", len(train))
stage.finding("A centre.")
stage.close()""",
    ],
    "04_evaluation": [
        'from nbs_lib.core.record import open_stage\nstage = open_stage("evaluation", study)',
        """import numpy as np
centre, holdout = stage.read("centre")["value"], stage.read("holdout")
error = float(np.abs(holdout[stage.study.target] - centre).mean())
stage.headline(metric="mae", label="mean absolute error", value=error, low=error - 0.1, high=error + 0.1,
               baseline=9.0, goal=stage.study.goal, better="lower", sentence="It is near.")
stage.metric("mae", error, error - 0.1, error + 0.1)
stage.finding("An error.")
stage.close()""",
    ],
}
CONFIG = """
question: How high will the water be?
task: regression
data: {path: data/raw/water.csv}
target: level
metric: mae
goal: 5
"""


def code(source: str, *tags: str) -> dict:
    "A code cell"
    return {
        "cell_type": "code",
        "id": f"c{abs(hash(source)) % 10**8}",
        "metadata": {"tags": list(tags)} if tags else {},
        "source": source,
        "outputs": [],
        "execution_count": None,
    }


def prose(text: str) -> dict:
    "A cell of prose"
    return {"cell_type": "markdown", "id": f"m{abs(hash(text)) % 10**8}", "metadata": {}, "source": text}


def write_notebook(path: Path, cells: list[dict]) -> None:
    "A notebook of the project"
    kernel = {"kernelspec": {"display_name": "nbs", "language": "python", "name": "nbs"}}
    path.write_text(json.dumps({"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}))


def make_small(folder: Path, names: tuple[str, ...] = ("a",)) -> Path:
    "A project of small studies"
    for name in ("notebooks", "configs", "data/raw"):
        (folder / name).mkdir(parents=True)
    shutil.copyfile(ROOT / "settings.ini", folder / "settings.ini")
    for stage, cells in CELLS.items():
        title = prose(f"# {stage[3:].capitalize()}\n\n> Small.")
        write_notebook(
            folder / "notebooks" / f"{stage}.ipynb",
            [title, code(PARAMETERS, "parameters"), *map(code, cells)],
        )
    (folder / "helpers.py").write_text("def centre(values):\n    return float(values.mean())\n")
    rows = "".join(f"{i},{i % 7},{10 + (i * 37) % 11}\n" for i in range(60))
    (folder / "data/raw/water.csv").write_text("day,wind,level\n" + rows)
    for name in names:
        (folder / "configs" / f"{name}.yaml").write_text(CONFIG)
    return folder


def change(folder: Path, stage: str, edit: object) -> None:
    "Change the cells of a notebook"
    path = next((folder / "notebooks").glob(f"*_{stage}.ipynb"))
    nb = json.loads(path.read_text())
    nb["cells"] = edit(nb["cells"])
    path.write_text(json.dumps(nb))


def add_cell(folder: Path, stage: str, source: str, at: int = 3) -> None:
    "Put a cell behind the one that opens the stage"
    change(folder, stage, lambda cells: [*cells[:at], code(source), *cells[at:]])
