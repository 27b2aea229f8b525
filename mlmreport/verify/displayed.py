"""The numbers of a finished page, read back and compared with the results."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any

from mlmreport import display
from mlmreport.quantities import Missing, Quantity, Results
from mlmreport.verify.wording import Wording, differing

__all__ = [
    "Displayed",
    "Mismatch",
    "PageCheck",
    "compare_page",
    "compare_text",
    "read_page",
    "untraced_numerals",
    "visible_text",
]

CARDS = "mlm-quantities"
"""The id of the JSON block behind the number cards."""

Attributes = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Displayed:
    """A number, or the reason for a missing one, as a page shows it.

    Parameters
    ----------
    id
        The quantity it claims to be.
    text
        The visible text, runs of white space of any kind as single spaces.
    value
        What ``data-value`` says; for a missing value the reason in its title, if any.
    form
        One of `mlmreport.display.FORMATS`.
    missing
        Whether it stands for a missing value.
    """

    id: str
    text: str
    value: str
    form: str = "plain"
    missing: bool = False


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A place of a page that does not say what the results say."""

    id: str
    label: str
    what: str
    shown: str
    expected: str


@dataclass(frozen=True, slots=True)
class PageCheck:
    """The outcome of a comparison.

    Parameters
    ----------
    compared
        Places that were compared: numbers, reasons of missing ones, and cards.
    mismatches
        Those that differ, in the order of the page.
    """

    compared: int
    mismatches: tuple[Mismatch, ...]

    @property
    def ok(self) -> bool:
        """Whether there was something to compare and all of it agreed."""
        return self.compared > 0 and not self.mismatches

    def __add__(self, other: PageCheck) -> PageCheck:
        return PageCheck(self.compared + other.compared, self.mismatches + other.mismatches)


def read_page(html: str) -> tuple[Displayed, ...]:
    """Every traced number and missing value of a page, in order.

    Parameters
    ----------
    html
        The text of the page.
    """
    return tuple(_spans(_parsed(html)))


def compare_page(html: str, results: Results) -> PageCheck:
    """Compare each traced number of a page with the results, as text and as value.

    Parameters
    ----------
    html
        The text of the page.
    results
        What it should show.
    """
    page = _parsed(html)
    shown = list(_spans(page))
    found = [mismatch for entry in shown for mismatch in _compared(entry, results)]
    cards = _cards(page)
    found += [mismatch for name, card in cards.items() for mismatch in _card(name, card, results)]
    return PageCheck(len(shown) + len(cards), tuple(found))


def compare_text(wording: Wording, text: str, results: Results) -> PageCheck:
    """Compare the text of a file of any format with the document, number by number.

    Parameters
    ----------
    wording
        What the document says in this format.
    text
        What the file says.
    results
        For the labels of what differs.
    """
    found = tuple(
        Mismatch(place.id, _label(place.id, results) or context, "text", shown, place.text)
        for place, shown, context in differing(wording, text)
    )
    return PageCheck(sum(bool(place.id) for place in wording.places), found)


def visible_text(html: str) -> str:
    """What a reader of a page sees, but for formulas, figures and the table of contents."""
    return "".join(_parsed(html).seen)


def _label(name: str, results: Results) -> str:
    return str(getattr(results.items.get(name), "label", ""))


# --- reading ----------------------------------------------------------------------------------

_VOID = frozenset(
    {
        "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source",
        "track", "wbr",
    }
)  # fmt: skip
_INLINE = frozenset(
    {
        "a", "abbr", "b", "bdi", "cite", "code", "em", "i", "kbd", "mark", "math", "q", "s",
        "small", "span", "strong", "sub", "sup", "u", "var", "wbr", "svg",
    }
)  # fmt: skip


@dataclass(slots=True)
class _Element:
    """An open element: where its text starts, whether it is passed over (`_hides`), or unseen."""

    tag: str
    attributes: Attributes
    start: int
    hides: bool
    unseen: bool
    title: str = ""


@dataclass(frozen=True, slots=True)
class _Span:
    """A closed span with an id: its text, and the title of an abbreviation in it."""

    attributes: Attributes
    text: str
    title: str


class _Page(HTMLParser):
    """A page's text in pieces, its spans with an id, and its cards."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[tuple[str, bool]] = []
        self.seen: list[str] = []
        self.spans: list[_Span] = []
        self.cards = ""
        self._open: list[_Element] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open an element."""
        attributes = {name: value or "" for name, value in attrs}
        self._part(tag)
        if tag in _VOID:
            return
        around = bool(self._open) and self._open[-1].hides
        unseen = tag in _UNSEEN_TAGS or (bool(self._open) and self._open[-1].unseen)
        if tag == "abbr" and self._open:
            self._open[-1].title = attributes.get("title", "")
        hides = around or _hides(tag, attributes)
        self._open.append(_Element(tag, attributes, len(self.pieces), hides, unseen))

    def handle_startendtag(self, tag: str, _: list[tuple[str, str | None]]) -> None:
        """Pass over an element without content."""
        self._part(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close an element, and those within it whose end tag was left out."""
        if any(element.tag == tag for element in self._open):
            while (element := self._open.pop()).tag != tag:
                self._close(element)
            self._close(element)
            self._part(tag)

    def handle_data(self, data: str) -> None:
        """Take a stretch of text."""
        self.pieces.append((data, bool(self._open) and self._open[-1].hides))
        if not (self._open and self._open[-1].unseen):
            self.seen.append(data)

    def _part(self, tag: str) -> None:
        """Keep the texts of two blocks apart."""
        if tag not in _INLINE:
            self.pieces.append(("\n", False))
            self.seen.append("\n")

    def _close(self, element: _Element) -> None:
        attributes = element.attributes
        if element.tag == "span" and "data-id" in attributes:
            self.spans.append(_Span(attributes, self._since(element), element.title))
        elif element.tag == "script" and attributes.get("id") == CARDS:
            self.cards = self._since(element)

    def _since(self, element: _Element) -> str:
        return "".join(text for text, _ in self.pieces[element.start :])


def _parsed(html: str) -> _Page:
    page = _Page()
    page.feed(html)
    page.close()
    return page


def _classes(attributes: Attributes) -> set[str]:
    return set(attributes.get("class", "").split())


def _spaced(text: str) -> str:
    """Any run of white space, also of non-breaking and narrow spaces, as one space."""
    return " ".join(text.split())


def _spans(page: _Page) -> Iterator[Displayed]:
    for span in page.spans:
        attributes, classes = span.attributes, _classes(span.attributes)
        if "q" in classes:
            yield Displayed(
                attributes["data-id"],
                _spaced(span.text),
                attributes.get("data-value", ""),
                attributes.get("data-f", "plain"),
            )
        elif "na" in classes:
            title = _spaced(span.title)
            yield Displayed(attributes["data-id"], _spaced(span.text), title, missing=True)


# --- comparing --------------------------------------------------------------------------------


def _compared(entry: Displayed, results: Results) -> Iterator[Mismatch]:
    item = results.items.get(entry.id)
    if entry.missing and isinstance(item, Missing):
        yield from _reason(entry, item)
    elif not entry.missing and isinstance(item, Quantity):
        yield from _number(entry, item)
    else:
        expected = "no such id in the results" if item is None else f"a {type(item).__name__}"
        label = getattr(item, "label", "")
        yield Mismatch(entry.id, label, "id", entry.text, expected)


def _reason(entry: Displayed, item: Missing) -> Iterator[Mismatch]:
    said = (entry.value if entry.value else entry.text).removeprefix("not available: ")
    if _without_ticks(said) != _without_ticks(item.reason):
        yield Mismatch(entry.id, item.label, "reason", said, item.reason)


def _without_ticks(text: str) -> str:
    """A reason as its reader sees it: what stands in backticks is set as code."""
    return _spaced(text.replace("`", ""))


def _number(entry: Displayed, item: Quantity) -> Iterator[Mismatch]:
    if entry.form not in display.FORMATS:
        known = ", ".join(display.FORMATS)
        yield Mismatch(entry.id, item.label, "form", entry.form, f"one of {known}")
        return
    expected = display.text(item, entry.form)
    if entry.text != _spaced(expected):
        yield Mismatch(entry.id, item.label, "text", entry.text, expected)
    if entry.value != repr(item.value):
        yield Mismatch(entry.id, item.label, "value", entry.value, repr(item.value))


def _cards(page: _Page) -> Mapping[str, Any]:
    try:
        # Numbers as they are written: two texts may stand for the same double.
        cards = json.loads(page.cards, parse_float=str) if page.cards.strip() else {}
    except json.JSONDecodeError as error:
        return {CARDS: f"not JSON: {error}"}
    return cards if isinstance(cards, dict) else {CARDS: "not an object"}


def _card(name: str, card: Any, results: Results) -> Iterator[Mismatch]:
    item = results.items.get(name)
    if not isinstance(card, dict) or not isinstance(item, Quantity):
        yield Mismatch(name, "", "card", str(card), "the card of a quantity of the results")
        return
    expected = {"value": repr(item.value), "r": item.source.expression}
    for key, value in expected.items():
        if key in card and card[key] != value:
            yield Mismatch(name, item.label, f"card, {key}", str(card[key]), str(value))


# --- numerals that are not traced -------------------------------------------------------------

_UNSEEN_TAGS = frozenset({"head", "math", "nav", "script", "style", "svg", "template"})
_HIDING_TAGS = frozenset(
    {"cite", "code", "head", "math", "nav", "pre", "script", "style", "svg", "template"}
)
_HIDING_CLASSES = frozenset(
    {
        "q", "na", "spec", "rule", "t", "citation", "number", "caption-label", "equation-number",
        "header-section-number", "toc-section-number",
    }
)  # fmt: skip
_NAMES = re.compile(
    r"\b(?:Table|Figure|Equation|Section|Appendix|Step|level)[\s-]\d+(?:\.\d+)*|\bICC\(\d\)",
    re.IGNORECASE,
)
"""Names of places, levels and statistics, not results."""

_NUMERAL = re.compile(
    r"(?<![^\W_])[-+\N{MINUS SIGN}]?\.?\d[\d.,\N{NARROW NO-BREAK SPACE}]*(?<![.,])"
)
"""A numeral that is no part of a word such as lme4."""

_CONTEXT = 40


def _hides(tag: str, attributes: Attributes) -> bool:
    """Whether an element is a number's trace, or holds none that could be a result."""
    return (
        tag in _HIDING_TAGS
        or bool(_classes(attributes) & _HIDING_CLASSES)
        or (tag == "a" and attributes.get("href", "").startswith("#"))
        or attributes.get("id") == "refs"
    )


def untraced_numerals(html: str) -> tuple[str, ...]:
    """Numerals in the visible text that no traced span, setting, rule or user's text holds.

    Passed over are code, formulas, graphics, navigation, citations, cross-references, the numbers
    of sections, tables and figures, and the names of levels and steps.

    Parameters
    ----------
    html
        The text of the page.

    Returns
    -------
    tuple of str
        Each numeral with 40 characters of context on both sides.
    """
    pieces = _parsed(html).pieces
    shown = "".join(text for text, _ in pieces)
    open_ = "".join(re.sub(r"\d", "\0", text) if hidden else text for text, hidden in pieces)
    open_ = _NAMES.sub(lambda found: re.sub(r"\d", "\0", found[0]), open_)
    return tuple(
        _spaced(shown[max(0, hit.start() - _CONTEXT) : hit.end() + _CONTEXT])
        for hit in _NUMERAL.finditer(open_)
    )
