"""Any text is read or refused with a located error, in time that grows with its length alone."""
# ruff: noqa: E501  lines are as wide as the programs print them

from __future__ import annotations

import time
from pathlib import Path

import printers
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlmreport.crosscheck import outputs
from mlmreport.errors import MlmreportError

SIGNS = (
    "Mixed-effects ML regression   Number of obs = 10", "Log likelihood = -1.5", "x | Coef. Std. Err.",
    "   x | 1.5 .2 3 0.1 1 2", "-----+----", "Random-effects Parameters | Estimate Std. Err.",
    "var(_cons) | 1 2", "Estimates of Fixed Effects", "Parameter Estimate Std. Error df t Sig.",
    "Estimates of Covariance Parameters", "Residual 1 2", "UN (2,1) 3 4", "Information Criteria",
    "Covariance Parameter Estimates", "Cov Parm Subject Estimate", "UN(1,1) g 3", "Fit Statistics",
    "Solution for Fixed Effects", "Effect Estimate Error DF t Value Pr > |t|", "The Mixed Procedure",
    "Final estimation of fixed effects", "Fixed Effect Coefficient Error t-ratio d.f. p-value",
    "For INTRCPT1, B0", "INTRCPT2, G00 1 2 3 4 5", "tau", "SES,B1 1 2",
    "Final estimation of variance components", "Random Effect Standard Variance", "level-1, r 1 2",
    "Mplus VERSION 8", "MODEL RESULTS", "Estimate S.E. Est./S.E. P-Value", "Within Level", "Y ON",
    "X 1 2 3 4", "Between Level", "Residual Variances", "Linear mixed model fit by REML",
    "Random effects:", " Groups Name Variance Std.Dev. Corr", " g (Intercept) 1 2", "Fixed effects:",
    "Estimate Std. Error t value", "(Intercept) 1 2 3", "Family: gaussian ( identity )",
    "Conditional model:", "Linear mixed-effects model fit by ML", " Formula: ~1 | g", "StdDev: 1 2",
    "g = pdLogChol(1)", "Fixed Effects Parameter Estimates", "Names Effect Estimate SE Lower Upper",
    "Random Components", "Groups Name SD Variance ICC", "g: Variance Estimates", "Std. Deviation Variance",
    "MLwiN (version: 3)", "The fixed part estimates:", "The random part estimates at the g level:",
    "PARAMETER ESTIMATE S. ERROR(U)", "LEV. PARAMETER (NCONV) ESTIMATE S. ERROR", "{smcl}", "{col 9}{res}",
    "term,estimate,se", "Predictor;Model 1 B;Model 1 SE", "x,0.1 (0.2)", ",(0.1)", "x;0,5;[1; 2]",
    "term\testimate\t95% CI", "x\t1\t[0.1, 0.2]", '"a, b",1', "## ", ". regress y x", "> x", "1e999", "1,2,3",
)  # fmt: skip
LINES = st.one_of(
    st.sampled_from(SIGNS),
    st.text(alphabet="01.,;|\t -+eE<*()[]{}:=~#xyß−│\"'", max_size=40),
    st.text(max_size=20),
)
TEXTS = st.lists(LINES, max_size=14).map("\n".join)
PRINTED = [
    printer(printers.fitted("sleep-deprivation", "slopes"))[0]
    for printer in (
        printers.stata(15), printers.spss("tabs", comma=True), printers.spss("bars"), printers.sas,
        printers.hlm, printers.r2mlwin, printers.mplus,
    )
]  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """An output with some characters and lines lost, doubled or replaced."""
    text = draw(st.sampled_from(PRINTED))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text)))
        lost = draw(st.integers(0, 60))
        text = text[:at] + draw(LINES) + text[at + lost :]
    return text


def answers(text: str, folder: Path) -> None:
    """Claims, or an error that says where."""
    file = folder / "any.txt"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        printed = outputs.read(file)
    except MlmreportError as error:
        told = str(error)
    else:
        told = ""
    if told:
        assert str(file) in told
        return
    assert printed.claims
    for claim in printed.claims:
        assert claim.value == claim.value
        assert claim.location.line >= 1


QUICK = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@given(TEXTS)
@QUICK
def test_any_lines(tmp_path: Path, text: str) -> None:
    answers(text, tmp_path)


@given(damaged())
@QUICK
def test_damaged_outputs(tmp_path: Path, text: str) -> None:
    answers(text, tmp_path)


@pytest.mark.long
@given(st.one_of(TEXTS, damaged()))
@settings(QUICK, max_examples=2000)
def test_many(tmp_path: Path, text: str) -> None:
    answers(text, tmp_path)


HOSTILE = (
    *'1.,;|\t -+e<*()[]{}:=~#xé"\n',
    "1 ",
    "{c |}",
    "(1",
    ", 1",
    "a*",
    "1|",
    '"',
    "\n1",
    "<.",
    "ON\n",
)


@pytest.mark.parametrize("unit", HOSTILE)
@pytest.mark.parametrize(
    "head", ["", "Estimates of Fixed Effects\nParameter Estimate Std. Error\n"]
)
def test_a_megabyte_of_one_thing(tmp_path: Path, unit: str, head: str) -> None:
    text = head + unit * (1_000_000 // len(unit))
    begun = time.process_time()
    answers(text, tmp_path)
    assert time.process_time() - begun < 2
