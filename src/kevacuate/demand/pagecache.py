# SPDX-License-Identifier: GPL-2.0-or-later
"""The recorded page cache: which object holds which page of which file, what is read of it, and what is read again.

Where a recording has the filemap events (include/trace/events/filemap.h), they name file and index of each folio that comes
(``mm_filemap_add_to_page_cache``) and goes (``_delete_from_page_cache``), and the pages that a task reads
(``mm_filemap_get_pages``) or maps (``mm_filemap_fault``, ``_map_pages``).

* A folio that a reclaimer deletes leaves shadows (:mod:`.shadows`); any other deletion is the workload's, and takes with it the
  shadows next to it in the file. One that leaves nothing of the file in the page cache takes all of the file's: it is truncated,
  removed or invalidated (posix_fadvise). Approximate where that was done to the part with cached pages alone.
* A folio that is added where shadows of one folio lie is read again: its ALLOC row, at most BACK rows back, names them. Where
  pages of several folios lie, or of a part of it alone, GATHER rows before the ALLOC row make them one.
* Each read makes one ACCESS row a folio, at most a batch of them (FOLIO_BATCH_SIZE): filemap_read emits one event a batch and
  marks each of its folios accessed, but not one that the task's last read ended in.
* A page that is mapped is used by page table: at the fault that maps it, not at one that maps others around it, and where the
  recorded kernel's reclaim found an accessed bit (``gt_rec``, ``gt_lru``: activated, kept or rotated as referenced while mapped)
  that no fault since its last look explains, which is a use some time before. A huge folio that was found used is used on, every
  USE_NS, until a look finds it unused.
* ``gt_gen`` shows every mark of a kernel that runs the multi-gen LRU, and what its walks of page tables find used. Then each
  mark makes an ACCESS row, and reads make none. Without ``gt_gen``, ``mm_lru_activate`` of such a kernel says that a page table
  was used.
* Of other kernels ``mm_lru_activate`` says that a folio was marked accessed twice. What the reads do not explain (pages of block
  devices have no event when they are used) becomes ACCESS rows.
"""

from __future__ import annotations

from kevacuate.demand import objects as ob
from kevacuate.demand.objects import Tables, emit, i64
from kevacuate.demand.pagekinds import A_FILE, A_LRU, CLASS_ANON, CLASS_KERNEL, READAHEAD, mix, page_class
from kevacuate.demand.shadows import (
    CACHED_PAGES,
    FILE_FIRST,
    FILE_LENGTH,
    FILE_MAPPED,
    IN_TABLE,
    INDEX_BITS,
    INDEXES,
    NO_FILE,
    count_in_file,
    enter,
    file_count,
    file_place,
    find_place,
    first_shadow,
    forget_shadow,
    leave,
    new_shadows,
    truncate_file,
    truncate_shadow,
)
from kevacuate.jit import part
from kevacuate.recording.demand import DemandChunk

BACK = 64
"""How many rows back a folio's ALLOC row is looked for when it is added to the page cache: nearly always it is the last row."""

FOLIO_BATCH_SIZE = 31
"""Folios of one read (include/linux/folio_batch.h, 7.2)."""

READERS = 64
R_TASK, R_FILE, R_OBJ, R_FROM, R_LAST, R_NEXT, R_ADDED, R_END, R_FAULT, R_ONE, R_MORE, R_SIZE = range(12)
"""Places in a reader's record: task, key of the file's first page, object read last. Of its last event the first and the last key
asked for, and the key after the last page that was counted as read. Of what it has added since, the first key and the one behind
the last. The key of its last fault, AROUND where its last event mapped what is there around one, else -1. Whether its reads of
one page, and of more, are as of a file with FMODE_RANDOM."""

READ_RANDOM, READ_FAULT, READ_START, READ_MAPPED, READ_AROUND = 1, 2, 4, 8, 16
"""Ways of a READ row: nothing is read ahead (FMODE_RANDOM); a page fault; a read at the file's start; a fault somewhere in the
stretch, which has mapped what was there (filemap_map_pages); a fault at a file of which faults read what lies before, too."""

AROUND = -2
"""In place of a fault's key: the task's last event is of one that has mapped what is there around its page."""

IS_READ, IS_READ_AROUND, LENGTH_BIT = 1, 2, 2
"""What else than its pages FILE_LENGTH tells of a file, and the bit at which these begin."""

HUGE_ORDER = 9
"""Order of a folio that one entry of a page table maps, on machines with pages of 4 KiB."""

FAULT_AROUND = 512
"""Pages that one fault maps at most: those of a page table (should_fault_around, mm/memory.c)."""

USE_NS = 84_000_000
"""How far apart the uses of a huge mapped folio lie, ns: the likeliest mean time, if they come at random, of 59 looks of a
recording (pressure, seed 1). Of two others looks found 71 of 71 used, 0.4 s and more after the last, and 51 of 54."""

MOST_IN_USE = 256
"""Huge folios whose uses are noted at most: those of 512 MiB of mapped files."""

_Q_CACHED = ob.Q["cached"]
_Q_AGAIN = ob.Q["read_again"]
_Q_GATHERED = ob.Q["read_again_gathered"]
_Q_OTHERWISE = ob.Q["read_again_otherwise"]
_Q_ACCESSES = ob.Q["accesses"]
_Q_UNKNOWN = ob.Q["accesses_unknown"]
_Q_NO_FILE = ob.Q["reclaimed_without_file"]
_Q_FILE_PAGES = ob.Q["file_pages"]
_Q_LONGEST = ob.Q["longest_readahead"]
_Q_READS = ob.Q["reads"]


@part
def page_key(inode: int, device: int, index: int) -> int:
    """The key of a file's page, neighbours' keys being neighbours; 0 and NO_FILE are nobody's.

    Exact for the files of one device with inode numbers below 2**32 and at most INDEXES pages; others may share a key.
    """
    return (mix(inode, device & 0xFFFFFFFF) << INDEX_BITS | index % INDEXES) + 2


@part
def _alloc_row(s: Tables, out: DemandChunk, obj: int, reclaims: bool) -> int:
    """The object's ALLOC row, if it is among the last ones, else -1; unless *reclaims*, nothing may have been reclaimed since."""
    i = s.g[ob.G_OUT] - 1
    oldest = max(i - BACK, -1)
    while i > oldest:
        if out.op[i] == ob.OP_ALLOC and out.obj[i] == obj:
            return i
        if out.op[i] == ob.OP_RECLAIM and not reclaims:
            return i64(-1)
        i -= 1
    return i64(-1)


@part
def _read_again(s: Tables, out: DemandChunk, obj: int, shadow: int) -> bool:
    """The object's ALLOC row names the shadow, if the row is among the last ones; returns whether it is."""
    i = _alloc_row(s, out, obj, True)
    if i >= 0:
        out.aux[i] = shadow
    return i >= 0


@part
def _last_row_to(s: Tables, out: DemandChunk, place: int) -> None:
    """Put the last row before the one at *place*, with that one's time."""
    last = s.g[ob.G_OUT] - 1
    op, cpu, obj, order, mt = (
        out.op[last] + 0,
        out.cpu[last] + 0,
        out.obj[last] + 0,
        out.order[last] + 0,
        out.mt[last] + 0,
    )
    gfp, attr, aux, task = out.gfp[last] + 0, out.attr[last] + 0, out.aux[last] + 0, out.task[last] + 0
    for i in range(last, place, -1):
        out.t[i], out.op[i], out.cpu[i] = out.t[i - 1], out.op[i - 1], out.cpu[i - 1]
        out.obj[i], out.order[i], out.mt[i] = out.obj[i - 1], out.order[i - 1], out.mt[i - 1]
        out.gfp[i], out.attr[i], out.aux[i], out.task[i] = (
            out.gfp[i - 1],
            out.attr[i - 1],
            out.aux[i - 1],
            out.task[i - 1],
        )
    out.op[place], out.cpu[place], out.obj[place], out.order[place], out.mt[place] = op, cpu, obj, order, mt
    out.gfp[place], out.attr[place], out.aux[place], out.task[place] = gfp, attr, aux, task


@part
def _shadow_at(s: Tables, key: int) -> int:
    """The shadow at a place of the page cache, 0 if none is there."""
    at = find_place(s, key)
    if s.cache_key[at] == 0 or i64(s.cache_value[at]) >= 0:
        return i64(0)
    return -1 - i64(s.cache_value[at])


@part
def _gather(s: Tables, out: DemandChunk, obj: int, order: int, key: int) -> bool:
    """A folio is read where pages of several were: GATHER rows make them one before its ALLOC row, which names it.

    False, with nothing done, where no page was reclaimed, or that row is not among the last ones.
    """
    size = 1 << order
    shadows = 0
    for i in range(size):
        shadows += _shadow_at(s, key + i) > 0
    place = _alloc_row(s, out, obj, False)
    if shadows == 0 or place < 0:
        return False
    before = s.g[ob.G_OUT]
    first = new_shadows(s, out, order, i64(NO_FILE))
    if first == 0:
        return False
    for i in range(size):
        shadow = _shadow_at(s, key + i)
        forget_shadow(s, shadow)
        forget_shadow(s, first + i)
        emit(s, out, ob.OP_GATHER, first + i, i64(0), i64(0), i64(0), i64(0), shadow)
    rows = s.g[ob.G_OUT] - before
    for _ in range(rows):
        _last_row_to(s, out, place)
    out.aux[place + rows] = first
    return True


@part
def _one_folio(s: Tables, key: int, size: int) -> int:
    """The first of the shadows at the keys from *key* on, if all are there and of one folio; else 0."""
    at = find_place(s, key)
    if s.cache_key[at] == 0 or i64(s.cache_value[at]) >= 0:
        return i64(0)
    shadow = -1 - i64(s.cache_value[at])
    first = first_shadow(s, shadow)
    if shadow + size > first + (1 << i64(s.shadow_order[first])):
        return i64(0)
    for i in range(size):
        if s.shadow_key[shadow + i] != key + i:
            return i64(0)
    return shadow


@part
def on_add(s: Tables, out: DemandChunk, pfn: int, order: int, key: int) -> None:
    """A folio is in the page cache from now on."""
    s.g[ob.G_FILES] = 1
    if not 0 <= order <= ob.MAX_ORDER or not 0 <= pfn < s.g[ob.G_PAGES]:
        return
    s.q[_Q_CACHED] += 1
    obj = i64(s.owner[pfn])
    size = 1 << order
    shadow = _one_folio(s, key, size)
    if shadow > 0 and obj >= 0 and i64(s.order[obj]) == order and _read_again(s, out, obj, shadow):
        s.q[_Q_AGAIN] += 1
        for i in range(shadow, shadow + size):
            forget_shadow(s, i)
    elif obj >= 0 and i64(s.order[obj]) == order and _gather(s, out, obj, order, key):
        s.q[_Q_GATHERED] += 1
    found = False
    for i in range(size):
        at = find_place(s, key + i)
        if s.cache_key[at] != 0 and i64(s.cache_value[at]) < 0:
            found = True
            truncate_shadow(s, out, -1 - i64(s.cache_value[at]))
        if obj >= 0:
            at = find_place(s, key + i)
            if s.cache_key[at] == 0 or i64(s.cache_value[at]) < 0:
                count_in_file(s, key, i64(CACHED_PAGES), i64(1))
            enter(s, key + i, obj)
    if obj >= 0:
        s.flags[obj] = i64(s.flags[obj]) | ob.FLAG_CACHED
    s.q[_Q_OTHERWISE] += found
    _place(s, out, obj, order, key)


@part
def _place(s: Tables, out: DemandChunk, obj: int, order: int, key: int) -> None:
    """Say where in its file the folio is, and note what its task has added."""
    index = (key - 2) & ((1 << INDEX_BITS) - 1)
    size = 1 << order
    if index + size > INDEXES or obj < 0:
        return
    length = file_count(s, key, i64(FILE_LENGTH))
    if index + size > length >> LENGTH_BIT:
        length = (index + size) << LENGTH_BIT | (length & (IS_READ | IS_READ_AROUND))
        enter(s, file_place(key, i64(FILE_LENGTH)), length)
    first = file_count(s, key, i64(FILE_FIRST))
    if first > 0 and i64(s.order[obj]) == order:
        emit(s, out, ob.OP_PLACE, obj, order, i64(s.mt[obj]), i64(s.gfp[obj]), i64(0), first + index)
    if i64(s.gfp[obj]) & READAHEAD != READAHEAD:
        return
    pid = s.g[ob.G_TASK]
    reader = (pid & (READERS - 1)) * R_SIZE
    if s.readers[reader + R_TASK] != pid or s.readers[reader + R_FILE] != (key - 2) >> INDEX_BITS:
        _new_reader(s, reader, pid, key)
    if s.readers[reader + R_FAULT] > key and length & IS_READ_AROUND == 0:
        enter(s, file_place(key, i64(FILE_LENGTH)), length | IS_READ_AROUND)
    if s.readers[reader + R_ADDED] < 0:
        s.readers[reader + R_ADDED] = key
    if s.readers[reader + R_FAULT] == s.readers[reader + R_ADDED]:
        _is_mapped(s, key, index + size)
    s.readers[reader + R_END] = max(s.readers[reader + R_END], key + size)


@part
def _new_reader(s: Tables, reader: int, pid: int, key: int) -> None:
    """The task reads another file from now on; or it is another task."""
    if s.readers[reader + R_TASK] != pid:
        s.readers[reader + R_ONE] = s.readers[reader + R_MORE] = 0
    s.readers[reader + R_TASK] = pid
    s.readers[reader + R_FILE] = (key - 2) >> INDEX_BITS
    s.readers[reader + R_OBJ] = s.readers[reader + R_LAST] = -1
    s.readers[reader + R_ADDED] = s.readers[reader + R_END] = s.readers[reader + R_FAULT] = -1


@part
def _learn(s: Tables, reader: int, key: int, pages: int) -> None:
    """What the reader has added since its last event tells how it reads: it reads ahead, or nothing but what it asks for.

    The latter where a read that follows its last one has brought in no more.
    """
    end = s.readers[reader + R_END]
    kind = R_ONE if pages == 1 else R_MORE
    if end > key + pages:
        s.readers[reader + kind] = 0
    elif end >= 0 and s.readers[reader + R_LAST] + 1 == key:
        s.readers[reader + kind] = 1


@part
def _is_mapped(s: Tables, key: int, end: int) -> None:
    """A mapping of the file does not end before its page *end*: a fault has mapped, or read, the one before that."""
    if end > file_count(s, key, i64(FILE_MAPPED)):
        enter(s, file_place(key, i64(FILE_MAPPED)), end)


@part
def _in_table(s: Tables, key: int) -> bool:
    """Whether a page table maps the page, as far as events tell."""
    return s.cache_key[find_place(s, key + IN_TABLE)] != 0


@part
def _cached(s: Tables, key: int) -> int:
    """The object of the page in the page cache, below 0 if it is not there."""
    at = find_place(s, key)
    return i64(s.cache_value[at]) if s.cache_key[at] != 0 else i64(-1)


@part
def _maps_more(s: Tables, key: int, pages: int) -> bool:
    """Whether a fault maps a page of the stretch that no page table maps: if not, it is in another task's table."""
    for i in range(pages):
        if _cached(s, key + i) >= 0 and not _in_table(s, key + i):
            return True
    return False


@part
def _fault_of_stretch(s: Tables, out: DemandChunk, page: int) -> int:
    """The READ row of the stretch that the fault at *page* has mapped before it found that page missing; -1 if none is near."""
    i = s.g[ob.G_OUT] - 1
    oldest = max(i - BACK, -1)
    while i > oldest:
        if out.op[i] == ob.OP_READ and out.task[i] == s.g[ob.G_TASK]:
            inside = out.aux[i] <= page < out.aux[i] + out.obj[i]
            return i if inside and out.attr[i] & READ_MAPPED else i64(-1)
        i -= 1
    return i64(-1)


@part
def _read_row(s: Tables, out: DemandChunk, reader: int, key: int, pages: int, ways: int) -> bool:
    """A READ row, unless the event goes on with the read of the one before; whether the file's pages have numbers."""
    end = s.readers[reader + R_END]
    again = ways == 0 and s.readers[reader + R_LAST] == key + pages - 1 and s.readers[reader + R_FROM] < key
    missed = ways & READ_FAULT != 0 and s.readers[reader + R_FAULT] == AROUND
    if end >= 0:
        s.q[_Q_LONGEST] = max(i64(s.q[_Q_LONGEST]), end - s.readers[reader + R_ADDED])
    if ways == 0 and not again:
        _learn(s, reader, key, pages)
    s.readers[reader + R_ADDED] = s.readers[reader + R_END] = -1
    s.readers[reader + R_FAULT] = key if ways & READ_FAULT else (AROUND if ways & READ_MAPPED else -1)
    length = file_count(s, key, i64(FILE_LENGTH))
    if length & IS_READ == 0:
        enter(s, file_place(key, i64(FILE_LENGTH)), length | IS_READ)
    first = file_count(s, key, i64(FILE_FIRST))
    s.q[_Q_READS] += not again
    index = (key - 2) & ((1 << INDEX_BITS) - 1)
    if ways != 0 and index + pages <= INDEXES:
        _is_mapped(s, key, index + pages)
    pages = min(pages, (length >> LENGTH_BIT) - index)
    if first == 0 or again or pages <= 0:
        return first > 0
    if ways == 0:
        kind = R_ONE if pages == 1 else R_MORE
        ways = (READ_RANDOM if s.readers[reader + kind] else 0) | (READ_START if index == 0 else 0)
    elif length & IS_READ_AROUND:
        ways |= READ_AROUND
    end = length >> LENGTH_BIT
    if ways & (READ_FAULT | READ_MAPPED) and ways & READ_AROUND == 0:
        end = min(end, file_count(s, key, i64(FILE_MAPPED)))
    row = _fault_of_stretch(s, out, first + index) if missed else i64(-1)
    if row < 0:
        emit(s, out, ob.OP_READ, pages, i64(0), i64(1), first + end, ways, first + index)
    else:
        out.obj[row], out.attr[row], out.aux[row] = pages, ways, first + index
    return True


@part
def _truncate_neighbours(s: Tables, out: DemandChunk, key: int, step: int) -> None:
    """Give up the shadows next to a page of the file that the workload deleted."""
    while True:
        key += step
        at = find_place(s, key)
        if s.cache_key[at] == 0 or i64(s.cache_value[at]) >= 0:
            return
        truncate_shadow(s, out, -1 - i64(s.cache_value[at]))
        if s.cache_key[find_place(s, key)] == key:
            return


@part
def on_delete(s: Tables, out: DemandChunk, pfn: int, order: int, key: int, reclaims: bool) -> None:
    """A folio leaves the page cache, by reclaim or by the workload."""
    s.g[ob.G_FILES] = 1
    if not 0 <= order <= ob.MAX_ORDER or not 0 <= pfn < s.g[ob.G_PAGES]:
        return
    for i in range(1 << order):
        if _cached(s, key + i) >= 0:
            count_in_file(s, key, i64(CACHED_PAGES), i64(-1))
        leave(s, key + i)
        leave(s, key + i + IN_TABLE)
    if not reclaims:
        _truncate_neighbours(s, out, key, i64(-1))
        _truncate_neighbours(s, out, key + (1 << order) - 1, i64(1))
        if file_count(s, key, i64(CACHED_PAGES)) == 0:
            truncate_file(s, out, key)
    elif i64(s.owner[pfn]) >= ob.FREE_CODE:  # FREE_CODE: perhaps an object that was moved nobody knows where
        shadow = new_shadows(s, out, order, key)
        s.shadow_of[pfn] = shadow
        if shadow > 0:
            for i in range(1 << order):
                enter(s, key + i, -1 - (shadow + i))


@part
def reclaimed_without_file(s: Tables, out: DemandChunk, pfn: int, order: int) -> None:
    """A reclaimer frees pages, and no event names files: if they are page cache, they get shadows that nobody will find."""
    if s.g[ob.G_FILES] != 0 or i64(s.owner[pfn]) < 0:
        return
    obj = i64(s.owner[pfn])
    page = page_class(i64(s.gfp[obj]), i64(s.mt[obj]))
    if page == CLASS_KERNEL or page == CLASS_ANON or i64(s.order[obj]) != order:
        return
    s.shadow_of[pfn] = new_shadows(s, out, order, i64(NO_FILE))
    s.q[_Q_NO_FILE] += 1


@part
def no_object_reclaimed(s: Tables, pfn: int) -> None:
    """The pages were freed as no object's: nobody will have their shadows."""
    shadow = i64(s.shadow_of[pfn])
    if shadow > 0:
        s.shadow_of[pfn] = 0
        for i in range(shadow, shadow + (1 << i64(s.shadow_order[shadow]))):
            forget_shadow(s, i)


@part
def _access(s: Tables, out: DemandChunk, obj: int, mapped: int) -> None:
    """An ACCESS row: with what the pages are read by if a model has dropped them; *mapped*: used through a page table."""
    file = mapped > 0 or page_class(i64(s.gfp[obj]), i64(s.mt[obj])) != CLASS_ANON
    attr = A_LRU | A_FILE if file else A_LRU
    emit(s, out, ob.OP_ACCESS, obj, i64(s.order[obj]), i64(s.mt[obj]), i64(s.gfp[obj]), attr, mapped)
    s.q[_Q_ACCESSES] += 1


@part
def _marked(s: Tables, obj: int) -> None:
    """Count the object's accesses as folio_mark_accessed does: the second one activates."""
    flags = i64(s.flags[obj])
    s.flags[obj] = flags | (ob.FLAG_ACTIVATED if flags & ob.FLAG_ACCESSED else ob.FLAG_ACCESSED)


@part
def _read_before(s: Tables, reader: int, key: int, pages: int) -> int:
    """How many of these pages the event before has counted as read already.

    Each event of one read names the page that the read has come to, and its last one: where the batch ended, the next one tells.
    """
    last = key + pages - 1
    if s.readers[reader + R_LAST] != last or s.readers[reader + R_FROM] >= key:
        return i64(0)
    return min(max(i64(s.readers[reader + R_NEXT]) - key, i64(0)), pages)


@part
def _use_mapped(s: Tables, out: DemandChunk, key: int, pages: int, mapped: int) -> int:
    """A fault maps what is there of *pages* from *key* on, and uses it by that; the page behind the last one that is there.

    What a page table maps already is not used by it (set_pte_range, mm/memory.c), unless that is another task's table.
    """
    more = _maps_more(s, key, pages)
    last = i64(-1)
    behind = key
    for i in range(min(pages, FAULT_AROUND)):
        obj = _cached(s, key + i)
        if obj < 0 or i64(s.flags[obj]) & ob.FLAG_CACHED == 0:
            continue
        behind = key + i + 1
        fresh = not _in_table(s, key + i)
        enter(s, key + i + IN_TABLE, i64(1))
        if obj != last and (fresh or not more):
            last = obj
            _access(s, out, obj, mapped)
            s.flags[obj] = i64(s.flags[obj]) | ob.FLAG_MAPPED
    return behind


@part
def _use_read(s: Tables, out: DemandChunk, reader: int, key: int, pages: int) -> int:
    """A read marks what it meets of *pages* from *key* on, at most a batch of folios; the page behind the last one."""
    last = i64(s.readers[reader + R_OBJ])
    folios = 0
    i = _read_before(s, reader, key, pages)
    while i < pages and folios < FOLIO_BATCH_SIZE:
        obj = _cached(s, key + i)
        if obj < 0 or i64(s.flags[obj]) & ob.FLAG_CACHED == 0:
            break
        i += 1
        if obj != last:
            folios += 1
            last = obj
            if s.g[ob.G_MARKS] == 0:
                _access(s, out, obj, i64(0))
            _marked(s, obj)
    s.readers[reader + R_OBJ] = last
    return key + i


@part
def on_read(s: Tables, out: DemandChunk, pid: int, key: int, pages: int, marks: bool, ways: int) -> None:
    """A task reads so many pages from *key* on, as far as they are in the page cache, or maps those of them that are there.

    *marks*: folio_mark_accessed is called, as by read; a page that is mapped is not marked.
    """
    reader = (pid & (READERS - 1)) * R_SIZE
    file = (key - 2) >> INDEX_BITS
    if s.readers[reader + R_TASK] != pid or s.readers[reader + R_FILE] != file:
        _new_reader(s, reader, pid, key)
    numbered = _read_row(s, out, reader, key, pages, ways)
    if marks:
        behind = _use_read(s, out, reader, key, pages)
    else:
        behind = _use_mapped(s, out, key, pages, i64(2) if numbered and ways & READ_MAPPED else i64(1))
    s.q[_Q_UNKNOWN] += behind == key
    s.readers[reader + R_FROM] = key
    s.readers[reader + R_LAST] = key + pages - 1
    s.readers[reader + R_NEXT] = behind


@part
def on_mark(s: Tables, out: DemandChunk, pfn: int) -> None:
    """folio_mark_accessed of a folio, as an event of its own shows: an ACCESS row."""
    if not 0 <= pfn < s.g[ob.G_PAGES]:
        return
    obj = i64(s.owner[pfn])
    if obj >= 0 and page_class(i64(s.gfp[obj]), i64(s.mt[obj])) != CLASS_KERNEL:
        _access(s, out, obj, i64(0))


@part
def on_listed(s: Tables, pfn: int, order: int) -> None:
    """A folio of a file reaches the LRU lists: a huge one, which khugepaged makes of what is mapped, is in use from now on."""
    if order < HUGE_ORDER or not 0 <= pfn < s.g[ob.G_PAGES]:
        return
    obj = i64(s.owner[pfn])
    if obj >= 0 and i64(s.order[obj]) >= HUGE_ORDER and i64(s.flags[obj]) & ob.FLAG_IN_USE == 0:
        _in_use(s, obj)


@part
def on_activate(s: Tables, out: DemandChunk, pfn: int) -> None:
    """A folio was activated: it was accessed twice, and what no read explains becomes ACCESS rows.

    A kernel with the multi-gen LRU activates what it finds used through page tables alone (walk_update_folio, mm/vmscan.c).
    """
    if s.g[ob.G_MARKS] != 0:
        return
    if s.g[ob.G_LRU_GEN] != 0:
        on_look(s, out, pfn, True)
        return
    if not 0 <= pfn < s.g[ob.G_PAGES]:
        return
    obj = i64(s.owner[pfn])
    if obj < 0 or page_class(i64(s.gfp[obj]), i64(s.mt[obj])) == CLASS_KERNEL:
        return
    flags = i64(s.flags[obj])
    if flags & ob.FLAG_ACTIVATED == 0:
        _access(s, out, obj, i64(0))
        if flags & ob.FLAG_ACCESSED == 0:
            _access(s, out, obj, i64(0))
    s.flags[obj] = flags & ~(ob.FLAG_ACCESSED | ob.FLAG_ACTIVATED)


@part
def on_look(s: Tables, out: DemandChunk, pfn: int, found: bool) -> None:
    """Reclaim has looked at this mapped folio of a file; *found*: with the accessed bit of a page table, so that it was kept.

    A bit that a fault has set since the last look makes no row: the fault has. A huge folio of khugepaged was asked for as
    anonymous memory is.
    """
    if not 0 <= pfn < s.g[ob.G_PAGES]:
        return
    obj = i64(s.owner[pfn])
    if obj < 0:
        return
    flags = i64(s.flags[obj])
    if found and flags & ob.FLAG_MAPPED == 0:
        _access(s, out, obj, i64(1))
    s.flags[obj] = flags & ~(ob.FLAG_MAPPED | (0 if found else ob.FLAG_IN_USE))
    if found and i64(s.order[obj]) >= HUGE_ORDER and flags & ob.FLAG_IN_USE == 0:
        _in_use(s, obj)


@part
def _in_use(s: Tables, obj: int) -> None:
    """The huge folio is in use from now on."""
    number = s.g[ob.G_IN_USE]
    if number < MOST_IN_USE:
        s.in_use[number] = obj
        s.g[ob.G_IN_USE] = number + 1
        s.flags[obj] = i64(s.flags[obj]) | ob.FLAG_IN_USE
        if number == 0:
            s.g[ob.G_NEXT_USE] = s.g[ob.G_NOW] + USE_NS


@part
def use_huge_folios(s: Tables, out: DemandChunk) -> None:
    """Each huge folio in use is used through its page table; those that are gone, split or unused are forgotten."""
    kept = 0
    for i in range(s.g[ob.G_IN_USE]):
        obj = i64(s.in_use[i])
        if i64(s.flags[obj]) & ob.FLAG_IN_USE and i64(s.order[obj]) >= HUGE_ORDER:
            s.in_use[kept] = obj
            kept += 1
            _access(s, out, obj, i64(1))
    s.g[ob.G_IN_USE] = kept
    s.g[ob.G_NEXT_USE] = s.g[ob.G_NOW] + USE_NS
