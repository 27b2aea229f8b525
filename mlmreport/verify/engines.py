"""The models of an analysis by other engines, and by every optimizer of lme4.

Each model is fitted by nlme, glmmTMB and statsmodels' MixedLM where these can, and by all
optimizers of lme4's ``allFit()``. What differs by definition is explained by being computed: an
explanation stands only where the other definition gives the other engine's number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mlmreport.display import decimals_for
from mlmreport.errors import AnalysisError
from mlmreport.spec.sequence import ModelPlan
from mlmreport.verify.bench import FITTED, JOINT, OPTIMIZERS, Fit, Workbench
from mlmreport.verify.checks import NOT_CHECKED, Check, judged

__all__ = [
    "ENGINES",
    "OTHERS",
    "Convergence",
    "Criterion",
    "ModelCheck",
    "Row",
    "as_checks",
    "crosscheck",
]

OTHERS = ("nlme", "glmmTMB", "statsmodels")
ENGINES = ("lme4", *OTHERS)
SAME_OPTIMUM = 0.001
"""Log-likelihoods that differ by no more are one optimum (a convention of this report)."""
NOISE = 0.001
"""A difference of a thousandth of a standard error is where an optimizer stops, no more."""
NOISE_LOGLIK = 1e-4

IDENTICAL = "identical"
SAME_TO_PRINT = "same to print"
SUBSTANTIVE = "substantive"
STOPPED_SHORT = "stopped short"
EXPLAINED = "explained"
VERDICTS = (IDENTICAL, SAME_TO_PRINT, EXPLAINED, SUBSTANTIVE)
"""What becomes of an estimate, the worst last."""
NOT_IDENTIFIED = "not identified"


@dataclass(frozen=True, slots=True)
class Row:
    """A parameter of a model in all engines.

    Parameters
    ----------
    name
        ``fixef/TERM``, ``var/GROUPING/EFFECT``, ``cov/GROUPING/EFFECT/EFFECT`` or ``sigma2``.
    estimate, error
        Those of the reported fit; the error is None at a boundary.
    unit
        What differences are measured in: the standard error, that of the residual variance where
        a component has none.
    decimals
        How many the report prints.
    difference
        The largest difference of an estimate or a standard error from the reported fit, in `unit`,
        over the engines that reached its optimum.
    farthest
        The engine with that difference.
    verdict
        ``"identical"``, ``"same to print"``, ``"explained"`` or ``"substantive"``.
    explanation
        The other definition by which the engine's standard error was computed.
    """

    name: str
    estimate: float
    error: float | None
    unit: float
    decimals: int
    difference: float
    farthest: str
    verdict: str
    explanation: str = ""


@dataclass(frozen=True, slots=True)
class Criterion:
    """A criterion of an engine beside that of lme4, and by which definition they agree."""

    name: str
    engine: str
    expected: float
    found: float
    verdict: str
    explanation: str


@dataclass(frozen=True, slots=True)
class Convergence:
    """Whether the reported fit is the optimum.

    Parameters
    ----------
    verdict
        ``"converged"``, ``"false alarm"``, ``"true failure"``, ``"not identified"`` or
        ``"singular"``, of the fit by the optimizer that the spec names.
    text
        The same in a sentence or two.
    effects
        For each fixed effect what hangs on it: the shift in standard errors, and the ratio of the
        standard errors, between the reported fit and the other one that `text` names.
    reported_is_best
        Whether no engine has a log-likelihood above that of the reported fit.
    """

    verdict: str
    text: str
    effects: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    reported_is_best: bool = True


@dataclass(frozen=True)
class ModelCheck:
    """A model of the sequence in all engines."""

    id: str
    label: str
    formula: str
    method: str
    reported: Fit
    optimizers: tuple[Fit, ...]
    others: tuple[Fit, ...]
    rows: tuple[Row, ...]
    criteria: tuple[Criterion, ...]
    convergence: Convergence

    @property
    def ok(self) -> bool:
        """Whether no difference is substantive, and no engine does better."""
        verdicts = [*(row.verdict for row in self.rows), *(c.verdict for c in self.criteria)]
        return SUBSTANTIVE not in verdicts and self.convergence.reported_is_best

    def standing(self, fit: Fit) -> str:
        """What became of a fit beside the reported one."""
        if not fit.fitted:
            return fit.status
        gain = fit.loglik - self.reported.loglik
        if gain < -SAME_OPTIMUM:
            return STOPPED_SHORT
        return FITTED if gain <= SAME_OPTIMUM else "better optimum"


# --- comparing --------------------------------------------------------------------------------


def crosscheck(
    bench: Workbench, reml: bool, optimizer: str, progress: Callable[[str, str], None]
) -> tuple[ModelCheck, ...]:
    """Every model of the sequence by all engines.

    Parameters
    ----------
    bench
        The data, handed to R.
    reml, optimizer
        As the spec has them.
    progress
        Is told the model and the engine.

    Raises
    ------
    AnalysisError
        When lme4 gives no fit of a model with any optimizer.
    """
    return tuple(_check(bench, plan, reml, optimizer, progress) for plan in bench.plan.models)


def _check(
    bench: Workbench,
    plan: ModelPlan,
    reml: bool,
    first: str,
    progress: Callable[[str, str], None],
) -> ModelCheck:
    fits = []
    for name in sorted(OPTIMIZERS, key=lambda name: name != first):
        progress(plan.label, f"lme4, {name}")
        fits.append(bench.lme4(plan.id, plan.r, reml, name))
    best = _best(plan, fits)
    errors, joint = bench.choose(plan.id, best.engine)
    reported = replace(best, errors={**best.errors, **errors}, joint=joint)
    others = []
    for engine in OTHERS:
        progress(plan.label, engine)
        others.append(bench.other(engine, plan.id, reml))
    reached = [fit for fit in (*fits, *others) if _at_optimum(fit, reported)]
    singular = bench.singular(plan.id) if reported.singular else {}
    return ModelCheck(
        id=plan.id,
        label=plan.label,
        formula=plan.r,
        method="REML" if reml else "ML",
        reported=reported,
        optimizers=tuple(fits),
        others=tuple(others),
        rows=tuple(_row(name, reported, reached) for name in reported.estimates),
        criteria=tuple(_criteria(reported, others, len(bench.data.frame), reml)),
        convergence=_convergence(fits[0], reported, fits, others, singular),
    )


def _best(plan: ModelPlan, fits: Sequence[Fit]) -> Fit:
    """The fit to report: the first, unless another has a log-likelihood above it that counts."""
    fitted = [fit for fit in fits if fit.fitted]
    if not fitted:
        raise AnalysisError(f"lme4 cannot fit the model '{plan.id}': {fits[0].reason}")
    highest = max(fit.loglik for fit in fitted)
    equal = [fit for fit in fitted if fit.loglik >= highest - SAME_OPTIMUM]
    if fits[0] in equal:
        return fits[0]
    return min(equal, key=lambda fit: (bool(fit.complaints), -fit.loglik))


def _at_optimum(fit: Fit, reported: Fit) -> bool:
    return fit.fitted and fit.loglik >= reported.loglik - SAME_OPTIMUM


def _row(name: str, reported: Fit, fits: Sequence[Fit]) -> Row:
    unit = _unit(name, reported)
    decimals = decimals_for(unit)
    compared = {
        fit.engine: _compared(name, reported, fit, unit) for fit in fits if name in fit.estimates
    }
    farthest = max(compared, key=lambda engine: compared[engine].rank)
    found = compared[farthest]
    return Row(
        name,
        reported.estimates[name],
        reported.errors.get(name),
        unit,
        decimals,
        found.difference,
        farthest,
        found.verdict,
        found.explanation,
    )


@dataclass(frozen=True, slots=True)
class _Compared:
    """How far an engine's estimate and standard error are from the reported ones."""

    difference: float
    verdict: str
    explanation: str = ""

    @property
    def rank(self) -> tuple[int, float]:
        return VERDICTS.index(self.verdict), self.difference


def _compared(name: str, reported: Fit, fit: Fit, unit: float) -> _Compared:
    decimals = decimals_for(unit)
    estimate = abs(fit.estimates[name] - reported.estimates[name]) / unit
    error = fit.errors.get(name) if name.startswith("fixef/") else None
    apart = estimate if error is None else max(estimate, abs(error - reported.errors[name]) / unit)
    verdict = _verdict(apart, unit, decimals)
    joint = reported.joint.get(name)
    if verdict == SUBSTANTIVE and error is not None and joint is not None:
        explained = max(estimate, abs(error - joint) / unit)
        if _verdict(explained, unit, decimals) != SUBSTANTIVE:
            return _Compared(explained, EXPLAINED, JOINT)
    return _Compared(apart, verdict)


def _verdict(difference: float, unit: float, decimals: int) -> str:
    """Whether a difference is noise, or less than a unit of the last digit that is printed."""
    if difference <= NOISE:
        return IDENTICAL
    return SAME_TO_PRINT if difference * unit < 10.0**-decimals else SUBSTANTIVE


def _unit(name: str, reported: Fit) -> float:
    """The standard error; at a boundary that which a residual variance of so many rows has."""
    if name in reported.errors and reported.errors[name] > 0:
        return reported.errors[name]
    sigma2 = reported.estimates["sigma2"]
    return reported.errors.get("sigma2", 0.01 * sigma2)


# --- criteria by definition -------------------------------------------------------------------


def _criteria(reported: Fit, others: Sequence[Fit], rows: int, reml: bool) -> Iterator[Criterion]:
    """Log-likelihood, AIC and BIC of the engines that reached the optimum."""
    fixed = sum(name.startswith("fixef/") for name in reported.estimates)
    for fit in others:
        if not _at_optimum(fit, reported):
            continue
        for name, value in fit.criteria.items():
            yield _criterion(name, fit, value, reported, rows, fixed, reml)


def _criterion(
    name: str, fit: Fit, value: float, reported: Fit, rows: int, fixed: int, reml: bool
) -> Criterion:
    expected = reported.criteria[name]
    noise = NOISE_LOGLIK + 2 * abs(fit.loglik - reported.loglik)
    if abs(value - expected) <= noise:
        return Criterion(name, fit.engine, expected, value, IDENTICAL, "")
    for words, other in _other_definitions(name, fit, rows, fixed, reml):
        if abs(value - other) <= noise:
            return Criterion(name, fit.engine, expected, value, EXPLAINED, words)
    return Criterion(name, fit.engine, expected, value, SUBSTANTIVE, "")


def _other_definitions(
    name: str, fit: Fit, rows: int, fixed: int, reml: bool
) -> Iterator[tuple[str, float]]:
    """What a criterion comes to by other definitions that engines have."""
    deviance, k = -2 * fit.loglik, fit.parameters
    if name == "bic" and reml:
        yield (
            f"n is the rows less the fixed effects, {rows - fixed:,}",
            deviance + k * math.log(rows - fixed),
        )
    if name in {"aic", "bic"}:
        penalty = 2 if name == "aic" else math.log(rows)
        yield "covariance parameters alone are counted", deviance + (k - fixed) * penalty


# --- convergence ------------------------------------------------------------------------------


def _convergence(
    first: Fit,
    reported: Fit,
    fits: Sequence[Fit],
    others: Sequence[Fit],
    singular: Mapping[str, Any],
) -> Convergence:
    better = [fit for fit in others if fit.fitted and fit.loglik > reported.loglik + SAME_OPTIMUM]
    if better:
        best = max(better, key=lambda fit: fit.loglik)
        text = (
            f"{best.engine} finds a log-likelihood {best.loglik - reported.loglik:.3f} above that "
            "of every optimizer of lme4: the reported fit is not the optimum"
        )
        return Convergence("true failure", text, _shifts(reported, best), reported_is_best=False)
    unlike = [
        fit for fit in fits if _at_optimum(fit, reported) and fit.singular != reported.singular
    ]
    if unlike:
        return Convergence(NOT_IDENTIFIED, _not_identified_text(reported, unlike))
    if singular:
        return Convergence("singular", _singular_text(singular), _effects(singular))
    agreeing = [fit.engine for fit in fits if _at_optimum(fit, reported) and fit is not first]
    if first.fitted and not _at_optimum(first, reported):
        text = _replaced_text(first, reported)
        return Convergence("true failure", text, _shifts(reported, first))
    if first.complaints:
        return _alarm(first, agreeing)
    return Convergence("converged", f"{len(agreeing)} other optimizers reach the same optimum")


def _not_identified_text(reported: Fit, unlike: Sequence[Fit]) -> str:
    """Of optima equal in likelihood, of which some are at the boundary and some are not."""
    own, theirs = "a regular fit", "a singular one"
    if reported.singular:
        own, theirs = "a singular fit", "a regular one"
    others = ", ".join(fit.engine for fit in unlike)
    return (
        f"{reported.engine} gives {own}, {others} {theirs} with the same log-likelihood to "
        f"{SAME_OPTIMUM:g}: these data do not identify the covariance matrix of the random effects"
    )


def _alarm(first: Fit, agreeing: Sequence[str]) -> Convergence:
    said = "; ".join(first.complaints)
    if not agreeing:
        text = f"lme4 says: {said}; no other optimizer reaches this optimum"
        return Convergence("true failure", text)
    text = (
        f"lme4 says: {said}; {len(agreeing)} other optimizers ({', '.join(agreeing)}) reach the "
        f"same log-likelihood to {SAME_OPTIMUM:g}"
    )
    return Convergence("false alarm", text, {})


def _replaced_text(first: Fit, reported: Fit) -> str:
    return (
        f"{first.engine} stops short of the optimum: its log-likelihood is "
        f"{reported.loglik - first.loglik:.3f} below that of {reported.engine}, whose fit is the "
        "one reported"
    )


def _shifts(reported: Fit, other: Fit) -> dict[str, tuple[float, float]]:
    """For each fixed effect its shift from the reported fit, and the ratio of the errors."""
    return {
        name: (
            (other.estimates[name] - reported.estimates[name]) / reported.errors[name],
            other.errors[name] / reported.errors[name],
        )
        for name in reported.errors
        if name.startswith("fixef/") and name in other.errors
    }


def _singular_text(found: Mapping[str, Any]) -> str:
    parts = [
        f"the random effects of {group} vary in {dimensions} of {effects} dimensions: {zero} is "
        "zero"
        for group, effects, dimensions, zero in zip(
            found["groupings"], found["effects"], found["dimensions"], found["zero"], strict=True
        )
        if zero
    ]
    text = "; ".join(parts) or "a variance or correlation is at its limit"
    return f"{text}; the simpler model is {found['simpler'][0]}"


def _effects(found: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    if not found["shift"]:
        return {}
    return {
        f"fixef/{term}": (shift, ratio)
        for term, shift, ratio in zip(found["terms"], found["shift"], found["ratio"], strict=True)
    }


# --- as rows of the table of checks -----------------------------------------------------------


def as_checks(models: Sequence[ModelCheck]) -> Iterator[Check]:
    """A row a parameter and engine, a row a criterion, and one a model for its convergence."""
    for model in models:
        for row in model.rows:
            for fit in model.others:
                yield _parameter_check(model, row, fit)
        for found in model.criteria:
            words = f"{found.name} of {model.label} by {found.engine}, {found.verdict}"
            yield Check(
                id=f"{model.id}/{found.name}/{found.engine}",
                kind="engines",
                what=f"{words}: {found.explanation}" if found.explanation else words,
                expected=found.expected,
                found=found.found,
                difference=found.found - found.expected,
                tolerance=f"{NOISE_LOGLIK:g}, or another definition",
                verdict=judged(found.verdict != SUBSTANTIVE),
            )
        yield Check(
            id=f"{model.id}/convergence",
            kind="engines",
            what=f"optimum of {model.label}: {model.convergence.text}",
            expected="highest log-likelihood",
            found=model.convergence.verdict,
            difference=None,
            tolerance=f"log-likelihood within {SAME_OPTIMUM:g}",
            verdict=judged(model.convergence.reported_is_best),
        )


def _parameter_check(model: ModelCheck, row: Row, fit: Fit) -> Check:
    """Of an engine that has no such parameter, or not at this optimum, the reason."""
    what = f"{row.name} of {model.label} by {fit.engine}"
    found, standing = fit.estimates.get(row.name), model.standing(fit)
    difference, verdict = None, NOT_CHECKED
    shown: float | str | None = f"{standing}: {fit.reason}" if fit.reason else standing
    if found is not None and standing == FITTED:
        compared = _compared(row.name, model.reported, fit, row.unit)
        difference = compared.difference
        told = f"{compared.verdict}: {compared.explanation}"
        what, shown = f"{what}, {told.removesuffix(': ')}", found
        verdict = judged(compared.verdict != SUBSTANTIVE)
    return Check(
        id=f"{model.id}/{row.name}/{fit.engine}",
        kind="engines",
        what=what,
        expected=row.estimate,
        found=shown,
        difference=difference,
        tolerance=f"{NOISE:g} SE, or a unit of decimal {row.decimals}",
        verdict=verdict,
    )
