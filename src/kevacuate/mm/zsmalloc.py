# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a zram device keeps compressed pages: zspages of order-0 pages from the same allocator (mm/zsmalloc.c, 7.2).

zram asks for them with GFP_NOIO | __GFP_NOWARN | __GFP_HIGHMEM | __GFP_MOVABLE. They are movable: with CONFIG_COMPACTION zsmalloc
keeps __GFP_MOVABLE (:948) and migrates its pages by movable operations (:2249). Who compresses reclaims memory just then
(PF_MEMALLOC): the request goes below all watermarks rather than reclaim itself.

Approximate: all pages compress to one size, so there is one size class. What zs_compact moves together is not modelled. Requests
for handles and descriptors, which are slab objects, are not made.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.alloc_flags import alloc_flags_nofragment, gfp_migratetype
from kevacuate.mm.fields import View
from kevacuate.mm.get_page import first_zones_zonelist, get_page_from_freelist, gfp_zone
from kevacuate.mm.page_free import free_pages, prep_new_page
from kevacuate.mm.slowpath_flags import gfp_to_alloc_flags, wake_all_kswapds

GFP_ZRAM = k.GFP_RECLAIM | k.GFP_NOWARN | k.GFP_HIGHMEM | k.GFP_MOVABLE
"""What zram asks with (zram_write_page, drivers/block/zram/zram_drv.c)."""


@part(cold=True)
def alloc_zpdesc(s: View, cpu: int, node: int, obj: int) -> int:
    """A page for a zspage, for a task with PF_MEMALLOC (:237); the pfn, or -1."""
    mt = gfp_migratetype(s, 0, k.MIGRATE_MOVABLE, GFP_ZRAM)
    cma = k.ALLOC_CMA if mt == k.MIGRATE_MOVABLE else 0
    first = first_zones_zonelist(s, node, gfp_zone(GFP_ZRAM))
    alloc_flags = k.WMARK_LOW | alloc_flags_nofragment(s, node, GFP_ZRAM, first) | cma
    pfn = get_page_from_freelist(s, cpu, 0, mt, alloc_flags, node, GFP_ZRAM)
    if pfn < 0:
        alloc_flags = gfp_to_alloc_flags(s, 0, mt, GFP_ZRAM)
        wake_all_kswapds(s, 0, node, GFP_ZRAM)
        pfn = get_page_from_freelist(s, cpu, 0, mt, alloc_flags, node, GFP_ZRAM)
    if pfn < 0:
        alloc_flags = k.ALLOC_NO_WATERMARKS | cma | (alloc_flags & k.ALLOC_KSWAPD)
        wake_all_kswapds(s, 0, node, GFP_ZRAM)
        pfn = get_page_from_freelist(s, cpu, 0, mt, alloc_flags, node, GFP_ZRAM)
    if pfn >= 0:
        s.stat.allocs += 1
        prep_new_page(s, cpu, pfn, 0, k.ATTR_MOVABLE_OPS, obj)
    return pfn


@part
def zspage_page(s: View, at: int) -> int:
    """The object that the first page of the zspage of record *at* is; the others follow."""
    return s.stat.first_zspage_page + (at - s.cfg.swap_pages) * s.cfg.zs_chain


@part(cold=True)
def free_zspage(s: View, cpu: int, at: int, pages: int) -> None:
    """Free the first *pages* pages of a zspage, and its record (:808).

    Approximate: the kernel leaves a zspage with a page that is being migrated to a worker; here that page alone is freed later.
    """
    obj = zspage_page(s, at)
    for i in range(pages):
        free_pages(s, cpu, s.obj[obj + i] + 0)
    s.swap[at].next = s.stat.zspage_free
    s.stat.zspage_free = at


@part(cold=True)
def alloc_zspage(s: View, cpu: int, node: int) -> int:
    """A new zspage (:936): its record's number, or -1 if memory or records run out."""
    at = s.stat.zspage_free + 0
    if at < 0:
        return -1
    s.stat.zspage_free = s.swap[at].next
    s.swap[at].inuse = 0
    obj = zspage_page(s, at)
    for i in range(s.cfg.zs_chain):
        if alloc_zpdesc(s, cpu, node, obj + i) < 0:
            free_zspage(s, cpu, at, i)
            return -1
    s.stat.zspages_alloc += 1
    return at


@part
def get_fullness_group(s: View, inuse: int) -> int:
    """The group of a zspage with so many objects (:628)."""
    if inuse == 0:
        return 0
    if inuse == s.cfg.zs_objs:
        return k.ZS_INUSE_100
    return 100 * inuse // s.cfg.zs_objs // 10 + 1


@part
def insert_zspage(s: View, at: int, group: int) -> None:
    """Put a zspage at the head of a group's list (:655)."""
    head = s.cfg.zs_heads + group
    after = s.swap[head].next + 0
    s.swap[at].prev = head
    s.swap[at].next = after
    s.swap[after].prev = at
    s.swap[head].next = at


@part
def remove_zspage(s: View, at: int) -> None:
    """Take a zspage from its group's list (:668)."""
    after = s.swap[at].next + 0
    before = s.swap[at].prev + 0
    s.swap[before].next = after
    s.swap[after].prev = before


@part(cold=True)
def find_get_zspage(s: View) -> int:
    """The first zspage of the fullest group that has room (:979); -1 if there is none."""
    for i in range(k.ZS_INUSE_99 + 1):
        head = s.cfg.zs_heads + k.ZS_INUSE_99 - i
        at = s.swap[head].next + 0
        if at != head:
            return at
    return -1


@part(cold=True)
def zs_malloc(s: View, cpu: int, node: int) -> int:
    """Room for a compressed page (:1301): the record of the zspage that has it, or -1."""
    at = find_get_zspage(s)
    new = at < 0
    if new:
        at = alloc_zspage(s, cpu, node)
        if at < 0:
            return -1
    inuse = s.swap[at].inuse + 0
    s.swap[at].inuse = inuse + 1
    group = get_fullness_group(s, inuse + 1)
    if not new and group == get_fullness_group(s, inuse):
        return at
    if not new:
        remove_zspage(s, at)
    insert_zspage(s, at, group)
    return at


@part(cold=True)
def zs_free(s: View, cpu: int, at: int) -> None:
    """A compressed page is given up (:1386): its zspage goes to another group's list, or is freed."""
    inuse = s.swap[at].inuse - 1
    s.swap[at].inuse = inuse
    group = get_fullness_group(s, inuse)
    if group == get_fullness_group(s, inuse + 1):
        return
    remove_zspage(s, at)
    if group:
        insert_zspage(s, at, group)
        return
    free_zspage(s, cpu, at, s.cfg.zs_chain)
    s.stat.zspages_free += 1
