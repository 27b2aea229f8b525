"""What the spec says about each variable, resolved: prepared column, level, label, role.

A predictor's name in a model stands for the variable as the spec prepares it. The prepared column
tells how in its name, and the raw column stays as it was::

    ses, no centring              ses
    ses, centred at group means   ses_within      its contextual effect: ses_mean
    ses, centred at a value       ses_c
    ses, transformed by log       log_ses         (then _within, _c, _mean as above)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from mlmreport.errors import InputError, Location, Problem, did_you_mean
from mlmreport.spec import filters
from mlmreport.spec.formula import r_name
from mlmreport.spec.reader import Document
from mlmreport.spec.schema import AnalysisSpec, LevelSpec, PredictorSpec

__all__ = [
    "Level",
    "Variable",
    "category_label",
    "examine",
    "filters_of",
    "levels_of",
    "outcome_of",
    "resolve",
    "variables_of",
]

Place = tuple[str | int, ...]
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
        The levels and categorical predictors that its ids are unique in.
    """

    index: int
    name: str
    plural: str
    id: str | None
    group: str
    within: tuple[str, ...] = ()


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

    @property
    def axis(self) -> str:
        """The label with the unit, as the title of an axis."""
        if not self.unit:
            return self.label
        if self.label.endswith(")"):
            return f"{self.label[:-1]}; {self.unit})"
        return f"{self.label} ({self.unit})"


def levels_of(spec: AnalysisSpec) -> tuple[Level, ...]:
    """The levels of a spec, lowest first."""
    return tuple(_level(index, level) for index, level in enumerate(spec.levels, start=1))


def _level(index: int, level: LevelSpec) -> Level:
    within = _within(level)
    group = "_".join([*within, level.id]) if level.id else ""
    return Level(index, level.name, level.plural or _plural(level.name), level.id, group, within)


def _within(level: LevelSpec) -> tuple[str, ...]:
    """What a level lies within, as a list of names."""
    return (level.within,) if isinstance(level.within, str) else tuple(level.within or ())


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
    return {variable.name: variable for variable in _made(spec)}


def _made(spec: AnalysisSpec) -> Iterator[Variable]:
    levels = {level.name: level for level in levels_of(spec)}
    for key, predictor in spec.predictors.items():
        if predictor.level in levels:
            yield from _of_predictor(key, predictor, levels, len(levels))


def _of_predictor(
    key: str, predictor: PredictorSpec, levels: Mapping[str, Level], top: int
) -> Iterator[Variable]:
    level = levels[predictor.level]
    base_label, source = predictor.label or _piece_label(key, predictor), predictor.column or key
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


ANSWER = 3
"""Letters of a category up to which it is taken for an answer and no name."""


def category_label(label: str, category: str) -> str:
    """A category as one of a variable's; the label alone where it begins with it.

    An answer such as "No" is not what a label that begins with that word names.
    """
    named = f"{label} ".casefold().startswith(f"{category} ".casefold())
    return label if named and len(category) > ANSWER else f"{label}: {category}"


def _piece_label(key: str, predictor: PredictorSpec) -> str:
    """The key, or of a piece without a label what it is a piece of."""
    if predictor.piece is None:
        return key
    name, after, before = predictor.column or key, predictor.piece.after, predictor.piece.before
    start = "" if after is None else f" from {after:g}"
    return f"{name}{start}" + ("" if before is None else f" up to {before:g}")


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


def examine(document: Document) -> tuple[tuple[Problem, ...], tuple[Problem, ...]]:
    """What is wrong with levels, and what with variables, as far as the spec alone tells.

    Returns
    -------
    tuple
        The problems of levels, with which nothing further can be examined, and those of variables.
    """
    variables = (
        *_predictor_problems(document),
        *_time_problems(document),
        *_adjustment_problems(document),
        *_filter_problems(document),
    )
    return (
        tuple(_level_problems(document)),
        (*variables, *_name_problems(document), *_clashes(document)),
    )


def resolve(document: Document) -> Mapping[str, Variable]:
    """The variables of a spec, or every problem in how levels and predictors fit together.

    Raises
    ------
    InputError
        All that can be told without the data.
    """
    levels, variables = examine(document)
    if levels or variables:
        raise InputError((*levels, *variables))
    return variables_of(document.spec)


def _level_problems(document: Document) -> Iterator[Problem]:
    spec, names = document.spec, [level.name for level in document.spec.levels]
    yield from _simulation_problems(document)
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
        if level.id and level.id in [other.id for other in spec.levels[:index]]:
            yield document.problem(
                f"two levels have the id '{level.id}'",
                "each level has an id column of its own",
                "levels",
                index,
                "id",
                "=",
            )
        yield from _within_problems(document, index, level)


def _within_problems(document: Document, index: int, level: LevelSpec) -> Iterator[Problem]:
    """What a level lies within are higher levels, and predictors that are categories."""
    predictors = document.spec.predictors
    categories = [key for key, entry in predictors.items() if entry.type == "category"]
    known = [*(other.name for other in document.spec.levels[index + 1 :]), *categories]
    place: Place = ("levels", index, "within")
    for position, name in enumerate(_within(level)):
        at = (*place, position) if isinstance(level.within, list) else (*place, "=")
        if _within(level).index(name) < position:
            message = f"'{level.name}' is said twice to lie within '{name}'"
            yield document.problem(message, "name it once", *at)
        elif name not in known:
            message = f"'{level.name}' is said to lie within '{name}', which is no higher level"
            message += " and no category among the predictors"
            yield document.problem(message, did_you_mean(name, known), *at)
        elif name in predictors and (predictors[name].column or name) == level.id:
            message = f"'{level.name}' is said to lie within its own id, '{level.id}'"
            yield document.problem(message, "name what the ids repeat in", *at)


def _twofold(document: Document) -> Iterator[Problem]:
    """A category must not stand under the name of a column that is also used as a number."""
    predictors = document.spec.predictors
    numbers = {
        entry.column or key: key for key, entry in predictors.items() if entry.type == "number"
    }
    for key, predictor in predictors.items():
        if predictor.type == "category" and key in numbers:
            message = f"the column '{key}' is a category here and a number in '{numbers[key]}'"
            hint = f"give the category another name, with `column: {key}`"
            yield document.problem(message, hint, "predictors", key)


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
        yield from _contrast_problems(document, key, predictor)
        yield from _mean_problems(document, key, predictor, names)


def _contrast_problems(document: Document, key: str, predictor: PredictorSpec) -> Iterator[Problem]:
    place = ("predictors", key, "contrasts" if predictor.contrasts else "ordered")
    if predictor.type == "number" and (predictor.contrasts or predictor.ordered):
        message = f"predictor '{key}': only a category has contrasts or an order of categories"
        yield document.problem(message, "add `type: category`", *place)
    elif predictor.reference is not None and predictor.coding != "treatment":
        message = f"predictor '{key}': {predictor.coding} contrasts have no reference category"
        hint = "leave out `reference`; `categories` gives the order"
        yield document.problem(message, hint, "predictors", key, "reference")


def _mean_problems(
    document: Document, key: str, predictor: PredictorSpec, names: Sequence[str]
) -> Iterator[Problem]:
    """A predictor that is declared the group mean of another: a higher-level number of a number."""
    wanted = predictor.mean_of
    if wanted is None:
        return
    of = document.spec.predictors.get(wanted)
    place: Place = ("predictors", key, "mean_of", "=")
    if of is None:
        message = f"predictor '{key}' is said to be the mean of '{wanted}', which is no predictor"
        yield document.problem(message, did_you_mean(wanted, document.spec.predictors), *place)
    elif "category" in {of.type, predictor.type}:
        message = f"predictor '{key}': a category neither is nor has a group mean"
        yield document.problem(message, "leave out `mean_of`", *place)
    elif of.level in names and names.index(of.level) >= names.index(predictor.level):
        message = (
            f"predictor '{key}' is said to be the mean of '{wanted}', which is of no lower level"
        )
        yield document.problem(message, "a group mean stands at a higher level", *place)


def _simulation_problems(document: Document) -> Iterator[Problem]:
    spec = document.spec
    if spec.simulate is None:
        return
    if len(spec.levels) != 2:
        message = f"`simulate` draws data of two levels, the spec has {len(spec.levels)}"
        yield document.problem(message, "keep two levels", "levels")
    if spec.simulate.units < spec.simulate.groups:
        message = "`simulate` has fewer units than groups"
        yield document.problem(message, "every group needs a unit", "simulate", "units", "=")
    taken = {spec.outcome.name, *(level.id for level in spec.levels if level.id)}
    names = [level.name for level in spec.levels]
    for key, predictor in spec.simulate.predictors.items():
        place = ("simulate", "predictors", key)
        if key in taken:
            message = f"the simulated predictor '{key}' has the name of the outcome or of an id"
            yield document.problem(message, "rename it", *place)
        if predictor.level not in names:
            message = f"simulated predictor '{key}': there is no level '{predictor.level}'"
            hint = did_you_mean(predictor.level, names)
            yield document.problem(message, hint, *place, "level", "=")


def _time_problems(document: Document) -> Iterator[Problem]:
    spec = document.spec
    if not spec.time:
        return
    time = spec.predictors.get(spec.time)
    if time is None:
        message = f"`time` names '{spec.time}', which is not among the predictors"
        yield document.problem(message, did_you_mean(spec.time, spec.predictors), "time", "=")
    elif time.type == "category":
        message, hint = f"`time` names '{spec.time}', which is a category", "time is a number"
        yield document.problem(message, hint, "time", "=")
    elif time.level != spec.levels[0].name:
        message = f"`time` names '{spec.time}', which is not of the lowest level"
        yield document.problem(message, "time varies between measurements", "time", "=")


def _adjustment_problems(document: Document) -> Iterator[Problem]:
    """Weights and offset are columns of their own, and not every df method knows of weights."""
    spec = document.spec
    parts = {spec.outcome.name: "the outcome"}
    parts |= {level.id: f"the id of the level '{level.name}'" for level in spec.levels if level.id}
    parts |= {
        entry.column or key: f"the category '{key}'"
        for key, entry in spec.predictors.items()
        if entry.type == "category"
    }
    for key in ("weights", "offset"):
        name = getattr(spec.estimation, key)
        if name in parts:
            message = f"`{key}` names '{name}', which is {parts[name]}"
            yield document.problem(message, "name a column of numbers", "estimation", key, "=")
    if spec.estimation.weights and spec.inference.df == "kenward-roger":
        yield document.problem(
            "Kenward-Roger df are computed by pbkrtest as if all rows had the same weight",
            "with `estimation.weights` use `df: satterthwaite`",
            "inference",
            "df",
            "=",
        )


def filters_of(document: Document) -> Iterator[tuple[str, Location]]:
    """The conditions on rows, each with its place."""
    data = document.spec.data
    for index, text in enumerate(data.filter if data else ()):
        yield text, document.locate("data", "filter", index)


def _filter_problems(document: Document) -> Iterator[Problem]:
    for text, where in filters_of(document):
        try:
            filters.parse(text, where)
        except InputError as error:
            yield from error.problems


def _name_problems(document: Document) -> Iterator[Problem]:
    """Names that cannot be written in R: backticks, backslashes, invisible characters."""
    spec = document.spec
    names: list[tuple[str, Place]] = [(spec.outcome.name, ("outcome", "name", "="))]
    for index, level in enumerate(spec.levels):
        if level.id:
            names.append((level.id, ("levels", index, "id", "=")))
    for key, predictor in spec.predictors.items():
        names.append((key, ("predictors", key)))
        if predictor.column:
            names.append((predictor.column, ("predictors", key, "column", "=")))
    for name, place in names:
        try:
            r_name(name)
        except InputError as error:
            problem = error.problems[0]
            yield document.problem(problem.message, problem.hint, *place)


def _clashes(document: Document) -> Iterator[Problem]:
    """Columns that two parts of the spec would both be."""
    outcome = outcome_of(document.spec)
    taken = {outcome.column: "the outcome", outcome.source: "the outcome"}
    for level in levels_of(document.spec)[1:]:
        for column in dict.fromkeys((level.id or "", level.group)):
            if column in taken:
                message = f"the id of the level '{level.name}' is also {taken[column]}"
                at: Place = ("levels", level.index - 1, "id", "=")
                yield document.problem(message, "name another column", *at)
            taken[column] = f"the id of the level '{level.name}'"
    names: dict[str, str] = {}
    made: dict[str, str] = {}
    ids = {level.id for level in levels_of(document.spec)[1:] if level.id}
    yield from _twofold(document)
    for variable in _made(document.spec):
        place: Place = ("predictors", variable.key)
        if variable.type == "category" and variable.source in ids:
            if variable.column in taken and variable.column != variable.source:
                message = f"predictor '{variable.key}' has the name of {taken[variable.column]}"
                yield document.problem(message, "give it another key", *place)
        elif variable.source in taken and variable.role != "mean":
            message = f"predictor '{variable.key}' is {taken[variable.source]}"
            hint = "one column has one part in the analysis"
            if variable.source in ids:
                hint += "; as a fixed factor it has `type: category`"
            yield document.problem(message, hint, *place)
        elif variable.column in taken | made or variable.name in names:
            other = (taken | made).get(variable.column) or f"made for '{names[variable.name]}'"
            message = f"predictor '{variable.key}' makes '{variable.column}', which is {other}"
            yield document.problem(message, "give one of the two another key", *place)
        made.setdefault(variable.column, f"made for the predictor '{variable.key}'")
        names.setdefault(variable.name, variable.key)


def _piece_problems(document: Document, key: str, predictor: PredictorSpec) -> Iterator[Problem]:
    piece, place = predictor.piece, ("predictors", key, "piece")
    if piece is None:
        return
    if piece.after is None and piece.before is None:
        yield document.problem(
            f"predictor '{key}': a piece has a beginning or an end",
            "write `piece: {before: 3}` or `piece: {after: 3}`",
            *place,
        )
    elif piece.after is not None and piece.before is not None and piece.after >= piece.before:
        yield document.problem(
            f"predictor '{key}': the piece ends at {piece.before:g}, before it begins",
            "`after` is the smaller number",
            *place,
        )
    if predictor.column in (None, key):
        yield document.problem(
            f"predictor '{key}': a piece needs a name other than its column's",
            f"give it a key of its own, with `column: {key}`",
            *place,
        )
    if predictor.type == "category" or predictor.transform != "none":
        yield document.problem(
            f"predictor '{key}': a piece is one of a number as it is in the data",
            "leave out `transform`, or `piece`",
            *place,
        )


def _centring_problems(
    document: Document, key: str, predictor: PredictorSpec, level: int
) -> Iterator[Problem]:
    top = level == len(document.spec.levels) - 1
    yield from _piece_problems(document, key, predictor)
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
