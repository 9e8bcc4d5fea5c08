# SPDX-License-Identifier: GPL-2.0-or-later
"""The model's own event log: what a tracepoint is to the kernel (docs/model.md, section Log)."""

from __future__ import annotations

from typing import Any

from kevacuate.jit import part
from kevacuate.mm.fields import LogRecord, View
from kevacuate.mm.region_lists import region_list_op


@part(inline=True)
def pack_types(start: int, mt: int) -> int:
    """The type that a request asks for and the type of what it takes, as every record packs such a pair: *start* above."""
    return 256 * start + mt


def unpack_types(packed: Any) -> tuple[Any, Any]:
    """The pair of :func:`pack_types`, of a number or an array: the type asked for, the type taken."""
    return packed >> 8, packed & 255


@part(inline=True)
def write_record(s: View, record: LogRecord, kind: int, pfn: int, a: int, b: int, c: int, d: int) -> None:
    """Make *record* one of now and of the current CPU."""
    record.time = s.stat.now
    record.kind = kind
    record.cpu = s.stat.cpu
    record.pfn = pfn
    record.a = a
    record.b = b
    record.c = c
    record.d = d


@part(cold=True)
def log_record(s: View, kind: int, pfn: int, a: int, b: int, c: int, d: int) -> None:
    """Append a record; beyond the capacity only the count rises, and whoever takes the log sees the loss."""
    n = s.stat.nr_log
    s.stat.nr_log = n + 1
    if n < s.cfg.log_capacity:
        write_record(s, s.log[n], kind, pfn, a, b, c, d)


@part(inline=True)
def log_event(s: View, kind: int, pfn: int, a: int, b: int, c: int, d: int) -> None:
    """Log at level 1: what happens rarely."""
    if s.cfg.log_level >= 1:
        log_record(s, kind, pfn, a, b, c, d)


@part(inline=True)
def log_kmem(s: View, kind: int, pfn: int, a: int, b: int) -> None:
    """Log at level 2: the kernel's frequent kmem events."""
    if s.cfg.log_level >= 2:
        log_record(s, kind, pfn, a, b, 0, 0)


@part(cold=True)
def watched_list(s: View, kind: int, pfn: int, op: int, order: int, mt: int) -> None:
    """Tell whoever looks at free-list operations: the log at level 3, and regions."""
    if s.cfg.list_watch & 1:
        log_record(s, kind, pfn, op, order, mt, 0)
    if s.cfg.list_watch & 2:
        region_list_op(s, pfn, op, order, mt)


@part(inline=True)
def log_list(s: View, kind: int, pfn: int, a: int, b: int, c: int) -> None:
    """Every free-list operation: logged at level 3, counted by regions."""
    if s.cfg.list_watch:
        watched_list(s, kind, pfn, a, b, c)
