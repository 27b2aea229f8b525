"""Between pandas and R, column by column, over the buffer protocol.

A numeric column crosses by one memory copy, a categorical as its integer codes plus its levels. The
stock pandas converter of rpy2 is not used: it walks text columns in Python, turns an integer
categorical into text and hands NaN to R where R means NA.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import rpy2.rinterface as ri

from mlmreport.spec.contrasts import Coding, codings_of, with_codings

__all__ = ["frame_from_r", "frame_to_r", "from_r", "on_memory_of_r", "to_r"]

NA_INTEGER = -2147483648
INT_MAX = 2147483647
NA_REAL_BITS = 0x7FF00000000007A2
"""The bit pattern that R reads as NA; any other NaN is NaN to R."""


Array = np.ndarray[Any, np.dtype[Any]]


def _doubles(values: Array) -> Any:
    doubles = np.array(values, dtype="float64", order="C")
    gaps = np.isnan(doubles)
    if gaps.any():
        # Assigned through integers: a float assignment may quieten the signalling bit pattern.
        doubles.view("uint64")[gaps] = NA_REAL_BITS
    return ri.FloatSexpVector.from_memoryview(doubles.data)


def _integers(values: Array) -> Any:
    return ri.IntSexpVector.from_memoryview(np.ascontiguousarray(values, dtype="int32").data)


def _logicals(column: pd.Series[Any]) -> Any:
    """R keeps a logical in the room of an integer, and NA as the integer NA."""
    gaps = column.isna().to_numpy()
    values = column.fillna(value=False).to_numpy(dtype="int32")
    return ri.BoolSexpVector.from_memoryview(np.where(gaps, np.int32(NA_INTEGER), values).data)


def _factor(column: pd.Series[Any]) -> Any:
    codes = column.cat.codes.to_numpy().astype("int32")
    vector = _integers(np.where(codes < 0, NA_INTEGER, codes + 1))
    levels = [str(level) for level in column.cat.categories]
    vector.do_slot_assign("levels", ri.StrSexpVector(levels))
    return _classed(vector, ["ordered", "factor"] if column.cat.ordered else ["factor"])


def _classed(vector: Any, classes: Sequence[str]) -> Any:
    """The vector as an object of S3 classes; a bare attribute would not set R's object bit."""
    return ri.baseenv["oldClass<-"](vector, value=ri.StrSexpVector(list(classes)))


def _column(column: pd.Series[Any]) -> Any:
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return _factor(column)
    if pd.api.types.is_bool_dtype(dtype):
        return _logicals(column)
    if pd.api.types.is_integer_dtype(dtype) and not column.hasnans:
        values = column.to_numpy()
        if not len(values) or (values.min() > NA_INTEGER and values.max() <= INT_MAX):
            return _integers(values)
        return _doubles(values)  # beyond R's integers; exact up to 2^53
    if pd.api.types.is_numeric_dtype(dtype):
        return _doubles(column.to_numpy(dtype="float64", na_value=np.nan))
    return _factor(column.astype("category"))


def _contrasts(coding: Coding, categories: Sequence[object]) -> Any:
    """The matrix of contrasts that R's model.matrix() takes for a factor."""
    values = np.array(coding.values)
    matrix = _doubles(values.ravel(order="F"))
    matrix.do_slot_assign("dim", ri.IntSexpVector(list(values.shape)))
    names = [ri.StrSexpVector(list(map(str, categories))), ri.StrSexpVector(list(coding.names))]
    matrix.do_slot_assign("dimnames", ri.ListSexpVector(names))
    return matrix


def frame_to_r(frame: pd.DataFrame) -> Any:
    """An R data frame; text becomes a factor, its levels in sorted order.

    Parameters
    ----------
    frame
        Columns of float, integer, boolean, categorical or text type, n rows.

    Returns
    -------
    rpy2.rinterface.ListSexpVector
        A data.frame of n rows.
    """
    made = [_column(frame.iloc[:, i]) for i in range(frame.shape[1])]
    for name, coding in codings_of(frame).items():
        at = list(frame.columns).index(name)
        made[at].do_slot_assign("contrasts", _contrasts(coding, list(frame[name].cat.categories)))
    columns = ri.ListSexpVector(made)
    columns.do_slot_assign("names", ri.StrSexpVector([str(name) for name in frame.columns]))
    # c(NA, -n) is R's own compact form of the row names 1..n.
    columns.do_slot_assign("row.names", ri.IntSexpVector([NA_INTEGER, -len(frame)]))
    return _classed(columns, ["data.frame"])


class _Lent:
    """The doubles of an R vector, which lives as long as an array of them.

    When Python ends, vectors have to be let go before rpy2 is taken down, which a finalizer does.
    """

    def __init__(self, vector: Any) -> None:
        weakref.finalize(self, [vector].clear)
        there = np.asarray(vector.memoryview()).__array_interface__
        self.__array_interface__ = {**there, "data": (there["data"][0], True)}  # not to be written


def on_memory_of_r(frame: pd.DataFrame, handed: Any) -> pd.DataFrame:
    """A frame whose columns of doubles are those that R has of it, so that they are there once.

    Parameters
    ----------
    frame
        The frame.
    handed
        What :func:`frame_to_r` made of it.

    Returns
    -------
    pandas.DataFrame
        The same values, read-only where they are R's.
    """
    columns = {
        name: pd.Series(np.asarray(_Lent(vector)), index=frame.index, copy=False)
        if frame[name].dtype == "float64"
        else frame[name]
        for name, vector in zip(frame, handed, strict=True)
    }
    return with_codings(pd.DataFrame(columns, copy=False), codings_of(frame))


def to_r(value: object) -> Any:
    """A plain Python value as an R vector or list; what is R's already stays as it is.

    Raises
    ------
    TypeError
        For a type that has no R counterpart here.
    """
    match value:
        case ri.Sexp():
            return value
        case pd.DataFrame():
            return frame_to_r(value)
        case bool():
            return ri.BoolSexpVector([value])
        case int() | float():
            return _number(value)
        case str():
            return ri.StrSexpVector([value])
        case bytes():
            return ri.ByteSexpVector.from_memoryview(memoryview(value))
        case Mapping():
            named = ri.ListSexpVector([to_r(item) for item in value.values()])
            named.do_slot_assign("names", ri.StrSexpVector([str(key) for key in value]))
            return named
        case list() | tuple():
            return _vector(value)
        case None:
            return ri.NULL
    raise TypeError(f"{type(value).__name__} has no counterpart in R here")


def _number(value: float) -> Any:
    if isinstance(value, int) and NA_INTEGER < value <= INT_MAX:
        return ri.IntSexpVector([value])
    return ri.FloatSexpVector([float(value)])


def _vector(values: Sequence[object]) -> Any:
    if all(isinstance(value, str) for value in values):
        return ri.StrSexpVector(list(values))
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return ri.FloatSexpVector([float(value) for value in values])  # type: ignore[arg-type]
    return ri.ListSexpVector([to_r(value) for value in values])


def from_r(value: Any) -> Any:
    """An R vector as a tuple of plain Python values, a named list as a dict, NULL as ``()``.

    NA is None in text, integers and logicals; in doubles it is a NaN. A raw vector is bytes.

    Raises
    ------
    TypeError
        For a function, an environment or another type that has no counterpart here.
    """
    try:
        plain = _PLAIN[value.typeof]
    except KeyError:
        raise TypeError(f"an R object of type {value.typeof} has no counterpart here") from None
    return plain(value)


def _from_list(value: Any) -> Any:
    items = tuple(from_r(item) for item in value)
    names = value.names
    if names.typeof == ri.RTYPES.NILSXP:
        return items
    return dict(zip(map(str, names), items, strict=True))


def _from_integers(value: Any) -> tuple[int | None, ...]:
    return tuple(None if item == NA_INTEGER else item for item in value.memoryview().tolist())


def _from_text(value: Any) -> tuple[str | None, ...]:
    return tuple(None if item is ri.NA_Character else str(item) for item in value)


def _from_logicals(value: Any) -> tuple[bool | None, ...]:
    return tuple(None if item is ri.NA_Logical else bool(item) for item in value)


_PLAIN: Mapping[Any, Callable[[Any], Any]] = {
    ri.RTYPES.NILSXP: lambda _: (),
    ri.RTYPES.VECSXP: _from_list,
    ri.RTYPES.STRSXP: _from_text,
    ri.RTYPES.INTSXP: _from_integers,
    ri.RTYPES.REALSXP: lambda value: tuple(value.memoryview().tolist()),
    ri.RTYPES.LGLSXP: _from_logicals,
    ri.RTYPES.RAWSXP: lambda value: np.asarray(value).tobytes(),
}


def frame_from_r(value: Any) -> pd.DataFrame:
    """An R data frame.

    Returns
    -------
    pandas.DataFrame
        Factors are categoricals in R's level order; integers are int64, or float64 where some are
        NA; logicals are bool, or boolean where some are NA; text is str. Complex numbers, which
        have no counterpart here, are empty tuples.
    """
    names = [str(name) for name in value.names]
    columns = {i: _series(column) for i, column in enumerate(value)}
    frame = pd.DataFrame(columns, index=pd.RangeIndex(_row_count(value)))
    return frame.set_axis(names, axis="columns")


def _row_count(frame: Any) -> int:
    """The rows, also of a frame without columns."""
    return int(ri.baseenv["nrow"](frame)[0])


_COLUMNS = frozenset({ri.RTYPES.STRSXP, ri.RTYPES.LGLSXP, ri.RTYPES.INTSXP, ri.RTYPES.REALSXP})


def _series(column: Any) -> pd.Series[Any]:
    levels = _slot(column, "levels")
    if levels is not None:
        return _categorical(column, levels)
    if column.typeof == ri.RTYPES.STRSXP:
        return pd.Series(_from_text(column), dtype="str")
    if column.typeof not in _COLUMNS:
        return pd.Series([()] * len(column), dtype="object")
    plain = from_r(column)
    if column.typeof == ri.RTYPES.LGLSXP:
        return pd.Series(plain, dtype="boolean" if None in plain else "bool")
    whole = column.typeof == ri.RTYPES.INTSXP and None not in plain
    return pd.Series(plain, dtype="int64" if whole else "float64")


def _categorical(column: Any, levels: Sequence[str]) -> pd.Series[Any]:
    codes = np.asarray(column.memoryview())
    ordered = "ordered" in (_slot(column, "class") or ())
    dtype: Any = pd.CategoricalDtype(pd.Series(levels, dtype="str"), ordered=ordered)
    coded = pd.Categorical.from_codes(np.where(codes == NA_INTEGER, -1, codes - 1), dtype=dtype)
    return pd.Series(coded)


def _slot(value: Any, name: str) -> tuple[str, ...] | None:
    try:
        return tuple(map(str, value.do_slot(name)))
    except LookupError:
        return None
