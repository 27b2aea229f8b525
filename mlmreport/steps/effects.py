"""What the final model's effects mean beyond their coefficients; part of step 7.

Contextual effects, standardised effects, slopes of curves, factors of a geometric mean, marginal
means of factors, and how reliable random slopes are.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, product
from typing import Any
from zlib import crc32

from mlmreport.quantities import Cell, Missing, Row, Table
from mlmreport.spec import formula as fm
from mlmreport.spec.variables import Variable
from mlmreport.steps.coefficients import INTERCEPT, Coefficient, effect_label
from mlmreport.steps.context import Context, FittedModel
from mlmreport.steps.models import COEFFICIENT
from mlmreport.thresholds import RULES

__all__ = ["details", "find_means", "interval", "listed", "slug"]

STEP = "interpretation"
MOST_PAIRED = 6
"""Factors of at most so many categories are compared pair by pair."""
MOST_MEANS = 24
"""Factors of at most so many categories get marginal means."""
BASES: Mapping[str, float] = {"log": math.e, "log2": 2.0, "log10": 10.0, "log1p": math.e}
"""The base of each logarithm that an outcome can be on."""


def details(context: Context, model: FittedModel) -> dict[str, Any]:
    """Everything of this module, for the step's tree."""
    standardised = _standardised(context, model)
    means = [*_means(context, model), *_simple_effects(context, model)]
    return {
        "contextual": _contextual(context, model),
        "averages": _averages(context, model),
        "standardised": standardised,
        "curves": _curves(context, model),
        "factors": _factors(context, model),
        "transform": context.spec.outcome.transform,
        "means": means,
        "means_installed": all(entry["installed"] for entry in means),
        "reliabilities": _reliabilities(context, model),
        "least": _least(context, model),
    }


def interval(context: Context, at: str, lower: str = "lower", upper: str = "upper") -> Cell:
    """An interval as a cell; where a limit is missing, the reason."""
    low, high = context.item(f"{at}/{lower}"), context.item(f"{at}/{upper}")
    if isinstance(low, Missing) or isinstance(high, Missing):
        return low if isinstance(low, Missing) else high
    return ("[", low, ", ", high, "]")


def slug(text: str) -> str:
    """A text as part of an id, another one for every text.

    What stands in it is what a reference in Markdown can hold; a text that has other characters is
    told from others by a number that is made of all of it.
    """
    parts = re.findall(r"[A-Za-z0-9]+", text)
    known = re.fullmatch(r"[A-Za-z0-9]+(?:[:_][A-Za-z0-9]+)*", text)
    return "-".join(parts if known else [*parts, f"x{crc32(text.encode()):08x}"])


def listed(words: Sequence[str]) -> str:
    """Joined for a sentence: commas, and `and` before the last."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _percent(context: Context) -> str:
    return f"{100 * context.spec.inference.level:g}"


def _tested(context: Context, at: str) -> dict[str, Any]:
    """A recorded combination of coefficients, and what words fit it."""
    context.sharpen([f"{at}/{what}" for what in ("estimate", "se", "lower", "upper")], f"{at}/se")
    p = context.value(f"{at}/p")
    return {
        **context.all(at, *COEFFICIENT),
        "have": p is not None,
        "positive": (context.value(f"{at}/estimate") or 0.0) >= 0,
        "clear": p is not None and p < context.spec.inference.alpha,
    }


def _numbers(model: FittedModel) -> Iterator[tuple[Coefficient, Variable]]:
    for entry in model.coefficients:
        if entry.kind == "number" and entry.parts[0].variable:
            yield entry, entry.parts[0].variable


def _interacting(model: FittedModel) -> set[str]:
    return {
        part.name
        for entry in model.coefficients
        if entry.kind == "interaction"
        for part in entry.parts
    }


# --- contextual effects -----------------------------------------------------------------------


def find_means(context: Context, model: FittedModel) -> None:
    """Note the group means among the predictors: made here, declared, or found in the data."""
    for _, variable in _numbers(model):
        declared = context.spec.predictors[variable.key].mean_of
        if variable.role == "mean":
            context.means[variable.column] = variable.key
        elif variable.level > 1 and variable.role in {"plain", "centred"}:
            wanted = [v for v in _lowest(model) if declared in {None, v.key}]
            found = next((v for v in wanted if _matches(context, variable, v, declared)), None)
            if found:
                context.means[variable.column] = found.key


def _lowest(model: FittedModel) -> list[Variable]:
    return [v for _, v in _numbers(model) if v.level == 1]


def _matches(context: Context, mean: Variable, lower: Variable, declared: str | None) -> bool:
    """Whether a column holds the group means of a predictor; a decision where it does."""
    plain = all(context.spec.predictors[v.key].transform == "none" for v in (mean, lower))
    if lower.source not in context.data.frame or not (plain or declared):
        return False
    same = context.run(
        STEP, "group_mean_match", column=mean.column, source=lower.source,
        group=context.plan.levels[mean.level - 1].group, declared=bool(declared),
        label=mean.label,
    )["same"][0]  # fmt: skip
    if not (same or declared):
        return False
    at = f"interpretation/mean_of/{mean.column}"
    rule = "a predictor's `mean_of` names it" if declared else RULES["group_mean"].text
    context.decide(
        STEP,
        rule,
        ("off the means of the rows by ", context.item(f"{at}/shift"), " throughout and by ",
         context.item(f"{at}/mismatch"), " beside that at most"),
        f"{mean.label} is taken as the {context.plan.levels[mean.level - 1].name} mean of "
        f"{lower.base_label}",
    )  # fmt: skip
    return True


def _contextual(context: Context, model: FittedModel) -> list[dict[str, Any]]:
    """Variables that are in the model by their own values and by their group means."""
    own = {v.key: (e, v) for e, v in _numbers(model) if v.column not in context.means}
    return [
        _contextual_effect(context, model, *own[key], mean)
        for mean, variable in _numbers(model)
        if (key := context.means.get(variable.column)) in own
    ]


def _contextual_effect(
    context: Context, model: FittedModel, lower: Coefficient, variable: Variable, mean: Coefficient
) -> dict[str, Any]:
    centred = variable.role == "within"
    context.run(
        STEP, "contextual_effect", id=model.id, key=variable.key, lower=lower.name,
        mean=mean.name, centred=centred, level=context.spec.inference.level, ddf=context.ddf,
        unit=context.unit, label=variable.base_label,
    )  # fmt: skip
    made = _tested(context, f"interpretation/contextual/{variable.key}")
    p = context.value(f"{model.id}/fixef/{mean.name}/p")
    known = {
        **context.all(f"{model.id}/fixef/{mean.name}", *COEFFICIENT),
        "have": p is not None,
        "positive": (context.value(f"{model.id}/fixef/{mean.name}/estimate") or 0.0) >= 0,
        "clear": p is not None and p < context.spec.inference.alpha,
    }
    within = context.all(f"{model.id}/fixef/{lower.name}", *COEFFICIENT)
    between, contextual = (known, made) if centred else (made, known)
    interacting = _interacting(model)
    return {
        "key": variable.key,
        "terms": [lower.name, mean.name],
        "label": variable.base_label,
        "unit": variable.unit,
        "members": context.plan.levels[lower.level - 1].plural,
        "group": context.plan.levels[mean.level - 1].name,
        "groups": context.plan.levels[mean.level - 1].plural,
        "centred": centred,
        "within": within,
        "between": between,
        "contextual": contextual,
        "conditional": lower.name in interacting or mean.name in interacting,
        "table": _contextual_table(context, variable, within, between, contextual),
    }


def _contextual_table(context: Context, variable: Variable, *effects: Mapping[str, Any]) -> Table:
    names = ("Within groups", "Between groups", "Contextual (between − within)")
    rows = tuple(
        Row(name, (e["estimate"], e["se"], ("[", e["lower"], ", ", e["upper"], "]"),
                   e["df"], e["t"], e["p"]))
        for name, e in zip(names, effects, strict=True)
    )  # fmt: skip
    return Table(
        f"contextual-{slug(variable.key)}",
        f"Within, between and contextual effect of {variable.base_label}",
        ("Effect", "Estimate", "SE", f"{_percent(context)} % CI", "df", "t", "p"),
        rows,
        f"{context.tests}." + ("" if not context.fixed_ci else
                                " Computed effects have t intervals, coefficients "
                                f"{context.fixed_ci} intervals."),
    )  # fmt: skip


# --- average effects --------------------------------------------------------------------------


def _averages(context: Context, model: FittedModel) -> Mapping[str, Any] | None:
    """Average effects of the variables whose effect depends on others or on themselves."""
    found = dict.fromkeys(
        part.variable
        for entry in model.coefficients
        for part in entry.parts
        if part.variable and (len(entry.parts) > 1 or entry.kind == "function")
    )
    rows: list[Row] = []
    for variable in found:
        if variable is not None:
            rows += _average(context, model, variable)
    if not rows:
        return None
    return {
        "table": Table(
            "average",
            f"Average effects of the predictors in interactions or curves ({model.plan.label})",
            ("Predictor", "Average effect", "SE", f"{_percent(context)} % CI", "df", "t", "p"),
            tuple(rows),
            "For a number the slope at each row of the data, for a category the difference to the "
            "one named behind it with all else as it is, averaged over the rows; a linear "
            f"combination of coefficients. {context.ddf} df, t intervals.",
        )
    }


def _average(context: Context, model: FittedModel, variable: Variable) -> Iterator[Row]:
    categories = context.categories.get(variable.column, ())[1:]
    context.run(
        STEP, "average_effects", id=model.id, column=variable.column, categories=list(categories),
        level=context.spec.inference.level, ddf=context.ddf, unit=context.unit,
        label=variable.label,
    )  # fmt: skip
    reference = context.categories.get(variable.column, ("",))[0]
    for i, category in enumerate(categories or ("",), start=1):
        at = f"interpretation/average/{variable.column}/{i if categories else 'slope'}"
        head = f"{variable.label}: {category} − {reference}" if categories else variable.label
        yield _line(context, at, head, test=True)


# --- standardised effects ---------------------------------------------------------------------


def _standardised(context: Context, model: FittedModel) -> Mapping[str, Any] | None:
    rows = []
    interacting = _interacting(model)
    for entry, variable in _numbers(model):
        _standardise(context, model, entry, variable)
        at = f"interpretation/standardised/{entry.name}"
        level = context.plan.levels[variable.level - 1]
        upper = context.plan.groups[0]
        kind = f"within {upper.plural}" if variable.level == 1 else f"between {level.plural}"
        mark = "ᵃ" if entry.name in interacting else ""
        rows.append(
            Row(
                entry.label + mark,
                (kind, *context.all(at, "sd_own", "own", "sd_total", "total").values()),
            )
        )
    if not rows:
        return None
    conditional = any(entry.name in interacting for entry, _ in _numbers(model))
    note = (
        "By level: the SD of the predictor at its own level over that of the outcome at that level "
        "in the null model (residual SD within, random-intercept SD between). Total: both SDs "
        "over all rows. Categories are not standardised."
    )
    if conditional:
        note += " ᵃ Where the variables it interacts with are zero or at their reference."
    return {
        "table": Table(
            "standardised",
            f"Standardised effects of the numeric predictors ({model.plan.label})",
            ("Effect", "Level", "SD at its level", "Standardised by level", "SD over rows",
             "Totally standardised"),
            tuple(rows),
            note,
        )
    }  # fmt: skip


def _standardise(
    context: Context, model: FittedModel, entry: Coefficient, variable: Variable
) -> None:
    null = context.null
    level = context.plan.levels[variable.level - 1]
    group = level.group if variable.level > 1 else context.lowest_group
    blocks = null.fit.groups if null else {}
    block = next((name for name, grouping in blocks.items() if grouping == group), "")
    context.run(
        STEP, "standardised", id=model.id, term=entry.name, column=variable.column,
        level_index=variable.level, group=group, outcome=context.plan.outcome.column,
        null=null.id if null else "", block=block, label=entry.label,
    )  # fmt: skip


# --- curves and transformed outcomes ----------------------------------------------------------


def _curves(context: Context, model: FittedModel) -> list[dict[str, Any]]:
    """Numeric variables that enter by a function, a power or a polynomial."""
    curved = dict.fromkeys(
        part.variable
        for entry in model.coefficients
        for part in entry.parts
        if part.variable and part.variable.type == "number"
        and part.name != fm.r_name(part.variable.column)
    )  # fmt: skip
    return [_curve(context, model, variable) for variable in curved if variable]


_PLACES = (("low", "at its smallest value"), ("mean", "at its mean"), ("high", "at its largest"))


def _curve(context: Context, model: FittedModel, variable: Variable) -> dict[str, Any]:
    context.run(
        STEP, "curve_slopes", id=model.id, column=variable.column,
        level=context.spec.inference.level, ddf=context.ddf, unit=context.unit,
        label=f"slope of {variable.base_label}",
    )  # fmt: skip
    places = []
    for place, words in _PLACES:
        at = f"interpretation/curve/{variable.column}/{place}"
        places.append({"words": words, "x": context.item(f"{at}/x"), **_tested(context, at)})
    have = [entry for entry in places if entry["have"]]
    return {
        "label": variable.base_label,
        "unit": variable.unit,
        "places": places,
        "have": len(have) == len(places),
        "turns": len({entry["positive"] for entry in have}) > 1,
    }


def _factors(context: Context, model: FittedModel) -> list[dict[str, Any]]:
    """On a log outcome: by what the geometric mean is multiplied, an effect."""
    base = BASES.get(context.spec.outcome.transform)
    if base is None:
        return []
    found = []
    for entry in model.coefficients:
        if entry.name == INTERCEPT or entry.kind == "function":
            continue
        context.run(
            STEP, "back_transformed", id=model.id, term=entry.name, base=base,
            level=context.spec.inference.level, label=entry.label,
        )  # fmt: skip
        at = f"interpretation/factor/{entry.name}"
        found.append({
            "name": entry.name,
            "label": entry.label,
            "have": context.value(f"{at}/estimate") is not None,
            **context.all(at, "estimate", "lower", "upper"),
        })  # fmt: skip
    return found


# --- marginal means ---------------------------------------------------------------------------


def _factor_variables(context: Context, model: FittedModel) -> list[Variable]:
    columns = [f.name for term in model.plan.formula.fixed for f in term.factors
               if isinstance(f, fm.Name)]  # fmt: skip
    found = dict.fromkeys(context.plan.by_column(column) for column in columns)
    return [variable for variable in found if variable and variable.type == "category"]


def _means(context: Context, model: FittedModel) -> Iterator[dict[str, Any]]:
    for variable in _factor_variables(context, model):
        if len(context.categories[variable.column]) <= MOST_MEANS:
            yield _marginal(context, model, variable, None)


def _simple_effects(context: Context, model: FittedModel) -> Iterator[dict[str, Any]]:
    """Products of two factors: the first one's differences in each category of the other."""
    variables = {v.column: v for v in _factor_variables(context, model)}
    for term in model.plan.formula.fixed:
        names = [f.name for f in term.factors if isinstance(f, fm.Name)]
        if len(names) != 2 or term.degree != 2 or not set(names) <= set(variables):
            continue
        focal, by = sorted((variables[name] for name in names), key=lambda v: v.level)
        if max(len(context.categories[v.column]) for v in (focal, by)) <= MOST_PAIRED:
            yield _marginal(context, model, focal, by)


def _marginal(
    context: Context, model: FittedModel, variable: Variable, by: Variable | None
) -> dict[str, Any]:
    key = variable.column + (f":{by.column}" if by else "")
    paired = len(context.categories[variable.column]) <= MOST_PAIRED
    facts = context.run(
        STEP, "marginal_means", id=model.id, key=key, factor=variable.column,
        by=by.column if by else "", pairs=paired, level=context.spec.inference.level,
        ddf=context.ddf,
    )  # fmt: skip
    installed = bool(facts["installed"][0])
    partners = _partners(model, variable)
    rows = int(facts["rows"][0])
    pairs = int(facts["pairs"][0])
    return {
        "label": variable.label,
        "by": by.label if by else "",
        "installed": installed,
        "have": rows > 0,
        "paired": pairs > 0,
        "adjusted": len(context.categories[variable.column]) > 2,
        "table": _means_table(context, model, key, variable, by, facts, pairs) if rows else None,
        "interacts": bool(partners),
        "numbers": [v.label for v in partners if v.type == "number"],
        "others": [v.label for v in partners if v.type == "category"],
    }


def _partners(model: FittedModel, variable: Variable) -> list[Variable]:
    """The variables that it stands in an interaction with."""
    found: dict[Variable, None] = {}
    for entry in model.coefficients:
        together = [part.variable for part in entry.parts if part.variable]
        if len(together) > 1 and variable in together:
            found |= dict.fromkeys(other for other in together if other != variable)
    return list(found)


def _line(context: Context, at: str, head: str, *, test: bool) -> Row:
    context.sharpen([f"{at}/{what}" for what in ("estimate", "se", "lower", "upper")], f"{at}/se")
    tested = tuple(context.all(at, "t", "p").values()) if test else ("", "")
    return Row(
        head,
        (context.item(f"{at}/estimate"), context.item(f"{at}/se"), interval(context, at),
         context.item(f"{at}/df"), *tested),
    )  # fmt: skip


def _empty_cells(context: Context, model: FittedModel) -> list[tuple[str, str]]:
    """Pairs of categories, of different factors of the model, that no row has together."""
    frame, found = context.data.frame, list[tuple[str, str]]()
    for one, other in combinations(_factor_variables(context, model), 2):
        together = set(zip(frame[one.column].astype(str), frame[other.column].astype(str),
                           strict=True))  # fmt: skip
        pairs = product(context.categories[one.column], context.categories[other.column])
        found += [(f"{one.label}: {a}", f"{other.label}: {b}") for a, b in pairs
                  if (a, b) not in together]  # fmt: skip
    return found


def _said_empty(cells: Sequence[tuple[str, str]]) -> str:
    """What the note of a table of marginal means says of combinations without rows."""
    if not cells:
        return ""
    first, second = cells[0]
    more = f", one of {len(cells)} combinations without any" if len(cells) > 1 else ""
    return (
        f" No row has {first} together with {second}{more}: means that average over such a "
        "combination speak of units that these data do not have. Differences do not depend on it "
        "as long as the two do not interact."
    )


def _means_table(
    context: Context,
    model: FittedModel,
    key: str,
    variable: Variable,
    by: Variable | None,
    facts: Mapping[str, Any],
    pairs: int,
) -> Table:
    at = f"interpretation/emmeans/{key}"
    rows: list[Row] = []
    for group in dict.fromkeys(facts["by"]) if by else ("",):
        if by:
            rows.append(Row(f"{by.label}: {group}", (), group=True))
        rows += [
            _line(context, f"{at}/{i}", name, test=False)
            for i, name in enumerate(facts["factor"], start=1)
            if not by or facts["by"][i - 1] == group
        ]
        if not pairs:
            continue
        if not by:
            rows.append(Row("Differences", (), group=True))
        rows += [
            _line(context, f"{at}/pair/{i}", name, test=True)
            for i, name in enumerate(facts["contrast"], start=1)
            if not by or facts["pair_by"][i - 1] == group
        ]
    many = pairs and len(context.categories[variable.column]) > 2
    said = " Intervals and p of differences are adjusted by Tukey's method." if many else ""
    more = f" in each category of {by.label}" if by else ""
    return Table(
        f"means-{slug(key)}",
        f"Marginal means of {variable.label}{more} and their differences" if pairs
        else f"Marginal means of {variable.label}{more}",
        (_capital(variable.label), "Mean or difference", "SE", f"{_percent(context)} % CI", "df",
         "t", "p"),
        tuple(rows),
        f"{_held(context, model, variable, by)}{context.tests}.{said}"
        f"{_said_empty(_empty_cells(context, model))}",
    )  # fmt: skip


def _held(context: Context, model: FittedModel, *own: Variable | None) -> str:
    """How the other predictors of the model are held, at the beginning of a note."""
    columns = {n for term in model.plan.formula.fixed for n in fm.names_in(*term.factors)}
    types = {v.type for v in context.plan.used if v.column in columns and v not in own}
    parts = [
        said
        for kind, said in (
            ("number", "numeric predictors at their means over all rows"),
            ("category", "the categories of other factors weighted equally"),
        )
        if kind in types
    ]
    return f"{_capital(', '.join(parts))}; " if parts else ""


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


# --- random slopes ----------------------------------------------------------------------------


def _slopes(model: FittedModel) -> Iterator[tuple[str, str, str]]:
    for block, effects in model.fit.blocks.items():
        for effect in effects:
            if effect != INTERCEPT:
                yield block, effect, effect_label(effect, model.coefficients)


def _reliabilities(context: Context, model: FittedModel) -> list[dict[str, Any]]:
    found = []
    for block, effect, label in _slopes(model):
        context.run(
            STEP, "slope_reliabilities", id=model.id, block=block, effect=effect, label=label
        )
        at = f"interpretation/reliability/{block}/{effect}"
        group = model.fit.groups[block]
        found.append({
            "label": _phrase(model, effect, label),
            "groups": _plural(context, group),
            "group": _singular(context, group),
            "all": context.item(f"{model.id}/ngroups/{group}"),
            "every": context.value(f"{at}/groups") == context.value(f"{model.id}/ngroups/{group}"),
            "have": context.value(f"{at}/mean") is not None,
            "mean": context.item(f"{at}/mean"),
            "n": context.item(f"{at}/groups"),
        })  # fmt: skip
    return found


def _phrase(model: FittedModel, effect: str, label: str) -> str:
    entry = next((e for e in model.coefficients if e.name == effect), None)
    if entry and len(entry.parts) == 1 and entry.parts[0].variable and entry.kind == "number":
        return entry.parts[0].variable.base_label
    return label


def _plural(context: Context, group: str) -> str:
    return next((g.plural for g in context.plan.groups if g.group == group), "groups")


def _singular(context: Context, group: str) -> str:
    return next((g.name for g in context.plan.groups if g.group == group), "group")


def _least(context: Context, model: FittedModel) -> list[dict[str, Any]]:
    """Where groups differ least along each numeric random slope that goes with an intercept."""
    found = []
    for block, effect, label in _slopes(model):
        variable = context.plan.by_column(effect.strip("`"))
        if INTERCEPT not in model.fit.blocks[block] or not variable or variable.type != "number":
            continue
        context.run(
            STEP, "least_variance", id=model.id, block=block, effect=effect,
            column=variable.column, unit=context.unit, label=label,
        )  # fmt: skip
        at = f"interpretation/least/{block}/{effect}"
        x, low, high = (context.value(f"{at}/{what}") for what in ("x", "min", "max"))
        found.append({
            "label": variable.label,
            "groups": _plural(context, model.fit.groups[block]),
            "have": x is not None,
            "side": _side(x, low, high),
            "several": len(model.fit.blocks[block]) > 2,
            **context.all(at, "x", "sd", "min", "max"),
        })  # fmt: skip
    return found


def _side(x: float | None, low: float | None, high: float | None) -> str:
    if x is None or low is None or high is None:
        return ""
    return "below" if x < low else "above" if x > high else "inside"
