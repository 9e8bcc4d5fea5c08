# SPDX-License-Identifier: GPL-2.0-or-later
"""A recording that can be verified, of a distribution's kernel without a patch: exact lists from two dumps, events from between.

    python benchmarks/vmcore/assemble.py SHARE VMLINUX OUT.kev

SHARE is what job-events left: vmcore-1, vmcore-2, formats/, trace/cpu0.raw of one CPU. Its kprobes bear the names of the
recording hooks' events; what a kprobe cannot say is made of the others here: a pointer to a struct page becomes a pfn, a zone's
first pfn its number, a pageblock's old type is that of the start state and the changes since, and an allocation straight from
the buddy, whose function is inlined, is asked for just before the page it took (its alloc_flags are not known: those of a
plain request). What compaction isolates from the free lists is left out.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kevacuate.capture.vmcore_drgn import DrgnCore, open_core
from kevacuate.capture.vmcore_state import CoreSnapshot, read_core
from kevacuate.recording import EventChunk, KevWriter
from kevacuate.recording import EventKind as K
from kevacuate.recording.fieldtable import decoding
from kevacuate.recording.formats import gfp_bits, load_formats
from kevacuate.recording.ringbuf import RawReader, cpu_losses
from kevacuate.recording.schema import ALL_KINDS, concat_chunks
from kevacuate.recording.state import DUMP_END

INSTANCE = b"k"
PLAIN_FLAGS = 0x801
"""ALLOC_WMARK_LOW and ALLOC_KSWAPD."""

ISOLATE = 5
Columns = dict[str, Any]


def last_event(core: DrgnCore) -> int:
    """Time of the last event that CPU 0's ring buffer of the instance held when the memory was dumped (write_stamp)."""
    from drgn.helpers.linux.list import list_for_each_entry

    arrays = core.program["ftrace_trace_arrays"].address_of_()
    for array in list_for_each_entry("struct trace_array", arrays, "list"):
        if array.name and array.name.string_() == INSTANCE:
            return int(array.array_buffer.buffer.buffers[0].write_stamp.time.a.a.counter)
    raise SystemExit(f"{core.name} has no tracing instance {INSTANCE.decode()}")


def fix_requests(rows: Columns, pages: int, zone_starts: np.ndarray) -> None:
    """gt_rmq: pfns for the struct pages that __free_pages_ok was given (its count is 1), zone numbers for first pfns."""
    request = rows["kind"] == K.GT_RMQ
    pointer = request & (rows["a"] == 3) & (rows["d"] == 1)
    pfn = (rows["c"][pointer] - (pages - (1 << 64))) // 64
    rows["c"][pointer] = rows["pfn"][pointer] = pfn
    rows["d"][pointer] = 0
    rows["b"][pointer] = zone_starts[np.searchsorted(zone_starts, pfn, "right") - 1]
    rows["b"][request] = np.searchsorted(zone_starts, rows["b"][request])


def fix_claims(rows: Columns, pages: int, types: dict[int, int], since: int) -> np.ndarray:
    """gt_evac and gt_blk after *since*, by what came before and after; which rows to keep (bool)."""
    kind, claim = rows["kind"], rows["kind"] == K.GT_EVAC
    rows["pfn"][claim] = (rows["pfn"][claim] - (pages - (1 << 64))) // 64 & ~511
    rows["a"][claim] |= rows["d"][claim] << 8
    rows["d"][claim] = 0
    keep, pending = kind != K.GT_LIST, -1
    wanted = np.isin(kind, [K.GT_EVAC, K.GT_BLK, K.MM_PAGE_ALLOC_EXTFRAG]) & (rows["ts"] > since)
    for i in np.flatnonzero(wanted).tolist():
        if kind[i] == K.GT_EVAC:
            pending = i
        elif kind[i] == K.MM_PAGE_ALLOC_EXTFRAG:
            pending = -1
        else:
            block, now = int(rows["pfn"][i]) & ~511, int(rows["a"][i])
            now = ISOLATE if now == ISOLATE - 1 else now  # a kernel without CMA
            rows["pfn"][i], rows["mt"][i], rows["a"][i] = block, types.get(block, -1), now
            keep[i] = types.get(block, -1) != now
            types[block] = now
            if pending >= 0 and block == rows["pfn"][pending]:
                rows["d"][pending] = 1
    return np.asarray(keep)


def direct_requests(rows: Columns, zone_starts: np.ndarray, since: int) -> tuple[list[int], Columns]:
    """gt_rmq rows for pages that came straight from the buddy, and before which rows they stand."""
    kind = rows["kind"]
    taken = (kind == K.MM_PAGE_ALLOC_ZONE_LOCKED) & (rows["a"] == 0) & (rows["ts"] > since)
    row = np.flatnonzero(taken)
    at = []
    for i in row.tolist():
        first = i
        while first and kind[first - 1] in (K.GT_EVAC, K.GT_BLK, K.MM_PAGE_ALLOC_EXTFRAG):
            first -= 1
        at.append(first)
    made = {name: np.zeros(len(row), column.dtype) for name, column in rows.items()}
    for name in ("ts", "cpu", "pid"):
        made[name] = rows[name][at]
    for name in ("order", "mt"):
        made[name] = rows[name][row]
    made["kind"][:], made["pfn"][:], made["a"][:], made["c"][:], made["d"][:] = (
        K.GT_RMQ,
        -1,
        1,
        PLAIN_FLAGS,
        1,
    )
    made["b"] = np.searchsorted(zone_starts, rows["pfn"][row], "right") - 1
    return at, made


def insert(rows: Columns, at: list[int], more: Columns) -> Columns:
    """The rows with others put in before those at *at*."""
    return {name: np.insert(column, at, more[name].astype(column.dtype)) for name, column in rows.items()}


def dump_marks(rows: Columns, stamps: list[int]) -> Columns:
    """The rows with a gt_dump where each dump was taken."""
    marks = {name: np.zeros(len(stamps), column.dtype) for name, column in rows.items()}
    marks["ts"][:], marks["kind"][:], marks["pfn"][:], marks["a"][:] = stamps, K.GT_DUMP, -1, DUMP_END
    return insert(rows, np.searchsorted(rows["ts"], stamps, "right").tolist(), marks)


def snapshots(share: Path, vmlinux: Path) -> tuple[list[CoreSnapshot], list[int], int]:
    """The states of both dumps, the time of the last event before each, the address of the struct page of pfn 0."""
    cores = [open_core(share / f"vmcore-{n}", vmlinux) for n in (1, 2)]
    found = [read_core(core) for core in cores]
    for snapshot in found:
        if not snapshot.whole:
            raise SystemExit(f"{snapshot.source} is not whole: {snapshot.checks}")
    return found, [last_event(core) for core in cores], cores[0].pages


def main(share: Path, vmlinux: Path, out: Path) -> None:
    found, stamps, pages = snapshots(share, vmlinux)
    formats = load_formats(share / "formats")
    reader = RawReader(share / "trace/cpu0.raw", 0, decoding(formats, ALL_KINDS))
    events = concat_chunks(list(reader.chunks(1 << 17)))
    losses = cpu_losses(reader, (share / "trace/cpu0.stats").read_text())
    rows: Columns = {name: np.array(column) for name, column in events._asdict().items()}
    starts = np.array([zone.start_pfn for zone in found[0].state.zones])
    blocks = found[0].state.blocks
    fix_requests(rows, pages, starts)
    keep = fix_claims(rows, pages, dict(zip(blocks.pfn.tolist(), blocks.mt.tolist(), strict=True)), stamps[0])
    print(f"{int((rows['kind'] == K.GT_LIST).sum()):,} free chunks isolated by compaction are left out")
    rows = {name: column[keep] for name, column in rows.items()}
    rows = insert(rows, *direct_requests(rows, starts, stamps[0]))
    rows = dump_marks(rows, stamps)
    machine = replace(
        found[0].machine,
        hooks=True,
        gfp_bits=gfp_bits(next(f for f in formats.values() if f.name == "mm_page_alloc")),
        events={f"{f.system}/{f.name}": f.text for f in formats.values()},
    )
    with KevWriter(out, machine) as writer:
        writer.add_events(EventChunk(**rows))
        for n, (snapshot, ts) in enumerate(zip(found, stamps, strict=True)):
            writer.add_state(replace(snapshot.state, tag=str(n), ts=ts, ts_begin=ts, ordinal=n))
        writer.set_losses([losses])


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:4]))
