"""What a source prints: its numbers, where each stands, and what of the source was read."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from mlmreport.errors import Location

__all__ = ["COLUMNS", "Claim", "Note", "Printed", "Table", "half_a_unit"]

COLUMNS = ("estimate", "se", "t", "df", "p", "lower", "upper")
"""What a row may say of its term."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One printed number.

    Parameters
    ----------
    term
        The term as its source writes it.
    what
        One of `COLUMNS`.
    text
        The number as printed, with a decimal point and without separators of thousands.
    location
        Where it stands.
    term_at
        Where its term stands.
    model
        What the source calls the model, or the reader where the source has no name for it; empty
        where there is one model.
    """

    term: str
    what: str
    text: str
    location: Location
    term_at: Location
    model: str = ""

    @property
    def below(self) -> bool:
        """Whether it is a bound, such as a p-value "<.001"."""
        return self.text.startswith("<")

    @property
    def value(self) -> float:
        """The number."""
        return float(self.number)

    @property
    def number(self) -> Decimal:
        """The number with its printed digits."""
        return Decimal(self.text.lstrip("< "))


@dataclass(frozen=True, slots=True)
class Note:
    """What was found and not compared.

    Parameters
    ----------
    what
        A row, a column or a table.
    reason
        Why it was not.
    location
        Where it stands.
    """

    what: str
    reason: str
    location: Location

    def __str__(self) -> str:
        return f"line {self.location.line}: {self.what}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Table:
    """A table that was found.

    Parameters
    ----------
    title
        What it is.
    location
        Where it begins.
    model
        The model it is of, as in `Claim.model`.
    numbers
        How many of its numbers were read.
    reason
        Why it was not read; empty where it was.
    """

    title: str
    location: Location
    model: str = ""
    numbers: int = 0
    reason: str = ""

    def __str__(self) -> str:
        told = f"{self.numbers} numbers read" if not self.reason else f"not read: {self.reason}"
        return f"line {self.location.line}: {self.title}: {told}"


@dataclass(frozen=True, slots=True)
class Printed:
    """All numbers of a source, with what it says of the model.

    Parameters
    ----------
    claims
        The numbers.
    program
        What printed them: ``"csv"``, or the name of a row of `outputs.PROGRAMS`.
    tables
        Every table that was found, read or not.
    notes
        What was left out, and why.
    complete
        Whether a model's numbers are all of its fixed effects, so that the model can be told by
        them.
    codes
        How the program numbers categories that this project exports: the reference ``"first"`` or
        ``"last"``.
    loose
        By kind of number in what the program's own convergence leaves it; see `against.Loose`.
    """

    claims: tuple[Claim, ...]
    program: str
    tables: tuple[Table, ...] = ()
    notes: tuple[Note, ...] = ()
    complete: bool = False
    codes: str = "first"
    loose: tuple[tuple[str, float], ...] = ()


def half_a_unit(number: Decimal) -> float:
    """Half a unit of the last digit that is printed."""
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)
    return 0.5 * 10.0**exponent
