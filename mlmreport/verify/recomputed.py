"""Numbers recomputed from other numbers as they are displayed, within what rounding allows.

A reader of the finished report can do the same with a pocket calculator: t from an estimate and its
standard error, p from t and df, limits, likelihood ratios from deviances, shares from variances.
Each displayed number stands for the interval that rounds to it; a relation holds where the interval
that follows from its inputs meets that of its result (Moore, 1966).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import product
from statistics import NormalDist

import mpmath

from mlmreport.quantities import Quantity, Results
from mlmreport.verify.checks import Check, judged

__all__ = ["KIND", "Interval", "interval_of", "recompute"]

KIND = "recomputed"
Interval = tuple[float, float]
Shown = Mapping[str, Interval]

_SLACK = 1e-9  # of the computing with doubles, relative
_MINUS, _TIMES = "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}"
_RAISED = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")


def interval_of(text: str, *, whole: bool = False) -> Interval | None:
    """The values that are shown as a text; None for a text that is no number.

    Parameters
    ----------
    text
        As displayed: ``−1.27``, ``< .001``, ``39.5 %``, ``1.2 × 10⁻⁵``.
    whole
        Whether it is a whole number, which is shown as it is.
    """
    plain = "".join(text.split()).replace(",", "").replace(_MINUS, "-").removeprefix("=")
    # Decimal: a power of ten may lie below the smallest double though the number does not.
    factor = Decimal("0.01") if plain.endswith("%") else Decimal(1)
    plain = plain.removesuffix("%")
    below = plain.startswith("<")
    number, _, raised = plain.removeprefix("<").partition(_TIMES)
    if not re.fullmatch(r"-?(\d+\.?\d*|\.\d+)", number):
        return None
    if raised:
        factor *= Decimal(10) ** int(raised[2:].translate(_RAISED))
    value = Decimal(number)
    if below:
        return (0.0, float(value * factor))
    half = Decimal(0) if whole else Decimal(5).scaleb(-1 - len(number.partition(".")[2]))
    return (float((value - half) * factor), float((value + half) * factor))


def recompute(displayed: Iterable[tuple[str, str]], results: Results) -> tuple[Check, ...]:
    """Check every relation whose numbers are all displayed.

    Parameters
    ----------
    displayed
        Id and text of each number of a page.
    results
        What the numbers are called, and by which method they were made.
    """
    reading = _Reading(displayed, results)
    return tuple(reading.check(relation) for relation in _relations(reading))


# --- what is displayed ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Relation:
    """A result, how it follows from other numbers, and the interval that follows."""

    id: str
    what: str
    follows: Interval


class _Reading:
    """The displayed numbers as intervals, and what is known of them."""

    def __init__(self, displayed: Iterable[tuple[str, str]], results: Results) -> None:
        self.results = results
        self.shown: dict[str, Interval] = {}
        self.texts: dict[str, str] = {}
        for name, text in displayed:
            item = results.items.get(name)
            if isinstance(item, Quantity):
                interval = interval_of(text, whole=item.kind == "integer")
                if interval:
                    self._take(name, text, interval)

    def _take(self, name: str, text: str, interval: Interval) -> None:
        """Of a number that is shown in several ways what all of them say."""
        low, high = self.shown.get(name, interval)
        self.shown[name] = (max(low, interval[0]), min(high, interval[1]))
        self.texts.setdefault(name, text)

    def method(self, name: str) -> str:
        """The method of a quantity."""
        item = self.results.items.get(name)
        return item.method if isinstance(item, Quantity) else ""

    def get(self, *names: str) -> tuple[Interval, ...] | None:
        """The intervals of some numbers, or None where one is not displayed."""
        if all(name in self.shown for name in names):
            return tuple(self.shown[name] for name in names)
        return None

    def under(self, pattern: str) -> Iterator[str]:
        """The last group of a pattern for each displayed id that it matches."""
        for name in self.shown:
            if found := re.fullmatch(pattern, name):
                yield found[1]

    def known(self, pattern: str) -> Iterator[str]:
        """The last group of a pattern for each quantity of the results, displayed or not.

        A whole is the sum of all of its parts, not of those that a page happens to show.
        """
        for name, item in self.results.items.items():
            if isinstance(item, Quantity) and (found := re.fullmatch(pattern, name)):
                yield found[1]

    def check(self, relation: _Relation) -> Check:
        """Whether a result is within what follows from its inputs."""
        low, high = self.shown[relation.id]
        first, last = relation.follows
        slack = _SLACK * max(1.0, abs(low), abs(high))
        value, half = (low + high) / 2, (high - low) / 2 + slack
        off = max(first - value, value - last, 0.0)
        label = getattr(self.results.items.get(relation.id), "label", "")
        expected = f"{first:.6g} to {last:.6g}"
        found = " ".join(self.texts[relation.id].split())
        what = f"{label}: {relation.what}"
        return Check(relation.id, KIND, what, expected, found, off, half, judged(off <= half))


# --- relations --------------------------------------------------------------------------------


def _relations(reading: _Reading) -> Iterator[_Relation]:
    for family in (_tests, _limits, _ratios, _criteria, _spreads, _shares, _reductions):
        for name, what, follows in family(reading):
            if name in reading.shown and follows is not None:
                yield _Relation(name, what, follows)


Found = Iterator[tuple[str, str, Interval | None]]


def _hull(function: Callable[..., float], inputs: tuple[Interval, ...] | None) -> Interval | None:
    """The range of a function that is monotone in each argument: over the corners."""
    if inputs is None:
        return None
    values = [function(*corner) for corner in product(*inputs)]
    return min(values), max(values)


def _divided(numerator: Interval, denominator: Interval) -> Interval | None:
    if denominator[0] <= 0:
        return None
    return _hull(lambda a, b: a / b, (numerator, denominator))


def _size(interval: Interval) -> Interval:
    low, high = sorted(map(abs, interval))
    return (0.0 if interval[0] <= 0 <= interval[1] else low, high)


def _t_tail(t: float, df: float) -> float:
    """Two-sided p-value of Student's t; of the normal distribution where df are infinite."""
    if math.isinf(df):
        return 2 * (1 - NormalDist().cdf(t)) if t < 8 else 0.0
    return float(mpmath.betainc(df / 2, 0.5, 0, df / (df + t * t), regularized=True))


def _t_quantile(level: float, df: float) -> float:
    z = NormalDist().inv_cdf((1 + level) / 2)
    if math.isinf(df):
        return z
    return float(mpmath.findroot(lambda t: _t_tail(float(t), df) - (1 - level), z, tol=1e-18))


def _chi_tail(x: float, df: float) -> float:
    if df == 0:
        return 0.0 if x > 0 else 1.0
    return float(mpmath.gammainc(df / 2, max(x, 0.0) / 2, mpmath.inf, regularized=True))


def _df(reading: _Reading, prefix: str, method: str) -> Interval | None:
    """The displayed df, or those of a method that has none."""
    shown = reading.get(f"{prefix}/df")
    if shown:
        return shown[0]
    normal = "normal" in method or "asymptotic" in method
    return (math.inf, math.inf) if normal and "t interval" not in method else None


def _tests(reading: _Reading) -> Found:
    for prefix in reading.under(r"(.+)/t"):
        pair = reading.get(f"{prefix}/estimate", f"{prefix}/se")
        if pair:
            yield f"{prefix}/t", "estimate / SE", _divided(*pair)
    for prefix in reading.under(r"(.+)/p"):
        method = reading.method(f"{prefix}/p")
        test, df = reading.get(f"{prefix}/t"), _df(reading, prefix, method)
        if test and df and df[0] > 0 and "adjusted" not in method:
            yield f"{prefix}/p", "p of t with its df", _hull(_t_tail, (_size(test[0]), df))


def _limits(reading: _Reading) -> Found:
    level = reading.results.items.get("settings/level")
    if not isinstance(level, Quantity):
        return
    for prefix in reading.under(r"(.+)/lower"):
        method = reading.method(f"{prefix}/lower")
        by_t = re.search(r"\bt interval|^emmeans(?!.*Tukey)|normal interval", method)
        pair, df = reading.get(f"{prefix}/estimate", f"{prefix}/se"), _df(reading, prefix, method)
        if by_t and pair and df and df[0] > 0:
            q = _hull(lambda n: _t_quantile(level.value, n), (df,))
            assert q is not None
            inputs = (*pair, q)
            yield f"{prefix}/lower", "estimate - q SE", _hull(lambda b, s, k: b - k * s, inputs)
            yield f"{prefix}/upper", "estimate + q SE", _hull(lambda b, s, k: b + k * s, inputs)


_MIXTURE = re.compile(r"mixture of chi-squares with (\d+) and (\d+) df")
_ML_PAIR = re.compile(r"likelihood_ratio\(logLik\(ml_(\w+)\), logLik\(ml_(\w+)\)\)")


def _ratios(reading: _Reading) -> Found:
    for prefix in reading.under(r"(.+)/chisq"):
        chisq = reading.get(f"{prefix}/chisq")
        df = reading.get(f"{prefix}/df")
        for name in ("p", "p_naive"):
            mixture = _MIXTURE.search(reading.method(f"{prefix}/{name}"))
            if mixture:
                a, b = map(int, mixture.groups())
                tail = _hull(lambda x, a=a, b=b: (_chi_tail(x, a) + _chi_tail(x, b)) / 2, chisq)
                yield f"{prefix}/{name}", f"half of chi-square with {a} and with {b} df", tail
            elif chisq and df:
                yield (
                    f"{prefix}/{name}",
                    "p of chi-square with its df",
                    _hull(_chi_tail, (*chisq, *df)),
                )
        item = reading.results.items.get(f"{prefix}/chisq")
        pair = _ML_PAIR.fullmatch(item.source.expression) if isinstance(item, Quantity) else None
        if pair:
            inputs = reading.get(*(f"fit/{model}/deviance" for model in pair.groups()))
            what = "difference of the deviances"
            yield f"{prefix}/chisq", what, _hull(lambda a, b: abs(a - b), inputs)


def _criteria(reading: _Reading) -> Found:
    for model in reading.under(r"fit/(.+)/deviance"):
        pair = reading.get(f"fit/{model}/deviance", f"{model}/parameters")
        if pair is None:
            continue
        deviance, k = pair[0], round(sum(pair[1]) / 2)
        yield f"fit/{model}/aic", "deviance + 2 k", _shifted(deviance, 2 * k)
        for name in ("bic", "bic_groups"):
            n = re.search(r"n = (\d+)", reading.method(f"fit/{model}/{name}"))
            if n:
                more = k * math.log(int(n[1]))
                yield f"fit/{model}/{name}", f"deviance + k ln {n[1]}", _shifted(deviance, more)


def _shifted(interval: Interval, by: float) -> Interval:
    return interval[0] + by, interval[1] + by


def _spreads(reading: _Reading) -> Found:
    for prefix in reading.under(r"(.+/var/.+)/variance"):
        variance = reading.get(f"{prefix}/variance")
        yield f"{prefix}/sd", "root of the variance", _hull(_root, variance)
    for model in reading.under(r"(.+)/sigma2"):
        yield f"{model}/sigma", "root of the variance", _hull(_root, reading.get(f"{model}/sigma2"))
    for prefix, other in _correlations(reading):
        block, effect = prefix.rsplit("/", 1)
        inputs = reading.get(f"{prefix}/cov/{other}", f"{block}/{effect}/sd", f"{block}/{other}/sd")
        if inputs and inputs[1][0] > 0 and inputs[2][0] > 0:
            what = "covariance over both SDs"
            yield f"{prefix}/cor/{other}", what, _hull(lambda c, a, b: c / a / b, inputs)


def _correlations(reading: _Reading) -> Iterator[tuple[str, str]]:
    for name in reading.shown:
        if found := re.fullmatch(r"(.+/var/.+)/cor/([^/]+)", name):
            yield found[1], found[2]


def _root(value: float) -> float:
    return math.sqrt(max(value, 0.0))


def _sum(inputs: tuple[Interval, ...] | None) -> Interval | None:
    return None if inputs is None else (sum(i[0] for i in inputs), sum(i[1] for i in inputs))


def _shares(reading: _Reading) -> Found:
    """The ICC of the null model, and the parts of the variance that the final one implies."""
    groups = list(reading.known(r"icc/(.+)/tau"))
    parts = reading.get("icc/sigma2", *(f"icc/{group}/tau" for group in groups))
    yield "icc/total", "sum of the variances", _sum(parts)
    total = reading.get("icc/total")
    if total and parts:
        names = ["icc/level1", *(f"icc/{group}/icc" for group in groups)]
        for name, part in zip(names, parts, strict=True):
            yield name, "variance over their sum", _divided(part, total[0])
        yield from _to_one(reading, names)
    pieces = [name for name in reading.known(r"fit/partition/([^/]+)") if name != "total"]
    values = reading.get(*(f"fit/partition/{piece}" for piece in pieces))
    total_ = _sum(values)
    if total_ and values:
        for piece, part in zip(pieces, values, strict=True):
            what = "part of the variance over the sum of the parts"
            yield f"fit/partition/total/{piece}", what, _divided(part, total_)
        yield from _to_one(reading, [f"fit/partition/total/{piece}" for piece in pieces])
        yield from _explained(reading, pieces)
    size = reading.get("structure/n", "icc/design_effect")
    if size:
        yield "icc/effective_n", "n / design effect", _divided(*size)


def _explained(reading: _Reading, pieces: list[str]) -> Found:
    """R2 of the model whose variance is divided (Nakagawa & Schielzeth, 2013; Johnson, 2014)."""
    codes = [entry.code for entry in reading.results.trace if entry.name == "parts"]
    model = re.match(r"variance_parts\(m_(\w+)", codes[0]) if codes else None
    if model:
        fixed = [f"fit/partition/total/{name}" for name in pieces if name.startswith("f")]
        yield f"fit/{model[1]}/r2m", "shares of the fixed effects", _sum(reading.get(*fixed))
        rest = reading.get("fit/partition/total/residual")
        what = "one minus the share of the residual"
        yield f"fit/{model[1]}/r2c", what, _hull(lambda share: 1 - share, rest)


def _to_one(reading: _Reading, names: list[str]) -> Found:
    """Shares of a whole add up to one: each is what the others leave."""
    for name in names:
        others = _sum(reading.get(*(other for other in names if other != name)))
        if others and len(names) > 1:
            yield name, "what the other shares leave of one", (1 - others[1], 1 - others[0])


def _reductions(reading: _Reading) -> Found:
    """Variance explained at a level: (v0 - v1) / v0 (Raudenbush & Bryk, 2002).

    Where slopes vary, v1 is the variance at the predictors' means, which is not displayed.
    """
    for name in reading.under(r"(fit/.+/reduction/.+)"):
        _, model, _, group = name.split("/", 3)
        if (
            len(list(reading.under(rf"({re.escape(model)}/var/{re.escape(group)}/.+/variance)")))
            > 1
        ):
            continue
        part = "sigma2" if group == "residual" else f"var/{group}/(Intercept)/variance"
        pair = reading.get(f"null/{part}", f"{model}/{part}")
        if pair and pair[0][0] > 0:
            yield name, "(v0 - v1) / v0", _hull(lambda v, w: (v - w) / v, pair)
