"""Ids and categories are those of the file, in every format; what looks alike is told."""

from __future__ import annotations

import datetime as dt
import shutil
import subprocess
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
from typer.testing import CliRunner

from mlmreport.cli import app
from mlmreport.data.prepare import PreparedData, prepare
from mlmreport.data.sources import DataSource, read
from mlmreport.errors import InputError
from mlmreport.spec.quoting import GUARD_IN_R, r_string
from mlmreport.spec.reader import parse
from mlmreport.spec.sequence import outline
from mlmreport.verify.script import write_data

SPEC = """\
title: T
data: {file: d.csv}
levels: [{name: pupil}, {name: school, id: g}]
outcome: {name: y}
models: {stepwise: {}}
"""
BEYOND = 2**53


def rows(ids: Sequence[Any]) -> dict[str, list[Any]]:
    """Each id in three rows, and an outcome."""
    repeated = [unit for unit in ids for _ in range(3)]
    return {"g": repeated, "y": [float(i * i % 23) for i in range(len(repeated))]}


def prepared(folder: Path, text: str = SPEC) -> PreparedData:
    document = parse(text, folder / "a.yml")
    planned, problems = outline(document)
    assert planned is not None
    return prepare(document, planned, None, problems)


def from_csv(folder: Path, ids: Sequence[str], text: str = SPEC) -> PreparedData:
    lines = (f"{g},{y}" for g, y in zip(*rows(ids).values(), strict=True))
    (folder / "d.csv").write_text("g,y\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return prepared(folder, text)


def groups(found: PreparedData) -> list[str]:
    return [str(name) for name in found.frame["g"].cat.categories]


SAME_NUMBER = [
    [f"1.{i}" for i in range(1, 13)],
    ["12E3", "12000", "1E2", "100"],
    ["1", "+1", "01", "1.0", "1.", " 1", "1 ", "1e0"],
    ["0", "-0", "0.0", "1e-400"],
    ["1e400", "1e401", "inf", "Inf", "Infinity"],
    ["0.1234567890123456789", "0.1234567890123456788"],
    ["9007199254740992", "9007199254740993"],
    ["TRUE", "true", "True", "FALSE"],
    ["nan", "NAN", "Nan", "null", "NULL", "None", "#N/A", "<NA>", "n/a", "N/A", "na"],
    ["1_000", "1000", "1 000", "0x10", "16"],
    ["2020-01-01", "2020-01-01 00:00:00", "2020-01-01T00:00:00Z"],
]


@pytest.mark.parametrize("ids", SAME_NUMBER, ids=lambda ids: ids[0])
def test_texts_of_the_same_number_are_different_groups(ids: list[str], tmp_path: Path) -> None:
    found = from_csv(tmp_path, ids)
    assert sorted(groups(found)) == sorted(ids)
    assert found.frame["g"].tolist() == rows(ids)["g"]


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["2", "10", "1"], ["1", "2", "10"]),
        (["2.0", "10.0", "1.0"], ["1", "2", "10"]),
        (["1.5", "1.50"], ["1.5", "1.50"]),
        (["TRUE", "FALSE"], ["False", "True"]),
    ],
)
def test_what_changes_no_text_is_a_number(
    ids: list[str], expected: list[str], tmp_path: Path
) -> None:
    assert groups(from_csv(tmp_path, ids)) == expected


def test_numbers_stay_numbers_where_they_are_no_ids(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("g,y\n1.1,1.0\n1.10,1\n1.1,+2\n1.10, 3e0\n", encoding="utf-8")
    source = DataSource(tmp_path / "d.csv")
    assert read(source).frame["g"].nunique() == 1
    found = read(source, written=["g"]).frame
    assert found["g"].tolist() == ["1.1", "1.10", "1.1", "1.10"]
    assert found["y"].tolist() == [1, 1, 2, 3]


def test_a_column_may_be_category_and_number(tmp_path: Path) -> None:
    text = SPEC.replace("models", "predictors: {grade: {level: pupil, type: category, column: c}, "
                        "score: {level: pupil, column: c}}\nmodels")  # fmt: skip
    cells = ["1.0", "1", "2", "1.00"] * 3
    lines = (f"{i // 6},{i * i % 7},{cell}" for i, cell in enumerate(cells))
    (tmp_path / "d.csv").write_text("g,y,c\n" + "\n".join(lines) + "\n", encoding="utf-8")
    found = prepared(tmp_path, text).frame
    assert found["grade"].tolist() == cells
    assert found["score"].tolist() == [float(cell) for cell in cells]


@pytest.mark.parametrize(
    ("predictors", "said"),
    [
        ("c: {level: pupil, type: category}, score: {level: pupil, column: c}",
         "'c' is a category already, and cannot be a number"),
        ("score: {level: pupil, column: g}", "is the id of the level 'school'"),
    ],
)  # fmt: skip
def test_codes_of_texts_do_not_become_numbers(predictors: str, said: str, tmp_path: Path) -> None:
    lines = (f"{i // 6},{i * i % 7},{i % 3}" for i in range(12))
    (tmp_path / "d.csv").write_text("g,y,c\n" + "\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=said) as caught:
        prepared(tmp_path, SPEC.replace("models", f"predictors: {{{predictors}}}\nmodels"))
    assert caught.value.problems[0].location.line == 5


# --- categories and what the spec calls them ---------------------------------------------------


def kinds(folder: Path, options: str, cells: Sequence[str]) -> pd.Series:
    text = SPEC.replace(
        "models", f"predictors: {{k: {{level: pupil, type: category{options}}}}}\nmodels"
    )
    cells = list(cells) * 4
    lines = (f"{i // (len(cells) // 2)},{i * i % 7},{c}" for i, c in enumerate(cells))
    (folder / "d.csv").write_text("g,y,k\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return prepared(folder, text).frame["k"]


def test_the_reference_is_the_category_that_is_written_like_it(tmp_path: Path) -> None:
    found = kinds(tmp_path, ", reference: 1.10", ["1.1", "1.10", "2"])
    assert found.cat.categories[0] == "1.10"
    found = kinds(tmp_path, ", reference: 2", ["1.0", "2.0", "1.0"])
    assert list(found.cat.categories) == ["2", "1"]
    with pytest.raises(InputError, match="no row has the reference category 'yes'"):
        kinds(tmp_path, ", reference: yes", ["Yes", "YES", "No"])


def test_labels_go_to_the_code_that_is_written_like_them(tmp_path: Path) -> None:
    found = kinds(tmp_path, ", categories: {a: small, A: large, 1.10: x, 1.1: y}",
                  ["a", "A", "1.1", "1.10"])  # fmt: skip
    assert found.tolist()[:4] == ["small", "large", "y", "x"]
    with pytest.raises(InputError, match="the data have"):
        kinds(tmp_path, ", categories: {yes: Y, no: N}", ["Yes", "YES", "no"])


# --- what looks alike is told -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "shown"),
    [
        ("north", "North", "'North' and 'north'"),
        ("a b", "a  b", "'a  b' and 'a b'"),
        ("a", "a ", "'a' and 'a '"),
        ("a", "\ta", "'<U+0009>a' and 'a'"),
        ("\u00e9", "e\u0301", "'e<U+0301>' and 'é'"),
        ("ﬁ", "fi", "'fi' and 'ﬁ'"),
        ("a b", "a\u00a0b", "'a b' and 'a<U+00A0>b'"),
        ("ab", "a\u200bb", "'ab' and 'a<U+200B>b'"),
        ("\ufeffab", "ab", "'ab' and '<U+FEFF>ab'"),
        ("1.1", "1.10", "'1.1' and '1.10'"),
        ("007", "7", "'007' and '7'"),
        ("1e3", "1000", "'1000' and '1e3'"),
    ],
)
def test_values_that_look_alike_are_kept_apart_and_told(
    one: str, other: str, shown: str, tmp_path: Path
) -> None:
    found = from_csv(tmp_path, [one, other, "else"])
    assert found.frame["g"].nunique() == 3
    (note,) = [n for n in found.notes if "differ only in how they are written" in n]
    assert shown in note
    assert "Column 'g'" in note


def test_values_that_do_not_look_alike_are_not_told(tmp_path: Path) -> None:
    assert from_csv(tmp_path, ["1.1", "1.2", "a", "b", "é", "e"]).notes == ()
    assert from_csv(tmp_path, ["1", "2", "10"]).notes == ()


def test_check_prints_the_notes(tmp_path: Path) -> None:
    from_csv(tmp_path, ["1.1", "1.10", "x"])
    (tmp_path / "a.yml").write_text(SPEC, encoding="utf-8")
    done = CliRunner().invoke(app, ["check", str(tmp_path / "a.yml")])
    first, *notes = done.stdout.splitlines()
    assert "no problems; 9 rows" in first
    assert all(note.startswith("  note: Column 'g'") for note in notes)
    assert "differ only in how they are written" in notes[-1]


# --- binary formats -----------------------------------------------------------------------------

WRITERS = {
    "d.parquet": pyarrow.parquet.write_table,
    "d.feather": pyarrow.feather.write_feather,
}
MOMENTS = [dt.datetime(2020, 10, 25, h, m, tzinfo=dt.UTC) for h in (0, 1) for m in (0, 30)]

COLUMNS = {
    "int64 and a gap": (pa.array([BEYOND + i for i in range(12)] + [None], pa.int64()), 12),
    "negative": (pa.array([-BEYOND - i for i in range(12)] + [None], pa.int64()), 12),
    "uint64": (pa.array([2**64 - 1 - i for i in range(5)] + [None], pa.uint64()), 5),
    "decimal": (pa.array([Decimal(10**25 + i) / 10 for i in range(5)], pa.decimal128(30, 1)), 5),
    "decimal256": (pa.array([Decimal(10**60 + i) for i in range(5)], pa.decimal256(70, 0)), 5),
    "codes": (
        pa.array([BEYOND + i for i in range(5)] + [None], pa.int64()).dictionary_encode(), 5),
    "codes of decimals": (
        pa.array([Decimal("0.1"), Decimal("0.10000000000000000001")]).dictionary_encode(), 2),
    "codes twice": (
        pa.DictionaryArray.from_arrays(pa.array([0, 1, 2]), pa.array(["a", "b", "a"])), 2),
    "codes of null": (
        pa.DictionaryArray.from_arrays(pa.array([0, 1, 2]), pa.array(["a", None, "b"])), 2),
    "time zone": (pa.array(MOMENTS, pa.timestamp("s", "Europe/Berlin")), 4),
    "nanoseconds": (pa.array([1, 2, 3], pa.timestamp("ns")), 3),
    "time": (pa.array([1, 2, 1000], pa.time64("ns")), 3),
    "duration": (pa.array([1, 2, 1000], pa.duration("ns")), 3),
    "float32": (pa.array([1.0, 1.0000001, 0.1], pa.float32()), 3),
    "float64": (pa.array([0.1, 0.1 + 0.2, 0.3]), 3),
    "date": (pa.array([dt.date(2020, 1, 1), dt.date(9999, 12, 31)]), 2),
    "text": (pa.array(["NA", "nan", "1.1", "1.10", "1.1 "]), 5),
    "large text": (pa.array(["1", "1.0"], pa.large_string()), 2),
}  # fmt: skip


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize(("column", "count"), COLUMNS.values(), ids=COLUMNS)
def test_values_that_arrow_tells_apart(
    column: pa.Array, count: int, name: str, tmp_path: Path
) -> None:
    coded = pa.types.is_dictionary(column.type)
    plain = column.dictionary_decode() if coded else column
    repeated = pa.concat_arrays([plain if name == "d.parquet" else column] * 3)
    y = pa.array([float(i * i % 23) for i in range(len(repeated))])
    WRITERS[name](pa.table({"g": repeated, "y": y}), tmp_path / name)
    found = prepared(tmp_path, SPEC.replace("d.csv", name)).frame
    assert found["g"].nunique() == count
    assert len(found) == 3 * sum(scalar.is_valid for scalar in plain)


def test_decimals_are_written_in_the_shortest_form(tmp_path: Path) -> None:
    ids = pa.array([Decimal(text) for text in ("1.00", "1.10", "0.00", "-2.50")] * 2)
    table = pa.table({"g": ids, "y": pa.array(range(8))})
    pyarrow.parquet.write_table(table, tmp_path / "d.parquet")
    found = prepared(tmp_path, SPEC.replace("d.csv", "d.parquet"))
    assert set(groups(found)) == {"1", "1.1", "0", "-2.5"}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize(
    "column",
    [
        pa.array([[1], [2, 3]]),
        pa.array([{"a": 1}, {"a": 2}]),
        pa.array([b"a", b"b"]),
        pa.array([b"a", b"b"], pa.binary(1)),
        pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int64())),
    ],
    ids=lambda column: str(column.type),
)
def test_columns_without_one_value_a_row_are_refused_where_they_are_named(
    column: pa.Array, name: str, tmp_path: Path
) -> None:
    table = pa.table({"odd": column, "y": [1, 2]})
    WRITERS[name](table, tmp_path / name)
    source = DataSource(tmp_path / name, shown=name)
    with pytest.raises(InputError, match="the column 'odd' is of the type"):
        read(source, ["odd"])
    assert read(source, ["y"]).frame["y"].tolist() == [1, 2]


# --- joins --------------------------------------------------------------------------------------

JOINED = SPEC.replace("{file: d.csv}", "{file: d.csv, join: [{file: UPPER, by: g}]}").replace(
    "models", "predictors: {size: {level: school}}\nmodels"
)


@pytest.mark.parametrize("upper", ["s.csv", "s.parquet"])
@pytest.mark.parametrize("ids", [["01", "1", "10"], ["1.1", "1.10", "1.2"], ["1E2", "100", "5"]])
def test_joins_compare_what_is_written(ids: list[str], upper: str, tmp_path: Path) -> None:
    table = pa.table({"g": ids, "size": [1.0, 2.0, 3.0]})
    if upper == "s.csv":
        pa.csv.write_csv(table, tmp_path / upper)
    else:
        pyarrow.parquet.write_table(table, tmp_path / upper)
    found = from_csv(tmp_path, ids, JOINED.replace("UPPER", upper))
    assert found.frame["size"].tolist() == [1.0] * 3 + [2.0] * 3 + [3.0] * 3


def test_a_number_that_is_alone_in_its_table_does_not_take_another_unit(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("g,size\n1.1,1\n1.10,2\n2,3\n", encoding="utf-8")
    found = from_csv(tmp_path, ["1.10", "2"], JOINED.replace("UPPER", "s.csv"))
    assert found.frame["size"].tolist() == [2.0] * 3 + [3.0] * 3


# --- on the way into R ----------------------------------------------------------------------------

HOSTILE = [
    "1.1", "1.10", "12E3", "12000", "01", " 1", "1 ", "TRUE", "true", "NA ", "nan", "Inf", "NULL",
    'a"b', "a,b", "a\nb", "a\tb", "#", "'", "\\n", "é", "e\u0301", "a\u00a0b", "\u200b1", "0x1A",
]  # fmt: skip


@pytest.mark.r
@pytest.mark.skipif(shutil.which("Rscript") is None, reason="needs Rscript")
def test_prepared_ids_are_the_same_in_the_data_file_that_r_reads(tmp_path: Path) -> None:
    columns = rows(HOSTILE)
    frame = pd.DataFrame(columns).astype({"g": pd.CategoricalDtype(HOSTILE)})
    write_data(frame, tmp_path / "data.csv")
    wanted = ", ".join(map(r_string, columns["g"]))
    code = (
        f"d <- read.csv({r_string(str(tmp_path / 'data.csv'))}, check.names = FALSE, "
        'encoding = "UTF-8", na.strings = "<NA>", colClasses = c("g" = "character"))\n'
        f"stopifnot(identical(sub({r_string(GUARD_IN_R)}, '', d$g), c({wanted})))"
    )
    (tmp_path / "check.R").write_text(code, encoding="utf-8")
    done = subprocess.run(
        ["Rscript", "--vanilla", "--encoding=UTF-8", tmp_path / "check.R"],
        capture_output=True, text=True, check=False, env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.r
def test_prepared_ids_are_the_same_in_the_memory_of_r() -> None:
    pytest.importorskip("rpy2")
    from mlmreport.engine.convert import frame_from_r, frame_to_r
    from mlmreport.engine.session import session

    session()
    frame = pd.DataFrame(rows(HOSTILE)).astype({"g": pd.CategoricalDtype(HOSTILE)})
    assert frame_from_r(frame_to_r(frame))["g"].tolist() == frame["g"].tolist()


@pytest.mark.parametrize("bad", ["a\0b", "a\rb", "a\r\nb"])
def test_ids_that_r_cannot_read_are_refused(bad: str, tmp_path: Path) -> None:
    table = pa.table(rows([bad, "b", "c"]))
    pyarrow.parquet.write_table(table, tmp_path / "d.parquet")
    with pytest.raises(InputError, match="zero byte or a carriage return") as caught:
        prepared(tmp_path, SPEC.replace("d.csv", "d.parquet"))
    assert str(caught.value).startswith(f"{tmp_path / 'a.yml'}:3:")
