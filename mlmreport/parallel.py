"""Many analyses at once, or one in parts: processes with an R each, here or on a Dask cluster.

An analysis gives the same numbers wherever it, or a part of it, is computed: whatever is drawn at
random sets its seed, in a bootstrap each replicate its own.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlmreport.cache import Cache
from mlmreport.engine.workers import Process, Share, Workers
from mlmreport.errors import EnvironmentFault, InputError, MlmreportError, end_on_signals
from mlmreport.quantities import Results
from mlmreport.report.render import Engine

__all__ = ["Job", "Outcome", "helpers", "run_all"]

Progress = Callable[[str, str], None]
_RETRIES = 3
_TO_TIDY_UP = 5
"""Seconds that a process has from the signal to end."""


@dataclass(frozen=True, slots=True)
class Job:
    """One analysis to be run.

    Parameters
    ----------
    spec
        The spec file.
    output
        The folder to write to; ``report/`` beside the spec if None.
    formats, engine, roots, cache
        As for `mlmreport.workflow.run`.
    """

    spec: Path
    output: Path | None = None
    formats: tuple[str, ...] = ()
    engine: Engine = "auto"
    roots: tuple[Path, ...] = ()
    cache: Cache | None = None

    @property
    def target(self) -> Path:
        """The folder of the report."""
        return self.output or self.spec.parent / "report"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job: the folder of the report, or a message and its exit code."""

    job: Job
    folder: Path | None
    message: str = ""
    code: int = 0


def run_all(
    jobs: Sequence[Job], workers: int, progress: Progress, scheduler: str = ""
) -> tuple[Outcome, ...]:
    """Run analyses beside each other; one that fails leaves the others alone.

    Parameters
    ----------
    jobs
        What to run.
    workers
        How many processes on this machine; not used with a scheduler.
    progress
        Is told which spec is done.
    scheduler
        The address of a Dask scheduler, for example ``tcp://head:8786``; empty for this machine.

    Returns
    -------
    tuple of Outcome
        In the order of the jobs.

    Raises
    ------
    InputError
        When two jobs would write to the same folder.
    EnvironmentFault
        When the scheduler cannot be reached.
    """
    _require_own_folders(jobs)
    if scheduler:
        return _on_cluster(jobs, scheduler, progress)
    with _pool(min(workers, len(jobs))) as pool:
        futures = {pool.submit(_run_apart, job): job for job in jobs}
        return _collected(jobs, futures, progress)


@contextmanager
def helpers(jobs: int, scheduler: str = "") -> Iterator[Workers]:
    """Workers for one analysis, beside the process that runs it.

    Parameters
    ----------
    jobs
        How many processes on this machine, this one among them; not used with a scheduler.
    scheduler
        The address of a Dask scheduler; empty for this machine.

    Raises
    ------
    EnvironmentFault
        When the scheduler cannot be reached.
    """
    if not scheduler:
        with Workers(jobs - 1) as workers:
            yield workers
        return
    with (
        _client(scheduler) as client,
        Workers(sum(client.nthreads().values()), lambda: _OnCluster(client)) as workers,
    ):
        yield workers


def _require_own_folders(jobs: Sequence[Job]) -> None:
    seen: dict[Path, Path] = {}
    for job in jobs:
        other = seen.setdefault(job.target.resolve(), job.spec)
        if other is not job.spec:
            raise InputError.of(
                f"{other} and {job.spec} would both write to {job.target}",
                "put each spec into its own folder",
            )


def _collected(
    jobs: Sequence[Job], futures: Mapping[Future[Outcome], Job], progress: Progress
) -> tuple[Outcome, ...]:
    found: dict[Job, Outcome] = {}
    waiting = set(futures)
    while waiting:
        done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
        for future in done:
            job = futures[future]
            found[job] = _outcome(future, job)
            state = "done" if found[job].folder else "failed"
            progress(f"{len(found)} of {len(jobs)}", f"{job.spec} {state}")
    return tuple(found[job] for job in jobs)


def _outcome(future: Future[Outcome], job: Job) -> Outcome:
    """The outcome, also where the process itself came to grief."""
    try:
        return future.result()
    except Exception as error:  # the pool's own errors have no common ancestor
        return Outcome(job, None, f"{job.spec}: the process that ran it stopped: {error}", 1)


def _run(job: Job, progress: Progress = lambda *_: None) -> Outcome:
    """Run a job in this process."""
    from mlmreport import workflow

    try:
        folder = workflow.run(
            job.spec,
            job.output,
            job.formats,
            progress,
            engine=job.engine,
            roots=job.roots,
            cache=job.cache,
        )
    except MlmreportError as error:
        return Outcome(job, None, str(error), error.exit_code)
    return Outcome(job, folder, "".join(job.cache.faults) if job.cache else "")


def _run_apart(job: Job) -> Outcome:
    """Run a job in a process of its own, which ends when it is told to, having tidied up."""
    try:
        with end_on_signals():
            return _run(job)
    except KeyboardInterrupt as error:
        os._exit(getattr(error, "exit_code", 130))


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that start from nothing: R cannot be shared with a forked child.

    On Ctrl-C they are ended, and tidy up; what they kept in the cache stays.
    """
    context = multiprocessing.get_context("spawn")
    # An analysis a process: memory that R keeps is given back, and R's state is always new.
    with ProcessPoolExecutor(workers, mp_context=context, max_tasks_per_child=1) as pool:
        try:
            yield pool
        except BaseException:
            processes = list((pool._processes or {}).values())
            for process in processes:
                process.terminate()
            for process in processes:
                process.join(_TO_TIDY_UP)
                process.kill()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


# --- on a cluster -----------------------------------------------------------------------------


def _on_cluster(jobs: Sequence[Job], scheduler: str, progress: Progress) -> tuple[Outcome, ...]:
    """Send each analysis with its files to a worker, and write the report that comes back."""
    with _client(scheduler) as client:
        futures = {
            client.submit(_run_bundle, _bundle(job), pure=False, retries=_RETRIES): job
            for job in jobs
        }
        found: dict[Job, Outcome] = {}
        from distributed import as_completed

        for future in as_completed(futures):
            job = futures[future]
            found[job] = _unpacked(job, future)
            state = "done" if found[job].folder else "failed"
            progress(f"{len(found)} of {len(jobs)}", f"{job.spec} {state}")
    return tuple(found[job] for job in jobs)


class _OnCluster:
    """A thread of a cluster's worker, as a place for tasks; to make one takes R's start there."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._has: tuple[str, Any] = ("", None)
        self._future: Any = client.submit(_started, pure=False, retries=_RETRIES)
        self._future.result()

    def compute(self, share: Share, task: bytes) -> bytes:
        """The value of a task; the cluster does it again where a worker is lost.

        Raises
        ------
        EnvironmentFault
            When the worker has other software.
        """
        if self._has[0] != share.name:
            self._has = (share.name, self._client.scatter(share, hash=False))
        self._future = self._client.submit(
            _computed, self._has[1], task, pure=False, retries=_RETRIES
        )
        value: bytes | None = self._future.result()
        if value is None:
            raise EnvironmentFault(
                "a worker of the cluster has another version of mlmreport, R or an R package than "
                "this machine\n  hint: numbers would depend on where they are computed; give all "
                "machines the same versions"
            )
        return value

    def close(self) -> None:
        """Stop at once."""
        self._future.cancel()


_here = threading.local()


def _started() -> bool:
    """On the worker: this thread has a process of its own, as R wants a main thread."""
    if getattr(_here, "process", None) is None:
        _here.process = Process()
    return True


def _computed(share: Share, task: bytes) -> bytes | None:
    """On the worker: the value of a task; None where the software differs."""
    _started()
    process: Process = _here.process
    if process.software != share.software:
        return None
    try:
        return process.compute(share, task)
    except (OSError, EOFError):
        process.close()
        _here.process = None
        raise


@contextmanager
def _client(scheduler: str) -> Iterator[Any]:
    try:
        from distributed import Client
    except ImportError:
        raise EnvironmentFault(
            "the Python package 'distributed' is missing, which talks to Dask schedulers\n"
            "  hint: pip install 'mlmreport[cluster]'"
        ) from None
    try:
        client = Client(scheduler, timeout="10s")
    except (OSError, TimeoutError, ValueError) as error:
        raise EnvironmentFault(
            f"the Dask scheduler {scheduler} cannot be reached: {error}"
        ) from None
    with client:
        yield client


@dataclass(frozen=True, slots=True)
class _Bundle:
    """An analysis with the files it reads, as it travels."""

    archive: bytes
    spec: str
    formats: tuple[str, ...]
    engine: Engine
    roots: tuple[str, ...]


def _bundle(job: Job) -> _Bundle:
    from mlmreport.report import houses
    from mlmreport.spec import reader

    read = reader.load(job.spec)
    tables = [] if read.spec.data is None else [read.spec.data, *read.spec.data.join]
    folder = job.spec.parent.resolve()
    read = replace(read, roots=job.roots)
    found = [next(iter(read.files(t.file)), None) for t in tables if t.file]
    files = {job.spec.resolve(), *(file for file in found if file and read.allows(file))}
    for place in houses.find(read.spec.house, job.spec.parent).folders:
        if place.resolve().is_relative_to(folder):
            files |= {file.resolve() for file in place.rglob("*") if file.is_file()}
    files = {file for file in files if read.allows(file)}
    roots = [root for root in read.folders if any(file.is_relative_to(root) for file in files)]
    top = Path(os.path.commonpath([*map(str, roots), *(str(file.parent) for file in files)]))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(files):
            if file.is_file():
                archive.write(file, file.relative_to(top).as_posix())
    formats = job.formats or tuple(read.spec.report.formats)
    name = job.spec.resolve().relative_to(top).as_posix()
    seen = tuple(root.relative_to(top).as_posix() for root in roots)
    return _Bundle(packed.getvalue(), name, formats, job.engine, seen)


def _run_bundle(bundle: _Bundle) -> tuple[bytes, str, int]:
    """On the worker: the report's folder, or the message and exit code of what went wrong.

    A worker computes in a thread and may start no process pool, but R wants a main thread.
    """
    with tempfile.TemporaryDirectory(prefix="mlmreport-") as name:
        top, output = Path(name) / "files", Path(name) / "report"
        with zipfile.ZipFile(io.BytesIO(bundle.archive)) as archive:
            archive.extractall(top)
        formats = [part for name in bundle.formats for part in ("--to", name)]
        roots = [part for root in bundle.roots for part in ("--data-root", str(top / root))]
        done = subprocess.run(
            [sys.executable, "-c", "from mlmreport.cli import main; main()", "run", "--quiet",
             str(top / bundle.spec), "--output", str(output), *roots,
             "--renderer", bundle.engine, *formats],
            capture_output=True, text=True, encoding="utf-8", check=False,
        )  # fmt: skip
        if done.returncode:
            return b"", done.stderr.replace(f"{top}{os.sep}", "").strip(), done.returncode
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(output.rglob("*")):
                archive.write(file, file.relative_to(output).as_posix())
        return packed.getvalue(), "", 0


def _unpacked(job: Job, future: Any) -> Outcome:
    """Write a report that a worker made, all of it or nothing."""
    from mlmreport import folder as places
    from mlmreport import workflow

    try:
        packed, message, code = future.result()
        if code:
            return Outcome(job, None, message, code)
        places.require_own(job.target)
        with places.staged(job.target) as folder, zipfile.ZipFile(io.BytesIO(packed)) as archive:
            archive.extractall(folder)
            results = Results.from_json((folder / places.RESULTS).read_text(encoding="utf-8"))
            # The worker had the source files in another folder.
            workflow.write_preparation(results, folder, job.target, job.spec.parent)
    except MlmreportError as error:
        return Outcome(job, None, str(error), error.exit_code)
    except Exception as error:  # nor have the cluster's
        return Outcome(job, None, f"{job.spec}: the cluster could not run it: {error}", 1)
    return Outcome(job, job.target)
