"""Programs that a report needs, each under a limit of time and memory, none outliving us."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Done", "Limits", "python", "run", "stop_all"]

_GUARD = Path(__file__).with_name("guard.py")
_TOO_LONG = 124  # the exit code of guard.py
_running: set[subprocess.Popen[bytes]] = set()
_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Limits:
    """What a program may use.

    Parameters
    ----------
    seconds
        On the clock.
    megabytes
        Of address space; 0 where the program limits itself.
    """

    seconds: int
    megabytes: int = 0


@dataclass(frozen=True, slots=True)
class Done:
    """How a program ended.

    Parameters
    ----------
    code
        Its exit code.
    out, err
        What it wrote.
    too_long
        Whether it was ended because its time was up.
    """

    code: int
    out: str
    err: str
    too_long: bool


def run(
    command: Sequence[str | Path],
    folder: Path,
    limits: Limits,
    *,
    given: bytes = b"",
    variables: Mapping[str, str] | None = None,
) -> Done:
    """Run a program to its end.

    Parameters
    ----------
    command
        The program and its arguments.
    folder
        Where it runs.
    limits
        What it may use.
    given
        Its standard input.
    variables
        Of the environment, beside ours.
    """
    process = subprocess.Popen(
        [*_guarded(limits), *(str(part) for part in command)],
        cwd=folder,
        env={**os.environ, **(variables or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    with _ended(process):
        try:
            out, err = process.communicate(given, None if _has_guard() else limits.seconds)
        except subprocess.TimeoutExpired:
            return Done(_TOO_LONG, "", "", too_long=True)
    too_long = process.returncode == _TOO_LONG
    return Done(process.returncode, _text(out), _text(err), too_long)


def python(module: str, *arguments: Path) -> list[str | Path]:
    """The command that runs a module of ours in a Python of its own, which finds what we find."""
    search = os.pathsep.join(filter(None, sys.path))
    return [sys.executable, "-P", "-c", _START, search, module, *arguments]


_START = (
    "import os, runpy, sys; sys.path[:] = sys.argv.pop(1).split(os.pathsep); "
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)


def stop_all() -> None:
    """End every program that still runs, for a thread that will not wait for them."""
    with _lock:
        for process in _running:
            process.terminate()


@contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Known while it runs; gone afterwards, whatever happened."""
    with _lock:
        _running.add(process)
    try:
        yield
    finally:
        with _lock:
            _running.discard(process)
        if process.poll() is None:
            process.terminate()
            process.wait()


def _has_guard() -> bool:
    return os.name == "posix" and bool(sys.executable)


def _guarded(limits: Limits) -> list[str]:
    if not _has_guard():
        return []
    numbers = (os.getpid(), limits.seconds, limits.megabytes)
    return [sys.executable, "-I", "-S", str(_GUARD), *map(str, numbers)]


def _text(written: bytes) -> str:
    return written.decode("utf-8", errors="replace")
