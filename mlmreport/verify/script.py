"""`reproduce.R`: an analysis written out for R alone, with the definitions and data that it reads.

The script follows the report: the models, then the eight steps, and in each the quantities in the
order of its tables, which it prints as the report shows them. An object stands where it is first
needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlmreport import display
from mlmreport.quantities import (
    Cell,
    Missing,
    Part,
    Quantity,
    Results,
    Row,
    Table,
    TraceEntry,
    fingerprint,
)
from mlmreport.spec.quoting import GUARD_IN_R, guarded, r_object, r_string

__all__ = [
    "DATA_FILE",
    "DEFINITIONS_FILE",
    "SCRIPT_FILE",
    "STEP_TITLES",
    "definitions_r",
    "digest",
    "one_line",
    "read_data",
    "reproduce_r",
    "rule",
    "statement",
    "write_data",
]

DATA_FILE = "data.csv"
DEFINITIONS_FILE = "definitions.R"
SCRIPT_FILE = "reproduce.R"

STEP_TITLES: Mapping[str, str] = {
    "structure": "Step 1: Structure",
    "questions": "Step 2: Research questions and equations",
    "assumptions": "Step 3: Assumptions",
    "icc": "Step 4: Intraclass correlation",
    "models": "Step 5: Models",
    "fit": "Step 6: Fit",
    "interpretation": "Step 7: Interpretation",
    "inference": "Step 8: Inference",
}
"""The headings of the report's sections."""

_FOLDER = Path(__file__).parent
_WIDTH = 100
_SHORT = 16  # characters; a longer number gets no harder to read by one digit more
_OF_THE_MACHINE = frozenset({"R", "platform", "BLAS", "RNG"})
"""Entries of ``session["r"]`` that are no package."""


# --- the script -------------------------------------------------------------------------------


def definitions_r(definitions: str) -> str:
    """The text of ``definitions.R``: how values are kept and printed, and what statistics are.

    Parameters
    ----------
    definitions
        The R code of the statistics that no single call gives.
    """
    parts = [
        f"# What {SCRIPT_FILE} calls beside R's own packages; it reads this file at its beginning.",
        f"{rule('Definitions of statistics')}\n\n{definitions.strip()}",
        f"{rule('Keeping and printing values')}\n\n{_text('reporting.R')}",
        f"{rule('Preparing data')}\n\n{_text('preparation.R')}",
    ]
    return "\n\n".join(parts) + "\n"


def _text(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8").strip()


def reproduce_r(results: Results, data_file: str, definitions: str) -> str:
    """The text of ``reproduce.R``.

    It runs under ``Rscript --vanilla`` in the folder that holds the data and ``definitions.R``,
    without Python, prints the tables of the report and every other value by step, and writes all
    values at full precision to a file that its argument names.

    Parameters
    ----------
    results
        The analysis; ``session`` holds the columns of the data and the levels of the factors.
    data_file
        The prepared data as the script names it, relative to its own folder.
    definitions
        The text of ``definitions.R``.
    """
    parts = [
        _header(results),
        _packages(results, definitions),
        f"{rule('Data')}\n\n{_data(results, data_file)}",
        *_Layout(results).parts(),
        "finish(commandArgs(trailingOnly = TRUE))",
    ]
    return "\n\n".join(parts) + "\n"


def statement(entry: TraceEntry) -> str:
    """A call of the trace as it stands in the script."""
    if entry.kind == "object":
        return f"{r_object(entry.name)} <- {entry.code}"
    function = "report" if entry.kind == "quantity" else "report_series"
    line = f"{function}({r_string(entry.name)}, {entry.code})"
    if len(line) <= _WIDTH:
        return line
    return f"{function}(\n  {r_string(entry.name)},\n  {entry.code}\n)"


def rule(title: str) -> str:
    """A heading as a comment."""
    return f"# {title} ".ljust(_WIDTH, "-")


def one_line(text: object) -> str:
    """A text without line breaks, so that a comment holds all of it."""
    return " ".join(str(text).split())


def _header(results: Results) -> str:
    session = results.session
    versions: Mapping[str, str] = session.get("r", {})
    packages = [f"{name} {v}" for name, v in versions.items() if name not in _OF_THE_MACHINE]
    made_with = _wrapped([f"R {versions.get('R', '?')}", *packages], "#   ")
    return "\n".join(
        [
            f"# {one_line(results.spec.get('title', 'Multilevel analysis'))}",
            "#",
            "# Every number of the report, computed again by R alone. Written by mlmreport "
            f"{session.get('mlmreport', '')}.",
            "# The report was made with",
            made_with,
            "#",
            "# To run it, in the folder of this file:",
            f"#   Rscript --vanilla {SCRIPT_FILE}             prints every table and value",
            f"#   Rscript --vanilla {SCRIPT_FILE} values.csv  also writes all values in full",
        ]
    )


def _wrapped(items: Sequence[str], indent: str) -> str:
    """Items with commas between them, on lines that are not too long."""
    lines = [indent]
    for number, item in enumerate(items):
        piece = item + ("," if number < len(items) - 1 else "")
        if len(lines[-1]) + len(piece) >= _WIDTH and lines[-1] != indent:
            lines.append(indent)
        lines[-1] += piece if lines[-1] == indent else " " + piece
    return "\n".join(lines)


def _packages(results: Results, definitions: str) -> str:
    code = "\n".join([definitions, *(entry.code for entry in results.trace)])
    named = sorted({"lme4", *_named_packages(code)})
    return "\n".join(
        [
            "# Names outside ASCII need a UTF-8 locale.",
            'if (!l10n_info()[["UTF-8"]]) invisible(Sys.setlocale("LC_CTYPE", "C.UTF-8"))',
            f"packages <- c({', '.join(map(r_string, named))})",
            "absent <- packages[!nzchar(vapply(packages, function(p) system.file(package = p), "
            '""))]',
            "if (length(absent)) {",
            '  message("These R packages are needed: ", paste(absent, collapse = ", "))',
            '  if (!interactive()) quit(save = "no", status = 3L)',
            "}",
            "suppressPackageStartupMessages(library(lme4))",
            f'source({r_string(DEFINITIONS_FILE)}, encoding = "UTF-8")',
            *_generator(results.session.get("r", {}).get("RNG", "")),
        ]
    )


def _generator(kinds: str) -> Iterator[str]:
    """The random number generator that the analysis drew with."""
    if kinds:
        yield f"RNGkind({', '.join(r_string(kind.strip()) for kind in kinds.split(','))})"


def _named_packages(code: str) -> set[str]:
    without_strings = re.sub(r'"(?:[^"\\]|\\.)*"', '""', code)
    without_comments = re.sub(r"#.*", "", without_strings)
    return set(re.findall(r"([A-Za-z][A-Za-z0-9.]*):::?(?=[A-Za-z.`])", without_comments))


def _data(results: Results, data_file: str) -> str:
    factors: Mapping[str, Sequence[str]] = results.session["factors"]
    codings: Mapping[str, Mapping[str, Any]] = results.session.get("contrasts", {})
    return "\n".join(
        [
            "# The prepared data of the analysis: a row per unit of the lowest level.",
            read_data(results, "d", data_file),
            *(_factor(name, levels) for name, levels in factors.items()),
            *(_contrasts(name, made) for name, made in codings.items()),
        ]
    )


def read_data(results: Results, name: str, data_file: str) -> str:
    """The R code that reads the prepared data into an object, categories as text."""
    factors: Mapping[str, Sequence[str]] = results.session["factors"]
    columns: Sequence[str] = results.session["columns"]
    classes = [
        f"{r_string(guarded(column))} = {r_string('character' if column in factors else 'numeric')}"
        for column in columns
    ]
    texts = {*columns, *chain(*factors.values())}
    return "\n".join(
        [
            f"{r_object(name)} <- read.csv(",
            f'  {r_string(data_file)}, check.names = FALSE, encoding = "UTF-8",',
            f"  na.strings = {r_string(_gap(factors.values()))}, colClasses = c(",
            _wrapped(classes, "    "),
            "  )",
            ")",
            *(_unguarding(r_object(name)) if any(guarded(text) != text for text in texts) else ()),
        ]
    )


def _unguarding(name: str) -> tuple[str, ...]:
    pattern = r_string(GUARD_IN_R)
    return (
        "# An apostrophe keeps a spreadsheet from running a text; here it is taken away.",
        f'names({name}) <- sub({pattern}, "", names({name}))',
        f"{name}[] <- lapply({name}, function(x) {{",
        f'  if (is.character(x)) sub({pattern}, "", x) else x',
        "})",
    )


def _factor(name: str, levels: Sequence[str]) -> str:
    column = f"d[[{r_string(name)}]]"
    listed = _wrapped([r_string(level) for level in levels], "  ")
    return f"{column} <- factor({column}, levels = c(\n{listed}\n))"


def _contrasts(name: str, made: Mapping[str, Any]) -> str:
    column, rows = f"d[[{r_string(name)}]]", made["values"]
    listed = _wrapped([repr(value) for row in rows for value in row], "    ")
    names = _wrapped([r_string(each) for each in made["names"]], "    ")
    return "\n".join(
        [
            f"contrasts({column}, how.many = {len(made['names'])}) <- matrix(",
            f"  c(\n{listed}\n  ),",
            f"  nrow = {len(rows)}, byrow = TRUE,",
            f"  dimnames = list(levels({column}), c(\n{names}\n  ))",
            ")",
        ]
    )


def _gap(factors: Iterable[Iterable[str]]) -> str:
    """What stands for a missing value: a text that is no level."""
    taken = {level.strip() for levels in factors for level in levels}
    mark = "NA"
    while mark in taken:
        mark = f"<{mark}>"
    return mark


# --- the order of the report ------------------------------------------------------------------

_WORD = re.compile(r"[A-Za-z.][\w.]*")


class _Layout:
    """The calls of the trace in the order of the report, each object before its first use."""

    def __init__(self, results: Results) -> None:
        self.results = results
        self.trace = [e for e in results.trace if e.kind in {"object", "quantity", "series"}]
        self.place = {e.name: i for i, e in enumerate(self.trace) if e.kind != "object"}
        self.made: dict[str, list[int]] = {}
        for i, entry in enumerate(self.trace):
            if entry.kind == "object":
                self.made.setdefault(entry.name, []).append(i)
        self.written: set[int] = set()

    def parts(self) -> Iterator[str]:
        """The models, then the steps."""
        models = [line for i in self._models() for line in self._lines(i)]
        if models:
            yield "\n".join([rule("The models"), "", *models])
        for step, title in STEP_TITLES.items():
            lines = list(self._step(step))
            if lines:
                yield "\n".join([rule(title), "", f"section({r_string(title)})", *lines])

    def _models(self) -> Iterator[int]:
        """All up to the last object that is made anew, and every model of the sequence."""
        again = max((at[-1] for at in self.made.values() if len(at) > 1), default=-1)
        yield from range(again + 1)
        for name, at in self.made.items():
            if name.startswith("m_") and self.trace[at[0]].step == "models":
                yield at[-1]

    def _lines(self, at: int) -> Iterator[str]:
        """A call, after the objects that it needs and that are not yet there."""
        if at in self.written:
            return
        self.written.add(at)
        for name in dict.fromkeys(_WORD.findall(self.trace[at].code)):
            before = [i for i in self.made.get(name, ()) if i < at]
            if before:
                yield from self._lines(before[-1])
        yield statement(self.trace[at])

    def _step(self, step: str) -> Iterator[str]:
        for table in _tables(self.results.steps.get(step, {})):
            needed = (self.place[item.id] for item in _quantities(table) if item.id in self.place)
            yield f"\n## {one_line(table.caption)}"
            for at in needed:
                yield from self._lines(at)
            yield _table(table, self.place)
        rest = [line for i, e in enumerate(self.trace) if e.step == step for line in self._lines(i)]
        if rest:
            yield "\n## In the text and the figures"
            yield from rest
            yield "show_values()"


def _tables(node: Any) -> Iterator[Table]:
    """The tables in a tree, each once."""
    found: dict[str, Table] = {}
    waiting = [node]
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, Table):
            found.setdefault(node.id, node)
        elif isinstance(node, Mapping):
            waiting = [*node.values(), *waiting]
        elif isinstance(node, list | tuple):
            waiting = [*node, *waiting]
    yield from found.values()


def _quantities(table: Table) -> Iterator[Quantity]:
    for row in table.rows:
        for cell in row.cells:
            for part in cell if isinstance(cell, tuple) else (cell,):
                if isinstance(part, Quantity):
                    yield part


def _table(table: Table, derived: Mapping[str, int]) -> str:
    """The call that prints a table as the report shows it."""
    rows = [_row(row, derived) for row in table.rows]
    columns = f"  c({', '.join(map(r_string, table.columns))})"
    return f"show_table(\n  {r_string(table.caption)},\n" + ",\n".join([columns, *rows]) + "\n)"


def _row(row: Row, derived: Mapping[str, int]) -> str:
    cells = [r_string(row.head), *(_cell(cell, derived) for cell in row.cells)]
    line = f"  c({', '.join(cells)})"
    return line if len(line) <= _WIDTH else "  c(\n    " + ",\n    ".join(cells) + "\n  )"


def _cell(cell: Cell, derived: Mapping[str, int]) -> str:
    parts = [_part(part, derived) for part in (cell if isinstance(cell, tuple) else (cell,))]
    return parts[0] if len(parts) == 1 else f"paste0({', '.join(parts)})"


def _part(part: Part, derived: Mapping[str, int]) -> str:
    if isinstance(part, Missing):
        return r_string(f"not available: {part.reason}")
    if isinstance(part, str):
        return r_string(display.without_code(part))
    if part.id not in derived:  # a count of the preparation, or a setting
        return r_string(display.text(part))
    decimals = display.decimals_of(part)
    return f"shown({r_string(part.id)}, {r_string(part.kind)}, {decimals})"


# --- the data ---------------------------------------------------------------------------------


def write_data(frame: pd.DataFrame, path: Path) -> None:
    """Write the prepared data so that R reads the same values back, and a spreadsheet runs none.

    Doubles come back to the last bit where R computes with 80-bit long doubles, as on x86, and
    within one unit of it elsewhere.

    Parameters
    ----------
    frame
        Numeric and categorical columns, n rows.
    path
        The file, replaced where it exists.
    """
    texts = {
        name: column.cat.rename_categories([str(level) for level in column.cat.categories])
        for name, column in frame.items()
        if isinstance(column.dtype, pd.CategoricalDtype)
    }
    gap = _gap(column.cat.categories for column in texts.values())
    cells = {
        str(name): column.cat.rename_categories(list(map(guarded, column.cat.categories)))
        for name, column in texts.items()
    }
    frame.assign(**cells).rename(columns=lambda name: guarded(str(name))).to_csv(
        path, index=False, na_rep=gap, float_format=_digits, encoding="utf-8", lineterminator="\n"
    )


def _digits(value: Any) -> str:
    """The fewest digits that R reads back as this double.

    R rounds twice, to a long double and then to a double, so the fewest digits that identify a
    double are not always enough; 17 digits are.
    """
    fewest = repr(float(value))
    if len(fewest) <= _SHORT and float(np.longdouble(fewest)) == value:
        return fewest
    return f"{value:.17g}"


def digest(path: Path) -> str:
    """The SHA-256 of a file, as hexadecimal digits."""
    return fingerprint(path.read_bytes())
