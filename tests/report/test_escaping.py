"""No text of a spec, of data or of a house means anything to the document but itself."""

from __future__ import annotations

import base64
import csv
import json
import re
import shutil
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import yaml
from bs4 import BeautifulSoup, Tag
from jinja2 import TemplateError, nodes
from pydantic import BaseModel

from mlmreport.analysis import analyse
from mlmreport.errors import InputError
from mlmreport.quantities import Figure, Missing, Quantity, Results, Row, Source, Table
from mlmreport.report import document
from mlmreport.report.houses import find
from mlmreport.report.markup import Written, label, legible
from mlmreport.report.render import front_matter_formats, render
from mlmreport.spec.quoting import guarded, unguarded
from mlmreport.spec.reader import load
from mlmreport.spec.schema import AnalysisSpec
from mlmreport.steps.coefficients import row_anchor
from mlmreport.steps.effects import slug
from mlmreport.steps.equations import tex_text
from mlmreport.verify.checks import DIFFERS
from mlmreport.verify.texts import docx_text, pdf_text
from mlmreport.verify.verification import verify
from mlmreport.workflow import run

SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="9pt" height="9pt"/>'
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
TEMPLATES = Path(__file__).parents[2] / "templates"
BASE = find("base", Path.cwd())


def unmarked(node: nodes.Node) -> Iterator[nodes.Node]:
    """The parts of a printed expression by which a text could come that no filter has marked."""
    match node:
        case nodes.TemplateData() | nodes.Const() | nodes.Call():
            return
        case nodes.CondExpr():
            yield from unmarked(node.expr1)
            if node.expr2:
                yield from unmarked(node.expr2)
        case nodes.Concat():
            for part in node.nodes:
                yield from unmarked(part)
        case nodes.Filter() if node.name in document.FILTERS:
            return
        case nodes.Filter() if node.name in document.KEEPING and node.node:
            yield from unmarked(node.node)
        case nodes.Getattr(node=nodes.Name(name="loop"), attr="index"):
            return
        case _:
            yield node


@pytest.mark.parametrize("file", sorted(TEMPLATES.rglob("*.j2")), ids=lambda file: file.name)
def test_whatever_a_template_prints_says_how(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    tree = document._environment(BASE).parse(text)
    printed = [part for output in tree.find_all(nodes.Output) for part in output.nodes]
    found = [node for part in printed for node in unmarked(part)]
    assert [f"{node.lineno}: {node}" for node in found] == []


HOSTILE = (
    "<script>alert(1)</script>![](/etc/passwd)[x](javascript:alert(1)){=html}$\\input{x}$ `b` ::: "
    "{{ 7*7 }}{% raw %}\"q\"<!--@cite[^1]#include =cmd|' /C calc'!A0 &amp;**b**"
)
COLUMN = '=<script>alert(1)</script>![](/etc/passwd){=html}$x$ ::: {{ 7*7 }}{% raw %}"q"<!--@c|'
VALUE = HOSTILE.replace(" ::: ", "\n\n```\n\n:::\n\n") + "\u202ex\x07{{< include /etc/passwd >}}"
VALUES = ("group", "label_a", "label_b")
HARMLESS = "1 word" + " of a text" * 12


# --- what a template makes of a text ---------------------------------------------------------


def filled_in(template: str, **values: Any) -> str:
    return document._environment(BASE).from_string(template).render(**values)


LITERAL = label("a*b <i> {x}")


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ t }}", LITERAL),
        ("{{ t | label }}", LITERAL),
        ("{{ t | e }}", LITERAL),
        ("{% autoescape false %}{{ t }}{% endautoescape %}", LITERAL),
        ("*{{ '**' }}*", "****"),
        ("{{ '<b>' ~ t ~ '</b>' }}", f"<b>{LITERAL}</b>"),
        ("{{ '<b>' + t }}", f"<b>{LITERAL}"),
        ("{{ t + '<b>' }}", f"{LITERAL}<b>"),
        ("{{ '<b>%s' | format(t) }}", f"<b>{LITERAL}"),
        ("{{ '<b>%s' % t }}", f"<b>{LITERAL}"),
        ("{{ '<b>{}'.format(t) }}", f"<b>{LITERAL}"),
        ("{{ [t, t] | join('*') }}", f"{LITERAL}*{LITERAL}"),
        ("{{ [t | label, t] | series }}", f"{LITERAL} and {LITERAL}"),
        ("{{ ['*x*', t] | join(', ') | label }}", f"*x*, {LITERAL}"),
        ("{{ t | replace('<i>', '*') | label }}", label("a*b * {x}")),
        ("{{ t | label | replace('b', '**') }}", LITERAL.replace("b", Written("**"))),
        ("{{ t | sentence }}", label("A*b <i> {x}")),
        ("{{ t | label | sentence }}", f"A{LITERAL[1:]}"),
        ("{{ t | with_article | label }}", f"an {LITERAL}"),
        ("{{ t | label | with_article }}", f"an {LITERAL}"),
        ("{% set s %}*{{ t }}*{% endset %}{{ s }}", f"*{LITERAL}*"),
        ("{% macro m(x) %}*{{ x }}*{% endmacro %}{{ m(t) }}{{ m(m(t)) }}",
         f"*{LITERAL}***{LITERAL}**"),
        ("{% macro m() %}*{{ caller() }}*{% endmacro %}{% call m() %}{{ t }}*{% endcall %}",
         f"*{LITERAL}**"),
        ("{% filter upper %}*{{ t }}{% endfilter %}", f"*{LITERAL.upper()}"),
        ("{% for x in [t] recursive %}{{ x }}{% endfor %}", LITERAL),
        ("{{ t | upper }}", label("A*B <I> {X}")),
        ("{{ d['k-' ~ t] }}{{ 'y' if d['k-' ~ t] is defined }}", "1y"),
        ("{{ ('k-' ~ t) | code }}", "`k-a*b <i> {x}`"),
        ("{{ loop_ }}{{ 3 }}", "73"),
        ("{{ t | html }}", "a*b &lt;i&gt; {x}"),
        ('<b id="{{ q | attribute }}">', '<b id="&quot;&#10;&#10;&lt;">'),
        ("{{ q }}", '\\" \\<'),
        ("{{ none if t else 2 }}", None),
        ("{{ 1.5 }}", None),
        ("{{ [t] }}", None),
        ("{{ t | safe }}", None),
        ("{{ absent }}", None),
    ],
)  # fmt: skip
def test_a_text_is_escaped_once_wherever_it_goes(template: str, expected: str | None) -> None:
    values = {"t": "a*b <i> {x}", "q": '"\n\n<', "d": {"k-a*b <i> {x}": 1}, "loop_": 7}
    if expected is None:
        with pytest.raises((TypeError, TemplateError)):
            filled_in(template, **values)
    else:
        assert filled_in(template, **values) == expected


def test_blocks_of_a_house_keep_what_the_base_has_written(tmp_path: Path) -> None:
    (tmp_path / "base.j2").write_text("{% block b %}*{{ t }}*{% endblock %}", encoding="utf-8")
    child = "{% extends 'base.j2' %}{% block b %}[{{ super() }}]{{ self.c() }}{% endblock %}"
    child += "{% block c %}{% endblock %}"
    (tmp_path / "child.j2").write_text(child, encoding="utf-8")
    environment = document._environment(replace(BASE, folders=(tmp_path, *BASE.folders)))
    assert environment.get_template("child.j2").render(t="<") == "[*\\<*]"


def test_what_cannot_be_printed_is_told_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "sections").mkdir()
    section = tmp_path / "sections" / "0-summary.qmd.j2"
    section.write_text("# A\n\n{{ results }}\n", encoding="utf-8")
    house = replace(BASE, folders=(tmp_path, *BASE.folders))
    results = Results({}, {}, {}, (), (), (), ())
    with pytest.raises(InputError, match=r"0-summary\.qmd\.j2:3:.* Results cannot be printed"):
        document.compose(results, house, ("html",))


def every_form(text: str, at: int) -> str:
    """A text in every way in which one can stand in a document."""
    number = Quantity(f"a/{text}", 1.5, "estimate", text, text, Source(text))
    missing = Missing(f"b/{text}", f"{text}, `inference.df` says so")
    cells = (text, (number, text), missing, f"`{text}`")
    found = Table(f"t{at}", text, (text, *"abcd"), (Row(text, group=True), Row(text, cells)), text)
    return filled_in(
        FORMS,
        t=text,
        at=at,
        l=tex_text(text),
        m=missing,
        n=number,
        table=found,
        figure=Figure("f", "", text, text, {}),
    )


FORMS = """
# {{ t | label }}

{{ t }}

**{{ t | label }}** {{ t | code }} {{ m | show }} {{ n | show }} {{ t | rule }} {{ t | setting }}
{{ t | cell }} {{ [t, t] | series }}

- {{ t | label }}

{{ at + 1 }}. {{ t | label }}

| a | b |
|---|---|
| {{ t | label }} | ${{ l | formula }}$ |

$$
{{ l | formula }}
$$ {#eq-{{ at }}}

::: {.callout-note}
## {{ t | label }}

{{ t | label }}
:::

{{ t | code_block }}

```{=html}
<p>{{ t | html }}</p>
```

<div title="{{ t | attribute }}">x</div>

{{ table | table }}

{{ figure | figure }}
"""
TRIED = [
    HOSTILE, VALUE, "a `b` c", "`", "``` x", "$x$", "$$", "{#id .c}", "\\", "\\\\", "-->",
    "]]>", "~~~", "&lt;b&gt;", "| a | b", "x  \n    y", "::: {.c}", ":::", "<b>", "</p></td>",
    "{{< include a >}}", "![](a.png)", "@tbl-t", "[@x]", "--- ...", "* x\n* y", "'a' \"b\"",
]  # fmt: skip


def small_page(folder: Path, texts: Sequence[str]) -> Page:
    """A document of texts in all these forms, rendered."""
    (folder / "figures").mkdir(parents=True)
    for suffix, content in ((".svg", SVG.encode()), (".png", PNG)):
        (folder / "figures" / f"f{suffix}").write_bytes(content)
    for asset in ("style.css", "report.js"):
        shutil.copyfile(BASE.file(asset), folder / asset)
    first = document._meta(texts[0])
    head = dict.fromkeys(("title", "subtitle", "date", "abstract"), first)
    head |= {"author": [first], "format": front_matter_formats(), "lang": "en"}
    body = "\n\n".join(every_form(text, at) for at, text in enumerate(texts))
    text = legible(f"---\n{yaml.safe_dump(head, allow_unicode=True)}---\n\n{body}\n")
    (folder / "report.qmd").write_text(text, encoding="utf-8")
    return finished(folder)


def test_a_text_means_itself_in_every_form(tmp_path: Path) -> None:
    ordinary = [f"{HARMLESS} ({at})" for at in range(len(TRIED))]
    tried = [
        f"1 {text}{'' if len(text) > 40 else ' and a text'} ({at})" for at, text in enumerate(TRIED)
    ]
    harmless = small_page(tmp_path / "harmless", ordinary)
    page = small_page(tmp_path / "tried", tried)
    assert page.elements == harmless.elements
    assert page.parts.keys() == harmless.parts.keys()
    for text, other in zip(tried, ordinary, strict=True):
        literal = spaced(legible(text))
        assert (text, page.said.count(literal)) == (text, harmless.said.count(other))
        assert (text, page.word.count(literal)) == (text, harmless.word.count(other))


@pytest.mark.long
def test_a_text_means_itself_in_print(tmp_path: Path) -> None:
    texts = [f"1 {text} and a text ({at})" for at, text in enumerate(TRIED)]
    small_page(tmp_path / "page", texts)
    qmd = tmp_path / "page" / "report.qmd"
    (pdf,) = render(qmd, ["pdf"], tmp_path, engine="embedded")
    printed = unset(pdf_text(pdf))
    assert [text for text in texts if printed.count(unset(legible(text))) < 20] == []


# --- one analysis, every text of which is one of somebody else's ----------------------------------

NEVER_PRINTED = {
    "data.sheet", "data.package", "data.dataset", "data.join.file", "data.join.sheet",
    "data.join.package", "data.join.dataset", "data.join.by", "house", "models.final",
    "models.list.id", "models.list.formula", "simulate.predictors", "simulate.predictors.level",
    "models.stepwise.random_slopes", "models.stepwise.cross_level", "predictors.reference",
    "levels.within", "predictors.mean_of", "report.grouping", "report.groups", "time",
    "estimation.weights", "estimation.offset", "data.filter",
}  # fmt: skip
"""Names of files and of R, and names that are written elsewhere in the same spec too."""


def token(name: str) -> str:
    """A word that stands for a text, until another is put in its place."""
    return f"zq{name}qz1"


def spec_of(word: Callable[[str], str]) -> dict[str, Any]:
    """A spec that has every text a spec can have, each as `word` gives it by name."""
    x, z, f = (word(f"column_{name}") for name in "xzf")
    terms = [f"`{name}`" for name in (x, z, f)]
    lower, upper = word("lower"), word("upper")
    return {
        **{key: word(key) for key in ("title", "subtitle", "date", "abstract")},
        "authors": [word("author")],
        "data": {"file": "d.csv"},
        "levels": [
            {"name": lower, "plural": word("lowers")},
            {"name": upper, "plural": word("uppers"), "id": word("column_id")},
        ],
        "outcome": {"name": word("column_y"), "label": word("outcome"), "unit": word("unit_y")},
        "predictors": {
            x: {"level": lower, "label": word("x"), "unit": word("unit_x"), "column": x},
            z: {"level": upper, "label": word("z"), "unit": word("unit_z")},
            f: {
                "level": lower,
                "label": word("f"),
                "type": "category",
                "categories": {"a": word("label_a"), "b": word("label_b")},
            },
        },
        "questions": [
            {"id": word("q1"), "text": word("asked"), "terms": terms[:1], "family": word("family")},
            {"id": word("q2"), "text": word("other"), "kind": "variance"},
        ],
        "models": {
            "list": [
                {"id": "empty", "label": word("empty"), "reason": word("why_empty"), "fixed": [],
                 "random": {upper: [1]}},
                {"id": "full", "label": word("full"), "reason": word("why_full"),
                 "fixed": [f"{terms[0]}*{terms[1]}", terms[2]], "random": {upper: [1, terms[0]]}},
            ]
        },
        "estimation": {"slope_simulations": 0},
        "inference": {"icc_bootstrap": 0, "check_bootstrap": 0, "r2_bootstrap": 0,
                      "correction": "holm", "df_comparison": 0},
        "report": {key: word(key) for key in ("sampling", "power", "missing_data", "availability")},
    }  # fmt: skip


def data_of(word: Callable[[str], str]) -> pd.DataFrame:
    """Rows in groups, of which names and values are texts too."""
    rng = np.random.default_rng(1)
    group = np.repeat(np.arange(12), 10)
    x, z, f = rng.normal(size=120), rng.normal(size=12)[group], rng.choice(["a", "b"], 120)
    y = (
        x * (1 + 0.5 * rng.normal(size=12)[group])
        + rng.normal(size=12)[group]
        + rng.normal(size=120)
    )
    names = {name: word(f"column_{name}") for name in ("id", "x", "z", "f", "y")}
    values = {"id": [f"{word('group')}{n:02}" for n in group], "x": x, "z": z, "f": f, "y": y}
    return pd.DataFrame({names[name]: found for name, found in values.items()})


def texts_of(model: type[BaseModel], at: str = "") -> Iterator[str]:
    """The keys of a spec that hold a text, or have names for keys."""
    for name, field in model.model_fields.items():
        here = f"{at}{field.alias or name}"
        parts = list(members(field.annotation))
        if any(part is str for part in parts):
            yield here
        for part in parts:
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from texts_of(part, f"{here}.")


def members(annotation: Any) -> Iterator[Any]:
    """The classes that an annotation is made of."""
    if annotation is None or get_origin(annotation) is Literal:
        return
    arguments = get_args(annotation)
    if not arguments:
        yield annotation
    for argument in arguments:
        yield from members(argument)


def filled(node: Any, at: str = "") -> Iterator[str]:
    """The keys of a spec that hold a token."""
    if isinstance(node, dict):
        for key, value in node.items():
            if "zq" in key:
                yield at
            yield from filled(value, at if "zq" in key else f"{at}.{key}".removeprefix("."))
    elif isinstance(node, list):
        for value in node:
            yield from filled(value, at)
    elif isinstance(node, str) and "zq" in node:
        yield at


def test_every_text_of_a_spec_is_tried() -> None:
    keys = set(texts_of(AnalysisSpec))
    tried = set(filled(spec_of(token))) | {"data.file", "predictors.categories"}
    assert len(keys) > 40
    assert keys - tried - NEVER_PRINTED == set()


IN_FORMULAS = ("latex", "composite", "distributions", "matrix")


def put(node: Any, texts: Mapping[str, str], key: str = "") -> Any:
    """Stored results with texts in the place of tokens, in ids and formulas as these hold them."""
    if isinstance(node, dict):
        made = {swapped(key, texts): put(value, texts, key) for key, value in node.items()}
        for kind in {"$table", "$figure"} & node.keys():
            made[kind]["id"] = put(node[kind]["id"], texts, "slug")
        return made
    if isinstance(node, list):
        return [put(value, texts, key) for value in node]
    if not isinstance(node, str):
        return node
    as_it_is = {**dict.fromkeys(IN_FORMULAS, in_formula), "anchor": in_anchor, "slug": slug}
    return swapped(node, {name: as_it_is.get(key, str)(text) for name, text in texts.items()})


def in_formula(text: str) -> str:
    return tex_text(text).removeprefix("\\text{").removesuffix("}")


def in_anchor(text: str) -> str:
    return row_anchor(text).removeprefix("row-")


def swapped(text: str, texts: Mapping[str, str]) -> str:
    """With its tokens replaced, those with a capital letter too."""
    return re.sub(r"[zZ]q\w+?qz1", lambda found: texts[found[0].lower()], text)


def text_for(name: str) -> str:
    """The hostile text that a token stands for."""
    kind = "column" if name.startswith("column") else "value" if name in VALUES else ""
    return {"column": COLUMN, "value": VALUE}.get(kind, HOSTILE) + f" ({name})"


@dataclass(frozen=True)
class Page:
    """A rendered report, as far as texts can change it."""

    page: BeautifulSoup
    word: str
    parts: Mapping[str, bytes]
    folder: Path

    @property
    def elements(self) -> Counter[tuple[str, ...]]:
        """Tags with their attributes, and the schemes of what they refer to."""
        found = (tag for tag in self.page.find_all(True) if not tag.find_parent("pre"))
        return Counter(map(shape, found))

    @property
    def said(self) -> str:
        strings = self.page.find_all(string=True)
        return spaced("".join(text for text in strings if not text.find_parent(["math", "script"])))


def shape(element: Tag) -> tuple[str, ...]:
    links = (str(element.get(name, "")).partition(":")[0][:20] for name in ("href", "src"))
    schemes = [link if not link.startswith("#") else "#" for link in links]
    return (element.name, *sorted(element.attrs), *schemes)


def spaced(text: str) -> str:
    return re.sub(r"\s+", " ", text.replace("\N{WORD JOINER}", ""))


TYPESET = str.maketrans({
    "\u2013": "--", "\u2014": "---", "\u2026": "...", "\u2018": "'", "\u2019": "'",
    "\u201c": '"', "\u201d": '"', "\u2060": "", "\xad": "",
})  # fmt: skip


def unset(text: str) -> str:
    """A text of a PDF without spaces, as lines break anywhere, and with typewriter's signs."""
    return re.sub(r"\s+", "", text.translate(TYPESET))


def rendered(results: Results, folder: Path) -> Page:
    document.write(results, BASE, folder, ("html", "docx"))
    return finished(folder)


def finished(folder: Path) -> Page:
    """What both formats of a document hold."""
    render(folder / "report.qmd", ["html", "docx"], folder, engine="embedded")
    return read_back(folder)


def read_back(folder: Path) -> Page:
    html, docx = folder / "report.html", folder / "report.docx"
    with zipfile.ZipFile(docx) as parts:
        files = {name: parts.read(name) for name in parts.namelist()}
    page = BeautifulSoup(html.read_text(encoding="utf-8"), "html.parser")
    return Page(page, spaced(docx_text(docx)), files, folder)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The results of an analysis whose texts are tokens."""
    folder = tmp_path_factory.mktemp("tokens")
    data_of(token).to_csv(folder / "d.csv", index=False)
    spec = folder / "analysis.yml"
    spec.write_text(yaml.safe_dump(spec_of(token), sort_keys=False), encoding="utf-8")
    found: dict[str, Any] = json.loads(analyse(load(spec), lambda *_: None)[0].to_json())
    return found


@pytest.fixture(scope="module")
def names(stored: dict[str, Any]) -> dict[str, str]:
    """The tokens in the results, and the name of each."""
    found = set(re.findall(r"zq(\w+?)qz1", json.dumps(stored)))
    return {token(name): name for name in found}


@pytest.fixture(scope="module")
def pages(
    stored: dict[str, Any], names: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Page, Page]:
    """The report with harmless texts, and that with hostile ones."""
    folder = tmp_path_factory.mktemp("pages")
    texts = (
        {key: f"{HARMLESS} ({name})" for key, name in names.items()},
        {key: text_for(name) for key, name in names.items()},
    )
    first, second = (Results.from_json(json.dumps(put(stored, found))) for found in texts)
    return rendered(first, folder / "harmless"), rendered(second, folder / "hostile")


@pytest.mark.long
@pytest.mark.r
def test_no_element_comes_out_of_a_text(pages: tuple[Page, Page]) -> None:
    harmless, hostile = pages
    assert sum(harmless.elements.values()) > 2000
    assert hostile.elements == harmless.elements


@pytest.mark.long
@pytest.mark.r
def test_texts_are_there_as_they_were_written(
    pages: tuple[Page, Page], names: dict[str, str]
) -> None:
    harmless, hostile = pages
    for said, wanted in ((harmless.said, hostile.said), (harmless.word, hostile.word)):
        for name in names.values():
            literal = spaced(legible(text_for(name))).lower()
            assert said.lower().count(f"{HARMLESS} ({name})") == wanted.lower().count(literal), name


@pytest.mark.long
@pytest.mark.r
def test_a_word_file_has_the_figures_and_nothing_from_elsewhere(pages: tuple[Page, Page]) -> None:
    harmless, hostile = pages
    assert hostile.parts.keys() == harmless.parts.keys()
    for name, content in hostile.parts.items():
        if name.endswith((".xml", ".rels")):
            ElementTree.fromstring(content)
        if name.endswith(".rels"):
            assert content.count(b"External") == harmless.parts[name].count(b"External")


@pytest.mark.long
@pytest.mark.r
def test_figures_are_sound_and_tables_run_nothing(pages: tuple[Page, Page]) -> None:
    _, hostile = pages
    drawn = sorted((hostile.folder / "figures").glob("*.svg"))
    assert len(drawn) > 5
    for file in drawn:
        tags = {element.tag for element in ElementTree.parse(file).iter()}
        assert not any("script" in tag or "image" in tag for tag in tags)
    for file in (hostile.folder / "tables").glob("*.csv"):
        with file.open(encoding="utf-8", newline="") as lines:
            for cell in (cell for line in csv.reader(lines) for cell in line):
                assert guarded(unguarded(cell)) == cell


# --- the whole way ------------------------------------------------------------------------------


def given(name: str) -> str:
    """The hostile text of a name as a spec takes it: on one line, without what cannot be seen."""
    text = re.sub("[\u202e\x07]", "", text_for(name))
    return text if name == "group" else re.sub(r"\s+", " ", text)[-200:]


@pytest.mark.long
@pytest.mark.r
def test_an_analysis_of_hostile_names_runs_and_is_verified(
    tmp_path: Path, pages: tuple[Page, Page]
) -> None:
    data_of(given).to_csv(tmp_path / "d.csv", index=False)
    spec = tmp_path / "analysis.yml"
    spec.write_text(yaml.safe_dump(spec_of(given), sort_keys=False), encoding="utf-8")
    run(spec, tmp_path / "report", ("html", "docx"), lambda *_: None, engine="embedded")
    page = read_back(tmp_path / "report")
    assert set(page.elements) <= set(pages[0].elements)
    assert page.parts.keys() == pages[0].parts.keys()
    for name in ("title", "author", "lower", "uppers", "x", "f", "label_a", "asked", "power"):
        assert spaced(legible(given(name))) in page.said, name
    data = (tmp_path / "report" / "data.csv").read_text(encoding="utf-8")
    assert data.startswith("\"'=<script>")
    checked = verify(tmp_path / "report")
    assert checked.untraced == ()
    assert [check for check in checked.checks if check.verdict == DIFFERS] == []
