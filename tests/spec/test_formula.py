import shutil
import subprocess
from contextlib import suppress
from dataclasses import replace
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlmreport.errors import InputError, Location
from mlmreport.spec.formula import (
    FUNCTIONS,
    Arithmetic,
    Call,
    Formula,
    Name,
    Number,
    RandomTerm,
    Term,
    ordered,
    parse,
    parse_term,
    r_name,
    term_r,
    to_r,
    variables,
)


def refusal(text: str, location: Location | None = None):
    with pytest.raises(InputError) as caught:
        parse(text, location)
    return caught.value.problems[0]


# --- generated formulas ------------------------------------------------------------------------

plain_names = st.sampled_from(["a", "b", "c", "x.1", ".d", "size_m", "T", "log", "größe", "数"])
odd_names = st.sampled_from(["school size", "if", "repeat", "2nd", "_id", "TRUE", "a+b", "x²", "é́"])
names = st.one_of(plain_names, odd_names)
numbers = st.one_of(
    st.integers(0, 10**7).map(float),
    st.sampled_from([0.5, 1e5, 1e-4, 123456.0, 1e15, 2.5e-10, 0.1, 3.14159]),
).map(Number)


def deeper(children):
    pairs = st.tuples(children, children)
    return st.one_of(
        st.builds(Arithmetic, st.sampled_from("+-*/^"), pairs),
        st.builds(Arithmetic, st.just("-"), st.tuples(children)),
        st.builds(Call, st.sampled_from(["log", "sqrt", "exp"]), st.tuples(names.map(Name))),
    )


arithmetic = st.recursive(st.one_of(names.map(Name), numbers), deeper, max_leaves=6)
named_arithmetic = arithmetic.filter(lambda found: "Name" in repr(found))
degrees = st.integers(1, 5).map(lambda k: Number(float(k)))
calls = st.one_of(
    st.builds(
        Call, st.sampled_from(sorted(set(FUNCTIONS) - {"poly"})), st.tuples(named_arithmetic)
    ),
    st.builds(Call, st.just("poly"), st.tuples(names.map(Name), degrees), st.booleans()),
)
factors = st.one_of(names.map(Name), names.map(Name), calls)
terms = st.lists(factors, min_size=1, max_size=3, unique=True).map(lambda f: Term(tuple(f)))
term_lists = st.lists(terms, max_size=5).map(ordered)
groups = st.lists(names, min_size=1, max_size=3, unique=True).map(tuple)


@st.composite
def formulas(draw):
    by_groups = draw(st.lists(groups, max_size=3, unique_by=frozenset))
    random = []
    for group in by_groups:
        slopes = draw(term_lists)
        intercept = draw(st.booleans()) or not slopes
        correlated = draw(st.booleans()) or len(slopes) + intercept == 1
        random.append(RandomTerm(slopes, intercept, group, correlated))
    outcome = Name("the outcome")
    offset = draw(st.none() | named_arithmetic)
    return Formula(outcome, draw(term_lists), draw(st.booleans()), tuple(random), offset)


@given(formulas())
@settings(max_examples=150, deadline=None)
def test_what_is_written_is_read_back_the_same(formula):
    assert parse(to_r(formula)) == formula
    assert to_r(parse(to_r(formula))) == to_r(formula)


@given(formulas())
@settings(max_examples=50, deadline=None)
def test_variables_are_unique_and_start_with_the_outcome(formula):
    found = variables(formula)
    assert found[0] == "the outcome"
    assert len(set(found)) == len(found)
    assert {name for random in formula.random for name in random.groups} <= set(found)


# --- arbitrary text ----------------------------------------------------------------------------

PIECES = (
    "y ~ x a `b c` + - * / ^ : ( ) | || 0 1 2 1e5 , = == <- %in% I( log( poly( offset( cbind( "
    "system( $ [ ] { } ; \" ' \\ ` _ . ... ..1 TRUE raw \n # @ ! & 0x1F 2L 1e999 é"
)
pieces = st.sampled_from(PIECES.split(" "))
texts = st.one_of(
    st.text(max_size=60),
    st.lists(pieces, max_size=25).map(" ".join),
    st.lists(pieces, max_size=25).map(lambda found: "y ~ " + "".join(found)),
)


def check_located(error: InputError, text: str) -> None:
    place = error.problems[0].location
    assert place is not None
    assert 1 <= place.column <= len(text) + 1
    assert str(error)


@given(texts)
@settings(max_examples=700, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_text_is_a_formula_or_an_input_error(text):
    try:
        formula = parse(text)
    except InputError as caught:
        check_located(caught, text)
    else:
        assert parse(to_r(formula)) == formula


@pytest.mark.parametrize(
    "text",
    [
        "y ~ " + "(" * 3000 + "x" + ")" * 3000,
        "y ~ " + "I(" * 3000 + "x" + ")" * 3000,
        "y ~ I(" + "^".join("x" * 3000) + ")",
        "y ~ I(" + "+".join("x" * 3000) + ")",
        "y ~ I(" + "-(" * 2000 + "x" + ")" * 2000 + ")",
        "y ~ x" + " + x" * 5000,
        "y ~ (" + "+".join(f"v{i}" for i in range(60)) + ")^9",
        "y ~ " + "+".join(f"v{i}" for i in range(900)),
        "y ~ " + "*".join(f"v{i}" for i in range(40)),
        "y ~ I(x * " + "9" * 4000 + ")",
        "y ~ I(x * 1e99999999999999999999)",
        "y ~ x^" + "9" * 4000,
    ],
    ids=lambda text: text[:12],
)
def test_no_text_is_too_much(text):
    refusal(text)


def test_many_signs_are_one():
    assert parse("y ~ I(" + "-" * 5001 + "x)") == parse("y ~ I(-x)")
    assert parse("y ~ x " + "-" * 5001 + "1") == parse("y ~ x - 1")


# --- what is read ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("mathach~ses+(ses|school)", "mathach ~ ses + (1 + ses | school)"),
        ("y ~ a*b", "y ~ a + b + a:b"),
        ("y ~ a*b*c - a:b:c", "y ~ a + b + c + a:b + a:c + b:c"),
        ("y ~ (a + b + c)^2", "y ~ a + b + c + a:b + a:c + b:c"),
        ("y ~ (a + b)**2", "y ~ a + b + a:b"),
        ("y ~ a/b", "y ~ a + a:b"),
        ("y ~ a/b/c", "y ~ a + a:b + a:b:c"),
        ("y ~ (a + b)/c", "y ~ a + b + a:b:c"),
        ("y ~ b:a + a", "y ~ a + a:b"),
        ("y ~ a + a + a:a", "y ~ a"),
        ("y ~ 1", "y ~ 1"),
        ("y ~ 0 + a", "y ~ 0 + a"),
        ("y ~ a - 1", "y ~ 0 + a"),
        ("y ~ a + -1", "y ~ 0 + a"),
        ("y ~ -1 + a", "y ~ 0 + a"),
        ("y ~ a - 0", "y ~ a"),
        ("y ~ 0 + a + 1", "y ~ a"),
        ("y ~ (1 | g)", "y ~ 1 + (1 | g)"),
        ("y ~ 0 + (1 | g)", "y ~ 0 + (1 | g)"),
        ("y ~ x + (((1 | g)))", "y ~ x + (1 | g)"),
        ("y ~ (1 | a/b)", "y ~ 1 + (1 | a) + (1 | a:b)"),
        ("y ~ (1 | a/b/c)", "y ~ 1 + (1 | a) + (1 | a:b) + (1 | a:b:c)"),
        ("y ~ (1 | a:b)", "y ~ 1 + (1 | a:b)"),
        ("y ~ (x || g)", "y ~ 1 + (1 + x || g)"),
        ("y ~ (1 || g)", "y ~ 1 + (1 | g)"),
        ("y ~ (0 + x | g) + (1 | g)", "y ~ 1 + (0 + x | g) + (1 | g)"),
        ("y ~ (x - 1 | g)", "y ~ 1 + (0 + x | g)"),
        ("y ~ (a*b | g)", "y ~ 1 + (1 + a + b + a:b | g)"),
        ("log(y) ~ x", "log(y) ~ x"),
        ("I(y/100) ~ x", "I(y/100) ~ x"),
        ("I(post - pre) ~ pre", "I(post - pre) ~ pre"),
        ("cbind(k, n - k) ~ x", "cbind(k, n - k) ~ x"),
        ("y ~ x + offset(log(n))", "y ~ x + offset(log(n))"),
        ("y ~ poly(x, degree=2, raw=FALSE)", "y ~ poly(x, 2)"),
        ("y ~ poly(x,3,raw=TRUE)", "y ~ poly(x, 3, raw = TRUE)"),
        ("y ~ I(x^2*100000)", "y ~ I(x^2 * 1e+05)"),
        ("y ~ I((a+b)*c-(d-e))", "y ~ I((a + b) * c - (d - e))"),
        ("y ~ I(-a^2)+I((-a)^2)", "y ~ I(-a^2) + I((-a)^2)"),
        ("y ~ `school size` + `if` + repeat", "y ~ `school size` + `if` + `repeat`"),
        ("y ~ `plain`", "y ~ plain"),
        ("y ~\n  a\n  + b", "y ~ a + b"),
        ("y ~ log + I", "y ~ log + I"),
    ],
)
def test_canonical_form(text, canonical):
    assert to_r(parse(text)) == canonical


def test_types():
    found = parse("y ~ I(x^2) + (1 + x || cask:batch)")
    square = Call("I", (Arithmetic("^", (Name("x"), Number(2.0))),))
    random = RandomTerm((Term((Name("x"),)),), True, ("cask", "batch"), correlated=False)
    assert found == Formula(Name("y"), (Term((square,)),), random=(random,))


def test_variables_in_order_of_use():
    text = "log(y) ~ b*a + offset(n) + (1 + z | g/h) + (1 | `k l`)"
    assert variables(parse(text)) == ("y", "b", "a", "n", "z", "g", "h", "k l")


def test_terms_alone():
    assert [term_r(term) for term in parse_term("ses*sector")] == ["ses", "sector", "ses:sector"]


@pytest.mark.parametrize(
    "text", ["", "1", "0 + a", "(1 | g)", "a + offset(b)", "a ~ b", "a b", "a)"]
)
def test_terms_alone_refuse_all_else(text):
    with pytest.raises(InputError):
        parse_term(text)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("ses", "ses"),
        (".x", ".x"),
        ("größe", "größe"),
        ("school size", "`school size`"),
        ("repeat", "`repeat`"),
        ("TRUE", "`TRUE`"),
        ("NA_real_", "`NA_real_`"),
        (".2x", "`.2x`"),
        ("2x", "`2x`"),
        ("_x", "`_x`"),
        ("x²", "`x²`"),
        ("a'b\"c", "`a'b\"c`"),
    ],
)
def test_names_in_r(name, code):
    assert r_name(name) == code


@pytest.mark.parametrize(
    "name", ["", " ", "a`b", "a\\b", "a\nb", "a\x00b", "a\u202eb", "\ud800", ".", "...", "..1"]
)
def test_names_that_are_refused(name):
    with pytest.raises(InputError):
        r_name(name)


@pytest.mark.parametrize(
    "expression",
    [
        Call("system", (Name("x"),)),
        Arithmetic("<-", (Name("x"), Name("y"))),
        Arithmetic("!", (Name("x"),)),
        Name("x`); system(`ls"),
        Number(-1.0),
        Number(float("inf")),
        Number(float("nan")),
    ],
    ids=repr,
)
def test_nothing_off_the_whitelist_is_written(expression):
    formula = replace(parse("y ~ x"), fixed=(Term((expression,)),))
    with pytest.raises(InputError):
        to_r(formula)


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "column", "length", "message", "hint"),
    [
        ("", 1, 1, "is empty", "write outcome"),
        ("y x", 1, 3, "no '~'", "write outcome"),
        ("y = x", 1, 5, "no '~'", "write outcome"),
        ("y == x", 3, 2, "'==' has no place", "'~'"),
        ("y ~ x ~ z", 7, 1, "one '~'", ""),
        ("~ x", 1, 1, "outcome is missing", ""),
        ("y ~", 4, 1, "something is missing after '~'", ""),
        ("y ~ x +", 8, 1, "something is missing after '+'", ""),
        ("y ~ x + (1 | g", 9, 1, "never closed", "add ')'"),
        ("y ~ x)", 6, 1, "never opened", ""),
        ("y ~ x + 1 | g", 11, 1, "'|' cannot stand here", "(1 + x | group)"),
        ("y ~ school size", 12, 4, "operator is missing", "`school size`"),
        ("y ~ 2x", 5, 1, "a number cannot stand before 'x'", "`2x`"),
        ("y ~ _x", 5, 1, "'_' has no place", "backticks"),
        ("y ~ `a", 5, 1, "'`' has no place", "at its end"),
        ("y ~ `a\nb`", 5, 5, "a line break", "rename"),
        ("y ~ system('x')", 5, 6, "system() cannot be used", "known here"),
        ("y ~ sqr(x)", 5, 3, "sqr() cannot be used", "did you mean 'sqrt'?"),
        ("y ~ scale(x)", 5, 5, "scale() cannot be used", "centre"),
        ("y ~ factor(x)", 5, 6, "factor() cannot be used", "type: category"),
        ("y ~ ns(x, 3)", 5, 2, "ns() cannot be used", "poly(x, 3)"),
        ("y ~ `log`(x)", 5, 5, "log() cannot be used here", "no backticks"),
        ("y ~ log(x, 2)", 10, 1, "log() takes no further argument", ""),
        ("y ~ log()", 5, 3, "log() needs an argument", ""),
        ("y ~ log(2)", 9, 1, "log() needs a variable", ""),
        ("y ~ log(poly(x, 2))", 9, 4, "poly() has several columns", ""),
        ("y ~ poly(x)", 11, 1, "poly() needs a degree", "poly(x, 2)"),
        ("y ~ poly(x, 2.5)", 13, 3, "a whole number from 1 to 9", ""),
        ("y ~ poly(x, 2, simple = TRUE)", 16, 6, "poly() takes 'raw = TRUE'", ""),
        ("y ~ I(x > 3)", 9, 1, "'>' has no place", "preparation"),
        ("y ~ x$z", 6, 1, "'$' has no place", "alone"),
        ("y ~ base::system(x)", 9, 2, "'::' has no place", ""),
        ("y ~ a %in% b", 7, 4, "'%in%' has no place", "a/b"),
        ("y ~ .", 5, 1, "meaning of its own", "name each variable"),
        ("y ~ TRUE", 5, 4, "TRUE is a constant", "`TRUE`"),
        ("y ~ 2", 5, 1, "the number 2 is not a term", "I()"),
        ("y ~ x^2", 6, 1, "'^' crosses", "I(x^2)"),
        ("y ~ 1:x", 5, 1, "':' joins variables only", "'+'"),
        ("y ~ a - b", 9, 1, "no term b to take out", ""),
        ("y ~ a - (1 | g)", 9, 1, "only fixed terms", ""),
        ("y ~ offset(a) + offset(b)", 17, 6, "one offset", ""),
        ("y ~ (0 | g)", 8, 1, "nothing varies", "(1 | group)"),
        ("y ~ (1 | a + b)", 12, 1, "'+' cannot join groups", "(1 | a) + (1 | b)"),
        ("y ~ (1 | factor(g))", 10, 6, "a column, not a function", ""),
        ("y ~ (1 | 1)", 10, 1, "only column names can group", ""),
        ("y ~ (1 | a:a)", 12, 1, "named twice", ""),
        ("y ~ ((1 | g) | h)", 14, 1, "cannot hold another", ""),
        ("y ~ (1 | g) + (x | g)", 1, 21, "the intercept varies over g in more than one", ""),
        ("y ~ y + x", 1, 9, "outcome y is also a predictor", ""),
        ("y + z ~ x", 1, 1, "cannot be an outcome", "I(y / 100)"),
        ("y ~ cbind(a, b)", 5, 5, "cbind() cannot be used here", "outcome"),
        ("y ~ log(offset(x))", 9, 6, "offset() cannot be used here", "'+'"),
    ],
)
def test_refusals(text, column, length, message, hint):
    problem = refusal(text)
    assert message in problem.message
    assert hint in problem.hint
    assert (problem.location.column, problem.location.length) == (column, length)


def test_a_problem_is_located_in_the_callers_line():
    line = "  formula: 'y ~ sqr(x)'"
    problem = refusal("y ~ sqr(x)", Location("a.yml", 3, 12, 1, line))
    assert problem.location == Location("a.yml", 3, line.index("sqr") + 1, 3, line)


def test_a_text_that_is_not_in_the_callers_line_is_its_own_excerpt():
    problem = refusal("y ~\n sqr(x)", Location("a.yml", 3, 12, 1, "formula: >"))
    assert problem.location == Location("a.yml", 3, 6, 3, "y ~  sqr(x)")


def test_a_line_without_excerpt_shifts_the_column():
    assert refusal("y ~ sqr(x)", Location("a.yml", 3, 12)).location == Location("a.yml", 3, 16, 3)


# --- R itself as the judge ---------------------------------------------------------------------

needs_r = pytest.mark.skipif(shutil.which("Rscript") is None, reason="Rscript is not installed")

TERMS_IN_R = """
input <- file("stdin", encoding = "UTF-8")
for (line in readLines(input)) {
  formula <- as.formula(line)
  found <- terms(formula)
  whole <- paste(trimws(deparse(formula, 500L)), collapse = " ")
  cat(whole, attr(found, "intercept"), attr(found, "term.labels"), sep = "\\t")
  cat("\\n")
}
"""
ATOMS = [
    "a",
    "b",
    "c",
    "d",
    "`e f`",
    "`if`",
    "log(a)",
    "I(b^2 * 1e5)",
    "poly(c,2)",
    "I((a-b)/2-(-c))",
]


def some_text(random: Random, depth: int) -> str:
    """A sum of products as someone might write it."""
    if depth == 0 or random.random() < 0.15:
        return random.choice(ATOMS)
    left, right = some_text(random, depth - 1), some_text(random, depth - 1)
    joined = f"({left} + {right})"
    shapes = [f"{left}+{right}", f"{joined}^2", f"{joined}*a", f"{joined}:d", f"{joined}/{right}"]
    shapes += [f"{left} * {right}", f"{left}:{right}", f"{left}/{right}", f"-1 + {left}"]
    return random.choice([*shapes, f"{left}*b - b", f"{left} + a - 1", f"{joined} - 0 + {right}"])


def generated_formulas(count: int) -> dict[str, Formula]:
    """Texts that are formulas, with what they are read as."""
    random, found = Random(1), {}
    while len(found) < count:
        text = f"y ~ {some_text(random, random.choice([1, 2, 2, 3]))}"
        with suppress(InputError):
            found[text] = parse(text)
    return found


def terms_in_r(lines):
    done = subprocess.run(
        ["Rscript", "--vanilla", "-e", TERMS_IN_R],
        input="\n".join(lines) + "\n",
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=True,
    )
    return [row.split("\t") for row in done.stdout.splitlines()]


def contents(labels):
    return [frozenset(label.split(":")) for label in labels]


@pytest.mark.r
@pytest.mark.skipif(shutil.which("Rscript") is None, reason="Rscript is not installed")
def test_expansion_is_that_of_r():
    texts = generated_formulas(80)
    canonical = [to_r(formula) for formula in texts.values()]
    rows = terms_in_r([*texts, *canonical])
    assert len(rows) == 2 * len(texts)
    for formula, code, as_given, as_written in zip(
        texts.values(), canonical, rows[: len(texts)], rows[len(texts) :], strict=True
    ):
        labels = [term_r(term) for term in formula.fixed]
        assert [" ".join(as_written[0].split()), *as_written[1:]] == [
            code,
            str(int(formula.intercept)),
            *labels,
        ]
        assert as_given[1] == as_written[1], code
        assert contents(as_given[2:]) == contents(labels), code
