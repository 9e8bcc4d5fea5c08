# SPDX-License-Identifier: GPL-2.0-or-later
"""Cut ``buddy-excerpt/`` out of a raw recording of a kernel with the recording hooks (one CPU, one zone).

    python tests/data/make_buddy_excerpt.py RECORDING

Writes, each readable with pyarrow alone:

* ``boot_free.parquet``: the ordered free lists of the boot dump (order, mt, pfn; a list's head first).
* ``boot_blocks.parquet``: pageblocks of the boot dump (pfn, mt).
* ``events.parquet``: what follows the boot dump and concerns the buddy level, in order (kind, pfn, order, mt,
  a, b, c, d as in docs/recording-format.md): gt_rmq of kinds 0 to 3, mm_page_alloc_zone_locked,
  mm_page_alloc_extfrag, mm_page_pcpu_drain, gt_list, gt_blk, gt_evac of op 0. Ends where an operation ends.
* ``end_free.parquet``, ``end_blocks.parquet``: lists and blocks after the last event.
* ``late_free``, ``late_blocks``, ``late_events``, ``late_end_free``, ``late_end_blocks``: the same of a later
  stretch, when memory is short and pages are stolen and blocks claimed.
* ``excerpt.json``: the zone, counts, and where in the events the dump after the boot dump lies.

Lists and blocks between dumps come from applying gt_list and gt_blk; this is checked to give the recorded
lists, in order, at the two dumps that follow the boot dump.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kevacuate.recording import EventKind, Recording
from kevacuate.recording.schema import EventChunk, concat_chunks
from kevacuate.recording.state import AllocatorState, zone_to_json

KINDS = (
    EventKind.GT_RMQ,
    EventKind.MM_PAGE_ALLOC_ZONE_LOCKED,
    EventKind.MM_PAGE_ALLOC_EXTFRAG,
    EventKind.MM_PAGE_PCPU_DRAIN,
    EventKind.GT_LIST,
    EventKind.GT_BLK,
    EventKind.GT_EVAC,
)
Lists = dict[tuple[int, int], list[int]]

CUTS = {"end": 150_000, "late": 880_000, "late_end": 980_000}
"""Where, in events since the boot dump, states are written: at the next operation's begin."""


def lists_of(state: AllocatorState) -> Lists:
    """The free lists by (order, mt)."""
    lists: Lists = {(order, mt): [] for order in range(11) for mt in range(6)}
    free = state.free
    for order, mt, pfn in zip(free.order.tolist(), free.mt.tolist(), free.pfn.tolist(), strict=True):
        lists[order, mt].append(pfn)
    return lists


def apply_list_op(lists: Lists, row: tuple[int, ...]) -> None:
    """One gt_list event (a row of an EventChunk)."""
    pfn, order, mt, op, new_mt = row[4], row[5], row[6], row[8], row[9]
    chain = lists[order, mt]
    if op == 0:
        chain.insert(0, pfn)
    elif op == 1:
        chain.append(pfn)
    elif op in (2, 3):
        chain.remove(pfn)
        if op == 3:
            lists[order, new_mt].append(pfn)
    else:
        cut = chain.index(pfn) + (op == 5)
        chain[:] = chain[cut:] + chain[:cut]


def wanted_events(recording: Recording, boot: AllocatorState, until: int) -> EventChunk:
    """The buddy-level events after the boot dump up to time *until*."""
    held: list[EventChunk] = []
    for chunk in recording.events(after=boot, kinds=KINDS):
        keep = (chunk.kind != EventKind.GT_RMQ) | (chunk.a <= 3)
        keep &= (chunk.kind != EventKind.GT_EVAC) | (chunk.order == 0)
        held.append(chunk.take(keep & (chunk.ts <= until)))
        if chunk.ts[-1] > until:
            break
    return concat_chunks(held)


def write(path: Path, **columns: object) -> None:
    """One Parquet file of these columns."""
    table = pa.table(columns)
    whole = [n for n in table.column_names if table.schema.field(n).type == pa.int32()]
    narrow = [n for n in table.column_names if n not in whole]
    pq.write_table(
        table,
        path,
        compression="zstd",
        compression_level=19,
        use_dictionary=narrow,
        column_encoding=dict.fromkeys(whole, "DELTA_BINARY_PACKED"),
    )


def write_state(directory: Path, name: str, lists: Lists, blocks: dict[int, int]) -> None:
    """Free lists and blocks of one moment."""
    rows = [(o, m, p) for (o, m), chain in sorted(lists.items()) for p in chain]
    order, mt, pfn = (list(c) for c in zip(*rows, strict=True))
    write(
        directory / f"{name}_free.parquet",
        order=pa.array(order, pa.int8()),
        mt=pa.array(mt, pa.int8()),
        pfn=pa.array(pfn, pa.int32()),
    )
    write(
        directory / f"{name}_blocks.parquet",
        pfn=pa.array(list(blocks), pa.int32()),
        mt=pa.array(list(blocks.values()), pa.int8()),
    )


def write_events(path: Path, events: EventChunk) -> None:
    """The columns that the buddy level needs."""
    small = {n: pa.array(getattr(events, n), pa.int32()) for n in ("pfn", "c", "d")}
    a, b = (pa.array(column, pa.int16()) for column in (events.a, events.b))
    write(path, kind=events.kind, order=events.order, mt=events.mt, a=a, b=b, **small)


def main(source: str) -> None:
    """Cut the excerpt out of *source* and check it."""
    directory = Path(__file__).parent / "buddy-excerpt"
    directory.mkdir(exist_ok=True)
    recording = Recording.open(source)
    boot, start, peak = recording.states[:3]
    events = wanted_events(recording, boot, peak.ts)
    begins = np.flatnonzero(events.kind == EventKind.GT_RMQ)
    cuts = {name: int(begins[begins >= row][0]) for name, row in CUTS.items()}
    dumps = {int((events.ts <= s.ts_begin).sum()): s for s in (start, peak)}
    lists, blocks = lists_of(boot), dict(zip(boot.blocks.pfn.tolist(), boot.blocks.mt.tolist(), strict=True))
    write_state(directory, "boot", lists, blocks)
    for i, row in enumerate(zip(*(c.tolist() for c in events), strict=True)):
        for name in (n for n, cut in cuts.items() if cut == i):
            write_state(directory, name, lists, blocks)
        if i in dumps:
            check(lists, blocks, dumps.pop(i))
        step(lists, blocks, row)
    for state in dumps.values():
        check(lists, blocks, state)
    write_events(directory / "events.parquet", events.take(slice(0, cuts["end"])))
    write_events(directory / "late_events.parquet", events.take(slice(cuts["late"], cuts["late_end"])))
    facts = {
        "events": cuts["end"],
        "late_events": cuts["late_end"] - cuts["late"],
        "dump_after_event": int((events.ts <= start.ts_begin).sum()),
        "pageblock_order": recording.machine.pageblock_order,
        "kernel": recording.machine.kernel,
        "zone": zone_to_json(boot.zones[0]),
        "kinds": {kind.name: int(kind) for kind in KINDS},
    }
    (directory / "excerpt.json").write_text(json.dumps(facts, indent=1) + "\n")


def check(lists: Lists, blocks: dict[int, int], state: AllocatorState) -> None:
    """Stop unless lists and blocks are those of the dump."""
    recorded = dict(zip(state.blocks.pfn.tolist(), state.blocks.mt.tolist(), strict=True))
    if lists != lists_of(state) or blocks != recorded:
        sys.exit(f"the lists at dump {state.tag} differ from the recorded ones")


def step(lists: Lists, blocks: dict[int, int], row: tuple[int, ...]) -> None:
    """Apply one event (a row of an EventChunk) to the lists or the blocks."""
    if row[3] == EventKind.GT_LIST:
        apply_list_op(lists, row)
    elif row[3] == EventKind.GT_BLK:
        blocks[row[4]] = row[8]


if __name__ == "__main__":
    main(sys.argv[1])
