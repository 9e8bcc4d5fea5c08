# SPDX-License-Identifier: GPL-2.0-or-later
"""``spb-worker``: as ``spb-cheap-fallback``, and a worker of each tainted region keeps pageblocks of it free by evacuation.

What it does is modelled in :mod:`kevacuate.mm.region_worker`; its page is docs/policies/spb-worker.md.
"""

from __future__ import annotations

from dataclasses import replace

from kevacuate.measure.regions import region_changes
from kevacuate.measure.rows import LOWER, NEITHER, Row
from kevacuate.measure.table import REGIONS
from kevacuate.policy.evacuate import KNOBS as EVACUATION
from kevacuate.policy.kind import PolicyKind
from kevacuate.policy.knobs import COMMON, MOST, Knob, count
from kevacuate.policy.settings import SETTINGS
from kevacuate.policy.spb import PASSES, knobs
from kevacuate.policy.spb_cheap_fallback import SPB_CHEAP_FALLBACK

_BLOCKS = f"a number from 0 to {MOST}, default"

KNOBS: dict[str, Knob] = {
    **PASSES,
    "start-blocks": Knob(
        count,
        f"{_BLOCKS} 1",
        "free pageblocks of a tainted region with which its worker begins",
        "region_start_blocks",
    ),
    "start-pages": Knob(
        count,
        f"{_BLOCKS} 2",
        "with fewer free pages than so many pageblocks have it begins too",
        "region_start_pages",
    ),
    "stop-blocks": Knob(
        count, f"{_BLOCKS} 2", "free pageblocks with which it has done enough", "region_stop_blocks"
    ),
    "stop-pages": Knob(
        count,
        f"{_BLOCKS} 3",
        "with the free pages of so many pageblocks it has done enough too",
        "region_stop_pages",
    ),
    "cooldown-ms": Knob(
        lambda text: count(text) * 1_000_000,
        f"{_BLOCKS} 5000",
        "how long a region is left alone after work that led to nothing, in ms of virtual time",
        "region_cooldown_ns",
    ),
    **{name: knob for name, knob in EVACUATION.items() if name not in {**COMMON, **SETTINGS}},
}


ROWS = (
    Row(
        "regions.worker.began",
        f"{REGIONS}: workers",
        "began",
        "times",
        region_changes("region_works"),
        NEITHER,
    ),
    Row(
        "regions.worker.rested",
        f"{REGIONS}: workers",
        "had nothing to do, or did nothing",
        "times",
        region_changes("region_rests"),
        LOWER,
    ),
)

SPB_WORKER = PolicyKind(
    "spb-worker",
    "as spb-cheap-fallback, and workers evacuate pageblocks of tainted regions",
    knobs(KNOBS),
    rows=ROWS,
    regions=replace(SPB_CHEAP_FALLBACK.regions, region_worker=True),
)
