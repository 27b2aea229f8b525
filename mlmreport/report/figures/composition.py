"""Figures of how the data and their variance divide over the levels."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from mlmreport.report.figures.canvas import (
    BLUE,
    COLOURS,
    GREY,
    INK,
    PALE,
    SKY,
    SMALL,
    WIDTH,
    Array,
    Drawing,
    Look,
    clean,
    figure_of,
    finish,
    head,
    name_axes,
    numbers,
    rule,
    several,
    shortened,
    style,
    together,
    wrapped,
)

__all__ = ["LevelBox", "group_sizes", "icc_bar", "icc_curve", "share_bars", "structure"]

# Fills of the levels from the top down: tints of the palette that dark text can stand on.
_TINTS = ("#9ecae8", "#f6c38e", "#8fd6bf", "#e6bdd4", "#e0e0e0")
_TREE_LEFT, _TREE_RIGHT = 2.0, 6.5
_ROW = 0.82
_DOTS_UP_TO = 60

# Height of the bar and of a label outside of it, in inches.
_BAR, _STEP = 0.66, 0.22


@dataclass(frozen=True)
class LevelBox:
    """One level of the data.

    Parameters
    ----------
    name
        Its units in the plural, as "students".
    count
        How many units there are.
    sizes
        How many of them a unit above holds, as "14–67 per school"; may be empty.
    """

    name: str
    count: int
    sizes: str = ""


@dataclass(frozen=True)
class _Node:
    x: float
    room: float
    text: str
    parent: float | None = None


@dataclass(frozen=True)
class _Part:
    """A part of the bar: its share, and where it starts, in inches."""

    name: str
    share: float
    left: float

    @property
    def middle(self) -> float:
        return self.left + self.share * WIDTH / 2

    @property
    def percentage(self) -> str:
        return f"{100 * self.share:.1f}%"

    @property
    def inside(self) -> str:
        """The label in up to three lines where the part is wide enough for it, else nothing."""
        width = int(self.share * WIDTH * 72 / 6.4) - 1
        if width < len(self.percentage):
            return ""
        lines = textwrap.wrap(self.name, width, break_long_words=False)
        fits = len(lines) <= 2 and all(len(line) <= width for line in lines)
        return "\n".join([*lines, self.percentage]) if fits else ""


def structure(levels: Sequence[LevelBox], crossed: bool = False, partly: bool = False) -> Drawing:
    """The levels of the data as a tree, or crossed factors around the units they share.

    Parameters
    ----------
    levels
        From the highest to the lowest. Where crossed, the last one is that of the observations
        and all others are factors.
    crossed
        Whether the factors are crossed rather than nested.
    partly
        Whether they are nested but for some units, such as pupils who change schools.

    Raises
    ------
    ValueError
        Without levels, or where crossed with fewer than two factors.
    """
    if not levels or (crossed and len(levels) < 3):
        raise ValueError("levels: at least one is needed, and three where factors are crossed")
    with style():
        height = 3.4 if crossed else _ROW * len(levels)
        figure, (ax,) = figure_of(height)
        ax.set_axis_off()
        ax.set_xlim(0, WIDTH)
        ax.set_ylim(0, height)
        _draw_crossed(ax, levels, partly) if crossed else _draw_nested(ax, levels)
        return finish(figure)


def _draw_nested(ax: Axes, levels: Sequence[LevelBox]) -> None:
    for depth, (level, nodes) in enumerate(zip(levels, _tree(levels), strict=True)):
        y = _ROW * (len(levels) - depth - 0.5)
        _name_level(ax, level, 0.05, y)
        for node in nodes:
            if node.parent is not None and node.text != "…":
                ax.plot([node.parent, node.x], [y + _ROW, y], color=PALE, linewidth=0.9, zorder=1)
            _draw_node(ax, node, y, depth, unit=depth == len(levels) - 1)


def _tree(levels: Sequence[LevelBox]) -> list[list[_Node]]:
    """A few sample units of each level, with "…" for those left out."""
    shown = ["", "", "…"] if len(levels) <= 4 else ["", "…"]
    tree = [list(_slots(_numbered(levels[0].count), _TREE_LEFT, _TREE_RIGHT))]
    for _ in levels[1:]:
        parents = [node for node in tree[-1] if node.text != "…"]
        tree.append([child for parent in parents for child in _children(parent, shown)])
    return tree


def _children(parent: _Node, shown: Sequence[str]) -> Iterator[_Node]:
    half = parent.room * 0.46
    return _slots(shown, parent.x - half, parent.x + half, parent.x)


def _slots(
    texts: Sequence[str], left: float, right: float, parent: float | None = None
) -> Iterator[_Node]:
    """Nodes side by side; one that only says "…" takes less room."""
    weights = np.array([0.55 if text == "…" else 1.0 for text in texts])
    rooms = (right - left) * weights / weights.sum()
    middles = left + np.cumsum(rooms) - rooms / 2
    for text, x, room in zip(texts, middles.tolist(), rooms.tolist(), strict=True):
        yield _Node(x, room, text, parent)


def _numbered(count: int) -> list[str]:
    if count <= 4:
        return [str(n + 1) for n in range(count)] or ["…"]
    return ["1", "2", "…", f"{count:,}"]


def _draw_node(ax: Axes, node: _Node, y: float, depth: int, unit: bool) -> None:
    look: Look = {"color": _TINTS[min(depth, len(_TINTS) - 1)], "zorder": 2}
    if node.text == "…":
        step = min(0.06, node.room / 4)
        size = min(2.5, 36 * step)
        ax.plot(
            node.x + step * np.array([-1, 0, 1]),
            [y] * 3,
            "o",
            color=GREY,
            markersize=size,
            markeredgewidth=0,
        )
    elif unit:
        size = min(9.0, 72 * 0.72 * node.room)
        ax.plot(node.x, y, "o", markersize=size, markeredgecolor=GREY, **look)
    else:
        ax.add_patch(_box(node, y, facecolor=look["color"], zorder=2))
        ax.text(node.x, y, node.text, ha="center", va="center_baseline", fontsize=SMALL)


def _box(node: _Node, y: float, **look: Any) -> FancyBboxPatch:
    half = min(0.32 if node.text else 0.15, 0.36 * node.room)
    corner = (node.x - half, y - 0.14)
    rounded = f"round,pad=0,rounding_size={min(0.06, half / 2):.3f}"
    return FancyBboxPatch(corner, 2 * half, 0.28, rounded, edgecolor=GREY, linewidth=0.8, **look)


def _name_level(ax: Axes, level: LevelBox, x: float, y: float, across: float = 0.0) -> None:
    """The count and name of a level in bold, the sizes below it.

    They stand in up to two lines on the left, or in one line centred in the room across.
    """
    ha, lines = ("center", 1) if across else ("left", 2)
    name = wrapped(several(level.count, level.name), int(9.5 * across) or 20, lines)
    sizes = wrapped(level.sizes, int(11 * across) or 25, lines)
    above, va = (0.02, "bottom") if sizes else (0.0, "center")
    ax.text(x, y + above, name, ha=ha, va=va, weight="bold", linespacing=1.1)
    ax.text(x, y - 0.04, sizes, ha=ha, va="top", fontsize=SMALL, color=GREY, linespacing=1.1)


def _draw_crossed(ax: Axes, levels: Sequence[LevelBox], partly: bool) -> None:
    factors, units = levels[:-1], levels[-1]
    upper = (len(factors) + 1) // 2
    rows = (
        (factors[:upper], 2.55, 3.0, 0),
        (factors[upper:], 0.85, 0.4, upper),
    )
    xs = [node.x for node in _slots([""] * 9, _TREE_LEFT + 0.2, 6.0)]
    for row, y, name_y, first in rows:
        step = WIDTH / len(row)
        for i, level in enumerate(row):
            _name_level(ax, level, (i + 0.5) * step, name_y, across=step)
            _draw_factor(ax, level, (i * step, (i + 1) * step), y, first + i, xs, partly)
    _name_level(ax, units, 0.05, 1.7)
    for x in xs:
        _draw_node(ax, _Node(x, 0.4, ""), 1.7, len(factors), unit=True)
    _draw_node(ax, _Node(6.25, 0.4, "…"), 1.7, len(factors), unit=True)


def _draw_factor(
    ax: Axes,
    level: LevelBox,
    room: tuple[float, float],
    y: float,
    place: int,
    xs: Sequence[float],
    partly: bool,
) -> None:
    """The sample units of one factor, each joined to some of the observations."""
    nodes = list(_slots(_numbered(level.count), *room))
    real = [node for node in nodes if node.text != "…"]
    for i, x in enumerate(xs):
        # Consecutive for the first factor and in turn for the next, so that the two cross; where
        # they cross in part only one observation leaves its place.
        block = i * len(real) // len(xs)
        moved = block + (partly and place % 2 == 1 and i == len(xs) // 2)
        chosen = real[(moved if partly or place % 2 == 0 else i) % len(real)]
        ax.plot([chosen.x, x], [y, 1.7], color=_TINTS[place % 4], linewidth=1.2, zorder=1)
    for node in nodes:
        _draw_node(ax, node, y, place, unit=False)


def group_sizes(sizes: ArrayLike, *, xlabel: str = "Group size", groups: str = "groups") -> Drawing:
    """How large the groups are: a dot per group, or bars where there are more than 60.

    Parameters
    ----------
    sizes
        The number of observations of each group.
    xlabel, groups
        Words for the size and for the groups.
    """
    values = numbers("sizes", sizes)
    with style():
        figure, (ax,) = figure_of(2.3)
        edges = _whole_edges(values)
        counts, _ = np.histogram(values, edges)
        _draw_counts(ax, edges, counts, as_dots=len(values) <= _DOTS_UP_TO)
        rule(
            ax,
            x=float(np.median(values)),
            color=INK,
            linestyle=(0, (5, 2)),
            linewidth=1.4,
            zorder=4,
        )
        ax.grid(visible=False, axis="x")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
        name_axes(ax, xlabel, f"Number of {clean(groups)}", up=22)
        head(figure, several(len(values), groups), "dashed line: median")
        return finish(figure)


def _mark_median(ax: Axes, values: Array) -> None:
    rule(ax, x=float(np.median(values)), color=INK, linestyle=(0, (5, 2)), linewidth=1.4, zorder=4)


def _whole_edges(values: Array) -> Array:
    """Bins of whole-number width, at most 25 of them."""
    width = max(1, int(np.ceil((np.ptp(values) + 1) / 25)))
    edges: Array = np.arange(values.min() - 0.5, values.max() + width, width, dtype=float)
    return edges


def _draw_counts(ax: Axes, edges: Array, counts: NDArray[np.int64], as_dots: bool) -> None:
    if not as_dots:
        ax.bar(edges[:-1], counts, np.diff(edges), align="edge", color=SKY, edgecolor="white")
        return
    middles = (edges[:-1] + edges[1:]) / 2
    x = np.repeat(middles, counts)
    y = np.concatenate([np.arange(count) + 0.5 for count in counts])
    size = min(9.0, 100 / max(int(counts.max()), 1))
    ax.plot(x, y, "o", color=BLUE, markersize=size, markeredgewidth=0)
    ax.set_ylim(0, max(3.0, counts.max() + 0.5))
    ax.set_xlim(edges[0] - 1, edges[-1] + 1)


def icc_bar(components: Sequence[tuple[str, float]]) -> Drawing:
    """Shares of a variance as one bar, each part labelled with its name and percentage.

    Parameters
    ----------
    components
        Name and size of each part, in variance units or as shares: they are divided by their sum.

    Raises
    ------
    ValueError
        Where a part is negative or all are zero.
    """
    sizes = numbers("components", [size for _, size in components])
    if (sizes < 0).any() or sizes.sum() <= 0:
        raise ValueError("components: must not be negative, and one must be above zero")
    with style():
        parts = _parts([name for name, _ in components], sizes / sizes.sum())
        outside = [part for part in parts if not part.inside]
        below = [part for part in outside if part.middle < WIDTH / 2][::-1]
        above = [part for part in outside if part.middle >= WIDTH / 2]
        base = 0.1 + _STEP * len(below)
        height = base + _BAR + 0.1 + _STEP * len(above)
        figure, (ax,) = figure_of(height + 0.12)
        ax.set_axis_off()
        ax.set_xlim(0, WIDTH)
        ax.set_ylim(0, height)
        _draw_parts(ax, parts, base)
        # Stairs: the outermost label is the farthest from the bar, so no line crosses a label.
        for row, part in enumerate(below, start=1):
            _label_outside(ax, part, base, base - _STEP * row)
        for row, part in enumerate(above, start=1):
            _label_outside(ax, part, base + _BAR, base + _BAR + _STEP * row)
        return finish(figure)


def _parts(names: Sequence[str], shares: Array) -> list[_Part]:
    ends = np.cumsum(shares) * WIDTH
    return [
        _Part(clean(name), float(share), float(end - share * WIDTH))
        for name, share, end in zip(names, shares, ends, strict=True)
    ]


def _draw_parts(ax: Axes, parts: Sequence[_Part], base: float) -> None:
    for i, part in enumerate(parts):
        fill = COLOURS[i % len(COLOURS)]
        ax.bar(
            part.left,
            _BAR,
            part.share * WIDTH,
            base,
            align="edge",
            color=fill,
            edgecolor="white",
            linewidth=1.2,
        )
        if part.inside:
            y = base + _BAR / 2
            ax.text(part.middle, y, part.inside, ha="center", va="center", color=_on(fill))


def _on(fill: str) -> str:
    """White or ink, whichever reads better on a fill (relative luminance, WCAG 2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(fill)]
    luminance = float(np.dot(linear, (0.2126, 0.7152, 0.0722)))
    return "white" if luminance < 0.19 else INK


def _label_outside(ax: Axes, part: _Part, edge: float, y: float) -> None:
    left_half = part.middle < WIDTH / 2
    toward = 0.08 if left_half else -0.08
    ax.plot([part.middle, part.middle, part.middle + toward], [edge, y, y], color=GREY, lw=0.8)
    ax.text(
        part.middle + 1.4 * toward,
        y,
        f"{shortened(part.name, 44)} {part.percentage}",
        ha="left" if left_half else "right",
        va="center",
    )


def share_bars(bars: Sequence[tuple[str, Sequence[tuple[str, float]]]]) -> Drawing:
    """Several wholes, each as one bar of the shares of its parts; a colour a kind of part.

    Parameters
    ----------
    bars
        For each whole its name, and kind and size of each part in order. Parts of the same kind
        may follow each other. They are divided by their sum.

    Raises
    ------
    ValueError
        Without bars, where a part is negative, or all parts of a bar are zero.
    """
    if not bars:
        raise ValueError("bars: at least one is needed")
    shares = [numbers("bars", [size for _, size in parts]) for _, parts in bars]
    if any((sizes < 0).any() or sizes.sum() <= 0 for sizes in shares):
        raise ValueError("bars: no part may be negative, and one must be above zero")
    kinds = list(dict.fromkeys(kind for _, parts in bars for kind, _ in parts))
    fills = dict(zip(kinds, itertools.cycle(COLOURS), strict=False))
    with style():
        top, step = 0.42, _BAR + 0.34
        height = top + step * len(bars)
        figure, (ax,) = figure_of(height + 0.12)
        ax.set_axis_off()
        ax.set_xlim(0, WIDTH)
        ax.set_ylim(0, height)
        _draw_kinds(ax, fills, height - 0.16)
        for row, ((name, parts), sizes) in enumerate(zip(bars, shares, strict=True)):
            base = height - top - step * (row + 1) + 0.06
            _draw_shares(ax, [kind for kind, _ in parts], sizes / sizes.sum(), fills, base)
            ax.text(0, base + _BAR + 0.05, shortened(name, 70), va="bottom", weight="bold")
        return finish(figure)


def _draw_kinds(ax: Axes, fills: Mapping[str, str], y: float) -> None:
    """The colour of each kind of part, in a line."""
    room = WIDTH / len(fills)
    for i, (kind, fill) in enumerate(fills.items()):
        ax.bar(i * room, 0.16, 0.16, y - 0.08, align="edge", color=fill)
        ax.text(i * room + 0.24, y, shortened(kind, int(room * 10)), va="center", fontsize=SMALL)


def _draw_shares(
    ax: Axes, kinds: Sequence[str], shares: Array, fills: Mapping[str, str], base: float
) -> None:
    left = 0.0
    for kind, share in zip(kinds, shares, strict=True):
        width = float(share) * WIDTH
        look: Look = {"color": fills[kind], "edgecolor": "white", "linewidth": 1.2}
        ax.bar(left, _BAR, width, base, align="edge", **look)
        said = f"{100 * share:.1f}%"
        if width > 0.09 * len(said):
            ax.text(
                left + width / 2, base + _BAR / 2, said, ha="center", va="center",
                color=_on(fills[kind]),
            )  # fmt: skip
        left += width


def icc_curve(
    x: ArrayLike,
    icc: ArrayLike,
    lower: ArrayLike | None = None,
    upper: ArrayLike | None = None,
    *,
    xlabel: str,
    ylabel: str = "Intraclass correlation",
) -> Drawing:
    """The intraclass correlation as it varies with a predictor that has a random slope.

    Parameters
    ----------
    x, icc
        The curve.
    lower, upper
        Its interval, both or neither.
    xlabel, ylabel
        Words on the axes.
    """
    xs, curve = together(x=x, icc=icc)
    with style():
        figure, (ax,) = figure_of(3.4)
        top = curve
        if lower is not None and upper is not None:
            _, low, top = together(x=x, lower=lower, upper=upper)
            ax.fill_between(xs, low, top, color=BLUE, alpha=0.18, linewidth=0)
        ax.plot(xs, curve, color=BLUE, linewidth=2.2)
        ax.set_ylim(0, min(1.0, 1.15 * float(top.max()) or 1.0))
        name_axes(ax, xlabel, ylabel)
        return finish(figure)
