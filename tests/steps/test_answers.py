"""Answers, and correlations elsewhere than at zero, against refits that have them as parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support import RunSpec, value

from mlmreport.quantities import Quantity, Results

pytestmark = pytest.mark.r

BLEND = """\
title: A blend
data: {file: d.csv}
levels: [{name: pupil}, {name: class, plural: classes, id: class}]
outcome: {name: y, label: score, unit: points}
predictors: {x: {level: pupil, label: effort, unit: hour, PREPARED}}
questions:
  - {id: Q1, text: "Does effort matter?", kind: within, terms: [x]}
  - {id: Q2, text: "Do classes differ?", kind: variance}
models: {list: [{id: "null", fixed: [], random: {class: [1]}},
                {id: m, fixed: FIXED, random: {class: [1]}}]}
inference: {variance_ci: none, df_comparison: 0, icc_bootstrap: 0}
estimation: {check_optimizers: false, slope_tests: 0}
"""


def classes() -> pd.DataFrame:
    """Ten pupils in each of 30 classes; effort matters more between classes than within."""
    rng = np.random.default_rng(4)
    group = np.repeat(np.arange(30), 10)
    x = rng.normal(size=300) + rng.normal(size=30)[group]
    mean = pd.Series(x).groupby(group).transform("mean")
    y = 10 + 0.4 * x + 1.2 * mean + 0.6 * rng.normal(size=30)[group] + rng.normal(size=300)
    return pd.DataFrame({"class": group, "x": x, "y": y})


def blend(prepared: str = "center: none", fixed: str = "[x]") -> str:
    return BLEND.replace("PREPARED", prepared).replace("FIXED", fixed)


def only(answer: dict[str, Any], part: str) -> dict[str, Any]:
    (found,) = answer[part]
    assert isinstance(found, dict)
    return found


def test_the_effect_within_groups_is_that_of_the_centred_predictor(run_spec: RunSpec) -> None:
    table = {"d.csv": classes()}
    found = run_spec(blend(), table)
    centred = run_spec(blend("center: group mean, contextual: true", "[x, x_mean]"), table)
    for what in ("estimate", "se", "t", "lower", "upper"):
        expected = value(centred, f"m/fixef/x_within/{what}")
        assert value(found, f"inference/within/x/{what}") == pytest.approx(expected, rel=1e-4)
    assert value(found, "m/fixef/x/estimate") > value(found, "inference/within/x/estimate")
    answers = found.steps["inference"]["answers"]
    assert only(answers[0], "effects")["within"]["estimate"].id == "inference/within/x/estimate"
    own = only(centred.steps["inference"]["answers"][0], "effects")
    assert own["within"] is None


def test_a_variance_is_answered_with_its_test_and_its_share(run_spec: RunSpec) -> None:
    answers = run_spec(blend(), {"d.csv": classes()}).steps["inference"]["answers"]
    part = only(answers[1], "variance")
    assert part["test"]["kind"] == "exact"
    assert part["test"]["p"].value < 0.001
    assert part["share"]["icc"].id == "icc/class/icc"
    assert part["unshown"] is False
    flat = classes()
    flat["y"] -= flat.groupby("class")["y"].transform("mean")
    part = only(run_spec(blend(), {"d.csv": flat}).steps["inference"]["answers"][1], "variance")
    assert part["unshown"] is True


def test_the_correlation_at_the_mean_is_that_of_a_centred_predictor(
    analysed: Callable[[str], Results], run_spec: RunSpec
) -> None:
    found = analysed("sleep-deprivation")
    centred = run_spec(
        """title: Sleep
data: {package: lme4, dataset: sleepstudy}
levels: [{name: day}, {name: person, id: Subject}]
outcome: {name: Reaction}
predictors: {Days: {level: day, center: 4.5}}
models: {list: [{id: m, fixed: [Days], random: {person: [1, Days]}}]}
inference: {variance_ci: none, df_comparison: 0}
estimation: {check_optimizers: false, compare_structures: false, slope_tests: 0}
"""
    )
    at = "interpretation/correlation/Subject/Days"
    assert value(found, f"{at}/mean") == pytest.approx(4.5)
    expected = value(centred, "m/var/Subject/Days_c/cor/(Intercept)")
    assert value(found, f"{at}/there") == pytest.approx(expected, abs=1e-3)
    assert (
        value(found, f"{at}/there") - value(found, "slopes/var/Subject/Days/cor/(Intercept)") > 0.3
    )


def test_limits_of_a_standard_deviation_have_its_decimals(
    analysed: Callable[[str], Results],
) -> None:
    found, at = analysed("tracer-lots"), "drift/var/Lot/(Intercept)/sd"
    assert 0.01 < value(found, at) < 0.1 < value(found, f"{at}/upper")
    items = (found.items[name] for name in (at, f"{at}/lower", f"{at}/upper"))
    assert [item.digits for item in items if isinstance(item, Quantity)] == [3, 3, 3]


def test_effects_in_interactions_are_answered_on_average(
    analysed: Callable[[str], Results],
) -> None:
    found = analysed("infant-cognition")
    effect = only(found.steps["inference"]["answers"][0], "effects")
    # 58 of the 103 infants are in the programme, each tested three times.
    slope, more = (
        value(found, f"slopes/fixef/{t}/estimate") for t in ("age_c", "age_c:trtprogramme")
    )
    assert effect["average"]["estimate"].value == pytest.approx(slope + more * 58 / 103)
    assert tuple(effect["where"]) == ("programme is none",)


OCCASIONS = """\
title: Who is compared
data: {file: d.csv}
levels: [{name: test}, {name: pupil, id: pupil}, {name: school, id: school}]
TIME
outcome: {name: y}
predictors:
  t: {level: test}
  g: {level: pupil, type: category}
  h: {level: pupil, type: category}
  z: {level: school}
questions:
  - {id: Q1, text: "Do girls differ?", terms: [g]}
  - {id: Q2, text: "Do schools differ by climate?", terms: [z]}
models: {list: [{id: m, fixed: [t, g, h, z], random: {pupil: [1], school: [1]}}]}
inference: {variance_ci: none, df_comparison: 0}
estimation: {check_optimizers: false, slope_tests: 0}
"""


@pytest.mark.parametrize(("time", "individuals"), [("time: t", True), ("", False)])
def test_individuals_measured_repeatedly_are_no_groups(
    run_spec: RunSpec, time: str, *, individuals: bool
) -> None:
    """The ecological fallacy is one of the levels above those whom the question is about."""
    rng = np.random.default_rng(5)
    pupil = np.repeat(np.arange(60), 3)
    kind = pupil % 3  # no pupil has both g and h
    table = pd.DataFrame({
        "school": pupil // 5, "pupil": pupil, "t": np.tile(np.arange(3), 60),
        "g": np.where(kind == 0, "yes", "no"), "h": np.where(kind == 1, "yes", "no"),
        "z": rng.normal(size=12)[pupil // 5],
        "y": rng.normal(size=60)[pupil] + rng.normal(size=12)[pupil // 5] + rng.normal(size=180),
    })  # fmt: skip
    found = run_spec(OCCASIONS.replace("TIME", time), {"d.csv": table}).steps
    pupils, schools = (answer["limits"] for answer in found["inference"]["answers"])
    assert (pupils["kind"], pupils["individuals"]) == ("between", individuals)
    assert (schools["members"], schools["individuals"]) == ("pupils", False)
    higher = {h["name"]: h["individuals"] for h in found["inference"]["higher"]}
    assert higher == {"pupil": individuals, "school": False}
    lowest = [] if individuals else ["tests"]
    assert list(found["inference"]["sampled"]) == ["schools", "pupils", *lowest]
    note = found["interpretation"]["means"][0]["table"].note
    assert "No row has g: yes together with h: yes:" in note
