"""Small tables with hostile ids and categories, in every format: what is told apart stays apart."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pyreadstat
import pytest
import rdata
from fuzz.examples import at_most, tried
from hypothesis import assume, given
from hypothesis import strategies as st

from mlmreport.data.prepare import PreparedData, prepare
from mlmreport.data.sources import MISSING
from mlmreport.errors import InputError
from mlmreport.spec.reader import parse
from mlmreport.spec.sequence import plan

SPEC = """\
title: T
data: {file: d.csv}
levels: [{name: pupil}, {name: school, id: g}]
outcome: {name: y}
predictors: {k: {level: pupil, type: category}}
models: {stepwise: {}}
"""

# --- hostile texts ----------------------------------------------------------------------------

ALPHABET = "0123456789.eE+-_ NAanifTRUEtrue,;\t\n|'\"#\\/é\u0301\u200b\u00a0\u212bﬁ%<>&=(日"
KNOWN = [
    "1", "1.0", "1.00", "+1", "01", " 1", "1 ", "1e0", "10", "1E1", "1.1", "1.10", "12E3", "12000",
    "-0", "0", "0.0", "1e400", "1e401", "1e-400", "inf", "Inf", "-inf", "nan", "NAN", "Nan", "NULL",
    "None", "#N/A", "n/a", "na", "TRUE", "True", "true", "T", "FALSE", "1_000", "0x1A", "0x1a",
    "9007199254740993", "9007199254740992", "0.1234567890123456789", "0.1234567890123456788",
    "\u00e9", "e\u0301", "E\u0301", "a", "A", "a ", "a  b", "a b", "a\u00a0b", "a\u200bb", "ab",
    "=1", "2020-01-01", "2020-01-01 00:00:00", "1,5", "'", '"', '""', "x\ny", "<a>",
    "&amp;", "_x0041_",
]  # fmt: skip


def usable(text: str) -> bool:
    """Not missing, and not empty, which is refused."""
    return text not in MISSING and bool(text.strip())


texts = st.one_of(st.sampled_from(KNOWN), st.text(ALPHABET, min_size=1, max_size=6)).filter(usable)


@dataclass(frozen=True)
class Table:
    """The columns of a table, as texts."""

    ids: list[str]
    kinds: list[str]

    @property
    def outcome(self) -> list[float]:
        """Differs from row to row."""
        return [float(i * i % 17) + i / 8 for i in range(len(self.ids))]


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """Two to six groups of two rows or more, in any order, and two or three categories."""
    groups = draw(st.lists(texts, min_size=2, max_size=6, unique=True))
    ids = draw(st.permutations(groups + groups + groups[:1] + groups[:2]))
    kinds = draw(st.lists(texts, min_size=2, max_size=3, unique=True))
    turns = [ids[:i].count(text) for i, text in enumerate(ids)]
    return Table(ids, [kinds[turn % len(kinds)] for turn in turns])


# --- writers: each program's own, or by hand ----------------------------------------------------


def by_hand(separator: str) -> Callable[[Path, dict[str, list]], None]:
    def write(path: Path, columns: dict[str, list]) -> None:
        text = io.StringIO()
        writer = csv.writer(text, delimiter=separator, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
        path.write_bytes(text.getvalue().encode())

    return write


SHEET = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
PARTS = {
    "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/'
    'content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.'
    'relationships+xml"/><Override PartName="/xl/workbook.xml" ContentType="application/vnd.'
    'openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/><Override PartName="/xl/s.xml" '
    'ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/>'
    "</Types>",
    "_rels/.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/'
    'relationships"><Relationship Id="r1" Type="http://schemas.openxmlformats.org/officeDocument/'
    '2006/relationships/officeDocument" Target="xl/workbook.xml"/></Relationships>',
    "xl/workbook.xml": f'<workbook xmlns="{SHEET}" xmlns:r="http://schemas.openxmlformats.org/'
    'officeDocument/2006/relationships"><sheets><sheet name="S" sheetId="1" r:id="r1"/></sheets>'
    "</workbook>",
    "xl/_rels/workbook.xml.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/'
    '2006/relationships"><Relationship Id="r1" Type="http://schemas.openxmlformats.org/'
    'officeDocument/2006/relationships/worksheet" Target="s.xml"/></Relationships>',
}


def xlsx(path: Path, columns: dict[str, list]) -> None:
    def cell(value: object) -> str:
        if isinstance(value, str):
            return f'<c t="inlineStr"><is><t xml:space="preserve">{escape(value)}</t></is></c>'
        return f"<c><v>{value!r}</v></c>"

    rows = [list(columns), *zip(*columns.values(), strict=True)]
    body = "".join("<row>" + "".join(map(cell, row)) + "</row>" for row in rows)
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in PARTS.items():
            archive.writestr(name, text)
        sheet = f'<worksheet xmlns="{SHEET}"><sheetData>{body}</sheetData></worksheet>'
        archive.writestr("xl/s.xml", sheet)


def rds(path: Path, columns: dict[str, list]) -> None:
    as_objects = {
        n: pd.array(v, dtype="string[python]") if n != "y" else v for n, v in columns.items()
    }
    rdata.write_rds(path, pd.DataFrame(as_objects))


def coded(columns: dict[str, list]) -> pa.Table:
    """Texts as codes of texts, as data frames of categoricals are stored."""
    table = pa.table(columns)
    return table.set_column(0, "g", table.column("g").dictionary_encode())


WRITERS: dict[str, Callable[[Path, dict[str, list]], None]] = {
    "d.csv": by_hand(","),
    "d.tsv": by_hand("\t"),
    "d.xlsx": xlsx,
    "d.parquet": lambda path, columns: pyarrow.parquet.write_table(pa.table(columns), path),
    "d.feather": lambda path, columns: pyarrow.feather.write_feather(coded(columns), path),
    "d.rds": rds,
}


# --- what holds ---------------------------------------------------------------------------------


def prepared(folder: Path, text: str) -> PreparedData:
    document = parse(text, folder / "a.yml")
    return prepare(document, plan(document))


def one_to_one(written: list[str], read: pd.Series) -> bool:
    """Whether equal texts have equal categories, and different texts different ones."""
    pairs = set(zip(written, read, strict=True))
    return len(pairs) == len(set(written)) == read.nunique()


@tried()
def test_groups_and_categories_are_those_of_the_file(examples: int, tmp_path: Path) -> None:
    @at_most(examples)
    @given(tables(), st.sampled_from(list(WRITERS)))
    def holds(table: Table, name: str) -> None:
        columns = {"g": table.ids, "k": table.kinds, "y": table.outcome}
        WRITERS[name](tmp_path / name, columns)
        found = prepared(tmp_path, SPEC.replace("d.csv", name))
        assert found.rows_read == len(found.frame) == len(table.ids)
        assert one_to_one(table.ids, found.frame["g"])
        assert one_to_one(table.kinds, found.frame["k"])
        assert found.frame["y"].tolist() == table.outcome

    holds()


JOINED = SPEC.replace("{file: d.csv}", "{file: LOWER, join: [{file: UPPER, by: g}]}").replace(
    "{k: {level: pupil, type: category}}", "{size: {level: school}}"
)


@tried(share=0.3)
def test_a_join_gives_each_row_the_values_of_its_own_unit(examples: int, tmp_path: Path) -> None:
    @at_most(examples)
    @given(
        tables(),
        st.lists(texts, max_size=3),
        st.sampled_from(["d.csv", "d.xlsx", "d.parquet"]),
        st.sampled_from(["d.tsv", "d.feather", "d.rds", "d.xlsx"]),
    )
    def holds(table: Table, more: list[str], lower: str, upper: str) -> None:
        units = list(dict.fromkeys([*more, *table.ids]))
        sizes = {unit: float(i) for i, unit in enumerate(units)}
        WRITERS[lower](tmp_path / lower, {"g": table.ids, "y": table.outcome})
        higher = f"upper_{upper}"
        WRITERS[upper](tmp_path / higher, {"g": units, "size": list(sizes.values())})
        text, said = JOINED.replace("LOWER", lower).replace("UPPER", higher), ""
        expected = [sizes[unit] for unit in table.ids]
        try:
            expected = prepared(tmp_path, text).frame["size"].tolist()
        except InputError as error:
            said = str(error)
        assert not said or "have no row in" in said  # 1.0 for 1 in one of the tables
        assert expected == [sizes[unit] for unit in table.ids]

    holds()


@tried(share=0.005)
@pytest.mark.parametrize("name", ["d.sav", "d.dta"])
def test_statistics_programs_files(examples: int, name: str, tmp_path: Path) -> None:
    @at_most(examples)
    @given(tables())
    def holds(table: Table) -> None:
        # These formats fill texts up with spaces, so that the last ones mean nothing.
        ids, kinds = ([text.rstrip(" ") for text in column] for column in (table.ids, table.kinds))
        assume(len(set(ids)) == len(set(table.ids)) and len(set(kinds)) == len(set(table.kinds)))
        frame = pd.DataFrame({"g": ids, "k": kinds, "y": table.outcome})
        if name == "d.sav":
            pyreadstat.write_sav(frame, tmp_path / name)
        else:
            pyreadstat.write_dta(frame, tmp_path / name)
        found = prepared(tmp_path, SPEC.replace("d.csv", name))
        assert len(found.frame) == len(ids)
        assert one_to_one(ids, found.frame["g"])
        assert one_to_one(kinds, found.frame["k"])

    holds()
