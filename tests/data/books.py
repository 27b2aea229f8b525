"""Workbooks written by hand, part by part, as other programs write them."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
TYPES = "application/vnd.openxmlformats-officedocument.spreadsheetml"

SHEET_PART = "xl/worksheets/sheet1.xml"


def book(
    path: Path,
    data: str,
    *,
    before: str = "",
    after: str = "",
    shared: str = "",
    styles: str = "",
    workbook: str = "",
    more: Mapping[str, str | bytes] | None = None,
) -> Path:
    """Write a workbook of one sheet, 'Data'.

    `data` are its rows; `before` and `after` stand around them in the sheet, `shared` are shared
    strings, `styles` cell formats, `workbook` what follows in the workbook, `more` further parts.
    """
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{PACKAGE}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.'
        'relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{TYPES}.sheet.main+xml"/>'
        f'<Override PartName="/{SHEET_PART}" ContentType="{TYPES}.worksheet+xml"/>'
        f'<Override PartName="/xl/shared.xml" ContentType="{TYPES}.sharedStrings+xml"/>'
        f'<Override PartName="/xl/styles.xml" ContentType="{TYPES}.styles+xml"/></Types>',
        "_rels/.rels": _related(("officeDocument", "xl/workbook.xml")),
        "xl/workbook.xml": f'<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}">'
        f"{workbook if workbook.startswith('<workbookPr') else ''}"
        '<sheets><sheet name="Data" sheetId="1" r:id="r1"/></sheets>'
        f"{workbook if not workbook.startswith('<workbookPr') else ''}</workbook>",
        "xl/_rels/workbook.xml.rels": _related(
            ("worksheet", "worksheets/sheet1.xml"),
            ("sharedStrings", "shared.xml"),
            ("styles", "styles.xml"),
        ),
        "xl/shared.xml": f'<sst xmlns="{MAIN}">{shared}</sst>',
        "xl/styles.xml": _styles(styles),
        SHEET_PART: f'<worksheet xmlns="{MAIN}">{before}<sheetData>{data}</sheetData>{after}'
        "</worksheet>",
        **(more or {}),
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return path


def _related(*targets: tuple[str, str]) -> str:
    rows = "".join(
        f'<Relationship Id="r{i}" Type="{OFFICE}/{kind}" Target="{target}"/>'
        for i, (kind, target) in enumerate(targets, start=1)
    )
    return f'<Relationships xmlns="{PACKAGE}/relationships">{rows}</Relationships>'


def _styles(formats: str) -> str:
    return (
        f'<styleSheet xmlns="{MAIN}"><fonts><font/></fonts><fills><fill><patternFill/>'
        '</fill></fills><borders><border/></borders><cellStyleXfs><xf numFmtId="0"/></cellStyleXfs>'
        f'<cellXfs><xf numFmtId="0"/>{formats}</cellXfs></styleSheet>'
    )


def rows(table: list[list[object]]) -> str:
    """Rows of numbers and inline texts, with their places; None leaves a cell out."""
    return "".join(
        f'<row r="{r}">{"".join(_cell(v, f"{chr(64 + c)}{r}") for c, v in enumerate(row, 1))}</row>'
        for r, row in enumerate(table, start=1)
    )


def _cell(value: object, place: str) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return f'<c r="{place}" t="inlineStr"><is><t>{value}</t></is></c>'
    return f'<c r="{place}"><v>{value}</v></c>'
