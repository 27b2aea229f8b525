"""A first spec, written from a data frame, with comments on what the data leave open.

The levels, the level and type of each variable and its reference category are read off the data.
Questions, units and the choice of random slopes are the analyst's, and are left to be filled in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import yaml

from mlmreport.errors import InputError, Problem, did_you_mean

__all__ = ["MAX_CATEGORIES", "scaffold"]

MAX_CATEGORIES = 50
"""A text variable with more values than this is taken for an id or free text and left out."""

_LOWEST = {
    "school": "student",
    "class": "student",
    "classroom": "student",
    "teacher": "student",
    "hospital": "patient",
    "clinic": "patient",
    "country": "person",
    "firm": "employee",
    "team": "member",
    "family": "member",
    "litter": "pup",
}
_ID_ENDING = re.compile(r"(?i:[._\s-]*\b(id|nr|no|code)|[._\s-]+(id|nr|no|code))$|(?<=[a-z])ID$")
_UNUSABLE = re.compile(r"[\x00-\x1f`\\]")


@dataclass(frozen=True, slots=True)
class _Level:
    """A grouping column, and how it lies in the levels above it."""

    name: str
    column: str
    units: int
    key: tuple[str, ...]
    within: str = ""


@dataclass(frozen=True, slots=True)
class _Design:
    """The levels with ids, lowest first; `pairs` are the columns found to be crossed."""

    lowest: str
    levels: tuple[_Level, ...]
    crossed: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class _Predictor:
    name: str
    level: str
    type: str
    reference: Any = None
    center: str = ""
    contextual: bool = False
    missing: int = 0


def scaffold(
    frame: pd.DataFrame,
    data_path: str,
    outcome: str,
    groups: Sequence[str],
    schema_path: str = "analysis.schema.json",
) -> str:
    """Write a first spec for a data frame.

    Parameters
    ----------
    frame
        The data, one row a unit of the lowest level.
    data_path
        The data file as it is to be written into the spec.
    outcome
        The column of the dependent variable.
    groups
        The columns that identify the groups, at least one. Nesting is tested, so their order
        matters only where the data leave it open: then lowest first.
    schema_path
        Where editors find the JSON Schema, relative to the spec.

    Returns
    -------
    str
        The YAML text, with comments.

    Raises
    ------
    InputError
        A column is not there, or one is given for two purposes.
    """
    _require_columns(frame, outcome, groups)
    design = _design(frame, groups)
    predictors, left_out = _predictors(frame, outcome, design)
    lines = [
        f"# yaml-language-server: $schema={' '.join(schema_path.split())}",
        f"title: {_quoted(_title(outcome, design))}",
        "data:",
        f"  file: {_scalar(data_path)}",
        *_level_lines(frame, design),
        *_outcome_lines(frame, outcome),
        *_predictor_lines(predictors),
        *(f"# left out: {line}" for line in left_out),
        *_question_lines(outcome, predictors),
        "models:",
        "  stepwise:",
        "    random_slopes: []  # lower-level predictors whose effect varies over groups",
        "    cross_level: []    # interactions between levels, such as ses:sector",
        "estimation: {method: REML}",
        "inference: {df: satterthwaite, level: 0.95}",
    ]
    return "\n".join(lines) + "\n"


def _require_columns(frame: pd.DataFrame, outcome: str, groups: Sequence[str]) -> None:
    names = [str(name) for name in frame.columns]
    problems = [
        Problem(f"the data have no column '{name}'", did_you_mean(name, names))
        for name in dict.fromkeys((outcome, *groups))
        if name not in names
    ]
    problems += [
        Problem(f"the column '{name}' is named twice, as outcome or as group", "name it once")
        for name in dict.fromkeys(groups)
        if [outcome, *groups].count(name) > 1
    ]
    if not groups:
        problems.append(Problem("no grouping column is named", "name the column of the groups"))
    if problems:
        raise InputError(tuple(problems))


# ---------------------------------------------------------------- levels


def _design(frame: pd.DataFrame, groups: Sequence[str]) -> _Design:
    columns = _lowest_first(frame, groups)
    crossed = tuple(
        (a, b) for i, a in enumerate(columns) for b in columns[i + 1 :] if _is_crossed(frame, a, b)
    )
    names: list[str] = []
    for column in columns:
        names.append(_fresh(_level_name(column), [*names, *columns], column))
    levels: list[_Level] = []
    for i in reversed(range(len(columns))):
        levels.insert(0, _level(frame, names[i], columns[i], levels, bool(crossed)))
    return _Design(_lowest_name(names), tuple(levels), crossed)


def _lowest_first(frame: pd.DataFrame, groups: Sequence[str]) -> list[str]:
    """The columns, those nested in most others first; the order given decides the rest."""
    depth = {a: sum(_is_nested(frame, a, b) for b in groups if b != a) for a in groups}
    return sorted(groups, key=lambda name: -depth[name])


def _is_nested(frame: pd.DataFrame, lower: str, upper: str) -> bool:
    """Whether each group of the lower column lies in one group of the upper."""
    pairs = frame[[lower, upper]].dropna().drop_duplicates()
    return not bool(pairs[lower].duplicated().any())


def _is_crossed(frame: pd.DataFrame, a: str, b: str) -> bool:
    """Whether two columns that are not nested look crossed: hardly a cell has a second row."""
    if _is_nested(frame, a, b) or _is_nested(frame, b, a):
        return False
    cells = frame[[a, b]].dropna()
    return len(cells) < 2 * len(cells.drop_duplicates())


def _level(
    frame: pd.DataFrame, name: str, column: str, above: Sequence[_Level], crossed: bool
) -> _Level:
    """The level of a column; its key takes in the next level where ids repeat between groups."""
    key: tuple[str, ...] = (column,)
    within = ""
    if above and not crossed and not _is_nested(frame, column, above[0].column):
        key, within = (column, *above[0].key), above[0].name
    units = len(frame[list(key)].dropna().drop_duplicates())
    return _Level(name, column, units, key, within)


def _level_name(column: str) -> str:
    """What a unit is called: the column's name without an ending such as _id."""
    return _ID_ENDING.sub("", column).strip() or column


def _lowest_name(names: Sequence[str]) -> str:
    known = (_LOWEST[name.lower()] for name in names if name.lower() in _LOWEST)
    return _fresh(next(known, "observation"), names, "observation")


def _fresh(name: str, taken: Iterable[str], own: str) -> str:
    """The name, or one near it that is not taken; a column's own name is no clash."""
    others = {other for other in taken if other != own}
    candidates = (name, own, *(f"{own}_{i}" for i in range(2, len(others) + 4)))
    return next(candidate for candidate in candidates if candidate not in others)


def _level_lines(frame: pd.DataFrame, design: _Design) -> list[str]:
    lines = ["levels:            # lowest first", f"  - name: {_scalar(design.lowest)}"]
    lines[-1] += f"  # {len(frame):,} rows"
    for level in design.levels:
        lines += [
            f"  - name: {_scalar(level.name)}  # {level.units:,} groups",
            f"    id: {_scalar(level.column)}",
            *_level_comments(frame, level),
        ]
    for a, b in design.crossed:
        lines.append(f"# {_shown(a)} and {_shown(b)} are crossed: neither is nested in the other")
    return lines + ["structure: crossed"] * bool(design.crossed)


def _level_comments(frame: pd.DataFrame, level: _Level) -> list[str]:
    lines = []
    if level.within:
        lines += [
            f"    within: {_scalar(level.within)}  # the same ids occur in several of its groups",
            "    # if the same id means the same group everywhere, the levels are crossed: remove",
            "    # `within` and set `structure: crossed`",
        ]
    missing = int(frame[level.column].isna().sum())
    if missing:
        lines.append(f"    # warning: {_rows(missing)} no {_shown(level.column)}")
    if level.units == len(frame):
        lines.append("    # warning: no group has more than one row")
    elif level.units < 10:
        lines.append("    # warning: few groups; variances between them will be poorly estimated")
    return lines


# ---------------------------------------------------------------- variables


def _predictors(
    frame: pd.DataFrame, outcome: str, design: _Design
) -> tuple[list[_Predictor], list[str]]:
    used = {outcome, *(level.column for level in design.levels)}
    kept, left_out = [], []
    for name in (column for column in frame.columns if column not in used):
        reason = _unfit(str(name), frame[name], frame, design)
        if reason:
            left_out.append(f"{_shown(str(name))} ({reason})")
        else:
            kept.append(_predictor(str(name), frame, design))
    means = {p.name: _mean_of(p, kept, frame, design) for p in kept}
    left_out += [
        f"{_shown(name)} (it is the group mean of {_shown(source)}, which `contextual: true` adds)"
        for name, source in means.items()
        if source
    ]
    return [predictor for predictor in kept if not means[predictor.name]], left_out


def _mean_of(
    upper: _Predictor, kept: Sequence[_Predictor], frame: pd.DataFrame, design: _Design
) -> str:
    """The lower-level variable whose group mean this one is, up to rounding, or nothing."""
    level = design.levels[0]
    if upper.type != "number" or upper.level != level.name:
        return ""
    for lower in (p for p in kept if p.contextual):
        pairs = frame[[upper.name, lower.name]].astype("float64")
        means = pairs.groupby([frame[c] for c in level.key], observed=True).mean().dropna()
        if len(means) > 3 and means[upper.name].corr(means[lower.name]) > _SAME_MEAN:
            return lower.name
    return ""


_SAME_MEAN = 0.9995  # a correlation over groups; two different variables do not reach it


def _unfit(name: str, values: pd.Series[Any], frame: pd.DataFrame, design: _Design) -> str:
    """Why a column is no predictor, or nothing."""
    if not name or len(name) > 200 or _UNUSABLE.search(name):
        return "its name cannot be used in a model"
    if values.isna().all():
        return "it has no values"
    distinct = _as_values(values).nunique()
    if distinct < 2:
        return "it is constant"
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return "it is a date; make a number of it, such as days since the start"
    if _is_id(name, values, frame, design):
        return "it looks like an id"
    if _is_category(values) and distinct > MAX_CATEGORIES:
        return f"it is text with {distinct:,} values"
    return ""


def _is_id(name: str, values: pd.Series[Any], frame: pd.DataFrame, design: _Design) -> bool:
    """Whether the values number or name the rows, or the groups of a level."""
    if pd.api.types.is_float_dtype(values.dtype) or pd.api.types.is_bool_dtype(values.dtype):
        return False
    distinct = _as_values(values).nunique()
    counts = {len(values.dropna())} | {
        level.units for level in design.levels if _is_constant(frame, name, level)
    }
    if distinct not in counts or distinct < 3:
        return False
    if _is_category(values) or _ID_ENDING.search(name):
        return True
    return int(values.max()) - int(values.min()) == distinct - 1 and distinct > 10


def _predictor(name: str, frame: pd.DataFrame, design: _Design) -> _Predictor:
    values = frame[name]
    level = _level_of(name, frame, design)
    missing = int(values.isna().sum())
    if _is_category(values):
        return _Predictor(name, level, "category", _most_frequent(values), missing=missing)
    if level != design.lowest:
        return _Predictor(name, level, "number", center="grand mean", missing=missing)
    varies = _means_vary(frame, name, design.levels[0])
    return _Predictor(
        name,
        level,
        "number",
        center="group mean" if varies else "",
        contextual=varies and f"{name}_mean" not in frame.columns,
        missing=missing,
    )


def _level_of(name: str, frame: pd.DataFrame, design: _Design) -> str:
    """The highest level within whose groups the variable is constant."""
    constant = (lev.name for lev in reversed(design.levels) if _is_constant(frame, name, lev))
    return next(constant, design.lowest)


def _is_constant(frame: pd.DataFrame, name: str, level: _Level) -> bool:
    pairs = frame[list(level.key)].assign(**{_VALUE: _as_values(frame[name])}).dropna()
    return not bool(pairs.drop_duplicates().duplicated(list(level.key)).any())


_VALUE = "\0value"


def _means_vary(frame: pd.DataFrame, name: str, level: _Level) -> bool:
    """Whether the groups differ in the variable's mean: where not, it is the same for all."""
    values = pd.to_numeric(frame[name]).astype("float64")
    means = values.groupby([frame[column] for column in level.key], observed=True).mean()
    return bool(means.max() - means.min() > 1e-9 * max(1.0, float(values.abs().max())))


def _is_category(values: pd.Series[Any]) -> bool:
    kind = values.dtype
    return pd.api.types.is_bool_dtype(kind) or not pd.api.types.is_numeric_dtype(kind)


def _as_values(values: pd.Series[Any]) -> pd.Series[Any]:
    """Values that can be compared and counted whatever the column holds."""
    return values.map(str, na_action="ignore") if values.dtype.kind == "O" else values


def _most_frequent(values: pd.Series[Any]) -> Any:
    """The most frequent category; of several, the first in category or alphabetical order."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        counts = values.value_counts(sort=False).reindex(values.cat.categories)
    else:
        counts = values.map(str, na_action="ignore").value_counts(sort=False).sort_index()
    first = counts.idxmax()
    if pd.api.types.is_bool_dtype(values.dtype):
        return first == "True"
    first = first.item() if hasattr(first, "item") else first
    return first if isinstance(first, str | int | float) else str(first)


# ---------------------------------------------------------------- text


def _title(outcome: str, design: _Design) -> str:
    by = " and ".join(level.name for level in design.levels)
    return f"{outcome} by {by}: a multilevel analysis"[:200]


def _outcome_lines(frame: pd.DataFrame, outcome: str) -> list[str]:
    values = frame[outcome]
    lines = ["outcome:", f"  name: {_scalar(outcome)}", f"  label: {_scalar(_label(outcome))}"]
    lines.append("  # unit: points")
    if _is_category(values):
        lines.append("  # warning: it is not a number; a linear model needs a numeric outcome")
    elif values.nunique() <= 2:
        lines.append("  # warning: it has two values at most; a linear model may not fit it")
    if missing := int(values.isna().sum()):
        lines.append(f"  # {_rows(missing)} no value")
    return lines


def _predictor_lines(predictors: Sequence[_Predictor]) -> list[str]:
    if not predictors:
        return ["predictors: {}"]
    return ["predictors:", *(_predictor_line(predictor) for predictor in predictors)]


def _predictor_line(predictor: _Predictor) -> str:
    parts = [f"level: {_scalar(predictor.level)}", f"type: {predictor.type}"]
    if predictor.type == "category":
        parts.append(f"reference: {_scalar(predictor.reference)}")
    parts.append(f"label: {_scalar(_label(predictor.name))}")
    parts += [f"center: {predictor.center}"] * bool(predictor.center)
    parts += ["contextual: true"] * predictor.contextual
    comment = f"  # {predictor.missing:,} missing" if predictor.missing else ""
    return f"  {_scalar(predictor.name)}: {{{', '.join(parts)}}}{comment}"


def _question_lines(outcome: str, predictors: Sequence[_Predictor]) -> list[str]:
    terms = [p.name for p in predictors if re.fullmatch(r"[A-Za-z][A-Za-z0-9_.]*", p.name)]
    if not terms:
        return ["questions: []"]
    text = f"How is {_label(terms[0])} related to {_label(outcome)}?"
    return [
        "questions:",
        "  - id: Q1",
        f"    text: {_scalar(text)}",
        f"    terms: [{_scalar(terms[0])}]",
    ]


def _label(name: str) -> str:
    """A column's name as a reader may want it: Pupil age for pupil_age; capitals are kept."""
    text = " ".join(name.replace("_", " ").split())
    return text[:1].upper() + text[1:] if text else name


def _rows(n: int) -> str:
    return "1 row has" if n == 1 else f"{n:,} rows have"


def _scalar(value: Any) -> str:
    """The value as YAML on one line, right in block and in flow context."""
    style = '"' if isinstance(value, str) and not value.isprintable() else None
    text: str = yaml.safe_dump(
        [value], default_flow_style=True, default_style=style, allow_unicode=True, width=10**9
    )
    return text.strip()[1:-1]


def _quoted(text: str) -> str:
    dumped: str = yaml.safe_dump(text, default_style='"', allow_unicode=True, width=10**9)
    return dumped.strip()


def _shown(name: str) -> str:
    """The name for a comment: one line whatever it holds."""
    return _scalar(name)
