"""Workbooks as programs write them: nothing in them is dropped without a word."""

from __future__ import annotations

from pathlib import Path

import pytest
from books import book, rows

from mlmreport.data.sources import DataSource, RawTable, read
from mlmreport.errors import InputError, Location

SPEC = Location("analysis.yml", 3, 9, 4, "  file: d.xlsx")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "d.xlsx"


def load(path: Path, columns: list[str] | None = None, written: tuple[str, ...] = ()) -> RawTable:
    return read(DataSource(path, shown=path.name), columns, SPEC, None, written)


def refused(path: Path, columns: list[str] | None = None) -> str:
    with pytest.raises(InputError) as caught:
        load(path, columns)
    assert all(problem.location == SPEC for problem in caught.value.problems)
    return str(caught.value)


TABLE: list[list[object]] = [["id", "y"], *([i, i / 4] for i in range(120))]


@pytest.mark.parametrize(
    "said", ["", '<dimension ref="A1:B61"/>', '<dimension ref="A1"/>', '<dimension ref="A1:ZZ9"/>']
)
def test_all_rows_and_columns_are_read_whatever_the_size_said(path: Path, said: str) -> None:
    found = load(book(path, rows(TABLE), before=said))
    assert found.description == "d.xlsx, 120 rows x 2 columns"
    assert found.frame["id"].tolist() == list(range(120))
    assert found.frame["y"].tolist() == [i / 4 for i in range(120)]
    assert found.notes == ()


def test_cells_without_places_and_values_beyond_the_header(path: Path) -> None:
    data = "<row><c><v>7</v></c></row><row><c><v>1</v></c><c><v>2</v></c></row>"
    found = load(book(path, data))
    assert found.frame["7"].tolist() == [1]


FORMULA = '<c r="B{0}"><f>A{0}*2</f>{1}</c>'


def formulas(values: list[str]) -> str:
    head = rows([["id", "y"]])
    return head + "".join(
        f'<row r="{r}"><c r="A{r}"><v>{r}</v></c>{FORMULA.format(r, value)}</row>'
        for r, value in enumerate(values, start=2)
    )


@pytest.mark.parametrize("empty", ["", "<v/>", "<v></v>"])
def test_formulas_without_values_are_refused_where_they_are_used(path: Path, empty: str) -> None:
    book(path, formulas(["<v>4</v>", empty, "<v>8</v>", empty]))
    said = refused(path)
    assert "sheet 'Data', cell B3: a formula without a stored value, and 1 more such cells" in said
    assert "open the file in Excel or LibreOffice" in said
    assert load(path, ["id"]).frame["id"].tolist() == [2, 3, 4, 5]


def test_a_row_of_nothing_but_formulas_without_values_is_no_empty_row(path: Path) -> None:
    data = rows([["y"], [1]]) + '<row r="3"><c r="A3"><f>A2+1</f></c></row>'
    assert "cell A3" in refused(book(path, data))
    header = '<row r="1"><c r="A1"><f>B9</f></c></row>' + '<row r="2"><c r="A2"><v>1</v></c></row>'
    assert "cell A1" in refused(book(path, header))


def test_stored_values_of_formulas_are_read_and_doubted_where_the_file_doubts_them(
    path: Path,
) -> None:
    data = formulas(["<v>4</v>", "<v>6</v>"])
    assert load(book(path, data)).frame["y"].tolist() == [4, 6]
    assert load(path).notes == ()
    (note,) = load(book(path, data, workbook='<calcPr fullCalcOnLoad="1"/>')).notes
    assert "may be out of date" in note


def test_a_formula_whose_text_is_empty_is_missing(path: Path) -> None:
    data = rows([["id", "t"], [1, "a"]])
    data += '<row r="3"><c r="A3"><v>2</v></c><c r="B3" t="str"><f>""</f><v></v></c></row>'
    assert load(book(path, data)).frame["t"].isna().tolist() == [False, True]


def test_empty_rows_are_counted_within_the_table_only(path: Path) -> None:
    data = rows([[None], [None, "id", "y"], [None, 1, 2], [None], [None, 3, 4]])
    data += '<row r="9"><c r="B9"><v>5</v></c><c r="C9"><v>6</v></c></row><row r="10"/>'
    found = load(book(path, data))
    assert found.frame["id"].tolist() == [1, 3, 5]
    assert "Column 1 of the file has no name and is left out." in found.notes
    assert "Empty rows in the midst of the sheet, left out: 4." in found.notes


def test_merged_and_hidden_cells_are_told(path: Path) -> None:
    before = '<cols><col min="2" max="3" hidden="1"/></cols>'
    data = rows([["id", "y", "z"], [1, 2, 3], [None, 4, 5], [6, 7, 8]])
    data = data.replace('<row r="3">', '<row r="3" hidden="1">')
    after = (
        '<autoFilter ref="A1:C4"/>'
        '<mergeCells><mergeCell ref="A2:A3"/><mergeCell ref="A1:C1"/></mergeCells>'
    )
    found = load(book(path, data, before=before, after=after))
    assert found.frame["y"].tolist() == [2, 4, 7]
    assert found.notes == (
        "Rows hidden or filtered out in the sheet, read like the others: 1.",
        "Columns that are hidden in the sheet, read like the others: 'y', 'z'.",
        "Merged cells hold a value in their first cell only, the others are empty: A2:A3. "
        "Unmerge them and fill in the values where every row has one.",
    )
    assert "Columns" not in str(load(path, ["id"]).notes)


def test_kinds_of_text_and_of_values(path: Path) -> None:
    shared = (
        "<si><t>plain</t></si><si><r><t>ri</t></r><r><rPr><b/></rPr><t>ch</t></r></si>"
        '<si><t xml:space="preserve"> 1 </t></si><si><t>#N/A</t></si>'
    )
    cells = [
        '<c t="s"><v>0</v></c>', '<c t="s"><v>1</v></c>', '<c t="s"><v>2</v></c>',
        '<c t="s"><v>3</v></c>', '<c t="inlineStr"><is><r><t>a</t></r><r><t>b</t></r></is></c>',
        '<c t="str"><f>"x"</f><v>x</v></c>', '<c t="e"><v>#N/A</v></c>',
    ]  # fmt: skip
    head = '<row><c t="inlineStr"><is><t>t</t></is></c></row>'
    data = head + "".join(f"<row>{cell}<c><v>1</v></c></row>" for cell in cells)
    found = load(book(path, data, shared=shared))
    assert found.frame["t"].tolist()[:6] == ["plain", "rich", " 1 ", "#N/A", "ab", "x"]
    assert found.frame["t"].isna().tolist() == [False] * 6 + [True]
    assert "Column 't': cells with an error such as #N/A, taken as missing: 1." in found.notes


@pytest.mark.parametrize(("workbook", "day"), [("", "2020-01-01"), ("1904", "2024-01-02")])
def test_dates_percents_and_truth_values(path: Path, workbook: str, day: str) -> None:
    styles = '<xf numFmtId="14"/><xf numFmtId="10"/>'
    data = rows([["d", "p", "b", "i"]]) + (
        '<row r="2"><c r="A2" s="1"><v>43831</v></c><c r="B2" s="2"><v>0.125</v></c>'
        '<c r="C2" t="b"><v>1</v></c><c r="D2" t="d"><v>2020-02-03</v></c></row>'
    )
    system = '<workbookPr date1904="1"/>' if workbook else ""
    frame = load(book(path, data, styles=styles, workbook=system)).frame
    assert str(frame["d"].iloc[0])[:10] == day
    assert frame["p"].tolist() == [0.125]
    assert frame["b"].tolist() == [True]
    assert str(frame["i"].iloc[0])[:10] == "2020-02-03"


def test_long_whole_numbers_are_kept_where_they_are_ids(path: Path) -> None:
    data = rows([["id", "n"], [9007199254740992, 1], [9007199254740993, 2], [None, 3]])
    found = load(book(path, data), written=("id",))
    assert found.frame["id"].dropna().tolist() == ["9007199254740992", "9007199254740993"]


def test_a_text_and_a_number_are_one_id_where_they_read_the_same(path: Path) -> None:
    found = load(book(path, rows([["id"], ["1.10"], [1.1], ["1.1"], [1], ["1"]])))
    assert found.frame["id"].tolist() == ["1.10", "1.1", "1.1", "1", "1"]


@pytest.mark.parametrize("place", ["ZZZ1", "XFE1"])
def test_a_sheet_larger_than_a_sheet_can_be_is_refused(path: Path, place: str) -> None:
    wide = f'<row r="1"><c r="{place}"><v>1</v></c></row>'
    assert "is damaged: the header is" in refused(book(path, wide))
    deep = rows([["y"]]) + '<row r="99999999999"><c r="A99999999999"><v>1</v></c></row>'
    assert "cannot be read" in refused(book(path, deep)) or "is damaged" in refused(path)
    deep = rows([["y"]]) + '<row r="2000000"><c><v>1</v></c></row>'
    assert "is damaged: a row has the number 2,000,000" in refused(book(path, deep))


def test_a_macro_workbook_is_read_like_any(tmp_path: Path) -> None:
    found = load(book(tmp_path / "d.xlsm", rows([["y"], [1]])))
    assert found.frame["y"].tolist() == [1]
