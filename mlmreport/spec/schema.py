"""The analysis spec: one documented field a key.

The JSON Schema, the reference page and the messages about unknown keys are all made from here.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

__all__ = [
    "AnalysisSpec",
    "Centering",
    "DataSpec",
    "EstimationSpec",
    "InferenceSpec",
    "JoinSpec",
    "LevelSpec",
    "ModelSpec",
    "ModelsSpec",
    "OutcomeSpec",
    "PieceSpec",
    "PredictorSpec",
    "QuestionSpec",
    "ReportSpec",
    "SimulateSpec",
    "StepwiseSpec",
    "TableSpec",
    "json_schema",
]

# A line break in a label would break tables, a zero byte file names, another control character what
# is XML; one that turns the direction of reading shows another text than there is. None is meant.
_NEVER = r"\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufdd0-\ufdef\ufffe\uffff"
_ONE_LINE = rf"^[^\x00-\x1f{_NEVER}]*[^\x00-\x20{_NEVER}][^\x00-\x1f{_NEVER}]*$"
_LINES = rf"^[^\x00-\x08\x0b-\x1f{_NEVER}]*[^\x00-\x20{_NEVER}][^\x00-\x08\x0b-\x1f{_NEVER}]*$"

Text = Annotated[str, StringConstraints(min_length=1, max_length=10_000, pattern=_LINES)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=_ONE_LINE)]
ModelId = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
Centering = Literal["none", "grand mean", "group mean"] | float


class Base(BaseModel):
    """Strict: an unknown key or another type is an error, nothing is changed after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class TableSpec(Base):
    """A table of data: a file beside the spec, or a data set of an R package."""

    file: Name | None = Field(
        None,
        description="Path relative to the spec: .csv, .tsv, .parquet, .feather, .xlsx, .sav, "
        ".dta or .rds.",
    )
    sheet: Name | None = Field(
        None, description="The sheet of an .xlsx file; the first if not given."
    )
    package: Name | None = Field(None, description="An R package, with `dataset`.")
    dataset: Name | None = Field(None, description="The name of a data set in that R package.")


class JoinSpec(TableSpec):
    """A table of a higher level, joined to the rows of the lowest."""

    by: Name | Annotated[list[Name], Field(min_length=1)] = Field(
        description="The id column or columns that both tables have."
    )


class DataSpec(TableSpec):
    """The table with a row per lowest-level unit, and the tables joined to it."""

    join: list[JoinSpec] = Field(default_factory=list, description="Tables of the higher levels.")
    filter: list[Text] = Field(
        default_factory=list,
        max_length=100,
        description="Conditions that a row has to meet, all of them, to be analysed: "
        '`filter: ["Days >= 2", "school != 12", "sector in [Public, Catholic]", "income is not '
        'missing"]`. Any column of the tables is compared with a number, a text or another column '
        "by ==, !=, <, <=, >, >=, `in [...]`, `not in [...]` or `is missing`; `and`, `or`, `not` "
        "and parentheses join tests. Texts may stand in quotes, names in backticks. Filters see "
        "columns as the joined tables have them, and a category by its labels or codes in "
        "`categories`. They run one after the other, before all else: listwise deletion, "
        "transformations, means and centring are of the rows that are left. A row is dropped too "
        "where a missing value leaves its condition open.",
    )


class LevelSpec(Base):
    """A level of the data, lowest first."""

    name: Name = Field(description="What a unit of this level is called, in the singular: student.")
    plural: Name | None = Field(None, description="The plural where it is not name + s.")
    id: Name | None = Field(
        None, description="The column that identifies the unit; not needed for the lowest level."
    )
    within: Name | list[Name] | None = Field(
        None,
        description="What this level is nested in, where its ids are unique only there (cask a in "
        "batch A, cask a in batch B): a higher level, or several, and predictors that are "
        "categories: `within: [block, variety]` for the plots of a block that have a variety, be "
        "it a level or a fixed factor.",
    )


class AgreementSpec(Base):
    """A scale of ratings, for the agreement within groups (the index r_wg of one item)."""

    categories: int = Field(
        ge=2, le=100, description="Number of its categories, in steps of one: 5 for ratings 1 to 5."
    )
    null_variance: float | None = Field(
        None,
        gt=0,
        description="The variance of ratings given at random; that of equally likely categories, "
        "(A^2 - 1) / 12, if not given. A skewed null distribution has a smaller one.",
    )


class OutcomeSpec(Base):
    """The dependent variable."""

    name: Name = Field(description="Its column.")
    label: Name | None = Field(None, description="How a reader calls it.")
    unit: Name | None = Field(None, description="Its unit in the plural: points, ms.")
    transform: Literal["none", "log", "log2", "log10", "log1p", "sqrt"] = Field(
        "none", description="Applied to the outcome before any model."
    )
    rwg: AgreementSpec | None = Field(
        None, description="Where the outcome is a rating: its scale, to report agreement in step 4."
    )


class PieceSpec(Base):
    """A piece of a variable, for growth in straight pieces."""

    after: float | None = Field(
        None, description="Where the piece begins: it is 0 up to there and counts from there on."
    )
    before: float | None = Field(
        None, description="Where the piece ends: from there on it stays at the value reached."
    )


class PredictorSpec(Base):
    """An independent variable. In models its name stands for the variable as prepared here.

    A category may be the id of a level: `Machine` as a fixed factor and in `worker:Machine`.
    """

    level: Name = Field(description="The name of the level at which it varies.")
    type: Literal["number", "category"] = Field("number", description="Number or category.")
    column: Name | None = Field(None, description="Its column where that differs from the key.")
    label: Name | None = Field(None, description="How a reader calls it.")
    unit: Name | None = Field(None, description="The unit of a number, in the singular: day.")
    reference: str | int | float | bool | None = Field(
        None, description="The category that the others are compared with; the first if not given."
    )
    ordered: bool = Field(
        False,
        description="Whether the categories have an order, that of `categories`: R's ordered "
        "factor, with polynomial contrasts if `contrasts` names no others.",
    )
    contrasts: (
        Literal["treatment", "polynomial", "sum", "helmert", "successive differences"] | None
    ) = Field(
        None,
        description="The contrasts of a category. treatment (the default): each category less the "
        "reference; polynomial: linear, quadratic, ... trend over the categories in their order "
        "(contr.poly); sum: each category but the last less the mean of all (contr.sum); helmert: "
        "each category against the mean of those before (contr.helmert); successive differences: "
        "each category less the one before (MASS::contr.sdif). But for treatment, the intercept is "
        "the mean over the categories.",
    )
    categories: dict[Name, Name] | None = Field(
        None,
        min_length=1,
        description="Codes in the data and the labels to show for them, in this order.",
    )
    transform: Literal["none", "log", "log2", "log10", "log1p", "sqrt"] = Field(
        "none", description="Applied to a number before centring."
    )
    piece: PieceSpec | None = Field(
        None,
        description="A piece of the column, for growth in straight pieces whose coefficients are "
        "the slopes of the pieces: `early: {level: day, column: day, piece: {before: 3}}` is "
        "min(day, 3) and `late: {level: day, column: day, piece: {after: 3}}` is max(day - 3, 0); "
        "`{after: 3, before: 6}` is a piece in the middle. Both go into the models, `column` "
        "itself does not. Centring comes after it.",
    )
    center: Centering = Field(
        "none",
        description="none, grand mean (over the units of the variable's own level), group mean "
        "(of the next higher level), or a value, which becomes the zero: `center: 8` for ages "
        "from 8 on. A predictor that varies within and between groups is split by "
        "`center: group mean` with `contextual: true`.",
    )
    contextual: bool = Field(
        False, description="Add the group mean as a predictor of the next level, named NAME_mean."
    )
    mean_of: Name | None = Field(
        None,
        description="Of a higher-level number in a column of its own: the lower-level predictor "
        "whose group mean it is. Found from the data if not given; within, between and contextual "
        "effect are then told apart.",
    )

    @property
    def coding(self) -> str:
        """The kind of contrasts of a category."""
        return self.contrasts or ("polynomial" if self.ordered else "treatment")


class QuestionSpec(Base):
    """A research question and the terms that answer it."""

    id: Name = Field(description="A short name: Q1.")
    text: Text = Field(description="The question.")
    kind: Literal["within", "between", "contextual", "cross-level", "variance"] | None = Field(
        None, description="What sort of effect it asks for; derived from the terms if not given."
    )
    status: Literal["primary", "secondary", "exploratory"] = Field(
        "primary", description="Its place in the study's hypotheses."
    )
    terms: list[Name] = Field(
        default_factory=list, description="Terms of the final model: ses, sector, ses:sector."
    )
    family: Name | None = Field(
        None,
        description="The family of tests over which `inference.correction` adjusts; questions that "
        "name none form one family together.",
    )


class StepwiseSpec(Base):
    """The sequence derived from levels and predictors; only its last steps are named."""

    random_slopes: list[Name] = Field(
        default_factory=list, description="Lower-level predictors whose effect varies over groups."
    )
    correlated: bool = Field(
        True, description="Whether random slopes and intercepts may be correlated."
    )
    cross_level: list[Name] = Field(
        default_factory=list, description="Interactions between levels: ses:sector."
    )


class ModelSpec(Base):
    """One model of an explicit list: a formula of lme4, or its parts."""

    id: ModelId = Field(description="A short name of small letters, digits and underscores.")
    label: Name | None = Field(None, description="How a reader calls it.")
    reason: Text | None = Field(None, description="Why it is fitted.")
    formula: Text | None = Field(
        None,
        description="The model in lme4's formula language: score ~ day + I(day^2) + (day || "
        "person), ~ machine + (0 + machine | worker), ~ machine + (1 | worker) + (1 | "
        "worker:machine), ~ poly(age, 2) + (age | child).",
    )
    fixed: list[Name] | None = Field(
        None, description="Fixed effects: names, and interactions as a:b or a*b."
    )
    random: dict[Name, list[Name | int | list[Name | int]]] | None = Field(
        None,
        description="Random effects a grouping: `school: [1, ses]`, with the intercept unless 0 "
        "stands among them. A grouping may be a combination, `worker:machine: [1]`, of levels and "
        "categories. Lists in the list are terms of their own, uncorrelated with each other, with "
        "an intercept where 1 stands in them: `school: [[1, ses], [age]]`.",
    )
    correlated: bool = Field(
        True,
        description="With `random`: whether the effects of a term may be correlated. false writes "
        "lme4's ||, which sets the correlations to zero; the categories of one predictor stay "
        "correlated with each other, and shifting the zero of a predictor makes another model.",
    )


class ModelsSpec(Base):
    """How the models come about: `stepwise`, or an explicit `list`."""

    stepwise: StepwiseSpec | None = Field(None, description="Derive the sequence.")
    list_: list[ModelSpec] | None = Field(None, alias="list", description="Name every model.")
    final: ModelId | None = Field(
        None, description="The model that is interpreted; the last one if not given."
    )


class EstimationSpec(Base):
    """How lme4 fits."""

    method: Literal["REML", "ML"] = Field("REML", description="The criterion.")
    optimizer: Literal["nloptwrap", "bobyqa", "Nelder_Mead"] = Field(
        "nloptwrap", description="The optimizer of lme4; its default if not given."
    )
    weights: Name | None = Field(
        None,
        description="A column of prior weights, as lme4 has them: the residual variance of a row "
        "is σ² / weight, so a row that is a mean of n measurements, or was measured n times as "
        "precisely, has the weight n. They are no sampling weights. They must be positive, and "
        "every model has them. Example: `weights: n_items`.",
    )
    offset: Name | None = Field(
        None,
        description="A column that is added to the expected outcome with a coefficient fixed at 1, "
        "in every model. Example: `offset: expected_score`, where a known score is to be exceeded. "
        "A formula of `models.list` may have an `offset()` of its own in its place.",
    )
    patience: float = Field(
        60,
        ge=0,
        description="The longest time in seconds, predicted from the size of data and models, that "
        "a costly part may take: Satterthwaite df of all models, intervals of the variances and of "
        "the ICC, refits by other optimizers, with other random parts, with group means, and "
        "without groups. A part that would take longer is left out, and the report says so; df "
        "give way to the normal distribution. A model with 2 crossed groupings of 3,000 and 1,000 "
        "units takes about 15 s a fit.",
    )
    check_optimizers: bool = Field(
        True,
        description="Whether the final model, and any that is singular or that lme4 complains of, "
        "is fitted again by lme4's other optimizers, and the fit with the highest log-likelihood "
        "reported; takes two to five times as long as the model itself.",
    )
    compare_structures: bool = Field(
        True,
        description="Whether the final model is fitted again with random intercepts only, "
        "with independent and with correlated slopes; up to three fits.",
    )
    slope_tests: int = Field(
        6,
        ge=0,
        le=30,
        description="The most lowest-level predictors of the final model whose random slope is "
        "tested over each grouping, one at a time; one or two fits each, 0 for none.",
    )
    slope_simulations: int = Field(
        5000,
        ge=0,
        le=1_000_000,
        description="Simulated samples for each exact test of a random slope (RLRsim; 500 at "
        "most where the test is a parametric bootstrap); about a second each for 5,000 samples and "
        "200 groups, 0 for none.",
    )


class InferenceSpec(Base):
    """Tests and intervals."""

    df: Literal["satterthwaite", "kenward-roger", "asymptotic"] = Field(
        "satterthwaite",
        description="Denominator degrees of freedom of the tests of fixed effects; asymptotic "
        "takes the normal distribution, right with many units at every level only.",
    )
    df_comparison: int = Field(
        2000,
        ge=0,
        le=100_000,
        description="The tests of the final model are given by the other df method too where it "
        "has at most so many rows, half as many if crossed: Kenward-Roger takes a second at 2,000 "
        "nested rows, 10 s at 7,000, minutes at a few thousand crossed ones. 0 leaves it out.",
    )
    correction: Literal["none", "holm", "bonferroni"] = Field(
        "none", description="Adjustment of the questions' p-values for their number, in families."
    )
    level: float = Field(0.95, gt=0.5, lt=1, description="The level of all intervals.")
    fixed_ci: Literal["t", "profile", "bootstrap"] = Field(
        "t",
        description="Intervals of the final model's coefficients: t with the df of `df`; profile "
        "likelihood (ML); parametric bootstrap, a refit for each of `bootstrap` samples.",
    )
    alpha: float = Field(0.05, gt=0, lt=0.5, description="The significance level.")
    variance_ci: Literal["profile", "bootstrap", "none"] = Field(
        "profile", description="Intervals of variance components."
    )
    bootstrap: int = Field(1000, ge=100, le=100_000, description="Bootstrap samples.")
    check_bootstrap: int | None = Field(
        None,
        ge=0,
        le=100_000,
        description="Bootstrap samples for the standard errors that step 3 sets beside the model's "
        "own, parametric ones and, with 30 groups or more, of whole groups; 0 leaves them out. If "
        "not given, 500 where they are predicted to take at most 10 s: 500 take a second or two "
        "for 7,000 rows in 160 groups with one random slope, as refits are made on compressed "
        "data; where the data do not compress each sample costs one fit.",
    )
    icc_bootstrap: int = Field(
        500,
        ge=0,
        le=100_000,
        description="Bootstrap samples for the interval of the ICC; 0 leaves it out. Each sample "
        "refits the null model, on compressed data where it compresses: below a second for 1000 "
        "samples with one grouping.",
    )
    r2_bootstrap: int | None = Field(
        None,
        ge=0,
        le=100_000,
        description="Parametric bootstrap samples for the intervals of R2 and of the shares of the "
        "variance; 0 leaves them out. If not given, 500 where they are predicted to take at most "
        "10 s; the same samples serve for `check_bootstrap` where the numbers are equal.",
    )
    seed: int = Field(20261, ge=1, le=2_147_483_647, description="Seed of everything random.")


class ReportSpec(Base):
    """What the report shows beside its fixed content."""

    grouping: Name | None = Field(
        None,
        description="The level whose units are predicted for by name and ranked; the highest one "
        "with random effects if not given.",
    )
    groups: list[str | int] = Field(
        default_factory=list,
        max_length=12,
        description="Groups (ids) to predict for by name; the lowest, the median and the highest "
        "if not given.",
    )
    sampling: Text | None = Field(None, description="How units were sampled; printed in step 1.")
    power: Text | None = Field(None, description="The study's power rationale; printed in step 1.")
    missing_data: Text | None = Field(
        None, description="The mechanism assumed for missing values; printed in step 1."
    )
    availability: Text | None = Field(None, description="Where data and code are available.")
    formats: tuple[Literal["html", "docx", "pdf"], ...] = Field(
        ("html",),
        strict=False,  # YAML has lists where the frozen spec has a tuple
        min_length=1,
        description="Formats written beside report.qmd.",
    )


class SimulatedPredictor(Base):
    """A predictor to be drawn."""

    level: Name = Field(description="The level it is drawn at.")
    mean: float = Field(0.0, description="Mean of the normal distribution.")
    sd: float = Field(1.0, gt=0, description="Its standard deviation.")
    probability: float | None = Field(
        None, gt=0, lt=1, description="Draw a 0/1 indicator with this probability instead."
    )
    effect: float = Field(description="Its true fixed effect.")
    slope_sd: float = Field(0.0, ge=0, description="True SD over groups of its slope.")


class SimulateSpec(Base):
    """Data drawn from a known two-level model with normal random effects."""

    seed: int = Field(ge=0, description="Seed of NumPy's PCG64 generator.")
    groups: int = Field(ge=2, le=1_000_000, description="Number of groups.")
    units: int = Field(ge=2, le=10_000_000, description="Number of lowest-level units in all.")
    intercept: float = Field(0.0, description="True mean of the outcome.")
    group_sd: float = Field(ge=0, description="True SD of the group intercepts.")
    residual_sd: float = Field(gt=0, description="True SD of the lowest level.")
    predictors: dict[Name, SimulatedPredictor] = Field(
        default_factory=dict, description="The predictors and their true effects."
    )


class AnalysisSpec(Base):
    """A multilevel analysis, from data to report."""

    title: Name = Field(description="The report's title.")
    subtitle: Name | None = Field(None, description="A second line of the title.")
    authors: list[Name] = Field(default_factory=list, description="The authors.")
    date: Name | None = Field(None, description="The date to print; none if not given.")
    abstract: Text | None = Field(None, description="A paragraph before step 1.")
    house: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")] = Field(
        "base", description="The lab template, a folder under templates/."
    )
    data: DataSpec | None = Field(None, description="Where the data are.")
    simulate: SimulateSpec | None = Field(
        None, description="Draw the data instead of reading them."
    )
    levels: list[LevelSpec] = Field(min_length=2, description="The levels, lowest first.")
    structure: Literal["nested", "crossed"] = Field(
        "nested", description="Whether the higher levels are nested in each other or crossed."
    )
    time: Name | None = Field(None, description="The predictor that is time, in repeated measures.")
    outcome: OutcomeSpec = Field(description="The dependent variable.")
    predictors: dict[Name, PredictorSpec] = Field(
        default_factory=dict, description="The independent variables."
    )
    questions: list[QuestionSpec] = Field(
        default_factory=list, description="The research questions."
    )
    models: ModelsSpec = Field(description="The models, from simple to complex.")
    estimation: EstimationSpec = Field(
        default_factory=EstimationSpec, description="How the models are fitted."
    )
    inference: InferenceSpec = Field(
        default_factory=InferenceSpec, description="How tests and intervals are made."
    )
    report: ReportSpec = Field(
        default_factory=ReportSpec, description="What the report shows beside its fixed content."
    )


def json_schema() -> str:
    """The JSON Schema of the spec, for editors that complete and check while typing."""
    schema: dict[str, Any] = AnalysisSpec.model_json_schema(by_alias=True)
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
