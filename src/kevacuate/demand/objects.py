# SPDX-License-Identifier: GPL-2.0-or-later
"""The reconstruction's tables, and what can happen to an object: birth, free, split, move.

Every page has an *owner code* (int32): ``FREE_CODE`` (-1) if not in use, an object's id if >= 0, and
``ANON_BASE - pfn`` (<= -2) for a page in use at the start that no object stands for, with the pfn that it
had at the start: such a page keeps that identity when the recorded kernel moves it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.demand.quality import COUNTERS
from kevacuate.jit import JIT_DISABLED, Builtin, part
from kevacuate.recording.demand import DemandChunk
from kevacuate.recording.demand_op import DemandOp

OP_ALLOC = int(DemandOp.ALLOC)
OP_FREE = int(DemandOp.FREE)
OP_SPLIT = int(DemandOp.SPLIT)
OP_FREE_PFN = int(DemandOp.FREE_PFN)
OP_ALLOC_BULK = int(DemandOp.ALLOC_BULK)
OP_RECLAIM = int(DemandOp.RECLAIM)
OP_ACCESS = int(DemandOp.ACCESS)
OP_TRUNCATE = int(DemandOp.TRUNCATE)
OP_ATTEMPT = int(DemandOp.ATTEMPT)
OP_GATHER = int(DemandOp.GATHER)
OP_ALLOC_CONTIG = int(DemandOp.ALLOC_CONTIG)
OP_FREE_CONTIG = int(DemandOp.FREE_CONTIG)
OP_PLACE = int(DemandOp.PLACE)
OP_READ = int(DemandOp.READ)

REQUESTS = (OP_ALLOC, OP_ALLOC_BULK)
"""Operations that ask the buddy allocator for an object."""
BIRTHS = (*REQUESTS, OP_ALLOC_CONTIG)
"""Operations that make an object; OP_SPLIT makes one of another."""
DEATHS = (OP_FREE, OP_RECLAIM, OP_FREE_CONTIG)
"""Operations after which their object is gone."""
OF_NO_OBJECT = (OP_FREE_PFN, OP_TRUNCATE, OP_ATTEMPT, OP_GATHER, OP_READ)
"""Operations whose ``obj`` is no object."""

MAX_ORDER = 10
"""MAX_PAGE_ORDER: the largest chunk is 2**10 pages (include/linux/mmzone.h)."""


@part(inline=True)
def asks_buddy(op: int) -> bool:
    """Whether a row of that operation is one of :data:`REQUESTS`."""
    return op == OP_ALLOC or op == OP_ALLOC_BULK


@part(inline=True)
def makes_object(op: int) -> bool:
    """Whether a row of that operation is one of :data:`BIRTHS`."""
    return op == OP_ALLOC or op == OP_ALLOC_BULK or op == OP_ALLOC_CONTIG


@part(inline=True)
def ends_object(op: int) -> bool:
    """Whether a row of that operation is one of :data:`DEATHS`."""
    return op == OP_FREE or op == OP_RECLAIM or op == OP_FREE_CONTIG


@part(inline=True)
def has_object(op: int) -> bool:
    """Whether a row of that operation is about an object: it is none of :data:`OF_NO_OBJECT`."""
    return op != OP_FREE_PFN and op != OP_TRUNCATE and op != OP_ATTEMPT and op != OP_GATHER and op != OP_READ


@part(inline=True)
def alloc_op(order: int) -> int:
    """The operation that makes an object of that order: above MAX_PAGE_ORDER a contiguous request."""
    return OP_ALLOC if order <= MAX_ORDER else OP_ALLOC_CONTIG


@part(inline=True)
def free_op(order: int) -> int:
    """The operation that frees an object of that order."""
    return OP_FREE if order <= MAX_ORDER else OP_FREE_CONTIG


def free_ops(order: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """:func:`free_op` of each."""
    return np.where(order <= MAX_ORDER, OP_FREE, OP_FREE_CONTIG)


def largest_id(rows: DemandChunk) -> int:
    """The largest object id that rows name, 0 where they name none."""
    upper = rows.aux[rows.op == OP_SPLIT].max(initial=0)
    return int(max(rows.obj.max(initial=0, where=~np.isin(rows.op, OF_NO_OBJECT)), upper))


FREE_CODE = -1
ANON_BASE = -2

FLAG_COMP = 1
"""The object is compound (``__GFP_COMP``): its pages cannot be freed one by one."""
FLAG_GROUP = 2
"""The object is being freed page by page, and its run is not over yet."""
FLAG_PENDING = 4
"""The object is a destination that the mover allocated: not in the demand unless nobody takes it."""
FLAG_ACCESSED = 8
"""The object was accessed once since it was last activated or made: see :mod:`kevacuate.demand.pagecache`."""
FLAG_ACTIVATED = 16
"""The object was accessed twice: an mm_lru_activate of it is explained."""
FLAG_CACHED = 32
"""An event has named the object's file and index."""
FLAG_MAPPED = 64
"""A fault has mapped the object since reclaim last looked at it: an accessed bit that reclaim finds is explained."""

FLAG_IN_USE = 128
"""A huge mapped folio is in use: reclaim's last look found it used (:func:`kevacuate.demand.pagecache.use_huge_folios`)."""

G_TOP = 0
G_FRESH = 1
G_SEQ = 2
G_OUT = 3
G_NOW = 4
G_CPU = 5
G_LIMBO = 6
G_LIMBO_FREE = 7
G_SESSIONS = 8
G_GROUPS = 9
G_PAGES = 10
G_BLOCKS = 11
G_CPUS = 12
G_KNOWN = 13
G_LISTS = 14
G_TASK = 15
G_RECLAIMERS = 16
G_CACHED = 17
G_CACHE_SIZE = 18
G_FILES = 19
G_SHADOW = 20
G_SHADOWS = 21
G_IN_USE = 22
G_NEXT_USE = 23
G_FILE_PAGES = 24
G_MARKS = 25
G_LRU_GEN = 26
G_SIZE = 27
"""Places of the scalars in ``Tables.g``."""

Q: dict[str, int] = {name: i for i, name in enumerate(COUNTERS)}


i64: Any = int if JIT_DISABLED else Builtin("int64", int)
"""What a number is made before it is passed on: with one integer type, each function is compiled once."""


class Tables(NamedTuple):
    """All state of a reconstruction; sizes: P pages, N objects, L nodes of limbo, B pageblocks."""

    owner: npt.NDArray[np.int32]
    """Owner code of each page [P]."""
    pfn: npt.NDArray[np.int32]
    """First page of each object, -1 while it has none (moved, destination not known) [N]."""
    order: npt.NDArray[np.uint8]
    """Order of each object [N]."""
    mt: npt.NDArray[np.uint8]
    """Migratetype of the object's request (1 for objects of the start state) [N]."""
    flags: npt.NDArray[np.uint8]
    """FLAG_* of each object [N]."""
    gfp: npt.NDArray[np.uint32]
    """gfp of the object's request [N]."""
    seq: npt.NDArray[np.int64]
    """Number of the allocation that made the object, counted from 0; -1 - i for start object i [N]."""
    free_ids: npt.NDArray[np.int32]
    """Stack of ids to use again [N]."""
    g: npt.NDArray[np.int64]
    """Scalars, at the G_* places."""
    q: npt.NDArray[np.int64]
    """Counters, in the order of :data:`kevacuate.demand.quality.COUNTERS`."""
    groups: npt.NDArray[np.int64]
    """Per CPU: object being freed page by page (-1 none), number of its pages freed so far [2 x CPUs]."""
    sessions: npt.NDArray[np.int64]
    """Movers at work: SLOTS records of S_SIZE scalars, see :mod:`kevacuate.demand.migrations`."""
    sources: npt.NDArray[np.int32]
    """Per session: owner codes of moved pages that wait for their destination [SLOTS x QUEUE]."""
    source_order: npt.NDArray[np.uint8]
    """Orders of those [SLOTS x QUEUE]."""
    source_known: npt.NDArray[np.int32]
    """First page of the destination where an event gave it, else -1 [SLOTS x QUEUE]."""
    targets: npt.NDArray[np.int32]
    """Per session: destinations (object ids) of an evacuation, or chunks (pfns) that compaction has just
    taken from the buddy lists [SLOTS x QUEUE]."""
    target_order: npt.NDArray[np.uint8]
    """Orders of those [SLOTS x QUEUE]."""
    chunk_pfn: npt.NDArray[np.int32]
    """Compaction's free pages: nodes of the lists in list order [SLOTS x CHUNKS]."""
    chunk_next: npt.NDArray[np.int32]
    """Next node of the list, or of the free nodes [SLOTS x CHUNKS]."""
    ready: npt.NDArray[np.int32]
    """Compaction's free pages in the order in which it handed them out [SLOTS x 2 CHUNKS]."""
    returned: npt.NDArray[np.int32]
    """Pages that failed migrations gave back since the last source [SLOTS x QUEUE]."""
    stock_block: npt.NDArray[np.int32]
    """Pageblocks that compaction took free pages from, in order; -1 where the event does not tell [SLOTS x
    QUEUE]."""
    stock_pages: npt.NDArray[np.int32]
    """How many of those pages are not used up [SLOTS x QUEUE]."""
    limbo_code: npt.NDArray[np.int32]
    """Owner code of a moved object without a pfn [L]."""
    limbo_next: npt.NDArray[np.int32]
    """Next node in the same pageblock's list, or of the free nodes [L]."""
    limbo_order: npt.NDArray[np.uint8]
    """Order of the node's object [L]."""
    limbo_head: npt.NDArray[np.int32]
    """First node per target pageblock, the last one for an unknown block [B + 1]."""
    limbo_tail: npt.NDArray[np.int32]
    """Last node [B + 1]."""
    known_seq: npt.NDArray[np.int64]
    """Allocation numbers, ascending, whose page kind a later snapshot of the recording shows [K]."""
    known_attr: npt.NDArray[np.uint8]
    """The kind of each of those [K]."""
    shares: npt.NDArray[np.int64]
    """The page kind model's shares, see :mod:`kevacuate.demand.pagekinds`."""
    reclaimers: npt.NDArray[np.int32]
    """Tasks that are reclaiming, the first G_RECLAIMERS of them; see :mod:`kevacuate.demand.reclaimers`."""
    cache_key: npt.NDArray[np.int64]
    """Page cache: key of the file and index, 0 an empty place; see :mod:`kevacuate.demand.pagecache` [C]."""
    cache_value: npt.NDArray[np.int32]
    """What is there: an object's id, or -1 - n for shadow n [C]."""
    readers: npt.NDArray[np.int64]
    """Where tasks read last: READERS records of R_SIZE."""
    in_use: npt.NDArray[np.int32]
    """Huge mapped folios in use, the first G_IN_USE of them [MOST_IN_USE]."""
    shadow_of: npt.NDArray[np.int32]
    """First shadow of the folio that begins at each page, while its reclaim is under way; else 0 [P]."""
    shadow_key: npt.NDArray[np.int64]
    """Key of each shadow's place in the page cache, 0 where the shadow is gone [H]."""
    shadow_order: npt.NDArray[np.uint8]
    """Order of the folio whose first shadow it is, SHADOW_TAIL for its others [H]."""


@part
def emit(
    s: Tables, out: DemandChunk, op: int, obj: int, order: int, mt: int, gfp: int, attr: int, aux: int
) -> None:
    """Append one row at the current event's time and CPU."""
    i = s.g[G_OUT]
    out.t[i] = s.g[G_NOW]
    out.op[i] = op
    out.cpu[i] = s.g[G_CPU]
    out.obj[i] = obj
    out.order[i] = order
    out.mt[i] = mt
    out.gfp[i] = gfp
    out.attr[i] = attr
    out.aux[i] = aux
    out.task[i] = s.g[G_TASK]
    s.g[G_OUT] = i + 1


@part
def new_id(s: Tables) -> int:
    """A free object id: the one returned last, or a fresh one."""
    top = s.g[G_TOP]
    if top > 0:
        s.g[G_TOP] = top - 1
        return i64(s.free_ids[top - 1])
    fresh = s.g[G_FRESH]
    s.g[G_FRESH] = fresh + 1
    s.q[Q_PEAK] = fresh + 1
    return fresh


@part
def release_id(s: Tables, obj: int) -> None:
    """Give the object's id back."""
    top = s.g[G_TOP]
    s.free_ids[top] = obj
    s.g[G_TOP] = top + 1
    s.pfn[obj] = -1
    s.flags[obj] = 0


Q_PEAK = Q["peak_objects"]
Q_FREES = Q["frees"]
Q_START_FREES = Q["frees_of_start_pages"]
Q_SPLITS = Q["splits"]
Q_RECLAIMED = Q["reclaimed"]

SHADOW_TAIL = 255


@part
def set_owner(s: Tables, pfn: int, order: int, code: int) -> None:
    """Give the 2**order pages from pfn to the object or to nobody."""
    for page in range(pfn, pfn + (1 << order)):
        s.owner[page] = code


@part
def open_object(s: Tables, pfn: int, order: int, mt: int, gfp: int, flags: int, seq: int) -> int:
    """A new object that owns the pages; returns its id."""
    obj = new_id(s)
    s.pfn[obj] = pfn
    s.order[obj] = order
    s.mt[obj] = mt
    s.gfp[obj] = gfp
    s.flags[obj] = flags
    s.seq[obj] = seq
    set_owner(s, pfn, order, obj)
    return obj


@part
def free_object(s: Tables, out: DemandChunk, obj: int) -> None:
    """The whole object dies: row FREE or RECLAIM, pages to nobody, id back."""
    order = i64(s.order[obj])
    pfn = i64(s.pfn[obj])
    shadow = i64(0)
    if s.g[G_SHADOW] > 0 and pfn >= 0:
        shadow = i64(s.shadow_of[pfn])
        s.shadow_of[pfn] = 0
        if shadow > 0 and i64(s.shadow_order[shadow]) != order:
            shadow = i64(0)
    s.q[Q_RECLAIMED] += shadow > 0
    emit(s, out, OP_RECLAIM if shadow > 0 else OP_FREE, obj, order, i64(s.mt[obj]), 0, 0, shadow)
    if pfn >= 0:
        set_owner(s, pfn, order, FREE_CODE)
    s.q[Q_FREES] += 1
    release_id(s, obj)


@part
def split_to(s: Tables, out: DemandChunk, obj: int, pfn: int, order: int) -> int:
    """Halve the object until one piece is exactly [pfn, pfn + 2**order); returns that piece's id."""
    while i64(s.order[obj]) > order:
        before = i64(s.order[obj])
        half = before - 1
        base = i64(s.pfn[obj])
        upper = base + (1 << half)
        other = open_object(
            s, upper, half, i64(s.mt[obj]), i64(s.gfp[obj]), i64(s.flags[obj]) & FLAG_COMP, s.seq[obj]
        )
        s.order[obj] = half
        emit(s, out, OP_SPLIT, obj, before, i64(s.mt[obj]), 0, 0, other)
        s.q[Q_SPLITS] += 1
        if pfn >= upper:
            obj = other
    return obj


@part
def free_piece(s: Tables, out: DemandChunk, obj: int, pfn: int, order: int) -> None:
    """Free [pfn, pfn + 2**order) of the object, which may be all of it."""
    free_object(s, out, split_to(s, out, obj, pfn, order))


@part
def free_start_pages(s: Tables, out: DemandChunk, pfn: int, order: int) -> None:
    """Free pages that no object stands for: one row if they are still neighbours, else page by page."""
    count = 1 << order
    first = ANON_BASE - i64(s.owner[pfn])
    together = first % count == 0
    for i in range(count):
        if ANON_BASE - i64(s.owner[pfn + i]) != first + i:
            together = False
    if together:
        emit(s, out, OP_FREE_PFN, -1, order, 0, 0, 0, first)
        s.q[Q_START_FREES] += 1
    else:
        for i in range(count):
            emit(s, out, OP_FREE_PFN, -1, 0, 0, 0, 0, ANON_BASE - i64(s.owner[pfn + i]))
            s.q[Q_START_FREES] += 1
    set_owner(s, pfn, order, FREE_CODE)


@part
def free_everything(s: Tables, out: DemandChunk, pfn: int, order: int) -> int:
    """Free whatever is in use in [pfn, pfn + 2**order); returns the number of pages that were.

    Owners' ranges are aligned, so each is either inside the range or contains it.
    """
    page = pfn
    end = pfn + (1 << order)
    used = 0
    while page < end:
        code = i64(s.owner[page])
        size = 0
        if code >= 0:
            if i64(s.order[code]) > order:
                size = order
                free_piece(s, out, code, pfn, order)
            else:
                size = i64(s.order[code])
                free_object(s, out, code)
            used += 1 << size
        elif code <= ANON_BASE:
            free_start_pages(s, out, page, i64(0))
            used += 1
        page += 1 << size
    return used
