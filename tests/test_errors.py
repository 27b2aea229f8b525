"""The one layout of a located problem."""

from __future__ import annotations

import pickle

from hypothesis import given
from hypothesis import strategies as st

from mlmreport.errors import InputError, Location, Problem, did_you_mean, printable


def test_a_problem_shows_place_excerpt_and_hint() -> None:
    place = Location("a.yml", 3, 8, 4, "title: What")
    assert str(Problem("is wrong", "do this", place)) == (
        "a.yml:3:8: is wrong\n    3 | title: What\n      |        ^^^^\n  hint: do this"
    )


def test_a_problem_without_a_place() -> None:
    assert str(Problem("is wrong")) == "is wrong"
    assert str(Problem("is wrong", "", Location("a.yml"))) == "a.yml: is wrong"


def test_the_caret_stands_below_wide_characters() -> None:
    line = "名: 値"
    shown = Location("a.yml", 1, line.index("値") + 1, 1, line).underlined()
    assert shown[1].endswith("|     ^^")


def test_long_lines_are_shown_around_the_place() -> None:
    line = "x" * 1000 + "HERE" + "y" * 1000
    text, carets = Location("a.yml", 1, 1001, 4, line).underlined()
    assert len(text) < 200
    start = carets.index("^")
    assert text[start : start + 4] == "HERE"
    assert carets.count("^") == 4


@given(st.text(max_size=300), st.integers(-2, 400), st.integers(-2, 400))
def test_any_excerpt_can_be_shown(line: str, column: int, length: int) -> None:
    shown = Location("a.yml", 1, column, length, line).underlined()
    assert len(shown) in {0, 2}
    assert all("\n" not in part and "\x1b" not in part for part in shown)


def test_terminal_codes_do_not_reach_the_screen() -> None:
    assert "\x1b" not in str(Problem("a \x1b[31mred\n word", "\x1b[0m"))
    assert printable("a\nb\u202ec") == "a b\N{REPLACEMENT CHARACTER}c"


def test_problems_are_in_the_order_of_the_file_and_told_once() -> None:
    late = Problem("b", "", Location("a.yml", 9, 2))
    early = Problem("a", "", Location("a.yml", 2, 5))
    error = InputError((late, early, late))
    assert error.problems == (early, late)
    assert str(error) == "a.yml:2:5: a\na.yml:9:2: b"


def test_an_input_error_is_an_ordinary_exception() -> None:
    error = InputError.of("message", "hint")
    assert error.exit_code == 2
    assert len({error, error}) == 1
    assert pickle.loads(pickle.dumps(error)).problems == error.problems


def test_near_misses_are_named_whatever_the_case() -> None:
    assert did_you_mean("SECTOR", ["sector", "size"]) == "did you mean 'sector'?"
    assert did_you_mean("zzz", ["b", "a"]) == "known here: a, b"
    assert did_you_mean("zzz", [f"n{i:02}" for i in range(20)]).endswith("n11, ...")
    assert did_you_mean("zzz", []) == ""
