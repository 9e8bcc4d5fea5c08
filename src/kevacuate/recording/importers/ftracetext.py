# SPDX-License-Identifier: GPL-2.0-or-later
"""The text of ftrace and of ``trace-cmd report``: ``trace``, ``trace_pipe``, with or without their options.

Read are ``TASK-PID [CPU] FLAGS SECONDS: EVENT: ...`` with or without the flags, with the thread group
(``record-tgid``), with a buffer's name before it, with microseconds or nanoseconds, and the latency format
(``TASK-PID CPUFLAGS``, times in seconds, or in microseconds since the trace began).
Source: kernel/trace/trace_output.c (trace_print_context, trace_print_lat_context).
"""

from __future__ import annotations

import re

from kevacuate.recording.importers.text import Dialect

_LOST = re.compile(r"CPU:? ?(\d{1,5}) \[(?:LOST (\d{1,18}) EVENTS|EVENTS DROPPED)\]")


def _lost(line: str) -> tuple[int, int | None] | None:
    found = _LOST.search(line)
    return (int(found[1]), int(found[2]) if found[2] else None) if found else None


_FACTS = (
    ("kernel", re.compile(r"# (?:\w+ latency trace v\S+ on|kernel) (\S{1,100})")),
    ("arch", re.compile(r"# arch (\w{1,40})")),
    ("clock", re.compile(r"# clock (\w[\w-]{0,40})")),
    ("zones", re.compile(r"# zones ([\w,]{1,200})$")),
    ("pageblock_order", re.compile(r"# pageblock_order (\d{1,2})$")),
    ("cpus", re.compile(r"# entries-in-buffer/entries-written: .{1,60}#P:(\d{1,5})$")),
    ("cpus", re.compile(r"(?:cpus=|# cpus )(\d{1,5})$")),
)
_EVENT = r"(\w{1,100}+): *+(.*)"

PLAIN = Dialect(
    "ftrace text",
    re.compile(
        r".+?-(-?\d{1,10}+)\s++(?:\(\s*+[\d-]++\)\s++)?\[(\d{1,5}+)\]\s++(?:[\w.#!]{4,8}+\s++)?"
        r"(\d{1,12}+)(?:\.(\d{6,9}+))?: " + _EVENT
    ),
    False,
    _lost,
    _FACTS,
)

LATENCY = Dialect(
    "ftrace text, latency format",
    re.compile(
        r".+?-(-?\d{1,10}+)\s++(\d{1,5}+)[.a-zA-Z][\w.#!]{2,6}+\s++(\d{1,12}+)\.(\d{6,9}+): " + _EVENT
    ),
    False,
    _lost,
    _FACTS,
)

RELATIVE = Dialect(
    "ftrace text, latency format with relative times",
    re.compile(r".+?-(-?\d{1,10}+)\s++(\d{1,5}+)[.a-zA-Z][\w.#!]{2,6}+\s++(\d{1,12}+)us()\S?\s*+: " + _EVENT),
    True,
    _lost,
    _FACTS,
)

DIALECTS = (PLAIN, LATENCY, RELATIVE)
