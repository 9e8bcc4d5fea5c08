# SPDX-License-Identifier: GPL-2.0-or-later
"""The 6.1 profile against Debian's own kernel, unpatched: from the exact lists of a dump, by kprobes (docs/vmcore.md)."""

from pathlib import Path

import pytest

from kevacuate.fidelity.verify import verify

DATA = Path(__file__).parents[1] / "data/debian-6.1"


@pytest.mark.parametrize(
    ("name", "decisions"), [("both", {"buddy": 3332, "pcp": 4092}), ("buddy", {"buddy": 12644})]
)
def test_every_decision_is_debians(name: str, decisions: dict[str, int]) -> None:
    result = verify(DATA / f"{name}.kev", tuple(decisions))
    assert result.kernel.startswith("6.1.0-56")
    assert {level: found.decisions for level, found in result.levels.items()} == decisions
    assert [found.mismatches for found in result.levels.values()] == [0] * len(decisions)
