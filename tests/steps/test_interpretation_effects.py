"""What steps 7 and 8 add to coefficients, against a computation of its own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from support import RunSpec, check_sound, value

from mlmreport.engine.session import package_dataset
from mlmreport.quantities import Results, Series

pytestmark = pytest.mark.r


def series(results: Results, name: str) -> np.ndarray:
    item = results.items[name]
    assert isinstance(item, Series)
    return np.asarray(item.values, dtype=float)


@pytest.fixture
def sleep(analysed: Callable[[str], Results]) -> Results:
    return analysed("sleep-deprivation")


def test_slope_reliability_of_a_balanced_design(sleep: Results) -> None:
    """Ten equal days: one reliability, tau11 / (tau11 + sigma2 / sum of squared deviations)."""
    tau = value(sleep, "slopes/var/Subject/Days/variance")
    noise = value(sleep, "slopes/sigma2") / np.sum((np.arange(10) - 4.5) ** 2)
    found = value(sleep, "interpretation/reliability/Subject/Days/mean")
    assert found == pytest.approx(tau / (tau + noise), rel=1e-10)
    assert value(sleep, "interpretation/reliability/Subject/Days/groups") == 18


def test_groups_differ_least_where_the_variance_function_turns(sleep: Results) -> None:
    t00 = value(sleep, "slopes/var/Subject/(Intercept)/variance")
    t11 = value(sleep, "slopes/var/Subject/Days/variance")
    t01 = value(sleep, "slopes/var/Subject/Days/cov/(Intercept)")
    x = np.linspace(-5, 5, 100_001)
    variance = t00 + 2 * x * t01 + x**2 * t11
    found = value(sleep, "interpretation/least/Subject/Days/x")
    assert found == pytest.approx(x[variance.argmin()], abs=1e-4)
    assert value(sleep, "interpretation/least/Subject/Days/sd") == pytest.approx(
        np.sqrt(variance.min()), rel=1e-7
    )


def test_a_single_new_observation_has_the_residual_variance_on_top(sleep: Results) -> None:
    variance = value(sleep, "inference/new/known") ** 2 + value(sleep, "slopes/sigma2")
    assert value(sleep, "inference/observation/known") == pytest.approx(np.sqrt(variance), rel=1e-9)


def test_kenward_roger_equals_satterthwaite_in_a_balanced_design(sleep: Results) -> None:
    assert value(sleep, "inference/otherdf/Days/df") == pytest.approx(17, abs=1e-4)
    assert value(sleep, "inference/otherdf/Days/p") == pytest.approx(
        value(sleep, "slopes/fixef/Days/p"), rel=1e-3
    )


def test_comparison_intervals(sleep: Results) -> None:
    assert value(sleep, "inference/compare/Subject/factor") == pytest.approx(1.386, abs=5e-4)
    low, high = (
        series(sleep, "inference/compare/Subject/lower"),
        series(sleep, "inference/compare/Subject/upper"),
    )
    n = len(low)
    overlap = [low[i] <= high[j] and low[j] <= high[i] for i in range(n) for j in range(i)]
    assert value(sleep, "inference/compare/Subject/overlap") == pytest.approx(np.mean(overlap))


def test_ranks_are_those_of_the_expected_values(sleep: Results) -> None:
    """Each person's intercept and slope by the normal equations of a single person's data."""
    frame = package_dataset("lme4", "sleepstudy").sort_values(["Subject", "Days"])
    at = "slopes/var/Subject"
    cov = value(sleep, f"{at}/Days/cov/(Intercept)")
    tau = np.array([[value(sleep, f"{at}/(Intercept)/variance"), cov],
                    [cov, value(sleep, f"{at}/Days/variance")]])  # fmt: skip
    sigma2 = value(sleep, "slopes/sigma2")
    beta = [value(sleep, f"slopes/fixef/{name}/estimate") for name in ("(Intercept)", "Days")]
    z, middle = np.column_stack([np.ones(10), np.arange(10)]), np.array([1, 4.5])
    posterior = np.linalg.inv(z.T @ z / sigma2 + np.linalg.inv(tau))
    sd = np.sqrt(middle @ posterior @ middle)
    means = {
        str(name): middle @ posterior @ z.T @ (y.to_numpy() - z @ beta) / sigma2
        for name, y in frame.groupby("Subject", observed=True)["Reaction"]
    }
    draws = np.array(list(means.values()))[:, None] + sd * np.random.default_rng(1).normal(
        size=(18, 40_000)
    )
    ranks = 18 - draws.argsort(axis=0).argsort(axis=0)
    named = [entry["name"] for entry in sleep.steps["inference"]["named"]]
    assert named == [sorted(means, key=means.__getitem__)[k] for k in (0, 8, 17)]
    for name in named:
        expected = np.quantile(ranks[list(means).index(name)], [0.025, 0.975])
        for bound, side in zip(expected, ("lower", "upper"), strict=True):
            shown = value(sleep, f"inference/compare/Subject/rank/{name}/{side}")
            assert shown == pytest.approx(bound, abs=1)


def test_standardised_effects(sleep: Results) -> None:
    days, slope = np.tile(np.arange(10), 18), value(sleep, "slopes/fixef/Days/estimate")
    within = np.sqrt(18 * np.sum((np.arange(10) - 4.5) ** 2) / (180 - 18))
    at = "interpretation/standardised/Days"
    assert value(sleep, f"{at}/sd_total") == pytest.approx(days.std(ddof=1))
    assert value(sleep, f"{at}/sd_own") == pytest.approx(within)
    assert value(sleep, f"{at}/own") == pytest.approx(
        slope * within / value(sleep, "null/sigma"), rel=1e-9
    )


@pytest.fixture
def table() -> pd.DataFrame:
    rng = np.random.default_rng(4)
    g = np.repeat(np.arange(20), 10)
    x = rng.normal(size=200) + rng.normal(size=20)[g]
    f = rng.choice(["a", "b", "c"], size=200)
    y = 5 + 0.3 * x + 0.2 * x**2 + (f == "b") + rng.normal(size=20)[g] + rng.normal(size=200)
    return pd.DataFrame({"g": [f"g{i}" for i in g], "x": x, "f": f, "y": y})


SPEC = """
title: A case
data: {file: d.csv}
levels: [{name: unit}, {name: group, id: g}]
outcome: {name: y}
inference: {variance_ci: none}
predictors:
  x: {level: unit, center: CENTER, contextual: CONTEXT}
  f: {level: unit, type: category}
models: {list: [{id: final, fixed: [FIXED, f], random: {group: [1]}}]}
"""


def test_the_contextual_effect_is_the_same_by_either_centring(
    run_spec: RunSpec, table: pd.DataFrame
) -> None:
    base = SPEC.replace("CONTEXT", "true").replace("FIXED", "x, x_mean")
    within = run_spec(base.replace("CENTER", "group mean"), {"d.csv": table})
    raw = run_spec(base.replace("CENTER", "none"), {"d.csv": table})
    made = "interpretation/contextual/x"
    # A reparameterisation: the contrast of one model is a coefficient of the other.
    for what in ("estimate", "se", "df", "p"):
        assert value(within, f"{made}/{what}") == pytest.approx(
            value(raw, f"final/fixef/x_mean/{what}"), rel=1e-4, abs=1e-12
        )
        assert value(raw, f"{made}/{what}") == pytest.approx(
            value(within, f"final/fixef/x_mean/{what}"), rel=1e-4, abs=1e-12
        )


def test_slopes_of_a_square_and_marginal_means(run_spec: RunSpec, table: pd.DataFrame) -> None:
    text = SPEC.replace("CONTEXT", "false").replace("CENTER", "none")
    found = run_spec(text.replace("FIXED", 'x, "I(x^2)"'), {"d.csv": table})
    check_sound(found)
    linear, square = (value(found, f"final/fixef/{t}/estimate") for t in ("x", "I(x^2)"))
    for place in ("low", "mean", "high"):
        x = value(found, f"interpretation/curve/x/{place}/x")
        assert value(found, f"interpretation/curve/x/{place}/estimate") == pytest.approx(
            linear + 2 * square * x, rel=1e-6
        )
    b, c = (value(found, f"final/fixef/f{k}/estimate") for k in "bc")
    means = [value(found, f"interpretation/emmeans/f/{i}/estimate") for i in (1, 2, 3)]
    assert np.diff(means) == pytest.approx([b, c - b], rel=1e-8)
    # Tukey's adjustment: the range of three means over an independent standard deviation.
    t, df = (value(found, f"interpretation/emmeans/f/pair/2/{what}") for what in ("t", "df"))
    rng = np.random.default_rng(2)
    spread = np.ptp(rng.normal(size=(3, 400_000)), axis=0)
    spread /= np.sqrt(rng.chisquare(df, size=400_000) / df)
    p = np.mean(spread > abs(t) * np.sqrt(2))
    assert value(found, "interpretation/emmeans/f/pair/2/p") == pytest.approx(p, abs=5e-3)
