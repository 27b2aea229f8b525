"""Text output of other programs, read by the layouts that their manuals document.

Stata: *Multilevel Mixed-Effects Reference Manual*, ``mixed``. SPSS: *Command Syntax Reference*,
MIXED, tables exported as text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from mlmreport.errors import InputError, Location
from mlmreport.verify import claims
from mlmreport.verify.claims import Claim, Printed

__all__ = ["PROGRAMS", "read"]

_N = r"[+-]?(?:\d[\d,]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
Lines = Sequence[str]


def read(path: Path) -> Printed:
    """Read a results file: the output of a known program, else a csv table.

    Raises
    ------
    InputError
        Located, when it is neither.
    """
    text = claims.read_text(path)
    for program, (sign, reader) in PROGRAMS.items():
        if re.search(sign, text, flags=re.MULTILINE):
            found = tuple(reader(path, text.splitlines()))
            if not found:
                raise InputError.of(f"{path}: output of {program}, but no table of estimates in it")
            return Printed(found, program)
    return claims.read(path, text)


def _claim(path: Path, line: int, text: str, span: tuple[int, int], term: str, what: str) -> Claim:
    start, end = span
    number = text[start:end].replace(",", "")
    place = Location(str(path), line, start + 1, end - start, text)
    return Claim(term, what, number, place, Location(str(path), line, 1, len(text), text))


def _first(path: Path, lines: Lines, pattern: str, term: str) -> Iterator[Claim]:
    """The first number of the output that a pattern captures."""
    for number, line in enumerate(lines, start=1):
        found = re.search(pattern, line)
        if found:
            yield _claim(path, number, line, found.span(1), term, "estimate")
            return


# --- Stata --------------------------------------------------------------------------------------

_STATA_ROW = re.compile(r"^\s*(?P<name>\S.*?)?\s*\|(?P<right>.*)$")


def _stata(path: Path, lines: Lines) -> Iterator[Claim]:
    yield from _first(path, lines, rf"Number of obs\s*=\s*({_N})", "n")
    yield from _first(path, lines, rf"[Ll]og (?:restricted-)?likelihood\s*=\s*({_N})", "loglik")
    table: _StataTable | None = None
    header: list[str] = []
    for number, line in enumerate(lines, start=1):
        if line.startswith("LR test"):
            table = None
        for begins, kind in _STATA_TABLES.items():
            if re.search(begins, line):
                table, header = kind, []
        row = _STATA_ROW.match(line) if table else None
        if row is None or table is None or re.search(r"[A-Za-z]", row["right"]):
            continue
        name, spans = (row["name"] or "").strip(), _spans(row)
        if name and spans:
            term, what = table[0](header, name), table[1]
            yield from _row(path, number, line, term, spans, what)
        header = _header(header, name, bool(spans), table)


def _spans(row: re.Match[str]) -> list[tuple[int, int]]:
    at = row.start("right")
    return [(found.start() + at, found.end() + at) for found in re.finditer(_N, row["right"])]


def _header(header: list[str], name: str, numbers: bool, table: _StataTable) -> list[str]:
    """What heads the next row: ended by an empty line, and in the random part by the next block."""
    if not name:
        return []
    if not numbers:
        return [*header, name]
    continued = bool(header) and header[-1].endswith("#")
    return [] if table[0] is _stata_term and continued else header


_STATA_FIXED = ("estimate", "se", "t", "p", "lower", "upper")
_STATA_RANDOM = ("estimate", "se")
"""Stata's limits of variances are of the logarithm, which no other program here has."""
_StataTable = tuple[Callable[[Sequence[str], str], str], tuple[str, ...]]


def _stata_term(header: Sequence[str], name: str) -> str:
    """A term over several lines: a name that ends in # goes on, a factor heads its levels."""
    if name == "_cons":
        return name
    above = "".join(part for part in header if part.endswith("#"))
    factor = next((part for part in reversed(header) if not part.endswith("#")), "")
    if above and not factor:
        return above + name
    if not header:
        return name
    factors, levels = (above + factor).split("#"), name.split("#")
    named = iter(level.strip() for level in levels)
    return "#".join(
        part if part.startswith("c.") else f"{part}[{next(named, '')}]" for part in factors
    )


def _stata_effect(header: Sequence[str], name: str) -> str:
    """``var(cses)`` under ``school: Unstructured`` as ``var(school: cses)``."""
    found = re.fullmatch(r"(var|sd|cov|corr)\((.*)\)", name)
    if found is None:
        return name
    kind, effects = found[1].replace("corr", "cor"), found[2].replace(",", ", ")
    group = header[-1].split(":")[0].strip() if header else ""
    return f"{kind}({effects})" if effects == "Residual" else f"{kind}({group}: {effects})"


_STATA_TABLES: Mapping[str, _StataTable] = {
    r"\|\s*Coef": (_stata_term, _STATA_FIXED),
    r"Random-effects.*\|": (_stata_effect, _STATA_RANDOM),
}


# --- SPSS ---------------------------------------------------------------------------------------

_SPSS_FIXED = ("estimate", "se", "df", "t", "p", "lower", "upper")
_SPSS_CRITERIA = {
    r"-2 (?:Restricted )?Log Likelihood": "deviance",
    r"Akaike's Information Criterion \(AIC\)": "aic",
    r"Schwarz's Bayesian Criterion \(BIC\)": "bic",
}


def _spss(path: Path, lines: Lines) -> Iterator[Claim]:
    for pattern, term in _SPSS_CRITERIA.items():
        yield from _first(path, lines, rf"{pattern}[^\d.+-]*({_N})", term)
    table, subject, effects = "", "", [""]
    for number, line in enumerate(lines, start=1):
        if "Estimates of Fixed Effects" in line:
            table = "fixed"
        elif "Estimates of Covariance Parameters" in line:
            table = "random"
        elif re.match(r"\W*a\. ", line):
            table = ""
        cells = _spss_cells(line) if table else []
        if not cells or not _is_number(cells[-1][0]):
            continue
        words = [cell for cell, _ in cells if not _is_number(cell)]
        numbers = [span for cell, span in cells if _is_number(cell)]
        if table == "fixed" and words:
            if len(numbers) > 1:  # a redundant category has a zero alone
                yield from _row(path, number, line, words[0], numbers, _SPSS_FIXED)
            continue
        head = next((word for word in words if "[subject" in word.lower()), "")
        if head:
            subject = re.sub(r".*\[subject\s*=\s*(.*?)\s*\].*", r"\1", head, flags=re.IGNORECASE)
            effects = [part.strip() for part in head.split("[")[0].split(" + ")]
        term = _spss_effect(words[-1] if words else "", subject, effects)
        yield from _row(path, number, line, term, numbers, _SPSS_FIXED[:2])


def _row(
    path: Path,
    number: int,
    line: str,
    term: str,
    spans: Sequence[tuple[int, int]],
    names: Sequence[str],
) -> Iterator[Claim]:
    for what, span in zip(names, spans, strict=False):
        yield _claim(path, number, line, span, term, what)


def _spss_cells(line: str) -> list[tuple[str, tuple[int, int]]]:
    """Cells of a line: apart by two spaces or more, or by bars."""
    found = re.finditer(r"[^\s|](?:[^|]*?[^\s|])?(?=\s{2,}|\s*\||\s*$)", line)
    return [(m[0], m.span()) for m in found]


def _is_number(cell: str) -> bool:
    return re.fullmatch(_N, cell) is not None


def _spss_effect(name: str, subject: str, effects: Sequence[str]) -> str:
    """``UN (2,1)`` of ``Intercept + x [subject = school]`` as ``cov(school: Intercept, x)``."""
    if name == "Residual":
        return "var(Residual)"
    pair = re.search(r"(?:UN|VC|ID)\s*\((\d+),(\d+)\)", name)
    if pair is None:
        return f"var({subject}: {effects[0]})"
    row, column = int(pair[1]) - 1, int(pair[2]) - 1
    if max(row, column) >= len(effects):
        return name
    if row == column:
        return f"var({subject}: {effects[row]})"
    return f"cov({subject}: {effects[column]}, {effects[row]})"


PROGRAMS: Mapping[str, tuple[str, Callable[[Path, Lines], Iterator[Claim]]]] = {
    "Stata mixed": (r"^Mixed-effects (?:REML|ML) regression", _stata),
    "SPSS MIXED": (r"Estimates of Fixed Effects", _spss),
}
"""The programs whose output is read: how it is known, and its reader."""
