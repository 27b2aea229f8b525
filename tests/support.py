"""What many tests call: values of results, what a sound analysis is, R scripts of reference."""

from __future__ import annotations

import math
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mlmreport.engine.session import R_FOLDER
from mlmreport.engine.workers import Workers
from mlmreport.quantities import Missing, Quantity, Results

ROOT = Path(__file__).parents[1]
ANALYSES = ROOT / "analyses"

RunSpec = Callable[..., Results]


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


def wait_for(workers: Workers) -> None:
    """Until all of them are there."""
    workers.start()
    until = time.monotonic() + 60
    while workers.ready < workers.count:
        assert time.monotonic() < until
        time.sleep(0.02)


_SMALL = """\
title: {title}
simulate:
  seed: {seed}
  groups: 20
  units: 200
  group_sd: 0.5
  residual_sd: 1
  predictors:
    x: {{level: pupil, effect: 0.5}}
levels:
  - name: pupil
  - {{name: school, id: school}}
outcome: {{name: y}}
predictors:
  x: {{level: pupil}}
questions:
  - {{id: Q1, text: "How strongly is x related to y?", terms: [x]}}
models:
  stepwise: {{}}
estimation: {{check_optimizers: false, compare_structures: false, slope_tests: 0}}
inference:
  icc_bootstrap: 0
  df_comparison: 0
{extra}"""


def small_spec(folder: Path, *, title: str = "Small", seed: int = 1, extra: str = "") -> Path:
    """A spec of an analysis that takes a second or two, written to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "analysis.yml"
    file.write_text(_SMALL.format(title=title, seed=seed, extra=extra), encoding="utf-8")
    return file
