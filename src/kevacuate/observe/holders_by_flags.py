# SPDX-License-Identifier: GPL-2.0-or-later
"""What pages that cannot move are, as far as their words of /proc/kpageflags alone say: the one place that names them so.

`kevacuate holders` without drgn, `kevacuate watch` and the stories of recorded pageblocks all use it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kevacuate.demand.start_objects import pages_in_use
from kevacuate.kernel.pageflags import (
    KPF_BUDDY,
    KPF_COMPOUND_TAIL,
    KPF_HUGE,
    KPF_MMAP,
    KPF_NOPAGE,
    KPF_PGTABLE,
    KPF_SLAB,
    KPF_ZERO_PAGE,
    can_move,
    flag,
    is_absent,
    tails_as_heads,
)
from kevacuate.observe.holders import ABSENT, FREE, MOVABLE, UNCLEAR, UNKNOWN, Holder
from kevacuate.recording import state as recorded

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


def state_holders(
    state: recorded.AllocatorState, first: int, last: int, hugepage_order: int
) -> tuple[tuple[Holder, int], ...] | None:
    """What the pages [first, last) of a recorded state are that cannot move.

    The pages are those of class UNMOVABLE (:func:`kevacuate.measure.pages.page_classes`): the lists tell which are free or on a
    per-CPU list. Where a recording's flags are marked unclear, and for them alone, that is not known.

    Parameters
    ----------
    state : AllocatorState
        The state.
    first, last : int
        Pfns.
    hugepage_order : int
        The machine's.

    Returns
    -------
    tuple of (Holder, int) or None
        Holders with their pages, most first; empty where every page in use can move, None where the state has no page flags.

    """
    if state.page_flags is None:
        return None
    words = np.full(last, 1 << KPF_NOPAGE, np.uint64)
    known = state.page_flags[:last]
    words[: len(known)] = known
    heads = np.flatnonzero(~flag(words[: first + 1], KPF_COMPOUND_TAIL))
    begin = int(heads[-1]) if len(heads) else first
    code = classify(words[begin:])[first - begin :]
    words = words[first:]
    used = np.zeros(last - first, np.bool_)
    told = pages_in_use(state, hugepage_order)[first:last]
    used[: len(told)] = told
    here = used & (code != MOVABLE) & (code != ABSENT)
    code[(code == FREE) | (code == NO_FLAG)] = NAMELESS
    code[words == recorded.UNCLEAR] = NO_FLAG
    counts = np.bincount(code[here], minlength=len(FLAG_HOLDERS))
    order = np.argsort(-counts, kind="stable")
    return tuple((FLAG_HOLDERS[i], int(counts[i])) for i in order.tolist() if counts[i])
