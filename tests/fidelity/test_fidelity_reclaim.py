# SPDX-License-Identifier: GPL-2.0-or-later
"""The reclaim level on an excerpt of a recorded kernel under pressure: each decision, and the lists that it follows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from demand_tools import Event, chunk_of

from kevacuate import verify
from kevacuate.errors import KevacuateError
from kevacuate.fidelity.event_rows import wide
from kevacuate.fidelity.level import Given
from kevacuate.fidelity.reclaim.books import D_DUMP, INPUTS, KINDS, N_BACK, Facts
from kevacuate.fidelity.reclaim.level import ReclaimLevel, recorded_lists
from kevacuate.fidelity.verify import bounds_of, segments
from kevacuate.kernel.hooks import FolioFlag, LruOp, RecWhat
from kevacuate.mm import constants as k
from kevacuate.recording import EventChunk, Recording
from kevacuate.recording.schema import EventKind as K

DATA = Path(__file__).parent.parent / "data"
EXCERPT = DATA / "reclaim-1cpu"
"""Linux 7.2.13 with the patch, one CPU, 1 GiB, pressure: from the dump `thp` on, as huge pages are asked for."""


@pytest.fixture(scope="module")
def given() -> Given:
    recording = Recording.open(EXCERPT)
    assert recording.start is not None
    return Given.of(recording, recording.start)


def rows(given: Given) -> Iterator[EventChunk]:
    for piece, _ in segments(given):
        if piece.rows:
            yield wide(piece)


class FollowedLists:
    """The LRU lists by a few lines of Python that know nothing of the model; a list's head is its last element."""

    def __init__(self, given: Given) -> None:
        start = recorded_lists(given)[given.start.tag]
        self.lists: list[dict[int, None]] = [{}, {}, {}, {}]
        for lru, pfn in zip(start.lru[::-1].tolist(), start.pfn[::-1].tolist(), strict=True):
            self.lists[lru][pfn] = None
        self.kept: list[tuple[int, int]] = []

    def take(self, pfn: int) -> None:
        for entries in self.lists:
            entries.pop(pfn, None)

    def put(self, pfn: int, lru: int) -> None:
        self.take(pfn)
        if lru < 4:
            self.lists[lru][pfn] = None

    def feed(self, chunk: EventChunk) -> None:
        columns = (chunk.kind, chunk.pfn, chunk.order, chunk.a, chunk.b)
        for kind, pfn, order, a, b in zip(*(column.tolist() for column in columns), strict=True):
            if kind == K.MM_LRU_INSERTION:
                self.put(pfn, a)
            elif kind == K.MM_LRU_ACTIVATE:
                self.put(pfn, 3 if pfn in self.lists[2] or pfn in self.lists[3] else 1)
            elif kind == K.MM_PAGE_FREE:
                for page in range(pfn, pfn + (1 << order)):
                    self.take(page)
            elif kind == K.GT_MIG and b == 0:
                self.take(pfn)
            elif kind == K.GT_REC:
                self.take(pfn)
                if b != RecWhat.RECLAIMED:
                    self.kept.append((pfn, 3))
            elif kind == K.GT_LRU:
                assert b <= LruOp.KEPT_ACTIVE, "the excerpt has no other moves"
                self.take(pfn)
                self.kept.append((pfn, 2 if b == LruOp.DEACTIVATED else 3))
            elif kind in (K.VMSCAN_LRU_SHRINK_INACTIVE, K.VMSCAN_LRU_SHRINK_ACTIVE):
                for kept, lru in self.kept:
                    self.put(kept, lru)
                self.kept = []


def test_every_decision_of_the_excerpt_is_the_kernels() -> None:
    result = verify(EXCERPT, "reclaim").levels["reclaim"]
    assert result.first is None
    assert result.mismatches == 0
    made = {name: tally.decisions for name, tally in result.kinds.items()}
    assert made["a run's order and highest zone index (mm_vmscan_kswapd_wake)"] == 17
    assert made["the next batch: which list and how many pages (mm_vmscan_lru_isolate)"] == 77
    assert made["which folio, in order (gt_rec, gt_lru)"] == 327
    assert made["what becomes of a folio (gt_rec)"] == 327
    assert any("wakes and stops of kswapd: 141 of 141" in note for note in result.notes)


def test_a_kernel_with_the_multi_gen_lru_is_not_followed(
    given: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ReclaimLevel.missing(given) == ""
    monkeypatch.setitem(given.recording.machine.extra, "settings", {"lru_gen": 7})
    assert "without the multi-gen LRU" in ReclaimLevel.missing(given)
    monkeypatch.setitem(given.recording.machine.extra, "settings", {"lru_gen": 6})
    assert ReclaimLevel.missing(given) == ""


def test_the_lists_are_those_that_the_events_alone_give(given: Given) -> None:
    level, plain = ReclaimLevel(given), FollowedLists(given)
    for chunk in rows(given):
        level.feed(chunk, 0)
        plain.feed(chunk)
    ours = level.lists()
    for lru, entries in enumerate(plain.lists):
        assert ours.pfn[ours.lru == lru].tolist() == list(entries)[::-1], lru
    assert sum(map(len, plain.lists)) > 1000


def test_the_counts_of_the_lists_are_their_pages(given: Given) -> None:
    level = ReclaimLevel(given)
    for chunk in rows(given):
        level.feed(chunk, 0)
    ours = level.lists()
    node = level.state.view.node[0]
    for lru in range(k.LRU_LISTS):
        pages = int((1 << ours.order[ours.lru == lru]).sum())
        assert sum(node.nr_lru[index * k.NR_LRU_LISTS + lru] for index in range(4)) == pages


@pytest.mark.parametrize("resync", [False, True])
def test_lists_are_compared_at_a_dump_and_taken_over_if_wanted(given: Given, resync: bool) -> None:
    level = ReclaimLevel(given._replace(resync=resync))
    level.at_state(given.start)
    assert level.finish().dumps == {given.start.tag: True}
    for chunk in rows(given):
        level.feed(chunk, 0)
    level.at_state(given.start)
    result, kernel = level.finish(), recorded_lists(given)[given.start.tag]
    assert result.dumps == {given.start.tag: False}
    assert result.resyncs == resync
    assert result.kinds[KINDS[D_DUMP]].mismatches > 0
    ours = level.lists()
    assert (ours.pfn.tolist() == kernel.pfn.tolist()) is resync


def test_a_wake_up_that_the_kernel_did_not_make_is_a_mismatch(given: Given) -> None:
    level = ReclaimLevel(given)
    for chunk in rows(given):
        level.feed(chunk.take(np.flatnonzero(chunk.kind != K.VMSCAN_WAKEUP_KSWAPD)), 0)
    result = level.finish()
    wrong = {name for name, tally in result.kinds.items() if tally.mismatches}
    assert KINDS[0] in wrong
    assert result.first is not None
    assert (result.first.model, result.first.kernel) == ("kswapd is woken", "kswapd is not woken")


@pytest.mark.parametrize("place", [0, -1])
def test_a_folio_that_leaves_its_list_unseen_is_noticed_once(given: Given, place: int) -> None:
    level = ReclaimLevel(given)
    pieces = list(rows(given))
    chunk = next(chunk for chunk in pieces if (chunk.kind == K.GT_REC).sum() > 40)
    folios = np.flatnonzero(chunk.kind == K.GT_REC)
    ends = folios[np.flatnonzero(np.diff(folios) > 1)]
    begins = folios[np.flatnonzero(np.diff(folios) > 1) + 1]
    victim = int(chunk.pfn[begins[np.flatnonzero(np.diff(begins) > 200)[0]] if place == 0 else ends[2]])
    for chunk in pieces:
        shown = (chunk.kind == K.GT_REC) & (chunk.pfn == victim)
        level.feed(chunk.take(np.flatnonzero(~shown)), 0)
    result = level.finish()
    assert result.kinds[KINDS[9]].mismatches == 1
    assert Facts(level._books.facts).first_model == victim


@pytest.mark.parametrize("rotated", [True, False])
def test_a_batch_is_back_on_its_list_once_a_folio_of_it_is_rotated(given: Given, rotated: bool) -> None:
    """Its task was preempted behind move_folios_to_lru, and the writeback of a folio that it had activated then ended."""
    level = ReclaimLevel(given)
    chunk = next(chunk for chunk in rows(given) if (chunk.kind == K.GT_REC).sum() > 40)
    end = int(np.flatnonzero(chunk.kind == K.VMSCAN_LRU_SHRINK_INACTIVE)[0])
    last = int(np.flatnonzero(chunk.kind[:end] == K.GT_REC)[-1])
    what, flags, pfn = chunk.b.copy(), chunk.a.copy(), int(chunk.pfn[last])
    what[last], flags[last] = RecWhat.DIRTY, FolioFlag.FILE | FolioFlag.DIRTY
    chunk = chunk._replace(a=flags, b=what)
    level.feed(chunk.take(slice(0, last + 1)), 0)
    if rotated:
        row = chunk.take(slice(last, last + 1))
        writeback = [np.array([value], np.int64) for value in (K.GT_LRU, 38, FolioFlag.FILE, LruOp.ROTATED)]
        level.feed(
            row._replace(kind=writeback[0], pid=writeback[1], a=writeback[2], b=writeback[3]), last + 1
        )
    level.feed(chunk.take(slice(end, end + 1)), last + 2)
    lists = level.lists()
    held = lists.pfn[lists.lru == (2 if rotated else 3)]
    assert held[-1 if rotated else 0] == pfn
    assert level.finish().inputs.get(INPUTS[N_BACK], 0) == rotated


def test_recordings_without_the_second_set_of_hooks_are_not_exercised() -> None:
    result = verify(DATA / "one-cpu.kev", "reclaim").levels["reclaim"]
    assert result.decisions == 0
    assert "second set of recording hooks" in result.not_exercised


@pytest.mark.parametrize(
    ("kind", "column", "value"),
    [
        (K.GT_REC, "pfn", 1 << 20),
        (K.GT_REC, "order", 11),
        (K.GT_LRU, "pfn", -1),
        (K.MM_LRU_INSERTION, "a", 5),
        (K.VMSCAN_LRU_ISOLATE, "mt", 4),
        (K.VMSCAN_KSWAPD_WAKE, "b", 9),
        (K.GT_SLOW, "order", -3),
    ],
)
def test_an_event_that_the_machine_cannot_have_is_refused(
    given: Given, kind: K, column: str, value: int
) -> None:
    chunk = wide(chunk_of([Event(kind, 0, 0)]))
    getattr(chunk, column)[:] = value
    with pytest.raises(KevacuateError, match=f"{kind.name.lower()}"):
        bounds_of(given).refuse_impossible(chunk, 0)
