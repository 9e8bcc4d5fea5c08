# SPDX-License-Identifier: GPL-2.0-or-later
"""Watermarks, memory and slab caches: of copies of /proc/zoneinfo, meminfo, slabinfo and of debugfs' two indices."""

from __future__ import annotations

from typing import Any

from kevacuate.observe.files.procshelf import MARKS, MEMINFO, Series, Slabs, times


def marks_answer(series: Series) -> dict[str, Any]:
    """Free pages against the watermarks, by zone.

    Returns
    -------
    dict
        :func:`kevacuate.observe.files.procshelf.times`; ``zones``: ``free``, ``min``, ``low``, ``high``, ``boost``, ``present``,
        ``managed``, ``pcp`` at the last moment (pages; 0 where the kernel or the excerpt does not show it), ``below_min``,
        ``below_low`` and ``boosted``: moments with that, of ``moments``. The marks are as printed: with the boost, from Linux
        5.0 on (include/linux/mmzone.h:wmark_pages).

    """
    found: dict[tuple[int, str], list[dict[str, int]]] = {}
    for moment in series.moments:
        for zone, numbers in moment.values.items():
            found.setdefault(zone, []).append(dict(zip(MARKS, numbers, strict=True)))
    zones = []
    for (node, name), rows in sorted(found.items()):
        zones.append(
            {
                "node": node,
                "zone": name,
                **rows[-1],
                "moments": len(rows),
                "below_min": sum(row["free"] < row["min"] for row in rows),
                "below_low": sum(row["free"] < row["low"] for row in rows),
                "boosted": sum(row["boost"] > 0 for row in rows),
            }
        )
    return {**times(series), "zones": zones}


def memory_answer(series: Series) -> dict[str, Any]:
    """:data:`kevacuate.observe.files.procshelf.MEMINFO` at the first and at the last moment that has them."""
    copies = [moment.values for moment in series.moments]
    ends = {}
    for name in MEMINFO:
        values = [copy[name] for copy in copies if name in copy]
        if values:
            ends[name] = {"first": values[0], "last": values[-1]}
    return {**times(series), "values": ends}


def slab_answer(series: Series) -> dict[str, Any]:
    """The caches with most pages at the last moment, and ``pages`` of all.

    ``caches``: ``cache``, ``pages``, ``pages_first`` (None where it was not among the largest then), ``objects``, ``active``.
    """
    first: Slabs = series.moments[0].values
    last: Slabs = series.moments[-1].values
    return {
        **times(series),
        "pages": last.pages,
        "pages_first": first.pages,
        "caches": [
            {
                "cache": name,
                "pages": pages,
                "pages_first": first.caches[name][2] if name in first.caches else None,
                "objects": objects,
                "active": active,
            }
            for name, (active, objects, pages) in last.caches.items()
        ],
    }


def index_answer(series: Series) -> dict[str, Any]:
    """The kernel's own index at the first and last moment, by zone: thousandths by order."""
    first, last = series.moments[0].values, series.moments[-1].values
    return {
        **times(series),
        "zones": [
            {
                "node": node,
                "zone": zone,
                "first": list(first.get((node, zone), values)),
                "last": list(values),
            }
            for (node, zone), values in sorted(last.items())
        ],
    }
