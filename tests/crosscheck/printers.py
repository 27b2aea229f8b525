"""What other programs print of a model, laid out from lme4's numbers as each program has it.

A printer is given a `Fitted` and returns its text and how many comparable numbers it holds.
"""
# ruff: noqa: E501  lines are as wide as the programs print them

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path

from support import ANALYSES

from mlmreport.spec import formula as fm
from mlmreport.spec.reader import load
from mlmreport.spec.sequence import ModelPlan, Plan, plan

VALUES = Path(__file__).parent / "values.json"
NORMAL = 1.959963984540054

Factor = tuple[str, str, int, int]
"""A variable's column, its category, the place of that, and how many there are; ("x", "", 0, 0)."""


@dataclass(frozen=True)
class Fixed:
    """A fixed effect: its factors and its numbers."""

    factors: tuple[Factor, ...]
    estimate: float
    se: float
    t: float
    df: float
    p: float
    lower: float
    upper: float

    @property
    def z(self) -> tuple[float, float, float]:
        """The test and limits by the normal distribution: p, lower, upper."""
        p = math.erfc(abs(self.t) / math.sqrt(2))
        return p, self.estimate - NORMAL * self.se, self.estimate + NORMAL * self.se


@dataclass(frozen=True)
class Part:
    """The random effects of a grouping: names, (co)variances and their standard errors."""

    group: str
    level: int
    effects: tuple[str, ...]
    values: dict[tuple[int, int], tuple[float, float]]


@dataclass(frozen=True)
class Fitted:
    """A model of a shipped analysis with lme4's numbers."""

    analysis: str
    model: ModelPlan
    values: dict[str, float]
    fixed: tuple[Fixed, ...]
    parts: tuple[Part, ...]
    reml: bool

    @property
    def residual(self) -> tuple[float, float]:
        return self.values["sigma2"], self.values.get("sigma2/se", math.nan)

    @property
    def one_level(self) -> bool:
        return len(self.parts) == 1

    @property
    def products_vary(self) -> bool:
        """Whether each product is of a slope that varies: Mplus has no other ones."""
        varying = set(self.parts[0].effects)
        return all(len(f.factors) < 2 or {c for c, _, _, _ in f.factors} & varying
                   for f in self.fixed)  # fmt: skip

    @property
    def regular(self) -> bool:
        """Whether the variances have standard errors."""
        return "sigma2/se" in self.values


@cache
def stored() -> dict:
    return json.loads(VALUES.read_text("utf-8"))


@cache
def planned(analysis: str) -> Plan:
    return plan(load(ANALYSES / analysis / "analysis.yml"))


def every() -> list[tuple[str, str]]:
    """Every model of the analyses."""
    return [(name, model) for name, found in stored().items() for model in found["models"]]


def fitted(analysis: str, name: str) -> Fitted:
    entry = stored()[analysis]
    values = entry["models"][name]["values"]
    model = next(m for m in planned(analysis).models if m.id == name)
    categories = entry["categories"]
    fixed = [_fixed(values, ())]
    for term in model.formula.fixed:
        combined = product(*(_factors(factor, categories) for factor in term.factors))
        fixed += [_fixed(values, factors) for factors in combined]
    parts = tuple(_part(part, planned(analysis), values) for part in model.formula.random)
    return Fitted(analysis, model, values, tuple(fixed), parts, entry["reml"])


def _factors(factor: fm.Expression, categories: dict[str, list[str]]) -> Iterator[Factor]:
    assert isinstance(factor, fm.Name)
    levels = categories.get(factor.name)
    if levels is None:
        yield factor.name, "", 0, 0
        return
    for place, level in enumerate(levels[1:], 1):
        yield factor.name, level, place, len(levels)


def _fixed(values: dict[str, float], factors: Sequence[Factor]) -> Fixed:
    name = ":".join(column + level for column, level, _, _ in factors) or "(Intercept)"
    of = {what: values.get(f"fixef/{name}/{what}", math.inf) for what in Fixed.__annotations__}
    return Fixed(tuple(factors), **{k: v for k, v in of.items() if k != "factors"})


def _part(part: fm.RandomTerm, planned_: Plan, values: dict[str, float]) -> Part:
    group = ":".join(part.groups)
    names = ["(Intercept)"] * part.intercept + [fm.term_r(term) for term in part.terms]
    found = {}
    for i, first in enumerate(names):
        for j, second in enumerate(names[: i + 1]):
            key = f"var/{group}/{first}" if i == j else f"cov/{group}/{second}/{first}"
            found[i, j] = values[key], values.get(f"{key}/se", math.nan)
    level = next(entry.index for entry in planned_.levels if entry.group == group)
    return Part(group, level, tuple(names), found)


# --- how numbers are printed ----------------------------------------------------------------------


def general(x: float) -> str:
    """Stata's %9.0g: seven digits, no zero before the point, trailing zeros left out."""
    if x != 0 and abs(x) < 1e-4:
        return f"{x:.2e}" if abs(x) > 1e-99 else "0"
    places = max(0, min(7, 6 - math.floor(math.log10(abs(x))) if x else 0))
    text = f"{x:.{places}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return bare(text)


def bare(text: str) -> str:
    """Without the zero before the point."""
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def fixed_places(places: int, zero: bool = True) -> Callable[[float], str]:
    def shown(x: float) -> str:
        text = f"{x:.{places}f}"
        return text if zero else bare(text)

    return shown


Printed = tuple[str, int]


# --- Stata ----------------------------------------------------------------------------------------

_STATA_WORDS = {
    13: ("Coef.   Std. Err.      z    P>|z|     [95% Conf. Interval]", "Random-effects Parameters",
         "Std. Err.     [95% Conf. Interval]"),
    15: ("Coef.   Std. Err.      z    P>|z|     [95% Conf. Interval]", "Random-effects Parameters",
         "Std. Err.     [95% Conf. Interval]"),
    17: ("Coefficient  Std. err.      z    P>|z|     [95% conf. interval]",
         "Random-effects parameters", "Std. err.     [95% conf. interval]"),
}  # fmt: skip
_RULE = "-" * 78


def stata(version: int) -> Callable[[Fitted], Printed]:
    def printed(model: Fitted) -> Printed:
        lines = list(_stata(model, version))
        text = "\n".join(line for line, _ in lines) + "\n"
        return text, sum(count for _, count in lines)

    return printed


def _stata(model: Fitted, version: int) -> Iterator[tuple[str, int]]:
    head, random, errors = _STATA_WORDS[version]
    outcome = fm.expression_r(model.model.formula.outcome)[:12]
    kind = "REML" if model.reml else "ML"
    word = "restricted-" if model.reml else ""
    loglik = f"{model.values['loglik']:.8g}"
    yield f". mixed {outcome} ... || {model.parts[0].group}:, {kind.lower()}", 0
    yield "\nPerforming EM optimization: \n\nPerforming gradient-based optimization: \n", 0
    yield f"Iteration 0:   log {word}likelihood = {model.values['loglik'] - 3:.8g}  ", 0
    yield f"Iteration 1:   log {word}likelihood = {loglik}  ", 0
    yield "\nComputing standard errors:\n", 0
    n = int(model.values["nobs"])
    rows = f"{n:>10,}" if version > 13 else f"{n:>10}"
    yield f"Mixed-effects {kind} regression                   Number of obs     = {rows}", 1
    if model.one_level:
        groups = int(model.values[f"ngroups/{model.parts[0].group}"])
        yield f"Group variable: {model.parts[0].group:<31} Number of groups  = {groups:>10,}", 1
    else:
        yield "\n" + "-" * 61, 0
        yield "                |     No. of       Observations per Group", 0
        yield " Group Variable |     Groups    Minimum    Average    Maximum", 0
        yield "----------------+--------------------------------------------", 0
        for part in model.parts:
            groups = int(model.values[f"ngroups/{part.group}"])
            yield f"{part.group:>15} |{groups:>11,}          1        2.5         99", 1
        yield "-" * 61, 0
    yield "                                                Wald chi2(2)      =     123.45", 0
    yield f"Log {word}likelihood = {loglik:<20}           Prob > chi2       =     0.0000\n", 1
    yield _RULE, 0
    yield f"{outcome:>12} | {head}", 0
    yield "-------------+" + "-" * 64, 0
    yield from _stata_fixed(model)
    yield _RULE + "\n\n" + _RULE, 0
    yield f"  {random}  |   Estimate   {errors}", 0
    yield "-" * 29 + "+" + "-" * 48, 0
    for part in model.parts:
        structure = "Identity" if len(part.effects) == 1 else "Unstructured"
        yield f"{part.group + ': ' + structure:<29}|", 0
        for (i, j), (value, error) in part.values.items():
            names = [_cons(part.effects[k]) for k in sorted({i, j})]
            kind = "var" if i == j else "cov"
            yield _stata_random(f"{kind}({','.join(names)})", value, error)
        yield "-" * 29 + "+" + "-" * 48, 0
    yield _stata_random("var(Residual)", *model.residual)
    yield _RULE, 0
    yield "LR test vs. linear model: chi2(3) = 219.48                Prob > chi2 = 0.0000\n", 0
    yield (
        ". regress y x\n\n      Source |       SS       df       MS      Number of obs =   7185",
        0,
    )
    yield "-------------+------------------------------\n", 0
    yield f"{outcome:>12} |      Coef.   Std. Err.      t    P>|t|     [95% Conf. Interval]", 0
    yield (
        f"       _cons |   1.234567   .1234567    10.00   0.000     1.111111    2.222222\n{_RULE}",
        0,
    )


def _cons(name: str) -> str:
    return "_cons" if name == "(Intercept)" else name


def _stata_random(name: str, value: float, error: float) -> tuple[str, int]:
    limits = f"{general(value / 2):>14}{general(value * 2):>12}"
    shown = "." if math.isnan(error) else general(error)
    count = 1 + (not math.isnan(error))
    return f"{name:>28} |{general(value):>11}{shown:>11}{limits}", count


def _stata_fixed(model: Fitted) -> Iterator[tuple[str, int]]:
    for effect in [*model.fixed[1:], model.fixed[0]]:
        p, lower, upper = effect.z
        numbers = (
            f"{general(effect.estimate):>11}{general(effect.se):>11}{effect.t:>9.2f}{p:>8.3f}"
            f"{general(lower):>13}{general(upper):>12}"
        )
        named = [(c, k) for c, level, k, _ in effect.factors if level]
        if not named:
            name = "#".join(
                f"c.{c}" if len(effect.factors) > 1 else c for c, _, _, _ in effect.factors
            )
            yield f"{name or '_cons':>12} |{numbers}", 6
        else:
            head = "#".join(c if level else f"c.{c}" for c, level, _, _ in effect.factors)
            yield f"             |\n{head:>12} |", 0
            yield f"{'#'.join(str(k + 1) for _, k in named):>11}  |{numbers}\n             |", 6


# --- SPSS -----------------------------------------------------------------------------------------


def spss(layout: str, comma: bool = False) -> Callable[[Fitted], Printed]:
    def printed(model: Fitted) -> Printed:
        tables = list(_spss(model))
        text = "".join(_spss_table(*table, layout, comma) for table in tables)
        return text, sum(count for *_, count in tables)

    return printed


SpssTable = tuple[str, list[list[str]], list[list[str]], int]


def _spss(model: Fitted) -> Iterator[SpssTable]:
    shown, three = fixed_places(6, zero=False), fixed_places(3, zero=False)
    values, v = model.values, "Restricted " if model.reml else ""
    criteria = [
        [f"-2 {v}Log Likelihood", f"{values['deviance']:.3f}"],
        ["Akaike's Information Criterion (AIC)", f"{values['aic']:.3f}"],
        ["Hurvich and Tsai's Criterion (AICC)", f"{values['aic'] + 0.01:.3f}"],
        ["Schwarz's Bayesian Criterion (BIC)", f"{values['bic']:.3f}"],
    ]
    yield "Information Criteriaa", [], criteria, 3
    head = ["Parameter", "Estimate", "Std. Error", "df", "t", "Sig.", "95% Confidence Interval", ""]
    below = ["", "", "", "", "", "", "Lower Bound", "Upper Bound"]
    rows = [_spss_fixed(effect, shown, three) for effect in model.fixed]
    for column, count in {(c, n) for f in model.fixed for c, lv, _, n in f.factors if lv}:
        rows.append([f"[{column}={count}]", "0b", "0", ".", ".", ".", ".", "."])
    count = sum(sum(cell not in {".", ""} for cell in row[1:]) for row in rows if row[1] != "0b")
    yield "Estimates of Fixed Effectsa", [head, below], rows, count
    rows = [["Residual", "", *_pair(model.residual, shown)]]
    for part in model.parts:
        effects = " + ".join("Intercept" if e == "(Intercept)" else e for e in part.effects)
        for place, ((i, j), found) in enumerate(part.values.items()):
            label = f"{effects} [subject = {part.group}]" if not place else ""
            second = "Variance" if len(part.effects) == 1 else f"UN ({i + 1},{j + 1})"
            rows.append([label, second, *_pair(found, shown)])
    count = sum(sum(cell not in {".", ""} for cell in row[2:]) for row in rows)
    head = ["Parameter", "", "Estimate", "Std. Error"]
    yield "Estimates of Covariance Parametersa", [head], rows, count


def _pair(found: tuple[float, float], shown: Callable[[float], str]) -> list[str]:
    return [shown(x) if not math.isnan(x) else "." for x in found]


def _spss_fixed(
    effect: Fixed, shown: Callable[[float], str], three: Callable[[float], str]
) -> list[str]:
    names = [f"[{c}={k}]" if level else c for c, level, k, _ in effect.factors]
    df, p, low, high = effect.df, effect.p, effect.lower, effect.upper
    if math.isinf(df):
        p, low, high = effect.z
    tests = [three(df) if math.isfinite(df) else ".", three(effect.t), three(p)]
    return [
        " * ".join(names) or "Intercept", shown(effect.estimate), shown(effect.se), *tests,
        shown(low), shown(high),
    ]  # fmt: skip


def _spss_table(
    title: str, heads: list[list[str]], rows: list[list[str]], _: int, layout: str, comma: bool
) -> str:
    if comma:
        rows = [[row[0], *(cell.replace(".", ",") if len(cell) > 1 else cell for cell in row[1:])]
                for row in rows]  # fmt: skip
    end = "a. Dependent Variable: y." if layout != "tabs" else "a Dependent Variable: y."
    if layout == "csv":
        lines = [";".join(f'"{cell}"' if " " in cell else cell for cell in row)
                 for row in [*heads, *rows]]  # fmt: skip
        return "\n".join([title, *lines, end, "", ""])
    if layout == "tabs":
        return "\n".join([title, *("\t".join(row) for row in [*heads, *rows]), end, "", ""])
    if layout == "single":
        lines = [" ".join(cell for cell in row if cell) for row in [*heads, *rows]]
        return "\n".join([title, *lines, end, "", ""])
    widths = [max(len(row[k]) for row in [*heads, *rows]) for k in range(len(rows[0]))]
    if layout == "bars":
        rule = "|" + "|".join("-" * width for width in widths) + "|"
        shown = [
            "|" + "|".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + "|"
            for row in [*heads, *rows]
        ]
        body = [line for pair in zip([rule] * len(shown), shown, strict=True) for line in pair]
        return "\n".join([title, *body, rule, end, "", ""])
    shown = [
        "  ".join(cell.ljust(w) if not k else cell.rjust(w)
                  for k, (cell, w) in enumerate(zip(row, widths, strict=True)))
        for row in [*heads, *rows]
    ]  # fmt: skip
    return "\n".join([title, *(line.rstrip() for line in shown), end, "", ""])


# --- SAS ------------------------------------------------------------------------------------------


def _best(x: float) -> str:
    if math.isnan(x):
        return "."
    size = math.floor(math.log10(abs(x))) if x else 0
    return f"{x:.{max(0, min(4, 6 - size)) if size >= 0 else min(6, 3 - size)}f}"


def _sas_p(p: float) -> str:
    return "<.0001" if p < 0.0001 else f"{p:.4f}"


def sas(model: Fitted) -> Printed:
    lines = ["                  The Mixed Procedure", "", "                  Model Information", "",
             "Data Set                     WORK.A", "Degrees of Freedom Method    Satterthwaite",
             "", "            Number of Observations", "",
             f"Number of Observations Read      {int(model.values['nobs']) + 5}",
             f"Number of Observations Used      {int(model.values['nobs'])}", "",
             "              Covariance Parameter Estimates", "",
             "                                    Standard         Z",
             "Cov Parm     Subject    Estimate       Error     Value        Pr Z", ""]  # fmt: skip
    count = 1
    for part in model.parts:
        for (i, j), (value, error) in part.values.items():
            name = "Intercept" if len(part.effects) == 1 else f"UN({i + 1},{j + 1})"
            wald = value / error if error == error else math.nan
            lines.append(
                f"{name:<13}{part.group:<9}{_best(value):>10}{_best(error):>12}"
                f"{'.' if wald != wald else f'{wald:.2f}':>10}      <.0001"
            )
            count += 1 + (error == error)
    value, error = model.residual
    lines.append(f"{'Residual':<22}{_best(value):>10}{_best(error):>12}      9.99      <.0001")
    count += 1 + (error == error)
    word = "Res " if model.reml else ""
    lines += ["", "           Fit Statistics", "",
              f"-2 {word}Log Likelihood         {model.values['deviance']:.1f}",
              f"AIC (Smaller is Better)       {model.values['aic']:.1f}",
              f"AICC (Smaller is Better)      {model.values['aic'] + 0.3:.1f}",
              f"BIC (Smaller is Better)       {model.values['bic']:.1f}", "",
              "                   Solution for Fixed Effects", ""]  # fmt: skip
    classes = list(dict.fromkeys(c for f in model.fixed for c, lv, _, _ in f.factors if lv))
    heads = "".join(f"{name:<12}" for name in classes)
    lines += [f"{'':<22}{'':<{len(heads)}}            Standard",
              f"{'Effect':<22}{heads}  Estimate       Error        DF    t Value    Pr > |t|", ""]  # fmt: skip
    count += 3
    for effect in model.fixed:
        name = "*".join(c for c, _, _, _ in effect.factors) or "Intercept"
        own = {c: k for c, level, k, _ in effect.factors if level}
        cells = "".join(f"{own.get(name_, ''):<12}" for name_ in classes)
        df = f"{effect.df:.0f}" if math.isfinite(effect.df) else "."
        p = effect.p if math.isfinite(effect.df) else effect.z[0]
        lines.append(
            f"{name:<22}{cells}{_best(effect.estimate):>10}{_best(effect.se):>12}{df:>10}"
            f"{effect.t:>11.2f}{_sas_p(p):>12}"
        )
        count += 4 + (df != ".")
    lines += ["", "        Type 3 Tests of Fixed Effects", "", "              Num     Den",
              "Effect         DF      DF    F Value    Pr > F", "", "x               1     100   4.00    0.0412"]  # fmt: skip
    return "\n".join(lines) + "\n", count


# --- HLM, Mplus, MLwiN ----------------------------------------------------------------------------


def hlm(model: Fitted) -> Printed:
    """HLM2, for two levels: level-1 slopes each with the predictors of level 2."""
    part = model.parts[0]
    rule = " " + "-" * 76
    n, groups = int(model.values["nobs"]), int(model.values[f"ngroups/{part.group}"])
    names = ["INTRCPT1" if e == "(Intercept)" else e for e in part.effects]
    lines = [" Module:      HLM2.EXE (7.00.21103.1002)", "", " Specifications for this HLM2 run", "",
             f"  The maximum number of level-1 units = {n}",
             f"  The maximum number of level-2 units = {groups}", "",
             f" sigma^2 =     {model.residual[0]:.5f}", "", "tau"]  # fmt: skip
    count = 2
    for i, name in enumerate(names):
        row = [part.values[max(i, j), min(i, j)][0] for j in range(len(names))]
        lines.append(f" {name + f',B{i}':<14}" + "".join(f"{x:>12.5f}" for x in row))
        count += i
    lines += ["", "", "Final estimation of fixed effects:", rule,
              "                                       Standard             Approx.",
              "    Fixed Effect         Coefficient   Error      t-ratio   d.f.     p-value", rule]  # fmt: skip
    fixed, read = list(_hlm_fixed(model)), 0
    for effects, heading in fixed:
        lines.append(f" For {heading:>14}, B0")
        for label, effect in effects:
            p = effect.z[0]
            lines.append(
                f"    {label + ', G00':<22}{effect.estimate:>12.6f}{effect.se:>11.6f}{effect.t:>10.3f}"
                f"{groups - 2:>10}{'<0.001' if p < 0.001 else f'{p:.3f}':>9}"
            )
            read += 3
    robust = lines[-read // 3 - len(fixed) :]
    lines += [rule, "", "Final estimation of fixed effects", "(with robust standard errors)", rule,
              "    Fixed Effect         Coefficient   Error      t-ratio   d.f.     p-value", rule,
              *robust, rule, "", " Final estimation of variance components:", rule,
              "  Random Effect           Standard      Variance     d.f.    chi2     p-value",
              "                          Deviation     Component", rule]  # fmt: skip
    for i, name in enumerate(names):
        value = part.values[i, i][0]
        label = (name if i == 0 else f"{name} slope") + f", u{i}"
        lines.append(
            f"  {label:<24}{math.sqrt(value):>9.5f}{value:>14.5f}{99:>6}{700.1:>12.5f}    <0.001"
        )
    value = model.residual[0]
    lines += [f"  {'level-1,       r':<24}{math.sqrt(value):>9.5f}{value:>14.5f}", rule, "",
              " Statistics for the current model", " " + "-" * 50,
              f" Deviance                       = {model.values['deviance']:.6f}",
              " Number of estimated parameters = 4"]  # fmt: skip
    return "\n".join(lines) + "\n", count + read + 2 * len(names) + 3


def _hlm_fixed(model: Fitted) -> Iterator[tuple[list[tuple[str, Fixed]], str]]:
    """The effects by slope, level 1 above level 2."""
    levels = {v.column: v.level for v in planned(model.analysis).variables.values()}
    outer: dict[str, list[tuple[str, Fixed]]] = {"INTRCPT1": []}
    for effect in model.fixed:
        low = [c for c, _, _, _ in effect.factors if levels.get(c, 1) == 1]
        high = [c for c, _, _, _ in effect.factors if levels.get(c, 1) > 1]
        heading = "*".join(low) + " slope" if low else "INTRCPT1"
        outer.setdefault(heading, []).append(("*".join(high) or "INTRCPT2", effect))
    for heading, effects in outer.items():
        yield effects, heading


def r2mlwin(model: Fitted) -> Printed:
    part = model.parts[0]
    lines = ["-*" * 40, "MLwiN (version: 3.05)  multilevel model (Normal) ",
             "Estimation algorithm:  IGLS        Elapsed time : 0.06s ",
             f"Number of obs:  {int(model.values['nobs'])} (from total 9999)        The model converged",
             f"Log likelihood:      {model.values['loglik']:.1f} ",
             f"Deviance statistic:  {model.values['deviance']:.1f} ", "-" * 80,
             f"Level 2: {part.group}     Level 1: row ", "-" * 80, "The fixed part estimates:  ",
             "                 Coef.   Std. Err.        z     Pr(>|z|)         [95% Conf.   Interval] "]  # fmt: skip
    for effect in model.fixed:
        name = ":".join(c + level for c, level, _, _ in effect.factors) or "Intercept"
        p, low, high = effect.z
        lines.append(
            f"{name.replace(' ', '_'):<14}{effect.estimate:>12.5f}{effect.se:>12.5f}{effect.t:>9.2f}"
            f"{p:>13.4g}  ***{low:>12.5f}{high:>12.5f} "
        )
    lines += ["Signif. codes:  0 '***' 0.001 '**' 0.01 '*' 0.05 '.' 0.1 ' ' 1", "-" * 80,
              f"The random part estimates at the {part.group} level: ", "                  Coef.   Std. Err. "]  # fmt: skip
    count = 3 + 6 * len(model.fixed)
    for (i, j), (value, error) in part.values.items():
        names = [part.effects[k].strip("()") for k in sorted({i, j})]
        lines.append(
            f"{'var' if i == j else 'cov'}_{'_'.join(names):<16}{value:>12.5f}{error:>12.5f} "
        )
        count += 2
    value, error = model.residual
    lines += ["-" * 80, "The random part estimates at the row level: ",
              "                  Coef.   Std. Err. ",
              f"var_Intercept   {value:>12.5f}{error:>12.5f} "]  # fmt: skip
    return "\n".join(lines) + "\n", count + 2


def mplus(model: Fitted) -> Printed:
    """A two-level regression with a random slope of each level-1 predictor that varies."""
    part = model.parts[0]
    outcome = fm.expression_r(model.model.formula.outcome).upper()
    slopes = {name: f"S{k}" for k, name in enumerate(part.effects[1:], 1)}
    lines = ["Mplus VERSION 8.4", "MUTHEN & MUTHEN", "", "INPUT INSTRUCTIONS", "",
             "  MODEL: %WITHIN%"]  # fmt: skip
    lines += [f"    {slope} | {outcome} ON {name};" for name, slope in slopes.items()]
    lines += ["", "SUMMARY OF ANALYSIS", "",
              f"Number of observations                                {int(model.values['nobs']):>10}",
              "", f"  Cluster variable      {part.group.upper()}", "",
              "Estimator                                                       ML", "",
              "MODEL FIT INFORMATION", "", "Number of Free Parameters                        9", "",
              "Loglikelihood", "", f"          H0 Value                       {model.values['loglik']:.3f}", "",
              "Information Criteria", "",
              f"          Akaike (AIC)                   {model.values['aic']:.3f}",
              f"          Bayesian (BIC)                 {model.values['bic']:.3f}",
              f"          Sample-Size Adjusted BIC       {model.values['bic'] - 9:.3f}", "",
              "MODEL RESULTS", "", "                                                    Two-Tailed",
              "                    Estimate       S.E.  Est./S.E.    P-Value", ""]  # fmt: skip
    body, count = _mplus_results(model, outcome, slopes)
    return "\n".join([*lines, *body, "", "STANDARDIZED MODEL RESULTS", "", "Within Level",
                      f" {outcome} ON", "    X    0.500 0.010 50.0 0.000"]) + "\n", count + 4  # fmt: skip


def _mplus_row(name: str, value: float, error: float) -> str:
    p = math.erfc(abs(value / error) / math.sqrt(2))
    return f"    {name:<14}{value:>10.3f}{error:>11.3f}{value / error:>11.3f}{p:>11.3f}"


def _mplus_results(model: Fitted, outcome: str, slopes: dict[str, str]) -> tuple[list[str], int]:
    levels = {v.column: v.level for v in planned(model.analysis).variables.values()}
    part = model.parts[0]
    within, between = [], []
    cross: dict[str, list[str]] = {name: [] for name in slopes}
    means, fixed = [], 0
    for effect in model.fixed:
        names = [c for c, _, _, _ in effect.factors]
        low = [c for c in names if levels.get(c, 1) == 1]
        if not names:
            means.append(_mplus_row(outcome, effect.estimate, effect.se))
        elif len(names) == 1 and names[0] in slopes:
            means.append(_mplus_row(slopes[names[0]], effect.estimate, effect.se))
        elif low and low[0] in cross and len(names) == 2:
            high = next(c for c in names if c not in low)
            cross[low[0]].append(_mplus_row(high.upper(), effect.estimate, effect.se))
        elif low:
            within.append(_mplus_row(names[0].upper(), effect.estimate, effect.se))
        else:
            between.append(_mplus_row(names[0].upper(), effect.estimate, effect.se))
        fixed += 1
    lines = ["Within Level"]
    lines += ["", f" {outcome:<10} ON", *within] if within else []
    lines += ["", " Residual Variances", _mplus_row(outcome, *model.residual), "", "Between Level"]
    for name, rows in cross.items():
        lines += ["", f" {slopes[name]:<10} ON", *rows] if rows else []
    lines += ["", f" {outcome:<10} ON", *between] if between else []
    labels = {"(Intercept)": outcome, **slopes}
    pairs = [(i, j) for i, j in part.values if i != j]
    for i, j in pairs:
        lines += ["", f" {labels[part.effects[j]]:<8} WITH",
                  _mplus_row(labels[part.effects[i]], *part.values[i, j])]  # fmt: skip
    lines += ["", " Intercepts", *means, "", " Residual Variances"]
    lines += [_mplus_row(labels[name], *part.values[i, i]) for i, name in enumerate(part.effects)]
    return lines, 4 * fixed + 2 * (1 + len(part.values))
