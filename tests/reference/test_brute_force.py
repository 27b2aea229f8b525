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
    assert len(found) > 40
