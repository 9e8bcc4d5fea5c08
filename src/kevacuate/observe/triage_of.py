# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate.triage``: the triage of a recording, by name or opened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from kevacuate.observe.triage import triage_recording
from kevacuate.recording import Recording


def triage(
    recording: Recording | str | Path, *, progress: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """Say whether a recorded machine was fragmenting, and by whom; what ``kevacuate triage --json`` prints.

    Parameters
    ----------
    recording : Recording or path
        With external fragmentation events.
    progress : callable, optional
        Called with (events done, events in all).

    Raises
    ------
    KevacuateError
        The recording holds no events, or is corrupted.
    """
    return triage_recording(Recording.of(recording), progress=progress)
