"""Quantities, labels and tables as Markdown and HTML: the only way onto a page.

What is ready for the document has a type of its own, `Written`. A string of a spec, of data or of a
house is none: put beside a `Written`, or printed by a template, it is escaped as `label` does.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from jinja2 import Undefined
from markupsafe import Markup

from mlmreport import display
from mlmreport.quantities import Cell, Figure, Missing, Part, Quantity, Row, Table
from mlmreport.spec.quoting import guarded

__all__ = [
    "Written",
    "address",
    "attribute",
    "cell",
    "cell_text",
    "citations",
    "code",
    "code_block",
    "concatenated",
    "figure",
    "formula",
    "html_text",
    "join",
    "label",
    "legible",
    "number_word",
    "plain",
    "printed",
    "replace",
    "rule",
    "sentence",
    "series",
    "setting",
    "show",
    "table",
    "table_csv",
    "with_article",
]


class Written(Markup):
    """Markdown that is ready for the document.

    Whatever is joined to it by ``+``, ``%``, ``join`` or ``format`` and is not `Written` itself is
    escaped first.
    """

    __slots__ = ()

    @classmethod
    def escape(cls, text: Any, /) -> Written:
        """The text as it is if it is `Written`, else as `label` writes it."""
        return label(text)


# --- characters -------------------------------------------------------------------------------

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~^$@\"'&=:/])")
_SPACES = re.compile(r"[ \t-\r\x1c-\x1f\x85\u2028\u2029]+")
_ILLEGIBLE = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\u202a-\u202e\u2066-\u2069"
    r"\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)
_SHORTCODE = re.compile(r"\{(?=\{<)")


def legible(text: str) -> str:
    """A text without what XML forbids and what turns the direction of reading.

    In the place of each such character stands U+FFFD, so that it is seen that there was one.
    """
    return _ILLEGIBLE.sub("\N{REPLACEMENT CHARACTER}", text)


def _one_line(text: str) -> str:
    """A text in which a line break or a row of spaces is one space: neither opens a block."""
    return _SPACES.sub(" ", legible(text))


def _escaped(text: str) -> str:
    """A text with every sign escaped that means something in Markdown."""
    return _MARKDOWN.sub(r"\\\1", _one_line(text))


def attribute(text: str) -> Written:
    """A text as the value of an attribute in HTML."""
    escaped = html.escape(legible(plain(text)), quote=True)
    return Written(_SPACES.sub(lambda spaces: _entities(spaces[0]), escaped))


def html_text(text: str) -> Written:
    """A text within raw HTML."""
    return Written(html.escape(_one_line(plain(text))))


def _entities(spaces: str) -> str:
    """Spaces that a tag in Markdown keeps; a line break would end it."""
    return "".join(space if space == " " else f"&#{ord(space)};" for space in spaces)


def address(text: str) -> Written:
    """An id that the program has made: of letters, digits and hyphens.

    Raises
    ------
    ValueError
        For anything else: a name of the user's is no id.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]*", text):
        raise ValueError(f"{text!r} is no id")
    return Written(text)


def _span(kind: str, content: str, **data: str) -> Written:
    attributes = "".join(f' data-{key}="{attribute(value)}"' for key, value in data.items())
    return Written(f'<span class="{kind}"{attributes}>{content}</span>')


# --- texts and numbers in prose ---------------------------------------------------------------


def show(item: Quantity | Missing, form: str = "plain") -> Written:
    """A number on the page, traced; of a missing one the reason.

    Parameters
    ----------
    item
        What is shown.
    form
        One of `mlmreport.display.FORMATS`.

    Raises
    ------
    TypeError
        For anything that is no quantity: a bare number cannot reach a page.
    """
    if isinstance(item, Missing):
        return _span("na", f"not available: {_with_code(item.reason)}", id=item.id)
    if not isinstance(item, Quantity):
        raise TypeError(f"`show` takes a quantity, not {type(item).__name__}")
    data = {"id": item.id, "value": repr(item.value)}
    if form != "plain":
        data["f"] = str(form)
    return _span("q", display.text(item, form), **data)


def label(text: Any) -> Written:
    """A text of somebody else's, taken literally whatever it holds."""
    if isinstance(text, Written):
        return text
    escaped = _escaped(_apostrophes(str(text)))
    return Written(f'<span class="t">{escaped}</span>' if re.search(r"\d", escaped) else escaped)


def printed(value: Any) -> Written:
    """What a template prints.

    Written text and whole numbers (of a loop, of a list) stand as they are, any other text as its
    `label`.

    Raises
    ------
    TypeError
        For what has a form of its own to be shown in: numbers, tables, figures, lists.
    """
    if isinstance(value, Written):
        return value
    if isinstance(value, str | Undefined):
        return label(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return Written(value)
    raise TypeError(f"{type(value).__name__} cannot be printed: a filter says how it is shown")


class _Concatenated(Written):
    """What ``~`` makes: as it is printed, and `plain` as a key or as code."""

    __slots__ = ("plain",)
    plain: str


def concatenated(parts: Iterable[Any]) -> Written:
    """What ``~`` makes of its operands: each as it would be printed."""
    operands = list(parts)
    made = _Concatenated("".join(map(printed, operands)))
    made.plain = "".join(map(plain, operands))
    return made


def plain(text: Any) -> str:
    """A text without the marks that its parts got when a template put them together."""
    return str(getattr(text, "plain", text))


def join(items: Iterable[Any], between: str = "") -> Written:
    """The items, each as it would be printed, with a text between them."""
    return label(between).join(map(printed, items))


def replace(text: str, old: str, new: str) -> str:
    """With another piece in the place of one; text that is none of ours stays so."""
    own = isinstance(text, Written)
    return text.replace(old, new) if own else text.replace(plain(old), plain(new))


def _apostrophes(text: str) -> str:
    """With typographic apostrophes: Typst makes a prime of a straight one after a digit."""
    return re.sub(r"(?<=\w)'(?=\w)", "\N{RIGHT SINGLE QUOTATION MARK}", text)


def sentence(text: str) -> str:
    """With a capital first letter, unless the word has its own way: pH, iPad."""
    return text if text[1:2].isupper() else text[:1].upper() + text[1:]


_VOWEL_SOUND = re.compile(r"(?!eu|uni(?![mn])|us[eua]|ut|one\b|once\b)[aeiou]|heir|hour|hono", re.I)


def with_article(noun: str) -> str:
    """With the indefinite article that its first sound asks for: a school, an infant, a unit."""
    article = "an " if _VOWEL_SOUND.match(noun) else "a "
    return (Written(article) if isinstance(noun, Written) else article) + noun


def series(items: Iterable[Any]) -> Written:
    """Joined for a sentence: commas, and `and` before the last."""
    listed = [printed(item) for item in items]
    if len(listed) < 2:
        return Written("").join(listed)
    return Written(", ").join(listed[:-1]) + Written(" and ") + listed[-1]


_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def number_word(count: int) -> Written:
    """A small count in words, as APA writes it."""
    return Written(_WORDS[count]) if count < len(_WORDS) else setting(count)


def code(text: Any) -> Written:
    """A code span that holds, whatever backticks are in it."""
    inside = _in_code(_one_line(plain(text)))
    fence = _fence(inside, least=1)
    pad = " " if inside[:1] in ("`", " ") or inside[-1:] in ("`", " ") else ""
    return Written(f"{fence}{pad}{inside}{pad}{fence}" if inside.strip() else "")


def code_block(text: str) -> Written:
    """A block of R code that holds, whatever backticks are in it."""
    inside = _in_code(legible(plain(text)))
    fence = _fence(inside, least=3)
    return Written(f"{fence}r\n{inside}\n{fence}")


def _fence(text: str, least: int) -> str:
    """More backticks than stand together anywhere in the text."""
    return "`" * max(least, 1 + max(map(len, re.findall(r"`+", text)), default=0))


def _in_code(text: str) -> str:
    """With a word joiner within what Quarto would take for a shortcode, also in code."""
    return _SHORTCODE.sub("{\N{WORD JOINER}", text)


def formula(latex: str) -> Written:
    """A formula that the program has made, without the signs around it.

    Raises
    ------
    ValueError
        Where it would end before its end.
    """
    if re.search(r"(?<!\\)(?:\\\\)*\$|\n\s*\n", latex):
        raise ValueError(f"this is no formula: {latex!r}")
    return Written(legible(latex))


def rule(text: Any) -> Written:
    """A threshold of the methods literature."""
    return _span("rule", _escaped(f"{text:g}" if isinstance(text, float) else plain(text)))


def setting(text: Any) -> Written:
    """A number that the spec set."""
    return _span("spec", _escaped(f"{text:,}" if isinstance(text, int) else plain(text)))


def citations(keys: Iterable[str]) -> Written:
    """References to works of the bibliography; nothing where there are none.

    Parameters
    ----------
    keys
        Keys, each after words of its own where it has some: ``"CR2, @Pustejovsky2018"``.

    Raises
    ------
    ValueError
        For what is no key.
    """
    unique = [_reference(str(key)) for key in dict.fromkeys(keys) if key]
    return Written(f"[{'; '.join(unique)}]" if unique else "")


def _reference(text: str) -> str:
    words, _, key = text.rpartition("@")
    return f"{_escaped(words)}@{address(key)}"


def cell(content: Any) -> Written:
    """A cell of a table, or a decision's evidence, in running text."""
    parts = content if isinstance(content, list | tuple) else (content,)
    return Written("".join(map(_in_prose, parts)))


def _in_prose(part: Part) -> str:
    if isinstance(part, Quantity):
        return show(part, {"p": "equation", "share": "percent"}.get(part.kind, "plain"))
    return _with_code(part) if isinstance(part, str) else show(part)


def _pieces(text: str, as_text: Callable[[str], str], as_code: Callable[[str], str]) -> str:
    parted = display.parted(text)
    return "".join(as_code(piece) if i % 2 else as_text(piece) for i, piece in enumerate(parted))


def _with_code(text: str) -> str:
    """A sentence of the program in Markdown, with what it names as code."""
    if isinstance(text, Written):
        return text
    return _pieces(text, lambda piece: label(piece) if piece else "", code)


# --- tables -----------------------------------------------------------------------------------


def _part_html(part: Part) -> str:
    if isinstance(part, Missing):
        reason = attribute(display.without_code(part.reason))
        return _span("na", f'<abbr title="{reason}">n/a</abbr>'
                     if len(part.reason) > 24 else _inline(part.reason), id=part.id)  # fmt: skip
    if isinstance(part, Quantity):
        return show(part)
    if part == "*":
        return '<span class="stars"><sup>*</sup></span>'
    return _inline(part)


def _inline(text: str) -> str:
    """A plain text of a cell, with what it names as code."""
    return _pieces(text, _counted, _html_code)


def _html_code(text: str) -> str:
    return f"<code>{html.escape(_in_code(_one_line(text)))}</code>"


def _counted(text: str) -> str:
    escaped = html.escape(_one_line(_apostrophes(text)))
    return f'<span class="t">{escaped}</span>' if re.search(r"\d", text) else escaped


def _cell_html(cell: Cell) -> str:
    parts = cell if isinstance(cell, tuple) else (cell,)
    made = "".join(_part_html(part) for part in parts)
    # An empty mark keeps the numbers of a starred column aligned.
    if isinstance(cell, tuple) and len(cell) == 5 and cell[1] == "" and cell[2] == " (":
        made = made.replace("</span> (", '</span><span class="stars"><sup></sup></span> (', 1)
    return made


def _is_text(cell: Cell) -> bool:
    return isinstance(cell, str) and bool(cell)


def _alignments(found: Table) -> list[str]:
    """Text columns left, numbers right; a word among numbers stands as they do."""
    rows = [row for row in found.rows if not row.group]

    def side(i: int) -> str:
        filled = [row.cells[i] for row in rows if i < len(row.cells) and row.cells[i] != ""]
        texts = sum(map(_is_text, filled))
        return "left" if texts and 2 * texts >= len(filled) else "right"

    return [side(i) for i in range(len(found.columns) - 1)]


def table(found: Table) -> Written:
    """A table as a cross-referenced block; the same HTML becomes native tables elsewhere."""
    aligned = _alignments(found)
    heads = [f'<th scope="col" style="text-align:left">{_head(found.columns[0])}</th>']
    heads += [
        f'<th scope="col" style="text-align:{side}">{_head(head)}</th>'
        for head, side in zip(found.columns[1:], aligned, strict=True)
    ]
    bodies = "\n</tbody>\n<tbody>\n".join(
        "\n".join(_row_html(row, aligned, indent=block[0].group) for row in block)
        for block in _blocks(found.rows)
    )
    note = (
        f'\n<tfoot><tr><td colspan="{len(found.columns)}" style="text-align:left"><em>Note.</em> '
        f"{_inline(found.note)}</td></tr></tfoot>"
        if found.note
        else ""
    )
    head = f"<thead><tr>{''.join(heads)}</tr></thead>"
    body = f"<table>\n{head}\n<tbody>\n{bodies}\n</tbody>{note}\n</table>"
    fence = _fence(body, least=3)
    return Written(
        f"::: {{#tbl-{address(found.id)}}}\n\n{fence}{{=html}}\n{body}\n{fence}\n\n"
        f"{label(sentence(found.caption))}\n\n:::\n"
    )


_ITALIC = frozenset({"t", "p", "n", "df", "SE", "SD", "F"})


def _head(text: str) -> str:
    """A column's head; symbols of statistics in italics, as APA sets them."""
    return f"<em>{text}</em>" if text in _ITALIC else _counted(text)


def _blocks(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows, parted before each heading row."""
    blocks: list[list[Row]] = []
    for row in rows:
        if row.group or not blocks:
            blocks.append([])
        blocks[-1].append(row)
    return blocks


def _row_html(row: Row, aligned: Sequence[str], *, indent: bool) -> str:
    if row.group:
        return (
            f'<tr><th colspan="{len(aligned) + 1}" scope="rowgroup" style="text-align:left">'
            f"<strong>{_counted(sentence(row.head))}</strong></th></tr>"
        )
    pad = ";padding-left:1em" if indent else ""
    cells = [f'<th scope="row" style="text-align:left{pad}">{_counted(sentence(row.head))}</th>']
    filled = (*row.cells, *[""] * (len(aligned) - len(row.cells)))
    cells += [
        f'<td style="text-align:{side}">{_cell_html(cell)}</td>'
        for cell, side in zip(filled, aligned, strict=True)
    ]
    anchor = f' id="{attribute(row.anchor)}"' if row.anchor else ""
    return f"<tr{anchor}>{''.join(cells)}</tr>"


def cell_text(cell: Cell) -> str:
    """The text of a cell as every format shows it."""
    parts = cell if isinstance(cell, tuple) else (cell,)
    return "".join(_part_text(part) for part in parts)


def _part_text(part: Part) -> str:
    if isinstance(part, Quantity):
        return display.text(part)
    return display.without_code(
        f"not available: {part.reason}" if isinstance(part, Missing) else part
    )


def table_csv(found: Table) -> list[list[str]]:
    """The table's texts, line by line, for a CSV file."""
    lines = [list(found.columns)]
    for row in found.rows:
        cells = [cell_text(cell) for cell in row.cells]
        lines.append([row.head, *cells, *[""] * (len(found.columns) - 1 - len(cells))])
    return [list(map(guarded, line)) for line in lines]


# --- figures ----------------------------------------------------------------------------------


def figure(found: Figure) -> Written:
    """A figure as a cross-referenced image; the renderer picks the file by format."""
    at = address(found.id)
    caption = label(sentence(found.caption))
    return Written(f'![{caption}](figures/{at}){{#fig-{at} fig-alt="{_escaped(found.alt)}"}}\n')
