"""From tables to the analysis sample: joining, coding, deleting, transforming, centring."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlmreport.data import sources
from mlmreport.data.prepare import PreparedData, prepare
from mlmreport.errors import InputError
from mlmreport.spec.contrasts import codings_of
from mlmreport.spec.reader import parse
from mlmreport.spec.sequence import outline, plan

SPEC = """\
title: T
data: {file: d.csv}
levels: [{name: pupil}, {name: school, id: school}]
outcome: {name: y}
predictors:
  ses: {level: pupil, center: group mean, contextual: true}
  kind: {level: school, type: category}
  size: {level: school, center: grand mean}
models: {stepwise: {}}
"""


def table(groups: int = 4, rows: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    group = np.repeat(np.arange(groups), rows)
    return pd.DataFrame(
        {
            "school": group + 7,
            "y": rng.normal(size=len(group)),
            "ses": rng.normal(size=len(group)),
            "kind": np.array(["b", "a"])[group % 2],
            "size": rng.normal(size=groups)[group],
        }
    )


@pytest.fixture
def made(tmp_path: Path) -> Any:
    """Prepare a spec with its tables."""

    def make(text: str, tables: Mapping[str, pd.DataFrame] | pd.DataFrame) -> PreparedData:
        tables = {"d.csv": tables} if isinstance(tables, pd.DataFrame) else tables
        for name, frame in tables.items():
            if name.endswith(".parquet"):
                frame.to_parquet(tmp_path / name)
            else:
                frame.to_csv(tmp_path / name, index=False)
        document = parse(text, tmp_path / "a.yml")
        planned, problems = outline(document)
        assert planned is not None
        return prepare(document, planned, None, problems)

    return make


def told(make: Any, *arguments: Any) -> str:
    with pytest.raises(InputError) as caught:
        make(*arguments)
    assert all(problem.location is not None for problem in caught.value.problems)
    return str(caught.value)


# --- centring: what holds for any data -----------------------------------------------------------

numbers = st.floats(-1e6, 1e6, allow_nan=False, width=32)


@st.composite
def samples(draw: st.DrawFn) -> pd.DataFrame:
    """Rows in any order, in two to six schools of unequal sizes, with gaps."""
    schools = draw(st.lists(st.integers(1, 6), min_size=6, max_size=40))
    n = len(schools)
    column = st.lists(st.one_of(numbers, st.none()), min_size=n, max_size=n)
    sizes = draw(st.lists(numbers, min_size=6, max_size=6))
    return pd.DataFrame(
        {
            "school": schools,
            "y": np.array(draw(column), dtype=float),
            "ses": np.array(draw(column), dtype=float),
            "kind": np.where(np.array(schools) % 2, "odd", "even"),
            "size": [sizes[school - 1] for school in schools],
            "row": np.arange(n, dtype=float),
        }
    )


@settings(
    max_examples=60, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(samples())
def test_what_holds_for_any_sample(tmp_path: Path, frame: pd.DataFrame) -> None:
    frame.to_parquet(tmp_path / "d.parquet")
    text = SPEC.replace("d.csv", "d.parquet").replace("  kind", "  row: {level: pupil}\n  kind")
    document = parse(text, tmp_path / "a.yml")
    try:
        found = prepare(document, plan(document))
    except InputError as error:
        problems = error.problems
        found = None
    if found is None:
        assert problems
        assert all(problem.location for problem in problems)
        return
    kept, scale = found.frame, float(np.abs(frame["ses"]).max())
    groups = kept.groupby("school", observed=True)
    assert not kept.isna().any().any()
    assert np.abs(groups["ses_within"].mean()).max() <= 1e-9 * scale
    assert np.allclose(kept["ses_within"] + kept["ses_mean"], kept["ses"], atol=1e-9 * scale)
    assert (groups["ses_mean"].nunique() == 1).all()
    units = kept.drop_duplicates("school")
    assert np.isclose(units["size_c"].mean(), 0, atol=1e-9 * np.abs(frame["size"]).max())
    assert np.allclose(kept["size"] - kept["size_c"], units["size"].mean())
    assert kept["row"].is_monotonic_increasing
    complete = frame.dropna(subset=["y", "ses"])
    assert list(kept["row"]) == list(complete["row"])
    assert list(kept["school"].astype(int)) == list(complete["school"])
    assert found.rows_read - len(kept) == len(frame) - len(complete)
    assert found.missing["ses"] == frame["ses"].isna().sum()


def test_means_are_taken_after_deletion_and_the_steps_say_so(made: Any) -> None:
    frame = table()
    frame.loc[0, "y"] = np.nan
    found = made(SPEC, frame)
    expected = frame["ses"][1:].groupby(frame["school"][1:]).transform("mean")
    assert np.allclose(found.frame["ses_mean"], expected)
    said = [step.action for step in found.steps if "ses" in step.action]
    assert any("over the rows of the analysis sample" in action for action in said)


def test_three_levels_take_means_over_the_units_of_their_own_level(made: Any) -> None:
    frame = pd.DataFrame(
        {
            "school": [1, 1, 1, 1, 2, 2, 2, 2],
            "class": [1, 1, 1, 2, 3, 4, 4, 4],
            "z": [10.0, 10, 10, 20, 30, 50, 50, 50],
            "y": np.arange(8) % 3,
        }
    )
    text = """\
title: T
data: {file: d.csv}
levels: [{name: pupil}, {name: class, id: class}, {name: school, id: school}]
outcome: {name: y}
predictors: {z: {level: class, center: group mean, contextual: true}}
models: {stepwise: {}}
"""
    found = made(text, frame).frame
    assert list(found["z_mean"]) == [15.0] * 4 + [40.0] * 4
    assert list(found["z_within"]) == [-5, -5, -5, 5, -10, 10, 10, 10]
    grand = made(text.replace("group mean, contextual: true", "grand mean"), frame).frame
    assert list(grand["z_c"]) == [v - 27.5 for v in frame["z"]]


def test_transformations_come_before_centring(made: Any) -> None:
    frame = table().assign(ses=np.arange(12) + 1.0)
    text = SPEC.replace("{level: pupil,", "{level: pupil, transform: log,")
    text = text.replace("{name: y}", "{name: y, transform: sqrt}")
    found = made(text, frame.assign(y=np.arange(12.0))).frame
    logs = np.log(frame["ses"])
    assert np.allclose(
        found["log_ses_within"], logs - logs.groupby(frame["school"]).transform("mean")
    )
    assert np.allclose(found["sqrt_y"], np.sqrt(np.arange(12)))
    assert "log() of 'ses' cannot be taken in 1 rows" in told(made, text, table().assign(
        ses=np.arange(12.0), y=np.arange(12.0)))  # fmt: skip


# --- ids -----------------------------------------------------------------------------------------


def ids(found: PreparedData) -> list[str]:
    return list(found.frame["school"].cat.categories)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([10, 9, 2, 1], ["1", "2", "9", "10"]),
        ([1.0, 2.0, 3.0, 4.0], ["1", "2", "3", "4"]),
        (["s10", "s9", "b", "0"], ["0", "b", "s9", "s10"]),
        (["a b", "a,b", "ä", '"'], ['"', "a b", "a,b", "ä"]),
        (["NULL", "TRUE", "if", "n/a"], ["NULL", "TRUE", "if", "n/a"]),
        (["007", "07", "7", "7 "], ["7", "7 ", "07", "007"]),
    ],
)
def test_ids_are_categories_in_natural_order(values: list[Any], expected: Any, made: Any) -> None:
    frame = table().assign(school=np.repeat(np.array(values, dtype=object), 3))
    assert sorted(ids(made(SPEC, frame))) == sorted(expected)
    if "007" not in values:
        assert ids(made(SPEC, frame)) == expected


def test_ids_of_mixed_types_and_days(made: Any) -> None:
    text = SPEC.replace("d.csv", "d.parquet")
    days = pd.to_datetime(["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-04"])
    frame = table().assign(school=np.repeat(days, 3))
    assert ids(made(text, {"d.parquet": frame}))[0] == "2024-01-01"


WITHIN = """\
title: T
data: {file: d.csv}
levels:
  - {name: pupil}
  - {name: class, id: class, within: school}
  - {name: school, id: school}
outcome: {name: y}
models: {stepwise: {}}
"""


def test_ids_within_a_group_are_joined_to_the_groups(made: Any) -> None:
    frame = table().assign(**{"class": [1, 1, 2] * 4})
    found = made(WITHIN, frame).frame
    assert list(found["school_class"].cat.categories)[:3] == ["7:1", "7:2", "8:1"]
    plain = WITHIN.replace(", within: school", "")
    assert "write `within: school` at the level" in told(made, plain, frame)


def test_pairs_of_ids_are_not_mistaken_for_one_another(made: Any) -> None:
    frame = table().assign(school=np.repeat(["a", "a:b", "c", "d"], 3))
    frame["class"] = ["b:c", "x", "x", "c", "y", "y"] + ["z"] * 6
    assert made(WITHIN, frame).frame["school_class"].nunique() == 6


def test_groups_lost_by_deletion_are_counted(made: Any) -> None:
    frame = table()
    frame.loc[:2, "y"] = np.nan
    found = made(SPEC, frame)
    assert found.groups_lost == {"school": 1}
    assert ids(found) == ["8", "9", "10"]


# --- joins ---------------------------------------------------------------------------------------

JOINED = SPEC.replace("{file: d.csv}", "{file: d.csv, join: [{file: s.csv, by: school}]}")


def schools(**changes: Any) -> pd.DataFrame:
    frame = pd.DataFrame({"school": [7, 8, 9, 10], "kind": list("abab"), "size": [1.5, 2, 3, 4]})
    return frame.assign(**changes)


def pupils(**changes: Any) -> pd.DataFrame:
    return table()[["school", "y", "ses"]].assign(**changes)


@pytest.mark.parametrize("lower", [np.int64, np.float64, str])
@pytest.mark.parametrize("upper", ["s.csv", "s.parquet"])
def test_keys_of_different_types_are_joined(lower: type, upper: str, made: Any) -> None:
    tables = {
        "d.parquet": pupils(school=pupils()["school"].astype(lower)),
        upper: schools(school=schools()["school"].astype(str)),
    }
    text = JOINED.replace("d.csv", "d.parquet").replace("s.csv", upper)
    found = made(text, tables)
    assert list(found.frame["size"][::3]) == [1.5, 2, 3, 4]
    assert list(found.frame["y"]) == list(pupils()["y"])


def test_rows_without_a_key_are_incomplete_not_wrong(made: Any) -> None:
    lower = pupils()
    lower["school"] = lower["school"].astype(float).where(lower.index != 4)
    upper = pd.concat([schools(), pd.DataFrame({"school": [None, None]})])
    assert len(made(JOINED, {"d.csv": lower, "s.csv": upper}).frame) == 11


def test_a_column_of_both_tables_is_kept_once_or_refused(made: Any) -> None:
    lower = pupils(size=np.repeat([1.5, 2.0, 3.0, 4.0], 3), extra=1)
    found = made(JOINED, {"d.csv": lower, "s.csv": schools(extra=2)})
    assert "size" in found.frame
    shown = told(made, JOINED, {"d.csv": lower, "s.csv": schools(size=0.5)})
    assert "both tables have the column 'size', with different values" in shown


def test_joins_that_cannot_be(made: Any) -> None:
    tables = {"d.csv": pupils(), "s.csv": schools()}
    assert "did you mean 'school'?" in told(made, JOINED.replace("by: school", "by: shool"), tables)
    short = {**tables, "s.csv": schools().head(3)}
    assert "1 of the ids in the lower table have no row in s.csv: 10" in told(made, JOINED, short)


# --- columns -------------------------------------------------------------------------------------


def test_columns_that_the_spec_does_not_name_are_never_read(made: Any, monkeypatch: Any) -> None:
    read: list[str] = []
    original = sources.read

    def spy(*arguments: Any) -> sources.RawTable:
        found = original(*arguments)
        read.extend(found.frame.columns)
        return found

    monkeypatch.setattr(sources, "read", spy)
    made(SPEC, table().assign(ses_within=1, junk="x"))
    assert read == ["school", "y", "ses", "kind", "size"]


def test_unknown_columns_are_located_and_compared_with_all_columns(made: Any) -> None:
    frame = table().rename(columns={"ses": "sesx", "size": "n"}).assign(junk="x")
    shown = told(made, SPEC.replace("size: {", "size: {column: jnk, "), frame)
    assert "a.yml:6:3: the data have no column 'ses'" in shown
    assert "did you mean 'sesx'?" in shown
    assert "a.yml:8:18: the data have no column 'jnk'" in shown
    assert "did you mean 'junk'?" in shown


def test_a_made_column_must_not_hide_one_of_the_data(made: Any) -> None:
    text = SPEC.replace("  size:", "  other: {level: pupil, column: ses_within}\n  size:")
    frame = table().assign(ses_within=np.arange(12.0) % 5)
    assert "the spec uses a column 'ses_within' of the data" in told(made, text, frame)


# --- categories and numbers ----------------------------------------------------------------------


def kinds(make: Any, options: str, values: list[Any]) -> list[str]:
    text = SPEC.replace("kind: {level: school, type: category}",
                        f"kind: {{level: school, type: category{options}}}")  # fmt: skip
    frame = table().assign(kind=np.repeat(np.array(values, dtype=object), 3))
    return list(make(text, frame).frame["kind"].cat.categories)


@pytest.mark.parametrize(
    ("options", "values", "expected"),
    [
        ("", [10, 2, 1, 1], ["1", "2", "10"]),
        (", reference: 2", [10, 2, 1, 1], ["2", "1", "10"]),
        (", reference: 2.0", [1, 2, 1, 1], ["2", "1"]),
        (", reference: true", [True, False, True, True], ["True", "False"]),
        (', reference: "true"', [True, False, True, True], ["True", "False"]),
        (", reference: No", ["Yes", "No", "No", "No"], ["No", "Yes"]),
        (", categories: {1: Man, 0: Woman}", [0, 1, 0, 1], ["Man", "Woman"]),
        (", categories: {true: Yes, false: No}", [True, False, True, True], ["Yes", "No"]),
        (", categories: {1: A, 2: A, 3: B}", [1, 2, 3, 1], ["A", "B"]),
        (", reference: 0, categories: {1: Man, 0: Woman}", [0, 1, 0, 1], ["Woman", "Man"]),
        (", reference: Woman, categories: {1: Man, 0: Woman}", [0, 1, 0, 1], ["Woman", "Man"]),
        (", categories: {1: A, 2: B, 3: C}", [1, 2, 2, 1], ["A", "B"]),
    ],
)
def test_categories(options: str, values: list[Any], expected: list[str], made: Any) -> None:
    assert kinds(made, options, values) == expected


def test_categories_that_cannot_be(made: Any) -> None:
    assert "no row has the reference category 'c'" in told(
        kinds, made, ", reference: c", list("abab")
    )
    shown = told(kinds, made, ", categories: {a: A}", list("abab"))
    assert "the data have b, which `categories` lacks" in shown
    assert "every school has a category of its own" in told(kinds, made, "", list("abcd"))


def test_coefficients_of_the_same_name_in_r_are_refused(made: Any) -> None:
    text = SPEC.replace("  size:", "  kindb: {level: pupil}\n  size:")
    frame = table().assign(kindb=np.arange(12.0) % 5)
    assert "R would call coefficients of 'kind' and 'kindb' both 'kindb'" in told(made, text, frame)


def test_value_labels_stand_for_their_codes(made: Any, monkeypatch: Any) -> None:
    """A labelled rating scale is a number; a category may be named by code or by label."""
    labels, original = ["never", "often", "always"], sources.read

    def labelled(*arguments: Any) -> sources.RawTable:
        found = original(*arguments)
        frame = found.frame.assign(
            ses=pd.Categorical.from_codes([0, 1, 2] * 3 + [0, 0, 1], categories=labels),
            kind=pd.Categorical.from_codes([0, 0, 0, 1, 1, 1] * 2, categories=["man", "woman"]),
        )
        codes = {"ses": {"never": 1, "often": 2, "always": 5}, "kind": {"man": 1, "woman": 2}}
        return replace(found, frame=frame, codes=codes)

    monkeypatch.setattr(sources, "read", labelled)
    found = made(SPEC, table()).frame
    assert list(found["ses"][:3]) == [1.0, 2.0, 5.0]
    assert list(found["kind"].cat.categories) == ["man", "woman"]
    by_code = SPEC.replace("type: category}", "type: category, reference: 2}")
    assert list(made(by_code, table()).frame["kind"].cat.categories) == ["woman", "man"]
    shown = SPEC.replace("type: category}", "type: category, categories: {2: W, 1: M}}")
    assert list(made(shown, table()).frame["kind"].cat.categories) == ["W", "M"]


def test_dates_are_no_numbers(made: Any) -> None:
    frame = table().assign(ses=pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(12), "D"))
    text = SPEC.replace("d.csv", "d.parquet")
    assert "'ses' is a date or a time" in told(made, text, {"d.parquet": frame})


def test_truth_values_are_numbers_where_numbers_are_asked_for(made: Any) -> None:
    found = made(SPEC, table().assign(ses=np.arange(12) % 2 == 0)).frame
    assert set(found["ses"]) == {0.0, 1.0}


def test_a_mean_that_is_the_same_in_all_groups_is_refused(made: Any) -> None:
    shown = told(made, SPEC, table().assign(ses=np.arange(12) % 3))
    assert "'ses_mean', made of the predictor 'ses', has the same value throughout" in shown
    assert "leave out `contextual`" in shown


def test_the_time_variable_is_complete_though_no_model_uses_it(made: Any) -> None:
    text = SPEC.replace("  size:", "  day: {level: pupil}\n  size:") + "time: day\n"
    text = text.replace("{stepwise: {}}", "{list: [{id: a, formula: y ~ ses + (1 | school)}]}")
    frame = table().assign(day=np.where(np.arange(12) == 5, np.nan, np.arange(12) % 3))
    assert len(made(text, frame).frame) == 11


def test_unused_predictors_delete_no_rows_and_are_left_out(made: Any) -> None:
    text = SPEC.replace("{stepwise: {}}", "{list: [{id: a, formula: y ~ kind + (1 | school)}]}")
    frame = table()
    frame.loc[3, "ses"] = np.nan
    kept = made(text, frame).frame
    assert len(kept) == 12
    assert list(kept) == ["school", "y", "kind"]


def test_a_higher_level_variable_names_the_level_at_which_it_varies(made: Any) -> None:
    text = WITHIN.replace("models", "predictors: {z: {level: school}}\nmodels")
    frame = table(4, 4).assign(**{"class": [1, 1, 2, 2] * 4, "z": [1, 1, 2, 2] * 4})
    assert "its level is 'class', or the data have an error" in told(made, text, frame)
    lower = text.replace("level: school", "level: pupil")
    assert "write `level: class`" in told(made, lower, frame)


# --- filters ----------------------------------------------------------------------------------

FILTERED = """\
title: T
data: {{file: d.csv, filter: [{0}]}}
levels: [{{name: pupil}}, {{name: school, id: school}}]
outcome: {{name: y}}
predictors:
  ses: {{level: pupil, center: grand mean}}
  kind: {{level: school, type: category, categories: {{a: Alpha, b: Beta}}}}
models: {{stepwise: {{}}}}
"""


def unfiltered() -> pd.DataFrame:
    frame = table(8, 6).drop(columns="size")
    frame["wave"] = np.tile([1, 2, 3], 16)
    frame["passed"] = np.tile([True, False], 24)
    frame["the place"] = np.tile(["x", "x", None, "kind"], 12)
    return frame.assign(ses=frame["ses"].where(frame.index != 5))


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        ("wave >= 2", lambda d: d["wave"] >= 2),
        ("2 > wave", lambda d: d["wave"] < 2),
        ("1 < wave <= 3", lambda d: d["wave"] > 1),
        ("school != 8", lambda d: d["school"] != 8),
        ("school in [7, 9, 10, 11]", lambda d: d["school"].isin([7, 9, 10, 11])),
        ("kind == Alpha or school < 9", lambda d: (d["kind"] == "a") | (d["school"] < 9)),
        ("kind in [b] or school == 8", lambda d: (d["kind"] == "b") | (d["school"] == 8)),
        ("passed == true", lambda d: d["passed"]),
        ("passed == 0", lambda d: ~d["passed"]),
        ("`the place` is missing", lambda d: d["the place"].isna()),
        ("not `the place` == x", lambda d: d["the place"] == "kind"),
        ("`the place` != 'kind'", lambda d: d["the place"] == "x"),
        ("y > ses", lambda d: d["y"] > d["ses"]),
        ("ses < 0 or ses is missing", lambda d: (d["ses"] < 0) | d["ses"].isna()),
        ("not (wave == 1 and passed == true)", lambda d: ~((d["wave"] == 1) & d["passed"])),
    ],
)
def test_filters_keep_the_rows_that_pandas_keeps(made: Any, condition: str, kept: Any) -> None:
    frame = unfiltered()
    data = made(FILTERED.format(f'"{condition}"'), frame)
    wanted = frame[kept(frame)]
    assert data.filtered == ((condition, len(frame) - len(wanted)),)
    assert data.rows_read == len(wanted)
    assert data.frame["y"].tolist() == wanted.dropna(subset=["ses"])["y"].tolist()
    centred = wanted["ses"].dropna()
    assert np.allclose(data.frame["ses_c"], centred - centred.mean(), rtol=0, atol=1e-12)


def test_filters_count_what_each_leaves_out_and_tell_of_gaps(made: Any) -> None:
    data = made(FILTERED.format('"wave > 1", "ses > -9", "wave < 4"'), unfiltered())
    assert data.filtered == (("wave > 1", 16), ("ses > -9", 1), ("wave < 4", 0))
    steps = [step for step in data.steps if step.action.startswith("kept the rows with")]
    assert [(step.rows_before, step.rows_after) for step in steps] == [(48, 32), (32, 31), (31, 31)]
    assert "1 of 32 left out, 1 of them for a missing value" in steps[1].action
    assert data.notes == ("The filter `wave < 4` leaves out no row",)


def test_a_value_that_no_row_has_is_told_with_near_misses(made: Any) -> None:
    data = made(FILTERED.format('"kind not in [Alfa]"'), unfiltered())
    assert "names 'Alfa', which is no value of kind; did you mean 'Alpha'?" in data.notes[1]


@pytest.mark.parametrize(
    ("condition", "message", "hint"),
    [
        ("waves > 1", "the data have no column 'waves'", "'wave'"),
        ("wave > wafe", "the data have no column 'wafe'", "'wave'"),
        ("wave == 'two'", "'wave' is a number, 'two' a text", "number"),
        ("kind > 2", "'kind' cannot be compared by >: it holds texts, such as 'Beta'", "=="),
        ("`the place` < 'y'", "< compares numbers, and 'y' is a text", "number"),
        ("wave > 3", "no row meets `wave > 3`", "data"),
        ("`the place` == kind", "'kind' is a column and also a text in 'the place'", "backticks"),
    ],
)
def test_filters_that_do_not_fit_the_data_are_located(
    made: Any, condition: str, message: str, hint: str
) -> None:
    with pytest.raises(InputError) as caught:
        made(FILTERED.format(f'"{condition}"'), unfiltered())
    problem = caught.value.problems[0]
    assert problem.message == message
    assert hint in problem.hint
    assert problem.location is not None
    assert problem.location.line == 2


def test_faults_of_values_are_those_of_the_rows_that_are_left(made: Any) -> None:
    frame = unfiltered().astype({"y": object})
    frame.loc[0, "y"] = "broken"
    data = made(FILTERED.format('"y != broken"'), frame)
    assert len(data.frame) == 46
    frame.loc[9, "y"] = "bad"
    with pytest.raises(InputError, match="first in data row 10"):
        made(FILTERED.format('"y != broken"'), frame)


def test_a_reference_category_that_is_left_out_is_no_reference(made: Any) -> None:
    text = FILTERED.format('"school != 8"').replace("kind: {", "kind: {reference: Beta, ")
    text = text.replace("b: Beta", "b: Beta, c: Gamma")
    frame = unfiltered()
    frame.loc[frame["school"] == 13, "kind"] = "c"
    frame["ses"] = frame["ses"].where(frame["kind"] != "b")
    with pytest.raises(InputError, match="no complete row has the reference category 'Beta'"):
        made(text, frame)


# --- factors and levels -----------------------------------------------------------------------

PLOTS = """\
title: T
data: {file: d.csv}
levels: [{name: pupil}, {name: plot, id: plot, within: [school, sort]}, {name: school, id: school}]
outcome: {name: y}
predictors:
  sort: {level: plot, type: category, column: kind, categories: {a: Alpha, b: Beta}}
  school: {level: school, type: category, reference: 9}
models: {list: [{id: m, fixed: [sort, school], random: {plot: [1]}}]}
"""


def plots() -> pd.DataFrame:
    frame = table(3, 8)
    return frame.assign(kind=np.tile(["a", "b"], 12), plot=np.tile([1, 1, 2, 2], 6))


def test_ids_within_a_level_and_a_factor_are_their_combinations(made: Any) -> None:
    data = made(PLOTS, plots())
    groups = data.frame["school_sort_plot"].cat.categories
    assert list(groups) == [f"{s}:{k}:{p}" for s in (7, 8, 9) for k in "ab" for p in (1, 2)]
    assert list(data.frame["school"].cat.categories) == ["9", "7", "8"]
    assert list(data.frame["sort"].cat.categories) == ["Alpha", "Beta"]
    assert set(data.frame) == {"school_sort_plot", "school", "sort", "y"}


def test_an_id_that_is_a_number_too_is_told_with_the_other_faults(made: Any) -> None:
    text = PLOTS.replace("type: category, reference: 9}", "center: grand mean}")
    with pytest.raises(InputError) as caught:
        made(text.replace("name: y}", "name: yy}"), plots())
    told = [problem.message for problem in caught.value.problems]
    assert "predictor 'school' is the id of the level 'school'" in told
    assert "the data have no column 'yy'" in told


def test_contrasts_are_of_the_categories_that_are_left(made: Any) -> None:
    frame = plots().assign(grade=np.tile(np.repeat(["low", "mid", "top", "none"], 2), 3))
    frame["ses"] = frame["ses"].where(frame["grade"] != "none")
    entry = (
        "  ses: {level: pupil}\n  grade: {level: pupil, type: category, ordered: true, "
        "categories: {none: None, low: Low, mid: Middle, top: Top}}\n"
    )
    text = PLOTS.replace("models:", f"{entry}models:").replace("[sort, school]", "[ses, grade]")
    coding = codings_of(made(text, frame).frame)["grade"]
    assert coding.names == (".L", ".Q")
    linear = [row[0] for row in coding.values]
    assert linear == pytest.approx([-(0.5**0.5), 0, 0.5**0.5], abs=1e-15)
