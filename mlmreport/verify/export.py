"""The models of an analysis in the syntax of other programs, with the prepared data as csv.

What every program is handed is made once: plain column names, categories as codes with labels,
functions of predictors and indicators of random categories as columns of their own, the outcome
less its offset. A program's writer then only spells the models; what it cannot express becomes a
comment in the place of the model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlmreport.data.prepare import PreparedData
from mlmreport.errors import InputError
from mlmreport.spec import formula as fm
from mlmreport.spec.contrasts import codings_of
from mlmreport.spec.quoting import GUARD_IN_R, guarded, r_string
from mlmreport.spec.reader import Document
from mlmreport.spec.sequence import ModelPlan, Plan, plan
from mlmreport.verify.script import write_data

__all__ = ["PROGRAMS", "Program", "export"]

DATA = "data.csv"


class Inexpressible(Exception):
    """A program has no way to say it; the message says what."""


@dataclass(frozen=True, slots=True)
class Effects:
    """The random effects of one term.

    Parameters
    ----------
    group
        The column of the grouping.
    columns
        Those with random slopes, one an effect.
    intercept, correlated
        Whether the intercept varies, and whether the effects covary.
    """

    group: str
    columns: tuple[str, ...]
    intercept: bool
    correlated: bool

    @property
    def size(self) -> int:
        """The number of effects."""
        return len(self.columns) + self.intercept


@dataclass(frozen=True)
class Model:
    """A model over plain columns; `fault` says why it cannot be exported at all."""

    id: str
    label: str
    formula: str
    outcome: str = ""
    terms: tuple[tuple[str, ...], ...] = ()
    intercept: bool = True
    effects: tuple[Effects, ...] = ()
    fault: str = ""


@dataclass(frozen=True)
class Exported:
    """All that a writer needs.

    Parameters
    ----------
    title
        Of the analysis.
    models
        In order.
    frame
        The data, plain names.
    labels
        For each category its labels, the reference first.
    originals
        For each plain name what it is in the report.
    nested
        The groupings from the coarsest down; empty where some are crossed.
    reml, ddf, weights
        As the spec has them.
    """

    title: str
    models: tuple[Model, ...]
    frame: pd.DataFrame
    labels: Mapping[str, tuple[str, ...]]
    originals: Mapping[str, str]
    nested: tuple[str, ...]
    reml: bool
    ddf: str
    weights: str


@dataclass(frozen=True, slots=True)
class Program:
    """A row of `PROGRAMS`: the script's name, its writer, and how the data are coded.

    `codes` is ``"first"`` or ``"last"`` for numbers with the reference there, ``"text"`` for the
    categories' own names.
    """

    file: str
    write: Callable[[Exported], str]
    codes: str


def export(document: Document, data: PreparedData, program: str, folder: Path) -> tuple[Path, ...]:
    """Write the data and the script of a program into a folder; the files written.

    Raises
    ------
    InputError
        When the folder holds other things.
    """
    row = PROGRAMS[program]
    if folder.is_file() or (
        folder.is_dir() and any(folder.iterdir()) and not (folder / row.file).is_file()
    ):
        raise InputError.of(
            f"{folder} is there and holds no {row.file}", "name a new folder with --output"
        )
    exported = _exported(document, plan(document), data)
    folder.mkdir(parents=True, exist_ok=True)
    write_data(_coded(exported, row.codes), folder / DATA)
    script = folder / row.file
    script.write_text(row.write(exported), encoding="utf-8")
    return folder / DATA, script


# --- what is exported ---------------------------------------------------------------------------


_WORDS = """
    all and as assert async await break by byte c class continue def del double elif else eq
    except false finally float for from function ge global gt i if import in inf int is lambda
    le long lt na nan ne next none nonlocal not null or pass q raise repeat return str to true
    try using while with yield
"""
RESERVED = frozenset(_WORDS.split())
"""Words that one of the programs does not take as a name."""


@dataclass
class _Columns:
    """The data on their way, under plain names that every program reads."""

    source: pd.DataFrame
    made: dict[str, pd.Series[Any]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    def take(self, original: str, values: pd.Series[Any] | None = None) -> str:
        """The plain name of a column, made at its first use."""
        if original not in self.names:
            name = self._plain(original)
            self.names[original] = name
            self.made[name] = self.source[original] if values is None else values
        return self.names[original]

    def _plain(self, original: str) -> str:
        """Letters, digits and underscores, at most 28, begun by a letter; unique whatever case."""
        stem = re.sub(r"[^A-Za-z0-9]+", "_", original).strip("_")[:28] or "x"
        stem = stem if stem[0].isalpha() else f"x_{stem}"
        stem = f"{stem}_x" if stem.lower() in RESERVED else stem
        taken, name, number = {known.lower() for known in self.made}, stem, 1
        while name.lower() in taken:
            number += 1
            name = f"{stem}_{number}"
        return name


def _exported(document: Document, planned: Plan, data: PreparedData) -> Exported:
    columns = _Columns(data.frame)
    for level in planned.groups:
        columns.take(level.group)
    models = tuple(_model(model, columns) for model in planned.models)
    weights = columns.take(planned.weights) if planned.weights else ""
    labels = {
        name: tuple(map(str, values.cat.categories))
        for name, values in columns.made.items()
        if isinstance(values.dtype, pd.CategoricalDtype)
    }
    used = {effects.group for model in models for effects in model.effects}
    return Exported(
        title=document.spec.title,
        models=models,
        frame=pd.DataFrame(columns.made),
        labels=labels,
        originals={name: original for original, name in columns.names.items()},
        nested=_nesting(columns.made, used),
        reml=document.spec.estimation.method == "REML",
        ddf=document.spec.inference.df,
        weights=weights,
    )


def _nesting(columns: Mapping[str, pd.Series[Any]], groups: set[str]) -> tuple[str, ...]:
    """The groupings from the coarsest down; none where one is not within the one above it."""
    order = sorted(groups, key=lambda name: columns[name].nunique())
    for above, below in pairwise(order):
        pairs = pd.DataFrame({"a": columns[above], "b": columns[below]}).drop_duplicates()
        if pairs["b"].duplicated().any():
            return ()
    return tuple(order)


def _model(model: ModelPlan, columns: _Columns) -> Model:
    found = Model(model.id, model.label, model.r)
    try:
        return replace(
            found,
            outcome=_outcome(model.formula, columns),
            terms=tuple(dict.fromkeys(_terms(model.formula, columns))),
            intercept=model.formula.intercept,
            effects=tuple(_effects(part, columns) for part in model.formula.random),
        )
    except Inexpressible as fault:
        return replace(found, fault=str(fault))


def _outcome(formula: fm.Formula, columns: _Columns) -> str:
    if not isinstance(formula.outcome, fm.Name):
        raise Inexpressible(f"the outcome {fm.expression_r(formula.outcome)}")
    if formula.offset is None:
        return columns.take(formula.outcome.name)
    values = columns.source[formula.outcome.name] - _evaluated(formula.offset, columns.source)
    name = f"{formula.outcome.name} less {fm.expression_r(formula.offset)}"
    return columns.take(name, values)


def _terms(formula: fm.Formula, columns: _Columns) -> Iterator[tuple[str, ...]]:
    """The fixed terms; contrasts without a reference are columns of numbers, a term each."""
    codings = codings_of(columns.source)
    for term in formula.fixed:
        for factor in term.factors:
            if isinstance(factor, fm.Name) and factor.name in codings:
                _check_margin(formula, term, factor)
        yield from product(*(_coded_columns(factor, columns) for factor in term.factors))


def _check_margin(formula: fm.Formula, term: fm.Term, factor: fm.Expression) -> None:
    """R gives a category a column of its own each where the term without it is missing."""
    rest = fm.Term(tuple(other for other in term.factors if other != factor))
    there = any(rest.same_as(other) for other in formula.fixed)
    if not (there if rest.factors else formula.intercept):
        raise Inexpressible(f"{fm.term_r(term)} with contrasts and without its lower terms")


def _coded_columns(factor: fm.Expression, columns: _Columns) -> list[str]:
    """The columns of a factor of a term: several for contrasts without a reference."""
    made = codings_of(columns.source).get(factor.name) if isinstance(factor, fm.Name) else None
    if made is None or not isinstance(factor, fm.Name):
        return [_factor(factor, columns)]
    codes = columns.source[factor.name].cat.codes.to_numpy()
    index = columns.source.index
    return [
        columns.take(f"{factor.name}{name}", pd.Series(np.array(values)[codes], index=index))
        for name, values in zip(made.names, zip(*made.values, strict=True), strict=True)
    ]


def _factor(factor: fm.Expression, columns: _Columns) -> str:
    if isinstance(factor, fm.Name):
        return columns.take(factor.name)
    return columns.take(fm.expression_r(factor), _evaluated(factor, columns.source))


_ARITHMETIC: Mapping[str, Callable[[Any, Any], Any]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "^": lambda a, b: a**b,
}
_CALLS: Mapping[str, Callable[[Any], Any]] = {
    "I": lambda x: x,
    "log": np.log,
    "log2": np.log2,
    "log10": np.log10,
    "log1p": np.log1p,
    "exp": np.exp,
    "sqrt": np.sqrt,
    "abs": np.abs,
}


def _evaluated(expression: fm.Expression, frame: pd.DataFrame) -> Any:
    match expression:
        case fm.Name(name):
            return frame[name]
        case fm.Number(value):
            return value
        case fm.Arithmetic("-", (operand,)):
            return -_evaluated(operand, frame)
        case fm.Arithmetic(operator, (left, right)):
            return _ARITHMETIC[operator](_evaluated(left, frame), _evaluated(right, frame))
        case fm.Call(function, (argument,)) if function in _CALLS:
            return _CALLS[function](_evaluated(argument, frame))
    raise Inexpressible(fm.expression_r(expression))


def _effects(part: fm.RandomTerm, columns: _Columns) -> Effects:
    found: list[str] = []
    for term in part.terms:
        if term.degree > 1:
            raise Inexpressible(f"the random interaction {fm.term_r(term)}")
        found += _columns_of(term.factors[0], part.intercept or bool(found), columns)
    group = _group(part.groups, columns)
    return Effects(group, tuple(found), part.intercept, part.correlated)


def _columns_of(factor: fm.Expression, without_first: bool, columns: _Columns) -> Iterator[str]:
    """A number as it is; a category as indicators, without its reference next to an intercept."""
    if without_first and len(coded := _coded_columns(factor, columns)) > 1:
        yield from coded
        return
    name = _factor(factor, columns)
    values = columns.made[name]
    if not isinstance(values.dtype, pd.CategoricalDtype):
        yield name
        return
    for level in values.cat.categories[int(without_first) :]:
        yield columns.take(f"{name} {level}", (values == level).astype(float))


def _group(groups: Sequence[str], columns: _Columns) -> str:
    if len(groups) == 1:
        return columns.take(groups[0])
    joined = columns.source[list(groups)].astype(str).agg(":".join, axis=1).astype("category")
    return columns.take(":".join(groups), joined)


def _coded(exported: Exported, codes: str) -> pd.DataFrame:
    """The data with categories as numbers, the reference first or last; or as they are."""
    if codes == "text":
        return exported.frame
    made = {}
    for name, labels in exported.labels.items():
        order = _order(labels, codes)
        values = exported.frame[name].astype(str)
        made[name] = values.map({label: k for k, label in enumerate(order, 1)}).astype("int64")
    return exported.frame.assign(**made)


def _order(labels: Sequence[str], codes: str) -> tuple[str, ...]:
    return tuple(labels) if codes == "first" else (*labels[1:], labels[0])


def _is_guarded(labels: Iterable[str]) -> bool:
    """Whether the data have an apostrophe before some category, against spreadsheets."""
    return any(guarded(label) != label for label in labels)


# --- what the writers share -----------------------------------------------------------------------

Writer = Callable[[Model, Exported], Iterator[str]]


def _script(
    exported: Exported, mark: str, head: Sequence[str], write: Writer, end: str = ""
) -> str:
    """Head, then each model under its label, or why it is left out, as comments."""
    lines = [*(f"{mark} {line}{end}" for line in _about(exported)), "", *head]
    for model in exported.models:
        lines += ["", f"{mark} {_one_line(model.label)}: {_one_line(model.formula)}{end}"]
        try:
            if model.fault:
                raise Inexpressible(model.fault)
            lines += list(write(model, exported))
        except Inexpressible as fault:
            lines.append(
                f"{mark} Left out: it cannot be expressed here: {_one_line(str(fault))}{end}"
            )
    return "\n".join(lines) + "\n"


def _about(exported: Exported) -> Iterator[str]:
    yield _one_line(exported.title)
    yield f"Written by mlmreport, the data are in {DATA}, as they were prepared for lme4"
    for name, original in exported.originals.items():
        if name != original:
            yield f"{name} is {_one_line(original)}"


def _one_line(text: str) -> str:
    """Without line breaks, and without what would end a comment or begin another."""
    plain = " ".join(text.split()).replace(";", ",").rstrip(".")
    return re.sub(r"(?<=[*/])(?=[*/])", " ", plain)


def _is_category(name: str, exported: Exported) -> bool:
    return name in exported.labels


def _quoted(text: str) -> str:
    """In double quotes, without what Stata, SPSS or SAS would read within them."""
    return '"' + re.sub(r"[\"`$&%\\]", "'", _one_line(text)) + '"'


def _require_nested(exported: Exported, what: str) -> None:
    if not exported.nested:
        raise Inexpressible(f"crossed groupings {what}")


def _by_group(model: Model, exported: Exported) -> Iterator[tuple[str, list[Effects]]]:
    """The terms of each grouping, the coarsest first."""
    groups = {effects.group for effects in model.effects}
    order = sorted(groups, key=lambda name: exported.frame[name].nunique())
    for group in order:
        yield group, [effects for effects in model.effects if effects.group == group]


# --- Stata ----------------------------------------------------------------------------------------

_STATA_DF = {"satterthwaite": " dfmethod(satterthwaite)", "kenward-roger": " dfmethod(kroger)"}


def _stata(exported: Exported) -> str:
    used = {name for model in exported.models for term in model.terms for name in term}
    head = [f"import delimited using {_quoted(DATA)}, clear case(preserve)"]
    for name, labels in exported.labels.items():
        if name in used:
            pairs = " ".join(f"{k} {_quoted(label)}" for k, label in enumerate(labels, 1))
            head += [f"label define {name} {pairs}", f"label values {name} {name}"]
    return _script(exported, "*", head, _stata_model)


def _stata_model(model: Model, exported: Exported) -> Iterator[str]:
    if exported.weights:
        raise Inexpressible("prior weights of precision; those of mixed are frequency or sampling")
    fixed = " ".join([model.outcome, *(_stata_term(term, exported) for term in model.terms)])
    fixed += "" if model.intercept else ", noconstant"
    parts = [fixed, *_stata_random(model, exported)]
    df = _STATA_DF.get(exported.ddf, "") if exported.reml else ""
    options = ("reml" if exported.reml else "mle") + df
    last = parts[-1]
    parts[-1] = f"{last}{' ' if ',' in last else ', '}{options}"
    yield "mixed " + " ///\n    ".join(parts)
    yield "estat ic"


def _stata_term(term: Sequence[str], exported: Exported) -> str:
    return "#".join(("i." if _is_category(name, exported) else "c.") + name for name in term)


def _stata_random(model: Model, exported: Exported) -> Iterator[str]:
    if not exported.nested and len({effects.group for effects in model.effects}) > 1:
        yield from _stata_crossed(model, exported)
        return
    for group, terms in _by_group(model, exported):
        for effects in terms:
            options = [] if effects.intercept else ["noconstant"]
            if effects.size > 1:
                kind = "unstructured" if effects.correlated else "independent"
                options.append(f"covariance({kind})")
            slopes = " ".join(effects.columns)
            yield f"|| {group}: {slopes}".rstrip() + (f", {' '.join(options)}" if options else "")


def _stata_crossed(model: Model, exported: Exported) -> Iterator[str]:
    """Intercepts of crossed groupings: all but the largest as indicators within the whole data."""
    if any(effects.columns for effects in model.effects):
        raise Inexpressible("random slopes of crossed groupings")
    *smaller, largest = [group for group, _ in _by_group(model, exported)]
    yield from (f"|| _all: R.{group}" for group in smaller)
    yield f"|| {largest}:"


# --- SPSS -----------------------------------------------------------------------------------------


def _spss(exported: Exported) -> str:
    formats = [
        f"    {name} {'F8.0' if _is_category(name, exported) else 'F32.16'}"
        for name in map(str, exported.frame)
    ]
    head = [
        f"GET DATA /TYPE=TXT /FILE={_quoted(DATA)} /ENCODING='UTF8'",
        "  /ARRANGEMENT=DELIMITED /DELIMITERS=',' /QUALIFIER='\"' /FIRSTCASE=2",
        "  /VARIABLES=",
        *formats,
        "  .",
    ]
    used = {name for model in exported.models for term in model.terms for name in term}
    for name, labels in exported.labels.items():
        if name in used:
            order = _order(labels, "last")
            pairs = " ".join(f"{k} {_quoted(label)}" for k, label in enumerate(order, 1))
            head.append(f"VALUE LABELS {name} {pairs}.")
    return _script(exported, "*", head, _spss_model, ".")


def _spss_model(model: Model, exported: Exported) -> Iterator[str]:
    names = dict.fromkeys(name for term in model.terms for name in term)
    slopes = dict.fromkeys(name for effects in model.effects for name in effects.columns)
    factors = [name for name in names if _is_category(name, exported)]
    covariates = [n for n in {**names, **slopes} if not _is_category(n, exported)]
    by = f" BY {' '.join(factors)}" if factors else ""
    with_ = f" WITH {' '.join(covariates)}" if covariates else ""
    yield f"MIXED {model.outcome}{by}{with_}"
    terms = " ".join("*".join(term) for term in model.terms)
    noint = "" if model.intercept else "NOINT "
    yield f"  /FIXED={terms}{' ' if terms else ''}| {noint}SSTYPE(3)"
    for effects in model.effects:
        kind = "ID" if effects.size == 1 else "UN" if effects.correlated else "DIAG"
        inner = " ".join([*(["INTERCEPT"] if effects.intercept else []), *effects.columns])
        yield f"  /RANDOM={inner} | SUBJECT({effects.group}) COVTYPE({kind})"
    if exported.weights:
        yield f"  /REGWGT={exported.weights}"
    yield f"  /METHOD={'REML' if exported.reml else 'ML'}"
    yield "  /PRINT=SOLUTION TESTCOV."


# --- SAS ------------------------------------------------------------------------------------------

_SAS_DF = {"satterthwaite": " ddfm=satterthwaite", "kenward-roger": " ddfm=kr"}


def _sas(exported: Exported) -> str:
    head = [
        "data analysis;",
        f"  infile {_quoted(DATA)} dsd firstobs=2;",
        f"  input {' '.join(map(str, exported.frame))};",
        "run;",
    ]
    used = {name for model in exported.models for term in model.terms for name in term}
    for name, labels in exported.labels.items():
        if name in used:
            coded = ", ".join(_quoted(label) for label in _order(labels, "last"))
            head.append(f"/* The codes of {name} from 1 on, the reference last: {coded} */")
    return _script(exported, "/*", head, _sas_model, " */")


def _sas_model(model: Model, exported: Exported) -> Iterator[str]:
    factors = [n for term in model.terms for n in term if _is_category(n, exported)]
    classes = dict.fromkeys([*(effects.group for effects in model.effects), *factors])
    yield f"proc mixed data=analysis method={'reml' if exported.reml else 'ml'} covtest;"
    yield f"  class {' '.join(classes)};"
    terms = " ".join("*".join(term) for term in model.terms)
    noint = "" if model.intercept else " noint"
    yield f"  model {model.outcome} = {terms} / solution{noint}{_SAS_DF.get(exported.ddf, '')};"
    for effects in model.effects:
        inner = " ".join([*(["intercept"] if effects.intercept else []), *effects.columns])
        kind = " type=un" if effects.size > 1 and effects.correlated else ""
        yield f"  random {inner} / subject={effects.group}{kind};"
    if exported.weights:
        yield f"  weight {exported.weights};"
    yield "run;"


# --- nlme -----------------------------------------------------------------------------------------


def _nlme(exported: Exported) -> str:
    head = ["library(nlme)", "", f"d <- read.csv({r_string(DATA)}, stringsAsFactors = FALSE)"]
    for name, labels in exported.labels.items():
        levels = ", ".join(map(r_string, labels))
        texts = f"as.character(d${name})"
        if _is_guarded(labels):
            texts = f'sub({r_string(GUARD_IN_R)}, "", {texts})'
        head.append(f"d${name} <- factor({texts}, levels = c({levels}))")
    return _script(exported, "#", head, _nlme_model)


def _nlme_model(model: Model, exported: Exported) -> Iterator[str]:
    groups = list(_by_group(model, exported))
    if len(groups) > 1:
        _require_nested(exported, "in lme()")
    right = [*([] if model.intercept else ["0"]), *(":".join(term) for term in model.terms)]
    parts = [f"  {group} = {_nlme_structure(terms)}" for group, terms in groups]
    yield f"m_{model.id} <- lme("
    yield f"  {model.outcome} ~ {' + '.join(right) or '1'}, data = d,"
    yield "  random = list(\n  " + ",\n  ".join(parts) + "\n  ),"
    if exported.weights:
        yield f"  weights = varFixed(~ I(1 / {exported.weights})),"
    yield f"  method = {r_string('REML' if exported.reml else 'ML')},"
    yield "  control = lmeControl(maxIter = 500, msMaxIter = 500, msTol = 1e-10)"
    yield ")"
    yield f"print(summary(m_{model.id}))"


def _nlme_structure(terms: Sequence[Effects]) -> str:
    blocks = []
    for effects in terms:
        inner = " + ".join(["1" if effects.intercept else "0", *effects.columns])
        kind = "pdSymm" if effects.correlated else "pdDiag"
        blocks.append(f"{kind}(~ {inner})")
    return blocks[0] if len(blocks) == 1 else f"pdBlocked(list({', '.join(blocks)}))"


# --- statsmodels ----------------------------------------------------------------------------------

_PYTHON = '''\
import numpy as np
import pandas as pd
import statsmodels.formula.api as smf
from statsmodels.regression.mixed_linear_model import MixedLMParams


def fitted(model, reml):
    """The better of two fits from neutral starts: from its own MixedLM can stop far away."""
    fits = []
    for start in (0.1, 1.0):
        first = MixedLMParams.from_components(
            fe_params=np.linalg.lstsq(model.exog, model.endog, rcond=None)[0],
            cov_re=start * np.eye(model.k_re) if model.k_re else None,
            vcomp=start * np.ones(model.k_vc) if model.k_vc else None,
        )
        fits.append(model.fit(reml=reml, method=["bfgs", "lbfgs", "cg"], start_params=first))
    return max(fits, key=lambda found: found.llf)


results = {}'''


def _statsmodels(exported: Exported) -> str:
    groups = ", ".join(f"{name!r}: str" for name in exported.labels)
    read = f"d = pd.read_csv({DATA!r}, dtype={{{groups}}}, keep_default_na=False)"
    plain = [
        f'd[{name!r}] = d[{name!r}].str.removeprefix("\'")'
        for name, labels in exported.labels.items()
        if _is_guarded(labels)
    ]
    return _script(exported, "#", [*_PYTHON.splitlines(), read, *plain], _statsmodels_model)


def _statsmodels_model(model: Model, exported: Exported) -> Iterator[str]:
    if exported.weights:
        raise Inexpressible("prior weights, which MixedLM does not have")
    groups = list(_by_group(model, exported))
    if len(groups) > 1:
        _require_nested(exported, "in MixedLM")
    terms = [":".join(_patsy(name, exported) for name in term) for term in model.terms]
    formula = (
        f"{model.outcome} ~ {' + '.join([*([] if model.intercept else ['0']), *terms]) or '1'}"
    )
    together, apart = _statsmodels_random(groups)
    yield "model = smf.mixedlm("
    yield f"    {formula!r},"
    yield f"    d, groups={groups[0][0]!r},"
    yield f"    re_formula={together!r},"
    if apart:
        yield f"    vc_formula={apart!r},"
    yield ")"
    yield f"results[{model.id!r}] = fitted(model, reml={exported.reml})"
    yield f"print(results[{model.id!r}].summary())"


def _statsmodels_random(groups: Sequence[tuple[str, list[Effects]]]) -> tuple[str, dict[str, str]]:
    """The block with covariances, and variances by formula."""
    (_, top), *lower = groups
    wide = [effects for effects in top if effects.correlated and effects.size > 1]
    if len(wide) > 1 or any(e.size > 1 and e.correlated for _, terms in lower for e in terms):
        raise Inexpressible("correlated random effects at a lower grouping, or two blocks of them")
    together = ""
    if wide:
        inner = ["1" if wide[0].intercept else "0", *wide[0].columns]
        together = "~ " + " + ".join(inner)
    elif any(effects.intercept for effects in top):
        together = "~ 1"
    alone = [column for effects in top if effects not in wide for column in effects.columns]
    if not together:
        together = f"~ 0 + {alone.pop(0)}"
    apart = {column: f"0 + {column}" for column in alone}
    for group, terms in lower:
        for effects in terms:
            if effects.intercept:
                apart[group] = f"0 + C({group})"
            apart |= {f"{group}_{c}": f"0 + C({group}):{c}" for c in effects.columns}
    return together, apart


def _patsy(name: str, exported: Exported) -> str:
    if not _is_category(name, exported):
        return name
    return f"C({name}, Treatment({exported.labels[name][0]!r}))"


PROGRAMS: Mapping[str, Program] = {
    "stata": Program("models.do", _stata, "first"),
    "spss": Program("models.sps", _spss, "last"),
    "sas": Program("models.sas", _sas, "last"),
    "nlme": Program("models.R", _nlme, "text"),
    "statsmodels": Program("models.py", _statsmodels, "text"),
}
"""The programs that models are written for."""
