"""Ids and categories as they are written: different texts are different units.

A column that is an id, a category or a key of a join is a number only where that changes no text:
whole numbers in the shortest form (``12``, not ``012``, ``+12``, ``12.0`` or ``1.2e1``), or whole
numbers that all end in ``.0``, as programs write them where some are missing. Otherwise it is text,
so that ``1.1`` and ``1.10`` remain two. What may be one unit written in two ways is told.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["EXACT", "as_texts", "beyond_exact", "plainly_whole", "twins", "unwritable"]

EXACT = 2**53
"""Beyond it a double no longer tells neighbouring whole numbers apart."""

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_INVISIBLE = r"[\p{Cf}\x{115F}\x{1160}\x{3164}\x{FFA0}\x{034F}]+"
_SPACE = r"[\s\p{Z}]+"
_UNWRITABLE = "[\x00\r]"


def plainly_whole(text: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Texts as whole numbers where all are written in the one way; None where not."""
    head = text.slice(0, 1000)  # most columns of words are known by their first rows
    for kind in (pa.int64(), pa.float64()):
        if _unchanged(head, kind) is not None:
            return _unchanged(text, kind)
    return None


def _unchanged(text: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray | None:
    """Texts as numbers, where these are written as the same texts again."""
    try:
        number = pc.cast(text, kind)
        return number if _again(number).equals(text) else None
    except pa.ArrowInvalid:
        return None


def _again(number: pa.ChunkedArray) -> pa.ChunkedArray:
    """Whole numbers in the shortest form, or those that are floating with one zero at the end."""
    if beyond_exact(number):
        return number
    if pa.types.is_integer(number.type):
        return pc.cast(number, pa.string())
    return pc.binary_join_element_wise(pc.cast(pc.cast(number, pa.int64()), pa.string()), ".0", "")


def beyond_exact(number: pa.ChunkedArray) -> bool:
    """Whether there are numbers that a double may not tell from their neighbours."""
    ends = pc.min_max(number).as_py().values()
    return any(abs(end) > EXACT for end in ends if end is not None)


def as_texts(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Numbers or times as texts that tell all of them apart; decimals without zeros at the end."""
    if pa.types.is_decimal(values.type):
        coded = pc.dictionary_encode(values).combine_chunks()
        words = pa.array([_shortest(value.as_py()) for value in coded.dictionary], pa.string())
        return pa.chunked_array([words.take(coded.indices)])
    return pc.cast(values, pa.string())


def _shortest(value: Decimal) -> str:
    text = format(value, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def unwritable(texts: Iterable[str]) -> str:
    """A text that cannot stand in a data file that R reads, or nothing."""
    return next((text for text in texts if re.search(_UNWRITABLE, text)), "")


def twins(name: str, column: pd.Series[Any]) -> str:
    """A note where texts of an id or a category may mean the same, or nothing.

    They differ in letter case, in spaces, in invisible characters or in the Unicode form of the
    same letters, or they are the same number.
    """
    texts = _distinct_texts(column)
    if texts is None:
        return ""
    pairs = [*_alike(texts, _folded(texts)), *_alike(texts, _values(texts))]
    pairs = list(dict.fromkeys(pairs))
    if not pairs:
        return ""
    shown = "; ".join(" and ".join(map(_visible, pair)) for pair in pairs[:5])
    more = f"; and {len(pairs) - 5:,} more" if len(pairs) > 5 else ""
    return (
        f"Column '{name}' has values that differ only in how they are written, taken as "
        f"different: {shown}{more}."
    )


def _distinct_texts(column: pd.Series[Any]) -> pa.Array | None:
    """The distinct texts of a column of text."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = pd.Series(column.cat.remove_unused_categories().cat.categories)
    if not isinstance(column.dtype, pd.StringDtype):
        return None
    return pa.array(column.dropna().unique(), pa.string(), from_pandas=True)


def _folded(texts: pa.Array) -> pa.Array:
    """The texts without letter case, invisible characters and differences in form or spaces."""
    plain = pc.replace_substring_regex(texts, _INVISIBLE, "")
    plain = pc.utf8_lower(pc.utf8_normalize(plain, "NFKC"))
    plain = pc.utf8_normalize(plain, "NFKC")
    return pc.utf8_trim_whitespace(pc.replace_substring_regex(plain, _SPACE, " "))


def _values(texts: pa.Array) -> pa.Array:
    """The texts as numbers, null where they are none."""
    trimmed = pc.utf8_trim_whitespace(texts)
    numeric = pc.match_substring_regex(trimmed, rf"^({_NUMBER.pattern})$")
    known = pc.if_else(numeric, trimmed, pa.scalar(None, pa.string()))
    return pc.cast(known, pa.float64())


def _alike(texts: pa.Array, keys: pa.Array) -> Iterator[tuple[str, ...]]:
    """The groups of texts with the same key."""
    if pc.count_distinct(keys).as_py() == len(keys) - keys.null_count:
        return
    codes, _ = pd.factorize(pd.Series(keys.to_pandas()))
    counts = np.bincount(codes + 1)[1:]
    several = np.isin(codes, np.flatnonzero(counts > 1)) & (codes >= 0)
    groups: dict[int, list[str]] = {}
    for code, text in zip(codes[several], texts.filter(pa.array(several)).to_pylist(), strict=True):
        groups.setdefault(int(code), []).append(text)
    yield from (tuple(sorted(group)) for group in groups.values())


def _visible(text: str) -> str:
    """A text in quotes, with what cannot be seen written as its number in Unicode."""
    return "'" + "".join(map(_visible_character, text)) + "'"


def _visible_character(char: str) -> str:
    plain = char.isprintable() and not unicodedata.combining(char)
    return char if plain else f"<U+{ord(char):04X}>"
