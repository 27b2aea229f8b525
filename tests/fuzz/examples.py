"""Properties that are tried on 200 examples by `make test`, and on 2,000 by `make long`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

QUICK, LONG = 200, 2000


def tried(share: float = 1.0) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A property as two tests, one of them long; `share` is for costly ones.

    The property takes the number of examples as its argument ``examples`` and hands it on to
    `property_of`.
    """

    def marked(test: Callable[..., Any]) -> Callable[..., Any]:
        counts = [
            pytest.param(max(1, int(QUICK * share)), id="quick"),
            pytest.param(max(1, int(LONG * share)), id="long", marks=pytest.mark.long),
        ]
        return pytest.mark.parametrize("examples", counts)(test)

    return marked


def at_most(examples: int) -> settings:
    """The settings of a property that is tried on some examples."""
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=examples <= QUICK,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
