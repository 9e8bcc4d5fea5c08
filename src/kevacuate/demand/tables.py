# SPDX-License-Identifier: GPL-2.0-or-later
"""The reconstruction's tables at the start, and its input."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.demand import objects as ob
from kevacuate.demand.freepages import CHUNKS, QUEUE, S_PID, S_SIZE, SLOTS
from kevacuate.demand.objects import Tables
from kevacuate.demand.pagecache import IS_READ, LENGTH_BIT, MOST_IN_USE, R_SIZE, READERS
from kevacuate.demand.pagekinds import A_FILE, PageKindModel
from kevacuate.demand.quality import COUNTERS
from kevacuate.demand.reclaimers import RECLAIMERS
from kevacuate.demand.shadows import FILE_FIRST, FILE_LENGTH, FILE_MAPPED, INDEX_BITS, enter_all
from kevacuate.kernel import gfp as gf
from kevacuate.recording.demand import StartObjects
from kevacuate.recording.schema import EventChunk

GFP_OF_A_READ = (
    gf.GFP_MOVABLE
    | gf.GFP_HIGHMEM
    | gf.GFP_HARDWALL
    | gf.GFP_KERNEL
    | gf.GFP_COMP
    | gf.GFP_NORETRY
    | gf.GFP_NOWARN
)
"""readahead_gfp_mask of a file system whose mapping is GFP_HIGHUSER_MOVABLE (include/linux/pagemap.h, 7.2)."""

GFP_OF_A_FAULT = gf.GFP_MOVABLE | gf.GFP_HIGHMEM | gf.GFP_HARDWALL | gf.GFP_KERNEL | gf.GFP_COMP
"""GFP_HIGHUSER_MOVABLE of a folio. Both are what start objects are taken to have been asked for with."""

CACHE_PLACES = 1 << 12
"""Places of the table of the page cache at the start; it doubles when half of them are taken."""

LEAST_SHADOWS = 1 << 11
"""At least so many shadows, so that the largest folio has room."""

MAX_CPUS = 1 << 16
"""CPU numbers are 16 bits in a recording."""


class Files(NamedTuple):
    """The files whose pages have numbers."""

    key: npt.NDArray[np.int64]
    """Key of each file's place FILE_LENGTH, ascending."""
    length: npt.NDArray[np.int64]
    """What is there: its pages, and how it is read."""
    first: npt.NDArray[np.int64]
    """The number of its first page."""
    mapped: npt.NDArray[np.int64]
    """The page behind the last one that faults have shown to be mapped; 0 where none has."""
    end: int
    """The first number behind all: they begin with 1."""


MOST_NUMBERS = 8
"""Numbers for pages of files that a demand has at most, for each page of the machine: those of the shortest files."""

MOST_ALIGNED = 1 << 10
"""A file's first number is a multiple of the file's size, rounded up to a power of two, or of this: folios are aligned."""


def files_read(tables: Tables) -> Files:
    """The files that a finished reconstruction has seen read, each with numbers for its pages.

    Pages of one file have numbers in a row. Nobody has the one behind them.
    """
    places = (tables.cache_key - 2) & ((1 << INDEX_BITS) - 1)
    at = np.flatnonzero((places == FILE_LENGTH) & (tables.cache_key != 0))
    at = at[tables.cache_value[at] & IS_READ != 0]
    key, length = tables.cache_key[at], tables.cache_value[at].astype(np.int64)
    pages = length >> LENGTH_BIT
    shortest = np.lexsort((key, pages))
    few = shortest[
        np.cumsum(pages[shortest] + MOST_ALIGNED) <= MOST_NUMBERS * max(len(tables.owner), MOST_ALIGNED)
    ]
    few = few[np.argsort(key[few])]
    first, end = [], 1
    for count in pages[few].tolist():
        align = min(1 << max(count - 1, 0).bit_length(), MOST_ALIGNED)
        first.append(-(-end // align) * align)
        end = first[-1] + count + 1
    ends = np.flatnonzero((places == FILE_MAPPED) & (tables.cache_key != 0))
    known = dict(zip(tables.cache_key[ends].tolist(), tables.cache_value[ends].tolist(), strict=True))
    mapped = [known.get(file - FILE_LENGTH + FILE_MAPPED, 0) for file in key[few].tolist()]
    return Files(key[few], length[few], np.array(first, np.int64), np.array(mapped, np.int64), end)


def _enter_files(tables: Tables, files: Files) -> Tables:
    """Say in the table of the page cache what numbers the files' pages have."""
    while 6 * len(files.key) > len(tables.cache_key) // 2:
        tables = larger_cache(tables)
    enter_all(tables, files.key, files.length)
    enter_all(tables, files.key - FILE_LENGTH + FILE_FIRST, files.first)
    is_mapped = files.mapped > 0
    enter_all(tables, (files.key - FILE_LENGTH + FILE_MAPPED)[is_mapped], files.mapped[is_mapped])
    return tables


KnownKinds = tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]
"""Allocation numbers, ascending, and for each what a snapshot says of its page."""


def event_input(chunk: EventChunk, start_ts: int) -> EventChunk:
    """What the reconstruction reads of *chunk*: its columns, contiguous, with times that count from the start state."""
    columns: list[Any] = [np.ascontiguousarray(column) for column in chunk._replace(ts=chunk.ts - start_ts)]
    return EventChunk(*columns)


def new_tables(
    used: npt.NDArray[np.bool_],
    start: StartObjects,
    kinds: PageKindModel,
    known: KnownKinds | None,
    files: Files | None = None,
) -> Tables:
    """The tables at the start: pages in use are anonymous or start objects, no session, no waiting object.

    Ids can never run out: an object is either on at least one page, or in limbo (at most P), or queued.
    """
    pages = len(used)
    blocks = (pages >> 9) + 1
    shadows = 1 << max(pages, LEAST_SHADOWS).bit_length()
    ids = 2 * pages + 4 * SLOTS * QUEUE
    sequence = np.arange(pages, dtype=np.int64)
    known_seq, known_attr = known or (np.empty(0, np.int64), np.empty(0, np.uint8))
    tables = Tables(
        owner=np.where(used, ob.ANON_BASE - sequence, ob.FREE_CODE).astype(np.int32),
        pfn=np.empty(ids, np.int32),
        order=np.empty(ids, np.uint8),
        mt=np.empty(ids, np.uint8),
        flags=np.empty(ids, np.uint8),
        gfp=np.empty(ids, np.uint32),
        seq=np.empty(ids, np.int64),
        free_ids=np.empty(ids, np.int32),
        g=np.zeros(ob.G_SIZE, np.int64),
        q=np.zeros(len(COUNTERS), np.int64),
        groups=np.full(2 * MAX_CPUS, -1, np.int64),
        sessions=np.zeros(SLOTS * S_SIZE, np.int64),
        sources=np.empty(SLOTS * QUEUE, np.int32),
        source_order=np.empty(SLOTS * QUEUE, np.uint8),
        source_known=np.empty(SLOTS * QUEUE, np.int32),
        targets=np.empty(SLOTS * QUEUE, np.int32),
        target_order=np.empty(SLOTS * QUEUE, np.uint8),
        chunk_pfn=np.empty(SLOTS * CHUNKS, np.int32),
        chunk_next=np.empty(SLOTS * CHUNKS, np.int32),
        ready=np.empty(SLOTS * 2 * CHUNKS, np.int32),
        returned=np.empty(SLOTS * QUEUE, np.int32),
        stock_block=np.empty(SLOTS * QUEUE, np.int32),
        stock_pages=np.empty(SLOTS * QUEUE, np.int32),
        limbo_code=np.empty(pages, np.int32),
        limbo_next=np.append(sequence[1:], -1).astype(np.int32),
        limbo_order=np.empty(pages, np.uint8),
        limbo_head=np.full(blocks + 1, -1, np.int32),
        limbo_tail=np.full(blocks + 1, -1, np.int32),
        known_seq=np.append(known_seq, np.iinfo(np.int64).max),
        known_attr=np.append(known_attr, np.uint8(0)),
        shares=kinds.shares(),
        reclaimers=np.empty(RECLAIMERS, np.int32),
        cache_key=np.zeros(CACHE_PLACES, np.int64),
        cache_value=np.zeros(CACHE_PLACES, np.int32),
        readers=np.full(READERS * R_SIZE, -1, np.int64),
        in_use=np.zeros(MOST_IN_USE, np.int32),
        shadow_of=np.zeros(pages, np.int32),
        shadow_key=np.zeros(shadows, np.int64),
        shadow_order=np.zeros(shadows, np.uint8),
    )
    tables.sessions[S_PID::S_SIZE] = -1
    tables.g[ob.G_PAGES], tables.g[ob.G_BLOCKS] = pages, blocks
    tables.g[ob.G_CPUS] = MAX_CPUS
    tables.g[ob.G_CACHE_SIZE] = CACHE_PLACES
    tables.g[ob.G_SHADOWS] = shadows
    tables.g[ob.G_LIMBO_FREE] = 0
    _place_start_objects(tables, start)
    return tables if files is None or not len(files.key) else _enter_files(tables, files)


def _place_start_objects(tables: Tables, start: StartObjects) -> None:
    """Give the start objects ids 0..n-1 and their pages."""
    count = len(start.pfn)
    ids = np.arange(count)
    tables.pfn[:count] = start.pfn
    tables.order[:count] = start.order
    tables.mt[:count] = 1
    tables.gfp[:count] = np.where(start.attr & A_FILE, GFP_OF_A_READ, GFP_OF_A_FAULT)
    tables.flags[:count] = ob.FLAG_COMP
    tables.seq[:count] = -1 - ids
    for order in np.unique(start.order):
        these = ids[start.order == order]
        for i in range(1 << int(order)):
            tables.owner[start.pfn[these] + i] = these
    tables.g[ob.G_FRESH] = count
    tables.q[COUNTERS.index("peak_objects")] = count


def larger_cache(tables: Tables) -> Tables:
    """The tables with twice as many places for the page cache."""
    places = 2 * len(tables.cache_key)
    taken = np.flatnonzero(tables.cache_key)
    keys, values = tables.cache_key[taken], tables.cache_value[taken]
    larger = tables._replace(cache_key=np.zeros(places, np.int64), cache_value=np.zeros(places, np.int32))
    larger.g[ob.G_CACHE_SIZE], larger.g[ob.G_CACHED] = places, 0
    enter_all(larger, keys, values)
    return larger
