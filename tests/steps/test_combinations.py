"""Models grouped by combinations of groups and categories, which are no level of the data."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import RunSpec, check_sound, value

from mlmreport.quantities import Results
from mlmreport.report import houses
from mlmreport.report.document import compose

pytestmark = pytest.mark.r

FAST = """
estimation: {slope_tests: 0, check_optimizers: false, compare_structures: false}
inference:
  {variance_ci: none, icc_bootstrap: 20, df_comparison: 0, check_bootstrap: 0, r2_bootstrap: 20}
"""
MACHINES = """
title: Machines
data: {package: nlme, dataset: Machines}
levels: [{name: run}, {name: worker, id: Worker}]
outcome: {name: score}
predictors: {Machine: {level: run, type: category}}
"""
BOYS = """
title: Boys
data: {package: nlme, dataset: Oxboys}
levels: [{name: occasion}, {name: boy, id: Subject}]
outcome: {name: height}
predictors: {age: {level: occasion}}
"""
PASTES = """
title: Pastes
data: {package: lme4, dataset: Pastes}
levels:
  - {name: paste}
  - {name: cask, id: cask, within: batch}
  - {name: batch, plural: batches, id: batch}
outcome: {name: strength}
"""


def models(*formulas: str) -> str:
    listed = "".join(f'    - {{id: m{k}, formula: "{text}"}}\n' for k, text in enumerate(formulas))
    return f"models:\n  list:\n{listed}"


def told(found: Results) -> str:
    return compose(found, houses.find("base", Path()), ["html"])


def test_a_combination_is_the_only_grouping(run_spec: RunSpec) -> None:
    term = "(1 | Worker:Machine)"
    found = run_spec(MACHINES + models(f"score ~ 1 + {term}", f"score ~ Machine + {term}") + FAST)
    check_sound(found)

    assert value(found, "icc/Worker:Machine/icc") + value(found, "icc/level1") == pytest.approx(1)
    assert "combinations" in found.steps["fit"]["partition"]["reason"]
    text = told(found)
    assert r"Worker\:Machine combinations are no level of the data" in text
    assert r"the differences between Worker\:Machine combinations out of the residual" in text
    assert "Is a multilevel model needed?" not in text
    assert "How the fixed part predicts new groups is not given" in text


def test_combinations_beside_their_groups(run_spec: RunSpec) -> None:
    terms = "(1 | Worker) + (1 | Worker:Machine)"
    found = run_spec(MACHINES + models(f"score ~ 1 + {terms}", f"score ~ Machine + {terms}") + FAST)
    check_sound(found)
    shares = [value(found, f"icc/{of}/icc") for of in ("Worker", "Worker:Machine")]
    assert sum(shares) + value(found, "icc/level1") == pytest.approx(1)
    # Pinheiro and Bates (2000, p. 24), by REML: 4.78, 3.73 and 0.96.
    at = ("Worker/(Intercept)/sd", "Worker:Machine/(Intercept)/sd")
    assert [value(found, f"m1/var/{of}") for of in at] == pytest.approx([4.781, 3.730], abs=5e-4)
    # Each worker is a block of the data, with all combinations that lie in it.
    assert value(found, "fit/m1/leftout/outside") > value(found, "fit/m1/leftout/inside")
    told(found)


def test_slopes_over_a_combination(run_spec: RunSpec) -> None:
    cake = """
        data: {package: lme4, dataset: cake}
        levels: [{name: cake}, {name: batch, plural: batches, id: replicate}]
        outcome: {name: angle}
        predictors: {recipe: {level: cake, type: category}, temp: {level: cake, center: grand mean}}
        """.replace("\n        ", "\n")
    found = run_spec(
        "title: Cake" + cake + models("angle ~ recipe + temp + (temp | recipe:replicate)") + FAST
    )
    check_sound(found)
    (curve,) = found.steps["icc"]["curves"]
    assert curve["plural"] == "recipe:replicate combinations"
    told(found)


def test_random_effects_that_are_functions_of_a_fixed_polynomial(run_spec: RunSpec) -> None:
    spec = BOYS + models("height ~ poly(age, 4) + (age + I(age^2) | Subject)") + FAST
    found = run_spec(spec)
    check_sound(found)
    names = [entry["name"] for entry in found.steps["inference"]["named"]]
    ranks = [value(found, f"inference/compare/Subject/rank/{name}/lower") for name in names]
    assert ranks == sorted(ranks, reverse=True)
    assert 1 <= min(ranks) < max(ranks) <= 26
    told(found)


def test_a_null_model_of_the_higher_level_speaks_of_that_level(run_spec: RunSpec) -> None:
    found = run_spec(PASTES + models("strength ~ 1 + (1 | batch)") + FAST)
    check_sound(found)
    text = told(found)
    assert "variance between batches" in text
    assert "variance between casks" not in text


@pytest.mark.parametrize("term", ["(1 | batch/cask)", "(1 | batch) + (1 | batch:cask)"])
def test_a_level_within_another_has_its_own_share(run_spec: RunSpec, term: str) -> None:
    found = run_spec(PASTES + models(f"strength ~ 1 + {term}") + FAST)
    check_sound(found)
    # As `lmer(strength ~ 1 + (1 | batch/cask), Pastes)` prints them.
    taus = [value(found, f"icc/{of}/tau") for of in ("batch", "batch_cask")]
    assert [*taus, value(found, "icc/sigma2")] == pytest.approx([1.657, 8.434, 0.678], abs=5e-4)
    assert "Is a multilevel model needed?" in told(found)
