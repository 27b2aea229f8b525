"""Prior weights and an offset: every number that they change, by a second computation.

The reference is matrix algebra on V = Z T Z' + sigma2 diag(1 / w), and nlme with `varFixed`.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support import RunSpec, check_sound, reason, value

from mlmreport.analysis import analyse, check
from mlmreport.engine.session import COMPRESSION, R_FOLDER
from mlmreport.errors import InputError
from mlmreport.quantities import Results, Series
from mlmreport.spec.reader import load

pytestmark = pytest.mark.r

SPEC = """
title: Weighted
data: {file: rows.csv}
levels: [{name: visit}, {name: person, id: person}]
time: day
outcome: {name: y, label: score}
predictors:
  day: {level: visit, label: day}
models:
  list:
    - {id: nul, fixed: [], random: {person: [1]}}
    - {id: growth, fixed: [day], random: {person: [1, day]}}
estimation: {weights: n, offset: known, slope_tests: 0, check_optimizers: false}
inference: {icc_bootstrap: 20, variance_ci: none}
"""


def _rows() -> pd.DataFrame:
    rng = np.random.default_rng(20261)
    person = np.repeat(np.arange(10), 14)
    day = np.tile(np.arange(14.0), 10)
    n = rng.integers(1, 7, 140).astype(float)
    known = rng.normal(5, 3, 140).round(2)
    u, v = rng.normal(0, 3, 10), rng.normal(0, 0.4, 10)
    y = 20 + known + u[person] + (0.5 + v[person]) * day + rng.normal(0, 4, 140) / np.sqrt(n)
    return pd.DataFrame({"person": person + 1, "day": day, "n": n, "known": known, "y": y.round(3)})


ROWS = _rows()
W = ROWS["n"].to_numpy()
Y = (ROWS["y"] - ROWS["known"]).to_numpy()
X = np.column_stack([np.ones(140), ROWS["day"]])
GROUP = ROWS["person"].to_numpy() - 1


@pytest.fixture(scope="module")
def weighted(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("weighted")
    ROWS.to_csv(folder / "rows.csv", index=False)
    (folder / "analysis.yml").write_text(SPEC, encoding="utf-8")
    return analyse(load(folder / "analysis.yml"), lambda *_: None)[0]


def _tau(results: Results) -> np.ndarray:
    at = "growth/var/person"
    covariance = value(results, f"{at}/day/cov/(Intercept)")
    variances = [value(results, f"{at}/{name}/variance") for name in ("(Intercept)", "day")]
    return np.array([[variances[0], covariance], [covariance, variances[1]]])


def _z() -> np.ndarray:
    z = np.zeros((140, 20))
    for row, person in enumerate(GROUP):
        z[row, 2 * person : 2 * person + 2] = X[row]
    return z


def _v(results: Results) -> np.ndarray:
    g = np.kron(np.eye(10), _tau(results))
    return _z() @ g @ _z().T + value(results, "growth/sigma2") * np.diag(1 / W)


def _gls(v: np.ndarray, rows: np.ndarray | slice = slice(None)) -> tuple[np.ndarray, np.ndarray]:
    inverse = np.linalg.inv(v[rows][:, rows])
    covariance = np.linalg.inv(X[rows].T @ inverse @ X[rows])
    return covariance @ X[rows].T @ inverse @ Y[rows], covariance


def test_the_analysis_is_sound_and_every_fit_has_weights_and_offset(weighted: Results) -> None:
    check_sound(weighted)
    fits = [e.code for e in weighted.trace if e.kind == "object" and e.code.startswith("lmer(")]
    assert len(fits) >= 4
    assert all("weights = n" in code and "offset(known)" in code for code in fits)


def test_the_fit_is_that_of_nlme(weighted: Results, tmp_path: Path) -> None:
    ROWS.to_csv(tmp_path / "rows.csv", index=False)
    script = """
    d <- read.csv(commandArgs(TRUE)[1]); d$z <- d$y - d$known
    m <- nlme::lme(z ~ day, random = ~ day | person, data = d, weights = nlme::varFixed(~ 1 / n),
      control = nlme::lmeControl(opt = "optim", msTol = 1e-10, reltol = 1e-12))
    cat(format(c(nlme::fixef(m), m$sigma^2, as.numeric(nlme::getVarCov(m))[c(1, 2, 4)], logLik(m)),
      digits = 15, trim = TRUE))
    """
    (tmp_path / "m.R").write_text(script)
    done = subprocess.run(
        ["Rscript", "--vanilla", str(tmp_path / "m.R"), str(tmp_path / "rows.csv")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    if "there is no package called" in done.stderr:
        pytest.skip("nlme is not installed")
    found = np.array(done.stdout.split(), dtype=float)
    tau = _tau(weighted)
    ours = [
        value(weighted, "growth/fixef/(Intercept)/estimate"),
        value(weighted, "growth/fixef/day/estimate"), value(weighted, "growth/sigma2"),
        tau[0, 0], tau[0, 1], tau[1, 1], -value(weighted, "growth/criterion") / 2,
    ]  # fmt: skip
    # Two optimizers on one surface.
    assert ours == pytest.approx(found, rel=2e-3, abs=2e-3)
    assert ours[-1] == pytest.approx(found[-1], abs=1e-5)


def test_fixed_effects_are_those_of_weighted_least_squares(weighted: Results) -> None:
    beta, covariance = _gls(_v(weighted))
    for k, name in enumerate(("(Intercept)", "day")):
        assert value(weighted, f"growth/fixef/{name}/estimate") == pytest.approx(beta[k], rel=1e-8)
        se = np.sqrt(covariance[k, k])
        assert value(weighted, f"growth/fixef/{name}/se") == pytest.approx(se, rel=1e-6)


def test_groups_left_out(weighted: Results) -> None:
    v = _v(weighted)
    predicted = np.zeros(140)
    for person in range(10):
        rest, _ = _gls(v, np.flatnonzero(person != GROUP))
        predicted[person == GROUP] = X[person == GROUP] @ rest
    rmse = np.sqrt(np.sum(W * (Y - predicted) ** 2) / W.sum())
    assert value(weighted, "fit/growth/leftout/outside") == pytest.approx(rmse, rel=1e-7)
    line = np.polyfit(predicted + ROWS["known"], ROWS["y"], 1, w=np.sqrt(W))
    assert value(weighted, "fit/growth/leftout/slope") == pytest.approx(line[0], rel=1e-7)


def test_refits_without_a_person_are_those_of_lme4(weighted: Results, tmp_path: Path) -> None:
    script = """
    m <- lmer(y ~ day + offset(known) + (day | person), d, weights = n)
    cook <- vapply(1:10, function(k) {
      rest <- d[d$person != levels(factor(d$person))[k], ]
      b <- fixef(suppressMessages(update(m, data = rest)))
      sum((fixef(m) - b) * solve(as.matrix(vcov(m)), fixef(m) - b)) / 2
    }, 0)
    cat(cook)
    """
    found = weighted.items["assumptions/influence/cook"]
    assert isinstance(found, Series)
    # lme4 stops a little short of the optimum of each of the eleven fits.
    assert list(found.values) == pytest.approx(list(_r(script, tmp_path)), rel=5e-3, abs=1e-4)


def test_residuals_are_standardised_by_their_weights(weighted: Results) -> None:
    v = _v(weighted)
    beta, _ = _gls(v)
    g = np.kron(np.eye(10), _tau(weighted))
    modes = g @ _z().T @ np.linalg.solve(v, Y - X @ beta)
    e = np.sqrt(W) * (Y - X @ beta - _z() @ modes)
    centred = e - e.mean()
    skewness = np.mean(centred**3) / np.mean(centred**2) ** 1.5
    assert value(weighted, "assumptions/residual/skewness") == pytest.approx(skewness, rel=1e-6)
    lag = np.mean(np.concatenate([e[p == GROUP][:-1] * e[p == GROUP][1:] for p in range(10)]))
    at = "assumptions/autocorrelation"
    assert value(weighted, f"{at}/lag1") == pytest.approx(lag / np.mean(e**2), rel=1e-6)
    # Cov(e) of the scaled residuals from the projection of the whole model.
    inverse = np.linalg.inv(v)
    p = inverse - inverse @ X @ np.linalg.inv(X.T @ inverse @ X) @ X.T @ inverse
    c = p / np.sqrt(np.outer(W, W))
    pairs = [(i, i + 1) for i in range(139) if GROUP[i] == GROUP[i + 1]]
    expected = np.mean([c[i, j] for i, j in pairs]) / np.mean(np.diag(c))
    assert value(weighted, f"{at}/expected") == pytest.approx(expected, rel=1e-6)


def test_equal_variances_by_weighted_regressions(weighted: Results) -> None:
    logs = []
    for person in range(10):
        rows = person == GROUP
        root = np.sqrt(W[rows])
        _, rss, *_ = np.linalg.lstsq(X[rows] * root[:, None], Y[rows] * root, rcond=None)
        logs.append(np.log(rss[0] / 12))
    d = (np.array(logs) - np.mean(logs)) / np.sqrt(2 / 12)
    assert value(weighted, "assumptions/homogeneity/H") == pytest.approx(np.sum(d**2), rel=1e-8)


def test_distance_of_the_random_effects(weighted: Results) -> None:
    v, g = _v(weighted), np.kron(np.eye(10), _tau(weighted))
    beta, _ = _gls(v)
    modes = g @ _z().T @ np.linalg.solve(v, Y - X @ beta)
    covariance = g @ _z().T @ np.linalg.solve(v, _z() @ g)
    found = [
        modes[i : i + 2] @ np.linalg.solve(covariance[i : i + 2, i : i + 2], modes[i : i + 2])
        for i in range(0, 20, 2)
    ]
    assert value(weighted, "assumptions/distance/largest") == pytest.approx(max(found), rel=1e-5)


def test_variances_take_the_mean_residual_variance(weighted: Results) -> None:
    tau0 = value(weighted, "nul/var/person/(Intercept)/variance")
    sigma2 = value(weighted, "nul/sigma2")
    residual = sigma2 * np.mean(1 / W)
    assert value(weighted, "icc/person/icc") == pytest.approx(tau0 / (tau0 + residual), rel=1e-9)
    sums = np.bincount(GROUP, W)
    reliabilities = tau0 / (tau0 + sigma2 / sums)
    assert value(weighted, "icc/reliability") == pytest.approx(reliabilities.mean(), rel=1e-9)
    random = np.mean(np.einsum("ij,jk,ik->i", X, _tau(weighted), X))
    fixed = np.var(X @ _gls(_v(weighted))[0], ddof=1)
    whole = fixed + random + value(weighted, "growth/sigma2") * np.mean(1 / W)
    assert value(weighted, "fit/growth/r2m") == pytest.approx(fixed / whole, rel=1e-7)
    assert value(weighted, "fit/growth/r2c") == pytest.approx((fixed + random) / whole, rel=1e-7)


@pytest.mark.long
def test_profile_interval_of_the_icc(weighted: Results) -> None:
    """The REML criterion at the limits, by numpy, is the chi-square quantile above the least."""
    shared = GROUP[:, None] == GROUP[None, :]

    def deviance(rho: float) -> float:
        tau = rho / (1 - rho) * np.mean(1 / W)
        v = tau * shared + np.diag(1 / W)
        inverse = np.linalg.inv(v)
        mean = inverse.sum(axis=0) @ Y / inverse.sum()
        criterion = 139 * np.log((Y - mean) @ inverse @ (Y - mean)) + np.linalg.slogdet(v)[1]
        return float(criterion + np.log(inverse.sum()))

    limits = [value(weighted, f"icc/person/{side}") for side in ("lower", "upper")]
    low, high = (deviance(limit) for limit in limits)
    assert low == pytest.approx(high, abs=1e-5)
    least = min(deviance(rho) for rho in np.linspace(*limits, 2000))
    assert low - least == pytest.approx(3.841458820694124, abs=1e-4)


def test_groups_and_their_weights(weighted: Results) -> None:
    """Shrinkage of the weighted means, slope reliabilities, and a group's prediction error."""
    shrunken, raw = (weighted.items[f"inference/shrinkage/person/{x}"] for x in ("shrunken", "raw"))
    assert isinstance(shrunken, Series)
    assert isinstance(raw, Series)
    means = np.bincount(GROUP, W * Y) / np.bincount(GROUP, W)
    assert raw.values == pytest.approx(means, rel=1e-9)
    overall = value(weighted, "inference/shrinkage/person/overall")
    weight = (np.array(shrunken.values) - overall) / (means - overall)
    assert value(weighted, "inference/shrinkage/person/most") == pytest.approx(
        weight.min(), rel=1e-6
    )
    assert value(weighted, "inference/shrinkage/person/least") == pytest.approx(
        weight.max(), rel=1e-6
    )
    tau, sigma2 = _tau(weighted), value(weighted, "growth/sigma2")
    noise = [
        sigma2 * np.linalg.inv((X[p == GROUP] * W[p == GROUP, None]).T @ X[p == GROUP])[1, 1]
        for p in range(10)
    ]
    mean = np.mean(tau[1, 1] / (tau[1, 1] + np.array(noise)))
    at = "interpretation/reliability/person/day/mean"
    assert value(weighted, at) == pytest.approx(mean, rel=1e-7)


def test_predictions_are_at_the_mean_offset(weighted: Results) -> None:
    v, g = _v(weighted), np.kron(np.eye(10), _tau(weighted))
    beta, covariance = _gls(v)
    row = np.array([1, 6.5])
    expected = row @ beta + ROWS["known"].mean()
    assert value(weighted, "inference/average/estimate") == pytest.approx(expected, rel=1e-8)
    # Henderson's equations with R = sigma2 / w.
    both = np.hstack([X, _z()])
    inner = both.T @ (both * (W / value(weighted, "growth/sigma2"))[:, None])
    inner[2:, 2:] += np.linalg.inv(g)
    joint = np.linalg.inv(inner)
    modes = g @ _z().T @ np.linalg.solve(v, Y - X @ beta)
    persons = [
        int(name.split("/")[2]) for name in weighted.items
        if name.startswith("inference/group/") and name.endswith("/known")
    ]  # fmt: skip
    for person in persons:
        weights = np.zeros(22)
        weights[:2] = row
        weights[2 * person : 2 * person + 2] = row
        at = f"inference/group/{person}"
        se = np.sqrt(weights @ joint @ weights)
        assert value(weighted, f"{at}/known") == pytest.approx(se, rel=1e-5)
        own = expected + row @ modes[2 * person - 2 : 2 * person]
        assert value(weighted, f"{at}/estimate") == pytest.approx(own, rel=1e-7)
    new = np.sqrt(row @ covariance @ row + row @ _tau(weighted) @ row
                  + value(weighted, "growth/sigma2") * np.mean(1 / W))  # fmt: skip
    upper = value(weighted, "inference/observation/upper")
    assert value(weighted, "inference/observation/known") == pytest.approx(new, rel=1e-7)
    assert upper > expected + 1.959963984540054 * new  # by t


def test_ignoring_the_groups_keeps_weights_and_offset(weighted: Results) -> None:
    root = np.sqrt(W)
    beta, rss, *_ = np.linalg.lstsq(X * root[:, None], Y * root, rcond=None)
    covariance = rss[0] / 138 * np.linalg.inv((X * W[:, None]).T @ X)
    for at in ("inference/ols/day/estimate", "icc/single/day/ols"):
        assert value(weighted, at) == pytest.approx(beta[1], rel=1e-9)
    for at in ("inference/ols/day/se", "icc/single/day/ols_se"):
        assert value(weighted, at) == pytest.approx(np.sqrt(covariance[1, 1]), rel=1e-8)
    dummies = np.column_stack([np.eye(10)[GROUP], X[:, 1]])
    within, *_ = np.linalg.lstsq(dummies * root[:, None], Y * root, rcond=None)
    assert value(weighted, "icc/single/day/fixed_estimate") == pytest.approx(within[-1], rel=1e-8)


def test_what_equal_rows_are_needed_for_is_left_out(weighted: Results) -> None:
    for name in ("icc/design_effect", "icc/effective_n", "fit/nul/snijders/rows"):
        if name in weighted.items:
            assert "prior weights" in reason(weighted, name)
    assert "clubSandwich" in reason(weighted, "assumptions/remedies/day/se_cr2")
    assert not any(name.startswith("inference/otherdf") for name in weighted.items)


def _r(script: str, tmp_path: Path) -> np.ndarray:
    """The numbers that a script prints, which has the definitions and the rows `d`."""
    ROWS.to_csv(tmp_path / "rows.csv", index=False)
    files = [
        R_FOLDER / f"{name}.R"
        for name in ("definitions", "definitions_fit", "definitions_icc", *COMPRESSION)
    ]
    head = ["suppressMessages(library(lme4))", *(f'source("{file}")' for file in files)]
    head.append(f'd <- read.csv("{tmp_path / "rows.csv"}")')
    (tmp_path / "script.R").write_text("\n".join([*head, script]))
    command = ["Rscript", "--vanilla", str(tmp_path / "script.R")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if "there is no package called" in done.stderr:
        pytest.skip(done.stderr.strip().splitlines()[0])
    assert done.returncode == 0, done.stderr
    return np.array(done.stdout.split(), dtype=float)


@pytest.mark.long
def test_drawn_errors_have_the_variances_of_the_weights(tmp_path: Path) -> None:
    """lme4::simulate draws them all alike, so that the bootstrap has a generator of its own."""
    script = """
    m <- lmer(y ~ day + offset(known) + (1 | person), d, weights = n)
    set.seed(1)
    y <- drawn_outcomes(m, 400) - getME(m, "offset")
    centred <- y - as.vector(getME(m, "X") %*% fixef(m))
    line <- coef(lm(rowMeans(centred^2) ~ I(1 / d$n)))
    cat(line, VarCorr(m)[[1]][1], sigma(m)^2, mean(centred))
    """
    intercept, slope, tau, sigma2, mean = _r(script, tmp_path)
    # Means of 400 squares, whose standard error is about 7 % of a row's variance.
    assert intercept == pytest.approx(tau, rel=0.2)
    assert slope == pytest.approx(sigma2, rel=0.2)
    assert abs(mean) < 0.5


def test_the_exact_test_is_that_of_rlrsim_where_rows_count_alike(tmp_path: Path) -> None:
    script = """
    m <- lmer(y ~ day + (1 | person), d)
    mine <- exact_grouping_test(m, 1000, 1)
    set.seed(1, "Mersenne-Twister", "Inversion", "Rejection")
    theirs <- RLRsim::exactRLRT(m, nsim = 1000)
    small <- 0.5
    set.seed(1, "Mersenne-Twister", "Inversion", "Rejection")
    null <- RLRsim::RLRTSim(getME(m, "X"), as.matrix(getME(m, "Z")), qr(getME(m, "X")), diag(10),
      nsim = 999)
    # Weights that are all 4 change the unit of sigma2 only.
    w <- lmer(y ~ day + (1 | person), d, weights = rep(4, nrow(d)))
    cat(mine$statistic, theirs$statistic, simulated_ratio_p(m, small, 999, 1),
      sum(null > small), ratio_without_groups(w), simulated_ratio_p(w, small, 999, 1),
      simulated_ratio_p(m, 1e9, 999, 1), simulated_ratio_p(m, 0, 999, 1))
    """
    mine, theirs, p, reference, weighted, p_weighted, none, all_ = _r(script, tmp_path)
    assert mine == pytest.approx(theirs, rel=1e-6)
    # The observed value counts as one of them.
    assert p == pytest.approx((reference + 1) / 1000)
    assert weighted == pytest.approx(mine, rel=1e-5)
    assert p_weighted == pytest.approx(p, abs=0.01)
    assert (none, all_) == pytest.approx((1 / 1000, 1))


KEYS = (
    ("weights: miss", "has no value in 1 of the rows"),
    ("weights: zero", "zero or negative in 1 rows"),
    ("weights: nothing", "no column 'nothing'"),
    ("weights: y", "which is the outcome"),
    ("offset: person", "which is the id of the level 'person'"),
    ("offset: miss", "the offset 'miss' has no value"),
)


@pytest.mark.parametrize(("key", "message"), KEYS)
def test_unusable_weights_are_refused(key: str, message: str, tmp_path: Path) -> None:
    rows = ROWS.assign(
        miss=ROWS["n"].where(ROWS.index != 3), zero=ROWS["n"].where(ROWS.index > 0, 0)
    )
    rows.to_csv(tmp_path / "rows.csv", index=False)
    text = SPEC.replace("weights: n, offset: known", key)
    (tmp_path / "analysis.yml").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        check(load(tmp_path / "analysis.yml"))


def test_kenward_roger_is_refused_with_weights(tmp_path: Path) -> None:
    ROWS.to_csv(tmp_path / "rows.csv", index=False)
    text = SPEC.replace("inference: {", "inference: {df: kenward-roger, ")
    (tmp_path / "analysis.yml").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="same weight"):
        check(load(tmp_path / "analysis.yml"))


@pytest.mark.long
def test_multiplying_the_weights_changes_the_unit_of_sigma2_only(
    weighted: Results, run_spec: RunSpec
) -> None:
    short = SPEC.replace("icc_bootstrap: 20", "icc_bootstrap: 0, df_comparison: 0")
    other = run_spec(short, {"rows.csv": ROWS.assign(n=10 * ROWS["n"])})
    ratio = value(other, "growth/sigma2") / value(weighted, "growth/sigma2")
    assert ratio == pytest.approx(10, rel=1e-3)
    for name in ("icc/person/icc", "fit/growth/r2c", "growth/fixef/day/p", "icc/reliability",
                 "inference/observation/upper", "assumptions/homogeneity/H"):  # fmt: skip
        assert value(other, name) == pytest.approx(value(weighted, name), rel=2e-3)
