"""No text of a spec, of data or of a house means anything to the document but itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from jinja2 import nodes

from mlmreport.report import document
from mlmreport.report.houses import find

TEMPLATES = Path(__file__).parents[2] / "templates"
BASE = find("base", Path.cwd())


def unmarked(node: nodes.Node) -> Iterator[nodes.Node]:
    """The parts of a printed expression by which a text could come that no filter has marked."""
    match node:
        case nodes.TemplateData() | nodes.Const() | nodes.Call():
            return
        case nodes.CondExpr():
            yield from unmarked(node.expr1)
            if node.expr2:
                yield from unmarked(node.expr2)
        case nodes.Concat():
            for part in node.nodes:
                yield from unmarked(part)
        case nodes.Filter() if node.name in document.FILTERS:
            return
        case nodes.Filter() if node.name in document.KEEPING and node.node:
            yield from unmarked(node.node)
        case nodes.Getattr(node=nodes.Name(name="loop"), attr="index"):
            return
        case _:
            yield node


@pytest.mark.parametrize("file", sorted(TEMPLATES.rglob("*.j2")), ids=lambda file: file.name)
def test_whatever_a_template_prints_says_how(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    tree = document._environment(BASE).parse(text)
    printed = [part for output in tree.find_all(nodes.Output) for part in output.nodes]
    found = [node for part in printed for node in unmarked(part)]
    assert [f"{node.lineno}: {node}" for node in found] == []
