"""Data frames in .rds files, column by column: what a column holds is taken whole or refused.

The file is parsed by a pure Python library, which runs nothing that is stored in it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import rdata
import rdata.missing
from rdata.parser import RObjectType

from mlmreport.data.limits import TABLES, Refused

__all__ = ["Frame", "parse"]

_UTF8, _LATIN1, _BYTES = 8, 4, 2  # bits that mark the encoding of a text
_INTEGER64_NA = np.iinfo(np.int64).min
_NOT_A_FRAME = (
    "{file} holds an R object that is not a data frame",
    "save the data frame alone: saveRDS(as.data.frame(d), ...)",
)


@dataclass(frozen=True)
class Frame:
    """A data frame as it was parsed; its columns are made when they are asked for."""

    node: Any
    encoding: str

    @cached_property
    def names(self) -> list[str]:
        """The names of the columns, in order."""
        return [self._text(item) or "" for item in _attributes(self.node)["names"].value]

    def column(self, name: str) -> tuple[pd.Series[Any], list[str]]:
        """The values of a column, and what is to be said of it.

        Raises
        ------
        Refused
            It does not hold one number, text, truth value or time in each row.
        """
        node = self.node.value[self.names.index(name)]
        try:
            values, notes = self._values(node)
        except _Unusable as fault:
            raise Refused(f"{{file}}: the column '{name}' {fault}", fault.hint) from None
        said = [f"Column '{name}' {note}" for note in notes]
        return pd.Series(values, index=pd.RangeIndex(len(values))), said

    def _values(self, node: Any) -> tuple[Any, list[str]]:
        attributes = _attributes(node)
        classes = self._texts(attributes.get("class"))
        _require_plain(node, attributes, classes)
        if "factor" in classes:
            return self._factor(node, attributes, ordered="ordered" in classes)
        if node.info.type is RObjectType.STR:
            return pd.array(self._texts(node), dtype="str"), []
        special = next((_CLASSES[name] for name in classes if name in _CLASSES), None)
        values = special(node.value) if special else _plain(node.value)
        return values, list(self._remarks(attributes, classes))

    def _remarks(self, attributes: Mapping[str, Any], classes: list[str]) -> list[str]:
        if "labels" in attributes:
            return ["keeps its codes: its value labels are not applied."]
        if "difftime" in classes:
            units = " ".join(self._texts(attributes.get("units")))
            return [f"is a time difference, read as a number of {units or 'units'}."]
        unknown = [name for name in classes if name not in _KNOWN][:1]
        return [f"is of the R class '{name}', read as plain values." for name in unknown]

    def _factor(
        self, node: Any, attributes: Mapping[str, Any], ordered: bool
    ) -> tuple[Any, list[str]]:
        levels = self._texts(attributes.get("levels"))
        codes = np.ma.filled(np.ma.asarray(node.value), 0).astype("int64") - 1
        if len(set(levels)) < len(levels) or codes.max(initial=-1) >= len(levels):
            raise _Unusable("is a factor with levels that are not its own", "make it anew in R")
        known = [level for level in levels if level is not None]
        place = np.array([*np.cumsum([level is not None for level in levels]) - 1, -1])
        gone = [i for i, level in enumerate(levels) if level is None]
        places = np.where(np.isin(codes, gone) | (codes < 0), -1, place[codes])
        kind: Any = pd.CategoricalDtype(pd.Series(known, dtype="str"), ordered=ordered)
        notes = ["has NA as a level, which is taken as missing."] * bool(gone)
        return pd.Categorical.from_codes(places, dtype=kind), notes

    def _texts(self, node: Any) -> list[Any]:
        return [] if node is None else [self._text(item) for item in node.value]

    def _text(self, item: Any) -> str | None:
        """A text in the encoding that it is marked with, or else in that of the file."""
        if item.value is None:
            return None
        marks = int(item.info.gp)
        if marks & _BYTES:
            raise _Unusable("holds bytes that are no text", _REENCODE)
        encoding = "utf-8" if marks & _UTF8 else "latin-1" if marks & _LATIN1 else self.encoding
        try:
            return str(item.value, encoding)
        except (UnicodeDecodeError, LookupError):
            raise _Unusable(f"holds text that is not in {encoding}", _REENCODE) from None


_REENCODE = 'in R: x <- enc2utf8(x), or iconv(x, from, "UTF-8"); then save again'


class _Unusable(Exception):
    """Why a column cannot be used, as the end of a sentence, and what to do."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.hint = hint


def parse(data: bytes) -> Frame:
    """The data frame that an expanded .rds file holds.

    Raises
    ------
    Refused
        It holds something else.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one for each thing without a Python counterpart
        parsed = rdata.parser.parse_data(data, extension=".rds", altrep_constructor_dict=_ALTREP)
    attributes = _attributes(parsed.object)
    if "names" not in attributes or "class" not in attributes:
        raise Refused(*_NOT_A_FRAME)
    frame = Frame(parsed.object, parsed.extra.encoding or "utf-8")
    if "data.frame" not in frame._texts(attributes["class"]):
        raise Refused(*_NOT_A_FRAME)
    return frame


def _attributes(node: Any) -> dict[str, Any]:
    """The attributes of an R object by their names."""
    found, pair = {}, node.attributes
    while pair is not None and getattr(pair, "tag", None) is not None:
        tag = pair.tag if pair.tag.value is not None else pair.tag.referenced_object
        found[tag.value.value.decode()] = pair.value[0]
        pair = pair.value[1]
    return found


def _require_plain(node: Any, attributes: Mapping[str, Any], classes: list[str]) -> None:
    """Refuse what is not one value a row, or not a value that can be used."""
    if "data.frame" in classes:
        raise _Unusable("is a data frame itself", "in R: put its columns beside the others")
    if "POSIXlt" in classes:
        raise _Unusable("is of the class POSIXlt", "in R: x <- as.POSIXct(x)")
    what = _UNUSABLE.get(node.info.type)
    if what is not None:
        raise _Unusable(*what)
    if node.info.type not in _USABLE:
        raise _Unusable("holds R objects, not values", "make a number or a text of each")
    shape = attributes["dim"].value if "dim" in attributes else [1]
    if len(shape) > 1 and np.prod(np.asarray(shape)[1:]) != 1:
        raise _Unusable("is a matrix", "in R: make each of its columns one of the data frame")


_USABLE = {RObjectType.LGL, RObjectType.INT, RObjectType.REAL, RObjectType.STR}
_UNUSABLE = {
    RObjectType.CPLX: ("holds complex numbers", "in R: take Re(x), Im(x) or Mod(x)"),
    RObjectType.VEC: ("is a list", "in R: make a number or a text of each element"),
    RObjectType.RAW: ("holds raw bytes", "in R: x <- as.integer(x)"),
}


def _plain(values: Any) -> Any:
    """Truth values and numbers; integers as float64 where some are missing."""
    gaps = np.ma.getmaskarray(values) if isinstance(values, np.ma.MaskedArray) else None
    data = np.ma.getdata(values)
    if gaps is None or not gaps.any():
        return data.astype("int64") if data.dtype.kind == "i" else data
    if data.dtype.kind == "b":
        return pd.arrays.BooleanArray(data.copy(), gaps.copy())
    return np.where(gaps, np.nan, data)


def _numbers(values: Any) -> Any:
    return np.ma.filled(np.ma.asarray(values).astype("float64"), np.nan)


def _days(values: Any) -> Any:
    return pd.to_datetime(pd.Series(_numbers(values)), unit="D").array


def _seconds(values: Any) -> Any:
    return pd.to_datetime(pd.Series(_numbers(values)), unit="s", utc=True).array


def _integer64(values: Any) -> Any:
    """Whole numbers that bit64 keeps in the room of doubles."""
    whole = np.ascontiguousarray(values, dtype="float64").view("int64")
    gaps = whole == _INTEGER64_NA
    return pd.arrays.IntegerArray(whole.copy(), gaps) if gaps.any() else whole


_CLASSES: Mapping[str, Callable[[Any], Any]] = {
    "Date": _days,
    "POSIXct": _seconds,
    "integer64": _integer64,
}
_KNOWN = frozenset({*_CLASSES, "POSIXt", "AsIs", "character", "numeric", "integer", "logical"})


# ---------------------------------------------------------------- R's short forms of vectors


def _sequence(made: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A run of numbers, which a few bytes stand for, so that its length is limited here."""

    def counted(state: Any) -> Any:
        TABLES.require(8 * int(state.value[0]), 0)
        return made(state)

    return counted


def _deferred(made: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Numbers that R was to write as text but had not yet, to the 15 digits that it writes."""

    def in_words(state: Any) -> Any:
        values = state.value[0].value
        whole = values.dtype.kind == "i"
        missing: Any = np.ma.getmaskarray(values) if whole else rdata.missing.is_na(values)
        data = np.ma.getdata(values)
        state.value[0].value = data if whole else np.array([float(f"{v:.15g}") for v in data])
        info, texts = made(state)
        for i in np.flatnonzero(missing | ~np.isfinite(data)):
            texts[i].value = None if missing[i] else _SPECIAL[str(data[i])]
        return info, texts

    return in_words


_SPECIAL = {"nan": b"NaN", "inf": b"Inf", "-inf": b"-Inf"}
_KNOWN_FORMS = rdata.parser.DEFAULT_ALTREP_MAP
_ALTREP = {
    **_KNOWN_FORMS,
    b"compact_intseq": _sequence(_KNOWN_FORMS[b"compact_intseq"]),
    b"compact_realseq": _sequence(_KNOWN_FORMS[b"compact_realseq"]),
    b"deferred_string": _deferred(_KNOWN_FORMS[b"deferred_string"]),
}
