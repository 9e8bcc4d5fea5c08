# SPDX-License-Identifier: GPL-2.0-or-later
"""How fast a large machine runs under pressure, in closed loop: ``python -m benchmarks.pressure [--gib 64] [--rows 4000000]``.

Files of a fifth more than memory are read at random, in folios of 1, 4 and 8 pages: what reclaim has dropped is read again.
One row in four is of other memory, which grows to a sixteenth of all and goes again: kernel memory, and anonymous pages that no
reclaim can take. Prints rows a second of CPU time (the model's alone; median of the repeats), bytes a page, and what was done.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from benchmarks.streams import CPUS, EVENT_NS, GIB_PAGES, empty_rows, machine
from kevacuate.demand.objects import OP_ACCESS, OP_ALLOC, OP_FREE
from kevacuate.measure import moment
from kevacuate.measure.metrics import run_metrics
from kevacuate.mm import constants as k
from kevacuate.mm.fields import Counters
from kevacuate.mm.layout import State, StateOptions, build_state, state_bytes
from kevacuate.mm.load_state import (
    khugepaged_min_free_kbytes,
    memblock_free_all,
    min_free_kbytes,
    setup_per_zone_wmarks,
)
from kevacuate.recording import DemandChunk
from kevacuate.runs.base_page_ids import first_ids, more_base_pages
from kevacuate.runs.loop import STOP_IDS, STOP_LOG, STOP_OBJECT, replay_rows

DISTANCE = 8
CHUNK = 1 << 20
_NO_SAMPLE = 1 << 62
FOLIO_ORDERS = np.array([0, 2, 2, 3], np.uint8)
"""Order of a file's folio by the last two bits of its id."""
OTHER_ORDERS = np.array([0, 1, 0, 3], np.uint8)
OTHER_TYPES = np.array(
    [k.MIGRATE_UNMOVABLE, k.MIGRATE_MOVABLE, k.MIGRATE_RECLAIMABLE, k.MIGRATE_MOVABLE], np.uint8
)
OTHER_GFPS = np.array(
    [k.GFP_KERNEL, k.GFP_HIGHUSER_MOVABLE, k.GFP_KERNEL | k.GFP_RECLAIMABLE, k.GFP_HIGHUSER_MOVABLE],
    np.uint32,
)
"""Of other memory, by the last two bits of the object's id."""
READ = k.GFP_HIGHUSER_MOVABLE
WORKING_SET, OTHER_SHARE, OTHER_ROWS = 1.2, 1 / 16, 1 / 4
"""Files as a share of memory; the most that other memory takes; its share of rows."""


class Stream:
    """Rows of the demand, by chunks; the same for the same size of machine."""

    def __init__(self, pages: int) -> None:
        mean = float((1 << FOLIO_ORDERS.astype(int)).mean())
        self.files = int(WORKING_SET * pages / mean)
        self.others = int(OTHER_SHARE * pages / float((1 << OTHER_ORDERS.astype(int)).mean()))
        self._rng = np.random.default_rng(1)
        self._now = self._turn = 0

    @property
    def objects(self) -> int:
        """Ids of files, then of other memory."""
        return self.files + self.others

    def _rows(self, size: int) -> DemandChunk:
        rows = empty_rows(size)
        times = self._now + np.cumsum(self._rng.integers(1, 2 * EVENT_NS, size))
        self._now = int(times[-1])
        rows.t[:], rows.cpu[:] = times, self._rng.integers(0, CPUS, size // 16 + 1).repeat(16)[:size]
        return rows

    def _read(self, rows: DemandChunk, where: np.ndarray | slice, ids: np.ndarray, op: int) -> None:
        """Rows that allocate or use files' folios."""
        rows.op[where], rows.obj[where], rows.order[where] = op, ids, FOLIO_ORDERS[ids & 3]
        rows.mt[where], rows.gfp[where], rows.attr[where] = k.MIGRATE_MOVABLE, READ, k.ATTR_LRU | k.ATTR_FILE

    def fill(self) -> Iterator[DemandChunk]:
        """Every file is read once."""
        for first in range(0, self.files, CHUNK):
            ids = np.arange(first, min(first + CHUNK, self.files))
            rows = self._rows(len(ids))
            self._read(rows, slice(None), ids, OP_ALLOC)
            yield rows

    def churn(self, size: int) -> DemandChunk:
        """Files are used at random, other memory comes and goes."""
        rows = self._rows(size)
        other = self._rng.random(size) < OTHER_ROWS
        self._read(rows, ~other, self._rng.integers(0, self.files, int((~other).sum())), OP_ACCESS)
        turns = self._turn + np.arange(int(other.sum()))
        self._turn += len(turns)
        kind = turns % self.others & 3
        rows.op[other] = np.where(turns // self.others % 2 == 0, OP_ALLOC, OP_FREE)
        rows.obj[other], rows.order[other] = self.files + turns % self.others, OTHER_ORDERS[kind]
        rows.mt[other], rows.gfp[other] = OTHER_TYPES[kind], OTHER_GFPS[kind]
        rows.attr[other] = np.where(OTHER_TYPES[kind] == k.MIGRATE_MOVABLE, k.ATTR_LRU, 0)
        return rows


def booted(gib: int, objects: int) -> State:
    """The machine just booted, in closed loop, with ids for so many objects and for base pages."""
    config = replace(machine(gib), open_loop=False, compaction=True)
    state = build_state(config, options=StateOptions(objects=objects))
    memblock_free_all(state, config)
    setup_per_zone_wmarks(state, config, khugepaged_min_free_kbytes(state, min_free_kbytes(state)))
    return first_ids(state, objects, 0)


def run(state: State, rows: DemandChunk) -> tuple[State, float]:
    """The state after all rows, and the CPU seconds that they took."""
    at, begin = 0, time.process_time()
    while at < rows.t.size:
        at, why = replay_rows(state, rows, at, rows.t.size, _NO_SAMPLE, DISTANCE)
        if why == STOP_LOG:
            state.view.stat.nr_log = 0
        elif why == STOP_IDS:
            state = more_base_pages(state)
        elif why == STOP_OBJECT:
            raise SystemExit(f"Row {at} of the stream contradicts the rows before it: mend the stream.")
    return state, time.process_time() - begin


def main(arguments: Sequence[str] | None = None) -> None:
    """Fill, churn, print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.pressure", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--gib", type=int, default=64)
    parser.add_argument("--rows", type=int, default=4_000_000, help="rows of each repeat")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args(arguments)
    pages = given.gib * GIB_PAGES
    stream = Stream(pages)
    state = booted(given.gib, stream.objects)
    for rows in stream.fill():
        state, _ = run(state, rows)
    state, _ = run(state, stream.churn(given.rows))  # the first of them finds what filling left
    before = state.stat.copy()
    rates = []
    for _ in range(given.repeats):
        state, seconds = run(state, stream.churn(given.rows))
        rates.append(given.rows / seconds)
    sizes = state_bytes(state)
    did = Counters.table(state.stat - before)
    print(
        f"{given.gib} GiB, {stream.objects / pages:.2f} objects a page: {statistics.median(rates) / 1e6:.1f} M rows/s "
        f"({min(rates) / 1e6:.1f} to {max(rates) / 1e6:.1f}), {(sum(sizes.values()) - sizes['log']) / pages:.2f} bytes a page"
    )
    for name in ("refault_pages", "alloc_failed", "compact_stall", "kswapd_wakes", "slowpath", "oom_kill"):
        print(f"{int(did[name][0]):>12,} {name}")
    for name, value in run_metrics(state, moment(state))["vmstat"].items():
        if name.startswith(("pgscan", "pgsteal", "allocstall")) and value:
            print(f"{int(value):>12,} {name}, filling included")


if __name__ == "__main__":
    main()
