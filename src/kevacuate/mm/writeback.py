# SPDX-License-Identifier: GPL-2.0-or-later
"""When a dirty folio is clean again: an input, as no recording of allocations shows writeback; in closed loop alone.

The flusher writes a dirty folio ``cfg.dirty_expire`` ns after it was made dirty. vm.dirty_expire_centisecs bounds that to half a
minute; under pressure dirty limits and fsync make it sooner. The default, 2 s, is fitted: with it a replay of a recording
(pressure, seed 1) finds 1,504 pages dirty at the tail, with 3 s 3,572; the kernel found 1,329, another boot 2,977
(nr_vmscan_immediate_reclaim). Of a second recording (churn, seed 5) replays find 1,620 with 1.5 s and 5,698 with 3 s, the kernel
1,936. The folio's attributes hold when it was made dirty, in units of 2**29 ns from 1 on; 0 is the start. Approximate: the time
wraps after 2.4 hours, and that a folio is written is seen when it is next looked at.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm.constants import (
    ATTR_DIRTIED,
    ATTR_DIRTY,
    ATTR_FILE,
    ATTR_LRU,
    ATTR_SLAB,
    MIGRATE_RECLAIMABLE,
)
from kevacuate.mm.fields import View

_SHIFT = 16
_UNIT_SHIFT = 29
_WRAPS = 0x3FFF
_DIRTY_FILE = ATTR_LRU | ATTR_DIRTY | ATTR_FILE


@part(inline=True)
def dirtied_now(s: View) -> int:
    """The attribute bits of what is made dirty now."""
    return (1 + (s.stat.now >> _UNIT_SHIFT) % _WRAPS) << _SHIFT


@part
def noted(s: View, mt: int, attr: int) -> int:
    """The attributes of a new chunk that was asked for with *mt*.

    Of a dirty folio in a closed loop with the time; one that moves keeps its own. Of a slab with ATTR_SLAB where a policy asks.
    """
    if attr & ATTR_LRU:
        if s.cfg.open_loop == 0 and attr & _DIRTY_FILE == _DIRTY_FILE and attr & ATTR_DIRTIED == 0:
            return attr | dirtied_now(s)
    elif s.cfg.notes_slab and mt == MIGRATE_RECLAIMABLE:
        return attr | ATTR_SLAB
    return attr


@part
def folio_dirty(s: View, pfn: int, attr: int) -> bool:
    """Whether the folio, whose attributes are *attr*, is dirty still; one that was written meanwhile loses the bit."""
    if not attr & ATTR_DIRTY:
        return False
    if s.cfg.open_loop:
        return True
    since = ((s.stat.now >> _UNIT_SHIFT) % _WRAPS - max(((attr & ATTR_DIRTIED) >> _SHIFT) - 1, 0)) % _WRAPS
    if since << _UNIT_SHIFT < s.cfg.dirty_expire:
        return True
    s.link[2 * pfn + 1] = attr & ~(ATTR_DIRTY | ATTR_DIRTIED)
    return False
