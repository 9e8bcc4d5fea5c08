# SPDX-License-Identifier: GPL-2.0-or-later
"""A replay that notes what becomes of pages is the same replay, and its notes account for every page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from synthetic import BLOCK, FIRST, reclaiming, write_reclaiming

from kevacuate.demand.build import build_demand
from kevacuate.errors import KevacuateError
from kevacuate.mm import constants as k
from kevacuate.policy import parse_policy
from kevacuate.recording import Recording
from kevacuate.runs.noting import (
    NOTE_ALLOC,
    NOTE_DROPPED,
    NOTE_FREE,
    NOTE_MOVED_IN,
    NOTE_MOVED_OUT,
    NOTE_START,
    NotingReplay,
)
from kevacuate.runs.options import ReplayOptions
from kevacuate.runs.replay import replay

SAMPLES = 20


def noting(path: Path, first: int, last: int, policy: str = "evacuate") -> NotingReplay:
    recording = Recording.open(path)
    options = ReplayOptions(samples=SAMPLES, chunk_rows=5_000)
    one = NotingReplay(recording, build_demand(recording), parse_policy(policy), options)
    one.watch(first, last)
    return one


@pytest.fixture(scope="module")
def evacuated(synthetic_kev: Path) -> tuple[NotingReplay, dict[str, object]]:
    """A replay that noted the block which its evacuations emptied most."""
    probe = noting(synthetic_kev, FIRST, FIRST + BLOCK)
    probe.run()
    log = np.concatenate(probe.log)
    done = log[log[:, 1] == k.L_EVAC_FINISHED]
    start = int(done[np.argmax(done[:, 5] + done[:, 6])][3])
    one = noting(synthetic_kev, start, start + BLOCK)
    run = one.run()
    return one, {"metrics": run.metrics, "series": run.series, "digest": run.provenance["final_state_digest"]}


def test_noting_changes_nothing(
    synthetic_kev: Path, evacuated: tuple[NotingReplay, dict[str, object]]
) -> None:
    plain = replay(Recording.open(synthetic_kev), "evacuate", options=ReplayOptions(samples=SAMPLES))
    _, noted = evacuated
    assert noted["digest"] == plain.provenance["final_state_digest"]
    assert noted["metrics"] == plain.metrics
    assert noted["series"] == plain.series


def test_noting_changes_nothing_where_kswapd_has_the_tasks_cpu() -> None:
    source = Recording.shipped()
    options = ReplayOptions(samples=SAMPLES)
    one = NotingReplay(source, build_demand(source), parse_policy("evacuate,skip-hint=ignore"), options)
    assert one.state.view.cfg.kswapd_slice_ns > 0
    one.watch(0, 512)
    noted = one.run()
    plain = replay(source, "evacuate,skip-hint=ignore", options=options)
    assert noted.provenance["final_state_digest"] == plain.provenance["final_state_digest"]
    assert noted.metrics == plain.metrics


def test_the_notes_account_for_every_page(evacuated: tuple[NotingReplay, dict[str, object]]) -> None:
    account(evacuated[0])


@pytest.mark.parametrize("block", range(5))
def test_the_notes_of_a_closed_loop_account_for_every_page(tmp_path: Path, block: int) -> None:
    """Requests that reclaim and compact themselves, reads of what was kept, folios halved: nothing is lost, nothing doubled."""
    source = write_reclaiming(tmp_path / "made.kev", reclaiming(20_000, 4_000))
    options = ReplayOptions(samples=SAMPLES, loop="closed")
    one = NotingReplay(source, build_demand(source), parse_policy("evacuate"), options)
    first = FIRST + BLOCK * (1 + 3 * block)
    one.watch(first, first + BLOCK)
    noted = one.run()
    plain = replay(source, "evacuate", options=options)
    assert noted.provenance["final_state_digest"] == plain.provenance["final_state_digest"]
    assert noted.metrics == plain.metrics
    assert (
        min(plain.metrics[n] for n in ("pages_kept_read_again", "pages_kept_truncated", "refault_pages"))
        > 100
    )
    account(one)


def account(one: NotingReplay) -> None:
    """Every page of the range is taken before it is let go, and once; what is left is what the last sample shows."""
    records = one.records()
    assert one.lost_log == 0
    notes = records[records[:, 1] >= NOTE_ALLOC]
    first, last = (int(x) for x in one._notes.fixed[2:])
    sign = {
        NOTE_START: 1,
        NOTE_ALLOC: 1,
        NOTE_MOVED_IN: 1,
        NOTE_FREE: -1,
        NOTE_MOVED_OUT: -1,
        NOTE_DROPPED: -1,
    }
    used = np.zeros(last - first, int)
    for t, kind, _, pfn, order, *_ in notes.tolist():
        low, high = max(pfn, first) - first, min(pfn + (1 << order), last) - first
        used[low:high] += sign[kind]
        assert set(np.unique(used)) <= {0, 1}, f"page {pfn:#x} is taken or freed twice at {t}"
    _, _, _, _, movable, unmovable, _ = one.contents[-1]
    assert used.sum() == movable + unmovable


def test_evacuation_is_noted_page_by_page(evacuated: tuple[NotingReplay, dict[str, object]]) -> None:
    one, _ = evacuated
    records = one.records()
    log = records[records[:, 3] == int(one._notes.fixed[2])]
    done = log[log[:, 1] == k.L_EVAC_FINISHED]
    pages = {
        kind: int((1 << records[records[:, 1] == kind][:, 4]).sum())
        for kind in (NOTE_DROPPED, NOTE_MOVED_OUT)
    }
    assert pages[NOTE_DROPPED] == done[:, 5].sum()
    assert pages[NOTE_MOVED_OUT] == done[:, 6].sum() > 0
    moved = records[records[:, 1] == NOTE_MOVED_OUT]
    assert (moved[:, 5] != moved[:, 3]).all()


def test_a_sample_holds_the_contents_of_the_block(evacuated: tuple[NotingReplay, dict[str, object]]) -> None:
    one, _ = evacuated
    assert len(one.contents) >= SAMPLES
    assert all(sum(row[2:]) == BLOCK for row in one.contents)


def test_a_page_that_the_machine_does_not_have(synthetic_kev: Path) -> None:
    with pytest.raises(KevacuateError, match="no page at pfn"):
        noting(synthetic_kev, 1 << 30, (1 << 30) + 1)
