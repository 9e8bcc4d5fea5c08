# SPDX-License-Identifier: GPL-2.0-or-later
"""The buddy level: given the requests, does the model take, place, merge, claim and steal what the kernel did."""

from __future__ import annotations

import numpy as np

from kevacuate.errors import KevacuateError
from kevacuate.fidelity.buddy import books as bk
from kevacuate.fidelity.buddy.books import BuddyBooks, Scratch, new_books, new_scratch
from kevacuate.fidelity.buddy.joined import joined_rows
from kevacuate.fidelity.buddy.loop import buddy_rows
from kevacuate.fidelity.buddy.words import divergence_of
from kevacuate.fidelity.compaction.level import CompactionLevel
from kevacuate.fidelity.event_rows import with_kept
from kevacuate.fidelity.level import Given, Level, missing_requests
from kevacuate.fidelity.model_from_dump import (
    FreeList,
    free_lists,
    load_free_lists,
    recorded_free_lists,
    state_with_free_lists,
    zone_numbers,
)
from kevacuate.fidelity.tally import F_BEFORE, F_BEFORE_WRONG, F_COMPACTIONS, fill_result
from kevacuate.measure.fidelity import LevelResult
from kevacuate.mm import constants as k
from kevacuate.mm.layout import State, StateOptions
from kevacuate.recording import AllocatorState, EventChunk, EventKind

MOST_KEPT = 1 << 20
"""Rows kept back at most for a request that does not end: more are a CPU that has gone quiet."""

LOG_RECORDS = 1 << 17


class BuddyLevel(Level):
    """The free lists, pageblocks and fallbacks of the model, driven by the recorded requests.

    The start state's lists are loaded, every other page is in use. Each refill, direct allocation, direct free and
    drained chunk is put to the model's own ``rmqueue_bulk``, ``rmqueue_buddy``, ``free_one_page`` and
    ``__free_one_page``; all that they do is compared. Nothing is put right after a mismatch: a page that the model chose
    otherwise stands for the kernel's page from then on.

    Where list operations were not recorded (gt_list), this level and the compaction level are one model, and requests go page
    by page (:mod:`.joined`, :mod:`.steps`). There a page that the model chose otherwise is put right at once, and counted.
    """

    name = "buddy"

    @classmethod
    def missing(cls, given: Given) -> str:
        """Refills and drains are shown by the recording hooks only."""
        return missing_requests(given)

    def __init__(self, given: Given) -> None:
        self._given = given
        machine = given.recording.machine
        options = StateOptions(objects=1, log_level=3, log_capacity=LOG_RECORDS)
        self._state = state_with_free_lists(machine, given.start, options)
        self._zone_of = zone_numbers(machine, given.start)
        self._books = new_books(self._state.view.cfg.npages, max(machine.cpus, 1), self._zone_of)
        self._from_boot = given.recording.boot is not None
        if not self._from_boot:  # faults may have come before the first event
            self._books.user[:] = 1
        self._kept: EventChunk | None = None
        self._done = np.empty(0, np.uint8)
        self._compaction = CompactionLevel(given)
        self._decided = np.empty(0, np.int64)
        self._kept_from = 0
        self._has_lists: bool | None = None
        self._result = LevelResult("buddy")

    @property
    def state(self) -> State:
        """The model's state, after what was decided so far."""
        return self._state

    @property
    def books(self) -> BuddyBooks:
        """What is kept beside it."""
        return self._books

    @property
    def compaction(self) -> CompactionLevel:
        """The level that decides compaction's list operations; it is given here whatever this one is."""
        return self._compaction

    def feed(self, chunk: EventChunk, first: int, lead: int = 0) -> None:
        """Put the requests whose answers are complete to the model."""
        if self._has_lists is None:
            self._has_lists = bool((chunk.kind == EventKind.GT_LIST).any())
            self._books.facts[bk.F_UNLISTED] = not self._has_lists
        if self._kept is None:
            self._kept_from = first
        rows = with_kept(self._kept, chunk, lead)
        if self._has_lists:
            self._compaction.feed(chunk, first, lead)
        else:
            self._compaction.meet(chunk, lead)
        self._decided = np.concatenate([self._decided, self._compaction.books.decisions[lead:]])
        self._run(rows, whole=False)

    def _run(self, rows: EventChunk, *, whole: bool) -> None:
        done = np.zeros(rows.rows, np.uint8)
        done[: self._done.size] = self._done
        scratch = new_scratch(done, self._decided)
        cut = self._decide(rows, scratch, self._kept_from, whole)
        if rows.rows - cut > MOST_KEPT:
            cut += self._decide(*self._rest(rows, scratch, cut), True)
        if self._books.facts[bk.F_OVERFLOW]:
            raise KevacuateError(
                f"One request of the recording makes the model do more than {LOG_RECORDS} things: it is corrupted."
            )
        self._kept_from += cut
        self._kept = rows.take(slice(cut, None)) if cut < rows.rows else None
        self._done = scratch.done[cut:]
        self._decided = self._decided[cut:]

    def _decide(self, rows: EventChunk, scratch: Scratch, number: int, whole: bool) -> int:
        """How many of the rows were decided."""
        if self._has_lists:
            return int(buddy_rows(self._state, self._books, rows, scratch, number, whole))
        other = self._compaction.state, self._compaction.books
        return int(joined_rows(self._state, self._books, *other, rows, scratch, number, whole))

    def _rest(self, rows: EventChunk, scratch: Scratch, cut: int) -> tuple[EventChunk, Scratch, int]:
        rest = rows.take(slice(cut, None))
        fresh = new_scratch(scratch.done[cut:].copy(), scratch.compaction[cut:].copy())
        return rest, fresh, self._kept_from + cut

    def _flush(self) -> None:
        if self._kept is not None:
            self._run(self._kept, whole=True)

    def at_state(self, state: AllocatorState) -> None:
        """Compare every free list, in order, and every pageblock's type."""
        self._flush()
        self._compaction.at_state(state)
        ours = {(x.zone, x.order, x.mt): x for x in free_lists(self._state)}
        theirs = {(x.zone, x.order, x.mt): x for x in recorded_free_lists(self._zone_of, state)}
        wrong = [key for key in sorted({*ours, *theirs}) if not _equal(ours.get(key), theirs.get(key))]
        order = self._state.view.cfg.pageblock_order
        types = self._state.block[2 * (state.blocks.pfn >> order)] & k.PB_TYPE_MASK
        others = int((types != state.blocks.mt).sum())
        self._count(bk.D_DUMP_LIST, len({*ours, *theirs}), len(wrong))
        self._count(bk.D_DUMP_BLOCK, int(state.blocks.pfn.size), others)
        self._result.dumps[state.tag] = not wrong and not others
        if (wrong or others) and not self._books.facts[bk.F_TOLD]:
            self._dump_diverged(state, wrong, ours, theirs)
        if self._given.resync and (wrong or others):
            load_free_lists(self._state, self._zone_of, state)
            self._books.same[:] = np.arange(self._books.same.size)
            self._result.resyncs += 1

    def _count(self, kind: int, decisions: int, wrong: int) -> None:
        self._books.tally[2 * kind] += decisions
        self._books.tally[2 * kind + 1] += wrong
        if self._books.facts[F_COMPACTIONS] == 0:
            self._books.facts[F_BEFORE] += decisions
            self._books.facts[F_BEFORE_WRONG] += wrong

    def _dump_diverged(
        self,
        state: AllocatorState,
        wrong: list[tuple[int, int, int]],
        ours: dict[tuple[int, int, int], FreeList],
        theirs: dict[tuple[int, int, int], FreeList],
    ) -> None:
        self._books.facts[bk.F_DIVERGED] = self._books.facts[bk.F_TOLD] = 1
        self._books.first[bk.V_POSITION] = -1
        self._books.first[bk.V_KIND] = bk.D_DUMP_LIST
        if wrong:
            z, order, mt = wrong[0]
            what = f"free list of zone {z}, order {order}, {k.MIGRATE_NAMES[mt]} at dump {state.tag}"
            self._dump_words = (state.ts, what, _shown(ours.get(wrong[0])), _shown(theirs.get(wrong[0])))
        else:
            self._dump_words = (state.ts, f"pageblock types at dump {state.tag}", "differ", "")

    def finish(self) -> LevelResult:
        """What the level came to."""
        self._flush()
        books, result = self._books, self._result
        fill_result(result, books, bk.KINDS, bk.INPUTS)
        if result.mismatches:
            result.first = divergence_of(books.first, getattr(self, "_dump_words", None))
            result.causes = self._causes()
        result.notes += (
            "of a drained chunk (mm_page_pcpu_drain) pfn and order are inputs: only the type is the model's",
        )
        if self._books.facts[F_COMPACTIONS] and self._from_boot:
            result.notes += (
                "a task that had no page of user memory is taken for a kernel thread, as khugepaged: it captures nothing",
            )
        if not self._has_lists:
            result.notes += (
                "list operations were not recorded (gt_list). The model of the compaction level makes compaction's. What a "
                "scan took is known when its event comes, at its end",
                "requests go page by page. Where the kernel's page is another one it is taken over at once, and counted",
            )
        return result

    def _causes(self) -> dict[str, int]:
        """Mismatches by cause: compaction's own operations, what followed its unseen work, and what did not."""
        wrong, before = self._result.mismatches, int(self._books.facts[F_BEFORE_WRONG])
        compaction = int(self._books.tally[2 * bk.D_COMPACT + 1])
        causes = {
            "before any compaction": before,
            "compaction's own list operations: see the compaction level": compaction,
        }
        after = "after compaction whose list operations were not recorded"
        if self._has_lists:
            after = "after the first compaction"
        causes[after] = wrong - before - compaction
        return {cause: count for cause, count in causes.items() if count}


def _equal(ours: FreeList | None, theirs: FreeList | None) -> bool:
    return ours is not None and theirs is not None and np.array_equal(ours.pfns, theirs.pfns)


def _shown(entry: FreeList | None) -> str:
    """The head of a list in words."""
    if entry is None:
        return "empty"
    head = " ".join(f"{pfn:#x}" for pfn in entry.pfns[:6].tolist())
    return f"{entry.pfns.size} chunks: {head}{' ...' if entry.pfns.size > 6 else ''}"
