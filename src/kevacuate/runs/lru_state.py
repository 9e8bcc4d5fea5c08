# SPDX-License-Identifier: GPL-2.0-or-later
"""The order of the LRU lists, and what reclaim knows, as a start state holds them: written by a closed loop, read by the next.

Kept are the lists, the CPUs' folio batches, what the page flags do not show of each folio (PG_workingset, accessed bits, when it
was made dirty), the lists' costs and refaults, and kswapd where it does not run. Not kept: shadow entries and what is in swap, as
the next demand has objects of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from kevacuate.mm import constants as k
from kevacuate.mm.layout import State
from kevacuate.mm.load_state import load_batch
from kevacuate.mm.read_state import LRU_ACTIVATE, LRU_ADD, read_lru
from kevacuate.recording import AllocatorState, StartObjects
from kevacuate.recording.state import LruFolios
from kevacuate.recording.statefiles import outside

HIDDEN = (
    k.ATTR_WORKINGSET | k.ATTR_RECLAIM | k.ATTR_DIRTIED | k.ATTR_YOUNG | k.ATTR_IN_BATCH | k.ATTR_ACTIVATING
)
"""Attributes of a folio that the page flags of a start state do not show."""

LRUVEC = (
    "nonresident_age", "workingset_activate_file", "refaults_file", "workingset_activate_anon", "refaults_anon", "anon_cost",
    "file_cost", "pgdat_writeback", "nr_marked", "kswapd_failures",
)  # fmt: skip
"""What a node's reclaim knows (struct lruvec, pg_data_t)."""
KSWAPD = ("kswapd_state", "kswapd_order", "kswapd_highest_zoneidx", "kswapd_due", "kswapd_slice")
"""What its kswapd waits for, where it does not run; ``kswapd_due`` is behind the state."""
MOST = 1 << 62
LIMITS = {"kswapd_state": (0, k.KSWAPD_NAP), "kswapd_order": (0, 10), "kswapd_highest_zoneidx": (-1, 3)}
"""Least and most of what may not be any number from 0 on."""


def kswapd_runs(state: State) -> bool:
    """Whether a kswapd is at work: it is in the middle of a scan then, which no file holds."""
    return any(node.kswapd_state == k.KSWAPD_RUNNING for node in state.view.node)


def lru_of(state: State) -> LruFolios | None:
    """The LRU lists now; None in an open loop, which has none."""
    if state.view.cfg.open_loop:
        return None
    found = read_lru(state)
    kind = state.meta[found.pfn] >> 4
    attr = np.where(kind == k.CHUNK_ALLOC, state.link[2 * found.pfn + 1] & HIDDEN, 0)
    return LruFolios(
        found.owner.astype(np.int16), found.lru.astype(np.int8), found.pfn, attr.astype(np.int32)
    )


def reclaim_from(state: State, t: int) -> dict[str, int]:
    """What reclaim and the flusher know at *t* ns; nothing in an open loop."""
    view = state.view
    if view.cfg.open_loop:
        return {}
    found = {"flushes": view.stat.flushes}
    if view.stat.flush_due < k.NEVER:
        found["flush_due"] = max(view.stat.flush_due - t, 0)
    for number, node in enumerate(view.node):
        names = LRUVEC if node.kswapd_state == k.KSWAPD_RUNNING else LRUVEC + KSWAPD
        found |= {f"{name}{number}": getattr(node, name) for name in names if getattr(node, name) < k.NEVER}
        if f"kswapd_due{number}" in found:
            found[f"kswapd_due{number}"] = max(node.kswapd_due - t, 0)
    return found


def hidden_attr(recorded: AllocatorState, start: StartObjects) -> npt.NDArray[np.int64]:
    """By object of the start: the attributes that its page flags do not show; 0 where they are not known."""
    attr = np.zeros(len(start.pfn), np.int64)
    if recorded.lru is not None:
        at, known = _objects(recorded.lru, start)
        np.bitwise_or.at(attr, at[known], recorded.lru.attr[known].astype(np.int64) & HIDDEN)
    return attr


def _objects(lru: LruFolios, start: StartObjects) -> tuple[Any, npt.NDArray[np.bool_]]:
    """The object of the start at each row's page, and whether there is one."""
    if not len(start.pfn):
        return np.zeros(len(lru.pfn), np.int64), np.zeros(len(lru.pfn), np.bool_)
    at = np.minimum(np.searchsorted(start.pfn, lru.pfn), len(start.pfn) - 1)
    return at, start.pfn[at] == lru.pfn


def oldest_first(recorded: AllocatorState, start: StartObjects) -> npt.NDArray[np.int64] | None:
    """The start's objects from the oldest on; None where the lists' order is not known.

    An object that is on none of the lists that the state holds is older than those that are: the lower the pfn, the older.
    """
    if recorded.lru is None:
        return None
    listed = recorded.lru.lru < k.LRU_UNEVICTABLE
    lru = LruFolios._make(column[listed][::-1] for column in recorded.lru)
    at, known = _objects(lru, start)
    order = at[known]
    rest = np.ones(len(start.pfn), np.bool_)
    rest[order] = False
    return np.concatenate([np.flatnonzero(rest), order])


def load_reclaim(state: State, recorded: AllocatorState, start: StartObjects) -> None:
    """Fill the CPUs' batches, and tell reclaim what it knew; in closed loop alone."""
    view = state.view
    if view.cfg.open_loop or recorded.lru is None:
        return
    for cpu in range(view.cfg.nr_cpus):
        for kind in (LRU_ADD, LRU_ACTIVATE):
            mine = (recorded.lru.owner == cpu) & (recorded.lru.lru == kind)
            load_batch(state, cpu, kind, recorded.lru.pfn[mine].astype(np.int64))
    view.stat.flushes = recorded.reclaim.get("flushes", 0)
    view.stat.flush_due = recorded.reclaim.get("flush_due", view.stat.flush_due)
    for number, node in enumerate(view.node):
        for name in LRUVEC + KSWAPD:
            if f"{name}{number}" in recorded.reclaim:
                setattr(node, name, recorded.reclaim[f"{name}{number}"])


def wrong_reclaim(reclaim: Mapping[str, int]) -> bool:
    """Whether a figure of reclaim is one that no model can have written."""
    named = [(name.rstrip("0123456789"), value) for name, value in reclaim.items()]
    limits = [(*LIMITS.get(name, (0, MOST)), value) for name, value in named]
    runs = ("kswapd_state", k.KSWAPD_RUNNING) in named
    return runs or any(not least <= value <= most for least, most, value in limits)


def wrong_lists(lru: LruFolios, cpus: int, nodes: int) -> bool:
    """Whether LRU lists or batches are none that a model of so many CPUs and nodes can have written."""
    batch = lru.lru > k.LRU_UNEVICTABLE
    wrong = outside(lru.lru, 0, LRU_ACTIVATE) or outside(lru.owner[batch], 0, cpus - 1)
    wrong |= outside(lru.owner[~batch], 0, nodes - 1)
    _, counts = np.unique(lru.lru[batch].astype(np.int64) * cpus + lru.owner[batch], return_counts=True)
    listed = np.sort(lru.pfn[~batch])
    return bool(wrong or (counts >= k.FOLIO_BATCH_SIZE).any() or (listed[1:] == listed[:-1]).any())
