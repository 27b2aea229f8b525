"""Step 4: how much of the outcome's variance lies between groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from mlmreport.quantities import Cell, Figure, Missing, Part, Quantity, Row, Series, Table
from mlmreport.spec import formula as fm
from mlmreport.spec.variables import Level, Variable
from mlmreport.steps.coefficients import INTERCEPT, Coefficient
from mlmreport.steps.context import Context, FittedModel
from mlmreport.steps.cost import EXACT_GROUPS, PROFILE_FITS, refit_seconds, too_long
from mlmreport.thresholds import RULES

__all__ = ["run"]

STEP = "icc"


def run(context: Context) -> Mapping[str, Any]:
    """The null model's variance split with intervals, its consequences, and whether it matters."""
    shared = {
        "level": context.item("settings/level"),
        "alpha": context.item("settings/alpha"),
        "group": context.plan.groups[0].name,
        "groups": context.plan.groups[0].plural,
        "lowest": context.plan.levels[0].plural,
        "crossed": context.spec.structure == "crossed",
        "single": _single_level(context),
        "curves": _curves(context),
        "predictors": _predictors(context),
        "agreement": _agreement(context),
    }
    own = _variance_split(context)
    tables, figures = own.pop("tables", {}), own.pop("figures", {})
    return {
        **shared,
        **own,
        "tables": {**tables, **_single_tables(context, shared["single"])},
        "figures": {
            **figures,
            **_single_figures(context, shared["single"]),
            **_curve_figures(shared["curves"], context.spec.inference.level),
        },
    }


def _variance_split(context: Context) -> dict[str, Any]:
    """What the null model says, as far as there is one."""
    null = context.null
    if null is None:
        reason = "the list of models has no model without predictors"
        return {"have": False, "combined": None, "reason": reason}
    return _combined(context, null) if context.combinations(null) else _of_null(context, null)


def _combined(context: Context, null: FittedModel) -> dict[str, Any]:
    """The variance split alone, where a combination of groups is no level of the data."""
    no_profile, no_bootstrap = _profile_too_long(context, null), _bootstrap_too_long(context, null)
    blocks, inference = list(null.fit.groups.values()), context.spec.inference
    context.run(
        STEP, "icc_shares", null=null.object, blocks=blocks, level=inference.level,
        reason=no_profile,
    )  # fmt: skip
    samples = 0 if no_bootstrap else inference.icc_bootstrap
    if samples:
        _bootstrap(context, null, blocks)
    parts = [_share(context, group, context.plural(group)) for group in blocks]
    levels = {level.group for level in context.plan.groups}
    return {
        "have": False,
        "combined": {
            "formula": null.plan.r,
            "groupings": [context.plural(group) for group in blocks if group not in levels],
            "level1": context.item("icc/level1"),
            "lowest": context.plan.levels[0].plural,
            "no_profile": no_profile,
            "no_bootstrap": no_bootstrap,
        },
        "tables": {"icc": _table(context, parts, samples, bool(no_profile), "")},
        "figures": {"icc": _figure(context, parts)},
    }


def _of_null(context: Context, null: FittedModel) -> dict[str, Any]:
    blocks = [group for block, group in null.fit.groups.items() if null.fit.blocks[block]]
    groups = [level for level in context.plan.groups if level.group in blocks]
    one = len(blocks) == 1
    inference = context.spec.inference
    crossed = context.spec.structure == "crossed"
    no_profile = _profile_too_long(context, null)
    no_bootstrap = _bootstrap_too_long(context, null)
    context.run(
        STEP, "step_icc", null=null.object, blocks=blocks, lowest=groups[0].group,
        level=inference.level, reason=no_profile,
    )  # fmt: skip
    context.run(
        STEP,
        "icc_reliabilities",
        null=null.object,
        groups=[level.group for level in groups],
        crossed=crossed,
    )
    context.run(
        STEP,
        "icc_same_unit",
        null=null.object,
        blocks=blocks,
        groups=[level.group for level in groups],
        crossed=crossed,
    )
    samples = 0 if no_bootstrap else inference.icc_bootstrap
    if samples:
        _bootstrap(context, null, blocks)
    if one:
        context.run(
            STEP,
            "icc_exact_test",
            null=null.object,
            group=blocks[0],
            most=EXACT_GROUPS,
            seed=inference.seed,
        )
        context.run(STEP, "icc_power", null=null.object, group=blocks[0], alpha=inference.alpha)
    levels = [_level(context, group) for group in groups]
    verdict = _decide(context, null, groups[0], one)
    return {
        "have": True,
        "combined": None,
        "lower": {"group": groups[0].name, "groups": groups[0].plural},
        "model": null.plan.label,
        "formula": null.plan.r,
        "levels": levels,
        "one": one,
        **{name: context.item(f"icc/{name}") for name in OF_NULL},
        "n": context.item("structure/n"),
        "sizes": context.all(f"structure/{groups[0].name}", "mean", "cv", "groups"),
        "balanced": _balanced(context),
        "upper": any(context.value(f"icc/{group.group}/upper") is not None for group in groups),
        "zero": context.value(f"icc/{groups[0].group}/tau") == 0,
        "singular": null.fit.singular,
        "exact": _found(context, "icc/exact", "statistic", "p") if one else None,
        "power": _power(context) if one else None,
        "weighted": bool(context.plan.weights),
        "samples": samples,
        "no_profile": no_profile,
        "no_bootstrap": no_bootstrap,
        "agree": _intervals_agree(context, groups),
        **verdict,
        "tables": {
            "icc": _table(context, levels, samples, bool(no_profile), groups[0].plural),
            **({} if one else {"reliabilities": _reliabilities(context, levels)}),
        },
        "figures": {"icc": _figure(context, levels)},
    }


def _found(context: Context, at: str, *names: str) -> dict[str, Any]:
    have = all(context.value(f"{at}/{name}") is not None for name in names)
    return {**context.all(at, *names), "have": have}


def _power(context: Context) -> dict[str, Any]:
    names = ("within", "between")
    found = context.all("icc/power", *names)
    have = {f"have_{name}": isinstance(found[name], Quantity) for name in names}
    return {**found, **have}


OF_NULL = (
    "sigma2", "level1", "design_effect", "design_effect_mean", "effective_n", "reliability",
    "reliability_mean",
)  # fmt: skip


def _profile_too_long(context: Context, null: FittedModel) -> str:
    """Why the likelihood is not profiled."""
    seconds = null.fit.parameters * PROFILE_FITS * refit_seconds(context, null)
    part = "profile-likelihood intervals of the ICC"
    return too_long(context, STEP, part, null, seconds, refits=True)


def _bootstrap_too_long(context: Context, null: FittedModel) -> str:
    """Why no samples are drawn, each of which is a refit."""
    if not context.spec.inference.icc_bootstrap:
        return ""
    seconds = context.spec.inference.icc_bootstrap * refit_seconds(context, null)
    part = "bootstrap intervals of the ICC"
    return too_long(context, STEP, part, null, seconds, refits=True)


def _bootstrap(context: Context, null: FittedModel, blocks: list[str]) -> None:
    inference = context.spec.inference
    context.run(
        STEP,
        "icc_by_bootstrap",
        null=null.object,
        blocks=blocks,
        level=inference.level,
        samples=inference.icc_bootstrap,
        seed=inference.seed,
    )


def _balanced(context: Context) -> bool:
    """Whether the units of every level above the lowest are of one size."""
    at = [f"structure/{level.name}" for level in context.plan.groups]
    return all(context.value(f"{it}/min") == context.value(f"{it}/max") for it in at)


def _level(context: Context, level: Level) -> dict[str, Any]:
    found = context.all(f"icc/{level.group}", "same", "reliability")
    return {"name": level.name, **_share(context, level.group, level.plural), **found}


def _share(context: Context, group: str, plural: str) -> dict[str, Any]:
    """The variance between the units of a grouping, its share and the share's intervals."""
    at = f"icc/{group}"
    found = context.all(at, "tau", "icc")
    if f"{at}/lower" in context.engine.items:
        found |= context.all(at, "lower", "upper")
    if f"{at}/bootstrap/lower" in context.engine.items:
        found["bootstrap"] = context.all(f"{at}/bootstrap", "lower", "upper")
    return {"plural": plural, "column": group, **found}


def _intervals_agree(context: Context, groups: list[Level]) -> bool:
    """Whether no bootstrap limit is farther from the profile's than a tenth of its width."""
    return all(_agrees(context, f"icc/{level.group}") for level in groups)


def _agrees(context: Context, at: str) -> bool:
    ends = [context.value(f"{at}/{side}") for side in ("lower", "upper")]
    other = [context.value(f"{at}/bootstrap/{side}") for side in ("lower", "upper")]
    if any(end is None for end in (*ends, *other)):
        return False
    (low, high), (least, most) = cast(list[float], ends), cast(list[float], other)
    return max(abs(low - least), abs(high - most)) <= 0.1 * (high - low)


# --- is a multilevel model needed? ------------------------------------------------------------


def _decide(context: Context, null: FittedModel, lowest: Level, one: bool) -> dict[str, Any]:
    """The verdict by its rule, and whether there are enough groups for it."""
    verdict, outcome = _verdict(context, null, lowest, one)
    if context.plan.weights:
        return _decide_weighted(context, lowest, one)
    shown: list[Part] = ["design effect ", context.item("icc/design_effect")]
    if context.value("icc/exact/p") is not None:
        shown += ["; p of the exact test of the variance ", context.item("icc/exact/p")]
    rule = RULES["grouping"]
    context.decide(STEP, rule.text, tuple(shown), outcome, rule.citation)
    few = _few_groups(context)
    return {"verdict": verdict, "few": few, "large": _exceeds_two(context)}


def _decide_weighted(context: Context, lowest: Level, one: bool) -> dict[str, Any]:
    """The verdict without a design effect, which prior weights leave undefined."""
    shown = _shown(context, lowest, one)
    exact = context.value("icc/exact/p") is not None
    lower = context.item(f"icc/{lowest.group}/lower")
    evidence: tuple[Part, ...] = (
        ("p of the exact test of the variance ", context.item("icc/exact/p"))
        if one and exact
        else ("lower limit of the intraclass correlation: ", lower)
    )
    context.decide(
        STEP,
        "with prior weights the variance between groups speaks by itself, as the design effect is "
        "not defined",
        evidence,
        "a multilevel model is needed"
        if shown
        else "that the groups differ is not shown; they are kept because the design has them",
    )
    verdict = "shown" if shown else "not shown"
    return {"verdict": verdict, "few": _few_groups(context), "large": False}


def _verdict(context: Context, null: FittedModel, lowest: Level, one: bool) -> tuple[str, str]:
    shown = _shown(context, lowest, one)
    if null.fit.singular and not _exceeds_two(context):
        return "zero", (
            "a multilevel model is not needed for these data: a variance between groups is "
            "estimated as zero; it is kept because the design has the groups"
        )
    if shown is None:
        return "untested", (
            "whether the groups differ was not tested for want of time; "
            + ("a multilevel model is needed, as the design effect is large"
               if _exceeds_two(context) else "the design effect is not above 2")
        )  # fmt: skip
    if _exceeds_two(context):
        return ("needed" if shown else "unproven"), (
            "a multilevel model is needed"
            if shown
            else "a multilevel model is needed, as the design effect is large; that the groups "
            "differ is not shown"
        )
    if shown:
        return "small", "a multilevel model is needed, although the design effect is not above 2"
    return "unneeded", (
        "a multilevel model is not needed for these data; it is kept because the design has the "
        "groups"
    )


def _exceeds_two(context: Context) -> bool:
    return (context.value("icc/design_effect") or 1.0) > RULES["grouping"].value


def _shown(context: Context, lowest: Level, one: bool) -> bool | None:
    """Whether the groups are shown to differ: by the exact test, or by the profile interval.

    None where neither was made.
    """
    p = context.value("icc/exact/p") if one else None
    if p is not None:
        return p < context.spec.inference.alpha
    if f"icc/{lowest.group}/lower" not in context.engine.items:
        return None
    lower = context.value(f"icc/{lowest.group}/lower")
    return lower is not None and lower > 0


def _few_groups(context: Context) -> Mapping[str, Any] | None:
    """The grouping with the fewest units, where they are too few for a variance."""
    rule = RULES["fixed_groups"]
    few = [
        level
        for level in context.plan.groups
        if (context.value(f"structure/{level.name}/groups") or 0) < rule.value
    ]
    if not few:
        return None
    level = min(few, key=lambda level: context.value(f"structure/{level.name}/groups") or 0)
    count = context.item(f"structure/{level.name}/groups")
    context.decide(
        STEP,
        rule.text,
        (count, f" {level.plural}"),
        "not enough groups for a variance between them: consider fixed effects of the groups"
        if context.spec.structure == "crossed"
        else "not enough groups for a variance between them: consider fixed effects of the groups "
        "with CR2 standard errors",
        rule.citation,
    )
    return {"groups": count, "plural": level.plural}


# --- the same coefficients without a multilevel model -----------------------------------------


def _single_level(context: Context) -> Mapping[str, Any]:
    """The final model's coefficients with the groups ignored or held fixed."""
    model, spec = context.final, context.spec
    # Of a model without predictors it is the mean whose standard error the levels change.
    terms = [e for e in model.coefficients if e.name != INTERCEPT] or list(model.coefficients)
    if not terms:
        return {"have": False}
    names = [entry.name for entry in terms]
    crossed = spec.structure == "crossed"
    facts = context.run(
        STEP,
        "icc_single_level",
        id=model.id,
        group=context.lowest_group,
        clusters=[level.group for level in context.plan.groups[0 if crossed else -1 :]],
        terms=names,
        unit=context.unit,
    )
    ignored = _ignoring(context, model, names)
    for entry in terms:
        at = f"icc/single/{entry.name}"
        context.sharpen([f"{at}/ols", f"{at}/ols_se", f"{at}/robust_se"], f"{at}/ols_se")
        context.sharpen([f"{at}/fixed_estimate", f"{at}/fixed_se"], f"{at}/fixed_se")
        own = f"{model.id}/fixef/{entry.name}/se"
        context.sharpen([f"icc/ignoring/{level.group}/{entry.name}" for level in ignored], own)
    return {
        "have": True,
        "kind": facts["kind"][0],
        "cluster": " and ".join(level.plural for level in context.plan.groups)
        if crossed
        else context.plan.groups[-1].plural,
        "ignored": [level.plural for level in ignored],
        "mean": terms[0].name == INTERCEPT,
        "terms": [_single_term(context, model, entry, ignored) for entry in terms],
        **_understated(context, model, terms),
        **_worst_ignored(context, model, terms, ignored),
    }


def _ignoring(context: Context, model: FittedModel, terms: Sequence[str]) -> list[Level]:
    """Refit the final model without the random effects of each of its several groupings."""
    used = set(model.fit.groups.values())
    levels = [level for level in context.plan.groups if level.group in used]
    if len(levels) < 2:
        return []
    formula = model.plan.formula
    context.run(
        STEP,
        "icc_ignoring",
        id=model.id,
        formulas={
            level.group: fm.to_r(
                replace(
                    formula,
                    random=tuple(r for r in formula.random if ":".join(r.groups) != level.group),
                )
            )
            for level in levels
        },
        reml=context.spec.estimation.method == "REML",
        terms=list(terms),
        unit=context.unit,
    )
    return levels


def _worst_ignored(
    context: Context, model: FittedModel, terms: Sequence[Coefficient], levels: Sequence[Level]
) -> dict[str, Any]:
    """For which grouping left out the standard errors change by more than a tenth."""
    return {
        "changed": [
            {"plural": level.plural, "small": small, "large": large}
            for level in levels
            for small, large in [_off(context, model, terms, f"icc/ignoring/{level.group}/")]
            if small or large
        ]
    }


def _single_term(
    context: Context, model: FittedModel, entry: Coefficient, ignored: Sequence[Level]
) -> dict[str, Any]:
    names = ("ols", "ols_se", "robust_se", "fixed_estimate", "fixed_se")
    return {
        "label": entry.label,
        "multilevel": context.all(f"{model.id}/fixef/{entry.name}", "estimate", "se"),
        "ignoring": [context.item(f"icc/ignoring/{it.group}/{entry.name}") for it in ignored],
        **context.all(f"icc/single/{entry.name}", *names),
    }


def _understated(
    context: Context, model: FittedModel, terms: Sequence[Coefficient]
) -> Mapping[str, Any]:
    """How many OLS errors are below those of the multilevel model, by more than a tenth."""
    small, large = _off(context, model, terms, "icc/single/", "/ols_se")
    return {"small": small, "large": large}


def _off(
    context: Context,
    model: FittedModel,
    terms: Sequence[Coefficient],
    before: str,
    after: str = "",
) -> tuple[list[str], list[str]]:
    """Labels of the terms whose other error is too small, and too large, by more than a tenth."""
    ratios = {
        entry.label: other / own
        for entry in terms
        if (own := context.value(f"{model.id}/fixef/{entry.name}/se"))
        and (other := context.value(f"{before}{entry.name}{after}"))
    }
    return (
        [label for label, ratio in ratios.items() if ratio < 1 / 1.1],
        [label for label, ratio in ratios.items() if ratio > 1.1],
    )


def _single_tables(context: Context, single: Mapping[str, Any]) -> dict[str, Table]:
    if not single["have"]:
        return {}
    robust = {"CR2": "CR2", "CR1": "CR1", "two-way": "Two-way"}.get(single["kind"], "")
    rows = [_single_row(term, bool(robust)) for term in single["terms"]]
    group = context.plan.groups[0].name
    dummies = f"{group.capitalize()} dummies (SE)"
    kept = (
        "Multilevel (SE)",
        *(f"SE without {plural}" for plural in single["ignored"]),
        "OLS (SE)",
        *([f"{robust} SE"] if robust else []),
        dummies,
    )
    note = (
        f" {robust} = standard error of OLS robust to correlation within {single['cluster']}."
        if robust
        else " Cluster-robust standard errors are left out, as more than two groupings cross."
    )
    if single["ignored"]:
        note += (
            f" SE without {single['ignored'][0]}: of the same multilevel model without their "
            "random effects, and likewise for the others."
        )
    return {
        "standard-errors": Table(
            "standard-errors",
            "The final model's coefficients if the levels are ignored, or the groups are fixed",
            ("Effect", *kept),
            tuple(rows),
            "OLS = ordinary least squares, as if rows were independent. "
            f"{group.capitalize()} dummies = OLS with a dummy for each {group}.{note}",
        )
    }


def _single_row(term: Mapping[str, Any], robust: bool) -> Row:
    own = term["multilevel"]
    fixed = _with_se(term["fixed_estimate"], term["fixed_se"])
    cells: list[Cell] = [
        _with_se(own["estimate"], own["se"]),
        *term["ignoring"],
        _with_se(term["ols"], term["ols_se"]),
    ]
    if robust:
        cells.append(term["robust_se"])
    return Row(term["label"], (*cells, fixed))


def _with_se(estimate: Quantity | Missing, se: Quantity | Missing) -> Cell:
    if isinstance(estimate, Missing):
        return "not estimable"
    return (estimate, " (", se, ")")


def _single_figures(context: Context, single: Mapping[str, Any]) -> dict[str, Figure]:
    if not single["have"]:
        return {}
    shown = [
        term
        for term in single["terms"]
        if isinstance(term["multilevel"]["se"], Quantity) and isinstance(term["ols_se"], Quantity)
    ]
    if not shown:
        return {}
    found = Figure(
        "standard-errors",
        "standard_errors",
        "Standard errors of the final model's coefficients, with the levels ignored and with them.",
        "For each coefficient the standard error of ordinary least squares and that of the "
        "multilevel model, joined by a line.",
        {
            "terms": [term["label"] for term in shown],
            "ols": [term["ols_se"] for term in shown],
            "multilevel": [term["multilevel"]["se"] for term in shown],
            "xlabel": f"Standard error ({context.unit} per unit of the predictor)",
        },
    )
    return {"standard_errors": found}


# --- along a predictor ------------------------------------------------------------------------


def _curves(context: Context) -> list[Mapping[str, Any]]:
    """For each random slope of the final model the share between groups along its predictor."""
    model = context.final
    slopes = [
        (model.fit.groups[block], effect)
        for block, effects in model.fit.blocks.items()
        for effect in effects
        if effect != INTERCEPT
    ]
    return [found for group, effect in slopes if (found := _curve(context, model, group, effect))]


def _curve(
    context: Context, model: FittedModel, group: str, effect: str
) -> Mapping[str, Any] | None:
    entry = next((known for known in model.coefficients if known.name == effect), None)
    if entry is None or entry.kind not in {"number", "category"}:
        return None
    variable = entry.parts[0].variable
    assert variable is not None
    context.run(
        STEP,
        "icc_along",
        model=model.object,
        group=group,
        effect=effect,
        column=variable.column,
        level=context.spec.inference.level,
    )
    at = f"icc/curve/{group}/{effect}"
    number = entry.kind == "number"
    names = ("low", "mean", "high", "low_at", "mean_at", "high_at") if number else ("low", "high")
    found = context.all(at, *names)
    missing = next((item for item in found.values() if isinstance(item, Missing)), None)
    return {
        "at": f"{group}-{effect}",
        "label": variable.label if number else entry.label,
        "axis": variable.axis,
        "reference": "" if number else context.categories[variable.column][0],
        "category": entry.parts[0].category or "",
        "unit": variable.unit,
        "plural": context.plural(group),
        "number": number,
        "missing": missing,
        "limits": {
            place: context.all(at, f"{place}_lower", f"{place}_upper")
            for place in (("low", "mean", "high") if number else ("low", "high"))
        },
        "unlimited": _first_missing(context, at),
        "series": context.all(at, "x", "share", "share_lower", "share_upper") if number else {},
        **found,
    }


def _first_missing(context: Context, at: str) -> Missing | None:
    """Why the share along a predictor has no interval."""
    item = context.item(f"{at}/high_lower")
    return item if isinstance(item, Missing) else None


def _banded(curve: Mapping[str, Any]) -> bool:
    return all(isinstance(curve["series"][f"share_{it}"], Series) for it in ("lower", "upper"))


def _curve_figures(curves: Sequence[Mapping[str, Any]], level: float) -> dict[str, Figure]:
    band = f"pointwise {100 * level:g} % interval (delta method on the logit)"
    drawn = [curve for curve in curves if curve["number"] and not curve["missing"]]
    return {
        f"curve_{number}": Figure(
            f"icc-curve-{number}",
            "icc_curve",
            f"Share of the variance between {curve['plural']} in the final model, along "
            f"{curve['label']}" + (f", with its {band}." if _banded(curve) else "."),
            f"A curve of the share of the variance that lies between {curve['plural']} over the "
            f"range of {curve['label']}" + (" within its band." if _banded(curve) else "."),
            {
                "x": curve["series"]["x"],
                "icc": curve["series"]["share"],
                **(
                    {
                        "lower": curve["series"]["share_lower"],
                        "upper": curve["series"]["share_upper"],
                    }
                    if _banded(curve)
                    else {}
                ),
                "xlabel": curve["axis"],
                "ylabel": f"Share of the variance between {curve['plural']}",
            },
        )
        for number, curve in enumerate(drawn, start=1)
    }


# --- group means as predictors ----------------------------------------------------------------


def _predictors(context: Context) -> list[Mapping[str, Any]]:
    """The reliability of each group mean that is a predictor, from the variable it is made of."""
    pairs = [pair for mean in context.plan.used if (pair := _pair(context, mean))]
    if not pairs:
        return []
    context.run(
        STEP,
        "icc_of_predictors",
        means=[mean.column for mean, _ in pairs],
        lower=[lower.column for _, lower in pairs],
        groups=[context.plan.levels[mean.level - 1].group for mean, _ in pairs],
        units=[context.plan.levels[mean.level - 2].group for mean, _ in pairs],
        labels=[mean.label for mean, _ in pairs],
    )
    return [
        {
            "label": mean.label,
            "reliability": context.item(f"icc/predictor/{mean.column}/reliability"),
        }
        for mean, _ in pairs
    ]


def _pair(context: Context, mean: Variable) -> tuple[Variable, Variable] | None:
    """A group mean, with the variable of the level below it that it is the mean of."""
    if mean.role != "mean":
        return None
    lower = next(
        (
            known
            for known in context.plan.variables.values()
            if known.source == mean.source
            and known.level == mean.level - 1
            and known.column in context.data.frame
        ),
        None,
    )
    return (mean, lower) if lower else None


# --- agreement within groups ------------------------------------------------------------------


def _agreement(context: Context) -> dict[str, Any] | None:
    """The agreement of ratings within the units of each grouping, where the spec gives a scale."""
    scale, outcome = context.spec.outcome.rwg, context.plan.outcome
    if scale is None:
        return None
    groups = context.plan.groups
    context.run(
        STEP,
        "icc_agreement",
        outcome=outcome.source,
        groups=[level.group for level in groups],
        categories=scale.categories,
        null_variance=scale.null_variance or 0,
    )
    names = ("mean", "median", "min", "max", "high", "groups", "single", "negative")
    levels = [
        {
            "plural": level.plural,
            "have": context.value(f"icc/{level.group}/rwg/mean") is not None,
            "singles": (context.value(f"icc/{level.group}/rwg/single") or 0) > 0,
            "negatives": (context.value(f"icc/{level.group}/rwg/negative") or 0) > 0,
            **context.all(f"icc/{level.group}/rwg", *names),
        }
        for level in groups
    ]
    return {
        "levels": levels,
        "categories": context.setting(
            "icc/rwg/categories", scale.categories, "integer", "Categories of the ratings",
            "outcome.rwg.categories",
        ),
        "null": context.setting(
            "icc/rwg/null_variance", scale.null_variance, "variance",
            "Variance of ratings given at random", "outcome.rwg.null_variance",
        )
        if scale.null_variance
        else None,
    }  # fmt: skip


# --- the variance split -----------------------------------------------------------------------


def _table(
    context: Context, levels: list[dict[str, Any]], samples: int, no_profile: bool, within: str
) -> Table:
    """The variance of each grouping and that of the rows, `within` the lowest where that is one."""
    rows = [
        Row(
            f"Between {entry['plural']}",
            (entry["tau"], entry["icc"], *_intervals(entry)),
        )
        for entry in reversed(levels)
    ]
    blank = ("",) * ((not no_profile) + bool(samples))
    lowest = context.plan.levels[0].plural
    rows.append(
        Row(
            f"Between {lowest} within {within}" if within else f"Between {lowest}, the rest",
            (context.item("icc/sigma2"), context.item("icc/level1"), *blank),
        )
    )
    rows.append(Row("Total", (context.item("icc/total"), "", *blank)))
    percent = f"{100 * context.spec.inference.level:g}"
    method = context.spec.estimation.method
    return Table(
        "icc",
        "Variance of the outcome by level, null model",
        (
            "Source",
            "Variance",
            "Share (ICC)",
            *([] if no_profile else [f"{percent} % CI, profile"]),
            *([f"{percent} % CI, bootstrap"] if samples else []),
        ),
        tuple(rows),
        f"Variances by {method}. {_intervals_said(context, samples, no_profile)}",
    )


def _intervals_said(context: Context, samples: int, no_profile: bool) -> str:
    made = [
        *([] if no_profile else [f"by profile likelihood ({context.spec.estimation.method})"]),
        *([f"by the percentiles of {samples} parametric bootstrap samples"] if samples else []),
    ]
    if not context.spec.inference.icc_bootstrap:
        made.append("no bootstrap interval was asked for (`inference.icc_bootstrap: 0`)")
    return f"Intervals of the share: {'; '.join(made)}." if made else ""


def _reliabilities(context: Context, levels: list[dict[str, Any]]) -> Table:
    crossed = context.spec.structure == "crossed"
    return Table(
        "reliabilities",
        "ICC(1) and ICC(2) of each grouping, null model",
        ("Units", "Correlation in the same unit, ICC(1)", "Reliability of the means, ICC(2)"),
        tuple(
            Row(entry["plural"].capitalize(), (entry["same"], entry["reliability"]))
            for entry in reversed(levels)
        ),
        "ICC(1): correlation of two lowest-level units of the same unit"
        + (", and of no other." if crossed else " (those of a unit share the units above it too).")
        + " ICC(2): mean over the units of the reliability of a unit's mean as an estimate of its "
        "effect; "
        + (
            "the effects of the other grouping are left out of its error, as they are where all "
            "units meet the same ones."
            if crossed
            else "its error holds the variances of the levels below."
        ),
    )


def _intervals(entry: Mapping[str, Any]) -> list[Cell]:
    found: list[Cell] = []
    if "lower" in entry:
        found.append(("[", entry["lower"], ", ", entry["upper"], "]"))
    if "bootstrap" in entry:
        limits = entry["bootstrap"]
        found.append(("[", limits["lower"], ", ", limits["upper"], "]"))
    return found


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
