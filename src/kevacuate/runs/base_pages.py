# SPDX-License-Identifier: GPL-2.0-or-later
"""Base pages in the place of folios: what a closed loop makes of huge faults and page-cache folios that fail in the model.

The recorded kernel satisfied the request. Where the model cannot, the object gets pages of order 0 in its place, as the kernel
does: of a huge fault that falls back the program touches base pages (do_huge_pmd_anonymous_page, mm/huge_memory.c, 7.2), and the
page cache falls back to smaller folios (__filemap_get_folio_mpol, mm/filemap.c; page_cache_ra_order, mm/readahead.c).

Approximate: of the page cache's orders in between none is tried. A program that would not touch all pages of a huge fault takes
fewer, later. On one CPU its faults take their time, in which kswapd runs; else all pages are taken in one moment.

The object is in base pages then (:mod:`kevacuate.mm.base_pages`). Halving it shares them out; the halves of the last two are
plain objects of order 0.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.kernel import gfp as gf
from kevacuate.mm.base_pages import base_pages_code, base_pages_of, base_pages_order, find_ids, spare_ids
from kevacuate.mm.clock import advance
from kevacuate.mm.constants import ATTR_FILE, OBJ_DROPPED, OBJ_NONE
from kevacuate.mm.fields import View
from kevacuate.mm.lruvec import lru_rename
from kevacuate.mm.page_alloc import alloc_pages_for, is_thp_fault
from kevacuate.mm.page_free import free_pages
from kevacuate.mm.swapfile import free_swapped, is_in_swap
from kevacuate.mm.workingset import shadow_moves

OBJ_FAILED = -3
"""What ``State.obj`` holds for an object that is alive in the demand although its allocation failed."""

ROW_BAD = 0
"""What became of a row: it contradicts those before it,"""
ROW_DONE = 1
"""it is done,"""
ROW_IDS = 2
"""it is done, and the table of objects must grow before the next one."""

FAULT_NS = 430
"""What a fault of a base page takes: of 99 huge faults that fell back a recording shows the base pages, 10.7 us each at a time
scale of 25, gaps above 1 ms left out (pressure, seed 1)."""
CLEAR_PAGE_NS = 172
"""What a page of a huge fault takes: the same recording shows 2.2 ms from a huge page to what its task does next, the median.
That time is in the demand, as the recorded fault was huge."""

KEPT_GFP = gf.GFP_ZERO | gf.GFP_ACCOUNT
"""What a base page's request has of the huge fault's flags, besides GFP_HIGHUSER_MOVABLE."""


@part(cold=True)
def enough_ids(s: View) -> int:
    """ROW_DONE if the largest object would still find ids, else ROW_IDS."""
    return ROW_DONE if spare_ids(s) else ROW_IDS


@part
def base_page_gfp(gfp: int, attr: int) -> int:
    """The flags that a base page is asked for with, in the place of a folio that was asked for with *gfp*."""
    if attr & ATTR_FILE == 0:
        return gf.GFP_HIGHUSER_MOVABLE | gfp & KEPT_GFP
    if gfp & gf.GFP_WRITE:  # the last order that __filemap_get_folio_mpol tries is asked for in earnest
        return gfp & ~(gf.GFP_NORETRY | gf.GFP_NOWARN)
    return gfp


@part(cold=True)
def fault_takes_time(s: View, begun: int, ns: int) -> None:
    """A fault of a base page, or what else takes *ns*, ends: what is due in the background by then has run, and delays the next.

    *begun* is when the first fault began, less by how much its task was late. Only where tasks and kswapd share a CPU.
    """
    s.stat.late += ns * s.cfg.time_scale
    while s.stat.next_due <= begun + s.stat.late:
        advance(s, begun + s.stat.late)
    s.stat.now = max(s.stat.now, begun + s.stat.late)


@part(cold=True)
def take_base_pages(s: View, cpu: int, obj: int, order: int, mt: int, gfp: int, attr: int) -> int:
    """Give the object, whose folio was not to be had, base pages: as many as there are. Returns ROW_DONE or ROW_IDS.

    After the first that fails no more are tried: their pages stay failed, and are counted. An object without any is failed.
    """
    first = find_ids(s, order)
    base = s.stat.first_base_page + first
    size = 1 << order if first >= 0 else 0
    for i in range(base, base + size):
        s.obj[i] = OBJ_FAILED  # nobody else takes them meanwhile
    taken = touch_base_pages(s, cpu, base, size, mt, base_page_gfp(gfp, attr), attr)
    s.stat.base_pages += taken
    s.stat.base_pages_failed += (1 << order) - taken
    if taken == 0:
        for i in range(base, base + size):
            s.obj[i] = OBJ_NONE
        s.obj[obj] = OBJ_FAILED
        return ROW_DONE
    if taken < size:
        s.obj[base + taken] = OBJ_FAILED
    s.obj[obj] = base_pages_code(first, order)
    return enough_ids(s)


@part(cold=True)
def touch_base_pages(s: View, cpu: int, base: int, size: int, mt: int, gfp: int, attr: int) -> int:
    """Allocate pages for the objects from *base* on, until one fails; how many there were."""
    begun = s.stat.now - s.stat.late
    in_time = s.cfg.kswapd_slice_ns > 0 and attr & ATTR_FILE == 0
    taken = 0
    while taken < size and alloc_pages_for(s, cpu, 0, mt, gfp, attr, base + taken) >= 0:
        taken += 1
        if in_time:
            fault_takes_time(s, begun, FAULT_NS)
    if in_time:
        s.stat.late -= min(CLEAR_PAGE_NS * s.cfg.time_scale * taken, s.stat.late)
    return taken


@part(cold=True)
def not_born(s: View, cpu: int, obj: int, order: int, mt: int, gfp: int, attr: int) -> int:
    """The demand's new object got no folio: in a closed loop it is in base pages then, where the kernel falls back to those."""
    s.obj[obj] = OBJ_FAILED
    if s.cfg.open_loop or order == 0:
        return ROW_DONE
    if is_thp_fault(s, order, gfp, obj) or attr & ATTR_FILE:
        return take_base_pages(s, cpu, obj, order, mt, gfp, attr)
    return ROW_DONE


@part(cold=True)
def free_dropped(s: View, cpu: int, obj: int) -> None:
    """The demand frees an object that the model dropped, or has in swap. ``s.obj`` is not changed."""
    if is_in_swap(s, obj):
        free_swapped(s, cpu, obj)
    else:
        s.stat.dropped_then_freed += 1


@part(cold=True)
def free_base_pages(s: View, cpu: int, obj: int) -> None:
    """Free an object in base pages; what the model dropped or never got is counted page by page."""
    code = s.obj[obj] + 0
    first = s.stat.first_base_page + base_pages_of(code)
    for i in range(first, first + (1 << base_pages_order(code))):
        pfn = s.obj[i] + 0
        if pfn >= 0:
            free_pages(s, cpu, pfn)
        elif pfn == OBJ_DROPPED:
            free_dropped(s, cpu, i)
        else:
            s.stat.failed_then_freed += 1
        s.obj[i] = OBJ_NONE
    s.obj[obj] = OBJ_NONE


@part(cold=True)
def hand_on(s: View, source: int, obj: int) -> int:
    """Object *obj* takes over from object *source*, of order 0: its page, shadow entry or failure. The pfn, or < 0."""
    pfn = s.obj[source] + 0
    s.obj[source] = OBJ_NONE
    s.obj[obj] = pfn
    if pfn >= 0:
        lru_rename(s, pfn, obj)
    elif pfn == OBJ_DROPPED:
        shadow_moves(s, source, obj)
    return pfn


@part(cold=True)
def split_base_pages(s: View, obj: int, upper: int) -> None:
    """Halve an object in base pages: object *upper* gets the upper half of them."""
    code = s.obj[obj] + 0
    first = base_pages_of(code)
    half = base_pages_order(code) - 1
    if half > 0:
        s.obj[obj] = base_pages_code(first, half)
        s.obj[upper] = base_pages_code(first + (1 << half), half)
        return
    hand_on(s, s.stat.first_base_page + first, obj)
    hand_on(s, s.stat.first_base_page + first + 1, upper)
