# SPDX-License-Identifier: GPL-2.0-or-later
"""The CPU that kswapd and kcompactd share with tasks, on a machine that has one: slices, turn by turn (kernel/sched, 7.2).

Approximate: all slices are as long, and where kswapd and kcompactd both run, neither waits for the other.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm.fields import View


@part
def takes_the_cpu(s: View, left: int, ns: int) -> tuple[int, int]:
    """A thread has the CPU for *ns*, with *left* ns of its slice to go: tasks are late by that.

    After each of its slices tasks have as long a slice of their own. Returns (ns until it can go on, what is left of its slice).
    """
    s.stat.late += ns
    if left > ns:
        return ns, left - ns
    return ns + s.cfg.kswapd_slice_ns, s.cfg.kswapd_slice_ns + 0
