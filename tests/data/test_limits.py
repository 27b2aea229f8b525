"""Small files that expand without end are refused before they are; large ordinary ones are read."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
from books import book, rows

from mlmreport.data import limits
from mlmreport.data.limits import Limit, Refused, expanded
from mlmreport.data.sources import DataSource, read
from mlmreport.errors import InputError, Location

SPEC = Location("analysis.yml", 3, 9, 4, "  file: d")
SMALL = Limit(free=1 << 20, ratio=100)


def refused(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read(DataSource(path, shown=path.name), None, SPEC)
    assert caught.value.problems[0].location == SPEC
    return str(caught.value)


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_compressed_files_are_expanded_as_far_as_the_limit(
    compress: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    path = tmp_path / "d.rds"
    noise = np.random.default_rng(1).bytes(5 << 18)
    path.write_bytes(compress(noise[: 1 << 20]) + compress(noise[1 << 20 :]))
    assert expanded(path, SMALL) == noise
    path.write_bytes(compress(bytes(900_000)))
    assert expanded(path, SMALL) == bytes(900_000)
    path.write_bytes(compress(bytes(20 << 20)))
    with pytest.raises(Refused, match="expands to more than"):
        expanded(path, SMALL)
    path.write_bytes(compress(noise)[:-100])
    with pytest.raises(Refused, match="cut off or damaged"):
        expanded(path, SMALL)


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_a_bomb_of_an_rds_file_is_located(
    compress: Callable[[bytes], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits.expanded, "__defaults__", (SMALL,))
    (tmp_path / "d.rds").write_bytes(compress(bytes(20 << 20)))
    said = refused(tmp_path / "d.rds")
    assert "d.rds has" in said
    assert "and expands to more than" in said


def test_the_limits_are_those_of_the_page() -> None:
    assert (limits.TABLES.free, limits.TABLES.ratio) == (512 << 20, 100)
    assert (limits.SHEETS.free, limits.SHEETS.ratio) == (64 << 20, 400)
    limits.TABLES.require(20 * 8 * 1_000_000, 1)  # a million rows of twenty constants
    limits.TABLES.require(15 << 30, 1 << 30)
    with pytest.raises(Refused):
        limits.TABLES.require(17 << 30, 1 << 30)


@pytest.mark.parametrize("part", ["xl/worksheets/sheet1.xml", "xl/shared.xml", "xl/media/a.png"])
def test_a_bomb_of_a_workbook_is_located(part: str, tmp_path: Path) -> None:
    path = book(tmp_path / "d.xlsx", rows([["y"], [1]]), more={part: bytes(80 << 20)})
    assert "and expands to more than 64 MiB" in refused(path)


def test_a_workbook_may_not_say_less_than_it_holds(tmp_path: Path) -> None:
    path = book(tmp_path / "d.xlsx", rows([["y"], *([i] for i in range(5000))]))
    data = path.read_bytes()
    size = len(b"".join(_part(path)))
    path.write_bytes(data.replace(size.to_bytes(4, "little"), (99).to_bytes(4, "little")))
    assert "cannot be read as an Excel workbook" in refused(path)


def _part(path: Path) -> list[bytes]:
    import zipfile

    with zipfile.ZipFile(path) as archive:
        return [archive.read("xl/worksheets/sheet1.xml")]


def test_entities_of_a_workbook_are_refused(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE a [<!ENTITY b "bbbb">]><worksheet/>'
    path = book(tmp_path / "d.xlsx", rows([["y"], [1]]), more={"xl/worksheets/sheet1.xml": bomb})
    assert "XML entities" in refused(path)


def test_a_sheet_of_constants_is_no_bomb() -> None:
    """The XML of a sheet that compresses best, a hundred thousand rows of it."""
    row = b"<row>" + b"<c><v>1</v></c>" * 20 + b"</row>"
    sheet = row * 250_000
    assert len(sheet) > limits.SHEETS.free
    limits.SHEETS.require(len(sheet), len(zlib.compress(sheet, 9)))


def test_a_run_of_numbers_in_an_rds_file_is_limited(tmp_path: Path) -> None:
    """R writes 1:n as three numbers."""
    run = (
        b"X\n\0\0\0\3\0\4\2\2\0\3\5\0\0\0\0\5UTF-8\0\0\0\xee\0\0\0\2\0\0\0\1\0\4\0\x09"
        b"\0\0\0\x0ecompact_intseq\0\0\0\2\0\0\0\1\0\4\0\x09\0\0\0\4base\0\0\0\2\0\0\0\r"
        b"\0\0\0\1\0\0\0\r\0\0\0\xfe\0\0\0\x0e\0\0\0\3"
        + np.array([1e12, 1, 1], ">f8").tobytes()
        + b"\0\0\0\xfe"
    )
    (tmp_path / "d.rds").write_bytes(run)
    assert "expands to more than" in refused(tmp_path / "d.rds")


def test_absurd_row_counts_and_long_texts_of_parquet(tmp_path: Path) -> None:
    nothing = pa.nulls(7_000_000, pa.int8())
    table = pa.table({f"x{i}": nothing for i in range(10)})
    pyarrow.parquet.write_table(table, tmp_path / "d.parquet", compression="zstd")
    assert "expands to more than" in refused(tmp_path / "d.parquet")
    plain = pa.schema([("t", pa.string())])
    with pyarrow.parquet.ParquetWriter(tmp_path / "e.parquet", plain) as writer:
        for _ in range(6):
            writer.write_table(pa.table({"t": ["x" * 100_000] * 1000}, schema=plain))
    assert "expands to more than" in refused(tmp_path / "e.parquet")


def test_a_million_rows_of_constants_are_read(tmp_path: Path) -> None:
    columns = {f"x{i}": np.ones(1_000_000) for i in range(20)}
    table = pa.table({**columns, "t": pa.array(["same"] * 1_000_000)})
    pyarrow.parquet.write_table(table, tmp_path / "d.parquet")
    pyarrow.feather.write_feather(table, tmp_path / "d.feather", compression="zstd")
    for name in ("d.parquet", "d.feather"):
        found = read(DataSource(tmp_path / name, shown=name)).frame
        assert found.shape == (1_000_000, 21)
        assert set(found["t"].unique()) == {"same"}
