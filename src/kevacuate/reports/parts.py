# SPDX-License-Identifier: GPL-2.0-or-later
"""Files that results may not take the place of."""

from __future__ import annotations

from pathlib import Path

from kevacuate.errors import KevacuateError
from kevacuate.recording.kev import recording_of
from kevacuate.sweeps.store import store_of


def refuse_part(target: Path) -> None:
    """Refuse a file that a recording or the store of a sweep consists of: what is written would take its place.

    Raises
    ------
    KevacuateError
        It is one.
    """
    for what, whole in (("recording", recording_of(target)), ("store", store_of(target))):
        if whole:
            raise KevacuateError(f"{target} is a part of the {what} {whole}: choose another name.")
