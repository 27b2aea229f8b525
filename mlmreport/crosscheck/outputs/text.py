"""A file of results as lines: decoded, and with one spelling of blanks, dashes and borders."""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlmreport.crosscheck.outputs import smcl
from mlmreport.errors import InputError, Location

__all__ = ["MOST", "Line", "located", "read_lines"]

MOST = 5_000_000
"""Bytes; no table of results is larger."""
MOST_LINES = 50_000
LONGEST = 20_000
"""Characters of a line."""

_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_NO_TEXT = {
    b"PK\x03\x04": "a Word or Excel file, or another archive",
    b"\xd0\xcf\x11\xe0": "a Word or Excel file of an older format",
    b"%PDF": "a PDF",
    b"{\\rtf": "an RTF file",
}
_MARKUP = re.compile(r"\s*(?:<\?xml|<!doctype|<html|<head|<body|<table)", re.IGNORECASE)
_EXPORT = (
    "save the output as plain text (Stata: `log using FILE, text`; SPSS: File, Export, Text; "
    "else copy the tables into a text file), or write the numbers as csv"
)
_LATIN = "cp1252"

_SAME = str.maketrans(
    {
        "\N{NO-BREAK SPACE}": " ",
        "\N{NARROW NO-BREAK SPACE}": " ",
        "\N{FIGURE SPACE}": " ",
        "\N{THIN SPACE}": " ",
        "\N{ZERO WIDTH NO-BREAK SPACE}": " ",
        "\N{ZERO WIDTH SPACE}": " ",
        "\N{MINUS SIGN}": "-",
        "\N{NON-BREAKING HYPHEN}": "-",
        "\N{HYPHEN}": "-",
        "\N{MULTIPLICATION SIGN}": "*",
        "\N{LEFT SINGLE QUOTATION MARK}": "'",
        "\N{RIGHT SINGLE QUOTATION MARK}": "'",
        "\N{MODIFIER LETTER PRIME}": "'",
        "\0": " ",
        "\f": " ",
        "\v": " ",
    }
    | dict.fromkeys("│┃║╎╏┆┇┊┋▏▕", "|")
    | dict.fromkeys("─━═┄┅┈┉╌╍╴╶╸╺", "-")
    | {chr(code): "+" for code in range(0x250C, 0x2550) if chr(code) not in "╌╍╎╏"}
    | {chr(code): "+" for code in range(0x2552, 0x2570)}
)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a file.

    Parameters
    ----------
    number
        Counted from 1.
    text
        Its text in one spelling; columns are those of the file.
    file
        The path as the user wrote it.
    """

    number: int
    text: str
    file: str

    def at(self, start: int, length: int) -> Location:
        """The place of some characters."""
        return Location(self.file, self.number, start + 1, max(1, length), self.text)

    @property
    def place(self) -> Location:
        """The whole line."""
        return self.at(0, len(self.text))

    @property
    def blank(self) -> bool:
        """Whether it holds nothing but rules."""
        return not self.text.strip(" \t|+-=_*")


def located(line: Line, message: str, hint: str = "") -> InputError:
    """An error at a line."""
    return InputError.of(message, hint, line.place)


def read_lines(path: Path) -> tuple[Line, ...]:
    """The lines of a results file.

    Raises
    ------
    InputError
        When it cannot be read, or is no text.
    """
    text = _decoded(path, _bytes(path))
    if _MARKUP.match(text):
        raise InputError.of(f"{path}: an HTML page", _EXPORT)
    if smcl.is_smcl(text):
        text = smcl.plain(text)
    lines = re.split(r"\r\n|\r|\n", text)
    _check_size(path, lines)
    return tuple(
        Line(number, _commented(line.translate(_SAME)), str(path))
        for number, line in enumerate(lines, start=1)
    )


def _check_size(path: Path, lines: Sequence[str]) -> None:
    if len(lines) > MOST_LINES:
        hint = "leave the lines of the models' results"
        raise InputError.of(f"{path}: {len(lines):,} lines, at most {MOST_LINES:,} are read", hint)
    for number, line in enumerate(lines, start=1):
        if len(line) > LONGEST:
            place = Location(str(path), number, 1, 1, line[:LONGEST])
            raise InputError.of(
                f"{len(line):,} characters, which no line of a table has", "", place
            )


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > MOST:
            raise InputError.of(f"{path}: larger than a table of results can be ({MOST:,} bytes)")
        content = path.read_bytes()
    except OSError as error:
        raise InputError.of(f"{path}: cannot be read: {error.strerror}") from None
    for mark, what in _NO_TEXT.items():
        if content.startswith(mark):
            raise InputError.of(f"{path}: {what}, not text", _EXPORT)
    return content


def _decoded(path: Path, content: bytes) -> str:
    mark = next((mark for mark in _MARKS if content.startswith(mark)), None)
    try:
        if mark is not None:
            return content.decode(_MARKS[mark])
        if b"\0" in content[:400]:
            return content.decode("utf-16-le" if content[1:2] == b"\0" else "utf-16-be")
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        return _by_latin(path, content, error)


def _by_latin(path: Path, content: bytes, error: UnicodeDecodeError) -> str:
    """Text of older programs; its letters stand for what they do in Western Europe."""
    try:
        text = content.decode(_LATIN)
    except UnicodeDecodeError:
        text = ""
    strange = sum(not char.isprintable() and char not in "\r\n\t\f\v" for char in text)
    if not text or strange:
        message = f"{path}: neither UTF-8, UTF-16 nor Latin-1 text (byte {error.start})"
        raise InputError.of(message, "save the file as UTF-8") from None
    return text


_COMMENT = re.compile(r"\s*#{1,2}>? ?")


def _commented(line: str) -> str:
    """Without the mark of knitr's output, ``## `` or ``#> ``; every column stays in its place."""
    mark = _COMMENT.match(line)
    return " " * mark.end() + line[mark.end() :] if mark else line
