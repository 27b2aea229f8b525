"""The cells of a worksheet as they are stored, with what a reader of the table should know.

The sheet is read to its end, whatever size it says it has. Formulas are not evaluated: their stored
values are taken, and a formula without one is refused. Hidden rows and columns are read.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from openpyxl.utils import get_column_letter  # type: ignore[import-untyped]
from openpyxl.utils.cell import range_boundaries  # type: ignore[import-untyped]
from openpyxl.worksheet._reader import (  # type: ignore[import-untyped]
    FORMULA_TAG,
    VALUE_TAG,
    WorkSheetParser,
)

from mlmreport.data.limits import Refused

__all__ = ["Cells", "read_sheet"]

_MOST_ROWS, _MOST_COLUMNS = 1_048_576, 16_384
_TRUE = frozenset({"1", "true"})
_RESAVE = "open the file in Excel or LibreOffice and save it there, so that values are stored"


@dataclass(slots=True)
class Cells:
    """The columns of a sheet that are used.

    Parameters
    ----------
    header
        All names of the sheet's header, in order; the empty text where there is none.
    columns
        For each column used its cells, None where a cell is empty or holds an error.
    faults
        For each column used how many cells hold an error such as #N/A.
    notes
        What the sheet has that a table has not, in full sentences.
    """

    header: list[str]
    columns: dict[str, list[Any]] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """How many rows there are below the header."""
        return max(map(len, self.columns.values()), default=0)


class _Uncounted:
    """Stands in a cell whose formula has no stored value."""


class _Parser(WorkSheetParser):  # type: ignore[misc]
    """The parser of cells, which also tells a formula without a value from an empty cell."""

    formulas = False

    def parse_cell(self, element: Any) -> dict[str, Any]:
        cell: dict[str, Any] = super().parse_cell(element)
        if element.find(FORMULA_TAG) is not None:
            self.formulas = True
            said = element.find(VALUE_TAG)
            empty_text = element.get("t") == "str" and said is not None
            if cell["value"] is None and not empty_text:
                cell["value"] = _Uncounted
        return cell


def read_sheet(sheet: Any, choose: Callable[[list[str]], Sequence[str]]) -> Cells | None:
    """Read the columns of a sheet that are chosen from its header, the first row with a value.

    Parameters
    ----------
    sheet
        A worksheet of a workbook that was opened read-only, with values in place of formulas.
    choose
        From all names to those that are used.

    Returns
    -------
    Cells
        None where the sheet holds no values at all.

    Raises
    ------
    Refused
        A formula has no stored value, or the sheet is larger than a sheet can be.
    """
    with sheet._get_source() as source, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # extensions of Excel; dates out of range are errors here
        book = sheet.parent
        parser = _Parser(
            source,
            sheet._shared_strings,
            data_only=True,
            epoch=book.epoch,
            date_formats=book._date_formats,
            timedelta_formats=book._timedelta_formats,
        )
        rows = _rows(parser)
        first = next(rows, None)
        if first is None:
            return None
        cells = Cells(_header(sheet, *first))
        places = {name: cells.header.index(name) + 1 for name in choose(cells.header)}
        _fill(cells, rows, places, sheet.title, first[0])
    cells.notes += _notes(parser, book, places, first[0])
    return cells


Row = tuple[int, dict[int, tuple[str, Any]]]
"""The number of a row, and its cells that are not empty by column."""


def _rows(parser: _Parser) -> Iterator[Row]:
    """The rows that are not empty."""
    for number, row in parser.parse():
        if number > _MOST_ROWS:
            raise Refused(f"{{file}} is damaged: a row has the number {number:,}")
        cells = {
            cell["column"]: (cell["data_type"], cell["value"])
            for cell in row
            if cell["value"] is not None
        }
        if cells:
            yield number, cells


def _header(sheet: Any, number: int, cells: dict[int, tuple[str, Any]]) -> list[str]:
    width = max(cells)
    if width > _MOST_COLUMNS:
        raise Refused(f"{{file}} is damaged: the header is {width:,} columns wide")
    for column, (_, value) in cells.items():
        if value is _Uncounted:
            raise _uncounted(sheet.title, number, column, 1)
    return [str(cells[i][1]) if i in cells else "" for i in range(1, width + 1)]


def _fill(cells: Cells, rows: Iterator[Row], places: dict[str, int], title: str, at: int) -> None:
    columns: dict[str, list[Any]] = {name: [] for name in places}
    cells.columns, cells.faults = columns, dict.fromkeys(places, 0)
    gaps, uncounted = 0, []
    for number, row in rows:
        gaps, at = gaps + max(0, number - at - 1), number
        for name, column in places.items():
            kind, value = row.get(column, ("n", None))
            if value is _Uncounted:
                uncounted.append((number, column))
            if kind == "e":
                cells.faults[name] += 1
                value = None
            columns[name].append(value)
    if uncounted:
        raise _uncounted(title, *uncounted[0], len(uncounted))
    if gaps:
        cells.notes.append(f"Empty rows in the midst of the sheet, left out: {gaps:,}.")


def _uncounted(title: str, row: int, column: int, count: int) -> Refused:
    place = f"{get_column_letter(column)}{row}"
    more = f", and {count - 1:,} more such cells" if count > 1 else ""
    return Refused(
        f"{{file}}, sheet '{title}', cell {place}: a formula without a stored value{more}", _RESAVE
    )


def _notes(parser: _Parser, book: Any, places: dict[str, int], header: int) -> Iterator[str]:
    names = {column: name for name, column in places.items()}
    hidden = sum(
        int(number) > header and row.get("hidden") in _TRUE
        for number, row in parser.row_dimensions.items()
    )
    if hidden:
        yield f"Rows hidden or filtered out in the sheet, read like the others: {hidden:,}."
    unseen = [names[i] for i in sorted(names) if any(_spans(c, i) for c in _hidden_columns(parser))]
    if unseen:
        shown = ", ".join(f"'{name}'" for name in unseen)
        yield f"Columns that are hidden in the sheet, read like the others: {shown}."
    merged = [ref for ref in _merged(parser) if _meets(ref, names, header)]
    if merged:
        shown = ", ".join(merged[:5]) + (", ..." if len(merged) > 5 else "")
        yield (
            f"Merged cells hold a value in their first cell only, the others are empty: {shown}. "
            "Unmerge them and fill in the values where every row has one."
        )
    if parser.formulas and getattr(book.calculation, "fullCalcOnLoad", False):
        yield (
            "The sheet has formulas, and their stored values may be out of date, as the program "
            f"that wrote the file asks for them to be calculated anew: {_RESAVE}."
        )


def _hidden_columns(parser: _Parser) -> Iterator[dict[str, str]]:
    return (c for c in parser.column_dimensions.values() if c.get("hidden") in _TRUE)


def _spans(dimension: dict[str, str], column: int) -> bool:
    return int(dimension["min"]) <= column <= int(dimension["max"])


def _merged(parser: _Parser) -> Iterator[str]:
    if parser.merged_cells is not None:
        yield from (str(cell.ref) for cell in parser.merged_cells.mergeCell)


def _meets(ref: str, names: dict[int, str], header: int) -> bool:
    """Whether a range lies on rows below the header in a column that is used."""
    left, _, right, bottom = range_boundaries(ref)
    return bool(bottom > header and any(left <= column <= right for column in names))
