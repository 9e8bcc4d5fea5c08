# SPDX-License-Identifier: GPL-2.0-or-later
"""Invariants of the state: pages conserved, buddies disjoint, counters equal to lists. Slow; for tests and debugging."""

from __future__ import annotations

from kevacuate.jit import kernel, part, pointers
from kevacuate.mm import constants as k
from kevacuate.mm.buddy import free_list, get_pfnblock_migratetype, page_zone
from kevacuate.mm.check_lru_gen import GENERATION_WRONG, check_generations, list_of_generation
from kevacuate.mm.check_swap import check_swap
from kevacuate.mm.fields import View
from kevacuate.mm.layout import State
from kevacuate.mm.lruvec import folio_lru_list, lru_head, lru_object
from kevacuate.mm.pcp import pcp_at, pcp_list
from kevacuate.mm.region_count import check_regions
from kevacuate.records import Words

PROBLEMS = {
    1: "a free list holds a page that is not a free chunk of its order",
    2: "a free chunk lies on the list of a type that is not its block's",
    3: "a list's links disagree",
    4: "nr_free of an order differs from its lists",
    5: "NR_FREE_PAGES differs from the lists",
    6: "NR_FREE_CMA or what the highatomic reserve counts differs from the lists",
    7: "NR_FREE_PAGES_BLOCKS differs from the lists",
    8: "a per-CPU list holds a page that is not a pcp chunk",
    9: "a per-CPU count differs from its lists",
    10: "a page inside a chunk is marked as a head",
    11: "a page belongs to no chunk",
    12: "two free buddies in one block have not merged",
    13: "free or pcp pages on no list",
    14: "NR_LRU differs from the pages",
    15: "NR_ISOLATED differs from the pages",
    16: "evacuate items were lost or duplicated",
    17: "the object table disagrees with the pages",
    18: "a chunk is misaligned or leaves its zone",
    19: "an LRU list holds what is no folio of this list",
    20: "an LRU list's links disagree",
    21: "a folio is on no LRU list, or on several",
    22: "the size of an LRU list differs from the pages",
    23: "NR_ISOLATED_FILE differs from the pages",
    24: "a pageblock's content differs from its pages",
    25: "a region's counters differ from its pages, or it is clean with an unmovable one",
    26: "a region is on no list of its class, or on a wrong one",
    27: "a region's own free lists differ from its free pages",
    28: "a block waits for an evacuate item twice, or while one is free, or is lost among those that wait",
    29: "a slot of swap is lost, or the object whose page it has says otherwise",
    30: "a zspage is lost, on the list of a wrong group, or lacks pages",
    31: "the queue of pages that are read from swap again is out of order",
    32: "a folio on the LRU is in no generation, or active in one",
    33: "a generation's list holds what is no folio of its type and zone, or its links disagree",
    34: "the size of a generation differs from the pages",
    35: "a type has fewer than two generations, or more than four",
}

SUMS = 640
"""Words of scratch that :func:`check_state` wants."""
_LRU_SIZES, _ISOLATED_FILE, _FOLIOS, _LINKED = 96, 352, 360, 361
"""Places in the scratch: pages on LRU lists [node][32]; isolated ones of files by node; folios of lists, and on them."""


@part
def list_fits_block(s: View, pfn: int, mt: int) -> bool:
    """Whether a free chunk on a list of type *mt* may lie in its block: the types are equal, or the kernel does not care.

    An isolated block's free pages are on isolate lists in every kernel, and no others are. A machine too small to group by
    mobility has movable blocks from boot. Compaction that takes half of one makes it unmovable (set_pageblock_migratetype,
    mm/page_alloc.c:525 at 7.2), and leaves its other free pages on the movable lists.
    """
    block_mt = get_pfnblock_migratetype(s, pfn)
    if s.cfg.page_group_by_mobility_disabled and mt == k.MIGRATE_MOVABLE and block_mt == k.MIGRATE_UNMOVABLE:
        return True
    if s.cfg.lists_follow_blocks or mt == k.MIGRATE_ISOLATE or block_mt == k.MIGRATE_ISOLATE:
        return block_mt == mt
    return True


@part
def check_list(s: View, z: int, order: int, mt: int, sums: Words) -> tuple[int, int]:
    """Check one buddy list; adds its chunks to *sums* (pages, by type class). Returns (code, pfn)."""
    head = free_list(s, z, order, mt)
    before = head
    pfn = s.link[2 * head] + 0
    while pfn != head:
        if pfn < 0 or pfn >= s.cfg.npages or s.meta[pfn] != (k.CHUNK_BUDDY << 4 | order):
            return 1, pfn
        if s.link[2 * pfn + 1] != before:
            return 3, pfn
        if not list_fits_block(s, pfn, mt):
            return 2, pfn
        if page_zone(s, pfn) != z or pfn & ((1 << order) - 1):
            return 18, pfn
        sums[order] += 1
        if mt != k.MIGRATE_ISOLATE:
            sums[16] += 1 << order
            if order >= s.cfg.pageblock_order:
                sums[19] += 1 << order
        if mt == k.MIGRATE_CMA:
            sums[17] += 1 << order
        if mt == k.MIGRATE_HIGHATOMIC:
            sums[18] += 1 << order
        sums[20] += 1 << order
        before = pfn
        pfn = s.link[2 * pfn] + 0
    if s.link[2 * head + 1] != before:
        return 3, head
    return 0, 0


@part
def check_zone_lists(s: View, z: int, sums: Words) -> tuple[int, int]:
    """All buddy lists and counters of a zone. Returns (code, pfn)."""
    for i in range(20):
        sums[i] = 0
    for order in range(s.cfg.max_page_order + 1):
        for mt in range(k.MIGRATE_TYPES):
            code, pfn = check_list(s, z, order, mt, sums)
            if code:
                return code, pfn
        if s.zone[z].free_area[order] != sums[order]:
            return 4, order
    zone = s.zone[z]
    if zone.nr_free_pages != sums[16]:
        return 5, z
    highatomic = sums[18] if s.cfg.free_highatomic else zone.nr_reserved_highatomic
    if zone.nr_free_cma != sums[17] or zone.nr_free_highatomic != highatomic:
        return 6, z
    if zone.nr_free_pages_blocks != sums[19]:
        return 7, z
    return 0, 0


@part
def check_pcp(s: View, z: int, cpu: int, sums: Words) -> tuple[int, int]:
    """The per-CPU lists of one (zone, CPU). Returns (code, pfn)."""
    pages = 0
    for pindex in range(s.cfg.nr_pcp_lists):
        head = pcp_list(s, z, cpu, pindex)
        before = head
        pfn = s.link[2 * head] + 0
        while pfn != head:
            if pfn < 0 or pfn >= s.cfg.npages or s.meta[pfn] >> 4 != k.CHUNK_PCP:
                return 8, pfn
            if s.link[2 * pfn + 1] != before:
                return 3, pfn
            pages += 1 << (s.meta[pfn] & 15)
            before = pfn
            pfn = s.link[2 * pfn] + 0
    if pages != pcp_at(s, z, cpu).count:
        return 9, z
    sums[21] += pages
    return 0, 0


@part
def check_chunk(s: View, pfn: int, sums: Words) -> tuple[int, int]:
    """One chunk found by walking the pages. Returns (code, pages of it)."""
    meta = s.meta[pfn] + 0
    order = meta & 15
    state = meta >> 4
    pages = 1 << order
    if state == k.CHUNK_TAIL:
        return 11, 1
    if state == k.CHUNK_RESERVED:
        return 0, 1
    if state == k.CHUNK_COMPACT:
        return 0, pages
    if pfn & (pages - 1):
        return 18, pages
    for i in range(1, pages):
        if s.meta[pfn + i] != 0:
            return 10, pages
    if state == k.CHUNK_BUDDY:
        sums[22] += pages
        whole = order >= s.cfg.pageblock_order
        if not whole and s.meta[pfn ^ pages] == meta:
            return 12, pages
    elif state == k.CHUNK_PCP:
        sums[23] += pages
    else:
        return check_owned(s, pfn, state, pages, sums), pages
    return 0, pages


@part
def check_owned(s: View, pfn: int, state: int, pages: int, sums: Words) -> int:
    """An allocated or isolated chunk: object table, LRU counters."""
    attr = s.link[2 * pfn + 1] + 0
    obj = s.link[2 * pfn] + 0
    zone = s.zone[page_zone(s, pfn)]
    if attr & k.ATTR_ON_LRU:
        sums[24 + page_zone(s, pfn)] += pages
        lru = list_of_generation(s, pfn, attr, obj, sums)
        if lru < 0:
            return GENERATION_WRONG
        sums[_LRU_SIZES + 32 * zone.node + zone.index * k.NR_LRU_LISTS + lru] += pages
        if obj >= 0 and lru != k.LRU_UNEVICTABLE:
            sums[_FOLIOS] += 1
    if state == k.CHUNK_ISOLATED and attr & k.ATTR_LRU:
        sums[64 + page_zone(s, pfn)] += pages
        if attr & k.ATTR_FILE:
            sums[_ISOLATED_FILE + zone.node] += pages
    if obj >= 0 and not attr & k.ATTR_FREED and s.obj[obj] != pfn:
        return 17
    if state == k.CHUNK_ALLOC and attr & k.ATTR_FREED:
        return 17
    return 0


@part
def check_lru_list(s: View, node: int, lru: int, sums: Words) -> tuple[int, int]:
    """One LRU list. Returns (code, pfn or object)."""
    head = lru_head(node, lru)
    before = head
    at = s.lru[2 * head] + 0
    while at != head:
        obj = lru_object(s, at)
        if obj < 0 or sums[_LINKED] > sums[_FOLIOS]:
            return 21, obj
        pfn = s.obj[obj] + 0
        if pfn < 0 or s.meta[pfn] >> 4 != k.CHUNK_ALLOC or s.link[2 * pfn] != obj:
            return 19, obj
        attr = s.link[2 * pfn + 1] + 0
        mine = folio_lru_list(attr) == lru and s.zone[page_zone(s, pfn)].node == node
        if not mine or not attr & k.ATTR_ON_LRU:
            return 19, pfn
        if s.lru[2 * at + 1] != before:
            return 20, pfn
        sums[_LINKED] += 1
        before = at
        at = s.lru[2 * at] + 0
    return (0, 0) if s.lru[2 * head + 1] == before else (20, lru)


@part
def check_lru(s: View, sums: Words) -> tuple[int, int]:
    """All LRU lists and their sizes, in closed loop: every folio is on exactly one. Returns (code, where)."""
    for node in range(s.cfg.nr_nodes):
        if s.cfg.lru_gen:
            listed, code, where = check_generations(s, node, sums[_FOLIOS], sums)
            if code:
                return code, where
            sums[_LINKED] += listed
        for lru in range(k.LRU_LISTS):
            code, where = check_lru_list(s, node, lru, sums)
            if code:
                return code, where
        pgdat = s.node[node]
        for i in range(4 * k.NR_LRU_LISTS):
            if pgdat.nr_lru[i] != sums[_LRU_SIZES + 32 * node + i]:
                return 22, node
        if pgdat.nr_isolated_file != sums[_ISOLATED_FILE + node]:
            return 23, node
    return (0, 0) if sums[_LINKED] == sums[_FOLIOS] else (21, 0)


@part
def check_items(s: View) -> bool:
    """Every evacuate item is in exactly one place. Returns whether all are accounted for."""
    found = 0
    item = s.stat.evacuate_freelist
    while item >= 0 and found <= s.cfg.pool:
        found += 1
        item = s.item[item].next
    for node in range(s.cfg.nr_nodes):
        item = s.node[node].evacuate_pending
        while item >= 0 and found <= s.cfg.pool:
            found += 1
            item = s.item[item].next
    for w in range(s.cfg.nr_workers):
        worker = s.worker[w]
        if worker.item >= 0:
            found += 1
        item = worker.head
        while item >= 0 and found <= s.cfg.pool:
            found += 1
            item = s.item[item].next
    return found == s.cfg.pool or (s.stat.evacuate_freelist == -1 and found == 0)


@part
def check_waiting(s: View) -> bool:
    """Blocks that wait for an item are on their list once, which is there only while no item is free; whether so."""
    if s.cfg.wait_for_item == 0:
        return True
    blocks = s.cfg.npages >> s.cfg.pageblock_order
    waiting = 0
    for block in range(blocks):
        waiting += s.item[s.cfg.pool + block].waits
    listed = 0
    number = s.stat.evacuate_waiting
    while number >= 0 and listed <= blocks:
        if s.item[number].start_pfn >> s.cfg.pageblock_order != number - s.cfg.pool:
            return False
        listed += 1
        number = s.item[number].next
    return listed == waiting and (listed == 0 or s.stat.evacuate_freelist < 0)


@kernel
def check_state(sa: State, sums: Words) -> tuple[int, int]:
    """All invariants; *sums* is scratch, int64[SUMS]. Returns (code of PROBLEMS or 0, pfn or index)."""
    s = pointers(sa)
    for i in range(SUMS):
        sums[i] = 0
    for z in range(s.cfg.nr_zones):
        code, where = check_zone_lists(s, z, sums)
        if code:
            return code, where
        for cpu in range(s.cfg.nr_cpus):
            code, where = check_pcp(s, z, cpu, sums)
            if code:
                return code, where
    pfn = 0
    while pfn < s.cfg.npages:
        code, pages = check_chunk(s, pfn, sums)
        if code:
            return code, pfn
        pfn += pages
    if sums[20] != sums[22] or sums[21] != sums[23]:
        return 13, 0
    for z in range(s.cfg.nr_zones):
        if s.zone[z].nr_lru != sums[24 + z]:
            return 14, z
        if s.zone[z].nr_isolated != sums[64 + z]:
            return 15, z
    if s.cfg.open_loop == 0:
        code, where = check_lru(s, sums)
        if code:
            return code, where
    if s.cfg.swap_pages:
        code, where = check_swap(s)
        if code:
            return code, where
    if s.cfg.region_order:
        code, where = check_regions(s, sums)
        if code:
            return code, where
    if not check_items(s):
        return 16, 0
    return (0, 0) if check_waiting(s) else (28, 0)


def check(state: State) -> None:
    """Raise AssertionError, in words, if any invariant of *state* is broken."""
    import numpy as np

    code, where = check_state(state, np.zeros(SUMS, np.int64))
    if code:
        raise AssertionError(f"{PROBLEMS[code]} (at {where:#x})")
