import re
import shutil
import subprocess
import warnings
from dataclasses import replace
from itertools import combinations
from random import Random

import pypandoc
import pytest
import typst

from mlmreport.spec.formula import Formula, Name, RandomTerm, Term, ordered, parse, to_r
from mlmreport.steps.equations import LevelInfo, Variable, equations, tex_text

VARIABLES = {
    variable.name: variable
    for variable in [
        Variable("ses", "SES", 1),
        Variable("age", "Age", 1),
        Variable("race", "Race", 1, ("Black", "Other"), (), "White"),
        Variable("sector", "Sector", 2, ("Catholic",), ("sectorCatholic",), "Public"),
        Variable("size", "School size", 2),
        Variable("funds", "Funds", 3),
        Variable("urban", "Urban", 3, ("yes",), (), "no"),
    ]
}
STUDENT = LevelInfo("student", None, "i")
SCHOOL = LevelInfo("school", "school", "j")
TWO = [STUDENT, SCHOOL]
THREE = [*TWO, LevelInfo("district", "district", "k")]
CROSSED = [
    LevelInfo("response", None, "i"),
    LevelInfo("subject", "subject", "j", crossed=True),
    LevelInfo("item", "item", "k", crossed=True),
]


def written(text, levels=TWO):
    return equations(parse(text), VARIABLES, levels, "Mathematics")


def rows(latex):
    """The rows of an aligned block, continuation lines joined to what they continue."""
    body = latex.removeprefix("\\begin{aligned}\n").removesuffix("\n\\end{aligned}")
    return [row.replace("\n", " ") for row in re.split(r" \\\\\n(?!&\\quad)", body)]


def symbols(found, component):
    return {symbol.latex: symbol for symbol in found.symbols if symbol.component == component}


# --- the notation ------------------------------------------------------------------------------


def test_two_levels():
    found = written("math ~ ses * sector + size + (ses | school)")
    assert [name for name, _ in found.levels] == ["Level 1 (student)", "Level 2 (school)"]
    assert rows(found.levels[0][1]) == [
        r"Y_{ij} &= \beta_{0j} + \beta_{1j}\,\text{SES}_{ij} + e_{ij}"
    ]
    assert rows(found.levels[1][1]) == [
        r"\beta_{0j} &= \gamma_{00} + \gamma_{01}\,\text{Catholic}_{j}"
        r" + \gamma_{02}\,\text{School size}_{j} + u_{0j}",
        r"\beta_{1j} &= \gamma_{10} + \gamma_{11}\,\text{Catholic}_{j} + u_{1j}",
    ]
    assert found.note == ""


def test_three_levels():
    found = written("math ~ ses * funds + size + (1 | school) + (ses | district)", THREE)
    level_1, level_2, level_3 = (rows(latex) for _, latex in found.levels)
    assert level_1 == [r"Y_{ijk} &= \pi_{0jk} + \pi_{1jk}\,\text{SES}_{ijk} + e_{ijk}"]
    assert level_2 == [
        r"\pi_{0jk} &= \beta_{00k} + \beta_{01k}\,\text{School size}_{jk} + r_{0jk}",
        r"\pi_{1jk} &= \beta_{10k}",
    ]
    assert level_3 == [
        r"\beta_{00k} &= \gamma_{000} + \gamma_{001}\,\text{Funds}_{k} + u_{00k}",
        r"\beta_{01k} &= \gamma_{010}",
        r"\beta_{10k} &= \gamma_{100} + \gamma_{101}\,\text{Funds}_{k} + u_{10k}",
    ]
    assert r"r_{0jk} &\sim \mathcal{N}(0, \tau_{\pi 00})" in found.distributions
    assert r"\tau_{\beta 00} & \tau_{\beta 01} \\" in found.distributions


def test_crossed_groups_are_one_equation():
    found = written("math ~ ses + (ses | subject) + (1 | item)", CROSSED)
    assert found.levels == ()
    assert "cross-classified" in found.note
    assert (
        rows(found.composite)[0]
        .split(" &\\quad")[0]
        .startswith(
            r"Y_{i(jk)} &= \gamma_{0} + \gamma_{1}\,\text{SES}_{i(jk)} + u_{0j}"
            r" + u_{1j}\,\text{SES}_{i(jk)} + v_{0k}"
        )
    )
    assert r"v_{0k} &\sim \mathcal{N}(0, \tau_{v 00})" in found.distributions


def test_a_grouping_that_is_no_level_gets_an_index():
    found = written("math ~ 1 + (1 | school) + (1 | school:year)")
    assert rows(found.composite) == [r"Y_{i(jk)} &= \gamma_{0} + u_{0j} + v_{0jk} + e_{i(jk)}"]
    assert found.note


def test_one_level():
    found = written("math ~ ses", [STUDENT])
    assert rows(found.composite) == [r"Y_{i} &= \beta_{0} + \beta_{1}\,\text{SES}_{i} + e_{i}"]
    assert "Z" not in found.matrix


def test_uncorrelated_effects_have_zero_covariances():
    found = written("math ~ ses + (ses || school)")
    assert r"\begin{pmatrix}\tau_{00} & 0 \\ 0 & \tau_{11}\end{pmatrix}" in found.distributions
    assert not symbols(found, "cov")


def test_correlated_effects_have_a_covariance():
    found = written("math ~ ses + (ses | school)")
    assert r"\tau_{00} & \tau_{01} \\ \tau_{01} & \tau_{11}" in found.distributions
    covariance = symbols(found, "cov")[r"\tau_{01}"]
    assert (covariance.coefficient, covariance.other) == ("(Intercept)", "ses")
    assert covariance.group == "school"


def test_a_slope_without_a_fixed_effect():
    found = written("math ~ 1 + (ses | school)")
    assert rows(found.levels[1][1])[1] == r"\beta_{1j} &= u_{1j}"


def test_a_slope_of_a_variable_of_the_group_itself():
    found = written("math ~ size + (size || school)")
    assert rows(found.levels[1][1]) == [
        r"\beta_{0j} &= \gamma_{00} + \gamma_{01}\,\text{School size}_{j} + u_{0j}"
        r" + u_{01j}\,\text{School size}_{j}"
    ]


def test_subscripts_of_two_digits_are_set_apart():
    names = [f"x{i}" for i in range(11)]
    facts = {name: Variable(name, name, 1) for name in names}
    found = equations(parse(f"y ~ {' + '.join(names)} + (1 | school)"), facts, TWO, "Y")
    assert r"\gamma_{11,0}" in symbols(found, "fixef")
    assert r"\gamma_{90}" in symbols(found, "fixef")


@pytest.mark.parametrize(
    ("term", "latex"),
    [
        ("I(age^2)", r"\text{Age}_{ij}^{2}"),
        ("I((age - ses)^2)", r"(\text{Age}_{ij} - \text{SES}_{ij})^{2}"),
        ("I(age - ses)", r"(\text{Age}_{ij} - \text{SES}_{ij})"),
        ("I(-age)", r"(-\text{Age}_{ij})"),
        ("I(age / 10 * 1e-5)", r"\text{Age}_{ij} / 10 \cdot 10^{-5}"),
        ("I(age / 2e-5)", r"\text{Age}_{ij} / (2 \cdot 10^{-5})"),
        ("I(1e5^age)", r"(10^{5})^{\text{Age}_{ij}}"),
        ("I(age^1e5)", r"\text{Age}_{ij}^{10^{5}}"),
        ("I(age - (ses - 1))", r"(\text{Age}_{ij} - (\text{SES}_{ij} - 1))"),
        ("log(age)", r"\log(\text{Age}_{ij})"),
        ("log1p(age)", r"\log(1 + \text{Age}_{ij})"),
        ("log10(age + 1)", r"\log_{10}(\text{Age}_{ij} + 1)"),
        ("sqrt(age)", r"\sqrt{\text{Age}_{ij}}"),
        ("ses:size", r"\text{SES}_{ij} \times \text{School size}_{j}"),
    ],
)
def test_transformed_predictors(term, latex):
    assert rf"\gamma_{{0}} + \gamma_{{1}}\,{latex} + " in flat(term)


def flat(term):
    """The composite equation of a model that is not split into levels."""
    crossed = [STUDENT, LevelInfo("school", "school", "j", crossed=True)]
    found = equations(parse(f"y ~ {term} + (1 | school)"), VARIABLES, crossed, "Y").composite
    return found.replace(" \\\\\n&\\quad", "")


def test_polynomials():
    raw, orthogonal = written("y ~ poly(age, 2, raw = TRUE)"), written("y ~ poly(age, 2)")
    assert r"\gamma_{10}\,\text{Age}_{ij} + \gamma_{20}\,\text{Age}_{ij}^{2}" in raw.composite
    assert r"\gamma_{20}\,P_{2}(\text{Age}_{ij})" in orthogonal.composite
    assert symbols(orthogonal, "fixef")[r"\gamma_{20}"].coefficient == "poly(age, 2)2"


def test_outcome_and_offset():
    found = written("log(math) ~ offset(age) + (1 | school)")
    assert rows(found.levels[0][1]) == [r"\log(Y_{ij}) &= \beta_{0j} + \text{Age}_{ij} + e_{ij}"]


def test_prior_weights_divide_the_residual_variance():
    formula = parse("math ~ ses + offset(age) + (1 | school)")
    found = equations(formula, VARIABLES, TWO, "Mathematics", weighted=True)
    last = rows(found.distributions)[-1]
    assert last == r"e_{ij} &\sim \mathcal{N}(0, \sigma^{2} / \omega_{ij})"
    assert r"\boldsymbol{\gamma} + \mathbf{o}" in found.matrix
    assert found.matrix.endswith(r"\sigma^{2}\mathbf{W}^{-1})")
    meanings = {symbol.component: symbol.meaning for symbol in found.symbols}
    assert meanings["sigma2"].endswith("where the prior weight is 1")
    assert "its coefficient fixed at 1" in meanings["offset"]
    assert "known" in meanings["weight"]


@pytest.mark.parametrize("seed", range(50))
def test_without_correlations_only_effects_of_one_term_covary(seed):
    random = Random(seed)
    formula = some_formula(random, TWO)
    term = RandomTerm(some_terms(random, 2, ["ses", "age", "race"]), True, ("school",), False)
    found = equations(replace(formula, random=(term,)), VARIABLES, TWO, "Mathematics")
    factors = [
        set(coefficient.split(":")) for symbol in found.symbols if symbol.component == "cov"
        for coefficient in (symbol.coefficient, symbol.other)
    ]  # fmt: skip
    # A term covaries within itself only where it has several columns, those of a category.
    assert all(any(part.startswith("race") for part in parts) for parts in factors)
    assert "(Intercept)" not in set().union(*factors)


def test_meanings():
    found = symbols(written("math ~ ses * sector + (ses | school)"), "fixef")
    assert [symbol.meaning for symbol in found.values()] == [
        "the expected Mathematics where every predictor is 0 or is at its reference category, "
        "in the average school",
        "the expected difference in Mathematics per unit of SES, where Sector is at its reference "
        "category, in the average school",
        "the expected difference in Mathematics between Sector: Catholic and the reference "
        "category, where SES is 0",
        "how much the coefficient of SES changes in Sector: Catholic",
    ]


def test_a_variable_that_is_not_known_is_an_error():
    with pytest.raises(KeyError):
        written("math ~ unknown + (1 | school)")


# --- back from the equations to the formula ----------------------------------------------------

NAME_OF = {tex_text(v.label): v.name for v in VARIABLES.values()} | {
    tex_text(column): v.name + column
    for v in VARIABLES.values()
    for column in (*v.columns, v.reference)
    if column
}


def read_sum(right):
    """``a\\,X \\times Z + b`` as {symbol: the products it is multiplied by}."""
    found = {}
    for part in re.split(r" \+ ", right.replace("&\\quad ", "").replace("\\\\ ", "")):
        symbol, _, factors = part.strip("+ ").partition("\\,")
        labels = re.findall(r"\\text\{[^}]*\}", factors)
        assert symbol not in found, right
        found[symbol] = frozenset(NAME_OF[label] for label in labels)
    return found


def read_levels(found):
    """The symbols that stay when the equations of all levels are put into that of level 1."""
    equation = {}
    for _, block in found.levels:
        for row in rows(block):
            left, right = row.split(" &= ", 1)
            assert left not in equation
            equation[left] = read_sum(right)
    (outcome,) = (left for left in equation if left.startswith("Y"))

    def resolved(left, factors):
        for symbol, more in equation[left].items():
            if symbol in equation:
                yield from resolved(symbol, factors | more)
            else:
                yield symbol, factors | more

    pairs = list(resolved(outcome, frozenset()))
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def expected_columns(terms, intercept, *, alone=False):
    """Each column of numeric and dummy variables that a formula has.

    A term of ``||`` stands alone, ``(0 + term | group)``, where R codes every category.
    """
    found = [frozenset()] if intercept else []
    for term in terms:
        columns = [frozenset()]
        for factor in term.factors:
            variable = VARIABLES[factor.name]
            more = [variable.reference] if alone and variable.columns else []
            names = [factor.name + column for column in (*more, *variable.columns)] or [factor.name]
            columns = [column | {name} for name in names for column in columns]
        found += columns
    return found


def expected_pairs(term):
    """The effects of a grouping that covary: all, or with ``||`` those of one term of it."""
    sets = [expected_columns((one,), intercept=False, alone=True) for one in term.terms]
    if term.correlated:
        sets = [expected_columns(term.terms, intercept=True)]
    named = [[":".join(sorted(column)) or "(Intercept)" for column in columns] for columns in sets]
    return {frozenset(pair) for names in named for pair in combinations(names, 2)}


def some_terms(random, most, names):
    """Terms with all they contain, so that factors are coded by contrasts."""
    found = []
    for _ in range(random.randint(0, most)):
        chosen = random.sample(names, random.choice([1, 1, 2, 3]))
        for degree in range(1, len(chosen) + 1):
            found += [Term(tuple(map(Name, some))) for some in combinations(chosen, degree)]
    return ordered(found)


def some_formula(random, levels):
    names = [name for name, variable in VARIABLES.items() if variable.level <= len(levels)]
    groups = [("school",)] if len(levels) == 2 else [("school",), ("district",)]
    if random.random() < 0.3 and len(levels) == 3:
        groups[0] = ("district", "school")
    random_terms = tuple(
        RandomTerm(some_terms(random, 1, names), True, group, random.random() < 0.7)
        for group in groups
        if random.random() < 0.9
    )
    offset = Name("age") if random.random() < 0.3 else None
    return Formula(Name("math"), some_terms(random, 4, names), True, random_terms, offset)


@pytest.mark.parametrize("seed", range(200))
def test_the_equations_say_what_the_formula_says(seed):
    random = Random(seed)
    levels = [TWO, THREE][seed % 2]
    formula, weighted = some_formula(random, levels), random.random() < 0.3
    found = equations(formula, VARIABLES, levels, "Mathematics", weighted=weighted)
    read = read_levels(found)
    left, composite = rows(found.composite)[0].split(" &= ", 1)
    assert left.startswith("Y")
    assert read == read_sum(composite)
    gammas, effects = symbols(found, "fixef"), symbols(found, "u")
    offset = symbols(found, "offset")
    assert len(offset) == (formula.offset is not None)
    assert set(read) == set(gammas) | set(effects) | set(symbols(found, "e")) | set(offset)
    assert bool(symbols(found, "weight")) == weighted == ("omega" in found.distributions)
    assert sorted(map(sorted, (read[latex] for latex in gammas))) == sorted(
        map(sorted, expected_columns(formula.fixed, intercept=True))
    )
    for latex, symbol in (gammas | effects).items():
        assert read[latex] == set(symbol.coefficient.split(":")) - {"(Intercept)"}
    for term in formula.random:
        group = ":".join(term.groups)
        mine = [read[latex] for latex, symbol in effects.items() if symbol.group == group]
        assert sorted(map(sorted, mine)) == sorted(
            map(sorted, expected_columns(term.terms, intercept=True, alone=not term.correlated))
        )
        pairs = {
            frozenset(
                ":".join(sorted(name.split(":"))) for name in (symbol.coefficient, symbol.other)
            )
            for symbol in symbols(found, "cov").values()
            if symbol.group == group
        }
        assert pairs == expected_pairs(term)
    assert len({symbol.latex for symbol in found.symbols}) == len(found.symbols)


# --- R's names ---------------------------------------------------------------------------------

MODELS = [
    "~ ses * sector + size",
    "~ 0 + race + sector",
    "~ race:ses",
    "~ race:sector",
    "~ ses + ses:race",
    "~ poly(age, 2) + poly(ses, 1) + I(age^2)",
    "~ poly(age, 2):race + race",
    "~ 0 + ses + race:sector",
    "~ race * sector * ses",
]

NAMES_IN_R = """
set.seed(1)
d <- expand.grid(race = c("White", "Black", "Other"), sector = c("Public", "Catholic"), k = 1:4)
d$race <- factor(d$race, levels = c("White", "Black", "Other"))
d$sector <- factor(d$sector, levels = c("Public", "Catholic"))
for (name in c("ses", "age", "size")) d[[name]] <- rnorm(nrow(d))
for (text in commandArgs(TRUE)) {
  cat(colnames(model.matrix(as.formula(text), d)), sep = "\\t")
  cat("\\n")
}
"""


@pytest.mark.r
@pytest.mark.skipif(shutil.which("Rscript") is None, reason="Rscript is not installed")
def test_coefficients_have_the_names_of_r():
    codes = [to_r(parse(f"math {text}")).removeprefix("math ") for text in MODELS]
    done = subprocess.run(
        ["Rscript", "--vanilla", "-e", NAMES_IN_R, *codes],
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=True,
    )
    in_r = [line.split("\t") for line in done.stdout.splitlines()]
    assert len(in_r) == len(MODELS)
    for text, names in zip(MODELS, in_r, strict=True):
        found = symbols(written(f"math {text}"), "fixef").values()
        assert [symbol.coefficient for symbol in found] == names, text


# --- rendering ---------------------------------------------------------------------------------

LABELS = [
    "R&D spending (%)",
    "a_b #1 {x}",
    "C:\\temp ^2 ~ $5",
    "Größe 数 − 😀",
    "tab\there, line\nbreak",
    '@cite <b> [z] `q` "w" {{< x >}}',
]


@pytest.mark.parametrize("label", LABELS)
def test_labels_of_any_characters(label):
    html = pypandoc.convert_text(
        f"${tex_text(label)}$", "html", format="markdown", extra_args=["--mathml"]
    )
    assert 'class="math' not in html
    shown = re.search(r"<mtext[^>]*>(.*?)</mtext>", html).group(1)
    for char, entity in {"&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"'}.items():
        shown = shown.replace(char, entity)
    assert shown.replace("‘", "`").split() == label.split()


def all_equations():
    awkward = {
        f"x{i}": Variable(f"x{i}", label, 1 + i % 2, (label,) if i > 3 else ())
        for i, label in enumerate(LABELS)
    }
    right = " + ".join(["x0 * x1", *list(awkward)[2:]])
    yield equations(parse(f"y ~ {right} + (x0 + x2 || school)"), awkward, TWO, "Y & Z")
    yield written("log(math) ~ poly(age, 3) * sector + I((ses - 1e5)^2) + (ses | school)")
    yield written("math ~ ses * size * funds + (ses | district/school)", THREE)
    yield written("math ~ sqrt(ses) + log10(age) + (ses | subject) + (1 | item)", CROSSED)


def test_pandoc_and_typst_render_all(tmp_path):
    texts = [
        text
        for found in all_equations()
        for text in (
            *(latex for _, latex in found.levels),
            found.composite,
            found.distributions,
            found.matrix,
            *(symbol.latex for symbol in found.symbols),
        )
    ]
    document = "\n\n".join(f"$$\n{text}\n$$" for text in texts)
    html = pypandoc.convert_text(document, "html", format="markdown", extra_args=["--mathml"])
    assert html.count("<math") == len(texts)
    assert 'class="math' not in html
    source = tmp_path / "equations.typ"
    pypandoc.convert_text(
        document, "typst", format="markdown", outputfile=str(source), extra_args=["--standalone"]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert typst.compile(str(source)).startswith(b"%PDF")
