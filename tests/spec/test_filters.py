"""Conditions on rows: what the grammar takes, and where it says what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlmreport.errors import InputError, Location
from mlmreport.spec.filters import (
    Among,
    Comparison,
    Joined,
    Missing,
    Negated,
    Number,
    Text,
    Word,
    parse,
    words_in,
)
from mlmreport.spec.reader import parse as parse_spec
from mlmreport.spec.sequence import outline


def test_tests_and_what_joins_them() -> None:
    assert parse("Days >= 2") == Comparison(">=", Word("Days", (0, 4)), Number(2.0, "2", (8, 9)))
    found = parse("a == -1.5e2 or b in [Public, 'a b', 3] and not `c d` is missing")
    assert isinstance(found, Joined)
    assert found.operator == "or"
    first, second = found.parts
    assert isinstance(first, Comparison)
    assert first.right == Number(-150.0, "-1.5e2", (5, 11))
    assert isinstance(second, Joined)
    assert second.operator == "and"
    among, negated = second.parts
    assert isinstance(among, Among)
    assert among.values[:2] == (Text("Public", (21, 27)), Text("a b", (29, 34)))
    assert negated == Negated(Missing(Word("c d", (47, 52), column=True)))
    assert [word.name for word in words_in(found)] == ["a", "b", "c d"]


def test_a_chain_compares_neighbours() -> None:
    found = parse("2 <= Days < 8")
    assert isinstance(found, Joined)
    assert found.operator == "and"
    assert [part.operator for part in found.parts if isinstance(part, Comparison)] == ["<=", "<"]


def test_not_in_and_is_not_missing_are_negations() -> None:
    assert isinstance(parse("a not in [1]"), Negated)
    assert parse("a is not missing") == Negated(Missing(Word("a", (0, 1))))


@pytest.mark.parametrize(
    ("text", "column", "message", "hint"),
    [
        ("Days = 2", 6, "= has no place", "write =="),
        ("a > 1 && b", 7, "&& has no place", "write `and`"),
        ("a == NA", 6, "nothing equals NA", "is missing"),
        ("a == missing", 6, "missing cannot stand", "is missing"),
        ("a in b", 6, "b cannot stand", "brackets"),
        ("a in [b", 7, "breaks off", "']'"),
        ("(a > 1", 6, "breaks off", "')'"),
        ("3 > 2", 1, "no column", "such as"),
        ("2 in [2]", 1, "a column has to stand here", "such as"),
        ("7a > 2", 1, "7a has no place", "`7a`"),
        ("a-b > 2", 2, "- has no place", "backticks"),
        ("a > 1 b > 2", 7, "b cannot stand", "`and` or `or`"),
        ("__import__('os')", 11, "( cannot stand", "such as"),
        ("a in [`b`]", 7, "no columns", "compare columns"),
        ("a == 12345678901234567890", 6, "at most 15 digits", "quotes"),
        ("not " * 50 + "a > 1", 161, "nested too deeply", "several"),
    ],
)
def test_what_is_no_condition_is_located(text: str, column: int, message: str, hint: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(text, Location("a.yml", 3, 1, 1, text))
    problem = caught.value.problems[0]
    assert message in problem.message
    assert hint in problem.hint
    assert problem.location is not None
    assert (problem.location.line, problem.location.column) == (3, column)


@given(st.text(max_size=40))
def test_any_text_is_a_condition_or_an_input_error(text: str) -> None:
    try:
        parse(text)
    except InputError as error:
        assert error.problems[0].location is not None  # noqa: PT017


def test_all_faults_of_filters_are_told_with_those_of_the_rest_of_the_spec(tmp_path: Path) -> None:
    text = (
        "title: T\n"
        "data: {file: d.csv, filter: ['a = 1', 'b >']}\n"
        "levels: [{name: pupil}, {name: school, id: school}]\n"
        "outcome: {name: y}\n"
        "models: {list: [{id: m, fixed: [nothing], random: {school: [1]}}]}\n"
    )
    _, problems = outline(parse_spec(text, tmp_path / "a.yml"))
    assert [problem.location.line for problem in problems if problem.location] == [2, 2, 5]
