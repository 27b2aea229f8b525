"""Sixty small analyses that differ in design and settings, for `verify` to find sound."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

__all__ = ["DESIGNS", "Design", "write"]

FAST = {
    "estimation": {
        "check_optimizers": False,
        "compare_structures": False,
        "slope_tests": 0,
        "slope_simulations": 0,
    },
    "inference": {
        "icc_bootstrap": 0,
        "df_comparison": 0,
        "check_bootstrap": 0,
        "r2_bootstrap": 0,
        "variance_ci": "none",
    },
}
"""What leaves the costly parts out, so that an analysis takes seconds."""

TWO = ("pupil", "school:g")
GROWTH = ("occasion", "person:g")
NESTED = ("pupil", "class:g", "school:h")
WITHIN = ("pupil", "class:k<school", "school:h")
CROSSED = ("rating", "rater:c", "essay:g")


@dataclass(frozen=True)
class Design:
    """An analysis of the one made data set.

    Parameters
    ----------
    levels
        ``name`` of the lowest, then ``name:id`` or ``name:id<within`` of those above.
    models
        lme4 formulas from simple to complex, or the words of a stepwise sequence.
    estimation, inference
        Settings beside `FAST`.
    more
        Other keys of the spec.
    rows
        How many rows of the data set are taken.
    """

    levels: tuple[str, ...]
    models: tuple[str, ...] | dict[str, object]
    estimation: dict[str, object] | None = None
    inference: dict[str, object] | None = None
    more: dict[str, object] | None = None
    rows: int = 160


def stepwise(**words: object) -> dict[str, object]:
    return {"stepwise": words}


SLOPE = ("y ~ 1 + (1 | g)", "y ~ x + (x | g)")
PLAIN = ("y ~ x + (1 | g)",)

DESIGNS: dict[str, Design] = {
    # one grouping
    "null": Design(TWO, ("y ~ 1 + (1 | g)",)),
    "intercepts": Design(TWO, ("y ~ 1 + (1 | g)", "y ~ x + z + (1 | g)")),
    "slopes": Design(TWO, SLOPE),
    "independent slopes": Design(TWO, ("y ~ x + (x || g)",)),
    "slope without intercept": Design(TWO, ("y ~ x + (0 + x | g)",)),
    "two slopes": Design(TWO, ("y ~ x + t + (x + t | g)",), rows=240),
    "cross-level": Design(TWO, ("y ~ x * z + (x | g)",)),
    "group predictors alone": Design(TWO, ("y ~ z + sector + (1 | g)",)),
    "factor of three": Design(TWO, ("y ~ f + (1 | g)",)),
    "factor by number": Design(TWO, ("y ~ f * x + (1 | g)",)),
    "two factors": Design(TWO, ("y ~ f * sector + (1 | g)",)),
    "random factor": Design(TWO, ("y ~ b + (b | g)",)),
    "no fixed intercept": Design(TWO, ("y ~ 0 + f + (1 | g)",)),
    "square": Design(TWO, ("y ~ x + I(x^2) + (1 | g)",)),
    "polynomial": Design(TWO, ("y ~ poly(x, 2) + (1 | g)",)),
    "cubic slopes": Design(GROWTH, ("y ~ poly(t, 3) + (t | g)",)),
    "logarithm": Design(TWO, ("y ~ log(p) + (1 | g)",)),
    "three-way": Design(TWO, ("y ~ x * z * b + (1 | g)",)),
    "singular": Design(TWO, ("noise ~ x + (1 | g)",)),
    "singular slopes": Design(TWO, ("noise ~ x + (x | g)",)),
    "few groups": Design(TWO, PLAIN, rows=32),
    "two groups": Design(TWO, PLAIN, rows=16),
    "small sample": Design(TWO, ("y ~ 1 + (1 | g)",), rows=24),
    "unequal groups": Design(TWO, ("y ~ x + (1 | u)",)),
    "stepwise": Design(TWO, stepwise(random_slopes=["x"], cross_level=["x:z"])),
    "centred": Design(
        TWO,
        stepwise(random_slopes=["x"]),
        more={"predictors": {"x": {"center": "group mean"}, "z": {"center": "grand mean"}}},
    ),
    "transformed outcome": Design(
        TWO, PLAIN, more={"outcome": {"name": "p", "transform": "log", "label": "duration"}}
    ),
    "root of the outcome": Design(
        TWO, SLOPE, more={"outcome": {"name": "p", "transform": "sqrt", "unit": "s"}}
    ),
    "weights": Design(TWO, PLAIN, {"weights": "w"}),
    "weighted slopes": Design(TWO, SLOPE, {"weights": "w"}),
    "offset": Design(TWO, PLAIN, {"offset": "o"}),
    "missing values": Design(TWO, ("y ~ m + (1 | g)",)),
    # growth
    "growth": Design(GROWTH, ("y ~ t + (1 | g)", "y ~ t * sector + (t | g)")),
    "curved growth": Design(GROWTH, ("y ~ t + I(t^2) + (t | g)",)),
    # several groupings
    "three levels": Design(NESTED, ("y ~ 1 + (1 | g) + (1 | h)", "y ~ x + (1 | g) + (1 | h)")),
    "three levels, slopes": Design(NESTED, ("y ~ x + (1 | g) + (x | h)",), rows=240),
    "numbered within": Design(WITHIN, stepwise(random_slopes=[])),
    "nested by the formula": Design(WITHIN, ("y ~ x + (1 | h/k)",)),
    "nested, weights": Design(WITHIN, stepwise(random_slopes=[]), {"weights": "w"}),
    "crossed": Design(CROSSED, ("y ~ x + (1 | c) + (1 | g)",), more={"structure": "crossed"}),
    "crossed, slopes": Design(
        CROSSED, ("y ~ x + (x | c) + (1 | g)",), more={"structure": "crossed"}, rows=240
    ),
    "combination alone": Design(TWO, ("y ~ f + (1 | g:f)",)),
    "combination beside": Design(TWO, ("y ~ f + (1 | g) + (1 | g:f)",), rows=240),
    # settings at their ends
    "maximum likelihood": Design(TWO, SLOPE, {"method": "ML"}),
    "bobyqa": Design(TWO, SLOPE, {"optimizer": "bobyqa"}),
    "Nelder-Mead": Design(TWO, SLOPE, {"optimizer": "Nelder_Mead"}),
    "all optimizers": Design(TWO, SLOPE, {"check_optimizers": True}),
    "no patience": Design(TWO, SLOPE, {"patience": 0}),
    "all structures": Design(TWO, SLOPE, {"compare_structures": True, "slope_tests": 3}),
    "simulated slope tests": Design(TWO, SLOPE, {"slope_tests": 2, "slope_simulations": 200}),
    "level of .51": Design(TWO, PLAIN, inference={"level": 0.51}),
    "level of .999": Design(TWO, PLAIN, inference={"level": 0.999, "alpha": 0.001}),
    "alpha of .4": Design(TWO, PLAIN, inference={"alpha": 0.4}),
    "Kenward-Roger": Design(TWO, SLOPE, inference={"df": "kenward-roger"}),
    "asymptotic": Design(TWO, SLOPE, inference={"df": "asymptotic"}),
    "profiles": Design(TWO, PLAIN, inference={"variance_ci": "profile", "fixed_ci": "profile"}),
    "bootstraps": Design(
        TWO,
        PLAIN,
        inference={
            "variance_ci": "bootstrap",
            "fixed_ci": "bootstrap",
            "bootstrap": 100,
            "icc_bootstrap": 100,
            "check_bootstrap": 100,
            "r2_bootstrap": 100,
            "seed": 7,
        },
    ),
    "corrected": Design(
        TWO,
        PLAIN,
        inference={"correction": "holm"},
        more={"questions": [{"id": "Q1", "text": "Is x related to y?", "terms": ["x"]}]},
    ),
    "both df": Design(TWO, SLOPE, inference={"df_comparison": 2000}),
    "named groups": Design(TWO, PLAIN, more={"report": {"groups": ["g1", "g3"]}}),
}

PREDICTORS = {
    "x": {"level": 0, "label": "effort"},
    "t": {"level": 0},
    "p": {"level": 0},
    "b": {"level": 0, "type": "category", "reference": "no"},
    "f": {"level": 0, "type": "category"},
    "m": {"level": 0},
    "z": {"level": 1},
    "sector": {"level": 1, "type": "category"},
}


def frame(rows: int) -> pd.DataFrame:
    """Rows of groups of eight in schools of four groups, with crossed raters of five."""
    rng = np.random.default_rng(20_26)
    size = 240
    row = np.arange(size)
    group, school, rater = row // 8, row // 32, rng.integers(0, 5, size)
    x, t = rng.normal(size=size), row % 8 % 4
    z, noise = rng.normal(size=30), rng.normal(size=size)
    slope = rng.normal(0.5, 0.5, 30)
    of_group, of_school, of_rater = rng.normal(size=30), rng.normal(size=8), rng.normal(size=5)
    y = 5 + slope[group] * x + 0.4 * z[group] + 0.3 * t
    y += of_group[group] + of_school[school] + of_rater[rater] + noise
    found = pd.DataFrame(
        {
            "y": y.round(4),
            "noise": (noise - pd.Series(noise).groupby(group).transform("mean")).round(4),
            "x": x.round(4),
            "t": t,
            "p": np.exp(0.2 * y + 0.1 * noise).round(4),
            "b": np.where(rng.random(size) < 0.5, "no", "yes"),
            "f": rng.choice(["low", "middle", "high"], size),
            "m": np.where(rng.random(size) < 0.1, np.nan, rng.normal(size=size).round(4)),
            "z": z[group].round(4),
            "sector": np.where(group % 3 == 0, "private", "public"),
            "w": rng.integers(1, 5, size),
            "o": rng.normal(size=size).round(4),
            "g": [f"g{k}" for k in group],
            "u": [f"u{k}" for k in np.sqrt(row * 3).astype(int)],
            "h": [f"h{k}" for k in school],
            "k": [f"k{k}" for k in group % 4],
            "c": [f"c{k}" for k in rater],
        }
    )
    return found.head(rows)


def _level(words: str) -> dict[str, str]:
    name, _, column = words.partition(":")
    column, _, outer = column.partition("<")
    found = {"name": name} | ({"id": column} if column else {})
    return found | ({"within": outer} if outer else {})


def _predictors(design: Design, levels: list[dict[str, str]]) -> dict[str, object]:
    own = (design.more or {}).get("predictors", {})
    assert isinstance(own, dict)
    return {
        name: {**entry, "level": levels[int(str(entry["level"]))]["name"], **own.get(name, {})}
        for name, entry in PREDICTORS.items()
        if name != (design.more or {}).get("outcome", {"name": ""})["name"]  # type: ignore[index]
    }


def write(name: str, folder: Path) -> Path:
    """The spec of a design, with its data beside it."""
    design = DESIGNS[name]
    levels = [_level(words) for words in design.levels]
    if name == "unequal groups":
        levels[1]["id"] = "u"
    outcome = "noise" if name.startswith("singular") else "y"
    models = design.models
    if not isinstance(models, dict):
        more = (design.more or {}).get("outcome")
        formulas = [m.replace("y ~", f"{more['name']} ~") if more else m for m in models]  # type: ignore[index]
        models = {"list": [{"id": f"m{i}", "formula": m} for i, m in enumerate(formulas)]}
    spec = {
        "title": name,
        "data": {"file": "data.csv"},
        "levels": levels,
        "outcome": {"name": outcome},
        "models": models,
        **(design.more or {}),
        "predictors": _predictors(design, levels),
        "estimation": {**FAST["estimation"], **(design.estimation or {})},
        "inference": {**FAST["inference"], **(design.inference or {})},
    }
    folder.mkdir(parents=True, exist_ok=True)
    frame(design.rows).to_csv(folder / "data.csv", index=False)
    file = folder / "analysis.yml"
    file.write_text(yaml.safe_dump(spec, sort_keys=False), encoding="utf-8")
    return file
