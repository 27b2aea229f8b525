"""What the costly parts of a report would take, and which of them are left out for it.

The times are predicted from the matrices of the models and not measured, so that one spec gives one
report on every machine.
"""

from __future__ import annotations

from mlmreport.steps.context import Context, FittedModel
from mlmreport.thresholds import RULES

__all__ = ["df_evaluations", "evaluations", "too_long"]


def evaluations(parameters: int) -> int:
    """Evaluations of the deviance that a fit takes, as ``fit_cost()`` has them."""
    return 20 * parameters + 2 * parameters**2


def df_evaluations(parameters: int) -> int:
    """Evaluations for Satterthwaite df: Hessian and Jacobian by Richardson extrapolation."""
    n = parameters + 1
    return 1 + 4 * n * (n + 1) + 8 * n


def too_long(context: Context, step: str, part: str, model: FittedModel, seconds: float) -> str:
    """Why a part is left out, and the decision in the log; empty where the part is made.

    Parameters
    ----------
    step, part
        Where the part stands, and what it is, in words for a reader.
    model
        The model that it would fit or evaluate again.
    seconds
        Its predicted time.
    """
    limit = context.spec.estimation.patience
    if seconds <= limit:
        return ""
    name = f"models/cost/{model.id}"
    if name not in context.engine.items:
        context.run("models", "cost_of", id=model.id)
    allowed = context.setting(
        "settings/patience", limit, "seconds", "Longest time of a part", "estimation.patience"
    )
    context.decide(
        step,
        RULES["patience"].text,
        ("one fit takes about ", context.item(name), " s; the limit is ", allowed, " s"),
        f"left out: {part}, predicted to take {_duration(seconds)}",
    )
    return (
        f"it would take {_duration(seconds)} for data and a model of this size; a higher "
        "`estimation.patience` in the spec asks for it"
    )


def _duration(seconds: float) -> str:
    """About how long, in two digits at most."""
    if seconds < 100:
        return f"about {max(1, round(seconds))} s"
    minutes = seconds / 60
    if minutes < 100:
        return f"about {round(minutes)} min"
    return f"about {round(minutes / 60)} h"
