"""The whole report on a million rows from Parquet: time and memory, beside plain R's models."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from measure import HERE, MLMREPORT, Cost, asked, report, rscript, run, shown, table
from report import median, phases

ROWS, GROUPS, FEWEST = 1_000_000, 1_000, 2_000
RUNS = 1
"""A run takes minutes."""
SPEC = """\
title: A million rows
data: {file: rows.parquet}
levels:
  - name: pupil
  - {name: school, id: school}
outcome: {name: y}
predictors:
  x: {level: pupil, center: group mean}
  z: {level: pupil}
  w: {level: school}
models:
  stepwise: {random_slopes: [x]}
"""


def frame(rows: int, groups: int) -> pd.DataFrame:
    """Four columns of the model, its group, and seven that no model uses."""
    rng = np.random.default_rng(1)
    school = np.repeat(np.arange(groups), rows // groups)
    intercept, slope = rng.normal(size=groups), rng.normal(0.5, 0.3, groups)
    x, z, w = rng.normal(size=rows), rng.normal(size=rows), rng.normal(size=groups)[school]
    y = 1 + slope[school] * x + 0.2 * z + 0.3 * w + intercept[school] + rng.normal(0, 2, rows)
    used = {"school": school, "y": y, "x": x, "z": z, "w": w}
    return pd.DataFrame(used | {f"other{i}": rng.normal(size=rows) for i in range(7)})


def cost(folder: Path, data: pd.DataFrame) -> Cost:
    folder.mkdir(exist_ok=True)
    data.to_parquet(folder / "rows.parquet")
    (folder / "analysis.yml").write_text(SPEC, encoding="utf-8")
    command = [*MLMREPORT, "run", str(folder / "analysis.yml"), "--fresh"]
    return run(command, {"MLMREPORT_CACHE": str(folder / "cache")})


def plain(folder: Path) -> Cost:
    """Plain R on the data of a report, handed over as R stores them."""
    script, rows = HERE / "large.R", folder / "rows.rds"
    run(rscript(script, folder / "report" / "data.csv", rows))
    return run(rscript(script, rows, rows))


def peaks(cost: Cost) -> list[list[str]]:
    """Of each phase its seconds and the peak of the memory in it."""
    rows, began = [], cost.wall - sum(length for length, _ in phases(cost.said, cost.wall))
    for length, what in phases(cost.said, cost.wall):
        within = [size for at, size in cost.resident if began <= at <= began + length]
        rows.append([f"{length:.1f}", f"{max(within):.0f}" if within else "", what])
        began += length
    return rows


def main() -> None:
    wanted = asked(__doc__, RUNS)
    rows, groups = (20_000, 100) if wanted.smoke else (ROWS, GROUPS)
    data = frame(rows, groups)
    size = data.memory_usage(deep=True).sum() / 1024**2
    with tempfile.TemporaryDirectory() as name:
        small, large = Path(name) / "small", Path(name) / "large"
        few = cost(small, frame(FEWEST, FEWEST // 20))
        costs = [cost(large, data) for _ in range(wanted.runs)]
        others = {"few": plain(small), "all": plain(large)}
    longest = median(costs)
    over = {
        "the whole report": longest.memory - few.memory,
        "plain R, the three models": others["all"].memory - others["few"].memory,
    }
    compared = [
        [
            what,
            shown(found.wall),
            shown(found.cpu),
            f"{found.memory:.0f}",
            f"{base.memory:.0f}",
            f"{over[what]:.0f}",
            f"{over[what] / size:.1f}",
        ]
        for what, found, base in (
            ("the whole report", longest, few),
            ("plain R, the three models", others["all"], others["few"]),
        )
    ]
    heads = [f"{rows:,} rows", "s", "CPU", "peak MB", f"with {FEWEST:,} rows", "more", "frames"]
    text = [
        table(heads, compared),
        f"Frames: times the {size:.0f} MB of the data frame. Runs of the report: {wanted.runs}. "
        "Where time and memory went in it:",
        table(["s", "peak MB", ""], peaks(longest)),
    ]
    report("large", "\n\n".join(text), wanted.smoke)


if __name__ == "__main__":
    main()
