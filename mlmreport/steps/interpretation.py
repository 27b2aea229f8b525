"""Step 7: what the final model's effects mean, in the outcome's units."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from mlmreport.quantities import Figure, Row, Series, Table
from mlmreport.spec import formula as fm
from mlmreport.spec.variables import Variable
from mlmreport.steps.coefficients import INTERCEPT, Coefficient, effect_label, row_anchor
from mlmreport.steps.context import Context, FittedModel
from mlmreport.steps.effects import BASES, details, find_means, interval, slug
from mlmreport.steps.models import COEFFICIENT

__all__ = [
    "align",
    "has_reference",
    "higher_columns",
    "intercepts_at",
    "pair_of",
    "run",
    "several_terms",
    "where_it_holds",
]

STEP = "interpretation"
MOST_CATEGORIES = 8
"""Simple slopes are taken at most at so many categories of a moderator."""


def run(context: Context) -> Mapping[str, Any]:
    """Sentences' material for each effect, ranges of slopes, simple slopes."""
    model = context.final
    context.run(STEP, "typical_values", variables=_model_variables(context, model))
    find_means(context, model)
    effects = [_effect(context, model, entry) for entry in model.coefficients]
    ranges = _ranges(context, model)
    interactions = _interactions(context, model)
    _joint_tests(context, model)
    return {
        "model": model.plan.label,
        "outcome": context.plan.outcome.label,
        "unit": context.unit,
        "level": context.item("settings/level"),
        "ddf": context.ddf,
        "fixed_ci": context.fixed_ci,
        "intercept": next((e for e in effects if e["kind"] == "intercept"), None),
        "effects": [entry for entry in effects if entry["kind"] != "intercept"],
        "baseline": _baseline(context, model),
        "typical": _typical(context, model),
        "reference": has_reference(context, model),
        "profile": context.profile,
        "ranges": ranges,
        "covariances": _covariances(context, model),
        "interactions": interactions,
        "group": context.plan.groups[0].name,
        "units": " and ".join(level.name for level in context.plan.groups),
        "groups": context.plan.groups[0].plural,
        "lowest": context.plan.levels[0].name,
        "joint": _joint_facts(context, model),
        "truth": _truth(context, model),
        **details(context, model),
        "tables": {"fixed": _fixed_table(context, model), "random": _random_table(context, model)},
        "figures": {
            **_figures(context, interactions),
            **_neyman_figures(context, interactions),
            **_group_lines(context, model),
            **_growth(context, model),
        },
    }


# --- fixed effects ----------------------------------------------------------------------------


def _model_variables(context: Context, model: FittedModel) -> list[dict[str, Any]]:
    columns = fm.variables(model.plan.formula)
    return [
        {
            "column": variable.column,
            "type": variable.type,
            "level": variable.level,
            "group": context.plan.levels[variable.level - 1].group if variable.level > 1 else "",
        }
        for variable in dict.fromkeys((*context.plan.used, *filter(None, [context.plan.offset])))
        if variable.column in columns
    ]


def _effect(context: Context, model: FittedModel, entry: Coefficient) -> dict[str, Any]:
    found = context.all(f"{model.id}/fixef/{entry.name}", *COEFFICIENT)
    p = context.value(f"{model.id}/fixef/{entry.name}/p")
    estimate = context.value(f"{model.id}/fixef/{entry.name}/estimate") or 0.0
    variables = [part.variable for part in entry.parts if part.variable]
    first = entry.parts[0] if entry.parts else None
    pair = pair_of(context, entry)
    reference = ""
    if first and first.variable and first.category is not None:
        reference = context.categories[first.variable.column][0]
    interacting = {part.name for other in model.coefficients if other.kind == "interaction"
                   for part in other.parts}  # fmt: skip
    return {
        **found,
        "name": entry.name,
        "label": entry.label,
        "kind": entry.kind,
        "cross_level": entry.cross_level,
        "positive": estimate >= 0,
        "tested": p is not None,
        "clear": p is not None and p < context.spec.inference.alpha,
        "parts": [part.label for part in entry.parts],
        "categories": [part.category or "" for part in entry.parts],
        "contrast": first.contrast if first else "",
        "base": variables[0].base_label if variables else "",
        "role": variables[0].role if variables else "",
        "unit": variables[0].unit if variables else "",
        "level_name": context.plan.levels[entry.level - 1].name,
        "reference": reference,
        "varies": [
            context.plural(model.fit.groups[block])
            for block, effects in model.fit.blocks.items()
            if entry.name in effects
        ],
        "conditional": entry.kind != "interaction" and entry.name in interacting,
        "held": _held(context, model, variables[0]) if variables else "",
        "members": context.plan.levels[0].plural,
        "curved": entry.kind == "number" and bool(variables) and variables[0] in _curved(model),
        "where": where_it_holds(context, model, entry),
        "pair": pair,
        "doubling": _doubling(context, model, entry),
        "raw": _raw(context, variables[0]) if variables else "",
    }


def _raw(context: Context, variable: Variable) -> str:
    """A variable before its transformation, as a reader calls it."""
    return context.spec.predictors[variable.key].label or variable.key


def _doubling(context: Context, model: FittedModel, entry: Coefficient) -> Any:
    """For a predictor by its logarithm what a doubling goes with; None for others."""
    variable = entry.parts[0].variable if entry.kind == "number" else None
    base = BASES.get(context.spec.predictors[variable.key].transform) if variable else None
    if variable is None or base is None or variable.role in {"within", "mean"}:
        return None
    if context.spec.predictors[variable.key].transform == "log1p":
        return None
    context.run(
        STEP, "doubling", id=model.id, term=entry.name, base=base, unit=context.unit,
        label=entry.label,
    )  # fmt: skip
    at = f"interpretation/doubling/{entry.name}"
    context.sharpen([at], f"{model.id}/fixef/{entry.name}/se")
    return context.item(at)


def _held(context: Context, model: FittedModel, mean: Variable) -> str:
    """Of a group mean: what units have equal where their own values stand beside it uncentred."""
    key = context.means.get(mean.column)
    own = (e.parts[0].variable for e in model.coefficients if e.kind == "number")
    return next((v.base_label for v in own
                 if v and key and v.key == key and v.role in {"plain", "centred"}
                 and v.column != mean.column), "")  # fmt: skip


def _curved(model: FittedModel) -> list[Variable]:
    """Variables that the model also has a function of."""
    return [
        part.variable
        for entry in model.coefficients
        if entry.kind == "function"
        for part in entry.parts
        if part.variable
    ]


def where_it_holds(context: Context, model: FittedModel, entry: Coefficient) -> list[str]:
    """At what values of the other variables a coefficient in an interaction is its effect."""
    if entry.kind == "interaction":
        return []
    own = {part.name for part in entry.parts}
    others = {
        part.variable.column: part.variable
        for product in model.coefficients
        if product.kind == "interaction" and own & {part.name for part in product.parts}
        for part in product.parts
        if part.name not in own and part.variable
    }
    return [_at_base(context, variable) for variable in others.values()]


def _at_base(context: Context, variable: Variable) -> str:
    """Where a variable's column is zero or its reference category, in words."""
    if variable.column in context.codings:
        return f"{variable.label} is averaged over its categories"
    if variable.type == "category":
        return f"{variable.label} is {context.categories[variable.column][0]}"
    if variable.role == "within":
        return f"{variable.base_label} is at the {context.plan.levels[variable.level].name} mean"
    if variable.role == "centred":
        return f"{variable.base_label} is at its centre"
    return f"{variable.base_label} is {_zero(context, variable)}"


def _outside(context: Context, variable: Variable) -> bool:
    """Whether zero is no value within the range of the data."""
    at = f"structure/variable/{variable.column}"
    low, high = (context.value(f"{at}/{end}") for end in ("min", "max"))
    return low is not None and high is not None and not low <= 0 <= high


def _zero(context: Context, variable: Variable) -> str:
    return "zero, outside the data" if _outside(context, variable) else "zero"


def intercepts_at(context: Context, model: FittedModel, group: str) -> list[str]:
    """Where a grouping's intercepts are looked at: with random slopes it matters."""
    slopes = {effect for block, effects in model.fit.blocks.items()
              if model.fit.groups[block] == group for effect in effects}  # fmt: skip
    found = [part.variable for entry in model.coefficients if entry.name in slopes
             for part in entry.parts if part.variable]  # fmt: skip
    return [_at_base(context, variable) for variable in dict.fromkeys(found)]


def pair_of(context: Context, entry: Coefficient) -> Mapping[str, Any] | None:
    """Of a product of two, the number whose slope changes and what it changes with."""
    if len(entry.parts) != 2 or not all(part.variable for part in entry.parts):
        return None
    if any(part.contrast for part in entry.parts):
        return None
    ordered = sorted(entry.parts, key=lambda part: part.variable.level if part.variable else 0)
    focal = next((part for part in ordered if part.category is None), None)
    if focal is None or focal.variable is None:
        return _categories(context, entry)
    other = ordered[0] if ordered[1] is focal else ordered[1]
    assert other.variable is not None
    categories = context.categories.get(other.variable.column, ("",))
    return {
        "categories": False,
        "focal": focal.variable.base_label,
        "unit": focal.variable.unit,
        "other": other.variable.base_label,
        "other_unit": other.variable.unit,
        "category": other.category or "",
        "reference": categories[0],
    }


def _categories(context: Context, entry: Coefficient) -> Mapping[str, Any]:
    """Of a product of two categories, what difference changes between what."""
    found: dict[str, Any] = {"categories": True}
    for place, part in zip(("focal", "other"), entry.parts, strict=True):
        assert part.variable is not None
        found[place] = part.variable.base_label
        found[f"{place}_category"] = part.category or ""
        found[f"{place}_reference"] = context.categories[part.variable.column][0]
    return found


def _baseline(context: Context, model: FittedModel) -> list[str]:
    """Where every predictor is zero or at its reference: what the intercept stands for."""
    return _values_said(
        context,
        model,
        lambda variable: _ZERO.get(variable.role, f"at {_zero(context, variable)}"),
        "averaged over its categories",
    )


def has_reference(context: Context, model: FittedModel) -> bool:
    """Whether categories stand at their reference where nothing else is said."""
    return any(variable["type"] == "category" for variable in _model_variables(context, model))


def _typical(context: Context, model: FittedModel) -> list[str]:
    """Where the row of typical values has every predictor."""
    return _values_said(context, model, lambda _: "at its mean")


def _values_said(
    context: Context, model: FittedModel, place: Callable[[Variable], str], averaged: str = ""
) -> list[str]:
    """Each category with its reference, each number with where it is taken.

    `averaged` is where a category without a reference is, if not at its first one.
    """
    said = []
    for argument in _model_variables(context, model):
        variable = context.plan.by_column(argument["column"])
        if variable is None:
            continue
        if averaged and variable.column in context.codings:
            said.append(f"{variable.label} {averaged}")
        elif variable.type == "category":
            first = ", its first category" if variable.column in context.codings else ""
            said.append(f"{variable.label}: {context.categories[variable.column][0]}{first}")
        else:
            said.append(f"{_own_or_mean(context, variable)} {place(variable)}")
    return list(dict.fromkeys(said))


def _own_or_mean(context: Context, variable: Variable) -> str:
    """A variable in a sentence; group means are not mistaken for the units' own values."""
    if variable.role != "mean":
        return variable.base_label
    return f"{context.plan.levels[variable.level - 1].name} mean of {variable.base_label}"


_ZERO = {"within": "at the group's own mean", "centred": "at its centring value"}


def _fixed_table(context: Context, model: FittedModel) -> Table:
    rows = []
    for entry in model.coefficients:
        at = f"{model.id}/fixef/{entry.name}"
        cells = [context.item(f"{at}/{what}") for what in ("estimate", "se", "df", "t", "p")]
        found = (*cells[:2], interval(context, at), *cells[2:])
        rows.append(Row(entry.label, found, anchor=row_anchor(at)))
    percent = f"{100 * context.spec.inference.level:g}"
    unit = f" In {context.unit}." if context.unit not in {"", "units"} else ""
    quantile = f"; intervals {_ci_method(context)}" if context.ddf != "asymptotic" else ""
    return Table(
        "fixed",
        f"Fixed effects of the final model ({model.plan.label})",
        ("Effect", "Estimate", "SE", f"{percent} % {_ci_name(context)}", "df", "t", "p"),
        tuple(rows),
        f"{context.tests[0].upper()}{context.tests[1:]}{quantile}.{unit}",
    )


def _ci_name(context: Context) -> str:
    return f"{context.fixed_ci} CI".strip()


def _ci_method(context: Context) -> str:
    """Where the intervals of coefficients come from, for the note of their table."""
    return {
        "t": f"from the t distribution with {context.ddf} df",
        "profile": "by profile likelihood (ML), tests from the t distribution",
        "bootstrap": f"by parametric bootstrap, {context.spec.inference.bootstrap:,} samples "
        "(percentiles), tests from the t distribution",
    }[context.fixed_ci or "t"]


# --- random effects ---------------------------------------------------------------------------


def _random_table(context: Context, model: FittedModel) -> Table:
    rows: list[Row] = []
    have = f"{model.id}/var/residual/residual/sd/lower" in context.engine.items
    for block, effects in model.fit.blocks.items():
        plural = context.plural(model.fit.groups[block])
        rows.append(Row(f"Between {plural}", (), group=True))
        for i, effect in enumerate(effects):
            at = f"{model.id}/var/{block}/{effect}"
            align(context, f"{at}/sd", f"{at}/sd")
            limits = interval(context, f"{at}/sd") if have else ""
            label = effect_label(effect, model.coefficients)
            cells = (context.item(f"{at}/variance"), context.item(f"{at}/sd"), limits)
            rows.append(Row(f"{label}: SD", cells, anchor=row_anchor(at)))
            for other in effects[:i]:
                with_ = effect_label(other, model.coefficients)
                limits = interval(context, f"{at}/cor/{other}") if have else ""
                cells = (
                    context.item(f"{at}/cov/{other}"),
                    context.item(f"{at}/cor/{other}"),
                    limits,
                )
                head = f"{label} with {with_.lower()}: correlation"
                rows.append(Row(head, cells, anchor=row_anchor(f"{at}/cov/{other}")))
    rows.append(Row(f"Within {context.finest(model)}", (), group=True))
    at = f"{model.id}/var/residual/residual/sd"
    align(context, f"{model.id}/sigma", at)
    limits = interval(context, at) if have else ""
    cells = (context.item(f"{model.id}/sigma2"), context.item(f"{model.id}/sigma"), limits)
    weight = " of a row of weight 1" if context.plan.weights else ""
    rows.append(Row(f"Residual{weight}: SD", cells, anchor=row_anchor(f"{model.id}/sigma2")))
    percent = f"{100 * context.spec.inference.level:g}"
    said = {
        "profile": f"by profile likelihood ({context.spec.estimation.method})",
        "bootstrap": f"by parametric bootstrap, {context.spec.inference.bootstrap:,} samples",
        "none": "not asked for",
    }[context.spec.inference.variance_ci]
    if not have and context.spec.inference.variance_ci != "none":
        said = "left out because of the time they would take"
    return Table(
        "random",
        f"Random effects of the final model ({model.plan.label})",
        (
            "Effect",
            "Variance or covariance",
            "SD or correlation",
            *([f"{percent} % CI"] if have else []),
        ),
        tuple(rows if have else [replace(row, cells=row.cells[:2]) for row in rows]),
        f"Estimates by {context.spec.estimation.method}; intervals of SDs and correlations {said}."
        + _unidentified(context, model)
        + _at_bounds(context, model)
        + _profile_warning(context, model),
    )


def align(context: Context, sd: str, limits: str) -> None:
    """Show the limits of a standard deviation with its own decimals, more if they need them."""
    value = context.value(sd)
    if value is None or not 1e-5 <= value < 100:
        return
    context.sharpen([sd], sd)
    lower, upper = context.value(f"{limits}/lower"), context.value(f"{limits}/upper")
    if lower is not None and upper is not None:
        context.resolve([f"{limits}/lower", f"{limits}/upper"], min(value, 10 * (upper - lower)))


def _unidentified(context: Context, model: FittedModel) -> str:
    """What a reader has to know of estimates that other fits of equal likelihood do not share."""
    if model.id not in context.unidentified:
        return ""
    return (
        " The data do not identify this covariance matrix: fits of the same log-likelihood have "
        "others (@tbl-optimizers), so that no element of it is to be read by itself."
    )


def _at_bounds(context: Context, model: FittedModel) -> str:
    """What a limit means that is the parameter's own bound."""
    if context.spec.inference.variance_ci != "profile":
        return ""
    at = [f"{model.id}/var/{block}/" for block in model.fit.blocks]
    limits = {
        name: context.value(name)
        for name in context.engine.items
        if name.endswith(("/lower", "/upper")) and name.startswith(tuple(at))
    }
    zero = any(value == 0 for name, value in limits.items() if name.endswith("/sd/lower"))
    one = any(value is not None and abs(value) == 1 for value in limits.values())
    if not zero and not one:
        return ""
    bounds = " and ".join(
        [*(["0 for an SD"] if zero else []), *(["−1 or 1 for a correlation"] if one else [])]
    )
    return (
        f" A limit at the bound of the parameter itself, {bounds}, means that the likelihood does "
        "not fall far enough on the way there to end the interval: the data leave that side open."
    )


IRREGULAR = re.compile(
    r"non-monotonic profile|bad profile|bad spline fit|unexpected decrease in profile"
    r"|identical or NA \.zeta|NAs detected in profiling|slightly lower deviances"
    r"|collapsing to unique|convergence code|to converge"
)
"""What ``profile()`` and ``confint()`` of lme4 warn of a profile, and an optimizer on its way."""


def _profile_warning(context: Context, model: FittedModel) -> str:
    """What a reader has to know of intervals whose profiles lme4 warned about."""
    where = f"ci_{model.id}"
    if not any(said["where"] == where and IRREGULAR.search(said["text"])
               for said in context.engine.conditions):  # fmt: skip
        return ""
    return (
        " lme4 warned that some profiles are irregular (the warnings stand in the provenance): "
        "limits of a parameter near its boundary are approximate, and a correlation between −1 and "
        "1 is not bounded by the data."
    )


def _ranges(context: Context, model: FittedModel) -> list[dict[str, Any]]:
    found = []
    for block, effects in model.fit.blocks.items():
        for effect in effects:
            if effect == INTERCEPT:
                continue
            label = effect_label(effect, model.coefficients)
            context.run(
                STEP, "slope_range", id=model.id, block=block, effect=effect, label=label,
                level=context.spec.inference.level, unit=context.unit,
            )  # fmt: skip
            at = f"interpretation/range/{block}/{effect}"
            context.sharpen([f"{at}/lower", f"{at}/upper"], f"{model.id}/fixef/{effect}/se")
            estimate = context.engine.items.get(f"{model.id}/fixef/{effect}/estimate")
            entry = next((e for e in model.coefficients if e.name == effect), None)
            unit = next((p.variable.unit for p in entry.parts if p.variable), "") if entry else ""
            found.append(
                {
                    "label": label,
                    "base": entry.parts[0].variable.base_label
                    if entry and entry.parts and entry.parts[0].variable
                    else label,
                    "group": model.fit.groups[block],
                    "groups": context.plural(model.fit.groups[block]),
                    "estimate": estimate,
                    "unit": unit,
                    "sd": context.item(f"{model.id}/var/{block}/{effect}/sd"),
                    "have": context.value(f"{at}/lower") is not None,
                    **context.all(at, "lower", "upper", "opposite"),
                    "where": where_it_holds(context, model, entry) if entry else [],
                    "conditional": entry is not None
                    and any(entry.name in [p.name for p in o.parts] for o in model.coefficients
                            if o.kind == "interaction"),
                }
            )  # fmt: skip
    return found


def _covariances(context: Context, model: FittedModel) -> list[dict[str, Any]]:
    found = []
    for block, effects in model.fit.blocks.items():
        for effect in effects[1:]:
            if effects[0] != INTERCEPT:
                continue
            name = f"{model.id}/var/{block}/{effect}/cor/{INTERCEPT}"
            if name not in context.engine.items:
                continue
            value = context.value(name)
            low, high = (context.value(f"{name}/{side}") for side in ("lower", "upper"))
            found.append(
                {
                    **_at_mean(context, model, block, effect),
                    "label": effect_label(effect, model.coefficients),
                    "groups": context.plural(model.fit.groups[block]),
                    "correlation": context.item(name),
                    "have": value is not None,
                    "positive": (value or 0) >= 0,
                    "limit": value is not None and abs(value) > 0.999,
                    "bounded": low is not None and high is not None,
                    "determined": low is not None and high is not None and low * high > 0,
                }
            )
    return found


def _at_mean(context: Context, model: FittedModel, block: str, effect: str) -> dict[str, Any]:
    """The correlation were the predictor's zero at its mean, where it is another point."""
    variable = context.plan.by_column(effect.strip("`"))
    if variable is None or variable.type != "number" or variable.role == "within":
        return {"moved": False}
    context.run(
        STEP, "correlation_at_mean", id=model.id, block=block, effect=effect,
        column=variable.column, label=variable.base_label,
    )  # fmt: skip
    at = f"interpretation/correlation/{block}/{effect}"
    return {
        "moved": context.value(f"{at}/there") is not None
        and abs(context.value(f"{at}/mean") or 0.0) > 1e-8,
        "outside": _outside(context, variable),
        **context.all(at, "mean", "there"),
    }


# --- interactions -----------------------------------------------------------------------------


def _interactions(context: Context, model: FittedModel) -> list[dict[str, Any]]:
    """Each product of two variables, the lower-level number as the focal one."""
    found = []
    for term in model.plan.formula.fixed:
        names = [f.name for f in term.factors if isinstance(f, fm.Name)]
        if term.degree != 2 or len(names) != 2:
            continue
        pair = [v for name in names if (v := context.plan.by_column(name))]
        focal = next((v for v in sorted(pair, key=lambda v: v.level) if v.type == "number"), None)
        if len(pair) != 2 or focal is None:
            continue
        moderator = pair[0] if pair[1] is focal else pair[1]
        found.append(_simple_slopes(context, model, focal, moderator))
    return found


def _simple_slopes(
    context: Context, model: FittedModel, focal: Variable, moderator: Variable
) -> dict[str, Any]:
    key = f"{focal.column}:{moderator.column}"
    values = _moderator_values(context, moderator)
    group = context.plan.levels[moderator.level - 1].group if moderator.level > 1 else ""
    context.run(
        STEP, "simple_slopes", id=model.id, interaction=key, x=focal.column, z=moderator.column,
        z_type=moderator.type, z_group=group, values=values,
        level=context.spec.inference.level, ddf=context.ddf, unit=context.unit,
    )  # fmt: skip
    slopes = []
    for value in values:
        at = f"interpretation/slopes/{key}/{value['key']}"
        context.sharpen([f"{at}/{w}" for w in ("estimate", "se", "lower", "upper")], f"{at}/se")
        p = context.value(f"{at}/p")
        slopes.append(
            {
                "label": value["label"],
                "words": _place(value, moderator),
                "at": at,
                **context.all(at, *COEFFICIENT),
                "moderator": context.engine.items.get(f"{at}/moderator"),
                "have": p is not None,
                "clear": p is not None and p < context.spec.inference.alpha,
            }
        )
    return {
        "key": key,
        "key_columns": [focal.column, moderator.column],
        "focal": focal.base_label,
        "focal_label": focal.axis,
        "focal_unit": focal.unit,
        "moderator": moderator.base_label,
        "moderator_axis": moderator.axis,
        "moderator_type": moderator.type,
        "moderator_group": context.plan.levels[moderator.level - 1].plural,
        "slopes": slopes,
        "neyman": _neyman(context, key, moderator),
        "table": _slopes_table(context, key, focal, moderator, slopes),
    }


_POINTS = {
    "low": ("mean − 1 SD", -1.0, "where {} is one SD below its mean"),
    "mean": ("mean", 0.0, "at its mean"),
    "high": ("mean + 1 SD", 1.0, "one SD above it"),
}
"""Where simple slopes of a numeric moderator are taken: label, SDs from the mean, words."""


def _place(value: Mapping[str, Any], moderator: Variable) -> str:
    """Where a simple slope is taken, in words."""
    if moderator.type == "category":
        return f"for {value['label']}"
    return _POINTS[value["key"]][2].format(moderator.base_label)


def _moderator_values(context: Context, moderator: Variable) -> list[dict[str, Any]]:
    if moderator.type == "category":
        categories = context.categories[moderator.column][:MOST_CATEGORIES]
        return [{"key": c, "label": c, "category": c, "at": 0.0} for c in categories]
    return [
        {"key": key, "label": label, "category": "", "at": at}
        for key, (label, at, _) in _POINTS.items()
    ]


def _slopes_table(
    context: Context,
    key: str,
    focal: Variable,
    moderator: Variable,
    slopes: Sequence[dict[str, Any]],
) -> Table:
    rows = tuple(
        Row(
            f"{moderator.base_label}: {entry['label']}",
            (entry["estimate"], entry["se"], interval(context, entry["at"]),
             entry["df"], entry["t"], entry["p"]),
        )
        for entry in slopes
    )  # fmt: skip
    percent = f"{100 * context.spec.inference.level:g}"
    held = _held_at(context, focal.column, moderator.column)
    note = f"{held}; {context.tests}." if held else f"{context.tests}."
    return Table(
        f"slopes-{slug(key)}",
        f"Simple slopes of {focal.base_label} by {moderator.base_label}",
        ("At", "Slope", "SE", f"{percent} % CI", "df", "t", "p"),
        rows,
        note[0].upper() + note[1:],
    )


def _held_at(context: Context, *shown: str) -> str:
    """Where the predictors are that are not shown; empty where there are none."""
    if not _others(context, *shown):
        return ""
    return f"other predictors at their means or {context.at_categories}"


def _others(context: Context, *columns: str) -> bool:
    """Whether the final model's fixed part has columns beside those that are varied."""
    terms = context.final.plan.formula.fixed
    return not {name for term in terms for name in fm.names_in(*term.factors)} <= set(columns)


def _neyman(context: Context, key: str, moderator: Variable) -> Mapping[str, Any] | None:
    at = f"interpretation/neyman/{key}"
    if f"{at}/lower" not in context.engine.items:
        return None
    column = moderator.column
    low = context.value(f"structure/variable/{column}/min")
    high = context.value(f"structure/variable/{column}/max")
    bounds = [context.value(f"{at}/{side}") for side in ("lower", "upper")]
    inside = [
        context.item(f"{at}/{side}")
        for side, bound in zip(("lower", "upper"), bounds, strict=True)
        if bound is not None and low is not None and high is not None and low <= bound <= high
    ]
    curve = context.all(at, "z", "curve_slope", "curve_lower", "curve_upper")
    have = all(isinstance(item, Series) for item in curve.values())
    return {
        "have": have,
        "inside": inside,
        "clear": _clear_ends(curve) if have else (),
        "low": context.item(f"structure/variable/{column}/min"),
        "high": context.item(f"structure/variable/{column}/max"),
        **curve,
    }


def _clear_ends(curve: Mapping[str, Any]) -> tuple[bool, bool]:
    """Whether the slope's interval leaves zero out at the smallest and at the largest value."""
    low, high = curve["curve_lower"].values, curve["curve_upper"].values
    first, last = (low[i] > 0 or high[i] < 0 for i in (0, -1))
    return first, last


def _figures(context: Context, interactions: Sequence[dict[str, Any]]) -> dict[str, Figure]:
    outcome = context.plan.outcome
    unit = f" ({outcome.unit})" if outcome.unit else ""
    figures = {}
    for entry in interactions:
        x = context.item(f"interpretation/slopes/{entry['key']}/x")
        lines = [
            {
                "label": slope["label"],
                "x": x,
                "y": context.item(f"{slope['at']}/line"),
                "lower": context.item(f"{slope['at']}/line_lower"),
                "upper": context.item(f"{slope['at']}/line_upper"),
            }
            for slope in entry["slopes"]
            if isinstance(context.engine.items.get(f"{slope['at']}/line"), Series)
        ]
        if not lines:
            continue
        percent = f"{100 * context.spec.inference.level:g}"
        figures[entry["key"]] = Figure(
            f"slopes-{slug(entry['key'])}",
            "simple_slopes",
            f"Expected {outcome.label} by {entry['focal']} at values of {entry['moderator']}, with "
            f"pointwise {percent} % bands"
            + "; ".join(["", *filter(None, [_held_at(context, *entry["key_columns"])])])
            + ".",
            f"Lines of the expected outcome over {entry['focal']}, one for each value of "
            f"{entry['moderator']}.",
            {
                "lines": lines,
                "xlabel": entry["focal_label"],
                "ylabel": f"Expected {outcome.label}{unit}",
                "moderator": entry["moderator"],
            },
        )
    return figures


def _neyman_figures(context: Context, interactions: Sequence[dict[str, Any]]) -> dict[str, Figure]:
    percent = f"{100 * context.spec.inference.level:g}"
    figures = {}
    for entry in interactions:
        found = entry["neyman"]
        if not found or not found["have"]:
            continue
        figures[f"neyman:{entry['key']}"] = Figure(
            f"neyman-{slug(entry['key'])}",
            "johnson_neyman",
            f"Slope of {entry['focal']} over {entry['moderator']} with its pointwise {percent} % "
            f"interval over the range of the data"
            + ("; dashed: where it begins or ceases to hold zero." if found["inside"] else "."),
            f"Line of the slope of {entry['focal']} over {entry['moderator']} with a band, filled "
            f"by whether it holds zero.",
            {
                "x": found["z"],
                "slope": found["curve_slope"],
                "lower": found["curve_lower"],
                "upper": found["curve_upper"],
                "bounds": found["inside"],
                "data_range": [found["low"], found["high"]],
                "xlabel": entry["moderator_axis"],
                "ylabel": f"Slope of {entry['focal']}",
            },
        )
    return figures


def _group_lines(context: Context, model: FittedModel) -> dict[str, Figure]:
    """The first random slope of a number: a line for every group."""
    group = context.lowest_group
    slopes = [
        variable
        for block, effects in model.fit.blocks.items()
        for effect in effects
        if model.fit.groups[block] == group
        and effect in model.fit.coefficients
        and (variable := context.plan.by_column(effect.strip("`")))
        and variable.type == "number"
    ]
    if not slopes or slopes[0].name == context.spec.time:
        return {}
    variable, higher = slopes[0], higher_columns(context, model)
    context.run(
        STEP,
        "group_lines",
        id=model.id,
        group=group,
        x=variable.column,
        columns=higher,
    )
    at = "interpretation/lines"
    found = context.all(at, "x", "mean", "left", "right")
    if not all(isinstance(item, Series) for item in found.values()):
        return {}
    outcome = context.plan.outcome
    unit = f" ({outcome.unit})" if outcome.unit else ""
    level = context.plan.groups[0]
    return {
        "lines": Figure(
            "lines",
            "group_lines",
            f"Expected {outcome.label} by {variable.base_label} in every {level.name}"
            + (", each with its own higher-level values" if higher else "")
            + "; bold: the average."
            + (
                f" Other predictors are at their means or {context.at_categories}."
                if _others(context, variable.column, *higher)
                else ""
            ),
            f"One thin line per {level.name} with its own intercept and slope, and the average "
            f"line.",
            {
                **found,
                "xlabel": variable.axis,
                "ylabel": f"Expected {outcome.label}{unit}",
                "groups": level.plural,
            },
        )
    }


def higher_columns(context: Context, model: FittedModel) -> list[str]:
    """The columns of the model's higher-level variables."""
    used = fm.variables(model.plan.formula)
    return [v.column for v in context.plan.used if v.level > 1 and v.column in used]


MOST_PANELS = 18
"""So many groups are drawn one by one."""


def _growth(context: Context, model: FittedModel) -> dict[str, Figure]:
    """Repeated measures: observations and the model's lines, group by group."""
    time = context.plan.variables.get(context.spec.time or "")
    if time is None or time.type != "number":
        return {}
    group, outcome, level = context.lowest_group, context.plan.outcome, context.plan.groups[0]
    names = [str(name) for name in context.data.frame[group].cat.categories]
    step = max(1, -(-len(names) // MOST_PANELS))
    chosen = names[::step]
    context.run(
        STEP,
        "growth_panels",
        id=model.id,
        group=group,
        time=time.column,
        outcome=outcome.column,
        units=chosen,
    )
    at = "interpretation/growth"
    unit = f" ({outcome.unit})" if outcome.unit else ""
    shown = f"{len(chosen)} of {len(names)} {level.plural}" if len(chosen) < len(names) else ""
    panels = [{"label": name, **context.all(f"{at}/{name}", "x", "y", "fitted")} for name in chosen]
    return {
        "growth": Figure(
            "growth",
            "growth",
            f"{outcome.label} over {time.base_label}: measurements and the model's line for each "
            f"{level.name}.",
            f"A small panel per {level.name} with its measurements as dots and the fitted line.",
            {
                "panels": panels,
                "xlabel": time.axis,
                "ylabel": f"{outcome.label}{unit}",
                "shown": shown,
            },
        )
    }


# --- factors, and simulated truths ------------------------------------------------------------


def several_terms(model: FittedModel) -> list[tuple[str, str, bool, list[str]]]:
    """Terms of more than one coefficient, factors and products with them and polynomials.

    Each with its key, its label, whether it is a factor alone, and its coefficients.
    """
    found: dict[tuple[str, ...], list[Coefficient]] = {}
    for entry in model.coefficients:
        if entry.parts and all(part.variable for part in entry.parts):
            key = tuple(
                part.variable.column
                if part.variable and (part.category is not None or part.contrast)
                else part.name.rstrip("0123456789") if part.name.startswith("poly(")
                else part.name
                for part in entry.parts
            )  # fmt: skip
            found.setdefault(key, []).append(entry)
    return [
        (
            ":".join(key),
            " × ".join(p.variable.label for p in entries[0].parts if p.variable),
            entries[0].kind in {"category", "contrast"},
            [entry.name for entry in entries],
        )
        for key, entries in found.items()
        if len(entries) > 1
    ]


def _joint_tests(context: Context, model: FittedModel) -> None:
    for key, _, _, names in several_terms(model):
        context.run(STEP, "joint_test", id=model.id, key=key, coefficients=names, ddf=context.ddf)


def _joint_facts(context: Context, model: FittedModel) -> list[dict[str, Any]]:
    found = []
    for key, label, categories, names in several_terms(model):
        p = context.value(f"interpretation/joint/{key}/p")
        found.append(
            {
                "label": label,
                "categories": categories,
                "n": len(names),
                "have": p is not None,
                "clear": p is not None and p < context.spec.inference.alpha,
                **context.all(f"interpretation/joint/{key}", "F", "df1", "df2", "p"),
            }
        )
    return found


def _truth(context: Context, model: FittedModel) -> Mapping[str, Any] | None:
    """For simulated data the true values beside the estimates."""
    simulated = context.spec.simulate
    if simulated is None:
        return None
    group = context.lowest_group
    pairs: list[tuple[str, float, str, str]] = [
        ("Intercept", simulated.intercept, "estimate", f"{model.id}/fixef/{INTERCEPT}")
    ]
    for name, predictor in simulated.predictors.items():
        variable = context.plan.variables.get(name)
        column = fm.r_name(variable.column) if variable else name
        if variable and column in model.fit.coefficients and variable.role in {"plain", "within"}:
            pairs.append(
                (variable.label, predictor.effect, "estimate", f"{model.id}/fixef/{column}")
            )
            slope = f"{model.id}/var/{group}/{column}/sd"
            if slope in context.engine.items:
                pairs.append((f"{variable.label}: SD over groups", predictor.slope_sd, "sd", slope))
    at = f"{model.id}/var/{group}/{INTERCEPT}/sd"
    pairs.append(("SD between groups", simulated.group_sd, "sd", at))
    pairs.append(
        ("Residual SD", simulated.residual_sd, "sd", f"{model.id}/var/residual/residual/sd")
    )
    rows, inside = [], []
    for label, truth, kind, path in pairs:
        value = context.setting(f"truth/{label}", truth, kind, f"True value: {label}", "simulate")
        estimate = _estimate_at(context, model, path, kind)
        rows.append(Row(label, (value, estimate, interval(context, path))))
        low, high = context.value(f"{path}/lower"), context.value(f"{path}/upper")
        if low is not None and high is not None:
            inside.append(low <= truth <= high)
    percent = f"{100 * context.spec.inference.level:g}"
    return {
        "table": Table(
            "truth",
            "True values of the simulation beside their estimates",
            ("Parameter", "True value", "Estimate", f"{percent} % CI"),
            tuple(rows),
            "The random effects are drawn independently, so their true correlation is zero.",
        ),
        "all_inside": all(inside),
    }


def _estimate_at(context: Context, model: FittedModel, path: str, kind: str) -> Any:
    if path.endswith("residual/residual/sd"):
        return context.item(f"{model.id}/sigma")
    return context.item(f"{path}/estimate" if kind == "estimate" else path)
