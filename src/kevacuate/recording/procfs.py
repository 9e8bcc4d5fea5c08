# SPDX-License-Identifier: GPL-2.0-or-later
"""Text and binary files of /proc that a recording holds: zoneinfo, pagetypeinfo, kpageflags."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kevacuate.errors import KevacuateError
from kevacuate.recording.machine import ZoneInfo
from kevacuate.recording.ringbuf import read_blocks

_ZONE = re.compile(r"^Node (\d+), zone\s+(\S+)\s*$", re.MULTILINE)
_BLOCK_ORDER = re.compile(r"^Page block order:\s*(\d+)", re.MULTILINE)
_HUGE = re.compile(r"^Hugepagesize:\s*(\d+) kB", re.MULTILINE)
_SWAP = re.compile(r"^SwapTotal:\s*(\d+) kB", re.MULTILINE)


def _number(text: str, pattern: str, default: int = 0) -> int:
    match = re.search(pattern, text, re.MULTILINE)
    return int(match[1]) if match else default


def parse_zoneinfo(text: str) -> tuple[tuple[ZoneInfo, ...], tuple[str, ...]]:
    """The zones that have pages, and the names of all zones of the first node by index."""
    heads = list(_ZONE.finditer(text))
    zones: list[ZoneInfo] = []
    names: list[str] = []
    seen: dict[int, int] = {}
    for head, following in zip(heads, [*heads, None][1:], strict=True):
        body = text[head.end() : following.start() if following else len(text)]
        node = int(head[1])
        index = seen.get(node, 0)
        seen[node] = index + 1
        if node == int(heads[0][1]):
            names.append(head[2])
        present = _number(body, r"^\s+present\s+(\d+)")
        if present:
            zones.append(_zone_info(node, index, head[2], present, body))
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


def pageblock_order(pagetypeinfo: str, default: int = 9) -> int:
    """The order of a pageblock, of /proc/pagetypeinfo."""
    match = _BLOCK_ORDER.search(pagetypeinfo)
    return int(match[1]) if match else default


def hugepage_order(meminfo: str) -> int:
    """The order of a huge page of the default size, of /proc/meminfo; -1 if there are none."""
    match = _HUGE.search(meminfo)
    return (int(match[1]) // 4).bit_length() - 1 if match else -1


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
