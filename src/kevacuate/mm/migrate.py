# SPDX-License-Identifier: GPL-2.0-or-later
"""What every migration does with one folio: move it, or free it where its owner let go of it (mm/migrate.c, 7.2)."""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.fields import View
from kevacuate.mm.lruvec import mod_isolated
from kevacuate.mm.page_free import free_frozen_pages, prep_new_page
from kevacuate.mm.swap import folio_add_lru


@part
def unaccount_isolated(s: View, pfn: int, order: int) -> None:
    """NR_ISOLATED falls when an LRU folio leaves the private list."""
    attr = s.link[2 * pfn + 1] + 0
    if attr & k.ATTR_LRU:
        mod_isolated(s, pfn, attr, -(1 << order))


@part
def free_isolated(s: View, cpu: int, pfn: int) -> None:
    """Free a folio whose owner let go of it while it was isolated."""
    order = s.meta[pfn] & 15
    unaccount_isolated(s, pfn, order)
    free_frozen_pages(s, cpu, pfn, order)


@part
def put_source_back(s: View, cpu: int, pfn: int) -> int:
    """putback_movable_pages for one folio; one that its owner let go of meanwhile is freed. Returns the pages put back."""
    if s.link[2 * pfn + 1] & k.ATTR_FREED:
        free_isolated(s, cpu, pfn)
        return 0
    order = s.meta[pfn] & 15
    unaccount_isolated(s, pfn, order)
    s.meta[pfn] = k.CHUNK_ALLOC << 4 | order
    if s.link[2 * pfn + 1] & k.ATTR_LRU:
        folio_add_lru(s, cpu, pfn, order)
    return 1 << order


@part
def migrate_folio_move(s: View, cpu: int, src: int, dst: int, order: int) -> None:
    """Give the source's identity to the destination, put that on the LRU, free the source on this CPU."""
    obj = s.link[2 * src] + 0
    attr = s.link[2 * src + 1] & k.ATTR_MIGRATED
    unaccount_isolated(s, src, order)
    prep_new_page(s, cpu, dst, order, attr, obj)
    free_frozen_pages(s, cpu, src, order)
