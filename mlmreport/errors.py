"""Everything that can go wrong, and the one layout in which a user is told.

The exception tree::

    MlmreportError            exit code 1
    ├── AnalysisError         1  a model could not be fitted, R reported an error
    ├── InputError            2  the spec, a house, a data file or a stored result is wrong
    ├── EnvironmentFault      3  R, an R package or a program is missing
    └── VerificationError     4  a number could not be re-derived

    KeyboardInterrupt         130  Ctrl-C
    └── Ended                 143, 129  the system ends the program, or its terminal is closed

An `InputError` carries *all* problems found, each located as well as it can be.
"""

from __future__ import annotations

import difflib
import errno
import os
import re
import shutil
import signal
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

__all__ = [
    "ENDING",
    "AnalysisError",
    "Ended",
    "EnvironmentFault",
    "InputError",
    "Location",
    "MlmreportError",
    "Problem",
    "VerificationError",
    "cannot_write",
    "did_you_mean",
    "end_on_signals",
    "is_of_storage",
    "printable",
    "writing",
]

WIDEST = 160
"""Longer lines are shown in part."""
_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def printable(text: str) -> str:
    """The text on one line, without characters that would steer a terminal or turn text around."""
    return "".join(
        (" " if char in "\t\n\r" else "\N{REPLACEMENT CHARACTER}")
        if unicodedata.category(char) in _UNPRINTABLE
        else char
        for char in text
    )


def _width(text: str) -> int:
    """The columns of a terminal that a text takes: two for wide characters, none for combining."""
    return sum(
        0 if unicodedata.combining(char) else 1 + (unicodedata.east_asian_width(char) in "WF")
        for char in text
    )


@dataclass(frozen=True, slots=True)
class Location:
    """A place in a file.

    Parameters
    ----------
    file
        The path as the user wrote it.
    line, column
        Counted from 1; 0 where only the file is known.
    length
        How many characters to underline.
    excerpt
        The text of the line, empty where there is none to show.
    """

    file: str
    line: int = 0
    column: int = 0
    length: int = 1
    excerpt: str = ""

    def __str__(self) -> str:
        places = [str(n) for n in (self.line, self.column) if n]
        return ":".join([self.file, *places])

    def underlined(self) -> list[str]:
        """The excerpt with a caret line below it, or nothing."""
        if not self.excerpt.strip():
            return []
        text, start = self._window()
        end = min(start + max(1, self.length), max(len(text), start + 1))
        gutter = f"{self.line:>5} | "
        carets = "^" * max(1, _width(text[start:end]))
        return [
            gutter + text,
            " " * (len(gutter) - 2) + "| " + " " * _width(text[:start]) + carets,
        ]

    def _window(self) -> tuple[str, int]:
        """The part of the excerpt that fits a screen, and where in it the place begins."""
        text, start = printable(self.excerpt.rstrip("\n")), max(0, self.column - 1)
        if len(text) <= WIDEST:
            return text, start
        first = max(0, min(start - WIDEST // 3, len(text) - WIDEST))
        before, after = "..." * (first > 0), "..." * (first + WIDEST < len(text))
        return before + text[first : first + WIDEST] + after, start - first + len(before)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: what it is, where, and what to do about it."""

    message: str
    hint: str = ""
    location: Location | None = None

    def __str__(self) -> str:
        where = f"{self.location}: " if self.location else ""
        lines = [printable(f"{where}{self.message}")]
        if self.location:
            lines += self.location.underlined()
        if self.hint:
            lines.append(f"  hint: {printable(self.hint)}")
        return "\n".join(lines)


class MlmreportError(Exception):
    """Base of all errors that are told to the user without a traceback."""

    exit_code = 1


class AnalysisError(MlmreportError):
    """The analysis itself failed, for example in R."""


@dataclass(eq=False)
class InputError(MlmreportError):
    """What the user gave is wrong.

    Parameters
    ----------
    problems
        All that were found; at least one. They are kept once each, in the order of the file.
    """

    problems: tuple[Problem, ...] = field(default_factory=tuple)
    exit_code = 2

    def __post_init__(self) -> None:
        distinct = dict.fromkeys(self.problems)
        files = {name: rank for rank, name in enumerate(dict.fromkeys(map(_file, distinct)))}
        self.problems = tuple(
            sorted(distinct, key=lambda problem: (files[_file(problem)], *_where(problem)))
        )

    @classmethod
    def of(cls, message: str, hint: str = "", location: Location | None = None) -> InputError:
        """An error of a single problem."""
        return cls((Problem(message, hint, location),))

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


def _file(problem: Problem) -> str:
    return problem.location.file if problem.location else ""


def _where(problem: Problem) -> tuple[int, int]:
    place = problem.location
    return (place.line, place.column) if place else (0, 0)


class EnvironmentFault(MlmreportError):
    """A program or package that the work needs is missing or does not fit."""

    exit_code = 3


class VerificationError(MlmreportError):
    """A stored or displayed number differs from the one derived again."""

    exit_code = 4


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint that names the nearest known words, or all of them where they are few.

    Parameters
    ----------
    name
        What was written.
    known
        What could have been written.
    """
    words: Sequence[str] = sorted(set(known))
    lowered = {word.lower(): word for word in words}
    near = [
        lowered[word] for word in difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=0.6)
    ]
    if near:
        return "did you mean " + " or ".join(f"'{word}'" for word in near) + "?"
    if not words:
        return ""
    shown = ", ".join(words[:12]) + (", ..." if len(words) > 12 else "")
    return f"known here: {shown}"


# --- signals that end the program ---------------------------------------------------------------

ENDING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""The signals that end a run, after it has tidied up."""


class Ended(KeyboardInterrupt):
    """Another signal than that of Ctrl-C ends the program."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_code = 128 + number


@contextmanager
def end_on_signals() -> Iterator[None]:
    """Let all signals of `ENDING` end the program as Ctrl-C does; one that is ignored stays so."""

    def end(number: int, _: FrameType | None) -> None:
        raise Ended(number)

    taken = [number for number in ENDING if signal.getsignal(number) == signal.SIG_DFL]
    for number in taken:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


# --- disks and rights ---------------------------------------------------------------------------

_STORAGE = {
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "make room: your share of the disk is used up",
    errno.EFBIG: "a limit on the size of files is set (ulimit -f)",
    errno.EROFS: "name a folder that can be written to",
    errno.EACCES: "name a folder that you may write to",
    errno.EPERM: "name a folder that you may write to",
    errno.ENAMETOOLONG: "name a folder with a shorter name",
    errno.EMFILE: "too many files are open; a limit is set (ulimit -n)",
    errno.ENFILE: "too many files are open on this machine",
    errno.EIO: "the disk, or the way to it, is damaged",
    errno.ESTALE: "the disk of another machine is gone",
    errno.ENOTDIR: "a part of the path is a file",
    errno.EEXIST: "a part of the path is a file",
    errno.ELOOP: "links lead in a circle",
}
_SAID = re.compile(
    r"no space left|resource exhausted|disk quota exceeded|file too large|read-only file system"
    r"|too many open files|error writing to (?:the )?connection|write failed|disk full",
    re.IGNORECASE,
)
"""How R, Pandoc and Typst tell of the same."""
_LITTLE = 1_000_000


def is_of_storage(error: OSError) -> bool:
    """Whether the disk or the right to write is what an error is about."""
    return error.errno in _STORAGE


def cannot_write(error: OSError, place: Path | None = None, needed: int = 0) -> EnvironmentFault:
    """What a user is told when a file or folder could not be written.

    Parameters
    ----------
    error
        The system's.
    place
        What was being written, where the error itself names no file.
    needed
        The bytes that it takes, as far as they can be told.
    """
    named = error.filename2 or error.filename or place or "writing failed"
    shown = os.fsdecode(named) if isinstance(named, bytes) else named
    hint = _STORAGE.get(error.errno or 0, "")
    if place and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        hint += f" ({_room(place, needed)})"
    told = f"\n  hint: {hint}" if hint else ""
    return EnvironmentFault(f"{printable(str(shown))}: {error.strerror or error}{told}")


def _room(place: Path, needed: int) -> str:
    """How much is needed, and left on the disk of a place and on that of temporary files."""
    told = [f"about {needed / 1e6:,.0f} MB are needed"] * bool(needed)
    left = {str(folder): _free(folder) for folder in (place, _temporary())}
    told += [f"{name} has {free / 1e6:,.1f} MB left" for name, free in left.items()]
    return ", ".join(told)


def _temporary() -> Path:
    return Path(os.environ.get("TMPDIR") or "/tmp")


def _free(folder: Path) -> float:
    """The bytes left on the disk of a folder, or of the nearest above it."""
    for place in (folder, *folder.parents):
        try:
            return shutil.disk_usage(place).free
        except OSError:
            continue
    return float("inf")


@contextmanager
def writing(place: Path, needed: int = 0) -> Iterator[None]:
    """Tell of a full disk, or of rights that are lacking, as a fault of the machine's.

    Parameters
    ----------
    place
        The file or folder that is written.
    needed
        The bytes that it takes, as far as they can be told.

    Raises
    ------
    EnvironmentFault
        In the place of the system's error, and of what R or a renderer says of the same.
    """
    try:
        yield
    except OSError as error:
        if not is_of_storage(error):
            raise
        raise cannot_write(error, place, needed) from error
    except AnalysisError as error:
        full = min(_free(place), _free(_temporary())) < _LITTLE
        if not full and not _SAID.search(str(error)):
            raise
        raise EnvironmentFault(
            f"{place} cannot be written: the disk is full, or a limit is set\n"
            f"  hint: make room ({_room(place, needed)}); {printable(str(error))}"
        ) from error
