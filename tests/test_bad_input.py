"""Whatever is wrong in a spec or its data gives a located error; whatever is only odd, a report."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from mlmreport import cli
from mlmreport.quantities import Results
from mlmreport.verify.displayed import compare_page

SPEC = """\
title: A spec
data: {file: data.csv}
levels:
  - {name: pupil}
  - {name: school, id: school}
outcome: {name: score, label: Score, unit: points}
predictors:
  ses: {level: pupil, label: SES}
  sector: {level: school, type: category}
  size: {level: school}
questions:
  - {id: Q1, text: "How strong is ses?", terms: [ses]}
models: {stepwise: {}}
inference: {variance_ci: none}
"""


def small(groups: int = 12, rows: int = 6) -> pd.DataFrame:
    """Groups of equal size with a random intercept."""
    rng = np.random.default_rng(7)
    group = np.repeat(np.arange(groups), rows)
    frame = pd.DataFrame(
        {
            "school": [f"s{number + 1}" for number in group],
            "ses": rng.normal(size=len(group)).round(3),
            "sector": np.where(group % 2, "Public", "Private"),
            "size": rng.normal(size=groups).round(3)[group],
        }
    )
    noise = rng.normal(size=len(group)) + rng.normal(size=groups)[group]
    return frame.assign(score=(2 + 0.5 * frame["ses"] + noise).round(3))


class Desk:
    """A folder with a spec and its data, and the command line as a user runs it."""

    def __init__(self, folder: Path, monkeypatch: Any, capsys: Any) -> None:
        self.folder, self.monkeypatch, self.capsys = folder, monkeypatch, capsys

    def write(self, spec: str, frame: pd.DataFrame | None = None) -> None:
        (self.folder / "spec.yml").write_text(spec, encoding="utf-8")
        (small() if frame is None else frame).to_csv(self.folder / "data.csv", index=False)

    def call(self, *arguments: str) -> tuple[int, str]:
        """Exit code, and what stands on the screen."""
        self.monkeypatch.setattr(sys, "argv", ["mlmreport", *arguments])
        with pytest.raises(SystemExit) as left:
            cli.main()
        shown = self.capsys.readouterr()
        return int(left.value.code or 0), shown.out + shown.err

    def refused(self, command: str = "check") -> str:
        """The messages of a spec that is wrong; nothing is written."""
        before = sorted(self.folder.rglob("*"))
        code, shown = self.call(command, str(self.folder / "spec.yml"))
        assert code == 2, shown
        assert "Traceback" not in shown
        assert sorted(self.folder.rglob("*")) == before
        return shown

    def report(self) -> tuple[str, Results]:
        """The page and results of a spec that runs; the page says what the results say."""
        code, shown = self.call("run", str(self.folder / "spec.yml"), "--to", "html")
        assert code == 0, shown
        folder = self.folder / "report"
        page = (folder / "report.html").read_text(encoding="utf-8")
        stored = folder / "results.json"
        results = Results.from_json(stored.read_text(encoding="utf-8"), str(stored))
        check = compare_page(page, results)
        assert check.ok, check.mismatches[:3]
        return page, results


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Desk:
    return Desk(tmp_path, monkeypatch, capsys)


# --- the spec file -------------------------------------------------------------------------------


def test_a_missing_spec_names_its_neighbours(desk: Desk) -> None:
    (desk.folder / "analysis.yml").write_text(SPEC, encoding="utf-8")
    code, shown = desk.call("run", str(desk.folder / "anaylsis.yml"))
    assert code == 2
    assert "did you mean 'analysis.yml'?" in shown


def test_a_folder_is_no_spec(desk: Desk) -> None:
    code, shown = desk.call("check", str(desk.folder))
    assert code == 2
    assert "is not a file" in shown


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9)
)

MALFORMED = {
    "an open bracket": ("title: [A\noutcome: y\n", "2:8: not readable as YAML"),
    "a tab": ("title:\n\tx: 1\n", "spaces, not with tabs"),
    "a bare question": (
        "questions: [{id: Q1, text: Is it so?, terms: [a]}]\n",
        "put text that ends in a question mark into quotes",
    ),
    "a bare colon": ("title: Achievement: a study\n", "put text that holds a colon into quotes"),
    "an empty file": ("", "a spec is a mapping of keys, this is empty"),
    "a list": ("- title: A\n", "a spec is a mapping of keys, this is a list"),
    "two documents": (SPEC + "---\n" + SPEC, "a spec is one document"),
    "a control character": ("title: a\x07b\n", "1:9: the character U+0007"),
    "a repeated key": ("title: A\n" + SPEC, "2:1: the key 'title' stands twice"),
    "a Python object": ("title: !!python/object/apply:os.system [ls]\n", "remove the tag"),
    "a wrong tag": ("title: !!timestamp never\n", "the YAML tag '!!timestamp' is not used"),
    "an endless number": (f"title: {'9' * 5000}\n", "a number of 5,000 characters"),
    "an alias in itself": ("title: &a [*a]\n", "an alias stands within what it refers to"),
    "a billion laughs": (BOMB, "more than 50,000 parts"),
    "a list as a key": ("? [a, b]\n: 1\n", "a key is a word, not a list"),
    "deep nesting": ("title: " + "[" * 60 + "]" * 60 + "\n", "nested deeper than 40 levels"),
    "endless nesting": ("[" * 20_000, "1:42: nested deeper than 40 levels"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_yaml_is_located(name: str, desk: Desk) -> None:
    text, expected = MALFORMED[name]
    desk.write(text)
    shown = desk.refused()
    assert expected in shown
    assert "pydantic" not in shown


def test_a_spec_that_is_not_utf8(desk: Desk) -> None:
    desk.write(SPEC)
    (desk.folder / "spec.yml").write_bytes("title: Größe".encode("latin-1"))
    assert "not UTF-8 text (byte 9)" in desk.refused()


WRONG = {
    "outcome: y": "outcome: this is text, but a mapping of keys "
    "(name, label, unit, transform, rwg)",
    "levels: 3": "levels: this is a number, but a list is needed",
    "title: 2024": "title: this is a number, but text is needed",
    "authors: Me": "authors: this is text, but a list is needed",
    "tilte: A": "unknown key 'tilte'",
    "inference: {df: Satterthwaite}": "did you mean 'satterthwaite'?",
    "inference: {alpha: 0.9}": "inference.alpha: must be less than 0.5",
    "inference: {bootstrap: 100.5}": "a whole number is needed",
    "inference: {bootstrap: true}": "this is a truth value, but a whole number is needed",
    "report: {formats: [html, word]}": "report.formats[2]: 'word' is not one of html, docx, pdf",
    "predictors: {int: {level: pupil, center: true}}": "predictors.int.center: a truth value",
    "predictors: {a: {level: pupil, center: grandmean}}": "did you mean 'grand mean' or",
    "predictors: {a: {levle: pupil}}": "did you mean 'level' or 'label'?",
    'data: {file: "a\\0b.csv"}': "data.file: holds a control character",
    "house: ../../etc": "house: '../../etc' cannot be used here",
}


@pytest.mark.parametrize("line", WRONG)
def test_wrong_types_and_unknown_keys(line: str, desk: Desk) -> None:
    key = line.partition(":")[0]
    kept = yaml.safe_load(SPEC)
    kept.pop(key, None)
    desk.write(line + "\n" + yaml.safe_dump(kept))
    shown = desk.refused()
    assert WRONG[line] in shown
    assert "spec.yml:1:" in shown
    assert "Input should" not in shown


# --- what only the data can show -----------------------------------------------------------------


def refused(desk: Desk, spec: str, frame: pd.DataFrame | None, *expected: str) -> str:
    desk.write(spec, frame)
    shown = desk.refused()
    for text in expected:
        assert text in shown, shown
    return shown


def test_all_problems_of_spec_and_data_at_once(desk: Desk) -> None:
    spec = SPEC.replace("name: score", "name: scor").replace("ses: {", "sess: {")
    spec = spec.replace("level: school, type: category", "level: shool, type: category")
    spec = spec.replace("models: {stepwise: {}}", "models: {stepwise: {random_slopes: [sise]}}")
    frame = small().assign(size=lambda d: np.arange(len(d)))
    shown = refused(
        desk, spec, frame,
        "spec.yml:6:17: the data have no column 'scor'", "did you mean 'score' or",
        "spec.yml:8:3: the data have no column 'sess'",
        "spec.yml:9:19: predictor 'sector': there is no level 'shool'",
        "spec.yml:10:17: predictor 'size' is said to be of the level 'school', but varies",
        "spec.yml:13:37: no predictor is called 'sise'",
    )  # fmt: skip
    lines = [int(line.split(":")[1]) for line in shown.splitlines() if "spec.yml:" in line]
    assert lines == sorted(lines)


def test_a_missing_data_file(desk: Desk) -> None:
    spec = SPEC.replace("data.csv", "dta.csv")
    refused(desk, spec, None, "spec.yml:2:8: there is no file dta.csv", "did you mean 'data.csv'?")


def test_a_data_file_elsewhere(desk: Desk) -> None:
    spec = SPEC.replace("data.csv", "../../etc/passwd.csv")
    refused(desk, spec, None, "lies outside of the folder of the spec", "--data-root")


DATA = {
    "no rows": (lambda d: d.head(0), "has a header but no rows"),
    "one group": (lambda d: d.assign(school="s1"), "there is only one school in the data"),
    "one row a group": (
        lambda d: d.assign(school=[f"s{i}" for i in range(len(d))]),
        "every school has one row only",
    ),
    "no ids": (lambda d: d.assign(school=None), "the id 'school' has no values"),
    "no outcome": (lambda d: d.assign(score=np.nan), "'score' has no values at all"),
    "a text outcome": (
        lambda d: d.assign(score=np.where(d.score > 2, "high", "low")),
        "'score' is not a number in 72 rows: 'low', 'high'",
    ),
    "some text in the outcome": (
        lambda d: d.assign(score=d.score.astype(str).where(d.index != 3, "absent")),
        "'absent' (first in data row 4)",
    ),
    "decimal commas": (
        lambda d: d.assign(score=d.score.map("{:.3f}".format).str.replace(".", ",")),
        "decimal commas: write 3.14, not 3,14",
    ),
    "a constant outcome": (lambda d: d.assign(score=1.5), "the outcome 'score' is constant"),
    "an outcome that is a predictor": (
        lambda d: d.assign(score=d.ses * 2 + 1),
        "within groups the outcome 'score' is an exact function of 'ses'",
    ),
    "an outcome that is a predictor and its group's": (
        lambda d: d.assign(score=d.ses + d["size"] * 3),
        "within groups the outcome 'score' is an exact function of 'ses'",
    ),
    "huge numbers": (lambda d: d.assign(score=d.score * 1e200), "whose squares are beyond"),
    "tiny numbers": (lambda d: d.assign(ses=d.ses * 1e-200), "give it in smaller units"),
    "a constant": (lambda d: d.assign(ses=1.5), "predictor 'ses' has the same value throughout"),
    "one category": (lambda d: d.assign(sector="Public"), "predictor 'sector' has one category"),
    "infinity": (lambda d: d.assign(ses=d.ses.where(d.index > 0, np.inf)), "infinite in 1 rows"),
    "a varying sector": (
        lambda d: d.assign(sector=["A", "B"] * 36),
        "varies within 12 of 12 schools (s1, s2, s3, ...)",
    ),
    "an unvarying ses": (lambda d: d.assign(ses=d["size"]), "is the same for all pupils of every"),
    "no complete row": (
        lambda d: d.assign(
            ses=d.ses.where(d.index % 2 == 0), score=d.score.where(d.index % 2 == 1)
        ),
        "no row has values in all variables of the models",
    ),
    "a category a school": (
        lambda d: d.assign(sector=d.school),
        "predictor 'sector': every school has a category of its own",
    ),
}


@pytest.mark.parametrize("name", DATA)
def test_data_that_cannot_be_analysed(name: str, desk: Desk) -> None:
    change, expected = DATA[name]
    shown = refused(desk, SPEC, change(small()), expected)
    assert all(line.startswith((" ", str(desk.folder))) for line in shown.splitlines())


def test_ten_thousand_categories(desk: Desk) -> None:
    frame = small(2_000, 6)
    frame["code"] = [f"c{i % 10_000}" for i in range(len(frame))]
    spec = SPEC.replace("  size:", "  code: {level: pupil, type: category}\n  size:")
    refused(desk, spec, frame, "'code' has 10,000 categories, more than the 100")


def test_an_id_that_is_not_unique(desk: Desk) -> None:
    spec = SPEC.replace("{name: pupil}", "{name: pupil, id: pupil}")
    frame = small().assign(pupil=[*range(70), 68, 69])
    refused(desk, spec, frame, "spec.yml:4:19: the id 'pupil' is not unique: 2 rows", "(68, 69)")


def test_a_joined_id_that_is_not_unique(desk: Desk) -> None:
    spec = SPEC.replace("{file: data.csv}", "{file: data.csv, join: [{file: s.csv, by: school}]}")
    schools = pd.DataFrame({"school": ["s1", "s1", "s2"], "size": [1, 2, 3]})
    schools.to_csv(desk.folder / "s.csv", index=False)
    refused(desk, spec, small().drop(columns="size"), "the id is not unique in s.csv: 1 rows")


def test_joined_ids_without_a_row(desk: Desk) -> None:
    spec = SPEC.replace("{file: data.csv}", "{file: data.csv, join: [{file: s.csv, by: school}]}")
    schools = pd.DataFrame({"school": ["s1", "S2"], "size": [1, 2]})
    schools.to_csv(desk.folder / "s.csv", index=False)
    expected = "11 of the ids in the lower table have no row in s.csv: s2, s3"
    refused(desk, spec, small().drop(columns="size"), expected, "ids there are s1, S2")


def test_two_questions_of_one_id(desk: Desk) -> None:
    second = SPEC.replace("models:", '  - {id: Q1, text: "And sector?", terms: [sector]}\nmodels:')
    refused(desk, second, None, "spec.yml:13:10: two questions have the id 'Q1'")


def test_a_join_by_nothing(desk: Desk) -> None:
    spec = SPEC.replace("{file: data.csv}", "{file: data.csv, join: [{file: s.csv, by: []}]}")
    refused(desk, spec, None, "spec.yml:2:", "data.join[1].by: must have at least 1 entries")


def test_duplicated_columns(desk: Desk) -> None:
    desk.write(SPEC)
    text = (desk.folder / "data.csv").read_text(encoding="utf-8")
    (desk.folder / "data.csv").write_text(text.replace("size", "ses", 1), encoding="utf-8")
    assert "the name 'ses' stands over more than one column: 2, 4" in desk.refused()


def test_unknown_groups_to_name(desk: Desk) -> None:
    spec = SPEC + "report: {groups: [s1, z1]}\n"
    shown = refused(desk, spec, None, "spec.yml:15:23: there is no school 'z1' among the rows")
    assert "known here: s1" in shown


CODE = {
    "system": "score ~ ses + (1 | school) + system('touch owned')",
    "backticks": "score ~ `system('touch owned')` + (1 | school)",
    "assignment": "score ~ ses <- 1 + (1 | school)",
    "namespace": "score ~ base::system('touch owned') + (1 | school)",
    "call in I": "score ~ I(file.create('owned')) + (1 | school)",
    "braces": "score ~ {ses} + (1 | school)",
    "Jinja": "score ~ {{ ses }} + (1 | school)",
    "outcome": "score ~ ses + score + (1 | school)",
    "id": "score ~ ses + school + (1 | school)",
    "grouping": "score ~ ses + (1 | size)",
}


@pytest.mark.parametrize("name", CODE)
def test_formulas_never_run_as_code(name: str, desk: Desk, monkeypatch: Any) -> None:
    monkeypatch.chdir(desk.folder)
    formula = f'models: {{list: [{{id: a, formula: "{CODE[name]}"}}]}}'
    desk.write(SPEC.replace("models: {stepwise: {}}", formula))
    assert "spec.yml:13:" in desk.refused("run")
    assert not (desk.folder / "owned").exists()


# --- odd, but right ------------------------------------------------------------------------------


@pytest.mark.r
def test_odd_names_of_columns(desk: Desk) -> None:
    """R's reserved words, names that R would take for one another, spaces, commas, unicode."""
    columns = {
        "school": "NA", "ses": "a.b", "sector": "if", "size": "größe, in m²", "score": "my score"
    }  # fmt: skip
    frame = small().rename(columns=columns)
    frame["a_b"] = np.arange(72) % 5
    frame["TRUE"] = np.arange(72) % 7
    frame["d"] = np.sqrt(np.arange(72) % 11)
    spec = """\
title: Odd names
data: {file: data.csv}
levels: [{name: row}, {name: function, id: NA}]
outcome: {name: my score}
predictors:
  a.b: {level: row, center: group mean, contextual: true}
  a_b: {level: row}
  "TRUE": {level: row}
  d: {level: row}
  if: {level: function, type: category}
  größe, in m²: {level: function, center: grand mean}
questions: [{id: Q1, text: "Is it?", terms: [a.b, a_b, "TRUE", "if", "größe, in m²"]}]
models:
  list:
    - id: all
      formula: >-
        `my score` ~ a.b + a.b_mean + a_b * `größe, in m²` + `TRUE` + d + `if` + (1 + a_b | `NA`)
inference: {variance_ci: none}
"""
    desk.write(spec, frame)
    page, results = desk.report()
    assert "größe, in m²" in page
    assert results.steps["interpretation"]["model"] == "All"


HOSTILE = [
    "<script>alert(1)</script>",
    "{{ 7 * 191 }}{% raw %}",
    r"\input{secret} $x_1$ \textbf{b}",
    "a | b & c # d ~ e ^ f",
    "[link](javascript:alert(1)) `code` *star* _under_",
    "日本語 – Ω ‚quoted‘ é",
    "'; DROP TABLE x; --",
    "=cmd|' /C calc'!A0",
]


@pytest.mark.r
def test_hostile_labels_ids_and_categories(desk: Desk, monkeypatch: Any) -> None:
    monkeypatch.chdir(desk.folder)
    frame = small()
    ids = [*HOSTILE, "a, b", "the school of  spaces", "NA.", "1e5"]
    frame["school"] = np.repeat(ids, 6)
    frame["sector"] = np.where(np.arange(72) < 36, HOSTILE[0], HOSTILE[2])
    spec = yaml.safe_load(SPEC)
    spec["title"] = " ".join(HOSTILE[:3])
    spec["outcome"] |= {"label": HOSTILE[3], "unit": "<b>points</b>"}
    spec["predictors"]["ses"] |= {"label": HOSTILE[4], "unit": "% of $\\alpha$"}
    spec["predictors"]["sector"]["label"] = HOSTILE[1]
    spec["predictors"]["size"]["label"] = HOSTILE[5]
    spec["questions"][0]["text"] = " ".join(HOSTILE)
    spec["report"] = {"sampling": " ".join(HOSTILE), "groups": [HOSTILE[0], HOSTILE[5], "a, b"]}
    spec["abstract"] = "\n".join(HOSTILE)
    desk.write(yaml.safe_dump(spec, allow_unicode=True), frame)
    page, _ = desk.report()
    assert "<script>alert(1)" not in page
    assert "<b>points" not in page
    assert "1337" not in page
    assert 'href="javascript:' not in page
    assert "{{ 7 * 191 }}" in page
    assert "secret" in page
    assert "日本語" in page


@pytest.mark.r
def test_a_failed_run_leaves_the_last_report(desk: Desk) -> None:
    desk.write(SPEC)
    desk.report()
    folder = desk.folder / "report"

    def digests() -> dict[str, str]:
        return {
            str(file): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in folder.rglob("*")
            if file.is_file()
        }

    before = digests()
    desk.write(SPEC, small().assign(score=1.0))
    desk.refused("run")
    assert digests() == before
