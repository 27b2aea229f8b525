"""Step 6: criteria, tests between the models, variance explained at each level."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from mlmreport.quantities import Cell, Row, Table
from mlmreport.spec import formula as fm
from mlmreport.steps import definitions, explained
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
    found = explained.examine(context)
    before = definitions.before(context)
    others = definitions.others(context)
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
        **found,
        "before": before,
        "method": context.spec.estimation.method,
        "tables": {
            "ledger": _ledger(context),
            "tests": _tests_table(context, comparisons),
            **({"reduction": _reduction_table(context)} if reductions else {}),
            **found["tables"],
            **({"before": before["table"]} if before["have"] else {}),
            "definitions": others,
        },
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
        "tested": kind != "not nested" and df > 0,
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
        "mixture of chi-squares where a variance is tested at zero, and where several are with the "
        "chi-square of all parameters, which is conservative",
        ("χ² = ", entry["chisq"], ", df = ", entry["df"], ", p ", entry["p"]),
        f"{larger.plan.label} "
        + ("fits better than " if entry["better"] else "does not fit detectably better than ")
        + smaller.plan.label,
        "Pinheiro2000" if kind == "fixed" else "Stram1994",
    )
    return entry


def _relation(smaller: FittedModel, larger: FittedModel) -> tuple[str, str]:
    """What `larger` has more, by kind: ``fixed``, ``variance`` (one), ``several``, ``both``.

    Otherwise ``not nested``. The second part says it in words, where it is one thing.
    """
    a, b = smaller.plan.formula, larger.plan.formula
    fixed_a, fixed_b = _terms(a), _terms(b)
    if a.intercept != b.intercept or not fixed_a <= fixed_b or not _random_within(a, b):
        return "not nested", ""
    if a.random == b.random:
        return ("fixed", "fixed effects") if fixed_a < fixed_b else ("not nested", "")
    if fixed_a != fixed_b:
        return "both", ""
    # A category or a polynomial adds several variances: their joint null is no simple mixture.
    one = _effects(larger) - _effects(smaller) == 1
    if not one or (found := _larger_random(a, b)) is None:
        return "several", ""
    return "variance", found


def _random_within(a: fm.Formula, b: fm.Formula) -> bool:
    """Whether the random part of `b` has all of that of `a`, each term within one of its own."""
    left = list(b.random)
    for term in a.random:
        found = next((other for other in left if _term_within(term, other)), None)
        if found is None:
            return False
        left.remove(found)
    return True


def _term_within(x: fm.RandomTerm, y: fm.RandomTerm) -> bool:
    of_x, of_y = ({frozenset(t.factors) for t in term.terms} for term in (x, y))
    alone = len(of_x) + x.intercept == 1
    return (
        x.groups == y.groups
        and x.intercept <= y.intercept
        and of_x <= of_y
        and (y.correlated or not x.correlated or alone)
    )


def _effects(model: FittedModel) -> int:
    return sum(len(effects) for effects in model.fit.blocks.values())


def _terms(formula: fm.Formula) -> set[frozenset[fm.Expression]]:
    return {frozenset(term.factors) for term in formula.fixed}


def _larger_random(a: fm.Formula, b: fm.Formula) -> str | None:
    """The one effect that `b` has more, a new grouping's or a term's; None where it is not one."""
    if len(b.random) == len(a.random) + 1:
        return "grouping"
    if len(a.random) != len(b.random):
        return None
    more = [(x, y) for x, y in zip(a.random, b.random, strict=True) if x != y]
    if len(more) != 1:
        return None
    x, y = more[0]
    added = {frozenset(t.factors) for t in y.terms} - {frozenset(t.factors) for t in x.terms}
    plain = x.intercept == y.intercept and (x.correlated == y.correlated or not x.terms)
    return "random slope" if plain and len(added) == 1 else None


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
        "groups": _null_groups(context),
    }


def _null_groups(context: Context) -> str:
    """What the units of the null model's one grouping are called."""
    assert context.null is not None
    return context.plural(next(iter(context.null.fit.groups.values())))


def _tests_table(context: Context, comparisons: list[dict[str, Any]]) -> Table:
    words = {
        "fixed": "fixed effects, ML",
        "variance": f"variance, {context.spec.estimation.method}",
        "both": "fixed effects and variances, ML, conservative",
        "several": f"several variances, {context.spec.estimation.method}, conservative",
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
            cells = (words["not nested"], "", "", "")
        rows.append(Row(head, cells))
    return Table(
        "tests",
        "Likelihood-ratio tests between neighbours in the sequence",
        ("Comparison", "Test", "χ²", "df", "p"),
        tuple(rows),
        " ".join(_notes_of_tests({entry["kind"] for entry in comparisons if entry["tested"]})),
    )


def _notes_of_tests(kinds: set[str]) -> Iterator[str]:
    """What is to be said of the kinds of tests that a table has."""
    if "variance" in kinds:
        yield (
            "The test of one variance at zero uses the mixture of chi-squares with df − 1 and df "
            "(Stram and Lee 1994)."
        )
    if kinds & {"both", "several"}:
        yield (
            "Where several parameters are tested at once the mixture is not known in general; the "
            "chi-square with all df gives too large a p, never too small a one "
            "(Stram and Lee 1994)."
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
        "of each other. Weight = Akaike weight. R²m, R²c = marginal and conditional R² "
        "(Nakagawa and Schielzeth 2013; Johnson 2014) of "
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
        rises = {name: (context.value(f"{at}/{name}") or 0) < 0 for name in ("residual", *blocks)}
        found.append(
            {
                "label": model.plan.label,
                "final": model is context.final,
                "residual": context.item(f"{at}/residual"),
                "residual_rises": rises["residual"],
                "groups": [
                    {
                        "name": level.plural,
                        "share": context.item(f"{at}/{level.group}"),
                        "rises": rises[level.group],
                    }
                    for level in context.plan.groups
                    if level.group in blocks
                ],
                "negative": any(rises[block] for block in blocks),
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
        "Reduction of the variance at each level",
        ("Model", f"Within {context.finest(null)}",
         *(f"Between {level.plural}" for level in levels)),
        rows,
        "Proportional reduction of the variance component against the null model (Raudenbush "
        "and Bryk 2002). It can be negative. Where slopes vary, the variance between groups is "
        "that at the means of their predictors, and the residual variance falls by what the slopes "
        "take from it, which is no explanation by predictors.",
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
