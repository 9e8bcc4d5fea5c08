# SPDX-License-Identifier: GPL-2.0-or-later
"""The oracle's shrink works: slabs of tainted regions, when one of them is short of free memory."""

from __future__ import annotations

from .constants import RECLAIMABLE
from .machine import Machine
from .page_alloc import free_chunk
from .policy_work import SHRUNK, slabs
from .region_passes import region_at
from .regions import block_content
from .unmovable import unmovable_freed


def run(m: Machine, node: int) -> None:
    """The work of a node."""
    work = m.shrinks[node]
    work.due = -1
    m.cpu = m.kswapds[node].cpu
    m.reached["slabs shrunk for a region"] += 1
    here = [
        page
        for page in slabs(m, node)
        if region_at(m, m.zone_of(page.pfn), page.pfn).tainted
        and block_content(m, page.pfn - page.pfn % m.block_pages)[RECLAIMABLE]
    ]
    step = 1 << m.config.region_shrink_priority
    freed = 0
    for page in here[step - 1 :: step]:
        pfn, order = page.pfn, page.order
        m.obj_pfn[page.obj] = SHRUNK
        freed += page.size
        free_chunk(m, page)
        unmovable_freed(m, pfn, order)
    m.events["region_shrunk_pages"] += freed
    work.cpu_ns += freed * m.config.reclaim_ns
    work.busy = m.now + freed * m.config.reclaim_ns * m.config.time_scale
