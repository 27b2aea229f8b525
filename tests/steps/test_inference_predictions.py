"""Predictions at every distance, against Henderson's equations solved densely by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

from mlmreport.engine.fits import Engine
from mlmreport.engine.session import package_dataset, session
from mlmreport.quantities import Quantity, Series

pytestmark = pytest.mark.r


def engine_of(
    frame: pd.DataFrame, formula: str, numbers: Sequence[str] = (), *, limits: bool = True
) -> Engine:
    """A model fitted, with the row of typical values and the average prediction."""
    engine = Engine(session())
    engine.begin(frame)
    engine.fit("m", formula, True, "nloptwrap")
    engine.run("models", "model_quantities", id="m", labels={}, unit="", level=0.95,
               ddf="Satterthwaite", limits=limits)  # fmt: skip
    engine.run("interpretation", "typical_values", variables=[
        {"column": name, "type": "number", "level": 1, "group": ""} for name in numbers
    ])  # fmt: skip
    engine.run("inference", "average_prediction", id="m", level=0.95,
               ddf="Satterthwaite", unit="")  # fmt: skip
    return engine


def item(engine: Engine, name: str) -> float:
    found = engine.items[name]
    assert isinstance(found, Quantity), found
    return found.value


def predict(engine: Engine, key: str, units: Mapping[str, str], **more: Any) -> dict[str, float]:
    engine.run("inference", "predict_for", id="m", key=key, made=f"p_{key}", label=key,
               units=dict(units), values=[], level=0.95, unit="",
               **{"new": [], "residual": False, **more})  # fmt: skip
    names = ("estimate", "known", "se", "lower", "upper")
    return {name: item(engine, f"inference/{key}/{name}") for name in names}


class Dense:
    """A model of random intercepts, by dense matrices: REML, modes, and their errors."""

    def __init__(self, y: np.ndarray, x: np.ndarray, groups: list[pd.Series]) -> None:
        self.y, self.x = y, x
        self.z = [pd.get_dummies(g).sort_index(axis=1).to_numpy(float) for g in groups]

    def parts(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """Solution (beta, u), inverse of the equations, and REML criterion, at tau / sigma."""
        w = np.hstack([self.x, *self.z])
        p = self.x.shape[1]
        penalty = [np.full(z.shape[1], 1 / t**2) for t, z in zip(theta, self.z, strict=True)]
        c = w.T @ w + np.diag(np.concatenate([np.zeros(p), *penalty]))
        inverse = np.linalg.inv(c)
        solution = inverse @ w.T @ self.y
        v = np.eye(len(self.y)) + sum(t**2 * z @ z.T for t, z in zip(theta, self.z, strict=True))
        vi = np.linalg.inv(v)
        residual = self.y - self.x @ solution[:p]
        n = len(self.y) - p
        criterion = (
            np.linalg.slogdet(v)[1]
            + np.linalg.slogdet(self.x.T @ vi @ self.x)[1]
            + n * np.log(residual @ vi @ residual)
        )
        return solution, inverse, criterion

    def penalised(self, theta: np.ndarray) -> float:
        """The criterion for the greatest likelihood times the product of theta."""
        return self.parts(theta)[2] - 2 * float(np.log(theta).sum())

    def inside(self) -> tuple[np.ndarray, float]:
        """Tau / sigma and sigma squared of the greatest penalised likelihood."""
        bounds = [(1e-3, 20.0)] * len(self.z)
        start = np.full(len(self.z), 0.5)
        options = {"ftol": 1e-14, "gtol": 1e-9}
        theta = minimize(self.penalised, start, bounds=bounds, options=options).x
        residual = self.y - self.x @ self.parts(theta)[0][: self.x.shape[1]]
        v = np.eye(len(self.y)) + sum(t**2 * z @ z.T for t, z in zip(theta, self.z, strict=True))
        return theta, residual @ np.linalg.solve(v, residual) / (len(self.y) - self.x.shape[1])

    def prediction(
        self, theta: np.ndarray, sigma2: float, weights: np.ndarray
    ) -> tuple[float, float, float]:
        """Estimate, variance with known variances, and the first-order addition to it."""
        solution, inverse, _ = self.parts(theta)
        h, k = 1e-3, len(theta)
        e = h * np.eye(k)
        crit = self.penalised
        hessian = np.array([
            [(crit(theta + e[i] + e[j]) - crit(theta + e[i] - e[j]) - crit(theta - e[i] + e[j])
              + crit(theta - e[i] - e[j])) / (4 * h**2) for j in range(k)] for i in range(k)
        ])  # fmt: skip
        gradient = np.array([
            weights @ (self.parts(theta + e[i])[0] - self.parts(theta - e[i])[0]) / (2 * h)
            for i in range(k)
        ])  # fmt: skip
        more = gradient @ (2 * np.linalg.inv(hessian)) @ gradient
        return weights @ solution, sigma2 * weights @ inverse @ weights, more


@pytest.fixture
def nested() -> pd.DataFrame:
    rng = np.random.default_rng(8)
    school, child = np.repeat(np.arange(10), 12), np.repeat(np.arange(40), 3)
    x = rng.normal(size=120)
    y = 5 + 0.5 * x + rng.normal(size=10)[school] + 0.8 * rng.normal(size=40)[child]
    return pd.DataFrame({
        "s": pd.Categorical([f"s{i}" for i in school]),
        "c": pd.Categorical([f"c{i:02d}" for i in child]), "x": x,
        "y": y + rng.normal(size=120),
    })  # fmt: skip


def test_named_units_of_three_levels(nested: pd.DataFrame) -> None:
    engine = engine_of(nested, "y ~ x + (1 | c) + (1 | s)", ["x"])
    assert engine.run("inference", "prediction_drift", id="m")["have"][0]
    sigma2 = item(engine, "m/sigma2")
    tau_c, tau_s = (item(engine, f"m/var/{g}/(Intercept)/variance") for g in "cs")
    theta = np.sqrt(np.array([tau_c, tau_s]) / sigma2)
    model = Dense(nested.y.to_numpy(), np.column_stack([np.ones(120), nested.x]),
                  [nested.c, nested.s])  # fmt: skip
    name = engine.run("inference", "member_of", id="m", group="c", within="s", unit="s4")["name"][0]
    assert nested.s[nested.c == name].unique() == ["s4"]
    fixed = [1, nested.x.mean()]
    school = np.concatenate([fixed, np.zeros(40), np.eye(10)[4]])
    child = np.concatenate([fixed, np.eye(40)[int(name[1:])], np.eye(10)[4]])
    inner, inner2 = model.inside()
    for key, units, weights, more, drawn in (
        ("school", {"s": "s4"}, school, {}, np.zeros(2)),
        # The school that a child lies in comes with it.
        ("child", {"c": name}, child, {}, np.zeros(2)),
        ("new_child", {"s": "s4"}, school, {"new": ["c"]}, np.array([1, 0])),
        ("one", {"s": "s4"}, school, {"new": ["c"], "residual": True}, np.ones(2)),
    ):
        estimate, known, _ = model.prediction(theta, sigma2, weights)
        _, kept, added = model.prediction(inner, inner2, weights)
        found = predict(engine, key, units, **more)
        assert found["estimate"] == pytest.approx(estimate, rel=1e-6)
        assert found["known"] ** 2 == pytest.approx(known + drawn @ [tau_c, sigma2], rel=1e-6)
        assert added > 0
        whole = kept + added + inner2 * drawn @ [inner[0] ** 2, 1]
        assert found["se"] ** 2 == pytest.approx(whole, rel=1e-4)
        half = 1.959963985 * found["se"]
        assert found["upper"] - found["estimate"] == pytest.approx(half, rel=1e-8)
    new = predict(engine, "new", {}, new=["c", "s"], residual=True)
    average = item(engine, "inference/average/se") ** 2
    assert new["known"] ** 2 == pytest.approx(average + tau_c + tau_s + sigma2, rel=1e-9)
    _, kept, added = model.prediction(inner, inner2, np.concatenate([fixed, np.zeros(50)]))
    parts = inner2 * np.array([inner[0] ** 2, inner[1] ** 2 + kept / inner2, 1])
    assert new["se"] ** 2 == pytest.approx(parts.sum() + added, rel=1e-4)
    df = parts.sum() ** 2 / (parts**2 / [38, 8, 120 - 50 - 2]).sum()
    assert item(engine, "inference/new/df") == pytest.approx(df, rel=1e-4)


def test_crossed_units_are_named_together() -> None:
    frame = package_dataset("lme4", "Penicillin")
    engine = engine_of(frame, "diameter ~ 1 + (1 | plate) + (1 | sample)")
    found = predict(engine, "both", {"plate": "d", "sample": "C"})
    tau = [item(engine, f"m/var/{g}/(Intercept)/variance") for g in ("plate", "sample")]
    sigma2 = item(engine, "m/sigma2")
    model = Dense(frame.diameter.to_numpy(), np.ones((144, 1)), [frame["plate"], frame["sample"]])
    weights = np.concatenate([[1], np.eye(24)[3], np.eye(6)[2]])
    estimate, known, _ = model.prediction(np.sqrt(np.array(tau) / sigma2), sigma2, weights)
    assert found["estimate"] == pytest.approx(estimate, rel=1e-7)
    assert found["known"] ** 2 == pytest.approx(known, rel=1e-6)
    # Without a drift computed the variances are taken as known.
    assert found["se"] == found["known"]


def test_where_a_variance_is_zero_the_groups_are_not_known() -> None:
    frame = package_dataset("lme4", "Dyestuff2")
    engine = engine_of(frame, "Yield ~ 1 + (1 | Batch)")
    assert item(engine, "m/var/Batch/(Intercept)/sd") == 0
    assert engine.run("inference", "prediction_drift", id="m")["have"][0]
    model = Dense(frame["Yield"].to_numpy(float), np.ones((30, 1)), [frame["Batch"]])
    weights = np.array([1, 0, 0, 1, 0, 0, 0])
    _, kept, added = model.prediction(*model.inside(), weights)
    found = predict(engine, "c", {"Batch": "C"})
    assert found["se"] ** 2 == pytest.approx(kept + added, rel=1e-4)
    assert found["se"] > 1.2 * found["known"]


INVERSE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "log": np.exp, "log2": np.exp2, "log10": lambda v: 10**v, "sqrt": np.square, "log1p": np.expm1,
}  # fmt: skip


@pytest.mark.parametrize("transform", INVERSE)
def test_back_transformed_means_by_integration(nested: pd.DataFrame, transform: str) -> None:
    engine = engine_of(nested.assign(y=nested.y / 5), "y ~ x + (1 | s)", ["x"])
    for around in ("none", "residual", "all"):
        engine.run("inference", "back_predicted", id="m", key=around, made="average", level=0.95,
                   around=around, transform=transform, unit="")  # fmt: skip
    mu, inverse = item(engine, "inference/average/estimate"), INVERSE[transform]
    sigma2, tau = item(engine, "m/sigma2"), item(engine, "m/var/s/(Intercept)/variance")
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    for key, variance in (("residual", sigma2), ("all", sigma2 + tau)):
        mean = weights @ inverse(mu + np.sqrt(variance) * nodes) / np.sqrt(2 * np.pi)
        assert item(engine, f"inference/back/{key}/estimate") == pytest.approx(mean, rel=1e-8)
    assert item(engine, "inference/back/none/estimate") == pytest.approx(inverse(np.array(mu)))
    low = inverse(np.array(item(engine, "inference/average/lower")))
    assert item(engine, "inference/back/none/lower") == pytest.approx(low)


def test_average_effects_are_averages_over_the_rows(nested: pd.DataFrame) -> None:
    rng = np.random.default_rng(1)
    frame = nested.assign(
        z=rng.normal(size=120), f=pd.Categorical(rng.choice(["a", "b", "c"], size=120))
    )
    engine = engine_of(frame, "y ~ x * z + I(x^2) + f * z + (1 | s)")
    for column, categories in (("x", []), ("f", ["b", "c"])):
        engine.run("interpretation", "average_effects", id="m", column=column, unit="", label="",
                   categories=categories, level=0.95, ddf="Satterthwaite")  # fmt: skip
    terms = ["x", "I(x^2)", "x:z", "fb", "fc", "z:fb", "z:fc"]
    b = {term: item(engine, f"m/fixef/{term}/estimate") for term in terms}
    slopes = b["x"] + 2 * b["I(x^2)"] * frame.x + b["x:z"] * frame.z
    assert item(engine, "interpretation/average/x/slope/estimate") == pytest.approx(slopes.mean())
    for i, k in enumerate("bc", start=1):
        differences = b[f"f{k}"] + b[f"z:f{k}"] * frame.z
        found = item(engine, f"interpretation/average/f/{i}/estimate")
        assert found == pytest.approx(differences.mean())
    # The standard error by the covariance matrix of the fixed effects from dense matrices.
    x = np.column_stack([
        np.ones(120), frame.x, frame.z, frame.x**2, frame.f == "b", frame.f == "c",
        frame.x * frame.z, frame.z * (frame.f == "b"), frame.z * (frame.f == "c"),
    ]).astype(float)  # fmt: skip
    sigma2, tau = item(engine, "m/sigma2"), item(engine, "m/var/s/(Intercept)/variance")
    z = pd.get_dummies(frame.s).to_numpy(float)
    v = np.linalg.inv(x.T @ np.linalg.inv(sigma2 * np.eye(120) + tau * z @ z.T) @ x)
    weights = np.array([0, 1, 0, 2 * frame.x.mean(), 0, 0, frame.z.mean(), 0, 0])
    se = item(engine, "interpretation/average/x/slope/se")
    assert se == pytest.approx(np.sqrt(weights @ v @ weights), rel=1e-5)


def test_profile_limits_are_where_the_likelihood_falls(nested: pd.DataFrame) -> None:
    engine = engine_of(nested, "y ~ x + (1 | s)", ["x"], limits=False)
    engine.run("models", "parameter_intervals", id="m", variances="profile", fixed="profile",
               level=0.95, nsim=100, seed=1, labels={}, unit="")  # fmt: skip
    z = pd.get_dummies(nested.s).to_numpy(float)

    def deviance(y: np.ndarray, x: np.ndarray) -> float:
        """ML deviance, least over a fine grid of tau / sigma."""
        best = np.inf
        for theta in np.linspace(0.4, 2.5, 421):
            n = 12.0
            shrink = theta**2 / (1 + n * theta**2)
            vi = np.eye(120) - shrink * z @ z.T
            b = np.linalg.solve(x.T @ vi @ x, x.T @ vi @ y)
            r = y - x @ b
            best = min(best, 10 * np.log(1 + n * theta**2) + 120 * np.log(r @ vi @ r))
        return best

    y, x = nested.y.to_numpy(), nested.x.to_numpy()
    ones = np.ones((120, 1))
    least = deviance(y, np.column_stack([ones, x]))
    for side in ("lower", "upper"):
        at = item(engine, f"m/fixef/x/{side}")
        assert deviance(y - at * x, ones) - least == pytest.approx(3.841459, abs=0.02)
    # One run of the profile serves the variances and the coefficients.
    assert sum(entry.name.startswith("ci_") for entry in engine.trace) == 1


def test_a_column_of_group_means_is_recognised(nested: pd.DataFrame) -> None:
    means = nested.groupby("s", observed=True).x.transform("mean")
    rng = np.random.default_rng(2)
    noise = pd.Series(rng.normal(size=10) * 0.05)[nested.s.cat.codes].to_numpy()
    for column, same in (
        (means, True),
        ((means - 0.2).round(3), True),
        (means + noise, False),
        (means.round(0), False),
    ):
        engine = engine_of(nested.assign(m=column), "y ~ x + m + (1 | s)")
        found = engine.run("interpretation", "group_mean_match", column="m", source="x", group="s",
                           declared=False, label="m")  # fmt: skip
        assert found["same"][0] is same
        assert ("interpretation/mean_of/m/mismatch" in engine.items) is same


def test_new_groups_of_a_balanced_design() -> None:
    """From the two mean squares, of which the variance is a linear function."""
    frame = package_dataset("lme4", "Dyestuff")
    engine = engine_of(frame, "Yield ~ 1 + (1 | Batch)")
    batches = frame.groupby("Batch", observed=True)["Yield"]
    j, n = len(batches), 5
    between = n * float(batches.mean().var(ddof=1))
    within = float(batches.var(ddof=1).mean())
    for key, residual in (("new", False), ("observation", True)):
        found = predict(engine, key, {}, new=["Batch"], residual=residual)
        parts = np.array([(1 + 1 / j) * between / n - within / n, residual * within])
        assert found["se"] ** 2 == pytest.approx(parts.sum(), rel=1e-4)
        df = parts.sum() ** 2 / (parts**2 / [j - 2, j * (n - 1) - 1]).sum()
        assert item(engine, f"inference/{key}/df") == pytest.approx(df, rel=1e-4)
        limit = engine.items[f"inference/{key}/upper"]
        assert isinstance(limit, Quantity)
        code = limit.source.expression
        assert "qt(" in code
        assert found["upper"] - found["estimate"] > 1.96 * found["se"]


@pytest.mark.parametrize("with_drift", [False, True])
def test_errors_of_modes_hold_those_of_the_mean_and_the_variances(*, with_drift: bool) -> None:
    frame = package_dataset("lme4", "Dyestuff")
    engine = engine_of(frame, "Yield ~ 1 + (1 | Batch)")
    if with_drift:
        assert engine.run("inference", "prediction_drift", id="m")["have"][0]
    engine.run("inference", "caterpillar", id="m", group="Batch", effect="(Intercept)", level=0.95)
    at = "inference/modes/Batch/(Intercept)"
    lower, upper = (engine.items[f"{at}/{end}"] for end in ("lower", "upper"))
    assert isinstance(lower, Series)
    assert isinstance(upper, Series)
    theta = item(engine, "m/var/Batch/(Intercept)/sd") / item(engine, "m/sigma")
    y = frame["Yield"].to_numpy(float)
    dense = Dense(y, np.ones((len(y), 1)), [frame["Batch"]])
    place = dense.inside() if with_drift else (np.array([theta]), item(engine, "m/sigma2"))
    parts = [dense.prediction(*place, weights) for weights in np.eye(7)[1:]]
    variances = [known + with_drift * more for _, known, more in parts]
    widths = np.subtract(upper.values, lower.values) / 2
    assert widths == pytest.approx(1.959964 * np.sqrt(variances), rel=1e-4)


def test_newton_finds_the_minimum_of_a_large_criterion_and_none_where_there_is_none() -> None:
    import rpy2.rinterface as ri

    code = """function(home) {
      near <- function(f, x) home$newton_minimum(f, x, function(x) rep(1e-3, length(x)))
      # like a likelihood in a variance, with its minimum at (0.49, 0.49)
      likelihood <- function(x) 4e6 + 1000 * (log(x[1]) + 0.49 / x[1]) + 50 * (x[2] - x[1])^2
      stopifnot(is.null(near(function(x) 4e6 - x^2, 0.1)), is.null(near(function(x) 4e6 + x, 1)))
      near(likelihood, c(0.52, 0.46))
    }"""
    found = list(ri.evalr(code)(session()._home))
    assert found == pytest.approx([0.49, 0.49], abs=1e-4)  # .005 of its standard error, .02
