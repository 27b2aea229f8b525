"""Step 4: how much of the outcome's variance lies between groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlmreport.quantities import Figure, Quantity, Row, Table
from mlmreport.spec.variables import Level
from mlmreport.steps.context import Context
from mlmreport.thresholds import RULES

__all__ = ["run"]

STEP = "icc"


def run(context: Context) -> Mapping[str, Any]:
    """The null model's variance split with intervals, and the design effect."""
    null = context.null
    if null is None:
        return {"have": False, "reason": "the list of models has no model without predictors"}
    blocks = [group for block, group in null.fit.groups.items() if null.fit.blocks[block]]
    context.run(
        STEP, "step_icc", null=null.object, blocks=blocks, level=context.spec.inference.level
    )
    levels = [_level(context, group) for group in context.plan.groups if group.group in blocks]
    verdict = _decide(context)
    return {
        "have": True,
        "model": null.plan.label,
        "formula": null.plan.r,
        "levels": levels,
        "level": context.item("settings/level"),
        "sigma2": context.item("icc/sigma2"),
        "level1": context.item("icc/level1"),
        "design_effect": context.item("icc/design_effect"),
        "effective_n": context.item("icc/effective_n"),
        "reliability": context.item("icc/reliability"),
        "n": context.item("structure/n"),
        "singular": null.fit.singular,
        "verdict": verdict,
        "group": context.plan.groups[0].name,
        "groups": context.plan.groups[0].plural,
        "lowest": context.plan.levels[0].plural,
        "tables": {"icc": _table(context, levels)},
        "figures": {"icc": _figure(context, levels)},
    }


def _level(context: Context, level: Level) -> dict[str, Any]:
    return {
        "name": level.name,
        "plural": level.plural,
        "column": level.group,
        **context.all(f"icc/{level.group}", "tau", "icc", "lower", "upper"),
    }


def _decide(context: Context) -> str:
    """``"needed"``, ``"small"`` (grouping matters little) or ``"zero"``."""
    rule = RULES["design_effect"]
    effect = context.item("icc/design_effect")
    value = context.value("icc/design_effect") or 1.0
    lower = context.value(f"icc/{context.lowest_group}/lower")
    if value > rule.value:
        verdict, outcome = "needed", "a multilevel model is needed"
    elif context.null and context.null.fit.singular:
        verdict, outcome = "zero", "the groups do not differ more than chance would make them"
    elif lower is not None and lower <= 0:
        verdict, outcome = (
            "small",
            "the grouping may be negligible; it is kept because the design has it",
        )
    else:
        verdict, outcome = "kept", "the grouping is modest; it is kept because the design has it"
    context.decide(STEP, rule.text, ("design effect ", effect), outcome, rule.citation)
    return verdict


def _table(context: Context, levels: list[dict[str, Any]]) -> Table:
    rows = [
        Row(
            f"Between {entry['plural']}",
            (entry["tau"], entry["icc"], ("[", entry["lower"], ", ", entry["upper"], "]")),
        )
        for entry in reversed(levels)
    ]
    lowest = context.plan.levels[0].plural
    within = context.plan.groups[0].plural
    rows.append(
        Row(
            f"Between {lowest} within {within}",
            (context.item("icc/sigma2"), context.item("icc/level1"), ""),
        )
    )
    rows.append(Row("Total", (context.item("icc/total"), "", "")))
    percent = f"{100 * context.spec.inference.level:g}"
    method = context.spec.estimation.method
    return Table(
        "icc",
        "Variance of the outcome by level, null model",
        ("Source", "Variance", "Share (ICC)", f"{percent} % CI of the share"),
        tuple(rows),
        f"Variances by {method}. Intervals by profile likelihood (ML).",
    )


def _figure(context: Context, levels: list[dict[str, Any]]) -> Figure:
    parts = [[f"Between {entry['plural']}", entry["icc"]] for entry in reversed(levels)]
    lowest = context.plan.levels[0].plural
    parts.append([f"Between {lowest}", context.item("icc/level1")])
    shares = [part for part in parts if isinstance(part[1], Quantity)]
    return Figure(
        "icc",
        "icc_bar",
        "Where the outcome's variance lies, by the null model.",
        "A bar divided into the shares of the variance at each level.",
        {"components": shares},
    )
