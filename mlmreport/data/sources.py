"""Data files and data sets as they come: one table of readers, one row a format.

What counts as missing
----------------------
In text formats (CSV, TSV) and in Excel text cells: the empty field, ``NA`` and ``NaN``, quoted or
not. Nothing else: ``None``, ``.``, ``-99`` or ``n/a`` stay what they are, because they are level
names or codes as often as they are gaps ("None" is a level of many questionnaires). A column that
is numeric but for such a value is read as text, and a note names the value. Binary formats have
their own missing values, and SPSS and Stata user-missing values are missing here.

What becomes a number
---------------------
A text column is numeric where every value is. It stays text where that would lose something:
whole numbers with leading zeros (``0012``), and whole numbers beyond 2**53. Whole numbers are
``int64``, or ``float64`` where some are missing. ``TRUE``/``FALSE``, ``True``/``False`` and
``true``/``false`` are booleans (``bool``, or ``boolean`` where some are missing). Dates stay as the
format has them; in CSV they are text.

Files are untrusted: nothing stored in a file is run as code. Pickles and R workspaces are refused,
``.rds`` is parsed by a pure Python library, and formulas in workbooks are not evaluated. SPSS and
Stata files, read by a C library, are tried out in a process of their own first.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet

from mlmreport.errors import (
    EnvironmentFault,
    InputError,
    Location,
    MlmreportError,
    Problem,
    did_you_mean,
)
from mlmreport.spec.quoting import r_string

__all__ = [
    "MISSING",
    "READERS",
    "Chooser",
    "DataSource",
    "RawTable",
    "Reader",
    "read",
    "return_memory",
]

MISSING = ("", "NA", "NaN")
"""The texts that mean a missing value in CSV, TSV and Excel."""

_EXACT = 2**53  # beyond it a double no longer tells neighbouring whole numbers apart
_LOGICAL = {"TRUE": True, "True": True, "true": True, "FALSE": False, "False": False}
_LOGICAL["false"] = False
_ZEROS = r"^\s*[+-]?0([0-9]+|[xX][0-9a-fA-F]+)\s*$"
_LONG = r"^\s*[+-]?[0-9]{16,}\s*$"
_DECIMAL_COMMA = r"^\s*[+-]?[0-9]+,[0-9]+\s*$"
_NUMBER = r"^\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*$"
_PACKAGE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9.]*")
_DATASET_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._]*")
_DAMAGED = "the file may be cut off or damaged: open it in the program that wrote it, save it again"
_RESAVE_UTF8 = (
    "save the file again as UTF-8 (in Excel: Save As, 'CSV UTF-8'; in R: fileEncoding = \"UTF-8\")"
)


@dataclass(frozen=True, slots=True)
class DataSource:
    """Where a table comes from: a file, or a data set of an R package.

    Parameters
    ----------
    path
        The file, resolved; None for a package data set.
    sheet
        The sheet of a workbook; None for the first.
    package, dataset
        The R package and its data set; None for a file.
    shown
        The source as the user wrote it, for messages and for R code.
    """

    path: Path | None = None
    sheet: str | None = None
    package: str | None = None
    dataset: str | None = None
    shown: str = ""


@dataclass(frozen=True, slots=True)
class RawTable:
    """A table as it was read, before any preparation.

    Parameters
    ----------
    frame
        The rows in file order with the columns asked for, index 0..n-1.
    description
        Name and size of the whole table: "students.csv, 7,185 rows x 5 columns".
    sha256
        Hex digest of the file's bytes; empty for a package data set.
    labels
        Variable labels of SPSS and Stata files, by column.
    r_code
        An R expression that reads the same table in plain R, with the functions of
        ``verify/preparation.R``; empty where base R cannot. File names in it are as the user wrote
        them.
    notes
        What the reader noticed or did, in full sentences.
    codes
        For each column that has its value labels in place of its codes: label -> code. It lets a
        fully labelled rating scale be used as a number.
    """

    frame: pd.DataFrame
    description: str
    sha256: str
    labels: Mapping[str, str]
    r_code: str
    notes: tuple[str, ...]
    codes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


Chooser = Callable[[Sequence[str]], Sequence[str]]
"""From all column names of a table to those that are read."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a reader is asked for."""

    source: DataSource
    columns: tuple[str, ...] | Chooser | None
    location: Location | None
    r_dataset: Callable[[str, str], pd.DataFrame] | None

    @property
    def path(self) -> Path:
        """The file of a source that has one."""
        if self.source.path is None:
            raise self.error("no data file is named")
        return self.source.path

    @property
    def shown(self) -> str:
        """The file as the user wrote it."""
        return self.source.shown or str(self.source.path)

    def error(self, message: str, hint: str = "") -> InputError:
        """An error located at the place in the spec that names the data."""
        return InputError.of(message, hint, self.location)

    def error_at(self, message: str, hint: str, line: int, excerpt: str = "") -> InputError:
        """An error located at a line of the data file itself."""
        place = Location(self.shown, line, 1, max(1, len(excerpt)), excerpt)
        return InputError.of(message, hint, place)


@dataclass(frozen=True, slots=True)
class Content:
    """What a reader hands back; `width` counts all columns of the table, read or not."""

    frame: pd.DataFrame
    width: int
    notes: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    r_code: str = ""
    codes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reader:
    """One format: its name, its file name endings, how its files begin, and how to read it."""

    title: str
    suffixes: tuple[str, ...]
    read: Callable[[Request], Content]
    magic: tuple[bytes, ...] = ()


def read(
    source: DataSource,
    columns: Sequence[str] | Chooser | None = None,
    location: Location | None = None,
    r_dataset: Callable[[str, str], pd.DataFrame] | None = None,
) -> RawTable:
    """Read a table from a file or from an R package.

    Parameters
    ----------
    source
        What to read.
    columns
        The columns that are needed, in the order wanted; none named means all, in file order. Or
        a function that is given all names and returns those needed, at least one.
    location
        The place in the spec that names the data, for messages.
    r_dataset
        Gives a data set of an R package as a data frame: ``r_dataset(package, dataset)``.

    Raises
    ------
    InputError
        The file is missing, not of its format, damaged or empty, or columns are unknown or named
        twice. Located in the spec, or at a line of the data file.
    EnvironmentFault
        A package data set is asked for and there is no R to read it.
    """
    wanted = columns if callable(columns) else tuple(dict.fromkeys(columns or ())) or None
    request = Request(source, wanted, location, r_dataset)
    reader = _PACKAGE if source.package is not None else _file_reader(request)
    content = _guarded(reader, request)
    if len(content.frame) == 0:
        raise request.error(
            f"{_name(request)} has a header but no rows", "is it the right file or sheet?"
        )
    return RawTable(
        frame=content.frame,
        description=f"{_name(request)}, {len(content.frame):,} rows x {content.width} columns",
        sha256="" if source.package is not None else _digest(request.path),
        labels=content.labels,
        r_code=content.r_code,
        notes=content.notes,
        codes=content.codes,
    )


def _guarded(reader: Reader, request: Request) -> Content:
    try:
        return reader.read(request)
    except MlmreportError:
        raise
    except PermissionError:
        raise _unreadable(request) from None
    except Exception as fault:
        # the libraries raise dozens of kinds on a damaged file, none of them documented
        if reader is _PACKAGE:
            raise
        reason = str(fault).strip().partition("\n")[0] or type(fault).__name__
        raise request.error(
            f"{request.shown} cannot be read as {reader.title}: {reason}", _DAMAGED
        ) from fault


def _name(request: Request) -> str:
    source = request.source
    if source.package is not None:
        return f"{source.dataset} of the R package {source.package}"
    sheet = f", sheet '{source.sheet}'" if source.sheet else ""
    return Path(request.shown).name + sheet


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ---------------------------------------------------------------- which reader


def _file_reader(request: Request) -> Reader:
    """The reader for the file, once it is sure that there is one and that it looks right."""
    path = request.path
    _require_file(request)
    reader = _by_suffix(path.suffix.lower())
    if reader is None:
        raise request.error(
            f"{request.shown}: no reader for files that end in '{path.suffix}'",
            _unknown_suffix_hint(path.suffix.lower()),
        )
    if request.source.sheet is not None and reader.title != _EXCEL:
        raise request.error(
            f"{request.shown} is not a workbook, so it has no sheet '{request.source.sheet}'",
            "remove the `sheet:` key",
        )
    _require_magic(request, reader)
    return reader


def _require_file(request: Request) -> None:
    path = request.path
    if not path.exists():
        raise request.error(f"there is no file {request.shown}", _missing_hint(path))
    if path.is_dir():
        files = ", ".join(_data_files(path)[:12])
        hint = f"data files in it: {files}" if files else "there is no data file in it"
        raise request.error(f"{request.shown} is a folder, not a data file", hint)
    if not path.is_file():
        raise request.error(f"{request.shown} is not a regular file", "name a data file")
    if path.stat().st_size == 0:
        raise request.error(f"{request.shown} is empty (0 bytes)", "was it saved completely?")


def _missing_hint(path: Path) -> str:
    if not path.parent.is_dir():
        return f"the folder {path.parent} does not exist; paths are relative to the spec"
    files = _data_files(path.parent)
    if not files:
        return f"no data file is in {path.parent}"
    return did_you_mean(path.name, files)


def _data_files(folder: Path) -> list[str]:
    try:
        names = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    except OSError:
        return []
    return [name for name in names if _by_suffix(Path(name).suffix.lower())]


def _unreadable(request: Request) -> InputError:
    return request.error(
        f"{request.shown} may not be read (permission denied)",
        "give yourself permission to read it, or close the program that holds it",
    )


def _by_suffix(suffix: str) -> Reader | None:
    return next((reader for reader in READERS if suffix in reader.suffixes), None)


def _unknown_suffix_hint(suffix: str) -> str:
    known = ", ".join(ending for reader in READERS for ending in reader.suffixes)
    advice = _ADVICE.get(suffix, "")
    return f"{advice}; known endings: {known}" if advice else f"known endings: {known}"


_ADVICE = {
    ".txt": "name the file .csv (commas) or .tsv (tabs)",
    ".dat": "name the file .csv (commas) or .tsv (tabs)",
    ".xls": "open it and save it as .xlsx",
    ".ods": "open it and save it as .xlsx",
    ".rdata": 'load it in R and save the one data frame: saveRDS(d, "data.rds")',
    ".rda": 'load it in R and save the one data frame: saveRDS(d, "data.rds")',
    ".pkl": "pickles are never read, because they can run code; save it as .parquet",
    ".pickle": "pickles are never read, because they can run code; save it as .parquet",
    ".sas7bdat": "save it as .sav, .dta or .csv",
    ".gz": "decompress it first",
    ".zip": "unpack it first",
}

_KNOWN_BEGINNINGS = (
    (b"PK\x03\x04", "a zip archive or an Excel workbook", ".xlsx"),
    (b"\xd0\xcf\x11\xe0", "an old or protected Excel workbook", ""),
    (b"PAR1", "a Parquet file", ".parquet"),
    (b"ARROW1", "a Feather file", ".feather"),
    (b"$FL2", "an SPSS file", ".sav"),
    (b"$FL3", "a compressed SPSS file", ".zsav"),
    (b"<stata_dta>", "a Stata file", ".dta"),
    (b"\x1f\x8b", "a gzip-compressed file", ".rds"),
    (b"BZh", "a bzip2-compressed file", ".rds"),
    (b"\xfd7zXZ", "an xz-compressed file", ".rds"),
    (b"%PDF", "a PDF", ""),
    (b"\x89PNG", "a picture", ""),
)


def _require_magic(request: Request, reader: Reader) -> None:
    """Refuse a file whose first bytes belong to another format."""
    try:
        with request.path.open("rb") as file:
            head = file.read(1024)
    except PermissionError:
        raise _unreadable(request) from None
    if reader.magic and head.startswith(reader.magic):
        return
    found = next((row for row in _KNOWN_BEGINNINGS if head.startswith(row[0])), None)
    if found:
        _, what, ending = found
        hint = f"if so, name it {request.path.stem}{ending}" if ending else "save it in that format"
        raise request.error(f"{request.shown} is {what}, not {reader.title}", hint)
    if reader.magic:
        text = b"\0" not in head and head.isascii()
        hint = "it looks like text: if it is a CSV file, name it .csv" if text else _DAMAGED
        raise request.error(f"{request.shown} is not {reader.title}", hint)


# ---------------------------------------------------------------- columns


@dataclass(frozen=True, slots=True)
class _Columns:
    names: list[str]
    notes: tuple[str, ...]
    width: int


def _select(header: Sequence[str], request: Request) -> _Columns:
    """The columns to read, from the header of the table.

    Raises
    ------
    InputError
        With all names that stand twice, or all columns that are not there.
    """
    named = [name for name in header if name.strip()]
    if not named:
        raise request.error(f"{_name(request)} has no column names", "the first row must name them")
    _require_distinct(header, request)
    if callable(request.columns):
        names = list(request.columns(named))
    else:
        _require_known(named, request.columns or (), request)
        names = list(request.columns) if request.columns is not None else named
    return _Columns(names, tuple(_header_notes(header, names)), len(header))


def _require_distinct(header: Sequence[str], request: Request) -> None:
    twice = [name for name, n in Counter(header).items() if n > 1 and name.strip()]
    problems = []
    for name in twice:
        places = ", ".join(str(i) for i, other in enumerate(header, start=1) if other == name)
        message = f"{_name(request)}: the name '{name}' stands over more than one column: {places}"
        problems.append(Problem(message, "give each column a name of its own", request.location))
    if problems:
        raise InputError(tuple(problems))


def _require_known(named: Sequence[str], wanted: Sequence[str], request: Request) -> None:
    unknown = [name for name in wanted if name not in named]
    if unknown:
        raise InputError(
            tuple(
                Problem(
                    f"{_name(request)} has no column '{name}'",
                    did_you_mean(name, named),
                    request.location,
                )
                for name in unknown
            )
        )


def _header_notes(header: Sequence[str], names: Sequence[str]) -> Iterator[str]:
    nameless = [str(i) for i, name in enumerate(header, start=1) if not name.strip()]
    if nameless:
        many = len(nameless) > 1
        yield (
            f"Column{'s' if many else ''} {', '.join(nameless)} of the file "
            f"{'have no names and are' if many else 'has no name and is'} left out."
        )
    spaced = [f"'{name}'" for name in names if name != name.strip()]
    if spaced:
        yield f"Column names with spaces at their ends, kept as they are: {', '.join(spaced)}."


# ---------------------------------------------------------------- CSV and TSV


def _read_csv(request: Request) -> Content:
    return _read_delimited(request, ",", "read.csv")


def _read_tsv(request: Request) -> Content:
    return _read_delimited(request, "\t", "read.delim")


def _read_delimited(request: Request, delimiter: str, r_function: str) -> Content:
    data = request.path.read_bytes()
    bom = data.startswith(b"\xef\xbb\xbf")
    _require_text(data, request)
    header = _header(data, delimiter, request)
    chosen = _select(header, request)
    table = _parse_text(data[3 * bom :].lstrip(b"\r\n"), delimiter, header, chosen.names, request)
    columns, notes = _typed_columns(table)
    frame = pd.DataFrame(columns, index=pd.RangeIndex(table.num_rows), copy=False)
    code = _r_delimited(r_function, request.shown, frame, bom)
    return Content(frame, chosen.width, chosen.notes + notes, r_code=code)


def _require_text(data: bytes, request: Request) -> None:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise request.error(f"{request.shown} is in UTF-16, not in UTF-8", _RESAVE_UTF8)
    if (at := data.find(b"\0")) >= 0:
        raise request.error(f"{request.shown} is not a text file: byte {at:,} is zero", _DAMAGED)
    if data.isascii():
        return
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as fault:
        line = data.count(b"\n", 0, fault.start) + 1
        value = data[fault.start]
        raise request.error_at(
            f"not UTF-8: byte 0x{value:02x} at offset {fault.start:,}", _RESAVE_UTF8, line
        ) from None


def _records(data: bytes, delimiter: str, strict: bool = False) -> Iterator[tuple[int, list[str]]]:
    """The records that are not empty, each with the number of the line where it ends."""
    text = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline="")
    reader = csv.reader(text, delimiter=delimiter, strict=strict)
    for record in reader:
        if record:
            yield reader.line_num, record


def _header(data: bytes, delimiter: str, request: Request) -> list[str]:
    header = next((record for _, record in _records(data, delimiter)), None)
    if header is None:
        raise request.error(f"{request.shown} holds nothing but blank lines")
    others = {";": "semicolons", "\t": "tabs", ",": "commas", "|": "bars"}
    if len(header) == 1:
        used = next((c for c in others if c != delimiter and c in header[0]), None)
        if used:
            raise request.error_at(
                f"the columns are separated by {others[used]}, not by {others[delimiter]}",
                _separator_hint(used),
                1,
                header[0],
            )
    return header


def _separator_hint(used: str) -> str:
    hints = {
        "\t": "name the file .tsv",
        ",": "name the file .csv",
        ";": "save it with commas (in R: write.csv, not write.csv2), or as .xlsx",
    }
    return hints.get(used, "save it with commas (.csv) or tabs (.tsv)")


def _parse_text(
    data: bytes, delimiter: str, header: list[str], names: list[str], request: Request
) -> pa.Table:
    """All wanted columns as text; columns go by position, since a header may hold anything."""
    if data.count(b'"') % 2:
        _require_closed_quotes(data, delimiter, request)
    positions = {name: str(i) for i, name in enumerate(header)}
    wanted = [positions[name] for name in names]
    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(data),
            pyarrow.csv.ReadOptions(
                column_names=[str(i) for i in range(len(header))],
                skip_rows_after_names=1,
                block_size=1 << 24,
            ),
            pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            pyarrow.csv.ConvertOptions(
                column_types={name: pa.string() for name in wanted},
                include_columns=wanted,
                null_values=list(MISSING),
                strings_can_be_null=True,
            ),
        )
    except pa.ArrowInvalid:
        _require_even_rows(data, delimiter, len(header), request)
        raise
    return table.rename_columns(names)


def _require_closed_quotes(data: bytes, delimiter: str, request: Request) -> None:
    last = 0
    try:
        for last, _ in _records(data, delimiter, strict=True):  # noqa: B007
            pass
    except csv.Error as fault:
        if "unexpected end" in str(fault):
            raise request.error_at(
                "a double quote is opened in this record and never closed",
                'close it; a double quote inside a quoted value is written twice: ""',
                last + 1,
            ) from None


def _require_even_rows(data: bytes, delimiter: str, width: int, request: Request) -> None:
    problems = []
    for line, record in _records(data, delimiter):
        if len(record) != width:
            excerpt = delimiter.join(record)[:100]
            message = f"this row has {len(record)} values, the header has {width}"
            hint = "a value that holds a comma must stand in double quotes" * (len(record) > width)
            place = Location(request.shown, line, 1, len(excerpt), excerpt)
            problems.append(Problem(message, hint, place))
    if problems:
        more = len(problems) - 5
        rest = [Problem(f"{more:,} more rows like these", location=request.location)] * (more > 0)
        raise InputError((*problems[:5], *rest))


def _r_delimited(function: str, shown: str, frame: pd.DataFrame, bom: bool) -> str:
    """R code that reads the same columns with the same types."""
    missing = ", ".join(r_string(text) for text in MISSING)
    text = [str(name) for name in frame if frame[name].dtype == "str"]
    arguments = [
        _r_file(shown),
        "check.names = FALSE",
        "stringsAsFactors = FALSE",
        f"na.strings = c({missing})",
        'fileEncoding = "UTF-8-BOM"' if bom else 'encoding = "UTF-8"',
    ]
    if text:
        classes = ", ".join(f'{r_string(name)} = "character"' for name in text)
        arguments.append(f"colClasses = c({classes})")
    return f"{function}({', '.join(arguments)})"


def _r_file(shown: str) -> str:
    return f"source_file({r_string(Path(shown).as_posix())})"


# ---------------------------------------------------------------- from text to types


def _typed_columns(table: pa.Table) -> tuple[dict[str, pd.Series[Any]], tuple[str, ...]]:
    columns, notes = {}, []
    for name in table.column_names:
        column, note = _typed(name, table.column(name))
        columns[name] = column
        notes += [note] * bool(note)
    return columns, tuple(notes)


def _typed(name: str, text: pa.ChunkedArray) -> tuple[pd.Series[Any], str]:
    """One column of text with its type, and a note where there is something to say."""
    if text.null_count == len(text):
        return pd.Series(np.full(len(text), np.nan)), f"Column '{name}' has no values."
    if (logical := _logical(text)) is not None:
        return logical, ""
    if (number := _number(text)) is None:
        return text.to_pandas(), _text_note(name, text)
    if (reason := _loss(number, text)) != "":
        return text.to_pandas(), f"Column '{name}' is kept as text: {reason}."
    values = pd.Series(number.to_numpy())
    infinite = int(np.isinf(values).sum())
    return values, f"Column '{name}' has infinite values: {infinite:,}." if infinite else ""


def _logical(text: pa.ChunkedArray) -> pd.Series[Any] | None:
    """The column as booleans, or None where it holds anything else."""
    first = text.drop_null()[0].as_py()
    if first not in _LOGICAL or not set(text.drop_null().unique().to_pylist()) <= set(_LOGICAL):
        return None
    truth = pd.Series(text.to_pylist()).map(_LOGICAL)
    return truth.astype("boolean" if text.null_count else "bool")


def _number(text: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """The column as int64 or float64, spaces around the numbers allowed; None where it is text."""
    head = text.slice(0, 1000)  # a cast that fails is slow: it goes on to the last value
    for kind in (pa.int64(), pa.float64()):
        try:
            pc.cast(head, kind)
            return pc.cast(text, kind)
        except pa.ArrowInvalid:
            pass
    bare = pc.utf8_trim_whitespace(text)
    bare = pc.if_else(pc.equal(bare, ""), pa.scalar(None, pa.string()), bare)
    return None if bare.equals(text) else _number(bare)


def _loss(number: pa.ChunkedArray, text: pa.ChunkedArray) -> str:
    """Why the text says more than the number, or nothing."""
    values = number.to_numpy()
    with np.errstate(invalid="ignore"):  # infinite values
        whole = text.filter(pa.array(values % 1 == 0))
    if zeros := _first_match(whole, _ZEROS):
        return f"whole numbers such as '{zeros}' begin with zeros"
    long = _first_match(whole, _LONG) if (np.abs(values) > _EXACT).any() else ""
    return f"whole numbers such as '{long}' have too many digits" if long else ""


def _first_match(text: pa.ChunkedArray, pattern: str) -> str:
    found = text.filter(pc.match_substring_regex(text, pattern))
    return str(found[0].as_py()) if len(found) else ""


def _text_note(name: str, text: pa.ChunkedArray) -> str:
    """A note where a text column looks as if it were meant to be numeric."""
    counts = pc.value_counts(text.drop_null())
    values, n = counts.field("values"), counts.field("counts").to_numpy(zero_copy_only=False)
    comma = _matching(values, _DECIMAL_COMMA)
    if n[comma].sum() > 0.9 * n.sum():
        return (
            f"Column '{name}' is text: its numbers have decimal commas. Save the file with decimal "
            "points to use it as a number."
        )
    numeric = _matching(values, _NUMBER)
    if numeric.all():
        return f"Column '{name}' holds numbers stored as text; it is kept as text."
    if n[numeric].sum() <= 0.5 * n.sum():
        return ""
    odd = [f"'{value}'" for value in values.filter(pa.array(~numeric)).to_pylist()]
    shown = ", ".join(odd[:5]) + (", ..." if len(odd) > 5 else "")
    return (
        f"Column '{name}' is text: {n[~numeric].sum():,} of {n.sum():,} values are not numbers "
        f"({shown}). Leave a field empty, or write NA, where a value is missing."
    )


def _matching(values: pa.Array, pattern: str) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return np.asarray(pc.match_substring_regex(values, pattern).to_numpy(zero_copy_only=False))


def _plain(column: pd.Series[Any]) -> pd.Series[Any]:
    """The column in the types that all readers share: see the module's docstring."""
    kind = column.dtype
    if isinstance(kind, pd.CategoricalDtype):
        return column
    if kind != "str" and (kind.kind == "O" or isinstance(kind, pd.StringDtype)):
        return _plain_objects(column)
    if pd.api.types.is_extension_array_dtype(kind) and pd.api.types.is_numeric_dtype(kind):
        return _plain_nullable(column)
    return column


def _plain_nullable(column: pd.Series[Any]) -> pd.Series[Any]:
    gaps = bool(column.isna().any())
    if pd.api.types.is_bool_dtype(column.dtype):
        return column.astype("boolean" if gaps else "bool")
    whole = pd.api.types.is_integer_dtype(column.dtype) and not gaps
    return column.astype("int64" if whole else "float64")


def _plain_objects(column: pd.Series[Any]) -> pd.Series[Any]:
    kinds = set(column.dropna().map(type))
    if kinds <= {bool, np.bool_} and kinds:
        return _plain_nullable(column.astype("boolean"))
    return column.astype("str") if kinds <= {str} else column


def _plain_frame(frame: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame(
        {name: _plain(frame[name]).array for name in names},
        index=pd.RangeIndex(len(frame)),
        copy=False,  # copying joins the columns into one block, the slowest part of a large read
    )


# ---------------------------------------------------------------- Parquet and Feather


def return_memory() -> None:
    """Return to the system what Arrow read tables into, which its pool keeps for the next one."""
    pa.default_memory_pool().release_unused()


def _read_parquet(request: Request) -> Content:
    schema = pyarrow.parquet.read_schema(request.path)
    chosen = _select(_without_index(schema.names), request)
    table = pyarrow.parquet.ParquetFile(request.path).read(columns=chosen.names)
    return _from_arrow(table, chosen)


def _read_feather(request: Request) -> Content:
    with pa.OSFile(str(request.path)) as file:
        header = pa.ipc.open_file(file).schema.names
    chosen = _select(_without_index(header), request)
    return _from_arrow(pyarrow.feather.read_table(request.path, columns=chosen.names), chosen)


def _without_index(names: Iterable[str]) -> list[str]:
    """Without the nameless row index that pandas stores as a column."""
    return [name for name in names if not re.fullmatch(r"__index_level_\d+__", name)]


def _from_arrow(table: pa.Table, chosen: _Columns) -> Content:
    for i, entry in enumerate(table.schema):
        if pa.types.is_decimal(entry.type):
            table = table.set_column(i, entry.name, pc.cast(table.column(i), pa.float64()))
    frame = table.select(chosen.names).to_pandas(ignore_metadata=True)
    return Content(_plain_frame(frame, chosen.names), chosen.width, chosen.notes)


# ---------------------------------------------------------------- Excel

_EXCEL = "an Excel workbook"


def _read_xlsx(request: Request) -> Content:
    import openpyxl  # type: ignore[import-untyped]

    book = openpyxl.load_workbook(request.path, read_only=True, data_only=True)
    try:
        sheet, notes = _sheet(book, request)
        rows = [row for row in sheet.iter_rows(values_only=True) if any(v is not None for v in row)]
    finally:
        book.close()
    if not rows:
        raise request.error(f"{_name(request)} holds no values")
    header = ["" if value is None else str(value) for value in rows[0]]
    chosen = _select(header, request)
    columns = {}
    for name in chosen.names:
        at = header.index(name)
        cells = [row[at] if at < len(row) else None for row in rows[1:]]
        columns[name], note = _cells(name, cells)
        notes += [note] * bool(note)
    frame = pd.DataFrame(columns, index=pd.RangeIndex(len(rows) - 1))
    return Content(frame, chosen.width, (*chosen.notes, *notes))


def _sheet(book: Any, request: Request) -> tuple[Any, list[str]]:
    names = [sheet.title for sheet in book.worksheets]
    wanted = request.source.sheet
    if wanted is None:
        others = ", ".join(f"'{name}'" for name in names[1:])
        note = f"The first sheet, '{names[0]}', is read; not read: {others}."
        return book.worksheets[0], [note] * bool(others)
    if wanted not in names:
        raise request.error(f"{request.shown} has no sheet '{wanted}'", did_you_mean(wanted, names))
    return book.worksheets[names.index(wanted)], []


def _cells(name: str, cells: list[Any]) -> tuple[pd.Series[Any], str]:
    """One column of a sheet with its type, and a note where there is something to say."""
    faults = sum(isinstance(cell, str) and bool(_CELL_ERROR.fullmatch(cell)) for cell in cells)
    values = [None if _is_gap(cell) else cell for cell in cells]
    kinds = {type(value) for value in values if value is not None}
    note = f"Column '{name}': cells with an error such as #N/A, taken as missing: {faults:,}."
    if not kinds:
        return pd.Series(np.full(len(cells), np.nan)), f"Column '{name}' has no values."
    if kinds == {str}:
        text = pa.chunked_array([pa.array(values, pa.string())])
        return text.to_pandas(), _text_note(name, text) or note * bool(faults)
    if kinds == {bool}:
        return _plain_nullable(pd.Series(values, dtype="boolean")), note * bool(faults)
    if kinds <= {int, float}:
        whole = kinds == {int} and None not in values
        return pd.Series(values, dtype="int64" if whole else "float64"), note * bool(faults)
    if str not in kinds and not kinds & {int, float, bool}:
        return pd.Series(values), note * bool(faults)
    text = pa.chunked_array([pa.array([_as_text(value) for value in values], pa.string())])
    mixed = f"Column '{name}' mixes numbers and other values; it is read as text."
    return text.to_pandas(), _text_note(name, text) or mixed


_CELL_ERROR = re.compile(r"#(N/A|DIV/0!|VALUE!|REF!|NAME\?|NUM!|NULL!)")


def _is_gap(cell: Any) -> bool:
    return isinstance(cell, str) and (cell in MISSING or bool(_CELL_ERROR.fullmatch(cell)))


def _as_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


# ---------------------------------------------------------------- SPSS and Stata


def _read_sav(request: Request) -> Content:
    import pyreadstat

    return _read_labelled(request, pyreadstat.read_sav, whole=True)


def _read_dta(request: Request) -> Content:
    import pyreadstat

    return _read_labelled(request, pyreadstat.read_dta, whole=False)


def _read_labelled(request: Request, reader: Callable[..., Any], whole: bool) -> Content:
    """Read a file with variable and value labels.

    `whole` turns numbers without a fraction into integers: SPSS has no integers of its own.
    """
    path = str(request.path)
    if not _survives(reader.__name__, path):
        raise request.error(f"{request.shown} cannot be read: it makes the reader crash", _DAMAGED)
    _, meta = reader(path, metadataonly=True, user_missing=True)
    chosen = _select(meta.column_names, request)
    frame, _ = reader(path, usecols=chosen.names)
    columns, notes, applied = {}, list(chosen.notes), {}
    for name in chosen.names:
        gaps = meta.missing_ranges.get(name, [])
        codes = _valid_labels(meta.variable_value_labels.get(name, {}), gaps, frame[name])
        columns[name], note = _labelled(name, frame[name], codes, whole)
        if isinstance(columns[name].dtype, pd.CategoricalDtype):
            applied[name] = {label: code for code, label in codes.items()}
        notes += [note] * bool(note) + [_gap_note(name, gaps)] * bool(gaps)
    labels = {n: text for n, text in meta.column_names_to_labels.items() if text and n in columns}
    frame = pd.DataFrame(columns, index=pd.RangeIndex(len(frame)))
    return Content(frame, chosen.width, tuple(notes), labels, codes=applied)


def _survives(reader: str, path: str) -> bool:
    """Whether a process of its own lives through reading the file.

    The C library behind pyreadstat ends the whole process on some damaged files, so that no message
    could be given. A Python error, exit code 1, is left to the reading itself, which reports it.
    """
    if not sys.executable:
        return True
    code = "import sys, pyreadstat; getattr(pyreadstat, sys.argv[1])(sys.argv[2])"
    command = [sys.executable, "-I", "-c", code, reader, path]
    done = subprocess.run(command, capture_output=True, check=False)
    return done.returncode in (0, 1)


def _valid_labels(
    labels: Mapping[Any, str], gaps: Sequence[Mapping[str, Any]], column: pd.Series[Any]
) -> dict[Any, str]:
    """The value labels in code order, without the codes that mean a missing value.

    A letter that labels a numeric variable is one of Stata's missing values .a to .z.
    """
    text = not pd.api.types.is_numeric_dtype(column.infer_objects().dtype)
    codes = sorted(code for code in labels if isinstance(code, str) == text)
    gone = {code for code in codes for gap in gaps if gap["lo"] <= code <= gap["hi"]}
    return {code: labels[code] for code in codes if code not in gone}


def _labelled(
    name: str, column: pd.Series[Any], labels: Mapping[Any, str], whole: bool
) -> tuple[pd.Series[Any], str]:
    """The column as a categorical where all of its codes have labels, else as it is."""
    column = column.infer_objects()
    if not pd.api.types.is_numeric_dtype(column.dtype):
        column = column.where(column != "", None)
    plain = _whole(_plain(column)) if whole else _plain(column)
    if not labels:
        return plain, ""
    bare = sorted(set(column.dropna().unique()) - set(labels), key=str)
    if bare:
        shown = ", ".join(
            f"{code:g}" if isinstance(code, float) else str(code) for code in bare[:5]
        )
        more = ", ..." if len(bare) > 5 else ""
        return plain, f"Column '{name}' keeps its codes: no value label for {shown}{more}."
    if len(set(labels.values())) < len(labels):
        return plain, f"Column '{name}' keeps its codes: two of them have the same label."
    codes = pd.Categorical(column, categories=list(labels))
    values = codes.rename_categories(dict(labels))
    return pd.Series(values), f"Column '{name}' has its value labels in place of its codes."


def _gap_note(name: str, gaps: Sequence[Mapping[str, Any]]) -> str:
    def shown(gap: Mapping[str, Any]) -> str:
        lo, hi = (f"{v:g}" if isinstance(v, float) else str(v) for v in (gap["lo"], gap["hi"]))
        return lo if lo == hi else f"{lo} to {hi}"

    return f"Column '{name}': declared missing in the file: {', '.join(map(shown, gaps))}."


def _whole(column: pd.Series[Any]) -> pd.Series[Any]:
    """As int64 where every value is a whole number and none is missing."""
    if column.dtype != "float64" or not bool(np.isfinite(column).all()):
        return column
    exact = bool(((column % 1 == 0) & (column.abs() <= _EXACT)).all())
    return column.astype("int64") if exact else column


# ---------------------------------------------------------------- R


def _read_rds(request: Request) -> Content:
    import rdata

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one for each S3 class without a Python counterpart
        parsed = rdata.parser.parse_file(request.path, extension="rds")
        header = _r_names(parsed, request)
        frame = rdata.conversion.convert(parsed, _r_classes(rdata.conversion.DEFAULT_CLASS_MAP))
    if not isinstance(frame, pd.DataFrame):
        raise _not_a_frame(request)
    chosen = _select(header, request)
    frame = _plain_frame(frame, chosen.names)
    code = f"read_rds({_r_file(request.shown)})"
    return Content(frame, chosen.width, chosen.notes, r_code=code)


def _not_a_frame(request: Request) -> InputError:
    return request.error(
        f"{request.shown} holds an R object that is not a data frame",
        "save the data frame alone: saveRDS(as.data.frame(d), ...)",
    )


def _r_names(parsed: Any, request: Request) -> list[str]:
    """The column names of a parsed data frame; the conversion keeps one of two equal names."""
    node = parsed.object.attributes
    attributes = {}
    while node is not None and getattr(node, "tag", None) is not None:
        tag = node.tag if node.tag.value is not None else node.tag.referenced_object
        attributes[tag.value.value.decode()] = node.value[0]
        node = node.value[1]
    classes = [item.value for item in attributes["class"].value] if "class" in attributes else []
    if b"data.frame" not in classes or "names" not in attributes:
        raise _not_a_frame(request)
    return [(item.value or b"").decode("utf-8") for item in attributes["names"].value]


def _r_classes(known: Mapping[str | bytes, Any]) -> dict[str | bytes, Any]:
    """How to build the R classes: those that the library knows, and dates."""

    def days(values: Any, _: Any) -> Any:
        return pd.to_datetime(pd.Series(values, dtype="float64"), unit="D").array

    def seconds(values: Any, _: Any) -> Any:
        return pd.to_datetime(pd.Series(values, dtype="float64"), unit="s", utc=True).array

    return {**known, "Date": days, "POSIXct": seconds}


def _read_package(request: Request) -> Content:
    package, dataset = request.source.package or "", request.source.dataset or ""
    _require_r_names(package, dataset, request)
    if request.r_dataset is None:
        raise EnvironmentFault(f"R is needed to read {dataset} of the R package {package}")
    frame = request.r_dataset(package, dataset)
    chosen = _select([str(name) for name in frame.columns], request)
    frame = _plain_frame(
        frame.set_axis([str(name) for name in frame.columns], axis=1), chosen.names
    )
    code = f"read_package({r_string(package)}, {r_string(dataset)})"
    return Content(frame, chosen.width, chosen.notes, r_code=code)


def _require_r_names(package: str, dataset: str, request: Request) -> None:
    problems = [
        Problem(f"'{name}' is not the name of an R {what}", hint, request.location)
        for name, what, hint, pattern in (
            (package, "package", "letters, digits and dots, a letter first", _PACKAGE_NAME),
            (dataset, "data set", "letters, digits, dots and underscores", _DATASET_NAME),
        )
        if not pattern.fullmatch(name)
    ]
    if problems:
        raise InputError(tuple(problems))


# ---------------------------------------------------------------- the table

READERS: tuple[Reader, ...] = (
    Reader("CSV", (".csv",), _read_csv),
    Reader("tab-separated text", (".tsv", ".tab"), _read_tsv),
    Reader("Parquet", (".parquet",), _read_parquet, (b"PAR1",)),
    Reader("Feather", (".feather", ".arrow"), _read_feather, (b"ARROW1",)),
    Reader(_EXCEL, (".xlsx", ".xlsm"), _read_xlsx, (b"PK\x03\x04",)),
    Reader("an SPSS file", (".sav", ".zsav"), _read_sav, (b"$FL2", b"$FL3")),
    Reader(
        "a Stata file",
        (".dta",),
        _read_dta,
        (
            b"<stata_dta>",
            *(bytes([release]) for release in (*range(102, 106), 108, *range(110, 116))),
        ),
    ),
    Reader(
        "an R data file", (".rds",), _read_rds, (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"X\n", b"A\n")
    ),
    Reader("a data set of an R package", (), _read_package),
)
"""All formats. To add one, write a function ``Request -> Content`` and a row here."""

_PACKAGE = READERS[-1]
