# SPDX-License-Identifier: GPL-2.0-or-later
"""What a recorded machine's snapshots show, under the names of :func:`kevacuate.measure.metrics.moment`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from kevacuate.measure.blocks import FREE, MOVABLE, PCP, RESERVED, UNMOVABLE, BlockCounts
from kevacuate.measure.metrics import REGIONS, fragmentation_index, region_metrics, unusable_free_index
from kevacuate.measure.unclear import Bounds, mixed_bounds
from kevacuate.mm.constants import MIGRATE_MOVABLE, MIGRATE_NAMES
from kevacuate.recording.state import UNCLEAR, AllocatorState

ORDERS = 11
"""Orders 0 to MAX_PAGE_ORDER (10)."""

KPF_LRU, KPF_ANON, KPF_COMPOUND_HEAD, KPF_COMPOUND_TAIL, KPF_NOPAGE, KPF_RESERVED = 5, 12, 15, 16, 20, 32
"""Bit numbers of /proc/kpageflags (include/uapi/linux/kernel-page-flags.h, kernel-page-flags.h in fs/proc)."""

Words = npt.NDArray[np.uint64]


class ZoneCounts(Protocol):
    """What /proc says of a zone."""

    chunks: Sequence[int]
    """Free chunks by order."""
    blocks_by_type: Mapping[str, int]
    """Pageblocks by the kernel's name of the type."""


class ProcSnapshot(Protocol):
    """What /proc says of a machine at one moment, without page flags."""

    zones: Sequence[Any]
    """Of :class:`ZoneCounts`."""


def _flag(flags: Words, number: int) -> npt.NDArray[np.bool_]:
    return np.asarray((flags >> np.uint64(number)) & np.uint64(1) != 0)


def _page_count(state: AllocatorState) -> int:
    return max((int(z.start_pfn) + int(z.spanned) for z in state.zones), default=0)


def movable_pages(flags: Words) -> npt.NDArray[np.bool_]:
    """Per page: on an LRU list, or anonymous and on its way to one. A folio's tail pages are as its head.

    Tail pages bear the folio's LRU flag from Linux 6.9 on, and none before (stable_page_flags, fs/proc/page.c).
    """
    movable = _flag(flags, KPF_LRU) | _flag(flags, KPF_ANON)
    head = np.where(_flag(flags, KPF_COMPOUND_HEAD), np.arange(len(flags)), 0)
    tail = _flag(flags, KPF_COMPOUND_TAIL)
    return np.where(tail, movable[np.maximum.accumulate(head)] | movable, movable)


def _mark(
    classes: npt.NDArray[np.uint8], pfn: npt.NDArray[np.int64], order: npt.NDArray[Any], value: int
) -> None:
    """Give chunks a class; what sticks out of memory is left out."""
    for one in np.unique(order).tolist():
        heads = pfn[order == one]
        heads = heads[(heads >= 0) & (heads + (1 << one) <= len(classes))]
        for i in range(1 << one):
            classes[heads + i] = value


def page_classes(state: AllocatorState, flags: Words, hugepage_order: int = 9) -> npt.NDArray[np.uint8]:
    """The class of every page up to the last zone's end: FREE, PCP, MOVABLE, UNMOVABLE, RESERVED.

    The free and pcp lists tell first, the page flags of what is left: they were read some milliseconds later.
    """
    pages = _page_count(state)
    known = np.full(pages, 1 << KPF_NOPAGE, np.uint64)
    known[: min(pages, len(flags))] = flags[:pages]
    classes = np.where(movable_pages(known), MOVABLE, UNMOVABLE).astype(np.uint8)
    classes[_flag(known, KPF_NOPAGE) | _flag(known, KPF_RESERVED)] = RESERVED
    inside = np.zeros(pages, np.bool_)
    for zone in state.zones:
        inside[int(zone.start_pfn) : int(zone.start_pfn) + int(zone.spanned)] = True
    classes[~inside] = RESERVED
    index = state.pcp_pages.pindex.astype(np.int64)
    pcp_order = np.where(index < 12, index // 3, max(hugepage_order, 0))
    _mark(classes, state.pcp_pages.pfn, pcp_order, PCP)
    _mark(classes, state.free.pfn, state.free.order, FREE)
    return classes


def recorded_blocks(
    state: AllocatorState, pageblock_order: int, hugepage_order: int = 9
) -> BlockCounts | None:
    """What every pageblock holds; None where the snapshot has no page flags."""
    if state.page_flags is None:
        return None
    classes = page_classes(state, state.page_flags, hugepage_order)
    blocks = (len(classes) >> pageblock_order) + 1
    block = np.arange(len(classes)) >> pageblock_order
    pages = np.bincount(block * 5 + classes, minlength=blocks * 5).reshape(blocks, 5).astype(np.int32)
    number = state.blocks.pfn >> pageblock_order
    good = (number >= 0) & (number < blocks)
    order = np.argsort(number[good], kind="stable")
    number, mt = number[good][order], state.blocks.mt[good][order]
    return BlockCounts(mt, pages[number], number.astype(np.int64) << pageblock_order)


def mixed_bounds_of(state: AllocatorState, counts: BlockCounts, pageblock_order: int) -> Bounds | None:
    """Bounds of mixed where a part of the pages on per-CPU lists is not known; None where all are, or nobody counted them."""
    if state.guesses is None or state.page_flags is None:
        return None
    size = 1 << pageblock_order
    words = np.zeros(-(-len(state.page_flags) // size) * size, np.bool_)
    words[: len(state.page_flags)] = state.page_flags == UNCLEAR
    unclear = words.reshape(-1, size).sum(axis=1)[counts.start >> pageblock_order]
    fixed = counts.pages[:, UNMOVABLE] - unclear
    return mixed_bounds(counts.pages[:, MOVABLE], fixed, unclear, state.guesses.pcp_pages_unknown)


def block_metrics(counts: BlockCounts, pageblock_order: int) -> dict[str, Any]:
    """Mixed, polluted and tainted, as :func:`kevacuate.measure.metrics.moment` defines them."""
    unmovable, movable = counts.pages[:, UNMOVABLE], counts.pages[:, MOVABLE]
    mixed = (unmovable > 0) & (movable > 0)
    polluted = (counts.mt == MIGRATE_MOVABLE) & (unmovable > 0)
    return {
        "mixed_blocks": int(mixed.sum()),
        "mixed_unmovable_pages": int(unmovable[mixed].sum()),
        "polluted_blocks": int(polluted.sum()),
        "polluted_pages": int(unmovable[polluted].sum()),
        "blocks_with_unmovable": int((unmovable > 0).sum()),
        "pcp_pages": int(counts.pages[:, PCP].sum()),
        "movable_pages": int(movable.sum()),
        "unmovable_pages": int(unmovable.sum()),
        **{f"regions_{name}": region_metrics(counts, order, pageblock_order) for name, order in REGIONS},
    }


def free_metrics(chunks: npt.NDArray[np.int64], huge_order: int) -> dict[str, Any]:
    """Free pages, free chunks by order, and the kernel's two indices, from the chunks by order (int64[11])."""
    orders = np.arange(len(chunks))
    huge = min(max(huge_order, 0), len(chunks) - 1)
    return {
        "free_pages": int((chunks << orders).sum()),
        "free_by_order": chunks.tolist(),
        "huge_pages_free": int((chunks[huge:] << np.arange(len(chunks) - huge)).sum()),
        "unusable_free_index": [unusable_free_index(chunks, order) for order in orders.tolist()],
        "fragmentation_index": [fragmentation_index(chunks, order) for order in orders.tolist()],
    }


def state_moment(state: AllocatorState, pageblock_order: int, hugepage_order: int = -1) -> dict[str, Any]:
    """Everything measured at a recorded state; without page flags, no mixed, polluted or tainted.

    An anonymous page in a per-CPU LRU batch counts as movable, any other page in one as one that cannot move: its flags do not
    tell. In a state that is not a dump (``approximate``) pages on per-CPU lists that no event named count as pages that cannot
    move, and block types are guessed: ``mixed_blocks`` is the most that there can be, ``mixed_blocks_least`` the least. Where
    events of other CPUs fell between the dump's own (``interleaved``) the free lists are that far from exact.
    """
    huge = hugepage_order if hugepage_order > 0 else pageblock_order
    order, mt = state.free.order.astype(np.int64), state.free.mt.astype(np.int64)
    good = (order >= 0) & (order < ORDERS) & (mt >= 0) & (mt < len(MIGRATE_NAMES))
    table = np.bincount(order[good] * 8 + mt[good], minlength=ORDERS * 8).reshape(ORDERS, 8)
    counts = recorded_blocks(state, pageblock_order, huge)
    bounds = mixed_bounds_of(state, counts, pageblock_order) if counts is not None else None
    return {
        "ts": state.ts,
        "interleaved": state.interleaved,
        "approximate": bool(getattr(state, "approximate", ())),
        "blocks": {name: int((state.blocks.mt == i).sum()) for i, name in enumerate(MIGRATE_NAMES)},
        **free_metrics(table.sum(axis=1), huge),
        "free_chunks": {name: table[:, i].tolist() for i, name in enumerate(MIGRATE_NAMES)},
        **(block_metrics(counts, pageblock_order) if counts is not None else {}),
        **({"mixed_blocks_least": bounds.least} if bounds is not None else {}),
    }


def snapshot_moment(snapshot: ProcSnapshot, pageblock_order: int, hugepage_order: int = -1) -> dict[str, Any]:
    """What is measured of /proc's counts alone: pageblocks by type, free pages by order and the indices."""
    chunks = np.zeros(ORDERS, np.int64)
    blocks = dict.fromkeys(MIGRATE_NAMES, 0)
    typed = False
    for zone in snapshot.zones:
        here = np.array(zone.chunks[:ORDERS], np.int64)
        chunks[: len(here)] += here
        for name, count in zone.blocks_by_type.items():
            typed = True
            if name.lower() in blocks:
                blocks[name.lower()] += int(count)
    out = free_metrics(chunks, hugepage_order if hugepage_order > 0 else pageblock_order)
    return {**({"blocks": blocks} if typed else {}), **out, "ts": int(getattr(snapshot, "ts", 0))}


def moments_of(
    states: Iterable[AllocatorState],
    snapshots: Iterable[Any],
    pageblock_order: int,
    hugepage_order: int = -1,
) -> dict[str, dict[str, Any]]:
    """What all snapshots show, by label, in order of time; a state at boot, before there were per-CPU lists, is left out.

    Of a state and a /proc snapshot of the same label the state counts. Labels that repeat (``periodic``) are numbered from 1.
    """
    found: list[tuple[int, str, dict[str, Any]]] = []
    for state in states:
        if state.pcp_ready:
            moment = state_moment(state, pageblock_order, hugepage_order)
            found.append((state.ts, state.label or state.tag, moment))
    labels = {label for _, label, _ in found}
    for snapshot in snapshots:
        if snapshot.label not in labels:
            found.append(
                (snapshot.ts, snapshot.label, snapshot_moment(snapshot, pageblock_order, hugepage_order))
            )
    found.sort(key=lambda item: item[0])
    names = [label for _, label, _ in found]
    out: dict[str, dict[str, Any]] = {}
    for _, label, moment in found:
        number = 1 + sum(1 for key in out if key == label or key.startswith(f"{label} "))
        out[f"{label} {number}" if names.count(label) > 1 else label] = moment
    return out


_VMSTAT_SUMS = {"pgalloc": "pgalloc_", "allocstall": "allocstall_"}
_VMSTAT = (
    "compact_stall",
    "compact_success",
    "compact_fail",
    "compact_daemon_wake",
    "pgmigrate_success",
    "pgmigrate_fail",
    "pgsteal_direct",
    "pgsteal_kswapd",
    "thp_fault_alloc",
    "thp_fault_fallback",
)


def vmstat_change(snapshots: Sequence[Any]) -> dict[str, int]:
    """How far /proc/vmstat's counters went from the first snapshot to the last; those of zones are summed. Empty without two."""
    if len(snapshots) < 2:
        return {}
    first, last = snapshots[0].vmstat, snapshots[-1].vmstat
    out = {name: int(last[name] - first[name]) for name in _VMSTAT if name in first and name in last}
    for name, start in _VMSTAT_SUMS.items():
        zones = [key for key in first if key.startswith(start) and key in last]
        if zones:
            out[name] = int(sum(last[key] - first[key] for key in zones))
    return out
