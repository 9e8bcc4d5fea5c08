# SPDX-License-Identifier: GPL-2.0-or-later
"""The way of a folio onto the LRU: per-CPU batches (mm/swap.c)."""

from __future__ import annotations

from .constants import A_IN_BATCH, A_ON_LRU, ALLOC, FOLIO_BATCH_SIZE
from .machine import Machine
from .zone import Page


def folio_add_lru(m: Machine, page: Page) -> None:
    """Put the folio into this CPU's batch; drain the batch if it is full or the folio is large."""
    page.attr |= A_IN_BATCH
    batch = m.lru_batches[m.cpu]
    batch.append(page.pfn)
    if len(batch) == FOLIO_BATCH_SIZE or page.order > 0:
        lru_add_drain(m)


def lru_add_drain(m: Machine) -> None:
    """Move this CPU's batch onto the LRU; entries whose page is gone, or in no batch, are stale."""
    for pfn in m.lru_batches[m.cpu]:
        page = m.heads.get(pfn)
        if page is not None and page.state == ALLOC and page.attr & A_IN_BATCH:
            page.attr = page.attr & ~A_IN_BATCH | A_ON_LRU
            m.zone_of(pfn).nr_lru += page.size
    m.lru_batches[m.cpu] = []
