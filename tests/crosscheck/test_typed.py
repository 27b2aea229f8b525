"""Tables as people type them from a paper."""

from __future__ import annotations

from pathlib import Path

import printers
import pytest

from mlmreport.crosscheck import outputs
from mlmreport.crosscheck.claims import Printed
from mlmreport.crosscheck.matching import line_up
from mlmreport.errors import InputError, Problem

HSB = "hsb-textbook"


def read(folder: Path, text: str) -> Printed:
    (folder / "table.csv").write_text(text, encoding="utf-8")
    return outputs.read(folder / "table.csv")


def numbers(folder: Path, text: str) -> list[tuple[str, str, str, str]]:
    return [(c.model, c.term, c.what, c.text) for c in read(folder, text).claims]


def names(folder: Path, text: str) -> dict[str, str]:
    """What each row is of, for the final model."""
    printed = read(folder, text)
    categories = printers.stored()[HSB]["categories"]
    found = line_up(printers.planned(HSB), categories, printed, (), {})
    return {claim.term: name for claim, _, name in found.named if claim.what == "estimate"}


@pytest.mark.parametrize(
    "head",
    [
        "term,estimate,se", "Predictor,B,SE", "Variable,b,S.E.", ",Est.,Std. Error",
        "Fixed effect,Coefficient,Std. Err.", "Parameter,Coef.,std.error",
    ],
)  # fmt: skip
def test_headings_by_their_usual_names(head: str, tmp_path: Path) -> None:
    assert numbers(tmp_path, f"{head}\nses,2.94,0.16\n") == [
        ("", "ses", "estimate", "2.94"),
        ("", "ses", "se", "0.16"),
    ]


@pytest.mark.parametrize(
    "cell",
    [
        '"[2.63, 3.25]"', "(2.63; 3.25)", "2.63-3.25", '"2.63, 3.25"', "2.63 to 3.25",
        "[2.63 \N{EN DASH} 3.25]", "2.63;3.25",
    ],
)  # fmt: skip
def test_intervals_in_one_cell(cell: str, tmp_path: Path) -> None:
    found = numbers(tmp_path, f"Predictor,B,95% CI\nses,2.94,{cell}\n")
    assert [(what, text) for _, _, what, text in found] == [
        ("estimate", "2.94"), ("lower", "2.63"), ("upper", "3.25"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("0.45***", [("estimate", "0.45")]),
        ("\u22120.45*", [("estimate", "-0.45")]),
        ("0.45 (0.02)", [("estimate", "0.45"), ("se", "0.02")]),
        ("0.45*** (.02)", [("estimate", "0.45"), ("se", ".02")]),
        ('"0.45 [0.41, 0.49]"', [("estimate", "0.45"), ("lower", "0.41"), ("upper", "0.49")]),
        ("\N{EN DASH}.45 ± .02", [("estimate", "-.45"), ("se", ".02")]),
    ],
)
def test_what_stands_with_an_estimate(
    cell: str, expected: list[tuple[str, str]], tmp_path: Path
) -> None:
    found = numbers(tmp_path, f"term,estimate\nses,{cell}\n")
    assert [(what, text) for _, _, what, text in found] == expected


@pytest.mark.parametrize(
    "text",
    [
        "Predictor,Model 1 B,Model 1 SE,Model 2 B,Model 2 SE\nx,1.5,0.2,1.6,0.3\n",
        ",Model 1,,Model 2,\nPredictor,B,SE,B,SE\nx,1.5,0.2,1.6,0.3\n",
        ",Model 1,Model 2\nx,1.5,1.6***\n,(0.2),(0.3)\n",
        "Predictor,Model 1,Model 2\nx,1.5 (0.2),1.6* (0.3)\n",
        ";Model 1;;Model 2;\nPredictor;B;SE;B;SE\nx;1,5;0,2;1,6;0,3\n",
        "Term\tModel 1: Est.\tModel 1: SE\tModel 2: Est.\tModel 2: SE\nx\t1.5\t.2\t1.6\t.3\n",
    ],
)
def test_models_beside_each_other(text: str, tmp_path: Path) -> None:
    found = {(m, what): float(text) for m, _, what, text in numbers(tmp_path, text)}
    assert found == {
        ("Model 1", "estimate"): 1.5, ("Model 1", "se"): 0.2,
        ("Model 2", "estimate"): 1.6, ("Model 2", "se"): 0.3,
    }  # fmt: skip


PAPER = """Predictor,B,SE,p
Fixed effects,,,
Constant,12.10,(0.20),<.001
SES,2.94,(.16),< .001
Mean SES,5.33,.37,<.001
SES x Sector,-1.64,.24,.000
Random effects,,,
Intercept (school),2.38,,
SES,0.10,,
Residual,36.72,,
Model fit,,,
N,"7,185",,
Schools,160,,
AIC,46523.7,,
-2LL,46503.7,,
Marginal R²,.17,,
"""


def test_a_table_of_a_paper_is_lined_up(tmp_path: Path) -> None:
    assert names(tmp_path, PAPER) == {
        "Constant": "fixef/(Intercept)/estimate",
        "SES": "fixef/ses_within/estimate",
        "Mean SES": "fixef/meanses/estimate",
        "SES x Sector": "fixef/ses_within:sectorCatholic/estimate",
        "var(: Intercept (school))": "var/School/(Intercept)",
        "var(: SES)": "var/School/ses_within",
        "var(: Residual)": "sigma2",
        "N": "nobs",
        "Schools": "ngroups/School",
        "AIC": "aic",
        "-2LL": "deviance",
    }


@pytest.mark.parametrize(
    ("term", "name"),
    [
        ("σ²", "sigma2"),
        ("τ₀₀ school", "var/School/(Intercept)"),
        ("Variance of intercepts", "var/School/(Intercept)"),
        ("cov(school: (Intercept), ses)", "cov/School/(Intercept)/ses_within"),
        ("SD (Intercept)", "sd/School/(Intercept)"),
        ("τ11", "var/School/ses_within"),
        ("ICC", "icc/School"),
        ("Log-likelihood", "loglik"),
        ("Deviance", "deviance"),
        ("Observations", "nobs"),
        ("Groups", "ngroups/School"),
        ("SES × Sector", "fixef/ses_within:sectorCatholic/estimate"),
        ("[sector=1]", "fixef/sectorCatholic/estimate"),
        ("sector1", "fixef/sectorCatholic/estimate"),
        ("1.sector", "fixef/sectorCatholic/estimate"),
    ],
)
def test_terms_as_papers_write_them(term: str, name: str, tmp_path: Path) -> None:
    assert list(names(tmp_path, f"term,estimate\n{term},1.5\n").values()) == [name]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("term,estimate\nN,7,185\n", "put a cell that holds the separator, such as 2,000"),
        ("term,estimate,p\nses,1.5,very\n", "'very' is no number"),
        ("term,B,95% CI\nses,1.5,wide\n", "write the limits as [0.10, 0.30]"),
        (",B,SE,B,SE\nx,1,2,3,4\n", "name the models: `Model 1 B,Model 1 SE,Model 2 B`"),
    ],
)
def test_what_cannot_be_taken_is_told_with_a_hint_that_helps(
    text: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as error:
        read(tmp_path, text)
    assert said in str(error.value)
    assert all(
        isinstance(problem, Problem) and problem.location for problem in error.value.problems
    )
