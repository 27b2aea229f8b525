"""Every number derived again by `reproduce.R` in an R that knows nothing of this process."""

from __future__ import annotations

import csv
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import NormalDist
from typing import Any

from mlmreport.errors import EnvironmentFault, InputError, VerificationError
from mlmreport.quantities import Quantity, Results, Series, TraceEntry
from mlmreport.spec.quoting import unguarded
from mlmreport.verify.checks import DIFFERS, Check, judged
from mlmreport.verify.script import (
    DATA_FILE,
    DEFINITIONS_FILE,
    SCRIPT_FILE,
    statement,
)

__all__ = [
    "KINDS",
    "Rederived",
    "data_file",
    "existing",
    "read_values",
    "rederive",
    "run_script",
    "stored",
]

RESULTS_FILE = "results.json"

CLOSED_FORM = 1e-12
"""Tolerance for functions of the data alone: rounding in sums, some thousand units in the last
place, and the one unit by which R's reader of numbers may be off."""

FROM_A_MODEL = 1e-6
"""Tolerance for all that rests on a fitted model: an optimizer stops where the criterion is flat,
and with another BLAS it stops elsewhere on the flat part."""

KINDS = ("setting", "closed form", "optimizer", "simulation")
"""The kinds of check by what their tolerance comes from; see `_Comparison.tolerance`."""

_DRAWS = re.compile(r"([\d,]+) (?:simulated values|samples|draws)")

_ABSOLUTE = frozenset(
    {"share", "proportion", "correlation", "ratio", "gradient", "shape", "statistic", "df"}
)
"""Kinds of number whose size means something near one; near zero their error is absolute."""

_SPREAD: Mapping[str, str] = {"variance": "variance", "covariance": "variance", "sd": "sd"}
"""Components of a model: their error is relative to the largest of the same model."""

_KEPT = (
    "PATH", "HOME", "USERPROFILE", "SYSTEMROOT", "LD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH",
    "R_LIBS", "R_LIBS_SITE", "R_LIBS_USER",
)  # fmt: skip
"""All that the clean R gets of the environment: where programs and packages are, no settings."""

_NO_PACKAGE = 3  # the exit code of the scripts when a package is missing

Value = float | str


@dataclass(frozen=True, slots=True)
class Rederived:
    """What came of deriving all numbers again.

    Parameters
    ----------
    checks
        One a quantity and series, in the order of the results; but for counts of the preparation,
        which precedes the data that the script reads.
    r_version
        The R that was used.
    """

    checks: tuple[Check, ...]
    r_version: str

    @property
    def differences(self) -> tuple[Check, ...]:
        """What lies outside its tolerance."""
        return tuple(check for check in self.checks if not check.ok)


def rederive(folder: Path, *, rscript: str | None = None, timeout: float = 1800) -> Rederived:
    """Run ``reproduce.R`` in a clean R and compare every quantity and series.

    The script, its definitions and the data are copied to an empty folder and run by ``Rscript
    --vanilla``: no profile, no saved workspace, and of the environment the search paths only.

    Parameters
    ----------
    folder
        Where the report is.
    rscript
        The program ``Rscript``; looked for if not given.
    timeout
        Seconds after which R is stopped.

    Raises
    ------
    InputError
        When a file of the report is missing or cannot be read.
    EnvironmentFault
        When there is no R, or it lacks a package.
    VerificationError
        When the script as a whole does not run.
    """
    results = stored(folder)
    script = existing(folder, SCRIPT_FILE)
    data = existing(folder, data_file(results))
    files = [script, existing(folder, DEFINITIONS_FILE), data]
    derived, versions = run_script(files, (), rscript, timeout)
    check = _Comparison(results, derived, script.read_text(encoding="utf-8"), versions)
    return Rederived(tuple(check.checks()), versions["R"])


# --- files ------------------------------------------------------------------------------------


def existing(folder: Path, name: str) -> Path:
    """A file of the report, or the error that it is not there."""
    path = folder / name
    if not path.is_file():
        raise InputError.of(
            f"{path}: there is no such file", "`mlmreport run` writes all that a verification needs"
        )
    return path


def stored(folder: Path) -> Results:
    """The results of a report."""
    path = existing(folder, RESULTS_FILE)
    return Results.from_json(path.read_text(encoding="utf-8"), str(path))


def data_file(results: Results) -> str:
    """The name of the data file; a path that leaves the folder is not followed."""
    return Path(str(results.session.get("data", {}).get("file", DATA_FILE))).name


# --- running R --------------------------------------------------------------------------------


def _rscript() -> str:
    home = os.environ.get("R_HOME")
    beside = shutil.which("Rscript", path=str(Path(home) / "bin")) if home else None
    found = beside or shutil.which("Rscript")
    if found is None:
        raise EnvironmentFault(
            "Rscript is not on the PATH\n  hint: `mlmreport doctor` says how to get R"
        )
    return found


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    locale = "en_US.UTF-8" if sys.platform == "darwin" else "C.UTF-8"
    # One thread, as in the analysis: sums of several threads come in no fixed order.
    return kept | {"LC_ALL": locale, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


Row = tuple[str, str]
"""Type (number, text, error) and text of a value."""

_VERSIONS = (
    'v <- function(p) tryCatch(as.character(packageVersion(p)), error = function(e) "");'
    'cat(as.character(getRversion()), v("lme4"), sep = "\\n")'
)


def run_script(
    files: Sequence[Path], arguments: Sequence[str], rscript: str | None, timeout: float
) -> tuple[Mapping[str, list[Row]], Mapping[str, str]]:
    """Run the first of some files in a clean R.

    Parameters
    ----------
    files
        What is copied to an empty folder; the first is the script.
    arguments
        Of the script, before the name of the file that it writes its values to.
    rscript, timeout
        As in `rederive`.

    Returns
    -------
    tuple
        What the script wrote, by id, and the versions of R and lme4.
    """
    program, script = rscript or _rscript(), files[0].name
    with tempfile.TemporaryDirectory(prefix="mlmreport-") as room:
        for file in files:
            shutil.copyfile(file, Path(room, file.name))
        done = _call([program, "--vanilla", script, *arguments, "values.csv"], room, timeout)
        values = Path(room, "values.csv")
        if not values.is_file():
            raise _stopped(done, script)
        told = _call([program, "--vanilla", "-e", _VERSIONS], room, timeout).stdout.splitlines()
        return read_values(values), dict(zip(("R", "lme4"), told, strict=False))


def _call(command: Sequence[str], room: str, timeout: float) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, cwd=room, env=_environment(), timeout=timeout, stdin=subprocess.DEVNULL,
            capture_output=True, encoding="utf-8", errors="replace", check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise VerificationError(f"{command[2]} did not end within {timeout:g} s") from None
    except OSError as error:
        raise EnvironmentFault(f"{command[0]} cannot be run: {error}") from None


def _stopped(done: subprocess.CompletedProcess[str], script: str) -> Exception:
    said = "\n".join(done.stderr.strip().splitlines()[-5:]) or "R said nothing"
    if done.returncode == _NO_PACKAGE:
        return EnvironmentFault(f"{said}\n  hint: `mlmreport doctor` says how to install them")
    return VerificationError(f"{script} stopped before its end:\n{said}")


def read_values(path: Path) -> Mapping[str, list[Row]]:
    """The values that a script wrote, by id and in order."""
    found: dict[str, list[Row]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["id"], []).append((row["type"], unguarded(row["value"])))
    return found


# --- comparing --------------------------------------------------------------------------------


@dataclass
class _Comparison:
    """The comparison of all items with what R wrote."""

    results: Results
    derived: Mapping[str, list[Row]]
    script: str
    versions: Mapping[str, str]

    def checks(self) -> Iterator[Check]:
        """One an item, in the order of the results."""
        for item in self.results.items.values():
            if isinstance(item, Quantity | Series) and item.source.engine != "pandas":
                yield self._check(item)

    def _check(self, item: Quantity | Series) -> Check:
        if item.source.engine == "spec" and isinstance(item, Quantity):
            return self._setting(item)
        if not _is_in(self.script, item):
            return self._without(item, f"{SCRIPT_FILE} has another expression, or none")
        return self._quantity(item) if isinstance(item, Quantity) else self._series(item)

    def _setting(self, item: Quantity) -> Check:
        numbers = list(_numbers_at(self.results.spec, item.source.expression))
        other: Value = numbers[0] if numbers else "not in the spec"
        found = item.value if item.value in numbers else other
        what = f"{item.label}: the spec, {item.source.expression}"
        verdict = judged(item.value in numbers)
        return Check(item.id, "setting", what, item.value, found, None, None, verdict)

    def _quantity(self, item: Quantity) -> Check:
        rows = self.derived.get(item.id, [])
        if len(rows) != 1 or rows[0][0] != "number":
            return self._without(item, _said(rows))
        derived = float(rows[0][1])
        relative = _relative(item.value, derived, self._scale(item))
        return self._held(item, item.label, item.value, derived, relative)

    def _series(self, item: Series) -> Check:
        rows = self.derived.get(item.id, [])
        if any(kind == "error" for kind, _ in rows) or len(rows) != len(item.values):
            return self._without(item, _said(rows))
        numbers = [abs(value) for value in item.values if not isinstance(value, str)]
        scale = max(numbers, default=0.0)
        pairs = zip(item.values, rows, strict=True)
        found = [(*_element(value, row, scale), value) for value, row in pairs]
        worst = max(range(len(found)), key=lambda place: found[place][1], default=None)
        if worst is None or found[worst][1] == 0:
            text = f"{len(found)} values"
            return self._held(item, item.label, text, text, 0.0)
        derived, relative, value = found[worst]
        what = f"{item.label}, element {worst + 1} of {len(found)}, which differs most"
        return self._held(item, what, value, derived, relative)

    def _held(
        self, item: Quantity | Series, what: str, expected: Value, found: Value, relative: float
    ) -> Check:
        kind, tolerance = self.tolerance(item)
        verdict = judged(relative <= tolerance)
        off = relative if math.isfinite(relative) else None
        return Check(item.id, kind, what, expected, found, off, tolerance, verdict)

    def _without(self, item: Quantity | Series, found: str) -> Check:
        kind, tolerance = self.tolerance(item)
        expected = item.value if isinstance(item, Quantity) else f"{len(item.values)} values"
        return Check(item.id, kind, item.label, expected, found, None, tolerance, DIFFERS)

    def tolerance(self, item: Quantity | Series) -> tuple[str, float]:
        """The kind of a number and how far it may be off, relative to its scale.

        A closed form names nothing but the data: no model, and no object made before. What is
        drawn at random starts from a fixed seed: the same R with the same lme4 draws the same, and
        the number is as near as the model that is drawn from; another one is held to the error
        of the simulation.
        """
        words = set(re.findall(r"[\w.]+", item.source.expression))
        if not item.source.model and not words & self._objects:
            return "closed form", CLOSED_FORM
        error = self._simulation_error(item) if isinstance(item, Quantity) else None
        if error is None:
            return "optimizer", FROM_A_MODEL
        return "simulation", FROM_A_MODEL if self._draws_alike else max(error, FROM_A_MODEL)

    @cached_property
    def _draws_alike(self) -> bool:
        of_report = self.results.session.get("r", {})
        return all(of_report.get(name) == version for name, version in self.versions.items())

    def _simulation_error(self, item: Quantity) -> float | None:
        """Two standard errors of a simulated number, relative to its scale; None for others.

        Of a proportion, and of a quantile of normal draws (Stuart & Ord, 1994, section 10.10).
        """
        drawn = _DRAWS.search(item.method)
        if drawn is None:
            return None
        draws, scale = int(drawn[1].replace(",", "")), self._scale(item)
        if item.kind == "p":
            error = max(1.0, 2 * math.sqrt(draws * item.value * (1 - item.value))) / draws
            return error / scale if scale > 0 else math.inf
        limits = [self._value(item.id, name) for name in ("lower", "upper")]
        if item.id.rpartition("/")[2] not in {"lower", "upper"} or None in limits or scale == 0:
            return None
        tail = (1 - self._value("settings", "level", "settings/level")) / 2  # type: ignore[operator]
        z = -NormalDist().inv_cdf(tail)
        sd = (limits[1] - limits[0]) / (2 * z)  # type: ignore[operator]
        return 2 * sd * math.sqrt(tail * (1 - tail) / draws) / NormalDist().pdf(z) / scale

    def _value(self, sibling: str, name: str, full: str = "") -> float | None:
        item = self.results.items.get(full or f"{sibling.rpartition('/')[0]}/{name}")
        return item.value if isinstance(item, Quantity) else None

    @cached_property
    def _objects(self) -> frozenset[str]:
        return frozenset(entry.name for entry in self.results.trace if entry.kind == "object")

    def _scale(self, item: Quantity) -> float:
        """What a difference of this quantity is relative to: its size, or that of its kin.

        An estimate, its standard error and its limits are of one size, as are the components of a
        model; a value near zero among them carries the rounding of the others. A p-value of a
        statistic t moves by about t squared, that is -2 ln p, times the statistic's own change.
        """
        size = abs(item.value)
        if item.kind == "p":
            return size * max(1.0, -2 * math.log(size)) if size > 0 else 0.0
        if item.kind in _ABSOLUTE:
            return max(size, 1.0)
        return self._family_sizes[_family(item)]

    @cached_property
    def _family_sizes(self) -> Mapping[tuple[str, ...], float]:
        sizes: dict[tuple[str, ...], float] = {}
        for item in self.results.quantities:
            key = _family(item)
            sizes[key] = max(sizes.get(key, 0.0), abs(item.value))
        return sizes


def _relative(value: float, derived: float, scale: float) -> float:
    difference = abs(value - derived)
    return 0.0 if difference == 0 else difference / scale if scale > 0 else math.inf


def _element(value: Value, row: Row, scale: float) -> tuple[Value, float]:
    """An element of a series as it was derived, and how far off it is."""
    kind, text = row
    if kind == "number" and not isinstance(value, str):
        return float(text), _relative(value, float(text), scale)
    return text, 0.0 if value == text else math.inf


def _family(item: Quantity) -> tuple[str, ...]:
    if item.kind in _SPREAD and item.source.model:
        return item.source.model, item.unit, _SPREAD[item.kind]
    return item.id.rpartition("/")[0], item.unit, "count" if item.kind == "count" else ""


def _is_in(script: str, item: Quantity | Series) -> bool:
    kind = "quantity" if isinstance(item, Quantity) else "series"
    return statement(TraceEntry("", kind, item.id, item.source.expression)) in script


def _said(rows: Sequence[Row]) -> str:
    if rows and rows[0][0] == "error":
        return f"error: {rows[0][1]}"
    return f"{len(rows)} values" if rows else "not derived"


def _numbers_at(spec: Mapping[str, Any], path: str) -> Iterator[float]:
    """The numbers under a dotted path of the spec."""
    node: Any = spec
    for key in path.split("."):
        node = node.get(key) if isinstance(node, Mapping) else None
    yield from _leaves(node)


def _leaves(node: Any) -> Iterator[float]:
    if isinstance(node, Mapping):
        for value in node.values():
            yield from _leaves(value)
    elif isinstance(node, int | float) and not isinstance(node, bool):
        yield float(node)
