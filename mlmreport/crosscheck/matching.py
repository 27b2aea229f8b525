"""Which model of an analysis each model of a source is, and which of its numbers each claim is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlmreport.crosscheck.claims import Claim, Note, Printed
from mlmreport.crosscheck.terms import NO_CONTRASTS, Lineup
from mlmreport.errors import InputError, Problem, did_you_mean
from mlmreport.spec.contrasts import Coding
from mlmreport.spec.sequence import ModelPlan, Plan

__all__ = ["Lined", "Match", "line_up"]


@dataclass(frozen=True, slots=True)
class Match:
    """A model of the source, the analysis's model that it is compared with, and why that one."""

    source: str
    model: str
    why: str


@dataclass(frozen=True, slots=True)
class Lined:
    """Claims with the model and the name that each is of.

    Parameters
    ----------
    named
        Claim, model and name.
    matches
        Which model each of the source was taken for.
    notes
        Claims that are not compared, and why.
    """

    named: tuple[tuple[Claim, ModelPlan, str], ...]
    matches: tuple[Match, ...]
    notes: tuple[Note, ...]


def line_up(
    plan: Plan,
    categories: Mapping[str, Sequence[str]],
    printed: Printed,
    chosen: Sequence[str],
    renamed: Mapping[str, str],
    contrasts: Mapping[str, Coding] = NO_CONTRASTS,
) -> Lined:
    """Line the numbers of a source up with those of an analysis.

    Parameters
    ----------
    plan
        The analysis.
    categories
        For each categorical column its categories, the reference first.
    printed
        The numbers.
    chosen
        The ids of the models that the source's models are, in its order; one where one is to be
        compared; none where they are told by their terms.
    renamed
        What the source calls a variable, to the spec's name of it.
    contrasts
        The contrasts of categories that have no reference.

    Raises
    ------
    InputError
        Located at every term or model that the analysis does not have.
    """
    matching = _Matching(plan, categories, printed, renamed, contrasts)
    matches, skipped = matching.matches(chosen)
    named: list[tuple[Claim, ModelPlan, str]] = []
    notes: list[Note] = list(skipped)
    problems: list[Problem] = []
    of = {match.source: matching.model(match.model) for match in matches}
    for claim in printed.claims:
        if claim.model not in of:
            continue
        model = of[claim.model]
        name = matching.lineup(model).name(claim)
        match name:
            case Problem():
                problems.append(name)
            case Note():
                notes.append(name)
            case _:
                named.append((claim, model, name))
    if problems:
        raise InputError(tuple(problems))
    return Lined(tuple(named), tuple(matches), tuple(notes))


class _Matching:
    def __init__(
        self,
        plan: Plan,
        categories: Mapping[str, Sequence[str]],
        printed: Printed,
        renamed: Mapping[str, str],
        contrasts: Mapping[str, Coding],
    ) -> None:
        terms = list(dict.fromkeys(claim.term for claim in printed.claims))
        self._plan = plan
        self._printed = printed
        self._lineups = {
            model.id: Lineup(plan, model, categories, renamed, printed.codes, terms, contrasts)
            for model in plan.models
        }
        self._known = {
            alias.casefold(): model for model in plan.models for alias in (model.label, model.id)
        }
        self._blocks = {
            name: [claim for claim in printed.claims if claim.model == name]
            for name in dict.fromkeys(claim.model for claim in printed.claims)
        }

    def model(self, name: str) -> ModelPlan:
        return self._known[name.casefold()]

    def lineup(self, model: ModelPlan) -> Lineup:
        return self._lineups[model.id]

    def matches(self, chosen: Sequence[str]) -> tuple[list[Match], list[Note]]:
        """Each model of the source with its counterpart, and those that have none."""
        self._check(chosen)
        names = list(self._blocks)
        if chosen and len(chosen) == len(names):
            pairs = zip(names, chosen, strict=True)
            return [Match(name, self.model(one).id, "as chosen") for name, one in pairs], []
        if len(chosen) > 1:
            message = f"{len(chosen)} models are chosen, the file has {len(names)}"
            raise InputError.of(message, "name one model, or as many as the file has, in its order")
        if chosen:
            return self._of_one(self.model(chosen[0]))
        return self._by_terms(), []

    def _check(self, chosen: Sequence[str]) -> None:
        for one in chosen:
            if one.casefold() not in self._known:
                ids = [model.id for model in self._plan.models]
                raise InputError.of(f"there is no model '{one}'", did_you_mean(one, ids))

    def _of_one(self, model: ModelPlan) -> tuple[list[Match], list[Note]]:
        """The models of the source that have the terms of the chosen one."""
        matches, notes = [], []
        for name, claims in self._blocks.items():
            if self._known.get(name.casefold()) is model or self._fit(claims, model):
                matches.append(Match(name, model.id, "as chosen, by its terms"))
            else:
                reason = f"not compared: it has not the terms of '{model.id}'"
                notes.append(Note(name or "a model", reason, claims[0].location))
        if not matches:
            first = next(iter(self._blocks.values()))[0]
            message = f"none of {len(self._blocks)} models has the terms of '{model.id}'"
            hint = "name the model of each with --model, in the order of the file"
            raise InputError.of(message, hint, first.term_at)
        return matches, notes

    def _by_terms(self) -> list[Match]:
        matches, problems = [], []
        for name, claims in self._blocks.items():
            found = self._told(name, claims)
            if isinstance(found, Match):
                matches.append(found)
            else:
                problems.append(found)
        if problems:
            raise InputError(tuple(problems))
        return matches

    def _told(self, name: str, claims: Sequence[Claim]) -> Match | Problem:
        """The counterpart of a model by its name, else by its terms, else the final one."""
        alone = len(self._blocks) == 1
        known = self._known.get(name.casefold())
        if known is not None:
            return Match(name, known.id, "by its name")
        fitting = self._fitting(claims)
        final = self._plan.final
        if len(fitting) > 1 and final in fitting and (alone or not self._printed.complete):
            return Match(name, final.id, "the final model, of those with its terms")
        if len(fitting) == 1:
            return Match(name, fitting[0].id, "by its terms")
        if alone and (not name or self._printed.complete):
            return Match(name, final.id, "the final model")
        return self._untold(name, claims, fitting)

    def _untold(self, name: str, claims: Sequence[Claim], fitting: Sequence[ModelPlan]) -> Problem:
        ids = [model.id for model in self._plan.models]
        if fitting:
            names = " and ".join(model.id for model in fitting)
            return Problem(f"'{name}' has the terms of {names}", _CHOOSE, claims[0].term_at)
        if self._printed.complete:
            terms = dict.fromkeys(claim.term for claim in claims if claim.what == "se")
            shown = ", ".join(list(terms)[:6])
            message = f"no model of the analysis has the terms of '{name}' ({shown})"
            return Problem(message, f"{_CHOOSE}; --name says what is called otherwise",
                           claims[0].term_at)  # fmt: skip
        hint = did_you_mean(name, ids)
        return Problem(f"there is no model '{name}'", hint, claims[0].location)

    def _fitting(self, claims: Sequence[Claim]) -> list[ModelPlan]:
        """The models that have a source's fixed effects, with its random ones where any does."""
        found = {model.id: self._fit(claims, model) for model in self._plan.models}
        best = max(found.values(), default=0)
        return [model for model in self._plan.models if best and found[model.id] == best]

    def _fit(self, claims: Sequence[Claim], model: ModelPlan) -> int:
        """How well claims are of a model: 2 with all of its random effects, 1 with some or none."""
        lineup = self.lineup(model)
        fixed: set[str] = set()
        random: set[tuple[str, str]] = set()
        for claim in claims:
            name = lineup.name(claim)
            if isinstance(name, Problem):
                return 0
            if isinstance(name, Note):
                continue
            kind, _, rest = name.partition("/")
            if kind == "fixef":
                fixed.add(rest.rpartition("/")[0])
            elif kind in {"var", "sd"}:
                group, _, effect = rest.removesuffix("/se").partition("/")
                random.add((group, effect))
        if fixed != lineup.all_fixed:
            return 0
        return 2 if random == lineup.all_random else 1


_CHOOSE = "name the model of each with --model, in the order of the file"
