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
    "patience": Rule(
        60,
        "a part whose predicted time exceeds `estimation.patience` is left out; times are counted "
        "from the models' matrices, so that the choice is the same on every machine (a convention "
        "of this report)",
        "",
    ),
    "few_groups": Rule(
        30,
        "with fewer than 30 groups variance components are estimated poorly; REML with a "
        "small-sample df method is needed",
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
    "fixed_groups": Rule(
        10,
        "with fewer than 10 groups the variance between them can hardly be estimated; fixed "
        "effects of the groups, or cluster-robust standard errors with the CR2 correction, are "
        "alternatives to consider",
        "McNeish2016b",
    ),
    "grouping": Rule(
        2,
        "a multilevel model is needed where the design effect exceeds 2 or the variance between "
        "groups is shown by a test, and is not needed where neither holds",
        "Muthen1995",
    ),
    "few_values": Rule(
        5,
        "an outcome of fewer than five distinct values is categorical, and a linear model with "
        "normal residuals describes it roughly at best",
        "Rhemtulla2012",
    ),
    "outside_band": Rule(
        0.05,
        "more than 5 % of the plotted quantiles outside the simultaneous band is marked (a "
        "convention of this report)",
        "",
    ),
    "skewness": Rule(
        1, "skewness beyond 1 in absolute value is marked (a convention of this report)", ""
    ),
    "kurtosis": Rule(
        2, "excess kurtosis beyond 2 in absolute value is marked (a convention of this report)", ""
    ),
    "vif": Rule(5, "a variance inflation factor above 5 asks for care (a common convention)", ""),
    "change": Rule(
        1,
        "a fixed effect that moves by more than one of its standard errors when one group is left "
        "out rests on that group (a convention of this report)",
        "",
    ),
    "variance_change": Rule(
        0.5,
        "a variance of the random effects that changes by more than half when one group is left "
        "out rests on that group (a convention of this report)",
        "",
    ),
    "se_ratio": Rule(
        0.2,
        "a cluster-robust standard error that differs by more than 20 % from the model's is marked "
        "(a convention of this report)",
        "",
    ),
    "departure": Rule(
        0.2,
        "a smooth that leaves zero by more than 0.2 standard deviations is marked where chance "
        "does not account for it (a convention of this report)",
        "",
    ),
    "departure_chance": Rule(
        5,
        "smooths of about one in twenty linear relations leave zero by more than 5 divided by the "
        "square root of the number of points (a simulation with normal predictors)",
        "",
    ),
    "autocorrelation": Rule(
        1.96,
        "an autocorrelation beyond 1.96 divided by the square root of the number of pairs is more "
        "than independent errors lead to expect",
        "Pinheiro2000",
    ),
    "variance_shift": Rule(
        0.25,
        "a variance of the random effects that differs by more than a quarter with another "
        "structure of the errors is marked (a convention of this report)",
        "",
    ),
    "correlation_shift": Rule(
        0.3,
        "a correlation of the random effects that differs by more than .3 with another structure "
        "of the errors is marked (a convention of this report)",
        "",
    ),
    "gradient": Rule(
        0.002, "lme4 warns where the largest scaled gradient exceeds 0.002", "Bates2015"
    ),
    "optimizers": Rule(
        0.001,
        "log-likelihoods of two optimizers that differ by no more than 0.001 are the same optimum "
        "(a convention of this report: a likelihood ratio of 0.002, which no test sees, and more "
        "than optimizers leave undone where there is one optimum)",
        "",
    ),
    "covariances": Rule(
        0.1,
        "the covariance matrix of the random effects is not identified where fits of the same "
        "log-likelihood differ in an element of it by more than a tenth, or one is singular and "
        "another is not (a convention of this report: the log-likelihood is within 0.001 of its "
        "highest for 0.05 standard errors to each side, so such an element is about as large as "
        "its standard error at most)",
        "",
    ),
    "shift": Rule(
        0.5,
        "a fixed effect that moves by half a standard error or more with the random part is marked "
        "(a convention of this report)",
        "",
    ),
    "heteroscedastic": Rule(
        1.25,
        "residual standard deviations in the outer fifths of the fitted values or of a predictor "
        "whose ratio is beyond 1.25 are marked, where the rank correlation of it with the absolute "
        "residuals is more than chance, and so is a middle fifth that differs as much from the "
        "outer ones, where Koenker's test on a linear and a quadratic term is (a convention of "
        "this report)",
        "",
    ),
    "prediction_loss": Rule(
        0.05,
        "a prediction error that predictors raise by less than .05 of the null model's can be "
        "chance; by more it is a sign of a misspecified fixed part",
        "Snijders2012",
    ),
    "group_mean": Rule(
        0.5,
        "a higher-level column that equals the group means of a lower-level predictor, but for a "
        "constant and half a unit of its last decimal, is taken as that mean (a convention of this "
        "report)",
        "",
    ),
}
