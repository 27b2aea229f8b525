"""Designs and names that trip analyses up, each run through all eight steps."""

from __future__ import annotations

import math
from textwrap import dedent

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from support import RunSpec, check_sound, reason, value

from mlmreport.engine.session import package_dataset

pytestmark = pytest.mark.r


def spec(text: str, more: str = "", *, title: str = "A case") -> str:
    return f"title: {title}\n" + dedent(text) + more


DYESTUFF = """
    data: {{package: lme4, dataset: {data}}}
    levels: [{{name: sample}}, {{name: batch, plural: batches, id: Batch}}]
    outcome: {{name: Yield, unit: grams}}
    models: {{list: [{{id: "null", fixed: [], random: {{batch: [1]}}}}]}}
    """


def restricted_profile(sd: float) -> float:
    """By how much the REML criterion of Dyestuff rises with the SD of the batches held.

    In a balanced design it is that of two independent mean squares, here of 5 and 24 df.
    """

    def criterion(tau2: float, sigma2: float) -> float:
        between = sigma2 + 5 * tau2
        return (
            5 * np.log(between) + 24 * np.log(sigma2) + 56357.5 / between + 58830 / sigma2
        )  # the sums of squares of its analysis of variance

    least = criterion((56357.5 / 5 - 58830 / 24) / 5, 58830 / 24)
    return float(min(criterion(sd**2, s) for s in np.linspace(1500, 5000, 35001)) - least)


def test_a_null_model_alone(run_spec: RunSpec) -> None:
    found = run_spec(spec(DYESTUFF.format(data="Dyestuff")))
    check_sound(found)
    assert value(found, "null/fixef/(Intercept)/estimate") == pytest.approx(1527.5)
    assert value(found, "null/sigma") == pytest.approx(49.51, abs=0.005)
    # Without predictors the typical unit of the average group is the grand mean.
    assert value(found, "inference/average/estimate") == pytest.approx(1527.5)
    assert value(found, "inference/average/se") == pytest.approx(19.3834, abs=5e-5)
    assert value(found, "null/var/Batch/(Intercept)/sd") == pytest.approx(42.00, abs=0.005)
    for end in ("lower", "upper"):
        at = value(found, f"null/var/Batch/(Intercept)/sd/{end}")
        assert restricted_profile(at) == pytest.approx(3.841459, abs=1e-4)
    assert value(found, "fit/grouping/p") == pytest.approx(0.0058, abs=0.00005)


def test_a_variance_of_zero(run_spec: RunSpec) -> None:
    found = run_spec(spec(DYESTUFF.format(data="Dyestuff2")))
    check_sound(found)
    assert value(found, "null/var/Batch/(Intercept)/sd") == 0
    assert value(found, "null/sigma") == pytest.approx(3.716, abs=0.0005)
    assert value(found, "icc/Batch/icc") == 0
    assert value(found, "icc/Batch/lower") == 0
    assert value(found, "icc/design_effect") == 1
    assert value(found, "fit/grouping/p") == 1
    assert "zero" in reason(found, "assumptions/random/Batch/(Intercept)/skewness")
    assert "boundary" in reason(found, "null/gradient")
    # That a fit is singular is no complaint about convergence.
    assert found.steps["models"]["unconverged"] == ()
    assert len(found.steps["models"]["singular"]) == 1


def test_two_crossed_groupings(run_spec: RunSpec) -> None:
    found = run_spec(
        spec("""
        data: {package: lme4, dataset: Penicillin}
        structure: crossed
        levels: [{name: assay}, {name: plate, id: plate}, {name: sample, id: sample}]
        outcome: {name: diameter, unit: mm}
        models: {list: [{id: "null", fixed: [], random: {plate: [1], sample: [1]}}]}
        """)
    )
    check_sound(found)
    assert "deprecation" not in {said["kind"] for said in found.conditions}
    assert "irregular" not in found.steps["interpretation"]["tables"]["random"].note
    plate, sample = 0.8467, 1.9316
    assert value(found, "null/var/plate/(Intercept)/sd") == pytest.approx(plate, abs=5e-5)
    assert value(found, "null/var/sample/(Intercept)/sd") == pytest.approx(sample, abs=5e-5)
    total = plate**2 + sample**2 + 0.5499**2
    assert value(found, "icc/sample/icc") == pytest.approx(sample**2 / total, abs=1e-4)
    assert value(found, "icc/plate/icc") == pytest.approx(plate**2 / total, abs=1e-4)
    for group in ("plate", "sample"):
        low, high = value(found, f"icc/{group}/lower"), value(found, f"icc/{group}/upper")
        assert 0 < low < value(found, f"icc/{group}/icc") < high < 1


def crossed_profile(
    ss: np.ndarray, plate: float | None, sample: float | None, sigma: float | None
) -> float:
    """By how much the REML criterion of Penicillin rises with some of its SDs held.

    Of a balanced two-way layout without predictors it is that of three independent mean squares,
    `ss` the sums of squares of 24 plates, six samples and the rest.
    """
    df = np.array([23.0, 5.0, 115.0])

    def criterion(log_sds: np.ndarray, held: tuple[float | None, ...]) -> float:
        free = iter(np.exp(log_sds))
        tau_p, tau_s, s = (next(free) if sd is None else sd for sd in held)
        expected = s**2 + np.array([6 * tau_p**2, 24 * tau_s**2, 0.0])
        return float(np.sum(df * np.log(expected) + ss / expected))

    def least(held: tuple[float | None, ...]) -> float:
        start = np.log([sd for sd, at in zip((0.85, 1.9, 0.55), held, strict=True) if at is None])
        return minimize(criterion, start, (held,), method="BFGS", options={"gtol": 1e-9}).fun

    return least((plate, sample, sigma)) - least((None, None, None))


def test_profiles_of_crossed_groupings_are_by_the_restricted_likelihood(run_spec: RunSpec) -> None:
    found = run_spec(
        spec("""
        data: {package: lme4, dataset: Penicillin}
        structure: crossed
        levels: [{name: assay}, {name: plate, id: plate}, {name: sample, id: sample}]
        outcome: {name: diameter, unit: mm}
        models: {list: [{id: "null", fixed: [], random: {plate: [1], sample: [1]}}]}
        estimation: {check_optimizers: false, compare_structures: false}
        inference: {icc_bootstrap: 0, df_comparison: 0, check_bootstrap: 0, r2_bootstrap: 0}
        """)
    )
    data = package_dataset("lme4", "Penicillin")
    y = data["diameter"].to_numpy(float)
    means = [data.groupby(of, observed=True)["diameter"].mean() for of in ("plate", "sample")]
    between = [len(y) / len(mean) * ((mean - y.mean()) ** 2).sum() for mean in means]
    ss = np.array([*between, ((y - y.mean()) ** 2).sum() - sum(between)])
    for end in ("lower", "upper"):
        plate = value(found, f"null/var/plate/(Intercept)/sd/{end}")
        sample = value(found, f"null/var/sample/(Intercept)/sd/{end}")
        sigma = value(found, f"null/var/residual/residual/sd/{end}")
        assert crossed_profile(ss, plate, None, None) == pytest.approx(3.841459, abs=1e-4)
        assert crossed_profile(ss, None, sample, None) == pytest.approx(3.841459, abs=1e-4)
        assert crossed_profile(ss, None, None, sigma) == pytest.approx(3.841459, abs=1e-4)
    note = found.steps["interpretation"]["tables"]["random"].note
    assert "by profile likelihood (REML)" in note


def test_three_levels_with_ids_reused_within_the_level_above(run_spec: RunSpec) -> None:
    found = run_spec(
        spec("""
        data: {package: lme4, dataset: Pastes}
        levels:
          - {name: sample}
          - {name: cask, id: cask, within: batch}
          - {name: batch, plural: batches, id: batch}
        outcome: {name: strength}
        models: {list: [{id: "null", fixed: [], random: {cask: [1], batch: [1]}}]}
        """)
    )
    check_sound(found)
    assert value(found, "structure/cask/groups") == 30
    assert value(found, "structure/batch/units/min") == 3
    assert value(found, "null/var/batch_cask/(Intercept)/sd") == pytest.approx(2.9041, abs=5e-5)
    assert value(found, "null/var/batch/(Intercept)/sd") == pytest.approx(1.2874, abs=5e-5)
    # A cask is predicted with its own batch's deviation and not with its own alone.
    names = [g["name"] for g in found.steps["inference"]["named"]]
    lowest, highest = (value(found, f"inference/group/{names[i]}/estimate") for i in (0, -1))
    assert lowest < value(found, "inference/average/estimate") < highest


SLEEP = """
    data: {package: lme4, dataset: sleepstudy}
    levels: [{name: day}, {name: person, id: Subject}]
    time: Days
    outcome: {name: Reaction, unit: ms}
    predictors: {Days: {level: day}}
    models: {list: [{id: m, formula: FORMULA}]}
    """


def test_uncorrelated_random_effects(run_spec: RunSpec) -> None:
    found = run_spec(spec(SLEEP.replace("FORMULA", "Reaction ~ Days + (Days || Subject)")))
    check_sound(found)
    # Bates et al. (2015), section 5.2: standard deviations 25.051, 5.988, 25.565.
    blocks = [name for name in found.items if name.startswith("m/var/") and name.endswith("/sd")]
    sds = sorted(value(found, name) for name in blocks)
    assert sds == pytest.approx([5.988, 25.051], abs=5e-4)
    assert value(found, "m/sigma") == pytest.approx(25.565, abs=5e-4)
    limits = [name for name in found.items if name.startswith("m/var/") and "lower" in name]
    assert len(limits) == 3
    assert len(found.items["inference/modes/Subject/Days/lower"].values) == 18
    assert [part["group"] for part in found.steps["assumptions"]["random"]] == ["person"] * 2


def test_a_random_slope_without_a_random_intercept(run_spec: RunSpec) -> None:
    found = run_spec(spec(SLEEP.replace("FORMULA", "Reaction ~ Days + (0 + Days | Subject)")))
    check_sound(found)
    assert found.steps["icc"]["have"] is False
    assert value(found, "m/var/Subject/Days/sd") == pytest.approx(7.26, abs=0.01)
    group = found.steps["inference"]["named"][0]["name"]
    assert "no random intercept" in reason(found, f"inference/group/{group}/shrinkage")


@pytest.mark.parametrize("df", ["satterthwaite", "kenward-roger"])
def test_both_kinds_of_degrees_of_freedom(run_spec: RunSpec, df: str) -> None:
    text = SLEEP.replace("FORMULA", "Reaction ~ Days + (Days | Subject)")
    found = run_spec(spec(text, f"inference: {{df: {df}, variance_ci: none}}\n"))
    check_sound(found)
    assert value(found, "m/fixef/Days/df") == pytest.approx(17, abs=5e-4)


def test_intervals_by_bootstrap(run_spec: RunSpec) -> None:
    text = DYESTUFF.format(data="Dyestuff")
    text = spec(text, "inference: {variance_ci: bootstrap, bootstrap: 100}\n")
    found, again = run_spec(text), run_spec(text)
    check_sound(found)
    at = "null/var/Batch/(Intercept)/sd"
    assert value(found, f"{at}/lower") < value(found, at) < value(found, f"{at}/upper")
    assert value(found, f"{at}/upper") == value(again, f"{at}/upper")


# --- names --------------------------------------------------------------------------------------


def named_table(rows: int = 240, groups: int = 24) -> pd.DataFrame:
    """Rows with predictors of unlucky names; the outcome depends on each of them."""
    rng = np.random.default_rng(7)
    group = np.arange(rows) % groups
    size = np.round(rng.normal(size=groups), 6)[group]
    table = pd.DataFrame({
        "my class": [f"c {g:02d}" for g in group],
        "größe": size,
        "a b": rng.normal(size=rows).round(6),
        "if": rng.normal(size=rows).round(6),
        "a.b": rng.normal(size=rows).round(6),
        "a_b": rng.normal(size=rows).round(6),
        "row": rng.normal(size=rows).round(6),
        "r": rng.normal(size=rows).round(6),
        "M": rng.normal(size=rows).round(6),
        "my kind": rng.choice(["No good", "Yes", "Maybe: so"], rows),
    })  # fmt: skip
    effects = table["a b"] * 0.5 + table["if"] * 0.4 + table["größe"] + 0.3 * table["row"]
    effects += table["a b"] * table["größe"] * 0.3 + (table["my kind"] == "Yes") * 0.8
    slopes = rng.normal(0, 0.4, groups)[group] * table["a b"]
    table["the outcome"] = effects + slopes + rng.normal(size=groups)[group] + rng.normal(size=rows)
    return table


NAMES = """
    data: {file: rows.csv}
    levels: [{name: pupil}, {name: class, plural: classes, id: my class}]
    outcome: {name: the outcome}
    predictors:
      a b: {level: pupil}
      if: {level: pupil}
      a.b: {level: pupil}
      a_b: {level: pupil}
      row: {level: pupil}
      r: {level: pupil}
      M: {level: pupil}
      my kind: {level: pupil, type: category, reference: "No good"}
      größe: {level: class}
    questions: [{id: Q1, text: "What of a b?", terms: [a b]}]
    models:
      list:
        - {id: "null", fixed: [], random: {class: [1]}}
        - id: full
          formula: >-
            `the outcome` ~ `a b` * größe + `if` + a.b + a_b + row * M + r + `my kind` +
            (`a b` | `my class`)
    inference: {variance_ci: none}
    """


def test_names_that_r_has_to_quote(run_spec: RunSpec) -> None:
    table = named_table()
    found = run_spec(spec(NAMES), {"rows.csv": table})
    check_sound(found)
    for name in ("`a b`", "`if`", "a.b", "a_b", "row", "r", "M", "größe", "`a b`:größe",
                 "`my kind`Yes", "`my kind`Maybe: so"):  # fmt: skip
        assert value(found, f"full/fixef/{name}/se") > 0, name
        assert value(found, f"inference/ols/{name}/ratio") > 0
    # The simple slope at the mean of größe is b + c mean(größe) over the classes.
    mean = table.groupby("my class")["größe"].first().mean()
    expected = value(found, "full/fixef/`a b`/estimate") + mean * value(
        found, "full/fixef/`a b`:größe/estimate"
    )
    at = "interpretation/slopes/a b:größe/mean/estimate"
    assert value(found, at) == pytest.approx(expected, rel=1e-9)
    assert "interpretation/neyman/a b:größe/lower" in found.items
    assert value(found, "interpretation/joint/my kind/df1") == 2
    labels = {row["label"] for row in found.steps["interpretation"]["effects"]}
    assert {"a b", "if", "größe", "my kind: Yes"} <= labels
    assert value(found, "full/var/my class/`a b`/sd") > 0
    assert found.steps["interpretation"]["ranges"][0]["have"]


# --- fixed parts of every sort ------------------------------------------------------------------


def crossed_factor_table() -> pd.DataFrame:
    rng = np.random.default_rng(11)
    rows, groups = 300, 30
    group = np.arange(rows) % groups
    table = pd.DataFrame({
        "g": [f"g{g}" for g in group],
        "x": rng.uniform(1, 9, rows).round(4),
        "z": rng.normal(size=rows).round(4),
        "f": np.array(["a", "b", "c"])[rng.integers(0, 3, rows)],
    })  # fmt: skip
    table["twice"] = 2 * table["x"]
    by_kind = {"a": 0.0, "b": 0.5, "c": -0.3}
    effect = rng.normal(0, 0.7, (groups, 3))[group, table["f"].map({"a": 0, "b": 1, "c": 2})]
    table["y"] = 0.2 * table["x"] + table["f"].map(by_kind) + effect + rng.normal(size=rows)
    return table


FACTORS = """
    data: {file: rows.csv}
    levels: [{name: row}, {name: group, id: g}]
    outcome: {name: y}
    predictors:
      x: {level: row}
      z: {level: row}
      twice: {level: row}
      f: {level: row, type: category}
    models: {list: [{id: "null", fixed: [], random: {group: [1]}}, {id: full, formula: "FORMULA"}]}
    inference: {variance_ci: none}
    """


def test_columns_that_are_linear_combinations_of_others(run_spec: RunSpec) -> None:
    text = FACTORS.replace("FORMULA", "y ~ x + twice + z + f + (1 | g)")
    found = run_spec(spec(text), {"rows.csv": crossed_factor_table()})
    check_sound(found)
    entry = found.steps["models"]["models"][1]
    assert entry["dropped"] == ("twice",)
    assert "full/fixef/twice/estimate" not in found.items
    assert value(found, "full/fixef/x/estimate") == pytest.approx(0.2, abs=0.1)
    assert value(found, "inference/average/se") > 0


@pytest.mark.parametrize(
    "formula",
    [
        "y ~ poly(x, 2) + z * f + (1 | g)",
        "y ~ x + I(x^2) + log(x) + f + (1 + z | g)",
        "y ~ f * x + (1 + f | g)",
        "y ~ f + x + (0 + f | g)",
        "y ~ 0 + f + x + (1 | g)",
        "y ~ x * z + (x + z || g)",
    ],
)
def test_fixed_and_random_parts_of_every_sort(run_spec: RunSpec, formula: str) -> None:
    text = FACTORS.replace("FORMULA", formula)
    found = run_spec(spec(text), {"rows.csv": crossed_factor_table()})
    check_sound(found)
    average = value(found, "inference/average/estimate")
    low, high = value(found, "inference/new/lower"), value(found, "inference/new/upper")
    assert low < value(found, "inference/average/lower") < average < high
    names = [g["name"] for g in found.steps["inference"]["named"]]
    assert all(value(found, f"inference/group/{name}/se") > 0 for name in names)
    assert value(found, "fit/full/r2m") < value(found, "fit/full/r2c") < 1


def test_a_grouping_whose_name_ends_in_a_number(run_spec: RunSpec) -> None:
    table = crossed_factor_table().rename(columns={"g": "site.1"})
    text = FACTORS.replace("FORMULA", "y ~ x + (1 | site.1)").replace("id: g", "id: site.1")
    found = run_spec(spec(text), {"rows.csv": table})
    check_sound(found)
    assert value(found, "full/var/site.1/(Intercept)/sd") > 0


@pytest.mark.long
def test_several_variances_at_once_have_the_chi_square_of_all_parameters(
    run_spec: RunSpec,
) -> None:
    models = """[
      {id: smaller, formula: "y ~ x + (1 | g)"},
      {id: small, formula: "y ~ f + x + (1 | g)"},
      {id: one, formula: "y ~ f + x + (1 + x | g)"},
      {id: category, formula: "y ~ f + x + (1 + x + f | g)"},
      {id: less, formula: "y ~ x + (0 + f | g)"},
      {id: both, formula: "y ~ f + x + (1 + x + f | g)"}]"""
    text = FACTORS.partition("models:")[0] + f"models: {{list: {models}}}\n"
    more = (
        "inference: {variance_ci: none}\n"
        "estimation: {check_optimizers: false, compare_structures: false, slope_tests: 0}\n"
    )
    found = run_spec(spec(dedent(text), more), {"rows.csv": crossed_factor_table()})
    check_sound(found)
    kinds = [entry["kind"] for entry in found.steps["fit"]["comparisons"]]
    assert kinds == ["fixed", "variance", "several", "not nested", "both"]
    assert value(found, "fit/one/lrt/df") == 2
    for model, df, criterion in (("category", 7, "REML"), ("both", 6, "ML")):
        assert value(found, f"fit/{model}/lrt/df") == df
        p = above(value(found, f"fit/{model}/lrt/chisq"), df)
        assert value(found, f"fit/{model}/lrt/p") == pytest.approx(p, abs=1e-8)
        assert found.items[f"fit/{model}/lrt/p"].method.startswith(criterion)


def above(chi_square: float, df: int) -> float:
    """Upper tail probability, by integrating the density."""
    x = np.linspace(chi_square, chi_square + 200, 2_000_001)
    density = x ** (df / 2 - 1) * np.exp(-x / 2) / (2 ** (df / 2) * math.gamma(df / 2))
    return float(np.trapezoid(density, x))
