"""The same numbers in other clothes: encodings, logs, copies, several models, foreign tables."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import printers
import pytest

from mlmreport.crosscheck import outputs
from mlmreport.crosscheck.claims import Claim, Printed
from mlmreport.crosscheck.matching import Lined, line_up
from mlmreport.errors import InputError, Location
from mlmreport.verify.against import DIFFERS, ROUNDING, Loose, as_specified

HSB = "hsb-textbook"


def printed_by(printer: Callable[[printers.Fitted], printers.Printed], *names: str) -> str:
    return "".join(printer(printers.fitted(HSB, name))[0] for name in names)


STATA = printed_by(printers.stata(17), "outcomes")
BLANKS = printed_by(printers.spss("blanks"), "outcomes")
BARS = printed_by(printers.spss("bars"), "outcomes")
TABS = printed_by(printers.spss("tabs"), "outcomes")
COMMAS = printed_by(printers.spss("tabs", comma=True), "outcomes")


def read(folder: Path, content: str | bytes, name: str = "output.txt") -> Printed:
    file = folder / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return outputs.read(file)


def lined(printed: Printed, chosen: tuple[str, ...] = ()) -> Lined:
    return line_up(printers.planned(HSB), printers.stored()[HSB]["categories"], printed, chosen, {})


def verdicts(printed: Printed, found: Lined) -> dict[str, str]:
    loose = Loose(printed.program, dict(printed.loose))
    return {
        f"{model.id}/{name}": as_specified(
            claim, model, name, printers.fitted(HSB, model.id).values, True, loose
        ).verdict
        for claim, model, name in found.named
    }


def agreeing(printed: Printed) -> int:
    """How many numbers agree; none may differ."""
    found = verdicts(printed, lined(printed))
    assert DIFFERS not in found.values(), found
    return len(found)


def refused(folder: Path, content: str | bytes, name: str = "output.txt") -> str:
    with pytest.raises(InputError) as error:
        read(folder, content, name)
    return str(error.value).replace(f"{folder}/", "")


# --- the text -------------------------------------------------------------------------------------

CLOTHES = {
    "knitr": "\n".join(f"## {line}" for line in STATA.split("\n")),
    "utf-16, Windows": STATA.replace("\n", "\r\n").encode("utf-16"),
    "latin-1": f"é\n{STATA}".encode("latin-1"),
    "form feeds": STATA.replace("\n\n", "\n\f\n"),
    "single blanks, Stata": re.sub(" +", " ", STATA),
    "single blanks, SAS": re.sub(" +", " ", printed_by(printers.sas, "outcomes")),
    "single blanks, HLM": re.sub(" +", " ", printed_by(printers.hlm, "outcomes")),
    "single blanks, Mplus": re.sub(" +", " ", printed_by(printers.mplus, "outcomes")),
    "empty lines between": BLANKS.replace("\n", "\n\n"),
    "drawn borders": BARS.replace("|", "│").replace("-----", "─────"),
    "other blanks and minus": BLANKS.replace(" ", "\u00a0").replace("-1", "\u22121"),
    "indented": "\n".join(f"      {line}" for line in BLANKS.split("\n")),
    "csv": TABS.replace("\t", ","),
    "csv, quoted decimal commas": re.sub(r"(-?\d*),(\d+)", r'"\1,\2"', COMMAS).replace("\t", ","),
}


@pytest.mark.parametrize("kind", CLOTHES)
def test_the_numbers_are_the_same_in_any_clothes(kind: str, tmp_path: Path) -> None:
    assert agreeing(read(tmp_path, CLOTHES[kind])) >= 28


def marked_up(line: str) -> str:
    """A line of a log as Stata's markup has it, columns by {col}."""
    row = re.match(r"^( *)(\S.*?) \|( +)(\S+)( +)(\S+)( +)(.*)$", line)
    if not row:
        return line
    indent, name, gap, first, gap2, second, gap3, rest = row.groups()
    begin = len(indent) + len(name) + 3 + len(gap)
    then = begin + len(first) + len(gap2)
    return (
        f"{{txt}}{{space {len(indent)}}}{name} {{c |}}{{col {begin}}}{{res}}{first}"
        f"{{col {then}}}{second}{gap3}{rest}"
    )


def test_a_log_in_statas_markup_shows_what_its_text_does(tmp_path: Path) -> None:
    marked = "\n".join(["{smcl}", "{com}{sf}{ul off}{txt}", *map(marked_up, STATA.split("\n"))])
    plain, found = read(tmp_path, STATA), read(tmp_path, marked)
    assert [(c.term, c.what, c.text) for c in found.claims] == [
        (c.term, c.what, c.text) for c in plain.claims
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PK\x03\x04rest", "a Word or Excel file"),
        (b"{\\rtf1 x}", "an RTF file, not text"),
        (b"%PDF-1.5", "a PDF"),
        (b"<!DOCTYPE html><table>", "an HTML page"),
        (b"a poem\nof two lines\n", "neither the output of a program that is read"),
        (b"x" * 30_000, "30,000 characters, which no line of a table has"),
    ],
)
def test_what_is_no_text_of_results_is_refused_with_a_hint(
    content: bytes, said: str, tmp_path: Path
) -> None:
    assert said in refused(tmp_path, content)


def test_a_table_whose_columns_are_not_known_is_refused(tmp_path: Path) -> None:
    text = TABS.replace("Estimate\tStd. Error", "Wert\tFehler")
    said = refused(tmp_path, text)
    assert "Estimates of Fixed Effects: not read: no heading" in said
    assert "Estimates of Covariance Parameters: not read" in said


def test_two_decimal_marks_in_a_file_are_refused(tmp_path: Path) -> None:
    said = refused(tmp_path, COMMAS.replace("36,721168", "36.721168"))
    assert "has a decimal comma, and '36.721168'" in said


# --- several models -------------------------------------------------------------------------------

SEVERAL = {
    "Stata": printers.stata(15),
    "SPSS": printers.spss("tabs"),
    "SAS": printers.sas,
    "HLM": printers.hlm,
    "Mplus": printers.mplus,
}


@pytest.mark.parametrize("program", SEVERAL)
def test_several_models_are_told_by_their_terms(program: str, tmp_path: Path) -> None:
    names = ("null", "coefficients", "outcomes")
    printed = read(tmp_path, printed_by(SEVERAL[program], *names))
    assert tuple(match.model for match in lined(printed).matches) == names
    assert agreeing(printed) > 50


def test_models_can_be_named_in_order_or_one_of_them(tmp_path: Path) -> None:
    printed = read(tmp_path, printed_by(printers.stata(15), "null", "outcomes"))
    both = lined(printed, ("null", "outcomes"))
    assert [match.why for match in both.matches] == ["as chosen", "as chosen"]
    one = lined(printed, ("outcomes",))
    assert [match.source for match in one.matches] == ["model 2"]
    assert [note.what for note in one.notes] == ["model 1"]
    with pytest.raises(InputError, match="2 models are chosen, the file has 1"):
        lined(read(tmp_path, STATA), ("null", "outcomes"))


def test_a_model_that_the_analysis_has_not_is_told(tmp_path: Path) -> None:
    other = printed_by(printers.stata(15), "null", "outcomes").replace("meanses", "size")
    with pytest.raises(InputError, match="no model of the analysis has the terms of 'model 2'"):
        lined(read(tmp_path, other))


# --- Stata ----------------------------------------------------------------------------------------


def test_the_log_likelihood_is_the_last_one_and_foreign_tables_are_told(tmp_path: Path) -> None:
    printed = read(tmp_path, STATA)
    terms = {(claim.term, claim.what): claim.text for claim in printed.claims}
    assert terms["loglik", "estimate"] == "-23251.832"
    assert terms["_cons", "estimate"] == "12.096"
    unread = {table.title: table.reason for table in printed.tables if table.reason}
    assert set(unread.values()) == {"not of the mixed model"}


def test_exponents_robust_errors_and_icc_of_stata(tmp_path: Path) -> None:
    text = STATA.replace(" .1012907 ", " 5.44e-16").replace(
        "     MathAch |", "             |               Robust\n     MathAch |"
    )
    text = text.split(". regress")[0] + (
        ". estat icc\n\nIntraclass correlation\n\n"
        + "-" * 78
        + "\n                       Level |        ICC   Std. err.     [95% conf. interval]\n"
        + "-" * 29
        + "+"
        + "-" * 48
        + "\n                      School |   .0608547   .0093222      .0449425    .0819206\n"
        + "-" * 78
        + "\n"
    )
    printed = read(tmp_path, text)
    terms = {(claim.term, claim.what): claim.text for claim in printed.claims}
    assert terms["var(School: ses_within)", "estimate"] == "5.44e-16"
    assert terms["icc(School)", "estimate"] == ".0608547"
    assert ("_cons", "estimate") in terms
    assert ("_cons", "se") not in terms
    assert any("robust" in note.reason for note in printed.notes)


def test_shortened_names_and_crossed_effects(tmp_path: Path) -> None:
    short = STATA.replace("ses_within", "ses_wi~n").replace("School:", "Sch~l:")
    assert agreeing(read(tmp_path, short)) == agreeing(read(tmp_path, STATA))
    crossed = STATA.replace("School: Unstructured", "_all: Identity      ").replace(
        "var(_cons)", "var(R.School)"
    )
    printed = read(tmp_path, crossed.replace("var(ses_within)", "var(R.x)"))
    assert "var(School: _cons)" in {claim.term for claim in printed.claims}


@pytest.mark.parametrize(
    ("text", "verdict"), [("293.69563", ROUNDING), ("293.6950", DIFFERS), ("293.70", "agrees")]
)
def test_a_log_likelihood_is_judged_by_the_programs_convergence(text: str, verdict: str) -> None:
    place = Location("log.txt", 1, 1)
    claim = Claim("loglik", "estimate", text, place, place)
    model = printers.fitted(HSB, "null").model
    loose = Loose("Stata mixed", {"loglik": 1e-6})
    found = as_specified(claim, model, "loglik", {"loglik": 293.69572}, False, loose)
    assert found.verdict == verdict


# --- nothing is left out in silence ---------------------------------------------------------------


def test_every_table_and_every_row_left_out_is_named(tmp_path: Path) -> None:
    text = printed_by(printers.hlm, "outcomes")
    printed = read(tmp_path, text)
    titles = {table.title: table.reason for table in printed.tables}
    assert titles["Final estimation of fixed effects (with robust standard errors)"]
    assert {"d.f. and p-values", "chi-square tests of variances"} <= {
        note.what for note in printed.notes
    }
    broken = TABS.replace("Residual\t\t36.721168\t.626134", "Odd parameter\t\t36.721168\t.626134")
    notes = read(tmp_path, broken).notes
    assert [note.what for note in notes if "Odd" in note.what] == ["Odd parameter"]


def test_df_by_containment_are_no_difference(tmp_path: Path) -> None:
    text = printed_by(printers.sas, "null").replace("Satterthwaite", "Containment")
    printed = read(tmp_path, text)
    assert not any(claim.what in {"df", "p"} for claim in printed.claims)
    assert any("Containment" in note.reason for note in printed.notes)
