"""What the spec says about each variable, resolved: prepared column, level, label, role.

A predictor's name in a model stands for the variable as the spec prepares it. The prepared column
tells how in its name, and the raw column stays as it was::

    ses, no centring              ses
    ses, centred at group means   ses_within      its contextual effect: ses_mean
    ses, centred at a value       ses_c
    ses, transformed by log       log_ses         (then _within, _c, _mean as above)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from mlmreport.errors import InputError, Problem, did_you_mean
from mlmreport.spec.reader import Document
from mlmreport.spec.schema import AnalysisSpec, LevelSpec, PredictorSpec

__all__ = ["Level", "Variable", "levels_of", "outcome_of", "resolve", "variables_of"]

Role = Literal["outcome", "plain", "within", "mean", "centred"]


@dataclass(frozen=True, slots=True)
class Level:
    """A level, lowest first.

    Parameters
    ----------
    index
        1 for the lowest.
    name, plural
        What a unit is called.
    id
        The identifying column; None for the lowest level if it has none.
    group
        The column that identifies the unit across the whole data: the id, or where ids repeat
        in the level above, the combination written into a column of its own.
    within
        The level that its ids are unique in.
    """

    index: int
    name: str
    plural: str
    id: str | None
    group: str
    within: str | None = None


@dataclass(frozen=True, slots=True)
class Variable:
    """A prepared column and what it means.

    Parameters
    ----------
    name
        How a model refers to it.
    column
        The prepared column.
    source
        The column it is made from.
    key
        Its key under ``predictors:``.
    level
        Index of the level at which it varies.
    type
        ``"number"`` or ``"category"``.
    label
        How a reader calls it, with its centring.
    base_label
        The same without the centring.
    unit
        Its unit in the singular, or empty.
    role
        Raw, within-group deviation, group mean, or centred.
    """

    name: str
    column: str
    source: str
    key: str
    level: int
    type: str
    label: str
    base_label: str
    unit: str
    role: Role


def levels_of(spec: AnalysisSpec) -> tuple[Level, ...]:
    """The levels of a spec, lowest first."""
    return tuple(_level(index, level) for index, level in enumerate(spec.levels, start=1))


def _level(index: int, level: LevelSpec) -> Level:
    group = level.id or ""
    if level.within and level.id:
        group = f"{level.within}_{level.id}"
    return Level(
        index, level.name, level.plural or _plural(level.name), level.id, group, level.within
    )


def _plural(noun: str) -> str:
    if noun.endswith(("s", "x", "z", "ch", "sh")):
        return noun + "es"
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"


def outcome_of(spec: AnalysisSpec) -> Variable:
    """The outcome as a variable."""
    outcome = spec.outcome
    label = outcome.label or outcome.name
    column, prefix = outcome.name, ""
    if outcome.transform != "none":
        column, prefix = (
            f"{outcome.transform}_{outcome.name}",
            f"{_TRANSFORMED[outcome.transform]} ",
        )
    unit = (outcome.unit or "units") if outcome.transform == "none" else "units"
    return Variable(
        outcome.name, column, outcome.name, "", 1, "number", prefix + label, label, unit, "outcome"
    )


_TRANSFORMED = {
    "log": "log of",
    "log2": "log2 of",
    "log10": "log10 of",
    "log1p": "log(1 + x) of",
    "sqrt": "square root of",
}


def variables_of(spec: AnalysisSpec) -> Mapping[str, Variable]:
    """Every name that a model may use, with the prepared column it stands for."""
    levels = {level.name: level for level in levels_of(spec)}
    made = (
        variable
        for key, predictor in spec.predictors.items()
        if predictor.level in levels
        for variable in _of_predictor(key, predictor, levels, len(levels))
    )
    return {variable.name: variable for variable in made}


def _of_predictor(
    key: str, predictor: PredictorSpec, levels: Mapping[str, Level], top: int
) -> Iterator[Variable]:
    level = levels[predictor.level]
    base_label, source = predictor.label or key, predictor.column or key
    stem = key if predictor.transform == "none" else f"{predictor.transform}_{key}"
    if predictor.transform != "none":
        base_label = f"{_TRANSFORMED[predictor.transform]} {base_label}"
    above = next((entry for entry in levels.values() if entry.index == level.index + 1), None)
    role, suffix, words = _centring(predictor, above)
    yield Variable(
        key,
        stem + suffix,
        source,
        key,
        level.index,
        predictor.type,
        base_label + words,
        base_label,
        predictor.unit or "",
        role,
    )
    if predictor.contextual and level.index < top and above:
        name = f"{key}_mean"
        label = f"{above.name} mean of {base_label}"
        yield Variable(
            name,
            f"{stem}_mean",
            source,
            key,
            above.index,
            "number",
            label[0].upper() + label[1:],
            base_label,
            predictor.unit or "",
            "mean",
        )


def _centring(predictor: PredictorSpec, above: Level | None) -> tuple[Role, str, str]:
    match predictor.center:
        case "none":
            return "plain", "", ""
        case "group mean":
            group = above.name if above else "group"
            return "within", "_within", f" (centred at the {group} mean)"
        case "grand mean":
            return "centred", "_c", " (centred at the grand mean)"
        case value:
            return "centred", "_c", f" (minus {value:g})"


def resolve(document: Document) -> Mapping[str, Variable]:
    """The variables of a spec, or every problem in how levels and predictors fit together.

    Raises
    ------
    InputError
        All that can be told without the data.
    """
    problems = [*_level_problems(document), *_predictor_problems(document)]
    if problems:
        raise InputError(tuple(problems))
    return variables_of(document.spec)


def _level_problems(document: Document) -> Iterator[Problem]:
    spec, names = document.spec, [level.name for level in document.spec.levels]
    if (spec.data is None) == (spec.simulate is None):
        yield document.problem(
            "a spec has either `data:` or `simulate:`",
            "name a file, a package's data set, or what to simulate",
            "data" if spec.data else "title",
        )
    for index, level in enumerate(spec.levels):
        if names.count(level.name) > 1 and names.index(level.name) < index:
            yield document.problem(
                f"two levels are called '{level.name}'", "rename one", "levels", index, "name"
            )
        if index and not level.id:
            yield document.problem(
                f"the level '{level.name}' lacks its `id`",
                f"name the column that says which {level.name} a row belongs to",
                "levels",
                index,
            )
        if level.within and level.within not in names[index + 1 :]:
            yield document.problem(
                f"'{level.name}' is said to lie within '{level.within}', which is no higher level",
                did_you_mean(level.within, names[index + 1 :]),
                "levels",
                index,
                "within",
            )


def _predictor_problems(document: Document) -> Iterator[Problem]:
    spec = document.spec
    names = [level.name for level in spec.levels]
    for key, predictor in spec.predictors.items():
        if predictor.level not in names:
            yield document.problem(
                f"predictor '{key}': there is no level '{predictor.level}'",
                did_you_mean(predictor.level, names),
                "predictors",
                key,
                "level",
                "=",
            )
            continue
        yield from _centring_problems(document, key, predictor, names.index(predictor.level))
    if spec.time and spec.time not in spec.predictors:
        yield document.problem(
            f"`time` names '{spec.time}', which is not among the predictors",
            did_you_mean(spec.time, spec.predictors),
            "time",
            "=",
        )


def _centring_problems(
    document: Document, key: str, predictor: PredictorSpec, level: int
) -> Iterator[Problem]:
    top = level == len(document.spec.levels) - 1
    if predictor.type == "category" and predictor.center != "none":
        yield document.problem(
            f"predictor '{key}': a category cannot be centred",
            "leave out `center`; the reference category plays that part",
            "predictors",
            key,
            "center",
        )
    if predictor.type == "category" and (predictor.contextual or predictor.transform != "none"):
        yield document.problem(
            f"predictor '{key}': a category has no group mean and takes no transformation",
            "declare a 0/1 variable as a number to use the share in each group",
            "predictors",
            key,
            "contextual" if predictor.contextual else "transform",
        )
    if top and (predictor.center == "group mean" or predictor.contextual):
        yield document.problem(
            f"predictor '{key}': '{predictor.level}' is the highest level, there are no groups "
            "above it to take means of",
            "use `center: grand mean`",
            "predictors",
            key,
            "center" if predictor.center == "group mean" else "contextual",
        )
