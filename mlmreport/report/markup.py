"""Quantities, labels and tables as Markdown and HTML: the only way onto a page."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

from mlmreport import display
from mlmreport.quantities import Cell, Figure, Missing, Part, Quantity, Row, Table

__all__ = [
    "attribute",
    "cell_text",
    "code",
    "figure",
    "label",
    "rule",
    "sentence",
    "setting",
    "show",
    "table",
    "table_csv",
]

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~^$@\"'&=:/])")


def attribute(text: str) -> str:
    """A text as the value of an HTML attribute."""
    return html.escape(text, quote=True).replace("\n", " ")


def _span(kind: str, content: str, **data: str) -> str:
    attributes = "".join(f' data-{key}="{attribute(value)}"' for key, value in data.items())
    return f'<span class="{kind}"{attributes}>{content}</span>'


def show(item: Quantity | Missing, form: str = "plain") -> str:
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
        return _span("na", f"not available: {html.escape(item.reason)}", id=item.id)
    if not isinstance(item, Quantity):
        raise TypeError(f"`show` takes a quantity, not {type(item).__name__}")
    data = {"id": item.id, "value": repr(item.value)}
    if form != "plain":
        data["f"] = form
    return _span("q", display.text(item, form), **data)


def label(text: str) -> str:
    """A user's text, taken literally whatever it holds."""
    escaped = _MARKDOWN.sub(r"\\\1", _apostrophes(str(text).replace("\n", " ")))
    return f'<span class="t">{escaped}</span>' if re.search(r"\d", escaped) else escaped


def _apostrophes(text: str) -> str:
    """With typographic apostrophes: Typst makes a prime of a straight one after a digit."""
    return re.sub(r"(?<=\w)'(?=\w)", "\N{RIGHT SINGLE QUOTATION MARK}", text)


def sentence(text: str) -> str:
    """With a capital first letter, unless the word has its own way: pH, iPad."""
    return text if text[1:2].isupper() else text[:1].upper() + text[1:]


_VOWEL_SOUND = re.compile(r"(?!eu|uni(?![mn])|us[eua]|ut|one\b|once\b)[aeiou]|heir|hour|hono", re.I)


def with_article(noun: str) -> str:
    """With the indefinite article that its first sound asks for: a school, an infant, a unit."""
    return f"{'an' if _VOWEL_SOUND.match(noun) else 'a'} {noun}"


def code(text: str) -> str:
    """A code span that holds, whatever backticks are in it."""
    fence = "`" * (max((len(run) for run in re.findall(r"`+", text)), default=0) + 1)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def rule(text: str) -> str:
    """A threshold of the methods literature."""
    return _span("rule", html.escape(text))


def setting(text: str) -> str:
    """A number that the spec set."""
    return _span("spec", html.escape(text))


# --- tables -----------------------------------------------------------------------------------


def _part_html(part: Part) -> str:
    if isinstance(part, Missing):
        reason = attribute(part.reason.replace("`", ""))
        return _span("na", f'<abbr title="{reason}">n/a</abbr>'
                     if len(part.reason) > 24 else _inline(part.reason), id=part.id)  # fmt: skip
    if isinstance(part, Quantity):
        return show(part)
    if part == "*":
        return '<span class="stars"><sup>*</sup></span>'
    return _inline(part)


def _inline(text: str) -> str:
    """A plain text of a cell; backticks mark code."""
    if len(text) > 2 and text.startswith("`") and text.endswith("`"):
        return f"<code>{html.escape(text[1:-1])}</code>"
    pieces = text.split("`")
    if len(pieces) % 2 == 0:
        return _counted(text)
    return "".join(
        f"<code>{html.escape(piece)}</code>" if i % 2 else _counted(piece)
        for i, piece in enumerate(pieces)
    )


def _counted(text: str) -> str:
    escaped = html.escape(_apostrophes(text))
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


def table(found: Table) -> str:
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
    return (
        f"::: "
        f"{{#tbl-{found.id}}}\n\n```{{=html}}\n{body}\n```\n\n{label(sentence(found.caption))}\n\n:::\n"
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
    return f"not available: {part.reason}" if isinstance(part, Missing) else part.replace("`", "")


def table_csv(found: Table) -> list[list[str]]:
    """The table's texts, line by line, for a CSV file."""
    lines = [list(found.columns)]
    for row in found.rows:
        cells = [cell_text(cell) for cell in row.cells]
        lines.append([row.head, *cells, *[""] * (len(found.columns) - 1 - len(cells))])
    return lines


# --- figures ----------------------------------------------------------------------------------


def figure(found: Figure) -> str:
    """A figure as a cross-referenced image; the renderer picks the file by format."""
    alt = found.alt.replace('"', "'")
    caption = label(sentence(found.caption))
    return f'![{caption}](figures/{found.id}){{#fig-{found.id} fig-alt="{alt}"}}\n'
