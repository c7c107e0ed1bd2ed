"A realistic executed stage and manifests, well-behaved and hostile, for the tests of the reports"

import nbformat
import numpy as np
import pandas as pd

from nbs_lib.core.checklist import CHECKS
from nbs_lib.core.show import (
    Html,
    bars,
    dots_with_intervals,
    figure_html,
    finding_html,
    histogram,
    lines,
    note_html,
    provenance_html,
    small_multiples,
    table_html,
)
from nbs_lib.runner.compare import Side
from nbs_lib.runner.diff import Comparison

HOSTILE = [
    "<script>document.title='owned'</script>",
    '"><img src=x onerror="document.title=\'owned\'">',
    "</script></style></textarea><svg onload=document.title='owned'>",
    "\u202egnp.exe \u2066\u200f",
    "x" * 10_000,
    "a\x00b\x1b[31m]]>-->",
    "javascript:document.title='owned'",
    "{{ 7 * 7 }}{% raw %}",
    "=cmd|' /C calc'!A0",
    "$\\frac{$",
    "🛫 émoji ﷽",
]


def _markdown(text: str) -> dict:
    return nbformat.v4.new_markdown_cell(text)


def _code(source: str, *shown: object, tags: list[str] | None = None, error: str | None = None) -> dict:
    outputs = []
    for item in shown:
        if isinstance(item, Html):
            markup, mark = item._repr_html_()
            data = {"text/html": markup, "text/plain": repr(item)}
            outputs.append(nbformat.v4.new_output("display_data", data, metadata={"text/html": mark}))
        elif isinstance(item, dict):
            outputs.append(nbformat.v4.new_output(**item))
        else:
            outputs.append(nbformat.v4.new_output("execute_result", {"text/plain": str(item)}))
    if error:
        outputs.append(
            nbformat.v4.new_output(
                "error", ename="ValueError", evalue=error, traceback=["\x1b[31mValueError\x1b[0m", error]
            )
        )
    return nbformat.v4.new_code_cell(source, outputs=outputs, metadata={"tags": tags} if tags else {})


def figures(rng: np.random.Generator) -> dict[str, Html]:
    "One of each kind of figure"
    months = np.arange(1, 9)
    late = np.array([0.23, 0.25, 0.24, 0.25, 0.24, 0.33, 0.33, 0.21])
    carriers = [
        "ExpressJet Airlines Inc.",
        "AirTran Airways Corporation",
        "Mesa Airlines Inc.",
        "Frontier Airlines Inc.",
        "Envoy Air",
        "Southwest Airlines Co.",
        "JetBlue Airways",
        "United Air Lines Inc.",
        "Endeavor Air Inc.",
        "American Airlines Inc.",
        "US Airways Inc.",
        "Delta Air Lines Inc.",
        "Virgin America",
        "Alaska Airlines Inc.",
        "Hawaiian Airlines Inc.",
    ]
    shares = np.linspace(0.36, 0.11, len(carriers))
    fig, axes = small_multiples(6)
    for ax, name in zip(
        axes,
        ["distance (miles)", "seats", "temperature (°F)", "wind (mph)", "visibility (miles)", "hour"],
        strict=True,
    ):
        histogram({"late": rng.normal(1, 1, 400), "on time": rng.normal(0, 1, 900)}, name, ax=ax)
        ax.get_legend().remove()
    curve = {
        "Newark": (months, late, late - 0.02, late + 0.02),
        "Kennedy": (months, late - 0.03, late - 0.05, late - 0.01),
        "LaGuardia": (months, late + 0.05, late + 0.03, late + 0.07),
    }
    models = ["Boosting", "Logistic regression", "Rate by carrier and hour", "Constant"]
    return {
        "lines": figure_html(lines(curve, "month of 2013", "share late"), "Summer is late, most of all at LaGuardia", "Share of flights more than 15 minutes late, training part, n = 218,342, 95 % intervals.", name="exploration-1"),
        "bars": figure_html(bars(carriers, 100 * shares, "flights late (%)", highlight=carriers[:1], others="drop", text=lambda x: f"{x:.0f}"), "ExpressJet is late three times as often as Hawaiian", "Share late by carrier, the 12 highest of 15.", name="exploration-2"),
        "dots": figure_html(dots_with_intervals(models, [0.721, 0.694, 0.621, 0.5], [0.714, 0.687, 0.613, 0.5], [0.728, 0.701, 0.629, 0.5], "ROC-AUC", reference=0.7, reference_label="goal 0.700", highlight="Boosting"), "Boosting ranks flights best", "Five-fold cross-validation by time, mean and 95 % interval.", name="exploration-3"),
        "panels": figure_html(fig, "Late flights leave later in the day; nothing else separates them as well", "Distribution by outcome, training part: late (blue) and on time (orange), density on one scale.", name="exploration-4"),
    }  # fmt: skip


def stage_notebook(hostile: bool = False, error: bool = False) -> nbformat.NotebookNode:
    "An executed exploration"
    rng = np.random.default_rng(0)
    figs = figures(rng)
    frame = pd.DataFrame({
        "column": ["dep_delay", "arr_time", "tailnum", "temperature", "wind gust"], "kind": ["number", "number", "id", "number", "number"],
        "missing": [0.0, 0.002, 0.0, 0.031, 0.77], "distinct": [527, 1411, 4043, 174, 36], "median": [-2.0, 1535.0, np.nan, 57.2, 24.166],
        "first values": ["2, 4, 2, -1", "830, 850, 923", "N14228, N24211", "39.02, 39.92", "nan, 24.2"],
    })  # fmt: skip
    wide = pd.DataFrame(
        rng.normal(size=(60, 14)), columns=[f"a rather long column name {i}" for i in range(14)]
    )
    cells = [
        _markdown("# Exploration\n\n> What the table holds, what broke its contract, and what the late flights have in common."),
        _code("#| default_exp exploration"),
        _code("study = 'flights'", tags=["parameters"]),
        _code("# Parameters\nstudy = 'flights'", tags=["injected-parameters"]),
        _code("from nbs_lib.core.record import open_stage"),
        _code("stage = open_stage('exploration', study)"),
        _markdown("## The question\n\nA flight counts as **late** when it arrives more than 15 minutes after its time. The success metric is written in the study, before anything is known about the answer."),
        _code("stage.finding(question_words(stage.study))", finding_html("23.7 % of 327,346 flights were late; a model has to rank them with an ROC-AUC of 0.700."), note_html("8,255 cancelled and 1,175 diverted flights have no arrival and were left out.")),
        _markdown("## Data quality"),
        _code("#| export\ndef secret_definition(frame):\n    return frame"),
        _code("stage.show(quality(train))  # by share missing", finding_html("Five columns need attention; wind gust is missing in 77 % of the rows."), table_html(frame, "Columns that need attention, training part, n = 218,342", formats={"missing": "percent"}, bars=["missing"])),
        _code("import warnings", {"output_type": "stream", "name": "stderr", "text": "FutureWarning: noise"}),
        _code("print('read')\nstage.show(wide)", {"output_type": "stream", "name": "stdout", "text": "read\n"}, table_html(wide, "A wide table", bars=["a rather long column name 1"])),
        _markdown("### Where values are missing\n\nMissing weather comes in blocks, so it says something about the *station*, not about the flight. See `weather` in the study and [the section above](#data-quality)."),
        _code("stage.figure(bars_of(train))", figs["bars"]),
        _markdown("## Only definitions\n\nThis prose goes with its definition."),
        _code("#| export\ndef another(): ..."),
        _markdown("## Over time\n\nOne year cannot tell season from trend, so nothing here is called either."),
        _code("stage.finding(trend)\nstage.figure(by_month)", finding_html("The late rate rose from 23 % in January to 33 % in July."), figs["lines"]),
        _markdown("## What goes with lateness\n\n| word | meaning |\n|---|---|\n| late | more than 15 minutes |\n\n1. Ranked by association.\n2. No cause is claimed."),
        _code("stage.figure(panels)", figs["panels"]),
        _code("stage.figure(ranking)", figs["dots"]),
        _code("train.shape", "(218342, 31)"),
        _code("#| hide\nassert True"),
    ]  # fmt: skip
    if hostile:
        cells += _hostile_cells()
    if error:
        cells.append(_code("model.fit(X)", error="Input contains <b>NaN</b>"))
    record = {
        "study": "flights",
        "run": "v003",
        "seed": 0,
        "seconds": 11.2,
        "python": "3.11",
        "packages": {"pandas": "3.1.1", "numpy": "2.4.6"},
        "artifacts": {"train": {"sha256": "9b1d" * 16, "bytes": 5_300_000}},
        "config": {"task": "binary", "target": "late"},
    }
    cells += [_markdown("## Provenance"), _code("stage.close()", provenance_html(record))]
    return nbformat.v4.new_notebook(cells=cells)


def _hostile_cells() -> list[dict]:
    frame = pd.DataFrame(
        {HOSTILE[0]: HOSTILE, HOSTILE[1]: range(len(HOSTILE)), HOSTILE[3]: np.linspace(-1, 1e9, len(HOSTILE))}
    )
    drawn = figure_html(
        bars(HOSTILE, range(1, 12), HOSTILE[0], highlight=HOSTILE[4]), HOSTILE[1], HOSTILE[4], name=HOSTILE[0]
    )
    raw = {"output_type": "execute_result", "data": {"text/html": HOSTILE[0], "text/plain": HOSTILE[2]}}
    script = {
        "output_type": "display_data",
        "data": {"application/javascript": "document.title='owned'", "text/plain": HOSTILE[0]},
    }
    svg = {
        "output_type": "display_data",
        "data": {"image/svg+xml": f"<svg xmlns='http://www.w3.org/2000/svg'>{HOSTILE[0]}</svg>"},
    }
    said = [finding_html(h) for h in HOSTILE] + [note_html(h) for h in HOSTILE]
    printed = {"output_type": "stream", "name": "stdout", "text": "\n".join(HOSTILE)}
    return [
        _markdown("## Hostile " + HOSTILE[0] + "\n\n" + "\n\n".join(HOSTILE) + "\n\n[link](javascript:alert(1)) ![picture](https://example.org/a.png)"),
        _code("show()  # </script>" + HOSTILE[0], *said, table_html(frame, HOSTILE[1], bars=[HOSTILE[1]]), drawn, raw, script, svg, printed),
    ]  # fmt: skip


def manifest(version: str = "v003", **changes: object) -> dict:
    "The manifest of a version"
    number = int(version[1:])
    passing = {
        "PROBLEM",
        "QUALITY",
        "SPLIT",
        "BASELINE",
        "FEATURES",
        "TRACKED",
        "CV",
        "TUNED",
        "CURVES",
        "HOLDOUT",
        "EXPLAIN",
        "SERIALISED",
        "LATENCY",
    }
    verdicts = {"OVERFIT": "fail", "FAIRNESS": "not applicable"}
    stage_of = (
        dict.fromkeys(["QUALITY", "SPLIT"], "exploration")
        | {"FEATURES": "features"}
        | dict.fromkeys(["BASELINE", "CV", "TUNED", "CURVES", "OVERFIT"], "modeling")
    )
    checks = [
        {"code": c.code, "question": c.question, "phase": c.phase, "verdict": "pass" if c.code in passing else verdicts.get(c.code, "not yet"), "evidence": "Training 0.812, validation 0.721: a gap of 0.091." if c.code in passing | set(verdicts) else "", "stage": stage_of.get(c.code, "evaluation" if c.code in passing | set(verdicts) else "")}
        for c in CHECKS.values()
    ]  # fmt: skip
    value = 0.695 + 0.0087 * number
    base = {
        "study": "flights", "version": version, "question": "Will a flight arrive more than 15 minutes late, judged at its scheduled departure?",
        "title": "late arrival", "created": f"2026-11-{20 + number:02}T14:02:00+00:00", "seconds": 84.2, "run_by": "nbs run", "commit": "3fa9c1e" * 5, "dirty": False,
        "config": {"task": "binary", "target": "late", "split": {"by": "time", "from": "2013-11-01"}, "notes": ""}, "config_fingerprint": "ab" * 32,
        "data": {"source": "data/raw/flights (5 tables joined)", "fingerprint": "9b1d" * 16, "rows": 327346, "columns": 31, "files": [{"path": "data/raw/flights/flights.parquet", "sha256": "77" * 32}]},
        "seed": 0, "parameters": {"study": "flights"}, "packages": {"pandas": "3.1.1", "lightgbm": "4.7.0"}, "python": "3.11.9", "platform": "Linux",
        "stages": {
            "exploration": {"seconds": 11.2, "metrics": {"rows": {"value": 218342}}, "findings": [{"text": "23.7 % of 327,346 flights were late."}], "checks": {}, "todos": [], "artifacts": {}},
            "features": {"seconds": 8.1, "metrics": {"n_features": {"value": 41}}, "findings": ["41 features from 19 columns; two look back in time."], "checks": {}, "todos": []},
            "modeling": {"seconds": 37.0, "metrics": {"cv_roc_auc": {"value": 0.733, "low": 0.725, "high": 0.741}}, "findings": ["Boosting ranks flights best, and tuning added little."], "todos": [{"text": "The training score is 0.091 above the validation score: try a stronger regularisation.", "section": "Learning curve"}]},
            "evaluation": {"seconds": 16.9, "metrics": {"roc_auc": {"value": value, "low": value - 0.007, "high": value + 0.007}, "brier": {"value": 0.1612}}, "findings": ["The model ranks November and December as well as it ranked the months before."], "todos": [{"text": "Calibration fails for December: 28 % predicted, 33 % late.", "section": "Calibration"}]},
        },
        "headline": {"metric": "roc_auc", "label": "ROC-AUC", "value": value, "low": value - 0.007, "high": value + 0.007, "baseline": 0.621, "baseline_label": "rate by carrier and hour", "goal": 0.7, "better": "higher", "sentence": "In 100 late flights it finds 41, while 10 of 100 punctual ones are flagged too."},
        "checks": checks, "holdout": {"rows": 55_301, "openings": 2, "fingerprint": "cd" * 32},
        "changes": {} if number == 1 else {"since": f"v{number - 1:03}", "metric_delta": {"value": 0.0121, "low": 0.0063, "high": 0.0179}, "config": [{"key": "features.history", "old": [], "new": [1]}], "data": "same", "holdout": "same", "code": [], "packages": [], "verdict": {"word": "better", "lead": "Better: +0.012", "detail": "+0.0063 to +0.0179 (95 %), paired over 55,301 rows", "bad": False}, "lines": ["1 config key changed: features.history", "1 feature added: origin delay"]},
    }  # fmt: skip
    return {**base, **changes}


def history() -> list[dict]:
    "Three versions"
    return [manifest(f"v{i:03}") for i in (1, 2, 3)]


def comparison(hostile: bool = False) -> Comparison:
    "Two versions that differ in every part; or the same with hostile texts"
    say = lambda i, text: HOSTILE[i % len(HOSTILE)] if hostile else text
    old, new = (Side("flights", m["version"], m, None) for m in (manifest("v002"), manifest("v003")))
    fig = figure_html(
        lines({"late": ([1, 2, 3], [0.1, 0.2, 0.3])}, "month", "share"),
        say(0, "Later in winter"),
        "n = 300.",
        name="evaluation-1",
    )
    judged = {
        "old": 0.709,
        "new": 0.721,
        "difference": 0.0121,
        "low": 0.0063,
        "high": 0.0179,
        "paired": True,
        "rows": 55_301,
        "identical": False,
    }
    verdict = {
        "word": "better",
        "metric": "roc_auc",
        "label": say(1, "ROC-AUC"),
        "unit": "",
        "better": "higher",
        "why": "",
        **judged,
    }
    cell = {
        "file": say(0, "02_features.ipynb"),
        "cell": say(2, "a1b2"),
        "heading": say(1, "Delays before"),
        "change": "changed",
    }
    parts = {
        "config": [{"key": say(0, "features.history"), "old": None, "new": [say(1, "origin delay")]}],
        "data": [{"what": "rows", "old": 336_776, "new": 336_777}, {"what": f"column {say(2, 'dest')}", "old": None, "new": "category"}],
        "code": [{**cell, "kind": "code", "diff": ["-" + say(0, "window = 2"), "+" + say(4, "window = 3"), " " + say(3, "x"), "…"]},
                 {**cell, "kind": "text", "diff": ["+" + say(2, "More words.")]}],
        "packages": [{"name": say(0, "pandas"), "old": "3.1.0", "new": say(1, "3.1.1")}],
        "split": [{"what": "holdout", "old": 55_301, "new": 55_302}],
        "drift": [{"column": say(0, "temperature"), "kind": "number", "moved": 0.21, "psi": 0.3, "before": say(1, "median 14"), "after": "median 7", "p": 0.0}],
        "features": [{"name": say(0, "origin delay"), "change": "added", "old": None, "new": say(2, "mean of three hours"), "why": None}],
        "board": [{"candidate": say(0, "LightGBM"), "change": "moved", "word": "better", "old": 0.72, "new": 0.73, "low": 0.001, "high": 0.02,
                   "place": [2, 1], "taken": [False, True]}],
        "metrics": [{"metric": "brier", "label": say(0, "Brier score"), "unit": "", "word": "cannot be told apart", **judged}],
        "slices": [{"column": say(0, "carrier"), "part": say(1, "UA"), "rows": 9000, "what": "log loss", "word": "worse", "p": 0.001, **judged}],
        "groups": [{"column": say(0, "sex"), "group": say(1, "female"), "measure": "true positive rate", "rows": 900, "p": 0.001, **judged}],
        "checks": [{"code": say(0, "LEAK"), "question": say(1, "Any leaks?"), "old": "pass", "new": "fail", "evidence": say(4, "0.97 alone")}],
        "numbers": [{"stage": "modeling", "name": say(0, "trials"), "old": 6, "new": 16}],
        "figures": [{"stage": "evaluation", "section": say(0, "By month"), "change": "changed", "title": "Later", "old": fig, "new": fig}],
        "timings": [{"what": "modeling", "old": 109.0, "new": 41.0}],
    }  # fmt: skip
    return Comparison(old, new, verdict, parts, {"slices": say(0, "")} if hostile else {})
