"""Step 5: other optimizers, other random parts, slopes tested one at a time."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from support import run_r

from mlmreport.quantities import Quantity, Results

pytestmark = pytest.mark.r

SPEC = """
title: Slopes
data: {file: rows.csv}
levels:
  - name: student
  - {name: school, id: school}
outcome: {name: y}
predictors:
  x: {level: student}
  sex: {level: student, type: category, reference: a}
  kind: {level: student, type: category, reference: p}
models:
  list:
    - {id: "null", fixed: [], random: {school: [1]}}
    - {id: last, fixed: [x, sex, kind], random: {school: [1%s]}}
inference: {variance_ci: none}
estimation: {slope_simulations: 2000}
"""


def rows(slope_sd: float) -> pd.DataFrame:
    draw = np.random.default_rng(11)
    school = np.repeat(np.arange(30), 12)
    n = len(school)
    x = draw.normal(size=n)
    slope = 0.5 + slope_sd * draw.normal(size=30)[school]
    y = slope * x + draw.normal(size=30)[school] + draw.normal(size=n)
    return pd.DataFrame(
        {
            "school": [f"s{k:02d}" for k in school],
            "x": x,
            "y": y,
            "sex": draw.choice(["a", "b"], n),
            "kind": draw.choice(["p", "q", "r"], n),
        }
    )


def value(results: Results, name: str) -> float:
    item = results.items[name]
    assert isinstance(item, Quantity), item
    return item.value


@pytest.fixture(scope="module")
def varying(tmp_path_factory: pytest.TempPathFactory) -> Results:
    from mlmreport.analysis import analyse
    from mlmreport.spec.reader import load

    folder = tmp_path_factory.mktemp("spec")
    rows(0.4).to_csv(folder / "rows.csv", index=False)
    (folder / "analysis.yml").write_text(SPEC % ", x", encoding="utf-8")
    return analyse(load(folder / "analysis.yml"), lambda *_: None)[0]


def test_other_optimizers_agree(varying: Results) -> None:
    for name in ("bobyqa", "Nelder_Mead"):
        assert abs(value(varying, f"last/optimizer/{name}/gain")) < 1e-3
        assert value(varying, f"last/optimizer/{name}/shift") < 1e-2
    facts = varying.steps["models"]["examined"]["optimizers"]["final"]
    assert list(facts["agreeing"]) == ["bobyqa", "Nelder_Mead"]
    assert not facts["switched"]


def test_structures_hold_the_fixed_effects_side_by_side(varying: Results) -> None:
    at = "models/structures"
    for name in ("(Intercept)", "x", "sexb", "kindq", "kindr"):
        own = value(varying, f"{at}/correlated/fixef/{name}/estimate")
        assert own == value(varying, f"last/fixef/{name}/estimate")
        assert value(varying, f"{at}/correlated/fixef/{name}/se") == pytest.approx(
            value(varying, f"last/fixef/{name}/se"), rel=1e-6
        )
    shift = max(
        abs(
            value(varying, f"{at}/intercepts/fixef/{name}/estimate")
            - value(varying, f"last/fixef/{name}/estimate")
        )
        / value(varying, f"{at}/correlated/fixef/{name}/se")
        for name in ("(Intercept)", "x", "sexb", "kindq", "kindr")
    )
    assert value(varying, f"{at}/intercepts/shift") == pytest.approx(shift)
    # A slope that does vary: leaving it out makes its standard error too small.
    assert value(varying, f"{at}/intercepts/fixef/x/se") < value(varying, "last/fixef/x/se")
    assert [value(varying, f"{at}/{key}/parameters") for key in
            ("intercepts", "independent", "correlated")] == [7, 8, 9]  # fmt: skip


def test_removed_slope_has_the_mixture_of_chi_squares(varying: Results) -> None:
    at = "models/slope/x/removed"
    chisq = value(varying, f"{at}/chisq")
    criteria = [
        value(varying, f"models/structures/{key}/criterion") for key in ("intercepts", "correlated")
    ]
    assert chisq == pytest.approx(criteria[0] - criteria[1], abs=1e-5)
    assert value(varying, f"{at}/df") == 2
    expected = 0.5 * math.erfc(math.sqrt(chisq / 2)) + 0.5 * math.exp(-chisq / 2)
    assert value(varying, f"{at}/p") == pytest.approx(expected)
    # A slope that clearly varies: no sample's ratio is as large.
    assert value(varying, f"{at}/p_exact") == pytest.approx(1 / 501)
    item = varying.items[f"{at}/p_exact"]
    assert isinstance(item, Quantity)
    assert "bootstrap" in item.method


@pytest.mark.long
def test_the_bootstrapped_ratio_is_that_of_lme4() -> None:
    """Drawn and fitted by lme4 itself, the ratios have the same distribution."""
    found = {name: (float(mine), float(other)) for name, mine, other in
             run_r("ratios.R", "definitions")}  # fmt: skip
    assert len(found) == 10
    for name, (mine, other) in found.items():
        # Of 400 samples by lme4, and 4,000, 2,000 or some 80 of ours: four standard errors.
        samples = 80 if "few" in name else 370
        assert abs(mine - other) < 4 * math.sqrt(other * (1 - other) / samples), name


def test_a_category_of_three_is_named_as_left_out(varying: Results) -> None:
    facts = varying.steps["models"]["examined"]["slopes"]
    assert list(facts["left_out"]) == ["kind"]
    assert [test["key"] for test in facts["tests"]] == ["x/removed", "x/independent", "sex/added"]


def test_both_dimensions_carry_variance(varying: Results) -> None:
    assert value(varying, "models/pca/school/dimensions") == 2
    last = value(varying, "models/pca/school/last")
    at = "last/var/school"
    covariance = value(varying, f"{at}/x/cov/(Intercept)")
    matrix = [
        [value(varying, f"{at}/(Intercept)/variance"), covariance],
        [covariance, value(varying, f"{at}/x/variance")],
    ]
    roots = np.linalg.eigvalsh(matrix)
    assert last == pytest.approx(roots[0] / roots.sum(), rel=1e-6)


def test_simulated_null_distribution(run_spec: Callable[..., Results]) -> None:
    """Near the boundary the simulated p is close to the mixture's, which is its limit."""
    results = run_spec(SPEC % "", {"rows.csv": rows(0.15)})
    at = "models/slope/x/added"
    simulated, mixture = value(results, f"{at}/p_exact"), value(results, f"{at}/p")
    assert 0 < simulated < 1
    assert simulated == pytest.approx(mixture, abs=0.05)
    facts = results.steps["models"]["examined"]
    assert not facts["structures"]["have"]
    assert "no random slopes" in facts["structures"]["reason"]


def test_a_slope_that_varies_and_is_not_in_the_model(run_spec: Callable[..., Results]) -> None:
    results = run_spec(SPEC % "", {"rows.csv": rows(0.4)})
    facts = results.steps["models"]["examined"]["slopes"]
    assert list(facts["missing"]) == ["x over schools"]
    # With it the standard error of the fixed effect is larger.
    more = run_spec(SPEC % ", x", {"rows.csv": rows(0.4)})
    assert value(more, "last/fixef/x/se") > 1.2 * value(results, "last/fixef/x/se")


def test_what_the_spec_leaves_out_is_said(run_spec: Callable[..., Results]) -> None:
    spec = SPEC.replace(
        "slope_simulations: 2000",
        "slope_tests: 1, slope_simulations: 0, check_optimizers: false, compare_structures: false",
    )
    results = run_spec(spec % ", x", {"rows.csv": rows(0.3)})
    facts = results.steps["models"]["examined"]
    assert not facts["optimizers"]["have"]
    assert "compare_structures" in facts["structures"]["reason"]
    assert list(facts["slopes"]["over"]) == ["sex"]
    reasons = " ".join(facts["slopes"]["reasons"])
    assert "slope_simulations" in reasons


def test_a_singular_fit_names_its_component(run_spec: Callable[..., Results]) -> None:
    frame = rows(0.0)
    for _, part in frame.groupby("school"):  # the same slope in every school
        slope = np.polyfit(part["x"], part["y"], 1)[0]
        frame.loc[part.index, "y"] -= (slope - 0.5) * part["x"]
    results = run_spec(SPEC % ", x", {"rows.csv": frame})
    boundary = results.steps["models"]["examined"]["boundary"]
    assert boundary["singular"]
    assert boundary["zero"] or boundary["limits"]
    assert value(results, "models/pca/school/dimensions") < 2
