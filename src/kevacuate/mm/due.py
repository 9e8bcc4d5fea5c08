# SPDX-License-Identifier: GPL-2.0-or-later
"""What of the background is due next; it is run by :mod:`kevacuate.mm.clock`."""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm.constants import NEVER
from kevacuate.mm.fields import View


@part
def next_due(s: View) -> tuple[int, int]:
    """(due time, number) of what is due first: workers, kswapds, vmstat, kcompactds, a policy's worker, swap's use, shrinking."""
    due = NEVER
    which = -1
    workers = s.cfg.nr_workers
    nodes = s.cfg.nr_nodes
    for i in range(workers):
        t = s.worker[i].due
        if t < due:
            due = t
            which = i
    for i in range(nodes):
        t = s.node[i].kswapd_due
        if t < due:
            due = t
            which = workers + i
    for i in range(s.cfg.nr_cpus):
        t = s.cpu[i].vmstat_due
        if t < due:
            due = t
            which = workers + nodes + i
    if s.cfg.compaction:
        for i in range(nodes):
            t = s.node[i].kcompactd_due
            if t < due:
                due = t
                which = workers + nodes + s.cfg.nr_cpus + i
    if s.stat.policy_due < due:
        due = s.stat.policy_due
        which = workers + 2 * nodes + s.cfg.nr_cpus
    if s.stat.swap_due < due:
        due = s.stat.swap_due
        which = workers + 2 * nodes + s.cfg.nr_cpus + 1
    if s.cfg.region_shrink:
        for i in range(nodes):
            t = s.node[i].shrink_due
            if t < due:
                due = t
                which = workers + 2 * nodes + s.cfg.nr_cpus + 2 + i
    return due, which
