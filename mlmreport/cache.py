"""What was computed once, kept by the content of all that went into it.

An entry's key is a digest of all that its content depends on, so an entry is never out of date:
with other data, another spec or other code there is another key. Entries stand in the user's cache
folder, never beside a spec, where someone else's could lie. A damaged entry counts as absent. Where
nothing can be written, work goes on without: `Cache.faults` says why.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

__all__ = ["FOLDER_VARIABLE", "Cache", "code_digest", "file_digest", "key"]

FOLDER_VARIABLE = "MLMREPORT_CACHE"
"""The environment variable that names another folder than the user's."""
_MANIFEST = "manifest.json"
_MOST_BYTES = 4_000_000_000


def key(*parts: object) -> str:
    """The digest of values that JSON can hold."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(file: Path) -> str:
    """SHA-256 of a file's content."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@cache
def code_digest(folder: Path, *suffixes: str) -> str:
    """The digest of a folder's code: names and contents of its files with these suffixes."""
    files = sorted(file for file in folder.rglob("*") if file.suffix in suffixes)
    return key([[file.relative_to(folder).as_posix(), file_digest(file)] for file in files])


@dataclass(frozen=True)
class Cache:
    """Entries of files, found by key.

    Parameters
    ----------
    folder
        Where they are kept.
    fresh
        Whether entries are only written: what is there is computed anew.
    costly
        Seconds from which on the value of an R call is kept; what is faster is not worth a file.
    large
        Rows from which on models that are not in use leave memory, see ``r/shelf.R``.
    room
        Bytes of such models that may stay.

    Attributes
    ----------
    faults
        Why something could not be kept; the first time only.
    """

    folder: Path
    fresh: bool = False
    costly: float = 0.05
    large: int = 100_000
    room: float = 3e8
    faults: list[str] = field(default_factory=list, compare=False, repr=False)

    @classmethod
    def of_user(cls, *, fresh: bool = False) -> Cache:
        """The cache in the folder that the system has for caches, or that the variable names."""
        named = os.environ.get(FOLDER_VARIABLE)
        if named:
            return cls(Path(named), fresh)
        from platformdirs import user_cache_path

        return cls(user_cache_path("mlmreport", appauthor=False), fresh)

    @property
    def values(self) -> Path | None:
        """The folder for the values of R calls, see ``r/cache.R``; None where there can be none."""
        found = self.folder / "values"
        with self._tolerant():
            _make(found)
            tempfile.TemporaryFile(dir=found).close()
            return found
        return None

    @contextlib.contextmanager
    def _tolerant(self) -> Iterator[None]:
        """Note that something cannot be written, and go on."""
        try:
            yield
        except OSError as error:
            if not self.faults:
                self.faults.append(
                    f"the cache {self.folder} cannot be written ({error.strerror or error}): what "
                    f"was computed is not kept\n  hint: make room, or name another folder by "
                    f"{FOLDER_VARIABLE}"
                )

    def find(self, name: str) -> Path | None:
        """The folder of an entry whose files are as they were written; None where there is none."""
        entry = self._place(name)
        try:
            if self.fresh or not entry.is_dir():
                return None
            manifest = json.loads((entry / _MANIFEST).read_text(encoding="utf-8"))
            sound = all(file_digest(entry / file) == digest for file, digest in manifest.items())
        except (OSError, ValueError, AttributeError):
            sound = False
        if not sound:
            shutil.rmtree(entry, ignore_errors=True)
            return None
        with contextlib.suppress(OSError):
            os.utime(entry)  # `tidy` takes those away that were not asked for the longest
        return entry

    def keep(self, name: str, files: Mapping[str, bytes | Path]) -> None:
        """Store files under a key; another run that stores the same key meanwhile does no harm."""
        with self._tolerant():
            self._keep(self._place(name), files)

    def _keep(self, entry: Path, files: Mapping[str, bytes | Path]) -> None:
        _make(entry.parent)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=entry.parent) as scratch:
            staged = Path(scratch) / "entry"
            staged.mkdir()
            for file, content in files.items():
                if isinstance(content, Path):
                    shutil.copyfile(content, staged / file)
                else:
                    (staged / file).write_bytes(content)
            manifest = {file: file_digest(staged / file) for file in files}
            (staged / _MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            with contextlib.suppress(OSError):  # it was stored by another run
                staged.rename(entry)

    def tidy(self, most: int = _MOST_BYTES) -> None:
        """Remove the entries that were not used for the longest where all exceed `most` bytes."""
        entries = sorted(self._entries(), key=lambda entry: entry[0], reverse=True)
        kept = 0
        for _, size, path in entries:
            kept += size
            if kept > most:
                with contextlib.suppress(OSError):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _entries(self) -> Iterator[tuple[float, int, Path]]:
        """Time of last use, bytes and place of every entry."""
        for path in (*self.folder.glob("entries/*/*"), *self.folder.glob("values/*")):
            with contextlib.suppress(OSError):
                files = [path] if path.is_file() else list(path.iterdir())
                yield path.stat().st_mtime, sum(file.stat().st_size for file in files), path

    def _place(self, name: str) -> Path:
        return self.folder / "entries" / name[:2] / name


def _make(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
