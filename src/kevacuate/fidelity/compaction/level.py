# SPDX-License-Identifier: GPL-2.0-or-later
"""The compaction level: given free lists and folios, does the model scan, isolate, place and stop as the kernel did."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kevacuate.demand.start_objects import folio_orders
from kevacuate.fidelity.compaction import books as bk
from kevacuate.fidelity.compaction.books import CompactionBooks, new_books
from kevacuate.fidelity.compaction.loop import compaction_rows
from kevacuate.fidelity.compaction.words import divergence_of
from kevacuate.fidelity.level import Given, Level, missing_requests
from kevacuate.fidelity.model_from_dump import state_with_free_lists, zone_numbers
from kevacuate.fidelity.tally import fill_result
from kevacuate.kernel.pageflags import KPF_COMPOUND_TAIL, KPF_LRU, flag
from kevacuate.measure.fidelity import LevelResult
from kevacuate.mm import constants as k
from kevacuate.mm.fields import CompactControl
from kevacuate.mm.layout import State, StateOptions
from kevacuate.recording import AllocatorState, EventChunk, EventKind
from kevacuate.runs.initial_state import load_compaction

LOG_RECORDS = 1 << 12


def with_controls(state: State, count: int) -> State:
    """The same state with *count* compact_controls: those of kcompactd, and the others for direct compactions at a time."""
    nodes = state.view.cfg.nr_nodes
    block = 1 << state.view.cfg.pageblock_order
    wide = state._replace(cc=CompactControl.new(count), folios=np.zeros(count * 4 * block, np.int64))
    for n, cc in enumerate(wide.view.cc):
        old = state.view.cc[min(n, nodes)]
        for name in CompactControl.FIELDS:
            setattr(cc, name, getattr(old, name))
        cc.sources = n * 4 * block
        cc.targets, cc.unmapped, cc.failures = (cc.sources + part * block for part in (1, 2, 3))
    return wide


def load_folios(state: State, books: CompactionBooks, start: AllocatorState) -> None:
    """Folios in use at the start, as /proc/kpageflags shows them; none where it was not read."""
    if start.page_flags is None:
        return
    flags = start.page_flags[: state.meta.size]
    used = state.meta[: flags.size] == k.CHUNK_ALLOC << 4
    heads = np.flatnonzero(used & ~flag(flags, KPF_COMPOUND_TAIL))
    orders = folio_orders(flags, heads).astype(np.int64)
    size = np.left_shift(1, orders)
    taken = np.concatenate([[0], np.cumsum(used)])
    whole = (heads % size == 0) & (taken[np.minimum(heads + size, flags.size)] - taken[heads] == size)
    heads, orders = heads[whole], orders[whole]
    for order in np.unique(orders).tolist():
        pages = heads[orders == order][:, None] + np.arange(1 << order)
        state.meta[pages] = k.CHUNK_TAIL << 4
        books.order[pages] = order
    state.meta[heads] = k.CHUNK_ALLOC << 4 | orders.astype(np.uint8)
    on_lru = heads[flag(flags, KPF_LRU)[heads]]
    state.link[2 * on_lru + 1] = k.ATTR_LRU | k.ATTR_ON_LRU


class CompactionLevel(Level):
    """compact_zone of the model, driven by the recorded free lists, folios and failures."""

    name = "compaction"

    @classmethod
    def missing(cls, given: Given) -> str:
        """Scanners and folios are shown by the second set of hooks only."""
        return missing_requests(given)

    def __init__(self, given: Given) -> None:
        machine = given.recording.machine
        options = StateOptions(objects=1, log_level=3, log_capacity=LOG_RECORDS)
        self._state = with_controls(
            state_with_free_lists(machine, given.start, options, open_loop=False), bk.RUNS
        )
        self._zone_of = zone_numbers(machine, given.start)
        load_compaction(self._state, given.start, self._zone_of)
        self._books = new_books(self._state, self._zone_of)
        for zone in given.start.zones:
            self._books.zone_index[self._zone_of[zone.index]] = zone.index
        load_folios(self._state, self._books, given.start)
        self._seen = False
        self._result = LevelResult("compaction")

    @property
    def state(self) -> State:
        """The model's state, in step with the kernel's events so far."""
        return self._state

    @property
    def books(self) -> CompactionBooks:
        """What is kept beside it."""
        return self._books

    def feed(self, chunk: EventChunk, first: int, lead: int = 0) -> None:
        """Follow the events, and decide where a task compacts."""
        self._seen |= bool((chunk.kind[lead:] == EventKind.GT_CZ).any())
        self._books = self._books._replace(decisions=np.zeros(chunk.rows, np.int64))
        compaction_rows(self._state, self._books, chunk, first - lead, lead)

    def meet(self, chunk: EventChunk, lead: int) -> None:
        """Look at events which the buddy level puts to both models, as the kernel recorded no list operations."""
        self._seen |= bool((chunk.kind[lead:] == EventKind.COMPACTION_BEGIN).any())
        if not self._books.facts[bk.F_UNLISTED]:
            self._books.facts[bk.F_UNLISTED] = 1
            self._books.facts[bk.F_UNSEEN_KSWAPD] = 1
            self._state.view.stat.capture_order = -1
            self._books.facts[bk.F_UNSEEN_LRU] = not (chunk.kind == EventKind.MM_LRU_INSERTION).any()
        kswapd = (chunk.kind == EventKind.VMSCAN_KSWAPD_WAKE) | (
            chunk.kind == EventKind.VMSCAN_BALANCE_PGDAT_BEGIN
        )
        self._books.facts[bk.F_UNSEEN_KSWAPD] &= not kswapd.any()
        self._books = self._books._replace(decisions=np.zeros(chunk.rows, np.int64))

    def at_state(self, state: AllocatorState) -> None:
        """Compare skip bits, cached positions and deferral, and take the kernel's over."""
        view = self._state.view
        blocks = 2 * (state.blocks.pfn >> view.cfg.pageblock_order)
        ours = self._state.block[blocks] & k.PB_COMPACT_SKIP != 0
        theirs = np.asarray(state.blocks.skip, np.bool_)
        sure = self._surely_kept(state)
        self._books.inputs[bk.N_UNSURE] += int((~sure).sum())
        self._count(bk.D_DUMP_SKIP, int(sure.sum()), int((ours != theirs)[sure].sum()))
        self._state.block[blocks] = self._state.block[blocks] & ~np.uint8(k.PB_COMPACT_SKIP) | np.where(
            theirs, np.uint8(k.PB_COMPACT_SKIP), np.uint8(0)
        )
        for zone in state.zones:
            own = view.zone[self._zone_of[zone.index]]
            pairs = (
                (own.compact_cached_free_pfn, zone.cached_free_pfn),
                (own.compact_considered, zone.compact_considered),
                (own.compact_defer_shift, zone.compact_defer_shift),
                (own.compact_order_failed, zone.compact_order_failed),
            )
            self._count(bk.D_DUMP_FIELDS, len(pairs), sum(a != b for a, b in pairs))
        load_compaction(self._state, state, self._zone_of)

    def _surely_kept(self, state: AllocatorState) -> npt.NDArray[np.bool_]:
        """Of each pageblock, whether no unseen run of kswapd can have cleared its skip bit."""
        sure = np.ones(state.blocks.pfn.size, np.bool_)
        if self._books.facts[bk.F_UNSEEN_KSWAPD]:
            for zone in self._state.view.zone:
                if zone.compact_blockskip_flush:
                    sure &= (state.blocks.pfn < zone.zone_start_pfn) | (state.blocks.pfn >= zone.zone_end_pfn)
        return sure

    def _count(self, kind: int, decisions: int, wrong: int) -> None:
        self._books.tally[2 * kind] += decisions
        self._books.tally[2 * kind + 1] += wrong
        if self._books.facts[bk.F_UNLISTED]:
            self._books.causes[bk.C_OTHERWISE] += wrong

    def finish(self) -> LevelResult:
        """What the level came to."""
        result, books = self._result, self._books
        if not self._seen:
            result.not_exercised = (
                "there are no gt_cz events: the kernel compacted nothing, or has the first set of hooks only"
            )
            return result
        fill_result(result, books, bk.KINDS, bk.INPUTS)
        result.first = divergence_of(books.facts)
        result.causes = {name: int(n) for name, n in zip(bk.CAUSES, books.causes, strict=True) if n}
        lists = (
            "free lists and folios are followed event by event. What the model did to them is taken back after each step, and "
            "the kernel's own step is made"
        )
        if books.facts[bk.F_UNLISTED]:
            lists = (
                "list operations were not recorded (gt_list). The buddy level's model makes those of requests and frees, this "
                "one its own. Ranges and positions that the kernel's events name are taken over after each step"
            )
        result.notes = (
            lists,
            "the fast search and each pageblock of a scan are decided when the kernel comes to them. Where other tasks ran in "
            "the middle of a block, the rest of it is decided again",
            "a clearing of skip bits that kcompactd interrupts goes on unseen: a block that kcompactd looks into has been "
            "reached. These blocks are inputs",
            "a folio that the kernel passed over is an input if another task frees it with no other event of its own since. "
            "It was unmapped already. What that task shares with others is not freed, and stays a wrong decision",
            "folios are on the LRU by `mm_lru_insertion`. Movable ones without that event count as mlocked when a run drains "
            "the batches",
            "kswapd is taken to clear skip bits at the end of each `balance_pgdat`",
            "skip bits, cached positions and deferral are compared at each dump, and the dump's are taken over",
        )
        return result
