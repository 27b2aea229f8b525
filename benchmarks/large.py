"""The whole report on a million rows from Parquet: how long it takes, and how much memory."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from measure import MLMREPORT, SPREAD, Cost, asked, report, run, spread, table
from report import median, phases

ROWS, GROUPS, FEWEST = 1_000_000, 1_000, 2_000
RUNS = 2
"""A run takes about a minute."""
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


def main() -> None:
    wanted = asked(__doc__, RUNS)
    rows, groups = (20_000, 100) if wanted.smoke else (ROWS, GROUPS)
    data = frame(rows, groups)
    size = data.memory_usage(deep=True).sum() / 1024**2
    with tempfile.TemporaryDirectory() as name:
        base = cost(Path(name) / "small", frame(FEWEST, FEWEST // 20)).memory
        costs = [cost(Path(name) / "large", data) for _ in range(wanted.runs)]
    peaks = [cost.memory for cost in costs]
    over = statistics.median(peaks) - base
    figures = [f"{min(peaks):.0f}", f"{statistics.median(peaks):.0f}", f"{max(peaks):.0f}"]
    longest = median(costs)
    text = [
        table(
            [f"{rows:,} rows", *SPREAD],
            [
                ["seconds on the clock", *spread([cost.wall for cost in costs])],
                ["peak memory, MB", *figures, str(wanted.runs)],
            ],
        ),
        f"The same on {FEWEST:,} rows: {base:.0f} MB. The difference is {over:.0f} MB, "
        f"{over / size:.1f} times the {size:.0f} MB of the data frame. Where the time went:",
        table(["s", ""], [[f"{s:.1f}", what] for s, what in phases(longest.said, longest.wall)]),
    ]
    report("large", "\n\n".join(text), wanted.smoke)


if __name__ == "__main__":
    main()
