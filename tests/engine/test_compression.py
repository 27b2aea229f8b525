"""Fits, bootstrap, influence and profiles on compressed rows equal lme4's on all rows.

``reference/compression.R`` makes each check in a clean R: what lme4 computes from all rows, and for
robust errors clubSandwich, against what ``r/compression.R`` and the files that rest on it compute
without them.
"""

from __future__ import annotations

from functools import cache

import pytest

from tests.support import run_r

pytestmark = [pytest.mark.r, pytest.mark.long]

THEMES = (
    "hsb", "uncorrelated", "weights", "sleepstudy", "three_levels", "three_weights", "crossed",
    "both", "no worse", "warm", "uncompressed", "refit", "generator", "blocks", "all converged",
    "mean of", "covariance", "SDs", "bootMer", "every group", "groups drawn", "nested groups",
    "left out", "lme4's", "Cook's", "not estimable", "profile", "lower limit", "limit of",
    "other optimizers", "exact", "design", "large cells", "robust",
)  # fmt: skip


@cache
def checks() -> dict[str, tuple[float, float]]:
    """Largest difference and its bound, by the name of the check."""
    lines = run_r("compression.R", "definitions")
    return {name: (float(found), float(bound)) for name, found, bound in lines}


@pytest.mark.parametrize("theme", THEMES)
def test_equals_lme4(theme: str) -> None:
    """Each difference is within its bound."""
    found = {name: pair for name, pair in checks().items() if name.startswith(theme)}
    assert found
    beyond = {name: pair for name, pair in found.items() if not pair[0] <= pair[1]}
    assert not beyond


def test_every_check_is_looked_at() -> None:
    """No check of the script goes unread."""
    assert all(name.startswith(THEMES) for name in checks())
