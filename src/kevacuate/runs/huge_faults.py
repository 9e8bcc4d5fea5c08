# SPDX-License-Identifier: GPL-2.0-or-later
"""A demand's huge faults under another transparent_hugepage/enabled or defrag than was recorded.

A huge fault is an allocation of huge-page order whose gfp flags are GFP_TRANSHUGE_LIGHT with what vma_thp_gfp_mask adds
(mm/huge_memory.c, 7.2). Whether its memory was madvised the flags tell where the recorded defrag treats the two differently:
direct reclaim without __GFP_NORETRY is madvised, all else counts as not madvised. khugepaged's own requests have the flags of
madvised faults (alloc_hugepage_khugepaged_gfpmask). They are not told apart: a demand's rows have a task's number. Its name,
where a recording has it (``tasks`` of quality.json), is not carried into the demand.

A huge fault that ``enabled`` forbids is replayed as base pages: all of them at once, at the moment of the fault. A program that
would not have touched them all takes fewer. A huge fault that is allowed but fails in the model is another matter:
:mod:`kevacuate.runs.base_pages`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kevacuate.kernel import gfp as gf
from kevacuate.policy import Policy
from kevacuate.recording import AllocatorState, DemandChunk, DemandOp, Machine
from kevacuate.recording.state import page_count
from kevacuate.runs.base_pages import KEPT_GFP

_EFFORT = gf.GFP_RECLAIM | gf.GFP_NORETRY
_BESIDE = _EFFORT | gf.GFP_ACCOUNT | gf.GFP_THISNODE | gf.GFP_ZERO

DEFRAG: dict[str, tuple[int, int]] = {
    "always": (gf.GFP_DIRECT_RECLAIM | gf.GFP_NORETRY, gf.GFP_DIRECT_RECLAIM),
    "defer": (gf.GFP_KSWAPD_RECLAIM, gf.GFP_KSWAPD_RECLAIM),
    "defer+madvise": (gf.GFP_KSWAPD_RECLAIM, gf.GFP_DIRECT_RECLAIM),
    "madvise": (0, gf.GFP_DIRECT_RECLAIM),
    "never": (0, 0),
}
"""What vma_thp_gfp_mask adds to GFP_TRANSHUGE_LIGHT: for memory that is not madvised, and that is."""

Gfp = npt.NDArray[np.uint32]

_OF_OBJECTS = (DemandOp.FREE, DemandOp.SPLIT, DemandOp.RECLAIM, DemandOp.ACCESS)
"""Rows that are about an object that exists."""


def huge_faults(chunk: DemandChunk, hugepage_order: int) -> npt.NDArray[np.bool_]:
    """Which rows are huge faults, those that the recorded kernel refused included."""
    plain = (chunk.gfp & np.uint32(~_BESIDE & 0xFFFFFFFF)) == gf.GFP_TRANSHUGE_LIGHT
    asked = np.isin(chunk.op, (DemandOp.ALLOC, DemandOp.ATTEMPT))
    return np.asarray(plain & asked & (chunk.order == hugepage_order), np.bool_)


def madvised(gfp: Gfp) -> npt.NDArray[np.bool_]:
    """Which huge faults were of madvised memory, as far as their flags tell."""
    return np.asarray(
        (gfp & np.uint32(gf.GFP_DIRECT_RECLAIM | gf.GFP_NORETRY)) == gf.GFP_DIRECT_RECLAIM, np.bool_
    )


def defrag_gfp(gfp: Gfp, defrag: str) -> Gfp:
    """The flags of huge faults under another defrag."""
    other, own = DEFRAG[defrag]
    effort = np.where(madvised(gfp), np.uint32(own), np.uint32(other))
    return np.asarray((gfp & np.uint32(~_EFFORT & 0xFFFFFFFF)) | effort, np.uint32)


def base_page_objects(policy: Policy, state: AllocatorState) -> int:
    """How many objects more than the demand has a replay may need: one a page, where huge faults become base pages."""
    return page_count(state) if policy.settings.get("thp_enabled") is not None else 0


class HugeFaults:
    """Rewrites the huge faults of a demand, chunk by chunk.

    Parameters
    ----------
    hugepage_order : int
        Order of the machine's huge pages; -1 where it has none.
    enabled : str, optional
        ``madvise`` or ``never``; None leaves them huge.
    defrag : str, optional
        A key of :data:`DEFRAG`; None leaves the flags.
    first_object : int
        The least object id that the demand does not use.
    """

    def __init__(
        self, hugepage_order: int, *, enabled: str | None, defrag: str | None, first_object: int
    ) -> None:
        self._order, self._enabled, self._defrag = hugepage_order, enabled, defrag
        self._next = first_object
        self._spare: dict[int, list[range]] = {}
        self._pages: dict[int, range] = {}
        """The base pages' objects of each huge fault that is replayed in base pages, and of the halves it was split into."""

    @classmethod
    def under(cls, policy: Policy, machine: Machine, first_object: int) -> HugeFaults:
        """What a policy's settings make of the huge faults of a machine's demand."""
        enabled, defrag = (policy.settings.get(name) for name in ("thp_enabled", "thp_defrag"))
        return cls(machine.hugepage_order, enabled=enabled, defrag=defrag, first_object=first_object)

    def rewritten(self, chunk: DemandChunk) -> DemandChunk:
        """The rows as they are replayed: the same chunk where nothing changes."""
        if self._order < 0 or (self._enabled is None and self._defrag is None):
            return chunk
        huge = huge_faults(chunk, self._order)
        small = np.zeros(len(huge), np.bool_)
        if self._enabled is not None:
            small = huge & (~madvised(chunk.gfp) if self._enabled == "madvise" else True)
        if self._defrag is not None and huge.any():
            gfp = np.where(huge, defrag_gfp(chunk.gfp, self._defrag), chunk.gfp).astype(np.uint32)
            chunk = chunk._replace(gfp=gfp)
        return self._in_base_pages(chunk, small) if small.any() or self._pages else chunk

    def _in_base_pages(self, chunk: DemandChunk, small: npt.NDArray[np.bool_]) -> DemandChunk:
        """The rows with the faults *small*, and all that is done with their objects, page by page."""
        mine = np.array([*self._pages], np.int32)
        halves = chunk.aux[chunk.op == DemandOp.SPLIT]
        faults = chunk.obj[small & (chunk.op == DemandOp.ALLOC)]
        concerned = small | np.isin(chunk.obj, np.concatenate([mine, faults, halves]))
        times, given = np.ones(len(small), np.int64), []
        for i in np.flatnonzero(concerned).tolist():
            pages = self._pages_of(chunk, i, fault=bool(small[i]))
            if pages is None:
                concerned[i] = False
                continue
            times[i] = len(pages)
            given.append(np.arange(pages.start, pages.stop))
        at = np.repeat(np.arange(len(small)), times)
        rows = DemandChunk._make(column[at] for column in chunk)
        own = concerned[at]
        rows.obj[own] = np.concatenate([np.zeros(0, np.int64), *given])
        rows.order[own] = 0
        numbers = np.arange(len(at)) - np.repeat(np.cumsum(times) - times, times)
        shadows = own & (rows.op != DemandOp.SPLIT) & (rows.aux != 0)
        rows.aux[shadows] += numbers[shadows].astype(np.int32)  # one a page
        born = own & (small[at] | (rows.op == DemandOp.ACCESS))
        zero = rows.gfp[born] & np.uint32(KEPT_GFP)
        rows.gfp[born] = np.uint32(gf.GFP_HIGHUSER_MOVABLE) | zero
        return rows

    def _pages_of(self, chunk: DemandChunk, i: int, *, fault: bool) -> range | None:
        """The objects that row *i* is about; None where it is about an object of the demand."""
        obj, op = int(chunk.obj[i]), int(chunk.op[i])
        if op == DemandOp.ATTEMPT:
            return range(0) if fault else None
        if fault:
            self._pages[obj] = self._new(1 << self._order)
            return self._pages[obj]
        pages = self._pages.get(obj)
        if pages is None or op not in _OF_OBJECTS:
            return None
        if op == DemandOp.SPLIT:
            half = len(pages) // 2
            self._pages[obj], self._pages[int(chunk.aux[i])] = pages[:half], pages[half:]
            return pages[:0]
        if op in (DemandOp.FREE, DemandOp.RECLAIM):
            self._spare.setdefault(len(pages), []).append(self._pages.pop(obj))
        return pages

    def _new(self, number: int) -> range:
        """So many object ids in a row that nobody has."""
        spare = self._spare.get(number)
        if spare:
            return spare.pop()
        self._next += number
        return range(self._next - number, self._next)
