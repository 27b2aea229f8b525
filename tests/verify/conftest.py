from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from traced_page import needs_r

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
    """The folder of a small analysis, finished in all formats. Not to be changed."""
    needs_r()
    from mlmreport.workflow import run

    folder = tmp_path_factory.mktemp("report")
    (folder / "analysis.yml").write_text(SPEC, encoding="utf-8")
    return run(folder / "analysis.yml", None, ["html", "docx", "pdf"], lambda *_: None)


@pytest.fixture
def results(report: Path) -> Results:
    return Results.from_json((report / "results.json").read_text(encoding="utf-8"))


@pytest.fixture
def copy(report: Path, tmp_path: Path) -> Callable[[], Path]:
    """Makes a copy of the report that a test may change."""
    return lambda: Path(shutil.copytree(report, tmp_path / "copy"))
