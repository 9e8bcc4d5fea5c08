# SPDX-License-Identifier: GPL-2.0-or-later
"""The tuning level's drains, compiled: what a free was to drain, held against the sub-batches that follow it.

A drain lets go of the list between its sub-batches, so an interrupt or another task may come between, and drain, too. Each is
kept in a slot until its sub-batches are over, and found again by task, list set and list.
"""

from __future__ import annotations

from kevacuate.mm.constants import (
    C_NCPUS,
    C_NZONES,
    P_BATCH,
    P_COUNT,
    P_FREE_COUNT,
    P_HIGH_MIN,
    PCP_BATCH_SCALE_MAX,
    PS,
)
from kevacuate.mm.jit import part
from kevacuate.mm.pcp import pcp_at
from kevacuate.replay.verify.tuning_books import (
    D_DRAIN,
    F_INSERTIONS,
    F_SERIAL,
    N_FULL,
    N_UNSEEN,
    O_OWED,
    O_OWED_PID,
    OW,
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
    W_BEFORE,
    W_CLEARING,
    W_COMMITS,
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
)
from kevacuate.replay.verify.tuning_phases import (
    decay_drains,
    decided,
    mismatch,
    summarise,
    take_decay_back,
)
from kevacuate.replay.verify.tuning_zone import clear_below_high, is_kswapd, not_below_high, put_right

UNSURE = 16
"""Where insertions are not recorded, the count may be too high by so many pages: taken, but not shown yet."""

LONG_NS = 500_000_000
"""A drain that has not gone on for so long is over."""


@part
def cause_of(s, b, w, p):  # type: ignore[no-untyped-def]
    """Why a drain was not the kernel's under phase *p*."""
    sl = w * SW
    low = b.slots[sl + SL_COUNT] < s.pcp[b.slots[sl + SL_PCP] * PS + P_HIGH_MIN]
    if b.slots[sl + SL_DRAINS] == 0:
        return X_NOT_ACTIVE if low else X_HIGH_LOW
    if b.said[w * PHASES + p] == 0:
        return X_ACTIVE if low else X_HIGH
    return X_AMOUNT if b.wrong[w * PHASES + p] else X_BROKEN


@part(cold=True)
def settle(s, b, w):  # type: ignore[no-untyped-def]
    """A free's drain is over: count it under each phase under which it drained, or if the kernel's did."""
    sl = w * SW
    if b.slots[sl + SL_PID] == 0:
        return
    b.slots[sl + SL_PID] = 0
    drains = b.slots[sl + SL_DRAINS] + 0
    pcp = b.slots[sl + SL_PCP] + 0
    cpus = s.cfg[C_NCPUS]
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
def free_slot(s, b, now):  # type: ignore[no-untyped-def]
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
def open_slot(s, b, w, cpu, ts, count, active, below):  # type: ignore[no-untyped-def]
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


@part(cold=True)
def taken_unseen(s, b, pcp, cpu):  # type: ignore[no-untyped-def]
    """A free that just reached the limit did not drain: the task that ran before has taken a page, which shows later."""
    if b.sets[pcp * OW + O_OWED]:
        return
    b.inputs[N_UNSEEN] += 1
    s.pcp[pcp * PS + P_COUNT] -= 1
    b.sets[pcp * OW + O_OWED] = 1
    b.sets[pcp * OW + O_OWED_PID] = b.cpu[cpu * WW + W_BEFORE]
    pages = min(s.pcp[pcp * PS + P_FREE_COUNT] + 0, b.cpu[cpu * WW + W_COMMITS] + 0)
    earlier = s.pcp[pcp * PS + P_FREE_COUNT] - pages
    s.pcp[pcp * PS + P_FREE_COUNT] = pages + (earlier >> 1)


@part(cold=True)
def not_taken(s, b, pid):  # type: ignore[no-untyped-def]
    """The task runs on, and shows no such page: it had taken none."""
    for pcp in range(s.cfg[C_NZONES] * s.cfg[C_NCPUS]):
        if b.sets[pcp * OW + O_OWED] and b.sets[pcp * OW + O_OWED_PID] == pid:
            s.pcp[pcp * PS + P_COUNT] += b.sets[pcp * OW + O_OWED]
            b.sets[pcp * OW + O_OWED] = 0


@part(cold=True)
def drained_nothing(s, b, cpu, now):  # type: ignore[no-untyped-def]
    """The free that waited on *cpu* for its first sub-batch had none: the kernel did not drain."""
    w = b.cpu[cpu * WW + W_SLOT] + 0
    b.cpu[cpu * WW + W_PID] = 0
    sl = w * SW
    if w < 0 or b.slots[sl + SL_DRAINS] > 0:
        return
    if not b.slots[sl + SL_FREE_HIGH]:
        if b.slots[sl + SL_ACTIVE]:
            at = b.slots[sl + SL_PCP] * PS
            sure = b.facts[F_INSERTIONS] or b.slots[sl + SL_COUNT] >= 4 * s.pcp[at + P_BATCH] + UNSURE
            if sure or not is_kswapd(b, b.slots[sl + SL_TASK] + 0):
                put_right(s, b, 0, now)
            elif b.slots[sl + SL_COUNT] == 4 * s.pcp[at + P_BATCH]:
                taken_unseen(s, b, at // PS, cpu)
        elif b.slots[sl + SL_BELOW]:
            not_below_high(s, b, b.slots[sl + SL_PCP] // s.cfg[C_NCPUS])
    settle(s, b, w)


@part(cold=True)
def settle_finished(s, b, pid):  # type: ignore[no-untyped-def]
    """A task that frees again has no drain under way of which nothing is left."""
    for w in range(SLOTS):
        if b.slots[w * SW + SL_PID] == pid + 1 and not b.slots[w * SW + SL_OPEN]:
            settle(s, b, w)


@part(cold=True)
def end_drain(b, w):  # type: ignore[no-untyped-def]
    """A drain asks for no more."""
    b.slots[w * SW + SL_OPEN] = 0
    for p in range(PHASES):
        b.left[w * PHASES + p] = 0


@part(cold=True)
def goes_on(s, b, cpu, pid):  # type: ignore[no-untyped-def]
    """A task runs again: its drain ends if the list is empty meanwhile, or if it is on another CPU now (:2890)."""
    for w in range(SLOTS):
        sl = w * SW
        if b.slots[sl + SL_PID] == pid + 1 and b.slots[sl + SL_DRAINS] > 0 and b.slots[sl + SL_OPEN]:
            if b.slots[sl + SL_CPU] != cpu or s.pcp[b.slots[sl + SL_PCP] * PS + P_COUNT] == 0:
                end_drain(b, w)


@part(cold=True)
def sub_batch_done(s, b, cpu):  # type: ignore[no-untyped-def]
    """The pages of a free's sub-batch have been counted: BELOW_HIGH may be cleared, and an empty list ends the drain."""
    clear_below_high(s, b.cpu[cpu * WW + W_CLEARING] - 1)
    b.cpu[cpu * WW + W_CLEARING] = 0
    pid = b.cpu[cpu * WW + W_DRAINER]
    for w in range(SLOTS):
        sl = w * SW
        if b.slots[sl + SL_PID] == pid + 1 and b.slots[sl + SL_CPU] == cpu and b.slots[sl + SL_OPEN]:
            if b.slots[sl + SL_DRAINS] > 0 and s.pcp[b.slots[sl + SL_PCP] * PS + P_COUNT] == 0:
                end_drain(b, w)


@part(cold=True)
def settle_all(s, b):  # type: ignore[no-untyped-def]
    """Nothing goes on behind a dump, or the end."""
    for cpu in range(s.cfg[C_NCPUS]):
        if b.cpu[cpu * WW + W_PID]:
            drained_nothing(s, b, cpu, 0)
    for w in range(SLOTS):
        settle(s, b, w)


@part
def slot_of(b, pid, pcp, pindex):  # type: ignore[no-untyped-def]
    """The newest drain of this task, list set and list; -1 if there is none."""
    found = -1
    for w in range(SLOTS):
        sl = w * SW
        if (
            b.slots[sl + SL_PID] == pid + 1
            and b.slots[sl + SL_PCP] == pcp
            and b.slots[sl + SL_INDEX] == pindex
        ):
            if found < 0 or b.slots[sl + SL_SERIAL] > b.slots[found * SW + SL_SERIAL]:
                if found < 0 or b.slots[sl + SL_OPEN] or not b.slots[found * SW + SL_OPEN]:
                    found = w
            elif b.slots[sl + SL_OPEN] and not b.slots[found * SW + SL_OPEN]:
                found = w
    return found


@part
def expected(b, w, asked, batch, count):  # type: ignore[no-untyped-def]
    """Whether under some phase the drain's next sub-batch asks for so many pages."""
    for p in range(PHASES):
        left = b.left[w * PHASES + p] + 0
        if left > 0 and min(left, batch, count) == asked:
            return True
    return False


@part
def compare_sub_batch(b, w, asked, batch, count):  # type: ignore[no-untyped-def]
    """Hold a sub-batch against what each phase asks for."""
    sl = w * SW
    b.slots[sl + SL_DRAINS] += 1
    b.slots[sl + SL_ASKED] += asked
    more = 0
    for p in range(PHASES):
        here = w * PHASES + p
        left = b.left[here] + 0
        if min(left, batch, count) != asked:
            b.wrong[here] = 1
        left = max(left - batch, 0)
        b.left[here] = left
        more |= left
    b.slots[sl + SL_OPEN] = more != 0


@part
def is_full_drain(s, z, asked, pindex):  # type: ignore[no-untyped-def]
    """Whether a drain empties a whole list set, this CPU's or in drain_all_pages another's: it asks for all there is.

    More than a batch is asked for by full drains only.
    """
    if pindex != 0:
        return False
    for cpu in range(s.cfg[C_NCPUS]):
        at = pcp_at(s, z, cpu)
        batch = s.pcp[at + P_BATCH] + 0
        if asked > batch or asked == min(s.pcp[at + P_COUNT] + 0, batch << PCP_BATCH_SCALE_MAX):
            return True
    return False


@part
def drain(s, b, e, i, number):  # type: ignore[no-untyped-def]
    """gt_rmq 2: the sub-batch of some free's drain, of the decay's, or of a full drain."""
    z, cpu, asked, pindex, pid = b.zone_of[e.b[i]] + 0, e.cpu[i] + 0, e.d[i] + 0, e.mt[i] + 0, e.pid[i] + 0
    at = pcp_at(s, z, cpu)
    pcp, batch, count = at // PS, s.pcp[at + P_BATCH] + 0, s.pcp[at + P_COUNT] + 0
    waits = cpu * WW
    w = slot_of(b, pid, pcp, pindex)
    known = w >= 0 and expected(b, w, asked, batch, count)
    if not known and is_full_drain(s, z, asked, pindex):
        b.inputs[N_FULL] += 1
        return
    unexpected = (
        b.cpu[waits + W_PID] == pid + 1 and b.cpu[waits + W_PCP] == pcp and b.cpu[waits + W_INDEX] == pindex
    )
    if not known and unexpected and b.cpu[waits + W_SLOT] < 0:
        w = free_slot(s, b, e.ts[i] + 0)
        for p in range(PHASES):
            b.left[w * PHASES + p] = 0
        open_slot(s, b, w, cpu, e.ts[i] + 0, count, 0, 0)
    if w < 0:
        decay_drains(s, b, z, cpu, asked, e.ts[i] + 0, number + i)
        return
    sl = w * SW
    if b.slots[sl + SL_DRAINS] == 0 and count < s.pcp[at + P_HIGH_MIN] and not b.slots[sl + SL_FREE_HIGH]:
        if not b.slots[sl + SL_ACTIVE]:
            put_right(s, b, 1, e.ts[i] + 0)
    compare_sub_batch(b, w, asked, batch, count)
    b.cpu[waits + W_CLEARING] = z + 1
    b.cpu[waits + W_DRAINER] = pid
