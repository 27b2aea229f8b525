"""The rules of the house, held by reading the code."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import mlmreport

PACKAGE = Path(mlmreport.__file__).parent
ROOT = PACKAGE.parent

LAYERS = (
    {"errors"},
    {"cache"},
    {"quantities", "spec", "thresholds"},
    {"display", "data", "engine", "crosscheck"},
    {"steps", "report", "verify"},
    {"analysis", "doctor", "folder", "kept"},
    {"workflow"},
    {"parallel"},
    {"cli"},
    {"reference"},
)
"""A module imports from its own part of the house and from the layers above it in this list."""

HEIGHT = {part: height for height, layer in enumerate(LAYERS) for part in layer}
STEPS = {
    "structure": 1,
    "questions": 2,
    "assumptions": 3,
    "icc": 4,
    "models": 5,
    "fit": 6,
    "interpretation": 7,
    "inference": 8,
}
WITHOUT_R = {"questions"}
"""Steps that ask R nothing."""

MODULES = sorted(PACKAGE.rglob("*.py"))


def name_of(file: Path) -> str:
    return file.relative_to(PACKAGE).as_posix()


def part_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def imported(file: Path) -> Iterator[str]:
    """Every module that a file imports, at its head or within a function."""
    for node in ast.walk(parsed(file)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def parts_imported(file: Path) -> set[str]:
    found = {name.split(".")[1] for name in imported(file) if name.startswith("mlmreport.")}
    return found & set(HEIGHT)


def importers(module: str) -> set[str]:
    """The files that import a module or one below it."""
    return {
        name_of(file)
        for file in MODULES
        if any(name == module or name.startswith(f"{module}.") for name in imported(file))
    }


def programs(name: str) -> set[str]:
    """The files that hold the name of a program."""
    return {name_of(file) for file in MODULES if name in set(strings(file))}


def strings(file: Path) -> Iterator[str]:
    tree = parsed(file)
    bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in bare:
            yield node.value


def loaded_by(code: str) -> set[str]:
    """The modules in a fresh Python after some code."""
    script = f"import sys\n{code}\nprint(*sys.modules, sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("file", MODULES, ids=name_of)
def test_imports_run_one_way(file: Path) -> None:
    if file == PACKAGE / "__init__.py":
        assert not parts_imported(file)
        return
    own = part_of(file)
    assert own in HEIGHT, f"{own} has no layer"
    above = {part for part in parts_imported(file) - {own} if HEIGHT[part] >= HEIGHT[own]}
    assert not above


def test_rpy2_is_imported_in_the_engine_only() -> None:
    assert {name.split("/")[0] for name in importers("rpy2")} == {"engine"}


def test_processes_are_started_in_few_places() -> None:
    assert importers("subprocess") == {
        "data/sources.py",  # tries out files that a C library reads; see the next two tests
        "doctor.py",
        "engine/workers.py",
        "parallel.py",
        "report/processes.py",
        "verify/clean_room.py",
    }


def test_rscript_is_run_by_verify_and_the_doctor_only() -> None:
    assert programs("Rscript") <= {"verify/clean_room.py", "doctor.py"}


def test_quarto_is_run_by_the_renderer_and_the_doctor_only() -> None:
    finders = {name_of(file) for file in MODULES if "find_quarto" in file.read_text("utf-8")}
    assert finders
    assert finders | importers("quarto") <= {"report/render.py", "doctor.py"}


def test_only_the_command_line_writes_to_the_screen() -> None:
    for file in MODULES:
        for node in ast.walk(parsed(file)):
            called = node.func if isinstance(node, ast.Call) else None
            assert not (isinstance(called, ast.Name) and called.id in {"print", "input"}), file
            if isinstance(node, ast.Attribute) and node.attr in {"stdout", "stderr"}:
                of_sys = isinstance(node.value, ast.Name) and node.value.id == "sys"
                assert not of_sys or name_of(file) == "cli.py", file


@pytest.mark.parametrize(
    "module",
    [
        "mlmreport.report.document",
        "mlmreport.report.render",
        "mlmreport.report.houses",
        "mlmreport.report.figures",
        "mlmreport.display",
        "mlmreport.verify.displayed",
    ],
)
def test_a_report_never_reaches_r(module: str) -> None:
    loaded = loaded_by(f"import {module}")
    assert module in loaded
    assert not {name for name in loaded if name.split(".")[0] == "rpy2"}
    assert not {name for name in loaded if name.startswith(("mlmreport.engine", "mlmreport.steps"))}


@pytest.mark.parametrize("code", ["import mlmreport", "import mlmreport.cli"])
def test_starting_is_light(code: str) -> None:
    heavy = {"numpy", "pandas", "pyarrow", "matplotlib", "pydantic", "rpy2", "jinja2", "yaml"}
    assert not loaded_by(code) & heavy


@pytest.mark.parametrize("step", STEPS)
def test_every_step_has_its_row(step: str) -> None:
    section = f"templates/base/sections/{STEPS[step]}-{step}.qmd.j2"
    row = [f"mlmreport/steps/{step}.py", section, f"tests/steps/test_{step}.py"]
    if step not in WITHOUT_R:
        row.append(f"mlmreport/r/{step}.R")
    assert [name for name in row if not (ROOT / name).is_file()] == []


def test_a_step_calls_the_functions_of_its_own_r_file_and_shared_ones() -> None:
    """What a step asks R for by name is a function of some file in r/."""
    defined = {
        line.split(" <- function")[0]
        for file in (PACKAGE / "r").glob("*.R")
        for line in file.read_text(encoding="utf-8").splitlines()
        if " <- function" in line
    }
    asked = set()
    for file in (PACKAGE / "steps").glob("*.py"):
        for node in ast.walk(parsed(file)):
            if isinstance(node, ast.Call) and _is_run(node):
                asked.add(ast.literal_eval(node.args[1]))
    assert asked
    assert asked <= defined


def _is_run(node: ast.Call) -> bool:
    named = isinstance(node.func, ast.Attribute) and node.func.attr == "run"
    return named and len(node.args) == 2 and isinstance(node.args[1], ast.Constant)


def test_the_steps_of_the_report_are_those_of_the_analysis() -> None:
    from mlmreport.analysis import STEPS as ORDER

    assert tuple(STEPS) == ORDER


def test_a_function_of_the_r_code_is_defined_once() -> None:
    """The files of r/ share an environment, in which a second definition replaces the first.

    So do those that go into ``reproduce.R`` with the ones of verify/.
    """
    text = "\n".join(file.read_text(encoding="utf-8") for file in PACKAGE.rglob("*.R"))
    names = re.findall(r"^([\w.]+) <- function", text, flags=re.MULTILINE)
    assert sorted(names) == sorted(set(names))
