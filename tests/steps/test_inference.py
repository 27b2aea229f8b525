"""Step 8 against emmeans and base R, and by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import pytest
from support import RunSpec, value

from mlmreport.errors import InputError
from mlmreport.quantities import Results

pytestmark = pytest.mark.r
Analysed = Callable[[str], Results]


def test_the_average_group(analysed: Analysed, reference: Mapping[str, float]) -> None:
    found, at = analysed("school-achievement"), "inference/average"
    assert value(found, f"{at}/estimate") == pytest.approx(reference["average/estimate"], rel=1e-5)
    assert value(found, f"{at}/se") == pytest.approx(reference["average/se"], rel=1e-4)


def test_a_new_group_adds_the_variance_between_groups(analysed: Analysed) -> None:
    found, at = analysed("school-achievement"), "inference"
    half = (value(found, f"{at}/new/upper") - value(found, f"{at}/new/lower")) / 2
    # At typical values the slope's deviation is multiplied by zero.
    variance = value(found, "crosslevel/var/school/(Intercept)/variance")
    expected = (value(found, f"{at}/average/se") ** 2 + variance) ** 0.5
    assert value(found, f"{at}/new/known") == pytest.approx(expected, rel=1e-6)
    # With a variance that is kept from zero, and t with 160 - 2 df (97.5 % point from a table).
    assert 1 < value(found, f"{at}/new/se") / expected < 1.02
    assert value(found, f"{at}/new/df") == pytest.approx(158)
    assert half / value(found, f"{at}/new/se") == pytest.approx(1.9751, abs=1e-4)


def test_ordinary_least_squares(analysed: Analysed, reference: Mapping[str, float]) -> None:
    found = analysed("school-achievement")
    names = [name for name in reference if name.startswith("ols/")]
    assert len(names) == 8
    for name in names:
        assert value(found, f"inference/{name}") == pytest.approx(reference[name])
    at = "inference/ols/meanses"
    multilevel = value(found, "crosslevel/fixef/meanses/se")
    assert value(found, f"{at}/ratio") == pytest.approx(multilevel / value(found, f"{at}/se"))


def test_conditional_modes(analysed: Analysed) -> None:
    found, at = analysed("sleep-deprivation"), "inference/modes/Subject/(Intercept)"
    names, modes = found.items[f"{at}/names"].values, found.items[f"{at}/estimate"].values
    # ranef() as lme4's own example prints it, subjects 308 and 309.
    by_name = dict(zip(names, modes, strict=True))
    assert by_name["308"] == pytest.approx(2.2585, abs=5e-4)
    assert by_name["309"] == pytest.approx(-40.3986, abs=5e-4)
    assert sum(modes) == pytest.approx(0, abs=1e-6)


def test_group_means_are_drawn_to_the_overall_mean(analysed: Analysed) -> None:
    found, at = analysed("school-achievement"), "inference/shrinkage/school"
    overall = value(found, f"{at}/overall")
    tau, sigma2 = value(found, "icc/school/tau"), value(found, "icc/sigma2")
    for raw, shrunken, n in zip(
        *(found.items[f"{at}/{name}"].values for name in ("raw", "shrunken", "n")), strict=True
    ):
        weight = tau / (tau + sigma2 / n)
        assert shrunken == pytest.approx(overall + weight * (raw - overall), rel=1e-9)
    assert value(found, f"{at}/most") < value(found, f"{at}/least") < 1


def test_groups_asked_for_by_name(run_spec: RunSpec) -> None:
    text = """title: Sleep
data: {package: lme4, dataset: sleepstudy}
levels: [{name: day}, {name: person, id: Subject}]
outcome: {name: Reaction}
predictors: {Days: {level: day}}
models: {list: [{id: m, fixed: [Days], random: {person: [1, Days]}}]}
inference: {variance_ci: none}
report: {groups: [GROUPS]}
"""
    found = run_spec(text.replace("GROUPS", "308, '335'"))
    assert [entry["name"] for entry in found.steps["inference"]["named"]] == ["308", "335"]
    # coef(): 253.66 and 19.67 for subject 308; the typical day is 4.5.
    at = "inference/group/308"
    assert value(found, f"{at}/estimate") == pytest.approx(253.6637 + 4.5 * 19.6663, abs=5e-3)
    with pytest.raises(InputError, match="no person '999'"):
        run_spec(text.replace("GROUPS", "999"))


def test_a_new_unit_is_averaged_over_the_units_in_it(run_spec: RunSpec) -> None:
    """Of three levels: the variance between schools alone, not that of pupils in them."""
    rng = np.random.default_rng(3)
    school, pupil = np.repeat(np.arange(12), 20), np.repeat(np.arange(60), 4)
    table = pd.DataFrame({
        "school": school, "pupil": pupil,
        "y": rng.normal(size=12)[school] + 2 * rng.normal(size=60)[pupil] + rng.normal(size=240),
    })  # fmt: skip
    found = run_spec(
        """title: Three levels
data: {file: d.csv}
levels: [{name: test}, {name: pupil, id: pupil}, {name: school, id: school}]
outcome: {name: y}
models: {list: [{id: m, fixed: [], random: {pupil: [1], school: [1]}}]}
inference: {variance_ci: none}
estimation: {check_optimizers: false}
""",
        {"d.csv": table},
    )
    mean = value(found, "inference/average/se") ** 2
    variances = [value(found, f"m/var/{g}/(Intercept)/variance") for g in ("school", "pupil")]
    alone, both = (value(found, f"inference/{key}/known") ** 2 for key in ("new_unit", "new"))
    assert alone == pytest.approx(mean + variances[0], rel=1e-6)
    assert both == pytest.approx(mean + sum(variances), rel=1e-6)
    # Balanced: the school means, of 20 rows each, carry all that is known of a new school.
    schools = table.groupby("school")["y"].mean()
    pupils = table.groupby("pupil")["y"].mean()
    within = pupils.groupby(np.repeat(np.arange(12), 5)).var(ddof=1).mean()
    tau = schools.var(ddof=1) - within / 5
    assert alone == pytest.approx(tau + schools.var(ddof=1) / 12, rel=1e-4)
