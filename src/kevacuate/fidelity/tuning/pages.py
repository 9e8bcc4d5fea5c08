# SPDX-License-Identifier: GPL-2.0-or-later
"""The tuning level's pages, compiled: which per-CPU list set holds each, what is allocated from it, refilled and drained.

``pcp->count`` follows the recording once a decision has been compared: the chunks that a refill brought, those that a drain took
away, and, where insertions (gt_rmq 5) are recorded, the count that they show. That differs from the model's where a task
took a page and was interrupted before its mm_page_alloc: the allocation is then counted at once, and not again when it shows.
"""

from __future__ import annotations

from kevacuate.fidelity.tuning import books as bk
from kevacuate.fidelity.tuning.books import TuningBooks
from kevacuate.fidelity.tuning.phases import (
    refill_sizes,
)
from kevacuate.fidelity.tuning.slots import (
    sub_batch_done,
)
from kevacuate.fidelity.tuning.zone import (
    no_chunk_found,
    test_high_mark,
    test_zones_above,
)
from kevacuate.jit import (
    part,
)
from kevacuate.mm.buddy import (
    page_zone,
)
from kevacuate.mm.constants import (
    ALLOC_HIGHATOMIC,
    ZONE_MOVABLE,
)
from kevacuate.mm.fields import View
from kevacuate.mm.get_page import (
    gfp_zone,
)
from kevacuate.mm.pcp import (
    pcp_allowed_order,
    pcp_at,
    pcp_number,
)
from kevacuate.recording import EventChunk

DIRECT = -1

MOST_PAGES = 1 << 24
"""No per-CPU list set holds more."""


@part(inline=True)
def set_aside(s: View, b: TuningBooks, pfn: int, order: int) -> int:
    """Take the pages of a chunk off the list sets that hold them; the number of the first one's set, -1 if none does."""
    first = b.owner[pfn] - 1
    for page in range(pfn, pfn + (1 << order)):
        pcp = b.owner[page] - 1
        if pcp >= 0:
            s.pcp[pcp].count -= 1
            b.owner[page] = 0
    return first


@part(inline=True)
def put_on(s: View, b: TuningBooks, pfn: int, order: int, pcp: int) -> None:
    """Put a chunk on a list of a list set."""
    for page in range(pfn, pfn + (1 << order)):
        b.owner[page] = pcp + 1
    s.pcp[pcp].count += 1 << order


@part(inline=True)
def drain_counted(s: View, b: TuningBooks, cpu: int) -> None:
    """What follows once the pages of a free's sub-batch have been counted."""
    if b.cpu[cpu * bk.WW + bk.W_CLEARING]:
        sub_batch_done(s, b, cpu)


@part(inline=True)
def owed(b: TuningBooks, pcp: int, pid: int, pages: int) -> bool:
    """Whether the allocation was counted when a list's count showed it."""
    at = pcp * bk.OW
    if b.sets[at + bk.O_OWED] < pages or b.sets[at + bk.O_OWED_PID] != pid:
        return False
    b.sets[at + bk.O_OWED] -= pages
    return True


@part(inline=True)
def allocate(s: View, b: TuningBooks, e: EventChunk, i: int) -> None:
    """mm_page_alloc: if a per-CPU list held the page, its free_count is halved and its count smaller."""
    pfn, order = e.pfn[i] + 0, e.order[i] + 0
    if pfn < 0:
        no_chunk_found(s)
        return
    if not b.facts[bk.F_INSERTIONS]:
        for page in range(pfn, pfn + (1 << order)):
            b.alloc_order[page] = order
            b.used[page] = 1
    pcp = set_aside(s, b, pfn, order)
    if pcp < 0:
        return
    b.inputs[bk.N_ALLOCS] += 1
    if owed(b, pcp, e.pid[i] + 0, 1 << order):
        s.pcp[pcp].count += 1 << order
        return
    z = pcp // s.cfg.nr_cpus
    test_zones_above(s, z, gfp_zone(e.gfp[i] + 0), order)
    test_high_mark(s, z, order)
    s.pcp[pcp].free_count >>= 1


@part(inline=True)
def taken(s: View, b: TuningBooks, cpu: int, pfn: int, order: int) -> None:
    """A chunk left the buddy lists: for the list set that is being refilled, but for the first, which is allocated at once."""
    if not b.facts[bk.F_LISTS]:
        s.zone[page_zone(s, pfn)].nr_free_pages -= 1 << order
    set_aside(s, b, pfn, order)
    at = cpu * bk.WW
    pcp = b.cpu[at + bk.W_REFILL] - 1
    if pcp < 0:
        return
    b.inputs[bk.N_CHUNKS] += 1
    if b.cpu[at + bk.W_FRESH]:
        b.cpu[at + bk.W_FRESH] = 0
        return
    put_on(s, b, pfn, order, pcp)


@part(inline=True)
def drained(s: View, b: TuningBooks, cpu: int, pfn: int, order: int) -> None:
    """mm_page_pcpu_drain: a chunk went back to the buddy lists; a sub-batch is over with its last."""
    b.inputs[bk.N_DRAINED] += 1
    z = page_zone(s, pfn)
    if not b.facts[bk.F_LISTS]:
        s.zone[z].nr_free_pages += 1 << order
    set_aside(s, b, pfn, order)
    at = cpu * bk.WW
    if b.cpu[at + bk.W_CLEARING] > 1 << order:
        b.cpu[at + bk.W_CLEARING] -= 1 << order
    else:
        drain_counted(s, b, cpu)


@part(cold=True)
def follow_count(s: View, b: TuningBooks, pcp: int, cpu: int, pid: int, recorded: int) -> None:
    """The recorded count differs: a task has taken a page and was interrupted, or what was guessed so before is put right."""
    if recorded < 1 or recorded > MOST_PAGES:
        return
    more = s.pcp[pcp].count - recorded
    s.pcp[pcp].count = recorded
    at = pcp * bk.OW
    if more < 0:
        b.sets[at + bk.O_OWED] = max(b.sets[at + bk.O_OWED] + more, 0)
        return
    b.inputs[bk.N_EARLY] += 1
    s.pcp[pcp].free_count >>= 1
    b.sets[at + bk.O_OWED] += more
    b.sets[at + bk.O_OWED_PID] = (
        pid if b.cpu[cpu * bk.WW + bk.W_COMMITS] > 1 else b.cpu[cpu * bk.WW + bk.W_BEFORE]
    )


@part(cold=True)
def refill(s: View, b: TuningBooks, e: EventChunk, i: int) -> None:
    """gt_rmq 0: the model says how many chunks; then the kernel's number is looked at."""
    z, cpu, order = b.zone_of[e.b[i]] + 0, e.cpu[i] + 0, e.order[i] + 0
    b.inputs[bk.N_REFILLS] += 1
    test_zones_above(s, z, ZONE_MOVABLE, order)
    test_high_mark(s, z, order)
    pcp = pcp_number(s, z, cpu)
    lists = s.pcp[pcp]
    lists.free_count >>= 1
    refill_sizes(s, b, z, cpu, order, e.d[i] + 0, b.facts[bk.F_NUMBER] + i, e.ts[i] + 0)
    b.cpu[cpu * bk.WW + bk.W_REFILL] = pcp + 1
    b.cpu[cpu * bk.WW + bk.W_FRESH] = 1


@part(cold=True)
def buddy_request(s: View, b: TuningBooks, e: EventChunk, i: int) -> None:
    """gt_rmq 1: past the lists; one that may use the highatomic reserve had asked them in vain (page_alloc.c:3361)."""
    z, cpu, order = b.zone_of[e.b[i]] + 0, e.cpu[i] + 0, e.order[i] + 0
    test_zones_above(s, z, ZONE_MOVABLE, order)
    test_high_mark(s, z, order)
    if e.c[i] & ALLOC_HIGHATOMIC and pcp_allowed_order(s, order):
        pcp_at(s, z, cpu).free_count >>= 1
        refill_sizes(s, b, z, cpu, order, -1, 0, 0)
    b.cpu[cpu * bk.WW + bk.W_REFILL] = DIRECT


@part(cold=True)
def bulk_page(s: View, b: TuningBooks, pfn: int) -> None:
    """gt_rmq 4: a page of alloc_pages_bulk, which does not halve free_count."""
    set_aside(s, b, pfn, 0)


@part(cold=True)
def isolated(s: View, pfn: int, pages: int) -> None:
    """Compaction took free pages of a block; the event may name any pfn."""
    if pfn < 0 or pfn >= s.cfg.npages:
        return
    z = page_zone(s, pfn)
    if z < s.cfg.nr_zones:
        s.zone[z].nr_free_pages -= pages
