# SPDX-License-Identifier: GPL-2.0-or-later
"""How many regions of 1 GiB stay clean on a large machine: ``python -m benchmarks.regions --policy spb-passes [--gib 242]``.

A made-up demand keeps memory 97.5 % full. Each window frees at random a share of every class of objects and allocates anew, in
one random order. Kernel memory swings between two shares of memory; page cache takes what it leaves. So there is no reclaim, and
the demand is the same for every policy. It goes on for whole swings until the mean of tainted regions over a swing differs by
less than one from the swing before, or for as many swings as are allowed. Prints a line a swing, then the result as JSON.

All of ZONE_NORMAL's regions count: with 242 GiB these are 238.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks.streams import CPUS, EVENT_NS, GIB_PAGES, empty_rows, machine
from kevacuate.demand.objects import OP_ALLOC, OP_FREE
from kevacuate.measure.regions import kept_regions, region_counters
from kevacuate.mm import constants as k
from kevacuate.mm import entry
from kevacuate.mm.fields import Region
from kevacuate.mm.layout import State, StateOptions, build_state, state_bytes
from kevacuate.mm.load_state import (
    khugepaged_min_free_kbytes,
    memblock_free_all,
    min_free_kbytes,
    setup_per_zone_wmarks,
)
from kevacuate.policy import parse_policy
from kevacuate.recording import DemandChunk
from kevacuate.runs.loop import STOP_LOG, STOP_OBJECT, replay_rows

DISTANCE = 8
SWING = 40
"""Windows of a swing of kernel memory."""
FULL = 0.975
_NO_SAMPLE = 1 << 62


class Kind(NamedTuple):
    """A class of objects: its least and most share of memory, what of it goes in a window, its requests."""

    name: str
    least: float
    most: float
    goes: float
    orders: tuple[int, ...]
    weights: tuple[float, ...]
    mt: int
    gfp: int
    attr: int


KINDS = (
    Kind("huge pages", 0.35, 0.35, 0.02, (9,), (1.0,), k.MIGRATE_MOVABLE, k.GFP_TRANSHUGE_LIGHT, k.ATTR_LRU),
    Kind("anonymous", 0.06, 0.06, 0.03, (0,), (1.0,), k.MIGRATE_MOVABLE, k.GFP_HIGHUSER_MOVABLE, k.ATTR_LRU),
    Kind(
        "unmovable",
        0.03,
        0.08,
        0.02,
        (0, 1, 2, 3),
        (0.6, 0.15, 0.15, 0.1),
        k.MIGRATE_UNMOVABLE,
        k.GFP_KERNEL,
        0,
    ),
    Kind(
        "atomic",
        0.002,
        0.004,
        0.10,
        (0, 1),
        (0.8, 0.2),
        k.MIGRATE_UNMOVABLE,
        k.GFP_ATOMIC,
        0,
    ),
    Kind(
        "reclaimable",
        0.02,
        0.05,
        0.02,
        (0, 1, 2),
        (0.3, 0.4, 0.3),
        k.MIGRATE_RECLAIMABLE,
        k.GFP_KERNEL | k.GFP_RECLAIMABLE,
        0,
    ),
    Kind(
        "page cache",
        0.0,
        1.0,
        0.02,
        (0, 2, 4),
        (0.3, 0.4, 0.3),
        k.MIGRATE_MOVABLE,
        k.GFP_HIGHUSER_MOVABLE,
        k.ATTR_LRU | k.ATTR_FILE,
    ),
)
"""The last takes what the others leave."""


class Stream:
    """The demand, window by window: the same for the same size of machine and seed."""

    def __init__(self, pages: int, seed: int) -> None:
        self.pages = pages
        self.rng = np.random.default_rng(seed)
        self.live: list[npt.NDArray[np.int64]] = [np.zeros(0, np.int64) for _ in KINDS]
        self.held = [0] * len(KINDS)
        self.order = np.zeros(0, np.uint8)
        self.spare = np.zeros(0, np.int64)
        self.window = self.now = 0

    def wanted(self) -> list[int]:
        """Pages that each class is to have in this window."""
        high = 0.5 - 0.5 * math.cos(2 * math.pi * self.window / SWING)
        pages = [int((kind.least + (kind.most - kind.least) * high) * self.pages) for kind in KINDS[:-1]]
        return [*pages, int(FULL * self.pages) - sum(pages)]

    def new_ids(self, orders: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
        """Ids for so many objects: those that were freed in earlier windows first."""
        again, self.spare = self.spare[: orders.size], self.spare[orders.size :]
        more = orders.size - again.size
        ids = np.concatenate([again, np.arange(self.order.size, self.order.size + more)])
        self.order = np.concatenate([self.order, np.zeros(more, np.uint8)])
        self.order[ids] = orders
        return ids

    def goes(self, number: int, wanted: int) -> npt.NDArray[np.int64]:
        """The objects of a class that are freed in this window."""
        live = self.live[number]
        over = max(self.held[number] - wanted, 0) / max(self.held[number], 1)
        gone = self.rng.random(live.size) < KINDS[number].goes + over
        self.live[number] = live[~gone]
        self.held[number] -= int((1 << self.order[live[gone]].astype(np.int64)).sum())
        return live[gone]

    def comes(self, number: int, wanted: int) -> npt.NDArray[np.int64]:
        """The objects of a class that are allocated in this window."""
        kind, missing = KINDS[number], wanted - self.held[number]
        if missing <= 0:
            return np.zeros(0, np.int64)
        mean = sum((1 << order) * weight for order, weight in zip(kind.orders, kind.weights, strict=True))
        orders = self.rng.choice(np.array(kind.orders, np.uint8), int(missing / mean), p=kind.weights)
        ids = self.new_ids(orders)
        self.live[number] = np.concatenate([self.live[number], ids])
        self.held[number] += int((1 << orders.astype(np.int64)).sum())
        return ids

    def rows(self) -> DemandChunk:
        """The next window's rows."""
        parts = []
        freed = []
        for number, wanted in enumerate(self.wanted()):
            gone = self.goes(number, wanted)
            freed.append(gone)
            parts += [(OP_FREE, number, gone), (OP_ALLOC, number, self.comes(number, wanted))]
        self.spare = np.concatenate([self.spare, *freed])
        self.window += 1
        op = np.concatenate([np.full(ids.size, op) for op, _, ids in parts])
        number = np.concatenate([np.full(ids.size, number) for _, number, ids in parts])
        return self._shuffled(op, number, np.concatenate([ids for _, _, ids in parts]))

    def _shuffled(
        self, op: npt.NDArray[Any], number: npt.NDArray[Any], ids: npt.NDArray[np.int64]
    ) -> DemandChunk:
        """Rows of these operations in a random order; in the first window kernel memory comes first, as at boot."""
        size = ids.size
        shuffled = self.rng.permutation(size)
        if self.window == 1:
            movable = np.array([kind.mt == k.MIGRATE_MOVABLE for kind in KINDS])[number[shuffled]]
            shuffled = shuffled[np.argsort(movable, kind="stable")]
        rows = empty_rows(size)
        times = self.now + np.cumsum(self.rng.integers(1, 2 * EVENT_NS, size))
        self.now = int(times[-1])
        of = {name: np.array([getattr(kind, name) for kind in KINDS]) for name in ("mt", "gfp", "attr")}
        rows.t[:], rows.cpu[:] = times, self.rng.integers(0, CPUS, size // 16 + 1).repeat(16)[:size]
        rows.op[:], rows.obj[:] = op[shuffled], ids[shuffled]
        rows.order[:] = self.order[rows.obj]
        kind = number[shuffled]
        rows.mt[:], rows.gfp[:], rows.attr[:] = of["mt"][kind], of["gfp"][kind], of["attr"][kind]
        return rows


def booted(gib: int, policy: str, objects: int) -> State:
    """The machine just booted, under a policy, with ids for so many objects."""
    config = machine(gib)
    state = build_state(
        config, parse_policy(policy).evacuation(1, config.nodes), StateOptions(objects=objects)
    )
    memblock_free_all(state, config)
    setup_per_zone_wmarks(state, config, khugepaged_min_free_kbytes(state, min_free_kbytes(state)))
    entry.late_initcall(state, 1)
    return state


def run(state: State, rows: DemandChunk) -> None:
    """All rows."""
    at = 0
    while at < rows.t.size:
        at, why = replay_rows(state, rows, at, rows.t.size, _NO_SAMPLE, DISTANCE)
        if why == STOP_OBJECT:
            raise SystemExit(f"Row {at} of the stream contradicts the rows before it: mend the stream.")
        if why == STOP_LOG:
            state.view.stat.nr_log = 0
    state.view.stat.nr_log = 0


def tainted_in_normal(state: State) -> int:
    """Tainted regions of the last zone, which is ZONE_NORMAL."""
    table = {name: column[: state.view.cfg.nr_regions] for name, column in Region.table(state.region).items()}
    last = int(table["zone"].max())
    return int(((table["zone"] == last) & (table["tainted"] > 0)).sum())


def swings(state: State, stream: Stream, most: int) -> Iterator[dict[str, Any]]:
    """Swing after swing until nothing changes any more, or *most*: what each was like."""
    before = math.inf
    for number in range(most):
        begin, rows, tainted, had = time.process_time(), 0, [], []
        for _ in range(SWING):
            chunk = stream.rows()
            if stream.order.size > state.obj.size:
                raise SystemExit(
                    f"The demand has {stream.order.size:,} objects: give the machine room for them."
                )
            rows += chunk.t.size
            run(state, chunk)
            tainted.append(tainted_in_normal(state))
            had.append(kept_regions(state)["to_be_had"])
        mean = sum(tainted) / SWING
        yield {
            "swing": number + 1,
            "rows": rows,
            "tainted_mean": round(mean, 2),
            "tainted_least": min(tainted),
            "tainted_most": max(tainted),
            "tainted_end": tainted[-1],
            "to_be_had_mean": round(sum(had) / SWING, 2),
            "steady": abs(mean - before) < 1,
            "cpu_seconds": round(time.process_time() - begin, 1),
        }
        if abs(mean - before) < 1:
            return
        before = mean


def result(state: State, policy: str, gib: int, seed: int, told: list[dict[str, Any]]) -> dict[str, Any]:
    """What came of a run."""
    stat = state.view.stat
    sizes = state_bytes(state)
    return {
        "policy": policy,
        "gib": gib,
        "seed": seed,
        "swings": told,
        "end": kept_regions(state),
        **region_counters(state),
        "allocations_failed": stat.alloc_failed,
        "below_watermark": stat.below_watermark,
        "pages_migrated": stat.migrated,
        "evacuations": stat.finished,
        "bytes_per_page": round(sum(n for name, n in sizes.items() if name != "log") / (gib * GIB_PAGES), 2),
        "bytes_per_region": int(sizes["region"] / max(state.view.cfg.nr_regions, 1)),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Fill, swing, print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.regions", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--policy", default="mainline,regions=auto")
    parser.add_argument("--gib", type=int, default=242)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--swings", type=int, default=8, help="the most of them")
    given = parser.parse_args(arguments)
    pages = given.gib * GIB_PAGES
    stream = Stream(pages, given.seed)
    state = booted(given.gib, given.policy, pages // 4)
    told = []
    for one in swings(state, stream, given.swings):
        print(json.dumps(one), flush=True)
        told.append(one)
    print(json.dumps(result(state, given.policy, given.gib, given.seed, told)))


if __name__ == "__main__":
    main()
