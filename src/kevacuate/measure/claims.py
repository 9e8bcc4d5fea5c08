# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a recorded kernel claimed movable blocks: without such claims evacuation has nothing to act on."""

from __future__ import annotations

from typing import Any

from kevacuate.measure.extfrag import extfrag_of, queues_evacuation, tells_ownership
from kevacuate.measure.recorded import recorded_kinds
from kevacuate.recording import EventKind, Recording


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
