"""From levels and predictors to the models, and what cannot become one."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlmreport.errors import InputError
from mlmreport.spec.reader import parse
from mlmreport.spec.sequence import Plan, outline, plan, question_terms
from mlmreport.spec.variables import category_label

SPEC = """\
title: T
data: {file: d.csv}
levels: [{name: pupil}, {name: class, id: class, plural: classes}, {name: school, id: school}]
outcome: {name: y}
predictors:
  ses: {level: pupil, center: group mean, contextual: true}
  boy: {level: pupil, type: category}
  size: {level: class}
  sector: {level: school, type: category}
models: {stepwise: {}}
"""


def planned(text: str) -> Plan:
    return plan(parse(text, Path("a.yml")))


def stepwise(text: str, base: str = SPEC) -> str:
    return base.replace("stepwise: {}", f"stepwise: {{{text}}}")


def listed(models: str) -> str:
    return SPEC.replace("{stepwise: {}}", f"{{list: [{models}]}}")


def told(text: str) -> str:
    with pytest.raises(InputError) as caught:
        planned(text)
    return str(caught.value)


def formulas(text: str) -> dict[str, str]:
    return {model.id: model.r for model in planned(text).models}


def test_the_stepwise_sequence_takes_level_by_level() -> None:
    found = formulas(stepwise('random_slopes: [ses], cross_level: ["ses:sector"]'))
    groups = "(1 | school) + (1 | class)"
    slopes = "(1 | school) + (1 + ses_within | class)"
    fixed = "ses_within + boy"
    upper = f"{fixed} + ses_mean + size"
    assert found == {
        "null": f"y ~ 1 + {groups}",
        "pupils": f"y ~ {fixed} + {groups}",
        "classes": f"y ~ {upper} + {groups}",
        "schools": f"y ~ {upper} + sector + {groups}",
        "slopes": f"y ~ {upper} + sector + {slopes}",
        "crosslevel": f"y ~ {upper} + sector + ses_within:sector + {slopes}",
    }


def test_a_slope_varies_over_the_level_above_its_predictor() -> None:
    found = formulas(stepwise("random_slopes: [ses, size, ses_mean]"))["slopes"]
    assert found.endswith("(1 + size + ses_mean | school) + (1 + ses_within | class)")


def test_uncorrelated_slopes() -> None:
    found = formulas(stepwise("random_slopes: [ses], correlated: false"))["slopes"]
    assert found.endswith("(1 | school) + (1 + ses_within || class)")


def test_a_stepwise_spec_without_slopes() -> None:
    assert list(formulas(SPEC)) == ["null", "pupils", "classes", "schools"]
    assert planned(SPEC).final.id == "schools"


@pytest.mark.parametrize(
    ("lowest", "upper", "ids"),
    [
        ("null", "slopes", ["null", "nulls", "classes", "slopes_3"]),
        ("Null", "crosslevel", ["null", "nulls", "classes", "crosslevels"]),
        ("Schüler", "Schule", ["null", "schulers", "classes", "schules"]),
        ("学生", "学校", ["null", "level_1", "classes", "level_3"]),
        ("class 1", "class-1", ["null", "class_1s", "classes", "class_1s_3"]),
        ("2nd", "x" * 150, ["null", "level_1", "classes", "x" * 30]),
    ],
)
def test_model_ids_are_short_and_unique(lowest: str, upper: str, ids: list[str]) -> None:
    plural = ", plural: slopes" if upper == "slopes" else ""
    plural = ", plural: 学生" if lowest == "学生" else plural
    text = SPEC.replace("pupil", f'"{lowest}"').replace("level: school", f'level: "{upper}"')
    text = text.replace("{name: school, ", f'{{name: "{upper}"{plural}, ')
    assert list(formulas(text)) == ids


WRONG = {
    "random_slopes: [sector]": "10:37: 'sector' is constant within the highest groups",
    "random_slopes: [see]": "did you mean 'ses'",
    "random_slopes: [size_mean]": "write `contextual: true` at the predictor 'size'",
    "random_slopes: [ses, ses]": "'ses' stands twice",
    "random_slopes: [boy], correlated: false": "whose slopes lme4 cannot make uncorrelated",
    'cross_level: ["ses:boy"]': "10:35: 'ses:boy' joins predictors of one level only (pupil)",
    "cross_level: [ses]": "'ses' is no interaction",
    'cross_level: ["ses:sectr"]': "did you mean 'sector'?",
    'cross_level: ["ses:scale(sector)"]': "10:",
    'cross_level: ["ses +"]': "10:",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_the_sequence_cannot_hold(text: str) -> None:
    assert WRONG[text] in told(stepwise(text))


def test_models_in_parts_and_as_formulas_are_the_same() -> None:
    found = formulas(
        listed(
            "{id: a, fixed: [ses, 'ses:sector'], random: {class: [1, ses], school: []}},"
            "{id: b, formula: y ~ ses + ses:sector + (1 + ses | class) + (1 | school)},"
            "{id: c, fixed: [], random: {class: [0, ses]}}"
        )
    )
    assert found["a"] == found["b"]
    assert found["c"] == "y ~ 1 + (0 + ses_within | class)"


EXPLICIT = {
    "": "`models.list` is empty",
    "{id: a}": "model 'a' has either a `formula`, or `fixed` and `random`",
    "{id: a, formula: y ~ ses}": "model 'a' has no random effects",
    "{id: a, fixed: [ses]}": "model 'a' has no random effects",
    "{id: a, formula: y ~ (1 | class)}, {id: a, formula: y ~ (1 | class)}": "two models have",
    "{id: a, formula: z ~ (1 | class)}": "the formula's outcome is not 'y'",
    "{id: a, formula: y ~ sse + (1 | class)}": "did you mean 'ses'",
    "{id: a, formula: y ~ y + (1 | class)}": "the outcome y is also a predictor",
    "{id: a, formula: y ~ class + (1 | class)}": "'class', the id of a level, among its effects",
    "{id: a, formula: y ~ (class | school)}": "'class', the id of a level, among its effects",
    "{id: a, formula: y ~ (1 | ses)}": "the formula groups by 'ses', which is no id of a level",
    "{id: a, fixed: [], random: {clas: [1]}}": "did you mean 'class'?",
    "{id: a, fixed: [], random: {class: [2]}}": "10:",
    "{id: a, fixed: [2], random: {class: [1]}}": "text is needed",
}


@pytest.mark.parametrize("models", EXPLICIT)
def test_explicit_models_that_cannot_be(models: str) -> None:
    shown = told(listed(models))
    assert EXPLICIT[models] in shown
    assert "a.yml:10:" in shown


def test_either_stepwise_or_a_list() -> None:
    both = "{stepwise: {}, list: [{id: a, formula: y ~ (1 | class)}]}"
    assert "either `stepwise:` or `list:`" in told(SPEC.replace("{stepwise: {}}", both))
    assert "either `stepwise:` or `list:`" in told(SPEC.replace("{stepwise: {}}", "{}"))


def test_an_unknown_final_model() -> None:
    shown = told(SPEC.replace("{stepwise: {}}", "{stepwise: {}, final: shools}"))
    assert "did you mean 'schools'" in shown


def test_questions_ask_for_terms_of_the_final_model() -> None:
    asked = "questions: [{id: Q1, text: Q, terms: [%s]}]\n"
    assert "the final model, 'schools', has no term 'ses:sector'" in told(
        SPEC + asked % '"ses:sector"'
    )
    found = stepwise('cross_level: ["sector:ses"]') + asked % '"ses:sector", ses_mean'
    (terms,) = question_terms(parse(found, Path("a.yml")).spec, planned(found).variables)
    assert [term.degree for term in terms] == [2, 1]


LEVELS = {
    "{name: class, id: class": ("{name: class", "the level 'class' lacks its `id`"),
    "{name: school, id: school}": ("{name: school, id: class}", "two levels have the id 'class'"),
    "{name: pupil}": ("{name: class}", "two levels are called 'class'"),
    "id: class, plural": ("id: class, within: shool, plural", "which is no higher level"),
    "outcome: {name: y}": ("outcome: {name: class}", "also the outcome"),
    "data: {file: d.csv}\n": ("", "a spec has either `data:` or `simulate:`"),
}


@pytest.mark.parametrize("old", LEVELS)
def test_levels_that_cannot_be(old: str) -> None:
    new, expected = LEVELS[old]
    assert expected in told(SPEC.replace(old, new))


PREDICTORS = {
    "x: {level: shool}": "did you mean 'school'?",
    "y: {level: pupil}": "predictor 'y' is the outcome",
    "x: {level: pupil, column: school}": "predictor 'x' is the id of the level 'school'",
    "ses_within: {level: pupil, column: x}": "makes 'ses_within', which is made for",
    "ses_mean: {level: class, column: x}": "makes 'ses_mean', which is made for",
    "x: {level: pupil, column: boy}": "'boy' is a category here and a number in 'x'",
    "x: {level: pupil, type: category, center: grand mean}": "a category cannot be centred",
    "x: {level: school, contextual: true}": "'school' is the highest level",
    '"a`b": {level: pupil}': "a name cannot contain a backtick",
    '"a\\\\b": {level: pupil}': "a name cannot contain a backslash",
    "x: {level: pupil, column: ...}": "has a meaning of its own in R",
    '"x\\u202e": {level: pupil}': "cannot contain U+202E",
}


@pytest.mark.parametrize("line", PREDICTORS)
def test_predictors_that_cannot_be(line: str) -> None:
    shown = told(SPEC.replace("  size:", f"  {line}\n  size:"))
    assert PREDICTORS[line] in shown


def test_a_column_may_be_used_twice() -> None:
    text = SPEC.replace("  size:", "  raw: {level: pupil, column: ses}\n  size:")
    assert {v.column for v in planned(text).used} >= {"raw", "ses_within", "ses_mean"}


def test_time_is_a_number_of_the_lowest_level() -> None:
    assert "which is a category" in told(SPEC + "time: boy\n")
    assert "not of the lowest level" in told(SPEC + "time: size\n")
    assert "did you mean 'ses'?" in told(SPEC + "time: see\n")


def test_the_outline_says_all_and_serves_to_examine_the_data() -> None:
    text = stepwise("random_slopes: [nothing]").replace("level: class}", "level: clas}")
    found, problems = outline(parse(text, Path("a.yml")))
    assert found is not None
    assert set(found.variables) == {"ses", "ses_mean", "boy", "sector"}
    assert [problem.location.line for problem in problems if problem.location] == [8, 10]
    assert outline(parse(SPEC.replace("id: class, ", ""), Path("a.yml")))[0] is None


@pytest.mark.parametrize(
    ("label", "category", "said"),
    [
        ("sex", "Female", "sex: Female"),
        ("programme", "programme", "programme"),
        ("African American pupil", "African American", "African American pupil"),
        ("African American pupil", "not so", "African American pupil: not so"),
    ],
)
def test_a_label_does_not_repeat_the_name(label: str, category: str, said: str) -> None:
    assert category_label(label, category) == said


FACTORS = """\
title: T
data: {file: d.csv}
levels: [{name: run}, {name: setting, id: Machine, within: worker}, {name: worker, id: Worker}]
outcome: {name: y}
predictors:
  Machine: {level: setting, type: category}
  person: {level: worker, type: category, column: Worker}
models: {list: [{id: m, MODEL}]}
"""


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (
            'formula: "y ~ Machine + (1 | Worker/Machine)"',
            "y ~ Machine + (1 | Worker) + (1 | worker_Machine)",
        ),
        (
            'fixed: [Machine], random: {worker: [1], "worker:Machine": [1]}',
            "y ~ Machine + (1 | Worker) + (1 | worker_Machine)",
        ),
        (
            "fixed: [Machine], random: {worker: [1, Machine]}",
            "y ~ Machine + (1 + Machine | Worker)",
        ),
        ("fixed: [person], random: {setting: [1]}", "y ~ person + (1 | worker_Machine)"),
    ],
)
def test_the_id_of_a_level_is_a_fixed_factor_too(model: str, expected: str) -> None:
    assert planned(FACTORS.replace("MODEL", model)).final.r == expected


PASTES = """\
title: T
data: {package: lme4, dataset: Pastes}
levels: [{name: test}, {name: cask, id: cask, within: batch}, {name: NAME, id: batch}]
outcome: {name: strength}
predictors: {PREDICTORS}
models: {list: [{id: m, MODEL}]}
"""


@pytest.mark.parametrize("level", ["batch", "lot"])
@pytest.mark.parametrize(
    "model",
    [
        'formula: "strength ~ 1 + (1 | batch/cask)"',
        'formula: "strength ~ 1 + (1 | batch) + (1 | batch:cask)"',
        'formula: "strength ~ 1 + (1 | batch) + (1 | cask:batch)"',
        'formula: "strength ~ 1 + (1 | batch) + (1 | cask)"',
        'fixed: [], random: {batch: [1], "batch:cask": [1]}',
    ],
)
def test_a_level_that_lies_within_another_is_no_combination(level: str, model: str) -> None:
    category = "batch: {level: test, type: category}" if level == "lot" else ""
    text = PASTES.replace("NAME", level).replace("PREDICTORS", category).replace("MODEL", model)
    found = planned(text)
    assert found.final.r == "strength ~ 1 + (1 | batch) + (1 | batch_cask)"
    assert [entry.group for entry in found.groups] == ["batch_cask", "batch"]


@pytest.mark.parametrize(
    ("model", "factor", "groups"),
    [
        ("fixed: [person], random: {worker: [1]}", "person", "Worker"),
        ('formula: "y ~ person + (1 | Worker/Machine)"', "person", "Worker"),
        (
            'fixed: ["person * Machine"], random: {setting: [1]}',
            "person:Machine",
            "worker_Machine",
        ),
    ],
)
def test_a_fixed_factor_and_a_random_intercept_of_the_same_groups_are_one_thing(
    model: str, factor: str, groups: str
) -> None:
    said = told(FACTORS.replace("MODEL", model))
    assert f"has the fixed factor {factor} and a random intercept of {groups}: both" in said
    assert "leave out the fixed factor, or the random intercept" in said
    assert "a.yml:8:17" in said


def test_a_fixed_factor_of_nested_groups_takes_in_the_groups_above() -> None:
    text = listed("{id: m, fixed: [class], random: {school: [1]}}").replace(
        "  size:", "  class: {level: class, type: category}\n  size:"
    )
    assert "fixed factor class and a random intercept of school" in told(text)
    assert planned(text.replace("school: [1]}}", "school: [0, ses]}}")).final


def test_a_level_lies_within_a_factor_that_is_no_level() -> None:
    text = SPEC.replace("id: class, plural: classes", "id: class, within: [school, boy]")
    found = planned(text.replace("stepwise: {}", 'list: [{id: m, formula: "y ~ (1 | class)"}]'))
    assert [level.group for level in found.groups] == ["school_boy_class", "school"]
    assert found.final.r == "y ~ 1 + (1 | school_boy_class)"
    assert "which is no higher level and no category" in told(text.replace("boy]", "ses]"))
    assert "twice to lie within 'school'" in told(text.replace("boy]", "school]"))
    assert "its own id" in told(text.replace("id: class", "id: boy"))


def test_an_id_is_no_number() -> None:
    text = FACTORS.replace("MODEL", "fixed: [], random: {worker: [1]}")
    said = told(text.replace("Machine: {level: setting, type: category}", "Machine: {level: run}"))
    assert "predictor 'Machine' is the id of the level 'setting'" in said
    assert "as a fixed factor it has `type: category`" in said
