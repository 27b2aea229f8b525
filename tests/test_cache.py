"""What is kept between runs, and that nothing wrong is ever taken from it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from support import small_spec

from mlmreport import workflow
from mlmreport.analysis import analyse
from mlmreport.cache import FOLDER_VARIABLE, Cache
from mlmreport.engine.fits import Engine
from mlmreport.engine.session import session
from mlmreport.quantities import Results
from mlmreport.spec.reader import load


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


class TestEntries:
    def test_comes_back_as_it_was_stored(self, cache: Cache) -> None:
        cache.keep("a1", {"x.txt": b"one", "y.txt": b"two"})
        entry = cache.find("a1")
        assert entry is not None
        assert (entry / "x.txt").read_bytes() == b"one"
        assert cache.find("b2") is None

    @pytest.mark.parametrize("file", ["x.txt", "manifest.json"])
    @pytest.mark.parametrize("damage", [b"", b"on", b"One", b"{}x"])
    def test_a_damaged_entry_is_absent_and_can_be_stored_again(
        self, cache: Cache, file: str, damage: bytes
    ) -> None:
        cache.keep("a1", {"x.txt": b"one"})
        entry = cache.find("a1")
        assert entry is not None
        (entry / file).write_bytes(damage)
        assert cache.find("a1") is None
        cache.keep("a1", {"x.txt": b"one"})
        assert cache.find("a1") is not None

    def test_a_fresh_run_reads_nothing_but_writes(self, cache: Cache) -> None:
        fresh = Cache(cache.folder, fresh=True)
        fresh.keep("a1", {"x.txt": b"one"})
        assert fresh.find("a1") is None
        assert cache.find("a1") is not None

    def test_the_longest_unused_go_first(self, cache: Cache) -> None:
        for number, name in enumerate(("a1", "b2", "c3")):
            cache.keep(name, {"x.bin": bytes(1000)})
            entry = cache.find(name)
            assert entry is not None
            os.utime(entry, (number, number))
        cache.tidy(most=2500)
        assert [bool(cache.find(name)) for name in ("a1", "b2", "c3")] == [False, True, True]


Told = Callable[..., tuple[Path, list[str]]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(scope="module")
def told(place: Path) -> Told:
    """Run the analysis; the report's folder and what was said of the progress."""

    def run(title: str = "Small") -> tuple[Path, list[str]]:
        said: list[str] = []
        spec = small_spec(place, title=title, extra="house: ours\n")
        cache = Cache(place / "cache", costly=0)  # keeps all, whatever the machine
        return workflow.run(spec, None, (), lambda _, w: said.append(w), cache=cache), said

    (place / "templates" / "ours" / "sections").mkdir(parents=True)
    house = place / "templates" / "ours" / "house.yml"
    house.write_text("name: ours\nextends: base\n", encoding="utf-8")
    run()
    return run


@pytest.mark.r
class TestRuns:
    """One folder and one cache for all of them: most runs take what the first one left."""

    def test_nothing_changed(self, told: Told) -> None:
        folder, said = told()
        before = {file: file.stat().st_mtime_ns for file in folder.rglob("*")}
        _, said = told()
        assert said == ["nothing has changed"]
        assert before == {file: file.stat().st_mtime_ns for file in folder.rglob("*")}

    def test_what_was_tampered_with_is_written_anew(self, told: Told) -> None:
        folder, _ = told()
        page = folder / "report.html"
        text = page.read_text(encoding="utf-8")
        page.write_text(text.replace("Small", "Large"), encoding="utf-8")
        _, said = told()
        assert "data, results and script as they were" in said
        assert page.read_text(encoding="utf-8") == text

    def test_a_changed_template_fits_nothing(self, place: Path, told: Told) -> None:
        section = place / "templates" / "ours" / "sections" / "95-ours.qmd.j2"
        section.write_text("# Ours\n\nA sentence.\n", encoding="utf-8")
        folder, said = told()
        assert not any("reading" in what for what in said)
        assert "A sentence." in (folder / "report.html").read_text(encoding="utf-8")

    def test_another_title_fits_nothing_again(self, place: Path, told: Told) -> None:
        values = Cache(place / "cache").values
        before = {file.name for file in values.iterdir()}
        folder, _ = told(title="Another")
        assert {file.name for file in values.iterdir()} == before
        assert "Another" in (folder / "report.html").read_text(encoding="utf-8")

    def test_values_are_the_same_with_and_without(self, place: Path, told: Told) -> None:
        told()
        document = load(small_spec(place))

        def results(cache: Cache | None) -> str:
            return analyse(document, lambda *_: None, cache)[0].to_json()

        computed = results(None)
        cache = Cache(place / "cache", costly=0)
        assert results(cache) == computed
        kept = sorted(cache.values.iterdir())
        assert kept
        for file in kept[::2]:  # truncated, and with a byte changed
            file.write_bytes(file.read_bytes()[:-7])
        for file in kept[1::2]:
            content = bytearray(file.read_bytes())
            content[len(content) // 2] ^= 1
            file.write_bytes(content)
        assert results(cache) == computed

    @pytest.mark.long
    def test_models_that_leave_memory_change_nothing(self, place: Path, told: Told) -> None:
        document = load(small_spec(place))

        def results(cache: Cache | None) -> str:
            return analyse(document, lambda *_: None, cache)[0].to_json()

        shelved = Cache(place / "shelved", costly=0, large=1, room=0)
        assert results(shelved) == results(None)


@pytest.mark.r
class TestModels:
    """Of a sequence only the models that changed are fitted again."""

    FORMULAS: ClassVar = {"a": "y ~ x + (1 | g)", "b": "y ~ x + w + (1 | g)"}

    @pytest.fixture
    def frame(self) -> pd.DataFrame:
        rng = np.random.default_rng(1)
        columns = {name: rng.normal(size=100) for name in ("y", "x", "w")}
        return pd.DataFrame(columns).assign(g=pd.Categorical([str(i % 10) for i in range(100)]))

    def fit(self, cache: Cache, frame: pd.DataFrame, formulas: dict[str, str]) -> set[str]:
        """Fit the models; the names of the values that were not there before."""
        before = set(cache.values.iterdir())
        engine = Engine(session(), cache)
        engine.begin(frame)
        for name, formula in formulas.items():
            engine.fit(name, formula, reml=True, optimizer="nloptwrap")
        return {file.name for file in set(cache.values.iterdir()) - before}

    def test_a_changed_model_is_fitted_alone(self, tmp_path: Path, frame: pd.DataFrame) -> None:
        cache = Cache(tmp_path, costly=0)
        assert len(self.fit(cache, frame, self.FORMULAS)) == 2
        assert not self.fit(cache, frame, self.FORMULAS)
        changed = {**self.FORMULAS, "b": "y ~ x + w + (1 + x | g)"}
        assert len(self.fit(cache, frame, changed)) == 1

    def test_a_model_taken_from_its_file_shares_the_columns_of_the_data(
        self, tmp_path: Path, frame: pd.DataFrame
    ) -> None:
        self.fit(Cache(tmp_path, costly=0, large=1, room=0), frame, self.FORMULAS)
        same = """function(home) {
          model <- home$from_shelf("m_a")
          address <- function(x) .Internal(address(x))
          d <- home$analysis$d
          same <- function(name) identical(address(model@frame[[name]]), address(d[[name]]))
          refit <- lme4::refit(model, model@frame$y)
          c(vapply(names(model@frame), same, NA), deparse(formula(model)) == "y ~ x + (1 | g)",
            isTRUE(all.equal(lme4::fixef(refit), lme4::fixef(model))))
        }"""
        import rpy2.rinterface as ri

        assert list(ri.evalr(same)(session()._home)) == [True] * 5

    def test_a_changed_column_changes_its_models(self, tmp_path: Path, frame: pd.DataFrame) -> None:
        cache = Cache(tmp_path, costly=0)
        self.fit(cache, frame, self.FORMULAS)
        assert len(self.fit(cache, frame.assign(w=frame["w"] + 1), self.FORMULAS)) == 1
        assert len(self.fit(cache, frame.assign(x=frame["x"] + 1), self.FORMULAS)) == 2


@pytest.mark.r
def test_two_runs_at_once_share_a_cache(tmp_path: Path) -> None:
    """Both compute the same, at the same time, and each gives what a run alone gives."""
    alone = analyse(load(small_spec(tmp_path / "alone")), lambda *_: None)[0]
    code = "from mlmreport.cli import main; main()"
    places = [tmp_path / name for name in ("one", "two")]
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", code, "run", "--quiet", str(small_spec(place))],
            env={**os.environ, FOLDER_VARIABLE: str(tmp_path / "cache")},
        )
        for place in places
    ]
    assert [run.wait(timeout=300) for run in runs] == [0, 0]
    for place in places:
        text = (place / "report" / "results.json").read_text(encoding="utf-8")
        assert Results.from_json(text, "results.json").items == alone.items
    assert not list((tmp_path / "cache").rglob("*new-*"))
