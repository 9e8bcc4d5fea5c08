# SPDX-License-Identifier: GPL-2.0-or-later
"""What use does to a folio: folio_mark_accessed (mm/swap.c, 7.2), or an accessed bit, in closed loop alone."""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm.buddy import page_zone
from kevacuate.mm.constants import (
    ATTR_ACTIVE,
    ATTR_FILE,
    ATTR_LRU,
    ATTR_MLOCKED,
    ATTR_ON_LRU,
    ATTR_REFERENCED,
    ATTR_YOUNG,
)
from kevacuate.mm.fields import View
from kevacuate.mm.lru_gen_refs import lru_gen_inc_refs
from kevacuate.mm.swap import folio_activate, lru_cache_activate_folio


@part(cold=True)
def folio_mark_accessed(s: View, pfn: int) -> None:
    """The CPU that acts has used the folio at *pfn*: referenced, at the second time activated by way of the batch (:496).

    Nothing happens in open loop, nor to what belongs on no LRU list.
    """
    attr = s.link[2 * pfn + 1] + 0
    if s.cfg.open_loop or not attr & ATTR_LRU:
        return
    if s.cfg.lru_gen:
        lru_gen_inc_refs(s, pfn)
        return
    if not attr & ATTR_REFERENCED:
        s.link[2 * pfn + 1] = attr | ATTR_REFERENCED
        return
    unevictable = attr & ATTR_MLOCKED and attr & ATTR_ON_LRU
    if unevictable or attr & ATTR_ACTIVE:
        return
    if attr & ATTR_ON_LRU:
        folio_activate(s, s.stat.cpu, pfn)
    else:
        lru_cache_activate_folio(s, s.stat.cpu, pfn)
    s.link[2 * pfn + 1] &= ~ATTR_REFERENCED
    s.node[s.zone[page_zone(s, pfn)].node].nonresident_age += 1 << (s.meta[pfn] & 15)


@part(cold=True)
def folio_young(s: View, pfn: int) -> None:
    """A task has used the file's folio at *pfn* through its page table, whose accessed bit reclaim will find and clear.

    Nothing happens in open loop, nor to what belongs on no LRU list of files.
    """
    attr = s.link[2 * pfn + 1] + 0
    if s.cfg.open_loop == 0 and attr & ATTR_LRU and attr & ATTR_FILE:
        s.link[2 * pfn + 1] = attr | ATTR_YOUNG
