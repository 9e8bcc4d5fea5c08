# SPDX-License-Identifier: GPL-2.0-or-later
"""Objects in base pages: in a closed loop an object of the demand may consist of pages of order 0, each wherever it is.

So does one whose folio was not to be had (:mod:`kevacuate.runs.base_pages`), and one whose folio compaction has split
(:mod:`.split_folio`). Each base page is an object of the model: it moves, and is dropped, by itself. Their ids are the last of
``State.obj``, from ``stat.first_base_page`` on; the object's own entry says which it has (:func:`first_base_page`).
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm.constants import OBJ_NONE
from kevacuate.mm.fields import View

OBJ_BASE_PAGES = -5
"""From here down ``State.obj`` holds, for an object in base pages, which ones these are."""


def first_base_page(code: int) -> int:
    """First id, counted from ``stat.first_base_page``, of an object in base pages: *code* is what ``State.obj`` holds for it."""
    return (OBJ_BASE_PAGES - code) & (OBJ_BASE_PAGES - code - 1)


def order_of_base_pages(code: int) -> int:
    """Order of an object in base pages."""
    left = OBJ_BASE_PAGES - code
    order = 1
    while left & 1 == 0:
        left >>= 1
        order += 1
    return order


base_pages_of = part(inline=True)(first_base_page)
"""The same as :func:`first_base_page`, compiled."""
base_pages_order = part(order_of_base_pages)
"""The same as :func:`order_of_base_pages`, compiled."""


def base_page_ids(code: int) -> range:
    """The ids, counted from ``stat.first_base_page``, of an object in base pages."""
    first = first_base_page(code)
    return range(first, first + (1 << order_of_base_pages(code)))


@part(inline=True)
def base_pages_code(first: int, order: int) -> int:
    """What ``State.obj`` holds for an object in 2**order base pages, *order* at least 1; *first* is a multiple of 2**order."""
    return OBJ_BASE_PAGES - (first | 1 << (order - 1))


@part
def unused_ids(s: View, first: int, order: int) -> bool:
    """Whether nobody has the 2**order ids from *first* on."""
    base = s.stat.first_base_page + first
    for i in range(base, base + (1 << order)):
        if s.obj[i] != OBJ_NONE:
            return False
    return True


@part(cold=True)
def find_ids(s: View, order: int) -> int:
    """The first of 2**order ids, a multiple of that, which nobody has; -1 if there are none.

    Next fit, begun anew once it has come to the upper half, which stays free for large objects while the lower has room.
    """
    count = s.stat.nr_base_pages >> order
    at = s.stat.next_base_page >> order
    if 2 * s.stat.next_base_page >= s.stat.nr_base_pages:
        at = 0
    for _ in range(count):
        if at >= count:
            at = 0
        if unused_ids(s, at << order, order):
            s.stat.next_base_page = at << order
            return at << order
        at += 1
    return -1


@part(cold=True)
def spare_ids(s: View) -> bool:
    """Whether the largest object would still find ids; ``stat.spare_base_page`` says where, or -1."""
    largest = s.cfg.max_page_order
    if s.stat.spare_base_page >= 0 and unused_ids(s, s.stat.spare_base_page, largest):
        return True
    following = s.stat.next_base_page + 0
    s.stat.spare_base_page = find_ids(s, largest)
    s.stat.next_base_page = following  # nobody has taken those
    return s.stat.spare_base_page >= 0
