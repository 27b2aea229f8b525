"""lme4's numbers in the layouts of other programs are read in full; no wrong digit passes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import printers
import pytest
from printers import Fitted

from mlmreport.crosscheck import outputs
from mlmreport.crosscheck.claims import Printed
from mlmreport.crosscheck.matching import Lined, line_up
from mlmreport.verify.against import AGREES, BY_DEFINITION, DIFFERS, ROUNDING, Loose, as_specified

LAYOUTS: dict[str, Callable[[Fitted], printers.Printed]] = {
    "Stata 13": printers.stata(13),
    "Stata 15": printers.stata(15),
    "Stata 17": printers.stata(17),
    "SPSS, blanks": printers.spss("blanks"),
    "SPSS, bars": printers.spss("bars"),
    "SPSS, tabs": printers.spss("tabs"),
    "SPSS, tabs and decimal commas": printers.spss("tabs", comma=True),
    "SPSS, csv with semicolons": printers.spss("csv", comma=True),
    "SPSS, single blanks": printers.spss("single"),
    "SAS": printers.sas,
}
TWO_LEVELS: dict[str, Callable[[Fitted], printers.Printed]] = {
    "HLM": printers.hlm,
    "MLwiN": printers.r2mlwin,
    "Mplus": printers.mplus,
}


def read(text: str, folder: Path) -> Printed:
    file = folder / "output.txt"
    file.write_text(text, encoding="utf-8")
    return outputs.read(file)


def lined(printed: Printed, model: Fitted) -> Lined:
    categories = printers.stored()[model.analysis]["categories"]
    planned = printers.planned(model.analysis)
    return line_up(planned, categories, printed, (model.model.id,), {})


def judged(text: str, model: Fitted, folder: Path) -> dict[tuple[str, str], str]:
    """The verdict on each number, by what it is."""
    printed = read(text, folder)
    loose = Loose(printed.program, dict(printed.loose))
    found = {}
    for claim, of, name in lined(printed, model).named:
        assert of is model.model
        one = as_specified(claim, of, name, model.values, model.reml, loose)
        found[name, claim.text] = f"{one.verdict}, {one.cause}" if one.cause else one.verdict
    return found


def check(layout: Callable[[Fitted], printers.Printed], model: Fitted, folder: Path) -> None:
    text, count = layout(model)
    found = judged(text, model, folder)
    wrong = {name: verdict for name, verdict in found.items() if verdict.startswith(DIFFERS + ",")
             or verdict == DIFFERS}  # fmt: skip
    assert not wrong
    assert len(found) == count


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_a_program_prints_is_read_and_agrees(layout: str, tmp_path: Path) -> None:
    """Of every model of every shipped analysis."""
    for analysis, name in printers.every():
        check(LAYOUTS[layout], printers.fitted(analysis, name), tmp_path)


@pytest.mark.parametrize("layout", TWO_LEVELS)
def test_what_a_program_of_two_levels_prints_is_read_and_agrees(
    layout: str, tmp_path: Path
) -> None:
    checked = 0
    for analysis, name in printers.every():
        model = printers.fitted(analysis, name)
        fits = model.one_level and model.regular and (layout != "Mplus" or model.products_vary)
        if fits:
            check(TWO_LEVELS[layout], model, tmp_path)
            checked += 1
    assert checked > 15


@pytest.mark.parametrize("layout", {**LAYOUTS, **TWO_LEVELS})
def test_a_wrong_digit_does_not_pass(layout: str, tmp_path: Path) -> None:
    """Each number of a file with another first or last digit: no longer said to agree."""
    model = printers.fitted("hsb-textbook", "outcomes")
    text, _ = {**LAYOUTS, **TWO_LEVELS}[layout](model)
    printed = read(text, tmp_path)
    loose = Loose(printed.program, dict(printed.loose))
    for claim, of, name in lined(printed, model).named:
        if claim.below:
            continue
        digits = [k for k, char in enumerate(claim.text) if char in "123456789"]
        for place in {len(claim.text) - 1, *digits[:1]}:
            digit = claim.text[place]
            other = str(
                (int(digit) + 4) % 9 + 1 if digit == claim.text[0] else (int(digit) + 5) % 10
            )
            wrong = replace(claim, text=claim.text[:place] + other + claim.text[place + 1 :])
            verdict = as_specified(wrong, of, name, model.values, model.reml, loose).verdict
            assert verdict in {DIFFERS, ROUNDING}, (name, claim.text, wrong.text)
            if digits[:1] == [place] and not name.endswith("/p"):
                assert verdict == DIFFERS, (name, claim.text, wrong.text)


def test_a_wrong_digit_is_found_in_the_file(tmp_path: Path) -> None:
    model = printers.fitted("sleep-deprivation", "slopes")
    text, _ = printers.stata(17)(model)
    verdicts = judged(text, model, tmp_path)
    assert set(verdicts.values()) <= {
        AGREES, f"{BY_DEFINITION}, by the normal distribution, not by t with df",
    }  # fmt: skip
    wrong = judged(text.replace("251.4051", "251.4951"), model, tmp_path)
    changed = {name: verdict for name, verdict in wrong.items() if verdicts.get(name) != verdict}
    assert changed == {("fixef/(Intercept)/estimate", "251.4951"): DIFFERS}
