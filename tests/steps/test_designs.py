"""Designs of textbooks, as a spec says them: the model is that of plain lme4 set up by hand."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mlmreport.analysis import check
from mlmreport.engine.fits import Engine
from mlmreport.engine.session import session
from mlmreport.spec.reader import load
from mlmreport.spec.sequence import plan
from mlmreport.steps import checks, questions
from mlmreport.steps.context import Context
from mlmreport.steps.models import fit_all

BY_HAND = """
suppressPackageStartupMessages(library(lme4))
frames <- list(
  filter = transform(subset(sleepstudy, Days >= 2), Days = Days - 2),
  machines = transform(nlme::Machines, Worker = factor(Worker, ordered = FALSE)),
  oats = transform(
    nlme::Oats, Block = factor(Block, ordered = FALSE), Variety = relevel(Variety, "Victory")
  ),
  cake = transform(cake, temp = temp - 200),
  fixed_sites = transform(nlme::Machines, Worker = factor(as.character(Worker))),
  polynomial = cake,
  helmert = transform(nlme::Machines, Worker = factor(as.character(Worker))),
  differences = transform(
    nlme::Orthodont, Subject = factor(as.character(Subject)), grade = factor(age)
  )
)
contrasts(frames$polynomial$recipe) <- "contr.sum"
contrasts(frames$helmert$Machine) <- "contr.helmert"
contrasts(frames$differences$grade) <- solve(rbind(1 / 4, diff(diag(4))))[, -1]
formulas <- list(
  filter = Reaction ~ Days + (Days | Subject),
  machines = score ~ Machine + (1 | Worker) + (1 | Worker:Machine),
  oats = yield ~ nitro + Variety + (1 | Block) + (1 | Block:Variety),
  cake = angle ~ recipe * temp + (1 | recipe:replicate),
  fixed_sites = score ~ Worker + (1 | Worker:Machine),
  polynomial = angle ~ recipe * temperature + (1 | recipe:replicate),
  helmert = score ~ Machine + (1 + Machine | Worker),
  differences = distance ~ grade * Sex + (1 | Subject)
)
for (name in names(formulas)) {
  m <- lmer(formulas[[name]], frames[[name]])
  spread <- unlist(lapply(VarCorr(m), function(v) attr(v, "stddev")))
  numbers <- c(REMLcrit(m), sigma(m), fixef(m), sqrt(diag(as.matrix(vcov(m)))), spread)
  cat(name, sprintf("%.15g", numbers), fill = 1e6)
}
"""

DESIGNS = {
    "filter": """
data: {package: lme4, dataset: sleepstudy, filter: ["Days >= 2"]}
levels: [{name: day}, {name: subject, id: Subject}]
outcome: {name: Reaction}
time: Days
predictors: {Days: {level: day, center: 2.0}}
models: {list: [{id: m, fixed: [Days], random: {subject: [1, Days]}}]}
""",
    "machines": """
data: {package: nlme, dataset: Machines}
structure: crossed
levels: [{name: run}, {name: machine, id: Machine}, {name: worker, id: Worker}]
outcome: {name: score}
predictors: {Machine: {level: machine, type: category}}
models: {list: [{id: m, fixed: [Machine], random: {worker: [1], "worker:machine": [1]}}]}
""",
    "oats": """
data: {package: nlme, dataset: Oats}
levels: [{name: subplot}, {name: plot, id: Variety, within: block}, {name: block, id: Block}]
outcome: {name: yield}
predictors:
  Variety: {level: plot, type: category, reference: Victory}
  nitro: {level: subplot}
models: {list: [{id: m, formula: "yield ~ nitro + Variety + (1 | Block/Variety)"}]}
""",
    "cake": """
data: {package: lme4, dataset: cake}
levels: [{name: cake}, {name: batch, plural: batches, id: replicate, within: recipe}]
outcome: {name: angle}
predictors: {recipe: {level: batch, type: category}, temp: {level: cake, center: 200.0}}
models: {list: [{id: m, formula: "angle ~ recipe * temp + (1 | recipe:replicate)"}]}
""",
    "fixed_sites": """
data: {package: nlme, dataset: Machines}
levels: [{name: run}, {name: setting, id: Machine, within: worker}, {name: worker, id: Worker}]
outcome: {name: score}
predictors: {Worker: {level: worker, type: category, reference: "1"}}
models: {list: [{id: m, fixed: [Worker], random: {setting: [1]}}]}
""",
    "polynomial": """
data: {package: lme4, dataset: cake}
levels: [{name: cake}, {name: batch, plural: batches, id: replicate, within: recipe}]
outcome: {name: angle}
predictors:
  recipe: {level: batch, type: category, contrasts: sum}
  temperature: {level: cake, type: category, ordered: true}
models: {list: [{id: m, formula: "angle ~ recipe * temperature + (1 | recipe:replicate)"}]}
""",
    "helmert": """
data: {package: nlme, dataset: Machines}
levels: [{name: run}, {name: worker, id: Worker}]
outcome: {name: score}
predictors: {Machine: {level: run, type: category, contrasts: helmert}}
models: {list: [{id: m, fixed: [Machine], random: {worker: [1, Machine]}}]}
""",
    "differences": """
data: {package: nlme, dataset: Orthodont}
levels: [{name: visit}, {name: child, plural: children, id: Subject}]
outcome: {name: distance}
predictors:
  grade: {level: visit, type: category, column: age, contrasts: successive differences}
  Sex: {level: child, type: category}
models: {list: [{id: m, fixed: ["grade * Sex"], random: {child: [1]}}]}
""",
}


@pytest.fixture(scope="module")
def by_hand() -> dict[str, list[float]]:
    """For each design criterion, sigma, coefficients, their SE and the SDs, by plain lme4."""
    command = ["Rscript", "--vanilla", "-e", BY_HAND]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    lines = (line.split() for line in done.stdout.splitlines())
    return {name: list(map(float, numbers)) for name, *numbers in lines}


@pytest.mark.r
@pytest.mark.parametrize("name", DESIGNS)
def test_a_design_is_the_fit_of_plain_lme4(
    name: str, by_hand: dict[str, list[float]], tmp_path: Path
) -> None:
    path = tmp_path / "analysis.yml"
    path.write_text(f"title: t{DESIGNS[name]}", encoding="utf-8")
    document = load(path)
    data = check(document)
    context = Context(document, plan(document), data, Engine(session()))
    context.engine.begin(data.frame)
    fit_all(context, lambda _: None)
    fit = context.models[0].fit
    numbers = [
        *("m/criterion", "m/sigma"),
        *(f"m/fixef/{term}/estimate" for term in fit.coefficients),
        *(f"m/fixef/{term}/se" for term in fit.coefficients),
        *(f"m/var/{b}/{e}/sd" for b, effects in fit.blocks.items() for e in effects),
    ]
    items = context.engine.items
    assert [items[number].value for number in numbers] == pytest.approx(by_hand[name], rel=1e-8)


@pytest.mark.r
def test_the_rows_that_a_filter_left_out_are_counted(tmp_path: Path) -> None:
    from mlmreport.steps import structure

    path = tmp_path / "analysis.yml"
    path.write_text(f"title: t{DESIGNS['filter']}", encoding="utf-8")
    document = load(path)
    data = check(document)
    context = Context(document, plan(document), data, Engine(session()))
    context.engine.begin(data.frame)
    fit_all(context, lambda _: None)
    facts = structure.run(context)["missing"]["filtered"]
    assert [one["text"] for one in facts["filters"]] == ["Days >= 2"]
    assert [facts["read"].value, facts["filters"][0]["n"].value] == [180.0, 36.0]


@pytest.mark.r
def test_words_of_contrasts_name_no_reference(tmp_path: Path) -> None:
    path = tmp_path / "analysis.yml"
    path.write_text(f"title: t{DESIGNS['polynomial']}", encoding="utf-8")
    document = load(path)
    data = check(document)
    context = Context(document, plan(document), data, Engine(session()))
    context.engine.begin(data.frame)
    fit_all(context, lambda _: None)
    (model,) = context.models
    kinds = {entry.name: entry.kind for entry in model.coefficients}
    assert kinds["temperature.L"] == kinds["recipe1"] == "contrast"
    assert kinds["recipe1:temperature.L"] == "interaction"
    labels = {entry.name: entry.label for entry in model.coefficients}
    assert labels["temperature^4"] == "temperature: trend of degree 4"
    assert labels["recipe2:temperature.Q"] == (
        "recipe: B − mean of all categories × temperature: quadratic trend"
    )
    said = str(questions.run(context))
    assert "reference category" not in said
    assert "where every predictor is averaged over its categories" in said
    assert "the linear trend over its categories in their order" in said
    assert "the difference of A from the mean of all 3 categories" in said
    assert "contrasts: polynomial; zero is the mean over the categories" in said


@pytest.mark.r
def test_a_model_rests_on_every_group_that_is_a_fixed_factor(tmp_path: Path) -> None:
    path = tmp_path / "analysis.yml"
    path.write_text(f"title: t{DESIGNS['machines']}", encoding="utf-8")
    document = load(path)
    data = check(document)
    context = Context(document, plan(document), data, Engine(session()))
    context.engine.begin(data.frame)
    fit_all(context, lambda _: None)
    found = checks.influence(context, context.models[0])[0]
    assert not found["have"]
    assert "figure" not in found
    assert found["largest"].reason
