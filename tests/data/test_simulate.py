"""Simulated data: reproducible, of the sizes and levels asked for, and from the model stated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlmreport.data.simulate import simulate
from mlmreport.spec.schema import SimulateSpec


def spec(**changes: Any) -> SimulateSpec:
    predictors = {
        "x": {"level": "unit", "effect": 0.5, "mean": 2.0, "sd": 3.0},
        "z": {"level": "group", "effect": -0.3, "probability": 0.25},
    }
    whole = {"seed": 1, "groups": 5, "units": 23, "group_sd": 1.0, "residual_sd": 1.0}
    return SimulateSpec.model_validate(whole | {"predictors": predictors} | changes)


def test_the_seed_decides_everything() -> None:
    first, again = (simulate(spec(), "y", "g", "unit") for _ in range(2))
    assert first.equals(again)
    assert not first.equals(simulate(spec(seed=2), "y", "g", "unit"))


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 40), st.integers(0, 200))
def test_groups_are_as_equal_as_can_be(groups: int, more: int) -> None:
    frame = simulate(spec(groups=groups, units=groups + more), "y", "g", "unit")
    sizes = frame.groupby("g").size()
    assert len(frame) == groups + more
    assert len(sizes) == groups
    assert sizes.max() - sizes.min() <= 1
    assert (frame.groupby("g")["z"].nunique() == 1).all()
    assert list(frame.columns) == ["g", "y", "x", "z"]
    assert not frame.isna().any().any()


def test_ids_sort_as_text() -> None:
    frame = simulate(spec(groups=12, units=24), "y", "g", "unit")
    assert list(frame["g"]) == sorted(frame["g"])
    assert frame["g"].iloc[0] == "01"


def test_the_draws_follow_the_model() -> None:
    """Moments within four standard errors of the truth."""
    n, groups = 200_000, 2_000
    frame = simulate(
        spec(seed=5, groups=groups, units=n, intercept=4, group_sd=2, residual_sd=3),
        "y", "g", "unit",
    )  # fmt: skip
    assert frame["x"].mean() == pytest.approx(2, abs=4 * 3 / np.sqrt(n))
    assert frame["x"].std() == pytest.approx(3, rel=0.01)
    shares = frame.groupby("g")["z"].first()
    assert shares.mean() == pytest.approx(0.25, abs=4 * np.sqrt(0.25 * 0.75 / groups))
    rest = frame["y"] - 4 - 0.5 * frame["x"] + 0.3 * frame["z"]
    assert rest.mean() == pytest.approx(0, abs=4 * 2 / np.sqrt(groups))
    means = rest.groupby(frame["g"]).mean()
    assert means.std() == pytest.approx(np.sqrt(4 + 9 / 100), rel=4 / np.sqrt(2 * groups))
    assert (rest - rest.groupby(frame["g"]).transform("mean")).std() == pytest.approx(3, rel=0.01)


def test_slopes_vary_as_stated() -> None:
    predictors = {"x": {"level": "unit", "effect": 1.0, "slope_sd": 0.5}}
    frame = simulate(
        spec(groups=500, units=50_000, group_sd=0.0, residual_sd=0.01, predictors=predictors),
        "y", "g", "unit",
    )  # fmt: skip
    products = (frame["x"] * frame["y"]).groupby(frame["g"]).sum()
    slopes = products / (frame["x"] ** 2).groupby(frame["g"]).sum()
    assert slopes.mean() == pytest.approx(1, abs=4 * 0.5 / np.sqrt(500))
    assert slopes.std() == pytest.approx(0.5, rel=4 / np.sqrt(1000))
