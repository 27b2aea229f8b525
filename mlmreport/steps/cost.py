"""What the costly parts of a report would take, and which of them are left out for it.

The times are predicted from the matrices of the models and not measured, so that one spec gives one
report on every machine.
"""

from __future__ import annotations

from mlmreport.engine.fits import Fit
from mlmreport.steps.context import Context, FittedModel
from mlmreport.thresholds import RULES

__all__ = [
    "EXACT_GROUPS",
    "PROFILE_FITS",
    "SAMPLES",
    "UNASKED",
    "df_evaluations",
    "duration",
    "evaluations",
    "fit_seconds",
    "refit_seconds",
    "samples_of",
    "too_long",
    "uncompressed",
]

EXACT_GROUPS = 2000
"""Groups up to which RLRsim simulates a null distribution: its time grows with their cube."""
SAMPLES = 500
"""Bootstrap samples where the spec names no number."""
UNASKED = 10
"""Seconds that a part which the spec does not ask for may be predicted to take."""

PROFILE_FITS = 12
"""About how many refits' evaluations the likelihood profile of one parameter takes."""


def evaluations(parameters: int) -> int:
    """Evaluations of the deviance that a fit takes, as ``fit_cost()`` has them."""
    return 20 * parameters + 2 * parameters**2


def df_evaluations(parameters: int) -> int:
    """Evaluations for Satterthwaite df: Hessian and Jacobian by Richardson extrapolation."""
    n = parameters + 1
    return 1 + 4 * n * (n + 1) + 8 * n


BUILT = 5
"""Evaluations of the deviance of all rows that a fit takes whose optimum is found on compressed
data, the compression included; its Satterthwaite df take another."""


def fit_seconds(fit: Fit, parameters: int = 0, *, df: bool = False) -> float:
    """Nominal seconds of another fit like one that was made.

    Parameters
    ----------
    fit
        The fit that was made.
    parameters
        Its covariance parameters where the other has more or fewer.
    df
        Whether Satterthwaite df are computed with it.
    """
    k = parameters or fit.parameters
    if fit.ahead:
        return (BUILT + df) * fit.evaluation
    return (evaluations(k) + (df_evaluations(k) if df else 0)) * fit.evaluation


def refit_seconds(context: Context, model: FittedModel) -> float:
    """Nominal seconds of one refit of a bootstrap or a profile, or without a group.

    On compressed data where the model has them (``r/compression.R``), else by lme4.
    """
    by_lme4 = evaluations(model.fit.parameters) * model.fit.evaluation
    return by_lme4 if uncompressed(context, model) else context.refits[model.id][1]


def uncompressed(context: Context, model: FittedModel) -> str:
    """Why a model has no compressed data; empty where it has them."""
    if model.id not in context.refits:
        facts = context.run("models", "compressed_facts", name=model.object)
        context.refits[model.id] = (str(facts["reason"][0]), float(facts["seconds"][0]))
    return context.refits[model.id][0]


def too_long(
    context: Context,
    step: str,
    part: str,
    model: FittedModel,
    seconds: float,
    refits: bool = False,
) -> str:
    """Why a part is left out, and the decision in the log; empty where the part is made.

    Parameters
    ----------
    step, part
        Where the part stands, and what it is, in words for a reader.
    model
        The model that it would fit or evaluate again.
    seconds
        Its predicted time.
    refits
        Whether it consists of refits as `refit_seconds` counts them, not of lme4's fits.
    """
    limit = context.spec.estimation.patience
    if seconds <= limit:
        return ""
    fit = "refit" if refits else "fit by lme4's own search" if model.fit.ahead else "fit"
    name = f"models/{'refit' if refits else 'cost'}/{model.id}"
    if name not in context.engine.items:
        context.run("models", "cost_of", id=model.id, refits=refits)
    allowed = context.setting(
        "settings/patience", limit, "seconds", "Longest time of a part", "estimation.patience"
    )
    context.decide(
        step,
        RULES["patience"].text,
        (f"one {fit} takes about ", context.item(name), " s; the limit is ", allowed, " s"),
        f"left out: {part}, predicted to take {duration(seconds)}",
    )
    return (
        f"it would take {duration(seconds)} for data and a model of this size; a higher "
        "`estimation.patience` in the spec asks for it"
    )


def samples_of(
    context: Context, step: str, part: str, model: FittedModel, asked: int | None, key: str
) -> tuple[int, str]:
    """How many bootstrap samples of a model are drawn for a part, and why none are.

    Parameters
    ----------
    step, part
        Where the part stands, and what it is, in words for a reader.
    model
        The model that is fitted again.
    asked
        The number that the spec names; None where it leaves the choice to the report.
    key
        The key of the spec by which the number is set.
    """
    if asked == 0:
        return 0, f"`inference.{key}` is 0"
    samples = SAMPLES if asked is None else asked
    seconds = samples * refit_seconds(context, model)
    if asked is not None:
        reason = too_long(context, step, part, model, seconds, refits=True)
        return (0, reason) if reason else (samples, "")
    if seconds > min(UNASKED, context.spec.estimation.patience):
        said = f"{samples} samples would take {duration(seconds)}, and a report draws them unasked "
        return 0, f"{said}where they take at most {UNASKED} s; `inference.{key}` asks for them"
    return samples, ""


def duration(seconds: float) -> str:
    """About how long, in two digits at most."""
    if seconds < 100:
        return f"about {max(1, round(seconds))} s"
    minutes = seconds / 60
    if minutes < 100:
        return f"about {round(minutes)} min"
    return f"about {round(minutes / 60)} h"
