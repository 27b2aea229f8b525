"""Lab templates: folders that extend each other, looked up from the user's to the base."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mlmreport.errors import InputError, did_you_mean

__all__ = ["House", "bundled", "find"]

LONGEST_CHAIN = 8


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
    return (int(number) if number.isdigit() else 1000, rest)


def bundled() -> Path:
    """The folder of the houses that ship: ``templates/``."""
    installed = Path(__file__).parents[1] / "_templates"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "templates"


def find(name: str, beside: Path) -> House:
    """A house by name: in ``templates/`` beside the spec, else among those that ship.

    Raises
    ------
    InputError
        When it is not found, is malformed, or extends itself.
    """
    chain: list[str] = []
    folders: list[Path] = []
    title, wanted = "", name
    while wanted:
        if wanted in chain or len(chain) >= LONGEST_CHAIN:
            raise InputError.of(
                f"the house '{name}' extends itself: {' -> '.join([*chain, wanted])}"
            )
        chain.append(wanted)
        folder = _folder(wanted, beside)
        read = _read(folder / "house.yml")
        folders.append(folder)
        title = title or read.name
        wanted = read.extends or ""
    return House(name, title, tuple(folders))


def _roots(beside: Path) -> Iterator[Path]:
    yield beside / "templates"
    yield bundled()


def _folder(name: str, beside: Path) -> Path:
    for root in _roots(beside):
        if (root / name / "house.yml").is_file():
            return root / name
    known = [file.parent.name for root in _roots(beside) for file in root.glob("*/house.yml")]
    raise InputError.of(f"there is no house '{name}'", did_you_mean(name, known))


def _read(file: Path) -> HouseFile:
    try:
        data: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
        return HouseFile.model_validate(data)
    except (yaml.YAMLError, ValidationError, UnicodeDecodeError) as error:
        raise InputError.of(f"{file}: {error}") from None
