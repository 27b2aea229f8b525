"""How a category enters a model: its columns of numbers, R's names of them, and what they mean.

Matrices are those of R: ``contr.treatment``, ``contr.poly``, ``contr.sum``, ``contr.helmert`` and
MASS's ``contr.sdif`` (Venables & Ripley, 2002, section 6.2).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["MOST_TRENDS", "Coding", "coding", "codings_of", "with_codings"]

MOST_TRENDS = 12
"""Polynomials of more categories than this are no numbers to rely on."""


@dataclass(frozen=True, slots=True)
class Coding:
    """Contrasts of a category.

    Parameters
    ----------
    kind
        As the spec names them.
    names
        What R puts behind the column's name for each coefficient.
    values
        A row for each category, a column for each coefficient.
    labels
        What each coefficient is, behind the label of the variable.
    meanings
        The same as the object of a sentence: "the coefficient is ...".
    """

    kind: str
    names: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]
    labels: tuple[str, ...]
    meanings: tuple[str, ...]


Made = tuple[Any, Sequence[str], Sequence[str], Sequence[str]]


def coding(kind: str, categories: Sequence[str]) -> Coding:
    """The contrasts of a kind for categories in their order, two or more."""
    matrix, names, labels, meanings = _KINDS[kind](tuple(categories))
    values = tuple(tuple(map(float, row)) for row in matrix)
    return Coding(kind, tuple(names), values, tuple(labels), tuple(meanings))


_TRENDS = ("linear", "quadratic", "cubic")


def _polynomial(categories: Sequence[str]) -> Made:
    """Orthonormal polynomials of the places 1, 2, ..., as ``contr.poly`` has them."""
    size = len(categories)
    place = np.arange(size) - (size - 1) / 2
    columns = [np.full(size, 1 / np.sqrt(size))]
    for _ in range(size - 1):
        made = columns[-1] * place
        for _ in range(2):  # once more against what rounding left
            made = made - sum(column * (column @ made) for column in columns)
        columns.append(made / np.sqrt(made @ made))
    names = [".L", ".Q", ".C", *(f"^{degree}" for degree in range(4, size))][: size - 1]
    trends = [*_TRENDS, *(f"degree {degree}" for degree in range(4, size))][: size - 1]
    labels = [f"{trend} trend" if trend in _TRENDS else f"trend of {trend}" for trend in trends]
    even = "over its categories in their order, taken as equally far apart"
    meanings = [f"the {label} {even}, by an orthonormal polynomial" for label in labels]
    return np.column_stack(columns[1:]), names, labels, meanings


def _sum(categories: Sequence[str]) -> Made:
    size = len(categories)
    labels = [f"{category} − mean of all categories" for category in categories[:-1]]
    meanings = [
        f"the difference of {category} from the mean of all {size} categories"
        for category in categories[:-1]
    ]
    names = [str(number) for number in range(1, size)]
    return np.vstack([np.eye(size - 1), -np.ones(size - 1)]), names, labels, meanings


def _helmert(categories: Sequence[str]) -> Made:
    size = len(categories)
    matrix = np.zeros((size, size - 1))
    labels, meanings = [], []
    for column in range(size - 1):
        matrix[: column + 1, column], matrix[column + 1, column] = -1, column + 1
        later, before = categories[column + 1], categories[: column + 1]
        mean = before[0] if column == 0 else f"the mean of {', '.join(before)}"
        labels.append(f"Helmert {column + 1}, {later} against {mean}")
        part = "half of" if column == 0 else f"one part in {column + 2} of"
        meanings.append(f"{part} the difference of {later} from {mean}")
    return matrix, [str(number) for number in range(1, size)], labels, meanings


def _successive(categories: Sequence[str]) -> Made:
    """Venables & Ripley (2002), as ``MASS::contr.sdif``."""
    size = len(categories)
    row, column = np.arange(1, size + 1)[:, None], np.arange(1, size)[None, :]
    matrix = np.where(row > column, column, column - size) / size
    pairs = list(zip(categories[1:], categories, strict=False))
    meanings = [f"the difference of {later} from {before}" for later, before in pairs]
    labels = [f"{later} − {before}" for later, before in pairs]
    return matrix, [f"{later}-{before}" for later, before in pairs], labels, meanings


_KINDS: Mapping[str, Callable[[Sequence[str]], Made]] = {
    "polynomial": _polynomial,
    "sum": _sum,
    "helmert": _helmert,
    "successive differences": _successive,
}


def codings_of(frame: pd.DataFrame) -> Mapping[str, Coding]:
    """The contrasts of a prepared frame's categories, but for those with a reference category."""
    found: Mapping[str, Coding] = frame.attrs.get("contrasts", {})
    return {name: made for name, made in found.items() if name in frame}


def with_codings(frame: pd.DataFrame, codings: Mapping[str, Coding]) -> pd.DataFrame:
    """The frame with contrasts that it keeps on its way to R."""
    if codings:
        frame.attrs["contrasts"] = dict(codings)
    return frame
