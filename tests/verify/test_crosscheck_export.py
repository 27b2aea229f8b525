"""Models in the syntax of other programs: those at hand are run, the others held fixed."""

from __future__ import annotations

import csv
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support import ANALYSES
from syrupy.assertion import SnapshotAssertion
from typer.testing import CliRunner

from mlmreport import analysis
from mlmreport.cli import app
from mlmreport.errors import InputError
from mlmreport.spec.reader import load, parse
from mlmreport.verify.bench import Fit, Workbench
from mlmreport.verify.export import PROGRAMS, export

pytestmark = pytest.mark.r

HEAD = "title: {title}\ndata: {{package: {package}, dataset: {dataset}}}\n"
SPECS = {
    "textbook": (ANALYSES / "hsb-textbook" / "analysis.yml").read_text("utf-8"),
    "uncorrelated": HEAD.format(title="Days apart", package="lme4", dataset="sleepstudy")
    + """\
levels: [{name: day}, {name: person, id: Subject}]
outcome: {name: Reaction}
predictors: {Days: {level: day}}
models: {list: [{id: m, formula: "Reaction ~ Days + I(Days^2) + (Days || Subject)"}]}
estimation: {method: ML}
""",
    "nested": HEAD.format(title="Casks; in */ batches.", package="lme4", dataset="Pastes")
    + """\
levels: [{name: row}, {name: sample, id: sample}, {name: batch, id: batch}]
outcome: {name: strength}
predictors: {}
models: {list: [{id: m, formula: "strength ~ 1 + (1 | batch) + (1 | sample)"}]}
inference: {df: kenward-roger}
""",
    "crossed": HEAD.format(title="Plates", package="lme4", dataset="Penicillin")
    + """\
levels: [{name: row}, {name: plate, id: plate}, {name: sample, id: sample}]
structure: crossed
outcome: {name: diameter}
predictors: {}
models: {list: [{id: m, formula: "diameter ~ 1 + (1 | plate) + (1 | sample)"}]}
""",
    "machines": HEAD.format(title="Machines", package="nlme", dataset="Machines")
    + """\
levels: [{name: row}, {name: worker, id: Worker}]
outcome: {name: score}
predictors: {Machine: {level: row, type: category}}
models: {list: [{id: m, formula: "score ~ Machine + (0 + Machine | Worker)"}]}
""",
}


@cache
def bench(name: str) -> Workbench:
    document = parse(SPECS[name], Path("analysis.yml"))
    return Workbench.of(document, analysis.check(document))


def written(name: str, program: str, folder: Path) -> Path:
    found = bench(name)
    _, script = export(found.document, found.data, program, folder)
    return script


def by_lme4(name: str) -> dict[str, Fit]:
    found = bench(name)
    found = Workbench.of(found.document, found.data)
    reml = found.document.spec.estimation.method == "REML"
    return {m.id: found.lme4(m.id, m.r, reml, "bobyqa") for m in found.plan.models}


@pytest.mark.parametrize("program", ["stata", "spss", "sas"])
@pytest.mark.parametrize("name", SPECS)
def test_scripts_for_programs_that_are_not_here(
    name: str, program: str, tmp_path: Path, snapshot: SnapshotAssertion
) -> None:
    assert written(name, program, tmp_path).read_text("utf-8") == snapshot


TOLD = """
source("models.R")
options(digits = 15)
for (name in ls(pattern = "^m_")) {
  m <- get(name)
  cat("=", name, as.numeric(logLik(m)), nlme::fixef(m), sqrt(diag(vcov(m))), "\\n")
}
"""


@pytest.mark.parametrize("name", ["textbook", "uncorrelated", "nested", "machines"])
def test_the_script_for_nlme_gives_the_same_numbers(name: str, tmp_path: Path) -> None:
    written(name, "nlme", tmp_path)
    (tmp_path / "told.R").write_text(TOLD, "utf-8")
    done = subprocess.run(
        ["Rscript", "--vanilla", "told.R"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("= ")]
    compare({key.removeprefix("m_"): list(map(float, values)) for key, *values in told}, name)


@pytest.mark.parametrize("name", ["textbook", "uncorrelated", "nested", "machines"])
def test_the_script_for_statsmodels_gives_the_same_numbers(name: str, tmp_path: Path) -> None:
    script = written(name, "statsmodels", tmp_path)
    tell = (
        "\nfor name, r in results.items():\n    print('=', name, r.llf, *r.fe_params, *r.bse_fe)\n"
    )
    script.write_text(script.read_text("utf-8") + tell, "utf-8")
    done = subprocess.run(
        [sys.executable, "models.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    told = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("= ")]
    compare({key: list(map(float, values)) for key, *values in told}, name)


def compare(found: dict[str, list[float]], name: str) -> None:
    expected = by_lme4(name)
    assert found.keys() == expected.keys()
    for key, (loglik, *numbers) in found.items():
        fit = expected[key]
        assert loglik == pytest.approx(fit.loglik, abs=2e-3)
        half = len(numbers) // 2
        errors = sorted(fit.errors.values())
        # MixedLM takes errors from a Hessian where it stopped, a little before the optimum.
        # Terms may come in another order; no two effects of these models are alike.
        assert sorted(numbers[half:]) == pytest.approx(errors, rel=5e-3)
        fixed = sorted(v for n, v in fit.estimates.items() if n.startswith("fixef/"))
        assert sorted(numbers[:half]) == pytest.approx(fixed, rel=2e-3, abs=2e-3 * max(errors))


def test_what_a_program_cannot_express_is_a_comment(tmp_path: Path) -> None:
    nlme = written("crossed", "nlme", tmp_path).read_text("utf-8")
    assert "# Left out: it cannot be expressed here: crossed groupings in lme()" in nlme
    assert "lme(\n" not in nlme
    text = SPECS["uncorrelated"].replace("I(Days^2)", "poly(Days, 2)")
    document = parse(text, Path("analysis.yml"))
    _, script = export(document, analysis.check(document), "stata", tmp_path / "stata")
    assert "* Left out: it cannot be expressed here: poly(Days, 2)" in script.read_text("utf-8")


def test_data_are_coded_as_the_program_needs_them(tmp_path: Path) -> None:
    for program, codes in (
        ("stata", {1: "Public"}),
        ("spss", {2: "Public"}),
        ("sas", {2: "Public"}),
    ):
        written("textbook", program, tmp_path / program)
        coded = pd.read_csv(tmp_path / program / "data.csv")
        own = bench("textbook").data.frame["sector"].astype(str)
        ((code, label),) = codes.items()
        assert ((coded["sector"] == code) == (own == label)).all()
    with (tmp_path / "stata" / "data.csv").open() as file:
        assert next(csv.DictReader(file))["School"].isdigit()


def test_names_are_plain_and_unique(tmp_path: Path) -> None:
    columns = ("y", "größe in cm", "a.b", "a_b")
    frame = pd.DataFrame(np.random.default_rng(1).normal(size=(24, 4)), columns=columns)
    frame["if"] = list("abcdef") * 4
    frame.to_csv(tmp_path / "d.csv", index=False)
    text = """
title: Names
data: {file: d.csv}
levels: [{name: row}, {name: group, id: if}]
outcome: {name: y}
predictors: {größe in cm: {level: row}, a.b: {level: row}, a_b: {level: row}}
models: {list: [{id: m, formula: "y ~ `größe in cm` + a.b + a_b + (1 | `if`)"}]}
"""
    document = parse(text, tmp_path / "analysis.yml")
    data = analysis.check(document)
    header, script = (
        file.read_text("utf-8") for file in export(document, data, "nlme", tmp_path / "nlme")
    )
    assert header.splitlines()[0] == "if_x,y,gr_e_in_cm,a_b,a_b_2"
    assert "# gr_e_in_cm is größe in cm" in script
    assert "y ~ gr_e_in_cm + a_b + a_b_2" in script


def test_every_program_has_its_row_and_the_command_writes(tmp_path: Path) -> None:
    spec = tmp_path / "analysis.yml"
    spec.write_text(SPECS["nested"], "utf-8")
    for program, row in PROGRAMS.items():
        done = CliRunner().invoke(app, ["export", str(spec), "--to", program])
        assert done.exit_code == 0, done.output
        assert (tmp_path / f"export-{program}" / row.file).is_file()
        assert (tmp_path / f"export-{program}" / "data.csv").is_file()
        assert CliRunner().invoke(app, ["export", str(spec), "--to", program]).exit_code == 0
    assert load(spec).spec.title.startswith("Casks")


def test_a_folder_with_other_things_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("mine", "utf-8")
    with pytest.raises(InputError, match=r"holds no models\.do"):
        written("nested", "stata", tmp_path)
    assert (tmp_path / "data.csv").read_text("utf-8") == "mine"


CONTRASTS = (
    HEAD.format(title="Cakes", package="lme4", dataset="cake")
    + """\
levels: [{name: cake}, {name: batch, plural: batches, id: replicate, within: recipe}]
outcome: {name: angle}
predictors:
  recipe: {level: batch, type: category}
  temperature: {level: cake, type: category, ordered: true}
models: {list: [{id: m, formula: "FORMULA"}]}
"""
)


def test_contrasts_without_a_reference_are_columns_of_numbers(tmp_path: Path) -> None:
    formula = "angle ~ recipe * temperature + (1 | recipe:replicate)"
    SPECS["contrasts"] = CONTRASTS.replace("FORMULA", formula)
    script = written("contrasts", "stata", tmp_path / "stata").read_text("utf-8")
    names = ["temperature_L", "temperature_Q", "temperature_C", "temperature_4", "temperature_5"]
    assert all(f"c.{name}" in script for name in names)
    data = pd.read_csv(tmp_path / "stata" / "data.csv")
    design = data[names].drop_duplicates().to_numpy()
    assert design.T @ design == pytest.approx(np.eye(5), abs=1e-12)


def test_contrasts_without_their_lower_terms_are_not_exported(tmp_path: Path) -> None:
    formula = "angle ~ temperature + recipe:temperature + (1 | recipe:replicate)"
    SPECS["margin"] = CONTRASTS.replace("FORMULA", formula)
    script = written("margin", "sas", tmp_path / "sas").read_text("utf-8")
    assert "temperature:recipe with contrasts and without its lower terms" in script
