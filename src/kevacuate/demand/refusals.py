# SPDX-License-Identifier: GPL-2.0-or-later
"""What is known of a comparison before anything is replayed: that there is no demand, or nothing that evacuation acts on."""

from __future__ import annotations

from typing import Any

from kevacuate.errors import KevacuateError
from kevacuate.measure.extfrag import extfrag_of, queues_evacuation, tells_ownership
from kevacuate.measure.recorded import recorded_kinds
from kevacuate.recording import EventKind, Recording, has_demand

_DEMAND_KINDS = (EventKind.MM_PAGE_ALLOC, EventKind.MM_PAGE_FREE, EventKind.GT_RMQ)


def empty_demand(recording: Recording) -> KevacuateError:
    """The refusal of a recording without allocations and frees."""
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
    if isinstance(kinds, dict) and not any(kinds.get(kind.name) for kind in _DEMAND_KINDS):
        if not has_demand(recording.path):
            raise empty_demand(recording)


def claims_to_evacuate(recording: Recording) -> bool | None:
    """Whether the recorded kernel claimed a movable block below pageblock order, which is what queues an evacuation.

    None where that is not known: the recording does not say that such events were switched on, lost events or has some that could
    not be read, or its kernel tells no claim from a steal.
    """
    kinds = recording.quality.get("events_by_kind")
    name = EventKind.MM_PAGE_ALLOC_EXTFRAG.name
    if not isinstance(kinds, dict) or any(loss.any or loss.unknown for loss in recording.losses):
        return None
    if not kinds.get(name):
        known = recorded_kinds(recording.machine)
        return False if known is not None and int(EventKind.MM_PAGE_ALLOC_EXTFRAG) in known else None
    if not tells_ownership(recording.machine):
        return None
    order = recording.machine.pageblock_order
    for chunk in recording.events(kinds=[EventKind.MM_PAGE_ALLOC_EXTFRAG]):
        found, _ = extfrag_of(chunk, order)
        if queues_evacuation(found.kind, found.start, found.source).any():
            return True
    return False


def claims_facts(recording: Recording) -> dict[str, Any]:
    """``claims_to_evacuate`` and ``recorded_seconds``, as results keep them."""
    first, last = (recording.quality.get(name) for name in ("first_ts", "last_ts"))
    span = (last - first) / 1e9 if isinstance(first, int) and isinstance(last, int) else None
    return {"claims_to_evacuate": claims_to_evacuate(recording), "recorded_seconds": span}


def nothing_words(facts: dict[str, Any]) -> str:
    """What :func:`claims_facts` says of evacuation, and the next step; empty where there were claims, or nobody knows."""
    if facts.get("claims_to_evacuate") is not False:
        return ""
    seconds = facts.get("recorded_seconds")
    span = f"these {seconds:.0f} s" if seconds and seconds >= 1 else "this recording"
    return (
        f"In {span} evacuation would have done nothing: no movable pageblock was claimed below pageblock order. "
        "Record while kernel memory grows in movable blocks: `kevacuate triage --live` counts such claims."
    )
