"""Which rows a condition holds for, and the same as code of pandas and of base R.

Logic has three values, as in R: a comparison with a missing value is neither true nor false, and
rows are kept where the whole condition is true.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from mlmreport.errors import InputError, Location, did_you_mean
from mlmreport.spec import filters as sf
from mlmreport.spec.formula import place_in
from mlmreport.spec.quoting import r_string

__all__ = ["Column", "Holds", "evaluate"]

Truth = npt.NDArray[np.bool_]

_COMPARED: Mapping[str, Callable[..., Truth]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_EQUAL = frozenset({"==", "!="})
_TURNED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


@dataclass(frozen=True)
class Column:
    """A column as conditions see it.

    Parameters
    ----------
    name
        As the condition names it.
    codes, texts
        Its values as positions in a list of distinct texts, -1 where there is none.
    numbers
        Its values as numbers, NaN where there is none; None where some are no numbers.
    numeric
        Whether the table has it as numbers.
    aliases
        Further names of a text: the code behind a label.
    code
        The column in pandas.
    r_text, r_numbers
        The column in R, as text and as numbers.
    """

    name: str
    codes: npt.NDArray[np.int64]
    texts: Sequence[str]
    numbers: npt.NDArray[np.float64] | None
    numeric: bool
    aliases: Mapping[str, str]
    code: str
    r_text: str
    r_numbers: str

    @property
    def known(self) -> Truth:
        """Where it has a value."""
        return self.codes >= 0

    def text(self, written: str) -> str:
        """A text as it stands in the column, which may be written by its code."""
        return written if written in self.texts else self.aliases.get(written, written)


@dataclass(frozen=True)
class Holds:
    """Where a condition is true, where it is false, and its code in pandas and in R."""

    true: Truth
    false: Truth
    code: str
    r: str


Known = Callable[[str], Column | None]


@dataclass
class _Evaluation:
    text: str
    location: Location
    column: Known
    names: Sequence[str]
    notes: list[str] = field(default_factory=list)

    def fail(self, message: str, hint: str, span: sf.Span) -> NoReturn:
        place = place_in(self.text, self.location, span[0], max(1, span[1] - span[0]))
        raise InputError.of(message, hint, place)

    def of(self, condition: sf.Condition) -> Holds:
        """Evaluate a condition."""
        match condition:
            case sf.Negated(part):
                inner = self.of(part)
                return Holds(inner.false, inner.true, f"~({inner.code})", f"!({inner.r})")
            case sf.Joined(word, parts):
                return _joined(word, [self.of(part) for part in parts])
            case sf.Missing(word):
                return _missing(self.known(word))
            case sf.Among(word, values):
                return self.among(self.known(word), values)
            case sf.Comparison(sign, left, right):
                return self.comparison(sign, left, right)

    def known(self, word: sf.Word) -> Column:
        """The column of a word."""
        found = self.column(word.name)
        if found is None:
            hint = did_you_mean(word.name, self.names)
            self.fail(f"the data have no column '{word.name}'", hint, word.span)
        return found

    def comparison(self, sign: str, left: sf.Operand, right: sf.Operand) -> Holds:
        """Compare a column with a value or with another column."""
        one, other = (
            self.column(side.name) if isinstance(side, sf.Word) else None for side in (left, right)
        )
        if one is None and other is None:
            self.known(next(side for side in (left, right) if isinstance(side, sf.Word)))
        if one is None:
            one, other, left, right = other, None, right, left
            sign = _TURNED.get(sign, sign)
        assert one is not None
        if other is None:
            return self.with_value(sign, one, right)
        self.check_meant(one, right)
        return self.with_column(sign, one, other, right)

    def check_meant(self, column: Column, word: sf.Operand) -> None:
        """A word that is a column must not be a text of the other column as well."""
        if isinstance(word, sf.Word) and not word.column and word.name in column.texts:
            hint = f'write "{word.name}" for the text, `{word.name}` in backticks for the column'
            what = f"'{word.name}' is a column and also a text in '{column.name}'"
            self.fail(what, hint, word.span)

    def with_column(self, sign: str, one: Column, other: Column, right: sf.Operand) -> Holds:
        """Compare two columns, as numbers or as texts."""
        known = one.known & other.known
        code = f"{one.code} {sign} {other.code}"
        if one.numbers is not None and other.numbers is not None:
            true = _COMPARED[sign](one.numbers, other.numbers) & known
            return Holds(true, known & ~true, code, f"{one.r_numbers} {sign} {other.r_numbers}")
        if sign not in _EQUAL or one.numeric or other.numeric:
            of = one if one.numbers is None else other
            self.not_numbers(of, sign, right.span)
        texts = [
            np.array([*column.texts, ""], dtype=object)[column.codes] for column in (one, other)
        ]
        true = _COMPARED[sign](*texts).astype(bool) & known
        return Holds(true, known & ~true, code, f"{one.r_text} {sign} {other.r_text}")

    def with_value(self, sign: str, column: Column, value: sf.Operand) -> Holds:
        """Compare a column with a number or a text."""
        number = self.number(sign, column, value)
        if number is None:
            return self.with_text(sign, column, value)
        assert column.numbers is not None
        true = _COMPARED[sign](column.numbers, number) & column.known
        code, r = f"{column.code} {sign} {number!r}", f"{column.r_numbers} {sign} {number!r}"
        return Holds(true, column.known & ~true, code, r)

    def number(self, sign: str, column: Column, value: sf.Operand) -> float | None:
        """The number that a column is compared with; None where texts are compared."""
        if isinstance(value, sf.Number):
            if column.numbers is None and sign not in _EQUAL:
                self.not_numbers(column, sign, value.span)
            return None if column.numbers is None else value.value
        written = _written(value)
        if sign in _EQUAL and column.numeric:
            try:
                return float(written)
            except ValueError:
                self.no_text(column, value)
        if sign not in _EQUAL:
            self.no_text(column, value) if isinstance(value, sf.Word) else self.fail(
                f"{sign} compares numbers, and '{written}' is a text",
                "write a number without quotes, or compare by == or in",
                value.span,
            )
        return None

    def no_text(self, column: Column, value: sf.Operand) -> NoReturn:
        """Say that a text stands where a number or a column is needed."""
        written = _written(value)
        if isinstance(value, sf.Word):
            hint = did_you_mean(written, self.names)
            self.fail(f"the data have no column '{written}'", hint, value.span)
        self.fail(f"'{column.name}' is a number, '{written}' a text", "write a number", value.span)

    def not_numbers(self, column: Column, sign: str, span: sf.Span) -> NoReturn:
        """Say which texts keep a column from being compared by size."""
        what = f"'{column.name}' cannot be compared by {sign}: it holds texts, such as "
        found = next((text for text in column.texts if _is_text(text)), column.texts[0])
        self.fail(f"{what}'{found}'", "compare texts by ==, != or in", span)

    def with_text(self, sign: str, column: Column, value: sf.Operand) -> Holds:
        """Compare the texts of a column with a text."""
        text = self.text_of(column, value)
        true = (np.array([*column.texts, None], dtype=object) == text)[column.codes] & column.known
        true = true if sign == "==" else column.known & ~true
        code, r = f"{column.code} {sign} {text!r}", f"{column.r_text} {sign} {r_string(text)}"
        return Holds(true, column.known & ~true, code, r)

    def text_of(self, column: Column, value: sf.Operand) -> str:
        """A value as a text of the column; what no row has is told, as it may be a slip."""
        text = column.text(_written(value))
        if text not in column.texts:
            near = did_you_mean(text, column.texts)
            near = f"; {near}" if near.startswith("did you mean") else ""
            self.notes.append(
                f"The filter `{self.text}` names '{text}', which is no value of {column.name}{near}"
            )
        return text

    def among(self, column: Column, values: Sequence[sf.Operand]) -> Holds:
        """Whether a column has one of several values."""
        numbers = [value.value for value in values if isinstance(value, sf.Number)]
        if column.numbers is not None and (column.numeric or len(numbers) == len(values)):
            found = [self.number("==", column, value) for value in values]
            true = np.isin(column.numbers, np.array(found, dtype=float)) & column.known
            shown, r = [repr(number) for number in found], column.r_numbers
            codes = shown
        else:
            texts = [self.text_of(column, value) for value in values]
            wanted = np.array([*(text in texts for text in column.texts), False])
            true = wanted[column.codes] & column.known
            shown, r = [r_string(text) for text in texts], column.r_text
            codes = [repr(text) for text in texts]
        code = f"{column.code}.isin([{', '.join(codes)}])"
        return Holds(true, column.known & ~true, code, f"among({r}, c({', '.join(shown)}))")


def _is_text(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return True
    return False


def _written(value: sf.Operand) -> str:
    match value:
        case sf.Number(_, written):
            return written
        case sf.Text(text):
            return text
        case sf.Word(name):
            return name


def _missing(column: Column) -> Holds:
    return Holds(~column.known, column.known, f"{column.code}.isna()", f"is.na({column.r_text})")


def _joined(word: str, parts: Sequence[Holds]) -> Holds:
    every, some = np.logical_and.reduce, np.logical_or.reduce
    true, false = [part.true for part in parts], [part.false for part in parts]
    sign = "&" if word == "and" else "|"
    code = f" {sign} ".join(f"({part.code})" for part in parts)
    r = f" {sign} ".join(f"({part.r})" for part in parts)
    if word == "and":
        return Holds(every(true), some(false), code, r)
    return Holds(some(true), every(false), code, r)


def evaluate(
    text: str, location: Location, column: Known, names: Sequence[str]
) -> tuple[Holds, tuple[str, ...]]:
    """Where a condition holds.

    Parameters
    ----------
    text, location
        The condition and its place in the spec.
    column
        Gives the column of a name, None where there is none.
    names
        What a column may be called, for near misses.

    Returns
    -------
    tuple
        Where it holds, and what a reader is to be told of it.

    Raises
    ------
    InputError
        If a column is unknown, or texts and numbers are compared.
    """
    evaluation = _Evaluation(text, location, column, names)
    return evaluation.of(sf.parse(text, location)), tuple(evaluation.notes)
