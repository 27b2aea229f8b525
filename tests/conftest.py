"""What many tests share: R or a skip, analyses run once, specs from text."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from uuid import uuid4

import pandas as pd
import pytest
from support import ANALYSES, RunSpec, run_r

from mlmreport.analysis import analyse
from mlmreport.cache import FOLDER_VARIABLE
from mlmreport.quantities import Results
from mlmreport.spec.reader import load


def _have_r() -> bool:
    return shutil.which("R") is not None and importlib.util.find_spec("rpy2") is not None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs R where there is none."""
    if _have_r():
        return
    for item in items:
        if item.get_closest_marker("r"):
            item.add_marker(pytest.mark.skip(reason="R or rpy2 is not installed"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test takes what another one, or the user, computed."""
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path_factory.getbasetemp() / f"cache-{uuid4()}"))


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


@pytest.fixture
def run_spec(tmp_path: Path) -> RunSpec:
    """Run a spec given as text, with the tables that it names."""

    def run(text: str, tables: Mapping[str, pd.DataFrame] | None = None) -> Results:
        for name, table in (tables or {}).items():
            table.to_csv(tmp_path / name, index=False)
        (tmp_path / "analysis.yml").write_text(text, encoding="utf-8")
        return analyse(load(tmp_path / "analysis.yml"), lambda *_: None)[0]

    return run
