"""Step 3, continued: influence, remedies, exogeneity, distances, repeated measures, scales."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlmreport.quantities import Cell, Figure, Quantity, Row, Series, Table
from mlmreport.spec import formula as fm
from mlmreport.spec.variables import Level, Variable, category_label
from mlmreport.steps.coefficients import INTERCEPT, Coefficient
from mlmreport.steps.context import Context, FittedModel
from mlmreport.steps.cost import (
    UNASKED,
    df_evaluations,
    duration,
    evaluations,
    fit_seconds,
    refit_seconds,
    samples_of,
    too_long,
    uncompressed,
)
from mlmreport.thresholds import RULES

__all__ = [
    "Trends",
    "autocorrelation",
    "distance",
    "exogeneity",
    "holm",
    "influence",
    "linearity_by_level",
    "remedies",
    "transformation",
    "trends_of",
]

STEP = "assumptions"
NLME_ROW = 1.5e-4
"""Nominal seconds that nlme's fit of correlated errors takes for each row and parameter."""
SANDWICH = (2e-4, 1e-8)
"""Nominal seconds that CR2 errors take for each row, and for each cubed size of a cluster."""
REFITS = 3
"""Groups, the most influential ones, without which the model is fitted again."""


# --- influence --------------------------------------------------------------------------------


def influence(context: Context, model: FittedModel) -> list[dict[str, Any]]:
    """For each grouping of the model every group left out, and refits without the largest."""
    return [
        _influence_of(context, model, level, number)
        for number, level in enumerate(context.plan.groups, start=1)
        if number == 1 or level.group in model.fit.groups.values()
    ]


def _key(context: Context, level: Level) -> str:
    """Under which name a grouping's results stand: none for the lowest."""
    return "" if level.group == context.lowest_group else level.group


def _under(place: str, key: str) -> str:
    return f"assumptions/{place}/{key}" if key else f"assumptions/{place}"


def _influence_of(
    context: Context, model: FittedModel, level: Level, number: int
) -> dict[str, Any]:
    key, suffix = _key(context, level), f"-{number}" if number > 1 else ""
    named = {"key": key, "suffix": suffix, "name": level.name, "plural": level.plural}
    exact = _deletes_exactly(context, model, level)
    if not exact and (reason := _influence_too_long(context, model, level)):
        nothing = {"have": False, "units": [], "exact": False, "why_held": ""}
        return {**named, **nothing, "too_long": reason}
    no_refits = "" if exact else _refits_too_long(context, model, level)
    found = context.run(
        STEP,
        "check_influence",
        id=model.id,
        group=level.group,
        key=key,
        optimizer=model.fit.optimizer,
        refits=not no_refits,
        exact=exact,
    )
    units = [str(unit) for unit in found["groups"]]
    at = _under("influence", key)
    facts: dict[str, Any] = {
        **named,
        "exact": exact,
        "why_held": "" if exact else _why_held(context, model, level),
        **context.all(at, "cutoff", "above", "inestimable", "largest", "dfbetas", "dfbetas_cutoff"),
        "have": bool(units) or context.value(f"{at}/largest") is not None,
        "units": units,
        "too_long": no_refits,
        "rests": (context.value(f"{at}/inestimable") or 0) > 0,
        "any": (context.value(f"{at}/above") or 0) > 0,
    }
    if not units:
        facts |= {"moved": None, "variance": None, "far": False}
        if facts["have"]:
            facts["figure"] = _influence_figure(context, level, at, suffix, exact)
        return facts
    place = _under("without", key)
    if exact:
        parts = [*(e.name for e in model.coefficients), *_variances(model), "sigma2"]
        by = dict(zip(parts, [*found["moved_by"], *found["variance_by"]], strict=True))
        changes = [(by[part], part, f"{at}/{part}/change") for part in by]
    else:
        parts = [*(e.name for e in model.coefficients), *_variances(model)]
        numbered = list(enumerate(units, start=1))
        changes = [(u, part, f"{place}/{k}/{part}/change") for k, u in numbered for part in parts]
    moved = _most_moved(context, model, changes)
    return facts | {
        "moved": moved,
        "variance": _most_moved_variance(context, model, changes),
        "far": moved is not None and moved["size"] > RULES["change"].value,
        "table": _influence_table(context, model, units, level, place, suffix, exact),
        "figure": _influence_figure(context, level, at, suffix, exact),
    }


def _deletes_exactly(context: Context, model: FittedModel, level: Level) -> bool:
    """Whether the model is fitted again without each group, on compressed data."""
    if level.group not in model.fit.groups.values() or uncompressed(context, model):
        return False
    if (context.value(f"structure/{level.name}/groups") or 0) < 3:
        return False  # the model could not be fitted to one group alone
    return _deletion_seconds(context, model, level) <= min(
        UNASKED, context.spec.estimation.patience
    )


def _deletion_seconds(context: Context, model: FittedModel, level: Level) -> float:
    groups = context.value(f"structure/{level.name}/groups") or 0
    return groups * refit_seconds(context, model)


def _why_held(context: Context, model: FittedModel, level: Level) -> str:
    """Why the variance parameters are held at their estimates when groups are left out."""
    if level.group not in model.fit.groups.values():
        return f"the model has no random effects of {level.plural}"
    if reason := uncompressed(context, model):
        return f"the data do not compress: {reason}"
    if (context.value(f"structure/{level.name}/groups") or 0) < 3:
        return f"a model of one {level.name} alone has no variance between {level.plural}"
    seconds = _deletion_seconds(context, model, level)
    return f"a refit without each of the {level.plural} would take {duration(seconds)}"


def _influence_too_long(context: Context, model: FittedModel, level: Level) -> str:
    """Why no group is left out: each takes about one evaluation of the deviance."""
    groups = context.value(f"structure/{level.name}/groups") or 0
    part = f"Cook's distances of {level.plural}, and refits without them"
    return too_long(context, STEP, part, model, groups * model.fit.evaluation)


def _refits_too_long(context: Context, model: FittedModel, level: Level) -> str:
    """Why no refits are made without single groups, of which one gets Satterthwaite df too."""
    k = model.fit.parameters
    seconds = (REFITS * evaluations(k) + df_evaluations(k)) * model.fit.evaluation
    part = f"refits of {model.plan.label} without the most influential {level.plural}"
    return too_long(context, STEP, part, model, seconds)


def _variances(model: FittedModel) -> dict[str, tuple[str, str]]:
    """Block and effect of each variance, by what its change is called."""
    return {
        f"var/{block}/{effect}": (block, effect)
        for block, effects in model.fit.blocks.items()
        for effect in effects
    }


Changes = Sequence[tuple[str, str, str]]
"""Changes without a group: the group, what changes, and the id of the number."""


def _largest(context: Context, changes: Changes) -> tuple[float, str, str, str] | None:
    known = [
        (abs(value), *change)
        for change in changes
        if (value := context.value(change[2])) is not None
    ]
    return max(known, key=lambda change: change[0]) if known else None


def _most_moved(context: Context, model: FittedModel, changes: Changes) -> dict[str, Any] | None:
    labels = {entry.name: entry.label for entry in model.coefficients}
    found = _largest(context, [change for change in changes if change[1] in labels])
    if found is None:
        return None
    size, unit, term, name = found
    return {"size": size, "label": labels[term], "unit": unit, "change": context.item(name)}


def _most_moved_variance(
    context: Context, model: FittedModel, changes: Changes
) -> dict[str, Any] | None:
    variances = _variances(model)
    found = _largest(context, [change for change in changes if change[1] in variances])
    if found is None:
        return None
    size, unit, which, name = found
    return {
        "label": _variance_label(context, model, *variances[which]),
        "unit": unit,
        "change": context.item(name),
        "far": size > RULES["variance_change"].value,
    }


def _influence_table(
    context: Context,
    model: FittedModel,
    units: Sequence[str],
    level: Level,
    place: str,
    suffix: str,
    exact: bool,
) -> Table:
    group = level.name
    numbers = range(1, len(units) + 1)

    def row(head: str, what: str) -> Row:
        cells = tuple(context.item(f"{place}/{k}/{what}") for k in numbers)
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
        f"influence{suffix}",
        f"What changes when one {group} is left out",
        ("", *(f"without {group} {unit}" for unit in units)),
        tuple(rows),
        f"The {len(units)} largest Cook's distances, largest first. "
        + (
            ""
            if exact
            else "Cook's distances hold the variance parameters at their estimates; the "
        )
        + ("All numbers" if exact else "changes")
        + " come from a refit without the group, "
        "in standard errors of the model of all groups, and for a variance relative to its value "
        "with all groups.",
    )


def _variance_label(context: Context, model: FittedModel, block: str, effect: str) -> str:
    level = next(
        (entry for entry in context.plan.groups if entry.group == model.fit.groups[block]), None
    )
    return f"{context.effect_phrase(model, effect)} ({level.name if level else block})"


def _influence_figure(context: Context, level: Level, at: str, suffix: str, exact: bool) -> Figure:
    return Figure(
        f"influence{suffix}",
        "influence",
        f"Cook's distance of every {level.name}, the largest named; "
        + (
            "the model is fitted again without each."
            if exact
            else "the variance parameters are held at their estimates."
        ),
        f"Cook's distances of the {level.plural} beside the cut-off; the larger, the more the "
        "fixed effects would change.",
        {
            "labels": context.item(f"{at}/names"),
            "distance": context.item(f"{at}/cook"),
            "cutoff": context.item(f"{at}/cutoff"),
            "xlabel": f"{level.name}, by position in the list of {level.plural}",
        },
    )


# --- remedies ---------------------------------------------------------------------------------


def remedies(
    context: Context, model: FittedModel, left_out: Sequence[Mapping[str, Any]], scale: str
) -> dict[str, Any]:
    """The fixed effects by other standard errors and without the most influential groups.

    Parameters
    ----------
    context, model
        The analysis, and the model that is interpreted.
    left_out
        What `influence` found for each grouping.
    scale
        Another scale of the outcome, on which the model was fitted; or empty.
    """
    without = [_Without(it["key"], it["name"], it["units"][0]) for it in left_out if it["units"]]
    cluster = _cluster(context, model)
    part = f"bootstrap standard errors of {model.plan.label}"
    asked = context.spec.inference.check_bootstrap
    samples, no_samples = samples_of(context, STEP, part, model, asked, "check_bootstrap")
    no_clusters = no_samples or _clusters_not_drawn(context, model, cluster)
    own, too_long = _sandwich(context, model, cluster) if cluster else (False, "")
    found = context.run(
        STEP,
        "check_remedies",
        id=model.id,
        cluster=cluster.group if cluster else "",
        own=own,
        too_long=too_long,
        keys=[it.key for it in without],
        scale=scale,
        samples=samples,
        clusters=0 if no_clusters else samples,
        seed=context.spec.inference.seed,
    )
    extra = [*(["boot"] if samples else []), *([] if no_clusters else ["cluster"])]
    robust = bool(found["robust"][0])
    by = "on compressed data" if own else "clubSandwich"
    for entry in model.coefficients:
        se = f"{model.id}/fixef/{entry.name}/se"
        at = f"assumptions/remedies/{entry.name}"
        estimates = [it.of("estimate") for it in without]
        context.sharpen(
            [f"{at}/{what}" for what in ("se_cr2", "se_boot", "se_cluster", *estimates)], se
        )
    ratios = [context.value(f"assumptions/remedies/{name}") for name in ("ratio", "least_ratio")]
    without = [it for it in without if _have(context, model, it.of("p"))]
    flips = [
        {"how": how, "labels": labels}
        for how, name in (
            ("with robust standard errors", "p_cr2"),
            *((f"without {it.name} {it.unit}", it.of("p")) for it in without),
            (f"on the scale of the {WORDS.get(scale, '')}", "p_scale"),
        )
        if (labels := _changed(context, model, name))
    ]
    plural = cluster.plural if cluster else ""
    facts = {
        **context.all("assumptions/remedies", "ratio", "least_ratio"),
        "robust": robust,
        "without": [
            {
                "key": it.key,
                "name": it.name,
                "unit": it.unit,
                "flips": _changed(context, model, it.of("p")),
            }
            for it in without
        ],
        "scale": WORDS.get(scale, "") if scale else "",
        "no_samples": no_samples,
        "no_clusters": "" if no_samples else no_clusters,
        "columns": [
            {"words": words, "source": source}
            for words, source, there in (
                ("cluster-robust standard errors", "CR2, @Pustejovsky2018", robust),
                ("parametric bootstrap standard errors", "", samples),
                (f"those of {plural} drawn anew with replacement", "@Field2007", not no_clusters),
                *((f"a refit without {it.name} {it.unit}", "", True) for it in without),
                (f"tests on the scale of the {WORDS.get(scale, '')}", "", scale),
            )
            if there
        ],
        "scale_flips": _changed(context, model, "p_scale"),
        "apart": any(abs(r - 1) > RULES["se_ratio"].value for r in ratios if r is not None),
        "alike": all(r is not None and abs(r - 1) < 0.01 for r in ratios),
        "flips": flips,
        "same": not flips,
        "table": _remedies_table(context, model, without, by if robust else "", scale, extra),
    }
    _decide_remedies(context, facts)
    return facts


@dataclass(frozen=True, slots=True)
class _Without:
    """The most influential group of a grouping: what its results are called."""

    key: str
    name: str
    unit: str

    def of(self, what: str) -> str:
        """The last part of an id of the refit without it."""
        return f"{what}_without_{self.key}" if self.key else f"{what}_without"


def _cluster(context: Context, model: FittedModel) -> Level | None:
    """The lowest level whose units hold all dependence; none where groupings are crossed."""
    return next((level for level in context.plan.groups if context.within(model, level)), None)


def _sandwich(context: Context, model: FittedModel, cluster: Level) -> tuple[bool, str]:
    """Whether CR2 errors come from compressed data, and why there are none.

    clubSandwich takes matrices of the size of each cluster.
    """
    sizes = context.data.frame[cluster.group].value_counts().to_numpy(dtype=float)
    seconds = float((SANDWICH[0] * sizes + SANDWICH[1] * sizes**3).sum())
    weighted = context.spec.estimation.weights is not None
    own = cluster.group in model.fit.groups.values() and not uncompressed(context, model)
    if seconds > UNASKED and not weighted and own:
        return True, ""
    part = f"cluster-robust standard errors (CR2) of {model.plan.label}"
    return False, too_long(context, STEP, part, model, seconds)


def _clusters_not_drawn(context: Context, model: FittedModel, cluster: Level | None) -> str:
    """Why no whole groups are drawn with replacement, beside a parametric bootstrap."""
    if cluster is None:
        return "the groupings are crossed, so whole groups cannot be drawn"
    if cluster.group not in model.fit.groups.values():
        return f"the model has no random effects of the {cluster.plural} themselves"
    if (context.value(f"structure/{cluster.name}/groups") or 0) < RULES["few_groups"].value:
        return f"there are too few {cluster.plural} to draw from"
    if uncompressed(context, model):
        return "the data do not compress"
    return ""


def _have(context: Context, model: FittedModel, what: str) -> bool:
    names = (f"assumptions/remedies/{entry.name}/{what}" for entry in model.coefficients)
    return any(context.value(name) is not None for name in names)


def _changed(context: Context, model: FittedModel, what: str) -> list[str]:
    """Labels of the coefficients whose test falls on the other side of alpha."""
    alpha = context.spec.inference.alpha
    found = []
    for entry in model.coefficients:
        first = context.value(f"{model.id}/fixef/{entry.name}/p")
        other = context.value(f"assumptions/remedies/{entry.name}/{what}")
        if first is not None and other is not None and (first < alpha) != (other < alpha):
            found.append(entry.label)
    return found


def _remedies_table(
    context: Context,
    model: FittedModel,
    without: Sequence[_Without],
    by: str,
    scale: str,
    bootstraps: Sequence[str],
) -> Table:
    columns = [("Estimate", "estimate"), ("SE", "se"), ("p", "p")]
    extra = [("SE (CR2)", "se_cr2"), ("df (CR2)", "df_cr2"), ("p (CR2)", "p_cr2")] if by else []
    extra += [(BOOTSTRAPS[which], f"se_{which}") for which in bootstraps]
    for it in without:
        said = f"without {it.name} {it.unit}"
        extra += [(f"Estimate ({said})", it.of("estimate")), (f"p ({said})", it.of("p"))]
    if scale:
        extra += [(f"t ({scale})", "t_scale"), (f"p ({scale})", "p_scale")]

    def cells(name: str) -> tuple[Cell, ...]:
        own = (context.item(f"{model.id}/fixef/{name}/{what}") for _, what in columns)
        other = (context.item(f"assumptions/remedies/{name}/{what}") for _, what in extra)
        return (*own, *other)

    parts = ["Estimate, SE and p on the left are those of the model."]
    if by:
        parts.append(f"CR2: cluster-robust standard errors with Satterthwaite df ({by}).")
    if "boot" in bootstraps:
        parts.append("Bootstrap: parametric, the model fitted again to outcomes drawn from it.")
    if "cluster" in bootstraps:
        parts.append("Groups drawn: whole groups drawn with replacement (Field and Welsh 2007).")
    if without:
        parts.append("Without …: a refit without the most influential unit of a level.")
    if scale:
        parts.append(
            f"{scale}: the model of the outcome on that scale, whose estimates have other units."
        )
    return Table(
        "remedies",
        "Fixed effects beside what remedies would make of them",
        ("Coefficient", *(head for head, _ in (*columns, *extra))),
        tuple(Row(entry.label, cells(entry.name)) for entry in model.coefficients),
        " ".join(parts),
    )


BOOTSTRAPS = {"boot": "SE (bootstrap)", "cluster": "SE (groups drawn)"}
"""The heads of the columns of bootstrap standard errors."""


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
    added, left_out = _uncentred(context, model)
    pairs = _own_pairs(model)
    facts: dict[str, Any] = {
        "tested": [], "left_out": left_out, "rejected": [], "joint": None, "too_long": "",
        "complaint": "", "several": False,
    }  # fmt: skip
    if not added and len(pairs) < 2:
        return facts
    part = f"{model.plan.label} with the means of its predictors added"
    if reason := _refit_too_long(context, model, part):
        return facts | {"too_long": reason}
    keys = [_exogeneity_key(context, entry, level) for entry, level in added]
    found = context.run(
        STEP,
        "check_exogeneity",
        id=model.id,
        formula=model.plan.r,
        reml=context.spec.estimation.method == "REML",
        terms=[entry.name for entry, _ in added],
        groups=[level.group for _, level in added],
        keys=keys,
        means=[mean for mean, _ in pairs],
        within=[within for _, within in pairs],
    )
    tested = [
        _exogeneity_test(context, entry, level, key)
        for (entry, level), key in zip(added, keys, strict=True)
    ]
    shown = holm(
        context.spec.inference.alpha,
        [context.value(f"assumptions/exogeneity/{key}/p") for key in keys],
    )
    tested = [{**e, "rejected": clear} for e, clear in zip(tested, shown, strict=True)]
    facts |= {
        "tested": tested,
        "rejected": list(dict.fromkeys(e["label"] for e in tested if e["rejected"])),
        "several": sum(1 for e in tested if e["have"]) > 1,
        "joint": _joint(context, pairs),
        "largest": _largest_change(tested),
        "complaint": str(found["complaint"][0]),
    }
    have = [entry for entry in tested if entry["have"]]
    if have:
        _decide_exogeneity(context, have, facts)
    return facts


def _refit_too_long(context: Context, model: FittedModel, part: str) -> str:
    """Why the model is not fitted again with other predictors and their tests."""
    return too_long(context, STEP, part, model, fit_seconds(model.fit, df=True))


def _exogeneity_key(context: Context, entry: Coefficient, level: Level) -> str:
    key = _key(context, level)
    return f"{entry.name}/{key}" if key else entry.name


def _exogeneity_test(
    context: Context, entry: Coefficient, level: Level, key: str
) -> dict[str, Any]:
    at = f"assumptions/exogeneity/{key}"
    context.sharpen([f"{at}/estimate", f"{at}/se"], f"{at}/se")
    return {
        "label": entry.label,
        "group": level.name,
        **context.all(at, "estimate", "se", "df", "t", "p", "change"),
        "have": context.value(f"{at}/p") is not None,
    }


def holm(alpha: float, found: Sequence[float | None]) -> list[bool]:
    """Which of several tests reject by Holm's correction (Holm, 1979)."""
    known = sorted(p for p in found if p is not None)
    most = -1.0
    for k, p in enumerate(known):
        if p * (len(known) - k) >= alpha:
            break
        most = p
    return [p is not None and p <= most for p in found]


def _joint(context: Context, pairs: Sequence[tuple[str, str]]) -> dict[str, Any] | None:
    at = "assumptions/mundlak"
    if context.value(f"{at}/p") is None:
        return None
    return {
        **context.all(at, "F", "numerator", "df", "p"),
        "rejected": _below(context, f"{at}/p"),
        "own": bool(pairs),
    }


def _largest_change(tested: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The tested coefficient that the group means change most."""
    found = [entry for entry in tested if isinstance(entry["change"], Quantity)]
    return max(found, key=lambda entry: abs(entry["change"].value), default=None)


def _own_pairs(model: FittedModel) -> list[tuple[str, str]]:
    """Group means that the model has already, each with its within-group coefficient.

    The second name is empty where the predictor enters as it is, as the mean's coefficient is then
    the difference itself.
    """
    numbers = [e for e in model.coefficients if e.kind == "number" and e.parts[0].variable]
    by_key = {(v.key, v.role): entry.name for entry in numbers if (v := entry.parts[0].variable)}
    pairs = []
    for (key, role), name in by_key.items():
        if role != "mean":
            continue
        others = [other for (own, kind), other in by_key.items() if own == key and kind != "mean"]
        if others:
            pairs.append((name, others[0] if (key, "within") in by_key else ""))
    return pairs


def _uncentred(
    context: Context, model: FittedModel
) -> tuple[list[tuple[Coefficient, Level]], list[dict[str, str]]]:
    """Coefficients whose group means are to be added, and why others need no test.

    Each is paired with every grouping of the model above the level at which it varies.
    """
    columns = fm.variables(model.plan.formula)
    means = {(v.key, v.level) for v in context.plan.variables.values() if v.role == "mean"
             and v.column in columns}  # fmt: skip
    crossed = context.spec.structure == "crossed"
    used = [
        level for level in context.plan.groups
        if level.group in model.fit.groups.values() or level.group == context.lowest_group
    ]  # fmt: skip
    entries: list[tuple[Coefficient, Level]] = []
    left_out: dict[str, str] = {}
    for entry in model.coefficients:
        variable = entry.parts[0].variable if entry.parts else None
        if entry.kind not in {"number", "category"} or variable is None or variable.role == "mean":
            continue
        if crossed and variable.level > 1:
            continue
        for level in used:
            if not crossed and level.index <= variable.level:
                continue
            why = _exempt(context, variable, means, level)
            if why:
                left_out.setdefault(variable.label, why)
            else:
                entries.append((entry, level))
    return entries, [{"label": label, "why": why} for label, why in left_out.items()]


def _exempt(context: Context, variable: Variable, means: set[tuple[str, int]], level: Level) -> str:
    group, groups = level.name, context.data.frame[level.group]
    if variable.role == "within":
        return f"is centred within each {context.plan.levels[variable.level].name}"
    if (variable.key, level.index) in means:
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
    context: Context, tested: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]
) -> None:
    evidence: list[Any] = []
    for entry in tested:
        evidence += ["; " if evidence else "", f"{entry['label']} by {entry['group']}, p "]
        evidence.append(entry["p"])
    if facts["joint"]:
        evidence += ["; jointly, p ", facts["joint"]["p"]]
    rejected = facts["rejected"]
    context.decide(
        STEP,
        "a between-group effect that differs from the within-group effect, by Holm's correction "
        "where several are tested, asks for the group mean in the model",
        tuple(evidence),
        f"the group mean is advised for {', '.join(rejected)}"
        if rejected
        else "no group mean is shown to be needed",
        "Antonakis2021",
    )


def _below(context: Context, name: str) -> bool:
    p = context.value(name)
    return p is not None and p < context.spec.inference.alpha


# --- distance of the random effects -----------------------------------------------------------


def distance(context: Context, model: FittedModel) -> list[dict[str, Any]]:
    """For each grouping the largest distance of a group's effects, where a slope varies."""
    found = [_distance_of(context, model, level) for level in context.plan.groups]
    return [entry for entry in found if entry]


def _distance_of(context: Context, model: FittedModel, level: Level) -> dict[str, Any] | None:
    group, key = level.group, _key(context, level)
    effects = [e for b, found in model.fit.blocks.items() for e in found
               if model.fit.groups[b] == group]  # fmt: skip
    if len(effects) < 2:
        return None
    found = context.run(STEP, "check_distance", id=model.id, group=group, key=key)
    at = _under("distance", key)
    moves = context.value(f"{at}/moves")
    return {
        **context.all(at, "largest", "df", "p", "holm", "moves"),
        "name": level.name,
        "plural": level.plural,
        "moved": moves is not None,
        "matters": moves is not None and moves > RULES["change"].value,
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
        Effects of groups against their values or means.
    levels
        For each column of `between` the grouping whose groups these are: that of its own level.
    """

    single: Pairs
    within: Pairs
    between: Pairs
    levels: Mapping[str, Level]


def linearity_by_level(
    context: Context, model: FittedModel, trends: Trends, unit: str
) -> dict[str, Any]:
    """Smooths of residuals within groups, and of the groups' intercepts between them."""
    within, between, frame = trends.within, trends.between, context.data.frame
    plurals = dict.fromkeys(("linearity", "within"), context.plan.groups[0].plural)
    context.run(
        STEP,
        "check_linearity",
        id=model.id,
        group=context.lowest_group,
        within=[column for column, _ in within],
        between=[column for column, _ in between],
        groupings=[trends.levels[column].group for column, _ in between],
    )
    entries = [
        {
            "label": label,
            "where": where,
            "plural": plurals.get(place) or trends.levels[column].plural,
            "place": place,
            "column": column,
            "departure": context.item(f"assumptions/{place}/{column}/departure"),
            "bent": (context.value(f"assumptions/{place}/{column}/departure") or 0)
            > _bend(
                len(frame) if place != "between" else frame[trends.levels[column].group].nunique()
            ),
        }
        for place, where, pairs in (
            ("linearity", "", trends.single),
            ("within", "within", within),
            ("between", "between", between),
        )
        for column, label in pairs
    ]
    bent = [entry for entry in entries if entry["bent"]]
    return {
        "entries": entries,
        "bent": bent,
        **(_curved(context, model, bent) if bent else {}),
        "both": [label for _, label in within],
        "panels": _panels(context, trends, unit),
    }


def _curved(
    context: Context, model: FittedModel, bent: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The squares of the predictors whose smooths bend, in a refit with all of them."""
    part = f"{model.plan.label} with squares of its predictors added"
    if reason := _refit_too_long(context, model, part):
        return {"too_long": reason}
    found = context.run(
        STEP,
        "check_curves",
        id=model.id,
        group=context.lowest_group,
        formula=model.plan.r,
        reml=context.spec.estimation.method == "REML",
        columns=[entry["column"] for entry in bent],
        kinds=[entry["place"] for entry in bent],
    )
    at = "assumptions/curve"
    squares = [
        {
            **context.all(f"{at}/{e['place']}/{e['column']}", "estimate", "df", "t", "p"),
            "label": e["label"],
            "where": e["where"],
            "have": context.value(f"{at}/{e['place']}/{e['column']}/p") is not None,
            "curved": _below(context, f"{at}/{e['place']}/{e['column']}/p"),
        }
        for e in bent
    ]
    change = context.value(f"{at}/change")
    return {
        "too_long": "",
        "squares": squares,
        "curved": [entry for entry in squares if entry["curved"]],
        "change": context.item(f"{at}/change"),
        "changed": change is not None and change > RULES["shift"].value,
        "have_change": change is not None,
        "complaint": str(found["complaint"][0]),
    }


def _bend(points: int) -> float:
    """How far a smooth has to leave zero, in standard deviations, to be marked."""
    return max(RULES["departure"].value, RULES["departure_chance"].value / math.sqrt(points))


def trends_of(context: Context, model: FittedModel, numbers: Pairs) -> Trends:
    """Which predictors have a trend within groups of its own, and which one between groups."""
    frame, within, between = context.data.frame, [], []
    levels: dict[str, Level] = {}
    for column, label in numbers:
        level = _level_of_trend(context, model, column)
        if level is None:
            continue
        levels[column] = level
        between.append((column, label))
        if frame[column].groupby(frame[level.group], observed=True).nunique().max() > 1:
            within.append((column, label))
    single = [pair for pair in numbers if pair not in within and pair not in between]
    return Trends(single, within, between, levels)


def _level_of_trend(context: Context, model: FittedModel, column: str) -> Level | None:
    """The grouping to whose effects a predictor is held: that of its own level, or the lowest.

    None where the groups' effects, or their means of the predictor, do not differ.
    """
    frame, variable = context.data.frame, context.plan.by_column(column)
    own = [level for level in context.plan.groups if variable and level.index == variable.level]
    for level in (*own, context.plan.groups[0]):
        means = frame[column].groupby(frame[level.group], observed=True).mean()
        apart = means.max() - means.min() > 1e-8 * max(1.0, float(frame[column].abs().max()))
        if apart and means.nunique() > 5 and _intercepts_vary(context, model, level):
            return level
    return None


def _intercepts_vary(context: Context, model: FittedModel, level: Level) -> bool:
    return any(
        INTERCEPT in effects and model.fit.groups[block] == level.group
        and (context.value(f"{model.id}/var/{block}/{INTERCEPT}/variance") or 0) > 0
        for block, effects in model.fit.blocks.items()
    )  # fmt: skip


def _panels(context: Context, trends: Trends, unit: str) -> list[dict[str, Any]]:
    frame, lowest = context.data.frame, context.plan.groups[0]
    kinds = (
        ("linearity", trends.single),
        ("within", trends.within),
        ("between", trends.between),
    )
    made = []
    for place, pairs in kinds:
        for column, label in pairs:
            level = trends.levels.get(column, lowest)
            series = context.all(
                f"assumptions/{place}/{column}", "x", "residual", "smooth_x", "smooth_y"
            )
            if not all(isinstance(item, Series) for item in series.values()):
                continue
            rows = int(frame[level.group].nunique()) if place == "between" else len(frame)
            plotted = len(series["x"].values)
            shown = f"{plotted:,} of {rows:,} points" if plotted < rows else f"n = {rows:,}"
            heads = _axes(place, label, level.name if place == "between" else lowest.name)
            heads["ylabel"] += unit
            made.append({**series, **heads, "shown": shown})
    return made


def _axes(place: str, label: str, level: str) -> dict[str, str]:
    """What stands at the axes of a panel, without the unit of the outcome."""
    if place == "between":
        return {"xlabel": f"{label}, by {level}", "ylabel": f"{level} effect less line"}
    within = f", less the {level} mean" if place == "within" else ""
    return {"xlabel": f"{label}{within}", "ylabel": "Residual"}


# --- repeated measures ------------------------------------------------------------------------


def autocorrelation(context: Context, model: FittedModel) -> dict[str, Any] | None:
    """The residuals' autocorrelation in the order of time, where the spec names time."""
    name = context.spec.time
    if name is None:
        return None
    time = context.plan.variables[name]
    found = context.run(
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
        "table": _by_distance(context, time, int(found["bins"][0])),
        "errors": None,
    }
    rules = ["autocorrelation"]
    if facts["large"] and facts["positive"]:
        facts["errors"] = _correlated_errors(context, model, time)
        rules += ["variance_shift", "correlation_shift"]
    if z is not None:
        context.decide(
            STEP,
            "; ".join(RULES[rule].text for rule in rules),
            ("lag 1 ", facts["lag1"], ", expected ", facts["expected"]),
            _outcome_of_errors(facts),
            RULES["autocorrelation"].citation,
        )
    return facts


def _outcome_of_errors(facts: Mapping[str, Any]) -> str:
    if not (facts["large"] and facts["positive"]):
        return "independent level-1 errors are kept"
    alike = "successive measurements are more alike than the model says"
    errors = facts["errors"]
    if not errors["have"]:
        return f"{alike}; a model with correlated errors could not be fitted, the model is kept"
    if errors["matters"]:
        return f"{alike}: a model with correlated errors is advised beside this one"
    if errors["varied"]:
        return (
            f"{alike}: the model is kept for its fixed effects, and its random part is to be read "
            "beside that of a model with correlated errors"
        )
    return f"{alike}; the model is kept, as correlated errors leave its estimates about as they are"


def _by_distance(context: Context, time: Variable, bins: int) -> Table | None:
    """The autocorrelation by distance in time."""
    if not bins:
        return None
    at = "assumptions/autocorrelation/distance"
    rows = []
    for k in range(1, bins + 1):
        found = context.all(f"{at}/{k}", "from", "to", "pairs", "correlation", "expected")
        one = context.value(f"{at}/{k}/from") == context.value(f"{at}/{k}/to")
        head: Cell = found["from"] if one else (found["from"], " to ", found["to"])
        rows.append(Row("", (head, found["pairs"], found["correlation"], found["expected"])))
    unit = f" ({time.unit})" if time.unit else ""
    return Table(
        "autocorrelation",
        "Autocorrelation of the level-1 residuals by distance in time",
        ("", f"Distance{unit}", "Pairs", "Correlation", "Expected"),
        tuple(rows),
        "Pairs of measurements of the same unit, at most five positions apart; distances of fewer "
        "than 20 pairs are left out. Expected: of the residuals of this model if its errors are "
        "independent.",
    )


def _correlated_errors(context: Context, model: FittedModel, time: Variable) -> dict[str, Any]:
    """The model with autoregressive errors, and what it changes."""
    seconds = NLME_ROW * (model.fit.parameters + 1) * len(context.data.frame)
    part = f"{model.plan.label} with autoregressive errors"
    if reason := too_long(context, STEP, part, model, seconds):
        return {"have": False, "too_long": reason, "varied": False, "matters": False}
    context.run(
        STEP,
        "check_correlated_errors",
        id=model.id,
        group=context.lowest_group,
        time=time.column,
    )
    at = "assumptions/autocorrelation/ar"
    change = context.value(f"{at}/change")
    facts = context.all(at, "phi", "chisq", "p", "change", "ratio", "least_ratio")
    if change is None:
        return {**facts, "have": False, "too_long": "", "varied": False, "matters": False}
    ratios = [context.value(f"{at}/{name}") for name in ("ratio", "least_ratio")]
    pairs = _random_pairs(context, model)
    other = {own: f"{at}/{part}" for own, part, _ in pairs}
    varied = [own for own in other if _differ(context, own, other[own])]
    return {
        **facts,
        "have": True,
        "too_long": "",
        "matters": change > RULES["shift"].value
        or any(abs(r - 1) > RULES["se_ratio"].value for r in ratios if r is not None),
        "varied": bool(varied),
        "limit": any(
            abs(context.value(f"{at}/{part}") or 0) > 1 - 1e-3
            for _, part, _ in pairs
            if "/cor/" in part
        ),
        "parts": {own: context.item(other[own]) for own in varied},
        "table": _errors_table(context, model, pairs),
    }


def _random_pairs(context: Context, model: FittedModel) -> list[tuple[str, str, str]]:
    """The SDs and correlations of the random part: the id, its last part, and the label."""
    found = []
    for block, effects in model.fit.blocks.items():
        for i, effect in enumerate(effects):
            label = _variance_label(context, model, block, effect)
            found.append((f"var/{block}/{effect}/sd", f"SD, {label}"))
            for other in effects[:i]:
                phrase = context.effect_phrase(model, other)
                found.append(
                    (f"var/{block}/{effect}/cor/{other}", f"Correlation, {label}, {phrase}")
                )
    return [(f"{model.id}/{part}", part, label) for part, label in found]


def _differ(context: Context, own: str, other: str) -> bool:
    """Whether an SD or a correlation of the random part is marked as another one in a refit."""
    a, b = context.value(own), context.value(other)
    if a is None or b is None:
        return False
    if "/cor/" in own:
        return abs(b - a) > RULES["correlation_shift"].value
    return abs(b**2 - a**2) > RULES["variance_shift"].value * a**2


def _errors_table(
    context: Context, model: FittedModel, pairs: Sequence[tuple[str, str, str]]
) -> Table:
    at = "assumptions/autocorrelation/ar"
    rows = [
        Row(label, (context.item(own), context.item(f"{at}/{part}"))) for own, part, label in pairs
    ]
    sigma = (context.item(f"{model.id}/sigma"), context.item(f"{at}/sigma"))
    return Table(
        "correlated-errors",
        "The random part with independent and with autoregressive errors",
        ("", "Independent errors", "Autoregressive errors"),
        (*rows, Row("SD, residual", sigma)),
        f"{model.plan.label}, by {context.spec.estimation.method}; autoregressive errors by "
        "nlme::lme with corCAR1. What the errors of a unit have in common over time and what its "
        "random effects are can hardly be told apart in short series.",
    )


# --- transformation ---------------------------------------------------------------------------


def transformation(context: Context, model: FittedModel, skewed: float) -> dict[str, Any]:
    """The diagnostics on other scales of the outcome, where there is a reason to look at them."""
    outcome = context.plan.outcome
    applied = context.spec.outcome.transform
    scales = _scales(context, model, skewed)
    facts: dict[str, Any] = {
        "applied": applied != "none",
        "label": outcome.base_label,
        "marked": abs(skewed) > RULES["skewness"].value,
        "right": skewed > 0,
        "advised": "",
        "better": False,
        "worse": False,
        "singular": [],
        "tails": all(
            (context.value(f"assumptions/residual/outliers_{side}") or 0) > 0
            for side in ("low", "high")
        ),
        "compared": bool(scales),
        "outcome": outcome.label,
        "back": _back(context, model) if applied != "none" else None,
        "adjusted": bool(context.plan.weights) or context.plan.has_offset,
    }
    if not scales:
        return facts
    found = context.run(
        STEP,
        "check_transformation",
        id=model.id,
        formula=model.plan.r,
        reml=context.spec.estimation.method == "REML",
        scales=list(scales),
        outcomes=list(scales.values()),
        own=applied,
    )
    facts["singular"] = [WORDS[str(scale)] for scale in found["singular"]]
    facts["table"] = _scales_table(context, applied, list(scales))
    if applied != "none":
        before = context.value("assumptions/scale/none/skewness")
        facts["better"] = before is not None and abs(skewed) < abs(before)
        facts["worse"] = before is not None and abs(skewed) > abs(before)
    if applied == "none":
        facts["advised"] = _advised(context, scales, skewed)
        facts["words"] = WORDS.get(facts["advised"], "")
    return facts


def _back(context: Context, model: FittedModel) -> Table | None:
    """The outcome in its own units at a low and a high value of each predictor."""
    joined = {
        part.variable.column
        for entry in model.coefficients
        if entry.kind in {"interaction", "function"}
        for part in entry.parts
        if part.variable
    }
    rows = [
        row
        for entry in model.coefficients
        if entry.kind in {"number", "category"}
        and (variable := entry.parts[0].variable)
        and variable.column not in joined
        for row in _places(context, model, entry, variable)
    ]
    if not rows:
        return None
    level, outcome = context.spec.inference.level, context.plan.outcome
    context.run(
        STEP,
        "check_back",
        id=model.id,
        transform=context.spec.outcome.transform,
        level=level,
        ddf=context.ddf,
        rows=[{name: row[name] for name in ("key", "term", "place", "zero")} for row in rows],
    )
    unit = f" ({context.spec.outcome.unit})" if context.spec.outcome.unit else ""
    at = "assumptions/back"
    percent = f"{100 * level:g}"
    return Table(
        "back",
        f"{outcome.base_label[0].upper()}{outcome.base_label[1:]} in its own units, turned back "
        "from the scale of the model",
        ("", f"{outcome.base_label}{unit}", f"{percent} % CI"),
        tuple(
            Row(
                row["label"],
                (
                    context.item(f"{at}/{row['key']}/estimate"),
                    (
                        "[",
                        context.item(f"{at}/{row['key']}/lower"),
                        ", ",
                        context.item(f"{at}/{row['key']}/upper"),
                        "]",
                    ),
                ),
            )
            for row in rows
        ),
        "Expected outcome on the scale of the model, for random effects of zero and the other "
        "columns of the fixed part at their means, turned back: a median of the outcome rather "
        "than a mean. Predictors in interactions or functions are left out.",
    )


def _places(
    context: Context, model: FittedModel, entry: Coefficient, variable: Variable
) -> list[dict[str, Any]]:
    """A low and a high value of a coefficient's column, and what to call them."""
    if entry.kind == "number":
        return [
            {
                "key": f"{entry.name}/{place}",
                "term": entry.name,
                "place": place,
                "zero": [],
                "label": f"{variable.label}, one SD {place} its mean",
            }
            for place in ("below", "above")
        ]
    same = [e for e in model.coefficients if e.kind == "category"
            and e.parts[0].variable == variable]  # fmt: skip
    zero = [e.name for e in same if e.name != entry.name]
    on = {
        "key": f"{entry.name}/on", "term": entry.name, "place": "on", "zero": zero,
        "label": entry.parts[0].label,
    }  # fmt: skip
    if entry != same[0]:
        return [on]
    reference = context.categories[variable.column][0]
    off = {**on, "key": f"{entry.name}/off", "place": "off",
           "label": category_label(variable.label, reference)}  # fmt: skip
    return [off, on]


WORDS = {
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
    if context.plan.weights or context.plan.has_offset:
        return {}
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
    """The scale of the smallest skewness, if by no other measure it is worse than the model's.

    A transformation draws in one tail. Where the other is long too, the excess kurtosis, the share
    outside the band or AIC, all on the scale of the untransformed outcome, rise with it.
    """
    found = {
        scale: abs(value)
        for scale in scales
        if (value := context.value(f"assumptions/scale/{scale}/skewness")) is not None
        and abs(value) < abs(skewed)
        and not any(_worse(context, scale, what) for what in ("kurtosis", "outside", "aic"))
    }
    return min(found, key=lambda scale: found[scale], default="")


def _worse(context: Context, scale: str, what: str) -> bool:
    at = "assumptions/scale"
    own, other = context.value(f"{at}/model/{what}"), context.value(f"{at}/{scale}/{what}")
    return own is None or other is None or other > own


def _scales_table(context: Context, applied: str, scales: Sequence[str]) -> Table:
    def row(scale: str, name: str) -> Row:
        whats = ("skewness", "kurtosis", "outside", "spread", "aic")
        cells = tuple(context.item(f"assumptions/scale/{scale}/{what}") for what in whats)
        return Row(WORDS[name], cells)

    mine = row("model", applied)
    others = [row(scale, scale) for scale in scales]
    rows = [*others, mine] if applied != "none" else [mine, *others]
    return Table(
        "scales",
        "Residuals of the model with the outcome on other scales",
        ("Outcome", "Skewness", "Excess kurtosis", "Outside the band", "Spread", "AIC"),
        tuple(rows),
        "The same fixed and random effects on each scale. Outside the band: share of the plotted "
        "quantiles; spread: rank correlation of fitted values with absolute residuals. AIC by ML, "
        "of the untransformed outcome: with the Jacobian of the transformation, without which it "
        "is not comparable between scales.",
    )
