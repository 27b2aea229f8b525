"""`verify` finds nothing in a sound report, whatever its design, and a changed digit in any."""

from __future__ import annotations

import random
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from designs import DESIGNS, write
from traced_page import needs_r

from mlmreport.display import UNSIGNED
from mlmreport.quantities import Quantity, Results
from mlmreport.verify.displayed import (
    compare_page,
    compare_text,
    read_page,
    untraced_numerals,
    visible_text,
)
from mlmreport.verify.recomputed import recompute
from mlmreport.verify.texts import docx_text, pdf_text
from mlmreport.verify.verification import summary, verify
from mlmreport.verify.wording import Wording, wording_of
from mlmreport.workflow import run

WHOLE = ("combination alone", "no fixed intercept", "singular slopes")
"""Which quick designs are verified with the clean room and all."""

QUICK = (*WHOLE, "crossed", "weights", "level of .51")
ALL = ("html", "docx", "pdf")
TRACED = re.compile(r'(<span class="q" data-id="([^"]*)"[^>]*>)([^<]*\d[^<]*)(?=</span>)')
DECIMAL = re.compile(r"\d+\.\d{2,}|\.\d{3,}")


def report(name: str, folder: Path, formats: Sequence[str]) -> Path:
    """The folder of a design's finished report."""
    return run(write(name, folder), folder / "report", list(formats), lambda *_: None)


def stored(folder: Path) -> Results:
    return Results.from_json((folder / "results.json").read_text(encoding="utf-8"))


def wording(folder: Path, results: Results, form: str) -> Wording:
    return wording_of((folder / "report.qmd").read_text(encoding="utf-8"), results, form)


def other_digit(text: str, chance: random.Random) -> str:
    """The text with one of its digits changed into another one."""
    at = chance.choice([place for place, char in enumerate(text) if char in "0123456789"])
    digit = chance.choice([char for char in "0123456789" if char != text[at]])
    return text[:at] + digit + text[at + 1 :]


def once(number: str, text: str) -> list[re.Match[str]]:
    """Where a number stands in a text by itself, not as a part of another one."""
    return list(re.finditer(rf"(?<![\d.]){re.escape(number)}(?![\d.]*\d)", text))


def changed(text: str, said: Wording, chance: random.Random) -> tuple[str, str]:
    """A text with a digit of one of the document's traced numbers changed, and its id."""
    found = [
        (place.id, match)
        for place in said.places
        if place.id and DECIMAL.fullmatch(place.text)
        for match in once(place.text, text)
        if len(once(place.text, text)) == 1
    ]
    name, match = chance.choice(found)
    return text[: match.start()] + other_digit(match[0], chance) + text[match.end() :], name


def check_page(name: str, folder: Path) -> None:
    """The page agrees with the results; with a digit of any traced number changed it does not."""
    results, page = stored(folder), (folder / "report.html").read_text(encoding="utf-8")
    said = wording(folder, results, "html")
    assert not compare_page(page, results).mismatches
    assert not compare_text(said, visible_text(page), results).mismatches
    assert untraced_numerals(page) == ()
    chance = random.Random(name)
    match = chance.choice(list(TRACED.finditer(page)))
    page = page[: match.start(3)] + other_digit(match[3], chance) + page[match.end(3) :]
    assert [found.id for found in compare_page(page, results).mismatches] == [match[2]]
    assert compare_text(said, visible_text(page), results).mismatches


def check_relations(folder: Path) -> None:
    """The displayed numbers follow from each other, within what rounding allows."""
    page = (folder / "report.html").read_text(encoding="utf-8")
    shown = [(e.id, e.text) for e in read_page(page) if not e.missing and e.form not in UNSIGNED]
    found = recompute(shown, stored(folder))
    assert found
    assert [(check.id, check.what, check.found) for check in found if not check.ok] == []


def check_texts(name: str, folder: Path) -> None:
    """The Word file and the PDF agree; with a digit changed they do not."""
    results, chance = stored(folder), random.Random(name)
    said: Mapping[str, Wording] = {form: wording(folder, results, form) for form in ALL}
    docx, pdf = folder / "report.docx", pdf_text(folder / "report.pdf")
    assert not compare_text(said["docx"], docx_text(docx), results).mismatches
    assert not compare_text(said["pdf"], pdf, results).mismatches
    text, altered = changed(pdf, said["pdf"], chance)
    found = compare_text(said["pdf"], text, results).mismatches
    assert altered in [mismatch.id for mismatch in found]
    altered = change_word_file(docx, folder / "changed.docx", said["docx"], chance)
    found = compare_text(said["docx"], docx_text(folder / "changed.docx"), results).mismatches
    assert altered in [mismatch.id for mismatch in found]


def change_word_file(source: Path, target: Path, said: Wording, chance: random.Random) -> str:
    """A copy of a Word file in which a digit of a traced number is another; the number's id."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.namelist():
            content = old.read(entry)
            if entry == "word/document.xml":
                text, name = changed(content.decode("utf-8"), said, chance)
                content = text.encode("utf-8")
            new.writestr(entry, content)
    return name


def test_the_designs_have_numbers_to_change(tmp_path: Path) -> None:
    assert len(DESIGNS) == 60
    assert set(QUICK) <= DESIGNS.keys()
    assert write("crossed", tmp_path).read_text(encoding="utf-8").count("structure: crossed") == 1


@pytest.mark.parametrize("name", QUICK)
def test_a_sound_page_is_passed_and_a_changed_digit_is_not(name: str, tmp_path: Path) -> None:
    needs_r()
    folder = report(name, tmp_path, ["html"])
    check_page(name, folder)
    check_relations(folder)
    if name in WHOLE:
        found = verify(folder)
        assert found.ok, summary(found)
        assert found.untraced == ()


@pytest.mark.long
@pytest.mark.parametrize("name", DESIGNS)
def test_every_design_in_every_format(name: str, tmp_path: Path) -> None:
    needs_r()
    folder = report(name, tmp_path, ALL)
    found = verify(folder)
    assert found.ok, summary(found)
    assert any(isinstance(item, Quantity) for item in stored(folder).items.values())
    check_page(name, folder)
    check_texts(name, folder)
