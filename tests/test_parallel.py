"""Several analyses at once give what they give one after another."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support import small_spec, wait_for

from mlmreport import workflow
from mlmreport.analysis import analyse
from mlmreport.errors import EnvironmentFault, InputError
from mlmreport.parallel import Job, helpers, run_all
from mlmreport.spec.reader import load

pytestmark = pytest.mark.r


def quiet(step: str, what: str) -> None:
    """Nobody is told."""


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("many")
    return [small_spec(folder / name, seed=seed) for seed, name in enumerate("ab", start=1)]


@pytest.fixture(scope="module")
def alone(specs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The results of the analyses, run one by one."""
    folder = tmp_path_factory.mktemp("alone")
    made = [workflow.run(spec, folder / spec.parent.name, (), quiet) for spec in specs]
    return [(target / "results.json").read_text(encoding="utf-8") for target in made]


def test_two_at_a_time_and_one_that_fails(
    specs: list[Path], alone: list[str], tmp_path: Path
) -> None:
    wrong = small_spec(tmp_path / "wrong", extra="colour: red\n")
    jobs = [Job(spec, tmp_path / spec.parent.name) for spec in (*specs, wrong)]
    said: list[str] = []
    *fine, failed = run_all(jobs, 2, lambda _, what: said.append(what))
    assert [(outcome.job.target / "results.json").read_text("utf-8") for outcome in fine] == alone
    assert failed.folder is None
    assert failed.code == 2
    assert "colour" in failed.message
    assert len(said) == 3


def test_a_folder_is_written_by_one_job_only(specs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="would both write"):
        run_all([Job(spec, tmp_path / "one") for spec in specs], 2, quiet)


def test_a_scheduler_that_is_not_there(specs: list[Path]) -> None:
    pytest.importorskip("distributed")
    with pytest.raises(EnvironmentFault, match="cannot be reached"):
        run_all([Job(specs[0])], 1, quiet, "tcp://127.0.0.1:9")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A scheduler and two workers."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, host="127.0.0.1"
    ) as found:
        yield found


@contextmanager
def one_killed(cluster: Any, may: Callable[[], bool]) -> Iterator[None]:
    """A worker is killed meanwhile, as soon as it may be."""
    victim = cluster.workers[0].process.pid

    def kill() -> None:
        while not may():
            time.sleep(0.02)
        os.kill(victim, signal.SIGKILL)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    yield
    thread.join(10)
    assert not thread.is_alive()
    assert cluster.workers[0].process.pid != victim


def test_a_cluster_that_loses_a_worker_gives_the_same_numbers(
    cluster: Any, specs: list[Path], alone: list[str], tmp_path: Path
) -> None:
    jobs = [Job(spec, tmp_path / spec.parent.name) for spec in specs]
    began = time.monotonic()
    with one_killed(cluster, lambda: time.monotonic() - began > 2):
        outcomes = run_all(jobs, 1, quiet, cluster.scheduler_address)
    assert [outcome.message for outcome in outcomes] == ["", ""]
    assert [(job.target / "results.json").read_text(encoding="utf-8") for job in jobs] == alone


def test_one_analysis_in_parts_on_a_cluster_that_loses_a_worker(
    cluster: Any, tmp_path: Path
) -> None:
    file = small_spec(tmp_path)
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("icc_bootstrap: 0", "icc_bootstrap: 3000"), encoding="utf-8")
    alone, _ = analyse(load(file), quiet)
    told: list[str] = []
    with helpers(1, cluster.scheduler_address) as workers:
        wait_for(workers)
        with one_killed(cluster, lambda: "variance by level" in told):  # its bootstrap begins
            helped, _ = analyse(load(file), lambda _, what: told.append(what), None, workers)
    assert helped.to_json() == alone.to_json()
