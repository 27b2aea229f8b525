"""What a Word file may hold: text, styles, pictures and links; no field, part or link that acts."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from mlmreport.report.page import link_allowed
from mlmreport.report.sheets import Refusal, words

__all__ = ["in_file"]

LARGEST = 300_000_000
MOST_PARTS = 2000
FIELDS = words(
    """AUTHOR DATE HYPERLINK NOTEREF NUMPAGES PAGE PAGEREF REF SECTION SECTIONPAGES SEQ
    STYLEREF TITLE TOC XE"""
)
RELATIONSHIPS = words(
    """comments commentsExtended commentsExtensible commentsIds core-properties
    custom-properties customXml customXmlProps endnotes extended-properties font fontTable
    footer footnotes header hyperlink image numbering officeDocument people settings styles
    stylesWithEffects theme thumbnail webSettings"""
)
_PARTS = re.compile(r".*\.(?:xml|rels|png|jpe?g|gif|svg|odttf)|\[Content_Types\]\.xml", re.I)
_ELEMENTS = re.compile(
    rb"<(?:[\w.-]+:)?(altChunk|attachedTemplate|control|dataSource|frameset|mailMerge|movie|object|OLEObject|"
    rb"recipientData|saveThroughXslt|subDoc|src|sourceFileName|webVideoPr|script|contentPart)\b|"
    rb"(<!DOCTYPE|<!ENTITY)"
)
_PROGRAMS = re.compile(rb"(macroEnabled|vbaProject|activeX|oleObject)")
_FOREIGN_TEXT = re.compile(rb"^(?:\xff\xfe|\xfe\xff)|encoding\s*=\s*[\"'](?!utf-8|us-ascii)", re.I)
_WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"


def in_file(file: Path) -> list[Refusal]:
    """What a Word file holds that it may not.

    Parameters
    ----------
    file
        A docx, made by us or given as a reference.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            parts = archive.infolist()
            if len(parts) > MOST_PARTS or sum(part.file_size for part in parts) > LARGEST:
                return [Refusal("more than a Word file of styles needs")]
            return [found for part in parts for found in _in_part(part.filename, archive)]
    except (zipfile.BadZipFile, ElementTree.ParseError, OSError, NotImplementedError) as error:
        return [Refusal(f"something that is no Word file ({error})")]


def _in_part(name: str, archive: zipfile.ZipFile) -> Iterator[Refusal]:
    if name.endswith("/"):
        return
    if not _PARTS.fullmatch(name):
        yield Refusal(f"the part '{name}'", name)
        return
    if not name.lower().endswith((".xml", ".rels")):
        return
    content = archive.read(name)
    if _FOREIGN_TEXT.search(content[:200]) or b"\0" in content:
        yield Refusal(f"the part '{name}', which is not UTF-8", name)
    elif found := (_PROGRAMS if name == "[Content_Types].xml" else _ELEMENTS).search(content):
        word = next(group for group in found.groups() if group).decode()
        yield Refusal(f"'{word}' in the part '{name}'", word)
    elif name.endswith(".rels"):
        yield from _relationships(content)
    elif b"instr" in content:
        yield from _fields(content)


def _relationships(content: bytes) -> Iterator[Refusal]:
    for element in ElementTree.fromstring(content):
        kind = element.get("Type", "").rpartition("/")[2]
        target, mode = element.get("Target", ""), element.get("TargetMode", "Internal")
        linked = kind == "hyperlink" and link_allowed(target)
        if kind not in RELATIONSHIPS or (mode != "Internal" and not linked):
            yield Refusal(f"a relationship of the kind '{kind}' to '{target[:60]}'", target)


def _fields(content: bytes) -> Iterator[Refusal]:
    """Fields by their instructions, which may be spread over several runs."""
    instructions = [""]
    for element in ElementTree.fromstring(content).iter():
        if element.tag == f"{_WORD}fldSimple":
            yield from _field(element.get(f"{_WORD}instr", ""))
        elif element.tag == f"{_WORD}instrText":
            instructions[-1] += element.text or ""
        elif element.tag == f"{_WORD}fldChar":
            kind = element.get(f"{_WORD}fldCharType")
            if kind == "begin":
                instructions.append("")
            elif len(instructions) > 1:
                yield from _field(instructions[-1])
                instructions[-1] = ""
                if kind == "end":
                    instructions.pop()
    for instruction in instructions:
        yield from _field(instruction)


def _field(instruction: str) -> Iterator[Refusal]:
    words = instruction.split()
    if not words:
        return
    addresses = re.findall(r'"([^"]*)"', instruction) if words[0] == "HYPERLINK" else []
    within = r"\l" in words
    if words[0] not in FIELDS or not (within or all(map(link_allowed, addresses))):
        yield Refusal(f"the field '{instruction.strip()[:60]}'", words[0])
