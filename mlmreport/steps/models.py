"""Step 5: the sequence of models, fitted in lme4, side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mlmreport.errors import AnalysisError, InputError
from mlmreport.quantities import Cell, Row, Table
from mlmreport.spec import formula as fm
from mlmreport.steps import optimizers, random_part
from mlmreport.steps.coefficients import effect_label
from mlmreport.steps.context import Context, FittedModel
from mlmreport.steps.cost import PROFILE_FITS, fit_seconds, refit_seconds, too_long
from mlmreport.thresholds import RULES

__all__ = ["fit_all", "run"]

STEP = "models"
COEFFICIENT = ("estimate", "se", "df", "t", "p", "lower", "upper")


def fit_all(context: Context, progress: Callable[[str], None]) -> None:
    """Fit every model, and record its coefficients and components.

    Raises
    ------
    InputError
        Located at the model that lme4 cannot fit.
    """
    estimation, inference = context.spec.estimation, context.spec.inference
    reml = estimation.method == "REML"
    context.engine.send_models([plan.r for plan in context.plan.models], reml, estimation.optimizer)
    for plan in context.plan.models:
        progress(plan.label)
        try:
            fit = context.engine.fit(plan.id, plan.r, reml, estimation.optimizer)
        except AnalysisError as error:
            raise _located(context, plan.id, str(error)) from None
        fit, refits = optimizers.settle(context, plan, fit)
        context.models.append(context.describe(plan, fit, refits))
    random_part.send_ahead(context)
    context.asymptotic = _df_too_long(context)
    context.no_fixed_ci = _fixed_too_long(context)
    for model in context.models:
        progress(f"{model.plan.label}: tests")
        context.run(
            STEP,
            "model_quantities",
            id=model.id,
            labels={entry.name: entry.label for entry in model.coefficients},
            unit=context.unit,
            level=inference.level,
            ddf=context.ddf,
            limits=model is not context.final or not context.fixed_ci,
        )
        context.run(STEP, "fit_by_ml", id=model.id)
        _sharpen(context, model)


def _df_too_long(context: Context) -> str:
    """Why Satterthwaite df, which differentiate the deviance numerically, are not computed."""
    if context.spec.inference.df != "satterthwaite":
        return ""
    seconds = [fit_seconds(m.fit, df=True) - fit_seconds(m.fit) for m in context.models]
    return too_long(
        context,
        STEP,
        "Satterthwaite degrees of freedom; the tests of the fixed effects use the normal "
        "distribution",
        context.final,
        sum(seconds),
    )


def _located(context: Context, model: str, said: str) -> InputError:
    models = context.spec.models.list_ or []
    index = next((i for i, entry in enumerate(models) if entry.id == model), None)
    place: tuple[str | int, ...] = ("models", "list", index) if index is not None else ("models",)
    hint = next(
        (text for sign, text in HINTS.items() if sign in said),
        "a simpler random part, or more data per group, may make it estimable",
    )
    return InputError.of(
        f"the model '{model}' cannot be fitted: {said}", hint, context.document.locate(*place)
    )


HINTS = {
    "Downdated VtV": "the scales of its predictors may be too far apart: centre them, or give "
    "them in larger or smaller units",
    "differ only between": "leave out predictors of that level, or their interactions",
}
"""What to do about a model that cannot be fitted, by a part of the message."""


def _sharpen(context: Context, model: FittedModel) -> None:
    for entry in model.coefficients:
        at = f"{model.id}/fixef/{entry.name}"
        context.sharpen(
            [f"{at}/{what}" for what in ("estimate", "se", "lower", "upper")], f"{at}/se"
        )


def run(context: Context) -> Mapping[str, Any]:
    """The stepped table, intervals of the final model's variances, and convergence."""
    inference = context.spec.inference
    no_intervals = _intervals_too_long(context)
    context.run(
        STEP,
        "parameter_intervals",
        id=context.final.id,
        variances="none" if no_intervals else inference.variance_ci,
        fixed=context.fixed_ci or "t",
        level=inference.level,
        nsim=inference.bootstrap,
        seed=inference.seed,
        labels={entry.name: entry.label for entry in context.final.coefficients},
        unit=context.unit,
    )
    _sharpen(context, context.final)
    _decide(context)
    examined = random_part.examine(context)
    return {
        "examined": {key: examined[key] for key in examined if key not in {"tables", "figures"}},
        "no_intervals": no_intervals,
        "no_fixed_ci": context.no_fixed_ci,
        "asymptotic": context.asymptotic,
        "models": [_model(context, model) for model in context.models],
        "final": {"id": context.final.id, "label": context.final.plan.label},
        "stepwise": context.spec.models.stepwise is not None,
        "method": context.spec.estimation.method,
        "optimizer": context.spec.estimation.optimizer,
        "replaced": [
            {"label": model.plan.label, "optimizer": model.fit.optimizer}
            for model in context.models
            if model.replaced
        ],
        "independent": _independent(context),
        "offset": fm.expression_r(offset) if (offset := _offset(context)) else "",
        "ddf": context.ddf,
        "singular": [model.plan.label for model in context.models if model.fit.singular],
        "unconverged": [model.plan.label for model in context.models if model.fit.messages],
        "unexamined": [model.plan.label for model in context.models if _unexamined(model)],
        "tables": {
            "models": stepped_table(context),
            "convergence": _convergence_table(context),
            **examined["tables"],
        },
        "figures": examined["figures"],
    }


def _unexamined(model: FittedModel) -> bool:
    """Whether lme4 has no complaint of a fit because it did not look."""
    return not (model.fit.examined or model.fit.singular or model.fit.messages)


_ZEROS = {"within": "its group mean", "mean": "zero", "centred": "the value it is centred at"}


def _independent(context: Context) -> Mapping[str, Any] | None:
    """Slopes of the final model whose correlation with the intercepts is set to zero."""
    random = context.final.plan.formula.random
    alone = [
        (part.groups, term)
        for part in random
        for term in part.terms
        if not part.correlated or not part.intercept
    ]
    over = {part.groups for part in random if part.intercept}
    found = [term for groups, term in alone if groups in over]
    if not found:
        return None
    labels = list(dict.fromkeys(_slope_label(context, term) for term in found))
    variables = [context.plan.by_column(name) for t in found for name in fm.names_in(*t.factors)]
    numbers = list(dict.fromkeys(v for v in variables if v and v.type == "number"))
    whole = [
        _slope_label(context, term)
        for part in random
        if not part.correlated
        for term in part.terms
        if _several(context, term)
    ]
    if numbers:
        zeros = [f"{v.base_label}: {_ZEROS.get(v.role, 'zero as measured')}" for v in numbers]
        context.decide(
            STEP,
            "independent slopes and intercepts are kept as the spec asks; what they mean depends "
            "on where the predictor has its zero",
            "; ".join(zeros),
            "the correlation of intercepts and slopes is set to zero at that point",
            "Bates2015",
        )
    return {
        "slopes": labels,
        "numbers": [v.base_label for v in numbers],
        "plain": [v.base_label for v in numbers if v.role == "plain"],
        "several": list(dict.fromkeys(whole)),
        "factors": any(v and v.type == "category" for v in variables),
    }


def _slope_label(context: Context, term: fm.Term) -> str:
    parts = []
    for factor in term.factors:
        variable = context.plan.by_column(next(iter(fm.names_in(factor)), ""))
        plain = variable is not None and isinstance(factor, fm.Name)
        parts.append(variable.base_label if variable and plain else fm.expression_r(factor))
    return " × ".join(parts)


def _several(context: Context, term: fm.Term) -> bool:
    """Whether a term has several columns, which ``||`` leaves correlated."""
    names = fm.names_in(*term.factors)
    return "poly(" in fm.term_r(term) or any(name in context.categories for name in names)


def _offset(context: Context) -> fm.Expression | None:
    """The offset of the model that is interpreted."""
    return context.final.plan.formula.offset


def _intervals_too_long(context: Context) -> str:
    """Why the variances of the final model have no intervals although the spec asks for them."""
    inference, model = context.spec.inference, context.final
    if inference.variance_ci == "none":
        return ""
    seconds = _interval_fits(context, model.fit.parameters + 1, inference.variance_ci)
    kind = INTERVALS[inference.variance_ci]
    part = f"{kind} intervals of the variances of {model.plan.label}"
    return too_long(context, STEP, part, model, seconds, refits=True)


def _fixed_too_long(context: Context) -> str:
    """Why the coefficients have t intervals although the spec asks for others."""
    inference, model = context.spec.inference, context.final
    if inference.fixed_ci == "t":
        return ""
    seconds = _interval_fits(context, len(model.coefficients), inference.fixed_ci)
    kind = INTERVALS[inference.fixed_ci]
    part = f"{kind} intervals of the coefficients of {model.plan.label}, which have t intervals"
    return too_long(context, STEP, part, model, seconds, refits=True)


INTERVALS = {"profile": "profile-likelihood", "bootstrap": "bootstrap"}


def _interval_fits(context: Context, parameters: int, kind: str) -> float:
    """Nominal seconds of the intervals of so many parameters of the final model."""
    fits = parameters * PROFILE_FITS if kind == "profile" else context.spec.inference.bootstrap
    return fits * refit_seconds(context, context.final)


def _model(context: Context, model: FittedModel) -> dict[str, Any]:
    return {
        "id": model.id,
        "label": model.plan.label,
        "reason": model.plan.reason,
        "formula": model.plan.r,
        "singular": model.fit.singular,
        "optimizer": model.fit.optimizer,
        "ahead": model.fit.ahead,
        "messages": _said(context, model.fitted_as),
        "dropped": list(model.fit.dropped),
        "first": {
            "optimizer": model.refits.first,
            "messages": _said(context, f"opt_{model.id}_{model.refits.first}"),
        }
        if model.refits and model.replaced
        else None,
    }


def _said(context: Context, fitted: str) -> list[str]:
    """What R said of a fit and its data, but not that it is singular: that is a fact of its own."""
    return [
        entry["text"]
        for entry in context.engine.conditions
        if entry["where"] == fitted
        and entry["kind"] != "deprecation"
        and "boundary (singular)" not in entry["text"]
    ]


def _decide(context: Context) -> None:
    explicit = context.spec.models.final is not None
    context.decide(
        STEP,
        "the model that is interpreted is the one that the spec names, or the last of its "
        "sequence; it is not selected by its fit",
        f"`models.final: {context.final.id}`" if explicit else "the last model of the sequence",
        f"interpreted: {context.final.plan.label}",
    )
    for model in context.models:
        if model.fit.singular:
            context.decide(
                STEP,
                "a variance estimated as zero, or a correlation at its limit, is reported, "
                "not mended",
                f"lme4::isSingular({model.object}) is TRUE",
                f"{model.plan.label}: kept as fitted; its random part is more complex than the "
                f"data support",
                "Bates2015b",
            )


# --- the stepped table ------------------------------------------------------------------------


def stepped_table(context: Context) -> Table:
    """All models side by side: effects, variance components, sizes."""
    models = context.models
    rows: list[Row] = [Row("Fixed effects", (), group=True)]
    names = list(dict.fromkeys(e.name for model in models for e in model.coefficients))
    for name in sorted(names, key=lambda name: _position(context, name)):
        label = next(e.label for model in models for e in model.coefficients if e.name == name)
        rows.append(Row(label, tuple(_estimate(context, model, name) for model in models)))
    rows.append(Row("Variance components", (), group=True))
    rows += _component_rows(context)
    residual = "Residual variance" + (" of a row of weight 1" if context.plan.weights else "")
    rows.append(Row(residual, tuple(context.item(f"{m.id}/sigma2") for m in models)))
    rows.append(Row("Sizes and criterion", (), group=True))
    rows += _size_rows(context)
    method = context.spec.estimation.method
    alpha = f"{context.spec.inference.alpha:g}".removeprefix("0")
    return Table(
        "models",
        f"The sequence of models of {context.plan.outcome.label}",
        ("", *(model.plan.label for model in models)),
        tuple(rows),
        f"Estimates by {method} with standard errors in parentheses; * p < {alpha}, "
        f"{_tests(context)}. Criterion = "
        + ("REML criterion" if method == "REML" else "deviance (ML)")
        + (
            "; it may be compared only between models of equal fixed parts."
            if method == "REML"
            else "."
        ),
    )


def _tests(context: Context) -> str:
    normal = context.ddf == "asymptotic"
    return "tests by the normal distribution" if normal else f"t tests with {context.ddf} df"


def _position(context: Context, name: str) -> tuple[int, int, int]:
    """Intercept first, then by degree and the order of the final model, then the others."""
    order = [e.name for model in [context.final, *context.models] for e in model.coefficients]
    return (name != "(Intercept)", name.count(":"), order.index(name))


def _estimate(context: Context, model: FittedModel, name: str) -> Cell:
    if name not in model.fit.coefficients:
        return ""
    at = f"{model.id}/fixef/{name}"
    p = context.value(f"{at}/p")
    star = "*" if p is not None and p < context.spec.inference.alpha else ""
    return (context.item(f"{at}/estimate"), star, " (", context.item(f"{at}/se"), ")")


def _component_rows(context: Context) -> list[Row]:
    keys: dict[tuple[str, str, str], str] = {}
    for model in context.models:
        for block, effects in model.fit.blocks.items():
            for i, effect in enumerate(effects):
                label = effect_label(effect, model.coefficients)
                over = context.plural(model.fit.groups[block])
                keys[(block, effect, "")] = f"{label}, over {over}: variance"
                for other in effects[:i]:
                    with_ = effect_label(other, model.coefficients).lower()
                    keys[(block, effect, other)] = f"{label} with {with_}, over {over}: correlation"
    ordered = sorted(keys, key=lambda key: (bool(key[2]), key[1] != "(Intercept)"))
    return [
        Row(keys[key], tuple(_component(context, model, *key) for model in context.models))
        for key in ordered
    ]


def _component(context: Context, model: FittedModel, block: str, effect: str, other: str) -> Cell:
    what = f"cor/{other}" if other else "variance"
    found: Cell = context.engine.items.get(f"{model.id}/var/{block}/{effect}/{what}", "")  # type: ignore[assignment]
    return found


def _size_rows(context: Context) -> list[Row]:
    models, lowest = context.models, context.plan.levels[0]
    rows = [Row(lowest.plural.capitalize(), tuple(context.item(f"{m.id}/nobs") for m in models))]
    combined = dict.fromkeys(group for m in models for group in context.combinations(m))
    for group in (*(level.group for level in context.plan.groups), *combined):
        cells = tuple(context.engine.items.get(f"{m.id}/ngroups/{group}", "") for m in models)
        if any(not isinstance(cell, str) for cell in cells):
            plural = context.plural(group)
            rows.append(Row(plural[0].upper() + plural[1:], cells))  # type: ignore[arg-type]
    rows.append(Row("Parameters", tuple(context.item(f"{m.id}/parameters") for m in models)))
    rows.append(Row("Criterion", tuple(context.item(f"{m.id}/criterion") for m in models)))
    return rows


def _convergence_table(context: Context) -> Table:
    rows = []
    for model in context.models:
        verdict = (
            "singular"
            if model.fit.singular
            else "warning"
            if model.fit.messages
            else "not looked for"
            if _unexamined(model)
            else "none"
        )
        rows.append(
            Row(
                model.plan.label,
                (
                    f"`{model.plan.r}`",
                    optimizers.used(model) + (", on compressed data" if model.fit.ahead else ""),
                    context.item(f"{model.id}/gradient"),
                    verdict,
                ),
            )
        )
    rule = RULES["gradient"]
    return Table(
        "convergence",
        "Every model fitted, in order, and its convergence",
        ("Model", "Formula", "Optimizer", "Scaled gradient", "lme4's complaint"),
        tuple(rows),
        rule.text + ". No derivatives are taken for singular fits.",
    )
