# SPDX-License-Identifier: GPL-2.0-or-later
"""From a claim to a worker's queue: the item pool, the node's pending list, the irq_work."""

from __future__ import annotations

from .constants import L_EVAC_DROPPED, L_EVAC_QUEUED, L_IRQ_WORK
from .machine import Machine, Worker
from .zone import Zone


def irq_work_ready(m: Machine, node: int, *, asked: bool = False) -> bool:
    """Whether the node's evacuate_irq_work.func is set, and anybody wants it."""
    if not m.config.evacuate and not asked:
        return False
    ready = m.config.ready
    return ready is None or (node < len(ready) and ready[node])


def queue_pageblock_evacuate(m: Machine, zone: Zone, pfn: int, *, asked: bool = False) -> None:
    """Ask for the evacuation of the block at `pfn`; forgotten if no item is free. `asked`: a policy wants it."""
    if not irq_work_ready(m, zone.node, asked=asked):
        return
    if not m.free_items:
        m.log(L_EVAC_DROPPED, pfn, zone.node)
        return
    item = m.free_items.pop()
    m.items[item].zone = zone.number
    m.items[item].start_pfn = pfn
    m.items[item].movable = False
    m.pending[zone.node].insert(0, item)
    m.log(L_EVAC_QUEUED, pfn, item, zone.node)


def zone_unlock(m: Machine, zone: Zone) -> None:
    """End of a hold of the zone lock: interrupts come in, and with them the irq_work if it is pending."""
    if m.pending[zone.node]:
        evacuate_irq_work_fn(m, zone.node)


def evacuate_irq_work_fn(m: Machine, node: int) -> None:
    """Hand all pending items, newest first, to the workqueue."""
    pending, m.pending[node] = m.pending[node], []
    m.log(L_IRQ_WORK, -1, node, len(pending))
    worker = m.workers[m.cpu if m.config.wq == "per_cpu" else node]
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
