# SPDX-License-Identifier: GPL-2.0-or-later
"""The evacuation level: given the claims, does the model queue, order, batch and end evacuations as the patched kernel did."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.fidelity.evacuation import steps
from kevacuate.fidelity.evacuation.folios import NO_FOLIOS, Folios
from kevacuate.fidelity.evacuation.views import ISOLATE, BlockViews, Views
from kevacuate.fidelity.level import Given, Level
from kevacuate.fidelity.model_from_dump import state_with_free_lists
from kevacuate.kernel.hooks import LAST_REQUEST, EvacOp
from kevacuate.measure.fidelity import Divergence, LevelResult, Tally
from kevacuate.mm import constants as k
from kevacuate.mm import entry
from kevacuate.mm.layout import EvacuationConfig, StateOptions, log_table
from kevacuate.recording import AllocatorState, EventChunk, EventKind

QUEUES = "claims: queued or not"
ORDER = "which block a worker starts with next"
CPU = "CPU of the worker"
RECHECK = "re-check: started, or skipped as movable again"
BATCHES = "isolate calls: pages, first and last offset"
ENDINGS = "how an evacuation ended"
BECAME = "what becomes of a batch: pages dropped, pages left to migrate"
SUMS = "pages isolated by an evacuation"
SKIP_AFTER = "the block's skip bit after an evacuation"
TOTAL = "pages isolated in total, within 5 %"
TOTAL_BECAME = "pages dropped, and left to migrate, in total, within 5 %"

WITHIN = 0.05

JOINED = (
    "folios allocated in the block while it was evacuated. No event shows how full their CPU's batch was, and so when they "
    "joined the LRU"
)
OFF_LRU = "more of the block's movable folios were off the LRU than a batch holds: which, no event shows"
OTHERWISE = "cause not found"


class Row(NamedTuple):
    """An event that this level reads."""

    number: int
    ts: int
    cpu: int
    kind: int
    op: int
    pfn: int
    a: int
    b: int
    c: int
    d: int


class EvacuationLevel(Level):
    """The queue, the workers and the loop of evacuate_pageblock of the model, driven by the recorded claims and starts."""

    name = "evacuation"

    @classmethod
    def missing(cls, given: Given) -> str:
        """Evacuations are shown by the recording hooks only."""
        if not given.recording.machine.hooks:
            return "no gt_evac events: the recorded kernel has no recording hooks"
        return ""

    def __init__(self, given: Given) -> None:
        machine = given.recording.machine
        options = StateOptions(objects=1, log_level=1, log_capacity=1 << 14)
        config = EvacuationConfig(evacuate=True)
        self._state = state_with_free_lists(machine, given.start, options, config)
        entry.late_initcall(self._state, 1)
        self._views = BlockViews(self._state, machine, given.start)
        self._rows: list[Row] = []
        self._pending: dict[int, int] = {}
        self._honours: bool | None = None
        self._patched = False
        self._kinds: dict[str, Tally] = defaultdict(Tally)
        self._inputs: Counter[str] = Counter()
        self._causes: Counter[str] = Counter()
        self._totals = np.zeros((2, 4), np.int64)
        self._became = np.zeros((2, 2), np.int64)
        self._result = LevelResult("evacuation")

    def feed(self, chunk: EventChunk, first: int, lead: int = 0) -> None:
        """Keep what concerns evacuations, and decide what can be decided."""
        chunk = chunk.take(slice(lead, None))
        wanted = (chunk.kind == EventKind.GT_EVAC) | (chunk.kind == EventKind.GT_BLK)
        wanted |= self._unlocks(chunk, wanted)
        at = np.flatnonzero(wanted)
        columns = (
            chunk.ts,
            chunk.cpu,
            chunk.kind,
            chunk.order,
            chunk.pfn,
            chunk.a,
            chunk.b,
            chunk.c,
            chunk.d,
        )
        values = (column[at].tolist() for column in columns)
        self._rows += [Row(*row) for row in zip((at + first).tolist(), *values, strict=True)]
        self._views.feed(chunk, first)
        self._decide(whole=False)

    def _unlocks(self, chunk: EventChunk, wanted: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Of the requests (gt_rmq) those that come first on their CPU after a wanted row: they show that its lock is free."""
        found = np.zeros(chunk.rows, np.bool_)
        cpus = {*np.unique(chunk.cpu[wanted]).tolist(), *self._pending, *(row.cpu for row in self._rows)}
        if not cpus:
            return found
        requests = (chunk.kind == EventKind.GT_RMQ) & (chunk.a <= LAST_REQUEST)
        for cpu in cpus:
            at = np.flatnonzero((wanted | requests) & (chunk.cpu == cpu))
            request = requests[at]
            found[at[request & ~np.append(False, request)[:-1]]] = True
        return found

    def at_state(self, state: AllocatorState) -> None:
        """A dump shows nothing of an evacuation."""

    def _decide(self, *, whole: bool) -> None:
        n = 0
        while n < len(self._rows):
            row = self._rows[n]
            if row.kind == EventKind.GT_RMQ:
                self._unlock(row.cpu)
            elif row.kind == EventKind.GT_BLK:
                steps.change_type(self._state, row.pfn, row.a)
            elif row.op == EvacOp.CLAIM:
                after = next(
                    (x for x in self._rows[n + 1 :] if x.cpu == row.cpu and x.kind != EventKind.GT_BLK), None
                )
                if after is None and not whole:
                    break
                self._claim(row, after)
            elif row.op in (EvacOp.STARTED, EvacOp.SKIPPED):
                story = self._story(n)
                if story is None and not whole:
                    break
                self._start(row, story or [])
            self._patched |= row.kind == EventKind.GT_EVAC and row.op != EvacOp.CLAIM
            n += 1
        del self._rows[:n]

    def _story(self, n: int) -> list[Row] | None:
        """What followed a start on its CPU, up to the state at the end; None if that is not there yet."""
        first = self._rows[n]
        if first.op == EvacOp.SKIPPED:
            return []
        found = []
        for row in self._rows[n + 1 :]:
            if (
                row.kind == EventKind.GT_EVAC
                and row.op >= ISOLATE
                and row.pfn == first.pfn
                and row.cpu == first.cpu
            ):
                found.append(row)
                if row.op == EvacOp.AFTER:
                    return found
        return None

    def _count(self, kind: str, row: Row, right: bool, model: object, kernel: object) -> None:
        tally = self._kinds[kind]
        tally.decisions += 1
        if right:
            return
        tally.mismatches += 1
        self._result.last_position = row.number
        if self._result.first is None:
            what = f"{kind}: pageblock {row.pfn:#x} on CPU {row.cpu}"
            self._result.first = Divergence(row.number, row.ts, what, str(model), str(kernel))

    def _unlock(self, cpu: int) -> None:
        """The lock under which claims were made is free: the irq_work takes all of them."""
        pfn = self._pending.pop(cpu, None)
        if pfn is not None:
            steps.unlock(self._state, pfn, cpu)

    def _claim(self, row: Row, after: Row | None) -> None:
        """A claim attempt; the kernel queued it if the next event of evacuation says so."""
        self._inputs["claim attempts (block, types, claimed; gt_evac 0)"] += 1
        ours = 0
        if row.d:
            ours = int(steps.claim(self._state, row.pfn, row.a >> 8, row.a & 255, row.cpu))
        theirs = 0
        if (
            after is not None
            and after.kind == EventKind.GT_EVAC
            and after.op in (EvacOp.QUEUED, EvacOp.DROPPED)
        ):
            theirs = after.op if after.pfn == row.pfn else 0
        words = ("not queued", "queued", "dropped")
        self._count(QUEUES, row, ours == theirs, words[ours], words[theirs])
        if ours == 1:
            self._pending[row.cpu] = row.pfn

    def _start(self, row: Row, story: list[Row]) -> None:
        """A worker takes its next item: which one is the model's decision."""
        self._unlock(row.cpu)
        self._inputs["starts (when a worker takes its next item; gt_evac 4, 5)"] += 1
        ours = int(steps.next_block(self._state, row.cpu))
        self._count(
            ORDER, row, ours == row.pfn, f"{ours:#x}" if ours >= 0 else "no item queued", f"{row.pfn:#x}"
        )
        here = bool(steps.bring_forward(self._state, row.cpu, row.pfn))
        self._count(CPU, row, here, "queued to another CPU's worker, or to none", f"CPU {row.cpu}")
        if not here:
            return
        skip = bool(row.a & 1) if row.op == EvacOp.STARTED else False
        self._inputs["page counts and skip bits at a start (gt_evac 4)"] += 1
        known = self._honours is not None
        if not known and row.op == EvacOp.STARTED:
            self._learn(skip, story)
        views = Views([NO_FOLIOS])
        if row.op == EvacOp.STARTED:
            calls = [after.number for after in story if after.op == EvacOp.ISOLATE]
            views = self._views.of_evacuation(row.number, row.c, calls)
        first, *later = views.at_calls
        steps.begin(self._state, row.cpu, row.pfn, skip, first)
        sure = self._run(row, story, later)
        records = self._records()
        started = any(record[0] == k.L_EVAC_STARTED for record in records)
        words = ("skipped", "started")
        self._count(
            RECHECK,
            row,
            started == (row.op == EvacOp.STARTED),
            words[started],
            words[row.op == EvacOp.STARTED],
        )
        if started and row.op == EvacOp.STARTED and known and views.sure:
            before = self._mismatches()
            self._compare(row, story, records, sure)
            cause = JOINED if views.joined else OFF_LRU if views.off_lru else OTHERWISE
            self._causes[cause] += self._mismatches() - before

    def _mismatches(self) -> int:
        return sum(tally.mismatches for tally in self._kinds.values())

    def _learn(self, skip: bool, story: list[Row]) -> None:
        """Whether this kernel honours the skip hint: the first evacuation that tells is an input, not a decision."""
        isolated = sum(after.b for after in story if after.op == EvacOp.ISOLATE)
        after = [row for row in story if row.op == EvacOp.AFTER]
        if skip:
            self._honours = isolated == 0
        elif isolated and after:
            self._honours = bool(after[0].a & 1)
        if self._honours is not None:
            self._state.view.cfg.skip_hint = int(self._honours)
            self._inputs["evacuations that tell whether the kernel honours the skip hint"] += 1

    def _run(self, row: Row, story: list[Row], views: list[Folios]) -> list[bool]:
        """Let the model's worker run to its end; for each batch, whether the model decided what was dropped of it.

        Given: what lies before each call, the pages that failed to migrate, and how many were dropped of a batch with
        pages of which it is not known whether they are clean page cache.
        """
        dropped = [after.a for after in story if after.op == EvacOp.RECLAIM]
        failed = [after.b - after.c for after in story if after.op == EvacOp.MIGRATE]
        self._inputs["batches: pages that failed to migrate (gt_evac 8)"] += len(failed)
        sure = []
        while (doing := steps.worker_state(self._state, row.cpu)) != k.WORKER_IDLE:
            clean = busy = 0
            if doing == k.WORKER_ISOLATE and views:
                folios = views.pop(0)
                steps.isolate(self._state, row.cpu, row.pfn, folios)
                continue
            if doing == k.WORKER_RECLAIM:
                known, unsure = steps.batch_kinds(self._state, row.cpu)
                sure.append(unsure == 0)
                if dropped and (given := dropped.pop(0)) and unsure:
                    clean = max(given - known, 0)
            elif doing == k.WORKER_MIGRATE and failed:
                busy = failed.pop(0)
            steps.go_on(self._state, row.cpu, clean, busy)
        self._inputs["batches with pages of unknown kind: pages dropped (gt_evac 7)"] += sure.count(False)
        return sure

    def _records(self) -> list[tuple[int, ...]]:
        """The model's log of the evacuation: (kind, pfn, a, b, c, d)."""
        table = log_table(self._state)
        kinds = (
            k.L_EVAC_STARTED,
            k.L_EVAC_SKIPPED,
            k.L_EVAC_ISOLATE,
            k.L_EVAC_RECLAIM,
            k.L_EVAC_MIGRATE,
            k.L_EVAC_FINISHED,
        )
        return [(int(r[1]), *(int(x) for x in r[3:8])) for r in table if r[1] in kinds]

    def _compare_batches(self, row: Row, story: list[Row], records: list[tuple[int, ...]]) -> None:
        """Each isolate call: the pages it took, and the offsets between which it scanned."""
        ours = [(r[3], r[4], r[5]) for r in records if r[0] == k.L_EVAC_ISOLATE]
        theirs = [(after.b, after.c, after.d) for after in story if after.op == EvacOp.ISOLATE]
        calls = [after for after in story if after.op == EvacOp.ISOLATE]
        for n in range(max(len(ours), len(theirs))):
            at = calls[n] if n < len(calls) else row
            mine = ours[n] if n < len(ours) else "no call"
            its = theirs[n] if n < len(theirs) else "no call"
            self._count(BATCHES, at, mine == its, mine, its)

    def _compare_became(
        self, row: Row, story: list[Row], records: list[tuple[int, ...]], sure: list[bool]
    ) -> None:
        """What became of each batch whose pages' kinds are known: dropped as clean page cache, or left to migrate."""
        ours = [(r[2], r[3]) for r in records if r[0] == k.L_EVAC_RECLAIM]
        theirs = [after for after in story if after.op == EvacOp.RECLAIM]
        for mine, after, known in zip(ours, theirs, sure, strict=False):
            if known:
                self._count(BECAME, after, mine == (after.a, after.b), mine, (after.a, after.b))
                self._became += np.array([mine, (after.a, after.b)])

    def _compare(self, row: Row, story: list[Row], records: list[tuple[int, ...]], sure: list[bool]) -> None:
        """Batches, ending, sums and skip bit against the kernel's."""
        self._compare_batches(row, story, records)
        self._compare_became(row, story, records, sure)
        ended = [r for r in records if r[0] == k.L_EVAC_FINISHED]
        finished = [after for after in story if after.op == EvacOp.FINISHED]
        if not ended or not finished:
            self._count(ENDINGS, row, False, bool(ended), bool(finished))
            return
        (_, _, isolated, reclaimed, migrated, last), end = ended[0], finished[0]
        mine, its = k.WHY_NAMES[last & 255], k.WHY_NAMES[min(end.d & 255, len(k.WHY_NAMES) - 1)]
        self._count(ENDINGS, end, mine == its, mine, its)
        self._count(SUMS, end, isolated == end.a, isolated, end.a)
        theirs = (end.a, end.b, end.c, end.d >> 8)
        self._totals += np.array([(isolated, reclaimed, migrated, last >> 8), theirs])
        after_end = story[-1]
        skip = bool(steps.skip_bit(self._state, row.pfn >> self._state.view.cfg.pageblock_order))
        self._count(SKIP_AFTER, after_end, skip == bool(after_end.a & 1), skip, bool(after_end.a & 1))

    def finish(self) -> LevelResult:
        """What the level came to."""
        self._decide(whole=True)
        result = self._result
        if not self._patched:
            result.first = None
            result.not_exercised = (
                "the recorded kernel has no evacuation patch: it queued nothing (no gt_evac 1 to 10)"
            )
            return result
        ours, theirs = self._totals
        if theirs[0]:
            self._kinds[TOTAL] = _within(ours[:1], theirs[:1])
        if self._became[1].any():
            self._kinds[TOTAL_BECAME] = _within(*self._became)
        result.kinds = dict(self._kinds)
        result.inputs = {**self._inputs, **self._views.inputs()}
        self._causes[OTHERWISE] = result.mismatches - self._causes[JOINED] - self._causes[OFF_LRU]
        result.causes = {cause: count for cause, count in self._causes.items() if count}
        result.notes = (
            f"the kernel {'honours' if self._honours else 'ignores'} the skip hint, as the first evacuation that tells shows "
            "(it is not counted)",
            *self._views.notes(),
            "pages isolated, dropped, migrated, failed: the model's "
            f"{', '.join(f'{x:,}' for x in ours.tolist())}, the kernel's {', '.join(f'{x:,}' for x in theirs.tolist())}",
        )
        return result


def _within(ours: npt.NDArray[np.int64], theirs: npt.NDArray[np.int64]) -> Tally:
    """One decision a sum: whether ours is within 5 % of the kernel's."""
    return Tally(theirs.size, int((np.abs(ours - theirs) > WITHIN * theirs).sum()))
