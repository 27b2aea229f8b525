"""The definitions of r/definitions.R by dense matrices, direct likelihoods, other packages."""

from __future__ import annotations

from collections import defaultdict

import pytest
from support import run_r

pytestmark = pytest.mark.r


def test_every_definition_agrees_with_its_brute_force() -> None:
    found = defaultdict(list)
    for name, ours, other in run_r("brute_force.R", "definitions"):
        found[name].append((float(ours), float(other)))
    wrong = {
        name: pairs
        for name, pairs in found.items()
        if [a for a, _ in pairs] != pytest.approx([b for _, b in pairs], rel=1e-6, abs=1e-9)
    }
    assert not wrong
    assert len(found) >= 36  # 44 with the R package performance


def test_performance_gives_what_its_definition_gives_here() -> None:
    """Skipped where the R package is not installed; the report is the same with and without it."""
    pairs = {line[0]: line[1:] for line in run_r("performance.R", "definitions") if len(line) == 3}
    assert len(pairs) == 30
    for name, (ours, theirs) in pairs.items():
        assert (ours == "NA") == (theirs == "NA"), name
        if ours != "NA":
            assert float(ours) == pytest.approx(float(theirs), rel=1e-12, abs=1e-14), name
