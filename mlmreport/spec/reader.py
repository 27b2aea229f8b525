"""YAML text to `AnalysisSpec`, keeping the place of every key for messages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from mlmreport.errors import InputError, Location, Problem, did_you_mean
from mlmreport.spec.schema import AnalysisSpec

__all__ = ["Document", "load", "parse"]

KeyPath = tuple[str | int, ...]
MAX_BYTES = 2_000_000
MAX_DEPTH = 40


class _Loader(yaml.SafeLoader):
    """YAML 1.2 scalars: only true and false are booleans, so that `reference: No` is a word."""


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
        Folders that data files may be read from; the spec's own if empty.
    """

    spec: AnalysisSpec
    path: Path
    lines: tuple[str, ...]
    marks: Mapping[KeyPath, tuple[int, int, int]]
    roots: tuple[Path, ...] = ()

    def locate(self, *path: str | int) -> Location:
        """The place of a key, or of the nearest key above it that stands in the file."""
        return _locate(path, str(self.path), self.lines, self.marks)

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
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError.of(f"{path}: larger than a spec can be ({MAX_BYTES:,} bytes)")
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        near = [found.name for found in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        hint = did_you_mean(path.name, near) or "write one with `mlmreport new DATA`"
        raise InputError.of(f"{path}: no such file", hint) from None
    except UnicodeDecodeError as error:
        raise InputError.of(
            f"{path}: not UTF-8 text (byte {error.start})", "save the file as UTF-8"
        ) from None
    except OSError as error:
        raise InputError.of(f"{path}: cannot be read: {error.strerror}") from None
    return parse(text, path)


def parse(text: str, path: Path) -> Document:
    """Read a spec from its text; `path` names it in messages and anchors its relative paths."""
    lines = tuple(text.splitlines())
    data, marks = _compose(text, str(path), lines)
    if not isinstance(data, dict):
        raise InputError.of(
            f"{path}: a spec is a mapping of keys, this is {_yaml_type(data)}",
            "start with `title:`, `data:`, `levels:`, `outcome:` and `models:`",
        )
    try:
        spec = AnalysisSpec.model_validate(data)
    except ValidationError as error:
        details = error.errors(include_url=False)
        raise InputError(
            tuple(_problem(detail, data, str(path), lines, marks) for detail in _distinct(details))
        ) from None
    return Document(spec, path, lines, marks)


def _compose(
    text: str, file: str, lines: tuple[str, ...]
) -> tuple[Any, dict[KeyPath, tuple[int, int, int]]]:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        marks: dict[KeyPath, tuple[int, int, int]] = {}
        duplicates: list[Problem] = []
        if node is not None:
            _walk(node, (), marks, duplicates, file, lines)
        if duplicates:
            raise InputError(tuple(duplicates))
        return (None if node is None else loader.construct_document(node)), marks
    except yaml.MarkedYAMLError as error:
        raise InputError((_yaml_problem(error, file, lines),)) from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise InputError.of(f"{file}: not readable as YAML: {error}") from None
    finally:
        loader.dispose()


def _walk(
    node: yaml.Node,
    path: KeyPath,
    marks: dict[KeyPath, tuple[int, int, int]],
    duplicates: list[Problem],
    file: str,
    lines: tuple[str, ...],
) -> None:
    if len(path) > MAX_DEPTH:
        raise InputError.of(f"{file}: nested deeper than {MAX_DEPTH} levels")
    mark = node.start_mark
    marks.setdefault(path, (mark.line + 1, mark.column + 1, _length(node)))
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _walk(item, (*path, index), marks, duplicates, file, lines)
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        child = (*path, str(key.value))
        place = (key.start_mark.line + 1, key.start_mark.column + 1, _length(key))
        if child in marks:
            first = marks[child][0]
            duplicates.append(
                Problem(
                    f"the key '{key.value}' stands twice (first in line {first})",
                    "remove one of the two",
                    _at(place, file, lines),
                )
            )
        marks[child] = place
        marks[(*child, "=")] = (
            value.start_mark.line + 1,
            value.start_mark.column + 1,
            _length(value),
        )
        _walk(value, child, marks, duplicates, file, lines)


def _length(node: yaml.Node) -> int:
    same_line = node.start_mark.line == node.end_mark.line
    return max(1, node.end_mark.column - node.start_mark.column) if same_line else 1


def _at(place: tuple[int, int, int], file: str, lines: tuple[str, ...]) -> Location:
    line, column, length = place
    excerpt = lines[line - 1] if 0 < line <= len(lines) else ""
    return Location(file, line, column, length, excerpt)


def _locate(
    path: KeyPath,
    file: str,
    lines: tuple[str, ...],
    marks: Mapping[KeyPath, tuple[int, int, int]],
) -> Location:
    for end in range(len(path), 0, -1):
        if path[:end] in marks:
            return _at(marks[path[:end]], file, lines)
    return Location(file)


def _yaml_problem(error: yaml.MarkedYAMLError, file: str, lines: tuple[str, ...]) -> Problem:
    mark = error.problem_mark or error.context_mark
    place = (mark.line + 1, mark.column + 1, 1) if mark else (0, 0, 1)
    said = " ".join(part for part in (error.context, error.problem) if part)
    excerpt = lines[place[0] - 1] if 0 < place[0] <= len(lines) else ""
    hint = "check the indentation and that quotes and brackets are closed"
    if "\t" in excerpt or "'\\t'" in said:
        hint = "YAML is indented with spaces, not with tabs"
    elif "mapping values are not allowed" in said:
        hint = "put text that holds a colon into quotes, and a space after the colon of a key"
    return Problem(f"not readable as YAML: {said}", hint, _at(place, file, lines))


def _distinct(details: list[ErrorDetails]) -> list[ErrorDetails]:
    """One error a place: the members of a union each report their own."""
    seen: set[KeyPath] = set()
    kept = []
    for detail in details:
        place = _written(detail["loc"])
        if place not in seen:
            seen.add(place)
            kept.append(detail)
    return kept


_UNION_MEMBERS = re.compile(
    r"^(?:literal\[.*|float|int|str|bool|constrained-str|list\[.*|function-.*)$"
)


def _written(loc: KeyPath) -> KeyPath:
    """The location without the names that pydantic adds for the members of a union."""
    return tuple(part for part in loc if not (isinstance(part, str) and _UNION_MEMBERS.match(part)))


def _problem(
    detail: ErrorDetails,
    data: Any,
    file: str,
    lines: tuple[str, ...],
    marks: Mapping[KeyPath, tuple[int, int, int]],
) -> Problem:
    path = _written(detail["loc"])
    shown = ".".join(str(part) for part in path)
    kind = detail["type"]
    at_value = (*path, "=") if (*path, "=") in marks else path
    where = _locate(path, file, lines, marks)
    if kind == "extra_forbidden":
        known = _keys_at(path[:-1])
        return Problem(f"unknown key '{path[-1]}'", did_you_mean(str(path[-1]), known), where)
    if kind == "missing":
        parent = ".".join(str(part) for part in path[:-1]) or "the spec"
        hint = _description(path) and f"{path[-1]}: {_description(path)}"
        return Problem(f"{parent} lacks the key '{path[-1]}'", hint, where)
    where = _locate(at_value, file, lines, marks)
    if kind == "literal_error":
        expected = str(detail.get("ctx", {}).get("expected", ""))
        words = re.findall(r"'([^']*)'", expected)
        value = str(detail["input"])
        return Problem(
            f"{shown}: '{value}' is not one of {', '.join(words)}",
            did_you_mean(value, words),
            where,
        )
    message = detail["msg"][0].lower() + detail["msg"][1:]
    given = f" (this is {_yaml_type(detail['input'])})" if kind.endswith("_type") else ""
    return Problem(f"{shown}: {message}{given}", _description(path), where)


def _model_at(path: KeyPath) -> type[BaseModel] | None:
    """The schema class that a path of keys leads to."""
    model: type[BaseModel] | None = AnalysisSpec
    for part in path:
        if model is None:
            return None
        field = _field(model, part)
        if field is None:
            continue  # an index of a list, or a free name in a mapping
        model = _class_in(field.annotation)
    return model


def _field(model: type[BaseModel], part: str | int) -> Any:
    for name, field in model.model_fields.items():
        if part in (name, field.alias):
            return field
    return None


def _class_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _class_in(inner)
        if found:
            return found
    return None


def _keys_at(path: KeyPath) -> list[str]:
    model = _model_at(path)
    return [field.alias or name for name, field in model.model_fields.items()] if model else []


def _description(path: KeyPath) -> str:
    model = _model_at(path[:-1])
    field = _field(model, path[-1]) if model and path else None
    return (field.description or "") if field else ""


def _yaml_type(value: Any) -> str:
    if value is None:
        return "empty"
    names = {dict: "a mapping", list: "a list", str: "text", bool: "a truth value"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else "a value")
