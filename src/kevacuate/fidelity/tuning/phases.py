# SPDX-License-Identifier: GPL-2.0-or-later
"""The tuning level's decisions under every phase of the decay, compiled: the model's functions on each phase's fields."""

from __future__ import annotations

from kevacuate.fidelity.tuning.books import (
    D_REFILL,
    FIRST,
    ND,
    NX,
    O_FACTORS,
    O_LOW,
    O_TOP,
    OW,
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
    X_REFILL,
)
from kevacuate.jit import (
    kernel,
    part,
    pointers,
)
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
from kevacuate.mm.pcp import (
    nr_pcp_alloc,
    nr_pcp_free,
    nr_pcp_high,
    pcp_at,
)


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


@kernel
def summarise_all(sa, books):  # type: ignore[no-untyped-def]
    """Do so for every per-CPU list set."""
    s, b = pointers(sa), pointers(books)
    for pcp in range(s.cfg[C_NZONES] * s.cfg[C_NCPUS]):
        summarise(s, b, pcp)
