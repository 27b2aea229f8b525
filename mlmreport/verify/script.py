"""`reproduce.R`: an analysis written out for R alone, and the data that it reads."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlmreport.quantities import Results, TraceEntry, fingerprint

__all__ = ["DATA_FILE", "SCRIPT_FILE", "STEP_TITLES", "digest", "reproduce_r", "write_data"]

DATA_FILE = "data.csv"
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

_REPORTING = Path(__file__).with_name("reporting.R")
_WIDTH = 100
_SYNTACTIC = re.compile(r"(?:[A-Za-z]|\.(?![0-9]))[A-Za-z0-9._]*\Z")
_ESCAPES = {"\\": r"\\", '"': r"\"", "\n": r"\n", "\r": r"\r", "\t": r"\t"}
_SHORT = 16  # characters; a longer number gets no harder to read by one digit more
_OF_THE_MACHINE = frozenset({"R", "platform", "BLAS", "RNG"})
"""Entries of ``session["r"]`` that are no package."""


# --- the script -------------------------------------------------------------------------------


def reproduce_r(results: Results, data_file: str, definitions: str) -> str:
    """The text of ``reproduce.R``.

    It runs under ``Rscript --vanilla`` in the folder that holds the data, without Python, prints
    every value by step, and writes all at full precision to a file that its argument names.

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
        f"{_rule('Reporting')}\n\n{_reporting()}",
        f"{_rule('Definitions of statistics')}\n\n{definitions.strip()}",
        f"{_rule('Data')}\n\n{_data(results, data_file)}",
        *_steps(results),
        f"{_rule('All values')}\n\nfinish(commandArgs(trailingOnly = TRUE))",
    ]
    return "\n\n".join(parts) + "\n"


def statement(entry: TraceEntry) -> str:
    """A call of the trace as it stands in the script."""
    if entry.kind == "object":
        return f"{_name(entry.name)} <- {entry.code}"
    function = "report" if entry.kind == "quantity" else "report_series"
    line = f"{function}({r_string(entry.name)}, {entry.code})"
    if len(line) <= _WIDTH:
        return line
    return f"{function}(\n  {r_string(entry.name)},\n  {entry.code}\n)"


def r_string(text: str) -> str:
    """A text as an R string."""
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    return character if character.isprintable() else f"\\U{{{ord(character):x}}}"


def _name(name: str) -> str:
    if _SYNTACTIC.match(name):
        return name
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def _rule(title: str) -> str:
    return f"# {title} ".ljust(_WIDTH, "-")


def _one_line(text: object) -> str:
    return " ".join(str(text).split())


def _header(results: Results) -> str:
    session = results.session
    versions: Mapping[str, str] = session.get("r", {})
    packages = [f"{name} {v}" for name, v in versions.items() if name not in _OF_THE_MACHINE]
    made_with = _wrapped([f"R {versions.get('R', '?')}", *packages], "#   ")
    return "\n".join(
        [
            f"# {_one_line(results.spec.get('title', 'Multilevel analysis'))}",
            "#",
            "# Every number of the report, computed again by R alone. Written by mlmreport "
            f"{session.get('mlmreport', '')}.",
            "# The report was made with",
            made_with,
            "#",
            "# To run it, in the folder of this file:",
            f"#   Rscript --vanilla {SCRIPT_FILE}             prints every value, by step",
            f"#   Rscript --vanilla {SCRIPT_FILE} values.csv  also writes them at full precision",
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


def _reporting() -> str:
    return _REPORTING.read_text(encoding="utf-8").strip()


def _data(results: Results, data_file: str) -> str:
    factors: Mapping[str, Sequence[str]] = results.session["factors"]
    classes = [
        f"{r_string(column)} = {r_string('character' if column in factors else 'numeric')}"
        for column in results.session["columns"]
    ]
    return "\n".join(
        [
            "# The prepared data of the analysis: a row per unit of the lowest level.",
            "d <- read.csv(",
            f'  {r_string(data_file)}, check.names = FALSE, encoding = "UTF-8",',
            f"  na.strings = {r_string(_gap(factors.values()))}, colClasses = c(",
            _wrapped(classes, "    "),
            "  )",
            ")",
            *(_factor(name, levels) for name, levels in factors.items()),
        ]
    )


def _factor(name: str, levels: Sequence[str]) -> str:
    column = f"d[[{r_string(name)}]]"
    listed = _wrapped([r_string(level) for level in levels], "  ")
    return f"{column} <- factor({column}, levels = c(\n{listed}\n))"


def _gap(factors: Iterable[Iterable[str]]) -> str:
    """What stands for a missing value: a text that is no level."""
    taken = {level.strip() for levels in factors for level in levels}
    mark = "NA"
    while mark in taken:
        mark = f"<{mark}>"
    return mark


def _steps(results: Results) -> Iterator[str]:
    kept = [entry for entry in results.trace if entry.kind in {"object", "quantity", "series"}]
    for step, entries in groupby(kept, key=lambda entry: entry.step):
        title = STEP_TITLES.get(step, step)
        yield "\n".join([_rule(title), "", f"section({r_string(title)})", *map(statement, entries)])


# --- the data ---------------------------------------------------------------------------------


def write_data(frame: pd.DataFrame, path: Path) -> None:
    """Write the prepared data so that R reads the same values back.

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
    frame.assign(**{str(name): column for name, column in texts.items()}).to_csv(
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
