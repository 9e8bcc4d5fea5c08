# SPDX-License-Identifier: GPL-2.0-or-later
"""One machine's, or one replay's, tracks in a Perfetto trace: what the records of its log become.

Claims, refused claims and steals are instants on the track of the CPU that made them; an evacuation is a slice, with its batches
in it, on the track of its worker, and an arrow leads there from the claim that queued it; compaction and kswapd are slices on
the tracks of their tasks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from kevacuate.kernel.extfrag import NOT_TOLD
from kevacuate.kernel.migratetypes import name as type_name
from kevacuate.mm import constants as k
from kevacuate.mm.log import unpack_types
from kevacuate.reports.perfetto.tracks import PerfettoWriter
from kevacuate.reports.story.words import Happening

CPU_RANK, WORKER_RANK, TASK_RANK, COUNTER_RANK = 0, 10_000, 20_000, 30_000
"""Where the tracks of a kind begin among their group's."""

COUNTERS = (
    ("claims so far", "events"),
    ("steals so far", "events"),
    ("blocks queued or being evacuated", "blocks"),
    ("pages migrated by evacuation so far", "pages"),
    ("clean cache pages dropped so far", "pages"),
)
"""Counters that follow from the records: name, unit."""
CLAIMS, STEALS, UNDER_WAY, MIGRATED, DROPPED = range(5)


class Group:
    """The tracks of one recorded machine or one replay.

    Parameters
    ----------
    out : PerfettoWriter
        What they are written to.
    name : str
        The group's name.
    pageblock_order : int
        Order of a pageblock.
    flows : int
        Number from which this group's arrows are numbered; no two groups may share any.
    """

    def __init__(self, out: PerfettoWriter, name: str, pageblock_order: int, flows: int) -> None:
        self.out, self.order, self.flows = out, pageblock_order, flows
        self.root = out.process(name)
        self._tracks: dict[tuple[str, int], int] = {}
        self._counters: dict[str, int] = {}
        self._value: Counter[int] = Counter()
        self._queued: dict[int, tuple[int, int]] = {}
        self._open: dict[int, int] = {}
        """Per worker's CPU: slices open on its track, 1 or 2 (the evacuation and its batch)."""
        self._last = 0

    # -- tracks

    def _track(self, kind: str, number: int, name: str, rank: int) -> int:
        key = (kind, number)
        if key not in self._tracks:
            self._tracks[key] = self.out.track(self.root, name, rank + number)
        return self._tracks[key]

    def cpu(self, number: int) -> int:
        """The track of a CPU."""
        return self._track("cpu", number, f"CPU {number}", CPU_RANK)

    def worker(self, cpu: int) -> int:
        """The track of the evacuation worker of a CPU."""
        return self._track("worker", cpu, f"kevacuate worker, CPU {cpu}", WORKER_RANK)

    def task(self, what: str, number: int) -> int:
        """The track of a task that compacts or reclaims."""
        return self._track(what, number, f"{what} {number}", TASK_RANK)

    def counter(self, name: str, unit: str, t: int, value: float) -> None:
        """A value of a counter."""
        if name not in self._counters:
            rank = COUNTER_RANK + len(self._counters)
            self._counters[name] = self.out.counter(self.root, name, unit, rank)
        self.out.count(self._counters[name], t, value)

    def _add(self, which: int, t: int, by: int) -> None:
        self._value[which] += by
        self.counter(*COUNTERS[which], t, self._value[which])

    # -- records

    def feed(self, one: Happening) -> None:
        """Write what a record of the log says."""
        self._last = max(self._last, one.t)
        write = _WRITERS.get(one.kind)
        if write:
            write(self, one)

    def finish(self) -> None:
        """End the slices that are still open."""
        for cpu, depth in self._open.items():
            for _ in range(depth):
                self.out.end(self.worker(cpu), self._last, {"result": "under way at the end"})
        self._open.clear()

    def _block(self, one: Happening) -> dict[str, Any]:
        return {"block": one.pfn >> self.order, "pfn": f"{one.pfn:#x}"}

    def _claim(self, one: Happening) -> None:
        if one.d:
            return
        facts = {**self._block(one), "free": one.b, "movable": one.c}
        self.out.instant(self.cpu(one.cpu), one.t, f"claim refused: {_types(*unpack_types(one.a))}", facts)

    def _extfrag(self, one: Happening) -> None:
        what = "claim or steal" if one.d == NOT_TOLD else "claim" if one.d else "steal"
        facts = {**self._block(one), "order_asked": one.a, "order_taken": one.b}
        self.out.instant(self.cpu(one.cpu), one.t, f"{what}: {_types(*unpack_types(one.c))}", facts)
        if one.d != NOT_TOLD:
            self._add(CLAIMS if one.d else STEALS, one.t, 1)

    def _queue(self, one: Happening) -> None:
        self.flows += 1
        self._queued[one.pfn] = (self.flows, one.t)
        self.out.instant(self.cpu(one.cpu), one.t, "evacuation queued", self._block(one), self.flows)
        self._add(UNDER_WAY, one.t, 1)

    def _drop(self, one: Happening) -> None:
        self.out.instant(self.cpu(one.cpu), one.t, "evacuation not queued: no item left", self._block(one))

    def _start(self, one: Happening) -> None:
        flow, queued = self._queued.pop(one.pfn, (0, one.t))
        block = one.pfn >> self.order
        facts = {
            **self._block(one), "type": type_name(one.a >> 8), "skip_bit": one.a & 1, "free": one.b, "on_lru": one.c,
            "waited_ns": one.t - queued,
        }  # fmt: skip
        self.out.begin(self.worker(one.cpu), one.t, f"evacuate block {block}", facts, flow)
        self._open[one.cpu] = 1

    def _skip(self, one: Happening) -> None:
        flow, _ = self._queued.pop(one.pfn, (0, one.t))
        self.out.instant(self.worker(one.cpu), one.t, "block is movable again", self._block(one), flow)
        self._add(UNDER_WAY, one.t, -1)

    def _end_batch(self, one: Happening) -> None:
        if self._open.get(one.cpu) == 2:
            self.out.end(self.worker(one.cpu), one.t)
            self._open[one.cpu] = 1

    def _isolate(self, one: Happening) -> None:
        if one.cpu not in self._open:
            return
        self._end_batch(one)
        facts = {"isolated": one.b, "ret": one.a}
        self.out.begin(self.worker(one.cpu), one.t, f"batch: pages {one.c} to {one.d}", facts)
        self._open[one.cpu] = 2

    def _reclaim(self, one: Happening) -> None:
        facts = {"dropped": one.a, "left": one.b}
        self.out.instant(self.worker(one.cpu), one.t, "reclaim_clean_pages_from_list", facts)
        self._add(DROPPED, one.t, one.a)

    def _migrate(self, one: Happening) -> None:
        facts = {"given": one.b, "migrated": one.c, "failed": one.d, "ret": one.a}
        self.out.instant(self.worker(one.cpu), one.t, "migrate_pages", facts)
        self._add(MIGRATED, one.t, one.c)

    def _finished(self, one: Happening) -> None:
        if one.cpu not in self._open:
            return
        self._end_batch(one)
        why = k.WHY_NAMES[min(one.d & 255, len(k.WHY_NAMES) - 1)]
        facts = {"isolated": one.a, "dropped": one.b, "migrated": one.c, "failed": one.d >> 8, "result": why}
        self.out.end(self.worker(one.cpu), one.t, facts)
        del self._open[one.cpu]
        self._add(UNDER_WAY, one.t, -1)

    def _type(self, one: Happening) -> None:
        self.out.instant(self.cpu(one.cpu), one.t, f"block type: {_types(one.b, one.a)}", self._block(one))

    def _kswapd(self, one: Happening) -> None:
        track = self.task("kswapd", one.a)
        if one.b == 2:
            self.out.begin(track, one.t, "balance_pgdat")
        elif one.b == 3:
            self.out.end(track, one.t)
        else:
            self.out.instant(track, one.t, "woken")


def _types(wanted: int, own: int) -> str:
    """From one type to another."""
    return f"{type_name(own)} for {type_name(wanted)}"


_WRITERS: dict[int, Callable[[Group, Happening], None]] = {
    k.L_EVAC_CLAIM: Group._claim,
    k.L_EXTFRAG: Group._extfrag,
    k.L_EVAC_QUEUED: Group._queue,
    k.L_EVAC_DROPPED: Group._drop,
    k.L_EVAC_STARTED: Group._start,
    k.L_EVAC_SKIPPED: Group._skip,
    k.L_EVAC_ISOLATE: Group._isolate,
    k.L_EVAC_RECLAIM: Group._reclaim,
    k.L_EVAC_MIGRATE: Group._migrate,
    k.L_EVAC_FINISHED: Group._finished,
    k.L_BLOCK_TYPE: Group._type,
    k.L_KSWAPD: Group._kswapd,
}
