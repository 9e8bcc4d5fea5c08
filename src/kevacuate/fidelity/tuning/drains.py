# SPDX-License-Identifier: GPL-2.0-or-later
"""The tuning level's drains, compiled: each recorded sub-batch is a free's, the decay's, or a full drain's.

The model has decided before. What a comparison shows of hidden state is put right after it, so that an error does not spread.
"""

from __future__ import annotations

from kevacuate.fidelity.tuning import books as bk
from kevacuate.fidelity.tuning.books import TuningBooks
from kevacuate.fidelity.tuning.decay import decay_drains
from kevacuate.fidelity.tuning.slots import (
    free_slot,
    open_slot,
    settle,
    slot_of,
)
from kevacuate.fidelity.tuning.zone import (
    is_kswapd,
    not_below_high,
    put_right,
)
from kevacuate.jit import (
    part,
)
from kevacuate.mm.constants import (
    PCP_BATCH_SCALE_MAX,
)
from kevacuate.mm.fields import View
from kevacuate.mm.pcp import (
    pcp_number,
)
from kevacuate.recording import EventChunk

MOST_PAGES = 1 << 24

UNSURE = 16
"""Where insertions are not recorded, the count may be too high by so many pages: taken, but not shown yet."""


@part(cold=True)
def taken_unseen(s: View, b: TuningBooks, pcp: int, cpu: int) -> None:
    """A free that just reached the limit did not drain: the task that ran before has taken a page, which shows later."""
    if b.sets[pcp * bk.OW + bk.O_OWED]:
        return
    b.inputs[bk.N_UNSEEN] += 1
    s.pcp[pcp].count -= 1
    b.sets[pcp * bk.OW + bk.O_OWED] = 1
    b.sets[pcp * bk.OW + bk.O_OWED_PID] = b.cpu[cpu * bk.WW + bk.W_BEFORE]
    pages = min(s.pcp[pcp].free_count, b.cpu[cpu * bk.WW + bk.W_COMMITS] + 0)
    earlier = s.pcp[pcp].free_count - pages
    s.pcp[pcp].free_count = pages + (earlier >> 1)


@part(cold=True)
def not_taken(s: View, b: TuningBooks, pid: int) -> None:
    """The task runs on, and shows no such page: it had taken none."""
    for pcp in range(s.cfg.nr_zones * s.cfg.nr_cpus):
        if b.sets[pcp * bk.OW + bk.O_OWED] and b.sets[pcp * bk.OW + bk.O_OWED_PID] == pid:
            s.pcp[pcp].count += b.sets[pcp * bk.OW + bk.O_OWED]
            b.sets[pcp * bk.OW + bk.O_OWED] = 0


@part(cold=True)
def learn(s: View, b: TuningBooks, w: int, cpu: int, now: int) -> None:
    """What it shows that a free drained nothing: kswapd idle, a count that was smaller, or BELOW_HIGH clear."""
    sl = w * bk.SW
    pcp = b.slots[sl + bk.SL_PCP] + 0
    limit = 4 * s.pcp[pcp].batch
    if b.slots[sl + bk.SL_ACTIVE]:
        sure = b.facts[bk.F_INSERTIONS] or b.slots[sl + bk.SL_COUNT] >= limit + UNSURE
        if sure or not is_kswapd(b, b.slots[sl + bk.SL_TASK] + 0):
            put_right(s, b, 0, now)
        elif b.slots[sl + bk.SL_COUNT] == limit:
            taken_unseen(s, b, pcp, cpu)
    elif b.slots[sl + bk.SL_BELOW]:
        not_below_high(s, b, b.slots[sl + bk.SL_PCP] // s.cfg.nr_cpus)


@part(cold=True)
def drained_nothing(s: View, b: TuningBooks, cpu: int, now: int) -> None:
    """The free that waited on *cpu* for its first sub-batch had none: the kernel did not drain."""
    w = b.cpu[cpu * bk.WW + bk.W_SLOT] + 0
    b.cpu[cpu * bk.WW + bk.W_PID] = 0
    sl = w * bk.SW
    if w < 0 or b.slots[sl + bk.SL_DRAINS] > 0:
        return
    if not b.slots[sl + bk.SL_FREE_HIGH]:
        learn(s, b, w, cpu, now)
    settle(s, b, w)


@part(cold=True)
def settle_all(s: View, b: TuningBooks) -> None:
    """Nothing goes on behind a dump, or the end."""
    for cpu in range(s.cfg.nr_cpus):
        if b.cpu[cpu * bk.WW + bk.W_PID]:
            drained_nothing(s, b, cpu, 0)
    for w in range(bk.SLOTS):
        settle(s, b, w)


@part(inline=True)
def largest_step(s: View, batch: int) -> int:
    """How many pages one call of free_pcppages_bulk is asked for by a free: a batch; all of them in old kernels."""
    return batch if s.cfg.sub_batches else MOST_PAGES


@part
def expected(b: TuningBooks, w: int, asked: int, step: int, count: int) -> bool:
    """Whether under some phase the drain's next sub-batch asks for so many pages."""
    for p in range(bk.PHASES):
        left = b.left[w * bk.PHASES + p] + 0
        if left > 0 and min(left, step, count) == asked:
            return True
    return False


@part
def compare_sub_batch(b: TuningBooks, w: int, asked: int, step: int, count: int) -> None:
    """Hold a sub-batch against what each phase asks for."""
    sl = w * bk.SW
    b.slots[sl + bk.SL_DRAINS] += 1
    b.slots[sl + bk.SL_ASKED] += asked
    more = 0
    for p in range(bk.PHASES):
        here = w * bk.PHASES + p
        left = b.left[here] + 0
        if min(left, step, count) != asked:
            b.wrong[here] = 1
        left = max(left - step, 0)
        b.left[here] = left
        more |= left
    b.slots[sl + bk.SL_OPEN] = more != 0


@part
def is_full_drain(s: View, z: int, asked: int, pindex: int) -> bool:
    """Whether a drain empties a whole list set, this CPU's or in drain_all_pages another's: it asks for all there is.

    More than a batch is asked for by full drains only.
    """
    if pindex != 0:
        return False
    for cpu in range(s.cfg.nr_cpus):
        lists = s.pcp[pcp_number(s, z, cpu)]
        batch = lists.batch
        if asked > batch or asked == min(lists.count, batch << PCP_BATCH_SCALE_MAX):
            return True
    return False


@part
def drain(s: View, b: TuningBooks, e: EventChunk, i: int) -> None:
    """gt_rmq 2: the sub-batch of some free's drain, of the decay's, or of a full drain."""
    z, cpu, asked, pindex, pid = b.zone_of[e.b[i]] + 0, e.cpu[i] + 0, e.d[i] + 0, e.mt[i] + 0, e.pid[i] + 0
    pcp = pcp_number(s, z, cpu)
    lists = s.pcp[pcp]
    batch, count = lists.batch, lists.count
    waits = cpu * bk.WW
    w = slot_of(b, pid, pcp, pindex)
    step = largest_step(s, batch)
    known = w >= 0 and expected(b, w, asked, step, count)
    if not known and is_full_drain(s, z, asked, pindex):
        b.inputs[bk.N_FULL] += 1
        return
    unexpected = (
        b.cpu[waits + bk.W_PID] == pid + 1
        and b.cpu[waits + bk.W_PCP] == pcp
        and b.cpu[waits + bk.W_INDEX] == pindex
    )
    if not known and unexpected and b.cpu[waits + bk.W_SLOT] < 0:
        w = free_slot(s, b, e.ts[i] + 0)
        for p in range(bk.PHASES):
            b.left[w * bk.PHASES + p] = 0
        open_slot(b, w, cpu, e.ts[i] + 0, count, 0, 0)
    if w < 0 and b.facts[bk.F_QUIET] == 0:
        b.inputs[bk.N_BEFORE] += 1
        return
    if w < 0:
        decay_drains(s, b, z, cpu, asked, e.ts[i] + 0, b.facts[bk.F_NUMBER] + i)
        return
    sl = w * bk.SW
    begins = b.slots[sl + bk.SL_DRAINS] == 0 and not b.slots[sl + bk.SL_FREE_HIGH]
    if begins and count < lists.high_min and not b.slots[sl + bk.SL_ACTIVE]:
        put_right(s, b, 1, e.ts[i] + 0)
    compare_sub_batch(b, w, asked, step, count)
    b.slots[sl + bk.SL_CLEARS] = z + 1
    b.cpu[waits + bk.W_CLEARING] = min(asked, count)
    b.cpu[waits + bk.W_DRAINER] = pid
