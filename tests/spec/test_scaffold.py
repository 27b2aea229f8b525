"""What `mlmreport new` writes: read back, it must say what the data say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mlmreport.errors import InputError
from mlmreport.spec.scaffold import MAX_CATEGORIES, scaffold
from mlmreport.spec.schema import AnalysisSpec

STUDENTS = Path(__file__).parents[2] / "analyses" / "school-achievement"


def written(frame, outcome="y", groups=("g",), path="d.csv"):
    """The spec text and what YAML reads from it, once the schema has accepted it."""
    text = scaffold(frame, path, outcome, list(groups))
    loaded = yaml.safe_load(text)
    AnalysisSpec.model_validate(loaded)
    return text, loaded


def nested(n_groups=20, size=6, seed=1):
    rng = np.random.default_rng(seed)
    n = n_groups * size
    return pd.DataFrame({"g": np.repeat(np.arange(n_groups), size), "y": rng.normal(size=n)})


def test_the_layout_of_the_school_data():
    frame = pd.read_csv(STUDENTS / "students.csv").merge(
        pd.read_csv(STUDENTS / "schools.csv")[["school", "sector"]], on="school"
    )
    text = scaffold(frame, "students.csv", "mathach", ["school"])
    assert text == (
        "# yaml-language-server: $schema=analysis.schema.json\n"
        'title: "mathach by school: a multilevel analysis"\n'
        "data:\n"
        "  file: students.csv\n"
        "levels:            # lowest first\n"
        "  - name: student  # 7,185 rows\n"
        "  - name: school  # 160 groups\n"
        "    id: school\n"
        "outcome:\n"
        "  name: mathach\n"
        "  label: Mathach\n"
        "  # unit: points\n"
        "predictors:\n"
        "  ses: {level: student, type: number, label: Ses, center: group mean, contextual: true}\n"
        "  minority: {level: student, type: category, reference: 'No', label: Minority}\n"
        "  sex: {level: student, type: category, reference: Female, label: Sex}\n"
        "  sector: {level: school, type: category, reference: Public, label: Sector}\n"
        "questions:\n"
        "  - id: Q1\n"
        "    text: 'How is Ses related to Mathach?'\n"
        "    terms: [ses]\n"
        "models:\n"
        "  stepwise:\n"
        "    random_slopes: []  # lower-level predictors whose effect varies over groups\n"
        "    cross_level: []    # interactions between levels, such as ses:sector\n"
        "estimation: {method: REML}\n"
        "inference: {df: satterthwaite, level: 0.95}\n"
    )


def test_nested_levels_are_ordered_lowest_first_whatever_the_order_given():
    frame = nested()
    frame["s"] = frame["g"] // 5
    frame["funds"] = frame["s"].map({0: 1.5, 1: 2.5, 2: 0.5, 3: 3.5})
    frame["teacher_age"] = frame["g"] * 1.25 + frame["g"] % 3
    _, spec = written(frame, groups=("s", "g"))
    assert [level["name"] for level in spec["levels"]] == ["observation", "g", "s"]
    assert spec["predictors"]["funds"]["level"] == "s"
    assert spec["predictors"]["teacher_age"]["level"] == "g"
    assert "within" not in spec["levels"][1]
    assert "structure" not in spec


def test_ids_that_repeat_between_groups_are_read_as_nested_and_said_so():
    frame = nested(20, 6)
    frame["school"] = frame["g"] // 4
    frame["class"] = frame["g"] % 4
    frame["room"] = frame["g"] * 1.5 + 0.25
    text, spec = written(frame[["school", "class", "room", "y"]], groups=("class", "school"))
    student, klass, school = spec["levels"]
    assert (student["name"], klass["within"], school["id"]) == ("student", "school", "school")
    assert "# 20 groups" in text
    assert "the levels are crossed" in text
    assert spec["predictors"]["room"]["level"] == "class"


def test_crossed_factors_are_told_apart_from_nested_ones():
    subject, item = np.divmod(np.arange(20 * 12), 12)
    rng = np.random.default_rng(2)
    frame = pd.DataFrame({"subject": subject, "item": item, "rt": rng.normal(size=240)})
    frame["length"] = frame["item"].map(lambda i: [4.5, 6.25, 9.0][i % 3])
    frame["trial_noise"] = rng.normal(size=240)
    text, spec = written(frame, "rt", ("subject", "item"))
    assert spec["structure"] == "crossed"
    assert "subject and item are crossed" in text
    assert spec["predictors"]["length"]["level"] == "item"
    assert spec["predictors"]["trial_noise"]["level"] == "observation"


def test_columns_that_are_no_predictors_are_left_out_with_the_reason():
    frame = nested()
    n = len(frame)
    frame["row"] = np.arange(1, n + 1)
    frame["pupil_id"] = [f"p{i}" for i in range(n)]
    frame["gone"] = np.nan
    frame["same"] = "x"
    frame["free_text"] = [f"t{i % (MAX_CATEGORIES + 1)}" for i in range(n)]
    frame["when"] = pd.Timestamp("2020-01-01") + pd.to_timedelta(np.arange(n), unit="D")
    frame["bad`name"] = np.arange(n) % 7
    frame["g_nr"] = frame["g"] + 100
    text, spec = written(frame)
    assert spec["predictors"] == {}
    assert spec["questions"] == []
    for name, reason in {
        "row": "looks like an id",
        "pupil_id": "looks like an id",
        "g_nr": "looks like an id",
        "gone": "no values",
        "same": "constant",
        "free_text": "text with 51 values",
        "when": "date",
        "bad`name": "cannot be used",
    }.items():
        line = next(line for line in text.splitlines() if f"left out: {name}" in line)
        assert reason in line


def test_a_column_that_is_the_group_mean_of_another_is_left_out():
    frame = nested()
    frame["ses"] = np.random.default_rng(3).normal(size=len(frame)) + frame["g"]
    frame["meanses"] = frame.groupby("g")["ses"].transform("mean").round(3)
    text, spec = written(frame)
    assert list(spec["predictors"]) == ["ses"]
    assert "left out: meanses (it is the group mean of ses" in text


def test_time_that_is_the_same_for_every_group_is_not_centred():
    frame = nested()
    frame["day"] = np.tile(np.arange(6), 20)
    _, spec = written(frame)
    assert spec["predictors"]["day"] == {"level": "observation", "type": "number", "label": "Day"}


def test_references_are_most_frequent_and_keep_their_type():
    frame = nested()
    n = len(frame)
    frame["yes"] = np.where(np.arange(n) % 3, "No", "Yes")
    frame["flag"] = np.arange(n) % 3 == 0
    frame["code"] = pd.Categorical(np.where(np.arange(n) % 4, "007", "1"), categories=["1", "007"])
    frame["gap"] = np.where(np.arange(n) % 5, "on", None)
    frame.loc[frame.index % 7 == 1, "gap"] = "off"
    text, spec = written(frame)
    references = {name: p["reference"] for name, p in spec["predictors"].items()}
    assert references == {"yes": "No", "flag": False, "code": "007", "gap": "on"}
    line = next(line for line in text.splitlines() if line.startswith("  gap:"))
    assert line.endswith(f"  # {frame['gap'].isna().sum()} missing")


def test_warnings_stand_in_comments():
    frame = nested(3, 4)
    frame.loc[0, "y"] = np.nan
    frame["g"] = frame["g"].astype("float64")
    frame.loc[1, "g"] = np.nan
    text, _ = written(frame)
    assert "few groups" in text
    assert "1 row has no value" in text
    assert "1 row has no g" in text
    two, _ = written(frame.assign(y=np.arange(12) % 2))
    assert "two values at most" in two
    words, _ = written(frame.assign(y="a"))
    assert "needs a numeric outcome" in words


def test_the_level_name_drops_an_id_ending():
    frame = nested().rename(columns={"g": "school_id"})
    _, spec = written(frame, groups=("school_id",))
    assert spec["levels"] == [{"name": "student"}, {"name": "school", "id": "school_id"}]


@pytest.mark.parametrize(
    ("outcome", "groups", "said"),
    [
        ("yy", ["g"], "no column 'yy'"),
        ("y", ["G", "z"], "no column 'z'"),
        ("y", ["y"], "named twice"),
        ("y", ["g", "g"], "named twice"),
        ("y", [], "no grouping column"),
    ],
)
def test_columns_that_are_not_there_are_all_reported(outcome, groups, said):
    with pytest.raises(InputError, match=said):
        scaffold(nested(), "d.csv", outcome, groups)


def test_unknown_columns_come_with_near_misses():
    with pytest.raises(InputError) as caught:
        scaffold(nested().rename(columns={"g": "school"}), "d.csv", "yy", ["schol"])
    assert len(caught.value.problems) == 2
    assert "did you mean 'school'?" in str(caught.value)


@settings(max_examples=150, deadline=None)
@given(
    names=st.lists(st.text(min_size=1, max_size=30), min_size=5, max_size=5, unique=True),
    value=st.text(min_size=1, max_size=20),
    path=st.text(min_size=1, max_size=40),
)
def test_any_name_and_value_is_read_back_as_it_was(names, value, path):
    group, outcome, number, text, upper = names
    frame = nested(12, 5).set_axis([group, outcome], axis=1)
    n = len(frame)
    frame[number] = np.random.default_rng(4).normal(size=n)
    frame[text] = [value if i % 3 else f"{value}-" for i in range(n)]
    frame[upper] = frame[group].map(lambda g: f"{value}{g % 2}")
    loaded = yaml.safe_load(scaffold(frame, path, outcome, [group]))
    assert loaded["data"]["file"] == path
    assert loaded["outcome"]["name"] == outcome
    assert loaded["levels"][1]["id"] == group
    assert loaded["levels"][0]["name"] != loaded["levels"][1]["name"]
    bad = set("`\\") | {chr(i) for i in range(32)}
    expected = [name for name in (number, text, upper) if not bad & set(name)]
    assert list(loaded["predictors"]) == expected
    if text in expected:
        assert loaded["predictors"][text]["reference"] == value
    if upper in expected:
        assert loaded["predictors"][upper]["level"] == loaded["levels"][1]["name"]
