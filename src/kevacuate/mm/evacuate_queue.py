# SPDX-License-Identifier: GPL-2.0-or-later
"""Evacuate items, the pending lists, irq_work, and the queues of the ``kevacuate/N`` workers.

The patch's functions evacuate_item_alloc, evacuate_item_free, queue_pageblock_evacuate, evacuate_irq_work_fn and
pageblock_evacuate_init live here: what runs inside the allocator. What a worker does with an item is in
:mod:`kevacuate.mm.evacuate`.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm.buddy import get_pfnblock_migratetype
from kevacuate.mm.constants import (
    L_EVAC_DROPPED,
    L_EVAC_QUEUED,
    L_IRQ_WORK,
    MIGRATE_MOVABLE,
    WORKER_IDLE,
    WORKER_START,
)
from kevacuate.mm.fields import View
from kevacuate.mm.log import log_event


@part
def pageblock_evacuate_init(s: View, ready: int) -> None:
    """Fill the free list, item 0 first, so that the first pop is the last item; set each node's func flag.

    *ready* is 0 before the late_initcall; a node whose workqueue could not be created keeps its own flag at 0
    (``evacuate_ready`` of its record).
    """
    s.stat.evacuate_freelist = -1
    for item in range(s.cfg.pool):
        evacuate_item_free(s, item)
    s.stat.evacuate_ready = ready


@part
def evacuate_item_alloc(s: View) -> int:
    """Pop an item off the free list (a stack); -1 if there is none."""
    item = s.stat.evacuate_freelist
    if item >= 0:
        s.stat.evacuate_freelist = s.item[item].next
    return item


@part
def evacuate_item_free(s: View, item: int) -> None:
    """Push an item back: it is the next one popped."""
    s.item[item].next = s.stat.evacuate_freelist
    s.stat.evacuate_freelist = item


@part(cold=True)
def queue_pageblock_evacuate(s: View, z: int, pfn: int) -> None:
    """Put the claimed block on its node's pending list and raise the irq_work; silently nothing without an item.

    The irq_work itself runs when the zone-lock hold ends: :func:`irq_work_run`. What is not the patch's: ``queue_twice`` off,
    ``wait_for_item``.
    """
    node = s.zone[z].node
    if s.stat.evacuate_ready == 0 or s.node[node].evacuate_ready == 0:
        s.stat.unready += 1
        return
    if s.cfg.queue_twice == 0 and block_is_queued(s, pfn):
        return
    item = evacuate_item_alloc(s)
    if item < 0:
        no_item_left(s, z, pfn)
        return
    fill_item(s, item, z, pfn, 0)
    s.item[item].next = s.node[node].evacuate_pending
    s.node[node].evacuate_pending = item


@part
def fill_item(s: View, item: int, z: int, pfn: int, movable: int) -> None:
    """An item is taken for a block: count and log it."""
    new = s.item[item]
    new.zone = z
    new.start_pfn = pfn
    new.queued = s.stat.now
    new.movable = movable
    s.stat.queued += 1
    log_event(s, L_EVAC_QUEUED, pfn, item, s.zone[z].node, 0, 0)


@part
def chain_has_block(s: View, item: int, pfn: int) -> bool:
    """Whether an item of the chain that begins at *item* is for the block at *pfn*."""
    while item >= 0:
        if s.item[item].start_pfn == pfn:
            return True
        item = s.item[item].next
    return False


@part
def block_is_queued(s: View, pfn: int) -> bool:
    """Whether the block is pending or in a worker's queue; one that a worker is at is not (as of work_pending)."""
    for node in range(s.cfg.nr_nodes):
        if chain_has_block(s, s.node[node].evacuate_pending, pfn):
            return True
    for number in range(s.cfg.nr_workers):
        if chain_has_block(s, s.worker[number].head, pfn):
            return True
    return False


@part
def no_item_left(s: View, z: int, pfn: int) -> None:
    """The request is dropped for ever; with ``wait_for_item`` its block waits, once, behind those that wait already.

    A block that is movable then was not claimed: it is evacuated all the same.
    """
    if s.cfg.wait_for_item == 0:
        s.stat.dropped += 1
        log_event(s, L_EVAC_DROPPED, pfn, s.zone[z].node, 0, 0, 0)
        return
    number = s.cfg.pool + (pfn >> s.cfg.pageblock_order)
    own = s.item[number]
    if own.waits:
        return
    own.zone = z
    own.start_pfn = pfn
    own.movable = 1 if get_pfnblock_migratetype(s, pfn) == MIGRATE_MOVABLE else 0
    own.waits = 1
    own.next = -1
    if s.stat.evacuate_waiting < 0:
        s.stat.evacuate_waiting = number
    else:
        s.item[s.stat.evacuate_waiting_last].next = number
    s.stat.evacuate_waiting_last = number


@part(cold=True)
def queue_waiting_block(s: View) -> None:
    """A worker has given its item back: the block that has waited longest takes it, and is queued like those of an irq_work."""
    number = s.stat.evacuate_waiting
    own = s.item[number]
    s.stat.evacuate_waiting = own.next
    own.waits = 0
    item = evacuate_item_alloc(s)
    fill_item(s, item, own.zone, own.start_pfn, own.movable)
    queue_work(s, s.zone[own.zone].node if s.cfg.per_node else s.stat.cpu, item)


@part
def queue_work(s: View, number: int, item: int) -> None:
    """Append the item to the worker's queue; wake an idle worker (max_active is 1: one item at a time)."""
    s.item[item].next = -1
    worker = s.worker[number]
    tail = worker.tail
    if tail >= 0:
        s.item[tail].next = item
    else:
        worker.head = item
    worker.tail = item
    if worker.state == WORKER_IDLE:
        wake = (s.cfg.irq_work_ns + s.cfg.wakeup_ns) * s.cfg.time_scale
        due = max(s.stat.now + wake, worker.busy)
        worker.state = WORKER_START
        worker.due = due
        s.stat.next_due = min(s.stat.next_due, due)


@part(cold=True)
def evacuate_irq_work_fn(s: View, node: int) -> None:
    """llist_del_all of the node's pending items, newest first, each handed to queue_work."""
    pgdat = s.node[node]
    item = pgdat.evacuate_pending
    pgdat.evacuate_pending = -1
    number = node if s.cfg.per_node else s.stat.cpu
    items = 0
    count = item
    while count >= 0:
        items += 1
        count = s.item[count].next
    s.stat.irq_works += 1
    log_event(s, L_IRQ_WORK, -1, node, items, 0, 0)
    while item >= 0:
        following = s.item[item].next
        queue_work(s, number, item)
        item = following


@part(inline=True)
def irq_work_run(s: View, z: int) -> None:
    """The self-IPI that fires as soon as the zone lock is dropped and interrupts are on again."""
    node = s.zone[z].node
    if s.node[node].evacuate_pending >= 0:
        evacuate_irq_work_fn(s, node)


@part
def worker_cpu(s: View, number: int) -> int:
    """The CPU a worker runs on: its own, or with one worker per node the node's lowest."""
    if s.cfg.per_node:
        return s.node[number].cpu
    return min(number, s.cfg.nr_cpus - 1)
