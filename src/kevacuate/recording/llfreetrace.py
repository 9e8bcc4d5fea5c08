# SPDX-License-Identifier: GPL-2.0-or-later
"""Traces of LLFree's replay (luhsra/llfree-rs, eval/src/bin/replay.rs at 441c8d1), as arrays.

Pages of 4096 bytes. The first holds three uint32: trace pages, cores, the highest pfn. Each other holds its CPU as uint32 and,
from byte 16 on, 255 entries of 128 bits, the lowest first: 38 bits of microseconds, 24 of pfn, one that says whether it
allocates, 4 of order, 29 of GFP flags, 32 of pid. A pfn of 0 ends a page. LLFree reads times as 32-bit floats and sorts by them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.errors import KevacuateError, failing
from kevacuate.recording.atomic_write import written

PAGE = 4096
ENTRIES = 255
MOST_PFN = (1 << 24) - 1
"""The highest pfn that an entry can name: 64 GiB."""
MOST_ORDER = 10
MEMORY_A_BYTE = 6
"""Bytes of memory that reading a trace takes, a byte of it, about."""
PAGE_CACHE = 1 << 28
"""A flag of LLFree's own: the page is of the page cache."""
EXACT_US = 1 << 24
"""Up to so many microseconds a 32-bit float tells all apart."""

_HEADER = np.dtype([("pages", "<u4"), ("cores", "<u4"), ("max_pfn", "<u4")])
_TRACE_PAGE = np.dtype(
    {
        "names": ["cpu", "entry"],
        "formats": ["<u4", ("<u8", (ENTRIES, 2))],
        "offsets": [0, 16],
        "itemsize": PAGE,
    }
)


class Entries(NamedTuple):
    """Entries in order; equally long arrays."""

    alloc: npt.NDArray[np.bool_]
    pfn: npt.NDArray[np.int64]
    order: npt.NDArray[np.int64]
    gfp: npt.NDArray[np.int64]


def write_trace(target: Path, entries: Entries, cores: int, max_pfn: int) -> Path:
    """Write a trace, all of it as of CPU 0, one entry a microsecond, or several where there are more than 2^24; where it lies.

    Raises
    ------
    KevacuateError
        It cannot name a page, or cannot be written.
    """
    if max_pfn > MOST_PFN or (entries.pfn.size and int(entries.pfn.min()) < 1):
        raise KevacuateError(
            f"LLFree's traces name pages 1 to {MOST_PFN:,} (64 GiB): this machine has others."
        )
    count = len(entries.pfn)
    time = 1 + np.arange(count) * min(EXACT_US - 2, max(count, 1)) // max(count, 1)
    low = time | entries.pfn << 38 | entries.alloc.astype(np.int64) << 62
    low = low.astype(np.uint64) | (entries.order & 1).astype(np.uint64) << np.uint64(63)
    high = (entries.order >> 1) | entries.gfp << 3
    pages = -(-count // ENTRIES)
    table = np.zeros(pages, _TRACE_PAGE)
    words = np.zeros((pages * ENTRIES, 2), np.uint64)
    words[:count, 0], words[:count, 1] = low, high.astype(np.uint64)
    table["entry"] = words.reshape(pages, ENTRIES, 2)
    header = np.zeros(PAGE, np.uint8)
    header[: _HEADER.itemsize] = np.array([(pages, cores, max_pfn)], _HEADER).view(np.uint8)
    with written(target, replace=False) as file, file.path.open("wb") as out:
        out.write(header.tobytes())
        out.write(table.tobytes())
    return file.target


def read_trace(source: Path) -> tuple[Entries, int, int]:
    """(entries as LLFree orders them, cores, highest pfn) of a trace.

    Raises
    ------
    KevacuateError
        It is none, is cut off, or names pages that it says there are not.
    """
    with failing(f"{source} cannot be read"):
        size = source.stat().st_size
        if size < PAGE or size % PAGE:
            raise KevacuateError(
                f"{source} is no trace of LLFree's, or is cut off: it is no whole number of pages of {PAGE} bytes."
            )
        pages, cores, max_pfn = (int(n) for n in np.fromfile(source, _HEADER, 1)[0])
        if pages != size // PAGE - 1 or not 1 <= cores <= 1 << 16 or max_pfn > MOST_PFN:
            raise KevacuateError(
                f"{source} is no trace of LLFree's, or is cut off: its head does not fit its size."
            )
        need, have = MEMORY_A_BYTE * size, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        if need > have:
            raise KevacuateError(
                f"{source} takes about {need >> 30:,} GiB to read, and this machine has {have >> 30:,} GiB: use a larger one."
            )
        table = np.fromfile(source, _TRACE_PAGE, offset=PAGE)
    low, high = (table["entry"][:, :, i].ravel() for i in range(2))
    named = (table["entry"][:, :, 0] >> np.uint64(38) & np.uint64(MOST_PFN)) != 0
    kept = np.logical_and.accumulate(named, axis=1).ravel()
    low, high = low[kept], high[kept]
    by = np.argsort((low & np.uint64((1 << 38) - 1)).astype(np.float32) / np.float32(1e6), kind="stable")
    low, high = low[by], high[by]
    found = Entries(
        alloc=np.asarray(low >> np.uint64(62) & np.uint64(1), np.bool_),
        pfn=(low >> np.uint64(38) & np.uint64(MOST_PFN)).astype(np.int64),
        order=((high & np.uint64(7)) << np.uint64(1) | low >> np.uint64(63)).astype(np.int64),
        gfp=(high >> np.uint64(3) & np.uint64((1 << 29) - 1)).astype(np.int64),
    )
    end = (found.pfn | (1 << np.minimum(found.order, MOST_ORDER)) - 1).max(initial=0)
    if int(found.order.max(initial=0)) > MOST_ORDER or int(end) > max_pfn | (1 << MOST_ORDER) - 1:
        raise KevacuateError(
            f"{source} names pages beyond its highest, or orders above {MOST_ORDER}: it is corrupted."
        )
    return found, cores, max_pfn
