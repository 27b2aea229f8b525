from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from traced_page import needs_r, page

from mlmreport.quantities import Results

SPEC = """
title: Sleep and reaction
data: {package: lme4, dataset: sleepstudy}
levels:
  - name: measurement
  - {name: person, id: Subject}
outcome: {name: Reaction, unit: ms}
predictors:
  Days: {level: measurement, unit: day}
models:
  list:
    - {id: "null", label: "Null", reason: splits the variance, fixed: [], random: {person: [1]}}
    - {id: growth, label: Growth, reason: adds the days, fixed: [Days], random: {person: [1]}}
"""


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small analysis: results, data, script and page. Not to be changed."""
    needs_r()
    from mlmreport.analysis import analyse
    from mlmreport.engine.session import definitions
    from mlmreport.spec.reader import load
    from mlmreport.verify.script import digest, reproduce_r, write_data

    folder = tmp_path_factory.mktemp("report")
    (folder / "analysis.yml").write_text(SPEC, encoding="utf-8")
    results, data = analyse(load(folder / "analysis.yml"), lambda step, at: None)
    write_data(data.frame, folder / "data.csv")
    written = {"file": "data.csv", "sha256": digest(folder / "data.csv")}
    results = replace(results, session={**results.session, "data": written})
    code = definitions(entry.code for entry in results.trace)
    script = reproduce_r(results, "data.csv", code)
    (folder / "reproduce.R").write_text(script, encoding="utf-8")
    (folder / "results.json").write_text(results.to_json(), encoding="utf-8")
    shown = page([*results.quantities, *results.missing])
    (folder / "report.html").write_text(shown, encoding="utf-8")
    return folder


@pytest.fixture
def results(report: Path) -> Results:
    return Results.from_json((report / "results.json").read_text(encoding="utf-8"))


@pytest.fixture
def copy(report: Path, tmp_path: Path) -> Callable[[], Path]:
    """Makes a copy of the report that a test may change."""
    return lambda: Path(shutil.copytree(report, tmp_path / "copy"))
