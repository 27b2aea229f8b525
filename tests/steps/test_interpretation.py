"""Step 7 against emmeans, and by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import pytest
from support import value

from mlmreport.quantities import Results
from mlmreport.steps.interpretation import IRREGULAR

pytestmark = pytest.mark.r
Analysed = Callable[[str], Results]
SLOPES = "interpretation/slopes"


def test_simple_slopes(analysed: Analysed, reference: Mapping[str, float]) -> None:
    found, at = analysed("school-achievement"), f"{SLOPES}/ses_within:sector"
    for sector in ("Public", "Catholic"):
        slope = value(found, f"{at}/{sector}/estimate")
        assert slope == pytest.approx(reference[f"slopes/{sector}"], rel=1e-5)
    se = value(found, f"{at}/Catholic/se")
    assert se == pytest.approx(reference["slopes/Catholic/se"], rel=2e-4)


def test_the_range_of_slopes(analysed: Analysed) -> None:
    found, at = analysed("sleep-deprivation"), "interpretation/range/Subject/Days"
    slope, sd = (
        value(found, "slopes/fixef/Days/estimate"),
        value(found, "slopes/var/Subject/Days/sd"),
    )
    assert value(found, f"{at}/lower") == pytest.approx(slope - 1.959964 * sd, rel=1e-6)
    assert value(found, f"{at}/upper") == pytest.approx(slope + 1.959964 * sd, rel=1e-6)
    opposite = 0.5 * math.erfc(slope / sd / math.sqrt(2))
    assert value(found, f"{at}/opposite") == pytest.approx(opposite)


def test_moderators_are_taken_over_their_own_units(analysed: Analysed) -> None:
    found, at = analysed("school-achievement"), f"{SLOPES}/ses_within:meanses"
    mean = value(found, "structure/variable/meanses/mean")
    sd = value(found, "structure/variable/meanses/sd")
    assert value(found, f"{at}/low/moderator") == pytest.approx(mean - sd)
    assert value(found, f"{at}/high/moderator") == pytest.approx(mean + sd)
    base = value(found, "crosslevel/fixef/ses_within/estimate")
    product = value(found, "crosslevel/fixef/ses_within:meanses/estimate")
    assert value(found, f"{at}/high/estimate") == pytest.approx(base + (mean + sd) * product)


def test_bounds_lie_where_the_slope_is_not_significant(analysed: Analysed) -> None:
    """Between the bounds the pointwise interval of the slope holds zero, at one SD it does not."""
    found, at = analysed("school-achievement"), "interpretation/neyman/ses_within:meanses"
    lower, upper = value(found, f"{at}/lower"), value(found, f"{at}/upper")
    crossing = -(
        value(found, "crosslevel/fixef/ses_within/estimate")
        / value(found, "crosslevel/fixef/ses_within:meanses/estimate")
    )
    assert lower < crossing < upper < -0.4
    assert value(found, f"{SLOPES}/ses_within:meanses/low/p") < 0.05


def test_a_line_is_the_slope_drawn(analysed: Analysed) -> None:
    found, at = analysed("school-achievement"), f"{SLOPES}/ses_within:sector"
    x, y = found.items[f"{at}/x"].values, found.items[f"{at}/Public/line"].values
    assert len(x) == len(y) == 41
    rise = (y[-1] - y[0]) / (x[-1] - x[0])
    assert rise == pytest.approx(value(found, f"{at}/Public/estimate"))


@pytest.mark.parametrize(
    ("text", "irregular"),
    [
        ("non-monotonic profile for sd_(Intercept)|g", True),
        ("bad spline fit for cor_x.(Intercept)|g: falling back to linear interpolation", True),
        ("convergence code 3 from bobyqa: bobyqa -- a trust region step failed", True),
        ("'oldNames' is deprecated. Please use 'signames' instead.", False),
        ("the 'findbars' function has moved to the reformulas package.", False),
        ("unused control arguments ignored", False),
    ],
)
def test_profiles_are_irregular_where_lme4_says_just_that(text: str, irregular: bool) -> None:
    assert bool(IRREGULAR.search(text)) is irregular
