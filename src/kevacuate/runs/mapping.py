# SPDX-License-Identifier: GPL-2.0-or-later
"""What is where in the page cache of the files whose pages the demand numbers (struct address_space), in a closed loop.

A page of a file has a number (:func:`kevacuate.demand.tables.files_read`). ``State.mapping`` holds, one behind the other:

* of each page 1 + the entry of ``State.obj`` that stands for it, an object's or a shadow's; 0 where the recorded kernel has not
  read it yet, or has given it up;
* of each page whether its folio has PG_readahead;
* of each entry of ``State.obj`` 1 + the number of its first page, 0 where it is of no such file;
* of each object the order of its folio, where it has such a page: another's pages may have come in the place of some of it;
* of READERS readers what struct file_ra_state holds: task, number of the page at which its file ends, start, size, async_size and
  order of its window, and the page that follows what it has read last (prev_pos).
"""

from __future__ import annotations

from kevacuate.demand.pagekinds import READAHEAD
from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.base_pages import OBJ_BASE_PAGES, base_pages_of, base_pages_order
from kevacuate.mm.fields import View

OBJ_PART = -4
"""What ``State.obj`` holds for a shadow that is a page of the folio of a shadow before it."""

MAX_ORDER = 10

VM_READAHEAD_PAGES = 32
"""Pages that are read ahead at most by default (include/linux/mm.h, SZ_128K)."""

READERS = 64
READER_WORDS = 8
RA_TASK, RA_END, RA_START, RA_SIZE, RA_ASYNC, RA_ORDER, RA_PREV = range(7)

PRESENT, ABSENT, NEW, UNKNOWN = 0, 1, 2, 3
"""What the model has of a page: it has it; it has dropped it; it has it because the recorded kernel has just read it for the
first time; nobody knows of it."""

MARKED, FIRST_READ = 1, 2
"""The folio has PG_readahead; it was read for the first time, and no read of the model's has asked for it since."""


@part(inline=True)
def place_at(s: View, entry: int) -> int:
    """Where in ``mapping`` the place of an entry of ``State.obj`` stands."""
    return 2 * s.stat.file_pages + entry


@part(inline=True)
def order_at(s: View, obj: int) -> int:
    """Where in ``mapping`` the order of an object's folio stands."""
    return 2 * s.stat.file_pages + s.stat.first_base_page + READERS * READER_WORDS + obj


@part
def pages_of_entry(s: View, entry: int) -> int:
    """How many pages in a row are the entry's."""
    first = s.mapping[place_at(s, entry)] - 1
    count = 0
    while first >= 0 and first + count < s.stat.file_pages and s.mapping[first + count] == entry + 1:
        count += 1
    return count


@part(cold=True)
def place_object(s: View, obj: int, order: int, page: int, is_read: bool) -> None:
    """The object is in the page cache, from number *page* on."""
    if page < 1 or page + (1 << order) > s.stat.file_pages:
        return
    s.mapping[place_at(s, obj)] = page + 1
    s.mapping[order_at(s, obj)] = order
    for i in range(page, page + (1 << order)):
        if s.mapping[i] == 0:
            s.mapping[s.stat.file_pages + i] = FIRST_READ if is_read else 0
        s.mapping[i] = obj + 1


@part(cold=True)
def forget_place(s: View, obj: int) -> None:
    """The object is in the page cache no more."""
    first = s.mapping[place_at(s, obj)] - 1
    if first < 0:
        return
    for i in range(first, first + pages_of_entry(s, obj)):
        s.mapping[i] = 0
    s.mapping[place_at(s, obj)] = 0


@part(cold=True)
def split_place(s: View, obj: int, upper: int) -> None:
    """The object is halved: the upper half of its pages is *upper*'s."""
    first = s.mapping[place_at(s, obj)] - 1
    order = s.mapping[order_at(s, obj)] - 1
    if first < 0 or order < 0:
        return
    half = 1 << order
    s.mapping[order_at(s, obj)] = s.mapping[order_at(s, upper)] = order
    s.mapping[place_at(s, upper)] = first + half + 1
    for i in range(first + half, min(first + 2 * half, s.stat.file_pages)):
        if s.mapping[i] == obj + 1:
            s.mapping[i] = upper + 1


@part(cold=True)
def reclaim_place(s: View, obj: int, first: int, order: int) -> None:
    """The recorded kernel reclaimed the object: its pages are those of the shadows whose entries begin with *first*."""
    if s.stat.file_pages == 0:
        return
    page = s.mapping[place_at(s, obj)] - 1
    s.mapping[place_at(s, obj)] = 0
    for i in range(1 << order):
        placed = page >= 0 and page + i < s.stat.file_pages and s.mapping[page + i] == obj + 1
        s.mapping[place_at(s, first + i)] = page + i + 1 if placed else 0
        if placed:
            s.mapping[page + i] = first + i + 1


@part(cold=True)
def gather_place(s: View, entry: int, source: int) -> None:
    """The shadow with the entry *entry* stands for what the one with entry *source* (0: none) stood for."""
    if s.stat.file_pages == 0:
        return
    page = s.mapping[place_at(s, source)] - 1 if source else -1
    if page >= 0 and s.mapping[page] == source + 1:
        s.mapping[page] = entry + 1
        s.mapping[place_at(s, source)] = 0
        s.mapping[place_at(s, entry)] = page + 1
    elif source != entry:
        s.mapping[place_at(s, entry)] = 0


@part(cold=True)
def truncate_places(s: View, first: int, count: int) -> None:
    """The shadows with *count* entries from *first* on are given up."""
    if s.stat.file_pages == 0:
        return
    for entry in range(first, first + count):
        page = s.mapping[place_at(s, entry)] - 1
        if page >= 0 and s.mapping[page] == entry + 1:
            s.mapping[page] = 0
        s.mapping[place_at(s, entry)] = 0


@part
def owner_of_page(s: View, page: int) -> int:
    """The entry of ``State.obj`` whose folio the page is, or was, a page of; -1 where nobody knows of it."""
    entry = s.mapping[page] - 1
    if entry < 0:
        return -1
    code = s.obj[entry] + 0
    if code <= OBJ_BASE_PAGES:
        nth = page - (s.mapping[place_at(s, entry)] - 1)
        if nth < 0 or nth >> base_pages_order(code) > 0:
            return -1
        return s.stat.first_base_page + base_pages_of(code) + nth
    if code != OBJ_PART:
        return entry
    shadow = entry - s.stat.first_shadow
    for level in range(MAX_ORDER + 1):
        head = s.stat.first_shadow + (shadow >> level << level)
        if s.obj[head] != OBJ_PART:
            return head
    return -1


@part
def first_of_folio(s: View, page: int, owner: int) -> int:
    """The first page of the folio that the page is, or was, of; *owner* is the folio's entry."""
    if owner >= s.stat.first_base_page:
        return page
    return min(page, s.mapping[place_at(s, owner)] - 1)


@part
def dropped_order(s: View, owner: int) -> int:
    """The order of the folio that was dropped, of that entry."""
    order = 0
    if owner >= s.stat.first_base_page:
        return order
    if owner < s.stat.first_shadow:
        return s.mapping[order_at(s, owner)] + 0
    shadow = owner - s.stat.first_shadow
    while order < MAX_ORDER and shadow & ((2 << order) - 1) == 0 and s.obj[owner + (1 << order)] == OBJ_PART:
        order += 1
    return order


@part
def page_state(s: View, page: int) -> int:
    """PRESENT, ABSENT, NEW or UNKNOWN."""
    owner = owner_of_page(s, page)
    if owner < 0:
        return UNKNOWN
    if s.obj[owner] >= 0:
        return NEW if s.mapping[s.stat.file_pages + page] == FIRST_READ else PRESENT
    return ABSENT if s.obj[owner] == k.OBJ_DROPPED else UNKNOWN


@part
def waits_for_read(s: View, shadow: int, gfp: int) -> bool:
    """Whether what the recorded kernel reads again, from *shadow* on, waits for a read of the model's.

    So does what is of a numbered file, and is asked for as by a read (readahead_gfp_mask).
    """
    waits = gfp & READAHEAD == READAHEAD and s.stat.file_pages > 0
    return waits and s.mapping[place_at(s, s.stat.first_shadow + shadow)] > 0
