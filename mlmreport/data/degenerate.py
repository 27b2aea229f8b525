"""Data that no model can be fitted to: numbers too large to compute with, an exact outcome."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from mlmreport.spec.sequence import Plan
from mlmreport.spec.variables import Variable

__all__ = ["exact", "out_of_range"]

Fault = tuple[str, str, Variable]
"""What is wrong, what to do, and of which variable."""
LARGEST, SMALLEST = 1e100, 1e-100
"""Sums of products of numbers beyond these leave the range of double precision."""
_EXACT = 1e-10
"""Residual by total standard deviation, below which rounding alone is left."""
_ROWS = 5_000
_COLUMNS = 200


def out_of_range(frame: pd.DataFrame, variables: Sequence[Variable]) -> Iterator[Fault]:
    """Numbers whose squares cannot be computed with.

    Parameters
    ----------
    frame
        The sample.
    variables
        Those to look at; a category, or one whose column is not there, is passed over.
    """
    for variable in variables:
        if not _is_number(frame, variable):
            continue
        largest = float(np.abs(frame[variable.source]).max())
        if not 0 < largest < SMALLEST and not LARGEST < largest < np.inf:
            continue
        what = "large" if largest > 1 else "small"
        yield (
            f"the values of '{variable.source}' are as {what} as {largest:.3g}, whose squares are "
            "beyond what can be computed with",
            f"give it in {'larger' if largest > 1 else 'smaller'} units, or correct the data",
            variable,
        )


def _is_number(frame: pd.DataFrame, variable: Variable) -> bool:
    """Whether its column is there, and was not read as something else (an id, say)."""
    if variable.type != "number" or variable.source not in frame:
        return False
    return pd.api.types.is_numeric_dtype(frame[variable.source].dtype)


def exact(frame: pd.DataFrame, plan: Plan) -> Iterator[Fault]:
    """An outcome of which nothing is left to explain within the groups of the lowest grouping.

    Parameters
    ----------
    frame
        The prepared sample.
    plan
        Its levels, outcome and the variables that models use.
    """
    columns = [_design(frame, variable) for variable in plan.used]
    group = plan.groups[0].group
    if not columns or group not in frame or plan.outcome.column not in frame:
        return
    # What is exact is so in a part of the rows already; whole groups, and few enough to be quick.
    wanted = frame[group].cat.codes.to_numpy()
    some = np.argsort(wanted, kind="stable")[:_ROWS]
    codes = wanted[some]
    design = np.column_stack([part.to_numpy(dtype="float64")[some] for part in columns])
    if design.shape[1] > _COLUMNS:
        return
    outcome = frame[plan.outcome.column].to_numpy(dtype="float64")
    if _fits(outcome[some], design, codes) and _fits(outcome, _all(columns), wanted):
        copies = [v for v in plan.used if v.type == "number" and _fits(
            outcome[some], frame[[v.column]].to_numpy(dtype="float64")[some], codes)]  # fmt: skip
        what = f"'{copies[0].key}'" if copies else "the predictors"
        yield (
            f"within groups the outcome '{plan.outcome.source}' is an exact function of {what}: "
            "nothing is left to vary",
            "leave out a predictor that the outcome was computed from",
            plan.outcome,
        )


def _all(columns: Sequence[pd.DataFrame]) -> np.ndarray:
    return np.column_stack([part.to_numpy(dtype="float64") for part in columns])


def _design(frame: pd.DataFrame, variable: Variable) -> pd.DataFrame:
    """The columns of a variable: one, or one a category but the first."""
    if variable.type == "number":
        return frame[[variable.column]]
    return pd.get_dummies(frame[variable.column], drop_first=True)


def _fits(outcome: np.ndarray, design: np.ndarray, codes: np.ndarray) -> bool:
    """Whether least squares within groups leave no more than rounding, with df to spare."""
    y, x = _within(outcome[:, None], codes), _within(design, codes)
    varying = np.abs(x).max(axis=0) > 0
    x = x[:, varying] / np.abs(x[:, varying]).max(axis=0)
    spare = len(y) - len(np.unique(codes)) - x.shape[1]
    if spare < 1 or not x.shape[1] or not y.any():
        return False
    y = y / np.abs(y).max()
    rest = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
    return bool(np.linalg.norm(rest) < _EXACT * np.linalg.norm(y))


def _within(values: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Deviations from the means of groups."""
    counts = np.bincount(codes)
    means = np.column_stack([np.bincount(codes, weights=column) for column in values.T])
    result: np.ndarray = values - (means / np.maximum(counts, 1)[:, None])[codes]
    return result
