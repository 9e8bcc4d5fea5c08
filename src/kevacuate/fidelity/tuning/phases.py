# SPDX-License-Identifier: GPL-2.0-or-later
"""The tuning level's decisions under every phase of the decay, compiled: the model's functions on each phase's fields."""

from __future__ import annotations

from kevacuate.fidelity.tuning import books as bk
from kevacuate.fidelity.tuning.books import TuningBooks
from kevacuate.jit import (
    kernel,
    part,
    pointers,
)
from kevacuate.mm.fields import View
from kevacuate.mm.layout import State
from kevacuate.mm.pcp import (
    nr_pcp_alloc,
    nr_pcp_free,
    nr_pcp_high,
    pcp_number,
)


@part(inline=True)
def decided(b: TuningBooks, phase: int, kind: int, wrong: int) -> None:
    """Count a decision of one phase."""
    at = (phase * bk.ND + kind) * 2
    b.tally[at] += 1
    b.tally[at + 1] += wrong


@part(cold=True)
def mismatch(
    b: TuningBooks,
    phase: int,
    cause: int,
    position: int,
    ts: int,
    kind: int,
    at: int,
    model: int,
    kernel: int,
    count: int,
    high: int,
    free_count: int,
    active: int,
) -> None:
    """Count a wrong decision's cause, and keep the first; *at* is CPU + 4096 * zone."""
    b.causes[phase * bk.NX + cause] += 1
    v = phase * bk.FIRST
    b.first[v + bk.V_LAST] = position
    if b.first[v + bk.V_SEEN]:
        return
    b.first[v + bk.V_SEEN] = 1
    b.first[v + bk.V_POSITION], b.first[v + bk.V_TS], b.first[v + bk.V_KIND] = position, ts, kind
    b.first[v + bk.V_CPU], b.first[v + bk.V_ZONE] = at & 4095, at >> 12
    b.first[v + bk.V_MODEL], b.first[v + bk.V_KERNEL], b.first[v + bk.V_COUNT] = model, kernel, count
    b.first[v + bk.V_HIGH], b.first[v + bk.V_FREE_COUNT], b.first[v + bk.V_ACTIVE] = high, free_count, active


@part
def summarise(b: TuningBooks, pcp: int) -> None:
    """Lowest and highest high of the phases, and whether some alloc_factor is not 0."""
    base = pcp * bk.PHASES
    low = b.high[base] + 0
    top = low
    factors = 0
    for p in range(bk.PHASES):
        high = b.high[base + p] + 0
        low = min(low, high)
        top = max(top, high)
        factors |= b.factor[base + p]
    b.sets[pcp * bk.OW + bk.O_LOW] = low
    b.sets[pcp * bk.OW + bk.O_TOP] = top
    b.sets[pcp * bk.OW + bk.O_FACTORS] = factors


@part(cold=True)
def halve_factors(b: TuningBooks, pcp: int) -> None:
    """A free: alloc_factor >>= 1, of every phase."""
    base = pcp * bk.PHASES
    factors = 0
    for p in range(bk.PHASES):
        b.factor[base + p] >>= 1
        factors |= b.factor[base + p]
    b.sets[pcp * bk.OW + bk.O_FACTORS] = factors


@part(cold=True)
def refill_sizes(
    s: View, b: TuningBooks, z: int, cpu: int, order: int, asked: int, position: int, ts: int
) -> None:
    """nr_pcp_alloc under every phase, held against what the kernel asked for; -1: it did not say."""
    pcp = pcp_number(s, z, cpu)
    lists = s.pcp[pcp]
    for p in range(bk.PHASES):
        here = pcp * bk.PHASES + p
        lists.high = b.high[here]
        lists.alloc_factor = b.factor[here]
        wanted = nr_pcp_alloc(s, z, cpu, order)
        if asked >= 0:
            decided(b, p, bk.D_REFILL, wanted != asked)
            if wanted != asked:
                high, count = b.high[here] + 0, lists.count
                mismatch(
                    b,
                    p,
                    bk.X_REFILL,
                    position,
                    ts,
                    bk.D_REFILL,
                    cpu + 4096 * z,
                    wanted,
                    asked,
                    count,
                    high,
                    order,
                    0,
                )
        b.high[here] = lists.high
        b.factor[here] = lists.alloc_factor
    summarise(b, pcp)


@part(inline=True)
def drain_size(s: View, z: int, cpu: int, count: int, free_high: bool) -> int:
    """What a free drains: nr_pcp_high, and if the count reaches it nr_pcp_free."""
    limit = nr_pcp_high(s, z, cpu, free_high)
    if count < limit:
        return 0
    pcp = pcp_number(s, z, cpu)
    lists = s.pcp[pcp]
    return nr_pcp_free(lists, lists.batch, limit, free_high)


@part(inline=True)
def may_matter(s: View, b: TuningBooks, z: int, pcp: int, count: int, free_high: bool) -> bool:
    """Whether nr_pcp_high could return something that is not above the count, or move high, under some phase."""
    lists = s.pcp[pcp]
    zone_says = s.zone[z].reclaim_active or s.zone[z].below_high
    if free_high or count >= b.sets[pcp * bk.OW + bk.O_LOW]:
        return True
    high_min = lists.high_min
    if b.sets[pcp * bk.OW + bk.O_LOW] < high_min:
        return True
    if not zone_says:
        return False
    if b.sets[pcp * bk.OW + bk.O_TOP] > high_min or (s.zone[z].below_high and count >= high_min):
        return True
    return count >= min(lists.batch << 2, high_min)


@part
def drain_sizes(s: View, b: TuningBooks, z: int, cpu: int, count: int, free_high: bool, slot: int) -> bool:
    """What the free drains under every phase, into *slot*; whether it drains under any."""
    pcp = pcp_number(s, z, cpu)
    lists = s.pcp[pcp]
    base = pcp * bk.PHASES
    drains = 0
    if b.sets[pcp * bk.OW + bk.O_LOW] == b.sets[pcp * bk.OW + bk.O_TOP]:
        before = b.high[base] + 0
        lists.high = before
        drains = drain_size(s, z, cpu, count, free_high)
        high = lists.high
        if high != before:
            for p in range(bk.PHASES):
                b.high[base + p] = high
            b.sets[pcp * bk.OW + bk.O_LOW], b.sets[pcp * bk.OW + bk.O_TOP] = high, high
        if drains:
            for p in range(bk.PHASES):
                b.left[slot * bk.PHASES + p] = drains
        return drains > 0
    for p in range(bk.PHASES):
        lists.high = b.high[base + p]
        to_free = drain_size(s, z, cpu, count, free_high)
        b.high[base + p] = lists.high
        b.left[slot * bk.PHASES + p] = to_free
        drains |= to_free
    summarise(b, pcp)
    return drains > 0


@kernel
def summarise_all(sa: State, books: TuningBooks) -> None:
    """Do so for every per-CPU list set."""
    s, b = pointers(sa), pointers(books)
    for pcp in range(s.cfg.nr_zones * s.cfg.nr_cpus):
        summarise(b, pcp)
