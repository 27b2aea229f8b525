"""Step 5 against nlme."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace

import pytest
from support import value

from mlmreport.quantities import Results, Table
from mlmreport.steps import models

pytestmark = pytest.mark.r
Analysed = Callable[[str], Results]


def test_fixed_effects(analysed: Analysed, reference: Mapping[str, float]) -> None:
    found = analysed("school-achievement")
    names = [name for name in reference if name.startswith("fixef/")]
    assert len(names) == 16
    for name in names:
        assert value(found, f"crosslevel/{name}") == pytest.approx(reference[name], rel=2e-4), name


def test_variance_components(analysed: Analysed, reference: Mapping[str, float]) -> None:
    found = analysed("school-achievement")
    intercept = value(found, "crosslevel/var/school/(Intercept)/variance")
    assert intercept == pytest.approx(reference["var/intercept"], rel=1e-3)
    # The likelihood is almost flat in the variance of the slopes.
    slope = value(found, "crosslevel/var/school/ses_within/variance")
    assert slope == pytest.approx(reference["var/slope"], rel=2e-2)
    assert value(found, "crosslevel/sigma2") == pytest.approx(reference["var/residual"], rel=1e-4)
    assert value(found, "crosslevel/criterion") == pytest.approx(reference["reml"], abs=1e-3)


def test_a_standard_error_gives_the_interval_and_the_test(analysed: Analysed) -> None:
    found = analysed("sleep-deprivation")
    at = "slopes/fixef/Days"
    estimate, se = value(found, f"{at}/estimate"), value(found, f"{at}/se")
    assert value(found, f"{at}/t") == pytest.approx(estimate / se)
    half = (value(found, f"{at}/upper") - value(found, f"{at}/lower")) / 2
    assert half / se == pytest.approx(2.10982, abs=1e-4)  # t quantile .975 at 17 df


def test_all_models_have_the_same_rows(analysed: Analysed) -> None:
    found = analysed("school-achievement")
    rows = {value(found, name) for name in found.items if name.endswith("/nobs")}
    assert rows == {7185}


def test_the_stepped_table_has_a_column_a_model(analysed: Analysed) -> None:
    found = analysed("school-achievement")
    table = found.steps["models"]["tables"]["models"]
    assert isinstance(table, Table)
    assert len(table.columns) == 6
    assert all(len(row.cells) == 5 for row in table.rows if not row.group)


def test_gradients_pass_lme4s_own_check(analysed: Analysed) -> None:
    found = analysed("school-achievement")
    gradients = [value(found, name) for name in found.items if name.endswith("/gradient")]
    assert len(gradients) == 5
    assert max(gradients) < 0.002


def test_what_lme4_said_of_a_model_is_not_what_it_says_of_its_functions() -> None:
    said = [
        ("m_null", "message", "boundary (singular) fit: see help('isSingular')"),
        ("m_null", "deprecation", "the 'findbars' function has moved to the reformulas package."),
        ("m_null", "warning", "Some predictor variables are on very different scales"),
        ("m_last", "warning", "of another model"),
    ]
    conditions = [dict(zip(("where", "kind", "text"), entry, strict=True)) for entry in said]
    context = SimpleNamespace(engine=SimpleNamespace(conditions=conditions))
    assert models._said(context, "m_null") == [said[2][2]]  # type: ignore[arg-type]
