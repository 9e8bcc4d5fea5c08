# SPDX-License-Identifier: GPL-2.0-or-later
"""The operations of a demand's rows."""

from __future__ import annotations

from enum import IntEnum


class DemandOp(IntEnum):
    """What a row of a demand asks for; the numbers are stored."""

    ALLOC = 0
    """Allocate ``order``, as object ``obj``. Closed loop: where ``aux`` is not 0, the pages were read once before and reclaimed,
    as shadow ``aux``; what the model kept of them becomes the object."""
    FREE = 1
    """Free object ``obj``, of ``order``."""
    SPLIT = 2
    """Halve ``obj`` of ``order``: it keeps the lower half, ``aux`` is the id of the upper."""
    FREE_PFN = 3
    """Free the start state's page at pfn ``aux``, which has no object, of ``order``."""
    ALLOC_BULK = 4
    """As ALLOC, of order 0, through alloc_pages_bulk."""
    RECLAIM = 5
    """The recorded kernel's reclaim freed ``obj``, of ``order``. Open loop: FREE. Closed loop: the pages stay on their LRU list,
    as shadows ``aux`` to ``aux + 2**order - 1``, one a page."""
    ACCESS = 6
    """The workload used ``obj``: through a page table where ``aux`` is 1; where ``aux`` is 2 that has mapped it if it was there.
    Open loop: nothing. Closed loop: it is marked accessed, or young, or, if the model dropped it, read again unless ``aux`` is 2:
    allocated by ``order``, ``mt``, ``gfp`` and ``attr``."""
    TRUNCATE = 7
    """The workload gave up shadows ``aux`` to ``aux + 2**order - 1``. Open loop: nothing. Closed loop: what the model kept of
    them is freed."""
    ATTEMPT = 8
    """The recorded kernel refused a request of ``order``, ``mt`` and ``gfp``; ``obj`` is 0 and means nothing. Open loop: nothing.
    Closed loop: it is tried, and given back at once where the model satisfies it."""
    GATHER = 9
    """Shadow ``aux`` (0: none) is shadow ``obj`` from now on: pages of several folios that are read again as one. Open loop:
    nothing."""
    ALLOC_CONTIG = 10
    """Allocate ``order``, more than MAX_PAGE_ORDER, as object ``obj`` through alloc_contig_pages. Described workloads ask so."""
    FREE_CONTIG = 11
    """Free object ``obj`` of ``order``, which came so."""
    PLACE = 12
    """Object ``obj`` of ``order``, asked for with ``gfp``, is in the page cache, from page ``aux`` on: pages of all files have
    numbers. Open loop: nothing."""
    READ = 13
    """The task reads ``obj`` pages of a file from page ``aux`` on, or faults there. The file ends before page ``gfp``; ``attr``
    says how (READ_*, demand/pagecache.py). Open loop: nothing. Closed loop: what the model lacks is read, and read ahead."""
