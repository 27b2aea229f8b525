"""Figures that check the assumptions of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NotRequired, TypedDict

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from mlmreport.report.figures.canvas import (
    BLUE,
    GREY,
    INK,
    SMALL,
    VERMILLION,
    Array,
    Drawing,
    dots,
    figure_of,
    finish,
    finite,
    head,
    name_axes,
    note,
    rows_height,
    rows_of,
    rule,
    same_length,
    several,
    shortened,
    smooth_line,
    style,
    together,
    wrapped,
)

__all__ = [
    "LinearityPanel",
    "QQPanel",
    "group_spread",
    "influence",
    "linearity",
    "linearity_panels",
    "qq",
    "qq_panels",
    "residuals_fitted",
]

_NAMED_ROWS = 30


class QQPanel(TypedDict):
    """The arguments of `qq`, for one panel of `qq_panels`."""

    theoretical: ArrayLike
    sample: ArrayLike
    lower: ArrayLike
    upper: ArrayLike
    xlabel: str
    ylabel: str
    title: NotRequired[str]
    shown: NotRequired[str]
    reference: NotRequired[tuple[float, float]]


class LinearityPanel(TypedDict):
    """The arguments of `linearity`, for one panel of `linearity_panels`."""

    x: ArrayLike
    residual: ArrayLike
    smooth_x: ArrayLike
    smooth_y: ArrayLike
    xlabel: str
    ylabel: NotRequired[str]
    shown: NotRequired[str]


def qq(
    theoretical: ArrayLike,
    sample: ArrayLike,
    lower: ArrayLike,
    upper: ArrayLike,
    *,
    xlabel: str,
    ylabel: str,
    title: str = "",
    shown: str = "",
    reference: tuple[float, float] = (0.0, 1.0),
) -> Drawing:
    """A normal Q-Q plot with a simultaneous band.

    Parameters
    ----------
    theoretical, sample
        Normal quantiles, and the values that stand against them.
    lower, upper
        The band at each theoretical quantile.
    xlabel, ylabel, title
        Words on and above the axes.
    shown
        How many values there are; by default the number of points drawn.
    reference
        Intercept and slope of the line a normal sample follows.
    """
    panel = QQPanel(
        theoretical=theoretical,
        sample=sample,
        lower=lower,
        upper=upper,
        xlabel=xlabel,
        ylabel=ylabel,
        title=title,
        shown=shown,
        reference=reference,
    )
    return qq_panels([panel])


def qq_panels(panels: Sequence[QQPanel]) -> Drawing:
    """Normal Q-Q plots side by side, for the residuals and each random effect.

    Parameters
    ----------
    panels
        The arguments of `qq` for each panel.
    """
    with style():
        figure, axes = _grid(len(panels), single=4.0)
        for ax, panel in zip(axes, panels, strict=True):
            _draw_qq(ax, panel, narrow=len(panels) > 1)
        return finish(figure)


def _draw_qq(ax: Axes, panel: QQPanel, narrow: bool) -> None:
    x, y, low, high = _by_first(
        together(
            theoretical=panel["theoretical"],
            sample=panel["sample"],
            lower=panel["lower"],
            upper=panel["upper"],
        )
    )
    intercept, slope = (finite("reference", part) for part in panel.get("reference", (0.0, 1.0)))
    ax.fill_between(x, low, high, color="#dcdcdc", linewidth=0, zorder=1)
    ax.plot(x, intercept + slope * x, color=GREY, linewidth=1.0, zorder=1.5)
    outside = (y < low) | (y > high)
    dots(ax, x[~outside], y[~outside], alpha=0.75)
    dots(ax, x[outside], y[outside], alpha=0.9, color=VERMILLION, marker="^", markersize=4.6)
    _name_panel(ax, panel["xlabel"], panel["ylabel"], narrow)
    count = panel.get("shown", "") or f"n = {len(x):,}"
    _head(ax, panel.get("title", ""), count, narrow)
    if outside.any():
        _corner(ax, "▲ outside the band")


def _corner(ax: Axes, text: str) -> None:
    ax.text(0.98, 0.04, text, transform=ax.transAxes, ha="right", color="#a84a00", fontsize=SMALL)


def residuals_fitted(
    fitted: ArrayLike,
    residual: ArrayLike,
    smooth_x: ArrayLike,
    smooth_y: ArrayLike,
    *,
    xlabel: str,
    ylabel: str,
    shown: str,
) -> Drawing:
    """Residuals against fitted values with a smooth.

    Parameters
    ----------
    fitted, residual
        One point each, already thinned.
    smooth_x, smooth_y
        The smooth, in the order of its first coordinate.
    xlabel, ylabel
        Words on the axes.
    shown
        How many points these are, as in "2,000 of 7,185 points".
    """
    with style():
        figure, (ax,) = figure_of(3.9)
        _draw_cloud(ax, together(fitted=fitted, residual=residual), smooth_x, smooth_y)
        name_axes(ax, xlabel, ylabel)
        note(ax, shown)
        return finish(figure)


def linearity(
    x: ArrayLike,
    residual: ArrayLike,
    smooth_x: ArrayLike,
    smooth_y: ArrayLike,
    *,
    xlabel: str,
    ylabel: str = "Residual",
    shown: str = "",
) -> Drawing:
    """Residuals against one predictor with a smooth, which is flat where the relation is linear.

    Parameters
    ----------
    x, residual
        One point each, already thinned.
    smooth_x, smooth_y
        The smooth, in the order of its first coordinate.
    xlabel, ylabel
        Words on the axes.
    shown
        How many points these are; by default their number.
    """
    panel = LinearityPanel(
        x=x,
        residual=residual,
        smooth_x=smooth_x,
        smooth_y=smooth_y,
        xlabel=xlabel,
        ylabel=ylabel,
        shown=shown,
    )
    return linearity_panels([panel])


def linearity_panels(panels: Sequence[LinearityPanel]) -> Drawing:
    """Residuals against each of several predictors.

    Parameters
    ----------
    panels
        The arguments of `linearity` for each panel.
    """
    with style():
        figure, axes = _grid(len(panels), single=3.6)
        for ax, panel in zip(axes, panels, strict=True):
            _draw_linearity(ax, panel, narrow=len(panels) > 1)
        return finish(figure)


def _draw_linearity(ax: Axes, panel: LinearityPanel, narrow: bool) -> None:
    points = together(x=panel["x"], residual=panel["residual"])
    _draw_cloud(ax, points, panel["smooth_x"], panel["smooth_y"])
    _name_panel(ax, panel["xlabel"], panel.get("ylabel", "Residual"), narrow)
    _head(ax, "", panel.get("shown", "") or f"n = {len(points[0]):,}", narrow)


def _draw_cloud(
    ax: Axes, points: Sequence[Array], smooth_x: ArrayLike, smooth_y: ArrayLike
) -> None:
    dots(ax, points[0], points[1])
    rule(ax, y=0, color=INK)
    smooth_line(ax, *together(smooth_x=smooth_x, smooth_y=smooth_y))


def group_spread(
    labels: Sequence[str],
    sd: ArrayLike,
    n: ArrayLike,
    pooled: float,
    *,
    xlabel: str = "Residual standard deviation",
    groups: str = "groups",
) -> Drawing:
    """The residual standard deviation of every group, sorted, beside the pooled one.

    Up to 30 groups are named on the axis; of more, the three at either end.

    Parameters
    ----------
    labels, sd, n
        Name, standard deviation and size of each group.
    pooled
        The standard deviation the model assumes for all.
    xlabel, groups
        Words for the value and for the groups.
    """
    values, sizes = together(sd=sd, n=n)
    same_length(labels=labels, sd=values)
    order = np.argsort(-values, kind="stable")
    names = [labels[i] for i in order]
    with style():
        named = len(names) <= _NAMED_ROWS
        figure, (ax,) = figure_of(1.2 + rows_height(names, 0.22) if named else 4.8)
        areas = _areas(sizes[order], largest=60)
        ax.scatter(
            values[order], range(len(names)), s=areas, color=BLUE, alpha=0.75, linewidth=0, zorder=3
        )
        rule(ax, x=finite("pooled", pooled), color=VERMILLION, linestyle=(0, (5, 2)), linewidth=1.4)
        _name_spread_rows(ax, names, named)
        ax.set_xlabel(wrapped(xlabel, 60))
        head(figure, several(len(names), groups), _area_words(sizes), "dashed line: pooled")
        return finish(figure)


def influence(
    labels: Sequence[str],
    distance: ArrayLike,
    cutoff: float,
    *,
    named: int = 3,
    xlabel: str = "Group",
    ylabel: str = "Cook's distance",
) -> Drawing:
    """Cook's distance of every group in the order given, the largest named.

    Parameters
    ----------
    labels, distance
        Name and distance of each group.
    cutoff
        The distance beyond which a group is looked at.
    named
        How many of the largest are named.
    xlabel, ylabel
        Words on the axes.
    """
    (values,) = together(distance=distance)
    same_length(labels=labels, distance=values)
    limit = finite("cutoff", cutoff)
    x = np.arange(1.0, len(values) + 1)
    beyond = values > limit
    with style():
        figure, (ax,) = figure_of(3.4)
        ax.vlines(x, 0, values, color=GREY, linewidth=0.7, alpha=0.6)
        dots(ax, x[~beyond], values[~beyond], alpha=0.8)
        dots(ax, x[beyond], values[beyond], alpha=0.9, color=VERMILLION, marker="^", markersize=5)
        rule(ax, y=limit, color=VERMILLION, linestyle=(0, (5, 2)), linewidth=1.2)
        for i in _apart(x, values, named):
            _name_point(ax, float(x[i]), float(values[i]), labels[i], right=x[i] > len(values) / 2)
        ax.set_ylim(0, 1.12 * max(float(values.max()), limit))
        ax.set_xlim(0, len(values) + 1)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        name_axes(ax, xlabel, ylabel)
        note(ax, f"n = {len(values):,}; dashed line: cut-off; ▲ beyond it: {int(beyond.sum()):,}")
        return finish(figure)


def _apart(x: Array, values: Array, most: int) -> list[int]:
    """The largest values, less those whose name would lie on that of a larger one."""
    taken: list[int] = []
    for i in np.argsort(-values, kind="stable")[:most]:
        beside = (
            abs(x[i] - x[j]) < 0.2 * len(x) and abs(values[i] - values[j]) < 0.06 * values.max()
            for j in taken
        )
        if not any(beside):
            taken.append(int(i))
    return taken


def _name_point(ax: Axes, x: float, y: float, text: str, right: bool) -> None:
    """Write a name beside its point, towards the middle of the axes."""
    ax.annotate(
        shortened(text, 18),
        (x, y),
        xytext=(-6 if right else 6, 0),
        textcoords="offset points",
        ha="right" if right else "left",
        va="center",
        fontsize=SMALL,
        color=INK,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.85},
    )


def _name_spread_rows(ax: Axes, names: Sequence[str], named: bool) -> None:
    rows_of(ax, names if named else [""] * len(names))
    if named:
        return
    ax.set_yticks([])
    _name_end(ax, "largest: ", names[:3], high=True)
    _name_end(ax, "smallest: ", names[:-4:-1], high=False)


def _name_end(ax: Axes, word: str, names: Sequence[str], high: bool) -> None:
    """Name one end in the corner that a sorted column of points leaves free."""
    ax.text(
        0.01 if high else 0.99,
        0.98 if high else 0.02,
        word + ", ".join(shortened(name, 18) for name in names),
        transform=ax.transAxes,
        ha="left" if high else "right",
        va="top" if high else "bottom",
        fontsize=SMALL,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
    )


def _areas(sizes: Array, largest: float) -> Array:
    areas: Array = np.maximum(largest * sizes / sizes.max(), 5.0)
    return areas


def _area_words(sizes: Array) -> str:
    low, high = int(sizes.min()), int(sizes.max())
    return f"n = {low:,} in each" if low == high else f"dot area: n = {low:,} to {high:,}"


def _by_first(columns: Sequence[Array]) -> list[Array]:
    order = np.argsort(columns[0], kind="stable")
    return [column[order] for column in columns]


def _grid(panels: int, single: float) -> tuple[Figure, list[Axes]]:
    """Two columns of panels, or one panel over the full width."""
    if not panels:
        raise ValueError("panels: at least one is needed")
    if panels == 1:
        return figure_of(single)
    rows = (panels + 1) // 2
    figure, axes = figure_of(2.95 * rows, rows, 2)
    for ax in axes[panels:]:
        ax.remove()
    return figure, axes[:panels]


def _name_panel(ax: Axes, xlabel: str, ylabel: str, narrow: bool) -> None:
    name_axes(ax, xlabel, ylabel, 30 if narrow else 66, 26 if narrow else 36)


def _head(ax: Axes, title: str, count: str, narrow: bool) -> None:
    """The title of a panel, or the number of points alone; both where there is a title."""
    if not title.strip():
        note(ax, count, 34 if narrow else 72)
        return
    width = 30 if narrow else 66
    text = f"{wrapped(title, width)}\n{shortened(count, width + 6)}"
    ax.set_title(text, loc="left", fontsize=10)
