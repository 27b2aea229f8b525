from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mlmreport import display
from mlmreport.quantities import Quantity, Results, Source
from mlmreport.verify.displayed import read_page
from mlmreport.verify.recomputed import interval_of, recompute


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("−1.27", (-1.275, -1.265)),
        (".072", (0.0715, 0.0725)),
        ("<\N{NARROW NO-BREAK SPACE}.001", (0.0, 0.001)),
        ("= .012", (0.0115, 0.0125)),
        ("39.5\N{NARROW NO-BREAK SPACE}%", (0.3945, 0.3955)),
        ("1,204", (1203.5, 1204.5)),
        ("1.2\N{NARROW NO-BREAK SPACE}×\N{NARROW NO-BREAK SPACE}10⁻⁵", (1.15e-5, 1.25e-5)),
    ],
)
def test_a_text_stands_for_all_that_rounds_to_it(text: str, expected: tuple[float, float]) -> None:
    assert interval_of(text) == pytest.approx(expected, rel=1e-12)


@given(
    st.sampled_from(sorted(set(display.KINDS) - {"level"})),
    st.floats(-1e6, 1e6),
    st.sampled_from(["plain", "percent"]),
)
@example("covariance", 5e-324, "plain")
def test_a_value_is_in_the_interval_of_its_text(kind: str, value: float, form: str) -> None:
    text = display.text(Quantity("x", value, kind, "", "", Source("x")), form)
    found = interval_of(text)
    assert found is not None
    if not text.startswith("<"):
        assert found[0] - 1e-9 * abs(value) <= value <= found[1] + 1e-9 * abs(value)


def test_what_is_no_number_stands_for_none() -> None:
    assert interval_of("n/a") is None
    assert interval_of("") is None
    assert interval_of("2, 3") is not None  # thousands: the caller gives single numbers


# --- relations --------------------------------------------------------------------------------

LEVEL = Quantity("settings/level", 0.95, "level", "", "", Source("inference.level", "spec"))
T = "t test, Satterthwaite df"
LIMITS = "95 % Wald t interval, Satterthwaite df"
EXAMPLE = {
    # R: pt(-2.5, 20) * 2 = 0.02122; qt(.975, 20) = 2.0860
    "a/estimate": ("2.50", "estimate", ""),
    "a/se": ("1.00", "se", ""),
    "a/df": ("20.0", "df", ""),
    "a/t": ("2.50", "statistic", T),
    "a/p": (".021", "p", T),
    "a/lower": ("0.41", "estimate", LIMITS),
    "a/upper": ("4.59", "estimate", LIMITS),
    # R: pchisq(5.991, 2, lower.tail = FALSE) = .0500; mean of that for 1 and 2 df = .0322
    "b/chisq": ("5.991", "statistic", "REML"),
    "b/df": ("2", "integer", ""),
    "b/p_naive": (".050", "p", "REML"),
    "b/p": (".032", "p", "REML; mixture of chi-squares with 1 and 2 df"),
    # 100 + 2 * 3; 100 + 3 log(50)
    "fit/m/deviance": ("100.0", "criterion", "ML, n = 50"),
    "m/parameters": ("3", "count", ""),
    "fit/m/aic": ("106.0", "criterion", "ML, n = 50"),
    "fit/m/bic": ("111.7", "criterion", "ML, n = 50"),
    "m/var/g/x/variance": ("4.00", "variance", ""),
    "m/var/g/x/sd": ("2.00", "sd", ""),
    "icc/sigma2": ("6.00", "variance", ""),
    "icc/g/tau": ("2.00", "variance", ""),
    "icc/total": ("8.00", "variance", ""),
    "icc/g/icc": (".250", "proportion", ""),
    "icc/level1": (".750", "share", ""),
}
RESULTS = {
    "a/t", "a/p", "a/lower", "a/upper", "b/p_naive", "b/p", "fit/m/aic", "fit/m/bic",
    "m/var/g/x/sd", "icc/total", "icc/g/icc", "icc/level1",
}  # fmt: skip


def _wrong(**texts: str) -> set[str]:
    """The ids of relations that fail when some numbers are displayed otherwise."""
    items = {
        name: Quantity(name, 1.0, kind, "", name, Source("f(m)"), method)
        for name, (_, kind, method) in EXAMPLE.items()
    }
    results = Results({}, {LEVEL.id: LEVEL, **items}, {}, (), (), (), ())
    changed = {name.replace("__", "/"): text for name, text in texts.items()}
    shown = [(name, changed.get(name, text)) for name, (text, *_) in EXAMPLE.items()]
    found = recompute(shown, results)
    assert {check.id for check in found} == RESULTS
    return {check.id for check in found if not check.ok}


def test_true_numbers_agree() -> None:
    assert _wrong() == set()


@pytest.mark.parametrize(
    ("name", "text", "caught"),
    [
        ("a/t", "2.53", "a/t"),
        ("a/p", ".024", "a/p"),
        ("a/lower", "0.45", "a/lower"),
        ("a/upper", "4.95", "a/upper"),
        ("a/df", "10.0", "a/p"),
        ("a/se", "1.20", "a/t"),
        ("b/p", ".035", "b/p"),
        ("b/p_naive", ".052", "b/p_naive"),
        ("b/chisq", "5.199", "b/p"),
        ("fit/m/aic", "106.3", "fit/m/aic"),
        ("fit/m/bic", "117.1", "fit/m/bic"),
        ("m/var/g/x/sd", "2.02", "m/var/g/x/sd"),
        ("icc/total", "8.20", "icc/total"),
        ("icc/g/icc", ".270", "icc/g/icc"),
        ("icc/level1", ".730", "icc/level1"),
    ],
)
def test_a_number_that_does_not_follow_is_named(name: str, text: str, caught: str) -> None:
    assert caught in _wrong(**{name.replace("/", "__"): text})


def test_what_rounding_allows_agrees() -> None:
    # 2.505 / .995 = 2.5176; t from 2.495 to 2.505 and df from 19.95 to 20.05: p .0210 to .0215
    assert _wrong(a__t="2.51") == set()
    assert _wrong(a__p=".022") == {"a/p"}


def test_a_whole_is_not_judged_by_some_of_its_parts() -> None:
    values = {"icc/sigma2": "0.68", "icc/a/tau": "8.43", "icc/b/tau": "1.66", "icc/total": "10.77"}
    items = {name: Quantity(name, 1.0, "variance", "", name, Source("f(m)")) for name in values}
    results = Results({}, items, {}, (), (), (), ())
    found = recompute(values.items(), results)
    assert [(check.id, check.ok) for check in found] == [("icc/total", True)]
    part = [(name, text) for name, text in values.items() if name != "icc/a/tau"]
    assert recompute(part, results) == ()


@pytest.mark.r
def test_the_relations_of_a_finished_report_hold(report: Path, results: Results) -> None:
    page = (report / "report.html").read_text(encoding="utf-8")
    signed = [e for e in read_page(page) if not e.missing and e.form not in display.UNSIGNED]
    shown = [(e.id, e.text) for e in signed]
    found = recompute(shown, results)
    assert len(found) > 30
    assert [check for check in found if not check.ok] == []
    checked = {re.sub(r".*/", "", check.id) for check in found}
    assert {"t", "p", "lower", "upper", "chisq", "aic", "bic", "icc", "sd", "residual"} <= checked
