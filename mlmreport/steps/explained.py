"""Part of step 6: the variance that the final model implies by level, and how well it predicts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mlmreport.quantities import Cell, Figure, Quantity, Row, Table
from mlmreport.spec.variables import Level
from mlmreport.steps.context import Context, FittedModel
from mlmreport.steps.cost import samples_of
from mlmreport.steps.effects import interval, listed
from mlmreport.thresholds import RULES

__all__ = ["examine"]

STEP = "fit"

KINDS = {"f": "Fixed effects", "v": "Slopes that vary", "m": "Means that vary", "r": "Residual"}


def examine(context: Context) -> dict[str, Any]:
    """The implied variance divided, bootstrap intervals, prediction error, groups left out."""
    split = _split(context)
    partition = _partition(context, split)
    bootstrap = _bootstrap(context, split, partition["have"])
    snijders = _snijders(context)
    left_out = _left_out(context)
    return {
        "partition": partition,
        "bootstrap": bootstrap,
        "snijders": snijders,
        "left_out": left_out,
        "tables": {
            **({"partition": _partition_table(context, split)} if partition["have"] else {}),
            **({"snijders": _snijders_table(context)} if snijders["have"] else {}),
            **({"leftout": _left_out_table(context)} if left_out["have"] else {}),
        },
        "figures": {"partition": _partition_figure(context, split)} if partition["have"] else {},
    }


# --- the implied variance by level -------------------------------------------------------------


@dataclass
class _Split:
    """The parts of the variance by R's names.

    Parameters
    ----------
    groups
        The groupings of the final model, the lowest first.
    crossed
        Whether they are crossed with each other.
    places
        Where each level lies, the rows' first: "within schools", "between schools".
    labels
        Each part's label.
    levels
        Each part's level; 0 for none.
    """

    groups: list[Level]
    crossed: bool
    places: list[str]
    labels: dict[str, str]
    levels: dict[str, int]


def _split(context: Context) -> _Split:
    own = context.groupings(context.final)
    crossed = context.spec.structure == "crossed" and len(own) > 1
    names = [level.plural for level in own]
    if crossed:
        places = ["within " + " and ".join(names), *(f"between {name}" for name in names)]
    else:
        above = [*(f" within {name}" for name in names[1:]), ""]
        between = [f"between {n}{a}" for n, a in zip(names, above, strict=False)]
        places = [f"within {name}" for name in names[:1]] + between
    labels = {f"f{k}": f"Fixed effects {place}" for k, place in enumerate(places, start=1)}
    levels = {name: int(name[1:]) for name in labels}
    for k, level in enumerate(own, start=2):
        if _has_slopes(context.final, level):
            for below in [1] if crossed else range(1, k):
                where = "" if len(own) == 1 else f", {places[below - 1]}"
                labels[f"v{below}{k}"] = f"Slopes that vary over {level.plural}{where}"
                levels[f"v{below}{k}"] = below
        labels[f"m{k}"] = f"Means of {level.plural} that vary"
        levels[f"m{k}"] = k
    if crossed:
        labels["shared"], levels["shared"] = "Fixed effects, shared by the groupings", 0
    labels["residual"], levels["residual"] = "Residual", 1
    return _Split(own, crossed, places, labels, levels)


def _has_slopes(model: FittedModel, level: Level) -> bool:
    return any(
        model.fit.groups[block] == level.group and effects != ("(Intercept)",)
        for block, effects in model.fit.blocks.items()
    )


def _partition(context: Context, split: _Split) -> dict[str, Any]:
    final = context.final
    if not final.plan.formula.fixed:
        return {"have": False, "reason": "the model that is interpreted has no predictors"}
    if combined := context.combinations(final):
        return {"have": False, "reason": no_level(combined)}
    facts = context.run(
        STEP,
        "variance_partition",
        id=final.id,
        groups=[level.group for level in split.groups],
        crossed=split.crossed,
        labels={name: _lower(label) for name, label in split.labels.items()},
        of=list(split.levels.values()),
        levels=split.places,
    )
    if facts["reason"][0]:
        return {"have": False, "reason": facts["reason"][0]}
    for name in facts.get("tiny", ()):  # what the design rules out is no row of the table
        if name[0] == "v" or name == "shared":
            split.labels.pop(name, None)
    shared = facts.get("conflated", ())
    return {
        "have": True,
        "crossed": split.crossed,
        "many": len(split.groups) > 1,
        "several": len(final.plan.formula.fixed) > 1,
        "conflated": [entry.label for entry in final.coefficients if entry.name in shared],
        "shared": context.item("fit/partition/total/shared") if "shared" in split.labels else None,
        "levels": [_level(context, split, k) for k in range(1, len(split.places) + 1)],
        "group": split.groups[0].name,
        "groups": split.groups[0].plural,
    }


def no_level(combined: Sequence[str]) -> str:
    """Why nothing is said by level of a model with random effects of combinations of groups."""
    return (
        f"random effects vary over {listed(combined)} combinations, which are no level of the data"
    )


def _lower(label: str) -> str:
    return label[0].lower() + label[1:]


def _level(context: Context, split: _Split, k: int) -> dict[str, Any]:
    def own(name: str) -> Any:
        return context.item(f"fit/partition/own/{name}")

    slopes = [
        {"share": own(name), "over": split.groups[int(name[2:]) - 2].plural}
        for name, level in split.levels.items()
        if name in split.labels and level == k and name[0] == "v"
        and (context.value(f"fit/partition/{name}") or 0) > 0
    ]  # fmt: skip
    return {
        "place": split.places[k - 1],
        "share": context.item(f"fit/partition/level/{k}"),
        "have": context.value(f"fit/partition/own/f{k}") is not None,
        "fixed": own(f"f{k}"),
        "slopes": slopes,
        "means": own(f"m{k}") if k > 1 else None,
        "units": split.groups[k - 2].plural if k > 1 else "",
    }


def _partition_table(context: Context, split: _Split) -> Table:
    limits = any(context.value(f"fit/bootstrap/{part}/lower") is not None for part in split.labels)
    percent = f"{100 * context.spec.inference.level:g}"

    def row(part: str, label: str) -> Row:
        cells: list[Cell] = [
            context.item(f"fit/partition/{part}"),
            context.item(f"fit/partition/total/{part}"),
        ]
        if limits:
            cells.append(interval(context, f"fit/bootstrap/{part}"))
        cells.append(context.item(f"fit/partition/own/{part}") if split.levels[part] else "")
        return Row(label, tuple(cells))

    rows: list[Row] = []
    for k, place in enumerate(split.places, start=1):
        rows.append(Row(place[0].upper() + place[1:], group=True))
        rows += [row(p, label) for p, label in split.labels.items() if split.levels[p] == k]
    rows += [row(p, label) for p, label in split.labels.items() if not split.levels[p]]
    heads = ["Source", "Variance", "Share of total", "Share of its level"]
    if limits:
        heads.insert(3, f"{percent} % CI, bootstrap")
    return Table(
        "partition",
        f"The variance implied by {context.final.plan.label}, divided",
        tuple(heads),
        tuple(rows),
        ("Every column of the design split by an additive model of the crossed groupings, after "
        "the framework of Rights and Sterba (2019) for nested ones. " if split.crossed
        else "Rights and Sterba (2019). " if len(split.groups) == 1
        else "Rights and Sterba (2023). ")
        + "The fixed parts add up to the marginal R², all but the residual to the conditional R². "
        "Rows weigh alike, so large groups weigh more.",
    )  # fmt: skip


def _partition_figure(context: Context, split: _Split) -> Figure:
    def bar(name: str, whole: str, parts: Iterator[str]) -> list[Any]:
        found = [
            [KINDS[part[0]], item]
            for part in parts
            if isinstance(item := context.item(f"fit/partition/{whole}/{part}"), Quantity)
            and item.value > 0
        ]
        return [name, found]

    ordered = [part for k in range(1, len(split.places) + 1) for part in _parts_at(split, k)]
    bars = [
        bar("Total", "total", iter(ordered)),
        *(
            bar(place[0].upper() + place[1:], "own", _parts_at(split, k))
            for k, place in enumerate(split.places, start=1)
        ),
    ]
    return Figure(
        "partition",
        "share_bars",
        f"Where the variance lies by {context.final.plan.label}: in all, and at each level. In the "
        "bar of the total the levels follow each other from the lowest"
        + (
            "; what the groupings share of the fixed effects is left out"
            if "shared" in split.labels
            else ""
        )
        + ".",
        "A stacked bar for the total and one for each level, divided into the shares of fixed "
        "effects, slopes and means that vary, and residual.",
        {"bars": [entry for entry in bars if entry[1]]},
    )


def _parts_at(split: _Split, level: int) -> Iterator[str]:
    return (part for part in split.labels if split.levels[part] == level)


# --- bootstrap intervals -----------------------------------------------------------------------

SIDES = ("lower", "upper")


def _bootstrap(context: Context, split: _Split, divided: bool) -> dict[str, Any]:
    asked, final = context.spec.inference.r2_bootstrap, context.final
    part = f"bootstrap intervals of the shares of variance of {final.plan.label}"
    samples, reason = samples_of(context, STEP, part, final, asked, "r2_bootstrap")
    facts: dict[str, Any] = {
        "have": False,
        "none": asked == 0,
        "too_long": reason,
        "reason": None,
        "level": context.item("settings/level"),
    }
    if not samples:
        return facts
    if combined := context.combinations(final):
        return facts | {"too_long": no_level(combined)}
    labels = {name: _lower(label) for name, label in split.labels.items()} if divided else {}
    done = context.run(
        STEP,
        "r2_bootstrap",
        id=final.id,
        groups=[level.group for level in split.groups],
        crossed=split.crossed,
        labels=labels,
        samples=samples,
        seed=context.spec.inference.seed,
        level=context.spec.inference.level,
    )
    if not done["have"][0]:
        return facts | {"reason": context.item("fit/bootstrap/r2m/lower")}
    return facts | {
        "have": True,
        "samples": context.item("fit/bootstrap/samples"),
        "failed": context.item("fit/bootstrap/failed"),
        "any_failed": (context.value("fit/bootstrap/failed") or 0) > 0,
        "boundary": context.item("fit/bootstrap/boundary"),
        "any_boundary": (context.value("fit/bootstrap/boundary") or 0) > 0,
        "marginal": context.all("fit/bootstrap/r2m", *SIDES),
        "conditional": context.all("fit/bootstrap/r2c", *SIDES),
    }


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
    null = context.null
    if null is None:
        return {"have": False, "reason": "there is no null model to compare with"}
    if context.plan.weights:
        reason = "it is not defined here with prior weights, by which rows do not count alike"
        return {"have": False, "reason": reason}
    groups = context.groupings(null)
    if combined := context.combinations(null):
        return {"have": False, "reason": f"in the null model {no_level(combined)}"}
    for model, of in _snijders_of(context):
        context.run(
            STEP,
            "snijders_bosker",
            id=model.id,
            of=of,
            null=null.id,
            groups=[level.group for level in groups],
        )
    used = _snijders_of(context)
    reductions = [
        context.value(f"fit/{model.id}/snijders/{what}") or 0
        for model, _ in used
        for what in ("rows", *(level.group for level in groups))
    ]
    return {
        "have": bool(used),
        "reason": "no model of the sequence has random intercepts only and predictors",
        "refitted": any(of == "s_intercepts" for _, of in used),
        "several": len(groups) > 1,
        "crossed": context.spec.structure == "crossed" and len(groups) > 1,
        "negative": min(reductions, default=0) < 0,
        "misspecified": min(reductions, default=0) < -RULES["prediction_loss"].value,
        "skipped": [
            model.plan.label
            for model in context.models
            if model is not null and model not in [entry for entry, _ in used]
        ],
    }


def _snijders_table(context: Context) -> Table:
    null = context.null
    assert null is not None
    groups = context.groupings(null)
    names = ("rows", *(level.group for level in groups))
    rows = tuple(
        Row(
            model.plan.label + (", without random slopes" if of == "s_intercepts" else ""),
            tuple(context.item(f"fit/{model.id}/snijders/{name}") for name in names),
        )
        for model, of in _snijders_of(context)
    )
    return Table(
        "snijders",
        "Reduction of prediction error against the null model",
        ("Model", f"For {context.plan.levels[0].plural} (level 1)",
         *(f"For {level.name} means (level {level.index})" for level in groups)),
        rows,
        "Snijders and Bosker (2012), from models with random intercepts only"
        + (
            "; means of groups as they are sampled, averaged over the groups."
            if len(groups) > 1
            else f"; level 2 with the harmonic mean of the {groups[0].name} sizes."
        ),
    )  # fmt: skip


# --- groups left out ---------------------------------------------------------------------------


def _targets(context: Context) -> list[Level]:
    """The groupings whose groups are left out: the highest, or each of crossed ones."""
    own = context.groupings(context.final)
    return own if context.spec.structure == "crossed" else own[-1:]


def _prefix(context: Context, model: FittedModel, level: Level) -> str:
    at = f"fit/{model.id}/leftout"
    return f"{at}/{level.group}" if len(_targets(context)) > 1 else at


def _left_out(context: Context) -> dict[str, Any]:
    for level in _targets(context):
        for model in context.models:
            own = context.groupings(model)
            if level not in own:
                continue
            context.run(
                STEP,
                "leave_group_out",
                id=model.id,
                prefix=_prefix(context, model, level),
                group=level.group,
                crossed=not context.within(model, level),
                predictors=bool(model.plan.formula.fixed),
                unit=context.unit,
            )
    return {
        "have": bool(_targets(context)),
        "reason": no_level(context.combinations(context.final)),
        "crossed": len(_targets(context)) > 1,
        "several": len(context.groupings(context.final)) > 1,
        "sets": [_left_out_set(context, level) for level in _targets(context)],
        "unit": context.unit,
    }


def _left_out_set(context: Context, level: Level) -> dict[str, Any]:
    at, null = _prefix(context, context.final, level), context.null
    outside, inside = context.value(f"{at}/outside"), context.value(f"{at}/inside")
    slope = context.value(f"{at}/slope")
    null_at = f"{_prefix(context, null, level)}/outside" if null else ""
    null_error = context.value(null_at) if null is not context.final else None
    return {
        "final": context.all(at, "inside", "outside", "slope", "intercept"),
        "computed": outside is not None,
        "worse": None if outside is None or inside is None else outside > inside,
        "calibrated": slope is not None,
        "steep": slope is not None and slope > 1,
        "against": slope is not None and slope < 0,
        "null": context.item(null_at) if null_error is not None else None,
        "gain": None if null_error is None or outside is None else outside < null_error,
        "group": level.name,
        "groups": level.plural,
    }


def _left_out_table(context: Context) -> Table:
    names = ("inside", "outside", "slope", "intercept")
    targets = _targets(context)
    rows: list[Row] = []
    for level in targets:
        if len(targets) > 1:
            rows.append(Row(f"Each {level.name} left out", group=True))
        for model in context.models:
            at = _prefix(context, model, level)
            if f"{at}/inside" in context.engine.items:
                rows.append(Row(model.plan.label, tuple(context.item(f"{at}/{n}") for n in names)))
    what = " and each ".join(level.name for level in targets)
    return Table(
        "leftout",
        f"Prediction of each {what} by fixed effects estimated without it",
        ("Model", "RMSE in the sample", "RMSE, left out", "Calibration slope",
         "Calibration intercept"),
        tuple(rows),
        "RMSE = root mean squared error of the fixed part's predictions. Calibration: the outcome "
        "regressed on the predictions; 1 and 0 are ideal. Variance components are held at "
        "their estimates.",
    )  # fmt: skip
