"""What a document may hold, judged on the tree that Pandoc reads it to.

All renderers, Quarto too, work on this tree: a construct that is refused here reaches none of them.
Beside what `page` allows of HTML these pass: pictures of the document's own ``figures/``, links
within the page, to the web and to mail addresses, and the attributes that a report uses. Raw parts
of other formats, cells to be executed and shortcodes do not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mlmreport.report import page, sheets
from mlmreport.report.sheets import Refusal, words

__all__ = ["METADATA", "in_text", "in_tree"]

METADATA = words(
    """title subtitle author date abstract abstract-title lang nocite link-citations
    link-bibliography running-title description"""
)
"""What is text, or says how citations are set, among the settings of a document."""

LONGEST_RUN = 400
"""More of the same mark in a row is nesting that no text has, and that readers choke on."""

_HTML = frozenset({"html", "html4", "html5"})
_FIGURE = re.compile(r"figures/(?!\.)[\w.-]+")
_KEYS = re.compile(
    r"data-[a-z][\w.-]*|aria-[a-z]+|(?:fig|tbl|code)-[a-z-]+|title|collapse|when-format|unless-format|"
    r"alt|width|height|lang|dir|role|custom-style|startFrom|start|icon|appearance|number|tabindex"
)
_NESTED = (
    (re.compile(rf"([\[\](){{}}>*_`~^!<$\\|])(?:[ \t]?\1){{{LONGEST_RUN}}}"),
     "hundreds of the same mark in a row"),
    (re.compile(r"^[ \t]*(?:(?:[-+*>]|\w{1,3}[.)]|:)[ \t]+){50}", re.MULTILINE),
     "dozens of lists within each other"),
)  # fmt: skip
_EXECUTED = (
    (re.compile(r"\{\{[<%]"), "a shortcode"),
    (re.compile(r"^[ \t>]*(?:`{3,}|~{3,})[ \t]*\{+[ \t]*\w[^}\n]*\}", re.MULTILINE),
     "a cell to be executed"),
    (re.compile(r"^[ \t>]*(?:`{3,}|~{3,})[ \t]*(?:r|python|julia)?[ \t]*\{+(?:r|python|julia)\b",
                re.MULTILINE), "a cell to be executed"),
)  # fmt: skip
"""What Quarto acts on wherever it stands, also in code that is only shown."""


def in_text(text: str, *, quarto: bool) -> list[Refusal]:
    """What the text of a document holds that its renderer may not see.

    Parameters
    ----------
    text
        Markdown without its front matter.
    quarto
        Whether Quarto is the renderer.
    """
    return [
        Refusal(what, found[0].strip()[:60])
        for pattern, what in (*_NESTED, *(_EXECUTED if quarto else ()))
        for found in pattern.finditer(text)
    ]


def in_tree(document: Mapping[str, Any]) -> list[Refusal]:
    """What a document holds that it may not.

    Parameters
    ----------
    document
        As Pandoc writes it in its JSON format.
    """
    unknown = sorted(set(document["meta"]) - METADATA)
    found = [Refusal(f"the setting '{key}'", f"{key}:") for key in unknown]
    waiting: list[Any] = [document["blocks"], document["meta"]]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            judge = _JUDGES.get(part.get("t", ""))
            if judge:
                found += judge(part["c"])
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part
    return found


def _raw(content: Any) -> Iterator[Refusal]:
    kind, text = content
    if kind in _HTML:
        yield from page.in_fragment(text)
    else:
        yield Refusal(f"a raw part of the format '{kind}'", _first_line(text))


def _code(content: Any) -> Iterator[Refusal]:
    attributes, text = content
    yield from _attributes(attributes)
    if any(name.startswith("{") for name in attributes[1]):
        yield Refusal("a cell to be executed", attributes[1][0])
    if re.match(r"\{(?:r|python|julia|ojs)\}\s", text):
        yield Refusal("code to be executed", _first_line(text))


def _link(content: Any) -> Iterator[Refusal]:
    yield from _attributes(content[0])
    address = content[2][0]
    if not page.link_allowed(address):
        yield Refusal(f"a link to '{_short(address)}'", address or "]()")


def _image(content: Any) -> Iterator[Refusal]:
    yield from _attributes(content[0])
    address = content[2][0]
    if not _FIGURE.fullmatch(address):
        yield Refusal(f"a picture from '{_short(address)}'", address or "]()")


def _attributes(content: Any) -> Iterator[Refusal]:
    name, classes, pairs = content
    if not page.name_allowed(name):
        yield Refusal(f"the id '{_short(name)}'", name)
    for word in classes:
        if word.startswith("typst:"):
            yield Refusal(f"the class '{_short(word)}'", word)
    for key, value in pairs:
        if key == "style":
            if said := sheets.style_refused(value):
                yield Refusal(f"in a style attribute {said}", value)
        elif not _KEYS.fullmatch(key):
            yield Refusal(f"the attribute '{_short(key)}'", f"{key}=")


def _first(content: Any) -> Iterator[Refusal]:
    return _attributes(content[0])


def _second(content: Any) -> Iterator[Refusal]:
    return _attributes(content[1])


def _table(content: Any) -> Iterator[Refusal]:
    yield from _attributes(content[0])
    head, bodies, foot = content[3:6]
    for part in (head, *bodies, foot):
        yield from _attributes(part[0])
        rows = [row for group in part[1:] if isinstance(group, list) for row in group]
        for row in rows:
            yield from _attributes(row[0])
            for cell in row[1]:
                yield from _attributes(cell[0])


_JUDGES: Mapping[str, Callable[[Any], Iterator[Refusal]]] = {
    "RawBlock": _raw,
    "RawInline": _raw,
    "CodeBlock": _code,
    "Code": _code,
    "Link": _link,
    "Image": _image,
    "Header": _second,
    "Div": _first,
    "Span": _first,
    "Figure": _first,
    "Table": _table,
}


def _first_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[0][:60]


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
