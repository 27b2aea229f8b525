"""One analysis by one process, and in parts by two."""

from __future__ import annotations

import tempfile

from measure import HERE, MLMREPORT, SPREAD, asked, report, run, spread, table, times

ANALYSES = ("school-achievement", "growth-in-schools", "course-evaluations")
RUNS = 2
"""A run of all takes minutes."""


def measured(name: str, runs: int) -> list[list[str]]:
    """A row for one process and one for two, by turns."""
    seconds: dict[int, list[float]] = {1: [], 2: []}
    spec = str(HERE.parent / "analyses" / name / "analysis.yml")
    with tempfile.TemporaryDirectory() as folder:
        cache = {"MLMREPORT_CACHE": f"{folder}/cache"}
        for _ in range(runs):
            for jobs, found in seconds.items():
                to = ["--jobs", str(jobs), "--fresh", "--output", f"{folder}/{jobs}"]
                found.append(run([*MLMREPORT, "run", spec, *to], cache).wall)
    return [
        [f"{name}, `--jobs {jobs}`", *spread(found), times(seconds[1], found)]
        for jobs, found in seconds.items()
    ]


def main() -> None:
    wanted = asked(__doc__, RUNS)
    names = ("simulated-schools",) if wanted.smoke else ANALYSES
    rows = [row for name in names for row in measured(name, wanted.runs)]
    heads = ["Seconds on the clock, one analysis", *SPREAD, "times faster"]
    report("parts", table(heads, rows), wanted.smoke)


if __name__ == "__main__":
    main()
