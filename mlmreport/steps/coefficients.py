"""From lme4's coefficient names back to the variables they stand for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from mlmreport.spec import formula as fm
from mlmreport.spec.contrasts import Coding
from mlmreport.spec.sequence import Plan
from mlmreport.spec.variables import Variable, category_label

__all__ = ["INTERCEPT", "Coefficient", "Part", "coefficients", "effect_label", "row_anchor"]

INTERCEPT = "(Intercept)"


@dataclass(frozen=True, slots=True)
class Part:
    """One factor of a term: a variable, and for a category which one.

    ``contrast`` says what the coefficient of a contrast between categories is.
    """

    name: str
    label: str
    variable: Variable | None
    category: str | None = None
    contrast: str = ""


@dataclass(frozen=True, slots=True)
class Coefficient:
    """A fixed effect.

    Parameters
    ----------
    name
        As lme4 names it.
    label
        As a reader reads it.
    parts
        The factors of its term; none for the intercept.
    """

    name: str
    label: str
    parts: tuple[Part, ...] = ()

    @property
    def kind(self) -> str:
        """``intercept``, ``number``, ``category``, ``contrast``, ``interaction``, ``function``."""
        if not self.parts:
            return "intercept"
        if len(self.parts) > 1:
            return "interaction"
        part = self.parts[0]
        if part.contrast:
            return "contrast"
        if part.variable is None or part.name not in _plain_names(part):
            return "function"
        return "category" if part.category is not None else "number"

    @property
    def level(self) -> int:
        """The highest level of its variables; 1 for the intercept."""
        return max((part.variable.level for part in self.parts if part.variable), default=1)

    @property
    def cross_level(self) -> bool:
        """Whether it joins variables of different levels."""
        return len({part.variable.level for part in self.parts if part.variable}) > 1


def _plain_names(part: Part) -> tuple[str, ...]:
    assert part.variable is not None
    name = fm.r_name(part.variable.column)
    return (name, name + (part.category or ""))


def coefficients(
    formula: fm.Formula,
    fitted: Sequence[str],
    plan: Plan,
    categories: Mapping[str, Sequence[str]],
    codings: Mapping[str, Coding],
) -> tuple[Coefficient, ...]:
    """The fitted coefficients, described.

    Parameters
    ----------
    formula
        The model's formula over prepared columns.
    fitted
        Names of the fixed effects from lme4.
    plan
        Variables of the analysis.
    categories
        For each categorical column its categories, the reference first.
    codings
        The contrasts of those that have no reference.
    """
    known = {INTERCEPT: Coefficient(INTERCEPT, "Intercept")}
    for term in formula.fixed:
        for parts in product(
            *(_parts(factor, plan, categories, codings) for factor in term.factors)
        ):
            name = ":".join(part.name for part in parts)
            known[name] = Coefficient(name, " × ".join(part.label for part in parts), parts)
    return tuple(known.get(name, Coefficient(name, name)) for name in fitted)


def _parts(
    factor: fm.Expression,
    plan: Plan,
    categories: Mapping[str, Sequence[str]],
    codings: Mapping[str, Coding],
) -> Iterable[Part]:
    text = fm.expression_r(factor)
    if not isinstance(factor, fm.Name):
        inner = next(iter(fm.names_in(factor)), "")
        variable = plan.by_column(inner)
        label = _readable(factor, plan)
        degree = _degree(factor)
        if degree:
            return [
                Part(f"{text}{k}", f"{label}, degree {k}", variable) for k in range(1, degree + 1)
            ]
        return [Part(text, label, variable)]
    variable = plan.by_column(factor.name)
    label = variable.label if variable else factor.name
    if factor.name not in categories:
        return [Part(text, label, variable)]
    made = codings.get(factor.name)
    contrasts = zip(made.names, made.labels, made.meanings, strict=True) if made else ()
    return [
        Part(f"{text}{category}", category_label(label, category), variable, category)
        for category in categories[factor.name]
    ] + [
        Part(f"{text}{name}", f"{label}: {words}", variable, contrast=meaning)
        for name, words, meaning in contrasts
    ]


def _degree(factor: fm.Expression) -> int:
    if isinstance(factor, fm.Call) and factor.function == "poly":
        degree = factor.arguments[1]
        return int(degree.value) if isinstance(degree, fm.Number) else 0
    return 0


_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def _readable(factor: fm.Expression, plan: Plan) -> str:
    match factor:
        case fm.Name(name):
            variable = plan.by_column(name)
            return variable.label if variable else name
        case fm.Number(value):
            return f"{value:g}"
        case fm.Call(function, arguments):
            inner = _readable(arguments[0], plan)
            if function == "I":
                return inner
            return f"{'polynomial' if function == 'poly' else function} of {inner}"
        case fm.Arithmetic("^", (base, fm.Number(power))) if power == int(power):
            inner = _readable(base, plan)
            inner = f"({inner})" if " " in inner else inner
            return f"{inner}{str(int(power)).translate(_SUPERSCRIPTS)}"
        case fm.Arithmetic(operator, operands):
            return f" {operator} ".join(_readable(operand, plan) for operand in operands)
    raise TypeError(type(factor).__name__)


def effect_label(effect: str, known: Iterable[Coefficient]) -> str:
    """The reader's name of a random effect."""
    if effect == INTERCEPT:
        return "Intercept"
    return next((entry.label for entry in known if entry.name == effect), effect)


def row_anchor(name: str) -> str:
    """The address of an estimate's row in the results' tables, for links to it."""
    known = (c if c.isascii() and c.isalnum() else f"-{ord(c):x}-" for c in name)
    return f"row-{''.join(known)}"
