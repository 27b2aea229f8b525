"""The folder of a report: one run at a time writes to it, and what it holds is of one report.

A run works in a folder beside it, ``.NAME.mlmreport``. A lock there is held as long as the run is
alive, however it ends; the next one removes what a dead one left. What is made stands in ``new``.
When all of it is there, ``new`` and the report's folder change places in one step, where the system
can do that (Linux, most file systems). Elsewhere a list of the moves is written down before the
first one, and whoever comes next, see `settle`, makes those that are left.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import shutil
import signal
import socket
import threading
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import IO

from mlmreport.errors import ENDING, EnvironmentFault, InputError, writing
from mlmreport.quantities import FORMAT

try:
    import fcntl
except ImportError:  # a system without such locks: two runs into one folder are not told apart
    fcntl = None  # type: ignore[assignment]

__all__ = ["RESULTS", "require_own", "require_room", "settle", "size_of", "staged"]

RESULTS = "results.json"
_DECIDED = "decided.json"
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_NO_EXCHANGE = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EXDEV, errno.EBUSY, errno.EPERM}
"""What a system says that cannot let these two folders change places."""
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL}
_TRIES = 100


def require_own(target: Path) -> None:
    """A folder that holds other things is not written to."""
    settle(target)
    if target.exists() and not target.is_dir():
        raise InputError.of(f"{target} is a file", "name a folder with --output")
    if target.is_dir() and any(target.iterdir()) and not _is_report(target):
        raise InputError.of(
            f"{target} is not empty and holds no report of mlmreport",
            "name a new folder with --output",
        )


def _is_report(folder: Path) -> bool:
    stored = folder / RESULTS
    return stored.is_file() and FORMAT in stored.read_text(encoding="utf-8", errors="replace")[:200]


def require_room(folder: Path, needed: int) -> None:
    """So much can still be written to a folder's disk, as far as the system tells.

    Raises
    ------
    EnvironmentFault
        When the disk is too full.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise EnvironmentFault(
            f"{folder}: the report needs about {_mega(needed)}, its disk has {_mega(free)} left\n"
            "  hint: make room, or name a folder on another disk with --output"
        )


def size_of(folder: Path) -> int:
    """The bytes of all files in a folder; 0 where there is none."""
    return sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file())


def _mega(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"


# --- to write to it ---------------------------------------------------------------------------


@contextlib.contextmanager
def staged(target: Path, drop: Collection[str] = (), needed: int = 0) -> Iterator[Path]:
    """A folder to write to; what is in it takes its place in `target` when all went well.

    Parameters
    ----------
    target
        The folder of the report. What else is in it stays.
    drop
        Names of files of the former report that go.
    needed
        The bytes that will be written, as far as they can be told.

    Raises
    ------
    EnvironmentFault
        When another run writes to the folder, or there is no room, or no right to write.
    """
    with (
        writing(target),
        _parents(target),
        _held(_real(target)) as work,
        writing(target, needed),  # what is left is told before the work is taken away
    ):
        new = work / "new"
        new.mkdir()
        require_room(work, needed)
        yield new
        with _uninterrupted():
            _put_in_place(work, _real(target), drop)


def _real(target: Path) -> Path:
    """The folder itself, where a link leads to it."""
    return Path(os.path.realpath(target))


@contextlib.contextmanager
def _parents(target: Path) -> Iterator[None]:
    """The folders above, made where they are not there; they go again if all fails."""
    made = [folder for folder in target.parents if not folder.exists()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            for folder in made:
                folder.rmdir()
        raise


def _put_in_place(work: Path, target: Path, drop: Collection[str]) -> None:
    new = work / "new"
    made = sorted(entry.name for entry in new.iterdir())
    _to_disk(new)
    if not target.exists():
        new.rename(target)
        return
    replaced = {*made, *drop}
    if _complete(new, target, replaced) and _exchange(new, target):
        _give_back(new, target, made, replaced)
    else:
        _decide(work, sorted(replaced))
        _move(work, target)


def _complete(new: Path, target: Path, replaced: Collection[str]) -> bool:
    """Give the new folder all else that the old one has; whether that could be done."""
    try:
        for entry in target.iterdir():
            if entry.name not in replaced:
                _copy(entry, new / entry.name)
    except OSError:
        return False
    return True


def _to_disk(folder: Path) -> None:
    """Have the system write all of a folder out, so that no loss of power leaves half of it."""
    for path in (*folder.rglob("*"), folder):
        if not path.is_symlink():
            number = os.open(path, os.O_RDONLY)
            try:
                os.fsync(number)
            finally:
                os.close(number)


def _copy(source: Path, to: Path) -> None:
    """A second name for a file, for all files of a folder; a copy where there can be none."""
    if source.is_dir() and not source.is_symlink():
        to.mkdir()
        for entry in source.iterdir():
            _copy(entry, to / entry.name)
        shutil.copystat(source, to)
        return
    try:
        os.link(source, to, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, to, follow_symlinks=False)


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders change places in one step; False where that cannot be."""
    try:
        exchange = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    paths = os.fsencode(one), os.fsencode(other)
    if exchange(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _NO_EXCHANGE:
        return False
    raise OSError(code, os.strerror(code), str(other))


def _give_back(former: Path, target: Path, made: Iterable[str], replaced: Collection[str]) -> None:
    """Fill the folder that stood there before with the new report too, and put it there again.

    Whoever has it open, a shell or a file manager, goes on seeing the report; and it keeps its
    owner and its rights.
    """
    with contextlib.suppress(OSError):  # then the new folder stays
        for name in replaced:
            _remove(former / name)
        for name in made:
            _copy(target / name, former / name)
        _exchange(former, target)
        for entry in former.iterdir():  # what someone saved there in these milliseconds
            if not os.path.lexists(target / entry.name):
                entry.rename(target / entry.name)


# --- where folders cannot change places -------------------------------------------------------


def _decide(work: Path, names: Iterable[str]) -> None:
    """Write down what is moved; from here on the new report is the one that counts."""
    (work / "old").mkdir()
    draft = work / f"{_DECIDED}.part"
    draft.write_text(json.dumps(list(names)), encoding="utf-8")
    _to_disk(draft)
    draft.replace(work / _DECIDED)
    _to_disk(work)


def _move(work: Path, target: Path) -> None:
    """Make the moves that are left; where one fails, all are undone."""
    names = json.loads((work / _DECIDED).read_text(encoding="utf-8"))
    try:
        for name in names:
            _move_one(name, work, target)
    except OSError:
        for name in names:
            _undo_one(name, work, target)
        (work / _DECIDED).unlink()
        raise
    (work / _DECIDED).unlink()


def _move_one(name: str, work: Path, target: Path) -> None:
    made, stands, former = work / "new" / name, target / name, work / "old" / name
    if os.path.lexists(stands) and not os.path.lexists(former):
        _rename(stands, former)
    if os.path.lexists(made):
        _remove(stands)
        _rename(made, stands)


def _undo_one(name: str, work: Path, target: Path) -> None:
    former = work / "old" / name
    if os.path.lexists(former):
        _remove(target / name)
        _rename(former, target / name)
    elif not os.path.lexists(work / "new" / name):
        _remove(target / name)


def _rename(source: Path, to: Path) -> None:
    """Move a file or a folder, also to another disk; it is there as a whole or not at all."""
    try:
        source.rename(to)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        draft = to.with_name(f".{to.name}.part")
        _remove(draft)
        _copy(source, draft)
        draft.rename(to)
        _remove(source)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


# --- one at a time ----------------------------------------------------------------------------


def settle(target: Path) -> None:
    """Finish or remove what a run left that was killed; leave one that is alive alone."""
    target = _real(target)
    with contextlib.suppress(EnvironmentFault, OSError):
        if _work(target).is_dir():
            with _held(target):
                pass


def _work(target: Path) -> Path:
    return target.with_name(f".{target.name}.mlmreport")


@contextlib.contextmanager
def _held(target: Path) -> Iterator[Path]:
    """The place to work in, which nobody else has."""
    work = _work(target)
    with _locked(work / "lock", target):
        try:
            _recover(work, target)
            yield work
        finally:
            with contextlib.suppress(OSError):
                _clear(work)


def _recover(work: Path, target: Path) -> None:
    if (work / _DECIDED).exists():
        target.mkdir(exist_ok=True)
        _move(work, target)
    _empty(work)


def _empty(work: Path) -> None:
    for entry in work.iterdir():
        if entry.name != "lock":
            _remove(entry)


def _clear(work: Path) -> None:
    """Leave nothing; the lock goes last, as from then on another run may work there."""
    if not (work / _DECIDED).exists():
        _empty(work)
        (work / "lock").unlink()
        work.rmdir()


@contextlib.contextmanager
def _locked(file: Path, target: Path) -> Iterator[None]:
    """Hold a lock, which the system takes back when the process ends, whatever ends it."""
    for _ in range(_TRIES):
        try:
            file.parent.mkdir(exist_ok=True)
            stream = file.open("a+", encoding="utf-8")
        except (FileExistsError, FileNotFoundError):  # who held it removes the folder just now
            continue
        with stream:
            _lock(stream, target)
            if _is_at(stream, file):
                stream.truncate(0)
                stream.write(f"process {os.getpid()} on {socket.gethostname()}, since {_now()}")
                stream.flush()
                yield
                return
    raise EnvironmentFault(f"{file} cannot be held")


def _lock(stream: IO[str], target: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stream.seek(0)
        raise EnvironmentFault(
            f"another run is writing to {target} ({stream.read()})\n"
            "  hint: wait until it is done, stop it, or name another folder with --output"
        ) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise


def _is_at(stream: IO[str], file: Path) -> bool:
    """Whether the file that was opened is still the one with that name."""
    try:
        return os.path.samestat(os.fstat(stream.fileno()), file.stat())
    except FileNotFoundError:
        return False


def _now() -> str:
    return datetime.now().astimezone().strftime("%H:%M:%S")


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let no Ctrl-C, and no other signal that ends a run, fall between two of the moves."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
