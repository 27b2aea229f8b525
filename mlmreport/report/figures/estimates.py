"""Figures of estimates with their intervals: of terms, and of groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import ArrayLike, NDArray

from mlmreport.report.figures.canvas import (
    BLUE,
    COLOURS,
    GREY,
    INK,
    MARKERS,
    PALE,
    VERMILLION,
    Array,
    Drawing,
    Flags,
    Look,
    figure_of,
    finish,
    finite,
    head,
    key,
    legend,
    margin_labels,
    note,
    rows_height,
    rows_of,
    rule,
    same_length,
    several,
    style,
    together,
    wrapped,
)

__all__ = [
    "caterpillar",
    "coefficients",
    "predictions",
    "shrinkage",
    "standard_errors",
    "true_values",
]

Series = tuple[str, Sequence[float | None], Sequence[float | None], Sequence[float | None]]

_NAMED_ROWS = 60
_SPACIOUS_ROWS = 25
_NAME_WIDTH = 32
_MOST_MARGIN_LABELS = 30
_MOST_PANELS = 15
_APART = 20


def coefficients(
    terms: Sequence[str], series: Sequence[Series], *, xlabel: str = "Estimate"
) -> Drawing:
    """Estimates and intervals of the same terms in several models.

    Parameters
    ----------
    terms
        The rows, from the top.
    series
        For each model its name, estimates, lower and upper limits, one for each term; None where
        the model does not have the term.
    xlabel
        What the axis measures. Terms of very different sizes have an axis each.
    """
    if _sizes_apart(terms, series):
        return _coefficient_panels(terms, series, xlabel)
    with style():
        step = 0.8 / max(len(series), 1)
        figure, (ax,) = figure_of(1.2 + rows_height(terms, max(0.32, 0.17 * len(series) + 0.1)))
        rule(ax, x=0)
        entries = []
        for i, (name, *columns) in enumerate(series):
            same_length(terms=terms, estimates=columns[0])
            rows, values = _present(columns)
            look = _look_of(i)
            _intervals(ax, rows + step * (i - (len(series) - 1) / 2), *values, **look)
            entries.append((key(linestyle="-", markersize=6, **look), name))
        rows_of(ax, terms)
        _stripe(ax, len(terms))
        ax.set_xlabel(wrapped(xlabel, 60))
        if entries:
            legend(figure, entries)
        return finish(figure)


def _sizes_apart(terms: Sequence[str], series: Sequence[Series]) -> bool:
    """Whether some intervals would be points on an axis that shows the others."""
    limits = [
        [value for _, _, *ends in series for end in ends if (value := end[i]) is not None]
        for i in range(len(terms))
    ]
    reaches = [max(map(abs, found)) for found in limits if found]
    return 1 < len(terms) <= _MOST_PANELS and max(reaches) > _APART * max(min(reaches), 1e-300)


def _coefficient_panels(terms: Sequence[str], series: Sequence[Series], xlabel: str) -> Drawing:
    with style():
        height = 0.5 + 0.14 * len(series)
        figure, axes = figure_of(0.9 + height * len(terms), rows=len(terms))
        for i, (ax, term) in enumerate(zip(axes, terms, strict=True)):
            rule(ax, x=0)
            for k, (_, *columns) in enumerate(series):
                values = [np.array([column[i]], dtype=float) for column in columns]
                if not np.isnan(values[0]).any():
                    _intervals(ax, np.array([float(k)]), *values, **_look_of(k))
            ax.set_ylim(len(series) - 0.4, -0.6)
            ax.set_yticks([])
            note(ax, term)
        axes[-1].set_xlabel(wrapped(xlabel, 60))
        entries = [
            (key(linestyle="-", markersize=6, **_look_of(k)), name)
            for k, (name, *_) in enumerate(series)
        ]
        if entries:
            legend(figure, entries)
        return finish(figure)


def _look_of(k: int) -> Look:
    return {"color": COLOURS[k % len(COLOURS)], "marker": MARKERS[k % len(MARKERS)]}


def _present(columns: Sequence[Sequence[float | None]]) -> tuple[Array, list[Array]]:
    """The rows where a model has the term, with estimate, lower and upper there.

    Raises
    ------
    ValueError
        Where only some of the three are None.
    """
    same_length(estimates=columns[0], lower=columns[1], upper=columns[2])
    gaps = np.array([[value is None for value in column] for column in columns])
    if (gaps.any(axis=0) != gaps.all(axis=0)).any():
        raise ValueError("series: an estimate and its limits must be None together")
    rows = np.flatnonzero(~gaps[0])
    if not rows.size:
        return rows.astype(float), [np.empty(0)] * 3
    estimate, lower, upper = ([v for v in column if v is not None] for column in columns)
    return rows.astype(float), together(estimate=estimate, lower=lower, upper=upper)


def _intervals(
    ax: Axes, rows: Array, estimate: Array, lower: Array, upper: Array, **look: Any
) -> None:
    """Points with horizontal interval lines."""
    colour = look.pop("color", BLUE)
    width = look.pop("linewidth", 1.8)
    ax.hlines(rows, lower, upper, color=colour, linewidth=width, zorder=2)
    options: Look = {"marker": "o", "markersize": 6, "markeredgewidth": 1.2} | look
    ax.plot(estimate, rows, linestyle="none", color=colour, zorder=3, **options)


def _stripe(ax: Axes, rows: int) -> None:
    """Shade every other row, to lead the eye from the label to the marks."""
    for row in range(1, rows, 2):
        ax.axhspan(row - 0.5, row + 0.5, color="#f5f5f5", linewidth=0, zorder=0)


def caterpillar(
    labels: Sequence[str],
    estimate: ArrayLike,
    lower: ArrayLike,
    upper: ArrayLike,
    highlighted: Sequence[str] = (),
    *,
    xlabel: str,
    groups: str = "groups",
    comparison: tuple[ArrayLike, ArrayLike] | None = None,
    most: int = 200,
) -> Drawing:
    """The groups' random effects with intervals, sorted.

    Up to 60 groups stand on the axis by name; of more, only the highlighted ones are named, at
    most 30 of them.

    Parameters
    ----------
    labels, estimate, lower, upper
        One each for every group.
    highlighted
        The labels of groups to set off.
    xlabel, groups
        Words for the value and for the groups.
    comparison
        Lower and upper ends of narrower intervals, drawn thick.
    most
        Of more groups so many are drawn, evenly spaced in their order.
    """
    columns = together(estimate=estimate, lower=lower, upper=upper)
    same_length(labels=labels, estimate=columns[0])
    order = _shown_ranks(np.argsort(-columns[0], kind="stable"), most, labels, highlighted)
    names = [labels[i] for i in order]
    sorted_columns = [column[order] for column in columns]
    chosen = np.isin(names, list(highlighted))
    with style():
        named = len(names) <= _NAMED_ROWS
        figure, (ax,) = figure_of(1.2 + _ranked_height(names) if named else 6.2)
        rule(ax, x=0)
        if comparison is not None:
            inner = together(estimate=estimate, lower=comparison[0], upper=comparison[1])
            _draw_inner(ax, inner[1][order], inner[2][order], small=not named)
        _draw_ranked(ax, sorted_columns, chosen, small=not named)
        ax.set_xlabel(wrapped(xlabel, 60))
        count = several(len(labels), groups)
        if len(names) < len(labels):
            count = f"{len(names):,} of {count}, evenly spaced in order"
        said = count, "filled: the interval excludes 0"
        head(figure, *said, "diamond: highlighted" if chosen.any() else "")
        if named:
            _name_rows(ax, names, chosen)
        else:
            _name_chosen(ax, names, sorted_columns[2], chosen)
        return finish(figure)


def _shown_ranks(
    order: NDArray[np.intp], most: int, labels: Sequence[str], kept: Sequence[str]
) -> NDArray[np.intp]:
    """All places of the order, or of more than can be told apart an even choice of them."""
    if len(order) <= most:
        return order
    even = np.linspace(0, len(order) - 1, most).round().astype(int)
    named = np.flatnonzero(np.isin([labels[i] for i in order], list(kept)))
    shown: NDArray[np.intp] = order[np.union1d(even, named)]
    return shown


def _ranked_height(names: Sequence[str]) -> float:
    """Rows come closer together where there are many, down to one line of small print."""
    if len(names) > _SPACIOUS_ROWS:
        return 0.125 * len(names)
    return rows_height(names, 0.24, _NAME_WIDTH)


def _draw_inner(ax: Axes, lower: Array, upper: Array, small: bool) -> None:
    rows = np.arange(len(lower), dtype=float)
    width = 2.2 if small else 5.5
    ax.hlines(rows, lower, upper, color=PALE, linewidth=width, zorder=1.5)


def _draw_ranked(ax: Axes, columns: Sequence[Array], chosen: Flags, small: bool) -> None:
    estimate, lower, upper = columns
    clear = (lower > 0) | (upper < 0)
    rows = np.arange(len(estimate), dtype=float)
    size, width = (2.6, 0.9) if small else (5.0, 1.5)
    for picked, colour, marker, factor in (
        (~chosen, BLUE, "o", 1.0),
        (chosen, VERMILLION, "D", 1.8 if small else 1.1),
    ):
        for filled in (True, False):
            at = picked & (clear == filled)
            _intervals(
                ax,
                rows[at],
                estimate[at],
                lower[at],
                upper[at],
                color=colour,
                marker=marker,
                linewidth=width * factor,
                markersize=size * factor,
                markeredgewidth=0.9,
                markerfacecolor=colour if filled else "white",
            )


def _name_rows(ax: Axes, names: Sequence[str], chosen: Flags) -> None:
    dense = len(names) > _SPACIOUS_ROWS
    rows_of(ax, names, width=_NAME_WIDTH, lines=1 if dense else 2)
    ax.tick_params(axis="y", labelsize=7.5 if dense else 10)
    _embolden(ax, chosen)


def _embolden(ax: Axes, chosen: Flags) -> None:
    for tick, bold in zip(ax.get_yticklabels(), chosen, strict=True):
        tick.set_fontweight("bold" if bold else "normal")


def _name_chosen(ax: Axes, names: Sequence[str], upper: Array, chosen: Flags) -> None:
    rows_of(ax, [""] * len(names))
    ax.set_yticks([])
    rows = np.flatnonzero(chosen)[:_MOST_MARGIN_LABELS]
    if rows.size:
        places = [(float(upper[row]), float(row)) for row in rows]
        margin_labels(ax, places, [names[row] for row in rows], ["#a84a00"] * len(rows))


def shrinkage(
    raw: ArrayLike,
    shrunken: ArrayLike,
    n: ArrayLike,
    overall: float,
    *,
    xlabel: str,
    groups: str = "groups",
) -> Drawing:
    """How partial pooling moves each group's own estimate towards the overall one.

    Groups are sorted by size, the largest at the top, as small groups move the most.

    Parameters
    ----------
    raw, shrunken
        The estimates of each group without and with pooling.
    n
        The size of each group.
    overall
        What they are drawn towards.
    xlabel, groups
        Words for the value and for the groups.
    """
    own, pooled, sizes = together(raw=raw, shrunken=shrunken, n=n)
    order = np.lexsort((own, -sizes))
    own, pooled, sizes = own[order], pooled[order], sizes[order]
    rows = np.arange(len(own), dtype=float)
    with style():
        figure, (ax,) = figure_of(min(6.2, 1.6 + 0.2 * len(rows)))
        size = 5.0 if len(rows) <= 40 else 3.0
        rule(ax, x=finite("overall", overall), color=INK, linestyle=(0, (5, 2)), linewidth=1.2)
        ax.hlines(rows, own, pooled, color=PALE, linewidth=1.0, zorder=2)
        look: Look = {"linestyle": "none", "marker": "o", "markersize": size}
        hollow: Look = {
            "color": GREY,
            "markerfacecolor": "white",
            "markeredgewidth": 0.8,
        }
        solid: Look = {"color": BLUE, "markeredgewidth": 0}
        ax.plot(own, rows, zorder=3, **look, **hollow)
        ax.plot(pooled, rows, zorder=4, **look, **solid)
        _name_sizes(ax, sizes, groups)
        ax.set_xlabel(wrapped(xlabel, 60))
        shape: Look = {"linestyle": "none", "marker": "o", "markersize": 6}
        entries = [
            (key(**shape, **hollow), "group alone"),
            (key(**shape, **solid), "partially pooled"),
            (key(color=INK, linestyle=(0, (5, 2)), linewidth=1.2), "overall"),
        ]
        legend(figure, entries, columns=3)
        return finish(figure)


def _name_sizes(ax: Axes, sizes: Array, groups: str) -> None:
    """Tell the sizes of the sorted groups at some of the rows."""
    count = len(sizes)
    ax.set_ylim(count - 0.2, -0.8)
    ax.grid(visible=False, axis="y")
    if np.ptp(sizes) == 0:
        ax.set_yticks([])
        ax.set_ylabel(wrapped(f"{several(count, groups)}, n = {sizes[0]:,.0f} in each", 36))
        return
    marked = np.unique(np.linspace(0, count - 1, min(count, 7)).round().astype(int))
    ax.set_yticks(marked, [f"{sizes[row]:,.0f}" for row in marked])
    ax.set_ylabel(wrapped(f"Group size n ({several(count, groups)}, sorted)", 40))


def standard_errors(
    terms: Sequence[str],
    ols: ArrayLike,
    multilevel: ArrayLike,
    *,
    xlabel: str = "Standard error",
) -> Drawing:
    """Standard errors of a single-level regression beside those of the multilevel model.

    Parameters
    ----------
    terms, ols, multilevel
        One each for every term.
    xlabel
        What the axis measures. It is logarithmic where the errors span more than a factor 20.
    """
    single, several_levels = together(ols=ols, multilevel=multilevel)
    same_length(terms=terms, ols=single)
    rows = np.arange(len(terms), dtype=float)
    with style():
        figure, (ax,) = figure_of(1.2 + rows_height(terms))
        ax.hlines(rows, single, several_levels, color=PALE, linewidth=2.4, zorder=2)
        hollow: Look = {"color": VERMILLION, "marker": "D", "markerfacecolor": "white"}
        solid: Look = {"color": BLUE, "marker": "o"}
        ax.plot(single, rows, linestyle="none", markersize=6, zorder=3, **hollow)
        ax.plot(several_levels, rows, linestyle="none", markersize=7, zorder=4, **solid)
        rows_of(ax, terms)
        _scale_errors(ax, np.concatenate([single, several_levels]))
        ax.set_xlabel(wrapped(xlabel, 60))
        bare: Look = {"linestyle": "none", "markersize": 6}
        entries = [
            (key(**bare, **hollow), "single-level regression (OLS)"),
            (key(**bare, **solid), "multilevel model"),
        ]
        legend(figure, entries)
        return finish(figure)


def _scale_errors(ax: Axes, values: Array) -> None:
    if values.min() <= 0 or values.max() / values.min() <= 20:
        ax.set_xlim(0, 1.08 * float(values.max()) or 1.0)
        return
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())


def predictions(
    groups: Sequence[str],
    estimate: ArrayLike,
    lower: ArrayLike,
    upper: ArrayLike,
    *,
    xlabel: str,
    average: str = "",
) -> Drawing:
    """Predictions for named groups with intervals, beside the one for an average group.

    Parameters
    ----------
    groups, estimate, lower, upper
        One each for every row, from the top.
    xlabel
        What is predicted.
    average
        The row that stands for an average group; it gets a diamond and a line.
    """
    columns = together(estimate=estimate, lower=lower, upper=upper)
    same_length(groups=groups, estimate=columns[0])
    rows = np.arange(len(groups), dtype=float)
    is_average = np.array([group == average for group in groups])
    with style():
        figure, (ax,) = figure_of(1.0 + rows_height(groups))
        for value in columns[0][is_average]:
            rule(ax, x=float(value), linestyle=(0, (5, 2)), color=GREY)
        for at, colour, marker in ((~is_average, BLUE, "o"), (is_average, INK, "D")):
            picked = [column[at] for column in columns]
            _intervals(ax, rows[at], *picked, color=colour, marker=marker)
        rows_of(ax, groups)
        _stripe(ax, len(rows))
        _embolden(ax, is_average)
        ax.set_xlabel(wrapped(xlabel, 60))
        return finish(figure)


def true_values(
    terms: Sequence[str],
    truth: ArrayLike,
    estimate: ArrayLike,
    lower: ArrayLike,
    upper: ArrayLike,
    *,
    xlabel: str = "Value",
) -> Drawing:
    """Estimates and intervals beside the values that simulated data were made from.

    Parameters
    ----------
    terms, truth, estimate, lower, upper
        One each for every row, from the top.
    xlabel
        What the axis measures.
    """
    true, *columns = together(truth=truth, estimate=estimate, lower=lower, upper=upper)
    same_length(terms=terms, truth=true)
    rows = np.arange(len(terms), dtype=float)
    missed = (true < columns[1]) | (true > columns[2])
    with style():
        figure, (ax,) = figure_of(1.2 + rows_height(terms))
        rule(ax, x=0, color=PALE)
        for at, fill in ((~missed, BLUE), (missed, "white")):
            picked = [column[at] for column in columns]
            _intervals(ax, rows[at], *picked, color=BLUE, markerfacecolor=fill)
        cross: Look = {"color": VERMILLION, "marker": "|", "linestyle": "none"}
        strong: Look = {"markersize": 15, "markeredgewidth": 2.4}
        ax.plot(true, rows, zorder=4, **cross, **strong)
        rows_of(ax, terms)
        _stripe(ax, len(rows))
        ax.set_xlabel(wrapped(xlabel, 60))
        entries = [
            (key(**cross, **strong), "true value"),
            (key(color=BLUE, marker="o", markersize=6), "estimate and interval"),
        ]
        if missed.any():
            open_dot = key(color=BLUE, marker="o", markersize=6, markerfacecolor="white")
            entries.append((open_dot, "interval misses it"))
        legend(figure, entries, columns=3)
        return finish(figure)
