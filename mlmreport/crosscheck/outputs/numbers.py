"""Numbers as they are printed: what one looks like, and which mark is the decimal one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from mlmreport.crosscheck.claims import Claim
from mlmreport.errors import InputError, Problem

__all__ = ["bare", "is_missing", "is_value", "settled"]

_DIGITS = r"(?:\d[\d.,]*|[.,]\d[\d.,]*)(?:[eEdD][-+]?\d+)?"
_VALUE = re.compile(rf"(?:<\s*)?[-+]?{_DIGITS}(?:\(?[a-z]\)?|\*+|[†‡#]+)?")
"""A number, a bound, or either with the mark of a footnote."""
_TAIL = re.compile(r"(?:\(?[a-z]\)?|\*+|[†‡#]+)\Z")
_MISSING = frozenset({".", "-", "--", "---", "NA", "NaN", "n/a", "N/A", "…", "...", "_", "*", "·"})
_LONGEST = 60


def is_value(text: str) -> bool:
    """Whether a text is a number, or a bound such as "<.001"."""
    return len(text) <= _LONGEST and _VALUE.fullmatch(text) is not None


def is_missing(text: str) -> bool:
    """Whether a text stands for a number that is not there."""
    return text in _MISSING or text in {"\N{EN DASH}", "\N{EM DASH}"}


def bare(text: str) -> str:
    """The number without the mark of a footnote: ``0b`` and ``0(b)`` are 0."""
    return text if re.search(r"[eEdD][-+]?\d+\Z", text) else _TAIL.sub("", text)


# --- the decimal mark -----------------------------------------------------------------------------

_WHOLE = re.compile(r"\d+\Z")
_GROUPED = {
    ".": re.compile(r"\d{1,3}(?:\.\d{3})+\Z"),
    ",": re.compile(r"\d{1,3}(?:,\d{3})+\Z"),
}


def _mantissa(text: str) -> str:
    return re.split(r"[eEdD]", text.lstrip("<+- "))[0]


def _decimal_of(text: str) -> str:
    """The decimal mark that a number alone shows: "?" where it can be either, empty for none."""
    plain = _mantissa(text)
    marks = [mark for mark in ".," if mark in plain]
    if not marks:
        return ""
    if len(marks) == 2:
        return max(marks, key=plain.rfind)
    (mark,) = marks
    if plain.count(mark) > 1:
        return "," if mark == "." else "."
    if not _GROUPED[mark].match(plain) or plain.startswith("0"):
        return mark
    return "?"


def settled(claims: Sequence[Claim]) -> tuple[Claim, ...]:
    """The claims of a file with plain numbers, the decimal mark told from all of them.

    Raises
    ------
    InputError
        Where the numbers of a file contradict each other, or none tells.
    """
    signs: dict[str, list[Claim]] = {}
    for claim in claims:
        signs.setdefault(_decimal_of(claim.text), []).append(claim)
    if "." in signs and "," in signs:
        raise InputError((_contrary(signs[","][0], signs["."][0]),))
    decimal = next((mark for mark in ".," if mark in signs), "")
    if not decimal:
        decimal = _default(signs.get("?", []))
    problems: list[Problem] = []
    plain = tuple(_plain(claim, decimal, problems) for claim in claims)
    if problems:
        raise InputError(tuple(problems))
    return plain


def _contrary(comma: Claim, point: Claim) -> Problem:
    return Problem(
        f"'{comma.text}' has a decimal comma, and '{point.text}' in line {point.location.line} "
        "a decimal point",
        "write all numbers of a file with the same decimal mark",
        comma.location,
    )


def _default(either: Iterable[Claim]) -> str:
    """The point, unless a comma could be the decimal mark as well."""
    for claim in either:
        if "," in claim.text:
            raise InputError.of(
                f"'{claim.text}' can be a number with a decimal comma or one with thousands, and "
                "no other number of the file tells",
                "write decimals with a point, and no separators of thousands",
                claim.location,
            )
    return "."


def _plain(claim: Claim, decimal: str, problems: list[Problem]) -> Claim:
    other = "," if decimal == "." else "."
    whole, _, rest = _mantissa(claim.text).partition(decimal)
    grouped = other not in whole or _GROUPED[other].match(whole)
    if other in rest or decimal in rest or not grouped:
        hint = "write it with one decimal mark"
        problems.append(Problem(f"'{claim.text}' is no number", hint, claim.location))
        return claim
    written = claim.text.replace(other, "").replace(decimal, ".")
    return replace(claim, text=re.sub("[dD]", "e", written).replace("< ", "<"))
