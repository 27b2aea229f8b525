"""What is left out for the time it takes, and that the report says so."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from support import RunSpec, check_sound, reason, value

from mlmreport.analysis import analyse
from mlmreport.engine.fits import Fit
from mlmreport.quantities import Results
from mlmreport.spec.reader import load
from mlmreport.steps.cost import df_evaluations, evaluations, fit_seconds

pytestmark = pytest.mark.r

CROSSED = """
title: Crossed
data: {file: ratings.csv}
levels: [{name: rating}, {name: rater, id: rater}, {name: lecture, id: lecture}]
structure: crossed
outcome: {name: y}
predictors: {x: {level: rating}, kind: {level: rating, type: category}}
models:
  list:
    - {id: "null", fixed: [], random: {rater: [1], lecture: [1]}}
    - {id: full, fixed: [x, kind], random: {rater: [1], lecture: [1]}}
estimation: {patience: 0}
inference: {fixed_ci: profile, r2_bootstrap: 50, check_bootstrap: 50}
"""


def ratings() -> pd.DataFrame:
    rng = np.random.default_rng(8)
    rater, lecture = rng.integers(0, 25, 300), rng.integers(0, 15, 300)
    frame = pd.DataFrame({"rater": rater, "lecture": lecture, "x": rng.normal(size=300)})
    frame["kind"] = rng.choice(["a", "b", "c"], 300)
    level = rng.normal(size=25)[rater] + rng.normal(size=15)[lecture]
    frame["y"] = level + 0.4 * frame["x"] + rng.normal(size=300)
    return frame.astype({"rater": str, "lecture": str})


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("crossed")
    ratings().to_csv(folder / "ratings.csv", index=False)
    (folder / "analysis.yml").write_text(CROSSED, encoding="utf-8")
    return analyse(load(folder / "analysis.yml"), lambda *_: None)[0]


def test_without_patience_the_report_is_made_and_says_what_is_missing(impatient: Results) -> None:
    found = impatient
    check_sound(found)
    steps = found.steps
    for said in (
        steps["models"]["asymptotic"],
        steps["models"]["no_intervals"],
        steps["models"]["no_fixed_ci"],
        steps["fit"]["bootstrap"]["too_long"],
        steps["assumptions"]["remedies"]["no_samples"],
        steps["icc"]["no_profile"],
        steps["icc"]["no_bootstrap"],
        steps["models"]["examined"]["optimizers"]["reason"],
        steps["models"]["examined"]["slopes"]["too_long"],
        steps["assumptions"]["influence"][0]["too_long"],
        steps["assumptions"]["exogeneity"]["too_long"],
    ):
        assert "estimation.patience" in said
    left_out = [d for d in found.decisions if d.outcome.startswith("left out")]
    assert len(left_out) >= 10
    assert "icc/rater/lower" not in found.items
    assert "full/var/rater/(Intercept)/sd/lower" not in found.items


def test_tests_by_the_normal_distribution(impatient: Results) -> None:
    """Against the formulas: z, its p, the interval."""
    found = impatient
    at = "full/fixef/x"
    b, se = value(found, f"{at}/estimate"), value(found, f"{at}/se")
    assert value(found, f"{at}/t") == pytest.approx(b / se)
    assert value(found, f"{at}/upper") == pytest.approx(b + 1.959963984540054 * se)
    assert value(found, f"{at}/p") == pytest.approx(math.erfc(abs(b / se) / math.sqrt(2)))
    assert "normal distribution" in reason(found, f"{at}/df")
    assert "normal distribution" in reason(found, "interpretation/joint/kind/df2")
    assert 0 < value(found, "interpretation/joint/kind/p") < 1


def test_predicted_times() -> None:
    assert evaluations(2) == 48
    # numDeriv's Richardson extrapolation with 3 parameters: 49 for the Hessian, 24 for the rest.
    assert df_evaluations(2) == 73
    fit = Fit(
        "m",
        (),
        (),
        {},
        {},
        False,
        (),
        "nloptwrap",
        evaluation=0.5,
        parameters=2,
        ahead=False,
        examined=True,
    )
    assert fit_seconds(fit) == 24
    assert fit_seconds(fit, df=True) == 24 + 36.5
    assert fit_seconds(fit, 1) == 11
    assert fit_seconds(replace(fit, ahead=True), df=True) == 3


def pupils() -> pd.DataFrame:
    """Twenty pupils at three occasions in four schools; two of them change school."""
    frame = pd.DataFrame([(p, t, p // 5) for p in range(20) for t in range(3)],
                         columns=["pupil", "t", "school"])  # fmt: skip
    frame.loc[(frame["pupil"].isin([0, 19])) & (frame["t"] == 2), "school"] = 2
    rng = np.random.default_rng(4)
    frame["y"] = rng.normal(size=20)[frame["pupil"]] + rng.normal(size=60)
    return frame.astype({"pupil": str, "school": str})


def test_pupils_who_change_schools(run_spec: RunSpec) -> None:
    found = run_spec(
        """
title: Movers
data: {file: pupils.csv}
levels: [{name: occasion}, {name: pupil, id: pupil}, {name: school, id: school}]
structure: crossed
outcome: {name: y}
models: {list: [{id: "null", fixed: [], random: {pupil: [1], school: [1]}}]}
inference: {variance_ci: none, icc_bootstrap: 0}
""",
        {"pupils.csv": pupils()},
    )
    at = "structure/relation/pupil/school"
    assert value(found, f"{at}/in_several") == 2
    assert value(found, f"{at}/occupied") == 22
    assert value(found, f"{at}/cells") == 80
    assert value(found, f"{at}/lower/most") == 2
    assert value(found, f"{at}/lower/mean") == pytest.approx(22 / 20)
    (relation,) = found.steps["structure"]["relations"]
    assert relation["some"] is True
    assert relation["full"] is False
    figure = found.steps["structure"]["figures"]["structure"]
    assert figure.data["partly"] is True
