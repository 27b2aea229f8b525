"""Step 6 against computations of its own: variance parts, groups left out, criteria."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from mlmreport.quantities import Missing, Quantity, Results

pytestmark = pytest.mark.r

SPEC = """
title: Two levels
data: {file: rows.csv}
levels:
  - name: student
  - {name: school, id: school}
outcome: {name: y}
predictors:
  x: {level: student%s}
  w: {level: school}
models:
  list:
    - {id: "null", fixed: [], random: {school: [1]}}
    - {id: plain, fixed: [x, w], random: {school: [1]}}
    - {id: last, fixed: [x, w], random: {school: [1, x]}}
inference: {variance_ci: none}
estimation: {slope_tests: 0}
"""
Array = NDArray[np.float64]


def rows() -> pd.DataFrame:
    draw = np.random.default_rng(5)
    sizes = draw.integers(4, 15, 24)
    school = np.repeat(np.arange(24), sizes)
    n = len(school)
    w = draw.normal(size=24)[school]
    x = draw.normal(size=n) + 0.8 * draw.normal(size=24)[school] + 3
    slope = 0.7 + 0.5 * draw.normal(size=24)[school]
    y = 2 + slope * x + 0.6 * w + draw.normal(size=24)[school] + 1.5 * draw.normal(size=n)
    return pd.DataFrame({"school": [f"s{k:02d}" for k in school], "x": x, "w": w, "y": y})


class Found:
    """An analysis with the parts of its final model as arrays."""

    def __init__(self, results: Results, frame: pd.DataFrame, centred: bool) -> None:
        self.results, self.frame, self.centred = results, frame, centred
        self.slope = "x_within" if centred else "x"
        self.x = np.column_stack([np.ones(len(frame)), frame["x"], frame["w"]])
        self.z = self.x[:, :2]
        names = ("(Intercept)", self.slope, "w")
        self.beta = np.array([self(f"last/fixef/{name}/estimate") for name in names])
        at = f"last/var/school/{self.slope}"
        c = self(f"{at}/cov/(Intercept)")
        self.tau = np.array(
            [[self("last/var/school/(Intercept)/variance"), c], [c, self(f"{at}/variance")]]
        )
        self.sigma2 = self("last/sigma2")
        self.schools = [np.flatnonzero(frame["school"] == s) for s in frame["school"].unique()]

    def __call__(self, name: str) -> float:
        item = self.results.items[name]
        assert isinstance(item, Quantity), item
        return item.value

    def between(self, columns: Array) -> Array:
        means = np.empty_like(columns)
        for school in self.schools:
            means[school] = columns[school].mean(axis=0)
        return means


@pytest.fixture(scope="module", params=["", ", center: group mean"])
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Found:
    from mlmreport.analysis import analyse
    from mlmreport.spec.reader import load

    folder = tmp_path_factory.mktemp("spec")
    frame = rows()
    frame.to_csv(folder / "rows.csv", index=False)
    (folder / "analysis.yml").write_text(SPEC % request.param, encoding="utf-8")
    results = analyse(load(folder / "analysis.yml"), lambda *_: None)[0]
    if request.param:
        frame["x"] -= frame.groupby("school")["x"].transform("mean")
    return Found(results, frame, bool(request.param))


def quadratic(rows_: Array, matrix: Array) -> float:
    return float(np.einsum("ij,jk,ik->", rows_, matrix, rows_)) / len(rows_)


def test_parts_of_the_variance(found: Found) -> None:
    x_b, z_b = found.between(found.x), found.between(found.z)
    phi_w, phi_b = (np.cov(part, rowvar=False) for part in (found.x - x_b, x_b))
    parts = {
        "f1": found.beta @ phi_w @ found.beta,
        "f2": found.beta @ phi_b @ found.beta,
        "v12": quadratic(found.z - z_b, found.tau),
        "m2": quadratic(z_b, found.tau),
        "residual": found.sigma2,
    }
    total, within = sum(parts.values()), parts["f1"] + parts["v12"] + parts["residual"]
    for name, part in parts.items():
        assert found(f"fit/partition/{name}") == pytest.approx(part, rel=1e-9), name
        assert found(f"fit/partition/total/{name}") == pytest.approx(part / total), name
    assert found("fit/partition/own/v12") == pytest.approx(parts["v12"] / within)
    between = parts["f2"] + parts["m2"]
    assert found("fit/partition/own/f2") == pytest.approx(parts["f2"] / between)


def test_centred_predictors_give_the_published_decomposition(found: Found) -> None:
    """With predictors centred within groups m is the intercept variance, v is tr(T Phi)."""
    if not found.centred:
        assert found("fit/partition/m2") > found.tau[0, 0]
        return
    assert found("fit/partition/m2") == pytest.approx(found.tau[0, 0])
    spread = float(np.mean(found.frame["x"] ** 2))
    assert found("fit/partition/v12") == pytest.approx(found.tau[1, 1] * spread)


def test_totals_are_the_marginal_and_conditional_r2(found: Found) -> None:
    """They agree for any two-level model: a column's two parts are orthogonal over the rows."""
    share = {name: found(f"fit/partition/total/{name}") for name in ("f1", "f2", "v12", "m2")}
    assert share["f1"] + share["f2"] == pytest.approx(found("fit/last/r2m"), rel=1e-9)
    assert sum(share.values()) == pytest.approx(found("fit/last/r2c"), rel=1e-9)


def test_groups_left_out(found: Found) -> None:
    y = found.frame["y"].to_numpy()
    covariance = found.z @ found.tau @ found.z.T
    same = found.frame["school"].to_numpy()[:, None] == found.frame["school"].to_numpy()[None]
    v = covariance * same + found.sigma2 * np.eye(len(y))
    predicted = np.empty(len(y))
    for school in found.schools:
        kept = np.setdiff1d(np.arange(len(y)), school)
        weights = np.linalg.inv(v[np.ix_(kept, kept)])
        x = found.x[kept]
        predicted[school] = found.x[school] @ np.linalg.solve(
            x.T @ weights @ x, x.T @ weights @ y[kept]
        )
    slope, intercept = np.polyfit(predicted, y, 1)
    at = "fit/last/leftout"
    assert found(f"{at}/outside") == pytest.approx(
        math.sqrt(np.mean((y - predicted) ** 2)), rel=1e-8
    )
    assert found(f"{at}/slope") == pytest.approx(slope, rel=1e-7)
    assert found(f"{at}/intercept") == pytest.approx(intercept, rel=1e-6)
    inside = y - found.x @ found.beta
    assert found(f"{at}/inside") == pytest.approx(math.sqrt(np.mean(inside**2)))


def test_prediction_error(found: Found) -> None:
    sizes = np.array([len(school) for school in found.schools])
    harmonic = len(sizes) / np.sum(1 / sizes)

    def error(model: str, n: float) -> float:
        return found(f"{model}/sigma2") / n + found(f"{model}/var/school/(Intercept)/variance")

    for what, n in (("rows", 1.0), ("school", harmonic)):
        expected = 1 - error("plain", n) / error("null", n)
        assert found(f"fit/plain/snijders/{what}") == pytest.approx(expected)
        # The final model's own slopes vary: the measure is that of its fixed part, here the same.
        assert found(f"fit/last/snijders/{what}") == pytest.approx(expected, rel=1e-6)


def test_criteria(found: Found) -> None:
    k, n = found("last/parameters"), len(found.frame)
    deviance = found("fit/last/deviance")
    assert found("fit/last/aicc") == pytest.approx(deviance + 2 * k * n / (n - k - 1))
    assert found("fit/last/bic_groups") == pytest.approx(deviance + k * math.log(24))


def test_conflated_effects_are_named(found: Found) -> None:
    named = found.results.steps["fit"]["partition"]["conflated"]
    assert list(named) == ([] if found.centred else ["x"])


def test_a_group_that_a_coefficient_rests_on(run_spec: Callable[..., Results]) -> None:
    """With one school of its kind its coefficient is not estimable without it."""
    frame = rows()
    frame["w"] = (frame["school"] == "s03").astype(float)
    results = run_spec(SPEC % "", {"rows.csv": frame})
    item = results.items["fit/last/leftout/outside"]
    assert isinstance(item, Missing)
    assert "cannot be estimated" in item.reason
