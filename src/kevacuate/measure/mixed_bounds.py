# SPDX-License-Identifier: GPL-2.0-or-later
"""How many pageblocks are mixed, as far as page flags tell the kernel's pages from those on per-CPU lists.

/proc/kpageflags shows 0 for both, and /proc/kpagecount is the number of mappings, 0 for both, not the reference count. Only
/proc/zoneinfo tells how many pages are on per-CPU lists. So mixed has two bounds: the most if all unclear pages are the
kernel's, the least if as many of them as there are pages on per-CPU lists lie where they make the most blocks look mixed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.measure.blocks import is_mixed

Counts = npt.NDArray[np.integer]


class Bounds(NamedTuple):
    """Mixed pageblocks: at least, at most."""

    least: int
    most: int

    def words(self) -> str:
        """As ``85 to 912``, or one number where both are equal."""
        return f"{self.most:,}" if self.least == self.most else f"{self.least:,} to {self.most:,}"


def mixed_bounds(movable: Counts, fixed: Counts, unclear: Counts, cached: int) -> Bounds:
    """Bounds of the number of mixed pageblocks.

    Parameters
    ----------
    movable : int[blocks]
        Pages that can move.
    fixed : int[blocks]
        Pages that cannot move, as page flags or events show.
    unclear : int[blocks]
        Pages that cannot move either, or are on a per-CPU list.
    cached : int
        How many of the unclear pages are on per-CPU lists.

    """
    sure = is_mixed(movable, fixed)
    doubtful = np.sort(unclear[is_mixed(movable, unclear) & ~sure])
    clean = int(np.searchsorted(np.cumsum(doubtful), cached, side="right"))
    least = int(sure.sum()) + len(doubtful) - clean
    return Bounds(least, int(sure.sum()) + len(doubtful))
