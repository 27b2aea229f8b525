"""Mplus 6 to 8: two- and three-level regressions (``TYPE = TWOLEVEL RANDOM``).

A random slope has a name of its own in Mplus; the input that stands at the head of the output says
of what. Standard errors are compared where the estimator is ML: those of MLR are robust.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mlmreport.crosscheck.outputs.found import Found, Section, effect, sections
from mlmreport.crosscheck.outputs.tables import Row, entries
from mlmreport.crosscheck.outputs.text import Line

__all__ = ["SIGN", "read"]

SIGN = r"\s*Mplus (?:VERSION|DEVELOPMENT)|(?-i:\s*MODEL RESULTS\s*$)"

_NUMBER = r"([-+]?[\d.]+)"
_TITLES = {
    "input": r"\s*Mplus (?:VERSION|DEVELOPMENT)|(?-i:\s*INPUT INSTRUCTIONS)",
    "summary": r"(?-i:\s*SUMMARY OF ANALYSIS)",
    "data": r"(?-i:\s*SUMMARY OF DATA)",
    "fit": r"(?-i:\s*(?:TESTS OF MODEL FIT|MODEL FIT INFORMATION))",
    "model": r"(?-i:\s*MODEL RESULTS\s*$)",
    "standard": r"(?-i:\s*STANDARDIZED MODEL RESULTS|\s*STDYX?|\s*R-SQUARE)",
    "none": r"(?-i:[A-Z][A-Z/ -]{7,}\s*(?:\(.*\))?\s*$)",
}


@dataclass
class _State:
    """What the head of an output says."""

    slopes: dict[str, str] = field(default_factory=dict)
    cluster: list[str] = field(default_factory=list)
    robust: bool = False


def read(lines: Sequence[Line], found: Found) -> None:
    """Read an output."""
    state = _State()
    began = False
    for section in sections(lines, _TITLES):
        if section.kind == "input" and not began:
            found.begin()
            state, began = _State(), True
        _said(section, state)
        match section.kind:
            case "summary" | "data":
                _sizes(section, state, found)
            case "fit":
                _fit(section, found)
            case "model":
                if not began:
                    found.once("model")
                began = False
                _model(section, state, found)
            case "standard":
                found.refuse(section.head.text.strip()[:60], section.head, "standardized")


def _said(section: Section, state: _State) -> None:
    for line in section.body:
        text = line.text[:400]
        for slope in re.finditer(r"(\w+)\s*\|\s*\w+\s+ON\s+(\w+)", text, re.IGNORECASE):
            state.slopes[slope[1].casefold()] = slope[2]
        named = re.match(r"\s*Cluster variables?\s+(\w+)(?:\s+(\w+))?\s*$", text)
        if named:
            state.cluster = [name for name in named.groups() if name]
        state.robust = state.robust or re.match(r"\s*Estimator\s+MLR", text) is not None


def _sizes(section: Section, state: _State, found: Found) -> None:
    if not found.model:
        return
    found.matching(section.body, rf"^\s*Number of observations\s+{_NUMBER}", "n")
    if len(state.cluster) == 1:
        pattern = rf"^\s*Number of clusters\s+{_NUMBER}"
        found.matching(section.body, pattern, f"groups({state.cluster[0]})")


def _fit(section: Section, found: Found) -> None:
    found.table("Mplus's fit information", section.head)
    found.matching(section.body, rf"^\s*H0 Value\s+{_NUMBER}", "loglik")
    found.matching(section.body, rf"^\s*Akaike \(AIC\)\s+{_NUMBER}", "aic")
    found.matching(section.body, rf"^\s*Bayesian \(BIC\)\s+{_NUMBER}", "bic")
    for line in section.body:
        if re.match(r"\s*(?:Sample-Size Adjusted|H0 Scaling|RMSEA|CFI|TLI)", line.text[:100]):
            what = re.split(r"\s{2,}", line.text.strip())[0]
            found.note(what, "which lme4 does not have", line)


# --- results --------------------------------------------------------------------------------------

_WORDS = {"t": r"est\./s\.e\.", "p": r"p-value|two-tailed"}


@dataclass(frozen=True, slots=True)
class _At:
    """Where in the results a row stands: the level, the grouping, and the heading."""

    between: bool
    group: str
    head: str
    outcome: str


def _model(section: Section, state: _State, found: Found) -> None:
    table = entries(section.body, _WORDS)
    if table is None:
        found.refuse("MODEL RESULTS", section.head, "no heading with Estimate and S.E. below it")
        return
    found.table("MODEL RESULTS", section.head)
    takes = ("estimate",) if state.robust else ("estimate", "se", "t", "p")
    if state.robust:
        found.note(
            "standard errors and tests", "robust ones (MLR), which lme4 does not have", section.head
        )
    at = _At(False, "", "", "")
    for entry in table[1]:
        if isinstance(entry, Line):
            at = _moved(at, entry.text.strip(), state)
            continue
        term = _term(at, entry.label.strip(), state.slopes)
        if term is None:
            found.note(
                f"{at.head}: {entry.label}", "a parameter that no model here has", entry.line
            )
        elif _given(entry):
            found.note(term, "fixed, not estimated", entry.line)
        else:
            found.row(entry, term, takes)


def _given(entry: Row) -> bool:
    cell = entry.values.get("t")
    return cell is not None and cell.text == "999.000"


def _moved(at: _At, text: str, state: _State) -> _At:
    level = re.match(r"(Within|Between)(?:\s+(\w+))?\s+Level", text, re.IGNORECASE)
    if level:
        between = level[1].casefold() == "between"
        cluster = state.cluster[-1] if state.cluster else "level 2"
        return _At(between, level[2] or cluster, "", "")
    pair = re.match(r"(\w+)\s+(ON|WITH|BY)\s*$", text)
    if pair:
        return _At(at.between, at.group, pair[2], pair[1])
    return _At(at.between, at.group, text, "")


def _term(at: _At, name: str, slopes: Mapping[str, str]) -> str | None:
    """A row under its heading as a term of the mixed model."""
    if at.head == "ON":
        slope = slopes.get(at.outcome.casefold())
        return f"{slope} * {name}" if slope else name
    effect_ = slopes.get(name.casefold(), "Intercept")
    if at.head in {"Intercepts", "Means"} and at.between:
        return effect_
    if at.head in {"Variances", "Residual Variances"}:
        return effect("var", at.group, effect_) if at.between else "var(Residual)"
    if at.head == "WITH" and at.between:
        other = slopes.get(at.outcome.casefold(), "Intercept")
        return effect("cov", at.group, other, effect_)
    return None
