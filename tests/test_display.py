"""How numbers are written."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from mlmreport import display
from mlmreport.quantities import Quantity, Source
from mlmreport.steps.context import Context
from mlmreport.steps.interpretation import align


def shown(value: float, kind: str, digits: int | None = None) -> str:
    return display.text(Quantity("q", value, kind, "", "", Source("x"), digits=digits))


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (0.0123, "variance", "0.012"),
        (0.0999, "sd", "0.100"),
        (-0.00456, "covariance", "−0.0046"),
        (0.1234, "variance", "0.12"),
        (612.1, "variance", "612.10"),
        (0.0, "variance", "0.00"),
        (4.8e-6, "sd", "4.8\N{NARROW NO-BREAK SPACE}×\N{NARROW NO-BREAK SPACE}10⁻⁶"),
        (3e-9, "variance", "3.0\N{NARROW NO-BREAK SPACE}×\N{NARROW NO-BREAK SPACE}10⁻⁹"),
        (0.0123, "estimate", "0.01"),
        (0.00283, "effect", "0.0028"),
    ],
)
def test_a_small_part_of_the_variance_keeps_two_significant_digits(
    value: float, kind: str, text: str
) -> None:
    assert shown(value, kind) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "<\N{NARROW NO-BREAK SPACE}0.001"),
        (-0.0004, "<\N{NARROW NO-BREAK SPACE}0.001"),
        (-0.00406, "−0.004"),
    ],
)
def test_a_difference_between_two_fits_is_below_a_bound(value: float, text: str) -> None:
    assert shown(value, "difference") == text


@pytest.mark.parametrize(
    ("sd", "lower", "upper", "texts"),
    [
        (2.0002, 1.9974, 2.0030, ("2.00", "1.997", "2.003")),  # 1,000,000 rows
        (0.98123, 0.93871, 1.02571, ("0.98", "0.94", "1.03")),
        (0.03142, 0.0251, 0.0377, ("0.031", "0.025", "0.038")),
    ],
)
def test_limits_of_a_standard_deviation_are_told_apart(
    sd: float, lower: float, upper: float, texts: tuple[str, ...]
) -> None:
    values = {"sd": sd, "sd/lower": lower, "sd/upper": upper}
    engine: Any = SimpleNamespace(
        items={
            name: Quantity(name, value, "sd", "", "", Source("x")) for name, value in values.items()
        }
    )
    nothing: Any = None
    align(Context(nothing, nothing, nothing, engine), "sd", "sd")
    assert tuple(display.text(engine.items[name]) for name in values) == texts


def test_decimals_that_the_context_sets_come_first() -> None:
    assert shown(0.0123, "variance", digits=2) == "0.01"
