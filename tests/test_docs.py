"""The documentation keeps up with the program."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from jsonschema import Draft202012Validator

from mlmreport.cli import app
from mlmreport.reference import PAGES
from mlmreport.spec.schema import AnalysisSpec, json_schema

ROOT = Path(__file__).parents[1]
SPECS = sorted((ROOT / "analyses").glob("*/*.yml"))
HEADER = "# yaml-language-server: $schema=../../docs/analysis.schema.json"
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def documentation() -> str:
    """All that is written for users."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    return "\n".join(page.read_text(encoding="utf-8") for page in pages)


@pytest.mark.parametrize("name", PAGES)
def test_generated_pages_are_current(name: str) -> None:
    page = ROOT / "docs" / name
    assert page.read_text(encoding="utf-8") == PAGES[name](), (
        "run `python -m mlmreport.reference docs`"
    )


def test_every_key_of_the_spec_is_on_the_page_with_a_meaning() -> None:
    page = (ROOT / "docs" / "spec.md").read_text(encoding="utf-8")
    schema = AnalysisSpec.model_json_schema(by_alias=True)
    for model in (schema, *schema["$defs"].values()):
        for key, field in model["properties"].items():
            assert f"| `{key}` |" in page
            assert _described(field, schema), key


def _described(field: Any, schema: Any) -> bool:
    """Whether a key, or the part of the spec that it leads to, says what it means."""
    part = schema["$defs"].get(field.get("$ref", "").rpartition("/")[2], {})
    return bool(field.get("description") or part.get("description"))


def test_every_item_of_the_checklist_has_its_place() -> None:
    page = (ROOT / "docs" / "steps.md").read_text(encoding="utf-8")
    heads = re.findall(r"^\| ((?:\d+,? )+)", page, flags=re.MULTILINE)
    numbers = {int(number) for head in heads for number in re.findall(r"\d+", head)}
    also = re.search(r"^\| (26 .*?) \| not applicable", page, flags=re.MULTILINE)
    assert also
    numbers |= {int(number) for number in re.findall(r"\b\d+\b", also[1])}
    assert numbers == set(range(1, 52))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_documented(name: str) -> None:
    assert f"mlmreport {name}" in documentation()


OPTIONS = sorted(
    {
        option
        for command in COMMANDS.values()
        for parameter in command.params
        for option in parameter.opts
        if option.startswith("--") and option != "--help"
    }
)


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_is_documented(name: str) -> None:
    assert name in documentation()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_parameter_has_a_help_text(name: str) -> None:
    for parameter in COMMANDS[name].params:
        assert getattr(parameter, "help", "") or parameter.name == "help", parameter.name


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.parent.name)
def test_a_shipped_spec_names_the_schema_and_is_valid_against_it(spec: Path) -> None:
    text = spec.read_text(encoding="utf-8")
    assert text.splitlines()[0] == HEADER
    validator = Draft202012Validator(json.loads(json_schema()))
    assert list(_messages(validator, yaml.safe_load(text))) == []


def _messages(validator: Draft202012Validator, document: Any) -> Iterator[str]:
    for error in validator.iter_errors(document):
        yield f"{'/'.join(map(str, error.path))}: {error.message}"


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(json.loads(json_schema()))


def test_files_linked_from_the_pages_exist() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
