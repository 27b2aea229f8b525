"""The analyses that ship with the project give the numbers that others have printed."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize
from support import ANALYSES, ROOT, check_sound, value

from mlmreport.analysis import analyse, check
from mlmreport.engine.session import package_dataset
from mlmreport.quantities import Results
from mlmreport.spec.reader import load

pytestmark = pytest.mark.r

Analysed = Callable[[str], Results]
NELS = ROOT.parent / "shared" / "data" / "nels88-school23.csv"


def near(printed: str, *, units: float = 0.5) -> object:
    """As printed: within half a unit of the last digit, or so many units of it."""
    last = 10.0 ** -len(printed.partition(".")[2])
    return pytest.approx(float(printed), abs=units * last * (1 + 1e-9))


@pytest.mark.parametrize(
    "name",
    [
        "hsb-textbook", "school-achievement", "simulated-schools", "sleep-deprivation",
        "infant-cognition", "language-and-intelligence", "tracer-lots",
    ],
)  # fmt: skip
def test_every_value_is_finite_or_missing_for_a_reason(analysed: Analysed, name: str) -> None:
    check_sound(analysed(name))


# --- High School and Beyond -----------------------------------------------------------------------
# Raudenbush & Bryk (2002), chapter 4, print the estimates of HLM. Theirs and lme4's differ where
# HLM stops a little before the optimum; there the allowance stands beside the number.


def test_hsb_one_way_anova(analysed: Analysed) -> None:
    found = analysed("hsb-textbook")
    assert value(found, "null/fixef/(Intercept)/estimate") == near("12.64")
    assert value(found, "null/fixef/(Intercept)/se") == near("0.24")
    assert value(found, "null/var/School/(Intercept)/variance") == near("8.61")
    assert value(found, "null/sigma2") == near("39.15")
    assert value(found, "icc/School/icc") == near("0.18")
    assert value(found, "icc/reliability") == near("0.90")
    assert value(found, "structure/n") == 7185
    assert value(found, "structure/school/groups") == 160


def test_hsb_means_as_outcomes(analysed: Analysed) -> None:
    found = analysed("hsb-textbook")
    assert value(found, "means/fixef/(Intercept)/estimate") == near("12.65")
    assert value(found, "means/fixef/meanses/estimate") == near("5.86")
    assert value(found, "means/fixef/meanses/se") == near("0.36")
    assert value(found, "means/var/School/(Intercept)/variance") == near("2.64")
    assert value(found, "means/sigma2") == near("39.16")
    # (8.61 - 2.64) / 8.61: mean SES accounts for 69 % of the variance between schools.
    assert value(found, "fit/means/reduction/School") == near("0.69")


def test_hsb_random_coefficients(analysed: Analysed) -> None:
    found = analysed("hsb-textbook")
    assert value(found, "coefficients/fixef/(Intercept)/estimate") == near("12.64")
    assert value(found, "coefficients/fixef/(Intercept)/se") == near("0.24")
    assert value(found, "coefficients/fixef/ses_within/estimate") == near("2.19")
    assert value(found, "coefficients/fixef/ses_within/se") == near("0.13")
    assert value(found, "coefficients/var/School/(Intercept)/variance") == near("8.68")
    # Printed .68; REML by lme4, nlme and SAS has its optimum at .694 (HLM stopped at .68).
    assert value(found, "coefficients/var/School/ses_within/variance") == near("0.68", units=1.5)
    assert value(found, "coefficients/sigma2") == near("36.70")


def test_hsb_intercepts_and_slopes_as_outcomes(analysed: Analysed) -> None:
    """The cross-level model, whose intercept depends on how SES is centred.

    The set of nlme holds the school means of SES rounded to 3 decimals. As in the book they are a
    predictor as they stand, and SES is centred on the means of the sample: 12.10. Centred on the
    rounded means the intercept is 12.1136 (Singer, 1998; published/hsb-cross-level.yml), and with
    computed means in both places 12.1279.
    """
    found = analysed("hsb-textbook")
    at = "outcomes/fixef/"
    assert value(found, f"{at}(Intercept)/estimate") == near("12.10")
    assert value(found, f"{at}meanses/estimate") == near("5.33")
    assert value(found, f"{at}sectorCatholic/estimate") == near("1.23")
    assert value(found, f"{at}ses_within/estimate") == near("2.94")
    # Printed 1.03 from HLM; the optimum is at 1.0389, as PROC MIXED has it too.
    assert value(found, f"{at}ses_within:meanses/estimate") == near("1.03", units=1)
    assert value(found, f"{at}ses_within:sectorCatholic/estimate") == near("-1.64")
    assert value(found, f"{at}meanses/se") == near("0.37")
    assert value(found, f"{at}sectorCatholic/se") == near("0.31")
    assert value(found, f"{at}ses_within/se") == near("0.16")
    assert value(found, f"{at}ses_within:meanses/se") == near("0.30")
    assert value(found, f"{at}ses_within:sectorCatholic/se") == near("0.24")
    assert value(found, "outcomes/var/School/(Intercept)/variance") == near("2.38")
    # The residual variance and that of the slopes as Singer (1998) has them: HLM stops before them.
    assert value(found, "outcomes/sigma2") == near("36.72")
    assert value(found, "outcomes/var/School/ses_within/variance") == near("0.10")


def test_both_sets_of_the_schools_agree(analysed: Analysed) -> None:
    """The two CSV files are the sets of nlme: the null models are one."""
    textbook, files = analysed("hsb-textbook"), analysed("school-achievement")
    for name in ("fixef/(Intercept)/estimate", "sigma2", "criterion"):
        assert value(textbook, f"null/{name}") == pytest.approx(
            value(files, f"null/{name}"), rel=1e-9
        )


# --- sleepstudy -----------------------------------------------------------------------------------


def restricted_rise(sd: float, held: int) -> float:
    """By how much the REML criterion of the sleep study rises with the SD of one effect held.

    All persons have the same ten days, so their least-squares lines, 18 independent normal pairs,
    and the residuals around them, 144 df, hold all there is.
    """
    y = package_dataset("lme4", "sleepstudy")["Reaction"].to_numpy(float).reshape(18, 10)
    x = np.column_stack([np.ones(10), np.arange(10)])
    inverse = np.linalg.inv(x.T @ x)
    lines = y @ x @ inverse
    residual = float(((y - lines @ x.T) ** 2).sum())
    scatter = (lines - lines.mean(axis=0)).T @ (lines - lines.mean(axis=0))

    def criterion(log_a: float, log_b: float, z: float, log_s: float) -> float:
        a, b, r, s2 = np.exp(log_a), np.exp(log_b), np.tanh(z), np.exp(2 * log_s)
        v = np.array([[a * a, r * a * b], [r * a * b, b * b]]) + s2 * inverse
        return float(
            17 * np.linalg.slogdet(v)[1] + np.trace(np.linalg.solve(v, scatter))
            + 144 * np.log(s2) + residual / s2
        )  # fmt: skip

    start = [np.log(25), np.log(6), 0.07, np.log(25)]
    tight = {"gtol": 1e-10}
    least = minimize(lambda p: criterion(*p), start, options=tight).fun

    def rest(free: np.ndarray) -> float:
        return criterion(*np.insert(free, held, np.log(sd)))

    return float(minimize(rest, np.delete(start, held), options=tight).fun - least)


def test_sleep_deprivation(analysed: Analysed) -> None:
    """Bates, Mächler, Bolker & Walker (2015), sections 1 and 5."""
    found = analysed("sleep-deprivation")
    assert value(found, "slopes/fixef/(Intercept)/estimate") == near("251.405")
    assert value(found, "slopes/fixef/(Intercept)/se") == near("6.825")
    assert value(found, "slopes/fixef/Days/estimate") == near("10.467")
    assert value(found, "slopes/fixef/Days/se") == near("1.546")
    assert value(found, "slopes/var/Subject/(Intercept)/sd") == near("24.741")
    assert value(found, "slopes/var/Subject/Days/sd") == near("5.922")
    assert value(found, "slopes/var/Subject/Days/cor/(Intercept)") == near("0.07")
    assert value(found, "slopes/sigma") == near("25.592")
    assert value(found, "slopes/criterion") == near("1743.6")
    # The article's profile intervals are by ML, see tests/published; these are by REML.
    for name, kept in (("(Intercept)", 0), ("Days", 1)):
        for end in ("lower", "upper"):
            at = value(found, f"slopes/var/Subject/{name}/sd/{end}")
            assert restricted_rise(at, kept) == pytest.approx(3.841459, abs=1e-3)


# --- hard cases ---------------------------------------------------------------------------------


def test_the_best_log_likelihood_is_reported(analysed: Analysed) -> None:
    """Language by verbal intelligence on its own scale, where lme4's default stops short.

    The log-likelihoods by lme4 1.1 in a session of its own: nloptwrap -7618.327 with a degenerate
    Hessian, bobyqa and Nelder_Mead -7617.314.
    """
    found = analysed("language-and-intelligence")
    assert value(found, "slopes/criterion") == near("15234.63", units=2)
    assert value(found, "slopes/optimizer/nloptwrap/gain") == near("-1.013", units=1)
    assert abs(value(found, "slopes/optimizer/Nelder_Mead/gain")) < 1e-3
    assert value(found, "slopes/fixef/IQ.verb/estimate") == near("2.527")
    assert value(found, "slopes/fixef/IQ.verb/se") == near("0.0818")
    assert value(found, "slopes/var/schoolNR/IQ.verb/cor/(Intercept)") == near("-0.975")
    facts = found.steps["models"]["examined"]["optimizers"]["final"]
    assert (facts["first"], facts["used"], facts["switched"]) == ("nloptwrap", "bobyqa", True)
    assert not found.steps["models"]["unconverged"]
    complaints = [c for c in found.conditions if "degenerate" in c["text"]]
    assert {c["where"] for c in complaints} == {"opt_slopes_nloptwrap"}


def test_a_correlation_at_its_limit(analysed: Analysed) -> None:
    found = analysed("infant-cognition")
    assert value(found, "slopes/var/id/age_c/cor/(Intercept)") == pytest.approx(-1, abs=1e-4)
    assert value(found, "models/pca/id/dimensions") == 1
    facts = found.steps["models"]["examined"]
    assert facts["boundary"]["limits"]
    assert not facts["boundary"]["zero"]
    assert facts["optimizers"]["final"]["agreeing"] == ("bobyqa", "Nelder_Mead")


def test_no_multilevel_model_is_needed(analysed: Analysed) -> None:
    found = analysed("tracer-lots")
    between, within = value(found, "null/var/Lot/(Intercept)/sd"), value(found, "null/sigma")
    assert between == near("0.067984", units=20)
    assert within == near("0.828520", units=20)
    assert value(found, "icc/Lot/icc") == pytest.approx(between**2 / (between**2 + within**2))
    assert value(found, "icc/exact/p") > 0.2
    assert found.steps["icc"]["verdict"] == "unneeded"


# --- simulated data -------------------------------------------------------------------------------


def test_the_truth_lies_inside_its_intervals(analysed: Analysed) -> None:
    found = analysed("simulated-schools")
    model = found.steps["models"]["final"]["id"]
    for name, truth in (("(Intercept)", 0.0), ("ses", 0.5), ("resources", 0.3)):
        at = f"{model}/fixef/{name}"
        assert value(found, f"{at}/lower") < truth < value(found, f"{at}/upper")
    for name in ("school/(Intercept)", "residual/residual"):
        at = f"{model}/var/{name}/sd"
        assert value(found, f"{at}/lower") < 0.5 < value(found, f"{at}/upper")
    assert found.steps["interpretation"]["truth"]["all_inside"] is True
    assert value(found, "structure/n") == 500
    assert value(found, "structure/school/groups") == 100


def test_the_seed_alone_decides_the_data(tmp_path: Path) -> None:
    source = ANALYSES / "simulated-schools" / "analysis.yml"
    first, second = (check(load(source)).frame for _ in range(2))
    assert first.to_csv().encode() == second.to_csv().encode()
    other = tmp_path / "analysis.yml"
    other.write_text(source.read_text(encoding="utf-8").replace("seed: 2026", "seed: 2027"))
    assert not first["ses"].equals(check(load(other)).frame["ses"])


# --- three levels ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def growth(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Growth in schools without what takes long and is looked at elsewhere."""
    source = (ANALYSES / "growth-in-schools" / "analysis.yml").read_text(encoding="utf-8")
    path = tmp_path_factory.mktemp("growth") / "analysis.yml"
    fast = "  patience: 3\n  compare_structures: false\n  slope_tests: 0\n"
    source = re.sub(r"  patience: .*\n", fast, source)
    source += "\ninference: {variance_ci: none, icc_bootstrap: 0}\n"
    path.write_text(source, encoding="utf-8")
    return analyse(load(path), lambda *_: None)[0]


@pytest.mark.long
def test_growth_in_schools(growth: Results) -> None:
    """The growth models of the HLM manual; as quoted from memory, and as lme4 confirms them."""
    check_sound(growth)
    assert value(growth, "structure/n") == 7230
    assert value(growth, "structure/school/units/mean") == pytest.approx(1721 / 60)
    assert value(growth, "structure/relation/childid/schoolid/in_several") == 0
    assert value(growth, "slopes/criterion") == near("16326.2")
    assert value(growth, "slopes/fixef/year/estimate") == near("0.7630")
    assert value(growth, "slopes/var/schoolid/year/variance") == near("0.0110")
    # Shares of a pupil's variable between schools are over pupils, those of the outcome over rows.
    assert 0 < value(growth, "structure/variable/black/between/schoolid") < 1
    assert "structure/variable/black/between/childid" not in growth.items


def test_course_evaluations_are_a_sound_spec() -> None:
    """The fits take minutes; the tests of `patience` run a crossed model of the same form."""
    found = check(load(ANALYSES / "course-evaluations" / "analysis.yml")).frame
    assert (len(found), found["s"].nunique(), found["d"].nunique()) == (73421, 2972, 1128)


# --- NELS:88 --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nels(tmp_path_factory: pytest.TempPathFactory) -> Results:
    if not NELS.exists():
        pytest.skip(f"the data are not part of the project and not at {NELS}")
    folder = tmp_path_factory.mktemp("nels88")
    shutil.copy(ANALYSES / "nels88" / "analysis.yml", folder)
    shutil.copy(NELS, folder)
    return analyse(load(folder / "analysis.yml"), lambda *_: None)[0]


def test_nels88(nels: Results) -> None:
    check_sound(nels)
    assert value(nels, "structure/n") == 519
    assert value(nels, "structure/school/groups") == 23
    assert value(nels, "null/var/school_id/(Intercept)/sd") == near("5.111")
    assert value(nels, "null/sigma") == near("9.014")
    assert value(nels, "icc/school_id/icc") == near("0.243")
    assert value(nels, "students/var/school_id/(Intercept)/sd") == near("3.018")
    assert value(nels, "students/sigma") == near("8.689")
    assert value(nels, "students/fixef/ses/estimate") == near("3.908")
