"""The variance split and what follows from it, held against computations of another kind."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from support import RunSpec, check_sound, reason, value

from mlmreport.engine.session import package_dataset
from mlmreport.quantities import Quantity, Results

pytestmark = pytest.mark.r
Array = NDArray[np.float64]

SLEEP = """
title: Sleep
data: {package: lme4, dataset: sleepstudy}
levels: [{name: measurement}, {name: person, id: Subject}]
outcome: {name: Reaction, unit: ms}
predictors: {Days: {level: measurement, unit: day}}
time: Days
questions: [{id: Q1, text: How fast, terms: [Days]}]
models:
  list:
    - {id: "null", fixed: [], random: {person: [1]}}
    - {id: slopes, fixed: [Days], random: {person: [1, Days]}}
inference: {variance_ci: none}
"""

PASTES = """
title: Pastes
data: {package: lme4, dataset: Pastes}
levels:
  - {name: assay}
  - {name: cask, id: cask, within: batch}
  - {name: batch, plural: batches, id: batch}
outcome: {name: strength}
models: {list: [{id: "null", fixed: [], random: {cask: [1], batch: [1]}}]}
inference: {variance_ci: none, icc_bootstrap: 0}
"""

CONTEXT = """
title: Context
data: {file: units.csv}
levels: [{name: unit}, {name: group, id: group}]
outcome: {name: y}
predictors: {x: {level: unit, center: group mean, contextual: true}}
models:
  list:
    - {id: "null", fixed: [], random: {group: [1]}}
    - {id: context, fixed: [x, x_mean], random: {group: [1]}}
inference: {variance_ci: none, icc_bootstrap: 20}
"""


@pytest.fixture(scope="module")
def sleep(tmp_path_factory: pytest.TempPathFactory) -> Results:
    from mlmreport.analysis import analyse
    from mlmreport.spec.reader import load

    file = tmp_path_factory.mktemp("sleep") / "analysis.yml"
    file.write_text(SLEEP, encoding="utf-8")
    return analyse(load(file), lambda *_: None)[0]


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return package_dataset("lme4", "sleepstudy")


def design(frame: pd.DataFrame) -> tuple[Array, Array, Array]:
    x = np.column_stack([np.ones(len(frame)), frame["Days"]])
    return x, frame["Reaction"].to_numpy(float), pd.factorize(frame["Subject"])[0]


def test_the_share_along_a_slope_is_the_quadratic_form(sleep: Results) -> None:
    check_sound(sleep)
    at = "slopes/var/Subject/Days"
    tau = value(sleep, "slopes/var/Subject/(Intercept)/variance")
    slope, cov = value(sleep, f"{at}/variance"), value(sleep, f"{at}/cov/(Intercept)")
    for place, x in {"low": 0.0, "mean": 4.5, "high": 9.0}.items():
        v = tau + 2 * x * cov + x**2 * slope
        expected = v / (v + value(sleep, "slopes/sigma2"))
        assert value(sleep, f"icc/curve/Subject/Days/{place}") == pytest.approx(expected, rel=1e-9)
        assert value(sleep, f"icc/curve/Subject/Days/{place}_at") == x


def test_errors_without_levels(sleep: Results, frame: pd.DataFrame) -> None:
    x, y, g = design(frame)
    beta = np.linalg.solve(x.T @ x, x.T @ y)
    e = y - x @ beta
    bread = np.linalg.inv(x.T @ x)
    assert value(sleep, "icc/single/Days/ols") == pytest.approx(beta[1])
    ols = np.sqrt(bread[1, 1] * e @ e / (len(y) - 2))
    assert value(sleep, "icc/single/Days/ols_se") == pytest.approx(ols)
    assert value(sleep, "icc/single/Days/robust_se") == pytest.approx(cr2(x, e, g, bread))
    dummies = np.column_stack([x[:, 1], (g[:, None] == np.unique(g)).astype(float)])
    b = np.linalg.lstsq(dummies, y, rcond=None)[0]
    r = y - dummies @ b
    v = np.linalg.inv(dummies.T @ dummies) * (r @ r) / (len(y) - dummies.shape[1])
    assert value(sleep, "icc/single/Days/fixed_estimate") == pytest.approx(b[0])
    assert value(sleep, "icc/single/Days/fixed_se") == pytest.approx(np.sqrt(v[0, 0]))


def cr2(x: Array, e: Array, g: Array, bread: Array) -> float:
    """Bell and McCaffrey's bias-reduced SE of the second coefficient, identity working matrix."""
    meat = np.zeros((2, 2))
    for k in np.unique(g):
        xk = x[g == k]
        values, vectors = np.linalg.eigh(np.eye(len(xk)) - xk @ bread @ xk.T)
        root = vectors @ np.diag(values**-0.5) @ vectors.T
        score = xk.T @ root @ e[g == k]
        meat += np.outer(score, score)
    return float(np.sqrt((bread @ meat @ bread)[1, 1]))


def test_the_exact_test_is_the_restricted_likelihood_ratio(
    sleep: Results, frame: pd.DataFrame
) -> None:
    _, y, g = design(frame)
    rho = value(sleep, "icc/Subject/icc")
    statistic = restricted_deviance(0.0, y, g) - restricted_deviance(rho, y, g)
    assert value(sleep, "icc/exact/statistic") == pytest.approx(statistic, rel=1e-4)
    assert value(sleep, "icc/exact/p") < 0.001


def restricted_deviance(rho: float, y: Array, g: Array) -> float:
    """-2 log REML of a random-intercept model with the total variance profiled out."""
    n = len(y)
    r = (1 - rho) * np.eye(n) + rho * (g[:, None] == g)
    inverse = np.linalg.inv(r)
    one = np.ones(n)
    mean = one @ inverse @ y / (one @ inverse @ one)
    q = (y - mean) @ inverse @ (y - mean)
    return float((n - 1) * np.log(q) + np.linalg.slogdet(r)[1] + np.log(one @ inverse @ one))


def test_bootstrap_limits_are_near_the_profile(sleep: Results) -> None:
    at = "icc/Subject"
    width = value(sleep, f"{at}/upper") - value(sleep, f"{at}/lower")
    for side in ("lower", "upper"):
        distance = abs(value(sleep, f"{at}/bootstrap/{side}") - value(sleep, f"{at}/{side}"))
        assert distance < 0.35 * width
    assert "500 samples" in method(sleep, f"{at}/bootstrap/lower")


def method(results: Results, name: str) -> str:
    item = results.items[name]
    assert isinstance(item, Quantity)
    return item.method


def test_design_of_equal_sizes(sleep: Results) -> None:
    icc = value(sleep, "icc/Subject/icc")
    assert value(sleep, "icc/design_effect") == pytest.approx(1 + 9 * icc)
    assert value(sleep, "icc/design_effect_mean") == pytest.approx(1 + 9 * icc)
    assert value(sleep, "icc/reliability_mean") == pytest.approx(10 * icc / (1 + 9 * icc))
    assert value(sleep, "icc/reliability") == pytest.approx(10 * icc / (1 + 9 * icc))


def test_detectable_effects(sleep: Results) -> None:
    icc = value(sleep, "icc/Subject/icc")
    # t quantiles from tables: .975 and .80 with 161 df, and with 16 df.
    within = (1.97481 + 0.84400) * np.sqrt((1 - icc) / 180)
    between = (2.11991 + 0.86467) * np.sqrt((icc + (1 - icc) / 10) / 18)
    assert value(sleep, "icc/power/within") == pytest.approx(within, rel=2e-4)
    assert value(sleep, "icc/power/between") == pytest.approx(between, rel=2e-4)


def test_occasions_and_symbols(sleep: Results) -> None:
    time = sleep.steps["structure"]["time"]
    assert (time["spacing"], time["zero"]) == ("equal", "first")
    assert time["all_to_last"]
    assert not time["any_gaps"]
    estimates = {
        symbol["latex"]: symbol["estimate"]
        for symbol in sleep.steps["questions"]["symbols"]
        if symbol["estimate"] is not None
    }
    assert len(estimates) == 6  # two fixed effects, two variances, a covariance, the residual
    assert estimates[r"\sigma^{2}"].id == "slopes/sigma2"


def test_three_levels(run_spec: RunSpec) -> None:
    found = run_spec(PASTES)
    check_sound(found)
    cask, batch = (value(found, f"icc/{g}/tau") for g in ("batch_cask", "batch"))
    total = cask + batch + value(found, "icc/sigma2")
    assert value(found, "icc/batch_cask/same") == pytest.approx((cask + batch) / total)
    assert value(found, "icc/batch/same") == pytest.approx(batch / total)
    # The variance of the mean of 60 assays, by its covariance matrix.
    casks, batches = np.arange(60) // 2, np.arange(60) // 6
    v = (
        cask * (casks[:, None] == casks)
        + batch * (batches[:, None] == batches)
        + value(found, "icc/sigma2") * np.eye(60)
    )
    assert value(found, "icc/design_effect") == pytest.approx(v.sum() / 60**2 / (total / 60))
    assert value(found, "structure/relation/batch_cask/batch/in_several") == 0
    # In a balanced design REML is the analysis of variance.
    for g, tau in (("batch_cask", cask), ("batch", batch)):
        share = value(found, f"structure/variable/strength/between/{g}")
        assert share == pytest.approx(tau / total, rel=1e-4)
    assert "icc/exact/p" not in found.items
    assert "bootstrap" not in found.steps["icc"]["levels"][0]


def test_too_few_groups_that_do_not_differ(run_spec: RunSpec) -> None:
    found = run_spec("""
title: Dyestuff2
data: {package: lme4, dataset: Dyestuff2}
levels: [{name: sample}, {name: batch, plural: batches, id: Batch}]
outcome: {name: Yield}
models: {list: [{id: "null", fixed: [], random: {batch: [1]}}]}
inference: {variance_ci: none}
""")
    check_sound(found)
    assert found.steps["icc"]["verdict"] == "zero"
    assert found.steps["icc"]["few"]["groups"].value == 6
    assert value(found, "icc/exact/p") == 1
    assert any("CR2" in decision.outcome for decision in found.decisions)
    assert found.steps["icc"]["single"]["mean"]  # of a model without predictors the mean's errors


def test_reliability_of_a_mean_that_is_a_predictor(run_spec: RunSpec) -> None:
    rng = np.random.default_rng(5)
    sizes = rng.integers(4, 12, 30)
    group = np.repeat(np.arange(30), sizes)
    x = rng.normal(size=30)[group] + rng.normal(size=len(group))
    y = x + rng.normal(size=30)[group] + rng.normal(size=len(group))
    table = pd.DataFrame({"group": group, "x": x, "y": y})
    found = run_spec(CONTEXT, {"units.csv": table})
    check_sound(found)
    means = table.groupby("group")["x"].mean().to_numpy()
    msb = (sizes * (means - x.mean()) ** 2).sum() / 29
    msw = ((x - means[group]) ** 2).sum() / (len(group) - 30)
    assert value(found, "icc/predictor/x_mean/reliability") == pytest.approx(1 - msw / msb)
    assert "leave nothing" in reason(found, "icc/single/x_mean/fixed_se")
    assert value(found, "icc/single/x_within/fixed_estimate") == pytest.approx(
        value(found, "icc/single/x_within/ols")
    )


def test_dropout_and_unequal_steps(run_spec: RunSpec) -> None:
    rng = np.random.default_rng(7)
    seen = {
        **{f"p{k}": [0, 1, 2, 4] for k in range(12)},
        "left1": [0, 1], "left2": [0, 1, 2], "gap1": [0, 2, 4], "gap2": [0, 2], "late": [1, 2, 4],
    }  # fmt: skip
    rows = [(p, t, rng.normal() + ord(p[-1]) % 7) for p, times in seen.items() for t in times]
    table = pd.DataFrame(rows, columns=["person", "t", "y"])
    found = run_spec(
        """
title: Waves
data: {file: waves.csv}
levels: [{name: wave}, {name: person, id: person}]
outcome: {name: y}
predictors: {t: {level: wave, unit: year}}
time: t
models:
  list:
    - {id: "null", fixed: [], random: {person: [1]}}
    - {id: growth, fixed: [t], random: {person: [1]}}
inference: {variance_ci: none, icc_bootstrap: 20}
""",
        {"waves.csv": table},
    )
    at = "structure/time"
    counts = {name: value(found, f"{at}/{name}") for name in ("to_last", "left", "gaps", "late")}
    assert counts == {"to_last": 14, "left": 2, "gaps": 2, "late": 1}
    assert found.steps["structure"]["time"]["spacing"] == "unequal"
    assert (value(found, f"{at}/step_min"), value(found, f"{at}/step_max")) == (1, 2)


def test_partly_crossed(run_spec: RunSpec) -> None:
    rng = np.random.default_rng(3)
    a, b = rng.integers(0, 12, 150), rng.integers(0, 15, 150)
    y = rng.normal(size=12)[a] + rng.normal(size=15)[b] + rng.normal(size=150)
    table = pd.DataFrame({"a": a, "b": b, "y": y, "x": rng.normal(size=150)})
    found = run_spec(
        """
title: Crossed
data: {file: crossed.csv}
structure: crossed
levels: [{name: rating}, {name: rater, id: a}, {name: item, id: b}]
outcome: {name: y}
predictors: {x: {level: rating}}
models:
  list:
    - {id: "null", fixed: [], random: {rater: [1], item: [1]}}
    - {id: x, fixed: [x], random: {rater: [1], item: [1]}}
inference: {variance_ci: none, icc_bootstrap: 10}
""",
        {"crossed.csv": table},
    )
    check_sound(found)
    assert value(found, "structure/relation/a/b/occupied") == len(table[["a", "b"]].value_counts())
    assert value(found, "structure/relation/a/b/cells") == 12 * 15
    assert not found.steps["structure"]["relations"][0]["full"]
    design_ = np.column_stack([np.ones(150), table["x"]])
    bread = np.linalg.inv(design_.T @ design_)
    scores = design_ * (y - design_ @ bread @ design_.T @ y)[:, None]
    cells = a * 100 + b
    v = sum(
        sign * bread @ clustered(scores, g) @ bread for sign, g in ((1, a), (1, b), (-1, cells))
    )
    assert value(found, "icc/single/x/robust_se") == pytest.approx(np.sqrt(v[1, 1]))


def clustered(scores: Array, g: Array) -> Array:
    """Sum of the outer products of the groups' scores, with the small-sample factor."""
    sums = np.array([scores[g == k].sum(axis=0) for k in np.unique(g)])
    factor = len(sums) / (len(sums) - 1) * (len(scores) - 1) / (len(scores) - scores.shape[1])
    return factor * sums.T @ sums


def test_the_interval_along_a_slope(sleep: Results, frame: pd.DataFrame) -> None:
    """The delta method in variances and covariance, with the residual variance not profiled out."""
    x, y, _ = design(frame)
    z, responses = x[:10], y.reshape(18, 10)
    at = "slopes/var/Subject"
    estimates = np.array([
        value(sleep, f"{at}/(Intercept)/variance"), value(sleep, f"{at}/Days/cov/(Intercept)"),
        value(sleep, f"{at}/Days/variance"), value(sleep, "slopes/sigma2"),
    ])  # fmt: skip

    def deviance(p: Array) -> float:
        v = z @ np.array([[p[0], p[1]], [p[1], p[2]]]) @ z.T + p[3] * np.eye(10)
        inverse = np.linalg.inv(v)
        information = 18 * z.T @ inverse @ z
        beta = np.linalg.solve(information, z.T @ inverse @ responses.sum(axis=0))
        r = responses - z @ beta
        quadratic = np.einsum("ij,jk,ik->", r, inverse, r)
        return float(18 * np.linalg.slogdet(v)[1] + np.linalg.slogdet(information)[1] + quadratic)

    covariance = 2 * np.linalg.inv(hessian(deviance, estimates))
    for place, days in {"low": 0.0, "high": 9.0}.items():
        v = estimates[0] + 2 * days * estimates[1] + days**2 * estimates[2]
        slope = np.array([1 / v, 2 * days / v, days**2 / v, -1 / estimates[3]])
        se = np.sqrt(slope @ covariance @ slope)
        middle = np.log(v / estimates[3])
        for side, sign in (("lower", -1), ("upper", 1)):
            expected = 1 / (1 + np.exp(-(middle + sign * 1.959964 * se)))
            found = value(sleep, f"icc/curve/Subject/Days/{place}_{side}")
            assert found == pytest.approx(expected, abs=2e-3)
    assert "delta method" in method(sleep, "icc/curve/Subject/Days/low_lower")


def hessian(f: Callable[[Array], float], at: Array) -> Array:
    steps = np.diag(1e-3 * np.abs(at))
    k = len(at)
    found = np.zeros((k, k))
    for i in range(k):
        for j in range(k):
            moved = sum(
                a * b * f(at + a * steps[i] + b * steps[j]) for a in (1, -1) for b in (1, -1)
            )
            found[i, j] = moved / (4 * steps[i, i] * steps[j, j])
    return found


def test_each_level_of_three(run_spec: RunSpec) -> None:
    """The reliability of each level's means, and errors without a level, in balanced data."""
    found = run_spec(PASTES)
    cask, batch = (value(found, f"icc/{g}/tau") for g in ("batch_cask", "batch"))
    sigma2 = value(found, "icc/sigma2")
    assert value(found, "icc/batch_cask/reliability") == pytest.approx(cask / (cask + sigma2 / 2))
    error = cask / 3 + sigma2 / 6
    assert value(found, "icc/batch/reliability") == pytest.approx(batch / (batch + error))
    frame = package_dataset("lme4", "Pastes")
    for group, ids in (("batch", ["batch", "cask"]), ("batch_cask", ["batch"])):
        means = frame.groupby(ids, observed=True)["strength"].mean()
        expected = means.std() / np.sqrt(len(means))
        assert value(found, f"icc/ignoring/{group}/(Intercept)") == pytest.approx(
            expected, rel=1e-4
        )


RATINGS = """
title: Ratings
data: {file: ratings.csv}
levels: [{name: rater}, {name: team, id: team}]
outcome: {name: y, rwg: {categories: 5SKEW}}
models: {list: [{id: "null", fixed: [], random: {team: [1]}}]}
inference: {variance_ci: none, icc_bootstrap: 0}
"""


def test_agreement_of_ratings(run_spec: RunSpec) -> None:
    rng = np.random.default_rng(2)
    team = np.repeat(np.arange(21), [1, *rng.integers(2, 9, 20)])
    y = np.clip(np.round(3 + rng.normal(size=21)[team] + rng.normal(size=len(team))), 1, 5)
    table = pd.DataFrame({"team": team, "y": y})
    for skew, null in (("", 2.0), (", null_variance: 1.34", 1.34)):
        found = run_spec(RATINGS.replace("SKEW", skew), {"ratings.csv": table})
        check_sound(found)
        raw = 1 - table.groupby("team")["y"].var().dropna() / null
        index = raw.clip(lower=0)
        at = "icc/team/rwg"
        assert value(found, f"{at}/mean") == pytest.approx(index.mean())
        assert value(found, f"{at}/median") == pytest.approx(index.median())
        assert value(found, f"{at}/high") == pytest.approx((index >= 0.7).mean())
        assert (value(found, f"{at}/groups"), value(found, f"{at}/single")) == (20, 1)
        assert value(found, f"{at}/negative") == (raw < 0).sum()
    wide = run_spec(RATINGS.replace("5SKEW", "3"), {"ratings.csv": table})
    assert "span more" in reason(wide, "icc/team/rwg/mean")


def test_reliability_of_means_of_units(run_spec: RunSpec) -> None:
    """A school's mean of its classes counts each class once, however many pupils it has."""
    rng = np.random.default_rng(5)
    school = np.repeat(np.arange(15), 4)
    size = rng.normal(size=15)[school] + rng.normal(size=60)
    pupils = np.repeat(np.arange(60), rng.integers(2, 6, 60))
    y = rng.normal(size=15)[school[pupils]] + rng.normal(size=60)[pupils]
    table = pd.DataFrame({
        "school": school[pupils], "class": pupils, "size": size[pupils],
        "y": y + rng.normal(size=len(pupils)),
    })  # fmt: skip
    found = run_spec(
        """
title: Classes
data: {file: pupils.csv}
levels:
  - {name: pupil}
  - {name: class, plural: classes, id: class}
  - {name: school, id: school}
outcome: {name: y}
predictors: {size: {level: class, center: group mean, contextual: true}}
models: {list: [{id: m, fixed: [size, size_mean], random: {class: [1], school: [1]}}]}
inference: {variance_ci: none}
""",
        {"pupils.csv": table},
    )
    check_sound(found)
    means = size.reshape(15, 4).mean(axis=1)
    msb = 4 * ((means - size.mean()) ** 2).sum() / 14
    msw = ((size - means[school]) ** 2).sum() / 45
    expected = max(0, 1 - msw / msb)
    assert value(found, "icc/predictor/size_mean/reliability") == pytest.approx(expected)
