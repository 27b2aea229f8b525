"""Step 8: the average group, named groups, and the answers to the questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mlmreport.quantities import Cell, Figure, Missing, Row, Series, Table
from mlmreport.spec import formula as fm
from mlmreport.spec.variables import Level
from mlmreport.steps.answers import adjust, answers, limits
from mlmreport.steps.coefficients import INTERCEPT
from mlmreport.steps.context import Context, FittedModel
from mlmreport.steps.effects import interval, listed, slug
from mlmreport.steps.interpretation import (
    has_reference,
    higher_columns,
    intercepts_at,
)

__all__ = ["run"]

STEP = "inference"
MOST_ROWS = 200
"""Of more groups than these a figure shows an even choice."""
RANK_DRAWS = 2000
"""Draws of the groups' ranks."""
OTHER_DF = {
    "Satterthwaite": "Kenward-Roger",
    "Kenward-Roger": "Satterthwaite",
    "asymptotic": "Satterthwaite",
}


def run(context: Context, found: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """Predictions at several distances, conditional modes, what ignoring groups would do; answers.

    Parameters
    ----------
    context
        The analysis, with everything fitted.
    found
        The trees of the steps before, which the answers refer to.
    """
    model, level, unit = context.final, context.spec.inference.level, context.unit
    context.run(STEP, "average_prediction", id=model.id, level=level, ddf=context.ddf, unit=unit)
    _sharpen(context, "average")
    shown = context.plan.shown(context.spec.report.grouping)
    drift = context.run(STEP, "prediction_drift", id=model.id)
    _predict_new(context, model)
    unit_alone = _predict_unit(context, model, shown)
    named = _named(context, model, shown)
    inside = _inside(context, model, shown, named)
    groupings = [
        _grouping(context, model, entry, shown, named) for entry in _levels(model, context)
    ]
    compared = next((g["compared"] for g in groupings if g["level"] == shown.name), None)
    families = adjust(context, model)
    other = _other_df(context, model)
    _ols(context, model)
    back = _back(context, model, named)
    return {
        "model": model.plan.label,
        "outcome": context.plan.outcome.label,
        "unit": unit,
        "level": context.item("settings/level"),
        "fixed_ci": context.fixed_ci,
        "alpha": context.item("settings/alpha"),
        "group": context.plan.groups[0].name,
        "groups": listed([context.plural(g) for g in dict.fromkeys(model.fit.groups.values())]),
        "lowest": context.plan.levels[0].name,
        "lowest_plural": context.plan.levels[0].plural,
        "shown": {
            "group": shown.name,
            "groups": shown.plural,
            "several": len(groupings) > 1,
            "others": [g["groups"] for g in groupings if g["level"] != shown.name],
        },
        "average": context.all("inference/average", "estimate", "lower", "upper"),
        "new": context.all("inference/new", "lower", "upper", "df"),
        "new_unit": unit_alone,
        "new_df": context.value("inference/new/df") is not None,
        "observation": context.all("inference/observation", "lower", "upper"),
        "singular": model.fit.singular,
        "drift": {"have": bool(drift["have"][0]), "reason": str(drift["reason"][0])},
        "back": back,
        "outcome_label": context.spec.outcome.label or context.spec.outcome.name,
        "transform": context.spec.outcome.transform,
        "correction": {"none": "", "holm": "Holm", "bonferroni": "Bonferroni"}[
            context.spec.inference.correction
        ],
        "families": families,
        "other_df": other,
        "named": named,
        "chosen": not context.spec.report.groups,
        "groupings": [{k: g[k] for k in g if k != "figures"} for g in groupings],
        "answers": answers(context, model, found),
        "ols": _ols_facts(context, model),
        "observational": context.spec.simulate is None,
        "crossed": context.spec.structure == "crossed",
        **limits(context, model),
        "tables": {
            "ols": _ols_table(context, model),
            "estimands": _estimands(context, shown, named, inside, unit_alone),
            **({"back": _back_table(context, back)} if back else {}),
            **_group_table(context, shown, named, compared),
        },
        "figures": {key: figure for g in groupings for key, figure in g["figures"].items()},
    }


def _sharpen(context: Context, key: str) -> None:
    """Show a prediction with the decimals of the average one, beside which it stands."""
    at = f"inference/{key}"
    context.sharpen(
        [f"{at}/{w}" for w in ("estimate", "se", "known", "lower", "upper")],
        "inference/average/se",
    )


def _levels(model: FittedModel, context: Context) -> list[Level]:
    """The levels whose units have random effects, the highest first."""
    return [g for g in reversed(context.plan.groups) if g.group in model.fit.groups.values()]


def _effects(model: FittedModel, group: str) -> list[str]:
    return [
        effect
        for block, effects in model.fit.blocks.items()
        if model.fit.groups[block] == group
        for effect in effects
    ]


# --- predictions ------------------------------------------------------------------------------


def _predict(
    context: Context,
    model: FittedModel,
    key: str,
    made: str,
    label: str,
    units: Mapping[str, str],
    *,
    new: Sequence[str] = (),
    residual: bool = False,
) -> dict[str, Any]:
    """The expected outcome in named units, or in new ones; each with its own levels' values."""
    levels = {level.group: level for level in context.plan.groups}
    context.run(
        STEP, "predict_for", id=model.id, key=key, made=made, label=label, units=dict(units),
        values=[{"group": group, "unit": unit,
                 "columns": _own_columns(context, model, levels[group])}
                for group, unit in units.items()],
        new=list(new), residual=residual, level=context.spec.inference.level, unit=context.unit,
    )  # fmt: skip
    _sharpen(context, key)
    at = f"inference/{key}"
    found = context.all(at, "estimate", "se", "known", "lower", "upper")
    return {"key": key, "made": made, "have": context.value(f"{at}/estimate") is not None, **found}


def _own_columns(context: Context, model: FittedModel, level: Level) -> list[str]:
    """The columns whose values a unit of a level fixes."""
    crossed = context.spec.structure == "crossed"
    wanted = set(higher_columns(context, model))
    return [v.column for v in context.plan.used if v.column in wanted
            and (v.level == level.index if crossed else v.level >= level.index)]  # fmt: skip


def _predict_new(context: Context, model: FittedModel) -> None:
    """A unit that is new at every level, and an observation in it."""
    groups = list(dict.fromkeys(model.fit.groups.values()))
    _predict(context, model, "new", "p_new", "Expected outcome in new groups", {}, new=groups)
    _predict(context, model, "observation", "p_observation", "A single new observation", {},
             new=groups, residual=True)  # fmt: skip


def _predict_unit(context: Context, model: FittedModel, shown: Level) -> Mapping[str, Any] | None:
    """A new unit of one level, averaged over the units of other groupings in it or with it.

    None where the model has no such groupings, so that a unit is new in itself alone.
    """
    levels = _levels(model, context)
    crossed = context.spec.structure == "crossed"
    over = [level for level in levels
            if (level != shown if crossed else level.index < shown.index)]  # fmt: skip
    if shown not in levels or not over:
        return None
    new = [level.group for level in levels if level not in over]
    label = f"Expected outcome in a new {shown.name}"
    return {
        **_predict(context, model, "new_unit", "p_new_unit", label, {}, new=new),
        "over": listed([level.plural for level in over]),
        "members": listed([level.name for level in over]),
        "between": listed([level.plural for level in levels if level not in over]),
    }


def _named(context: Context, model: FittedModel, level: Level) -> list[dict[str, Any]]:
    if level.group not in model.fit.groups.values():
        return []
    wanted = [str(name) for name in context.spec.report.groups]
    columns = _own_columns(context, model, level)
    found = context.run(
        STEP, "named_groups", id=model.id, group=level.group, wanted=wanted, columns=columns
    )
    names = list(found["groups"])
    context.run(STEP, "group_facts", id=model.id, group=level.group, units=names)
    return [
        {
            "name": name,
            **_predict(context, model, f"group/{name}", f"p_group_{number}",
                       f"Expected outcome in {level.name} {name}", {level.group: name}),
            **context.all(f"inference/group/{name}", "n", "shrinkage"),
        }
        for number, name in enumerate(names, start=1)
    ]  # fmt: skip


def _inside(
    context: Context, model: FittedModel, shown: Level, named: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """For one named unit: a unit of another grouping with it, new ones, and one observation."""
    if not named:
        return []
    unit = str(named[len(named) // 2]["name"])
    here, lowest = f"{shown.name} {unit}", context.plan.levels[0].name
    others = [level for level in _levels(model, context) if level.group != shown.group]
    crossed = context.spec.structure == "crossed"
    found = []
    for level in others:
        group = level.group
        name = str(context.run(STEP, "member_of", id=model.id, group=group, within=shown.group,
                               unit=unit)["name"][0])  # fmt: skip
        units = {shown.group: unit, group: name}
        joined = "with" if crossed else "of"
        found.append({
            "said": f"{level.name.capitalize()} {name} {joined} {here}",
            "what": "both are particular",
            "holds": "fixed effects and both modes jointly",
            **_predict(context, model, f"inside/{level.name}/named", f"p_named_{level.index}",
                       f"Expected outcome, {level.name} {name} in {here}", units),
        })  # fmt: skip
        found.append({
            "said": f"A new {level.name} {joined} {here}",
            "what": f"its expected value, were the {level.name} drawn at random",
            "holds": f"these of {here}, and the variance between {level.plural}",
            **_predict(context, model, f"inside/{level.name}/new", f"p_new_{level.index}",
                       f"Expected outcome, a new {level.name} in {here}",
                       {shown.group: unit}, new=[group]),
        })  # fmt: skip
    new = [level.group for level in others]
    what = f"one observation {'with' if crossed and others else 'in'} {here}"
    if others:
        what += f", of {' and '.join(f'a new {level.name}' for level in others)}"
    found.append({
        "said": f"A new {lowest} {'with' if crossed else 'of'} {here}",
        "what": what,
        "holds": "these and the residual variance" if others
        else f"fixed effects, the {shown.name}'s mode, residual variance",
        **_predict(context, model, "inside/observation", "p_inside",
                   f"A single observation in {here}",
                   {shown.group: unit}, new=new, residual=True),
    })  # fmt: skip
    return found


# --- groupings --------------------------------------------------------------------------------


def _grouping(
    context: Context,
    model: FittedModel,
    level: Level,
    shown: Level,
    named: list[dict[str, Any]],
) -> dict[str, Any]:
    """Conditional modes, comparisons and shrinkage of the units of one level."""
    own = named if level == shown else []
    compared = _compared(context, model, level, own)
    modes = [_modes(context, model, level, effect) for effect in _effects(model, level.group)]
    shrinkage = _shrinkage(context, level)
    return {
        "level": level.name,
        "slug": slug(level.name),
        "group": level.name,
        "groups": level.plural,
        "compared": compared,
        "where": intercepts_at(context, model, level.group),
        "modes": modes,
        "shrinkage": shrinkage,
        "figures": _figures(context, level, own, modes, shrinkage, compared),
    }


def _compared(
    context: Context, model: FittedModel, level: Level, named: list[dict[str, Any]]
) -> Mapping[str, Any] | None:
    """How far the order of the groups' intercepts is determined."""
    if INTERCEPT not in _effects(model, level.group):
        return None
    context.run(
        STEP, "comparisons", id=model.id, group=level.group, effect=INTERCEPT,
        level=context.spec.inference.level, draws=RANK_DRAWS, seed=context.spec.inference.seed,
        units=[entry["name"] for entry in named], columns=_own_columns(context, model, level),
    )  # fmt: skip
    at = f"inference/compare/{level.group}"
    have = context.value(f"{at}/overlap") is not None
    return {
        "at": at,
        "have": have,
        "all": context.value(f"{at}/overlap") == 1,
        "none": context.value(f"{at}/overlap") == 0,
        **context.all(at, "factor", "overlap"),
        "lower": context.engine.items.get(f"{at}/lower"),
        "upper": context.engine.items.get(f"{at}/upper"),
    }


def _ranks(context: Context, name: str, compared: Mapping[str, Any]) -> Cell:
    low, high = (context.item(f"{compared['at']}/rank/{name}/{side}")
                 for side in ("lower", "upper"))  # fmt: skip
    if not compared["have"]:
        return "not determined"
    if isinstance(low, Missing) or isinstance(high, Missing):
        return "not given"
    return low if low.value == high.value else (low, " to ", high)


def _group_table(
    context: Context,
    level: Level,
    named: list[dict[str, Any]],
    compared: Mapping[str, Any] | None,
) -> dict[str, Table]:
    if not named:
        return {}
    # With random slopes the weight of a group's data depends on where the group is looked at.
    simple = all(effects == (INTERCEPT,) for effects in context.final.fit.blocks.values())
    average = context.all("inference/average", "estimate", "lower", "upper")
    percent = f"{100 * context.spec.inference.level:g}"
    rows = [
        Row(
            f"{level.name.capitalize()} {entry['name']}",
            (
                entry["n"],
                *((entry["shrinkage"],) if simple else ()),
                entry["estimate"],
                entry["se"],
                interval(context, f"inference/{entry['key']}"),
                *((_ranks(context, entry["name"], compared),) if compared else ()),
            ),
        )
        for entry in named
    ]
    gap = ("", "") if simple else ("",)
    limits = interval(context, "inference/average")
    rows.append(
        Row(f"Average {level.name}",
            (*gap, average["estimate"], context.item("inference/average/se"), limits))
    )  # fmt: skip
    ranks = (
        f" Rank = {percent} % interval of the rank of the {level.name}'s expected value, 1 the "
        f"highest, from {RANK_DRAWS:,} draws of the random effects' conditional distribution."
        if compared and compared["have"]
        else ""
    )
    return {
        "groups": Table(
            "groups",
            f"Expected {context.plan.outcome.label} in named {level.plural} and in the average "
            f"{level.name}",
            (
                level.name.capitalize(),
                "n",
                *(("Reliability",) if simple else ()),
                "Expected",
                "SE",
                f"{percent} % CI",
                *(("Rank",) if compared else ()),
            ),
            tuple(rows),
            "For a unit with " + (f"the {context.at_categories} and the means"
            if has_reference(context, context.final) else "typical values") + " of the predictors"
            + ("; each group with its own values of those of its level."
               if _own_columns(context, context.final, level) else ".")
            + " n = rows."
            + (" Reliability = 1 − Var(u | y) / τ, how far the group's own data determine its "
               "deviation." if simple else "")
            + ranks,
        )
    }  # fmt: skip


def _modes(context: Context, model: FittedModel, level: Level, effect: str) -> dict[str, Any]:
    context.run(
        STEP, "caterpillar", id=model.id, group=level.group, effect=effect,
        level=context.spec.inference.level,
    )  # fmt: skip
    at = f"inference/modes/{level.group}/{effect}"
    return {
        "at": at,
        "effect": effect,
        "label": context.effect_phrase(model, effect),
        "where": intercepts_at(context, model, level.group) if effect == INTERCEPT else [],
        "clear": context.item(f"{at}/clear"),
        "none": context.value(f"{at}/clear") == 0,
        "have": isinstance(context.item(f"{at}/estimate"), Series),
    }


def _shrinkage(context: Context, level: Level) -> Mapping[str, Any] | None:
    null = context.null
    if null is None or level.group not in null.fit.blocks or null.fit.singular:
        return None
    context.run(
        STEP, "shrinkage", null=null.id, group=level.group,
        outcome=context.plan.outcome.column,
    )  # fmt: skip
    at = f"inference/shrinkage/{level.group}"
    context.sharpen([f"{at}/overall"], f"{null.id}/fixef/(Intercept)/se")
    least, most = (context.value(f"{at}/{side}") for side in ("least", "most"))
    equal = least is not None and most is not None and abs(least - most) < 0.0005
    return {**context.all(at, "overall", "least", "most"), "equal": equal, "at": at,
            "alone": len(null.fit.blocks) == 1}  # fmt: skip


# --- what an estimate is of -------------------------------------------------------------------


def _estimands(
    context: Context,
    level: Level,
    named: list[dict[str, Any]],
    inside: Sequence[Mapping[str, Any]],
    alone: Mapping[str, Any] | None,
) -> Table:
    """Average, population, named and new groups, and a new unit, side by side."""
    lowest = context.plan.levels[0]
    groups = [entry.name for entry in _levels(context.final, context)] or [level.name]
    together = " and ".join(f"a new {name}" for name in reversed(groups))
    several = len(groups) > 1

    def row(head: str, of: str, key: str, holds: str) -> Row:
        limits = interval(context, f"inference/{key}")
        return Row(head, (of, context.item(f"inference/{key}/estimate"), limits, holds))

    percent = f"{100 * context.spec.inference.level:g}"
    return Table(
        "estimands",
        f"The expected {context.plan.outcome.label} {_typical(context)}, by what it is said "
        f"of",
        ("Said of", "What it is", "Estimate", f"{percent} % interval", "What the interval holds"),
        (
            row(f"Average {' and '.join(reversed(groups))}", "all random effects at zero",
                "average",
                "uncertainty of the fixed effects"),
            row("Population", f"mean over all {' and '.join(_plurals(context, groups))}, with "
                "these values of the predictors", "average", "the same, as the model is linear"),
            *(_named_row(context, level, entry) for entry in named[len(named) // 2 :][:1]),
            *(Row(e["said"], (e["what"], e["estimate"], interval(context, f"inference/{e['key']}"),
                              e["holds"])) for e in inside),
            *([row(f"A new {level.name}", f"its expected value, averaged over {alone['over']}",
                   "new_unit", f"fixed effects and variance between {alone['between']}")]
              if alone else []),
            row(f"A new {level.name}" if not several else "New at every level",
                f"expected value in {together}", "new",
                "fixed effects and variance between groups"),
            row(f"A new {lowest.name}", f"one observation in {together}", "observation",
                "these and the residual variance"),
        ),
        "Rows with something new or a single observation are intervals of prediction." if named
        else "The last two are intervals of prediction.",
    )  # fmt: skip


def _plurals(context: Context, names: Sequence[str]) -> list[str]:
    return [level.plural for level in context.plan.groups if level.name in names]


def _typical(context: Context) -> str:
    """Where the expected outcome is given: reference categories are a profile, no typical unit."""
    if has_reference(context, context.final):
        return f"at the {context.profile}"
    return f"of a typical {context.plan.levels[0].name}"


def _named_row(context: Context, level: Level, entry: Mapping[str, Any]) -> Row:
    return Row(
        f"{level.name.capitalize()} {entry['name']}",
        (f"a particular {level.name}"
         + (", with its own values of the predictors of its level"
            if _own_columns(context, context.final, level) else ""), entry["estimate"],
         interval(context, f"inference/{entry['key']}"),
         f"fixed effects and this {level.name}'s mode jointly"),
    )  # fmt: skip


# --- transformed outcomes ---------------------------------------------------------------------


def _back(
    context: Context,
    model: FittedModel,
    named: Sequence[Mapping[str, Any]],
) -> Mapping[str, Any] | None:
    """The predictions in the units before the outcome's transformation."""
    transform = context.spec.outcome.transform
    if transform == "none":
        return None
    shown = context.plan.shown(context.spec.report.grouping)
    average = [
        ("Median", "median", "average", "none"),
        (f"Mean in the average {shown.name}", "average", "average", "residual"),
        ("Mean of the population", "population", "average", "all"),
    ]
    for entry in named:
        name = f"{shown.name.capitalize()} {entry['name']}"
        average.append((f"{name}, median", entry["key"], entry["made"], "none"))
    average.append((f"A new {context.plan.levels[0].name}, median and interval of prediction",
                    "observation", "p_observation", "none"))  # fmt: skip
    unit = context.spec.outcome.unit or ""
    rows = []
    for label, key, made, around in average:
        context.run(
            STEP, "back_predicted", id=model.id, key=key, made=made, around=around,
            transform=transform, level=context.spec.inference.level, unit=unit,
        )  # fmt: skip
        at = f"inference/back/{key}"
        rows.append({"label": label, "at": at, **context.all(at, "estimate", "lower", "upper")})
    return {
        "rows": rows,
        **context.all("inference/back/median", "estimate", "lower", "upper"),
        "mean": context.all("inference/back/population", "estimate", "lower", "upper"),
        "conditional": context.all("inference/back/average", "estimate", "lower", "upper"),
        "have": context.value("inference/back/median/estimate") is not None,
        "geometric": transform in {"log", "log2", "log10"},
        "unit": unit,
    }


def _back_table(context: Context, back: Mapping[str, Any]) -> Table:
    outcome = context.spec.outcome
    unit = f" ({outcome.unit})" if outcome.unit else ""
    percent = f"{100 * context.spec.inference.level:g}"
    return Table(
        "back",
        f"Expected {outcome.label or outcome.name} {_typical(context)} before the "
        f"transformation{unit}",
        ("Of", "Estimate", f"{percent} % interval"),
        tuple(Row(r["label"], (r["estimate"], interval(context, r["at"]))) for r in back["rows"]),
        "Medians are the predictions transformed back; means take the variance with them: the "
        "residual variance in the average group, that and the variances between groups in the "
        "population. They suppose normal distributions on the model's scale.",
    )


# --- the other method of df -------------------------------------------------------------------


def _other_df(context: Context, model: FittedModel) -> Mapping[str, Any]:
    other = OTHER_DF[context.ddf]
    reason = _why_not(context, other)
    if reason:
        return {"method": other, "own": context.ddf, "reason": reason}
    context.run(STEP, "other_df", id=model.id, ddf=other)
    rows, turned = [], []
    for entry in model.coefficients:
        own = context.all(f"{model.id}/fixef/{entry.name}", "df", "p")
        at = f"inference/otherdf/{entry.name}"
        context.sharpen([f"{at}/se"], f"{at}/se")
        rows.append(
            Row(entry.label, (context.item(f"{model.id}/fixef/{entry.name}/se"), *own.values(),
                              *context.all(at, "se", "df", "p").values()))
        )  # fmt: skip
        alpha = context.spec.inference.alpha
        ps = context.value(f"{model.id}/fixef/{entry.name}/p"), context.value(f"{at}/p")
        if None not in ps and len({p < alpha for p in ps if p is not None}) > 1:
            turned.append(entry.label)
    return {
        "method": other,
        "own": context.ddf,
        "reason": "",
        "have": any(context.value(f"inference/otherdf/{e.name}/p") is not None
                    for e in model.coefficients),
        "turned": turned,
        "table": Table(
            "df",
            f"Tests of the fixed effects by {context.ddf} and by {other} df",
            ("Effect", "SE", "df", "p", f"SE ({other})", f"df ({other})", f"p ({other})"),
            tuple(rows),
            "Kenward-Roger also adjusts the standard errors for small samples.",
        ),
    }  # fmt: skip


def _why_not(context: Context, other: str) -> str:
    """Why the tests are not given by the other method; empty where they are."""
    limit = context.spec.inference.df_comparison
    crossed = context.spec.structure == "crossed"
    if limit == 0:
        return "the spec says so"
    if context.asymptotic:
        return context.asymptotic
    if other != "Kenward-Roger":
        return ""
    if context.plan.weights:
        return "pbkrtest makes them as if all rows had the same weight"
    if context.spec.estimation.method != "REML":
        return "they are made for REML, and the models are fitted by ML"
    if len(context.data.frame) > (limit // 2 if crossed else limit):
        return "they take long with so many rows"
    return ""


# --- ignoring the groups ----------------------------------------------------------------------


def _ols(context: Context, model: FittedModel) -> None:
    fixed = replace(model.plan.formula, random=())
    context.run(STEP, "ols_comparison", id=model.id, fixed=fm.to_r(fixed), unit=context.unit)
    for entry in model.coefficients:
        at = f"inference/ols/{entry.name}"
        context.sharpen([f"{at}/estimate", f"{at}/se"], f"{at}/se")


def _ols_facts(context: Context, model: FittedModel) -> Mapping[str, Any]:
    ratios = {
        entry.name: value
        for entry in model.coefficients
        if (value := context.value(f"inference/ols/{entry.name}/ratio")) is not None
    }
    if not ratios:
        return {"have": False}
    worst = max(ratios, key=lambda name: ratios[name])
    return {
        "have": True,
        "label": "the intercept" if worst == INTERCEPT else model.coefficient(worst).label,
        "ratio": context.item(f"inference/ols/{worst}/ratio"),
        "understates": ratios[worst] > 1.05,
    }


def _ols_table(context: Context, model: FittedModel) -> Table:
    rows = []
    for entry in model.coefficients:
        own = context.all(f"{model.id}/fixef/{entry.name}", "estimate", "se")
        ols = context.all(f"inference/ols/{entry.name}", "estimate", "se", "ratio")
        rows.append(Row(entry.label, (*own.values(), *ols.values())))
    return Table(
        "ols",
        "The same fixed effects with the groups ignored (ordinary least squares)",
        ("Effect", "Multilevel", "SE", "OLS", "SE (OLS)", "SE ratio"),
        tuple(rows),
        "SE ratio = multilevel over OLS standard error; above 1, OLS would be too certain.",
    )


def _said_where(mode: Mapping[str, Any]) -> str:
    return f" (where {listed(mode['where'])})" if mode["where"] else ""


# --- figures ----------------------------------------------------------------------------------


def _figures(
    context: Context,
    level: Level,
    named: list[dict[str, Any]],
    modes: list[dict[str, Any]],
    shrinkage: Mapping[str, Any] | None,
    compared: Mapping[str, Any] | None,
) -> dict[str, Figure]:
    unit = f" ({context.unit})" if context.unit else ""
    percent = f"{100 * context.spec.inference.level:g}"
    figures = {}
    for number, entry in enumerate(modes, start=1):
        if not entry["have"]:
            continue
        two = compared is not None and compared["have"] and entry["effect"] == INTERCEPT
        thick = (
            f" The thick part is the comparison interval: two {level.plural} whose thick parts "
            "do not overlap differ at about the level of the intervals (Goldstein and Healy 1995)."
        )
        many = len(context.item(f"{entry['at']}/names").values) > MOST_ROWS
        whose = f"{level.plural}, evenly chosen," if many else f"every {level.name}"
        figures[f"modes-{level.name}-{number}"] = Figure(
            f"modes-{slug(level.name)}-{number}",
            "caterpillar",
            f"Conditional modes of the {entry['label']}{_said_where(entry)} of {whose} "
            f"with {percent} % intervals, in order.{thick if two else ''}",
            f"Caterpillar plot: the {level.plural} in order of their deviation from the average.",
            {
                "most": MOST_ROWS,
                "labels": context.item(f"{entry['at']}/names"),
                "estimate": context.item(f"{entry['at']}/estimate"),
                "lower": context.item(f"{entry['at']}/lower"),
                "upper": context.item(f"{entry['at']}/upper"),
                **(
                    {"comparison": [compared["lower"], compared["upper"]]}
                    if two and compared
                    else {}
                ),
                "highlighted": [group["name"] for group in named],
                "xlabel": f"Deviation of the {entry['label']} from the average {level.name}",
                "groups": level.plural,
            },
        )
    if shrinkage is not None:
        at = shrinkage["at"]
        figures[f"shrinkage-{level.name}"] = Figure(
            f"shrinkage-{slug(level.name)}",
            "shrinkage",
            f"Raw {level.name} means and those of the null model, drawn towards the overall mean.",
            f"Each {level.name}'s raw mean is joined to its shrunken mean; small groups move most.",
            {
                "raw": context.item(f"{at}/raw"),
                "shrunken": context.item(f"{at}/shrunken"),
                "n": context.item(f"{at}/n"),
                "overall": context.item(f"{at}/overall"),
                "xlabel": f"{context.plan.outcome.label}{unit}",
                "groups": level.plural,
            },
        )
    return figures
