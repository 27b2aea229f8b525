"""From a spec file to a finished folder; a failed run leaves what was there untouched."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mlmreport import kept
from mlmreport.cache import Cache, file_digest
from mlmreport.errors import InputError
from mlmreport.folder import RESULTS, require_own, settle, size_of, staged
from mlmreport.quantities import Results, Table
from mlmreport.report import document, houses
from mlmreport.report.render import FORMATS, Engine, render, require_renderer
from mlmreport.spec import reader

if TYPE_CHECKING:
    from mlmreport.engine.workers import Workers

__all__ = ["DATA", "RESULTS", "render_again", "run", "write_preparation"]

DATA = "data.csv"
SCRIPT = "reproduce.R"
DEFINITIONS = "definitions.R"
PREPARATION = "prepare.R"
CHECKS = "checks.json"
RESULT_FILES = (RESULTS, DATA, SCRIPT, DEFINITIONS)
Progress = Callable[[str, str], None]


def run(
    spec: Path,
    output: Path | None,
    formats: Sequence[str],
    progress: Progress,
    *,
    engine: Engine = "auto",
    roots: Sequence[Path] = (),
    cache: Cache | None = None,
    workers: Workers | None = None,
) -> Path:
    """The main job: read, prepare, fit, report.

    Parameters
    ----------
    spec
        The analysis spec.
    output
        The folder to write to; ``report/`` beside the spec if None.
    formats
        Formats to render; the spec's own if empty.
    progress
        Is told the step and what it is at.
    engine
        The renderer.
    roots
        Folders beside the spec's own that data may be read from.
    cache
        Where results are kept from one run to the next; None for nowhere.
    workers
        Processes that compute parts of the analysis; None for none.

    Returns
    -------
    Path
        The folder with the report.

    Raises
    ------
    MlmreportError
        As said by the part that failed; nothing is written then.
    """
    read = replace(reader.load(spec), roots=(spec.parent, *roots))
    target = output or spec.parent / "report"
    require_own(target)
    house = houses.find(read.spec.house, spec.parent)
    wanted = tuple(formats) or tuple(read.spec.report.formats)
    name = None if cache is None else kept.results_key(read)
    stored = kept.find_results(cache, name) if cache and name else None
    if cache and stored:
        written = kept.written_key(_digest(stored / RESULTS), house.folders, wanted, engine)
        if kept.is_written(cache, written, target):
            progress("report", "nothing has changed")
            return target
    require_renderer(wanted, engine)
    document.require_templates(house)
    outdated = _earlier(wanted)
    with staged(target, outdated, _needed(read, target)) as folder:
        if stored:
            progress("report", "data, results and script as they were")
            for file in RESULT_FILES:
                shutil.copyfile(stored / file, folder / file)
        else:
            witnesses = _analyse(read, folder, progress, cache, workers)
            if cache and name:
                kept.keep_results(
                    cache, name, {file: folder / file for file in RESULT_FILES}, witnesses
                )
        stored_text = (folder / RESULTS).read_text(encoding="utf-8")
        results = Results.from_json(stored_text, str(folder / RESULTS))
        write_preparation(results, folder, target, spec.parent)
        checked = _outcome(target, stored_text)
        if _holds(target, stored_text) and (target / CHECKS).is_file():
            shutil.copyfile(target / CHECKS, folder / CHECKS)
        _write_report(results, house, folder, wanted, engine, progress, cache, checked)
        written = kept.written_key(_digest(folder / RESULTS), house.folders, wanted, engine)
    if cache:
        kept.keep_written(cache, written, target)
        cache.tidy()
    return target


def _digest(file: Path) -> bytes:
    return bytes.fromhex(file_digest(file))


def _analyse(
    read: reader.Document,
    folder: Path,
    progress: Progress,
    cache: Cache | None,
    workers: Workers | None,
) -> tuple[str, ...]:
    """Compute, and write data, results and script; the files of R that they rest on."""
    from mlmreport.analysis import analyse
    from mlmreport.engine.session import definitions, installation
    from mlmreport.verify.script import definitions_r, digest, reproduce_r, write_data

    results, data = analyse(read, progress, cache, workers)
    progress("report", "data, results and script")
    write_data(data.frame, folder / DATA)
    session = {**results.session, "data": {"file": DATA, "sha256": digest(folder / DATA)}}
    results = replace(results, session=session)
    (folder / RESULTS).write_text(results.to_json(), encoding="utf-8")
    code = definitions()
    (folder / SCRIPT).write_text(reproduce_r(results, DATA, code), encoding="utf-8")
    (folder / DEFINITIONS).write_text(definitions_r(code), encoding="utf-8")
    return installation()


def write_preparation(results: Results, folder: Path, target: Path, sources: Path) -> None:
    """Write ``prepare.R``, which names the folder of the source files as seen from the report.

    Parameters
    ----------
    results
        The analysis.
    folder
        Where the script is written.
    target
        Where the report will stand.
    sources
        The folder of the spec.
    """
    from mlmreport.verify.preparation import prepare_r

    seen = Path(os.path.relpath(sources.resolve(), target.resolve())).as_posix()
    (folder / PREPARATION).write_text(prepare_r(results, seen), encoding="utf-8")


def _earlier(formats: Sequence[str]) -> tuple[str, ...]:
    """The files of an earlier run that are of its numbers."""
    rendered = [f"report{row.suffix}" for name, row in FORMATS.items() if name not in formats]
    return (*rendered, CHECKS)


_LEAST = 20_000_000
"""Bytes of a report on few data, with room to spare."""


def _needed(read: reader.Document, target: Path) -> int:
    """The bytes that a report will take, from those of the last one, or of the data."""
    former = size_of(target)
    if former:
        return former + _LEAST // 4
    return _LEAST + 3 * sum(file.stat().st_size for file in kept.data_files(read) if file.is_file())


def _holds(folder: Path, results: str) -> bool:
    known = folder / RESULTS
    return known.is_file() and known.read_text(encoding="utf-8") == results


def _outcome(folder: Path, results: str) -> Table | None:
    """What came of verifying a folder, if the results in it are still the same."""
    from mlmreport.verify import checks

    held = checks.checks_of_results(folder) if _holds(folder, results) else ()
    return checks.outcome_table(checks.outcome(held))


def render_again(
    folder: Path,
    formats: Sequence[str],
    progress: Progress,
    *,
    engine: Engine = "auto",
    house: str | None = None,
    cache: Cache | None = None,
) -> Path:
    """Write and render the report anew from ``results.json``; needs no R.

    Raises
    ------
    InputError
        When the folder holds no results.
    """
    settle(folder)
    stored = folder / RESULTS
    if not stored.is_file():
        raise InputError.of(f"{stored}: no such file", "name a folder that `mlmreport run` wrote")
    text = stored.read_text(encoding="utf-8")
    results = Results.from_json(text, str(stored))
    wanted = tuple(formats) or tuple(results.spec["report"]["formats"])
    found = houses.find(house or results.spec["house"], folder.parent)
    with staged(folder) as scratch:
        _write_report(
            results, found, scratch, wanted, engine, progress, cache, _outcome(folder, text)
        )
    return folder


def _write_report(
    results: Results,
    house: houses.House,
    folder: Path,
    formats: Sequence[str],
    engine: Engine,
    progress: Progress,
    cache: Cache | None,
    checked: Table | None,
) -> None:
    progress("report", "text, tables and figures")
    qmd = document.write(results, house, folder, formats, cache, checked)
    progress("report", f"rendering {', '.join(formats)}")
    try:
        render(qmd, formats, folder, engine=engine)
    except InputError as error:
        raise houses.located(error, house, qmd) from None
