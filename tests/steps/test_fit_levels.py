"""Step 6 for three levels and for crossed groupings, against computations of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from support import RunSpec, check_sound, reason, run_r, value

from mlmreport.quantities import Results, Table

pytestmark = pytest.mark.r
Array = NDArray[np.float64]

QUICK = """
inference: {variance_ci: none, df_comparison: 0, icc_bootstrap: 0%s}
estimation: {check_optimizers: false, slope_tests: 0, compare_structures: false%s}
"""
THREE = """
title: Three levels
data: {file: rows.csv}
levels: [{name: pupil}, {name: class, plural: classes, id: class}, {name: school, id: school}]
outcome: {name: y}
predictors: {x: {level: pupil}}
models:
  list:
    - {id: "null", fixed: [], random: {class: [1], school: [1]}}
    - {id: plain, fixed: [x], random: {class: [1], school: [1]}}
    - {id: last, fixed: [x], random: {class: [1, x], school: [1, x]}}
"""
CROSSED = """
title: Crossed
structure: crossed
data: {file: rows.csv}
levels: [{name: rating}, {name: rater, id: rater}, {name: film, id: film}]
outcome: {name: y}
predictors: {x: {level: rating}}
models:
  list:
    - {id: "null", fixed: [], random: {rater: [1], film: [1]}}
    - {id: plain, fixed: [x], random: {rater: [1], film: [1]}}
    - {id: last, fixed: [x], random: {rater: [1, x], film: [1]}}
"""


def three_levels(balanced: bool) -> pd.DataFrame:
    """Pupils in classes in schools; balanced, x is a sum of -1 and 1 at each level."""
    draw = np.random.default_rng(3)
    rows, number = [], 0
    for school in range(16):
        for k in range(4 if balanced else int(draw.integers(2, 6))):
            number += 1
            n = 6 if balanced else int(draw.integers(3, 9))
            for i in range(n):
                parts = (-1) ** i, (-1) ** k, (-1) ** school
                x = sum(parts) if balanced else draw.normal() + 0.5 * k + 0.2 * school
                rows.append((f"s{school:02d}", f"c{number:03d}", x))
    frame = pd.DataFrame(rows, columns=["school", "class", "x"])
    return with_outcome(frame, ["class", "school"], draw)


def crossed() -> pd.DataFrame:
    draw = np.random.default_rng(4)
    cells = [(a, b) for a in range(14) for b in range(12) for _ in range(draw.integers(0, 4))]
    frame = pd.DataFrame(cells, columns=["rater", "film"])
    frame["x"] = draw.normal(size=len(frame)) + 0.15 * frame["rater"] + 0.1 * frame["film"]
    frame["rater"], frame["film"] = (
        "r" + frame["rater"].astype(str),
        "f" + frame["film"].astype(str),
    )
    return with_outcome(frame, ["rater", "film"], draw)


def with_outcome(
    frame: pd.DataFrame, groups: Sequence[str], draw: np.random.Generator
) -> pd.DataFrame:
    y = 1 + 0.7 * frame["x"].to_numpy() + draw.normal(size=len(frame))
    for group in groups:
        codes = frame[group].astype("category").cat.codes.to_numpy()
        u = draw.normal(size=(codes.max() + 1, 2))
        y += u[codes, 0] + 0.5 * u[codes, 1] * frame["x"].to_numpy()
    return frame.assign(y=y)


class Found:
    """The final model's estimates as arrays."""

    def __init__(self, results: Results, frame: pd.DataFrame, groups: Sequence[str]) -> None:
        self.results, self.frame, self.groups = results, frame, groups
        self.x = np.column_stack([np.ones(len(frame)), frame["x"]])
        names = ("(Intercept)", "x")
        self.beta = np.array([self(f"last/fixef/{name}/estimate") for name in names])
        self.sigma2 = self("last/sigma2")
        self.tau = {group: self._covariance(group) for group in groups}

    def __call__(self, name: str) -> float:
        return value(self.results, name)

    def _covariance(self, group: str) -> Array:
        found = np.zeros((2, 2))
        found[0, 0] = self(f"last/var/{group}/(Intercept)/variance")
        if f"last/var/{group}/x/variance" in self.results.items:
            c = self(f"last/var/{group}/x/cov/(Intercept)")
            found[1, 1], found[0, 1], found[1, 0] = self(f"last/var/{group}/x/variance"), c, c
        return found

    def means(self, columns: Array, group: str) -> Array:
        frame = pd.DataFrame(columns).groupby(self.frame[group].to_numpy())
        return frame.transform("mean").to_numpy()

    def quadratic(self, rows: Array, group: str) -> float:
        return float(np.einsum("ij,jk,ik->", rows, self.tau[group], rows)) / len(rows)

    def fixed(self, part: Array) -> float:
        return float(np.var(part @ self.beta, ddof=1))

    def covariance(self) -> Array:
        v = self.sigma2 * np.eye(len(self.frame))
        for group, tau in self.tau.items():
            ids = self.frame[group].to_numpy()
            v += (self.x @ tau @ self.x.T) * (ids[:, None] == ids[None])
        return v

    def predicted_without(self, group: str) -> Array:
        v, y, ids = self.covariance(), self.frame["y"].to_numpy(), self.frame[group].to_numpy()
        predicted = np.empty(len(y))
        for unit in np.unique(ids):
            kept = ids != unit
            weights = np.linalg.inv(v[np.ix_(kept, kept)])
            x = self.x[kept]
            beta = np.linalg.solve(x.T @ weights @ x, x.T @ weights @ y[kept])
            predicted[~kept] = self.x[~kept] @ beta
        return predicted


def check_parts(found: Found, parts: dict[str, float]) -> None:
    total = sum(parts.values())
    for name, part in parts.items():
        assert found(f"fit/partition/{name}") == pytest.approx(part, rel=1e-8), name
        assert found(f"fit/partition/total/{name}") == pytest.approx(part / total, rel=1e-8), name
    fixed = sum(part for name, part in parts.items() if name[0] in "fs")
    assert fixed / total == pytest.approx(found("fit/last/r2m"), rel=1e-9)
    assert 1 - parts["residual"] / total == pytest.approx(found("fit/last/r2c"), rel=1e-9)


def check_left_out(found: Found, group: str, at: str) -> None:
    y, predicted = found.frame["y"].to_numpy(), found.predicted_without(group)
    slope, intercept = np.polyfit(predicted, y, 1)
    error = math.sqrt(np.mean((y - predicted) ** 2))
    assert found(f"{at}/outside") == pytest.approx(error, rel=1e-7)
    assert found(f"{at}/slope") == pytest.approx(slope, rel=1e-5)
    assert found(f"{at}/intercept") == pytest.approx(intercept, rel=1e-5)


def check_prediction_error(found: Found, groups: Sequence[str]) -> None:
    """The mean over groups of the variance of the mean of a group's rows, from V itself."""

    def error(model: str, group: str) -> float:
        v = value(found.results, f"{model}/sigma2") * np.eye(len(found.frame))
        for other in groups:
            ids = found.frame[other].to_numpy()
            tau = value(found.results, f"{model}/var/{other}/(Intercept)/variance")
            v += tau * (ids[:, None] == ids[None])
        if not group:
            return float(v[0, 0])
        own = found.frame[group].to_numpy()
        return float(np.mean([v[np.ix_(own == u, own == u)].mean() for u in np.unique(own)]))

    for name, group in (("rows", ""), *((group, group) for group in groups)):
        expected = 1 - error("plain", group) / error("null", group)
        assert found(f"fit/plain/snijders/{name}") == pytest.approx(expected, rel=1e-9), name


@pytest.fixture(scope="module")
def nested(tmp_path_factory: pytest.TempPathFactory) -> Found:
    from mlmreport.analysis import analyse
    from mlmreport.spec.reader import load

    folder, frame = tmp_path_factory.mktemp("three"), three_levels(balanced=False)
    frame.to_csv(folder / "rows.csv", index=False)
    (folder / "analysis.yml").write_text(THREE + QUICK % ("", ""), encoding="utf-8")
    results = analyse(load(folder / "analysis.yml"), lambda *_: None)[0]
    return Found(results, frame, ["class", "school"])


@pytest.fixture(scope="module")
def of_crossed(tmp_path_factory: pytest.TempPathFactory) -> Found:
    from mlmreport.analysis import analyse
    from mlmreport.spec.reader import load

    folder, frame = tmp_path_factory.mktemp("crossed"), crossed()
    frame.to_csv(folder / "rows.csv", index=False)
    text = CROSSED + QUICK % (", r2_bootstrap: 10", "")
    (folder / "analysis.yml").write_text(text, encoding="utf-8")
    results = analyse(load(folder / "analysis.yml"), lambda *_: None)[0]
    return Found(results, frame, ["rater", "film"])


def test_parts_of_three_levels(nested: Found) -> None:
    classes, schools = nested.means(nested.x, "class"), nested.means(nested.x, "school")
    parts = {
        "f1": nested.fixed(nested.x - classes),
        "f2": nested.fixed(classes - schools),
        "f3": nested.fixed(schools),
        "v12": nested.quadratic(nested.x - classes, "class"),
        "m2": nested.quadratic(classes, "class"),
        "v13": nested.quadratic(nested.x - classes, "school"),
        "v23": nested.quadratic(classes - schools, "school"),
        "m3": nested.quadratic(schools, "school"),
        "residual": nested.sigma2,
    }
    check_parts(nested, parts)
    level2 = parts["f2"] + parts["v23"] + parts["m2"]
    assert nested("fit/partition/own/v23") == pytest.approx(parts["v23"] / level2)
    assert nested("fit/partition/level/2") == pytest.approx(level2 / sum(parts.values()))


def test_a_balanced_design_gives_the_closed_form(run_spec: RunSpec) -> None:
    """x = a + b + c with values -1 and 1, one a level: each part's mean square is 1."""
    frame = three_levels(balanced=True)
    results = run_spec(THREE + QUICK % ("", ""), {"rows.csv": frame})
    found, n = Found(results, frame, ["class", "school"]), len(frame)
    f = found.beta[1] ** 2 * n / (n - 1)
    low, high = found.tau["class"], found.tau["school"]
    check_parts(
        found,
        {
            "f1": f, "f2": f, "f3": f,
            "v12": low[1, 1], "m2": low[0, 0] + 2 * low[1, 1],
            "v13": high[1, 1], "v23": high[1, 1], "m3": high[0, 0] + high[1, 1],
            "residual": found.sigma2,
        },
    )  # fmt: skip


def test_parts_of_crossed_groupings(of_crossed: Found) -> None:
    eta = of_crossed.x @ of_crossed.beta
    dummies = [
        pd.get_dummies(of_crossed.frame[group], dtype=float).to_numpy()
        for group in of_crossed.groups
    ]
    # Minimum-norm least squares: of all additive fits one; its parts are unique once centred.
    b = np.linalg.lstsq(np.hstack(dummies), eta - eta.mean(), rcond=None)[0]
    rater, film = dummies[0] @ b[: dummies[0].shape[1]], dummies[1] @ b[dummies[0].shape[1] :]
    rest = eta - eta.mean() - rater - film
    of_rater = of_crossed.means(of_crossed.x, "rater")
    parts = {
        "f1": float(np.var(rest, ddof=1)),
        "f2": float(np.var(rater, ddof=1)),
        "f3": float(np.var(film, ddof=1)),
        "shared": 2 * float(np.cov(rater, film)[0, 1]),
        "v12": of_crossed.quadratic(of_crossed.x - of_rater, "rater"),
        "m2": of_crossed.quadratic(of_rater, "rater"),
        "m3": of_crossed.tau["film"][0, 0],
        "residual": of_crossed.sigma2,
    }
    assert abs(parts["shared"]) > 1e-4
    check_parts(of_crossed, parts)


def test_groups_left_out(nested: Found, of_crossed: Found) -> None:
    check_left_out(nested, "school", "fit/last/leftout")
    for group in of_crossed.groups:
        check_left_out(of_crossed, group, f"fit/last/leftout/{group}")


def test_prediction_error(nested: Found, of_crossed: Found) -> None:
    check_prediction_error(nested, nested.groups)
    check_prediction_error(of_crossed, of_crossed.groups)


def test_reports_are_sound(nested: Found, of_crossed: Found) -> None:
    check_sound(nested.results)
    check_sound(of_crossed.results)
    bootstrap = nested.results.steps["fit"]["bootstrap"]
    assert not bootstrap["have"]
    assert not bootstrap["none"]
    for what in ("r2m", "r2c", "f1", "m3"):
        lower, upper = (of_crossed(f"fit/bootstrap/{what}/{side}") for side in ("lower", "upper"))
        assert 0 <= lower < upper <= 1


def test_groupings_without_common_rows(run_spec: RunSpec) -> None:
    frame = crossed()
    odd = frame["rater"].str[1:].astype(int) % 2
    frame = frame[odd == frame["film"].str[1:].astype(int) % 2]
    results = run_spec(CROSSED + QUICK % ("", ""), {"rows.csv": frame})
    assert "not connected" in reason(results, "fit/partition/f1")


@pytest.mark.long
def test_bootstrap_on_compressed_data_is_that_of_lme4() -> None:
    """A 5 % percentile of 400 has a standard error of about 0.1 SD: 4 of the difference of two."""
    found = {
        name: (float(off), failed)
        for name, off, failed in run_r("bootstrap_refits.R", "definitions")
    }
    assert found.pop("icc")[0] < 0.1
    assert len(found) == 6
    for off, failed in found.values():
        assert off < 4 * 0.1 * 2**0.5
        assert failed == "0"


TWO = """
title: Two levels
data: {file: rows.csv}
levels: [{name: pupil}, {name: school, id: school}]
outcome: {name: y, transform: %s}
predictors: {x: {level: pupil}}
models:
  list:
    - {id: "null", fixed: [], random: {school: [1]}}
    - {id: last, fixed: [x], random: {school: [1]}}
"""
SCALES = {
    "log": (np.log, lambda y: 1 / y),
    "log10": (np.log10, lambda y: 1 / (y * math.log(10))),
    "sqrt": (np.sqrt, lambda y: 0.5 / np.sqrt(y)),
}


@pytest.mark.parametrize("transform", SCALES)
def test_criteria_before_a_transformation(run_spec: RunSpec, transform: str) -> None:
    """The log of the joint density of the outcome itself, from the normal density of f(y)."""
    frame = three_levels(balanced=False)
    frame["y"] = np.exp(0.3 * frame["y"])
    quick = QUICK % (", r2_bootstrap: 0", ", method: ML")
    results = run_spec(TWO % transform + quick, {"rows.csv": frame})
    f, derivative = SCALES[transform]
    y, ids = frame["y"].to_numpy(), frame["school"].to_numpy()
    names = ("(Intercept)", "x")
    beta = np.array([value(results, f"last/fixef/{name}/estimate") for name in names])
    tau = value(results, "last/var/school/(Intercept)/variance")
    v = value(results, "last/sigma2") * np.eye(len(y)) + tau * (ids[:, None] == ids[None])
    r = f(y) - np.column_stack([np.ones(len(y)), frame["x"]]) @ beta
    normal = len(y) * math.log(2 * math.pi) + np.linalg.slogdet(v)[1] + r @ np.linalg.solve(v, r)
    deviance = float(normal) - 2 * float(np.sum(np.log(derivative(y))))
    assert value(results, "fit/before/last/deviance") == pytest.approx(deviance, rel=1e-8)
    assert value(results, "fit/before/last/aic") == pytest.approx(deviance + 8, rel=1e-8)
    expected = deviance + 4 * math.log(len(y))
    assert value(results, "fit/before/last/bic") == pytest.approx(expected, rel=1e-8)
    # The untransformed outcome needs no Jacobian: its deviance is that of its own model.
    assert "fit/before/scale_none/aic" in results.items
    assert results.steps["fit"]["bootstrap"]["none"]


def test_other_definitions(analysed: object) -> None:
    found: Results = analysed("sleep-deprivation")  # type: ignore[operator]
    known = {
        "icc_adjusted": 0.722, "icc_unadjusted": 0.521, "icc_intercepts": 0.260,
        "icc_performance": 0.722, "r2_performance_marginal": 0.279,
        "r2_performance_conditional": 0.799,
    }  # fmt: skip
    for name, expected in known.items():
        assert value(found, f"fit/definitions/{name}") == pytest.approx(expected, abs=5e-4), name
    assert value(found, "fit/slopes/bic") - value(found, "fit/slopes/bic_groups") == pytest.approx(
        6 * math.log(10)
    )
    table = found.steps["fit"]["tables"]["definitions"]
    assert isinstance(table, Table)
    heads = [row.head for row in table.rows if row.group]
    assert {"Intraclass correlation", "AIC", "BIC"} <= set(heads)
    # The persons were left out by refits, which is the printed distance already.
    assert "Largest Cook's distance" not in heads
