"""The terms of a printed table lined up with lme4's names: what matches, and near misses."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import permutations, product
from types import MappingProxyType

from mlmreport.crosscheck.claims import Claim, Note
from mlmreport.errors import Problem, did_you_mean
from mlmreport.spec import formula as fm
from mlmreport.spec.contrasts import Coding
from mlmreport.spec.sequence import ModelPlan, Plan
from mlmreport.spec.variables import Variable

__all__ = ["NO_CONTRASTS", "Lineup"]

NO_CONTRASTS: Mapping[str, Coding] = MappingProxyType({})
"""Of data whose categories all have a reference."""

INTERCEPT = "(Intercept)"
_INTERCEPTS = ("intercept", "cons", "const", "constant")
_WHOLE = {
    "loglik": """loglik loglikelihood logl ll logrestrictedlikelihood restrictedloglikelihood
        loglikelihoodreml""",
    "deviance": """deviance 2ll 2loglikelihood 2loglik 2logl minus2ll remlcriterion remldeviance
        2restrictedloglikelihood 2resloglikelihood deviancereml 2llreml 2lnl""",
    "aic": "aic akaike akaikesinformationcriterion",
    "bic": "bic sbc schwarz bayesianinformationcriterion",
    "nobs": """n nobs observations numberofobservations numobs samplesize totaln obs
        noofobservations
        ntotal nobservations level1n nlevel1""",
    "sigma2": """residualvariance sigma2 σ2 varresidual level1variance withingroupvariance σ2e σe2
        residual error residuals sigmasquared withinvariance varianceresidual withinresidual""",
    "sigma": """residualsd residualstddev residualstandarddeviation sigma σ sdresidual
        sdobservation""",
}
_GROUPS = frozenset(
    [
        "groups",
        "ngroups",
        "numberofgroups",
        "clusters",
        "nclusters",
        "numberofclusters",
        "level2n",
        "nlevel2",
        "noofgroups",
    ]
)
_ICC = frozenset({"icc", "vpc", "intraclasscorrelation", "intraclasscorrelationcoefficient", "ρ"})
_OTHERS = re.compile(
    r"(?:marginal|conditional|pseudo|adjusted|total)?r2\w*|dic|waic|caic|aicc|chi2?\w*|χ2\w*|wald\w*"
    r"|lrtest|lrt|rmse|f|fstatistic|parameters|numberofparameters|npar|k"
)
"""Statistics of a model that this project has no number for to hold them against."""
_NAMES = {alias: name for name, aliases in _WHOLE.items() for alias in aliases.split()}
_COMPONENT = re.compile(
    r"\s*(var|variance|sd|cov|cor|corr|icc|groups)\s*\((.*)\)\s*", re.IGNORECASE
)
_KINDS = {"variance": "var", "corr": "cor"}
_RESIDUAL = {"var": "sigma2", "sd": "sigma"}
_RESIDUALS = frozenset(
    [
        "residual",
        "error",
        "residuals",
        "within",
        "withingroup",
        "level1",
        "σ2",
        "residualvariance",
        "sigma2",
        "e",
    ]
)
_APART = re.compile(r"\s*[:#*\u00d7\u273b\u2217]\s*|\s+x\s+")
_KIND_WORDS = {
    "var": "var variance variances τ00 tau00 τ11 tau11 τ2 tau2 τ tau τ002 τ112 σ2 u0 u1 u0j u1j",
    "sd": "sd std stddev stdev deviation",
    "cov": "cov covariance τ01 tau01 τ10 tau10",
    "cor": "cor corr correlation ρ01 rho01 ρ",
}
_KIND_OF = {word: kind for kind, words in _KIND_WORDS.items() for word in words.split()}
_IDLE = frozenset(
    [
        "of",
        "the",
        "random",
        "between",
        "for",
        "in",
        "by",
        "among",
        "across",
        "at",
        "level",
        "levels",
        "effect",
        "effects",
        "component",
        "standard",
        "and",
        "slope",
        "slopes",
        "with",
        "group",
        "groups",
        "grouping",
        "on",
        "intercepts",
    ]
)
_SLOPES = frozenset({"τ11", "tau11", "τ112", "u1", "u1j"})
SHORTEST = 8
"""Letters; programs cut names after as many, so that a shorter name is no beginning of another."""


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
    codes
        How the source's program numbers categories of exported data: the reference ``"first"`` or
        ``"last"``.
    terms
        The terms of the source, which tell whether a number is a code or a category's name.
    contrasts
        The contrasts of categories that have no reference.
    """

    def __init__(
        self,
        plan: Plan,
        model: ModelPlan,
        categories: Mapping[str, Sequence[str]],
        renamed: Mapping[str, str],
        codes: str = "first",
        terms: Iterable[str] = (),
        contrasts: Mapping[str, Coding] = NO_CONTRASTS,
    ) -> None:
        self._contrasts = contrasts
        self._plan = plan
        self._model = model
        self._categories = categories
        self._renamed = {_plain(theirs): ours for theirs, ours in renamed.items()}
        self._groups = self._groupings()
        self._factors = self._categorical()
        self._codings = self._coded(codes, terms)
        self._strong = self._aliases(_own_words)
        self._fixed = self._aliases(_words)

    def _groupings(self) -> dict[str, str]:
        """What a grouping may be called, to its column."""
        found: dict[str, str] = {}
        for level in self._plan.groups:
            names = [level.group, level.name, level.plural, level.id or level.group]
            names += [f"level {level.index}", f"l{level.index}"]
            if level.within and level.id:
                names += [f"{a}{b}" for a, b in permutations((level.within, level.id))]
            found |= {_plain(name): level.group for name in names}
        for part in self._model.formula.random:
            for order in permutations(part.groups) if len(part.groups) < 5 else [part.groups]:
                found[_plain(":".join(order))] = ":".join(part.groups)
        return found

    @cached_property
    def grouped(self) -> tuple[str, ...]:
        """The groupings of the model."""
        return tuple(dict.fromkeys(":".join(part.groups) for part in self._model.formula.random))

    # --- categories as numbers ----------------------------------------------------------------

    def _categorical(self) -> dict[str, tuple[str, ...]]:
        """What a categorical variable may be called, to its categories."""
        found: dict[str, tuple[str, ...]] = {}
        for term in self._terms():
            for factor in term.factors:
                levels = isinstance(factor, fm.Name) and self._categories.get(factor.name)
                if levels and isinstance(factor, fm.Name):
                    variable = self._plan.by_column(factor.name)
                    words = _words(variable) if variable else (factor.name,)
                    found |= {_plain(word): tuple(levels) for word in words}
        return found

    def _coded(self, codes: str, terms: Iterable[str]) -> dict[str, dict[str, str]]:
        """For each word of a categorical variable, which category a number stands for."""
        seen: dict[str, set[str]] = {}
        for term in terms:
            for part in _APART.split(term):
                name, level = _named_level(part)
                word = self._word(name)
                if level.isdecimal() and word in self._factors:
                    seen.setdefault(word, set()).add(level)
        return {
            word: self._coding(self._factors[word], found, codes) for word, found in seen.items()
        }

    @staticmethod
    def _coding(labels: Sequence[str], seen: set[str], codes: str) -> dict[str, str]:
        """Numbers as the codes of an export, unless they are the categories' own names."""
        numbers = {str(k) for k in range(1, len(labels) + 1)}
        own, exported = seen <= set(labels), seen <= numbers
        order = list(labels) if codes == "first" else [*labels[1:], labels[0]]
        if own and not (exported and codes == "last" and set(labels) == numbers):
            return {}
        if len(labels) == 2 and len(seen) == 1:
            return dict.fromkeys(seen, labels[1])
        if exported:
            return {str(k): label for k, label in enumerate(order, 1)}
        if len(labels) == 2:
            return dict.fromkeys(seen, labels[1])
        return {}

    def _word(self, name: str) -> str:
        """The plain name of a variable in the source, renamed where the user says so."""
        plain = _plain(name)
        return _plain(self._renamed.get(plain, name))

    # --- fixed effects ------------------------------------------------------------------------

    def _aliases(self, words_of: _Words) -> dict[tuple[str, ...], set[str]]:
        """Tokens in alphabetical order, to the lme4 names they can stand for."""
        found: dict[tuple[str, ...], set[str]] = {(word,): {INTERCEPT} for word in _INTERCEPTS}
        for term in self._terms():
            for parts in product(*(self._parts(factor, words_of) for factor in term.factors)):
                name = ":".join(own for own, _ in parts)
                for words in product(*(aliases for _, aliases in parts)):
                    found.setdefault(tuple(sorted(map(_plain, words))), set()).add(name)
        return found

    def _terms(self) -> Iterator[fm.Term]:
        yield from self._model.formula.fixed
        for part in self._model.formula.random:
            yield from part.terms

    def _parts(
        self, factor: fm.Expression, words_of: _Words | None = None
    ) -> Iterator[tuple[str, tuple[str, ...]]]:
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
        words = (words_of or _words)(variable) if variable else (factor.name,)
        levels = self._categories.get(factor.name)
        if levels is None:
            yield text, words
            return
        if made := self._contrasts.get(factor.name):
            for end, label in zip(made.names, made.labels, strict=True):
                called = (f"{word} {part}" for word in words for part in (end, label))
                yield f"{text}{end}", (f"{text}{end}", *called)
            return
        for level in levels:
            plain = words if len(levels) == 2 and level == levels[1] else ()
            yield f"{text}{level}", (*(f"{word} {level}" for word in words), *plain)

    def _tokens(self, term: str) -> tuple[str, ...]:
        return tuple(sorted(self._token(part) for part in _APART.split(term.strip())))

    def _token(self, part: str) -> str:
        name, level = _named_level(part)
        word = self._whole_word(self._word(name))
        if not level:
            return self._numbered(word)
        if level in self._codings.get(word, {}):
            level = self._codings[word][level]
        return _plain(f"{word} {level}")

    def _numbered(self, word: str) -> str:
        """``sector1``, an indicator that a program numbers, as that of its category."""
        found = re.fullmatch(r"(.*?)(\d+)", word)
        labels = self._factors.get(found[1], ()) if found and word not in self._known else ()
        if not found or not labels:
            return word
        place = 1 if len(labels) == 2 else int(found[2][-2:])
        return _plain(f"{found[1]} {labels[place]}") if 0 < place < len(labels) else word

    @cached_property
    def _known(self) -> frozenset[str]:
        """Every word that a term of the model can be made of."""
        return frozenset(word for tokens in self._fixed for word in tokens)

    def _whole_word(self, word: str) -> str:
        """A name that a program shortened, in full, where one name alone fits."""
        words = self._known | set(self._factors)
        if word in words:
            return word
        first, mark, last = word.partition("~")
        if mark:
            fitting = [w for w in words if w.startswith(first) and w.endswith(last)]
        else:
            fitting = [w for w in words if len(word) >= SHORTEST and w.startswith(word)]
        return fitting[0] if len(fitting) == 1 else word

    def fixed(self, term: str) -> set[str]:
        """The fixed effects that a term can stand for."""
        tokens = self._tokens(term)
        return self._strong.get(tokens) or self._fixed.get(tokens, set())

    @cached_property
    def all_fixed(self) -> frozenset[str]:
        """Every fixed effect of the model, by lme4's names."""
        found = {INTERCEPT} if self._model.formula.intercept else set()
        for term in self._model.formula.fixed:
            names = (self._without_reference(factor) for factor in term.factors)
            found |= {":".join(parts) for parts in product(*names)}
        return frozenset(found)

    def _without_reference(self, factor: fm.Expression) -> list[str]:
        names = [own for own, _ in self._parts(factor)]
        category = isinstance(factor, fm.Name) and factor.name in self._categories
        return names[1:] if category else names

    @cached_property
    def all_random(self) -> frozenset[tuple[str, str]]:
        """Every random effect of the model with its grouping."""
        return frozenset(
            (":".join(part.groups), name)
            for part in self._model.formula.random
            for name in self._random_names(part)
        )

    def _random_names(self, part: fm.RandomTerm) -> Iterator[str]:
        if part.intercept:
            yield INTERCEPT
        for term in part.terms:
            if term.degree > 1:
                yield fm.term_r(term)
                continue
            factor = term.factors[0]
            without = part.intercept
            yield from (
                self._without_reference(factor)
                if without
                else [own for own, _ in self._parts(factor)]
            )

    # --- all of a claim -----------------------------------------------------------------------

    def name(self, claim: Claim) -> str | Problem | Note:
        """The name of the number that a claim is about, why it has none here, or what is wrong."""
        component = _COMPONENT.fullmatch(claim.term)
        if component:
            kind = component[1].lower()
            return self._component(claim, _KINDS.get(kind, kind), component[2])
        found = self.fixed(claim.term)
        if len(found) == 1:
            return f"fixef/{next(iter(found))}/{claim.what}"
        if found:
            message = f"'{claim.term}' can be {' or '.join(sorted(found))}"
            return Problem(message, "write the name that lme4 has", claim.term_at)
        return self._whole(claim) or self._in_words(claim) or self._unknown(claim)

    def _whole(self, claim: Claim) -> str | Problem | Note | None:
        """A number of the model as a whole."""
        plain = _plain(claim.term)
        single = self.grouped[0] if len(self.grouped) == 1 else ""
        name = _NAMES.get(plain)
        lowest = self._plan.levels[0]
        if name is None and plain in {_plain(lowest.plural), f"n{_plain(lowest.plural)}"}:
            name = "nobs"
        if name is None and single and plain in _GROUPS:
            name = f"ngroups/{single}"
        if name is None and single and plain in _ICC:
            name = f"icc/{single}"
        if name is None:
            name = self._counted(claim.term)
        if name is None and _OTHERS.fullmatch(plain):
            return Note(claim.term, "no number here to compare it with", claim.term_at)
        if name is None:
            return None
        with_error = name in {"sigma", "sigma2"} and claim.what == "se"
        if claim.what != "estimate" and not with_error:
            return self._misplaced(claim)
        return f"{name}/se" if with_error else name

    def _counted(self, term: str) -> str | None:
        """``Schools``, ``N schools``: the number of groups, by the plural of what a group is."""
        plain = _plain(term)
        for level in self._plan.groups:
            plural = _plain(level.plural)
            if plain in {plural, f"n{plural}", f"numberof{plural}", f"noof{plural}"}:
                return f"ngroups/{level.group}"
        counted = re.match(r"(?:n|ngrps|number of groups|groups)\W+(\S.*)", term, re.IGNORECASE)
        column = self._grouping(counted[1]) if counted else None
        return f"ngroups/{column}" if column else None

    def _in_words(self, claim: Claim) -> str | Problem | Note | None:
        """``Variance of intercepts``, ``SD (Intercept)``: a component in words."""
        words = [word for word in re.split(r"[^\w~]+", _flat(claim.term)) if word.strip("_")]
        kinds = {_KIND_OF[word.casefold()] for word in words if word.casefold() in _KIND_OF}
        if not kinds:
            return None
        for kind in ("cor", "cov", "sd", "var"):
            if kind in kinds:
                return self._component(claim, kind, f": {' '.join(words)}")
        return None

    def _unknown(self, claim: Claim) -> Problem:
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

    def _component(self, claim: Claim, kind: str, inside: str) -> str | Problem | Note:
        if claim.what not in {"estimate", "se"}:
            reason = f"a component has an estimate and a standard error, no {claim.what}"
            return Note(f"{claim.term}, {claim.what}", reason, claim.location)
        end = "" if claim.what == "estimate" else "/se"
        group, effects = self._divided(inside)
        bare = _plain(group + effects)
        if kind in _RESIDUAL and (bare in _RESIDUALS or self._is_residual(effects)):
            return _RESIDUAL[kind] + end
        column = self._grouping(group)
        if column is None and not group.strip():
            counted = self._counted(effects)
            if counted and _plain(effects) not in self._single_names() and claim.what == "estimate":
                return counted
            column, effects = self._within(effects)
        single = effects in {"", group} and len(self.grouped) == 1
        if column is None and single and self._effect(group):
            column, effects = self.grouped[0], group
        if column is None:
            hint = did_you_mean(group or effects, [level.name for level in self._plan.groups])
            named = (
                f"'{group}' is no grouping of the model"
                if group.strip()
                else (f"'{claim.term}' does not say of which grouping it is")
            )
            return Problem(named, hint, claim.term_at)
        if kind in {"icc", "groups"}:
            return f"{'icc' if kind == 'icc' else 'ngroups'}/{column}"
        names = self._effects_of(effects, column, kind)
        if None in names or (kind in {"cov", "cor"}) != (len(names) == 2):
            message = f"'{claim.term}' names no {kind} of the model"
            hint = "write var(school), var(school: ses) or cov(school: (Intercept), ses)"
            return Problem(message, hint, claim.term_at)
        ordered = sorted(map(str, names), key=self._position)
        return "/".join([kind, column, *ordered]) + end

    def _single_names(self) -> set[str]:
        return {_plain(level.name) for level in self._plan.groups}

    def _is_residual(self, text: str) -> bool:
        words = {word.casefold() for word in re.split(r"[^\w]+", _flat(text)) if word}
        kept = words - set(_KIND_OF) - _IDLE
        return bool(kept) and kept <= _RESIDUALS and not self._effects_in(text)

    def _effects_in(self, text: str) -> bool:
        return len(self.fixed(text)) == 1

    def _within(self, text: str) -> tuple[str | None, str]:
        """A grouping named among words, and the words that are left; the only one for none."""
        words = [word for word in re.split(r"[^\w~.#]+", _flat(text)) if word.strip("_")]
        idle = [w for w in words if w.casefold() not in _KIND_OF]
        slopes = any(word.casefold() in _SLOPES for word in words)
        for length in range(min(3, len(idle)), 0, -1):
            for start in range(len(idle) - length + 1):
                column = self._grouping(" ".join(idle[start : start + length]))
                if column in self.grouped:
                    rest = [*idle[:start], *idle[start + length :]]
                    return column, self._left(rest, text, slopes)
        column = self.grouped[0] if len(self.grouped) == 1 else None
        return column, self._left(idle, text, slopes)

    def _left(self, words: Sequence[str], text: str, slopes: bool) -> str:
        """The effects among words that say more; both of two where a covariance names none."""
        if len(self.fixed(text)) == 1:
            return text
        kept = [word for word in words if word.casefold() not in _IDLE]
        if slopes and not kept:
            return "#2"
        pair = [self._effect(word) for word in kept]
        if len(kept) == 2 and None not in pair:
            return ", ".join(kept)
        return " ".join(kept)

    def _effects_of(self, effects: str, column: str, kind: str) -> list[str | None]:
        """The effects of a component; those of a grouping that has two, where none is named."""
        all_of = [name for group, name in self._ordered if group == column]
        if kind in {"cov", "cor"} and not effects.strip() and len(all_of) == 2:
            return list(all_of)
        names: list[str | None] = []
        for part in effects.split(","):
            place = re.fullmatch(r"\s*#(\d{1,3})\s*", part)
            if place:
                number = int(place[1])
                names.append(all_of[number - 1] if 0 < number <= len(all_of) else None)
            else:
                names.append(self._effect(part))
        if kind in {"cov", "cor"} and len(names) == 1 and names[0] and len(all_of) == 2:
            return list(all_of)
        return names

    @cached_property
    def _ordered(self) -> tuple[tuple[str, str], ...]:
        """Every random effect with its grouping, in the model's order."""
        return tuple(
            (":".join(part.groups), name)
            for part in self._model.formula.random
            for name in self._random_names(part)
        )

    def _divided(self, inside: str) -> tuple[str, str]:
        """Grouping and effects of what stands in the brackets; either may hold a colon itself."""
        if inside.startswith(":"):
            return "", inside[1:].strip()
        if self._grouping(inside):
            return inside, ""
        if ": " in inside:
            group, _, effects = inside.partition(": ")
        else:
            group, _, effects = inside.rpartition(":")
        return group or inside, effects

    def _grouping(self, text: str) -> str | None:
        plain = _plain(text)
        word = _plain(self._renamed.get(plain, plain))
        first, mark, last = word.partition("~")
        if mark:
            fitting = {
                column
                for name, column in self._groups.items()
                if name.startswith(first) and name.endswith(last)
            }
            return next(iter(fitting)) if len(fitting) == 1 else None
        return self._groups.get(word)

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


_Words = Callable[[Variable], tuple[str, ...]]


def _own_words(variable: Variable) -> tuple[str, ...]:
    """The names of a variable that no other one has."""
    return tuple(dict.fromkeys((variable.column, variable.name)))


def _words(variable: Variable) -> tuple[str, ...]:
    words = (*_own_words(variable), variable.label, variable.source, variable.base_label)
    return tuple(dict.fromkeys(words))


def _named_level(part: str) -> tuple[str, str]:
    """A variable and its category: ``sector[Catholic]``, ``[sector=1]``, ``1.sector``."""
    inside = re.sub(r"^[ci]\.", "", part.strip())
    numbered = re.fullmatch(r"(\d+)[bon]*\.(\w.*)", inside) or re.fullmatch(
        r"_I(?P<b>\w+?)_(?P<a>\d+)", inside
    )
    if numbered and numbered.re.groupindex:
        return numbered["b"], numbered["a"]
    if numbered:
        return numbered[2], numbered[1]
    name, _, level = re.sub(r"^\[|\]$", "", inside).replace("[", "=").partition("=")
    return name, level.strip()


def _flat(text: str) -> str:
    """Superscripts and subscripts as plain digits."""
    return unicodedata.normalize("NFKC", text)


def _plain(text: str) -> str:
    """Letters and digits alone, in lower case; the mark of a shortened name stays."""
    return "".join(char for char in _flat(text).casefold() if char.isalnum() or char == "~")
