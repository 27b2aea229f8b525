"""Between pandas and R, column by column, over the buffer protocol.

A numeric column crosses by one memory copy, a categorical as its integer codes plus its levels. The
stock pandas converter of rpy2 is not used: it walks text columns in Python, turns an integer
categorical into text and hands NaN to R where R means NA.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import rpy2.rinterface as ri

__all__ = ["from_r", "frame_from_r", "frame_to_r", "to_r"]

NA_INTEGER = -2147483648
INT_MAX = 2147483647
NA_REAL_BITS = 0x7FF00000000007A2
"""The bit pattern that R reads as NA; any other NaN is NaN to R."""


def _doubles(values: np.ndarray) -> Any:
    doubles = np.array(values, dtype="float64", order="C")
    gaps = np.isnan(doubles)
    if gaps.any():
        # Assigned through integers: a float assignment may quieten the signalling bit pattern.
        doubles.view("uint64")[gaps] = NA_REAL_BITS
    return ri.FloatSexpVector.from_memoryview(memoryview(doubles))


def _integers(values: np.ndarray) -> Any:
    return ri.IntSexpVector.from_memoryview(memoryview(np.ascontiguousarray(values, dtype="int32")))


def _factor(column: pd.Series) -> Any:
    codes = column.cat.codes.to_numpy().astype("int32")
    vector = _integers(np.where(codes < 0, NA_INTEGER, codes + 1))
    levels = [str(level) for level in column.cat.categories]
    vector.do_slot_assign("levels", ri.StrSexpVector(levels))
    return _classed(vector, ["ordered", "factor"] if column.cat.ordered else ["factor"])


def _classed(vector: Any, classes: Sequence[str]) -> Any:
    """The vector as an object of S3 classes; a bare attribute would not set R's object bit."""
    return ri.baseenv["oldClass<-"](vector, value=ri.StrSexpVector(list(classes)))


def _column(column: pd.Series) -> Any:
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return _factor(column)
    if pd.api.types.is_bool_dtype(dtype) and not column.hasnans:
        return ri.BoolSexpVector(column.to_list())
    if pd.api.types.is_integer_dtype(dtype) and not column.hasnans:
        values = column.to_numpy()
        if not len(values) or (values.min() > NA_INTEGER and values.max() <= INT_MAX):
            return _integers(values)
        return _doubles(values)  # beyond R's integers; exact up to 2^53
    if pd.api.types.is_numeric_dtype(dtype):
        return _doubles(column.to_numpy(dtype="float64", na_value=np.nan))
    return _factor(column.astype("category"))


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
    columns = ri.ListSexpVector([_column(frame.iloc[:, i]) for i in range(frame.shape[1])])
    columns.do_slot_assign("names", ri.StrSexpVector([str(name) for name in frame.columns]))
    # c(NA, -n) is R's own compact form of the row names 1..n.
    columns.do_slot_assign("row.names", ri.IntSexpVector([NA_INTEGER, -len(frame)]))
    return _classed(columns, ["data.frame"])


def to_r(value: object) -> Any:
    """A plain Python value as an R vector or list.

    Raises
    ------
    TypeError
        For a type that has no R counterpart here.
    """
    match value:
        case pd.DataFrame():
            return frame_to_r(value)
        case bool():
            return ri.BoolSexpVector([value])
        case int():
            return ri.IntSexpVector([value])
        case float():
            return ri.FloatSexpVector([value])
        case str():
            return ri.StrSexpVector([value])
        case Mapping():
            named = ri.ListSexpVector([to_r(item) for item in value.values()])
            named.do_slot_assign("names", ri.StrSexpVector([str(key) for key in value]))
            return named
        case list() | tuple():
            return _vector(value)
        case None:
            return ri.NULL
    raise TypeError(f"{type(value).__name__} has no counterpart in R here")


def _vector(values: Sequence[object]) -> Any:
    if all(isinstance(value, str) for value in values):
        return ri.StrSexpVector(list(values))
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return ri.FloatSexpVector([float(value) for value in values])  # type: ignore[arg-type]
    return ri.ListSexpVector([to_r(value) for value in values])


def from_r(value: Any) -> Any:
    """An R vector as a tuple of plain Python values (NA as None), a named list as a dict."""
    if value is ri.NULL or value.typeof == ri.RTYPES.NILSXP:
        return ()
    if value.typeof == ri.RTYPES.VECSXP:
        items = [from_r(item) for item in value]
        names = value.names
        if names is ri.NULL or names.typeof == ri.RTYPES.NILSXP:
            return tuple(items)
        return dict(zip(map(str, names), items, strict=True))
    if value.typeof == ri.RTYPES.STRSXP:
        return tuple(None if item is ri.NA_Character else str(item) for item in value)
    if value.typeof == ri.RTYPES.INTSXP:
        return tuple(None if item == NA_INTEGER else int(item) for item in value.memoryview())
    if value.typeof == ri.RTYPES.REALSXP:
        return tuple(float(item) for item in np.asarray(value.memoryview()))
    if value.typeof == ri.RTYPES.LGLSXP:
        return tuple(None if item is ri.NA_Logical else bool(item) for item in value)
    raise TypeError(f"an R object of type {value.typeof} has no counterpart here")


def frame_from_r(value: Any) -> pd.DataFrame:
    """An R data frame; factors become categoricals in R's level order."""
    columns = {}
    for name, column in zip(value.names, value, strict=True):
        levels = _slot(column, "levels")
        if levels is None:
            columns[str(name)] = pd.Series(from_r(column))
            continue
        codes = np.asarray(column.memoryview())
        categories = [str(level) for level in levels]
        coded = pd.Categorical.from_codes(
            np.where(codes == NA_INTEGER, -1, codes - 1),
            categories=categories,
            ordered="ordered" in (_slot(column, "class") or ()),
        )
        columns[str(name)] = pd.Series(coded)
    return pd.DataFrame(columns)


def _slot(value: Any, name: str) -> tuple[str, ...] | None:
    try:
        return tuple(map(str, value.do_slot(name)))
    except LookupError:
        return None
