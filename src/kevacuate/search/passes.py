# SPDX-License-Identifier: GPL-2.0-or-later
"""The series' passes: which lists of which regions a request tries, in which order (its patches 14, 19, 20; April's 24 and 25).

For kernel memory: tainted regions first (own type; a whole pageblock of another, claimed; a block with movable pages in it,
claimed without the half that mainline asks for; a page of the other kernel type, borrowed), then a whole pageblock of an empty
region, then clean regions in the same way. Borrowing from movable lists never comes to it, as the block is claimed before.
For movable memory: clean regions, the fullest first; then empty ones; tainted ones above their reserve, then below.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kevacuate.jit import part
from kevacuate.search.fields import (
    CLASSES,
    CLEAN,
    EMPTY,
    NR_BUCKETS,
    NR_FORMS,
    T_FIND,
    TAINTED,
    TIGHT,
    SearchView,
)
from kevacuate.search.find import NOT_WALKED, find
from kevacuate.search.lists import trace

TAKE = 0  # from a list of the request's own type
CLAIM = 1  # a whole pageblock or more changes its type
CLAIM_BLOCK = 2  # a pageblock with pages in use changes its type
BORROW = 3  # the block keeps its type

ANY, BLOCKS, BELOW = 0, 1, 2
"""Orders: all that suffice, of these whole pageblocks, of these less than a pageblock."""

PASS_WORDS = 6
MOST_PASSES = 16

_OWN, _FIRST, _SECOND = 0, 1, 2
_OTHERS = ((1, 2), (2, 0), (1, 0))
"""By type: where else its requests look."""

_TAINTED = (TIGHT * CLASSES, CLEAN * CLASSES)
_SPARE = (TAINTED * CLASSES, CLEAN * CLASSES)
_TIGHT = (TIGHT * CLASSES, TAINTED * CLASSES)
_CLEAN = (CLEAN * CLASSES, EMPTY * CLASSES)
_EMPTY = (EMPTY * CLASSES, NR_BUCKETS)
_ALL = (0, NR_BUCKETS)

_SMALLEST, _LARGEST = 0, 1


def _inside(where: tuple[int, int]) -> list[tuple[int, int, int, tuple[int, int], int]]:
    """A kernel request's passes over one set of regions: (whose list, orders, smallest or largest, where, what is done)."""
    return [
        (_OWN, ANY, _SMALLEST, where, TAKE),
        (_FIRST, BLOCKS, _SMALLEST, where, CLAIM),
        (_SECOND, BLOCKS, _SMALLEST, where, CLAIM),
        (_FIRST, BELOW, _LARGEST, where, CLAIM_BLOCK),
        (_SECOND, BELOW, _SMALLEST, where, BORROW),
    ]


def _whole(where: tuple[int, int]) -> list[tuple[int, int, int, tuple[int, int], int]]:
    """Passes that take the own type, or whole pageblocks."""
    return [
        (_OWN, ANY, _SMALLEST, where, TAKE),
        (_FIRST, BLOCKS, _SMALLEST, where, CLAIM),
        (_SECOND, BLOCKS, _SMALLEST, where, CLAIM),
    ]


def _borrowing() -> list[tuple[int, int, int, tuple[int, int], int]]:
    """A movable request's last passes."""
    return [(whose, BELOW, _SMALLEST, _ALL, BORROW) for whose in (_FIRST, _SECOND)]


_KERNEL = [*_inside(_TAINTED), *_inside(_EMPTY), *_inside(_CLEAN)]
_MOVABLE = [*_whole(_CLEAN), *_whole(_EMPTY), *_whole(_SPARE), *_whole(_TIGHT), *_borrowing()]
PASSES = (_KERNEL, _MOVABLE, _KERNEL)
"""By type asked for."""


def pass_table() -> npt.NDArray[np.int64]:
    """The passes, int64[3 * MOST_PASSES * PASS_WORDS]: type of the list (-1: no pass), orders, largest, buckets, action."""
    table = np.full((3, MOST_PASSES, PASS_WORDS), -1, np.int64)
    for asked, passes in enumerate(PASSES):
        lists = (asked, *_OTHERS[asked])
        for i, (whose, orders, largest, (first, last), action) in enumerate(passes):
            table[asked, i] = lists[whose], orders, largest, first, last, action
    return table.reshape(-1)


@part
def ask(s: SearchView, mt: int, lo: int, hi: int, largest: int, first: int, last: int) -> int:
    """The deciding form's page; what every other form that is asked finds is compared with it."""
    found = find(s, s.cfg.form, mt, lo, hi, largest, first, last)
    for form in range(NR_FORMS):
        if form != s.cfg.form and s.cfg.asked >> form & 1:
            other = find(s, form, mt, lo, hi, largest, first, last)
            if other != found and other != NOT_WALKED:
                s.stat.wrong[form] += 1
    trace(s, T_FIND, mt | lo << 4 | hi << 8 | largest << 12, first | last << 8, found)
    return found


@part
def choose(s: SearchView, order: int, mt: int) -> tuple[int, int]:
    """The first pass that finds a page: (page or -1, what is done with it)."""
    for i in range(MOST_PASSES):
        at = (mt * MOST_PASSES + i) * PASS_WORDS
        whose = s.passes[at]
        if whose < 0:
            break
        lo, hi = order, s.cfg.max_page_order
        if s.passes[at + 1] == BLOCKS:
            lo = max(order, s.cfg.pageblock_order)
        elif s.passes[at + 1] == BELOW:
            hi = s.cfg.pageblock_order - 1
        if lo > hi:
            continue
        found = ask(s, whose, lo, hi, s.passes[at + 2], s.passes[at + 3], s.passes[at + 4])
        if found >= 0:
            return found, s.passes[at + 5]
    return -1, TAKE
