"""Model formulas: read from a user's text by a whitelist, written out again as R code.

A formula is read into frozen values that can hold nothing but names, numbers, arithmetic and the
functions of `FUNCTIONS`; `to_r` writes R code from those values alone. So no text of a user reaches
R unparsed. The grammar, with the precedence of R::

    formula   outcome ~ sum
    outcome   name | function(...) | cbind(arithmetic, arithmetic)
    sum       [+|-] product {(+|-) product}
    product   interaction {(*|/) interaction}
    interaction  power {: power}
    power     atom [^ whole number]
    atom      0 | 1 | name | function(...) | offset(arithmetic) | ( sum ) | ( sum (|,||) group )
    group     names joined by : or /

Operators are expanded as R's ``terms()`` expands them (Chambers & Hastie, 1992, chapter 2), and
terms stand in its order: by degree, then as written. Within an interaction the factors stand in the
order in which they first occur in the written-out formula, as in R's term labels.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import product
from types import MappingProxyType
from typing import NoReturn, cast

from mlmreport.errors import InputError, Location, did_you_mean

__all__ = [
    "FUNCTIONS",
    "Arithmetic",
    "Call",
    "Expression",
    "Formula",
    "Name",
    "Number",
    "RandomTerm",
    "Term",
    "effects",
    "expression_r",
    "names_in",
    "ordered",
    "parse",
    "parse_term",
    "place_in",
    "r_name",
    "random_r",
    "term_r",
    "to_r",
    "variables",
]

FUNCTIONS: Mapping[str, str] = MappingProxyType(
    {
        "I": "arithmetic on variables, such as I(age^2)",
        "exp": "exponential",
        "log": "natural logarithm",
        "log10": "logarithm to base 10",
        "log1p": "logarithm of 1 + x",
        "log2": "logarithm to base 2",
        "poly": "polynomial, poly(x, 2) orthogonal or poly(x, 2, raw = TRUE)",
        "sqrt": "square root",
    }
)
"""The functions a formula may call, each with what it does."""

_SPECIAL = frozenset({"cbind", "offset"})

_CENTRE = "centre or standardise the variable in the spec, so that the report can say so"
_CATEGORY = "declare the variable with 'type: category' in the spec"
_CURVE = "splines are not offered; poly(x, 3) or I(x^2) give a curve"
_DERIVE = "make the variable in the spec's preparation, then name it here"
_REFUSED = {
    "scale": _CENTRE,
    "factor": _CATEGORY,
    "as.factor": _CATEGORY,
    "ordered": _CATEGORY,
    "C": _CATEGORY,
    "ns": _CURVE,
    "bs": _CURVE,
    "s": _CURVE,
    "ifelse": _DERIVE,
    "cut": _DERIVE,
    "log1": "did you mean 'log1p'?",
    "ln": "the natural logarithm is log()",
}

_RESERVED_WORDS = frozenset(
    "if else repeat while function for next break in".split()  # noqa: SIM905
)
_CONSTANTS = frozenset(
    "TRUE FALSE NULL Inf NaN NA NA_integer_ NA_real_ NA_character_ NA_complex_".split()  # noqa: SIM905
)

_MAX_LENGTH = 10_000
_MAX_DEPTH = 40
_MAX_TERMS = 500
_MAX_DIGITS = 15
_MAX_DEGREE = 9
_MAX_OPERATORS = 100


# --- what a formula is made of -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Name:
    """A data column, by its plain name (no backticks)."""

    name: str


@dataclass(frozen=True, slots=True)
class Number:
    """A non-negative number of at most 15 significant digits."""

    value: float


@dataclass(frozen=True, slots=True)
class Call:
    """A whitelisted function applied to its arguments.

    Parameters
    ----------
    function
        A key of `FUNCTIONS`; in an outcome also ``cbind``.
    arguments
        The arguments by position. ``poly`` has two: what, and the degree.
    raw
        Whether ``poly`` gives raw powers in place of orthogonal ones.
    """

    function: str
    arguments: tuple[Expression, ...]
    raw: bool = False


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """``+ - * / ^`` on two operands, or ``-`` on one."""

    operator: str
    operands: tuple[Expression, ...]


Expression = Name | Number | Call | Arithmetic


@dataclass(frozen=True, slots=True)
class Term:
    """A main effect (one factor) or an interaction (several)."""

    factors: tuple[Expression, ...]

    @property
    def degree(self) -> int:
        """How many factors are multiplied."""
        return len(self.factors)

    def same_as(self, other: Term) -> bool:
        """Whether both are the same term, in whatever order of factors."""
        return frozenset(self.factors) == frozenset(other.factors)


@dataclass(frozen=True, slots=True)
class RandomTerm:
    """The effects that vary over one grouping.

    Parameters
    ----------
    terms
        Those with a random slope.
    intercept
        Whether the intercept varies.
    groups
        The grouping column; several form the grouping by their combination, ``a:b``.
    correlated
        False for ``||``: all variances, no covariance.
    """

    terms: tuple[Term, ...]
    intercept: bool
    groups: tuple[str, ...]
    correlated: bool = True


@dataclass(frozen=True, slots=True)
class Formula:
    """A whole model formula; change one by `dataclasses.replace`, terms through `ordered`."""

    outcome: Expression
    fixed: tuple[Term, ...] = ()
    intercept: bool = True
    random: tuple[RandomTerm, ...] = ()
    offset: Expression | None = None


def _unique(terms: Iterable[Term]) -> tuple[Term, ...]:
    kept: dict[frozenset[Expression], Term] = {}
    for term in terms:
        kept.setdefault(frozenset(term.factors), term)
    return tuple(kept.values())


def ordered(terms: Iterable[Term]) -> tuple[Term, ...]:
    """The terms without repetition, in the order of R's ``terms()``.

    By degree, then as given; the factors of an interaction in the order in which they first occur.
    """
    by_degree = sorted(_unique(terms), key=lambda term: len(set(term.factors)))
    seen: dict[Expression, int] = {}
    for term in by_degree:
        for factor in term.factors:
            seen.setdefault(factor, len(seen))
    return tuple(Term(tuple(sorted(set(term.factors), key=seen.__getitem__))) for term in by_degree)


# --- writing R ---------------------------------------------------------------------------------

_ASCII_NAME = re.compile(r"(?:[A-Za-z]|\.(?![0-9]))[A-Za-z0-9._]*\Z")
_CHARACTERS = {"`": "a backtick", "\\": "a backslash", "\n": "a line break", "\t": "a tab"}
_DOTS = re.compile(r"\.|\.\.\.|\.\.[0-9]+")


def _name_fault(name: str) -> str:
    """What makes a name unusable, or nothing."""
    if not name.strip():
        return "a name cannot be empty"
    if _DOTS.fullmatch(name):
        return f"'{name}' has a meaning of its own in R and cannot name a variable"
    for char in name:
        if char in "`\\" or unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"}:
            return f"a name cannot contain {_CHARACTERS.get(char, f'U+{ord(char):04X}')}"
    return ""


def _is_bare(name: str) -> bool:
    """Whether R reads the name without backticks."""
    if name in _RESERVED_WORDS or name in _CONSTANTS:
        return False
    letters = (
        "a" if ord(char) > 127 and unicodedata.category(char) in {"Ll", "Lu", "Lo"} else char
        for char in name
    )
    return _ASCII_NAME.match("".join(letters)) is not None


def r_name(name: str) -> str:
    """A column name as R code, in backticks where R needs them.

    Raises
    ------
    InputError
        If the name cannot be written safely: backticks, backslashes, control characters.
    """
    if fault := _name_fault(name):
        raise InputError.of(fault, "rename the column")
    return name if _is_bare(name) else f"`{name}`"


def _number_r(value: float) -> str:
    """A number as R deparses it: the shorter of fixed and scientific notation."""
    decimal = Decimal(repr(value)).normalize()
    sign, digits, exponent = decimal.as_tuple()
    if sign or not isinstance(exponent, int) or len(digits) > _MAX_DIGITS:
        raise InputError.of(f"{value} cannot be written as a number in a formula")
    power = exponent + len(digits) - 1
    tail = "".join(map(str, digits[1:]))
    scientific = f"{digits[0]}{'.' if tail else ''}{tail}e{power:+03d}"
    fixed = f"{decimal:f}"
    return fixed if len(fixed) <= len(scientific) else scientific


_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2, "^": 4}
_UNARY = 3
_ATOM = 5


def _precedence(expression: Expression) -> int:
    if not isinstance(expression, Arithmetic):
        return _ATOM
    return _UNARY if len(expression.operands) == 1 else _PRECEDENCE[expression.operator]


def _operand_r(expression: Expression, least: int) -> str:
    text = expression_r(expression)
    return text if _precedence(expression) >= least else f"({text})"


def _arithmetic_r(expression: Arithmetic) -> str:
    operator, operands = expression.operator, expression.operands
    if len(operands) == 1 and operator == "-":
        return f"-{_operand_r(operands[0], _PRECEDENCE['^'])}"
    if len(operands) != 2 or operator not in _PRECEDENCE:
        raise InputError.of(f"'{operator}' is not arithmetic that a formula may hold")
    level = _PRECEDENCE[operator]
    if operator == "^":
        return f"{_operand_r(operands[0], _ATOM)}^{_operand_r(operands[1], _ATOM)}"
    right = operands[1]
    signed = isinstance(right, Arithmetic) and len(right.operands) == 1
    right_text = f"({expression_r(right)})" if signed else _operand_r(right, level + 1)
    between = "/" if operator == "/" else f" {operator} "
    return f"{_operand_r(operands[0], level)}{between}{right_text}"


def expression_r(expression: Expression) -> str:
    """An expression as R code, spaced as R's ``deparse()`` spaces it.

    Raises
    ------
    InputError
        If it holds something that is not on the whitelist.
    """
    if isinstance(expression, Name):
        return r_name(expression.name)
    if isinstance(expression, Number):
        return _number_r(expression.value)
    if isinstance(expression, Arithmetic):
        return _arithmetic_r(expression)
    if expression.function not in FUNCTIONS and expression.function not in _SPECIAL:
        raise InputError.of(f"{expression.function}() cannot be used in a formula")
    arguments = [expression_r(argument) for argument in expression.arguments]
    if expression.raw:
        arguments.append("raw = TRUE")
    return f"{expression.function}({', '.join(arguments)})"


def term_r(term: Term) -> str:
    """A term as R labels it, such as ``ses:sector``."""
    return ":".join(expression_r(factor) for factor in term.factors)


def random_r(random: RandomTerm) -> str:
    """A random term as R code, such as ``(1 + ses | school)``."""
    parts = ["1" if random.intercept else "0", *map(term_r, random.terms)]
    bar = "|" if random.correlated else "||"
    return f"({' + '.join(parts)} {bar} {':'.join(map(r_name, random.groups))})"


def to_r(formula: Formula) -> str:
    """The formula as R code in its one canonical form.

    The fixed intercept is left out where there are fixed terms; the random one is always written.

    Examples
    --------
    >>> to_r(parse("mathach ~ 1 + ses + (ses|school)"))
    'mathach ~ ses + (1 + ses | school)'
    """
    fixed = [term_r(term) for term in formula.fixed]
    if not formula.intercept:
        fixed.insert(0, "0")
    parts = fixed or ["1"]
    if formula.offset is not None:
        parts.append(f"offset({expression_r(formula.offset)})")
    parts += [random_r(random) for random in formula.random]
    return f"{expression_r(formula.outcome)} ~ {' + '.join(parts)}"


def names_in(*expressions: Expression) -> Iterator[str]:
    """The names in expressions from left to right, with repetitions."""
    for expression in expressions:
        if isinstance(expression, Name):
            yield expression.name
        elif isinstance(expression, Arithmetic):
            yield from names_in(*expression.operands)
        elif isinstance(expression, Call):
            yield from names_in(*expression.arguments)


def effects(formula: Formula) -> tuple[str, ...]:
    """The data columns of the outcome, the fixed part, the offset and random slopes."""
    used = [*names_in(formula.outcome)]
    used += [name for term in formula.fixed for name in names_in(*term.factors)]
    used += names_in(formula.offset) if formula.offset is not None else []
    slopes = (term for random in formula.random for term in random.terms)
    used += [name for term in slopes for name in names_in(*term.factors)]
    return tuple(dict.fromkeys(used))


def variables(formula: Formula) -> tuple[str, ...]:
    """All data columns the formula uses: those of effects, then those that group."""
    groups = [name for random in formula.random for name in random.groups]
    return tuple(dict.fromkeys([*effects(formula), *groups]))


# --- reading: the text and its tokens ----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # "name", "quoted", "number", "operator", "refused", "end"
    text: str
    start: int
    end: int


_TOKEN = re.compile(
    r"(?P<space>\s+)"
    r"|`(?P<quoted>[^`]*)`"
    r"|(?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<name>(?:[^\W\d_]|\.)[\w.]*)"
    r"|(?P<comparison>==|<-|:::?|%[^%\s]*%|&&?|[<>!]=?)"
    r"|(?P<operator>\*\*|\|\||[-+*/^:()|~,=])"
    r"|(?P<other>.)",
    re.DOTALL,
)

_REFUSED_TEXT = {
    "==": "outcome and predictors are joined by '~'",
    "<-": "outcome and predictors are joined by '~'",
    "`": "a name in backticks needs one at its end too",
    '"': "a name with spaces goes in backticks: `school size`",
    "'": "a name with spaces goes in backticks: `school size`",
    "$": "name the column alone",
    "%in%": "write nesting as a/b or a:b",
    "_": "a name that starts with an underscore goes in backticks",
}


def place_in(text: str, here: Location, start: int, length: int) -> Location:
    """The place of a part of a text that stands at a value of the spec."""
    if here.column and not here.excerpt:
        return replace(here, column=here.column + start, length=length)
    found = here.excerpt.find(text, max(0, here.column - 1))
    if found >= 0 and text:
        return replace(here, column=found + 1 + start, length=length)
    return replace(here, column=start + 1, length=length, excerpt=re.sub(r"\s", " ", text))


@dataclass(frozen=True, slots=True)
class _Text:
    """The text of a formula and where it stands, to locate a problem in it."""

    text: str
    location: Location | None

    def fail(
        self, message: str, hint: str = "", start: int = 0, end: int | None = None
    ) -> NoReturn:
        """Raise an error that underlines ``text[start:end]``."""
        length = max(1, (len(self.text) if end is None else end) - start)
        raise InputError.of(message, hint, self._locate(start, length))

    def at(self, token: _Token, message: str, hint: str = "") -> NoReturn:
        """Raise an error that underlines a token."""
        self.fail(message, hint, token.start, token.end)

    def _locate(self, start: int, length: int) -> Location:
        return place_in(self.text, self.location or Location("formula", 1), start, length)

    def tokens(self) -> list[_Token]:
        """The text cut into tokens, the last of kind ``end``."""
        if len(self.text) > _MAX_LENGTH:
            self.fail(f"a formula of {len(self.text)} characters is too long", end=1)
        found: list[_Token] = []
        place = 0
        while place < len(self.text):
            match = cast(
                "re.Match[str]", _TOKEN.match(self.text, place)
            )  # always: the last branch is .
            if match.lastgroup != "space":
                found.append(self._token(match))
            place = match.end()
        return [*found, _Token("end", "", len(self.text), len(self.text))]

    def _token(self, match: re.Match[str]) -> _Token:
        kind = str(match.lastgroup)
        if kind in {"comparison", "other"}:
            return _Token("refused", match.group(), match.start(), match.end())
        token = _Token(kind, match.group(kind), match.start(), match.end())
        if kind in {"name", "quoted"} and (fault := _name_fault(token.text)):
            self.at(token, fault, "rename the column" if kind == "quoted" else "name each variable")
        if kind == "number" and re.match(r"\w", self.text[token.end :]):
            word = re.match(r"[\w.]*", self.text[token.start :])
            hint = f"a name that starts with a digit goes in backticks: `{word and word.group()}`"
            self.at(token, f"a number cannot stand before '{self.text[token.end]}'", hint)
        return replace(token, text="^") if token.text == "**" else token

    def refuse(self, token: _Token) -> NoReturn:
        """Say that a token is no part of a formula."""
        text = token.text
        shown = f"'{text}'" if text.isprintable() else f"the character U+{ord(text[0]):04X}"
        self.at(token, f"{shown} has no place in a formula", _REFUSED_TEXT.get(text, _DERIVE))


# --- reading: the grammar ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Part:
    """A piece of the right-hand side, already expanded."""

    start: _Token
    terms: tuple[Term, ...] = ()
    intercept: bool | None = None
    random: tuple[RandomTerm, ...] = ()
    offset: Expression | None = None

    @property
    def is_plain(self) -> bool:
        """Whether it holds terms and nothing else."""
        return bool(self.terms) and (self.intercept, self.random, self.offset) == (None, (), None)


def _joined(*terms: Term) -> Term:
    """The interaction of terms; a factor that occurs twice stands once."""
    return Term(tuple(dict.fromkeys(factor for term in terms for factor in term.factors)))


def _holds_poly(*expressions: Expression) -> bool:
    return any(
        (isinstance(each, Call) and (each.function == "poly" or _holds_poly(*each.arguments)))
        or (isinstance(each, Arithmetic) and _holds_poly(*each.operands))
        for each in expressions
    )


def _interactions(left: tuple[Term, ...], right: tuple[Term, ...]) -> tuple[Term, ...]:
    return tuple(_joined(a, b) for a, b in product(left, right))


class _Parser:
    """Reads one text by recursive descent; every method leaves `place` behind what it read."""

    def __init__(self, text: str, location: Location | None) -> None:
        self.source = _Text(text, location)
        self.tokens = self.source.tokens()
        self.place = 0
        self.depth = 0
        self.operators = 0

    # tokens

    @property
    def token(self) -> _Token:
        return self.tokens[self.place]

    def take(self) -> _Token:
        token = self.token
        self.place += token.kind != "end"
        return token

    def sees(self, *operators: str) -> bool:
        return self.token.kind == "operator" and self.token.text in operators

    def accept(self, *operators: str) -> _Token | None:
        return self.take() if self.sees(*operators) else None

    def close(self, opening: _Token) -> None:
        """Take the closing parenthesis that belongs to an opening one."""
        if self.accept(")"):
            self.depth -= 1
            return
        if self.token.kind == "end":
            self.source.at(opening, "this parenthesis is never closed", "add ')'")
        self.unexpected()

    def open(self) -> _Token:
        """Take an opening parenthesis, up to the nesting that is allowed."""
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            self.source.at(self.token, f"more than {_MAX_DEPTH} parentheses are open here")
        return self.take()

    def unexpected(self) -> NoReturn:
        """Say why the current token cannot stand where it stands."""
        token, before = self.token, self.tokens[self.place - 1] if self.place else None
        if token.kind == "refused":
            self.source.refuse(token)
        if token.kind == "end":
            after = f"after '{before.text}'" if before else "here"
            self.source.at(token, f"something is missing {after}", "the formula ends too early")
        if before and token.kind != "operator" and before.kind not in {"operator", "end"}:
            self._two_in_a_row(before, token)
        if token.text == ")":
            message = (
                "this parenthesis was never opened" if not self.depth else "nothing before ')'"
            )
            self.source.at(token, message)
        if token.text in {"|", "||"}:
            hint = "a random term stands in parentheses: (1 + x | group)"
            self.source.at(token, f"'{token.text}' cannot stand here", hint)
        hints = {"=": "outcome and predictors are joined by '~'", ":": _DERIVE}
        self.source.at(token, f"'{token.text}' cannot stand here", hints.get(token.text, ""))

    def _two_in_a_row(self, before: _Token, token: _Token) -> NoReturn:
        whole = self.source.text[before.start : token.end]
        hint = "join terms by '+'"
        if {before.kind, token.kind} <= {"name", "number"}:
            hint += f", or put a name with spaces in backticks: `{' '.join(whole.split())}`"
        self.source.at(token, f"an operator is missing before '{token.text}'", hint)

    # whole formulas

    def formula(self) -> Formula:
        """``outcome ~ sum``."""
        self._check_tildes()
        outcome = self.outcome()
        if not self.accept("~"):
            self.unexpected()
        right = self.whole_sum()
        self._check_outcome_unused(outcome, right)
        self._check_random(right)
        intercept = right.intercept is not False
        return Formula(outcome, ordered(right.terms), intercept, right.random, right.offset)

    def _check_tildes(self) -> None:
        if self.token.kind == "end":
            self.source.fail("the formula is empty", "write outcome ~ predictors + (1 | group)")
        tildes = [token for token in self.tokens if (token.kind, token.text) == ("operator", "~")]
        if not tildes:
            for token in self.tokens:
                if token.kind == "refused":
                    self.source.refuse(token)
            hint = "write outcome ~ predictors + (1 | group)"
            self.source.fail("the formula has no '~' between outcome and predictors", hint)
        if len(tildes) > 1:
            self.source.at(tildes[1], "a formula has one '~', this is the second")
        if self.token is tildes[0]:
            self.source.at(tildes[0], "the outcome is missing before '~'")

    def outcome(self) -> Expression:
        """A name, a transformed name, or ``cbind(a, b)``."""
        start = self.token
        if start.text == "cbind" and self.tokens[self.place + 1].text == "(":
            return self.call(special="cbind")
        found = self.arithmetic()
        if not isinstance(found, Name | Call) or _holds_poly(found):
            hint = "a variable, or a function of one: y, log(y), I(y / 100)"
            self.source.at(start, "this cannot be an outcome", hint)
        return found

    def whole_sum(self) -> _Part:
        """A sum that reaches to the end of the text."""
        part = self.sum()
        if self.token.kind != "end":
            self.unexpected()
        return part

    def _check_outcome_unused(self, outcome: Expression, right: _Part) -> None:
        slopes = (term for random in right.random for term in random.terms)
        if all(outcome not in term.factors for term in (*right.terms, *slopes)):
            return
        self.source.fail(f"the outcome {expression_r(outcome)} is also a predictor")

    def _check_random(self, right: _Part) -> None:
        """Refuse an effect that varies twice over the same groups: it is not identified."""
        seen: set[tuple[frozenset[str], frozenset[Expression]]] = set()
        for random in right.random:
            for term in (*([Term(())] if random.intercept else []), *random.terms):
                key = (frozenset(random.groups), frozenset(term.factors))
                if key in seen:
                    what = term_r(term) or "the intercept"
                    groups = ":".join(random.groups)
                    self.source.fail(f"{what} varies over {groups} in more than one random term")
                seen.add(key)

    # sums and products of terms

    def sum(self) -> _Part:
        """Products joined by ``+`` and ``-``."""
        total = _Part(self.token)
        sign = self.sign()
        while True:
            total = self._added(total, self.product(), sign)
            if not self.sees("+", "-"):
                return total
            sign = self.sign()

    def sign(self) -> int:
        """Any number of signs, as one."""
        sign = 1
        while taken := self.accept("+", "-"):
            sign = -sign if taken.text == "-" else sign
        return sign

    def _added(self, total: _Part, part: _Part, sign: int) -> _Part:
        intercept = total.intercept if part.intercept is None else part.intercept is (sign > 0)
        if sign < 0:
            return replace(total, terms=self._removed(total, part), intercept=intercept)
        if total.offset is not None and part.offset is not None:
            self.source.at(part.start, "a formula has one offset", "write their sum in offset()")
        return replace(
            total,
            terms=self._limited(total.start, (*total.terms, *part.terms)).terms,
            intercept=intercept,
            random=total.random + part.random,
            offset=total.offset if part.offset is None else part.offset,
        )

    def _removed(self, total: _Part, part: _Part) -> tuple[Term, ...]:
        if part.random or part.offset is not None:
            self.source.at(part.start, "only fixed terms and the intercept can be taken out by '-'")
        for term in part.terms:
            if not any(term.same_as(other) for other in total.terms):
                self.source.at(part.start, f"there is no term {term_r(term)} to take out")
        return tuple(
            term for term in total.terms if not any(term.same_as(gone) for gone in part.terms)
        )

    def product(self) -> _Part:
        """Interactions joined by ``*`` (crossing) and ``/`` (nesting)."""
        left = self.interaction()
        while operator := self.accept("*", "/"):
            right = self._plain(self.interaction(), operator)
            self._plain(left, operator)
            if operator.text == "*":
                more = (*right.terms, *_interactions(left.terms, right.terms))
            else:
                more = _interactions((_joined(*left.terms),), right.terms)
            left = self._limited(left.start, (*left.terms, *more))
        return left

    def interaction(self) -> _Part:
        """Powers joined by ``:``."""
        left = self.power()
        while operator := self.accept(":"):
            right = self._plain(self.power(), operator)
            self._plain(left, operator)
            left = self._limited(left.start, _interactions(left.terms, right.terms))
        return left

    def power(self) -> _Part:
        """An atom, or a sum in parentheses to a whole power."""
        base = self.atom()
        operator = self.accept("^")
        if not operator:
            return base
        terms = self._plain(base, operator).terms
        if len(terms) == 1:
            hint = f"for a power of the variable write I({term_r(terms[0])}^2)"
            self.source.at(operator, "'^' crosses the terms of a sum in parentheses", hint)
        for _ in range(self.whole_number(_MAX_DEGREE) - 1):
            base = self._limited(base.start, _interactions(base.terms, terms))
        return base

    def _plain(self, part: _Part, operator: _Token) -> _Part:
        if not part.is_plain:
            message = f"'{operator.text}' joins variables only"
            self.source.at(part.start, message, "0, 1, offset() and random terms are added by '+'")
        return part

    def _limited(self, start: _Token, terms: tuple[Term, ...]) -> _Part:
        terms = _unique(terms)
        if len(terms) > _MAX_TERMS:
            self.source.at(start, f"this expands to more than {_MAX_TERMS} terms")
        return _Part(start, terms)

    def atom(self) -> _Part:
        """The smallest parts: a variable, a call, the intercept, parentheses."""
        start = self.token
        if start.kind == "number":
            return self._intercept()
        if start.kind in {"name", "quoted"}:
            return self._factor()
        if not self.sees("("):
            self.unexpected()
        opening = self.open()
        part = self.sum()
        if self.sees("|", "||"):
            part = self._random(part)
        self.close(opening)
        return replace(part, start=opening)

    def _intercept(self) -> _Part:
        token = self.take()
        if token.text not in {"0", "1"}:
            hint = "0 takes the intercept out, 1 puts it in; arithmetic goes in I()"
            self.source.at(token, f"the number {token.text} is not a term", hint)
        return _Part(token, intercept=token.text == "1")

    def _factor(self) -> _Part:
        start = self.token
        if start.text == "offset" and self.tokens[self.place + 1].text == "(":
            return _Part(start, offset=self.call(special="offset").arguments[0])
        return _Part(start, (Term((self.operand(),)),))

    def _random(self, part: _Part) -> _Part:
        bar = self.take()
        if part.random or part.offset is not None:
            self.source.at(bar, "a random term cannot hold another one, or an offset")
        intercept = part.intercept is not False
        if not intercept and not part.terms:
            self.source.at(bar, "nothing varies in this random term", "write (1 | group)")
        terms = ordered(part.terms)
        groups = self.groups()
        correlated = bar.text == "|" or len(terms) + intercept == 1
        return _Part(
            part.start,
            random=tuple(RandomTerm(terms, intercept, group, correlated) for group in groups),
        )

    def groups(self) -> list[tuple[str, ...]]:
        """The groupings behind a bar: ``a/b`` is a and a:b."""
        nested: list[tuple[str, ...]] = [self.grouping(())]
        while self.accept("/"):
            nested.append(self.grouping(nested[-1]))
        if self.sees("+", "*"):
            hint = "give each grouping a term of its own: (1 | a) + (1 | b)"
            self.source.at(self.token, f"'{self.token.text}' cannot join groups", hint)
        return nested

    def grouping(self, within: tuple[str, ...]) -> tuple[str, ...]:
        """Column names joined by ``:``, behind those they are nested in."""
        while True:
            token = self.token
            if token.kind not in {"name", "quoted"}:
                if token.text in {"(", "0", "1"}:
                    self.source.at(token, "only column names can group, joined by ':' or '/'")
                self.unexpected()
            name = self.name()
            if self.sees("("):
                self.source.at(token, "a group is a column, not a function of one", _DERIVE)
            if name in within:
                self.source.at(token, f"{name} is named twice in one grouping")
            within = (*within, name)
            if not self.accept(":"):
                return within

    # arithmetic and calls

    def arithmetic(self, least: int = 1) -> Expression:
        """Arithmetic whose operators bind at least as strongly as ``least``."""
        left = self.signed()
        while self.sees(*_PRECEDENCE) and _PRECEDENCE[self.token.text] >= least:
            operator = self.operator()
            level = _PRECEDENCE[operator]
            right = self.arithmetic(level if operator == "^" else level + 1)
            left = Arithmetic(operator, (left, right))
        return left

    def operator(self) -> str:
        """An arithmetic operator, as long as there are not too many of them."""
        self.operators += 1
        if self.operators > _MAX_OPERATORS:
            self.source.at(self.token, f"more than {_MAX_OPERATORS} operators", _DERIVE)
        return self.take().text

    def signed(self) -> Expression:
        """An operand with or without a sign; a power binds before the sign."""
        sign = self.sign()
        if sign > 0:
            return self.operand()
        return Arithmetic("-", (self.arithmetic(_PRECEDENCE["^"]),))

    def operand(self) -> Expression:
        """A number, a name, a call, or arithmetic in parentheses."""
        token = self.token
        if token.kind == "number":
            return self.number()
        if token.kind in {"name", "quoted"}:
            called = self.tokens[self.place + 1].text == "("
            return self.call() if called else Name(self.name())
        if not self.sees("("):
            self.unexpected()
        opening = self.open()
        inner = self.arithmetic()
        self.close(opening)
        return inner

    def name(self) -> str:
        """A variable's name."""
        token = self.take()
        if token.kind == "name" and token.text in _CONSTANTS:
            hint = f"if it is a column, write it in backticks: `{token.text}`"
            self.source.at(token, f"{token.text} is a constant of R, not a variable", hint)
        return token.text

    def number(self) -> Number:
        """A number that R writes as it was written here."""
        token = self.take()
        value = float(token.text)
        digits = re.sub(r"[eE].*|[.]", "", token.text).strip("0")
        if len(digits) > _MAX_DIGITS or not (value == 0 or 1e-300 < value < 1e300):
            self.source.at(token, f"a number here has at most {_MAX_DIGITS} digits")
        return Number(value)

    def whole_number(self, most: int) -> int:
        """A whole number from 1 to ``most``."""
        token = self.take()
        if not (token.text.isascii() and token.text.isdigit() and 1 <= float(token.text) <= most):
            self.source.at(token, f"a whole number from 1 to {most} is needed here")
        return int(token.text)

    def call(self, special: str = "") -> Call:
        """A function of the whitelist with its arguments."""
        token = self.take()
        self._check_function(token, special)
        opening = self.open()
        if self.sees(")"):
            self.source.at(token, f"{token.text}() needs an argument")
        found = self._arguments(token.text)
        if self.sees(",", "="):
            self.source.at(self.token, f"{token.text}() takes no further argument")
        self.close(opening)
        return found

    def _check_function(self, token: _Token, special: str) -> None:
        if token.text == special or (token.text in FUNCTIONS and token.kind == "name"):
            return
        where = {"offset": "it is added by '+'", "cbind": "it is for an outcome of two columns"}
        hint = where.get(token.text) or _REFUSED.get(token.text)
        hint = hint or did_you_mean(token.text, FUNCTIONS)
        hint = "a function's name takes no backticks" if token.kind == "quoted" else hint
        self.source.at(token, f"{token.text}() cannot be used here", hint)

    def _arguments(self, function: str) -> Call:
        start = self.token
        first = self.arithmetic()
        self._check_argument(function, first, start)
        if function == "poly":
            return self._poly(first)
        if function != "cbind":
            return Call(function, (first,))
        if not self.accept(","):
            self.source.at(start, "cbind() takes two columns: successes and failures")
        start = self.token
        second = self.arithmetic()
        self._check_argument(function, second, start)
        return Call(function, (first, second))

    def _check_argument(self, function: str, argument: Expression, start: _Token) -> None:
        if not any(names_in(argument)):
            self.source.at(start, f"{function}() needs a variable")
        if _holds_poly(argument):
            self.source.at(start, "poly() has several columns, so it stands as a term of its own")

    def _poly(self, first: Expression) -> Call:
        if not self.accept(","):
            self.source.at(self.token, "poly() needs a degree", "write poly(x, 2)")
        if self.token.text == "degree" and self.tokens[self.place + 1].text == "=":
            self.place += 2
        degree = Number(float(self.whole_number(_MAX_DEGREE)))
        return Call("poly", (first, degree), self._raw() if self.accept(",") else False)

    def _raw(self) -> bool:
        for expected in ("raw", "="):
            if self.token.text != expected:
                self.source.at(self.token, "poly() takes 'raw = TRUE' or 'raw = FALSE' here")
            self.take()
        token = self.take()
        if token.text not in {"TRUE", "FALSE"}:
            self.source.at(token, "raw is TRUE or FALSE")
        return token.text == "TRUE"


def parse(text: str, location: Location | None = None) -> Formula:
    """Read an lme4 formula.

    Parameters
    ----------
    text
        Such as ``mathach ~ ses * sector + (1 + ses | school)``.
    location
        Where the text stands: the place of its first character and the line as excerpt.

    Raises
    ------
    InputError
        If the text holds anything that is not on the whitelist; the problem is located.
    """
    return _Parser(text, location).formula()


def parse_term(text: str, location: Location | None = None) -> tuple[Term, ...]:
    """Read terms alone, such as ``ses * sector``: three terms, in R's order.

    Raises
    ------
    InputError
        As `parse`, and if the text holds an intercept, an offset or a random term.
    """
    parser = _Parser(text, location)
    if parser.token.kind == "end":
        parser.source.fail("the term is empty")
    part = parser.whole_sum()
    if not part.is_plain:
        parser.source.fail("only fixed terms can stand here", "such as ses, ses:sector, I(age^2)")
    return ordered(part.terms)
