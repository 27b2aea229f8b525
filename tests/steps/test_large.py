"""Models of many rows: the optimum is found on compressed data, lme4 builds the model there."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support import value

from mlmreport.cache import Cache
from mlmreport.engine.fits import Engine
from mlmreport.engine.session import definitions, session
from mlmreport.quantities import Results
from mlmreport.steps.optimizers import OPTIMIZERS
from mlmreport.verify.verification import verify
from mlmreport.workflow import run

pytestmark = [pytest.mark.r, pytest.mark.long]

SPEC = """
title: Large
data: {file: rows.csv}
levels: [{name: pupil}, {name: school, id: school}]
outcome: {name: y}
predictors: {x: {level: pupil}}
models:
  list:
    - {id: "null", fixed: [], random: {school: [1]}}
    - {id: slopes, fixed: [x], random: {school: [1, x]}}
estimation: {compare_structures: false, slope_tests: 0}
inference: {df: asymptotic, r2_bootstrap: 0, check_bootstrap: 0}
"""


def rows() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    school = rng.integers(0, 60, 40_000)
    x = rng.normal(size=40_000)
    slope = 0.4 + 0.3 * rng.normal(size=60)[school]
    y = rng.normal(size=60)[school] + slope * x + rng.normal(size=40_000)
    return pd.DataFrame({"school": [f"s{k}" for k in school], "x": x, "y": y})


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("large")
    rows().to_csv(folder / "rows.csv", index=False)
    (folder / "analysis.yml").write_text(SPEC, encoding="utf-8")
    return run(folder / "analysis.yml", None, ["html"], lambda *_: None)


@pytest.fixture
def large(report: Path) -> Results:
    return Results.from_json((report / "results.json").read_text(encoding="utf-8"))


def test_the_model_is_built_by_lme4_at_the_optimum(large: Results) -> None:
    code = {entry.name: entry.code for entry in large.trace if entry.kind == "object"}
    assert code["m_null"].startswith("lmer(")  # a second or less by lme4's own search
    for name in ("m_slopes", "ml_slopes"):
        assert code[name].startswith("lmer_at(")
        assert "theta = c(" in code[name]
    assert "lmer_at <- function" in definitions()
    assert value(large, "slopes/gradient") < 0.002


def test_a_clean_r_builds_them_again(report: Path) -> None:
    found = verify(report)
    assert found.ok, found
    assert "BFGS, on compressed data" in (report / "report.qmd").read_text(encoding="utf-8")


def test_other_optimizers_search_on_the_same_data(large: Results) -> None:
    """They come to the optimum that is reported, and lme4 builds a model at theirs."""
    code = {entry.name: entry.code for entry in large.trace if entry.kind == "object"}
    for name in OPTIMIZERS:
        made = code[f"opt_slopes_{name}"]
        assert made.startswith("lmer_at(")
        assert f'optimizer = "{name}"' in made
        assert value(large, f"slopes/optimizer/{name}/gain") == pytest.approx(0, abs=1e-3)
    assert len({code[f"opt_slopes_{name}"].split("theta")[1] for name in OPTIMIZERS}) == 3


def test_lme4_finds_no_better_one(large: Results, tmp_path: Path) -> None:
    """By its own search from its own start."""
    rows().to_csv(tmp_path / "rows.csv", index=False)
    script = """
    library(lme4, quietly = TRUE)
    d <- read.csv("rows.csv")
    m <- suppressWarnings(lmer(y ~ 1 + x + (1 + x | school), d))
    cat(format(c(REMLcrit(m), fixef(m), sqrt(diag(as.matrix(vcov(m))))), digits = 15))
    """
    (tmp_path / "m.R").write_text(script, encoding="utf-8")
    done = subprocess.run(
        ["Rscript", "--vanilla", "m.R"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    criterion, *others = map(float, done.stdout.split())
    assert criterion >= value(large, "slopes/criterion") - 1e-6
    assert criterion == pytest.approx(value(large, "slopes/criterion"), abs=1e-3)
    ours = [value(large, f"slopes/fixef/{name}/{what}")
            for what in ("estimate", "se") for name in ("(Intercept)", "x")]  # fmt: skip
    assert others == pytest.approx(ours, rel=1e-3)


@pytest.fixture
def warning_optimizer() -> Iterator[None]:
    """An optimizer that warns of its search on compressed data."""
    import rpy2.rinterface as ri

    home = session()._home
    own = home["optimum_by"]
    home["own_optimum_by"] = own
    home["optimum_by"] = ri.baseenv["eval"](
        ri.baseenv["parse"](
            text=ri.StrSexpVector(
                ["function(...) { warning('it stopped early'); own_optimum_by(...) }"]
            )
        ),
        home,
    )
    yield
    home["optimum_by"] = own


@pytest.mark.usefixtures("warning_optimizer")
def test_what_an_optimizer_says_is_told_from_the_cache_too(tmp_path: Path) -> None:
    frame = rows().astype({"school": "category"})
    for _ in range(2):
        engine = Engine(session(), Cache(tmp_path, costly=0))
        engine.begin(frame)
        engine.fit("slopes", "y ~ 1 + x + (1 + x | school)", True, "nloptwrap")
        facts = engine.run("models", "refit_by_others", id="slopes", optimizers=["bobyqa"])
        assert facts["complained"] == (True,)
        said = [(c["where"], c["kind"], c["text"]) for c in engine.conditions]
        assert ("opt_slopes_bobyqa", "warning", "it stopped early") in said
