from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mlmreport.cli import app
from mlmreport.errors import InputError
from mlmreport.verify.checks import (
    CHECKS,
    TITLES,
    Check,
    checks_of_results,
    outcome,
    results_checks,
    write_checks,
)
from mlmreport.workflow import render_again


def _row(kind: str, name: str, verdict: str = "agrees", found: str = "1") -> Check:
    return Check(name, kind, "", 1.0, found, 0.0, 1e-6, verdict)


def test_rows_of_other_kinds_stay(tmp_path: Path) -> None:
    write_checks(tmp_path, {"pdf"}, [_row("pdf", "a"), _row("pdf", "b")])
    write_checks(tmp_path, {"engines"}, [_row("engines", "c")])
    write_checks(tmp_path, {"pdf"}, [_row("pdf", "d")])
    rows = json.loads((tmp_path / CHECKS).read_text("utf-8"))
    assert [(row["kind"], row["id"]) for row in rows] == [("engines", "c"), ("pdf", "d")]
    assert set(rows[0]) == {
        "id", "kind", "what", "expected", "found", "difference", "tolerance", "verdict",
    }  # fmt: skip
    with pytest.raises(ValueError, match="not finite"):
        Check("e", "engines", "", math.nan, 1.0, 0.0, "", "")


def test_checks_hold_for_the_results_that_they_were_made_of(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text("1", encoding="utf-8")
    (tmp_path / "data.csv").write_text("x", encoding="utf-8")
    of = results_checks(tmp_path, "data.csv", "another")
    assert [check.verdict for check in of] == ["agrees", "differs"]
    write_checks(tmp_path, TITLES, [*of, _row("pdf", "a")])
    assert [check.id for check in checks_of_results(tmp_path)] == ["results.json", "data.csv", "a"]
    (tmp_path / "results.json").write_text("2", encoding="utf-8")
    assert checks_of_results(tmp_path) == ()


def test_what_is_no_file_of_checks_is_an_input_error(tmp_path: Path) -> None:
    for text in ("[1]", "{", '[{"id": "a"}]'):
        (tmp_path / CHECKS).write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=r"not a file of checks[\s\S]*remove it"):
            checks_of_results(tmp_path)


def test_outcomes_are_counted_by_kind() -> None:
    checks = [
        _row("optimizer", "a"),
        _row("optimizer", "b", "differs"),
        _row("preparation", "c", "not checked", "no reader"),
    ]
    first, second = outcome(checks)
    assert first.told == "2 checked, 1 differ, largest difference 0, 1e-06 allowed"
    assert second.told == "not checked: no reader"


@pytest.mark.r
def test_the_command_leaves_the_table_and_the_report_tells_it(copy: Callable[[], Path]) -> None:
    folder = copy()
    assert "had not been verified" in (folder / "report.qmd").read_text("utf-8")
    done = CliRunner().invoke(app, ["verify", str(folder), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == json.loads((folder / CHECKS).read_text("utf-8"))
    render_again(folder, ["html", "docx", "pdf"], lambda *_: None)
    assert "These results were verified" in (folder / "report.qmd").read_text("utf-8")
    again = CliRunner().invoke(app, ["verify", str(folder)])
    assert again.exit_code == 0, again.output
    told = outcome(checks_of_results(folder))
    assert {kind.title for kind in told} == set(TITLES.values())
    assert not any(kind.differing or kind.unchecked for kind in told)
    assert all(f"{kind.title}: {kind.told}" in again.output for kind in told)
    results = (folder / "results.json").read_text("utf-8")
    (folder / "results.json").write_text(results.replace("\n", "\n ", 1), encoding="utf-8")
    render_again(folder, ["html"], lambda *_: None)
    assert "had not been verified" in (folder / "report.qmd").read_text("utf-8")
