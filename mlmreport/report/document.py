"""Results to the .qmd, with its figures, tables and stylesheet beside it."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jinja2 import (
    FileSystemLoader,
    StrictUndefined,
    nodes,
    pass_context,
    pass_environment,
)
from jinja2.compiler import CodeGenerator, Frame
from jinja2.filters import make_attrgetter
from jinja2.runtime import BlockReference, Context, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment

from mlmreport.cache import Cache
from mlmreport.quantities import Figure, Quantity, Results, Table, TraceEntry
from mlmreport.report import markup, strangers
from mlmreport.report.drawings import draw_all
from mlmreport.report.houses import House
from mlmreport.report.render import front_matter_formats
from mlmreport.thresholds import RULES

__all__ = ["require_templates", "write"]

TITLES = {
    "structure": "Structure",
    "questions": "Research questions",
    "assumptions": "Assumptions",
    "icc": "Intraclass correlation",
    "models": "Models",
    "fit": "Fit",
    "interpretation": "Interpretation",
    "inference": "Inference",
}
CONDITIONS = {
    "warning": "warning",
    "message": "message",
    "deprecation": "on the software, not on the data",
    "error": "not computed",
}
ASSETS = ("style.css", "report.js", "refs.bib")


def write(
    results: Results,
    house: House,
    folder: Path,
    formats: Sequence[str],
    cache: Cache | None = None,
    checked: Table | None = None,
) -> Path:
    """Write ``report.qmd`` and all it refers to into a folder.

    Parameters
    ----------
    results
        What is reported.
    house
        Whose templates and stylesheet are used.
    folder
        Where the files go; made where it does not exist.
    formats
        The formats that will be rendered.
    cache
        Where figures are kept from one run to the next; None for nowhere.
    checked
        What came of a verification of these results; None where there was none.

    Returns
    -------
    Path
        The document.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in ASSETS:
        shutil.copyfile(house.file(name), folder / name)
    draw_all(results, folder / "figures", png="docx" in formats, cache=cache)
    _write_tables(results, folder / "tables")
    document = folder / "report.qmd"
    document.write_text(compose(results, house, formats, checked), encoding="utf-8")
    return document


def require_templates(house: House) -> None:
    """All files of a house are there, and its templates can be read, before anything is computed.

    Raises
    ------
    MlmreportError
        Located in the first template that cannot be read.
    """
    for name in ASSETS:
        house.file(name)
    if house.foreign:
        strangers.require(house)
    else:
        read_templates(house)


def read_templates(house: House, begins: Callable[[str], object] = lambda _: None) -> None:
    """Read the sections' templates of a house; arguments and errors as those of `sections`."""
    environment = _environment(house)
    for name in house.sections():
        begins(name)
        try:
            environment.get_template(f"sections/{name}")
        except Exception as error:  # a template may raise anything
            raise strangers.failed(error, f"sections/{name}", house) from error


def compose(
    results: Results, house: House, formats: Sequence[str], checked: Table | None = None
) -> str:
    """The text of the document."""
    body = "\n\n".join(_sections(results, house, checked))
    body = re.sub(r"\n{3,}", "\n\n", body).strip()
    front = _front_matter(results, formats, house)
    return markup.legible(f"---\n{front}---\n\n{body}\n\n{_cards(results, body)}\n")


def _sections(results: Results, house: House, checked: Table | None) -> Iterable[str]:
    if house.foreign:
        return strangers.filled(results, house, checked)
    return sections(results, house, checked)


def sections(
    results: Results,
    house: House,
    checked: Table | None,
    begins: Callable[[str], object] = lambda _: None,
) -> Iterator[str]:
    """The texts of the sections, filled in by this process.

    Parameters
    ----------
    results, house, checked
        As in `write`.
    begins
        Is told the name of each section before it is filled in.

    Raises
    ------
    MlmreportError
        When a template cannot be filled in.
    """
    environment = _environment(house)
    for name in house.sections():
        begins(name)
        yield _rendered(environment, f"sections/{name}", results, checked, house)


def _rendered(
    environment: _Environment, name: str, results: Results, checked: Table | None, house: House
) -> str:
    try:
        template = environment.get_template(name)
        return template.render(
            **results.steps,
            spec=results.spec,
            results=results,
            session=results.session,
            code=_code(results),
            checked=checked,
        )
    except Exception as error:  # a template may raise anything
        raise strangers.failed(error, name, house) from error


class _Code(CodeGenerator):
    """Python of a template in which its own literals, and what it puts together, are `Written`."""

    def visit_Template(  # noqa: N802
        self, node: nodes.Template, frame: Frame | None = None
    ) -> None:
        super().visit_Template(node, frame)
        names = "Written, Written as Markup, concatenated as markup_join"
        self.writeline(f"from {markup.__name__} import {names}")

    def visit_Const(self, node: nodes.Const, frame: Frame) -> None:  # noqa: N802
        if isinstance(node.value, str):
            self.write(f"Written({str(node.value)!r})")
        else:
            super().visit_Const(node, frame)


class _Environment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, in which a text that is not marked is escaped wherever it is printed.

    A key of a mapping comes before a method of the same name.
    """

    code_generator_class = _Code

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, Mapping) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)

    def join_path(self, template: str, parent: str) -> str:  # noqa: ARG002
        return markup.plain(template)

    def getitem(self, obj: Any, argument: Any) -> Any:
        return super().getitem(obj, _key(argument))

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        if isinstance(__obj, Macro | BlockReference):
            return markup.Written(super().call(__context, __obj, *args, **kwargs))
        if type(getattr(__obj, "__self__", None)) is str:
            args = tuple(map(_key, args))
        return super().call(__context, __obj, *args, **kwargs)


def _key(argument: Any) -> Any:
    """A text as what is looked up or compared, without marks."""
    return markup.plain(argument) if isinstance(argument, str) else argument


@pass_context
def _printed(_: Context, value: Any) -> markup.Written:
    """Takes the context so that Jinja calls it for every value, also one that it knows early."""
    return markup.printed(value)


@pass_environment
def _join(
    environment: _Environment, items: Iterable[Any], between: str = "", attribute: str | None = None
) -> markup.Written:
    found = items if attribute is None else map(make_attrgetter(environment, attribute), items)
    return markup.join(found, between)


FILTERS: Mapping[str, Callable[..., Any]] = {
    "address": markup.address,
    "attribute": markup.attribute,
    "cell": markup.cell,
    "citations": markup.citations,
    "code": markup.code,
    "code_block": markup.code_block,
    "figure": markup.figure,
    "formula": markup.formula,
    "html": markup.html_text,
    "label": markup.label,
    "number_word": markup.number_word,
    "rule": markup.rule,
    "series": markup.series,
    "setting": markup.setting,
    "show": markup.show,
    "table": markup.table,
}
"""What turns a value into text that is ready for the document."""

KEEPING: Mapping[str, Callable[..., Any]] = {
    "join": _join,
    "replace": markup.replace,
    "sentence": markup.sentence,
    "with_article": markup.with_article,
}
"""What leaves it ready or not, as it was."""

MARKING_OF_JINJA = ("safe", "tojson", "urlize", "xmlattr")
"""Filters that call a text ready for HTML; for Markdown it is not."""


def _environment(house: House) -> _Environment:
    environment = _Environment(
        loader=FileSystemLoader([str(folder) for folder in house.folders]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=True,
        finalize=_printed,
        comment_start_string="{##",  # `{#id}` is an attribute in Markdown
        comment_end_string="##}",
    )
    for name in MARKING_OF_JINJA:
        del environment.filters[name]
    environment.filters |= {**FILTERS, **KEEPING}
    environment.filters |= dict.fromkeys(("e", "escape", "forceescape"), markup.label)
    environment.globals |= {"RULES": RULES, "TITLES": TITLES, "KINDS": CONDITIONS}
    return environment


# --- front matter, cards, code ----------------------------------------------------------------


def _front_matter(results: Results, formats: Sequence[str], house: House) -> str:
    spec = results.spec
    front: dict[str, Any] = {"title": _meta(spec["title"])}
    for key in ("subtitle", "date", "abstract"):
        if spec.get(key):
            front[key] = _meta(spec[key])
    if spec["authors"]:
        front["author"] = [_meta(author) for author in spec["authors"]]
    front |= {"lang": "en-GB", "bibliography": "refs.bib", "link-citations": True}
    if named := named_in_tables(results, house.file("refs.bib").read_text(encoding="utf-8")):
        front["nocite"] = ", ".join(f"@{key}" for key in named)
    front["format"] = front_matter_formats(formats)
    return yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=100)


def _meta(text: str) -> str:
    """A text of the front matter, which is Markdown, as YAML takes it."""
    return str(markup.label(text))


_ENTRY = re.compile(r"@\w+\{(\w+),.*?author = \{([^,{}]+).*?year = \{(\d{4})\}", re.DOTALL)
_NAMED = re.compile(r"([^\W\d_]+)(?: and [^\W\d_]+| et al\.)? \(?(\d{4})\b")


def named_in_tables(results: Results, bibliography: str) -> list[str]:
    """Keys of the works that notes, cells and captions name, so that the references list them."""
    keys = {(author, year): key for key, author, year in _ENTRY.findall(bibliography)}
    texts = [figure.caption for figure in results.of_type(Figure)]
    for found in results.of_type(Table):
        texts += [found.note, *(cell for row in found.rows for cell in row.cells
                                if isinstance(cell, str))]  # fmt: skip
    named = (place for text in texts for place in _NAMED.findall(text))
    return list(dict.fromkeys(keys[place] for place in named if place in keys))


def _cards(results: Results, body: str) -> str:
    """What the hover cards say, one entry a number shown."""
    shown = set(re.findall(r'class="q" data-id="([^"]*)"', body))
    objects = {entry.name: entry.code for entry in results.trace if entry.kind == "object"}
    cards = {
        item.id: _card(item, objects)
        for item in results.quantities
        if markup.attribute(item.id) in shown
    }
    block = json.dumps(cards, ensure_ascii=False).replace("<", "\\u003c")
    return (
        f'```{{=html}}\n<script type="application/json" id="mlm-quantities">{block}</script>\n```'
    )


def _card(item: Quantity, objects: Mapping[str, str]) -> dict[str, Any]:
    card: dict[str, Any] = {
        "label": item.label,
        "value": item.value,
        "unit": item.unit,
        "model": item.source.model,
        "method": item.method,
        "r": item.source.expression,
        "where": "\n".join(_definitions(item.source.expression, objects)),
    }
    return {key: value for key, value in card.items() if value != ""}


def _definitions(code: str, objects: Mapping[str, str]) -> list[str]:
    """The assignments that a call rests on, each object before those it is made of."""
    found: dict[str, str] = {}
    waiting = [code]
    while waiting:
        for name in re.findall(r"[A-Za-z.][\w.]*", waiting.pop(0)):
            if name in objects and name not in found:
                found[name] = objects[name]
                waiting.append(objects[name])
    return [f"{name} <- {call}" for name, call in found.items()]


def _code(results: Results) -> Mapping[str, str]:
    """For each step its R calls, as they were evaluated."""
    by_step: dict[str, list[str]] = {}
    for entry in results.trace:
        if entry.kind != "series":
            by_step.setdefault(entry.step, []).append(_line(entry, results))
    return {step: "\n".join(lines) for step, lines in by_step.items()}


def _line(entry: TraceEntry, results: Results) -> str:
    if entry.kind == "object":
        return f"{entry.name} <- {entry.code}"
    item = results.items[entry.name]
    named = isinstance(item, Quantity) and " ".join(item.label.split())
    return f"{entry.code}  # {named}" if named else entry.code


def _write_tables(results: Results, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for found in results.of_type(Table):
        with (folder / f"{found.id}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(markup.table_csv(found))
