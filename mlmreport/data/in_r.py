"""The steps of the data preparation written out in base R, one function a verb.

What the spec names is quoted as text, the functions are those of this file, R's own and those of
`mlmreport/verify/preparation.R`; nothing of a spec becomes code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mlmreport.spec.quoting import r_string

__all__ = [
    "category",
    "centred",
    "column",
    "complete",
    "group",
    "joined",
    "numbers",
    "piece",
    "relabelled",
    "selected",
    "table",
    "transformed",
    "where",
    "within",
]


def column(name: str, frame: str = "d") -> str:
    """A column of the data."""
    return f"{frame}[[{r_string(name)}]]"


def _vector(texts: Iterable[str]) -> str:
    return f"c({', '.join(map(r_string, texts))})"


def table(code: str, columns: Sequence[str], name: str = "d") -> str | None:
    """The columns of a table that are used; None where base R has no reader for it."""
    if not code:
        return None
    return f"{name} <- {code}\n{name} <- columns_of({name}, {_vector(columns)})"


def joined(code: str, columns: Sequence[str], keys: Sequence[str]) -> str | None:
    """The columns of a table of a higher level, put beside the rows of the lower."""
    read = table(code, columns, "higher")
    return None if read is None else f"{read}\nd <- joined(d, higher, {_vector(keys)})"


def group(name: str, own: str, above: Sequence[str] = ()) -> str:
    """The ids of a grouping as text; where they repeat in others, with the ids of those before."""
    texts = [f"as_text({column(each)})" for each in (*above, own)]
    ids = texts[0]
    for text in texts[1:]:
        ids = f"ids_within({ids}, {text})"
    return f"{column(name)} <- {ids}"


def category(name: str, source: str, labels: Mapping[str, str] | None) -> str:
    """A category as text, by its labels where it has any."""
    if labels is None:
        return f"{column(name)} <- as_text({column(source)})"
    return (
        f"{column(name)} <- recoded(\n  as_text({column(source)}),\n"
        f"  from = {_vector(labels)},\n  to = {_vector(labels.values())}\n)"
    )


def relabelled(values: str, labels: Mapping[str, str]) -> str:
    """Texts by the labels of those that have one."""
    return f"relabelled({values}, {_vector(labels)}, {_vector(labels.values())})"


def where(condition: str, *, first: bool) -> str:
    """The rows for which a condition is true; how many are not is noted in ``filtered``."""
    before = "" if first else "filtered, "
    return (
        f"chosen <- which({condition})\n"
        f"filtered <- c({before}nrow(d) - length(chosen))\n"
        "d <- d[chosen, , drop = FALSE]"
    )


def numbers(names: Iterable[str]) -> str:
    """Columns as numbers."""
    return f"d <- as_numbers(d, {_vector(names)})"


def complete(names: Iterable[str]) -> str:
    """The rows that have all values."""
    return f"before <- d\nd <- before[complete.cases(before[{_vector(names)}]), , drop = FALSE]"


_TRANSFORMS = frozenset({"log", "log2", "log10", "log1p", "sqrt"})


def transformed(name: str, source: str, function: str) -> str:
    """A transformation; R calls them as the spec does.

    Raises
    ------
    ValueError
        For any other function.
    """
    if function not in _TRANSFORMS:
        raise ValueError(f"no transformation: {function}")
    return f"{column(name)} <- {function}({column(source)})"


def piece(name: str, source: str, after: float | None, before: float | None) -> str:
    """A piece of a variable between two values."""
    value = column(source)
    value = value if after is None else f"pmax({value}, {float(after)!r})"
    value = value if before is None else f"pmin({value}, {float(before)!r})"
    return f"{column(name)} <- {value}" + ("" if after is None else f" - {float(after)!r}")


def within(name: str, source: str, above: str, unit: str = "", *, mean: bool = False) -> str:
    """The mean of a group, or the deviation from it; `unit` where rows are not the units."""
    over = f", {column(unit)}" if unit else ""
    means = f"group_means({column(source)}, {column(above)}{over})"
    return f"{column(name)} <- {means if mean else f'{column(source)} - {means}'}"


def centred(name: str, source: str, at: float | None, unit: str = "") -> str:
    """A variable minus a value, or minus its mean over the rows or the units of a grouping."""
    values = column(source)
    of_units = f"{values}[!duplicated({column(unit)})]" if unit else values
    zero = f"mean({of_units}, na.rm = TRUE)" if at is None else repr(float(at))
    return f"{column(name)} <- {values} - {zero}"


def selected(names: Sequence[str]) -> str:
    """The columns of the analysis."""
    return f"d <- columns_of(d, {_vector(names)})"
