# SPDX-License-Identifier: GPL-2.0-or-later
"""Numbers of migratetypes by version of the kernel (include/linux/mmzone.h, enum migratetype).

Recordings store the numbers of Linux 7.2: unmovable 0, movable 1, reclaimable 2, highatomic 3, cma 4, isolate 5, on
kernels with CONFIG_CMA. Linux 4.4 gave movable and reclaimable each other's number and put highatomic where reserve
had been.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kevacuate.kernel.versions import Version, at

NAMES = ("unmovable", "movable", "reclaimable", "highatomic", "cma", "isolate")
"""Names of the stored numbers."""

MIGRATE_UNMOVABLE, MIGRATE_MOVABLE, MIGRATE_RECLAIMABLE, MIGRATE_HIGHATOMIC, MIGRATE_CMA, MIGRATE_ISOLATE = (
    range(6)
)
"""The stored numbers."""

MIGRATE_PCPTYPES = 3
"""The first three have per-CPU lists; only they can be asked for."""

MIGRATE_TYPES = len(NAMES)

RESERVE = -1
"""Stored for MIGRATE_RESERVE, which ended with Linux 4.3: Linux 7.2 has no such type."""

_NUMBERS: tuple[tuple[Version, tuple[str, ...]], ...] = (
    ((2, 6, 33), ("unmovable", "reclaimable", "movable", "reserve", "isolate")),
    ((3, 5), ("unmovable", "reclaimable", "movable", "reserve", "cma", "isolate")),
    ((4, 4), NAMES),
)
"""First version to the names by number, with CONFIG_CMA from 3.5 on."""

SWAPPED_UNTIL: Version = (4, 3)
"""The last version in which reclaimable is 1 and movable is 2."""

SWAPPED_FIRST: Version = (4, 4)
"""The first version in which movable is 1 and reclaimable is 2."""


def names(version: Version | None, *, cma: bool = True) -> tuple[str, ...] | None:
    """Names of the migratetypes by number at *version*; None if that is not known.

    Parameters
    ----------
    version : Version or None
        The kernel's version.
    cma : bool
        Whether it has CONFIG_CMA, as distributions' kernels do; without it isolate is 4. A trace does not say.
    """
    found = at(_NUMBERS, version)
    if found is None or cma:
        return found
    return tuple(name for name in found if name != "cma")


def table(version: Version | None, *, cma: bool = True) -> npt.NDArray[np.int64] | None:
    """Stored number of each of a kernel's numbers: int64[6], -1 for types that Linux 7.2 does not have; None if not known."""
    found = names(version, cma=cma)
    if found is None:
        return None
    numbers = np.full(len(NAMES), -1, np.int64)
    for number, name in enumerate(found):
        numbers[number] = NAMES.index(name) if name in NAMES else RESERVE
    return numbers


def name(number: int) -> str:
    """Name of a stored number; "not known" for those that are none, as :data:`RESERVE`."""
    return NAMES[number] if 0 <= number < len(NAMES) else "not known"


def is_identity(version: Version | None) -> bool:
    """Whether the kernel's numbers are those that recordings store."""
    return at(_NUMBERS, version) == NAMES
