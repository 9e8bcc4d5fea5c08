# SPDX-License-Identifier: GPL-2.0-or-later
"""Copies of /proc files in many files, put in order: by machine, by kind, by time."""

from __future__ import annotations

import os
import re
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, zip_longest
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from kevacuate.kernel.vmstat import counters
from kevacuate.kernelfiles.proccopies import NOT_IN_FILE, Copy, PageTypes, Zone, copies
from kevacuate.kernelfiles.stamps import EPOCH, Stamp, stamp_of_name
from kevacuate.kernelfiles.text import TextFile
from kevacuate.kernelfiles.unread import Unread
from kevacuate.observe.files.each import take_each

Progress = Callable[[int, int], None]

MOST_MOMENTS = 20_000
"""Copies of one kind that one file gives, a week at every 30 s; more are counted and passed over."""

MARKS = ("free", "min", "low", "high", "boost", "present", "managed", "pcp")
"""What is kept of a zone in zoneinfo, in this order: pages."""

MEMINFO = (
    "MemTotal",
    "MemFree",
    "MemAvailable",
    "AnonHugePages",
    "Slab",
    "SReclaimable",
    "SUnreclaim",
    "KernelStack",
    "PageTables",
    "VmallocUsed",
    "Percpu",
    "CmaTotal",
    "CmaFree",
    "HugePages_Total",
    "HugePages_Free",
    "Hugepagesize",
)
"""Values of /proc/meminfo that are kept: kB, or huge pages."""

MOST_CACHES = 20
"""Slab caches of a copy that are kept: those with most pages."""

_OF_MACHINE = {"proc", "sys", "sos_commands", "sos_strings"}
"""Folders of a machine's files: what stands before them says which machine."""
_OF_NODE = re.compile(r"(?:^|/)node/node\d+/")
"""In the path of a file of one NUMA node (sys/devices/system/node), whose vmstat and meminfo are not the machine's."""

_DIGITS = re.compile(r"(\d+)")


class Moment(NamedTuple):
    """One copy: when, and what it held (:class:`kevacuate.kernelfiles.proccopies.Copy`, reduced by :func:`reduced`)."""

    stamp: Stamp | None
    values: Any


class Types(NamedTuple):
    """What is kept of a copy of /proc/pagetypeinfo: :class:`kevacuate.kernelfiles.proccopies.PageTypes` without what is empty."""

    free: dict[Zone, dict[str, array[int]]]
    stopped: frozenset[tuple[int, str, str, int]]
    blocks: dict[Zone, dict[str, int]]
    mixed: dict[Zone, dict[str, int]]
    pageblock_order: int | None


class Slabs(NamedTuple):
    """What is kept of a copy of /proc/slabinfo: the pages of all caches, and the caches with most of them."""

    pages: int
    caches: dict[str, tuple[int, int, int]]


class Series(NamedTuple):
    """All copies of one kind, of one machine, in order of time.

    Attributes
    ----------
    moments : list of Moment
        By time where all have one since 1970; else file by file (by first time, then name), each in its own order.
    left_out : int
        Copies that were not kept.
    timed : bool
        Whether every moment has a time and all are of one clock.

    """

    moments: list[Moment]
    left_out: int
    timed: bool

    @property
    def seconds(self) -> float | None:
        """From the first moment to the last; None where the times do not say."""
        first, last = self.moments[0].stamp, self.moments[-1].stamp
        if not self.timed or first is None or last is None or last.seconds < first.seconds:
            return None
        return last.seconds - first.seconds


Shelf = dict[str, dict[str, Series]]
"""Name of the machine (the folder that its files lie in; empty where one is enough) to kind to series."""


def read_shelf(files: Sequence[TextFile], progress: Progress, unread: Unread) -> tuple[Shelf, list[str]]:
    """Read the files; what is wrong with those that end before their end, where there are others.

    Parameters
    ----------
    files : sequence of TextFile
        In any order: it makes no difference.
    progress : callable
        Called with (files done, in all).
    unread : Unread
        Counts rows of zones that could not be read.

    Raises
    ------
    KevacuateError
        The only file cannot be read to its end.

    """
    parts: dict[tuple[str, str], list[_Part]] = {}

    def take(file: TextFile) -> None:
        place, named = machine_of(Path(file.name)), _time_of(Path(file.name))
        found: dict[str, tuple[list[Moment], int]] = {}
        try:
            _take_copies(file, named, found, unread)
        finally:  # what stands before the place where a file ends too early counts
            for kind, (moments, left_out) in found.items():
                parts.setdefault((place, kind), []).append(_Part(file.name, moments, left_out))

    damaged = take_each(files, take, progress)
    shelf: Shelf = {}
    for (place, kind), of in sorted(parts.items()):
        shelf.setdefault(place, {})[kind] = _in_order(of)
    return _one_machine(shelf), sorted(damaged)


class _Part(NamedTuple):
    """What one file holds of one kind."""

    name: str
    moments: list[Moment]
    left_out: int


def machine_of(path: PurePath) -> str:
    """The folder that says whose files these are: above ``proc``, ``sos_commands`` and folders named by a time."""
    parts = list(path.parts[:-1])
    inner = next((at for at, part in enumerate(parts) if part in _OF_MACHINE and at > 0), len(parts))
    while inner and (parts[inner - 1] in _OF_MACHINE or stamp_of_name(parts[inner - 1])):
        inner -= 1
    return str(PurePath(*parts[:inner])) if inner else ""


def _time_of(path: PurePath) -> Stamp | None:
    """The time in the name of a file, or of a folder that it lies in."""
    return next((stamp for part in reversed(path.parts[-4:]) if (stamp := stamp_of_name(part))), None)


def _take_copies(
    file: TextFile, named: Stamp | None, found: dict[str, tuple[list[Moment], int]], unread: Unread
) -> None:
    """Put into *found*, by kind, a file's copies, and how many were left out. *named* is the time of those that have none."""
    of_node = _OF_NODE.search(file.name) is not None
    for copy in copies(file.lines(), unread):
        values = reduced(copy, unread)
        if not values or (of_node and copy.kind in ("vmstat", "meminfo")):
            continue
        moments, left_out = found.setdefault(copy.kind, ([], 0))
        if len(moments) < MOST_MOMENTS:
            _append(moments, Moment(copy.stamp or named, values))
        else:
            found[copy.kind] = (moments, left_out + 1)


def _append(moments: list[Moment], moment: Moment) -> None:
    """Append a moment. Of those between the first and the last only what their course needs is kept."""
    if len(moments) > 1 and isinstance(moments[-1].values, Types):
        types: Types = moments[-1].values
        free = {zone: {"": chunks_of(of)} for zone, of in types.free.items()}
        moments[-1] = moments[-1]._replace(values=types._replace(free=free, mixed={}))
    moments.append(moment)


def chunks_of(free: Mapping[str, array[int]]) -> array[int]:
    """Free chunks by order of all types together."""
    return array("q", (sum(counts) for counts in zip_longest(*free.values(), fillvalue=0)))


def _without_cut(rows: Mapping[Zone, Sequence[Sequence[int]]], unread: Unread) -> set[Zone]:
    """The zones of a copy whose rows of free chunks have all orders: one kernel has as many in every zone.

    Rows that were cut off are counted. Where some orders were left out on purpose (NOT_IN_FILE), that is nobody's fault.
    """
    lengths = {zone: [len(row) for row in of] for zone, of in rows.items()}
    whole = max((length for of in lengths.values() for length in of), default=0)
    if any(NOT_IN_FILE in row for of in rows.values() for row in of):
        return set(rows)
    unread.lines += sum(length < whole for of in lengths.values() for length in of)
    return {zone for zone, of in lengths.items() if min(of, default=0) == whole}


def _last_has_fewer(rows: Mapping[Zone, Sequence[Sequence[int]]]) -> bool:
    """Whether the last zone of a pagetypeinfo has rows of fewer types than one before it."""
    types = [len(of) for of in rows.values()]
    return bool(types) and types[-1] < max(types)


def reduced(copy: Copy, unread: Unread) -> Any:
    """The values of a copy in few bytes: arrays of counts, and of vmstat the counters that are used; None if nothing is left."""
    values = copy.values
    if isinstance(values, PageTypes):
        rows = {zone: list(of.values()) for zone, of in values.free.items()}
        ends_early = not values.blocks and _last_has_fewer(rows)
        unread.lines += ends_early
        kept = _without_cut(rows, unread) - set([*rows][-1:] if ends_early else ())
        free = {
            zone: {name: array("q", n) for name, n in of.items()}
            for zone, of in values.free.items()
            if zone in kept
        }
        if not (free or values.blocks or values.mixed):
            return None
        return Types(free, frozenset(values.stopped), values.blocks, values.mixed, values.pageblock_order)
    if copy.kind == "buddyinfo":
        kept = _without_cut({zone: [counts] for zone, counts in values.items()}, unread)
        return {zone: array("q", counts) for zone, counts in values.items() if zone in kept}
    if copy.kind == "zoneinfo":
        return {zone: array("q", (numbers[name] for name in MARKS)) for zone, numbers in values.items()}
    if copy.kind == "meminfo":
        return {name: values[name] for name in MEMINFO if name in values}
    if copy.kind == "slabinfo":
        ranked = sorted(values.items(), key=lambda item: (-item[1][2], item[0]))
        return Slabs(sum(cache[2] for _, cache in ranked), dict(ranked[:MOST_CACHES]))
    return counters(values) if copy.kind == "vmstat" else values


def _in_order(parts: list[_Part]) -> Series:
    """The moments of several files, without files of other folders that hold the same."""
    unique = list(_unique(sorted(parts, key=_part_key)))
    moments = list(chain.from_iterable(part.moments for part in unique))
    clocks = {moment.stamp.clock if moment.stamp else None for moment in moments}
    if clocks == {EPOCH} and len(unique) > 1:
        moments.sort(key=lambda moment: moment.stamp.seconds if moment.stamp else 0.0)
    timed = len(clocks) == 1 and None not in clocks
    return Series(moments, sum(part.left_out for part in parts), timed)


def _unique(parts: list[_Part]) -> Iterator[_Part]:
    """The files, without those that hold what one in another folder does, as a sosreport's ``proc`` and ``sos_commands`` do."""
    alike: dict[tuple[int, str], list[_Part]] = {}
    for part in parts:
        others = alike.setdefault((len(part.moments), repr(part.moments[0])), [])
        folder = os.path.dirname(part.name)
        if not others or os.path.dirname(others[0].name) == folder or part.moments != others[0].moments:
            others.append(part)
            yield part


def _part_key(part: _Part) -> tuple[float, list[tuple[int, int, str]]]:
    """Order of files: by their first time, then by name, numbers in it by their size."""
    first = part.moments[0].stamp
    pieces = [(0, int(p), "") if p.isdecimal() else (1, 0, p) for p in _DIGITS.split(part.name)]
    return (first.seconds if first else -1.0, pieces)


def _one_machine(shelf: Shelf) -> Shelf:
    """The shelf with one machine, where no kind has come from two folders: then they are one machine's."""
    kinds = [kind for of in shelf.values() for kind in of]
    if len(set(kinds)) < len(kinds):
        return shelf
    merged: dict[str, Series] = {}
    for of in shelf.values():
        merged.update(of)
    return {"": merged} if merged else {}


def times(series: Series) -> Mapping[str, Any]:
    """``moments``, ``first_time`` and ``last_time`` (None where the text gives none), ``seconds`` between, ``left_out``."""
    first, last = series.moments[0].stamp, series.moments[-1].stamp
    return {
        "moments": len(series.moments),
        "first_time": first.text if first else None,
        "last_time": last.text if last else None,
        "seconds": series.seconds,
        "moments_left_out": series.left_out,
    }
