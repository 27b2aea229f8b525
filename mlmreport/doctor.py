"""What the machine has of what mlmreport needs, and the command that mends each fault.

R is examined by one `Rscript` in a process of its own, so that nothing wrong there can stop the
examination; whether R also starts within Python is tried in a second process.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import Literal

from rich.console import Group
from rich.table import Table
from rich.text import Text

__all__ = ["R_PACKAGES", "Part", "Status", "examine", "exit_code", "render", "to_json"]

Status = Literal["ok", "missing", "fault"]

R_PACKAGES: Mapping[str, bool] = {
    "lme4": True,
    "lmerTest": True,
    "pbkrtest": True,
    "emmeans": True,
    "clubSandwich": True,
    "RLRsim": True,
    "nlme": False,
    "mlmRev": False,
}
"""The R packages, and whether the main job needs them; the others serve cross-checks."""

DYESTUFF_REML = 319.6543
"""REML criterion of ``Yield ~ 1 + (1 | Batch)`` on Dyestuff (Bates, 2010, *lme4*, section 1.3)."""

START_R = """\
import sys
from mlmreport.engine.session import session
from mlmreport.errors import MlmreportError
try:
    session()
except MlmreportError as error:
    sys.exit(str(error).splitlines()[0])
"""
"""Starts R within a Python of its own, and with it every R file and package that is used."""

R_CODE = Path(__file__).parent / "r" / "doctor.R"
CRAN = "https://cloud.r-project.org"
DEBIAN_R = "/usr/lib/R"
ABI_REMEDY = 'RPY2_CFFI_MODE=ABI python -m pip install --no-deps "rpy2-rinterface{pin}"'


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the environment.

    Parameters
    ----------
    name
        What it is called.
    version
        As the part itself says; empty where it is not there.
    status
        ``"ok"``, ``"missing"``, or ``"fault"`` for what is there and does not work.
    required
        Whether the main job needs it.
    detail
        Where it is, or what is wrong with it.
    mend
        The command that mends it; empty where nothing has to be mended.
    """

    name: str
    version: str = ""
    status: Status = "ok"
    required: bool = True
    detail: str = ""
    mend: str = ""

    @property
    def stops_the_job(self) -> bool:
        """Whether the main job cannot run because of this part."""
        return self.required and self.status != "ok"


def examine(timeout: float = 120.0) -> tuple[Part, ...]:
    """Examine every part of the environment.

    Parameters
    ----------
    timeout
        Seconds that each of the two processes with R may take.

    Returns
    -------
    tuple of Part
        Always all parts, whatever is missing or broken; nothing is raised.
    """
    with ThreadPoolExecutor(2) as pool:
        embedded = pool.submit(_run, [sys.executable, "-c", START_R], timeout)
        r_parts = _r_parts(timeout)
        started = embedded.result()
    r_version = r_parts[0].version
    return (
        _python(),
        *r_parts,
        _rpy2(r_version),
        _within_python(started, r_parts),
        _library("Pandoc", "pypandoc-binary", _pandoc_version),
        _library("Typst", "typst", _typst_version),
        _quarto(),
        _fonts(),
    )


def exit_code(parts: Iterable[Part]) -> int:
    """0 where the main job can run, else 3."""
    return 3 if any(part.stops_the_job for part in parts) else 0


def to_json(parts: Iterable[Part]) -> str:
    """All findings as JSON: ``{"ok": bool, "parts": [...]}``."""
    found = tuple(parts)
    content = {"ok": exit_code(found) == 0, "parts": [asdict(part) for part in found]}
    return json.dumps(content, indent=2, ensure_ascii=False)


def render(parts: Iterable[Part]) -> Group:
    """A table of the parts, then the commands that mend what is wrong."""
    found = tuple(parts)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("part", "version", "status", ""):
        table.add_column(heading, overflow="fold")
    for part in found:
        table.add_row(Text(part.name), Text(part.version), _status_text(part), Text(part.detail))
    return Group(table, Text(), *_verdict(found))


def _status_text(part: Part) -> Text:
    if part.status == "ok":
        return Text("ok", style="green")
    words = part.status if part.required else f"optional, {part.status}"
    return Text(words, style="red" if part.required else "yellow")


def _verdict(parts: tuple[Part, ...]) -> list[Text]:
    """The last lines: the remedies, each command once, and whether the main job can run."""
    remedies: dict[str, list[str]] = {}
    for part in parts:
        if part.mend:
            remedies.setdefault(part.mend, []).append(part.name)
    lines = [Text(f"To mend {', '.join(names)}:\n    {mend}") for mend, names in remedies.items()]
    faults = [part.name for part in parts if part.stops_the_job]
    if faults:
        return [*lines, Text(f"mlmreport cannot run: {', '.join(faults)}", style="red")]
    return [*lines, Text("All that mlmreport needs is here.", style="green")]


# -- R ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a process with R said."""

    lines: tuple[str, ...]
    failure: str = ""


def _r_parts(timeout: float) -> tuple[Part, ...]:
    rscript, why = _find_rscript()
    if rscript is None:
        return _without_r(why)
    answer = _run(_rscript_command(rscript), timeout)
    found = _findings(answer.lines)
    if "R" not in found:
        trouble = answer.failure or "it printed something else than was asked for"
        return _without_r(f"{rscript}: {trouble}", status="fault")
    home = found["R"].library
    packages = tuple(_package(name, found.get(name), answer.failure) for name in R_PACKAGES)
    return (
        Part("R", found["R"].version, detail=home),
        _blas(found.get("BLAS")),
        *_with_remedies(packages, found, home),
        _fit(found.get("fit"), answer.failure, home),
    )


def _find_rscript() -> tuple[str | None, str]:
    """The Rscript of the R that rpy2 takes: the one of R_HOME, else the one on the PATH."""
    home = os.environ.get("R_HOME")
    if not home:
        return shutil.which("Rscript"), "there is no Rscript on the PATH"
    rscript = Path(home) / "bin" / "Rscript"
    if os.access(rscript, os.X_OK):
        return str(rscript), ""
    return None, f"R_HOME is {home}, where there is no R"


def _rscript_command(rscript: str) -> list[str]:
    code = "path <- commandArgs(TRUE); source(path[1]); examine_machine(path[-1])"
    return [rscript, "--vanilla", "-e", code, str(R_CODE), *R_PACKAGES]


def _run(command: list[str], timeout: float) -> _Answer:
    """Run a command to its end or its time-out; every way to fail becomes words."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=timeout,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, "LANGUAGE": "en"},
            check=False,
        )
    except subprocess.TimeoutExpired as expired:
        said = expired.stdout or b""
        text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
        return _Answer(tuple(text.splitlines()), f"no answer within {timeout:g} s")
    except OSError as error:
        return _Answer((), str(error))
    failure = "" if done.returncode == 0 else _failure(done)
    return _Answer(tuple(done.stdout.splitlines()), failure)


def _failure(done: subprocess.CompletedProcess[str]) -> str:
    """How a process ended, with the end of what it said."""
    code = done.returncode
    end = f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
    said = " ".join(line.strip() for line in done.stderr.splitlines()[-3:])
    return f"{end}: {said}" if said else end


@dataclass(frozen=True, slots=True)
class _Finding:
    """One line of ``r/doctor.R``."""

    status: Status
    version: str
    library: str
    detail: str


def _findings(lines: Iterable[str]) -> dict[str, _Finding]:
    found = {}
    for line in lines:
        match line.rstrip("\n").split("\t"):
            case [name, ("ok" | "missing" | "fault") as status, version, library, detail]:
                found[name] = _Finding(status, version, library, detail)
    return found


def _without_r(why: str, status: Status = "missing") -> tuple[Part, ...]:
    """The parts of R where R itself is missing or does not run."""
    mend = _get_r()
    packages = [
        Part(name, "", "missing", required, "R is needed first", mend if required else "")
        for name, required in R_PACKAGES.items()
    ]
    return (
        Part("R", "", status, detail=why, mend=mend),
        Part("BLAS", "", "missing", required=False, detail="R is needed first"),
        *packages,
        Part("model fit", "", "missing", detail="R is needed first", mend=mend),
    )


def _blas(finding: _Finding | None) -> Part:
    if finding is None:
        return Part("BLAS", "", "missing", required=False)
    return Part("BLAS", finding.version, required=False, detail=finding.detail)


def _package(name: str, finding: _Finding | None, failure: str) -> Part:
    required = R_PACKAGES[name]
    if finding is None:
        return Part(name, "", "fault", required, f"R stopped before or at it: {failure}")
    return Part(name, finding.version, finding.status, required, finding.detail)


def _with_remedies(
    packages: tuple[Part, ...], found: Mapping[str, _Finding], home: str
) -> list[Part]:
    """The packages, each that is missing or broken with the one command that mends all such."""
    missing = [part.name for part in packages if part.status == "missing"]
    broken = [part.name for part in packages if part.status == "fault"]
    libraries = {name: found[name].library for name in broken if name in found}
    remedy = {
        "ok": "",
        "missing": _get_packages(missing, home),
        "fault": _rebuild_packages(broken, libraries.values(), home),
    }
    return [_mended(part, remedy[part.status]) for part in packages]


def _mended(part: Part, mend: str) -> Part:
    return Part(part.name, part.version, part.status, part.required, part.detail, mend)


def _fit(finding: _Finding | None, failure: str, home: str) -> Part:
    """The smoke test: whether a fit gives the known REML criterion."""
    name = "model fit"
    if finding is None:
        detail = failure or "lme4 is needed first"
        return Part(name, "", "missing", detail=detail, mend=_get_packages(["lme4"], home))
    rebuild = _rebuild_packages(["Matrix", "lme4"], (), home)
    if finding.status != "ok":
        return Part(name, "", "fault", detail=finding.detail, mend=rebuild)
    value = float(finding.version)
    if abs(value - DYESTUFF_REML) > 1e-3:
        detail = f"REML criterion {value:.4f} where {DYESTUFF_REML} is known"
        return Part(name, "", "fault", detail=detail, mend=rebuild)
    return Part(name, "", detail=f"REML criterion {value:.4f}, as known")


# -- remedies -----------------------------------------------------------------------------------


def _get_r() -> str:
    """The command that gets R with its packages."""
    home = os.environ.get("R_HOME")
    if home and not os.access(Path(home) / "bin" / "Rscript", os.X_OK):
        return "unset R_HOME"
    if os.environ.get("CONDA_PREFIX"):
        return _conda(["r-base", *map(_conda_name, R_PACKAGES)])
    if shutil.which("apt-get"):
        return _apt(["r-base-core", *map(_debian_name, R_PACKAGES)])
    if sys.platform == "darwin":
        return f"brew install r && {_install_packages(R_PACKAGES, 'Rscript')}"
    return "install R 4.1 or later from https://www.r-project.org, then run this again"


def _get_packages(names: Iterable[str], home: str) -> str:
    """The command that adds packages to the R in `home`."""
    if _is_conda(home):
        return _conda(map(_conda_name, names))
    if home == DEBIAN_R and shutil.which("apt-get"):
        return _apt_where_it_has(names, home)
    return _install_packages(names, f"{home}/bin/Rscript")


def _apt_where_it_has(names: Iterable[str], home: str) -> str:
    """By apt what the release has, by R itself what it lacks."""
    wanted = list(names)
    others = [name for name in wanted if _apt_lacks(_debian_name(name))]
    by_apt = [_debian_name(name) for name in wanted if name not in others]
    by_r = f"sudo {_install_packages(others, f'{home}/bin/Rscript')}"
    return " && ".join([*([_apt(by_apt)] if by_apt else []), *([by_r] if others else [])])


def _apt_lacks(package: str) -> bool:
    """Whether apt has lists of packages and this is not in them."""
    found = [_run(["apt-cache", "madison", name], 30.0) for name in (package, "r-base-core")]
    return not found[0].lines and bool(found[1].lines)


def _rebuild_packages(names: Iterable[str], libraries: Iterable[str], home: str) -> str:
    """The command that installs anew what is there and does not work."""
    if _is_conda(home):
        return _conda(["--force-reinstall", *map(_conda_name, names)])
    ours = all(library.startswith(DEBIAN_R) for library in libraries)
    if home == DEBIAN_R and ours and shutil.which("apt-get"):
        return _apt(["--reinstall", *map(_debian_name, names)])
    return _install_packages(names, f"{home}/bin/Rscript")


def _is_conda(home: str) -> bool:
    prefix = os.environ.get("CONDA_PREFIX")
    return bool(prefix) and Path(home).is_relative_to(str(prefix))


def _conda(names: Iterable[str]) -> str:
    return f"conda install --channel conda-forge {' '.join(names)}"


def _apt(names: Iterable[str]) -> str:
    return f"sudo apt-get install --no-install-recommends {' '.join(names)}"


def _install_packages(names: Iterable[str], rscript: str) -> str:
    quoted = ", ".join(f'"{name}"' for name in names)
    return f"{rscript} -e 'install.packages(c({quoted}), repos = \"{CRAN}\")'"


def _debian_name(package: str) -> str:
    return f"r-cran-{package.lower()}"


def _conda_name(package: str) -> str:
    return f"r-{package.lower()}"


# -- R within Python ----------------------------------------------------------------------------


def _rpy2(r_version: str) -> Part:
    """Whether the rpy2-rinterface that is installed fits R.

    rpy2-rinterface 3.6.6 and later need R 4.5.
    """
    name = "rpy2-rinterface"
    pin = ">=3.6.6" if not r_version or _numbers(r_version) >= (4, 5) else "==3.6.5"
    mend = ABI_REMEDY.format(pin=pin)
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Part(name, "", "missing", mend=mend)
    if r_version and _numbers(version) >= (3, 6, 6) and _numbers(r_version) < (4, 5):
        detail = f"needs R 4.5 or later; this is R {r_version}"
        return Part(name, version, "fault", detail=detail, mend=mend)
    return Part(name, version)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(digits) for digits in re.findall(r"\d+", version))


def _within_python(started: _Answer, r_parts: Iterable[Part]) -> Part:
    """Whether R starts within Python; tried in a process of its own, which may crash."""
    name = "R within Python"
    if not started.failure:
        return Part(name)
    if any(part.stops_the_job for part in r_parts):
        return Part(name, "", "missing", detail="R and its packages are needed first")
    mend = ABI_REMEDY.format(pin="")
    return Part(name, "", "fault", detail=started.failure, mend=mend)


# -- Python -------------------------------------------------------------------------------------


def _python() -> Part:
    version = ".".join(map(str, sys.version_info[:3]))
    return Part("Python", version, detail=sys.executable)


def _library(name: str, distribution: str, version: Callable[[], str]) -> Part:
    """A part that comes as a Python package, found by asking it for its version."""
    try:
        return Part(name, version())
    except Exception as error:  # whatever is wrong with it is the finding
        mend = f"python -m pip install {distribution}"
        return Part(name, "", "fault", detail=str(error), mend=mend)


def _pandoc_version() -> str:
    return str(import_module("pypandoc").get_pandoc_version())


def _typst_version() -> str:
    import_module("typst")
    return metadata.version("typst")


def _quarto() -> Part:
    """The Quarto command line, found through the `quarto` package; optional."""
    try:
        path = str(import_module("quarto.quarto").find_quarto())
    except (ImportError, FileNotFoundError):
        detail = "the embedded renderer is used; Quarto is at https://quarto.org"
        return Part("Quarto", "", "missing", required=False, detail=detail)
    answer = _run([path, "--version"], 30.0)
    if answer.failure or not answer.lines:
        return Part("Quarto", "", "fault", required=False, detail=f"{path}: {answer.failure}")
    return Part("Quarto", answer.lines[0], required=False, detail=path)


def _fonts() -> Part:
    """Whether Matplotlib finds a font for the figures."""
    try:
        manager = import_module("matplotlib.font_manager")
        found = manager.findfont("DejaVu Sans", fallback_to_default=False)
    except Exception as error:  # whatever is wrong with it is the finding
        return Part("fonts", "", "missing", required=False, detail=str(error))
    return Part("fonts", "", required=False, detail=Path(found).name)
