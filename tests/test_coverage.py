"""The simulation of coverages in ``benchmarks/`` still fits what a report records."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

pytestmark = pytest.mark.r

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "coverage.py"


@pytest.fixture(scope="module")
def coverage() -> ModuleType:
    spec = importlib.util.spec_from_file_location("coverage_benchmark", SCRIPT)
    assert spec
    assert spec.loader
    sys.path.append(str(SCRIPT.parent))  # where it finds its `measure`, as when it is run
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.long
def test_two_replicates_give_every_measure(coverage: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "coverage.csv"
    coverage.simulate(file, 1, [1], most=2, smoke=True)
    found = pd.read_csv(file).set_index("measure")
    assert (found["replicates"] == 2).all()
    assert found["value"].between(0, 1).all()
    expected = {"coverage Satterthwaite w", "coverage modes intercepts", "coverage new group"}
    assert expected <= set(found.index)


def test_the_tables_stand_in_the_readme(coverage: ModuleType) -> None:
    page = SCRIPT.with_name("README.md").read_text(encoding="utf-8")
    assert coverage.tables(pd.read_csv(coverage.RESULTS)) in page
