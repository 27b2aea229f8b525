"""The models of a report by other engines, and what is made of the differences."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from mlmreport import analysis
from mlmreport.cli import app
from mlmreport.spec.reader import parse
from mlmreport.verify import engines
from mlmreport.verify.bench import NOT_APPLICABLE, Fit, Workbench
from mlmreport.verify.checks import CHECKS, Check, write_checks
from mlmreport.verify.engines import ModelCheck

pytestmark = pytest.mark.r

SPEC = """
title: {title}
data: {{package: lme4, dataset: {dataset}}}
levels: [{{name: row}}, {groups}]
outcome: {{name: {outcome}}}
predictors: {{{predictors}}}
models: {{list: [{{id: m, formula: "{formula}"}}]}}
estimation: {{method: {method}}}
{more}
"""


def workbench(
    dataset: str,
    formula: str,
    groups: str,
    predictors: str = "",
    method: str = "REML",
    more: str = "",
) -> Workbench:
    text = SPEC.format(
        title=dataset,
        dataset=dataset,
        outcome=formula.split(" ~")[0],
        formula=formula,
        groups=", ".join(f"{{name: {g.lower()}s, id: {g}}}" for g in groups.split()),
        predictors=predictors,
        method=method,
        more=more,
    )
    document = parse(text, Path("analysis.yml"))
    return Workbench.of(document, analysis.check(document))


def checked(
    dataset: str,
    formula: str,
    groups: str,
    predictors: str = "",
    method: str = "REML",
    more: str = "",
) -> ModelCheck:
    bench = workbench(dataset, formula, groups, predictors, method, more)
    (found,) = engines.crosscheck(bench, method == "REML", "nloptwrap", lambda *_: None)
    return found


def other(found: ModelCheck, engine: str) -> Fit:
    return next(fit for fit in found.others if fit.engine == engine)


DAYS = "Days: {level: row}"


@pytest.fixture(scope="module")
def slopes() -> ModelCheck:
    return checked("sleepstudy", "Reaction ~ Days + (Days | Subject)", "Subject", DAYS)


@pytest.mark.parametrize("engine", ["nlme", "glmmTMB", "statsmodels"])
def test_engines_agree_on_the_sleep_study(slopes: ModelCheck, engine: str) -> None:
    fit = other(slopes, engine)
    if fit.status == NOT_APPLICABLE:
        pytest.skip(fit.reason)
    assert slopes.standing(fit) == "fitted"
    assert fit.estimates.keys() == slopes.reported.estimates.keys()
    for name, value in slopes.reported.estimates.items():
        assert fit.estimates[name] == pytest.approx(value, rel=5e-4), name
    assert fit.errors["fixef/Days"] == pytest.approx(1.545790, rel=1e-4)
    assert fit.loglik == pytest.approx(-871.8141, abs=1e-3)


def test_the_sleep_study_is_of_one_optimum(slopes: ModelCheck) -> None:
    assert slopes.ok
    assert slopes.convergence.verdict == "converged"
    assert {row.verdict for row in slopes.rows} <= {"identical", "same to print"}
    missing = {fit.engine for fit in slopes.optimizers if not fit.fitted}
    assert missing <= {"nmkbw", "optimx.L-BFGS-B"}
    assert all("not installed" in fit.reason for fit in slopes.optimizers if not fit.fitted)


def test_errors_of_the_components_are_those_of_the_balanced_design() -> None:
    """Searle, Casella & McCulloch (1992, section 4.4): a groups of n, at the REML estimates."""
    found = checked("Dyestuff", "Yield ~ 1 + (1 | Batch)", "Batch").reported
    a, n = 6, 5
    sigma2, tau = found.estimates["sigma2"], found.estimates["var/Batch/(Intercept)"]
    of_residual = 2 * sigma2**2 / (a * (n - 1))
    of_group = 2 / n**2 * ((n * tau + sigma2) ** 2 / (a - 1) + sigma2**2 / (a * (n - 1)))
    assert found.errors["sigma2"] == pytest.approx(math.sqrt(of_residual), rel=1e-3)
    assert found.errors["var/Batch/(Intercept)"] == pytest.approx(math.sqrt(of_group), rel=1e-3)


def dense_parts(bench: Workbench, key: str) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """The outcome, X, and for each random effect its columns of Z."""
    parts = bench.engine.session.call("crosscheck_design", id=key)
    frame = bench.engine.session.frame("crosscheck_matrices", id=key)
    columns = iter(frame[[name for name in frame if name.startswith("v")]].to_numpy(float).T)
    y, x = next(columns), np.column_stack([next(columns) for _ in parts["fixed"]])
    order, z = list(dict.fromkeys(parts["groups"])), {}
    for group, names in zip(parts["groups"], parts["effects"], strict=True):
        codes = frame[f"g{order.index(group) + 1}"].to_numpy()
        for name in names:
            units = np.equal.outer(codes, np.unique(codes))
            z[f"{group}/{name}"] = units * next(columns)[:, None]
    return y, x, z


def dense_derivative(name: str, z: Mapping[str, np.ndarray], rows: int) -> np.ndarray:
    """Of the covariance matrix of the outcome by a (co)variance."""
    if name == "sigma2":
        return np.eye(rows)
    kind, rest = name.split("/", 1)
    if kind == "var":
        return z[rest] @ z[rest].T
    group, first, second = rest.split("/")
    half = z[f"{group}/{first}"] @ z[f"{group}/{second}"].T
    return half + half.T


def dense_errors(bench: Workbench, key: str, reml: bool, values: Mapping[str, float]) -> np.ndarray:
    """Standard errors of (co)variances by differences of the dense likelihood, twice refined."""
    y, x, z = dense_parts(bench, key)
    names = [name for name in values if not name.startswith("fixef/")]
    derivatives = [dense_derivative(name, z, len(y)) for name in names]

    def criterion(psi: np.ndarray) -> float:
        v = sum(p * d for p, d in zip(psi, derivatives, strict=True))
        inverse = np.linalg.inv(v)
        xvx = x.T @ inverse @ x
        r = y - x @ np.linalg.solve(xvx, x.T @ inverse @ y)
        fixed = np.linalg.slogdet(xvx)[1] if reml else 0.0
        return float(np.linalg.slogdet(v)[1] + fixed + r @ inverse @ r) / 2

    at = np.array([values[name] for name in names])
    scale = 0.03 * np.sqrt(np.diag(np.linalg.inv(hessian(criterion, at, 1e-3 * np.abs(at)))))
    coarse, middle, fine = (hessian(criterion, at, scale * k) for k in (4, 2, 1))
    refined = (16 * (4 * fine - middle) / 3 - (4 * middle - coarse) / 3) / 15
    return np.sqrt(np.diag(np.linalg.inv(refined)))


def hessian(f: Callable[[np.ndarray], float], at: np.ndarray, h: np.ndarray) -> np.ndarray:
    unit = np.diag(h)
    return np.array(
        [
            [
                (f(at + a + b) - f(at + a - b) - f(at - a + b) + f(at - a - b)) / (4 * h[i] * h[j])
                for j, b in enumerate(unit)
            ]
            for i, a in enumerate(unit)
        ]
    )


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize(
    ("dataset", "formula", "groups", "predictors", "more"),
    [
        ("sleepstudy", "Reaction ~ Days + (Days | Subject)", "Subject", DAYS, ""),
        (
            "Penicillin",
            "diameter ~ 1 + (1 | plate) + (1 | sample)",
            "plate sample",
            "",
            "structure: crossed",
        ),
        ("Pastes", "strength ~ 1 + (1 | batch) + (1 | sample)", "sample batch", "", ""),
    ],
)
def test_errors_of_components_are_those_of_the_dense_likelihood(
    dataset: str, formula: str, groups: str, predictors: str, more: str, method: str
) -> None:
    bench = workbench(dataset, formula, groups, predictors, method, more)
    reml = method == "REML"
    fit = bench.lme4("m", bench.plan.final.r, reml, "bobyqa")
    errors, _ = bench.choose("m", "bobyqa")
    names = [name for name in fit.estimates if not name.startswith("fixef/")]
    expected = dense_errors(bench, "m", reml, fit.estimates)
    assert [errors[name] for name in names] == pytest.approx(expected, rel=2e-6)


def test_joint_errors_are_those_of_one_hessian_of_all_parameters() -> None:
    """By differences of the dense likelihood in fixed effects and (co)variances together."""
    height = "HEIGHT: {level: broods}"
    bench = workbench("grouseticks", "TICKS ~ HEIGHT + (1 | BROOD)", "BROOD", height, "ML")
    fit = bench.lme4("m", bench.plan.final.r, False, "bobyqa")
    _, joint = bench.choose("m", "bobyqa")
    y, x, z = dense_parts(bench, "m")
    names = list(fit.estimates)
    fixed = [name for name in names if name.startswith("fixef/")]
    derivatives = [dense_derivative(name, z, len(y)) for name in names[len(fixed) :]]

    def criterion(at: np.ndarray) -> float:
        v = sum(p * d for p, d in zip(at[len(fixed) :], derivatives, strict=True))
        r = y - x @ at[: len(fixed)]
        return float(np.linalg.slogdet(v)[1] + r @ np.linalg.solve(v, r)) / 2

    at = np.array([fit.estimates[name] for name in names])
    step = 0.03 * np.sqrt(np.diag(np.linalg.inv(hessian(criterion, at, 1e-3 * np.abs(at)))))
    refined = (4 * hessian(criterion, at, step) - hessian(criterion, at, 2 * step)) / 3
    expected = np.sqrt(np.diag(np.linalg.inv(refined)))[: len(fixed)]
    assert [joint[name] for name in fixed] == pytest.approx(expected, rel=2e-6)
    # What is known of the variances matters little here, but ten times what the test allows.
    assert joint["fixef/HEIGHT"] > (1 + 2e-5) * fit.errors["fixef/HEIGHT"]


def test_bic_of_nlme_is_explained_by_its_n(slopes: ModelCheck) -> None:
    (bic,) = [c for c in slopes.criteria if (c.name, c.engine) == ("bic", "nlme")]
    assert bic.verdict == "explained"
    assert "178" in bic.explanation
    assert bic.found == pytest.approx(-2 * -871.81414 + 6 * math.log(178), abs=1e-3)


def test_crossed_groupings_are_not_for_every_engine() -> None:
    found = checked(
        "Penicillin",
        "diameter ~ 1 + (1 | plate) + (1 | sample)",
        "plate sample",
        more="structure: crossed",
    )
    for engine in ("nlme", "statsmodels"):
        assert other(found, engine).status == NOT_APPLICABLE
        assert "crossed" in other(found, engine).reason
    assert found.ok


def test_every_engine_has_the_contrasts_of_the_spec() -> None:
    found = checked(
        "cake",
        "angle ~ temperature + (1 | replicate)",
        "replicate",
        "temperature: {level: row, type: category, ordered: true}",
    )
    fixed = [name for name in found.reported.estimates if name.startswith("fixef/temp")]
    assert fixed == [f"fixef/temperature{end}" for end in (".L", ".Q", ".C", "^4", "^5")]
    fits = [fit for fit in found.others if fit.status != NOT_APPLICABLE]
    assert fits
    for fit in fits:
        for name in fixed:
            expected = pytest.approx(found.reported.estimates[name], rel=1e-4, abs=1e-4)
            assert fit.estimates[name] == expected, (fit.engine, name)
    assert found.ok


def test_a_singular_fit_names_what_is_zero_and_what_hangs_on_it() -> None:
    found = checked("Dyestuff2", "Yield ~ 1 + (1 | Batch)", "Batch")
    assert found.convergence.verdict == "singular"
    said = (
        "the random effects of Batch vary in 0 of 1 dimensions: the variance of (Intercept) is zero"
    )
    assert said in found.convergence.text
    assert "the simpler model is Yield ~ 1" in found.convergence.text
    shift, ratio = found.convergence.effects["fixef/(Intercept)"]
    assert shift == pytest.approx(0, abs=1e-9)
    assert ratio == pytest.approx(1)
    assert "sigma2" not in found.reported.errors
    assert found.ok


def test_nested_terms_and_uncorrelated_slopes() -> None:
    nested = checked("Pastes", "strength ~ 1 + (1 | batch) + (1 | sample)", "sample batch")
    assert nested.ok
    assert other(nested, "nlme").estimates["var/sample/(Intercept)"] == pytest.approx(
        8.434, abs=0.01
    )
    assert other(nested, "statsmodels").loglik == pytest.approx(nested.reported.loglik, abs=1e-3)
    apart = checked("sleepstudy", "Reaction ~ Days + (Days || Subject)", "Subject", DAYS, "ML")
    assert apart.ok
    for engine in ("nlme", "statsmodels"):
        assert other(apart, engine).estimates.keys() == apart.reported.estimates.keys()
        assert other(apart, engine).loglik == pytest.approx(-876.00163, abs=1e-3)


# --- verdicts ------------------------------------------------------------------------------------


def with_change(found: ModelCheck, name: str, by: float) -> ModelCheck:
    """A model of which nlme moved one estimate by so many standard errors."""
    fit = other(found, "nlme")
    moved = fit.estimates[name] + by * found.reported.errors[name]
    changed = replace(fit, estimates={**fit.estimates, name: moved})
    rows = [engines._row(row.name, found.reported, [changed]) for row in found.rows]
    return replace(found, rows=tuple(rows), others=(changed,))


@pytest.mark.parametrize(
    ("by", "verdict"), [(0.0002, "identical"), (0.003, "same to print"), (0.2, "substantive")]
)
def test_a_difference_is_noise_print_or_substance(
    slopes: ModelCheck, by: float, verdict: str
) -> None:
    found = with_change(slopes, "fixef/Days", by)
    (row,) = [row for row in found.rows if row.name == "fixef/Days"]
    assert (row.verdict, row.farthest) == (verdict, "nlme")
    assert found.ok == (verdict != "substantive")


def test_an_engine_below_the_optimum_stopped_short_and_one_above_is_a_failure(
    slopes: ModelCheck,
) -> None:
    fit, reported = other(slopes, "nlme"), slopes.reported
    below = replace(fit, criteria={"loglik": reported.loglik - 0.4})
    assert slopes.standing(below) == "stopped short"
    above = replace(fit, criteria={"loglik": reported.loglik + 0.4})
    assert slopes.standing(above) == "better optimum"
    verdict = engines._convergence(reported, reported, slopes.optimizers, [above], {})
    assert (verdict.verdict, verdict.reported_is_best) == ("true failure", False)
    assert "0.400 above" in verdict.text
    assert set(verdict.effects) == {"fixef/(Intercept)", "fixef/Days"}


def test_a_complaint_that_others_do_not_confirm_is_a_false_alarm(slopes: ModelCheck) -> None:
    first = replace(slopes.optimizers[0], complaints=("max|grad| = 0.003",))
    verdict = engines._convergence(first, slopes.reported, slopes.optimizers, [], {})
    assert verdict.verdict == "false alarm"
    assert "max|grad|" in verdict.text


def test_a_criterion_that_no_definition_gives_is_substantive(slopes: ModelCheck) -> None:
    fit = other(slopes, "nlme")
    odd = replace(fit, criteria={**fit.criteria, "aic": fit.criteria["aic"] + 1})
    verdicts = {c.name: c.verdict for c in engines._criteria(slopes.reported, [odd], 180, True)}
    assert verdicts["aic"] == "substantive"


# --- weights and offset -------------------------------------------------------------------------


def test_prior_weights_and_an_offset(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    g, x = np.repeat(np.arange(30), 8), rng.normal(size=240)
    w, o = rng.integers(1, 6, 240).astype(float), rng.normal(size=240)
    y = o + 0.5 * x + rng.normal(size=30)[g] + rng.normal(size=240) / np.sqrt(w)
    frame = pd.DataFrame({"y": y, "x": x, "w": w, "o": o, "g": [f"g{i}" for i in g]})
    frame.to_csv(tmp_path / "d.csv", index=False)
    text = """
title: Weighted
data: {file: d.csv}
levels: [{name: row}, {name: group, id: g}]
outcome: {name: y}
predictors: {x: {level: row}}
models: {list: [{id: m, formula: "y ~ x + (x | g)"}]}
estimation: {weights: w, offset: o}
"""
    document = parse(text, tmp_path / "analysis.yml")
    bench = Workbench.of(document, analysis.check(document))
    (found,) = engines.crosscheck(bench, True, "nloptwrap", lambda *_: None)
    assert found.ok
    assert "precisions" in other(found, "glmmTMB").reason
    for engine in ("nlme", "statsmodels"):
        fit = other(found, engine)
        assert fit.loglik == pytest.approx(found.reported.loglik, abs=1e-3), engine
        assert fit.estimates["fixef/x"] == pytest.approx(
            found.reported.estimates["fixef/x"], rel=1e-4
        )


# --- the command and its rows -------------------------------------------------------------------


def row_of(kind: str, name: str) -> Check:
    return Check(name, kind, "", 1.0, 1.0, 0.0, "", "identical")


def test_rows_of_other_kinds_stay(tmp_path: Path) -> None:
    write_checks(tmp_path, {"page"}, [row_of("page", "a"), row_of("page", "b")])
    write_checks(tmp_path, {"engines"}, [row_of("engines", "c")])
    write_checks(tmp_path, {"page"}, [row_of("page", "d")])
    rows = json.loads((tmp_path / CHECKS).read_text("utf-8"))
    assert [(row["kind"], row["id"]) for row in rows] == [("engines", "c"), ("page", "d")]
    with pytest.raises(ValueError, match="not finite"):
        Check("e", "engines", "", math.nan, 1.0, 0.0, "", "")


@pytest.fixture
def sleep_spec(report: Path, tmp_path: Path, copy: Callable[[], Path]) -> Path:
    (tmp_path / "analysis.yml").write_bytes((report.parent / "analysis.yml").read_bytes())
    copy().rename(tmp_path / "report")
    return tmp_path / "analysis.yml"


def test_the_command_tells_and_leaves_rows_beside_the_report(sleep_spec: Path) -> None:
    done = CliRunner().invoke(app, ["crosscheck", str(sleep_spec), "--quiet"])
    assert done.exit_code == 0, done.output
    assert "the one with the highest log-likelihood" in " ".join(done.output.split())
    rows = json.loads((sleep_spec.parent / "report" / CHECKS).read_text("utf-8"))
    assert {row["kind"] for row in rows} == {"engines"}
    assert set(rows[0]) == set(Check.__dataclass_fields__)
    assert "growth/fixef/Days/nlme" in {row["id"] for row in rows}
    assert len({row["id"] for row in rows}) == len(rows)
    assert {row["verdict"] for row in rows} <= {"agrees", "not checked"}


def test_rows_say_why_an_engine_was_not_compared(slopes: ModelCheck) -> None:
    fit = other(slopes, "nlme")
    short = replace(fit, criteria={"loglik": slopes.reported.loglik - 0.4})
    absent = Fit("statsmodels", NOT_APPLICABLE, "it is crossed")
    changed = with_change(slopes, "fixef/Days", 0.2)
    rows = {
        row.id: row
        for model in (replace(slopes, others=(short, absent)), changed)
        for row in engines.as_checks([model])
    }
    assert rows["m/fixef/Days/statsmodels"].found == "not applicable: it is crossed"
    assert rows["m/fixef/Days/statsmodels"].verdict == "not checked"
    assert rows["m/fixef/Days/nlme"].verdict == "differs"
    (days,) = [r for r in engines.as_checks([replace(slopes, others=(short,))])
               if r.id == "m/fixef/Days/nlme"]  # fmt: skip
    assert (days.found, days.verdict) == ("stopped short", "not checked")


def test_a_substantive_difference_ends_with_4(
    sleep_spec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Workbench.other

    def wrong(bench: Workbench, engine: str, key: str, reml: bool) -> Any:
        fit = real(bench, engine, key, reml)
        if engine != "nlme":
            return fit
        return replace(fit, estimates={name: 1.1 * value for name, value in fit.estimates.items()})

    monkeypatch.setattr(Workbench, "other", wrong)
    done = CliRunner().invoke(app, ["crosscheck", str(sleep_spec), "--quiet", "--json"])
    assert done.exit_code == 4
    found = json.loads(done.stdout)
    assert found[0]["rows"][0]["verdict"] == "substantive"
