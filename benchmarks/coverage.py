"""How the intervals and tests of the report behave where the truth is known.

The calls are those that mlmreport itself records: a report's analysis is made once for each kind of
model, and the calls behind its intervals and p-values are evaluated by ``coverage.R`` on data drawn
anew, thousands of times in one R. The results go to ``coverage.csv``, where a further run adds to
them until every cell is complete, and as tables into ``README.md``.

    python benchmarks/coverage.py                30 minutes more of replicates, and the tables
    python benchmarks/coverage.py --cells 1 2    the same for some cells of ``coverage.R``
    python benchmarks/coverage.py --smoke        two replicates of one cell, writes nothing
    python benchmarks/coverage.py --tables       the tables again from coverage.csv
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd
from measure import publish

from mlmreport.analysis import analyse
from mlmreport.engine.session import definitions
from mlmreport.quantities import TraceEntry
from mlmreport.spec.quoting import r_string
from mlmreport.spec.reader import parse

HERE = Path(__file__).parent
RESULTS = HERE / "coverage.csv"
SEED = 20261122

SPEC = """\
title: Coverage
simulate:
  seed: 1
  groups: 20
  units: 200
  group_sd: 0.7
  residual_sd: 1
  predictors:
    x: {{level: pupil, effect: 0.5, slope_sd: 0.5}}
    w: {{level: school, effect: 0.3}}
levels:
  - name: pupil
  - {{name: school, id: school}}
outcome: {{name: y}}
predictors:
  x: {{level: pupil, center: group mean}}
  w: {{level: school}}
models:
  stepwise: {{{stepwise}}}
estimation: {{check_optimizers: false}}
inference: {{df: {df}, df_comparison: 0}}
report: {{groups: ["01"]}}
"""
STEPWISE = {"intercepts": "", "slopes": "random_slopes: [x]"}
FINAL = {"intercepts": "schools", "slopes": "slopes"}


def fixed(model: str) -> str:
    return rf"{model}/fixef/.*/(lower|upper|p)"


PREDICTIONS = r"inference/((average|new|observation)|modes/school/.*)/(lower|upper)"
GROUP = r"inference/group/01/(lower|upper)"
NEW = r"inference/new/(lower|upper)"
GROUPING = r"fit/grouping/p|icc/exact/p"
VARIANCES = r"schools/var/.*/sd/(lower|upper)|icc/school/(bootstrap/)?(lower|upper)"
SLOPE = r"models/slope/x_within/(removed|independent)/(p|p_exact)"


def recorded(family: str, df: str) -> Sequence[TraceEntry]:
    """The calls of a report of this kind, in order."""
    spec = SPEC.format(stepwise=STEPWISE[family], df=df)
    results, _ = analyse(parse(spec, HERE / "coverage.yml"), lambda *_: None)
    return results.trace


def needed(trace: Sequence[TraceEntry], wanted: str) -> list[TraceEntry]:
    """The calls with an id like `wanted`, and those that make the objects in them."""
    kept: list[TraceEntry] = []
    names: set[str] = set()
    for entry in reversed(trace):
        found = entry.name in names if entry.kind == "object" else re.fullmatch(wanted, entry.name)
        if found and entry.kind != "missing":
            kept.append(entry)
            names |= set(re.findall(r"[A-Za-z][\w.]*", entry.code))
    return kept[::-1]


def programs(smoke: bool) -> Iterator[tuple[str, list[TraceEntry]]]:
    """Each set of calls that ``coverage.R`` evaluates, by its name there."""
    for family, model in FINAL.items():
        trace = recorded(family, "satterthwaite")
        yield f"{family}/main", needed(trace, f"{fixed(model)}|{PREDICTIONS}")
        yield f"{family}/group", needed(trace, GROUP)
        yield f"{family}/new", needed(trace, NEW)
        if smoke:
            return
        if family == "intercepts":
            yield f"{family}/grouping", needed(trace, GROUPING)
            yield f"{family}/variances", needed(trace, VARIANCES)
        else:
            yield f"{family}/test", needed(trace, SLOPE)
        yield f"{family}/kr", needed(recorded(family, "kenward-roger"), fixed(model))


def r_logical(value: bool) -> str:
    return "TRUE" if value else "FALSE"


def written(name: str, entries: Sequence[TraceEntry]) -> str:
    lines = (
        f"    list(name = {r_string(e.name)}, object = {r_logical(e.kind == 'object')}, "
        f"code = {r_string(e.code)})"
        for e in entries
    )
    return f"  {r_string(name)} = list(\n" + ",\n".join(lines) + "\n  )"


def simulate(
    results: Path, minutes: float, cells: Sequence[int], most: int = 1_000_000, smoke: bool = False
) -> None:
    """Add replicates to `results`; with `smoke` only the first cell can be among the `cells`."""
    rscript = shutil.which("Rscript")
    if rscript is None:
        sys.exit("Rscript is not on the PATH")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "programs.R"
        made = list(programs(smoke))
        listed = ",\n".join(written(*program) for program in made)
        code = definitions()
        file.write_text(f"{code}\n\nprograms <- list(\n{listed}\n)\n", encoding="utf-8")
        command = [HERE / "coverage.R", file, results, SEED, minutes, most, *cells]
        subprocess.run(
            [rscript, "--vanilla", *map(str, command)],
            check=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )


# --- the tables of README.md ----------------------------------------------------------------------

DESIGN = ["family", "sizes", "groups", "icc"]
HEADS = {"family": "Random", "sizes": "Sizes", "groups": "Groups", "icc": "ICC"}
COLUMNS = {
    "Fixed effects: coverage of the 95 % interval": {
        "singular": "Singular fits",
        "coverage Satterthwaite (Intercept)": "Intercept",
        "coverage Satterthwaite x_within": "Within",
        "coverage Satterthwaite w": "Between",
        "coverage Kenward-Roger x_within": "Within (KR)",
        "coverage Kenward-Roger w": "Between (KR)",
    },
    "Groups of the sample: coverage of the 95 % interval": {
        "coverage group smallest": "Smallest group",
        "coverage group largest": "Largest group",
        "coverage group highest": "Highest estimate",
        "coverage modes intercepts": "Modes, intercepts",
        "coverage modes slopes": "Modes, slopes",
    },
    "The same over the fits that are not singular": {
        "inside group smallest": "Smallest group",
        "inside group largest": "Largest group",
        "inside group highest": "Highest estimate",
        "inside modes intercepts": "Modes, intercepts",
        "inside modes slopes": "Modes, slopes",
    },
    "The average and what is new: coverage of the 95 % interval": {
        "coverage average": "Average",
        "coverage new group": "New group",
        "coverage new observation": "New observation",
    },
    "SDs and ICC: coverage of the 95 % interval": {
        "coverage SD groups": "SD of groups, profile",
        "coverage SD residual": "Residual SD, profile",
        "coverage ICC profile": "ICC, profile",
        "coverage ICC bootstrap": "ICC, bootstrap",
    },
    "Tests of variances that are zero: share of p < .05": {
        "error grouping mixture": "Grouping, mixture",
        "error grouping exact": "Grouping, exact",
        "error slope correlated mixture": "Correlated slope, mixture",
        "error slope correlated bootstrap": "Correlated slope, bootstrap",
        "error slope independent mixture": "Independent slope, mixture",
        "error slope independent exact": "Independent slope, exact",
    },
}
TARGETS = {"coverage": (0.93, 0.97), "inside": (0.93, 0.97), "error": (0.04, 0.06)}


def tables(found: pd.DataFrame) -> str:
    """All tables, and what the cells took."""
    parts = [table(found, title, columns) for title, columns in COLUMNS.items()]
    return "\n\n".join([*parts, times(found)])


def table(found: pd.DataFrame, title: str, columns: Mapping[str, str]) -> str:
    rows = found[found["measure"].isin(columns)]
    columns = {key: head for key, head in columns.items() if key in set(rows["measure"])}
    heads = [*HEADS.values(), *columns.values()]
    lines = [f"**{title}**", "", "| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for design, cell in rows.groupby(DESIGN, sort=True):
        by_measure = cell.set_index("measure")
        shown = [percent(by_measure, measure) for measure in columns]
        lines.append("| " + " | ".join([*map(str, design), *shown]) + " |")
    return "\n".join(lines)


def percent(by_measure: pd.DataFrame, measure: str) -> str:
    """A share in percent with its Monte Carlo standard error; outside the target in bold."""
    if measure not in by_measure.index:
        return ""
    value, se = by_measure.loc[measure, ["value", "se"]].astype(float)
    text = f"{100 * value:.1f} ({100 * se:.1f})"
    low, high = TARGETS.get(measure.partition(" ")[0], (0, 1))
    return text if low <= value <= high else f"**{text}**"


def times(found: pd.DataFrame) -> str:
    cells = found.drop_duplicates(["part", *DESIGN])
    each = 1000 * cells["seconds"] / (cells["replicates"] + cells["missing"])
    lines = ["CPU milliseconds a replicate, by what is looked at and the number of groups:", ""]
    wide = each.groupby([cells["part"], cells["groups"]]).mean().unstack()
    heads = ["Part", *(f"{groups} groups" for groups in wide.columns)]
    lines += ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for part, row in wide.iterrows():
        shown = ["" if pd.isna(value) else f"{value:.0f}" for value in row]
        lines.append(f"| {part} | " + " | ".join(shown) + " |")
    total = cells["seconds"].sum() / 60
    made = f"{cells['replicates'].sum() + cells['missing'].sum():,}"
    return "\n".join(
        [*lines, "", f"{made} replicates in {len(cells)} cells, {total:.0f} min of CPU."]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30, help="no new block after that; 30")
    parser.add_argument("--cells", type=int, nargs="+", default=(), help="numbers of cells; all")
    parser.add_argument("--anew", action="store_true", help="forget earlier results")
    parser.add_argument("--smoke", action="store_true", help="two replicates of the first cell")
    parser.add_argument("--tables", action="store_true", help="only write the tables again")
    asked = parser.parse_args()
    if asked.smoke:
        with tempfile.TemporaryDirectory() as folder:
            new = Path(folder) / "coverage.csv"
            simulate(new, 1, [1], most=2, smoke=True)
            print(new.read_text())
        return
    if asked.anew:
        RESULTS.unlink(missing_ok=True)
    if not asked.tables:
        simulate(RESULTS, asked.minutes, asked.cells)
    publish("coverage", tables(pd.read_csv(RESULTS)))


if __name__ == "__main__":
    main()
