"""The table of checks beside a report, ``checks.json``: one row a number or claim examined."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mlmreport.errors import InputError
from mlmreport.quantities import Row, Table, fingerprint

__all__ = [
    "CHECKS",
    "DIFFERS",
    "NOT_CHECKED",
    "RESULTS_KIND",
    "TITLES",
    "Check",
    "Outcome",
    "checks_of_results",
    "judged",
    "outcome",
    "outcome_table",
    "results_checks",
    "told",
    "write_checks",
]

CHECKS = "checks.json"
RESULTS_KIND = "results"
AGREES, DIFFERS, NOT_CHECKED = "agrees", "differs", "not checked"
NOT_APPLICABLE = "not applicable"

TITLES: dict[str, str] = {
    RESULTS_KIND: "the files of results and data",
    "setting": "settings of the spec",
    "closed form": "functions of the data alone, by R",
    "optimizer": "what rests on a fitted model, by R",
    "simulation": "what is drawn at random, by R",
    "preparation": "the prepared data, by base R from the source files",
    "html": "numbers of the page, read back",
    "docx": "numbers of the Word file, read back",
    "pdf": "numbers of the PDF, read back",
    "recomputed": "numbers recomputed from others as displayed",
}
"""The kinds of check that a verification makes, in the order in which they are told."""

_ELSEWHERE = {
    "engines": "the models, fitted by other engines and optimizers",
    "published": "published tables, reproduced",
    "against": "someone else's numbers",
}
"""The kinds that `crosscheck` makes."""
_WRONG = ("differs", "substantive", "stopped short")


@dataclass(frozen=True, slots=True)
class Check:
    """One comparison.

    Parameters
    ----------
    id
        What is compared.
    kind
        How, or against what: one of `TITLES`, or a kind of another command.
    what
        The same in words.
    expected, found
        The report's value and the other one, as text where they are no numbers.
    difference
        Between them, on the scale that the tolerance is meant for; None where it cannot be had.
    tolerance
        The largest difference that agrees, a number or in words; None where the two must be the
        same.
    verdict
        What came out: ``agrees``, ``differs``, or ``not checked`` with the reason in `found`.
    """

    id: str
    kind: str
    what: str
    expected: float | str | None
    found: float | str | None
    difference: float | None
    tolerance: float | str | None
    verdict: str

    def __post_init__(self) -> None:
        for value in (self.expected, self.found, self.difference):
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"check '{self.id}': a value that is not finite")

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        words = self.verdict.partition(":")[0]
        return words not in _WRONG


def judged(agrees: bool) -> str:
    """The verdict of a comparison."""
    return AGREES if agrees else DIFFERS


def results_checks(folder: Path, data_file: str, data_digest: str) -> tuple[Check, Check]:
    """Of which results and data the checks are.

    Parameters
    ----------
    folder
        Of the report.
    data_file, data_digest
        The prepared data, and the SHA-256 that they had when the results were made.
    """
    now, found = _digest(folder / "results.json"), _digest(folder / data_file)
    return (
        Check("results.json", RESULTS_KIND, "SHA-256", now, now, None, None, AGREES),
        Check(
            data_file, RESULTS_KIND, "SHA-256", data_digest, found, None, None,
            judged(found == data_digest),
        ),
    )  # fmt: skip


def write_checks(folder: Path, kinds: Collection[str], checks: Iterable[Check]) -> Path:
    """Put the rows of some kinds in the place of the former ones; those of other kinds stay."""
    rows = [*(row for row in _read(folder / CHECKS) if row.kind not in kinds), *checks]
    lines = [json.dumps(asdict(row), ensure_ascii=False, allow_nan=False) for row in rows]
    staged = folder / f".{CHECKS}.part"
    staged.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")
    return staged.replace(folder / CHECKS)


def checks_of_results(folder: Path) -> tuple[Check, ...]:
    """The checks of a report; none where it was not verified, or its results are others now.

    Raises
    ------
    InputError
        When the file is none of checks.
    """
    rows, results = _read(folder / CHECKS), folder / "results.json"
    made_of = [row.found for row in rows if row.kind == RESULTS_KIND and row.id == results.name]
    return rows if results.is_file() and made_of == [_digest(results)] else ()


def _read(file: Path) -> tuple[Check, ...]:
    if not file.is_file():
        return ()
    try:
        return tuple(Check(**row) for row in json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise InputError.of(
            f"{file}: not a file of checks ({type(error).__name__}: {error})",
            "remove it; `mlmreport verify` writes it anew",
        ) from None


def told(checks: Sequence[Check]) -> str:
    """The checks as JSON, for a program."""
    return json.dumps([asdict(check) for check in checks], ensure_ascii=False, indent=1)


def _digest(file: Path) -> str:
    return fingerprint(file.read_bytes())


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of all checks of one kind.

    Parameters
    ----------
    title
        The kind in words.
    checked
        How many were checked.
    differing
        The ids of those that differ.
    unchecked
        Why others were not.
    largest
        The largest difference that agrees; None where there is none to measure.
    tolerance
        The largest one that is allowed.
    """

    title: str
    checked: int
    differing: tuple[str, ...]
    unchecked: tuple[str, ...]
    largest: float | None
    tolerance: float | None

    @property
    def told(self) -> str:
        """All of it but the title, as a phrase."""
        said = [f"{self.checked:,} checked, {len(self.differing):,} differ"] * bool(self.checked)
        if self.largest is not None and self.tolerance is not None:
            largest, allowed = _short(self.largest), _short(self.tolerance)
            said.append(f"largest difference {largest}, {allowed} allowed")
        said += [f"not checked: {reason}" for reason in self.unchecked]
        return ", ".join(said)

    @property
    def row(self) -> Row:
        """The same as a line of a table."""
        counts = (f"{self.checked:,}", f"{len(self.differing):,}") if self.checked else ("0", "")
        sizes = (_short(self.largest), _short(self.tolerance))
        return Row(self.title, (*counts, *sizes))


def outcome(checks: Iterable[Check]) -> tuple[Outcome, ...]:
    """By kind what came of some checks."""
    found: dict[str, list[Check]] = {kind: [] for kind in TITLES}
    for check in checks:
        found.setdefault(check.kind, []).append(check)
    return tuple(_outcome(kind, several) for kind, several in found.items() if several)


_ROUNDED = frozenset({"recomputed"})
"""Kinds whose tolerance is the rounding of each number, so that the largest one says nothing."""


def _outcome(kind: str, checks: Sequence[Check]) -> Outcome:
    skipped = (NOT_CHECKED, NOT_APPLICABLE)
    done = [check for check in checks if check.verdict.partition(":")[0] not in skipped]
    measured = [c for c in done if c.ok and _number(c.tolerance) and kind not in _ROUNDED]
    return Outcome(
        (TITLES | _ELSEWHERE).get(kind, kind),
        len(done),
        tuple(dict.fromkeys(check.id or "text" for check in done if not check.ok)),
        tuple(sorted({str(check.found) for check in checks if check.verdict == NOT_CHECKED})),
        max((check.difference or 0.0 for check in measured), default=None),
        max((_number(check.tolerance) for check in measured), default=None),
    )


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.0e}" if value else "0"


def outcome_table(outcomes: Sequence[Outcome]) -> Table | None:
    """What came of a verification, for the report; None where there was none."""
    if not outcomes:
        return None
    wrong = dict.fromkeys(name for kind in outcomes for name in kind.differing)
    unchecked = dict.fromkeys(reason for kind in outcomes for reason in kind.unchecked)
    notes = [f"Not checked: {reason}." for reason in unchecked]
    notes += [f"Different: {', '.join(wrong)}."] * bool(wrong)
    return Table(
        "checks",
        "what was checked, and what came of it",
        ("What", "Checked", "Different", "Largest difference", "Allowed"),
        tuple(kind.row for kind in outcomes),
        " ".join(notes),
    )


def _number(value: float | str | None) -> float:
    return value if isinstance(value, float) else 0.0
