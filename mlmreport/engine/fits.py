"""Steps' R functions run, and what they record turned into quantities."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from mlmreport.cache import Cache, key
from mlmreport.engine.session import Session
from mlmreport.engine.workers import Workers, software
from mlmreport.errors import AnalysisError
from mlmreport.quantities import Item, Missing, Quantity, Series, Source, TraceEntry
from mlmreport.spec.contrasts import Coding, codings_of

__all__ = ["Engine", "Fit"]


@dataclass(frozen=True, slots=True)
class Fit:
    """A fitted model: what of it is no number.

    Parameters
    ----------
    id
        The model's id; in R it is ``m_<id>``.
    coefficients
        Names of the fixed effects, in lme4's order.
    dropped
        Columns that lme4 left out because they are collinear.
    blocks
        For each block of ``VarCorr`` its effects.
    groups
        For each block its grouping column.
    singular
        Whether a variance is zero or a correlation is +-1 (``lme4::isSingular``).
    messages
        lme4's convergence messages.
    optimizer
        The optimizer that was used.
    evaluation
        Nominal seconds of one evaluation of its deviance.
    parameters
        Its covariance parameters, relative to the residual SD.
    ahead
        Whether its optimum was found on compressed data, and lme4 built the model there.
    examined
        Whether its gradient at the optimum was looked at; not where it is singular, where the
        gradient need not be zero, or where lme4 took no derivatives.
    """

    id: str
    coefficients: tuple[str, ...]
    dropped: tuple[str, ...]
    blocks: Mapping[str, tuple[str, ...]]
    groups: Mapping[str, str]
    singular: bool
    messages: tuple[str, ...]
    optimizer: str
    evaluation: float
    parameters: int
    ahead: bool
    examined: bool


@dataclass
class Engine:
    """An analysis in R: the data are loaded once, each step's calls are recorded in order.

    Parameters
    ----------
    session
        The R to run in.
    cache
        Where values of costly calls are kept; None for nowhere.
    workers
        Processes that compute parts of costly calls.
    tell
        Is told of a loop of many refits how many of its blocks are done, and of how many; its
        answer means nothing.
    """

    session: Session
    cache: Cache | None = None
    workers: Workers = field(default_factory=lambda: Workers(0))
    tell: Callable[[int, int], bool] = lambda *_: True
    items: dict[str, Item] = field(default_factory=dict)
    trace: list[TraceEntry] = field(default_factory=list)
    conditions: list[Mapping[str, str]] = field(default_factory=list)

    def begin(self, frame: pd.DataFrame, weights: str = "", offset: bool = False) -> pd.DataFrame:
        """Hand the analysis sample to R as ``d``.

        Parameters
        ----------
        frame
            The sample.
        weights
            Its column of prior weights; empty where rows count alike.
        offset
            Whether a model has an offset.

        Returns
        -------
        pandas.DataFrame
            The sample again, its numbers in R's memory.
        """
        from mlmreport.engine.convert import frame_to_r, on_memory_of_r

        self.workers.software = software()
        self.workers.start()
        self.session.lend(
            "use_workers",
            {
                "count": lambda: self.workers.count,
                "share": self.workers.share,
                "submit": self.workers.submit,
                "withdraw": self.workers.withdraw,
                "drop": self.workers.drop,
                "collect": self.workers.collect,
                "tell": self.tell,
            },
        )
        handed, codings = frame_to_r(frame), codings_of(frame)
        kept: dict[str, object] = {}
        if self.cache is not None:
            kept = {
                "folder": str(self.cache.values or ""),
                "salt": self.workers.software,
                "columns": [_digest(frame[name], codings.get(str(name))) for name in frame],
                "fresh": self.cache.fresh,
                "costly": self.cache.costly,
                "rows": self.cache.large,
                "most": self.cache.room,
            }
        self.session.call("begin_analysis", data=handed, weights=weights, offset=offset, **kept)
        return on_memory_of_r(frame, handed)

    def run(self, step: str, function: str, **arguments: object) -> Mapping[str, Any]:
        """Run a function of ``r/``; its entries join the items, its facts come back.

        Raises
        ------
        AnalysisError
            When R stops outside a recorded call.
        EnvironmentFault
            When a worker has other software.
        """
        found = self.session.call("run_step", step=step, f=function, args=arguments)
        if self.workers.fault:
            raise self.workers.fault
        entries, said = found["entries"], found["conditions"]
        for row in zip(*entries.values(), strict=True):
            self._take(step, dict(zip(entries, row, strict=True)))
        for where, kind, text in zip(said["name"], said["kind"], said["text"], strict=True):
            self.conditions.append({"where": where, "kind": kind, "text": text})
        facts = found["facts"]
        return facts if isinstance(facts, Mapping) else {}

    def send_models(self, formulas: Sequence[str], reml: bool, optimizer: str) -> None:
        """Let the workers begin with models that will be fitted later."""
        if len(formulas) > 0 and self.workers.count:
            self.run(
                "models", "send_models", formulas=list(formulas), reml=reml, optimizer=optimizer
            )

    def fit(self, model: str, formula: str, reml: bool, optimizer: str) -> Fit:
        """Fit one model by lme4.

        Raises
        ------
        AnalysisError
            With lme4's own message when the model cannot be fitted.
        """
        facts = self.run(
            "models", "fit_model", id=model, formula=formula, reml=reml, optimizer=optimizer
        )
        if facts["failed"][0]:
            raise AnalysisError(facts["failed"][0])
        return _fit(model, facts)

    def keep_better(self, model: str, first: str, best: str) -> Fit:
        """Put the refit by the optimizer `best` in the place of the model.

        The first fit, and what R said of it, stay under the name ``opt_<id>_<first>``.
        """
        facts = self.run("models", "keep_better", id=model, first=first, best=best)
        self.conditions = [
            {**said, "where": f"opt_{model}_{first}"} if said["where"] == f"m_{model}" else said
            for said in self.conditions
        ]
        return _fit(model, facts)

    def _take(self, step: str, entry: Mapping[str, Any]) -> None:
        kind, name, code = entry["kind"], entry["id"], entry["code"]
        if kind in _ITEMS:
            if name in self.items:
                raise AnalysisError(f"the id '{name}' was given twice")
            self.items[name] = _ITEMS[kind](name, entry)
        if kind in {"object", "quantity", "series"}:
            self.trace.append(TraceEntry(step, kind, name, code))


def _digest(column: pd.Series[Any], coding: Coding | None) -> str:
    """The key of a column's content: of its values, and of the categories they stand for."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        categories = [str(level) for level in column.cat.categories]
        categories += [repr(coding.names), repr(coding.values)] if coding else []
        return key(categories, column.cat.ordered, _bytes_digest(column.cat.codes))
    return key(str(column.dtype), _bytes_digest(column))


def _bytes_digest(column: pd.Series[Any]) -> str:
    values = column.to_numpy()
    if values.dtype == object:
        return key([str(value) for value in values])
    return hashlib.sha256(np.ascontiguousarray(values).view("uint8").data).hexdigest()


def _fit(model: str, facts: Mapping[str, Any]) -> Fit:
    names = facts["block_names"]
    return Fit(
        id=model,
        coefficients=facts["coefficients"],
        dropped=facts["dropped"],
        blocks=dict(zip(names, facts["blocks"].values(), strict=True)),
        groups=dict(zip(names, facts["groupings"], strict=True)),
        singular=facts["singular"][0],
        messages=facts["messages"],
        optimizer=facts["optimizer"][0],
        evaluation=facts["evaluation"][0],
        parameters=int(facts["theta"][0]),
        ahead=facts["ahead"][0],
        examined=facts["examined"][0],
    )


def _quantity(name: str, entry: Mapping[str, Any]) -> Item:
    source = Source(entry["code"], model=entry["model"])
    (value,) = entry["value"]
    return Quantity(
        name, float(value), entry["type"], entry["unit"], entry["label"], source, entry["method"]
    )


def _series(name: str, entry: Mapping[str, Any]) -> Item:
    source = Source(entry["code"], model=entry["model"])
    return Series(name, entry["value"], entry["unit"], entry["label"], source)


def _missing(name: str, entry: Mapping[str, Any]) -> Item:
    return Missing(name, entry["reason"], entry["label"])


_ITEMS = {"quantity": _quantity, "series": _series, "missing": _missing}
