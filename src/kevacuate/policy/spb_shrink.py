# SPDX-License-Identifier: GPL-2.0-or-later
"""``spb-shrink``: as ``spb-evacuation``, and slabs are shrunk when a tainted region is short of free memory.

What it does is modelled in :mod:`kevacuate.mm.region_shrink`; its page is docs/policies/spb-shrink.md.
"""

from __future__ import annotations

from dataclasses import replace

from kevacuate.measure.regions import region_changes
from kevacuate.measure.rows import LOWER, NEITHER, Row
from kevacuate.measure.table import REGIONS
from kevacuate.policy.kind import PolicyKind
from kevacuate.policy.knobs import Knob, count
from kevacuate.policy.spb import knobs
from kevacuate.policy.spb_evacuation import KNOBS as EVACUATION
from kevacuate.policy.spb_evacuation import SPB_EVACUATION


def priority(text: str) -> int:
    """A priority of reclaim: 0, all of it, to 12 (DEF_PRIORITY)."""
    if count(text) > 12:
        raise ValueError
    return count(text)


KNOBS: dict[str, Knob] = {
    **EVACUATION,
    "shrink-priority": Knob(
        priority,
        "a number from 0 to 12, default 4",
        "a run frees each 2**N-th slab of the node's tainted regions",
        "region_shrink_priority",
    ),
}

ROWS = tuple(
    Row(f"regions.shrink.{end}", f"{REGIONS}: shrinking", label, unit, region_changes(name), way)
    for end, label, unit, name, way in (
        ("runs", "runs of shrink works", "times", "region_shrinks", LOWER),
        ("pages", "pages of slabs freed", "pages", "region_shrunk_pages", NEITHER),
    )
)

SPB_SHRINK = PolicyKind(
    "spb-shrink",
    "as spb-evacuation, and slabs are shrunk where a tainted region is short of memory",
    knobs(KNOBS),
    rows=ROWS,
    regions=replace(SPB_EVACUATION.regions, region_shrink=True),
)
