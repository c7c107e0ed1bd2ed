"""Drafts of real and of hostile tables: each loads and passes the check as it is written."""

import importlib.util
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from nbs_lib.cli import app, summary_text
from nbs_lib.core.check import check_study
from nbs_lib.core.draft import draft_study
from nbs_lib.core.settings import NbsError
from nbs_lib.core.study import DataSpec, load_study, make_study
from nbs_lib.core.tables import read_table

STATSMODELS = Path(importlib.util.find_spec("statsmodels").submodule_search_locations[0]) / "datasets"


@pytest.fixture
def draft(tmp_path, monkeypatch):
    """Writes a frame to a file, drafts a study, loads it as `nbs run` would, checks it."""
    configs = tmp_path / "configs"
    configs.mkdir()
    monkeypatch.setenv("NBS_PATHS_CONFIGS", str(configs))

    def run(frame, target=None, check=True, **more):
        path = frame
        if isinstance(frame, pd.DataFrame):
            path = tmp_path / "table.parquet"
            frame.to_parquet(path)
        text = draft_study("t", str(path), target=target, **more)
        (configs / "t.yaml").write_text(text, encoding="utf-8")
        study = load_study("t", [])
        if check:
            check_study(study, read_table(study))
            assert "NOT READY" not in text
        run.text = text
        return study

    return run


REAL = {  # file: (task, target, what else is inferred)
    "anes96/src/anes96.csv": ("binary", "vote", {"sensitive": ["age"]}),
    "ccard/ccard.csv": ("binary", "OWNRENT", {"sensitive": ["AGE"], "leaks": []}),
    "engel/engel.csv": ("regression", "foodexp", {}),
    "fair/fair.csv": ("regression", "affairs", {"sensitive": ["age"], "leaks": []}),
    "fair/fair_pt.csv": ("regression", "naffairs", {"ids": ["identifier"], "sensitive": ["sex", "age"]}),
    "fertility/fertility.csv": ("regression", "2011", {"ids": ["Country Name", "Country Code"]}),
    "grunfeld/grunfeld.csv": ("regression", "capital", {"time": "year"}),
    "heart/heart.csv": ("regression", "survival", {"sensitive": ["age"]}),
    "macrodata/macrodata.csv": ("regression", "realint", {"time": "year"}),
    "modechoice/modechoice.csv": ("binary", "choice", {"group": "individual", "positive": "1"}),
    "randhie/randhie.csv": ("binary", "hlthp", {"metric": "average_precision"}),
    "star98/star98.csv": ("regression", "PERSPEN_PTRATIO_PCTAF", {"leaks": []}),
    "statecrime/statecrime.csv": ("regression", "urban", {"ids": ["state"]}),
    "sunspots/sunspots.csv": ("regression", "SUNACTIVITY", {}),
}


@pytest.mark.parametrize("file", REAL)
def test_real_tables_of_statsmodels(draft, file):
    task, target, more = REAL[file]
    study = draft(STATSMODELS / file)
    assert (study.task, study.target) == (task, target)
    assert {k: getattr(study, k) for k in more} == more


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "diabetes", "digits"])
def test_real_tables_of_scikit_learn(draft, tmp_path, name):
    from sklearn import datasets

    frame = getattr(datasets, f"load_{name}")(as_frame=True).frame
    frame.to_csv(tmp_path / f"{name}.csv", index=False)
    study = draft(tmp_path / f"{name}.csv")
    assert study.target == "target" and study.leaks == [] and study.ids == []
    assert study.task == {"breast_cancer": "binary", "diabetes": "regression"}.get(name, "multiclass")


def test_honest_strong_columns_stay(draft, tmp_path):
    from sklearn import datasets

    iris = datasets.load_iris(as_frame=True)
    setosa = iris.data.assign(species=np.where(iris.target == 0, "setosa", "other"))
    study = draft(setosa)
    assert study.leaks == [] and study.positive == "setosa"
    assert "petal length" in draft.text.split("Suspects")[1].split("\n\n")[0]


def test_shipped_tables(draft):
    income = draft(Path(load_raw("income")))
    assert income.split.column == "part" and income.split.values == ["test"]
    assert income.task == "binary" and income.positive == ">50K" and {"sex", "race"} <= set(income.sensitive)
    hotel = draft(Path(load_raw("hotel_rates")), target="avg_price_per_room")
    assert hotel.task == "regression" and hotel.time == "arrival_date" and hotel.split.by == "time"


def load_raw(stem):
    found = sorted((Path(__file__).parents[1] / "data" / "raw").glob(f"{stem}.*"))
    if not found:
        pytest.skip(f"data/raw/{stem} is not here")
    return found[0]


def test_a_tiny_table_is_drafted_but_said_to_be_not_ready(draft):
    study = draft(STATSMODELS / "spector/spector.csv", check=False)
    assert study.task == "binary" and "NOT READY YET: data: at least 40 rows" in draft.text
    with pytest.raises(NbsError, match="at least 40 rows"):
        check_study(study, read_table(study))


# Roles


def visits(n=2000, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "visit_id": np.arange(n) + 5000,
            "patient_id": rng.integers(0, n // 4, n),
            "admitted": pd.Timestamp("2023-01-01")
            + pd.to_timedelta(np.sort(rng.integers(0, 500, n)), unit="D"),
            "birth_date": pd.Timestamp("1950-01-01") + pd.to_timedelta(rng.integers(0, 20000, n), unit="D"),
            "Gender": rng.choice(["f", "m"], n),
            "ward_code": rng.integers(100, 130, n),
            "temp_c": rng.normal(37, 1, n),
            "hospital": "North",
            "hour": rng.integers(0, 24, n),
        }
    )
    score = frame["temp_c"] + rng.normal(size=n)
    frame["readmitted"] = np.where(score > 38.5, "Yes", "No")
    frame["discharge_note_sent"] = (frame["readmitted"] == "Yes").astype(int)
    frame["risk"] = score
    frame["closed_on"] = frame["admitted"].where(frame["readmitted"] == "Yes")
    return frame


def test_roles_of_visits(draft):
    study = draft(visits())
    assert (study.target, study.task, study.positive) == ("readmitted", "binary", "Yes")
    assert study.time == "admitted" and study.split.by == "time"
    assert set(study.leaks) == {"discharge_note_sent", "risk", "closed_on"}
    assert study.group is None and study.ids == ["visit_id", "patient_id"] and study.sensitive == ["Gender"]
    assert study.types == {"ward_code": "category"} and study.units["temp_c"] == "°C"
    assert study.features.drop == ["hospital"] and study.features.cyclic == ["hour"]


def test_group_where_there_is_no_time(draft):
    study = draft(visits().drop(columns=["admitted", "closed_on"]))
    assert study.group == "patient_id" and study.split.by == "group"


def test_unique_ids_are_no_group(draft):
    frame = (
        visits()
        .drop(columns=["admitted", "closed_on"])
        .assign(patient_id=lambda d: np.arange(len(d))[::-1] + 7)
    )
    study = draft(frame)
    assert study.group is None and "patient_id" in study.ids


def tracks(n=60, rows=40, seed=0):
    """Objects one after the other, each with measurements that drift."""
    steps = np.random.default_rng(seed).normal(size=(n, rows, 4))
    frame = pd.DataFrame(steps.cumsum(axis=1).reshape(-1, 4), columns=["lat", "long", "wind", "pressure"])
    frame.insert(0, "name", np.repeat([f"storm {i * 7 % n}" for i in range(n)], rows))
    return frame.assign(hour=np.arange(n * rows) % 4 * 6)


def test_a_track_is_a_group(draft):
    study = draft(tracks(), target="wind")
    assert study.group == "name" and study.split.by == "group"
    reason = " ".join(draft.text.split("\ngroup: name")[0].split("\n\n")[-1].replace("# ", "").split())
    assert "60 different values in 2,400 rows, 40 rows in a row" in reason and "too good" in reason


def test_a_table_sorted_by_a_category_has_no_group(draft):
    frame = tracks().assign(name=lambda d: d["name"].str.replace("storm", "state"))
    noise = np.random.default_rng(1).normal(size=(len(frame), 4))
    frame[["lat", "long", "wind", "pressure"]] = noise + 3 * np.repeat(noise[::40], 40, axis=0)
    for sorted_ in (frame, frame.sort_values(["name", "lat"], ignore_index=True)):
        study = draft(sorted_, target="wind")
        assert study.group is None and study.split.by == "random"


def test_tracks_out_of_order_have_no_group(draft):
    assert draft(tracks().sample(frac=1, random_state=0), target="wind").group is None


def test_a_panel_with_years_keeps_its_unit_as_a_feature(draft):
    frame = tracks().assign(year=np.tile(np.arange(1980, 2020), 60)).drop(columns="hour")
    study = draft(frame, target="wind")
    assert study.split.by == "time" and study.group is None and "name" not in study.ids


def test_tracks_are_a_group_where_a_time_split_cannot_work(draft):
    frame = tracks()
    frame["seen"] = pd.date_range("2024-01-01", periods=len(frame), freq="6h")
    late = frame.index >= 1800
    frame["strong"] = np.where((frame["wind"] + frame["hour"] % 12 > 2) & ~late, "yes", "no")
    study = draft(frame, target="strong")
    assert study.time is None and study.split.by == "group" and study.group == "name"
    assert "# Not used as time: seen" in draft.text


def test_a_time_split_that_cannot_work_falls_back(draft):
    frame = visits().drop(columns=["closed_on"])
    frame["readmitted"] = np.where(np.arange(len(frame)) < 900, "Yes", "No")  # none among the latest rows
    study = draft(frame.drop(columns=["discharge_note_sent", "risk"]))
    assert study.time is None and study.split.by == "group"
    assert "# Not used as time: admitted, because split: by: time leaves no row of class 'Yes'" in draft.text


def prices(n=3000):
    rng = np.random.default_rng(1)
    price = np.exp(rng.normal(5, 0.5, n))
    return pd.DataFrame(
        {
            "rooms": rng.integers(1, 7, n),
            "log_amount": np.log(price),
            "amount_usd": price * 1.1,
            "band": pd.cut(price, [0, 100, 150, 250, 10**9], labels=["low", "mid", "high", "top"]).astype(
                str
            ),
            "rounded": (price / 25).round() * 25,
            "honest": price + rng.normal(0, 12, n),
            "price": price,
        }
    )


def test_copies_of_a_number(draft):
    study = draft(prices())
    assert study.task == "regression" and set(study.leaks) == {"log_amount", "amount_usd", "band", "rounded"}


def test_parts_of_a_sum(draft):
    rng = np.random.default_rng(2)
    frame = pd.DataFrame(
        {"temp": rng.normal(size=800), "casual": rng.poisson(50, 800), "registered": rng.poisson(200, 800)}
    )
    study = draft(frame.assign(count=frame["casual"] + frame["registered"]))
    assert (
        study.target == "count"
        and study.task == "regression"
        and set(study.leaks) == {"casual", "registered"}
    )


def test_codes_of_the_same_answer(draft):
    rng = np.random.default_rng(3)
    kind = rng.choice(["setosa", "virginica", "versicolor"], 400)
    frame = pd.DataFrame({"x": rng.normal(size=400), "kind_no": pd.factorize(kind)[0], "species": kind})
    assert draft(frame).leaks == ["kind_no"]


@pytest.mark.parametrize(
    "name",
    ["Geschlecht", "sexe", "edad", "Staatsangehörigkeit", "État civil", "marital-status", "raceEthnicity"],
)
def test_sensitive_names(draft, name):
    rng = np.random.default_rng(4)
    frame = pd.DataFrame(
        {"x": rng.normal(size=200), name: rng.integers(0, 3, 200), "churn": rng.choice(["no", "yes"], 200)}
    )
    assert draft(frame).sensitive == [name]


@pytest.mark.parametrize("name", ["page", "vehicle_age", "race_time", "message", "agent", "sextant"])
def test_names_that_only_sound_sensitive(draft, name):
    rng = np.random.default_rng(4)
    frame = pd.DataFrame(
        {"x": rng.normal(size=200), name: rng.integers(0, 3, 200), "churn": rng.choice(["no", "yes"], 200)}
    )
    assert draft(frame).sensitive == []


@pytest.mark.parametrize(
    "name",
    "female male nonwhite married afam single black white foreign immigrant is_female SeniorCitizen".split(),
)
def test_sensitive_groups_as_names(draft, name):
    rng = np.random.default_rng(4)
    frame = pd.DataFrame(
        {"x": rng.normal(size=200), name: rng.integers(0, 2, 200), "churn": rng.choice(["no", "yes"], 200)}
    )
    assert draft(frame).sensitive == [name]
    many = frame.assign(**{name: rng.integers(0, 5, 200)})
    assert draft(many).sensitive == ([name] if name == "SeniorCitizen" else [])


@pytest.mark.parametrize("name", ["white_wine", "black_friday", "single_room", "male_count", "foreign_key"])
def test_groups_beside_other_words_are_not_sensitive(draft, name):
    rng = np.random.default_rng(4)
    frame = pd.DataFrame(
        {"x": rng.normal(size=200), name: rng.integers(0, 2, 200), "churn": rng.choice(["no", "yes"], 200)}
    )
    assert draft(frame).sensitive == []


def test_a_group_as_a_name_is_explained(draft):
    rng = np.random.default_rng(4)
    frame = pd.DataFrame({"female": rng.integers(0, 2, 200), "sex": rng.integers(0, 2, 200)})
    draft(frame.assign(x=rng.normal(size=200), churn=rng.choice(["no", "yes"], 200)))
    assert "Named by one of two groups: female." in draft.text


def test_the_user_decides(draft):
    study = draft(visits(), target="temp_c", question="How high is the fever?")
    assert (
        study.target == "temp_c" and study.task == "regression" and study.question == "How high is the fever?"
    )
    with pytest.raises(NbsError, match="column 'readmited' is not in .*nearest: 'readmitted'"):
        draft(visits(), target="readmited")


def flags(n=1000, seed=0):
    """Ten columns that could all be the target; nine in a hundred are denied, and two have no schooling."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"deny": rng.choice(["no", "yes"], n, p=[0.91, 0.09])})
    for i in range(8):
        frame[f"x{i}"] = rng.normal(size=n)
    return frame.assign(schooled=np.where(np.arange(n) % 50, "yes", "no"))


def test_the_first_column_is_offered_as_a_target(draft):
    study = draft(flags())
    assert study.target == "schooled" and "Others that could be: deny, x7, x6, x5, x4." in " ".join(
        draft.text.replace("\n#", "").split()
    )


def test_the_metric_looks_at_the_class_asked_about(draft):
    common = draft(flags())
    assert common.positive == "yes" and common.metric == "roc_auc"
    rare = draft(flags().assign(schooled=lambda d: d["schooled"].map({"yes": "no", "no": "yes"})))
    assert rare.positive == "yes" and rare.metric == "average_precision"


def test_the_terminal_says_which_target_was_guessed(tmp_path, monkeypatch):
    (tmp_path / "configs").mkdir()
    monkeypatch.setenv("NBS_PATHS_CONFIGS", str(tmp_path / "configs"))
    flags().to_csv(tmp_path / "t.csv", index=False)
    new = ["new", "t", "--force", "--data", str(tmp_path / "t.csv")]
    first, *_ = CliRunner().invoke(app, new).output.splitlines()
    assert first == "target guessed: schooled (others that could be: deny, x7, x6, x5, x4)"
    assert "guessed" not in CliRunner().invoke(app, [*new, "--target", "deny"]).output


@pytest.mark.parametrize("scale", [1e-9, 1e-3, 1, 1e4, 1e18])
def test_the_goal_is_a_number_without_mixed_notation(draft, scale):
    frame = prices().assign(price=lambda d: d["price"] * scale)
    draft(frame, target="price")
    said, goal = draft.text.split("Always answering the median has ")[1].split("\n")[:2]
    goal = yaml.safe_load(goal.removeprefix("# "))["goal"]
    assert isinstance(goal, (int, float)) and goal == pytest.approx(32 * scale, rel=0.2)
    assert scale == 1e18 or scale < 1e-5 or "e" not in said and "e" not in str(goal)


def test_numbers_of_the_terminal_are_written_alike():
    head = {"label": "mean absolute error", "value": 13962.4, "low": 13100.0, "high": 14900.0}
    told = {"study": "homes", "version": "v001", "seconds": 61.2, "checks": []}
    text = summary_text(told | {"headline": head | {"baseline": 59412.3, "goal": 3_000_000}})
    assert "13,962 (13,100 to 14,900), baseline 59,412, goal 3,000,000" in text


# Hostile tables

HOSTILE = [
    "plain", "with space", "a: b", "- dash", "# hash", "'single'", '"double"', "two\nlines", "tab\there", "😀 emoji", "<script>alert(1)</script>",
    "../../etc/passwd", "a/b\\c", "{brace}", "[bracket]", "%tag", "@at", "`tick`", "null", "yes", "1", "1e5", "2024-01-01", "~", "*star", "&amp",
    "!!python/object:x", "a\u2028b", "a\x85b", "\x07bell", "é", "漢字", "x" * 900, "y" * 1500, "trailing ", " leading", "a,b", "q?", "|", ">", "=", "<<",
]  # fmt: skip


def hostile(n=300):
    rng = np.random.default_rng(5)
    frame = pd.DataFrame(
        {
            name: rng.normal(size=n) if i % 2 else rng.choice(["a", "b: c", "d\ne"], n)
            for i, name in enumerate(HOSTILE)
        }
    )
    return frame.assign(**{'ta"r\ng: et 😀 #': rng.choice(["ye: s\n", "<b>no</b> 😀"], n)})


def test_hostile_names_as_features_and_target(draft):
    frame = hostile()
    study = draft(frame, target=frame.columns[-1])
    assert study.target == frame.columns[-1] and study.positive in set(frame[study.target])


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_in_every_role(draft, name):
    rng = np.random.default_rng(6)
    answer = rng.choice(["yes", "no"], 200)
    frame = pd.DataFrame(
        {
            "x": rng.normal(size=200),
            name: answer,
            f"{name} id": np.arange(200) + 9,
            f"{name} kg": rng.normal(size=200),
            f"{name} const": 1,
            "churn": answer,
        }
    )
    study = draft(frame, target="churn")
    assert study.leaks == [name] and f"{name} const" in study.features.drop
    draft(frame.drop(columns="churn"), target=name)


def test_many_columns(draft):
    rng = np.random.default_rng(7)
    frame = pd.DataFrame(rng.normal(size=(200, 3000)).astype("float32")).rename(columns="c{}".format)
    dull = pd.DataFrame(np.ones((200, 1000), int)).rename(columns="k{}".format)
    study = draft(pd.concat([frame, dull, pd.DataFrame({"y": rng.choice(["a", "b"], 200)})], axis=1))
    assert study.target == "y" and len(study.features.drop) == 1000


def test_values_that_hurt(draft):
    rng = np.random.default_rng(8)
    n = 500
    frame = pd.DataFrame(
        {
            "infinite": np.where(rng.random(n) < 0.1, np.inf, rng.normal(size=n)),
            "empty": np.full(n, np.nan),
            "mostly_missing": np.where(rng.random(n) < 0.99, np.nan, 1.0),
            "huge": rng.choice([1e308, -1e308], n),
            "many": [f"v{i}" for i in rng.integers(0, 400, n)],
            "flag": rng.random(n) < 0.5,
            "when": [None] * (n - 1) + ["2024-01-01"],
            "target": np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n)),
        }
    )
    study = draft(frame)
    assert study.task == "regression" and study.target == "target" and "empty" in study.features.drop


def test_nothing_to_predict(draft):
    with pytest.raises(NbsError, match="one column only"):
        draft(pd.DataFrame({"x": range(100)}))
    with pytest.raises(NbsError, match="no column could be predicted"):
        draft(pd.DataFrame({"x": [1.0] * 100, "y": ["a"] * 100}))
    with pytest.raises(NbsError, match="letters, digits"):
        draft_study("../t", "x.csv")


def test_sql_with_several_lines(draft, tmp_path):
    visits().to_parquet(tmp_path / "v.parquet")
    sql = f"SELECT * EXCLUDE (risk)\n  FROM '{tmp_path}/v.parquet'\n WHERE temp_c > 30 -- \"quoted\": yes"
    text = draft_study("t", DataSpec(sql=sql))
    study = make_study("t", yaml.safe_load(text))
    assert study.data.sql == sql and "  sql: |" in text
    check_study(study, read_table(study))


def test_it_is_quick(tmp_path):
    rng = np.random.default_rng(9)
    n = 300_000
    frame = pd.DataFrame({f"x{i}": rng.normal(size=n) for i in range(20)})
    for i in range(9):
        frame[f"c{i}"] = rng.choice(list("abcdefgh"), n)
    frame.assign(y=rng.choice(["no", "yes"], n)).to_parquet(tmp_path / "big.parquet")
    began = time.perf_counter()
    study = make_study(
        "t",
        {
            "question": "Is it?",
            "task": "binary",
            "target": "y",
            "data": {"path": str(tmp_path / "big.parquet")},
        },
    )
    table = read_table(study)
    read = time.perf_counter() - began
    began = time.perf_counter()
    check_study(study, table)
    checked = time.perf_counter() - began
    began = time.perf_counter()
    draft_study("t", str(tmp_path / "big.parquet"))
    drafted = time.perf_counter() - began - read
    assert checked < 5 and drafted < 10, (
        f"read {read:.1f} s, check {checked:.1f} s, draft beyond reading {drafted:.1f} s"
    )
