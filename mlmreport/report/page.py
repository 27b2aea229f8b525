"""What a page may hold: text, tables, pictures, formulas, our own script; all else is refused.

The reading is strict. What a browser might understand otherwise than this module does (a quote that
is not closed, a stray `<`, a comment within a comment) is refused as well, so that nothing depends
on how a damaged page is mended.
"""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Callable, Collection, Iterator
from functools import cache

from mlmreport.report import sheets
from mlmreport.report.sheets import Refusal, words

__all__ = ["digest", "in_fragment", "in_page", "link_allowed", "name_allowed"]

_ATTRIBUTE = r"""[^\s"'<>/=`]+(?:\s*=\s*(?:"[^"]*"|'[^']*'|[^\s"'=<>`]+))?"""
_TAG = re.compile(rf"<(/?)([A-Za-z][A-Za-z0-9]*)((?:\s+{_ATTRIBUTE})*)\s*/?>")
_ATTRIBUTES = re.compile(r"""([^\s"'<>/=`]+)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'=<>`]+)))?""")
_COMMENT = re.compile(r"<!--(?!-?>)((?:(?!--)[^<>])*)-->")
_DOCTYPE = re.compile(r"<!DOCTYPE html>", re.IGNORECASE)
_LESS = re.compile(r"<(?=[\s\d=])")  # text to every reader of HTML
_LINK = re.compile(r"#[^\s]*|https?://[^\s\"'<>\\]+|mailto:[^\s\"'<>\\]+", re.IGNORECASE)
_NAME = re.compile(r"[\w.:-]*")
_FIGURE = re.compile(r"figures/(?!\.)[\w.-]+")

TEXT = words(
    """a abbr aside b blockquote br caption cite code col colgroup dd del details dfn div dl dt
    em figcaption figure footer h1 h2 h3 h4 h5 h6 hr i img ins kbd li mark nav ol p pre q s
    samp section small span strong sub summary sup table tbody td tfoot th thead tr u ul var"""
)
FORMULA = words(
    """annotation maction math menclose merror mfenced mfrac mi mmultiscripts mn mo mover
    mpadded mphantom mprescripts mroot mrow ms mspace msqrt mstyle msub msubsup msup mtable
    mtd mtext mtr munder munderover none semantics"""
) - {"maction"}
FRAME = frozenset(["html", "head", "body", "meta", "title", "header", "main"])
"""Elements of a whole page, which no part of a text holds."""

_EVERYWHERE = words("""class dir hidden id lang role style tabindex title""")
_OF_ELEMENT = {
    "a": frozenset({"href"}),
    "col": frozenset({"span", "width"}),
    "colgroup": frozenset({"span"}),
    "details": frozenset({"open"}),
    "html": frozenset({"xmlns"}),
    "img": frozenset({"alt", "height", "src", "width"}),
    "li": frozenset({"value"}),
    "meta": frozenset({"charset", "content", "name"}),
    "ol": frozenset({"reversed", "start", "type"}),
    "td": frozenset({"align", "colspan", "headers", "rowspan", "valign"}),
    "th": frozenset({"abbr", "align", "colspan", "headers", "rowspan", "scope", "valign"}),
}
_OF_FORMULA = words(
    """accent accentunder align alttext close columnalign columnlines columnspacing columnspan
    depth display displaystyle encoding fence form height largeop linebreak linethickness
    lspace mathcolor mathsize mathvariant maxsize minsize movablelimits notation open
    rowalign rowlines rowspacing rowspan rspace scriptlevel separator separators stretchy
    symmetric voffset width xmlns"""
)
LONGEST_WORD = 80
_CUSTOM = re.compile(r"(?:data|aria)-[a-z][\w.-]*", re.IGNORECASE)
_NAMESPACES = frozenset({"http://www.w3.org/1998/Math/MathML", "http://www.w3.org/1999/xhtml", ""})


def digest(text: str) -> str:
    """By which a script or a stylesheet is known as ours."""
    return hashlib.sha256(text.strip().encode()).hexdigest()


def link_allowed(address: str) -> bool:
    """Whether a link leads within the page, to the web, or to a mail address."""
    return _LINK.fullmatch(address) is not None


def name_allowed(name: str) -> bool:
    """Whether an id can stand in HTML, Typst and XML without meaning more than itself."""
    return _NAME.fullmatch(name) is not None


def in_page(page: str, known: Collection[str]) -> list[Refusal]:
    """What a finished page holds that it may not.

    Parameters
    ----------
    page
        The HTML, with stylesheets, script and pictures in it.
    known
        Digests of our own script and stylesheets.
    """
    return list(_refusals(page, TEXT | FORMULA | FRAME, known, _picture_of_page))


def in_fragment(fragment: str) -> list[Refusal]:
    """What a piece of HTML within a text holds that it may not."""
    return list(_refusals(fragment, TEXT | FORMULA, frozenset(), _figure_beside))


def _picture_of_page(address: str) -> bool:
    return sheets.harmless_data(address, ("image/",))


def _figure_beside(address: str) -> bool:
    return _FIGURE.fullmatch(address) is not None


def _refusals(
    text: str, elements: Collection[str], known: Collection[str], picture: Callable[[str], bool]
) -> Iterator[Refusal]:
    if "\0" in text:
        yield Refusal("a null character", "\0")
    at = text.find("<")
    while at >= 0:
        tag = _TAG.match(text, at)
        if tag and tag[2].lower() in {"script", "style", "title"} and not tag[1]:
            found, at = _raw(text, tag, known)
            yield from found
        elif tag:
            yield from _in_tag(tag, elements, picture)
            at = tag.end()
        elif plain := _COMMENT.match(text, at) or _DOCTYPE.match(text, at) or _LESS.match(text, at):
            at = plain.end()
        else:
            word = text[at : at + 40].splitlines()[0]
            yield Refusal("a '<' that begins no complete tag", word)
            at += 1
        at = text.find("<", at)


def _raw(text: str, tag: re.Match[str], known: Collection[str]) -> tuple[list[Refusal], int]:
    """A script, a stylesheet or the title: what is refused, and where it ends."""
    name = tag[2].lower()
    end = re.compile(rf"</{name}\s*>", re.IGNORECASE).search(text, tag.end())
    if not end:
        said = f"the element <{name}>, which is not closed"
        return [Refusal(said, tag[0][:LONGEST_WORD])], tag.end()
    content = text[tag.end() : end.start()]
    said = _RAW[name](tag[3].strip(), content, known)
    return ([Refusal(said, tag[0][:LONGEST_WORD])] if said else []), end.end()


def _script_refused(attributes: str, content: str, known: Collection[str]) -> str:
    if attributes == 'type="application/json" id="mlm-quantities"':
        return "" if "<" not in content else "a '<' in the data of the numbers"
    if attributes or digest(content) not in known:
        return "a script that is not mlmreport's own"
    return ""


def _style_refused(attributes: str, content: str, known: Collection[str]) -> str:
    if attributes:
        return "the element <style> with attributes"
    if not known:
        return "the element <style>"
    if digest(content) in known:
        return ""
    found = sheets.refusals(content)
    return f"in a stylesheet {found[0].what}" if found else ""


def _title_refused(attributes: str, content: str, known: Collection[str]) -> str:
    return "" if known and not attributes and "<" not in content else "the element <title>"


_RAW: dict[str, Callable[[str, str, Collection[str]], str]] = {
    "script": _script_refused,
    "style": _style_refused,
    "title": _title_refused,
}


def _in_tag(
    tag: re.Match[str], elements: Collection[str], picture: Callable[[str], bool]
) -> Iterator[Refusal]:
    name = tag[2].lower()
    if name not in elements:
        yield Refusal(f"the element <{name}>", tag[0][: len(tag[1]) + len(tag[2]) + 1])
        return
    if not tag[3]:
        return
    for key, value in _pairs(tag[3]):
        if said := _attribute_refused(name, key, value, picture):
            yield Refusal(said, tag[0][:LONGEST_WORD])


@cache
def _attributes_of(element: str) -> frozenset[str]:
    own = _OF_FORMULA if element in FORMULA else _OF_ELEMENT.get(element, frozenset())
    return _EVERYWHERE | own


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for key, double, single, bare in _ATTRIBUTES.findall(text):
        value = double or single or bare
        yield key.lower(), html.unescape(value) if "&" in value else value


def _attribute_refused(element: str, key: str, value: str, picture: Callable[[str], bool]) -> str:
    """What is wrong with an attribute, in words; empty where it is fine."""
    if key not in _attributes_of(element) and not _CUSTOM.fullmatch(key):
        return f"the attribute {key} of <{element}>"
    wrong = (
        (key == "href" and not link_allowed(value) and f"a link to '{_short(value)}'")
        or (key == "src" and not picture(value) and f"a picture from '{_short(value)}'")
        or (key == "id" and not name_allowed(value) and f"the id '{_short(value)}'")
        or (key == "xmlns" and value not in _NAMESPACES and f"the namespace '{_short(value)}'")
        or (key == "encoding" and value != "application/x-tex" and f"the encoding '{value}'")
        or (key == "style" and sheets.style_refused(value))
    )
    return wrong or ""


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
