"""Figures of the results drawn to files; the numbers come from stored series, never from R."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mlmreport import display
from mlmreport.quantities import Figure, Quantity, Results, Series
from mlmreport.report import markup

__all__ = ["draw_all"]


def draw_all(results: Results, folder: Path, *, png: bool) -> None:
    """Draw every figure as SVG, and as PNG where a format needs it.

    Parameters
    ----------
    results
        Whose figures are drawn.
    folder
        Where the files go.
    png
        Whether a Word document will hold them.
    """
    from mlmreport.report import figures

    folder.mkdir(parents=True, exist_ok=True)
    for found in results.of_type(Figure):
        prepare = _PREPARED.get(found.drawing, _plain)
        arguments = {key: _capital(key, value) for key, value in _resolved(found.data).items()}
        drawing = getattr(figures, found.drawing)(**prepare(arguments))
        (folder / f"{found.id}.svg").write_bytes(drawing.svg())
        if png:
            (folder / f"{found.id}.png").write_bytes(drawing.png())


def _resolved(node: Any) -> Any:
    """Series and quantities in a figure's arguments as their values."""
    match node:
        case Series():
            return list(node.values)
        case Quantity():
            return node.value
        case Mapping():
            return {key: _resolved(value) for key, value in node.items()}
        case list() | tuple():
            return [_resolved(value) for value in node]
        case _:
            return node


def _capital(key: str, value: Any) -> Any:
    """Titles of axes begin with a capital letter."""
    return markup.sentence(value) if key in {"xlabel", "ylabel"} else value


def _plain(data: dict[str, Any]) -> dict[str, Any]:
    return data


def _structure(data: dict[str, Any]) -> dict[str, Any]:
    from mlmreport.report.figures import LevelBox

    boxes = [
        LevelBox(level["name"], int(level["count"]), _sizes(level)) for level in data["levels"]
    ]
    return {"levels": boxes, "crossed": data["crossed"], "partly": data.get("partly", False)}


def _sizes(level: Mapping[str, Any]) -> str:
    if "least" not in level:
        return ""
    least, most = (display.number(level[key], 0) for key in ("least", "most"))
    span = least if least == most else f"{least}–{most}"
    return f"{span} {level['of']} per {level['per']}"


def _lines(data: dict[str, Any]) -> dict[str, Any]:
    from mlmreport.report.figures import Line

    return {**data, "lines": [Line(**line) for line in data["lines"]]}


def _components(data: dict[str, Any]) -> dict[str, Any]:
    return {"components": [(name, value) for name, value in data["components"]]}


def _group_lines(data: dict[str, Any]) -> dict[str, Any]:
    x = data.pop("x")
    ends = zip(data.pop("left"), data.pop("right"), strict=True)
    return {**data, "lines": [(x, pair) for pair in ends], "mean": (x, data["mean"])}


def _growth(data: dict[str, Any]) -> dict[str, Any]:
    from mlmreport.report.figures import GrowthPanel

    panels = [
        GrowthPanel(panel["label"], panel["x"], panel["y"], panel["x"], panel["fitted"])
        for panel in data["panels"]
    ]
    return {**data, "panels": panels}


_PREPARED: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "structure": _structure,
    "simple_slopes": _lines,
    "icc_bar": _components,
    "group_lines": _group_lines,
    "growth": _growth,
}
"""Drawings whose arguments are more than numbers and words."""
