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
from typing import Any

from mlmreport.errors import EnvironmentFault, InputError, VerificationError
from mlmreport.quantities import Quantity, Results, Series, TraceEntry
from mlmreport.verify.displayed import Mismatch, PageCheck, compare_page, untraced_numerals
from mlmreport.verify.script import DATA_FILE, SCRIPT_FILE, digest, statement

__all__ = ["Difference", "Rederived", "Verification", "rederive", "summary", "verify"]

RESULTS_FILE = "results.json"
PAGE_FILE = "report.html"

CLOSED_FORM = 1e-12
"""Tolerance for functions of the data alone: rounding in sums, some thousand units in the last
place, and the one unit by which R's reader of numbers may be off."""

FROM_A_MODEL = 1e-6
"""Tolerance for all that rests on a fitted model: an optimizer stops where the criterion is flat,
and with another BLAS it stops elsewhere on the flat part. Simulations start from a fixed seed, so
they are as near as the model that they draw from."""

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

_NO_PACKAGE = 3  # the exit code of reproduce.R when a package is missing

Value = float | str


@dataclass(frozen=True, slots=True)
class Difference:
    """A stored value that was not derived again.

    Parameters
    ----------
    id, label
        Of the quantity or series.
    stored, derived
        The value in the results and the new one; a text where there is none, or in a series of
        names.
    relative
        The absolute difference over the scale of the quantity; infinite where there is none.
    where
        Where it was found; of a series the element that differs most, and how many do.
    """

    id: str
    label: str
    stored: Value
    derived: Value
    relative: float
    where: str


@dataclass(frozen=True, slots=True)
class Rederived:
    """What came of deriving all numbers again.

    Parameters
    ----------
    compared
        Quantities and series that were compared.
    largest
        The largest relative difference of any number, also within the tolerance.
    differences
        What lies outside the tolerance.
    not_derived
        Ids of counts of the preparation, which precedes R.
    data_changed
        Whether the data file is another one than that of the report.
    r_version
        The R that was used.
    """

    compared: int
    largest: float
    differences: tuple[Difference, ...]
    not_derived: tuple[str, ...]
    data_changed: bool
    r_version: str

    @property
    def ok(self) -> bool:
        """Whether all values agree and the data are those of the report."""
        return not self.differences and not self.data_changed


@dataclass(frozen=True, slots=True)
class Verification:
    """A report's folder, verified: the numbers derived again, and the page read back.

    Parameters
    ----------
    folder
        Where the report is.
    rederived
        The comparison of the results with a clean R.
    page
        The comparison of the page with the results.
    untraced
        Numerals of the page that claim no quantity; a lab's own text may hold some.
    """

    folder: Path
    rederived: Rederived
    page: PageCheck
    untraced: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing differs; untraced numerals are told, not counted."""
        return self.rederived.ok and self.page.ok


def verify(folder: Path, *, rscript: str | None = None, timeout: float = 1800) -> Verification:
    """Derive every number of a report again, and compare the page with the results.

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
    page = _existing(folder, PAGE_FILE).read_text(encoding="utf-8")
    results = _results(folder)
    compared = compare_page(page, results)
    derived = rederive(folder, rscript=rscript, timeout=timeout)
    return Verification(folder, derived, compared, untraced_numerals(page))


def rederive(folder: Path, *, rscript: str | None = None, timeout: float = 1800) -> Rederived:
    """Run ``reproduce.R`` in a clean R and compare every quantity and series.

    The script and the data are copied to an empty folder and run by ``Rscript --vanilla``: no
    profile, no saved workspace, and of the environment the search paths only.

    Parameters
    ----------
    folder, rscript, timeout
        As in `verify`.

    Raises
    ------
    InputError, EnvironmentFault, VerificationError
        As in `verify`.
    """
    results = _results(folder)
    script = _existing(folder, SCRIPT_FILE)
    data = _existing(folder, _data_file(results))
    derived, r_version = _run(rscript or _rscript(), script, data, timeout)
    check = _Check(results, derived, script.read_text(encoding="utf-8"))
    differences = tuple(check.differences())
    stored = results.session.get("data", {}).get("sha256", "")
    return Rederived(
        compared=len(check.compared),
        largest=max(check.relatives, default=0.0),
        differences=differences,
        not_derived=tuple(check.not_derived),
        data_changed=bool(stored) and stored != digest(data),
        r_version=r_version,
    )


# --- files ------------------------------------------------------------------------------------


def _existing(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.is_file():
        raise InputError.of(
            f"{path}: there is no such file", "`mlmreport run` writes all that a verification needs"
        )
    return path


def _results(folder: Path) -> Results:
    path = _existing(folder, RESULTS_FILE)
    return Results.from_json(path.read_text(encoding="utf-8"), str(path))


def _data_file(results: Results) -> str:
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


def _run(
    rscript: str, script: Path, data: Path, timeout: float
) -> tuple[Mapping[str, list[Row]], str]:
    """What the script writes, by id, and the version of R."""
    with tempfile.TemporaryDirectory(prefix="mlmreport-") as room:
        shutil.copyfile(script, Path(room, SCRIPT_FILE))
        shutil.copyfile(data, Path(room, data.name))
        done = _call([rscript, "--vanilla", SCRIPT_FILE, "values.csv"], room, timeout)
        values = Path(room, "values.csv")
        if not values.is_file():
            raise _stopped(done)
        version = _call(
            [rscript, "--vanilla", "-e", "cat(as.character(getRversion()))"], room, timeout
        )
        return _read_values(values), version.stdout.strip()


def _call(command: Sequence[str], room: str, timeout: float) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, cwd=room, env=_environment(), timeout=timeout, stdin=subprocess.DEVNULL,
            capture_output=True, encoding="utf-8", errors="replace", check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise VerificationError(f"{SCRIPT_FILE} did not end within {timeout:g} s") from None
    except OSError as error:
        raise EnvironmentFault(f"{command[0]} cannot be run: {error}") from None


def _stopped(done: subprocess.CompletedProcess[str]) -> Exception:
    said = "\n".join(done.stderr.strip().splitlines()[-5:]) or "R said nothing"
    if done.returncode == _NO_PACKAGE:
        return EnvironmentFault(f"{said}\n  hint: `mlmreport doctor` says how to install them")
    return VerificationError(f"{SCRIPT_FILE} stopped before its end:\n{said}")


def _read_values(path: Path) -> Mapping[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["id"], []).append((row["type"], row["value"]))
    return found


# --- comparing --------------------------------------------------------------------------------


@dataclass
class _Check:
    """The comparison of all items with what R wrote."""

    results: Results
    derived: Mapping[str, list[Row]]
    script: str

    def __post_init__(self) -> None:
        self.compared: list[str] = []
        self.relatives: list[float] = []
        self.not_derived: list[str] = []

    def differences(self) -> Iterator[Difference]:
        """What differs, in the order of the results."""
        for item in self.results.items.values():
            if isinstance(item, Quantity | Series):
                yield from self._by_engine(item)

    def _by_engine(self, item: Quantity | Series) -> Iterator[Difference]:
        if item.source.engine == "pandas":
            self.not_derived.append(item.id)
            return
        self.compared.append(item.id)
        if item.source.engine == "spec" and isinstance(item, Quantity):
            yield from self._setting(item)
        elif not _is_in(self.script, item):
            where = f"{SCRIPT_FILE} has another expression, or none"
            yield _without(item, "not derived", where)
        elif isinstance(item, Quantity):
            yield from self._quantity(item)
        else:
            yield from self._series(item)

    def _setting(self, item: Quantity) -> Iterator[Difference]:
        numbers = list(_numbers_at(self.results.spec, item.source.expression))
        if item.value not in numbers:
            derived = numbers[0] if len(numbers) == 1 else "not in the spec"
            yield _without(item, derived, f"the spec, {item.source.expression}")

    def _quantity(self, item: Quantity) -> Iterator[Difference]:
        rows = self.derived.get(item.id, [])
        if len(rows) != 1 or rows[0][0] != "number":
            yield _without(item, _said(rows), SCRIPT_FILE)
            return
        derived = float(rows[0][1])
        relative = self._relative(item.value, derived, self._scale(item))
        if relative > self._tolerance(item):
            yield Difference(item.id, item.label, item.value, derived, relative, SCRIPT_FILE)

    def _series(self, item: Series) -> Iterator[Difference]:
        rows = self.derived.get(item.id, [])
        if any(kind == "error" for kind, _ in rows) or len(rows) != len(item.values):
            yield _without(item, _said(rows), SCRIPT_FILE)
            return
        numbers = [abs(value) for value in item.values if not isinstance(value, str)]
        scale, tolerance = max(numbers, default=0.0), self._tolerance(item)
        pairs = zip(item.values, rows, strict=True)
        found = [(*self._element(stored, row, scale), stored) for stored, row in pairs]
        differing = [place for place, (_, relative, _) in enumerate(found) if relative > tolerance]
        if differing:
            worst = max(differing, key=lambda place: found[place][1])
            derived, relative, stored = found[worst]
            where = f"{SCRIPT_FILE}, element {worst + 1}; {len(differing)} of {len(found)} differ"
            yield Difference(item.id, item.label, stored, derived, relative, where)

    def _element(self, stored: Value, row: Row, scale: float) -> tuple[Value, float]:
        kind, text = row
        if kind == "number" and not isinstance(stored, str):
            return float(text), self._relative(stored, float(text), scale)
        return text, 0.0 if stored == text else math.inf

    def _relative(self, stored: float, derived: float, scale: float) -> float:
        difference = abs(stored - derived)
        relative = 0.0 if difference == 0 else difference / scale if scale > 0 else math.inf
        self.relatives.append(relative)
        return relative

    def _tolerance(self, item: Quantity | Series) -> float:
        """Closed forms name nothing but the data: no model, and no object made before."""
        words = set(re.findall(r"[\w.]+", item.source.expression))
        return FROM_A_MODEL if item.source.model or words & self._objects else CLOSED_FORM

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


def _without(item: Quantity | Series, derived: Value, where: str) -> Difference:
    stored = item.value if isinstance(item, Quantity) else f"{len(item.values)} values"
    return Difference(item.id, item.label, stored, derived, math.inf, where)


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


# --- telling ----------------------------------------------------------------------------------


def summary(verification: Verification) -> str:
    """A verification in words: what was compared, and each difference by name.

    Parameters
    ----------
    verification
        What came out.
    """
    lines = [*_derivation(verification.rederived), *_page(verification.page)]
    if verification.untraced:
        lines.append(f"{len(verification.untraced):,} numerals of the page are not traced:")
        lines += [f"  ... {context} ..." for context in verification.untraced]
    return "\n".join(lines)


def _derivation(found: Rederived) -> Iterator[str]:
    yield (
        f"{found.compared:,} quantities and series compared with R {found.r_version}: "
        f"{len(found.differences):,} differ, largest relative difference {found.largest:.1e}"
    )
    if found.not_derived:
        yield f"{len(found.not_derived):,} counts of the preparation are not derived in R"
    if found.data_changed:
        yield "the prepared data file is not the one that the report was made from"
    yield from map(_told, found.differences)


def _told(found: Difference) -> str:
    label = f" ({found.label})" if found.label else ""
    return (
        f"  {found.id}{label}: stored {_exact(found.stored)}, derived {_exact(found.derived)} "
        f"[{found.where}]"
    )


def _exact(value: Value) -> str:
    return value if isinstance(value, str) else repr(value)


def _page(found: PageCheck) -> Iterator[str]:
    if not found.compared:
        yield "the page shows no traced number"
        return
    yield (
        f"{found.compared:,} places of the page compared with the results: "
        f"{len(found.mismatches):,} differ"
    )
    yield from map(_told_page, found.mismatches)


def _told_page(found: Mismatch) -> str:
    label = f" ({found.label})" if found.label else ""
    return f"  {found.id}{label}: the {found.what} is '{found.shown}', not '{found.expected}'"
