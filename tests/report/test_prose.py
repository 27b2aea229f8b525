"""The sentences of interpretation, inference and summary for outcomes of every sort, word by word.

Each case is a small analysis made to come out in one way. A change of a template shows as a
difference of the stored text, to be read before it is accepted.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

import numpy as np
import pandas as pd
import pytest
from support import RunSpec, check_sound
from syrupy.assertion import SnapshotAssertion

from mlmreport.quantities import Results
from mlmreport.report.document import compose
from mlmreport.report.houses import find

pytestmark = pytest.mark.r

HEAD = """
    title: A case
    data: {file: d.csv}
    levels: [{name: pupil}, {name: class, plural: classes, id: class}]
    inference: {variance_ci: none}
    """
PLAIN = "outcome: {name: y, label: score, unit: points}\n"


def classes(
    seed: int = 1, *, groups: int = 12, size: int = 10, between: float = 1.0, **effects: float
) -> pd.DataFrame:
    """Pupils in classes, with exactly the effects asked for in expectation."""
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(groups), size)
    level = rng.normal(size=groups)[g]
    x = rng.normal(size=groups * size) + level
    frame = pd.DataFrame({
        "class": [f"c{i:02d}" for i in g],
        "x": x,
        "z": rng.normal(size=groups)[g],
        "f": rng.choice(["a", "b", "c"], size=groups * size),
        "h": np.where(g % 2 == 0, "old", "new"),
    })  # fmt: skip
    slope = effects.get("x", 0.0) + effects.get("slope_sd", 0.0) * rng.normal(size=groups)[g]
    frame["y"] = (
        10
        + slope * x
        + effects.get("mean", 0.0) * frame.groupby("class")["x"].transform("mean")
        + effects.get("square", 0.0) * x**2
        + effects.get("xz", 0.0) * x * frame["z"]
        + effects.get("f", 0.0) * (frame["f"] == "b")
        + effects.get("fh", 0.0) * (frame["f"] == "b") * (frame["h"] == "old")
        + between * rng.normal(size=groups)[g]
        + effects.get("noise", 1.0) * rng.normal(size=groups * size)
    )
    return frame


def flat(frame: pd.DataFrame) -> pd.DataFrame:
    """The same with equal means in all classes."""
    means = frame.groupby("class")["y"].transform("mean")
    return frame.assign(y=frame["y"] - means + 10)


def spec(body: str, outcome: str = PLAIN) -> str:
    return dedent(HEAD) + outcome + dedent(body)


X = "predictors: {x: {level: pupil, label: effort, unit: hour}}\n"
CONTEXT = (
    "predictors: {x: {level: pupil, label: effort, unit: hour, center: CENTER, contextual: true}}\n"
)
ASK = "questions: [{id: Q1, text: 'Does effort matter?', terms: [x]}]\n"


def models(fixed: str, random: str = "[1]") -> str:
    return (
        "models:\n  list:\n"
        '    - {id: "null", fixed: [], random: {class: [1]}}\n'
        f"    - {{id: final, fixed: {fixed}, random: {{class: {random}}}}}\n"
    )


THREE = """\
models:
  list:
    - {id: "null", fixed: [], random: {class: [1], school: [1]}}
    - {id: final, fixed: [x], random: {class: [1], school: [1]}}
"""

MORE = {
    "correlation at its limit": "Models|Intraclass",
    "does not converge": "Models|Intraclass",
    "an outcome of two values": "Assumptions",
    "three levels": "Structure|Research|Assumptions|Intraclass|Models|Fit",
    "cross-level interaction": "Structure|Research|Assumptions|Intraclass|Models|Fit",
}
"""Cases of which further sections are stored."""

CASES: Mapping[str, tuple[str, pd.DataFrame]] = {
    "positive and clear": (spec(X + ASK + models("[x]")), classes(x=0.8)),
    "negative and clear": (spec(X + ASK + models("[x]")), classes(x=-0.8)),
    "not clear": (spec(X + ASK + models("[x]")), classes(3, x=0.0)),
    "no predictors": (
        spec("questions: [{id: Q1, text: 'Do classes differ?', kind: variance}]\n"
             'models: {list: [{id: "null", fixed: [], random: {class: [1]}}]}\n'),
        classes(),
    ),
    "singular": (spec(X + ASK + models("[x]")), flat(classes(5))),
    "an outcome of two values": (
        spec(X + ASK + models("[x]")),
        classes(9, groups=30, x=0.5).assign(y=lambda d: (d["y"] > d["y"].median()) * 1),
    ),
    "a small ICC": (spec(X + ASK + models("[x]")), classes(8, groups=40, between=0.25)),
    "two groups": (spec(X + ASK + models("[x]")), classes(2, groups=2, size=30, x=0.5)),
    "random slopes": (
        spec(X + ASK + models("[x]", "[1, x]")), classes(4, groups=20, x=0.5, slope_sd=0.7)
    ),
    "contextual, centred at the group mean": (
        spec(CONTEXT.replace("CENTER", "group mean") + models("[x, x_mean]")),
        classes(6, groups=30, x=0.5, mean=1.0, between=0.5),
    ),
    "contextual, not centred": (
        spec(CONTEXT.replace("CENTER", "none") + models("[x, x_mean]")),
        classes(6, groups=30, x=0.5, mean=1.0, between=0.5),
    ),
    "cross-level interaction": (
        spec(dedent("""
        predictors:
          x: {level: pupil, label: effort, unit: hour, center: group mean}
          z: {level: class, label: climate}
        questions: [{id: Q1, text: "Does climate change what effort does?", terms: ["x:z"]}]
        """) + models('["x*z"]', "[1, x]")),
        classes(9, groups=30, x=0.1, xz=0.5, slope_sd=0.2),
    ),
    "a square": (
        spec(X + models('[x, "I(x^2)"]')), classes(10, groups=20, x=0.3, square=0.4)
    ),
    "a log outcome": (
        spec(X + ASK + models("[x]"), "outcome: {name: y, label: income, unit: euros, "
             "transform: log}\n"),
        classes(11, x=0.1, between=0.2, noise=0.3).assign(y=lambda d: np.exp(d["y"] / 5)),
    ),
    "two factors that interact": (
        spec(dedent("""
        predictors:
          f: {level: pupil, type: category, label: method}
          h: {level: class, type: category, label: book}
        questions: [{id: Q1, text: "Which method is best?", terms: [f, "f:h"]}]
        """) + models('["f*h"]')),
        classes(12, f=1.0, fh=1.5),
    ),
    "a variance hardly above zero": (
        spec(X + ASK + models("[x]")), classes(5, groups=20, x=0.5, between=0.25)
    ),
    "correlation at its limit": (
        spec(X + ASK + models("[x]", "[1, x]")),
        classes(1, groups=9, size=4, x=0.3, slope_sd=0.3, between=1.0),
    ),
    "many rows and a tiny effect": (
        spec(X + ASK + models("[x]")).replace(
            "variance_ci: none", "variance_ci: none, df_comparison: 0"
        ),
        classes(3, groups=60, size=100, x=0.05),
    ),
    "three levels": (
        spec(X + ASK + THREE).replace(
            "plural: classes, id: class}", "plural: classes, id: class}, {name: school, id: school}"
        ),
        classes(16, groups=24, x=0.5).assign(school=lambda d: "s" + (d.index // 40).astype(str)),
    ),
    "crossed": (
        spec(X + ASK + "structure: crossed\n" + THREE).replace(
            "plural: classes, id: class}", "plural: classes, id: class}, {name: area, id: school}"
        ).replace("school: [1]", "area: [1]"),
        classes(17, groups=12, x=0.5).assign(school=lambda d: "s" + (d.index % 10).astype(str)),
    ),
    "does not converge": (
        spec(X + ASK + models("[x]", "[1, x]")),
        classes(15, groups=15, x=0.001, slope_sd=0.0005).assign(x=lambda d: 1000 * (d["x"] + 40)),
    ),
    "families of tests": (
        spec(dedent("""
        predictors: {x: {level: pupil, label: effort}, z: {level: class, label: climate}}
        questions:
          - {id: Q1, text: "Does effort matter?", terms: [x], family: main}
          - {id: Q2, text: "Does climate matter?", terms: [z], family: main}
          - {id: Q3, text: "And anything else?", terms: [x]}
        """) + models("[x, z]")).replace(
            "variance_ci: none", "variance_ci: none, correction: holm, df_comparison: 0"
        ),
        classes(13, groups=20, x=0.2),
    ),
}  # fmt: skip


def prose(results: Results, sections: str = "Summary|Interpretation|Inference") -> str:
    """Sections as a reader sees them, tables and figures left out."""
    text = compose(results, find("base", Path.cwd()), ("html",))
    parts = re.findall(rf"^# (?:{sections}) .*?(?=^# |\Z)", text, re.MULTILINE | re.DOTALL)
    text = "\n".join(part.partition("**Limits.**")[0] for part in parts)
    text = re.sub(r"^::: \{#tbl.*?^:::$", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^::: \{\.(?:content|step).*?^:::$", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^!\[.*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"</?(?:span|sup)[^>]*>", "", text)
    text = html.unescape(re.sub(r"\\(.)", r"\1", text))
    return re.sub(r"\n{2,}", "\n\n", text).strip() + "\n"


@pytest.mark.parametrize("name", CASES)
def test_sentences(name: str, run_spec: RunSpec, snapshot: SnapshotAssertion) -> None:
    text, table = CASES[name]
    found = run_spec(text, {"d.csv": table})
    check_sound(found)
    said = prose(found)
    if name in MORE:
        said += prose(found, MORE[name])
    assert not re.search(r"NaN|None|\(\)|\( |  of  |\bnan\b|True|False| ,| \.(?!\d)", said), said
    assert said == snapshot
