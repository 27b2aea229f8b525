"""Figures of the results drawn to files; the numbers come from stored series, never from R."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mlmreport import display
from mlmreport.cache import Cache, code_digest, key
from mlmreport.quantities import Figure, Quantity, Results, Series
from mlmreport.report import markup

__all__ = ["draw_all"]


def draw_all(results: Results, folder: Path, *, png: bool, cache: Cache | None = None) -> None:
    """Draw every figure as SVG, and as PNG where a format needs it.

    Parameters
    ----------
    results
        Whose figures are drawn.
    folder
        Where the files go.
    png
        Whether a Word document will hold them.
    cache
        Where figures are kept by what they show; None for nowhere.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for found in results.of_type(Figure):
        data = _resolved(found.data)
        name = key("figure", found.drawing, data, png, _software()) if cache else ""
        kept = cache.find(name) if cache else None
        files = {file.name: file.read_bytes() for file in kept.glob("figure.*")} if kept else {}
        if not files:
            files = _drawn(found.drawing, data, png)
            if cache:
                cache.keep(name, files)
        for file, content in files.items():
            (folder / f"{found.id}{Path(file).suffix}").write_bytes(content)


def _drawn(drawing: str, data: Mapping[str, Any], png: bool) -> dict[str, bytes]:
    from mlmreport.report import figures

    prepare = _PREPARED.get(drawing, _plain)
    arguments = {name: _capital(name, value) for name, value in data.items()}
    drawn = getattr(figures, drawing)(**prepare(arguments))
    files = {"figure.svg": drawn.svg()}
    return {**files, "figure.png": drawn.png()} if png else files


def _software() -> tuple[str, str]:
    """What the look of a figure rests on beside its data."""
    return code_digest(Path(__file__).parent, ".py"), version("matplotlib")


def _resolved(node: Any) -> Any:
    """Series and quantities in a figure's arguments as their values."""
    match node:
        case Series():
            return _resolved(list(node.values))
        case Quantity():
            return node.value
        case Mapping():
            return {key: _resolved(value) for key, value in node.items()}
        case list() | tuple():
            return [_resolved(value) for value in node]
        case str():
            return markup.legible(node)
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


def _bars(data: dict[str, Any]) -> dict[str, Any]:
    return {"bars": [(name, [tuple(part) for part in parts]) for name, parts in data["bars"]]}


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
    "share_bars": _bars,
    "group_lines": _group_lines,
    "growth": _growth,
}
"""Drawings whose arguments are more than numbers and words."""
