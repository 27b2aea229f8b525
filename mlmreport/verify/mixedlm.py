"""A model by statsmodels' MixedLM, from lme4's design matrices."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["Design", "NotApplicable", "fit"]

MOST_ROWS = 50_000
"""More rows take MixedLM, whose time grows with the rows, hours."""
STARTS = (0.1, 1.0)
"""Random-effects variances relative to the residual that a fit starts from; the better one stays.

From its own start MixedLM can stop far from the optimum and say that it converged.
"""
METHODS = ("bfgs", "lbfgs", "cg")

Array = np.ndarray[Any, np.dtype[np.float64]]


class NotApplicable(Exception):
    """MixedLM cannot express the model; the message says why."""


@dataclass(frozen=True)
class Design:
    """What a model is made of.

    Parameters
    ----------
    fixed
        Names of the fixed effects, p of them.
    effects, groups
        For each random term its effects and its grouping.
    nested
        The groupings from the coarsest down; empty where some are crossed.
    y, x
        Outcome less offset (n) and design matrix (n x p), rows scaled by the root of their weight.
    z
        For each random term its columns, n x its effects, scaled alike.
    codes
        For each grouping the group of each row.
    log_weights
        The sum of the logarithms of the weights, which the likelihood gains by the scaling.
    reml
        The criterion.
    """

    fixed: Sequence[str]
    effects: Sequence[Sequence[str]]
    groups: Sequence[str]
    nested: Sequence[str]
    y: Array
    x: Array
    z: Sequence[Array]
    codes: Mapping[str, np.ndarray[Any, Any]]
    log_weights: float
    reml: bool


def fit(design: Design) -> dict[str, Any]:
    """Fit by MixedLM.

    Returns
    -------
    dict
        ``estimates``, ``errors``, ``criteria``, ``parameters`` and ``said``, under the names that
        all engines share.

    Raises
    ------
    NotApplicable
        When MixedLM has no such model, or statsmodels is not installed.
    """
    try:
        from statsmodels.regression.mixed_linear_model import MixedLM, MixedLMParams
    except ImportError:
        reason = "statsmodels is not installed; `pip install mlmreport[crosscheck]` brings it"
        raise NotApplicable(reason) from None
    together, apart = _terms(design)
    top = design.nested[0]
    groups = design.codes[top]
    order = np.unique(groups, return_inverse=True)[1]
    model = MixedLM(
        design.y,
        design.x,
        groups=order,
        exog_re=None if together is None else design.z[together],
        exog_vc=_components(design, apart, order) if apart else None,
    )
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        fits = [_fit_from(model, MixedLMParams, design, together, apart, s) for s in STARTS]
    best = max(fits, key=lambda found: float(found.llf))
    messages = [] if best.converged else ["MixedLM says that it did not converge"]
    messages += sorted({str(w.message) for w in said if "Hessian" in str(w.message)})
    return _described(design, best, together, apart, messages)


def _terms(design: Design) -> tuple[int | None, list[int]]:
    """The term with a covariance matrix, and those that are variances alone."""
    if not design.nested:
        raise NotApplicable("MixedLM has one grouping and others within it; these are crossed")
    if len(design.y) > MOST_ROWS:
        raise NotApplicable(f"MixedLM takes too long with more than {MOST_ROWS:,} rows")
    top = design.nested[0]
    wide = [k for k, effects in enumerate(design.effects) if len(effects) > 1]
    if any(design.groups[k] != top for k in wide):
        raise NotApplicable("MixedLM has correlated random effects at the highest grouping only")
    if len(wide) > 1:
        raise NotApplicable("MixedLM has one block of correlated random effects only")
    first = next((k for k, group in enumerate(design.groups) if group == top), None)
    together = wide[0] if wide else first
    return together, [k for k in range(len(design.effects)) if k != together]


def _components(design: Design, apart: Sequence[int], order: np.ndarray[Any, Any]) -> Any:
    """For each variance the columns of its units, a matrix for each of the coarsest groups."""
    from statsmodels.regression.mixed_linear_model import VCSpec

    rows = [np.flatnonzero(order == group) for group in range(int(order.max()) + 1)]
    mats = []
    for k in apart:
        units, values = design.codes[design.groups[k]], design.z[k][:, 0]
        mats.append([_columns(units[at], values[at]) for at in rows])
    names = [str(k) for k in apart]
    columns = [[[str(j) for j in range(mat.shape[1])] for mat in found] for found in mats]
    return VCSpec(names, columns, mats)


def _columns(units: np.ndarray[Any, Any], values: Array) -> Array:
    return pd.get_dummies(units).to_numpy(dtype=float) * values[:, None]


def _fit_from(
    model: Any,
    params: Any,
    design: Design,
    together: int | None,
    apart: Sequence[int],
    start: float,
) -> Any:
    """A fit from variances that are `start` times the residual one, whatever the columns' scale."""
    beta = np.linalg.lstsq(design.x, design.y, rcond=None)[0]
    scales = [start / np.maximum((z**2).mean(axis=0), 1e-12) for z in design.z]
    first = params.from_components(
        fe_params=beta,
        cov_re=None if together is None else np.diag(scales[together]),
        vcomp=np.array([scales[k][0] for k in apart]) if apart else None,
    )
    return model.fit(reml=design.reml, method=list(METHODS), start_params=first, maxiter=500)


def _described(
    design: Design, found: Any, together: int | None, apart: Sequence[int], said: list[str]
) -> dict[str, Any]:
    estimates = {
        f"fixef/{name}": float(v) for name, v in zip(design.fixed, found.fe_params, strict=True)
    }
    errors = {f"fixef/{name}": float(v) for name, v in zip(design.fixed, found.bse_fe, strict=True)}
    if together is not None:
        estimates |= _block(design.groups[together], design.effects[together], found.cov_re)
    for k, value in zip(apart, found.vcomp, strict=True):
        estimates[f"var/{design.groups[k]}/{design.effects[k][0]}"] = float(value)
    estimates["sigma2"] = float(found.scale)
    loglik = float(found.llf) + 0.5 * design.log_weights
    parameters = len(estimates)
    return {
        "estimates": estimates,
        "errors": {name: error for name, error in errors.items() if math.isfinite(error)},
        "criteria": {"loglik": loglik},
        "parameters": parameters,
        "said": said,
    }


def _block(group: str, effects: Sequence[str], covariance: Any) -> dict[str, float]:
    matrix = np.asarray(covariance)
    found = {f"var/{group}/{name}": float(matrix[i, i]) for i, name in enumerate(effects)}
    for i, name in enumerate(effects):
        for j, other in enumerate(effects[:i]):
            found[f"cov/{group}/{other}/{name}"] = float(matrix[i, j])
    return found
