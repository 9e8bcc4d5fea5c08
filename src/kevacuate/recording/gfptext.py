# SPDX-License-Identifier: GPL-2.0-or-later
"""GFP flags as the kernel prints them: names joined by ``|``, the composed ones first (trace/events/mmflags.h)."""

from __future__ import annotations

from collections.abc import Callable

from kevacuate.kernel import gfp
from kevacuate.kernel.gfp import COMPOSED, GFP_BITS, GFP_MASK
from kevacuate.kernel.versions import Version

NO_FLAGS = "none"
_ORDERED = [*COMPOSED.items(), *((name, 1 << bit) for name, bit in GFP_BITS.items())]
_DIRECT, _KSWAPD = (1 << GFP_BITS[name] for name in ("__GFP_DIRECT_RECLAIM", "__GFP_KSWAPD_RECLAIM"))


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


def _same(flags: int) -> int | None:
    return flags


def gfp_value(
    text: str, version: Version | None = None, number: Callable[[int], int | None] = _same
) -> tuple[int, tuple[str, ...]]:
    """The flags that such a text (or a number of Linux 7.2) names, and the names in it that are not known.

    A composed name means what it meant in the kernel that printed it: GFP_NOWAIT, for one, lacked __GFP_NOWARN until 6.6.
    Names without underscores, as kernels before 4.6 print single bits, are read whatever the version.

    Parameters
    ----------
    text : str
        Names joined by ``|``.
    version : Version, optional
        The kernel that printed it; None for Linux 7.2.
    number : callable, optional
        What the bits without a name, printed as a number behind the names, are in Linux 7.2; None if that is not known.

    Raises
    ------
    ValueError
        If it begins like a number and is none.

    """
    value, unknown, names = 0, [], text.split("|")
    for name in names:
        if name[:1].isdigit():
            bits = number(int(name, 0))
            value |= bits or 0
            unknown += [] if bits is not None else [name]
        elif name == "GFP_ATOMIC" and "GFP_HIGH" in names:
            continue  # the bit __GFP_ATOMIC of 4.4 and 4.5, beside another name of __GFP_HIGH
        elif (found := _named(name, version)) is not None:
            value |= found
        else:
            unknown.append(name)
    woken = (
        version is not None
        and version <= gfp.WAIT_UNTIL
        and not {"GFP_NO_KSWAPD", "GFP_TRANSHUGE"} & set(names)
    )
    return (value | (_KSWAPD if woken else 0)) & GFP_MASK, tuple(unknown)


def _named(name: str, version: Version | None) -> int | None:
    """The flags of one name, 0 of those that are known and not kept; None if it is not known."""
    if name == NO_FLAGS or name in gfp.NOT_KEPT:
        return 0
    composed = gfp.composed(name, version)
    if composed is not None or name in COMPOSED:
        return composed
    single = gfp.printed_name(name)
    single = gfp.RENAMED.get(single, single)
    if single == gfp.WAIT:
        return _DIRECT
    if single == gfp.NO_KSWAPD:
        return 0
    return 1 << GFP_BITS[single] if single in GFP_BITS else None
