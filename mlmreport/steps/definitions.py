"""Part of step 6: criteria on the outcome's own scale, and statistics by other definitions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mlmreport.quantities import Cell, Quantity, Row, Table
from mlmreport.steps.context import Context

__all__ = ["before", "others"]

STEP = "fit"
WORDS = {
    "none": "untransformed",
    "log": "logarithm",
    "log2": "logarithm to base two",
    "log10": "logarithm to base ten",
    "log1p": "logarithm of one plus the outcome",
    "sqrt": "square root",
}


# --- criteria before a transformation ----------------------------------------------------------


def before(context: Context) -> dict[str, Any]:
    """Criteria of the outcome before its transformation, where models on several scales exist."""
    transform = context.spec.outcome.transform
    scales = [name for name in WORDS if _compared(context, name)]
    if transform == "none" and not scales:
        return {"have": False}
    ids = [model.id for model in context.models] if transform != "none" else [context.final.id]
    found = context.run(STEP, "criteria_before", ids=ids, transform=transform, scales=scales)
    names = list(found["found"])
    best = _best(context, [context.final.id, *(f"scale_{scale}" for scale in scales)])
    return {
        "have": True,
        "transformed": transform != "none",
        "scale": WORDS[transform],
        "label": context.plan.outcome.base_label,
        "compared": bool(scales),
        "best": WORDS[best.removeprefix("scale_")] if best.startswith("scale_") else "",
        "own": best == context.final.id,
        "final": context.final.plan.label,
        "table": _before_table(context, names, transform),
    }


def _compared(context: Context, scale: str) -> bool:
    """Whether step 3 fitted the final model with the outcome on a scale."""
    return context.value(f"assumptions/scale/{scale}/skewness") is not None


def _best(context: Context, names: list[str]) -> str:
    found = {
        name: value
        for name in names
        if (value := context.value(f"fit/before/{name}/aic")) is not None
    }
    return min(found, key=lambda name: found[name]) if len(found) > 1 else ""


def _before_table(context: Context, names: list[str], transform: str) -> Table:
    labels = {model.id: model.plan.label for model in context.models}

    def row(name: str) -> Row:
        scale = name.removeprefix("scale_") if name not in labels else transform
        label = labels.get(name, context.final.plan.label)
        cells = tuple(context.item(f"fit/before/{name}/{what}") for what in CRITERIA)
        return Row(label, (WORDS[scale], *cells))

    return Table(
        "before",
        "Fit on the scale of the outcome before any transformation",
        ("Model", "Outcome in the model", "Deviance", "AIC", "BIC"),
        tuple(map(row, names)),
        "ML. The log-likelihood of a model for a transformed outcome, plus the sum of the "
        "logarithms of the transformation's derivative at every row (its Jacobian), is that of the "
        "outcome before, so that models of different scales can be compared.",
    )


CRITERIA = ("deviance", "aic", "bic")


# --- other definitions -------------------------------------------------------------------------

Entry = tuple[str, str, str]


def others(context: Context) -> Table:
    """One table: which definition of a statistic is printed, and what others give here."""
    null = context.null
    context.run(
        STEP,
        "other_definitions",
        id=context.final.id,
        null=null.object if null else "",
        group=context.lowest_group,
    )
    rows: list[Row] = []
    for head, entries in _families(context):
        known = [entry for entry in entries if entry[1] in context.engine.items]
        if len(known) < 2:
            continue
        rows.append(Row(head, group=True))
        rows += [Row(label, (_shown(context, name), why)) for label, name, why in known]
    return Table(
        "definitions",
        f"Other definitions, for {context.final.plan.label}",
        ("Statistic", "Value", "What it is"),
        tuple(rows),
        "The first of each kind is the one that this report goes by.",
    )


def _shown(context: Context, name: str) -> Cell:
    item: Cell = context.item(name)
    return item


def _families(context: Context) -> Iterator[tuple[str, list[Entry]]]:
    yield "Intraclass correlation", _icc(context)
    yield "Marginal R²", _marginal(context)
    yield "Conditional R²", _conditional(context)
    at = f"fit/{context.final.id}"
    yield "AIC", [
        ("By ML", f"{at}/aic", "printed; models of different fixed parts are comparable"),
        ("By REML", "fit/definitions/aic_reml",
         "what AIC() of R gives for a REML fit; comparable between equal fixed parts only"),
        ("By REML, covariance parameters", "fit/definitions/aic_covariance",
         "what SPSS and SAS print for a REML fit: the fixed effects are not counted"),
    ]  # fmt: skip
    yield "BIC", [
        ("By ML, n = rows", f"{at}/bic", "printed; what BIC() of R gives for an ML fit"),
        ("By ML, n = groups", f"{at}/bic_groups",
         "printed beside it; counts the groups that are independent of each other"),
        ("By REML, n = rows", "fit/definitions/bic_reml",
         "what BIC() of R gives for a REML fit; comparable between equal fixed parts only"),
        ("By REML, n less fixed effects", "fit/definitions/bic_residual_n",
         "what nlme gives: the rows that REML leaves for the variances are n"),
        ("By REML, covariance parameters", "fit/definitions/bic_covariance",
         "what SPSS prints: that n, and the fixed effects not counted"),
        ("By REML, covariance parameters, n = groups", "fit/definitions/bic_subjects",
         "what SAS prints: the groups are n, and the fixed effects not counted"),
    ]  # fmt: skip
    yield from _tests(context)
    yield "Largest Cook's distance", _cook(context)


def _cook(context: Context) -> list[Entry]:
    """Cook's distance of a group, where the printed one holds the variance parameters."""
    group, at = context.plan.groups[0].name, "assumptions/influence/largest"
    item = context.engine.items.get(at)
    if not isinstance(item, Quantity) or "held" not in item.method:
        return []
    return [
        (f"Of a {group}", at, "printed; all of its rows left out, variance parameters held"),
        (f"Of the same {group}, refitted", "fit/definitions/cook_refit",
         "variance parameters estimated anew without it"),
    ]  # fmt: skip


def _icc(context: Context) -> list[Entry]:
    found: list[Entry] = [
        (f"Null model, {level.plural}", f"icc/{level.group}/icc",
         "printed; share of the outcome's variance, before any predictor")
        for level in context.plan.groups
    ]  # fmt: skip
    slopes = any(len(effects) > 1 for effects in context.final.fit.blocks.values())
    return [
        *found,
        ("Intercepts only", "fit/definitions/icc_at_zero",
         "intercept variances and residual: where all predictors with random slopes are zero"),
        ("Adjusted", "fit/definitions/icc_adjusted",
         "random part averaged over the rows, fixed part left out (Nakagawa et al. 2017)"),
        ("Unadjusted", "fit/definitions/icc_unadjusted",
         "random part averaged over the rows, fixed part in the total"),
        ("Intercepts in the average", "fit/definitions/icc_intercepts",
         "intercept variances over the averaged random part and residual; what the R package "
         "performance gives by group"
         + ("; no share where slopes covary with intercepts: it can exceed 1" if slopes else "")),
        ("Adjusted, performance", "fit/definitions/icc_performance", PERFORMANCE),
    ]  # fmt: skip


PERFORMANCE = (
    "as the R package performance has it; its average differs where slopes are uncorrelated with "
    "intercepts (||), and for fits that are singular to its tolerance it gives none or leaves the "
    "random effects out; computed here by its definition"
)


MUMIN = (
    "as the R package MuMIn has it: term by term, so that uncorrelated slopes (||) and singular "
    "fits are averaged like all others; computed here by its definition"
)


def _marginal(context: Context) -> list[Entry]:
    at = f"fit/{context.final.id}"
    return [
        ("Slopes averaged over rows", f"{at}/r2m", "printed (Johnson 2014)"),
        ("Intercepts only", "fit/definitions/r2m_intercepts",
         "random part without slopes (Nakagawa and Schielzeth 2013); depends on where zero is"),
        ("By performance", "fit/definitions/r2_performance_marginal", PERFORMANCE),
        ("By MuMIn", "fit/definitions/r2m_blocks", MUMIN),
        ("Squared correlation", "fit/definitions/r2m_correlation",
         "of the outcome with the fixed part's predictions; observed, not implied"),
    ]  # fmt: skip


def _conditional(context: Context) -> list[Entry]:
    at = f"fit/{context.final.id}"
    return [
        ("Slopes averaged over rows", f"{at}/r2c", "printed (Johnson 2014)"),
        ("Intercepts only", "fit/definitions/r2c_intercepts",
         "random part without slopes (Nakagawa and Schielzeth 2013); depends on where zero is"),
        ("By performance", "fit/definitions/r2_performance_conditional", PERFORMANCE),
        ("By MuMIn", "fit/definitions/r2c_blocks", MUMIN),
        ("Squared correlation", "fit/definitions/r2c_correlation",
         "of the outcome with the fitted values, which were estimated from the same rows"),
    ]  # fmt: skip


def _tests(context: Context) -> Iterator[tuple[str, list[Entry]]]:
    prefixes = {"fit/grouping": "group variance"} | {
        f"fit/{model.id}/lrt": f"random slope, {model.plan.label}" for model in context.models
    }
    for at, what in prefixes.items():
        if isinstance(context.engine.items.get(f"{at}/p_naive"), Quantity):
            yield f"Test of the {what}, p", [
                ("Mixture of chi-squares", f"{at}/p",
                 "printed; zero is the boundary of a variance (Stram and Lee 1994)"),
                ("Chi-square alone", f"{at}/p_naive",
                 "what anova() of R gives: as if the variance could be negative; too large"),
                *(_other_tests() if at == "fit/grouping" else []),
            ]  # fmt: skip


def _other_tests() -> list[Entry]:
    return [
        ("Simulated null distribution", "icc/exact/p",
         "exact for one variance and normal errors (Crainiceanu and Ruppert 2004)"),
        ("Wald z, one-sided", "fit/definitions/wald_p",
         "what SAS prints, SPSS twice that; an estimate near zero is not normal as it assumes"),
    ]  # fmt: skip
