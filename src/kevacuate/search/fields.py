# SPDX-License-Identifier: GPL-2.0-or-later
"""What a zone of searched free lists consists of: constants, records, arrays.

Times are ns of virtual time, memory is in pages. Page frames are counted from the zone's base
(:func:`kevacuate.kernel.regions.region_base`), so that a region's number is a shift.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.records import Record, Records, Words, plain, seen_as, words

NR_ORDERS = 16  # orders a list array has room for
NR_TYPES = 8  # types a list array has room for
LISTS = NR_ORDERS * NR_TYPES

# The forms of the search.
FLAT = 0  # one list per order and type: mainline's, or all of it walked for the page in the best region
BY_REGION = 1  # lists per region, order and type; the regions in lists by bucket
BITMAPS = 2  # the same lists; bitmaps per order and per bucket say which regions to look at
TYPED_BITMAPS = 3  # the same, with a bitmap per order and type
NR_FORMS = 4
FORM_NAMES = ("flat", "regions", "bitmaps", "typed bitmaps")

# The rules by which a page is chosen.
MAINLINE = 0  # mm/page_alloc.c: the head of the list
LOOK_AHEAD = 1  # the same, with patches 11 and 12 of the series
REGIONS = 2  # the series' passes over regions, in order of preference
RULE_NAMES = ("head", "look-ahead", "regions")

# Buckets of regions, in the order in which a request for kernel memory likes them.
TIGHT = 0  # tainted, and its free pageblocks are within the reserve,
TAINTED = 1  # above it,
CLEAN = 2
EMPTY = 3  # all free: one bucket
CLASSES = 4  # of fullness, from full to almost empty
NR_BUCKETS = 3 * CLASSES + 1

# What is counted of each operation.
LISTS_LOOKED_AT = 0
REGIONS_LOOKED_AT = 1
CHUNKS_LOOKED_AT = 2
WORDS_READ = 3
FLIPS = 4
LINES = 5
NR_MEASURES = 6
ALLOC, FREE = 0, 1  # kinds of operation
MOST_LINES = 96  # lines of one operation that are told apart

# What a chunk's head says of it in ``meta``: state (2 bits), type (2), order (4). 0 inside a chunk.
CHUNK_FREE = 1 << 6
CHUNK_ALLOC = 2 << 6
CHUNK_RESERVED = 3 << 6
STATE_MASK = 3 << 6

# Bitmaps: by order, by order and type, by bucket.
SETS_BY_TYPE = NR_ORDERS
SETS_BY_BUCKET = SETS_BY_TYPE + 4 * NR_ORDERS
NR_SETS = SETS_BY_BUCKET + NR_BUCKETS

# What a trace for the C twin records.
T_ADD, T_ADD_TAIL, T_DELETE, T_BUCKET, T_FIND, T_END = range(6)


class SearchConfig(Record):
    """What does not change during a run."""

    npages: int  #: from the zone's base on
    region_order: int
    pageblock_order: int
    max_page_order: int  #: MAX_PAGE_ORDER
    nr_regions: int
    words: int  #: of a bitmap
    reserve: int  #: free pageblocks that a tainted region keeps from movable requests
    rule: int  #: MAINLINE, LOOK_AHEAD, REGIONS
    form: int  #: which form's page is taken, under REGIONS
    regional: int  #: whether lists per region and bitmaps are kept
    asked: int  #: bit i: form i is asked at every request
    longest_walk: int  #: chunks on the flat lists of a pass beyond which the walk is counted and not made
    counting: int  #: whether costs are counted
    look_ahead: int  #: entries behind the first that patches 11 and 12 look at
    by_page: int  #: whether objects are pages of a replayed machine
    region_nodes: int  #: index in ``link`` of page 0 on its region's list
    region_lists: int  #: and of the first region's first list
    trace_capacity: int


class SearchCounters(Record):
    """What changes, and what was counted."""

    now: int
    allocs: int
    frees: int
    failed: int  #: requests for which no free chunk was large enough
    failed_pages: int  #: pages that they asked for
    unfound: int  #: requests that found none though there was one: a fault
    failed_frees: int  #: frees of what a failed request did not get: objects, or a replayed machine's pages
    whole_claims: int  #: pageblocks or larger chunks that changed type whole
    block_claims: int  #: pageblocks claimed with pages in use in them
    borrowed: int  #: pages taken from another type's list
    tainted: int  #: times that a region became tainted
    moved: int  #: changes of bucket
    flips: Words = words(NR_FORMS)  #: bits changed
    wrong: Words = words(NR_FORMS)  #: requests in which a form found another page than the one that decides
    not_walked: int  #: walks counted and not made
    nr_trace: int


class RegionLists(Record):
    """A region: its counters, its bucket, and its neighbours there."""

    present: int  #: pages that are not reserved
    nr_free: int
    free_blocks: int  #: free whole pageblocks
    used: Words = words(4)  #: pages in use by the type they were asked for
    chunks: Words = words(NR_ORDERS)  #: free chunks by order, of all types
    bucket: int  #: -1: the region has no page
    next: int  #: the next region of its bucket, -1: none
    prev: int


class SearchCost(Record):
    """What the operation under way has cost one form."""

    measure: Words = words(NR_MEASURES)
    line: Words = words(MOST_LINES)  #: the cache lines touched


class SearchView(NamedTuple):
    """A :class:`Search` by named fields."""

    link: Words
    meta: Words
    block: Words
    region: Records[RegionLists]
    cfg: SearchConfig
    stat: SearchCounters
    cost: Records[SearchCost]
    nr_free: Words
    bucket: Words
    bits: Words
    some: Words
    passes: Words
    at: Words
    hist: Words
    sum: Words
    worst: Words
    trace: Words


@seen_as(SearchView)
class Search(NamedTuple):
    """A zone's free lists in all forms, as flat arrays.

    Attributes
    ----------
    link : int32[2 * (pages + lists), twice]
        Next and previous of every page and every list's sentinel: of the flat lists, then of the lists per region.
    meta, block : uint8
        State, type and order of every chunk's head; a pageblock's type.
    region, cfg, stat, cost : int64
        The records.
    nr_free : int64[LISTS]
        Chunks on each flat list.
    bucket : int64[NR_BUCKETS]
        First region of each bucket, -1: none. The regions of a bucket are in ascending order.
    bits : int64[NR_SETS * words]
        The bitmaps, 64 regions a word.
    some : int64[words]
        Scratch of a search: the regions that have a chunk of one of its orders.
    passes : int64
        :func:`kevacuate.search.passes.pass_table`.
    at : int32[objects]
        First page of every object, -1: none. Of a replayed machine: where each of its pages lies here.
    hist : int64[NR_FORMS, 2, NR_MEASURES, BINS]
        How many operations cost how much; ``sum`` and ``worst``, int64[NR_FORMS, 2, NR_MEASURES], of all.
    trace : int32[4 * records]
        What was done to the lists, for the C twin: op and three numbers.
    """

    link: npt.NDArray[np.int32]
    meta: npt.NDArray[np.uint8]
    block: npt.NDArray[np.uint8]
    region: npt.NDArray[np.int64]
    cfg: npt.NDArray[np.int64]
    stat: npt.NDArray[np.int64]
    cost: npt.NDArray[np.int64]
    nr_free: npt.NDArray[np.int64]
    bucket: npt.NDArray[np.int64]
    bits: npt.NDArray[np.int64]
    some: npt.NDArray[np.int64]
    passes: npt.NDArray[np.int64]
    at: npt.NDArray[np.int32]
    hist: npt.NDArray[np.int64]
    sum: npt.NDArray[np.int64]
    worst: npt.NDArray[np.int64]
    trace: npt.NDArray[np.int32]

    @property
    def view(self) -> SearchView:
        """The same memory by named fields, with plain ints."""
        view: Any = plain(SearchView, self)
        return view  # type: ignore[no-any-return]
