# SPDX-License-Identifier: GPL-2.0-or-later
"""The allocator's state from what any kernel shows: page flags, /proc/zoneinfo and /proc/pagetypeinfo, and evidence.

A stock kernel has no dump of its free lists. What can be had: KPF_BUDDY on every page of a free chunk, so the chunks
are the largest aligned ones of those (the buddy merges whatever it can); the number of pageblocks of each type; the
number of pages on each per-CPU list; and, when events follow, what they show of each page they touch
(:mod:`kevacuate.recording.evidence`). What stays a guess is said in the state's ``approximate``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kevacuate.kernel.pageflags import KPF_BUDDY, KPF_NOPAGE, flag
from kevacuate.kernel.pcp import pcp_order
from kevacuate.recording import evidence as ev
from kevacuate.recording.blocktypes import TYPE_INDEX, guess_block_types
from kevacuate.recording.pagebook import (
    BUDDY,
    PageBook,
    PageSnapshot,
    StateFacts,
    apply_evidence,
    follow_window,
    pcp_pages,
)
from kevacuate.recording.snapshot import Snapshot, ZoneCounts
from kevacuate.recording.state import AllocatorState, Blocks, FreePages, PcpFields, PcpPages, ZoneState

KPF_NOPAGE_BIT = np.uint64(1 << KPF_NOPAGE)
MAX_ORDER = ev.MAX_ORDER


def free_chunks(
    free: npt.NDArray[np.bool_], max_order: int = MAX_ORDER
) -> list[tuple[int, npt.NDArray[np.int64]]]:
    """The largest aligned chunks of the free pages: (order, first pfns ascending) from the highest order down.

    This is what the buddy's merging leaves, but for chunks it must not merge (different zones, isolated blocks).
    """
    pages = -(-len(free) >> max_order) << max_order
    level = np.zeros(pages, np.bool_)
    level[: len(free)] = free
    levels = [level]
    for _ in range(max_order):
        levels.append(levels[-1][0::2] & levels[-1][1::2])
    result = []
    above = np.zeros(len(levels[max_order]), np.bool_)
    for order in range(max_order, -1, -1):
        heads = np.flatnonzero(levels[order] & ~above)
        result.append((order, heads.astype(np.int64) << order))
        if order:
            above = np.repeat(levels[order], 2)
    return result


def build_state(
    snapshot: Snapshot, pages: PageSnapshot, facts: StateFacts, evidence: ev.Evidence | None = None
) -> AllocatorState:
    """The state at ``pages.end``.

    Parameters
    ----------
    snapshot : Snapshot
        Zones, block counts and per-CPU counts, taken with the pages.
    pages : PageSnapshot
        Flags of every page.
    facts : StateFacts
        Of the machine.
    evidence : Evidence, optional
        What the events from ``pages.begin`` on showed.

    """
    zones = tuple(zone for zone in snapshot.zones if zone.name != "Device")
    size = max((z.start_pfn + z.spanned for z in zones), default=0)
    flags = np.full(size, KPF_NOPAGE_BIT, np.uint64)
    flags[: min(size, len(pages.flags))] = pages.flags[:size]
    absent = _mark_absent(flags, facts.block_order, evidence)
    book = PageBook(size)
    book.where[flag(flags, KPF_BUDDY)] = BUDDY
    if evidence is not None:
        follow_window(book, evidence.window, pages, facts)
        apply_evidence(book, evidence)
    zone_of = np.full(size, -1, np.int16)
    for index, zone in enumerate(zones):
        zone_of[zone.start_pfn : zone.start_pfn + zone.spanned] = index
    pcp = pcp_pages(book, zone_of, facts)
    types = guess_block_types(zones, flags, book.where, facts.block_order, evidence)
    free = _free_lists(book, zones, types, facts.block_order, evidence)
    return AllocatorState(
        tag="s",
        ts=pages.end,
        ts_begin=pages.begin,
        cpu=0,
        ordinal=-1,
        zones=tuple(zone_state(i, z, facts) for i, z in enumerate(zones)),
        free=free,
        blocks=_blocks(zones, types, flags, facts.block_order),
        pcp=_pcp_fields(zones, facts),
        pcp_pages=pcp,
        label=snapshot.label,
        page_flags=flags,
        page_count=pages.count,
        approximate=_sentences(zones, pcp, evidence, absent),
    )


def _mark_absent(flags: npt.NDArray[np.uint64], block_order: int, evidence: ev.Evidence | None) -> int:
    """Mark as absent (in place) the blocks without any flag that no event touches; returns how many.

    They are holes, or memory that the kernel has not yet given to the allocator: a block in use shows some flag.
    """
    size = 1 << block_order
    whole = len(flags) // size
    silent = ~flags[: whole * size].reshape(whole, size).any(axis=1)
    if evidence is not None:
        silent &= ~evidence.code[: whole * size].reshape(whole, size).any(axis=1)
    flags[: whole * size].reshape(whole, size)[silent] = KPF_NOPAGE_BIT
    return int(silent.sum())


def _free_lists(
    book: PageBook,
    zones: tuple[ZoneCounts, ...],
    types: npt.NDArray[np.int8],
    block_order: int,
    evidence: ev.Evidence | None,
) -> FreePages:
    """The chunks by zone, order and type; in a list first those that events took, in their order, then ascending."""
    parts: list[tuple[npt.NDArray[np.int64], ...]] = []
    for index, zone in enumerate(zones):
        first, last = zone.start_pfn, zone.start_pfn + zone.spanned
        base = first >> MAX_ORDER << MAX_ORDER
        free = book.where[base:last] == BUDDY
        free[: first - base] = False
        taken = _first_taken(evidence, base, last)
        for order, heads in free_chunks(free):
            rank = _chunk_rank(taken, heads, order)
            pfn = heads + base
            mt = types[pfn >> block_order].astype(np.int64)
            by = np.lexsort((pfn, rank, mt))
            parts.append((np.full(len(pfn), index), np.full(len(pfn), order), mt[by], pfn[by]))
    zone_, order_, mt_, pfn_ = (
        np.concatenate([p[i] for p in parts] or [np.empty(0, np.int64)]) for i in range(4)
    )
    return FreePages(
        zone_.astype(np.int16), order_.astype(np.int8), mt_.astype(np.int8), pfn_.astype(np.int64)
    )


def _first_taken(evidence: ev.Evidence | None, base: int, last: int) -> npt.NDArray[np.int64] | None:
    """Per page from *base*: number of the event that took it out of the buddy first, very large if none did."""
    if evidence is None:
        return None
    seq = evidence.seq[base:last]
    return np.where(evidence.code[base:last] == ev.LEFT_BUDDY, seq, np.iinfo(np.int64).max)


def _chunk_rank(
    taken: npt.NDArray[np.int64] | None, heads: npt.NDArray[np.int64], order: int
) -> npt.NDArray[np.int64]:
    """Number of the first event that took a page of each chunk."""
    if taken is None or not len(heads):
        return np.zeros(len(heads), np.int64)
    return np.asarray(taken[heads[:, None] + np.arange(1 << order)].min(axis=1))


def _blocks(
    zones: tuple[ZoneCounts, ...],
    types: npt.NDArray[np.int8],
    flags: npt.NDArray[np.uint64],
    block_order: int,
) -> Blocks:
    """The pageblocks with a page, by pfn; compaction's skip bits cannot be seen and are clear."""
    size = 1 << block_order
    padded = np.full(len(types) * size, KPF_NOPAGE_BIT, np.uint64)
    padded[: len(flags)] = flags
    there = (padded.reshape(-1, size) & KPF_NOPAGE_BIT == 0).any(axis=1)
    owner = np.full(len(types), -1, np.int16)
    for index, zone in enumerate(zones):
        owner[zone.start_pfn >> block_order : -(-(zone.start_pfn + zone.spanned) >> block_order)] = index
    block = np.flatnonzero(there & (owner >= 0))
    return Blocks(owner[block], block << block_order, types[block], np.zeros(len(block), np.bool_))


def zone_state(index: int, zone: ZoneCounts, facts: StateFacts) -> ZoneState:
    """The zone's fields, as far as /proc/zoneinfo shows them. Its marks include the boost; ours do not."""
    end = zone.start_pfn + zone.spanned
    block = 1 << facts.block_order
    return ZoneState(
        index=index,
        name=zone.name,
        start_pfn=zone.start_pfn,
        spanned=zone.spanned,
        present=zone.present,
        managed=zone.managed,
        watermark=tuple(max(mark - zone.boost, 0) for mark in zone.watermark),
        boost=zone.boost,
        lowmem_reserve=zone.protection,
        nr_free=zone.free,
        nr_reserved_highatomic=zone.blocks_by_type.get("HighAtomic", 0) * block,
        nr_free_highatomic=sum(n << i for i, n in enumerate(zone.chunks_by_type.get("HighAtomic", ()))),
        cached_free_pfn=(end - 1) & ~(block - 1),
        cached_migrate_pfn=(zone.start_pfn, zone.start_pfn),
    )


def _pcp_fields(zones: tuple[ZoneCounts, ...], facts: StateFacts) -> PcpFields:
    """Tuning of every per-CPU list; its flags and its counters of frees are not shown and are 0."""
    rows = [(index, pcp) for index, zone in enumerate(zones) for pcp in zone.pcp]
    zeros = np.zeros(len(rows), np.int32)

    def column(name: str) -> npt.NDArray[np.int32]:
        return np.array([getattr(pcp, name) for _, pcp in rows], np.int32)

    return PcpFields(
        zone=np.array([index for index, _ in rows], np.int16),
        cpu=column("cpu").astype(np.int16),
        count=column("count"),
        high=column("high"),
        high_min=column("high_min"),
        high_max=column("high_max"),
        batch=column("batch"),
        flags=zeros,
        alloc_factor=zeros,
        free_count=zeros,
        nr_lists=zeros + np.int32(facts.nr_pcp_lists),
    )


def _sentences(
    zones: tuple[ZoneCounts, ...], pcp: PcpPages, evidence: ev.Evidence | None, absent: int
) -> tuple[str, ...]:
    """What is approximate, in words with figures."""
    counted = sum(p.count for zone in zones for p in zone.pcp)
    found = int((1 << pcp_order(pcp.pindex)).sum())
    known = 0 if evidence is None else int((evidence.block_mt >= 0).sum())
    blocks = sum(sum(zone.blocks_by_type.values()) for zone in zones)
    lines = [
        "Free lists: the chunks follow from the page flags; their order in a list is that in which events took them, "
        "and ascending by address for the others.",
        f"Types of {blocks:,} pageblocks: {known:,} are named by events, the others are guessed from page flags so that the "
        "numbers of /proc/pagetypeinfo come out.",
        f"Per-CPU lists: {found:,} pages are known from events, {counted:,} were counted; the others are taken as in use.",
        "Compaction's skip bits and cached positions, and the flags of per-CPU lists, cannot be seen: none is set.",
    ]
    if absent:
        lines.append(f"{absent:,} blocks show no page flags and no event touches them: taken as holes.")
    return tuple(lines)


__all__ = ["TYPE_INDEX", "PageSnapshot", "StateFacts", "build_state", "free_chunks", "zone_state"]
