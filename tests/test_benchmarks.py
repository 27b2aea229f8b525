"""Every benchmark runs, and has its place in the page that it writes its table into."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.r

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "benchmarks"
_LISTED = re.search(r"^BENCHMARKS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
assert _LISTED
NAMES = _LISTED[1].split()


def test_every_benchmark_is_run_and_has_its_place() -> None:
    scripts = {file.stem for file in FOLDER.glob("*.py")}
    assert scripts - {"measure", "coverage"} == set(NAMES)
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    for name in (*NAMES, "coverage"):
        assert f"<!-- {name} -->" in page
        assert f"<!-- /{name} -->" in page


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_runs(name: str) -> None:
    command = [sys.executable, str(FOLDER / f"{name}.py"), "--smoke"]
    before = (FOLDER / "README.md").read_bytes()
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| --- |" in done.stdout
    assert (FOLDER / "README.md").read_bytes() == before
