# SPDX-License-Identifier: GPL-2.0-or-later
"""The tuning level's one-second decay under every phase, compiled: decay_pcp_high as the vmstat worker calls it.

The worker's timer is rounded to a second, and then by the timer wheel to eight jiffies (:func:`expiry`). It is deferrable
(:func:`wake_up`), and the worker waits for the CPU. A decay that drains is seen, and happens when it is; one that does not
happens at the tick, unless a free soon shows that it has not.
"""

from __future__ import annotations

from kevacuate.fidelity.tuning.books import D_DECAY, O_LOW, O_TOP, OW, PHASE_NS, PHASES, X_DECAY, TuningBooks
from kevacuate.fidelity.tuning.phases import decided, mismatch, summarise
from kevacuate.jit import part
from kevacuate.mm.fields import View
from kevacuate.mm.pcp import (
    decay_high,
    pcp_number,
)

WAIT_NS = 100_000_000
"""After so long without its drain a decay is looked at again: see :func:`give_up_decay`."""

WORKER_NS = 50_000_000
"""The longest that the vmstat worker waits for the CPU after its tick: visible ones in emulated kernels came 1 to 40 ms after."""

HZ = 250
"""Jiffies of a second: the recorded kernels' configuration, and Debian's."""

SECONDS = PHASES // HZ

LVL_CLK_SHIFT = 3
"""Jiffies of the wheel's level 1, as a power of two (timer.c:153)."""

IDLE_NS = 250_000_000
"""A CPU without an event for so long was idle: a quarter of a second is also what round_jiffies rounds by."""


@part(inline=True)
def decay_one(s: View, b: TuningBooks, pcp: int, p: int) -> int:
    """decay_high under one phase; how many pages it drains."""
    lists = s.pcp[pcp]
    here = pcp * PHASES + p
    lists.high = b.high[here]
    to_drain = decay_high(s, lists)
    b.high[here] = lists.high
    return max(to_drain, 0)


@part(cold=True)
def decay_wrong(b: TuningBooks, at: int, p: int, ts: int, model: int, kernel: int, position: int) -> None:
    """A drain of the decay that the kernel did not do, or did otherwise."""
    decided(b, p, D_DECAY, 1)
    mismatch(b, p, X_DECAY, position, ts, D_DECAY, at, model, kernel, 0, 0, 0, 0)


@part(cold=True)
def give_up_decay(
    s: View, b: TuningBooks, z: int, cpu: int, p: int, now: int, position: int, last: bool
) -> None:
    """A decay whose drain was not seen for long. If the list is short by now, it has happened without one.

    If not, it has not happened, as it would have drained: the worker is late, and may still come until the next tick (*last*).
    """
    pcp = pcp_number(s, z, cpu)
    here = pcp * PHASES + p
    if b.decay[here] == 0 or now - b.since[here] < WAIT_NS:
        return
    left = b.decay[here] + 0
    if left < 0:
        before = b.high[here] + 0
        left = decay_one(s, b, pcp, p)
        if left > 0:
            b.high[here] = before
            if not last:
                return
        summarise(b, pcp)
    b.decay[here] = 0
    if left > 0:
        decay_wrong(b, cpu + 4096 * z, p, now, left, 0, position)


@part(cold=True)
def settle_decays(s: View, b: TuningBooks, cpu: int, now: int, position: int, last: bool) -> None:
    """The CPU wakes up, or nothing follows (*last*): what has been waited for long enough, under every phase."""
    for z in range(s.cfg.nr_zones):
        for p in range(PHASES):
            give_up_decay(s, b, z, cpu, p, now, position, last)


@part(cold=True)
def vmstat_update(s: View, b: TuningBooks, cpu: int, p: int, now: int, position: int) -> None:
    """The vmstat worker of one phase: what would drain waits for the drain to be seen. Old kernels do not decay."""
    if not s.cfg.decay:
        return
    for z in range(s.cfg.nr_zones):
        pcp = pcp_number(s, z, cpu)
        lists = s.pcp[pcp]
        here = pcp * PHASES + p
        give_up_decay(s, b, z, cpu, p, b.since[here] + WAIT_NS, position, True)
        before = b.high[here] + 0
        if before <= lists.high_min and lists.count <= before:
            continue
        to_drain = decay_one(s, b, pcp, p)
        if to_drain > 0:
            b.high[here] = before
            b.decay[here] = -1
            b.since[here] = now
        elif b.high[here] != before:
            b.drop[here] = before - b.high[here]
            b.since[here] = now
            low_and_top(b, pcp, b.high[here] + 0, before)


@part(cold=True)
def take_decay_back(b: TuningBooks, pcp: int, p: int, count: int, ts: int) -> bool:
    """A free that was to drain did not: if the phase's tick was just before, its worker has not run yet."""
    here = pcp * PHASES + p
    if b.drop[here] and ts - b.since[here] <= WORKER_NS and b.high[here] + b.drop[here] > count:
        b.high[here] += b.drop[here]
        b.drop[here] = 0
        b.decay[here] = -1
        return True
    return False


@part(inline=True)
def second(n: int, cpu: int) -> int:
    """The n-th second of the cycle in jiffies, skewed by three for each CPU, as round_jiffies_relative does (timer.c:348)."""
    return n * HZ - 3 * cpu + PHASES


@part(inline=True)
def expiry(n: int, cpu: int) -> int:
    """When a timer set to that second expires: its level of the wheel rounds up, to the next multiple of 8 (timer.c:524).

    All lie 63 to 503 jiffies ahead when they are set, which is level 1. So ticks come 248, 248, 248 and 256 jiffies apart.
    """
    return ((second(n, cpu) >> LVL_CLK_SHIFT) + 1) << LVL_CLK_SHIFT


@part(inline=True)
def phase_at(number: int, n: int, cpu: int) -> int:
    """Whose n-th tick a jiffy is."""
    return (number + 2 * PHASES - expiry(n, cpu)) % PHASES


@part
def next_jiffy(b: TuningBooks, cpu: int) -> int:
    """Go on to the next jiffy of a CPU; the number of the one that was due."""
    number = b.due[2 * cpu + 1] + 0
    b.due[2 * cpu] += PHASE_NS
    b.due[2 * cpu + 1] = number + 1 if number + 1 < PHASES else 0
    return number


@part(cold=True)
def tick(s: View, b: TuningBooks, cpu: int, now: int, position: int) -> None:
    """The phases whose tick a jiffy is, on a CPU, at *now*."""
    number = next_jiffy(b, cpu)
    for n in range(SECONDS):
        p = phase_at(number, n, cpu)
        waited = phase_at(number - WAIT_NS // PHASE_NS, n, cpu)
        for z in range(s.cfg.nr_zones):
            give_up_decay(s, b, z, cpu, waited, now, position, False)
        skip = cpu * PHASES + p
        if b.skip[skip]:
            b.skip[skip] = 0
        else:
            vmstat_update(s, b, cpu, p, now, position)


@part(cold=True)
def late_tick(s: View, b: TuningBooks, cpu: int, now: int, position: int) -> None:
    """A jiffy that passed while the CPU was idle: a phase's timer expires once, at *now*, however many of its ticks were missed.

    It is then set to the next second, but one further if a quarter of one has passed: round_jiffies_relative (timer.c:348).
    """
    behind = (now - b.due[2 * cpu]) // PHASE_NS
    number = next_jiffy(b, cpu)
    for n in range(SECONDS):
        here = cpu * PHASES + phase_at(number, n, cpu)
        if b.woken[here] != now and b.skip[here] == 0:
            vmstat_update(s, b, cpu, phase_at(number, n, cpu), now, position)
        b.woken[here] = now
        b.skip[here] = 1 if behind + expiry(n, cpu) - second(n, cpu) >= HZ // 4 else 0


@part(cold=True)
def wake_up(s: View, b: TuningBooks, cpu: int, now: int, position: int) -> None:
    """The CPU was idle: its timer is deferrable, and expires once, when it wakes up. Of 256 jiffies one is each phase's tick."""
    missed = (now - b.due[2 * cpu]) // PHASE_NS - 256
    if missed > 0:
        b.due[2 * cpu] += missed * PHASE_NS
        b.due[2 * cpu + 1] = (b.due[2 * cpu + 1] + missed) % PHASES
    settle_decays(s, b, cpu, now, position, False)
    while b.due[2 * cpu] <= now:
        late_tick(s, b, cpu, now, position)


@part(cold=True)
def low_and_top(b: TuningBooks, pcp: int, high: int, before: int) -> None:
    """One phase's high went down."""
    at = pcp * OW
    b.sets[at + O_LOW] = min(b.sets[at + O_LOW] + 0, high)
    if before == b.sets[at + O_TOP]:
        base = pcp * PHASES
        top = b.high[base] + 0
        for p in range(PHASES):
            top = max(top, b.high[base + p] + 0)
        b.sets[at + O_TOP] = top


@part(cold=True)
def decay_drains(s: View, b: TuningBooks, z: int, cpu: int, asked: int, ts: int, position: int) -> None:
    """A sub-batch of the decay's drain: what each phase would ask for now."""
    pcp = pcp_number(s, z, cpu)
    lists = s.pcp[pcp]
    batch, count = lists.batch, lists.count
    for p in range(PHASES):
        here = pcp * PHASES + p
        if b.decay[here] < 0:
            b.decay[here] = decay_one(s, b, pcp, p)
        left = b.decay[here] + 0
        wanted = min(left, batch, count)
        if wanted == asked:
            decided(b, p, D_DECAY, 0)
        else:
            decay_wrong(b, cpu + 4096 * z, p, ts, wanted, asked, position)
        b.decay[here] = max(left - batch, 0)
    summarise(b, pcp)


@part(inline=True)
def catch_up(s: View, b: TuningBooks, cpu: int, ts: int, position: int) -> None:
    """Run the ticks that are due."""
    if b.due[2 * cpu] <= ts:
        if ts - b.last[cpu] >= IDLE_NS:
            wake_up(s, b, cpu, ts, position)
        while b.due[2 * cpu] <= ts:
            tick(s, b, cpu, b.due[2 * cpu] + 0, position)
    b.last[cpu] = ts
