from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from traced_page import needs_r

from mlmreport.data.prepare import _text, prepare
from mlmreport.quantities import Quantity, Results, Source
from mlmreport.spec.reader import parse
from mlmreport.spec.sequence import plan
from mlmreport.verify import preparation
from mlmreport.verify.checks import Check
from mlmreport.verify.preparation import prepare_r, rederive_preparation
from mlmreport.verify.script import definitions_r, digest, write_data
from mlmreport.workflow import write_preparation

SPEC = """\
title: Three levels
data:
  file: pupils.csv
  join:
    - {file: classes.csv, by: [school, class]}
    - {file: schools.tsv, by: school}
levels:
  - {name: pupil, id: pupil}
  - {name: class, plural: classes, id: class, within: school}
  - {name: school, id: school}
outcome: {name: y, transform: log}
predictors:
  ses: {level: pupil, center: group mean, contextual: true}
  age: {level: pupil, center: 8}
  income: {level: pupil, transform: sqrt, center: grand mean}
  early: {level: pupil, column: hours, piece: {before: 3}}
  late: {level: pupil, column: hours, piece: {after: 3, before: 6}}
  "the size": {level: class, center: group mean, contextual: true}
  rural: {level: school, type: category, categories: {"true": in the country, "false": 'a "town"'}}
  kind: {level: school, type: category, reference: b, column: "kind of"}
  budget: {level: school, center: grand mean}
models: {stepwise: {}}
"""

Made = Callable[..., Path]


def _tables() -> dict[str, pd.DataFrame]:
    dice = np.random.default_rng(5)
    school, class_ = np.repeat(np.arange(8), 24), np.tile(np.repeat([1, 2, 3], 8), 8)
    n = len(school)
    pupils = pd.DataFrame(
        {
            "pupil": np.arange(n),
            "school": school * 100_000,
            "class": class_,
            "y": dice.lognormal(size=n),
            "ses": dice.normal(100, 15, n),
            "age": dice.normal(9, 1, n),
            "income": dice.lognormal(size=n),
            "hours": dice.uniform(0, 9, n),
        }
    )
    pupils.loc[[3, 50, 51], "ses"] = np.nan
    pupils.loc[24 * 7 :, "age"] = np.nan  # a school without a complete row
    classes = pupils[["school", "class"]].drop_duplicates().sample(frac=1, random_state=1)
    classes["the size"] = dice.integers(10, 30, len(classes))
    schools = pd.DataFrame(
        {
            "school": np.arange(8) * 100_000,
            "rural": [True, False] * 4,
            "kind of": list("abcabcab"),
            "budget": dice.normal(size=8),
        }
    )
    return {"pupils.csv": pupils, "classes.csv": classes, "schools.tsv": schools}


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """Prepare data, and write what a verification of the preparation needs."""

    def make(
        text: str = SPEC,
        tables: Mapping[str, pd.DataFrame] | None = None,
        counts: Sequence[tuple[str, float]] = (),
        root: str = "",
    ) -> Path:
        for name, table in (_tables() if tables is None else tables).items():
            if name.endswith(".parquet"):
                table.to_parquet(tmp_path / name)
            else:
                separator = "\t" if name.endswith("tsv") else ","
                table.to_csv(tmp_path / name, index=False, sep=separator)
        document = replace(parse(text, tmp_path / "a.yml"), roots=(tmp_path / root,))
        data = prepare(document, plan(document))
        folder = tmp_path / "report"
        folder.mkdir()
        write_data(data.frame, folder / "data.csv")
        frame = data.frame
        items = {
            name: Quantity(name, number, "count", "", name, Source("frame", "pandas"))
            for name, number in counts
        }
        session = {
            "files": [{"description": text, "sha256": sha} for text, sha in data.files],
            "found": dict(data.found),
            "columns": list(frame),
            "factors": {
                name: list(map(str, frame[name].cat.categories))
                for name in frame.select_dtypes("category")
            },
            "data": {"file": "data.csv", "sha256": digest(folder / "data.csv")},
        }
        spec = document.spec.model_dump(mode="json", by_alias=True)
        results = Results(spec, items, {}, (), (), (), data.steps, session)
        (folder / "results.json").write_text(results.to_json(), encoding="utf-8")
        (folder / "definitions.R").write_text(definitions_r(""), encoding="utf-8")
        (folder / "prepare.R").write_text(prepare_r(results, ".."), encoding="utf-8")
        return folder

    return make


COUNTS = [
    ("structure/rows_read", 192.0),
    ("structure/rows_dropped", 27.0),
    ("structure/missing/ses", 3.0),
    ("structure/missing/age", 24.0),
    ("structure/class/lost", 3.0),
    ("structure/school/lost", 1.0),
]


def _by_id(checks: Sequence[Check]) -> dict[str, Check]:
    return {check.id: check for check in checks}


@pytest.mark.r
def test_every_verb_is_repeated_in_base_r(made: Made) -> None:
    needs_r()
    folder = made(counts=COUNTS)
    found = _by_id(rederive_preparation(folder))
    columns = [name for name in found if name.startswith("preparation/column/")]
    assert {name.rpartition("/")[2] for name in columns} >= {
        "school_class", "school", "pupil", "log_y", "ses_within", "ses_mean", "age_c",
        "sqrt_income_c", "early", "late", "the size_within", "the size_mean", "rural", "kind",
        "budget_c",
    }  # fmt: skip
    assert {check.verdict for check in found.values()} == {"agrees"}
    assert [found[name].found for name, _ in COUNTS] == [f"{n:.17g}" for _, n in COUNTS]
    assert max(check.difference or 0 for check in found.values()) < 1e-13


@pytest.mark.r
def test_ids_that_are_factors_and_ids_within_factors_are_repeated_in_base_r(made: Made) -> None:
    needs_r()
    text = SPEC.replace("within: school}", "within: [school, ward]}").replace(
        "  kind:",
        "  ward: {level: class, type: category, column: wing, categories: {1: East, 2: West}}\n"
        "  school: {level: school, type: category, reference: 200000}\n  kind:",
    )
    text = text.replace(
        "{stepwise: {}}", "{list: [{id: m, fixed: [ward, school, ses], random: {class: [1]}}]}"
    )
    tables = _tables()
    pupils = tables["pupils.csv"]
    pupils["wing"] = np.where(pupils["class"] == 2, 2, 1)
    folder = made(text, tables)
    found = rederive_preparation(folder)
    assert {"preparation/column/school_ward_class", "preparation/column/school"} <= _by_id(
        found
    ).keys()
    assert {check.verdict for check in found} == {"agrees"}
    assert pd.read_csv(folder / "data.csv")["school_ward_class"][0] == "0:1:1"


@pytest.mark.r
def test_files_of_a_data_root_are_found_again(made: Made, tmp_path: Path) -> None:
    needs_r()
    (tmp_path / "elsewhere").mkdir()
    tables = _tables()
    pupils = tables.pop("pupils.csv")
    folder = made(tables=tables | {"elsewhere/pupils.csv": pupils}, root="elsewhere")
    assert 'source_file("elsewhere/pupils.csv")' in (folder / "prepare.R").read_text()
    assert {check.verdict for check in rederive_preparation(folder)} == {"agrees"}
    (tmp_path / "elsewhere" / "pupils.csv").unlink()
    (check, *_) = rederive_preparation(folder)
    assert "not there: elsewhere/pupils.csv" in str(check.found)


@pytest.mark.r
def test_filters_are_repeated_in_base_r(made: Made) -> None:
    needs_r()
    conditions = [
        "age < 9.5 or age is missing",
        "rural == 'in the country' or school not in [100000]",
        "`kind of` in [a, b] and 0 < hours < 8.5",
        "not (class == 2 and pupil > 150)",
        "ses != age",
        "rural != false or class == 3",
    ]
    text = SPEC.replace("  join:", f"  filter: {json.dumps(conditions)}\n  join:")
    counts = [(f"structure/filtered/{number}", 0.0) for number in range(1, 7)]
    folder = made(text, counts=[*counts, ("structure/rows_table", 192.0)])
    found = _by_id(rederive_preparation(folder))
    columns = {check.verdict for name, check in found.items() if "column" in name}
    assert columns == {"agrees"}
    table = pd.read_csv(folder / "data.csv")
    left_out = [float(str(found[name].found)) for name, _ in counts]
    assert all(left_out[:4])
    assert found["structure/rows_table"].ok
    assert 192 - sum(left_out) >= len(table) > 20


@pytest.mark.r
def test_the_first_difference_is_named_by_column_and_row(made: Made) -> None:
    needs_r()
    folder = made(counts=[("structure/rows_read", 191.0)])
    table = pd.read_csv(folder / "data.csv", dtype=str)
    table.loc[6, "ses_within"] = repr(float(table.loc[6, "ses_within"]) + 1e-9)
    table.loc[2, "rural"] = "elsewhere"
    table.to_csv(folder / "data.csv", index=False)
    found = _by_id(rederive_preparation(folder))
    wrong = [name for name, check in found.items() if not check.ok]
    assert wrong == ["preparation/column/ses_within", "structure/rows_read"]
    assert str(found["preparation/column/ses_within"].found).startswith("row 7: ")
    later = found["preparation/column/rural"]
    assert (later.verdict, later.found) == ("not checked", "R stopped before it")
    table = pd.read_csv(folder / "data.csv", dtype=str).drop(index=3)
    table.to_csv(folder / "data.csv", index=False)
    assert _by_id(rederive_preparation(folder))["preparation/rows"].found == "165 rows, not 164"


@pytest.mark.r
def test_a_changed_source_file_is_a_difference_and_an_absent_one_is_told(made: Made) -> None:
    folder = made()
    source = folder.parent / "schools.tsv"
    source.write_text(source.read_text("utf-8").replace("a", "b", 1), encoding="utf-8")
    (changed,) = rederive_preparation(folder)
    assert (changed.id, changed.verdict) == ("preparation/file/schools.tsv", "differs")
    source.unlink()
    found = rederive_preparation(folder)
    assert {check.verdict for check in found} == {"not checked"}
    assert {check.found for check in found} == {"the source files are not there: schools.tsv"}


def test_what_base_r_cannot_read_is_named(made: Made) -> None:
    spec = """\
title: T
data: {file: d.parquet}
levels: [{name: pupil}, {name: school, id: school}]
outcome: {name: y}
predictors: {x: {level: pupil}}
models: {stepwise: {}}
"""
    n = 20
    table = pd.DataFrame(
        {"school": np.arange(n) % 4, "y": np.arange(n) ** 2 % 7, "x": np.arange(n) ** 3 % 11}
    )
    folder = made(spec, {"d.parquet": table})
    text = (folder / "prepare.R").read_text("utf-8")
    assert "base R has no counterpart for: read d.parquet, 20 rows x 3 columns." in text
    found = rederive_preparation(folder)
    assert {check.verdict for check in found} == {"not checked"}
    assert all("read d.parquet" in str(check.found) for check in found)


def test_the_script_finds_the_source_files_from_where_the_report_stands(
    made: Made, tmp_path: Path
) -> None:
    folder = made()
    results = Results.from_json((folder / "results.json").read_text("utf-8"))
    target = tmp_path / "elsewhere" / "out"
    write_preparation(results, folder, target, tmp_path)
    text = (folder / "prepare.R").read_text("utf-8")
    assert preparation._source_folder(text) == "../.."


@pytest.mark.r
def test_names_and_labels_stay_text(made: Made) -> None:
    """What a spec names is quoted: none of it is evaluated."""
    needs_r()
    evil = 'x"); stop("evil'
    spec = f"""\
title: T
data: {{file: 'd.csv'}}
levels: [{{name: pupil}}, {{name: school, id: 'g"); q("'}}]
outcome: {{name: y}}
predictors:
  x: {{level: pupil, column: '{evil}', center: grand mean}}
  k: {{level: pupil, type: category, categories: {{"0": '"); stop("label")', "1": "\\\\"}}}}
models: {{stepwise: {{}}}}
"""
    n = 24
    table = pd.DataFrame(
        {
            'g"); q("': np.arange(n) % 4,
            "y": np.arange(n) ** 2 % 7,
            evil: np.arange(n) ** 3 % 11,
            "k": np.arange(n) // 4 % 2,
        }
    )
    folder = made(spec, {"d.csv": table})
    found = rederive_preparation(folder)
    assert {check.verdict for check in found} == {"agrees"}
    assert len(found) == 5


def test_a_file_of_r_objects_is_not_read_by_an_r_that_may_run_what_it_hides() -> None:
    text = Path(preparation.__file__).with_name("preparation.R").read_text("utf-8")
    assert text.count("readRDS(") == 1
    assert 'getRversion() < "4.4.0"' in text


@pytest.mark.r
def test_ids_and_categories_are_as_they_are_written(made: Made) -> None:
    needs_r()
    spec = """\
title: T
data: {file: d.csv, join: [{file: s.tsv, by: g}]}
levels: [{name: pupil}, {name: school, id: g}]
outcome: {name: y}
predictors:
  k: {level: pupil, type: category, reference: 1.10}
  size: {level: school, center: grand mean}
models: {stepwise: {}}
"""
    ids = ["1.1", "1.10", "12E3", "12000", "01", "1", " 1", "nan", "TRUE", "e\u0301", "\u00e9"]
    n = 6 * len(ids)
    table = pd.DataFrame(
        {
            "g": np.repeat(ids, 6),
            "y": np.arange(n) ** 2 % 7,
            "k": np.tile(["1.1", "1.10", "1.100"], n // 3),
        }
    )
    schools = pd.DataFrame({"g": ids, "size": np.arange(len(ids)) ** 2})
    folder = made(spec, {"d.csv": table, "s.tsv": schools}, [("structure/rows_read", float(n))])
    found = rederive_preparation(folder)
    assert {check.verdict for check in found} == {"agrees"}
    results = Results.from_json((folder / "results.json").read_text("utf-8"))
    assert set(results.session["factors"]["g"]) == set(ids)
    assert results.session["factors"]["k"] == ["1.10", "1.1", "1.100"]


@pytest.mark.r
def test_numbers_and_times_have_the_same_text_in_r(tmp_path: Path) -> None:
    needs_r()
    numbers = [0.1, 0.1 + 0.2, 1 / 3, 1e-7, -2.5e-5, 123456789.125, 2.0**53, 5e300, 1e15, -1.0]
    expected = [_text(number) for number in numbers]
    texts = ", ".join(f'"{text}"' for text in expected)
    code = f"""
source({str(Path(preparation.__file__).with_name("preparation.R"))!r})
stopifnot(identical(as_text(c({", ".join(f"{n!r}" for n in numbers)}, NA)), c({texts}, NA)))
stopifnot(identical(as_text(as.Date(c("2020-01-31", NA))), c("2020-01-31", NA)))
stopifnot(identical(as_text(as.POSIXct(c(0, 0.5), tz = "Asia/Tokyo", origin = "1970-01-01")),
  c("{_text(pd.Timestamp(0, tz="UTC"))}", "{_text(pd.Timestamp(500_000_000, tz="UTC"))}")))
"""
    (tmp_path / "check.R").write_text(code, encoding="utf-8")
    done = subprocess.run(
        ["Rscript", "--vanilla", tmp_path / "check.R"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
