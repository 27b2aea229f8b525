"""Runs one program under limits, and ends it with whoever asked for it.

A script that imports nothing of the package, so that it starts in a few milliseconds::

    python -I -S guard.py PARENT SECONDS MEGABYTES PROGRAM [ARGUMENT ...]

The program gets a process group of its own, which is killed when time is up, when this process is
told to end, and when the parent is gone, whatever it died of. The exit code is the program's; 124
says that it took too long.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import time

__all__ = ["TOO_LONG"]

TOO_LONG = 124
NOT_STARTED = 127
LARGEST_FILE = 1 << 30
PAUSE = 0.25
SIGNALS = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
PR_SET_PDEATHSIG = 1


def _library() -> object:
    """The C library, by which Linux ends a program with this process; None elsewhere."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        import ctypes

        return ctypes.CDLL(None)
    except (ImportError, OSError):
        return None


def _limit(kind: int, most: int) -> None:
    hard = resource.getrlimit(kind)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (most, most))


def _become(command: list[str], seconds: int, megabytes: int, library: object) -> None:
    """In the new process: limits, then the program."""
    os.setpgid(0, 0)
    if library is not None:
        library.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # type: ignore[attr-defined]
    _limit(resource.RLIMIT_CPU, 2 * seconds)  # of all threads
    _limit(resource.RLIMIT_FSIZE, LARGEST_FILE)
    _limit(resource.RLIMIT_CORE, 0)
    if megabytes:
        _limit(resource.RLIMIT_AS, megabytes << 20)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    os.execvp(command[0], command)


def _next_signal() -> int:
    """The next signal, or 0 after a pause."""
    if hasattr(signal, "sigtimedwait"):
        found = signal.sigtimedwait(SIGNALS, PAUSE)
        return found.si_signo if found else 0
    time.sleep(PAUSE / 5)
    return next(iter(signal.sigpending() & SIGNALS), 0)


def _watch(program: int, parent: int, until: float) -> int:
    """Wait for the end of the program, or for a reason to end it; the exit code."""
    while True:
        caught = _next_signal()
        done, status = os.waitpid(program, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
        if caught not in {0, signal.SIGCHLD} or os.getppid() != parent:
            return 128 + signal.SIGTERM
        if time.monotonic() > until:
            return TOO_LONG


def _end(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _main() -> int:
    parent, seconds, megabytes = map(int, sys.argv[1:4])
    library = _library()
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    program = os.fork()
    if not program:
        try:
            _become(sys.argv[4:], seconds, megabytes, library)
        finally:
            os._exit(NOT_STARTED)
    try:
        return _watch(program, parent, time.monotonic() + seconds)
    finally:
        _end(program)


if __name__ == "__main__":
    sys.exit(_main())
