# SPDX-License-Identifier: GPL-2.0-or-later
"""What an experiment's demand is opened by: one way for all hands."""

from __future__ import annotations

from pathlib import Path

from kevacuate.recording import Recording


def open_demand(path: str | Path) -> Recording:
    """The recording at a path; its files are checked against their digests.

    Raises
    ------
    KevacuateError
        There is none, or it is corrupted.
    """
    return Recording.open(path)
