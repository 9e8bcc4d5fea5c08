# SPDX-License-Identifier: GPL-2.0-or-later
"""The figures of stalls: totals, percentiles, the worst, what failed; by request and by task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from kevacuate.kernel.compaction import RESULTS
from kevacuate.measure.stalls import DIRECT_RECLAIM, STALL_NAMES, SUCCESS, WAITS, StallCounter

Table = npt.NDArray[np.void]

PERCENTS = (50, 99)


def percentile(durations: npt.NDArray[np.int64], percent: int) -> int:
    """The nearest-rank percentile: the least of the values that *percent* in a hundred of them do not exceed.

    The value of rank ceil(percent / 100 x n) of the n values in ascending order. There must be one.
    """
    rank = -(-percent * len(durations) // 100)
    return int(np.partition(durations, rank - 1)[rank - 1])


def times(rows: Table) -> dict[str, Any]:
    """``count``, ``total_ns``, ``p50_ns``, ``p99_ns``, ``worst_ns`` of pairs or requests; None for the last three of none."""
    ns = rows["ns"]
    percents = {f"p{percent}_ns": percentile(ns, percent) if len(ns) else None for percent in PERCENTS}
    worst = int(ns.max()) if len(ns) else None
    return {"count": len(ns), "total_ns": int(ns.sum()), **percents, "worst_ns": worst}


def worst(rows: Table, names: Mapping[int, str], began: int) -> dict[str, Any] | None:
    """The longest of pairs or requests, the first of equal ones: when (seconds since *began*), how long, whose; None of none."""
    if not len(rows):
        return None
    row = rows[np.lexsort((rows["ts"], -rows["ns"]))[0]]
    return {
        "at_seconds": (int(row["ts"]) - began) / 1e9,
        "ts": int(row["ts"]),
        "ns": int(row["ns"]),
        "pid": int(row["pid"]),
        "task": names.get(int(row["pid"])),
        **_request(int(row["order"]), int(row["gfp"])),
    }


def _request(order: int, gfp: int) -> dict[str, int | None]:
    """Order and gfp in JSON; an order that is not known leaves the gfp unknown, too."""
    return {"order": order if order >= 0 else None, "gfp": gfp if order >= 0 and gfp else None}


def failed(rows: Table) -> npt.NDArray[np.bool_]:
    """Which pairs failed: a direct reclaim that reclaimed no page; a compaction that ended with another result than success.

    A result that is not known (-1) did not fail.
    """
    reclaim = rows["kind"] == DIRECT_RECLAIM
    result = rows["result"]
    return np.where(reclaim, result == 0, (result != SUCCESS) & (result >= 0)).astype(np.bool_)


def _results(rows: Table) -> dict[str, int]:
    """How many compactions ended how, most first."""
    names = dict(enumerate(RESULTS))
    counts = Counter(names.get(result, "not known") for result in rows["result"].tolist())
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _of_kind(rows: Table, kind: int, names: Mapping[int, str], began: int) -> dict[str, Any]:
    """One kind's figures."""
    own = rows[rows["kind"] == kind]
    more = (
        {"pages_reclaimed": int(own["result"].sum())}
        if kind == DIRECT_RECLAIM
        else {"results": _results(own)}
    )
    return {**times(own), "failed": int(failed(own).sum()), **more, "worst": worst(own, names, began)}


def _groups(rows: Table, columns: list[str]) -> Iterator[tuple[tuple[int, ...], Table]]:
    """The rows that are equal in these columns, group by group, most time first."""
    if not len(rows):
        return
    keys, which = np.unique(rows[columns], return_inverse=True)
    order = np.argsort(which, kind="stable")
    parts = np.split(rows[order], np.cumsum(np.bincount(which))[:-1])
    keyed = [(tuple(int(x) for x in key), part) for key, part in zip(keys.tolist(), parts, strict=True)]
    yield from sorted(keyed, key=lambda item: (-int(item[1]["ns"].sum()), item[0]))


def _by_request(rows: Table) -> list[dict[str, Any]]:
    """Stalls by kind, order and gfp, most time first."""
    return [
        {"stall": STALL_NAMES[kind], **_request(order, gfp), **times(part), "failed": int(failed(part).sum())}
        for (kind, order, gfp), part in _groups(rows, ["kind", "order", "gfp"])
    ]


def _by_task(rows: Table, names: Mapping[int, str]) -> list[dict[str, Any]]:
    """Stalls by task, those of one name together, most time first; a task without a name stands by its id."""
    labels: dict[tuple[str, int], list[Table]] = {}
    for (pid,), part in _groups(rows, ["pid"]):
        name = names.get(pid, "")
        labels.setdefault((name, -1 if name else pid), []).append(part)
    found = []
    for (name, _), parts in labels.items():
        every = np.concatenate(parts)
        kinds = {STALL_NAMES[kind]: times(every[every["kind"] == kind]) for kind in range(WAITS)}
        ids = sorted({int(part["pid"][0]) for part in parts})
        found.append({
            "task": name or None, "pid": ids[0] if len(ids) == 1 else None, "pids": len(ids),
            "count": len(every), "total_ns": int(every["ns"].sum()), "worst_ns": int(every["ns"].max()),
            "failed": int(failed(every).sum()),
            **{f"{kind}s": value["count"] for kind, value in kinds.items()},
            **{f"{kind}_ns": value["total_ns"] for kind, value in kinds.items()},
        })  # fmt: skip
    return sorted(found, key=lambda row: (-row["total_ns"], row["task"] or "", row["pid"] or 0))


def _allocations(counter: StallCounter, names: Mapping[int, str], began: int) -> dict[str, Any] | None:
    """The allocations that stalled, from the first stall's begin to the page; None where the recording has no allocations."""
    if not counter.allocations:
        return None
    rows = counter.requests
    return {
        **times(rows), "failed": int(rows["failed"].sum()), "not_seen": counter.requests_not_seen,
        "worst": worst(rows, names, began),
    }  # fmt: skip


def stall_figures(counter: StallCounter, names: Mapping[int, str], began: int) -> dict[str, Any]:
    """The figures of a counter that is finished, as plain JSON values.

    Parameters
    ----------
    counter : StallCounter
        After its ``finish``.
    names : mapping
        Names of tasks by id, as far as they are known.
    began : int
        When the recording begins (ns of its clock): moments count from there.
    """
    rows = counter.stalls
    waits = rows[rows["kind"] < WAITS]
    return {
        **{name: _of_kind(rows, kind, names, began) for kind, name in enumerate(STALL_NAMES)},
        "attempts_to_compact": counter.attempts,
        "attempts_without_run": dict(counter.without_run),
        "requests": _by_request(waits),
        "tasks": _by_task(waits, names),
        "allocations": _allocations(counter, names, began),
        "begins_without_end": counter.begins_without_end,
        "ends_without_begin": counter.ends_without_begin,
        "events_without_task": counter.without_task,
    }
