# SPDX-License-Identifier: GPL-2.0-or-later
"""Uses of a folio under the multi-gen LRU, which make its tier (mm/swap.c, mm/vmscan.c, 7.2)."""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm.constants import (
    ATTR_MLOCKED,
    ATTR_ON_LRU,
    ATTR_REFERENCED,
    ATTR_WORKINGSET,
    MOST_LRU_REFS,
)
from kevacuate.mm.fields import View
from kevacuate.mm.lruvec import gen_word
from kevacuate.mm.workingset import folio_lru_refs


@part
def clear_refs(s: View, obj: int) -> None:
    """No use of the object's folio is counted behind the first one (LRU_REFS_MASK)."""
    if obj >= 0:
        s.lru[gen_word(s, obj)] = s.lru[gen_word(s, obj)] & 7


@part(cold=True)
def lru_gen_inc_refs(s: View, pfn: int) -> None:
    """folio_mark_accessed: the first use is PG_referenced, three more count, the fifth makes it working set (swap.c:428)."""
    attr = s.link[2 * pfn + 1] + 0
    obj = s.link[2 * pfn] + 0
    if attr & ATTR_MLOCKED and attr & ATTR_ON_LRU:
        return
    if not attr & ATTR_REFERENCED:
        s.link[2 * pfn + 1] = attr | ATTR_REFERENCED
        clear_refs(s, obj)
    elif obj >= 0 and s.lru[gen_word(s, obj)] >> 3 == MOST_LRU_REFS:
        s.link[2 * pfn + 1] = attr | ATTR_WORKINGSET
    elif obj >= 0:
        s.lru[gen_word(s, obj)] += 8


@part(cold=True)
def lru_gen_set_refs(s: View, pfn: int) -> bool:
    """Reclaim has found an accessed bit of an isolated folio: whether that is to be activated (vmscan.c:833)."""
    attr = s.link[2 * pfn + 1] + 0
    obj = s.link[2 * pfn] + 0
    if not attr & (ATTR_REFERENCED | ATTR_WORKINGSET):
        s.link[2 * pfn + 1] = attr | ATTR_REFERENCED
        clear_refs(s, obj)
        return False
    if folio_lru_refs(s, attr, obj) > 1:
        s.link[2 * pfn + 1] = (attr & ~ATTR_REFERENCED) | ATTR_WORKINGSET
        clear_refs(s, obj)
    else:
        lru_gen_inc_refs(s, pfn)
    return True
