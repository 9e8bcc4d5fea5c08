# SPDX-License-Identifier: GPL-2.0-or-later
"""Who asked: external fragmentation events by type, order, gfp and task.

``mm_page_alloc_extfrag`` does not name the gfp flags. Where the recording has ``mm_page_alloc`` too, they are those of the next
``mm_page_alloc`` of the same CPU, order and migratetype: an extfrag event fires while that request is served, at once or while
its per-CPU list is refilled. An interrupt or ``alloc_pages_bulk`` (which no event shows) in between is taken for it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kevacuate.kernel.extfrag import CLAIM, CLAIM_BLOCK, CLAIM_OR_STEAL, RECORDED_KIND_NAMES, STEAL
from kevacuate.measure.extfrag import Extfrag
from kevacuate.measure.keycounts import KeyCounts
from kevacuate.mm.constants import MIGRATE_NAMES
from kevacuate.recording.schema import NO_PID, EventChunk, EventKind

UNKNOWN_GFP = 1 << 23
"""Stands for flags that the recording does not tell: above the 23 bits of a recorded gfp."""


def _key(cpu: npt.NDArray[Any], order: npt.NDArray[Any], mt: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """CPU, order and migratetype as one number."""
    return (cpu.astype(np.int64) << 16) | (order.astype(np.int64) & 0xFF) << 8 | (mt.astype(np.int64) & 0xFF)


def next_request(
    wanted: npt.NDArray[np.int64],
    at: npt.NDArray[np.intp],
    keys: npt.NDArray[np.int64],
    where: npt.NDArray[np.intp],
) -> npt.NDArray[np.int64]:
    """For each wanted key at a position, the index of the first of *keys* that is equal and stands later; -1 if none does.

    *where* are the positions of *keys*, ascending.
    """
    among = np.flatnonzero(np.isin(keys, wanted))
    if not len(among):
        return np.full(len(wanted), -1, np.int64)
    order = among[np.argsort(keys[among], kind="stable")]
    line = keys[order]
    starts = np.flatnonzero(np.diff(line, prepend=line[0] - 1))
    names, last = line[starts], np.append(starts[1:], len(order))
    span = int(max(where.max(), at.max(initial=0))) + 2
    line = np.repeat(np.arange(len(names)) * span, last - starts) + where[order]
    name = np.minimum(np.searchsorted(names, wanted), len(names) - 1)
    found = np.searchsorted(line, name * span + at, side="right")
    good = (names[name] == wanted) & (found < last[name])
    return np.where(good, order[np.minimum(found, len(order) - 1)], -1)


def _by_kind(counts: list[int]) -> dict[str, int]:
    """Counts by kind of event under the names of a triage."""
    return {
        "claims": counts[CLAIM],
        "claims_whole_block": counts[CLAIM_BLOCK],
        "steals": counts[STEAL],
        "claims_or_steals": counts[CLAIM_OR_STEAL],
    }


class Requesters:
    """Counts by (kind, type, order, gfp) and by (kind, task) of unmovable and reclaimable requests that took movable memory."""

    def __init__(self) -> None:
        self._who = KeyCounts()
        self._tasks = KeyCounts()
        self._waiting: tuple[npt.NDArray[np.int64], ...] = (np.empty(0, np.int64), np.empty(0, np.int64))
        self.matched = 0
        """Events whose request was found."""
        self.unmatched = 0
        """Events whose request was not found: no such allocation followed on that CPU."""

    def add(self, chunk: EventChunk, events: Extfrag) -> None:
        """Count the events of a chunk that took from movable blocks; a request may stand in the next chunk."""
        own = events.from_movable
        at = events.at[own]
        pid = chunk.pid[at].astype(np.int64)
        kept = pid != NO_PID
        self._tasks.add((pid[kept] << 2) | events.kind[own][kept])
        what = (events.kind[own] << 16) | (events.start[own] << 8) | events.order_asked[own]
        key = _key(chunk.cpu[at], events.order_asked[own], events.start[own])
        alloc = np.flatnonzero(chunk.kind == EventKind.MM_PAGE_ALLOC)
        keys = _key(chunk.cpu[alloc], chunk.order[alloc], chunk.mt[alloc])
        old_key, old_what = self._waiting
        wanted, what = np.concatenate([old_key, key]), np.concatenate([old_what, what])
        place = np.concatenate([np.full(len(old_key), -1, np.intp), at])
        request = next_request(wanted, place, keys, alloc)
        found = request >= 0
        gfp = chunk.gfp[alloc[request[found]]].astype(np.int64)
        self._who.add((what[found] << 24) | gfp)
        self.matched += int(found.sum())
        late = ~found & (place < 0)
        self._give_up(what[late])
        waits = ~found & (place >= 0)
        self._waiting = (wanted[waits], what[waits])

    def _give_up(self, what: npt.NDArray[np.int64]) -> None:
        self._who.add((what << 24) | UNKNOWN_GFP)
        self.unmatched += len(what)

    def finish(self) -> None:
        """The events are over: what still waits has no known request."""
        self._give_up(self._waiting[1])
        self._waiting = (np.empty(0, np.int64), np.empty(0, np.int64))

    def rows(self) -> list[dict[str, Any]]:
        """By type, order asked for and gfp (None if not known): claims, whole-block claims, steals, either; most first."""
        table: dict[tuple[int, int, int], list[int]] = {}
        for key, count in self._who.top():
            gfp, what = key & 0xFFFFFF, key >> 24
            kind, start, order = what >> 16, what >> 8 & 0xFF, what & 0xFF
            table.setdefault((start, order, gfp), [0] * len(RECORDED_KIND_NAMES))[kind] += count
        ordered = sorted(table.items(), key=lambda item: (-sum(item[1]), item[0]))
        return [
            {
                "type": MIGRATE_NAMES[start],
                "order_asked": order,
                "gfp": None if gfp == UNKNOWN_GFP else gfp,
                **_by_kind(counts),
            }
            for (start, order, gfp), counts in ordered
        ]

    def tasks(self, most: int = 10) -> list[dict[str, int]]:
        """By task id, where the recording kept it: the same counts, most events first."""
        table: dict[int, list[int]] = {}
        for key, count in self._tasks.top():
            table.setdefault(key >> 2, [0] * len(RECORDED_KIND_NAMES))[key & 3] += count
        ordered = sorted(table.items(), key=lambda item: (-sum(item[1]), item[0]))[:most]
        return [{"pid": pid, **_by_kind(counts)} for pid, counts in ordered]
