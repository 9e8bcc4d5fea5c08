# SPDX-License-Identifier: GPL-2.0-or-later
"""GFP flags by version of the kernel: bit numbers, what composed names stand for, and both as Linux 7.2 has them.

Recordings store the bits of Linux 7.2 (include/linux/gfp_types.h), low 23. Until 4.3 there was one bit ``__GFP_WAIT``
for what are two since: ``__GFP_DIRECT_RECLAIM`` where it was set, ``__GFP_KSWAPD_RECLAIM`` where ``__GFP_NO_KSWAPD``
was not (4.4, commit d0164adc89f6). Until 4.5 names were printed without underscores (include/trace/events/gfpflags.h:
``GFP_ZERO``). :func:`conversion` does all of this.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.kernel.versions import Version, at, within

GFP_DMA = 1 << 0
GFP_HIGHMEM = 1 << 1
GFP_DMA32 = 1 << 2
GFP_MOVABLE = 1 << 3
GFP_RECLAIMABLE = 1 << 4
GFP_HIGH = 1 << 5
GFP_IO = 1 << 6
GFP_FS = 1 << 7
GFP_ZERO = 1 << 8
GFP_DIRECT_RECLAIM = 1 << 10
GFP_KSWAPD_RECLAIM = 1 << 11
GFP_WRITE = 1 << 12
GFP_NOWARN = 1 << 13
GFP_RETRY_MAYFAIL = 1 << 14
GFP_NOFAIL = 1 << 15
GFP_NORETRY = 1 << 16
GFP_MEMALLOC = 1 << 17
GFP_COMP = 1 << 18
GFP_NOMEMALLOC = 1 << 19
GFP_HARDWALL = 1 << 20
GFP_THISNODE = 1 << 21
GFP_ACCOUNT = 1 << 22

GFP_BITS: dict[str, int] = {
    f"__{name}": flag.bit_length() - 1 for name, flag in globals().copy().items() if name.startswith("GFP_")
}
"""Bit numbers of the stored ``gfp`` column: those of Linux 7.2, low 23 bits."""

GFP_RECLAIM = GFP_DIRECT_RECLAIM | GFP_KSWAPD_RECLAIM
GFP_NOFS = GFP_RECLAIM | GFP_IO
GFP_KERNEL = GFP_NOFS | GFP_FS
GFP_USER = GFP_KERNEL | GFP_HARDWALL
GFP_HIGHUSER = GFP_USER | GFP_HIGHMEM
GFP_HIGHUSER_MOVABLE = GFP_HIGHUSER | GFP_MOVABLE
GFP_ATOMIC = GFP_HIGH | GFP_KSWAPD_RECLAIM
GFP_TRANSHUGE_LIGHT = (GFP_HIGHUSER_MOVABLE | GFP_COMP | GFP_NOMEMALLOC | GFP_NOWARN) & ~GFP_RECLAIM
GFP_TRANSHUGE = GFP_TRANSHUGE_LIGHT | GFP_DIRECT_RECLAIM

GFP_MASK = (1 << 23) - 1
"""The bits that the stored ``gfp`` column keeps."""

NOT_KEPT: frozenset[str] = frozenset(
    {
        "__GFP_ZEROTAGS",
        "__GFP_SKIP_ZERO",
        "__GFP_SKIP_KASAN",
        "__GFP_NOLOCKDEP",
        "__GFP_NO_OBJ_EXT",
        "__GFP_NO_CODETAG",
    }
)
"""Flags of today's kernels above the low 23 bits: they say nothing of where memory comes from."""

RENAMED: dict[str, str] = {"__GFP_REPEAT": "__GFP_RETRY_MAYFAIL"}
"""Old name to the later name of the same bit (__GFP_RETRY_MAYFAIL since 4.13)."""

GONE: frozenset[str] = frozenset(
    {
        "__GFP_COLD", "__GFP_NOTRACK", "__GFP_OTHER_NODE", "__GFP_KMEMCG", "__GFP_NOACCOUNT", "__GFP_ATOMIC",
        "__GFP_SKIP_KASAN_POISON", "__GFP_SKIP_KASAN_UNPOISON",
    }
)  # fmt: skip
"""Flags of older kernels that Linux 7.2 has nothing for."""

WAIT, NO_KSWAPD = "__GFP_WAIT", "__GFP_NO_KSWAPD"
WAIT_UNTIL: Version = (4, 3)
"""The last version with __GFP_WAIT: kswapd is woken unless __GFP_NO_KSWAPD is set."""

_COMMON = {
    "__GFP_DMA": 0,
    "__GFP_HIGHMEM": 1,
    "__GFP_DMA32": 2,
    "__GFP_MOVABLE": 3,
    "__GFP_HIGH": 5,
    "__GFP_IO": 6,
    "__GFP_FS": 7,
}
_MIDDLE = {
    "__GFP_NOWARN": 9, "__GFP_NOFAIL": 11, "__GFP_NORETRY": 12, "__GFP_COMP": 14, "__GFP_ZERO": 15, "__GFP_NOMEMALLOC": 16,
    "__GFP_HARDWALL": 17, "__GFP_THISNODE": 18,
}  # fmt: skip
_FIRST = (
    _COMMON
    | _MIDDLE
    | {"__GFP_WAIT": 4, "__GFP_COLD": 8, "__GFP_REPEAT": 10, "__GFP_RECLAIMABLE": 19, "__GFP_NOTRACK": 21}
)
_THP = _FIRST | {"__GFP_NO_KSWAPD": 22, "__GFP_OTHER_NODE": 23}
_WRITE = _THP | {"__GFP_WRITE": 24}
_MEMALLOC = _WRITE | {"__GFP_MEMALLOC": 13}
_SPLIT = (
    _COMMON
    | _MIDDLE
    | {
        "__GFP_RECLAIMABLE": 4, "__GFP_COLD": 8, "__GFP_REPEAT": 10, "__GFP_MEMALLOC": 13, "__GFP_ATOMIC": 19,
        "__GFP_NOACCOUNT": 20, "__GFP_NOTRACK": 21,
        "__GFP_DIRECT_RECLAIM": 22, "__GFP_OTHER_NODE": 23, "__GFP_WRITE": 24, "__GFP_KSWAPD_RECLAIM": 25,
    }
)  # fmt: skip


def _changed(bits: dict[str, int], *gone: str, **new: int) -> dict[str, int]:
    """The bits without those names, with others: names without their underscores."""
    return {n: b for n, b in bits.items() if n not in {f"__GFP_{x}" for x in gone}} | {
        f"__GFP_{n}": b for n, b in new.items()
    }


_ACCOUNT = _changed(_SPLIT, "NOACCOUNT", ACCOUNT=20)
_V4_10 = _changed(_ACCOUNT, "OTHER_NODE", WRITE=23, KSWAPD_RECLAIM=24)
_V4_12 = _changed(_V4_10, NOLOCKDEP=25)
_V4_13 = _changed(_V4_12, "REPEAT", RETRY_MAYFAIL=10)
_V4_15 = _changed(_V4_13, "COLD", "NOTRACK")
_V4_18 = _changed(_V4_15, WRITE=8, DIRECT_RECLAIM=21, KSWAPD_RECLAIM=22, NOLOCKDEP=23)
_V5_2 = _changed(GFP_BITS, ATOMIC=9)

_BITS: tuple[tuple[Version, dict[str, int] | None], ...] = (
    ((2, 6, 33), _FIRST),
    ((3, 2), _THP),
    ((3, 5), _WRITE),
    ((3, 6), _MEMALLOC),
    ((3, 8), _MEMALLOC | {"__GFP_KMEMCG": 20}),
    ((3, 15), _MEMALLOC),
    ((4, 1), _MEMALLOC | {"__GFP_NOACCOUNT": 20}),
    ((4, 4), _SPLIT),
    ((4, 5), _ACCOUNT),
    ((4, 10), _V4_10),
    ((4, 12), _V4_12),
    ((4, 13), _V4_13),
    ((4, 15), _V4_15),
    ((4, 18), _V4_18),
    ((5, 1), None),  # renumbered in 5.1 or 5.2: no header of 5.1 was at hand
    ((5, 2), _V5_2),
    ((6, 3), dict(GFP_BITS)),
)
"""First version to the bits, those that are kept or have a bit below 26. A bit may have come up to two versions
before the first that has it here (3.2: 2.6.38; 3.5: 3.3): no kernel without it sets it."""


def bits(version: Version | None) -> dict[str, int] | None:
    """Bit number of each ``__GFP_`` name at *version*; None if that is not known."""
    return at(_BITS, version)


def bits_between(first: Version | None, last: Version | None) -> tuple[dict[str, int], int]:
    """The bits of a kernel that is between two versions (None: as old, or as new, as can be).

    Returns
    -------
    dict, int
        Bit number of the names that have the same in all these versions, and the mask of the bits that mean one thing in
        one of them and another, or nothing that is known, in the next.

    """
    low, high = first or _BITS[0][0], last or _BITS[-1][0]
    rows = [
        named
        for index, (version, named) in enumerate(_BITS)
        if version <= high and not (index + 1 < len(_BITS) and _BITS[index + 1][0] <= low)
    ]
    agreed = set.intersection(*(set((named or {}).items()) for named in rows)) if rows else set()
    every = {item for named in rows for item in (named or {}).items()}
    contested = -1 if not rows or None in rows else sum({1 << bit for _, bit in every - agreed})
    return dict(agreed), contested & ~sum({1 << bit for _, bit in agreed}) & 0xFFFFFFFF


def printed_name(name: str) -> str:
    """The ``__GFP_`` name of a single bit that a kernel before 4.6 printed as ``GFP_ZERO``."""
    return f"__{name}" if name.startswith("GFP_") else name


COMPOSED: dict[str, int] = {
    "GFP_TRANSHUGE": GFP_TRANSHUGE,
    "GFP_TRANSHUGE_LIGHT": GFP_TRANSHUGE_LIGHT,
    "GFP_HIGHUSER_MOVABLE": GFP_HIGHUSER_MOVABLE,
    "GFP_HIGHUSER": GFP_HIGHUSER,
    "GFP_USER": GFP_USER,
    "GFP_KERNEL_ACCOUNT": GFP_KERNEL | GFP_ACCOUNT,
    "GFP_KERNEL": GFP_KERNEL,
    "GFP_NOFS": GFP_NOFS,
    "GFP_ATOMIC": GFP_ATOMIC,
    "GFP_NOIO": GFP_RECLAIM,
    "GFP_NOWAIT": GFP_KSWAPD_RECLAIM | GFP_NOWARN,
    "GFP_DMA": GFP_DMA,
    "GFP_DMA32": GFP_DMA32,
    "__GFP_RECLAIM": GFP_RECLAIM,
}
"""The composed flags of Linux 7.2 that its lines name, in the order in which they are tried (trace/events/mmflags.h)."""

_TEMPORARY = GFP_KERNEL | GFP_RECLAIMABLE


class _Meaning(NamedTuple):
    """What a composed name stood for from one version on, where that is not what it stands for in Linux 7.2."""

    name: str
    first: Version
    last: Version | None
    value: int | None


_OTHER_MEANINGS: tuple[_Meaning, ...] = (
    _Meaning("GFP_TEMPORARY", (2, 6, 33), (4, 13), _TEMPORARY),
    _Meaning("GFP_NOWAIT", (2, 6, 33), (4, 3), GFP_KSWAPD_RECLAIM),
    _Meaning("GFP_NOWAIT", (4, 4), (4, 5), 0),
    _Meaning("GFP_NOWAIT", (4, 6), (6, 6), GFP_KSWAPD_RECLAIM),
    _Meaning("GFP_NOWAIT", (6, 7), (6, 7), None),
    _Meaning("GFP_TRANSHUGE", (2, 6, 33), (4, 5), GFP_TRANSHUGE | GFP_NORETRY),
    _Meaning("GFP_TRANSHUGE", (4, 6), (4, 7), GFP_TRANSHUGE_LIGHT | GFP_NORETRY),
)
"""As compared with gfp.h; 4.4 and 4.5 print GFP_NOWAIT for no flag at all. No header of 6.7 was at hand."""


def composed(name: str, version: Version | None) -> int | None:
    """The stored bits that a composed name stands for at *version* (None: as in Linux 7.2 or, of a name that 7.2
    lacks, as it last was); None if not known.
    """
    if version is not None:
        for meaning in _OTHER_MEANINGS:
            if meaning.name == name and within(version, meaning.first, meaning.last):
                return meaning.value
    if name == "GFP_TEMPORARY":
        return _TEMPORARY
    return COMPOSED.get(name)


def _joined(table: npt.NDArray[np.int64], flags: int) -> int:
    """The union of a table's entries for the bits that are set."""
    value = 0
    for bit in range(32):
        value |= int(table[bit]) if flags >> bit & 1 else 0
    return value


class Conversion(NamedTuple):
    """How a kernel's flags become stored ones: ``(base | sum of sets) & ~(union of clears)`` over the bits that are set."""

    base: int
    """Stored bits that are set unless a bit clears them: __GFP_KSWAPD_RECLAIM until 4.3."""
    sets: npt.NDArray[np.int64]
    """int64[32]: stored bits that each of the kernel's bits sets; 0 for those that are dropped."""
    clears: npt.NDArray[np.int64]
    """int64[32]: stored bits that each of the kernel's bits clears."""

    def convert(self, flags: int) -> int:
        """The stored flags of a kernel's."""
        return (self.base | self.single(flags)) & ~_joined(self.clears, flags) & GFP_MASK

    def single(self, flags: int) -> int:
        """The stored flags that a kernel's bits set, for bits that are only a part of its flags."""
        return _joined(self.sets, flags) & GFP_MASK


def conversion(named: Mapping[str, int]) -> Conversion:
    """The conversion of a kernel that has these ``__GFP_`` names at these bits (:func:`bits`, or its own format file).

    A kernel with ``__GFP_WAIT`` is one until 4.3.
    """
    sets, clears = np.zeros(32, np.int64), np.zeros(32, np.int64)
    for name, bit in named.items():
        if not 0 <= bit < 32:
            continue
        later = RENAMED.get(name, name)
        if later in GFP_BITS:
            sets[bit] = 1 << GFP_BITS[later]
        elif name == WAIT:
            sets[bit] = GFP_DIRECT_RECLAIM
        elif name == NO_KSWAPD:
            clears[bit] = GFP_KSWAPD_RECLAIM
    return Conversion(GFP_KSWAPD_RECLAIM if WAIT in named else 0, sets, clears)


def flag_names(flags: int, version: Version | None) -> tuple[frozenset[str], int] | None:
    """The ``__GFP_`` names of a kernel's own flags, and the bits that it has no name for here; None if its bits are not known."""
    named = bits(version)
    if named is None:
        return None
    held = frozenset(name for name, bit in named.items() if flags >> bit & 1)
    return held, flags & ~sum(1 << bit for bit in named.values())


_OLD_RECLAIM = {"__GFP_WAIT"}
_SPLIT_RECLAIM = {"__GFP_DIRECT_RECLAIM", "__GFP_KSWAPD_RECLAIM"}


def _composed_names(version: Version) -> tuple[tuple[str, set[str]], ...]:
    """Composed names of a kernel before 4.6 by the single names they stand for, in the order in which it tries them."""
    reclaim = _OLD_RECLAIM if version <= WAIT_UNTIL else _SPLIT_RECLAIM
    kernel = {*reclaim, "__GFP_IO", "__GFP_FS"}
    movable = {*kernel, "__GFP_HARDWALL", "__GFP_HIGHMEM", "__GFP_MOVABLE"}
    huge = {*movable, "__GFP_COMP", "__GFP_NOMEMALLOC", "__GFP_NORETRY", "__GFP_NOWARN"}
    atomic = (
        {"__GFP_HIGH"} if version <= WAIT_UNTIL else {"__GFP_HIGH", "__GFP_ATOMIC", "__GFP_KSWAPD_RECLAIM"}
    )
    return (
        ("GFP_TRANSHUGE", {*huge, "__GFP_NO_KSWAPD"} if version <= WAIT_UNTIL else huge - {"__GFP_KSWAPD_RECLAIM"}),
        ("GFP_HIGHUSER_MOVABLE", movable),
        ("GFP_HIGHUSER", movable - {"__GFP_MOVABLE"}),
        ("GFP_USER", movable - {"__GFP_MOVABLE", "__GFP_HIGHMEM"}),
        ("GFP_TEMPORARY", {*kernel, "__GFP_RECLAIMABLE"}),
        ("GFP_KERNEL", kernel),
        ("GFP_NOFS", kernel - {"__GFP_FS"}),
        ("GFP_ATOMIC", atomic),
        ("GFP_NOIO", reclaim),
    )  # fmt: skip


def words(flags: int, version: Version | None) -> str:
    """The flags of a kernel before 4.6 in its own names: ``GFP_KERNEL|__GFP_COMP|__GFP_NOTRACK`` of 0x2040d0 at 3.10.

    Later kernels print the names themselves. Composed names are tried in the order of include/trace/events/gfpflags.h
    (4.3); bits without a name, and all bits where the version's are not known, stay a number.
    """
    found = flag_names(flags, version)
    if found is None or version is None:
        return hex(flags)
    held, rest = set(found[0]), found[1]
    parts = []
    for name, members in _composed_names(version):
        if members <= held:
            parts.append(name)
            held -= members
    numbered = sorted(held, key=lambda name: (bits(version) or {})[name])
    return "|".join([*parts, *numbered, *([hex(rest)] if rest else [])]) or "0"
