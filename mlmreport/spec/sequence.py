"""The models of an analysis as formulas, derived stepwise or read from an explicit list."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mlmreport.errors import InputError, Problem, did_you_mean
from mlmreport.spec import formula as fm
from mlmreport.spec.reader import Document
from mlmreport.spec.rename import rename, rename_term
from mlmreport.spec.schema import AnalysisSpec, ModelSpec
from mlmreport.spec.variables import Level, Variable, levels_of, outcome_of, resolve

__all__ = ["ModelPlan", "Plan", "plan", "question_terms"]


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """A model to be fitted.

    Parameters
    ----------
    id
        Its short name; in R it is ``m_<id>``.
    label
        How a reader calls it.
    reason
        Why it is fitted.
    formula
        Over prepared columns.
    """

    id: str
    label: str
    reason: str
    formula: fm.Formula

    @property
    def object(self) -> str:
        """The model's name in R."""
        return f"m_{self.id}"

    @property
    def r(self) -> str:
        """The formula as R code."""
        return fm.to_r(self.formula)


@dataclass(frozen=True, slots=True)
class Plan:
    """All that follows from the spec alone: levels, variables and the sequence of models."""

    levels: tuple[Level, ...]
    outcome: Variable
    variables: Mapping[str, Variable]
    models: tuple[ModelPlan, ...]
    final: ModelPlan

    @property
    def groups(self) -> tuple[Level, ...]:
        """The levels above the lowest."""
        return self.levels[1:]

    @property
    def used(self) -> tuple[Variable, ...]:
        """The variables that any model uses, in the spec's order."""
        columns = {column for model in self.models for column in fm.variables(model.formula)}
        return tuple(entry for entry in self.variables.values() if entry.column in columns)

    def by_column(self, column: str) -> Variable | None:
        """The variable that a prepared column holds."""
        return next((v for v in self.variables.values() if v.column == column), None)


def plan(document: Document) -> Plan:
    """What the spec amounts to.

    Raises
    ------
    InputError
        With every problem that can be seen without the data.
    """
    variables, spec = resolve(document), document.spec
    problems: list[Problem] = []
    _check_choice(document, problems)
    models: tuple[ModelPlan, ...] = ()
    if spec.models.stepwise is not None and not problems:
        models = tuple(_stepwise(document, variables, problems))
    elif spec.models.list_ is not None and not problems:
        models = tuple(_explicit(document, variables, problems))
    _check_questions(document, variables, problems)
    if problems:
        raise InputError(tuple(problems))
    wanted = spec.models.final or models[-1].id
    final = next((model for model in models if model.id == wanted), None)
    if final is None:
        known = [model.id for model in models]
        where = document.locate("models", "final", "=")
        raise InputError.of(f"there is no model '{wanted}'", did_you_mean(wanted, known), where)
    return Plan(levels_of(spec), outcome_of(spec), variables, models, final)


def _check_choice(document: Document, problems: list[Problem]) -> None:
    models = document.spec.models
    if (models.stepwise is None) == (models.list_ is None):
        problems.append(
            document.problem(
                "`models:` holds either `stepwise:` or `list:`", "keep one of the two", "models"
            )
        )
    elif models.list_ is not None and not models.list_:
        problems.append(
            document.problem("`models.list` is empty", "name a model", "models", "list")
        )


# --- stepwise -------------------------------------------------------------------------------


def _stepwise(
    document: Document, variables: Mapping[str, Variable], problems: list[Problem]
) -> Iterator[ModelPlan]:
    """Null; the predictors of each level from the lowest up; random slopes; cross-level terms."""
    spec = document.spec
    stepwise, levels = spec.models.stepwise, levels_of(spec)
    assert stepwise is not None
    model = fm.Formula(
        outcome=fm.Name(outcome_of(spec).column),
        random=tuple(fm.RandomTerm((), True, (level.group,)) for level in reversed(levels[1:])),
    )
    yield ModelPlan("null", "Null", "splits the variance of the outcome between the levels", model)
    for level in levels:
        added = [variable for variable in variables.values() if variable.level == level.index]
        if not added:
            continue
        model = _with(model, [fm.Term((fm.Name(entry.column),)) for entry in added])
        others = "" if level.index == 1 else f", controlling for the levels below {level.plural}"
        reason = f"adds the predictors at the level of {level.plural}{others}"
        yield ModelPlan(_slug(level.plural), level.plural.capitalize(), reason, model)
    if stepwise.random_slopes:
        slopes = _slopes(document, variables, problems)
        model = replace(model, random=_with_slopes(model.random, slopes, stepwise.correlated))
        yield ModelPlan(
            "slopes", "Random slopes", "lets lower-level effects differ between groups", model
        )
    if stepwise.cross_level:
        terms = [
            term
            for index, text in enumerate(stepwise.cross_level)
            for term in _terms(
                document, text, variables, problems, ("models", "stepwise", "cross_level", index)
            )
        ]
        model = _with(model, terms)
        yield ModelPlan(
            "crosslevel",
            "Cross-level",
            "asks whether higher-level variables explain the varying effects",
            model,
        )


def _slug(text: str) -> str:
    kept = "".join(char if char.isascii() and char.isalnum() else "_" for char in text.lower())
    return kept if kept[:1].isalpha() else f"level_{kept}"


def _with(model: fm.Formula, terms: Iterable[fm.Term]) -> fm.Formula:
    return replace(model, fixed=fm.ordered([*model.fixed, *terms]))


def _slopes(
    document: Document, variables: Mapping[str, Variable], problems: list[Problem]
) -> list[Variable]:
    stepwise = document.spec.models.stepwise
    found = []
    for index, name in enumerate(stepwise.random_slopes if stepwise else ()):
        place = ("models", "stepwise", "random_slopes", index)
        variable = variables.get(name)
        if variable is None:
            hint = did_you_mean(name, variables)
            problems.append(document.problem(f"no predictor is called '{name}'", hint, *place))
        elif variable.level == len(document.spec.levels):
            problems.append(
                document.problem(
                    f"'{name}' is constant within the highest groups, so its effect cannot vary over them",
                    "a random slope belongs to a predictor of a lower level",
                    *place,
                )
            )
        else:
            found.append(variable)
    return found


def _with_slopes(
    random: Sequence[fm.RandomTerm], slopes: Sequence[Variable], correlated: bool
) -> tuple[fm.RandomTerm, ...]:
    """The slopes are given to the groups of the lowest grouping level above each predictor."""
    lowest = random[-1]
    terms = tuple(fm.Term((fm.Name(slope.column),)) for slope in slopes)
    return (*random[:-1], replace(lowest, terms=terms, correlated=correlated))


# --- explicit -------------------------------------------------------------------------------


def _explicit(
    document: Document, variables: Mapping[str, Variable], problems: list[Problem]
) -> Iterator[ModelPlan]:
    seen: set[str] = set()
    for index, model in enumerate(document.spec.models.list_ or ()):
        if model.id in seen:
            problems.append(
                document.problem(
                    f"two models have the id '{model.id}'",
                    "rename one",
                    "models",
                    "list",
                    index,
                    "id",
                )
            )
        seen.add(model.id)
        found = _formula(document, index, model, variables, problems)
        if found is not None:
            label = model.label or model.id.replace("_", " ").capitalize()
            yield ModelPlan(model.id, label, model.reason or "", found)


def _formula(
    document: Document,
    index: int,
    model: ModelSpec,
    variables: Mapping[str, Variable],
    problems: list[Problem],
) -> fm.Formula | None:
    place = ("models", "list", index)
    if (model.formula is None) == (model.fixed is None and model.random is None):
        problems.append(
            document.problem(
                f"model '{model.id}' has either a `formula`, or `fixed` and `random`",
                "keep one of the two forms",
                *place,
            )
        )
        return None
    before = len(problems)
    if model.formula is not None:
        found = _parsed(document, model.formula, variables, problems, place)
    else:
        found = _of_parts(document, model, variables, problems, place)
    if len(problems) > before or found is None:
        return None
    if not found.random:
        problems.append(
            document.problem(
                f"model '{model.id}' has no random effects",
                "a multilevel model needs at least a term such as (1 | school)",
                *place,
            )
        )
        return None
    return found


def _parsed(
    document: Document,
    text: str,
    variables: Mapping[str, Variable],
    problems: list[Problem],
    place: tuple[str | int, ...],
) -> fm.Formula | None:
    where = document.locate(*place, "formula", "=")
    try:
        written = fm.parse(text, where)
    except InputError as error:
        problems.extend(error.problems)
        return None
    expected = document.spec.outcome.name
    names = list(fm.names_in(written.outcome))
    if names != [expected]:
        problems.append(
            Problem(f"the formula's outcome is not '{expected}'", "one outcome an analysis", where)
        )
        return None
    known = _columns(document, variables)
    unknown = [name for name in fm.variables(written) if name not in known]
    problems.extend(
        Problem(
            f"the formula names '{name}', which is no predictor, level id or outcome",
            did_you_mean(name, known),
            where,
        )
        for name in unknown
    )
    return None if unknown else rename(written, known)


def _columns(document: Document, variables: Mapping[str, Variable]) -> dict[str, str]:
    """Names that a formula may use -> prepared columns; a prepared column's own name is fine too."""
    outcome = outcome_of(document.spec)
    known = {entry.column: entry.column for entry in variables.values()}
    known |= {name: entry.column for name, entry in variables.items()}
    known |= {level.group: level.group for level in levels_of(document.spec) if level.group}
    known |= {level.id: level.group for level in levels_of(document.spec) if level.id}
    return known | {outcome.name: outcome.column}


def _of_parts(
    document: Document,
    model: ModelSpec,
    variables: Mapping[str, Variable],
    problems: list[Problem],
    place: tuple[str | int, ...],
) -> fm.Formula:
    terms = [
        term
        for index, text in enumerate(model.fixed or ())
        if text not in {"1", "intercept"}
        for term in _terms(document, text, variables, problems, (*place, "fixed", index))
    ]
    random = [
        _random(document, group, effects, variables, problems, (*place, "random", group))
        for group, effects in (model.random or {}).items()
    ]
    outcome = fm.Name(outcome_of(document.spec).column)
    return fm.Formula(outcome, fm.ordered(terms), random=tuple(random))


def _random(
    document: Document,
    group: str,
    effects: Sequence[str | int],
    variables: Mapping[str, Variable],
    problems: list[Problem],
    place: tuple[str | int, ...],
) -> fm.RandomTerm:
    groups = {level.name: level.group for level in levels_of(document.spec)[1:]}
    groups |= {level.id: level.group for level in levels_of(document.spec)[1:] if level.id}
    if group not in groups:
        hint = did_you_mean(group, groups)
        problems.append(document.problem(f"'{group}' is no level with groups", hint, *place))
    terms = [
        term
        for index, effect in enumerate(effects)
        if str(effect) not in {"0", "1"}
        for term in _terms(document, str(effect), variables, problems, (*place, index))
    ]
    intercept = "0" not in {str(effect) for effect in effects}
    return fm.RandomTerm(tuple(terms), intercept, (groups.get(group, group),))


def _terms(
    document: Document,
    text: str,
    variables: Mapping[str, Variable],
    problems: list[Problem],
    place: tuple[str | int, ...],
) -> tuple[fm.Term, ...]:
    """The terms of one entry, over prepared columns; a predictor's plain key is taken as it is."""
    if text in variables:
        return (fm.Term((fm.Name(variables[text].column),)),)
    where = document.locate(*place)
    try:
        written = fm.parse_term(text, where)
    except InputError as error:
        problems.extend(error.problems)
        return ()
    columns = {name: entry.column for name, entry in variables.items()}
    columns |= {entry.column: entry.column for entry in variables.values()}
    names = {name for term in written for name in fm.names_in(*term.factors)}
    unknown = sorted(names - columns.keys())
    problems.extend(
        Problem(f"no predictor is called '{name}'", did_you_mean(name, variables), where)
        for name in unknown
    )
    return () if unknown else tuple(rename_term(term, columns) for term in written)


def _check_questions(
    document: Document, variables: Mapping[str, Variable], problems: list[Problem]
) -> None:
    for index, question in enumerate(document.spec.questions):
        for position, text in enumerate(question.terms):
            _terms(document, text, variables, problems, ("questions", index, "terms", position))


def question_terms(
    spec: AnalysisSpec, variables: Mapping[str, Variable]
) -> tuple[tuple[fm.Term, ...], ...]:
    """For each research question its terms over prepared columns."""
    columns = {name: entry.column for name, entry in variables.items()}
    columns |= {entry.column: entry.column for entry in variables.values()}
    found = []
    for question in spec.questions:
        terms: list[fm.Term] = []
        for text in question.terms:
            if text in variables:
                terms.append(fm.Term((fm.Name(variables[text].column),)))
            else:
                terms += [rename_term(term, columns) for term in fm.parse_term(text)]
        found.append(tuple(terms))
    return tuple(found)
