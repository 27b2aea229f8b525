"""`prepare.R`: the preparation of the data once more in base R, from the source files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlmreport.data.in_r import column
from mlmreport.quantities import PrepStep, Quantity, Results
from mlmreport.spec.quoting import r_string
from mlmreport.verify.checks import DIFFERS, NOT_CHECKED, Check, judged
from mlmreport.verify.clean_room import Row, existing, run_script, stored
from mlmreport.verify.script import DATA_FILE, DEFINITIONS_FILE, digest, one_line, read_data, rule

__all__ = ["KIND", "PREPARATION_FILE", "prepare_r", "rederive_preparation"]

PREPARATION_FILE = "prepare.R"
KIND = "preparation"
_FOLDER = re.compile(r"^source_folder <- (\".*\")$", re.MULTILINE)


# --- the script -------------------------------------------------------------------------------


def prepare_r(results: Results, source_folder: str) -> str:
    """The text of ``prepare.R``.

    Parameters
    ----------
    results
        The analysis, with the steps of its preparation.
    source_folder
        The folder of the spec, to which the names of files are relative, seen from the report.
    """
    parts = [_header(results, source_folder if any(_files(results)) else ".")]
    reason = _reason(results.preparation)
    if reason:
        parts.append(f"# Not written out in R: {one_line(reason)}.")
        return "\n\n".join(parts) + "\n"
    parts += [_step(number, step) for number, step in enumerate(results.preparation, start=1)]
    parts += [_counts(results), _comparison(results), "finish(values_file)"]
    return "\n\n".join(part for part in parts if part) + "\n"


def _reason(steps: Sequence[PrepStep]) -> str:
    """Why the preparation cannot be written in base R, or nothing."""
    unknown = [step.action for step in steps if step.r is None]
    if not unknown:
        return ""
    return f"base R has no counterpart for: {'; '.join(unknown)}"


def _header(results: Results, source_folder: str) -> str:
    return "\n".join(
        [
            f"# {one_line(results.spec.get('title', 'Multilevel analysis'))}",
            "#",
            "# The preparation of the data once more, by base R, from the source files; it is held",
            f"# against {DATA_FILE} and stops at the first difference. To run it, in the folder of",
            "# this file:",
            f"#   Rscript --vanilla {PREPARATION_FILE} [folder of the source files [values.csv]]",
            "",
            f"source_folder <- {r_string(source_folder)}",
            "arguments <- commandArgs(trailingOnly = TRUE)",
            "sources <- if (length(arguments)) arguments[1L] else source_folder",
            "values_file <- arguments[-1L]",
            f'source({r_string(DEFINITIONS_FILE)}, encoding = "UTF-8")',
            "options(error = NULL)",
        ]
    )


def _step(number: int, step: PrepStep) -> str:
    lines = [rule(f"{number}. {one_line(step.action)}"), step.r or ""]
    return "\n".join([line for line in lines if line] + [f"expect_rows(d, {step.rows_after})"])


def _counts(results: Results) -> str:
    counted = _counted(results)
    return "\n".join(
        [rule("Counts of the report")] * bool(counted)
        + [f"report({r_string(name)}, {code})" for name, code in counted.items()]
    )


def _counted(results: Results) -> Mapping[str, str]:
    """The counts of the preparation, and the R code of each."""
    groups = {level["name"]: _group(level) for level in results.spec.get("levels", ())}
    found = {}
    for item in results.quantities:
        if item.source.engine == "pandas":
            found[item.id] = _count(item, groups)
    return {name: code for name, code in found.items() if code}


def _group(level: Mapping[str, Any]) -> str:
    within = level.get("within") or []
    return "_".join([*([within] if isinstance(within, str) else within), str(level.get("id"))])


def _count(item: Quantity, groups: Mapping[str, str]) -> str:
    _, first, *rest = item.id.split("/", 2)
    match first, *rest:
        case ["rows_read"]:
            return "nrow(before)"
        case ["filtered", number]:
            return f"filtered[{int(number)}L]"
        case ["rows_table"]:
            return "nrow(before) + sum(filtered)"
        case ["rows_dropped"]:
            return "nrow(before) - nrow(d)"
        case ["missing", name]:
            return f"sum(is.na({column(name, 'before')}))"
        case [level, "lost"] if level in groups:
            name = groups[level]
            return f"length(setdiff({column(name, 'before')}, c({column(name)}, NA)))"
    return ""


def _comparison(results: Results) -> str:
    lines = [rule(f"Comparison with {DATA_FILE}"), read_data(results, "prepared", DATA_FILE)]
    lines.append("expect_rows(d, nrow(prepared))")
    made_of = _sources(results)
    for name in results.session["columns"]:
        source = r_string(made_of.get(name, name))
        lines.append(f"compare_column({r_string(name)}, d, prepared, {source})")
    return "\n".join(lines)


def _sources(results: Results) -> Mapping[str, str]:
    """For each column that was made by centring the column that it was made of."""
    columns = set(results.session["columns"])
    found = {}
    for key, predictor in results.spec.get("predictors", {}).items():
        source = predictor.get("column") or key
        for suffix in ("within", "mean", "c"):
            if f"{key}_{suffix}" in columns and source in columns:
                found[f"{key}_{suffix}"] = source
    return found


# --- running it -------------------------------------------------------------------------------


def rederive_preparation(
    folder: Path, *, rscript: str | None = None, timeout: float = 1800
) -> tuple[Check, ...]:
    """Run ``prepare.R`` in a clean R: a check a column, and one a count of the preparation.

    Parameters
    ----------
    folder
        Where the report is.
    rscript, timeout
        As in `mlmreport.verify.clean_room.rederive`.

    Raises
    ------
    InputError, EnvironmentFault, VerificationError
        As there.
    """
    results = stored(folder)
    script = existing(folder, PREPARATION_FILE)
    sources = folder / _source_folder(script.read_text(encoding="utf-8"))
    reason = _reason(results.preparation) or _absent(results, sources)
    if reason:
        return tuple(_unchecked(results, reason))
    changed = tuple(_changed(results, sources))
    if changed:
        return changed
    files = [script, existing(folder, DEFINITIONS_FILE), existing(folder, DATA_FILE)]
    derived, _ = run_script(files, [str(sources.resolve())], rscript, timeout)
    if "preparation/unavailable" in derived:
        return tuple(_unchecked(results, derived["preparation/unavailable"][0][1]))
    return tuple(_compared(results, derived))


def _source_folder(script: str) -> str:
    named = _FOLDER.search(script)
    return re.sub(r"\\(.)", r"\1", named[1][1:-1]) if named else ".."


def _files(results: Results) -> Iterator[tuple[str, str]]:
    """The source files as seen from the spec, with the digest that each had."""
    data = results.spec.get("data") or {}
    tables = [data, *data.get("join", ())]
    for table, read in zip(tables, results.session.get("files", ()), strict=False):
        if table.get("file"):
            yield results.session.get("found", {}).get(table["file"], table["file"]), read["sha256"]


def _absent(results: Results, sources: Path) -> str:
    gone = [name for name, _ in _files(results) if not (sources / name).is_file()]
    return f"the source files are not there: {', '.join(gone)}" if gone else ""


def _changed(results: Results, sources: Path) -> Iterator[Check]:
    for name, before in _files(results):
        now = digest(sources / name)
        if now != before:
            what = f"SHA-256 of the source file {name}"
            yield Check(f"preparation/file/{name}", KIND, what, before, now, None, None, DIFFERS)


def _subjects(results: Results) -> Iterator[tuple[str, str, float | str]]:
    """What is checked: id, words, and what is expected."""
    for name in results.session["columns"]:
        yield f"preparation/column/{name}", f"column {name} of {DATA_FILE}", "the same values"
    for item in results.quantities:
        if item.source.engine == "pandas":
            yield item.id, item.label, item.value


def _unchecked(results: Results, reason: str) -> Iterator[Check]:
    for name, what, expected in _subjects(results):
        yield Check(name, KIND, what, expected, reason, None, None, NOT_CHECKED)


def _compared(results: Results, derived: Mapping[str, list[Row]]) -> Iterator[Check]:
    """The checks up to the first difference, at which the script stopped."""
    counted = _counted(results)
    if "preparation/rows" in derived:
        found = derived["preparation/rows"][0][1]
        what = "rows after a step of the preparation"
        yield Check("preparation/rows", KIND, what, "", found, None, None, DIFFERS)
    stopped = any(kind == "error" for rows in derived.values() for kind, _ in rows)
    for name, what, expected in _subjects(results):
        rows = derived.get(name, [])
        if rows and isinstance(expected, str):
            yield _column(name, what, expected, rows[0])
        elif rows:
            agrees = rows[0] == ("number", f"{expected:.17g}")
            yield Check(name, KIND, what, expected, rows[0][1], None, None, judged(agrees))
        else:
            known = isinstance(expected, str) or name in counted
            why = "R stopped before it" if stopped and known else "R was not asked for it"
            verdict = NOT_CHECKED if stopped or not known else DIFFERS
            yield Check(name, KIND, what, expected, why, None, None, verdict)


def _column(name: str, what: str, expected: str, row: Row) -> Check:
    kind, text = row
    if kind == "error":
        return Check(name, KIND, what, expected, text, None, 1e-12, DIFFERS)
    return Check(name, KIND, what, expected, expected, float(text), 1e-12, "agrees")
