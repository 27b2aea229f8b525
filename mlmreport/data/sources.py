"""Data files and data sets as they come: one table of readers, one row a format.

What counts as missing
----------------------
In text formats (CSV, TSV) and in Excel text cells: the empty field, ``NA`` and ``NaN`` in exactly
this spelling, quoted or not; in a column of numbers also a field of nothing but spaces. Nothing
else: ``nan``, ``Inf``, ``None``, ``.``, ``-99`` or ``n/a`` stay what they are, because they are
level names or codes as often as they are gaps ("None" is a level of many questionnaires). A column
that is numeric but for such a value is read as text, and a note names the value. Binary formats
have their own missing values, SPSS and Stata user-missing values are missing here, and so are cells
of a workbook with an error such as ``#N/A``, which are counted in a note.

What becomes a number
---------------------
A text column is numeric where every value is. It stays text where that would lose something:
whole numbers with leading zeros (``0012``), and whole numbers beyond 2**53. Whole numbers are
``int64``, or ``float64`` where some are missing. ``TRUE``/``FALSE``, ``True``/``False`` and
``true``/``false`` are booleans (``bool``, or ``boolean`` where some are missing). Dates stay as the
format has them; in CSV they are text.

Columns that are ids or categories are read as they are written: see `mlmreport.data.written`. In
every format, two values that the file tells apart are two values here.

Files are untrusted: nothing stored in a file is run as code. Pickles and R workspaces are refused,
``.rds`` is parsed by a pure Python library, and formulas in workbooks are not evaluated. SPSS and
Stata files, read by a C library, are tried out in a process of their own first. How much a
compressed file may hold is limited: see `mlmreport.data.limits`.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
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

from mlmreport.data import limits
from mlmreport.data.limits import Refused
from mlmreport.data.written import EXACT, as_texts, beyond_exact, plainly_whole
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
    """What a reader is asked for; `written` are the columns that are ids or categories."""

    source: DataSource
    columns: tuple[str, ...] | Chooser | None
    location: Location | None
    r_dataset: Callable[[str, str], pd.DataFrame] | None
    written: Collection[str] = ()

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
    written: Collection[str] = (),
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
    written
        The columns that are ids, categories or keys, which are read as they are written.

    Raises
    ------
    InputError
        The file is missing, not of its format, damaged or empty, or columns are unknown or named
        twice. Located in the spec, or at a line of the data file.
    EnvironmentFault
        A package data set is asked for and there is no R to read it.
    """
    wanted = columns if callable(columns) else tuple(dict.fromkeys(columns or ())) or None
    request = Request(source, wanted, location, r_dataset, written)
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
    except Refused as fault:
        raise request.error(fault.message.replace("{file}", request.shown), fault.hint) from None
    except MemoryError:
        raise request.error(
            f"{request.shown} does not fit into the memory",
            "use a machine with more memory",
        ) from None
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
    columns, notes = _typed_columns(table, request.written)
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


def _typed_columns(
    table: pa.Table, written: Collection[str]
) -> tuple[dict[str, pd.Series[Any]], tuple[str, ...]]:
    columns, notes = {}, []
    for name in table.column_names:
        typed = _as_written if name in written else _typed
        columns[name], note = typed(name, table.column(name))
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


def _as_written(name: str, text: pa.ChunkedArray) -> tuple[pd.Series[Any], str]:
    """One column of ids or categories, with a type only where that changes no text."""
    if text.null_count < len(text) and (whole := plainly_whole(text)) is not None:
        return pd.Series(whole.to_numpy()), ""
    distinct = pc.unique(text).drop_null()
    if not len(distinct) or _truths(distinct):
        return _typed(name, text)
    number = _number(distinct)
    if number is None:
        return text.to_pandas(), _text_note(name, text)
    reason = _loss(number, distinct)
    return text.to_pandas(), f"Column '{name}' is kept as text: {reason}." if reason else ""


def _truths(distinct: pa.Array) -> bool:
    """Whether texts are truth values, each written in one way only."""
    values = [_LOGICAL.get(text) for text in distinct.to_pylist()]
    return None not in values and len(set(values)) == len(values)


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
            number = pc.cast(text, kind)
        except pa.ArrowInvalid:
            continue
        return None if _words(number, text) else number
    bare = pc.utf8_trim_whitespace(text)
    bare = pc.if_else(pc.equal(bare, ""), pa.scalar(None, pa.string()), bare)
    return None if bare.equals(text) else _number(bare)


def _words(number: pa.ChunkedArray, text: pa.ChunkedArray) -> bool:
    """Whether some are words such as nan and Inf, which Arrow takes for numbers."""
    if pa.types.is_integer(number.type):
        return False
    odd = text.filter(pc.invert(pc.is_finite(number)))
    return bool(len(odd)) and not _matching(odd, _NUMBER).all()


def _loss(number: pa.ChunkedArray, text: pa.ChunkedArray) -> str:
    """Why the text says more than the number, or nothing."""
    values = number.to_numpy()
    with np.errstate(invalid="ignore"):  # infinite values
        whole = text.filter(pa.array(values % 1 == 0))
    if zeros := _first_match(whole, _ZEROS):
        return f"whole numbers such as '{zeros}' begin with zeros"
    long = _first_match(whole, _LONG) if (np.abs(values) > EXACT).any() else ""
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
    texts = [name for name in chosen.names if _is_text(schema.field(name).type)]
    # Texts come as codes of distinct ones first: a few long ones may stand for gigabytes.
    file = pyarrow.parquet.ParquetFile(request.path, read_dictionary=texts)
    stored = request.path.stat().st_size
    limits.TABLES.require(8 * file.metadata.num_rows * len(chosen.names), stored)
    limits.TABLES.require(_expanded(file.metadata, chosen.names), stored)
    table = file.read(columns=chosen.names)
    for name in texts:
        dense = _written_out(table.column(name), stored)
        table = table.set_column(table.schema.get_field_index(name), name, dense)
    return _from_arrow(table, chosen, request)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _expanded(metadata: Any, names: Sequence[str]) -> int:
    """The bytes of the pages of columns, as the file says."""
    wanted = set(names)
    groups = (metadata.row_group(i) for i in range(metadata.num_row_groups))
    chunks = (group.column(i) for group in groups for i in range(group.num_columns))
    return sum(c.total_uncompressed_size for c in chunks if c.path_in_schema in wanted)


def _written_out(column: pa.ChunkedArray, stored: int) -> pa.ChunkedArray:
    """Texts in place of codes of texts, where they are not too much."""
    if not pa.types.is_dictionary(column.type):
        return column
    size = 0
    for chunk in column.chunks:
        lengths = pc.binary_length(chunk.dictionary)
        size += pc.sum(pc.cast(lengths.take(chunk.indices), pa.int64())).as_py() or 0
    limits.TABLES.require(size, stored)
    return pc.cast(column, pa.large_string())


def _read_feather(request: Request) -> Content:
    stored = request.path.stat().st_size
    with pa.OSFile(str(request.path)) as file:
        header = pa.ipc.open_file(file).schema.names
        chosen = _select(_without_index(header), request)
        places = [header.index(name) for name in chosen.names]
        options = pa.ipc.IpcReadOptions(included_fields=places)
        reader, batches, size = pa.ipc.open_file(file, options=options), [], 0
        for i in range(reader.num_record_batches):
            batch = reader.get_batch(i)
            batch.validate(full=True)
            size += max(batch.nbytes, 8 * batch.num_rows * len(places))
            limits.TABLES.require(size, stored)
            batches.append(batch)
    return _from_arrow(pa.Table.from_batches(batches, reader.schema), chosen, request)


def _without_index(names: Iterable[str]) -> list[str]:
    """Without the nameless row index that pandas stores as a column."""
    return [name for name in names if not re.fullmatch(r"__index_level_\d+__", name)]


def _from_arrow(table: pa.Table, chosen: _Columns, request: Request) -> Content:
    columns = {
        name: _plain(_arrow_column(name, table.column(name), name in request.written))
        for name in chosen.names
    }
    frame = pd.DataFrame(columns, index=pd.RangeIndex(table.num_rows), copy=False)
    return Content(frame, chosen.width, chosen.notes)


def _arrow_column(name: str, column: pa.ChunkedArray, written: bool) -> pd.Series[Any]:
    kind = column.type
    if pa.types.is_dictionary(kind):
        if _proper_categories(column):
            return _in_pandas(column)
        return _arrow_column(name, pc.cast(column, kind.value_type), written)
    if pa.types.is_run_end_encoded(kind):
        return _arrow_column(name, pc.run_end_decode(column), written)
    if not any(holds(kind) for holds in _ARROW_VALUES):
        raise Refused(
            f"{{file}}: the column '{name}' is of the type {kind}, not one number, text or time a "
            "row",
            "write it as a number or a text before it is saved",
        )
    if written and _must_be_text(column):
        return _in_pandas(as_texts(column))
    if pa.types.is_decimal(kind) or pa.types.is_floating(kind):
        column = pc.cast(column, pa.float64())
    return _in_pandas(column)


def _in_pandas(column: pa.ChunkedArray) -> pd.Series[Any]:
    values: pd.Series[Any] = column.to_pandas()
    return values


_ARROW_VALUES: tuple[Callable[[Any], bool], ...] = (
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_decimal,
    pa.types.is_boolean,
    pa.types.is_null,
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_date,
    pa.types.is_time,
    pa.types.is_timestamp,
    pa.types.is_duration,
)


def _proper_categories(column: pa.ChunkedArray) -> bool:
    """Whether categories are texts, whole numbers or truth values, each once and none missing."""
    kind = column.type.value_type
    if not (_is_text(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        return False
    dictionaries = (chunk.dictionary for chunk in column.chunks)
    return all(not d.null_count and len(pc.unique(d)) == len(d) for d in dictionaries)


def _must_be_text(column: pa.ChunkedArray) -> bool:
    """Whether pandas would make one value of two that are different."""
    kind = column.type
    if pa.types.is_integer(kind) and column.null_count:
        return beyond_exact(column)
    return bool(pa.types.is_decimal(kind) or pa.types.is_time(kind))


# ---------------------------------------------------------------- Excel

_EXCEL = "an Excel workbook"


def _read_xlsx(request: Request) -> Content:
    import openpyxl  # type: ignore[import-untyped]

    from mlmreport.data import workbook

    limits.require_modest_archive(request.path)
    chosen: list[_Columns] = []

    def choose(header: list[str]) -> list[str]:
        chosen.append(_select(header, request))
        return chosen[0].names

    book = openpyxl.load_workbook(request.path, read_only=True, data_only=True)
    try:
        sheet, notes = _sheet(book, request)
        cells = workbook.read_sheet(sheet, choose)
    finally:
        book.close()
    if cells is None:
        raise request.error(f"{_name(request)} holds no values")
    columns = {}
    for name, values in cells.columns.items():
        columns[name], told = _cells(name, values, cells.faults[name], name in request.written)
        notes += told
    frame = pd.DataFrame(columns, index=pd.RangeIndex(cells.rows))
    return Content(frame, chosen[0].width, (*chosen[0].notes, *notes, *cells.notes))


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


def _cells(
    name: str, cells: list[Any], faults: int, written: bool
) -> tuple[pd.Series[Any], list[str]]:
    """One column of a sheet with its type, and notes where there is something to say."""
    values = [None if isinstance(cell, str) and cell in MISSING else cell for cell in cells]
    column, note = _of_cells(name, values, written)
    fault = f"Column '{name}': cells with an error such as #N/A, taken as missing: {faults:,}."
    return column, [note] * bool(note) + [fault] * bool(faults)


def _of_cells(name: str, values: list[Any], written: bool) -> tuple[pd.Series[Any], str]:
    kinds = {type(value) for value in values if value is not None}
    if not kinds:
        return pd.Series(np.full(len(values), np.nan)), f"Column '{name}' has no values."
    if kinds == {bool}:
        return _plain_nullable(pd.Series(values, dtype="boolean")), ""
    if kinds <= {int, float} and not (written and _inexact(values)):
        whole = kinds == {int} and None not in values and not _inexact(values)
        return pd.Series(values, dtype="int64" if whole else "float64"), ""
    if not kinds & {str, int, float, bool}:
        return pd.Series(values), ""
    text = pa.chunked_array([pa.array([_as_text(value) for value in values], pa.string())])
    mixed = f"Column '{name}' mixes numbers and other values; it is read as text."
    note = _text_note(name, text) or mixed * (len(kinds) > 1 and str in kinds)
    return text.to_pandas(), note


def _inexact(values: list[Any]) -> bool:
    """Whether there are whole numbers that a double does not tell apart."""
    return any(isinstance(value, int) and abs(value) > EXACT for value in values)


def _as_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).upper()  # as a workbook shows it
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
    exact = bool(((column % 1 == 0) & (column.abs() <= EXACT)).all())
    return column.astype("int64") if exact else column


# ---------------------------------------------------------------- R


def _read_rds(request: Request) -> Content:
    from mlmreport.data import rds

    found = rds.parse(limits.expanded(request.path))
    chosen = _select(found.names, request)
    columns, notes = {}, list(chosen.notes)
    for name in chosen.names:
        values, told = found.column(name)
        columns[name] = _plain(_exact(values, name in request.written))
        notes += told
    code = f"read_rds({_r_file(request.shown)})"
    return Content(pd.DataFrame(columns), chosen.width, tuple(notes), r_code=code)


def _exact(column: pd.Series[Any], written: bool) -> pd.Series[Any]:
    """Whole numbers beyond 2**53 of which some are missing, as text where they are ids."""
    if column.dtype != "Int64" or not written or bool((column.abs() <= EXACT).all()):
        return column
    return column.astype("str").where(column.notna(), None).astype("str")


def _read_package(request: Request) -> Content:
    package, dataset = request.source.package or "", request.source.dataset or ""
    _require_r_names(package, dataset, request)
    if request.r_dataset is None:
        raise EnvironmentFault(f"R is needed to read {dataset} of the R package {package}")
    frame = request.r_dataset(package, dataset)
    chosen = _select([str(name) for name in frame.columns], request)
    frame = frame.set_axis([str(name) for name in frame.columns], axis=1)
    _require_values(frame[chosen.names])
    frame = _plain_frame(frame, chosen.names)
    code = f"read_package({r_string(package)}, {r_string(dataset)})"
    return Content(frame, chosen.width, chosen.notes, r_code=code)


def _require_values(frame: pd.DataFrame) -> None:
    """Refuse columns of R that hold no single values, which come as empty tuples."""
    for name, column in frame.items():
        if column.dtype == "object" and len(column) and isinstance(column.iloc[0], tuple):
            raise Refused(
                f"{{file}}: the column '{name}' is a list, a matrix or of complex numbers, not one "
                "value a row",
                "in R: make a number or a text of each element, and save the data frame",
            )


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
