"""Statistics by the definitions of other programs, beside those that the report prints."""

from __future__ import annotations

import math

import numpy as np
import pytest
from support import RunSpec, reason, value

from mlmreport.engine.session import package_dataset
from mlmreport.quantities import Row, Table

pytestmark = pytest.mark.r

SPEC = """
title: {dataset}
data: {{package: lme4, dataset: {dataset}}}
levels: [{{name: row}}, {{name: unit, id: {group}}}]
outcome: {{name: {outcome}}}
predictors: {{{predictors}}}
models:
  list:
    - {{id: "null", formula: "{outcome} ~ 1 + (1 | {group})"}}
    - {{id: last, formula: "{formula}"}}
estimation: {{check_optimizers: false, compare_structures: false, slope_tests: 0}}
inference: {{icc_bootstrap: 0, df_comparison: 0}}
"""
SLEEP = SPEC.format(
    dataset="sleepstudy",
    group="Subject",
    outcome="Reaction",
    predictors="Days: {level: row}",
    formula="Reaction ~ Days + (Days || Subject)",
)


def batches(dataset: str) -> str:
    return SPEC.format(
        dataset=dataset, group="Batch", outcome="Yield", predictors="",
        formula="Yield ~ 1 + (1 | Batch)",
    )  # fmt: skip


def test_mumin_averages_uncorrelated_slopes_where_performance_does_not(run_spec: RunSpec) -> None:
    found = run_spec(SLEEP)
    days = package_dataset("lme4", "sleepstudy")["Days"].to_numpy(dtype=float)
    fixed = np.var(value(found, "last/fixef/Days/estimate") * days, ddof=1)
    effects = [name for name in found.items if name.startswith("last/var/")]
    variances = {name: value(found, name) for name in effects if name.endswith("/variance")}
    (slope,) = [v for name, v in variances.items() if "/Days/" in name]
    (intercept,) = [v for name, v in variances.items() if "/(Intercept)/" in name]
    random = intercept + slope * float(np.mean(days**2))
    total = fixed + random + value(found, "last/sigma2")
    assert value(found, "fit/definitions/r2m_blocks") == pytest.approx(fixed / total)
    assert value(found, "fit/definitions/r2c_blocks") == pytest.approx((fixed + random) / total)
    assert value(found, "fit/last/r2m") == pytest.approx(fixed / total)
    performance = value(found, "fit/definitions/r2_performance_marginal")
    assert abs(performance - fixed / total) > 0.001


def test_criteria_as_other_programs_define_them(run_spec: RunSpec) -> None:
    found = run_spec(SLEEP)
    deviance, variances, fixed, rows, groups = value(found, "last/criterion"), 3, 2, 180, 18
    expected = {
        "aic_reml": deviance + 2 * (variances + fixed),
        "aic_covariance": deviance + 2 * variances,
        "bic_reml": deviance + math.log(rows) * (variances + fixed),
        "bic_residual_n": deviance + math.log(rows - fixed) * (variances + fixed),
        "bic_covariance": deviance + math.log(rows - fixed) * variances,
        "bic_subjects": deviance + math.log(groups) * variances,
    }
    for name, number in expected.items():
        assert value(found, f"fit/definitions/{name}") == pytest.approx(number), name
    table = found.steps["fit"]["tables"]["definitions"]
    assert isinstance(table, Table)
    heads = {row.head for row in table.rows if isinstance(row, Row)}
    assert {"By MuMIn", "By REML, covariance parameters", "Wald z, one-sided"} <= heads
    assert "Simulated null distribution" in heads


def test_walds_test_of_the_group_variance(run_spec: RunSpec) -> None:
    """The standard error in a balanced design (Searle, Casella & McCulloch, 1992, section 4.4)."""
    found = run_spec(batches("Dyestuff"))
    a, n = 6, 5
    sigma2, tau = value(found, "null/sigma2"), value(found, "null/var/Batch/(Intercept)/variance")
    error = math.sqrt(2 / n**2 * ((n * tau + sigma2) ** 2 / (a - 1) + sigma2**2 / (a * (n - 1))))
    expected = 0.5 * math.erfc(tau / error / math.sqrt(2))
    assert value(found, "fit/definitions/wald_p") == pytest.approx(expected, rel=1e-3)


def test_walds_test_is_not_made_at_the_boundary(run_spec: RunSpec) -> None:
    found = run_spec(batches("Dyestuff2"))
    assert "at its boundary" in reason(found, "fit/definitions/wald_p")
