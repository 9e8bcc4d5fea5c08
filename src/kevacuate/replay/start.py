# SPDX-License-Identifier: GPL-2.0-or-later
"""The start of a demand: which pages are in use, and which of those are objects."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kevacuate.errors import KevacuateError
from kevacuate.kernel.pageflags import KPF_BUDDY, KPF_COMPOUND_HEAD, KPF_COMPOUND_TAIL, can_move, flag
from kevacuate.kernel.pcp import pcp_order
from kevacuate.measure.pages import page_count
from kevacuate.recording.demand import StartObjects
from kevacuate.recording.state import AllocatorState
from kevacuate.replay.objects import MAX_ORDER
from kevacuate.replay.pagekinds import attr_from_flags

_PAGES_AT_ONCE = 1 << 16


def pages_in_use(state: AllocatorState) -> npt.NDArray[np.bool_]:
    """Per pfn: inside a zone, and neither free nor on a pcp list (holes count as in use)."""
    used = np.zeros(page_count(state), np.bool_)
    for zone in state.zones:
        used[int(zone.start_pfn) : int(zone.start_pfn) + int(zone.spanned)] = True
    for order in range(MAX_ORDER + 1):
        for heads in (
            state.free.pfn[state.free.order == order],
            state.pcp_pages.pfn[pcp_order(state.pcp_pages.pindex) == order],
        ):
            within = np.arange(1 << order, dtype=heads.dtype)
            for at in range(0, len(heads), max(_PAGES_AT_ONCE >> order, 1)):
                used[heads[at : at + max(_PAGES_AT_ONCE >> order, 1), None] + within] = False
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
            f"the start state {state.tag!r} has flags of {len(flags)} pages but zones up to pfn {len(used)}: "
            "the recording's kpageflags is cut off; record it again or remove it"
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
