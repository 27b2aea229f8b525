"""What every step works with: the plan, the data, R, and what was found before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from mlmreport.data.prepare import PreparedData
from mlmreport.display import decimals_for
from mlmreport.engine.fits import Engine, Fit
from mlmreport.quantities import Cell, Decision, Quantity, Source
from mlmreport.spec.contrasts import Coding, codings_of
from mlmreport.spec.reader import Document
from mlmreport.spec.schema import AnalysisSpec
from mlmreport.spec.sequence import ModelPlan, Plan
from mlmreport.spec.variables import Level
from mlmreport.steps.coefficients import INTERCEPT, Coefficient, coefficients, effect_label

__all__ = ["DDF", "Context", "FittedModel", "Refits"]

DDF = {
    "satterthwaite": "Satterthwaite",
    "kenward-roger": "Kenward-Roger",
    "asymptotic": "asymptotic",
}
"""The spec's word for the denominator df, and that of lmerTest."""


@dataclass(frozen=True, slots=True)
class Refits:
    """What the other optimizers made of a model.

    Parameters
    ----------
    first, used
        The optimizer that the spec asks for, and the one whose fit is reported.
    singular, complained
        Whether the first fit was singular, and whether lme4 complained of it.
    failed, complaints, boundary, examined
        Of the others those that gave no fit, those that lme4 complains of, those that are singular,
        those whose gradient lme4 looked at.
    """

    first: str
    used: str
    singular: bool
    complained: bool
    failed: tuple[str, ...]
    complaints: tuple[str, ...]
    boundary: tuple[str, ...]
    examined: tuple[str, ...]


@dataclass(frozen=True)
class FittedModel:
    """A model of the sequence, fitted and described; `refits` where other optimizers were tried."""

    plan: ModelPlan
    fit: Fit
    coefficients: tuple[Coefficient, ...]
    refits: Refits | None = None

    @property
    def id(self) -> str:
        """The model's id."""
        return self.plan.id

    @property
    def object(self) -> str:
        """Its name in R."""
        return self.plan.object

    @property
    def replaced(self) -> bool:
        """Whether another optimizer's fit took the place of the first."""
        return self.refits is not None and self.refits.used != self.refits.first

    @property
    def fitted_as(self) -> str:
        """The object in R that the reported fit was made as."""
        return f"opt_{self.id}_{self.fit.optimizer}" if self.replaced else self.object

    def coefficient(self, name: str) -> Coefficient:
        """The coefficient of a name."""
        return next(entry for entry in self.coefficients if entry.name == name)


@dataclass
class Context:
    """An analysis under way.

    Parameters
    ----------
    document, plan, data
        The spec, what follows from it, the prepared data.
    engine
        R, with everything recorded so far.
    models
        The fitted sequence.
    decisions
        What was decided so far.
    asymptotic
        Why the tests of the fixed effects use the normal distribution although the spec names
        another; empty where they follow the spec.
    no_refits
        Why models are not fitted again by other optimizers although the spec asks for it.
    no_fixed_ci
        Why the coefficients have *t* intervals although the spec names others.
    refits
        For each model why it has no compressed data, and the nominal seconds of a refit on them;
        see ``cost.refit_seconds``.
    unidentified
        The models whose covariance matrix of random effects the data do not identify; see
        ``optimizers.Verdict``.
    means
        For each column of the final model that holds group means the key of their predictor.
    """

    document: Document
    plan: Plan
    data: PreparedData
    engine: Engine
    models: list[FittedModel] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    asymptotic: str = ""
    no_refits: str = ""
    no_fixed_ci: str = ""
    refits: dict[str, tuple[str, float]] = field(default_factory=dict)
    unidentified: set[str] = field(default_factory=set)
    means: dict[str, str] = field(default_factory=dict)

    @property
    def spec(self) -> AnalysisSpec:
        """The spec."""
        return self.document.spec

    @property
    def final(self) -> FittedModel:
        """The model that is interpreted."""
        return next(model for model in self.models if model.id == self.plan.final.id)

    @property
    def null(self) -> FittedModel | None:
        """The model without predictors, if the sequence has one with an intercept per group."""
        return next((model for model in self.models if _is_null(model.plan)), None)

    @property
    def lowest_group(self) -> str:
        """The grouping column of the second level."""
        return self.plan.groups[0].group

    @property
    def unit(self) -> str:
        """The outcome's unit."""
        return self.plan.outcome.unit

    @property
    def ddf(self) -> str:
        """The df method as lmerTest names it, or ``asymptotic``."""
        return "asymptotic" if self.asymptotic else DDF[self.spec.inference.df]

    @cached_property
    def categories(self) -> Mapping[str, tuple[str, ...]]:
        """For each categorical predictor its categories, the reference first."""
        frame = self.data.frame
        return {
            variable.column: tuple(map(str, frame[variable.column].cat.categories))
            for variable in self.plan.variables.values()
            if variable.type == "category" and variable.column in frame
        }

    @property
    def codings(self) -> Mapping[str, Coding]:
        """The contrasts of categorical predictors that have no reference category."""
        return codings_of(self.data.frame)

    @property
    def at_categories(self) -> str:
        """Where categories are in a row of typical values, in words."""
        without = self.codings.keys() & {variable.column for variable in self.plan.used}
        if not without:
            return "reference categories"
        alone = without >= {v.column for v in self.plan.used if v.type == "category"}
        return "first categories" if alone else "reference or first categories"

    @property
    def profile(self) -> str:
        """What a row of typical values is called that has categories."""
        return "reference profile" if self.at_categories.startswith("ref") else "first categories"

    @property
    def tests(self) -> str:
        """By what the tests of fixed effects are made, for the note of a table."""
        if self.ddf == "asymptotic":
            return "tests and intervals by the normal distribution, without df"
        return f"{self.ddf} df"

    @property
    def fixed_ci(self) -> str:
        """What intervals of coefficients are called before "CI"; nothing for the t interval."""
        kind = self.spec.inference.fixed_ci
        return "" if kind == "t" or self.no_fixed_ci else kind

    def finest(self, model: FittedModel) -> str:
        """What the groups are called within which the residuals of a model vary."""
        groups = self.combinations(model) or [level.group for level in self.groupings(model)[:1]]
        return " and ".join(self.plural(group) for group in groups)

    def within(self, model: FittedModel, level: Level) -> bool:
        """Whether all groups of a model lie within those of a level, and share nothing else."""
        levels = {known.group: known for known in self.plan.groups}
        nested = self.spec.structure != "crossed"

        def lies(groups: Sequence[str]) -> bool:
            lowest = min((levels[group].index for group in groups if group in levels), default=0)
            return level.group in groups or (nested and 0 < lowest <= level.index)

        return all(lies(part.groups) for part in model.plan.formula.random)

    def run(self, step: str, function: str, **arguments: object) -> Mapping[str, Any]:
        """Run an R function of a step."""
        return self.engine.run(step, function, **arguments)

    def item(self, name: str) -> Any:
        """A quantity, missing value or series by id."""
        return self.engine.items[name]

    def value(self, name: str) -> float | None:
        """The bare value for a rule that decides; None where it is missing."""
        item = self.engine.items.get(name)
        return item.value if isinstance(item, Quantity) else None

    def all(self, prefix: str, *names: str) -> dict[str, Any]:
        """Items under a common prefix, by their last part."""
        return {name: self.item(f"{prefix}/{name}") for name in names}

    def plural(self, group: str) -> str:
        """What the units of a grouping column are called; those of a combination by its name."""
        known = (level.plural for level in self.plan.groups if level.group == group)
        return next(known, f"{group} combinations")

    def groupings(self, model: FittedModel) -> list[Level]:
        """The levels over which a model has random effects, the lowest first."""
        return [level for level in self.plan.groups if level.group in model.fit.groups.values()]

    def combinations(self, model: FittedModel) -> list[str]:
        """The groupings of a model that are combinations, which are no level of the data."""
        levels = {level.group for level in self.plan.groups}
        return [group for group in dict.fromkeys(model.fit.groups.values()) if group not in levels]

    def count(self, name: str, value: float, label: str, expression: str) -> Quantity:
        """A count of the data preparation, with the data-frame expression behind it."""
        found = Quantity(name, float(value), "count", "", label, Source(expression, "pandas"))
        self.engine.items[name] = found
        return found

    def setting(self, name: str, value: float, kind: str, label: str, key: str) -> Quantity:
        """A number that the spec set."""
        found = Quantity(name, float(value), kind, "", label, Source(key, "spec"))
        self.engine.items[name] = found
        return found

    def decide(
        self, step: str, rule: str, evidence: Cell, outcome: str, citation: str = ""
    ) -> Decision:
        """Take a decision and log it."""
        decision = Decision(step, rule, evidence, outcome, citation)
        self.decisions.append(decision)
        return decision

    def sharpen(self, names: Sequence[str], se: str) -> None:
        """Show the named quantities with the decimals that their standard error asks for."""
        error = self.value(se)
        if error is not None:
            self.resolve(names, error)

    def resolve(self, names: Sequence[str], size: float) -> None:
        """Show the named quantities with the decimals that show `size` to two digits."""
        for name in names:
            item = self.engine.items.get(name)
            if isinstance(item, Quantity):
                self.engine.items[name] = replace(item, digits=decimals_for(size))

    def effect_phrase(self, model: FittedModel, effect: str) -> str:
        """A random effect as it stands in a sentence: "intercepts", "slopes of SES"."""
        if effect == INTERCEPT:
            return "intercepts"
        entry = next((known for known in model.coefficients if known.name == effect), None)
        variable = entry.parts[0].variable if entry and len(entry.parts) == 1 else None
        if variable and entry and entry.kind == "number":
            return f"slopes of {variable.base_label}"
        return f"slopes of {effect_label(effect, model.coefficients)}"

    def describe(self, plan: ModelPlan, fit: Fit, refits: Refits | None = None) -> FittedModel:
        """A fitted model with its coefficients named."""
        known = coefficients(
            plan.formula, fit.coefficients, self.plan, self.categories, self.codings
        )
        return FittedModel(plan, fit, known, refits)


def _is_null(plan: ModelPlan) -> bool:
    intercepts = all(part.intercept and not part.terms for part in plan.formula.random)
    return not plan.formula.fixed and plan.formula.intercept and intercepts
