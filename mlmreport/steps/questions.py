"""Step 2: the research questions, and the final model in symbols."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlmreport.quantities import Item, Quantity, Row, Table
from mlmreport.spec import formula as fm
from mlmreport.spec.schema import QuestionSpec
from mlmreport.spec.sequence import question_terms
from mlmreport.spec.variables import Variable, category_label
from mlmreport.steps import equations as eq
from mlmreport.steps.coefficients import row_anchor
from mlmreport.steps.context import Context

__all__ = ["kind_of", "run"]

KINDS = {
    "within": "within groups",
    "between": "between groups",
    "contextual": "contextual",
    "cross-level": "cross-level interaction",
    "variance": "variance between groups",
}


STATUSES = ("primary", "secondary", "exploratory")


def run(context: Context) -> Mapping[str, Any]:
    """Tag each question and write the final model's equations."""
    terms = question_terms(context.spec, context.plan.variables)
    questions = [
        {
            "id": question.id,
            "text": question.text,
            "kind": KINDS[kind_of(context, question, asked)],
            "status": question.status,
            "terms": [_term_label(context, term) for term in asked],
        }
        for question, asked in zip(context.spec.questions, terms, strict=True)
    ]
    found = _equations(context)
    return {
        "questions": questions,
        "statuses": [
            {
                "status": status,
                "questions": [entry for entry in questions if entry["status"] == status],
            }
            for status in STATUSES
            if any(entry["status"] == status for entry in questions)
        ],
        "levels": [{"name": name, "latex": latex} for name, latex in found.levels],
        "composite": found.composite,
        "distributions": found.distributions,
        "note": found.note,
        "matrix": found.matrix,
        "symbols": [
            {
                "latex": entry.latex,
                "meaning": entry.meaning,
                "estimate": (estimate := _estimate(context, entry)),
                "anchor": _anchor(estimate),
            }
            for entry in found.symbols
        ],
        "formula": context.plan.final.r,
        "model": context.plan.final.label,
        "tables": {"centring": _centring_table(context)},
        "any_predictors": bool(context.plan.used),
    }


def _anchor(estimate: Item | None) -> str:
    """The row of the results' tables that holds it: a covariance stands by its correlation."""
    if not isinstance(estimate, Quantity):
        return ""
    return row_anchor(estimate.id.removesuffix("/estimate").removesuffix("/variance"))


def _estimate(context: Context, symbol: eq.Symbol) -> Item | None:
    """The final model's estimate of what a symbol stands for; None where it is no parameter."""
    model = context.final
    if symbol.component == "fixef":
        return context.engine.items.get(f"{model.id}/fixef/{symbol.coefficient}/estimate")
    if symbol.component == "sigma2":
        return context.engine.items.get(f"{model.id}/sigma2")
    blocks = [block for block, group in model.fit.groups.items() if group == symbol.group]
    names = [f"{model.id}/var/{block}/{name}" for block in blocks for name in _parts(symbol)]
    return next((context.engine.items[name] for name in names if name in context.engine.items),
                None)  # fmt: skip


def _parts(symbol: eq.Symbol) -> tuple[str, ...]:
    one, other = symbol.coefficient, symbol.other
    if symbol.component == "var":
        return (f"{one}/variance",)
    if symbol.component == "cov":
        return (f"{one}/cov/{other}", f"{other}/cov/{one}")
    return ()


def kind_of(context: Context, question: QuestionSpec, terms: tuple[fm.Term, ...]) -> str:
    """What sort of effect a question asks for: as it says, or by the levels of its terms."""
    if question.kind:
        return question.kind
    if not terms:
        return "variance"
    variables = [
        context.plan.by_column(name) for term in terms for name in fm.names_in(*term.factors)
    ]
    levels = {variable.level for variable in variables if variable}
    if any(term.degree > 1 for term in terms) and len(levels) > 1:
        return "cross-level"
    if any(variable and variable.role == "mean" for variable in variables):
        return "contextual"
    return "within" if levels <= {1} else "between"


def _term_label(context: Context, term: fm.Term) -> str:
    labels = []
    for factor in term.factors:
        name = next(iter(fm.names_in(factor)), "")
        variable = context.plan.by_column(name)
        labels.append(variable.label if variable else name)
    return " × ".join(labels)


def _equations(context: Context) -> eq.Equations:
    plan = context.plan
    levels = [
        eq.LevelInfo(level.name, level.group or None, "ijklm"[level.index - 1],
                     crossed=level.index > 1 and context.spec.structure == "crossed")
        for level in plan.levels
    ]  # fmt: skip
    used = [*plan.used, plan.offset] if plan.offset else plan.used
    variables = {variable.column: _variable(context, variable) for variable in used}
    return eq.equations(
        plan.final.formula, variables, levels, plan.outcome.label, bool(plan.weights)
    )


def _variable(context: Context, variable: Variable) -> eq.Variable:
    categories = context.categories.get(variable.column, ())
    name = fm.r_name(variable.column)
    if made := context.codings.get(variable.column):
        return eq.Variable(
            variable.column,
            _equation_label(variable),
            variable.level,
            columns=tuple(f"{variable.base_label}: {label}" for label in made.labels),
            coefficients=tuple(name + end for end in made.names),
            contrasts=made.meanings,
            categories=categories,
        )
    return eq.Variable(
        variable.column,
        _equation_label(variable),
        variable.level,
        columns=tuple(category_label(variable.base_label, category) for category in categories[1:]),
        coefficients=tuple(name + category for category in categories[1:]),
        reference=categories[0] if categories else "",
    )


def _equation_label(variable: Variable) -> str:
    """Short, and telling the within-group deviation from the variable itself."""
    if variable.role == "within":
        return f"{variable.base_label} (within)"
    return variable.label if variable.role == "mean" else variable.base_label


_REASONS = {
    "within": "within-group deviations carry no between-group differences: the slope is the "
    "within effect",
    "mean": "the group mean carries the between-group part",
    "centred": "zero is made a typical value, so that the intercept has a meaning",
    "plain": "as measured",
}


def _centring_table(context: Context) -> Table:
    rows = []
    for variable in context.plan.used:
        level = context.plan.levels[variable.level - 1].name
        kind = "category" if variable.type == "category" else "number"
        reference = context.categories.get(variable.column, ("",))[0]
        reason = f"reference category: {reference}" if reference else _REASONS[variable.role]
        if made := context.codings.get(variable.column):
            reason = f"contrasts: {made.kind}; zero is the mean over the categories"
        rows.append(Row(variable.base_label, (level, kind, f"`{variable.column}`", reason)))
    return Table(
        "centring",
        "Predictors as they enter the models",
        ("Predictor", "Level", "Type", "Column", "Form and reason"),
        tuple(rows),
        "Column = its name in the prepared data and in the formulas.",
    )
