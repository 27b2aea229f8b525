"""Part of step 5: how far the final model rests on its optimizer and its random part."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mlmreport.quantities import Cell, Figure, Row, Series, Table
from mlmreport.spec import formula as fm
from mlmreport.spec.variables import Level
from mlmreport.steps import optimizers
from mlmreport.steps.coefficients import INTERCEPT
from mlmreport.steps.context import Context, FittedModel
from mlmreport.steps.cost import EXACT_GROUPS, fit_seconds, too_long
from mlmreport.thresholds import RULES

__all__ = ["examine", "send_ahead"]

STEP = "models"
SAMPLES = 500
"""Bootstrap samples of a likelihood ratio at most; a p that is not small takes fewer."""

STRUCTURES = {
    "intercepts": "intercepts only",
    "independent": "independent slopes",
    "correlated": "correlated slopes",
}


def examine(context: Context) -> dict[str, Any]:
    """Other optimizers, dimensions, other random structures, slopes tested one at a time."""
    structures = _structures(context)
    slopes = _slopes(context)
    refits = _optimizers(context)
    return {
        "optimizers": refits,
        "dimensions": _dimensions(context),
        "structures": structures,
        "slopes": slopes,
        "boundary": _boundary(context),
        "tables": {
            **({"optimizers": optimizers.table(context.models, context)} if refits["have"] else {}),
            **({"structures": _structure_table(context)} if structures["have"] else {}),
            **({"slopes": _slope_table(context, slopes["tests"])} if slopes["tests"] else {}),
        },
        "figures": {"structures": _structure_figure(context)} if structures["drawn"] else {},
    }


# --- other optimizers ----------------------------------------------------------------------------


def _optimizers(context: Context) -> dict[str, Any]:
    checked = [optimizers.compare(context, model) for model in context.models if model.refits]
    if not checked:
        said = "the spec says so (`estimation.check_optimizers`)"
        return {"have": False, "reason": context.no_refits or said}
    return {
        "have": True,
        "final": next(facts for facts in checked if facts["label"] == context.final.plan.label),
        "others": [facts for facts in checked if facts["label"] != context.final.plan.label],
    }


def _too_long(context: Context, fits: int, part: str, parameters: int = 0) -> str:
    """Why a part that fits the final model so many times again is left out."""
    final = context.final
    seconds = _seconds(context, fits, parameters)
    return too_long(context, STEP, f"{part} ({final.plan.label})", final, seconds)


def _seconds(context: Context, fits: int, parameters: int = 0) -> float:
    return fits * fit_seconds(context.final.fit, parameters)


# --- dimensions and the boundary ------------------------------------------------------------------


def _dimensions(context: Context) -> list[dict[str, Any]]:
    """Groupings with more than one random effect: in how many dimensions they vary."""
    final = context.final
    effects: dict[str, list[str]] = {}
    for block, names in final.fit.blocks.items():
        effects.setdefault(final.fit.groups[block], []).extend(names)
    found = []
    for group in (group for group, names in effects.items() if len(names) > 1):
        context.run(STEP, "random_dimensions", id=final.id, group=group)
        at = f"models/pca/{group}"
        carrying, all_ = context.value(f"{at}/dimensions"), context.value(f"{at}/effects")
        found.append(
            {
                **context.all(at, "dimensions", "effects", "last"),
                "groups": context.plural(group),
                "have": carrying is not None,
                "one": carrying == 1,
                "full": carrying is not None and carrying == all_,
            }
        )
    return found


def _boundary(context: Context) -> dict[str, Any]:
    """The components of a singular final model that lie at their boundary."""
    final = context.final
    zero, limits = [], []
    sigma2 = context.value(f"{final.id}/sigma2") or 0.0
    for block, effects in final.fit.blocks.items():
        groups = context.plural(final.fit.groups[block])
        for i, effect in enumerate(effects):
            at = f"{final.id}/var/{block}/{effect}"
            phrase = context.effect_phrase(final, effect)
            variance = context.value(f"{at}/variance")
            if variance is not None and variance * _spread(context, effect) <= 1e-8 * sigma2:
                zero.append(f"{phrase} over {groups}")
            for other in effects[:i]:
                found = context.value(f"{at}/cor/{other}")
                if found is not None and abs(found) > 1 - 1e-4:
                    limits.append(f"{phrase} with {context.effect_phrase(final, other)}")
    components = sum(map(len, final.fit.blocks.values()))
    return {
        "singular": final.fit.singular,
        "zero": zero,
        "limits": limits,
        "single": len(zero) == components,
    }


def _spread(context: Context, effect: str) -> float:
    """The variance of a slope's predictor: what the slopes add is to be held against it."""
    column = effect.strip("`")
    frame = context.data.frame
    if column not in frame or context.categories.get(column):
        return 1.0
    return float(frame[column].var())


# --- random structures ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Varying:
    """What varies over one grouping: the intercept, and the terms with random slopes."""

    groups: tuple[str, ...]
    intercept: bool
    terms: tuple[fm.Term, ...]


def _varying(model: FittedModel) -> list[Varying]:
    """The random part by grouping, however it was split into terms."""
    found: dict[tuple[str, ...], Varying] = {}
    for part in model.plan.formula.random:
        known = found.get(part.groups, Varying(part.groups, False, ()))
        new = tuple(term for term in part.terms if not any(map(term.same_as, known.terms)))
        found[part.groups] = replace(
            known, intercept=known.intercept or part.intercept, terms=known.terms + new
        )
    return list(found.values())


def _correlation(model: FittedModel) -> str:
    """``correlated``, ``independent``, ``intercepts`` or, where these are mixed, nothing."""
    random = model.plan.formula.random
    if not any(part.terms for part in random):
        return "intercepts"
    single = len({part.groups for part in random}) == len(random)
    slopes = [part for part in random if part.terms]
    if single and all(part.correlated and part.intercept for part in slopes):
        return "correlated"
    alone = all(not part.correlated or len(part.terms) + part.intercept == 1 for part in random)
    return "independent" if alone else ""


def _columns(context: Context, term: fm.Term) -> list[str]:
    """A term as the numeric columns of its slope; none where it has no such simple form."""
    if not any(name in context.categories for name in fm.names_in(*term.factors)):
        return [] if "poly(" in fm.term_r(term) else [fm.term_r(term)]
    (factor, *rest) = term.factors
    if rest or not isinstance(factor, fm.Name) or factor.name in context.codings:
        return []
    return [_dummy(factor.name, category) for category in context.categories[factor.name][1:]]


def _dummy(column: str, category: str) -> str:
    return f"dummy({fm.r_name(column)}, {json.dumps(category, ensure_ascii=False)})"


def _formula(context: Context, random: Sequence[str]) -> str:
    return " + ".join([fm.to_r(replace(context.final.plan.formula, random=())), *random])


def _group_r(groups: tuple[str, ...]) -> str:
    return ":".join(map(fm.r_name, groups))


def _random(context: Context, key: str) -> list[str]:
    """The random part of a structure; empty where it cannot be written."""
    parts: list[str] = []
    for entry in _varying(context.final):
        group = _group_r(entry.groups)
        slopes = [column for term in entry.terms for column in _columns(context, term)]
        if key == "correlated":
            inside = ["1", *map(fm.term_r, entry.terms)]
            parts.append(f"({' + '.join(inside)} | {group})")
            continue
        parts.append(f"(1 | {group})")
        if key == "independent":
            if any(not _columns(context, term) for term in entry.terms):
                return []
            parts += [f"(0 + {column} | {group})" for column in slopes]
    return parts


def _structures(context: Context) -> dict[str, Any]:
    nothing = {"have": False, "drawn": False, "entries": [], "others": []}
    own = _correlation(context.final)
    if own == "intercepts":
        return {**nothing, "reason": "the model that is interpreted has no random slopes"}
    if not context.spec.estimation.compare_structures:
        return {**nothing, "reason": "the spec leaves it out (`estimation.compare_structures`)"}
    if reason := _too_long(context, len(STRUCTURES) - 1, "other random parts"):
        return {**nothing, "reason": reason}
    entries = [_structure(context, key, key == own) for key in STRUCTURES]
    fitted = [entry for entry in entries if entry["fitted"]]
    return {
        "have": bool(fitted),
        "drawn": bool(fitted) and any(e.parts for e in context.final.coefficients),
        "reason": "no other random part could be fitted",
        "entries": fitted,
        "failed": [entry["label"] for entry in entries if not entry["fitted"]],
        "own": STRUCTURES.get(own, ""),
        "others": [entry for entry in fitted if not entry["own"]],
        "stable": max((entry["value"] for entry in fitted), default=0) < RULES["shift"].value,
        "singular": [entry["label"] for entry in fitted if entry["singular"]],
    }


def _structure(context: Context, key: str, own: bool) -> dict[str, Any]:
    random = _random(context, key)
    entry = {"key": key, "label": STRUCTURES[key], "own": own, "fitted": False}
    if not random and not own:
        return entry
    facts = context.run(
        STEP,
        "fit_structure",
        key=key,
        id=context.final.id,
        formula=_formula(context, random) if random else context.final.plan.r,
        labels={e.name: e.label for e in context.final.coefficients},
        unit=context.unit,
        level=context.spec.inference.level,
        same=own,
    )
    if not facts["fitted"][0]:
        return entry
    for coefficient in context.final.coefficients:
        at = f"models/structures/{key}/fixef/{coefficient.name}"
        context.sharpen([f"{at}/estimate", f"{at}/se"], f"{at}/se")
    return {
        **entry,
        "fitted": True,
        "singular": facts["singular"][0],
        "shift": context.item(f"models/structures/{key}/shift"),
        "se_ratio": context.item(f"models/structures/{key}/se_ratio"),
        "value": context.value(f"models/structures/{key}/shift") or 0.0,
    }


def _fitted(context: Context) -> list[str]:
    items = context.engine.items
    return [key for key in STRUCTURES if f"models/structures/{key}/shift" in items]


def _structure_table(context: Context) -> Table:
    keys = _fitted(context)

    def cell(key: str, name: str) -> Cell:
        at = f"models/structures/{key}/fixef/{name}"
        return (context.item(f"{at}/estimate"), " (", context.item(f"{at}/se"), ")")

    rows = [
        Row(entry.label, tuple(cell(key, entry.name) for key in keys))
        for entry in context.final.coefficients
    ]
    rows.append(Row("Comparison", (), group=True))
    method = context.spec.estimation.method
    for what, label in (
        ("shift", "Largest difference, in SE"),
        ("se_ratio", "Largest ratio of two SEs"),
        ("criterion", f"−2 log-likelihood ({method})"),
        ("parameters", "Parameters"),
    ):
        rows.append(
            Row(label, tuple(context.item(f"models/structures/{key}/{what}") for key in keys))
        )
    own = _correlation(context.final)
    return Table(
        "structures",
        f"The fixed effects of {context.final.plan.label} under other random parts",
        ("", *(STRUCTURES[key].capitalize() for key in keys)),
        tuple(rows),
        "Estimates with standard errors (SE) in parentheses. "
        + (f"{STRUCTURES[own].capitalize()}: the model as interpreted. " if own in keys else "")
        + "Differences and ratios are to the model as interpreted; a ratio is that of the "
        "larger to the smaller.",
    )


def _structure_figure(context: Context) -> Figure:
    def series(key: str) -> list[Any]:
        at = f"models/structures/{key}"
        columns = (context.engine.items.get(f"{at}/{n}") for n in ("estimates", "lower", "upper"))
        return [STRUCTURES[key], *columns]

    drawn = [series(key) for key in _fitted(context)]
    complete = [entry for entry in drawn if all(isinstance(c, Series) for c in entry[1:])]
    level = f"{100 * context.spec.inference.level:g}"
    unit = f" ({context.unit})" if context.unit else ""
    return Figure(
        "structures",
        "coefficients",
        f"The fixed effects of {context.final.plan.label} under other random parts, with "
        f"{level} % Wald intervals.",
        "Estimates and intervals of each fixed effect, side by side for each random part.",
        {
            "terms": [e.label for e in context.final.coefficients if e.name != INTERCEPT],
            "series": complete,
            "xlabel": f"Estimate{unit}",
        },
    )


# --- slopes one at a time -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SlopeTest:
    """A random slope tested: what is compared, and how the null distribution is simulated.

    Parameters
    ----------
    key, label, over, how
        Its id, the predictor, the grouping over which its effect varies, and in words what is
        added or removed.
    larger, smaller
        The models, each an object or a formula to fit.
    df
        Parameters that the larger one has more.
    alone
        The formula with no random effect but the slope, for RLRsim.
    by
        ``RLRsim``, ``bootstrap``, or empty where nothing is simulated.
    reason
        Why nothing is simulated.
    """

    key: str
    label: str
    over: Level
    how: str
    larger: str
    smaller: str
    df: int
    alone: str
    by: str = "RLRsim"
    reason: str = ""


def _planned(context: Context) -> list[SlopeTest]:
    """The tests of as many predictors' slopes as the spec allows."""
    candidates, _ = _candidates(context)
    return [
        test
        for term in candidates[: context.spec.estimation.slope_tests]
        for level in _groupings(context)
        for test in _tests_of(context, term, level)
    ]


def send_ahead(context: Context) -> None:
    """Let the workers begin with the models of slopes that are added to the final one."""
    planned, estimation = _planned(context), context.spec.estimation
    if _seconds(context, len(planned), context.final.fit.parameters + 1) > estimation.patience:
        return
    larger = [test.larger for test in planned if test.key.endswith("/added")]
    context.engine.send_models(larger, estimation.method == "REML", "nloptwrap")


def _slopes(context: Context) -> dict[str, Any]:
    most = context.spec.estimation.slope_tests
    groupings = _groupings(context)
    candidates, left_out = _candidates(context)
    over = candidates[most:]
    planned = _planned(context)
    parameters = context.final.fit.parameters + 1
    reason = _too_long(context, len(planned), "tests of random slopes", parameters)
    tests = [] if reason else [_tested(context, test) for test in planned]
    return {
        "tests": tests,
        "too_long": reason,
        "groups": " and over ".join(level.plural for level in groupings or context.plan.groups[:1]),
        "none": not candidates,
        "off": most == 0,
        "over": [_label(context, term) for term in over] if most else [],
        "left_out": left_out,
        "simulated": any(test["p_exact"] and test["by"] == "RLRsim" for test in tests),
        "reasons": sorted({test["reason"] for test in tests if test["reason"]}),
        "clear": [test["phrase"] for test in tests if test["clear"]],
        "unclear": [test["phrase"] for test in tests if test["clear"] is False],
        "missing": [
            f"{test['label']} over {test['over']}"
            for test in tests
            if test["clear"] and test["added"]
        ],
        "alpha": context.item("settings/alpha"),
    }


def _candidates(context: Context) -> tuple[list[fm.Term], list[str]]:
    """Lowest-level predictors of the final model, and those whose slope is not tested."""
    found, left_out = [], []
    for term in context.final.plan.formula.fixed:
        names = list(fm.names_in(*term.factors))
        variables = [context.plan.by_column(name) for name in names]
        if term.degree > 1 or not all(v is not None and v.level == 1 for v in variables):
            continue
        if not isinstance(term.factors[0], fm.Name) or len(_columns(context, term)) != 1:
            left_out.append(_label(context, term))
        else:
            found.append(term)
    return found, left_out


def _label(context: Context, term: fm.Term) -> str:
    variable = context.plan.by_column(next(iter(fm.names_in(*term.factors)), ""))
    return variable.label if variable else fm.term_r(term)


def _groupings(context: Context) -> list[Level]:
    """The groupings with random effects in the final model, the lowest first."""
    varying = {entry.groups for entry in _varying(context.final)}
    return [level for level in context.plan.groups if (level.group,) in varying]


def _tests_of(context: Context, term: fm.Term, level: Level) -> Iterator[SlopeTest]:
    """Its slope over a grouping removed where the final model has it, added where not."""
    final = context.final
    (entry,) = (found for found in _varying(final) if found.groups == (level.group,))
    name, label = fm.term_r(term), _label(context, term)
    key = name if level.group == context.lowest_group else f"{name}/{level.group}"
    column = _columns(context, term)[0]
    slope = f"(0 + {column} | {fm.r_name(level.group)})"
    alone = _formula(context, [slope])
    if not any(map(term.same_as, entry.terms)):
        added = _formula(context, [*map(fm.random_r, final.plan.formula.random), slope])
        yield SlopeTest(
            f"{key}/added", label, level, "added, independent", added, final.object, 1, alone,
            *_simulated(context, level, _correlation(final) == "correlated"),
        )  # fmt: skip
        return
    own = _correlation(final)
    if own == "correlated":
        df = len(entry.terms) + 1
        removed = _without(context, term, level)
        yield SlopeTest(
            f"{key}/removed", label, level, "removed, correlated", final.object, removed, df,
            alone, *_simulated(context, level, True),
        )  # fmt: skip
    independent = _random(context, "independent")
    alone_there = own == "correlated" and len(entry.terms) == 1
    if independent and (own == "independent" or alone_there):
        less = [part for part in independent if part != slope]
        yield SlopeTest(
            f"{key}/independent", label, level, "removed, independent",
            _object_or_formula(context, "independent", independent),
            _object_or_formula(context, "intercepts", less),
            1, alone, *_simulated(context, level, False),
        )  # fmt: skip


def _without(context: Context, term: fm.Term, level: Level) -> str:
    """The final model less one random slope over one grouping."""
    random = [
        replace(part, terms=tuple(t for t in part.terms if not t.same_as(term)))
        if part.groups == (level.group,)
        else part
        for part in context.final.plan.formula.random
    ]
    return _formula(context, [fm.random_r(part) for part in random])


def _object_or_formula(context: Context, key: str, random: Sequence[str]) -> str:
    """A random part as fitted before, where it is that of a structure, or its formula."""
    if key in _fitted(context) and list(random) == _random(context, key):
        return f"s_{key}"
    return _formula(context, random)


def _simulated(context: Context, level: Level, correlated: bool) -> tuple[str, str]:
    """How the null distribution is simulated, and why it is not.

    RLRsim's is exact for one variance that is correlated with no other, by REML; any other test
    within one grouping is drawn by parametric bootstrap.
    """
    if not context.spec.estimation.slope_simulations:
        return "", "the spec asks for no simulated samples (`estimation.slope_simulations`)"
    large = context.data.frame[level.group].nunique() > EXACT_GROUPS
    if context.spec.estimation.method == "REML" and not correlated and not large:
        return "RLRsim", ""
    if len(set(context.final.fit.groups.values())) > 1:
        return "", "models of several groupings would have to be fitted thousands of times"
    return "bootstrap", ""


def _tested(context: Context, test: SlopeTest) -> dict[str, Any]:
    estimation = context.spec.estimation
    facts = context.run(
        STEP,
        "test_slope",
        key=test.key,
        reml=estimation.method == "REML",
        larger=test.larger,
        smaller=test.smaller,
        df=float(test.df),
        alone=test.alone,
        by=test.by,
        reason=test.reason,
        simulations=float(_samples(context, test.by)),
        seed=context.spec.inference.seed,
        label=f"{test.label} over {test.over.plural}",
    )
    at = f"models/slope/{test.key}"
    exact = context.value(f"{at}/p_exact")
    p = exact if exact is not None else context.value(f"{at}/p")
    several = len(_groupings(context)) > 1
    return {
        "label": test.label,
        "over": test.over.plural,
        "how": test.how,
        "added": test.key.endswith("/added"),
        "phrase": f"{test.label}{f' over {test.over.plural}' if several else ''} ({test.how})",
        "key": test.key,
        "p_exact": exact is not None,
        "by": test.by,
        "reason": test.reason,
        "singular": facts["singular"][0],
        "clear": None if p is None else p < context.spec.inference.alpha,
    }


def _samples(context: Context, by: str) -> int:
    asked = max(context.spec.estimation.slope_simulations, 1)
    return min(asked, SAMPLES) if by == "bootstrap" else asked


def _slope_table(context: Context, tests: Sequence[Mapping[str, Any]]) -> Table:
    names = ("chisq", "df", "p", "p_exact")
    rows = tuple(
        Row(
            test["label"],
            (
                test["over"],
                test["how"],
                *(context.item(f"models/slope/{test['key']}/{n}") for n in names),
            ),
        )
        for test in tests
    )
    method = context.spec.estimation.method
    ways = {test["by"] for test in tests if test["p_exact"]}
    how = [
        text
        for by, text in (
            ("RLRsim", f"from {_samples(context, 'RLRsim'):,} samples of the null distribution "
             "(RLRsim), as good as exact where the slope is the only variance besides that of the "
             "intercepts"),
            ("bootstrap", "where the slope is correlated with other effects, or RLRsim cannot be "
             f"used, from at most {_samples(context, 'bootstrap'):,} samples drawn from the "
             "smaller model and fitted by both (parametric bootstrap; no more are drawn once 25 "
             "ratios exceed the observed one)"),
        )
        if by in ways
    ]  # fmt: skip
    return Table(
        "slopes",
        f"Random slopes of {context.final.plan.label}, tested one at a time",
        ("Predictor", "Over", "Slope", "χ²", "Parameters", "p, mixture", "p, simulated"),
        rows,
        f"Likelihood-ratio tests by {method} with equal fixed parts, each of one slope over one "
        "grouping. p, mixture: mixture of chi-squares with one parameter less and with all of them"
        + (f"; p, simulated: {'; '.join(how)}." if how else "."),
    )
