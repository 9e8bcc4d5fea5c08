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
from kevacuate.recording import evidence as ev
from kevacuate.recording.blocktypes import TYPE_INDEX, guess_block_types
from kevacuate.recording.pagebook import (
    BUDDY,
    IN_USE,
    PCP,
    PageBook,
    PageSnapshot,
    StateFacts,
    apply_evidence,
    follow_history,
    pcp_pages,
)
from kevacuate.recording.presence import absent_blocks, silent_blocks
from kevacuate.recording.snapshot import Snapshot, ZoneCounts
from kevacuate.recording.state import (
    UNCLEAR,
    AllocatorState,
    Blocks,
    FreePages,
    Guesses,
    PcpFields,
    ZoneState,
)

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
    snapshot: Snapshot,
    pages: PageSnapshot,
    facts: StateFacts,
    evidence: ev.Evidence | None = None,
    history: ev.History | None = None,
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
        What the events after ``pages.end`` showed, and with it the history.
    history : History, optional
        The last event on each page up to ``pages.end``, where there is no evidence.

    """
    zones = tuple(zone for zone in snapshot.zones if zone.name != "Device")
    size = max((z.start_pfn + z.spanned for z in zones), default=0)
    flags = np.full(size, KPF_NOPAGE_BIT, np.uint64)
    flags[: min(size, len(pages.flags))] = pages.flags[:size]
    history = evidence.history if evidence is not None else history or ev.History(size, facts.block_order)
    book = _book(flags, history, evidence, pages, facts)
    placed = _mark_absent(flags, zones, facts.block_order, history, evidence)
    pcp = pcp_pages(book, _zone_of(zones, size), facts)
    named = named_types(history, evidence, -(-size >> facts.block_order))
    types = guess_block_types(zones, flags, book.where, facts.block_order, named)
    blocks = _blocks(zones, types, flags, facts.block_order)
    unclear = _mark_unclear(flags, book, history, evidence)
    guesses = _guesses(zones, blocks, placed, int((book.where == PCP).sum()), unclear, named, facts)
    return AllocatorState(
        tag="s",
        ts=pages.end,
        ts_begin=pages.begin,
        cpu=0,
        ordinal=-1,
        zones=tuple(zone_state(i, z, facts) for i, z in enumerate(zones)),
        free=_free_lists(book, zones, types, facts.block_order, evidence),
        blocks=blocks,
        pcp=_pcp_fields(zones, facts),
        pcp_pages=pcp,
        label=snapshot.label,
        page_flags=flags,
        page_count=pages.count,
        approximate=_sentences(guesses),
        guesses=guesses,
        skip_known=False,
    )


def _book(
    flags: npt.NDArray[np.uint64],
    history: ev.History,
    evidence: ev.Evidence | None,
    pages: PageSnapshot,
    facts: StateFacts,
) -> PageBook:
    """Where every page is, by flags (changed in place where an event says more) and events."""
    book = PageBook(len(flags))
    book.where[flag(flags, KPF_BUDDY)] = BUDDY
    follow_history(book, flags, history, pages, facts)
    if evidence is not None:
        apply_evidence(book, evidence)
    return book


def _zone_of(zones: tuple[ZoneCounts, ...], size: int) -> npt.NDArray[np.int16]:
    """Index of the zone of each page, -1 for none [pages]."""
    zone_of = np.full(size, -1, np.int16)
    for index, zone in enumerate(zones):
        zone_of[zone.start_pfn : zone.start_pfn + zone.spanned] = index
    return zone_of


def named_types(history: ev.History, evidence: ev.Evidence | None, blocks: int) -> npt.NDArray[np.int8]:
    """Type of each pageblock as the last event before the moment named it, or else the first one after; -1: none [blocks]."""
    named = np.full(blocks, -1, np.int8)
    for found in (history.block_mt, evidence.block_mt if evidence is not None else named):
        seen = min(blocks, len(found))
        named[:seen] = np.where(named[:seen] < 0, found[:seen], named[:seen])
    return named


def _mark_absent(
    flags: npt.NDArray[np.uint64],
    zones: tuple[ZoneCounts, ...],
    block_order: int,
    history: ev.History,
    evidence: ev.Evidence | None,
) -> int:
    """Mark as absent (in place) the blocks that do not exist, or not yet; how many exist by their number alone.

    A block without any flag that no event touches is a hole, or wholly the kernel's (:func:`absent_blocks`); one that the
    first event frees as a whole is memory that the kernel gave to the allocator only then, as it does when memory is
    plugged in or set up late.
    """
    size = 1 << block_order
    silent = silent_blocks(flags, block_order)
    padded = np.zeros((3, len(silent) * size), np.bool_)
    seen = min(len(flags), len(history.code))  # memory may have grown since
    padded[0, :seen] = history.code[:seen] != 0
    if evidence is not None:
        seen = min(len(flags), len(evidence.code))
        given = (evidence.code[:seen] == ev.FREED) & (evidence.order[:seen] >= block_order)
        padded[1, :seen] = (evidence.code[:seen] != 0) & ~given
        padded[2, :seen] = given
    touched, used, given_later = np.any(padded.reshape(3, -1, size), axis=2)
    silent &= ~touched & ~used
    later = silent & given_later
    absent = absent_blocks(silent, zones, block_order, later)
    flags[np.repeat(absent, size)[: len(flags)]] = KPF_NOPAGE_BIT
    return int((silent & ~absent).sum())


def _mark_unclear(
    flags: npt.NDArray[np.uint64], book: PageBook, history: ev.History, evidence: ev.Evidence | None
) -> int:
    """Mark (in place) the pages of which neither flags nor events tell whether they are in use; how many."""
    unclear = (flags == 0) & (book.where == IN_USE)
    seen = min(len(flags), len(history.code))
    unclear[:seen] &= history.code[:seen] != ev.ALLOCATED
    if evidence is not None:
        seen = min(len(flags), len(evidence.code))
        unclear[:seen] &= evidence.code[:seen] != ev.FREED
    flags[unclear] = UNCLEAR
    return int(unclear.sum())


def _guesses(
    zones: tuple[ZoneCounts, ...],
    blocks: Blocks,
    placed: int,
    cached: int,
    unclear: int,
    named: npt.NDArray[np.int8],
    facts: StateFacts,
) -> Guesses:
    """How much is guessed; *cached* pages were found on per-CPU lists."""
    counted = sum(p.count for zone in zones for p in zone.pcp)
    return Guesses(
        blocks=len(blocks.pfn),
        block_types=len(blocks.pfn) - int((named[blocks.pfn >> facts.block_order] >= 0).sum()),
        silent_blocks=placed,
        pcp_pages=counted,
        pcp_pages_unknown=min(max(counted - cached, 0), unclear),
        unclear_pages=unclear,
    )


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
    taken = np.full(last - base, np.iinfo(np.int64).max)
    here = evidence.code[base:last] == ev.LEFT_BUDDY
    taken[: len(here)][here] = evidence.seq[base:last][here]
    return taken


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


def _sentences(guesses: Guesses) -> tuple[str, ...]:
    """What is approximate, in words with figures."""
    g = guesses
    lines = [
        "Free lists: the chunks follow from the page flags. Their order in a list is that in which events took them, "
        "and ascending by address for the others.",
        f"Types of {g.blocks:,} pageblocks: {g.blocks - g.block_types:,} are named by events, the others are guessed from page "
        "flags so that the numbers of /proc/pagetypeinfo come out.",
        f"Per-CPU lists: {g.pcp_pages_unknown:,} of {g.pcp_pages:,} pages are not known; they are among {g.unclear_pages:,} "
        "pages without any flag that count as in use.",
        "Compaction's skip bits and cached positions, and the flags of per-CPU lists, cannot be seen: none is set.",
    ]
    if g.silent_blocks:
        lines.append(
            f"{g.silent_blocks:,} blocks show no page flags; they exist, as /proc/pagetypeinfo counts so many."
        )
    return tuple(lines)


__all__ = ["TYPE_INDEX", "PageSnapshot", "StateFacts", "build_state", "free_chunks", "zone_state"]
