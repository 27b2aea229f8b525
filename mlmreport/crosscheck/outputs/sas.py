"""SAS PROC MIXED: the listing, or its tables copied from the results viewer.

*SAS/STAT User's Guide*, The MIXED Procedure. With ``type=un`` the listing has no names of effects;
they are counted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from mlmreport.crosscheck.outputs.found import Found, Section, effect, sections
from mlmreport.crosscheck.outputs.numbers import is_value
from mlmreport.crosscheck.outputs.tables import Cell, Layout, Row, cells, entries
from mlmreport.crosscheck.outputs.text import Line

__all__ = ["SIGN", "read"]

SIGN = r"\s*(?:The Mixed Procedure|Covariance Parameter Estimates|Solution for Fixed Effects)"

_TITLES = {
    "info": r"\s*Model Information",
    "covariance": r"\s*Covariance Parameter Estimates",
    "fit": r"\s*Fit Statistics",
    "fixed": r"\s*Solution for Fixed Effects",
    "rows": r"\s*Number of Observations\s*$",
    "tests": r"\s*(?:Type [123] Tests of Fixed Effects|Null Model Likelihood|Least Squares Means"
    r"|Solution for Random Effects|Differences of|Tests of|Estimates\s*$|Contrasts\s*$)",
    "none": r"\s*(?:Iteration History|Dimensions\s*$|Class Level Information|Convergence criteria"
    r"|Estimated [GVR]|Asymptotic|The Mixed Procedure|The SAS System|The \w+ Procedure)",
}
_FIXED = ("estimate", "se", "df", "t", "p", "lower", "upper")


def read(lines: Sequence[Line], found: Found) -> None:
    """Read a listing."""
    informed, method = False, ""
    for section in sections(lines, _TITLES):
        if section.kind == "info":
            found.begin()
            informed, method = True, _method(section)
        elif section.kind in {"covariance", "fixed", "fit"} and not informed:
            found.once(section.kind)
        match section.kind:
            case "covariance":
                _covariance(section, found)
            case "fixed":
                _fixed(section, method, found)
            case "fit":
                _fit(section, found)
            case "tests":
                found.refuse(
                    section.head.text.strip()[:60], section.head, "no estimate of the model"
                )
        if found.model:
            pattern = r"Number of Observations Used\s+(\d+)|^\s*Observations Used\s+(\d+)"
            _rows(section, found, pattern)


def _rows(section: Section, found: Found, pattern: str) -> None:
    for line in section.body:
        match = re.search(pattern, line.text[:400])
        if match:
            number = match[1] or match[2]
            found.number(line, Cell(number, match.end() - len(number), 0), "n")


def _covariance(section: Section, found: Found) -> None:
    table = entries(section.body, {"t": r"\bz\s*value\b|\bvalue\b|\bz\b"}, blank_ends=True, least=1)
    if table is None:
        reason = "no heading with Estimate below it"
        found.refuse("Covariance Parameter Estimates", section.head, reason)
        return
    found.table("Covariance Parameter Estimates", section.head)
    if any(column.what in {"t", "p", "lower"} for column in table[0].columns):
        what = "tests and limits of variances"
        found.note(what, "of the normal distribution, which no fit here has", section.head)
    for entry in table[1]:
        if isinstance(entry, Line):
            found.note(entry.text.strip()[:60], "no numbers", entry)
            continue
        term = _component(entry.label)
        if term is None:
            found.note(entry.label or "a row", "a parameter that no model here has", entry.line)
        else:
            found.row(entry, term, ("estimate", "se"))


def _component(label: str) -> str | None:
    """``UN(2,1)   school`` as the covariance of a grouping's first and second effects."""
    if re.match(r"Residual\b", label, re.IGNORECASE):
        return "var(Residual)"
    pair = re.match(r"(?:UN|UNR|FA|Var|Corr|Cov)\s*\((\d+)(?:,\s*(\d+))?\)\s+(.+)", label)
    if pair:
        row, column = int(pair[1]), int(pair[2] or pair[1])
        group = _group(pair[3])
        if row == column:
            return effect("var", group, f"#{row}")
        kind = "cor" if label.startswith("Corr") else "cov"
        return effect(kind, group, f"#{min(row, column)}", f"#{max(row, column)}")
    parts = label.split()
    if not parts:
        return None
    if len(parts) == 1:
        return effect("var", _group(parts[0]), "Intercept")
    return effect("var", _group(parts[-1]), " ".join(parts[:-1]).replace("*", ":"))


def _group(text: str) -> str:
    """``class(school)`` and ``class*school`` are classes."""
    return text.strip()


def _method(section: Section) -> str:
    """How denominator df are found, where the listing says so."""
    for line in section.body:
        named = re.match(r"\s*Degrees of Freedom Method\s+(\S.*)", line.text[:200])
        if named:
            return named[1].strip()
    return ""


def _computed(method: str, rows: Sequence[Row | Line]) -> bool:
    """Whether df are Satterthwaite's or Kenward-Roger's: as the listing says, or no integers."""
    if method:
        return method.casefold().startswith(("satter", "kenward"))
    cells_ = [row.values["df"].text for row in rows if isinstance(row, Row) and "df" in row.values]
    return not cells_ or not all(text.isdecimal() for text in cells_)


def _fixed(section: Section, method: str, found: Found) -> None:
    table = entries(section.body, blank_ends=True)
    if table is None:
        reason = "no heading with Estimate below it"
        found.refuse("Solution for Fixed Effects", section.head, reason)
        return
    found.table("Solution for Fixed Effects", section.head)
    plan, rows = table
    classes = [cell.text.casefold() for cell in plan.heads if cell.text.casefold() != "effect"]
    takes: tuple[str, ...] = _FIXED
    if not _computed(method, rows):
        takes = ("estimate", "se", "t")
        what = "DF, p-values and limits"
        found.note(what, f"of df by SAS's {method or 'containment'} method", section.head)
    for entry in rows:
        if isinstance(entry, Line):
            found.note(entry.text.strip()[:60], "no numbers", entry)
            continue
        term = _term(entry, classes, plan)
        if not term:
            found.note("a row of numbers", "no label", entry.line)
        elif _redundant(entry):
            found.note(term, "set to zero by SAS", entry.line)
        else:
            found.row(entry, term, takes)


def _redundant(entry: Row) -> bool:
    cell = entry.values.get("estimate")
    return cell is not None and cell.text == "0" and "t" not in entry.values


def _term(entry: Row, classes: Sequence[str], plan: Layout) -> str:
    """``ses*sector   Catholic`` as ``ses * sector[Catholic]``."""
    if not entry.labels:
        return ""
    effect_, *levels = entry.labels
    factors = effect_.text.split("*")
    given = iter(_levels(levels, plan))
    named = [
        f"{factor}[{level}]"
        if factor.casefold() in classes and (level := next(given, ""))
        else factor
        for factor in factors
    ]
    rest = list(given)
    return " * ".join(named) + (f" {' '.join(rest)}" if rest else "")


def _levels(levels: Sequence[Cell], plan: Layout) -> list[str]:
    """The categories of a row; those with blanks stand below one heading."""
    heads = [cell for cell in plan.heads if cell.text.casefold() != "effect"]
    if len(levels) <= len(heads) or plan.apart != " ":
        return [cell.text for cell in levels]
    found: dict[int, list[str]] = {}
    for cell in levels:
        below = [k for k, head in enumerate(heads) if head.start <= cell.start + 1]
        found.setdefault(below[-1] if below else 0, []).append(cell.text)
    return [" ".join(found[k]) for k in sorted(found)]


_CRITERIA = {
    r"-2 (?:Res(?:idual)? )?Log Likelihood": "deviance",
    r"AIC\b": "aic",
    r"BIC\b": "bic",
    r"AICC\b|HQIC|CAIC": "",
}


def _fit(section: Section, found: Found) -> None:
    found.table("Fit Statistics", section.head)
    for line in section.body:
        term = next(
            (t for p, t in _CRITERIA.items() if re.match(rf"\s*[|\"]?{p}", line.text[:200])), None
        )
        numbers = [cell for cell in cells(line, " ") if is_value(cell.text)]
        if term and numbers:
            found.number(line, numbers[-1], term)
        elif term == "":
            found.note(line.text.strip().split()[0], "a criterion that lme4 does not have", line)
