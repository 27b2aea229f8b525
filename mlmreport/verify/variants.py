"""A model as others may have fitted it: each departure from the spec is one refit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from mlmreport.data.prepare import prepare
from mlmreport.engine.session import package_dataset
from mlmreport.errors import InputError
from mlmreport.spec import formula as fm
from mlmreport.spec.sequence import ModelPlan
from mlmreport.spec.variables import Variable
from mlmreport.verify.bench import Workbench

__all__ = ["Coding", "Variant", "variants"]


@dataclass(frozen=True, slots=True)
class Coding:
    """Contrasts of a category: a row for each of its categories, and the names of the columns."""

    values: tuple[tuple[float, ...], ...]
    names: tuple[str, ...]


@dataclass(frozen=True)
class Variant:
    """One departure from the spec.

    Parameters
    ----------
    words
        What it is.
    frame, formula, reml
        What is fitted.
    coding
        Contrasts by column.
    renamed
        Coefficients of the variant under the name that the spec's model has in their place.
    """

    words: str
    frame: pd.DataFrame
    formula: str
    reml: bool
    coding: Mapping[str, Coding] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)


def variants(bench: Workbench, model: ModelPlan, reml: bool) -> Iterator[Variant]:
    """Every departure that is tried, the other criterion first; each also with that criterion."""
    own = Variant("", bench.data.frame, model.r, reml)
    other = f"{'ML' if reml else 'REML'} instead of {'REML' if reml else 'ML'}"
    yield replace(own, words=other, reml=not reml)
    single = [
        *_centrings(bench, model, own),
        *_means(bench, model, own),
        *_codings(bench, model, own),
        *_samples(bench, model, own),
        *_uncorrelated(model, own),
    ]
    yield from single
    yield from (replace(v, words=f"{v.words}, and {other}", reml=not reml) for v in single)


def _numbers(bench: Workbench, model: ModelPlan) -> list[Variable]:
    """The numbers of a model whose values before centring are at hand."""
    columns = set(fm.variables(model.formula))
    predictors = bench.document.spec.predictors
    return [
        variable
        for variable in bench.plan.variables.values()
        if variable.column in columns
        and variable.type == "number"
        and variable.source in bench.data.frame
        and predictors[variable.key].transform == "none"
        and predictors[variable.key].piece is None
    ]


def _with(own: Variant, words: str, column: str, values: pd.Series) -> Variant:
    return replace(own, words=words, frame=own.frame.assign(**{column: values}))


def _centrings(bench: Workbench, model: ModelPlan, own: Variant) -> Iterator[Variant]:
    """Another centring of one predictor."""
    for variable in _numbers(bench, model):
        if variable.role == "mean":
            continue
        raw = own.frame[variable.source]
        tried = {"not centred": raw, "centred at the grand mean": raw - raw.mean()}
        if variable.level < len(bench.plan.levels):
            group = own.frame[bench.plan.levels[variable.level].group]
            means = raw.groupby(group, observed=True).transform("mean")
            tried["centred at the group means"] = raw - means
        for words, values in tried.items():
            if not np.allclose(values, own.frame[variable.column], atol=1e-10):
                yield _with(own, f"{variable.name} {words}", variable.column, values)


def _means(bench: Workbench, model: ModelPlan, own: Variant) -> Iterator[Variant]:
    """Group means that are given in the data in the place of computed ones, and the reverse."""
    found = _numbers(bench, model)
    for lower in found:
        if lower.level >= len(bench.plan.levels) or lower.role == "mean":
            continue
        raw, group = own.frame[lower.source], own.frame[bench.plan.levels[lower.level].group]
        computed = raw.groupby(group, observed=True).transform("mean")
        for given in found:
            values = own.frame[given.source]
            if given.level != lower.level + 1 or given.role == "mean":
                continue
            if not computed.std() > 0 or values.corr(computed) < MEANS:
                continue
            if lower.role == "within":
                words = f"{lower.name} centred at the given means {given.name}"
                yield _with(own, words, lower.column, raw - values)
            words = f"{given.name} computed from the sample"
            yield _with(own, words, given.column, computed)


MEANS = 0.95
"""A column that correlates so with computed group means is taken to hold such means."""


def _codings(bench: Workbench, model: ModelPlan, own: Variant) -> Iterator[Variant]:
    """Another reference category, and codes that sum to zero."""
    used = {name for term in model.formula.fixed for name in fm.names_in(*term.factors)}
    for variable in bench.plan.variables.values():
        if variable.type != "category" or variable.column not in used:
            continue
        levels = tuple(map(str, own.frame[variable.column].cat.categories))
        for words, coding in _codes(levels):
            column = fm.r_name(variable.column)
            theirs = {column + name: column + levels[1] for name in coding.names}
            yield replace(
                own,
                words=f"{variable.name} {words}",
                coding={variable.column: coding},
                renamed=theirs if len(levels) == 2 else {},
            )


def _codes(levels: Sequence[str]) -> Iterator[tuple[str, Coding]]:
    size = len(levels)
    unit = np.eye(size)
    sums = np.vstack([-np.ones(size - 1), np.eye(size - 1)])
    yield "in effect coding (codes -1 and 1)", _coding(sums, levels[1:])
    if size == 2:
        yield "coded -0.5 and 0.5", _coding(sums / 2, levels[1:])
    for index, level in enumerate(levels):
        if index:
            rest = [other for other in range(size) if other != index]
            yield (
                f"with the reference category {level}",
                _coding(unit[:, rest], [levels[other] for other in rest]),
            )


def _coding(matrix: np.ndarray, names: Sequence[str]) -> Coding:
    return Coding(tuple(tuple(map(float, row)) for row in matrix), tuple(names))


def _samples(bench: Workbench, model: ModelPlan, own: Variant) -> Iterator[Variant]:
    """The rows that are complete in the variables of this model, where those are more."""
    alone = replace(bench.plan, models=(model,), final=model)
    try:
        frame = prepare(bench.document, alone, package_dataset).frame
    except InputError:  # a sample of its own that the spec's rules refuse is none
        return
    if len(frame) != len(own.frame):
        words = f"{len(frame):,} rows, complete in the variables of this model alone"
        yield replace(own, words=words, frame=frame)


def _uncorrelated(model: ModelPlan, own: Variant) -> Iterator[Variant]:
    """Random effects of a term without their correlation."""
    random = model.formula.random
    for index, part in enumerate(random):
        if part.correlated and len(part.terms) + part.intercept > 1:
            changed = (*random[:index], replace(part, correlated=False), *random[index + 1 :])
            formula = fm.to_r(replace(model.formula, random=changed))
            words = f"correlations of the random effects of {':'.join(part.groups)} fixed at 0"
            yield replace(own, words=words, formula=formula)
