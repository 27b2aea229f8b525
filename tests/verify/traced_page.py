from __future__ import annotations

import html
import shutil
from collections.abc import Sequence

import pytest

from mlmreport import display
from mlmreport.quantities import Missing, Quantity


def span(item: Quantity | Missing, form: str = "plain") -> str:
    """A traced number as it stands on a page, written without the report's own code."""
    name = html.escape(item.id, quote=True)
    if isinstance(item, Missing):
        return f'<span class="na" data-id="{name}">not available: {html.escape(item.reason)}</span>'
    written = "" if form == "plain" else f' data-f="{form}"'
    text = html.escape(display.text(item, form))
    return f'<span class="q" data-id="{name}" data-value="{item.value!r}"{written}>{text}</span>'


def page(items: Sequence[Quantity | Missing]) -> str:
    shown = "\n".join(f"<p>{span(item)}</p>" for item in items)
    return f"<!DOCTYPE html><html><head><title>1</title></head><body>{shown}</body></html>"


def needs_r() -> None:
    if shutil.which("Rscript") is None:
        pytest.skip("R is not installed")
