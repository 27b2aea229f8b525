"""Summaries of R's lme4 (lmerTest), glmmTMB and nlme, and ``print(VarCorr())``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from mlmreport.crosscheck.outputs.found import Found, Section, effect, sections
from mlmreport.crosscheck.outputs.numbers import is_value
from mlmreport.crosscheck.outputs.tables import Cell, Row, cells, entries
from mlmreport.crosscheck.outputs.text import Line

__all__ = ["LME4", "NLME", "TMB", "read_lme4", "read_nlme", "read_tmb"]

LME4 = r"\s*Linear mixed model fit by|\s*Groups\s+Name\s+(?:Variance|Std\.Dev)"
TMB = r"\s*Family:\s*gaussian\s*\("
NLME = r"\s*Linear mixed-effects model fit by|\s*\S+ =\s+pd\w+\("

_TITLES = {
    "head": r"\s*Linear mixed(?:-effects)? model fit by|\s*Family:\s*gaussian",
    "other": r"\s*(?:Generalized linear mixed model|Family:|Nonlinear mixed|Generalized least)",
    "random": r"\s*Random effects:",
    "varcorr": r"\s*Groups\s+Name\s+(?:Variance|Std\.Dev)|\s*\S+ =\s+pd\w+\(|\s*Variance\s+StdDev",
    "fixed": r"\s*Fixed effects:",
    "conditional": r"\s*Conditional model:",
    "correlation": r"\s*Correlation of Fixed Effects|\s*Correlation:\s*$",
    "residuals": r"\s*(?:Scaled residuals|Standardized Within-Group Residuals)",
    "anova": r"\s*(?:Type I+ )?Analysis of (?:Variance|Deviance) Table|\s*Anova Table",
}
_TESTS = ("estimate", "se", "df", "t", "p")


def read_lme4(lines: Sequence[Line], found: Found) -> None:
    """Read what lme4 and lmerTest print."""
    _read(lines, found, _TESTS)


def read_tmb(lines: Sequence[Line], found: Found) -> None:
    """Read what glmmTMB prints."""
    _read(lines, found, ("estimate", "se", "t", "p"))


def read_nlme(lines: Sequence[Line], found: Found) -> None:
    """Read what nlme prints."""
    _read(lines, found, ("estimate", "se", "t"))


def _read(lines: Sequence[Line], found: Found, takes: Sequence[str]) -> None:
    in_random = False
    for section in sections(lines, _TITLES):
        _whole_model(section, found)
        match section.kind:
            case "head":
                found.begin()
                found.table("head of the summary", section.head)
                _criteria(section, found)
            case "random":
                _random(section, found)
                in_random = not any(re.match(r"\s*Groups", line.text) for line in section.body)
            case "conditional" if in_random:
                in_random = False
            case "varcorr":
                _components(section, found)
            case "fixed" | "conditional":
                _fixed(section, found, takes)
            case "other":
                found.refuse(section.head.text.strip()[:60], section.head, "no linear model")
            case "correlation" | "residuals" | "anova":
                title = section.head.text.strip(" :")[:60]
                found.refuse(title, section.head, "no estimate of the model")


_CRITERIA = {
    "AIC": "aic", "BIC": "bic", "logLik": "loglik", "deviance": "deviance",
    "-2*log(L)": "deviance",
}  # fmt: skip


def _criteria(section: Section, found: Found) -> None:
    """The criteria below their names, and the REML criterion."""
    body = section.body
    for name, values in pairwise(body):
        words = name.text[:400].split()
        if len(words) < 3 or not set(words) <= {*_CRITERIA, "df.resid"}:
            continue
        numbers = cells(values, " ")
        for word, cell in zip(words, numbers, strict=False):
            if word in _CRITERIA and is_value(cell.text):
                found.number(values, cell, _CRITERIA[word])
        return
    found.matching(body, r"REML criterion at convergence:\s*(-?[\d.]+)", "deviance")


def _whole_model(section: Section, found: Found) -> None:
    """Rows and groups, wherever they stand."""
    body = section.body
    if not any(re.match(r"\s*(?:Number of [oO]bs|Number of Groups)", line.text) for line in body):
        return
    found.model = found.model or "model 1"
    found.matching(body, r"^\s*Number of (?:obs|Observations):\s*(\d+)", "n")
    for line in body:
        named = re.match(r"\s*Number of obs:\s*\d+, groups:(.*)", line.text[:400])
        for group in re.finditer(r"([^;,]+),\s*(\d+)", named[1]) if named else ():
            at = named.start(1) + group.start(2) if named else 0
            found.number(line, Cell(group[2], at, 0), f"groups({group[1].strip()})")


# --- random effects -------------------------------------------------------------------------------


def _random(section: Section, found: Found) -> None:
    if any(re.match(r"\s*Formula:", line.text) for line in section.body):
        found.table("Random effects", section.head)
        _of_nlme(section.body, found)
    elif not section.body or section.body[0].blank:
        return


def _components(section: Section, found: Found) -> None:
    """lme4's table of groups, names and standard deviations, from its header."""
    lines = (section.head, *section.body)
    if not re.match(r"\s*Groups\s+Name", section.head.text):
        if " =" in section.head.text or not found.model or "StdDev" in section.head.text:
            _varcorr_of_nlme(lines, found)
        return
    if not found.model:
        found.begin()
    if any(claim.term.startswith(("var(", "sd(")) and claim.model == found.model
           for claim in found.claims):  # fmt: skip
        found.refuse("variance components again", section.head, "a second table of one model")
        return
    found.table("Random effects", section.head)
    head = section.head.text
    whats = re.findall(r"Variance|Std\.Dev\.?", head)
    name_at = head.find("Name")
    group, effects = "", list[str]()
    for line in section.body:
        if not line.text.strip() or re.match(r"\s*Number of", line.text):
            return
        label, values = _split(line, len(whats))
        if not values:
            found.note(line.text.strip()[:60], "no numbers", line)
            continue
        own, name = _group_and_name(line.text, label, name_at)
        if own:
            group, effects = re.sub(r"\.\d+$", "", own), []
        _row_of(line, group, name, effects, whats, values, found)


def _split(line: Line, least: int) -> tuple[str, list[Cell]]:
    """The label of a row, and the numbers behind it."""
    tokens = cells(line, " ")
    end = len(tokens)
    while end and not is_value(tokens[end - 1].text):
        end -= 1
    start = end
    while start > 1 and is_value(tokens[start - 1].text):
        start -= 1
    if end - start < min(least, 1) or not start:
        return line.text, []
    return line.text[: tokens[start].start].rstrip(), list(tokens[start:end])


def _group_and_name(text: str, label: str, name_at: int) -> tuple[str, str]:
    """What stands below Groups and below Name."""
    in_place = len(label) > name_at > 0 and text[name_at - 1] == " " and text[name_at] != " "
    if in_place:
        return label[:name_at].strip(), label[name_at:].strip()
    if label.strip() == "Residual":
        return "Residual", ""
    first, _, rest = label.strip().partition(" ")
    return (first, rest.strip()) if rest else ("", first)


def _row_of(
    line: Line,
    group: str,
    name: str,
    effects: list[str],
    whats: Sequence[str],
    values: Sequence[Cell],
    found: Found,
) -> None:
    for what, cell in zip(whats, values, strict=False):
        kind = "var" if what.startswith("Var") else "sd"
        inner = f"{kind}(Residual)" if group == "Residual" else effect(kind, group, name)
        found.number(line, cell, inner)
    for other, cell in zip(effects, values[len(whats) :], strict=False):
        found.number(line, cell, effect("cor", group, other, name))
    effects.append(name)


def _of_nlme(lines: Sequence[Line], found: Found) -> None:
    group = ""
    effects: list[str] = []
    names: list[str] = []
    for line in lines:
        text = line.text[:400]
        formula = re.match(r"\s*Formula:.*\|\s*(\S+)", text)
        if formula:
            group, effects, names = formula[1], [], []
        elif re.match(r"\s*(?:StdDev|Variance):", text):
            _across(line, group, names, found)
        elif re.match(r"\s*StdDev\b", text) or text.strip().startswith("Structure"):
            names = []
        elif text.strip():
            label, values = _split(line, 1)
            if not values:
                names = text.split()
                continue
            own = "Residual" if label.strip() == "Residual" else group
            _row_of(line, own, label.strip(), effects, ["StdDev"], values, found)


def _across(line: Line, group: str, names: Sequence[str], found: Found) -> None:
    """Standard deviations in a line under their names."""
    numbers = [cell for cell in cells(line, " ") if is_value(cell.text)]
    kind = "var" if "Variance" in line.text else "sd"
    for name, cell in zip(names, numbers, strict=False):
        term = f"{kind}(Residual)" if name == "Residual" else effect(kind, group, name)
        found.number(line, cell, term)


def _varcorr_of_nlme(lines: Sequence[Line], found: Found) -> None:
    if not found.model:
        found.begin()
    title = next((t for t in found.tables if t.title == "Random effects"), None)
    if title is not None:
        found.refuse("variance components again", lines[0], "a second table of one model")
        return
    if not found.tables or found.tables[-1].title != "VarCorr of nlme":
        found.table("VarCorr of nlme", lines[0])
    group, effects = "", list[str]()
    for line in lines:
        text = line.text[:400]
        named = re.match(r"\s*(\S+) =\s+pd\w+\(", text)
        if named:
            group, effects = named[1], []
            found.group = group
        label, values = _split(line, 1)
        if values and not named:
            own = "Residual" if label.strip() == "Residual" else group or found.group
            _row_of(line, own, label.strip(), effects, ["Variance", "StdDev"], values, found)


# --- fixed effects --------------------------------------------------------------------------------


def _fixed(section: Section, found: Found, takes: Sequence[str]) -> None:
    found.table("Fixed effects", section.head)
    table = entries(
        section.body, {"estimate": r"\bEstimate\b|\bValue\b"}, header=3, blank_ends=True
    )
    if table is None:
        if not _in_pairs(section.body, found):
            found.tables.pop()
            found.refuse("Fixed effects", section.head, "no heading of its columns below it")
        return
    for column in table[0].columns:
        if column.what in {"df", "p"} and column.what not in takes:
            found.note(
                column.what, "of df by the levels of the terms, as nlme has them", section.head
            )
    for entry in table[1]:
        if isinstance(entry, Row):
            found.row(_exact(entry, found) if "p" in takes else entry, entry.label, takes)


def _exact(entry: Row, found: Found) -> Row:
    """Without a p-value that is printed as 0e+00, which says nothing of its digits."""
    cell = entry.values.get("p")
    if cell is None or not re.fullmatch(r"0(?:e\+00)?", cell.text):
        return entry
    found.note(f"{entry.label}, p", "printed as 0", entry.line)
    kept = {what: value for what, value in entry.values.items() if what != "p"}
    return Row(entry.line, entry.labels, kept, entry.fault)


def _in_pairs(lines: Sequence[Line], found: Found) -> bool:
    """Names in one line and estimates below, as ``print()`` has them."""
    any_found = False
    for name, values in pairwise(lines):
        numbers = cells(values, " ")
        names = re.split(r"\s{2,}", name.text[:400].strip())
        if numbers and all(is_value(cell.text) for cell in numbers):
            names = names if len(names) == len(numbers) else name.text[:400].split()
            if len(names) == len(numbers) and not any(is_value(word) for word in names):
                for word, cell in zip(names, numbers, strict=True):
                    found.number(values, cell, word)
                any_found = True
        if not name.text.strip() and any_found:
            break
    return any_found
