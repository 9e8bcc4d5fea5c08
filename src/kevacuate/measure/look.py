# SPDX-License-Identifier: GPL-2.0-or-later
"""A look at the model's state: the class of every page, and how many of each every pageblock holds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.jit import kernel, part, pointers
from kevacuate.measure.blocks import page_class
from kevacuate.measure.frames import Frames, StepsBuilder, encode
from kevacuate.measure.pages import PAGE_NAMES, RECLAIMABLE, UNMOVABLE
from kevacuate.mm import constants as k
from kevacuate.mm import fields as mm_fields
from kevacuate.mm.buddy import get_pfnblock_migratetype
from kevacuate.mm.layout import State

CLASSES = len(PAGE_NAMES)


class View(NamedTuple):
    """What :func:`look_at` fills, and what it needs to know of the objects."""

    kinds: npt.NDArray[np.uint8]
    """Migratetype that each object was asked for with."""
    mt: npt.NDArray[np.int8]
    """Per pageblock its migratetype, -1 where there is none."""
    skip: npt.NDArray[np.uint8]
    counts: npt.NDArray[np.int32]
    """int32[blocks * CLASSES]."""
    classes: npt.NDArray[np.uint8]
    """Per page its class; empty if that is not wanted."""


@part
def look_class(s: mm_fields.View, v: View, pfn: int, meta: int) -> int:
    """The class of a chunk: as the metrics have it, but pages asked for as reclaimable told apart."""
    which = page_class(s, pfn, meta)
    if which == UNMOVABLE and meta >> 4 == k.CHUNK_ALLOC:
        obj = s.link[2 * pfn] + 0
        if obj >= 0 and v.kinds[obj] == k.MIGRATE_RECLAIMABLE:
            return RECLAIMABLE
    return which


@kernel
def look_at(sa: State, va: View, keep_pages: bool) -> None:
    """Fill the view's arrays, which must be zero, except ``kinds``."""
    s = pointers(sa)
    v = pointers(va)
    pageblock_order = s.cfg.pageblock_order
    pages = s.cfg.npages >> pageblock_order << pageblock_order
    for block in range(pages >> pageblock_order):
        first = block << pageblock_order
        v.mt[block] = get_pfnblock_migratetype(s, first)
        if s.block[2 * block + 1] == k.NO_ZONE or s.block[2 * block] & k.PB_ABSENT:
            v.mt[block] = -1
        if s.block[2 * block] & k.PB_COMPACT_SKIP:
            v.skip[block] = 1
    pfn = 0
    while pfn < pages:
        meta = s.meta[pfn] + 0
        which = look_class(s, v, pfn, meta)
        following = min(pfn + (1 << (meta & 15)), pages)
        while pfn < following:
            end = min(following, ((pfn >> pageblock_order) + 1) << pageblock_order)
            v.counts[(pfn >> pageblock_order) * CLASSES + which] += end - pfn
            if keep_pages:
                for page in range(pfn, end):
                    v.classes[page] = which
            pfn = end


class FrameKeeper:
    """Keeps a run's pageblock map, a frame per call of :meth:`look`.

    Parameters
    ----------
    state : State
        The model's state; its shape must not change afterwards.
    pages : bool
        Keep the class of every page, too.
    """

    def __init__(self, state: State, *, pages: bool = True) -> None:
        self.order = state.view.cfg.pageblock_order
        self.total = state.view.cfg.npages >> self.order
        self.keep_pages = pages
        self._t: list[int] = []
        self._blocks, self._pages = StepsBuilder(), StepsBuilder()
        zone = state.block.reshape(-1, 2)[: self.total, 1]
        self.inside = zone != k.NO_ZONE
        self._exists = np.zeros(int(self.inside.sum()), np.bool_)
        """Of the blocks of zones those that exist at one moment at least."""
        self.zone = zone[self.inside].copy()
        self.zones = tuple(f"node {own.node} {k.ZONE_NAMES[own.index]}" for own in state.view.zone)

    def look(self, state: State, kinds: npt.NDArray[np.uint8], t: int) -> None:
        """Keep the moment *t* (ns); *kinds* is the migratetype each object was asked for with."""
        size = self.total << self.order if self.keep_pages else 1
        view = View(
            kinds,
            np.zeros(self.total, np.int8),
            np.zeros(self.total, np.uint8),
            np.zeros(self.total * CLASSES, np.int32),
            np.zeros(size, np.uint8),
        )
        look_at(state, view, self.keep_pages)
        inside = self.inside
        self._exists |= view.mt[inside] >= 0
        counts = view.counts.reshape(self.total, CLASSES)[inside]
        self._blocks.add(encode(view.mt[inside], counts, view.skip[inside], self.order))
        if self.keep_pages:
            whole = view.classes.reshape(self.total, 1 << self.order)
            self._pages.add((whole if inside.all() else whole[inside]).reshape(-1))
        self._t.append(t)

    def frames(self) -> Frames:
        """What was kept, of the blocks that exist at one moment at least."""
        shown = np.flatnonzero(self._exists)
        return Frames(
            np.array(self._t, np.int64),
            np.flatnonzero(self.inside)[shown].astype(np.int64) << self.order,
            self.zone[shown],
            self.zones,
            self.order,
            self._blocks.build().part(shown, 1),
            self._pages.build().part(shown, 1 << self.order) if self.keep_pages else None,
        )
