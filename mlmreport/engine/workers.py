"""Processes with an R of their own that take over parts of an analysis, see ``r/workers.R``.

A worker is a Python that has loaded our R code and speaks by its standard streams: it says which
software it has, then for each task it reads a message and writes the value. It ends where its input
does. The process that asked computes what a worker that died was at, so values do not depend on
how many there are, or on what becomes of them.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from queue import SimpleQueue
from typing import IO, Any, Protocol
from uuid import uuid4

from mlmreport.cache import code_digest, key
from mlmreport.engine.session import R_FOLDER, session, versions
from mlmreport.errors import MlmreportError

__all__ = ["Place", "Process", "Share", "Workers", "software"]


@dataclass(frozen=True)
class Share:
    """What several tasks have in common, which a worker is sent once.

    Parameters
    ----------
    name
        Tells it from all others.
    software
        What the process that asks has, see `software`.
    content
        As ``r/workers.R`` made it.
    """

    name: str
    software: str
    content: bytes


class Place(Protocol):
    """Where tasks are computed, one after another."""

    def compute(self, share: Share, task: bytes) -> bytes:
        """The value of a task.

        Raises
        ------
        Exception
            When the place is no more.
        """

    def close(self) -> None:
        """Stop at once."""


def software() -> str:
    """The key of all that the numbers rest on beside the data: our R code, R and its packages."""
    return key(code_digest(R_FOLDER, ".R"), dict(versions()))


# --- a process --------------------------------------------------------------------------------


class Process:
    """A worker on this machine; to make one takes the second or two in which R starts."""

    def __init__(self) -> None:
        # In a session of its own, so that Ctrl-C reaches only the process that asked.
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from mlmreport.engine.workers import serve; serve()"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )  # fmt: skip
        self._has = ""
        self.software: str = self._read()

    def _read(self) -> Any:
        assert self._process.stdout
        return pickle.load(self._process.stdout)

    def compute(self, share: Share, task: bytes) -> bytes:
        """The value of a task.

        Raises
        ------
        OSError, EOFError
            When the process has ended.
        """
        assert self._process.stdin
        new = None if self._has == share.name else share.content
        self._has = share.name
        _write(self._process.stdin, (new, task))
        value: bytes = self._read()
        return value

    def close(self) -> None:
        """Stop at once."""
        self._process.kill()
        self._process.wait()


def _write(stream: IO[bytes], message: object) -> None:
    pickle.dump(message, stream, protocol=pickle.HIGHEST_PROTOCOL)
    stream.flush()


def serve() -> None:
    """Be a worker."""
    messages: SimpleQueue[tuple[bytes | None, bytes]] = SimpleQueue()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what anything else prints is no answer
    _write(answers, software())
    threading.Thread(target=_receive, args=(messages,), daemon=True).start()
    while True:
        share, task = messages.get()
        if share is not None:
            session().call("take_share", raw=share)
        _write(answers, session().call("do_task", raw=task))


def _receive(messages: SimpleQueue[tuple[bytes | None, bytes]]) -> None:
    """Read what comes; when nobody asks any more, end, also in the middle of a task."""
    with contextlib.suppress(EOFError):
        while True:
            messages.put(pickle.load(sys.stdin.buffer))
    os._exit(0)


# --- all of them ------------------------------------------------------------------------------


class Workers:
    """Places that compute tasks as they come.

    Parameters
    ----------
    count
        How many places.
    make
        Makes one; called in a thread of its own, which may wait for it.

    Attributes
    ----------
    software
        What this process has; set before the first task.
    fault
        Why the analysis has to stop: a worker is of no use.
    """

    def __init__(self, count: int, make: Callable[[], Place] = Process) -> None:
        self.count = count
        self.software = ""
        self.fault: MlmreportError | None = None
        self._make = make
        self._numbers = itertools.count(1)
        self._share = Share("", "", b"")
        self._tasks: dict[int, Future[bytes]] = {}
        self._waiting: SimpleQueue[tuple[Future[bytes], Share, bytes] | None] = SimpleQueue()
        self._places: list[Place] = []
        self._threads: list[threading.Thread] = []
        self._closed = False

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def ready(self) -> int:
        """How many places there are by now."""
        return len(self._places)

    def start(self) -> None:
        """Make the places, which takes its time; until one is there, nothing is begun."""
        while len(self._threads) < self.count:
            thread = threading.Thread(target=self._serve, daemon=True)
            self._threads.append(thread)
            thread.start()

    def close(self) -> None:
        """Stop at once whatever is computed."""
        self._closed = True
        for task in self._tasks.values():
            task.cancel()
        for _ in self._threads:
            self._waiting.put(None)
        for place in list(self._places):
            place.close()

    def share(self, content: bytes) -> bool:
        """Take what the next tasks have in common; the answer means nothing."""
        self._share = Share(uuid4().hex, self.software, content)
        return True

    def submit(self, task: bytes) -> int:
        """Have a task computed; its number."""
        number = next(self._numbers)
        self._tasks[number] = Future()
        self._waiting.put((self._tasks[number], self._share, task))
        return number

    def withdraw(self, task: int) -> bool:
        """Take back a task that is not begun; whether that was so."""
        if task not in self._tasks or not self._tasks[task].cancel():
            return False
        del self._tasks[task]
        return True

    def drop(self, first: int, last: int) -> bool:
        """Forget these and all tasks between; the answer means nothing."""
        for task in range(first, last + 1):
            if future := self._tasks.pop(task, None):
                future.cancel()
        return True

    def collect(self, task: int) -> bytes | bool:
        """The value of a task; while there is none, whether it is lost with its place."""
        future = self._tasks[task]
        if not future.done():
            return False
        del self._tasks[task]
        return True if future.exception() else future.result()

    def _serve(self) -> None:
        place = self._place()
        while place and (entry := self._waiting.get()):
            future, share, task = entry
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(place.compute(share, task))
            except Exception as error:  # whatever it was, the task is computed elsewhere
                if isinstance(error, MlmreportError):
                    self.fault = error
                future.set_exception(error)
                place = self._place(place)

    def _place(self, instead_of: Place | None = None) -> Place | None:
        """A new place; None where there can be none."""
        if instead_of:
            instead_of.close()
            self._places.remove(instead_of)
        if self._closed:
            return None
        try:
            place = self._make()
        except Exception:  # no room for another process, or no cluster: it is done without
            return None
        self._places.append(place)
        if self._closed:
            place.close()
        return place
