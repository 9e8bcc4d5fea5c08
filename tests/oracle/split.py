# SPDX-License-Identifier: GPL-2.0-or-later
"""`split_folio_to_list` of an isolated folio (mm/huge_memory.c), and the names that its object's pages get.

An object whose folio is split is in base pages: its entry in `obj_pfn` is a code below -4, its pages are objects of their own,
from `m.first_part` on, in a row that begins at a multiple of their number.
"""

from __future__ import annotations

from .constants import A_BUSY, A_FILE, A_LRU, A_PINNED, A_RECLAIM, A_WRITEBACK, ISOLATED
from .lru import is_dirty
from .machine import Machine
from .regions import note_part
from .zone import Page


def code_of(first: int, order: int) -> int:
    """What `obj_pfn` holds for an object in 2**order pages, of which the first is number *first*."""
    return -5 - (first | 1 << order - 1)


def pages_of(m: Machine, code: int) -> range:
    """The objects that an object in base pages consists of."""
    word = -5 - code
    lowest = word & -word
    first = m.first_part + word - lowest
    return range(first, first + 2 * lowest)


def find_names(m: Machine, order: int) -> int:
    """The next free row of 2**order names, counted from the first, or from the start if that is in the upper half; -1 if none."""
    size = 1 << order
    rows = m.nr_parts // size
    begin = m.next_part if 2 * m.next_part < m.nr_parts else 0
    for step in range(rows):
        row = (begin // size + step) % rows
        first = m.first_part + row * size
        if all(m.obj_pfn.get(name, -1) == -1 for name in range(first, first + size)):
            m.next_part = row * size
            return row * size
    return -1


def keep_spare(m: Machine) -> None:
    """The look for names for the largest folio, which takes none."""
    size = 1 << m.config.max_page_order
    taken = [m.obj_pfn.get(m.first_part + m.spare_part + i, -1) != -1 for i in range(size)]
    if m.spare_part < 0 or any(taken):
        place = m.next_part
        m.spare_part = find_names(m, m.config.max_page_order)
        m.next_part = place


def can_split(m: Machine, page: Page, waits: bool) -> bool:
    """Whether nothing holds the folio: the lock (for one who does not wait), a pin, writeback, private data of dirty cache."""
    if not page.attr & A_LRU or page.attr & (A_WRITEBACK | A_PINNED):
        return False
    if page.attr & A_BUSY and not waits:
        return False
    return not page.attr & A_FILE or not is_dirty(m, page)


def split_folio(m: Machine, its: Page, waits: bool) -> bool:
    """Split to single pages, isolated too; the flags but PG_reclaim go with each."""
    page = m.heads[its.pfn]
    if not can_split(m, page, waits):
        m.reached["folio that cannot be split"] += 1
        return False
    order, names = page.order, [-1] * page.size
    if page.obj >= 0:
        first = find_names(m, order)
        if first < 0:
            m.events["split_without_ids"] += 1
            return False
        m.obj_pfn[page.obj] = code_of(first, order)
        names = [m.first_part + first + i for i in range(page.size)]
    for i, name in enumerate(names):
        attr = page.attr if i == 0 else page.attr & ~A_RECLAIM
        m.heads[page.pfn + i] = Page(
            page.pfn + i, 0, ISOLATED, 0, name, attr, refs=page.refs, dirtied=page.dirtied
        )
        note_part(m, page.pfn, page.pfn + i)
        if name >= 0:
            m.obj_pfn[name] = page.pfn + i
    m.events["folios_split"] += 1
    m.reached["folio split"] += 1
    if names[0] >= 0:
        keep_spare(m)
    return True
