# SPDX-License-Identifier: GPL-2.0-or-later
"""Hand-made events, and the two reconstructions run on them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from demand_reference import Reference

from kevacuate.demand.build import Reconstruction
from kevacuate.demand.pagekinds import PageKindModel
from kevacuate.demand.tables import event_input
from kevacuate.recording.demand import StartObjects
from kevacuate.recording.schema import COLUMN_TYPES, EventChunk
from kevacuate.recording.schema import EventKind as K

ANON = 0x140DCA
"""GFP_HIGHUSER_MOVABLE | __GFP_ZERO | __GFP_COMP."""
TARGET = 0x140CCA
"""gfp of a migration target of order 0."""
VMALLOC = 0x400CC2
"""Not compound."""

PAGES = 4096
ALLOC, FREE, SPLIT, FREE_PFN, ALLOC_BULK = range(5)
ATTEMPT = 8


class Event(NamedTuple):
    kind: int
    pfn: int = -1
    order: int = 0
    pid: int = 1
    cpu: int = 0
    mt: int = 1
    gfp: int = ANON
    a: int = 0
    c: int = 0
    b: int = 0
    d: int = 0
    ts: int = 0  # 0: 10 ns after the one before


def alloc(pfn, order=0, **more):
    return Event(K.MM_PAGE_ALLOC, pfn, order, **more)


def free(pfn, order=0, **more):
    return Event(K.MM_PAGE_FREE, pfn, order, **more)


def isolate(start, end, taken, pid=9):
    return Event(K.COMPACTION_ISOLATE_MIGRATEPAGES, start, pid=pid, a=end, c=taken)


def isolate_free(start, end, taken, pid=9, fast=False):
    kind = K.COMPACTION_FAST_ISOLATE_FREEPAGES if fast else K.COMPACTION_ISOLATE_FREEPAGES
    return Event(kind, start, pid=pid, a=end, c=taken)


def begin(pid=9):
    return Event(K.COMPACTION_BEGIN, pid=pid)


def end(pid=9):
    return Event(K.COMPACTION_END, pid=pid)


def migrated(pid=9):
    return Event(K.MIGRATE_PAGES, pid=pid)


def new_pte(pfn, pid=9):
    return Event(K.REMOVE_MIGRATION_PTE, pfn, pid=pid)


def chunk_of(events):
    """The events as a chunk, one every 10 ns from 10, but for those that say when."""
    columns = {name: np.zeros(len(events), dtype) for name, dtype in COLUMN_TYPES.items()}
    columns["ts"] = np.arange(1, len(events) + 1, dtype=np.int64) * 10
    for i, event in enumerate(events):
        for name, value in event._asdict().items():
            if value or name != "ts":
                columns[name][i] = value
    return EventChunk(**columns)


def compiled(
    events, used=(), start=(), chunk_rows=1 << 20, kinds=None, known=None, files=None, lru_gen=False
):
    """Rows (t, op, cpu, obj, order, mt, gfp, aux), counters that are not 0, and the attr column."""
    in_use = np.zeros(PAGES, np.bool_)
    in_use[list(used)] = True
    objects = StartObjects(
        np.array([p for p, _ in start], np.int64),
        np.array([o for _, o in start], np.uint8),
        np.zeros(len(start), np.uint8),
    )
    work = Reconstruction(in_use, objects, kinds or PageKindModel(), known, 64, files, lru_gen)
    whole = chunk_of(events)
    chunks = []
    for at in range(0, len(events), chunk_rows):
        chunks += work.feed(event_input(whole.take(slice(at, at + chunk_rows)), 0))
    chunks += work.finish()
    columns = [np.concatenate([c[i] for c in chunks]) if chunks else np.empty(0) for i in range(9)]
    t, op, cpu, obj, order, mt, gfp, attr, aux = (column.tolist() for column in columns)
    quality = {k: v for k, v in work.quality.as_dict().items() if v and k != "trusted"}
    return list(zip(t, op, cpu, obj, order, mt, gfp, aux, strict=True)), quality, attr


def reference(events, used=(), start=()):
    """Rows and counters of the plain-Python reconstruction."""
    in_use = set(used)
    other = Reference([p in in_use for p in range(PAGES)], list(start))
    for i, e in enumerate(events):
        other.event((i + 1) * 10, e.cpu, e.pid, e.kind, e.pfn, e.order, e.mt, e.gfp, e.a, e.c)
    return other.finish()


def both(events, used=(), start=()):
    """Short rows (op, obj, order, aux) and counters, after checking that the two reconstructions agree."""
    rows, quality, _ = compiled(events, used, start)
    want = reference(events, used, start)
    assert (rows, quality) == want
    return [(op, obj, order, aux) for _, op, _, obj, order, _, _, aux in rows], quality
