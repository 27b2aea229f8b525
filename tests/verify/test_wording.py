from __future__ import annotations

import random
import re
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from mlmreport.errors import InputError
from mlmreport.quantities import Missing, Quantity, Results, Source
from mlmreport.verify import wording
from mlmreport.verify.displayed import compare_page, compare_text, visible_text
from mlmreport.verify.texts import docx_text, pdf_text
from mlmreport.verify.wording import differing, wording_of

SEED = 20_261_125
MUTATIONS = 200
FORMS = ("html", "docx", "pdf")

X = Quantity("m/x", -1.266, "estimate", "", "x", Source("f(m)"))
P = Quantity("m/p", 0.0004, "p", "", "p", Source("p(m)"))
NONE = Missing("m/none", "there are too few groups for such a test")
RESULTS = Results({}, {item.id: item for item in (X, P, NONE)}, {}, (), (), (), ())

QMD = """---
title: Schools of 1982
---

# Models {#sec-models}

The slope is <span class="q" data-id="m/x" data-value="-1.266">−1.27</span> (*p*
<span class="q" data-id="m/p" data-f="equation">< .001</span>), see @tbl-one [@Bates2015].

::: {#tbl-one}

```{=html}
<table><tr><td><span class="q" data-id="m/x">−1.27</span></td><td>n &amp; 7</td></tr></table>
```

Slopes of <span class="t">class 3\\-b</span>

:::

::: {.content-visible when-format="html"}
```r
f(m, 0.95)
```
:::

$$ x_{10} = 3 $$ {#eq-one}
"""


def _places(form: str) -> list[str]:
    return [place.text for place in wording_of(QMD, RESULTS, form).places]


def test_a_document_is_read_in_the_order_of_the_formats() -> None:
    assert _places("docx") == ["1982", "−1.27", "< .001", "class 3-b", "−1.27", "7"]
    assert _places("html")[-2:] == ["0", "95"]


def test_what_a_renderer_adds_is_no_difference() -> None:
    text = (
        "Schools of 1982 1 Models The slope is −1.27 (p < .001), see Table 1 (Bates et al. 2015). "
        "Table 1. Slopes of class 3-b −1.27 n & 7 x10 = 3 (1) 1 / 26"
    )
    assert list(differing(wording_of(QMD, RESULTS, "docx"), text)) == []
    wrong = text.replace("slope is −1.27", "slope is −1.72")
    ((place, found, context),) = differing(wording_of(QMD, RESULTS, "docx"), wrong)
    assert (place.id, place.text, found) == ("m/x", "−1.27", "−1.72")
    assert "The slope is −1.72 (p" in context


def test_a_number_whose_sign_is_lost_or_that_is_cut_differs() -> None:
    text = "Schools of 1982 The slope is {} (p < .001), see Slopes of class 3-b −1.27 n & 7"
    for shown in ("1.27", "−1.2 7.", "−.27", "−1,27", ""):
        found = list(differing(wording_of(QMD, RESULTS, "docx"), text.format(shown)))
        assert [place.id for place, *_ in found] == ["m/x"], shown


def test_the_number_of_a_table_is_no_other_number() -> None:
    qmd = QMD.replace("see @tbl-one", "as in").replace("−1.27</td", "7</td")
    text = "Schools of 1982 The slope is −1.27 (p < .001), as in Table 7. class 3-b {} n & 7"
    assert [
        p.id for p, *_ in differing(wording_of(qmd, RESULTS, "docx"), text.format("−1.27"))
    ] == []
    found = list(differing(wording_of(qmd, RESULTS, "docx"), text.format("Table 1.27")))
    assert [place.id for place, *_ in found] == ["m/x"]


def test_a_number_beside_others_like_it_is_there() -> None:
    text = "Schools of 1982 The slope is −1.27 . 27 (p < .001) Slopes of class 3-b −1.27 27 n & 7"
    assert list(differing(wording_of(QMD, RESULTS, "docx"), text)) == []


def test_the_results_decide_not_the_document() -> None:
    other = QMD.replace(">−1.27<", ">−1.28<")
    assert wording_of(other, RESULTS, "docx") == wording_of(QMD, RESULTS, "docx")


# --- a finished report ------------------------------------------------------------------------


@pytest.fixture(scope="session")
def texts(report: Path) -> Mapping[str, str]:
    page = (report / "report.html").read_text(encoding="utf-8")
    return {
        "html": visible_text(page),
        "docx": docx_text(report / "report.docx"),
        "pdf": pdf_text(report / "report.pdf"),
    }


@pytest.fixture
def wordings(report: Path, results: Results) -> Mapping[str, wording.Wording]:
    qmd = (report / "report.qmd").read_text(encoding="utf-8")
    return {form: wording_of(qmd, results, form) for form in FORMS}


@pytest.mark.r
@pytest.mark.parametrize("form", FORMS)
def test_all_formats_say_what_the_document_says(
    form: str,
    texts: Mapping[str, str],
    wordings: Mapping[str, wording.Wording],
    results: Results,
) -> None:
    found = compare_text(wordings[form], texts[form], results)
    assert found.ok, found.mismatches
    shown = {place.id for place in wordings[form].places if place.id}
    assert len(shown) > 200
    assert found.compared >= len(shown)


def _digits(words: wording.Wording, text: str) -> list[tuple[int, str]]:
    """Where the digits of the document's numbers stand in a text, each with the number's id."""
    found = wording._words(text)
    at = wording._matched(words.words, [word.text for word in found])
    return [
        (place, entry.id)
        for entry in words.places
        for there in at[entry.start : entry.stop]
        if there is not None
        for place in range(found[there].start, found[there].stop)
        if text[place].isdecimal()
    ]


def _mutated(text: str, at: int, dice: random.Random) -> str:
    other = dice.choice([digit for digit in "0123456789" if digit != text[at]])
    return text[:at] + other + text[at + 1 :]


@pytest.mark.r
def test_a_digit_changed_anywhere_is_caught_and_named(
    texts: Mapping[str, str], wordings: Mapping[str, wording.Wording], results: Results
) -> None:
    dice, caught = random.Random(SEED), 0
    places = {form: _digits(wordings[form], texts[form]) for form in FORMS}
    for number in range(MUTATIONS):
        form = FORMS[number % len(FORMS)]
        at, name = dice.choice(places[form])
        mutated = _mutated(texts[form], at, dice)
        found = compare_text(wordings[form], mutated, results).mismatches
        named = [mismatch for mismatch in found if mismatch.id == name]
        caught += bool(named)
        assert len(found) <= 2, (form, texts[form][at - 30 : at + 10], found)
    assert caught == MUTATIONS


@pytest.mark.r
def test_a_digit_changed_in_the_source_of_the_page_is_caught_and_named(
    report: Path, results: Results
) -> None:
    """Also where it cannot be seen: in the values behind the numbers, and in their cards."""
    page = (report / "report.html").read_text(encoding="utf-8")
    values = [found.span(1) for found in re.finditer(r'data-value="([^"]*)"', page)]
    cards = page.index('id="mlm-quantities"')
    block = re.compile(r'"value": ([-+.e\d]+)').finditer(page, cards)
    values += [found.span(1) for found in block]
    assert len(values) > 500
    dice = random.Random(SEED)
    for _ in range(MUTATIONS):
        start, stop = dice.choice(values)
        digits = [at for at in range(start, stop) if page[at].isdecimal()]
        mutated = _mutated(page, dice.choice(digits), dice)
        assert len(compare_page(mutated, results).mismatches) == 1


@pytest.mark.r
def test_a_word_file_with_another_number_is_caught(
    report: Path,
    tmp_path: Path,
    wordings: Mapping[str, wording.Wording],
    results: Results,
) -> None:
    with (
        zipfile.ZipFile(report / "report.docx") as old,
        zipfile.ZipFile(tmp_path / "report.docx", "w") as new,
    ):
        for name in old.namelist():
            content = old.read(name)
            if name == "word/document.xml":
                assert b">10.47<" in content or b"10.47" in content
                content = content.replace(b"10.47", b"10.74", 1)
            new.writestr(name, content)
    found = compare_text(wordings["docx"], docx_text(tmp_path / "report.docx"), results)
    assert [m.id for m in found.mismatches] == ["growth/fixef/Days/estimate"]
    assert "10.74" in found.mismatches[0].shown


@pytest.mark.parametrize(("name", "read"), [("a.docx", docx_text), ("a.pdf", pdf_text)])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"%PDF-1.7\n"])
def test_a_damaged_file_is_an_input_error(
    tmp_path: Path, name: str, read: Callable[[Path], str], content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=r"cannot be read[\s\S]*render"):
        read(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "b.docx", "w") as parts:
        parts.writestr("word/document.xml", "<w:p")
    shutil.copyfile(tmp_path / "b.docx", tmp_path / name)
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path / name)
