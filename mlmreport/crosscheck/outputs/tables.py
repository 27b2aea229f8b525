"""Tables in text: headers give the columns, and each row is a label and the numbers behind it.

A table's cells are apart by tabs, bars, semicolons, commas or blanks; which, its header shows.
Where a row has as many numbers as the header has columns they are taken in order, else by the
cell or by the place below the header. A row whose numbers cannot be told apart is not guessed at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise

from mlmreport.crosscheck.outputs.numbers import is_missing, is_value
from mlmreport.crosscheck.outputs.text import Line

__all__ = [
    "BASE",
    "Cell",
    "Column",
    "Layout",
    "Row",
    "Vocabulary",
    "cells",
    "entries",
    "layout",
    "row",
]

LONGEST = 2000
"""Characters; a longer line is no row of a table."""
Vocabulary = Mapping[str, str]
"""What a column is, by a pattern of its heading."""

BASE: Vocabulary = {
    "ci": r"\[?\s*9\d(?:[.,]\d+)?\s*%[- ]*(?:conf(?:idence|\.)?|c\.?\s?i\.?|credible)"
    r"(?:\s*(?:interval|int\.?|limits))?\]?",
    "t": r"(?:wald\s+)?\b[tz](?:[- ]?(?:value|ratio|stat(?:istic)?\.?))|\bwald\s*z\b"
    r"|est\./s\.e\.|\b[tz]\b(?!-)",
    "p": r"pr\s*\(?>\s*\|?[tz]\|?\)?|p\s*>\s*\|[tz]\||p[- ]?val(?:ue)?s?\b|\bsig(?:\.|\b)"
    r"|\bpr\s*z\b|pr\s*>\s*z|\bp\b(?!\s*>)",
    "se": r"(?:robust|bootstrap|oim|delta-method)?\s*\bstd\.?\s*err(?:or|\.)?s?(?:\b|(?<=\.))"
    r"|\bstandard\s+errors?\b|\bs\.\s?e\.(?!\s*-)|\bse\b|\bs\.\s?error(?:\(u\))?|\bstd\.(?=\s|$)|\berrors?\b",
    "df": r"\bd\.?\s?f\.?(?=\W|$)|\bden\s*df\b",
    "lower": r"\blower(?:\s*(?:bound|limit|ci|cl|95%?))?|\b2\.5\s*%",
    "upper": r"\bupper(?:\s*(?:bound|limit|ci|cl|95%?))?|\b97\.5\s*%",
    "estimate": r"\bcoefficients?\b|\bcoef\b\.?|\bestimates?\b|\bestim\.|\bvalue\b",
}
"""Headings of most programs; a table may know others, which go before these."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a line, where it begins, and which it is of its line."""

    text: str
    start: int
    index: int


@dataclass(frozen=True, slots=True)
class Column:
    """A column: what it holds, and where its heading stands."""

    what: str
    start: int
    end: int
    index: int


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of a table.

    Parameters
    ----------
    columns
        Those with numbers, in order.
    heads
        Other headings before the first of them.
    apart
        What is between cells; a blank for any number of them.
    width
        The number of cells of the header.
    strange
        Whether there are headings among those of the columns that are not known.
    """

    columns: tuple[Column, ...]
    heads: tuple[Cell, ...]
    apart: str
    width: int
    strange: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A row: its label, the cells of the label, its numbers by column, or why there are none."""

    line: Line
    labels: tuple[Cell, ...]
    values: Mapping[str, Cell]
    fault: str = ""

    @property
    def label(self) -> str:
        """The label in one piece."""
        return " ".join(cell.text for cell in self.labels)


# --- cells ----------------------------------------------------------------------------------------

_TOKEN = re.compile(r"<\s*[\d.,]\S*|\S+")


def cells(line: Line, apart: str) -> tuple[Cell, ...]:
    """The cells of a line.

    Parameters
    ----------
    line
        The line.
    apart
        What is between them.
    """
    if len(line.text) > LONGEST:
        return ()
    if apart == " ":
        found = _TOKEN.finditer(line.text)
        return tuple(Cell(m[0], m.start(), k) for k, m in enumerate(found))
    text, first = line.text, 0
    if apart == "|":
        first = len(text) - len(text.lstrip(" |"))
        text = text.rstrip(" |")
    return tuple(_delimited(text, first, apart))


def _delimited(text: str, at: int, apart: str) -> Iterator[Cell]:
    index = 0
    while at <= len(text):
        end = _end_of_cell(text, at, apart)
        written = text[at:end]
        plain = written.strip()
        quoted = len(plain) > 1 and plain[0] == plain[-1] == '"'
        shift = len(written) - len(written.lstrip()) + quoted
        inner = plain[1:-1].replace('""', '"') if quoted else plain
        yield Cell(inner.strip(), at + shift, index)
        at, index = end + 1, index + 1


def _end_of_cell(text: str, at: int, apart: str) -> int:
    """Where the cell ends: a quoted one behind its closing quote."""
    begin = at
    while begin < len(text) and text[begin] == " ":
        begin += 1
    if apart != "|" and begin < len(text) and text[begin] == '"':
        closing = re.compile(r'(?:[^"]|"")*"').match(text, begin + 1)
        begin = closing.end() if closing else at
    else:
        begin = at
    end = text.find(apart, begin)
    return len(text) if end < 0 else end


# --- the header -----------------------------------------------------------------------------------


@cache
def _pattern(vocabulary: tuple[tuple[str, str], ...]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?P<{name}>{found})" for name, found in vocabulary), re.IGNORECASE)


def _found(line: Line, vocabulary: Vocabulary, after: int) -> list[Column]:
    if len(line.text) > LONGEST:
        return []
    known = {name: pattern for name, pattern in vocabulary.items() if name not in BASE}
    merged = {**known, **{name: vocabulary.get(name, own) for name, own in BASE.items()}}
    matches = _pattern(tuple(merged.items())).finditer(line.text, after)
    return [
        Column(str(m.lastgroup), m.end() - len(m[0].lstrip()), m.end(), -1)
        for m in matches
        if m[0].strip() and (m.start() == m.end() or m.lastgroup)
    ]


def _apart(line: Line, columns: Sequence[Column]) -> str:
    """What is between the columns of a header."""
    between = "".join(line.text[a.end : b.start] for a, b in pairwise(columns))
    return next((mark for mark in "\t|;" if mark in between), "," if "," in between else " ")


def layout(
    lines: Sequence[Line], vocabulary: Vocabulary | None = None, after: int = 0, least: int = 2
) -> tuple[Layout, int] | None:
    """The layout of a table, and how many lines its header has; None without one.

    Parameters
    ----------
    lines
        From where the header is expected, at most as many as it can have.
    vocabulary
        Headings that this table has beside the usual ones, or instead of them.
    after
        Where in a line headings can begin.
    least
        How many columns a header has at least.
    """
    words = vocabulary or {}
    for number, line in enumerate(lines):
        found = _found(line, words, after)
        main = {column.what for column in found} & {"estimate", "variance", "sd", "value"}
        if not main or len(found) < least:
            continue
        rest = lines[number + 1 : number + 3]
        below = next((k for k, other in enumerate(rest) if _limits(other, words)), None)
        columns = _with_limits(found, _limits(rest[below], words) if below is not None else [])
        apart = _apart(line, columns) if len(columns) > 1 else " "
        own = cells(line, apart)
        columns = [_indexed(column, own) for column in columns]
        first = min(column.start for column in columns)
        heads = tuple(cell for cell in own if cell.start < first and cell.text not in "|")
        used = number + 1 + (below + 1 if below is not None else 0)
        strange = _strange(line, found, first)
        return Layout(tuple(columns), heads, apart, len(own), strange), used
    return None


def _strange(line: Line, found: Sequence[Column], first: int) -> bool:
    """Whether something stands among the headings that is none of them."""
    text = line.text
    for column in found:
        text = text[: column.start] + " " * (column.end - column.start) + text[column.end :]
    words = re.findall(r"[^\W\d_]\w*", text[first:])
    return any(len(word) > 1 for word in words)


def _limits(line: Line, words: Vocabulary) -> list[Column]:
    """The limits that the second line of a header names, where it names nothing else."""
    found = _found(line, words, 0)
    whats = [column.what for column in found]
    return found if {"lower", "upper"} <= set(whats) and "estimate" not in whats else []


def _with_limits(found: Sequence[Column], below: Sequence[Column]) -> list[Column]:
    """An interval as its two limits; those of a second line where the first has none."""
    columns: list[Column] = []
    named = {column.what for column in found}
    for column in found:
        if column.what != "ci":
            columns.append(column)
        elif "lower" not in named:
            middle = (column.start + column.end) // 2
            columns.append(replace(column, what="lower", end=middle))
            columns.append(replace(column, what="upper", start=middle))
    if below and not {column.what for column in columns} & {"lower", "upper"}:
        columns += [column for column in below if column.what in {"lower", "upper"}]
    return _once(columns)


def _once(columns: Sequence[Column]) -> list[Column]:
    """Each kind of column once: a further one is of something else."""
    seen: dict[str, int] = {}
    found = []
    for column in columns:
        seen[column.what] = seen.get(column.what, 0) + 1
        again = seen[column.what] > 1
        found.append(
            replace(column, what=f"{column.what}_{seen[column.what]}") if again else column
        )
    return found


def _indexed(column: Column, own: Sequence[Cell]) -> Column:
    inside = [cell.index for cell in own if cell.start <= max(column.start, 0)]
    index = inside[-1] if inside else 0
    return replace(column, index=index + (column.what == "upper" and _shares(column, own)))


def _shares(column: Column, own: Sequence[Cell]) -> bool:
    """Whether an upper limit stands within the heading of its interval."""
    return any(cell.start < column.start < cell.start + len(cell.text) for cell in own)


# --- rows -----------------------------------------------------------------------------------------


def row(line: Line, plan: Layout) -> Row | None:
    """A row of a table; None where the line has no numbers.

    Parameters
    ----------
    line
        The line.
    plan
        The table's layout.
    """
    own = _unmarked(cells(line, plan.apart))
    numbers = _numbers(own, plan)
    if not any(is_value(cell.text) for cell in numbers):
        return None
    values, fault = _assigned(own, numbers, plan)
    first = min((cell.start for cell in values.values()), default=numbers[0].start)
    labels = tuple(cell for cell in own if cell.start < first and cell.text.strip("|"))
    if plan.apart != " ":
        first = next((cell.start for cell in numbers if cell.text), numbers[0].start)
        labels = tuple(cell for cell in own if cell.text and cell.start < first)
    kept = {what: cell for what, cell in values.items() if is_value(cell.text)}
    return Row(line, labels, kept, fault)


def _unmarked(own: Sequence[Cell]) -> list[Cell]:
    """The cells without the stars that stand behind numbers."""
    first = next((k for k, cell in enumerate(own) if is_value(cell.text)), len(own))
    return [cell for k, cell in enumerate(own) if k <= first or not _is_mark(cell.text)]


def _is_mark(text: str) -> bool:
    """Whether a cell holds stars and the like alone, or a word in brackets."""
    return bool(text) and (not text.strip("*†‡+#") or re.fullmatch(r"\([a-z]+\)", text) is not None)


def _numbers(own: Sequence[Cell], plan: Layout) -> tuple[Cell, ...]:
    """The numbers at the end of a line; R's mark of ten percent, a point, is none."""
    end = start = len(own)
    while start and _is_number(own[start - 1].text, plan):
        start -= 1
    if plan.apart == " " and end - start > len(plan.columns) and own[end - 1].text == ".":
        end -= 1
    return tuple(own[start:end])


def _is_number(text: str, plan: Layout) -> bool:
    return is_value(text) or is_missing(text) or (plan.apart != " " and not text)


def _assigned(
    own: Sequence[Cell], numbers: Sequence[Cell], plan: Layout
) -> tuple[dict[str, Cell], str]:
    """The numbers by column, or why they cannot be told apart."""
    columns = plan.columns
    filled = [cell for cell in numbers if cell.text]
    if plan.apart != " ":
        return _by_cell(own, numbers, plan)
    if len(numbers) == len(columns) and not plan.strange:
        return {c.what: cell for c, cell in zip(columns, numbers, strict=True)}, ""
    placed = _placed(filled, columns, plan.strange)
    if placed is not None:
        return placed, ""
    if len(numbers) > len(columns) and not plan.strange and numbers[0].index:
        last = numbers[len(numbers) - len(columns) :]
        return {c.what: cell for c, cell in zip(columns, last, strict=True)}, ""
    if len(filled) <= 2 <= len(columns) and not plan.strange and not _aligned(filled, columns):
        return {c.what: cell for c, cell in zip(columns, filled, strict=False)}, ""
    return {}, f"{len(filled)} numbers under {len(columns)} columns"


def _by_cell(
    own: Sequence[Cell], numbers: Sequence[Cell], plan: Layout
) -> tuple[dict[str, Cell], str]:
    """The numbers of a row whose cells are apart by a mark."""
    columns = plan.columns
    last = list(numbers)[-len(columns) :]
    if len(numbers) >= len(columns) and not plan.strange and len(own) != plan.width:
        return {c.what: cell for c, cell in zip(columns, last, strict=True)}, ""
    if len(own) >= min(plan.width, columns[-1].index + 1) or len(own) > columns[0].index:
        by_index = {cell.index: cell for cell in own}
        return {c.what: by_index[c.index] for c in columns if c.index in by_index}, ""
    return {}, f"{len(own)} cells under a heading of {plan.width}"


def _aligned(numbers: Sequence[Cell], columns: Sequence[Column]) -> bool:
    """Whether the numbers stand so far to the right that their places must tell."""
    return bool(numbers) and numbers[-1].start > columns[0].end + 1


def _placed(
    numbers: Sequence[Cell], columns: Sequence[Column], strange: bool
) -> dict[str, Cell] | None:
    """Each number below the heading that it overlaps, or is nearest to; None where two meet.

    Below headings that are not known, numbers are left out.
    """
    found: dict[str, Cell] = {}
    order = -1
    for cell in numbers:
        start, end = cell.start, cell.start + len(cell.text)
        gaps = [max(0, column.start - end, start - column.end) for column in columns]
        nearest = min(range(len(columns)), key=lambda k: (gaps[k], abs(columns[k].end - end)))
        if gaps[nearest] > (2 if strange else 6):
            if strange or end < columns[0].start:
                continue
            return None
        if nearest <= order:
            return None
        order = nearest
        found[columns[nearest].what] = cell
    return found or None


# --- a whole table --------------------------------------------------------------------------------

_FOOTNOTE = re.compile(r"\W*[a-z*]\.\s+\S|\s*\W?Note[.:s]|\s*Signif\. codes|\s*---\s*$")
_GOES_ON = re.compile(r".*(?:[*:#+,=(\[]|\bx|\[subject)\s*\Z", re.IGNORECASE)
_CONTINUES = re.compile(r"\s*\W?\s*(?:[*:#+=\])]|\[subject|subject\s*=)", re.IGNORECASE)


def entries(
    body: Sequence[Line],
    vocabulary: Vocabulary | None = None,
    header: int = 8,
    least: int = 2,
    until: str = "",
    blank_ends: bool = False,
) -> tuple[Layout, list[Row | Line]] | None:
    """The rows of a table under its header, labels over several lines joined; None without one.

    Parameters
    ----------
    body
        The lines below the title.
    vocabulary
        As of `layout`.
    header
        Within how many lines the header is.
    least
        As of `layout`.
    until
        What ends the table beside a footnote, from the beginning of a line.
    blank_ends
        Whether an empty line below a row ends it.

    Returns
    -------
    The layout, and rows; lines without numbers stand among them as they are.
    """
    made = layout(body[:header], vocabulary, 0, least)
    if made is None:
        return None
    plan, used = made
    found: list[Row | Line] = []
    for line in body[used:]:
        if _FOOTNOTE.match(line.text[:200]) or (until and re.match(until, line.text[:200])):
            break
        if line.blank:
            if blank_ends and found and not line.text.strip():
                break
            continue
        one = row(line, plan)
        if one is None:
            _text(line, found, plan)
        else:
            found.append(_headed(one, found, plan))
    return plan, found


def _text(line: Line, found: list[Row | Line], plan: Layout) -> None:
    """A line without numbers: the rest of the label above, or one that stands by itself."""
    last = found[-1] if found else None
    if isinstance(last, Row) and (
        _GOES_ON.match(last.label) or _open(last.label) or _CONTINUES.match(line.text)
    ):
        more = tuple(cell for cell in cells(line, plan.apart) if cell.text)
        found[-1] = replace(last, labels=(*last.labels, *more))
    else:
        found.append(line)


def _open(label: str) -> bool:
    return label.count("[") > label.count("]") or label.count("(") > label.count(")")


def _headed(one: Row, found: list[Row | Line], plan: Layout) -> Row:
    """A row with the label of the line above it, where that one goes on in this one."""
    last = found[-1] if found else None
    if not isinstance(last, Line) or not last.text.strip():
        return one
    above = tuple(cell for cell in cells(last, plan.apart) if cell.text)
    label = " ".join(cell.text for cell in above)
    if not one.labels or _GOES_ON.match(label) or _open(label) or _CONTINUES.match(one.label):
        found.pop()
        return replace(one, labels=(*above, *one.labels))
    return one
