# SPDX-License-Identifier: GPL-2.0-or-later
"""Virtual time: everything that runs in the background, in the order it becomes due (docs/model.md, Virtual time)."""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm.due import next_due
from kevacuate.mm.evacuate import evacuate_pageblock
from kevacuate.mm.evacuate_queue import irq_work_run
from kevacuate.mm.fields import View
from kevacuate.mm.kcompactd import kcompactd_step
from kevacuate.mm.kswapd import kswapd_step
from kevacuate.mm.pcp import decay_pcp_high
from kevacuate.mm.policy_work import policy_work
from kevacuate.mm.region_shrink import shrink_tainted
from kevacuate.mm.swap_in import used_again


@part
def vmstat_update(s: View, cpu: int) -> None:
    """The CPU's vmstat worker, every vm.stat_interval: decay its per-CPU lists' high in every zone."""
    s.cpu[cpu].vmstat_due += s.cfg.stat_interval
    s.stat.cpu = cpu
    for z in range(s.cfg.nr_zones):
        decay_pcp_high(s, z, cpu)


@part(cold=True)
def advance(s: View, t: int) -> None:
    """Run everything that is due at or before *t* (ns), in order, then set the clock to *t*."""
    workers = s.cfg.nr_workers
    nodes = s.cfg.nr_nodes
    due, which = next_due(s)
    while due <= t:
        s.stat.now = max(due, s.stat.now)
        if which < workers:
            evacuate_pageblock(s, which)
        elif which < workers + nodes:
            s.stat.cpu = s.node[which - workers].cpu
            kswapd_step(s, which - workers)
        elif which < workers + nodes + s.cfg.nr_cpus:
            vmstat_update(s, which - workers - nodes)
        elif which < workers + 2 * nodes + s.cfg.nr_cpus:
            kcompactd_step(s, which - workers - nodes - s.cfg.nr_cpus)
        elif which > workers + 2 * nodes + s.cfg.nr_cpus:
            if which == workers + 2 * nodes + s.cfg.nr_cpus + 1:
                used_again(s)
            else:
                shrink_tainted(s, which - workers - 2 * nodes - s.cfg.nr_cpus - 2)
        else:
            policy_work(s)
            for z in range(s.cfg.nr_zones):
                irq_work_run(s, z)
        due, which = next_due(s)
    s.stat.next_due = due
    s.stat.now = max(t, s.stat.now)
