# SPDX-License-Identifier: GPL-2.0-or-later
"""Room in the table of objects for base pages (:mod:`kevacuate.runs.base_pages`): little at first, more as it is needed."""

from __future__ import annotations

import numpy as np

from kevacuate.mm.layout import State, with_objects, zspage_ids
from kevacuate.runs.mapping import READER_WORDS, READERS, VM_READAHEAD_PAGES


def first_ids(state: State, objects: int, shadows: int) -> State:
    """The state at the start: behind the objects' ids those of shadows, of zspages, and of base pages for one large object.

    *shadows* is -1 in an open loop, which has neither.
    """
    if shadows < 0:
        return state
    stat, ids = state.view.stat, 1 << state.view.cfg.max_page_order
    zspages = zspage_ids(state.view.cfg)
    stat.first_zspage_page, first = objects + shadows, objects + shadows + zspages
    stat.first_shadow, stat.first_base_page, stat.nr_base_pages = objects, first, ids
    return with_objects(state, first + ids) if first + ids > state.obj.size else state


def more_base_pages(state: State) -> State:
    """The state with twice as many ids, at most as many as twice its pages: then objects that find no ids fail.

    The first of the new ones are for the largest object. Where there are none, nobody asks for more before some are free.
    """
    view = state.view
    whole = (1 << view.cfg.max_page_order) - 1
    before = view.stat.nr_base_pages
    ids = min(2 * before, 2 * view.cfg.npages_real + whole & ~whole)
    view.stat.nr_base_pages = max(before, ids)
    view.stat.spare_base_page = before if ids > before else 0
    first = view.stat.first_base_page
    return with_objects(state, first + ids) if first + ids > state.obj.size else state


def with_mapping(state: State, pages: int, longest: int) -> State:
    """The state with room for what is where in the page cache, of files of so many *pages*; as it is where there are none.

    Pages read ahead at most are the power of two that the *longest* recorded stretch fits into, at least VM_READAHEAD_PAGES.
    """
    if pages == 0:
        return state
    stat = state.view.stat
    stat.file_pages, stat.ra_pages = pages, max(1 << max(longest - 1, 0).bit_length(), VM_READAHEAD_PAGES)
    words = 2 * pages + stat.first_base_page + READERS * READER_WORDS + stat.first_shadow
    return state._replace(mapping=np.zeros(words, np.int32))
