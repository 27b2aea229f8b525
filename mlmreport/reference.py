"""The reference pages of the spec and of the command line, written from their definitions.

``python -m mlmreport.reference docs`` writes them, and the JSON Schema beside them.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from mlmreport.cli import app
from mlmreport.spec.reader import MAX_BYTES, MAX_DEPTH, MAX_DIGITS, MAX_MARKS, MAX_TOLD
from mlmreport.spec.schema import AnalysisSpec, json_schema

__all__ = ["PAGES", "command_page", "spec_page", "write"]

HEAD = f"""\
# The spec

All keys of an analysis spec. This page is written from the schema by
`python -m mlmreport.reference docs`; `mlmreport schema` prints the same as a
[JSON Schema](analysis.schema.json). An editor completes and checks keys when the spec begins with

```yaml
# yaml-language-server: $schema=analysis.schema.json
```

A key without a default has to be given. An unknown key is an error, and so is a duplicate one.

A spec has at most {MAX_BYTES:,} bytes, {MAX_MARKS:,} keys and values with aliases written out,
{MAX_DEPTH} levels of nesting and numbers of {MAX_DIGITS} digits. Of more problems than {MAX_TOLD}
the first {MAX_TOLD} are told.
"""

COMMANDS_HEAD = """\
# The commands

This page is written from the program by `python -m mlmreport.reference docs`; `mlmreport COMMAND
--help` prints the same.

Exit codes: 0 all is well, 1 the analysis failed, 2 the input or the usage is wrong, 3 something on
the machine is missing or cannot be used, 4 a verification found a difference, 130 interrupted by
Ctrl-C, 143 ended by SIGTERM, 129 by the end of its terminal. The environment variable
`MLMREPORT_DEBUG=1` shows the traceback of an internal error.

A report's folder is written to as a whole: a run that fails, is interrupted or is killed leaves the
last report as it was, and files in the folder that are not the report's stay. A run works in
`.NAME.mlmreport` beside the folder; what a killed one left there is removed, or where the file
system cannot let two folders change places finished, by the next command on the same folder. While
one run writes to a folder, another is refused at once with exit code 3, and told which process it
is. Before the first model is fitted a run looks whether the folder can be written to and its disk
has room; a full disk is exit code 3. A cache that cannot be written to is told of, and done
without.
"""

_WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false"}


def spec_page() -> str:
    """The page on the spec, in Markdown."""
    return "\n".join([HEAD, *(_section(model, path) for model, path in _models())])


def write(folder: Path) -> None:
    """Write all pages and the JSON Schema into a folder."""
    for name, text in PAGES.items():
        (folder / name).write_text(text(), encoding="utf-8")


def _models() -> Iterator[tuple[type[BaseModel], str]]:
    """Each part of the spec once, a part before those within it, with the key that leads to it."""
    waiting: list[tuple[type[BaseModel], str]] = [(AnalysisSpec, "")]
    seen: set[type[BaseModel]] = set()
    while waiting:
        model, path = waiting.pop(0)
        if model in seen:
            continue
        seen.add(model)
        yield model, path
        within = [
            (part, f"{path}.{_key(name, info)}".lstrip(".") + mark)
            for name, info in model.model_fields.items()
            for part, mark in _parts(info.annotation)
        ]
        waiting = within + waiting


def _parts(annotation: Any, mark: str = "") -> Iterator[tuple[type[BaseModel], str]]:
    """The models in a type, and how a key leads into them: ``[]`` a list, ``.NAME`` a mapping."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, mark
    added = {list: "[]", dict: ".NAME"}.get(get_origin(annotation), "")
    for inner in get_args(annotation):
        yield from _parts(inner, mark + added)


def _key(name: str, info: FieldInfo) -> str:
    return info.alias or name


def _section(model: type[BaseModel], path: str) -> str:
    head = f"## `{path}`" if path else "## Top level"
    lines = [head, "", (model.__doc__ or "").strip(), ""]
    lines += ["| key | type | default | meaning |", "|---|---|---|---|"]
    lines += [_line(_key(name, info), info) for name, info in model.model_fields.items()]
    return "\n".join(lines) + "\n"


def _line(key: str, info: FieldInfo) -> str:
    cells = (f"`{key}`", _type(info.annotation) + _bounds(info), _default(info), info.description)
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def _type(annotation: Any) -> str:
    """A type in words."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(inner[0])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in inner)
    if origin in {Union, types.UnionType}:
        return " or ".join(_type(part) for part in inner if part is not type(None))
    if origin in {list, tuple}:
        return f"list of {_type(inner[0])}"
    if origin is dict:
        return f"mapping of names to {_type(inner[1])}"
    return _WORDS.get(annotation, "mapping")


def _bounds(info: FieldInfo) -> str:
    words = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
    found = [
        f"{word} {getattr(limit, name):,}"
        for limit in info.metadata
        for name, word in words.items()
        if hasattr(limit, name)
    ]
    return f", {' and '.join(found)}" if found else ""


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    if info.default is PydanticUndefined or info.default is None:
        return ""
    if isinstance(info.default, tuple):
        return f"`[{', '.join(map(str, info.default))}]`"
    if isinstance(info.default, bool):
        return f"`{str(info.default).lower()}`"
    return f"`{info.default}`"


def command_page() -> str:
    """The page on the command line, in Markdown."""
    return "\n".join([COMMANDS_HEAD, *map(_command, _commands())])


def _commands() -> Iterator[Any]:
    yield from getattr(typer.main.get_command(app), "commands").values()  # noqa: B009 - untyped


def _command(command: Any) -> str:
    shown = [part for part in command.params if part.name != "help"]
    names = [part.name.upper() for part in shown if part.param_type_name == "argument"]
    usage = " ".join(["mlmreport", command.name, *names, "[OPTIONS]"])
    example = command.epilog.removeprefix("Example: ")
    lines = [f"## `{usage}`", "", command.help, "", "```sh", example, "```", ""]
    if shown:
        lines += ["| | meaning |", "|---|---|", *map(_parameter, shown), ""]
    return "\n".join(lines)


def _parameter(part: Any) -> str:
    named = part.param_type_name == "option"
    names = ", ".join(f"`{name}`" for name in (part.opts if named else [part.name.upper()]))
    required = " Required." if named and part.required else ""
    return f"| {names} | {part.help}{required} |"


PAGES = {"spec.md": spec_page, "commands.md": command_page, "analysis.schema.json": json_schema}
"""The generated files of the documentation."""

if __name__ == "__main__":
    write(Path(sys.argv[1]))
