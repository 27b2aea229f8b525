"""Kinds of random terms asked for in a spec: each comes through all steps, as lme4 fits it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support import check_sound, value

from mlmreport.analysis import analyse, check
from mlmreport.engine.fits import Engine
from mlmreport.engine.session import package_dataset, session
from mlmreport.errors import InputError
from mlmreport.report import houses
from mlmreport.report.document import compose
from mlmreport.spec.reader import load
from mlmreport.spec.sequence import plan
from mlmreport.steps.context import Context
from mlmreport.steps.models import fit_all

SLEEP = """
data: {package: lme4, dataset: sleepstudy}
levels: [{name: day}, {name: subject, id: Subject}]
outcome: {name: Reaction}
time: Days
predictors:
  Days: {level: day}
  shifted: {level: day, column: Days, center: 4.0}
  early: {level: day, column: Days, piece: {before: 4}}
  late: {level: day, column: Days, piece: {after: 4}}
  middle: {level: day, column: Days, piece: {after: 2, before: 6}, center: 1.0}
"""
MACHINES = """
data: {package: nlme, dataset: Machines}
levels: [{name: run}, {name: worker, id: Worker}]
outcome: {name: score}
predictors: {Machine: {level: run, type: category}}
"""
CAKE = """
data: {package: lme4, dataset: cake}
levels: [{name: cake}, {name: replicate, id: replicate}]
outcome: {name: angle}
predictors: {recipe: {level: cake, type: category}, temp: {level: cake}}
"""
CHILD = """
data: {package: nlme, dataset: Orthodont}
levels: [{name: visit}, {name: child, plural: children, id: Subject}]
outcome: {name: distance}
predictors: {age: {level: visit, center: 8.0}, Sex: {level: child, type: category}}
"""
FAST = """
estimation: {slope_tests: 0, check_optimizers: false, compare_structures: false}
inference: {variance_ci: none, icc_bootstrap: 0, df_comparison: 0}
"""

WRITTEN = (
    (SLEEP, "fixed: [Days], random: {subject: [1, Days]}, correlated: false",
     "Reaction ~ Days + (1 + Days || Subject)"),
    (SLEEP, "fixed: [Days], random: {subject: [[1], [Days]]}",
     "Reaction ~ Days + (1 | Subject) + (0 + Days | Subject)"),
    (SLEEP, "fixed: [Days], random: {subject: [[1, Days], [shifted]]}",
     "Reaction ~ Days + (1 + Days | Subject) + (0 + shifted_c | Subject)"),
    (SLEEP, "fixed: [Days], random: {subject: [0, Days]}",
     "Reaction ~ Days + (0 + Days | Subject)"),
    (SLEEP, 'fixed: [Days, "I(Days^2)"], random: {subject: [1, Days, "I(Days^2)"]}',
     "Reaction ~ Days + I(Days^2) + (1 + Days + I(Days^2) | Subject)"),
    (SLEEP, "fixed: [early, late], random: {subject: [1, early, late]}",
     "Reaction ~ early + late + (1 + early + late | Subject)"),
    (MACHINES, 'fixed: [Machine], random: {worker: [1], "worker:Machine": [1]}',
     "score ~ Machine + (1 | Worker) + (1 | Worker:Machine)"),
    (MACHINES, 'formula: "score ~ Machine + (1 | Worker/Machine)"',
     "score ~ Machine + (1 | Worker) + (1 | Worker:Machine)"),
    (MACHINES, "fixed: [Machine], random: {worker: [0, Machine]}",
     "score ~ Machine + (0 + Machine | Worker)"),
    (CHILD, 'fixed: ["age * Sex"], random: {child: [1, age]}',
     "distance ~ age_c + Sex + age_c:Sex + (1 + age_c | Subject)"),
)  # fmt: skip


def _spec(tmp_path: Path, data: str, model: str) -> Path:
    path = tmp_path / "analysis.yml"
    path.write_text(f"title: t{data}models: {{list: [{{id: m, {model}}}]}}{FAST}")
    return path


@pytest.mark.parametrize(("data", "model", "expected"), WRITTEN)
def test_the_parts_of_a_spec_are_lme4_formulas(
    data: str, model: str, expected: str, tmp_path: Path
) -> None:
    assert plan(load(_spec(tmp_path, data, model))).final.r == expected


IN_R = """
suppressPackageStartupMessages(library(lme4))
frames <- list(
  Reaction = within(sleepstudy, {
    shifted_c <- Days - 4
    early <- pmin(Days, 4)
    late <- pmax(Days - 4, 0)
  }),
  score = transform(nlme::Machines, Worker = factor(as.character(Worker))),
  distance = transform(nlme::Orthodont, age_c = age - 8, Subject = factor(as.character(Subject)))
)
for (text in commandArgs(TRUE)) {
  formula <- as.formula(text)
  m <- suppressMessages(lmer(formula, frames[[all.vars(formula)[1L]]]))
  numbers <- c(REMLcrit(m), sigma(m), fixef(m), sqrt(diag(as.matrix(vcov(m)))))
  spread <- unlist(lapply(VarCorr(m), function(v) attr(v, "stddev")))
  cat(sprintf("%.15g", c(numbers, spread)), sep = " ", fill = 1e6)
}
"""


@pytest.mark.r
def test_each_is_the_fit_of_plain_lme4(tmp_path: Path) -> None:
    formulas = [formula for _, _, formula in WRITTEN]
    command = ["Rscript", "--vanilla", "-e", IN_R, *formulas]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    for (data, model, formula), line in zip(WRITTEN, done.stdout.splitlines(), strict=True):
        document = load(_spec(tmp_path, data, model))
        prepared = check(document)
        context = Context(document, plan(document), prepared, Engine(session()))
        context.engine.begin(prepared.frame)
        fit_all(context, lambda _: None)
        items, (fitted,) = context.engine.items, context.models
        names = [
            *("m/criterion", "m/sigma"),
            *(f"m/fixef/{name}/estimate" for name in fitted.fit.coefficients),
            *(f"m/fixef/{name}/se" for name in fitted.fit.coefficients),
            *(f"m/var/{b}/{e}/sd" for b, effects in fitted.fit.blocks.items() for e in effects),
        ]
        found = [items[name].value for name in names]
        plain = [float(part) for part in line.split()]
        assert found == pytest.approx(plain, rel=1e-9), formula


RUN = (
    (
        SLEEP,
        "fixed: [early, late], random: {subject: [1, late]}, correlated: false",
        "uncorrelated",
    ),
    (MACHINES, 'formula: "score ~ Machine + (Machine || Worker)"', "separates terms"),
    (MACHINES, 'fixed: [Machine], random: {worker: [1], "worker:Machine": [1]}', ""),
    (MACHINES, 'formula: "score ~ Machine + (0 + Machine | Worker)"', ""),
    (CAKE, 'formula: "angle ~ recipe + poly(temp, 2) + (poly(temp, 2) || replicate)"', "poly"),
)


@pytest.mark.r
@pytest.mark.long
@pytest.mark.parametrize(("data", "model", "words"), RUN)
def test_it_comes_through_all_steps(data: str, model: str, words: str, tmp_path: Path) -> None:
    results, _ = analyse(load(_spec(tmp_path, data, model)), lambda *_: None)
    check_sound(results)
    text = compose(results, houses.find("base", tmp_path), ["html"])
    assert words in text
    assert ("**Independent slopes.**" in text) == ("||" in results.steps["questions"]["formula"])


@pytest.mark.r
def test_the_pieces_of_growth_are_those_of_a_knot(tmp_path: Path) -> None:
    """Two-rate coding: the slopes before and after, and the same fit as a broken line."""
    model = "fixed: [early, late], random: {subject: [1]}"
    results, data = analyse(load(_spec(tmp_path, SLEEP, model)), lambda *_: None)
    days = data.frame["Days"]
    assert (data.frame["early"] == days.clip(upper=4)).all()
    assert (data.frame["late"] == (days - 4).clip(lower=0)).all()
    assert (data.frame["middle_c"] == (days.clip(2, 6) - 2) - 1).all()
    # Within balanced persons the fixed effects are those of least squares.
    frame = pd.DataFrame(package_dataset("lme4", "sleepstudy"))
    x = np.column_stack([np.ones(180), frame["Days"].clip(upper=4), (frame["Days"] - 4).clip(0)])
    beta, *_ = np.linalg.lstsq(x, frame["Reaction"], rcond=None)
    assert value(results, "m/fixef/early/estimate") == pytest.approx(beta[1], rel=1e-7)
    assert value(results, "m/fixef/late/estimate") == pytest.approx(beta[2], rel=1e-7)


WRONG = (
    ("fixed: [Days], random: {subject: [1, [Days]]}", "mix single effects"),
    ("fixed: [Days], random: {subject: [[0]]}", "nothing varies"),
    ("fixed: [Days], random: {'subject:Dys': [1]}", "'Dys' is no level"),
)


@pytest.mark.r
@pytest.mark.parametrize(("model", "message"), WRONG)
def test_unusable_random_parts_are_refused(model: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        check(load(_spec(tmp_path, SLEEP, model)))


PIECES = (
    ("{}", "a beginning or an end"),
    ("{after: 5, before: 2}", "before it begins"),
    ("{before: 4}, transform: log1p", "as it is in the data"),
)


@pytest.mark.r
@pytest.mark.parametrize(("piece", "message"), PIECES)
def test_unusable_pieces_are_refused(piece: str, message: str, tmp_path: Path) -> None:
    data = SLEEP.replace("piece: {before: 4}", f"piece: {piece}")
    with pytest.raises(InputError, match=message):
        check(load(_spec(tmp_path, data, "fixed: [early], random: {subject: [1]}")))
