# SPDX-License-Identifier: GPL-2.0-or-later
"""Naming the pages that cannot move, by one source after the other: a page keeps the first name it is given."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kevacuate.kernel.pageflags import KPF_BUDDY, can_move, flag, is_absent
from kevacuate.measure.holders import ABSENT, FREE, MOVABLE, UNKNOWN, Holder

NAMELESS = 0
"""The code of pages that no source has named: the first holder is the unknown one."""

Ints = npt.NDArray[np.int64]


class Claims:
    """What every page is, as far as the sources so far have said.

    Parameters
    ----------
    flags : uint64[pages]
        By pfn, as /proc/kpageflags shows them, a tail's as its head's.
    free : int64
        Pages on per-CPU lists, which show no flag.
    tails, heads : int64[tails]
        Pfns of tail pages, ascending, and of their heads: a name given to one page of a compound page is all of its pages'.

    Attributes
    ----------
    code : int32[pages]
        As :class:`kevacuate.measure.holders.HeldPages` has it; :data:`NAMELESS` while nothing has named a page.
    holders : list of Holder
        By code.

    """

    def __init__(self, flags: npt.NDArray[np.uint64], free: Ints, tails: Ints, heads: Ints) -> None:
        self.holders = [Holder(UNKNOWN, "")]
        self._numbers = {self.holders[0]: NAMELESS}
        self.code = np.full(len(flags), NAMELESS, np.int32)
        self.code[can_move(flags)] = MOVABLE
        self.code[flag(flags, KPF_BUDDY)] = FREE
        self.code[is_absent(flags)] = ABSENT
        self.code[free] = FREE
        good = (heads >= 0) & (heads < len(flags))
        self._tails, self._heads = tails[good], heads[good]

    def claim(self, pfns: Ints, holder: Holder) -> None:
        """Name those of these pages that have no name yet; pfns that are no page's are passed over."""
        pfns = pfns[(pfns >= 0) & (pfns < len(self.code))]
        pfns = self._head_of(pfns)
        mine: Ints = pfns[self.code[pfns] == NAMELESS]
        if len(mine):
            number = self._numbers.setdefault(holder, len(self.holders))
            if number == len(self.holders):
                self.holders.append(holder)
            self.code[mine] = number

    def nameless(self) -> Ints:
        """Pfns that have no name yet: of a compound page its head alone."""
        pfns: Ints = np.flatnonzero(self.code == NAMELESS)
        return np.asarray(pfns[self._head_of(pfns) == pfns])

    def spread(self) -> None:
        """Give tail pages their heads' names. To be called when every source has been asked."""
        unnamed = self.code[self._tails] == NAMELESS
        code = self.code[self._heads[unnamed]]
        self.code[self._tails[unnamed]] = np.where(code >= 0, code, NAMELESS)

    def _head_of(self, pfns: Ints) -> Ints:
        if not len(self._tails):
            return pfns
        at = np.minimum(np.searchsorted(self._tails, pfns), len(self._tails) - 1)
        return np.asarray(np.where(self._tails[at] == pfns, self._heads[at], pfns))
