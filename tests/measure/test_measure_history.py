# SPDX-License-Identifier: GPL-2.0-or-later
"""The history of pageblocks, read from the model's log, against the model's own counters."""

from pathlib import Path

import numpy as np
import pytest

from kevacuate.demand.build import build_demand
from kevacuate.kernel.extfrag import CLAIM, CLAIM_BLOCK, KIND_NAMES, STEAL
from kevacuate.measure.history import KIND, History
from kevacuate.mm import constants as k
from kevacuate.policy import parse_policy
from kevacuate.recording import Recording
from kevacuate.runs.options import ReplayOptions
from kevacuate.runs.replay import Replay

ORDER = 9


@pytest.fixture(scope="module", params=["evacuate", "evacuate,skip-hint=ignore", "evacuate,pool=0"])
def told(request: pytest.FixtureRequest, synthetic_kev: Path):
    recording = Recording.open(synthetic_kev)
    replay = Replay(recording, build_demand(recording), parse_policy(request.param), ReplayOptions())
    replay.keep_log = True
    run = replay.run()
    assert replay.lost_log == 0
    return History.of_log(replay.log, ORDER), run.metrics


def test_flows_are_the_counted_extfrag_events(told) -> None:
    history, metrics = told
    counted = {
        (e["kind"], e["for"], e["from"], e["order_taken"]): e["events"] for e in metrics["extfrag_events"]
    }
    found: dict[tuple[str, str, str, int], int] = {}
    for flow in history.flows():
        names = k.MIGRATE_NAMES[flow.wanted], k.MIGRATE_NAMES[flow.source]
        key = (KIND_NAMES[flow.kind], *names, flow.order_taken)
        found[key] = found.get(key, 0) + 1
        assert flow.block == flow.pfn >> ORDER
        assert flow.order_asked <= flow.order_taken
    assert found == counted
    assert {kind for kind, *_ in found} == set(KIND_NAMES)


def test_evacuations_are_the_counted_ones(told) -> None:
    history, metrics = told
    all_of = history.evacuations()
    queued = [e for e in all_of if e.item >= 0]
    assert len(queued) == metrics["evacuations_queued"]
    assert len(all_of) > 3
    assert len(all_of) - len(queued) == metrics["evacuations_dropped"]
    finished = [e for e in queued if e.why is not None]
    assert len(finished) == metrics["evacuations_finished"]
    for name in ("isolated", "dropped", "migrated", "failed"):
        assert sum(getattr(e, name) for e in finished) == metrics[f"pages_{name}"]
    ended = dict.fromkeys(k.WHY_NAMES, 0)
    for e in finished:
        ended[e.result] += 1
        assert e.started is not None
        assert e.ended is not None
        assert e.queued <= e.started <= e.ended
        assert sum(b.isolated for b in e.batches) == e.isolated
        assert sum(max(b.dropped, 0) for b in e.batches) == e.dropped
        assert sum(max(b.migrated, 0) for b in e.batches) == e.migrated
    assert ended == metrics["evacuations_ended"]
    assert sum(e.skip_bit for e in finished) == metrics["evacuations_started_with_skip_bit"]


def test_attempts_that_were_refused_are_kept(told) -> None:
    history, metrics = told
    attempts = list(history.claim_attempts())
    assert sum(not a.claimed for a in attempts) == metrics["claims_refused"] > 0
    claims = sum(f.kind == CLAIM for f in history.flows())
    assert sum(a.claimed for a in attempts) == claims
    assert all(a.free + a.movable <= 1 << ORDER for a in attempts)


def test_a_blocks_history_is_its_part_of_the_whole(told) -> None:
    history, _ = told
    parts = [history.of_block(int(block)) for block in history.blocks]
    assert sum(len(part) for part in parts) == len(history) - len(history.of_kind(k.L_IRQ_WORK))
    for block, part in zip(history.blocks, parts, strict=True):
        records = history.story_records(int(block))
        handed = records[records[:, 1] == k.L_IRQ_WORK]
        assert np.array_equal(records[records[:, 1] != k.L_IRQ_WORK], part.records)
        queued = part.of_kind(k.L_EVAC_QUEUED)[:, 0]
        assert (len(handed) > 0) == (len(queued) > 0)
        works = history.of_kind(k.L_IRQ_WORK)
        assert {int(works[works[:, 0] >= t][0, 0]) for t in queued} == set(handed[:, 0].tolist())
    for block, part in zip(history.blocks, parts, strict=True):
        assert set(part.block_of.tolist()) == {int(block)}
        assert np.all(np.diff(part.records[:, 0]) >= 0)
    together = sorted((e.queued, e.block) for part in parts for e in part.evacuations())
    assert together == sorted((e.queued, e.block) for e in history.evacuations())
    assert len(history.of_block(1 << 40)) == 0


def test_a_log_cut_in_the_middle_is_read_as_far_as_it_goes(told) -> None:
    history, _ = told
    started = np.flatnonzero(history.records[:, KIND] == k.L_EVAC_STARTED)
    if not started.size:
        assert all(e.result.startswith("dropped") for e in history.evacuations())
        return
    at = int(started[0])
    before = History(history.records[: at + 1], ORDER).evacuations()
    assert before[-1].ended is None
    assert any(e.result == "still under way" for e in before)
    after = History(history.records[at + 1 :], ORDER).evacuations()
    assert len(after) < len(history.evacuations())


def test_of_nothing() -> None:
    empty = History.of_log([], ORDER)
    assert (len(empty), len(empty.blocks), list(empty.flows()), empty.evacuations()) == (0, 0, [], [])
    unknown = History.of_log([np.full((3, 8), 99)], ORDER)
    assert len(unknown) == 0
    assert (STEAL, CLAIM, CLAIM_BLOCK) == (0, 1, 2)
