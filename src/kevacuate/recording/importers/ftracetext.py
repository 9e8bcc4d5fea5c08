# SPDX-License-Identifier: GPL-2.0-or-later
"""The text of ftrace and of ``trace-cmd report``: ``trace``, ``trace_pipe``, with or without their options.

Read are ``TASK-PID [CPU] FLAGS SECONDS: EVENT: ...`` with or without the flags, with the thread group
(``record-tgid``), with a buffer's name before it, with microseconds or nanoseconds, and the latency format
(``TASK-PID CPUFLAGS``, times in seconds, or in microseconds since the trace began).
Source: kernel/trace/trace_output.c (trace_print_context, trace_print_lat_context).
"""

from __future__ import annotations

import re

from kevacuate.kernel import events
from kevacuate.recording.importers.dialect import Dialect
from kevacuate.recording.schema import EVENT_SPECS

_LOST = re.compile(r"CPU:? ?(\d{1,5}) \[(?:LOST (?:(\d{1,18}) )?EVENTS|(?:(\d{1,18}) )?EVENTS DROPPED)\]")


def _lost(line: str) -> tuple[int, int | None] | None:
    found = _LOST.search(line)
    if found is None:
        return None
    count = found[2] or found[3]
    return int(found[1]), int(count) if count else None


_FACTS = (
    ("kernel", re.compile(r"# (?:\w+ latency trace v\S+ on|kernel) (\S{1,100})")),
    ("kernel", re.compile(r".{0,80}?\bLinux version (\d\S{1,100})")),
    ("kernel", re.compile(r".{0,80}?\bComm: .{1,16}? (?:Not tainted|Tainted: .{1,60}?) (\d+\.\S{1,100})")),
    ("change_ownership", re.compile(r"# change_ownership (unknown)$")),
    ("page_size", re.compile(r"# page_size (\d{1,7})$")),
    ("arch", re.compile(r"# arch (\w{1,40})")),
    ("clock", re.compile(r"# clock (\w[\w-]{0,40})")),
    ("zones", re.compile(r"# zones ([\w,]{1,200})$")),
    ("pageblock_order", re.compile(r"# pageblock_order (\d{1,2})$")),
    ("cpus", re.compile(r"# entries-in-buffer/entries-written: .{1,60}#P:(\d{1,5})$")),
    ("cpus", re.compile(r"(?:cpus=|# cpus )(\d{1,5})$")),
)
_EVENT = r" *+(?:\(\+\d{1,20}+\) *+)?(\w{1,100}+):(?: +|$)(.*)"
"""The event, behind the time since the last one where trace-cmd report --ts-diff prints it."""
_FLAGS = r"(?:-0x[0-9a-fA-F]{1,8}+)?\s++(?:[\w.#!]{4,8}+\s++)?"
"""Interrupt flags: letters, or raw behind the CPU as trace-cmd report -R prints them since 3.2; or none."""

PLAIN = Dialect(
    "ftrace text",
    re.compile(
        r".+?-(-?\d{1,10}+)\s++(?:\(\s*+[\d-]++\)\s++)?\[(\d{1,5}+)\]"
        + _FLAGS
        + r"(\d{1,20}+)(?:\.(\d{6,9}+))?: "
        + _EVENT
    ),
    False,
    _lost,
    _FACTS,
)

_CPU_FLAGS = r"(\d{1,5}+)(?:-0x[0-9a-fA-F]{1,8}+|[.a-zA-Z][\w.#!]{2,6}+)\s++"

LATENCY = Dialect(
    "ftrace text, latency format",
    re.compile(r".+?-(-?\d{1,10}+)\s++" + _CPU_FLAGS + r"(\d{1,12}+)\.(\d{6,9}+): " + _EVENT),
    False,
    _lost,
    _FACTS,
)

RELATIVE = Dialect(
    "ftrace text, latency format with relative times",
    re.compile(r".+?-(-?\d{1,10}+)\s++" + _CPU_FLAGS + r"(\d{1,12}+)us()\S?\s*+: " + _EVENT),
    True,
    _lost,
    _FACTS,
)

_OURS = "|".join(sorted({*EVENT_SPECS, *events.EVENTS}))

PRINTK = Dialect(
    "kernel log of the boot option tp_printk",
    re.compile(
        r"(?:.{0,60}? kernel: |<\d{1,3}>|\w{1,8} *:\w{1,6} *: )?\[\s*+(?=\d)()()(\d{1,12}+)\.(\d{6,9}+)\]\s++"
        r"(?:\[\s*+[TC]\d{1,10}+\]\s++)?(" + _OURS + r"): (.*)"
    ),
    False,
    _lost,
    _FACTS,
    shows_losses=False,
    lacks=("cpu", "pid"),
)
"""Time and event, nothing else: task and CPU are not known."""

DIALECTS = (PLAIN, LATENCY, RELATIVE, PRINTK)
