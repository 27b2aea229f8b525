"""The table of checks beside a report, ``checks.json``: one row a number or claim examined."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["AGREES", "CHECKS", "DIFFERS", "NOT_CHECKED", "Check", "judged", "write_checks"]

CHECKS = "checks.json"
AGREES, DIFFERS, NOT_CHECKED = "agrees", "differs", "not checked"


@dataclass(frozen=True, slots=True)
class Check:
    """One comparison.

    Parameters
    ----------
    id
        What is compared, unique within its kind.
    kind
        Against what: ``"engines"``, ``"against"``, ``"published"``, or a kind of ``verify``.
    what
        The same in words.
    expected, found
        The report's value and the other one, as text where they are no numbers.
    difference
        Between them, in the unit of `tolerance`; None where it cannot be had.
    tolerance
        What is allowed, in words.
    verdict
        ``agrees``, ``differs``, or ``not checked`` with the reason in `found`.
    """

    id: str
    kind: str
    what: str
    expected: float | str | None
    found: float | str | None
    difference: float | None
    tolerance: str
    verdict: str

    def __post_init__(self) -> None:
        for value in (self.expected, self.found, self.difference):
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"check '{self.id}': a value that is not finite")


def judged(agrees: bool) -> str:
    """The verdict of a comparison."""
    return AGREES if agrees else DIFFERS


def write_checks(folder: Path, kinds: Collection[str], checks: Iterable[Check]) -> Path:
    """Put the rows of some kinds in the place of the former ones; those of other kinds stay."""
    file = folder / CHECKS
    kept = []
    if file.is_file():
        kept = [row for row in json.loads(file.read_text("utf-8")) if row["kind"] not in kinds]
    rows = [*kept, *map(asdict, checks)]
    text = json.dumps(rows, ensure_ascii=False, allow_nan=False, indent=1)
    staged = file.with_suffix(".json.part")
    staged.write_text(text + "\n", encoding="utf-8")
    return staged.replace(file)
