# SPDX-License-Identifier: GPL-2.0-or-later
"""Why no zone served a request: each zone of a report held against the rules of the kernel that wrote it.

A report is written after the allocation failed: what is free by then may be more or less than it was. What the log does not say,
:mod:`kevacuate.kernel.watermark` names.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, pairwise
from typing import Any, NamedTuple

from kevacuate.kernel import gfp
from kevacuate.kernel.versions import Version, parse_version, version_text
from kevacuate.kernel.watermark import (
    ATOMIC_FLAG,
    FREE_HIGHATOMIC,
    ZONES,
    Access,
    FreeMemory,
    access,
    can_reclaim,
    highest_zone,
    lowered,
    migratetype,
    order_without_room,
    usable,
)
from kevacuate.kernelfiles.allocfailure import Report
from kevacuate.kernelfiles.showmem import LETTERS, Zone
from kevacuate.measure.metrics import fragmentation_index
from kevacuate.recording.gfptext import gfp_value

SHORTAGE, FRAGMENTATION, BOTH = "shortage", "fragmentation", "fragmentation and shortage"
PROTECTED, SERVED, NOT_KNOWN = "protected", "could have served", "not known"
"""Verdicts on a zone. ``protected``: lowmem_reserve alone keeps the request out. A report's verdict is one of these, too."""

NO_ZONE = "no zone allowed"
"""Verdict on a report that shows zones, none of which the request may take from."""

BELOW_MIN, NO_CHUNK, OTHER_TYPES, HIGHER_ORDERS, RESERVE = (
    "below min",
    "no chunk",
    "only types it may not take",
    "too little in larger chunks",
    "lowmem_reserve",
)
"""Reasons why a zone did not serve a request."""

THRESHOLD = 500
"""Default of vm.extfrag_threshold: up to this index, in thousandths, the kernel takes lack of memory for the cause."""

_FAST = Access(False, False, False, False, False, False, False, True)
"""What a request may take before kswapd is woken (get_page_from_freelist with ALLOC_WMARK_LOW), but for CMA."""


def index_text(index: int) -> str:
    """An index in thousandths as debugfs prints it: division and remainder of C, ``%d.%03d`` (extfrag_show_print)."""
    whole = abs(index) // 1000 * (1 if index >= 0 else -1)
    rest = index - whole * 1000
    return f"{whole}.{rest:03d}" if index >= 0 or whole == 0 else f"{whole}.{abs(rest):03d}"


def kernel_verdict(index: int | None) -> str:
    """What the fragmentation index says, by the kernel's threshold: shortage, fragmentation, or neither as a chunk is free."""
    if index is None:
        return NOT_KNOWN
    return SERVED if index == -1000 else SHORTAGE if index <= THRESHOLD else FRAGMENTATION


class Request(NamedTuple):
    """A request in the terms of its kernel."""

    version: Version
    """Whose rules hold."""
    exact: bool
    """Whether the log names the version; else it is the oldest that prints a report of this form."""
    words: str
    """The flags as that kernel names them."""
    flags: frozenset[str] | None
    """Its ``__GFP_`` names; None where the bits of a number are not known."""


def layout_version(report: Report) -> Version:
    """The oldest version that prints a report of this form, of those that have what it shows."""
    shown = {name for zone in report.zones for name in zone.fields}
    letters = {letter for zone in report.zones for _, _, types in zone.chunks for letter in types}
    for name, version in (
        ("free_highatomic", FREE_HIGHATOMIC),
        ("boost", (5, 17)),
        ("reserved_highatomic", (5, 7)),
    ):
        if name in shown:
            return version
    if report.gfp_names:
        return (4, 6)
    return (
        ATOMIC_FLAG if "H" in letters else (4, 1) if "free_pcp" in shown and "R" not in letters else (3, 10)
    )


def request(report: Report) -> Request:
    """The request of a report."""
    known = parse_version(report.release)
    version = known or layout_version(report)
    number = report.gfp or 0
    if report.gfp_names:
        return Request(version, known is not None, report.gfp_names, _named(report.gfp_names, version))
    found = gfp.flag_names(number, version)
    flags = None if report.gfp is None or found is None else found[0]
    return Request(
        version, known is not None, gfp.words(number, version) if report.gfp is not None else "", flags
    )


def _named(text: str, version: Version) -> frozenset[str] | None:
    """The single names that printed ones stand for; None where a number among them cannot be read."""
    try:
        value, _ = gfp_value(text.replace(" ", ""), version)
    except ValueError:
        return None
    names = {name for name, bit in gfp.GFP_BITS.items() if value >> bit & 1}
    if version < (6, 3) and {"GFP_ATOMIC", "__GFP_ATOMIC"} & set(text.split("|")):
        names.add("__GFP_ATOMIC")
    return frozenset(names)


def zones_by_index(zones: Sequence[Zone]) -> list[tuple[str, ...]]:
    """Names by index that the kernel's zones may have, the likeliest first.

    The log shows the populated zones up to the request's; lowmem_reserve has an entry for each zone of the kernel. A zone's
    entries up to its own index are 0, which rules some out.
    """
    shown = {zone.name for zone in zones}
    entries = max((len(zone.reserve) for zone in zones), default=0)
    base = {"Normal", "Movable", *shown}
    extra = [name for name in ("DMA", "DMA32", "Device", "HighMem") if name not in base]
    found = []
    for added in combinations(extra, max(entries - len(base), 0)):
        names = tuple(name for name in ZONES if name in base or name in added)
        places = {name: index for index, name in enumerate(names)}
        likely = not {"DMA32", "HighMem"} <= set(names)
        if likely and all(not any(zone.reserve[: places[zone.name] + 1]) for zone in zones):
            found.append(names)
    return found or [tuple(name for name in ZONES if name in base)]


def explained(report: Report) -> dict[str, Any]:
    """What a report says of its zones, and the verdict: JSON values."""
    wanted = request(report)
    order = report.order if report.order is not None else 0
    told: dict[str, Any] = {
        "order": report.order,
        "gfp": wanted.words,
        "gfp_number": report.gfp,
        "migratetype": None if wanted.flags is None else migratetype(wanted.flags),
        "can_reclaim": None if wanted.flags is None else can_reclaim(wanted.flags),
        "kernel": report.release or None,
        "rules": version_text(wanted.version),
        "rules_guessed": not wanted.exact,
        "highest_zone": None,
        "zones": [],
        "verdict": NOT_KNOWN,
    }
    if report.oom.memcg or wanted.flags is None or order < 0:
        return told
    layouts = zones_by_index(report.zones)
    highest = highest_zone(wanted.flags, layouts[0])
    may = access(wanted.flags, order, wanted.version)
    told["highest_zone"] = highest
    told["zones"] = [
        _zone(
            zone,
            report,
            wanted,
            may,
            order,
            highest,
            layouts[0].index(highest) if highest in layouts[0] else None,
        )
        for zone in sorted(report.zones, key=lambda one: (one.node, ZONES.index(one.name)))
    ]
    verdicts = [zone["verdict"] for zone in told["zones"] if zone["verdict"]]
    told["verdict"] = NO_ZONE if told["zones"] and not verdicts else _verdict(verdicts)
    if told["verdict"] != SERVED and all(_not_shown(report.zones, names, highest) for names in layouts):
        told["verdict"] = NOT_KNOWN
    return told


def _not_shown(zones: Sequence[Zone], names: tuple[str, ...], highest: str) -> bool:
    """Whether a log was cut before a zone that the request may take from: lowmem_reserve of a lower zone counts its pages.

    An entry grows where the zone of its index has pages (setup_per_zone_lowmem_reserve).
    """
    shown = {(zone.node, zone.name) for zone in zones}
    end = names.index(highest) + 1 if highest in names else len(names)
    return any(
        after > before and (zone.node, names[index]) not in shown
        for zone in zones
        for index, (before, after) in enumerate(pairwise(zone.reserve[:end]), 1)
        if index > names.index(zone.name)
    )


def _verdict(zones: Sequence[str]) -> str:
    """The verdict on a request of those on the zones that it may take from; protected ones count where there are no others."""
    open_zones = {verdict for verdict in zones if verdict != PROTECTED}
    if not zones or open_zones == {NOT_KNOWN}:
        return NOT_KNOWN
    if not open_zones:
        return PROTECTED
    if SERVED in open_zones:
        return SERVED
    open_zones -= {NOT_KNOWN}
    return open_zones.pop() if len(open_zones) == 1 else BOTH


def _outside(zone: Zone, report: Report, wanted: Request, may: Access, highest: str) -> str | None:
    """Why a request may not take from a zone at all; None if it may."""
    if ZONES.index(zone.name) > ZONES.index(highest):
        return f"above {highest}"
    if report.nodes is not None and zone.node not in report.nodes:
        return "not in the nodemask"
    bound = may.cpuset and "__GFP_HARDWALL" in (wanted.flags or ())
    if bound and report.mems_allowed is not None and zone.node not in report.mems_allowed:
        return "not in the cpuset"
    return None


def _memory(zone: Zone, version: Version) -> FreeMemory:
    """A zone's free memory in pages."""

    def pages(name: str) -> int:
        return zone.fields.get(name, 0) // zone.page_kb

    highatomic = "free_highatomic" if version >= FREE_HIGHATOMIC else "reserved_highatomic"
    return FreeMemory(pages("free"), zone.nr_free, pages("free_cma"), pages(highatomic), pages("boost"))


def _zone(
    zone: Zone, report: Report, wanted: Request, may: Access, order: int, highest: str, index: int | None
) -> dict[str, Any]:
    """One zone, with why it did not serve the request; ``outside`` says why it could not have, and is None where it could."""
    size = zone.page_kb
    memory = _memory(zone, wanted.version)
    reserve = zone.reserve[index] if index is not None and index < len(zone.reserve) else 0
    mark = lowered(zone.fields.get("min", 0) // size, memory, may)
    free = usable(memory, order, may, wanted.version)
    quick = usable(memory, order, _FAST._replace(cma=may.cma), wanted.version)
    low = zone.fields.get("low", 0) // size
    found = {
        "node": zone.node,
        "name": zone.name,
        "outside": _outside(zone, report, wanted, may, highest),
        "free_kb": zone.fields.get("free", 0),
        "counted_kb": free * size,
        "min_kb": zone.fields.get("min", 0),
        "low_kb": zone.fields.get("low", 0),
        "mark_kb": 0 if may.past_marks else mark * size,
        "reserve_kb": reserve * size,
        "below_low": quick <= low + reserve,
        "page_kb": size,
        **_chunks(zone, order, may, wanted.version),
        "reasons": [],
        "verdict": None,
    }
    if found["outside"] is None:
        enough = may.past_marks or free > mark + reserve
        stuck = (
            order_without_room(memory, order, mark, may, wanted.version)
            if enough and not may.past_marks
            else None
        )
        found["reasons"] = _reasons(found, enough, may.past_marks or free > mark, stuck, order)
        untold = index is not None and index >= len(zone.reserve)
        found["verdict"] = NOT_KNOWN if untold and enough else _zone_verdict(found, zone, order)
    return found


def _chunks(zone: Zone, order: int, may: Access, version: Version) -> dict[str, Any]:
    """Free chunks by order, those that are large enough, and whether the request may take one.

    Of a line that a log cut, ``large_chunks`` and ``index`` are None, and ``may_take_one`` is True or None: what it lacks may be
    large enough.
    """
    allowed = {"U", "M", "E", *(("R",) if version < ATOMIC_FLAG else ())}
    allowed |= ({"C"} if may.cma else set()) | ({"H"} if may.highatomic else set())
    large = [chunk for chunk in zone.chunks[order:] if chunk[0]]
    letters = {letter for _, _, types in large for letter in types}
    takes = any(not types or allowed & set(types) for _, _, types in large)
    index = fragmentation_index(zone.nr_free, order) if zone.whole and order < len(zone.chunks) else None
    return {
        "free_chunks": list(zone.nr_free),
        "free_in_chunks_kb": sum(count * size for count, size, _ in zone.chunks),
        "large_chunks": sum(count for count, _, _ in large) if zone.whole else None,
        "may_take_one": takes if zone.whole or takes else None,
        "types_not_allowed": sorted(LETTERS.get(letter, letter) for letter in letters - allowed),
        "index": index,
        "index_text": None if index is None else index_text(index),
        "index_says": kernel_verdict(index),
    }


def _reasons(
    found: dict[str, Any], enough: bool, enough_alone: bool, stuck: int | None, order: int
) -> list[str]:
    """Why a zone did not serve the request: the mark first, then its chunks."""
    reasons = []
    if not enough:
        reasons.append(RESERVE if enough_alone else BELOW_MIN)
    if found["large_chunks"] == 0 and (order or found["free_kb"] == 0):
        reasons.append(NO_CHUNK)
    elif found["may_take_one"] is False and found["large_chunks"]:
        reasons.append(OTHER_TYPES)
    elif stuck is not None:
        reasons.append(HIGHER_ORDERS)
    return reasons


def _zone_verdict(found: dict[str, Any], zone: Zone, order: int) -> str:
    """Shortage or fragmentation, of one zone; docs/triage.md has the rule."""
    reasons = found["reasons"]
    if "free" not in zone.fields or "min" not in zone.fields:
        return NOT_KNOWN
    if not zone.whole and RESERVE not in reasons and (order > 0) == bool(reasons):
        return NOT_KNOWN  # the chunks tell fragmentation, and of order 0 what is kept for atomic requests
    chunkless = bool({NO_CHUNK, OTHER_TYPES, HIGHER_ORDERS} & set(reasons)) and order > 0
    if RESERVE in reasons and not chunkless:
        return PROTECTED
    if not reasons:
        return SERVED if found["may_take_one"] or order == 0 else NOT_KNOWN
    if not chunkless:
        return SHORTAGE
    if RESERVE in reasons:
        return PROTECTED
    if BELOW_MIN in reasons and found["index_says"] == SHORTAGE:
        return SHORTAGE
    return BOTH if BELOW_MIN in reasons or found["below_low"] else FRAGMENTATION
