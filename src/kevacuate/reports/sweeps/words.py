# SPDX-License-Identifier: GPL-2.0-or-later
"""How far a sweep is, and what came of it, in sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from kevacuate.sweeps.progress import Far
from kevacuate.sweeps.sweep import Swept

SHOWN = 5
"""Errors that are told, most frequent first; the others are counted."""


def time_words(seconds: float) -> str:
    """A time, roughly."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def far_words(far: Far) -> str:
    """How far a sweep is, without the period."""
    said = f"{far.done:,} of {far.total:,} cells"
    if far.failed:
        said += f", {far.failed:,} without a result"
    if far.compiling:
        return f"{said}; compiling a part of the model, once"
    return said if far.left is None else f"{said}; about {time_words(far.left)} left"


def _counted(errors: Mapping[str, str], what: str) -> list[str]:
    """Sentences on errors: how many cells, and what was said, most frequent first."""
    lines = []
    ranked = Counter(errors.values()).most_common()
    for text, number in ranked[:SHOWN]:
        cells = "cell" if number == 1 else "cells"
        lines.append(f"{number:,} {cells} {what}: {text}")
    if len(ranked) > SHOWN:
        lines.append(f"{len(ranked) - SHOWN:,} other errors are in the JSON.")
    return lines


def swept_words(swept: Swept) -> list[str]:
    """What came of a sweep, a sentence a line."""
    there = swept.cells - swept.missing
    lines = [
        f"{there:,} of {swept.cells:,} cells are in {swept.store}: {swept.replayed:,} were replayed now, {swept.there:,} before."
    ]
    lines += _counted(swept.refused, "refused")
    lines += _counted(swept.unable, "without a result")
    if swept.missing:
        one = swept.missing == 1
        lines.append(
            f"{swept.missing:,} cell{' is' if one else 's are'} missing. This replays {'it' if one else 'them'}:"
        )
        lines += [f"  {line}" for line in swept.again]
    return lines
