# SPDX-License-Identifier: GPL-2.0-or-later
"""Allocation flags by name, as the kernel's own print format shows them."""

from __future__ import annotations

from kevacuate.mm import constants as k
from kevacuate.recording.schema import GFP_BITS

_COMPOSITES = (
    ("GFP_TRANSHUGE", k.GFP_TRANSHUGE),
    ("GFP_TRANSHUGE_LIGHT", k.GFP_TRANSHUGE_LIGHT),
    ("GFP_HIGHUSER_MOVABLE", k.GFP_HIGHUSER_MOVABLE),
    ("GFP_HIGHUSER", k.GFP_KERNEL | k.GFP_HARDWALL | k.GFP_HIGHMEM),
    ("GFP_USER", k.GFP_KERNEL | k.GFP_HARDWALL),
    ("GFP_KERNEL_ACCOUNT", k.GFP_KERNEL | 1 << GFP_BITS["__GFP_ACCOUNT"]),
    ("GFP_KERNEL", k.GFP_KERNEL),
    ("GFP_NOFS", k.GFP_RECLAIM | k.GFP_IO),
    ("GFP_ATOMIC", k.GFP_ATOMIC),
    ("GFP_NOIO", k.GFP_RECLAIM),
    ("GFP_NOWAIT", k.GFP_KSWAPD_RECLAIM),
)
"""Tried in this order (include/trace/events/mmflags.h at 7.2): the first that is contained is named, the rest added."""


def gfp_text(flags: int) -> str:
    """The flags (bit numbers of Linux 7.2) by name: ``GFP_KERNEL|__GFP_ZERO``; ``0`` for none."""
    names, left = [], flags
    for name, bits in _COMPOSITES:
        if left & bits == bits:
            names.append(name)
            left &= ~bits
            break
    names += [name for name, bit in GFP_BITS.items() if left >> bit & 1]
    left &= ~sum(1 << bit for bit in GFP_BITS.values())
    if left:
        names.append(f"{left:#x}")
    return "|".join(names) or "0"
