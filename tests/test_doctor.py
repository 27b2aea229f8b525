"""The doctor names every fault and its remedy, and never falls over what it examines."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from rich.console import Console

from mlmreport import doctor
from mlmreport.doctor import R_PACKAGES, Part, examine, exit_code, render, to_json
from mlmreport.engine import session

needs_r = pytest.mark.skipif(shutil.which("Rscript") is None, reason="there is no R here")

FakeR = Callable[..., Path]


def line(
    name: str, status: str = "ok", version: str = "1.0", library: str = "/lib", detail: str = ""
) -> str:
    return "\t".join((name, status, version, library, detail))


def healthy(home: str = "/opt/R", version: str = "4.2.2") -> dict[str, str]:
    """What R answers where all is well."""
    return {
        "R": line("R", version=version, library=home),
        "BLAS": line("BLAS", detail="/lib/libblas.so"),
        **{name: line(name) for name in R_PACKAGES},
        "fit": line("fit", version="319.6542768423"),
    }


@pytest.fixture(autouse=True)
def bare_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest
) -> Path:
    """An empty PATH, and no start of the real R but where a test is about it."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for variable in ("R_HOME", "R_LIBS", "CONDA_PREFIX", "QUARTO_PATH"):
        monkeypatch.delenv(variable, raising=False)
    if "r" not in request.keywords:
        monkeypatch.setenv("PATH", str(programs))
        monkeypatch.setattr(doctor, "START_R", "pass")
        real = doctor.metadata.version  # one that fits the R of `healthy`, whatever is installed
        monkeypatch.setattr(
            doctor.metadata, "version", lambda n: "3.6.5" if n == "rpy2-rinterface" else real(n)
        )
    return programs


@pytest.fixture
def program(bare_machine: Path) -> FakeR:
    """Put a shell script on the PATH."""

    def make(name: str, *commands: str) -> Path:
        path = bare_machine / name
        path.write_text("\n".join(("#!/bin/sh", *commands, "")))
        path.chmod(0o755)
        return path

    return make


@pytest.fixture
def fake_r(program: FakeR) -> FakeR:
    """Put an Rscript on the PATH that prints these lines, then does `end`."""

    def make(answer: Iterable[str], end: str = "exit 0") -> Path:
        said = [f"printf '%s\\n' '{text}'" for text in answer]
        return program("Rscript", *said, end)

    return make


def named(parts: Iterable[Part], name: str) -> Part:
    return next(part for part in parts if part.name == name)


def stopping(parts: Iterable[Part]) -> list[str]:
    return [part.name for part in parts if part.stops_the_job]


def shown(parts: Iterable[Part]) -> str:
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(render(parts), soft_wrap=True)
    return console.export_text()


def test_no_r(program: FakeR) -> None:
    program("apt-get")
    parts = examine()
    assert named(parts, "R").status == "missing"
    assert named(parts, "R").detail == "there is no Rscript on the PATH"
    assert named(parts, "R").mend.startswith("sudo apt-get install --no-install-recommends r-base")
    assert all(named(parts, name).status == "missing" for name in R_PACKAGES)
    assert named(parts, "Pandoc").status == "ok"
    assert exit_code(parts) == 3


@pytest.mark.parametrize(
    ("variables", "programs", "platform", "start"),
    [
        ({"CONDA_PREFIX": "/conda"}, ["apt-get"], "linux", "conda install --channel conda-forge r"),
        ({}, ["apt-get"], "linux", "sudo apt-get install"),
        ({}, [], "darwin", 'brew install r && Rscript -e \'install.packages(c("lme4", '),
        ({}, [], "linux", "install R 4.1 or later from https://www.r-project.org"),
        ({"R_HOME": "/nowhere"}, ["apt-get"], "linux", "unset R_HOME"),
    ],
)
def test_how_to_get_r_depends_on_the_machine(
    variables: dict[str, str],
    programs: list[str],
    platform: str,
    start: str,
    program: FakeR,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for name in programs:
        program(name)
    monkeypatch.setattr(doctor.sys, "platform", platform)
    assert named(examine(), "R").mend.startswith(start)


def test_wrong_r_home_is_named(fake_r: FakeR, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_r(healthy().values())
    monkeypatch.setenv("R_HOME", "/nowhere")
    r = named(examine(), "R")
    assert (r.status, r.mend) == ("missing", "unset R_HOME")
    assert "/nowhere" in r.detail


def test_r_home_comes_before_the_path(
    fake_r: FakeR, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rscript = fake_r(healthy(home="/of/r_home").values())
    (tmp_path / "home" / "bin").mkdir(parents=True)
    rscript.rename(tmp_path / "home" / "bin" / "Rscript")
    monkeypatch.setenv("R_HOME", str(tmp_path / "home"))
    assert named(examine(), "R").detail == "/of/r_home"


def test_all_well(fake_r: FakeR) -> None:
    fake_r(healthy().values())
    parts = examine()
    assert stopping(parts) == []
    assert exit_code(parts) == 0
    assert "All that mlmreport needs is here." in shown(parts)


@pytest.mark.parametrize(
    ("home", "prefix", "remedy"),
    [
        ("/usr/lib/R", "", "sudo apt-get install --no-install-recommends r-cran-lme4"),
        ("/conda/lib/R", "/conda", "conda install --channel conda-forge r-lme4"),
        ("/opt/R", "/conda", '/opt/R/bin/Rscript -e \'install.packages(c("lme4")'),
    ],
)
def test_r_without_lme4(
    home: str,
    prefix: str,
    remedy: str,
    fake_r: FakeR,
    program: FakeR,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program("apt-get")
    monkeypatch.setenv("CONDA_PREFIX", prefix)
    answer = healthy(home) | {"lme4": line("lme4", "missing", "", "")}
    del answer["fit"]
    fake_r(answer.values())
    parts = examine()
    assert stopping(parts) == ["lme4", "model fit"]
    assert named(parts, "lme4").mend.startswith(remedy)
    assert shown(parts).count(named(parts, "lme4").mend) == 1
    assert exit_code(parts) == 3


def test_missing_packages_are_mended_by_one_command(fake_r: FakeR, program: FakeR) -> None:
    program("apt-get")
    gone = {name: line(name, "missing", "", "") for name in ("emmeans", "RLRsim")}
    fake_r((healthy("/usr/lib/R") | gone).values())
    parts = examine()
    assert named(parts, "emmeans").mend == named(parts, "RLRsim").mend
    assert named(parts, "RLRsim").mend.endswith("r-cran-emmeans r-cran-rlrsim")


def test_apt_is_asked_for_what_it_has_and_r_for_the_rest(fake_r: FakeR, program: FakeR) -> None:
    program("apt-get")
    program("apt-cache", '[ "$2" = r-cran-rlrsim ] || echo "$2 | 1.0-1 | http://deb.debian.org"')
    gone = {name: line(name, "missing", "", "") for name in ("emmeans", "RLRsim")}
    fake_r((healthy("/usr/lib/R") | gone).values())
    assert named(examine(), "RLRsim").mend == (
        "sudo apt-get install --no-install-recommends r-cran-emmeans && sudo /usr/lib/R/bin/Rscript"
        ' -e \'install.packages(c("RLRsim"), repos = "https://cloud.r-project.org")\''
    )


@pytest.mark.parametrize("said", ["", "exit 1"])
def test_apt_without_lists_is_asked_for_all(said: str, fake_r: FakeR, program: FakeR) -> None:
    program("apt-get")
    program("apt-cache", said)
    fake_r((healthy("/usr/lib/R") | {"RLRsim": line("RLRsim", "missing", "", "")}).values())
    assert named(examine(), "RLRsim").mend.endswith("--no-install-recommends r-cran-rlrsim")


@pytest.mark.parametrize(
    ("library", "remedy"),
    [
        ("/usr/lib/R/site-library", "sudo apt-get install --no-install-recommends --reinstall"),
        ("/usr/local/lib/R/site-library", "/usr/lib/R/bin/Rscript -e 'install.packages("),
    ],
)
def test_broken_lme4(library: str, remedy: str, fake_r: FakeR, program: FakeR) -> None:
    program("apt-get")
    broken = {
        "lme4": line("lme4", "fault", "1.1-31", library, "undefined symbol: cholmod_start"),
        "fit": line("fit", "fault", "", "", "lme4 cannot be loaded"),
    }
    fake_r((healthy("/usr/lib/R") | broken).values())
    parts = examine()
    lme4 = named(parts, "lme4")
    assert (lme4.status, lme4.detail) == ("fault", "undefined symbol: cholmod_start")
    assert lme4.mend.startswith(remedy)
    assert stopping(parts) == ["lme4", "model fit"]


def test_a_crash_of_r_is_a_finding(fake_r: FakeR) -> None:
    answer = list(healthy().values())
    fake_r(answer[:3], end="kill -SEGV $$")
    parts = examine()
    assert named(parts, "lme4").status == "ok"
    assert "ended by signal 11" in named(parts, "lmerTest").detail
    assert exit_code(parts) == 3


def test_an_r_that_hangs_is_a_finding(fake_r: FakeR) -> None:
    fake_r([], end="while :; do :; done")
    r = named(examine(timeout=0.5), "R")
    assert r.status == "fault"
    assert "no answer within 0.5 s" in r.detail


@pytest.mark.parametrize("end", ["exit 0", "echo nonsense", "echo broken >&2; exit 1"])
def test_an_r_that_answers_nothing_is_a_finding(end: str, fake_r: FakeR) -> None:
    fake_r([], end=end)
    parts = examine()
    assert named(parts, "R").status == "fault"
    assert exit_code(parts) == 3


def test_a_wrong_reml_criterion_is_a_fault(fake_r: FakeR) -> None:
    fake_r((healthy() | {"fit": line("fit", version="327.3271")}).values())
    fit = named(examine(), "model fit")
    assert fit.status == "fault"
    assert fit.detail == "REML criterion 327.3271 where 319.6543 is known"


@pytest.mark.parametrize(
    ("r", "rinterface", "status", "pin"),
    [
        ("4.2.2", "3.6.5", "ok", ""),
        ("4.2.2", "3.6.6", "fault", "==3.6.5"),
        ("4.4.3", "3.7.0", "fault", "==3.6.5"),
        ("4.5.0", "3.6.7", "ok", ""),
        ("5.0.1", "3.6.7", "ok", ""),
    ],
)
def test_rpy2_has_to_fit_r(
    r: str, rinterface: str, status: str, pin: str, fake_r: FakeR, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_r(healthy(version=r).values())
    real = doctor.metadata.version
    monkeypatch.setattr(
        doctor.metadata, "version", lambda n: rinterface if n == "rpy2-rinterface" else real(n)
    )
    part = named(examine(), "rpy2-rinterface")
    assert part.status == status
    assert pin in part.mend


def test_r_that_does_not_start_within_python(
    fake_r: FakeR, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_r(healthy().values())
    monkeypatch.setattr(doctor, "START_R", "import sys; sys.exit('cannot load libR.so')")
    part = named(examine(), "R within Python")
    assert part.status == "fault"
    assert "cannot load libR.so" in part.detail
    assert "rpy2-rinterface" in part.mend


def test_optional_parts_do_not_stop_the_job(fake_r: FakeR) -> None:
    gone = {name: line(name, "missing") for name, required in R_PACKAGES.items() if not required}
    fake_r((healthy() | gone).values())
    parts = examine()
    assert named(parts, "Quarto").status == "missing"
    assert exit_code(parts) == 0
    assert "optional, missing" in shown(parts)


def test_quarto_is_found(fake_r: FakeR, program: FakeR) -> None:
    fake_r(healthy().values())
    program("quarto", "echo 1.9.38")
    quarto = named(examine(), "Quarto")
    assert (quarto.status, quarto.version) == ("ok", "1.9.38")


def test_json_tells_all(fake_r: FakeR) -> None:
    fake_r(healthy().values())
    parts = examine()
    content = json.loads(to_json(parts))
    assert content["ok"] is True
    assert [Part(**part) for part in content["parts"]] == list(parts)


def test_all_that_the_engine_requires_is_examined() -> None:
    required = {name for name, needed in R_PACKAGES.items() if needed}
    assert set(session.REQUIRED) <= required


@needs_r
@pytest.mark.r
@pytest.mark.slow
def test_this_machine() -> None:
    parts = examine()
    assert stopping(parts) == []
    assert named(parts, "model fit").detail.startswith("REML criterion 319.6543")


@needs_r
@pytest.mark.r
def test_a_hollow_lme4_in_the_real_r(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "library" / "lme4").mkdir(parents=True)
    (tmp_path / "library" / "lme4" / "DESCRIPTION").write_text("Package: lme4\nVersion: 9.9\n")
    monkeypatch.setenv("R_LIBS", str(tmp_path / "library"))
    parts = examine()
    assert named(parts, "lme4").status == "fault"
    assert named(parts, "nlme").status == "ok"
    assert exit_code(parts) == 3
