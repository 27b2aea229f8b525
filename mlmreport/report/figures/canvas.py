"""What all figures share: the style, the finished drawing, checked numbers and safe labels.

Nothing here or in the sister modules touches pyplot or leaves a trace in matplotlib's settings:
the style holds inside `style` only, and whatever the user's own matplotlibrc says is ignored.
Text is drawn as outlines, so a figure looks the same in a browser, in Typst and in print whether
or not the fonts are there; only text that no font at hand can draw is left to the reader's fonts.
"""

from __future__ import annotations

import io
import textwrap
import unicodedata
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import matplotlib as mpl
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from numpy.typing import ArrayLike, NDArray

__all__ = ["Drawing"]

Array: TypeAlias = NDArray[np.float64]
Flags: TypeAlias = NDArray[np.bool_]
Look: TypeAlias = dict[str, Any]

WIDTH = 6.5
SMALL = 9.5

INK = "#1a1a1a"
GREY = "#5f5f5f"
PALE = "#c9c9c9"
GRID = "#e8e8e8"
BLUE = "#0072B2"
VERMILLION = "#D55E00"
GREEN = "#009E73"
PURPLE = "#CC79A7"
SKY = "#56B4E9"
ORANGE = "#E69F00"

# Okabe and Ito (2008), without black (the ink) and yellow (too faint on white).
COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", (0, (5, 2)), (0, (1, 1.4)), (0, (6, 2, 1, 2)), (0, (3, 1, 1, 1, 1, 1)))

_LEADER: Look = {
    "arrowstyle": "-",
    "color": GREY,
    "linewidth": 0.7,
    "linestyle": (0, (1, 2)),
    "shrinkB": 2,
}

# More points than this are drawn as one embedded picture: smaller and quicker to show.
RASTER_FROM = 600

_STYLE: Look = {
    "axes.axisbelow": True,
    "axes.edgecolor": GREY,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 10.5,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlepad": 7.0,
    "axes.titlesize": 10.5,
    "figure.dpi": 72,
    "font.size": 10,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.borderaxespad": 0.2,
    "legend.fontsize": 10,
    "legend.frameon": False,
    "legend.handlelength": 2.2,
    "lines.linewidth": 1.6,
    "savefig.facecolor": "white",
    "svg.hashsalt": "mlmreport",
    "text.color": INK,
    "text.hinting": "no_hinting",
    "text.parse_math": False,
    "text.usetex": False,
    "xtick.color": GREY,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 10,
    "ytick.color": GREY,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 10,
}

_PRIMARY = "DejaVu Sans"  # comes with matplotlib: Latin, Greek, Cyrillic, Arabic, Hebrew
_OTHER_SCRIPTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "PingFang SC",
    "Hiragino Sans",
    "Microsoft YaHei",
    "Yu Gothic",
    "Malgun Gothic",
    "Nirmala UI",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
    "Arial Unicode MS",
)


@dataclass(frozen=True)
class Drawing:
    """A finished figure; the same input gives the same bytes.

    Parameters
    ----------
    figure
        The laid-out matplotlib figure.
    """

    figure: Figure

    def texts(self) -> list[str]:
        """Every text that is visible in the figure, in the order of drawing."""
        found = self.figure.findobj(Text)
        return [t.get_text() for t in found if isinstance(t, Text) and _is_shown(t)]

    def svg(self) -> bytes:
        """The figure as a self-contained SVG of 6.5 inches width."""
        kind = "path" if _drawable("".join(self.texts())) else "none"
        metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        with style(), mpl.rc_context({"svg.fonttype": kind}):
            return self._printed(metadata)

    def png(self, dpi: int = 200) -> bytes:
        """The figure as a PNG for word processors.

        Parameters
        ----------
        dpi
            Pixels per inch.
        """
        with style():
            return self._saved(format="png", metadata={"Software": None}, dpi=dpi)

    def _printed(self, metadata: Mapping[str, None]) -> bytes:
        """`savefig` would draw once more than needed, to measure what is laid out already."""
        buffer = io.BytesIO()
        before, laid_out_on = self.figure.dpi, self.figure.canvas
        self.figure.dpi = 200  # of pictures in the SVG; its own unit is the point
        try:
            with _missing_glyphs_allowed():
                canvas: Any = FigureCanvasSVG(self.figure)
                canvas.print_svg(buffer, metadata=metadata)
        finally:
            self.figure.dpi = before
            self.figure.set_canvas(laid_out_on)
        return buffer.getvalue()

    def _saved(self, **options: Any) -> bytes:
        buffer = io.BytesIO()
        with _missing_glyphs_allowed():
            self.figure.savefig(buffer, **options)
        return buffer.getvalue()


@contextmanager
def style() -> Iterator[None]:
    """The look of the figures, for the time of the block."""
    settings: Any = _STYLE | {"font.family": list(_families())}
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(settings)
        yield


@contextmanager
def _missing_glyphs_allowed() -> Iterator[None]:
    """Accept text that no font at hand can draw; `Drawing.svg` leaves it to the reader's fonts."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"(?s)Glyph .* missing from font")
        yield


@lru_cache(maxsize=1)
def _families() -> tuple[str, ...]:
    installed = set(font_manager.get_font_names())
    return (_PRIMARY, *(name for name in _OTHER_SCRIPTS if name in installed))


@lru_cache(maxsize=1)
def _characters() -> frozenset[int]:
    paths = [font_manager.findfont(name) for name in _families()]
    return frozenset(code for path in paths for code in font_manager.get_font(path).get_charmap())


def _drawable(text: str) -> bool:
    return all(ord(c) in _characters() for c in text if not c.isspace())


def _is_shown(text: Text) -> bool:
    return bool(text.get_visible() and text.get_text().strip())


def figure_of(
    height: float, rows: int = 1, columns: int = 1, share: bool = False
) -> tuple[Figure, list[Axes]]:
    """An empty figure and its axes, row by row; axes that are not needed are the caller's."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    figure.set_layout_engine("constrained", w_pad=0.06, h_pad=0.06, wspace=0.03, hspace=0.03)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=share, sharey=share)
    return figure, list(grid.flat)


def settle(figure: Figure) -> None:
    """Lay the figure out, so that places on the page can be asked for."""
    with _missing_glyphs_allowed():
        figure.draw_without_rendering()


def finish(figure: Figure) -> Drawing:
    """Lay out once and keep that layout for every format."""
    settle(figure)
    figure.set_layout_engine("none")
    return Drawing(figure)


def numbers(name: str, values: ArrayLike) -> Array:
    """A checked one-dimensional array.

    Raises
    ------
    ValueError
        Where there is no number, or one that is missing or infinite.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name}: a sequence of at least one number is needed")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: holds missing or infinite values")
    return array


def finite(name: str, value: float) -> float:
    """A single checked number, see `numbers`."""
    return float(numbers(name, [value])[0])


def together(**columns: ArrayLike) -> list[Array]:
    """Checked arrays of one length.

    Raises
    ------
    ValueError
        As `numbers`, and where the lengths differ.
    """
    arrays = {name: numbers(name, values) for name, values in columns.items()}
    same_length(**arrays)
    return list(arrays.values())


def same_length(**columns: Sequence[Any] | Array) -> None:
    """Refuse columns that do not belong together.

    Raises
    ------
    ValueError
        Where the lengths differ, or there is nothing to draw.
    """
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1 or not all(lengths.values()):
        said = ", ".join(f"{name} {n}" for name, n in lengths.items())
        raise ValueError(f"columns must have the same length and at least one value: {said}")


def clean(text: str) -> str:
    """One line of text without control characters, which SVG could not hold."""
    visible = "".join(" " if c.isspace() else c for c in text)
    kept = (c for c in visible if unicodedata.category(c) not in {"Cc", "Cs", "Cn"})
    return " ".join("".join(kept).split())


def shortened(text: str, most: int) -> str:
    """At most so many characters: the middle goes, as names often differ at their ends."""
    text = clean(text)
    if len(text) <= most:
        return text
    tail = most // 3
    return text[: most - tail - 1].rstrip() + "…" + text[-tail:].lstrip()


def wrapped(text: str, width: int, lines: int = 2) -> str:
    """At most so many lines of so many characters each."""
    text = clean(text)
    if len(textwrap.wrap(text, width)) > lines:
        text = shortened(text, width * lines - width // 3)
    return "\n".join(_balanced(text, width)[:lines])


def _balanced(text: str, width: int) -> list[str]:
    """Wrap into as few lines as the width allows, all about as long."""
    needed = len(textwrap.wrap(text, width))
    widths = range(max(1, len(text) // max(needed, 1)), width)
    tried = (textwrap.wrap(text, narrower) for narrower in widths)
    return next((found for found in tried if len(found) <= needed), textwrap.wrap(text, width))


def several(n: int, noun: str) -> str:
    """A count with its noun, as in "7,185 students"."""
    return f"{n:,} {clean(noun)}"


def name_axes(ax: Axes, xlabel: str, ylabel: str, across: int = 66, up: int = 36) -> None:
    """Set both axis labels, wrapped to the room there is."""
    ax.set_xlabel(wrapped(xlabel, across, lines=3))
    ax.set_ylabel(wrapped(ylabel, up))


def note(ax: Axes, text: str, width: int = 72) -> None:
    """State above the axes, in small print, what is drawn."""
    ax.set_title(wrapped(text, width), loc="left", fontsize=SMALL, color=GREY)


def head(figure: Figure, *parts: str) -> None:
    """State above the figure, in small print, what is drawn."""
    text = "; ".join(part for part in map(clean, parts) if part)
    if text:
        figure.suptitle(wrapped(text, 78), x=0.012, ha="left", fontsize=SMALL, color=GREY)


def dots(ax: Axes, x: Array, y: Array, **look: Any) -> None:
    """A cloud of points, fainter and smaller the more there are."""
    many = len(x) > RASTER_FROM
    alpha, size = (0.35, 3.2) if many else (0.6, 4.2)
    options: Look = {"marker": "o", "markersize": size, "color": BLUE, "alpha": alpha} | look
    ax.plot(x, y, linestyle="none", markeredgewidth=0, rasterized=many, **options)


def smooth_line(ax: Axes, x: Array, y: Array) -> None:
    """A smooth through a cloud, set off from it by a white edge."""
    ax.plot(x, y, color="white", linewidth=4.2, solid_capstyle="round")
    ax.plot(x, y, color=VERMILLION, linewidth=2.2, solid_capstyle="round")


def rule(ax: Axes, *, x: float | None = None, y: float | None = None, **look: Any) -> None:
    """A reference line across the axes at one value."""
    options: Look = {"color": GREY, "linewidth": 1.0, "zorder": 1.5} | look
    if x is not None:
        ax.axvline(x, **options)
    if y is not None:
        ax.axhline(y, **options)


def rows_of(ax: Axes, labels: Sequence[str], width: int = 30, lines: int = 2) -> None:
    """One row of the y axis per label, the first at the top, without tick marks or lines."""
    ticks = range(len(labels)) if any(labels) else ()  # thousands of blank ticks cost minutes
    ax.set_yticks(ticks, [wrapped(labels[i], width, lines) for i in ticks])
    space = max(0.6, 0.015 * len(labels))
    ax.set_ylim(len(labels) - 1 + space, -space)
    ax.tick_params(axis="y", length=0)
    ax.grid(visible=False, axis="y")
    ax.spines["left"].set_visible(False)


def rows_height(labels: Sequence[str], one_line: float = 0.32, width: int = 30) -> float:
    """Inches that the rows of `rows_of` need, with equal room for each."""
    longest = max((len(clean(label)) for label in labels), default=0)
    return len(labels) * (one_line if longest <= width else max(one_line, 0.37))


def legend(
    figure: Figure, entries: Sequence[tuple[Any, str]], columns: int = 0, title: str = ""
) -> None:
    """A legend above the axes.

    The labels are set after its making: matplotlib leaves out those that begin with "_".
    """
    handles = [handle for handle, _ in entries]
    texts = [shortened(label, 44) for _, label in entries]
    columns = columns or _legend_columns(texts)
    made = figure.legend(
        handles,
        [str(n) for n in range(len(texts))],
        loc="outside upper left",
        ncols=columns,
        title=wrapped(title, 66) or None,
        alignment="left",
    )
    for drawn, text in zip(made.get_texts(), texts, strict=True):
        drawn.set_text(text)


def _legend_columns(texts: Sequence[str]) -> int:
    longest = max(len(text) for text in texts) + 7
    return max(1, min(len(texts), 76 // longest))


def key(**look: Any) -> Line2D:
    """A legend handle with the given look."""
    return Line2D([], [], **look)


def margin_labels(
    ax: Axes, places: Sequence[tuple[float, float]], labels: Sequence[str], colours: Sequence[str]
) -> None:
    """Write labels beside the axes, each joined to its place, moved apart where they would touch.

    Parameters
    ----------
    ax
        The axes, with their final limits.
    places
        What each label points to, in data units.
    labels, colours
        One each for every place.
    """
    lines = 2 if len(labels) <= 12 else 1
    texts = [
        ax.annotate(
            wrapped(label, 20, lines) or " ",
            xy=place,
            xytext=(1.03, place[1]),
            textcoords=ax.get_yaxis_transform(),
            color=colour,
            va="center",
            annotation_clip=False,
            arrowprops=_LEADER,
        )
        for place, label, colour in zip(places, labels, colours, strict=True)
    ]
    settle(ax.figure.figure)
    _move_apart(ax, texts)


def _move_apart(ax: Axes, texts: Sequence[Text]) -> None:
    extents = [text.get_window_extent() for text in texts]
    gap = max(extent.height for extent in extents) + 2
    frame = ax.get_window_extent()
    wanted = np.array([ax.transData.transform(text.get_position())[1] for text in texts])
    free = spread(wanted, gap, frame.y0 + gap / 2, frame.y1 - gap / 2)
    for text, height in zip(texts, free, strict=True):
        text.set_position((1.03, ax.transData.inverted().transform((0, height))[1]))


def spread(wanted: Array, gap: float, low: float, high: float) -> Array:
    """The nearest places at least `gap` apart and, where there is room, between two bounds.

    Least squares under the order of the wanted places, by pooling neighbours that collide
    (isotonic regression; Barlow et al., 1972).
    """
    order = np.argsort(wanted, kind="stable")
    steps = gap * np.arange(len(wanted))
    pools: list[list[float]] = []
    for value in wanted[order] - steps:
        pools.append([float(value)])
        while len(pools) > 1 and np.mean(pools[-2]) > np.mean(pools[-1]):
            pools[-2:] = [pools[-2] + pools[-1]]
    level = np.concatenate([np.full(len(pool), np.mean(pool)) for pool in pools])
    top = max(low, high - steps[-1])
    placed = np.empty(len(wanted))
    placed[order] = np.clip(level, low, top) + steps
    return placed
