# SPDX-License-Identifier: GPL-2.0-or-later
"""Copies of /proc files in a text, one after the other, each with the time that the text gives it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from kevacuate.kernelfiles.nodeexporter import Metric, metric_of
from kevacuate.kernelfiles.proctext import (
    BUDDYINFO,
    INDEX,
    MEMINFO,
    PAGETYPEINFO,
    SLABINFO,
    VMSTAT,
    ZONEINFO,
    Row,
    plain_lines,
    row_of,
)
from kevacuate.kernelfiles.stamps import DAY, Stamp, stamp_in
from kevacuate.kernelfiles.unread import Unread
from kevacuate.recording import procfs

EXTFRAG_INDEX, UNUSABLE_INDEX = "extfrag_index", "unusable_index"
"""The two kinds of copies that rows of an index make."""

MOST_LINES = 100_000
"""Lines of one copy that are kept: a zoneinfo of 16 nodes and 1,024 CPUs has about 70,000."""

MOST_PAGES = 1 << 52
"""No machine has so many pages: a zone of zoneinfo with a larger number is damaged."""

NOT_IN_FILE = -1
"""Stands for a count of free chunks that a text leaves out (node_exporter's, when only some of its lines were kept)."""

Zone = tuple[int, str]
"""Node and the zone's name."""

_DAY = 86400.0
_TABLES = ("Number of blocks type", "Number of mixed blocks")
"""Titles of pagetypeinfo's tables of pageblocks; their rows look like buddyinfo's."""
_NOT_READ = re.compile(r"\bNode\s+\d+,\s+zone\s+\w+,?(?:\s+type\s+\w+)?\s+[-+.>]*\d")
"""A row with figures; where it is none of those that are read, it is damaged."""
_BODY = re.compile(r"^\s+\S")
_MARKS = re.compile(r"^\s+(min|low|high)\s+\d+$", re.MULTILINE)
_UNPOPULATED = re.compile(r"^\s+present\s+0$", re.MULTILINE)
_BLOCK_ORDER = re.compile(r"^Page block order:\s+(\d{1,2})\b")


class PageTypes(NamedTuple):
    """A copy of /proc/pagetypeinfo.

    Attributes
    ----------
    free : dict
        Zone to type (as the kernel writes it) to free chunks by order.
    stopped : set
        (node, zone, type, order) of counts that are at least so many: the kernel counted no further.
    blocks : dict
        Zone to type to pageblocks.
    mixed : dict
        Zone to type to pageblocks that hold a page of another type; empty where the kernel has no page_owner.
    pageblock_order : int or None
        As the text gives it.

    """

    free: dict[Zone, dict[str, tuple[int, ...]]]
    stopped: set[tuple[int, str, str, int]]
    blocks: dict[Zone, dict[str, int]]
    mixed: dict[Zone, dict[str, int]]
    pageblock_order: int | None


class Copy(NamedTuple):
    """What a text shows of one /proc file at one moment.

    Attributes
    ----------
    kind : str
        ``buddyinfo``, ``pagetypeinfo``, ``zoneinfo``, ``vmstat``, ``meminfo``, ``slabinfo``, ``extfrag_index`` or
        ``unusable_index``.
    stamp : Stamp or None
        The last time that stood before it.
    values : object
        buddyinfo: zone to free chunks by order. pagetypeinfo: :class:`PageTypes`. zoneinfo: zone to
        :func:`kevacuate.recording.procfs.zone_numbers` and ``pcp``, the pages on per-CPU lists. vmstat and meminfo: name to
        value. slabinfo: cache to :func:`kevacuate.recording.procfs.parse_slabinfo`. The indices: zone to thousandths by
        order.

    """

    kind: str
    stamp: Stamp | None
    values: Any


def copies(lines: Iterable[str], unread: Unread | None = None) -> Iterator[Copy]:
    """The copies in a text, in its order. What belongs to none is passed over.

    A copy ends where another kind's line, a time, or a zone or counter that it has already begins the next. *unread* counts rows
    of a zone that are damaged: in a table of pageblocks those with fewer counts than the title has types.
    """
    cutter = _Cutter(unread or Unread())
    for line in plain_lines(lines):
        yield from cutter.feed(line)
    yield from cutter.end()


class _Cutter:
    """Cuts lines into copies.

    Attributes
    ----------
    title : str
        Of the table of pageblocks that the next rows belong to, with its ``columns``; empty elsewhere.
    untold : bool
        Whether the title does not stand in ``lines`` yet.
    block_order : int or None
        The last ``Page block order``.
    days : float
        Seconds of the days that have gone by, of times without a date.
    unread : Unread
        Counts damaged rows.

    """

    def __init__(self, unread: Unread) -> None:
        self.unread = unread
        self.stamp: Stamp | None = None
        self.kind = ""
        self.lines: list[str] = []
        self.keys: set[object] = set()
        self.metrics: dict[object, int] = {}
        self.title, self.columns, self.untold = "", 0, False
        self.block_order: int | None = None
        self.days = 0.0

    def feed(self, line: str) -> Iterator[Copy]:
        """Take a line; the copies that it ends."""
        if metric := metric_of(line):
            yield from self._metric(metric)
        elif table := next((table for table in _TABLES if line.startswith(table)), ""):
            self.title, self.columns, self.untold = line, len(line.removeprefix(table).split()), True
        elif order := _BLOCK_ORDER.match(line):
            self.block_order = int(order[1])
        elif self.kind == ZONEINFO and _BODY.match(line):
            self._keep(line)
        elif (row := row_of(line)) is not None:
            yield from self._row(row)
        elif line.startswith("slabinfo - version"):
            yield from self.end()
        elif (stamp := stamp_in(line)) is not None:
            yield from self._time(stamp)
        elif _NOT_READ.search(line):
            self.unread.lines += 1

    def end(self) -> Iterator[Copy]:
        """The copy that was begun, if it holds anything."""
        kind, lines, metrics = self.kind, self.lines, self.metrics
        self.kind, self.lines, self.keys, self.metrics = "", [], set(), {}
        self.untold = bool(self.title)
        if not kind:
            return
        found = _of_metrics(kind, metrics) if metrics else self._of_text(kind, "\n".join(lines) + "\n")
        if found is not None:
            yield Copy(found[0], self.stamp, found[1])

    def _time(self, stamp: Stamp) -> Iterator[Copy]:
        """What follows was copied at this time; a time of day that falls by half a day or more is the next day's."""
        if stamp.clock == DAY:
            days = self.days
            if (
                self.stamp
                and self.stamp.clock == DAY
                and self.stamp.seconds - days - stamp.seconds > _DAY / 2
            ):
                self.days += _DAY
            stamp = stamp._replace(seconds=stamp.seconds + self.days)
        if stamp != self.stamp:
            yield from self.end()
            self.stamp = stamp

    def _keep(self, line: str) -> None:
        if len(self.lines) < MOST_LINES:
            self.lines.append(line)

    def _begin(self, kind: str, key: object) -> Iterator[Copy]:
        """End the copy that cannot hold this key of this kind."""
        if self.kind and (kind != self.kind or key in self.keys or len(self.keys) >= MOST_LINES):
            yield from self.end()
        self.kind = kind
        self.keys.add(key)

    def _row(self, row: Row) -> Iterator[Copy]:
        """A row. One that looks like buddyinfo's is pagetypeinfo's where the title above has as many columns."""
        if row.before and (stamp := stamp_in(row.before)) is not None:
            yield from self._time(stamp)
        columns = len(row.text.split()) - 4
        if row.kind == BUDDYINFO and self.title and columns < self.columns:  # cut off
            self.unread.lines += 1
            return
        if row.kind == BUDDYINFO and self.title and columns == self.columns:
            yield from self._begin(PAGETYPEINFO, (self.title.split()[2], row.key))
            if self.untold:
                self._keep(self.title)
                self.untold = False
        else:
            self.title = ""
            yield from self._begin(row.kind, row.key)
        self._keep(row.text)

    def _metric(self, metric: Metric) -> Iterator[Copy]:
        """A value of node_exporter's."""
        if metric.milliseconds and (stamp := stamp_in(metric.milliseconds)) is not None:
            yield from self._time(stamp)
        yield from self._begin(metric.kind, metric.key)
        self.metrics[metric.key] = metric.value

    def _of_text(self, kind: str, text: str) -> tuple[str, Any] | None:
        """Kind and values of a copy's lines; None if there are none in them."""
        if kind == PAGETYPEINFO:
            free, blocks = procfs.parse_pagetypeinfo(text)
            mixed = procfs.parse_mixed_blocks(text)
            types = PageTypes(free, procfs.stopped_counts(text), blocks, mixed, self.block_order)
            return (kind, types) if free or blocks or mixed else None
        if kind == INDEX:
            index = procfs.parse_index(text)
            signed = any(value < 0 for values in index.values() for value in values)
            return (EXTFRAG_INDEX if signed else UNUSABLE_INDEX, index) if index else None
        values: Any = _zones(text, self.unread) if kind == ZONEINFO else _PARSERS[kind](text)
        return (kind, values) if values else None


def _zones(text: str, unread: Unread) -> dict[Zone, dict[str, int]]:
    """The zones of a zoneinfo, without those that have no pages, and without those that are damaged or lack a watermark."""
    found = {}
    for zone, body in procfs.zone_bodies(text):
        if "pages free" not in body or _UNPOPULATED.search(body):
            continue
        numbers = procfs.zone_numbers(body)
        if len(set(_MARKS.findall(body))) == 3 and max(numbers.values()) <= MOST_PAGES:
            found[zone] = {**numbers, "pcp": sum(one["count"] for one in procfs.pagesets(body))}
        else:
            unread.lines += 1
    return found


_PARSERS = {
    BUDDYINFO: procfs.parse_buddyinfo,
    VMSTAT: procfs.parse_vmstat,
    MEMINFO: procfs.parse_meminfo,
    SLABINFO: procfs.parse_slabinfo,
}


def _of_metrics(kind: str, metrics: dict[Any, int]) -> tuple[str, Any]:
    """Kind and values of node_exporter's metrics; an order that the text leaves out is :data:`NOT_IN_FILE`."""
    if kind != BUDDYINFO:
        return kind, dict(metrics)
    chunks: dict[Zone, dict[int, int]] = {}
    for (node, zone, order), value in metrics.items():
        chunks.setdefault((node, zone), {})[order] = value
    return kind, {
        zone: tuple(by_order.get(order, NOT_IN_FILE) for order in range(max(by_order) + 1))
        for zone, by_order in chunks.items()
    }
