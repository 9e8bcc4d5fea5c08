# SPDX-License-Identifier: GPL-2.0-or-later
"""GFP flags in words, as the kernel's show_gfp_flags prints them (include/trace/events/mmflags.h)."""

from __future__ import annotations

from kevacuate.recording.schema import GFP_BITS


def _mask(*names: str) -> int:
    return sum(1 << GFP_BITS[f"__GFP_{name}"] for name in names)


_NOIO = _mask("DIRECT_RECLAIM", "KSWAPD_RECLAIM")
_NOFS = _NOIO | _mask("IO")
_KERNEL = _NOFS | _mask("FS")
_USER = _KERNEL | _mask("HARDWALL")
_HIGHUSER = _USER | _mask("HIGHMEM")
_MOVABLE = _HIGHUSER | _mask("MOVABLE")
_THP = (_MOVABLE | _mask("COMP", "NOMEMALLOC", "NOWARN")) & ~_NOIO

COMPOUNDS: tuple[tuple[str, int], ...] = (
    ("GFP_TRANSHUGE", _THP | _mask("DIRECT_RECLAIM")),
    ("GFP_TRANSHUGE_LIGHT", _THP),
    ("GFP_HIGHUSER_MOVABLE", _MOVABLE),
    ("GFP_HIGHUSER", _HIGHUSER),
    ("GFP_USER", _USER),
    ("GFP_KERNEL_ACCOUNT", _KERNEL | _mask("ACCOUNT")),
    ("GFP_KERNEL", _KERNEL),
    ("GFP_NOFS", _NOFS),
    ("GFP_ATOMIC", _mask("HIGH", "KSWAPD_RECLAIM")),
    ("GFP_NOIO", _NOIO),
    ("GFP_NOWAIT", _mask("KSWAPD_RECLAIM", "NOWARN")),
)
"""Combinations with a name (include/linux/gfp_types.h at 7.2), in the order in which the kernel tries them."""


def gfp_words(gfp: int) -> str:
    """Flags in the bit numbers of Linux 7.2 as the kernel would print them: ``GFP_KERNEL|__GFP_COMP``; ``0`` for none."""
    parts = []
    left = gfp
    for name, mask in COMPOUNDS:
        if left & mask == mask:
            parts.append(name)
            left &= ~mask
    for name, bit in GFP_BITS.items():
        if left >> bit & 1:
            parts.append(name)
            left &= ~(1 << bit)
    if left:
        parts.append(hex(left))
    return "|".join(parts) or "0"
