# SPDX-License-Identifier: GPL-2.0-or-later
"""The tuning level's slots, compiled: what a free was to drain, kept until its sub-batches are over.

A drain lets go of the list between its sub-batches, so an interrupt or another task may come between, and drain, too. A slot is
found again by task, list set and list.
"""

from __future__ import annotations

from kevacuate.fidelity.tuning import books as bk
from kevacuate.fidelity.tuning.books import TuningBooks
from kevacuate.fidelity.tuning.decay import take_decay_back
from kevacuate.fidelity.tuning.phases import (
    decided,
    mismatch,
    summarise,
)
from kevacuate.fidelity.tuning.zone import (
    clear_below_high,
)
from kevacuate.jit import (
    part,
)
from kevacuate.mm.fields import View

NEWER = 1 << 60

LONG_NS = 500_000_000
"""A drain that has not gone on for so long is over."""


@part
def cause_of(s: View, b: TuningBooks, w: int, p: int) -> int:
    """Why a drain was not the kernel's under phase *p*."""
    sl = w * bk.SW
    low = b.slots[sl + bk.SL_COUNT] < s.pcp[b.slots[sl + bk.SL_PCP]].high_min
    if b.slots[sl + bk.SL_DRAINS] == 0:
        return bk.X_NOT_ACTIVE if low else bk.X_HIGH_LOW
    if b.said[w * bk.PHASES + p] == 0:
        return bk.X_ACTIVE if low else bk.X_HIGH
    return bk.X_AMOUNT if b.wrong[w * bk.PHASES + p] else bk.X_BROKEN


@part(cold=True)
def drain_over(s: View, b: TuningBooks, w: int) -> None:
    """The loop over a free's sub-batches has ended: only now may BELOW_HIGH be cleared (free_frozen_page_commit, :2914)."""
    sl = w * bk.SW
    if b.slots[sl + bk.SL_CLEARS]:
        clear_below_high(s, b.slots[sl + bk.SL_CLEARS] - 1)
        b.slots[sl + bk.SL_CLEARS] = 0


@part(cold=True)
def drains_over(s: View, b: TuningBooks, pid: int) -> None:
    """A task frees again, so its drains are over."""
    for w in range(bk.SLOTS):
        if b.slots[w * bk.SW + bk.SL_PID] == pid + 1:
            drain_over(s, b, w)


@part(cold=True)
def more_expected(b: TuningBooks, w: int) -> bool:
    """Whether a drain goes on under the phase that has the fewest mismatches so far; of equals, under any."""
    fewest = 1 << 60
    more = False
    for p in range(bk.PHASES):
        wrong = 0
        for kind in range(bk.ND):
            wrong += b.tally[(p * bk.ND + kind) * 2 + 1]
        left = b.left[w * bk.PHASES + p] > 0
        if wrong < fewest:
            fewest, more = wrong, left
        elif wrong == fewest:
            more = more or left
    return more


@part(cold=True)
def settle(s: View, b: TuningBooks, w: int) -> None:
    """A free's drain is over: count it under each phase under which it drained, or if the kernel's did."""
    sl = w * bk.SW
    if b.slots[sl + bk.SL_PID] == 0:
        return
    drain_over(s, b, w)
    b.slots[sl + bk.SL_PID] = 0
    drains = b.slots[sl + bk.SL_DRAINS] + 0
    pcp = b.slots[sl + bk.SL_PCP] + 0
    cpus = s.cfg.nr_cpus
    place = b.slots[sl + bk.SL_CPU] + 4096 * (pcp // cpus)
    changed = False
    for p in range(bk.PHASES):
        said = b.said[w * bk.PHASES + p] + 0
        if drains == 0 and said == 0:
            continue
        wrong = b.wrong[w * bk.PHASES + p] != 0 or b.left[w * bk.PHASES + p] > 0
        decided(b, p, bk.D_DRAIN, wrong)
        if wrong:
            mismatch(
                b,
                p,
                cause_of(s, b, w, p),
                b.slots[sl + bk.SL_ROW] + 0,
                b.slots[sl + bk.SL_TS] + 0,
                bk.D_DRAIN,
                place,
                said,
                b.slots[sl + bk.SL_ASKED] + 0,
                b.slots[sl + bk.SL_COUNT] + 0,
                b.high[pcp * bk.PHASES + p] + 0,
                b.slots[sl + bk.SL_FREE_COUNT] + 0,
                b.slots[sl + bk.SL_ACTIVE] + 2 * b.slots[sl + bk.SL_BELOW],
            )
            if drains == 0 and take_decay_back(
                b, pcp, p, b.slots[sl + bk.SL_COUNT] + 0, b.slots[sl + bk.SL_TS] + 0
            ):
                changed = True
    if changed:
        summarise(b, pcp)


@part
def free_slot(s: View, b: TuningBooks, now: int) -> int:
    """A slot for a new drain: what has been over for long is settled, and the oldest if none is free."""
    oldest = 0
    found = -1
    for w in range(bk.SLOTS):
        sl = w * bk.SW
        if b.slots[sl + bk.SL_PID] != 0 and now - b.slots[sl + bk.SL_TS] > LONG_NS:
            settle(s, b, w)
        if b.slots[sl + bk.SL_PID] == 0:
            found = w
        if b.slots[sl + bk.SL_SERIAL] < b.slots[oldest * bk.SW + bk.SL_SERIAL]:
            oldest = w
    if found < 0:
        settle(s, b, oldest)
        found = oldest
    return found


@part
def open_slot(b: TuningBooks, w: int, cpu: int, ts: int, count: int, active: int, below: int) -> None:
    """Fill slot *w* for the free that waits on *cpu*; what it is to drain stands in ``left``."""
    sl, at = w * bk.SW, cpu * bk.WW
    b.facts[bk.F_SERIAL] += 1
    b.slots[sl + bk.SL_PID] = b.cpu[at + bk.W_PID]
    b.slots[sl + bk.SL_TASK] = b.cpu[at + bk.W_PID] - 1
    b.slots[sl + bk.SL_PCP] = b.cpu[at + bk.W_PCP]
    b.slots[sl + bk.SL_INDEX] = b.cpu[at + bk.W_INDEX]
    b.slots[sl + bk.SL_ROW] = b.cpu[at + bk.W_ROW]
    b.slots[sl + bk.SL_FREE_COUNT] = b.cpu[at + bk.W_FREE_COUNT]
    b.slots[sl + bk.SL_FREE_HIGH] = b.cpu[at + bk.W_FREE_HIGH]
    b.slots[sl + bk.SL_TS] = ts
    b.slots[sl + bk.SL_DRAINS] = 0
    b.slots[sl + bk.SL_ASKED] = 0
    b.slots[sl + bk.SL_COUNT] = count
    b.slots[sl + bk.SL_SERIAL] = b.facts[bk.F_SERIAL]
    b.slots[sl + bk.SL_CPU] = cpu
    b.slots[sl + bk.SL_ACTIVE] = active
    b.slots[sl + bk.SL_BELOW] = below
    b.slots[sl + bk.SL_OPEN] = 1
    b.slots[sl + bk.SL_CLEARS] = 0
    b.cpu[at + bk.W_SLOT] = w
    for p in range(bk.PHASES):
        b.said[w * bk.PHASES + p] = b.left[w * bk.PHASES + p]
        b.wrong[w * bk.PHASES + p] = 0


@part
def slot_of(b: TuningBooks, pid: int, pcp: int, pindex: int) -> int:
    """The newest drain of this task, list set and list that goes on, else the newest; -1 if there is none."""
    found = -1
    rank = -1
    for w in range(bk.SLOTS):
        sl = w * bk.SW
        same = b.slots[sl + bk.SL_PCP] == pcp and b.slots[sl + bk.SL_INDEX] == pindex
        if same and b.slots[sl + bk.SL_PID] == pid + 1:
            own = b.slots[sl + bk.SL_SERIAL] + (NEWER if b.slots[sl + bk.SL_OPEN] else 0)
            if own > rank:
                found, rank = w, own
    return found


@part(cold=True)
def settle_finished(s: View, b: TuningBooks, pid: int) -> None:
    """A task that frees again has no drain under way of which nothing is left."""
    for w in range(bk.SLOTS):
        if b.slots[w * bk.SW + bk.SL_PID] == pid + 1 and not b.slots[w * bk.SW + bk.SL_OPEN]:
            settle(s, b, w)


@part(cold=True)
def end_drain(s: View, b: TuningBooks, w: int) -> None:
    """A drain asks for no more."""
    drain_over(s, b, w)
    b.slots[w * bk.SW + bk.SL_OPEN] = 0
    for p in range(bk.PHASES):
        b.left[w * bk.PHASES + p] = 0


@part(cold=True)
def goes_on(s: View, b: TuningBooks, cpu: int, pid: int) -> None:
    """A task runs again: its drain ends if the list is empty meanwhile, or if it is on another CPU now (:2890)."""
    for w in range(bk.SLOTS):
        sl = w * bk.SW
        mine = (
            b.slots[sl + bk.SL_PID] == pid + 1 and b.slots[sl + bk.SL_DRAINS] > 0 and b.slots[sl + bk.SL_OPEN]
        )
        empty = s.pcp[b.slots[sl + bk.SL_PCP]].count == 0
        if mine and (empty or b.slots[sl + bk.SL_CPU] != cpu):
            end_drain(s, b, w)


@part(cold=True)
def sub_batch_done(s: View, b: TuningBooks, cpu: int) -> None:
    """The pages of a free's sub-batch have been counted: an empty list ends the drain, and so does the last sub-batch."""
    b.cpu[cpu * bk.WW + bk.W_CLEARING] = 0
    pid = b.cpu[cpu * bk.WW + bk.W_DRAINER]
    for w in range(bk.SLOTS):
        sl = w * bk.SW
        mine = b.slots[sl + bk.SL_PID] == pid + 1 and b.slots[sl + bk.SL_DRAINS] > 0
        if not mine:
            continue
        empty = s.pcp[b.slots[sl + bk.SL_PCP]].count == 0
        if b.slots[sl + bk.SL_OPEN] and empty and b.slots[sl + bk.SL_CPU] == cpu:
            end_drain(s, b, w)
        elif not b.slots[sl + bk.SL_OPEN] or not more_expected(b, w):
            drain_over(s, b, w)
