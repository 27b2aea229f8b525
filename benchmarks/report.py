"""The school achievement report from a cold start, beside a plain R that computes the same numbers.

Both run in processes of their own. Beside the times: where they go, and the most memory held.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

ROOT = Path(__file__).parents[1]
SPEC = ROOT / "analyses" / "school-achievement" / "analysis.yml"
PLAIN_R = Path(__file__).with_name("plain.R")
RUNS = 3


@dataclass(frozen=True)
class Cost:
    """Seconds on the clock and of the CPU, the peak resident memory in MB, and what was said."""

    wall: float
    cpu: float
    memory: float
    said: str


def run(command: list[str]) -> Cost:
    began = perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert process.stderr
    said = process.stderr.read().decode()
    _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(said)
    mega = 1024.0**2 if sys.platform == "darwin" else 1024.0
    wall = perf_counter() - began
    return Cost(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / mega, said)


def median(costs: list[Cost]) -> Cost:
    return sorted(costs, key=lambda cost: cost.cpu)[len(costs) // 2]


def phases(cost: Cost) -> list[tuple[str, float]]:
    """The lines of the progress, each with the seconds until the next."""
    lines = re.findall(r"\[ *([\d.]+) s\] (.*)", cost.said)
    ends = [float(at) for at, _ in lines[1:]] + [cost.wall]
    return [(what, end - float(at)) for (at, what), end in zip(lines, ends, strict=True)]


def main() -> None:
    rscript = shutil.which("Rscript")
    if rscript is None:
        sys.exit("Rscript is not on the PATH")
    program = [sys.executable, "-c", "from mlmreport.cli import main; main()"]
    with tempfile.TemporaryDirectory() as folder:
        ours = [run([*program, "run", str(SPEC), "-o", f"{folder}/{i}"]) for i in range(RUNS)]
        data = f"{folder}/0/data.csv"
        plain = [run([rscript, "--vanilla", str(PLAIN_R), data]) for _ in range(RUNS)]
    print(f"median of {RUNS} by CPU        wall s    CPU s   peak MB")
    for name, cost in (("mlmreport run", median(ours)), ("plain R", median(plain))):
        print(f"{name:<24}{cost.wall:8.1f}{cost.cpu:9.1f}{cost.memory:10.0f}")
    print(f"ratio of the CPU times: {median(ours).cpu / median(plain).cpu:.2f}")
    print("\nwhere the time of mlmreport goes (wall s)")
    for what, length in phases(median(ours)):
        print(f"{length:6.1f}  {what}")


if __name__ == "__main__":
    main()
