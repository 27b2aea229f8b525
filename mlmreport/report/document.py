"""Results to the .qmd, with its figures, tables and stylesheet beside it."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jinja2 import FileSystemLoader, StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from mlmreport.cache import Cache
from mlmreport.errors import AnalysisError
from mlmreport.quantities import Figure, Quantity, Results, Table, TraceEntry
from mlmreport.report import markup
from mlmreport.report.drawings import draw_all
from mlmreport.report.houses import House
from mlmreport.report.render import front_matter_formats
from mlmreport.thresholds import RULES

__all__ = ["write"]

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


def compose(
    results: Results, house: House, formats: Sequence[str], checked: Table | None = None
) -> str:
    """The text of the document."""
    environment = _environment(house)
    body = "\n\n".join(
        _rendered(environment, f"sections/{name}", results, checked) for name in house.sections()
    )
    body = re.sub(r"\n{3,}", "\n\n", body).strip()
    return (
        f"---\n{_front_matter(results, formats, house)}---\n\n{body}\n\n{_cards(results, body)}\n"
    )


def _rendered(environment: _Environment, name: str, results: Results, checked: Table | None) -> str:
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
    except (TemplateError, TypeError, KeyError) as error:
        line = getattr(error, "lineno", None)
        where = f"{name}:{line}" if line else name
        raise AnalysisError(f"the template {where} cannot be filled in: {error}") from error


class _Environment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, in which a key of a mapping comes before a method of the same name."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, Mapping) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)


def _environment(house: House) -> _Environment:
    environment = _Environment(
        loader=FileSystemLoader([str(folder) for folder in house.folders]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
        comment_start_string="{##",  # `{#id}` is an attribute in Markdown
        comment_end_string="##}",
    )
    environment.filters |= {
        "show": markup.show,
        "code": markup.code,
        "label": markup.label,
        "table": markup.table,
        "figure": markup.figure,
        "rule": markup.rule,
        "setting": markup.setting,
        "sentence": markup.sentence,
        "with_article": markup.with_article,
        "series": _series,
        "cell": _cell,
        "number_word": _number_word,
        "citations": _citations,
    }
    environment.globals |= {"RULES": RULES, "TITLES": TITLES, "KINDS": CONDITIONS}
    return environment


def _series(items: Sequence[str]) -> str:
    """Joined for a sentence: commas, and `and` before the last."""
    listed = list(items)
    return " and ".join([", ".join(listed[:-1]), listed[-1]] if len(listed) > 1 else listed)


_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def _number_word(count: int) -> str:
    """A small count in words, as APA writes it."""
    return _WORDS[count] if count < len(_WORDS) else markup.setting(str(count))


def _cell(cell: Any) -> str:
    """A cell of a table, or a decision's evidence, in running text."""
    parts = cell if isinstance(cell, list | tuple) else (cell,)
    return "".join(
        markup.show(part, {"p": "equation", "share": "percent"}.get(part.kind, "plain"))
        if isinstance(part, Quantity)
        else markup.show(part)
        if not isinstance(part, str)
        else _keep_code(part)
        for part in parts
    )


def _keep_code(part: str) -> str:
    """A text whose backticked pieces are code."""
    pieces = part.split("`")
    return "".join(
        f"`{piece}`" if i % 2 else markup.label(piece) if piece.strip() else piece
        for i, piece in enumerate(pieces)
    )


def _citations(keys: Sequence[str]) -> str:
    unique = [key for key in dict.fromkeys(keys) if key]
    return f"[{'; '.join('@' + key for key in unique)}]" if unique else ""


# --- front matter, cards, code ----------------------------------------------------------------


def _front_matter(results: Results, formats: Sequence[str], house: House) -> str:
    spec = results.spec
    front: dict[str, Any] = {"title": markup.label(spec["title"])}
    for key in ("subtitle", "date", "abstract"):
        if spec.get(key):
            front[key] = markup.label(spec[key])
    if spec["authors"]:
        front["author"] = [markup.label(author) for author in spec["authors"]]
    front |= {"lang": "en-GB", "bibliography": "refs.bib", "link-citations": True}
    if named := named_in_tables(results, house.file("refs.bib").read_text(encoding="utf-8")):
        front["nocite"] = ", ".join(f"@{key}" for key in named)
    front["format"] = front_matter_formats(formats)
    return yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=100)


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
    return f"{entry.code}  # {item.label}" if isinstance(item, Quantity) else entry.code


def _write_tables(results: Results, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for found in results.of_type(Table):
        with (folder / f"{found.id}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(markup.table_csv(found))
