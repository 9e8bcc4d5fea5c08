# SPDX-License-Identifier: GPL-2.0-or-later
"""Recordings without a demand are refused before any of their states are read."""

from __future__ import annotations

from kevacuate.errors import KevacuateError
from kevacuate.recording import EventKind, Recording, has_demand

DEMAND_KINDS = (EventKind.MM_PAGE_ALLOC, EventKind.MM_PAGE_FREE, EventKind.GT_RMQ)
"""Events that a demand is made of: without any of them nothing can be replayed."""


def empty_demand(recording: Recording) -> KevacuateError:
    """The refusal of a recording without allocations and frees."""
    if "start" in recording.quality and "start" not in recording.machine.extra:
        return KevacuateError(
            f"{recording.path} is a start state, and has no demand: name a recording to replay, and give it by "
            f"--start {recording.path.name}."
        )
    return KevacuateError(
        f"The demand of {recording.path} is empty: there is nothing to replay. Light recordings keep no allocations and frees: "
        "`kevacuate triage` reads them; record without --light to replay."
    )


def refuse_without_demand(recording: Recording) -> None:
    """Refuse a recording whose own counts say that it holds no allocations and frees, before its states are read.

    Raises
    ------
    KevacuateError
        It holds none.
    """
    kinds = recording.quality.get("events_by_kind")
    if isinstance(kinds, dict) and not any(kinds.get(kind.name) for kind in DEMAND_KINDS):
        if not has_demand(recording.path):
            raise empty_demand(recording)
