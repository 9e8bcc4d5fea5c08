# SPDX-License-Identifier: GPL-2.0-or-later
"""Free memory by zone and order, of copies of /proc/buddyinfo or, without them, of /proc/pagetypeinfo."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from kevacuate.kernel.pcp import PAGE_ALLOC_COSTLY_ORDER
from kevacuate.kernelfiles.proccopies import NOT_IN_FILE, Zone
from kevacuate.measure.metrics import free_metrics, unusable_free_index
from kevacuate.observe.files.procshelf import Moment, Series, Types, chunks_of, times

MOST_POINTS = 500
"""Moments of a series that the answer holds, evenly chosen; its other figures are of all."""


def summed(series: Series) -> Series:
    """Copies of /proc/pagetypeinfo as copies of /proc/buddyinfo: free chunks of all types together, by zone."""
    moments = []
    for moment in series.moments:
        free = {zone: chunks_of(of) for zone, of in moment.values.free.items()}
        if free:
            moments.append(Moment(moment.stamp, free))
    return series._replace(moments=moments)


def free_answer(series: Series, pageblock_order: int, at_least: bool = False) -> dict[str, Any]:
    """What was free at which order, over the series.

    Parameters
    ----------
    series : Series
        Moments with zone to free chunks by order.
    pageblock_order : int
        The larger of the two orders that are followed; the other is :data:`kevacuate.kernel.pcp.PAGE_ALLOC_COSTLY_ORDER`.
    at_least : bool
        Whether the kernel counted some chunks no further than 100,000.

    Returns
    -------
    dict
        :func:`kevacuate.observe.files.procshelf.times`; ``zones``: one entry a zone (:func:`_zone`); ``rows_left_out``: rows with
        fewer or more orders than the zone's others, as a log that was cut has them; ``all_zones``: :func:`_followed` of the
        chunks of all zones together.

    """
    rows, left_out = _rows_by_zone(series)
    zones = [_zone(zone, of, pageblock_order) for zone, of in sorted(rows.items())]
    together = _together(rows)
    return {
        **times(series),
        "orders_followed": [PAGE_ALLOC_COSTLY_ORDER, pageblock_order],
        "at_least": at_least,
        "zones": [zone for zone in zones if zone["orders"]],
        "excerpts": [zone for zone in zones if not zone["orders"]],
        "rows_left_out": left_out,
        "all_zones": [_followed(together, order) for order in (PAGE_ALLOC_COSTLY_ORDER, pageblock_order)]
        if together
        else [],
    }


def _rows_by_zone(series: Series) -> tuple[dict[Zone, list[Moment]], int]:
    """Zone to its rows, of as many orders as most of them have; and how many rows have others."""
    found: dict[Zone, list[Moment]] = {}
    for moment in series.moments:
        for zone, counts in moment.values.items():
            found.setdefault(zone, []).append(Moment(moment.stamp, counts))
    left_out = 0
    for zone, rows in found.items():
        lengths = Counter(len(row.values) for row in rows)
        usual = max(lengths, key=lambda length: (lengths[length], length))
        left_out += len(rows) - lengths[usual]
        found[zone] = [row for row in rows if len(row.values) == usual]
    return found, left_out


def _together(rows: dict[Zone, list[Moment]]) -> list[Moment]:
    """The chunks of all zones by order, at the moments that show every zone."""
    counts = {len(of) for of in rows.values()}
    if len(counts) != 1 or any(NOT_IN_FILE in row.values for of in rows.values() for row in of):
        return []
    return [
        Moment(at[0].stamp, chunks_of({str(number): row.values for number, row in enumerate(at)}))
        for at in zip(*rows.values(), strict=True)
    ]


def _zone(zone: Zone, rows: list[Moment], pageblock_order: int) -> dict[str, Any]:
    """One zone: its first and last moment, and what changed between.

    ``orders`` is 0 where the text leaves orders out; then ``chunks`` are those that it has, by order. ``unusable``: the
    unusable free index at pageblock order over all moments, in thousandths (:func:`_range`). ``followed``: :func:`_followed` for
    both orders. ``series``: points of at most :data:`MOST_POINTS` moments.
    """
    name = {"node": zone[0], "zone": zone[1]}
    whole = [row for row in rows if NOT_IN_FILE not in row.values]
    if not whole:
        last = rows[-1].values
        known = {str(order): n for order, n in enumerate(last) if n != NOT_IN_FILE}
        return {**name, "orders": 0, "chunks": known}
    orders = len(whole[0].values)
    order = min(pageblock_order, orders - 1)
    return {
        **name,
        "orders": orders,
        "first": moment_of(whole[0], order),
        "last": moment_of(whole[-1], order),
        "unusable": {"order": order, **_range([unusable_free_index(row.values, order) for row in whole])},
        "followed": [_followed(whole, followed) for followed in (PAGE_ALLOC_COSTLY_ORDER, pageblock_order)],
        "series": [
            {
                "time": row.stamp.text if row.stamp else None,
                "free_by_order": row.values.tolist(),
                "unusable_free_index": [unusable_free_index(row.values, n) for n in range(orders)],
            }
            for row in _points(whole)
        ],
    }


def moment_of(row: Moment, huge_order: int) -> dict[str, Any]:
    """One zone at one moment: :func:`kevacuate.measure.metrics.free_metrics`, ``largest_order`` (-1: nothing is free),
    ``time``.
    """
    counts: Sequence[int] = row.values
    return {
        "time": row.stamp.text if row.stamp else None,
        **free_metrics(np.asarray(counts, np.int64), huge_order),
        "largest_order": max((order for order, n in enumerate(counts) if n), default=-1),
    }


def _range(values: list[int]) -> dict[str, int]:
    """``first``, ``last``, ``least``, ``most``, and ``trend``: the mean of the last third less that of the first.

    Of fewer than three moments the trend is the last value less the first.
    """
    third = max(1, len(values) // 3)
    means = [sum(part) / third for part in (values[:third], values[-third:])]
    return {
        "first": values[0],
        "last": values[-1],
        "least": min(values),
        "most": max(values),
        "trend": round(means[1] - means[0]),
    }


def _followed(rows: list[Moment], order: int) -> dict[str, Any]:
    """Chunks of an order or larger, over the moments.

    ``pages_first``, ``pages_last``: pages in such chunks. ``none_moments``: moments without any. ``none_from``: the first moment
    from which on none was free until the end, as its number from 0 and its ``none_from_time``; None where one is free at the end.
    """
    pages = [sum(n << at for at, n in enumerate(row.values) if at >= order) for row in rows]
    first_bad = len(pages)
    while first_bad and not pages[first_bad - 1]:
        first_bad -= 1
    at = first_bad if first_bad < len(pages) else None
    stamp = rows[at].stamp if at is not None else None
    return {
        "order": order,
        "pages_first": pages[0],
        "pages_last": pages[-1],
        "none_moments": pages.count(0),
        "none_from": at,
        "none_from_time": stamp.text if stamp else None,
    }


def _points(rows: list[Moment]) -> list[Moment]:
    """At most :data:`MOST_POINTS` of the rows, evenly chosen, the first and the last among them."""
    if len(rows) <= MOST_POINTS:
        return rows
    return [rows[at * (len(rows) - 1) // (MOST_POINTS - 1)] for at in range(MOST_POINTS)]


def blocks_answer(series: Series) -> dict[str, Any] | None:
    """Pageblocks and free memory by type, of copies of /proc/pagetypeinfo; None where no copy shows a zone.

    Returns
    -------
    dict
        :func:`kevacuate.observe.files.procshelf.times`; ``zones``: ``blocks_first`` and ``blocks_last`` (type to pageblocks),
        ``free`` (type to free chunks by order, at the last moment), ``free_pages`` (type to pages), ``mixed`` (the kernel's
        own count, with page_owner), ``stopped`` ([type, order] of counts that are at least so many). Types are named as the
        kernel writes them.

    """
    first: dict[Zone, Types] = {}
    last: dict[Zone, Types] = {}
    for moment in series.moments:
        types: Types = moment.values
        for zone in (*types.free, *types.blocks):
            first.setdefault(zone, types)
            last[zone] = types
    if not last:
        return None
    zones = [_blocks_of(zone, first[zone], last[zone]) for zone in sorted(last)]
    return {**times(series), "zones": zones}


def _blocks_of(zone: Zone, first: Types, last: Types) -> dict[str, Any]:
    """One zone of :func:`blocks_answer`."""
    free = {name: counts.tolist() for name, counts in last.free.get(zone, {}).items()}
    return {
        "node": zone[0],
        "zone": zone[1],
        "blocks_first": first.blocks.get(zone, {}),
        "blocks_last": last.blocks.get(zone, {}),
        "free": free,
        "free_pages": {name: sum(n << o for o, n in enumerate(counts)) for name, counts in free.items()},
        "mixed": last.mixed.get(zone, {}),
        "stopped": sorted([name, order] for node, of, name, order in last.stopped if (node, of) == zone),
    }
