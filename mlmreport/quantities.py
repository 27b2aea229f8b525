"""What flows from the steps to the page: numbers that know where they come from.

`Quantity`, `Missing`, `Series`, `Table`, `Figure` and `Decision` are frozen. A `Results` holds all
of an analysis and goes to ``results.json`` and back without losing a bit of any float.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NoReturn

from mlmreport.errors import InputError

__all__ = [
    "Cell",
    "Decision",
    "Figure",
    "Item",
    "Missing",
    "PrepStep",
    "Quantity",
    "Results",
    "Row",
    "Series",
    "Source",
    "Table",
    "TraceEntry",
    "fingerprint",
    "repointed",
]

FORMAT = "mlmreport results 1"


@dataclass(frozen=True, slots=True)
class Source:
    """Where a value comes from.

    Parameters
    ----------
    expression
        The R call that was evaluated, or the data-frame expression for a count of the preparation.
    engine
        ``"R"``, ``"pandas"`` or ``"spec"`` (a true value of a simulation, a setting).
    model
        The id of the model the expression refers to, empty where it refers to none.
    """

    expression: str
    engine: str = "R"
    model: str = ""


def _refuse(what: str) -> Callable[..., NoReturn]:
    def refuse(self: Quantity, *_: object) -> NoReturn:
        raise TypeError(
            f"{what} of the quantity '{self.id}' was asked for: "
            "a number reaches a page through `show` only, and is computed with in R only"
        )

    return refuse


@dataclass(frozen=True, slots=True)
class Quantity:
    """One number, at full double precision, with its origin.

    Parameters
    ----------
    id
        Path-like and unique in an analysis, for example ``"schools/fixef/sector/estimate"``.
    value
        The value; finite.
    kind
        What sort of number it is (`mlmreport.display.KINDS`); decides rounding and notation.
    unit
        The unit as a reader says it, for example ``"points"``; empty for a pure number.
    label
        What it is, in words.
    source
        The expression that was evaluated.
    method
        Estimator, df method, interval method and level, n: whatever is needed to interpret it.
    digits
        Decimals wanted by the context (the precision of an estimate follows its standard
        error); None leaves it to the kind.
    """

    id: str
    value: float
    kind: str
    unit: str
    label: str
    source: Source
    method: str = ""
    digits: int | None = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ValueError(f"quantity '{self.id}' is not finite: use Missing with a reason")

    __str__ = _refuse("the text")
    __format__ = _refuse("the text")
    __add__ = __radd__ = __sub__ = __rsub__ = _refuse("arithmetic")
    __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __neg__ = _refuse("arithmetic")
    __float__ = __int__ = __bool__ = _refuse("the bare value")


@dataclass(frozen=True, slots=True)
class Missing:
    """A number that cannot be had, and why; the page prints the reason."""

    id: str
    reason: str
    label: str = ""


@dataclass(frozen=True, slots=True)
class Series:
    """A vector of numbers or names, for a figure; traced like a quantity."""

    id: str
    values: tuple[float | str, ...]
    unit: str
    label: str
    source: Source


Part = Quantity | Missing | str
Cell = Part | tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a table.

    Parameters
    ----------
    head
        The row's label.
    cells
        One a column. A tuple is shown one part after the other.
    group
        True for a line that only heads the lines after it.
    anchor
        What links to this line point at; empty where nothing does.
    """

    head: str
    cells: tuple[Cell, ...] = ()
    group: bool = False
    anchor: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table; every format shows the same cell texts from it.

    Parameters
    ----------
    id
        Without prefix, for example ``"models"``; referred to as ``@tbl-models``.
    caption
        What it shows, a phrase.
    columns
        Heads of the columns, that of the row labels first.
    rows
        The lines.
    note
        Definitions and methods that a reader needs to read it.
    """

    id: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure as data: which drawing, from which series and names.

    Parameters
    ----------
    id
        Without prefix; referred to as ``@fig-id``.
    drawing
        The function of `mlmreport.report.figures` that draws it.
    caption
        What it shows; the legend.
    alt
        The same for those who cannot see it: form, axes and main pattern.
    data
        The arguments of the drawing; a `Series` or `Quantity` may stand anywhere in it.
    """

    id: str
    drawing: str
    caption: str
    alt: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Decision:
    """A choice that the program made: by which rule, on what evidence, with what outcome."""

    step: str
    rule: str
    evidence: Cell
    outcome: str
    citation: str = ""


@dataclass(frozen=True, slots=True)
class PrepStep:
    """A step of the data preparation.

    Parameters
    ----------
    action
        What was done, in words.
    code
        The same in pandas.
    rows_before, rows_after
        How many rows there were, and are.
    r
        The same in base R; None where it cannot be had there.
    """

    action: str
    code: str
    rows_before: int
    rows_after: int
    r: str | None = None


@dataclass(frozen=True, slots=True)
class TraceEntry:
    """An R call in the order of evaluation, enough to write the analysis out as a script.

    Parameters
    ----------
    step
        The step that asked for it.
    kind
        ``"object"`` (an assignment), ``"quantity"``, ``"series"`` or ``"missing"``.
    name
        The object's name, or the id.
    code
        The call.
    """

    step: str
    kind: str
    name: str
    code: str


Item = Quantity | Missing | Series


@dataclass(frozen=True)
class Results:
    """All of an analysis, enough to write the report without R.

    Parameters
    ----------
    spec
        The spec as it was understood, defaults filled in (plain data).
    items
        Every quantity, series and missing value by id.
    steps
        For each of the eight steps a tree of plain data in which items, tables, figures and
        decisions stand where the step's section mentions them.
    decisions
        In the order in which they were taken.
    trace
        Every R call in order.
    conditions
        Warnings and messages from R, in order: ``{"where", "kind", "text"}``.
    preparation
        What was done to the data.
    session
        Versions, platform, seed, data fingerprints.
    """

    spec: Mapping[str, Any]
    items: Mapping[str, Item]
    steps: Mapping[str, Mapping[str, Any]]
    decisions: tuple[Decision, ...]
    trace: tuple[TraceEntry, ...]
    conditions: tuple[Mapping[str, str], ...]
    preparation: tuple[PrepStep, ...]
    session: Mapping[str, Any] = field(default_factory=dict)

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """Every quantity, in the order in which they were computed."""
        return tuple(item for item in self.items.values() if isinstance(item, Quantity))

    @property
    def missing(self) -> tuple[Missing, ...]:
        """Every value that could not be had."""
        return tuple(item for item in self.items.values() if isinstance(item, Missing))

    def of_type(self, kind: type[Any]) -> Iterator[Any]:
        """All tables, figures or decisions in the order of the steps."""
        for tree in self.steps.values():
            yield from _find(tree, kind)

    def to_json(self) -> str:
        """The text of ``results.json``; floats are written so that they read back exactly."""
        document = {
            "format": FORMAT,
            "spec": self.spec,
            "session": self.session,
            "quantities": [asdict(item) for item in self.quantities],
            "missing": [asdict(item) for item in self.missing],
            "series": [asdict(item) for item in self.items.values() if isinstance(item, Series)],
            "order": list(self.items),
            "steps": _fold(self.steps),
            "decisions": [_fold(decision) for decision in self.decisions],
            "preparation": [asdict(step) for step in self.preparation],
            "conditions": list(self.conditions),
            "trace": [asdict(entry) for entry in self.trace],
        }
        return json.dumps(document, ensure_ascii=False, allow_nan=False, indent=1)

    @classmethod
    def from_json(cls, text: str, file: str = "results.json") -> Results:
        """Read ``results.json``.

        Raises
        ------
        InputError
            When the text is not JSON or not of this format.
        """
        try:
            document = json.loads(text)
            if document["format"] != FORMAT:
                raise InputError.of(f"{file}: written by another version: {document['format']}")
            return cls._of(document)
        except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise InputError.of(
                f"{file}: not a results file of mlmreport ({type(error).__name__}: {error})",
                "run the analysis again to write it anew",
            ) from None

    @classmethod
    def _of(cls, document: Mapping[str, Any]) -> Results:
        read: dict[str, Item] = {}
        for item in document["quantities"]:
            read[item["id"]] = Quantity(**{**item, "source": Source(**item["source"])})
        for item in document["missing"]:
            read[item["id"]] = Missing(**item)
        for item in document["series"]:
            source, values = Source(**item["source"]), tuple(item["values"])
            read[item["id"]] = Series(**{**item, "source": source, "values": values})
        items = {name: read[name] for name in document["order"]}
        return cls(
            spec=document["spec"],
            items=items,
            steps=_unfold(document["steps"], items),
            decisions=tuple(_unfold(entry, items) for entry in document["decisions"]),
            trace=tuple(TraceEntry(**entry) for entry in document["trace"]),
            conditions=tuple(document["conditions"]),
            preparation=tuple(PrepStep(**entry) for entry in document["preparation"]),
            session=document["session"],
        )


_FOLDED: Mapping[str, type[Any]] = {
    "table": Table,
    "row": Row,
    "figure": Figure,
    "decision": Decision,
}
_TAGS = {folded: tag for tag, folded in _FOLDED.items()}


def _fold(node: Any) -> Any:
    """A tree with items replaced by references to their ids, tuples by tagged lists."""
    match node:
        case Quantity() | Missing() | Series():
            return {"$item": node.id}
        case Table() | Row() | Figure() | Decision():
            fields = {name: _fold(getattr(node, name)) for name in node.__dataclass_fields__}
            return {f"${_TAGS[type(node)]}": fields}
        case Mapping():
            return {str(key): _fold(value) for key, value in node.items()}
        case list() | tuple():
            return [_fold(value) for value in node]
        case _:
            return node


def _unfold(node: Any, items: Mapping[str, Item]) -> Any:
    """The inverse of `_fold`; sequences come back as tuples."""
    if isinstance(node, list):
        return tuple(_unfold(value, items) for value in node)
    if not isinstance(node, dict):
        return node
    if len(node) == 1:
        ((key, value),) = node.items()
        if key == "$item":
            return items[value]
        if key.startswith("$"):
            fields = {name: _unfold(part, items) for name, part in value.items()}
            return _FOLDED[key[1:]](**fields)
    return {key: _unfold(value, items) for key, value in node.items()}


def repointed(node: Any, items: Mapping[str, Item]) -> Any:
    """A tree in which every item is replaced by that of the same id in `items`."""
    return _unfold(_fold(node), items)


def _find(node: Any, kind: type[Any]) -> Iterator[Any]:
    if isinstance(node, kind):
        yield node
    elif isinstance(node, Mapping):
        for value in node.values():
            yield from _find(value, kind)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _find(value, kind)


def fingerprint(data: bytes) -> str:
    """The SHA-256 of some bytes, as hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()
