"""`mlmreport check` on specs broken in every way: an answer with a place, and nothing else.

Specs are made from shipped ones and from one that uses most keys, by changes of values, keys and
lists. Whatever comes, `check` ends with 0, 2 or 3, names the line of each problem, writes nothing,
opens nothing but the spec's folder and the program's own files, and asks no network.
"""

from __future__ import annotations

import contextlib
import copy
import io
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from fuzz.examples import at_most, tried
from hypothesis import given
from hypothesis import strategies as st
from support import ANALYSES, ROOT

from mlmreport import cli
from mlmreport.spec.reader import MAX_DEPTH
from mlmreport.spec.schema import Base

MOST_KEYS = """\
title: A
data: {file: data.csv, join: [{file: schools.csv, by: school}]}
levels:
  - {name: pupil}
  - {name: class, id: class, within: school}
  - {name: school, id: school, plural: schools}
time: age
outcome: {name: score, label: Score, unit: points, rwg: {categories: 5}}
predictors:
  ses: {level: pupil, label: SES, center: group mean, contextual: true}
  age: {level: pupil, unit: year, center: 8}
  early: {level: pupil, column: age, piece: {before: 9}}
  sector: {level: school, type: category, reference: Public, categories: {Private: P, Public: Q}}
  size: {level: school, transform: log, center: grand mean}
questions:
  - {id: Q1, text: How, terms: [ses], kind: within, family: f}
  - {id: Q2, text: Who, terms: ["ses:sector"]}
models:
  list:
    - {id: a, label: First, formula: "score ~ ses + ses:sector + sector + (1 | school)"}
    - id: b
      fixed: [ses, ses_mean, sector, size, "ses:sector"]
      random: {school: [1, ses], class: [1]}
  final: b
estimation: {weights: w, offset: o, patience: 10}
inference: {level: 0.9, seed: 1}
report: {grouping: school, groups: [s1], formats: [html]}
"""


def tables() -> dict[str, pd.DataFrame]:
    """Sixty pupils in ten schools."""
    rng = np.random.default_rng(1)
    group = np.repeat(np.arange(10), 6)
    pupils = pd.DataFrame(
        {
            "school": [f"s{number + 1}" for number in group],
            "class": ["a", "b"] * 30,
            "ses": rng.normal(size=60).round(2),
            "age": rng.integers(8, 12, 60),
            "w": rng.integers(1, 4, 60),
            "o": rng.normal(size=60).round(2),
            "score": (rng.normal(size=60) + rng.normal(size=10)[group]).round(2),
        }
    )
    schools = {"school": [f"s{n + 1}" for n in range(10)], "sector": ["Private", "Public"] * 5}
    size = rng.integers(10, 99, 10)
    return {"data.csv": pupils, "schools.csv": pd.DataFrame({**schools, "size": size})}


_SHIPPED = [
    yaml.safe_load(file.read_text(encoding="utf-8"))
    for file in sorted(ANALYSES.glob("*/analysis.yml"))
]
SPECS = [
    yaml.safe_load(MOST_KEYS),
    # The data of R's packages come from R, which looks up what it likes.
    *sorted((s for s in _SHIPPED if "package" not in s.get("data", {})), key=lambda s: len(str(s)))[
        :4
    ],
]
HOSTILE = [
    "", " ", "x", "ses", "score", "school", "pupil", "class", "if", "TRUE", "T", ".", "NA", "1",
    "1e5", "(Intercept)", "a`b", "a'b", 'a"b', "a\nb", "a\\b", "größe", "\u202e", "\u200b",
    "x" * 300, "ses ses", "ses:ses", "(1 | school)", "score ~ ses", "~", "system('touch owned')",
    "{{ 7 * 7 }}",
    "../secret.csv", "/etc/passwd", "C:\\x.csv", "data.csv", "data.csv/", ".", "null", "no", "@x",
    "http://127.0.0.1:9/x.csv", "house", "0x10", "1_000", "\t", "a: b", "# x", "💥",
]  # fmt: skip
KEYS = sorted(
    {
        entry.alias or name
        for model in Base.__subclasses__()
        for name, entry in model.model_fields.items()
    }
)
VALUES = st.one_of(
    st.sampled_from(HOSTILE),
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([10**30, -(10**30), 1e200, -1e200, 1e-300, 0.0, 0.5, 2**31]),
    st.just([]),
    st.just({}),
    st.lists(st.sampled_from(HOSTILE), max_size=3),
    st.dictionaries(st.sampled_from(HOSTILE), st.sampled_from(HOSTILE), max_size=2),
)


def places(part: Any) -> Iterator[tuple[Any, Any]]:
    """Every mapping or list of a spec with every key or index of it."""
    inner = part.items() if isinstance(part, dict) else enumerate(part)
    for key, value in inner:
        yield part, key
        if isinstance(value, dict | list):
            yield from places(value)


@st.composite
def broken(draw: st.DrawFn) -> str:
    """The text of a spec with one to three changes."""
    spec = copy.deepcopy(draw(st.sampled_from(SPECS)))
    for _ in range(draw(st.integers(1, 3))):
        known = list(places(spec))
        if known:
            _change(draw, *draw(st.sampled_from(known)))
    text = yaml.safe_dump(spec, allow_unicode=True, sort_keys=False)
    if draw(st.integers(0, 9)) == 0:  # and of the text itself
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.sampled_from(HOSTILE)) + text[at + draw(st.integers(0, 5)) :]
    return text


def _change(draw: st.DrawFn, part: Any, key: Any) -> None:
    match draw(st.sampled_from(["set", "delete", "double", "name"])):
        case "set":
            part[key] = draw(VALUES)
        case "delete":
            del part[key]
        case "double" if isinstance(part, list):
            part.append(copy.deepcopy(part[key]))
        case _ if isinstance(part, dict):
            part[draw(st.sampled_from(HOSTILE + KEYS))] = part.pop(key)


# --- what the program does while it looks at one -----------------------------------------------

_OWN = (
    ROOT,
    Path(sys.prefix),
    Path(sys.base_prefix),
    *map(Path, ("/usr", "/proc", "/sys", "/dev")),
)
_events: list[str] | None = None
_folder = Path()


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if _events is None:
        return
    if event.startswith(("socket.", "subprocess.", "os.system", "os.exec", "urllib.")):
        _events.append(f"{event} {arguments}")
    if event == "open" and isinstance(arguments[0], str | bytes):
        path = Path.cwd() / os.path.normpath(os.fsdecode(arguments[0]))
        written = arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        inside = any(path.is_relative_to(place) for place in (_folder, *_OWN))
        if not inside or (written and not path.is_relative_to("/dev")):
            _events.append(f"open {path} {arguments[1]}")


sys.addaudithook(_watch)


def checked(folder: Path, text: str) -> tuple[int, str, list[str]]:
    """Exit code of `check`, what it said, and what it did that it should not."""
    global _events, _folder
    spec, said = folder / "spec.yml", io.StringIO()
    spec.write_text(text, encoding="utf-8")
    sys.argv, before = ["mlmreport", "check", str(spec)], sys.argv
    _events, _folder = [], folder
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            cli.main()
    except SystemExit as left:
        return int(left.code or 0), said.getvalue(), _events
    finally:
        sys.argv, _events = before, None
    raise AssertionError("the command line ends by an exit code")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("specs") / "own"
    place.mkdir()
    (place.parent / "secret.csv").write_text("secret\n1\n")
    for name, table in tables().items():
        table.to_csv(place / name, index=False)
    return place


PLACED = re.compile(r"[^ ].*spec\.yml:\d+(:\d+)?: .")


def answers(folder: Path, text: str) -> None:
    """The spec is accepted, or refused with a place for everything that is said."""
    began = time.process_time()
    code, said, done = checked(folder, text)
    took = time.process_time() - began
    assert code in {0, 2, 3}, said
    assert "internal error" not in said
    assert "Traceback" not in said
    if code == 2:
        told = [line for line in said.splitlines() if not re.match(r" |\d+ \| ", line)]
        assert told
        assert [line for line in told if not PLACED.match(line)] == []
    assert done == []
    assert took < 5
    assert {file.name for file in folder.iterdir()} == {"spec.yml", *tables()}


@tried()
def test_a_broken_spec_gets_an_answer(examples: int, folder: Path) -> None:
    @at_most(examples)
    @given(broken())
    def holds(text: str) -> None:
        answers(folder, text)

    holds()


def test_the_spec_itself_is_sound(folder: Path) -> None:
    code, said, done = checked(folder, MOST_KEYS)
    assert (code, done) == (0, []), said


LARGE = {
    "a spec of 3,000 predictors": MOST_KEYS.replace(
        "predictors:\n",
        "predictors:\n" + "".join(f"  x{i}: {{level: pupil}}\n" for i in range(3000)),
    ),
    "600,000 items": f"title: A\nauthors: [{', '.join(['a'] * 600_000)}]\n",
    "20,000 unknown keys": "".join(f"k{i}: 1\n" for i in range(20_000)),
    "20,000 brackets": "title: " + "[" * 20_000,
    "20,000 mappings in each other": "title: " + "{a: " * 20_000,
    "1,000 levels of indentation": "\n".join(" " * i + "a:" for i in range(1_000)),
    "100,000 comments": "# x\n" * 100_000,
    "an endless word": "title: " + "a" * 500_000,
}


@pytest.mark.parametrize("name", LARGE)
def test_a_large_spec_is_answered_quickly(name: str, folder: Path) -> None:
    answers(folder, LARGE[name])


def test_the_depth_that_is_stated_is_the_depth_that_is_refused(folder: Path) -> None:
    for depth in (MAX_DEPTH, MAX_DEPTH + 1):
        said = checked(folder, "title: " + "[" * depth + "]" * depth)[1]
        assert ("nested deeper" in said) is (depth > MAX_DEPTH), depth
