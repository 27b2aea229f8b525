"""What is kept between runs, and that nothing wrong is ever taken from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support import small_spec

from mlmreport import workflow
from mlmreport.analysis import analyse
from mlmreport.cache import Cache
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
        import os

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

    def test_models_that_leave_memory_change_nothing(self, place: Path, told: Told) -> None:
        document = load(small_spec(place))

        def results(cache: Cache | None) -> str:
            return analyse(document, lambda *_: None, cache)[0].to_json()

        shelved = Cache(place / "shelved", costly=0, large=1, room=0)
        assert results(shelved) == results(None)
