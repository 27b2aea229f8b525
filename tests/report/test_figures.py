"""The figures: same bytes each time, any label survives, no number is lost on the way."""

import io
import itertools
import logging
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.image import imread

from mlmreport.report import figures
from mlmreport.report.figures import canvas, composition
from mlmreport.report.figures.canvas import Drawing

Words = Iterator[str]

ODD = (
    "cost in $ and in $",
    "_hidden_ under_score",
    r"100% \frac{a}{b} {curly}",
    '<b>R&D</b> -- "quoted"',
    "مدرسة النور",
    "בית ספר",
    "",
    "a name of more than eighty characters that somebody once typed into a spreadsheet cell",
    "x" * 80,
    "東京都の学校",
    "bell\x07 and\nnew line\ttab",
    "-- − – ½ ≥ Ω é",
)


def plain() -> Words:
    return (f"word {n}" for n in itertools.count())


def column(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=n)


def lines_of(words: Words, count: int) -> list[figures.Line]:
    x = np.linspace(0, 1, 5)
    return [figures.Line(next(words), x, i + x, i + x - 0.2, i + x + 0.2) for i in range(count)]


def growth_panels(words: Words, count: int) -> list[figures.GrowthPanel]:
    x = np.arange(4.0)
    return [figures.GrowthPanel(next(words), x, column(4, i), x, 0.3 * x) for i in range(count)]


def qq_panel(words: Words, n: int = 40) -> figures.QQPanel:
    x = np.linspace(-2, 2, n)
    return {
        "theoretical": x,
        "sample": x + 0.4 * np.sin(3 * x),
        "lower": x - 0.3,
        "upper": x + 0.3,
        "xlabel": next(words),
        "ylabel": next(words),
        "title": next(words),
    }


def linearity_panel(words: Words, n: int = 40) -> figures.LinearityPanel:
    x = np.linspace(-2, 2, n)
    return {
        "x": x,
        "residual": column(n),
        "smooth_x": x,
        "smooth_y": 0.1 * x,
        "xlabel": next(words),
        "ylabel": next(words),
    }


def take(words: Words, n: int) -> list[str]:
    return [next(words) for _ in range(n)]


def spread_of(words: Words, n: int) -> Drawing:
    sizes = np.arange(n) + 5
    sd = np.linspace(3, 8, n)
    return figures.group_spread(
        take(words, n), sd, sizes, 6.0, xlabel=next(words), groups=next(words)
    )


def influence_of(words: Words, n: int) -> Drawing:
    distance = np.linspace(0, 0.2, n) ** 2
    return figures.influence(
        take(words, n), distance, 4 / n, xlabel=next(words), ylabel=next(words)
    )


def caterpillar_of(words: Words, n: int) -> Drawing:
    labels = take(words, n)
    y = column(n)
    return figures.caterpillar(
        labels, y, y - 1, y + 1, labels[:3], xlabel=next(words), groups=next(words)
    )


def shrinkage_of(words: Words, n: int, sizes: np.ndarray) -> Drawing:
    y = column(n)
    return figures.shrinkage(y, 0.6 * y, sizes, 0.0, xlabel=next(words), groups=next(words))


def johnson_neyman_of(words: Words) -> Drawing:
    x = np.linspace(-3, 3, 61)
    return figures.johnson_neyman(
        x, x, x - 1, x + 1, [-1.0, 1.0], (-2, 2), xlabel=next(words), ylabel=next(words)
    )


def coefficients_of(words: Words) -> Drawing:
    one, two = [1.0, 2.0, None], [0.5, -1.0, 0.2]
    series = [(next(words), values, values, values) for values in (one, two)]
    return figures.coefficients(take(words, 3), series, xlabel=next(words))


def levels_of(words: Words, count: int) -> list[figures.LevelBox]:
    return [figures.LevelBox(next(words), 6**i * 3, next(words)) for i in range(count)]


DRAWN: dict[str, Callable[[Words], Drawing]] = {
    "one level": lambda w: figures.structure(levels_of(w, 1)),
    "two levels": lambda w: figures.structure(levels_of(w, 2), crossed=False),
    "five levels": lambda w: figures.structure(levels_of(w, 5)),
    "partly crossed": lambda w: figures.structure(levels_of(w, 3), crossed=True, partly=True),
    "crossed": lambda w: figures.structure(levels_of(w, 3), crossed=True),
    "three crossed": lambda w: figures.structure(levels_of(w, 4), crossed=True),
    "sizes": lambda w: figures.group_sizes([3, 4, 4, 9], xlabel=next(w), groups=next(w)),
    "many sizes": lambda w: figures.group_sizes(np.arange(5, 95), xlabel=next(w)),
    "qq": lambda w: figures.qq(**qq_panel(w)),
    "qq panels": lambda w: figures.qq_panels([qq_panel(w), qq_panel(w), qq_panel(w, 900)]),
    "residuals": lambda w: figures.residuals_fitted(
        column(900),
        column(900, 1),
        [-1, 0, 1],
        [0, 0, 0],
        xlabel=next(w),
        ylabel=next(w),
        shown=next(w),
    ),
    "group spread": lambda w: spread_of(w, 12),
    "spread of many": lambda w: spread_of(w, 80),
    "influence": lambda w: influence_of(w, 12),
    "influence of many": lambda w: influence_of(w, 400),
    "linearity": lambda w: figures.linearity(**linearity_panel(w)),
    "linearity panels": lambda w: figures.linearity_panels([linearity_panel(w)] * 2),
    "icc bar": lambda w: figures.icc_bar([(next(w), share) for share in (0.01, 0.2, 0.7, 0.09)]),
    "share bars": lambda w: figures.share_bars(
        [(next(w), [("fixed", 0.4), ("means", 0.6)]), (next(w), [("fixed", 2.0), ("fixed", 0.01)])]
    ),
    "icc curve": lambda w: figures.icc_curve(
        [0, 1, 2], [0.2, 0.3, 0.5], [0.1, 0.2, 0.4], [0.3, 0.4, 0.6], xlabel=next(w)
    ),
    "coefficients": coefficients_of,
    "caterpillar": lambda w: caterpillar_of(w, 12),
    "caterpillar of many": lambda w: caterpillar_of(w, 90),
    "shrinkage": lambda w: shrinkage_of(w, 50, np.arange(50) + 4),
    "balanced shrinkage": lambda w: shrinkage_of(w, 10, np.full(10, 8)),
    "simple slopes": lambda w: figures.simple_slopes(
        lines_of(w, 3), xlabel=next(w), ylabel=next(w), moderator=next(w)
    ),
    "many slopes": lambda w: figures.simple_slopes(
        lines_of(w, 8), xlabel=next(w), ylabel=next(w), moderator=next(w)
    ),
    "group lines": lambda w: figures.group_lines(
        [([0, 1], [i, i + 1]) for i in range(5)],
        ([0, 1], [2, 3]),
        xlabel=next(w),
        ylabel=next(w),
        groups=next(w),
    ),
    "standard errors": lambda w: figures.standard_errors(take(w, 2), [0.1, 0.2], [0.2, 0.3]),
    "standard errors, wide": lambda w: figures.standard_errors(take(w, 2), [0.001, 1], [0.002, 2]),
    "johnson-neyman": johnson_neyman_of,
    "predictions": lambda w: figures.predictions(
        ["average", *take(w, 2)],
        [1, 2, 3],
        [0, 1, 2],
        [2, 3, 4],
        xlabel=next(w),
        average="average",
    ),
    "true values": lambda w: figures.true_values(
        take(w, 2), [1, 9], [1, 2], [0, 1], [2, 3], xlabel=next(w)
    ),
    "growth": lambda w: figures.growth(
        growth_panels(w, 6), xlabel=next(w), ylabel=next(w), shown=next(w)
    ),
}

ONE: dict[str, Callable[[], Drawing]] = {
    "structure": lambda: figures.structure([figures.LevelBox("persons", 1)]),
    "sizes": lambda: figures.group_sizes([7]),
    "qq": lambda: figures.qq([0], [0], [-1], [1], xlabel="x", ylabel="y"),
    "residuals": lambda: figures.residuals_fitted(
        [1], [0], [1], [0], xlabel="x", ylabel="y", shown="1 point"
    ),
    "spread": lambda: figures.group_spread(["A"], [2], [5], 2),
    "influence": lambda: figures.influence(["A"], [0.0], 4),
    "icc bar": lambda: figures.icc_bar([("persons", 1.0)]),
    "share bars": lambda: figures.share_bars([("total", [("residual", 1.0)])]),
    "icc curve": lambda: figures.icc_curve([1], [0.0], xlabel="x"),
    "coefficients": lambda: figures.coefficients(["age"], [("M1", [0], [0], [0])]),
    "no term in a model": lambda: figures.coefficients(["age"], [("M1", [None], [None], [None])]),
    "caterpillar": lambda: figures.caterpillar(["A"], [0], [0], [0], ["A"], xlabel="x"),
    "shrinkage": lambda: figures.shrinkage([1], [1], [9], 1, xlabel="x"),
    "slopes": lambda: figures.simple_slopes(
        [figures.Line("all", [0, 1], [1, 1])], xlabel="x", ylabel="y", moderator="m"
    ),
    "group lines": lambda: figures.group_lines(
        [([0, 1], [0, 1])], ([0, 1], [0, 1]), xlabel="x", ylabel="y"
    ),
    "errors": lambda: figures.standard_errors(["age"], [0], [0]),
    "johnson-neyman": lambda: figures.johnson_neyman(
        [0, 1], [1, 1], [0.5, 0.5], [2, 2], [], (0, 1), xlabel="x", ylabel="y"
    ),
    "predictions": lambda: figures.predictions(["A"], [1], [1], [1], xlabel="x"),
    "true values": lambda: figures.true_values(["age"], [1], [1], [1], [1]),
    "growth": lambda: figures.growth(
        [figures.GrowthPanel("A", [1], [2], [1], [2])], xlabel="x", ylabel="y"
    ),
}

NAN = float("nan")

REFUSED: dict[str, Callable[[], Drawing]] = {
    "sizes": lambda: figures.group_sizes([1, NAN]),
    "no sizes": lambda: figures.group_sizes([]),
    "qq": lambda: figures.qq([0, 1], [0, NAN], [0, 1], [0, 1], xlabel="", ylabel=""),
    "no panel": lambda: figures.qq_panels([]),
    "residuals": lambda: figures.residuals_fitted(
        [1, 2], [0, np.inf], [1], [0], xlabel="", ylabel="", shown=""
    ),
    "lengths": lambda: figures.residuals_fitted(
        [1, 2], [0], [1], [0], xlabel="", ylabel="", shown=""
    ),
    "spread": lambda: figures.group_spread(["A"], [1], [5], NAN),
    "influence": lambda: figures.influence(["A"], [NAN], 1),
    "influence, labels": lambda: figures.influence(["A"], [1, 2], 1),
    "spread, labels": lambda: figures.group_spread(["A"], [1, 2], [5, 5], 1),
    "linearity": lambda: figures.linearity([1], [1], [NAN], [1], xlabel=""),
    "icc bar": lambda: figures.icc_bar([("a", NAN)]),
    "icc bar, negative": lambda: figures.icc_bar([("a", -0.1), ("b", 1)]),
    "icc bar, zero": lambda: figures.icc_bar([("a", 0.0)]),
    "no bars": lambda: figures.share_bars([]),
    "share bars": lambda: figures.share_bars([("total", [("a", NAN)])]),
    "share bars, negative": lambda: figures.share_bars([("total", [("a", -0.1), ("b", 1.0)])]),
    "icc curve": lambda: figures.icc_curve([0, 1], [0.1, NAN], xlabel=""),
    "coefficients": lambda: figures.coefficients(["a"], [("M", [NAN], [0], [0])]),
    "coefficients, half": lambda: figures.coefficients(["a"], [("M", [1.0], [None], [0])]),
    "caterpillar": lambda: figures.caterpillar(["A"], [1], [NAN], [1], xlabel=""),
    "shrinkage": lambda: figures.shrinkage([NAN], [1], [5], 1, xlabel=""),
    "slopes": lambda: figures.simple_slopes(
        [figures.Line("a", [0], [NAN])], xlabel="", ylabel="", moderator=""
    ),
    "no slopes": lambda: figures.simple_slopes([], xlabel="", ylabel="", moderator=""),
    "group lines": lambda: figures.group_lines([([0], [NAN])], ([0], [0]), xlabel="", ylabel=""),
    "errors": lambda: figures.standard_errors(["a"], [NAN], [1]),
    "johnson-neyman": lambda: figures.johnson_neyman(
        [0, 1], [0, 1], [0, 1], [0, 1], [NAN], (0, 1), xlabel="", ylabel=""
    ),
    "predictions": lambda: figures.predictions(["A"], [1], [1], [NAN], xlabel=""),
    "true values": lambda: figures.true_values(["a"], [NAN], [1], [1], [1]),
    "growth": lambda: figures.growth(
        [figures.GrowthPanel("A", [1], [NAN], [1], [2])], xlabel="", ylabel=""
    ),
    "too many panels": lambda: figures.growth(growth_panels(plain(), 19), xlabel="", ylabel=""),
    "one factor crossed": lambda: figures.structure(levels_of(plain(), 2), crossed=True),
    "no level": lambda: figures.structure([]),
}


@pytest.fixture(autouse=True)
def no_complaints(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        yield
    assert not [r for r in caplog.records if r.name.startswith(("matplotlib", "fontTools"))]


def checked(drawing: Drawing) -> bytes:
    svg = drawing.svg()
    root = ElementTree.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root.get("width") == "468pt"
    picture = imread(io.BytesIO(drawing.png(dpi=60)), format="png")
    assert picture.shape[1] == 390
    assert np.ptp(picture[..., :3]) > 0.5
    return svg


@pytest.mark.parametrize("name", DRAWN)
def test_same_input_gives_same_bytes(name: str) -> None:
    drawing, again = DRAWN[name](plain()), DRAWN[name](plain())
    first = checked(drawing)
    assert again.svg() == first
    assert b"dc:date" not in first


def test_png_is_the_same_each_time() -> None:
    drawing = DRAWN["predictions"](plain())
    assert drawing.png() == drawing.png() == DRAWN["predictions"](plain()).png()


@pytest.mark.parametrize(("start", "name"), list(enumerate(DRAWN)))
def test_odd_labels_are_drawn_inside_the_figure(start: int, name: str) -> None:
    words = itertools.islice(itertools.cycle(ODD), 5 * start, None)
    drawing = DRAWN[name](words)
    assert ElementTree.fromstring(drawing.svg()) is not None
    drawn = drawing.figure.get_tightbbox()
    width, height = drawing.figure.get_size_inches()
    assert min(drawn.x0, drawn.y0) >= -0.01
    assert drawn.x1 <= width + 0.01
    assert drawn.y1 <= height + 0.01


def test_every_odd_label_is_drawn_in_every_place() -> None:
    for word in ODD:
        drawing = figures.coefficients([word], [(word, [1], [0], [2])], xlabel=word)
        assert ElementTree.fromstring(drawing.svg()) is not None


@pytest.mark.parametrize("name", ONE)
def test_one_of_everything_is_enough(name: str) -> None:
    assert ElementTree.fromstring(ONE[name]().svg()) is not None


@pytest.mark.parametrize("name", REFUSED)
def test_missing_and_mismatched_numbers_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        REFUSED[name]()


def test_labels_are_in_the_figure_as_given() -> None:
    labels = ["cost in $ and $", "_hidden", r"\frac{1}{2}", "<R&D>"]
    texts = figures.predictions(labels, [1] * 4, [0] * 4, [2] * 4, xlabel="a_b^c").texts()
    assert {*labels, "a_b^c"} <= set(texts)


def test_legend_keeps_a_label_that_begins_with_an_underscore() -> None:
    texts = figures.coefficients(["age"], [("_m1", [1], [0], [2])]).texts()
    assert "_m1" in texts


def test_numbers_drawn_are_stated() -> None:
    assert any("90 schools" in t for t in figures.group_sizes(range(90), groups="schools").texts())
    assert any("n = 40" in t for t in figures.qq(**qq_panel(plain())).texts())
    assert "5 groups" in DRAWN["group lines"](iter(["x", "y", "groups"])).texts()


def test_bar_gives_percentages_of_the_sum() -> None:
    texts = figures.icc_bar([("schools", 8.6), ("students", 39.1)]).texts()
    assert {"schools\n18.0%", "students\n82.0%"} <= set(texts)


def test_narrow_parts_of_a_bar_are_labelled_beside_it() -> None:
    texts = figures.icc_bar([("districts", 1), ("students", 98), ("rest", 1)]).texts()
    assert {"districts 1.0%", "rest 1.0%"} <= set(texts)


def test_only_highlighted_groups_are_named_where_there_are_many() -> None:
    labels = [f"school {n}" for n in range(200)]
    y = column(200)
    texts = figures.caterpillar(labels, y, y - 1, y + 1, ["school 7"], xlabel="u").texts()
    assert [t for t in texts if t.startswith("school")] == ["school 7"]


def test_structure_numbers_the_highest_units() -> None:
    texts = figures.structure([figures.LevelBox("schools", 160), figures.LevelBox("pupils", 7185)])
    assert {"160 schools", "7,185 pupils", "1", "2", "160"} <= set(texts.texts())


def test_logarithmic_axis_has_plain_numbers() -> None:
    texts = figures.standard_errors(["a", "b"], [0.001, 1.0], [0.002, 2.0]).texts()
    assert "0.01" in texts
    assert not any("$" in text for text in texts)


def test_many_points_are_embedded_as_a_picture() -> None:
    assert b"<image" in DRAWN["residuals"](plain()).svg()
    assert b"<image" not in figures.qq(**qq_panel(plain())).svg()


def test_text_is_outlines_unless_no_font_has_it() -> None:
    assert b"<text" not in figures.group_sizes([1, 2], xlabel="Größe").svg()
    svg = figures.group_sizes([1, 2], xlabel="rune \U00016800").svg()
    assert "rune \U00016800".encode() in svg
    assert b"<text" in svg


def test_settings_of_matplotlib_are_neither_used_nor_changed() -> None:
    expected = DRAWN["qq"](plain()).svg()
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red", "svg.fonttype": "none"}):
        before = dict(mpl.rcParams)
        assert DRAWN["qq"](plain()).svg() == expected
        assert dict(mpl.rcParams) == before


def test_pyplot_is_never_loaded() -> None:
    code = "import sys; from mlmreport.report import figures as f; f.group_sizes([1]).svg();"
    code += "sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_levels_of_text_contrast() -> None:
    assert composition._on("#ffffff") == canvas.INK
    assert composition._on("#000000") == "white"


@given(st.lists(st.floats(-50, 150), min_size=1, max_size=8))
def test_spread_keeps_gap_order_and_bounds(wanted: list[float]) -> None:
    places = canvas.spread(np.array(wanted), 10, 0, 100)
    ordered = places[np.argsort(wanted, kind="stable")]
    assert (np.diff(ordered) >= 10 - 1e-9).all()
    assert places.min() >= -1e-9
    assert places.max() <= 100 + 1e-9


@given(st.lists(st.integers(0, 9).map(lambda n: 11.0 * n), unique=True, min_size=1, max_size=9))
def test_spread_leaves_what_is_far_enough_apart(wanted: list[float]) -> None:
    assert canvas.spread(np.array(wanted), 10, 0, 100) == pytest.approx(wanted)


@given(st.text(max_size=120), st.integers(8, 40), st.integers(1, 3))
def test_wrapping_keeps_to_its_room(text: str, width: int, lines: int) -> None:
    found = canvas.wrapped(text, width, lines).split("\n")
    assert len(found) <= lines
    assert all(len(line) <= width for line in found)


@given(st.text(max_size=60))
def test_short_text_is_kept_whole(text: str) -> None:
    assert canvas.shortened(text, 60) == canvas.clean(text)
