# SPDX-License-Identifier: GPL-2.0-or-later
"""Compiled entry points: what Python calls on a :class:`~kevacuate.mm.layout.State`, one operation each.

Each turns the arrays into pointers once. A whole replay has its own entry (:mod:`kevacuate.demand`), so that the
loop too is compiled.
"""

from __future__ import annotations

from kevacuate.jit import kernel, pointers
from kevacuate.mm import load_state as _load_state
from kevacuate.mm.buddy import free_one_page, page_zone
from kevacuate.mm.clock import advance as _advance
from kevacuate.mm.constants import CHUNK_ALLOC, CHUNK_ISOLATED, OBJ_NONE, ZONE_MOVABLE
from kevacuate.mm.contig import alloc_contig_pages, free_contig_pages
from kevacuate.mm.evacuate_queue import pageblock_evacuate_init
from kevacuate.mm.get_page import rmqueue_buddy
from kevacuate.mm.layout import State
from kevacuate.mm.lru import folio_mark_accessed, folio_young
from kevacuate.mm.page_alloc import alloc_pages, alloc_pages_bulk
from kevacuate.mm.page_free import free_pages, halve_chunk
from kevacuate.mm.page_isolation import (
    set_migratetype_isolate,
    set_pageblock_isolate,
    unset_migratetype_isolate,
)
from kevacuate.mm.pcp import drain_all_pages, free_pcppages_bulk, rmqueue_bulk
from kevacuate.mm.swap import lru_add_drain_cpu
from kevacuate.mm.swapfile import free_swapped, is_in_swap
from kevacuate.mm.vmscan import try_to_free_pages
from kevacuate.mm.wakeups import wakeup_kcompactd

free_range = _load_state.free_range


@kernel
def late_initcall(sa: State, ready: int) -> None:
    """pageblock_evacuate_init: fill the pool; *ready* 0 leaves requests vanishing as before the initcall."""
    pageblock_evacuate_init(pointers(sa), ready)


@kernel
def alloc(sa: State, cpu: int, nid: int, order: int, mt: int, gfp: int, attr: int, obj: int) -> int:
    """alloc_pages; the pfn, or -1. Above MAX_PAGE_ORDER alloc_contig_pages, for which *mt* and *attr* say nothing."""
    s = pointers(sa)
    if order > s.cfg.max_page_order:
        return alloc_contig_pages(s, cpu, nid, order, gfp, obj)
    return alloc_pages(s, cpu, nid, order, mt, gfp, attr, obj)


@kernel
def alloc_bulk(sa: State, cpu: int, mt: int, gfp: int, attr: int, obj: int) -> int:
    """One page of alloc_pages_bulk; the pfn, or -1."""
    return alloc_pages_bulk(pointers(sa), cpu, mt, gfp, attr, obj)


@kernel
def free(sa: State, cpu: int, pfn: int) -> bool:
    """Free the chunk that starts at *pfn*; False if no allocated chunk starts there."""
    s = pointers(sa)
    if (
        pfn < 0
        or pfn >= s.cfg.npages
        or (s.meta[pfn] >> 4 != CHUNK_ALLOC and s.meta[pfn] >> 4 != CHUNK_ISOLATED)
    ):
        s.stat.bad_free += 1
        return False
    free_pages(s, cpu, pfn)
    return True


@kernel
def free_contig(sa: State, cpu: int, pfn: int, order: int) -> bool:
    """Free what :func:`alloc` gave above MAX_PAGE_ORDER; False if that is not what lies there."""
    return free_contig_pages(pointers(sa), cpu, pfn, order)


@kernel
def free_in_swap(sa: State, cpu: int, obj: int) -> bool:
    """The owner of a page in swap gives it up; False if the object's page is not there."""
    s = pointers(sa)
    if not is_in_swap(s, obj):
        return False
    free_swapped(s, cpu, obj)
    s.obj[obj] = OBJ_NONE
    return True


@kernel
def split(sa: State, pfn: int, obj: int) -> None:
    """Halve an allocated chunk."""
    halve_chunk(pointers(sa), pfn, obj)


@kernel
def advance(sa: State, t: int) -> None:
    """Run what is due until *t* ns."""
    _advance(pointers(sa), t)


@kernel
def wake_kcompactd(sa: State, node: int, order: int) -> None:
    """wakeup_kcompactd for all zones of the node."""
    wakeup_kcompactd(pointers(sa), node, order, ZONE_MOVABLE)


@kernel
def drain_all(sa: State) -> None:
    """drain_all_pages, from CPU 0."""
    s = pointers(sa)
    s.stat.cpu = 0
    drain_all_pages(s)


@kernel
def isolate_block(sa: State, block: int) -> int:
    """set_migratetype_isolate; False if refused."""
    s = pointers(sa)
    s.stat.cpu = 0
    return set_migratetype_isolate(s, block)


@kernel
def unisolate_block(sa: State, block: int) -> None:
    """unset_migratetype_isolate."""
    s = pointers(sa)
    s.stat.cpu = 0
    unset_migratetype_isolate(s, block)


@kernel
def alloc_with_isolate_bit(
    sa: State, block_pfn: int, cpu: int, order: int, mt: int, gfp: int, attr: int, obj: int
) -> int:
    """Allocate while one block's isolate bit alone is raised: the case the patch's guard exists for."""
    s = pointers(sa)
    set_pageblock_isolate(s, block_pfn, True)
    pfn = alloc_pages(s, cpu, -1, order, mt, gfp, attr, obj)
    set_pageblock_isolate(s, block_pfn, False)
    return pfn


@kernel
def refill(sa: State, z: int, cpu: int, order: int, count: int, mt: int, alloc_flags: int) -> int:
    """rmqueue_bulk onto a per-CPU list; the chunks taken (the count field is the caller's to keep)."""
    return rmqueue_bulk(pointers(sa), z, cpu, order, count, mt, alloc_flags)


@kernel
def take_from_buddy(sa: State, z: int, order: int, mt: int, alloc_flags: int) -> int:
    """rmqueue_buddy; the pfn, or -1."""
    return rmqueue_buddy(pointers(sa), z, order, mt, alloc_flags)


@kernel
def free_to_buddy(sa: State, pfn: int, order: int, fpi: int) -> None:
    """free_one_page."""
    s = pointers(sa)
    free_one_page(s, page_zone(s, pfn), pfn, order, fpi)


@kernel
def drain_pcp(sa: State, z: int, cpu: int, count: int, pindex: int) -> None:
    """free_pcppages_bulk."""
    free_pcppages_bulk(pointers(sa), z, cpu, count, pindex)


@kernel
def mark_accessed(sa: State, cpu: int, pfn: int) -> None:
    """folio_mark_accessed of the allocated chunk that starts at *pfn*, on *cpu*."""
    s = pointers(sa)
    s.stat.cpu = cpu
    folio_mark_accessed(s, pfn)


@kernel
def mark_young(sa: State, cpu: int, pfn: int) -> None:
    """A use of the allocated chunk that starts at *pfn* through a page table, on *cpu*."""
    s = pointers(sa)
    s.stat.cpu = cpu
    folio_young(s, pfn)


@kernel
def reclaim(sa: State, cpu: int, node: int, order: int, gfp: int) -> int:
    """try_to_free_pages; the pages reclaimed."""
    s = pointers(sa)
    s.stat.cpu = cpu
    return try_to_free_pages(s, cpu, node, order, gfp)


@kernel
def lru_add_drain_all(sa: State) -> None:
    """Drain every CPU's lru_add batch."""
    s = pointers(sa)
    for cpu in range(s.cfg.nr_cpus):
        lru_add_drain_cpu(s, cpu)
