"""The schema documents every key, and its JSON Schema is one that editors take."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from mlmreport.spec import schema
from mlmreport.spec.schema import AnalysisSpec, PredictorSpec, ReportSpec, json_schema

MODELS = [
    entry
    for entry in vars(schema).values()
    if isinstance(entry, type) and issubclass(entry, schema.Base)
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_key_is_described(model: type[BaseModel]) -> None:
    assert model.__doc__
    for name, field in model.model_fields.items():
        said = field.description or ""
        assert said.endswith("."), f"{model.__name__}.{name}"


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_nothing_is_changed_after_reading_or_passed_over(model: type[BaseModel]) -> None:
    assert model.model_config["frozen"]
    assert model.model_config["extra"] == "forbid"
    assert model.model_config["strict"]


def _parts(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
    for child in (
        node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    ):
        yield from _parts(child)


def test_the_json_schema_is_whole() -> None:
    root = json.loads(json_schema())
    assert root["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert root["additionalProperties"] is False
    assert set(root["required"]) == {"title", "levels", "outcome", "models"}
    names = root["$defs"].keys()
    for part in _parts(root):
        if isinstance(part.get("$ref"), str):
            assert part["$ref"].removeprefix("#/$defs/") in names
        if isinstance(part.get("properties"), dict) and "type" in part:
            for name, entry in part["properties"].items():
                # A description that repeats the class's own is left to the class.
                target = root["$defs"].get(entry.get("$ref", "").removeprefix("#/$defs/"), {})
                assert entry.get("description") or target.get("description"), name


def test_the_json_schema_calls_keys_as_yaml_does() -> None:
    assert "list" in json.loads(json_schema())["$defs"]["ModelsSpec"]["properties"]


def spec(**changes: Any) -> AnalysisSpec:
    whole = {
        "title": "T",
        "data": {"file": "d.csv"},
        "levels": [{"name": "a"}, {"name": "b", "id": "b"}],
        "outcome": {"name": "y"},
        "models": {"stepwise": {}},
    }
    return AnalysisSpec.model_validate(whole | changes)


def test_a_spec_goes_to_json_and_back() -> None:
    found = spec(models={"list": [{"id": "m", "formula": "y ~ (1 | b)"}]})
    stored = json.loads(json.dumps(found.model_dump(mode="json", by_alias=True)))
    assert AnalysisSpec.model_validate(stored) == found


@pytest.mark.parametrize("text", ["a\nb", "a\tb", "a\0b", "\x7f", "", "  "])
def test_labels_are_one_line_of_text(text: str) -> None:
    with pytest.raises(ValidationError):
        spec(title=text)


def test_text_may_have_lines() -> None:
    assert spec(abstract="a\nb\tc").abstract == "a\nb\tc"


def test_truth_values_are_no_numbers() -> None:
    with pytest.raises(ValidationError):
        PredictorSpec.model_validate({"level": "a", "center": True})
    with pytest.raises(ValidationError):
        spec(inference={"seed": True})


def test_a_report_has_a_format() -> None:
    assert ReportSpec.model_validate({"formats": ["html", "pdf"]}).formats == ("html", "pdf")
    with pytest.raises(ValidationError):
        ReportSpec.model_validate({"formats": []})
