# SPDX-License-Identifier: GPL-2.0-or-later
"""What a use of a page does to its LRU state (mm/swap.c, 7.2)."""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm.constants import ATTR_LRU, ATTR_REFERENCED
from kevacuate.mm.fields import View


@part
def folio_mark_accessed(s: View, pfn: int) -> None:
    """Note that the folio was used: it is referenced. There are no lists yet that it could be activated on."""
    if s.link[2 * pfn + 1] & ATTR_LRU:
        s.link[2 * pfn + 1] |= ATTR_REFERENCED
