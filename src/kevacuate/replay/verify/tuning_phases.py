# SPDX-License-Identifier: GPL-2.0-or-later
"""The tuning level's decisions under every phase of the decay, compiled: the model's own functions on each phase's fields."""

from __future__ import annotations

from kevacuate.mm.constants import (
    C_NCPUS,
    C_NZONES,
    P_ALLOC_FACTOR,
    P_BATCH,
    P_COUNT,
    P_HIGH,
    P_HIGH_MIN,
    PS,
    Z_BELOW_HIGH,
    Z_RECLAIM_ACTIVE,
    ZS,
)
from kevacuate.mm.jit import kernel, part, pointers
from kevacuate.mm.pcp import decay_high, nr_pcp_alloc, nr_pcp_free, nr_pcp_high, pcp_at
from kevacuate.replay.verify.tuning_books import (
    D_DECAY,
    D_REFILL,
    FIRST,
    ND,
    NX,
    O_FACTORS,
    O_LOW,
    O_TOP,
    OW,
    PHASE_NS,
    PHASES,
    V_ACTIVE,
    V_COUNT,
    V_CPU,
    V_FREE_COUNT,
    V_HIGH,
    V_KERNEL,
    V_KIND,
    V_LAST,
    V_MODEL,
    V_POSITION,
    V_SEEN,
    V_TS,
    V_ZONE,
    X_DECAY,
    X_REFILL,
)

WAIT_NS = 100_000_000
"""A decay that should have drained counts as one that did not after so long."""

WORKER_NS = 50_000_000
"""The longest that the vmstat worker waits for the CPU after its tick: visible ones in emulated kernels came 1 to 40 ms after."""

IDLE_NS = 250_000_000
"""A CPU without an event for so long was idle: a quarter of a second is also what round_jiffies rounds by."""


@part(inline=True)
def decided(b, phase, kind, wrong):  # type: ignore[no-untyped-def]
    """Count a decision of one phase."""
    at = (phase * ND + kind) * 2
    b.tally[at] += 1
    b.tally[at + 1] += wrong


@part(cold=True)
def mismatch(b, phase, cause, position, ts, kind, at, model, kernel, count, high, free_count, active):  # type: ignore[no-untyped-def]
    """Count a wrong decision's cause, and keep the first; *at* is CPU + 4096 * zone."""
    b.causes[phase * NX + cause] += 1
    v = phase * FIRST
    b.first[v + V_LAST] = position
    if b.first[v + V_SEEN]:
        return
    b.first[v + V_SEEN] = 1
    b.first[v + V_POSITION], b.first[v + V_TS], b.first[v + V_KIND] = position, ts, kind
    b.first[v + V_CPU], b.first[v + V_ZONE] = at & 4095, at >> 12
    b.first[v + V_MODEL], b.first[v + V_KERNEL], b.first[v + V_COUNT] = model, kernel, count
    b.first[v + V_HIGH], b.first[v + V_FREE_COUNT], b.first[v + V_ACTIVE] = high, free_count, active


@part
def summarise(s, b, pcp):  # type: ignore[no-untyped-def]
    """Lowest and highest high of the phases, and whether some alloc_factor is not 0."""
    base = pcp * PHASES
    low = b.high[base] + 0
    top = low
    factors = 0
    for p in range(PHASES):
        high = b.high[base + p] + 0
        low = min(low, high)
        top = max(top, high)
        factors |= b.factor[base + p]
    b.sets[pcp * OW + O_LOW] = low
    b.sets[pcp * OW + O_TOP] = top
    b.sets[pcp * OW + O_FACTORS] = factors


@part(cold=True)
def halve_factors(b, pcp):  # type: ignore[no-untyped-def]
    """A free: alloc_factor >>= 1, of every phase."""
    base = pcp * PHASES
    factors = 0
    for p in range(PHASES):
        b.factor[base + p] >>= 1
        factors |= b.factor[base + p]
    b.sets[pcp * OW + O_FACTORS] = factors


@part(cold=True)
def refill_sizes(s, b, z, cpu, order, asked, position, ts):  # type: ignore[no-untyped-def]
    """nr_pcp_alloc under every phase, held against what the kernel asked for; -1: it did not say."""
    at = pcp_at(s, z, cpu)
    pcp = at // PS
    for p in range(PHASES):
        here = pcp * PHASES + p
        s.pcp[at + P_HIGH] = b.high[here]
        s.pcp[at + P_ALLOC_FACTOR] = b.factor[here]
        wanted = nr_pcp_alloc(s, z, cpu, order)
        if asked >= 0:
            decided(b, p, D_REFILL, wanted != asked)
            if wanted != asked:
                high, count = b.high[here] + 0, s.pcp[at + P_COUNT] + 0
                mismatch(
                    b,
                    p,
                    X_REFILL,
                    position,
                    ts,
                    D_REFILL,
                    cpu + 4096 * z,
                    wanted,
                    asked,
                    count,
                    high,
                    order,
                    0,
                )
        b.high[here] = s.pcp[at + P_HIGH]
        b.factor[here] = s.pcp[at + P_ALLOC_FACTOR]
    summarise(s, b, pcp)


@part(inline=True)
def drain_size(s, z, cpu, count, free_high):  # type: ignore[no-untyped-def]
    """What a free drains: nr_pcp_high, and if the count reaches it nr_pcp_free."""
    limit = nr_pcp_high(s, z, cpu, free_high)
    if count < limit:
        return 0
    at = pcp_at(s, z, cpu)
    return nr_pcp_free(s, at, s.pcp[at + P_BATCH] + 0, limit, free_high)


@part(inline=True)
def may_matter(s, b, z, at, count, free_high):  # type: ignore[no-untyped-def]
    """Whether nr_pcp_high could return something that is not above the count, or move high, under some phase."""
    pcp = at // PS
    zone_says = s.zone[z * ZS + Z_RECLAIM_ACTIVE] or s.zone[z * ZS + Z_BELOW_HIGH]
    if free_high or count >= b.sets[pcp * OW + O_LOW]:
        return True
    high_min = s.pcp[at + P_HIGH_MIN]
    if b.sets[pcp * OW + O_LOW] < high_min:
        return True
    if not zone_says:
        return False
    if b.sets[pcp * OW + O_TOP] > high_min or (s.zone[z * ZS + Z_BELOW_HIGH] and count >= high_min):
        return True
    return count >= min((s.pcp[at + P_BATCH] + 0) << 2, high_min)


@part
def drain_sizes(s, b, z, cpu, count, free_high, slot):  # type: ignore[no-untyped-def]
    """What the free drains under every phase, into *slot*; whether it drains under any."""
    at = pcp_at(s, z, cpu)
    pcp = at // PS
    base = pcp * PHASES
    drains = 0
    if b.sets[pcp * OW + O_LOW] == b.sets[pcp * OW + O_TOP]:
        before = b.high[base] + 0
        s.pcp[at + P_HIGH] = before
        drains = drain_size(s, z, cpu, count, free_high)
        high = s.pcp[at + P_HIGH] + 0
        if high != before:
            for p in range(PHASES):
                b.high[base + p] = high
            b.sets[pcp * OW + O_LOW], b.sets[pcp * OW + O_TOP] = high, high
        if drains:
            for p in range(PHASES):
                b.left[slot * PHASES + p] = drains
        return drains > 0
    for p in range(PHASES):
        s.pcp[at + P_HIGH] = b.high[base + p]
        to_free = drain_size(s, z, cpu, count, free_high)
        b.high[base + p] = s.pcp[at + P_HIGH]
        b.left[slot * PHASES + p] = to_free
        drains |= to_free
    summarise(s, b, pcp)
    return drains > 0


@part(inline=True)
def decay_one(s, b, at, p):  # type: ignore[no-untyped-def]
    """decay_high under one phase; how many pages it drains."""
    here = at // PS * PHASES + p
    s.pcp[at + P_HIGH] = b.high[here]
    to_drain = decay_high(s, at)
    b.high[here] = s.pcp[at + P_HIGH]
    return max(to_drain, 0)


@part(cold=True)
def decay_wrong(b, at, p, ts, model, kernel, position):  # type: ignore[no-untyped-def]
    """A drain of the decay that the kernel did not do, or did otherwise."""
    decided(b, p, D_DECAY, 1)
    mismatch(b, p, X_DECAY, position, ts, D_DECAY, at, model, kernel, 0, 0, 0, 0)


@part(cold=True)
def give_up_decay(s, b, z, cpu, p, now, position):  # type: ignore[no-untyped-def]
    """A decay whose drain was not seen for long: it did not drain, or was not at this moment."""
    at = pcp_at(s, z, cpu)
    here = at // PS * PHASES + p
    if b.decay[here] == 0 or now - b.since[here] < WAIT_NS:
        return
    left = b.decay[here] + 0
    b.decay[here] = 0
    if left < 0:
        left = decay_one(s, b, at, p)
        summarise(s, b, at // PS)
    if left > 0:
        decay_wrong(b, cpu + 4096 * z, p, now, left, 0, position)


@part(cold=True)
def vmstat_update(s, b, cpu, p, now, position):  # type: ignore[no-untyped-def]
    """The vmstat worker of one phase: what would drain waits for the drain to be seen."""
    for z in range(s.cfg[C_NZONES]):
        at = pcp_at(s, z, cpu)
        pcp = at // PS
        here = pcp * PHASES + p
        give_up_decay(s, b, z, cpu, p, b.since[here] + WAIT_NS, position)
        before = b.high[here] + 0
        if before <= s.pcp[at + P_HIGH_MIN] and s.pcp[at + P_COUNT] <= before:
            continue
        to_drain = decay_one(s, b, at, p)
        if to_drain > 0:
            b.high[here] = before
            b.decay[here] = -1
            b.since[here] = now
        elif b.high[here] != before:
            b.drop[here] = before - b.high[here]
            b.since[here] = now
            low_and_top(b, pcp, b.high[here] + 0, before)


@part(cold=True)
def take_decay_back(s, b, pcp, p, count, ts):  # type: ignore[no-untyped-def]
    """A free that was to drain did not: if the phase's tick was just before, its worker has not run yet."""
    here = pcp * PHASES + p
    if b.drop[here] and ts - b.since[here] <= WORKER_NS and b.high[here] + b.drop[here] > count:
        b.high[here] += b.drop[here]
        b.drop[here] = 0
        b.decay[here] = -1
        return True
    return False


@part(cold=True)
def tick(s, b, cpu, now, position):  # type: ignore[no-untyped-def]
    """The phase that is due on a CPU, at *now*."""
    p = b.due[2 * cpu + 1] + 0
    b.due[2 * cpu] += PHASE_NS
    b.due[2 * cpu + 1] = p + 1 if p + 1 < PHASES else 0
    waited = p - WAIT_NS // PHASE_NS if p >= WAIT_NS // PHASE_NS else p - WAIT_NS // PHASE_NS + PHASES
    for z in range(s.cfg[C_NZONES]):
        give_up_decay(s, b, z, cpu, waited, now, position)
    skip = cpu * PHASES + p
    if b.skip[skip]:
        b.skip[skip] = 0
    else:
        vmstat_update(s, b, cpu, p, now, position)


@part(cold=True)
def wake_up(s, b, cpu, now, position):  # type: ignore[no-untyped-def]
    """The CPU was idle: its timer is deferrable, and expires once, when it wakes up.

    It is then set to the next tick but a quarter of a second from now at least: round_jiffies_relative (timer.c:348).
    """
    behind = (now - b.due[2 * cpu]) // PHASE_NS
    if behind >= PHASES:
        b.due[2 * cpu] += behind // PHASES * PHASES * PHASE_NS - PHASES * PHASE_NS
        b.due[2 * cpu + 1] = b.due[2 * cpu + 1] % PHASES
    while b.due[2 * cpu] + PHASES * PHASE_NS <= now:
        b.due[2 * cpu] += PHASE_NS
        b.due[2 * cpu + 1] = b.due[2 * cpu + 1] + 1 if b.due[2 * cpu + 1] + 1 < PHASES else 0
    while b.due[2 * cpu] <= now:
        late = now - b.due[2 * cpu]
        skip = cpu * PHASES + b.due[2 * cpu + 1]
        tick(s, b, cpu, now, position)
        if late >= IDLE_NS:
            b.skip[skip] = 1


@part(cold=True)
def low_and_top(b, pcp, high, before):  # type: ignore[no-untyped-def]
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
def decay_drains(s, b, z, cpu, asked, ts, position):  # type: ignore[no-untyped-def]
    """A sub-batch of the decay's drain: what each phase would ask for now."""
    at = pcp_at(s, z, cpu)
    batch, count = s.pcp[at + P_BATCH] + 0, s.pcp[at + P_COUNT] + 0
    for p in range(PHASES):
        here = at // PS * PHASES + p
        if b.decay[here] < 0:
            b.decay[here] = decay_one(s, b, at, p)
        left = b.decay[here] + 0
        wanted = min(left, batch, count)
        if wanted == asked:
            decided(b, p, D_DECAY, 0)
        else:
            decay_wrong(b, cpu + 4096 * z, p, ts, wanted, asked, position)
        b.decay[here] = max(left - batch, 0)
    summarise(s, b, at // PS)


@part(inline=True)
def catch_up(s, b, cpu, ts, position):  # type: ignore[no-untyped-def]
    """Run the ticks that are due."""
    if b.due[2 * cpu] <= ts:
        if ts - b.last[cpu] >= IDLE_NS:
            wake_up(s, b, cpu, ts, position)
        while b.due[2 * cpu] <= ts:
            tick(s, b, cpu, b.due[2 * cpu] + 0, position)
    b.last[cpu] = ts


@kernel
def summarise_all(sa, books):  # type: ignore[no-untyped-def]
    """Do so for every per-CPU list set."""
    s, b = pointers(sa), pointers(books)
    for pcp in range(s.cfg[C_NZONES] * s.cfg[C_NCPUS]):
        summarise(s, b, pcp)
