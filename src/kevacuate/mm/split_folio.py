# SPDX-License-Identifier: GPL-2.0-or-later
"""Splitting a large folio for which compaction finds no free chunk (mm/huge_memory.c, 7.2): in closed loop alone.

The object that had the folio is in base pages then (:mod:`.base_pages`): whoever frees, uses or halves it finds them all. Of a
folio of shadows (:mod:`kevacuate.runs.closed_loop`) each page goes to its own shadow.

Approximate: a dirty folio of a file has private data, which is not to be released; file systems differ in that. Nobody maps part
of a folio, so none waits to be split. ``xas_split_alloc`` never fails. Where ids run out the folio stays whole, which is counted.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm import constants as k
from kevacuate.mm.base_pages import base_pages_code, find_ids, spare_ids
from kevacuate.mm.fields import View
from kevacuate.mm.lruvec import gen_word
from kevacuate.mm.regions import note_part
from kevacuate.mm.writeback import folio_dirty

NO_IDS = -1


@part
def may_split(s: View, pfn: int, mode: int) -> bool:
    """Whether try_split_folio could (mm/migrate.c:1585, mm/huge_memory.c:3844, :4140, :4175).

    Not what is under writeback, pinned, no folio of the LRU, or dirty with private data. Asynchronous migration does not wait for
    the lock.
    """
    attr = s.link[2 * pfn + 1] + 0
    if not attr & k.ATTR_LRU or attr & (k.ATTR_WRITEBACK | k.ATTR_PINNED):
        return False
    if attr & k.ATTR_BUSY and mode == k.MIGRATE_ASYNC:
        return False
    return not (attr & k.ATTR_FILE and folio_dirty(s, pfn, attr))


@part
def ids_of_parts(s: View, obj: int, order: int) -> int:
    """Where in ``State.obj`` the pages of the object's folio are to stand, in a row; NO_IDS if there is no room.

    A folio of shadows has places already. The entry of another object says from now on that it is in base pages.
    """
    if s.stat.first_shadow <= obj < s.stat.first_base_page:
        return obj
    first = find_ids(s, order)
    if first < 0:
        return NO_IDS
    s.obj[obj] = base_pages_code(first, order)
    return s.stat.first_base_page + first


@part(cold=True)
def split_folio(s: View, pfn: int, mode: int) -> bool:
    """Split an isolated folio to pages, all isolated; False for one that stays whole.

    The pages have its flags, the first all of them, the others all but PG_reclaim (mm/huge_memory.c:3656).
    """
    if not may_split(s, pfn, mode):
        return False
    order = s.meta[pfn] & 15
    obj = s.link[2 * pfn] + 0
    first = NO_IDS
    if obj >= 0:
        first = ids_of_parts(s, obj, order)
        if first < 0:
            s.stat.split_without_ids += 1
            return False
    attr = s.link[2 * pfn + 1] + 0
    uses = s.lru[gen_word(s, obj)] + 0 if s.cfg.lru_gen and obj >= 0 else 0
    for i in range(1 << order):
        s.meta[pfn + i] = k.CHUNK_ISOLATED << 4
        s.link[2 * (pfn + i)] = first + i if obj >= 0 else -1
        s.link[2 * (pfn + i) + 1] = attr & ~k.ATTR_RECLAIM if i else attr
        if obj >= 0:
            s.obj[first + i] = pfn + i
            if s.cfg.lru_gen:
                s.lru[gen_word(s, first + i)] = uses
        if s.cfg.region_order:
            note_part(s, pfn, pfn + i)
    s.stat.folios_split += 1
    if obj >= 0:
        spare_ids(s)
    return True
