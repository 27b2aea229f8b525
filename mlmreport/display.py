"""How a number is written: the one policy, after the APA manual (7th ed., sections 6.36-6.44).

Nothing else in the package turns a number into text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mlmreport.quantities import Quantity

__all__ = [
    "FORMATS",
    "KINDS",
    "UNSIGNED",
    "Kind",
    "decimals_for",
    "decimals_of",
    "number",
    "parted",
    "text",
    "without_code",
]

MINUS = "\N{MINUS SIGN}"
THIN = "\N{NARROW NO-BREAK SPACE}"


@dataclass(frozen=True, slots=True)
class Kind:
    """Rounding and notation of one kind of number.

    Parameters
    ----------
    decimals
        Decimals shown where the context names none.
    leading_zero
        False for numbers that cannot exceed one in absolute value, as APA asks.
    smallest
        Absolute values below it are shown as "< smallest" (p-values, what separates two fits of one
        optimum); 0 for none.
    """

    decimals: int
    leading_zero: bool = True
    smallest: float = 0.0


KINDS: Mapping[str, Kind] = {
    "count": Kind(0),
    "seconds": Kind(1),
    "level": Kind(2, leading_zero=False),
    "mean": Kind(2),
    "integer": Kind(0),
    "mean_count": Kind(1),
    "estimate": Kind(2),
    "se": Kind(2),
    "sd": Kind(2),
    "variance": Kind(2),
    "covariance": Kind(2),
    "statistic": Kind(2),
    "df": Kind(1),
    "ratio": Kind(2),
    "effect": Kind(2),
    "distance": Kind(3),
    "criterion": Kind(1),
    "gradient": Kind(5),
    "difference": Kind(3, smallest=0.001),
    "proportion": Kind(3, leading_zero=False),
    "share": Kind(3, leading_zero=False),
    "correlation": Kind(2, leading_zero=False),
    "p": Kind(3, leading_zero=False, smallest=0.001),
    "shape": Kind(2),
}


def decimals_for(standard_error: float) -> int:
    """Decimals that show an estimate's standard error to two significant digits.

    At least 2 below 100, at most 6, so that a column of estimates of one model reads evenly and a
    slope of a large-scaled predictor does not vanish.
    """
    if standard_error >= 1000:
        return 0
    if standard_error >= 100:
        return 1
    if standard_error <= 0:
        return 2
    return min(6, max(2, 1 - math.floor(math.log10(standard_error))))


def number(value: float, decimals: int, *, leading_zero: bool = True) -> str:
    """A number with fixed decimals, grouped thousands, a true minus, and no negative zero."""
    text = f"{abs(value):,.{decimals}f}"
    negative = value < 0 and any(digit in "123456789" for digit in text)
    if not leading_zero and text.startswith("0."):
        text = text[1:]
    return (MINUS if negative else "") + text


def decimals_of(quantity: Quantity) -> int:
    """The decimals of a quantity: those that its context set, else those of its kind.

    A part of the variance, or a standardised effect, that is small keeps two significant digits.
    """
    if quantity.digits is not None:
        return quantity.digits
    small = 1e-5 <= abs(quantity.value) < 0.1
    if small and quantity.kind in {"variance", "sd", "covariance", "effect"}:
        return decimals_for(abs(quantity.value))
    return KINDS[quantity.kind].decimals


def _plain(quantity: Quantity) -> str:
    if quantity.kind == "level":
        return f"{quantity.value:.10g}".removeprefix("0")
    kind = KINDS[quantity.kind]
    decimals = decimals_of(quantity)
    if kind.smallest and abs(quantity.value) < kind.smallest:
        bound = number(kind.smallest, decimals, leading_zero=kind.leading_zero)
        return f"<{THIN}{bound}"
    shown = number(quantity.value, decimals, leading_zero=kind.leading_zero)
    vanishes = quantity.value != 0 and not any(digit in "123456789" for digit in shown)
    if vanishes and quantity.kind in {"variance", "sd", "se", "estimate", "covariance", "gradient"}:
        return _scientific(quantity.value)
    return shown


def _scientific(value: float) -> str:
    mantissa, exponent = f"{value:.1e}".split("e")
    superscript = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{mantissa.replace('-', MINUS)}{THIN}×{THIN}10{superscript}"


def _percent(quantity: Quantity) -> str:
    value = 100 * quantity.value
    if quantity.kind == "level":  # as it was set, without decimals that say nothing
        return f"{value:.10g}{THIN}%"
    if 0 < abs(value) < 0.005:
        return f"<{THIN}{number(0.01, 2)}{THIN}%"
    decimals = 2 if 0 < abs(value) < 0.95 else 1 if abs(value) < 99.95 else 0
    return f"{number(value, decimals)}{THIN}%"


def _magnitude(quantity: Quantity) -> str:
    return _plain(quantity).removeprefix(MINUS)


def _equation(quantity: Quantity) -> str:
    """As it stands after a symbol: "= .012" or "< .001"."""
    shown = _plain(quantity)
    return shown if shown.startswith("<") else f"= {shown}"


def _percent_size(quantity: Quantity) -> str:
    return _percent(quantity).removeprefix(MINUS)


FORMATS: Mapping[str, Callable[[Quantity], str]] = {
    "plain": _plain,
    "percent": _percent,
    "percent_size": _percent_size,
    "magnitude": _magnitude,
    "equation": _equation,
}


UNSIGNED = frozenset({"percent_size", "magnitude"})
"""The forms that hide a sign, which the sentence around them tells."""


def text(quantity: Quantity, form: str = "plain") -> str:
    """The text of a quantity in one of the `FORMATS`.

    Parameters
    ----------
    quantity
        What is shown.
    form
        ``"plain"``, ``"percent"`` (of a share), ``"magnitude"`` (without sign, where the sentence
        says the direction) or ``"equation"`` (with ``=`` or ``<`` before it).
    """
    return FORMATS[form](quantity)


# --- code within texts ------------------------------------------------------------------------

_CODE = re.compile(
    r"`((?:estimation|inference|models|report)\.[a-z0-9_]+(?:: ?[a-z0-9_]+)?|mean_of"
    r"|mlmreport [a-z]+)`"
)
"""What sentences of the program name as code: keys of a spec and commands."""


def parted(text: str) -> list[str]:
    """A text in pieces, every second one code.

    A text of one pair of backticks around the whole is code; in a longer one only what `_CODE`
    knows is, as the rest may be somebody else's.
    """
    inside = text[1:-1]
    if len(text) > 2 and text[0] == text[-1] == "`" and not inside.isspace():
        return ["", inside, ""]
    return _CODE.split(text)


def without_code(text: str) -> str:
    """A text without the backticks around what it names as code."""
    return "".join(parted(text))
