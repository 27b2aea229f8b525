"""Numbers from a paper or another program, read from a table with a line and a column for each.

The table is csv with a head. ``term`` is required; a row of a fixed effect has ``estimate`` and may
have ``se``, ``t`` (or ``z``), ``df``, ``p``, ``lower`` and ``upper``. Other rows have their number
under ``estimate`` and a term such as ``var(school)``, ``sd(school: ses)``, ``cor(school:
(Intercept), ses)``, ``var(residual)``, ``deviance``, ``aic``, ``bic``, ``icc`` or ``n``.
``model`` names the model of a row. Further columns are kept out and named.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from mlmreport.errors import InputError, Location, Problem, did_you_mean

__all__ = ["COLUMNS", "Claim", "Printed", "half_a_unit", "read", "read_text"]

COLUMNS = ("estimate", "se", "t", "df", "p", "lower", "upper")
"""What a row may say of its term."""
ALIASES = {"z": "t", "coef": "estimate", "coefficient": "estimate", "std. error": "se",
           "std.error": "se", "pvalue": "p", "p-value": "p"}  # fmt: skip
MOST = 5_000_000
_NUMBER = re.compile(r"[+-]?(\d{1,3}(,\d{3})+\.\d*|\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\Z")
_COMMA = re.compile(r"[+-]?\d*,\d+\Z")
_BELOW = re.compile(r"<\s*")


@dataclass(frozen=True, slots=True)
class Claim:
    """One printed number.

    Parameters
    ----------
    term
        The term as its source writes it.
    what
        One of `COLUMNS`.
    text
        The number as printed.
    location
        Where it stands.
    term_at
        Where its term stands.
    model
        The model that its source names; empty for none.
    """

    term: str
    what: str
    text: str
    location: Location
    term_at: Location
    model: str = ""

    @property
    def below(self) -> bool:
        """Whether it is a bound, such as a p-value "<.001"."""
        return self.text.startswith("<")

    @property
    def value(self) -> float:
        """The number."""
        return float(self.number)

    @property
    def number(self) -> Decimal:
        """The number with its printed digits."""
        return Decimal(_BELOW.sub("", self.text).replace(",", ""))


@dataclass(frozen=True, slots=True)
class Printed:
    """All numbers of a source, with what it says of the model.

    Parameters
    ----------
    claims
        The numbers.
    program
        What printed them: ``"csv"``, ``"Stata mixed"``, ``"SPSS MIXED"``.
    notes
        What was left out, and why.
    """

    claims: tuple[Claim, ...]
    program: str
    notes: tuple[str, ...] = ()


def half_a_unit(number: Decimal) -> float:
    """Half a unit of the last digit that is printed."""
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)
    return 0.5 * 10.0**exponent


def read_text(path: Path) -> str:
    """The text of a results file.

    Raises
    ------
    InputError
        When it cannot be read as UTF-8 text.
    """
    try:
        if path.stat().st_size > MOST:
            raise InputError.of(f"{path}: larger than a table of results can be ({MOST:,} bytes)")
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"{path}: not UTF-8 text (byte {error.start})"
        raise InputError.of(message, "save the file as UTF-8") from None
    except OSError as error:
        raise InputError.of(f"{path}: cannot be read: {error.strerror}") from None


def read(path: Path, text: str) -> Printed:
    """Read a csv table.

    Raises
    ------
    InputError
        With every fault, located.
    """
    lines = text.splitlines()
    head = _head(path, lines)
    problems: list[Problem] = []
    claims: list[Claim] = []
    seen: dict[tuple[str, str], int] = {}
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        cells = _cells(line)
        if len(cells) != len(head):
            message = f"{len(cells)} cells, the head has {len(head)}"
            hint = "a number with a decimal comma is two cells; write a point"
            problems.append(Problem(message, hint, Location(str(path), number, 1, 1, line)))
            continue
        row = dict(zip(head, _located(path, number, line, cells), strict=True))
        problems += _row(row, claims, seen, number)
    if not claims and not problems:
        problems.append(Problem(f"{path}: the table has no rows"))
    if problems:
        raise InputError(tuple(problems))
    further = [name for name in head if name not in {"term", "model", *COLUMNS}]
    notes = (f"not compared: {', '.join(further)}",) if further else ()
    return Printed(tuple(claims), "csv", notes)


Cell = tuple[str, Location]


def _head(path: Path, lines: Sequence[str]) -> list[str]:
    if not lines:
        raise InputError.of(f"{path}: the file is empty")
    written = [cell.strip().lower() for cell in _cells(lines[0])]
    head = [ALIASES.get(name, name) for name in written]
    where = Location(str(path), 1, 1, len(lines[0]), lines[0])
    problems = [
        Problem(f"there is no column '{name}'", did_you_mean(name, head), where)
        for name in ("term", "estimate")
        if name not in head
    ]
    if problems and ";" in lines[0]:
        problems = [
            Problem("the cells are separated by semicolons", "separate them by commas", where)
        ]
    twice = [name for name in dict.fromkeys(head) if head.count(name) > 1]
    problems += [Problem(f"the column '{name}' stands twice", "", where) for name in twice]
    if problems:
        raise InputError(tuple(problems))
    return head


def _cells(line: str) -> list[str]:
    return next(iter(csv.reader([line])), [])


def _located(path: Path, number: int, line: str, cells: Sequence[str]) -> Iterator[Cell]:
    start = 0
    for cell in cells:
        at = max(line.find(cell, start), start)
        text = cell.strip()
        shift = len(cell) - len(cell.lstrip())
        yield text, Location(str(path), number, at + shift + 1, max(1, len(text)), line)
        start = at + len(cell)


def _row(
    row: dict[str, Cell], claims: list[Claim], seen: dict[tuple[str, str], int], line: int
) -> Iterator[Problem]:
    term, where = row["term"]
    model = row.get("model", ("", where))[0]
    if not term:
        yield Problem("the row names no term", "", where)
        return
    if (model, term) in seen:
        yield Problem(f"'{term}' stands in line {seen[model, term]} already", "", where)
        return
    seen[model, term] = line
    filled = False
    for what in COLUMNS:
        text, place = row.get(what, ("", where))
        if text in {"", ".", "NA", "-"}:
            continue
        filled = True
        fault = _number_fault(text)
        if fault:
            yield Problem(*fault, place)
            continue
        number = text.replace("\N{MINUS SIGN}", "-")
        claims.append(Claim(term, what, number, place, where, model))
    if not filled:
        yield Problem(f"the row of '{term}' has no number", "leave the row out", where)


def _number_fault(text: str) -> tuple[str, str] | None:
    """Why a text is no number, and what to do."""
    plain = _BELOW.sub("", text).replace("\N{MINUS SIGN}", "-")
    if _NUMBER.match(plain):
        return None
    if _COMMA.match(plain):
        return (
            f"'{text}' has a comma and no point",
            "write decimals with a point, thousands plainly",
        )
    starred = re.match(r"[+-]?[\d.,]+(?=\s*[*†(]|[a-z]\Z)", plain)
    if starred:
        return f"'{text}' is a number and something else", f"leave only {starred[0]}"
    return f"'{text}' is no number", "leave the cell empty where nothing is printed"
