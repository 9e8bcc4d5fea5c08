# SPDX-License-Identifier: GPL-2.0-or-later
"""How many regions of 1 GiB stay clean on a large machine: ``python -m benchmarks.regions --policy spb-passes [--gib 242]``.

A made-up demand keeps memory 97.5 % full. Each window frees at random a share of every class of objects and allocates anew, in
one random order. Kernel memory swings between two shares of memory; page cache takes what it leaves. So there is no reclaim, and
the demand is the same for every policy. It goes on for whole swings until the mean of tainted regions over a swing differs by
less than one from the swing before, or for as many swings as are allowed. Prints a line a swing, then the result as JSON.

What the demand assumes can be changed, one assumption at a time: how full memory is, how long a swing of kernel memory takes and
how far it goes, how much time passes, which requests come first, whether there are huge pages.

With ``--gigantic N`` page cache makes room for N GiB at the end, then N pages of 1 GiB are asked for, until one fails.

All of ZONE_NORMAL's regions count: with 242 GiB these are 238.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks.streams import CPUS, EVENT_NS, GIB_PAGES, empty_rows, machine
from kevacuate.demand.objects import OP_ALLOC, OP_FREE
from kevacuate.measure.metrics import contig_metrics
from kevacuate.measure.regions import kept_regions, region_counters
from kevacuate.mm import constants as k
from kevacuate.mm import entry
from kevacuate.mm.fields import PageblockContent, Region, Zone
from kevacuate.mm.layout import State, StateOptions, build_state, log_table, state_bytes
from kevacuate.mm.load_state import (
    khugepaged_min_free_kbytes,
    memblock_free_all,
    min_free_kbytes,
    setup_per_zone_wmarks,
)
from kevacuate.mm.log import unpack_types
from kevacuate.policy import parse_policy
from kevacuate.policy.install import counted, refuse_wrong_hook, with_hooks
from kevacuate.policy.load import HooksFile
from kevacuate.recording import DemandChunk
from kevacuate.runs.loop import STOP_OBJECT, replay_rows

DISTANCE = 8
GIB_ORDER = 18
GIGANTIC_GFP = k.GFP_KERNEL | k.GFP_HIGHMEM | k.GFP_HARDWALL | k.GFP_COMP | k.GFP_NOWARN
"""hugetlb for a page of 1 GiB (htlb_alloc_mask, include/linux/hugetlb.h)."""
_NO_SAMPLE = 1 << 62


class Demand(NamedTuple):
    """What the demand assumes, besides its classes of objects."""

    full: float = 0.975  #: share of memory that is wanted
    swing: int = 40  #: windows of a swing of kernel memory
    depth: float = 1.0  #: how far kernel memory falls from its most: 1 down to its least, 0 not at all
    kernel: float = 1.0  #: kernel memory as a share of what its classes say
    event_ns: int = EVENT_NS  #: mean time between two rows
    first: str = "kernel"  #: whose requests come first in the first window: "kernel" or "any"
    huge: bool = True  #: whether there are huge pages; without them page cache takes their share


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


_USUAL = Demand()

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

    def __init__(self, pages: int, seed: int, demand: Demand = _USUAL) -> None:
        self.pages, self.demand = pages, demand
        self.rng = np.random.default_rng(seed)
        self.live: list[npt.NDArray[np.int64]] = [np.zeros(0, np.int64) for _ in KINDS]
        self.held = [0] * len(KINDS)
        self.order = np.zeros(0, np.uint8)
        self.spare = np.zeros(0, np.int64)
        self.window = self.now = 0

    def wanted(self) -> list[int]:
        """Pages that each class is to have in this window."""
        low = 0.5 + 0.5 * math.cos(2 * math.pi * self.window / self.demand.swing)
        high = 1 - self.demand.depth * low
        scale = [self.demand.kernel if kind.mt != k.MIGRATE_MOVABLE else 1.0 for kind in KINDS[:-1]]
        pages = [
            int((kind.least + (kind.most - kind.least) * high) * by * self.pages)
            for kind, by in zip(KINDS, scale, strict=False)
        ]
        if not self.demand.huge:
            pages[0] = 0
        return [*pages, int(self.demand.full * self.pages) - sum(pages)]

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

    def gives_up(self, pages: int) -> DemandChunk:
        """So many pages of page cache are freed, at random, as reclaim would have it: the rows."""
        number, live = len(KINDS) - 1, self.live[-1]
        gone = self.rng.random(live.size) < pages / max(self.held[number], 1)
        ids, self.live[number] = live[gone], live[~gone]
        self.held[number] -= int((1 << self.order[ids].astype(np.int64)).sum())
        self.spare = np.concatenate([self.spare, ids])
        return self._shuffled(np.full(ids.size, OP_FREE), np.full(ids.size, number), ids)

    def _shuffled(
        self, op: npt.NDArray[Any], number: npt.NDArray[Any], ids: npt.NDArray[np.int64]
    ) -> DemandChunk:
        """Rows of these operations in a random order; in the first window kernel memory may come first, as at boot."""
        size = ids.size
        shuffled = self.rng.permutation(size)
        if self.window == 1 and self.demand.first == "kernel":
            movable = np.array([kind.mt == k.MIGRATE_MOVABLE for kind in KINDS])[number[shuffled]]
            shuffled = shuffled[np.argsort(movable, kind="stable")]
        rows = empty_rows(size)
        times = self.now + np.cumsum(self.rng.integers(1, 2 * self.demand.event_ns, size))
        self.now = int(times[-1])
        of = {name: np.array([getattr(kind, name) for kind in KINDS]) for name in ("mt", "gfp", "attr")}
        rows.t[:], rows.cpu[:] = times, self.rng.integers(0, CPUS, size // 16 + 1).repeat(16)[:size]
        rows.op[:], rows.obj[:] = op[shuffled], ids[shuffled]
        rows.order[:] = self.order[rows.obj]
        kind = number[shuffled]
        rows.mt[:], rows.gfp[:], rows.attr[:] = of["mt"][kind], of["gfp"][kind], of["attr"][kind]
        return rows


def booted(gib: int, policy: str, objects: int) -> State:
    """The machine just booted, under a policy, with ids for so many objects. Of the kernel's settings it heeds defrag_mode."""
    chosen = parse_policy(policy)
    if unheeded := set(chosen.settings) - {"defrag_mode"}:
        raise SystemExit(f"This machine heeds no {', '.join(sorted(unheeded))}: leave it out.")
    config = replace(machine(gib), defrag_mode=bool(chosen.settings.get("defrag_mode")))
    state = build_state(config, chosen.evacuation(1, config.nodes), StateOptions(objects=objects))
    memblock_free_all(state, config)
    setup_per_zone_wmarks(state, config, khugepaged_min_free_kbytes(state, min_free_kbytes(state)))
    entry.late_initcall(state, 1)
    return with_hooks(state, chosen.hooks, chosen.hook_knobs)


class Told(NamedTuple):
    """What is told of a run while it goes on: its swings, who failed, and who came first to each region with kernel memory.

    *hooks* is the policy's file where it is one of hooks.
    """

    swings: list[dict[str, Any]]
    failed: Counter[str]
    first: dict[int, str]
    hooks: HooksFile | None


def note(state: State, told: Told) -> None:
    """Take in the log: requests that failed, and fallbacks of kernel memory into regions of ZONE_NORMAL that had none before."""
    table = log_table(state)
    failed = table[table[:, 1] == k.L_ALLOC_FAILED]
    told.failed.update(f"{order} {k.MIGRATE_NAMES[mt]}" for order, mt in failed[:, 4:6].tolist())
    taken = table[table[:, 1] == k.L_EXTFRAG]
    taken = taken[unpack_types(taken[:, 6])[0] != k.MIGRATE_MOVABLE]
    for _, _, _, pfn, order, whole, types, owned in taken.tolist():
        region = pfn >> state.view.cfg.region_order
        if region not in told.first and pfn >= int(Zone.table(state.zone)["zone_start_pfn"][-1]):
            how = (
                "stole"
                if not owned
                else "claimed a block"
                if whole < state.view.cfg.pageblock_order
                else "took a block"
            )
            told.first[region] = f"{order} {k.MIGRATE_NAMES[unpack_types(types)[0]]} {how}"
    state.view.stat.nr_log = 0


def run(state: State, rows: DemandChunk, told: Told) -> None:
    """All rows."""
    at = 0
    while at < rows.t.size:
        at, why = replay_rows(state, rows, at, rows.t.size, _NO_SAMPLE, DISTANCE)
        refuse_wrong_hook(state, told.hooks)
        if why == STOP_OBJECT:
            raise SystemExit(f"Row {at} of the stream contradicts the rows before it: mend the stream.")
        note(state, told)


def in_normal(state: State) -> dict[str, int]:
    """Of the last zone, which is ZONE_NORMAL: its tainted regions, and what they hold; pages that kernel memory has in all."""
    cfg = state.view.cfg
    table = {name: column[: cfg.nr_regions] for name, column in Region.table(state.region).items()}
    regions = np.flatnonzero((table["zone"] == table["zone"].max()) & (table["tainted"] > 0))
    content = PageblockContent.table(state.pageblock)
    blocks = 1 << (cfg.region_order - cfg.pageblock_order)
    number = np.arange(content["nr_free"].size) * (1 << cfg.pageblock_order)
    held = np.isin(number >> cfg.region_order, table["start_pfn"][regions] >> cfg.region_order)
    used = content["nr_used"]
    return {
        "tainted": regions.size,
        "pages": regions.size * blocks << cfg.pageblock_order,
        "free": int(content["nr_free"][held].sum()),
        "movable": int(used[held, k.MIGRATE_MOVABLE].sum()),
        "kernel": int(used.sum() - used[:, k.MIGRATE_MOVABLE].sum()),
    }


def play_swing(state: State, stream: Stream, told: Told, tell_windows: bool) -> dict[str, Any]:
    """One swing: what it was like."""
    begin, rows, held, had = time.process_time(), 0, [], []
    for _ in range(stream.demand.swing):
        chunk = stream.rows()
        if stream.order.size > state.obj.size:
            raise SystemExit(f"The demand has {stream.order.size:,} objects: give the machine room for them.")
        rows += chunk.t.size
        run(state, chunk, told)
        held.append(in_normal(state))
        had.append(kept_regions(state)["to_be_had"])
        if tell_windows:
            window = {"window": stream.window, **held[-1], "to_be_had": had[-1], **counted(state, told.hooks)}
            print(json.dumps(window), flush=True)
    tainted = [window["tainted"] for window in held]
    return {
        "rows": rows,
        "tainted_mean": round(sum(tainted) / len(tainted), 2),
        "tainted_least": min(tainted),
        "tainted_most": max(tainted),
        "tainted_end": tainted[-1],
        "to_be_had_mean": round(sum(had) / len(had), 2),
        "kernel_most": max(window["kernel"] for window in held),
        "failed": sum(told.failed.values()),
        "cpu_seconds": round(time.process_time() - begin, 1),
    }


def play(state: State, stream: Stream, hooks: HooksFile | None, most: int, tell_windows: bool) -> Told:
    """Swing after swing until nothing changes any more, or *most*."""
    told = Told([], Counter(), {}, hooks)
    before = math.inf
    for number in range(most):
        swing = {"swing": number + 1, **play_swing(state, stream, told, tell_windows)}
        steady = abs(swing["tainted_mean"] - before) < 1
        told.swings.append(swing | {"steady": steady})
        print(json.dumps(told.swings[-1]), flush=True)
        if steady:
            break
        before = swing["tainted_mean"]
    return told


def ask_for_gigantic(state: State, stream: Stream, told: Told, count: int) -> dict[str, Any]:
    """Somebody asks for so many pages of 1 GiB, until one fails; page cache has made room before."""
    if not count:
        return {}
    run(state, stream.gives_up(count * GIB_PAGES), told)
    before, begin = kept_regions(state), time.process_time()
    had = 0
    while had < count and entry.alloc(state, 0, -1, GIB_ORDER, k.MIGRATE_UNMOVABLE, GIGANTIC_GFP, 0, -1) >= 0:
        had += 1
    seconds = round(time.process_time() - begin, 1)
    return {"asked": count, "had": had, "cpu_seconds": seconds, "before": before, **contig_metrics(state)}


def result(
    state: State, given: argparse.Namespace, demand: Demand, told: Told, gigantic: dict[str, Any]
) -> dict[str, Any]:
    """What came of a run."""
    stat = state.view.stat
    sizes = state_bytes(state)
    return {
        "policy": given.policy,
        "gib": given.gib,
        "seed": given.seed,
        "demand": demand._asdict(),
        "swings": told.swings,
        "end": kept_regions(state),
        "gigantic": gigantic,
        **region_counters(state),
        "allocations_failed": stat.alloc_failed,
        "failed": dict(told.failed.most_common()),
        "first_in_region": dict(Counter(told.first.values()).most_common()),
        "below_watermark": stat.below_watermark,
        "pages_migrated": stat.migrated,
        "own": counted(state, told.hooks),
        "evacuations": stat.finished,
        "virtual_seconds": round(stat.now / 1e9, 1),
        "bytes_per_page": round(
            sum(n for name, n in sizes.items() if name != "log") / (given.gib * GIB_PAGES), 2
        ),
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
    parser.add_argument("--windows", action="store_true", help="tell what each window was like")
    usual = _USUAL
    parser.add_argument("--full", type=float, default=usual.full, help="share of memory that is wanted")
    parser.add_argument("--swing", type=int, default=usual.swing, help="windows of a swing of kernel memory")
    parser.add_argument(
        "--depth", type=float, default=usual.depth, help="how far kernel memory falls, 0 to 1"
    )
    parser.add_argument("--kernel", type=float, default=usual.kernel, help="kernel memory, of what is usual")
    parser.add_argument("--event-ns", type=int, default=usual.event_ns, help="mean time between two rows")
    parser.add_argument("--first", choices=("kernel", "any"), default=usual.first, help="who asks first")
    parser.add_argument("--no-huge", dest="huge", action="store_false", help="no huge pages")
    parser.add_argument(
        "--gigantic", type=int, default=0, help="pages of 1 GiB that are asked for at the end"
    )
    given = parser.parse_args(arguments)
    demand = Demand(*(getattr(given, name) for name in Demand._fields))
    pages = given.gib * GIB_PAGES
    stream = Stream(pages, given.seed, demand)
    state = booted(given.gib, given.policy, pages // 4 if given.huge else pages // 2)
    told = play(state, stream, parse_policy(given.policy).hooks, given.swings, given.windows)
    gigantic = ask_for_gigantic(state, stream, told, given.gigantic)
    print(json.dumps(result(state, given, demand, told, gigantic)))


if __name__ == "__main__":
    main()
