# SPDX-License-Identifier: GPL-2.0-or-later
"""Straits: requests staged where memory is full but for what leads them to a rare way out of the slow path.

Each fills all memory with movable pages, frees single pages up to a number that the zone's marks give, and asks many times.
Pages that a CPU's lists took along are drained between requests, so that each request meets what was staged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from lockstep_plans import NOWAIT, M, R, U
from oracle.zone import Zone

from kevacuate.mm import constants as k

if TYPE_CHECKING:
    from lockstep_script import Script

LOCAL_ONLY = k.GFP_KERNEL | k.GFP_NORETRY | k.GFP_THISNODE
COMPACTING_GFPS = (
    LOCAL_ONLY, LOCAL_ONLY, LOCAL_ONLY, LOCAL_ONLY & ~k.GFP_FS, k.GFP_KERNEL | k.GFP_NORETRY, k.GFP_KERNEL,
    k.GFP_KERNEL | k.GFP_RETRY_MAYFAIL,
)  # fmt: skip
"""Requests that compact asynchronously first; most of them do nothing else, so that the next one meets the same."""
LATE_GFPS = (NOWAIT, NOWAIT, k.GFP_ATOMIC, k.GFP_ATOMIC, NOWAIT | k.GFP_NOMEMALLOC, k.GFP_KERNEL)
"""Requests that fall back at last; the last of them reclaims and compacts before."""
NOFAIL = k.GFP_KERNEL | k.GFP_NOFAIL
NOFAIL_GFPS = (
    NOFAIL, NOFAIL, NOFAIL & ~k.GFP_FS, NOFAIL | k.GFP_NORETRY, NOFAIL | k.GFP_NORETRY, NOFAIL | k.GFP_RETRY_MAYFAIL,
    NOFAIL | k.GFP_THISNODE, NOFAIL | k.GFP_NORETRY | k.GFP_THISNODE, k.GFP_KERNEL,
)  # fmt: skip
"""Requests that get pages from below the marks, by each way; the last one gets none."""


def too_many_isolated(script: Script, cpu: int) -> None:
    """Asynchronous compactions that find too many pages isolated: COMPACT_CONTENDED."""
    machine = script.machine
    costly = k.PAGE_ALLOC_COSTLY_ORDER + 1
    # What asynchronous compaction of movable blocks is for: costly movable requests, and others for whole blocks.
    asks = [(M, order) for order in range(costly, min(costly + 2, machine.max_page_order) + 1)]
    asks += [
        (mt, order)
        for mt in (U, R)
        for order in range(
            machine.pageblock_order, min(machine.pageblock_order + 1, machine.max_page_order) + 1
        )
    ]
    zone = _zone(script)
    largest = max(order for _, order in asks)
    _leave(
        script,
        cpu,
        zone,
        zone.wmark_pages(k.WMARK_LOW) + min(2 << largest, 32) + script.rng.choice((1, 2, 8, 20)),
    )
    script.lock.forget_failures()
    held = script.hold_many()
    for _ in range(script.rng.randrange(8, 24)):
        mt, order = script.rng.choice(asks)
        _ask(script, cpu, zone, mt, order, COMPACTING_GFPS)
        if script.rng.random() < 0.2:
            script.lock.forget_failures()
    for pfn in held:
        script.lock.let_go(cpu, pfn)


def falls_back_late(script: Script, cpu: int) -> None:
    """In defrag_mode: requests that may take another type's pages only once all else has failed."""
    zone = _zone(script)
    _leave(script, cpu, zone, zone.wmark_pages(k.WMARK_LOW) + script.rng.randrange(4, 40))
    for _ in range(script.rng.randrange(8, 30)):
        _ask(script, cpu, zone, script.rng.choice((U, U, R)), script.rng.choice((0, 0, 0, 1)), LATE_GFPS)
        if script.rng.random() < 0.7:
            script.lock.drain_all()


def below_the_marks(script: Script, cpu: int) -> None:
    """Requests with __GFP_NOFAIL below MIN, down to the last page."""
    zone = _zone(script)
    _leave(script, cpu, zone, zone.wmark_pages(k.WMARK_MIN) + script.rng.choice((-4, -2, -1, -1, 0, 2)))
    failures = script.failures
    for _ in range(script.rng.randrange(8, 40)):
        _ask(
            script,
            cpu,
            zone,
            script.rng.choice((M, U, U, R)),
            script.rng.choice((0, 0, 0, 0, 1)),
            NOFAIL_GFPS,
        )
        if script.failures > failures + 6:
            break
        if script.rng.random() < 0.5:
            script.lock.drain_all()


STRAITS: dict[str, Callable[[Script, int], None]] = {
    "too many isolated": too_many_isolated,
    "falls back late": falls_back_late,
    "below the marks": below_the_marks,
}
"""By name, as a phase says it."""


def _zone(script: Script) -> Zone:
    """A zone that kernel memory may come from, if there is one."""
    zones = script.lock.oracle.m.zones
    return script.rng.choice([zone for zone in zones if zone.index <= k.ZONE_NORMAL] or zones)


def _leave(script: Script, cpu: int, zone: Zone, free: int) -> None:
    """Fill all memory, then free single pages of the zone until it has so many beyond what it keeps from kernel memory."""
    script.fill(cpu)
    script.free_singles(cpu, zone, max(free, 1) + zone.lowmem_reserve[max(zone.index, k.ZONE_NORMAL)])
    script.lock.drain_all()


def _ask(script: Script, cpu: int, zone: Zone, mt: int, order: int, gfps: Sequence[int]) -> None:
    """One request, of the zone's node."""
    obj, gfp = script.take_object(), script.gfp_of(mt, script.rng.choice(gfps))
    pfn = script.lock.alloc(cpu, order, mt, gfp, script.attr_of(mt), obj, zone.node)
    script.remember(obj, pfn, mt == M)
