"""Parts of an analysis computed by other processes: the same values, whoever makes them."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from support import small_spec, wait_for

from mlmreport.analysis import analyse
from mlmreport.engine.fits import Engine
from mlmreport.engine.session import session
from mlmreport.engine.workers import Process, Share, Workers
from mlmreport.errors import EnvironmentFault
from mlmreport.spec.reader import load


def quiet(step: str, what: str) -> None:
    """Nobody is told."""


# --- without R --------------------------------------------------------------------------------


class Echo:
    """A place that gives back what it gets, when it may."""

    def __init__(self) -> None:
        self.may = threading.Event()
        self.got: list[tuple[bytes, bytes]] = []

    def compute(self, share: Share, task: bytes) -> bytes:
        self.may.wait(10)
        if task == b"die":
            raise EOFError
        if task == b"other":
            raise EnvironmentFault("other software")
        self.got.append((share.content, task))
        return task

    def close(self) -> None:
        self.may.set()


def value(workers: Workers, task: int) -> bytes | bool:
    """The value of a task, waited for."""
    until = time.monotonic() + 10
    while (found := workers.collect(task)) is False:
        assert time.monotonic() < until
        time.sleep(0.005)
    return found


def test_a_task_is_computed_once_or_taken_back() -> None:
    place = Echo()
    with Workers(1, lambda: place) as workers:
        wait_for(workers)
        workers.share(b"a")
        first, second = workers.submit(b"1"), workers.submit(b"2")
        workers.share(b"b")
        third = workers.submit(b"3")
        time.sleep(0.05)
        assert not workers.withdraw(first)
        assert workers.withdraw(second)
        assert not workers.withdraw(second)
        assert workers.collect(first) is False
        place.may.set()
        assert [value(workers, first), value(workers, third)] == [b"1", b"3"]
        assert place.got == [(b"a", b"1"), (b"b", b"3")]
        assert not workers.withdraw(first)


def test_a_place_that_is_lost_is_replaced() -> None:
    places: list[Echo] = []

    def make() -> Echo:
        places.append(Echo())
        places[-1].may.set()
        return places[-1]

    with Workers(1, make) as workers:
        wait_for(workers)
        assert value(workers, workers.submit(b"die")) is True
        assert value(workers, workers.submit(b"1")) == b"1"
        assert len(places) == 2
        assert workers.fault is None


def test_a_place_with_other_software_stops_the_analysis() -> None:
    place = Echo()
    place.may.set()
    with Workers(1, lambda: place) as workers:
        assert (workers.start(), value(workers, workers.submit(b"other")))[1] is True
        assert isinstance(workers.fault, EnvironmentFault)


def test_where_there_is_no_room_for_workers_the_work_is_taken_back() -> None:
    def make() -> Echo:
        raise OSError(12, "Cannot allocate memory")

    with Workers(1, make) as workers:
        workers.start()
        assert workers.withdraw(workers.submit(b"1"))


# --- with R -----------------------------------------------------------------------------------


@pytest.fixture
def loop() -> Iterator[str]:
    """A step's function whose loop warns, and says which process each block was made by."""
    ri = session()._ri
    home = session()._home
    home["loop_for_a_test"] = ri.baseenv["environment<-"](
        ri.evalr("""function() {
          object("made", over_blocks(as.list(1:8), function(block) {
            warning("block ", block)
            Sys.sleep(0.05)
            Sys.getpid()
          }))
          list(made = as.character(unlist(analysis$made)))
        }"""),
        home,
    )
    yield "loop_for_a_test"
    del home["loop_for_a_test"]


@pytest.mark.r
def test_what_r_says_on_a_worker_is_kept_in_order(loop: str) -> None:
    told: list[tuple[int, int]] = []
    with Workers(1) as workers:
        wait_for(workers)
        engine = Engine(session(), None, workers, lambda *at: bool(told.append(at)))
        engine.begin(pd.DataFrame({"y": [1.0, 2.0]}))
        facts = engine.run("models", loop)
    assert len(set(facts["made"])) == 2
    assert str(os.getpid()) in facts["made"]
    assert [said["text"] for said in engine.conditions] == [f"block {k}" for k in range(1, 9)]
    assert {said["kind"] for said in engine.conditions} == {"warning"}
    assert told[-1] == (8, 8)


class Mortal(Process):
    """A worker that is killed in the middle of its second task."""

    killed = 0

    def compute(self, share: Share, task: bytes) -> bytes:
        self.tasks = getattr(self, "tasks", 0) + 1
        if self.tasks == 2 and not Mortal.killed:
            Mortal.killed = self._process.pid
            threading.Timer(0.01, os.kill, (Mortal.killed, signal.SIGKILL)).start()
        return super().compute(share, task)


@pytest.mark.r
def test_an_analysis_has_the_same_numbers_by_two_processes_of_which_one_is_killed(
    tmp_path: Path,
) -> None:
    file = small_spec(tmp_path, extra="  bootstrap: 300\n  variance_ci: bootstrap\n")
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("check_optimizers: false, ", ""), encoding="utf-8")
    alone, _ = analyse(load(file), quiet)
    with Workers(1, Mortal) as workers:
        wait_for(workers)
        helped, _ = analyse(load(file), quiet, None, workers)
    assert Mortal.killed
    assert helped.to_json() == alone.to_json()
