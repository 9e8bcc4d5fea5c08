# SPDX-License-Identifier: GPL-2.0-or-later
"""Who woke kswapd and kcompactd, and for which order.

``mm_vmscan_wakeup_kswapd`` fires in the task that asks, with the request's order and gfp, and only where kswapd sleeps and
the node is not balanced for that order (mm/vmscan.c:wakeup_kswapd). Order 0 without gfp is no request: a zone's watermark was
boosted (mm/page_alloc.c:rmqueue, since 5.0). Old kernels, whose event has no gfp field, leave the gfp of every wake unknown.

``mm_compaction_wakeup_kcompactd`` names the order (-1: the whole node, after a write to vm.compaction_proactiveness). It
fires in kswapd as it goes to sleep, or in a task that may not reclaim itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kevacuate.kernel.gfp import GFP_COMP, GFP_DIRECT_RECLAIM, GFP_KSWAPD_RECLAIM, GFP_NOWARN
from kevacuate.measure.keycounts import KeyCounts
from kevacuate.recording.schema import EventChunk, EventKind

WAKE_KINDS: tuple[EventKind, ...] = (EventKind.VMSCAN_WAKEUP_KSWAPD, EventKind.COMPACTION_WAKEUP_KCOMPACTD)
MOST_TASKS = 3
"""Tasks named beside each request."""

_OF_VMALLOC = GFP_KSWAPD_RECLAIM | GFP_NOWARN
_NOT_OF_VMALLOC = GFP_DIRECT_RECLAIM | GFP_COMP


def as_vmalloc_asks(order: int, gfp: int) -> bool:
    """Whether a request looks like one of vmalloc's attempts at a chunk of high order, which may fail.

    Of an order above 0, __GFP_KSWAPD_RECLAIM and __GFP_NOWARN set, neither __GFP_DIRECT_RECLAIM nor __GFP_COMP
    (mm/vmalloc.c:vm_area_alloc_pages, ``large_gfp``, at 7.2). The network's and slab's attempts have __GFP_COMP. The event does
    not name the caller: another's request with the same flags looks the same.
    """
    return order > 0 and gfp & _OF_VMALLOC == _OF_VMALLOC and not gfp & _NOT_OF_VMALLOC


class WakeCounter:
    """Counts wakes by order, gfp and task as the events stream by."""

    def __init__(self) -> None:
        self.counts = {int(kind): KeyCounts() for kind in WAKE_KINDS}

    def add(self, chunk: EventChunk) -> None:
        """Count what a chunk holds."""
        for kind, counts in self.counts.items():
            own = chunk.take(chunk.kind == kind)
            if own.rows:
                request = own.order.astype(np.int64) << 23 | own.gfp.astype(np.int64) & 0x7FFFFF
                counts.add(request << 32 | own.pid.astype(np.int64) & 0xFFFFFFFF)

    def by_request(self, kind: int) -> dict[tuple[int, int], int]:
        """Wakes of that kind of event by order and gfp."""
        found: dict[tuple[int, int], int] = {}
        for key, count in self.counts[kind].top():
            request = key >> 32
            place = (request >> 23, request & 0x7FFFFF)
            found[place] = found.get(place, 0) + count
        return found

    def _rows(self, kind: int, names: Mapping[int, str]) -> dict[str, Any]:
        """``count``, and by order and gfp the wakes with the tasks that asked for most."""
        table: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for key, count in self.counts[kind].top():
            request, pid = key >> 32, key & 0xFFFFFFFF
            table.setdefault((request >> 23, request & 0x7FFFFF), []).append((pid, count))
        told = any(gfp for _, gfp in table)
        rows = []
        for (order, gfp), tasks in table.items():
            asked: dict[str, Any] = {"order": order, "count": sum(count for _, count in tasks)}
            if kind == EventKind.VMSCAN_WAKEUP_KSWAPD:
                asked |= {
                    "gfp": gfp or None,
                    "boosted": told and not order and not gfp,
                    "as_vmalloc": as_vmalloc_asks(order, gfp),
                }
            rows.append(asked | {"tasks": _tasks(tasks, names)})
        rows.sort(key=lambda row: (-row["count"], row["order"], row.get("gfp") or 0))
        return {"count": sum(row["count"] for row in rows), "requests": rows}

    def result(self, names: Mapping[int, str]) -> dict[str, Any]:
        """``kswapd_wakes`` and ``kcompactd_wakes`` as plain JSON values; *names* of tasks by id."""
        kswapd, kcompactd = (int(kind) for kind in WAKE_KINDS)
        return {"kswapd_wakes": self._rows(kswapd, names), "kcompactd_wakes": self._rows(kcompactd, names)}


def _tasks(tasks: list[tuple[int, int]], names: Mapping[int, str]) -> list[dict[str, Any]]:
    """The tasks that woke most, those of one name together."""
    found: dict[tuple[str | None, int | None], int] = {}
    for pid, count in tasks:
        name = names.get(pid)
        label = (name, None) if name else (None, pid if pid < 1 << 31 else None)
        found[label] = found.get(label, 0) + count
    most = sorted(found.items(), key=lambda item: (-item[1], item[0][0] or "", item[0][1] or 0))[:MOST_TASKS]
    return [{"task": name, "pid": pid, "count": count} for (name, pid), count in most]
