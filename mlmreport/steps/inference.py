"""Step 8: the average group, named groups, and the answers to the questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mlmreport.errors import InputError, did_you_mean
from mlmreport.quantities import Figure, Row, Series, Table
from mlmreport.spec import formula as fm
from mlmreport.spec.sequence import question_terms
from mlmreport.steps.context import Context, FittedModel
from mlmreport.steps.interpretation import pair_of
from mlmreport.steps.models import COEFFICIENT
from mlmreport.steps.questions import KINDS, kind_of

__all__ = ["run"]

STEP = "inference"


def run(context: Context, interactions: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Predictions at three distances, conditional modes, and what ignoring groups would do."""
    model, level, unit = context.final, context.spec.inference.level, context.unit
    group = context.lowest_group
    context.run(STEP, "average_prediction", id=model.id, level=level, unit=unit)
    context.run(STEP, "new_group", id=model.id, level=level, unit=unit)
    context.sharpen(
        [f"inference/{part}" for part in
         ("average/estimate", "average/lower", "average/upper", "new/lower", "new/upper")],
        "inference/average/se",
    )  # fmt: skip
    named = _named(context, model) if group in model.fit.groups.values() else []
    modes = [_modes(context, model, effect) for effect in _effects(model, group)]
    _ols(context, model)
    shrinkage = _shrinkage(context)
    return {
        "model": model.plan.label,
        "outcome": context.plan.outcome.label,
        "unit": unit,
        "level": context.item("settings/level"),
        "alpha": context.item("settings/alpha"),
        "group": context.plan.groups[0].name,
        "groups": context.plan.groups[0].plural,
        "lowest": context.plan.levels[0].name,
        "lowest_plural": context.plan.levels[0].plural,
        "average": context.all("inference/average", "estimate", "lower", "upper"),
        "new": context.all("inference/new", "lower", "upper"),
        "named": named,
        "chosen": not context.spec.report.groups,
        "modes": modes,
        "shrinkage": shrinkage,
        "answers": [_answer(context, model, interactions, *pair) for pair in _asked(context)],
        "ols": _ols_facts(context, model),
        "observational": context.spec.simulate is None,
        "tables": {"ols": _ols_table(context, model), **_group_table(context, named)},
        "figures": _figures(context, named, modes, shrinkage),
    }


def _effects(model: FittedModel, group: str) -> list[str]:
    return [
        effect
        for block, effects in model.fit.blocks.items()
        if model.fit.groups[block] == group
        for effect in effects
    ]


# --- groups -----------------------------------------------------------------------------------


def _named(context: Context, model: FittedModel) -> list[dict[str, Any]]:
    group = context.lowest_group
    wanted = [str(name) for name in context.spec.report.groups]
    found = context.run(STEP, "named_groups", id=model.id, group=group, wanted=wanted)
    if found["unknown"]:
        categories = [str(c) for c in context.data.frame[group].cat.categories]
        name = found["unknown"][0]
        raise InputError.of(
            f"report.groups: there is no {context.plan.groups[0].name} '{name}'",
            did_you_mean(name, categories),
            context.document.locate("report", "groups"),
        )
    columns = [
        variable.column
        for variable in context.plan.used
        if variable.level > 1 and variable.column in fm.variables(model.plan.formula)
    ]
    context.run(
        STEP, "group_predictions", id=model.id, group=group, units=list(found["groups"]),
        columns=columns, level=context.spec.inference.level, unit=context.unit,
    )  # fmt: skip
    return [_group(context, name) for name in found["groups"]]


def _group(context: Context, name: str) -> dict[str, Any]:
    at = f"inference/group/{name}"
    context.sharpen([f"{at}/{what}" for what in ("estimate", "se", "lower", "upper")], f"{at}/se")
    found = context.all(at, "estimate", "se", "lower", "upper", "n", "shrinkage")
    return {"name": name, **found, "have": context.value(f"{at}/estimate") is not None}


def _group_table(context: Context, named: list[dict[str, Any]]) -> dict[str, Table]:
    if not named:
        return {}
    level = context.plan.groups[0]
    average = context.all("inference/average", "estimate", "lower", "upper")
    rows = [
        Row(
            f"{level.name.capitalize()} {entry['name']}",
            (
                entry["n"],
                entry["shrinkage"],
                entry["estimate"],
                ("[", entry["lower"], ", ", entry["upper"], "]"),
            ),
        )
        for entry in named
    ]
    interval = ("[", average["lower"], ", ", average["upper"], "]")
    rows.append(Row(f"Average {level.name}", ("", "", average["estimate"], interval)))
    percent = f"{100 * context.spec.inference.level:g}"
    return {
        "groups": Table(
            "groups",
            f"Expected {context.plan.outcome.label} in named {level.plural} and in the average "
            f"{level.name}",
            (level.name.capitalize(), "n", "Reliability", "Expected", f"{percent} % CI"),
            tuple(rows),
            "For a unit with typical lower-level values; each group with its own higher-level "
            "values. "
            "Reliability = weight of the group's own data, τ / (τ + σ² / n) for the intercept.",
        )
    }


def _modes(context: Context, model: FittedModel, effect: str) -> dict[str, Any]:
    group = context.lowest_group
    context.run(
        STEP, "caterpillar", id=model.id, group=group, effect=effect,
        level=context.spec.inference.level,
    )  # fmt: skip
    at = f"inference/modes/{group}/{effect}"
    return {
        "at": at,
        "effect": effect,
        "label": context.effect_phrase(model, effect),
        "clear": context.item(f"{at}/clear"),
        "have": isinstance(context.item(f"{at}/estimate"), Series),
    }


def _shrinkage(context: Context) -> Mapping[str, Any] | None:
    null = context.null
    if null is None or context.lowest_group not in null.fit.blocks or null.fit.singular:
        return None
    context.run(
        STEP, "shrinkage", null=null.id, group=context.lowest_group,
        outcome=context.plan.outcome.column,
    )  # fmt: skip
    context.sharpen(["inference/shrinkage/overall"], f"{null.id}/fixef/(Intercept)/se")
    return context.all("inference/shrinkage", "overall", "least", "most")


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
        "label": model.coefficient(worst).label,
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


# --- answers ----------------------------------------------------------------------------------


def _asked(context: Context) -> list[tuple[Any, tuple[fm.Term, ...]]]:
    terms = question_terms(context.spec, context.plan.variables)
    return list(zip(context.spec.questions, terms, strict=True))


def _answer(
    context: Context,
    model: FittedModel,
    interactions: Sequence[Mapping[str, Any]],
    question: Any,
    terms: tuple[fm.Term, ...],
) -> dict[str, Any]:
    kind = kind_of(context, question, terms)
    wanted = {frozenset(map(fm.expression_r, term.factors)) for term in terms}
    matched = [
        entry
        for entry in model.coefficients
        if kind != "variance" and entry.parts and frozenset(_factor_names(entry)) in wanted
    ]
    effects = []
    for entry in matched:
        at = f"{model.id}/fixef/{entry.name}"
        p, estimate = context.value(f"{at}/p"), context.value(f"{at}/estimate") or 0.0
        effects.append(
            {
                "label": entry.label,
                "base": entry.parts[0].variable.base_label
                if entry.parts[0].variable
                else entry.label,
                "role": entry.parts[0].variable.role if entry.parts[0].variable else "",
                "category": entry.parts[0].category or "",
                "reference": context.categories[entry.parts[0].variable.column][0]
                if entry.parts[0].variable and entry.parts[0].category is not None
                else "",
                "kind": entry.kind,
                "pair": pair_of(context, entry),
                "unit": entry.parts[0].variable.unit if entry.parts[0].variable else "",
                "positive": estimate >= 0,
                "tested": p is not None,
                "clear": p is not None and p < context.spec.inference.alpha,
                **context.all(at, *COEFFICIENT),
            }
        )
    varying = [
        effect
        for effect in _effects(model, context.lowest_group)
        if kind == "variance" and (not terms or frozenset(effect.split(":")) in wanted)
    ]
    return {
        "id": question.id,
        "text": question.text,
        "status": question.status,
        "kind": KINDS[kind],
        "effects": effects,
        "variance": [_variance(context, model, effect) for effect in varying],
        "missing_terms": bool(terms) and not effects and not varying,
        "slopes": [
            {
                "label": entry["moderator"],
                "focal": entry["focal"],
                "slopes": entry["slopes"],
                "type": entry["moderator_type"],
            }
            for entry in interactions
            if any(
                e.kind == "interaction"
                and set(_factor_names(e)) == set(map(fm.r_name, entry["key_columns"]))
                for e in matched
            )
        ],
        "explained": context.engine.items.get(f"fit/{model.id}/reduction/{context.lowest_group}")
        if kind in {"between", "contextual"} and effects
        else None,
    }


def _factor_names(entry: Any) -> list[str]:
    return [
        fm.r_name(part.variable.column)
        if part.variable and part.category is not None
        else part.name
        for part in entry.parts
    ]


def _variance(context: Context, model: FittedModel, effect: str) -> dict[str, Any]:
    block = next(
        block for block, effects in model.fit.blocks.items()
        if effect in effects and model.fit.groups[block] == context.lowest_group
    )  # fmt: skip
    at = f"{model.id}/var/{block}/{effect}/sd"
    items = context.engine.items
    return {
        "label": context.effect_phrase(model, effect),
        "intercept": effect == "(Intercept)",
        "sd": context.item(at),
        "lower": items.get(f"{at}/lower"),
        "upper": items.get(f"{at}/upper"),
        "have": context.value(f"{at}/lower") is not None
        and context.value(f"{at}/upper") is not None,
    }


# --- figures ----------------------------------------------------------------------------------


def _figures(
    context: Context,
    named: list[dict[str, Any]],
    modes: list[dict[str, Any]],
    shrinkage: Mapping[str, Any] | None,
) -> dict[str, Figure]:
    level = context.plan.groups[0]
    unit = f" ({context.unit})" if context.unit else ""
    percent = f"{100 * context.spec.inference.level:g}"
    figures = {}
    for number, entry in enumerate(modes, start=1):
        if not entry["have"]:
            continue
        figures[f"modes{number}"] = Figure(
            f"modes-{number}",
            "caterpillar",
            f"Conditional modes of the {entry['label']} of every {level.name} with {percent} % "
            "intervals, in order.",
            f"Caterpillar plot: the {level.plural} in order of their deviation from the average.",
            {
                "labels": context.item(f"{entry['at']}/names"),
                "estimate": context.item(f"{entry['at']}/estimate"),
                "lower": context.item(f"{entry['at']}/lower"),
                "upper": context.item(f"{entry['at']}/upper"),
                "highlighted": [group["name"] for group in named],
                "xlabel": f"Deviation of the {entry['label']} from the average {level.name}",
                "groups": level.plural,
            },
        )
    if shrinkage is not None:
        figures["shrinkage"] = Figure(
            "shrinkage",
            "shrinkage",
            f"Raw {level.name} means and those of the null model, drawn towards the overall mean.",
            f"Each {level.name}'s raw mean is joined to its shrunken mean; small groups move most.",
            {
                "raw": context.item("inference/shrinkage/raw"),
                "shrunken": context.item("inference/shrinkage/shrunken"),
                "n": context.item("inference/shrinkage/n"),
                "overall": context.item("inference/shrinkage/overall"),
                "xlabel": f"{context.plan.outcome.label}{unit}",
                "groups": level.plural,
            },
        )
    return figures
