# SPDX-License-Identifier: GPL-2.0-or-later
"""Text and binary files of /proc that a recording holds: zoneinfo, pagetypeinfo, kpageflags."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kevacuate.errors import KevacuateError
from kevacuate.recording.machine import ZoneInfo
from kevacuate.recording.possible import MOST_ORDER
from kevacuate.recording.ringbuf import read_blocks

_ZONE = re.compile(r"^Node (\d+), zone\s+(\S+)\s*$", re.MULTILINE)
_BLOCK_ORDER = re.compile(r"^Page block order:\s*(\d+)", re.MULTILINE)
_HUGE = re.compile(r"^Hugepagesize:\s*(\d+) kB", re.MULTILINE)
_PROTECTION = re.compile(r"^\s+protection: \(([\d, ]*)\)", re.MULTILINE)
_PAGESET = re.compile(
    r"^\s+cpu: (\d+)\n((?:[ \t]+(?:count|high|batch|high_min|high_max):[ \t]+\d+\n)+)", re.MULTILINE
)
_PAGESET_FIELD = re.compile(r"^\s+(\w+):\s+(\d+)$", re.MULTILINE)
PAGESET_FIELDS = ("count", "high", "batch", "high_min", "high_max")
_BUDDY = re.compile(r"^Node (\d+), zone\s+(\S+)((?:\s+\d+)+)\s*$", re.MULTILINE)
_TYPE_FREE = re.compile(r"^Node\s+(\d+), zone\s+(\S+), type\s+(\w+)((?:\s+>?\d+)+)\s*$", re.MULTILINE)
_TYPE_BLOCKS = re.compile(r"^Node (\d+), zone\s+(\S+)((?:\s+\d+)+)\s*$", re.MULTILINE)
_VMSTAT = re.compile(r"^(\w+) (\d{1,20})$", re.MULTILINE)
_MEMINFO = re.compile(r"^([A-Z][\w()]*):\s+(\d{1,18})(?: kB)?\s*$", re.MULTILINE)
_SLAB = re.compile(
    r"^(\S+)\s+(\d{1,18})\s+(\d{1,18})\s+\d+\s+\d+\s+(\d{1,6}) : tunables .*: slabdata\s+\d+\s+(\d{1,18})\s+\d+",
    re.MULTILINE,
)
_INDEX = re.compile(r"^Node (\d+), zone\s+(\S+)((?:\s+-?\d\.-?\d{2,3})+)\s*$", re.MULTILINE)
_SWAP = re.compile(r"^SwapTotal:\s*(\d+) kB", re.MULTILINE)


def _number(text: str, pattern: str, default: int = 0) -> int:
    match = re.search(pattern, text, re.MULTILINE)
    return int(match[1]) if match else default


def parse_zoneinfo(text: str) -> tuple[tuple[ZoneInfo, ...], tuple[str, ...]]:
    """The zones that have pages, and the names of all zones of the first node by index."""
    zones: list[ZoneInfo] = []
    names: list[str] = []
    seen: dict[int, int] = {}
    first: int | None = None
    for (node, name), body in zone_bodies(text):
        first = node if first is None else first
        index = seen.get(node, 0)
        seen[node] = index + 1
        if node == first:
            names.append(name)
        present = _number(body, r"^\s+present\s+(\d+)")
        if present:
            zones.append(_zone_info(node, index, name, present, body))
    return tuple(zones), tuple(names)


def _zone_info(node: int, index: int, name: str, present: int, body: str) -> ZoneInfo:
    return ZoneInfo(
        node=node,
        index=index,
        name=name,
        start_pfn=_number(body, r"^\s+start_pfn:\s+(\d+)"),
        spanned=_number(body, r"^\s+spanned\s+(\d+)"),
        present=present,
        managed=_number(body, r"^\s+managed\s+(\d+)"),
        watermark_min=_number(body, r"^\s+min\s+(\d+)"),
        watermark_low=_number(body, r"^\s+low\s+(\d+)"),
        watermark_high=_number(body, r"^\s+high\s+(\d+)"),
        pcp_batch=_number(body, r"^\s+batch:\s+(\d+)"),
        pcp_high_min=_number(body, r"^\s+high_min:\s+(\d+)"),
        pcp_high_max=_number(body, r"^\s+high_max:\s+(\d+)"),
    )


def zone_bodies(zoneinfo: str) -> Iterator[tuple[tuple[int, str], str]]:
    """((node, zone name), its text) of every zone of /proc/zoneinfo, in its order."""
    heads = list(_ZONE.finditer(zoneinfo))
    for head, following in zip(heads, [*heads, None][1:], strict=True):
        yield (
            (int(head[1]), head[2]),
            zoneinfo[head.end() : following.start() if following else len(zoneinfo)],
        )


def zone_numbers(body: str) -> dict[str, int]:
    """``free``, ``boost``, marks, sizes and ``start_pfn`` of one zone's text, 0 where it has none."""
    names = ("boost", "min", "low", "high", "promo", "spanned", "present", "managed")
    found = {name: _number(body, rf"^\s+{name}\s+(\d+)") for name in names}
    found["free"] = _number(body, r"^\s+pages free\s+(\d+)")
    found["start_pfn"] = _number(body, r"^\s+start_pfn:\s+(\d+)")
    return found


def protection(body: str) -> tuple[int, ...]:
    """The zone's lowmem_reserve, by zone index."""
    match = _PROTECTION.search(body)
    return tuple(int(n) for n in re.findall(r"\d+", match[1])) if match else ()


def pagesets(body: str) -> list[dict[str, int]]:
    """Per CPU: ``cpu``, ``count``, ``high``, ``batch`` and, where the kernel shows them, ``high_min``, ``high_max``."""
    found = []
    for match in _PAGESET.finditer(body):
        values = {name: int(n) for name, n in _PAGESET_FIELD.findall(match[2])}
        found.append({"cpu": int(match[1])} | {name: values.get(name, 0) for name in PAGESET_FIELDS})
    return found


def parse_buddyinfo(text: str) -> dict[tuple[int, str], tuple[int, ...]]:
    """(node, zone) to free chunks by order, of /proc/buddyinfo."""
    return {
        (int(node), zone): tuple(int(n) for n in counts.split())
        for node, zone, counts in _BUDDY.findall(text)
    }


def parse_pagetypeinfo(
    text: str,
) -> tuple[dict[tuple[int, str], dict[str, tuple[int, ...]]], dict[tuple[int, str], dict[str, int]]]:
    """Of /proc/pagetypeinfo, by (node, zone): type to free chunks by order, and type to number of pageblocks.

    A count that the kernel stopped at (``>100000``, to hold the zone's lock only so long) is that number:
    :func:`stopped_counts` names those.
    """
    free: dict[tuple[int, str], dict[str, tuple[int, ...]]] = {}
    for node, zone, kind, counts in _TYPE_FREE.findall(text):
        free.setdefault((int(node), zone), {})[kind] = tuple(int(n) for n in re.findall(r"\d+", counts))
    return free, _counts_below(text, "Number of blocks type")


def stopped_counts(text: str) -> set[tuple[int, str, str, int]]:
    """(node, zone, type, order) of the free chunks of /proc/pagetypeinfo that the kernel counted no further: at least so many.

    Linux 5.4 and later stop at 100000 (mm/vmstat.c:pagetypeinfo_showfree_print).
    """
    return {
        (int(node), zone, kind, order)
        for node, zone, kind, counts in _TYPE_FREE.findall(text)
        if ">" in counts
        for order, count in enumerate(re.findall(r">?\d+", counts))
        if count.startswith(">")
    }


def parse_mixed_blocks(text: str) -> dict[tuple[int, str], dict[str, int]]:
    """Type to pageblocks that hold a page of another type, by (node, zone), of /proc/pagetypeinfo; empty without page_owner.

    The kernel's own count (mm/page_owner.c:pagetypeinfo_showmixedcount_print).
    """
    return _counts_below(text, "Number of mixed blocks")


def _counts_below(text: str, title: str) -> dict[tuple[int, str], dict[str, int]]:
    """Type to count by (node, zone), of the rows below the lines that begin with *title*: each node has one."""
    found: dict[tuple[int, str], dict[str, int]] = {}
    names: list[str] = []
    for line in text.splitlines():
        if line.startswith("Number of "):
            names = line.removeprefix(title).split() if line.startswith(title) else []
        elif names and (row := _TYPE_BLOCKS.match(line)):
            found[int(row[1]), row[2]] = dict(zip(names, map(int, row[3].split()), strict=False))
    return found


def parse_vmstat(text: str) -> dict[str, int]:
    """The counters of /proc/vmstat."""
    return {name: int(value) for name, value in _VMSTAT.findall(text)}


def parse_meminfo(text: str) -> dict[str, int]:
    """The values of /proc/meminfo: kB, or a number of huge pages."""
    return {name: int(value) for name, value in _MEMINFO.findall(text)}


def parse_slabinfo(text: str) -> dict[str, tuple[int, int, int]]:
    """Of /proc/slabinfo, by cache: active objects, all objects, and pages (slabs times pages of a slab)."""
    return {
        name: (int(active), int(objects), int(slabs) * int(pages))
        for name, active, objects, pages, slabs in _SLAB.findall(text)
    }


def parse_index(text: str) -> dict[tuple[int, str], tuple[int, ...]]:
    """Of debugfs' extfrag_index or unusable_index, by (node, zone): the index by order, in thousandths.

    The kernel prints quotient and remainder apart (``%2d.%03d``, mm/vmstat.c:extfrag_show_print), so -500 is ``0.-500``.
    """
    return {
        (int(node), zone): tuple(
            int(whole) * 1000 + int(rest)
            for whole, _, rest in (value.partition(".") for value in values.split())
        )
        for node, zone, values in _INDEX.findall(text)
    }


def pageblock_order(pagetypeinfo: str, default: int = 9) -> int:
    """The order of a pageblock, of /proc/pagetypeinfo.

    Raises
    ------
    KevacuateError
        No kernel has pageblocks of that order.
    """
    match = _BLOCK_ORDER.search(pagetypeinfo)
    order = int(match[1]) if match else default
    if order > MOST_ORDER:
        raise KevacuateError(
            f"pagetypeinfo is corrupted: it has pageblocks of order {order}, and kernels of {MOST_ORDER} at most."
        )
    return order


def hugepage_order(meminfo: str, page_size: int = 4096) -> int:
    """The order of a huge page of the default size, of /proc/meminfo; -1 if there are none."""
    match = _HUGE.search(meminfo)
    return (int(match[1]) * 1024 // page_size).bit_length() - 1 if match else -1


def has_swap(meminfo: str) -> bool:
    """Whether /proc/meminfo shows swap space."""
    match = _SWAP.search(meminfo)
    return bool(match and int(match[1]))


def read_page_words(path: Path) -> npt.NDArray[np.uint64]:
    """Kpageflags or kpagecount (plain or xz): one uint64 per pfn.

    Raises
    ------
    KevacuateError
        If it cannot be read, or ends inside a word.

    """
    whole = b"".join(bytes(block) for block in read_blocks(path))
    if len(whole) % 8:
        raise KevacuateError(
            f"{path} is truncated: {len(whole)} bytes are not a whole number of 8-byte words."
        )
    return np.frombuffer(whole, "<u8").astype(np.uint64)
