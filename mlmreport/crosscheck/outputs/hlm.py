"""HLM 6 to 8: the text output of HLM2 and HLM3.

Its groupings have no names but their levels. Estimates with robust standard errors stand in a
second table, which is not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from mlmreport.crosscheck.outputs.found import Found, Section, effect, sections
from mlmreport.crosscheck.outputs.numbers import is_value
from mlmreport.crosscheck.outputs.tables import Row, cells, entries
from mlmreport.crosscheck.outputs.text import Line

__all__ = ["SIGN", "read"]

SIGN = r"\s*(?:Specifications for this HLM|Final estimation of (?:fixed|\S*\s*variance|level))"

_NUMBER = r"([-+]?[\d.,]+(?:[eE][-+]?\d+)?)"
_TITLES = {
    "run": r"\s*Specifications for this HLM|\s*Module:\s+HLM",
    "fixed": r"\s*Final estimation of fixed effects",
    "variance": r"\s*Final estimation of .*variance components",
    "correlations": r"\s*Tau.{0,20}\(as correlations\)",
    "errors": r"\s*Standard errors of",
    "tau": r"\s*Tau\s*(?:\((?:pi|beta)\))?\s*$",
    "least": r"\s*Least[- ]squares",
    "none": r"\s*(?:-{20,}\s*)?(?:Random level-\d coefficient|The value of the|The outcome variable"
    r"|Level-\d OLS|STARTING VALUES|Starting values|Sigma_squared|sigma\^2)",
    "statistics": r"\s*Statistics for (?:the )?current",
}
_FIXED = ("estimate", "se", "t")


def read(lines: Sequence[Line], found: Found) -> None:
    """Read an output."""
    informed = False
    last: dict[str, Section] = {}
    for section in sections(lines, _TITLES):
        if section.kind == "run" and not (informed and _begins_with(found)):
            found.begin()
            informed, last = True, {}
        elif section.kind == "fixed" and not informed and not _robust(section):
            found.once("fixed")
            last = {}
        _sizes(section, found)
        match section.kind:
            case "tau" | "correlations":
                last[section.kind + _tau_of(section)] = section
            case "fixed":
                _taus(last, found)
                last = {}
                _fixed(section, found)
            case "variance":
                _variance(section, found)
            case "least":
                found.refuse(
                    section.head.text.strip()[:60], section.head, "not the final estimates"
                )
            case "errors":
                found.refuse(section.head.text.strip()[:60], section.head, "at the last iteration")


def _begins_with(found: Found) -> bool:
    """Whether nothing was read since the model began: its head has two titles."""
    return not any(claim.model == found.model for claim in found.claims)


def _tau_of(section: Section) -> str:
    named = re.search(r"\((pi|beta)\)", section.head.text)
    return f" {named[1]}" if named else ""


def _sizes(section: Section, found: Found) -> None:
    if not found.model:
        return
    body = (section.head, *section.body)
    if section.kind == "run":
        found.matching(body, rf"maximum number of level-1 units\s*=\s*{_NUMBER}", "n")
        for level in (2, 3):
            pattern = rf"maximum number of level-{level} units\s*=\s*{_NUMBER}"
            found.matching(body, pattern, f"groups(level {level})")
    for line in body:
        if re.match(r"\s*Deviance\s*=", line.text[:200]):
            found.table("Statistics for the model", line)
            found.matching([line], rf"Deviance\s*=\s*{_NUMBER}", "deviance")


def _robust(section: Section) -> bool:
    said = " ".join(line.text for line in (section.head, *section.body[:2]))
    return "robust" in said.casefold()


# --- fixed effects --------------------------------------------------------------------------------


def _fixed(section: Section, found: Found) -> None:
    if _robust(section):
        title = "Final estimation of fixed effects (with robust standard errors)"
        found.refuse(title, section.head, "lme4 has no robust standard errors")
        return
    table = entries(
        section.body, {"se": r"standard\s*errors?|\berror\b"}, until=r"\s*The (?:robust|model)"
    )
    if table is None:
        reason = "no heading with Coefficient below it"
        found.refuse("Final estimation of fixed effects", section.head, reason)
        return
    found.table("Final estimation of fixed effects", section.head)
    found.note("d.f. and p-values", "of df by the number of groups, HLM's own", section.head)
    outer: list[str] = []
    for entry in table[1]:
        if isinstance(entry, Line):
            named = re.match(r"\s*For\s+(.+?)\s*,", entry.text[:200])
            if named:
                outer = [*_kept(outer, named[1]), named[1]]
        else:
            inner = entry.label.split(",")[0]
            found.row(entry, _term([*outer, inner]), _FIXED)


def _kept(outer: Sequence[str], name: str) -> list[str]:
    """What a heading stands under: INTRCPT2 and slopes at level 2 are within one of level 1."""
    return list(outer[:1]) if outer and _height(name) > 1 else []


def _height(name: str) -> int:
    level = re.search(r"INTRCPT(\d)", name)
    return int(level[1]) if level else 1


def _term(path: Sequence[str]) -> str:
    """``SES slope`` and ``SECTOR`` as ``SES * SECTOR``; intercepts alone as the intercept."""
    parts = [re.sub(r"\s+slope\Z", "", part.strip()) for part in path]
    named = [part for part in parts if not re.match(r"INTRCPT\d", part)]
    return " * ".join(named) or "Intercept"


# --- random effects -------------------------------------------------------------------------------


def _variance(section: Section, found: Found) -> None:
    words = {
        "sd": r"standard(?:\s*deviation)?|std\.?\s*dev\w*",
        "variance": r"variance(?:\s*component)?",
        "chi": r"chi-?\s*square\w*|\bchi2\b|\bx2\b|χ2|χ²",
    }
    table = entries(section.body, words, until=r"\s*(?:Statistics|Deviance|The model)")
    if table is None:
        reason = "no heading with Variance below it"
        found.refuse("Final estimation of variance components", section.head, reason)
        return
    found.table("Final estimation of variance components", section.head)
    found.note("chi-square tests of variances", "no fit here has them", section.head)
    level = 3 if re.search(r"level-3", section.head.text) else 2
    for entry in table[1]:
        if isinstance(entry, Row):
            _components(entry, level, found)


def _components(entry: Row, level: int, found: Found) -> None:
    name = entry.label.split(",")[0]
    if entry.fault:
        found.note(entry.label, entry.fault, entry.line)
        return
    for kind, column in (("var", "variance"), ("sd", "sd")):
        if column in entry.values:
            residual = re.match(r"level-1", name, re.IGNORECASE)
            term = f"{kind}(Residual)" if residual else _of_level(kind, level, name)
            found.number(entry.line, entry.values[column], term)


def _of_level(kind: str, level: int, *names: str) -> str:
    return effect(kind, f"level {level}", *(_term(name.split("/")) for name in names))


def _taus(last: dict[str, Section], found: Found) -> None:
    """Covariances and correlations at the last iteration."""
    for kind, section in last.items():
        rows = list(_matrix(section))
        if len(rows) < 2:
            continue
        found.table(section.head.text.strip(), section.head)
        level = 3 if kind.endswith("beta") else 2
        names = [name for _, name, _ in rows]
        for place, (line, name, values) in enumerate(rows):
            for other, cell in zip(names[:place], values, strict=False):
                what = "cor" if kind.startswith("correlations") else "cov"
                found.number(line, cell, _of_level(what, level, other, name))


def _matrix(section: Section) -> Iterator[tuple[Line, str, list]]:  # type: ignore[type-arg]
    """The rows of a matrix: its name, and the numbers behind it."""
    started = False
    for line in section.body:
        tokens = cells(line, " ")
        numbers = [cell for cell in tokens if is_value(cell.text)]
        label = line.text[: numbers[0].start] if numbers else ""
        if numbers and label.strip():
            started = True
            yield line, label.split(",")[0].strip(), numbers
        elif started:
            return
