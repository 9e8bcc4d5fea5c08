# SPDX-License-Identifier: GPL-2.0-or-later
"""What a recorder reports while it runs and at its end."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from kevacuate.capture.options import ELSEWHERE
from kevacuate.capture.workdir import WorkDir
from kevacuate.errors import KevacuateError
from kevacuate.recording.losses import Lost


@dataclass
class Status:
    """What a progress display shows."""

    seconds: float = 0.0
    events: int = 0
    rate: float = 0.0
    """Events decoded per second, lately."""
    lost: Lost = field(default_factory=Lost)
    written: int = 0
    """Bytes of the recording so far, spool and all."""
    waiting: int = 0
    """Bytes spooled and not yet decoded."""
    phase: str = "starting"


@dataclass(frozen=True)
class Result:
    """How it went."""

    target: Path
    events: int
    lost: Lost
    seconds: float
    stopped: str
    """Why recording ended, in words."""
    exit_status: int | None
    """COMMAND's."""
    between: float = 0.0
    """Seconds between the snapshots at the start and at the end, which take their time and are recorded too."""


def explain(
    error: OSError | KevacuateError, target: Path, work: WorkDir | None, elsewhere: str = ELSEWHERE
) -> KevacuateError:
    """The error in one sentence, and where what was captured is to be found; *elsewhere* as of :class:`RecordOptions`."""
    what = str(error)
    if isinstance(error, OSError):
        what = f"{target} cannot be written ({error.strerror or error}): make room or {elsewhere}."
    if work is not None:
        what += f" What was captured is in {work.path}; the next recording in that directory saves it."
    return KevacuateError(what)
