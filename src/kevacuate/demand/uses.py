# SPDX-License-Identifier: GPL-2.0-or-later
"""Uses of the page cache that no event shows, told by the order in which the recorded kernel reclaimed it.

The inactive list of files is a queue: kswapd takes folios in the order in which they came (mm/vmscan.c). A folio that is still
there when one that came later is taken was activated: it was marked accessed twice (folio_mark_accessed), or it was active from
the start, as a page that is read again may be (workingset_refault). Both keep it, so both become two marks.

Where a recording has filemap events, they tell the uses, and nothing is inferred. Such a recording shows what the inference is
worth (churn, seed 5, Linux 7.2.13, 198,330 folios that were reclaimed): all 35,917 that were used twice are found. Of the 45,026
that are found 80 % were used twice, and 17 % were read again. The second use lies anywhere between the folio's allocation and
the time when reclaim has passed it: its quartiles are 25, 50 and 73 % of that time. So the time is drawn evenly, one for each
run of neighbours; 89 % of the neighbours of a used folio are used, too.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.demand import objects as ob
from kevacuate.demand.pagekinds import A_FILE, A_LRU, CLASS_BUFFER, CLASS_READ, mix, page_class
from kevacuate.demand.quality import MARKS
from kevacuate.recording.demand import DEMAND_TYPES, DemandChunk

PASSED = 32
"""Folios that came later and have been reclaimed before one counts as passed: a batch of reclaim (SWAP_CLUSTER_MAX)."""

_page_class, _mix = (getattr(part, "py_func", part) for part in (page_class, mix))
_SALT = 11
_ENTRIES = (*ob.REQUESTS, ob.OP_FREE, ob.OP_RECLAIM, ob.OP_SPLIT)


class Uses(NamedTuple):
    """Folios that were used, by ascending number."""

    number: npt.NDArray[np.int64]
    """Which of the demand's ALLOC and ALLOC_BULK rows made the folio, from 0."""
    t: npt.NDArray[np.int64]
    """When it was used, ns since the start."""


NO_USES = Uses(np.empty(0, np.int64), np.empty(0, np.int64))


class Lives(NamedTuple):
    """Rows by which objects begin and end, in order of time: a folio's ALLOC, and any FREE, RECLAIM or SPLIT."""

    t: npt.NDArray[np.int64]
    obj: npt.NDArray[np.int32]
    op: npt.NDArray[np.uint8]
    task: npt.NDArray[np.int32]
    page: npt.NDArray[np.uint8]
    """CLASS_* of an ALLOC row's request, 0 in other rows."""


def lives_of(rows: DemandChunk) -> Lives:
    """The rows of a chunk by which objects begin and end."""
    rows = DemandChunk._make(column[np.isin(rows.op, _ENTRIES)] for column in rows)
    asked, kind = np.unique(rows.gfp.astype(np.int64) << 3 | rows.mt, return_inverse=True)
    pages = np.array([_page_class(int(word) >> 3, int(word) & 7) for word in asked], np.uint8)
    begins = np.isin(rows.op, ob.REQUESTS)
    page = pages[kind] * begins if asked.size else np.empty(0, np.uint8)
    return Lives(rows.t, rows.obj, rows.op, rows.task, page.astype(np.uint8))


def _ends(lives: Lives) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows of the file folios that were made, and the rows with which they ended; the number of rows where they did not.

    One that was split is left out: what becomes of its parts is not followed.
    """
    order = np.argsort(lives.obj, kind="stable")
    same = np.append(lives.obj[order[1:]] == lives.obj[order[:-1]], False)
    following = np.where(same, np.append(order[1:], 0), lives.op.size)
    begins = np.isin(lives.page[order], (CLASS_READ, CLASS_BUFFER))
    begin, end = order[begins], following[begins]
    whole = (end == lives.op.size) | (lives.op[np.minimum(end, lives.op.size - 1)] != ob.OP_SPLIT)
    by_time = np.argsort(begin[whole])
    return begin[whole][by_time], end[whole][by_time]


def _passing(reclaimed: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Of each reclaim the latest birth that has been passed by then: PASSED births reclaimed so far are later or it."""
    latest = [-1] * PASSED
    passed = np.empty(reclaimed.size, np.int64)
    for i, birth in enumerate(reclaimed.tolist()):
        heapq.heappushpop(latest, birth)
        passed[i] = latest[0]
    return passed


def inferred_uses(lives: Lives) -> Uses:
    """The folios of files that reclaim passed, and when they were used."""
    if not lives.op.size:
        return NO_USES
    begin, end = _ends(lives)
    gone = np.append(lives.op, 0)[end] == ob.OP_RECLAIM
    read = lives.page[begin] == CLASS_READ
    by_end = np.argsort(end[gone & read])
    reclaims, births = end[gone & read][by_end], begin[gone & read][by_end]
    if not births.size:
        return NO_USES
    place = np.searchsorted(_passing(births), begin, "right")
    when = np.append(reclaims, lives.op.size)[place]
    since, until = lives.t[begin], np.append(lives.t, 0)[when]
    used = (when < end) & (until > since)
    run = np.flatnonzero(np.diff(used, prepend=False) | np.diff(lives.task[begin], prepend=-1).astype(bool))
    share = np.array([_mix(int(first), _SALT) for first in run], np.int64)
    share = np.repeat(share, np.diff(np.append(run, begin.size))) if run.size else np.empty(0, np.int64)
    share = np.append(np.zeros(begin.size - share.size, np.int64), share)
    t = since + ((until - since).astype(np.float64) * share / 2**32).astype(np.int64)
    number = np.cumsum(np.isin(lives.op, ob.REQUESTS)) - 1
    return Uses(number[begin][used], t[used])


class _Waiting:
    """Uses that are still to come, and the rows that they become, with the object ids that the demand's ALLOC rows give."""

    def __init__(self, uses: Uses) -> None:
        self._number, self._t = uses
        self._rows = DemandChunk._make(
            np.zeros(uses.number.size, kind) for kind in DEMAND_TYPES.values()
        )._replace(t=uses.t)
        self._by_time = np.argsort(uses.t, kind="stable")
        self._done = self._seen = 0

    def made(self, chunk: DemandChunk) -> None:
        """Note the folios that the chunk's rows make."""
        rows = np.flatnonzero(np.isin(chunk.op, ob.REQUESTS))
        low, high = np.searchsorted(self._number, (self._seen, self._seen + rows.size))
        at = rows[self._number[low:high] - self._seen]
        for name in ("cpu", "obj", "order", "mt", "gfp", "task"):
            getattr(self._rows, name)[low:high] = getattr(chunk, name)[at]
        self._seen += rows.size

    def due(self, t: int) -> DemandChunk:
        """Rows of the uses up to *t* that were not asked for before, in order of time."""
        until = int(np.searchsorted(self._t[self._by_time], t, "right"))
        now = np.repeat(self._by_time[self._done : until], MARKS)
        self._done = until
        rows = DemandChunk._make(column[now] for column in self._rows)
        rows.op[:] = ob.OP_ACCESS
        rows.attr[:] = A_LRU | A_FILE
        return rows


def with_uses(chunks: Iterator[DemandChunk], uses: Uses) -> Iterator[DemandChunk]:
    """A demand's rows with those uses among them: each is MARKS rows of op ACCESS by the task that had asked for the folio."""
    if not uses.number.size:
        yield from chunks
        return
    waiting = _Waiting(uses)
    for chunk in chunks:
        waiting.made(chunk)
        more = waiting.due(int(chunk.t[-1]))
        if not more.t.size:
            yield chunk
            continue
        both: tuple[Any, ...] = (chunk, more)
        rows = [np.concatenate(columns) for columns in zip(*both, strict=True)]
        order = np.argsort(rows[0], kind="stable")
        yield DemandChunk._make(column.take(order) for column in rows)
