# SPDX-License-Identifier: GPL-2.0-or-later
"""Cut ``compaction.kev`` out of a recording of a one-CPU kernel with the second set of recording hooks.

    python tests/data/make_compaction_excerpt.py RECORDING FROM TO

It holds the events FROM to TO (dumps not counted) after the state at boot. Its first state is not a dump: free lists, folios,
marks and scanners' positions are those that the compaction level follows through the events before FROM, where every decision
of its was the kernel's (which is checked here). Skip bits have been cleared by nobody and no run is under way at FROM.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from make_verify_excerpts import pieces

from kevacuate.fidelity.compaction.books import F_ACTIVE
from kevacuate.fidelity.compaction.level import CompactionLevel
from kevacuate.fidelity.event_rows import wide
from kevacuate.fidelity.level import Given
from kevacuate.fidelity.model_from_dump import free_lists
from kevacuate.kernel.pageflags import KPF_COMPOUND_HEAD, KPF_COMPOUND_TAIL, KPF_LRU
from kevacuate.mm import constants as k
from kevacuate.recording import AllocatorState, EventKind, KevWriter, Recording
from kevacuate.recording.state import Blocks, FreePages, PcpPages

HERE = Path(__file__).parent


def page_flags(level: CompactionLevel) -> np.ndarray:
    """What the level follows, as /proc/kpageflags would show it (LRU and compound bits only)."""
    meta, order = level.state.meta, level.books.order
    flags = np.zeros(meta.size, np.uint64)
    heads = np.flatnonzero((meta >> 4 == k.CHUNK_ALLOC) & (meta & 15 > 0))
    flags[heads] |= np.uint64(1 << KPF_COMPOUND_HEAD)
    flags[(order > 0) & (meta >> 4 == k.CHUNK_TAIL)] |= np.uint64(1 << KPF_COMPOUND_TAIL)
    attr = level.state.link[1 : 2 * meta.size : 2]
    flags[(meta >> 4 == k.CHUNK_ALLOC) & (attr & k.ATTR_LRU != 0)] |= np.uint64(1 << KPF_LRU)
    return flags


def reached(level: CompactionLevel, like: AllocatorState, ts: int) -> AllocatorState:
    """The state before the first event kept, in the form of a recorded one."""
    zone, view = like.zones[0], level.state.view
    own, blocks = view.zone[0], like.blocks
    lists = free_lists(level.state)
    pfn = np.concatenate([x.pfns for x in lists])
    sizes = [x.pfns.size for x in lists]
    order, mt = (
        np.repeat([getattr(x, name) for x in lists], sizes).astype(np.int8) for name in ("order", "mt")
    )
    bits = level.state.block[2 * (blocks.pfn >> view.cfg.pageblock_order)]
    nothing = np.zeros(0, np.int16)
    return replace(
        like,
        tag="m",
        label="",
        ts=ts,
        ts_begin=ts,
        ordinal=-1,
        zones=(
            replace(
                zone,
                nr_free=own.nr_free_pages,
                watermark=tuple(own.watermark[i] for i in range(4)),
                boost=own.watermark_boost,
                cached_free_pfn=own.compact_cached_free_pfn,
                cached_migrate_pfn=tuple(own.compact_cached_migrate_pfn[i] for i in range(2)),
                compact_considered=own.compact_considered,
                compact_defer_shift=own.compact_defer_shift,
                compact_order_failed=own.compact_order_failed,
            ),
        ),
        free=FreePages(np.full(pfn.size, zone.index, np.int16), order, mt, pfn),
        blocks=Blocks(
            blocks.zone, blocks.pfn, (bits & k.PB_TYPE_MASK).astype(np.int8), bits & k.PB_COMPACT_SKIP != 0
        ),
        pcp_pages=PcpPages(nothing, nothing, np.zeros(0, np.int8), np.zeros(0, np.int64)),
        page_flags=page_flags(level),
        page_count=None,
    )


def main() -> None:
    """Cut it."""
    name, first, last = sys.argv[1:]
    recording = Recording.open(name)
    assert recording.boot is not None
    level = CompactionLevel(Given.of(recording, recording.boot))
    kept, number, ts = [], 0, 0
    for early, late in pieces(recording, int(first), int(last)):
        events = early.take(early.kind != EventKind.GT_DUMP)
        if events.rows:
            level.feed(wide(events), number)
            number += events.rows
            ts = int(events.ts[-1])
        if late.rows:
            kept.append(late.take(late.kind != EventKind.GT_DUMP))
    assert level.books.facts[F_ACTIVE] == 0
    state = reached(level, recording.boot, ts)
    result = level.finish()
    assert result.mismatches == 0, result.first
    target = HERE / "compaction.kev"
    shutil.rmtree(target, ignore_errors=True)
    with KevWriter(target, recording.machine) as writer:
        writer.add_state(state)
        for chunk in kept:
            writer.add_events(chunk)
        writer.set_losses(recording.losses)
        writer.set_quality({"excerpt_of": recording.path.name, "source_digest": recording.digest})


if __name__ == "__main__":
    main()
