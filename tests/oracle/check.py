# SPDX-License-Identifier: GPL-2.0-or-later
"""The oracle's own invariants: what must hold after every operation whatever was done."""

from __future__ import annotations

from .constants import A_LRU, A_ON_LRU, ALLOC, BUDDY, CMA, HIGHATOMIC, ISOLATE, ISOLATED, PCP
from .machine import Machine
from .pcp import pindex_to_order
from .zone import Zone


def may_lie_in(m: Machine, mt: int, block_mt: int) -> bool:
    """Whether a buddy on a list of type `mt` may lie in a block of this type. Isolated blocks are kept apart everywhere."""
    if m.config.kernel.hygienic or ISOLATE in (mt, block_mt):
        return mt == block_mt
    return True


def check_free_lists(m: Machine, zone: Zone) -> None:
    """Each entry is a buddy of that order and type, its blocks have that type, counters add up."""
    pages = [0] * 6
    blocks = 0
    for order, area in enumerate(zone.free_area):
        assert area.nr_free == sum(len(pages_) for pages_ in area.free_list)
        for mt, free_list in enumerate(area.free_list):
            for pfn in free_list:
                page = m.heads[pfn]
                assert (page.state, page.order, page.mt) == (BUDDY, order, mt), page
                assert m.zone_of(pfn) is zone
                for covered in range(pfn, pfn + (1 << order), m.block_pages):
                    assert may_lie_in(m, mt, m.get_pageblock_migratetype(covered)), (page, covered)
            pages[mt] += len(free_list) << order
            blocks += len(free_list) << order if order >= m.config.pageblock_order and mt != ISOLATE else 0
    assert zone.nr_free == sum(pages) - pages[ISOLATE]
    highatomic = pages[HIGHATOMIC] if m.config.kernel.counts_free_highatomic else 0
    assert (zone.nr_free_cma, zone.nr_free_highatomic) == (pages[CMA], highatomic)
    assert zone.nr_free_blocks == blocks


def check_pcps(m: Machine, zone: Zone) -> None:
    """Pcp lists: each entry is a chunk of the list's order in state PCP, counts add up."""
    for pcp in zone.pcps:
        for pindex, pages in enumerate(pcp.lists):
            for pfn in pages:
                assert m.heads[pfn].state == PCP
                assert m.heads[pfn].order == pindex_to_order(m, pindex)
        assert pcp.count == sum(len(p) << pindex_to_order(m, i) for i, p in enumerate(pcp.lists))


def check_chunks(m: Machine) -> None:
    """Chunks are aligned and do not overlap; every buddy and pcp page is on a list; LRU counters add up."""
    end = 0
    lru = [0] * len(m.zones)
    isolated = [0] * len(m.zones)
    listed = sum(len(free_list) for z in m.zones for area in z.free_area for free_list in area.free_list)
    cached = sum(len(pages) for z in m.zones for pcp in z.pcps for pages in pcp.lists)
    assert listed == sum(page.state == BUDDY for page in m.heads.values())
    assert cached == sum(page.state == PCP for page in m.heads.values())
    for pfn in sorted(m.heads):
        page = m.heads[pfn]
        assert page.pfn == pfn
        assert pfn >= end, page
        assert pfn % page.size == 0
        end = pfn + page.size
        number = m.zone_of(pfn).number
        if page.state == ALLOC and page.attr & A_ON_LRU:
            lru[number] += page.size
        if page.state == ISOLATED and page.attr & A_LRU:
            isolated[number] += page.size
    assert [z.nr_lru for z in m.zones] == lru
    assert [z.nr_isolated for z in m.zones] == isolated


def check(m: Machine) -> None:
    """Raise AssertionError if the state contradicts itself."""
    for zone in m.zones:
        check_free_lists(m, zone)
        check_pcps(m, zone)
    check_chunks(m)
    used = [i for w in m.workers for i in [*w.queue, *([w.item] if w.item >= 0 else [])]]
    assert sorted([*m.free_items, *used, *(i for p in m.pending for i in p)]) == list(range(m.config.pool))
