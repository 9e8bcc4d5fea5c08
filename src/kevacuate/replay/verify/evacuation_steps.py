# SPDX-License-Identifier: GPL-2.0-or-later
"""The model's own evacuation, driven step by step: claim, end of the lock's hold, the worker's steps."""

from __future__ import annotations

from kevacuate.mm.buddy import page_zone, set_pageblock_migratetype
from kevacuate.mm.constants import (
    ATTR_BUSY,
    ATTR_FILE,
    C_OFF_ITEMS,
    C_OFF_WORKERS,
    I_NEXT,
    I_PFN,
    IS,
    PB_SKIP,
    T_CPU,
    T_DROPPED,
    T_NLOG,
    T_QUEUED,
    WK_CURSOR,
    WK_HEAD,
    WK_ITEM,
    WK_STATE,
    WORKER_IDLE,
    WS,
    Z_NR_LRU,
    ZS,
)
from kevacuate.mm.evacuate import evacuate_pageblock
from kevacuate.mm.fallback import queue_claimed_block
from kevacuate.mm.given import UNSURE, mark_isolated, place_folios, set_block_skip, stage_block, unsure_pages
from kevacuate.mm.jit import kernel, pointers
from kevacuate.mm.layout import State
from kevacuate.mm.workqueue import irq_work_run
from kevacuate.replay.verify.evacuation_folios import Folios

MANY_LRU = 1 << 24
"""Pages on the LRU: so many that too_many_isolated, whose counters no event shows, never holds an evacuation up."""


@kernel
def claim(sa, pfn, start, block_mt, cpu):  # type: ignore[no-untyped-def]
    """A sub-block claim that met the threshold: 1 if the model queues it, 2 if it drops it for want of an item, else 0."""
    s = pointers(sa)
    s.stat[T_CPU] = cpu
    queued, dropped = s.stat[T_QUEUED] + 0, s.stat[T_DROPPED] + 0
    queue_claimed_block(s, page_zone(s, pfn), pfn, start, block_mt)
    return (s.stat[T_QUEUED] - queued) + 2 * (s.stat[T_DROPPED] - dropped)


@kernel
def unlock(sa, pfn, cpu):  # type: ignore[no-untyped-def]
    """The zone lock of *pfn*'s zone is dropped on *cpu*: the irq_work runs if something is pending."""
    s = pointers(sa)
    s.stat[T_CPU] = cpu
    irq_work_run(s, page_zone(s, pfn))


@kernel
def change_type(sa, pfn, mt):  # type: ignore[no-untyped-def]
    """gt_blk: the block's type as recorded."""
    set_pageblock_migratetype(pointers(sa), pfn, mt)


@kernel
def next_block(sa, worker):  # type: ignore[no-untyped-def]
    """First pfn of the block at the head of the worker's queue; -1 if the queue is empty."""
    s = pointers(sa)
    item = s.work[s.cfg[C_OFF_WORKERS] + worker * WS + WK_HEAD] + 0
    return s.work[s.cfg[C_OFF_ITEMS] + item * IS + I_PFN] + 0 if item >= 0 else -1


@kernel
def bring_forward(sa, worker, pfn):  # type: ignore[no-untyped-def]
    """After a wrong start: exchange the head's block with *pfn* further back. False if it is not in this queue."""
    s = pointers(sa)
    items = s.cfg[C_OFF_ITEMS]
    head = s.work[s.cfg[C_OFF_WORKERS] + worker * WS + WK_HEAD] + 0
    item = head
    while item >= 0:
        if s.work[items + item * IS + I_PFN] == pfn:
            s.work[items + item * IS + I_PFN] = s.work[items + head * IS + I_PFN]
            s.work[items + head * IS + I_PFN] = pfn
            return True
        item = s.work[items + item * IS + I_NEXT] + 0
    return False


@kernel
def _step(sa, worker):  # type: ignore[no-untyped-def]
    """Run the worker's next step: the one kernel here that holds the model of evacuation, which takes seconds to compile."""
    evacuate_pageblock(pointers(sa), worker)


@kernel
def _stage(sa, pfn, skip, offsets, orders, attr):  # type: ignore[no-untyped-def]
    """Stage the block as it was found."""
    s = pointers(sa)
    s.zone[page_zone(s, pfn) * ZS + Z_NR_LRU] = MANY_LRU
    stage_block(s, pfn)
    place_folios(s, pfn, 0, offsets, orders, attr)
    set_block_skip(s, pfn, skip)
    s.stat[T_NLOG] = 0


def begin(state: State, worker: int, pfn: int, skip: bool, folios: Folios) -> None:
    """Stage the block as it was found, and run the worker's first step: re-check, and the first isolation."""
    _stage(state, pfn, skip, folios.offset, folios.order, folios.attributes())
    _step(state, worker)


@kernel
def _place(sa, worker, pfn, offsets, orders, attr):  # type: ignore[no-untyped-def]
    """Place folios from the worker's cursor on."""
    s = pointers(sa)
    cursor = s.work[s.cfg[C_OFF_WORKERS] + worker * WS + WK_CURSOR] + 0
    place_folios(s, pfn, cursor - pfn, offsets, orders, attr)


def isolate(state: State, worker: int, pfn: int, folios: Folios) -> None:
    """Run the worker's next isolation; the folios from its cursor on are those given."""
    _place(state, worker, pfn, folios.offset, folios.order, folios.attributes())
    _step(state, worker)


@kernel
def _mark(sa, worker, clean, busy):  # type: ignore[no-untyped-def]
    """Mark pages that the worker has isolated."""
    s = pointers(sa)
    mark_isolated(s, worker, clean, UNSURE, ATTR_FILE)
    mark_isolated(s, worker, busy, -1, ATTR_BUSY)


def go_on(state: State, worker: int, clean: int, busy: int) -> None:
    """Run the worker's next step; of the pages it isolated so many of the unsure are clean page cache, or any are busy."""
    _mark(state, worker, clean, busy)
    _step(state, worker)


@kernel
def batch_kinds(sa, worker):  # type: ignore[no-untyped-def]
    """Of the pages that the worker has isolated: (those of clean page cache, those of which that is not known)."""
    return unsure_pages(pointers(sa), worker)


@kernel
def worker_state(sa, worker):  # type: ignore[no-untyped-def]
    """What the worker does next (WORKER_*); WORKER_IDLE if it is not in the middle of an item."""
    s = pointers(sa)
    at = s.cfg[C_OFF_WORKERS] + worker * WS
    return s.work[at + WK_STATE] + 0 if s.work[at + WK_ITEM] >= 0 else WORKER_IDLE


@kernel
def skip_bit(sa, block):  # type: ignore[no-untyped-def]
    """The block's skip bit in the model."""
    s = pointers(sa)
    return s.block[2 * block] & PB_SKIP != 0
