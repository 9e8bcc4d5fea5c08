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
    """The answer in sentences: a paragraph for each part of each machine, a line for each zone."""
    paragraphs = []
    for machine in answer["machines"]:
        said = ["\n".join(part) for part in _parts(machine) if part]
        paragraphs += [f"{machine['name']}:\n{said[0]}", *said[1:]] if machine["name"] and said else said
    doubts = [f"Lines cut because they are too long: {answer['lines_cut']:,}."] if answer["lines_cut"] else []
    if answer["rows_not_read"]:
        doubts.append(
            f"Rows of zones that are damaged or cut off, and were left out: {answer['rows_not_read']:,}."
        )
    doubts += [f"Read only in part: {sentence}" for sentence in answer["damaged"]]
    return "\n\n".join([*paragraphs, *(["\n".join(doubts)] if doubts else [])])


def tables(answer: Mapping[str, Any]) -> list[Table]:
    """The tables of all machines."""
    return [table for machine in answer["machines"] for table in machine_tables(machine)]


def _parts(machine: Machine) -> Iterator[list[str]]:
    """The lines of each part that there is a file of."""
    if machine["free"]:
        yield list(_free(machine))
    if machine["blocks"]:
        again = machine["free_from"] == "pagetypeinfo"
        yield [*([] if again else [_span(machine["blocks"], "pagetypeinfo")]), *_blocks(machine["blocks"])]
    for part, said in (("marks", _marks), ("counters", _counters), ("slab", _slab)):
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
    given = machine["pageblock_order_given"]
    guess = f" Order {machine['pageblock_order']} is taken for a pageblock's: no file says it."
    yield _span(free, machine["free_from"]) + ("" if given else guess)
    for zone in free["zones"]:
        yield " ".join(_zone(zone, free["moments"]))
    for zone in free["excerpts"]:
        yield f"{zone_name(zone)}: only orders {', '.join(zone['chunks'])} are in the file, so no index is computed."
    yield from _anywhere(free)
    if free["at_least"]:
        yield "Counts marked >= are where the kernel stopped counting: free pages are at least so many."
    if free["rows_left_out"]:
        yield f"Rows with another number of orders were left out: {free['rows_left_out']:,}."


def _zone(zone: Mapping[str, Any], moments: int) -> Iterator[str]:
    """One zone: what is free at the end, the two indices, how it went."""
    last, order, whole = zone["last"], zone["unusable"]["order"], zone["followed"][-1]["order"]
    name, pages = zone_name(zone), last["free_pages"]
    usable = zone["followed"][-1]["pages_last"]
    if not pages:
        yield f"{name}: nothing is free."
    elif usable:
        yield f"{name}: {pages:,} pages free, {usable:,} of them in chunks of order {whole} or larger."
    else:
        largest = last["largest_order"]
        yield f"{name}: {pages:,} pages free, none in a chunk of order {whole} or larger; the largest has order {largest}."
    if usable and moments == 1:
        yield f"Of no use to order {order} are {last['unusable_free_index'][order] / 10:.1f} %."
    index = last["fragmentation_index"][order]
    if pages and index >= 0:
        why = "fragmentation" if index > EXTFRAG_THRESHOLD else "lack of memory"
        yield f"A request of order {order} would fail there of {why} (fragmentation index {index / 1000:.3f})."
    if moments > 1:
        yield from _course(zone)


def _course(zone: Mapping[str, Any]) -> Iterator[str]:
    """How a zone went over the series."""
    unusable, followed = zone["unusable"], zone["followed"][-1]
    trend, order, of_share = unusable["trend"], followed["order"], unusable["order"]
    if unusable["least"] == unusable["most"]:
        yield f"In every copy {unusable['least'] / 10:.1f} % of free memory is of no use to order {of_share}."
    else:
        way = "steady" if abs(trend) < STEADY else "rising" if trend > 0 else "falling"
        yield (
            f"The share of no use to order {of_share} is {way}: {unusable['first'] / 10:.1f} -> {unusable['last'] / 10:.1f} % "
            f"(least {unusable['least'] / 10:.1f}, most {unusable['most'] / 10:.1f} %)."
        )
    if followed["pages_first"] != followed["pages_last"]:
        yield f"Pages in chunks of order {order} or larger: {followed['pages_first']:,} -> {followed['pages_last']:,}."
    if followed["none_from"] == 0:
        yield f"No copy shows a free chunk of order {order} or larger."
    elif followed["none_from"] is not None:
        when = followed["none_from_time"] or f"copy {followed['none_from'] + 1:,}"
        yield f"From {when} on, no chunk of order {order} or larger was free."
    elif followed["none_moments"]:
        none = followed["none_moments"]
        yield f"No chunk of order {order} or larger was free in {none:,} cop{'y' if none == 1 else 'ies'}."


def _anywhere(free: Mapping[str, Any]) -> Iterator[str]:
    """What holds of all zones together."""
    for followed in free["all_zones"]:
        none, order = followed["none_moments"], followed["order"]
        if none and none == free["moments"]:
            yield f"In no zone was a chunk of order {order} or larger free" + (
                ", in any copy." if none > 1 else "."
            )
        elif none:
            yield f"In {none:,} of {free['moments']:,} copies no zone had a free chunk of order {order} or larger."


def _blocks(blocks: Mapping[str, Any]) -> Iterator[str]:
    """Pageblocks by type."""
    for zone in blocks["zones"]:
        if sum(zone["blocks_last"].values()):
            yield " ".join(_blocks_of(zone))


def _blocks_of(zone: Mapping[str, Any]) -> Iterator[str]:
    """Pageblocks of one zone."""
    first, last = zone["blocks_first"], zone["blocks_last"]
    whole, fixed = sum(last.values()), fixed_blocks(last)
    parts = ", ".join(f"{n:,} {name.lower()}" for name, n in last.items() if n)
    yield f"{zone_name(zone)}: {parts} of {whole:,} pageblocks; {100 * fixed / whole:.1f} % unmovable or reclaimable."
    gained = fixed - fixed_blocks(first)
    if gained:
        yield f"Unmovable and reclaimable ones {fixed_blocks(first):,} -> {fixed:,} ({gained:+,})."
    mixed = sum(zone["mixed"].values())
    if mixed:
        yield f"The kernel's own count of mixed ones (page_owner) is {mixed:,}."


def _marks(marks: Mapping[str, Any]) -> Iterator[str]:
    """Free pages against the watermarks."""
    yield _span(marks, "zoneinfo")
    for zone in marks["zones"]:
        yield " ".join(_marks_of(zone))


def _marks_of(zone: Mapping[str, Any]) -> Iterator[str]:
    """Free pages of one zone against its watermarks."""
    state = next((mark for mark in ("min", "low", "high") if zone["free"] < zone[mark]), None)
    where = (
        f"below the {state} watermark ({zone[state]:,})"
        if state
        else f"not below the high watermark ({zone['high']:,})"
    )
    yield f"{zone_name(zone)}: {zone['free']:,} pages free, {where}."
    if zone["boost"]:
        yield f"The marks are boosted by {zone['boost']:,} pages: types were mixed in a pageblock a short time before."
    if zone["moments"] > 1 and zone["below_low"]:
        yield f"It was below low in {zone['below_low']:,} of {zone['moments']:,} copies, below min in {zone['below_min']:,}."


def _counters(counters: Mapping[str, Any]) -> Iterator[str]:
    """What allocations waited for, and how often it was in vain."""
    yield _span(counters, "vmstat")
    since = "since boot" if counters["since"] == "boot" else "over the series"
    counts = {name: one["count"] for name, one in counters["counters"].items()}
    named = [f"{counts[name]:,} {what}" for name, what in COUNTED.items() if counts.get(name)]
    yield from (f"{said[0].upper()}{said[1:]} {since}." for said in named)
    yield from _shares(counts, counters["shares"])
    for name, most in counters["busiest"].items():
        if most["from_time"] and most["to_time"] and most["count"] < counts[name]:
            yield f"{name} rose most from {most['from_time']} to {most['to_time']}: by {most['count']:,}."
    if counters["restarts"]:
        times = "once" if counters["restarts"] == 1 else f"{counters['restarts']:,} times"
        yield f"The machine booted {times} meanwhile: what happened just before is not counted."
    if len(counters["counters"]) + len(counters["gauges"]) == 0:
        yield "None of its counters tells of fragmentation."


def _shares(counts: Mapping[str, int], shares: Mapping[str, float | None]) -> Iterator[str]:
    """How many direct compactions failed, and how many huge page faults fell back."""
    failed, fell_back = shares["compact_fail"], shares["thp_fault_fallback"]
    if failed is not None:
        stalls = counts["compact_stall"]
        yield f"Of {stalls:,} direct compactions {counts['compact_fail']:,} failed ({100 * failed:.1f} %)."
    if fell_back is not None:
        small = counts["thp_fault_fallback"]
        faults = small + counts["thp_fault_alloc"]
        yield f"Of {faults:,} huge page faults {small:,} fell back to small pages ({100 * fell_back:.1f} %)."


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
