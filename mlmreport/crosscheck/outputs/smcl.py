"""Stata's markup language: what a log in it shows on a screen."""

from __future__ import annotations

import re

__all__ = ["is_smcl", "plain"]

WIDTH = 78
"""Columns of a rule that names no width."""
LONGEST = 5000
"""Characters; a longer line is no line of a table."""
DEEPEST = 4
"""Directives within directives."""

_DIRECTIVE = re.compile(r"\{([^{}]{0,400})\}")
_OPEN, _CLOSE = "\ue000", "\ue001"
"""Stand for braces that are to be shown, until all directives are carried out."""
_CHARACTERS = {"c -(": _OPEN, "c )-": _CLOSE, "c |": "|", "c -": "-", "c +": "+", "c S|": "$"}
_PLACED = frozenset({"col", "hline", "space", "ralign", "lalign", "center", "centre"})
_CORNERS = frozenset({"c TT", "c BT", "c LT", "c RT", "c TLC", "c TRC", "c BLC", "c BRC"})


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_STYLES = _names(
    "txt text res result err error inp input com cmd bf it sf ul hi hilite bind opt opth title"
)
_SILENT = _STYLES | _names(
    "smcl reset p_end p phang phang2 pstd psee pmore pin pin2 pin3 tab break marker right "
    "synoptset p2colset p2colreset p2line asis s6hlp cmdab dup synopt synopthdr synoptline"
)
_SHOWN = _STYLES | _names("help browse stata search view net")


def is_smcl(text: str) -> bool:
    """Whether a text is marked up."""
    return (
        text.lstrip("\ufeff \r\n").startswith("{smcl}")
        or len(re.findall(r"\{(?:txt|res|com|col \d+|hline)\}", text[:20_000])) > 5
    )


def plain(text: str) -> str:
    """The text as it is displayed; lines stay lines."""
    lines = re.split(r"\r\n|\r|\n", text)
    return "\n".join(_line(line) for line in lines)


def _line(line: str) -> str:
    if len(line) > LONGEST:
        return _DIRECTIVE.sub("", line)
    for _ in range(DEEPEST):
        line = _DIRECTIVE.sub(_flat, line)
    shown, at = "", 0
    for found in _DIRECTIVE.finditer(line):
        shown = _placed(shown + line[at : found.start()], found)
        at = found.end()
    return (shown + line[at:]).replace(_OPEN, "{").replace(_CLOSE, "}")


def _flat(found: re.Match[str]) -> str:
    """What a directive without a place stands for; one with a place is left for later."""
    directive = found[1]
    if directive in _CHARACTERS:
        return _CHARACTERS[directive]
    if directive in _CORNERS:
        return "+"
    head, _, inside = directive.partition(":")
    name = (head.split() or [""])[0]
    if name in _PLACED:
        return found[0]
    if name in _SHOWN:
        return inside
    return "" if name in _SILENT or not name else _OPEN + directive + _CLOSE


def _placed(shown: str, found: re.Match[str]) -> str:
    """The line with a directive carried out that depends on the column."""
    head, _, inside = found[1].partition(":")
    words = head.split()
    number = _number(words[1:2])
    match words[0]:
        case "col":
            return shown.ljust(number - 1)
        case "hline":
            return shown + "-" * (number or max(0, WIDTH - len(shown)))
        case "space":
            return shown + " " * number
        case "ralign":
            return shown + inside.rjust(number)
        case "lalign":
            return shown + inside.ljust(number)
    return shown + inside.center(number)


def _number(words: list[str]) -> int:
    return min(int(words[0]), 400) if words and words[0].isdecimal() and len(words[0]) < 5 else 0
