"""Step 6: criteria, tests between the models, variance explained at each level."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from mlmreport.quantities import Cell, Figure, Quantity, Row, Table
from mlmreport.spec import formula as fm
from mlmreport.steps.context import Context, FittedModel

__all__ = ["run"]

STEP = "fit"


def run(context: Context) -> Mapping[str, Any]:
    """The ledger of criteria, likelihood-ratio tests, R2 and variance reduction."""
    for model in context.models:
        context.run(STEP, "fit_of_model", id=model.id)
    context.run(STEP, "akaike_weights", ids=[model.id for model in context.models])
    comparisons = [_compare(context, a, b) for a, b in pairwise(context.models)]
    _test_grouping(context)
    reductions = _reductions(context)
    _more_criteria(context)
    partition = _partition(context)
    snijders = _snijders(context)
    left_out = _left_out(context)
    final = context.final
    return {
        "n": context.item(f"{final.id}/nobs"),
        "comparisons": comparisons,
        "grouping": _grouping(context),
        "final": {"label": final.plan.label, **context.all(f"fit/{final.id}", "r2m", "r2c")},
        "best_aic": _lowest(context, "aic"),
        "best_bic": _lowest(context, "bic"),
        "alpha": context.item("settings/alpha"),
        "best_bic_groups": _lowest(context, "bic_groups"),
        "independent": _independent(context),
        "reductions": reductions,
        "partition": partition,
        "snijders": snijders,
        "left_out": left_out,
        "method": context.spec.estimation.method,
        "tables": {
            "ledger": _ledger(context),
            "tests": _tests_table(context, comparisons),
            **({"reduction": _reduction_table(context)} if reductions else {}),
            **({"partition": _partition_table(context)} if partition["have"] else {}),
            **({"snijders": _snijders_table(context)} if snijders["have"] else {}),
            **({"leftout": _left_out_table(context)} if left_out["have"] else {}),
        },
        "figures": {"partition": _partition_figure(context)} if partition["have"] else {},
    }


# --- tests between models ---------------------------------------------------------------------


def _compare(context: Context, smaller: FittedModel, larger: FittedModel) -> dict[str, Any]:
    kind, added = _relation(smaller, larger)
    df = round(
        (context.value(f"{larger.id}/parameters") or 0)
        - (context.value(f"{smaller.id}/parameters") or 0)
    )
    entry: dict[str, Any] = {
        "smaller": smaller.plan.label,
        "larger": larger.plan.label,
        "kind": kind,
        "tested": kind in {"fixed", "variance"} and df > 0,
        "added": added,
    }
    if not entry["tested"]:
        return entry
    context.run(
        STEP, "compare_models", smaller=smaller.id, larger=larger.id, kind=kind, df=float(df)
    )
    entry |= context.all(f"fit/{larger.id}/lrt", "chisq", "df", "p")
    p = context.value(f"fit/{larger.id}/lrt/p")
    entry["better"] = p is not None and p < context.spec.inference.alpha
    context.decide(
        STEP,
        "nested models are compared by likelihood ratio: by ML where fixed parts differ, with the "
        "mixture of chi-squares where a variance is tested at zero",
        ("χ² = ", entry["chisq"], ", df = ", entry["df"], ", p ", entry["p"]),
        f"{larger.plan.label} "
        + ("fits better than " if entry["better"] else "does not fit detectably better than ")
        + smaller.plan.label,
        "Stram1994" if kind == "variance" else "Pinheiro2000",
    )
    return entry


def _relation(smaller: FittedModel, larger: FittedModel) -> tuple[str, str]:
    """``fixed``, ``variance`` (one more random effect in one term), or why there is no test."""
    a, b = smaller.plan.formula, larger.plan.formula
    fixed_a, fixed_b = _terms(a), _terms(b)
    if a.random == b.random:
        if fixed_a < fixed_b and a.intercept == b.intercept:
            return "fixed", "fixed effects"
        return "not nested", ""
    if fixed_a != fixed_b or a.intercept != b.intercept:
        nested = fixed_a <= fixed_b and _larger_random(a, b) is not None
        return ("both" if nested else "not nested"), ""
    found = _larger_random(a, b)
    if found is None:
        return "not nested", ""
    # A category or a polynomial adds several variances: their joint null is no simple mixture.
    return ("variance", found) if _effects(larger) - _effects(smaller) == 1 else ("several", "")


def _effects(model: FittedModel) -> int:
    return sum(len(effects) for effects in model.fit.blocks.values())


def _terms(formula: fm.Formula) -> set[frozenset[fm.Expression]]:
    return {frozenset(term.factors) for term in formula.fixed}


def _larger_random(a: fm.Formula, b: fm.Formula) -> str | None:
    """What one term of `b` has more than the same term of `a`: exactly one effect; else None."""
    if len(a.random) != len(b.random):
        return None
    more = [(x, y) for x, y in zip(a.random, b.random, strict=True) if x != y]
    if len(more) != 1:
        return None
    x, y = more[0]
    same = x.groups == y.groups and x.intercept == y.intercept
    added = {frozenset(t.factors) for t in y.terms} - {frozenset(t.factors) for t in x.terms}
    kept = {frozenset(t.factors) for t in x.terms} <= {frozenset(t.factors) for t in y.terms}
    if not (same and kept and len(added) == 1 and (x.correlated == y.correlated or not x.terms)):
        return None
    return "random slope"


def _test_grouping(context: Context) -> None:
    null = context.null
    if null is None or len(null.fit.blocks) != 1:
        return
    context.run(
        STEP,
        "test_grouping",
        null=null.id,
        outcome=context.plan.outcome.column,
    )


def _grouping(context: Context) -> Mapping[str, Any] | None:
    if "fit/grouping/p" not in context.engine.items:
        return None
    p = context.value("fit/grouping/p")
    return {
        **context.all("fit/grouping", "chisq", "p"),
        "clear": p is not None and p < context.spec.inference.alpha,
        "groups": context.plan.groups[0].plural,
    }


def _tests_table(context: Context, comparisons: list[dict[str, Any]]) -> Table:
    words = {
        "fixed": "fixed effects, ML",
        "variance": f"variance, {context.spec.estimation.method}",
        "both": "none: fixed and random parts both differ",
        "several": "none: several variances at zero at once",
        "not nested": "none: not nested",
    }
    rows = []
    for entry in comparisons:
        head = f"{entry['larger']} against {entry['smaller']}"
        if entry["tested"]:
            cells: tuple[Cell, ...] = (
                words[entry["kind"]],
                entry["chisq"],
                entry["df"],
                entry["p"],
            )
        else:
            cells = (words[entry["kind"]], "", "", "")
        rows.append(Row(head, cells))
    return Table(
        "tests",
        "Likelihood-ratio tests between neighbours in the sequence",
        ("Comparison", "Test", "χ²", "df", "p"),
        tuple(rows),
        "Tests of a variance at zero use the mixture of chi-squares with df − 1 and df.",
    )


# --- criteria and variance explained -----------------------------------------------------------


def _lowest(context: Context, criterion: str) -> str:
    values = {m.plan.label: context.value(f"fit/{m.id}/{criterion}") for m in context.models}
    known = {label: value for label, value in values.items() if value is not None}
    return min(known, key=lambda label: known[label]) if known else ""


def _ledger(context: Context) -> Table:
    names = ("deviance", "aic", "aicc", "bic", "bic_groups", "weight", "r2m", "r2c")
    rows = tuple(
        Row(
            model.plan.label,
            (
                context.item(f"{model.id}/parameters"),
                *(context.item(f"fit/{model.id}/{name}") for name in names),
            ),
        )
        for model in context.models
    )
    return Table(
        "ledger",
        "Fit of every model",
        ("Model", "Parameters", "Deviance", "AIC", "AICc", "BIC", "BIC groups", "Weight", "R²m",
         "R²c"),
        rows,
        "Deviance and criteria from ML refits. AICc = AIC corrected for small samples. The n of "
        "BIC is the number of rows, that of BIC groups the number of groups that are independent "
        "of each other. Weight = Akaike weight. R²m, R²c = marginal and conditional R² (Nakagawa & "
        "Schielzeth, 2013; Johnson, 2014) of "
        f"the {context.spec.estimation.method} fits.",
    )  # fmt: skip


def _reductions(context: Context) -> list[dict[str, Any]]:
    null = context.null
    if null is None:
        return []
    blocks = list(null.fit.blocks)
    found = []
    for model in context.models:
        if model is null:
            continue
        context.run(STEP, "variance_explained", id=model.id, null=null.id, blocks=blocks)
        at = f"fit/{model.id}/reduction"
        names = ["residual", *blocks]
        found.append(
            {
                "label": model.plan.label,
                "final": model is context.final,
                "residual": context.item(f"{at}/residual"),
                "groups": [
                    {"name": level.plural, "share": context.item(f"{at}/{level.group}")}
                    for level in context.plan.groups
                    if level.group in blocks
                ],
                "negative": any((context.value(f"{at}/{name}") or 0) < 0 for name in names),
                "slopes": any(len(effects) > 1 for effects in model.fit.blocks.values()),
            }
        )
    return found


def _reduction_table(context: Context) -> Table:
    null = context.null
    assert null is not None
    blocks = list(null.fit.blocks)
    levels = [level for level in context.plan.groups if level.group in blocks]
    rows = tuple(
        Row(
            model.plan.label,
            tuple(
                context.item(f"fit/{model.id}/reduction/{name}")
                for name in ("residual", *(level.group for level in levels))
            ),
        )
        for model in context.models
        if model is not null
    )
    return Table(
        "reduction",
        "Variance explained at each level",
        ("Model", f"Within {context.plan.groups[0].plural}",
         *(f"Between {level.plural}" for level in levels)),
        rows,
        "Proportional reduction of the variance component against the null model (Raudenbush "
        "& Bryk, "
        "2002). It can be negative, and where slopes vary the intercept variance refers to "
        "units with "
        "zero on their predictors.",
    )  # fmt: skip


# --- criteria for few groups -------------------------------------------------------------------


def _independent(context: Context) -> Mapping[str, Any] | None:
    """The groups that count as independent units: those of the highest level, where nested."""
    if context.spec.structure == "crossed":
        return None
    level = context.plan.groups[-1]
    number = context.engine.items.get(f"{context.final.id}/ngroups/{level.group}")
    return {"groups": level.plural, "number": number} if number is not None else None


def _more_criteria(context: Context) -> None:
    group = "" if context.spec.structure == "crossed" else context.plan.groups[-1].group
    for model in context.models:
        context.run(STEP, "small_sample_criteria", id=model.id, group=group)


# --- variance within and between groups --------------------------------------------------------

WITHIN, BETWEEN = ("f1", "v", "residual"), ("f2", "m")


def _two_levels(context: Context) -> str:
    """Why a measure of two-level data cannot be had; empty where it can."""
    if len(set(context.final.fit.groups.values())) == 1:
        return ""
    if context.spec.structure == "crossed":
        return (
            "the groupings are crossed, so that there is no single variance within and between "
            "groups"
        )
    return (
        "the random part of the model has more than one level of groups, and the measures are "
        "defined here for two levels only"
    )


def _partition(context: Context) -> dict[str, Any]:
    final, reason = context.final, _two_levels(context)
    if not final.plan.formula.fixed:
        reason = "the model that is interpreted has no predictors"
    if reason:
        return {"have": False, "reason": reason}
    facts = context.run(STEP, "variance_partition", id=final.id)
    shared = facts.get("conflated", ())
    names = [entry.label for entry in final.coefficients if entry.name in shared]
    return {
        "have": True,
        "conflated": names,
        "slopes": (context.value("fit/partition/v") or 0) > 0,
        "within": context.all("fit/partition/within", *WITHIN),
        "between": context.all("fit/partition/between", *BETWEEN),
        "divided": context.value("fit/partition/between/f2") is not None,
        "total": context.all("fit/partition/total", *WITHIN, *BETWEEN),
        "group": context.plan.groups[0].name,
        "groups": context.plan.groups[0].plural,
    }


def _parts(context: Context) -> dict[str, str]:
    groups = context.plan.groups[0].plural
    return {
        "f1": f"Fixed effects within {groups}",
        "f2": f"Fixed effects between {groups}",
        "v": f"Slopes that vary over {groups}",
        "m": f"Means of {groups} that vary",
        "residual": "Residual",
    }


def _partition_table(context: Context) -> Table:
    rows = tuple(
        Row(
            label,
            (
                context.item(f"fit/partition/{part}"),
                context.item(f"fit/partition/total/{part}"),
                context.item(f"fit/partition/within/{part}") if part in WITHIN else "",
                context.item(f"fit/partition/between/{part}") if part in BETWEEN else "",
            ),
        )
        for part, label in _parts(context).items()
    )
    groups = context.plan.groups[0].plural
    return Table(
        "partition",
        f"The variance implied by {context.final.plan.label}, divided",
        ("Source", "Variance", "Share of total", f"Share within {groups}",
         f"Share between {groups}"),
        rows,
        "Rights and Sterba (2019). The fixed parts add up to the marginal R², all but the "
        "residual to the conditional R². Rows weigh alike, so large groups weigh more.",
    )  # fmt: skip


def _partition_figure(context: Context) -> Figure:
    found = [
        [label, item]
        for part, label in _parts(context).items()
        if isinstance(item := context.item(f"fit/partition/total/{part}"), Quantity)
        and item.value > 0
    ]
    return Figure(
        "partition",
        "icc_bar",
        f"Where the variance lies by {context.final.plan.label}: fixed effects, slopes and means "
        "that vary, residual.",
        "A bar divided into the shares of the model's parts in the total variance.",
        {"components": found},
    )


# --- prediction error --------------------------------------------------------------------------


def _only_intercepts(model: FittedModel) -> bool:
    return all(effects == ("(Intercept)",) for effects in model.fit.blocks.values())


def _snijders_of(context: Context) -> list[tuple[FittedModel, str]]:
    """Models with the object that the measure is computed from."""
    found = []
    refitted = "models/structures/intercepts/shift" in context.engine.items
    for model in context.models:
        if model is context.null:
            continue
        if _only_intercepts(model):
            found.append((model, model.object))
        elif model is context.final and refitted:
            found.append((model, "s_intercepts"))
    return found


def _snijders(context: Context) -> dict[str, Any]:
    null, reason = context.null, _two_levels(context)
    if null is None or reason:
        return {"have": False, "reason": reason or "there is no null model to compare with"}
    for model, of in _snijders_of(context):
        context.run(
            STEP,
            "snijders_bosker",
            id=model.id,
            of=of,
            null=null.id,
            group=context.lowest_group,
        )
    used = _snijders_of(context)
    return {
        "have": bool(used),
        "reason": "no model of the sequence has random intercepts only and predictors",
        "refitted": any(of == "s_intercepts" for _, of in used),
        "negative": any(
            (context.value(f"fit/{model.id}/snijders/{what}") or 0) < 0
            for model, _ in used
            for what in ("rows", "groups")
        ),
        "skipped": [
            model.plan.label
            for model in context.models
            if model is not null and model not in [entry for entry, _ in used]
        ],
    }


def _snijders_table(context: Context) -> Table:
    rows = tuple(
        Row(
            model.plan.label + (", without random slopes" if of == "s_intercepts" else ""),
            tuple(context.item(f"fit/{model.id}/snijders/{what}") for what in ("rows", "groups")),
        )
        for model, of in _snijders_of(context)
    )
    lowest, groups = context.plan.levels[0].plural, context.plan.groups[0]
    return Table(
        "snijders",
        "Reduction of prediction error against the null model",
        ("Model", f"For {lowest} (level 1)", f"For {groups.name} means (level 2)"),
        rows,
        "Snijders and Bosker (2012), from models with random intercepts only; level 2 with the "
        f"harmonic mean of the {groups.name} sizes.",
    )


def _left_out(context: Context) -> dict[str, Any]:
    reason = _two_levels(context)
    if reason:
        return {"have": False, "reason": reason}
    models = [model for model in context.models if len(set(model.fit.groups.values())) == 1]
    for model in models:
        context.run(
            STEP,
            "leave_group_out",
            id=model.id,
            predictors=bool(model.plan.formula.fixed),
            unit=context.unit,
        )
    at = f"fit/{context.final.id}/leftout"
    outside, inside = context.value(f"{at}/outside"), context.value(f"{at}/inside")
    slope, null = context.value(f"{at}/slope"), context.null
    null_at = f"fit/{null.id}/leftout/outside" if null else ""
    null_error = context.value(null_at) if null is not context.final else None
    return {
        "have": bool(models),
        "final": context.all(at, "inside", "outside", "slope", "intercept"),
        "computed": outside is not None,
        "worse": None if outside is None or inside is None else outside > inside,
        "calibrated": slope is not None,
        "steep": slope is not None and slope > 1,
        "null": context.item(null_at) if null_error is not None else None,
        "gain": None if null_error is None or outside is None else outside < null_error,
        "group": context.plan.groups[0].name,
        "groups": context.plan.groups[0].plural,
        "unit": context.unit,
    }


def _left_out_table(context: Context) -> Table:
    names = ("inside", "outside", "slope", "intercept")
    rows = tuple(
        Row(model.plan.label, tuple(context.item(f"fit/{model.id}/leftout/{n}") for n in names))
        for model in context.models
        if f"fit/{model.id}/leftout/inside" in context.engine.items
    )
    group = context.plan.groups[0].name
    return Table(
        "leftout",
        f"Prediction of each {group} by fixed effects estimated without it",
        ("Model", "RMSE in the sample", f"RMSE, {group} left out", "Calibration slope",
         "Calibration intercept"),
        rows,
        "RMSE = root mean squared error of the fixed part's predictions. Calibration: the outcome "
        "regressed on the predictions; 1 and 0 are ideal. Variance components are held at "
        "their estimates.",
    )  # fmt: skip
