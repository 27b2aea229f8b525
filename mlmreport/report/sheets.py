r"""What a stylesheet may hold: colours, type and measures; nothing that is fetched or run.

The sheet is read by a CSS tokenizer, which decodes escapes: `u\72l(...)` is `url(...)` here too.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes
from xml.parsers import expat

import tinycss2

__all__ = ["Refusal", "drawing_refused", "harmless_data", "refusals", "style_refused", "words"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a page or a sheet may not hold.

    Parameters
    ----------
    what
        It, in words.
    word
        The text by which it is found in the file.
    line, column
        Where it stands, counted from 1; 0 where that is not known.
    """

    what: str
    word: str = ""
    line: int = 0
    column: int = 0


def words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


FUNCTIONS = words(
    """abs acos asin atan atan2 attr blur brightness calc calc-size circle clamp color
    color-mix conic-gradient contrast cos counter counters cubic-bezier drop-shadow ellipse
    env exp fit-content format grayscale hsl hsla hue-rotate hwb hypot inset invert lab
    layer lch light-dark linear linear-gradient local log matrix matrix3d max min minmax mod
    oklab oklch opacity path perspective polygon pow radial-gradient rect rem repeat
    repeating-conic-gradient repeating-linear-gradient repeating-radial-gradient rgb rgba
    rotate rotate3d rotatex rotatey rotatez round saturate scale scale3d scalex scaley
    scalez selector sepia sign sin skew skewx skewy sqrt steps style supports symbols tan
    tech translate translate3d translatex translatey translatez var xywh dir has host is
    lang not nth-child nth-last-child nth-last-of-type nth-of-type part slotted state where"""
)
"""Functions and functional selectors of which none takes an address; `url` is judged by it."""

AT_RULES = words(
    """bottom-center bottom-left bottom-right container counter-style font-face keyframes layer
    media page property starting-style supports top-center top-left top-right
    bottom-left-corner bottom-right-corner top-left-corner top-right-corner left-bottom
    left-middle left-top right-bottom right-middle right-top"""
)
PROPERTIES_REFUSED = frozenset({"behavior", "-ms-behavior", "-moz-binding", "binding"})
STYLES = words(
    """text-align padding padding-left padding-right padding-top padding-bottom margin
    margin-left margin-right margin-top margin-bottom width max-width min-width height
    max-height color background-color font-weight font-style font-size font-variant
    text-decoration text-indent vertical-align white-space counter-reset line-height border
    border-left border-right border-top border-bottom"""
)
"""Properties that a style attribute may set."""

_DATA = re.compile(
    r"data:(?P<kind>image/(?:png|jpeg|gif|webp|svg\+xml)|font/(?:woff2?|otf|ttf))"
    r"(?:;charset=[\w-]+)?(?P<base64>;base64)?,(?P<content>.*)",
    re.DOTALL,
)
_ACTIVE = frozenset(
    {
        "script", "foreignobject", "iframe", "object", "embed", "handler", "audio",
        "video", "set", "animate", "animatecolor", "animatemotion", "animatetransform",
    }
)  # fmt: skip
_OWN = re.compile(r"\s*(#|data:image/(png|jpeg)[;,])")
_REACHES = re.compile(r"@import|\\|url\(\s*[\"']?\s*(?!#)", re.IGNORECASE)


class _RefusedError(Exception):
    """A drawing holds what it may not."""


def drawing_refused(svg: bytes) -> bool:
    """Whether a drawing holds anything active, or refers to anything beyond itself.

    It is read by an XML parser, so that what a text says is not taken for markup.
    """
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    in_style: list[bool] = []

    def begins(name: str, attributes: Mapping[str, str]) -> None:
        element = _local(name)
        in_style.append(element == "style")
        _refuse(element in _ACTIVE)
        for key, value in attributes.items():
            own = _local(key)
            _refuse(own.startswith("on") or _REACHES.search(value) is not None)
            _refuse(own in {"href", "src"} and not _OWN.match(value))

    def ends(_: str) -> None:
        in_style.pop()

    def says(text: str) -> None:
        _refuse(any(in_style) and _REACHES.search(text) is not None)

    def declares(_name: str, _system: object, _public: object, has_subset: bool) -> None:
        _refuse(bool(has_subset))

    parser.StartElementHandler, parser.EndElementHandler = begins, ends
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = says, declares
    parser.ProcessingInstructionHandler = lambda *_: _refuse(True)
    try:
        parser.Parse(svg, True)
    except (expat.ExpatError, _RefusedError):
        return True
    return False


def _local(name: str) -> str:
    return name.rpartition(" ")[2].rpartition(":")[2].lower()


def _refuse(wrong: bool) -> None:
    if wrong:
        raise _RefusedError


def harmless_data(address: str, kinds: tuple[str, ...] = ("image/", "font/")) -> bool:
    """Whether an address is data of a picture or a font, and no active drawing."""
    found = _DATA.fullmatch(address.strip())
    if not found or not found["kind"].startswith(kinds):
        return False
    if found["kind"] != "image/svg+xml":
        return True
    try:
        content = unquote_to_bytes(found["content"])
        svg = base64.b64decode(content, validate=True) if found["base64"] else content
    except (binascii.Error, ValueError):
        return False
    return not drawing_refused(svg)


def refusals(sheet: str) -> list[Refusal]:
    """What a stylesheet holds that it may not.

    Parameters
    ----------
    sheet
        Its text.
    """
    if "</" in sheet or "<!" in sheet:
        word = "</" if "</" in sheet else "<!"
        return [Refusal("an HTML tag or comment in a stylesheet", word, *_place(sheet, word))]
    parsed = tinycss2.parse_stylesheet(sheet, skip_comments=True, skip_whitespace=True)
    return list(_in_nodes(parsed))


def style_refused(value: str) -> str:
    """What a style attribute sets that it may not, in words; empty where it is fine."""
    if re.search(r"[\\(){}@<>\"';]\s*[\\(){}@<>\"']|[\\(){}@<>\"']", value):
        return "more than plain measures and colours"
    for part in value.split(";"):
        name = part.partition(":")[0].strip().lower()
        if part.strip() and name not in STYLES:
            return f"the property '{name}'"
    return ""


def _place(text: str, word: str) -> tuple[int, int]:
    before = text[: text.index(word)]
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def _in_nodes(nodes: Iterable[Any]) -> Iterator[Refusal]:
    waiting = [*nodes][::-1]
    while waiting:
        node = waiting.pop()
        if found := _refused(node):
            yield Refusal(*found, node.source_line, node.source_column)
            continue
        for part in ("content", "prelude", "arguments"):
            waiting += (getattr(node, part, None) or [])[::-1]


def _refused(node: Any) -> tuple[str, str] | None:
    """What is wrong with a node, and the word by which it is found."""
    match node.type:
        case "error":
            return f"something that is not CSS ({node.message})", ""
        case "at-rule" if node.lower_at_keyword not in AT_RULES:
            return f"the rule @{node.lower_at_keyword}", f"@{node.at_keyword}"
        case "at-keyword" if node.lower_value not in AT_RULES:
            return f"the rule @{node.lower_value}", f"@{node.value}"
        case "url" if not _address_allowed(node.value):
            return f"the address '{_short(node.value)}'", node.value
        case "function":
            return _function_refused(node)
        case "ident" if node.lower_value in PROPERTIES_REFUSED:
            return f"the property '{node.lower_value}'", node.value
    return None


def _function_refused(node: Any) -> tuple[str, str] | None:
    if node.lower_name != "url":
        known = node.lower_name.lstrip("-").removeprefix("webkit-").removeprefix("moz-")
        return (
            None
            if known in FUNCTIONS
            else (f"the function {_short(node.lower_name)}()", f"{node.name}(")
        )
    given = [part for part in node.arguments if part.type not in {"whitespace", "comment"}]
    address = given[0].value if len(given) == 1 and given[0].type == "string" else None
    if address is not None and _address_allowed(address):
        return None
    return f"the address '{_short(address or '')}'", address or "url("


def _address_allowed(address: str) -> bool:
    return address.startswith("#") or harmless_data(address)


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
