"""Contrasts of categories: the matrices of R, R's names, and what each coefficient is."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from mlmreport.errors import InputError
from mlmreport.spec.contrasts import coding
from mlmreport.spec.reader import parse
from mlmreport.spec.sequence import plan

KINDS = ("polynomial", "sum", "helmert", "successive differences")


def test_a_coefficient_is_what_its_meaning_says() -> None:
    means = np.array([3.0, 5.0, 4.0, 8.0])
    grand = means.mean()
    expected = {
        "sum": means[:3] - grand,
        "helmert": [1.0, (4 - 4) / 3, (8 - 4) / 4],
        "successive differences": np.diff(means),
    }
    for kind, coefficients in expected.items():
        design = np.column_stack([np.ones(4), np.array(coding(kind, list("abcd")).values)])
        found = np.linalg.solve(design, means)
        assert found == pytest.approx([grand, *coefficients])


def test_names_labels_and_meanings() -> None:
    made = coding("polynomial", ["low", "middle", "high", "top", "peak"])
    assert made.names == (".L", ".Q", ".C", "^4")
    assert made.labels == ("linear trend", "quadratic trend", "cubic trend", "trend of degree 4")
    made = coding("helmert", ["a", "b", "c"])
    assert made.names == ("1", "2")
    assert made.labels == ("Helmert 1, b against a", "Helmert 2, c against the mean of a, b")
    assert made.meanings[1] == "one part in 3 of the difference of c from the mean of a, b"
    assert coding("successive differences", ["a", "b", "c"]).names == ("b-a", "c-b")
    assert coding("sum", ["a", "b", "c"]).labels[1] == "b − mean of all categories"


IN_R = """
for (n in c(2, 3, 5, 12)) {
  sdif <- col(matrix(nrow = n, ncol = n - 1)) - n * upper.tri(matrix(0, n, n))[, -1]
  if (requireNamespace("MASS", quietly = TRUE)) {
    stopifnot(all.equal(unname(MASS::contr.sdif(n)), sdif / n))
  }
  made <- list(contr.poly(n), contr.sum(n), contr.helmert(n), sdif / n)
  for (x in made) cat(sprintf("%.17g", t(x)), fill = 1e6)
}
"""


@pytest.mark.r
def test_matrices_are_those_of_r() -> None:
    command = ["Rscript", "--vanilla", "-e", IN_R]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    lines = iter(done.stdout.splitlines())
    for size in (2, 3, 5, 12):
        for kind in KINDS:
            made = coding(kind, list(map(str, range(size))))
            found, expected = np.ravel(made.values), np.array(next(lines).split(), dtype=float)
            assert np.abs(found - expected).max() < 1e-11, (size, kind)
            assert len(made.names) == len(made.labels) == len(made.meanings) == size - 1


SPEC = """\
title: T
data: {file: d.csv}
levels: [{name: pupil}, {name: school, id: school}]
outcome: {name: y}
predictors:
  grade: {level: pupil, ENTRY}
models: {stepwise: {}}
"""


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("contrasts: sum", "only a category has contrasts"),
        ("ordered: true", "only a category has contrasts or an order"),
        ("type: category, ordered: true, reference: a", "polynomial contrasts have no reference"),
        ("type: category, contrasts: helmert, reference: a", "helmert contrasts have no reference"),
        ("type: category, contrasts: helmet", "'helmet' is not one of treatment, polynomial"),
    ],
)
def test_what_has_no_contrasts_is_told(entry: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        plan(parse(SPEC.replace("ENTRY", entry), Path("a.yml")))


def test_an_order_means_polynomials_unless_contrasts_are_named() -> None:
    def kind(entry: str) -> str:
        text = SPEC.replace("ENTRY", f"type: category{entry}")
        return parse(text, Path("a.yml")).spec.predictors["grade"].coding

    assert kind("") == "treatment"
    assert kind(", ordered: true") == "polynomial"
    assert kind(", ordered: true, contrasts: successive differences") == "successive differences"
    assert kind(", ordered: true, contrasts: treatment, reference: a") == "treatment"
