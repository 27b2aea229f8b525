"""Houses and documents that attack: nothing is read, fetched or run, and every one ends."""

from __future__ import annotations

import base64
import io
import os
import re
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from mlmreport.errors import InputError
from mlmreport.quantities import Results
from mlmreport.report import document, page, processes, sheets, strangers, tree, typesetting, word
from mlmreport.report.houses import bundled, find
from mlmreport.report.processes import Limits
from mlmreport.report.render import FORMATS, front_matter_formats, render

pytestmark = pytest.mark.skipif(os.name == "nt", reason="links and limits as POSIX has them")

TOKEN = "canary-7d1c9b"
RESULTS = Results({"title": "T", "authors": [], "house": "lab"}, {}, {}, (), (), (), (), {})
PICTURE = '<svg xmlns="http://www.w3.org/2000/svg" width="9pt" height="9pt"><rect width="9"/></svg>'
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
Plant = Callable[[Path, Path], None]
WORD = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
KIND = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/"


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, list[str]]]:
    """A server of the network, and what was asked of it."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(PICTURE.encode())

        def log_message(self, *_: object) -> None:
            pass

    listening = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{listening.server_port}", asked
    listening.shutdown()


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "private" / "secret.txt"
    file.parent.mkdir()
    file.write_text(TOKEN, encoding="utf-8")
    return file


# --- files of a house ---------------------------------------------------------------------------


def lab(beside: Path, files: Mapping[str, str | bytes]) -> Path:
    folder = beside / "templates" / "lab"
    for name, content in {"house.yml": "name: Lab\nextends: base\n", **files}.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def package(**parts: str) -> bytes:
    """A Word file of parts; `__` in a name is a slash."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name.replace("__", "/").replace("-", "."), content)
    return made.getvalue()


def related(kind: str, target: str, mode: str = ' TargetMode="External"') -> bytes:
    entry = f'<Relationship Id="r" Type="{KIND}{kind}" Target="{target}"{mode}/>'
    return package(**{"word___rels__document-xml-rels": f"<Relationships>{entry}</Relationships>"})


def body(content: str) -> bytes:
    return package(**{"word__document-xml": f"<w:document {WORD}>{content}</w:document>"})


def split_field(*pieces: str) -> bytes:
    runs = "".join(f"<w:r><w:instrText>{piece}</w:instrText></w:r>" for piece in pieces)
    begin, end = (f'<w:r><w:fldChar w:fldCharType="{kind}"/></w:r>' for kind in ("begin", "end"))
    return body(f"<w:p>{begin}{runs}{end}</w:p>")


BOMB = "a: &a [x, x]\n" + "".join(
    f"{name}: &{name} [*{before}, *{before}]\n"
    for before, name in zip("abcdefghijklmnopqrs", "bcdefghijklmnopqrst", strict=True)
)
WRONG_FILES: dict[str, dict[str, str | bytes]] = {
    "a script": {"report.js": "fetch('//x')"},
    "a script deeper down": {"sections/report.js": "1"},
    "extends outside": {"house.yml": "name: L\nextends: ../../outside\n"},
    "extends a path": {"house.yml": "name: L\nextends: /tmp\n"},
    "extends itself": {"house.yml": "name: L\nextends: lab\n"},
    "extends nothing known": {"house.yml": "name: L\nextends: bas\n"},
    "extends a list": {"house.yml": "name: L\nextends: [base]\n"},
    "extends a link": {"house.yml": "name: L\nextends: http://x/base\n"},
    "an unknown key": {"house.yml": "name: L\nextend: base\n"},
    "no name": {"house.yml": "extends: base\n"},
    "a list for a house": {"house.yml": "- name\n"},
    "an empty house": {"house.yml": ""},
    "no YAML": {"house.yml": "name: [\n"},
    "a tag of Python": {"house.yml": "name: !!python/object/apply:os.system [touch x]\n"},
    "a bomb of aliases": {"house.yml": f"name: L\n{BOMB}"},
    "a house not in UTF-8": {"house.yml": b"name: \xff\n"},
    "a template not in UTF-8": {"sections/1-structure.qmd.j2": b"\xff\xfe{\x00"},
    "a sheet not in UTF-8": {"style.css": b"a{b:'\xff'}"},
    "a file of megabytes": {"style.css": b" " * 5_000_001},
    "hundreds of files": {f"sections/{i}-x.qmd.j2": "" for i in range(501)},
    "import": {"style.css": "@import 'http://x/a.css';"},
    "import by address": {"style.css": "@IMPORT url(../../x.css);"},
    "import escaped": {"style.css": "@\\69mport 'x.css';"},
    "import within a block": {"style.css": "@media print { @import 'x'; }"},
    "an address": {"style.css": "a{background:URL( 'http://x/i.png' )}"},
    "an address escaped": {"style.css": "a{background:u\\72l(http://x/i.png)}"},
    "an address without scheme": {"style.css": "a{background:url(//x/i.png)}"},
    "a file": {"style.css": "a{background:url(file:///etc/passwd)}"},
    "a file beside": {"style.css": "a{background:url('../x.png')}"},
    "an address in a property of one's own": {"style.css": ":root{--x:url(http://x)}"},
    "image-set": {"style.css": "a{background:image-set('http://x' 1x)}"},
    "image-set of an engine": {"style.css": "a{background:-webkit-image-set('http://x' 1x)}"},
    "src()": {"style.css": "a{background:src('http://x')}"},
    "an address when supported": {"style.css": "@supports (background:url(http://x)){a{b:c}}"},
    "a font": {"style.css": "@font-face{font-family:x;src:url(http://x/f.woff2)}"},
    "a namespace": {"style.css": "@namespace url(http://x);"},
    "an expression": {"style.css": "a{width:expression(alert(1))}"},
    "a binding": {"style.css": "a{-moz-binding:url(#x)}"},
    "a behaviour": {"style.css": "a{beh\\61vior:url(#x)}"},
    "data of a page": {"style.css": "a{background:url(data:text/html,x)}"},
    "an active drawing": {"style.css": "a{b:url('data:image/svg+xml,<svg onload=\"x\"/>')}"},
    "the end of a sheet": {"style.css": "a{content:'</style><script>1</script>'}"},
    "an address never closed": {"style.css": "a{background:url("},
    "a picture elsewhere in Word": {"reference.docx": related("image", "http://x/i.png")},
    "a template of Word": {"reference.docx": related("attachedTemplate", "file:///x.dotm")},
    "a link to a file in Word": {"reference.docx": related("hyperlink", "file:///etc/passwd")},
    "an object in Word": {"reference.docx": related("oleObject", "o.bin", "")},
    "DDEAUTO": {"reference.docx": split_field(" DDEAUTO c:\\\\x ")},
    "DDEAUTO in pieces": {"reference.docx": split_field(" DD", "EAU", "TO c:\\\\x ")},
    "QUOTE around DDE": {"reference.docx": split_field(" QUOTE 68 68 69 ")},
    "INCLUDETEXT": {
        "reference.docx": body('<w:fldSimple w:instr="INCLUDETEXT &quot;/etc/passwd&quot;"/>')
    },
    "INCLUDEPICTURE": {"reference.docx": split_field(' INCLUDEPICTURE "http://x" \\d ')},
    "a field of a file": {"reference.docx": split_field(' HYPERLINK "file:///x" ')},
    "a foreign part of Word": {"reference.docx": body('<w:altChunk r:id="r"/>')},
    "a control": {"reference.docx": body('<w:control w:name="x"/>')},
    "macros": {"reference.docx": package(**{"word__vbaProject-bin": "x"})},
    "an entity": {"reference.docx": package(**{"word__a-xml": "<!DOCTYPE a [<!ENTITY b 'c'>]>"})},
    "UTF-16 in Word": {"reference.docx": package(**{"word__a-xml": "<a/>\0"})},
    "no Word file": {"reference.docx": "PK no"},
    "a style that rests on another": {
        "apa.csl": '<style><link href="http://x" rel="independent-parent"/></style>'
    },
}  # fmt: skip


@pytest.mark.parametrize("files", WRONG_FILES.values(), ids=WRONG_FILES)
def test_a_house_of_wrong_files_is_refused_at_a_place(
    tmp_path: Path, files: Mapping[str, str | bytes]
) -> None:
    lab(tmp_path, files)
    with pytest.raises(InputError) as caught:
        find("lab", tmp_path)
    assert caught.value.exit_code == 2
    assert "lab" in str(caught.value)
    assert "pydantic" not in str(caught.value)
    assert len(str(caught.value)) < 20_000


def test_places_and_near_misses_are_told(tmp_path: Path) -> None:
    folder = lab(tmp_path, {"house.yml": "name: L\nextend: base\n"})
    with pytest.raises(InputError) as caught:
        find("lab", tmp_path)
    assert str(caught.value).startswith(f"{folder / 'house.yml'}:2:1: unknown key 'extend'")
    assert "did you mean 'extends'?" in str(caught.value)
    lab(tmp_path, {"house.yml": "name: L\nextends: bas\n"})
    with pytest.raises(InputError, match=r"house\.yml:2:1: there is no house 'bas'") as caught:
        find("lab", tmp_path)
    assert "did you mean 'base'?" in str(caught.value)


def _link_sheet(folder: Path, secret: Path) -> None:
    (folder / "style.css").symlink_to(secret)


def _link_section(folder: Path, secret: Path) -> None:
    (folder / "sections").mkdir()
    (folder / "sections" / "1-structure.qmd.j2").symlink_to(secret)


def _link_sections(folder: Path, secret: Path) -> None:
    (folder / "sections").symlink_to(secret.parent)


def _link_included(folder: Path, secret: Path) -> None:
    (folder / "notes").symlink_to(os.path.relpath(secret, folder))


def _link_house_file(folder: Path, secret: Path) -> None:
    (folder / "house.yml").rename(secret.with_name("house.yml"))
    (folder / "house.yml").symlink_to(secret.with_name("house.yml"))


def _link_house(folder: Path, secret: Path) -> None:
    folder.rename(secret.with_name("lab"))
    folder.symlink_to(secret.with_name("lab"))


def _link_templates(folder: Path, secret: Path) -> None:
    folder.parent.rename(secret.with_name("templates"))
    folder.parent.symlink_to(secret.with_name("templates"))


def _pipe(folder: Path, secret: Path) -> None:
    os.mkfifo(folder / "style.css")


PLANTS = (_link_sheet, _link_section, _link_sections, _link_included, _link_house_file,
          _link_house, _link_templates, _pipe)  # fmt: skip


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_a_house_that_reaches_elsewhere_is_refused(
    tmp_path: Path, secret: Path, plant: Plant
) -> None:
    plant(lab(tmp_path, {}), secret)
    with pytest.raises(InputError) as caught:
        find("lab", tmp_path)
    assert TOKEN not in str(caught.value)


def test_a_shortcode_is_text_where_nobody_acts_on_it(tmp_path: Path, secret: Path) -> None:
    qmd = furnished(tmp_path / "doc", f"x {{{{< include {secret} >}}}}", {})
    (made,) = render(qmd, ["html"], tmp_path / "out", engine="embedded")
    text = made.read_text(encoding="utf-8")
    assert TOKEN not in text
    assert "include" in text


@pytest.mark.parametrize("name", ["../lab", "/tmp", "lab/../lab", "", ".", "a" * 65, "lab\n"])
def test_a_name_that_is_a_path_is_no_house(tmp_path: Path, name: str) -> None:
    lab(tmp_path, {})
    if name:
        with pytest.raises(InputError, match="is no name of a house"):
            find(name, tmp_path)


def test_the_house_that_ships_passes_what_a_strangers_must() -> None:
    base = bundled() / "base"
    assert find("base", base).foreign == ()
    assert sheets.refusals((base / "style.css").read_text(encoding="utf-8")) == []
    shipped = Path(document.__file__).parent / "pandoc" / "reference.docx"
    assert word.in_file(shipped) == []


def test_a_house_of_colours_and_fonts_is_taken(tmp_path: Path) -> None:
    sheet = (
        ".a:not(.b)::before{color:color-mix(in srgb, red, var(--x, #fff));width:calc(1em + 2px);"
        "background:url('data:image/png;base64,AAAA')}"
        "@font-face{font-family:x;src:url(data:font/woff2;base64,AAAA) format('woff2')}"
        "@media (min-width:3em){p{transform:rotate(3deg)}} @page{@top-left{content:counter(page)}}"
    )
    lab(tmp_path, {"style.css": sheet, "reference.docx": split_field(" PAGE ")})
    assert len(find("lab", tmp_path).foreign) == 1


# --- templates ----------------------------------------------------------------------------------

LOOP = "{% for a in range(99999) %}" * 4 + "x" + "{% endfor %}" * 4
DOUBLED = (
    "{% set n = namespace(s='ab') %}{% for i in range(99) %}{% set n.s = n.s ~ n.s %}{% endfor %}"
)
WRONG_TEMPLATES = {
    "syntax": "{% if %}",
    "undefined": "{{ nothing.at.all }}",
    "of a type": "{{ 1 + 'a' }}",
    "division": "{{ 1 // 0 }}",
    "loops": LOOP,
    "a doubled text": DOUBLED,
    "a repeated text": "{{ 'a' * 10**12 }}",
    "a repeated list": "{{ [1] * 10**12 }}",
    "a power": "{% set a = 9 %}{{ a ** (a ** (a ** a)) }}",
    "a huge range": "{% for i in range(10**12) %}{% endfor %}",
    "a wide number": "{{ '%0999999999999d' % 1 }}",
    "a wide format": "{{ '{:999999999999}'.format(1) }}",
    "recursion": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "inclusion of itself": "{% include 'sections/1-x.qmd.j2' %}",
    "nesting": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "a path": "{% include '../../../private/secret.txt' %}",
    "a file": "{% include '/etc/passwd' %}",
    "attributes": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "globals": "{{ range.__globals__ }}",
    "a format of attributes": "{{ '{0.__class__.__init__.__globals__}'.format(results) }}",
}


@pytest.fixture
def alone(tmp_path: Path) -> Callable[[str], Path]:
    """A house with one section, which is not the one that ships."""

    def make(template: str) -> Path:
        blank = {f"sections/{file.name}": "" for file in (bundled() / "base/sections").iterdir()}
        lab(tmp_path, {**blank, "sections/1-x.qmd.j2": f"# X\n\n{template}\n"})
        return tmp_path

    return make


@pytest.mark.parametrize("template", WRONG_TEMPLATES.values(), ids=WRONG_TEMPLATES)
def test_a_template_ends_with_its_place(
    alone: Callable[[str], Path], secret: Path, template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strangers, "SECONDS", 1)
    monkeypatch.setattr(strangers, "MEGABYTES", 300)
    house = find("lab", alone(template))
    with pytest.raises(InputError) as caught:
        document.compose(RESULTS, house, ("html",))
    assert caught.value.exit_code == 2
    place = caught.value.problems[0].location
    assert place is not None
    assert place.file.endswith("sections/1-x.qmd.j2")
    assert TOKEN not in str(caught.value)


def test_an_error_names_the_line(alone: Callable[[str], Path]) -> None:
    house = find("lab", alone("fine\n\n{{ nothing.x }}"))
    with pytest.raises(InputError, match=r"1-x\.qmd\.j2:5:1: .*'nothing' is undefined"):
        document.compose(RESULTS, house, ("html",))


def test_a_template_that_ends_is_filled_in(alone: Callable[[str], Path]) -> None:
    text = document.compose(RESULTS, find("lab", alone("{{ 6 * 7 }}")), ("html",))
    assert "42" in text


# --- documents ----------------------------------------------------------------------------------

RAW = "```{{=html}}\n{}\n```"
WRONG_DOCUMENTS = {
    "a frame": '<iframe src="URL/i"></iframe>',
    "a frame in a table": RAW.format("<table><tr><td><iframe src=URL/i></iframe></table>"),
    "an object": '<object data="SECRET"></object>',
    "an embedded file": '<embed src="SECRET">',
    "a film": '<video src="URL/v" autoplay></video>',
    "a sound": RAW.format('<audio src="URL/v"></audio>'),
    "a source": RAW.format('<picture><source srcset="URL/i"></picture>'),
    "pictures by size": '<img src="figures/cat.svg" srcset="URL/i 2x">',
    "a picture unquoted": RAW.format("<img src=URL/i>"),
    "a picture of a page": '<img src="SECRET">',
    "a script from elsewhere": '<script src="URL/s.js"></script>',
    "a script": RAW.format("<script>fetch('URL/s')</script>"),
    "a script in capitals": RAW.format("<SCRIPT\n>fetch('URL/s')</SCRIPT >"),
    "a script behind a slash": RAW.format("<script/src=URL/s></script>"),
    "a script in a comment that ends": RAW.format("<!--><script>1</script>-->"),
    "a script never closed": RAW.format("<script>1"),
    "data that end": RAW.format(
        '<script type="application/json" id="mlm-quantities">{}<!--<script></script>'
    ),
    "a drawing": RAW.format('<svg onload="1"><use href="URL/u"/></svg>'),
    "a foreign part of a formula": RAW.format(
        '<math><annotation-xml encoding="text/html"><b>x</b></annotation-xml></math>'
    ),
    "a form": '<form action="URL/f"><input name="a"></form>',
    "another base": '<base href="URL/">',
    "a refresh": '<meta http-equiv="refresh" content="0;url=URL/r">',
    "a stylesheet": '<link rel="stylesheet" href="URL/c">',
    "a style of its own": RAW.format("<style>@import 'URL/c';</style>"),
    "a template of the page": RAW.format("<template><img></template>"),
    "an event": RAW.format('<p onclick="1">x</p>'),
    "an event on a span": '[x]{onmouseover="1"}',
    "an event on a link": '[x](https://doi.org/1){onclick="1"}',
    "a tag that is not closed": RAW.format('<p title="'),
    "a link that runs": "[x](javascript:alert%281%29)",
    "a link of entities": RAW.format('<a href="java&#115;cript:alert(1)">x</a>'),
    "a link to data": "[x](data:text/html,%3Cscript%3E1%3C/script%3E)",
    "a link to a file": "[x](file:///etc/passwd)",
    "a link beside": "[x](../../private/secret.txt)",
    "a style that fetches": '[x]{style="background:u\\\\72l(URL/i)"}',
    "a style in HTML": RAW.format('<p style="background-image:url(URL/i)">x</p>'),
    "a style that covers": RAW.format('<p style="position:fixed">x</p>'),
    "a picture on the disk": "![](SECRET)",
    "a picture of the system": "![](/etc/passwd)",
    "a picture above": "![](../private/secret.txt)",
    "a picture within and above": "![](figures/../../private/secret.txt)",
    "a picture of the network": "![](URL/i.png)",
    "a picture by reference": "![x][i]\n\n[i]: URL/i.png",
    "a picture of data": "![](data:image/png;base64,AAAA)",
    "Typst": '```{=typst}\n#read("SECRET")\n```',
    "Typst in a line": '`#read("SECRET")`{=typst}',
    "a package of Typst": '```{=typst}\n#import "@preview/cetz:0.3.0"\n```',
    "Typst by attributes": '[x]{typst:text:fill="read(\'SECRET\')"}',
    "Typst by a table": RAW.format('<table><tr><td typst:fill="read(1)">x</td></tr></table>'),
    "Typst by an id": '<div id="tbl-x>#read(1)<y">\n\nx\n\n</div>',
    "Word": "```{=openxml}\n<w:p><w:fldSimple w:instr='DDEAUTO x'/></w:p>\n```",
    "TeX": "\\input{SECRET}\n\nx",
    "TeX in a line": "x \\input{SECRET} y",
    "settings in the text": "x\n\n---\nbibliography: SECRET\n---\n\nx",
    "a filter in the text": "x\n\n---\nfilters: [x.lua]\n---\n\nx",
    "a cell of R": "```{r}\nreadLines('SECRET')\n```",
    "a cell in a quote": "> ```{r}\n> 1\n> ```",
    "code of R in a line": "`{r} 1 + 1`",
    "brackets": "[" * 100_000,
    "quotes": ">" * 100_000,
    "quotes with spaces": "> " * 100_000,
    "stars": "*" * 100_000,
    "lists": "- " * 10_000,
    "lists of several kinds": "1. - a) + " * 10_000,
}  # fmt: skip
WRONG_SETTINGS: dict[str, dict[str, object]] = {
    "a bibliography on the disk": {"bibliography": "SECRET"},
    "a bibliography of the system": {"bibliography": "/etc/passwd"},
    "a bibliography of the network": {"bibliography": "URL/refs.bib"},
    "a bibliography that is linked": {"bibliography": "linked.bib"},
    "a citation style of the network": {"bibliography": "refs.bib", "csl": "URL/apa.csl"},
    "a citation style on the disk": {"csl": "../private/secret.txt"},
    "abbreviations": {"citation-abbreviations": "SECRET"},
    "filters": {"filters": ["x.lua"]},
    "an engine": {"engine": "knitr"},
    "files of settings": {"metadata-files": ["SECRET"]},
    "a paper of Typst": {"papersize": 'a4", x: read("SECRET")'},
    "a language of Typst": {"lang": 'en", region: read("SECRET")'},
    "a depth that is none": {"format": {"html": {"toc-depth": "2 --lua-filter=x"}}},
    "a header on the disk": {"format": {"html": {"include-in-header": {"file": "/etc/passwd"}}}},
    "a header above": {"format": {"html": {"include-in-header": ["../private/secret.txt"]}}},
    "a header that runs": {
        "format": {"html": {"include-in-header": {"text": "<script>1</script>"}}}
    },
    "a stylesheet above": {"format": {"html": {"css": ["../private/secret.txt"]}}},
    "a stylesheet of the network": {"format": {"html": {"css": "URL/c.css"}}},
    "a reference on the disk": {"format": {"docx": {"reference-doc": "/etc/passwd"}}},
    "a template": {"format": {"html": {"template": "SECRET"}}},
}


def furnished(folder: Path, text: str, meta: Mapping[str, object]) -> Path:
    import yaml

    (folder / "figures").mkdir(parents=True)
    (folder / "figures" / "cat.svg").write_text(PICTURE, encoding="utf-8")
    (folder / "figures" / "cat.png").write_bytes(PIXEL)
    (folder / "refs.bib").write_text("", encoding="utf-8")
    for name in ("style.css", "report.js"):
        (folder / name).write_bytes((bundled() / "base" / name).read_bytes())
    front = yaml.safe_dump({"title": "T", "format": front_matter_formats(), **meta})
    qmd = folder / "doc.qmd"
    qmd.write_text(f"---\n{front}---\n\n{text}\n", encoding="utf-8")
    return qmd


def refused(tmp_path: Path, secret: Path, url: str, text: str, meta: Mapping[str, object]) -> None:
    qmd = furnished(tmp_path / "doc", text, meta)
    (qmd.parent / "linked.bib").symlink_to(secret)
    written = qmd.read_text(encoding="utf-8")
    qmd.write_text(written.replace("URL", url).replace("SECRET", str(secret)), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        render(qmd, list(FORMATS), tmp_path / "out", engine="embedded")
    assert caught.value.exit_code == 2
    assert all(problem.location for problem in caught.value.problems)
    assert list((tmp_path / "out").iterdir()) == []
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("text", WRONG_DOCUMENTS.values(), ids=WRONG_DOCUMENTS)
def test_a_document_that_reaches_out_is_refused(
    tmp_path: Path, secret: Path, server: tuple[str, list[str]], text: str
) -> None:
    refused(tmp_path, secret, server[0], text, {})
    assert server[1] == []


@pytest.mark.parametrize("meta", WRONG_SETTINGS.values(), ids=WRONG_SETTINGS)
def test_settings_that_reach_out_are_refused(
    tmp_path: Path, secret: Path, server: tuple[str, list[str]], meta: Mapping[str, object]
) -> None:
    refused(tmp_path, secret, server[0], "Text.", meta)
    assert server[1] == []


HARMLESS = """
# One {#sec-one}

![A cat.](figures/cat){#fig-cat fig-alt="Cat"} and <span class="t">12</span>, [DOI](https://doi.org/1).

::: {.callout-note title="A `#read(\\"x\\")`{=typst} **title** ![x](http://127.0.0.1:9/) [y](file:///z)"}
Text
:::

Code that is shown: `@import "@preview/x"`, `read("/etc/passwd")`, `<iframe>`;
\\<script\\>, $5 < 6$.

```r
readLines("/etc/passwd")
```
"""


def test_what_looks_wrong_and_is_not_passes(tmp_path: Path) -> None:
    authors = ['Robert "Bob" Smith', 'A", read("/data.csv"), "B', "#panic(1) $x$ @a <b> \\ 'c'"]
    qmd = furnished(tmp_path / "doc", HARMLESS, {"author": [_literal(name) for name in authors]})
    made = render(qmd, list(FORMATS), tmp_path / "out", engine="embedded")
    files = dict(zip(FORMATS, made, strict=True))
    text = files["html"].read_text(encoding="utf-8")
    assert "data:image/svg+xml" in text
    assert not re.search(r"(?:src|href)=.?http://127", text)
    assert word.in_file(files["docx"]) == []
    with zipfile.ZipFile(files["docx"]) as archive:
        media = [name for name in archive.namelist() if name.startswith("word/media/")]
        assert [archive.read(name) for name in media] == [PIXEL]
    pypdf = pytest.importorskip("pypdf")
    told = pypdf.PdfReader(files["pdf"]).metadata.author
    assert all(name in told for name in authors)


BIBLIOGRAPHY = r"""
@article{a2000, author = {A, B}, year = {2000}, title = {T \href{javascript:alert(1)}{here}
  \includegraphics{/etc/passwd} \input{/etc/passwd}}, url = {javascript:alert(2)},
  journal = {J <script>alert(3)</script>}, doi = {10.1000/1}, note = {\url{file:///etc/passwd}}}
"""


def test_a_bibliography_is_text(tmp_path: Path) -> None:
    qmd = furnished(tmp_path / "doc", "As @a2000 says.", {"bibliography": "refs.bib"})
    (qmd.parent / "refs.bib").write_text(BIBLIOGRAPHY, encoding="utf-8")
    page_file, docx, pdf = render(qmd, list(FORMATS), tmp_path / "out", engine="embedded")
    assert "doi.org/10.1000/1" in page_file.read_text(encoding="utf-8")
    assert word.in_file(docx) == []
    pypdf = pytest.importorskip("pypdf")
    links = [
        note.get_object()["/A"].get("/URI", "")
        for sheet in pypdf.PdfReader(pdf).pages
        for note in sheet.get("/Annots", [])
        if "/A" in note.get_object()
    ]
    assert [link for link in links if not link.startswith("https://")] == []


def _literal(text: str) -> str:
    return "".join(f"\\{char}" if not char.isalnum() and char != " " else char for char in text)


def test_a_linked_figure_is_not_followed(tmp_path: Path, secret: Path) -> None:
    qmd = furnished(tmp_path / "doc", "![](figures/dog)", {})
    for suffix in ("svg", "png"):
        (qmd.parent / "figures" / f"dog.{suffix}").symlink_to(secret)
    for name in FORMATS:
        with pytest.raises(Exception, match="dog") as caught:
            render(qmd, [name], tmp_path / "out", engine="embedded")
        assert TOKEN not in str(caught.value)


def test_a_drawing_that_acts_is_refused(tmp_path: Path) -> None:
    qmd = furnished(tmp_path / "doc", "![](figures/cat)", {})
    active = PICTURE.replace("<rect", "<script>1</script><rect")
    (qmd.parent / "figures" / "cat.svg").write_text(active, encoding="utf-8")
    with pytest.raises(InputError, match="a picture from"):
        render(qmd, ["html"], tmp_path / "out", engine="embedded")


def test_another_script_under_the_name_of_ours_is_refused(tmp_path: Path) -> None:
    qmd = furnished(tmp_path / "doc", "Text.", {})
    (qmd.parent / "report.js").write_text("fetch('//x')", encoding="utf-8")
    with pytest.raises(InputError, match="a script that is not mlmreport's own"):
        render(qmd, ["html"], tmp_path / "out", engine="embedded")


def test_an_error_of_the_document_is_located_in_the_houses_template(
    alone: Callable[[str], Path], tmp_path: Path
) -> None:
    from mlmreport.report.houses import located

    house = find("lab", alone('<iframe src="http://x"></iframe>'))
    qmd = furnished(tmp_path / "doc", "", {})
    qmd.write_text(document.compose(RESULTS, house, ("html",)), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        render(qmd, ["html"], tmp_path / "out", engine="embedded")
    problem = located(caught.value, house, qmd).problems[0]
    assert problem.location is not None
    assert problem.location.file.endswith("lab/sections/1-x.qmd.j2")
    assert (problem.location.line, problem.location.column) == (3, 1)


def test_quarto_is_not_started_for_what_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "quarto"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path / 'started'}\nls -R > seen\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("QUARTO_PATH", str(program))
    texts = [
        "{{< include /etc/passwd >}}",
        "`{{< include /etc/passwd >}}`",
        "```r\n# {{< include /etc/passwd >}}\n```",
        "~~~ {python}\n1\n~~~",
        "````\n```{r}\n1\n```\n````",
        "```{=typst}\n#1\n```",
    ]
    for number, text in enumerate(texts):
        qmd = furnished(tmp_path / f"doc{number}", text, {})
        with pytest.raises(InputError):
            render(qmd, ["html"], tmp_path / "out", engine="quarto")
    assert not (tmp_path / "started").exists()


# --- the reading of pages -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inside", "refused"),
    [
        ('<text>on x = 5, \\input{a}, url(b), href="c", &lt;script&gt;</text>', False),
        ('<image xlink:href="data:image/png;base64, iVBORw0KGgo="/>', False),
        ('<use xlink:href="#a"/>', False),
        ('<image xlink:href="http://127.0.0.1/a.png"/>', True),
        ('<use href="b.svg#a"/>', True),
        ('<g onload="a()"/>', True),
        ("<script>a()</script>", True),
        ("<x:script xmlns:x='http://www.w3.org/2000/svg'>a()</x:script>", True),
        ('<g style="fill: url(b)"/>', True),
        ("<style>@import 'a'</style>", True),
        ("<style>a { fill: u\\72l(b) }</style>", True),
        ("<a><b></a>", True),
    ],
)
def test_a_drawing_is_judged_by_its_markup(inside: str, refused: bool) -> None:
    svg = f"""<?xml version="1.0" encoding="utf-8"?>
        <!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/svg11.dtd">
        <svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">
        {inside}</svg>"""
    assert sheets.drawing_refused(svg.encode()) is refused


def test_a_drawing_declares_no_entities() -> None:
    assert sheets.drawing_refused(b'<!DOCTYPE svg [<!ENTITY a "b">]><svg>&a;</svg>')


def test_a_page_of_megabytes_is_read_at_once() -> None:
    drawing = f'<svg xmlns="http://www.w3.org/2000/svg">{PICTURE * 5000}</svg>'
    data = base64.b64encode(drawing.encode()).decode()
    rows = "".join(
        f'<tr><td><span class="q" data-id="a/{i}">{i}</span></td></tr>' for i in range(9000)
    )
    text = f"<!DOCTYPE html><html><body><table>{rows}</table>" + (
        f'<img alt="" src="data:image/svg+xml;base64,{data}">' * 6
    )
    assert len(text) > 4_000_000
    began = time.process_time()
    assert page.in_page(text, frozenset({"x"})) == []
    assert time.process_time() - began < 0.6  # on a slow machine


@pytest.mark.parametrize(
    "text", ["x < 5", "a <b>b</b>", "<br/>", "<!-- a remark -->", '<p class=a title="&lt;">x</p>']
)
def test_ordinary_html_passes(text: str) -> None:
    assert page.in_fragment(text) == []


def test_a_text_is_judged_in_linear_time() -> None:
    for mark in ("<", "<a ", "<a b", '<a b="', "<!--", "`", "{{", "[ ", "&#"):
        began = time.process_time()
        page.in_fragment(mark * 20_000)
        tree.in_text(mark * 20_000, quarto=True)
        assert time.process_time() - began < 3, mark


# --- processes ----------------------------------------------------------------------------------


def test_typst_sees_its_folder_and_no_package(tmp_path: Path, secret: Path) -> None:
    root, none = tmp_path / "root", tmp_path / "none"
    root.mkdir()
    none.mkdir()
    source = tmp_path / "a.typ"
    for code in ('#import "@preview/cetz:0.3.0": *', f'#read("{secret}")', '#read("../a.typ")'):
        source.write_text(code, encoding="utf-8")
        command = processes.python(
            "mlmreport.report.typesetting", source, tmp_path / "a.pdf", root, none
        )
        began = time.monotonic()
        done = processes.run(command, root, Limits(30), variables=typesetting.NOWHERE)
        assert done.code == typesetting.REFUSED
        assert TOKEN not in done.out
        assert time.monotonic() - began < 10


def test_a_program_ends_when_its_time_is_up(tmp_path: Path) -> None:
    done = processes.run(["sh", "-c", "sleep 60 & sleep 60"], tmp_path, Limits(1))
    assert done.too_long


def test_memory_is_limited(tmp_path: Path) -> None:
    command = [sys.executable, "-S", "-c", "x = bytearray(1 << 30); print(len(x))"]
    done = processes.run(command, tmp_path, Limits(20, 400))
    assert done.code != 0
    assert done.out == ""


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not (state.exists() and ") Z" in state.read_text(encoding="utf-8"))


@pytest.mark.parametrize("killed", ["KILL", "INT", "TERM"])
def test_a_program_ends_with_its_parent(tmp_path: Path, killed: str) -> None:
    import signal

    note = tmp_path / "pid"
    script = (
        "from pathlib import Path\n"
        "from mlmreport.report.processes import Limits, run\n"
        f"run(['sh', '-c', 'echo $$ > {note}; exec sleep 60'], Path('/'), Limits(60))\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    until = time.monotonic() + 30
    while not (note.exists() and note.read_text(encoding="utf-8").strip()):
        assert time.monotonic() < until
        time.sleep(0.05)
    pid = int(note.read_text(encoding="utf-8"))
    parent.send_signal(getattr(signal, f"SIG{killed}"))
    parent.wait(10)
    until = time.monotonic() + 3
    while _alive(pid):
        assert time.monotonic() < until
        time.sleep(0.05)
