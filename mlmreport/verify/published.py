"""Published tables fitted again: every case of ``mlmreport/published``, printed against reproduced.

A case is a YAML file: source, data, formula, criterion, and the numbers as printed. A number agrees
to its printed precision, that is within half a unit of its last digit. A case whose source stopped
short of the optimum has a relative tolerance, ``known`` has one for a single number, or the number
that another version gives (``also``), all with why.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from mlmreport.crosscheck.claims import half_a_unit
from mlmreport.engine.fits import Engine
from mlmreport.engine.session import package_dataset, session
from mlmreport.errors import AnalysisError, InputError
from mlmreport.quantities import Quantity

__all__ = [
    "AGREES", "CASES", "DIFFERS", "KNOWN", "Case", "Number", "Outcome", "load", "page", "reproduce",
]  # fmt: skip

CASES = Path(__file__).parents[1] / "published"
AGREES = "agrees"
KNOWN = "known difference"
DIFFERS = "differs"


@dataclass(frozen=True, slots=True)
class Number:
    """A printed number and what came out here."""

    name: str
    printed: str
    found: float
    verdict: str
    why: str = ""


@dataclass(frozen=True)
class Case:
    """A published table, see the module's head for its keys."""

    id: str
    content: Mapping[str, Any]

    @property
    def printed(self) -> Mapping[str, str]:
        """The numbers as printed, by name."""
        printed: Mapping[str, str] = self.content["printed"]
        return printed


@dataclass(frozen=True)
class Outcome:
    """A case run here; `reason` where it could not be."""

    id: str
    source: str
    formula: str
    method: str
    note: str
    numbers: tuple[Number, ...]
    reason: str = ""

    @property
    def ok(self) -> bool:
        """Whether every number is reproduced, or differs for a known reason."""
        return not any(number.verdict == DIFFERS for number in self.numbers)


def load() -> tuple[Case, ...]:
    """All cases, by name."""
    files = sorted(CASES.glob("*.yml"))
    return tuple(Case(f.stem, yaml.safe_load(f.read_text(encoding="utf-8"))) for f in files)


def reproduce(cases: Sequence[Case], progress: Callable[[str, str], None]) -> tuple[Outcome, ...]:
    """Fit the cases again; one whose data are not installed is told as not run."""
    return tuple(_outcome(case, progress) for case in cases)


def _outcome(case: Case, progress: Callable[[str, str], None]) -> Outcome:
    progress("published", case.id)
    content = case.content
    told = Outcome(
        case.id,
        content["source"],
        content["formula"],
        _method(content),
        content.get("note", ""),
        (),
    )
    try:
        values = _values(case)
    except InputError as error:
        return Outcome(**{**_fields(told), "reason": str(error)})
    numbers = tuple(_judged(case, name, text, values(name)) for name, text in case.printed.items())
    return Outcome(**{**_fields(told), "numbers": numbers})


def _fields(outcome: Outcome) -> dict[str, Any]:
    return {name: getattr(outcome, name) for name in outcome.__dataclass_fields__}


def _method(content: Mapping[str, Any]) -> str:
    if "family" not in content:
        return "REML" if content["reml"] else "ML"
    nagq = content.get("nagq", 1)
    return f"{content['family']}, " + ("Laplace" if nagq == 1 else f"nAGQ = {nagq}")


def _judged(case: Case, name: str, text: str, found: float) -> Number:
    if _is_near(found, text):
        return Number(name, text, found, AGREES)
    known = case.content.get("known", {}).get(name, case.content)
    if _is_near(found, known.get("also", text), float(known.get("tolerance", 0))):
        return Number(name, text, found, KNOWN, known["why"])
    return Number(name, text, found, DIFFERS)


def _is_near(found: float, text: str, tolerance: float = 0) -> bool:
    """Whether a value is a printed one, to its precision and a relative tolerance."""
    half = half_a_unit(Decimal(text)) * (1 + 1e-6)
    return abs(found - float(text)) <= half + tolerance * abs(float(text))


# --- fitting ----------------------------------------------------------------------------------

Values = Callable[[str], float]


def _values(case: Case) -> Values:
    """The case fitted by the engine of the reports; what gives a number by name."""
    content = case.content
    engine = Engine(session())
    engine.begin(_table(content["data"]))
    if "family" in content:
        found = engine.session.call(
            "published_glmer",
            formula=content["formula"],
            family=content["family"],
            nagq=content.get("nagq", 1),
        )
        return lambda name: float(found[name][0])
    _fit(engine, content)
    return lambda name: _item(engine, content, name)


def _table(data: Mapping[str, Any]) -> pd.DataFrame:
    frame = package_dataset(data["package"], data["dataset"])
    if join := data.get("join"):
        other = package_dataset(join["package"], join["dataset"])
        keys = other[join["by"]].astype(str)
        for column in join["take"]:
            taken = dict(zip(keys, other[column], strict=True))
            frame[column] = frame[join["by"]].astype(str).map(taken).astype(other[column].dtype)
    for name, expression in data.get("columns", {}).items():
        frame[name] = frame.eval(expression)
    for name, first in data.get("reference", {}).items():
        levels = list(frame[name].cat.categories)
        order = [first, *(level for level in levels if level != first)]
        frame[name] = frame[name].cat.reorder_categories(order)
    return frame


def _fit(engine: Engine, content: Mapping[str, Any]) -> None:
    engine.fit("m", content["formula"], content["reml"], "nloptwrap")
    large = bool(content.get("large"))  # fitted once, without numerical derivatives
    limits = content.get("limits") == "profile"
    engine.run(
        "models",
        "model_quantities",
        id="m",
        labels={},
        unit="",
        level=0.95,
        limits=not limits,
        ddf="asymptotic" if large else "Satterthwaite",
    )
    if limits:
        engine.run(
            "models",
            "parameter_intervals",
            id="m",
            variances="profile",
            fixed="profile",
            level=0.95,
            nsim=0,
            seed=1,
            labels={},
            unit="",
        )
    if not large:
        engine.run("models", "fit_by_ml", id="m")
        engine.run("fit", "fit_of_model", id="m")
    asked = {name.partition("/")[0] for name in content["printed"]}
    if "icc" in asked:
        blocks = [content["null_of"]]
        engine.run(
            "icc", "step_icc", null="m_m", blocks=blocks, lowest=blocks[0], level=0.95, reason="no"
        )
    if "kr" in asked:
        engine.run("inference", "other_df", id="m", ddf="Kenward-Roger")


def _item(engine: Engine, content: Mapping[str, Any], name: str) -> float:
    kind, _, rest = name.partition("/")
    if kind == "ratio":
        other, _, what = rest.partition("/")
        pair = [content[other], content["formula"]]
        smaller, larger = pair if other == "smaller" else reversed(pair)
        found = engine.session.call("published_ratio", smaller=smaller, larger=larger)
        return float(found[what][0])
    if kind == "reml":
        criterion = _value(engine, "m/criterion")
        aic = criterion + 2 * _value(engine, "m/parameters")
        return aic if rest == "aic" else -criterion / 2
    if kind in {"icc", "kr"}:
        return _value(engine, name.replace("kr/", "inference/otherdf/"))
    if kind == "ml":
        return _value(engine, f"fit/m/{rest}")
    if kind == "var" and f"m/{name}" not in engine.items:  # a second block of a grouping
        end = name.split("/", 2)[2]
        return _value(engine, next(i for i in engine.items if i.endswith(f"/{end}")))
    return _value(engine, f"m/{name}")


def _value(engine: Engine, name: str) -> float:
    found = engine.items.get(name)
    if not isinstance(found, Quantity):
        raise AnalysisError(f"the value '{name}' of a published case could not be had")
    return found.value


# --- telling ----------------------------------------------------------------------------------


HEAD = """\
# Published tables, fitted again

Models that others have fitted and printed, fitted again here by lme4: each number as printed, and
as it is reproduced. A number agrees where it does to its printed precision, half a unit of its last
digit; every difference that is known is explained. This page is written from the cases in
`mlmreport/published/` by `python -m mlmreport.verify.published docs/published.md`, and
`mlmreport crosscheck --published` runs them on your machine.
"""


def page(outcomes: Sequence[Outcome]) -> str:
    """The page of the documentation."""
    total = [number for outcome in outcomes for number in outcome.numbers]
    agree = sum(number.verdict == AGREES for number in total)
    known = sum(number.verdict == KNOWN for number in total)
    count = (
        f"{len(outcomes)} tables, {len(total)} numbers: {agree} agree as printed, "
        f"{known} differ for a known reason.\n"
    )
    return "\n".join([HEAD, count, *(_section(outcome) for outcome in outcomes)])


def _section(outcome: Outcome) -> str:
    lines = [f"## {outcome.id}", "", f"`{outcome.formula}`, {outcome.method}. {outcome.source}."]
    if outcome.note:
        lines += ["", outcome.note]
    lines += ["", "| quantity | printed | reproduced | |", "|---|---:|---:|---|"]
    lines += [
        f"| `{number.name}` | {number.printed} | {_shown(number)} | {_words(number)} |"
        for number in outcome.numbers
    ]
    return "\n".join(lines) + "\n"


def _words(number: Number) -> str:
    return f"{number.verdict}: {number.why}" if number.why else number.verdict


def _shown(number: Number) -> str:
    """With a digit more than is printed, at most eight that count."""
    digits = len(Decimal(number.printed).as_tuple().digits)
    return f"{number.found:.{min(8, digits + 1)}g}"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(reproduce(load(), lambda *_: None)), encoding="utf-8")
