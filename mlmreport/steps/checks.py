"""Step 3, continued: influence, remedies, exogeneity, distances, repeated measures, scales."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlmreport.quantities import Cell, Figure, Row, Series, Table
from mlmreport.spec import formula as fm
from mlmreport.spec.variables import Variable
from mlmreport.steps.coefficients import INTERCEPT, Coefficient
from mlmreport.steps.context import Context, FittedModel
from mlmreport.steps.cost import df_evaluations, evaluations, too_long
from mlmreport.thresholds import RULES

__all__ = [
    "Trends",
    "autocorrelation",
    "distance",
    "exogeneity",
    "influence",
    "linearity_by_level",
    "remedies",
    "transformation",
    "trends_of",
]

STEP = "assumptions"
REFITS = 3
"""Groups, the most influential ones, without which the model is fitted again."""


# --- influence --------------------------------------------------------------------------------


def influence(context: Context, model: FittedModel) -> dict[str, Any]:
    """Every group left out: Cook's distances, and exact refits without the largest."""
    if reason := _influence_too_long(context, model):
        return {"have": False, "units": [], "too_long": reason}
    too_long_ = _refits_too_long(context, model)
    found = context.run(
        STEP,
        "check_influence",
        id=model.id,
        group=context.lowest_group,
        optimizer=context.spec.estimation.optimizer,
        refits=not too_long_,
    )
    units = [str(unit) for unit in found["groups"]]
    at = "assumptions/influence"
    facts: dict[str, Any] = {
        **context.all(at, "cutoff", "above", "inestimable", "largest", "dfbetas", "dfbetas_cutoff"),
        "have": bool(units) or context.value(f"{at}/largest") is not None,
        "units": units,
        "too_long": too_long_,
        "rests": (context.value(f"{at}/inestimable") or 0) > 0,
        "any": (context.value(f"{at}/above") or 0) > 0,
    }
    if not units:
        facts |= {"moved": None, "variance": None, "far": False}
        return facts | ({"figure": _influence_figure(context)} if facts["have"] else {})
    moved = _most_moved(context, model, units)
    return facts | {
        "moved": moved,
        "variance": _most_moved_variance(context, model, units),
        "far": moved is not None and moved["size"] > RULES["change"].value,
        "table": _influence_table(context, model, units),
        "figure": _influence_figure(context),
    }


def _influence_too_long(context: Context, model: FittedModel) -> str:
    """Why no group is left out: each takes about one evaluation of the deviance."""
    groups = context.value(f"structure/{context.plan.groups[0].name}/groups") or 0
    part = f"Cook's distances of {context.plan.groups[0].plural}, and refits without them"
    return too_long(context, STEP, part, model, groups * model.fit.evaluation)


def _refits_too_long(context: Context, model: FittedModel) -> str:
    """Why no refits are made without single groups."""
    seconds = REFITS * evaluations(model.fit.parameters) * model.fit.evaluation
    part = f"refits of {model.plan.label} without its most influential groups"
    return too_long(context, STEP, part, model, seconds)


def _most_moved(
    context: Context, model: FittedModel, units: Sequence[str]
) -> dict[str, Any] | None:
    changes = [
        (abs(value), entry, unit, name)
        for k, unit in enumerate(units, start=1)
        for entry in model.coefficients
        if (value := context.value(name := f"assumptions/without/{k}/{entry.name}/change"))
        is not None
    ]
    if not changes:
        return None
    size, entry, unit, name = max(changes, key=lambda change: change[0])
    return {"size": size, "label": entry.label, "unit": unit, "change": context.item(name)}


def _most_moved_variance(
    context: Context, model: FittedModel, units: Sequence[str]
) -> dict[str, Any] | None:
    changes = [
        (abs(value), _variance_label(context, model, block, effect), unit, name)
        for k, unit in enumerate(units, start=1)
        for block, effects in model.fit.blocks.items()
        for effect in effects
        if (value := context.value(name := f"assumptions/without/{k}/var/{block}/{effect}/change"))
        is not None
    ]
    if not changes:
        return None
    size, label, unit, name = max(changes, key=lambda change: change[0])
    return {
        "label": label,
        "unit": unit,
        "change": context.item(name),
        "far": size > RULES["variance_change"].value,
    }


def _influence_table(context: Context, model: FittedModel, units: Sequence[str]) -> Table:
    group = context.plan.groups[0].name
    numbers = range(1, len(units) + 1)

    def row(head: str, what: str) -> Row:
        cells = tuple(context.item(f"assumptions/without/{k}/{what}") for k in numbers)
        return Row(head, cells)

    rows = [
        row("Cook's distance", "cook"),
        Row("Fixed effects, change in SE", group=True),
        *(row(entry.label, f"{entry.name}/change") for entry in model.coefficients),
        Row("Variances, relative change", group=True),
        *(
            row(_variance_label(context, model, block, effect), f"var/{block}/{effect}/change")
            for block, effects in model.fit.blocks.items()
            for effect in effects
        ),
        row("Residual", "sigma2/change"),
    ]
    return Table(
        "influence",
        f"What changes when one {group} is left out",
        ("", *(f"without {group} {unit}" for unit in units)),
        tuple(rows),
        f"The {len(units)} largest Cook's distances, largest first. Cook's distances hold the "
        "variance parameters at their estimates; the changes come from a refit without the group, "
        "in standard errors of the model of all groups, and for a variance relative to its value "
        "with all groups.",
    )


def _variance_label(context: Context, model: FittedModel, block: str, effect: str) -> str:
    level = next(
        (entry for entry in context.plan.groups if entry.group == model.fit.groups[block]), None
    )
    return f"{context.effect_phrase(model, effect)} ({level.name if level else block})"


def _influence_figure(context: Context) -> Figure:
    level = context.plan.groups[0]
    return Figure(
        "influence",
        "influence",
        f"Cook's distance of every {level.name}, the largest named; the "
        "variance parameters are held at their estimates.",
        f"Cook's distances of the {level.plural} beside the cut-off; the larger, the more the "
        "fixed effects would change.",
        {
            "labels": context.item("assumptions/influence/names"),
            "distance": context.item("assumptions/influence/cook"),
            "cutoff": context.item("assumptions/influence/cutoff"),
            "xlabel": f"{level.name}, by position in the list of {level.plural}",
        },
    )


# --- remedies ---------------------------------------------------------------------------------


def remedies(context: Context, model: FittedModel, units: Sequence[str]) -> dict[str, Any]:
    """The fixed effects by other standard errors and without the most influential group."""
    samples = context.spec.inference.check_bootstrap
    found = context.run(
        STEP,
        "check_remedies",
        id=model.id,
        cluster=_cluster(context, model),
        samples=samples,
        seed=context.spec.inference.seed,
        asymptotic=bool(context.asymptotic),
    )
    robust = bool(found["robust"][0])
    for entry in model.coefficients:
        se = f"{model.id}/fixef/{entry.name}/se"
        at = f"assumptions/remedies/{entry.name}"
        context.sharpen([f"{at}/{what}" for what in ("se_cr2", "se_boot", "estimate_without")], se)
    ratios = [context.value(f"assumptions/remedies/{name}") for name in ("ratio", "least_ratio")]
    flips = {
        what: _changed(context, model, f"{{}}/{name}")
        for what, name in (("robust", "p_cr2"), ("without", "p_without"))
    }
    facts = {
        **context.all("assumptions/remedies", "ratio", "least_ratio"),
        "robust": robust,
        "without": bool(units) and _have(context, model, "p_without"),
        "unit": units[0] if units else "",
        "samples": samples > 0,
        "apart": any(abs(r - 1) > RULES["se_ratio"].value for r in ratios if r is not None),
        "flips": flips,
        "same": not any(flips.values()),
        "table": _remedies_table(context, model, units, robust),
    }
    _decide_remedies(context, facts)
    return facts


def _cluster(context: Context, model: FittedModel) -> str:
    """The grouping that holds all dependence; none where groupings are crossed."""
    used = [
        level.group for level in context.plan.groups if level.group in model.fit.groups.values()
    ]
    if not used or (len(used) > 1 and context.spec.structure == "crossed"):
        return ""
    return used[-1]


def _have(context: Context, model: FittedModel, what: str) -> bool:
    names = (f"assumptions/remedies/{entry.name}/{what}" for entry in model.coefficients)
    return any(context.value(name) is not None for name in names)


def _changed(context: Context, model: FittedModel, pattern: str) -> list[str]:
    """Labels of the coefficients whose test falls on the other side of alpha."""
    alpha = context.spec.inference.alpha
    found = []
    for entry in model.coefficients:
        first = context.value(f"{model.id}/fixef/{entry.name}/p")
        other = context.value("assumptions/remedies/" + pattern.format(entry.name))
        if first is not None and other is not None and (first < alpha) != (other < alpha):
            found.append(entry.label)
    return found


def _remedies_table(
    context: Context, model: FittedModel, units: Sequence[str], robust: bool
) -> Table:
    columns = [("Estimate", "estimate"), ("SE", "se"), ("p", "p")]
    extra = [("SE (CR2)", "se_cr2"), ("df (CR2)", "df_cr2"), ("p (CR2)", "p_cr2")] if robust else []
    if context.spec.inference.check_bootstrap:
        extra.append(("SE (bootstrap)", "se_boot"))
    if units:
        said = f"without {units[0]}"
        extra += [(f"Estimate ({said})", "estimate_without"), (f"p ({said})", "p_without")]

    def cells(name: str) -> tuple[Cell, ...]:
        own = (context.item(f"{model.id}/fixef/{name}/{what}") for _, what in columns)
        other = (context.item(f"assumptions/remedies/{name}/{what}") for _, what in extra)
        return (*own, *other)

    parts = ["Estimate, SE and p on the left are those of the model."]
    if robust:
        parts.append("CR2: cluster-robust standard errors with Satterthwaite df (clubSandwich).")
    if units:
        parts.append("The columns on the right are of a refit without the most influential group.")
    return Table(
        "remedies",
        "Fixed effects beside what remedies would make of them",
        ("Coefficient", *(head for head, _ in (*columns, *extra))),
        tuple(Row(entry.label, cells(entry.name)) for entry in model.coefficients),
        " ".join(parts),
    )


def _decide_remedies(context: Context, facts: Mapping[str, Any]) -> None:
    if not facts["robust"]:
        return
    context.decide(
        STEP,
        RULES["se_ratio"].text,
        (
            "CR2 over model standard errors from ",
            facts["least_ratio"],
            " to ",
            facts["ratio"],
        ),
        "the tests that follow keep the model's standard errors; those that differ are in the table"
        if facts["apart"]
        else "the model's standard errors are kept",
        "Pustejovsky2018",
    )


# --- random effects and predictors ------------------------------------------------------------


def exogeneity(context: Context, model: FittedModel) -> dict[str, Any]:
    """The group means of level-1 predictors added, to test between against within effects."""
    entries, left_out = _uncentred(context, model)
    nothing: dict[str, Any] = {"tested": [], "left_out": left_out, "rejected": []}
    if not entries:
        return nothing | {"too_long": ""}
    if reason := _means_too_long(context, model):
        return nothing | {"too_long": reason}
    context.run(
        STEP,
        "check_exogeneity",
        id=model.id,
        group=context.lowest_group,
        formula=model.plan.r,
        reml=context.spec.estimation.method == "REML",
        terms=[entry.name for entry in entries],
        asymptotic=bool(context.asymptotic),
    )
    tested = []
    for entry in entries:
        at = f"assumptions/exogeneity/{entry.name}"
        context.sharpen([f"{at}/estimate", f"{at}/se"], f"{at}/se")
        tested.append(
            {
                "label": entry.label,
                **context.all(at, "estimate", "se", "df", "t", "p"),
                "have": context.value(f"{at}/p") is not None,
                "rejected": _below(context, f"{at}/p"),
            }
        )
    rejected = [entry["label"] for entry in tested if entry["rejected"]]
    facts = {"tested": tested, "left_out": left_out, "rejected": rejected, "too_long": ""}
    have = [entry for entry in tested if entry["have"]]
    if have:
        _decide_exogeneity(context, have, rejected)
    return facts


def _means_too_long(context: Context, model: FittedModel) -> str:
    """Why the model is not fitted again with group means among its predictors."""
    k = model.fit.parameters
    needed = evaluations(k) + (0 if context.asymptotic else df_evaluations(k))
    part = f"{model.plan.label} with the means of its predictors added"
    return too_long(context, STEP, part, model, needed * model.fit.evaluation)


def _uncentred(
    context: Context, model: FittedModel
) -> tuple[list[Coefficient], list[dict[str, str]]]:
    """Level-1 coefficients that enter as they are, and why others need no test."""
    columns = fm.variables(model.plan.formula)
    means = {v.key for v in context.plan.variables.values() if v.role == "mean"
             and v.column in columns}  # fmt: skip
    groups = context.data.frame[context.lowest_group]
    entries: list[Coefficient] = []
    left_out: dict[str, str] = {}
    for entry in model.coefficients:
        if entry.kind not in {"number", "category"} or entry.level != 1:
            continue
        variable = entry.parts[0].variable
        if variable is None:
            continue
        why = _exempt(context, variable, means, groups)
        if why:
            left_out[variable.label] = why
        else:
            entries.append(entry)
    return entries, [{"label": label, "why": why} for label, why in left_out.items()]


def _exempt(context: Context, variable: Variable, means: set[str], groups: Any) -> str:
    group = context.plan.groups[0].name
    if variable.role == "within":
        return f"is centred within each {group}"
    if variable.key in means:
        return f"enters together with its {group} mean"
    column = context.data.frame[variable.column]
    numbers = column.cat.codes if variable.type == "category" else column
    by_group = numbers.groupby(groups, observed=True)
    if by_group.nunique().max() <= 1:
        return f"does not vary within any {group}"
    means_ = by_group.mean()
    if means_.max() - means_.min() <= 1e-8 * max(1.0, float(numbers.abs().max())):
        return f"has the same mean in every {group}"
    return ""


def _decide_exogeneity(
    context: Context, tested: Sequence[Mapping[str, Any]], rejected: Sequence[str]
) -> None:
    evidence: list[Any] = []
    for entry in tested:
        evidence += ["; " if evidence else "", f"{entry['label']}, p ", entry["p"]]
    context.decide(
        STEP,
        "a between-group effect that differs from the within-group effect asks for the group mean "
        "in the model",
        tuple(evidence),
        f"the group mean is advised for {', '.join(rejected)}"
        if rejected
        else "no group mean needs to be added",
        "Antonakis2021",
    )


def _below(context: Context, name: str) -> bool:
    p = context.value(name)
    return p is not None and p < context.spec.inference.alpha


# --- distance of the random effects -----------------------------------------------------------


def distance(context: Context, model: FittedModel) -> dict[str, Any] | None:
    """The largest distance of a group's random effects, where a slope varies."""
    group = context.lowest_group
    effects = [e for b, found in model.fit.blocks.items() for e in found
               if model.fit.groups[b] == group]  # fmt: skip
    if len(effects) < 2:
        return None
    found = context.run(STEP, "check_distance", id=model.id, group=group)
    at = "assumptions/distance"
    return {
        **context.all(at, "largest", "df", "p", "holm"),
        "have": context.value(f"{at}/largest") is not None,
        "unit": str(found["group"][0]),
        "outlying": _below(context, f"{at}/holm"),
    }


# --- linearity by level -----------------------------------------------------------------------


Pairs = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Trends:
    """Columns and labels of the numeric predictors, by where their trend is looked at.

    Parameters
    ----------
    single
        Residuals against the predictor as it stands in the model.
    within
        Residuals against deviations from group means, of predictors that vary at both levels.
    between
        Conditional modes of the intercepts against the groups' values or means.
    """

    single: Pairs
    within: Pairs
    between: Pairs


def linearity_by_level(
    context: Context, model: FittedModel, trends: Trends, unit: str
) -> dict[str, Any]:
    """Smooths of residuals within groups, and of the groups' intercepts between them."""
    within, between, frame = trends.within, trends.between, context.data.frame
    context.run(
        STEP,
        "check_linearity",
        id=model.id,
        group=context.lowest_group,
        within=[column for column, _ in within],
        between=[column for column, _ in between],
    )
    entries = [
        {
            "label": label,
            "where": where,
            "departure": context.item(f"assumptions/{place}/{column}/departure"),
            "bent": (context.value(f"assumptions/{place}/{column}/departure") or 0)
            > _bend(len(frame) if place != "between" else frame[context.lowest_group].nunique()),
        }
        for place, where, pairs in (
            ("linearity", "", trends.single),
            ("within", "within", within),
            ("between", "between", between),
        )
        for column, label in pairs
    ]
    return {
        "entries": entries,
        "bent": [entry for entry in entries if entry["bent"]],
        "both": [label for _, label in within],
        "panels": _panels(context, trends, unit),
    }


def _bend(points: int) -> float:
    """How far a smooth has to leave zero, in standard deviations, to be marked."""
    return max(RULES["departure"].value, RULES["departure_chance"].value / math.sqrt(points))


def trends_of(context: Context, model: FittedModel, numbers: Pairs) -> Trends:
    """Which predictors have a trend within groups of its own, and which one between groups."""
    frame, group = context.data.frame, context.lowest_group
    intercepts = any(
        INTERCEPT in effects and model.fit.groups[block] == group
        and (context.value(f"{model.id}/var/{block}/{INTERCEPT}/variance") or 0) > 0
        for block, effects in model.fit.blocks.items()
    )  # fmt: skip
    within: Pairs = []
    between: Pairs = []
    for column, label in numbers:
        by_group = frame[column].groupby(frame[group], observed=True)
        varies = by_group.nunique().max() > 1
        means = by_group.mean()
        apart = means.max() - means.min() > 1e-8 * max(1.0, float(frame[column].abs().max()))
        if not (apart and intercepts and means.nunique() > 5):
            continue
        between.append((column, label))
        if varies:
            within.append((column, label))
    single = [pair for pair in numbers if pair not in within and pair not in between]
    return Trends(single, within, between)


def _panels(context: Context, trends: Trends, unit: str) -> list[dict[str, Any]]:
    level = context.plan.groups[0]
    n = len(context.data.frame)
    groups = int(context.data.frame[context.lowest_group].nunique())
    kinds = (
        ("linearity", trends.single, "{}", f"Residual{unit}", n),
        ("within", trends.within, f"{{}}, less the {level.name} mean", f"Residual{unit}", n),
        ("between", trends.between, f"{{}}, by {level.name}", f"{level.name} effect{unit}", groups),
    )
    made = []
    for place, pairs, xlabel, ylabel, rows in kinds:
        for column, label in pairs:
            series = context.all(
                f"assumptions/{place}/{column}", "x", "residual", "smooth_x", "smooth_y"
            )
            if not all(isinstance(item, Series) for item in series.values()):
                continue
            plotted = len(series["x"].values)
            shown = f"{plotted:,} of {rows:,} points" if plotted < rows else f"n = {rows:,}"
            made.append(
                {**series, "xlabel": xlabel.format(label), "ylabel": ylabel, "shown": shown}
            )
    return made


# --- repeated measures ------------------------------------------------------------------------


def autocorrelation(context: Context, model: FittedModel) -> dict[str, Any] | None:
    """The residuals' autocorrelation in the order of time, where the spec names time."""
    name = context.spec.time
    if name is None:
        return None
    time = context.plan.variables[name]
    context.run(
        STEP,
        "check_autocorrelation",
        id=model.id,
        group=context.lowest_group,
        time=time.column,
    )
    at = "assumptions/autocorrelation"
    z = context.value(f"{at}/z")
    facts = {
        **context.all(at, "lag1", "expected", "pairs", "excess"),
        "time": time.base_label,
        "have": z is not None,
        "large": z is not None and abs(z) > RULES["autocorrelation"].value,
        "positive": z is not None and z > 0,
    }
    if z is not None:
        context.decide(
            STEP,
            RULES["autocorrelation"].text,
            ("lag 1 ", facts["lag1"], ", expected ", facts["expected"]),
            "successive measurements are more alike than the model says: a model with correlated "
            "errors is advised beside this one"
            if facts["large"] and facts["positive"]
            else "independent level-1 errors are kept",
            RULES["autocorrelation"].citation,
        )
    return facts


# --- transformation ---------------------------------------------------------------------------


def transformation(context: Context, model: FittedModel, skewed: float) -> dict[str, Any]:
    """The diagnostics on other scales of the outcome, where there is a reason to look at them."""
    outcome = context.plan.outcome
    applied = context.spec.outcome.transform
    scales = _scales(context, model, skewed)
    facts: dict[str, Any] = {
        "applied": applied != "none",
        "label": outcome.base_label,
        "scale": _WORDS.get(applied, ""),
        "marked": abs(skewed) > RULES["skewness"].value,
        "right": skewed > 0,
        "advised": "",
        "compared": bool(scales),
    }
    if not scales:
        return facts
    context.run(
        STEP,
        "check_transformation",
        id=model.id,
        formula=model.plan.r,
        reml=context.spec.estimation.method == "REML",
        scales=list(scales),
        outcomes=list(scales.values()),
    )
    facts["table"] = _scales_table(context, applied, list(scales))
    if applied == "none":
        facts["advised"] = _advised(context, scales, skewed)
        facts["words"] = _WORDS.get(facts["advised"], "")
    return facts


_WORDS = {
    "none": "untransformed",
    "log": "logarithm",
    "log2": "logarithm to base two",
    "log10": "logarithm to base ten",
    "log1p": "logarithm of one plus the outcome",
    "sqrt": "square root",
}


def _scales(context: Context, model: FittedModel, skewed: float) -> dict[str, str]:
    """Names of the scales to compare, with the outcome in R on each."""
    outcome, frame = context.plan.outcome, context.data.frame
    if outcome.source not in frame or model.plan.formula.outcome != fm.Name(outcome.column):
        return {}
    name = fm.r_name(outcome.source)
    if context.spec.outcome.transform != "none":
        return {"none": name}
    if skewed <= RULES["skewness"].value or frame[outcome.source].min() < 0:
        return {}
    logarithm = "log" if frame[outcome.source].min() > 0 else "log1p"
    return {scale: f"{scale}({name})" for scale in (logarithm, "sqrt")}


def _advised(context: Context, scales: Iterable[str], skewed: float) -> str:
    """The scale of the smallest skewness, if it is smaller than that of the model."""
    found = {
        scale: abs(value)
        for scale in scales
        if (value := context.value(f"assumptions/scale/{scale}/skewness")) is not None
    }
    best = min(found, key=lambda scale: found[scale], default="")
    return best if best and found[best] < abs(skewed) else ""


def _scales_table(context: Context, applied: str, scales: Sequence[str]) -> Table:
    def row(scale: str, name: str) -> Row:
        whats = ("skewness", "kurtosis", "outside", "spread")
        cells = tuple(context.item(f"assumptions/scale/{scale}/{what}") for what in whats)
        return Row(_WORDS[name], cells)

    mine = row("model", applied)
    others = [row(scale, scale) for scale in scales]
    rows = [*others, mine] if applied != "none" else [mine, *others]
    return Table(
        "scales",
        "Residuals of the model with the outcome on other scales",
        ("Outcome", "Skewness", "Excess kurtosis", "Outside the band", "Spread"),
        tuple(rows),
        "The same fixed and random effects on each scale. Outside the band: share of the plotted "
        "quantiles; spread: rank correlation of fitted values with absolute residuals. Likelihoods "
        "and information criteria are not comparable between scales without the Jacobian of the "
        "transformation.",
    )
