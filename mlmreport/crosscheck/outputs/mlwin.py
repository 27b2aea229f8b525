"""MLwiN: its tables of estimates, the FIXED and RANDOM commands, and R2MLwiN's summary.

What runmlwin prints in Stata is read with Stata's outputs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from mlmreport.crosscheck.outputs.found import Found, Section, effect, sections
from mlmreport.crosscheck.outputs.tables import Row, entries
from mlmreport.crosscheck.outputs.text import Line

__all__ = ["SIGN", "read"]

SIGN = (
    r"\s*MLwiN \(version|\s*LEV\.\s+PARAMETER|\s*PARAMETER\s+ESTIMATE\s+S\.?\s*ERROR"
    r"|\s*-2\*log ?lik"
)
_NUMBER = r"([-+]?[\d.,]+)"
_TITLES = {
    "head": r"\s*MLwiN \(version",
    "fixed": r"\s*The fixed part estimates",
    "random": r"\s*The random part estimates at the (\S+) level",
    "listed": r"\s*PARAMETER\s+ESTIMATE\s+S\.?\s*ERROR",
    "levels": r"\s*LEV\.\s+PARAMETER",
    "table": r"\W*Fixed Part\W*$",
    "none": r"\s*Signif\. codes",
}
_WORDS = {"nconv": r"\(nconv\)|\bnconv\b", "prev": r"prev\.?\s*estim\w*\.?", "corr": r"\bcorr\.?"}


def read(lines: Sequence[Line], found: Found) -> None:
    """Read an output."""
    lowest = ""
    for section in sections(lines, _TITLES):
        if section.kind in {"head", "listed", "table"} or (
            section.kind == "fixed" and not found.model
        ):
            found.once("model")
        for line in section.body:
            level = re.search(r"Level 1:\s*(\S+)", line.text[:400])
            lowest = level[1] if level else lowest
        match section.kind:
            case "fixed":
                _fixed(section, section.body, found)
            case "random":
                _random(section, lowest, found)
            case "listed":
                _fixed(section, (section.head, *section.body), found)
            case "levels":
                _levels(section, found)
            case "table":
                _table(lines, section, found)
        _whole(section, found)


def _whole(section: Section, found: Found) -> None:
    if not found.model:
        return
    found.matching(section.body, rf"^\s*Number of obs:\s*{_NUMBER}", "n")
    found.matching(section.body, rf"^\s*Log likelihood:\s*{_NUMBER}", "loglik")
    patterns = (rf"^\s*Deviance statistic:\s*{_NUMBER}", rf"-2\*log ?like\w*.*?[:=]?\s+{_NUMBER}")
    _ = any(found.matching(section.body, pattern, "deviance") for pattern in patterns)


def _fixed(section: Section, body: Sequence[Line], found: Found) -> None:
    table = entries(body, _WORDS, blank_ends=True)
    if table is None:
        found.refuse("fixed part", section.head, "no heading with its columns below it")
        return
    found.table("fixed part", section.head)
    for entry in table[1]:
        if isinstance(entry, Row):
            found.row(entry, entry.label, ("estimate", "se", "t", "p", "lower", "upper"))


def _random(section: Section, lowest: str, found: Found) -> None:
    table = entries(section.body, _WORDS, blank_ends=True)
    if table is None:
        found.refuse("random part", section.head, "no heading with its columns below it")
        return
    found.table("random part", section.head)
    named = re.match(_TITLES["random"], section.head.text, re.IGNORECASE)
    group = named[1] if named else ""
    for entry in table[1]:
        if not isinstance(entry, Row):
            continue
        if group == lowest:
            term: str | None = "var(Residual)" if entry.label.startswith("var_") else None
        else:
            term = _component(entry.label, group, found)
        if term is None:
            found.note(entry.label, "a parameter that no model here has", entry.line)
        else:
            found.row(entry, term, ("estimate", "se"))


def _component(label: str, group: str, found: Found) -> str | None:
    """``cov_Intercept_standlrt``: where the names part, the names of the fixed part tell."""
    kind, _, names = label.partition("_")
    if kind == "var":
        return effect("var", group, names)
    known = {claim.term for claim in found.claims if claim.model == found.model}
    parts = names.split("_")
    for cut in range(1, len(parts)):
        first, second = "_".join(parts[:cut]), "_".join(parts[cut:])
        if kind == "cov" and ({first, second} <= known or len(parts) == 2):
            return effect("cov", group, first, second)
    return None


def _levels(section: Section, found: Found) -> None:
    """What the RANDOM command lists: a level, ``cons /ses``, estimates."""
    table = entries((section.head, *section.body), _WORDS)
    if table is None:
        found.refuse("random part", section.head, "no heading with its columns")
        return
    found.table("random part", section.head)
    for entry in table[1]:
        if isinstance(entry, Row):
            _by_level(entry, found)


def _by_level(entry: Row, found: Found) -> None:
    named = re.match(r"(\d)\s+(\S+?)\s*/\s*(\S+)", entry.label)
    if not named:
        found.note(entry.label, "no level and pair of names", entry.line)
        return
    level, first, second = int(named[1]), named[2], named[3]
    found.row(
        entry, _pair(f"level {level}" if level > 1 else "", first, second), ("estimate", "se")
    )


def _pair(group: str, first: str, second: str) -> str:
    if not group:
        return "var(Residual)"
    if first == second:
        return effect("var", group, first)
    return effect("cov", group, first, second)


def _table(lines: Sequence[Line], section: Section, found: Found) -> None:
    """The table of models: its heading stands above "Fixed Part", levels above their variances."""
    before = [line for line in lines if line.number < section.head.number][-4:]
    table = entries((*before, section.head, *section.body), _WORDS, header=len(before) + 3)
    if table is None:
        found.refuse("table of estimates", section.head, "no heading with its columns above it")
        return
    found.table("table of estimates", section.head)
    group, fixed = "", True
    for entry in table[1]:
        if isinstance(entry, Line):
            level = re.match(r"\W*Level:?\s*(\d+|\S+)", entry.text, re.IGNORECASE)
            fixed = fixed and not (level or re.match(r"\W*Random Part", entry.text))
            group = (f"level {level[1]}" if level[1].isdigit() else level[1]) if level else group
        elif fixed:
            found.row(entry, entry.label, ("estimate", "se"))
        else:
            _in_table(entry, group, found)


def _in_table(entry: Row, group: str, found: Found) -> None:
    whole = re.match(r"(-2\*log|Units?: ?(.*))", entry.label, re.IGNORECASE)
    pair = re.match(r"(\S+?)\s*/\s*(\S+)", entry.label)
    if whole:
        return
    if pair:
        inner = "" if group == "level 1" else group
        found.row(entry, _pair(inner, pair[1], pair[2]), ("estimate", "se"))
    else:
        found.note(entry.label, "a parameter that no model here has", entry.line)
