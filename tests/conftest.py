"""What many tests share: R or a skip, analyses run once, specs from text."""

from __future__ import annotations

import importlib.util
import math
import shutil
import subprocess
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import pandas as pd
import pytest

from mlmreport.analysis import analyse
from mlmreport.engine.session import R_FOLDER
from mlmreport.quantities import Missing, Quantity, Results
from mlmreport.spec.reader import load

ROOT = Path(__file__).parents[1]
ANALYSES = ROOT / "analyses"

RunSpec = Callable[..., Results]


def _have_r() -> bool:
    return shutil.which("R") is not None and importlib.util.find_spec("rpy2") is not None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs R where there is none."""
    if _have_r():
        return
    for item in items:
        if item.get_closest_marker("r"):
            item.add_marker(pytest.mark.skip(reason="R or rpy2 is not installed"))


def value(results: Results, name: str) -> float:
    """The value of a quantity; a missing one fails the test with its reason."""
    item = results.items[name]
    assert isinstance(item, Quantity), f"{name}: {getattr(item, 'reason', 'a series')}"
    return item.value


def reason(results: Results, name: str) -> str:
    """Why a quantity is missing."""
    item = results.items[name]
    assert isinstance(item, Missing), f"{name} is not missing"
    return item.reason


JARGON = (
    "subscript out of bounds", "object '", "argument", "non-numeric", "undefined columns",
    "NULL", "NaN", "Lapack", "contrasts can be applied", "could not find", "R could not",
    "$ operator", "replacement", "closure", "not computed",
)  # fmt: skip
"""Words of R's own messages, which no reason for a reader may hold."""


def check_sound(results: Results) -> None:
    """Every value is finite or missing for a reason that a reader understands."""
    for quantity in results.quantities:
        assert math.isfinite(quantity.value), quantity.id
    for missing in results.missing:
        said = [word for word in JARGON if word in missing.reason]
        assert not said, f"{missing.id}: {missing.reason}"
        assert len(missing.reason) > 15, missing
    errors = [entry for entry in results.conditions if entry["kind"] == "error"]
    assert not errors, errors
    assert Results.from_json(results.to_json()).to_json() == results.to_json()


@cache
def _analysed(name: str) -> Results:
    return analyse(load(ANALYSES / name / "analysis.yml"), lambda *_: None)[0]


@pytest.fixture(scope="session")
def analysed() -> Callable[[str], Results]:
    """The results of an analysis that ships with the project, computed once a session."""
    return _analysed


@pytest.fixture(scope="session")
def reference() -> Mapping[str, float]:
    """The school-achievement numbers by nlme, emmeans, performance and base R."""
    return {name: float(values[0]) for name, *values in run_r("school_achievement.R", "school")}


def run_r(script: str, what: str) -> list[list[str]]:
    """The tab-separated lines that a script of ``reference/`` prints."""
    where = {"school": ANALYSES / "school-achievement", "definitions": R_FOLDER / "definitions.R"}
    path = ROOT / "tests" / "reference" / script
    command = ["Rscript", "--vanilla", str(path), str(where[what])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if "there is no package called" in done.stderr:
        pytest.skip(done.stderr.strip().splitlines()[0])
    assert done.returncode == 0, done.stderr
    return [line.split("\t") for line in done.stdout.splitlines()]


@pytest.fixture
def run_spec(tmp_path: Path) -> RunSpec:
    """Run a spec given as text, with the tables that it names."""

    def run(text: str, tables: Mapping[str, pd.DataFrame] | None = None) -> Results:
        for name, table in (tables or {}).items():
            table.to_csv(tmp_path / name, index=False)
        (tmp_path / "analysis.yml").write_text(text, encoding="utf-8")
        return analyse(load(tmp_path / "analysis.yml"), lambda *_: None)[0]

    return run
