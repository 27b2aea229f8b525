"""Part of step 3: rows far from what the model expects, and what changes without them."""

from __future__ import annotations

from typing import Any

from mlmreport.quantities import Cell, Row, Table
from mlmreport.steps.context import Context, FittedModel
from mlmreport.steps.cost import EXACT_GROUPS, fit_seconds, too_long

__all__ = ["outlying"]

STEP = "assumptions"
AT = "assumptions/outlying"


def outlying(context: Context, model: FittedModel) -> dict[str, Any]:
    """The rows beyond 3.29 SD by name, and the final and the null model without them."""
    nothing = {"have": False, "too_long": "", "flips": [], "verdict": False}
    if not (context.value("assumptions/residual/outliers") or 0):
        return nothing
    seconds = fit_seconds(model.fit) + fit_seconds(model.fit, df=True)
    part = f"{model.plan.label} without the outlying rows"
    if reason := too_long(context, STEP, part, model, seconds):
        return {**nothing, "too_long": reason}
    null = context.null
    blocks = list(null.fit.blocks) if null else []
    found = context.run(
        STEP,
        "check_outlying",
        id=model.id,
        formula=model.plan.r,
        null=null.id if null else "",
        null_formula=null.plan.r if null else "",
        reml=context.spec.estimation.method == "REML",
        blocks=blocks,
        exact=_exact(context, blocks),
        seed=context.spec.inference.seed,
    )
    rows = [int(row) for row in found["rows"]]
    if not rows:
        return nothing
    return {
        "have": True,
        "too_long": "",
        "rows": context.item(f"{AT}/rows"),
        "all": len(rows) == context.value(f"{AT}/rows"),
        "change": context.item(f"{AT}/change"),
        "have_change": context.value(f"{AT}/change") is not None,
        "sigma": context.item(f"{model.id}/sigma"),
        "sigma_without": context.item(f"{AT}/sigma") if f"{AT}/sigma" in context.engine.items
        else None,
        "complaint": str(found["complaint"][0]),
        "flips": _flips(context, model),
        "shares": [
            {
                "plural": context.plural(block),
                "all": context.item(f"{AT}/all/icc/{block}"),
                "without": context.item(f"{AT}/without/icc/{block}"),
            }
            for block in blocks
        ],
        "tested": all(context.value(f"{AT}/{which}/p") is not None for which in ("all", "without")),
        "p": {which: context.engine.items.get(f"{AT}/{which}/p") for which in ("all", "without")},
        "verdict": _crosses(context, f"{AT}/all/p", f"{AT}/without/p"),
        "table": _rows_table(context, rows),
        "changes": _changes_table(context, model),
    }  # fmt: skip


def _exact(context: Context, blocks: list[str]) -> bool:
    groups = context.data.frame[context.lowest_group].nunique()
    return len(blocks) == 1 and groups <= EXACT_GROUPS


def _crosses(context: Context, first: str, second: str) -> bool:
    """Whether two p-values lie on different sides of alpha."""
    a, b = context.value(first), context.value(second)
    alpha = context.spec.inference.alpha
    return a is not None and b is not None and (a < alpha) != (b < alpha)


def _flips(context: Context, model: FittedModel) -> list[str]:
    """Labels of the coefficients whose test falls on the other side of alpha."""
    return [
        entry.label
        for entry in model.coefficients
        if _crosses(context, f"{model.id}/fixef/{entry.name}/p", f"{AT}/{entry.name}/p")
    ]


def _rows_table(context: Context, rows: list[int]) -> Table:
    frame = context.data.frame
    levels = context.plan.groups

    def cells(k: int, row: int) -> tuple[Cell, ...]:
        named = (str(frame[level.group].iloc[row - 1]) for level in levels)
        whats = ("row", "outcome", "fitted", "residual")
        return (*named, *(context.item(f"{AT}/{k}/{what}") for what in whats))

    return Table(
        "outlying",
        "Rows whose level-1 residual is beyond 3.29 standard deviations",
        ("", *(level.name.capitalize() for level in levels), "Row", "Outcome", "Fitted",
         "Residual, in SD"),
        tuple(Row("", cells(k, row)) for k, row in enumerate(rows, start=1)),
        "The farthest first, ten at most. Row: its position in the data after preparation.",
    )  # fmt: skip


def _changes_table(context: Context, model: FittedModel) -> Table | None:
    """Estimates with and without the outlying rows."""
    if context.value(f"{AT}/change") is None:
        return None
    for entry in model.coefficients:
        at = f"{AT}/{entry.name}"
        context.sharpen([f"{at}/estimate", f"{at}/se"], f"{model.id}/fixef/{entry.name}/se")

    def cells(name: str) -> tuple[Cell, ...]:
        whats = ("estimate", "se", "p")
        own = (context.item(f"{model.id}/fixef/{name}/{what}") for what in whats)
        return (*own, *(context.item(f"{AT}/{name}/{what}") for what in whats))

    def spread(label: str, own: str, other: str) -> Row:
        return Row(label, (context.item(own), "", "", context.item(other), "", ""))

    return Table(
        "without-outlying",
        f"{model.plan.label} with and without the outlying rows",
        ("", "Estimate", "SE", "p", "Estimate, without", "SE, without", "p, without"),
        (
            *(Row(entry.label, cells(entry.name)) for entry in model.coefficients),
            Row("Standard deviations", group=True),
            *(
                spread(
                    f"{context.effect_phrase(model, effect)}, over "
                    f"{context.plural(model.fit.groups[block])}",
                    f"{model.id}/var/{block}/{effect}/sd",
                    f"{AT}/var/{block}/{effect}",
                )
                for block, effects in model.fit.blocks.items()
                for effect in effects
            ),
            spread("residual", f"{model.id}/sigma", f"{AT}/sigma"),
        ),
        "Without: a refit without the rows whose residual is beyond 3.29 standard deviations; "
        "Satterthwaite df.",
    )
