# SPDX-License-Identifier: GPL-2.0-or-later
"""The way of a folio onto the LRU and along it: per-CPU batches (mm/swap.c), lists (mm_inline.h), refaults (mm/workingset.c).

In open loop there are no lists, only the knowledge that a folio has left its batch.
"""

from __future__ import annotations

from . import generations
from .constants import (
    A_ACTIVATING,
    A_ACTIVE,
    A_DIRTY,
    A_FILE,
    A_IN_BATCH,
    A_LRU,
    A_MLOCKED,
    A_ON_LRU,
    A_RECLAIM,
    A_REFERENCED,
    A_WORKINGSET,
    A_WRITEBACK,
    A_YOUNG,
    ACTIVE_ANON,
    ACTIVE_FILE,
    ALLOC,
    FLUSHES,
    FOLIO_BATCH_SIZE,
    INACTIVE_ANON,
    INACTIVE_FILE,
    NEVER_DUE,
    UNEVICTABLE,
)
from .machine import Lruvec, Machine
from .zone import Page


def lruvec_of(m: Machine, page: Page) -> Lruvec:
    """The lists of the folio's node."""
    return m.lruvecs[m.zone_of(page.pfn).node]


def list_of(page: Page) -> int:
    """`folio_lru_list`."""
    if page.attr & A_MLOCKED:
        return UNEVICTABLE
    if page.attr & A_FILE:
        return ACTIVE_FILE if page.attr & A_ACTIVE else INACTIVE_FILE
    return ACTIVE_ANON if page.attr & A_ACTIVE else INACTIVE_ANON


def is_linked(page: Page) -> bool:
    """Whether the folio stands on its list: not if it cannot be evicted, nor if nobody knows its owner."""
    return page.obj >= 0 and list_of(page) != UNEVICTABLE


def lruvec_add_folio(m: Machine, page: Page) -> None:
    """Onto the head of its list."""
    if m.config.open_loop:
        return
    lruvec = lruvec_of(m, page)
    if lruvec.gens is not None and is_linked(page):
        generations.add(m, page)
        return
    if lruvec.gens is not None:
        lruvec.loose[m.zone_of(page.pfn).index, list_of(page)] += page.size
    lruvec.sizes[m.zone_of(page.pfn).index, list_of(page)] += page.size
    if is_linked(page):
        lruvec.lists[list_of(page)].add_head(page.pfn)


def lruvec_del_folio(m: Machine, page: Page) -> None:
    """Off its list."""
    if m.config.open_loop:
        return
    lruvec = lruvec_of(m, page)
    if lruvec.gens is not None and is_linked(page):
        generations.remove(m, page)
        return
    if lruvec.gens is not None:
        lruvec.loose[m.zone_of(page.pfn).index, list_of(page)] -= page.size
    lruvec.sizes[m.zone_of(page.pfn).index, list_of(page)] -= page.size
    if is_linked(page):
        lruvec.lists[list_of(page)].remove(page.pfn)


def split_on_lru(m: Machine, lower: Page, upper: Page) -> None:
    """A folio on the LRU was halved: the upper half stands right before the lower one."""
    if not m.config.open_loop and m.config.lru_gen and list_of(upper) != UNEVICTABLE:
        generations.split(m, lower, upper)
        return
    if m.config.open_loop or not is_linked(upper):
        return
    pages = lruvec_of(m, upper).lists[list_of(upper)]
    if is_linked(lower):
        pages.insert_before(upper.pfn, lower.pfn)
    else:
        pages.add_head(upper.pfn)


def folio_add_lru(m: Machine, page: Page) -> None:
    """Put the folio into this CPU's batch; drain the batch if it is full or the folio is large."""
    page.attr |= A_IN_BATCH
    batch = m.lru_batches[m.cpu]
    batch.append(page.pfn)
    if len(batch) == FOLIO_BATCH_SIZE or page.order > 0:
        drain_added(m)


def drain_added(m: Machine) -> None:
    """Move this CPU's lru_add batch onto the LRU; entries whose page is gone, or in no batch, are stale."""
    for pfn in m.lru_batches[m.cpu]:
        page = m.heads.get(pfn)
        if page is not None and page.state == ALLOC and page.attr & A_IN_BATCH:
            page.attr = page.attr & ~A_IN_BATCH | A_ON_LRU
            if page.attr & A_MLOCKED:
                page.attr &= ~A_ACTIVE
            m.zone_of(pfn).nr_lru += page.size
            lruvec_add_folio(m, page)
    m.lru_batches[m.cpu] = []


def drain_activated(m: Machine) -> None:
    """Activate what this CPU's lru_activate batch holds and is still inactive, on its list."""
    for pfn in m.activate_batches[m.cpu]:
        page = m.heads.get(pfn)
        if page is None or page.state != ALLOC or not page.attr & A_ACTIVATING:
            continue
        page.attr &= ~A_ACTIVATING
        if page.attr & A_ON_LRU and not page.attr & (A_ACTIVE | A_MLOCKED):
            lruvec_del_folio(m, page)
            page.attr |= A_ACTIVE
            lruvec_add_folio(m, page)
            m.events["pgactivate"] += page.size
            m.reached["activated by way of the batch"] += 1
    m.activate_batches[m.cpu] = []


def lru_add_drain(m: Machine) -> None:
    """Drain this CPU's batches."""
    drain_added(m)
    drain_activated(m)


def lru_add_drain_all(m: Machine) -> None:
    """Every CPU drains its batches."""
    acting = m.cpu
    for cpu in range(len(m.config.cpu_node)):
        m.cpu = cpu
        lru_add_drain(m)
    m.cpu = acting


def folio_activate(m: Machine, page: Page) -> None:
    """Ask for the activation of a folio that is on its list."""
    page.attr |= A_ACTIVATING
    batch = m.activate_batches[m.cpu]
    batch.append(page.pfn)
    if len(batch) == FOLIO_BATCH_SIZE or page.order > 0:
        drain_activated(m)


def folio_young(m: Machine, page: Page) -> None:
    """A page table's accessed bit."""
    if not m.config.open_loop and page.attr & A_LRU and page.attr & A_FILE:
        page.attr |= A_YOUNG


def folio_mark_accessed(m: Machine, page: Page) -> None:
    """Inactive becomes referenced, referenced becomes active, active becomes referenced."""
    if m.config.open_loop or not page.attr & A_LRU:
        return
    if m.config.lru_gen:
        generations.use(m, page)
        return
    if not page.attr & A_REFERENCED:
        page.attr |= A_REFERENCED
    elif page.attr & A_ON_LRU and page.attr & A_MLOCKED:
        m.reached["unevictable folio used again"] += 1
    elif not page.attr & A_ACTIVE:
        if page.attr & A_ON_LRU:
            folio_activate(m, page)
        elif page.attr & A_IN_BATCH and page.pfn in m.lru_batches[m.cpu]:
            page.attr |= A_ACTIVE
            m.reached["made active in its batch"] += 1
        page.attr &= ~A_REFERENCED
        lruvec_of(m, page).nonresident_age += page.size


def make_dirty(m: Machine, page: Page) -> None:
    """The folio is new: note how often the flusher had written when it was made dirty."""
    if not m.config.open_loop and page.attr & A_FILE and page.attr & A_DIRTY and not page.dirtied:
        write_out(m)
        m.flush_due = min(m.flush_due, m.now + m.config.dirty_expire_ns)
        page.dirtied = 1 + m.flushes


def is_unwritten(m: Machine, page: Page) -> bool:
    """Whether the folio is dirty, and the flusher has not written since."""
    return bool(page.attr & A_DIRTY) and max(page.dirtied - 1, 0) == m.flushes


def write_out(m: Machine) -> None:
    """The flusher has had its time: nothing is dirty, and what reclaim waits for is next in its turn."""
    if m.flush_due > m.now:
        return
    for lruvec in m.lruvecs:
        if lruvec.gens is not None:
            from .lrugen import rotate_written  # which needs what is here

            rotate_written(m, lruvec)
            continue
        waiting: list[Page] = []
        for pfn in lruvec.lists[ACTIVE_FILE]:
            if len(waiting) == lruvec.marked:
                break
            page = m.heads[pfn]
            if is_unwritten(m, page) and page.attr & A_RECLAIM and not page.attr & A_WRITEBACK:
                waiting.append(page)
        for page in reversed(waiting):
            lruvec_del_folio(m, page)
            page.attr &= ~(A_ACTIVE | A_RECLAIM | A_DIRTY)
            page.dirtied = 0
            lruvec.sizes[m.zone_of(page.pfn).index, INACTIVE_FILE] += page.size
            lruvec.lists[INACTIVE_FILE].add_tail(page.pfn)
            m.reached["written folio rotated to the tail"] += 1
        lruvec.marked = 0
    m.flushes = (m.flushes + 1) % FLUSHES
    m.flush_due = NEVER_DUE
    m.reached["flusher has written"] += 1


def is_dirty(m: Machine, page: Page) -> bool:
    """Whether nobody has written the folio yet; if somebody has, it is clean from now on."""
    if not page.attr & A_DIRTY or m.config.open_loop:
        return bool(page.attr & A_DIRTY)
    if is_unwritten(m, page) and m.flush_due > m.now:
        return True
    m.reached["dirty folio found written"] += 1
    page.attr &= ~A_DIRTY
    page.dirtied = 0
    return False


def workingset_eviction(m: Machine, page: Page) -> None:
    """Remember when a folio of the page cache was evicted, in place of it."""
    if m.config.open_loop:
        return
    lruvec = lruvec_of(m, page)
    node = m.zone_of(page.pfn).node
    if lruvec.gens is not None:
        m.shadows[page.obj] = (node, generations.evicted(m, page), bool(page.attr & A_WORKINGSET))
        return
    m.shadows[page.obj] = (node, lruvec.nonresident_age, bool(page.attr & A_WORKINGSET))
    lruvec.nonresident_age += page.size


def workingset_refault(m: Machine, page: Page) -> None:
    """An evicted page of a file was read again, or a page from swap: is it part of the working set?"""
    from .swap import anon_refault, competitors, lru_note_cost  # which need what is here

    if m.config.lru_gen and not m.config.open_loop:
        if page.attr & A_FILE:
            generations.refaulted(m, page, *m.shadows[page.obj])
        elif m.swap is not None and page.obj in m.swap.slots:
            entry = m.swap.entries[m.swap.slots[page.obj]]
            generations.refaulted(m, page, entry.node, entry.age, entry.active)
        return
    if m.swap is not None and not page.attr & A_FILE and page.obj in m.swap.slots:
        anon_refault(m, page, m.swap.entries[m.swap.slots[page.obj]])
    if m.config.open_loop or not page.attr & A_FILE:
        return
    node, age, was_active = m.shadows[page.obj]
    m.events["workingset_refault_file"] += page.size
    evicted_from = m.lruvecs[node]
    if evicted_from.nonresident_age - age > competitors(m, node, file=True):
        m.reached["refault, too late to be active"] += 1
        return
    m.reached["refault, active at once"] += 1
    page.attr |= A_ACTIVE
    lruvec = lruvec_of(m, page)
    lruvec.nonresident_age += page.size
    lruvec.activated += page.size
    m.events["workingset_activate_file"] += page.size
    if was_active:
        page.attr |= A_WORKINGSET
        m.events["workingset_restore_file"] += page.size
        lru_note_cost(m, m.zone_of(page.pfn).node, True, page.size, 0)
