"""An HTML page and the files beside it -> one file that refers to nothing else.

Only files of the document's own folder are taken in: a template that comes from someone else can
neither fetch from the network nor show what stands elsewhere on the disk.
"""

from __future__ import annotations

import base64
import mimetypes
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

from mlmreport.errors import AnalysisError

__all__ = ["self_contained"]

_IMAGE = re.compile(r"(<(?:img|source)\b[^>]*?\ssrc=)\"([^\"]*)\"", re.IGNORECASE)
_SHEET = re.compile(
    r"<link\b(?=[^>]*\srel=\"stylesheet\")[^>]*?\shref=\"([^\"]*)\"[^>]*>", re.IGNORECASE
)
_SCRIPT = re.compile(r"<script\b([^>]*?)\ssrc=\"([^\"]*)\"([^>]*)>\s*</script>", re.IGNORECASE)
_URL = re.compile(r"url\(\s*['\"]?([^'\")]+)['\"]?\s*\)")


def self_contained(page: str, folder: Path) -> str:
    """Put stylesheets, scripts and images into the page itself.

    Parameters
    ----------
    page
        The HTML, as Pandoc writes it.
    folder
        Where the files that it refers to are.

    Returns
    -------
    str
        The page, with images as data URIs.

    Raises
    ------
    AnalysisError
        For a file that is not there, outside of the folder, or on the network.
    """
    take = _taker(folder.resolve())
    page = _SHEET.sub(lambda m: f"<style>\n{_style(take(m[1]).decode(), take)}\n</style>", page)
    page = _SCRIPT.sub(lambda m: f"<script{m[1]}{m[3]}>\n{take(m[2]).decode()}\n</script>", page)
    return _IMAGE.sub(lambda m: f'{m[1]}"{_data_uri(m[2], take)}"', page)


def _taker(folder: Path) -> Callable[[str], bytes]:
    def take(reference: str) -> bytes:
        file = (folder / unquote(reference)).resolve()
        if "://" in reference or not file.is_relative_to(folder):
            raise AnalysisError(
                f"the page refers to '{reference}', which does not stand in its own folder"
            )
        try:
            return file.read_bytes()
        except OSError as error:
            raise AnalysisError(f"the page refers to '{reference}': {error.strerror}") from None

    return take


def _data_uri(reference: str, take: Callable[[str], bytes]) -> str:
    if reference.startswith("data:"):
        return reference
    kind = mimetypes.guess_type(reference)[0] or "application/octet-stream"
    return f"data:{kind};base64,{base64.b64encode(take(reference)).decode()}"


def _style(text: str, take: Callable[[str], bytes]) -> str:
    """A stylesheet whose images and fonts stand in it."""
    return _URL.sub(
        lambda m: m[0] if m[1].startswith("#") else f'url("{_data_uri(m[1], take)}")', text
    )
