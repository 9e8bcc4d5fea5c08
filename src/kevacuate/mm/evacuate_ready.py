# SPDX-License-Identifier: GPL-2.0-or-later
"""What alloc_contig_range does before it migrates (mm/page_alloc.c, 7.2), and the patch does not: isolate the block, drain.

Knobs ``isolate`` and ``drain`` of the evacuation turn it on.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm.buddy import block_in_zone, get_pageblock_isolate, page_zone
from kevacuate.mm.fields import View, Worker
from kevacuate.mm.page_isolation import (
    pageblock_isolate_and_move_free_pages,
    straddled_in_use,
    unset_migratetype_isolate,
)
from kevacuate.mm.pcp import drain_all_pages_of_zone
from kevacuate.mm.swap import lru_add_drain_cpu


@part(cold=True)
def isolate_evacuated_block(s: View, worker: Worker, start: int) -> None:
    """Isolate the block at *start* and remember that: nothing is allocated from it, and what is freed in it stays.

    set_migratetype_isolate would refuse a claimed block, as it has pages that cannot move: here they stay where they are. A block
    that is isolated already is left to whoever did it. Where isolation is a type, which the block would lose: none.
    """
    z = page_zone(s, start)
    if s.cfg.isolate_type or get_pageblock_isolate(s, start):
        return
    if not block_in_zone(s, z, start) or straddled_in_use(s, start):
        return
    pageblock_isolate_and_move_free_pages(s, z, start, True)
    worker.isolates = 1


@part(cold=True)
def unisolate_evacuated_block(s: View, worker: Worker, start: int) -> None:
    """undo_isolate_page_range: the block has its type again, and its free pages lie on that type's lists."""
    worker.isolates = 0
    unset_migratetype_isolate(s, start >> s.cfg.pageblock_order)


@part(cold=True)
def drain_everything(s: View, start: int) -> int:
    """drain_all_pages of the block's zone, then lru_add_drain_all. Returns what it costs in ns: a work item a CPU, which is
    an estimate.
    """
    drain_all_pages_of_zone(s, page_zone(s, start))
    for cpu in range(s.cfg.nr_cpus):
        lru_add_drain_cpu(s, cpu)
    return s.cfg.work_ns * s.cfg.nr_cpus
