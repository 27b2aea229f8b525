"""Data drawn from a known two-level model, so that estimates can be held against the truth."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mlmreport.spec.schema import SimulatedPredictor, SimulateSpec

__all__ = ["simulate"]


def simulate(spec: SimulateSpec, outcome: str, group: str, lowest: str) -> pd.DataFrame:
    """Draw a data set.

    ``y = intercept + sum(effect + slope_j) x + u_j + e`` with ``u_j`` and ``slope_j`` independent
    normal over groups and ``e`` normal over units; numbers from NumPy's PCG64 with the spec's seed.

    Parameters
    ----------
    spec
        Sizes and true values.
    outcome, group
        Names of the columns of the outcome and the group id.
    lowest
        The name of the lowest level; predictors of any other level are drawn once a group.

    Returns
    -------
    pandas.DataFrame
        A row per unit, groups as equal in size as the numbers allow.
    """
    rng = np.random.Generator(np.random.PCG64(spec.seed))
    member = np.sort(np.arange(spec.units) % spec.groups)
    mean = np.full(spec.units, spec.intercept)
    columns: dict[str, np.ndarray] = {}
    for name, predictor in spec.predictors.items():
        by_unit = predictor.level == lowest
        drawn = _draw(predictor, spec.units if by_unit else spec.groups, rng)
        columns[name] = drawn if by_unit else drawn[member]
        slope = predictor.effect + rng.normal(0.0, predictor.slope_sd, spec.groups)
        mean = mean + slope[member] * columns[name]
    intercepts = rng.normal(0.0, spec.group_sd, spec.groups)
    values = mean + intercepts[member] + rng.normal(0.0, spec.residual_sd, spec.units)
    width = len(str(spec.groups))
    ids = [f"{number:0{width}d}" for number in member + 1]
    return pd.DataFrame({group: ids, outcome: values, **columns})


def _draw(predictor: SimulatedPredictor, size: int, rng: np.random.Generator) -> np.ndarray:
    if predictor.probability is not None:
        return (rng.random(size) < predictor.probability).astype(float)
    return rng.normal(predictor.mean, predictor.sd, size)
