"""Stata's ``mixed`` (``xtmixed``), and runmlwin, which prints alike.

*Stata Multilevel Mixed-Effects Reference Manual*, ``mixed``, editions 13 to 18. An estimation
begins at a line with "Number of obs"; what follows a further command is of that command.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from mlmreport.crosscheck.outputs.found import Found, Section, effect, sections
from mlmreport.crosscheck.outputs.tables import Cell, Layout, Row, Vocabulary, cells, layout, row
from mlmreport.crosscheck.outputs.text import Line

__all__ = ["SIGN", "read"]

SIGN = r"\s*(?:Mixed-effects (?:REML |ML )?regression|MLwiN [\d.]+ +multilevel model)"

_NUMBER = r"([-+]?[\d.,]+(?:[eE][-+]?\d+)?)"
_TITLES = {
    "model": SIGN,
    "ic": r"\s*Akaike's information criterion",
    "icc": r"\s*(?:Residual|Conditional )?\s*intraclass correlation\s*$",
    "log": r"\s*(?:Performing (?:EM|gradient)|Refining starting values|Fitting full model)",
    "foreign": r".{0,200}\bNumber of obs\b",
    "margins": r"\s*(?:Predictive margins|Adjusted predictions|(?:Average|Conditional) marginal"
    r"|Contrasts? of|Pairwise comparisons)",
    "lr": r"\s*Likelihood-ratio test",
    "command": r"\. +[a-z]",
}
_FIXED = ("estimate", "se", "t", "df", "p", "lower", "upper")
_ROBUST = re.compile(r"\b(Robust|Bootstrap|Jackknife)\b|\(Std\. err\. adjusted", re.IGNORECASE)


def read(lines: Sequence[Line], found: Found) -> None:
    """Read a log."""
    for section in sections(_joined(lines), _TITLES):
        match section.kind:
            case "model":
                found.begin()
                _model(section, found)
            case "ic" if found.model:
                _criteria(section, found)
            case "icc" if found.model:
                _icc(section, found)
            case "foreign" | "margins" | "lr":
                title = section.head.text.split("  ")[0].strip() or section.head.text.strip()
                found.refuse(title[:60], section.head, "not of the mixed model")


def _joined(lines: Sequence[Line]) -> Sequence[Line]:
    """Without the lines that continue a command."""
    return [line for line in lines if not line.text.startswith("> ")]


def _model(section: Section, found: Found) -> None:
    lines = (section.head, *section.body)
    found.table("Stata's head of the model", section.head)
    found.matching(lines, rf"Number of obs\s*=\s*{_NUMBER}", "n")
    found.matching(lines, rf"^\s*Log (?:restricted-|pseudo)?likelihood\s*=\s*{_NUMBER}", "loglik")
    _groups(lines, found)
    fixed, robust = False, False
    at = 0
    while at < len(lines):
        line = lines[at]
        robust = robust or bool(_ROBUST.search(line.text[:400]))
        bar = line.text.find("|")
        if bar < 0:
            _other(line, found)
            at += 1
        elif re.search(r"Random-effects", line.text[:bar], re.IGNORECASE) and _columns(lines, at):
            at = _random(lines, at, found)
        elif _columns(lines, at) and not fixed:
            fixed = True
            at = _fixed(lines, at, found, robust)
        elif _columns(lines, at):
            found.refuse(line.text[:bar].strip() or "a table", line, "not of the mixed model")
            return
        else:
            at += 1


_TESTS = re.compile(r"\s*LR test|.*\bWald chi2\(|.*\bF\(\s*\d")


def _other(line: Line, found: Found) -> None:
    if _TESTS.match(line.text[:300]):
        found.note(re.split(r"\s{2,}|=", line.text.strip())[0], "no test of this kind here", line)


def _columns(lines: Sequence[Line], at: int) -> Layout | None:
    """The columns right of the bar, where a line heads a table of estimates."""
    text = lines[at].text
    bar = text.find("|")
    if bar < 0:
        return None
    made = layout([_right(lines[at])], None, 0)
    return made[0] if made else None


def _right(line: Line) -> Line:
    """What stands right of the bar, in its place."""
    bar = line.text.find("|")
    return Line(line.number, " " * (bar + 1) + line.text[bar + 1 :], line.file)


def _name(line: Line) -> str:
    return line.text.partition("|")[0].strip()


# --- fixed effects --------------------------------------------------------------------------------


def _fixed(lines: Sequence[Line], at: int, found: Found, robust: bool) -> int:
    found.table("Stata's fixed effects", lines[at])
    plan = _columns(lines, at)
    assert plan is not None
    takes = ("estimate",) if robust else _FIXED
    if robust:
        found.note("standard errors and tests", "robust ones, which lme4 does not have", lines[at])
    header: list[str] = []
    for place in range(at + 1, len(lines)):
        line = lines[place]
        if "|" not in line.text:
            if not _rule(line) or _ends(lines, place):
                return place + 1
            continue
        name, values = _name(line), row(_right(line), plan)
        if values is not None and name:
            term = _term(header, name)
            if re.search(r"\((?:base|omitted|empty)\)", line.text):
                found.note(term, "set to zero by Stata", line)
            elif _equation(header):
                found.note(name, "a parameter on Stata's own scale", line)
            else:
                found.row(_whole(values, line), term, takes)
        elif name and _right(line).text.strip(" .|"):
            found.note(_term(header, name), _right(line).text.strip(), line)
        header = _header(header, name, values is not None)
    return len(lines)


def _whole(values: Row, line: Line) -> Row:
    return replace(values, line=line)


def _rule(line: Line) -> bool:
    return bool(re.fullmatch(r"\s*[-+]{5,}\s*", line.text))


def _ends(lines: Sequence[Line], place: int) -> bool:
    """Whether a rule is the last of its table: no row below it."""
    return not any("|" in line.text for line in lines[place + 1 : place + 2])


def _equation(header: Sequence[str]) -> bool:
    return bool(header) and re.match(r"(?:ln|at)[sr]\d+_|lnsig", header[-1]) is not None


def _header(header: list[str], name: str, numbers: bool) -> list[str]:
    """What heads the next row: ended by an empty line, and by the row that a # leads to."""
    if not name:
        return []
    if not numbers:
        return [*header, name]
    return [] if header and header[-1].endswith("#") else header


def _term(header: Sequence[str], name: str) -> str:
    """A term over several lines: a name that ends in # goes on, a factor heads its levels."""
    if name == "_cons":
        return name
    above = "".join(part for part in header if part.endswith("#"))
    factor = next((part for part in reversed(header) if not part.endswith("#")), "")
    if above and not factor:
        return above + name
    if not header:
        return re.sub(r"\b(\d+)[bo]?n?\.(\w+)", r"\2[\1]", name)
    factors, levels = (above + factor).split("#"), name.split("#")
    named = iter(level.strip() for level in levels)
    return "#".join(
        part if part.startswith("c.") else f"{part}[{next(named, '')}]" for part in factors
    )


# --- random effects -------------------------------------------------------------------------------


def _random(lines: Sequence[Line], at: int, found: Found) -> int:
    found.table("Stata's random-effects parameters", lines[at])
    plan = _columns(lines, at)
    assert plan is not None
    group, robust = "", False
    if any(column.what == "lower" for column in plan.columns):
        found.note("limits of variances", "by the logarithm, which no fit here has", lines[at])
    robust = any(_ROBUST.search(line.text[:400]) for line in lines[max(0, at - 2) : at + 1])
    for place in range(at + 1, len(lines)):
        line = lines[place]
        if "|" not in line.text:
            if not _rule(line) or _ends(lines, place):
                return place + 1
            continue
        name, values = _name(line), row(_right(line), plan)
        if values is None:
            group = name.split(":")[0].strip() if ":" in name else group
            level = re.match(r"Level\s+\d+:\s*(.+)", name)
            group = level[1] if level else group
        elif group == "Residual" and "Residual" not in name:
            found.note(name, "a parameter of the residuals' own structure", line)
        else:
            term = _effect(group, name)
            found.row(_whole(values, line), term, ("estimate",) if robust else ("estimate", "se"))
    return len(lines)


def _effect(group: str, name: str) -> str:
    """``var(cses)`` under ``school: Unstructured`` as ``var(school: cses)``."""
    match = re.fullmatch(r"(var|sd|cov|corr)\((.*)\)", name)
    if match is None:
        return name
    kind, effects = match[1].replace("corr", "cor"), match[2].split(",")
    if effects == ["Residual"] or effects == ["e"]:
        return f"{kind}(Residual)"
    crossed = re.fullmatch(r"R\.(.+)", effects[0].strip())
    if crossed and len(effects) == 1:
        return effect(kind, crossed[1], "_cons")
    return effect(kind, group, *(part.strip() for part in effects))


# --- groups, criteria, ICC ------------------------------------------------------------------------


def _groups(lines: Sequence[Line], found: Found) -> None:
    named = next((re.search(r"Group variable:\s*(\S+)", line.text) for line in lines if
                  "Group variable:" in line.text), None)  # fmt: skip
    if named:
        found.matching(lines, rf"Number of groups\s*=\s*{_NUMBER}", f"groups({named[1]})")
        return
    inside = False
    for line in lines:
        if re.match(r"\s*Group variable\s*\|", line.text, re.IGNORECASE):
            inside = True
        elif inside and "|" in line.text:
            numbers = cells(_right(line), " ")
            if numbers and numbers[0].text.replace(",", "").isdecimal():
                found.number(line, numbers[0], f"groups({_name(line)})")
        elif inside and not line.blank:
            return


_IC: Vocabulary = {
    "rows": r"\bN\b|\bObs\b",
    "null": r"ll\(null\)",
    "loglik": r"ll\(model\)",
    "aic": r"\bAIC\b",
    "bic": r"\bBIC\b",
    "value": r"\bdf\b",
}


def _criteria(section: Section, found: Found) -> None:
    found.table("Stata's information criteria", section.head)
    plan: Layout | None = None
    for line in section.body[:12]:
        if "|" not in line.text:
            continue
        if plan is None:
            made = layout([_right(line)], _IC)
            plan = made[0] if made else None
            continue
        values = row(_right(line), plan)
        for term in ("aic", "bic"):
            if values and term in values.values:
                found.number(line, values.values[term], term)
        if values:
            return


def _icc(section: Section, found: Found) -> None:
    found.table("Stata's intraclass correlation", section.head)
    rows: list[tuple[Line, str, Cell]] = []
    plan: Layout | None = None
    for line in section.body[:12]:
        if "|" not in line.text:
            continue
        if plan is None:
            plan = _icc_columns(line)
            continue
        values = row(_right(line), plan)
        if values and "estimate" in values.values:
            rows.append((line, _name(line), values.values["estimate"]))
    for line, name, cell in rows:
        if len(rows) == 1:
            found.number(line, cell, f"icc({name})")
        else:
            found.note(f"ICC of {name}", "of the levels above it together", line)


def _icc_columns(line: Line) -> Layout | None:
    made = layout([_right(line)], {"estimate": r"\bICC\b"})
    return made[0] if made else None
