# SPDX-License-Identifier: GPL-2.0-or-later
"""The model's own evacuation, driven step by step: claim, end of the lock's hold, the worker's steps."""

from __future__ import annotations

from kevacuate.fidelity.evacuation.folios import Folios
from kevacuate.jit import kernel, pointers
from kevacuate.mm.as_recorded import (
    UNSURE,
    mark_isolated,
    place_folios,
    set_block_skip,
    stage_block,
    unsure_pages,
)
from kevacuate.mm.buddy import page_zone, set_pageblock_migratetype
from kevacuate.mm.constants import ATTR_BUSY, ATTR_FILE, PB_COMPACT_SKIP, WORKER_IDLE
from kevacuate.mm.evacuate import evacuate_pageblock
from kevacuate.mm.evacuate_queue import irq_work_run
from kevacuate.mm.fallback import queue_claimed_block
from kevacuate.mm.layout import Int64Array, State

MANY_LRU = 1 << 24
"""Pages on the LRU: so many that too_many_isolated, whose counters no event shows, never holds an evacuation up."""


@kernel
def claim(sa: State, pfn: int, start: int, block_mt: int, cpu: int) -> int:
    """A sub-block claim that met the threshold: 1 if the model queues it, 2 if it drops it for want of an item, else 0."""
    s = pointers(sa)
    s.stat.cpu = cpu
    queued, dropped = s.stat.queued, s.stat.dropped
    queue_claimed_block(s, page_zone(s, pfn), pfn, start, block_mt)
    return (s.stat.queued - queued) + 2 * (s.stat.dropped - dropped)


@kernel
def unlock(sa: State, pfn: int, cpu: int) -> None:
    """The zone lock of *pfn*'s zone is dropped on *cpu*: the irq_work runs if something is pending."""
    s = pointers(sa)
    s.stat.cpu = cpu
    irq_work_run(s, page_zone(s, pfn))


@kernel
def change_type(sa: State, pfn: int, mt: int) -> None:
    """gt_blk: the block's type as recorded."""
    set_pageblock_migratetype(pointers(sa), pfn, mt)


@kernel
def next_block(sa: State, worker: int) -> int:
    """First pfn of the block at the head of the worker's queue; -1 if the queue is empty."""
    s = pointers(sa)
    item = s.worker[worker].head
    return s.item[item].start_pfn if item >= 0 else -1


@kernel
def bring_forward(sa: State, worker: int, pfn: int) -> bool:
    """After a wrong start: exchange the head's block with *pfn* further back. False if it is not in this queue."""
    s = pointers(sa)
    head = s.worker[worker].head
    item = head
    while item >= 0:
        if s.item[item].start_pfn == pfn:
            s.item[item].start_pfn = s.item[head].start_pfn
            s.item[head].start_pfn = pfn
            return True
        item = s.item[item].next
    return False


@kernel
def _step(sa: State, worker: int) -> None:
    """Run the worker's next step: the one kernel here that holds the model of evacuation, which takes seconds to compile."""
    evacuate_pageblock(pointers(sa), worker)


@kernel
def _stage(
    sa: State, pfn: int, skip: bool, offsets: Int64Array, orders: Int64Array, attr: Int64Array
) -> None:
    """Stage the block as it was found."""
    s = pointers(sa)
    s.zone[page_zone(s, pfn)].nr_lru = MANY_LRU
    stage_block(s, pfn)
    place_folios(s, pfn, 0, offsets, orders, attr)
    set_block_skip(s, pfn, skip)
    s.stat.nr_log = 0


def begin(state: State, worker: int, pfn: int, skip: bool, folios: Folios) -> None:
    """Stage the block as it was found, and run the worker's first step: re-check, and the first isolation."""
    _stage(state, pfn, skip, folios.offset, folios.order, folios.attributes())
    _step(state, worker)


@kernel
def _place(
    sa: State, worker: int, pfn: int, offsets: Int64Array, orders: Int64Array, attr: Int64Array
) -> None:
    """Place folios from the worker's cursor on."""
    s = pointers(sa)
    cursor = s.worker[worker].cursor
    place_folios(s, pfn, cursor - pfn, offsets, orders, attr)


def isolate(state: State, worker: int, pfn: int, folios: Folios) -> None:
    """Run the worker's next isolation; the folios from its cursor on are those given."""
    _place(state, worker, pfn, folios.offset, folios.order, folios.attributes())
    _step(state, worker)


@kernel
def _mark(sa: State, worker: int, clean: int, busy: int) -> None:
    """Mark pages that the worker has isolated."""
    s = pointers(sa)
    mark_isolated(s, worker, clean, UNSURE, ATTR_FILE)
    mark_isolated(s, worker, busy, -1, ATTR_BUSY)


def go_on(state: State, worker: int, clean: int, busy: int) -> None:
    """Run the worker's next step; of the pages it isolated so many of the unsure are clean page cache, or any are busy."""
    _mark(state, worker, clean, busy)
    _step(state, worker)


@kernel
def batch_kinds(sa: State, worker: int) -> tuple[int, int]:
    """Of the pages that the worker has isolated: (those of clean page cache, those of which that is not known)."""
    return unsure_pages(pointers(sa), worker)


@kernel
def worker_state(sa: State, worker: int) -> int:
    """What the worker does next (WORKER_*); WORKER_IDLE if it is not in the middle of an item."""
    s = pointers(sa)
    at = s.worker[worker]
    return at.state if at.item >= 0 else WORKER_IDLE


@kernel
def skip_bit(sa: State, block: int) -> bool:
    """The block's skip bit in the model."""
    s = pointers(sa)
    return s.block[2 * block] & PB_COMPACT_SKIP != 0
