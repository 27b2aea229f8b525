"""Designs that cannot give what is asked of them: a located error, or a report that says why.

Each case is a small table and the models asked of it. What must not come is a traceback, a NaN, or
a number where there is none.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support import RunSpec, check_sound

from mlmreport.errors import InputError
from mlmreport.quantities import Results
from mlmreport.report.document import compose
from mlmreport.report.houses import find

pytestmark = pytest.mark.r

SPEC = """\
title: A degenerate case
data: {{file: d.csv}}
levels: [{{name: pupil}}, {{name: school, id: g}}]
outcome: {{name: y, label: score, unit: points}}
predictors:
  x: {{level: pupil, label: effort}}
{predictors}
questions: [{{id: Q1, text: "Does effort matter?", terms: [x]}}]
models:
  list:
    - {{id: "null", fixed: [], random: {{school: [1]}}}}
    - {{id: last, fixed: [{fixed}], random: {{school: [{random}]}}}}
inference: {{variance_ci: none, icc_bootstrap: 0}}
estimation: {{slope_simulations: 0, slope_tests: 1}}
"""


def pupils(groups: int = 8, size: int = 5, between: float = 1.0) -> pd.DataFrame:
    """Pupils in schools of equal size, with a predictor of each level."""
    rng = np.random.default_rng(3)
    g = np.repeat(np.arange(groups), size)
    frame = pd.DataFrame({
        "g": [f"s{i}" for i in g],
        "x": rng.normal(size=len(g)).round(3),
        "z": rng.normal(size=groups).round(3)[g],
        "f": np.where(np.arange(len(g)) % 2, "a", "b"),
        "k": [f"k{i}" for i in g],
    })  # fmt: skip
    noise = rng.normal(size=len(g)) + between * rng.normal(size=groups)[g]
    return frame.assign(y=(5 + 0.5 * frame["x"] + noise).round(3))


@dataclass(frozen=True)
class Case:
    """A table, the terms asked of it, and what has to be said."""

    change: Callable[[pd.DataFrame], pd.DataFrame]
    says: tuple[str, ...]
    fixed: str = "x"
    random: str = "1"
    predictors: str = ""

    def spec(self) -> str:
        return SPEC.format(fixed=self.fixed, random=self.random, predictors=self.predictors)


def same(frame: pd.DataFrame) -> pd.DataFrame:
    return frame


REFUSED = {
    "one row a group": Case(
        lambda d: d.assign(g=[f"s{i}" for i in range(len(d))]),
        ("spec.yml:3:", "every school has one row only"),
    ),
    "a predictor constant within groups": Case(
        lambda d: d.assign(x=d["z"]),
        ("spec.yml:6:", "is the same for all pupils of every school", "level: school"),
    ),
    "a predictor without variance": Case(
        lambda d: d.assign(x=2.0), ("spec.yml:6:", "has the same value throughout")
    ),
    "an outcome without variance": Case(
        lambda d: d.assign(y=2.0), ("spec.yml:4:", "the outcome 'y' is constant")
    ),
    "an outcome without values": Case(
        lambda d: d.assign(y=np.nan), ("spec.yml:4:", "'y' has no values at all")
    ),
    "one group": Case(
        lambda d: d.assign(g="s1"), ("spec.yml:3:", "there is only one school in the data")
    ),
    "more random effects than observations": Case(
        lambda d: d.groupby("g").head(2).assign(w=lambda d: d["x"] ** 2),
        ("spec.yml:12:", "number of random effects (=24)"),
        fixed="x, w", random="1, x, w",
        predictors="  w: {level: pupil}",
    ),
    "as many random effects as observations": Case(
        lambda d: d.groupby("g").head(2), ("spec.yml:12:", "number of random effects (=16)"),
        random="1, x",
    ),
    "scales too far apart": Case(
        lambda d: d.assign(x=d["x"] * 1e9), ("spec.yml:12:", "scales of its predictors"),
        random="1, x",
    ),
    "an outcome of the groups": Case(
        lambda d: d.assign(y=d["z"]),
        ("spec.yml:4:", "the outcome 'y' is the same for all pupils of every school"),
    ),
    "an outcome that the predictor gives": Case(
        lambda d: d.assign(y=3 + 2 * d["x"]), ("spec.yml:4:", "an exact function of 'x'")
    ),
    "two groups and their predictor": Case(
        lambda d: d[d["g"].isin(["s0", "s1"])], ("spec.yml:", "2 of its coefficients"),
        fixed="x, z", predictors="  z: {level: school}",
    ),
    "a category a group": Case(
        same, ("spec.yml:7:", "every school has a category of its own"), fixed="x, k",
        predictors="  k: {level: school, type: category}",
    ),
    "a coefficient more than groups": Case(
        lambda d: d.assign(w=np.repeat(np.arange(8) ** 2, 5), v=np.repeat(np.arange(8) % 3, 5)),
        ("spec.yml:14:", "8 of its coefficients", "the 8 groups of 'g'"),
        fixed="x, z, w, v, z:w, z:v, w:v, z:w:v",
        predictors="  z: {level: school}\n  w: {level: school}\n  v: {level: school}",
    ),
}  # fmt: skip

REPORTED = {
    "mostly groups of one": Case(
        lambda d: d[(d["g"] == "s0") | (d.groupby("g").cumcount() == 0)], ()
    ),
    "two groups": Case(lambda d: d[d["g"].isin(["s0", "s1"])], ()),
    "three groups with a slope": Case(
        lambda d: d[d["g"].isin(["s0", "s1", "s2"])], (), random="1, x"
    ),
    "collinear predictors": Case(
        lambda d: d.assign(twice=2 * d["x"]), (), fixed="x, twice",
        predictors="  twice: {level: pupil}",
    ),
    "an empty category": Case(
        same, (), fixed="x, f",
        predictors="  f: {level: pupil, type: category, categories: {a: A, b: B, c: C}}",
    ),
    "as many coefficients as groups": Case(
        lambda d: d.assign(k=np.repeat([f"k{i // 2}" for i in range(8)], 5)), (), fixed="x, k, z",
        predictors="  k: {level: school, type: category}\n  z: {level: school}",
    ),
    "equal means in all groups": Case(
        lambda d: d.assign(y=d["y"] - d.groupby("g")["y"].transform("mean") + 5), ()
    ),
    "a constant within all groups but one": Case(
        lambda d: d.assign(x=d["z"].where(d["g"] != "s0", d["x"])), (), random="1, x"
    ),
    "an outcome of two values": Case(lambda d: d.assign(y=(d["y"] > 5) * 1.0), ()),
    "one outlier of a million": Case(lambda d: d.assign(y=d["y"].where(d.index != 3, 1e6)), ()),
    "an outcome of tiny numbers": Case(lambda d: d.assign(y=d["y"] * 1e-12), ()),
    "predictors of scales apart": Case(lambda d: d.assign(x=d["x"] * 1e3), (), random="1, x"),
}  # fmt: skip


def text_of(results: Results) -> str:
    """The report as a reader sees it: no code, no data of the hover cards."""
    page = compose(results, find("base", Path.cwd()), ("html",))
    page = re.sub(r"^```\{?\.?r.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL)
    page = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    return re.sub(r"<[^>]*>|\\", "", page)


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str, run_spec: RunSpec) -> None:
    case = REFUSED[name]
    with pytest.raises(InputError) as refused:
        run_spec(case.spec(), {"d.csv": case.change(pupils())})
    for text in case.says:
        assert text.replace("spec.yml", "analysis.yml") in str(refused.value)


@pytest.mark.parametrize("name", REPORTED)
def test_reported(name: str, run_spec: RunSpec) -> None:
    case = REPORTED[name]
    found = run_spec(case.spec(), {"d.csv": case.change(pupils())})
    check_sound(found)
    page = text_of(found)
    assert not re.search(r"\bNaN?\b(?!\.)|\bNone\b|\bInf\b", page)
    for text in case.says:
        assert text in page
