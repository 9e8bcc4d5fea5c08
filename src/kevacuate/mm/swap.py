# SPDX-License-Identifier: GPL-2.0-or-later
"""Per-CPU folio batches (mm/swap.c, 7.2): a folio reaches the LRU, or its active list, only when its CPU's batch is drained.

The lists themselves (:mod:`kevacuate.mm.lruvec`) and the lru_activate batches exist in closed loop alone. A CPU's lru_activate
batch stands in ``lru``: a count, then the folios.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm.buddy import page_zone
from kevacuate.mm.constants import (
    ATTR_ACTIVATING,
    ATTR_ACTIVE,
    ATTR_IN_BATCH,
    ATTR_MLOCKED,
    ATTR_ON_LRU,
    CHUNK_ALLOC,
    FOLIO_BATCH_SIZE,
    LRU_BATCH,
    LRU_HEADS,
)
from kevacuate.mm.fields import View
from kevacuate.mm.lruvec import lruvec_add_folio, lruvec_del_folio


@part(inline=True)
def lru_add(s: View, pfn: int, attr: int) -> None:
    """A folio of a batch reaches its list; one that cannot be evicted is not active."""
    attr = (attr & ~ATTR_IN_BATCH) | ATTR_ON_LRU
    if attr & ATTR_MLOCKED:
        attr &= ~ATTR_ACTIVE
    s.link[2 * pfn + 1] = attr
    s.zone[page_zone(s, pfn)].nr_lru += 1 << (s.meta[pfn] & 15)
    if s.cfg.open_loop == 0:
        lruvec_add_folio(s, pfn)


@part(cold=True)
def lru_add_batch_drain(s: View, cpu: int) -> None:
    """Move everything in the CPU's lru_add batch to the LRU; entries whose page has gone are skipped."""
    batch = s.cpu[cpu]
    for i in range(batch.lru_add_nr):
        pfn = batch.lru_add[i]
        attr = s.link[2 * pfn + 1] + 0
        if s.meta[pfn] >> 4 == CHUNK_ALLOC and attr & ATTR_IN_BATCH:
            lru_add(s, pfn, attr)
    batch.lru_add_nr = 0


@part(inline=True)
def activate_batch(s: View, cpu: int) -> int:
    """Index in ``lru`` of the count of a CPU's lru_activate batch; its folios follow."""
    return 2 * (LRU_HEADS + cpu * LRU_BATCH)


@part
def lru_activate(s: View, pfn: int, attr: int) -> None:
    """A folio on a list goes to the head of the active one (:342)."""
    if attr & (ATTR_ACTIVE | ATTR_MLOCKED) or not attr & ATTR_ON_LRU:
        return
    lruvec_del_folio(s, pfn, attr)
    s.link[2 * pfn + 1] |= ATTR_ACTIVE
    lruvec_add_folio(s, pfn)
    s.stat.pgactivate += 1 << (s.meta[pfn] & 15)


@part(cold=True)
def folio_activate_drain(s: View, cpu: int) -> None:
    """Activate everything in the CPU's lru_activate batch; entries whose page has gone, or was isolated, are skipped."""
    at = activate_batch(s, cpu)
    for i in range(s.lru[at]):
        pfn = s.lru[at + 1 + i] + 0
        attr = s.link[2 * pfn + 1] + 0
        if s.meta[pfn] >> 4 == CHUNK_ALLOC and attr & ATTR_ACTIVATING:
            attr &= ~ATTR_ACTIVATING
            s.link[2 * pfn + 1] = attr
            lru_activate(s, pfn, attr)
    s.lru[at] = 0


@part(cold=True)
def folio_activate(s: View, cpu: int, pfn: int) -> None:
    """Put a folio into the CPU's lru_activate batch; a full batch or a large folio drains it (:368)."""
    s.link[2 * pfn + 1] |= ATTR_ACTIVATING
    at = activate_batch(s, cpu)
    count = s.lru[at] + 1
    s.lru[at + count] = pfn
    s.lru[at] = count
    if count == FOLIO_BATCH_SIZE or s.meta[pfn] & 15 > 0:
        folio_activate_drain(s, cpu)


@part(cold=True)
def lru_cache_activate_folio(s: View, cpu: int, pfn: int) -> None:
    """Mark a folio active that still waits in this CPU's lru_add batch (:396)."""
    batch = s.cpu[cpu]
    for i in range(batch.lru_add_nr):
        if batch.lru_add[i] == pfn and s.link[2 * pfn + 1] & ATTR_IN_BATCH:
            s.link[2 * pfn + 1] |= ATTR_ACTIVE


@part(cold=True)
def lru_add_drain_cpu(s: View, cpu: int) -> None:
    """Drain the CPU's batches: lru_add, then lru_activate."""
    lru_add_batch_drain(s, cpu)
    if s.cfg.open_loop == 0:
        folio_activate_drain(s, cpu)


@part(inline=True)
def folio_add_lru(s: View, cpu: int, pfn: int, order: int) -> None:
    """Put a folio into the CPU's batch; a full batch or a large folio drains it (folio_batch_add_and_move)."""
    s.link[2 * pfn + 1] |= ATTR_IN_BATCH
    batch = s.cpu[cpu]
    count = batch.lru_add_nr + 1
    batch.lru_add[count - 1] = pfn
    batch.lru_add_nr = count
    if count == FOLIO_BATCH_SIZE or order > 0:
        lru_add_batch_drain(s, cpu)
