# SPDX-License-Identifier: GPL-2.0-or-later
"""Which pageblocks hold a page that cannot move, and what a policy is told when the last such page of one is freed.

A page that cannot move is in use, or reserved, and of neither kind that migration takes: it never is on an LRU list and has no
movable_ops. Pages on per-CPU lists are free. A folio that waits in an LRU batch can move.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.buddy import covering_chunk, get_pfnblock_migratetype, page_zone
from kevacuate.mm.fields import View
from kevacuate.mm.hooks import hooked_event

MOVES = k.ATTR_LRU | k.ATTR_MOVABLE_OPS
"""Attributes of what can move."""


@part
def cannot_move(s: View, pfn: int) -> bool:
    """Whether a page that cannot move lies in the chunk that starts at *pfn*."""
    state = s.meta[pfn] >> 4
    in_use = state == k.CHUNK_ALLOC or state == k.CHUNK_ISOLATED
    return state == k.CHUNK_RESERVED or (in_use and s.link[2 * pfn + 1] & MOVES == 0)


@part
def has_unmovable_page(s: View, start: int) -> bool:
    """Whether the block that starts at *start* holds a page that cannot move."""
    head = covering_chunk(s, start)
    pfn = start if head < 0 else head
    end = start + (1 << s.cfg.pageblock_order)
    while pfn < end:
        if cannot_move(s, pfn):
            return True
        pfn += 1 << (s.meta[pfn] & 15)
    return False


@part(cold=True)
def unmovable_freed(s: View, pfn: int, order: int) -> None:
    """A chunk that could not move has been freed: the policy hears of each of its blocks that holds no such page any more."""
    block = 1 << s.cfg.pageblock_order
    start = pfn >> s.cfg.pageblock_order << s.cfg.pageblock_order
    while start < pfn + (1 << order):
        if not has_unmovable_page(s, start):
            mt = get_pfnblock_migratetype(s, start)
            hooked_event(s, k.HOOK_LAST_UNMOVABLE_FREED, page_zone(s, start), start, order, mt, 0)
        start += block
