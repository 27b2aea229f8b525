"""The prepared data in R, and fits of models to them that no report rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlmreport.data.prepare import PreparedData
from mlmreport.engine.fits import Engine
from mlmreport.engine.session import session
from mlmreport.spec.reader import Document
from mlmreport.spec.sequence import Plan, plan
from mlmreport.verify import mixedlm

__all__ = [
    "FAILED",
    "FITTED",
    "JOINT",
    "NOT_APPLICABLE",
    "OPTIMIZERS",
    "SHIPPED",
    "Fit",
    "Workbench",
]

OPTIMIZERS = {
    "nloptwrap": ("nloptwrap", "", ""),
    "bobyqa": ("bobyqa", "", ""),
    "Nelder_Mead": ("Nelder_Mead", "", ""),
    "nlminbwrap": ("nlminbwrap", "", ""),
    "nloptwrap.NLOPT_LN_NELDERMEAD": ("nloptwrap", "NLOPT_LN_NELDERMEAD", ""),
    "nmkbw": ("nmkbw", "", "dfoptim"),
    "optimx.L-BFGS-B": ("optimx", "L-BFGS-B", "optimx"),
}
"""The optimizers of ``lme4::allFit()``: optimizer, method, and the R package it comes with."""

SHIPPED = ("nloptwrap", "bobyqa", "Nelder_Mead")
"""Those that lme4 brings with it, of which a report takes the best fit."""

JOINT = (
    "its standard error is from the information of all parameters together; lme4 takes the "
    "variances as known"
)
"""The definition of standard errors of fixed effects by glmmTMB, or by the Hessian of all."""

FITTED = "fitted"
NOT_APPLICABLE = "not applicable"
FAILED = "failed"


@dataclass(frozen=True)
class Fit:
    """What an engine, or lme4 with an optimizer, makes of a model.

    Parameters
    ----------
    engine
        Its name.
    status
        ``"fitted"``, ``"not applicable"`` or ``"failed"``.
    reason
        Why there is no fit.
    estimates, errors
        Fixed effects, (co)variances and residual variance by name, and standard errors.
    joint
        Standard errors of the fixed effects from the information of all parameters together.
    criteria
        ``loglik``, ``aic`` and ``bic``, as the engine itself gives them.
    parameters
        How many it counts.
    df
        Denominator df of the fixed effects, where the engine has any.
    said
        Its warnings and messages.
    singular
        Whether lme4 finds the fit singular.
    complaints
        What lme4 says against its convergence.
    """

    engine: str
    status: str = FITTED
    reason: str = ""
    estimates: Mapping[str, float] = field(default_factory=dict)
    errors: Mapping[str, float] = field(default_factory=dict)
    joint: Mapping[str, float] = field(default_factory=dict)
    criteria: Mapping[str, float] = field(default_factory=dict)
    parameters: int = 0
    df: Mapping[str, float] = field(default_factory=dict)
    said: tuple[str, ...] = ()
    singular: bool = False
    complaints: tuple[str, ...] = ()

    @property
    def fitted(self) -> bool:
        """Whether there is a fit."""
        return self.status == FITTED

    @property
    def loglik(self) -> float:
        """Its log-likelihood, by REML or ML as the model asks."""
        return self.criteria["loglik"]


@dataclass
class Workbench:
    """A spec, its plan and its prepared data, and R that holds them."""

    document: Document
    plan: Plan
    data: PreparedData
    engine: Engine

    @classmethod
    def of(cls, document: Document, data: PreparedData) -> Workbench:
        """Hand the data to R."""
        bench = cls(document, plan(document), data, Engine(session()))
        bench.engine.begin(data.frame, bench.plan.weights, bench.plan.has_offset)
        return bench

    def lme4(self, key: str, formula: str, reml: bool, name: str) -> Fit:
        """The model by lme4 with the optimizer of a name."""
        optimizer, method, package = OPTIMIZERS[name]
        if package and not self._installed(package):
            reason = f"the R package {package} is not installed"
            return Fit(name, NOT_APPLICABLE, reason)
        found = self.engine.session.call(
            "crosscheck_lme4",
            id=key,
            formula=formula,
            reml=reml,
            optimizer=optimizer,
            method=method,
        )
        return _fit(name, found)

    def _installed(self, package: str) -> bool:
        found = self.engine.session.call("crosscheck_installed", packages=[package])
        return bool(found["installed"][0])

    def choose(self, key: str, name: str) -> tuple[Mapping[str, float], Mapping[str, float]]:
        """Take an optimizer's fit as the model; its standard errors that lme4 does not give.

        Returns
        -------
        tuple
            Of the (co)variances, and of the fixed effects from the information of all parameters.
        """
        optimizer, method, _ = OPTIMIZERS[name]
        found = self.engine.session.call("crosscheck_choose", id=key, optimizer=optimizer + method)
        joint = {
            name.removesuffix("/se_joint"): value
            for name, value in _numbers(found["joint"]).items()
        }
        return _numbers(found["errors"]), joint

    def other(self, engine: str, key: str, reml: bool) -> Fit:
        """The chosen model by another engine."""
        if engine == "statsmodels":
            return self._statsmodels(key, reml)
        return _fit(engine, self.engine.session.call("crosscheck_engine", engine=engine, id=key))

    def _statsmodels(self, key: str, reml: bool) -> Fit:
        session = self.engine.session
        parts = session.call("crosscheck_design", id=key)
        frame = session.frame("crosscheck_matrices", id=key)
        try:
            found = mixedlm.fit(_design(parts, frame, reml))
        except mixedlm.NotApplicable as reason:
            return Fit("statsmodels", NOT_APPLICABLE, str(reason))
        except (ValueError, ArithmeticError, MemoryError) as error:  # numpy.linalg's among them
            return Fit("statsmodels", FAILED, f"{type(error).__name__}: {error}")
        return Fit("statsmodels", **{**found, "said": tuple(found["said"])})

    def singular(self, key: str) -> Mapping[str, Any]:
        """What is zero in the chosen model, and its fixed effects without that."""
        found: Mapping[str, Any] = self.engine.session.call("crosscheck_singular", id=key)
        return found


def _numbers(values: Mapping[str, tuple[float]] | tuple[()]) -> dict[str, float]:
    return {name: float(value[0]) for name, value in values.items()} if values else {}


def _fit(engine: str, found: Mapping[str, Any]) -> Fit:
    said = tuple(found["said"])
    if found["status"][0] != FITTED:
        return Fit(engine, found["status"][0], found["reason"][0], said=said)
    return Fit(
        engine,
        estimates=_numbers(found["estimates"]),
        errors=_numbers(found["errors"]),
        criteria=_numbers(found["criteria"]),
        parameters=int(found["parameters"][0]),
        df=_numbers(found["df"]),
        said=said,
        singular=bool(found.get("singular", (False,))[0]),
        complaints=tuple(found.get("complaints", ())),
    )


def _design(parts: Mapping[str, Any], frame: Any, reml: bool) -> mixedlm.Design:
    columns = [frame[name].to_numpy() for name in frame if str(name).startswith("v")]
    fixed, effects = parts["fixed"], parts["effects"]
    matrix = frame[[name for name in frame if str(name).startswith("v")]].to_numpy(dtype=float)
    at, z = 1 + len(fixed), []
    for names in effects:
        z.append(matrix[:, at : at + len(names)])
        at += len(names)
    groups = list(dict.fromkeys(parts["groups"]))
    return mixedlm.Design(
        fixed=fixed,
        effects=effects,
        groups=parts["groups"],
        nested=parts["nested"],
        y=columns[0],
        x=matrix[:, 1 : 1 + len(fixed)],
        z=z,
        codes={group: frame[f"g{number}"].to_numpy() for number, group in enumerate(groups, 1)},
        log_weights=parts["log_weights"][0],
        reml=reml,
    )
