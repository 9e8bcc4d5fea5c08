# SPDX-License-Identifier: GPL-2.0-or-later
"""Cut ``one-cpu.kev`` and ``two-cpus.kev`` out of recordings of patched kernels with the recording hooks.

    python tests/data/make_verify_excerpts.py RECORDING_1CPU FROM TO RECORDING_2CPUS UNTIL

``two-cpus.kev`` begins with the dump at boot and ends with event UNTIL. ``one-cpu.kev`` holds the events FROM to TO of a
recording that shows list operations and insertions into per-CPU lists. Its first state is not a dump: the free lists are the
model's own after all events before FROM (every one of its decisions there was the kernel's, which is checked here), the
per-CPU lists follow from the events, by a few lines of bookkeeping below that know nothing of the model, and their fields
(high and so on) are the tuning level's. Its page flags, LRU and compound bits only, say which pages the events before FROM
left in use by movable folios. The dump inside has the kernel's lists.
"""

from __future__ import annotations

import shutil
import sys
from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from kevacuate.fidelity.buddy.level import BuddyLevel
from kevacuate.fidelity.evacuation.pages import MovablePages
from kevacuate.fidelity.event_rows import wide
from kevacuate.fidelity.level import Given
from kevacuate.fidelity.model_from_dump import free_lists
from kevacuate.fidelity.tuning.level import TuningLevel
from kevacuate.mm import constants as k
from kevacuate.recording import AllocatorState, EventChunk, EventKind, KevWriter, Recording
from kevacuate.recording.state import Blocks, FreePages, PcpPages

HERE = Path(__file__).parent


class PcpBooks:
    """The per-CPU lists of a one-CPU machine, kept from events alone."""

    def __init__(self) -> None:
        self.lists: dict[int, OrderedDict[int, None]] = defaultdict(OrderedDict)
        self.where: dict[int, int] = {}
        self.refilling = -1
        self.locked = -1

    def add(self, chunk: EventChunk) -> None:
        """Follow the events."""
        columns = (chunk.kind, chunk.pfn, chunk.order, chunk.mt, chunk.a)
        for kind, pfn, order, mt, a in zip(*(column.tolist() for column in columns), strict=True):
            if kind == EventKind.GT_RMQ:
                if a == 5:
                    self._insert(pfn, mt)
                else:
                    self.refilling = _pindex(order, mt) if a == 0 else -1
                self.locked = -1
            elif kind in (EventKind.MM_PAGE_ALLOC, EventKind.MM_PAGE_PCPU_DRAIN):
                self._remove(pfn)
            elif kind == EventKind.MM_PAGE_ALLOC_ZONE_LOCKED:
                self._append(pfn)
                self.locked = pfn
            elif kind == EventKind.MM_PAGE_ALLOC_EXTFRAG:
                if pfn != self.locked:
                    self._append(pfn)
                self.locked = -1

    def _insert(self, pfn: int, pindex: int) -> None:
        self.lists[pindex][pfn] = None
        self.lists[pindex].move_to_end(pfn, last=False)
        self.where[pfn] = pindex

    def _append(self, pfn: int) -> None:
        if self.refilling >= 0:
            self.lists[self.refilling][pfn] = None
            self.where[pfn] = self.refilling

    def _remove(self, pfn: int) -> None:
        pindex = self.where.pop(pfn, -1)
        if pindex >= 0:
            del self.lists[pindex][pfn]

    def pages(self, zone: int) -> PcpPages:
        """The lists as a state holds them."""
        rows = [(pindex, pfn) for pindex in sorted(self.lists) for pfn in self.lists[pindex]]
        pindex, pfn = np.array(rows, np.int64).reshape(-1, 2).T
        nothing = np.zeros(len(rows), np.int16)
        return PcpPages(nothing + np.int16(zone), nothing, pindex.astype(np.int8), np.ascontiguousarray(pfn))


def _pindex(order: int, mt: int) -> int:
    return 3 * order + mt if order <= 3 else 12 + (mt == k.MIGRATE_MOVABLE)


def pieces(recording: Recording, first: int, last: int) -> Iterator[tuple[EventChunk, EventChunk]]:
    """Events after the boot state, dumps not counted: (those before *first*, those from there up to *last*)."""
    number = 0
    start = recording.boot
    assert start is not None
    for chunk in recording.events(after=start):
        counted = np.cumsum(chunk.kind != EventKind.GT_DUMP) + number
        number = int(counted[-1])
        early = counted <= first
        yield chunk.take(early), chunk.take(~early & (counted <= last))
        if number > last:
            break


def reached(
    level: BuddyLevel,
    pcp: PcpBooks,
    tuning: TuningLevel,
    movable: MovablePages,
    like: AllocatorState,
    ts: int,
) -> AllocatorState:
    """The state before the first event kept, in the form of a recorded one; what no event shows is *like*'s."""
    zone = like.zones[0].index
    lists = free_lists(level.state)
    pfn = np.concatenate([x.pfns for x in lists])
    sizes = [x.pfns.size for x in lists]
    order, mt = (
        np.repeat([getattr(x, name) for x in lists], sizes).astype(np.int8) for name in ("order", "mt")
    )
    blocks = like.blocks
    types = level.state.block[2 * (blocks.pfn >> level.state.view.cfg.pageblock_order)] & k.PB_TYPE_MASK
    pages = pcp.pages(zone)
    held = np.left_shift(1, np.where(pages.pindex >= 12, 9, pages.pindex // 3)).sum()
    return replace(
        like,
        tag="m",
        label="",
        ts=ts,
        ts_begin=ts,
        ordinal=-1,
        zones=(replace(like.zones[0], nr_free=int(np.left_shift(1, order.astype(np.int64)).sum())),),
        free=FreePages(np.full(pfn.size, zone, np.int16), order, mt, pfn),
        blocks=Blocks(blocks.zone, blocks.pfn, types.astype(np.int8), np.zeros(types.size, np.bool_)),
        pcp=like.pcp._replace(
            **{name: values.astype(np.int32) for name, values in tuning.fields().items()},
            count=np.array([held], np.int32),
        ),
        pcp_pages=pages,
        page_flags=movable.flags(),
        page_count=None,
    )


def next_request(recording: Recording, first: int) -> int:
    """Number of the first request for the zone lock from *first* on that is later than the event before it."""
    number, before = first, 0
    for early, rest in pieces(recording, first, first + 100_000):
        before = int(early.ts[-1]) if early.rows else before
        late = rest.take(rest.kind != EventKind.GT_DUMP)
        apart = np.diff(late.ts, prepend=before) > 0
        found = np.flatnonzero((late.kind == EventKind.GT_RMQ) & (late.a <= 3) & apart)
        if found.size:
            return number + int(found[0])
        number += late.rows
        before = int(late.ts[-1]) if late.rows else before
    raise SystemExit(f"No request follows event {first}.")


def cut_one_cpu(recording: Recording, first: int, last: int) -> None:
    """Write ``one-cpu.kev``."""
    assert recording.boot is not None
    assert recording.start is not None
    first = next_request(recording, first)
    level = BuddyLevel(Given.of(recording, recording.boot))
    pcp = PcpBooks()
    tuning = TuningLevel(Given.of(recording, recording.start))
    machine = recording.machine
    npages = level.state.view.cfg.npages
    movable = MovablePages(npages, machine.cpus, recording.boot, machine.hugepage_order)
    kept = []
    number = ts = 0
    for early, late in pieces(recording, first, last):
        events = early.take(early.kind != EventKind.GT_DUMP)
        if events.rows:
            level.feed(wide(events), number)
            movable.feed(wide(events), number, 0, events.rows)
            pcp.add(events)
            tuning.feed(wide(events.take(events.ts > recording.start.ts)), number)
            number += events.rows
            ts = int(events.ts[-1])
        if late.rows:
            kept.append(late)
    result = level.finish()
    assert result.mismatches == 0, result.first
    begin = reached(level, pcp, tuning, movable, recording.start, ts)
    inside = [s for s in recording.states if ts < s.ts <= int(kept[-1].ts[-1])]
    write(
        "one-cpu.kev",
        recording,
        [begin, *(replace(s, page_flags=None, page_count=None) for s in inside)],
        kept,
    )


def cut_two_cpus(recording: Recording, last: int) -> None:
    """Write ``two-cpus.kev``."""
    kept: list[EventChunk] = []
    for chunk in recording.events():
        kept.append(chunk.take(slice(0, last - sum(c.rows for c in kept))))
        if kept[-1].rows < chunk.rows:
            break
    inside = [s for s in recording.states if s.ts <= int(kept[-1].ts[-1])]
    write("two-cpus.kev", recording, [replace(s, page_flags=None, page_count=None) for s in inside], kept)


def write(name: str, recording: Recording, states: list[AllocatorState], chunks: list[EventChunk]) -> None:
    """Write one excerpt over the one that is there."""
    target = HERE / name
    shutil.rmtree(target, ignore_errors=True)
    with KevWriter(target, recording.machine) as writer:
        for state in states:
            writer.add_state(state)
        for chunk in chunks:
            writer.add_events(chunk)
        writer.set_losses(recording.losses)
        writer.set_quality({"excerpt_of": recording.path.name, "source_digest": recording.digest})


def main() -> None:
    """Cut both."""
    one, first, last, two, until = sys.argv[1:]
    cut_one_cpu(Recording.open(one), int(first), int(last))
    cut_two_cpus(Recording.open(two), int(until))


if __name__ == "__main__":
    main()
