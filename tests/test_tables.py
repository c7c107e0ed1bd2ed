"Sources and tables as a whole: every kind of source, every bad input, and files nobody would write by hand."

import gzip
import json
import os
import sqlite3
import string

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from nbs_lib.core.settings import NbsError
from nbs_lib.core.sources import read_source
from nbs_lib.core.study import DataSpec, make_study
from nbs_lib.core.tables import check_contract, read_table, settle

quick = settings(  # examples are small as they are; shrinking them through files takes minutes
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)


@pytest.fixture
def project(tmp_path, monkeypatch):
    "An empty project with a working directory elsewhere"
    (tmp_path / "settings.ini").write_text("")
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("NBS_ROOT", str(tmp_path))
    return tmp_path


def spec(path, **more):
    return DataSpec(path=str(path), **more)


def write(project, name, content):
    file = project / "data" / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return f"data/{name}"


# ---- round trips: the same frame through every format settles to the same kinds and values

WORDS = ["red", "green", "blue-ish", "Zürich", "a b", "it's", '5" pipe', "x,y;z", "<b>", "line\nbreak"]
COLUMNS = {
    "number": st.integers(-(10**6), 10**6).map(float) | st.integers(-(10**6), 10**6).map(lambda i: i / 4),
    "bool": st.booleans(),
    "date": st.datetimes(
        pd.Timestamp("1950-01-01").to_pydatetime(), pd.Timestamp("2100-01-01").to_pydatetime()
    ).map(lambda d: pd.Timestamp(d).floor("s")),
    "category": st.sampled_from(WORDS),
}


@st.composite
def frames(draw):
    "Frames of one column of each kind; the first rows and the last have no missing value"
    n = draw(st.integers(2, 15))
    name = st.text(string.ascii_letters + " <>'🙂é%/", min_size=1, max_size=12).filter(str.strip)
    names = draw(st.lists(name, min_size=4, max_size=4, unique=True))
    columns = {}
    for title, (kind, values) in zip(names, COLUMNS.items(), strict=True):
        some = draw(st.lists(values | st.none(), min_size=n, max_size=n))
        first = draw(values)
        columns[title] = pd.Series(
            [first, first, *some, first],
            dtype={"number": "float64", "date": "datetime64[us]", "category": "str"}.get(kind, "object"),
        )
    return pd.DataFrame(columns)


def as_sqlite(frame, path):
    with sqlite3.connect(path) as db:
        dates = frame.select_dtypes("datetime").columns
        frame.assign(**{c: frame[c].astype("str") for c in dates}).to_sql("t", db, index=False)
    db.close()
    return DataSpec(url=f"sqlite:///{path}", query="SELECT * FROM t")


def as_parquet(frame, path):
    frame.to_parquet(path, index=False)
    return spec(path)


def as_json(frame, path):
    frame.to_json(
        path, orient="records", lines=True, date_format="iso", force_ascii=False, double_precision=10
    )
    return spec(path)


def as_csv(frame, path, encoding="utf-8", decimal=".", sep=",", pack=lambda b: b):
    text = frame.to_csv(None, index=False, sep=sep, decimal=decimal)
    path.write_bytes(pack(text.encode(encoding)))
    return spec(path)


def call(method, **options):
    def write_it(frame, path):
        getattr(frame, method)(path, **options)
        return spec(path)

    return write_it


FORMATS = {
    "a.csv": as_csv,
    "tab.tsv": lambda f, p: as_csv(f, p, sep="\t"),
    "comma.csv": lambda f, p: as_csv(f, p, decimal=",", sep=";"),
    "bom.csv": lambda f, p: as_csv(f, p, encoding="utf-8-sig"),
    "wide.csv": lambda f, p: as_csv(f, p, encoding="utf-16"),
    "a.csv.gz": lambda f, p: as_csv(f, p, pack=gzip.compress),
    "a.csv.zst": lambda f, p: as_csv(f, p, pack=lambda b: pa.Codec("zstd").compress(b).to_pybytes()),
    "a.parquet": as_parquet,
    "a.jsonl": as_json,
    "a.feather": call("to_feather"),
    "a.xlsx": call("to_excel", index=False),
    "sql.parquet": lambda f, p: as_parquet(f, p) and DataSpec(sql=f"SELECT * FROM '{p}'"),
    "a.db": as_sqlite,
}


def plain(values):
    "Values to compare: floats, booleans, times and texts, None where missing"
    return [
        None if pd.isna(v) else str(v) if isinstance(v, (str, pd.Timestamp)) else float(v) for v in values
    ]


@pytest.mark.parametrize("name", FORMATS)
@given(frame=frames())
@quick
def test_round_trip(tmp_path_factory, name, frame):
    file = tmp_path_factory.mktemp("t") / name
    data = FORMATS[name](frame, file)
    table = settle(read_source(data), {frame.columns[1]: "bool"} if name == "a.db" else {})
    assert list(table.frame.columns) == list(frame.columns)
    assert list(table.kinds.values()) == ["number", "bool", "date", "category"], table.notes
    for column in frame:
        assert plain(table.frame[column]) == plain(frame[column])
    assert table.frame.index.name == "row"
    assert (table.fingerprint["rows"], table.fingerprint["columns"]) == frame.shape
    json.dumps([table.schema, table.fingerprint, table.notes])


@given(
    content=st.binary(max_size=300),
    suffix=st.sampled_from(["csv", "csv.gz", "parquet", "jsonl", "xlsx", "feather", "txt"]),
)
@settings(quick, max_examples=200)
def test_any_bytes_give_a_table_or_one_message(tmp_path_factory, content, suffix):
    file = tmp_path_factory.mktemp("t") / f"x.{suffix}"
    file.write_bytes(content)
    try:
        settle(read_source(spec(file)))
    except NbsError as e:
        assert f"x.{suffix}" in str(e)


@given(text=st.text(st.sampled_from("ab1,;\t\"'\n\r .-é"), max_size=80))
@settings(quick, max_examples=300)
def test_any_text_gives_a_table_or_one_message(tmp_path_factory, text):
    file = tmp_path_factory.mktemp("t") / "x.csv"
    file.write_bytes(text.encode())
    try:
        table = settle(read_source(spec(file)))
        assert len(table.columns) == table.frame.shape[1] and len(table.frame)
    except NbsError as e:
        assert "x.csv" in str(e)


@given(
    values=st.lists(
        st.text(max_size=12)
        | st.integers()
        | st.floats()
        | st.booleans()
        | st.none()
        | st.dates()
        | st.lists(st.integers(), max_size=2),
        max_size=25,
    )
)
@settings(quick, max_examples=200)
def test_any_column_settles(values):
    frame = pd.DataFrame({"x": pd.Series(values, dtype="object")})
    column = settle(frame).columns[0]
    assert column.kind in ("number", "bool", "category", "text", "id", "date")
    assert column.dtype in ("int64", "float64", "bool", "str", "datetime64[us]")


@given(values=st.lists(st.text(max_size=8), min_size=1, max_size=25))
@settings(quick, max_examples=100)
def test_settling_again_changes_nothing(values):
    once = settle(pd.DataFrame({"x": pd.Series(values, dtype="str")}))
    twice = settle(once.frame)
    assert once.kinds == twice.kinds
    pd.testing.assert_frame_equal(once.frame, twice.frame)


# ---- sources


def test_raw_files_are_not_touched_and_hashes_follow_content(project):
    path = write(project, "a.csv", "a,b\n1,x\n2,y\n")
    before = os.stat(project / path)
    first = read_source(spec(path)).fingerprint
    assert os.stat(project / path).st_mtime_ns == before.st_mtime_ns
    assert read_source(spec(path)).fingerprint == first
    write(project, "a.csv", "a,b\n1,x\n2,z\n")
    assert read_source(spec(path)).fingerprint["sha256"] != first["sha256"]
    assert first["files"][0]["path"] == "data/a.csv"


def test_a_partitioned_folder(project):
    frame = pd.DataFrame({"year": [2025, 2025, 2026], "city": ["a", "b", None], "x": [1.5, 2.5, 3.5]})
    frame.to_parquet(project / "data" / "parts", partition_cols=["year", "city"])
    table = settle(read_source(spec("data/parts")))
    assert table.kinds == {"x": "number", "year": "number", "city": "category"}
    assert table.frame["year"].tolist() == [2025, 2025, 2026] and table.frame["city"].isna().tolist() == [
        False,
        False,
        True,
    ]
    assert len(table.fingerprint["files"]) == 3
    (project / "data" / "nothing").mkdir()
    with pytest.raises(NbsError, match="the folder holds no .parquet file"):
        read_source(spec("data/nothing"))


def test_quoted_newlines_and_encodings(project):
    text = 'id;text;Größe\n1;"two\nlines";1,5\n2;"a ""quote""";2,75\n'
    for encoding in ["utf-8", "latin-1", "cp1252", "utf-16"]:
        table = settle(read_source(spec(write(project, "a.csv", text.encode(encoding)))))
        assert table.frame["Größe"].tolist() == [1.5, 2.75]
        assert table.frame["text"].tolist() == ["two\nlines", 'a "quote"']


def test_excel_sheets_dates_and_mixtures(project):
    file = project / "data" / "a.xlsx"
    with pd.ExcelWriter(file) as book:
        pd.DataFrame({"a": [1]}).to_excel(book, sheet_name="first", index=False)
        pd.DataFrame(
            {"day": pd.to_datetime(["2026-01-31", None]), "b": [1, "x"], "c": [True, None]}
        ).to_excel(book, sheet_name="second", index=False)
    assert read_source(spec("data/a.xlsx")).frame.columns.tolist() == ["a"]
    table = settle(read_source(spec("data/a.xlsx", sheet="second")))
    assert table.kinds == {"day": "date", "b": "category", "c": "bool"}
    assert any("several types in one column" in note for note in table.notes)


def test_duckdb_types(project):
    sql = """SELECT 1.5::DECIMAL(10, 2) AS d, 12345678901234567890::HUGEINT AS h, TIMESTAMPTZ '2026-01-31 10:00+02' AS z,
        DATE '2026-01-31' AS day, true AS b, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::UUID AS u, [1, 2] AS l, {'a': 1} AS s,
        NULL AS n, TIME '10:00' AS t, 'x'::ENUM('x', 'y') AS e, 'ab'::BLOB AS r, INTERVAL 1 DAY AS i, 7::UTINYINT AS k"""
    table = settle(read_source(DataSpec(sql=sql)))
    row = table.frame.iloc[0]
    assert (row["d"], row["h"], row["b"], row["k"]) == (1.5, 12345678901234567890.0, True, 7)
    assert str(row["z"]) == "2026-01-31 08:00:00" and str(row["day"]) == "2026-01-31 00:00:00"
    assert (row["l"], row["s"], row["e"], row["r"]) == ("[1, 2]", '{"a": 1}', "x", "ab")
    assert (
        "column 'z': times in UTC" in table.notes and "column 'l': nested values as JSON text" in table.notes
    )


def test_sql_paths_begin_at_the_root_and_are_all_fingerprinted(project):
    write(project, "a.csv", "k,x\n1,5\n2,6\n")
    write(project, "b.csv", "k,y\n1,a\n")
    data = DataSpec(sql="SELECT * FROM 'data/a.csv' LEFT JOIN read_csv('data/b.csv') USING (k) ORDER BY k")
    raw = read_source(data)
    assert [f["path"] for f in raw.fingerprint["files"]] == ["data/a.csv", "data/b.csv"]
    assert settle(raw).frame["y"].tolist()[0] == "a"
    write(project, "b.csv", "k,y\n1,b\n")
    assert read_source(data).fingerprint["sha256"] != raw.fingerprint["sha256"]


WRITING = [
    "COPY (SELECT 1) TO 'data/x.csv'", "ATTACH 'data/x.db'", "INSTALL httpfs", "LOAD httpfs", "SET threads = 1", "SELECT 1; SELECT 2",
    "CREATE TABLE t AS SELECT 1", "EXPORT DATABASE 'data/x'", "SELECT 1; COPY (SELECT 1) TO 'data/x.csv'", "PRAGMA database_list",
    "WITH a AS (INSERT INTO t VALUES (1) RETURNING *) SELECT * FROM a", "CALL enable_profiling(save_location = 'data/x')",
    "SELECT * FROM enable_profiling(save_location = 'data/x')", "SELECT * FROM query('SELECT 1')", "SELECT * FROM 's3://b/x.csv'",
    "SELECT * FROM read_csv('data/' || 'secret.csv')", "SELECT * FROM query_table('data/secret.csv')",
]  # fmt: skip


@pytest.mark.parametrize("sql", WRITING)
def test_sql_only_reads(project, sql):
    write(project, "secret.csv", "a\n1\n")
    with pytest.raises(NbsError, match="data: sql: "):
        read_source(DataSpec(sql=sql))
    assert os.listdir(project / "data") == ["secret.csv"]


DATABASE_WRITES = [
    "DELETE FROM t", "WITH a AS (SELECT 1) DELETE FROM t", "SELECT 1; DROP TABLE t", "INSERT INTO t VALUES (2)", "PRAGMA user_version = 3",
    "ATTACH 'data/x.db' AS y", "WITH a AS (DELETE FROM t RETURNING *) SELECT * FROM a", "SELECT 1 --'\n; DELETE FROM t --'", "VACUUM",
]  # fmt: skip


@pytest.mark.parametrize("query", DATABASE_WRITES)
def test_a_database_is_only_read(project, query):
    file = project / "data" / "a.db"
    with sqlite3.connect(file) as db:
        db.execute("CREATE TABLE t (x)")
        db.execute("INSERT INTO t VALUES (1)")
    db.close()
    before = file.read_bytes()
    with pytest.raises(NbsError, match="data: query: "):
        read_source(DataSpec(url="sqlite:///data/a.db", query=query))
    assert file.read_bytes() == before and os.listdir(project / "data") == ["a.db"]
    assert read_source(DataSpec(url="sqlite:///data/a.db", query="SELECT * FROM t")).frame["x"].tolist() == [
        1
    ]


def test_secrets_stay_out_of_messages(project, monkeypatch):
    monkeypatch.setenv("SHOP_PW", "hunter2@x")
    for url in [
        "postgresql://ada:${env:SHOP_PW}@localhost:1/shop",
        "nosuch://ada:${env:SHOP_PW}@localhost/shop",
        "mysql+nodriver://a:${env:SHOP_PW}@h/d",
    ]:
        with pytest.raises(NbsError) as e:
            read_source(DataSpec(url=url, query="SELECT 1"))
        assert "hunter2" not in str(e.value)
    monkeypatch.setenv("SHOP_URL", f"sqlite:///{project}/data/hunter2.db")
    with sqlite3.connect(project / "data" / "hunter2.db") as db:
        db.execute("CREATE TABLE t (x)")
        db.execute("INSERT INTO t VALUES (1)")
    db.close()
    raw = read_source(DataSpec(url="${env:SHOP_URL}", query="SELECT * FROM t"))
    assert raw.source == "query to ${env:SHOP_URL}"


# ---- bad input

BAD = {
    "missing.csv": (None, "data/missing.csv: there is no such file; nearest: 'data/missing2.csv'"),
    "empty.csv": ("", "is empty"),
    "blank.csv": ("\n \n", "is empty"),
    "header.csv": ("a,b\n", "has a header and no rows"),
    "long.csv": ("a,b\n1,2\n3,4,5\n", "line 3 has 3 fields, the header 2"),
    "quote.csv": ('a,b\n1,2\n"3,4\n', "line 3: a quote"),
    "twice.csv": ("a,b,a\n1,2,3\n", "these stand more than once: 'a'"),
    "broken.csv": ("é,è\nü,ö\n".encode() + b"\xff\xfe,a\n", "broken encoding: line 3"),
    "binary.csv": (bytes(range(256)) * 20, "is binary data and no text"),
    "cut.csv.gz": (gzip.compress(os.urandom(5000))[:-100], "truncated or damaged"),
    "cut.csv.zst": (
        pa.Codec("zstd").compress(b"a,b\n1,2\n" * 5000).to_pybytes()[:-4],
        "truncated or damaged",
    ),
    "cut.parquet": ("PAR1 and no more", "cannot be read as Parquet"),
    "no.parquet": ("a,b\n1,2\n", "cannot be read as Parquet"),
    "cut.feather": (b"ARROW1\0\0", "cannot be read as Feather"),
    "cut.xlsx": (b"PK\x03\x04 and no more", "cannot be read as Excel"),
    "bad.jsonl": ('{"a": 1}\n{"a": 2\n', "line 2 is no valid JSON"),
    "page.csv": ("<!DOCTYPE html><html></html>", "is a web page"),
    "old.xls": (b"\xd0\xcf\x11\xe0" + b"\0" * 50, "save it as .xlsx"),
    "shop.db": (b"SQLite format 3\0", "use data: url: sqlite:///"),
    "zipped.zip": (b"PK\x03\x04" + b"\0" * 50, "unpack it"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files(project, name):
    content, message = BAD[name]
    write(project, "missing2.csv", "a,b\n1,2\n")
    if content is not None:
        write(project, name, content)
    with pytest.raises(NbsError) as e:
        read_source(spec(f"data/{name}"))
    assert message in str(e.value) and "\n" not in str(e.value)


def test_wrong_delimiter_encoding_and_sheet(project):
    path = write(project, "a.csv", "a,b\n1,é\n")
    for more, message in [
        (
            {"delimiter": ";"},
            "data: delimiter: ';' never occurs in the first line, so there is one column only; ',' fits",
        ),
        ({"encoding": "ascii"}, "line 2 is not ascii"),
        ({"encoding": "utf8x"}, "'utf8x' is unknown"),
    ]:
        with pytest.raises(NbsError) as e:
            read_source(spec(path, **more))
        assert message in str(e.value)


def test_odd_but_workable(project):
    table = settle(read_source(spec(write(project, "one.csv", "a,b\n1,x\n"))))
    assert table.frame.shape == (1, 2)
    table = settle(
        read_source(spec(write(project, "names.csv", '"a b",,🙂,<script>,"x""y",../z\n1,2,3,4,5,6\n')))
    )
    assert list(table.frame) == ["a b", "column_2", "🙂", "<script>", 'x"y', "../z"]
    assert "columns without a name were named column_2" in table.notes
    many = pd.DataFrame(np.arange(100_000).reshape(10, 10_000)).add_prefix("c")
    many.to_csv(project / "data" / "wide.csv", index=False)
    assert settle(read_source(spec("data/wide.csv"))).frame.shape == (10, 10_000)


def test_a_hundred_thousand_categories(project):
    values = [f"c{i % 100_000}" for i in range(150_000)]
    column = settle(pd.DataFrame({"x": values})).columns[0]
    assert (column.kind, column.unique) == ("category", 100_000)


# ---- types


def study(**more):
    return make_study(
        "t",
        {
            "question": "Will it rain?",
            "task": "binary",
            "data": {"path": "data/a.csv"},
            "target": "rain",
            **more,
        },
    )


def test_read_table_settles_target_and_overrides(project):
    write(
        project,
        "a.csv",
        "rain,zip,when,x\n1,01234,13/02/2026,5\n0,99999,01/02/2026,?\n1,00001,02/02/2026,inf\n",
    )
    table = read_table(study(types={"zip": "text"}))
    assert table.kinds == {"rain": "category", "zip": "text", "when": "date", "x": "number"}
    assert table.frame["rain"].tolist() == ["1", "0", "1"]
    assert table.frame["x"].isna().tolist() == [False, True, True]
    assert table.frame["when"].dt.month.tolist() == [2, 2, 2]
    assert "column 'x': read as missing: 1 × '?'; infinite values read as missing: 1" in table.notes
    table = read_table(study(task="regression", target="x"))
    assert table.frame["x"].dtype == "float64"
    for more, message in [
        ({"types": {"zipp": "text"}}, "types: column 'zipp' is not in data/a.csv; nearest: 'zip'"),
        (
            {"types": {"when": "number"}},
            "types: when: 'number' does not fit 3 of 3 values, such as '13/02/2026'",
        ),
        ({"task": "regression", "target": "when"}, "target: when: a regression needs numbers"),
    ]:
        with pytest.raises(NbsError) as e:
            read_table(study(**more))
        assert message in str(e.value)


@pytest.mark.parametrize(
    "values, kind, note",
    [
        (["03/04/2026", "05/06/2026"], "date", "month first is a guess"),
        (["03.04.2026", "05.06.2026"], "date", "day first is a guess"),
        (["2026-01-31T10:00:00+01:00"] * 2, "date", "times in UTC"),
        (
            ["1", "2", "NA", "n/a", " ", "-"],
            "number",
            "read as missing: 1 × 'NA', 1 × 'n/a', 1 × '-', 1 empty",
        ),
        (["€ 12", "€ 1,234.50"], "number", "currency signs left out"),
        (["12 %", "5 %"], "number", "percent signs left out"),
        (["1", "a", "2", "3"], "category", "mixed: 75% of the values are numbers"),
        (["007", "008"], "category", "leading zeros"),
        (["", "NA"], "category", "all values are missing"),
        ([[1], {"a": 2}], "category", "nested values as JSON text"),
        (["1"] * 50 + ["unknown"], "number", "read as missing: 1 × 'unknown'"),
        (["2026-01-01"] * 50 + ["2026-02-30"], "date", "impossible dates"),
    ],
)
def test_notes(values, kind, note):
    column = settle(pd.DataFrame({"x": values})).columns[0]
    assert column.kind == kind and note in column.note


def test_contract(project):
    contract = {
        "min_rows": 4,
        "columns": {"x": {"min": 0, "max_missing": 0.1}, "rain": {"allowed": ["yes"]}, "y": {"unique": True}},
    }
    rules = check_contract(
        pd.DataFrame({"x": [-1.0, 2.0, None], "rain": ["yes", "no", "no"]}), study(contract=contract)
    )
    assert rules[["rule", "rows"]].values.tolist() == [
        ["min_rows", 1],
        ["min", 1],
        ["max_missing", 1],
        ["allowed", 2],
        ["present", 3],
    ]
    assert not rules["ok"].any()
