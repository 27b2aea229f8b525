"""Step 1: the levels, their sizes, and the level at which each variable varies."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import combinations, pairwise
from typing import Any, cast

from mlmreport.quantities import Cell, Figure, Row, Table
from mlmreport.spec.variables import Level, Variable, category_label
from mlmreport.steps.context import Context
from mlmreport.thresholds import RULES

__all__ = ["run"]

STEP = "structure"
PARTNERS = ("least", "mean", "most")
SIZES = ("groups", "min", "median", "mean", "max", "cv", "singletons")


def run(context: Context) -> Mapping[str, Any]:
    """Describe levels, balance, variables and missing values."""
    plan = context.plan
    described = _described(context)
    context.run(
        STEP,
        "step_structure",
        groups={level.name: level.group for level in plan.groups},
        variables=[_argument(context, variable) for variable in described],
        time=_time(context),
        crossed=context.spec.structure == "crossed",
        pairs=[[lower.group, upper.group] for lower, upper in _pairs(context)],
    )
    groups = [_group(context, level) for level in plan.groups]
    _decide_on_groups(context, groups)
    return {
        "n": context.item("structure/n"),
        "lowest": _words(plan.levels[0]),
        "groups": groups,
        "crossed": context.spec.structure == "crossed",
        "implicit": [_words(level) for level in plan.groups if level.within],
        "few": _few(context),
        "scarce": _scarce(context, groups),
        "relations": _relations(context),
        "ids": [_words(level) for level in plan.levels if level.id],
        "time": _occasions(context),
        "weights": _weights(context),
        "missing": _missing(context),
        "preparation": [step.action for step in context.data.steps],
        "notes": list(context.data.notes),
        "tables": {
            "levels": _levels_table(context),
            "variables": _variables_table(context, described),
        },
        "figures": {"structure": _structure_figure(context), "sizes": _sizes_figure(context)},
        "author": context.spec.report.model_dump(include={"sampling", "power", "missing_data"}),
    }


def _words(level: Level) -> dict[str, Any]:
    return {
        "name": level.name,
        "plural": level.plural,
        "id": level.id or "",
        "within": level.within,
        "column": level.group,
    }


def _weights(context: Context) -> Mapping[str, Any] | None:
    """The prior weights of the rows."""
    if not context.plan.weights:
        return None
    found = context.all("prior_weights", "min", "mean", "max")
    return {"column": context.plan.weights, **found}


def _described(context: Context) -> list[Variable]:
    """The outcome, then each predictor as analysed."""
    return [context.plan.outcome, *context.plan.used]


def _argument(context: Context, variable: Variable) -> dict[str, Any]:
    group = context.plan.levels[variable.level - 1].group if variable.level > 1 else ""
    return {
        "column": variable.column,
        "label": variable.label,
        "unit": variable.unit,
        "type": variable.type,
        "level": variable.level,
        "group": group,
        "levels": list(context.categories.get(variable.column, ())),
    }


def _time(context: Context) -> str:
    time = context.spec.time
    return context.plan.variables[time].column if time else ""


def _group(context: Context, level: Level) -> dict[str, Any]:
    return {
        **_words(level),
        "sizes": context.all(f"structure/{level.name}", *SIZES),
        "balanced": context.value(f"structure/{level.name}/min")
        == context.value(f"structure/{level.name}/max"),
        "has_singletons": bool(context.value(f"structure/{level.name}/singletons")),
    }


def _few(context: Context) -> str:
    """``"few"``, ``"some"`` or ``"many"`` groups at the level with the fewest."""
    fewest = min(context.value(f"structure/{g.name}/groups") or 0 for g in context.plan.groups)
    if fewest < RULES["few_groups"].value:
        return "few"
    return "some" if fewest < RULES["some_groups"].value else "many"


def _scarce(context: Context, groups: list[dict[str, Any]]) -> Mapping[str, Any] | None:
    """The level whose groups are too few for all of what follows to be trusted, and how few."""
    if _few(context) != "few":
        return None
    fewest = min(groups, key=lambda group: group["sizes"]["groups"].value)
    method = context.spec.estimation.method
    return {
        "plural": fewest["plural"],
        "number": fewest["sizes"]["groups"],
        "very": fewest["sizes"]["groups"].value < RULES["fixed_groups"].value,
        "method": method,
        "ddf": context.ddf,
        "corrected": method == "REML" and context.spec.inference.df == "kenward-roger",
    }


def _decide_on_groups(context: Context, groups: list[dict[str, Any]]) -> None:
    few = _few(context)
    rule = RULES[f"{few}_groups"]
    method = "REML" if context.spec.estimation.method == "REML" else "ML"
    fewest = min(groups, key=lambda group: group["sizes"]["groups"].value)
    context.decide(
        STEP,
        rule.text,
        (fewest["sizes"]["groups"], f" {fewest['plural']}"),
        (
            f"{method}, tests by the normal distribution"
            if context.asymptotic
            else _method_and_df(context, method)
        )
        + ("; variances are to be read with caution" if few == "few" else ""),
        rule.citation,
    )


def _method_and_df(context: Context, method: str) -> str:
    """Estimator and df method, each with whether the spec names it."""
    spec = context.spec
    named = ("method" in spec.estimation.model_fields_set, "df" in spec.inference.model_fields_set)
    first, second = ("as the spec says" if it else "by default" for it in named)
    if first == second:
        return f"{method} with {context.ddf} df, {first}"
    return f"{method} ({first}) with {context.ddf} df ({second})"


def _pairs(context: Context) -> list[tuple[Level, Level]]:
    """Groupings to hold against each other: neighbours, or where they may cross all pairs."""
    groups = context.plan.groups
    if context.spec.structure == "crossed":
        return list(combinations(groups, 2))
    return list(pairwise(groups))


def _relations(context: Context) -> list[dict[str, Any]]:
    """How each two groupings lie: nested, fully crossed or partly crossed."""
    return [_relation(context, lower, upper) for lower, upper in _pairs(context)]


def _relation(context: Context, lower: Level, upper: Level) -> dict[str, Any]:
    at = f"structure/relation/{lower.group}/{upper.group}"
    several = context.value(f"{at}/in_several")
    found = {
        "lower": _words(lower),
        "upper": _words(upper),
        "in_several": context.item(f"{at}/in_several"),
        "nested": several == 0,
    }
    if context.spec.structure != "crossed":
        return found
    cells, occupied = context.value(f"{at}/cells"), context.value(f"{at}/occupied")
    units = context.value(f"structure/{lower.name}/groups")
    return {
        **found,
        "full": cells == occupied,
        # A minority of the units crosses: pupils who change schools.
        "some": several is not None and units is not None and several < units / 2,
        "sides": [
            {"one": _words(one), "of": _words(of), **context.all(f"{at}/{side}", *PARTNERS)}
            for side, one, of in (("lower", lower, upper), ("upper", upper, lower))
        ],
        **context.all(at, "cells", "occupied"),
    }


def _occasions(context: Context) -> Mapping[str, Any] | None:
    time = context.spec.time
    if not time:
        return None
    variable = context.plan.variables[time]
    found = context.all("structure/time", "occasions", "first", "last", "complete")
    groups = context.value(f"structure/{context.plan.groups[0].name}/groups")
    complete = context.value("structure/time/complete") == groups
    return {
        **found,
        "label": variable.label,
        "unit": variable.unit,
        "all_complete": complete,
        **_spacing(context),
        **_dropout(context),
    }


def _spacing(context: Context) -> Mapping[str, Any]:
    """The steps between occasions, and where zero lies among them."""
    steps = [context.value(f"structure/time/step_{end}") for end in ("min", "max")]
    first, last = (context.value(f"structure/time/{end}") for end in ("first", "last"))
    if first is None or last is None or None in steps:
        return {"spacing": "", "zero": ""}
    least, most = cast(list[float], steps)
    zero = "first" if first == 0 else "last" if last == 0 else "within"
    return {
        "spacing": "equal" if math.isclose(least, most, rel_tol=1e-6) else "unequal",
        "zero": zero if first <= 0 <= last else "outside",
        **context.all("structure/time", "step_min", "step_max"),
    }


def _dropout(context: Context) -> Mapping[str, Any]:
    """Who was observed to the end, who left, and who has gaps."""
    names = ("to_last", "left", "gaps", "late")
    some = {f"any_{name}": bool(context.value(f"structure/time/{name}")) for name in names}
    every = context.value("structure/time/to_last") == context.value(
        f"structure/{context.plan.groups[0].name}/groups"
    )
    return {**context.all("structure/time", *names), **some, "all_to_last": every}


def _filtered(context: Context) -> Mapping[str, Any] | None:
    """Rows of the table, and those that each filter left out."""
    data = context.data
    if not data.filtered:
        return None
    every = data.rows_read + sum(dropped for _, dropped in data.filtered)
    return {
        "read": context.count("structure/rows_table", every, "Rows read", "len(frame) as read"),
        "filters": [
            {
                "text": text,
                "n": context.count(
                    f"structure/filtered/{number}",
                    dropped,
                    f"Rows left out by {text}",
                    "len(frame) before and after the filter",
                ),
            }
            for number, (text, dropped) in enumerate(data.filtered, start=1)
        ],
    }


def _missing(context: Context) -> Mapping[str, Any]:
    """Rows dropped, and missing values by variable; all counts from the preparation."""
    data = context.data
    kept = len(data.frame)
    counted = {
        name: context.count(
            f"structure/missing/{name}",
            number,
            f"Missing values of {name}",
            f"frame[{name!r}].isna().sum()",
        )
        for name, number in data.missing.items()
        if number
    }
    return {
        "any": bool(data.rows_read - kept),
        "filtered": _filtered(context),
        "read": context.count(
            "structure/rows_read",
            data.rows_read,
            "Rows that meet the filters" if data.filtered else "Rows read",
            "len(frame) before deletion",
        ),
        "dropped": context.count(
            "structure/rows_dropped",
            data.rows_read - kept,
            "Rows dropped as incomplete",
            "len(frame) - len(frame.dropna(subset=...))",
        ),
        "groups_lost": [
            {
                "plural": level.plural,
                "n": context.count(
                    f"structure/{level.name}/lost",
                    data.groups_lost[level.group],
                    f"{level.plural} without a complete row",
                    f"frame[{level.group!r}].nunique() before and after deletion",
                ),
                "any": bool(data.groups_lost[level.group]),
            }
            for level in context.plan.groups
        ],
        "variables": [{"name": name, "n": count} for name, count in counted.items()],
    }


def _levels_table(context: Context) -> Table:
    rows = []
    for level in reversed(context.plan.groups):
        sizes = context.all(f"structure/{level.name}", *SIZES)
        rows.append(Row(level.plural.capitalize(), tuple(sizes[name] for name in SIZES)))
        if level is not context.plan.groups[0] and context.spec.structure != "crossed":
            below = context.plan.levels[level.index - 2]
            units = context.all(f"structure/{level.name}/units", *SIZES[1:])
            head = f"{level.plural.capitalize()}, in {below.plural}"
            rows.append(Row(head, ("", *units.values())))
    lowest = context.plan.levels[0]
    rows.append(Row(lowest.plural.capitalize(), (context.item("structure/n"), *[""] * 6)))
    heads = ("Level", "Units", "Min", "Median", "Mean", "Max", "CV", "Singletons")
    return Table(
        "levels",
        f"Units of each level and {lowest.plural} per unit",
        heads,
        tuple(rows),
        f"Min to CV: {lowest.plural} per unit, or units of the level below where the row says so. "
        "CV = standard deviation of the sizes over their mean. Singletons = units with one only."
        if len(rows) > len(context.plan.levels)
        else f"Min to CV: {lowest.plural} per unit. CV = standard deviation of the sizes over "
        f"their mean. Singletons = units with a single {lowest.name}.",
    )


def _variables_table(context: Context, described: list[Variable]) -> Table:
    rows: list[Row] = []
    for level in context.plan.levels:
        own = [variable for variable in described if variable.level == level.index]
        if own:
            rows.append(Row(f"Level of {level.plural}", (), group=True))
            rows.extend(row for variable in own for row in _variable_rows(context, variable))
    return Table(
        "variables",
        "The variables, by the level at which they vary",
        (
            "Variable",
            "Mean or n",
            "SD",
            "Min",
            "Max",
            *(f"Between {level.plural}" for level in context.plan.groups),
        ),
        tuple(rows),
        "Means and SDs are taken over the units of the variable's own level; a category is "
        f"counted. {_shares_note(context)}",
    )


def _shares_note(context: Context) -> str:
    lowest = context.plan.levels[0].plural
    groups = [level.plural for level in context.plan.groups]
    method = (
        "estimated by analysis of variance (negative estimates are set to 0), so that the share "
        "of a variable that has nothing to do with the groups is 0 but for chance."
    )
    if len(groups) == 1:
        return f"Between {groups[0]} = share of the variance that lies between them, {method}"
    if context.spec.structure == "crossed":
        return (
            f"Between {' or '.join(groups)} = share of the variance over {lowest} that lies "
            f"between them when the other grouping is allowed for, {method}"
        )
    own = (
        f" For a variable of a higher level the shares are those of its own units, {groups[0]} for "
        f"one of theirs."
    )
    return (
        f"Between {groups[0]} = share of the variance that lies between them within one of the "
        f"{groups[1]}, and so on upwards; the rest lies between {lowest} within {groups[0]}. "
        f"Shares are {method}{own}"
    )


def _variable_rows(context: Context, variable: Variable) -> Iterator[Row]:
    at = f"structure/variable/{variable.column}"
    unit = f" ({variable.unit})" if variable.unit else ""
    between = _between(context, at)
    if variable.type == "number":
        names = ("mean", "sd", "min", "max")
        context.sharpen([f"{at}/{name}" for name in names], f"{at}/sd")
        found = context.all(at, *names)
        yield Row(variable.label + unit, (*found.values(), *between))
        return
    categories = context.categories[variable.column]
    for position, category in enumerate(categories[:40]):
        is_reference = position == 0 and variable.column not in context.codings
        reference = " (reference)" if is_reference else ""
        shown = between if position == 0 else [""] * len(between)
        n = context.item(f"{at}/n:{category}")
        yield Row(category_label(variable.label, category) + reference, (n, "", "", "", *shown))
    if len(categories) > 40:
        yield Row(
            f"{variable.label}: further categories", ("not shown", *[""] * (3 + len(between)))
        )


def _between(context: Context, at: str) -> list[Cell]:
    """The shares of a variable between the units of each level; blank for a higher variable."""
    groups = context.plan.groups
    names = (
        [f"{at}/between"]
        if len(groups) == 1
        else [f"{at}/between/{level.group}" for level in groups]
    )
    found = [context.engine.items.get(name, "") for name in names]
    return cast(list[Cell], found)


def _structure_figure(context: Context) -> Figure:
    boxes: list[dict[str, Any]] = []
    names = []
    for level in reversed(context.plan.groups):
        at = f"structure/{level.name}"
        boxes.append(
            {
                "name": level.plural,
                "count": context.item(f"{at}/groups"),
                "least": context.item(f"{at}/min"),
                "most": context.item(f"{at}/max"),
                "of": context.plan.levels[0].plural,
                "per": level.name,
            }
        )
        names.append(level.plural)
    lowest = context.plan.levels[0].plural
    boxes.append({"name": lowest, "count": context.item("structure/n")})
    crossed = context.spec.structure == "crossed"
    partly = crossed and any(relation.get("some") for relation in _relations(context))
    others = list(reversed(names))
    shape = (
        f"{lowest} by {' and '.join([', '.join(others[:-1]), others[-1]])}, crossed"
        if crossed
        else f"{lowest} within {' within '.join(others)}"
    )
    relation = "crossed with each other" if crossed else "nested"
    return Figure(
        "structure",
        "structure",
        f"The structure of the data: {shape}.",
        f"Diagram of the levels, {relation}: {', '.join([*names, lowest])}, with the number of "
        "units at each.",
        {"levels": boxes, "crossed": crossed, "partly": partly},
    )


def _sizes_figure(context: Context) -> Figure:
    level, lowest = context.plan.groups[0], context.plan.levels[0]
    return Figure(
        "sizes",
        "group_sizes",
        f"Number of {lowest.plural} per {level.name}.",
        f"Distribution of the number of {lowest.plural} per {level.name}.",
        {
            "sizes": context.item(f"structure/{level.name}/sizes"),
            "xlabel": f"{lowest.plural.capitalize()} per {level.name}",
            "groups": level.plural,
        },
    )
