# SPDX-License-Identifier: GPL-2.0-or-later
"""What would help on a machine of which there are copies of /proc files: rules, each with its source; none where none holds.

docs/files.md has the rules as a table, which a test compares with :data:`RULES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

Machine = Mapping[str, Any]
Advice = dict[str, str]

VM = "Documentation/admin-guide/sysctl/vm.rst"
THP = "Documentation/admin-guide/mm/transhuge.rst"

WORTH = 16
"""Pageblocks' worth of free pages: with less in a zone, none of pageblock order being free says little."""

EXTFRAG_THRESHOLD = 500
"""sysctl_extfrag_threshold, by default (mm/compaction.c): a larger index means fragmentation, not lack of memory."""

PROACTIVENESS = 20
"""sysctl_compaction_proactiveness, by default (mm/compaction.c)."""

MOST_PROACTIVE = 80
"""Above it, the documentation warns of more work for less effect."""

STALLS = 100
"""Direct compactions below which their share of failures says little."""

FAULTS = 1000
"""Huge page faults below which the share that fell back says little."""

GROWN = 10
"""Pageblocks that unmovable and reclaimable ones must have gained, and :data:`GROWN_SHARE` of all."""

GROWN_SHARE = 0.01

ALLOCSTALLS_AN_HOUR = 3600
"""Entries into direct reclaim: one a second."""

ALLOCSTALLS = 60
"""Entries below which a rate says nothing: a minute's at that rate."""


def advice_of(machine: Machine) -> list[Advice]:
    """The rules that hold for a machine, strongest first: ``do``, ``evidence``, ``source``."""
    return [
        {"do": piece[0], "evidence": piece[1], "source": piece[2]}
        for rule in RULES
        for piece in rule(machine)
    ]


def who_spoils(machine: Machine) -> Iterator[tuple[str, str, str]]:
    """Record who takes movable pageblocks: free pages abound in a zone, and no chunk of pageblock order is free."""
    zone = next(_scattered(machine), None)
    if zone is None:
        return
    last, order = zone["last"], zone["unusable"]["order"]
    index = last["fragmentation_index"][order] / 1000
    yield (
        "Record who takes movable pageblocks: `sudo kevacuate record --light --duration 600 -o machine.kev`, then "
        "`kevacuate triage machine.kev`.",
        f"{zone_name(zone)}: {last['free_pages']:,} pages are free, none in a chunk of order {order}; the fragmentation index is "
        f"{index:.3f}.",
        f"{VM}, extfrag_threshold; mm/vmstat.c:__fragmentation_index",
    )


def huge_page_faults(machine: Machine) -> Iterator[tuple[str, str, str]]:
    """Let huge page faults not wait for compaction: most of both fail."""
    counters = machine["counters"]
    if counters is None:
        return
    stalls, failed, fallback = (
        _count(counters, name) for name in ("compact_stall", "compact_fail", "thp_fault_fallback")
    )
    faults = fallback + _count(counters, "thp_fault_alloc")
    shares = counters["shares"]
    enough = stalls >= STALLS and faults >= FAULTS
    if not enough or min(shares["compact_fail"] or 0, shares["thp_fault_fallback"] or 0) < 0.5:
        return
    yield (
        "Let huge page faults wake kcompactd and not compact: `echo defer+madvise > "
        "/sys/kernel/mm/transparent_hugepage/defrag`.",
        f"{failed:,} of {stalls:,} direct compactions failed, and {fallback:,} of {faults:,} huge page faults fell back.",
        f"{THP}, defrag: defer+madvise; compact_fail, thp_fault_fallback",
    )


def kswapd_too_late(machine: Machine) -> Iterator[tuple[str, str, str]]:
    """Wake kswapd earlier: allocations often reclaim by themselves."""
    counters = machine["counters"]
    rate = (counters["per_hour"] or {}).get("allocstall", 0) if counters else 0
    if rate < ALLOCSTALLS_AN_HOUR or _count(counters, "allocstall") < ALLOCSTALLS:
        return
    yield (
        "Wake kswapd earlier: raise vm.watermark_scale_factor (10 by default), and compare allocstall.",
        f"allocstall rose by {_count(counters, 'allocstall'):,} ({rate:,.0f} an hour).",
        f"{VM}, watermark_scale_factor",
    )


def proactive(machine: Machine) -> Iterator[tuple[str, str, str]]:
    """Let kcompactd begin earlier: a node's score lies below where it begins, and allocations compact by themselves."""
    counters = machine["counters"]
    if counters is None or _count(counters, "compact_stall") < STALLS:
        return
    default = starts_above(PROACTIVENESS)
    for node, score in sorted(fragmentation_scores(machine).items()):
        wanted = next(
            (p for p in range(PROACTIVENESS + 1, MOST_PROACTIVE + 1) if score > starts_above(p)), None
        )
        if score > default or wanted is None:
            continue
        yield (
            f"Let kcompactd begin earlier: `sysctl vm.compaction_proactiveness={wanted}`.",
            f"Node {node}'s fragmentation score is {score}; proactive compaction starts above {default} by default. "
            f"compact_stall is {_count(counters, 'compact_stall'):,}.",
            f"{VM}, compaction_proactiveness; mm/compaction.c:should_proactive_compact_node",
        )
        return


def blocks_lost(machine: Machine) -> Iterator[tuple[str, str, str]]:
    """Avoid fragmentation from boot on: movable pageblocks became unmovable or reclaimable while the series ran."""
    for zone in (machine["blocks"] or {"zones": ()})["zones"]:
        before, after = (fixed_blocks(zone[at]) for at in ("blocks_first", "blocks_last"))
        whole = sum(zone["blocks_last"].values())
        if after - before < max(GROWN, GROWN_SHARE * whole):
            continue
        yield (
            "Let the allocator avoid fragmentation: `sysctl vm.defrag_mode=1`, right after boot, where the kernel has it.",
            f"{zone_name(zone)}: unmovable and reclaimable pageblocks {before:,} -> {after:,} of {whole:,}.",
            f"{VM}, defrag_mode",
        )
        return


def compact_once(machine: Machine) -> Iterator[tuple[str, str, str]]:
    """Compact once, to see whether that helps: most of the scattered free memory lies in movable pageblocks."""
    scattered = {(zone["node"], zone["zone"]) for zone in _scattered(machine)}
    for zone in (machine["blocks"] or {"zones": ()})["zones"]:
        movable, whole = zone["free_pages"].get("Movable", 0), sum(zone["free_pages"].values())
        if (zone["node"], zone["zone"]) not in scattered or 2 * movable < whole:
            continue
        yield (
            "Compact once, and read /proc/buddyinfo again: `echo 1 > /proc/sys/vm/compact_memory`.",
            f"{zone_name(zone)}: {movable:,} of {whole:,} free pages are of movable type, in chunks below pageblock order.",
            f"{VM}, compact_memory",
        )
        return


RULES: tuple[Callable[[Machine], Iterator[tuple[str, str, str]]], ...] = (
    who_spoils,
    huge_page_faults,
    kswapd_too_late,
    proactive,
    blocks_lost,
    compact_once,
)
"""The rules, strongest first."""


def zone_name(zone: Mapping[str, Any]) -> str:
    """``Node 0, zone Normal``."""
    return f"Node {zone['node']}, zone {zone['zone']}"


def fixed_blocks(blocks: Mapping[str, int]) -> int:
    """Pageblocks of unmovable and reclaimable type."""
    return blocks.get("Unmovable", 0) + blocks.get("Reclaimable", 0)


def _count(counters: Mapping[str, Any], name: str) -> int:
    """How often a counter rose; 0 where it is not in the file."""
    return int(counters["counters"].get(name, {"count": 0})["count"])


def _scattered(machine: Machine) -> Iterator[Mapping[str, Any]]:
    """Zones with much free memory and no chunk of pageblock order, which fragmentation and not lack of memory explains."""
    for zone in (machine["free"] or {"zones": ()})["zones"]:
        order, last = zone["unusable"]["order"], zone["last"]
        if last["free_pages"] >= WORTH << order and last["fragmentation_index"][order] > EXTFRAG_THRESHOLD:
            yield zone


def starts_above(proactiveness: int) -> int:
    """The node's score above which proactive compaction starts (mm/compaction.c:fragmentation_score_wmark)."""
    low = 100 - proactiveness
    return min(low + min(10, low // 2), 100)


def fragmentation_scores(machine: Machine) -> dict[int, int]:
    """The score of each node of which both buddyinfo and zoneinfo show every zone with memory.

    Sum over its zones of present pages times the share of free memory in chunks below huge page order (percent, whole), over the
    node's present pages and one (mm/compaction.c:fragmentation_score_node; the order is taken to be the pageblock's).
    """
    if machine["free"] is None or machine["marks"] is None:
        return {}
    free = {(zone["node"], zone["zone"]): zone["last"] for zone in machine["free"]["zones"]}
    present: dict[int, dict[str, int]] = {}
    for zone in machine["marks"]["zones"]:
        present.setdefault(zone["node"], {})[zone["zone"]] = zone["present"]
    scores = {}
    for node, zones in present.items():
        if all((node, name) in free and pages for name, pages in zones.items()):
            whole = sum(zones.values()) + 1
            scores[node] = sum(
                pages * extfrag_for_order(free[node, name], machine["pageblock_order"]) // whole
                for name, pages in zones.items()
            )
    return scores


def extfrag_for_order(last: Mapping[str, Any], order: int) -> int:
    """Percent of free pages in chunks below *order*, rounded down; 0 where nothing is free (mm/vmstat.c:extfrag_for_order)."""
    pages = last["free_pages"]
    usable = sum(n << at for at, n in enumerate(last["free_by_order"]) if at >= order)
    return int((pages - usable) * 100 // pages) if pages else 0
