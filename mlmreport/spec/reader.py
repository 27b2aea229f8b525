"""YAML text to `AnalysisSpec`, keeping the place of every key for messages."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from mlmreport.errors import InputError, Location, Problem, did_you_mean
from mlmreport.spec.schema import AnalysisSpec

__all__ = ["Document", "keys", "load", "parse"]

KeyPath = tuple[str | int, ...]
Mark = tuple[int, int, int]
MAX_BYTES = 2_000_000
MAX_DEPTH = 40
MAX_MARKS = 50_000
"""More parts than this, aliases written out, are no spec but an attack or an accident."""
MAX_DIGITS = 300
MAX_TOLD = 100
"""Problems that are told; who has more will not read them."""


MAX_PARTS = 2 * MAX_MARKS
"""Keys and values as they are written, each counted."""


class _Refused(Exception):
    """What no spec can have, met while reading."""

    def __init__(self, message: str, hint: str, mark: yaml.Mark) -> None:
        super().__init__(message)
        self.told = message, hint
        self.mark = mark.line + 1, mark.column + 1, 1


class _Loader(yaml.SafeLoader):
    """YAML 1.2 scalars: only true and false are booleans, so that `reference: No` is a word.

    Keys are text as written, so that `categories: {1: Male}` and `predictors: {2020: ...}` work.
    What is larger or deeper than a spec can be is refused as soon as it is met.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.parts = 0
        self.depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """The next part of the document."""
        self.parts += 1
        self.depth += 1
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        if self.depth > MAX_DEPTH + 1:
            raise _Refused(f"nested deeper than {MAX_DEPTH} levels", "is it a spec?", mark)
        if self.parts > MAX_PARTS:
            raise _Refused(f"more than {MAX_MARKS:,} parts", "is it a spec?", mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping, with its keys as text."""
        return {key.value: self.construct_object(value, deep=deep) for key, value in node.value}


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("int", r"^[-+]?(?:0|[1-9][0-9]*)$", "-+0123456789"),
    (
        "float",
        r"^[-+]?(?:(?:0|[1-9][0-9]*)\.[0-9]*|\.[0-9]+|(?:0|[1-9][0-9]*)(?=[eE]))(?:[eE][-+]?[0-9]+)?$",
        "-+.0123456789",
    ),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))


@dataclass(frozen=True)
class Document:
    """A spec and where each of its parts stands.

    Parameters
    ----------
    spec
        The analysis as read, with defaults.
    path
        The file.
    lines
        Its text, line by line.
    marks
        From the path of keys to (line, column, length) of the key, counted from 1.
    roots
        Folders beside the spec's own in which data files are looked for, in this order.
    """

    spec: AnalysisSpec
    path: Path
    lines: tuple[str, ...]
    marks: Mapping[KeyPath, tuple[int, int, int]]
    roots: tuple[Path, ...] = ()

    def locate(self, *path: str | int) -> Location:
        """The place of a key, or of the nearest key above it that stands in the file."""
        return _locate(path, str(self.path), self.lines, self.marks)

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders that data files may be read from, links followed: the spec's own first."""
        folders = (self.path.parent, *self.roots)
        return tuple(dict.fromkeys(folder.resolve() for folder in folders))

    def files(self, name: str) -> tuple[Path, ...]:
        """The data files that a name stands for, links followed; the first is the one to read.

        A file that is there but lies outside of all folders is among them, see `allows`.
        """
        found = (os.path.realpath(folder / name) for folder in self.folders)
        # Path.is_file() raises for names that no file system takes.
        return tuple(dict.fromkeys(Path(path) for path in found if os.path.isfile(path)))  # noqa: PTH113

    def allows(self, path: Path) -> bool:
        """Whether a file lies in a folder that data files may be read from."""
        real = Path(os.path.realpath(path))
        return any(real.is_relative_to(folder) for folder in self.folders)

    def problem(self, message: str, hint: str, *path: str | int) -> Problem:
        """A problem located at a key."""
        return Problem(message, hint, self.locate(*path))


def load(path: Path) -> Document:
    """Read a spec file.

    Raises
    ------
    InputError
        With every problem found: in the YAML, or in keys and values.
    """
    where = Location(str(path))
    try:
        if path.exists() and not path.is_file():
            raise InputError.of("is not a file", "name the spec, a YAML file", where)
        if path.stat().st_size > MAX_BYTES:
            message = f"larger than a spec can be ({MAX_BYTES:,} bytes)"
            raise InputError.of(message, "data belong into files of their own", where)
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        near = [found.name for found in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        hint = did_you_mean(path.name, near) or "write one with `mlmreport new DATA`"
        raise InputError.of("no such file", hint, where) from None
    except UnicodeDecodeError as error:
        raise InputError((_encoding_problem(error, str(path)),)) from None
    except OSError as error:
        raise InputError.of(f"cannot be read: {error.strerror}", "", where) from None
    return parse(text, path)


def _encoding_problem(error: UnicodeDecodeError, file: str) -> Problem:
    before = error.object[: error.start]
    line = before.count(b"\n") + 1
    column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8", "replace")) + 1
    rest = error.object[before.rfind(b"\n") + 1 :].partition(b"\n")[0]
    where = Location(file, line, column, 1, rest.decode("utf-8", "replace"))
    return Problem(f"not UTF-8 text (byte {error.start})", "save the file as UTF-8", where)


def parse(text: str, path: Path) -> Document:
    """Read a spec from its text; `path` names it in messages and anchors its relative paths."""
    lines = tuple(text.splitlines())
    place = _Place(str(path), lines)
    data = _compose(text, place)
    if not isinstance(data, dict):
        raise InputError.of(
            f"a spec is a mapping of keys, this is {_yaml_type(data)}",
            "start with `title:`, `data:`, `levels:`, `outcome:` and `models:`",
            place.at((1, 1, 1)),
        )
    try:
        spec = AnalysisSpec.model_validate(data)
    except ValidationError as error:
        raise InputError(_problems(error, data, place)) from None
    return Document(spec, path, lines, place.marks)


def keys(text: str, file: str) -> tuple[Any, Callable[[KeyPath], Location]]:
    """YAML of another file than a spec, read as strictly; what finds the place of a key.

    Raises
    ------
    InputError
        When it is not YAML, or more than a file of settings needs.
    """
    place = _Place(file, tuple(text.splitlines()))
    return _compose(text, place), place.of


@dataclass(frozen=True)
class _Place:
    """The text that messages point into, and where each key of it stands."""

    file: str
    lines: tuple[str, ...]
    marks: dict[KeyPath, Mark] = field(default_factory=dict)

    def at(self, mark: Mark) -> Location:
        """A place of the text."""
        line, column, length = mark
        excerpt = self.lines[line - 1] if 0 < line <= len(self.lines) else ""
        return Location(self.file, line, column, length, excerpt)

    def of(self, path: KeyPath) -> Location:
        """The place of a key, or of the nearest above it."""
        return _locate(path, self.file, self.lines, self.marks)

    def value(self, path: KeyPath) -> Location:
        """The place of what stands at a key."""
        return self.of((*path, "=") if (*path, "=") in self.marks else path)


def _compose(text: str, place: _Place) -> Any:
    try:
        loader = _Loader(text)
    except yaml.reader.ReaderError as error:
        raise InputError((_character_problem(error, text, place),)) from None
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        walk = _Walk(loader, place)
        walk.visit(node, (), frozenset())
        if walk.problems:
            raise InputError(tuple(walk.problems))
        return loader.construct_document(node)
    except _Refused as refused:
        raise InputError.of(*refused.told, place.at(refused.mark)) from None
    except yaml.MarkedYAMLError as error:
        raise InputError((_yaml_problem(error, place),)) from None
    except RecursionError:
        told = "nested too deeply to be a spec", "is it a spec?"
        raise InputError.of(*told, place.at(_last_mark(loader))) from None
    except (yaml.YAMLError, ValueError) as error:
        said = f"not readable as YAML: {error}"
        raise InputError.of(said, "", place.at(_last_mark(loader))) from None
    finally:
        loader.dispose()


def _last_mark(loader: _Loader) -> Mark:
    """Where reading has come to."""
    return loader.line + 1, loader.column + 1, 1


def _character_problem(error: yaml.reader.ReaderError, text: str, place: _Place) -> Problem:
    before = text[: error.position].splitlines() or [""]
    at_start = text[: error.position].endswith(("\n", "\r"))
    line, column = (len(before) + 1, 1) if at_start else (len(before), len(before[-1]) + 1)
    return Problem(
        f"the character U+{ord(text[error.position]):04X} cannot stand in a spec",
        "remove it; it may come from a word processor or a damaged file",
        place.at((line, column, 1)),
    )


@dataclass
class _Walk:
    """Notes where the keys of composed YAML stand, and refuses what a spec never needs."""

    loader: Any
    place: _Place
    problems: list[Problem] = field(default_factory=list)

    def visit(self, node: yaml.Node, path: KeyPath, above: frozenset[int]) -> None:
        """Take in a node and all below it; `above` are the nodes it stands in."""
        if id(node) in above:
            self.refuse("an alias stands within what it refers to", "write the part out", node)
        if len(path) > MAX_DEPTH:
            self.refuse(f"nested deeper than {MAX_DEPTH} levels", "is it a spec?", node)
        if len(self.place.marks) > MAX_MARKS:
            what = f"more than {MAX_MARKS:,} parts, aliases written out"
            self.refuse(what, "a spec has some dozens of keys", node)
        self.place.marks.setdefault(path, _mark(node))
        if isinstance(node, yaml.ScalarNode):
            self.scalar(node)
        if isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self.visit(item, (*path, index), above | {id(node)})
        if isinstance(node, yaml.MappingNode):
            self.mapping(node, path, above | {id(node)})

    def mapping(self, node: yaml.MappingNode, path: KeyPath, above: frozenset[int]) -> None:
        """Take in the keys of a mapping and what stands at them."""
        first: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self.refuse("a key is a word, not a list or a mapping", "write `key: value`", key)
            name, mark = str(key.value), _mark(key)
            if name in first:
                message = f"the key '{name}' stands twice (first in line {first[name]})"
                self.problems.append(Problem(message, "remove one of the two", self.place.at(mark)))
            first.setdefault(name, mark[0])
            self.place.marks[(*path, name)] = mark
            self.place.marks[(*path, name, "=")] = _mark(value)
            self.visit(value, (*path, name), above)

    def scalar(self, node: yaml.ScalarNode) -> None:
        """Refuse a scalar whose tag says another type than its text does, and endless numbers."""
        plain = self.loader.resolve(yaml.ScalarNode, node.value, (node.style is None, True))
        if node.tag not in {"tag:yaml.org,2002:str", plain}:
            message = f"the YAML tag '{node.tag.replace('tag:yaml.org,2002:', '!!')}' is not used"
            self.refuse(
                message, "remove the tag; put text that looks like a number in quotes", node
            )
        if node.tag != "tag:yaml.org,2002:str" and len(node.value) > MAX_DIGITS:
            self.refuse(f"a number of {len(node.value):,} characters", "put text in quotes", node)

    def refuse(self, message: str, hint: str, node: yaml.Node) -> NoReturn:
        """Stop at a node."""
        raise InputError.of(message, hint, self.place.at(_mark(node)))


def _mark(node: yaml.Node) -> Mark:
    return node.start_mark.line + 1, node.start_mark.column + 1, _length(node)


def _length(node: yaml.Node) -> int:
    same_line = node.start_mark.line == node.end_mark.line
    return max(1, node.end_mark.column - node.start_mark.column) if same_line else 1


def _locate(
    path: KeyPath,
    file: str,
    lines: tuple[str, ...],
    marks: Mapping[KeyPath, tuple[int, int, int]],
) -> Location:
    for end in range(len(path), -1, -1):
        if path[:end] in marks:
            line, column, length = marks[path[:end]]
            excerpt = lines[line - 1] if 0 < line <= len(lines) else ""
            return Location(file, line, column, length, excerpt)
    return Location(file)


def _yaml_problem(error: yaml.MarkedYAMLError, place: _Place) -> Problem:
    mark = error.problem_mark or error.context_mark
    where = place.at((mark.line + 1, mark.column + 1, 1) if mark else (0, 0, 1))
    said = " ".join(part for part in (error.context, error.problem) if part)
    hint = "check the indentation and that quotes and brackets are closed"
    if "\t" in where.excerpt or "'\\t'" in said:
        hint = "YAML is indented with spaces, not with tabs"
    elif "mapping values are not allowed" in said:
        hint = "put text that holds a colon into quotes, and a space after the colon of a key"
    elif "but got '?'" in said:
        hint = "put text that ends in a question mark into quotes"
    elif "could not determine a constructor" in said:
        hint = "remove the tag, the word that begins with an exclamation mark"
    elif "another document" in said:
        hint = "a spec is one document: remove the line `---` in its middle"
    elif "cannot start any token" in said:
        hint = "put text that begins with a special character such as @ or ` into quotes"
    return Problem(f"not readable as YAML: {said}", hint, where)


# --- what pydantic found, in the words of a reader of specs -------------------------------------


def _problems(error: ValidationError, data: Any, place: _Place) -> tuple[Problem, ...]:
    """One problem a place: the members of a union each report their own."""
    found: dict[KeyPath, list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        found.setdefault(_written(detail, data), []).append(detail)
    told = list(found.items())[:MAX_TOLD]
    rest = list(found)[MAX_TOLD:]
    more = [Problem(f"{len(rest):,} more problems", "", place.of(rest[0]))] if rest else []
    return (*(_problem(path, details, place) for path, details in told), *more)


def _written(detail: ErrorDetails, data: Any) -> KeyPath:
    """The location without the names that pydantic adds for the members of a union."""
    path: list[str | int] = []
    for part in detail["loc"]:
        inside = (isinstance(data, dict) and part in data) or (
            isinstance(data, list) and isinstance(part, int) and part < len(data)
        )
        if inside:
            path.append(part)
            data = data[part]
    if detail["type"] == "missing":
        path.append(detail["loc"][-1])
    return tuple(path)


def _problem(path: KeyPath, details: Sequence[ErrorDetails], place: _Place) -> Problem:
    match details[0]["type"]:
        case "extra_forbidden":
            hint = did_you_mean(str(path[-1]), _keys_at(path[:-1]))
            return Problem(f"unknown key '{path[-1]}'", hint, place.of(path))
        case "missing":
            parent = _shown(path[:-1]) or "the spec"
            hint = _description(path) and f"{path[-1]}: {_description(path)}"
            return Problem(f"{parent} lacks the key '{path[-1]}'", hint, place.of(path))
        case "literal_error":
            return _not_a_word(path, details, place)
        case _:
            return _not_of_type(path, details, place)


def _shown(path: KeyPath) -> str:
    """The path of keys as a reader would say it; items of a list are counted from 1."""
    shown = ""
    for part in path:
        shown += f"[{part + 1}]" if isinstance(part, int) else f".{part}"
    return shown.removeprefix(".")


def _not_a_word(path: KeyPath, details: Sequence[ErrorDetails], place: _Place) -> Problem:
    words = re.findall(r"'([^']*)'", str(details[0].get("ctx", {}).get("expected", "")))
    given = details[0]["input"]
    what = f"'{given}'" if isinstance(given, str) else _yaml_type(given)
    number = any(part["type"].startswith("float") for part in details)
    known = f"neither a number nor one of {', '.join(words)}" if number else _one_of(words)
    hint = did_you_mean(given, words) if isinstance(given, str) else _description(path)
    return Problem(f"{_shown(path)}: {what} is {known}", hint, place.value(path))


def _one_of(words: Sequence[str]) -> str:
    return f"not one of {', '.join(words)}" if len(words) > 1 else f"not {words[0]}"


def _not_of_type(path: KeyPath, details: Sequence[ErrorDetails], place: _Place) -> Problem:
    given, shown, hint = details[0]["input"], _shown(path), _description(path)
    needed = list(dict.fromkeys(what for part in details if (what := _needed(part, path))))
    broken = [part for part in details if not _needed(part, path)]
    if broken:  # it is of a sort that is needed
        return Problem(f"{shown}: {_limit(broken[0])}", hint, place.value(path))
    if given is None:
        hint = "write the value after the colon, the word null in quotes, or remove the key"
    elif "text" in needed and not isinstance(given, dict | list):
        hint = "put it in quotes to make it text"
    keys = " or ".join(needed)
    message = f"{shown}: this is {_yaml_type(given)}, but {keys} is needed"
    return Problem(message, hint, place.value(path))


_NEEDED = {
    "string": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list",
    "tuple": "a list",
    "dict": "a mapping of keys",
    "literal": "a word",
}


def _needed(detail: ErrorDetails, path: KeyPath) -> str:
    """What sort of value is needed, or nothing where the sort is right."""
    kind = detail["type"]
    if kind in {"model_type", "model_attributes_type"}:
        return f"a mapping of keys ({', '.join(_keys_at(path))})"
    if kind.endswith(("_type", "_parsing", "_from_float")):
        return _NEEDED.get(kind.partition("_")[0], "another value")
    return ""


_LIMITS = {
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "string_too_short": "must not be empty",
    "string_too_long": "must not be longer than {max_length} characters",
    "too_short": "must have at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
    "finite_number": "must be a finite number",
    "string_unicode": "holds a character that is no valid text",
    "int_parsing_size": "is too large a number",
}


def _limit(detail: ErrorDetails) -> str:
    """Which limit a value of the right sort breaks."""
    if detail["type"] == "string_pattern_mismatch":
        given = str(detail["input"])
        if any(ord(char) < 32 or ord(char) == 127 for char in given):
            return "holds a control character, such as a line break or a tab"
        hidden = next((char for char in given if _is_hidden(char)), "")
        if hidden:
            return f"cannot contain U+{ord(hidden):04X}, a character that is not seen"
        return f"'{given}' cannot be used here"
    template = _LIMITS.get(detail["type"])
    if template:
        limits = detail.get("ctx", {}).items()
        return template.format(**{name: f"{limit:g}" for name, limit in limits if name in template})
    return detail["msg"].removeprefix("Value error, ")


def _is_hidden(char: str) -> bool:
    """Whether a character is a control, a line of its own, or none at all, and refused by a key."""
    return unicodedata.category(char) in {"Cc", "Cf", "Cn", "Zl", "Zp"}


def _model_at(path: KeyPath) -> type[BaseModel] | None:
    """The schema class that a path of keys leads to."""
    model: type[BaseModel] | None = AnalysisSpec
    free = False
    for part in path:
        if model is None:
            return None
        found = None if free else _field(model, part)
        if found is None:
            free = False  # an index of a list, or a free name in a mapping
            continue
        model, free = _class_in(found.annotation), _is_mapping(found.annotation)
    return model


def _field(model: type[BaseModel], part: str | int) -> Any:
    for name, entry in model.model_fields.items():
        if part in (name, entry.alias):
            return entry
    return None


def _class_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _class_in(inner)
        if found:
            return found
    return None


def _is_mapping(annotation: Any) -> bool:
    """Whether keys of the user's choice stand there, such as names of predictors."""
    return dict in {get_origin(member) for member in (annotation, *get_args(annotation))}


def _keys_at(path: KeyPath) -> list[str]:
    model = _model_at(path)
    return [entry.alias or name for name, entry in model.model_fields.items()] if model else []


def _description(path: KeyPath) -> str:
    while path and isinstance(path[-1], int):
        path = path[:-1]
    model = _model_at(path[:-1])
    field = _field(model, path[-1]) if model and path else None
    return (field.description or "") if field else ""


def _yaml_type(value: Any) -> str:
    if value is None:
        return "empty"
    names = {dict: "a mapping", list: "a list", str: "text", bool: "a truth value"}
    names |= {int: "a number", float: "a number with decimals"}
    return names.get(type(value), "a value")
