# SPDX-License-Identifier: GPL-2.0-or-later
"""The start of a demand: which pages are in use, and which of those are objects."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kevacuate.demand.objects import MAX_ORDER
from kevacuate.demand.pagekinds import attr_from_flags
from kevacuate.errors import KevacuateError
from kevacuate.kernel.pageflags import KPF_BUDDY, KPF_COMPOUND_HEAD, KPF_COMPOUND_TAIL, can_move, flag
from kevacuate.kernel.pcp import pcp_order
from kevacuate.recording.demand import StartObjects
from kevacuate.recording.state import AllocatorState, page_count

_PAGES_AT_ONCE = 1 << 16

MOST_PAGES = 1 << 30
"""Page frames of a machine are fewer, 4 TiB of 4 KiB each: the model holds no more (mm/layout.py)."""


def refuse_too_many_pages(state: AllocatorState, whose: str) -> None:
    """Refuse a state of more page frames than the model holds, before anything is as long as they are many.

    Raises
    ------
    KevacuateError
        Names *whose* it is.
    """
    if page_count(state) >= MOST_PAGES:
        raise KevacuateError(
            f"{whose} has zones up to pfn {page_count(state):,}: this program handles less than {MOST_PAGES:,} page frames."
        )


def pages_in_use(state: AllocatorState, hugepage_order: int) -> npt.NDArray[np.bool_]:
    """Per pfn: inside a zone, and neither free nor on a pcp list (holes count as in use).

    *hugepage_order* is that of the machine's huge pages, which have pcp lists of their own.
    """
    used = np.zeros(page_count(state), np.bool_)
    for zone in state.zones:
        used[int(zone.start_pfn) : int(zone.start_pfn) + int(zone.spanned)] = True
    cached = pcp_order(state.pcp_pages.pindex, hugepage_order)
    for pfn, orders in ((state.free.pfn, state.free.order), (state.pcp_pages.pfn, cached)):
        for order in np.unique(orders).tolist():
            heads, within = pfn[orders == order], np.arange(1 << order, dtype=pfn.dtype)
            at_once = max(_PAGES_AT_ONCE >> order, 1)
            for at in range(0, len(heads), at_once):
                used[heads[at : at + at_once, None] + within] = False
    return used


def folio_orders(flags: npt.NDArray[np.uint64], heads: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Order of the folio that begins at each pfn: 0 unless a compound head with its tails behind it."""
    tail = flag(flags, KPF_COMPOUND_TAIL)
    stop = np.flatnonzero(~tail)
    ends = np.append(stop, len(flags))[np.searchsorted(stop, heads, side="right")]
    length = np.where(flag(flags, KPF_COMPOUND_HEAD)[heads], ends - heads, 1)
    return np.minimum(np.log2(length).astype(np.uint8), MAX_ORDER).astype(np.uint8)


def start_objects(state: AllocatorState, used: npt.NDArray[np.bool_]) -> StartObjects:
    """The folios that can move at the start, attr as the flags show; none where page flags are not known.

    Raises
    ------
    KevacuateError
        The page flags are fewer than the pages.

    """
    flags = state.page_flags
    if flags is None:
        return StartObjects(np.empty(0, np.int64), np.empty(0, np.uint8), np.empty(0, np.uint8))
    if len(flags) < len(used):
        raise KevacuateError(
            f"The start state has page flags of {len(flags):,} pages, but zones up to pfn {len(used):,}: its kpageflags is cut "
            "off, record again."
        )
    flags = flags[: len(used)]
    heads = np.flatnonzero(used & can_move(flags) & ~flag(flags, KPF_COMPOUND_TAIL) & ~flag(flags, KPF_BUDDY))
    orders = folio_orders(flags, heads)
    size = np.left_shift(1, orders.astype(np.int64))
    taken = np.concatenate([[0], np.cumsum(used)])
    whole = taken[np.minimum(heads + size, len(used))] - taken[heads] == size
    orders = np.where(whole, orders, 0).astype(
        np.uint8
    )  # broken up since its flags were read: the head alone
    size = np.left_shift(1, orders.astype(np.int64))
    fits = (heads % size == 0) & (heads + size <= len(used))
    heads, orders = heads[fits], orders[fits]
    return StartObjects(heads.astype(np.int64), orders, attr_from_flags(flags[heads]))
