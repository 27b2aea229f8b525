"""The model in symbols: the equations of every level, the combined one, the distributions.

The notation is that of Raudenbush and Bryk (2002, chapters 2, 4 and 8). With two levels the
level-1 coefficients are beta and those of level 2 gamma; with three levels they are pi, beta and
gamma. The predictors of a term are sorted to their levels: a term's level-1 factors name the
level-1 coefficient it belongs to, its level-2 factors the predictor in that coefficient's equation,
so that a cross-level interaction stands in the equation of the slope. Models whose groups are
crossed, or that fit no such hierarchy, are written as one combined equation (ibid., chapter 12).

Everything is LaTeX that Pandoc turns into MathML, OMML and Typst: ``aligned``, ``pmatrix``, upright
text and Greek letters.

References
----------
Raudenbush, S. W., & Bryk, A. S. (2002). Hierarchical linear models (2nd ed.). Sage.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations, product

from mlmreport.spec.formula import (
    Arithmetic,
    Call,
    Expression,
    Formula,
    Name,
    Number,
    RandomTerm,
    Term,
    expression_r,
    names_in,
    r_name,
)

__all__ = ["Equations", "LevelInfo", "Symbol", "Variable", "equations", "tex_text"]


@dataclass(frozen=True, slots=True)
class Variable:
    """What the equations need to know of a predictor.

    Parameters
    ----------
    name
        The data column.
    label
        What a reader calls it; any text.
    level
        The lowest level at which it varies; 1 is that of the observations.
    columns
        Of a factor: the labels of its dummy columns, such as ``("Catholic",)``.
    coefficients
        R's coefficient name of each column, such as ``("sectorCatholic",)``; where empty, the
        column's name followed by the dummy's label.
    reference
        Of a factor: the label of the reference category, which gets a column of its own where R
        gives it one (no intercept, an interaction without its main effect).
    contrasts
        Of a factor whose columns are contrasts without a reference: what the coefficient of each
        is.
    categories
        Of such a factor: the labels of its categories.
    """

    name: str
    label: str
    level: int
    columns: tuple[str, ...] = ()
    coefficients: tuple[str, ...] = ()
    reference: str = ""
    contrasts: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LevelInfo:
    """A level of the hierarchy.

    Parameters
    ----------
    name
        A unit of it, in the singular: ``student``.
    group
        The column that tells its units apart; None for level 1.
    index
        The letter that counts its units.
    crossed
        Whether its units are crossed with those of another level in place of holding them.
    """

    name: str
    group: str | None
    index: str
    crossed: bool = False


@dataclass(frozen=True, slots=True)
class Symbol:
    """A symbol of the equations and what it stands for.

    Parameters
    ----------
    latex
        The symbol.
    coefficient
        R's name of the coefficient or random effect, or nothing.
    component
        ``outcome``, ``coefficient`` (of a lower level, made up of others), ``fixef``, ``u``, ``e``,
        ``var``, ``cov`` or ``sigma2``.
    meaning
        What it stands for, a clause without a full stop.
    group
        The grouping as R names it, for ``u``, ``var`` and ``cov``.
    other
        The second random effect of a covariance.
    """

    latex: str
    coefficient: str
    component: str
    meaning: str
    group: str = ""
    other: str = ""


@dataclass(frozen=True, slots=True)
class Equations:
    """A model's equations, each a LaTeX text without delimiters.

    Parameters
    ----------
    levels
        The name of each level and its equations, level 1 first; empty where the model has no
        hierarchy of equations.
    composite
        All levels in one equation.
    distributions
        How the random effects and the level-1 errors are distributed.
    matrix
        The model in matrix notation.
    symbols
        Each symbol once, in the order of the equations.
    note
        A sentence on the form of the equations, or nothing.
    """

    levels: tuple[tuple[str, str], ...]
    composite: str
    distributions: str
    matrix: str
    symbols: tuple[Symbol, ...]
    note: str = ""


# --- text --------------------------------------------------------------------------------------

_ESCAPES = {char: f"\\{char}{{}}" for char in "&%_#$"} | {
    "{": "\\{",
    "}": "\\}",
    "\\": "\\textbackslash{}",
    "^": "\\textasciicircum{}",
    "~": "\\textasciitilde{}",
}
_ROW_WIDTH = 64
_MATRIX = (
    r"\mathbf{y} = \mathbf{X}\boldsymbol{\gamma} + \mathbf{Z}\mathbf{u} + \mathbf{e}, \quad "
    r"\mathbf{u} \sim \mathcal{N}(\mathbf{0}, \mathbf{G}), \quad "
    r"\mathbf{e} \sim \mathcal{N}(\mathbf{0}, \sigma^{2}\mathbf{I})"
)
_MATRIX_FIXED = (
    r"\mathbf{y} = \mathbf{X}\boldsymbol{\gamma} + \mathbf{e}, \quad "
    r"\mathbf{e} \sim \mathcal{N}(\mathbf{0}, \sigma^{2}\mathbf{I})"
)
_CROSSED_NOTE = (
    "The groups are not nested in one another, so this is a cross-classified model; "
    "it is written as one combined equation."
)
_COMBINED_NOTE = "The random effects do not follow one hierarchy, so the model is one equation."


def tex_text(label: str) -> str:
    """A label of any characters as upright text in a formula."""
    visible = " ".join("".join(c if c.isprintable() else " " for c in label).split())
    return f"\\text{{{''.join(_ESCAPES.get(char, char) for char in visible)}}}"


def _width(latex: str) -> int:
    """About how many characters a piece of a formula is wide."""
    return len(re.sub(r"\\[a-zA-Z]+|[{}_^\\]", "", latex))


def _rows(left: str, parts: Sequence[str]) -> str:
    """``left = a + b + ...`` as rows of an aligned block, broken where they get too wide."""
    rows, width = [f"{left} &= {parts[0]}"], _width(left) + _width(parts[0])
    for part in parts[1:]:
        width += _width(part) + 3
        if width > _ROW_WIDTH:
            rows.append(f"&\\quad + {part}")
            width = _width(part) + 3
        else:
            rows[-1] += f" + {part}"
    return " \\\\\n".join(rows)


def _aligned(rows: Iterable[str]) -> str:
    return "\\begin{aligned}\n" + " \\\\\n".join(rows) + "\n\\end{aligned}"


def _numbers(numbers: Sequence[int]) -> str:
    """Numbers as a subscript, set apart by commas where one has two digits."""
    return ("," if any(number > 9 for number in numbers) else "").join(map(str, numbers))


_BINDING = {"+": 1, "-": 1, "*": 2, "/": 2, "^": 4}
_ATOM = 5
_SIGNS = {"*": "\\cdot"}
_FUNCTIONS = {
    "exp": "\\exp(@)",
    "log": "\\log(@)",
    "log10": "\\log_{10}(@)",
    "log1p": "\\log(1 + @)",
    "log2": "\\log_{2}(@)",
    "sqrt": "\\sqrt{@}",
}


# --- columns of the design matrices ------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Atom:
    """One factor of one column: a number's value or a dummy.

    Of a dummy, ``of_dummy`` says in words where it is 0; ``is_whole`` tells that the factor has a
    dummy for every category. Of a contrast, ``contrast`` says what its coefficient is.
    """

    latex: str
    level: int
    words: str
    coefficient: str
    of_dummy: str = field(default="", compare=False)
    is_whole: bool = field(default=False, compare=False)
    contrast: str = field(default="", compare=False)

    @property
    def is_dummy(self) -> bool:
        """Whether it stands for a category."""
        return bool(self.of_dummy) and not self.contrast


_Product = tuple[_Atom, ...]


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of a design matrix: a product of atoms, empty for the intercept."""

    atoms: _Product

    @property
    def coefficient(self) -> str:
        """R's name of it."""
        return ":".join(atom.coefficient for atom in self.atoms) or "(Intercept)"

    @property
    def words(self) -> str:
        """The column as a reader names it."""
        return _words(self.atoms)

    def at(self, level: int) -> _Product:
        """The atoms that vary at a level."""
        return tuple(atom for atom in self.atoms if atom.level == level)


def _words(atoms: Iterable[_Atom]) -> str:
    return " × ".join(atom.words for atom in atoms)


def _times(coefficient: str, atoms: _Product) -> str:
    factors = " \\times ".join(atom.latex for atom in atoms)
    return f"{coefficient}\\,{factors}" if atoms else coefficient


@dataclass(frozen=True)
class _Columns:
    """Turns terms into columns, as R's ``model.matrix()`` does."""

    variables: Mapping[str, Variable]
    indices: Callable[[int], str]
    top: int

    def of(self, terms: Sequence[Term], intercept: bool) -> list[_Column]:
        """The columns of all terms, the intercept first."""
        whole = None if intercept else self._first_factor(terms)
        found = [_Column(())] if intercept else []
        for term in terms:
            kinds = [
                self._atoms(factor, (term, factor) == whole or self._needs_all(factor, term, terms))
                for factor in term.factors
            ]
            found += [_Column(atoms[::-1]) for atoms in product(*kinds[::-1])]
        return found

    def _first_factor(self, terms: Sequence[Term]) -> tuple[Term, Expression] | None:
        """Without an intercept R gives the first factor of all a column for every category."""
        pairs = ((term, factor) for term in terms for factor in term.factors)
        return next((pair for pair in pairs if self._categories(pair[1])), None)

    def _needs_all(self, factor: Expression, term: Term, terms: Sequence[Term]) -> bool:
        """Whether the term without the factor is missing, so that no category is redundant."""
        rest = frozenset(term.factors) - {factor}
        return bool(rest) and rest not in {frozenset(other.factors) for other in terms}

    def _categories(self, factor: Expression) -> Variable | None:
        variable = self.variables[factor.name] if isinstance(factor, Name) else None
        return variable if variable and variable.columns else None

    def _atoms(self, factor: Expression, whole: bool) -> list[_Atom]:
        variable = self._categories(factor)
        if variable:
            return list(self._dummies(variable, whole))
        if isinstance(factor, Call) and factor.function == "poly":
            return list(self._powers(factor))
        latex = self.latex(factor, _BINDING["*"])
        return [_Atom(latex, self._level(factor), self.words(factor), self._coefficient(factor))]

    def _coefficient(self, factor: Expression) -> str:
        if isinstance(factor, Name) and self.variables[factor.name].coefficients:
            return self.variables[factor.name].coefficients[0]
        return expression_r(factor)

    def _dummies(self, variable: Variable, whole: bool) -> Iterator[_Atom]:
        stem = r_name(variable.name)
        names = variable.coefficients or tuple(stem + column for column in variable.columns)
        pairs = list(zip(variable.columns, names, strict=True))
        if whole and variable.contrasts:
            pairs = [(category, stem + category) for category in variable.categories]
        elif whole and variable.reference:
            pairs.insert(0, (variable.reference, stem + variable.reference))
        level = self._clamped(variable)
        contrasts = dict(zip(variable.columns, variable.contrasts, strict=False))
        for column, name in pairs:
            latex = f"{tex_text(column)}_{{{self.indices(level)}}}"
            words, zero = (
                column if column.startswith(variable.label) else f"{variable.label}: {column}",
                f"{variable.label} is at its reference category",
            )
            contrast = "" if whole else contrasts.get(column, "")
            if contrast:
                contrast = f"by {variable.label}, {contrast}"
                zero = f"{variable.label} is averaged over its categories"
            yield _Atom(latex, level, words, name, zero, whole, contrast)

    def _powers(self, call: Call) -> Iterator[_Atom]:
        base, degree = call.arguments
        count = int(degree.value) if isinstance(degree, Number) else 1
        latex, words, stem = self.latex(base, _ATOM), self.words(base), expression_r(call)
        for power in range(1, count + 1):
            raised = latex if power == 1 else f"{latex}^{{{power}}}"
            shown = raised if call.raw else f"P_{{{power}}}({self.latex(base)})"
            kind = "power" if call.raw else "orthogonal polynomial"
            name = f"{stem}{power}" if count > 1 else stem
            yield _Atom(shown, self._level(base), f"{kind} {power} of {words}", name)

    def _level(self, expression: Expression) -> int:
        return min(self._clamped(self.variables[name]) for name in names_in(expression))

    def _clamped(self, variable: Variable) -> int:
        """A variable's level, at most the highest of the model."""
        return max(1, min(variable.level, self.top))

    def words(self, expression: Expression) -> str:
        """An expression with the variables' labels in place of their names."""
        if isinstance(expression, Name):
            return self.variables[expression.name].label
        if isinstance(expression, Call):
            inner = self.words(expression.arguments[0])
            return inner if expression.function == "I" else f"{expression.function}({inner})"
        if isinstance(expression, Number):
            return expression_r(expression)
        parts = [
            f"({self.words(part)})" if isinstance(part, Arithmetic) else self.words(part)
            for part in expression.operands
        ]
        if len(parts) == 1:
            return f"-{parts[0]}"
        return ("^" if expression.operator == "^" else f" {expression.operator} ").join(parts)

    def latex(self, expression: Expression, least: int = 0) -> str:
        """An expression in LaTeX, in parentheses where it binds less than ``least``."""
        if isinstance(expression, Name):
            variable = self.variables[expression.name]
            return f"{tex_text(variable.label)}_{{{self.indices(self._clamped(variable))}}}"
        if isinstance(expression, Number):
            return _number_latex(expression, least)
        if isinstance(expression, Call):
            return self._call_latex(expression, least)
        level = _BINDING[expression.operator]
        text = self._arithmetic_latex(expression, level)
        return f"({text})" if level < least else text

    def _call_latex(self, call: Call, least: int) -> str:
        if call.function == "I":
            return self.latex(call.arguments[0], least)
        return _FUNCTIONS[call.function].replace("@", self.latex(call.arguments[0]))

    def _arithmetic_latex(self, expression: Arithmetic, level: int) -> str:
        if len(expression.operands) == 1:
            return f"-{self.latex(expression.operands[0], level + 1)}"
        left = self.latex(expression.operands[0], _ATOM if expression.operator == "^" else level)
        if expression.operator == "^":
            return f"{left}^{{{self.latex(expression.operands[1])}}}"
        sign = _SIGNS.get(expression.operator, expression.operator)
        return f"{left} {sign} {self.latex(expression.operands[1], level + 1)}"


def _number_latex(number: Number, least: int) -> str:
    mantissa, _, exponent = expression_r(number).partition("e")
    if not exponent:
        return mantissa
    power = f"10^{{{int(exponent)}}}"
    text, binding = (power, "^") if mantissa == "1" else (f"{mantissa} \\cdot {power}", "*")
    return f"({text})" if least > _BINDING[binding] else text


# --- random effects ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Grouping:
    """A grouping of the random part.

    ``name`` is R's, ``unit`` and ``counter`` name one unit of it, ``index`` is the subscript of its
    effects, ``letter`` and ``tag`` are the letters of its effects and of their variances.
    """

    name: str
    unit: str
    counter: str
    index: str
    letter: str
    tag: str
    level: int = 0


@dataclass(frozen=True, slots=True)
class _Effect:
    """A random effect; effects of one block are correlated."""

    column: _Column
    grouping: _Grouping
    block: int


def _blocks(random: RandomTerm) -> list[tuple[tuple[Term, ...], bool]]:
    """The terms whose effects are correlated: all, or with ``||`` each by itself."""
    if random.correlated:
        return [(random.terms, random.intercept)]
    alone: list[tuple[tuple[Term, ...], bool]] = [((term,), False) for term in random.terms]
    return [((), True), *alone] if random.intercept else alone


def _level_of(groups: tuple[str, ...], levels: Sequence[LevelInfo]) -> int:
    """The number of the level that a grouping tells apart, 0 where there is none."""
    for number, level in enumerate(levels, 1):
        if level.group == ":".join(groups):
            return number
    known = [number for number, level in enumerate(levels, 1) if level.group in groups]
    return min(known, default=0)


def _is_hierarchy(formula: Formula, levels: Sequence[LevelInfo]) -> bool:
    """Whether each grouping is a level of its own and no level is crossed with another."""
    groupings = {frozenset(random.groups): random.groups for random in formula.random}
    found = [_level_of(groups, levels) for groups in groupings.values()]
    alone = len(set(found)) == len(found) and min(found, default=2) > 1
    return alone and len(levels) <= len(_LETTERS) and not any(level.crossed for level in levels)


# --- what both forms share ---------------------------------------------------------------------


@dataclass(frozen=True)
class _Form(ABC):
    """A model on its way to equations; subclasses give the symbols their subscripts."""

    formula: Formula
    variables: Mapping[str, Variable]
    levels: Sequence[LevelInfo]
    outcome_label: str
    weighted: bool = False

    @abstractmethod
    def indices(self, level: int) -> str:
        """The subscript of a variable of a level."""

    @abstractmethod
    def grouping(self, groups: tuple[str, ...]) -> _Grouping:
        """The grouping of a random term."""

    @abstractmethod
    def numbers(self, effect: _Effect) -> tuple[int, ...]:
        """The numbers in the subscript of a random effect."""

    @abstractmethod
    def gamma(self, column: _Column) -> str:
        """The fixed coefficient of a column."""

    @cached_property
    def columns(self) -> _Columns:
        """What turns terms into columns."""
        return _Columns(self.variables, self.indices, len(self.levels))

    @cached_property
    def fixed(self) -> list[_Column]:
        """The columns of the fixed part."""
        return self.columns.of(self.formula.fixed, self.formula.intercept)

    @cached_property
    def effects(self) -> list[_Effect]:
        """All random effects, those of lower levels first."""
        found, block = [], 0
        for random in self.formula.random:
            grouping = self.grouping(random.groups)
            for terms, intercept in _blocks(random):
                columns = self.columns.of(terms, intercept)
                found += [_Effect(column, grouping, block) for column in columns]
                block += 1
        return sorted(found, key=lambda effect: effect.grouping.level)

    @cached_property
    def groupings(self) -> dict[_Grouping, list[_Effect]]:
        """The random effects of each grouping."""
        found: dict[_Grouping, list[_Effect]] = {}
        for effect in self.effects:
            found.setdefault(effect.grouping, []).append(effect)
        return found

    @property
    def outcome(self) -> str:
        """The outcome in LaTeX, with its transformation."""
        plain = f"Y_{{{self.indices(1)}}}"
        call = self.formula.outcome
        if not (isinstance(call, Call) and isinstance(call.arguments[0], Name)):
            return plain
        return _FUNCTIONS.get(call.function, "@").replace("@", plain)

    @property
    def outcome_words(self) -> str:
        """The outcome in words, with its transformation."""
        call = self.formula.outcome
        if isinstance(call, Call) and call.function not in {"I", "cbind"}:
            return f"{call.function}({self.outcome_label})"
        return self.outcome_label

    @property
    def error(self) -> str:
        """The level-1 error."""
        return f"e_{{{self.indices(1)}}}"

    def u(self, effect: _Effect) -> str:
        """A random effect in LaTeX."""
        grouping = effect.grouping
        return f"{grouping.letter}_{{{_numbers(self.numbers(effect))}{grouping.index}}}"

    def offset(self) -> list[str]:
        """The offset as a part of a sum."""
        found = self.formula.offset
        return [] if found is None else [self.columns.latex(found, 2)]

    def composite(self) -> str:
        """All in one equation."""
        parts = [_times(self.gamma(column), column.atoms) for column in self.fixed]
        parts += self.offset()
        parts += [_times(self.u(effect), effect.column.atoms) for effect in self.effects]
        return _aligned([_rows(self.outcome, [*parts, self.error])])

    def tau(self, grouping: _Grouping, one: int, other: int) -> str:
        """A variance or covariance of the random effects of a grouping, by their positions."""
        firsts = [self.numbers(effect)[0] for effect in self.groupings[grouping]]
        names = firsts if len(set(firsts)) == len(firsts) else list(range(len(firsts)))
        pair = _numbers((names[one], names[other]))
        return f"\\tau_{{{grouping.tag} {pair}}}" if grouping.tag else f"\\tau_{{{pair}}}"

    def distributions(self) -> str:
        """The distributions of the random effects and of the errors."""
        rows = [self._distribution(*item) for item in self.groupings.items()]
        variance = f"\\sigma^{{2}} / {self.weight}" if self.weighted else "\\sigma^{2}"
        return _aligned([*rows, f"{self.error} &\\sim \\mathcal{{N}}(0, {variance})"])

    @property
    def weight(self) -> str:
        """The prior weight of a row."""
        return f"\\omega_{{{self.indices(1)}}}"

    @property
    def matrix(self) -> str:
        """The model in matrix notation, with the offset where there is one."""
        form = _MATRIX if self.effects else _MATRIX_FIXED
        if self.formula.offset is not None:
            form = form.replace(r"\boldsymbol{\gamma}", r"\boldsymbol{\gamma} + \mathbf{o}", 1)
        if self.weighted:
            form = form.replace(r"\sigma^{2}\mathbf{I}", r"\sigma^{2}\mathbf{W}^{-1}")
        return form

    def _distribution(self, grouping: _Grouping, effects: list[_Effect]) -> str:
        if len(effects) == 1:
            variance = self.tau(grouping, 0, 0)
            return f"{self.u(effects[0])} &\\sim \\mathcal{{N}}(0, {variance})"
        places = range(len(effects))
        cells = [[self._cell(grouping, effects, i, j) for j in places] for i in places]
        vector = _matrix([[self.u(effect)] for effect in effects])
        zeros, covariances = _matrix([["0"]] * len(effects)), _matrix(cells)
        return f"{vector} &\\sim \\mathcal{{N}}\\left({zeros}, {covariances}\\right)"

    def _cell(self, grouping: _Grouping, effects: list[_Effect], row: int, column: int) -> str:
        low, high = sorted((row, column))
        same_block = effects[low].block == effects[high].block
        return self.tau(grouping, low, high) if same_block else "0"

    # meanings

    def symbols(self) -> list[Symbol]:
        """The symbols of fixed part, random effects and variances."""
        fixed = [
            Symbol(self.gamma(column), column.coefficient, "fixef", self._fixed_meaning(column))
            for column in self.fixed
        ]
        effects = [self._effect_symbol(effect) for effect in self.effects]
        rest = [*self._variances(), self._sigma(), *self._weight_symbol(), *self._known()]
        return [*fixed, *effects, self._error_symbol(), *rest]

    def _weight_symbol(self) -> Iterator[Symbol]:
        if self.weighted:
            unit = f"{self.levels[0].name} {self.levels[0].index}"
            meaning = f"the prior weight of {unit}, known: its residual variance is σ² over it"
            yield Symbol(self.weight, "", "weight", meaning)

    def _known(self) -> Iterator[Symbol]:
        """The offset, which has no coefficient."""
        if self.formula.offset is not None:
            words = self.columns.words(self.formula.offset)
            meaning = f"the offset, {words}: added as it is, its coefficient fixed at 1"
            yield Symbol(self.offset()[0], "", "offset", meaning)

    def outcome_symbol(self) -> Symbol:
        """The outcome of one unit of level 1."""
        meaning = self._outcome_of_unit()
        return Symbol(f"Y_{{{self.indices(1)}}}", "", "outcome", meaning)

    def _fixed_meaning(self, column: _Column) -> str:
        if not column.atoms:
            main = f"the expected {self.outcome_words}{self._at_zero()}"
        elif len(column.atoms) == 1:
            main = self._main_meaning(column.atoms[0]) + self._where(column.atoms[0])
        else:
            *rest, last = sorted(column.atoms, key=lambda atom: atom.level)
            by = f"in {last.words}" if last.is_dummy else f"per unit of {last.words}"
            main = f"how much the coefficient of {_words(rest)} changes {by}"
        units = [effect.grouping.unit for effect in self.effects if effect.column == column]
        return f"{main}, in the average {' and '.join(units)}" if units else main

    def _at_zero(self) -> str:
        atoms = {atom for column in self.fixed for atom in column.atoms}
        if not atoms:
            return ""
        numbers = any(not atom.of_dummy for atom in atoms)
        ways = ["is 0"] * numbers
        ways += ["is at its reference category"] * any(atom.is_dummy for atom in atoms)
        ways += ["is averaged over its categories"] * any(atom.contrast for atom in atoms)
        return f" where every predictor {' or '.join(ways)}"

    def _main_meaning(self, atom: _Atom) -> str:
        if atom.is_whole:
            return f"the expected {self.outcome_words} in {atom.words}"
        if atom.contrast:
            return f"in the expected {self.outcome_words} {atom.contrast}"
        if atom.is_dummy:
            between = f"between {atom.words} and the reference category"
            return f"the expected difference in {self.outcome_words} {between}"
        return f"the expected difference in {self.outcome_words} per unit of {atom.words}"

    def _where(self, atom: _Atom) -> str:
        """At which value of the variables it interacts with a coefficient holds."""
        sharing = [column for column in self.fixed if atom in column.atoms]
        others = dict.fromkeys(
            other.of_dummy or f"{other.words} is 0"
            for column in sharing
            for other in column.atoms
            if other != atom
        )
        return f", where {' and '.join(others)}" if others else ""

    def _effect_symbol(self, effect: _Effect) -> Symbol:
        grouping, what = effect.grouping, _of(effect.column)
        meaning = f"how far {what} in {grouping.unit} {grouping.counter} lies from the expected one"
        return Symbol(self.u(effect), effect.column.coefficient, "u", meaning, grouping.name)

    def _outcome_of_unit(self) -> str:
        """The outcome of a unit of level 1; "rating i" where both are called the same."""
        name, index = self.levels[0].name, self.levels[0].index
        same = self.outcome_label.casefold() == name.casefold()
        return f"{name} {index}" if same else f"{self.outcome_label} of {name} {index}"

    def _error_symbol(self) -> Symbol:
        meaning = f"the part of {self._outcome_of_unit()} that the model does not account for"
        return Symbol(self.error, "", "e", meaning)

    def _variances(self) -> Iterator[Symbol]:
        for grouping, effects in self.groupings.items():
            for place, effect in enumerate(effects):
                meaning = f"the variance of {_of(effect.column)} {_between(grouping)}"
                name, tau = effect.column.coefficient, self.tau(grouping, place, place)
                yield Symbol(tau, name, "var", meaning, grouping.name)
            yield from self._covariances(grouping, effects)

    def _covariances(self, grouping: _Grouping, effects: list[_Effect]) -> Iterator[Symbol]:
        for (i, one), (j, two) in combinations(enumerate(effects), 2):
            if one.block == two.block:
                both = f"{_of(one.column)} and {_of(two.column)}"
                meaning = f"the covariance of {both} {_between(grouping)}"
                names = one.column.coefficient, two.column.coefficient
                yield Symbol(
                    self.tau(grouping, i, j), names[0], "cov", meaning, grouping.name, names[1]
                )

    def _sigma(self) -> Symbol:
        units = " and ".join(dict.fromkeys(grouping.unit for grouping in self.groupings))
        within = f" within one {units}" if units else ""
        unit = self.levels[0].name
        meaning = f"the residual variance of {self.outcome_words} from {unit} to {unit}{within}"
        if self.weighted:
            meaning += ", where the prior weight is 1"
        return Symbol("\\sigma^{2}", "", "sigma2", meaning)


def _of(column: _Column) -> str:
    return f"the slope of {column.words}" if column.atoms else "the intercept"


def _between(grouping: _Grouping) -> str:
    return f"from {grouping.unit} to {grouping.unit}"


def _matrix(rows: Iterable[Iterable[str]]) -> str:
    body = " \\\\ ".join(" & ".join(row) for row in rows)
    return f"\\begin{{pmatrix}}{body}\\end{{pmatrix}}"


# --- one equation per level --------------------------------------------------------------------

_LETTERS = ("\\psi", "\\pi", "\\beta", "\\gamma")
_RESIDUALS = ("s", "r", "u")

_Path = tuple[_Product, ...]


@dataclass(frozen=True)
class _Hierarchy(_Form):
    """A model of nested levels: each coefficient is a path of products, one for each level."""

    def indices(self, level: int) -> str:
        return "".join(info.index for info in self.levels[level - 1 :])

    def grouping(self, groups: tuple[str, ...]) -> _Grouping:
        level = _level_of(groups, self.levels)
        top, info = len(self.levels), self.levels[level - 1]
        letter = _RESIDUALS[level - 1 - top]
        tag = self.letter(level - 1) if top > 2 else ""
        name, index = ":".join(groups), self.indices(level)
        return _Grouping(name, info.name, info.index, index, letter, tag, level)

    def letter(self, length: int) -> str:
        """The letter of the coefficients that a path of a length names."""
        letters = ("\\beta",) if len(self.levels) == 1 else _LETTERS[-len(self.levels) :]
        return letters[length - 1]

    @cached_property
    def children(self) -> dict[_Path, dict[_Product, int]]:
        """The products below each path, numbered; the empty one has the number 0."""
        found: dict[_Path, dict[_Product, int]] = {}
        paths = [_path(column, len(self.levels)) for column in self.fixed]
        paths += [_path(effect.column, effect.grouping.level - 1) for effect in self.effects]
        for path in paths:
            for place, step in enumerate(path):
                below = found.setdefault(path[:place], {})
                below.setdefault(step, sum(1 for other in below if other) + 1 if step else 0)
        return found

    def path_numbers(self, path: _Path) -> tuple[int, ...]:
        """The numbers of a path's steps."""
        return tuple(self.children[path[:place]][step] for place, step in enumerate(path))

    def coefficient(self, path: _Path) -> str:
        """The coefficient that a path names."""
        units = self.indices(len(path) + 1)
        return f"{self.letter(len(path))}_{{{_numbers(self.path_numbers(path))}{units}}}"

    def gamma(self, column: _Column) -> str:
        return self.coefficient(_path(column, len(self.levels)))

    def numbers(self, effect: _Effect) -> tuple[int, ...]:
        """The path's numbers, and one more for a slope of a variable of the grouping itself."""
        path = _path(effect.column, effect.grouping.level - 1)
        if not _rest(effect):
            return self.path_numbers(path)
        extra = [
            other
            for other in self.groupings[effect.grouping]
            if _rest(other) and _path(other.column, effect.grouping.level - 1) == path
        ]
        return (*self.path_numbers(path), extra.index(effect) + 1)

    def equation(self, path: _Path) -> str:
        """The equation of the coefficient that a path names, or of the outcome."""
        below = sorted(self.children.get(path, {}).items(), key=_by_number)
        parts = [_times(self.coefficient((*path, step)), step) for step, _ in below]
        if not path:
            return _rows(self.outcome, [*parts, *self.offset(), self.error])
        parts += [
            _times(self.u(effect), _rest(effect))
            for effect in self.effects
            if effect.grouping.level == len(path) + 1 and _path(effect.column, len(path)) == path
        ]
        return _rows(self.coefficient(path), parts)

    @cached_property
    def paths(self) -> list[list[_Path]]:
        """The paths that need an equation, level by level."""
        found: list[list[_Path]] = [[()]]
        for _ in self.levels[1:]:
            found.append(
                [
                    (*path, step)
                    for path in found[-1]
                    for step, _ in sorted(self.children.get(path, {}).items(), key=_by_number)
                ]
            )
        return found

    def equations(self) -> Equations:
        """All equations."""
        blocks = tuple(
            (f"Level {number} ({info.name})", _aligned(map(self.equation, paths)))
            for number, (info, paths) in enumerate(zip(self.levels, self.paths, strict=True), 1)
            if paths
        )
        named = [self._coefficient_symbol(path) for paths in self.paths[1:] for path in paths]
        symbols = (self.outcome_symbol(), *named, *self.symbols())
        return Equations(blocks, self.composite(), self.distributions(), self.matrix, symbols)

    def _coefficient_symbol(self, path: _Path) -> Symbol:
        info = self.levels[len(path)]
        what = _of(_Column(tuple(atom for step in path for atom in step)))
        meaning = f"{what} in {info.name} {info.index}"
        return Symbol(self.coefficient(path), "", "coefficient", meaning)


def _by_number(item: tuple[_Product, int]) -> int:
    return item[1]


def _path(column: _Column, length: int) -> _Path:
    """What a column has at each of the lowest levels."""
    return tuple(column.at(level) for level in range(1, length + 1))


def _rest(effect: _Effect) -> _Product:
    """What a random slope has at the level of its grouping or above."""
    return tuple(atom for atom in effect.column.atoms if atom.level >= effect.grouping.level)


# --- one equation in all -----------------------------------------------------------------------


@dataclass(frozen=True)
class _Combined(_Form):
    """A model of crossed groups."""

    @cached_property
    def letters(self) -> dict[str, str]:
        """The index of each grouping column, also of those that are no level."""
        found = {info.group: info.index for info in self.levels if info.group}
        taken = {info.index for info in self.levels}
        free = (letter for letter in "jklmnopqrst" if letter not in taken)
        for random in self.formula.random:
            if ":".join(random.groups) not in found:
                for name in random.groups:
                    found[name] = found.get(name) or next(free, "t")
        return found

    def indices(self, level: int) -> str:
        if level > 1:
            nested = [info.index for info in self.levels[level - 1 :] if not info.crossed]
            return (
                self.levels[level - 1].index if self.levels[level - 1].crossed else "".join(nested)
            )
        above = "".join(dict.fromkeys(self.letters.values()))
        first = self.levels[0].index
        return f"{first}({above})" if len(above) > 1 else first + above

    def grouping(self, groups: tuple[str, ...]) -> _Grouping:
        name = ":".join(groups)
        index = self.letters.get(name) or "".join(self.letters[group] for group in groups)
        units = {info.group: info.name for info in self.levels}
        unit = units.get(name) or " × ".join(units.get(group, group) for group in groups)
        order = list(dict.fromkeys(random.groups for random in self.formula.random))
        letter = "uvwzabcdfgh"[order.index(groups) % 11]
        return _Grouping(name, unit, index, index, letter, letter if len(order) > 1 else "")

    @cached_property
    def order(self) -> list[_Column]:
        """The columns in the order of their numbers, the intercept at 0."""
        random = (effect.column for effect in self.effects)
        return list(dict.fromkeys([_Column(()), *self.fixed, *random]))

    def gamma(self, column: _Column) -> str:
        return f"\\gamma_{{{self.order.index(column)}}}"

    def numbers(self, effect: _Effect) -> tuple[int, ...]:
        return (self.order.index(effect.column),)

    def equations(self) -> Equations:
        """All equations."""
        crossed = any(info.crossed for info in self.levels)
        symbols = (self.outcome_symbol(), *self.symbols())
        note = _CROSSED_NOTE if crossed else _COMBINED_NOTE
        return Equations((), self.composite(), self.distributions(), self.matrix, symbols, note)


def equations(
    formula: Formula,
    variables: Mapping[str, Variable],
    levels: Sequence[LevelInfo],
    outcome_label: str,
    weighted: bool = False,
) -> Equations:
    """Write a model's equations.

    Parameters
    ----------
    formula
        The model.
    variables
        Every predictor of the formula, by column name.
    levels
        From level 1 upwards.
    outcome_label
        What a reader calls the outcome.
    weighted
        Whether rows have prior weights: the error of a row has the variance sigma2 / weight.

    Raises
    ------
    KeyError
        If a predictor is not among the variables.
    """
    form = _Hierarchy if _is_hierarchy(formula, levels) else _Combined
    return form(formula, variables, levels, outcome_label, weighted).equations()
