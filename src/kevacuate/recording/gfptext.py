# SPDX-License-Identifier: GPL-2.0-or-later
"""GFP flags as the kernel prints them: names joined by ``|``, the composed ones first (trace/events/mmflags.h)."""

from __future__ import annotations

from kevacuate.kernel.gfp import COMPOSED, GFP_BITS, GFP_MASK

NO_FLAGS = "none"
_ORDERED = [*COMPOSED.items(), *((name, 1 << bit) for name, bit in GFP_BITS.items())]
_VALUES = dict(_ORDERED) | {NO_FLAGS: 0}


def gfp_text(flags: int) -> str:
    """What the kernel prints for these flags, in the bit numbers of Linux 7.2."""
    if not flags:
        return NO_FLAGS
    names = []
    for name, mask in _ORDERED:
        if flags & mask == mask:
            names.append(name)
            flags &= ~mask
    return "|".join(names + ([hex(flags)] if flags else []))


def gfp_value(text: str) -> tuple[int, tuple[str, ...]]:
    """The flags that such a text (or a number) names, and the names in it that are not known.

    A composed name means what it means in Linux 7.2: older kernels' GFP_NOWAIT, for one, lacked __GFP_NOWARN.

    Raises
    ------
    ValueError
        If it begins like a number and is none.

    """
    value, unknown = 0, []
    for name in text.split("|"):
        if name in _VALUES:
            value |= _VALUES[name]
        elif name[:1].isdigit():
            value |= int(name, 0)
        else:
            unknown.append(name)
    return value & GFP_MASK, tuple(unknown)
