"""The models of an analysis as formulas, derived stepwise or read from an explicit list."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mlmreport.errors import InputError, Location, Problem, did_you_mean
from mlmreport.spec import formula as fm
from mlmreport.spec.reader import Document
from mlmreport.spec.rename import rename, rename_term
from mlmreport.spec.schema import AnalysisSpec, ModelSpec, StepwiseSpec
from mlmreport.spec.variables import Level, Variable, examine, levels_of, outcome_of, variables_of

__all__ = ["ModelPlan", "Plan", "outline", "plan", "question_terms"]


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
    weights: str = ""
    offset: Variable | None = None

    @property
    def has_offset(self) -> bool:
        """Whether any model has an offset."""
        return any(model.formula.offset is not None for model in self.models)

    @property
    def groups(self) -> tuple[Level, ...]:
        """The levels above the lowest."""
        return self.levels[1:]

    @property
    def used(self) -> tuple[Variable, ...]:
        """The variables that any model uses, in the spec's order."""
        groups = {level.group for level in self.groups}
        columns = {
            column
            for model in self.models
            for column in fm.variables(model.formula)
            if column not in groups or column in fm.effects(model.formula)
        }
        return tuple(entry for entry in self.variables.values() if entry.column in columns)

    def shown(self, wanted: str | None) -> Level:
        """The level whose units are named: as the spec says, or the highest that varies."""
        varying = {part.groups for part in self.final.formula.random}
        fitting = [level for level in self.groups if (level.group,) in varying]
        return next((level for level in self.groups if level.name == wanted),
                    fitting[-1] if fitting else self.groups[0])  # fmt: skip

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
    planned, problems = outline(document)
    if planned is None or problems:
        raise InputError(problems)
    return planned


def outline(document: Document) -> tuple[Plan | None, tuple[Problem, ...]]:
    """The plan as far as it can be made, and all that is wrong in the spec.

    With problems in the variables or models the plan lacks those parts, and serves to examine the
    data all the same; with problems in the levels there is none.
    """
    blocking, others = examine(document)
    if blocking:
        return None, (*blocking, *others)
    spec, problems = document.spec, list(others)
    variables = variables_of(spec)
    models = tuple(_with_offset(document, _models(document, variables, problems), problems))
    _check_confounding(document, variables, models, problems)
    _check_questions(document, variables, problems)
    final = _final(document, models, problems)
    if final and not problems:
        _check_answers(document, variables, final, problems)
    known = models or (_null(document),)
    planned = Plan(
        levels_of(spec),
        outcome_of(spec),
        variables,
        known,
        final or known[-1],
        spec.estimation.weights or "",
        _offset_variable(document, variables),
    )
    return planned, tuple(problems)


def _offset_variable(document: Document, variables: Mapping[str, Variable]) -> Variable | None:
    """The column that `estimation.offset` names: a predictor as it is, or a number of its own."""
    name = document.spec.estimation.offset
    if name is None:
        return None
    known = next((v for v in variables.values() if v.column == name and v.source == name), None)
    return known or Variable(name, name, name, "", 1, "number", name, name, "", "plain")


def _with_offset(
    document: Document, models: Iterable[ModelPlan], problems: list[Problem]
) -> Iterator[ModelPlan]:
    """Every model with the offset of the spec."""
    name = document.spec.estimation.offset
    for index, model in enumerate(models):
        if name is None:
            yield model
            continue
        if model.formula.offset is not None:
            message = f"the formula of '{model.id}' has an offset, and `estimation.offset` another"
            place = ("models", "list", index, "formula", "=")
            problems.append(document.problem(message, "keep one of the two", *place))
        yield replace(model, formula=replace(model.formula, offset=fm.Name(name)))


def _models(
    document: Document, variables: Mapping[str, Variable], problems: list[Problem]
) -> Iterator[ModelPlan]:
    models = document.spec.models
    if (models.stepwise is None) == (models.list_ is None):
        problems.append(
            document.problem(
                "`models:` holds either `stepwise:` or `list:`", "keep one of the two", "models"
            )
        )
    elif models.stepwise is not None:
        yield from _stepwise(document, variables, models.stepwise, problems)
    elif not models.list_:
        problems.append(
            document.problem("`models.list` is empty", "name a model", "models", "list")
        )
    else:
        yield from _explicit(document, variables, problems)


def _final(
    document: Document, models: Sequence[ModelPlan], problems: list[Problem]
) -> ModelPlan | None:
    wanted = document.spec.models.final
    if wanted is None:
        return models[-1] if models else None
    found = next((model for model in models if model.id == wanted), None)
    if found is None and not problems:
        hint = did_you_mean(wanted, [model.id for model in models])
        problems.append(
            document.problem(f"there is no model '{wanted}'", hint, "models", "final", "=")
        )
    return found


# --- stepwise -------------------------------------------------------------------------------


def _null(document: Document) -> ModelPlan:
    levels = levels_of(document.spec)
    model = fm.Formula(
        outcome=fm.Name(outcome_of(document.spec).column),
        random=tuple(fm.RandomTerm((), True, (level.group,)) for level in reversed(levels[1:])),
    )
    return ModelPlan("null", "Null", "splits the variance of the outcome between the levels", model)


def _stepwise(
    document: Document,
    variables: Mapping[str, Variable],
    stepwise: StepwiseSpec,
    problems: list[Problem],
) -> Iterator[ModelPlan]:
    """Null; the predictors of each level from the lowest up; random slopes; cross-level terms."""
    levels, taken = levels_of(document.spec), {"null", "slopes", "crosslevel"}
    null = _null(document)
    model = null.formula
    yield null
    for level in levels:
        added = [variable for variable in variables.values() if variable.level == level.index]
        if not added:
            continue
        model = _with(model, [fm.Term((fm.Name(entry.column),)) for entry in added])
        others = "" if level.index == 1 else f", controlling for the levels below {level.plural}"
        reason = f"adds the predictors at the level of {level.plural}{others}"
        yield ModelPlan(_model_id(level, taken), _capitalized(level.plural), reason, model)
    if stepwise.random_slopes:
        slopes = _slopes(document, variables, stepwise, problems)
        model = replace(model, random=_with_slopes(model, slopes, levels, stepwise.correlated))
        yield ModelPlan(
            "slopes", "Random slopes", "lets lower-level effects differ between groups", model
        )
    if stepwise.cross_level:
        model = _with(model, _cross_level(document, variables, stepwise, problems))
        yield ModelPlan(
            "crosslevel",
            "Cross-level",
            "asks whether higher-level variables explain the varying effects",
            model,
        )


def _model_id(level: Level, taken: set[str]) -> str:
    """A short name from the level's plural, unlike those in `taken`, to which it is added."""
    plain = unicodedata.normalize("NFKD", level.plural.lower())
    slug = re.sub(r"[^a-z0-9]+", "_", plain.encode("ascii", "ignore").decode()).strip("_")[:30]
    lost = 2 * len(slug) < sum(char.isalnum() for char in level.plural[:30])
    slug = f"level_{level.index}" if lost or not slug[:1].isalpha() else slug
    name = slug if slug not in taken else f"{slug}_{level.index}"
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _capitalized(text: str) -> str:
    """With a capital first; the rest as it is, so that IDs and names keep theirs."""
    return text[:1].upper() + text[1:]


def _with(model: fm.Formula, terms: Iterable[fm.Term]) -> fm.Formula:
    return replace(model, fixed=fm.ordered([*model.fixed, *terms]))


def _slopes(
    document: Document,
    variables: Mapping[str, Variable],
    stepwise: StepwiseSpec,
    problems: list[Problem],
) -> list[Variable]:
    found: list[Variable] = []
    for index, name in enumerate(stepwise.random_slopes):
        place = ("models", "stepwise", "random_slopes", index)
        variable = variables.get(name)
        if variable is None:
            problems += _unknown(document, [name], variables, document.locate(*place))
            continue
        fault = _slope_fault(variable, found, stepwise, len(document.spec.levels))
        if fault:
            problems.append(document.problem(*fault, *place))
        else:
            found.append(variable)
    return found


def _slope_fault(
    variable: Variable, found: Sequence[Variable], stepwise: StepwiseSpec, highest: int
) -> tuple[str, str] | None:
    """Why the effect of a variable cannot vary, and what to do."""
    if variable in found:
        return f"'{variable.name}' stands twice", "remove one of the two"
    if variable.level == highest:
        return (
            f"'{variable.name}' is constant within the highest groups, "
            "so its effect cannot vary over them",
            "a random slope belongs to a predictor of a lower level",
        )
    if variable.type == "category" and not stepwise.correlated:
        return (
            f"'{variable.name}' is a category, whose slopes lme4 cannot make uncorrelated",
            "use `correlated: true`, or declare a 0/1 variable as a number",
        )
    return None


def _with_slopes(
    model: fm.Formula, slopes: Sequence[Variable], levels: Sequence[Level], correlated: bool
) -> tuple[fm.RandomTerm, ...]:
    """A slope varies over the groups of the level next above its predictor's own."""
    by_group: dict[str, list[fm.Term]] = {}
    for slope in slopes:
        group = levels[slope.level].group
        by_group.setdefault(group, []).append(fm.Term((fm.Name(slope.column),)))
    return tuple(
        replace(term, terms=tuple(by_group[term.groups[0]]), correlated=correlated)
        if term.groups[0] in by_group
        else term
        for term in model.random
    )


def _cross_level(
    document: Document,
    variables: Mapping[str, Variable],
    stepwise: StepwiseSpec,
    problems: list[Problem],
) -> list[fm.Term]:
    levels = {entry.column: entry.level for entry in variables.values()}
    found: list[fm.Term] = []
    for index, text in enumerate(stepwise.cross_level):
        place = ("models", "stepwise", "cross_level", index)
        terms = _terms(document, text, variables, problems, place)
        spans = {levels[name] for term in terms for name in fm.names_in(*term.factors)}
        if terms and not any(term.degree > 1 for term in terms):
            message = f"'{text}' is no interaction"
            hint = "join a lower-level and a higher-level predictor by a colon: ses:sector"
            problems.append(document.problem(message, hint, *place))
        elif terms and len(spans) < 2:
            level = document.spec.levels[min(spans) - 1].name
            message = f"'{text}' joins predictors of one level only ({level})"
            hint = "for an interaction within a level name the models yourself in `models.list`"
            problems.append(document.problem(message, hint, *place))
        found += terms
    return found


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
    if unknown:
        problems += _unknown(document, unknown, known, where)
        return None
    problems += _misplaced(document, written, variables, where)
    groups = {level.id: level.group for level in levels_of(document.spec) if level.id}
    renamed = rename(written, known, known | groups)
    random = [replace(part, groups=_joined(document, part.groups)) for part in renamed.random]
    return replace(renamed, random=tuple(random))


def _joined(document: Document, groups: tuple[str, ...]) -> tuple[str, ...]:
    """A combination of groupings without those that another's ids include already."""
    inside = {name for level in levels_of(document.spec)[1:] if level.group in groups
              for name in _parts(document, level)}  # fmt: skip
    return tuple(name for name in groups if name not in inside)


def _parts(document: Document, level: Level) -> Iterator[str]:
    """The columns that a level's ids include: of the levels and categories it lies within."""
    levels = {other.name: other for other in levels_of(document.spec)[1:]}
    for name in level.within:
        if name in levels:
            yield levels[name].group
            yield from _parts(document, levels[name])
        else:
            yield name


def _check_confounding(
    document: Document,
    variables: Mapping[str, Variable],
    models: Iterable[ModelPlan],
    problems: list[Problem],
) -> None:
    """A fixed factor leaves no differences to a random intercept of the same groups."""
    listed = [model.id for model in document.spec.models.list_ or ()]
    for model in models:
        for term, groups in _confounded(document, variables, model):
            names = {entry.column: name for name, entry in variables.items()}
            factor, by = fm.term_r(rename_term(term, names)), ":".join(groups)
            message = (
                f"model '{model.id}' has the fixed factor {factor} and a random intercept of "
                f"{by}: both are the same differences between groups"
            )
            place: tuple[str | int, ...] = ("models", "stepwise")
            hint = "leave the predictor out, or name the models yourself in `models.list`"
            if model.id in listed:
                place = ("models", "list", listed.index(model.id))
                hint = "leave out the fixed factor, or the random intercept"
            problems.append(document.problem(message, hint, *place))


def _confounded(
    document: Document, variables: Mapping[str, Variable], model: ModelPlan
) -> Iterator[tuple[fm.Term, tuple[str, ...]]]:
    factors = {v.column: v.source for v in variables.values() if v.type == "category"}
    levels = levels_of(document.spec)[1:]
    nested = document.spec.structure == "nested"
    above = {
        level.id: {str(up.id) for up in levels if up.index > level.index}
        for level in levels
        if nested and not level.within
    }
    for term in model.formula.fixed:
        columns = {part.name for part in term.factors if isinstance(part, fm.Name)}
        if len(columns) < term.degree or not columns <= factors.keys():
            continue
        told = {factors[column] for column in columns}
        told |= {up for source in set(told) for up in above.get(source, ())}
        for random in model.formula.random:
            if random.intercept and _ids(document, random.groups, factors) <= told:
                yield term, random.groups


def _ids(document: Document, groups: Iterable[str], factors: Mapping[str, str]) -> set[str]:
    """The columns in the data that tell the groups of a grouping apart."""
    levels = {level.group: level for level in levels_of(document.spec)[1:]}
    found = set()
    for name in groups:
        level = levels.get(name)
        if level is None:
            found.add(factors.get(name, name))
        else:
            found |= {str(level.id), *_ids(document, _parts(document, level), factors)}
    return found


def _misplaced(
    document: Document, written: fm.Formula, variables: Mapping[str, Variable], where: Location
) -> Iterator[Problem]:
    """The outcome or an id among the effects, and a predictor as a grouping."""
    predictors = {*variables, *(entry.column for entry in variables.values())}
    terms = [*written.fixed, *(term for part in written.random for term in part.terms)]
    effects = [factor for term in terms for factor in term.factors]
    offset = [] if written.offset is None else [written.offset]
    for name in dict.fromkeys(fm.names_in(*effects, *offset)):
        if name not in predictors:
            part = "the outcome" if name == document.spec.outcome.name else "the id of a level"
            hint = "an effect needs an entry under `predictors:`"
            yield Problem(f"the formula has '{name}', {part}, among its effects", hint, where)
    groups = {name for level in levels_of(document.spec)[1:] for name in (level.id, level.group)}
    categories = _categories(variables)
    for random in written.random:
        joined = len(random.groups) > 1 and bool(groups.intersection(random.groups))
        for name in random.groups:
            if name in groups or (joined and name in categories):
                continue
            known = [level.id for level in levels_of(document.spec)[1:] if level.id]
            message = f"the formula groups by '{name}', which is no id of a level"
            yield Problem(message, did_you_mean(name, known), where)


def _unknown(
    document: Document, names: Iterable[str], known: Iterable[str], where: Location
) -> Iterator[Problem]:
    """Names that stand for nothing, without those whose predictor is reported already."""
    keys, words = document.spec.predictors, list(known)
    for name in names:
        if name not in keys and name.removesuffix("_mean") not in keys:
            yield Problem(f"no predictor is called '{name}'", did_you_mean(name, words), where)
        elif name not in keys:
            key = name.removesuffix("_mean")
            hint = f"write `contextual: true` at the predictor '{key}' to have its group mean"
            yield Problem(f"no predictor is called '{name}'", hint, where)


def _columns(document: Document, variables: Mapping[str, Variable]) -> dict[str, str]:
    """Names that a formula may use -> prepared columns, which may go by their own names too."""
    outcome = outcome_of(document.spec)
    known = {level.group: level.group for level in levels_of(document.spec) if level.group}
    known |= {level.id: level.group for level in levels_of(document.spec) if level.id}
    known |= {entry.column: entry.column for entry in variables.values()}
    known |= {name: entry.column for name, entry in variables.items()}
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
        term
        for group, effects in (model.random or {}).items()
        for term in _random(document, model, group, effects, variables, problems, place)
    ]
    outcome = fm.Name(outcome_of(document.spec).column)
    return fm.Formula(outcome, fm.ordered(terms), random=tuple(random))


Effects = Sequence[str | int | list[str | int]]


def _random(
    document: Document,
    model: ModelSpec,
    group: str,
    effects: Effects,
    variables: Mapping[str, Variable],
    problems: list[Problem],
    above: tuple[str | int, ...],
) -> Iterator[fm.RandomTerm]:
    """The terms of one grouping: one, or one a list in the list."""
    place = (*above, "random", group)
    groups = _grouping(document, group, variables, problems, place)
    inner = [entry for entry in effects if isinstance(entry, list)]
    if inner and len(inner) < len(effects):
        message = f"the random effects of '{group}' mix single effects with lists of them"
        hint = "write every term as a list: [[1, x], [z]]"
        problems.append(document.problem(message, hint, *place))
    for number, part in enumerate(inner or [effects]):
        names = [str(effect) for effect in part if not isinstance(effect, list)]
        at = (*place, number) if inner else place
        terms = tuple(
            term
            for index, name in enumerate(names)
            if name not in {"0", "1", "-1"}
            for term in _terms(document, name, variables, problems, (*at, index))
        )
        intercept = "1" in names if inner else not {"0", "-1"} & set(names)
        if not terms and not intercept:
            message = f"nothing varies over '{group}' in this term"
            problems.append(document.problem(message, "write 1 for the intercept", *at))
            continue
        correlated = model.correlated or len(terms) + intercept == 1
        yield fm.RandomTerm(terms, intercept, groups, correlated)


def _grouping(
    document: Document,
    group: str,
    variables: Mapping[str, Variable],
    problems: list[Problem],
    place: tuple[str | int, ...],
) -> tuple[str, ...]:
    """The columns of a grouping: a level, or a combination of levels and categories."""
    groups = {level.name: level.group for level in levels_of(document.spec)[1:]}
    groups |= {level.id: level.group for level in levels_of(document.spec)[1:] if level.id}
    if group in groups:
        return (groups[group],)
    parts = [part.strip() for part in group.split(":")]
    known = _categories(variables) | groups if len(parts) > 1 else groups
    for part in parts:
        if part not in known:
            hint = did_you_mean(part, known)
            problems.append(document.problem(f"'{part}' is no level with groups", hint, *place))
    return _joined(document, tuple(known.get(part, part) for part in parts))


def _categories(variables: Mapping[str, Variable]) -> dict[str, str]:
    """The categorical predictors, which may join a level in a grouping."""
    return {name: v.column for name, v in variables.items() if v.type == "category"}


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
    problems += _unknown(document, unknown, variables, where)
    return () if unknown else tuple(rename_term(term, columns) for term in written)


def _check_questions(
    document: Document, variables: Mapping[str, Variable], problems: list[Problem]
) -> None:
    seen: set[str] = set()
    for index, question in enumerate(document.spec.questions):
        if question.id in seen:
            message = f"two questions have the id '{question.id}'"
            problems.append(document.problem(message, "rename one", "questions", index, "id", "="))
        seen.add(question.id)
        for position, text in enumerate(question.terms):
            _terms(document, text, variables, problems, ("questions", index, "terms", position))


def _check_answers(
    document: Document,
    variables: Mapping[str, Variable],
    final: ModelPlan,
    problems: list[Problem],
) -> None:
    """A question can be answered by terms of the final model only."""
    names = {entry.column: name for name, entry in variables.items()}
    known = [fm.term_r(rename_term(term, names)) for term in final.formula.fixed]
    for index, asked in enumerate(question_terms(document.spec, variables)):
        for term in asked:
            if any(term.same_as(other) for other in final.formula.fixed):
                continue
            text = fm.term_r(rename_term(term, names))
            problems.append(
                document.problem(
                    f"the final model, '{final.id}', has no term '{text}'",
                    did_you_mean(text, known) or "add it to the model, or leave it out here",
                    "questions",
                    index,
                    "terms",
                )
            )


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
