"""The school achievement report: cold, unchanged, after a changed sentence; and beside plain R.

``plain.R`` does the same work by the packages' own functions, without a page, figures, script.
"""

from __future__ import annotations

import re
import shutil
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from measure import (
    HERE,
    MLMREPORT,
    SPREAD,
    Cost,
    asked,
    report,
    rscript,
    run,
    shown,
    spread,
    table,
    times,
)

ROOT = HERE.parent
ANALYSIS = ROOT / "analyses" / "school-achievement"
SAMPLES = 500
"""Samples of each of the report's bootstraps: of the null model for the ICC, of the final model for
R2 and standard errors, and of whole schools for standard errors."""


def median(costs: Sequence[Cost]) -> Cost:
    return sorted(costs, key=lambda cost: cost.wall)[len(costs) // 2]


def phases(said: str, end: float = 0.0) -> list[tuple[float, str]]:
    """The lines of the progress, each with the seconds until the next."""
    lines = re.findall(r"\[ *([\d.]+) s\] (.*)", said)
    ends = [float(at) for at, _ in lines[1:]] + [end]
    return [(until - float(at), what) for (at, what), until in zip(lines, ends, strict=True)]


class Reports:
    """Runs of the report from a folder with its own copy of spec, data and templates."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(ANALYSIS, folder / "analysis", ignore=shutil.ignore_patterns("report"))
        shutil.copytree(ROOT / "templates", folder / "analysis" / "templates")
        self.section = next((folder / "analysis" / "templates").glob("base/sections/4-*.qmd.j2"))
        self.output = folder / "report"

    def run(self) -> Cost:
        spec = self.folder / "analysis" / "analysis.yml"
        cache = {"MLMREPORT_CACHE": str(self.folder / "cache")}
        return run([*MLMREPORT, "run", str(spec), "-o", str(self.output)], cache)

    def cold(self) -> Cost:
        shutil.rmtree(self.folder / "cache", ignore_errors=True)
        return self.run()

    def reworded(self) -> Cost:
        with self.section.open("a", encoding="utf-8") as text:
            text.write("\nOne more sentence.\n")
        return self.run()


def main() -> None:
    wanted = asked(__doc__)
    samples = 2 if wanted.smoke else SAMPLES
    with tempfile.TemporaryDirectory() as name:
        reports = Reports(Path(name))
        ways = {"cold": reports.cold, "nothing changed": reports.run}
        ways["a sentence of a template changed"] = reports.reworded
        costs = {way: [act() for _ in range(wanted.runs)] for way, act in ways.items()}
        data = reports.output / "data.csv"
        script = rscript(HERE / "plain.R", data, samples)
        costs["plain R"] = [run(script) for _ in range(wanted.runs)]
    walls = {way: [cost.wall for cost in found] for way, found in costs.items()}
    rows = [
        [
            way,
            *spread(walls[way]),
            shown(statistics.median(cost.cpu for cost in found)),
            f"{median(found).memory:.0f}",
            times(walls["plain R"], walls[way]),
        ]
        for way, found in costs.items()
    ]
    heads = ["Seconds on the clock", *SPREAD, "CPU", "peak MB", "times faster"]
    cold, plain = median(costs["cold"]), median(costs["plain R"])
    parts = [[f"{length:.1f}", what] for length, what in phases(cold.said, cold.wall)]
    plain_parts = [line.split("\t") for line in plain.said.splitlines() if "\t" in line]
    text = [
        table(heads, rows),
        f"Samples of each of the three bootstraps: {samples}. Where the time of the cold run and "
        "of plain R went:",
        table(["s", "mlmreport"], parts),
        table(["s", "plain R"], plain_parts),
    ]
    report("report", "\n\n".join(text), wanted.smoke)


if __name__ == "__main__":
    main()
