# SPDX-License-Identifier: GPL-2.0-or-later
"""The tuning level: given allocations and frees, are lists refilled and drained as far as the kernel did it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kevacuate.fidelity.event_rows import with_kept
from kevacuate.fidelity.level import Given, Level, missing_requests
from kevacuate.fidelity.model_from_dump import zone_numbers
from kevacuate.fidelity.tuning import books as bk
from kevacuate.fidelity.tuning.loop import tuning_rows, tuning_settled
from kevacuate.fidelity.tuning.phases import summarise_all
from kevacuate.fidelity.tuning.words import divergence, notes
from kevacuate.kernel.pcp import pcp_order
from kevacuate.measure.fidelity import LevelResult, Tally
from kevacuate.mm import constants as k
from kevacuate.mm import load_state
from kevacuate.mm.fields import PerCpuPages
from kevacuate.mm.layout import StateOptions, build_state, set_pcp_bounds
from kevacuate.mm.profile import profile_for
from kevacuate.recording import AllocatorState, EventChunk, EventKind
from kevacuate.runs.initial_state import machine_config

AHEAD = 1 << 14
"""Rows looked ahead for what becomes of a freed page, and for kswapd's next event, where they are not recorded."""

RECLAIM_ACTIVE, BELOW_HIGH = 2, 4
"""Bits of the recorded zone flags (enum zone_flags, mmzone.h at 7.2)."""

FIELDS = (
    ("high", bk.D_HIGH),
    ("alloc_factor", bk.D_FACTOR),
    ("free_count", bk.D_FREE_COUNT),
    ("flags", bk.D_FLAGS),
    ("batch", bk.D_BOUNDS),
    ("high_min", bk.D_BOUNDS),
    ("high_max", bk.D_BOUNDS),
)
"""A field, by the name it has in a recording and in the model, and the kind of decision."""


class TuningLevel(Level):
    """``high``, ``alloc_factor``, ``free_count`` and flags of the per-CPU lists, by the model's own functions.

    It begins with the first state in which the per-CPU lists are set up: the one at boot has the boot pagesets only. The phase of
    the one-second decay is fitted: see :mod:`kevacuate.fidelity.tuning.books`.
    """

    name = "tuning"

    @classmethod
    def missing(cls, given: Given) -> str:
        """Refills and drains, and the fields to begin with, are shown by the recording hooks only."""
        if lacking := missing_requests(given):
            return lacking
        profile, _ = profile_for(given.recording.machine.kernel)
        if profile.pcp_tuning == "fixed":
            return f"a pcp->high that adapts: Linux {profile.name} keeps it fixed"
        if not any(state.pcp_ready for state in given.recording.states):
            return "no dump in which the per-CPU lists are set up: there is nothing to begin with"
        return ""

    def __init__(self, given: Given) -> None:
        self._given = given
        machine = given.recording.machine
        config = machine_config(machine, given.start)
        self._state = build_state(config, options=StateOptions(objects=1, log_level=0))
        self._zone_of = zone_numbers(machine, given.start)
        self._cpus = len(config.cpu_node)
        self._books = bk.new_books(self._state.view.cfg.npages, len(config.zones), self._cpus, self._zone_of)
        for zone in given.start.zones:
            self._books.zone_index[self._zone_of[zone.index]] = zone.index
        self._kept: EventChunk | None = None
        self._number = 0
        self._books.facts[bk.F_INSERTIONS] = given.shown.insertions
        self._books.facts[bk.F_LISTS] = given.shown.lists
        self._started = False
        self._skipped = 0
        self._result = LevelResult("tuning")
        self._dumps: list[tuple[str, npt.NDArray[np.bool_]]] = []
        self._find_kswapd()
        if given.start.pcp_ready:
            self._begin(given.start)

    def _find_kswapd(self) -> None:
        """Which task is kswapd, unless balance_pgdat is recorded: it wakes kcompactd for a whole block after a boost."""
        begin, wakeup = EventKind.VMSCAN_BALANCE_PGDAT_BEGIN, EventKind.COMPACTION_WAKEUP_KCOMPACTD
        nodes = len({zone.node for zone in self._given.recording.machine.zones})
        for chunk in self._given.recording.events(kinds=(begin, wakeup), after=self._given.start):
            found = np.flatnonzero(
                (chunk.kind == begin) | (chunk.order == self._state.view.cfg.pageblock_order)
            )
            if found.size:
                row = int(found[0])
                self._books.facts[bk.F_VMSCAN] = chunk.kind[row] == begin
                if chunk.kind[row] == wakeup and nodes == 1:
                    self._books.facts[bk.F_KSWAPD] = int(chunk.pid[row]) + 1
                return

    def _begin(self, recorded: AllocatorState) -> None:
        """Take over a recorded state: fields, lists, free pages, zone flags."""
        state, books = self._state, self._books
        blocks, pages, free = recorded.blocks, recorded.pcp_pages, recorded.free
        load_state.load_pageblocks(
            state, blocks.pfn, blocks.mt.astype(np.int64), np.zeros(blocks.pfn.size, np.bool_)
        )
        config = machine_config(self._given.recording.machine, recorded)
        size = np.left_shift(1, free.order.astype(np.int64))
        for zone in recorded.zones:
            z = int(self._zone_of[zone.index])
            fields, own = state.view.zone[z], config.zones[z]
            counted = (free.zone == zone.index) & (free.mt != k.MIGRATE_ISOLATE)
            fields.nr_free_pages = int(size[counted].sum())
            fields.managed_pages = zone.managed
            for i in range(4):
                fields.watermark[i], fields.lowmem_reserve[i] = own.watermark[i], own.lowmem_reserve[i]
            fields.watermark_boost = 0
            fields.below_high = int(zone.flags & BELOW_HIGH != 0)
            fields.reclaim_active = int(zone.flags & RECLAIM_ACTIVE != 0)
        set_pcp_bounds(state, config)
        for zone in recorded.zones:
            state.view.zone[int(self._zone_of[zone.index])].watermark_boost = zone.boost
        books.used[:] = 1
        for order in np.unique(free.order).tolist():
            heads = free.pfn[free.order == order]
            books.used[(heads[:, None] + np.arange(1 << order)).ravel()] = 0
        books.owner[:] = 0
        sets = self._zone_of[pages.zone] * self._cpus + pages.cpu
        held = pcp_order(pages.pindex, state.view.cfg.hpage_pmd_order)
        for order in np.unique(held).tolist():
            heads, numbers = pages.pfn[held == order], sets[held == order]
            books.owner[(heads[:, None] + np.arange(1 << order)).ravel()] = np.repeat(numbers + 1, 1 << order)
        books.cpu.reshape(-1, bk.WW)[:] = 0
        books.cpu.reshape(-1, bk.WW)[:, [bk.W_SLOT, bk.W_LOCKED, bk.W_RUN, bk.W_BEFORE]] = -1
        self._load_fields(recorded)
        books.decay[:] = 0
        books.skip[:] = 0
        books.woken[:] = 0
        books.last[:] = recorded.ts
        for cpu in range(self._cpus):
            number = -(-recorded.ts // bk.PHASE_NS)
            books.due[2 * cpu : 2 * cpu + 2] = number * bk.PHASE_NS, number % bk.PHASES
        self._started = True

    def _load_fields(self, recorded: AllocatorState) -> None:
        """The recorded fields of every per-CPU list set, under every phase; the bounds are the model's own."""
        pcp = PerCpuPages.table(self._state.pcp)
        sets = self._zone_of[recorded.pcp.zone] * self._cpus + recorded.pcp.cpu
        for name in ("count", "free_count", "flags"):
            pcp[name][sets] = getattr(recorded.pcp, name)
        self._books.high.reshape(-1, bk.PHASES)[sets] = recorded.pcp.high[:, None]
        self._books.factor.reshape(-1, bk.PHASES)[sets] = recorded.pcp.alloc_factor[:, None]
        self._books.sets[:] = 0
        summarise_all(self._state, self._books)

    def feed(self, chunk: EventChunk, first: int, lead: int = 0) -> None:
        """Run all rows but those kept to look ahead."""
        if not self._started:
            self._skipped += chunk.rows - lead
            return
        rows = with_kept(self._kept, chunk, lead)
        if self._kept is None:
            self._number = first
        ahead = 0 if self._books.facts[bk.F_INSERTIONS] and not self._books.facts[bk.F_KSWAPD] else AHEAD
        self._run(rows, max(rows.rows - ahead, 0))

    def _run(self, rows: EventChunk, cut: int) -> None:
        scratch = bk.TuningScratch(np.empty(rows.rows, np.int64), np.empty(rows.rows, np.int64))
        tuning_rows(self._state, self._books, rows, scratch, self._number, cut)
        self._number += cut
        self._kept = rows.take(slice(cut, None)) if cut < rows.rows else None

    def _flush(self) -> None:
        if self._kept is not None:
            self._run(self._kept, self._kept.rows)
        tuning_settled(self._state, self._books)

    def at_state(self, state: AllocatorState) -> None:
        """Compare every field of every per-CPU list set, under every phase."""
        if not self._started:
            if state.pcp_ready:
                self._begin(state)
            return
        self._flush()
        equal = np.ones(bk.PHASES, np.bool_)
        for row in range(len(state.pcp.zone)):
            for name, kind in FIELDS:
                wrong = self._compare(state, row, name, kind)
                equal &= ~wrong
        self._dumps.append((state.tag, equal))
        if self._given.resync and not equal.any():
            self._load_fields(state)
            self._result.resyncs += 1

    def _compare(self, state: AllocatorState, row: int, name: str, kind: int) -> npt.NDArray[np.bool_]:
        """One field of one per-CPU list set at a dump: per phase, whether it is wrong."""
        books = self._books
        z, cpu = int(self._zone_of[state.pcp.zone[row]]), int(state.pcp.cpu[row])
        pcp = z * self._cpus + cpu
        theirs = int(getattr(state.pcp, name)[row])
        held = {"high": books.high, "alloc_factor": books.factor}.get(name)
        if held is not None:
            ours = held.reshape(-1, bk.PHASES)[pcp]
        else:
            ours = np.full(bk.PHASES, getattr(self._state.view.pcp[pcp], name))
        wrong = np.asarray(ours != theirs)
        tally = books.tally.reshape(bk.PHASES, bk.ND, 2)
        tally[:, kind, 0] += 1
        tally[:, kind, 1] += wrong
        books.causes.reshape(bk.PHASES, bk.NX)[wrong, bk.X_FIELD] += 1
        first = books.first.reshape(bk.PHASES, bk.FIRST)
        fresh = np.flatnonzero(wrong & (first[:, bk.V_SEEN] == 0))
        first[fresh, bk.V_SEEN] = 1
        first[fresh, bk.V_POSITION], first[fresh, bk.V_TS], first[fresh, bk.V_KIND] = -1, state.ts, kind
        first[fresh, bk.V_CPU], first[fresh, bk.V_ZONE] = cpu, z
        first[fresh, bk.V_MODEL], first[fresh, bk.V_KERNEL] = ours[fresh], theirs
        first[fresh, bk.V_COUNT] = self._state.view.pcp[pcp].count
        return wrong

    def fields(self) -> dict[str, npt.NDArray[np.int64]]:
        """Every field now, by its recorded name, under the phase that fits best so far; one entry per per-CPU list set."""
        self._flush()
        phase = best_phase(self._books.tally.reshape(bk.PHASES, bk.ND, 2)[:, :, 1].sum(axis=1))[0]
        pcp = PerCpuPages.table(self._state.pcp)
        found = {name: pcp[name].astype(np.int64) for name, _ in FIELDS}
        found["high"] = self._books.high.reshape(-1, bk.PHASES)[:, phase].astype(np.int64)
        found["alloc_factor"] = self._books.factor.reshape(-1, bk.PHASES)[:, phase].astype(np.int64)
        return found

    def finish(self) -> LevelResult:
        """What the level came to, under the phase that fits best."""
        self._flush()
        books, result = self._books, self._result
        tally = books.tally.reshape(bk.PHASES, bk.ND, 2)
        phase, fits, wrong = best_phase(tally[:, :, 1].sum(axis=1))
        result.kinds = {
            name: Tally(int(tally[phase, i, 0]), int(tally[phase, i, 1]))
            for i, name in enumerate(bk.KINDS)
            if tally[phase, i, 0]
        }
        result.inputs = {name: int(n) for name, n in zip(bk.INPUTS, books.inputs, strict=True) if n}
        causes = books.causes.reshape(bk.PHASES, bk.NX)[phase]
        result.causes = {name: int(n) for name, n in zip(bk.CAUSES, causes, strict=True) if n}
        result.dumps = {tag: bool(equal[phase]) for tag, equal in self._dumps}
        first = books.first.reshape(bk.PHASES, bk.FIRST)[phase]
        result.last_position = int(first[bk.V_LAST]) if result.mismatches else -1
        result.first = divergence(first) if first[bk.V_SEEN] else None
        quiet = int(books.facts[bk.F_QUIET]) - int(tally[phase, bk.D_DRAIN, 0])
        result.notes = notes(self._state, books, quiet, self._skipped, phase, fits, wrong)
        return result


def best_phase(mismatches: npt.NDArray[np.int64]) -> tuple[int, int, npt.NDArray[np.int64]]:
    """The phase with the fewest mismatches; of a row of equals the middle one of the longest.

    Returns the phase, how many in that row fit as well, and the mismatches of all, ascending.
    """
    fewest = mismatches == mismatches.min()
    if fewest.all():
        return 0, mismatches.size, np.sort(mismatches)
    origin = int(np.flatnonzero(~fewest)[0])
    turned = np.roll(fewest, -origin).astype(np.int8)
    edges = np.flatnonzero(np.diff(turned, prepend=0, append=0))
    begins, ends = edges[::2], edges[1::2]
    longest = int(np.argmax(ends - begins))
    middle = int(begins[longest] + ends[longest] - 1) // 2
    return (middle + origin) % mismatches.size, int(ends[longest] - begins[longest]), np.sort(mismatches)
