"""Which results and which written reports an earlier run left, and whether they still hold.

Results rest on the spec, the bytes of the data files, our code, the Python packages and R with its
packages; a written report rests on results, the house, the formats and the renderer.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import mlmreport
from mlmreport.cache import Cache, code_digest, file_digest, key
from mlmreport.spec.reader import Document

__all__ = [
    "data_files",
    "find_results",
    "is_written",
    "keep_results",
    "keep_written",
    "results_key",
    "written_key",
]

_PACKAGE = Path(mlmreport.__file__).parent
_VARIABLES = ("R_HOME", "R_LIBS", "R_LIBS_USER", "R_LIBS_SITE", "LC_ALL", "LC_COLLATE", "LANG")
_PACKAGES = ("numpy", "pandas", "rpy2-rinterface", "matplotlib", "pypandoc-binary", "typst")
_WITNESSES = "witnesses.json"

_R = (os.path.realpath(shutil.which("R") or ""), [os.environ.get(name, "") for name in _VARIABLES])
"""Which R will be started, and where it will look; read before R sets some of these itself."""


def data_files(document: Document) -> tuple[Path, ...]:
    """The files that a spec names as its data."""
    data = document.spec.data
    tables = [] if data is None else [data, *data.join]
    named = [table.file for table in tables if table.file is not None]
    return tuple(file for name in named for file in document.files(name)[:1])


def results_key(document: Document) -> str | None:
    """The key of a spec's results; None where a data file is not there or may not be read."""
    spec, folder = document.spec, document.path.parent
    tables = [] if spec.data is None else [spec.data, *spec.data.join]
    named = [table.file for table in tables if table.file is not None]
    digests = []
    for file in named:
        path = next(iter(document.files(file)), None)
        if path is None or not document.allows(path):
            return None
        digests.append((os.path.relpath(path, folder.resolve()), file_digest(path)))
    told = spec.model_dump(mode="json", by_alias=True)
    return key("results", told, document.path.name, digests, _software(), _R)


def written_key(results: bytes, folders: Sequence[Path], formats: Sequence[str], how: str) -> str:
    """The key of a report as written from results by a house."""
    houses = [
        [file.relative_to(folder).as_posix(), file_digest(file)]
        for folder in folders
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    ]
    renderers = [shutil.which(name) for name in ("quarto", "pandoc")]
    return key("written", results.hex(), houses, list(formats), how, renderers, _software())


def find_results(cache: Cache, name: str) -> Path | None:
    """The folder that holds the results and the data, if R and its packages are as they were."""
    entry = cache.find(name)
    if entry is None:
        return None
    witnesses = json.loads((entry / _WITNESSES).read_text(encoding="utf-8"))
    return entry if all(_state(Path(path)) == state for path, state in witnesses.items()) else None


def keep_results(
    cache: Cache, name: str, files: Mapping[str, Path], witnesses: Iterable[str]
) -> None:
    """Keep results, with the state of the R installation they come from."""
    states = {path: _state(Path(path)) for path in witnesses}
    cache.keep(name, {**files, _WITNESSES: json.dumps(states).encode()})


def is_written(cache: Cache, name: str, target: Path) -> bool:
    """Whether a folder still holds all that was written under this key, unchanged."""
    entry = cache.find(name)
    if entry is None:
        return False
    written = json.loads((entry / "files.json").read_text(encoding="utf-8"))
    return bool(written == _contents(target, written))


def keep_written(cache: Cache, name: str, target: Path) -> None:
    """Remember what was written under a key."""
    names = [path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()]
    cache.keep(name, {"files.json": json.dumps(_contents(target, names)).encode()})


def _contents(folder: Path, names: Iterable[str]) -> dict[str, str]:
    files = ((name, folder / name) for name in sorted(names))
    return {name: file_digest(file) for name, file in files if file.is_file()}


def _state(path: Path) -> list[int]:
    """What changes when a package is installed anew; R itself need not be started to see it."""
    try:
        found = path.stat()
    except OSError:
        return []
    return [found.st_mtime_ns, found.st_size]


def _software() -> object:
    return [
        code_digest(_PACKAGE, ".py", ".R", ".lua", ".html", ".typ", ".docx"),
        platform.python_version(),
        [_version(name) for name in _PACKAGES],
    ]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
