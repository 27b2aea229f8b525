"""Conditions on rows: read from a user's text by a grammar of their own, never evaluated as code.

::

    condition   all {or all}
    all         one {and one}
    one         not one | ( condition ) | test
    test        operand comparison operand {comparison operand}
                | column [not] in [ value {, value} ]
                | column is [not] missing
    comparison  == | != | < | <= | > | >=
    operand     number | 'text' | "text" | word | `a column`
    value       number | 'text' | "text" | word

A word is the column of that name, and where there is none a text: ``sector == Public``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from mlmreport.errors import InputError, Location
from mlmreport.spec.formula import place_in

__all__ = [
    "Among",
    "Comparison",
    "Condition",
    "Joined",
    "Missing",
    "Negated",
    "Number",
    "Operand",
    "Text",
    "Word",
    "parse",
    "words_in",
]

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Number:
    """A number, with its text as written."""

    value: float
    written: str
    span: Span


@dataclass(frozen=True, slots=True)
class Text:
    """A text in quotes."""

    text: str
    span: Span


@dataclass(frozen=True, slots=True)
class Word:
    """A name without quotes: a column, or where that is possible a text.

    Parameters
    ----------
    name
        The word.
    span
        Where it stands.
    column
        Whether it can be a column only: it stands in backticks.
    """

    name: str
    span: Span
    column: bool = False


Operand = Number | Text | Word


@dataclass(frozen=True, slots=True)
class Comparison:
    """``left == right`` and the like."""

    operator: str
    left: Operand
    right: Operand


@dataclass(frozen=True, slots=True)
class Among:
    """``column in [values]``."""

    column: Word
    values: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class Missing:
    """``column is missing``."""

    column: Word


@dataclass(frozen=True, slots=True)
class Negated:
    """``not condition``."""

    part: Condition


@dataclass(frozen=True, slots=True)
class Joined:
    """Conditions joined by ``and`` or ``or``."""

    operator: str
    parts: tuple[Condition, ...]


Condition = Comparison | Among | Missing | Negated | Joined


def words_in(condition: Condition) -> Iterator[Word]:
    """The words that may be columns, from left to right."""
    match condition:
        case Comparison(_, left, right):
            yield from (operand for operand in (left, right) if isinstance(operand, Word))
        case Among(column) | Missing(column):
            yield column
        case Negated(part):
            yield from words_in(part)
        case Joined(_, parts):
            for part in parts:
                yield from words_in(part)


# --- reading ------------------------------------------------------------------------------------

_MAX_LENGTH = 10_000
_MAX_DEPTH = 40
_MAX_TESTS = 200
_MAX_DIGITS = 15

_TOKEN = re.compile(
    r"(?P<space>\s+)"
    r"|`(?P<column>[^`]*)`"
    r"|'(?P<single>[^']*)'"
    r'|"(?P<double>[^"]*)"'
    r"|(?P<number>[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![\w.]))"
    r"|(?P<word>(?:[^\W\d_]|[_.])[\w.]*)"
    r"|(?P<comparison>==|!=|<=|>=|<(?![->])|>)"
    r"|(?P<sign>[()\[\],])"
    r"|(?P<other>\w+|&&|\|\||<-|<>|=<|=>|%in%|.)",
    re.DOTALL,
)

_KEYWORDS = frozenset({"and", "or", "not", "in", "is", "missing"})
_FLIPPED = {"=": "write == for 'is equal to'", "=>": "write >=", "=<": "write <="}
_HINTS = _FLIPPED | {
    "&": "write `and`",
    "&&": "write `and`",
    "|": "write `or`",
    "||": "write `or`",
    "!": "write `not`, or != for 'is not equal to'",
    "<>": "write != for 'is not equal to'",
    "%in%": "write `in`, as in: sector in [Public, Catholic]",
    "{": "a list of values stands in brackets: [Public, Catholic]",
    "'": "a text in quotes needs one at its end too",
    '"': "a text in quotes needs one at its end too",
    "`": "a name in backticks needs one at its end too",
    "-": "a name of more than letters, digits, _ and . goes in backticks: `school size`",
}
_GRAMMAR = (
    "such as: Days >= 2, school != 12, sector in [Public, Catholic], income is not missing, "
    "joined by and, or, not"
)
_ABSENT = frozenset({"na", "nan", "null", "none"})


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    span: Span


class _Parser:
    """Reads one condition by recursive descent."""

    def __init__(self, text: str, location: Location) -> None:
        self.text, self.location = text, location
        self.place = self.depth = self.tests = 0
        if len(text) > _MAX_LENGTH:
            self.fail("this is too long for a condition", "", (0, 1))
        self.tokens = [*self.cut(), _Token("end", "", (len(text), len(text)))]

    def fail(self, message: str, hint: str, span: Span) -> NoReturn:
        """Raise an error that underlines a part of the text."""
        length = max(1, span[1] - span[0])
        place = place_in(self.text, self.location, span[0], length)
        raise InputError.of(message, hint, place)

    def cut(self) -> Iterator[_Token]:
        """The tokens of the text."""
        for match in _TOKEN.finditer(self.text):
            kind = str(match.lastgroup)
            if kind == "other":
                hint = _HINTS.get(match.group(), _GRAMMAR)
                if match.group()[0].isdigit():
                    hint = f"a name that starts with a digit goes in backticks: `{match.group()}`"
                what = match.group() if match.group().isprintable() else repr(match.group())
                self.fail(f"{what} has no place in a condition", hint, match.span())
            if kind == "word" and match.group() in _KEYWORDS:
                yield _Token("keyword", match.group(), match.span())
            elif kind != "space":
                yield _Token(kind, match.group(kind), match.span())

    @property
    def token(self) -> _Token:
        return self.tokens[self.place]

    def take(self) -> _Token:
        token = self.token
        self.place += token.kind != "end"
        return token

    def accept(self, text: str) -> _Token | None:
        """Take a keyword or a sign if it comes next."""
        sees = self.token.kind in {"keyword", "sign"} and self.token.text == text
        return self.take() if sees else None

    def expect(self, text: str, hint: str) -> None:
        """Take a keyword or a sign that has to come next."""
        if not self.accept(text):
            self.unexpected(hint)

    def unexpected(self, hint: str = _GRAMMAR) -> NoReturn:
        """Say that the next token cannot stand where it does."""
        token = self.token
        if token.kind == "end":
            self.fail(
                "the condition breaks off", hint, (max(0, len(self.text) - 1), len(self.text))
            )
        shown = self.text[slice(*token.span)]
        self.fail(f"{shown} cannot stand here", hint, token.span)

    def whole(self) -> Condition:
        """A condition that reaches to the end of the text."""
        found = self.condition()
        if self.token.kind != "end":
            self.unexpected("join two conditions by `and` or `or`")
        return found

    def condition(self) -> Condition:
        """Conditions joined by ``or``."""
        parts = [self.all()]
        while self.accept("or"):
            parts.append(self.all())
        return parts[0] if len(parts) == 1 else Joined("or", tuple(parts))

    def all(self) -> Condition:
        """Conditions joined by ``and``."""
        parts = [self.one()]
        while self.accept("and"):
            parts.append(self.one())
        return parts[0] if len(parts) == 1 else Joined("and", tuple(parts))

    def one(self) -> Condition:
        """A test, a negated condition, or one in parentheses."""
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            self.fail("this is nested too deeply", "write several conditions", self.token.span)
        found = self.inner()
        self.depth -= 1
        return found

    def inner(self) -> Condition:
        """What `one` holds."""
        if self.accept("not"):
            return Negated(self.one())
        if self.accept("("):
            found = self.condition()
            self.expect(")", "close the parenthesis by ')'")
            return found
        return self.test()

    def test(self) -> Condition:
        """A comparison, or a question to one column."""
        self.tests += 1
        if self.tests > _MAX_TESTS:
            self.fail(f"more than {_MAX_TESTS} tests", "use `in [...]`", self.token.span)
        left = self.operand()
        if self.token.kind == "comparison":
            return self.comparisons(left)
        if self.accept("is"):
            negated = self.accept("not")
            self.expect("missing", "write: income is missing, or income is not missing")
            found: Condition = Missing(self.column(left))
        else:
            negated = self.accept("not")
            self.expect("in", _GRAMMAR)
            found = Among(self.column(left), self.values())
        return Negated(found) if negated else found

    def comparisons(self, left: Operand) -> Condition:
        """One comparison, or a chain such as ``2 <= Days < 8``."""
        parts: list[Condition] = []
        while self.token.kind == "comparison":
            operator, right = self.take().text, self.operand()
            if not (isinstance(left, Word) or isinstance(right, Word)):
                self.fail("no column is compared here", _GRAMMAR, left.span)
            parts.append(Comparison(operator, left, right))
            left = right
        return parts[0] if len(parts) == 1 else Joined("and", tuple(parts))

    def column(self, operand: Operand) -> Word:
        """An operand that has to be a column."""
        if not isinstance(operand, Word):
            self.fail("a column has to stand here", _GRAMMAR, operand.span)
        return operand

    def values(self) -> tuple[Operand, ...]:
        """The values in brackets."""
        self.expect("[", "a list of values stands in brackets: [Public, Catholic]")
        found = [self.value()]
        while self.accept(","):
            found.append(self.value())
        self.expect("]", "close the list by ']'")
        return tuple(found)

    def value(self) -> Operand:
        """One value of a list; a word is a text there."""
        operand = self.operand()
        if not isinstance(operand, Word):
            return operand
        if operand.column:
            self.fail("a list holds values, no columns", "compare columns by ==", operand.span)
        return Text(operand.name, operand.span)

    def operand(self) -> Operand:
        """A number, a text, or a word."""
        token = self.token
        if token.kind == "number":
            return self.number()
        if token.kind in {"single", "double"}:
            return Text(self.take().text, token.span)
        if token.kind not in {"word", "column"}:
            self.unexpected("write: income is missing" if token.text == "missing" else _GRAMMAR)
        if token.kind == "word" and token.text.lower() in _ABSENT:
            hint = "write `is missing` or `is not missing`; a text that reads so goes in quotes"
            self.fail(f"nothing equals {token.text}", hint, token.span)
        return Word(self.take().text, token.span, token.kind == "column")

    def number(self) -> Number:
        """A number that R and Python read alike."""
        token = self.take()
        value = float(token.text)
        digits = re.sub(r"[eE].*|[-+.]", "", token.text).strip("0")
        if len(digits) > _MAX_DIGITS or not (value == 0 or 1e-300 < abs(value) < 1e300):
            hint = "put a long id in quotes"
            self.fail(f"a number here has at most {_MAX_DIGITS} digits", hint, token.span)
        return Number(value, token.text, token.span)


def parse(text: str, location: Location | None = None) -> Condition:
    """Read a condition on rows.

    Parameters
    ----------
    text
        Such as ``Days >= 2 and sector in [Public, Catholic]``.
    location
        Where the text stands in the spec.

    Raises
    ------
    InputError
        If the text is no condition; the problem is located.
    """
    return _Parser(text, location or Location("filter", 1)).whole()
