# SPDX-License-Identifier: GPL-2.0-or-later
"""Lines of /proc files as mails, terminals and logs hand them on: quoted, wrapped, with a time before each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from kevacuate.kernelfiles.text import TextFile

BUDDYINFO, PAGETYPEINFO, ZONEINFO, VMSTAT = "buddyinfo", "pagetypeinfo", "zoneinfo", "vmstat"
MEMINFO, SLABINFO, INDEX = "meminfo", "slabinfo", "index"
"""Kinds of rows; ``index`` is extfrag_index or unusable_index of debugfs, whose rows look alike."""

MOST_ORDERS = 16
"""More counts than that in a row are no free chunks by order (MAX_PAGE_ORDER is at most 13)."""

MOST_NODES = 1024
"""MAX_NUMNODES where it is largest (NODES_SHIFT 10)."""

LONGEST = 1000
"""Characters of the longest line that may be a row; longer ones are passed over."""

USUAL_ORDERS = 11
"""Orders of most machines: 0 to 10."""

_QUOTE = re.compile(r"^(?:> ?)+")
_NODE = re.compile(
    r"(?:^|[\s:|;\]])Node\s+(?P<node>\d{1,4})(?P<comma>,?)\s+(?:zone:?\s+)?(?P<zone>[A-Z]\w{1,20}),?"
    r"(?:\s+type\s+(?P<type>[A-Z]\w{1,20}))?(?P<rest>[-\s\d.>]*)$"
)
_COUNTS = re.compile(r"(?:\s*>?\d{1,12}(?=\s|$))+\s*")
_INDICES = re.compile(r"(?:\s+-?\d\.-?\d{2,3}(?=\s|$))+\s*")
_MORE = re.compile(r"(?P<indent>\s*)>?\d{1,18}(?:\s+>?\d{1,18})*\s*$")
_TABLE_HEAD = re.compile(r"^Number of (?:blocks type|mixed blocks)(?:\s+[A-Z]\w+)+$")
_MORE_TYPES = re.compile(r"\s+[A-Z]\w+(?:\s+[A-Z]\w+)*$")
_MANGLED = re.compile(r"_{2,}")
_COLLECTL = re.compile(
    r"^(?P<before>\d\d:\d\d:\d\d(?:\.\d+)?\s+)?\s*(?P<node>\d{1,4})\s+(?P<zone>DMA|DMA32|Normal|HighMem|Movable|Device)"
    r"(?P<rest>(?:\s+\d{1,12}){10,16})\s*$"
)
"""A row of ``collectl -sB``: node, zone and free chunks by order, perhaps with a time of day."""
_ORDERS_HEAD = re.compile(r"Free pages count per migrate type at order(?P<orders>[\s\d]*)$")
_COUNTER = re.compile(
    r"^(?:\S*vmstat:)?(?P<name>(?:nr|numa|pg|psw|workingset|thp|compact|allocstall|kswapd|slabs|pageoutrun|drop|oom_kill|htlb|"
    r"unevictable|zone_reclaim|balloon|swap|zswp|ksm|cow_ksm|direct_map|vma_lock|kstack)\w*)\s*[ :=\t]\s*(?P<value>\d{1,20})$"
)
_MEMINFO = re.compile(
    r"^(?:\S*meminfo:)?(?P<name>(?:Mem|Swap|Anon|Huge|S?Reclaim|SUnreclaim|Slab|Page|Direct|Vmalloc|Cma|Kernel|KReclaim|File|Shmem|"
    r"Active|Inactive|Buffers|Cached|Dirty|Writeback|Mapped|Mlocked|Unevictable|Low|High|Commit|Percpu|Hardware|NFS|Bounce|Quick|"
    r"Sec|Zswap|Unaccepted|Balloon|GPU)[\w()]*):\s*(?P<value>\d{1,18})(?P<kb> kB)?$"
)
_SLABINFO = re.compile(r"^(?P<name>\S{1,64})(?:\s+\d+){5} : tunables\s.*: slabdata(?:\s+\d+){3}$")

_CGROUP = re.compile(r"^(?:anon|cache|anon_thp|total_cache) \d+$", re.MULTILINE)
"""A line of a memory cgroup's memory.stat, whose counters have names of vmstat and are the cgroup's."""

_LOOKS = re.compile(
    r"^(?:> ?){0,20}(?:"
    r".{0,80}\bNode[^\S\n]+\d+, zone[^\S\n]+\w+(?:[^\S\n]+\d+){5,}"
    r"|.{0,80}\bNode[^\S\n]+\d+, zone[^\S\n]+\w+,[^\S\n]+type[^\S\n]+\w+(?:[^\S\n]+>?\d+){2,}"
    r"|.{0,80}\bNode[^\S\n]+\d+, zone_{2,}"
    r"|.{0,80}\bNode[^\S\n]+\d+, zone[^\S\n]+\w+[^\S\n]*\n(?:> ?){0,20}[^\S\n]{1,8}(?:per-node stats|pages free)"
    r"|.{0,80}\bNode[^\S\n]+\d+, zone[^\S\n]+\w+(?:[^\S\n]+-?\d\.-?\d{2,3}){5,}"
    r"|Page block order:[^\S\n]+\d+|Number of (?:blocks type|mixed blocks)[^\S\n]+\w+"
    r"|Node[^\S\n]+\d+[^\S\n]+[A-Z]\w+(?:[^\S\n]+\d+){10,}"
    r"|\S{0,60}(?:vmstat:)?(?:nr_free_pages|(?:allocstall|compact|thp|pgalloc|pgsteal|pgscan|pgmigrate)\w*)[ :=\t]+\d+[^\S\n]*$"
    r"|(?:MemTotal|MemFree|SUnreclaim|Hugepagesize):[^\S\n]+\d+ kB"
    r"|slabinfo - version: \d"
    r"|(?:\d\d:\d\d:\d\d[^\S\n]+)?[^\S\n]*\d+[^\S\n]+(?:DMA|DMA32|Normal|HighMem)(?:[^\S\n]+\d+){10}"
    r"|node_(?:buddyinfo_blocks|vmstat_\w+|memory_\w+)(?:\{[^}]{0,200}\})? \S+"
    r")",
    re.MULTILINE,
)
"""A line of any of the files, in any of the forms that are read."""


class Row(NamedTuple):
    """A line that belongs to a /proc file.

    Attributes
    ----------
    kind : str
        :data:`BUDDYINFO` to :data:`INDEX`.
    key : object
        What comes once in a copy of the file: a zone, a zone and a type, a counter. A second one begins the next copy.
    text : str
        The line as the kernel printed it, single blanks between its words.
    before : str
        What stood before it in the line: a time, perhaps.

    """

    kind: str
    key: object
    text: str
    before: str = ""


def plain_lines(lines: Iterable[str]) -> Iterator[str]:
    """The lines without the marks of quoting, and those that were wrapped joined again.

    Wrapped are rows of counts: the rest of the row is a line of nothing but counts. The titles of the tables of pageblocks are
    wrapped likewise. A quoted-printable mail ends the first part with ``=``. Some archives write blanks as ``__``.
    """
    held, orders = "", 0
    for raw in lines:
        if len(raw) > LONGEST:
            continue
        line = _QUOTE.sub("", raw.rstrip()) if raw.startswith(">") else raw.rstrip()
        if "zone__" in line or (held and "__" in line):
            line = _MANGLED.sub(" ", line)
        joined = _joined(held, line, orders) if held else None
        if joined is None:
            if held:
                orders = max(orders, _counts(held))
                yield held.removesuffix("=")
            joined = line
        held = joined if _is_open(joined, orders) else ""
        if not held and joined:
            orders = max(orders, _counts(joined)) if "Node" in joined else orders
            yield joined
    if held:
        yield held.removesuffix("=")


def _is_open(line: str, orders: int) -> bool:
    """Whether a line may go on in the next: a row of counts or its title, with fewer of them than others have."""
    if not line or len(line) > 400:
        return False
    if line.startswith("Number of "):
        return _TABLE_HEAD.match(line.removesuffix("=").rstrip()) is not None
    if "Node" not in line and "at order" not in line:
        return False
    text = line.removesuffix("=")
    found = _ORDERS_HEAD.search(text) or _NODE.search(text)
    return found is not None and (line.endswith("=") or _counts(text) < (orders or MOST_ORDERS))


def _counts(line: str) -> int:
    """Counts at the end of a row, or orders in the title of pagetypeinfo's first table."""
    if found := _ORDERS_HEAD.search(line):
        return len(found["orders"].split())
    found = _NODE.search(line)
    return 0 if found is None else len(found["rest"].split())


def _joined(held: str, line: str, orders: int) -> str | None:
    """The row and the line after it as one; None if that line is not the rest of the row."""
    if held.endswith("="):
        return held[:-1] + line
    if held.startswith("Number of "):
        return f"{held} {line.strip()}" if _MORE_TYPES.match(line) else None
    more = _MORE.match(line)
    there, added = _counts(held), len(line.split())
    if more is None or not there or there + added > (orders or MOST_ORDERS):
        return None
    alone = added == 1 and not more["indent"]
    if alone and (there >= USUAL_ORDERS or len(line.strip()) >= 9):  # a time, or the number of the copy
        return None
    return f"{held} {line.strip()}"


def row_of(line: str) -> Row | None:
    """The row that a line is; None if it is none."""
    if "Node" in line:
        found = _NODE.search(line)
        return None if found is None else _zone_row(found, line)
    if found := _COLLECTL.match(line):
        zone = (int(found["node"]), found["zone"])
        counts = " ".join(found["rest"].split())
        return Row(
            BUDDYINFO, zone, f"Node {zone[0]}, zone {zone[1]} {counts}", (found["before"] or "").strip()
        )
    text = line.strip()
    if found := _COUNTER.match(text):
        return Row(VMSTAT, found["name"], f"{found['name']} {found['value']}")
    if found := _MEMINFO.match(text):
        return Row(MEMINFO, found["name"], f"{found['name']}: {found['value']}{found['kb'] or ''}")
    if found := _SLABINFO.match(text):
        return Row(SLABINFO, found["name"], text)
    return None


def _zone_row(found: re.Match[str], line: str) -> Row | None:
    """The row of a zone: of buddyinfo, pagetypeinfo, an index, or the first of its part of zoneinfo."""
    zone, rest = (int(found["node"]), found["zone"]), found["rest"]
    counts, before = rest.split(), line[: found.start()].strip(" \t:|;[")
    head = f"Node {zone[0]}, zone {zone[1]}"
    if zone[0] >= MOST_NODES:
        return None
    if not counts:
        given = found["comma"] and not found["type"]
        return Row(ZONEINFO, zone, head, before) if given else None
    if len(counts) > MOST_ORDERS:
        return None
    if _INDICES.fullmatch(rest) and not found["type"]:
        return Row(INDEX, zone, f"{head} {' '.join(counts)}", before)
    if not _COUNTS.fullmatch(rest):
        return None
    if found["type"]:
        key = (*zone, found["type"])
        return Row(PAGETYPEINFO, key, f"{head}, type {key[2]} {' '.join(counts)}", before)
    if not found["comma"] and len(counts) < USUAL_ORDERS - 1:
        return None
    return Row(BUDDYINFO, zone, f"{head} {' '.join(counts)}", before)


def looks(file: TextFile) -> bool:
    """Whether a file begins with a copy of a /proc file, or with node_exporter's metrics of one."""
    return _LOOKS.search(file.head) is not None and _CGROUP.search(file.head) is None
