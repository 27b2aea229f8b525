"""What a user waits for before anything happens: the import, and the help of the command line."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
from time import perf_counter

RUNS = 5
CASES = {
    "python (nothing)": ["-c", "pass"],
    "import mlmreport": ["-c", "import mlmreport"],
    "mlmreport --help": ["-c", "from mlmreport.cli import main; main()", "--help"],
}


def run(arguments: list[str]) -> tuple[float, float]:
    """Wall and CPU seconds of a new Python."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), perf_counter()
    command = [sys.executable, *arguments]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True, env=os.environ)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return perf_counter() - began, cpu


def main() -> None:
    print(f"{'seconds, median (max) of ' + str(RUNS):<28}{'wall':>16}{'CPU':>16}")
    for name, arguments in CASES.items():
        pairs = [run(arguments) for _ in range(RUNS)]
        cells = [f"{statistics.median(f):.3f} ({max(f):.3f})" for f in zip(*pairs, strict=True)]
        print(f"{name:<28}" + "".join(f"{cell:>16}" for cell in cells))


if __name__ == "__main__":
    main()
