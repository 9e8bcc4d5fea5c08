# SPDX-License-Identifier: GPL-2.0-or-later
"""A policy's worker: when it runs, what that takes, and what it has the model do at once (docs/own-policy.md).

A worker's hook is compiled apart and small. What it has done to the allocator is the model's own code, which it calls by address
(``stat.policy_operation``). Approximate: all of it is one moment of virtual time, and the time it takes passes afterwards: until
then the worker does not run again.
"""

from __future__ import annotations

from kevacuate.jit import operation_address, part
from kevacuate.mm import constants as k
from kevacuate.mm.compact_range import compact_range
from kevacuate.mm.evacuate_isolate import isolate_migratepages_range
from kevacuate.mm.evacuate_migrate import migrate_pages, putback_movable_pages
from kevacuate.mm.fields import View
from kevacuate.mm.hooks import ask_between, hooked, wake_policy_worker
from kevacuate.mm.page_free import free_frozen_pages
from kevacuate.mm.unmovable import MOVES, unmovable_freed


@part(cold=True)
def migrate_batch(s: View, pfn: int, cpu: int) -> int:
    """Move up to COMPACT_CLUSTER_MAX pages of a block elsewhere, from *pfn* on, as an evacuation does; the pages moved.

    Clean page cache is moved, too. The worker's cursor is left behind what was looked at, at *pfn* where too many pages are
    isolated.
    """
    worker = s.worker[s.cfg.nr_workers]
    block = pfn >> s.cfg.pageblock_order
    worker.cursor = pfn
    worker.nr_migratepages = 0
    _, pages = isolate_migratepages_range(s, worker, pfn, (block + 1) << s.cfg.pageblock_order)
    s.stat.policy_cost += (worker.cursor - pfn) * s.cfg.scan_ns + pages * s.cfg.isolate_ns
    if worker.nr_migratepages == 0:
        return 0
    _, moved = migrate_pages(s, worker, cpu)
    putback_movable_pages(s, worker, cpu)
    s.stat.policy_cost += pages * s.cfg.migrate_ns
    return moved


@part
def is_slab(s: View, pfn: int) -> bool:
    """Whether an object's slab that a shrinker may empty starts at *pfn*."""
    attr = s.link[2 * pfn + 1] + 0
    allocated = s.meta[pfn] >> 4 == k.CHUNK_ALLOC
    return allocated and attr & k.ATTR_SLAB != 0 and attr & MOVES == 0 and s.link[2 * pfn] >= 0


@part(cold=True)
def shrink_slab(s: View, node: int, priority: int, cpu: int) -> int:
    """Free each 2**priority-th reclaimable slab of the node, by pfn (shrink_slab, mm/shrinker.c:626); the pages freed.

    Approximate: shrinkers free objects, of which a slab has many, oldest first. That an empty slab is one in so many is assumed,
    and which it is, too. What was in it is not read again.
    """
    slabs = freed = 0
    for z in range(s.cfg.nr_zones):
        zone = s.zone[z]
        pfn = zone.zone_start_pfn
        while zone.node == node and pfn < zone.zone_end_pfn:
            order = s.meta[pfn] & 15
            if is_slab(s, pfn):
                slabs += 1
                if slabs & ((1 << priority) - 1) == 0:
                    freed += 1 << order
                    free_slab(s, pfn, order, cpu)
            pfn += 1 << order
    s.stat.policy_cost += freed * s.cfg.reclaim_ns
    return freed


@part(cold=True)
def free_slab(s: View, pfn: int, order: int, cpu: int) -> None:
    """Free a slab; its object is nowhere from now on."""
    s.obj[s.link[2 * pfn]] = k.OBJ_SHRUNK
    free_frozen_pages(s, cpu, pfn, order)
    if hooked(s, k.HOOK_LAST_UNMOVABLE_FREED):
        unmovable_freed(s, pfn, order)


@part
def policy_operation(own: int, s: View, what: int, a: int, b: int, c: int, d: int, e: int) -> int:
    """What a worker has the model do: *what* is a DO_* constant, the others are its arguments; returns what that says."""
    cpu = s.stat.cpu
    if what == k.DO_MIGRATE_BATCH:
        return migrate_batch(s, a, cpu)
    if what == k.DO_SHRINK_SLAB:
        return shrink_slab(s, a, b, cpu)
    moved, cost = compact_range(s, a, b, c, cpu)
    s.stat.policy_cost += cost
    return moved


@part(cold=True)
def policy_work(s: View) -> None:
    """Run the policy's worker; it answers in how many ns it is due again after that, 0 for when it is woken."""
    s.stat.policy_due = k.NEVER
    s.stat.policy_runs += 1
    s.stat.cpu = s.node[0].cpu
    s.stat.policy_cost = 0
    s.stat.policy_operation = operation_address(policy_operation, s)
    value = ask_between(s, k.HOOK_WORKER, 0, 0, 0, 0, 0, 0, 0, k.LONGEST_SLEEP)
    took = s.stat.policy_cost * s.cfg.time_scale
    s.stat.worker_ns += s.stat.policy_cost
    s.stat.policy_busy = s.stat.now + max(took, k.LEAST_SLEEP)
    if s.stat.policy_due != k.NEVER:
        s.stat.policy_due = max(s.stat.policy_due, s.stat.policy_busy)
    if value > 0:
        wake_policy_worker(s, took + value)
