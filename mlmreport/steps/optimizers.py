"""Part of step 5: the best log-likelihood over lme4's optimizers is the one that is reported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mlmreport.engine.fits import Fit
from mlmreport.quantities import Cell, Row, Table
from mlmreport.spec.sequence import ModelPlan
from mlmreport.steps.context import Context, FittedModel, Refits
from mlmreport.steps.cost import fit_seconds, too_long
from mlmreport.thresholds import RULES

__all__ = ["compare", "settle", "table", "used"]

STEP = "models"
OPTIMIZERS = ("nloptwrap", "bobyqa", "Nelder_Mead")
"""The optimizers that lme4 brings with it; no other is tried."""
AHEAD = "BFGS"
"""What searches on compressed data, see ``minimise()`` in ``r/compression.R``."""


def settle(context: Context, plan: ModelPlan, fit: Fit) -> tuple[Fit, Refits | None]:
    """The fit to report: that of the optimizer with the highest log-likelihood.

    The final model is always fitted again by the other optimizers, any other model where it is
    singular or lme4 complains: a boundary may be where an optimizer stopped early.
    """
    doubtful = fit.singular or bool(fit.messages)
    if not context.spec.estimation.check_optimizers:
        return fit, None
    if not (doubtful or plan.id == context.plan.final.id):
        return fit, None
    first = AHEAD if fit.ahead else fit.optimizer
    others = [name for name in OPTIMIZERS if name != first]
    if context.no_refits or _too_long(context, plan, fit, len(others)):
        return fit, None
    facts = context.run(STEP, "refit_by_others", id=plan.id, optimizers=others)
    fitted = dict(zip(facts["fitted"], facts["gain"], strict=True))
    refits = Refits(
        first=first,
        used=first,
        singular=fit.singular,
        complained=bool(fit.messages),
        failed=tuple(name for name in others if name not in fitted),
        complaints=tuple(
            name for name, said in zip(facts["fitted"], facts["complained"], strict=True) if said
        ),
        boundary=tuple(
            name for name, at in zip(facts["fitted"], facts["singular"], strict=True) if at
        ),
    )
    best = _best(fitted, refits.complaints)
    if not best:
        return fit, refits
    kept = context.engine.keep_better(plan.id, first, best)
    return kept, replace(
        refits,
        used=best,
        complaints=(*refits.complaints, *([first] if fit.messages else [])),
        boundary=(*refits.boundary, *([first] if fit.singular else [])),
    )


def _too_long(context: Context, plan: ModelPlan, fit: Fit, others: int) -> str:
    """Why other optimizers, whose own search takes up to three times as long, are not tried."""
    model = context.describe(plan, fit, None)
    seconds = others * fit_seconds(fit) * (1 if fit.ahead else 3)
    part = f"refits of {plan.label} by other optimizers"
    context.no_refits = too_long(context, STEP, part, model, seconds)
    return context.no_refits


def _best(gains: Mapping[str, float], complaints: Sequence[str]) -> str:
    """The optimizer that beats the first; of equal optima one that lme4 does not complain of."""
    tolerance = RULES["optimizers"].value
    highest = max(gains.values(), default=0.0)
    if highest <= tolerance:
        return ""
    equal = [name for name, gain in gains.items() if gain >= highest - tolerance]
    return min(equal, key=lambda name: (name in complaints, -gains[name]))


def compare(context: Context, model: FittedModel) -> dict[str, Any]:
    """How the other optimizers' fits differ from the reported one, and what follows from it."""
    refits = model.refits
    assert refits is not None
    names = others(model)
    context.run(STEP, "compare_optimizers", id=model.id, optimizers=names)
    known = {
        name: gain
        for name in names
        if (gain := context.value(f"{model.id}/optimizer/{name}/gain")) is not None
    }
    tolerance = RULES["optimizers"].value
    agreeing = [name for name, gain in known.items() if abs(gain) <= tolerance]
    shifts = {name: context.value(f"{model.id}/optimizer/{name}/shift") or 0.0 for name in known}
    farthest = max(agreeing, key=lambda name: shifts[name], default="")
    facts = {
        "label": model.plan.label,
        "first": refits.first,
        "used": refits.used,
        "switched": refits.used != refits.first,
        "agreeing": agreeing,
        "short": [name for name in known if name not in agreeing],
        "failed": list(refits.failed),
        "complaining": [name for name in agreeing if name in refits.complaints],
        "alarm": bool(model.fit.messages),
        "singular": model.fit.singular,
        "first_singular": refits.singular,
        "first_complained": refits.complained,
        "at": {
            name: context.all(f"{model.id}/optimizer/{name}", "gain", "shift") for name in known
        },
        "shift": context.engine.items.get(f"{model.id}/optimizer/{farthest}/shift"),
        "flat": any(shifts[name] > FLAT for name in agreeing),
        "moved": [name for name in known if name not in agreeing and shifts[name] > FLAT],
    }
    _decide(context, model, facts)
    return facts


FLAT = 0.1
"""Standard errors that fixed effects of one optimum may differ by before it is worth a word."""


def used(model: FittedModel) -> str:
    """The optimizer whose fit is reported."""
    return AHEAD if model.fit.ahead and not model.replaced else model.fit.optimizer


def others(model: FittedModel) -> list[str]:
    """The optimizers that a model was fitted by beside the one that is reported."""
    if model.refits is None:
        return []
    tried = dict.fromkeys((model.refits.first, *OPTIMIZERS))
    return [name for name in tried if name != model.refits.used]


def _decide(context: Context, model: FittedModel, facts: Mapping[str, Any]) -> None:
    shown: list[Any] = []
    for name in facts["at"]:
        shown += [f"{name} ", facts["at"][name]["gain"], ", "]
    evidence: Cell = "no other optimizer gave a fit"
    if shown:
        evidence = (f"log-likelihood less that of {facts['used']}: ", *shown[:-1])
    context.decide(
        STEP,
        f"of the fits by {'BFGS and ' if model.fit.ahead else ''}lme4's three optimizers "
        "the one with the highest log-likelihood is "
        f"reported; {RULES['optimizers'].text}",
        evidence,
        f"{model.plan.label}: {_verdict(facts)}",
        RULES["optimizers"].citation,
    )


def _verdict(facts: Mapping[str, Any]) -> str:
    if facts["switched"]:
        return (
            f"fitted again by {facts['used']} and reported so, as {facts['first']} stops short of "
            "the optimum"
        )
    if not facts["at"]:
        return f"reported as {facts['used']} left it, unconfirmed"
    if not facts["agreeing"]:
        return "no other optimizer confirms the optimum, none finds a better one"
    if facts["alarm"] and not facts["complaining"] and not facts["flat"]:
        return "lme4's complaint is a false alarm: other optimizers reach the same optimum"
    return "the optimum is confirmed"


def table(models: Sequence[FittedModel], context: Context) -> Table:
    """For each model that was fitted by several optimizers the differences to the reported fit."""
    rows: list[Row] = []
    checked = [model for model in models if model.refits]
    for model in checked:
        if len(checked) > 1:
            rows.append(Row(model.plan.label, (), group=True))
        rows.append(Row(f"By {used(model)}, reported", ("", "", _state(model))))
        rows += [
            Row(
                f"By {name}",
                (
                    context.item(f"{model.id}/optimizer/{name}/gain"),
                    context.item(f"{model.id}/optimizer/{name}/shift"),
                    _state(model, name),
                ),
            )
            for name in others(model)
        ]
    rule = RULES["optimizers"].text
    what = checked[0].plan.label if len(checked) == 1 else "The models"
    return Table(
        "optimizers",
        f"{what}, fitted by each of lme4's optimizers",
        (
            "Optimizer",
            "Log-likelihood, difference",
            "Largest difference of a fixed effect, in SE",
            "The fit",
        ),
        tuple(rows),
        "Differences to the reported fit, which has the highest log-likelihood. "
        f"{rule[0].upper()}{rule[1:]}.",
    )


def _state(model: FittedModel, name: str = "") -> str:
    """Whether a fit is singular, and whether lme4 complains of it."""
    refits = model.refits
    assert refits is not None
    if name in refits.failed:
        return "failed"
    singular = name in refits.boundary if name else model.fit.singular
    complained = name in refits.complaints if name else bool(model.fit.messages)
    said = [
        *(["singular"] if singular else []),
        *(["convergence warning"] if complained else []),
    ]
    return ", ".join(said) or "regular"
