# SPDX-License-Identifier: GPL-2.0-or-later
"""The model's own event log: what a tracepoint is to the kernel (docs/model.md, section Log)."""

from __future__ import annotations

from typing import Any

from kevacuate.jit import part
from kevacuate.mm.constants import C_LOG_CAPACITY, C_LOG_LEVEL, LR, T_CPU, T_NLOG, T_NOW


@part(inline=True)
def pack_types(start, mt):  # type: ignore[no-untyped-def]
    """The type that a request asks for and the type of what it takes, as every record packs such a pair: *start* above."""
    return 256 * start + mt


def unpack_types(packed: Any) -> tuple[Any, Any]:
    """The pair of :func:`pack_types`, of a number or an array: the type asked for, the type taken."""
    return packed >> 8, packed & 255


@part(inline=True)
def write_record(s, records, n, kind, pfn, a, b, c, d):  # type: ignore[no-untyped-def]
    """Make record *n* of *records* one of now and of the current CPU."""
    at = n * LR
    records[at] = s.stat[T_NOW]
    records[at + 1] = kind
    records[at + 2] = s.stat[T_CPU]
    records[at + 3] = pfn
    records[at + 4] = a
    records[at + 5] = b
    records[at + 6] = c
    records[at + 7] = d


@part(cold=True)
def log_record(s, kind, pfn, a, b, c, d):  # type: ignore[no-untyped-def]
    """Append a record; beyond the capacity only the count rises, and whoever takes the log sees the loss."""
    n = s.stat[T_NLOG]
    s.stat[T_NLOG] = n + 1
    if n < s.cfg[C_LOG_CAPACITY]:
        write_record(s, s.log, n, kind, pfn, a, b, c, d)


@part(inline=True)
def log_event(s, kind, pfn, a, b, c, d):  # type: ignore[no-untyped-def]
    """Log at level 1: what happens rarely."""
    if s.cfg[C_LOG_LEVEL] >= 1:
        log_record(s, kind, pfn, a, b, c, d)


@part(inline=True)
def log_kmem(s, kind, pfn, a, b):  # type: ignore[no-untyped-def]
    """Log at level 2: the kernel's frequent kmem events."""
    if s.cfg[C_LOG_LEVEL] >= 2:
        log_record(s, kind, pfn, a, b, 0, 0)


@part(inline=True)
def log_list(s, kind, pfn, a, b, c):  # type: ignore[no-untyped-def]
    """Log at level 3: every free-list operation."""
    if s.cfg[C_LOG_LEVEL] >= 3:
        log_record(s, kind, pfn, a, b, c, 0)
