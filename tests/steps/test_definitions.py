"""Definitions that take plain numbers, against NumPy, closed forms and simulation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlmreport.engine.session import session

pytestmark = pytest.mark.r


def call(function: str, **arguments: Any) -> Any:
    return session().call(function, **arguments)


def one(function: str, **arguments: Any) -> float:
    (found,) = call(function, **arguments)
    return float(found)


# --- sizes and shapes ---------------------------------------------------------------------------


def test_design_effect_of_equal_and_unequal_sizes() -> None:
    assert one("design_effect", icc=0.2, sizes=[10, 10, 10]) == pytest.approx(1 + 9 * 0.2)
    sizes = np.array([3, 8, 25, 14])
    expected = 1 + (float(sizes @ sizes) / sizes.sum() - 1) * 0.3
    assert one("design_effect", icc=0.3, sizes=sizes.tolist()) == pytest.approx(expected)


def test_reliability_is_the_weight_of_a_groups_own_data() -> None:
    found = call("reliability", tau=2.0, sigma2=8.0, sizes=[1, 4, 100])
    assert found == pytest.approx((0.2, 0.5, 200 / 208))
    mean = one("mean_reliability", tau=2.0, sigma2=8.0, sizes=[1, 4, 100])
    assert mean == pytest.approx(np.mean(found))


@given(st.lists(st.floats(-100, 100), min_size=5, max_size=30).filter(lambda x: np.std(x) > 1e-3))
@settings(max_examples=25, deadline=None)
def test_shape_against_numpy(values: list[float]) -> None:
    x = np.array(values)
    z = (x - x.mean()) / x.std()
    assert one("skewness", x=values) == pytest.approx(np.mean(z**3), rel=1e-7, abs=1e-7)
    assert one("excess_kurtosis", x=values) == pytest.approx(np.mean(z**4) - 3, rel=1e-7, abs=1e-7)


def test_ranks_do_not_hang_on_rounding() -> None:
    x = np.repeat([3.0, 1.0, 2.0, 5.0], 5)
    e = np.linspace(0.1, 2.0, 20) ** 2
    rounded = x + np.random.default_rng(1).uniform(-1e-13, 1e-13, 20)
    expected = call("spread_test", x=x.tolist(), e=e.tolist())
    found = call("spread_test", x=rounded.tolist(), e=e.tolist())
    assert found["estimate"] == pytest.approx(expected["estimate"], rel=1e-12)
    rho = pd.Series(x).corr(pd.Series(e), method="spearman")
    assert found["estimate"][0] == pytest.approx(rho, rel=1e-12)
    assert call("fifths", x=rounded.tolist(), e=e.tolist()) == pytest.approx(
        call("fifths", x=x.tolist(), e=e.tolist())
    )


def shares(x: np.ndarray, **groups: np.ndarray) -> list[float]:
    frame = pd.DataFrame({name: pd.Categorical(g.astype(str)) for name, g in groups.items()})
    return [float(share) for share in call("variance_shares", x=x.tolist(), groups=frame)]


def test_shares_of_one_grouping_are_those_of_the_analysis_of_variance() -> None:
    x, g = np.array([1.0, 2.0, 3.0, 7.0, 8.0, 9.0, 9.0]), np.array([1, 1, 1, 2, 2, 2, 2])
    means = np.array([2.0, 8.25])
    within = (2.0 + 2.75) / 5
    between = 3 * (means[0] - x.mean()) ** 2 + 4 * (means[1] - x.mean()) ** 2
    tau = (between - within) / (7 - (9 + 16) / 7)
    assert shares(x, g=g) == pytest.approx([tau / (tau + within), within / (tau + within)])


@pytest.mark.parametrize("nested", [True, False])
def test_shares_equate_squares_to_their_expectations(nested: bool) -> None:
    """Unbalanced, with the expectations as traces of dense matrices."""
    rng = np.random.default_rng(3)
    b = rng.integers(0, 5, 90)
    a = b * 4 + rng.integers(0, 4, 90) if nested else rng.integers(0, 9, 90)
    x = 2 * rng.normal(size=20)[a] + rng.normal(size=5)[b] + rng.normal(size=90)
    z = [np.equal.outer(g, np.unique(g)).astype(float) for g in (a, b)] + [np.eye(90)]
    mean = np.full((90, 90), 1 / 90)
    forms = [m @ np.linalg.inv(m.T @ m) @ m.T - mean for m in z]
    expected = [[np.trace(f @ m @ m.T) for m in z] for f in forms]
    found = np.maximum(np.linalg.solve(expected, [x @ f @ x for f in forms]), 0)
    assert shares(x, a=a, b=b) == pytest.approx((found / found.sum()).tolist())


def test_shares_of_noise_are_near_zero_where_eta_squared_is_not() -> None:
    rng = np.random.default_rng(5)
    g = np.repeat(np.arange(200), 3)  # eta squared of noise is about 1/3
    found = [shares(rng.normal(size=600), g=g)[0] for _ in range(20)]
    assert np.mean(found) < 0.05


def test_akaike_weights_sum_to_one() -> None:
    found = call("akaike_weight", aic=[100.0, 102.0, 110.0])
    raw = np.exp(-0.5 * np.array([0, 2, 10]))
    assert found == pytest.approx(tuple(raw / raw.sum()))
    # No overflow at the size that AICs have.
    assert sum(call("akaike_weight", aic=[47122.0, 46282.0])) == pytest.approx(1)


# --- tests --------------------------------------------------------------------------------------


def chi_square_tail(x: float, df: int) -> float:
    """P(chi2 > x) for 1 and 2 df in closed form."""
    return math.erfc(math.sqrt(x / 2)) if df == 1 else math.exp(-x / 2)


def test_boundary_p_is_the_mixture() -> None:
    assert one("boundary_p", lr=0.0, df=1.0) == 1
    for lr in (0.4, 2.7, 9.1):
        half = 0.5 * chi_square_tail(lr, 1)
        assert one("boundary_p", lr=lr, df=1.0) == pytest.approx(half)
        both = half + 0.5 * chi_square_tail(lr, 2)
        assert one("boundary_p", lr=lr, df=2.0) == pytest.approx(both)
    # Stram and Lee's correction is never larger than the naive p.
    assert one("boundary_p", lr=3.0, df=2.0) < chi_square_tail(3.0, 2)


def test_johnson_neyman_bounds_are_where_the_interval_touches_zero() -> None:
    b, c, vb, vbc, vc, quantile = 2.5, 1.0, 0.024, 0.003, 0.084, 1.97
    bounds = call("johnson_neyman", b=b, c=c, vb=vb, vbc=vbc, vc=vc, quantile=quantile)
    for z in bounds:
        se = math.sqrt(vb + 2 * z * vbc + z * z * vc)
        assert abs(b + c * z) == pytest.approx(quantile * se)
    # A slope that is significant everywhere has no bounds.
    none = call("johnson_neyman", b=9.0, c=0.001, vb=0.01, vbc=0.0, vc=1e-9, quantile=1.97)
    assert all(math.isnan(bound) or abs(bound) > 1000 for bound in none)


# --- quantile-quantile bands ---------------------------------------------------------------------


def minimal_standard(n: int, seed: int) -> list[float]:
    found, state = [], seed
    for _ in range(n):
        state = 16807 * state % 2147483647
        found.append(state / 2147483647)
    return found


def test_the_generator_is_park_and_millers() -> None:
    assert call("lehmer_uniform", n=1000, seed=20261) == tuple(minimal_standard(1000, 20261))
    # Park and Miller's check value: from seed 1 the 10,000th number is 1043618065.
    last = call("lehmer_uniform", n=10_000, seed=1)[-1]
    assert round(last * 2147483647) == 1043618065


@pytest.mark.parametrize("n", [20, 50, 200])
def test_a_normal_sample_stays_inside_its_band_as_often_as_it_should(n: int) -> None:
    band = call("qq_band", n=n, level=0.95)
    rng = np.random.default_rng(2026)
    samples = np.sort(rng.normal(size=(4000, n)), axis=1)
    z = (samples - samples.mean(axis=1, keepdims=True)) / samples.std(axis=1, ddof=1, keepdims=True)
    inside = ((z >= np.array(band["lower"])) & (z <= np.array(band["upper"]))).all(axis=1)
    assert 0.93 <= inside.mean() <= 0.97


def test_the_band_of_a_large_sample_is_at_least_as_wide_as_it_should_be() -> None:
    n, shown = 3000, 300
    band = call("qq_band", n=n, level=0.95)
    assert len(band["lower"]) == shown
    rng = np.random.default_rng(5)
    points = (np.arange(1, shown + 1) - 0.5) / shown
    kept = 0
    for _ in range(300):
        x = rng.normal(size=n)
        z = np.quantile((x - x.mean()) / x.std(ddof=1), points, method="hazen")
        kept += bool(((z >= np.array(band["lower"])) & (z <= np.array(band["upper"]))).all())
    assert kept / 300 >= 0.93


def test_bands_lie_around_the_line_and_widen_to_the_ends() -> None:
    band = call("qq_band", n=100, level=0.95)
    lower, upper = np.array(band["lower"]), np.array(band["upper"])
    line = np.array(call("qq_points", n=100))
    assert (np.diff(lower) > 0).all()
    assert (lower < upper).all()
    assert upper[0] - lower[0] > 2 * (upper[50] - lower[50])
    assert lower[50] < 0 < upper[50]
    assert line == pytest.approx((np.arange(1, 101) - 0.5) / 100)
