# SPDX-License-Identifier: GPL-2.0-or-later
"""What a generator keeps: a record for each part of the workload, one for each actor, and a few tables.

Times are ns, memory is in pages or in objects of the part's order. A share is a number out of :data:`WHOLE`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.records import Record, Records, Words, seen_as, words

WHOLE = 1 << 16
"""A share of 1."""

CLASSES = 8
"""Lifetimes that the objects of one pool may have."""

POOL, ARENA, CACHE, ROUNDS = 0, 1, 2, 3
"""Behaviours: objects that come and go one by one; tasks whose memory goes together; a cache of files; rounds."""

RANDOM, OLDEST, NEWEST = 0, 1, 2
"""Which object of a pool dies."""

ONE = 1 << 20
"""1, in the numbers of the tables of quantiles and of the rhythm."""

TABLE = 4096
"""Steps of a table of quantiles."""

NEVER = 1 << 62


class Part(Record):
    """A part of a workload: what its requests look like, and how many objects live how long."""

    behaviour: int  #: POOL, ARENA, CACHE or ROUNDS
    actors: int
    first_cpu: int
    cpus: int  #: its actors are on that many CPUs from there on
    order: int
    mt: int
    gfp: int
    attr: int
    mlocked: int  #: share of its objects
    pinned: int  #: share
    burst: int  #: rows that follow each other, of a pool and of a cache
    gap: int  #: ns between two of them
    quantiles: int  #: its table of quantiles: of sizes (ARENA), of files by how often they are read (CACHE)
    first_object: int
    objects: int  #: ids that it may use
    rhythm: int  #: whether the daily rhythm governs it
    begin: int  #: ns at which it begins
    fill: int  #: ns from then in which it grows to its size
    # a pool
    dies: int  #: RANDOM, OLDEST or NEWEST
    together: int  #: whether objects born together die together
    nr_classes: int
    share: Words = words(CLASSES)  #: of the objects born, cumulative
    base: Words = words(CLASSES)  #: where the class's ring of ids begins
    room: Words = words(CLASSES)  #: length of the ring
    head: Words = words(CLASSES)  #: its first living object
    alive: Words = words(CLASSES)
    target: Words = words(CLASSES)  #: objects alive in the mean
    lifetime: Words = words(CLASSES)  #: ns, the mean
    windows: int  #: windows of time that its births and deaths are given for; 0: it has a mean size
    window: int  #: ns of one
    profile: int  #: where in ``profile`` its births and deaths up to the first window are
    made_births: int  #: so far, of a pool with windows
    made_deaths: int
    shrink_every: int  #: ns between two runs of a shrinker, 0: none
    shrink_share: int  #: share of the pool that it frees
    shrink_next: int  #: when it runs next
    # an arena
    size: int  #: pages of a task, the mean
    life: int  #: ns, the mean
    pause: int  #: ns between two tasks, the mean; CACHE: between two files, while it grows
    huge: int  #: share of the 2 MiB ranges that are faulted as one
    huge_gfp: int
    huge_order: int
    tables: int  #: whether each range of 512 pages takes a page table
    table_gfp: int
    kernel: int  #: pages that the kernel takes for the task itself: its stack, and what belongs to it
    bulk: int  #: whether base pages are asked for by alloc_pages_bulk
    renewed: (
        int  #: share of its pieces that are given back and faulted anew over its life; may be more than 1
    )
    rounds: int  #: ROUNDS: how many; renewed is then the objects of a task and round
    limit: int  #: pages that all its tasks have at most
    used: int  #: pages they have
    # a cache
    folios: int  #: of all files
    file: int  #: folios of a file
    id_of: int  #: where its table of ids by folio begins in ``ids``, that of folios by id behind it
    resident: int  #: folios that it keeps at most
    first_shadow: int
    written: int  #: share of the runs that write
    write_gfp: int
    dirty: int  #: share of the written folios (ARENA: of the base pages) that are dirty for a while
    deleted: int  #: share of the runs that delete a file instead


class Actor(Record):
    """One task, or one CPU's share of a pool: it makes one row at a time."""

    part: int
    number: int  #: among those of its part
    cpu: int
    state: int
    left: int  #: rows of the run under way that are left
    random: int  #: state of its random numbers
    at: int  #: ARENA: piece; CACHE: folio
    pages: int  #: ARENA: pages so far
    size: int  #: ARENA: pages of this task; CACHE: files read while it grew; ROUNDS: objects
    pieces: int  #: ARENA: pieces it has
    until: int  #: ARENA: when it ends
    first_object: int
    room: int  #: ARENA: pieces it may have
    kind: int  #: POOL: the class that dies; CACHE: what the run does
    which: int  #: POOL: the object that dies next, where they die together
    again: int  #: ARENA: piece given back and not faulted yet, -1: none; ROUNDS: rounds begun; POOL: 1 while it waits
    base: int  #: ROUNDS: where its objects begin in ``ids``; pieces is how many it keeps


class Totals(Record):
    """The generator's own numbers."""

    nr_actors: int
    rows: int  #: in the buffer
    now: int
    end: int  #: ns at which the workload ends
    period: int  #: ns of the rhythm; 0: none
    begin: int  #: how far into the rhythm the workload begins, ns
    allocs: int
    frees: int
    reclaimed: int
    accesses: int
    truncated: int
    read_again: int
    bulk: int
    skipped: int  #: births for which the part's memory had no room
    peak: int
    pages: int
    last: int  #: time of the last row


class GeneratorView(NamedTuple):
    """:class:`Generator` by named fields."""

    g: Totals
    part: Records[Part]
    actor: Records[Actor]
    heap: Words
    due: Words
    ids: Words
    piece: Words
    seen: Words
    quantile: Words
    exponential: Words
    rhythm: Words
    profile: Words


@seen_as(GeneratorView)
class Generator(NamedTuple):
    """All that a generator keeps, as flat arrays."""

    g: npt.NDArray[np.int64]
    """:class:`Totals`."""
    part: npt.NDArray[np.int64]
    """:class:`Part`."""
    actor: npt.NDArray[np.int64]
    """:class:`Actor`."""
    heap: npt.NDArray[np.int32]
    """Actors by when they are due next: a binary heap [actors]."""
    due: npt.NDArray[np.int64]
    """When each actor of the heap is due, ns [actors]."""
    ids: npt.NDArray[np.int32]
    """Rings of pools and caches, and tables of caches."""
    piece: npt.NDArray[np.uint8]
    """Order of each piece of an arena, and PAGE_TABLE [objects of arenas]."""
    seen: npt.NDArray[np.uint8]
    """Of each folio of a cache: REFERENCED, RECLAIMED."""
    quantile: npt.NDArray[np.int64]
    """Tables of quantiles [tables x (TABLE + 1)]."""
    exponential: npt.NDArray[np.int64]
    """Quantiles of the exponential distribution of mean :data:`ONE` [TABLE]."""
    rhythm: npt.NDArray[np.int64]
    """The rhythm over its period; :data:`ONE` is the rate when it is busiest [TABLE]."""
    profile: npt.NDArray[np.int64]
    """Births and deaths of pools up to the beginning of each of their windows, and up to the end, by turns."""
