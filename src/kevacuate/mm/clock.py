# SPDX-License-Identifier: GPL-2.0-or-later
"""Virtual time: everything that runs in the background, in the order it becomes due (docs/model.md, Virtual time)."""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm.constants import (
    C_COMPACTION,
    C_NCPUS,
    C_NNODES,
    C_NWORKERS,
    C_NZONES,
    C_OFF_KSWAPD,
    C_OFF_NODE_CPU,
    C_OFF_TICKS,
    C_OFF_WORKERS,
    C_STAT_INTERVAL,
    KC_DUE,
    KS,
    KS_DUE,
    NEVER,
    T_CPU,
    T_NEXT_DUE,
    T_NOW,
    WK_DUE,
    WS,
)
from kevacuate.mm.evacuate import evacuate_pageblock
from kevacuate.mm.kcompactd import kcompactd_step
from kevacuate.mm.pcp import decay_pcp_high
from kevacuate.mm.vmscan import kswapd_step
from kevacuate.mm.watermark import kcompactd_at


@part
def vmstat_update(s, cpu):  # type: ignore[no-untyped-def]
    """The CPU's vmstat worker, every vm.stat_interval: decay its per-CPU lists' high in every zone."""
    s.work[s.cfg[C_OFF_TICKS] + cpu] += s.cfg[C_STAT_INTERVAL]
    s.stat[T_CPU] = cpu
    for z in range(s.cfg[C_NZONES]):
        decay_pcp_high(s, z, cpu)


@part
def next_due(s):  # type: ignore[no-untyped-def]
    """(due time, number) of whatever is due first: workers, then kswapds, vmstat ticks, kcompactds."""
    due = NEVER
    which = -1
    workers = s.cfg[C_NWORKERS]
    nodes = s.cfg[C_NNODES]
    for i in range(workers):
        t = s.work[s.cfg[C_OFF_WORKERS] + i * WS + WK_DUE]
        if t < due:
            due = t
            which = i
    for i in range(nodes):
        t = s.work[s.cfg[C_OFF_KSWAPD] + i * KS + KS_DUE]
        if t < due:
            due = t
            which = workers + i
    for i in range(s.cfg[C_NCPUS]):
        t = s.work[s.cfg[C_OFF_TICKS] + i]
        if t < due:
            due = t
            which = workers + nodes + i
    if s.cfg[C_COMPACTION]:
        for i in range(nodes):
            t = s.work[kcompactd_at(s, i) + KC_DUE]
            if t < due:
                due = t
                which = workers + nodes + s.cfg[C_NCPUS] + i
    return due, which


@part(cold=True)
def advance(s, t):  # type: ignore[no-untyped-def]
    """Run everything that is due at or before *t* (ns), in order, then set the clock to *t*."""
    workers = s.cfg[C_NWORKERS]
    nodes = s.cfg[C_NNODES]
    due, which = next_due(s)
    while due <= t:
        s.stat[T_NOW] = max(due, s.stat[T_NOW])
        if which < workers:
            evacuate_pageblock(s, which)
        elif which < workers + nodes:
            s.stat[T_CPU] = s.cfg[s.cfg[C_OFF_NODE_CPU] + which - workers]
            kswapd_step(s, which - workers)
        elif which < workers + nodes + s.cfg[C_NCPUS]:
            vmstat_update(s, which - workers - nodes)
        else:
            kcompactd_step(s, which - workers - nodes - s.cfg[C_NCPUS])
        due, which = next_due(s)
    s.stat[T_NEXT_DUE] = due
    s.stat[T_NOW] = max(t, s.stat[T_NOW])
