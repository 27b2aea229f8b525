"""Lab templates: folders that extend each other, looked up from the user's to the base.

A house is data. One that does not ship with mlmreport may come from anyone: before it is used,
every file in it is looked at, and nothing in it may reach beyond its folder, fetch or run anything.
Its templates are filled in by a process of its own (`strangers`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mlmreport.errors import InputError, Location, Problem, did_you_mean
from mlmreport.report import sheets, word
from mlmreport.report.sheets import Refusal

__all__ = ["House", "bundled", "find", "located"]

LONGEST_CHAIN = 8
LARGEST_FILE = 5_000_000
MOST_FILES = 500
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
SCRIPT = "report.js"


class HouseFile(BaseModel):
    """``house.yml`` of a house."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="What the house is called.")
    extends: str | None = Field(None, description="The house it builds on; `base` builds on none.")


@dataclass(frozen=True, slots=True)
class House:
    """A house with those it extends.

    Parameters
    ----------
    name
        Its folder's name.
    title
        Its name for readers.
    folders
        Where to look things up, the house's own folder first.
    """

    name: str
    title: str
    folders: tuple[Path, ...]

    @property
    def foreign(self) -> tuple[Path, ...]:
        """Those of the folders that do not ship with mlmreport."""
        return tuple(folder for folder in self.folders if not _ships(folder))

    def file(self, name: str) -> Path:
        """The first file of that name on the way down.

        Raises
        ------
        InputError
            When no house of the chain has it.
        """
        for folder in self.folders:
            if (folder / name).is_file():
                return folder / name
        raise InputError.of(f"the house '{self.name}' has no file '{name}'")

    def sections(self) -> tuple[str, ...]:
        """Names of the section templates in the order of the report."""
        names = {file.name for folder in self.folders for file in folder.glob("sections/*.qmd.j2")}
        return tuple(sorted(names, key=_section_order))


def _section_order(name: str) -> tuple[int, str]:
    number, _, rest = name.partition("-")
    return (int(number) if re.fullmatch(r"[0-9]{1,6}", number) else 1000, rest)


def bundled() -> Path:
    """The folder of the houses that ship: ``templates/``."""
    installed = Path(__file__).parents[1] / "_templates"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "templates"


def _ships(folder: Path) -> bool:
    return folder.resolve().parent == bundled().resolve()


def find(name: str, beside: Path) -> House:
    """A house by name: in ``templates/`` beside the spec, else among those that ship.

    Raises
    ------
    InputError
        When it is not found, is malformed, extends itself, or holds what a house may not.
    """
    chain: list[str] = []
    folders: list[Path] = []
    title, wanted, place = "", name, None
    while wanted:
        if wanted in chain or len(chain) >= LONGEST_CHAIN:
            line = " -> ".join([*chain, wanted])
            what = "itself" if wanted in chain else f"more than {LONGEST_CHAIN - 1} others"
            raise InputError.of(f"the house '{name}' extends {what}: {line}", "", place)
        chain.append(wanted)
        folder = _folder(wanted, beside, place)
        if not _ships(folder):
            _examine(folder)
        read, place = _read(folder / "house.yml")
        folders.append(folder)
        title = title or read.name
        wanted = read.extends or ""
    return House(name, title, tuple(folders))


def _roots(beside: Path) -> Iterator[Path]:
    yield beside / "templates"
    yield bundled()


def _folder(name: str, beside: Path, place: Location | None) -> Path:
    if not NAME.fullmatch(name):
        hint = "a name is of letters, digits, hyphens and underscores: a folder in templates/"
        raise InputError.of(f"'{name}' is no name of a house", hint, place)
    for root in _roots(beside):
        folder = root / name
        if (folder / "house.yml").is_file():
            if folder.resolve().parent not in {beside.resolve() / "templates", bundled().resolve()}:
                raise InputError.of(
                    f"{folder}: the house lies elsewhere", "put its folder itself into templates/"
                )
            return folder
    known = [file.parent.name for root in _roots(beside) for file in root.glob("*/house.yml")]
    raise InputError.of(_absent(name, beside), did_you_mean(name, known), place)


def _absent(name: str, beside: Path) -> str:
    there = (beside / "templates" / name).is_dir()
    lacking = f": {beside / 'templates' / name} holds no house.yml" if there else ""
    return f"there is no house '{name}'{lacking}"


def _read(file: Path) -> tuple[HouseFile, Location]:
    """What ``house.yml`` says, and where in it another house is named."""
    from mlmreport.spec import reader  # slow to load, and not needed to fill in templates

    data, place = reader.keys(_text(file), str(file))
    if not isinstance(data, dict):
        raise InputError.of(
            f"{file}: a house.yml is a mapping of keys", "start with `name:` and `extends: base`"
        )
    try:
        return HouseFile.model_validate(data), place(("extends",))
    except ValidationError as error:
        found = error.errors(include_url=False)
        raise InputError(tuple(_key_problem(part["type"], part["loc"], place) for part in found)) \
            from None  # fmt: skip


def _key_problem(
    kind: str, path: tuple[str | int, ...], place: Callable[[tuple[str | int, ...]], Location]
) -> Problem:
    key = str(path[0])
    if kind == "extra_forbidden":
        known = HouseFile.model_fields
        return Problem(f"unknown key '{key}'", did_you_mean(key, known), place(path))
    if kind == "missing":
        hint = f"{key}: {HouseFile.model_fields[key].description}"
        return Problem(f"the house lacks the key '{key}'", hint, place(()))
    return Problem(f"{key}: text is needed here", "put it in quotes", place(path))


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError.of(
            f"{file}: not UTF-8 text (byte {error.start})", "save the file as UTF-8"
        ) from None


# --- what a house may hold ----------------------------------------------------------------------


def _examine(folder: Path) -> None:
    """Look at every file of a house that may come from anyone."""
    problems: list[Problem] = []
    for count, entry in enumerate(_entries(folder)):
        if count >= MOST_FILES:
            raise InputError.of(f"{folder}: more than {MOST_FILES} files are no house")
        problems += _in_entry(entry)
    if problems:
        raise InputError(tuple(problems))


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Files and links, and what is neither; folders are gone through."""
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _entries(Path(entry.path))
        else:
            yield entry


def _in_entry(entry: os.DirEntry[str]) -> list[Problem]:
    file = Path(entry.path)
    place = Location(entry.path)
    if entry.is_symlink():
        return [Problem("a link to another place", "put the file itself into the house", place)]
    if not entry.is_file():
        return [Problem("neither a file nor a folder", "remove it", place)]
    if entry.stat().st_size > LARGEST_FILE:
        return [Problem(f"larger than {LARGEST_FILE:,} bytes", "", place)]
    if entry.name == SCRIPT:
        hint = "remove it: the page's script is mlmreport's own"
        return [Problem("a house brings no script", hint, place)]
    look = _LOOKED_AT.get(file.suffix.lower())
    return [_problem(file, found) for found in look(file)] if look else []


def _problem(file: Path, found: Refusal) -> Problem:
    lines = [] if file.suffix == ".docx" or not found.line else _text(file).splitlines()
    excerpt = lines[found.line - 1] if 0 < found.line <= len(lines) else ""
    place = Location(str(file), found.line, found.column, max(1, len(found.word)), excerpt)
    return Problem(f"a house cannot hold {found.what}", "remove it", place)


def _in_sheet(file: Path) -> list[Refusal]:
    try:
        return sheets.refusals(_text(file))
    except RecursionError:
        return [Refusal("a stylesheet that is nested so deeply")]


def _in_style(file: Path) -> list[Refusal]:
    text = _text(file)
    word = "independent-parent"
    return [Refusal("a citation style that rests on one to be fetched", word)] * (word in text)


def _in_text(file: Path) -> list[Refusal]:
    return [Refusal("a null character")] if "\0" in _text(file) else []


_LOOKED_AT: Mapping[str, Callable[[Path], list[Refusal]]] = {
    ".css": _in_sheet,
    ".docx": word.in_file,
    ".csl": _in_style,
    ".j2": _in_text,
    ".bib": _in_text,
    ".yml": _in_text,
}


def located(error: InputError, house: House, document: Path) -> InputError:
    """An error of a document, located in the template of the house where its text stands.

    Parameters
    ----------
    error
        From rendering the document.
    house
        From whose templates the document was written.
    document
        The file that was rendered, which is gone when the user reads of it.
    """
    files = [file for folder in house.foreign for file in sorted(folder.rglob("*.j2"))]
    lines = [
        (file, number, line)
        for file in files
        for number, line in enumerate(_text(file).splitlines(), start=1)
    ]

    def moved(problem: Problem) -> Problem:
        place = problem.location
        if place is None or place.file != str(document):
            return problem
        start = place.column - 1
        wanted = place.excerpt[start : start + place.length] if place.excerpt else ""
        for file, number, line in lines:
            if wanted and (column := line.find(wanted)) >= 0:
                there = Location(str(file), number, column + 1, place.length, line)
                return replace(problem, location=there)
        return replace(problem, location=replace(place, file=document.name))

    return InputError(tuple(map(moved, error.problems)))
