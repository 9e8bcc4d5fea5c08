# SPDX-License-Identifier: GPL-2.0-or-later
"""When slabs are shrunk for a region's sake: one that is tainted has less free memory than its reserve would be.

Models "1GB superpageblock memory allocation" (45 patches of 2026-04-30), number 32. What the work does: :mod:`.region_shrink`.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.fields import View
from kevacuate.mm.region_lists import kept_for_unmovable


@part(cold=True)
def wake_region_shrinker(s: View, number: int) -> None:
    """A region has served a request that is not movable: queue its node's shrink work if free pages are few, unless it is queued.

    Single flight: nor while it runs. Few are fewer than as many pageblocks have as the region keeps from movable requests.
    """
    region = s.region[number]
    pgdat = s.node[s.zone[region.zone].node]
    few = region.nr_free_pages < kept_for_unmovable(s, number) << s.cfg.pageblock_order
    if region.tainted and few and pgdat.shrink_due == k.NEVER and s.stat.now >= pgdat.shrink_busy:
        pgdat.shrink_due = s.stat.now + s.cfg.wakeup_ns * s.cfg.time_scale
        s.stat.next_due = min(s.stat.next_due, pgdat.shrink_due)
