"""jamovi's GAMLj (1 to 3) and JASP (0.14 to 0.19): tables as copied, and their text."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mlmreport.crosscheck.outputs.found import Found, Section, effect, sections
from mlmreport.crosscheck.outputs.numbers import is_value
from mlmreport.crosscheck.outputs.tables import Cell, Row, cells, entries
from mlmreport.crosscheck.outputs.text import Line

__all__ = ["GAMLJ", "JASP", "read_gamlj", "read_jasp"]

GAMLJ = r"\s*(?:Fixed Effects? Parameter Estimates|Parameter Estimates \(Fixed|Random Components)"
JASP = r"\s*(?:Fixed Effects Estimates|.{0,60}: Variance Estimates|Variance/Correlation Estimates)"

_GAMLJ = {
    "info": r"\s*Model (?:Info|Fit)\s*$",
    "fixed": r"\s*(?:Fixed Effects? Parameter Estimates|Parameter Estimates \(Fixed)",
    "random": r"\s*Random Components",
    "correlations": r"\s*Random Parameters? [Cc]orrelations?",
    "tests": r"\s*(?:Fixed Effects? (?:O|o)mnibus|LRT|Post Hoc|Simple Effects|Estimated Marginal"
    r"|Additional|Principal|Intraclass)",
}
_VARIANCES = {
    "sd": r"std\.?\s*dev\w*\.?|\bsd\b",
    "variance": r"\bvariance\b",
    "icc": r"\bicc\b",
}
_LABELS = {"names": r"\bnames?\b", "effect": r"\beffect\b"}
_FIXED = ("estimate", "se", "df", "t", "p", "lower", "upper")


def read_gamlj(lines: Sequence[Line], found: Found) -> None:
    """Read tables of GAMLj."""
    for section in sections(lines, _GAMLJ):
        if section.kind:
            found.once(section.kind) if section.kind != "tests" else None
        match section.kind:
            case "info":
                _info(section, found)
            case "fixed":
                _fixed(section, "Fixed Effects Parameter Estimates", found)
            case "random":
                _random(section, found)
            case "correlations":
                _correlations(section, found)
            case "tests":
                found.refuse(
                    section.head.text.strip()[:60], section.head, "no estimate of the model"
                )


def _info(section: Section, found: Found) -> None:
    found.table("Model Info", section.head)
    for line in section.body:
        named = re.match(
            r"[\s|]*(AIC|BIC|LogLikel\S*|Log-likelihood)\b", line.text[:200], re.IGNORECASE
        )
        numbers = [cell for cell in cells(line, " ") if is_value(cell.text.strip("|"))]
        if named and numbers:
            term = named[1].casefold()[:3]
            found.number(line, numbers[0], "loglik" if term == "log" else term)


def _fixed(section: Section, title: str, found: Found) -> None:
    table = entries(section.body, blank_ends=False)
    if table is None:
        found.refuse(title, section.head, "no heading with Estimate and SE below it")
        return
    found.table(title, section.head)
    for entry in table[1]:
        if isinstance(entry, Row):
            found.row(entry, _name(entry), _FIXED)


def _name(entry: Row) -> str:
    """The first cell of a row's label; GAMLj says in the second what is contrasted."""
    if len(entry.labels) < 2:
        return entry.label
    text, first = entry.line.text, entry.labels[0]
    apart = re.search(r"\s{2,}|[\t|]", text[first.start :])
    return text[first.start : first.start + apart.start()].strip() if apart else first.text


def _random(section: Section, found: Found) -> None:
    table = entries(section.body, _VARIANCES)
    if table is None:
        found.refuse("Random Components", section.head, "no heading with Variance below it")
        return
    found.table("Random Components", section.head)
    group = ""
    for entry in table[1]:
        if isinstance(entry, Line):
            continue
        words = [cell.text for cell in entry.labels if cell.text]
        residual = words[:1] == ["Residual"]
        group = words[0] if len(words) > 1 and not residual else group
        name = " ".join(words[1:] if len(words) > 1 else words)
        _row(entry, "" if residual else group, name, found)
    for line in section.body:
        size = re.search(r"Number of Obs:\s*(\d[\d,.]*)", line.text[:400])
        if size:
            found.number(line, Cell(size[1].rstrip(",."), size.start(1), 0), "n")
        for part in re.finditer(r"groups:?\s*(\w+)[, ]\s*(\d+)", line.text[:400]):
            found.number(line, Cell(part[2], part.start(2), 0), f"groups({part[1]})")


def _row(entry: Row, group: str, name: str, found: Found) -> None:
    if entry.fault and not entry.values:
        found.note(entry.label, entry.fault, entry.line)
        return
    for kind, column in (("var", "variance"), ("sd", "sd")):
        if column in entry.values:
            term = effect(kind, group, name) if group else f"{kind}(Residual)"
            found.number(entry.line, entry.values[column], term)
    if "icc" in entry.values and name == "(Intercept)":
        found.number(entry.line, entry.values["icc"], f"icc({group})")


def _correlations(section: Section, found: Found) -> None:
    found.table("correlations of random effects", section.head)
    group = ""
    for line in section.body:
        tokens = [cell for cell in cells(line, " ") if cell.text != "|"]
        if len(tokens) > 2 and is_value(tokens[-1].text):
            words = [cell.text for cell in tokens[:-1]]
            group = words[0] if len(words) > 2 else group
            found.number(line, tokens[-1], effect("cor", group, *words[-2:]))


# --- JASP -----------------------------------------------------------------------------------------

_JASP = {
    "summary": r"\s*(?:Model [Ss]ummary|Fit [Ss]tatistics)",
    "fixed": r"\s*Fixed Effects Estimates",
    "variance": r"\s*(\S.{0,60}): Variance Estimates",
    "correlation": r"\s*(\S.{0,60}): Correlation Estimates",
    "residual": r"\s*Residual Variance Estimates",
    "sample": r"\s*Sample [Ss]izes",
    "tests": r"\s*(?:ANOVA Summary|Estimated Marginal|Contrasts|Variance/Correlation)",
}


def read_jasp(lines: Sequence[Line], found: Found) -> None:
    """Read tables of JASP."""
    for section in sections(lines, _JASP):
        match section.kind:
            case "summary":
                found.once("summary")
                _summary(section, found)
            case "fixed":
                found.once("fixed")
                _fixed(section, "Fixed Effects Estimates", found)
            case "variance" | "residual" | "correlation":
                found.once(section.head.text.strip())
                named = re.match(_JASP[section.kind], section.head.text, re.IGNORECASE)
                group = named[1] if named and named.groups() else ""
                if section.kind == "correlation":
                    _matrix(section, group, found)
                else:
                    _variances(section, group, found)
            case "tests":
                title = section.head.text.strip()[:60]
                if not title.startswith("Variance"):
                    found.refuse(title, section.head, "no estimate of the model")


def _summary(section: Section, found: Found) -> None:
    words = {"deviance": r"deviance(?:\s*\(\w+\))?", "loglik": r"log[- ]?lik\w*\.?",
             "aic": r"\baic\b", "bic": r"\bbic\b", "value": r"\bdf\b"}  # fmt: skip
    table = entries(section.body, words)
    if table is None:
        found.refuse("Model summary", section.head, "no heading with its columns below it")
        return
    found.table("Model summary", section.head)
    for entry in table[1]:
        for term in ("deviance", "loglik", "aic", "bic"):
            if isinstance(entry, Row) and term in entry.values:
                found.number(entry.line, entry.values[term], term)


def _variances(section: Section, group: str, found: Found) -> None:
    table = entries(section.body, _VARIANCES)
    title = section.head.text.strip()
    if table is None:
        found.refuse(title, section.head, "no heading with Variance below it")
        return
    found.table(title, section.head)
    for entry in table[1]:
        if isinstance(entry, Row):
            _row(entry, group, entry.label, found)


def _matrix(section: Section, group: str, found: Found) -> None:
    """The lower triangle of correlations, with ones on its diagonal."""
    found.table(section.head.text.strip(), section.head)
    names: list[str] = []
    for line in section.body:
        tokens = cells(line, "\t" if "\t" in line.text else " ")
        numbers = [cell for cell in tokens if is_value(cell.text)]
        if not numbers:
            continue
        name = line.text[: numbers[0].start].strip()
        for other, cell in zip(names, numbers, strict=False):
            found.number(line, cell, effect("cor", group, other, name))
        names.append(name)
