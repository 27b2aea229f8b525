"""One document with every construct, rendered once in each format, and what must hold of it."""

from __future__ import annotations

import base64
import os
import re
import shutil
import sys
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from bs4 import BeautifulSoup

from mlmreport.errors import AnalysisError, EnvironmentFault, InputError
from mlmreport.quantities import Results, Row, Table
from mlmreport.report.document import named_in_tables
from mlmreport.report.houses import find
from mlmreport.report.render import FORMATS, front_matter_formats, render

HERE = Path(__file__).parent
BASE = HERE.parents[1] / "templates" / "base"
SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="240pt" height="120pt">'
    '<rect width="9" height="9"/></svg>'
)
WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
BIBLIOGRAPHY = """
@book{snijders2012, author = {Snijders, Tom A. B. and Bosker, Roel J.}, year = {2012},
  title = {Multilevel Analysis}, publisher = {Sage}}
@article{stram1994, author = {Stram, Daniel O. and Lee, Jae Won}, year = {1994},
  title = {Variance Components Testing}, journal = {Biometrics}, volume = {50}}
@book{nels1990, author = {{National Center for Education Statistics}}, year = {1990},
  title = {NELS:88}, publisher = {U.S. Department of Education}}
"""
QUANTITY_TABLE = """
::: {#tbl-%(id)s}

```{=html}
<table><thead><tr><th>Unit</th><th style="text-align:right">Estimate</th></tr></thead><tbody>
%(rows)s
</tbody></table>
```

%(id)s in full.

:::
"""


@dataclass(frozen=True)
class Rendered:
    html: str
    page: BeautifulSoup
    docx: str
    pdf: Path

    @cached_property
    def pdf_text(self) -> str:
        return pdf_text(self.pdf)


def furnish(folder: Path) -> Path:
    """Put what a document needs beside it."""
    figures = folder / "figures"
    figures.mkdir(parents=True)
    for name in ("cat", "qq"):
        (figures / f"{name}.svg").write_text(SVG, encoding="utf-8")
        (figures / f"{name}.png").write_bytes(PNG)
    (folder / "refs.bib").write_text(BIBLIOGRAPHY, encoding="utf-8")
    for file in ("style.css", "report.js"):
        shutil.copy(BASE / file, folder / file)
    return folder


def write(folder: Path, body: str, **meta: object) -> Path:
    front = {"title": "T", "lang": "en", "format": front_matter_formats(), **meta}
    qmd = folder / "doc.qmd"
    qmd.write_text(f"---\n{yaml.safe_dump(front)}---\n\n{body}\n", encoding="utf-8")
    return qmd


def word_text(docx: Path) -> str:
    """The running text, paragraphs and cells in the order of the file."""
    body = ElementTree.fromstring(zipfile.ZipFile(docx).read("word/document.xml"))
    return "\n".join("".join(p.itertext()) for p in body.iter(f"{WORD}p"))


def pdf_text(pdf: Path) -> str:
    pypdf = pytest.importorskip("pypdf")
    return "\n".join(page.extract_text() for page in pypdf.PdfReader(pdf).pages)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return furnish(tmp_path / "doc")


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    folder = furnish(tmp_path_factory.mktemp("sample") / "doc")
    shutil.copy(HERE / "sample.qmd", folder)
    html, docx, pdf = render(
        folder / "sample.qmd", ["html", "docx", "pdf"], folder / "out", engine="embedded"
    )
    text = html.read_text(encoding="utf-8")
    return Rendered(text, BeautifulSoup(text, "html.parser"), word_text(docx), pdf)


def plain(text: str) -> str:
    return re.sub(r"\s+", " ", text.replace("\N{NO-BREAK SPACE}", " ")).strip()


class TestCrossReferences:
    @pytest.mark.parametrize(
        ("target", "text"),
        [
            ("sec-inference", "Section 8"),
            ("sec-models", "Section 5"),
            ("tbl-structure", "Table 1"),
            ("tbl-models", "Table 2"),
            ("fig-qq", "Figure 1"),
            ("fig-cat", "Figure 2"),
            ("eq-empty", "Equation 1"),
            ("eq-icc", "Equation 2"),
        ],
    )
    def test_a_reference_is_the_number_and_a_link(
        self, rendered: Rendered, target: str, text: str
    ) -> None:
        link = rendered.page.find("a", href=f"#{target}", class_="cross-reference")
        assert plain(link.get_text()) == text
        assert rendered.page.find(id=target) is not None
        assert text in plain(rendered.docx)
        assert text in plain(rendered.pdf_text)

    def test_every_link_within_the_page_has_its_target(self, rendered: Rendered) -> None:
        targets = [a["href"][1:] for a in rendered.page.select('a[href^="#"]')]
        assert len(targets) > 20
        assert [name for name in targets if not rendered.page.find(id=name)] == []

    def test_no_reference_is_left_as_written(self, rendered: Rendered) -> None:
        for text in (rendered.page.main.get_text(), rendered.docx, rendered.pdf_text):
            assert not re.search(r"[@#](sec|tbl|fig|eq)-", text)

    def test_number_only_and_prefix(self, folder: Path) -> None:
        body = (
            "# One {#sec-one}\n\n## Two {#sec-two}\n\n"
            "[-@sec-two] [Chapter @sec-one] [@sec-one; @sec-two]"
        )
        (html,) = render(write(folder, body), ["html"], folder, engine="embedded")
        page = BeautifulSoup(html.read_text(encoding="utf-8"), "html.parser")
        assert plain(page.main.find("p").get_text()) == "1.1 Chapter 1 Section 1, Section 1.1"

    def test_an_unnumbered_section_does_not_count_and_is_named_by_its_title(
        self, folder: Path
    ) -> None:
        body = "# Aside {#sec-aside .unnumbered}\n\n# One {#sec-one}\n\n@sec-aside @sec-one"
        (html,) = render(write(folder, body), ["html"], folder, engine="embedded")
        page = BeautifulSoup(html.read_text(encoding="utf-8"), "html.parser")
        assert plain(page.main.find("p").get_text()) == "Aside Section 1"

    def test_all_unknown_ones_are_told_with_place_and_near_miss(self, folder: Path) -> None:
        qmd = write(folder, "# One {#sec-icc}\n\nSee @sec-ic and\n@tbl-nothing.")
        with pytest.raises(InputError) as caught:
            render(qmd, ["html"], folder, engine="embedded")
        first, second = caught.value.problems
        line = qmd.read_text(encoding="utf-8").splitlines().index("See @sec-ic and") + 1
        assert "'@sec-ic'" in first.message
        assert "sec-icc" in first.hint
        assert first.location is not None
        assert (first.location.line, first.location.column) == (line, 5)
        assert "'@tbl-nothing'" in second.message


class TestHtml:
    def test_sections_are_numbered(self, rendered: Rendered) -> None:
        heads = [plain(h.get_text(" ")) for h in rendered.page.main.find_all("h1")]
        assert heads[0] == "1 Structure"
        assert heads[7:] == ["8 Inference", "Decisions", "References"]

    def test_nothing_is_fetched(self, rendered: Rendered) -> None:
        for element in rendered.page.find_all(src=True):
            assert element["src"].startswith("data:")
        assert rendered.page.find_all("link") == []
        assert rendered.page.find_all("script", src=True) == []
        assert not re.search(r"url\(\s*['\"]?(?!data:)|@import", rendered.html)
        outside = [a for a in re.findall(r'https?://[^"\s<]+', rendered.html) if "w3.org" not in a]
        assert outside == []

    def test_numbers_carry_their_data_also_in_a_raw_table(self, rendered: Rendered) -> None:
        table = rendered.page.find(id="tbl-models")
        spans = table.select("td span.q")
        assert len(spans) > 60
        assert all(s.get("data-id") and s.get("data-value") for s in spans)
        icc = rendered.page.select_one('p span.q[data-id="icc"]')
        assert (icc.get_text(), icc["data-value"]) == (".25", "0.2539170212")

    def test_the_card_data_block_survives(self, rendered: Rendered) -> None:
        block = rendered.page.find("script", id="mlm-quantities")
        assert yaml.safe_load(block.string)["icc"]["method"] == "REML"

    def test_everything_is_visible_without_the_script(self, rendered: Rendered) -> None:
        assert rendered.page.main.find_all(hidden=True) == []
        tabs = rendered.page.select(".panel-tabset > .tab")
        assert [plain(t.select_one(".tab-title").get_text()) for t in tabs] == [
            "Information criteria",
            "Likelihood ratio tests",
            "Explained variance",
        ]

    def test_callouts(self, rendered: Rendered) -> None:
        folded = rendered.page.select_one("details.callout-warning")
        assert plain(folded.summary.get_text()) == "Two schools stand out"
        assert not folded.has_attr("open")
        untitled = rendered.page.select_one("div.callout-important .callout-title")
        assert plain(untitled.get_text()) == "Important"
        assert len(rendered.page.select(".callout")) == 5

    def test_a_table_scrolls_in_its_own_named_box_and_has_its_notes_outside(
        self, rendered: Rendered
    ) -> None:
        table = rendered.page.find(id="tbl-models")
        box = table.select_one(".table-scroll")
        name = rendered.page.find(id=box["aria-labelledby"])
        assert (box["tabindex"], box["role"]) == ("0", "region")
        assert plain(name.get_text()).startswith("Table 2. Sequence of models")
        assert table.find("tfoot") is None
        assert plain(table.select_one(".table-note").get_text()).startswith("Note. Standard errors")

    def test_figures_have_alternative_text_and_are_inlined(self, rendered: Rendered) -> None:
        image = rendered.page.find(id="fig-cat").img
        assert image["alt"].startswith("Caterpillar plot")
        assert image["src"].startswith("data:image/svg+xml")

    def test_formulas_are_mathml_with_their_number(self, rendered: Rendered) -> None:
        equation = rendered.page.find(id="eq-empty")
        assert equation.find("math") is not None
        assert equation.select_one(".equation-number").get_text() == "(1)"

    def test_language_skip_link_and_contents(self, rendered: Rendered) -> None:
        page = rendered.page
        assert page.html["lang"] == "en-GB"
        assert page.body.find("a")["href"] == "#main"
        assert len(page.select("#TOC a")) == 11

    def test_content_for_one_format_stays_there(self, rendered: Rendered) -> None:
        assert "on pointing at it" in rendered.html
        assert "on pointing at it" not in rendered.docx
        assert "The HTML edition" in rendered.docx
        assert "The HTML edition" not in rendered.page.main.get_text()
        assert "mlm-quantities" not in rendered.docx

    def test_citations_and_references(self, rendered: Rendered) -> None:
        assert "Snijders and Bosker (2012)" in rendered.page.main.get_text()
        assert len(rendered.page.select("#refs .csl-entry")) == 3


class TestSameNumbersEverywhere:
    def numbers(self, rendered: Rendered) -> list[str]:
        return [plain(span.get_text()) for span in rendered.page.main.select("span.q")]

    def in_order(self, numbers: list[str], text: str) -> None:
        at = 0
        for number in numbers:
            found = text.find(number, at)
            assert found >= 0, f"{number} is missing after ...{text[max(0, at - 80) : at]}"
            at = found + len(number)

    def test_docx(self, rendered: Rendered) -> None:
        self.in_order(self.numbers(rendered), plain(rendered.docx))

    def test_pdf(self, rendered: Rendered) -> None:
        self.in_order(self.numbers(rendered), plain(rendered.pdf_text))

    def test_labels_of_a_table_too(self, rendered: Rendered) -> None:
        labels = [plain(th.get_text()) for th in rendered.page.select("#tbl-models th")]
        pdf, docx = plain(rendered.pdf_text), plain(rendered.docx)
        assert len(labels) > 20
        assert [label for label in labels if label not in docx] == []
        assert [label for label in labels if label not in pdf] == []


class TestDocx:
    def test_tables_are_native_with_a_repeated_head(self, folder: Path) -> None:
        rows = "<tr><td>school</td><td style='text-align:right'>1.23</td></tr>"
        qmd = write(folder, QUANTITY_TABLE % {"id": "one", "rows": rows})
        (docx,) = render(qmd, ["docx"], folder, engine="embedded")
        xml = zipfile.ZipFile(docx).read("word/document.xml").decode()
        assert xml.count("<w:tbl>") == 1
        assert "<w:tblHeader" in xml
        assert '<w:jc w:val="right"' in xml
        assert '<w:pStyle w:val="TableText"' in xml
        assert re.search(r'<w:pgSz [^>]*w:w="11906"', xml)

    def test_caption_note_and_callout_keep_their_styles(self, rendered: Rendered) -> None:
        assert "Table 2. Sequence of models" in plain(rendered.docx)
        assert "Note. Standard errors in parentheses." in plain(rendered.docx)
        assert "Two schools stand out" in rendered.docx


class TestPdf:
    def test_a4_pages_with_numbers_and_running_title(self, rendered: Rendered) -> None:
        pypdf = pytest.importorskip("pypdf")
        pages = pypdf.PdfReader(rendered.pdf).pages
        width, height = (float(x) for x in pages[0].mediabox[2:])
        assert (round(width), round(height)) == (595, 842)
        assert f"2 / {len(pages)}" in plain(pages[1].extract_text())
        assert "Homework and mathematics achievement" in pages[1].extract_text()

    def test_a_long_table_breaks_and_repeats_its_head(self, folder: Path) -> None:
        rows = "".join(f"<tr><td>school {i}</td><td>{i}.25</td></tr>" for i in range(120))
        qmd = write(folder, QUANTITY_TABLE % {"id": "long", "rows": rows})
        (pdf,) = render(qmd, ["pdf"], folder, engine="embedded")
        text = pdf_text(pdf)
        assert text.count("Estimate") >= 2
        assert all(f"{i}.25" in text for i in range(120))

    def test_characters_that_mean_something_to_typst(self, folder: Path) -> None:
        body = "A dollar \\$5, #hash, @ sign, 5 * 3, \\<angle\\>, _under_, `x <- y$z[[1]]`."
        (pdf,) = render(write(folder, body), ["pdf"], folder, engine="embedded")
        text = plain(pdf_text(pdf))
        assert "A dollar $5, #hash, @ sign, 5 * 3, <angle>, under, x <- y$z[[1]]." in text


class TestFailures:
    @pytest.mark.parametrize(
        ("body", "named"),
        [
            ("![](figures/absent)", "absent"),
            ("As @nobody1900 says.", "nobody1900"),
            (r"$\frac{a}{$", r"\frac{a}{"),
        ],
    )
    @pytest.mark.parametrize("name", FORMATS)
    def test_a_page_with_something_missing_is_not_made(
        self, folder: Path, name: str, body: str, named: str
    ) -> None:
        qmd = write(folder, body, bibliography="refs.bib")
        with pytest.raises(AnalysisError) as caught:
            render(qmd, [name], folder / "out", engine="embedded")
        assert named in str(caught.value)

    def test_the_last_good_files_stay(self, folder: Path) -> None:
        out = folder / "out"
        made = render(write(folder, "Fine."), list(FORMATS), out, engine="embedded")
        before = {file: file.read_bytes() for file in made}
        with pytest.raises(InputError):
            render(write(folder, "@tbl-gone"), list(FORMATS), out, engine="embedded")
        assert {file: file.read_bytes() for file in out.iterdir()} == before

    def test_an_unknown_format(self, folder: Path) -> None:
        with pytest.raises(InputError, match="unknown output format 'htm'") as caught:
            render(write(folder, "x"), ["htm"], folder)
        assert "html" in caught.value.problems[0].hint

    def test_no_document(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"no document .*gone\.qmd"):
            render(tmp_path / "gone.qmd", ["html"], tmp_path)

    def test_front_matter_that_is_not_yaml_is_located(self, folder: Path) -> None:
        qmd = folder / "bad.qmd"
        qmd.write_text("---\ntitle: a\nlang: [en\n---\n\nText\n", encoding="utf-8")
        with pytest.raises(InputError, match="front matter") as caught:
            render(qmd, ["html"], folder, engine="embedded")
        assert caught.value.problems[0].location is not None
        assert caught.value.problems[0].location.line >= 3


QUARTO = """#!{python}
import pathlib, sys
name, targets = sys.argv[2], sys.argv[4].split(",")
assert sys.argv[1] == "render" and pathlib.Path("figures/cat.svg").exists()
if "fail" in pathlib.Path(name).read_text():
    sys.exit("ERROR: Quarto's own message")
for target in targets:
    suffix = {{"typst": "pdf"}}.get(target, target)
    pathlib.Path(name).with_suffix("." + suffix).write_text(target)
"""


@pytest.mark.skipif(os.name == "nt", reason="stands in for the command line by a script")
class TestQuarto:
    @pytest.fixture
    def _quarto(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        program = tmp_path / "quarto"
        program.write_text(QUARTO.format(python=sys.executable), encoding="utf-8")
        program.chmod(0o755)
        monkeypatch.setenv("QUARTO_PATH", str(program))

    @pytest.mark.usefixtures("_quarto")
    def test_it_renders_a_copy_and_the_files_come_into_place(self, folder: Path) -> None:
        qmd = write(folder, "Text")
        made = render(qmd, ["pdf", "html"], folder / "out")
        assert [file.name for file in made] == ["doc.pdf", "doc.html"]
        assert [file.read_text(encoding="utf-8") for file in made] == ["typst", "html"]
        assert not (folder / "doc.html").exists()

    @pytest.mark.usefixtures("_quarto")
    def test_its_message_is_carried(self, folder: Path) -> None:
        with pytest.raises(AnalysisError, match="Quarto's own message"):
            render(write(folder, "fail"), ["html"], folder / "out")
        assert list((folder / "out").iterdir()) == []

    def test_asked_for_but_absent(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("QUARTO_PATH", raising=False)
        monkeypatch.setenv("PATH", str(folder))
        with pytest.raises(EnvironmentFault, match=r"quarto\.org"):
            render(write(folder, "x"), ["html"], folder, engine="quarto")
        assert render(write(folder, "x"), ["html"], folder)[0].exists()


class TestFrontMatter:
    def test_the_sample_has_what_the_function_gives(self) -> None:
        text = (HERE / "sample.qmd").read_text(encoding="utf-8")
        meta = yaml.safe_load(text.split("---\n")[1])
        assert meta["format"] == front_matter_formats()

    def test_what_quarto_needs_for_one_file_without_network(self) -> None:
        formats = front_matter_formats()
        html = formats["html"]
        assert html["embed-resources"] is True
        assert html["html-math-method"] == "mathml"
        assert html["theme"] == "default"
        assert {name: row["default-image-extension"] for name, row in formats.items()} == {
            "html": "svg",
            "docx": "png",
            "typst": "svg",
        }

    def test_only_the_formats_asked_for(self) -> None:
        formats = front_matter_formats(["pdf"], reference_doc="lab.docx")
        assert list(formats) == ["typst"]
        formats = front_matter_formats(["docx"], reference_doc="lab.docx")
        assert formats["docx"]["reference-doc"] == "lab.docx"

    def test_a_file_and_a_text_can_be_included(self, folder: Path) -> None:
        (folder / "head.html").write_text('<meta name="from" content="file">', encoding="utf-8")
        formats = {"html": {"include-in-header": ["head.html", {"text": "<!-- from text -->"}]}}
        (html,) = render(write(folder, "x", format=formats), ["html"], folder, engine="embedded")
        page = html.read_text(encoding="utf-8")
        assert '<meta name="from"' in page
        assert "from text" in page


def test_works_named_in_tables_are_in_the_references() -> None:
    notes = (
        "R² (Nakagawa and Schielzeth 2013; Johnson 2014). Rights and Sterba (2019). Nobody 1900."
    )
    table = Table("t", "A table", ("", "What"), (Row("A", ("(Nakagawa et al. 2017)",)),), notes)
    results = Results({}, {}, {"fit": {"table": table}}, (), (), (), ())
    keys = named_in_tables(
        results, find("base", Path.cwd()).file("refs.bib").read_text(encoding="utf-8")
    )
    assert keys == ["Nakagawa2013", "Johnson2014", "Rights2019", "Nakagawa2017"]
