# SPDX-License-Identifier: GPL-2.0-or-later
"""Who reclaims: tasks whose frees of page cache are the recorded kernel's reclaim, not the workload's.

* kswapd is a task that emits a kswapd or balance_pgdat event (mm/vmscan.c: kswapd, balance_pgdat); it is one for good.
* A task reclaims between its mm_vmscan_direct_reclaim_begin and _end (try_to_free_pages), be it the workload's or khugepaged.
* A task that evacuates a pageblock reclaims clean page cache before it migrates (reclaim_clean_pages_from_list):
  :mod:`.migrations` knows it.

Slab pages that shrink_slab frees in the same context are not page cache: they stay frees, the shrinkers' recorded yield. So do
anonymous pages, whose way back from swap no event names, and what a task asks for itself (MADV_PAGEOUT, memory.reclaim).
"""

from __future__ import annotations

from kevacuate.demand.objects import G_RECLAIMERS, Q, Tables, i64
from kevacuate.jit import part

RECLAIMERS = 64
"""Most tasks that reclaim at one time; what others free then counts as the workload's."""

_Q_SEEN = Q["reclaimers_seen"]


@part
def is_reclaimer(s: Tables, pid: int) -> bool:
    """Whether the task is reclaiming."""
    for i in range(i64(s.g[G_RECLAIMERS])):
        if i64(s.reclaimers[i]) == pid:
            return True
    return False


@part
def reclaim_begins(s: Tables, pid: int) -> None:
    """The task reclaims from now on."""
    count = i64(s.g[G_RECLAIMERS])
    if pid < 0 or count == RECLAIMERS or is_reclaimer(s, pid):
        return
    s.reclaimers[count] = pid
    s.g[G_RECLAIMERS] = count + 1
    s.q[_Q_SEEN] += 1


@part
def reclaim_ends(s: Tables, pid: int) -> None:
    """The task's direct reclaim is over."""
    count = i64(s.g[G_RECLAIMERS])
    for i in range(count):
        if i64(s.reclaimers[i]) == pid:
            s.reclaimers[i] = s.reclaimers[count - 1]
            s.g[G_RECLAIMERS] = count - 1
            return
