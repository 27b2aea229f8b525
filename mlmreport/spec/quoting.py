"""Texts and names as R code and as cells of csv, so that nothing in them is read as more."""

from __future__ import annotations

import re

__all__ = ["GUARD_IN_R", "guarded", "r_object", "r_string", "unguarded"]

_SYNTACTIC = re.compile(r"(?:[A-Za-z]|\.(?![0-9]))[A-Za-z0-9._]*\Z")
_ESCAPES = {"\\": r"\\", '"': r"\"", "\n": r"\n", "\r": r"\r", "\t": r"\t"}


def r_string(text: str) -> str:
    """A text as an R string."""
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    return character if character.isprintable() else f"\\U{{{ord(character):x}}}"


def r_object(name: str) -> str:
    """The name of an object as R code."""
    if _SYNTACTIC.match(name):
        return name
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


# --- csv -----------------------------------------------------------------------------------------

_FORMULA = re.compile(
    "'|[\t\r\n]|[\\s\\x00-\\x1f\u200b-\u200f\ufeff]*[-=+@|%\uff1d\uff0b\uff0d\uff20]"
)
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
GUARD_IN_R = "^'"
"""What the guard looks like to R's ``sub``."""


def guarded(text: str) -> str:
    """A text as a cell that a spreadsheet shows, and does not run.

    An apostrophe stands before what a spreadsheet could take for a formula, and before another
    apostrophe, so that `unguarded` gives back the same text, whatever it is. A plain number has
    none: it is no more than it looks like.
    """
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def unguarded(text: str) -> str:
    """The text that `guarded` was given."""
    return text.removeprefix("'")
