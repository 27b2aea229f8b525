"""Values cross to R and back without loss, or fail."""

from __future__ import annotations

import gc
import math
import struct
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlmreport.engine.session import session

pytestmark = pytest.mark.r

once = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
texts = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12
)


@pytest.fixture(scope="module", autouse=True)
def _r() -> None:
    session()


def through(frame: pd.DataFrame) -> pd.DataFrame:
    from mlmreport.engine.convert import frame_from_r, frame_to_r

    return frame_from_r(frame_to_r(frame))


def ask(code: str, frame: pd.DataFrame) -> Any:
    """What an R function of one argument says about a frame."""
    import rpy2.rinterface as ri

    from mlmreport.engine.convert import frame_to_r, from_r

    return from_r(ri.evalr(code)(frame_to_r(frame)))


def on_memory_of_r(frame: pd.DataFrame) -> tuple[pd.DataFrame, Any]:
    """The frame, and what R has of it."""
    from mlmreport.engine.convert import frame_to_r, on_memory_of_r

    handed = frame_to_r(frame)
    return on_memory_of_r(frame, handed), handed


def bits(value: float) -> bytes:
    return struct.pack("<d", value)


@once
@given(st.lists(st.floats()))
def test_doubles_come_back_bit_for_bit_and_nan_as_na(values: list[float]) -> None:
    back = through(pd.DataFrame({"x": np.array(values, dtype="float64")}))["x"]
    assert back.dtype == "float64"
    for sent, came in zip(values, back, strict=True):
        assert math.isnan(came) if math.isnan(sent) else bits(came) == bits(sent)


@pytest.mark.parametrize("value", [math.inf, -math.inf, -0.0, 5e-324, 1.7976931348623157e308, 0.1])
def test_edges_of_the_doubles(value: float) -> None:
    assert bits(through(pd.DataFrame({"x": [value]}))["x"][0]) == bits(value)


def test_nan_is_na_to_r_and_not_nan() -> None:
    frame = pd.DataFrame({"x": [1.0, math.nan, -math.nan, math.inf]})
    assert ask("function(d) is.na(d$x) & !is.nan(d$x)", frame) == (False, True, True, False)


def test_a_frame_is_not_changed_by_being_sent() -> None:
    frame = pd.DataFrame({"x": [1.0, math.nan]})
    before = frame["x"].to_numpy().tobytes()
    through(frame)
    assert frame["x"].to_numpy().tobytes() == before


@once
@given(st.lists(st.integers(-(2**31) + 1, 2**31 - 1)))
def test_integers_of_r_stay_integers(values: list[int]) -> None:
    frame = pd.DataFrame({"k": np.array(values, dtype="int64")})
    assert ask("function(d) is.integer(d$k)", frame) == (True,)
    pd.testing.assert_frame_equal(through(frame), frame)


@pytest.mark.parametrize("value", [2**31, -(2**31), 2**53, -(2**53)])
def test_integers_beyond_r_become_exact_doubles(value: int) -> None:
    frame = pd.DataFrame({"k": [value, 1]})
    assert ask("function(d) is.double(d$k)", frame) == (True,)
    assert through(frame)["k"].tolist() == [float(value), 1.0]


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "float32", "Int64", "Float64"])
def test_other_numeric_types(dtype: str) -> None:
    assert through(pd.DataFrame({"k": pd.Series([0, 1, 200], dtype=dtype)}))["k"].tolist() == [
        0,
        1,
        200,
    ]


def test_a_nullable_integer_with_a_gap_has_na() -> None:
    back = through(pd.DataFrame({"k": pd.Series([1, None], dtype="Int64")}))["k"]
    assert back.dtype == "float64"
    assert back.isna().tolist() == [False, True]


@once
@given(st.lists(st.sampled_from([True, False, None])))
def test_booleans_with_gaps(values: list[bool | None]) -> None:
    frame = pd.DataFrame({"b": pd.Series(values, dtype="boolean")})
    assert ask("function(d) is.logical(d$b)", frame) == (True,)
    back = through(frame)["b"]
    assert [None if pd.isna(value) else bool(value) for value in back] == values
    assert back.dtype == ("boolean" if None in values else "bool")


@once
@given(
    st.lists(texts, min_size=1, max_size=8, unique=True),
    st.lists(st.integers(-1, 7), max_size=30),
    st.booleans(),
)
def test_categoricals_keep_order_gaps_and_unused_levels(
    levels: list[str], codes: list[int], ordered: bool
) -> None:
    used = [code if code < len(levels) else -1 for code in codes]
    dtype = pd.CategoricalDtype(pd.Index(levels, dtype="str"), ordered=ordered)
    frame = pd.DataFrame({"g": pd.Categorical.from_codes(used, dtype=dtype)})
    assert ask("function(d) is.ordered(d$g)", frame) == (ordered,)
    pd.testing.assert_frame_equal(through(frame), frame)


def test_an_integer_categorical_is_a_factor_of_its_labels() -> None:
    frame = pd.DataFrame({"g": pd.Categorical([10, 2, 10], categories=[10, 2])})
    assert ask("function(d) levels(d$g)", frame) == ("10", "2")
    assert ask("function(d) as.integer(d$g)", frame) == (1, 2, 1)


@once
@given(st.lists(st.none() | texts, max_size=30))
def test_text_becomes_a_factor_with_sorted_levels(values: list[str | None]) -> None:
    frame = pd.DataFrame({"t": pd.Series(values, dtype="str")})
    back = through(frame)["t"]
    assert [None if pd.isna(value) else value for value in back] == values
    assert list(back.cat.categories) == sorted({value for value in values if value is not None})


def test_plain_text_of_r_is_text_with_gaps() -> None:
    import rpy2.rinterface as ri

    from mlmreport.engine.convert import frame_from_r

    back = frame_from_r(ri.evalr("data.frame(t = c('a', NA, '\u00fc'))"))["t"]
    assert back.dtype == "str"
    assert back.isna().tolist() == [False, True, False]
    assert back[2] == "ü"


@pytest.mark.parametrize("rows", [0, 3])
def test_frames_without_columns_keep_their_rows(rows: int) -> None:
    frame = pd.DataFrame(index=pd.RangeIndex(rows))
    assert ask("dim", frame) == (rows, 0)
    assert through(frame).shape == (rows, 0)


def test_frames_without_rows_keep_their_types() -> None:
    frame = pd.DataFrame(
        {
            "x": pd.Series(dtype="float64"),
            "k": pd.Series(dtype="int64"),
            "b": pd.Series(dtype="bool"),
            "g": pd.Categorical([], categories=["a", "b"]),
        }
    )
    back = through(frame)
    assert list(back.dtypes[["x", "k", "b"]]) == ["float64", "int64", "bool"]
    assert list(back["g"].cat.categories) == ["a", "b"]


def test_r_sees_a_proper_data_frame() -> None:
    frame = pd.DataFrame({"a b": [1.0, 2.0], "ü": ["x", "y"]})
    assert ask("class", frame) == ("data.frame",)
    assert ask("names", frame) == ("a b", "ü")
    assert ask("function(d) d[2, 1]", frame) == (2.0,)
    assert ask("row.names", frame) == ("1", "2")


@pytest.mark.parametrize(
    ("value", "back"),
    [
        (True, (True,)),
        (3, (3,)),
        (2.5, (2.5,)),
        ("é", ("é",)),
        (None, ()),
        (["a", "b"], ("a", "b")),
        ([1, 2.5], (1.0, 2.5)),
        ({"a": [1.0], "b": "x"}, {"a": (1.0,), "b": ("x",)}),
        ([True, "x"], ((True,), ("x",))),
        ([], ()),
    ],
)
def test_plain_values(value: object, back: object) -> None:
    from mlmreport.engine.convert import from_r, to_r

    assert from_r(to_r(value)) == back


@pytest.mark.parametrize("value", [2**31, -(2**31), 2**40])
def test_a_whole_number_beyond_r_is_sent_as_a_double(value: int) -> None:
    from mlmreport.engine.convert import from_r, to_r

    assert from_r(to_r(value)) == (float(value),)


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("c(1L, NA)", (1, None)),
        ("c('a', NA)", ("a", None)),
        ("c(TRUE, NA)", (True, None)),
        ("list(a = 1L, b = NULL)", {"a": (1,), "b": ()}),
    ],
)
def test_gaps_of_r_are_none(code: str, value: object) -> None:
    import rpy2.rinterface as ri

    from mlmreport.engine.convert import from_r

    assert from_r(ri.evalr(code)) == value


def test_what_has_no_counterpart_is_refused() -> None:
    import rpy2.rinterface as ri

    from mlmreport.engine.convert import from_r, to_r

    with pytest.raises(TypeError, match="no counterpart"):
        to_r(object())
    with pytest.raises(TypeError, match="no counterpart"):
        from_r(ri.evalr("sum"))


class TestMemoryOfR:
    """A frame on R's memory is the frame, and lives by itself."""

    FRAME = pd.DataFrame(
        {"x": [1.5, np.nan, -0.0], "whole": [1, 2, 3], "g": pd.Categorical(["b", "a", "b"])},
        index=[3, 5, 8],
    )

    def test_the_values_are_the_same(self) -> None:
        pd.testing.assert_frame_equal(on_memory_of_r(self.FRAME)[0], self.FRAME)

    def test_doubles_are_there_once_and_are_not_written(self) -> None:
        shared, handed = on_memory_of_r(self.FRAME)
        values = shared["x"].to_numpy()
        assert np.shares_memory(values, np.asarray(handed[0].memoryview()))
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 2

    def test_r_keeps_them_as_long_as_python_has_them(self) -> None:
        import rpy2.rinterface as ri

        large = pd.DataFrame({"x": np.arange(1e6)})
        shared, _ = on_memory_of_r(large)
        del _
        for _turn in range(3):
            gc.collect()
            ri.evalr("{ gc(); length(lapply(1:20, function(i) rep(-1, 1e6))) }")
        assert (shared["x"] == large["x"]).all()
