"""Figures of predicted lines: simple slopes, lines of groups, growth of persons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from mlmreport.report.figures.canvas import (
    BLUE,
    COLOURS,
    DASHES,
    GREY,
    INK,
    SMALL,
    VERMILLION,
    Array,
    Drawing,
    Look,
    figure_of,
    finish,
    finite,
    head,
    key,
    legend,
    margin_labels,
    name_axes,
    rule,
    several,
    shortened,
    style,
    together,
    wrapped,
)

__all__ = ["GrowthPanel", "Line", "group_lines", "growth", "johnson_neyman", "simple_slopes"]

_LABELLED_LINES = 6
_MOST_PANELS = 18
_CLEAR, _UNCLEAR = "#9ecae8", "#d9d9d9"


@dataclass(frozen=True)
class Line:
    """A predicted line with its interval, both limits or neither."""

    label: str
    x: ArrayLike
    y: ArrayLike
    lower: ArrayLike | None = None
    upper: ArrayLike | None = None


@dataclass(frozen=True)
class GrowthPanel:
    """One person's observations and fitted line."""

    label: str
    x: ArrayLike
    y: ArrayLike
    fitted_x: ArrayLike
    fitted_y: ArrayLike


def simple_slopes(lines: Sequence[Line], *, xlabel: str, ylabel: str, moderator: str) -> Drawing:
    """Predicted lines at chosen values of a moderator, with bands.

    Up to six lines are labelled at their ends, more in a legend.

    Parameters
    ----------
    lines
        One for each value of the moderator.
    xlabel, ylabel
        Words on the axes.
    moderator
        What the labels of the lines are values of.
    """
    if not lines:
        raise ValueError("lines: at least one is needed")
    with style():
        figure, (ax,) = figure_of(4.1)
        entries = [(_draw_line(ax, line, i), line.label) for i, line in enumerate(lines)]
        name_axes(ax, xlabel, ylabel)
        ax.margins(x=0.01)
        if len(lines) > _LABELLED_LINES:
            legend(figure, entries, title=moderator)
        else:
            _label_ends(ax, lines, moderator)
        return finish(figure)


def _draw_line(ax: Axes, line: Line, place: int) -> Any:
    x, y = together(x=line.x, y=line.y)
    look: Look = {
        "color": COLOURS[place % len(COLOURS)],
        "linestyle": DASHES[place % len(DASHES)],
        "linewidth": 2.2,
    }
    if line.lower is not None and line.upper is not None:
        _, low, high = together(x=line.x, lower=line.lower, upper=line.upper)
        ax.fill_between(x, low, high, color=look["color"], alpha=0.14, linewidth=0)
    ax.plot(x, y, **look)
    return key(**look)


def _label_ends(ax: Axes, lines: Sequence[Line], moderator: str) -> None:
    ends = [_last_point(line) for line in lines]
    colours = [_darker(COLOURS[i % len(COLOURS)]) for i in range(len(lines))]
    head = wrapped(moderator, 20)
    ax.annotate(
        head,
        xy=(1.03, 1.0),
        xycoords="axes fraction",
        va="bottom",
        fontsize=SMALL,
        color=GREY,
        annotation_clip=False,
    )
    margin_labels(ax, ends, [line.label for line in lines], colours)


def _last_point(line: Line) -> tuple[float, float]:
    x, y = together(x=line.x, y=line.y)
    last = int(np.argmax(x))
    return float(x[last]), float(y[last])


def _darker(colour: str) -> str:
    """A shade that text can be read in."""
    parts = (int(int(colour[i : i + 2], 16) * 0.72) for i in (1, 3, 5))
    return "#" + "".join(f"{part:02x}" for part in parts)


def group_lines(
    lines: Sequence[tuple[ArrayLike, ArrayLike]],
    mean: tuple[ArrayLike, ArrayLike],
    *,
    xlabel: str,
    ylabel: str,
    groups: str = "groups",
) -> Drawing:
    """A predicted line for every group, and the average one in bold.

    Parameters
    ----------
    lines
        The coordinates of each group's line.
    mean
        Those of the average line.
    xlabel, ylabel, groups
        Words for the axes and the groups.
    """
    paths = [np.column_stack(together(x=x, y=y)) for x, y in lines]
    with style():
        figure, (ax,) = figure_of(4.1)
        alpha = float(np.clip(12 / np.sqrt(len(paths) + 1) / 4, 0.2, 0.8))
        ax.add_collection(
            LineCollection(paths, colors=GREY, linewidths=0.8, alpha=alpha), autolim=True
        )
        x, y = together(x=mean[0], y=mean[1])
        ax.plot(x, y, color="white", linewidth=5.0)
        ax.plot(x, y, color=VERMILLION, linewidth=2.8)
        ax.autoscale_view()
        ax.margins(x=0.01)
        name_axes(ax, xlabel, ylabel)
        entries = [
            (key(color=GREY, linewidth=0.8), several(len(paths), groups)),
            (key(color=VERMILLION, linewidth=2.8), "average"),
        ]
        legend(figure, entries)
        return finish(figure)


def johnson_neyman(
    x: ArrayLike,
    slope: ArrayLike,
    lower: ArrayLike,
    upper: ArrayLike,
    bounds: Sequence[float],
    data_range: tuple[float, float],
    *,
    xlabel: str,
    ylabel: str,
) -> Drawing:
    """The slope of a predictor over a moderator, and where its interval excludes zero.

    Parameters
    ----------
    x, slope, lower, upper
        The curve and its interval over the moderator.
    bounds
        The values of the moderator where the interval reaches zero; may be empty.
    data_range
        Smallest and largest observed value of the moderator.
    xlabel, ylabel
        The moderator, and the slope.
    """
    xs, line, low, high = together(x=x, slope=slope, lower=lower, upper=upper)
    edges = sorted(finite("bounds", bound) for bound in bounds)
    with style():
        figure, (ax,) = figure_of(4.0)
        rule(ax, y=0, color=INK)
        kinds = _shade_regions(ax, xs, low, high, edges)
        ax.plot(xs, line, color=INK, linewidth=2.2)
        ax.margins(x=0.01)
        for edge in edges:
            _mark_bound(ax, edge, _side(edge, edges))
        _mark_range(ax, [finite("data_range", end) for end in data_range])
        name_axes(ax, xlabel, ylabel)
        legend(figure, _region_entries(kinds), columns=3)
        return finish(figure)


def _region_entries(kinds: set[bool]) -> list[tuple[Any, str]]:
    """The key of what is drawn: intervals that exclude zero (True), and those that do not."""
    look: Look = {"linestyle": "none", "marker": "s", "markersize": 11, "markeredgewidth": 0}
    regions = [
        (True, key(color=_CLEAR, **look), "interval excludes 0"),
        (False, key(color=_UNCLEAR, **look), "interval includes 0"),
    ]
    drawn = [(mark, text) for clear, mark, text in regions if clear in kinds]
    return [*drawn, (key(color=VERMILLION, linewidth=4), "observed range")]


def _shade_regions(
    ax: Axes, x: Array, low: Array, high: Array, edges: Sequence[float]
) -> set[bool]:
    """Fill the band, piece by piece between the bounds; whether intervals exclude zero there."""
    kinds = set()
    inner = [edge for edge in edges if x.min() < edge < x.max()]
    cuts = [float(x.min()), *inner, float(x.max())]
    for start, end in pairwise(cuts):
        part = np.union1d(x[(x > start) & (x < end)], [start, end])
        below, above = np.interp(part, x, low), np.interp(part, x, high)
        middle = len(part) // 2 if len(part) > 2 else 0
        clear = bool(below[middle] > 0 or above[middle] < 0)
        kinds.add(clear)
        look: Look = {"facecolor": _CLEAR, "hatch": "///"} if clear else {"facecolor": _UNCLEAR}
        ax.fill_between(part, below, above, edgecolor="white", linewidth=0, **look)
    return kinds


def _side(edge: float, edges: Sequence[float]) -> Literal["left", "center", "right"]:
    """Where the text of a bound is anchored: two of them turn away from each other."""
    if len(edges) == 1:
        return "center"
    return "right" if edge == edges[0] else "left"


def _mark_bound(ax: Axes, edge: float, side: Literal["left", "center", "right"]) -> None:
    rule(ax, x=edge, linestyle=(0, (5, 2)), color=INK)
    ax.annotate(
        f"{edge:.3g}".replace("-", "−"),
        xy=(edge, 1.0),
        xycoords=ax.get_xaxis_transform(),
        xytext=(0, 2),
        textcoords="offset points",
        ha=side,
        va="bottom",
        fontsize=SMALL,
    )


def _mark_range(ax: Axes, ends: Sequence[float]) -> None:
    ax.plot(
        ends,
        [0.012, 0.012],
        transform=ax.get_xaxis_transform(),
        color=VERMILLION,
        linewidth=4,
        solid_capstyle="butt",
        zorder=5,
    )


def growth(panels: Sequence[GrowthPanel], *, xlabel: str, ylabel: str, shown: str = "") -> Drawing:
    """Observations of up to 18 persons or groups, one small panel each, with fitted lines.

    Parameters
    ----------
    panels
        From the top left, row by row.
    xlabel, ylabel
        Words for the axes all panels share.
    shown
        Which ones these are, as "18 of 180 persons".

    Raises
    ------
    ValueError
        With no panel or more than 18.
    """
    if not 1 <= len(panels) <= _MOST_PANELS:
        raise ValueError(f"panels: 1 to {_MOST_PANELS} can be drawn, not {len(panels)}")
    with style():
        columns = _columns(len(panels))
        rows = -(-len(panels) // columns)
        figure, axes = figure_of(0.9 + 1.4 * rows, rows, columns, share=True)
        for ax, panel in zip(axes, panels, strict=False):
            _draw_person(ax, panel)
        for ax in axes[len(panels) :]:
            ax.set_axis_off()
        for ax in axes[max(0, len(panels) - columns) : len(panels)]:
            ax.tick_params(labelbottom=True)
        head(figure, shown)
        figure.supxlabel(wrapped(xlabel, 66), fontsize=10.5)
        figure.supylabel(wrapped(ylabel, 14 * rows), fontsize=10.5)
        return finish(figure)


def _columns(panels: int) -> int:
    """Four at most, three where that leaves fewer gaps."""
    return 3 if panels in {5, 6, 9} else min(4, panels)


def _draw_person(ax: Axes, panel: GrowthPanel) -> None:
    x, y = together(x=panel.x, y=panel.y)
    fitted_x, fitted_y = together(fitted_x=panel.fitted_x, fitted_y=panel.fitted_y)
    ax.plot(fitted_x, fitted_y, color=VERMILLION, linewidth=1.8)
    ax.plot(x, y, "o", color=BLUE, markersize=3.6, markeredgewidth=0, alpha=0.8)
    ax.set_title(shortened(panel.label, 18), fontsize=SMALL, pad=3)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 5, 10]))
    ax.tick_params(labelsize=SMALL)
