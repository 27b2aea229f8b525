"""Checks of steps 3, 5 and 6 on data of R packages, against plain lme4 and nlme."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import dedent

import pytest
from support import RunSpec, check_sound, run_r, value

from mlmreport.quantities import Results, Table
from mlmreport.steps.checks import holm

pytestmark = pytest.mark.r

QUICK = """
    estimation: {check_optimizers: false, slope_simulations: 0METHOD}
    inference: {variance_ci: none, check_bootstrap: 0, r2_bootstrap: 0, icc_bootstrap: 0}
    """
SLEEP = """
    title: Sleep
    data: {package: lme4, dataset: sleepstudy}
    levels: [{name: measurement}, {name: person, id: Subject}]
    time: Days
    outcome: {name: Reaction, unit: ms}
    predictors: {Days: {level: measurement}}
    questions: [{id: Q1, text: 'Do persons differ?', kind: variance, terms: [Days]}]
    models: {list: [{id: slopes, fixed: [Days], random: {person: [1, Days]}}]}
    """
GROWTH = """
    title: Growth
    data: {package: mlmRev, dataset: egsingle}
    levels:
      - {name: measurement}
      - {name: pupil, id: childid}
      - {name: school, id: schoolid}
    time: year
    outcome: {name: math}
    predictors: {year: {level: measurement}, lowinc: {level: school}}
    models:
      list: [{id: full, fixed: ["year*lowinc"], random: {pupil: [1, year], school: [1, year]}}]
    """
LANGUAGE = """
    title: Language
    data: {package: nlme, dataset: bdf}
    levels: [{name: pupil}, {name: school, id: schoolNR}]
    outcome: {name: langPOST}
    predictors: {IQ.verb: {level: pupil}}
    models:
      list:
        - {id: "null", fixed: [], random: {school: [1]}}
        - {id: slopes, fixed: [IQ.verb], random: {school: [1, IQ.verb]}}
    estimation: {optimizer: bobyqa, slope_simulations: 0}
    inference: {variance_ci: none, check_bootstrap: 0, r2_bootstrap: 0, icc_bootstrap: 0}
    """
TRACER = """
    title: Tracer
    data: {package: nlme, dataset: IGF}
    levels: [{name: measurement}, {name: lot, id: Lot}]
    outcome: {name: conc}
    predictors: {age: {level: measurement}}
    models:
      list:
        - {id: "null", fixed: [], random: {lot: [1]}}
        - {id: drift, fixed: [age], random: {lot: [1]}}
    """


@pytest.fixture(scope="module")
def plain() -> Mapping[str, float]:
    return {name: float(text) for name, text in run_r("assumptions.R", "definitions")}


def quick(spec: str, method: str = "") -> str:
    return dedent(spec) + dedent(QUICK.replace("METHOD", method))


def near(results: Results, name: str, expected: float, rel: float = 1e-4) -> None:
    assert value(results, name) == pytest.approx(expected, rel=rel), name


def test_autoregressive_errors(run_spec: RunSpec, plain: Mapping[str, float]) -> None:
    found = run_spec(quick(SLEEP))
    check_sound(found)
    at = "assumptions/autocorrelation/ar"
    near(found, f"{at}/phi", plain["sleep/phi"])
    near(found, f"{at}/chisq", plain["sleep/chisq"])
    near(found, f"{at}/var/Subject/(Intercept)/sd", plain["sleep/intercept"])
    near(found, f"{at}/var/Subject/Days/sd", plain["sleep/slope"])
    errors = found.steps["assumptions"]["autocorrelation"]["errors"]
    # The fixed effects stay, the variances do not: the intercepts' falls to a third.
    assert errors["varied"]
    assert errors["limit"]
    assert not errors["matters"]
    assert "slopes/var/Subject/Days/sd" in errors["parts"]


@pytest.mark.long
def test_slopes_and_errors_of_nested_groupings(
    run_spec: RunSpec, plain: Mapping[str, float]
) -> None:
    found = run_spec(quick(GROWTH, ", method: ML"))
    check_sound(found)
    for key, name in (
        ("year/removed", "pupils/removed"),
        ("year/independent", "pupils/independent"),
        ("year/schoolid/removed", "schools/removed"),
        ("year/schoolid/independent", "schools/independent"),
    ):
        # Fits that lme4 complains of are made again by its other optimizers.
        near(found, f"models/slope/{key}/chisq", plain[f"growth/{name}"], 1e-3)
        assert value(found, f"models/slope/{key}/df") == (2 if "removed" in key else 1)
    at = "assumptions/autocorrelation/ar"
    near(found, f"{at}/phi", plain["growth/phi"], 1e-3)
    near(found, f"{at}/chisq", plain["growth/chisq"], 1e-3)
    near(found, f"{at}/var/childid/year/sd", plain["growth/pupil slope"], 1e-3)
    near(found, f"{at}/var/schoolid/year/sd", plain["growth/school slope"], 1e-3)
    # A predictor of schools is held against the effects of the 60 schools.
    near(found, "assumptions/between/lowinc/departure", plain["growth/bend"], 2e-3)
    linearity = found.steps["assumptions"]["linearity"]["entries"]
    assert {e["label"]: e["plural"] for e in linearity if e["where"] == "between"} == {
        "year": "pupils",
        "lowinc": "schools",
    }


def test_a_predictor_far_from_its_zero(run_spec: RunSpec, plain: Mapping[str, float]) -> None:
    found = run_spec(dedent(LANGUAGE))
    check_sound(found)
    at = "assumptions/exogeneity/IQ.verb"
    near(found, f"{at}/estimate", plain["language/difference"], 1e-3)
    near(found, f"{at}/t", plain["language/t"], 1e-3)
    near(found, f"{at}/df", plain["language/df"], 5e-3)
    at = "assumptions/spread/over/IQ.verb"
    near(found, f"{at}/low", plain["language/low"])
    near(found, f"{at}/high", plain["language/high"])
    near(found, f"{at}/ratio", plain["language/high"] / plain["language/low"])
    near(found, f"{at}/correlation", plain["language/correlation"], 1e-3)
    near(found, f"{at}/p", plain["language/p"], 0.02)
    assert not found.steps["assumptions"]["spread"]["even"]
    # By the modes at zero of the predictor, or with the line through them, it would be a bend.
    near(found, "assumptions/between/IQ.verb/departure", plain["language/bend"], 2e-3)
    assert not found.steps["assumptions"]["linearity"]["bent"]
    near(found, "fit/slopes/reduction/schoolNR", plain["language/reduction"], 1e-3)


def test_a_side_fit_that_stops_short_is_made_again(
    run_spec: RunSpec, plain: Mapping[str, float]
) -> None:
    text = LANGUAGE.replace("optimizer: bobyqa", "check_optimizers: false")
    found = run_spec(dedent(text))
    at = "assumptions/exogeneity/IQ.verb"
    near(found, f"{at}/estimate", plain["language/difference"], 1e-3)
    near(found, f"{at}/t", plain["language/t"], 1e-3)


def test_outlying_rows(run_spec: RunSpec, plain: Mapping[str, float]) -> None:
    found = run_spec(quick(TRACER))
    check_sound(found)
    at = "assumptions/outlying"
    assert value(found, f"{at}/rows") == 6
    assert value(found, f"{at}/1/row") == plain["tracer/first"]
    near(found, f"{at}/age/estimate", plain["tracer/age"])
    near(found, f"{at}/sigma", plain["tracer/sigma"])
    near(found, f"{at}/without/icc/Lot", plain["tracer/icc"])
    # Simulated: four standard errors of 10,000 samples.
    assert value(found, f"{at}/without/p") == pytest.approx(plain["tracer/p"], abs=0.007)
    facts = found.steps["assumptions"]["outlying"]
    assert facts["verdict"]
    table = facts["table"]
    assert isinstance(table, Table)
    assert [row.cells[0] for row in table.rows] == ["3", "7", "7", "3", "4", "3"]


def test_a_transformation_for_outliers_in_both_tails(
    run_spec: RunSpec, plain: Mapping[str, float]
) -> None:
    found = run_spec(quick(TRACER))
    for scale in ("model", "log", "sqrt"):
        near(found, f"assumptions/scale/{scale}/aic", plain[f"tracer/aic/{scale}"], 1e-6)
    facts = found.steps["assumptions"]["transformation"]
    # The square root has less skewness, and more kurtosis and a higher AIC.
    skewness = [value(found, f"assumptions/scale/{scale}/skewness") for scale in ("model", "sqrt")]
    assert abs(skewness[1]) < abs(skewness[0])
    assert facts["advised"] == ""
    assert facts["tails"]


def test_holm() -> None:
    # p.adjust(c(.01, .04, .03, .005), "holm") of R: .03, .06, .06, .02
    assert holm(0.05, [0.01, 0.04, 0.03, 0.005]) == [True, False, False, True]
    assert holm(0.05, [0.04, None]) == [True, False]
    assert holm(0.05, [None]) == [False]
