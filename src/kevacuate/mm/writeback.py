# SPDX-License-Identifier: GPL-2.0-or-later
"""When a dirty folio is clean again: once the flusher has written; in closed loop alone (fs/fs-writeback.c, mm/vmscan.c, 7.2).

Reclaim wakes the flusher where all folios of a batch are dirty and none is under writeback (handle_reclaim_writeback). It writes
all that is dirty. So it did in a recording (pressure, seed 1): of 10,113 pages that were made dirty and found clean, 9,993 were
made dirty before such a wake. A wake takes ``cfg.flush_ns``, times the time scale, until all is written: in that recording
dirty folios were found for 8 to 103 ms, the median of seven such wakes 34 ms; in another (churn, seed 5) for 9 to 309 ms. Without
a wake all is written ``cfg.dirty_expire`` ns (vm.dirty_expire_centisecs) after the first folio was made dirty.

A folio that reclaim met dirty was activated and marked. Once written it goes to the tail of the inactive list, the first met
first (folio_rotate_reclaimable, mm/swap.c). The folio's attributes hold how often the flusher had written when it was made dirty,
from 1 on; 0 is the start. Approximate: all is written at one moment, seen when reclaim or a new dirty folio comes next; marked
folios that are not active any more keep their place; vm.dirty_background_ratio and fsync start no flusher; after 16,383 writes
the count wraps.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.buddy import page_zone
from kevacuate.mm.fields import View
from kevacuate.mm.lruvec import (
    gen_head,
    gen_list,
    lru_gen_add_folio,
    lru_gen_del_folio,
    lru_head,
    lru_link,
    lru_object,
    lru_unlink,
    update_lru_size,
)

_SHIFT = 16
_WRAPS = 0x3FFF
_DIRTY_FILE = k.ATTR_LRU | k.ATTR_DIRTY | k.ATTR_FILE


@part
def folio_rotate_reclaimable(s: View, at: int, pfn: int, before: int) -> None:
    """A written folio that was marked for reclaim, at place *at* of ``lru``, goes before *before* of the inactive list."""
    s.link[2 * pfn + 1] &= ~(k.ATTR_ACTIVE | k.ATTR_RECLAIM | k.ATTR_DIRTY | k.ATTR_DIRTIED)
    pages = 1 << (s.meta[pfn] & 15)
    zone = page_zone(s, pfn)
    update_lru_size(s, zone, k.LRU_ACTIVE_FILE, -pages)
    update_lru_size(s, zone, k.LRU_INACTIVE_FILE, pages)
    lru_unlink(s, at)
    lru_link(s, at, s.lru[2 * before + 1] + 0, before)


@part
def since_written(s: View, attr: int) -> bool:
    """Whether the flusher has not written since a folio with these attributes was made dirty."""
    return max(((attr & k.ATTR_DIRTIED) >> _SHIFT) - 1, 0) == s.stat.flushes


@part
def is_marked(s: View, attr: int) -> bool:
    """Whether reclaim has met the folio dirty, and it is so still."""
    marked = k.ATTR_DIRTY | k.ATTR_RECLAIM
    return attr & (marked | k.ATTR_WRITEBACK) == marked and since_written(s, attr)


@part(cold=True)
def rotate_written(s: View, node: int) -> None:
    """The active folios of files that were marked for reclaim are written: to the tail of the inactive list, first marked last.

    They stand near the head of the active list, the last marked first.
    """
    head = lru_head(node, k.LRU_ACTIVE_FILE)
    before = lru_head(node, k.LRU_INACTIVE_FILE)
    at = s.lru[2 * head] + 0
    while at != head and s.node[node].nr_marked > 0:
        after = s.lru[2 * at] + 0
        pfn = s.obj[lru_object(s, at)] + 0
        if is_marked(s, s.link[2 * pfn + 1] + 0):
            s.node[node].nr_marked -= 1
            folio_rotate_reclaimable(s, at, pfn, before)
            before = at
        at = after
    s.node[node].nr_marked = 0


@part(cold=True)
def lru_gen_rotate_written(s: View, node: int) -> None:
    """:func:`rotate_written` with generations: the marked folios go to the tail of the oldest one, in the same order.

    Approximate: the last marked is looked for in the youngest generation first, at the head of its list.
    """
    pgdat = s.node[node]
    for index in range(k.ZONE_MOVABLE + 1):
        oldest = max(pgdat.max_seq - k.MAX_NR_GENS + 1, pgdat.min_seq[k.LRU_GEN_FILE])
        before = gen_head(s, node, gen_list(oldest % k.MAX_NR_GENS, k.LRU_GEN_FILE, index))
        for seq in range(pgdat.max_seq, pgdat.min_seq[k.LRU_GEN_FILE] - 1, -1):
            head = gen_head(s, node, gen_list(seq % k.MAX_NR_GENS, k.LRU_GEN_FILE, index))
            at = s.lru[2 * head] + 0
            while at != head and pgdat.nr_marked > 0:
                after = s.lru[2 * at] + 0
                pfn = s.obj[lru_object(s, at)] + 0
                if is_marked(s, s.link[2 * pfn + 1] + 0):
                    pgdat.nr_marked -= 1
                    lru_gen_rotate(s, at, pfn, before)
                    before = at
                at = after
    pgdat.nr_marked = 0


@part(cold=True)
def lru_gen_rotate(s: View, at: int, pfn: int, before: int) -> None:
    """A written folio, at place *at* of ``lru``, goes before *before* of the oldest generation (lru_move_tail, mm/swap.c)."""
    obj = lru_object(s, at)
    lru_gen_del_folio(s, pfn, s.link[2 * pfn + 1] + 0, obj, True)
    s.link[2 * pfn + 1] &= ~(k.ATTR_RECLAIM | k.ATTR_DIRTY | k.ATTR_DIRTIED)
    lru_gen_add_folio(s, pfn, s.link[2 * pfn + 1] + 0, obj, True)
    lru_unlink(s, at)
    lru_link(s, at, s.lru[2 * before + 1] + 0, before)


@part(cold=True)
def flusher_writes(s: View) -> None:
    """All that is dirty is written, if the flusher has had its time."""
    if s.stat.now < s.stat.flush_due:
        return
    s.stat.flush_due = k.NEVER
    for node in range(s.cfg.nr_nodes):
        if s.cfg.lru_gen:
            lru_gen_rotate_written(s, node)
        else:
            rotate_written(s, node)
    s.stat.flushes = (s.stat.flushes + 1) % _WRAPS


@part
def wakeup_flusher(s: View) -> None:
    """Reclaim met nothing but dirty folios: the flusher begins (wakeup_flusher_threads)."""
    s.stat.flush_due = min(s.stat.flush_due, s.stat.now + s.cfg.flush_ns * s.cfg.time_scale)


@part
def dirtied_now(s: View) -> int:
    """The attribute bits of what is made dirty now."""
    flusher_writes(s)
    s.stat.flush_due = min(s.stat.flush_due, s.stat.now + s.cfg.dirty_expire)
    return (1 + s.stat.flushes) << _SHIFT


@part
def noted(s: View, mt: int, attr: int) -> int:
    """The attributes of a new chunk that was asked for with *mt*.

    Of a dirty folio in a closed loop with the count; one that moves keeps its own. Of a slab with ATTR_SLAB where a policy asks.
    """
    if attr & k.ATTR_LRU:
        if s.cfg.open_loop == 0 and attr & _DIRTY_FILE == _DIRTY_FILE and attr & k.ATTR_DIRTIED == 0:
            return attr | dirtied_now(s)
    elif s.cfg.notes_slab and mt == k.MIGRATE_RECLAIMABLE:
        return attr | k.ATTR_SLAB
    return attr


@part
def folio_dirty(s: View, pfn: int, attr: int) -> bool:
    """Whether the folio, whose attributes are *attr*, is dirty still; one that was written meanwhile loses the bit."""
    if not attr & k.ATTR_DIRTY:
        return False
    if s.cfg.open_loop:
        return True
    if s.stat.now < s.stat.flush_due and since_written(s, attr):
        return True
    s.link[2 * pfn + 1] = attr & ~(k.ATTR_DIRTY | k.ATTR_DIRTIED)
    return False
