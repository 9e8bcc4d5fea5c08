# SPDX-License-Identifier: GPL-2.0-or-later
"""Types and skip bits of the pageblocks, from the bitmaps of a kernel's sections of memory."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kevacuate.capture.vmcore import Core, needed
from kevacuate.capture.vmcore_lists import TYPES, Geometry, ZoneReader, columns_of
from kevacuate.recording.state import Blocks

ISOLATE = TYPES.index("ISOLATE")
Ints = npt.NDArray[np.int64]


def pageblocks(zones: list[ZoneReader]) -> Blocks:
    """All pageblocks by pfn; one that two zones share is the first zone's."""
    parts = [
        (np.full(len(pfn), zone.index), pfn, mt, skip)
        for zone in zones
        for pfn, mt, skip in _sections(zone.core, zone.sizes, zone)
    ]
    zone_, pfn_, mt_, skip_ = columns_of(parts)
    _, first = np.unique(pfn_, return_index=True)
    return Blocks(zone_[first].astype(np.int16), pfn_[first], mt_[first].astype(np.int8), skip_[first] != 0)


def _sections(core: Core, sizes: Geometry, zone: ZoneReader) -> list[tuple[Ints, Ints, Ints]]:
    """First pfns, migratetypes and skip bits of the pageblocks of each section that the zone spans and that exists."""
    size = 1 << sizes.block_order
    wanted = np.arange(zone.start_pfn & -size, zone.start_pfn + zone.spanned, size, dtype=np.int64)
    section = wanted // core.section_pages
    found = []
    for number in np.unique(section).tolist():
        pfn = wanted[section == number]
        at = core.block_bits(int(pfn[0]))
        if at:
            found.append((pfn, *_bits(core, sizes, at, pfn % core.section_pages >> sizes.block_order)))
    return found


def _bits(core: Core, sizes: Geometry, at: int, block: Ints) -> tuple[Ints, Ints]:
    """Types and skip bits of these blocks of one section (get_pfnblock_flags_mask, mm/page_alloc.c).

    A type that this program does not know is -1.
    """
    per = core.constant("NR_PAGEBLOCK_BITS")
    if per is None:
        per = 1 << (needed(core, "__NR_PAGEBLOCK_BITS") - 1).bit_length()
    blocks = core.section_pages >> sizes.block_order
    data = np.frombuffer(core.read(at, -(-blocks * per // 64) * 8), "<u8")
    word = data[block * per // 64] >> (block * per % 64).astype(np.uint64)

    def bit(number: int) -> npt.NDArray[np.bool_]:
        return np.asarray(word >> np.uint64(number) & np.uint64(1) != 0)

    known = np.array([*sizes.mt, *[-1] * 8][:8], np.int64)
    mt = known[(word & np.uint64(7)).astype(np.int64)]
    isolated = core.constant("PB_migrate_isolate")
    if isolated is not None:
        mt = np.where(bit(isolated), ISOLATE, mt)
    skip = core.constant("PB_compact_skip")  # so in 7.2; PB_migrate_skip in 6.12
    return mt, bit(needed(core, "PB_migrate_skip") if skip is None else skip).astype(np.int64)
