# SPDX-License-Identifier: GPL-2.0-or-later
"""From a claim to a worker's queue: the item pool, the node's pending list, the irq_work."""

from __future__ import annotations

from .constants import L_EVAC_DROPPED, L_EVAC_QUEUED, L_IRQ_WORK, MOVABLE
from .machine import Item, Machine, Worker
from .zone import Zone


def irq_work_ready(m: Machine, node: int, *, asked: bool = False) -> bool:
    """Whether the node's evacuate_irq_work.func is set, and anybody wants it."""
    if not m.config.evacuate and not asked:
        return False
    ready = m.config.ready
    return ready is None or (node < len(ready) and ready[node])


def queue_pageblock_evacuate(
    m: Machine, zone: Zone, pfn: int, *, asked: bool = False, movable: bool = False
) -> None:
    """Ask for the evacuation of the block at `pfn`; forgotten if no item is free.

    `asked`: a policy wants it. `movable`: and even if it is movable then.
    """
    if not irq_work_ready(m, zone.node, asked=asked):
        return
    if not m.config.queue_twice and pfn in (m.items[item].start_pfn for item in queued_items(m)):
        m.reached["opening: block queued already"] += 1
        return
    if m.free_items:
        m.pending[zone.node].insert(0, take_item(m, zone, pfn, movable))
    elif not m.config.wait_for_item:
        m.log(L_EVAC_DROPPED, pfn, zone.node)
    elif pfn not in (block.start_pfn for block in m.waiting):
        m.reached["opening: block waits for an item"] += 1
        m.waiting.append(Item(zone.number, pfn, m.get_pageblock_migratetype(pfn) == MOVABLE))


def queued_items(m: Machine) -> list[int]:
    """Items that no worker has begun."""
    queues = [*m.pending, *(worker.queue for worker in m.workers)]
    return [item for queue in queues for item in queue]


def take_item(m: Machine, zone: Zone, pfn: int, movable: bool) -> int:
    """A free item, for the block at `pfn`."""
    item = m.free_items.pop()
    m.items[item] = Item(zone.number, pfn, movable)
    m.log(L_EVAC_QUEUED, pfn, item, zone.node)
    return item


def item_given_back(m: Machine) -> None:
    """The worker on this CPU has freed an item: who waits longest has it."""
    if m.waiting:
        block = m.waiting.pop(0)
        m.reached["opening: waiting block queued"] += 1
        zone = m.zones[block.zone]
        item = take_item(m, zone, block.start_pfn, block.movable)
        queue_work(m, worker_for(m, zone.node), item)


def worker_for(m: Machine, node: int) -> Worker:
    """Who is handed what is queued on this CPU."""
    return m.workers[m.cpu if m.config.wq == "per_cpu" else node]


def zone_unlock(m: Machine, zone: Zone) -> None:
    """End of a hold of the zone lock: interrupts come in, and with them the irq_work if it is pending."""
    if m.pending[zone.node]:
        evacuate_irq_work_fn(m, zone.node)


def evacuate_irq_work_fn(m: Machine, node: int) -> None:
    """Hand all pending items, newest first, to the workqueue."""
    pending, m.pending[node] = m.pending[node], []
    m.log(L_IRQ_WORK, -1, node, len(pending))
    worker = worker_for(m, node)
    for item in pending:
        queue_work(m, worker, item)


def queue_work(m: Machine, worker: Worker, item: int) -> None:
    """Append the item to the worker's queue, wake the worker if it is idle."""
    worker.queue.append(item)
    if worker.state == "IDLE":
        worker.state = "START"
        worker.due = max(
            m.now + (m.config.irq_work_ns + m.config.wakeup_ns) * m.config.time_scale, worker.busy_until
        )
