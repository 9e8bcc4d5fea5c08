# SPDX-License-Identifier: GPL-2.0-or-later
"""A recording and a replay, played back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import synthetic
from recorded_tools import K, M, event, write_events

from kevacuate.live.playback import play_recording, play_replay
from kevacuate.live.view import SO_FAR
from kevacuate.observe.maps import recorded_flows
from kevacuate.policy import parse_policy
from kevacuate.recording import EventKind, Recording
from kevacuate.runs.replay import replay

HOOKED = Path(__file__).parent.parent / "data" / "one-cpu.kev"


def test_a_replay_plays_what_the_replay_does(synthetic_kev: Path) -> None:
    recording = Recording.open(synthetic_kev)
    play = play_replay(recording, parse_policy("evacuate"))
    metrics = replay(recording, "evacuate").metrics
    first = play.poll()
    assert (first.t, first.events, first.ended) == (0.0, [], False)
    play.seek(1 << 40)
    last = play.poll()
    assert last.ended
    assert sum(last.counts[name] for name in SO_FAR) == metrics["extfrag"]
    assert len(last.queued) == metrics["evacuations_queued"]
    assert all(one.pages >= 0 for one in last.queued)
    assert last.as_dict()["blocks"]["mixed"] == metrics["end"]["mixed_blocks"]
    assert sum(n << o for o, n in enumerate(last.free_orders[0][1])) == metrics["end"]["free_pages"]
    assert play.poll().t == last.t
    play.seek(-(1 << 40))
    assert play.poll().t == 0.0


def test_a_recording_plays_its_events() -> None:
    recording = Recording.open(HOOKED)
    play = play_recording(recording)
    events = sum(int((c.kind == EventKind.MM_PAGE_ALLOC_EXTFRAG).sum()) for c in recording.events())
    play.seek(1 << 40)
    last = play.poll()
    assert sum(last.counts[name] for name in SO_FAR) == events > 0
    for kind, name in (("steal", "steals"), ("claim", "claims"), ("claim_block", "claims_whole_block")):
        told = sum(row["events"] for row in recorded_flows(recording) if row["kind"] == kind)
        assert last.counts[name] == told
    assert sum(last.as_dict()["blocks"].values()) == len(recording.states[0].blocks.pfn)
    play.seek(-(1 << 40))
    times = [play.poll().t]
    while times[-1] < last.t:
        times.append(play.poll().t)
    assert times == sorted(times)


def test_a_machine_that_got_more_memory_meanwhile(tmp_path: Path) -> None:
    last = synthetic.start_state()
    all_blocks, most = last.blocks, len(last.blocks.pfn) - 1
    first = replace(last, blocks=type(all_blocks)(*(column[:most] for column in all_blocks)))
    last = replace(last, tag="e", ts=10**9, ts_begin=10**9)
    rows = [event(i * 10**8, K.MM_PAGE_ALLOC, 700 + i, mt=M) for i in range(1, 9)]
    play = play_recording(Recording.open(write_events(tmp_path / "grown.kev", rows, states=[first, last])))
    before = play.poll().as_dict()["blocks"]
    play.seek(1 << 40)
    after = play.poll().as_dict()["blocks"]
    assert (sum(before.values()), sum(after.values())) == (most, most + 1)
    assert "absent" not in before
    assert before["free"] == after["free"] - 1
