# SPDX-License-Identifier: GPL-2.0-or-later
"""What a policy's hooks may ask of the model and have it do: the whole of what they see of it (docs/policies.md).

All check their arguments: one that names no zone, page frame, order or type is refused, and the run ends with a sentence. What
changes the allocator at once is for the policy's worker alone, which runs when nobody holds a zone's lock.
Elsewhere it is refused too. Functions that answer as mainline does bear the kernel's names.
"""

from __future__ import annotations

from kevacuate.jit import call_hook, part
from kevacuate.mm import constants as k
from kevacuate.mm.buddy import (
    block_in_zone,
    change_pageblock_range,
    covering_chunk,
    free_list,
    get_pageblock_isolate,
    move_freepages_block,
    move_to_free_list,
)
from kevacuate.mm.buddy import get_pfnblock_migratetype as _block_type
from kevacuate.mm.buddy import page_zone as _page_zone
from kevacuate.mm.evacuate_queue import queue_pageblock_evacuate
from kevacuate.mm.fallback import enough_to_claim as _enough_to_claim
from kevacuate.mm.fallback import first_fallback, may_try_claim, prep_move_freepages_block
from kevacuate.mm.fields import View
from kevacuate.mm.hooks import hook_wrong, wake_policy_worker
from kevacuate.mm.page_isolation import set_migratetype_isolate, unset_migratetype_isolate
from kevacuate.mm.unmovable import has_unmovable_page as _has_unmovable_page
from kevacuate.mm.wakeups import wakeup_kcompactd as _wakeup_kcompactd
from kevacuate.mm.watermark import wmark_pages as _wmark_pages

MOST_COUNTED = 1024
"""Chunks of a list that are counted at most."""


@part(inline=False)
def refused(s: View, error: int, value: int) -> bool:
    """Note that the running hook asked for what it may not; True."""
    hook_wrong(s, s.stat.running_hook - 1, error, value)
    return True


@part
def no_number(s: View, value: int, count: int) -> bool:
    """Whether *value* is none of 0 to *count* - 1, which is refused."""
    return (value < 0 or value >= count) and refused(s, k.HOOK_BAD_ARGUMENT, value)


@part
def no_page(s: View, pfn: int) -> bool:
    """Whether *pfn* lies in no zone; one that is no page frame at all is refused."""
    return no_number(s, pfn, s.cfg.npages_real) or _page_zone(s, pfn) == k.NO_ZONE


@part
def no_list(s: View, z: int, order: int, mt: int) -> bool:
    """Whether there is no such free list, which is refused."""
    return (
        no_number(s, z, s.cfg.nr_zones)
        or no_number(s, order, s.cfg.max_page_order + 1)
        or no_number(s, mt, k.MIGRATE_TYPES)
    )


@part
def not_the_worker(s: View) -> bool:
    """Whether another hook than the worker runs, which is refused."""
    return s.stat.running_hook != k.HOOK_WORKER + 1 and refused(s, k.HOOK_NOT_HERE, 0)


@part
def now(s: View) -> int:
    """Virtual time in ns."""
    return s.stat.now


@part
def nr_zones(s: View) -> int:
    """Populated zones; they are numbered from 0."""
    return s.cfg.nr_zones


@part
def nr_pageblocks(s: View) -> int:
    """Pageblocks, those of holes too; a pfn's is number ``pfn >> pageblock_order(s)``."""
    return (s.cfg.npages_real + (1 << s.cfg.pageblock_order) - 1) >> s.cfg.pageblock_order


@part
def pageblock_order(s: View) -> int:
    """Order of a pageblock: 9 on x86-64."""
    return s.cfg.pageblock_order


@part
def max_page_order(s: View) -> int:
    """Order of the largest chunk: 10 on x86-64."""
    return s.cfg.max_page_order


@part
def page_zone(s: View, pfn: int) -> int:
    """The zone that holds *pfn*; -1 in a hole."""
    return -1 if no_page(s, pfn) else _page_zone(s, pfn)


@part
def nr_free_pages(s: View, z: int) -> int:
    """The zone's NR_FREE_PAGES."""
    return 0 if no_number(s, z, s.cfg.nr_zones) else s.zone[z].nr_free_pages


@part
def managed_pages(s: View, z: int) -> int:
    """The zone's managed pages."""
    return 0 if no_number(s, z, s.cfg.nr_zones) else s.zone[z].managed_pages


@part
def wmark_pages(s: View, z: int, mark: int) -> int:
    """The zone's watermark in pages, boost included; *mark* is WMARK_MIN, WMARK_LOW, WMARK_HIGH or WMARK_PROMO."""
    if no_number(s, z, s.cfg.nr_zones) or no_number(s, mark, 4):
        return 0
    return _wmark_pages(s, z, mark)


@part
def nr_free(s: View, z: int, order: int) -> int:
    """Free chunks of exactly *order* in the zone, of all types (free_area[order].nr_free)."""
    return 0 if no_list(s, z, order, 0) else s.zone[z].free_area[order]


@part
def nr_free_of_type(s: View, z: int, order: int, mt: int) -> int:
    """Free chunks of exactly *order* on the list of a type, counted up to 1,024."""
    found = 0
    if no_list(s, z, order, mt):
        return found
    head = free_list(s, z, order, mt)
    pfn = s.link[2 * head] + 0
    while pfn != head and found < MOST_COUNTED:
        found += 1
        pfn = s.link[2 * pfn] + 0
    s.stat.hook_rounds += found >> 4
    return found


@part
def free_list_first(s: View, z: int, order: int, mt: int) -> int:
    """First pfn of the chunk at the head of a free list; -1 where the list is empty."""
    if no_list(s, z, order, mt):
        return -1
    head = free_list(s, z, order, mt)
    first = s.link[2 * head] + 0
    return -1 if first == head else first


@part
def free_list_next(s: View, pfn: int) -> int:
    """The chunk behind the free chunk that starts at *pfn*, on its list; -1 behind the last, and where none starts."""
    if no_page(s, pfn) or s.meta[pfn] >> 4 != k.CHUNK_BUDDY:
        return -1
    following = s.link[2 * pfn] + 0
    return -1 if following >= s.cfg.npages else following


@part
def get_pfnblock_migratetype(s: View, pfn: int) -> int:
    """The type of *pfn*'s block, MIGRATE_ISOLATE while it is isolated; -1 in a hole."""
    return -1 if no_page(s, pfn) else _block_type(s, pfn)


@part
def block_pages(s: View, pfn: int) -> tuple[int, int]:
    """Of *pfn*'s block: free pages on its lists, and pages that can move (PageLRU or movable_ops); all others are neither."""
    if no_page(s, pfn):
        return 0, 0
    start = pfn >> s.cfg.pageblock_order << s.cfg.pageblock_order
    head = covering_chunk(s, start)
    if head >= 0:
        return (1 << s.cfg.pageblock_order) if s.meta[head] >> 4 == k.CHUNK_BUDDY else 0, 0
    return prep_move_freepages_block(s, _page_zone(s, pfn), start)


@part
def free_pages_of_block(s: View, pfn: int) -> int:
    """Free pages of *pfn*'s block, without those on per-CPU lists."""
    return block_pages(s, pfn)[0]


@part
def movable_pages_of_block(s: View, pfn: int) -> int:
    """Pages of *pfn*'s block that can move: PageLRU or movable_ops."""
    return block_pages(s, pfn)[1]


@part
def evacuations_pending(s: View) -> int:
    """Pageblocks that were queued for evacuation and are not done."""
    return s.stat.queued - s.stat.finished - s.stat.skipped


@part
def should_try_claim_block(s: View, order: int, start_type: int) -> bool:
    """Mainline's answer: only small movable requests may not claim."""
    if no_number(s, order, s.cfg.max_page_order + 1) or no_number(s, start_type, k.MIGRATE_PCPTYPES):
        return False
    return may_try_claim(s, order, start_type)


@part
def find_suitable_fallback(s: View, z: int, order: int, start_type: int, claimable: bool) -> int:
    """Mainline's answer: the first other type with a chunk of *order*, FALLBACK_EMPTY or FALLBACK_NOCLAIM."""
    if no_list(s, z, order, 0) or no_number(s, start_type, k.MIGRATE_PCPTYPES):
        return k.FALLBACK_EMPTY
    if claimable and not may_try_claim(s, order, start_type):
        return k.FALLBACK_NOCLAIM
    return first_fallback(s, z, order, start_type)


@part
def enough_to_claim(s: View, pfn: int, start_type: int) -> bool:
    """Mainline's rule for a claim below pageblock order: half of *pfn*'s block is free or alike."""
    if no_page(s, pfn) or no_number(s, start_type, k.MIGRATE_PCPTYPES):
        return False
    free, movable = block_pages(s, pfn)
    return _enough_to_claim(s, start_type, _block_type(s, pfn), free, movable)


@part
def rmqueue_turn(s: View, mt: int, alloc_flags: int, turn: int) -> int:
    """Mainline's order without the mode it remembers: its own lists, CMA's, a claim, a steal unless ALLOC_NOFRAGMENT."""
    if turn == 0:
        return mt
    turn += 0 if alloc_flags & k.ALLOC_CMA else 1
    if turn == 1:
        return k.MIGRATE_CMA
    if turn == 2:
        return k.TRY_CLAIM
    return k.TRY_STEAL if turn == 3 and not alloc_flags & k.ALLOC_NOFRAGMENT else k.TRY_END


@part
def evacuate_block(s: View, pfn: int) -> bool:
    """Queue *pfn*'s block: a kevacuate worker migrates what can move out of it. False if no work item is left, or in a hole.

    It takes ``pool``, ``wq`` and the costs from the policy's knobs, and is counted as evacuations are. A movable block is
    evacuated too; it stays movable.
    """
    if no_page(s, pfn):
        return False
    z = _page_zone(s, pfn)
    queued = s.stat.queued
    queue_pageblock_evacuate(s, z, pfn >> s.cfg.pageblock_order << s.cfg.pageblock_order)
    if s.stat.queued == queued:
        return False
    if _block_type(s, pfn) == k.MIGRATE_MOVABLE:
        s.item[s.node[s.zone[z].node].evacuate_pending].movable = 1
    return True


@part
def wake_worker(s: View, delay: int) -> None:
    """Have the policy's worker run *delay* ns of virtual time from now, or earlier if it is due by then."""
    if s.cfg.hooks >> k.HOOK_WORKER & 1 == 0 or delay < 0 or delay > k.LONGEST_SLEEP:
        refused(s, k.HOOK_BAD_ARGUMENT, delay)
        return
    wake_policy_worker(s, delay)


@part
def claim_block(s: View, pfn: int, mt: int) -> bool:
    """Give *pfn*'s block and its free pages another type, with the whole chunk where that is larger; for the worker.

    False if the block is isolated, reserved (highatomic, CMA), in part in another zone, or of a larger chunk in use, and where
    grouping by mobility is disabled.
    """
    if not_the_worker(s) or no_page(s, pfn) or no_number(s, mt, k.MIGRATE_PCPTYPES):
        return False
    z, old = _page_zone(s, pfn), _block_type(s, pfn)
    start = pfn >> s.cfg.pageblock_order << s.cfg.pageblock_order
    if old >= k.MIGRATE_PCPTYPES or s.cfg.page_group_by_mobility_disabled or not block_in_zone(s, z, start):
        return False
    head = covering_chunk(s, start)
    if head >= 0:
        order = s.meta[head] & 15
        if s.meta[head] >> 4 != k.CHUNK_BUDDY:
            return False
        move_to_free_list(s, z, head, order, _block_type(s, head), mt)
        change_pageblock_range(s, head, order, mt)
        return True
    return move_freepages_block(s, z, pfn, old, mt) >= 0


@part
def isolate_block(s: View, pfn: int) -> bool:
    """set_migratetype_isolate of *pfn*'s block; for the worker. False where the kernel refuses."""
    if not_the_worker(s) or no_page(s, pfn):
        return False
    return set_migratetype_isolate(s, pfn >> s.cfg.pageblock_order)


@part
def unisolate_block(s: View, pfn: int) -> None:
    """unset_migratetype_isolate of *pfn*'s block; for the worker."""
    if not_the_worker(s) or no_page(s, pfn) or not get_pageblock_isolate(s, pfn):
        return
    unset_migratetype_isolate(s, pfn >> s.cfg.pageblock_order)


@part
def wakeup_kcompactd(s: View, node: int, order: int) -> None:
    """Wake the node's kcompactd for chunks of 2**order pages, if it sleeps and compaction may help; for the worker."""
    if (
        not_the_worker(s)
        or no_number(s, node, s.cfg.nr_nodes)
        or no_number(s, order, s.cfg.max_page_order + 1)
    ):
        return
    _wakeup_kcompactd(s, node, order, k.ZONE_MOVABLE)


@part(inline=False)
def have_done(s: View, what: int, a: int, b: int, c: int) -> int:
    """Have the model do what a DO_* constant says; what that returns."""
    told, value = call_hook(s.stat.policy_operation, s, what, a, b, c, 0, 0)
    if told:
        hook_wrong(s, s.stat.running_hook - 1, k.HOOK_RAISED, told)
    return int(value)


@part
def migrate_batch(s: View, pfn: int) -> int:
    """Move up to 32 pages of *pfn*'s block elsewhere, those from *pfn* on, as an evacuation does; for the worker.

    Returns the pages moved. :func:`migrate_cursor` says where to go on.
    """
    if not_the_worker(s) or no_page(s, pfn):
        return 0
    return have_done(s, k.DO_MIGRATE_BATCH, pfn, 0, 0)


@part
def migrate_cursor(s: View) -> int:
    """Where the last batch stopped: the pfn behind it, at its block's end if nothing is left to move; for the worker."""
    return 0 if not_the_worker(s) else s.worker[s.cfg.nr_workers].cursor


@part
def compact_range(s: View, start_pfn: int, end_pfn: int) -> int:
    """Move what can move from the range's low end into free pages at its high end; for the worker. Returns the pages moved.

    The range is that of the blocks from *start_pfn* up to *end_pfn*, as far as the zone of *start_pfn* reaches.
    """
    if not_the_worker(s) or no_page(s, start_pfn):
        return 0
    if end_pfn <= start_pfn or end_pfn > s.cfg.npages_real:
        refused(s, k.HOOK_BAD_ARGUMENT, end_pfn)
        return 0
    order = s.cfg.pageblock_order
    z = _page_zone(s, start_pfn)
    first = max(start_pfn >> order << order, s.zone[z].zone_start_pfn)
    end = min((end_pfn + (1 << order) - 1) >> order << order, s.zone[z].zone_end_pfn)
    s.stat.hook_rounds += (end - first) >> order
    return have_done(s, k.DO_COMPACT_RANGE, z, first, end)


@part
def shrink_slab(s: View, node: int, priority: int) -> int:
    """Free each 2**priority-th reclaimable slab that the replay has allocated on the node; for the worker. The pages freed."""
    if not_the_worker(s) or no_number(s, node, s.cfg.nr_nodes) or no_number(s, priority, k.DEF_PRIORITY + 1):
        return 0
    s.stat.hook_rounds += s.cfg.npages_real >> s.cfg.pageblock_order
    return have_done(s, k.DO_SHRINK_SLAB, node, priority, 0)


@part
def spent(s: View) -> int:
    """What this run of the worker has taken so far, in ns of virtual time: batches, compaction, shrinking; for the worker."""
    return 0 if not_the_worker(s) else s.stat.policy_cost * s.cfg.time_scale


@part
def nr_nodes(s: View) -> int:
    """Nodes; they are numbered from 0."""
    return s.cfg.nr_nodes


@part
def zone_node(s: View, z: int) -> int:
    """The zone's node."""
    return 0 if no_number(s, z, s.cfg.nr_zones) else s.zone[z].node


@part
def zone_start_pfn(s: View, z: int) -> int:
    """The zone's first pfn."""
    return 0 if no_number(s, z, s.cfg.nr_zones) else s.zone[z].zone_start_pfn


@part
def zone_end_pfn(s: View, z: int) -> int:
    """The pfn behind the zone's last."""
    return 0 if no_number(s, z, s.cfg.nr_zones) else s.zone[z].zone_end_pfn


@part
def has_unmovable_page(s: View, pfn: int) -> bool:
    """Whether *pfn*'s block holds a page that cannot move: in use and never on an LRU list, or reserved."""
    if no_page(s, pfn):
        return False
    return _has_unmovable_page(s, pfn >> s.cfg.pageblock_order << s.cfg.pageblock_order)
