# SPDX-License-Identifier: GPL-2.0-or-later
"""Recordings without list operations: the buddy and the compaction level as one model.

The excerpt of a kernel under pressure has them, so its truth is known. Without them, and then without the second set of hooks
too, the model has to make them itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kevacuate import Recording, verify
from kevacuate.fidelity.buddy import books as of_buddy
from kevacuate.fidelity.compaction import books as of_compaction
from kevacuate.measure.fidelity import LevelResult
from kevacuate.recording import EventChunk, EventKind, KevWriter

DATA = Path(__file__).parent.parent / "data"
EXCERPT = DATA / "compaction.kev"
TRUTH = os.environ.get("KEVACUATE_GROUND_TRUTH", "")
SECOND_SET = (EventKind.GT_CZ, EventKind.GT_MIG, EventKind.GT_CAPT, EventKind.GT_SLOW)
TAKEN_OVER = of_buddy.INPUTS[of_buddy.N_TAKEN_OVER]


def levels_without(
    path: Path,
    kinds: tuple[EventKind, ...] = (),
    change: Callable[[EventChunk], EventChunk] = lambda chunk: chunk,
) -> tuple[LevelResult, LevelResult]:
    """The buddy and the compaction level of the excerpt without its list operations, and without *kinds*."""
    source = Recording.open(EXCERPT)
    assert source.start is not None
    with KevWriter(path, source.machine) as writer:
        writer.add_state(source.start)
        for chunk in source.events():
            writer.add_events(change(chunk.take(~np.isin(chunk.kind, [EventKind.GT_LIST, *kinds]))))
        writer.set_losses(source.losses)
    levels = verify(path, ["buddy", "compaction"]).levels
    return levels["buddy"], levels["compaction"]


def test_without_list_operations_every_page_and_every_step_of_compaction_is_the_kernels(
    tmp_path: Path,
) -> None:
    buddy, compaction = levels_without(tmp_path / "x.kev")
    assert buddy.mismatches == 0, buddy.first
    assert compaction.mismatches == 0, compaction.first
    assert of_compaction.KINDS[of_compaction.D_LIST] not in compaction.kinds
    assert compaction.kinds[of_compaction.KINDS[of_compaction.D_SCAN]].decisions >= 4
    assert compaction.kinds[of_compaction.KINDS[of_compaction.D_TARGET]].decisions > 500
    assert TAKEN_OVER not in buddy.inputs


def test_the_compaction_level_by_itself_is_the_same_as_beside_the_buddy_level(tmp_path: Path) -> None:
    _, beside = levels_without(tmp_path / "x.kev")
    alone = verify(tmp_path / "x.kev", ["compaction"]).levels["compaction"]
    assert alone.kinds == beside.kinds
    assert alone.inputs == beside.inputs


def test_with_stock_events_alone_nearly_every_page_is_the_kernels(tmp_path: Path) -> None:
    buddy, compaction = levels_without(tmp_path / "x.kev", SECOND_SET)
    assert buddy.exactness is not None
    assert buddy.exactness > 0.99
    scans = compaction.kinds[of_compaction.KINDS[of_compaction.D_TAKEN]]
    assert scans.decisions >= 4
    assert of_compaction.KINDS[of_compaction.D_TARGET] not in compaction.kinds


def test_another_number_of_pages_of_one_scan_is_one_wrong_decision(tmp_path: Path) -> None:
    """The decision is not read from the event that checks it; what follows goes by the event's range, which is as it was."""

    def one_more(chunk: EventChunk) -> EventChunk:
        taken = chunk.c.copy()
        taken[np.flatnonzero(chunk.kind == EventKind.COMPACTION_ISOLATE_FREEPAGES)[:1]] += 1
        return chunk._replace(c=taken)

    buddy, compaction = levels_without(tmp_path / "x.kev", change=one_more)
    assert compaction.mismatches == 1
    assert compaction.kinds[of_compaction.KINDS[of_compaction.D_TAKEN]].mismatches == 1
    assert buddy.mismatches == 0


def test_a_scan_that_the_kernel_left_out_is_wrong_at_both_levels(tmp_path: Path) -> None:
    def without(chunk: EventChunk) -> EventChunk:
        scans = np.flatnonzero((chunk.kind == EventKind.COMPACTION_ISOLATE_FREEPAGES) & (chunk.c > 16))
        return chunk.take(~np.isin(np.arange(chunk.rows), scans[:1]))

    _, compaction = levels_without(tmp_path / "x.kev", change=without)
    assert compaction.kinds[of_compaction.KINDS[of_compaction.D_TARGET]].mismatches > 0


def test_a_page_that_the_kernel_took_in_another_place_costs_one_decision_and_is_taken_over(
    tmp_path: Path,
) -> None:
    """Two pages of a refill change places: the lists do not fall out of step with the kernel's."""

    def swapped(chunk: EventChunk) -> EventChunk:
        taken = np.flatnonzero((chunk.kind == EventKind.MM_PAGE_ALLOC_ZONE_LOCKED) & (chunk.order == 0))
        pair = taken[:-1][(np.diff(taken) == 1)][10]
        pfn = chunk.pfn.copy()
        pfn[[pair, pair + 1]] = pfn[[pair + 1, pair]]
        return chunk._replace(pfn=pfn)

    buddy, _ = levels_without(tmp_path / "x.kev", change=swapped)
    assert 1 <= buddy.mismatches <= 2
    assert buddy.inputs[TAKEN_OVER] == buddy.mismatches


@pytest.mark.skipif(not TRUTH, reason="KEVACUATE_GROUND_TRUTH does not name the recordings")
@pytest.mark.parametrize(
    ("name", "buddy", "compaction"),
    [
        ("stocknuma-churn-2n1g-smp2-s1", 0.9999, 0.994),
        ("stock-churn-1g-smp2", 0.9999, 0.95),
        ("stock-churn-4g-smp2", 0.9998, 0.80),
        ("patched-churn-1g-smp2", 0.985, 0.97),
    ],
)
def test_on_two_cpus_nearly_every_page_after_the_first_compaction_is_the_kernels(
    name: str, buddy: float, compaction: float
) -> None:
    levels = verify(Path(TRUTH) / name, ["buddy", "compaction"]).levels
    for level, least in ((levels["buddy"], buddy), (levels["compaction"], compaction)):
        assert level.exactness is not None
        assert level.exactness > least
        assert sum(level.causes.values()) == level.mismatches
    assert levels["buddy"].until_compaction is not None
    assert levels["buddy"].until_compaction.mismatches == 0
