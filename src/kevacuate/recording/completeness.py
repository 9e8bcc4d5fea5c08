# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a recording is complete: its losses by CPU, and the refusal of one that lost events."""

from __future__ import annotations

from typing import Any

from kevacuate.errors import KevacuateError
from kevacuate.recording.recording import Recording


def losses_by_cpu(recording: Recording) -> dict[str, Any]:
    """``lost_events`` by CPU ([] if not known), and ``lost_events_at_least``: whether more may be missing."""
    return {
        **recording.lost.to_json(),
        "lost_events": [loss.lost.events for loss in recording.losses],
    }


def refuse_losses(recording: Recording, so: str = "its demand is incomplete") -> None:
    """Raise KevacuateError if events were lost: what a replay would make of them is a guess."""
    if recording.lost:
        where = ", ".join(f"{loss.lost.number} on CPU {loss.cpu}" for loss in recording.losses if loss.any)
        raise KevacuateError(
            f"{recording.path} lost events ({where}), so {so}: record again with larger buffers. With --despite-losses, "
            "`kevacuate compare`, replay, report, plot, tune, ablate, start, explain and verify use it all the same."
        )
