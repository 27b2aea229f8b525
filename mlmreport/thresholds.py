"""The thresholds by which sentences are chosen, each with its source: in this one place."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["RULES", "Rule"]


@dataclass(frozen=True, slots=True)
class Rule:
    """A threshold of the methods literature.

    Parameters
    ----------
    value
        The bound.
    text
        The rule in a sentence.
    citation
        The key of its source in the bibliography; empty for a convention of the report.
    """

    value: float
    text: str
    citation: str


RULES = {
    "few_groups": Rule(
        30,
        "with fewer than 30 groups variance components are estimated poorly; REML with a "
        "small-sample "
        "df method is needed",
        "McNeish2016",
    ),
    "some_groups": Rule(
        50,
        "below about 50 groups REML with Satterthwaite or Kenward-Roger df is preferred to ML",
        "McNeish2016",
    ),
    "many_groups": Rule(
        50,
        "with 50 groups or more ML and REML hardly differ, and the choice of df matters little",
        "McNeish2016",
    ),
    "design_effect": Rule(
        2,
        "a design effect above 2 makes single-level standard errors misleading",
        "Muthen1995",
    ),
    "outside_band": Rule(
        0.05,
        "more than 5 % of the plotted quantiles outside the simultaneous band is a departure "
        "to look at",
        "AldorNoiman2013",
    ),
    "skewness": Rule(
        1, "skewness beyond 1 in absolute value is marked (a convention of this report)", ""
    ),
    "kurtosis": Rule(
        2, "excess kurtosis beyond 2 in absolute value is marked (a convention of this report)", ""
    ),
    "vif": Rule(5, "a variance inflation factor above 5 asks for care (a common convention)", ""),
    "gradient": Rule(
        0.002, "lme4 warns where the largest scaled gradient exceeds 0.002", "Bates2015"
    ),
    "optimizers": Rule(
        0.001,
        "log-likelihoods of two optimizers that differ by no more than 0.001 are the same optimum "
        "(a convention of this report)",
        "",
    ),
    "shift": Rule(
        0.5,
        "a fixed effect that moves by half a standard error or more with the random part is marked "
        "(a convention of this report)",
        "",
    ),
    "heteroscedastic": Rule(
        0.2,
        "a rank correlation of fitted values and absolute residuals beyond .2 is marked (a "
        "convention of "
        "this report)",
        "",
    ),
}
