"""What the benchmarks share: timed processes, tables, and their places in ``README.md``."""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from time import perf_counter, process_time, sleep

HERE = Path(__file__).parent
README = HERE / "README.md"
MLMREPORT = (sys.executable, "-c", "from mlmreport.cli import main; main()")
SPREAD = ("min", "median", "max", "runs")


def asked(description: str | None, runs: int = 5) -> argparse.Namespace:
    """What the user of a benchmark asks for."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=runs, help=f"how often; {runs}")
    parser.add_argument(
        "--smoke", action="store_true", help="once and as small as can be; README.md stays"
    )
    found = parser.parse_args()
    if found.smoke:
        found.runs = 1
    return found


# --- timing -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cost:
    """Seconds on the clock and of the CPU, the peak resident memory in MB, and what was said.

    ``resident``: seconds since the start and MB of resident memory, ten times a second (Linux).
    """

    wall: float
    cpu: float
    memory: float
    said: str
    resident: Sequence[tuple[float, float]] = ()


def run(command: Sequence[str], env: Mapping[str, str] | None = None) -> Cost:
    """The cost of a process; with `env` added to the environment.

    What it says on both streams is kept; the benchmark ends where the process fails.
    """
    began = perf_counter()
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})},
    )
    assert process.stdout
    resident: list[tuple[float, float]] = []
    threading.Thread(target=_watch, args=(process.pid, began, resident), daemon=True).start()
    said = process.stdout.read().decode()
    _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(said)
    mega = 1024.0**2 if sys.platform == "darwin" else 1024.0
    wall = perf_counter() - began
    return Cost(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / mega, said, resident)


def _watch(process: int, began: float, resident: list[tuple[float, float]]) -> None:
    pages = Path(f"/proc/{process}/statm")
    size = os.sysconf("SC_PAGE_SIZE") / 1024.0**2
    with contextlib.suppress(OSError, IndexError):  # it has ended, or the system has no such file
        while True:
            now = int(pages.read_text().split()[1]) * size
            resident.append((perf_counter() - began, now))
            sleep(0.1)


def cpu_seconds(act: Callable[[], object], runs: int) -> list[float]:
    """CPU seconds of this process for each run."""
    found = []
    for _ in range(runs):
        began = process_time()
        act()
        found.append(process_time() - began)
    return found


def rscript(script: Path, *arguments: object) -> list[str]:
    """The command that runs a script in a clean R."""
    program = shutil.which("Rscript")
    if program is None:
        sys.exit("Rscript is not on the PATH")
    return [program, "--vanilla", str(script), *map(str, arguments)]


# --- tables -----------------------------------------------------------------------------------


def spread(seconds: Sequence[float]) -> list[str]:
    """The columns `SPREAD`."""
    figures = (min(seconds), statistics.median(seconds), max(seconds))
    return [*(shown(figure) for figure in figures), str(len(seconds))]


def shown(figure: float) -> str:
    """Three digits, where there are that many."""
    return f"{figure:.3f}" if figure < 1 else f"{figure:.2f}" if figure < 10 else f"{figure:.1f}"


def times(slow: Sequence[float], fast: Sequence[float]) -> str:
    """How many times faster, by the medians."""
    ratio = statistics.median(slow) / statistics.median(fast)
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


# --- README.md --------------------------------------------------------------------------------


def report(name: str, text: str, smoke: bool = False) -> None:
    """Print a result, and put it with the machine into its marked place in ``README.md``."""
    print(text)
    if not smoke:
        publish(name, f"{text}\n\n{machine()}")


def publish(name: str, text: str) -> None:
    """Put a text between ``<!-- name -->`` and ``<!-- /name -->`` in ``README.md``."""
    page = README.read_text(encoding="utf-8")
    before, begin, rest = page.partition(f"<!-- {name} -->\n")
    _, end, after = rest.partition(f"<!-- /{name} -->")
    if not end:
        sys.exit(f"{README} has no place for {name}")
    README.write_text(f"{before}{begin}\n{text}\n\n{end}{after}", encoding="utf-8")


def machine() -> str:
    """The machine, how busy it is, and the versions of what was measured."""
    packages = ("pandas", "numpy", "rpy2", "rpy2-rinterface")
    code = "cat(as.character(getRversion()), as.character(packageVersion('lme4')))"
    told = subprocess.run(
        [rscript(HERE)[0], "-e", code], capture_output=True, text=True, check=True
    )
    r, lme4 = told.stdout.split()
    versions = [f"Python {platform.python_version()}"]
    versions += [f"{package} {version(package)}" for package in packages]
    load = os.getloadavg()[0]
    return (
        f"*{os.cpu_count()} cores of {_processor()}, {_memory():.0f} GB, {platform.system()}; load "
        f"average {load:.1f}; {', '.join(versions)}, R {r}, lme4 {lme4}.*"
    )


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8") if info.is_file() else ""
    named = re.search(r"^model name\s*: *(.*)$", text, re.MULTILINE)
    return " ".join(named[1].split()) if named else platform.processor() or platform.machine()


def _memory() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024.0**3
