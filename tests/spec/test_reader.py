"""YAML to a spec: places of keys, YAML 1.2 words, and messages in a reader's words."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlmreport.errors import InputError
from mlmreport.spec.reader import Document, load, parse
from mlmreport.spec.schema import AnalysisSpec

SPEC = """\
title: A title
data:
  file: d.csv
levels:
  - name: pupil
  - {name: school, id: school}
outcome: {name: y}
predictors:
  ses:
    level: pupil
    center: 5
  sex: {level: pupil, type: category, reference: No, categories: {1: Male, null: None, true: Yes}}
models:
  stepwise: {random_slopes: [ses]}
"""


def read(text: str) -> Document:
    return parse(text, Path("a.yml"))


def problems(text: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        read(text)
    return [str(problem) for problem in caught.value.problems]


def test_keys_values_and_items_are_located() -> None:
    document = read(SPEC)
    assert str(document.locate("predictors", "ses", "center")) == "a.yml:11:5"
    assert str(document.locate("predictors", "ses", "center", "=")) == "a.yml:11:13"
    assert str(document.locate("levels", 1, "id", "=")) == "a.yml:6:24"
    assert str(document.locate("models", "stepwise", "random_slopes", 0)) == "a.yml:14:30"
    place = document.locate("outcome", "name", "=")
    assert (place.length, place.excerpt) == (1, "outcome: {name: y}")


def test_what_does_not_stand_in_the_file_is_located_at_the_nearest_above() -> None:
    document = read(SPEC)
    assert str(document.locate("predictors", "ses", "label")) == "a.yml:9:3"
    assert str(document.locate("report", "groups", 2)) == "a.yml:1:1"
    assert document.problem("m", "h", "title").location == document.locate("title")


def test_words_of_old_yaml_are_words_and_keys_are_text() -> None:
    sex = read(SPEC).spec.predictors["sex"]
    assert sex.reference == "No"
    assert sex.categories == {"1": "Male", "null": "None", "true": "Yes"}


@pytest.mark.parametrize(
    ("written", "expected"),
    [("no", "no"), ("1", 1), ("1.5", 1.5), ("true", True), ("007", "007"), ("1e3", 1000.0),
     ("2024-01-31", "2024-01-31"), ("12:30", "12:30"), ("0x1F", "0x1F"), ("1_000", "1_000"),
     ("!!str 5", "5"), ("'true'", "true"), (".inf", ".inf"), ("~", None), ("-3", -3)],
)  # fmt: skip
def test_scalars(written: str, expected: object) -> None:
    found = read(SPEC.replace("reference: No", f"reference: {written}"))
    reference = found.spec.predictors["sex"].reference
    assert reference == expected
    assert type(reference) is type(expected)


def test_aliases_may_be_used() -> None:
    text = SPEC.replace("  ses:\n", "  a: &a {level: pupil}\n  b: *a\n  ses:\n")
    spec = read(text).spec
    assert spec.predictors["a"] == spec.predictors["b"]


def test_every_problem_is_told_in_the_order_of_the_file() -> None:
    text = SPEC.replace("title", "titel").replace("5", "five").replace("[ses]", "ses")
    found = problems(text)
    assert found[0].startswith("a.yml:1:1: the spec lacks the key 'title'")
    assert found[1].startswith("a.yml:1:1: unknown key 'titel'")
    assert "did you mean 'title'" in found[1]
    assert found[2].startswith("a.yml:11:13: predictors.ses.center: 'five' is neither a number")
    assert found[3].startswith("a.yml:14:29: models.stepwise.random_slopes: this is text, but")


def test_a_predictor_may_have_the_name_of_a_type() -> None:
    text = SPEC.replace("  ses:", "  float:")
    assert "a.yml:11:13: predictors.float.center" in problems(text.replace("5", "x"))[0]


@pytest.mark.parametrize("name", ["unknown", "data", "level", "categories"])
def test_a_predictor_may_have_the_name_of_a_key(name: str) -> None:
    text = SPEC.replace("  ses:", f"  {name}:").replace("center", "centre")
    assert problems(text)[0].endswith("hint: did you mean 'center'?")


def test_a_repeated_key_names_both_places() -> None:
    found = problems(SPEC.replace("center: 5", "level: school"))
    assert "a.yml:11:5: the key 'level' stands twice (first in line 10)" in found[0]


def test_bombs_are_refused_at_once() -> None:
    rows = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]" for a, b in pairwise("abcdefghi")]
    began = time.monotonic()
    assert "50,000 parts" in problems("\n".join(rows))[0]
    merged = "\n".join(rows).replace("[", "{<<: [").replace("]", "]}").replace("x", "1")
    assert problems(merged)
    keyed = "\n".join(rows) + "\n? *i\n: 1\n"
    assert problems(keyed)
    assert time.monotonic() - began < 5


def test_files_that_are_no_spec(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a file"):
        load(tmp_path)
    with pytest.raises(InputError, match="mlmreport new DATA"):
        load(tmp_path / "none" / "a.yml")
    (tmp_path / "big.yml").write_bytes(b"a" * 2_000_001)
    with pytest.raises(InputError, match="larger than a spec"):
        load(tmp_path / "big.yml")


def test_a_byte_order_mark_is_no_part_of_the_spec(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_bytes(b"\xef\xbb\xbf" + SPEC.encode())
    assert load(tmp_path / "a.yml").spec.title == "A title"


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_a_spec_or_an_input_error(text: str) -> None:
    with pytest.raises(InputError):
        read(text)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, len(SPEC) - 1), st.text(st.sampled_from(":{}[]&*!|>'\"%@`#- \n\tx1"), max_size=3)
)
def test_a_spec_with_a_slip_is_read_or_told(place: int, slip: str) -> None:
    try:
        told = ""
        spec = read(SPEC[:place] + slip + SPEC[place + 1 :]).spec
    except InputError as error:
        told = str(error)
    assert bool(told) or isinstance(spec, AnalysisSpec)
    assert "Input should" not in told
