# SPDX-License-Identifier: GPL-2.0-or-later
"""The pcp level: given when lists are refilled and drained, does the model hand out and drain the pages the kernel did."""

from __future__ import annotations

import numpy as np

from kevacuate.fidelity.event_rows import with_kept
from kevacuate.fidelity.level import Given, Level, missing_requests
from kevacuate.fidelity.model_from_dump import zone_numbers
from kevacuate.fidelity.pcp import books as bk
from kevacuate.fidelity.pcp.books import new_books
from kevacuate.fidelity.pcp.loop import pcp_rows
from kevacuate.fidelity.pcp_frees import Scratch
from kevacuate.fidelity.tally import fill_result
from kevacuate.measure.fidelity import Divergence, LevelResult
from kevacuate.mm import constants as k
from kevacuate.mm import load_state
from kevacuate.mm.layout import StateOptions, build_state
from kevacuate.mm.profile import profile_for
from kevacuate.recording import AllocatorState, EventChunk
from kevacuate.runs.initial_state import machine_config

AHEAD = 1 << 13
"""Rows looked ahead: a drain's chunks (2,016 at most) with what other CPUs do meanwhile, and a batch of frees."""

Lists = dict[tuple[int, int, int], list[int]]
"""(zone, CPU, list index) to the pfns on that list, head first."""


class PcpLevel(Level):
    """The per-CPU lists. A refill's pages come from the recording, for the buddy level is about them.

    A wrong page is counted and then put right: the page that the kernel took leaves the model's lists, the one that the model
    would have taken goes back (if it was to be allocated) or stays away (if it was drained).
    """

    name = "pcp"

    @classmethod
    def missing(cls, given: Given) -> str:
        """Refills and drains are shown by the recording hooks only."""
        return missing_requests(given)

    def __init__(self, given: Given) -> None:
        self._given = given
        machine = given.recording.machine
        options = StateOptions(objects=1, log_level=2, log_capacity=1 << 16)
        self._state = build_state(machine_config(machine, given.start), options=options)
        self._zone_of = zone_numbers(machine, given.start)
        self._books = new_books(self._state.view.cfg.npages, max(machine.cpus, 1), self._zone_of)
        self._books.facts[bk.F_REGROUPS] = profile_for(machine.kernel)[0].vfree_regroups
        self._kept: EventChunk | None = None
        self._number = 0
        self._books.facts[bk.F_INSERTIONS] = given.shown.insertions
        self._result = LevelResult("pcp")
        self._load(given.start)
        free = given.start.free
        for order in np.unique(free.order).tolist():
            heads = free.pfn[free.order == order]
            self._books.used[(heads[:, None] + np.arange(1 << order)).ravel()] = 0

    def _load(self, recorded: AllocatorState) -> None:
        """Take over recorded lists; every other page is in use."""
        state, base = self._state, self._state.view.cfg.pcp_base
        state.link[2 * base :] = np.repeat(np.arange(base, state.link.size // 2, dtype=np.int32), 2)
        state.meta[:] = k.CHUNK_RESERVED << 4
        blocks, pages = recorded.blocks, recorded.pcp_pages
        load_state.load_pageblocks(
            state, blocks.pfn, blocks.mt.astype(np.int64), np.zeros(blocks.pfn.size, np.bool_)
        )
        zone, cpu, pindex = (
            self._zone_of[pages.zone],
            pages.cpu.astype(np.int64),
            pages.pindex.astype(np.int64),
        )
        load_state.load_pcp_lists(state, zone, cpu, pindex, pages.pfn)
        cpus = state.view.cfg.nr_cpus
        self._books.where[pages.pfn] = (zone * cpus + cpu) * k.PCP_LISTS + pindex
        load_state.load_in_use(state, np.flatnonzero(state.meta == k.CHUNK_RESERVED << 4))

    def feed(self, chunk: EventChunk, first: int, lead: int = 0) -> None:
        """Run all rows but those kept to look ahead."""
        rows = with_kept(self._kept, chunk, lead)
        if self._kept is None:
            self._number = first
        self._run(rows, max(rows.rows - AHEAD, 0))

    def _run(self, rows: EventChunk, cut: int) -> None:
        pcp_rows(self._state, self._books, rows, Scratch(np.empty(rows.rows, np.int64)), self._number, cut)
        self._number += cut
        self._kept = rows.take(slice(cut, None)) if cut < rows.rows else None

    def _flush(self) -> None:
        if self._kept is not None:
            self._run(self._kept, self._kept.rows)

    def at_state(self, state: AllocatorState) -> None:
        """Compare every per-CPU list, in order."""
        self._flush()
        ours, theirs = self._lists(), self._recorded(state)
        wrong = [key for key in sorted({*ours, *theirs}) if ours.get(key) != theirs.get(key)]
        self._books.tally[2 * bk.D_DUMP] += len({*ours, *theirs})
        self._books.tally[2 * bk.D_DUMP + 1] += len(wrong)
        self._result.dumps[state.tag] = not wrong
        if wrong and not self._books.facts[bk.F_DIVERGED]:
            self._books.facts[bk.F_DIVERGED] = 1
            z, cpu, pindex = wrong[0]
            what = f"list {pindex} of zone {z}, CPU {cpu}, at dump {state.tag}"
            self._result.first = Divergence(
                -1, state.ts, what, _shown(ours, wrong[0]), _shown(theirs, wrong[0])
            )
        if wrong and self._given.resync:
            self._load(state)
            self._result.resyncs += 1

    def _lists(self) -> Lists:
        found: Lists = {}
        base, cpus = self._state.view.cfg.pcp_base, self._state.view.cfg.nr_cpus
        for number in range(self._state.link.size // 2 - base):
            page = int(self._state.link[2 * (base + number)])
            pfns = []
            while page != base + number:
                pfns.append(page)
                page = int(self._state.link[2 * page])
            if pfns:
                owner, pindex = divmod(number, k.PCP_LISTS)
                found[(owner // cpus, owner % cpus, pindex)] = pfns
        return found

    def _recorded(self, state: AllocatorState) -> Lists:
        found: Lists = {}
        pages = state.pcp_pages
        columns = (self._zone_of[pages.zone], pages.cpu, pages.pindex, pages.pfn)
        for z, cpu, pindex, pfn in zip(*(column.tolist() for column in columns), strict=True):
            found.setdefault((z, cpu, pindex), []).append(pfn)
        return found

    def finish(self) -> LevelResult:
        """What the level came to."""
        self._flush()
        books, result = self._books, self._result
        fill_result(result, books, bk.KINDS, bk.INPUTS)
        if result.mismatches and result.first is None:
            result.first = self._divergence()
        result.causes = self._causes()
        result.notes = self._notes()
        return result

    def _divergence(self) -> Divergence:
        first = [int(x) for x in self._books.first]
        held = first[bk.V_HELD]
        cpus = self._state.view.cfg.nr_cpus
        place = "on no list"
        if held >= 0:
            place = f"on list {held % k.PCP_LISTS} of CPU {held // k.PCP_LISTS % cpus}, zone {held // k.PCP_LISTS // cpus}"
        chosen = f"pfn {first[bk.V_MODEL]:#x}" if first[bk.V_MODEL] >= 0 else "nothing: the list was empty"
        taken = f"pfn {first[bk.V_KERNEL]:#x}" if first[bk.V_KERNEL] >= 0 else "nothing more"
        mt, cpu = k.MIGRATE_NAMES[first[bk.V_MT]], first[bk.V_CPU]
        what = f"{bk.KINDS[first[bk.V_KIND]]}, order {first[bk.V_ORDER]} {mt} on CPU {cpu}"
        return Divergence(
            first[bk.V_POSITION], first[bk.V_TS], what, chosen, f"{taken}, which the model holds {place}"
        )

    def _causes(self) -> dict[str, int]:
        facts, result = self._books.facts, self._result
        dumps = int(self._books.tally[2 * bk.D_DUMP + 1])
        elsewhere, nowhere = int(facts[bk.F_OTHER_CPU]), int(facts[bk.F_NOWHERE])
        causes = {
            "the page was on another CPU's list: the event names another CPU than the list was of": elsewhere,
            "the page was on no list of the model": nowhere,
            "the page was further down the list: another operation came between the list and the event": (
                result.mismatches - dumps - elsewhere - nowhere
            ),
            "list at a dump": dumps,
        }
        return {name: count for name, count in causes.items() if count}

    def _notes(self) -> tuple[str, ...]:
        notes = [
            "a wrong page is counted and then put right: the kernel's page leaves the lists, so that an error does not spread",
            "no event shows whether a task that is switched away from holds a page already, its mm_page_alloc still to come. "
            "Its gfp, the time since its last event and the context flags of the events around do not tell either",
        ]
        if not self._books.facts[bk.F_INSERTIONS]:
            notes.append(
                "insertions (gt_rmq 5) were not recorded: a batched free is inserted at mm_page_free_batched, any other at "
                "mm_page_free"
            )
        if self._state.view.cfg.nr_zones > 1:
            notes.append("which zone served an allocation is an input: the zone of its pfn")
        return tuple(notes)


def _shown(lists: Lists, key: tuple[int, int, int]) -> str:
    pfns = lists.get(key, [])
    return f"{len(pfns)} chunks: {' '.join(f'{pfn:#x}' for pfn in pfns[:6])}" if pfns else "empty"
