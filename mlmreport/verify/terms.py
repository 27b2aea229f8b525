"""The terms of a printed table lined up with lme4's names: what matches, and near misses."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from types import MappingProxyType

from mlmreport.errors import Problem, did_you_mean
from mlmreport.spec import formula as fm
from mlmreport.spec.contrasts import Coding
from mlmreport.spec.sequence import ModelPlan, Plan
from mlmreport.spec.variables import Variable
from mlmreport.verify.claims import Claim

__all__ = ["Lineup"]

INTERCEPT = "(Intercept)"
_INTERCEPTS = ("intercept", "cons", "const", "constant")
_WHOLE = {
    "loglik": "loglik", "loglikelihood": "loglik", "deviance": "deviance", "2ll": "deviance",
    "2loglikelihood": "deviance", "aic": "aic", "bic": "bic", "n": "nobs", "nobs": "nobs",
}  # fmt: skip
_COMPONENT = re.compile(
    r"\s*(var|variance|sd|cov|cor|corr|icc|groups)\s*\((.*)\)\s*", re.IGNORECASE
)
_KINDS = {"variance": "var", "corr": "cor"}
_RESIDUAL = {"var": "sigma2", "sd": "sigma"}


class Lineup:
    """What a source may call the numbers of a model.

    Parameters
    ----------
    plan, model
        The analysis and its model.
    categories
        For each categorical column its categories, the reference first.
    renamed
        What the source calls a variable, to the spec's name of it.
    codings
        The contrasts of categories that have no reference.
    """

    def __init__(
        self,
        plan: Plan,
        model: ModelPlan,
        categories: Mapping[str, Sequence[str]],
        renamed: Mapping[str, str],
        codings: Mapping[str, Coding] = MappingProxyType({}),
    ) -> None:
        self._codings = codings
        self._plan = plan
        self._model = model
        self._categories = categories
        self._renamed = {_plain(theirs): ours for theirs, ours in renamed.items()}
        self._fixed = self._aliases()
        self._groups = {
            _plain(alias): level.group
            for level in plan.groups
            for alias in (level.group, level.name, level.plural, level.id or level.group)
        }
        for part in model.formula.random:
            self._groups[_plain(":".join(part.groups))] = ":".join(part.groups)

    # --- fixed effects ------------------------------------------------------------------------

    def _aliases(self) -> dict[tuple[str, ...], set[str]]:
        """Tokens in alphabetical order, to the lme4 names they can stand for."""
        found: dict[tuple[str, ...], set[str]] = {(word,): {INTERCEPT} for word in _INTERCEPTS}
        for term in self._terms():
            for parts in product(*(self._parts(factor) for factor in term.factors)):
                name = ":".join(own for own, _ in parts)
                for words in product(*(aliases for _, aliases in parts)):
                    found.setdefault(tuple(sorted(map(_plain, words))), set()).add(name)
        return found

    def _terms(self) -> Iterator[fm.Term]:
        yield from self._model.formula.fixed
        for part in self._model.formula.random:
            yield from part.terms

    def _parts(self, factor: fm.Expression) -> Iterator[tuple[str, tuple[str, ...]]]:
        """The lme4 names of a factor, each with what it may be called."""
        text = fm.expression_r(factor)
        if not isinstance(factor, fm.Name):
            degree = (
                factor.arguments[1]
                if isinstance(factor, fm.Call) and factor.function == "poly"
                else None
            )
            if isinstance(degree, fm.Number):
                yield from (
                    (f"{text}{k}", (f"{text}{k}",)) for k in range(1, int(degree.value) + 1)
                )
            else:
                yield text, (text,)
            return
        variable = self._plan.by_column(factor.name)
        words = _words(variable) if variable else (factor.name,)
        levels = self._categories.get(factor.name)
        if levels is None:
            yield text, words
            return
        if made := self._codings.get(factor.name):
            for end, label in zip(made.names, made.labels, strict=True):
                called = (f"{word} {part}" for word in words for part in (end, label))
                yield f"{text}{end}", (f"{text}{end}", *called)
            return
        for level in levels:
            plain = words if len(levels) == 2 and level == levels[1] else ()
            yield f"{text}{level}", (*(f"{word} {level}" for word in words), *plain)

    def _tokens(self, term: str) -> tuple[str, ...]:
        parts = re.split(r"\s*[:#*×]\s*|\s+x\s+", term.strip())
        return tuple(sorted(self._token(part) for part in parts))

    def _token(self, part: str) -> str:
        inside = re.sub(r"^[ci]\.", "", part.strip())
        name, mark, level = re.sub(r"^\[|\]$", "", inside).replace("[", "=").partition("=")
        name = self._renamed.get(_plain(name), name)
        return _plain(f"{name} {level}" if mark else name)

    def fixed(self, term: str) -> set[str]:
        """The fixed effects that a term can stand for."""
        return self._fixed.get(self._tokens(term), set())

    # --- all of a claim -----------------------------------------------------------------------

    def name(self, claim: Claim) -> str | Problem:
        """The name of the number that a claim is about, or what is wrong with its term."""
        whole = _WHOLE.get(_plain(claim.term))
        component = _COMPONENT.fullmatch(claim.term)
        if whole and not self.fixed(claim.term):
            return whole if claim.what == "estimate" else self._misplaced(claim)
        if _plain(claim.term) == "icc" and len(self._plan.groups) == 1:
            return f"icc/{self._plan.groups[0].group}"
        if component:
            kind = component[1].lower()
            return self._component(claim, _KINDS.get(kind, kind), component[2])
        found = self.fixed(claim.term)
        if len(found) == 1:
            return f"fixef/{next(iter(found))}/{claim.what}"
        if found:
            message = f"'{claim.term}' can be {' or '.join(sorted(found))}"
            return Problem(message, "write the name that lme4 has", claim.term_at)
        known = {name for names in self._fixed.values() for name in names}
        hint = did_you_mean(claim.term, known)
        return Problem(
            f"the model '{self._model.id}' has no term '{claim.term}'",
            f"{hint}; `--name THEIRS=OURS` says that a variable is called otherwise",
            claim.term_at,
        )

    def _misplaced(self, claim: Claim) -> Problem:
        message = f"'{claim.term}' has one number, under `estimate`, and no {claim.what}"
        return Problem(message, "leave the cell empty", claim.location)

    def _component(self, claim: Claim, kind: str, inside: str) -> str | Problem:
        if claim.what not in {"estimate", "se"}:
            message = f"a component has an estimate and a standard error, no {claim.what}"
            return Problem(message, "leave the cell empty", claim.location)
        end = "" if claim.what == "estimate" else "/se"
        if _plain(inside) in {"residual", "error"} and kind in _RESIDUAL:
            return _RESIDUAL[kind] + end
        group, effects = self._divided(inside)
        column = self._grouping(group)
        if column is None:
            hint = did_you_mean(group, [level.name for level in self._plan.groups])
            return Problem(f"'{group}' is no grouping of the model", hint, claim.term_at)
        if kind in {"icc", "groups"}:
            return f"{'icc' if kind == 'icc' else 'ngroups'}/{column}"
        names = [self._effect(effect) for effect in effects.split(",")]
        if None in names or (kind in {"cov", "cor"}) != (len(names) == 2):
            message = f"'{claim.term}' names no {kind} of the model"
            hint = "write var(school), var(school: ses) or cov(school: (Intercept), ses)"
            return Problem(message, hint, claim.term_at)
        ordered = sorted(map(str, names), key=self._position)
        return "/".join([kind, column, *ordered]) + end

    def _divided(self, inside: str) -> tuple[str, str]:
        """Grouping and effects of what stands in the brackets; either may hold a colon itself."""
        if self._grouping(inside):
            return inside, ""
        if ": " in inside:
            group, _, effects = inside.partition(": ")
        else:
            group, _, effects = inside.rpartition(":")
        return group or inside, effects

    def _grouping(self, text: str) -> str | None:
        plain = _plain(text)
        return self._groups.get(_plain(self._renamed.get(plain, plain)))

    def _effect(self, text: str) -> str | None:
        found = self.fixed(text) if text.strip() else {INTERCEPT}
        return next(iter(found)) if len(found) == 1 else None

    def _position(self, effect: str) -> int:
        names = [INTERCEPT]
        for part in self._model.formula.random:
            for term in part.terms:
                names += (
                    [own for own, _ in self._parts(term.factors[0])]
                    if term.degree == 1
                    else [fm.term_r(term)]
                )
        return names.index(effect) if effect in names else len(names)


def _words(variable: Variable) -> tuple[str, ...]:
    return tuple(dict.fromkeys((variable.column, variable.name, variable.label, variable.source)))


def _plain(text: str) -> str:
    """Letters and digits alone, in lower case."""
    return "".join(char for char in text.casefold() if char.isalnum())
