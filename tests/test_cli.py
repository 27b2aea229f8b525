"""The command line as a user meets it: help, exit codes, progress, interruption, folders."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mlmreport import __version__, analysis, workflow
from mlmreport.cache import FOLDER_VARIABLE
from mlmreport.cli import app
from mlmreport.report import render

ROOT = Path(__file__).parents[1]
STUDENTS = ROOT / "analyses" / "school-achievement" / "students.csv"
COMMAND = [sys.executable, "-c", "from mlmreport.cli import main; main()"]
COMMANDS = ("run", "render", "check", "verify", "crosscheck", "export", "new", "schema", "doctor")

SPEC = """\
title: Small
simulate:
  seed: 3
  groups: 20
  units: 200
  group_sd: 0.5
  residual_sd: 1
  predictors:
    x: {level: pupil, effect: 0.5}
levels:
  - name: pupil
  - {name: school, id: school}
outcome: {name: y}
predictors:
  x: {level: pupil}
models:
  stepwise: {}
"""


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def spec_in(folder: Path, text: str = SPEC) -> Path:
    file = folder / "analysis.yml"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a report."""
    folder = tmp_path_factory.mktemp("finished")
    done = invoke("run", spec_in(folder))
    assert done.exit_code == 0, done.output
    return folder / "report"


# --- help and usage ---------------------------------------------------------------------------


def test_the_commands_are_these() -> None:
    assert tuple(command.callback.__name__ for command in app.registered_commands) == COMMANDS  # type: ignore[union-attr]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(command: str) -> None:
    done = invoke(command, "--help")
    assert done.exit_code == 0
    assert f"Example: mlmreport {command}" in " ".join(done.output.split())


def test_the_examples_of_the_help_are_valid_usage() -> None:
    """Every option named in an example is an option of the command."""
    for command in COMMANDS:
        text = " ".join(invoke(command, "--help").output.split())
        usage, _, example = text.partition("Example:")
        for option in re.findall(r"--[a-z-]+", example):
            assert option in usage


def test_the_version() -> None:
    assert invoke("--version").output == f"mlmreport {__version__}\n"


@pytest.mark.parametrize(
    "arguments", [["nosuch"], ["run"], ["run", "--nosuch", "x"], ["run", "a.yml", "--to", "odt"]]
)
def test_wrong_usage_is_exit_2(arguments: list[str]) -> None:
    done = invoke(*arguments)
    assert done.exit_code == 2
    assert "Traceback" not in done.output


# --- exit codes -------------------------------------------------------------------------------


@pytest.mark.r
def test_a_finished_run_says_where_the_report_is(finished: Path) -> None:
    assert (finished / "report.html").is_file()
    done = invoke("render", finished)
    assert done.exit_code == 0
    assert f"The report is at {finished / 'report.html'}" in done.output


def test_a_failed_analysis_is_exit_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlmreport.errors import AnalysisError

    def fail(*_: object, **__: object) -> None:
        raise AnalysisError("R stopped: singular")

    monkeypatch.setattr(workflow, "run", fail)
    done = invoke("run", spec_in(tmp_path))
    assert (done.exit_code, done.stderr) == (1, "R stopped: singular\n")


@pytest.mark.r
def test_an_error_of_r_is_exit_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlmreport.engine.fits import Engine

    found = Engine.run

    def without_data(self: Engine, step: str, function: str, **arguments: object) -> object:
        return found(self, step, "no_such_function" if step == "fit" else function, **arguments)

    monkeypatch.setattr(Engine, "run", without_data)
    done = invoke("run", spec_in(tmp_path))
    assert done.exit_code == 1, done.output
    assert "R stopped" in done.stderr
    assert "no_such_function" in done.stderr
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_wrong_spec_is_exit_2_and_all_problems_are_told(tmp_path: Path, command: str) -> None:
    text = SPEC.replace("title", "titel").replace("effect: 0.5", "effect: large")
    done = invoke(command, spec_in(tmp_path, text))
    assert done.exit_code == 2
    assert "analysis.yml:1:1" in done.stderr
    assert "did you mean 'title'" in done.stderr
    assert "analysis.yml:9:31" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["run", "check", "verify", "render"])
def test_what_is_not_there_is_exit_2(tmp_path: Path, command: str) -> None:
    done = invoke(command, tmp_path / "nosuch")
    assert done.exit_code == 2
    assert "nosuch" in done.stderr


def test_no_r_is_exit_3(tmp_path: Path) -> None:
    bare = {"PATH": "/nowhere", "HOME": str(tmp_path)}
    done = subprocess.run(
        [*COMMAND, "run", str(spec_in(tmp_path))], env=bare, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 3
    assert "R is not installed" in done.stderr
    assert "mlmreport doctor" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.r
@pytest.mark.slow
def test_a_changed_digit_is_exit_4(finished: Path, tmp_path: Path) -> None:
    copy = tmp_path / "report"
    shutil.copytree(finished, copy)
    done = invoke("verify", copy)
    assert done.exit_code == 0, done.output
    page = copy / "report.html"
    text = page.read_text(encoding="utf-8")
    shown = re.search(r'(<span[^>]*data-id="[^"]*"[^>]*>[^<]*?)(\d)(</span>)', text)
    assert shown
    changed = str((int(shown[2]) + 1) % 10)
    page.write_text(text[: shown.start(2)] + changed + text[shown.end(2) :], encoding="utf-8")
    assert invoke("verify", copy).exit_code == 4


# --- faults -----------------------------------------------------------------------------------


def _break(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(workflow, "run", fail)


def test_a_fault_shows_no_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLMREPORT_DEBUG", raising=False)
    _break(monkeypatch, KeyError("x"))
    done = invoke("run", spec_in(tmp_path))
    assert done.exit_code == 1
    assert done.stderr.startswith("internal error: KeyError: 'x'\n")
    assert "please report" in done.stderr
    assert "MLMREPORT_DEBUG=1" in done.stderr
    assert "Traceback" not in done.stderr


def test_debug_shows_the_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLMREPORT_DEBUG", "1")
    _break(monkeypatch, KeyError("x"))
    assert "Traceback (most recent call last)" in invoke("run", spec_in(tmp_path)).stderr


def test_a_fault_of_the_file_system_is_exit_3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _break(monkeypatch, PermissionError(13, "Permission denied", "/out/report"))
    done = invoke("run", spec_in(tmp_path))
    assert done.exit_code == 3
    assert done.stderr.splitlines() == [
        "/out/report: Permission denied",
        "  hint: name a folder that you may write to",
    ]


# --- progress and interruption ----------------------------------------------------------------

PROGRESS = """
import sys, time
from mlmreport import cli, workflow
def run(spec, output, formats, progress, **_):
    progress("data", "reading")
    progress("models", "Random [slopes]")
    time.sleep({seconds})
    return output
workflow.run = run
sys.argv = ["mlmreport", "run", "x.yml", "-o", "out"]
cli.main()
"""


def test_elsewhere_than_on_a_terminal_a_line_a_step() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRESS.format(seconds=0)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    plain = re.sub(r"\d+\.\d s", "T s", done.stderr)
    assert plain == "[   T s] data: reading\n[   T s] models: Random [slopes]\n"
    assert done.stdout == ""


def on_a_terminal(code: str) -> str:
    """What a program writes on a terminal of 100 columns."""
    child, terminal = pty.fork()
    if child == 0:
        os.environ |= {"TERM": "xterm-256color", "COLUMNS": "100"}
        os.execv(sys.executable, [sys.executable, "-c", code])
    written = b""
    with contextlib.suppress(OSError):  # the terminal is closed at the end
        while piece := os.read(terminal, 4096):
            written += piece
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    return written.decode("utf-8")


def test_on_a_terminal_step_model_and_time_stand_in_one_live_line() -> None:
    text = on_a_terminal(PROGRESS.format(seconds=1.3))
    bare = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert re.search(r"models +Random \[slopes\] +0:00:01", bare)
    assert "\x1b[2K" in text  # the line is rewritten in place


LONG = """\
inference: {variance_ci: bootstrap, bootstrap: 100000}
estimation: {patience: 1.0e+6}
"""


def children(process: int) -> list[int]:
    """The processes that a process has started."""
    threads = Path(f"/proc/{process}/task").glob("*/children")
    return [int(child) for file in threads for child in file.read_text(encoding="utf-8").split()]


@pytest.mark.r
@pytest.mark.parametrize(
    ("jobs", "number", "code"),
    [("1", signal.SIGTERM, 143), ("2", signal.SIGINT, 130), ("1", signal.SIGHUP, 129)],
)
def test_interrupted_while_r_computes(
    tmp_path: Path, jobs: str, number: signal.Signals, code: int
) -> None:
    """A real interrupt in a long computation: at once, told in a line, nothing left behind."""
    spec = spec_in(tmp_path, SPEC + LONG)
    process = subprocess.Popen(
        [*COMMAND, "run", str(spec), "--jobs", jobs], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr
    for line in process.stderr:
        if "intervals of the variance components" in line:
            break
    time.sleep(0.5)
    workers = children(process.pid)
    assert len(workers) == int(jobs) - 1
    began = time.monotonic()
    process.send_signal(number)
    said = process.stderr.readline()
    assert time.monotonic() - began < 1  # it has stopped; R and Python then tidy up
    said += process.communicate(timeout=5)[1]
    assert said == "interrupted; nothing was written\n"
    assert process.returncode == code
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)
    assert any((Path(os.environ[FOLDER_VARIABLE]) / "values").iterdir())  # what was done stays
    assert [file.name for file in tmp_path.iterdir()] == ["analysis.yml"]


@pytest.mark.r
def test_several_runs_that_are_ended_tidy_up(tmp_path: Path) -> None:
    specs = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        specs.append(spec_in(tmp_path / name, SPEC + LONG))
    process = subprocess.Popen(
        [*COMMAND, "run", *map(str, specs), "--jobs", "2"], stderr=subprocess.PIPE, text=True
    )
    works = [spec.parent / ".report.mlmreport" / "new" for spec in specs]
    until = time.monotonic() + 60
    while not all(work.is_dir() for work in works):
        assert time.monotonic() < until
        time.sleep(0.05)
    time.sleep(2)  # in R by now
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=20)[1]
    assert said == "interrupted; nothing was written\n"
    assert process.returncode == 143
    assert sorted(tmp_path.rglob("*.*")) == sorted(specs)


def test_output_that_cannot_be_written_is_told() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, "schema"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 3
    assert done.stderr.splitlines()[0].endswith("No space left on device")
    assert "internal error" not in done.stderr
    assert "Traceback" not in done.stderr


def _house(folder: Path, section: str) -> Path:
    """A spec whose house, beside it, has a section of its own."""
    place = folder / "templates" / "ours"
    (place / "sections").mkdir(parents=True)
    (place / "house.yml").write_text("name: ours\nextends: base\n", encoding="utf-8")
    (place / "sections" / "95-ours.qmd.j2").write_text(section, encoding="utf-8")
    return spec_in(folder, SPEC + "house: ours\n")


@pytest.mark.parametrize("command", ["check", "run"])
def test_a_broken_template_is_told_before_anything_is_computed(
    tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(analysis, "check", lambda *_: pytest.fail("data were read"))
    done = invoke(command, _house(tmp_path, "# Ours\n\n{% if x %}\nno end\n"))
    assert done.exit_code == 2, done.output
    assert re.search(r"95-ours\.qmd\.j2:\d+:1: the template cannot be filled in", done.stderr)
    assert not (tmp_path / "report").exists()


def test_a_renderer_that_is_missing_is_told_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(analysis, "check", lambda *_: pytest.fail("data were read"))
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(
        render, "_pandoc", render._pandoc.__wrapped__
    )  # what was found once is kept
    done = invoke("run", spec_in(tmp_path), "--renderer", "embedded")
    assert done.exit_code == 3, done.output
    assert "Pandoc is missing" in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["analysis.yml"]


# --- where it reads and writes ----------------------------------------------------------------


@pytest.mark.r
def test_output_names_the_folder(tmp_path: Path) -> None:
    done = invoke("run", spec_in(tmp_path), "--output", tmp_path / "here")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "here" / "report.html").is_file()
    assert not (tmp_path / "report").exists()


def test_a_folder_of_other_things_is_refused(tmp_path: Path) -> None:
    spec = spec_in(tmp_path)
    done = invoke("run", spec, "--output", tmp_path)
    assert done.exit_code == 2
    assert "holds no report" in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["analysis.yml"]


def _outside(tmp_path: Path) -> Path:
    """A spec whose data lie in a folder beside its own."""
    for name in ("spec", "data"):
        (tmp_path / name).mkdir()
    shutil.copy(STUDENTS, tmp_path / "data")
    done = invoke(
        "new", tmp_path / "data" / "students.csv", "--outcome", "mathach", "--group", "school",
        "--output", tmp_path / "spec" / "analysis.yml",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "--data-root" in done.output
    return tmp_path / "spec" / "analysis.yml"


def test_data_are_read_from_the_folder_of_the_spec_only(tmp_path: Path) -> None:
    done = invoke("check", _outside(tmp_path))
    assert done.exit_code == 2
    assert "lies outside of the folder of the spec" in done.stderr
    assert "--data-root" in done.stderr


def test_data_root_allows_another_folder(tmp_path: Path) -> None:
    done = invoke("check", _outside(tmp_path), "--data-root", tmp_path / "data")
    assert done.exit_code == 0, done.output


def _apart(tmp_path: Path, *holding: str) -> Path:
    """A spec that names students.csv, which lies in other folders."""
    spec = _outside(tmp_path)
    spec.write_text(spec.read_text(encoding="utf-8").replace("../data/students", "students"))
    for name in holding:
        (tmp_path / name).mkdir(exist_ok=True)
        shutil.copy(STUDENTS, tmp_path / name)
    return spec


def test_a_data_root_is_searched_in_order(tmp_path: Path) -> None:
    spec = _apart(tmp_path, "second")
    (tmp_path / "empty").mkdir()
    roots = [part for name in ("empty", "data") for part in ("--data-root", tmp_path / name)]
    done = invoke("check", spec, *roots)
    assert done.exit_code == 0, done.output
    assert "note:" not in done.output
    done = invoke("check", spec, *roots, "--data-root", tmp_path / "second")
    first, second = (tmp_path / name / "students.csv" for name in ("data", "second"))
    said = f"students.csv is in several folders: {first} was read, not {second}"
    assert said in " ".join(done.output.split())
    done = invoke("export", spec, *roots, "--to", "stata", "--output", tmp_path / "stata")
    assert done.exit_code == 0, done.output


def test_the_folder_of_the_spec_comes_before_data_roots(tmp_path: Path) -> None:
    spec = _apart(tmp_path, "spec")
    done = invoke("check", spec, "--data-root", tmp_path / "data")
    own = tmp_path / "spec" / "students.csv"
    assert f"{own} was read, not" in " ".join(done.output.split())


def test_a_file_in_no_data_root_is_told_with_where_it_was_looked_for(tmp_path: Path) -> None:
    spec = _apart(tmp_path)
    done = invoke("check", spec)
    assert done.exit_code == 2
    assert "there is no file students.csv" in done.stderr
    (tmp_path / "data" / "students.csv").rename(tmp_path / "data" / "student.csv")
    done = invoke("check", spec, "--data-root", tmp_path / "data")
    assert done.exit_code == 2
    said = " ".join(done.stderr.split())
    assert f"looked in {tmp_path / 'spec'}, {tmp_path / 'data'}; did you mean" in said


def test_a_link_in_a_data_root_leads_nowhere_else(tmp_path: Path) -> None:
    spec = _apart(tmp_path)
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "students.csv").symlink_to(tmp_path / "data" / "students.csv")
    done = invoke("check", spec, "--data-root", tmp_path / "root")
    assert done.exit_code == 2
    assert "lies outside" in done.stderr
    roots = ("--data-root", tmp_path / "root", "--data-root", tmp_path / "data")
    assert invoke("check", spec, *roots).exit_code == 0


# --- new, schema, doctor ----------------------------------------------------------------------


def _new(tmp_path: Path, *more: object) -> Result:
    shutil.copy(STUDENTS, tmp_path)
    data = tmp_path / "students.csv"
    return invoke("new", data, "--outcome", "mathach", "--group", "school", *more)


def test_new_writes_a_spec_that_check_accepts(tmp_path: Path) -> None:
    spec = tmp_path / "analysis.yml"
    assert _new(tmp_path, "--output", spec).exit_code == 0
    done = invoke("check", spec)
    assert done.exit_code == 0, done.output
    assert "no problems; 7,185 rows are ready" in done.output
    schema = json.loads((tmp_path / "analysis.schema.json").read_text(encoding="utf-8"))
    assert "predictors" in schema["properties"]


def test_new_without_output_writes_to_the_screen_only(tmp_path: Path) -> None:
    done = _new(tmp_path)
    assert done.output.startswith("# yaml-language-server: $schema=analysis.schema.json\n")
    assert [file.name for file in tmp_path.iterdir()] == ["students.csv"]


def test_new_overwrites_nothing(tmp_path: Path) -> None:
    spec = spec_in(tmp_path, "mine")
    done = _new(tmp_path, "--output", spec)
    assert done.exit_code == 2
    assert spec.read_text() == "mine"


def test_new_names_the_near_miss(tmp_path: Path) -> None:
    shutil.copy(STUDENTS, tmp_path)
    done = invoke("new", tmp_path / "students.csv", "--outcome", "mathac", "--group", "school")
    assert done.exit_code == 2
    assert "did you mean 'mathach'?" in done.stderr


def test_schema_is_json() -> None:
    assert json.loads(invoke("schema").output)["$schema"].startswith("https://json-schema.org/")


def test_doctor_does_not_wrap_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that mends something can be copied from a narrow terminal."""
    from mlmreport import doctor

    mend = "sudo apt-get install " + " ".join(f"r-cran-package{i}" for i in range(12))
    part = doctor.Part("lme4", "", "missing", True, "not installed", mend)
    monkeypatch.setattr(doctor, "examine", lambda: (part,))
    monkeypatch.setenv("COLUMNS", "60")
    done = invoke("doctor")
    assert done.exit_code == 3
    assert mend in done.output


def test_doctor_speaks_json(monkeypatch: pytest.MonkeyPatch) -> None:
    from mlmreport import doctor

    part = doctor.Part("lme4", "1.1", "ok", True, "", "")
    monkeypatch.setattr(doctor, "examine", lambda: (part,))
    done = invoke("doctor", "--json")
    assert done.exit_code == 0
    assert "lme4" in json.dumps(json.loads(done.output))
