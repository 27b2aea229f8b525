"""The text of a finished Word file or PDF, in reading order."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from mlmreport.errors import InputError

__all__ = ["docx_text", "pdf_text"]

_WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_PAGE_NUMBER = re.compile(r"^\d+ / \d+$", re.MULTILINE)
_PARTS = frozenset(f"{_WORD}{name}" for name in ("p", "tab", "br", "tc"))


def docx_text(path: Path) -> str:
    """The text of a Word file: paragraphs and cells in order, formulas left out.

    Raises
    ------
    InputError
        When the file is damaged.
    """
    try:
        with zipfile.ZipFile(path) as parts:
            root = ElementTree.fromstring(parts.read("word/document.xml"))
    except (OSError, KeyError, zipfile.BadZipFile, ElementTree.ParseError) as error:
        raise _damaged(path, error) from None
    return "".join(_word_pieces(root))


def _word_pieces(root: ElementTree.Element) -> Iterator[str]:
    for element in root.iter():
        if element.tag == f"{_WORD}t":
            yield element.text or ""
        elif element.tag in _PARTS:
            yield "\n"


def pdf_text(path: Path) -> str:
    """The text of a PDF, page by page, with its running heads but without page numbers.

    Raises
    ------
    InputError
        When the file is damaged.
    """
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    try:
        pages = [page.extract_text() for page in PdfReader(path).pages]
    except (OSError, ValueError, PyPdfError) as error:
        raise _damaged(path, error) from None
    return "\n".join(_PAGE_NUMBER.sub("", page) for page in pages)


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError.of(
        f"{path} cannot be read: {error}", "`mlmreport render` writes the report anew"
    )
