# SPDX-License-Identifier: GPL-2.0-or-later
"""The words of /proc/kpageflags: their bits, and what they say of a page.

Bits 0 to 31 are the kernel's promise to user space (include/uapi/linux/kernel-page-flags.h) and have never changed their number
since 2.6.32; those above are for kernel hackers (include/linux/kernel-page-flags.h) and are stable since 2.6.32 too. Read at 7.2;
each bit says since when it is shown, where that is later.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

KPF_LOCKED = 0
KPF_ERROR = 1  # unused since 6.12
KPF_REFERENCED = 2
KPF_UPTODATE = 3
KPF_DIRTY = 4
KPF_LRU = 5
KPF_ACTIVE = 6
KPF_SLAB = 7
KPF_WRITEBACK = 8
KPF_RECLAIM = 9
KPF_BUDDY = 10
KPF_MMAP = 11
KPF_ANON = 12
KPF_SWAPCACHE = 13
KPF_SWAPBACKED = 14
KPF_COMPOUND_HEAD = 15
KPF_COMPOUND_TAIL = 16
KPF_HUGE = 17
KPF_UNEVICTABLE = 18
KPF_HWPOISON = 19
KPF_NOPAGE = 20
KPF_KSM = 21
KPF_THP = 22  # 3.4
KPF_OFFLINE = 23  # 5.1; KPF_BALLOON, of the same number, from 3.18 to 5.0
KPF_ZERO_PAGE = 24  # 4.0
KPF_IDLE = 25  # 4.3
KPF_PGTABLE = 26  # 4.18
KPF_RESERVED = 32
KPF_MLOCKED = 33
KPF_PRIVATE = 35

Words = npt.NDArray[np.uint64]
Bools = npt.NDArray[np.bool_]


def flag(words: npt.NDArray[Any], number: int) -> Bools:
    """Whether each word (uint64[pages]) has the bit of this number: bool[pages]."""
    return np.asarray(words & np.uint64(1 << number) != 0)


def tails_as_heads(words: Words) -> Words:
    """The same words (uint64[pages]) with every tail page bearing its head's flags besides its own.

    Kernels before 6.10 show a tail's own flags, which lack LRU: a transparent huge page would look like 511 pages that cannot
    move (on 6.1: 1,533 of 1,533 tails). Later ones show the head's (stable_page_flags, fs/proc/page.c). Tails whose head is not
    among the words stay as they are.
    """
    tail = flag(words, KPF_COMPOUND_TAIL)
    if not tail.any():
        return words
    head = np.maximum.accumulate(np.where(tail, 0, np.arange(len(words))))
    known = tail & flag(words[head], KPF_COMPOUND_HEAD)
    result = words.copy()
    result[known] |= words[head[known]] & ~np.uint64(1 << KPF_COMPOUND_HEAD)
    return result


def movable_pages(words: Words) -> Bools:
    """Which pages can move, by the words of all pages (uint64[pages]): as :func:`can_move`, a folio's tails as its head."""
    return can_move(tails_as_heads(words))


def can_move(words: Words) -> Bools:
    """Which of these words are of a page that can move: on an LRU list, or anonymous. A tail's word must be as its head's.

    An anonymous page that is on no LRU list is on its way to one, in a CPU's batch, or isolated to be moved. A file page in
    those places cannot be told from the kernel's own, so it counts as one that cannot move. Slabs and page tables may show ANON,
    too: other things of theirs lie where a page has its mapping (6.18: 6,849 slab pages of a machine in use).
    """
    anonymous = flag(words, KPF_ANON) & ~(flag(words, KPF_SLAB) | flag(words, KPF_PGTABLE))
    return flag(words, KPF_LRU) | anonymous


def absent_pages(words: Words) -> Bools:
    """Which pages are not the allocator's: no page behind the pfn, reserved, or logically offline (not plugged, or ballooned)."""
    return is_absent(tails_as_heads(words))


def is_absent(words: Words) -> Bools:
    """:func:`absent_pages` of words of which a tail's is as its head's."""
    absent = np.uint64(1 << KPF_NOPAGE | 1 << KPF_RESERVED | 1 << KPF_OFFLINE)
    return np.asarray(words & absent != 0)
