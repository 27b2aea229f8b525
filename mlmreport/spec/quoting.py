"""Texts and names as R code, so that nothing in them is read as more than that."""

from __future__ import annotations

import re

__all__ = ["r_object", "r_string"]

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
