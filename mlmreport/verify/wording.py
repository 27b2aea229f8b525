"""What ``report.qmd`` says, word by word, held against the text of a finished file.

The document is taken apart into words, runs of digits and signs, in its order, and results are put
in the place of the numbers that it traces. The text of an HTML page, a Word file or a PDF is taken
apart alike, and the two are aligned by the fewest changes that turn one into the other
(Levenshtein, 1966). What a renderer adds (numbers of sections and tables, citations, formulas, page
heads) are insertions; a number that is not there as the results have it is a difference, whatever
stands elsewhere in the text.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

import yaml
from rapidfuzz.distance import Levenshtein

from mlmreport import display
from mlmreport.quantities import Quantity, Results

__all__ = ["Place", "Wording", "differing", "wording_of"]

_WORDS = re.compile(r"\d+|[^\W\d]+|[^\w\s]")
_CONTEXT = 40


@dataclass(frozen=True, slots=True)
class Place:
    """Where the document shows a number.

    Parameters
    ----------
    id
        The quantity or missing value; empty for a setting, a rule or other text.
    text
        What must stand there.
    start, stop
        Its words, as positions in those of the document.
    form
        One of `mlmreport.display.FORMATS`.
    """

    id: str
    text: str
    start: int
    stop: int
    form: str = "plain"


@dataclass(frozen=True, slots=True)
class Wording:
    """A document in one format.

    Parameters
    ----------
    words
        In order.
    places
        Those of its numbers, traced ones with their id.
    """

    words: tuple[str, ...]
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class _Word:
    """A word, a run of digits or a sign, and where it stands."""

    text: str
    start: int
    stop: int


_NUMBERED = frozenset({"Table", "Figure", "Section", "Equation"})


def _words(text: str) -> list[_Word]:
    """A text taken apart; a table's number is marked, and so is no other number's equal."""
    found: list[_Word] = []
    numbering = False
    for match in _WORDS.finditer(text):
        word, start, stop = match[0], *match.span()
        close = bool(found) and found[-1].stop == start
        after_name = bool(found) and found[-1].text in _NUMBERED
        numbering = after_name or (numbering and close and (word == "." or word.isdecimal()))
        mark = "#" if numbering and word.isdecimal() else ""
        found.append(_Word(word + mark, start, stop))
    return found


def wording_of(qmd: str, results: Results, form: str) -> Wording:
    """The words of a document as a format shows them.

    Parameters
    ----------
    qmd
        The text of ``report.qmd``.
    results
        What its traced numbers are.
    form
        ``"html"``, ``"docx"`` or ``"pdf"``: some parts stand in one format only.
    """
    reading = _Reading(results)
    for kind, text in _segments(qmd, form):
        reading.take(kind, text)
    return Wording(tuple(reading.words), tuple(reading.places))


def differing(wording: Wording, text: str) -> Iterator[tuple[Place, str, str]]:
    """Each place that a text does not hold, with what it holds instead, and what is around it.

    Parameters
    ----------
    wording
        What the document says.
    text
        What a finished file says.
    """
    found = _words(text)
    at = _matched(wording.words, [word.text for word in found])
    for place in wording.places:
        if not _is_there(wording, place, at):
            inside = _between(place, at, found)
            wanted = wording.words[place.start : place.stop]
            if not _holds([word.text for word in found[inside]], wanted):
                yield place, *_instead(inside, found, text)


def _is_there(wording: Wording, place: Place, at: Sequence[int | None]) -> bool:
    """Whether all words of a number stand together, or all numerals of another text are there."""
    inside = at[place.start : place.stop]
    if place.id:
        there = [n for n in inside if n is not None]
        return len(there) == len(inside) and there[-1] - there[0] == len(there) - 1
    words = wording.words[place.start : place.stop]
    return all(n is not None for word, n in zip(words, inside, strict=True) if word.isdecimal())


def _between(place: Place, at: Sequence[int | None], found: Sequence[_Word]) -> slice:
    """What stands between the words before and after a place."""
    before = next((n for n in reversed(at[: place.start]) if n is not None), -1)
    after = next((n for n in at[place.stop :] if n is not None), len(found))
    return slice(before + 1, after)


def _holds(words: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether words stand together among others; alignments of equal length may part them."""
    n = len(wanted)
    return any(tuple(words[i : i + n]) == tuple(wanted) for i in range(len(words) - n + 1))


def _matched(words: Sequence[str], found: Sequence[str]) -> list[int | None]:
    """For each word of the document its position in the text; None where it is not there."""
    codes = {word: code for code, word in enumerate({*words, *found})}
    at: list[int | None] = [None] * len(words)
    changes = Levenshtein.opcodes([codes[word] for word in words], [codes[word] for word in found])
    for change in changes:
        if change.tag == "equal":
            there = range(change.dest_start, change.dest_end)
            at[change.src_start : change.src_end] = there
    return at


def _instead(inside: slice, found: Sequence[_Word], text: str) -> tuple[str, str]:
    """The text of some words, and that around it."""
    start = found[inside.start - 1].stop if inside.start else 0
    stop = found[inside.stop].start if inside.stop < len(found) else len(text)
    around = text[max(0, start - _CONTEXT) : min(stop, start + 2 * _CONTEXT) + _CONTEXT]
    return _spaced(text[start:stop][: 2 * _CONTEXT]), _spaced(around)


def _spaced(text: str) -> str:
    return " ".join(text.split())


# --- taking a document apart ------------------------------------------------------------------

_FENCE = re.compile(r":::+\s*(\{.*\})?\s*$")
_VISIBLE = re.compile(r"content-visible (when|unless)-format=\"(\w+)\"")
_CODE = re.compile(r"(`{3,})\s*(.*)$")
_TABLE = re.compile(r"(::: \{#tbl-[^}]*\}\n)(.*?)\n\n([^\n]+)(\n\n:::\n)", re.DOTALL)
_NAMES: Mapping[str, str] = {"html": "html", "docx": "docx", "pdf": "typst"}


def _segments(qmd: str, form: str) -> Iterator[tuple[str, str]]:
    """The parts that a format shows: ``markdown``, ``raw`` HTML and ``code``, in its order."""
    head, body = _parted(qmd)
    for key in ("title", "subtitle", "author", "date", "abstract"):
        entry = head.get(key, "")
        for text in entry if isinstance(entry, list) else [entry]:
            yield "markdown", str(text)
    # Captions stand below their tables in the document, above them in every format.
    body = _TABLE.sub(lambda m: f"{m[1]}\n{m[3]}\n\n{m[2]}{m[4]}", body)
    for kind, lines in groupby(_shown(body.splitlines(), form), key=itemgetter(0)):
        yield kind, "\n".join(line for _, line in lines)


def _parted(qmd: str) -> tuple[Mapping[str, object], str]:
    parts = re.match(r"---\n(.*?)\n---\n(.*)", qmd, re.DOTALL)
    return (yaml.safe_load(parts[1]), parts[2]) if parts else ({}, qmd)


def _shown(lines: Sequence[str], form: str) -> Iterator[tuple[str, str]]:
    open_: list[bool] = []
    code: tuple[str, str] | None = None
    for line in lines:
        if code is not None:
            if line.strip() == code[0]:
                code = None
            elif all(open_):
                yield code[1], line
        elif fence := _FENCE.match(line):
            if fence[1]:
                open_.append(_is_shown(fence[1], form))
            elif open_:
                open_.pop()
        elif start := _CODE.match(line):
            code = (start[1], "raw" if "=html" in start[2] else "code")
        elif all(open_):
            yield "markdown", line


def _is_shown(attributes: str, form: str) -> bool:
    rule = _VISIBLE.search(attributes)
    return rule is None or (rule[1] == "when") == (rule[2] in (form, _NAMES[form]))


_MARKDOWN = re.compile(
    r"""\\(?P<literal>.)
    | (?P<tag></?[a-zA-Z][^>]*>)
    | `+(?P<code>[^`]+)`+
    | (?P<drop>\$\$.+?\$\$ | (?<!\\)\$[^$]+\$ | \[-?@[^\]]*\] | -?@[\w:-]+ | \]\([^)]*\)
        | \{(?:\\.|[^}\\])*\} | [*\#\[\]!] | (?m:^)\s*\d+\.(?=\s))
    | (?P<text>[^\\<`$@\[\]{*\#!\n-]+ | .)""",
    re.VERBOSE | re.DOTALL,
)
_RAW = re.compile(r"(?P<tag></?[a-zA-Z][^>]*>)|(?P<text>[^<]+|.)", re.DOTALL)
_ATTRIBUTE = re.compile(r'([\w-]+)="([^"]*)"')
_MARKS = frozenset({"q", "na", "spec", "rule", "t"})
_UNSEEN = re.compile(r"<script\b.*?</script>", re.DOTALL)


class _Reading:
    """The words of a document as they are read."""

    def __init__(self, results: Results) -> None:
        self.results = results
        self.words: list[str] = []
        self.places: list[Place] = []
        self._open: list[Mapping[str, str] | None] = []
        self._pending: list[str] = []

    def take(self, kind: str, text: str) -> None:
        """Read a stretch of text."""
        if kind == "code":
            self._pending.append(text)
        else:
            pattern = _MARKDOWN if kind == "markdown" else _RAW
            for piece in pattern.finditer(_UNSEEN.sub("", text)):
                self._take_piece(piece.groupdict())
        self._flush()

    def _take_piece(self, piece: Mapping[str, str | None]) -> None:
        tag = piece.get("tag")
        if tag is None:
            said = piece.get("literal") or piece.get("code") or html.unescape(piece["text"] or "")
            self._pending.append(said)
        elif tag.startswith("<span"):
            self._flush()
            self._open.append(_mark(tag))
        elif tag == "</span>":
            self._flush()
            if self._open:
                self._open.pop()
        else:
            self._pending.append(" ")

    def _flush(self) -> None:
        """Put the words read so far behind the others, and note what places they make."""
        text, self._pending = "".join(self._pending), []
        mark = next((mark for mark in self._open if mark), None)
        if mark and text.strip():
            self._mark(mark, text)
            return
        for word in _words(text):
            if word.text.isdecimal():
                self.places.append(Place("", word.text, len(self.words), len(self.words) + 1))
            self.words.append(word.text)

    def _mark(self, mark: Mapping[str, str], text: str) -> None:
        name, start = html.unescape(mark.get("data-id", "")), len(self.words)
        item, form = self.results.items.get(name), mark.get("data-f", "plain")
        if isinstance(item, Quantity) and mark["class"] == "q" and form in display.FORMATS:
            text = display.text(item, form)
        self.words += [word.text for word in _words(text)]
        self.places.append(Place(name, _spaced(text), start, len(self.words), form))


def _mark(tag: str) -> Mapping[str, str] | None:
    """The attributes of a span that marks a number or a text with numerals."""
    attributes = dict(_ATTRIBUTE.findall(tag))
    return attributes if attributes.get("class") in _MARKS else None
