"""The eight steps in order: spec and data in, `Results` out."""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from time import monotonic
from typing import Any

import mlmreport
from mlmreport.cache import Cache
from mlmreport.data.prepare import PreparedData, prepare
from mlmreport.data.sources import return_memory
from mlmreport.engine.fits import Engine
from mlmreport.engine.session import package_dataset, session, versions
from mlmreport.engine.workers import Workers
from mlmreport.errors import InputError
from mlmreport.quantities import Item, Results, repointed
from mlmreport.spec.contrasts import codings_of
from mlmreport.spec.reader import Document
from mlmreport.spec.sequence import outline, plan
from mlmreport.steps import (
    assumptions,
    fit,
    icc,
    inference,
    interpretation,
    models,
    questions,
    structure,
)
from mlmreport.steps.context import Context

__all__ = ["STEPS", "analyse", "check"]

Progress = Callable[[str, str], None]

STEPS = (
    "structure",
    "questions",
    "assumptions",
    "icc",
    "models",
    "fit",
    "interpretation",
    "inference",
)
"""The eight steps, in the order of the report."""


def check(document: Document) -> PreparedData:
    """Prepare the data without fitting anything: every problem of spec and data is raised."""
    planned, problems = outline(document)
    if planned is None:
        raise InputError(problems)
    return prepare(document, planned, package_dataset, problems)


def analyse(
    document: Document,
    progress: Progress,
    cache: Cache | None = None,
    workers: Workers | None = None,
) -> tuple[Results, PreparedData]:
    """Run the eight steps.

    Parameters
    ----------
    document
        The spec.
    progress
        Is told the step, and what it is at.
    cache
        Where values of costly calls are kept from one run to the next; None for nowhere.
    workers
        Processes that compute parts of it; None for none. The results are the same.

    Returns
    -------
    tuple
        All results, and the prepared data they come from.
    """
    workers = workers or Workers(0)
    workers.start()
    progress = _Progress(progress)
    progress("data", "reading and preparing")
    data = check(document)
    return_memory()
    planned = plan(document)
    engine = Engine(session(), cache, workers, progress.loop)
    sample = engine.begin(data.frame, planned.weights, planned.has_offset)
    data = replace(data, frame=sample)
    context = Context(document, planned, data, engine)
    _settings(context)
    # The order of computing: models come before the steps that look at the final one.
    models.fit_all(context, lambda label: progress("models", label))
    progress("structure", "sizes and levels")
    found: dict[str, Mapping[str, Any]] = {"structure": structure.run(context)}
    progress("questions", "equations")
    found["questions"] = questions.run(context)
    progress("icc", "variance by level")
    found["icc"] = icc.run(context)
    progress("models", "intervals of the variance components")
    found["models"] = models.run(context)
    progress("assumptions", "residuals of each level")
    found["assumptions"] = assumptions.run(context)
    progress("fit", "criteria and tests")
    found["fit"] = fit.run(context)
    progress("interpretation", "effects and slopes")
    found["interpretation"] = interpretation.run(context)
    progress("inference", "predictions and groups")
    found["inference"] = inference.run(context, found)
    return _results(context, found), data


class _Progress:
    """Tells the step, what it is at, and in a long loop once a second how far that has come."""

    def __init__(self, tell: Progress) -> None:
        self._tell = tell
        self._at = ("", "")
        self._told = monotonic()

    def __call__(self, step: str, what: str) -> None:
        self._at = (step, what)
        self._told = monotonic()
        self._tell(step, what)

    def loop(self, done: int, of: int) -> bool:
        if monotonic() - self._told > 1:
            self._told = monotonic()
            step, what = self._at
            self._tell(step, f"{what}, {done} of {of}")
        return True


def _settings(context: Context) -> None:
    inference_ = context.spec.inference
    context.setting(
        "settings/level", inference_.level, "level", "Level of intervals", "inference.level"
    )
    context.setting(
        "settings/alpha", inference_.alpha, "level", "Significance level", "inference.alpha"
    )


def _results(context: Context, found: Mapping[str, Mapping[str, Any]]) -> Results:
    order = {step: number for number, step in enumerate(STEPS)}
    decisions = sorted(context.decisions, key=lambda decision: order[decision.step])
    engine = context.engine
    items = _said(context)
    return Results(
        spec=context.spec.model_dump(mode="json", by_alias=True),
        # Digits may have been set after a step took its items: point at what the registry holds.
        items=items,
        steps={step: repointed(found[step], items) for step in STEPS},
        decisions=tuple(repointed(decision, items) for decision in decisions),
        trace=tuple(engine.trace),
        conditions=tuple(engine.conditions),
        preparation=context.data.steps,
        session=_session(context),
    )


def _said(context: Context) -> dict[str, Item]:
    """The items; R's names of coefficients in their labels exchanged for those a reader knows.

    A column of a factor anywhere, any other name at the end of a label only, where it is no word of
    the sentence.
    """
    entries = {entry.name: entry for model in context.models for entry in model.coefficients}
    if not entries:
        return dict(context.engine.items)
    names = [
        re.escape(name) + ("" if any(part.category for part in entries[name].parts) else "$")
        for name in sorted(entries, key=len, reverse=True)
    ]
    coefficient = re.compile(rf"(?<![\w.:(])(?:{'|'.join(names)})(?![\w.:)])")
    return {
        name: replace(item, label=coefficient.sub(lambda it: entries[it[0]].label, item.label))
        for name, item in context.engine.items.items()
    }


def _session(context: Context) -> dict[str, Any]:
    data = context.data
    return {
        "mlmreport": mlmreport.__version__,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in ("pandas", "numpy", "rpy2-rinterface")},
        "r": dict(versions()),
        "seed": context.spec.inference.seed,
        "files": [{"description": text, "sha256": digest} for text, digest in data.files],
        "found": dict(data.found),
        "contrasts": {
            name: {"names": list(made.names), "values": [list(row) for row in made.values]}
            for name, made in codings_of(data.frame).items()
        },
        "spec": context.document.path.name,
        "columns": [str(name) for name in data.frame],
        "factors": {
            str(name): [str(level) for level in column.cat.categories]
            for name, column in data.frame.select_dtypes("category").items()
        },
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
