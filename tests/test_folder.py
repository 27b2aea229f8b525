"""A report's folder is wholly of one run, whatever ends the run and when; one run at a time."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlmreport import folder
from mlmreport.errors import AnalysisError, EnvironmentFault

KILLED = 9
WATCHED = ("os.rename", "os.link", "os.remove", "os.rmdir", "os.mkdir", "ctypes.dlsym", "open")


def report_in(target: Path, number: str) -> None:
    """A report of which every file says of which run it is."""
    target.mkdir(exist_ok=True)
    for name in ("results.json", "report.html", "data.csv"):
        (target / name).write_text(f'{{"format": "{folder.FORMAT}"}} {number}')
    (target / "figures").mkdir(exist_ok=True)
    (target / "figures" / f"{number}.svg").write_text(number)


def files(target: Path) -> dict[str, str]:
    found = (path for path in sorted(target.rglob("*")) if path.is_file())
    return {path.relative_to(target).as_posix(): path.read_text() for path in found}


def write_new(target: Path) -> None:
    with folder.staged(target, ("report.docx",)) as new:
        report_in(new, "new")


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A report of a former run, with files of the user's beside it."""
    monkeypatch.setattr(folder, "_to_disk", lambda _: None)  # which takes its time
    place = tmp_path / "report"
    report_in(place, "old")
    (place / "report.docx").write_text("old")
    (place / "notes.txt").write_text("the user's own")
    (place / "letters").mkdir()
    (place / "letters" / "to-the-editor.txt").write_text("the user's own")
    return place


@pytest.fixture
def expected(target: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """What the folder holds before and after."""
    own = {name: text for name, text in files(target).items() if "own" in text}
    made = tmp_path_factory.mktemp("made")
    report_in(made, "new")
    return {"old": files(target), "new": files(made) | own}


def start(act: Callable[[], None], die_at: int | None = None) -> int:
    """Do something in a process of its own, which is killed before a step on the file system."""
    child = os.fork()
    if child:
        return child
    left = die_at

    def watch(event: str, _: object) -> None:
        nonlocal left
        if left is not None and event in WATCHED:
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    if die_at is not None:
        sys.addaudithook(watch)
    try:
        act()
    except BaseException:  # the parent looks at the code
        os._exit(1)
    os._exit(0)


def code_of(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def deaths(target: Path) -> Iterator[int]:
    """Kill a run before each of its steps; after each the folder is looked at."""
    step = 0
    while code_of(start(lambda: write_new(target), step)) == -KILLED:
        yield step
        step += 1
    assert step > 20


def test_a_new_report_takes_the_place_of_the_old_one(
    target: Path, expected: dict[str, dict[str, str]]
) -> None:
    stood = target.stat()
    write_new(target)
    assert files(target) == expected["new"]
    assert (target.stat().st_ino, target.stat().st_mode) == (stood.st_ino, stood.st_mode)
    assert [path.name for path in target.parent.iterdir()] == ["report"]


def test_killed_at_any_point_the_folder_is_of_one_run_at_once(
    target: Path, expected: dict[str, dict[str, str]]
) -> None:
    seen = set()
    for step in deaths(target):
        (state,) = [name for name, held in expected.items() if held == files(target)] or [step]
        seen.add(state)
        folder.settle(target)
        assert files(target) == expected[state]
        assert [path.name for path in target.parent.iterdir()] == ["report"]
    assert seen == {"old", "new"}


def no_exchange(*_: object) -> bool:
    """A file system on which folders cannot change places."""
    return False


def no_renames(self: Path, _: Path) -> Path:
    """A folder that is a disk of its own, or a layer of a container's."""
    raise OSError(errno.EXDEV, "Invalid cross-device link", str(self))


def test_where_folders_cannot_change_places_the_next_command_finishes(
    target: Path, expected: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "_exchange", no_exchange)
    seen = set()
    for step in deaths(target):
        folder.settle(target)
        (state,) = [name for name, held in expected.items() if held == files(target)] or [step]
        seen.add(state)
        assert [path.name for path in target.parent.iterdir()] == ["report"]
    assert seen == {"old", "new"}


def test_a_folder_that_is_a_disk_of_its_own(
    target: Path, expected: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "_exchange", no_exchange)
    rename = Path.rename

    def across(self: Path, to: Path) -> Path:
        return (
            no_renames(self, to)
            if (self.parent == target) != (to.parent == target)
            else rename(self, to)
        )

    monkeypatch.setattr(Path, "rename", across)
    write_new(target)
    assert files(target) == expected["new"]


def test_a_move_that_fails_is_undone_with_all_before_it(
    target: Path, expected: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "_exchange", no_exchange)
    rename = Path.rename

    def failing(self: Path, to: Path) -> Path:
        if self.parent.name == "new" and self.name == "results.json":
            raise OSError(errno.ENOSPC, "No space left on device")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(EnvironmentFault, match=r"report: No space left on device\n  hint: make"):
        write_new(target)
    assert files(target) == expected["old"]
    assert [path.name for path in target.parent.iterdir()] == ["report"]


def test_a_failed_run_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="failed"), folder.staged(tmp_path / "a" / "b"):
        raise ValueError("failed")
    assert list(tmp_path.iterdir()) == []


def test_a_link_to_a_folder_stays_a_link(
    target: Path, tmp_path: Path, expected: dict[str, dict[str, str]]
) -> None:
    (tmp_path / "link").symlink_to(target)
    write_new(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert files(target) == expected["new"]


# --- one at a time ----------------------------------------------------------------------------

HOLD = """
import pathlib, sys, time
from mlmreport import folder
with folder.staged(pathlib.Path(sys.argv[1])) as new:
    print("holds", flush=True)
    time.sleep(60)
"""


@contextlib.contextmanager
def holder(target: Path) -> Iterator[subprocess.Popen[str]]:
    """Another run that writes to the folder."""
    run = [sys.executable, "-c", HOLD, str(target)]
    with subprocess.Popen(run, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "holds\n"
        yield process
        process.kill()


def test_a_second_run_is_refused_while_the_first_is_alive(
    target: Path, expected: dict[str, dict[str, str]]
) -> None:
    with holder(target) as process:
        with pytest.raises(EnvironmentFault, match=f"another run is writing .*{process.pid} on"):
            write_new(target)
        folder.settle(target)  # nor is its work taken away
        assert (target.parent / ".report.mlmreport" / "new").is_dir()
        assert files(target) == expected["old"]
        write_new(target.with_name("report2"))  # a folder beside it is another matter
        assert (target.parent / ".report.mlmreport" / "new").is_dir()
        process.kill()
        process.wait()
        write_new(target)
    assert files(target) == expected["new"]
    assert sorted(path.name for path in target.parent.iterdir()) == ["report", "report2"]


def test_many_runs_at_once_write_one_after_another_or_are_refused(target: Path) -> None:
    """Locks are taken and given back, and their file removed: none ever has two owners."""
    overlaps = target.parent / "overlaps"

    def many() -> None:
        for _ in range(40):
            with contextlib.suppress(EnvironmentFault), folder.staged(target) as new:
                if (target.parent / "at-work").exists():
                    overlaps.touch()
                (target.parent / "at-work").touch()
                report_in(new, "new")
                (target.parent / "at-work").unlink()

    children = [start(many) for _ in range(3)]
    assert [code_of(child) for child in children] == [0, 0, 0]
    assert not overlaps.exists()
    assert [path.name for path in target.parent.iterdir()] == ["report"]


# --- disks and rights -------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of a megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small disk")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_named_with_what_is_left(small_disk: Path) -> None:
    with (
        pytest.raises(EnvironmentFault, match=r"out: No space left on device\n.*disk/out has 0\.0"),
        folder.staged(small_disk / "out") as new,
    ):
        (new / "data.csv").write_bytes(bytes(2_000_000))
    assert list(small_disk.iterdir()) == []


def test_room_is_asked_for_first(small_disk: Path) -> None:
    with (
        pytest.raises(EnvironmentFault, match="needs about 50 MB, its disk has 1 MB left"),
        folder.staged(small_disk / "out", needed=50_000_000),
    ):
        pytest.fail("the work was begun")
    assert list(small_disk.iterdir()) == []


def test_a_full_disk_is_known_by_the_words_of_others(tmp_path: Path) -> None:
    said = "Pandoc refused it: withBinaryFile: resource exhausted (No space left on device)"
    with pytest.raises(EnvironmentFault, match="the disk is full"), folder.staged(tmp_path / "out"):
        raise AnalysisError(said)
    with pytest.raises(AnalysisError, match="singular"), folder.staged(tmp_path / "out"):
        raise AnalysisError("the matrix is singular")


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        (errno.EDQUOT, "your share of the disk is used up"),
        (errno.EMFILE, "too many files are open"),
        (errno.EFBIG, "a limit on the size of files"),
        (errno.EROFS, "can be written to"),
    ],
)
def test_what_else_keeps_from_writing(code: int, hint: str, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match=hint), folder.staged(tmp_path / "out"):
        raise OSError(code, os.strerror(code))
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="name a folder with a shorter name"):
        write_new(tmp_path / ("x" * 300))


def test_a_part_of_the_path_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentFault, match="a part of the path is a file"):
        write_new(tmp_path / "file" / "report")


def test_what_is_not_of_the_disk_goes_on_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), folder.staged(tmp_path / "out"):
        (tmp_path / "nothing").read_bytes()
