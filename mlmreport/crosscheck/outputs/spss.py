"""SPSS MIXED: tables exported as text or copied, with blanks, tabs, bars or commas between cells.

*IBM SPSS Statistics Command Syntax Reference*, MIXED, versions 22 to 29.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from mlmreport.crosscheck.outputs.found import Found, Section, effect, numbered, sections
from mlmreport.crosscheck.outputs.tables import Cell, Row, entries
from mlmreport.crosscheck.outputs.text import Line

__all__ = ["SIGN", "read"]

SIGN = r"\W*Estimates of (?:Fixed Effects|Covariance Parameters)"

_TITLES = {
    "fixed": r"\W*Estimates of Fixed Effects",
    "random": r"\W*Estimates of Covariance Parameters",
    "criteria": r"\W*Information Criteria",
    "tests": r"\W*Type III Tests of Fixed Effects",
    "dimension": r"\W*Model Dimension",
    "none": r"\W*(?:Random Effect Covariance Structure|Residual Covariance|Covariance Matrix"
    r"|Correlation Matrix|Estimated Marginal Means|Contrast Coefficients|Pairwise Comparisons"
    r"|Univariate Tests|Descriptive Statistics|Case Processing|Notes\W*$|Coefficients\W*$"
    r"|Model Summary|Iteration History|Empirical Best Linear)",
}
_FIXED = ("estimate", "se", "df", "t", "p", "lower", "upper")
_ZERO = re.compile(r"0(?:[.,]0*)?\(?[a-z]\)?\Z")


def read(lines: Sequence[Line], found: Found) -> None:
    """Read an output."""
    for section in sections(lines, _TITLES):
        match section.kind:
            case "dimension":
                found.once("dimension")
            case "fixed":
                found.once("fixed")
                _fixed(section, found)
            case "random":
                found.once("random")
                _random(section, found)
            case "criteria":
                found.once("criteria")
                _criteria(section, found)
            case "tests" | "none":
                title = section.head.text.strip(' |"\t,;')[:60]
                found.refuse(title, section.head, "no estimate of the model")


def _fixed(section: Section, found: Found) -> None:
    table = entries(section.body)
    if table is None:
        reason = "no heading with Estimate and Std. Error below it"
        found.refuse("Estimates of Fixed Effects", section.head, reason)
        return
    found.table("Estimates of Fixed Effects", section.head)
    for entry in table[1]:
        if isinstance(entry, Line):
            found.note(entry.text.strip()[:60], "no numbers", entry)
        elif _redundant(entry):
            found.note(entry.label, "set to zero by SPSS", entry.line)
        else:
            found.row(entry, entry.label, _FIXED)


def _redundant(entry: Row) -> bool:
    """Whether a row is of a redundant category: zero with a footnote, and nothing else."""
    cell = entry.values.get("estimate")
    return cell is not None and bool(_ZERO.match(cell.text)) and "t" not in entry.values


# --- covariance parameters ------------------------------------------------------------------------


def _random(section: Section, found: Found) -> None:
    table = entries(section.body, {"t": r"\bwald\b(?:\s*z)?|\bz\b"})
    if table is None:
        reason = "no heading with Estimate and Std. Error below it"
        found.refuse("Estimates of Covariance Parameters", section.head, reason)
        return
    found.table("Estimates of Covariance Parameters", section.head)
    if {column.what for column in table[0].columns} - {"estimate", "se"}:
        what = "tests and limits of variances"
        found.note(what, "of the normal distribution, which no fit here has", section.head)
    subject, effects = "", [""]
    for entry in table[1]:
        label = entry.text if isinstance(entry, Line) else entry.label
        head = re.search(r"(.*?)\[\s*subject\s*=\s*(.*?)\s*\]", label, re.IGNORECASE)
        if head:
            subject = head[2]
            effects = [part.strip(' |"\t') for part in head[1].split(" + ")]
            label = label[head.end() :]
        if isinstance(entry, Line):
            continue
        term = _component(label.strip(), subject, effects)
        if term is None:
            found.note(entry.label, "a parameter that no model here has", entry.line)
        else:
            found.row(entry, term, ("estimate", "se"))


def _component(label: str, subject: str, effects: Sequence[str]) -> str | None:
    """``UN (2,1)`` of ``Intercept + x [subject = school]`` as ``cov(school: Intercept, x)``."""
    if re.match(r"Residual\b|Repeated Measures\s+Variance", label):
        return "var(Residual)"
    pair = re.search(r"\b(?:UN|VC|ID|Cov|Corr|UNR)\s*\((\d+)\s*,\s*(\d+)\)", label)
    if pair:
        term = numbered(subject, effects, int(pair[1]), int(pair[2]))
        corr = term is not None and pair[0].startswith("Corr")
        return term.replace("cov(", "cor(", 1) if corr and term else term
    single = re.search(r"\bVar\s*\((\d+)\)", label)
    if single:
        return numbered(subject, effects, int(single[1]), int(single[1]))
    named = re.search(r"\bVar(?:iance)?\s*:\s*(.+)", label)
    if named and subject:
        return effect("var", subject, named[1])
    if (
        re.fullmatch(r"(?:Variance|ID|VC)?(?:\s*diagonal)?", label)
        and subject
        and len(effects) == 1
    ):
        return effect("var", subject, effects[0])
    alone = re.fullmatch(r"(.+?)\s+Variance", label)
    if alone and "+" not in label:
        return effect("var", alone[1], "Intercept")
    return None


# --- criteria -------------------------------------------------------------------------------------

_CRITERIA = {
    r"-2 (?:Restricted )?Log": "deviance",
    r"Akaike": "aic",
    r"Schwarz": "bic",
    r"Hurvich|Bozdogan": "",
}
_LAST = re.compile(r"(?:[A-Za-z.)\"],|[\s|;)\"])([-+]?[\d.,]*\d)\Z")


def _criteria(section: Section, found: Found) -> None:
    found.table("Information Criteria", section.head)
    waiting = ""
    for line in section.body:
        if re.match(r"\W*(?:The information|[a-z]\. )", line.text):
            return
        text = line.text[:400].rstrip(' |"\t,;')
        term = next((t for p, t in _CRITERIA.items() if re.search(p, text)), None)
        number = _LAST.search(text)
        if term is not None and number is None:
            waiting = term
        elif number and (term or (term is None and waiting)):
            found.number(line, Cell(number[1], number.start(1), 0), term or waiting)
            waiting = ""
        elif term == "":
            found.note(
                text.split("(")[0].strip(' |"\t'), "a criterion that lme4 does not have", line
            )
