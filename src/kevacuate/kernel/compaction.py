# SPDX-License-Identifier: GPL-2.0-or-later
"""Results of compaction by version of the kernel: what ``ret`` and ``status`` are in the compaction events.

Recordings store the numbers of Linux 7.2 (include/linux/compaction.h, enum compact_result). Sources of the others:
the ``COMPACT_`` lines of compaction.h and the names of include/trace/events/compaction.h (until 4.3:
compaction_status_string in mm/compaction.c).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kevacuate.kernel.versions import Version, at

RESULTS = (
    "not_suitable_zone", "skipped", "deferred", "no_suitable_page", "continue", "complete", "partial_skipped",
    "contended", "success",
)  # fmt: skip
"""Printed names of the stored numbers."""

LATER_NAMES = {"partial": "success"}
"""Old name to the later name of the same result (COMPACT_PARTIAL became COMPACT_SUCCESS in 4.9)."""

_FOUR = ("deferred", "skipped", "continue", "partial", "complete", "no_suitable_page", "not_suitable_zone")
_RESULTS: tuple[tuple[Version, tuple[str, ...] | None], ...] = (
    ((3, 13), ("skipped", "continue", "partial", "complete")),
    ((3, 17), None),  # deferred came in 3.17, 3.18 or 3.19: no header of the first two was at hand
    ((3, 19), ("deferred", "skipped", "continue", "partial", "complete")),
    ((4, 0), _FOUR),
    ((4, 3), (*_FOUR, "contended")),
    ((4, 7), (*RESULTS[:8], "partial")),
    ((4, 9), RESULTS),
)
"""First version to the printed names by number; mm_compaction_end has a status since 3.13 or 3.14."""


def results(version: Version | None) -> tuple[str, ...] | None:
    """Printed names of the results by number at *version*; None if not known."""
    return at(_RESULTS, version)


def stored_result(name: str) -> int | None:
    """The stored number of a printed name, old names included; None of a name that is not known."""
    later = LATER_NAMES.get(name, name)
    return RESULTS.index(later) if later in RESULTS else None


def table(first: Version | None, last: Version) -> npt.NDArray[np.int64] | None:
    """Stored number of each number of a kernel that is between two versions: -1 for those that mean one thing in one of
    them and another, or nothing that is known, in the next. None if that is so of all.
    """
    low = first or _RESULTS[0][0]
    rows = [
        named
        for index, (version, named) in enumerate(_RESULTS)
        if version <= last and not (index + 1 < len(_RESULTS) and _RESULTS[index + 1][0] <= low)
    ]
    if not rows or None in rows:
        return None
    stored = [[RESULTS.index(LATER_NAMES.get(name, name)) for name in named or ()] for named in rows]
    most = min(len(numbers) for numbers in stored)
    return np.array(
        [n if len({r[i] for r in stored}) == 1 else -1 for i, n in enumerate(stored[0][:most])], np.int64
    )
