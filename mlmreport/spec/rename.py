"""The names in a formula, exchanged for others: a predictor's for its prepared column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mlmreport.spec.formula import Arithmetic, Call, Expression, Formula, Name, Term

__all__ = ["rename", "rename_term"]


def _expression(expression: Expression, names: Mapping[str, str]) -> Expression:
    match expression:
        case Name(name):
            return Name(names.get(name, name))
        case Call():
            arguments = tuple(_expression(part, names) for part in expression.arguments)
            return replace(expression, arguments=arguments)
        case Arithmetic():
            operands = tuple(_expression(part, names) for part in expression.operands)
            return replace(expression, operands=operands)
        case _:
            return expression


def rename_term(term: Term, names: Mapping[str, str]) -> Term:
    """The term over other columns."""
    return Term(tuple(_expression(factor, names) for factor in term.factors))


def rename(
    formula: Formula, names: Mapping[str, str], groups: Mapping[str, str] | None = None
) -> Formula:
    """The formula over other columns; names that the mapping lacks stay.

    `groups` are the names of groupings where they differ.
    """
    grouping = names if groups is None else groups
    random = tuple(
        replace(
            part,
            terms=tuple(rename_term(term, names) for term in part.terms),
            groups=tuple(grouping.get(group, group) for group in part.groups),
        )
        for part in formula.random
    )
    return replace(
        formula,
        outcome=_expression(formula.outcome, names),
        fixed=tuple(rename_term(term, names) for term in formula.fixed),
        random=random,
        offset=None if formula.offset is None else _expression(formula.offset, names),
    )
