"""Twenty analyses by one command: two at a time beside one after another."""

from __future__ import annotations

import tempfile
from pathlib import Path

import yaml
from measure import HERE, MLMREPORT, SPREAD, asked, report, run, spread, table, times

SPEC = HERE.parent / "analyses" / "simulated-schools" / "analysis.yml"


def written(folder: Path, count: int) -> list[str]:
    """Specs that differ in the seed of their data, each in a folder of its own."""
    spec = yaml.safe_load(SPEC.read_text(encoding="utf-8"))
    files = []
    for seed in range(1, count + 1):
        spec["simulate"]["seed"] = seed
        file = folder / str(seed) / "analysis.yml"
        file.parent.mkdir()
        file.write_text(yaml.safe_dump(spec), encoding="utf-8")
        files.append(str(file))
    return files


def main() -> None:
    wanted = asked(__doc__)
    seconds: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as name:
        specs = written(Path(name), 2 if wanted.smoke else 20)
        cache = {"MLMREPORT_CACHE": f"{name}/cache"}
        for _ in range(wanted.runs):
            for jobs, found in seconds.items():
                command = [*MLMREPORT, "run", *specs, "--jobs", str(jobs), "--fresh"]
                found.append(run(command, cache).wall)
    rows = [
        [f"`--jobs {jobs}`", *spread(found), times(seconds[1], found)]
        for jobs, found in seconds.items()
    ]
    heads = [f"Seconds on the clock, {len(specs)} analyses", *SPREAD, "times faster"]
    report("many", table(heads, rows), wanted.smoke)


if __name__ == "__main__":
    main()
