"""How much a compressed file may hold, so that a small one cannot fill the memory.

==================  ==========================  =====================================
format              always read up to           beyond that
==================  ==========================  =====================================
.rds, .parquet,     512 MiB expanded            100 times the size of the file, and
.feather            (20 million numbers: 160)   never more than 16 GiB
.xlsx, .xlsm        64 MiB of XML               400 times the size of the file, and
                                                never more than 16 GiB
==================  ==========================  =====================================

What stands in headers is not trusted: an .rds file and a workbook are expanded piece by piece and
counted. Of Parquet files the rows times the columns that are used count, and their longest texts.
"""

from __future__ import annotations

import bz2
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["SHEETS", "TABLES", "Limit", "Refused", "expanded", "require_modest_archive"]

_PIECE = 1 << 20


class Refused(Exception):
    """What a file holds cannot be used; the caller knows where the file is named.

    Parameters
    ----------
    message
        What is wrong. ``{file}`` stands for the name of the file.
    hint
        What to do about it.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Limit:
    """Bytes that are read in any case, times the size of the file beyond, and bytes at most."""

    free: int
    ratio: int
    most: int = 16 << 30

    def require(self, size: int, stored: int) -> None:
        """Refuse a file of `stored` bytes that expands to `size` bytes or more.

        Raises
        ------
        Refused
            It is too much.
        """
        if size <= self.free or size <= min(self.ratio * stored, self.most):
            return
        raise Refused(
            f"{{file}} has {stored:,} bytes and expands to more than {_shown(size)}",
            "a file like this would fill the memory: write the data as .csv, or in parts",
        )


TABLES = Limit(512 << 20, 100)
"""Of .rds, Parquet and Feather files."""

SHEETS = Limit(64 << 20, 400)
"""Of workbooks; the XML of a column of constants compresses 15 to 250 times."""


def _shown(size: int) -> str:
    return f"{size / (1 << 30):,.1f} GiB" if size >= 1 << 30 else f"{size >> 20:,} MiB"


# ---------------------------------------------------------------- gzip, bzip2, xz


def expanded(path: Path, limit: Limit = TABLES) -> bytes:
    """The content of a file that may be compressed by gzip, bzip2 or xz.

    Raises
    ------
    Refused
        It expands to more than the limit allows, or it is damaged.
    """
    data = path.read_bytes()
    pieces, size = [], 0
    for piece in _pieces(data):
        size += len(piece)
        limit.require(size, len(data))
        pieces.append(piece)
    return b"".join(pieces)


def _pieces(data: bytes) -> Iterator[bytes]:
    """The expanded content, a piece at a time; several compressed streams may follow another."""
    while data:
        stream = _stream(data)
        if stream is None:
            yield data
            return
        yield from _of_stream(stream, data)
        data = _rest(stream)


def _stream(data: bytes) -> Any:
    """What expands one compressed stream; None where the data are not compressed."""
    if data.startswith(b"\x1f\x8b"):
        return _Gzip()
    if data.startswith(b"BZh"):
        return bz2.BZ2Decompressor()
    if data.startswith(b"\xfd7zXZ"):
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=1 << 30)
    return None


def _of_stream(stream: Any, data: bytes) -> Iterator[bytes]:
    yield stream.decompress(data, _PIECE)
    while not stream.eof:
        piece = stream.decompress(b"", _PIECE)
        if not piece and not stream.eof:
            raise Refused("{file} is cut off or damaged: its compressed data end too early")
        yield piece


def _rest(stream: Any) -> bytes:
    """What follows a stream; zero bytes fill up a block and mean nothing."""
    return bytes(stream.unused_data).lstrip(b"\0")


class _Gzip:
    """zlib's decompressor with the interface of those of bz2 and lzma."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)

    def decompress(self, data: bytes, most: int) -> bytes:
        return self._inner.decompress(data or self._inner.unconsumed_tail, most)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data


# ---------------------------------------------------------------- zip archives


def require_modest_archive(path: Path, limit: Limit = SHEETS) -> None:
    """Expand the parts of a zip archive, keeping nothing, and count.

    Raises
    ------
    Refused
        They are more than the limit allows.
    """
    stored, size = path.stat().st_size, 0
    with zipfile.ZipFile(path) as archive:
        for part in archive.infolist():
            if part.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
                raise Refused("{file} is compressed in a way that no workbook is")
            with archive.open(part) as file:
                while piece := file.read(_PIECE):
                    size += len(piece)
                    limit.require(size, stored)
                    if b"<!DOCTYPE" in piece or b"<!ENTITY" in piece:
                        raise Refused("{file} defines XML entities, which no workbook needs")
