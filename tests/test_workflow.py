"""What stands in the folder after a run: all of the new report, or all of the old one."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from mlmreport import workflow
from mlmreport.errors import AnalysisError, InputError

pytestmark = pytest.mark.r

SPEC = """\
title: Small
simulate:
  seed: 1
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
questions:
  - {id: Q1, text: "How strongly is x related to y?", terms: [x]}
models:
  stepwise: {}
"""

Run = Callable[..., Path]


def quiet(step: str, what: str) -> None:
    """Nobody is told."""


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("small") / "analysis.yml"
    file.write_text(SPEC, encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def report(spec: Path) -> Path:
    return workflow.run(spec, None, (), quiet)


def contents(folder: Path) -> dict[str, bytes]:
    files = (file for file in sorted(folder.rglob("*")) if file.is_file())
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def leftovers(folder: Path) -> list[str]:
    return [file.name for file in folder.parent.iterdir() if file.name.startswith(".")]


def test_a_run_writes_all_that_belongs_to_a_report(report: Path) -> None:
    names = set(contents(report))
    expected = {"report.html", "report.qmd", "results.json", "data.csv"}
    expected |= {"reproduce.R", "definitions.R", "prepare.R"}
    assert expected <= names
    assert any(name.startswith("figures/") for name in names)
    assert not leftovers(report)


def test_a_second_run_gives_the_same_numbers_and_clears_older_formats(
    spec: Path, report: Path
) -> None:
    before = contents(report)
    (report / "report.docx").write_text("of an earlier run")
    (report / "figures" / "of-an-earlier-run.svg").write_text("")
    (report / "notes.txt").write_text("the user's own")
    workflow.run(spec, None, (), quiet)
    after = contents(report)
    assert after.pop("notes.txt") == b"the user's own"
    assert set(after) == set(before)
    assert after["results.json"] == before["results.json"]
    assert after["data.csv"] == before["data.csv"]
    (report / "notes.txt").unlink()


def test_checks_stay_while_the_results_do(spec: Path, report: Path) -> None:
    checks, results = report / "checks.json", report / "results.json"
    checks.write_text("[]")
    workflow.run(spec, None, (), quiet)
    assert checks.is_file()
    results.write_text(results.read_text("utf-8").replace("\n", "\n ", 1), encoding="utf-8")
    workflow.run(spec, None, (), quiet)
    assert not checks.exists()


def test_a_run_whose_rendering_fails_leaves_the_last_report(
    spec: Path, report: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(report)

    def fail(*_: object, **__: object) -> None:
        raise AnalysisError("Pandoc refused it")

    monkeypatch.setattr(workflow, "render", fail)
    with pytest.raises(AnalysisError, match="Pandoc refused it"):
        workflow.run(spec, None, (), quiet)
    assert contents(report) == before
    assert not leftovers(report)


def test_ctrl_c_in_the_middle_leaves_the_last_report(spec: Path, report: Path) -> None:
    before = contents(report)

    def interrupt(step: str, what: str) -> None:
        if step == "report" and what.startswith("rendering"):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        workflow.run(spec, None, (), interrupt)
    assert contents(report) == before
    assert not leftovers(report)


def test_a_folder_of_something_else_is_refused(spec: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.docx").write_text("my thesis")
    with pytest.raises(InputError, match="not empty and holds no report"):
        workflow.run(spec, tmp_path, (), quiet)
    assert contents(tmp_path) == {"thesis.docx": b"my thesis"}


def test_a_results_file_of_another_program_does_not_make_a_report(
    spec: Path, tmp_path: Path
) -> None:
    (tmp_path / "results.json").write_text('{"accuracy": 0.9}')
    with pytest.raises(InputError, match="not empty and holds no report"):
        workflow.run(spec, tmp_path, (), quiet)


def test_a_file_is_no_folder(spec: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(InputError, match="is a file"):
        workflow.run(spec, tmp_path / "out", (), quiet)


def test_an_empty_and_a_nested_new_folder_are_written(spec: Path, tmp_path: Path) -> None:
    assert (workflow.run(spec, tmp_path, ("html",), quiet) / "report.html").is_file()
    nested = tmp_path / "a" / "b"
    assert (workflow.run(spec, nested, (), quiet) / "report.html").is_file()


def test_rendering_again_gives_the_same_page(report: Path) -> None:
    before = contents(report)
    workflow.render_again(report, (), quiet)
    after = contents(report)
    assert after["report.qmd"] == before["report.qmd"]
    assert after["report.html"] == before["report.html"]
    assert after["results.json"] == before["results.json"]


def test_only_a_report_can_be_rendered_again(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        workflow.render_again(tmp_path, (), quiet)
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(InputError, match="not a results file"):
        workflow.render_again(tmp_path, (), quiet)
