"""Step 8: the average group, named groups, and the answers to the questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mlmreport.quantities import Cell, Figure, Row, Series, Table
from mlmreport.spec import formula as fm
from mlmreport.spec.schema import QuestionSpec
from mlmreport.spec.sequence import question_terms
from mlmreport.spec.variables import Level
from mlmreport.steps.coefficients import INTERCEPT, Coefficient
from mlmreport.steps.context import Context, FittedModel
from mlmreport.steps.effects import interval
from mlmreport.steps.interpretation import higher_columns, pair_of, where_it_holds
from mlmreport.steps.models import COEFFICIENT
from mlmreport.steps.questions import KINDS, kind_of

__all__ = ["run"]

STEP = "inference"
RANK_DRAWS = 2000
"""Draws of the groups' ranks."""
OTHER_DF = {
    "Satterthwaite": "Kenward-Roger",
    "Kenward-Roger": "Satterthwaite",
    "asymptotic": "Satterthwaite",
}


def run(context: Context, interactions: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Predictions at three distances, conditional modes, and what ignoring groups would do."""
    model, level, unit = context.final, context.spec.inference.level, context.unit
    group = context.lowest_group
    context.run(STEP, "average_prediction", id=model.id, level=level, unit=unit)
    context.run(STEP, "new_group", id=model.id, level=level, unit=unit)
    context.run(STEP, "new_observation", id=model.id, level=level, unit=unit)
    context.sharpen(
        [f"inference/{part}" for part in
         ("average/estimate", "average/lower", "average/upper", "new/lower", "new/upper",
          "observation/lower", "observation/upper")],
        "inference/average/se",
    )  # fmt: skip
    named = _named(context, model) if group in model.fit.groups.values() else []
    compared = _compared(context, model, named)
    families = _adjust(context, model)
    other = _other_df(context, model)
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
        "several": [level.name for level in context.plan.groups],
        "crossed": context.spec.structure == "crossed",
        "lowest": context.plan.levels[0].name,
        "lowest_plural": context.plan.levels[0].plural,
        "average": context.all("inference/average", "estimate", "lower", "upper"),
        "new": context.all("inference/new", "lower", "upper"),
        "observation": context.all("inference/observation", "lower", "upper"),
        "back": _back(context, model),
        "outcome_label": context.spec.outcome.label or context.spec.outcome.name,
        "transform": context.spec.outcome.transform,
        "compared": compared,
        "correction": {"none": "", "holm": "Holm", "bonferroni": "Bonferroni"}[
            context.spec.inference.correction
        ],
        "families": families,
        "other_df": other,
        "named": named,
        "chosen": not context.spec.report.groups,
        "modes": modes,
        "shrinkage": shrinkage,
        "answers": [_answer(context, model, interactions, *pair) for pair in _asked(context)],
        "ols": _ols_facts(context, model),
        "observational": context.spec.simulate is None,
        "has_higher": bool(higher_columns(context, model)),
        "tables": {
            "ols": _ols_table(context, model),
            "estimands": _estimands(context, named),
            **_group_table(context, named, compared),
        },
        "figures": _figures(context, named, modes, shrinkage, compared),
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
    columns = higher_columns(context, model)
    found = context.run(
        STEP, "named_groups", id=model.id, group=group, wanted=wanted, columns=columns
    )
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


def _compared(
    context: Context, model: FittedModel, named: list[dict[str, Any]]
) -> Mapping[str, Any] | None:
    """How far the order of the groups' intercepts is determined."""
    group = context.lowest_group
    if INTERCEPT not in _effects(model, group):
        return None
    context.run(
        STEP, "comparisons", id=model.id, group=group, effect=INTERCEPT,
        level=context.spec.inference.level, draws=RANK_DRAWS, seed=context.spec.inference.seed,
        units=[entry["name"] for entry in named],
    )  # fmt: skip
    at = "inference/compare"
    have = context.value(f"{at}/overlap") is not None
    return {
        "have": have,
        "all": context.value(f"{at}/overlap") == 1,
        "none": context.value(f"{at}/overlap") == 0,
        **context.all(at, "factor", "overlap"),
        "lower": context.engine.items.get(f"{at}/lower"),
        "upper": context.engine.items.get(f"{at}/upper"),
    }


def _ranks(context: Context, name: str, compared: Mapping[str, Any]) -> Cell:
    low, high = (context.item(f"inference/compare/rank/{name}/{side}")
                 for side in ("lower", "upper"))  # fmt: skip
    return (low, " to ", high) if compared["have"] else "not determined"


def _group_table(
    context: Context, named: list[dict[str, Any]], compared: Mapping[str, Any] | None
) -> dict[str, Table]:
    if not named:
        return {}
    level = context.plan.groups[0]
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
                ("[", entry["lower"], ", ", entry["upper"], "]"),
                *((_ranks(context, entry["name"], compared),) if compared else ()),
            ),
        )
        for entry in named
    ]
    interval = ("[", average["lower"], ", ", average["upper"], "]")
    gap = ("", "") if simple else ("",)
    rows.append(Row(f"Average {level.name}", (*gap, average["estimate"], interval)))
    ranks = (
        f" Rank = {percent} % interval of the rank of the intercept, 1 the highest, from "
        f"{RANK_DRAWS:,} draws of the conditional distribution."
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
                f"{percent} % CI",
                *(("Rank",) if compared else ()),
            ),
            tuple(rows),
            "For a unit with typical lower-level values; each group with its own higher-level "
            "values."
            + (" Reliability = weight of the group's own data, τ / (τ + σ² / n)." if simple else "")
            + ranks,
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
        "none": context.value(f"{at}/clear") == 0,
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
    least, most = (context.value(f"inference/shrinkage/{side}") for side in ("least", "most"))
    equal = least is not None and most is not None and abs(least - most) < 0.0005
    return {**context.all("inference/shrinkage", "overall", "least", "most"), "equal": equal}


# --- what an estimate is of -------------------------------------------------------------------


def _estimands(context: Context, named: list[dict[str, Any]]) -> Table:
    """Average, population, named and new groups, and a new unit, side by side."""
    level, lowest = context.plan.groups[0], context.plan.levels[0]
    at = "inference"
    average = context.item(f"{at}/average/estimate")

    def row(head: str, of: str, what: str, holds: str) -> Row:
        return Row(head, (of, average, interval(context, f"{at}/{what}"), holds))

    percent = f"{100 * context.spec.inference.level:g}"
    return Table(
        "estimands",
        f"The expected {context.plan.outcome.label} of a typical {lowest.name}, by what it is said "
        f"of",
        ("Said of", "What it is", "Estimate", f"{percent} % interval", "What the interval holds"),
        (
            row(f"Average {level.name}", f"{level.name} with random effects of zero", "average",
                "uncertainty of the fixed effects"),
            row("Population", f"mean over all {level.plural}", "average",
                "the same, as the model is linear"),
            *(_named_row(context, entry) for entry in named[len(named) // 2 :][:1]),
            row(f"A new {level.name}", "its expected value", "new",
                "fixed effects and variance between groups"),
            row(f"A new {lowest.name}", f"one observation in a new {level.name}", "observation",
                "these and the residual variance"),
        ),
        "The last two are intervals of prediction, with the variances taken as known.",
    )  # fmt: skip


def _named_row(context: Context, entry: Mapping[str, Any]) -> Row:
    level = context.plan.groups[0].name
    limits = interval(context, f"inference/group/{entry['name']}")
    return Row(
        f"{level.capitalize()} {entry['name']}",
        (f"a particular {level}, with its own higher-level values", entry["estimate"], limits,
         f"fixed effects and this {level}'s mode"),
    )  # fmt: skip


def _back(context: Context, model: FittedModel) -> Mapping[str, Any] | None:
    """The average prediction in the units before the outcome's transformation."""
    transform = context.spec.outcome.transform
    if transform == "none":
        return None
    context.run(
        STEP, "back_predicted", id=model.id, transform=transform,
        level=context.spec.inference.level,
    )  # fmt: skip
    return {
        **context.all("inference/back", "estimate", "lower", "upper"),
        "have": context.value("inference/back/estimate") is not None,
        "geometric": transform in {"log", "log2", "log10"},
        "unit": context.spec.outcome.unit or "",
    }


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
    if context.spec.estimation.method != "REML":
        return "they are made for REML, and the models are fitted by ML"
    if len(context.data.frame) > (limit // 2 if crossed else limit):
        return "they take long with so many rows"
    return ""


# --- families of tests ------------------------------------------------------------------------


def _matched(model: FittedModel, kind: str, terms: tuple[fm.Term, ...]) -> list[Coefficient]:
    """The coefficients that a question asks for."""
    wanted = {frozenset(map(fm.expression_r, term.factors)) for term in terms}
    return [
        entry
        for entry in model.coefficients
        if kind != "variance" and entry.parts and frozenset(_factor_names(entry)) in wanted
    ]


def _family(question: QuestionSpec) -> str:
    return question.family or "all"


def _adjust(context: Context, model: FittedModel) -> list[dict[str, Any]]:
    """Adjust the questions' p-values, family by family."""
    method = context.spec.inference.correction
    if method == "none":
        return []
    members: dict[str, list[str]] = {}
    for question, terms in _asked(context):
        kind = kind_of(context, question, terms)
        names = [e.name for e in _matched(model, kind, terms)
                 if context.value(f"{model.id}/fixef/{e.name}/p") is not None]  # fmt: skip
        known = members.setdefault(_family(question), [])
        known += [name for name in names if name not in known]
    found = []
    for family, names in members.items():
        if not names:
            continue
        context.run(STEP, "adjusted_tests", id=model.id, family=family, terms=names, method=method)
        tests = context.item(f"inference/adjusted/{family}/tests")
        found.append({"name": family, "tests": tests, "named": family != "all",
                      "single": len(names) == 1})  # fmt: skip
    return found


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
    matched = _matched(model, kind, terms)
    effects = []
    for entry in matched:
        at = f"{model.id}/fixef/{entry.name}"
        p, estimate = context.value(f"{at}/p"), context.value(f"{at}/estimate") or 0.0
        family = f"inference/adjusted/{_family(question)}"
        alone = context.value(f"{family}/tests") == 1
        adjusted = f"{family}/{entry.name}/p" if not alone else ""
        if adjusted in context.engine.items:
            p = context.value(adjusted)
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
                "where": where_it_holds(context, model, entry),
                "unit": entry.parts[0].variable.unit if entry.parts[0].variable else "",
                "positive": estimate >= 0,
                "tested": p is not None,
                "clear": p is not None and p < context.spec.inference.alpha,
                "adjusted": context.engine.items.get(adjusted),
                "factor": _factor(context, entry.name),
                **context.all(at, *COEFFICIENT),
            }
        )
    varying = [
        (level, effect)
        for level in context.plan.groups
        for effect in _effects(model, level.group)
        if kind == "variance" and (not terms or frozenset(effect.split(":")) in wanted)
    ]
    return {
        "id": question.id,
        "text": question.text,
        "status": question.status,
        "kind": KINDS[kind],
        "effects": effects,
        "variance": [_variance(context, model, level, effect) for level, effect in varying],
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


def _factor(context: Context, name: str) -> Mapping[str, Any] | None:
    """On a log outcome, by what the effect multiplies the geometric mean."""
    at = f"interpretation/factor/{name}"
    if context.value(f"{at}/estimate") is None:
        return None
    return context.all(at, "estimate", "lower", "upper")


def _factor_names(entry: Any) -> list[str]:
    return [
        fm.r_name(part.variable.column)
        if part.variable and part.category is not None
        else part.name
        for part in entry.parts
    ]


def _variance(context: Context, model: FittedModel, level: Level, effect: str) -> dict[str, Any]:
    block = next(
        block for block, effects in model.fit.blocks.items()
        if effect in effects and model.fit.groups[block] == level.group
    )  # fmt: skip
    at = f"{model.id}/var/{block}/{effect}/sd"
    items = context.engine.items
    return {
        "label": context.effect_phrase(model, effect),
        "groups": level.plural,
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
    compared: Mapping[str, Any] | None,
) -> dict[str, Figure]:
    level = context.plan.groups[0]
    unit = f" ({context.unit})" if context.unit else ""
    percent = f"{100 * context.spec.inference.level:g}"
    figures = {}
    for number, entry in enumerate(modes, start=1):
        if not entry["have"]:
            continue
        two = compared is not None and compared["have"] and entry["effect"] == INTERCEPT
        thick = (
            f" The thick part is the comparison interval: two {level.plural} whose thick parts "
            "do not overlap differ at about the level of the intervals (Goldstein & Healy, 1995)."
        )
        figures[f"modes{number}"] = Figure(
            f"modes-{number}",
            "caterpillar",
            f"Conditional modes of the {entry['label']} of every {level.name} with {percent} % "
            f"intervals, in order.{thick if two else ''}",
            f"Caterpillar plot: the {level.plural} in order of their deviation from the average.",
            {
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
