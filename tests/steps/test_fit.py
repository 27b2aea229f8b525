"""Step 6 against nlme and performance, and by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import pytest
from support import RunSpec, reason, value

from mlmreport.quantities import Results

pytestmark = pytest.mark.r
Analysed = Callable[[str], Results]


def test_criteria(analysed: Analysed, reference: Mapping[str, float]) -> None:
    found = analysed("school-achievement")
    # nlme stops 0.015 above the minimum that lme4 finds.
    for name in ("aic", "bic"):
        ours = value(found, f"fit/crosslevel/{name}")
        assert ours == pytest.approx(reference[f"ml/{name}"], abs=0.02)
    deviance, aic = value(found, "fit/null/deviance"), value(found, "fit/null/aic")
    assert aic == pytest.approx(deviance + 2 * 3)
    assert value(found, "fit/null/bic") == pytest.approx(deviance + 3 * math.log(7185))


def test_weights_follow_from_the_aics(analysed: Analysed) -> None:
    found = analysed("sleep-deprivation")
    aic = [value(found, f"fit/{name}/aic") for name in ("null", "growth", "slopes")]
    raw = [math.exp(-0.5 * (a - min(aic))) for a in aic]
    weights = [value(found, f"fit/{name}/weight") for name in ("null", "growth", "slopes")]
    assert weights == pytest.approx([r / sum(raw) for r in raw])


def test_explained_variance(analysed: Analysed, reference: Mapping[str, float]) -> None:
    if "r2/marginal" not in reference:
        pytest.skip("the R package performance is not installed")
    found = analysed("school-achievement")
    assert value(found, "fit/crosslevel/r2m") == pytest.approx(reference["r2/marginal"], rel=1e-5)
    assert value(found, "fit/crosslevel/r2c") == pytest.approx(
        reference["r2/conditional"], rel=1e-5
    )


def test_proportional_reduction(analysed: Analysed) -> None:
    found = analysed("hsb-textbook")
    before, after = (
        value(found, f"{name}/var/School/(Intercept)/variance") for name in ("null", "means")
    )
    assert value(found, "fit/means/reduction/School") == pytest.approx((before - after) / before)


def test_a_random_slope_is_tested_by_the_mixture(analysed: Analysed) -> None:
    found = analysed("sleep-deprivation")
    # REML: 1786.465 against 1743.628, both printed by Bates et al. (2015) or following from them.
    chi = value(found, "growth/criterion") - value(found, "slopes/criterion")
    assert value(found, "fit/slopes/lrt/chisq") == pytest.approx(chi)
    p = 0.5 * math.erfc(math.sqrt(chi / 2)) + 0.5 * math.exp(-chi / 2)
    assert value(found, "fit/slopes/lrt/p") == pytest.approx(p)


def test_fixed_effects_are_tested_by_maximum_likelihood(analysed: Analysed) -> None:
    found = analysed("hsb-textbook")
    chi = value(found, "fit/null/deviance") - value(found, "fit/means/deviance")
    assert value(found, "fit/means/lrt/chisq") == pytest.approx(chi)
    assert value(found, "fit/means/lrt/df") == 1


def test_the_grouping_is_tested_by_the_criterion_of_the_fit(run_spec: RunSpec) -> None:
    """Dyestuff, REML: 6.369; naive p .0116, mixture .0058, exact .0047 (RLRsim)."""
    found = run_spec("""title: Dyestuff
data: {package: lme4, dataset: Dyestuff}
levels: [{name: sample}, {name: batch, plural: batches, id: Batch}]
outcome: {name: Yield}
models: {list: [{id: "null", fixed: [], random: {batch: [1]}}]}
inference: {variance_ci: none}
""")
    assert value(found, "fit/grouping/chisq") == pytest.approx(6.369, abs=5e-4)
    assert value(found, "fit/grouping/p") == pytest.approx(0.0058, abs=5e-5)
    # Without predictors the marginal R2 is zero in every sample, so there is no interval of it.
    assert "the same in nearly all bootstrap samples" in reason(found, "fit/bootstrap/r2m/lower")
    assert value(found, "fit/bootstrap/r2c/lower") < value(found, "fit/bootstrap/r2c/upper")
