# SPDX-License-Identifier: GPL-2.0-or-later
"""Per-CPU lru_add batches (mm/swap.c, 7.2): a folio reaches the LRU only when its CPU's batch is drained."""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm.buddy import page_zone
from kevacuate.mm.constants import ATTR_IN_BATCH, ATTR_ON_LRU, CHUNK_ALLOC, FOLIO_BATCH_SIZE
from kevacuate.mm.fields import View


@part(cold=True)
def lru_add_drain_cpu(s: View, cpu: int) -> None:
    """Move everything in the CPU's batch to the LRU; entries whose page has gone are skipped."""
    batch = s.cpu[cpu]
    for i in range(batch.lru_add_nr):
        pfn = batch.lru_add[i]
        meta = s.meta[pfn] + 0
        attr = s.link[2 * pfn + 1] + 0
        if meta >> 4 == CHUNK_ALLOC and attr & ATTR_IN_BATCH:
            s.link[2 * pfn + 1] = (attr & ~ATTR_IN_BATCH) | ATTR_ON_LRU
            s.zone[page_zone(s, pfn)].nr_lru += 1 << (meta & 15)
    batch.lru_add_nr = 0


@part(inline=True)
def folio_add_lru(s: View, cpu: int, pfn: int, order: int) -> None:
    """Put a folio into the CPU's batch; a full batch or a large folio drains it (folio_batch_add_and_move)."""
    s.link[2 * pfn + 1] |= ATTR_IN_BATCH
    batch = s.cpu[cpu]
    count = batch.lru_add_nr + 1
    batch.lru_add[count - 1] = pfn
    batch.lru_add_nr = count
    if count == FOLIO_BATCH_SIZE or order > 0:
        lru_add_drain_cpu(s, cpu)
