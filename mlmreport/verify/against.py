"""Someone else's numbers beside lme4's, and the most likely cause of each difference.

A number agrees where lme4's rounds to it, or by a definition that is computed. What differs is
compared with refits that depart from the spec in one respect; a cause is named where the refit
gives the number.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from mlmreport.crosscheck.claims import Claim, Printed, half_a_unit
from mlmreport.crosscheck.matching import Lined, line_up
from mlmreport.errors import InputError
from mlmreport.spec.contrasts import codings_of
from mlmreport.spec.sequence import ModelPlan
from mlmreport.thresholds import RULES
from mlmreport.verify.bench import FITTED, JOINT, SHIPPED, Workbench
from mlmreport.verify.checks import Check, judged
from mlmreport.verify.variants import Variant, variants

__all__ = [
    "AGREES",
    "BY_DEFINITION",
    "DIFFERS",
    "ROUNDING",
    "Judged",
    "Loose",
    "against",
    "as_checks",
    "as_specified",
    "lined",
    "told",
]

AGREES = "agrees"
ROUNDING = "differs by rounding only"
BY_DEFINITION = "agrees by another definition"
DIFFERS = "differs"
NOISE = 1e-4
"""Standard errors within which two optimizers stop: printed digits beyond that are not compared."""

CAP = 1e-3
"""A log-likelihood that is further below another one is of a fit that stopped short."""
_COR = 0.3
"""Stands for the standard error of a correlation, which is not computed."""

Values = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Loose:
    """In what a program's own convergence leaves its numbers.

    Parameters
    ----------
    program
        Its name.
    of
        By kind: ``loglik`` relative; ``fixed`` and ``components`` in standard errors; ``se`` and
        ``t`` relative, where its standard errors come from another Hessian.
    """

    program: str = ""
    of: Mapping[str, float] = field(default_factory=dict)

    def covers(self, name: str, apart: float, values: Values) -> bool:
        """Whether a difference is within it."""
        return apart <= self._allowed(name, values) * (1 + 1e-9)

    def _allowed(self, name: str, values: Values) -> float:
        kind, _, rest = name.partition("/")
        what = rest.rpartition("/")[2]
        value = abs(values[name])
        if name in {"loglik", "deviance", "aic", "bic"}:
            double = 1 if name == "loglik" else 2
            return min(self.of.get("loglik", 0.0) * value, CAP * double)
        if kind == "fixef" and what in {"se", "t"}:
            return self.of.get(what, 0.0) * value
        if kind == "fixef" and what == "p":
            t = values.get(f"fixef/{rest.rpartition('/')[0]}/t", 1.0)
            return self.of.get("t", 0.0) * value * max(1.0, t * t)
        if kind == "fixef":
            return self.of.get("fixed", 0.0) * _unit(name, values)
        if kind in {"var", "sd", "cov", "cor", "icc"} or name.startswith("sigma"):
            unit = _COR if kind == "cor" else _unit(name, values)
            return self.of.get("components", 0.0) * unit
        return 0.0


@dataclass(frozen=True, slots=True)
class Judged:
    """A claim and what lme4 gives.

    Parameters
    ----------
    claim
        The number as printed.
    model, name
        What it is a number of.
    found
        lme4's value; None where the model, as specified, has no such number.
    verdict
        `AGREES`, `ROUNDING`, `BY_DEFINITION` or `DIFFERS`.
    cause
        The definition, or the departure from the spec, that gives the printed number.
    """

    claim: Claim
    model: str
    name: str
    found: float | None
    verdict: str
    cause: str = ""

    @property
    def ok(self) -> bool:
        """Whether the number is reproduced."""
        return self.verdict != DIFFERS


def lined(
    bench: Workbench, printed: Printed, chosen: Sequence[str], renamed: Mapping[str, str]
) -> Lined:
    """The numbers of a source with the models and names that they are of.

    Raises
    ------
    InputError
        As `line_up`.
    """
    frame = bench.data.frame.select_dtypes("category")
    categories = {str(n): [str(c) for c in column.cat.categories] for n, column in frame.items()}
    return line_up(bench.plan, categories, printed, chosen, renamed, codings_of(bench.data.frame))


def against(
    bench: Workbench,
    lined_up: Lined,
    loose: Loose,
    progress: Callable[[str, str], None],
) -> tuple[Judged, ...]:
    """Judge every number of a source.

    Parameters
    ----------
    bench
        The data, handed to R.
    lined_up
        The numbers with the models that they are of.
    loose
        In what the source's program leaves its numbers.
    progress
        Is told the model and what is refitted.
    """
    found: list[Judged] = []
    for model in {model.id: model for _, model, _ in lined_up.named}.values():
        own = [(claim, name) for claim, of, name in lined_up.named if of is model]
        found += _judge(bench, model, own, loose, progress)
    order = {id(claim): place for place, (claim, _, _) in enumerate(lined_up.named)}
    return tuple(sorted(found, key=lambda number: order[id(number.claim)]))


# --- judging ----------------------------------------------------------------------------------

Named = tuple[Claim, str]


def _judge(
    bench: Workbench,
    model: ModelPlan,
    named: Sequence[Named],
    loose: Loose,
    progress: Callable[[str, str], None],
) -> Iterator[Judged]:
    if not named:
        return
    reml = bench.document.spec.estimation.method == "REML"
    ddf = _ddf(bench, named)
    progress(model.label, "as specified")
    base = _values(bench, model, Variant("", bench.data.frame, model.r, reml), ddf)
    if base is None:
        raise InputError.of(f"lme4 cannot fit the model '{model.id}'")
    first = [as_specified(claim, model, name, base, reml, loose) for claim, name in named]
    differing = [found for found in first if not found.ok]
    causes: list[tuple[str, Values, bool]] = []
    if differing:
        for variant in variants(bench, model, reml):
            progress(model.label, variant.words)
            values = _values(bench, model, variant, ddf)
            if values is not None:
                causes.append((variant.words, values, variant.reml))
    ranked = sorted(causes, key=lambda cause: -_score(first, cause[1], cause[2], loose))
    for found in first:
        yield found if found.ok else _explained(found, ranked, loose)


def _ddf(bench: Workbench, named: Sequence[Named]) -> str:
    """The df method where any number asks for tests."""
    words = {"satterthwaite": "Satterthwaite", "kenward-roger": "Kenward-Roger"}
    if not any(claim.what in {"df", "p", "lower", "upper"} for claim, _ in named):
        return ""
    return words.get(bench.document.spec.inference.df, "asymptotic")


def _values(
    bench: Workbench, model: ModelPlan, variant: Variant, ddf: str
) -> dict[str, float] | None:
    """All numbers of a variant by name; None where lme4 has no fit.

    The model as specified is fitted as a report fits it; a departure from it by the spec's
    optimizer, and by others where there is doubt of the fit.
    """
    estimation = bench.document.spec.estimation
    others = [name for name in SHIPPED if name != estimation.optimizer]
    found = bench.engine.session.call(
        "crosscheck_values",
        data=variant.frame,
        formula=variant.formula,
        reml=variant.reml,
        coding={
            column: {"values": [list(row) for row in coding.values], "names": list(coding.names)}
            for column, coding in variant.coding.items()
        },
        optimizers=[estimation.optimizer, *(others if estimation.check_optimizers else ())],
        always=estimation.check_optimizers
        and not variant.words
        and model.id == bench.plan.final.id,
        tolerance=RULES["optimizers"].value,
        ddf=ddf,
        level=bench.document.spec.inference.level,
    )
    if found["status"][0] != FITTED:
        return None
    values = {name: float(value[0]) for name, value in found["values"].items()}
    return values | _under_our_names(values, variant.renamed)


def _under_our_names(values: Values, renamed: Mapping[str, str]) -> dict[str, float]:
    """A coefficient of two categories under the name that the spec's model has for it too."""
    found = {}
    for name, value in values.items():
        kind, _, rest = name.partition("/")
        term, _, what = rest.rpartition("/")
        parts = [renamed.get(part, part) for part in term.split(":")]
        if kind == "fixef" and ":".join(parts) != term:
            found["/".join((kind, ":".join(parts), what))] = value
    return found


def as_specified(
    claim: Claim, model: ModelPlan, name: str, base: Values, reml: bool, loose: Loose
) -> Judged:
    """A number beside that of the model as the spec has it.

    Parameters
    ----------
    claim
        The number.
    model, name
        What it is of.
    base
        All numbers of the model by name.
    reml
        Whether it is fitted by REML.
    loose
        In what the source's program leaves its numbers.
    """
    verdict, cause = _fits(claim, name, base, loose)
    if verdict == DIFFERS:
        verdict, cause = _by_another(claim, name, base, reml, loose)
    return Judged(claim, model.id, name, base.get(name), verdict, cause)


def _by_another(claim: Claim, name: str, base: Values, reml: bool, loose: Loose) -> tuple[str, str]:
    """The definition that gives a number to its precision, else one that nearly does."""
    near = DIFFERS, ""
    for words, value in _definitions(claim, name, base, reml):
        verdict, cause = _fits(claim, name, {**base, name: value}, loose)
        if verdict == AGREES:
            return BY_DEFINITION, words
        if verdict == ROUNDING and near[0] == DIFFERS:
            near = ROUNDING, f"{words}, {cause}"
    return near


def _fits(claim: Claim, name: str, values: Values, loose: Loose) -> tuple[str, str]:
    """Whether a value is the printed one, to its precision, or to the last digit."""
    if name not in values:
        return DIFFERS, ""
    value, half = values[name], half_a_unit(claim.number)
    if claim.below:
        return (AGREES if value < claim.value else DIFFERS), ""
    apart = abs(value - claim.value)
    if apart <= half * (1 + 1e-9):
        return AGREES, ""
    if apart <= 2 * half * (1 + 1e-9):
        return ROUNDING, "less than a unit of the last digit apart"
    if apart <= NOISE * _unit(name, values):
        return ROUNDING, f"less than {NOISE:g} standard errors apart, where optimizers stop"
    if loose.covers(name, apart, values):
        return ROUNDING, f"within what the convergence of {loose.program} leaves"
    return DIFFERS, ""


def _unit(name: str, values: Values) -> float:
    """The standard error that a difference is measured by; 0 for what has none."""
    kind, _, rest = name.partition("/")
    if kind == "fixef" and rest.endswith(("/estimate", "/se", "/lower", "/upper")):
        return values[f"fixef/{rest.rpartition('/')[0]}/se"]
    return values.get(f"{name.removesuffix('/se')}/se", 0.0)


def _score(first: Sequence[Judged], values: Values, reml: bool, loose: Loose) -> int:
    """How many of all numbers a variant gives."""
    return sum(_gives(found, values, reml, loose) is not None for found in first)


def _gives(found: Judged, values: Values, reml: bool, loose: Loose) -> str | None:
    """The definition by which a variant gives a number; empty for the report's own."""
    if _fits(found.claim, found.name, values, loose)[0] != DIFFERS:
        return ""
    for words, value in _definitions(found.claim, found.name, values, reml):
        if _fits(found.claim, found.name, {**values, found.name: value}, loose)[0] != DIFFERS:
            return words
    return None


def _explained(found: Judged, ranked: Sequence[tuple[str, Values, bool]], loose: Loose) -> Judged:
    for words, values, reml in ranked:
        definition = _gives(found, values, reml, loose)
        if definition is not None:
            cause = f"{words}; {definition}" if definition else words
            return Judged(found.claim, found.model, found.name, found.found, DIFFERS, cause)
    cause = f"none of {len(ranked)} departures from the spec that were tried gives it"
    return Judged(found.claim, found.model, found.name, found.found, DIFFERS, cause)


# --- other definitions ------------------------------------------------------------------------


def _definitions(
    claim: Claim, name: str, values: Values, reml: bool
) -> Iterator[tuple[str, float]]:
    """The same number by other definitions, computed from one fit."""
    kind, _, rest = name.partition("/")
    if kind == "fixef":
        yield from _by_normal(rest.rpartition("/")[0], claim.what, values)
        joint = values.get(f"{name}_joint") if claim.what == "se" else None
        if joint is not None:
            yield JOINT, joint
    elif kind in {"var", "sd"} or name in {"sigma2", "sigma"}:
        yield from _by_scale(name, values)
    elif kind == "icc":
        yield from _by_icc(name, values)
    elif name in {"aic", "bic"}:
        yield from _by_count(name, values, reml)
    elif name in {"loglik", "deviance"} and reml:
        sign = 0.5 if name == "loglik" else -1.0
        yield (
            "the REML criterion has the constant log|X'X|",
            values[name] + sign * values["log_det"],
        )


def _by_normal(term: str, what: str, values: Values) -> Iterator[tuple[str, float]]:
    t, se = values.get(f"fixef/{term}/t"), values.get(f"fixef/{term}/se")
    if t is None or se is None:
        return
    words = "by the normal distribution, not by t with df"
    if what == "p":
        yield words, math.erfc(abs(t) / math.sqrt(2))
    elif what in {"lower", "upper"}:
        sign = 1 if what == "upper" else -1
        yield words, values[f"fixef/{term}/estimate"] + sign * NORMAL * se


NORMAL = 1.959963984540054
"""The 97.5 % point of the normal distribution: printed intervals are of 95 %."""


def _by_scale(name: str, values: Values) -> Iterator[tuple[str, float]]:
    if name in values and not name.endswith("/se"):
        squared = name.startswith("var/") or name == "sigma2"
        words = "a standard deviation" if squared else "a variance"
        yield f"it is {words}", math.sqrt(values[name]) if squared else values[name] ** 2


def _by_icc(name: str, values: Values) -> Iterator[tuple[str, float]]:
    if name in values:
        yield "it is in percent", 100 * values[name]
    for what in ("adjusted", "unadjusted"):
        if f"icc_{what}" in values:
            yield f"the {what} ICC, slopes averaged over the rows", values[f"icc_{what}"]


def _by_count(name: str, values: Values, reml: bool) -> Iterator[tuple[str, float]]:
    """AIC and BIC by other counts of parameters, and BIC by other n."""
    k, fixed, rows = values["parameters"], values["fixed"], values["nobs"]
    counts = {"": k, "covariance parameters alone counted": k - fixed}
    sizes = {"": rows, "n is the rows less the fixed effects": rows - fixed}
    for group, number in values.items():
        if group.startswith("ngroups/"):
            sizes[f"n is the {number:,.0f} groups of {group.partition('/')[2]}"] = number
    for counted, parameters in counts.items():
        for size, n in sizes.items() if name == "bic" else [("", math.e**2)]:
            words = ", ".join(part for part in (counted, size) if part)
            if words:
                yield words, values["deviance"] + parameters * math.log(n)
    if reml:
        yield "-2 log-likelihood alone", values["deviance"]


# --- as rows of the table of checks -----------------------------------------------------------


def as_checks(numbers: Sequence[Judged]) -> Iterator[Check]:
    """A row a number."""
    for found in numbers:
        claim, half = found.claim, half_a_unit(found.claim.number)
        difference = None if found.found is None else claim.value - found.found
        told = f"{found.verdict}, {found.cause}" if found.cause else found.verdict
        yield Check(
            id=f"{found.model}/{found.name}",
            kind="against",
            what=f"{claim.term}, {claim.what}, {claim.location}: {told}",
            expected=found.found,
            found=claim.text,
            difference=difference,
            tolerance=f"{half:g}, half a unit of the last printed digit",
            verdict=judged(found.ok),
        )


def told(numbers: Sequence[Judged], printed: Printed, lined_up: Lined) -> str:
    """The numbers as JSON, with what was read of the source and what was not."""
    notes = (*printed.notes, *lined_up.notes)
    found = {
        "program": printed.program,
        "models": [asdict(match) for match in lined_up.matches],
        "numbers": [asdict(number) for number in numbers],
        "tables": [asdict(table) | {"read": not table.reason} for table in printed.tables],
        "not_compared": [asdict(note) for note in notes],
    }
    return json.dumps(found, ensure_ascii=False, allow_nan=False, indent=1)
