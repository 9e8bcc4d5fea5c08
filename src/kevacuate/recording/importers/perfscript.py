# SPDX-License-Identifier: GPL-2.0-or-later
"""The text of ``perf script``: ``COMM PID [CPU] SECONDS: SYSTEM:EVENT: ...``, call chains passed over.

Read are the default fields, also with ``pid/tid``, ``--ns``, a period before the event, without the event's system, and
without the CPU (as ``perf record`` without ``-a`` leaves it). A task that perf cannot name is -1. Lost events stand in
the text only with ``--show-lost-events``. Source: tools/perf/builtin-script.c.
"""

from __future__ import annotations

import re

from kevacuate.recording.importers.dialect import Dialect

_FACTS = (
    ("kernel", re.compile(r"# os release : (\S{1,100})")),
    ("arch", re.compile(r"# arch : (\w{1,40})")),
    ("cpus", re.compile(r"# nrcpus online : (\d{1,5})$")),
)

_LOST = re.compile(r"PERF_RECORD_LOST(?:_SAMPLES)? lost (\d{1,18})")
_CPU = re.compile(r"\s\[(\d{1,5})\]\s")


def _lost(line: str) -> tuple[int, int | None] | None:
    found, cpu = _LOST.search(line), _CPU.search(line)
    return (int(cpu[1]) if cpu else 0, int(found[1])) if found else None


PERF_SCRIPT = Dialect(
    "perf script text",
    re.compile(
        r".+?\s(?:(?:-1|\d{1,10}+)/)?(-1|\d{1,10}+)\s++(?:\[(\d{1,5}+)\]\s++)?(\d{1,12}+)\.(\d{6,9}+):\s++"
        r"(?:\d{1,20}+\s++)?(?:[\w-]{1,60}:)?(\w{1,100}+):(?: +|$)(.*)"
    ),
    False,
    _lost,
    _FACTS,
    shows_losses=False,
    zero_is_relative=True,
)
