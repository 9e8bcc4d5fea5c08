# SPDX-License-Identifier: GPL-2.0-or-later
"""What pages that cannot move are, as far as their words of /proc/kpageflags alone say: the one place that names them so.

`kevacuate holders` without drgn, `kevacuate watch` and the stories of recorded pageblocks all use it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from kevacuate.demand.start_objects import pages_in_use
from kevacuate.kernel import pageflags as pf
from kevacuate.kernel.pageflags import can_move, flag, is_absent, tails_as_heads
from kevacuate.measure.holders import ABSENT, FREE, MOVABLE, UNCLEAR, UNKNOWN, Holder
from kevacuate.recording import state as recorded

BY_FLAG = (
    (pf.KPF_SLAB, Holder("slab", "cache not told by kpageflags")),
    (pf.KPF_PGTABLE, Holder("page table", "")),
    (pf.KPF_HUGE, Holder("hugetlb", "")),
    (pf.KPF_ZERO_PAGE, Holder("zero page", "")),
    (pf.KPF_MMAP, Holder("mapped by user space", "on no LRU list")),
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
    code[flag(words, pf.KPF_BUDDY)] = FREE
    code[is_absent(heads)] = ABSENT
    return code


def state_codes(state: recorded.AllocatorState, first: int, last: int, hugepage_order: int) -> Codes | None:
    """Codes of the pages [first, last) of a recorded state that cannot move, and -1 of all others.

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
    int32[last - first] or None
        Numbers in :data:`FLAG_HOLDERS`, None where the state has no page flags.

    """
    if state.page_flags is None:
        return None
    words = np.full(last, 1 << pf.KPF_NOPAGE, np.uint64)
    known = state.page_flags[:last]
    words[: len(known)] = known
    heads = np.flatnonzero(~flag(words[: first + 1], pf.KPF_COMPOUND_TAIL))
    begin = int(heads[-1]) if len(heads) else first
    code = classify(words[begin:])[first - begin :]
    words = words[first:]
    used = np.zeros(last - first, np.bool_)
    told = pages_in_use(state, hugepage_order)[first:last]
    used[: len(told)] = told
    here = used & (code != MOVABLE) & (code != ABSENT)
    code[(code == FREE) | (code == NO_FLAG)] = NAMELESS
    code[words == recorded.UNCLEAR] = NO_FLAG
    return np.where(here, code, np.int32(-1))


def state_holders(
    state: recorded.AllocatorState, first: int, last: int, hugepage_order: int
) -> tuple[tuple[Holder, int], ...] | None:
    """What the pages [first, last) of a recorded state are that cannot move, as :func:`state_codes` has it.

    Returns
    -------
    tuple of (Holder, int) or None
        Holders with their pages, most first; empty where every page in use can move, None where the state has no page flags.

    """
    code = state_codes(state, first, last, hugepage_order)
    if code is None:
        return None
    return most_first(np.bincount(code[code >= 0], minlength=len(FLAG_HOLDERS)))


def most_first(
    counts: npt.NDArray[np.int64], holders: Sequence[Holder] = FLAG_HOLDERS
) -> tuple[tuple[Holder, int], ...]:
    """The holders with a page by int64[holders] pages of each, most pages first; of equal ones in their order."""
    order = np.argsort(-counts, kind="stable")
    return tuple((holders[i], int(counts[i])) for i in order.tolist() if counts[i])
