# SPDX-License-Identifier: GPL-2.0-or-later
"""Events of the page allocator as ``perf trace`` and babeltrace print them: lines that no importer reads.

``perf trace`` prints milliseconds since its start, task and thread, and the fields as numbers (tools/perf/builtin-trace.c); it
leaves out fields that are 0, and prints no CPU. LTTng records the same events under names that begin with ``kmem_``
(lttng-modules, include/instrumentation/events/kmem.h); babeltrace prints the time of day unless told otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from kevacuate.kernelfiles.text import TextFile

PERF_TRACE, LTTNG = "perf trace", "babeltrace"
"""The tools whose lines are read."""

NO_CPU = -1
"""Stands for a CPU that is not printed."""

_PERF = re.compile(
    r"^ *(\d{1,12})\.(\d{3}) (?:\([^)]{0,20}\): )?(?:(\S.{0,31}?)/(\d{1,10}) )?\w{1,30}:(\w{1,60})[(:](.{0,2000}?)\)?$"
)
_PERF_FIELD = re.compile(r"(\w{1,40})(?:: |=)(-?\w{1,40})")
_LTTNG = re.compile(
    r"^\[(?:\d{4}-\d\d-\d\d )?(?:(\d\d):(\d\d):(\d\d)|(\d{1,12}))\.(\d{9})\] "
    r"(?:\([^)]{0,20}\) )?(?:\S{1,80} )?(\w{1,80}): (\{.{0,4000})$"
)
_LTTNG_FIELD = re.compile(r"(\w{1,40}) = (?:\"([^\"]{0,64})\"|(-?\w{1,40}))")
_LOST = re.compile(r"^LOST (\d{1,18}) events!$")
_DISCARDED = re.compile(r"^\[warning\] Tracer discarded (\d{1,18}) events ")
_DAY = 86_400 * 10**9


class Traced(NamedTuple):
    """One event."""

    name: str
    """The kernel's name of it."""
    ns: int
    """Nanoseconds of the tool's clock."""
    cpu: int
    """NO_CPU where none is printed."""
    task: str
    """"" where none is printed."""
    tid: int
    """-1 where none is printed."""
    fields: dict[str, int]
    """Those that are numbers. A field that perf trace left out is 0."""


def tool_of(file: TextFile) -> str | None:
    """PERF_TRACE, LTTNG or None: whose lines a file has, by the first that is one."""
    for line in file.head.splitlines():
        if _PERF.match(line):
            return PERF_TRACE
        if _LTTNG.match(line):
            return LTTNG
    return None


def looks_like_traced(file: TextFile) -> bool:
    """Whether a file holds lines of perf trace or babeltrace."""
    return tool_of(file) is not None


class Losses:
    """What the tool says that it lost.

    Attributes
    ----------
    events : int
        Events of any kind.

    """

    def __init__(self) -> None:
        self.events = 0


def events(file: TextFile, losses: Losses) -> Iterator[Traced]:
    """Every event of a file that :func:`tool_of` knows; other lines are passed over, but for those that tell of losses.

    Raises
    ------
    KevacuateError
        The file cannot be read, or does not decompress.

    """
    read: Callable[[str], Traced | None] = _of_perf if tool_of(file) == PERF_TRACE else _of_lttng
    before, days = 0, 0
    for line in file.lines():
        found = read(line)
        if found is None:
            lost = _LOST.match(line) or _DISCARDED.match(line)
            losses.events += int(lost[1]) if lost else 0
            continue
        if found.ns + days < before - _DAY // 2 and found.ns < _DAY:
            days += _DAY  # the time of day began again
        before = found.ns + days
        yield found._replace(ns=before)


def _of_perf(line: str) -> Traced | None:
    found = _PERF.match(line)
    if found is None:
        return None
    ns = int(found[1]) * 1_000_000 + int(found[2]) * 1000
    tid = int(found[4]) if found[4] else -1
    fields = {
        name: value for name, text in _PERF_FIELD.findall(found[6]) if (value := _number(text)) is not None
    }
    return Traced(found[5], ns, NO_CPU, found[3] or "", tid, fields)


def _of_lttng(line: str) -> Traced | None:
    found = _LTTNG.match(line)
    if found is None:
        return None
    seconds = int(found[4]) if found[4] else (int(found[1]) * 60 + int(found[2])) * 60 + int(found[3])
    fields, task = dict[str, int](), ""
    for name, quoted, text in _LTTNG_FIELD.findall(found[7]):
        if name == "procname":
            task = quoted or text
        elif (value := _number(text)) is not None:
            fields[name] = value
    tid = fields.get("tid", fields.get("vtid", fields.get("pid", fields.get("vpid", -1))))
    return Traced(
        found[6].removeprefix("kmem_"),
        seconds * 10**9 + int(found[5]),
        fields.get("cpu_id", NO_CPU),
        task,
        tid,
        fields,
    )


def _number(text: str) -> int | None:
    """A decimal or hexadecimal number; None of anything else."""
    digits = text.removeprefix("-")
    if digits.isascii() and digits.isdigit():
        return int(text)
    if digits[:2] == "0x":
        try:
            return int(text, 16)
        except ValueError:
            return None
    return None
