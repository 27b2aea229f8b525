"""From the spec's tables to the one frame that every model uses.

Each verb is a function that takes a frame and returns a new one; each leaves a `PrepStep`. Problems
that only the data can show are collected, located in the spec, and raised together.
"""

from __future__ import annotations

import datetime as dt
import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlmreport.data import degenerate, filters, in_r, sources
from mlmreport.data.simulate import simulate
from mlmreport.data.written import twins, unwritable
from mlmreport.errors import InputError, Location, Problem, did_you_mean
from mlmreport.quantities import PrepStep
from mlmreport.spec import filters as conditions
from mlmreport.spec.contrasts import MOST_TRENDS, Coding, coding, with_codings
from mlmreport.spec.reader import Document
from mlmreport.spec.schema import JoinSpec, PredictorSpec, TableSpec
from mlmreport.spec.sequence import Plan
from mlmreport.spec.variables import Level, Variable, filters_of

__all__ = ["PreparedData", "prepare"]

RDataset = Callable[[str, str], pd.DataFrame]
Place = tuple[str | int, ...]
MAX_CATEGORIES = 100
"""More categories than this cannot be compared one by one with a reference."""


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
        Rows of the lowest-level table, without those that a filter left out.
    filtered
        The conditions on rows, with the number of rows that each left out.
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
    filtered: tuple[tuple[str, int], ...] = ()
    found: Mapping[str, str] = field(default_factory=dict)


@dataclass
class _Work:
    """The frame on its way, with what was done and what is wrong.

    `known` are the names of all columns of the tables, read or not; `bad` those read columns that
    cannot be used further, so that the others are examined all the same; `codes` are the numbers
    behind value labels; `untold` is R code for the next step, of what is too small for its own.
    """

    document: Document
    plan: Plan
    frame: pd.DataFrame
    problems: list[Problem] = field(default_factory=list)
    steps: list[PrepStep] = field(default_factory=list)
    files: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    known: dict[str, None] = field(default_factory=dict)
    bad: set[str] = field(default_factory=set)
    codes: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    untold: list[str] = field(default_factory=list)
    filtered: list[tuple[str, int]] = field(default_factory=list)
    found: dict[str, str] = field(default_factory=dict)

    def did(self, action: str, code: str, frame: pd.DataFrame, r: str | None) -> None:
        """Take a new frame and write down what led to it, in pandas and in R."""
        told = None if r is None else "\n".join(filter(None, [*self.untold, r]))
        self.steps.append(PrepStep(action, code, len(self.frame), len(frame), told))
        self.frame = frame
        self.untold.clear()

    def wrong(self, message: str, hint: str, *path: str | int) -> None:
        """Note a problem located at a key of the spec."""
        self.problems.append(self.document.problem(message, hint, *path))

    def stop_if_wrong(self) -> None:
        """Raise all problems noted so far."""
        if self.problems:
            raise InputError(tuple(self.problems))

    def usable(self, column: str) -> bool:
        """Whether a column is there and nothing is wrong with it."""
        return column in self.frame and column not in self.bad


def prepare(
    document: Document,
    plan: Plan,
    r_dataset: RDataset | None = None,
    earlier: Sequence[Problem] = (),
) -> PreparedData:
    """Read, join, check, code, delete, transform and centre.

    Parameters
    ----------
    document, plan
        The spec and what follows from it.
    r_dataset
        Fetches a data set of an R package.
    earlier
        Problems found in the spec before, to be raised together with those of the data.

    Raises
    ------
    InputError
        With every problem that the data show, and the earlier ones.
    """
    work = _Work(document, plan, pd.DataFrame(), list(earlier))
    try:
        _read(work, r_dataset)
    except InputError as error:
        raise InputError((*work.problems, *error.problems)) from None
    _select(work)
    _require_columns(work)
    _identify_groups(work)
    _code_categories(work)
    _code_numbers(work)
    missing = {
        v.source: int(work.frame[v.source].isna().sum())
        for v in _analysed(plan)
        if v.source in work.frame
    }
    rows_read, groups_before = len(work.frame), _counts(work)
    _drop_incomplete(work)
    _check_variation(work)
    _check_adjustments(work)
    _check_named_groups(work)
    _check_degenerate(work, degenerate.out_of_range(work.frame, _good(work)))
    work.stop_if_wrong()
    groups_lost = {name: groups_before[name] - after for name, after in _counts(work).items()}
    _transform(work)
    work.stop_if_wrong()
    _centre(work)
    _check_prepared(work)
    work.stop_if_wrong()
    _check_degenerate(work, degenerate.exact(work.frame, plan))
    work.stop_if_wrong()
    return PreparedData(
        _final_columns(work),
        tuple(work.steps),
        missing,
        rows_read,
        groups_lost,
        tuple(work.files),
        tuple(dict.fromkeys(work.notes)),
        tuple(work.filtered),
        dict(work.found),
    )


# --- reading and joining ----------------------------------------------------------------------


def _read(work: _Work, r_dataset: RDataset | None) -> None:
    spec = work.document.spec
    if spec.simulate is not None:
        group, outcome = work.plan.groups[0].id or "group", spec.outcome.name
        frame = simulate(spec.simulate, outcome, group, spec.levels[0].name)
        work.did(
            f"drew {len(frame):,} rows from the model of `simulate:`", "simulate(spec)", frame, None
        )
        work.known |= dict.fromkeys(map(str, frame.columns))
        return
    assert spec.data is not None
    wanted = {name for name, _ in _named_columns(work)} | _join_keys(work)
    wanted |= set(_filtered_by(work))
    first = _table(work, spec.data, wanted, ("data",), r_dataset)
    r = in_r.table(first.r_code, list(map(str, first.frame)))
    work.steps.append(PrepStep(f"read {first.description}", "read", 0, len(first.frame), r))
    work.frame = first.frame
    for index, join in enumerate(spec.data.join):
        table = _table(work, join, wanted, ("data", "join", index), r_dataset)
        _join(work, table, join, index)


def _keys(join: JoinSpec) -> list[str]:
    return [join.by] if isinstance(join.by, str) else list(dict.fromkeys(join.by))


def _join_keys(work: _Work) -> set[str]:
    data = work.document.spec.data
    return {key for join in data.join for key in _keys(join)} if data else set()


def _written_columns(work: _Work) -> set[str]:
    """Ids, categories and keys: what is kept as it is written."""
    predictors = work.document.spec.predictors.items()
    categories = {p.column or key for key, p in predictors if p.type == "category"}
    ids = {level.id for level in work.plan.levels if level.id}
    return ids | categories | _join_keys(work)


def _table(
    work: _Work,
    table: TableSpec,
    wanted: Collection[str],
    place: Place,
    r_dataset: RDataset | None,
) -> sources.RawTable:
    """Of a table the columns that the spec names; what else it holds is never read."""

    def choose(header: Sequence[str]) -> Sequence[str]:
        work.known |= dict.fromkeys(header)
        return [name for name in header if name in wanted] or header[:1]

    where = work.document.locate(*place, "file") if table.file else work.document.locate(*place)
    if (table.file is None) == (table.package is None or table.dataset is None):
        raise InputError.of(
            "a table is a `file`, or a `package` with its `dataset`", "name one of the two", where
        )
    path = None if table.file is None else _found(work, table.file, where)
    shown = work.found.get(table.file or "", table.file) or f"{table.package}::{table.dataset}"
    source = sources.DataSource(path, table.sheet, table.package, table.dataset, shown)
    written = _written_columns(work)
    found = sources.read(source, choose, where, r_dataset, written)
    work.files.append((found.description, found.sha256))
    alike = (twins(name, found.frame[name]) for name in found.frame if name in written)
    work.notes.extend(dict.fromkeys([*found.notes, *filter(None, alike)]))
    work.codes |= found.codes
    return found


def _found(work: _Work, file: str, where: Location) -> Path:
    """The path of a data file: in the spec's own folder, or the first data root that has it."""
    own = work.document.path.parent / file
    found, folders = work.document.files(file), work.document.folders
    first, *others = found or (Path(os.path.realpath(own)),)
    if not work.document.allows(first):
        raise InputError.of(
            f"{file} lies outside of the folder of the spec",
            "put the data beside the spec, or allow their folder with --data-root DIR",
            where,
        )
    if not found and len(folders) > 1:
        looked = ", ".join(map(str, folders))
        names = [entry.name for folder in folders if folder.is_dir() for entry in folder.iterdir()]
        near = did_you_mean(file, names) if file in {Path(file).name} else ""
        near = f"; {near}" if near.startswith("did you mean") else ""
        raise InputError.of(f"there is no file {file}", f"looked in {looked}{near}", where)
    if others:
        also = ", ".join(map(str, others))
        work.notes.append(f"{file} is in several folders: {first} was read, not {also}")
    if first == Path(os.path.realpath(own)):
        return own
    relative = os.path.relpath(first, work.document.path.parent.resolve())
    work.found[file] = Path(relative).as_posix()
    return first


def _join(work: _Work, table: sources.RawTable, join: JoinSpec, index: int) -> None:
    keys, shown = _keys(join), join.file or join.dataset
    place = ("data", "join", index, "by")
    for side, columns in (("the lower table", work.frame.columns), (shown, table.frame.columns)):
        for key in keys:
            if key not in columns:
                hint = did_you_mean(key, work.known)
                work.wrong(f"the column '{key}' to join by is not in {side}", hint, *place)
    work.stop_if_wrong()
    left, right = _same_keys(work.frame, table.frame.dropna(subset=keys), keys)
    repeated = right[keys].duplicated()
    if repeated.any():
        named = _few(right.loc[repeated, keys[0]].unique())
        work.wrong(
            f"the id is not unique in {shown}: {int(repeated.sum())} rows repeat one ({named})",
            "a higher-level table has one row per unit",
            *place,
        )
        work.stop_if_wrong()
    shared = [column for column in right.columns if column in left.columns and column not in keys]
    joined = left.merge(
        right, on=keys, how="left", validate="m:1", indicator=_FOUND, suffixes=("", _SECOND)
    )
    joined = _without_repeats(work, joined, shared, place)
    alone = (joined[_FOUND] == "left_only") & joined[keys].notna().all(axis=1)
    if alone.any():
        missing = joined.loc[alone, keys[0]].unique()
        work.wrong(
            f"{len(missing):,} of the ids in the lower table have no row in {shown}: "
            f"{_few(missing)}",
            f"add them, or remove their rows; ids there are {_few(right[keys[0]].unique())}",
            *place,
        )
    code = f"frame.merge(table, on={keys!r}, how='left', validate='m:1')"
    what = f"joined {table.description} by {', '.join(keys)}"
    r = in_r.joined(table.r_code, list(map(str, table.frame)), keys)
    work.did(what, code, joined.drop(columns=_FOUND), r)


# A zero byte can stand in no column that a spec names.
_SECOND = "\N{NULL}second"
_FOUND = "\N{NULL}found"


def _few(values: Iterable[object], most: int = 5) -> str:
    """The first few values, for a message."""
    shown = [str(value) for value in islice(values, most + 1)]
    return ", ".join(shown[:most]) + (", ..." if len(shown) > most else "")


def _without_repeats(
    work: _Work, joined: pd.DataFrame, shared: Sequence[str], place: Place
) -> pd.DataFrame:
    """A column that both tables have is kept once where they agree, and refused where not."""
    found = joined[_FOUND] == "both"
    for column in shared:
        first, second = _as_text(joined[column]), _as_text(joined[column + _SECOND])
        if ((first != second) & found & ~(first.isna() & second.isna())).any():
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
    differing = [key for key in keys if left[key].dtype != right[key].dtype]
    if not differing:
        return left, right
    return (
        left.assign(**{key: _as_text(left[key]) for key in differing}),
        right.assign(**{key: _as_text(right[key]) for key in differing}),
    )


# --- ids and categories as codes of texts -----------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Coded:
    """A column as positions in a list of distinct texts, -1 where there is no value."""

    codes: np.ndarray
    texts: list[str]

    @property
    def present(self) -> list[str]:
        """The texts that stand in any row."""
        counts = np.bincount(self.codes + 1, minlength=len(self.texts) + 1)[1:]
        return [text for text, n in zip(self.texts, counts, strict=True) if n]

    def recoded(self, texts: Sequence[str | None]) -> _Coded:
        """The same with other texts, None for no value; equal ones become one."""
        codes, distinct = pd.factorize(np.array([*texts, None], dtype=object))
        return _Coded(codes[self.codes], [str(text) for text in distinct])

    def categorical(self, levels: Sequence[str]) -> pd.Categorical[str]:
        """The column with its categories in a given order."""
        place = {level: i for i, level in enumerate(levels)}
        order = np.array([*(place.get(text, -1) for text in self.texts), -1], dtype=np.int64)
        return pd.Categorical.from_codes(order[self.codes], categories=pd.Index(list(levels)))


def _coded(column: pd.Series) -> _Coded:
    """A column of any type as codes; only its distinct values are turned into text."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        codes, distinct = column.cat.codes.to_numpy(), column.cat.categories
    else:
        codes, distinct = pd.factorize(column)
    texts = [_text(value) for value in distinct]
    # The values 1 and "1" of a mixed column read the same.
    return _Coded(codes, texts).recoded(texts)


def _text(value: object) -> str:
    """A value as its reader writes it: whole numbers without a decimal point, days without time."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = str(value)
    return text.removesuffix(" 00:00:00") if isinstance(value, pd.Timestamp) else text


def _as_text(column: pd.Series) -> pd.Series:
    coded = _coded(column)
    texts = np.array([*coded.texts, None], dtype=object)
    return pd.Series(texts[coded.codes], index=column.index, dtype=object)


def _natural(text: str) -> list[tuple[int, int, str]]:
    """Sorts 2 before 10, and numbers before words."""
    parts = re.findall(r"[0-9]{1,300}|[^0-9]+", text)
    return [
        (0, int(part), "") if part.isdigit() and part.isascii() else (1, 0, part) for part in parts
    ]


def _analysed(plan: Plan) -> tuple[Variable, ...]:
    """The outcome and the predictors that any model uses, one a source column."""
    unique = {variable.source: variable for variable in (plan.outcome, *plan.used)}
    return tuple(unique.values())


def _named_columns(work: _Work) -> Iterator[tuple[str, Place]]:
    """The columns that the spec names, and where."""
    for level in work.plan.levels:
        if level.id:
            yield level.id, ("levels", level.index - 1, "id", "=")
    yield work.plan.outcome.source, ("outcome", "name", "=")
    for key, predictor in work.document.spec.predictors.items():
        at = ("predictors", key, "column", "=") if predictor.column else ("predictors", key)
        yield predictor.column or key, at
    yield from _adjustments(work).items()


def _adjustments(work: _Work) -> dict[str, Place]:
    """The columns of prior weights and of the offset."""
    estimation = work.document.spec.estimation
    named = {"weights": estimation.weights, "offset": estimation.offset}
    ids = {level.id for level in work.plan.levels}  # refused before, and left as they are
    return {n: ("estimation", key, "=") for key, n in named.items() if n and n not in ids}


def _require_columns(work: _Work) -> None:
    for name, place in _named_columns(work):
        if name not in work.frame:
            hint = did_you_mean(name, work.known)
            work.wrong(f"the data have no column '{name}'", hint, *place)
    made = {v.column: v.key for v in work.plan.variables.values() if v.column != v.source}
    for name in sorted(made.keys() & set(work.frame.columns)):
        work.wrong(
            f"the spec uses a column '{name}' of the data, and this predictor would make one",
            "rename the column, or give the predictor another key with `column:`",
            "predictors",
            made[name],
        )


# --- the rows to analyse ------------------------------------------------------------------------


def _conditions(work: _Work) -> Iterator[tuple[str, Location, conditions.Condition]]:
    """The filters; one that is none has been told of before."""
    for text, where in filters_of(work.document):
        with suppress(InputError):
            yield text, where, conditions.parse(text, where)


def _filtered_by(work: _Work) -> Iterator[str]:
    """The columns that filters may mean."""
    for _, _, condition in _conditions(work):
        yield from (word.name for word in conditions.words_in(condition))


def _select(work: _Work) -> None:
    """Keep the rows that meet all filters; they are numbered as in the table."""
    for written, where, _ in list(_conditions(work)):
        text = " ".join(written.split())
        names = [*work.known, *work.document.spec.predictors]
        try:
            holds, notes = filters.evaluate(written, where, partial(_seen, work), names)
        except InputError as error:
            work.problems.extend(error.problems)
            continue
        _keep(work, text, where, holds)
        work.notes.extend(notes)


def _keep(work: _Work, text: str, where: Location, holds: filters.Holds) -> None:
    rows, unknown = len(work.frame), int((~holds.true & ~holds.false).sum())
    dropped = rows - int(holds.true.sum())
    if dropped == rows:
        hint = "compare it with the values in the data"
        raise InputError((*work.problems, Problem(f"no row meets `{text}`", hint, where)))
    if not dropped:
        work.notes.append(f"The filter `{text}` leaves out no row")
    gaps = f", {unknown:,} of them for a missing value" if unknown else ""
    first = not work.filtered
    work.filtered.append((text, dropped))
    work.did(
        f"kept the rows with `{text}`: {dropped:,} of {rows:,} left out{gaps}",
        f"frame[{holds.code}]",
        work.frame[holds.true],
        in_r.where(holds.r, first=first),
    )


def _seen(work: _Work, name: str) -> filters.Column | None:
    """A column as conditions see it; a predictor's key stands for its column."""
    predictor = work.document.spec.predictors.get(name)
    column = (predictor.column or name) if predictor else name
    if column not in work.frame:
        return None
    values, raw = work.frame[column], in_r.column(column)
    coded, text, aliases = _coded(values), f"as_text({raw})", _aliases(work, column, values)
    labels = predictor.categories if predictor else None
    if labels is not None:
        written = _code_texts(work, column, labels)
        codes = {text: written.get(text, written.get(text.lower(), "")) for text in coded.texts}
        shown = {text: labels[code] for text, code in codes.items() if code}
        aliases |= {code: labels[code] for code in labels} | shown
        coded = coded.recoded([shown.get(text, text) for text in coded.texts])
        text = in_r.relabelled(text, shown)
    numbers = None if labels is not None else _as_numbers(work, column, values, coded)
    return filters.Column(
        name,
        coded.codes,
        coded.texts,
        numbers,
        numbers is not None and values.dtype.kind in "iuf",
        aliases,
        f"frame[{column!r}]",
        text,
        f"as_number({raw})",
    )


def _aliases(work: _Work, column: str, values: pd.Series) -> dict[str, str]:
    """What else a text may be called: the code behind a value label, a truth value in any case."""
    if values.dtype.kind == "b" or set(_coded(values).texts) <= {"True", "False"}:
        return {word: word.title() for word in ("true", "false", "TRUE", "FALSE")}
    return {_text(code): label for label, code in work.codes.get(column, {}).items()}


def _as_numbers(work: _Work, column: str, values: pd.Series, coded: _Coded) -> np.ndarray | None:
    """A column as numbers; None where a value is none."""
    if values.dtype.kind in "iufb":
        return values.to_numpy(dtype="float64", na_value=np.nan)
    labels = work.codes.get(column, {})
    numbers = [_plain_number(labels.get(text, text)) for text in coded.texts]
    if None in numbers:
        return None
    found: np.ndarray = np.array([*numbers, np.nan], dtype="float64")[coded.codes]
    return found


def _plain_number(value: object) -> float | None:
    """A text as a number if R reads it as the same number."""
    text = {"True": "1", "False": "0"}.get(str(value), str(value))
    return float(text) if _NUMBER.fullmatch(text) else None


_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")


# --- groups, categories, numbers --------------------------------------------------------------


def _identify_groups(work: _Work) -> None:
    frame, lines = work.frame.copy(deep=False), []
    # From the top down, because an id that is unique within a group only is joined to the group's.
    for level in reversed(work.plan.groups):
        assert level.id is not None
        if level.id in frame:
            frame[level.group] = _group_ids(work, level, frame)
            lines.append(in_r.group(level.group, level.id, _columns_above(work, level)))
    what = "took the ids of the groups as categories"
    work.did(what, "astype('category')", frame, "\n".join(lines))
    _check_nesting(work)
    _check_lowest_id(work)


def _group_ids(work: _Work, level: Level, frame: pd.DataFrame) -> pd.Categorical[str]:
    place = ("levels", level.index - 1, "id", "=")
    coded = _coded(frame[str(level.id)])
    blank = [text for text in coded.present if not text.strip()]
    broken = unwritable(coded.present)
    if broken:
        work.wrong(f"the id '{level.id}' {_BROKEN}: {broken!a}", _MEND, *place)
    if not coded.present:
        work.wrong(f"the id '{level.id}' has no values", "name the id's column", *place)
    elif blank:
        message = f"the id '{level.id}' is an empty text in some rows"
        work.wrong(message, "give them an id, or remove the rows", *place)
    elif len(coded.present) < 2 and not level.within:
        work.wrong(
            f"there is only one {level.name} in the data",
            "a level needs at least two groups, and about twenty to estimate a variance well",
            *place,
        )
    above: _Coded | None = None
    for column in _columns_above(work, level):
        if column in frame:
            further = _coded(frame[column])
            above = further if above is None else _within_ids(further, above)
    coded = coded if above is None else _within_ids(coded, above)
    return coded.categorical(sorted(coded.present, key=_natural))


def _columns_above(work: _Work, level: Level) -> list[str]:
    """The columns of the levels and the factors that a level lies within."""
    groups = {other.name: other.group for other in work.plan.groups}
    predictors = work.document.spec.predictors
    return [groups.get(name) or predictors[name].column or name for name in level.within]


_BROKEN = "has a zero byte or a carriage return in a value, which R's data files cannot hold"
_MEND = "remove the character from the data"


def _within_ids(own: _Coded, above: _Coded) -> _Coded:
    """The pairs of two ids as ids."""
    width = len(own.texts) + 1
    pairs = np.where((own.codes < 0) | (above.codes < 0), -1, above.codes * width + own.codes)
    codes, distinct = pd.factorize(pd.Series(pairs).where(pairs >= 0))
    parts = [divmod(int(pair), width) for pair in distinct]
    for mark in (":", "/", " / ", " within "):
        texts = [f"{above.texts[i]}{mark}{own.texts[j]}" for i, j in parts]
        if len(set(texts)) == len(texts):
            break
    return _Coded(codes, texts)


def _check_nesting(work: _Work) -> None:
    if work.document.spec.structure == "crossed":
        return
    for lower, upper in pairwise(work.plan.groups):
        if not (work.usable(lower.group) and work.usable(upper.group)):
            continue
        pairs = work.frame[[lower.group, upper.group]].dropna().drop_duplicates()
        repeated = pairs[lower.group].duplicated()
        if repeated.any():
            named = _few(pairs.loc[repeated, lower.group].unique(), 3)
            work.wrong(
                f"the {lower.name} ids {named} stand in more than one {upper.name}",
                f"if they are different {lower.plural}, write `within: {upper.name}` at the level; "
                "if they are the same ones, `structure: crossed`",
                "levels",
                lower.index - 1,
                "id",
            )


def _check_lowest_id(work: _Work) -> None:
    lowest, groups = work.plan.levels[0], [level.group for level in work.plan.groups]
    if not lowest.id or work.document.spec.time is not None:
        return
    if not all(work.usable(column) for column in (lowest.id, *groups)):
        return
    ids = work.frame[[lowest.id, *groups]].dropna()
    repeated = ids.duplicated()
    if repeated.any():
        named = _few(ids.loc[repeated, lowest.id].unique(), 3)
        work.wrong(
            f"the id '{lowest.id}' is not unique: {int(repeated.sum()):,} rows repeat one within "
            f"the same {work.plan.groups[0].name} ({named})",
            "remove the duplicates, or leave out the lowest level's id",
            "levels",
            0,
            "id",
        )


def _code_categories(work: _Work) -> None:
    frame, coded, lines = work.frame.copy(deep=False), [], []
    for key, predictor in work.document.spec.predictors.items():
        column = predictor.column or key
        if predictor.type != "category" or column not in frame:
            continue
        raw = _coded(frame[column])
        values = _recoded(work, key, predictor, raw)
        lines.append(in_r.category(key, column, _labels(raw, values, predictor)))
        levels = _category_levels(work, key, predictor, values)
        frame[key] = values.categorical(levels)
        coded.append(key)
    if coded:
        what = f"coded {', '.join(coded)} as categories, the reference, if any, first"
        code = "pd.Categorical(values, categories=[reference, ...])"
        work.did(what, code, frame, "\n".join(lines))


def _labels(raw: _Coded, coded: _Coded, predictor: PredictorSpec) -> Mapping[str, str] | None:
    """For each text in the data its label; None where texts stay as they are."""
    if predictor.categories is None:
        return None
    pairs = dict(zip(raw.codes.tolist(), coded.codes.tolist(), strict=True))
    return {raw.texts[a]: coded.texts[b] for a, b in sorted(pairs.items()) if a >= 0 and b >= 0}


def _recoded(work: _Work, key: str, predictor: PredictorSpec, values: _Coded) -> _Coded:
    """The labels of `categories` in place of the codes."""
    if predictor.categories is None:
        return values
    keys = _code_texts(work, predictor.column or key, predictor.categories)
    labels = {name: predictor.categories[written] for name, written in keys.items()}
    found = values.present
    cases = Counter(text.lower() for text in found)
    texts = [
        labels.get(text, labels.get(text.lower()) if cases[text.lower()] < 2 else None)
        for text in values.texts
    ]
    unknown = [
        text
        for text, label in zip(values.texts, texts, strict=True)
        if label is None and text in found
    ]
    if unknown:
        work.bad.add(key)
        work.wrong(
            f"predictor '{key}': the data have {_few(unknown)}, which `categories` lacks",
            "list every code",
            "predictors",
            key,
            "categories",
        )
    return values.recoded(texts)


def _code_texts(work: _Work, column: str, written: Iterable[str]) -> dict[str, str]:
    """What stands in the data -> the key as written: a code may stand for its value label."""
    labels = {_text(code): label for label, code in work.codes.get(column, {}).items()}
    keys = list(written)
    cases = Counter(key.lower() for key in keys)
    loose = {key.lower(): key for key in keys if cases[key.lower()] < 2}
    labelled = {labels[key]: key for key in keys if key in labels}
    return loose | labelled | {key: key for key in keys}


def _category_levels(work: _Work, key: str, predictor: PredictorSpec, values: _Coded) -> list[str]:
    found = values.present
    if predictor.categories is not None:
        wanted = dict.fromkeys(predictor.categories.values())
        levels = [label for label in wanted if label in found]
    elif isinstance(work.frame[predictor.column or key].dtype, pd.CategoricalDtype):
        levels = [text for text in values.texts if text in set(found)]
    else:
        levels = sorted(found, key=_natural)
    fault = _category_fault(levels, predictor.coding)
    if fault:
        work.bad.add(key)
        work.wrong(f"predictor '{key}' {fault[0]}", fault[1], "predictors", key)
    elif predictor.reference is not None:
        return _with_reference(work, key, predictor, levels)
    return levels


def _category_fault(levels: Sequence[str], coding: str) -> tuple[str, str] | None:
    if not levels:
        return "has no values at all", "name another column, or leave it out"
    if any(not level.strip() for level in levels):
        return "has an empty text as a category", "name it, or clean the column"
    if broken := unwritable(levels):
        return f"{_BROKEN}: {broken!a}", _MEND
    if len(levels) > MAX_CATEGORIES:
        return (
            f"has {len(levels):,} categories, more than the {MAX_CATEGORIES} that can be compared "
            "with a reference one by one",
            "an id belongs to `levels`, a measurement is `type: number`; else join categories",
        )
    if coding == "polynomial" and len(levels) > MOST_TRENDS:
        return (
            f"has {len(levels):,} categories, too many for a trend of each degree",
            "declare it as a number, with a term such as poly(x, 2)",
        )
    return None


def _reference(work: _Work, key: str, predictor: PredictorSpec, levels: Sequence[str]) -> str:
    """The reference as the spec writes it where a category has that text, `1.10` and not 1.1."""
    place = work.document.locate("predictors", key, "reference", "=")
    written = place.excerpt[place.column - 1 :][: place.length]
    number = isinstance(predictor.reference, int | float)
    named = {*levels, *(predictor.categories or {})}
    return written if number and written in named else _text(predictor.reference)


def _with_reference(
    work: _Work, key: str, predictor: PredictorSpec, levels: Sequence[str]
) -> list[str]:
    """The reference first, which may be given as it stands in the data or as it is shown."""
    wanted, shown = _reference(work, key, predictor, levels), predictor.categories or {}
    names = _code_texts(work, predictor.column or key, [wanted, *shown])
    cases = Counter(level.lower() for level in levels)
    by_case = {level.lower(): level for level in levels if cases[level.lower()] < 2}
    labels = {code: label for label, code in work.codes.get(predictor.column or key, {}).items()}
    label = next((text for code, text in labels.items() if _text(code) == wanted), wanted)
    for candidate in (wanted, shown.get(wanted), shown.get(names.get(label, label)), label):
        if candidate in levels:
            return [str(candidate), *(level for level in levels if level != candidate)]
    if wanted.lower() in by_case:
        reference = by_case[wanted.lower()]
        return [reference, *(level for level in levels if level != reference)]
    work.wrong(
        f"predictor '{key}': no row has the reference category '{wanted}'",
        did_you_mean(wanted, levels),
        "predictors",
        key,
        "reference",
        "=",
    )
    return list(levels)


def _code_numbers(work: _Work) -> None:
    frame = work.frame.copy(deep=False)
    for column, place in _number_columns(work).items():
        if column not in frame:
            continue
        if twice := _coded_as(work, column):
            work.bad.add(column)
            work.wrong(
                f"'{column}' is {twice[0]} already, and cannot be a number", twice[1], *place
            )
            continue
        numbers, fault = _number(work, column, frame[column])
        if fault:
            work.bad.add(column)
            work.wrong(f"'{column}' {fault[0]}", fault[1], *place)
        frame[column] = numbers
    work.frame = frame
    work.untold.append(in_r.numbers(name for name in _number_columns(work) if name in frame))


def _coded_as(work: _Work, column: str) -> tuple[str, str] | None:
    """What else the column is that the preparation writes codes of, and what to do about it."""
    level = next((level for level in work.plan.groups if level.group == column), None)
    if level:
        return f"the id of the {level.name}", "copy the column under another name in the data"
    predictor = work.document.spec.predictors.get(column)
    if predictor and predictor.type == "category":
        return "a category", f"give the category another key, with `column: {column}`"
    return None


def _number_columns(work: _Work) -> dict[str, Place]:
    columns: dict[str, Place] = {}
    groups = {level.group for level in work.plan.groups}
    for key, predictor in work.document.spec.predictors.items():
        if predictor.type == "number":
            at = ("column", "=") if predictor.column else ()
            columns.setdefault(predictor.column or key, ("predictors", key, *at))
    for column, place in _adjustments(work).items():
        columns.setdefault(column, place)
    columns[work.plan.outcome.source] = ("outcome", "name", "=")
    # An id that the spec also has as a number was refused before.
    return {name: place for name, place in columns.items() if name not in groups}


def _number(
    work: _Work, column: str, values: pd.Series
) -> tuple[pd.Series, tuple[str, str] | None]:
    """The column as numbers, and what is wrong with it."""
    if values.isna().all():
        empty = pd.Series(np.nan, index=values.index)
        return empty, ("has no values at all", "name another column")
    if values.dtype.kind in "mM" or isinstance(values.dropna().iloc[0], _MOMENTS):
        nothing = pd.Series(np.nan, index=values.index)
        return nothing, ("is a date or a time", "make a number of it, such as days since the start")
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(object)
        values = values.map(work.codes[column]) if column in work.codes else values
    numbers = pd.to_numeric(values, errors="coerce").astype("float64")
    bad = numbers.isna() & values.notna()
    if bad.any():
        return numbers, _not_numbers(values, bad, column == work.plan.outcome.source)
    infinite = int(np.isinf(numbers).sum())
    return numbers, (f"is infinite in {infinite:,} rows", "clean the column") if infinite else None


_MOMENTS = (dt.date, dt.time, dt.timedelta)


def _not_numbers(values: pd.Series, bad: pd.Series, outcome: bool) -> tuple[str, str]:
    row = int(values.index[bad][0])
    named = _few((repr(str(value)) for value in values[bad].unique()), 3)
    hint = "for a predictor that is a category, `type: category`; else clean the column"
    if values[bad].astype(str).str.fullmatch(r"-?\d+,\d+").mean() > 0.9:
        hint = "decimal commas: write 3.14, not 3,14"
    elif outcome:
        hint = "the outcome of a linear model is a number; name another column or clean this one"
    message = f"is not a number in {int(bad.sum()):,} rows: {named} (first in data row {row + 1})"
    return message, hint


# --- the analysis sample ----------------------------------------------------------------------


def _counts(work: _Work) -> dict[str, int]:
    return {
        level.group: int(work.frame[level.group].nunique())
        for level in work.plan.groups
        if work.usable(level.group)
    }


def _prepared_source(variable: Variable) -> str:
    return variable.key if variable.type == "category" else variable.source


def _needed(work: _Work) -> list[str]:
    """The columns in which a row must have values, as far as nothing is wrong with them."""
    plan = work.plan
    columns = [_prepared_source(variable) for variable in (plan.outcome, *plan.used)]
    time = plan.variables.get(work.document.spec.time or "")
    columns += [time.source] if time else []
    columns += [level.group for level in plan.groups]
    return [column for column in dict.fromkeys(columns) if work.usable(column)]


def _drop_incomplete(work: _Work) -> None:
    needed = _needed(work)
    frame = work.frame.dropna(subset=needed)
    if frame.empty:
        gaps = work.frame[needed].isna().sum().sort_values(ascending=False)
        worst = ", ".join(f"{name} ({int(n):,})" for name, n in gaps.head(3).items() if n)
        work.wrong(
            "no row has values in all variables of the models",
            f"most are missing in {worst}, of {len(work.frame):,} rows",
            "outcome",
        )
        return
    frame, before = frame.reset_index(drop=True), work.frame
    for column in frame.columns:
        if isinstance(frame[column].dtype, pd.CategoricalDtype):
            frame[column] = frame[column].cat.remove_unused_categories()
    work.did(
        "kept the rows that are complete in every variable of any model",
        f"frame.dropna(subset={needed!r})",
        frame,
        in_r.complete(needed),
    )
    for variable in work.plan.used:
        _check_reference(work, variable, before)
        if empty := _empty_categories(work, variable):
            work.did(
                f"left out what no row has: {', '.join(empty)} ({variable.label})",
                f"frame[{variable.key!r}].cat.remove_unused_categories()",
                frame,
                "",
            )


def _check_reference(work: _Work, variable: Variable, before: pd.DataFrame) -> None:
    """The category that others are compared with must not be lost with incomplete rows."""
    predictor, key = work.document.spec.predictors[variable.key], variable.key
    if variable.type != "category" or predictor.reference is None or not work.usable(key):
        return
    wanted, left = before[key].cat.categories[0], list(work.frame[key].cat.categories)
    if left and wanted not in left:
        message = f"predictor '{key}': no complete row has the reference category '{wanted}'"
        hint = f"choose another one; left are {_few(left)}"
        work.wrong(message, hint, "predictors", key, "reference", "=")


def _empty_categories(work: _Work, variable: Variable) -> list[str]:
    """The categories that the spec names for a predictor and that no row is left of."""
    named = work.document.spec.predictors[variable.key].categories
    if variable.type != "category" or not named or not work.usable(variable.key):
        return []
    left = set(map(str, work.frame[variable.key].cat.categories))
    return [label for label in named.values() if label not in left]


def _check_variation(work: _Work) -> None:
    plan, outcome = work.plan, work.plan.outcome.source
    if work.usable(outcome) and work.frame[outcome].nunique() == 1:
        message = f"the outcome '{outcome}' is constant"
        work.wrong(message, "there is nothing to explain", "outcome", "name", "=")
    elif work.usable(outcome):
        _check_outcome(work, outcome)
    for level in plan.groups:
        if work.usable(level.group):
            _check_sizes(work, level)
    for variable in plan.used:
        if variable.role != "mean" and work.usable(_prepared_source(variable)):
            _check_predictor(work, variable)
    _check_coefficients(work)


def _check_outcome(work: _Work, outcome: str) -> None:
    """An outcome that is the same within all groups of several rows belongs to their level."""
    for level in work.plan.groups:
        if work.usable(level.group) and not _varying(work, outcome, level):
            work.wrong(
                f"the outcome '{outcome}' is the same for all {work.plan.levels[0].plural} of "
                f"every {level.name}",
                f"it is a variable of the {level.name}: analyse one row for each",
                "outcome",
                "name",
                "=",
            )
            return


def _check_sizes(work: _Work, level: Level) -> None:
    ids = work.frame[level.group]
    if ids.nunique() < 2 and not _noted(work, level):
        work.wrong(
            f"only one {level.name} is left after incomplete rows were dropped",
            "see which variable is missing most",
            "levels",
            level.index - 1,
        )
    elif ids.nunique() == ids.notna().sum() > 1:
        work.wrong(
            f"every {level.name} has one row only",
            f"a variance of {level.plural} needs some of them to have two rows or more",
            "levels",
            level.index - 1,
            "id",
        )


def _noted(work: _Work, level: Level) -> bool:
    """Whether a problem of the level's id is known already."""
    where = work.document.locate("levels", level.index - 1, "id", "=")
    return any(problem.location == where for problem in work.problems)


def _check_predictor(work: _Work, variable: Variable) -> None:
    column, key = _prepared_source(variable), variable.key
    distinct = work.frame[column].nunique()
    own = work.plan.levels[variable.level - 1]
    units = len(work.frame)
    if variable.level > 1 and work.usable(own.group):
        units = work.frame[own.group].nunique()
    if distinct == 0:
        return  # told already: no row is complete
    if distinct == 1:
        what = "one category only" if variable.type == "category" else "the same value throughout"
        work.wrong(f"predictor '{key}' has {what}", "leave it out", "predictors", key)
    elif variable.type == "category" and distinct >= units and variable.source != own.id:
        work.wrong(
            f"predictor '{key}': every {own.name} has a category of its own",
            "is it an id, or a number?",
            "predictors",
            key,
        )
    else:
        _check_level(work, variable, column)


def _varying(work: _Work, column: str, level: Level) -> list[str]:
    """The groups of a level within which a column varies."""
    ids = work.frame[level.group].cat
    codes, values = ids.codes.to_numpy(), work.frame[column]
    coded = values.cat.codes if isinstance(values.dtype, pd.CategoricalDtype) else values
    numbers = coded.to_numpy(dtype="float64")
    present = (codes >= 0) & values.notna().to_numpy()
    codes, numbers = codes[present], numbers[present]
    first = np.empty(len(ids.categories))
    first[codes[::-1]] = numbers[::-1]
    found = np.unique(codes[numbers != first[codes]])
    return [str(name) for name in ids.categories[found]]


def _check_level(work: _Work, variable: Variable, column: str) -> None:
    """A variable is constant within the units of its own level, and varies within the next."""
    levels = work.plan.levels
    constant = [
        level
        for level in levels[1:]
        if work.usable(level.group) and not _varying(work, column, level)
    ]
    own = levels[variable.level - 1]
    place = ("predictors", variable.key, "level", "=")
    if variable.level > 1 and own not in constant and work.usable(own.group):
        varying = _varying(work, column, own)
        actual = next((level for level in constant if level.index < own.index), levels[0])
        work.wrong(
            f"predictor '{variable.key}' is said to be of the level '{own.name}', but varies "
            f"within {len(varying):,} of {work.frame[own.group].nunique():,} {own.plural} "
            f"({_few(varying, 3)})",
            f"its level is '{actual.name}', or the data have an error",
            *place,
        )
    higher = [level for level in constant if level.index > variable.level]
    if higher and (variable.level == 1 or own in constant):
        actual = higher[-1] if work.document.spec.structure == "nested" else higher[0]
        work.wrong(
            f"predictor '{variable.key}' is said to be of the level '{own.name}', but is the same "
            f"for all {own.plural} of every {actual.name}",
            f"write `level: {actual.name}`",
            *place,
        )


def _check_coefficients(work: _Work) -> None:
    """R names a category's coefficient by column and category, which must not be ambiguous."""
    names: dict[str, str] = {}
    for variable in work.plan.used:
        if not work.usable(_prepared_source(variable)):
            continue
        ends = [""]
        if variable.type == "category":
            ends = [str(category) for category in work.frame[variable.key].cat.categories]
            made = _coding(work, variable, work.frame[variable.key])
            ends = list(dict.fromkeys([*ends, *made.names])) if made else ends
        for name in (variable.column + end for end in ends):
            if name in names:
                work.wrong(
                    f"R would call coefficients of '{names[name]}' and '{variable.key}' both "
                    f"'{name}'",
                    "give one of the predictors another key, with `column:`",
                    "predictors",
                    variable.key,
                )
            names[name] = variable.key


def _check_adjustments(work: _Work) -> None:
    """Every row that is analysed has a positive weight, and an offset."""
    for column, place in _adjustments(work).items():
        if not work.usable(column):
            continue
        key, values = str(place[1]), work.frame[column]
        gaps = int(values.isna().sum())
        if gaps:
            message = f"the {key} '{column}' has no value in {gaps:,} of the rows analysed"
            work.wrong(message, "give each row one, or remove the rows", *place)
        elif key == "weights" and (values <= 0).any():
            count = int((values <= 0).sum())
            message = f"the weights '{column}' are zero or negative in {count:,} rows"
            hint = "a weight is a precision: remove rows that are not to count"
            work.wrong(message, hint, *place)


def _good(work: _Work) -> list[Variable]:
    """Outcome and predictors with which nothing is wrong so far."""
    return [v for v in (work.plan.outcome, *work.plan.used) if work.usable(_prepared_source(v))]


def _check_degenerate(work: _Work, faults: Iterable[degenerate.Fault]) -> None:
    for message, hint, variable in faults:
        outcome = variable == work.plan.outcome
        place = ("outcome", "name", "=") if outcome else ("predictors", variable.key)
        work.wrong(message, hint, *place)


def _check_named_groups(work: _Work) -> None:
    report = work.document.spec.report
    names = [entry.name for entry in work.plan.groups]
    if report.grouping and report.grouping not in names:
        message = f"there is no level '{report.grouping}' with groups"
        work.wrong(message, did_you_mean(report.grouping, names), "report", "grouping", "=")
        return
    level = work.plan.shown(report.grouping)
    if not work.usable(level.group):
        return
    known = [str(name) for name in work.frame[level.group].cat.categories]
    for index, wanted in enumerate(work.document.spec.report.groups):
        if str(wanted) not in known:
            message = f"there is no {level.name} '{wanted}' among the rows that are analysed"
            work.wrong(message, did_you_mean(str(wanted), known), "report", "groups", index)


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
    todo: list[tuple[str, str, str, Place]] = []
    if spec.outcome.transform != "none":
        todo.append(
            (plan.outcome.source, plan.outcome.column, spec.outcome.transform, ("outcome",))
        )
    for key, predictor in spec.predictors.items():
        if predictor.transform != "none":
            target = f"{predictor.transform}_{key}"
            todo.append((predictor.column or key, target, predictor.transform, ("predictors", key)))
    _cut(work)
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
        code, r = f"np.{name}(frame[{source!r}])", in_r.transformed(target, source, name)
        work.did(f"made {target} = {name}({source})", code, frame, r)


def _cut(work: _Work) -> None:
    """The pieces of variables (two-rate coding; Raudenbush & Bryk, 2002, chapter 6)."""
    for key, predictor in work.document.spec.predictors.items():
        piece, source = predictor.piece, predictor.column or key
        if piece is None or not work.usable(source):
            continue
        start = piece.after or 0.0
        low = "" if piece.after is None else f".clip(lower={piece.after!r})"
        high = "" if piece.before is None else f".clip(upper={piece.before!r})"
        less = "" if piece.after is None else f" - {piece.after!r}"
        values = work.frame[source].clip(lower=piece.after, upper=piece.before) - start
        ends = [f"from {piece.after:g}"] if piece.after is not None else []
        ends += [f"up to {piece.before:g}"] if piece.before is not None else []
        work.did(
            f"made {key}: the piece of {source} {' '.join(ends)}",
            f"frame[{source!r}]{low}{high}{less}",
            work.frame.assign(**{key: values}),
            in_r.piece(key, source, piece.after, piece.before),
        )


def _base(key: str, predictor: PredictorSpec) -> str:
    """The column that centring starts from."""
    if predictor.piece is not None:
        return key
    source = predictor.column or key
    return source if predictor.transform == "none" else f"{predictor.transform}_{key}"


def _centre(work: _Work) -> None:
    spec = work.document.spec
    for variable in work.plan.variables.values():
        if variable.type == "category" or variable.role == "plain":
            _copy_plain(work, variable)
            continue
        predictor = spec.predictors[variable.key]
        source = _base(variable.key, predictor)
        values = work.frame[source]
        made, what, code, r = _CENTRED[variable.role](work, variable, values, predictor)
        work.did(
            f"made {variable.column}: {source} {what}",
            code,
            work.frame.assign(**{variable.column: made}),
            r,
        )


def _copy_plain(work: _Work, variable: Variable) -> None:
    if variable.column not in work.frame:
        work.frame = work.frame.assign(**{variable.column: work.frame[variable.source]})
        work.untold.append(f"{in_r.column(variable.column)} <- {in_r.column(variable.source)}")


Centred = tuple[pd.Series, str, str, str]
"""The column, how it is made in words, in pandas and in R."""


def _within(
    work: _Work, variable: Variable, values: pd.Series, predictor: PredictorSpec
) -> Centred:
    above = work.plan.levels[variable.level]
    source = _base(variable.key, predictor)
    code = f"frame[{source!r}] - frame.groupby({above.group!r})[{source!r}].transform('mean')"
    made = values - _units_mean(work, variable.level, values)
    r = in_r.within(variable.column, source, above.group, _unit(work, variable.level))
    return made, f"minus its mean in the {above.name}, {_SAMPLE}", code, r


def _unit(work: _Work, level: int) -> str:
    """The grouping whose units are averaged over; empty where they are the rows."""
    return "" if level == 1 else work.plan.levels[level - 1].group


_SAMPLE = "over the rows of the analysis sample"


def _units_mean(work: _Work, level: int, values: pd.Series) -> pd.Series:
    """Means over the units of a level (its index) within each group of the next."""
    above = work.frame[work.plan.levels[level].group]
    if level == 1:
        means: pd.Series = values.groupby(above, observed=True).transform("mean")
        return means
    first = ~work.frame[work.plan.levels[level - 1].group].duplicated()
    by_group = values[first].groupby(above[first], observed=False).mean().to_numpy()
    return pd.Series(by_group[above.cat.codes.to_numpy()], index=values.index)


def _mean(work: _Work, variable: Variable, values: pd.Series, predictor: PredictorSpec) -> Centred:
    source = _base(variable.key, predictor)
    level = work.plan.levels[variable.level - 1]
    below = work.plan.levels[variable.level - 2]
    code = f"frame.groupby({level.group!r})[{source!r}].transform('mean')"
    return (
        _units_mean(work, below.index, values),
        f"averaged over the {below.plural} of each {level.name}, {_SAMPLE}",
        code,
        in_r.within(variable.column, source, level.group, _unit(work, below.index), mean=True),
    )


def _grand(work: _Work, variable: Variable, values: pd.Series, predictor: PredictorSpec) -> Centred:
    made, source = variable.column, _base(variable.key, predictor)
    if isinstance(predictor.center, float):
        return (
            values - predictor.center,
            f"minus {predictor.center:g}",
            f"frame[{source!r}] - {predictor.center!r}",
            in_r.centred(made, source, predictor.center),
        )
    level = work.plan.levels[variable.level - 1]
    if variable.level == 1:
        return (
            values - values.mean(),
            "minus its mean over all rows of the analysis sample",
            f"frame[{source!r}] - frame[{source!r}].mean()",
            in_r.centred(made, source, None),
        )
    units = values[~work.frame[level.group].duplicated()]
    what = f"minus its mean over the {len(units):,} {level.plural}"
    code = f"frame[{source!r}] - frame.drop_duplicates({level.group!r})[{source!r}].mean()"
    return values - units.mean(), what, code, in_r.centred(made, source, None, level.group)


_CENTRED: Mapping[str, Callable[[_Work, Variable, pd.Series, PredictorSpec], Centred]] = {
    "within": _within,
    "mean": _mean,
    "centred": _grand,
}


def _check_prepared(work: _Work) -> None:
    """Nothing is left of a variable that is centred at the means of groups it is constant in."""
    for variable in work.plan.used:
        if variable.type == "category" or not work.usable(variable.column):
            continue
        values = work.frame[variable.column]
        scale = np.abs(work.frame[variable.source]).max()
        if np.ptp(values) <= 1e-12 * scale:
            work.wrong(
                f"'{variable.column}', made of the predictor '{variable.key}', has the same value "
                "throughout",
                "leave out `contextual`: all groups have the same mean"
                if variable.role == "mean"
                else "another centring, or leave it out",
                "predictors",
                variable.key,
            )


def _wanted(plan: Plan, time: str | None) -> Iterator[str]:
    """The columns of the analysis; a predictor that no model uses is examined and left out."""
    yield from (level.group for level in plan.groups)
    if plan.levels[0].id:
        yield plan.levels[0].id
    yield plan.outcome.source
    yield plan.outcome.column
    yield from filter(None, (plan.weights, plan.offset.column if plan.offset else ""))
    sources = {variable.source for variable in plan.used}
    for key, variable in plan.variables.items():
        if variable.source in sources or key == time:
            yield variable.column
            if variable.type == "number":
                yield variable.source


def _coding(work: _Work, variable: Variable, column: pd.Series) -> Coding | None:
    """The contrasts of a category; None where they are those with a reference."""
    kind, categories = work.document.spec.predictors[variable.key].coding, column.cat.categories
    if kind == "treatment" or len(categories) < 2:
        return None
    return coding(kind, list(map(str, categories)))


def _final_columns(work: _Work) -> pd.DataFrame:
    """The columns of the analysis only, ids first, as a frame of its own."""
    columns = list(dict.fromkeys(_wanted(work.plan, work.document.spec.time)))
    codings = {
        variable.column: _coding(work, variable, work.frame[variable.column])
        for variable in work.plan.variables.values()
        if variable.type == "category" and variable.column in columns
    }
    frame = with_codings(
        work.frame[columns].copy(), {name: made for name, made in codings.items() if made}
    )
    work.did(
        "kept the columns of the analysis",
        f"frame[{columns!r}]",
        frame,
        in_r.selected(columns),
    )
    return frame
