# SPDX-License-Identifier: GPL-2.0-or-later
"""The model's own event log: what a tracepoint is to the kernel (docs/model.md, section Log)."""

from __future__ import annotations

from kevacuate.mm.constants import C_LOG_CAPACITY, C_LOG_LEVEL, LR, T_CPU, T_NLOG, T_NOW
from kevacuate.mm.jit import part


@part(cold=True)
def log_record(s, kind, pfn, a, b, c, d):  # type: ignore[no-untyped-def]
    """Append a record; beyond the capacity only the count rises, and whoever takes the log sees the loss."""
    n = s.stat[T_NLOG]
    s.stat[T_NLOG] = n + 1
    if n >= s.cfg[C_LOG_CAPACITY]:
        return
    at = n * LR
    s.log[at] = s.stat[T_NOW]
    s.log[at + 1] = kind
    s.log[at + 2] = s.stat[T_CPU]
    s.log[at + 3] = pfn
    s.log[at + 4] = a
    s.log[at + 5] = b
    s.log[at + 6] = c
    s.log[at + 7] = d


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
