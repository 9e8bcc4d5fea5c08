# SPDX-License-Identifier: GPL-2.0-or-later
"""What was lost of a recording: events that a CPU dropped, and events that nobody could read."""

from __future__ import annotations

from kevacuate.errors import KevacuateError
from kevacuate.recording.recording import Recording
from kevacuate.recording.ringbuf import NO_FORMAT, CpuLosses


def lost_events(loss: CpuLosses) -> int:
    """Events one CPU is known to have lost; a gap of unknown size counts as one."""
    kernel = loss.overrun + loss.commit_overrun + loss.dropped
    return int(max(loss.missed + loss.gaps, kernel))


def lost_words(events: int) -> str:
    """``No event was lost``, ``1 event was lost``, ``2 events were lost``."""
    return f"{events:,} events were lost" if events > 1 else f"{'1' if events else 'No'} event was lost"


def events_not_read(recording: Recording) -> dict[str, int]:
    """Event name to how many of them were there and could not be read; those without a format are "(no format)"."""
    named = {
        str(k): int(n) for k, n in recording.quality.get("imported", {}).get("events_not_read", {}).items()
    }
    rest = sum(loss.unknown for loss in recording.losses) - sum(named.values())
    return named | ({NO_FORMAT: rest} if rest > 0 else {})


def refuse_losses(recording: Recording, so: str = "its demand is incomplete") -> None:
    """Raise KevacuateError if events were lost: what a replay would make of them is a guess."""
    lost = {loss.cpu: lost_events(loss) for loss in recording.losses if loss.any}
    if lost:
        where = ", ".join(f"{events:,} on CPU {cpu}" for cpu, events in lost.items())
        raise KevacuateError(
            f"{recording.path} lost events ({where}), so {so}: record again with larger buffers. With --despite-losses, "
            "`kevacuate compare`, replay, report, plot, explain and verify use it all the same."
        )
