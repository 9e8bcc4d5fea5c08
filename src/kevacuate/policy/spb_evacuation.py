# SPDX-License-Identifier: GPL-2.0-or-later
"""``spb-evacuation``: as ``spb-worker``, and requests make room in tainted regions before they may fall back.

What it does is modelled in :mod:`kevacuate.mm.region_evacuate`; its page is docs/policies/spb-evacuation.md.
"""

from __future__ import annotations

from dataclasses import replace

from kevacuate.measure.regions import region_changes
from kevacuate.measure.rows import LOWER, NEITHER, Row
from kevacuate.measure.table import REGIONS
from kevacuate.policy.kind import PolicyKind
from kevacuate.policy.knobs import Knob
from kevacuate.policy.spb import entries, knobs
from kevacuate.policy.spb_worker import KNOBS as WORKER
from kevacuate.policy.spb_worker import SPB_WORKER

KNOBS: dict[str, Knob] = {
    **WORKER,
    "evacuate-blocks": Knob(
        entries,
        "a number from 0 to 4096, default 8",
        "pageblocks that a request evacuates at most before it falls back",
        "region_evacuate_blocks",
    ),
}

ROWS = tuple(
    Row(
        f"regions.evacuation.{end}", f"{REGIONS}: targeted evacuation", label, unit, region_changes(name), way
    )
    for end, label, unit, name, way in (
        ("requests", "requests that evacuated", "requests", "region_evacuations", LOWER),
        ("served", "of those, that made room", "requests", "region_evacuations_served", NEITHER),
        ("blocks", "pageblocks evacuated", "blocks", "region_evacuated_blocks", LOWER),
        ("pages", "pages moved", "pages", "region_evacuated_pages", LOWER),
        ("ms", "time of requests (virtual)", "ms", "region_evacuation_ms", LOWER),
    )
)

SPB_EVACUATION = PolicyKind(
    "spb-evacuation",
    "as spb-worker, and requests evacuate tainted regions before they fall back",
    knobs(KNOBS),
    rows=ROWS,
    regions=replace(SPB_WORKER.regions, region_nofragment_kept=True, region_evacuate=True),
)
