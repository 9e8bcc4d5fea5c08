# SPDX-License-Identifier: GPL-2.0-or-later
"""The compaction level on an excerpt of a kernel under pressure, and on the same with the kernel's answers changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kevacuate.fidelity.buddy.books import TASKS
from kevacuate.fidelity.buddy.level import BuddyLevel
from kevacuate.fidelity.compaction.books import (
    C_FOLLOWS,
    CAUSES,
    D_AFTER,
    D_DEFERRAL,
    D_FOLIO,
    D_LIST,
    D_RESULT,
    D_START,
    D_STOP,
    INPUTS,
    KINDS,
    N_FLUSHES_CUT,
    N_REACHED,
    N_RESUMED,
    N_UNMAPPED,
)
from kevacuate.fidelity.compaction.level import CompactionLevel
from kevacuate.fidelity.compaction.words import decision_words
from kevacuate.fidelity.event_rows import wide
from kevacuate.fidelity.level import Given
from kevacuate.fidelity.verify import verify
from kevacuate.kernel.hooks import ListOp
from kevacuate.measure.fidelity import LevelResult
from kevacuate.mm import constants as k
from kevacuate.recording import EventChunk, EventKind, KevWriter, Recording

DATA = Path(__file__).parent.parent / "data"
EXCERPT = DATA / "compaction.kev"


def of_compaction(path: Path) -> LevelResult:
    return verify(path, ["compaction"]).levels["compaction"]


def rewritten(
    path: Path, change: Callable[[EventChunk], EventChunk], level: str = "compaction"
) -> LevelResult:
    """A level's result on the excerpt with its events changed."""
    source = Recording.open(EXCERPT)
    assert source.start is not None
    with KevWriter(path, source.machine) as writer:
        writer.add_state(source.start)
        for chunk in source.events():
            writer.add_events(change(chunk))
        writer.set_losses(source.losses)
    return verify(path, [level]).levels[level]


def with_values(chunk: EventChunk, rows: np.ndarray, **columns: int) -> EventChunk:
    changed = {name: getattr(chunk, name).copy() for name in columns}
    for name, value in columns.items():
        changed[name][rows] = value
    return chunk._replace(**changed)


def first_of(chunk: EventChunk, kind: EventKind, *, op: int | None = None) -> np.ndarray:
    wanted = chunk.kind == kind
    if op is not None:
        wanted &= (chunk.b if kind == EventKind.GT_MIG else chunk.a & 255) == op
    return np.flatnonzero(wanted)[:1]


def test_every_step_of_kcompactd_and_of_direct_compaction_is_the_kernels() -> None:
    result = of_compaction(EXCERPT)
    assert result.mismatches == 0, result.first
    assert result.decisions > 1500
    assert len(result.kinds) == 13  # all but the two that a dump decides
    assert result.kinds[KINDS[D_RESULT]].decisions == 8  # two of kcompactd's, six direct ones that captured
    assert result.kinds[KINDS[D_LIST]].decisions > 100
    assert not result.causes


OF_COMPACTION = "list operation of compaction (gt_list)"


def test_the_free_lists_change_by_what_the_models_compaction_decided() -> None:
    """At the buddy level they are decisions, as many as at the compaction level, and no input is left of them."""
    levels = verify(EXCERPT, ["buddy", "compaction"]).levels
    buddy, compaction = levels["buddy"], levels["compaction"]
    assert buddy.mismatches == compaction.mismatches == 0, buddy.first
    assert buddy.kinds[OF_COMPACTION].decisions == compaction.kinds[KINDS[D_LIST]].decisions > 100
    assert not any("gt_cz" in name or "otherwise" in name for name in buddy.inputs)


def test_a_rotation_that_the_kernel_left_out_is_seen_in_the_free_lists(tmp_path: Path) -> None:
    def without(chunk: EventChunk) -> EventChunk:
        rotated = np.flatnonzero((chunk.kind == EventKind.GT_LIST) & (chunk.a == ListOp.ROTATE_FIRST))
        return chunk.take(np.arange(chunk.rows) != rotated[0])

    result = rewritten(tmp_path / "x.kev", without, "buddy")
    assert result.kinds[OF_COMPACTION].mismatches >= 1
    assert result.first is not None
    assert result.first.what.startswith(OF_COMPACTION)
    assert "now first of list" in result.first.model
    assert "now first of list" not in result.first.kernel


@pytest.mark.parametrize("faults", [True, False])
def test_from_boot_on_a_task_that_had_no_page_of_user_memory_captures_nothing(faults: bool) -> None:
    """It is taken for a kernel thread. The excerpt's tasks had theirs before it begins: so they are given one each, or none."""
    recording = Recording.open(EXCERPT)
    assert recording.start is not None
    level = BuddyLevel(Given.of(recording, recording.start))
    level.books.user[:] = 0
    number = 0
    for chunk in recording.events():
        if faults:
            level.books.user[np.unique(chunk.pid) % TASKS] = 1
        level.feed(wide(chunk.take(chunk.kind != EventKind.GT_DUMP)), number)
        number += chunk.rows
    result = level.finish()
    captured = result.kinds.get("page captured for a direct compactor")
    assert (captured is not None and captured.decisions > 0) == faults
    assert (result.mismatches == 0) == faults


def test_a_recording_without_compaction_says_so() -> None:
    result = of_compaction(DATA / "one-cpu.kev")
    assert result.decisions == 0
    assert "no gt_cz events" in result.not_exercised


@pytest.mark.parametrize(
    ("kind", "op", "columns", "decision"),
    [
        (EventKind.GT_CZ, 0, {"pfn": 0x400}, D_START),
        (EventKind.COMPACTION_DEFER_RESET, None, {"d": 3}, D_DEFERRAL),
    ],
)
def test_what_the_kernel_did_otherwise_is_a_wrong_decision(
    tmp_path: Path, kind: EventKind, op: int | None, columns: dict[str, int], decision: int
) -> None:
    result = rewritten(
        tmp_path / "x.kev", lambda chunk: with_values(chunk, first_of(chunk, kind, op=op), **columns)
    )
    assert result.first is not None
    assert result.first.what == KINDS[decision]
    assert result.kinds[KINDS[decision]].mismatches >= 1
    assert sum(result.causes.values()) == result.mismatches


def test_another_destination_is_one_wrong_decision_and_the_next_are_right_again(tmp_path: Path) -> None:
    """Two moves exchange their destinations: both are wrong, nothing after them is."""

    def exchanged(chunk: EventChunk) -> EventChunk:
        at = np.flatnonzero((chunk.kind == EventKind.GT_MIG) & (chunk.b == 1) & (chunk.order == 0))[:2]
        to = chunk.a.copy()
        to[at] = to[at[::-1]]
        return chunk._replace(a=to)

    result = rewritten(tmp_path / "x.kev", exchanged)
    assert result.mismatches == 2
    assert result.causes == {CAUSES[C_FOLLOWS]: 1, CAUSES[3]: 1}


def test_a_folio_that_the_kernel_passed_over_is_named(tmp_path: Path) -> None:
    """The kernel's first folio is left out: the model takes it, the rest of the batch is as it was."""

    left_out: list[int] = []

    def without(chunk: EventChunk) -> EventChunk:
        keep = np.ones(chunk.rows, np.bool_)
        at = first_of(chunk, EventKind.GT_MIG, op=0)
        left_out.extend(chunk.pfn[at].tolist())
        keep[at] = False
        return chunk.take(keep)

    result = rewritten(tmp_path / "x.kev", without)
    assert result.kinds[KINDS[D_FOLIO]].mismatches == 1
    assert CAUSES[0] in result.causes
    assert result.first is not None
    assert (result.first.model, result.first.kernel) == (f"pfn {left_out[0]:#x} order 0", "nothing")


def test_decisions_in_words() -> None:
    assert decision_words(D_FOLIO, 0x1234 << 4 | 3) == "pfn 0x1234 order 3"
    assert decision_words(D_RESULT, 8) == "success"
    assert decision_words(D_AFTER, 1) == "another scan of the block"
    assert decision_words(D_DEFERRAL, 4 << 12 | 2 << 6 | 10) == "considered 4, defer_shift 2, order_failed 10"
    assert decision_words(D_LIST, -1) == "nothing"
    deleted = ((0x20 * 8 + 2) * 16 + 3) * 8 + 1
    assert decision_words(D_LIST, deleted) == "pfn 0x20 deleted from list order 3 movable"
    assert decision_words(D_START, 0x1601) == "0x1601"


VISITOR = 4242
"""A task that does not compact."""

TAKEN = 0x34140
"""A chunk that kcompactd takes in the middle of a block, the first behind a point at which the zone's lock is dropped."""


def with_visits(chunk: EventChunk, taken: int, before: int) -> EventChunk:
    """The chunk, in which a visitor takes the chunk of row *taken* before row *before*, and frees it before row *taken*."""
    rows = np.arange(chunk.rows)
    visited = chunk.take(np.concatenate([rows[:before], [taken], rows[before:taken], [taken], rows[taken:]]))
    pid, a, ts = visited.pid.copy(), visited.a.copy(), visited.ts.copy()
    for row, op in ((before, ListOp.DELETE), (taken + 1, ListOp.ADD)):
        pid[row], a[row], ts[row] = VISITOR, op, ts[row + 1]
    return visited._replace(pid=pid, a=a, ts=ts)


@pytest.mark.parametrize("early", [EventKind.GT_LIST, EventKind.COMPACTION_FAST_ISOLATE_FREEPAGES])
def test_a_chunk_freed_in_the_middle_of_a_free_scan_is_found(tmp_path: Path, early: EventKind) -> None:
    """Another task takes the chunk before the block is scanned, or before the search, and frees it in the middle of the block."""

    def visited(chunk: EventChunk) -> EventChunk:
        over = np.flatnonzero(
            (chunk.kind == EventKind.COMPACTION_ISOLATE_FREEPAGES) & (chunk.pfn == TAKEN >> 9 << 9)
        )[0]
        own = (chunk.kind == EventKind.GT_LIST) & (chunk.pfn == TAKEN) & (chunk.a == ListOp.DELETE)
        taken = int(np.flatnonzero(own[:over])[-1])
        search = np.flatnonzero(chunk.kind[:taken] == EventKind.COMPACTION_FAST_ISOLATE_FREEPAGES)[-1]
        before = int(search) + (1 if early == EventKind.GT_LIST else -1)
        assert chunk.kind[before] == EventKind.GT_LIST
        return with_visits(chunk, taken, before)

    result = rewritten(tmp_path / "x.kev", visited)
    assert result.mismatches == 0, result.first
    assert result.inputs[INPUTS[N_RESUMED]] == 1


def fed_until(level: CompactionLevel, last: int) -> EventChunk:
    """Feed the excerpt's events up to *last*; the chunk of them all."""
    (chunk,) = Recording.open(EXCERPT).events()
    level.feed(wide(chunk.take(slice(0, last))), 0)
    return chunk


def test_a_block_is_not_marked_before_the_kernel_looks_into_it() -> None:
    """The fast search has found a block: another task that compacts now still finds it without its skip bit."""
    recording = Recording.open(EXCERPT)
    assert recording.start is not None
    (chunk,) = recording.events()
    rotated = np.flatnonzero((chunk.kind == EventKind.GT_LIST) & (chunk.a == ListOp.ROTATE_LAST))
    scanned = np.flatnonzero(chunk.kind == EventKind.COMPACTION_ISOLATE_MIGRATEPAGES)
    row = int(rotated[0])
    after = int(scanned[scanned > row][0])
    block = 2 * (int(chunk.pfn[after]) >> 9)
    marked = []
    for last in (row + 1, after + 1):
        level = CompactionLevel(Given.of(recording, recording.start))
        fed_until(level, last)
        marked.append(bool(level.state.block[block] & k.PB_COMPACT_SKIP))
    assert marked == [False, True]


def test_a_block_that_kcompactd_looks_into_has_been_cleared_in_the_middle_of_its_run() -> None:
    """kswapd clears skip bits; kcompactd begins before it has come anywhere, and isolates folios of a block that had one."""
    recording = Recording.open(EXCERPT)
    assert recording.start is not None
    (chunk,) = recording.events()
    level = CompactionLevel(Given.of(recording, recording.start))
    zone, row = level.state.view.zone[0], int(first_of(chunk, EventKind.GT_CZ, op=0)[0])
    zone.compact_blockskip_flush = 1
    zone.compact_cached_migrate_pfn[0] = zone.compact_cached_migrate_pfn[1] = chunk.c[row] & 0xFFFFFFFF
    zone.compact_cached_free_pfn = chunk.d[row] & 0xFFFFFFFF
    taking = (chunk.kind == EventKind.COMPACTION_ISOLATE_MIGRATEPAGES) & (chunk.c > 0)
    last = int(np.flatnonzero(taking)[0])
    level.state.block[2 * (int(chunk.pfn[last]) >> 9)] |= k.PB_COMPACT_SKIP
    early = chunk.take(np.arange(last + 1))
    assert early.kind[1] == EventKind.COMPACTION_KCOMPACTD_WAKE
    kind, a = early.kind.copy(), early.a.copy()
    kind[0], a[0] = EventKind.VMSCAN_BALANCE_PGDAT_END, 0
    level.feed(wide(early._replace(kind=kind, a=a)), 0)
    books = level.books
    assert books.inputs[N_FLUSHES_CUT] == 1
    assert books.inputs[N_REACHED] == 1
    assert books.tally[2 * D_STOP] == 11
    assert books.tally[2 * D_STOP + 1] == 0


@pytest.mark.parametrize("busy", [False, True])
def test_a_folio_that_its_owner_had_unmapped_is_an_input(tmp_path: Path, busy: bool) -> None:
    """The kernel passes one over, which a task frees later; not if that task did something else in between."""

    def let_go(chunk: EventChunk) -> EventChunk:
        left = int(first_of(chunk, EventKind.GT_MIG, op=0)[0])
        scanned = np.flatnonzero(chunk.kind == EventKind.COMPACTION_ISOLATE_MIGRATEPAGES)
        over = int(scanned[scanned > left][0]) + 1
        free = int(np.flatnonzero((chunk.kind == EventKind.MM_PAGE_FREE) & (chunk.order == 0))[0])
        other = int(np.flatnonzero(chunk.kind == EventKind.MM_LRU_INSERTION)[0])
        added = [other, free] if busy else [free]
        rows = np.arange(chunk.rows)
        changed = chunk.take(np.concatenate([rows[:left], rows[left + 1 : over], added, rows[over:]]))
        pid, pfn, ts = changed.pid.copy(), changed.pfn.copy(), changed.ts.copy()
        last = over - 1 + len(added)
        pid[over - 1 : last], ts[over - 1 : last] = VISITOR, ts[last]
        pfn[last - 1] = chunk.pfn[left]
        return changed._replace(pid=pid, pfn=pfn, ts=ts)

    result = rewritten(tmp_path / "x.kev", let_go)
    assert result.kinds[KINDS[D_FOLIO]].mismatches == (1 if busy else 0)
    assert result.inputs.get(INPUTS[N_UNMAPPED], 0) == (0 if busy else 1)
    assert result.causes.get(CAUSES[0], 0) == (1 if busy else 0)
