# SPDX-License-Identifier: GPL-2.0-or-later
"""The reclaim level: kswapd's time line, the rounds of reclaim, and which folios it takes and what becomes of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from kevacuate.fidelity.level import Given, Level
from kevacuate.fidelity.model_from_dump import load_free_lists, zone_numbers
from kevacuate.fidelity.reclaim import books as bk
from kevacuate.fidelity.reclaim.books import Facts, new_books
from kevacuate.fidelity.reclaim.lists import LruLists
from kevacuate.fidelity.reclaim.loop import load_lists, reclaim_rows
from kevacuate.fidelity.reclaim.words import NOTES, divergence, shares
from kevacuate.kernel.hooks import DumpKind
from kevacuate.kernel.pageflags import KPF_UNEVICTABLE
from kevacuate.measure.fidelity import LevelResult, Tally
from kevacuate.mm import constants as k
from kevacuate.mm.layout import State, StateOptions, build_state
from kevacuate.mm.read_state import list_length
from kevacuate.recording import AllocatorState, EventChunk, EventKind
from kevacuate.recording.settings import recorded_lru_gen
from kevacuate.recording.state import BOOT_TAG
from kevacuate.runs.initial_state import machine_config

NEVER_WRITTEN = 1 << 50
"""Which folios are dirty is given: the model writes none by itself. ns."""


def shows_lists(given: Given) -> bool:
    """Whether the dump of the start state goes on with its LRU lists."""
    for chunk in given.recording.events(kinds=(EventKind.GT_DUMP,), after=given.start):
        return bool(chunk.a[0] == DumpKind.LRU_FOLIO)
    return False


def recorded_lists(given: Given) -> dict[str, LruLists]:
    """Dump tag to its LRU lists, of the dumps behind the start that show them."""
    found: dict[str, LruLists] = {}
    held: list[npt.NDArray[np.int64]] = []
    for chunk in given.recording.events(kinds=(EventKind.GT_DUMP,), after=given.start):
        at = np.flatnonzero((chunk.a == DumpKind.LRU_FOLIO) | (chunk.a == DumpKind.LRU_END))
        rows = np.stack([chunk.a[at], chunk.b[at], chunk.c[at], chunk.d[at]]).astype(np.int64)
        low = 0
        for end in np.flatnonzero(rows[0] == DumpKind.LRU_END).tolist():
            folios = np.concatenate([*held, rows[:, low:end]], axis=1)
            tag = chr(int(rows[2, end]) & 255)
            found[tag] = LruLists(folios[1], folios[3], folios[2] & 255)
            held, low = [], end + 1
        held.append(rows[:, low:])
    return found


def _missing_of_nodes(given: Given) -> str:
    """What a machine of several nodes lacks."""
    kinds = (EventKind.GT_REC, EventKind.MM_LRU_INSERTION, EventKind.VMSCAN_LRU_ISOLATE)
    if not any(chunk.rows for chunk in given.recording.events(kinds=kinds, after=given.start)):
        return "no gt_rec, mm_lru_insertion or mm_vmscan_lru_isolate event was switched on: the LRU lists and batches are unknown"
    return "a machine of several nodes: mm_vmscan_lru_isolate and mm_vmscan_direct_reclaim_begin do not name theirs"


class ReclaimLevel(Level):
    """The model's reclaim on LRU lists that follow the recorded events: from boot, when they are empty, or a dump of them.

    The lists are the model's own (:mod:`kevacuate.mm.lruvec`), and so are the functions that decide: lru_tail and
    shrink_folio for folios, shrink_node_begin and next_batch for amounts, balance_loop_begin and _end for rounds,
    wakeup_kswapd and kswapd_nap_ends for kswapd's time line. After a mismatch the kernel's decision is taken over.
    """

    name = "reclaim"

    @classmethod
    def missing(cls, given: Given) -> str:
        """The second set of recording hooks, a state at boot, one node."""
        machine = given.recording.machine
        if recorded_lru_gen(machine):
            return "a kernel without the multi-gen LRU: the level follows active and inactive lists"
        events = {name.partition("/")[2] for name in machine.events}
        for name in ("gt_rec", "mm_lru_insertion", "mm_vmscan_lru_isolate"):
            if name not in events:
                return f"no {name} events: the recorded kernel lacks the second set of recording hooks"
        if given.start.tag != BOOT_TAG and not shows_lists(given):
            return "no dump at boot, nor one with the LRU lists: what was on them at the start is not known"
        if len({zone.node for zone in machine.zones}) > 1:
            return _missing_of_nodes(given)
        return ""

    def __init__(self, given: Given) -> None:
        self._given = given
        machine = given.recording.machine
        config = replace(
            machine_config(machine, given.start),
            open_loop=False,
            compaction=False,
            dirty_expire_ns=NEVER_WRITTEN,
            flush_ns=NEVER_WRITTEN,
        )
        zone_of = zone_numbers(machine, given.start)
        npages = build_state(config, options=StateOptions(objects=1, log_level=0)).view.cfg.npages
        self._state: State = build_state(config, options=StateOptions(objects=npages, log_level=0))
        load_free_lists(self._state, zone_of, given.start)
        self._count_free(zone_of)
        first = given.start.zones[0].index
        offset = config.zones[int(zone_of[first])].index - first
        self._books = new_books(npages, len(config.zones), zone_of, offset)
        self._dumped = recorded_lists(given)
        if given.start.tag != BOOT_TAG:
            load_lists(self._state, self._books, self._dumped[given.start.tag])
        self._result = LevelResult("reclaim")

    def _count_free(self, zone_of: npt.NDArray[np.int64]) -> None:
        """The zones' free pages and boosts: the marks look at them."""
        for z, zone in enumerate(self._state.view.zone):
            pages = 0
            for order in range(k.NR_ORDERS):
                for mt in range(k.MIGRATE_TYPES):
                    pages += 0 if mt == k.MIGRATE_ISOLATE else list_length(self._state, z, order, mt) << order
            zone.nr_free_pages = pages
        for recorded in self._given.start.zones:
            self._state.view.zone[int(zone_of[recorded.index])].watermark_boost = recorded.boost

    @property
    def state(self) -> State:
        """The model's state, after what was followed so far."""
        return self._state

    def feed(self, chunk: EventChunk, first: int, lead: int = 0) -> None:
        """Follow the new rows."""
        reclaim_rows(self._state, self._books, chunk, lead, first - lead)

    def lists(self) -> LruLists:
        """The model's LRU lists now."""
        links, first = self._state.lru, int(self._state.view.cfg.lru_first)
        lru, pfns = [], []
        for number in range(k.LRU_LISTS):
            at = int(links[2 * number])
            while at != number:
                lru.append(number)
                pfns.append(at - first)
                at = int(links[2 * at])
        pfn = np.array(pfns, np.int64)
        return LruLists(np.array(lru, np.int64), pfn, self._state.meta[pfn].astype(np.int64) & 15)

    def at_state(self, state: AllocatorState) -> None:
        """Compare the four LRU lists, folio for folio, where the dump shows them."""
        theirs = self._dumped.get(state.tag)
        if theirs is None:
            return
        self._take_off_mlocked(state)
        ours = self.lists()
        decisions = wrong = 0
        for number in range(k.LRU_LISTS):
            mine, kernel = ours.pfn[ours.lru == number], theirs.pfn[theirs.lru == number]
            both = np.intersect1d(mine, kernel)
            moved = int((mine[np.isin(mine, both)] != kernel[np.isin(kernel, both)]).sum())
            other = mine.size + kernel.size - 2 * both.size
            self._books.causes[bk.X_ORDER] += moved
            self._books.causes[bk.X_GONE] += other
            decisions, wrong = decisions + kernel.size + mine.size - both.size, wrong + moved + other
        self._books.tally[2 * bk.D_DUMP] += decisions
        self._books.tally[2 * bk.D_DUMP + 1] += wrong
        self._result.dumps[state.tag] = wrong == 0
        if wrong and self._given.resync:
            self._take_over(theirs)
            self._result.resyncs += 1

    def _take_over(self, lists: LruLists) -> None:
        """Put the folios onto the lists that a dump shows, and no others."""
        for number in range(k.LRU_LISTS):
            self._state.lru[2 * number : 2 * number + 2] = number
        pages = self._state.view.node[0].nr_lru
        for at in range(len(pages)):
            pages[at] = 0
        self._books.where[self._books.where == bk.ON_LIST] = bk.NOWHERE
        load_lists(self._state, self._books, lists)

    def _take_off_mlocked(self, state: AllocatorState) -> None:
        """Take folios off that mlock had taken off without an event, as the page flags at the dump show."""
        if state.page_flags is None:
            return
        pfn = np.flatnonzero(self._books.where == bk.ON_LIST)
        pfn = pfn[pfn < state.page_flags.size]
        gone = pfn[state.page_flags[pfn] >> np.uint64(KPF_UNEVICTABLE) & np.uint64(1) != 0]
        links, first = self._state.lru, int(self._state.view.cfg.lru_first)
        for page in gone.tolist():
            at = first + page
            after, before = int(links[2 * at]), int(links[2 * at + 1])
            links[2 * before], links[2 * after + 1] = after, before
            lru = (2 if self._state.link[2 * page + 1] & k.ATTR_FILE else 0) + (
                1 if self._state.link[2 * page + 1] & k.ATTR_ACTIVE else 0
            )
            zone = int(self._state.block[2 * (page >> self._state.view.cfg.pageblock_order) + 1])
            index = int(self._state.view.zone[zone].index)
            self._state.view.node[0].nr_lru[index * k.NR_LRU_LISTS + lru] -= 1 << (
                int(self._state.meta[page]) & 15
            )
            self._books.where[page] = bk.NOWHERE
        self._books.inputs[bk.N_GONE] += gone.size

    def finish(self) -> LevelResult:
        """What the level came to."""
        books, result = self._books, self._result
        facts = Facts(books.facts)
        result.kinds = {
            name: Tally(int(books.tally[2 * n]), int(books.tally[2 * n + 1]))
            for n, name in enumerate(bk.KINDS)
            if books.tally[2 * n]
        }
        result.inputs = {name: int(n) for name, n in zip(bk.INPUTS, books.inputs, strict=True) if n}
        result.causes = {name: int(n) for name, n in zip(bk.CAUSES, books.causes, strict=True) if n}
        result.last_position = int(facts.last_position) if result.mismatches else -1
        result.first = divergence(facts) if facts.first_seen else None
        result.notes = (*shares(books.tally), *NOTES)
        if not self._dumped:
            result.notes += (
                "the dumps show no LRU lists (gt_dump 7): their order is held against batches alone",
            )
        return result
