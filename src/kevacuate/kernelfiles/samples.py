# SPDX-License-Identifier: GPL-2.0-or-later
"""What monitors (sysstat, netdata) keep of memory: samples over time, each figure by one name whatever the monitor calls it."""

from __future__ import annotations

from typing import NamedTuple

from kevacuate.kernelfiles.stamps import Stamp

KB = {
    "free_kb": "free memory",
    "available_kb": "available memory",
    "slab_kb": "slab",
    "slab_unreclaimable_kb": "unreclaimable slab",
    "kernel_stack_kb": "kernel stacks",
    "page_tables_kb": "page tables",
    "vmalloc_kb": "vmalloc",
    "huge_free_kb": "free huge pages (hugetlb)",
    "swap_used_kb": "swap in use",
}
"""Amounts, in kB."""

RATES = {
    "pgscan_kswapd": "pages scanned by kswapd",
    "pgscan_direct": "pages scanned by tasks (direct reclaim)",
    "pgsteal": "pages reclaimed",
    "pswpin": "pages swapped in",
    "pswpout": "pages swapped out",
    "swap_in_kb": "kB swapped in",
    "swap_out_kb": "kB swapped out",
    "compact_stall": "direct compactions",
    "compact_fail": "direct compactions that failed",
    "compact_success": "direct compactions that succeeded",
    "thp_fault_alloc": "huge page faults served",
    "thp_fault_fallback": "huge page faults that fell back",
    "oom_kill": "OOM kills",
}
"""Rates, per second."""

MOST_ORDERS = 16
"""Orders of chunks that are told apart."""

INDEX, ORDER = "extfrag_index:", "free_order_kb:"
"""Beginnings of two more names: the kernel's fragmentation index of ``node zone:order``; kB free in chunks of an order."""


class Sample(NamedTuple):
    """One figure at one moment.

    Attributes
    ----------
    host : str
        As the monitor names it; empty where it does not.
    stamp : Stamp or None
        When; None where the monitor does not say.
    name : str
        Of :data:`KB`, :data:`RATES`, or after :data:`INDEX` or :data:`ORDER`.
    value : float
        kB, a rate per second, or an index.
    """

    host: str
    stamp: Stamp | None
    name: str
    value: float
