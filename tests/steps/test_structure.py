"""Step 1 against pandas on the shipped files."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pandas as pd
import pytest
from support import ANALYSES, value

from mlmreport.quantities import Results

pytestmark = pytest.mark.r


@pytest.fixture(scope="module")
def students() -> pd.DataFrame:
    folder = ANALYSES / "school-achievement"
    rows = pd.read_csv(folder / "students.csv")
    return rows.merge(pd.read_csv(folder / "schools.csv"), on="school")


def test_sizes(analysed: Callable[[str], Results], students: pd.DataFrame) -> None:
    found, sizes = analysed("school-achievement"), students.groupby("school").size()
    assert value(found, "structure/n") == len(students)
    for name in ("min", "median", "mean", "max"):
        assert value(found, f"structure/school/{name}") == getattr(sizes, name)()
    assert value(found, "structure/school/cv") == pytest.approx(sizes.std() / sizes.mean())
    assert value(found, "structure/school/singletons") == 0
    assert sorted(found.items["structure/school/sizes"].values) == sorted(sizes)


def test_a_variable_is_described_over_the_units_of_its_own_level(
    analysed: Callable[[str], Results], students: pd.DataFrame
) -> None:
    found = analysed("school-achievement")
    schools = students.groupby("school").first()
    at = "structure/variable"
    assert value(found, f"{at}/meanses/mean") == pytest.approx(schools["meanses"].mean(), abs=1e-12)
    assert value(found, f"{at}/meanses/sd") == pytest.approx(schools["meanses"].std())
    assert value(found, f"{at}/sector/n:Catholic") == (schools["sector"] == "Catholic").sum()
    assert value(found, f"{at}/minority/n:Yes") == (students["minority"] == "Yes").sum()
    within = students["ses"] - students.groupby("school")["ses"].transform("mean")
    assert value(found, f"{at}/ses_within/sd") == pytest.approx(within.std())
    assert value(found, f"{at}/ses_within/between") == pytest.approx(0, abs=1e-12)


def test_shares_between_groups(analysed: Callable[[str], Results], students: pd.DataFrame) -> None:
    found = analysed("school-achievement")
    y = students["mathach"]
    groups = students.groupby("school")["mathach"]
    sizes, means = groups.size(), groups.transform("mean")
    within = ((y - means) ** 2).sum() / (len(y) - len(sizes))
    between = ((means - y.mean()) ** 2).sum() / (len(sizes) - 1)
    size = (len(y) - (sizes**2).sum() / len(y)) / (len(sizes) - 1)
    tau = (between - within) / size
    expected = tau / (tau + within)
    assert value(found, "structure/variable/mathach/between") == pytest.approx(expected)


def test_occasions(analysed: Callable[[str], Results]) -> None:
    found = analysed("sleep-deprivation")
    assert value(found, "structure/time/occasions") == 10
    assert value(found, "structure/time/complete") == 18
    assert found.steps["structure"]["time"]["all_complete"] is True


def test_reference(analysed: Callable[[str], Results], reference: Mapping[str, float]) -> None:
    found = analysed("school-achievement")
    assert value(found, "structure/school/cv") == pytest.approx(reference["structure/cv"])
    assert value(found, "structure/school/median") == reference["structure/median"]
    assert value(found, "structure/variable/sector/n:Catholic") == reference["structure/catholic"]
