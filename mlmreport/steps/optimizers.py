"""Part of step 5: the best log-likelihood over lme4's optimizers is the one that is reported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from mlmreport.engine.fits import Fit
from mlmreport.quantities import Cell, Row, Table
from mlmreport.spec.sequence import ModelPlan
from mlmreport.steps.context import Context, FittedModel, Refits
from mlmreport.steps.cost import fit_seconds, too_long
from mlmreport.thresholds import RULES

__all__ = ["Verdict", "compare", "settle", "table", "used", "verdict_of"]

STEP = "models"
OPTIMIZERS = ("nloptwrap", "bobyqa", "Nelder_Mead")
"""The optimizers that lme4 brings with it; no other is tried."""
AHEAD = "BFGS"
"""What searches on compressed data, see ``minimise()`` in ``r/compression.R``."""


class Verdict(StrEnum):
    """What the fits by several optimizers say of the one that is reported."""

    ALONE = "alone"
    """No other optimizer gave a fit."""
    UNCONFIRMED = "unconfirmed"
    """No other optimizer reaches the same log-likelihood, none a higher one."""
    UNIDENTIFIED = "unidentified"
    """Another reaches the same log-likelihood with another covariance matrix of random effects."""
    FALSE_ALARM = "false alarm"
    """lme4 complains of the fit, and of none of those that reach the same optimum."""
    CONFIRMED = "confirmed"
    """Another optimizer reaches the same optimum."""


EDGE = 0.01
"""Difference of the covariance matrices of a singular and a regular fit that is no rounding;
an effect whose SD is a thousandth of the residual one differs by less from zero."""


@dataclass(frozen=True, slots=True)
class Other:
    """A fit by another optimizer, held against the reported one.

    Parameters
    ----------
    covariance
        Largest relative difference of the covariance matrices; see ``covariance_change`` in R.
    singular, complained
        Whether it is singular, and whether lme4 complains of it.
    examined
        Whether lme4 looked at its gradient: no complaint says nothing where it did not.
    """

    covariance: float
    singular: bool
    complained: bool
    examined: bool

    def apart(self, singular: bool) -> bool:
        """Whether it has another covariance matrix than a fit that is `singular` or not."""
        at_edge = self.singular != singular and self.covariance > EDGE
        return at_edge or self.covariance > RULES["covariances"].value


def verdict_of(
    others: Mapping[str, Other], agreeing: Sequence[str], *, singular: bool, alarm: bool, flat: bool
) -> Verdict:
    """What the other fits say of the reported one.

    Parameters
    ----------
    others
        The fits by other optimizers.
    agreeing
        Those that reach the same log-likelihood.
    singular, alarm
        Whether the reported fit is singular, and whether lme4 complains of it.
    flat
        Whether the fixed effects of fits that agree differ.
    """
    if not others:
        return Verdict.ALONE
    if not agreeing:
        return Verdict.UNCONFIRMED
    if any(others[name].apart(singular) for name in agreeing):
        return Verdict.UNIDENTIFIED
    examined = any(others[name].examined for name in agreeing)
    complained = any(others[name].complained for name in agreeing)
    if alarm and examined and not complained and not flat:
        return Verdict.FALSE_ALARM
    return Verdict.CONFIRMED


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
        examined=tuple(
            name for name, did in zip(facts["fitted"], facts["examined"], strict=True) if did
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
        examined=(*refits.examined, *([first] if fit.examined else [])),
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
    flat = any(shifts[name] > FLAT for name in agreeing)
    verdict = verdict_of(
        {name: _other(context, model, name) for name in known},
        agreeing,
        singular=model.fit.singular,
        alarm=bool(model.fit.messages),
        flat=flat,
    )
    if verdict is Verdict.UNIDENTIFIED:
        context.unidentified.add(model.id)
    facts = {
        "label": model.plan.label,
        "verdict": str(verdict),
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
            name: context.all(f"{model.id}/optimizer/{name}", "gain", "shift", "covariance")
            for name in known
        },
        "shift": context.engine.items.get(f"{model.id}/optimizer/{farthest}/shift"),
        "flat": flat,
        "edge": any((name in refits.boundary) != model.fit.singular for name in agreeing),
        "moved": [name for name in known if name not in agreeing and shifts[name] > FLAT],
    }
    _decide(context, model, facts)
    return facts


def _other(context: Context, model: FittedModel, name: str) -> Other:
    assert model.refits is not None
    return Other(
        context.value(f"{model.id}/optimizer/{name}/covariance") or 0.0,
        name in model.refits.boundary,
        name in model.refits.complaints,
        name in model.refits.examined,
    )


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
        "the first is reported, or the one with the highest log-likelihood where that is higher by "
        f"more than {RULES['optimizers'].value:g}; {RULES['optimizers'].text}",
        evidence,
        f"{model.plan.label}: {_verdict(facts)}",
        RULES["optimizers"].citation,
    )


def _verdict(facts: Mapping[str, Any]) -> str:
    unidentified = facts["verdict"] == Verdict.UNIDENTIFIED
    if facts["switched"]:
        said = UNIDENTIFIED if unidentified else ""
        return (
            f"fitted again by {facts['used']} and reported so, as {facts['first']} stops short of "
            f"the optimum{'; ' if said else ''}{said}"
        )
    return {
        Verdict.ALONE: f"reported as {facts['used']} left it, unconfirmed",
        Verdict.UNCONFIRMED: "no other optimizer confirms the optimum, none finds a better one",
        Verdict.UNIDENTIFIED: UNIDENTIFIED,
        Verdict.FALSE_ALARM: "lme4's complaint is a false alarm: other optimizers reach the same "
        "optimum",
        Verdict.CONFIRMED: "the optimum is confirmed",
    }[Verdict(facts["verdict"])]


UNIDENTIFIED = (
    "fits of the same log-likelihood have different covariance matrices of the random effects: the "
    "data do not identify it"
)


def table(models: Sequence[FittedModel], context: Context) -> Table:
    """For each model that was fitted by several optimizers the differences to the reported fit."""
    rows: list[Row] = []
    checked = [model for model in models if model.refits]
    for model in checked:
        if len(checked) > 1:
            rows.append(Row(model.plan.label, (), group=True))
        rows.append(Row(f"By {used(model)}, reported", ("", "", "", _state(model))))
        rows += [
            Row(
                f"By {name}",
                (
                    context.item(f"{model.id}/optimizer/{name}/gain"),
                    context.item(f"{model.id}/optimizer/{name}/shift"),
                    context.item(f"{model.id}/optimizer/{name}/covariance"),
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
            "Largest relative difference of a (co)variance",
            "The fit",
        ),
        tuple(rows),
        "Differences to the reported fit, whose log-likelihood no other exceeds by more than "
        f"{RULES['optimizers'].value:g}. {rule[0].upper()}{rule[1:]}. (Co)variances of the random "
        "effects: relative to the larger of the two fits' variances, or to a ten-thousandth of the "
        "residual variance. Without gradient: lme4 took no derivatives, so that no warning says "
        "nothing of convergence.",
    )


def _state(model: FittedModel, name: str = "") -> str:
    """Whether a fit is singular, and whether lme4 complains of it."""
    refits = model.refits
    assert refits is not None
    if name in refits.failed:
        return "failed"
    singular = name in refits.boundary if name else model.fit.singular
    complained = name in refits.complaints if name else bool(model.fit.messages)
    examined = name in refits.examined if name else model.fit.examined
    said = [
        "singular" if singular else "regular",
        *(["convergence warning"] if complained else []),
        *(["without gradient"] if not examined and not singular and not complained else []),
    ]
    return ", ".join(said)
