# SPDX-License-Identifier: GPL-2.0-or-later
"""Evacuate items, the pending lists, irq_work, and the queues of the ``kevacuate/N`` workers.

The patch's functions evacuate_item_alloc, evacuate_item_free, queue_pageblock_evacuate, evacuate_irq_work_fn and
pageblock_evacuate_init live here: what runs inside the allocator. What a worker does with an item is in
:mod:`kevacuate.mm.evacuate`.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm.constants import (
    C_IRQ_WORK_NS,
    C_NCPUS,
    C_OFF_ITEMS,
    C_OFF_NODE_CPU,
    C_OFF_PENDING,
    C_OFF_READY,
    C_OFF_WORKERS,
    C_PER_NODE,
    C_POOL,
    C_TIME_SCALE,
    C_WAKEUP_NS,
    I_NEXT,
    I_PFN,
    I_TIME,
    I_ZONE,
    IS,
    L_EVAC_DROPPED,
    L_EVAC_QUEUED,
    L_IRQ_WORK,
    T_CPU,
    T_DROPPED,
    T_IRQ_WORKS,
    T_NEXT_DUE,
    T_NOW,
    T_QUEUED,
    T_UNREADY,
    W_FREELIST,
    WK_BUSY,
    WK_DUE,
    WK_HEAD,
    WK_STATE,
    WK_TAIL,
    WORKER_IDLE,
    WORKER_START,
    WS,
    Z_NODE,
    ZS,
)
from kevacuate.mm.log import log_event


@part
def pageblock_evacuate_init(s, ready):  # type: ignore[no-untyped-def]
    """Fill the free list, item 0 first, so that the first pop is the last item; set each node's func flag.

    *ready* is 0 before the late_initcall; a node whose workqueue could not be created keeps its own flag at 0
    (``cfg`` at C_OFF_READY).
    """
    s.work[W_FREELIST] = -1
    for item in range(s.cfg[C_POOL]):
        evacuate_item_free(s, item)
    s.work[W_FREELIST + 1] = ready


@part
def evacuate_item_alloc(s):  # type: ignore[no-untyped-def]
    """Pop an item off the free list (a stack); -1 if there is none."""
    item = s.work[W_FREELIST]
    if item >= 0:
        s.work[W_FREELIST] = s.work[s.cfg[C_OFF_ITEMS] + item * IS + I_NEXT]
    return item


@part
def evacuate_item_free(s, item):  # type: ignore[no-untyped-def]
    """Push an item back: it is the next one popped."""
    s.work[s.cfg[C_OFF_ITEMS] + item * IS + I_NEXT] = s.work[W_FREELIST]
    s.work[W_FREELIST] = item


@part(cold=True)
def queue_pageblock_evacuate(s, z, pfn):  # type: ignore[no-untyped-def]
    """Put the claimed block on its node's pending list and raise the irq_work; silently nothing without an item.

    The irq_work itself runs when the zone-lock hold ends: :func:`irq_work_run`.
    """
    node = s.zone[z * ZS + Z_NODE]
    if s.work[W_FREELIST + 1] == 0 or s.cfg[s.cfg[C_OFF_READY] + node] == 0:
        s.stat[T_UNREADY] += 1
        return
    item = evacuate_item_alloc(s)
    if item < 0:
        s.stat[T_DROPPED] += 1
        log_event(s, L_EVAC_DROPPED, pfn, node, 0, 0, 0)
        return
    at = s.cfg[C_OFF_ITEMS] + item * IS
    pending = s.cfg[C_OFF_PENDING] + node
    s.work[at + I_ZONE] = z
    s.work[at + I_PFN] = pfn
    s.work[at + I_TIME] = s.stat[T_NOW]
    s.work[at + I_NEXT] = s.work[pending]
    s.work[pending] = item
    s.stat[T_QUEUED] += 1
    log_event(s, L_EVAC_QUEUED, pfn, item, node, 0, 0)


@part
def queue_work(s, worker, item):  # type: ignore[no-untyped-def]
    """Append the item to the worker's queue; wake an idle worker (max_active is 1: one item at a time)."""
    s.work[s.cfg[C_OFF_ITEMS] + item * IS + I_NEXT] = -1
    at = s.cfg[C_OFF_WORKERS] + worker * WS
    tail = s.work[at + WK_TAIL]
    if tail >= 0:
        s.work[s.cfg[C_OFF_ITEMS] + tail * IS + I_NEXT] = item
    else:
        s.work[at + WK_HEAD] = item
    s.work[at + WK_TAIL] = item
    if s.work[at + WK_STATE] == WORKER_IDLE:
        wake = (s.cfg[C_IRQ_WORK_NS] + s.cfg[C_WAKEUP_NS]) * s.cfg[C_TIME_SCALE]
        due = max(s.stat[T_NOW] + wake, s.work[at + WK_BUSY])
        s.work[at + WK_STATE] = WORKER_START
        s.work[at + WK_DUE] = due
        s.stat[T_NEXT_DUE] = min(s.stat[T_NEXT_DUE], due)


@part(cold=True)
def evacuate_irq_work_fn(s, node):  # type: ignore[no-untyped-def]
    """llist_del_all of the node's pending items, newest first, each handed to queue_work."""
    pending = s.cfg[C_OFF_PENDING] + node
    item = s.work[pending]
    s.work[pending] = -1
    worker = node if s.cfg[C_PER_NODE] else s.stat[T_CPU]
    items = 0
    count = item
    while count >= 0:
        items += 1
        count = s.work[s.cfg[C_OFF_ITEMS] + count * IS + I_NEXT]
    s.stat[T_IRQ_WORKS] += 1
    log_event(s, L_IRQ_WORK, -1, node, items, 0, 0)
    while item >= 0:
        following = s.work[s.cfg[C_OFF_ITEMS] + item * IS + I_NEXT]
        queue_work(s, worker, item)
        item = following


@part(inline=True)
def irq_work_run(s, z):  # type: ignore[no-untyped-def]
    """The self-IPI that fires as soon as the zone lock is dropped and interrupts are on again."""
    node = s.zone[z * ZS + Z_NODE]
    if s.work[s.cfg[C_OFF_PENDING] + node] >= 0:
        evacuate_irq_work_fn(s, node)


@part
def worker_cpu(s, worker):  # type: ignore[no-untyped-def]
    """The CPU a worker runs on: its own, or with one worker per node the node's lowest."""
    if s.cfg[C_PER_NODE]:
        return s.cfg[s.cfg[C_OFF_NODE_CPU] + worker]
    return min(worker, s.cfg[C_NCPUS] - 1)
