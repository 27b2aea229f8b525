"""Models that others have fitted and printed, fitted again by the engine of the reports."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mlmreport.cli import app
from mlmreport.engine.session import session
from mlmreport.verify import published
from mlmreport.verify.published import AGREES, DIFFERS, KNOWN, Case, Number, Outcome

ROOT = Path(__file__).parents[2]
LONG = {"insteval-reml"}
"""Cases that take more than ten seconds."""


def cases(*, with_long: bool = True) -> list[Case]:
    return [case for case in published.load() if with_long or case.id not in LONG]


@pytest.mark.r
@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=[pytest.mark.long] if case.id in LONG else [], id=case.id)
        for case in cases()
    ],
)
def test_printed_numbers(case: Case) -> None:
    (outcome,) = published.reproduce([case], lambda *_: None)
    if outcome.reason:  # mlmRev is not needed otherwise
        pytest.skip(outcome.reason)
    assert [number for number in outcome.numbers if number.verdict == DIFFERS] == []
    assert {number.name: number.printed for number in outcome.numbers} == case.printed
    for number in outcome.numbers:
        if number.verdict == KNOWN and "also" in case.content.get("known", {}).get(number.name, ()):
            continue  # the page was written with the other version
        shown = page_numbers()[case.id][number.name][1]
        assert number.found == pytest.approx(float(shown), rel=2e-3, abs=1e-3), number.name


def test_every_case_names_its_source_and_explains_its_tolerance() -> None:
    assert len(cases()) >= 35
    for case in cases():
        assert len(case.content["source"]) > 20, case.id
        assert all(isinstance(printed, str) for printed in case.printed.values()), case.id
        assert ("tolerance" in case.content) == ("why" in case.content), case.id
        for name, known in case.content.get("known", {}).items():
            assert name in case.printed, case.id
            assert len(known["why"]) > 20, case.id


# --- the page -------------------------------------------------------------------------------------


def page_numbers() -> dict[str, dict[str, tuple[str, str, str]]]:
    """For each case of the page its numbers: printed, reproduced, verdict."""
    text = (ROOT / "docs" / "published.md").read_text("utf-8")
    found: dict[str, dict[str, tuple[str, str, str]]] = {}
    for section in text.split("\n## ")[1:]:
        rows = re.findall(r"^\| `(.+?)` \| (\S+) \| (\S+) \| (.+) \|$", section, re.MULTILINE)
        found[section.splitlines()[0]] = {name: tuple(rest) for name, *rest in rows}
    return found


def test_the_page_shows_the_cases() -> None:
    hint = "run `python -m mlmreport.verify.published docs/published.md`"
    shown = page_numbers()
    assert list(shown) == [case.id for case in cases()], hint
    text = (ROOT / "docs" / "published.md").read_text("utf-8")
    for case in cases():
        rows = shown[case.id]
        assert {name: row[0] for name, row in rows.items()} == case.printed, hint
        assert f"`{case.content['formula']}`" in text, hint
        assert case.content["source"] in text, hint
        reasons = [case.content.get("why")] + [
            known["why"] for known in case.content.get("known", {}).values()
        ]
        for _, _, verdict in rows.values():
            assert verdict == AGREES or verdict.removeprefix(f"{KNOWN}: ") in reasons, hint


# --- judging --------------------------------------------------------------------------------------


def test_a_number_agrees_to_its_printed_precision_only() -> None:
    content = {
        "tolerance": 1e-4,
        "why": "another optimizer",
        "printed": {"a": "12.64", "b": "2.0"},
        "known": {
            "b": {"tolerance": 0.5, "why": "a misprint"},
            "c": {"also": "-91.98", "why": "another version"},
        },
    }
    case = Case("c", content)
    judged = {
        found: published._judged(case, "a", "12.64", found).verdict
        for found in (12.6449, 12.6451, 12.65, 12.6341)
    }
    assert list(judged.values()) == [AGREES, KNOWN, DIFFERS, KNOWN]
    assert published._judged(case, "b", "2.0", 2.8).why == "a misprint"
    versions = {-50.001: AGREES, -91.984: KNOWN, -91.99: DIFFERS, -70.0: DIFFERS}
    for found, verdict in versions.items():
        assert published._judged(case, "c", "-50.00", found).verdict == verdict


def test_the_page_tells_what_differs() -> None:
    numbers = (Number("x", "1.00", 1.2, DIFFERS), Number("y", "2.5", 2.5, AGREES))
    outcome = Outcome("case", "Somebody (2000)", "y ~ x", "ML", "A note.", numbers)
    assert not outcome.ok
    text = published.page([outcome])
    assert "1 tables, 2 numbers: 1 agree as printed, 0 differ for a known reason" in text
    assert "| `x` | 1.00 | 1.2 | differs |" in text
    assert "A note." in text


@pytest.mark.r
def test_data_that_are_not_installed_leave_a_case_out() -> None:
    case = Case(
        "none",
        {"source": "s", "formula": "y ~ 1", "reml": True, "printed": {"sigma": "1"},
         "data": {"package": "noSuchPackage", "dataset": "d"}},
    )  # fmt: skip
    (outcome,) = published.reproduce([case], lambda *_: None)
    assert outcome.ok
    assert outcome.numbers == ()
    assert "noSuchPackage" in outcome.reason


@pytest.mark.r
def test_the_command_runs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    some = [case for case in cases() if case.id.startswith(("dyestuff-", "cbpp-laplace"))]
    monkeypatch.setattr(published, "load", lambda: tuple(some))
    done = CliRunner().invoke(app, ["crosscheck", "--published", "--quiet"])
    assert done.exit_code == 0, done.output
    assert "0 differ unexplained" in done.stdout
    as_json = CliRunner().invoke(app, ["crosscheck", "--published", "--quiet", "--json"])
    assert [entry["id"] for entry in json.loads(as_json.stdout)] == [case.id for case in some]
    wrong = Case("wrong", {**some[0].content, "printed": {"loglik": "-90.0266"}})
    monkeypatch.setattr(published, "load", lambda: (wrong,))
    assert CliRunner().invoke(app, ["crosscheck", "--published", "--quiet"]).exit_code == 4
    nothing = CliRunner().invoke(app, ["crosscheck"])
    assert nothing.exit_code == 2
    assert "--published" in nothing.stderr


@pytest.mark.r
def test_a_likelihood_ratio_is_printed_without_the_boundary() -> None:
    """Bates et al. (2015) print 8.8e-11, by the chi-square alone, twice that of the mixture."""
    assert 2 * session().call("boundary_p", lr=42.07538786, df=1.0)[0] == pytest.approx(
        8.8e-11, abs=0.05e-11
    )
