# SPDX-License-Identifier: GPL-2.0-or-later
"""What a recording holds and how far a replay can trust it."""

from __future__ import annotations

from typing import Any

from kevacuate.errors import KevacuateError
from kevacuate.mm.profile import NOT_MODELLED, profile_for
from kevacuate.recording import CpuLosses, Recording
from kevacuate.replay.demand import build_demand


def lost_events(loss: CpuLosses) -> int:
    """Events one CPU is known to have lost; a gap of unknown size counts as one."""
    kernel = loss.overrun + loss.commit_overrun + loss.dropped
    return int(max(loss.missed + loss.gaps, kernel))


def refuse_losses(recording: Recording) -> None:
    """Raise KevacuateError if events were lost: what a replay would make of them is a guess."""
    lost = {loss.cpu: lost_events(loss) for loss in recording.losses if loss.any}
    if lost:
        where = ", ".join(f"{events:,} on CPU {cpu}" for cpu, events in lost.items())
        raise KevacuateError(
            f"{recording.path} lost events ({where}), so its demand is incomplete: record again with larger buffers, or "
            "use it all the same with --despite-losses."
        )


def about_recording(recording: Recording) -> dict[str, Any]:
    """Facts of a recording, its demand's quality counters, and a verdict in words. Reads the whole recording once.

    Raises
    ------
    KevacuateError
        The recording cannot be read, or holds no start state.
    """
    machine, start = recording.machine, recording.start
    profile, standing = profile_for(machine.kernel)
    demand = build_demand(recording)
    rows, span = 0, 0
    for chunk in demand.chunks():
        rows += int(chunk.t.size)
        span = int(chunk.t[-1]) if chunk.t.size else span
    quality = {} if demand.max_objects is None else demand.quality.as_dict()
    losses = [lost_events(loss) for loss in recording.losses]
    about: dict[str, Any] = {
        "name": recording.path.name,
        "digest": recording.digest,
        "kernel": machine.kernel,
        "profile": standing,
        "profile_unsure": list(profile.unsure),
        "not_modelled": [*NOT_MODELLED, *profile.not_modelled],
        "arch": machine.arch,
        "cpus": machine.cpus,
        "zones": [{"node": z.node, "name": z.name, "managed_pages": z.managed} for z in machine.zones],
        "pageblock_order": machine.pageblock_order,
        "states": [
            {"tag": s.tag, "label": s.label, "page_flags": s.page_flags is not None} for s in recording.states
        ],
        "start_blocks_with_skip_bit": int(start.blocks.skip.sum()) if start is not None else 0,
        "start_objects": int(demand.start_objects.pfn.size),
        "demand_rows": rows,
        "seconds": span / 1e9,
        "lost_events": losses,
        "quality": quality,
    }
    about["verdict"] = verdict(about, quality.get("trusted"))
    return about


def verdict(about: dict[str, Any], trusted: float | None) -> str:
    """One or two sentences: can this recording be replayed, and what to keep in mind.

    *trusted* is the share of the demand that is known, None where the recording does not say.
    """
    lost = sum(about["lost_events"])
    if trusted is None:
        return f"{lost or 'No'} events were lost; how much of the demand is a guess was not kept."
    if lost:
        return (
            f"{lost} events were lost, so objects are missing or never freed: {trusted:.1%} of the demand can be trusted. "
            "Record again with larger buffers before drawing conclusions."
        )
    return (
        f"No event was lost; {trusted:.2%} of the demand is known from the kernel's own events. "
        "What a trace cannot show (pinned, dirty, busy pages) is drawn from stated shares: see page_kinds in a run's provenance."
    )
