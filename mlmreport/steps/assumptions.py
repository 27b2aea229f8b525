"""Step 3: what the model assumes, looked at in the residuals of both levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlmreport.quantities import Figure, Row, Series, Table
from mlmreport.spec.variables import Level
from mlmreport.steps import checks
from mlmreport.steps.coefficients import INTERCEPT, Coefficient, Part
from mlmreport.steps.context import Context, FittedModel
from mlmreport.steps.outlying import outlying
from mlmreport.thresholds import RULES

__all__ = ["run"]

STEP = "assumptions"
QQ = ("qq_theoretical", "qq_sample", "qq_lower", "qq_upper")


def run(context: Context) -> Mapping[str, Any]:
    """What the final model assumes, how far it holds, and what it matters."""
    model = context.final
    numbers = _numbers(context, model)
    trends = checks.trends_of(context, model, numbers)
    terms = _terms(model)
    context.run(
        STEP,
        "step_assumptions",
        id=model.id,
        group=context.lowest_group,
        nested=_nested(context),
        numbers=[column for column, _ in numbers],
        single=[column for column, _ in trends.single],
        terms={name: list(entries) for name, (_, entries) in terms.items()},
        level=context.spec.inference.level,
    )
    random = [_random(context, model, block, effect) for block, effect in _effects(model)]
    unit = f" ({context.plan.outcome.unit})" if context.plan.outcome.unit else ""
    linearity = checks.linearity_by_level(context, model, trends, unit)
    facts = {
        "model": model.plan.label,
        "outcome": context.plan.outcome.label,
        "group": context.plan.groups[0].name,
        "groups": context.plan.groups[0].plural,
        "lowest": context.plan.levels[0].plural,
        "level": context.item("settings/level"),
        "alpha": context.item("settings/alpha"),
        "bootstrapped": context.spec.inference.variance_ci == "bootstrap",
        "values": _few_values(context),
        "residual": {
            **context.all(
                "assumptions/residual",
                "skewness", "kurtosis", "outliers", "outliers_expected", "qq_outside",
            ),
            "normal": _looks_normal(context, "assumptions/residual"),
            "inside": (context.value("assumptions/residual/qq_outside") or 0)
            <= RULES["outside_band"].value,
        },
        "random": random,
        "spread": _spread(context, numbers),
        "homogeneity": {
            **context.all("assumptions/homogeneity", "H", "df", "p", "groups"),
            "have": context.value("assumptions/homogeneity/p") is not None,
            "tests": [_equality(context, level) for level in _separable(context)],
        },
        "linearity": linearity,
        "vif": _vif(context, model, terms),
        "figures": _figures(context, model, linearity["panels"], random),
    }  # fmt: skip
    _decide(context, facts)
    return facts | _checks(context, model)


def _spread(context: Context, numbers: list[tuple[str, str]]) -> dict[str, Any]:
    """Whether the residuals' spread changes with the fitted values or with a predictor."""
    entries = []
    for key, label in (("fitted", "fitted values"), *numbers):
        at = f"assumptions/spread/over/{key}"
        rises = _apart(context, f"{at}/ratio") and _below_alpha(context, f"{at}/p")
        bends = _apart(context, f"{at}/bend") and _below_alpha(context, f"{at}/koenker/p")
        entries.append(
            {
                "label": label,
                **context.all(at, "low", "middle", "high", "ratio", "bend", "correlation", "p"),
                "koenker": context.all(f"{at}/koenker", "statistic", "df", "p"),
                "rises": rises,
                "bends": bends,
                "marked": rises or bends,
            }
        )
    marked = [entry for entry in entries if entry["marked"]]
    return {
        "entries": entries,
        "marked": marked,
        "even": not marked,
        "predictors": [label for _, label in numbers],
        "table": _spread_table(entries),
    }


def _apart(context: Context, name: str) -> bool:
    """Whether a ratio of SDs is further from one than the bound, either way."""
    ratio = context.value(name)
    return ratio is not None and max(ratio, 1 / ratio) > RULES["heteroscedastic"].value


def _spread_table(entries: Sequence[Mapping[str, Any]]) -> Table:
    whats = ("low", "middle", "high", "ratio", "correlation", "p")
    return Table(
        "equal-spread",
        "The spread of the level-1 residuals over fitted values and predictors",
        (
            "",
            "SD, lowest fifth",
            "SD, middle fifth",
            "SD, highest fifth",
            "Ratio",
            "Rank correlation",
            "p, rank",
            "χ²",
            "df",
            "p, χ²",
        ),
        tuple(
            Row(
                entry["label"][0].upper() + entry["label"][1:],
                (
                    *(entry[what] for what in whats),
                    *(entry["koenker"][what] for what in ("statistic", "df", "p")),
                ),
            )
            for entry in entries
        ),
        "Standard deviations of the residuals in the rows of the lowest, the middle and the "
        "highest fifth; ratio: of the highest to the lowest. Rank correlation: of the absolute "
        "residuals with it. χ²: test of the squared residuals on its linear and quadratic terms "
        "(Koenker 1981), which sees a spread that falls and rises. Both p take the rows as "
        "independent.",
    )


def _checks(context: Context, model: FittedModel) -> dict[str, Any]:
    influence = checks.influence(context, model)
    skewness = context.value("assumptions/residual/skewness") or 0
    transformation = checks.transformation(context, model, skewness)
    remedies = checks.remedies(context, model, influence, transformation["advised"])
    flips = {it["key"]: it["flips"] for it in remedies["without"]}
    return {
        "outlying": outlying(context, model),
        "distance": checks.distance(context, model),
        "exogeneity": checks.exogeneity(context, model),
        "autocorrelation": checks.autocorrelation(context, model),
        "influence": [{**entry, "flips": flips.get(entry["key"], [])} for entry in influence],
        "remedies": remedies,
        "transformation": transformation,
    }


def _separable(context: Context) -> list[Level]:
    """The groupings whose level-1 variances can be told apart: none where they cross."""
    return [] if context.spec.structure == "crossed" else list(context.plan.groups)


def _nested(context: Context) -> list[str]:
    return [level.group for level in _separable(context)]


def _equality(context: Context, level: Level) -> dict[str, Any]:
    """Bartlett's test of equal level-1 variances over the units of a level."""
    at = f"assumptions/bartlett/{level.group}"
    return {
        "plural": level.plural,
        **context.all(at, "K", "df", "p", "groups", "least"),
        "have": context.value(f"{at}/p") is not None,
        "rejected": _below_alpha(context, f"{at}/p"),
        "few": (context.value(f"{at}/least") or 0) < 10,
    }


def _numbers(context: Context, model: FittedModel) -> list[tuple[str, str]]:
    """Numeric predictors of the model with more than five values, at most six."""
    names = dict.fromkeys(
        part.variable.column
        for entry in model.coefficients
        for part in entry.parts
        if part.variable and part.variable.type == "number"
    )
    frame = context.data.frame
    found = [name for name in names if frame[name].nunique() > 5][:6]
    return [(name, v.label) for name in found if (v := context.plan.by_column(name))]


def _effects(model: FittedModel) -> list[tuple[str, str]]:
    return [(block, effect) for block, effects in model.fit.blocks.items() for effect in effects]


def _random(context: Context, model: FittedModel, block: str, effect: str) -> dict[str, Any]:
    at = f"assumptions/random/{block}/{effect}"
    return {
        "at": at,
        "units": int(context.value(f"{model.id}/ngroups/{model.fit.groups[block]}") or 0),
        "label": context.effect_phrase(model, effect),
        "group": next(
            (g.name for g in context.plan.groups if g.group == model.fit.groups[block]),
            model.fit.groups[block],
        ),
        **context.all(at, "skewness", "kurtosis", "qq_outside"),
        "have": context.value(f"{at}/skewness") is not None,
        "normal": _looks_normal(context, at),
    }


def _looks_normal(context: Context, at: str) -> bool:
    outside = context.value(f"{at}/qq_outside")
    skewness, kurtosis = context.value(f"{at}/skewness"), context.value(f"{at}/kurtosis")
    if outside is None or skewness is None or kurtosis is None:
        return True
    marked = abs(skewness) > RULES["skewness"].value or abs(kurtosis) > RULES["kurtosis"].value
    return outside <= RULES["outside_band"].value and not marked


def _below_alpha(context: Context, name: str) -> bool:
    p = context.value(name)
    return p is not None and p < context.spec.inference.alpha


Terms = Mapping[str, tuple[str, Sequence[str]]]


def _terms(model: FittedModel) -> Terms:
    """The terms of the fixed part: by name the label and the names of the coefficients."""
    found: dict[tuple[str, ...], list[Coefficient]] = {}
    for entry in model.coefficients:
        if entry.name != INTERCEPT:
            found.setdefault(tuple(map(_stem, entry.parts)) or (entry.name,), []).append(entry)
    return {
        entries[0].name if len(entries) == 1 else ":".join(stem): (
            entries[0].label
            if len(entries) == 1
            else " × ".join(map(_stem_label, entries[0].parts)),
            [entry.name for entry in entries],
        )
        for stem, entries in found.items()
    }


def _stem(part: Part) -> str:
    """What the coefficients of one term have in common."""
    if (part.category is not None or part.contrast) and part.variable:
        return part.variable.column
    return part.name.rstrip("0123456789") if part.name.startswith("poly(") else part.name


def _stem_label(part: Part) -> str:
    if (part.category is not None or part.contrast) and part.variable:
        return part.variable.label
    return part.label.partition(", degree ")[0]


def _depends_on_origin(model: FittedModel, names: Sequence[str]) -> bool:
    """Whether a term is a product or a power of numbers as measured, or a part of such a term.

    Where such a variable has its zero decides how far the product goes with its factors.
    """
    measured = [
        {part.variable.column for part in entry.parts if part.variable and _as_measured(part)}
        for entry in model.coefficients
        if len(entry.parts) > 1 or entry.kind == "function"
        if not any(part.name.startswith("poly(") for part in entry.parts)
    ]
    own = {
        part.variable.column
        for entry in model.coefficients
        if entry.name in names
        for part in entry.parts
        if part.variable
    }
    return any(own & columns for columns in measured)


def _as_measured(part: Part) -> bool:
    variable = part.variable
    return variable is not None and variable.type == "number" and variable.role == "plain"


def _vif(context: Context, model: FittedModel, terms: Terms) -> Mapping[str, Any]:
    roots = {name: context.value(f"assumptions/vif/{name}/root") for name in terms}
    values = {name: root for name, root in roots.items() if root is not None}
    if not values:
        return {"have": False}
    worst = max(values, key=lambda name: values[name])
    several = any(len(names) > 1 for _, names in terms.values())
    columns = ("", "/df", "/root") if several else ("", "/root")
    heads = ("GVIF", "df", "SE inflated by") if several else ("VIF", "SE inflated by")
    powers = "the square root" if not several else "the root of order twice the df"
    return {
        "have": True,
        "several": several,
        "largest": context.item(f"assumptions/vif/{worst}"),
        "root": context.item(f"assumptions/vif/{worst}/root"),
        "label": terms[worst][0],
        "high": values[worst] ** 2 > RULES["vif"].value,
        "origin": _depends_on_origin(model, terms[worst][1]),
        "table": Table(
            "vif",
            "Collinearity of the fixed effects",
            ("Term", *heads),
            tuple(
                Row(
                    terms[name][0],
                    tuple(context.item(f"assumptions/vif/{name}{what}") for what in columns),
                )
                for name in values
            ),
            f"{'Generalised variance' if several else 'Variance'} inflation factors from the "
            f"correlation matrix of the estimated coefficients; {powers} is the factor by which "
            "the standard error is inflated.",
        ),
    }


def _few_values(context: Context) -> Mapping[str, Any]:
    """Whether the outcome has so few values that a linear model is not meant for it."""
    values = context.value("assumptions/outcome/values") or 0
    return {
        "number": context.item("assumptions/outcome/values"),
        "few": 0 < values < RULES["few_values"].value,
        "two": values == 2,
    }


def _decide(context: Context, facts: Mapping[str, Any]) -> None:
    residual = facts["residual"]
    if facts["values"]["few"]:
        rule = RULES["few_values"]
        evidence = ("distinct values of the outcome: ", facts["values"]["number"])
        said = "a generalised model is advised in place of this linear one"
        context.decide(STEP, rule.text, evidence, said, rule.citation)
    context.decide(
        STEP,
        f"{RULES['outside_band'].text}; {RULES['skewness'].text}; {RULES['kurtosis'].text}",
        (
            "level-1 residuals: ",
            residual["qq_outside"],
            " outside the band, skewness ",
            residual["skewness"],
            ", excess kurtosis ",
            residual["kurtosis"],
        ),
        "no transformation advised"
        if residual["normal"] or facts["values"]["few"]
        else "the residuals depart from normality: intervals of variances are to be read with care",
        RULES["outside_band"].citation,
    )
    widest = facts["spread"]["marked"] or facts["spread"]["entries"][:1]
    evidence_of_spread: list[Any] = ["ratio of the outer fifths' SDs: "]
    for k, entry in enumerate(widest):
        evidence_of_spread += ["; " if k else "", f"{entry['label']} ", entry["ratio"]]
        evidence_of_spread += [", p of the rank correlation ", entry["p"]]
        evidence_of_spread += [
            "; SD of the middle fifth over that of the outer two: ",
            entry["bend"],
        ]
        evidence_of_spread += [", p of Koenker's test ", entry["koenker"]["p"]]
    context.decide(
        STEP,
        RULES["heteroscedastic"].text,
        tuple(evidence_of_spread),
        "the spread is taken as the same everywhere"
        if facts["spread"]["even"]
        else "the spread is not the same everywhere: cluster-robust standard errors (CR2) are a "
        "safeguard for the fixed effects",
    )
    for test in facts["homogeneity"]["tests"]:
        if not test["have"]:
            continue
        context.decide(
            STEP,
            "unequal level-1 variances are reported beside the model; with many rows the test "
            "rejects for differences that do not matter",
            (f"Bartlett's test over {test['plural']}, p ", test["p"]),
            f"variances differ between {test['plural']}: cluster-robust standard errors are a "
            "safeguard"
            if test["rejected"]
            else "equal level-1 variances are kept",
            "Bartlett1937",
        )


# --- figures ----------------------------------------------------------------------------------


def _figures(
    context: Context,
    model: FittedModel,
    panels_by_level: list[dict[str, Any]],
    random: list[dict[str, Any]],
) -> dict[str, Figure]:
    outcome = context.plan.outcome
    unit = f" ({outcome.unit})" if outcome.unit else ""
    n = int(context.value(f"{model.id}/nobs") or 0)
    panels = [_panel(context, "assumptions/residual", "Level-1 residuals", n)]
    panels += [
        _panel(
            context,
            entry["at"],
            _title(entry, several=len(context.plan.groups) > 1),
            entry["units"],
        )
        for entry in random
        if entry["have"]
    ]
    percent = f"{100 * context.spec.inference.level:g}"
    figures = {
        "qq": Figure(
            "qq",
            "qq_panels",
            f"Normal quantile-quantile plots of the residuals of each level, with {percent} % "
            "simultaneous bands.",
            "Quantile-quantile plots; points on the line and inside the band agree with normality.",
            {"panels": panels},
        )
    }
    spread, smooth = (context.item(f"assumptions/spread/{x}") for x in ("residual", "smooth_x"))
    if isinstance(spread, Series) and isinstance(smooth, Series):
        figures["fitted"] = Figure(
            "fitted",
            "residuals_fitted",
            "Level-1 residuals against fitted values, with a lowess smooth.",
            "Scatter of residuals against fitted values; the smooth should lie along zero.",
            {
                "fitted": context.item("assumptions/spread/fitted"),
                "residual": spread,
                "smooth_x": smooth,
                "smooth_y": context.item("assumptions/spread/smooth_y"),
                "xlabel": f"Fitted value{unit}",
                "ylabel": f"Residual{unit}",
                "shown": f"{len(spread.values):,} of {n:,} points"
                if len(spread.values) < n
                else "",
            },
        )
    if panels_by_level:
        figures["linearity"] = _linearity(panels_by_level)
    if isinstance(context.item("assumptions/groups/sd"), Series):
        figures["spread"] = Figure(
            "spread",
            "group_spread",
            f"Residual standard deviation within each {context.plan.groups[0].name}; the line "
            f"is the "
            "model's common value.",
            "Residual standard deviations of the groups in order, beside the pooled value.",
            {
                "labels": context.item("assumptions/groups/names"),
                "sd": context.item("assumptions/groups/sd"),
                "n": context.item("assumptions/groups/n"),
                "pooled": context.item(f"{model.id}/sigma"),
                "xlabel": f"Residual standard deviation{unit}",
                "groups": context.plan.groups[0].plural,
            },
        )
    return figures


def _title(entry: Mapping[str, Any], *, several: bool) -> str:
    label = entry["label"][0].upper() + entry["label"][1:]
    return f"{label}, by {entry['group']}" if several else label


def _panel(context: Context, at: str, title: str, n: int) -> dict[str, Any]:
    series = {name.removeprefix("qq_"): context.item(f"{at}/{name}") for name in QQ}
    plotted = len(series["sample"].values)
    return {
        **series,
        "xlabel": "Normal quantile",
        "ylabel": "Standardised",
        "title": title,
        "shown": f"{plotted:,} quantiles of {n:,}" if plotted < n else f"n = {plotted:,}",
    }


def _linearity(panels: list[dict[str, Any]]) -> Figure:
    return Figure(
        "linearity",
        "linearity_panels",
        "Residuals against each numeric predictor at the levels at which it varies, with lowess "
        "smooths.",
        "Residuals against predictors; a bend in the smooth would show a relation that is not "
        "linear.",
        {"panels": panels},
    )
