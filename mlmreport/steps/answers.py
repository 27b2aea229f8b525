"""Part of step 8: what the report says to each research question, and within what limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mlmreport.spec import formula as fm
from mlmreport.spec.schema import QuestionSpec
from mlmreport.spec.sequence import question_terms
from mlmreport.spec.variables import Level, Variable
from mlmreport.steps.coefficients import INTERCEPT, Coefficient
from mlmreport.steps.context import Context, FittedModel
from mlmreport.steps.effects import listed
from mlmreport.steps.interpretation import (
    higher_columns,
    intercepts_at,
    pair_of,
    several_terms,
    where_it_holds,
)
from mlmreport.steps.models import COEFFICIENT
from mlmreport.steps.questions import KINDS, kind_of

__all__ = ["adjust", "answers", "limits"]

STEP = "inference"
Found = Mapping[str, Mapping[str, Any]]


def answers(context: Context, model: FittedModel, found: Found) -> list[dict[str, Any]]:
    """The answer to each question, from the final model and what the steps before found."""
    return [_answer(context, model, found, *pair) for pair in _asked(context)]


def _asked(context: Context) -> list[tuple[Any, tuple[fm.Term, ...]]]:
    terms = question_terms(context.spec, context.plan.variables)
    return list(zip(context.spec.questions, terms, strict=True))


# --- families of tests ------------------------------------------------------------------------


def _matched(model: FittedModel, kind: str, terms: tuple[fm.Term, ...]) -> list[Coefficient]:
    """The coefficients that a question asks for."""
    wanted = {frozenset(map(fm.expression_r, term.factors)) for term in terms}
    return [
        entry
        for entry in model.coefficients
        if kind != "variance" and entry.parts and frozenset(_factor_names(entry)) in wanted
    ]


def _family(question: QuestionSpec) -> str:
    return question.family or "all"


def adjust(context: Context, model: FittedModel) -> list[dict[str, Any]]:
    """Adjust the questions' p-values, family by family."""
    method = context.spec.inference.correction
    if method == "none":
        return []
    members: dict[str, list[str]] = {}
    for question, terms in _asked(context):
        kind = kind_of(context, question, terms)
        names = [e.name for e in _matched(model, kind, terms)
                 if context.value(f"{model.id}/fixef/{e.name}/p") is not None]  # fmt: skip
        known = members.setdefault(_family(question), [])
        known += [name for name in names if name not in known]
    found = []
    for family, names in members.items():
        if not names:
            continue
        context.run(STEP, "adjusted_tests", id=model.id, family=family, terms=names, method=method)
        tests = context.item(f"inference/adjusted/{family}/tests")
        found.append({"name": family, "tests": tests, "named": family != "all",
                      "single": len(names) == 1})  # fmt: skip
    return found


def _answer(
    context: Context,
    model: FittedModel,
    found: Found,
    question: QuestionSpec,
    terms: tuple[fm.Term, ...],
) -> dict[str, Any]:
    kind = kind_of(context, question, terms)
    matched = _matched(model, kind, terms)
    comparison = _comparison(context, kind, matched)
    varying = _varying(model, terms) if kind == "variance" else []
    names = [entry.name for entry in matched]
    return {
        "id": question.id,
        "text": question.text,
        "status": question.status,
        "kind": KINDS[kind],
        "effects": [_effect(context, model, found, _family(question), entry) for entry in matched],
        "joint": _joint(context, model, names),
        "contextual": _contextual(context, model, kind, matched),
        "limits": comparison,
        "variance": [_variance(context, model, found, *pair) for pair in varying],
        "missing_terms": bool(terms) and not matched and not varying,
        "slopes": _slopes(found["interpretation"]["interactions"], matched),
        "explained": _explained(context, model)
        if kind in {"between", "contextual"} and matched
        else None,
    }


def _varying(model: FittedModel, terms: tuple[fm.Term, ...]) -> list[tuple[str, str]]:
    """Block and effect of the variances that a question asks for: of its terms, or all."""
    wanted = {frozenset(map(fm.expression_r, term.factors)) for term in terms}
    return [
        (block, effect)
        for block, effects in model.fit.blocks.items()
        for effect in effects
        if not terms or frozenset(effect.split(":")) in wanted
    ]


# --- effects ----------------------------------------------------------------------------------


def _effect(
    context: Context, model: FittedModel, found: Found, family: str, entry: Coefficient
) -> dict[str, Any]:
    at = f"{model.id}/fixef/{entry.name}"
    p, estimate = context.value(f"{at}/p"), context.value(f"{at}/estimate") or 0.0
    part, variable = entry.parts[0], entry.parts[0].variable
    alone = context.value(f"inference/adjusted/{family}/tests") == 1
    adjusted = f"inference/adjusted/{family}/{entry.name}/p" if not alone else ""
    if adjusted in context.engine.items:
        p = context.value(adjusted)
    where = where_it_holds(context, model, entry)
    checked = found["assumptions"]
    return {
        "label": entry.label,
        "base": variable.base_label if variable else entry.label,
        "role": variable.role if variable else "",
        "category": part.category or "",
        "reference": context.categories[variable.column][0]
        if variable and part.category is not None
        else "",
        "kind": entry.kind,
        "pair": pair_of(context, entry),
        "where": where,
        "unit": variable.unit if variable else "",
        "positive": estimate >= 0,
        "tested": p is not None,
        "clear": p is not None and p < context.spec.inference.alpha,
        "adjusted": context.engine.items.get(adjusted),
        "factor": _factor(context, entry.name),
        "average": _average(context, model, entry),
        "within": _within(context, model, entry)
        if entry.label in checked["exogeneity"]["rejected"]
        else None,
        "bends": _bends(context, checked["linearity"], entry),
        "flips": [flip["how"] for flip in checked["remedies"]["flips"]
                  if entry.label in flip["labels"]],
        **context.all(at, *COEFFICIENT),
    }  # fmt: skip


def _is_curved(model: FittedModel, entry: Coefficient) -> bool:
    """Whether the model also has a function of its variable."""
    own = {part.variable for part in entry.parts}
    return entry.kind == "number" and any(
        other.kind == "function" and own & {part.variable for part in other.parts}
        for other in model.coefficients
    )


def _average(context: Context, model: FittedModel, entry: Coefficient) -> Mapping[str, Any] | None:
    """What an effect that depends on others, or on itself, comes to on average over the rows.

    None where that is the coefficient itself, as what it depends on has its mean at zero.
    """
    part = entry.parts[0]
    depends = where_it_holds(context, model, entry) or _is_curved(model, entry)
    if part.variable is None or part.contrast or not depends:
        return None
    others = context.categories.get(part.variable.column, ())[1:]
    place = "slope" if part.category is None else str(others.index(part.category) + 1)
    at, own = (
        f"interpretation/average/{part.variable.column}/{place}",
        f"{model.id}/fixef/{entry.name}",
    )
    average, there, se = (context.value(name) for name in
                          (f"{at}/estimate", f"{own}/estimate", f"{own}/se"))  # fmt: skip
    if average is None or there is None or se is None or abs(average - there) < 1e-6 * se:
        return None
    return context.all(at, *COEFFICIENT)


def _within(context: Context, model: FittedModel, entry: Coefficient) -> Mapping[str, Any]:
    """The effect within groups of a predictor whose coefficient mixes it with another one."""
    context.run(
        STEP, "within_effect", id=model.id, term=entry.name, label=entry.label,
        level=context.spec.inference.level, unit=context.unit,
    )  # fmt: skip
    at = f"inference/within/{entry.name}"
    context.sharpen([f"{at}/{what}" for what in ("estimate", "se", "lower", "upper")], f"{at}/se")
    return context.all(at, *COEFFICIENT)


def _bends(
    context: Context, linearity: Mapping[str, Any], entry: Coefficient
) -> list[dict[str, Any]]:
    """The squares of its predictor that step 3 shows, where the model has a line only."""
    column = entry.parts[0].variable.column if entry.parts[0].variable else ""
    found = []
    for bend in linearity["bent"]:
        at = f"assumptions/curve/{bend['place']}/{bend['column']}"
        p = context.value(f"{at}/p") if bend["column"] == column else None
        if entry.kind == "number" and p is not None and p < context.spec.inference.alpha:
            found.append({"where": bend["where"], **context.all(at, "df", "t", "p")})
    return found


def _slopes(
    interactions: Sequence[Mapping[str, Any]], matched: Sequence[Coefficient]
) -> list[dict[str, Any]]:
    """The simple slopes of the products that a question asks for."""
    asked = [set(_factor_names(entry)) for entry in matched if entry.kind == "interaction"]
    return [
        {
            "label": entry["moderator"],
            "focal": entry["focal"],
            "slopes": entry["slopes"],
            "type": entry["moderator_type"],
        }
        for entry in interactions
        if set(map(fm.r_name, entry["key_columns"])) in asked
    ]


def _explained(context: Context, model: FittedModel) -> Mapping[str, Any] | None:
    """By how much the variance between groups is smaller than the null model's."""
    name = f"fit/{model.id}/reduction/{context.lowest_group}"
    if name not in context.engine.items:
        return None
    return {"share": context.item(name), "rises": (context.value(name) or 0) < 0}


def _factor(context: Context, name: str) -> Mapping[str, Any] | None:
    """On a log outcome, by what the effect multiplies the geometric mean."""
    at = f"interpretation/factor/{name}"
    if context.value(f"{at}/estimate") is None:
        return None
    return context.all(at, "estimate", "lower", "upper")


def _factor_names(entry: Coefficient) -> list[str]:
    return [
        fm.r_name(part.variable.column)
        if part.variable and (part.category is not None or part.contrast)
        else part.name
        for part in entry.parts
    ]


def _joint(context: Context, model: FittedModel, names: Sequence[str]) -> list[dict[str, Any]]:
    """The joint tests of the terms of several coefficients that a question asks for."""
    return [
        {"label": label, **context.all(f"interpretation/joint/{key}", "F", "df1", "df2", "p")}
        for key, label, _, of in several_terms(model)
        if set(of) <= set(names) and context.value(f"interpretation/joint/{key}/p") is not None
    ]


def _contextual(
    context: Context, model: FittedModel, kind: str, matched: Sequence[Coefficient]
) -> list[dict[str, Any]]:
    """The contextual effects of the group means in a question, where they are no coefficients."""
    found = []
    for entry in matched if kind in {"between", "contextual"} else ():
        variable = entry.parts[0].variable if entry.kind == "number" else None
        key = context.means.get(variable.column) if variable else None
        at = f"interpretation/contextual/{key}"
        within = _centred(model, key) if key else None
        if key and within and context.value(f"{at}/p") is not None:
            p = context.value(f"{at}/p")
            found.append({
                "label": context.plan.variables[key].base_label,
                "unit": context.plan.variables[key].unit,
                "where": where_it_holds(context, model, within),
                "clear": p is not None and p < context.spec.inference.alpha,
                **context.all(at, *COEFFICIENT),
            })  # fmt: skip
    return found


def _centred(model: FittedModel, key: str) -> Coefficient | None:
    """The coefficient of a predictor's deviations from its group means, where the model has it."""
    return next((entry for entry in model.coefficients if entry.kind == "number"
                 for v in [entry.parts[0].variable] if v and v.key == key and v.role == "within"),
                None)  # fmt: skip


MIXED = 0.01
"""A predictor of which more than this share lies between groups mixes both comparisons."""


def _comparison(context: Context, kind: str, matched: Sequence[Coefficient]) -> dict[str, Any]:
    """What kind of comparison an answer rests on, for the sentence about its limits."""
    if kind == "variance":
        return {"kind": "variance", "groups": listed([g.plural for g in context.plan.groups])}
    if not matched:
        return {"kind": ""}
    levels = context.plan.levels
    own = levels[max(entry.level for entry in matched) - 1]
    low = levels[min((p.variable.level for e in matched for p in e.parts if p.variable),
                     default=1) - 1]  # fmt: skip
    if any(len(entry.parts) > 1 for entry in matched):
        code = "cross-level" if own != low else "interaction"
        return {"kind": code, "groups": own.plural, "members": low.plural}
    if own.index > 1:
        means = {p.variable.column for e in matched for p in e.parts if p.variable}
        contextual = kind == "contextual" and bool(means & context.means.keys())
        return {"kind": "contextual" if contextual else "between", "groups": own.plural,
                "group": own.name, "members": _members(context, own),
                "individuals": _individuals(context, own)}  # fmt: skip
    mixed = any(
        _mixes(context, part.variable) for e in matched for part in e.parts if part.variable
    )
    above = levels[own.index]
    return {"kind": "mixed" if mixed else "within", "groups": above.plural, "group": above.name,
            "members": own.plural}  # fmt: skip


# --- of what they speak -----------------------------------------------------------------------


def limits(context: Context, model: FittedModel) -> dict[str, Any]:
    """What the coefficients of each level compare, and what has to be a sample of what."""
    return {"higher": _higher(context, model), "sampled": _sampled(context)}


def _individuals(context: Context, level: Level) -> bool:
    """Whether units of a level are measured again and again: individuals, no groups of them."""
    return context.spec.time is not None and level.index == 2


def _members(context: Context, level: Level) -> str:
    """What the units of a level consist of, in the plural."""
    crossed = context.spec.structure == "crossed"
    return context.plan.levels[0 if crossed else level.index - 2].plural


def _higher(context: Context, model: FittedModel) -> list[dict[str, Any]]:
    """The levels above the lowest that the model has predictors of."""
    columns = set(higher_columns(context, model))
    used = {v.level for v in context.plan.used if v.column in columns}
    return [
        {"name": level.name, "plural": level.plural, "members": _members(context, level),
         "individuals": _individuals(context, level)}
        for level in context.plan.groups if level.index in used
    ]  # fmt: skip


def _sampled(context: Context) -> list[str]:
    """What has to be a sample for the results to generalise, the highest level first."""
    lowest = [] if context.spec.time else [context.plan.levels[0]]
    above = list(reversed(context.plan.groups))
    if context.spec.structure == "crossed":
        return [level.plural for level in above]
    return [level.plural for level in (*above, *lowest)]


def _mixes(context: Context, variable: Variable) -> bool:
    """Whether a lowest-level predictor compares within and between groups at once."""
    if variable.role == "within" or variable.key in context.means.values():
        return False
    frame = context.data.frame
    made = (
        pd.get_dummies(frame[variable.column])
        if variable.type == "category"
        else frame[[variable.column]]
    )
    values = made.to_numpy(float)
    means = made.astype(float).groupby(frame[context.lowest_group], observed=True).transform("mean")
    share = np.square(means.to_numpy() - values.mean(axis=0)).sum()
    return bool(share > MIXED * np.square(values - values.mean(axis=0)).sum())


# --- variances --------------------------------------------------------------------------------


def _variance(
    context: Context, model: FittedModel, found: Found, block: str, effect: str
) -> dict[str, Any]:
    at = f"{model.id}/var/{block}/{effect}/sd"
    items, group = context.engine.items, model.fit.groups[block]
    have = context.value(f"{at}/lower") is not None and context.value(f"{at}/upper") is not None
    entry = next((e for e in model.coefficients if e.name == effect and e.parts), None)
    variable = entry.parts[0].variable if entry and entry.kind == "number" else None
    share = _share(context, found["icc"], group) if effect == INTERCEPT else None
    test = (_intercept_test(context, found["icc"]) if effect == INTERCEPT
            else _slope_test(context, found["models"], group, entry))  # fmt: skip
    return {
        "label": context.effect_phrase(model, effect),
        "groups": context.plural(group),
        "intercept": effect == INTERCEPT,
        "per": (variable.unit or "unit") if variable else "",
        "where": intercepts_at(context, model, group) if effect == INTERCEPT else [],
        "sd": context.item(at),
        "lower": items.get(f"{at}/lower"),
        "upper": items.get(f"{at}/upper"),
        "have": have,
        "share": share,
        "test": test,
        "unshown": _unshown(context, test, share),
    }


def _share(context: Context, icc: Mapping[str, Any], group: str) -> Mapping[str, Any] | None:
    """The share of the null model's variance that lies between the groups, with its interval."""
    at = f"icc/{group}"
    if not icc["have"] or context.value(f"{at}/icc") is None:
        return None
    limits = {end: context.engine.items.get(f"{at}/{end}") for end in ("lower", "upper")}
    have = all(context.value(f"{at}/{end}") is not None for end in limits)
    return {"icc": context.item(f"{at}/icc"), "have": have, **limits}


def _intercept_test(context: Context, icc: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The exact test of the null model's one variance between groups."""
    if not icc["have"] or not icc["exact"] or not icc["exact"]["have"]:
        return None
    return {"kind": "exact", **context.all("icc/exact", "statistic", "p")}


def _slope_test(
    context: Context, models: Mapping[str, Any], group: str, entry: Coefficient | None
) -> Mapping[str, Any] | None:
    """The likelihood-ratio test by which step 5 removes the slope from the final model."""
    if entry is None:
        return None
    over = [] if group == context.lowest_group else [group]
    own = ["/".join([":".join(_factor_names(entry)), *over, how])
           for how in ("removed", "independent")]  # fmt: skip
    tests = {test["key"]: test for test in models["examined"]["slopes"]["tests"]}
    key = next((key for key in own if context.value(f"models/slope/{key}/p") is not None), None)
    if key not in tests:
        return None
    made, at = tests[key], f"models/slope/{key}"
    return {
        "kind": made["by"] if made["p_exact"] else "mixture",
        "statistic": context.item(f"{at}/chisq"),
        "p": context.item(f"{at}/{'p_exact' if made['p_exact'] else 'p'}"),
    }


def _unshown(
    context: Context, test: Mapping[str, Any] | None, share: Mapping[str, Any] | None
) -> bool:
    """Whether no variance is shown: by its test, or by the lower limit of its share."""
    if test:
        p = context.value(test["p"].id)
        return p is None or p >= context.spec.inference.alpha
    if not share or share["lower"] is None:
        return False
    return not share["have"] or context.value(share["lower"].id) == 0
