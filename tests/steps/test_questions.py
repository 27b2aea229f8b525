"""Step 2: kinds of questions, the equations and the symbols' estimates."""

from __future__ import annotations

import pytest

from mlmreport.quantities import Quantity, Results, Table

pytestmark = pytest.mark.r


@pytest.fixture(scope="module")
def school(analysed) -> Results:
    return analysed("school-achievement")


def test_each_question_is_tagged_by_the_levels_of_its_terms(school: Results) -> None:
    kinds = {entry["id"]: entry["kind"] for entry in school.steps["questions"]["questions"]}
    assert kinds["Q1"] == "between groups"
    assert kinds["Q2"] == "within groups"
    assert kinds["Q3"] == kinds["Q4"] == "cross-level interaction"


def test_cross_level_terms_stand_in_the_equation_of_the_slope(school: Results) -> None:
    levels = school.steps["questions"]["levels"]
    (slope,) = (line for line in levels[1]["latex"].split(r"\\") if r"\beta_{1j}" in line)
    assert r"\gamma_{11}" in slope
    assert r"\gamma_{12}" in slope
    assert "u_{1j}" in slope


def test_the_formula_is_the_one_that_was_fitted(school: Results) -> None:
    formula = school.steps["questions"]["formula"]
    (fitted,) = (entry.code for entry in school.trace if entry.name == "m_crosslevel")
    assert formula in fitted


def test_predictors_are_listed_with_their_form(school: Results) -> None:
    table = school.steps["questions"]["tables"]["centring"]
    assert isinstance(table, Table)
    forms = {row.head: row.cells for row in table.rows}
    assert forms["SES"][2] == "`ses_within`"
    assert "Public" in forms["sector"][3]


def test_symbols_stand_beside_the_estimates_of_the_final_model(school: Results) -> None:
    symbols = school.steps["questions"]["symbols"]
    shown = {entry["estimate"].id for entry in symbols if isinstance(entry["estimate"], Quantity)}
    names = school.steps["models"]["models"]
    assert "crosslevel/sigma2" in shown
    assert "crosslevel/fixef/ses_within:sectorCatholic/estimate" in shown
    assert names[-1]["id"] == "crosslevel"
