# SPDX-License-Identifier: GPL-2.0-or-later
"""What a page was asked for, by the gfp flags and migratetype of its allocation, and which page flags such a page gets.

The rule is that of :func:`kevacuate.demand.pagekinds.page_class`, for whole columns; a test holds the two together.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kevacuate.kernel import pageflags as pf
from kevacuate.kernel.migratetypes import MIGRATE_MOVABLE, MIGRATE_UNMOVABLE
from kevacuate.recording.schema import GFP_BITS

KERNEL, ANON, READ, WRITTEN, BUFFER = range(5)
"""Kernel memory; anonymous or shmem; page cache that was read, written, or is of a block device."""

COMPOUND = 8
"""Bit beside the class: the request asked for a compound page (__GFP_COMP)."""

_FLAGS_OF_CLASS = np.array(
    [
        0,
        1 << pf.KPF_LRU | 1 << pf.KPF_ANON | 1 << pf.KPF_SWAPBACKED,
        1 << pf.KPF_LRU,
        1 << pf.KPF_LRU | 1 << pf.KPF_DIRTY,
        1 << pf.KPF_LRU,
    ],
    np.uint64,
)


def _bits(*names: str) -> np.uint32:
    return np.uint32(sum(1 << GFP_BITS[f"__GFP_{name}"] for name in names))


_READAHEAD = _bits("NORETRY", "NOWARN")
_NOT_A_FOLIO = _bits("FS", "ZERO", "HIGH", "NORETRY", "NOMEMALLOC", "ACCOUNT")


def request_classes(gfp: npt.NDArray[np.uint32], mt: npt.NDArray[np.int8]) -> npt.NDArray[np.uint8]:
    """The class of each request, with :data:`COMPOUND` where it asked for a compound page.

    Parameters
    ----------
    gfp : uint32[n]
        In the bit numbers of Linux 7.2.
    mt : int8[n]
        Migratetypes.

    Returns
    -------
    uint8[n]

    """
    flags = gfp.astype(np.uint32)

    def has(name: str) -> npt.NDArray[np.bool_]:
        return np.asarray(flags & _bits(name) != 0)

    readahead = (flags & _READAHEAD == _READAHEAD) & ~has("NOMEMALLOC")
    movable = np.select(
        [has("WRITE"), readahead, has("FS"), has("HIGHMEM")], [WRITTEN, READ, ANON, READ], BUFFER
    )
    folio = has("COMP") & (flags & _NOT_A_FOLIO == 0)
    other = np.where(folio & (mt == MIGRATE_UNMOVABLE), np.where(has("HARDWALL"), BUFFER, READ), KERNEL)
    found = np.where(mt == MIGRATE_MOVABLE, movable, other)
    return np.asarray(found | np.where(has("COMP"), COMPOUND, 0)).astype(np.uint8)


def can_move(request: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Whether a page of such a request goes to an LRU list: all but the kernel's own."""
    return np.asarray(request & 7 != KERNEL)


def flags_after(
    request: npt.NDArray[np.uint8], pfn: npt.NDArray[np.int64], order: npt.NDArray[np.int8]
) -> npt.NDArray[np.uint64]:
    """The flags (as /proc/kpageflags) that pages have once their owner has put them to use: LRU, kind, head or tail.

    What only the owner's later deeds set (mapped, referenced, uptodate) is left out.
    """
    words = _FLAGS_OF_CLASS[request & 7]
    wide = (request & COMPOUND != 0) & (order > 0)
    head = pfn & (np.left_shift(1, np.clip(order, 0, 10).astype(np.int64)) - 1) == 0
    part = np.where(head, np.uint64(1 << pf.KPF_COMPOUND_HEAD), np.uint64(1 << pf.KPF_COMPOUND_TAIL))
    return np.asarray(words | np.where(wide, part, np.uint64(0)))
