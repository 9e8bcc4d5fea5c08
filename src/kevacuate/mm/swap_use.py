# SPDX-License-Identifier: GPL-2.0-or-later
"""When anonymous pages are used: an input, as no event of a recording tells; with swap alone.

The fault that makes a page leaves the accessed bit of its page table entry set: reclaim finds that once. After that a stated
share of the pages, ``cfg.anon_used`` thousandths, chosen by their object's number, is in use all the time: in every 2**29 ns
(0.54 s) each of them is used once. The others are not used again before they are freed. A page that is in use and in swap is
read again 2**29 ns after it was written. The bits that tell of a page of a file when it was made dirty (:mod:`.writeback`) tell
of an anonymous one when reclaim last looked at its accessed bit; 0: never. Approximate: page tables are not modelled.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.mm.constants import ATTR_DIRTIED, SWAP_UNIT_SHIFT
from kevacuate.mm.fields import View

_MIX = 2654435761
"""Knuth's multiplier: 2**32 over the golden ratio."""


@part
def in_use(s: View, obj: int) -> bool:
    """Whether an anonymous page is in use all the time."""
    return ((obj * _MIX) >> 12 & 0xFFFFF) * 1000 >> 20 < s.cfg.anon_used


@part
def looked_now(s: View) -> int:
    """The attribute bits of what is looked at now: in units of 2**29 ns from 1 on, again from 1 after 2.4 hours."""
    return (1 + (s.stat.now >> SWAP_UNIT_SHIFT) % 0x3FFF) << 16


@part
def anon_referenced(s: View, pfn: int) -> bool:
    """Test and clear the accessed bit of an anonymous folio (folio_referenced, mm/rmap.c)."""
    attr = s.link[2 * pfn + 1] + 0
    seen = attr & ATTR_DIRTIED
    now = looked_now(s)
    s.link[2 * pfn + 1] = (attr & ~ATTR_DIRTIED) | now
    return seen == 0 or (seen != now and in_use(s, s.link[2 * pfn] + 0))
