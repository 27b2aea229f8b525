"""What a reader finds in an output, gathered while it goes through the lines."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from mlmreport.crosscheck.claims import Claim, Note, Table
from mlmreport.crosscheck.outputs.numbers import bare, is_value
from mlmreport.crosscheck.outputs.tables import Cell, Row
from mlmreport.crosscheck.outputs.text import Line

__all__ = ["Found", "Section", "effect", "numbered", "sections"]


@dataclass
class Found:
    """Numbers, tables and what was left out, of one file."""

    claims: list[Claim] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    model: str = ""
    group: str = ""
    _models: int = 0
    _kinds: set[str] = field(default_factory=set)

    def begin(self) -> None:
        """A further model begins here."""
        self._models += 1
        self._kinds = set()
        self.model = f"model {self._models}"

    def once(self, kind: str) -> None:
        """A table of a kind begins, which a model has once: a second one is of a further model."""
        if kind in self._kinds or not self._models:
            self.begin()
        self._kinds.add(kind)

    def table(self, title: str, line: Line) -> None:
        """A table begins; its numbers are those that follow."""
        self.tables.append(Table(title, line.place, self.model))

    def refuse(self, title: str, line: Line, reason: str) -> None:
        """A table that is not read."""
        self.tables.append(Table(title, line.place, self.model, 0, reason))

    def note(self, what: str, reason: str, line: Line) -> None:
        """Something that is not compared."""
        found = Note(what, reason, line.place)
        if found not in self.notes[-40:]:
            self.notes.append(found)

    def number(self, line: Line, cell: Cell, term: str, what: str = "estimate") -> None:
        """One number of the table that began last."""
        if what == "estimate" and self._known(term):
            self.note(term, "stands twice; the first is taken", line)
            return
        place = line.at(cell.start, len(cell.text))
        text = bare(cell.text)
        self.claims.append(Claim(term, what, text, place, line.place, self.model))
        if self.tables:
            last = self.tables[-1]
            self.tables[-1] = replace(last, numbers=last.numbers + 1)

    def _known(self, term: str) -> bool:
        return any(
            claim.term == term and claim.model == self.model and claim.what == "estimate"
            for claim in self.claims[-400:]
        )

    def row(self, found: Row, term: str, takes: Sequence[str]) -> None:
        """The numbers of a row that are comparable."""
        if found.fault or not term:
            self.note(found.label or "a row of numbers", found.fault or "no label", found.line)
            return
        if "estimate" in takes and "estimate" in found.values and self._known(term):
            self.note(term, "stands twice; the first is taken", found.line)
            return
        for what, cell in found.values.items():
            if what in takes:
                self.number(found.line, cell, term, what)

    def matching(self, lines: Iterable[Line], pattern: str, term: str) -> bool:
        """The first number that a pattern's group holds."""
        compiled = re.compile(pattern)
        for line in lines:
            match = compiled.search(line.text[:2000])
            if match and is_value(match[1]):
                self.number(line, Cell(match[1], match.start(1), 0), term)
                return True
        return False


# --- sections -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Section:
    """What stands under a title: its kind, the line of the title, and the lines below it."""

    kind: str
    head: Line
    body: tuple[Line, ...]


def sections(lines: Sequence[Line], titles: Mapping[str, str]) -> Iterator[Section]:
    """An output in parts, each from its title to the next; what stands before the first is ``""``.

    Parameters
    ----------
    lines
        Of the output.
    titles
        By kind the pattern of a title, tried in order from the beginning of a line.
    """
    compiled = {kind: re.compile(pattern, re.IGNORECASE) for kind, pattern in titles.items()}
    kind, start = "", 0
    for place, line in enumerate(lines):
        found = next((k for k, p in compiled.items() if p.match(line.text[:400])), None)
        if found is not None:
            if place or kind:
                yield Section(kind, lines[start], tuple(lines[start + bool(kind) : place]))
            kind, start = found, place
    if lines:
        yield Section(kind, lines[start], tuple(lines[start + bool(kind) :]))


# --- terms ----------------------------------------------------------------------------------------


def effect(kind: str, group: str, *effects: str) -> str:
    """A component as `terms` reads it: ``cov(school: Intercept, ses)``."""
    return f"{kind}({group}: {', '.join(effects)})"


def numbered(group: str, effects: Sequence[str], row: int, column: int) -> str | None:
    """The component at a place of the covariance matrix, counted from 1; None where it has none."""
    if not 0 < min(row, column) <= max(row, column) <= len(effects):
        return None
    if row == column:
        return effect("var", group, effects[row - 1])
    return effect("cov", group, effects[min(row, column) - 1], effects[max(row, column) - 1])
