"""Step 4 against nlme and by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
from support import value

from mlmreport.quantities import Results

pytestmark = pytest.mark.r
Analysed = Callable[[str], Results]


def test_against_nlme(analysed: Analysed, reference: Mapping[str, float]) -> None:
    found = analysed("school-achievement")
    assert value(found, "icc/school/icc") == pytest.approx(reference["icc/icc"], rel=1e-6)
    for name in ("design_effect", "reliability"):
        assert value(found, f"icc/{name}") == pytest.approx(reference[f"icc/{name}"], rel=1e-6)


GROUPS = {
    "school-achievement": "school",
    "sleep-deprivation": "Subject",
    "simulated-schools": "school",
}


@pytest.mark.parametrize(("name", "group"), GROUPS.items())
def test_the_parts_add_up(analysed: Analysed, name: str, group: str) -> None:
    found = analysed(name)
    tau, sigma2 = value(found, f"icc/{group}/tau"), value(found, "icc/sigma2")
    assert value(found, "icc/total") == pytest.approx(tau + sigma2)
    assert value(found, f"icc/{group}/icc") + value(found, "icc/level1") == pytest.approx(1)
    low, high = value(found, f"icc/{group}/lower"), value(found, f"icc/{group}/upper")
    assert 0 < low < value(found, f"icc/{group}/icc") < high < 1
    n, effect = value(found, "structure/n"), value(found, "icc/design_effect")
    assert value(found, "icc/effective_n") == pytest.approx(n / effect)
