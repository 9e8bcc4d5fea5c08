# SPDX-License-Identifier: GPL-2.0-or-later
"""What blocks hold by two reads: a page that is in use in the first can move if it can in the second."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import synthetic

from kevacuate.demand.build import build_demand
from kevacuate.fidelity.verdict import replays as replaying
from kevacuate.fidelity.verdict.two_reads import FLAGS_NS, Read, held_by_two_reads, read_pages
from kevacuate.measure import moment
from kevacuate.measure import pages as kinds
from kevacuate.measure.blocks import block_counts
from kevacuate.measure.pages import page_classes
from kevacuate.mm import constants as k
from kevacuate.policy import parse_policy
from kevacuate.recording import EventKind, Recording
from kevacuate.runs.options import ReplayOptions
from kevacuate.runs.replay import Replay

M, U, F, C, R = kinds.MOVABLE, kinds.UNMOVABLE, kinds.FREE, kinds.PCP, kinds.RESERVED
NAMES = ("mixed", "polluted", "blocks_with_unmovable")


def read(*blocks: tuple[int, tuple[int, ...]]) -> Read:
    """Blocks of four pages: migratetype, and the classes of the pages."""
    return Read(
        np.array([p for _, pages in blocks for p in pages], np.uint8),
        np.array([mt for mt, _ in blocks], np.int8),
    )


def held(dump: Read, flags: Read) -> tuple[float, ...]:
    found = held_by_two_reads(dump, flags, 2)
    return tuple(found[name] for name in NAMES)


def test_two_reads_of_the_same_are_one() -> None:
    same = read(
        (1, (M, M, U, F)), (1, (M, M, M, M)), (0, (U, U, F, F)), (-1, (R, R, R, R)), (1, (U, F, F, F))
    )
    assert held(same, same) == (1, 2, 3)


def test_what_is_reclaimed_between_them_counts_as_a_page_that_cannot_move() -> None:
    dump = read((1, (M, M, M, M)), (1, (M, M, M, M)), (1, (M, F, F, F)))
    assert held(dump, dump) == (0, 0, 0)
    assert held(dump, read((1, (M, F, M, M)), (1, (M, C, M, M)), (1, (F, F, F, F)))) == (2, 3, 3)


def test_what_is_free_in_the_first_is_free_whatever_comes() -> None:
    dump = read((1, (F, C, R, M)))
    assert held(dump, read((1, (U, U, U, M)))) == (0, 0, 0)


def test_free_pages_are_those_of_the_second_read() -> None:
    dump, flags = read((1, (F, M, M, M))), read((1, (C, F, F, M)))
    assert held_by_two_reads(dump, flags, 2)["free_pages"] == 2


def test_what_could_not_move_and_is_a_folio_by_then_can() -> None:
    assert held(read((1, (U, M, M, M))), read((1, (M, M, M, M)))) == (0, 0, 0)


def test_a_read_of_a_replay_has_the_classes_of_its_metrics(tmp_path: Path) -> None:
    recording = Recording.open(synthetic.write_recording(tmp_path / "made.kev", synthetic.fragmenting()))
    run = Replay(recording, build_demand(recording), parse_policy("mainline"), ReplayOptions())
    run.run()
    found, (counts, _) = read_pages(run.state), block_counts(run.state)
    order = run.state.view.cfg.pageblock_order
    assert held_by_two_reads(found, found, order)["free_pages"] == moment(run.state)["free_pages"]
    pages = kinds.count_classes(found.classes, run.state.view.cfg.pageblock_order)[found.mt >= 0]
    assert (pages[:, : counts.pages.shape[1]] == counts.pages).all()
    assert (found.mt[found.mt >= 0] == counts.mt).all()
    kept = found.mt[found.mt >= 0] == k.MIGRATE_MOVABLE
    assert held_by_two_reads(found, found, run.state.view.cfg.pageblock_order)["polluted"] == float(
        np.count_nonzero(kept & (pages[:, U] > 0))
    )


def test_the_second_read_comes_later_and_changes_what_blocks_hold_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = Recording.open(synthetic.write_recording(tmp_path / "made.kev", synthetic.fragmenting()))
    demand = build_demand(recording)
    last = demand.span[0]
    moments = [("peak", last // 2), ("end", last)]
    values = []
    for later in (0, 1, last // 4):
        monkeypatch.setattr(replaying, "FLAGS_NS", later)
        run = replaying.OneReplay(recording, demand, "mainline", ReplayOptions())
        run.run(moments, lambda _: None)
        values.append(run.values)
    changed = {name for name in values[0] if values[0][name] != values[2][name]}
    assert "peak_polluted" in changed
    assert changed <= {f"{label}_{name}" for label, _ in moments for name in (*NAMES, "free_pages")}
    assert FLAGS_NS == 60_000_000


LAB = Path(os.environ.get("KEVACUATE_GROUND_TRUTH", "")) / "patched-pressure-1g-smp1-s1"


@pytest.mark.skipif(not (LAB / "trace").is_dir(), reason="needs KEVACUATE_GROUND_TRUTH")
def test_a_recorded_dump_shows_what_its_page_flags_miss() -> None:
    """Folios that its own LRU lists hold (gt_dump 7) count as pages that cannot move, as they were reclaimed before the flags."""
    recording = Recording.open(LAB)
    peak = next(state for state in recording.states if state.label == "peak")
    classes = page_classes(peak, recording.machine.hugepage_order)
    missed = 0
    for chunk in recording.events(kinds=[EventKind.GT_DUMP]):
        folios = chunk.take((chunk.a == 7) & (abs(chunk.ts - peak.ts) < 400_000_000))
        for pfn, order in zip(folios.d.tolist(), (folios.c & 255).tolist(), strict=True):
            missed += int((classes[pfn : pfn + (1 << order)] == U).sum())
    assert missed > 50
