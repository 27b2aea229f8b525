"""Templates of a house that may come from anyone, filled in by a process of its own.

Jinja's sandbox keeps a template from reaching anything but what it is given; that it also ends, and
does not take all memory, is held here: by a limit of processor time and of memory within the
process, and by `processes` from outside. The process needs neither R nor data.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jinja2 import TemplateNotFound, TemplateSyntaxError

from mlmreport.errors import AnalysisError, InputError, Location, MlmreportError, Problem
from mlmreport.quantities import Results, Table
from mlmreport.report import processes
from mlmreport.report.houses import House
from mlmreport.report.processes import Limits

__all__ = ["failed", "filled", "require"]

SECONDS = 20
MEGABYTES = 1000
LARGEST_TEXT = 20_000_000
CLOCK = 90


class _TooLongError(Exception):
    """The templates took more time than any report needs."""


def filled(results: Results, house: House, checked: Table | None) -> list[str]:
    """The texts of the sections, filled in elsewhere.

    Parameters
    ----------
    results
        What is reported.
    house
        Whose templates are filled in.
    checked
        What came of a verification.

    Raises
    ------
    InputError
        When a template is wrong, or does not end.
    """
    return _elsewhere(results, house, checked)


def require(house: House) -> None:
    """Read a house's templates elsewhere, without filling them in.

    Raises
    ------
    InputError
        When a template is wrong, or reading it does not end.
    """
    _elsewhere(None, house, None)


def _elsewhere(results: Results | None, house: House, checked: Table | None) -> list[str]:
    """The texts that the process makes, none without results."""
    given = pickle.dumps((results, house, checked, SECONDS, MEGABYTES))
    command = processes.python("mlmreport.report.strangers")
    done = processes.run(command, Path(tempfile.gettempdir()), Limits(CLOCK), given=given)
    if done.code:
        raise _ended(house, done.err, done.too_long)
    told = json.loads(done.out)
    if "problems" in told:
        raise InputError(tuple(map(_problem, told["problems"])))
    texts: list[str] = told["texts"]
    return texts


def _ended(house: House, written: str, too_long: bool) -> InputError:
    """The error of a process that could not say itself what went wrong."""
    sections = [line.removeprefix("at ") for line in written.splitlines() if line[:3] == "at "]
    name = f"sections/{sections[-1]}" if sections else "house.yml"
    cause = "takes too long" if too_long or sections else f"cannot be read: {written[-300:]}"
    message = f"the template {cause}: it was ended"
    return InputError.of(message, _HINT, Location(str(house.file(name))))


_HINT = "a template shows results; it computes nothing that takes seconds or gigabytes"


def _problem(told: dict[str, Any]) -> Problem:
    place = told["location"]
    return Problem(told["message"], told["hint"], Location(**place) if place else None)


# --- what went wrong in a template ----------------------------------------------------------------


def failed(error: Exception, name: str, house: House) -> MlmreportError:
    """The error of a template as it is told: located in the house's file where it arose.

    Parameters
    ----------
    error
        What was raised.
    name
        The template that was filled in.
    house
        Whose it is.
    """
    file, line = _place(error, house)
    if not house.foreign:
        where = f"{name}:{line}" if line else name
        return AnalysisError(f"the template {where} cannot be filled in: {_told(error)}")
    file = file or house.file(name)
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    excerpt = lines[line - 1] if 0 < line <= len(lines) else ""
    column = len(excerpt) - len(excerpt.lstrip()) + 1 if excerpt else 0
    place = Location(str(file), line, column, max(1, len(excerpt.strip())), excerpt)
    limit = isinstance(error, _TooLongError | MemoryError | RecursionError)
    message = f"the template cannot be filled in: {_told(error)}"
    return InputError.of(message, _HINT if limit else "", place)


def _told(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "it needs too much memory"
    if isinstance(error, RecursionError):
        return "it is nested too deeply, or calls itself"
    if isinstance(error, TemplateNotFound):
        return f"there is no template '{error.name}'"
    return str(error) or type(error).__name__


def _place(error: Exception, house: House) -> tuple[Path | None, int]:
    """The line of a template that led to an error, if one can be named in a stranger's file."""
    if isinstance(error, TemplateSyntaxError) and error.filename:
        return Path(error.filename), error.lineno
    frames = list(_frames(error))
    own = [(file, line) for file, line in frames if _within(file, house.foreign)]
    return (own or [place for place in frames if _within(place[0], house.folders)] or [(None, 0)])[
        -1
    ]


def _frames(error: Exception) -> Iterator[tuple[Path | None, int]]:
    trace = error.__traceback__
    while trace:
        yield Path(trace.tb_frame.f_code.co_filename), trace.tb_lineno
        trace = trace.tb_next


def _within(file: Path | None, folders: Sequence[Path]) -> bool:
    return file is not None and any(file.is_relative_to(folder) for folder in folders)


# --- in the process -------------------------------------------------------------------------------


def _main() -> None:
    results, house, checked, seconds, megabytes = pickle.load(os.fdopen(0, "rb"))
    told: dict[str, Any]
    try:
        told = {"texts": _texts(results, house, checked, seconds, megabytes)}
    except InputError as error:
        told = {"problems": [asdict(problem) for problem in error.problems]}
    with os.fdopen(1, "w", encoding="utf-8") as out:
        json.dump(told, out)


def _texts(
    results: Results | None, house: House, checked: Table | None, seconds: int, megabytes: int
) -> list[str]:
    from mlmreport.report import document

    texts: list[str] = []
    with _limited(seconds, megabytes):
        if results is None:
            document.read_templates(house, _begins)
            return []
        for text in document.sections(results, house, checked, _begins):
            texts.append(text)
            if sum(map(len, texts)) > LARGEST_TEXT:
                raise InputError.of("a report cannot hold all that the templates write")
    return texts


def _begins(name: str) -> None:
    os.write(2, f"at {name}\n".encode())


@contextlib.contextmanager
def _limited(seconds: int, megabytes: int) -> Iterator[None]:
    """Time by a signal, which names the line; more of it, and memory, by the system."""
    if os.name != "posix":
        yield
        return
    import resource

    def stop(*_: object) -> None:
        raise _TooLongError(f"it takes longer than {seconds} seconds")

    signal.signal(signal.SIGVTALRM, stop)
    used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (int(used + 1.5 * seconds) + 1, hard))
    before = resource.getrlimit(resource.RLIMIT_AS)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (_address_space() + (megabytes << 20), before[1]))
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, before)


def _address_space() -> int:
    """What this process has of it, in bytes; a good deal where that cannot be known."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except OSError:
        return 4 << 30
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    from mlmreport.report import strangers

    strangers._main()  # of the module that others import, whose errors they know
