from __future__ import annotations

import csv
import math
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from traced_page import needs_r

from mlmreport import display
from mlmreport.analysis import STEPS
from mlmreport.quantities import Missing, Quantity, Results, Row, Source, Table, TraceEntry
from mlmreport.report.markup import table_csv
from mlmreport.spec.quoting import guarded, r_string, unguarded
from mlmreport.verify import script
from mlmreport.verify.clean_room import read_values
from mlmreport.verify.script import (
    STEP_TITLES,
    definitions_r,
    digest,
    reproduce_r,
    statement,
    write_data,
)

REPORTING = Path(script.__file__).with_name("reporting.R")
ODD_LEVELS = [
    "NA",
    "a,b",
    'say "hi"',
    "it's",
    "back\\slash",
    " led",
    "Ås 東",
    "",
    "two\nlines",
    "#1",
]

NUMBERS = st.floats(allow_infinity=False, allow_subnormal=False, min_value=-1e300, max_value=1e300)


def _results(trace: Sequence[TraceEntry], frame: pd.DataFrame | None = None) -> Results:
    columns = [] if frame is None else list(frame)
    factors = (
        {}
        if frame is None
        else {
            name: list(frame[name].cat.categories)
            for name in frame.select_dtypes("category").columns
        }
    )
    session = {
        "mlmreport": "1.0",
        "r": {"R": "4.2.2", "lme4": "1.1.31", "BLAS": "/usr/lib/libblas.so", "platform": "x"},
        "columns": columns,
        "factors": factors,
    }
    spec = {"title": "A title\nstop('not code')"}
    return Results(spec, {}, {}, (), tuple(trace), (), (), session)


def _run(
    folder: Path, frame: pd.DataFrame, trace: Sequence[TraceEntry], **environment: str
) -> tuple[subprocess.CompletedProcess[str], Mapping[tuple[str, int], tuple[str, str]]]:
    needs_r()
    write_data(frame, folder / "data.csv")
    definitions = "twice <- function(x) 2 * x"
    text = reproduce_r(_results(trace, frame), "data.csv", definitions)
    (folder / "definitions.R").write_text(definitions_r(definitions), encoding="utf-8")
    (folder / "reproduce.R").write_text(text, encoding="utf-8")
    done = subprocess.run(
        ["Rscript", "--vanilla", "reproduce.R", "values.csv"],
        cwd=folder, capture_output=True, encoding="utf-8", check=False,
        env={**os.environ, **environment},
    )  # fmt: skip
    with (folder / "values.csv").open(encoding="utf-8", newline="") as file:
        rows = {
            (row["id"], int(row["element"])): (row["type"], row["value"])
            for row in csv.DictReader(file)
        }
    return done, rows


def _odd_frame() -> pd.DataFrame:
    group = pd.Categorical(ODD_LEVELS * 2, categories=ODD_LEVELS)
    values = np.linspace(0.1, 2, len(ODD_LEVELS) * 2)
    return pd.DataFrame({"Läsår ✓": group, "y": values, 'q"uoted': values**2})


# --- the text ---------------------------------------------------------------------------------


def test_every_step_has_its_heading() -> None:
    assert tuple(STEP_TITLES) == STEPS
    assert STEP_TITLES["icc"] == "Step 4: Intraclass correlation"


def _in_order(text: str, pieces: Sequence[str]) -> None:
    at = -1
    for piece in pieces:
        at = text.index(piece, at + 1)


def test_models_come_first_and_an_object_before_its_first_use() -> None:
    trace = [
        TraceEntry("models", "object", "m_null", "lmer(y ~ 1 + (1 | g), data = d)"),
        TraceEntry("models", "object", "late", "residuals(m_null)"),
        TraceEntry("models", "series", "null/r", "late"),
        TraceEntry("icc", "object", "twice", "2 * late"),
        TraceEntry("icc", "quantity", "icc/x", "twice[1L]"),
    ]
    text = reproduce_r(_results(trace), "data.csv", "")
    order = [
        "# The models",
        "m_null <- lmer(y ~ 1 + (1 | g), data = d)",
        "# Step 4: Intraclass correlation",
        "late <- residuals(m_null)",
        "twice <- 2 * late",
        'report("icc/x", twice[1L])',
        "# Step 5: Models",
        'report_series("null/r", late)',
        "finish(commandArgs(trailingOnly = TRUE))",
    ]
    _in_order(text, order)
    assert text.count("late <- ") == 1


def test_what_is_made_anew_stays_in_the_order_of_the_analysis() -> None:
    trace = [
        TraceEntry("models", "object", "m_a", "lmer(y ~ 1 + (1 | g), data = d)"),
        TraceEntry("models", "quantity", "a/first", "sigma(m_a)"),
        TraceEntry("models", "object", "m_a", "opt_a"),
        TraceEntry("structure", "quantity", "a/second", "sigma(m_a)"),
    ]
    text = reproduce_r(_results(trace), "data.csv", "")
    _in_order(text, ["m_a <- lmer", "a/first", "m_a <- opt_a", "# Step 1", "a/second"])


def test_a_table_stands_under_its_caption_with_what_it_shows() -> None:
    cells = [
        Quantity("icc/x", 0.18, "proportion", "", "ICC", Source("f(m)")),
        Quantity("rows", 12.0, "count", "", "rows", Source("len(frame)", "pandas")),
        Missing("icc/none", "there is none"),
    ]
    table = Table("icc", "Shares\nof variance", ("Of", "Share"), (Row("all", (tuple(cells),)),))
    trace = [
        TraceEntry("icc", "quantity", "icc/other", "1"),
        TraceEntry("icc", "quantity", "icc/x", "f(m)"),
    ]
    results = replace(_results(trace), steps={"icc": {"tables": [table]}})
    shown = 'paste0(shown("icc/x", "proportion", 3), "12", "not available: there is none")'
    order = ["## Shares of variance", 'report("icc/x", f(m))', "show_table(", shown]
    order += ["## In the text and the figures", 'report("icc/other", 1)', "show_values()"]
    _in_order(reproduce_r(results, "data.csv", ""), order)


def test_definitions_stand_beside_it_word_for_word() -> None:
    definitions = "# A comment.\nf <- function(x) {\n  x + 1\n}"
    assert definitions in definitions_r(definitions)
    text = reproduce_r(_results([]), "data.csv", definitions)
    assert "f <- function" not in text
    assert 'source("definitions.R"' in text


@pytest.mark.r
@settings(max_examples=1, deadline=None, suppress_health_check=[*HealthCheck])
@given(st.lists(st.tuples(st.sampled_from(sorted(display.KINDS)), NUMBERS), min_size=300))
def test_r_writes_numbers_as_the_report_does(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[str, float]]
) -> None:
    needs_r()
    folder = tmp_path_factory.mktemp("shown")
    values = [0.0, 0.0004, -0.0004, 0.5, 1234567.891, -1e-7, 0.05, 1.0]
    drawn = [(kind, value) for kind in display.KINDS for value in values] + drawn
    drawn = [(kind, value) for kind, value in drawn if 1e-300 < abs(value) < 1e12 or value == 0]
    items = [Quantity(f"{n}", v, k, "", "", Source("x")) for n, (k, v) in enumerate(drawn)]
    lines = [f'report("{item.id}", {item.value!r})' for item in items]
    lines += [f"cat({script._part(item, {item.id: 0})}, '\\n')" for item in items]
    (folder / "definitions.R").write_text(definitions_r(""), encoding="utf-8")
    (folder / "x.R").write_text("\n".join(['source("definitions.R")', *lines]), encoding="utf-8")
    done = subprocess.run(
        ["Rscript", "--vanilla", "x.R"], cwd=folder, capture_output=True, encoding="utf-8",
        check=True, env={**os.environ, "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    shown = [line.strip() for line in done.stdout.splitlines()]
    assert shown == [display.text(item) for item in items]


@pytest.mark.r
def test_the_tables_are_those_of_the_report(report: Path, results: Results) -> None:
    done = subprocess.run(
        ["Rscript", "--vanilla", "reproduce.R"], cwd=report, capture_output=True,
        encoding="utf-8", check=True, env={**os.environ, "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    printed = ["  ".join(line.split()) for line in done.stdout.splitlines()]
    tables = list(results.of_type(Table))
    assert len(tables) > 10
    for table in tables:
        at = printed.index("  ".join(table.caption.split()))
        for row in table_csv(table):
            at += 1
            assert printed[at] == "  ".join(" ".join(row).split()), table.id


def test_a_title_of_several_lines_stays_a_comment() -> None:
    text = reproduce_r(_results([]), "data.csv", "")
    assert text.startswith("# A title stop('not code')\n")


def test_packages_are_those_that_the_code_names() -> None:
    trace = [
        TraceEntry("fit", "object", "x", 'RLRsim::exactRLRT(m, "not::this")'),
        TraceEntry("fit", "object", "y", "clubSandwich::vcovCR(m)"),
    ]
    text = reproduce_r(_results(trace), "data.csv", "f <- function(m) lmerTest::ranova(m) # no::pe")
    assert 'packages <- c("RLRsim", "clubSandwich", "lme4", "lmerTest")' in text


def test_nothing_of_the_machine_is_in_it() -> None:
    assert "/usr/lib" not in reproduce_r(_results([]), "data.csv", "")


@pytest.mark.r
def test_a_real_script_names_no_path(report: Path) -> None:
    text = (report / "reproduce.R").read_text(encoding="utf-8")
    for path in (report, Path(__file__).parents[2], Path.home()):
        assert f"{path}/" not in text
    assert "/usr/" not in text
    assert "/tmp" not in text


def test_names_that_are_not_syntactic_are_quoted() -> None:
    assert statement(TraceEntry("fit", "object", "a b`c", "1")) == "`a b\\`c` <- 1"


# --- run by R ---------------------------------------------------------------------------------


@pytest.mark.r
@pytest.mark.parametrize("locale", ["C.UTF-8", "C"])
def test_odd_ids_levels_and_columns_survive(tmp_path: Path, locale: str) -> None:
    names = ['quo"te', "back\\slash", "new\nline", "Ås/東", "it's, 'so'", "tab\t\x01"]
    trace = [TraceEntry("fit", "quantity", name, str(i)) for i, name in enumerate(names)]
    trace += [
        TraceEntry("fit", "series", "levels", 'levels(d[["Läsår ✓"]])'),
        TraceEntry("fit", "series", "values", "as.character(d$`Läsår ✓`)"),
        TraceEntry("fit", "series", "y", "twice(d$y)"),
        TraceEntry("fit", "quantity", "gaps", "sum(is.na(d))"),
    ]
    frame = _odd_frame()
    done, rows = _run(tmp_path, frame, trace, LC_ALL=locale)
    assert done.returncode == 0, done.stderr
    assert [rows[name, 0] for name in names] == [("number", str(i)) for i in range(len(names))]
    assert [rows["levels", i + 1] for i in range(len(ODD_LEVELS))] == [
        ("text", level) for level in ODD_LEVELS
    ]
    assert [rows["values", i + 1][1] for i in range(len(frame))] == ODD_LEVELS * 2
    assert [float(rows["y", i + 1][1]) for i in range(len(frame))] == list(2 * frame["y"])
    assert rows["gaps", 0] == ("number", "0")
    assert "Step 6: Fit" in done.stdout


@pytest.mark.r
def test_warnings_pass_and_errors_are_reported_while_the_rest_goes_on(tmp_path: Path) -> None:
    trace = [
        TraceEntry("fit", "object", "warned", '{\n    warning("careful")\n    1\n}'),
        TraceEntry("fit", "quantity", "warned/value", "warned"),
        TraceEntry("fit", "object", "broken", 'stop("no fit")'),
        TraceEntry("fit", "quantity", "broken/value", "broken + 1"),
        TraceEntry("fit", "quantity", "broken/two", "c(1, 2)"),
        TraceEntry("fit", "series", "broken/series", 'stop("none, \\"really\\"")'),
        TraceEntry("fit", "quantity", "after", "sqrt(2)"),
    ]
    done, rows = _run(tmp_path, _odd_frame(), trace)
    assert done.returncode == 1
    assert rows["warned/value", 0] == ("number", "1")
    assert float(rows["after", 0][1]) == math.sqrt(2)
    kinds = {name: kind for (name, _), (kind, _) in rows.items() if kind == "error"}
    assert set(kinds) == {"broken/value", "broken/two", "broken/series"}
    assert rows["broken/series", 0][1] == 'none, "really"'
    assert "no fit" in done.stderr
    assert "4 expression(s)" in done.stderr


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=6)


@st.composite
def frames(draw: st.DrawFn) -> pd.DataFrame:
    levels = draw(st.lists(TEXTS | st.just("NA"), min_size=1, max_size=6, unique=True))
    rows = draw(st.lists(st.tuples(st.none() | st.sampled_from(levels), NUMBERS), min_size=1))
    group = pd.Categorical([row[0] for row in rows], categories=levels)
    return pd.DataFrame({"group": group, "x": [row[1] for row in rows]})


def _reader(number: int, frame: pd.DataFrame) -> str:
    """The script's own reading of a frame, then its codes and the exact digits of its doubles."""
    return "\n".join(
        [
            script._data(_results([], frame), f"{number}.csv"),
            'stopifnot(identical(class(d$x), "numeric"))',
            f'cat({number}, paste(as.integer(d$group), sprintf("%a", d$x)), sep = "\\n")',
        ]
    )


@pytest.mark.r
@settings(max_examples=3, deadline=None, suppress_health_check=[*HealthCheck])
@given(st.lists(frames(), min_size=40, max_size=40))
def test_data_survive_the_way_to_r(tmp_path_factory: pytest.TempPathFactory, drawn: list) -> None:
    needs_r()
    folder = tmp_path_factory.mktemp("round")
    for number, frame in enumerate(drawn):
        write_data(frame, folder / f"{number}.csv")
    code = "\n".join(_reader(number, frame) for number, frame in enumerate(drawn))
    (folder / "read.R").write_text(code, encoding="utf-8")
    read = subprocess.run(
        ["Rscript", "--vanilla", "read.R"],
        cwd=folder, capture_output=True, encoding="utf-8", check=False,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    assert read.returncode == 0, read.stderr
    lines = iter(read.stdout.splitlines())
    for number, frame in enumerate(drawn):
        assert next(lines) == str(number)
        for code_, value in zip(frame["group"].cat.codes, frame["x"], strict=True):
            place, digits = next(lines).split()
            assert place == ("NA" if code_ < 0 else str(code_ + 1))
            if math.isnan(value):
                assert digits == "NA"
            else:
                exact = np.finfo(np.longdouble).nmant == 63 and 1e-25 < abs(value) < 1e25
                allowed = 0.0 if exact else math.ulp(value)
                assert abs(float.fromhex(digits) - value) <= allowed


def test_numbers_are_written_with_the_fewest_digits_that_r_reads_back(tmp_path: Path) -> None:
    frame = pd.DataFrame({"g": pd.Categorical([1, 2]), "x": [0.1 + 0.2, 249.56]})
    write_data(frame, tmp_path / "data.csv")
    text = (tmp_path / "data.csv").read_text(encoding="utf-8")
    assert text == "g,x\n1,0.30000000000000004\n2,249.56\n"


@pytest.mark.r
def test_rounding_twice_loses_no_bit(tmp_path: Path) -> None:
    """Six decimals: of 20,000 such values R misreads about six in their shortest form."""
    needs_r()
    values = np.round(np.random.default_rng(1).normal(size=20_000), 6)
    write_data(pd.DataFrame({"x": values, "y": values * np.pi}), tmp_path / "data.csv")
    code = 'd <- read.csv("data.csv", colClasses = "numeric"); writeBin(c(d$x, d$y), "bits")'
    subprocess.run(["Rscript", "--vanilla", "-e", code], cwd=tmp_path, check=True)
    read = np.fromfile(tmp_path / "bits")
    units = np.abs(read.view("int64") - np.concatenate([values, values * np.pi]).view("int64"))
    assert units.max() <= (0 if np.finfo(np.longdouble).nmant == 63 else 1)


def test_a_missing_value_is_told_from_a_level_called_na(tmp_path: Path) -> None:
    frame = pd.DataFrame({"g": pd.Categorical(["NA", None]), "x": [math.nan, 1.0]})
    write_data(frame, tmp_path / "data.csv")
    assert (tmp_path / "data.csv").read_text(encoding="utf-8") == "g,x\nNA,<NA>\n<NA>,1.0\n"
    assert 'na.strings = "<NA>"' in reproduce_r(_results([], frame), "data.csv", "")


def test_the_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert digest(tmp_path / "x").startswith("ba7816bf8f01cfea")


def test_r_strings_escape_what_r_reads_otherwise() -> None:
    assert r_string('a"b\\c\nd\x01é') == '"a\\"b\\\\c\\nd\\U{1}é"'


TRICKS = [
    "=1+1",
    "+a",
    "-b",
    "@c",
    "\t=d",
    "\r=e",
    " =f",
    "'",
    "''=g",
    "|h",
    "%i",
    "-1.5",
    "\uff1dj",
    "",
]


@given(st.one_of(st.sampled_from(TRICKS), st.text()))
def test_a_cell_runs_nothing_and_reads_back(text: str) -> None:
    cell = guarded(text)
    assert unguarded(cell) == text
    is_number = re.fullmatch(r"[-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?", cell)
    assert is_number or not re.match(r"[\t\r\n]|\s*[-=+@|%]", cell)


def test_names_and_categories_that_a_spreadsheet_would_run(tmp_path: Path) -> None:
    frame = pd.DataFrame({"=g": pd.Categorical(["=1+1", "'a", "-1.5"]), "x": [-1.5, 1.0, 2.0]})
    write_data(frame, tmp_path / "data.csv")
    text = (tmp_path / "data.csv").read_text(encoding="utf-8")
    assert text == "'=g,x\n'=1+1,-1.5\n''a,1.0\n-1.5,2.0\n"


@pytest.mark.r
def test_r_reads_back_what_a_spreadsheet_does_not_run(tmp_path: Path) -> None:
    needs_r()
    texts = [text for text in TRICKS if text.strip() and "\r" not in text]
    frame = pd.DataFrame({"=g": pd.Categorical(texts, texts), "'x": np.arange(len(texts)) - 0.5})
    write_data(frame, tmp_path / "data.csv")
    code = [
        script._data(_results([], frame), "data.csv"),
        f"stopifnot(identical(names(d), c({', '.join(map(r_string, frame.columns))})))",
        f"stopifnot(identical(as.character(d[[1L]]), c({', '.join(map(r_string, texts))})))",
        "stopifnot(identical(d[[2L]], seq_along(d[[2L]]) - 1.5))",
        f'source({r_string(str(REPORTING))}, encoding = "UTF-8")',
        'report_series("a", as.character(d[[1L]]))',
        'finish("values.csv")',
    ]
    (tmp_path / "read.R").write_text("\n".join(code), encoding="utf-8")
    done = subprocess.run(
        ["Rscript", "--vanilla", "read.R"],
        cwd=tmp_path, capture_output=True, encoding="utf-8", check=False,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [value for _, value in read_values(tmp_path / "values.csv")["a"]] == texts
