"""Numbers of papers and other programs: read, lined up, judged, and explained by refits."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support import ANALYSES
from typer.testing import CliRunner

from mlmreport import analysis
from mlmreport.cli import app
from mlmreport.crosscheck import claims, outputs
from mlmreport.errors import InputError
from mlmreport.spec.reader import load, parse
from mlmreport.verify.against import (
    AGREES,
    BY_DEFINITION,
    DIFFERS,
    ROUNDING,
    Judged,
    Loose,
    _values,
    against,
    as_checks,
    lined,
)
from mlmreport.verify.bench import Workbench
from mlmreport.verify.variants import Variant, variants

OUTPUTS = Path(__file__).parent / "outputs"
TEXTBOOK = ANALYSES / "hsb-textbook" / "analysis.yml"


# --- reading ------------------------------------------------------------------------------------


def read(tmp_path: Path, text: str) -> claims.Printed:
    file = tmp_path / "table.csv"
    file.write_text(text, encoding="utf-8")
    return outputs.read(file)


def refused(tmp_path: Path, text: str) -> str:
    with pytest.raises(InputError) as error:
        read(tmp_path, text)
    return str(error.value).replace(f"{tmp_path}/", "")


def test_a_table_is_read_with_places(tmp_path: Path) -> None:
    found = read(tmp_path, 'term,estimate,Std. Error,p,stars\nx,-1.20,0.3,<.001,***\n"a, b",3,,,\n')
    assert [(c.term, c.what, c.text) for c in found.claims] == [
        ("x", "estimate", "-1.20"),
        ("x", "se", "0.3"),
        ("x", "p", "<.001"),
        ("a, b", "estimate", "3"),
    ]
    assert (found.claims[1].location.line, found.claims[1].location.column) == (2, 9)
    assert found.claims[2].below
    (note,) = found.notes
    assert (note.what, note.location.line) == ("stars", 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the file is empty"),
        ("term,estimate\n", "the table has no rows"),
        ("estimate,se\n1,1\n", "table.csv:1:1: there is no column 'term'"),
        ("term,se\nx,1\n", "table.csv:1:1: there is no column 'estimate'"),
        ("term,estimate,se,se\nx,1,2,2\n", "the column 'se' stands twice"),
        ("term,estimate\nx,high\n", "table.csv:2:3: 'high' is no number"),
        ("term,estimate,se\nx,1,2.9x\n", "write the number alone, as 0.02 or (0.02)"),
        ('term,estimate\nx,"12,640"\n', "table.csv:2:4: '12,640' can be a number with a decimal"),
        ('term,estimate\nx,"12,64"\ny,1.5\n', "'12,64' has a decimal comma, and '1.5' in line 3"),
        ("term,estimate\nx,12,64\n", "table.csv:2:1: 3 cells, the head has 2"),
        ("term,estimate\nx,1\nx,2\n", "table.csv:3:1: 'x' stands in line 2 already"),
        ("term,estimate\n,2\n", "the row names no term"),
        ("term,estimate,se\nx,,\n", "the row of 'x' has no number"),
    ],
)
def test_bad_tables_are_told_with_line_and_column(tmp_path: Path, text: str, said: str) -> None:
    assert said in refused(tmp_path, text)


def test_all_faults_of_a_table_are_told_at_once(tmp_path: Path) -> None:
    said = refused(tmp_path, "term,estimate,se\nx,a,b\ny,1.2xx,0.1\n")
    assert [line.split(": ")[0] for line in said.splitlines() if line.startswith("table.csv:")] == [
        "table.csv:2:3",
        "table.csv:2:5",
        "table.csv:3:3",
    ]


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"term,estimate\nx\x81\x8d,1\n")
    with pytest.raises(InputError, match="neither UTF-8, UTF-16 nor Latin-1"):
        outputs.read(tmp_path / "t.csv")
    with pytest.raises(InputError, match="cannot be read"):
        outputs.read(tmp_path / "none.csv")


def test_outputs_of_stata_and_spss_are_known_by_their_heads() -> None:
    stata, spss = (outputs.read(OUTPUTS / name) for name in ("stata.txt", "spss.txt"))
    assert (stata.program, spss.program) == ("Stata mixed", "SPSS MIXED")
    terms = {(c.term, c.what): c.text for c in stata.claims}
    assert terms["c.ses#c.meanses", "estimate"] == "1.038918"
    assert terms["sector[Catholic]#c.ses", "se"] == ".2397854"
    assert terms["cov(school: ses, _cons)", "estimate"] == ".1920623"
    assert terms["n", "estimate"] == "7185"
    terms = {(c.term, c.what): c.text for c in spss.claims}
    assert terms["[sector=Catholic] * ses", "df"] == "143.335"
    assert terms["cov(school: Intercept, ses)", "estimate"] == ".192062"
    assert ("[sector=Public]", "estimate") not in terms
    for claim in (*stata.claims, *spss.claims):
        place = claim.location
        shown = place.excerpt[place.column - 1 : place.column - 1 + place.length]
        assert shown.replace(",", "") == claim.text


def test_spss_tables_with_bars_are_read_too(tmp_path: Path) -> None:
    text = (OUTPUTS / "spss.txt").read_text("utf-8").splitlines()
    barred = ["|" + "|".join(cell for cell in line.split("  ") if cell) + "|" for line in text]
    (tmp_path / "barred.txt").write_text("\n".join(barred), "utf-8")
    plain, found = outputs.read(OUTPUTS / "spss.txt"), outputs.read(tmp_path / "barred.txt")
    assert [(c.term, c.what, c.text) for c in found.claims] == [
        (c.term, c.what, c.text) for c in plain.claims
    ]


# --- judging ------------------------------------------------------------------------------------


@cache
def textbook() -> Workbench:
    document = load(TEXTBOOK)
    return Workbench.of(document, analysis.check(document))


def judged(file: Path | claims.Printed, model: str = "", **names: str) -> tuple[Judged, ...]:
    printed = outputs.read(file) if isinstance(file, Path) else file
    bench = textbook()
    bench = Workbench.of(bench.document, bench.data)
    return of(bench, printed, model, **names)


def of(
    bench: Workbench, printed: claims.Printed, model: str = "", **names: str
) -> tuple[Judged, ...]:
    found = lined(bench, printed, (model,) * bool(model), names)
    loose = Loose(printed.program, dict(printed.loose))
    return against(bench, found, loose, lambda *_: None)


def by_name(found: tuple[Judged, ...]) -> dict[str, Judged]:
    return {entry.name: entry for entry in found}


pytestmark = pytest.mark.r


@pytest.mark.parametrize("name", ["stata.txt", "spss.txt"])
def test_every_number_of_the_outputs_is_lme4s(name: str) -> None:
    found = judged(OUTPUTS / name)
    assert len(found) > 40
    assert {entry.verdict for entry in found} == {AGREES, BY_DEFINITION}
    explained = {entry.name: entry.cause for entry in found if entry.verdict == BY_DEFINITION}
    if name == "stata.txt":
        assert set(explained.values()) == {"by the normal distribution, not by t with df"}
    else:
        assert explained["aic"] == "covariance parameters alone counted"
        assert "rows less the fixed effects" in explained["bic"]


def test_the_published_table_was_centred_at_the_given_means() -> None:
    """Singer (1998): SES less the school means as supplied; the spec computes them."""
    found = by_name(judged(OUTPUTS / "singer.csv", cses="ses"))
    cause = "ses centred at the given means meanses"
    for name in ("fixef/(Intercept)/estimate", "fixef/meanses/estimate", "var/School/(Intercept)"):
        assert (found[name].verdict, found[name].cause) == (DIFFERS, cause)
    assert found["fixef/ses_within/estimate"].verdict == AGREES
    assert found["cor/School/(Intercept)/ses_within"].verdict == AGREES
    assert found["sigma"].cause.startswith("it is a variance")
    assert found["fixef/(Intercept)/se"].verdict == ROUNDING


CAUSES = {
    "ML instead of REML": "ML instead of REML",
    "ses not centred": "ses not centred",
    "ses centred at the grand mean": "ses centred at the grand mean",
    "meanses computed from the sample": "meanses computed from the sample",
    "sector in effect coding (codes -1 and 1)": "effect coding",
    "sector coded -0.5 and 0.5": "-0.5 and 0.5",
    "sector with the reference category Catholic": "reference category Catholic",
    "correlations of the random effects of School fixed at 0": "fixed at 0",
    "ses not centred, and ML instead of REML": "ses not centred, and ML instead of REML",
}


@pytest.mark.parametrize("words", CAUSES)
def test_each_cause_is_found_from_its_own_numbers(words: str) -> None:
    """Numbers of a model that departs from the spec, printed with four decimals, give it away."""
    bench = textbook()
    bench = Workbench.of(bench.document, bench.data)
    (variant,) = [v for v in variants(bench, bench.plan.final, True) if v.words == words]
    values = _values(bench, bench.plan.final, variant, "")
    assert values is not None
    place = claims.Location("paper.csv", 2, 1)
    terms = [
        "(Intercept)", "ses", "meanses", "sector", "ses:meanses", "ses:sector"
    ]  # fmt: skip
    names = ["(Intercept)", "ses_within", "meanses", "sectorCatholic", "ses_within:meanses",
             "ses_within:sectorCatholic"]  # fmt: skip
    made = [
        claims.Claim(term, what, f"{values[f'fixef/{name}/{what}']:.4f}", place, place)
        for term, name in zip(terms, names, strict=True)
        for what in ("estimate", "se")
    ]
    made.append(claims.Claim("var(residual)", "estimate", f"{values['sigma2']:.4f}", place, place))
    tau = f"{values['var/School/(Intercept)']:.4f}"
    made.append(claims.Claim("var(school)", "estimate", tau, place, place))
    found = judged(claims.Printed(tuple(made), "csv"))
    differing = [entry for entry in found if entry.verdict == DIFFERS]
    assert differing
    assert {CAUSES[words] in entry.cause for entry in differing} == {True}


def test_a_number_that_nothing_gives_is_said_to_be_so(tmp_path: Path) -> None:
    (found,) = judged(read(tmp_path, "term,estimate\nses,9.99\n"))
    assert found.verdict == DIFFERS
    assert "none of" in found.cause
    (check,) = as_checks([found])
    assert check.difference == pytest.approx(9.99 - 2.938785, abs=1e-6)
    assert check.verdict == "differs"
    assert "none of" in check.what


def test_the_definition_of_bic_n_is_found(tmp_path: Path) -> None:
    found = judged(read(tmp_path, "term,estimate\nbic,46554.4\naic,46523.7\n"))
    assert {entry.name: entry.cause for entry in found} == {
        "bic": "n is the 160 groups of School",
        "aic": "",
    }


def test_rows_may_name_their_model(tmp_path: Path) -> None:
    text = "model,term,estimate\nnull,(Intercept),12.637\nnull,icc(school),18.0\noutcomes,n,7185\n"
    found = judged(read(tmp_path, text))
    assert [entry.verdict for entry in found] == [AGREES, BY_DEFINITION, AGREES]
    assert found[1].cause == "it is in percent"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("term,estimate\nsess,1\n", "table.csv:2:1: the model 'outcomes' has no term 'sess'"),
        ("term,estimate\nvar(pupil),1\n", "table.csv:2:1: 'pupil' is no grouping of the model"),
        ("term,estimate\nvar(school: age),1\n", "names no var of the model"),
        ("term,estimate,p\nbic,4,.1\n", "'bic' has one number"),
        ("model,term,estimate\nlast,ses,1\n", "there is no model 'last'"),
    ],
)
def test_what_the_model_does_not_have_is_told(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError) as error:
        judged(read(tmp_path, text))
    assert said in str(error.value).replace(f"{tmp_path}/", "")


def test_the_rows_of_one_model_may_be_more_than_those_of_all(tmp_path: Path) -> None:
    """Listwise deletion over the sequence leaves fewer rows than the first model has."""
    rng = np.random.default_rng(4)
    g, x, z = np.repeat(np.arange(25), 6), rng.normal(size=150), rng.normal(size=150)
    frame = pd.DataFrame({"y": x + rng.normal(size=25)[g] + rng.normal(size=150), "x": x, "z": z})
    frame["g"] = [f"g{i}" for i in g]
    frame.loc[rng.choice(150, 40, replace=False), "z"] = np.nan
    frame.to_csv(tmp_path / "d.csv", index=False)
    text = """
title: Rows
data: {file: d.csv}
levels: [{name: row}, {name: group, id: g}]
outcome: {name: y}
predictors: {x: {level: row}, z: {level: row}}
models:
  list:
    - {id: one, formula: "y ~ x + (1 | g)"}
    - {id: two, formula: "y ~ x + z + (1 | g)"}
"""
    document = parse(text, tmp_path / "analysis.yml")
    bench = Workbench.of(document, analysis.check(document))
    full = replace(bench.data, frame=frame.assign(g=frame["g"].astype("category")))
    values = _values(
        bench, bench.plan.final, Variant("", full.frame, bench.plan.models[0].r, True), ""
    )
    assert values is not None
    table = f"model,term,estimate\none,n,150\none,x,{values['fixef/x/estimate']:.4f}\n"
    bench = Workbench.of(document, bench.data)
    found = of(bench, read(tmp_path, table))
    assert {entry.cause for entry in found} == {
        "150 rows, complete in the variables of this model alone"
    }


# --- the command --------------------------------------------------------------------------------


def test_the_command_judges_a_table() -> None:
    arguments = ["crosscheck", str(TEXTBOOK), "--quiet", "--against"]
    agreeing = CliRunner().invoke(app, [*arguments, str(OUTPUTS / "stata.txt"), "--json"])
    assert agreeing.exit_code == 0, agreeing.output
    told = json.loads(agreeing.stdout)
    assert {entry["verdict"] for entry in told["numbers"]} == {AGREES, BY_DEFINITION}
    assert told["models"] == [{"source": "model 1", "model": "outcomes", "why": "by its terms"}]
    assert all(table["read"] for table in told["tables"])
    assert any("limits of variances" in note["what"] for note in told["not_compared"])
    named = [*arguments, str(OUTPUTS / "singer.csv"), "--name", "cses=ses"]
    differing = CliRunner().invoke(app, named)
    assert differing.exit_code == 4
    assert "differs: ses centred at the given means meanses" in differing.stdout
    unknown = CliRunner().invoke(app, named[:-2])
    assert unknown.exit_code == 2
    assert "singer.csv:3:1: the model 'outcomes' has no term 'cses'" in unknown.stderr
    wrong = CliRunner().invoke(app, [*named, "--name", "cses"])
    assert wrong.exit_code == 2
    assert "THEIRS=OURS" in wrong.stderr
