# SPDX-License-Identifier: GPL-2.0-or-later
"""Counters of copies of /proc/vmstat: differences over a series, or the sums since boot of a single copy."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from kevacuate.kernel.vmstat import EVENTS, GAUGES
from kevacuate.observe.files.procshelf import Series, times

SHARES = {
    "compact_fail": ("compact_fail", ("compact_stall",)),
    "thp_fault_fallback": ("thp_fault_fallback", ("thp_fault_fallback", "thp_fault_alloc")),
    "pgmigrate_fail": ("pgmigrate_fail", ("pgmigrate_fail", "pgmigrate_success")),
}
"""Name to the counter and those that make the whole. A stall fails or succeeds (mm/page_alloc.c:__alloc_pages_direct_compact)."""


def counters_answer(series: Series) -> dict[str, Any]:
    """What the counters say.

    Returns
    -------
    dict
        :func:`kevacuate.observe.files.procshelf.times`; ``restarts``: moments at which most counters were smaller than
        before, so the machine had booted. ``counters``: name to its ``count`` (over the series without what a restart hides;
        since boot where there is one copy), ``first``, ``last``. ``since``: ``boot`` or ``series``. ``gauges``: name to
        ``first`` and ``last``. ``shares``: :data:`SHARES` of the counts, None where nothing was counted. ``per_hour``: name
        to counts an hour; None where times are not known. ``busiest``: of ``compact_stall`` and ``allocstall``, the interval
        with the most.

    """
    copies = [moment.values for moment in series.moments]
    alone = len(copies) == 1
    booted = [_booted(before, after) for before, after in pairwise(copies)]
    counts = {name: _count(copies, booted, name) for name in EVENTS if any(name in copy for copy in copies)}
    sums = {name: one["count"] for name, one in counts.items()}
    seconds = series.seconds
    return {
        **times(series),
        "since": "boot" if alone else "series",
        "restarts": sum(booted),
        "counters": counts,
        "gauges": {name: _ends(copies, name) for name in GAUGES if any(name in copy for copy in copies)},
        "shares": {name: _share(sums, *parts) for name, parts in SHARES.items()},
        "per_hour": {name: round(n * 3600 / seconds, 1) for name, n in sums.items()}
        if seconds and not alone
        else None,
        "busiest": {}
        if alone
        else {
            name: _busiest(series, booted, name) for name in ("compact_stall", "allocstall") if sums.get(name)
        },
    }


def _booted(before: dict[str, int], after: dict[str, int]) -> bool:
    """Whether the machine has booted between two copies: more of their counters fell than rose."""
    both = [name for name in EVENTS if name in before and name in after]
    fell = sum(after[name] < before[name] for name in both)
    return fell > sum(after[name] > before[name] for name in both)


def _ends(copies: list[dict[str, int]], name: str) -> dict[str, int]:
    """The first and the last value of a counter, of the copies that have it."""
    values = [copy[name] for copy in copies if name in copy]
    return {"first": values[0], "last": values[-1]}


def _count(copies: list[dict[str, int]], booted: list[bool], name: str) -> dict[str, int]:
    """How often a counter rose. After a restart it rose from 0; a counter that falls otherwise is taken to stand still."""
    ends = _ends(copies, name)
    if len(copies) == 1:
        return {"count": ends["last"], **ends}
    count = 0
    for (before, after), again in zip(pairwise(copies), booted, strict=True):
        if name in after and (name in before or again):
            count += after[name] if again else max(0, after[name] - before[name])
    return {"count": count, **ends}


def _share(sums: dict[str, int], part: str, whole: tuple[str, ...]) -> float | None:
    """The share of a counter in the sum of others; None where nothing was counted, or one is not in the file."""
    if any(name not in sums for name in (part, *whole)):
        return None
    total = sum(sums[name] for name in whole)
    return min(1.0, sums[part] / total) if total else None


def _busiest(series: Series, booted: list[bool], name: str) -> dict[str, Any]:
    """The interval between two moments in which a counter rose most: ``count``, ``from_time``, ``to_time``."""
    best: dict[str, Any] = {"count": 0, "from_time": None, "to_time": None}
    for (before, after), again in zip(pairwise(series.moments), booted, strict=True):
        rose = 0 if again else after.values.get(name, 0) - before.values.get(name, 0)
        if name in before.values and rose > best["count"]:
            best = {
                "count": rose,
                "from_time": before.stamp.text if before.stamp else None,
                "to_time": after.stamp.text if after.stamp else None,
            }
    return best
