# SPDX-License-Identifier: GPL-2.0-or-later
"""What a demand says of the pages of an allocation, and a replay's model keeps of them.

The kernel has no such word: each bit stands for what its struct page, folio and mapping say. They are numbered here once, for
the ``attr`` column of a demand and for the model.
"""

from __future__ import annotations

from enum import IntFlag


class PageAttr(IntFlag):
    """What kind of page an object is: the bits of ``attr``."""

    LRU = 1
    """On an LRU list, sooner or later (folio_add_lru)."""
    FILE = 2
    """Of the page cache."""
    DIRTY = 4
    WRITEBACK = 8
    PINNED = 16
    """Somebody holds a reference: a migration fails."""
    BUSY = 32
    """Locked for a while: a migration has to be tried again."""
    MOVABLE_OPS = 64
    """On no LRU list, but its driver can move it (page_movable_ops)."""
    MLOCKED = 128
    """Locked into memory (mlock): on no list that reclaim scans."""
