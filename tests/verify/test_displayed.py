from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from traced_page import page, span

from mlmreport import display
from mlmreport.quantities import Missing, Quantity, Results, Source
from mlmreport.verify.displayed import Displayed, compare_page, read_page, untraced_numerals

SLOPE = Quantity("g/fixef/Days/estimate", -10.467, "estimate", "ms", "Days", Source("f(m)"))
P = Quantity("g/fixef/Days/p", 0.0004, "p", "", "p: Days", Source("p(m)"))
SHARE = Quantity("icc/Subject/icc", 0.3948, "share", "", "ICC", Source("icc(m)"))
ODD = Quantity('a "b" <c> & d/é', 3.0, "count", "", "odd id", Source("n"))
NONE = Missing("assumptions/H", "fewer than two groups have 10 rows", "Homogeneity")
ITEMS = (SLOPE, P, SHARE, ODD, NONE)


def _results(*items: Quantity | Missing) -> Results:
    return Results({}, {item.id: item for item in items or ITEMS}, {}, (), (), (), ())


def test_a_true_page_agrees() -> None:
    found = compare_page(page(ITEMS), _results())
    assert found.ok
    assert found.compared == len(ITEMS)


def test_spans_are_read_with_text_value_and_form() -> None:
    shown = read_page(f"<p>is {span(SHARE, 'percent')} of</p>")
    assert shown == (Displayed("icc/Subject/icc", "39.5 %", "0.3948", "percent"),)


@pytest.mark.parametrize("form", sorted(display.FORMATS))
def test_every_form_is_known(form: str) -> None:
    assert compare_page(span(SHARE, form), _results()).ok


@pytest.mark.parametrize(
    ("old", "new", "what", "name"),
    [
        (">−10.47<", ">−10.48<", "text", SLOPE.id),
        (">−10.47<", ">10.47<", "text", SLOPE.id),
        ('data-value="-10.467"', 'data-value="-10.4671"', "value", SLOPE.id),
        ("<span", '<span data-f="loud"', "form", SLOPE.id),
        ("fixef/Days/estimate", "fixef/Days/p", "text", P.id),
        ("fixef/Days/estimate", "fixef/Nights/estimate", "id", "g/fixef/Nights/estimate"),
    ],
)
def test_one_change_is_caught_and_named(old: str, new: str, what: str, name: str) -> None:
    html = page([SLOPE])
    assert html.count(old) == 1
    found = compare_page(html.replace(old, new), _results()).mismatches
    assert (found[0].id, found[0].what) == (name, what)


@given(st.data())
def test_any_digit_changed_in_any_number_is_caught(data: st.DataObject) -> None:
    shown = [item for item in ITEMS if isinstance(item, Quantity)]
    item = data.draw(st.sampled_from(shown))
    text = display.text(item)
    at = data.draw(st.sampled_from([i for i, c in enumerate(text) if c.isdecimal()]))
    digit = data.draw(st.sampled_from(sorted(set("0123456789") - {text[at]})))
    changed = f"{text[:at]}{digit}{text[at + 1 :]}"
    html = page(shown).replace(
        f">{text.replace('<', '&lt;')}<", f">{changed.replace('<', '&lt;')}<"
    )
    (found,) = compare_page(html, _results()).mismatches
    assert (found.id, found.shown) == (item.id, changed.replace("\N{NARROW NO-BREAK SPACE}", " "))


def test_a_number_may_not_stand_where_a_value_is_missing() -> None:
    posed = replace(SLOPE, id=NONE.id)
    (found,) = compare_page(page([posed]), _results()).mismatches
    assert (found.id, found.what, found.expected) == (NONE.id, "id", "a Missing")


@pytest.mark.parametrize(
    "content",
    [
        NONE.reason,
        f"not available: {NONE.reason}",
        f'<abbr title="{NONE.reason}">n/a</abbr>',
    ],
)
def test_reasons_are_compared(content: str) -> None:
    html = f'<span class="na" data-id="{NONE.id}">{content}</span>'
    assert compare_page(html, _results()).ok
    (found,) = compare_page(html.replace("two", "ten"), _results()).mismatches
    assert found.what == "reason"


def test_backticks_of_a_reason_are_no_text() -> None:
    reason = "no samples are simulated (`inference.slope_simulations: 0`)"
    results = Results({}, {"x": Missing("x", reason)}, {}, (), (), (), ())
    shown = reason.replace("`", "")
    page = f'<span class="na" data-id="x"><abbr title="{shown}">n/a</abbr></span>'
    assert compare_page(page, results).ok
    other = page.replace(": 0", ": 1")
    assert not compare_page(other, results).ok


def test_spaces_of_any_kind_are_equal() -> None:
    html = span(SHARE, "percent")
    for space in (" ", "&nbsp;", "\N{NARROW NO-BREAK SPACE}", "\n  "):
        assert compare_page(html.replace("\N{NARROW NO-BREAK SPACE}", space), _results()).ok


def test_cards_are_compared() -> None:
    def cards(**card: object) -> str:
        block = json.dumps({SLOPE.id: card})
        return f'<script type="application/json" id="mlm-quantities">{block}</script>'

    assert compare_page(cards(value=SLOPE.value, r="f(m)"), _results()).ok
    (value,) = compare_page(cards(value=-10.4671), _results()).mismatches
    (call,) = compare_page(cards(value=SLOPE.value, r="g(m)"), _results()).mismatches
    assert (value.what, call.what) == ("card, value", "card, r")
    broken = '<script id="mlm-quantities">{"a": </script>'
    assert compare_page(broken, _results()).mismatches[0].what == "card"


def test_a_large_page_with_images_is_read_whole() -> None:
    image = f'<img src="data:image/png;base64,{"iVBORw0K" * 50_000}">'
    html = page(ITEMS).replace("<p>", f"{image}<p>")
    assert len(html) > 2_000_000
    assert compare_page(html, _results()).compared == len(ITEMS)


# --- numerals ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "html",
    [
        span(SLOPE),
        span(P, "equation"),
        '<span class="t">Class of 1999</span>, <span class="spec">95</span>',
        '<span class="rule">0.05</span>',
        "<code>lmer(y ~ 1)</code> <pre>x[1]</pre> <math><mn>2</mn></math>",
        "<script>var a = 1;</script><style>p { margin: 0 }</style>",
        "<svg><text>0.5</text></svg><nav>1 2 3</nav>",
        '<h1><span class="header-section-number">4</span> Models</h1>',
        '<figcaption><span class="caption-label">Table 3.</span> Sizes</figcaption>',
        "<figcaption>Table 3: sizes</figcaption>",
        'see <a href="#tbl-models">Table 2</a>',
        '<span class="citation">(Bates et al. 2015)</span><cite>2015</cite>',
        '<div id="refs"><p>Bates, 67(1), 1-48.</p></div>',
        "the level-1 residuals of lme4, R2 and ICC(2) in Step 4",
        "<p>one<br>two</p>",
    ],
)
def test_what_is_traced_or_no_result_is_passed_over(html: str) -> None:
    assert untraced_numerals(f"<html><body><p>{html}</p></body></html>") == ()


@pytest.mark.parametrize("numeral", ["12", "3.4", ".05", "−1.5", "95 %", "1,204", "5th", "2e-3"])
def test_a_bare_numeral_is_found_with_its_context(numeral: str) -> None:
    (found,) = untraced_numerals(f"<p>The pupils scored {numeral} on average.</p>")[:1]
    assert found == f"The pupils scored {numeral} on average."


def test_a_numeral_glued_to_a_traced_one_is_found() -> None:
    assert len(untraced_numerals(f"<p>{span(SHARE)}7</p>")) == 1
    assert len(untraced_numerals(f"<p>1{span(SHARE)}</p>")) == 1


def test_a_link_to_another_page_does_not_hide_numerals() -> None:
    assert len(untraced_numerals('<a href="https://example.org/">0.71</a>')) == 1
