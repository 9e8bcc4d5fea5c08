# SPDX-License-Identifier: GPL-2.0-or-later
"""What pages that cannot move are, as far as their words of /proc/kpageflags alone say: the one place that names them so.

`kevacuate holders` without drgn, `kevacuate watch` and the stories of recorded pageblocks all use it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kevacuate.kernel.pageflags import (
    KPF_BUDDY,
    KPF_HUGE,
    KPF_MMAP,
    KPF_PGTABLE,
    KPF_SLAB,
    KPF_ZERO_PAGE,
    can_move,
    flag,
    is_absent,
    tails_as_heads,
)
from kevacuate.observe.holders import ABSENT, FREE, MOVABLE, UNCLEAR, UNKNOWN, Holder

BY_FLAG = (
    (KPF_SLAB, Holder("slab", "cache not told by kpageflags")),
    (KPF_PGTABLE, Holder("page table", "")),
    (KPF_HUGE, Holder("hugetlb", "")),
    (KPF_ZERO_PAGE, Holder("zero page", "")),
    (KPF_MMAP, Holder("mapped by user space", "on no LRU list")),
)
"""Flags that name what a page is, the strongest first."""

NAMELESS, NO_FLAG = len(BY_FLAG), len(BY_FLAG) + 1
"""Codes of pages with flags that name no owner, and of pages without any."""

FLAG_HOLDERS = (*(holder for _, holder in BY_FLAG), Holder(UNKNOWN, ""), Holder(UNCLEAR, ""))
"""Holders by code, NAMELESS and NO_FLAG with them."""

Codes = npt.NDArray[np.int32]
Words = npt.NDArray[np.uint64]


def classify(words: Words) -> Codes:
    """Codes of pages by their words of /proc/kpageflags, uint64[pages]: numbers in :data:`BY_FLAG`, NAMELESS or NO_FLAG."""
    heads = tails_as_heads(words)
    code = np.where(words == 0, np.int32(NO_FLAG), np.int32(NAMELESS))
    for number in reversed(range(len(BY_FLAG))):
        code[flag(heads, BY_FLAG[number][0])] = number
    code[can_move(heads)] = MOVABLE
    code[flag(words, KPF_BUDDY)] = FREE
    code[is_absent(heads)] = ABSENT
    return code
