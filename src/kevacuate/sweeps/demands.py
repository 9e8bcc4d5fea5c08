# SPDX-License-Identifier: GPL-2.0-or-later
"""An experiment's demands: recordings and described workloads, opened in one way by all hands."""

from __future__ import annotations

from pathlib import Path

from kevacuate.recording import Recording
from kevacuate.workload.named import PREFIX
from kevacuate.workload.opening import recording_of


def open_demand(path: str | Path) -> Recording:
    """The recording at a path, whose files are checked against their digests, or what stands for a described workload.

    Raises
    ------
    KevacuateError
        There is neither, or it is corrupted, or the description is wrong.
    """
    return recording_of(path)


def ships(name: str) -> bool:
    """Whether a demand's name is that of a workload that ships with the package, and no path."""
    return name.startswith(PREFIX)


def whole_name(name: str) -> str:
    """A demand's name from wherever it is read: its absolute path, unless it ships with the package."""
    return name if ships(name) else str(Path(name).absolute())
