# SPDX-License-Identifier: GPL-2.0-or-later
"""The numbers of the per-CPU lists (pindex): which order and type of chunk each holds.

mm/page_alloc.c at 7.2: order_to_pindex, pindex_to_order; since 5.14. Orders 0 to 3 have a list for each of the three types with
lists of their own. Behind them huge pages have one list, and in later kernels two: of all others and of movable pages.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kevacuate.kernel.migratetypes import MIGRATE_MOVABLE, MIGRATE_PCPTYPES

PAGE_ALLOC_COSTLY_ORDER = 3
"""The largest order with per-CPU lists for each type (include/linux/mmzone.h)."""
NR_LOWORDER_PCP_LISTS = MIGRATE_PCPTYPES * (PAGE_ALLOC_COSTLY_ORDER + 1)

Ints = npt.NDArray[np.int64]


def pcp_order(pindex: npt.NDArray[np.integer[Any]], hugepage_order: int) -> Ints:
    """Order of the chunks on the list of this number: below NR_LOWORDER_PCP_LISTS a third of it, else that of huge pages.

    That order is the machine's: 9 on x86-64 with 4 KiB pages, 13 on arm64 with 64 KiB pages; -1 without huge pages.
    """
    index = pindex.astype(np.int64)
    return np.where(index < NR_LOWORDER_PCP_LISTS, index // MIGRATE_PCPTYPES, max(hugepage_order, 0))


def pcp_index(order: Ints, mt: Ints) -> Ints:
    """Number of the list that chunks of this order and migratetype (0 to 2) go to; all orders above 3 are huge pages."""
    huge = NR_LOWORDER_PCP_LISTS + (mt == MIGRATE_MOVABLE)
    return np.where(order <= PAGE_ALLOC_COSTLY_ORDER, MIGRATE_PCPTYPES * order + mt, huge)
