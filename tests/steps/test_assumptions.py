"""Step 3 against nlme's residuals and base R."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
from support import value

from mlmreport.quantities import Results

pytestmark = pytest.mark.r
Analysed = Callable[[str], Results]


def test_residuals(analysed: Analysed, reference: Mapping[str, float]) -> None:
    found, at = analysed("school-achievement"), "assumptions"
    skewness = value(found, f"{at}/residual/skewness")
    assert skewness == pytest.approx(reference["residual/skewness"], rel=1e-4)
    spread = value(found, f"{at}/spread/over/fitted/correlation")
    assert spread == pytest.approx(reference["residual/spread"], rel=1e-3)


def test_equal_variances(analysed: Analysed, reference: Mapping[str, float]) -> None:
    found, at = analysed("school-achievement"), "assumptions/homogeneity"
    assert value(found, f"{at}/groups") == reference["homogeneity/groups"]
    assert value(found, f"{at}/H") == pytest.approx(reference["homogeneity/H"])
    assert value(found, f"{at}/df") == reference["homogeneity/groups"] - 1


def test_collinearity(analysed: Analysed, reference: Mapping[str, float]) -> None:
    found = analysed("school-achievement")
    names = [name for name in reference if name.startswith("vif/")]
    assert len(names) == 7
    for name in names:
        assert value(found, f"assumptions/{name}") == pytest.approx(reference[name], rel=1e-4)


def test_quantiles_and_bands_go_together(analysed: Analysed) -> None:
    found, at = analysed("school-achievement"), "assumptions/random/school/(Intercept)"
    sample, line, lower, upper = (
        np.array(found.items[f"{at}/qq_{name}"].values)
        for name in ("sample", "theoretical", "lower", "upper")
    )
    assert len(sample) == len(line) == len(lower) == len(upper) == 160
    assert (np.diff(sample) >= 0).all()
    outside = ((sample < lower) | (sample > upper)).mean()
    assert value(found, f"{at}/qq_outside") == pytest.approx(outside)


def test_too_few_residual_degrees_of_freedom_are_said_to_be(analysed: Analysed) -> None:
    found = analysed("sleep-deprivation")
    missing = {entry.id: entry.reason for entry in found.missing}
    assert "10 residual degrees of freedom" in missing["assumptions/homogeneity/p"]
    assert found.steps["assumptions"]["homogeneity"]["have"] is False
