# SPDX-License-Identifier: GPL-2.0-or-later
"""Per-CPU lru_add batches (mm/swap.c, 7.2): a folio reaches the LRU only when its CPU's batch is drained."""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm.buddy import page_zone
from kevacuate.mm.constants import (
    ATTR_IN_BATCH,
    ATTR_ON_LRU,
    FOLIO_BATCH_SIZE,
    LS,
    PG_ALLOC,
    Z_NR_LRU,
    ZS,
)


@part(cold=True)
def lru_add_drain_cpu(s, cpu):  # type: ignore[no-untyped-def]
    """Move everything in the CPU's batch to the LRU; entries whose page has gone are skipped."""
    base = cpu * LS
    for i in range(s.lru[base]):
        pfn = s.lru[base + 1 + i] + 0
        meta = s.meta[pfn] + 0
        attr = s.link[2 * pfn + 1] + 0
        if meta >> 4 == PG_ALLOC and attr & ATTR_IN_BATCH:
            s.link[2 * pfn + 1] = (attr & ~ATTR_IN_BATCH) | ATTR_ON_LRU
            s.zone[page_zone(s, pfn) * ZS + Z_NR_LRU] += 1 << (meta & 15)
    s.lru[base] = 0


@part(inline=True)
def folio_add_lru(s, cpu, pfn, order):  # type: ignore[no-untyped-def]
    """Put a folio into the CPU's batch; a full batch or a large folio drains it (folio_batch_add_and_move)."""
    s.link[2 * pfn + 1] |= ATTR_IN_BATCH
    base = cpu * LS
    count = s.lru[base] + 1
    s.lru[base + count] = pfn
    s.lru[base] = count
    if count == FOLIO_BATCH_SIZE or order > 0:
        lru_add_drain_cpu(s, cpu)
