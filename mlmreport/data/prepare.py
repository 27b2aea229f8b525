"""From the spec's tables to the one frame that every model uses.

Each verb is a function that takes a frame and returns a new one; each leaves a `PrepStep`. Problems
that only the data can show are collected, located in the spec, and raised together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from mlmreport.data import sources
from mlmreport.data.simulate import simulate
from mlmreport.errors import InputError, Location, Problem, did_you_mean
from mlmreport.quantities import PrepStep
from mlmreport.spec.reader import Document
from mlmreport.spec.schema import JoinSpec, PredictorSpec, TableSpec
from mlmreport.spec.sequence import Plan
from mlmreport.spec.variables import Level, Variable

__all__ = ["PreparedData", "prepare"]

RDataset = Callable[[str, str], pd.DataFrame]
MAX_CATEGORIES = 10_000
"""More categories than this are taken for an id that was put down as a predictor."""


@dataclass(frozen=True)
class PreparedData:
    """The analysis sample.

    Parameters
    ----------
    frame
        A row per lowest-level unit; group ids and categories as `pandas.Categorical`, numbers as
        float64; no missing values in what a model uses.
    steps
        What was done, in order.
    missing
        For each variable of the analysis the number of rows without a value before deletion.
    rows_read
        Rows of the lowest-level table before deletion.
    groups_lost
        Groups that deletion left without rows, by grouping column.
    files
        Description and SHA-256 of every table read.
    notes
        What the readers noticed.
    """

    frame: pd.DataFrame
    steps: tuple[PrepStep, ...]
    missing: Mapping[str, int]
    rows_read: int
    groups_lost: Mapping[str, int]
    files: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()


@dataclass
class _Work:
    """The frame on its way, with what was done and what is wrong."""

    document: Document
    plan: Plan
    frame: pd.DataFrame
    steps: list[PrepStep] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    files: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def did(self, action: str, code: str, frame: pd.DataFrame) -> None:
        """Take a new frame and write down what led to it."""
        self.steps.append(PrepStep(action, code, len(self.frame), len(frame)))
        self.frame = frame

    def wrong(self, message: str, hint: str, *path: str | int) -> None:
        """Note a problem located at a key of the spec."""
        self.problems.append(self.document.problem(message, hint, *path))

    def stop_if_wrong(self) -> None:
        """Raise all problems noted so far."""
        if self.problems:
            raise InputError(tuple(self.problems))


def prepare(document: Document, plan: Plan, r_dataset: RDataset | None = None) -> PreparedData:
    """Read, join, check, code, delete, transform and centre.

    Parameters
    ----------
    document, plan
        The spec and what follows from it.
    r_dataset
        Fetches a data set of an R package.

    Raises
    ------
    InputError
        With every problem that the data show.
    """
    work = _Work(document, plan, pd.DataFrame())
    _read(work, r_dataset)
    _require_columns(work)
    work.stop_if_wrong()
    _identify_groups(work)
    _code_categories(work)
    _code_numbers(work)
    work.stop_if_wrong()
    missing = {v.source: int(work.frame[v.source].isna().sum()) for v in _analysed(plan)}
    rows_read, groups_before = len(work.frame), _counts(work)
    _drop_incomplete(work)
    _check_variation(work)
    work.stop_if_wrong()
    groups_lost = {
        name: before - after
        for (name, before), after in zip(groups_before.items(), _counts(work).values(), strict=True)
    }
    _transform(work)
    _centre(work)
    work.stop_if_wrong()
    return PreparedData(
        _final_columns(work),
        tuple(work.steps),
        missing,
        rows_read,
        groups_lost,
        tuple(work.files),
        tuple(work.notes),
    )


# --- reading and joining ----------------------------------------------------------------------


def _read(work: _Work, r_dataset: RDataset | None) -> None:
    spec = work.document.spec
    if spec.simulate is not None:
        group, outcome = work.plan.groups[0].id or "group", spec.outcome.name
        frame = simulate(spec.simulate, outcome, group, spec.levels[0].name)
        work.did(f"drew {len(frame):,} rows from the model of `simulate:`", "simulate(spec)", frame)
        return
    assert spec.data is not None
    first = _table(work, spec.data, ("data",), r_dataset)
    work.steps.append(PrepStep(f"read {first.description}", "read", 0, len(first.frame)))
    work.frame = first.frame
    for index, join in enumerate(spec.data.join):
        table = _table(work, join, ("data", "join", index), r_dataset)
        _join(work, table, join, index)


def _table(
    work: _Work, table: TableSpec, place: tuple[str | int, ...], r_dataset: RDataset | None
) -> sources.RawTable:
    where = work.document.locate(*place, "file") if table.file else work.document.locate(*place)
    if (table.file is None) == (table.package is None or table.dataset is None):
        raise InputError.of(
            "a table is a `file`, or a `package` with its `dataset`", "name one of the two", where
        )
    path = None if table.file is None else _allowed(work, table.file, where)
    shown = table.file or f"{table.package}::{table.dataset}"
    source = sources.DataSource(path, table.sheet, table.package, table.dataset, shown)
    found = sources.read(source, None, where, r_dataset)
    work.files.append((found.description, found.sha256))
    work.notes.extend(found.notes)
    return found


def _allowed(work: _Work, file: str, where: Location) -> Path:
    """The path of a data file, which a spec may name only in its own folder and those allowed."""
    own = work.document.path.parent
    path = own / file
    roots = [root.resolve() for root in (own, *work.document.roots)]
    if not any(path.resolve().is_relative_to(root) for root in roots):
        raise InputError.of(
            f"{file} lies outside of the folder of the spec",
            "put the data beside the spec, or allow their folder with --data-root DIR",
            where,
        )
    return path


def _join(work: _Work, table: sources.RawTable, join: JoinSpec, index: int) -> None:
    keys = [join.by] if isinstance(join.by, str) else list(join.by)
    place = ("data", "join", index, "by")
    for side, columns in (
        ("the lower table", work.frame),
        (join.file or join.dataset, table.frame),
    ):
        for key in keys:
            if key not in columns.columns:
                hint = did_you_mean(key, map(str, columns.columns))
                work.wrong(f"the column '{key}' to join by is not in {side}", hint, *place)
    work.stop_if_wrong()
    left, right = _same_keys(work.frame, table.frame, keys)
    repeated = right[keys].duplicated()
    if repeated.any():
        named = ", ".join(str(value) for value in right.loc[repeated, keys[0]].unique()[:3])
        work.wrong(
            f"the id is not unique in {join.file or join.dataset}: {int(repeated.sum())} rows repeat one ({named})",
            "a higher-level table has one row per unit",
            *place,
        )
    shared = [column for column in right.columns if column in left.columns and column not in keys]
    work.stop_if_wrong()
    joined = left.merge(
        right, on=keys, how="left", validate="m:1", indicator="_found", suffixes=("", _SECOND)
    )
    joined = _without_repeats(work, joined, shared, place)
    unmatched = joined.loc[joined["_found"] == "left_only", keys[0]].unique()
    if len(unmatched):
        named = ", ".join(str(value) for value in unmatched[:5])
        work.wrong(
            f"{len(unmatched)} of the ids in the lower table have no row in "
            f"{join.file or join.dataset}: {named}",
            "add them, or remove their rows",
            *place,
        )
    code = f"frame.merge(table, on={keys!r}, how='left', validate='m:1')"
    work.did(
        f"joined {table.description} by {', '.join(keys)}", code, joined.drop(columns="_found")
    )


_SECOND = "\N{NULL}second"


def _without_repeats(
    work: _Work, joined: pd.DataFrame, shared: Sequence[str], place: tuple[str | int, ...]
) -> pd.DataFrame:
    """A column that both tables have is kept once where they agree, and refused where not."""
    for column in shared:
        first, second = _as_ids(joined[column]), _as_ids(joined[column + _SECOND])
        if not (first.isna() == second.isna()).all() or (first.dropna() != second.dropna()).any():
            work.wrong(
                f"both tables have the column '{column}', with different values",
                "rename or remove one",
                *place,
            )
    return joined.drop(columns=[column + _SECOND for column in shared])


def _same_keys(
    left: pd.DataFrame, right: pd.DataFrame, keys: Sequence[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Ids read as numbers in one table and as text in the other are compared as text."""
    differing = [
        key
        for key in keys
        if pd.api.types.is_numeric_dtype(left[key]) != pd.api.types.is_numeric_dtype(right[key])
        or isinstance(left[key].dtype, pd.CategoricalDtype)
        or isinstance(right[key].dtype, pd.CategoricalDtype)
    ]
    if not differing:
        return left, right
    return (
        left.assign(**{key: _as_ids(left[key]) for key in differing}),
        right.assign(**{key: _as_ids(right[key]) for key in differing}),
    )


def _as_ids(column: pd.Series) -> pd.Series:
    """Ids as text; whole numbers without a decimal point."""
    if pd.api.types.is_float_dtype(column) and (column.dropna() % 1 == 0).all():
        column = column.astype("Int64")
    return column.astype("string").astype(object).where(column.notna(), None)


def _analysed(plan: Plan) -> tuple[Variable, ...]:
    """The outcome and the predictors that any model uses, one a source column."""
    unique = {variable.source: variable for variable in (plan.outcome, *plan.used)}
    return tuple(unique.values())


def _require_columns(work: _Work) -> None:
    columns = [str(column) for column in work.frame.columns]
    wanted: list[tuple[str, tuple[str | int, ...]]] = [
        (level.id, ("levels", level.index - 1, "id", "=")) for level in work.plan.levels if level.id
    ]
    wanted.append((work.plan.outcome.source, ("outcome", "name", "=")))
    for key, predictor in work.document.spec.predictors.items():
        at = ("predictors", key, "column", "=") if predictor.column else ("predictors", key)
        wanted.append((predictor.column or key, at))
    for name, place in wanted:
        if name not in columns:
            work.wrong(f"the data have no column '{name}'", did_you_mean(name, columns), *place)
    made = {v.column for v in work.plan.variables.values() if v.column != v.source}
    for name in sorted(made & set(columns)):
        key = next(v.key for v in work.plan.variables.values() if v.column == name)
        work.wrong(
            f"the data already have a column '{name}', which the preparation would make",
            "rename the column, or give the predictor another key with `column:`",
            "predictors",
            key,
        )


# --- groups, categories, numbers --------------------------------------------------------------


def _natural(text: str) -> list[tuple[int, int, str]]:
    """Sorts 2 before 10, and numbers before words."""
    parts = re.findall(r"[0-9]+|[^0-9]+", text)
    return [
        (0, int(part), "") if part.isdigit() and part.isascii() else (1, 0, part) for part in parts
    ]


def _categorical(values: pd.Series, levels: Sequence[str] | None = None) -> pd.Series:
    text = _as_ids(values)
    if levels is None:
        levels = sorted((str(value) for value in text.dropna().unique()), key=_natural)
    return pd.Series(pd.Categorical(text, categories=list(levels)), index=values.index)


def _identify_groups(work: _Work) -> None:
    frame = work.frame.copy(deep=False)
    by_name = {level.name: level for level in work.plan.levels}
    for level in work.plan.groups:
        assert level.id is not None
        place = ("levels", level.index - 1, "id")
        if frame[level.id].isna().all():
            work.wrong(f"the id '{level.id}' has no values", "name the id's column", *place)
            continue
        values = _as_ids(frame[level.id])
        if level.within:
            above = by_name[level.within].id
            assert above is not None
            values = (_as_ids(frame[above]) + ":" + values).where(values.notna(), None)
        frame[level.group] = _categorical(values)
        if frame[level.group].nunique() < 2:
            work.wrong(
                f"there is only one {level.name} in the data",
                "a level needs at least two groups, and about twenty to estimate a variance well",
                *place,
            )
    work.did("took the ids of the groups as categories", "astype('category')", frame)
    _check_nesting(work)
    _check_lowest_id(work)


def _check_nesting(work: _Work) -> None:
    if work.document.spec.structure == "crossed":
        return
    for lower, upper in zip(work.plan.groups, work.plan.groups[1:], strict=False):
        pairs = work.frame[[lower.group, upper.group]].dropna().drop_duplicates()
        repeated = pairs[lower.group].duplicated()
        if repeated.any():
            named = ", ".join(map(str, pairs.loc[repeated, lower.group].unique()[:3]))
            work.wrong(
                f"the {lower.name} ids {named} stand in more than one {upper.name}",
                f"if they are different {lower.plural}, write `within: {upper.name}` at the level; "
                "if they are the same ones, `structure: crossed`",
                "levels",
                lower.index - 1,
                "id",
            )


def _check_lowest_id(work: _Work) -> None:
    lowest = work.plan.levels[0]
    if not lowest.id or lowest.id not in work.frame:
        return
    keys = (
        [lowest.id, *(level.group for level in work.plan.groups)]
        if work.document.spec.time is None
        else []
    )
    if keys and work.frame[keys].duplicated().any():
        first = work.frame.loc[work.frame[keys].duplicated(), lowest.id].iloc[0]
        work.wrong(
            f"the id '{lowest.id}' is not unique: {first} stands twice in one {work.plan.groups[0].name}",
            "remove the duplicates, or leave out the lowest level's id",
            "levels",
            0,
            "id",
        )


def _code_categories(work: _Work) -> None:
    frame, coded = work.frame.copy(deep=False), []
    for key, predictor in work.document.spec.predictors.items():
        column = predictor.column or key
        if predictor.type != "category" or column not in frame:
            continue
        values = _recoded(work, key, predictor, frame[column])
        levels = _category_levels(work, key, predictor, values)
        frame[key] = _categorical(values, levels)
        coded.append(key)
    if coded:
        what = f"coded {', '.join(coded)} as categories, the reference first"
        work.did(what, "pd.Categorical(values, categories=[reference, ...])", frame)


def _recoded(work: _Work, key: str, predictor: PredictorSpec, values: pd.Series) -> pd.Series:
    text = _as_ids(values)
    if predictor.categories is None:
        return text
    unknown = sorted(set(text.dropna()) - set(predictor.categories))
    if unknown:
        work.wrong(
            f"predictor '{key}': the data have the codes {', '.join(unknown[:5])}, which `categories` lacks",
            "list every code",
            "predictors",
            key,
            "categories",
        )
    return text.map(predictor.categories)


def _category_levels(
    work: _Work, key: str, predictor: PredictorSpec, values: pd.Series
) -> list[str]:
    found = [str(value) for value in values.dropna().unique()]
    if predictor.categories is not None:
        levels = [label for label in predictor.categories.values() if label in found]
    elif isinstance(work.frame[predictor.column or key].dtype, pd.CategoricalDtype):
        declared = [str(value) for value in work.frame[predictor.column or key].cat.categories]
        levels = [value for value in declared if value in found]
    else:
        levels = sorted(found, key=_natural)
    if len(levels) > MAX_CATEGORIES:
        work.wrong(
            f"predictor '{key}' has {len(levels):,} categories",
            "is it an id, or a number?",
            "predictors",
            key,
        )
    if predictor.reference is None:
        return levels
    reference = str(predictor.reference)
    if reference not in levels:
        work.wrong(
            f"predictor '{key}': no row has the reference category '{reference}'",
            did_you_mean(reference, levels),
            "predictors",
            key,
            "reference",
            "=",
        )
        return levels
    return [reference, *(level for level in levels if level != reference)]


def _code_numbers(work: _Work) -> None:
    frame = work.frame.copy(deep=False)
    columns: dict[str, tuple[str | int, ...]] = {
        predictor.column or key: ("predictors", key)
        for key, predictor in work.document.spec.predictors.items()
        if predictor.type == "number"
    }
    columns[work.plan.outcome.source] = ("outcome", "name", "=")
    for column, place in columns.items():
        frame[column] = _number(work, column, frame[column], place)
    work.frame = frame


def _number(work: _Work, column: str, values: pd.Series, place: tuple[str | int, ...]) -> pd.Series:
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(object)
    numbers = pd.to_numeric(values, errors="coerce").astype("float64")
    bad = numbers.isna() & values.notna()
    if bad.any():
        row = int(np.flatnonzero(bad.to_numpy())[0])
        named = ", ".join(repr(str(value)) for value in values[bad].unique()[:3])
        commas = values[bad].astype(str).str.fullmatch(r"-?\d+,\d+").mean() > 0.9
        hint = (
            "decimal commas: write 3.14, not 3,14"
            if commas
            else ("for a predictor, `type: category`; else clean the column")
        )
        work.wrong(
            f"'{column}' is not a number in {int(bad.sum()):,} rows: {named} (first in data row {row + 1})",
            hint,
            *place,
        )
    infinite = np.isinf(numbers)
    if infinite.any():
        work.wrong(
            f"'{column}' is infinite in {int(infinite.sum()):,} rows", "clean the column", *place
        )
    if values.isna().all() and len(values):
        work.wrong(f"'{column}' has no values at all", "name another column", *place)
    return numbers


# --- the analysis sample ----------------------------------------------------------------------


def _counts(work: _Work) -> dict[str, int]:
    return {level.group: int(work.frame[level.group].nunique()) for level in work.plan.groups}


def _prepared_source(variable: Variable) -> str:
    return variable.key if variable.type == "category" else variable.source


def _drop_incomplete(work: _Work) -> None:
    needed = [_prepared_source(v) for v in _analysed(work.plan)]
    needed += [level.group for level in work.plan.groups]
    frame = work.frame.dropna(subset=needed)
    if frame.empty:
        work.wrong(
            "no row has values in all variables of the models",
            "leave out the variable that is missing most",
            "outcome",
        )
        return
    frame = frame.reset_index(drop=True)
    for column in frame.columns:
        if isinstance(frame[column].dtype, pd.CategoricalDtype):
            frame[column] = frame[column].cat.remove_unused_categories()
    work.did(
        "kept the rows that are complete in every variable of any model",
        f"frame.dropna(subset={needed!r})",
        frame,
    )


def _check_variation(work: _Work) -> None:
    frame, plan = work.frame, work.plan
    if frame[plan.outcome.source].nunique() < 2:
        work.wrong(
            f"the outcome '{plan.outcome.source}' is constant",
            "there is nothing to explain",
            "outcome",
        )
    for level in plan.groups:
        if frame[level.group].nunique() < 2:
            work.wrong(
                f"only one {level.name} is left after incomplete rows were dropped",
                "see which variable is missing most",
                "levels",
                level.index - 1,
            )
    for variable in plan.used:
        if variable.role == "mean":
            continue
        column = _prepared_source(variable)
        if frame[column].nunique() < 2:
            what = (
                "one category only" if variable.type == "category" else "the same value throughout"
            )
            work.wrong(
                f"predictor '{variable.key}' has {what}", "leave it out", "predictors", variable.key
            )
        elif variable.level > 1:
            _check_level(work, variable, column)


def _check_level(work: _Work, variable: Variable, column: str) -> None:
    """A variable of a higher level must be constant within that level's units."""
    level = work.plan.levels[variable.level - 1]
    distinct = work.frame.groupby(level.group, observed=True)[column].nunique()
    varying = distinct[distinct > 1]
    if len(varying):
        named = ", ".join(map(str, varying.index[:3]))
        work.wrong(
            f"predictor '{variable.key}' is said to be of the level '{level.name}', but varies within "
            f"{len(varying):,} of {len(distinct):,} {level.plural} (first: {named})",
            f"its level is '{work.plan.levels[0].name}', or the data have an error",
            "predictors",
            variable.key,
            "level",
            "=",
        )


# --- transforming and centring ----------------------------------------------------------------

_TRANSFORMS: Mapping[str, tuple[Callable[[pd.Series], pd.Series], float]] = {
    "log": (np.log, 0.0),
    "log2": (np.log2, 0.0),
    "log10": (np.log10, 0.0),
    "log1p": (np.log1p, -1.0),
    "sqrt": (np.sqrt, -np.nextafter(0, 1)),
}
"""The function, and the value that every observation must exceed."""


def _transform(work: _Work) -> None:
    spec, plan = work.document.spec, work.plan
    todo: list[tuple[str, str, str, tuple[str | int, ...]]] = []
    if spec.outcome.transform != "none":
        todo.append(
            (plan.outcome.source, plan.outcome.column, spec.outcome.transform, ("outcome",))
        )
    for key, predictor in spec.predictors.items():
        if predictor.transform != "none":
            target = f"{predictor.transform}_{key}"
            todo.append((predictor.column or key, target, predictor.transform, ("predictors", key)))
    for source, target, name, place in todo:
        function, bound = _TRANSFORMS[name]
        outside = int((work.frame[source] <= bound).sum())
        if outside:
            work.wrong(
                f"{name}() of '{source}' cannot be taken in {outside:,} rows",
                "log1p takes zeros, sqrt takes zeros; negative values need another transformation",
                *place,
                "transform",
            )
            continue
        frame = work.frame.assign(**{target: function(work.frame[source])})
        work.did(f"made {target} = {name}({source})", f"np.{name}(frame[{source!r}])", frame)


def _centre(work: _Work) -> None:
    spec = work.document.spec
    for variable in work.plan.variables.values():
        if variable.type == "category" or variable.role == "plain":
            _copy_plain(work, variable)
            continue
        predictor = spec.predictors[variable.key]
        source = variable.source
        if predictor.transform != "none":
            source = f"{predictor.transform}_{variable.key}"
        values = work.frame[source]
        made, what, code = _CENTRED[variable.role](work, variable, values, predictor)
        work.did(
            f"made {variable.column}: {source} {what}",
            code.format(source=source),
            work.frame.assign(**{variable.column: made}),
        )


def _copy_plain(work: _Work, variable: Variable) -> None:
    if variable.column not in work.frame:
        work.frame = work.frame.assign(**{variable.column: work.frame[variable.source]})


Centred = tuple[pd.Series, str, str]


def _group_means(work: _Work, values: pd.Series, level: Level) -> pd.Series:
    means: pd.Series = values.groupby(work.frame[level.group], observed=True).transform("mean")
    return means


def _within(work: _Work, variable: Variable, values: pd.Series, _: PredictorSpec) -> Centred:
    above = work.plan.levels[variable.level]
    code = f"frame[{{source!r}}] - frame.groupby('{above.group}')[{{source!r}}].transform('mean')"
    made = values - _units_mean(work, variable, values)
    return made, f"minus its mean in the {above.name}", code


def _units_mean(work: _Work, variable: Variable, values: pd.Series) -> pd.Series:
    """Means over the units of the variable's own level within the next level's groups."""
    above = work.plan.levels[variable.level]
    if variable.level == 1:
        return _group_means(work, values, above)
    own = work.plan.levels[variable.level - 1]
    units = pd.DataFrame({"v": values, "u": work.frame[own.group], "a": work.frame[above.group]})
    means = units.drop_duplicates("u").groupby("a", observed=True)["v"].mean()
    return work.frame[above.group].map(means).astype(float)


def _mean(work: _Work, variable: Variable, values: pd.Series, _: PredictorSpec) -> Centred:
    level = work.plan.levels[variable.level - 1]
    below = work.plan.levels[variable.level - 2]
    lower = Variable(
        variable.name,
        variable.column,
        variable.source,
        variable.key,
        below.index,
        "number",
        variable.label,
        variable.base_label,
        variable.unit,
        variable.role,
    )
    code = f"frame.groupby('{level.group}')[{{source!r}}].transform('mean')"
    return (
        _units_mean(work, lower, values),
        f"averaged over the {below.plural} of each {level.name}",
        code,
    )


def _grand(work: _Work, variable: Variable, values: pd.Series, predictor: PredictorSpec) -> Centred:
    if isinstance(predictor.center, float):
        return (
            values - predictor.center,
            f"minus {predictor.center:g}",
            f"frame[{{source!r}}] - {predictor.center!r}",
        )
    level = work.plan.levels[variable.level - 1]
    if variable.level == 1:
        return (
            values - values.mean(),
            "minus its mean over all rows",
            "frame[{source!r}] - frame[{source!r}].mean()",
        )
    units = values[~work.frame[level.group].duplicated()]
    what = f"minus its mean over the {len(units):,} {level.plural}"
    code = f"frame[{{source!r}}] - frame.drop_duplicates('{level.group}')[{{source!r}}].mean()"
    return values - units.mean(), what, code


_CENTRED: Mapping[str, Callable[[_Work, Variable, pd.Series, PredictorSpec], Centred]] = {
    "within": _within,
    "mean": _mean,
    "centred": _grand,
}


def _wanted(plan: Plan) -> Iterator[str]:
    yield from (level.group for level in plan.groups)
    if plan.levels[0].id:
        yield plan.levels[0].id
    yield plan.outcome.source
    yield plan.outcome.column
    for variable in plan.variables.values():
        yield variable.column
        if variable.type == "number":
            yield variable.source


def _final_columns(work: _Work) -> pd.DataFrame:
    """The columns of the analysis only, ids first, as a frame of its own."""
    columns = list(dict.fromkeys(_wanted(work.plan)))
    frame = work.frame[columns].copy()
    work.steps.append(
        PrepStep(
            "kept the columns of the analysis", f"frame[{columns!r}]", len(work.frame), len(frame)
        )
    )
    return frame
