# SPDX-License-Identifier: GPL-2.0-or-later
"""Modes and reasons of a migration by version of the kernel (include/linux/migrate_mode.h, include/trace/events/migrate.h).

Recordings store the numbers of Linux 7.2. No number of the two ever got another meaning; names came, one was renamed
and one went.
"""

from __future__ import annotations

MODES = ("MIGRATE_ASYNC", "MIGRATE_SYNC_LIGHT", "MIGRATE_SYNC")
"""Printed names of the modes by number."""

REASONS = (
    "compaction", "memory_failure", "memory_hotplug", "syscall_or_cpuset", "mempolicy_mbind", "numa_misplaced", "contig_range",
    "longterm_pin", "demotion", "damon",
)  # fmt: skip
"""Printed names of the reasons by number; the event exists since 3.8."""

LATER_NAMES = {"cma": "contig_range"}
"""Old name to the later name of the same reason (MR_CMA became MR_CONTIG_RANGE in 4.17)."""


def stored_reason(name: str) -> int | None:
    """The stored number of a printed reason, old names included; None of a name that is not known."""
    later = LATER_NAMES.get(name, name)
    return REASONS.index(later) if later in REASONS else None


def stored_mode(name: str) -> int | None:
    """The stored number of a printed mode; None of one that Linux 7.2 does not have."""
    return MODES.index(name) if name in MODES else None
