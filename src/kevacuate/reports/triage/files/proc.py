# SPDX-License-Identifier: GPL-2.0-or-later
"""Copies of /proc files in words: what is free, which pageblocks are whose, what waited; its tables are in ``proctables``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table

from kevacuate.observe.files.procadvice import EXTFRAG_THRESHOLD, fixed_blocks, zone_name
from kevacuate.reports.bars import duration
from kevacuate.reports.triage.files.proctables import machine_tables

Machine = Mapping[str, Any]

STEADY = 10
"""Thousandths of the unusable free index: a trend below it counts as none."""

MOST_CACHES = 3
"""Slab caches named in words."""

COUNTED = {
    "allocstall": "entries into direct reclaim (allocstall)",
    "compact_stall": "direct compactions (compact_stall)",
    "compact_daemon_wake": "wakes of kcompactd (compact_daemon_wake)",
    "oom_kill": "OOM kills (oom_kill)",
}
"""Counters said in words, and what they count."""


def words(answer: Mapping[str, Any]) -> str:
    """The answer in sentences: a paragraph for each part of each machine."""
    paragraphs = []
    for machine in answer["machines"]:
        said = [" ".join(part) for part in _parts(machine) if part]
        paragraphs += [f"{machine['name']}:\n{said[0]}", *said[1:]] if machine["name"] and said else said
    if not paragraphs:
        paragraphs = ["Nothing in these files could be read: each line is cut or in another form."]
    if answer["lines_cut"]:
        paragraphs.append(f"Lines cut because they are too long: {answer['lines_cut']:,}.")
    return "\n\n".join(paragraphs)


def tables(answer: Mapping[str, Any]) -> list[Table]:
    """The tables of all machines."""
    return [table for machine in answer["machines"] for table in machine_tables(machine)]


def _parts(machine: Machine) -> Iterator[list[str]]:
    """The sentences of each part that there is a file of."""
    if machine["free"]:
        yield list(_free(machine))
    for part, said in (("blocks", _blocks), ("marks", _marks), ("counters", _counters), ("slab", _slab)):
        if machine[part]:
            yield list(said(machine[part]))
    yield list(_kernels_own(machine))


def _span(part: Mapping[str, Any], what: str) -> str:
    """How many copies, and of which time."""
    count, first, last = part["moments"], part["first_time"], part["last_time"]
    said = f"{what}: {count:,} cop{'y' if count == 1 else 'ies'}"
    if first and count == 1:
        said += f" of {first}"
    elif first and last:
        said += f" from {first} to {last}"
        said += f" ({duration(part['seconds'] * 1e9)})" if part["seconds"] else ""
    left = part["moments_left_out"]
    return f"{said}." + (f" {left:,} more were not kept." if left else "")


def _free(machine: Machine) -> Iterator[str]:
    """What is free, by zone."""
    free = machine["free"]
    yield _span(free, machine["free_from"])
    if not machine["pageblock_order_given"]:
        yield f"Order {machine['pageblock_order']} is taken for a pageblock's: no pagetypeinfo gives it."
    for zone in free["zones"]:
        yield from _zone(zone, free["moments"])
    for zone in free["excerpts"]:
        yield f"{zone_name(zone)}: only orders {', '.join(zone['chunks'])} are in the file, so no index is computed."
    yield from _anywhere(free)
    if free["at_least"]:
        yield "Counts marked >= are where the kernel stopped counting: free pages are at least so many."
    if free["rows_left_out"]:
        yield f"Rows with another number of orders were left out: {free['rows_left_out']:,}."


def _zone(zone: Mapping[str, Any], moments: int) -> Iterator[str]:
    """One zone: what is free at the end, the two indices, how it went."""
    last, order = zone["last"], zone["unusable"]["order"]
    name = zone_name(zone)
    if not last["free_pages"]:
        yield f"{name}: nothing is free."
        return
    share = last["unusable_free_index"][order] / 10
    yield (
        f"{name}: {last['free_pages']:,} pages free, the largest chunk of order {last['largest_order']}; "
        f"{share:.1f} % are of no use to order {order}."
    )
    index = last["fragmentation_index"][order]
    if index >= 0:
        why = "fragmentation" if index > EXTFRAG_THRESHOLD else "lack of memory"
        yield f"A request of order {order} would fail there of {why} (fragmentation index {index / 1000:.3f})."
    if moments > 1:
        yield from _course(zone)


def _course(zone: Mapping[str, Any]) -> Iterator[str]:
    """How a zone went over the series."""
    unusable, followed = zone["unusable"], zone["followed"][-1]
    trend = unusable["trend"]
    way = "stayed" if abs(trend) < STEADY else "rose" if trend > 0 else "fell"
    yield (
        f"That share {way}: {unusable['first'] / 10:.1f} % at first, {unusable['last'] / 10:.1f} % at last, "
        f"between {unusable['least'] / 10:.1f} and {unusable['most'] / 10:.1f} %."
    )
    if followed["none_from"] == 0:
        yield f"From the first copy on, no chunk of order {followed['order']} or larger was free."
    elif followed["none_from"] is not None:
        when = followed["none_from_time"] or f"copy {followed['none_from'] + 1:,}"
        yield f"From {when} on, no chunk of order {followed['order']} or larger was free."
    elif followed["none_moments"]:
        yield f"No chunk of order {followed['order']} or larger was free in {followed['none_moments']:,} copies."


def _anywhere(free: Mapping[str, Any]) -> Iterator[str]:
    """What holds of all zones together."""
    for followed in free["all_zones"]:
        none, order = followed["none_moments"], followed["order"]
        if none and none == free["moments"]:
            yield f"In no zone was a chunk of order {order} or larger free" + (", in any copy." if none > 1 else ".")
        elif none:
            yield f"In {none:,} of {free['moments']:,} copies no zone had a free chunk of order {order} or larger."


def _blocks(blocks: Mapping[str, Any]) -> Iterator[str]:
    """Pageblocks by type."""
    yield _span(blocks, "pagetypeinfo")
    for zone in blocks["zones"]:
        first, last = zone["blocks_first"], zone["blocks_last"]
        whole = sum(last.values())
        if not whole:
            continue
        parts = ", ".join(f"{n:,} {name.lower()}" for name, n in last.items() if n)
        share = fixed_blocks(last) / whole
        yield f"{zone_name(zone)}: {parts} of {whole:,} pageblocks; {share:.1%} unmovable or reclaimable."
        gained = fixed_blocks(last) - fixed_blocks(first)
        if gained:
            yield f"Unmovable and reclaimable pageblocks {fixed_blocks(first):,} -> {fixed_blocks(last):,} ({gained:+,})."
        mixed = sum(zone["mixed"].values())
        if mixed:
            yield f"The kernel's own count of mixed pageblocks (page_owner) is {mixed:,}."


def _marks(marks: Mapping[str, Any]) -> Iterator[str]:
    """Free pages against the watermarks."""
    yield _span(marks, "zoneinfo")
    for zone in marks["zones"]:
        state = next((mark for mark in ("min", "low", "high") if zone["free"] < zone[mark]), None)
        where = f"below the {state} watermark ({zone[state]:,})" if state else f"above the high watermark ({zone['high']:,})"
        yield f"{zone_name(zone)}: {zone['free']:,} pages free, {where}."
        if zone["boost"]:
            yield f"The marks are boosted by {zone['boost']:,} pages: types were mixed in a pageblock a short time before."
        if marks["moments"] > 1 and zone["below_low"]:
            yield f"It was below low in {zone['below_low']:,} of {zone['moments']:,} copies, below min in {zone['below_min']:,}."


def _counters(counters: Mapping[str, Any]) -> Iterator[str]:
    """What allocations waited for, and how often it was in vain."""
    yield _span(counters, "vmstat")
    since = "since boot" if counters["since"] == "boot" else "over the series"
    counts = {name: one["count"] for name, one in counters["counters"].items()}
    named = [f"{counts[name]:,} {what}" for name, what in COUNTED.items() if counts.get(name)]
    yield from (f"{said[0].upper()}{said[1:]} {since}." for said in named)
    shares = counters["shares"]
    if shares["compact_fail"] is not None:
        yield f"Of {counts['compact_stall']:,} direct compactions {counts['compact_fail']:,} failed ({shares['compact_fail']:.1%})."
    if shares["thp_fault_fallback"] is not None:
        faults = counts["thp_fault_fallback"] + counts["thp_fault_alloc"]
        share = shares["thp_fault_fallback"]
        yield f"Of {faults:,} huge page faults {counts['thp_fault_fallback']:,} fell back to small pages ({share:.1%})."
    for name, most in counters["busiest"].items():
        if most["from_time"] and most["to_time"] and most["count"] < counts[name]:
            yield f"{name} rose most from {most['from_time']} to {most['to_time']}: by {most['count']:,}."
    if counters["restarts"]:
        yield f"The machine booted {counters['restarts']:,} times meanwhile: what happened just before is not counted."
    if len(counters["counters"]) + len(counters["gauges"]) == 0:
        yield "None of its counters tells of fragmentation."


def _slab(slab: Mapping[str, Any]) -> Iterator[str]:
    """The largest slab caches."""
    yield _span(slab, "slabinfo")
    largest = ", ".join(f"{one['cache']} {one['pages']:,}" for one in slab["caches"][:MOST_CACHES])
    yield f"Slab caches hold {slab['pages']:,} pages; the largest: {largest}."


def _kernels_own(machine: Machine) -> Iterator[str]:
    """The kernel's own indices at pageblock order."""
    for part, name in (("unusable_index", "unusable free index"), ("extfrag_index", "fragmentation index")):
        if machine[part] is None:
            continue
        yield _span(machine[part], part)
        for zone in machine[part]["zones"]:
            order = min(machine["pageblock_order"], len(zone["last"]) - 1)
            value = zone["last"][order]
            said = "a chunk is free" if value == -1000 and part == "extfrag_index" else f"{value / 1000:.3f}"
            yield f"{zone_name(zone)}: the kernel's {name} of order {order}: {said}."
