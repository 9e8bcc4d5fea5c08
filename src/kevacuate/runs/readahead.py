# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads of files and faults at them, and what is read ahead (mm/readahead.c, mm/filemap.c, 7.2): in a closed loop alone.

Which pages a read brings in depends on which are missing, and so on the model's own reclaim. So the demand says what its tasks
ask for (op READ), and the model reads what it lacks of that, with the window that the kernel would read. A recording confirms the
rules. With its page cache followed event by event they name 152,000 of 153,500 pages that reads brought in (pressure, seed 1).

What the recorded kernel reads for the first time comes at the recorded moment, wanted or not: nothing else makes its object. It
counts as missing until a read of the model's asks for it, or reads it ahead. What that kernel had reclaimed and reads again waits
until the model itself reads it (:func:`kevacuate.runs.mapping.waits_for_read`).

Approximate: what is read comes in the folios that the recorded kernel had; ``ra->order`` decides where a window ends. A file ends
behind the last page that events name. ``ra->prev_pos`` is of a task's reads of a file, not of one open file. A stretch that is
cached from the file's beginning on does not count twice. Misses of a file mapped without VM_EXEC are not counted (mmap_miss).
A mapping with VM_EXEC, which its window does not leave, ends behind the last page that faults are known to have mapped or read.
A fault at a page that is there reads nothing, even if its folio has PG_readahead: one recorded fault of 188 did.
"""

from __future__ import annotations

from kevacuate.demand.pagecache import READ_AROUND, READ_FAULT, READ_MAPPED, READ_RANDOM, READ_START
from kevacuate.demand.pagekinds import A_FILE, A_LRU
from kevacuate.demand.tables import GFP_OF_A_READ
from kevacuate.jit import part
from kevacuate.kernel.migratetypes import MIGRATE_MOVABLE
from kevacuate.mm import constants as k
from kevacuate.mm.fields import View
from kevacuate.mm.page_alloc import alloc_pages_for
from kevacuate.runs.base_pages import ROW_DONE, fault_takes_time
from kevacuate.runs.mapping import (
    ABSENT,
    MARKED,
    NEW,
    PRESENT,
    RA_ASYNC,
    RA_END,
    RA_ORDER,
    RA_PREV,
    RA_SIZE,
    RA_START,
    RA_TASK,
    READER_WORDS,
    READERS,
    dropped_order,
    first_of_folio,
    owner_of_page,
    page_state,
)

FOLIO_BATCH_SIZE = 31
"""Folios of one batch of a read (include/linux/folio_batch.h)."""

READ_NS = 187
"""What it takes to allocate a folio and to add it to the page cache: 4.7 us for each of 50,270 recorded ones that followed
another in one read, at a time scale of 25, gaps above 1 ms left out (pressure, seed 1)."""

MOST_ALIGNED = 9
"""Windows end at multiples of at most 2**MOST_ALIGNED pages: of the largest folio of a page cache."""

NOT_MARKED = -1
"""No page of a window gets PG_readahead."""


@part
def is_missing(s: View, page: int) -> bool:
    """Whether a read of the page finds it missing: the model dropped it, or has not asked for it before."""
    state = page_state(s, page)
    return state == ABSENT or state == NEW


@part(cold=True)
def read_folio(s: View, cpu: int, page: int, mark: int) -> int:
    """Read the folio of a page that is missing; the first page behind it. It gets PG_readahead if *mark* is one of its pages."""
    owner = owner_of_page(s, page)
    first = first_of_folio(s, page, owner)
    order = 0
    if s.obj[owner] >= 0:
        order = s.meta[s.obj[owner]] & 15
    else:
        order = dropped_order(s, owner)
        if alloc_pages_for(s, cpu, order, MIGRATE_MOVABLE, GFP_OF_A_READ, A_LRU | A_FILE, owner) < 0:
            s.obj[owner] = k.OBJ_DROPPED
            s.stat.refaults_failed += 1
            return page + 1
        s.stat.refault_pages += 1 << order
        if s.cfg.kswapd_slice_ns > 0:
            fault_takes_time(s, s.stat.now - s.stat.late, READ_NS)
    behind = max(min(first + (1 << order), s.stat.file_pages), page + 1)
    for i in range(first, behind):
        s.mapping[s.stat.file_pages + i] = MARKED if first <= mark < behind else 0
    return behind


@part
def read_window(s: View, cpu: int, start: int, size: int, mark: int, end: int) -> None:
    """Read what is missing of *size* pages from *start* on, up to the file's *end* (page_cache_ra_unbounded, _ra_order)."""
    page = start
    while page < min(start + size, end):
        page = read_folio(s, cpu, page, mark) if is_missing(s, page) else page + 1


@part
def get_init_ra_size(size: int, most: int) -> int:
    """The first window of a sequential read of *size* pages (:390)."""
    newsize = 1
    while newsize < size:
        newsize <<= 1
    if newsize <= most // 32:
        return newsize * 4
    return newsize * 2 if newsize <= most // 4 else most


@part
def get_next_ra_size(cur: int, most: int) -> int:
    """The window behind one of *cur* pages (:408)."""
    if cur < most // 16:
        return 4 * cur
    return 2 * cur if cur <= most // 2 else most


@part
def pages_before(s: View, page: int, most: int) -> int:
    """How many pages in a row are there before *page*, at most *most* (page_cache_prev_miss)."""
    count = 0
    while count < most and page - 1 - count > 0 and page_state(s, page - 1 - count) == PRESENT:
        count += 1
    return count


@part
def next_miss(s: View, page: int, most: int, end: int) -> int:
    """The first of *most* pages from *page* on that is not there; the one behind them or the file's if all are."""
    at = page
    while at < min(page + most, end) and page_state(s, at) == PRESENT:
        at += 1
    return at


@part
def set_window(s: View, ra: int, start: int, size: int, async_size: int) -> None:
    """Note a reader's window."""
    s.mapping[ra + RA_START] = start
    s.mapping[ra + RA_SIZE] = size
    s.mapping[ra + RA_ASYNC] = async_size


@part
def page_cache_sync_ra(s: View, cpu: int, ra: int, page: int, count: int, starts: bool) -> None:
    """A read of *count* pages finds its first one missing (:577); *starts*: that is the file's first."""
    most = s.stat.ra_pages + 0
    size = count
    async_size = 0
    if starts or count > most or 0 <= page - s.mapping[ra + RA_PREV] <= 1:
        size = get_init_ra_size(count, most)
        async_size = size - count if size > count else size >> 1
    else:
        before = pages_before(s, page, most)
        if before <= count:
            read_window(s, cpu, page, count, NOT_MARKED, s.mapping[ra + RA_END] + 0)
            return
        size = min(before + count, most)
        async_size = 1
    set_window(s, ra, page, size, async_size)
    s.mapping[ra + RA_ORDER] = 0
    read_window(s, cpu, page, size, page + size - async_size, s.mapping[ra + RA_END] + 0)


@part
def page_cache_async_ra(s: View, cpu: int, ra: int, page: int, pages: int, count: int) -> None:
    """A read finds a folio of *pages* from *page* on with PG_readahead, and *count* pages yet to read from there on (:653)."""
    most = s.stat.ra_pages + 0
    start = s.mapping[ra + RA_START] + 0
    size = s.mapping[ra + RA_SIZE] + 0
    for i in range(page, page + pages):
        s.mapping[s.stat.file_pages + i] = 0
    if page == (start + size - s.mapping[ra + RA_ASYNC]) // pages * pages:
        start += size
        size = max(size, get_next_ra_size(size, most))
    else:
        start = next_miss(s, page + 1, most, s.mapping[ra + RA_END] + 0)
        if start - page > most:
            return
        size = get_next_ra_size(start - page + count, most)
    order = min(s.mapping[ra + RA_ORDER] + 2, MOST_ALIGNED)
    align = min(1 << order, most)
    aligned = (start + size) // align * align
    if aligned > start:
        size = aligned - start
    set_window(s, ra, start, size, size)
    s.mapping[ra + RA_ORDER] = order
    read_window(s, cpu, start, size, start, s.mapping[ra + RA_END] + 0)


@part
def filemap_get_pages(s: View, cpu: int, ra: int, page: int, last: int, ways: int) -> int:
    """One batch of a read up to *last*, which it does not read; the page that the next one begins with (mm/filemap.c:2682)."""
    if is_missing(s, page):
        if ways & READ_RANDOM:
            read_window(s, cpu, page, last - page, NOT_MARKED, s.mapping[ra + RA_END] + 0)
        else:
            page_cache_sync_ra(s, cpu, ra, page, last - page, ways & READ_START != 0)
        if is_missing(s, page):
            return page + 1
    folios = 0
    while page < last and folios < FOLIO_BATCH_SIZE and not is_missing(s, page):
        first = page
        pages = 1
        if page_state(s, page) == PRESENT:
            owner = owner_of_page(s, page)
            first = first_of_folio(s, page, owner)
            pages = min(1 << (s.meta[s.obj[owner]] & 15), s.stat.file_pages - first)
        folios += 1
        if s.mapping[s.stat.file_pages + page] == MARKED:
            page_cache_async_ra(s, cpu, ra, first, pages, last - first)
            return max(first + pages, page + 1)
        page = max(first + pages, page + 1)
    return page


@part
def mapped_page(s: View, page: int, count: int) -> int:
    """Which of *count* pages from *page* on a fault was at that has mapped what was there: the recorded kernel had it.

    By the virtual time, as no event tells; -1 where that kernel had none of them.
    """
    had = 0
    for i in range(page, page + count):
        had += 0 < s.mapping[i] <= s.stat.first_shadow
    if had == 0:
        return -1
    left = (s.stat.now >> 10) % had
    while left > 0 or not 0 < s.mapping[page] <= s.stat.first_shadow:
        left -= 0 < s.mapping[page] <= s.stat.first_shadow
        page += 1
    return page


@part
def filemap_fault(s: View, cpu: int, ra: int, page: int, ways: int) -> None:
    """A fault at a page: what is missing is read from there on, or around it where it is not mapped to be run (:3320)."""
    if not is_missing(s, page):
        return
    most = s.stat.ra_pages + 0
    start = page
    async_size = 0
    if ways & READ_AROUND:
        start -= pages_before(s, page, most // 2)
        async_size = most // 4
    set_window(s, ra, start, most, async_size)
    s.mapping[ra + RA_ORDER] = 0
    mark = start + most - async_size if async_size else NOT_MARKED
    read_window(s, cpu, start, most, mark, s.mapping[ra + RA_END] + 0)


@part
def reader_of(s: View, task: int, end: int) -> int:
    """The record of what the task has read of the file that ends before page *end*: a new one has read nothing of it."""
    first = 2 * s.stat.file_pages + s.stat.first_base_page
    ra = first + (task * 31 + end & READERS - 1) * READER_WORDS
    if s.mapping[ra + RA_TASK] != task or s.mapping[ra + RA_END] != end:
        s.mapping[ra + RA_TASK] = task
        s.mapping[ra + RA_END] = end
        set_window(s, ra, 0, 0, 0)
        s.mapping[ra + RA_ORDER] = 0
        s.mapping[ra + RA_PREV] = -2
    return ra


@part(cold=True)
def read_file(s: View, cpu: int, task: int, page: int, count: int, end: int, ways: int) -> int:
    """A READ row: the task reads *count* pages from *page* on, of a file that ends before page *end*. Returns ROW_DONE.

    A fault that maps what is there around it (READ_MAPPED) is at one of these pages: by the virtual time, as no event tells.
    """
    last = page + count
    if page < 1 or count < 1 or last > end or end > s.stat.file_pages:
        return ROW_DONE
    s.stat.cpu = cpu
    ra = reader_of(s, task, end)
    if ways & (READ_MAPPED | READ_FAULT):
        at = mapped_page(s, page, count) if ways & READ_MAPPED else page
        if at >= 0:
            filemap_fault(s, cpu, ra, at, ways)
        return ROW_DONE
    while page < last:
        page = filemap_get_pages(s, cpu, ra, page, last, ways)
    s.mapping[ra + RA_PREV] = last
    return ROW_DONE
