"""What fits by several optimizers say of the one that is reported."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support import RunSpec, check_sound, value

from mlmreport.engine.session import R_FOLDER
from mlmreport.report import houses
from mlmreport.report.document import compose
from mlmreport.steps.optimizers import Other, Verdict, verdict_of

SAME = Other(covariance=1e-6, singular=False, complained=False, examined=True)
AT_ZERO = Other(covariance=1e-6, singular=True, complained=False, examined=False)
AT_EDGE = Other(covariance=0.03, singular=True, complained=False, examined=False)
ELSEWHERE = Other(covariance=0.4, singular=False, complained=False, examined=True)
COMPLAINED = Other(covariance=1e-6, singular=False, complained=True, examined=True)
UNSEEN = Other(covariance=1e-6, singular=False, complained=False, examined=False)


@pytest.mark.parametrize(
    ("others", "agreeing", "alarm", "expected"),
    [
        ([], [], True, Verdict.ALONE),
        ([SAME], [], True, Verdict.UNCONFIRMED),
        ([SAME, SAME], [0, 1], False, Verdict.CONFIRMED),
        ([SAME, SAME], [0, 1], True, Verdict.FALSE_ALARM),
        ([COMPLAINED, SAME], [0, 1], True, Verdict.CONFIRMED),
        # The same likelihood elsewhere, singular there, or singular but for rounding.
        ([SAME, ELSEWHERE], [0, 1], True, Verdict.UNIDENTIFIED),
        ([SAME, ELSEWHERE], [0], True, Verdict.FALSE_ALARM),
        ([AT_EDGE], [0], True, Verdict.UNIDENTIFIED),
        ([AT_ZERO], [0], False, Verdict.CONFIRMED),
        # Where lme4 did not look its silence clears nothing.
        ([UNSEEN], [0], True, Verdict.CONFIRMED),
    ],
)
def test_the_verdict(
    others: list[Other], agreeing: list[int], alarm: bool, expected: Verdict
) -> None:
    named = {str(k): other for k, other in enumerate(others)}
    names = [str(k) for k in agreeing]
    assert verdict_of(named, names, singular=False, alarm=alarm, flat=False) is expected


@pytest.mark.r
def test_a_covariance_matrix_that_the_data_do_not_identify(run_spec: RunSpec) -> None:
    """Two random slopes of equal columns: the likelihood knows their sum alone."""
    rng = np.random.default_rng(5)
    g = np.repeat(np.arange(20), 8)
    x = rng.normal(size=160).round(3)
    u, v = rng.normal(size=(2, 20))
    y = (u[g] + (0.5 + 0.6 * v[g]) * x + rng.normal(size=160)).round(3)
    frame = pd.DataFrame({"g": g, "x": x, "z": x, "y": y})
    found = run_spec(
        """
title: Twins
data: {file: d.csv}
levels: [{name: pupil}, {name: school, id: g}]
outcome: {name: y}
predictors: {x: {level: pupil}, z: {level: pupil}}
models: {list: [{id: m, formula: "y ~ x + (x + z | school)"}]}
estimation: {slope_tests: 0, compare_structures: false}
inference: {variance_ci: none, df_comparison: 0, check_bootstrap: 0, r2_bootstrap: 0}
""".replace("| school", "| g"),
        {"d.csv": frame},
    )
    check_sound(found)
    final = found.steps["models"]["examined"]["optimizers"]["final"]
    assert final["verdict"] == "unidentified"
    assert max(value(found, f"m/optimizer/{name}/covariance") for name in final["agreeing"]) > 0.1
    text = compose(found, houses.find("base", Path()), ["html"])
    assert "the data do not identify it" in text
    assert "false alarm" not in text
    assert "do not identify this covariance matrix" in text


@pytest.mark.r
def test_derivatives_are_asked_for_where_lme4_would_skip_them() -> None:
    file = R_FOLDER / "conditions.R"
    known = 'c("optimizer", "check.conv.nobsmax")'
    calls = f'control_call("bobyqa", {known}), control_call(known = "optimizer")'
    script = f'source("{file}"); for (call in list({calls})) cat(deparse(call), "\\n")'
    done = subprocess.run(["Rscript", "-e", script], capture_output=True, text=True, check=True)
    with_limit, without = done.stdout.splitlines()
    assert with_limit == 'lmerControl(optimizer = "bobyqa", check.conv.nobsmax = Inf) '
    assert without == "NULL "


@pytest.mark.r
def test_a_numerical_zero_is_a_zero() -> None:
    """A variance that an optimizer leaves next to its boundary."""
    script = f"""
    suppressPackageStartupMessages(library(lme4)); source("{R_FOLDER / "definitions.R"}")
    m <- lmer(Yield ~ 1 + (1 | Batch), Dyestuff)
    sd <- function(theta) {{
      m@theta <- theta
      m@pp$setTheta(theta)
      sqrt(component(m, "Batch", 1)) / sigma(m)
    }}
    cat(sd(1e-7), sd(1e-5), sd(0.5))
    """
    done = subprocess.run(["Rscript", "-e", script], capture_output=True, text=True, check=True)
    assert [float(word) for word in done.stdout.split()] == pytest.approx([0, 1e-5, 0.5], rel=1e-6)
