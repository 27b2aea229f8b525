"""The checks of step 3 against computations of their own, with dense matrices."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import dedent

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from statsmodels.stats.diagnostic import het_breuschpagan
from support import RunSpec, check_sound, reason, value

from mlmreport.engine.session import package_dataset
from mlmreport.quantities import Results, Series

pytestmark = pytest.mark.r

Array = NDArray[np.float64]

SLEEP = """
    title: Sleep
    data: {file: sleep.csv}
    levels: [{name: measurement}, {name: person, id: Subject}]
    time: Days
    outcome: {name: Reaction, unit: ms}
    predictors: {Days: {level: measurement}}
    models: {list: [{id: slopes, fixed: [Days], random: {person: [1, Days]}}]}
    inference: {variance_ci: none, check_bootstrap: 20}
    """


def sleep() -> pd.DataFrame:
    frame = package_dataset("lme4", "sleepstudy")
    return frame.assign(Subject="s" + frame["Subject"].astype(str))


def numbers(found: Results, name: str) -> list[float]:
    item = found.items[name]
    assert isinstance(item, Series)
    return [float(entry) for entry in item.values]


def numbers_of(found: Results, name: str) -> list[str]:
    item = found.items[name]
    assert isinstance(item, Series)
    return [str(entry) for entry in item.values]


@dataclass
class Dense:
    """A fit by generalised least squares with the estimated variances, written out."""

    x: Array
    y: Array
    v: Array

    @property
    def covariance(self) -> Array:
        return np.linalg.inv(self.x.T @ np.linalg.solve(self.v, self.x))

    @property
    def beta(self) -> Array:
        return self.covariance @ self.x.T @ np.linalg.solve(self.v, self.y)

    def without(self, rows: Array) -> Dense:
        return Dense(self.x[~rows], self.y[~rows], self.v[np.ix_(~rows, ~rows)])


def dense_sleep(found: Results, frame: pd.DataFrame) -> tuple[Dense, Array, Array]:
    """The fit, the covariance of a person's effects, and the effects' design."""
    at = "slopes/var/Subject/"
    covariance = value(found, f"{at}Days/cov/(Intercept)")
    t = np.array([
        [value(found, f"{at}(Intercept)/variance"), covariance],
        [covariance, value(found, f"{at}Days/variance")],
    ])  # fmt: skip
    x = np.column_stack([np.ones(len(frame)), frame["Days"]])
    same = np.equal.outer(frame["Subject"].to_numpy(), frame["Subject"].to_numpy())
    v = same * (x @ t @ x.T) + value(found, "slopes/sigma2") * np.eye(len(frame))
    return Dense(x, frame["Reaction"].to_numpy(), v), t, x


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return sleep()


@pytest.fixture
def found(run_spec: RunSpec, frame: pd.DataFrame) -> Results:
    return run_spec(dedent(SLEEP), {"sleep.csv": frame})


def test_repeated_measures(run_spec: RunSpec, frame: pd.DataFrame, found: Results) -> None:
    check_sound(found)
    fit, t, z = dense_sleep(found, frame)
    subjects = frame["Subject"].unique()
    _check_cook(found, frame, fit, subjects)
    _check_refit(found, run_spec, frame, subjects)
    _check_distance(found, frame, fit, t, z, subjects)
    _check_autocorrelation(found, frame, fit)
    _check_robust(found, frame, fit, subjects)
    # R: bartlett.test(lapply(split(sleepstudy, sleepstudy$Subject), function(d) lm(...)))
    assert value(found, "assumptions/bartlett/Subject/K") == pytest.approx(74.7015106, rel=1e-6)
    assert value(found, "assumptions/bartlett/Subject/df") == 17
    bootstrap = value(found, "assumptions/remedies/Days/se_boot")
    assert bootstrap == pytest.approx(value(found, "slopes/fixef/Days/se"), rel=0.5)
    assert "centred" not in str(found.steps["assumptions"]["exogeneity"])
    assert "same mean" in found.steps["assumptions"]["exogeneity"]["left_out"][0]["why"]


def _check_cook(found: Results, frame: pd.DataFrame, fit: Dense, subjects: Array) -> None:
    changes = np.array([
        fit.without((frame["Subject"] == s).to_numpy()).beta - fit.beta for s in subjects
    ])  # fmt: skip
    cook = np.einsum("ij,jk,ik->i", changes, np.linalg.inv(fit.covariance), changes) / 2
    # In balanced data the coefficients do not depend on the variances, their covariance does: it is
    # that of the optimum, of which lme4 stops a little short.
    assert numbers(found, "assumptions/influence/cook") == pytest.approx(list(cook), rel=2e-4)
    assert value(found, "assumptions/influence/largest") == pytest.approx(cook.max(), rel=2e-4)
    assert value(found, "assumptions/influence/above") == (cook > 4 / 18).sum()
    dfbetas = changes / np.sqrt(np.diag(fit.covariance))
    beyond = (np.abs(dfbetas) > 2 / np.sqrt(18)).any(axis=1).sum()
    assert value(found, "assumptions/influence/dfbetas") == beyond
    first = found.steps["assumptions"]["influence"][0]["units"][0]
    assert first == subjects[cook.argmax()]


def _check_refit(found: Results, run_spec: RunSpec, frame: pd.DataFrame, subjects: Array) -> None:
    left_out = found.steps["assumptions"]["influence"][0]["units"][0]
    text = dedent(SLEEP).replace(", check_bootstrap: 20", "")
    other = run_spec(text, {"sleep.csv": frame[frame["Subject"] != left_out]})
    for term in ("(Intercept)", "Days"):
        at = f"slopes/fixef/{term}"
        change = value(other, f"{at}/estimate") - value(found, f"{at}/estimate")
        expected = change / value(found, f"{at}/se")
        assert value(found, f"assumptions/without/1/{term}/change") == pytest.approx(
            expected, abs=1e-4
        )
        p = value(found, f"assumptions/remedies/{term}/p_without")
        assert p == pytest.approx(value(other, f"{at}/p"), rel=1e-2)
        at = f"slopes/var/Subject/{term}/variance"
        expected = value(other, at) / value(found, at) - 1
        assert value(found, f"assumptions/without/1/var/Subject/{term}/change") == pytest.approx(
            expected, abs=1e-3
        )


def _check_distance(
    found: Results, frame: pd.DataFrame, fit: Dense, t: Array, z: Array, subjects: Array
) -> None:
    distances = []
    for subject in subjects:
        rows = (frame["Subject"] == subject).to_numpy()
        weights = t @ z[rows].T @ np.linalg.inv(fit.v[np.ix_(rows, rows)])
        u = weights @ (fit.y - fit.x @ fit.beta)[rows]
        distances.append(u @ np.linalg.solve(weights @ z[rows] @ t, u))
    at = "assumptions/distance"
    largest = max(distances)
    assert value(found, f"{at}/largest") == pytest.approx(largest, rel=1e-5)
    assert value(found, f"{at}/p") == pytest.approx(np.exp(-largest / 2), rel=1e-5)
    assert value(found, f"{at}/holm") == pytest.approx(min(1, 18 * np.exp(-largest / 2)))


def _check_autocorrelation(found: Results, frame: pd.DataFrame, fit: Dense) -> None:
    sigma2 = value(found, "slopes/sigma2")
    inverse = np.linalg.inv(fit.v)
    p = inverse - inverse @ fit.x @ fit.covariance @ fit.x.T @ inverse
    e = sigma2 * p @ fit.y
    person = frame["Subject"].to_numpy()
    pairs = [i for i in range(len(e) - 1) if person[i] == person[i + 1]]
    after = [i + 1 for i in pairs]
    lag = np.mean(e[pairs] * e[after]) / np.mean(e**2)
    expected = np.mean(p[pairs, after]) / np.mean(np.diag(p))
    at = "assumptions/autocorrelation"
    assert value(found, f"{at}/pairs") == 162
    assert value(found, f"{at}/lag1") == pytest.approx(lag, rel=1e-5)
    assert value(found, f"{at}/expected") == pytest.approx(expected, rel=1e-5)
    assert value(found, f"{at}/excess") == pytest.approx(lag - expected, rel=1e-5)
    pairs = [i for i in range(len(e) - 2) if person[i] == person[i + 2]]
    after = [i + 2 for i in pairs]
    at = f"{at}/distance/2"
    assert (value(found, f"{at}/from"), value(found, f"{at}/pairs")) == (2, 144)
    lag = np.mean(e[pairs] * e[after]) / np.mean(e**2)
    assert value(found, f"{at}/correlation") == pytest.approx(lag, rel=1e-5)
    expected = np.mean(p[pairs, after]) / np.mean(np.diag(p))
    assert value(found, f"{at}/expected") == pytest.approx(expected, rel=1e-5)
    _check_correlated_errors(found)


def _check_correlated_errors(found: Results) -> None:
    """Against nlme::lme() with corCAR1 on the sleep data, by its other optimiser, nlminb."""
    at = "assumptions/autocorrelation/ar"
    assert value(found, f"{at}/phi") == pytest.approx(0.492105, abs=2e-3)
    change = abs(252.25 - value(found, "slopes/fixef/(Intercept)/estimate"))
    change /= value(found, "slopes/fixef/(Intercept)/se")
    assert value(found, f"{at}/change") == pytest.approx(change, abs=5e-3)
    ratio = 1.521795 / value(found, "slopes/fixef/Days/se")
    assert value(found, f"{at}/least_ratio") == pytest.approx(ratio, abs=2e-3)


def _check_robust(found: Results, frame: pd.DataFrame, fit: Dense, subjects: Array) -> None:
    """CR2 with the model's own covariance as the working one (Pustejovsky & Tipton, 2018)."""
    middle = np.zeros((2, 2))
    for subject in subjects:
        rows = (frame["Subject"] == subject).to_numpy()
        x, v = fit.x[rows], fit.v[np.ix_(rows, rows)]
        d = np.linalg.cholesky(v).T
        b = d @ (v - x @ fit.covariance @ x.T) @ d.T
        values, vectors = np.linalg.eigh(b)
        a = d.T @ (vectors / np.sqrt(values)) @ vectors.T @ d
        score = x.T @ np.linalg.solve(v, a @ (fit.y - fit.x @ fit.beta)[rows])
        middle += np.outer(score, score)
    robust = np.sqrt(np.diag(fit.covariance @ middle @ fit.covariance))
    own = np.sqrt(np.diag(fit.covariance))
    for k, term in enumerate(("(Intercept)", "Days")):
        se = value(found, f"assumptions/remedies/{term}/se_cr2")
        assert se == pytest.approx(robust[k], rel=1e-5)
    assert value(found, "assumptions/remedies/ratio") == pytest.approx((robust / own).max())


SCHOOLS = """
    title: Schools
    data: {{file: pupils.csv}}
    levels: [{{name: pupil}}, {{name: school, id: school}}]
    outcome: {{name: y{transform}}}
    predictors:
      x: {{level: pupil{centre}}}
      kind: {{level: pupil, type: category, reference: a}}
      z: {{level: school}}
    models: {{list: [{{id: full, fixed: [{fixed}], random: {{school: [1]}}}}]}}
    inference: {{variance_ci: none}}
    """


def schools(shape: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(7)
    school = np.repeat(np.arange(40), 12)
    mean = rng.normal(size=40)
    x = mean[school] + rng.normal(size=480)
    e = 0.5 * x + 1.0 * mean[school] + 0.5 * rng.normal(size=40)[school] + rng.normal(size=480)
    return pd.DataFrame({
        "school": [f"s{k:02d}" for k in school],
        "x": x,
        "kind": rng.choice(["a", "b", "c"], 480),
        "z": rng.normal(size=40)[school],
        "y": np.exp(shape * e) if shape else e,
    })  # fmt: skip


def test_between_and_within_effects(run_spec: RunSpec) -> None:
    table = {"pupils.csv": schools()}
    plain = SCHOOLS.format(transform="", centre="", fixed="x, kind, z")
    found = run_spec(dedent(plain), table)
    check_sound(found)
    both = SCHOOLS.format(
        transform="", centre=", center: group mean, contextual: true", fixed="x, x_mean, kind, z"
    )
    apart = run_spec(dedent(both), table)
    between, within = (
        value(apart, f"full/fixef/{name}/estimate") for name in ("x_mean", "x_within")
    )
    # The categories' means are in the refit too, and hardly related to those of x.
    difference = value(found, "assumptions/exogeneity/x/estimate")
    assert difference == pytest.approx(between - within, abs=0.05)
    assert value(found, "assumptions/exogeneity/x/p") < 0.001
    assert found.steps["assumptions"]["exogeneity"]["rejected"][0] == "x"
    _check_joint(found, table["pupils.csv"])
    assert value(found, "assumptions/remedies/x/se_cr2") > 0
    why = {e["label"]: e["why"] for e in apart.steps["assumptions"]["exogeneity"]["left_out"]}
    assert "centred" in next(iter(why.values()))


def _check_joint(found: Results, table: pd.DataFrame) -> None:
    """F of the three means by a Wald statistic, with REML by a search over the ICC."""
    columns = [table["x"], table["kind"] == "b", table["kind"] == "c"]
    x = np.column_stack([
        np.ones(480), *columns, table["z"],
        *(column.astype(float).groupby(table["school"]).transform("mean") for column in columns),
    ]).astype(float)  # fmt: skip
    data = pd.DataFrame(np.column_stack([x, table["y"]]))
    means = data.groupby(table["school"]).transform("mean").to_numpy()

    def fit(rho: float) -> tuple[float, Array, Array]:
        """REML criterion, estimates and covariance: OLS of the data made independent."""
        white = data.to_numpy() - (1 - np.sqrt((1 - rho) / (1 + 11 * rho))) * means
        xw, yw = white[:, :8] / np.sqrt(1 - rho), white[:, 8] / np.sqrt(1 - rho)
        bread = np.linalg.inv(xw.T @ xw)
        beta = bread @ xw.T @ yw
        sigma2 = ((yw - xw @ beta) ** 2).sum() / 472
        log_det = 40 * (11 * np.log(1 - rho) + np.log(1 + 11 * rho))
        criterion = 472 * np.log(sigma2) + log_det - np.linalg.slogdet(bread)[1]
        return float(criterion), beta, sigma2 * bread

    _, beta, covariance = min((fit(rho) for rho in np.linspace(0.01, 0.6, 591)), key=first)
    expected = beta[5:] @ np.linalg.solve(covariance[5:, 5:], beta[5:]) / 3
    assert value(found, "assumptions/mundlak/F") == pytest.approx(expected, rel=2e-3)
    assert value(found, "assumptions/mundlak/numerator") == 3
    assert value(found, "assumptions/mundlak/p") < 0.001


def first(fit: tuple[float, Array, Array]) -> float:
    return fit[0]


def test_the_square_of_a_bent_predictor(run_spec: RunSpec) -> None:
    table = schools()
    bent = table["x"] - table.groupby("school")["x"].transform("mean")
    table["y"] += 0.5 * bent**2
    table["square"] = bent**2 - (bent**2).mean()
    text = dedent(SCHOOLS.format(transform="", centre="", fixed="x, z"))
    found = run_spec(text, {"pupils.csv": table})
    check_sound(found)
    linearity = found.steps["assumptions"]["linearity"]
    assert [entry["label"] for entry in linearity["curved"]] == ["x"]
    more = text.replace("z: {", "square: {level: pupil}\n  z: {").replace("x, z]", "x, z, square]")
    again = run_spec(more, {"pupils.csv": table})
    squared = value(found, "assumptions/curve/within/x/t")
    if len(linearity["bent"]) == 1:
        assert squared == pytest.approx(value(again, "full/fixef/square/t"), rel=1e-4)
    assert squared > 5


def test_collinearity_of_a_category(run_spec: RunSpec) -> None:
    table = schools()
    text = SCHOOLS.format(transform="", centre="", fixed="x, kind, z")
    found = run_spec(dedent(text), {"pupils.csv": table})
    x = np.column_stack([
        np.ones(480), table["x"], table["kind"] == "b", table["kind"] == "c", table["z"],
    ]).astype(float)  # fmt: skip
    same = np.equal.outer(table["school"].to_numpy(), table["school"].to_numpy())
    tau = value(found, "full/var/school/(Intercept)/variance")
    v = tau * same + value(found, "full/sigma2") * np.eye(480)
    covariance = Dense(x, table["y"].to_numpy(), v).covariance[1:, 1:]
    scale = np.sqrt(np.diag(covariance))
    r = covariance / np.outer(scale, scale)
    det = np.linalg.det
    kind, others = [1, 2], [0, 3]
    gvif = det(r[np.ix_(kind, kind)]) * det(r[np.ix_(others, others)]) / det(r)
    assert value(found, "assumptions/vif/kind") == pytest.approx(gvif, rel=1e-5)
    assert value(found, "assumptions/vif/kind/df") == 2
    assert value(found, "assumptions/vif/kind/root") == pytest.approx(gvif**0.25, rel=1e-5)
    assert value(found, "assumptions/vif/x") == pytest.approx(np.linalg.inv(r)[0, 0], rel=1e-5)


def test_a_skewed_outcome_is_advised_a_logarithm(run_spec: RunSpec) -> None:
    table = {"pupils.csv": schools(shape=0.8)}
    text = SCHOOLS.format(transform="", centre="", fixed="x, z")
    found = run_spec(dedent(text), table)
    check_sound(found)
    assert found.steps["assumptions"]["transformation"]["advised"] == "log"
    logs = SCHOOLS.format(transform=", transform: log", centre="", fixed="x, z")
    after = run_spec(dedent(logs), table)
    check_sound(after)
    for what in ("skewness", "kurtosis", "outside", "spread"):
        before = value(found, f"assumptions/scale/model/{what}")
        assert value(after, f"assumptions/scale/none/{what}") == pytest.approx(before, abs=1e-8)
        changed = value(found, f"assumptions/scale/log/{what}")
        assert value(after, f"assumptions/scale/model/{what}") == pytest.approx(changed, abs=1e-8)
    mean, sd = table["pupils.csv"]["x"].mean(), table["pupils.csv"]["x"].std()
    high = value(after, "full/fixef/(Intercept)/estimate")
    high += value(after, "full/fixef/x/estimate") * (mean + sd)
    high += value(after, "full/fixef/z/estimate") * table["pupils.csv"]["z"].mean()
    assert value(after, "assumptions/back/x/above/estimate") == pytest.approx(np.exp(high))
    p = value(found, "assumptions/remedies/x/p_scale")
    assert p == pytest.approx(value(after, "full/fixef/x/p"), rel=1e-6)
    assert found.steps["assumptions"]["transformation"]["applied"] is False
    assert after.steps["assumptions"]["transformation"]["applied"] is True


def test_crossed_groupings_have_no_cluster(run_spec: RunSpec) -> None:
    found = run_spec(
        dedent("""
        title: Crossed
        data: {package: lme4, dataset: Penicillin}
        structure: crossed
        levels: [{name: assay}, {name: plate, id: plate}, {name: sample, id: sample}]
        outcome: {name: diameter, unit: mm}
        models: {list: [{id: "null", fixed: [], random: {plate: [1], sample: [1]}}]}
        inference: {variance_ci: none}
        """)
    )
    check_sound(found)
    assert "crossed" in reason(found, "assumptions/remedies/(Intercept)/se_cr2")
    # One group's rows left out with dense matrices: plates and samples are both in V.
    frame = package_dataset("lme4", "Penicillin")
    v = value(found, "null/sigma2") * np.eye(len(frame))
    for group in ("plate", "sample"):
        ids = frame[group].astype(str).to_numpy()
        v += value(found, f"null/var/{group}/(Intercept)/variance") * np.equal.outer(ids, ids)
    fit = Dense(np.ones((len(frame), 1)), frame["diameter"].to_numpy(), v)
    rows = (frame["plate"].astype(str) == "a").to_numpy()
    change = fit.without(rows).beta - fit.beta
    cook = float(change[0] ** 2 / fit.covariance[0, 0])
    assert numbers(found, "assumptions/influence/cook")[0] == pytest.approx(cook, rel=1e-4)
    for sample in ("A", "F"):
        rows = (frame["sample"].astype(str) == sample).to_numpy()
        change = fit.without(rows).beta - fit.beta
        cook = float(change[0] ** 2 / fit.covariance[0, 0])
        place = numbers_of(found, "assumptions/influence/sample/names").index(sample)
        cooks = numbers(found, "assumptions/influence/sample/cook")
        assert cooks[place] == pytest.approx(cook, rel=1e-4)
    assert value(found, "assumptions/without/sample/1/(Intercept)/change") != 0
    assert "crosses" in reason(found, "assumptions/homogeneity/H")


V_SHAPED = """
    title: A spread that falls and rises
    data: {file: v.csv}
    levels: [{name: pupil}, {name: school, id: school}]
    outcome: {name: y}
    predictors: {x: {level: pupil}}
    models: {list: [{id: line, fixed: [x], random: {school: [1]}}]}
    inference: {variance_ci: none, check_bootstrap: 0}
    """


def test_a_spread_that_falls_and_rises_is_seen(run_spec: RunSpec) -> None:
    rng = np.random.default_rng(3)
    x, school = rng.uniform(-1, 1, 600), np.repeat(np.arange(30), 20)
    y = x + rng.normal(size=30)[school] + rng.normal(size=600) * (0.4 + 1.5 * np.abs(x))
    frame = pd.DataFrame({"y": y, "x": x, "school": [f"s{k:02}" for k in school]})
    found = run_spec(dedent(V_SHAPED), {"v.csv": frame})
    check_sound(found)
    at = "assumptions/spread/over/x"
    e = residuals_of(frame, found)
    statistic, p, *_ = het_breuschpagan(e, np.column_stack([np.ones(600), x, x**2]))
    assert value(found, f"{at}/koenker/statistic") == pytest.approx(statistic, rel=1e-6)
    assert value(found, f"{at}/koenker/p") == pytest.approx(p, rel=1e-4)
    assert value(found, f"{at}/koenker/df") == 2
    middle = (x >= np.quantile(x, 0.4)) & (x <= np.quantile(x, 0.6))
    assert value(found, f"{at}/middle") == pytest.approx(e[middle].std(ddof=1))
    entry = next(e for e in found.steps["assumptions"]["spread"]["entries"] if e["label"] == "x")
    assert entry["bends"]
    assert not entry["rises"]


def residuals_of(frame: pd.DataFrame, found: Results) -> Array:
    """What is left of the outcome by the estimates of fixed and random intercepts, written out."""
    group = pd.Categorical(frame["school"])
    z = np.eye(len(group.categories))[group.codes]
    tau, sigma2 = value(found, "line/var/school/(Intercept)/variance"), value(found, "line/sigma2")
    dense = Dense(
        np.column_stack([np.ones(len(frame)), frame["x"]]),
        frame["y"].to_numpy(),
        tau * z @ z.T + sigma2 * np.eye(len(frame)),
    )
    left = dense.y - dense.x @ (dense.covariance @ dense.x.T @ np.linalg.solve(dense.v, dense.y))
    return np.asarray(sigma2 * np.linalg.solve(dense.v, left))
