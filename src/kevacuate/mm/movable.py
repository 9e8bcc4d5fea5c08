# SPDX-License-Identifier: GPL-2.0-or-later
"""Which pages of the model can move: the same rule as :func:`kevacuate.kernel.pageflags.movable_pages`, of attributes."""

from __future__ import annotations

from typing import Any

from kevacuate.jit import part
from kevacuate.mm.constants import ATTR_FILE, ATTR_LRU, ATTR_MOVABLE_OPS, ATTR_ON_LRU


def can_move(attr: Any) -> Any:
    """Whether an allocated chunk with these attributes (ATTR_*; a number or an array) can move.

    On an LRU list, or anonymous wherever it is, or with movable_ops of its own. The model holds anonymous and shmem folios for
    alike, so a shmem folio in a CPU's batch counts as one that can move, which /proc/kpageflags would not show.
    """
    anonymous = attr & (ATTR_LRU | ATTR_FILE) == ATTR_LRU
    return (attr & (ATTR_ON_LRU | ATTR_MOVABLE_OPS) != 0) | anonymous


attr_can_move = part(can_move)
"""The same, compiled."""
