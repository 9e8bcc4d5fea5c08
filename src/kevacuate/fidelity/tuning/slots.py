# SPDX-License-Identifier: GPL-2.0-or-later
"""The tuning level's slots, compiled: what a free was to drain, kept until its sub-batches are over.

A drain lets go of the list between its sub-batches, so an interrupt or another task may come between, and drain, too. A slot is
found again by task, list set and list.
"""

from __future__ import annotations

from kevacuate.fidelity.tuning.books import (
    D_DRAIN,
    F_SERIAL,
    PHASES,
    SL_ACTIVE,
    SL_ASKED,
    SL_BELOW,
    SL_COUNT,
    SL_CPU,
    SL_DRAINS,
    SL_FREE_COUNT,
    SL_FREE_HIGH,
    SL_INDEX,
    SL_OPEN,
    SL_PCP,
    SL_PID,
    SL_ROW,
    SL_SERIAL,
    SL_TASK,
    SL_TS,
    SLOTS,
    SW,
    W_CLEARING,
    W_DRAINER,
    W_FREE_COUNT,
    W_FREE_HIGH,
    W_INDEX,
    W_PCP,
    W_PID,
    W_ROW,
    W_SLOT,
    WW,
    X_ACTIVE,
    X_AMOUNT,
    X_BROKEN,
    X_HIGH,
    X_HIGH_LOW,
    X_NOT_ACTIVE,
    TuningBooks,
)
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
    sl = w * SW
    low = b.slots[sl + SL_COUNT] < s.pcp[b.slots[sl + SL_PCP]].high_min
    if b.slots[sl + SL_DRAINS] == 0:
        return X_NOT_ACTIVE if low else X_HIGH_LOW
    if b.said[w * PHASES + p] == 0:
        return X_ACTIVE if low else X_HIGH
    return X_AMOUNT if b.wrong[w * PHASES + p] else X_BROKEN


@part(cold=True)
def settle(s: View, b: TuningBooks, w: int) -> None:
    """A free's drain is over: count it under each phase under which it drained, or if the kernel's did."""
    sl = w * SW
    if b.slots[sl + SL_PID] == 0:
        return
    b.slots[sl + SL_PID] = 0
    drains = b.slots[sl + SL_DRAINS] + 0
    pcp = b.slots[sl + SL_PCP] + 0
    cpus = s.cfg.nr_cpus
    place = b.slots[sl + SL_CPU] + 4096 * (pcp // cpus)
    changed = False
    for p in range(PHASES):
        said = b.said[w * PHASES + p] + 0
        if drains == 0 and said == 0:
            continue
        wrong = b.wrong[w * PHASES + p] != 0 or b.left[w * PHASES + p] > 0
        decided(b, p, D_DRAIN, wrong)
        if wrong:
            mismatch(
                b,
                p,
                cause_of(s, b, w, p),
                b.slots[sl + SL_ROW] + 0,
                b.slots[sl + SL_TS] + 0,
                D_DRAIN,
                place,
                said,
                b.slots[sl + SL_ASKED] + 0,
                b.slots[sl + SL_COUNT] + 0,
                b.high[pcp * PHASES + p] + 0,
                b.slots[sl + SL_FREE_COUNT] + 0,
                b.slots[sl + SL_ACTIVE] + 2 * b.slots[sl + SL_BELOW],
            )
            if drains == 0 and take_decay_back(
                s, b, pcp, p, b.slots[sl + SL_COUNT] + 0, b.slots[sl + SL_TS] + 0
            ):
                changed = True
    if changed:
        summarise(s, b, pcp)


@part
def free_slot(s: View, b: TuningBooks, now: int) -> int:
    """A slot for a new drain: what has been over for long is settled, and the oldest if none is free."""
    oldest = 0
    found = -1
    for w in range(SLOTS):
        sl = w * SW
        if b.slots[sl + SL_PID] != 0 and now - b.slots[sl + SL_TS] > LONG_NS:
            settle(s, b, w)
        if b.slots[sl + SL_PID] == 0:
            found = w
        if b.slots[sl + SL_SERIAL] < b.slots[oldest * SW + SL_SERIAL]:
            oldest = w
    if found < 0:
        settle(s, b, oldest)
        found = oldest
    return found


@part
def open_slot(
    s: View, b: TuningBooks, w: int, cpu: int, ts: int, count: int, active: int, below: int
) -> None:
    """Fill slot *w* for the free that waits on *cpu*; what it is to drain stands in ``left``."""
    sl, at = w * SW, cpu * WW
    b.facts[F_SERIAL] += 1
    b.slots[sl + SL_PID] = b.cpu[at + W_PID]
    b.slots[sl + SL_TASK] = b.cpu[at + W_PID] - 1
    b.slots[sl + SL_PCP] = b.cpu[at + W_PCP]
    b.slots[sl + SL_INDEX] = b.cpu[at + W_INDEX]
    b.slots[sl + SL_ROW] = b.cpu[at + W_ROW]
    b.slots[sl + SL_FREE_COUNT] = b.cpu[at + W_FREE_COUNT]
    b.slots[sl + SL_FREE_HIGH] = b.cpu[at + W_FREE_HIGH]
    b.slots[sl + SL_TS] = ts
    b.slots[sl + SL_DRAINS] = 0
    b.slots[sl + SL_ASKED] = 0
    b.slots[sl + SL_COUNT] = count
    b.slots[sl + SL_SERIAL] = b.facts[F_SERIAL]
    b.slots[sl + SL_CPU] = cpu
    b.slots[sl + SL_ACTIVE] = active
    b.slots[sl + SL_BELOW] = below
    b.slots[sl + SL_OPEN] = 1
    b.cpu[at + W_SLOT] = w
    for p in range(PHASES):
        b.said[w * PHASES + p] = b.left[w * PHASES + p]
        b.wrong[w * PHASES + p] = 0


@part
def slot_of(b: TuningBooks, pid: int, pcp: int, pindex: int) -> int:
    """The newest drain of this task, list set and list that goes on, else the newest; -1 if there is none."""
    found = -1
    rank = -1
    for w in range(SLOTS):
        sl = w * SW
        same = b.slots[sl + SL_PCP] == pcp and b.slots[sl + SL_INDEX] == pindex
        if same and b.slots[sl + SL_PID] == pid + 1:
            own = b.slots[sl + SL_SERIAL] + (NEWER if b.slots[sl + SL_OPEN] else 0)
            if own > rank:
                found, rank = w, own
    return found


@part(cold=True)
def settle_finished(s: View, b: TuningBooks, pid: int) -> None:
    """A task that frees again has no drain under way of which nothing is left."""
    for w in range(SLOTS):
        if b.slots[w * SW + SL_PID] == pid + 1 and not b.slots[w * SW + SL_OPEN]:
            settle(s, b, w)


@part(cold=True)
def end_drain(b: TuningBooks, w: int) -> None:
    """A drain asks for no more."""
    b.slots[w * SW + SL_OPEN] = 0
    for p in range(PHASES):
        b.left[w * PHASES + p] = 0


@part(cold=True)
def goes_on(s: View, b: TuningBooks, cpu: int, pid: int) -> None:
    """A task runs again: its drain ends if the list is empty meanwhile, or if it is on another CPU now (:2890)."""
    for w in range(SLOTS):
        sl = w * SW
        mine = b.slots[sl + SL_PID] == pid + 1 and b.slots[sl + SL_DRAINS] > 0 and b.slots[sl + SL_OPEN]
        empty = s.pcp[b.slots[sl + SL_PCP]].count == 0
        if mine and (empty or b.slots[sl + SL_CPU] != cpu):
            end_drain(b, w)


@part(cold=True)
def sub_batch_done(s: View, b: TuningBooks, cpu: int) -> None:
    """The pages of a free's sub-batch have been counted: BELOW_HIGH may be cleared, and an empty list ends the drain."""
    clear_below_high(s, b.cpu[cpu * WW + W_CLEARING] - 1)
    b.cpu[cpu * WW + W_CLEARING] = 0
    pid = b.cpu[cpu * WW + W_DRAINER]
    for w in range(SLOTS):
        sl = w * SW
        mine = b.slots[sl + SL_PID] == pid + 1 and b.slots[sl + SL_DRAINS] > 0 and b.slots[sl + SL_OPEN]
        empty = s.pcp[b.slots[sl + SL_PCP]].count == 0
        if mine and empty and b.slots[sl + SL_CPU] == cpu:
            end_drain(b, w)
