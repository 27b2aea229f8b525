"""Every format read back, and every way a file can be wrong."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pyreadstat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlmreport.data.sources import READERS, DataSource, read
from mlmreport.errors import EnvironmentFault, InputError, Location

FIXTURES = Path(__file__).parent / "fixtures"
SCHOOLS = Path(__file__).parents[2] / "analyses" / "school-achievement"
SPEC = Location("analysis.yml", 3, 9, 4, "  file: d.csv")


def load(path, columns=None, sheet=None):
    path = Path(path)
    return read(DataSource(path=path, sheet=sheet, shown=path.name), columns, SPEC)


def refused(path, **kwargs):
    """The message of the refusal, with its problems."""
    with pytest.raises(InputError) as caught:
        load(path, **kwargs)
    return str(caught.value), caught.value.problems


@pytest.fixture
def csv_file(tmp_path):
    def write(text, name="d.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


# ---------------------------------------------------------------- CSV: what is read


def test_a_csv_file_has_types_a_description_a_digest_and_r_code(csv_file):
    path = csv_file("g,x,n,t,b\n1,1.5,3,Yes,TRUE\n2,NA,,NA,FALSE\n")
    table = load(path)
    assert table.description == "d.csv, 2 rows x 5 columns"
    assert table.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert {name: str(kind) for name, kind in table.frame.dtypes.items()} == {
        "g": "int64",
        "x": "float64",
        "n": "float64",
        "t": "str",
        "b": "bool",
    }
    assert table.frame["t"].isna().tolist() == [False, True]
    assert table.notes == ()
    assert table.labels == {}
    assert table.r_code == (
        'read.csv(source_file("d.csv"), check.names = FALSE, stringsAsFactors = FALSE, '
        'na.strings = c("", "NA", "NaN"), encoding = "UTF-8", colClasses = c("t" = "character"))'
    )


def test_only_three_texts_are_missing(csv_file):
    table = load(csv_file('x,t\n1,None\n2,NULL\n3,\n4,"NA"\n5,NaN\n6,n/a\n'))
    assert table.frame["t"].dropna().tolist() == ["None", "NULL", "n/a"]


def test_columns_are_read_as_asked_for_and_the_description_counts_all(csv_file):
    table = load(csv_file("a,b,c\n1,2,3\n"), columns=["c", "a", "c"])
    assert list(table.frame) == ["c", "a"]
    assert table.description == "d.csv, 1 rows x 3 columns"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_quotes_byte_order_mark_and_blank_lines(csv_file, end):
    rows = ["", 'name,"a ""b"",c"', "", '"x, y",1', "é,2", ""]
    table = load(csv_file(b"\xef\xbb\xbf" + end.join(rows).encode()))
    assert table.frame["name"].tolist() == ["x, y", "é"]
    assert table.frame['a "b",c'].tolist() == [1, 2]
    assert 'fileEncoding = "UTF-8-BOM"' in table.r_code


def test_a_quoted_value_may_hold_a_line_break(csv_file):
    table = load(csv_file('"a\nq",b\n"1\n2",3\n'))
    assert table.frame["a\nq"].tolist() == ["1\n2"]


def test_numbers_that_would_lose_something_stay_text(csv_file):
    table = load(csv_file("id,long,hex,zero\n0012,12345678901234567,0x1A,0\n3,1,0x2,0.5\n"))
    assert table.frame["id"].tolist() == ["0012", "3"]
    assert table.frame["long"].tolist() == ["12345678901234567", "1"]
    assert table.frame["hex"].tolist() == ["0x1A", "0x2"]
    assert table.frame["zero"].tolist() == [0, 0.5]
    assert "'0012' begin with zeros" in table.notes[0]
    assert "too many digits" in table.notes[1]


def test_spaces_around_numbers_do_not_make_them_text(csv_file):
    table = load(csv_file("x,y\n 1, 2.5\n2 ,\n3,  \n"))
    assert table.frame["x"].dtype == "int64"
    assert table.frame["y"].isna().tolist() == [False, True, True]


def test_a_late_text_value_makes_the_whole_column_text(csv_file):
    table = load(csv_file("x,y\n" + "1,1\n" * 3000 + "a,1.5\n"))
    assert table.frame["x"].iloc[0] == "1"
    assert table.frame["y"].dtype == "float64"


def test_values_that_are_no_numbers_are_named(csv_file):
    dots = load(csv_file("x,y\n1,1\n2,2\n.,3\n>5,4\n"))
    assert dots.frame["x"].tolist() == ["1", "2", ".", ">5"]
    (note,) = load(csv_file("x,y\n1,1\n2,2\n.,3\n")).notes
    assert "1 of 3 values are not numbers ('.')" in note


def test_decimal_commas_are_noticed(csv_file):
    (note,) = load(csv_file("x\ty\n3,14\t1\n-2,5\t1\nNA\t1\n", "d.tsv")).notes
    assert "decimal commas" in note


def test_booleans_infinities_and_empty_columns(csv_file):
    table = load(csv_file("b,i,e\nTRUE,1e400,\nNA,1,NA\nfalse,NaN,\n"))
    assert str(table.frame["b"].dtype) == "boolean"
    assert table.frame["b"].tolist() == [True, pd.NA, False]
    assert table.frame["e"].dtype == "float64"
    assert "infinite values: 1" in table.notes[0]
    assert "'e' has no values" in table.notes[1]


def test_header_spaces_are_kept_and_nameless_columns_left_out(csv_file):
    table = load(csv_file(',"x ",y\n1,2,3\n'))
    assert list(table.frame) == ["x ", "y"]
    assert "Column 1 of the file has no name" in table.notes[0]
    assert "spaces at their ends" in table.notes[1]


def test_tsv_is_read_by_read_delim(csv_file):
    table = load(csv_file("a\tb\n1\tx\n", "d.TSV"))
    assert table.frame["b"].tolist() == ["x"]
    assert table.r_code.startswith('read.delim(source_file("d.TSV")')


@settings(max_examples=80, deadline=None)
@given(
    values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20),
    texts=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n")), max_size=20),
)
def test_numbers_and_texts_survive_exactly(tmp_path_factory, values, texts):
    path = tmp_path_factory.mktemp("csv") / "d.csv"
    words = ["w" + text for text in (texts + [""] * len(values))[: len(values)]]
    frame = pd.DataFrame({"x": values, "t": words})
    frame.to_csv(path, index=False)
    read_back = load(path).frame
    assert read_back["t"].tolist() == words
    if "text" not in str(load(path).notes):
        assert read_back["x"].astype("float64").tolist() == values


# ---------------------------------------------------------------- CSV: what is refused


def test_ragged_rows_are_located_all_at_once(csv_file):
    message, problems = refused(csv_file('a,b\n1,2\n"x\ny",3\n4\n5,6,7\n'))
    assert [p.location.line for p in problems] == [5, 6]
    assert "d.csv:5:1: this row has 1 values, the header has 2" in message
    assert "double quotes" in problems[1].hint
    assert "    6 | 5,6,7" in message


def test_many_ragged_rows_are_counted(csv_file):
    _, problems = refused(csv_file("a,b\n" + "1\n" * 9))
    assert len(problems) == 6
    assert problems[5].message == "4 more rows like these"


def test_more_values_than_names_in_every_row_is_not_an_index(csv_file):
    message, _ = refused(csv_file("a,b\n1,2,3\n4,5,6\n"))
    assert "this row has 3 values, the header has 2" in message


def test_an_open_quote_is_located(csv_file):
    message, problems = refused(csv_file('a,b\n1,2\n3,"4\n5,6\n'))
    assert "never closed" in message
    assert problems[0].location.line == 3


def test_names_that_stand_twice_are_refused_with_their_places(csv_file):
    message, problems = refused(csv_file("a,b,a,b,a\n1,2,3,4,5\n"))
    assert [p.location for p in problems] == [SPEC, SPEC]
    assert "'a' stands over more than one column: 1, 3, 5" in message


def test_unknown_columns_are_all_reported_with_near_misses(csv_file):
    message, problems = refused(csv_file("school,mathach\n1,2\n"), columns=["schol", "zzz"])
    assert len(problems) == 2
    assert "did you mean 'school'?" in message
    assert "known here: mathach, school" in message


@pytest.mark.parametrize(
    ("content", "said", "hint"),
    [
        (b"a,b\n1,caf\xe9\n", "byte 0xe9 at offset 9", "UTF-8"),
        ("a,b\n1,2\n".encode("utf-16"), "UTF-16", "UTF-8"),
        (b"a,b\n\0\1\2", "not a text file", "damaged"),
        (b"PK\x03\x04 zip", "an Excel workbook", "d.xlsx"),
        (b"PAR1 parquet", "a Parquet file, not CSV", "d.parquet"),
        (b"%PDF-1.7", "a PDF", "save it"),
        (b"", "empty (0 bytes)", "saved"),
        (b"\n\n", "nothing but blank lines", ""),
        (b"a,b\n", "header but no rows", ""),
        (b" , \n1,2\n", "no column names", "first row"),
        (b"a;b\n1;2\n", "separated by semicolons, not by commas", "write.csv2"),
        (b"a\tb\n1\t2\n", "separated by tabs", ".tsv"),
    ],
)
def test_bad_text_files(csv_file, content, said, hint):
    message, _ = refused(csv_file(content))
    assert said in message
    assert hint in message
    assert "d.csv" in message


def test_a_byte_that_is_not_utf8_is_located_by_line(csv_file):
    _, (problem,) = refused(csv_file(b"a,b\n1,2\n3,caf\xe9\n"))
    assert (problem.location.file, problem.location.line) == ("d.csv", 3)


# ---------------------------------------------------------------- files that are not there


def test_a_missing_file_names_near_ones(csv_file):
    csv_file("a\n1\n", "students.csv")
    message, (problem,) = refused(csv_file("", "x.txt").parent / "student.csv")
    assert "did you mean 'students.csv'?" in message
    assert problem.location == SPEC


def test_a_missing_folder_an_empty_folder_and_a_folder(tmp_path, csv_file):
    assert "does not exist" in refused(tmp_path / "no" / "d.csv")[0]
    assert "no data file is in" in refused(tmp_path / "d.csv")[0]
    csv_file("a\n1\n", "x.csv")
    message, _ = refused(tmp_path)
    assert "is a folder" in message
    assert "x.csv" in message


def test_a_pipe_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "d.csv")
    assert "not a regular file" in refused(tmp_path / "d.csv")[0]


def test_a_file_without_permission(csv_file, monkeypatch):
    path = csv_file("a,b\n1,2\n")

    def denied(*_args, **_kwargs):
        raise PermissionError(13, "denied")

    monkeypatch.setattr(Path, "read_bytes", denied)
    assert "permission denied" in refused(path)[0]
    monkeypatch.setattr(Path, "open", denied)
    assert "permission denied" in refused(path)[0]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("d.pkl", "pickles are never read"),
        ("d.RData", "saveRDS"),
        ("d.xls", "save it as .xlsx"),
        ("d.txt", ".tsv"),
        ("d.qqq", "known endings: .csv, .tsv"),
    ],
)
def test_unknown_endings(csv_file, name, hint):
    message, _ = refused(csv_file("a\n1\n", name))
    assert "no reader for files that end in" in message
    assert hint in message


def test_a_pickle_under_another_name_is_not_opened(tmp_path):
    pd.DataFrame({"a": [1]}).to_pickle(tmp_path / "d.rds")
    assert "is not an R data file" in refused(tmp_path / "d.rds")[0]


@pytest.mark.parametrize(
    "suffix", [s for reader in READERS for s in reader.suffixes if reader.magic]
)
def test_text_and_damage_under_a_binary_name(csv_file, suffix):
    message, _ = refused(csv_file("a,b\n1,2\n", f"d{suffix}"))
    assert "it looks like text" in message or "cut off or damaged" in message
    magic = next(reader.magic[0] for reader in READERS if suffix in reader.suffixes)
    message, _ = refused(csv_file(magic + b"\xff\0garbage" * 40, f"d{suffix}"))
    assert "cut off or damaged" in message


def test_a_sheet_of_something_without_sheets(csv_file):
    assert "no sheet 'x'" in refused(csv_file("a\n1\n"), sheet="x")[0]


# ---------------------------------------------------------------- Parquet and Feather

WRITERS = {
    "d.parquet": pyarrow.parquet.write_table,
    "d.feather": pyarrow.feather.write_feather,
}


@pytest.mark.parametrize("name", WRITERS)
def test_arrow_formats(tmp_path, name):
    table = pa.table(
        {
            "i": [1, 2],
            "gap": [1, None],
            "x": [0.1, None],
            "t": ["0012", "NA"],
            "c": pa.DictionaryArray.from_arrays(pa.array([1, None], pa.int8()), ["v", "u"]),
            "b": [True, None],
            "full": [True, False],
            "d": pa.array([1, 2], pa.decimal128(5, 2)),
        }
    )
    WRITERS[name](table, tmp_path / name)
    frame = load(tmp_path / name).frame
    kinds = ["int64", "float64", "float64", "str", "category", "boolean", "bool", "float64"]
    assert [str(kind) for kind in frame.dtypes] == kinds
    assert frame["t"].tolist() == ["0012", "NA"]
    assert frame["c"].cat.categories.tolist() == ["v", "u"]
    assert list(load(tmp_path / name, columns=["x", "i"]).frame) == ["x", "i"]
    assert "did you mean 'full'?" in refused(tmp_path / name, columns=["fulll"])[0]


def test_the_row_index_of_pandas_is_no_column(tmp_path):
    frame = pd.DataFrame({"a": [1, 2, 3]})
    frame[frame["a"] > 1].to_parquet(tmp_path / "d.parquet")
    frame.set_index(pd.Index([7, 12, 9], name="id")).to_parquet(tmp_path / "e.parquet")
    assert load(tmp_path / "d.parquet").frame.equals(pd.DataFrame({"a": [2, 3]}))
    assert load(tmp_path / "e.parquet").frame["id"].tolist() == [7, 12, 9]


def test_equal_names_and_no_rows_in_parquet(tmp_path):
    pair = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    pyarrow.parquet.write_table(pair, tmp_path / "d.parquet")
    assert "more than one column: 1, 2" in refused(tmp_path / "d.parquet")[0]
    pyarrow.parquet.write_table(pa.table({"a": pa.array([], pa.int8())}), tmp_path / "e.parquet")
    assert "no rows" in refused(tmp_path / "e.parquet")[0]


# ---------------------------------------------------------------- Excel


@pytest.fixture
def workbook(tmp_path):
    def write(rows, **others):
        book = openpyxl.Workbook()
        book.active.title = "Data"
        for row in rows:
            book.active.append(row)
        for title, content in others.items():
            sheet = book.create_sheet(title)
            for row in content:
                sheet.append(row)
        book.save(tmp_path / "d.xlsx")
        return tmp_path / "d.xlsx"

    return write


def test_a_workbook(workbook):
    day = pd.Timestamp("2020-01-01").to_pydatetime()
    table = load(
        workbook(
            [
                ["i", "x", "t", "b", "d", "gap", "e"],
                [1, 1.5, "u", True, day, 1, None],
                [2, "NA", None, False, day, "#N/A", ""],
                [None] * 7,
            ]
        )
    )
    kinds = [str(kind) for kind in table.frame.dtypes]
    assert kinds[:4] == ["int64", "float64", "str", "bool"]
    assert kinds[4].startswith("datetime64")
    assert kinds[5:] == ["float64", "float64"]
    assert table.description == "d.xlsx, 2 rows x 7 columns"
    assert table.r_code == ""
    assert any("error such as #N/A, taken as missing: 1" in note for note in table.notes)


def test_numbers_stored_as_text_stay_text_and_are_noticed(workbook):
    table = load(workbook([["id", "mix"], ["0012", 1.0], ["7", "n/a"], ["8", 2]]))
    assert table.frame["id"].tolist() == ["0012", "7", "8"]
    assert table.frame["mix"].tolist() == ["1", "n/a", "2"]
    assert "numbers stored as text" in table.notes[0]
    assert "1 of 3 values are not numbers ('n/a')" in table.notes[1]


def test_sheets(workbook):
    path = workbook([["a"], [1]], Other=[["b"], [2]], Empty=[])
    assert "not read: 'Other', 'Empty'" in load(path).notes[0]
    assert load(path, sheet="Other").frame["b"].tolist() == [2]
    assert load(path, sheet="Other").description.startswith("d.xlsx, sheet 'Other', 1 rows")
    assert "did you mean 'Other'?" in refused(path, sheet="other")[0]
    assert "holds no values" in refused(path, sheet="Empty")[0]


def test_a_sheet_with_equal_names_or_no_rows(workbook):
    assert "more than one column: 1, 2" in refused(workbook([["a", "a"], [1, 2]]))[0]
    assert "no rows" in refused(workbook([["a", "b"]]))[0]
    assert "did you mean 'abc'?" in refused(workbook([["abc"], [1]]), columns=["abd"])[0]


# ---------------------------------------------------------------- SPSS and Stata


def test_an_spss_file(tmp_path):
    frame = pd.DataFrame(
        {
            "id": [1.0, 2, 3],
            "sex": [2.0, 1, 9],
            "income": [0.0, 1000, 5],
            "x": [1.5, np.nan, 2],
            "t": ["a", "", "NA"],
        }
    )
    pyreadstat.write_sav(
        frame,
        tmp_path / "d.sav",
        column_labels={"sex": "Sex of student"},
        variable_value_labels={
            "sex": {2: "Female", 1: "Male", 9: "Refused"},
            "income": {0: "None"},
        },
        missing_ranges={"sex": [9]},
    )
    table = load(tmp_path / "d.sav")
    assert table.frame["id"].dtype == "int64"
    assert table.frame["sex"].cat.categories.tolist() == ["Male", "Female"]
    assert table.frame["sex"].isna().tolist() == [False, False, True]
    assert table.codes == {"sex": {"Male": 1.0, "Female": 2.0}}
    assert table.frame["income"].tolist() == [0, 1000, 5]
    assert table.frame["t"].isna().tolist() == [False, True, False]
    assert table.labels == {"sex": "Sex of student"}
    assert table.notes == (
        "Column 'sex' has its value labels in place of its codes.",
        "Column 'sex': declared missing in the file: 9.",
        "Column 'income' keeps its codes: no value label for 1000, 5.",
    )
    only = load(tmp_path / "d.sav", columns=["x", "sex"])
    assert list(only.frame) == ["x", "sex"]
    assert only.description == "d.sav, 3 rows x 5 columns"
    assert "did you mean 'income'?" in refused(tmp_path / "d.sav", columns=["incom"])[0]


def test_equal_value_labels_leave_the_codes(tmp_path):
    labels = {"a": {1: "same", 2: "same"}}
    pyreadstat.write_sav(
        pd.DataFrame({"a": [1, 2]}), tmp_path / "d.sav", variable_value_labels=labels
    )
    table = load(tmp_path / "d.sav")
    assert table.frame["a"].tolist() == [1, 2]
    assert "two of them have the same label" in table.notes[0]


def test_a_stata_file(tmp_path):
    frame = pd.DataFrame(
        {
            "school": np.array([1224, 1288], dtype="int32"),
            "sex": pd.Categorical(["Male", None], categories=["Male", "Female"]),
            "x": [0.1, np.nan],
            "t": ["a", ""],
        }
    )
    frame.to_stata(tmp_path / "d.dta", write_index=False, variable_labels={"x": "A number"})
    table = load(tmp_path / "d.dta")
    assert table.frame["school"].tolist() == [1224, 1288]
    assert table.frame["school"].dtype.kind == "i"
    assert table.frame["sex"].cat.categories.tolist() == ["Male", "Female"]
    assert table.frame["sex"].isna().tolist() == [False, True]
    assert table.frame["x"].tolist()[0] == 0.1
    assert table.frame["t"].isna().tolist() == [False, True]
    assert table.labels == {"x": "A number"}


def test_a_file_that_crashes_the_reader_is_refused(tmp_path, monkeypatch):
    pyreadstat.write_sav(pd.DataFrame({"a": [1, 2]}), tmp_path / "d.sav")
    code = "import os; os.abort()"
    run = subprocess.run

    def crash(command, **options):
        return run([*command[:3], code], **options)

    monkeypatch.setattr(subprocess, "run", crash)
    message, _ = refused(tmp_path / "d.sav")
    assert "makes the reader crash" in message
    assert "damaged" in message


def test_user_missing_values_of_stata_and_ranges_and_texts_of_spss(tmp_path):
    pyreadstat.write_dta(
        pd.DataFrame({"v": [10, 2, "a"]}),
        tmp_path / "d.dta",
        variable_value_labels={"v": {10: "ten", 2: "two", "a": "refused"}},
        missing_user_values={"v": ["a"]},
    )
    stata = load(tmp_path / "d.dta").frame["v"]
    assert stata.cat.categories.tolist() == ["two", "ten"]
    assert stata.isna().tolist() == [False, False, True]
    pyreadstat.write_sav(
        pd.DataFrame({"v": [1.0, 97, 99], "t": ["m", "f", "m"]}),
        tmp_path / "d.sav",
        missing_ranges={"v": [{"lo": 97, "hi": 99}]},
        variable_value_labels={"t": {"m": "Male", "f": "Female"}, "v": {1: "one", 98: "never"}},
    )
    spss = load(tmp_path / "d.sav")
    assert spss.frame["v"].cat.categories.tolist() == ["one"]
    assert spss.frame["v"].isna().tolist() == [False, True, True]
    assert spss.frame["t"].tolist() == ["Male", "Female", "Male"]
    assert "Column 'v': declared missing in the file: 97 to 99." in spss.notes


# ---------------------------------------------------------------- R


@pytest.mark.parametrize("name", ["frame.rds", "tibble.rds"])
def test_an_r_data_frame(name):
    table = load(FIXTURES / name)
    frame = table.frame
    assert {n: str(kind) for n, kind in frame.dtypes.items() if n != "day"} == {
        "id": "str",
        "x": "float64",
        "n": "float64",
        "k": "int64",
        "g": "category",
        "o": "category",
        "w": "boolean",
        "b": "bool",
    }
    assert frame["id"].isna().tolist() == [False, False, True]
    assert frame["id"].tolist()[:2] == ["001", "NA"]
    assert frame["x"].tolist()[::2] == [1.5, -np.inf]
    assert frame["n"].isna().tolist() == [False, True, False]
    assert frame["g"].cat.categories.tolist() == ["b", "a", "c"]
    assert frame["g"].isna().tolist() == [False, False, True]
    assert frame["o"].cat.ordered
    assert frame["o"].cat.categories.tolist() == ["lo", "hi"]
    assert frame["day"].dt.strftime("%Y-%m-%d").tolist()[::2] == ["2020-01-01", "2020-02-01"]
    assert frame.index.tolist() == [0, 1, 2]
    assert table.r_code == f'read_rds(source_file("{name}"))'
    assert list(load(FIXTURES / name, columns=["o"]).frame) == ["o"]


@pytest.mark.parametrize("name", ["list.rds", "closure.rds"])
def test_r_objects_that_are_no_data_frames(name):
    assert "not a data frame" in refused(FIXTURES / name)[0]


def test_equal_names_in_an_r_data_frame():
    assert "'x' stands over more than one column: 2, 3" in refused(FIXTURES / "same_names.rds")[0]


def package(package, dataset, columns=None, r_dataset=None):
    source = DataSource(package=package, dataset=dataset, shown=f"{package}::{dataset}")
    return read(source, columns, SPEC, r_dataset)


def test_a_package_data_set_comes_through_the_engine():
    asked = []

    def r_dataset(name, dataset):
        asked.append((name, dataset))
        return pd.DataFrame({"Days": [0, 1], "Subject": ["308", "309"]}, index=[1, 2])

    table = package("lme4", "sleepstudy", ["Subject"], r_dataset)
    assert asked == [("lme4", "sleepstudy")]
    assert table.description == "sleepstudy of the R package lme4, 2 rows x 2 columns"
    assert table.frame.index.tolist() == [0, 1]
    assert table.sha256 == ""
    assert table.r_code == 'read_package("lme4", "sleepstudy")'


@pytest.mark.parametrize("bad", ["", "a b", 'x")); q(', "1a", "é", "a\n"])
def test_package_and_data_set_names_are_plain_words(bad):
    with pytest.raises(InputError, match="not the name of an R package"):
        package(bad, "d", r_dataset=lambda *_: pytest.fail("R was asked"))
    with pytest.raises(InputError, match="not the name of an R data set"):
        package("p", bad, r_dataset=lambda *_: pytest.fail("R was asked"))


def test_a_package_data_set_without_r():
    with pytest.raises(EnvironmentFault, match="R is needed"):
        package("lme4", "sleepstudy")


def test_a_source_that_names_nothing():
    with pytest.raises(InputError, match="no data file is named"):
        read(DataSource(), location=SPEC)


# ---------------------------------------------------------------- beside R


@pytest.mark.r
@pytest.mark.skipif(shutil.which("Rscript") is None, reason="needs Rscript")
def test_the_r_code_reads_the_same_table(csv_file):
    path = csv_file(
        '"","a b",q"t,id,flag,x,word\n1,T,1,0012,TRUE,1e-3,NA\n'
        '2,F,-2.25,7,FALSE,,"x, ""y"""\n3,,,,TRUE,NaN,é\n'.replace('q"t', '"q""t"')
    )
    table = load(path)
    check = (
        f"source_file <- function(name) file.path({str(path.parent)!r}, name); "
        f"d <- {table.r_code}; "
        "stopifnot(identical(names(d)[-1], c('a b', 'q\"t', 'id', 'flag', 'x', 'word')), "
        "identical(d[['a b']], c('T', 'F', NA)), identical(d$id, c('0012', '7', NA)), "
        "identical(d[[3]], c(1, -2.25, NA)), identical(d$flag, c(TRUE, FALSE, TRUE)), "
        "identical(d$x, c(0.001, NA, NA)), is.na(d$word[1]), d$word[2] == 'x, \"y\"', "
        "d$word[3] == '\\u00e9')"
    )
    assert list(table.frame) == ["a b", 'q"t', "id", "flag", "x", "word"]
    done = subprocess.run(
        ["Rscript", "--vanilla", "-e", check], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


# ---------------------------------------------------------------- the shipped data


def test_the_shipped_school_data():
    students = load(SCHOOLS / "students.csv")
    schools = load(SCHOOLS / "schools.csv")
    assert students.description == "students.csv, 7,185 rows x 5 columns"
    assert schools.description == "schools.csv, 160 rows x 7 columns"
    assert students.notes == schools.notes == ()
    assert set(students.frame["school"]) == set(schools.frame["school"])
    assert students.frame["mathach"].iloc[[0, -1]].tolist() == [5.876, 22.733]
    assert round(students.frame["mathach"].mean(), 6) == 12.747853
    assert schools.frame["sector"].value_counts().to_dict() == {"Public": 90, "Catholic": 70}
