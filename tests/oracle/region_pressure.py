# SPDX-License-Identifier: GPL-2.0-or-later
"""When the oracle's shrink works are queued."""

from __future__ import annotations

from .constants import MOVABLE
from .machine import Machine
from .regions import look, spans
from .zone import Zone


def wake(m: Machine, zone: Zone, pfn: int, mt: int) -> None:
    """A page of this type was taken from a region."""
    if not m.config.region_shrink or mt == MOVABLE:
        return
    region = look(m, zone, *next(span for span in spans(m, zone) if span[0] <= pfn < span[1]))
    kept = max(m.config.region_reserve_least, region.total * m.config.region_reserve_percent // 100)
    work = m.shrinks[zone.node]
    if region.tainted and region.free_pages < kept * m.block_pages and work.due < 0 and m.now >= work.busy:
        work.due = m.now + m.config.wakeup_ns * m.config.time_scale
