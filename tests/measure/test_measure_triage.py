# SPDX-License-Identifier: GPL-2.0-or-later
"""What a triage counts and comes to: hand-made streams of which the answer is known, and the time that it is of."""

from itertools import product
from pathlib import Path
from typing import Any

import pytest
from recorded_tools import DATA, K, M, R, U, chunk_of, event, extfrag, proc_snapshot, write_events

from kevacuate.errors import KevacuateError
from kevacuate.kernel.extfrag import NOT_TOLD
from kevacuate.measure.triage import BURST_NS, TREND, VERDICTS, TriageCounter, verdict_of
from kevacuate.observe.event_records import recorded_happenings
from kevacuate.observe.info import about_recording
from kevacuate.observe.outcomes import recorded_outcome
from kevacuate.observe.triage import triage_recording
from kevacuate.recording import EventChunk, Recording

SECOND = 10**9
MINUTE = (0, 60 * SECOND)
ON = {"events": {"kmem/mm_page_alloc_extfrag": ""}, "extra": {"mode": "light"}}
BEFORE_3_12 = {"change_ownership_unknown": True}


def triage(*chunks: EventChunk, span: tuple[int, int] = MINUTE, **more: Any) -> dict[str, Any]:
    counter = TriageCounter(9, span, ownership=more.pop("ownership", True))
    for chunk in chunks:
        counter.add(chunk)
    return counter.result(**{"huge_order": 9, **more})


def test_triage_tells_what_evacuation_would_see() -> None:
    rows = [
        extfrag(0, 512 * 3, U, M, taken=4, own=True),
        extfrag(1, 512 * 3 + 8, U, M, taken=2, own=False),
        extfrag(2, 512 * 5, R, M, taken=2, own=False, order=2),
        extfrag(3, 512 * 5, R, M, taken=2, own=False),
        extfrag(4, 512 * 7, U, M, taken=9, own=True),
        extfrag(5, 512 * 7, M, U, taken=9, own=True),
        extfrag(6, 512 * 8, M, U, taken=5, own=False),
        extfrag(7, 512 * 8, U, R, taken=5, own=False),
    ]
    found = triage(chunk_of(rows))
    plan, steals = found["evacuation"], found["steals"]
    assert (plan["would_queue"], plan["blocks"], plan["share_of_claims_below_pageblock_order"]) == (1, 1, 0.5)
    assert (steals["events"], steals["pages"], steals["blocks"]) == (3, 6, 2)
    assert (steals["blocks_never_claimed"], steals["events_in_blocks_never_claimed"]) == (1, 2)
    assert steals["share_of_events_from_movable"] == 3 / 5
    assert found["pageblocks"] == {"lost": 2, "claimed_back": 1, "net_lost": 1}
    assert found["requests_matched"] is None
    counts = {name: sum(found["timeline"][name]) for name in found["late"]}
    assert counts == {
        "steals": 3,
        "claims": 1,
        "claims_whole_block": 1,
        "claims_or_steals": 0,
        "new_blocks": 2,
    }


@pytest.mark.parametrize(("taken", "blocks"), [(8, 1), (9, 1), (10, 2)])
def test_a_whole_block_claim_may_be_of_several_blocks(taken: int, blocks: int) -> None:
    found = triage(chunk_of([extfrag(1, 0, U, M, taken=taken, own=True)]))
    assert found["pageblocks"]["lost"] == blocks
    assert (found["claims_from_movable"], found["claims_whole_block_from_movable"]) == (taken < 9, taken >= 9)


@pytest.mark.parametrize(
    ("blocks", "verdict"),
    [
        ([], "not fragmenting"),
        ([(0, 1), (1, 2)], "quiet now"),
        ([(0, 1), (39.999, 2)], "quiet now"),
        ([(0, 1), (40, 1)], "fragmenting in the same blocks"),
        ([(0, 1), (59, 1)], "fragmenting in the same blocks"),
        ([(0, 1), (59, 2)], "fragmenting"),
        ([(60, 2)], "fragmenting"),
    ],
)
@pytest.mark.parametrize("own", [False, True])
def test_the_verdict_looks_at_the_last_third(
    blocks: list[tuple[float, int]], verdict: str, own: bool
) -> None:
    rows = [extfrag(int(t * SECOND), 512 * b, U, M, taken=1, own=own) for t, b in blocks]
    assert triage(chunk_of(rows))["verdict"] == verdict
    assert triage(*(chunk_of([row]) for row in rows))["verdict"] == verdict


def test_whole_free_blocks_mix_nothing() -> None:
    rows = [extfrag(t * SECOND, 512 * t, U, M, taken=9 + t % 2, own=True) for t in range(1, 60)]
    found = triage(chunk_of(rows))
    assert found["verdict"] == "whole free blocks only"
    assert (found["late"]["claims_whole_block"], found["late"]["new_blocks"]) == (20, 0)
    mixed = triage(chunk_of([*rows, extfrag(59 * SECOND, 0, R, M, taken=8, own=True)]))
    assert mixed["verdict"] == "fragmenting"


def moments(*indices: int) -> dict[str, dict[str, Any]]:
    """Snapshots with these unusable free indices of order 9."""
    return {
        str(i): {"unusable_free_index": [0] * 9 + [index, 1000], "free_pages": 7}
        for i, index in enumerate(indices)
    }


@pytest.mark.parametrize(
    ("times", "indices", "verdict"),
    [
        ([59], (58, 15), "mixing, free memory recovers"),
        ([59], (58, 58 - TREND), "mixing, free memory recovers"),
        ([59], (58, 59 - TREND), "fragmenting"),
        ([59], (15, 58), "fragmenting"),
        ([59], (15,), "fragmenting"),
        ([1], (58, 15), "quiet now"),
        ([1], (15, 15 + TREND), "free memory fragments"),
        ([1], (15, 14 + TREND), "quiet now"),
        ([], (15, 58), "free memory fragments"),
        ([], (58, 15), "not fragmenting"),
    ],
)
def test_the_verdict_follows_the_free_memory(
    times: list[int], indices: tuple[int, ...], verdict: str
) -> None:
    rows = [extfrag(t * SECOND, 512 * t, U, M, taken=1, own=False) for t in times]
    found = triage(chunk_of(rows), moments=moments(*indices))
    assert found["verdict"] == verdict
    assert found["snapshots"][-1]["unusable_free_index"] == indices[-1]
    change = indices[-1] - indices[0] if len(indices) > 1 else None
    assert found["unusable_free_index_change"] == change


def test_the_index_is_that_of_the_machine_s_huge_page() -> None:
    shot = {"unusable_free_index": list(range(11)), "free_pages": 7}
    assert triage(moments={"a": shot}, huge_order=5)["snapshots"][0]["unusable_free_index"] == 5
    far = triage(moments={"a": shot}, huge_order=13)["snapshots"][0]
    assert (far["unusable_free_index"], far["unusable_free_index_order"]) == (10, 10)


def test_every_verdict_can_be_reached_and_no_other() -> None:
    grid = product((True, False), (0, 2), (0, 2), (0, 1), (None, 0, 1), (None, -TREND, 0, TREND))
    found = {
        verdict_of(
            known=known, taken=taken, mixing=mixing, late_mixing=late, late_new_blocks=new, trend=trend
        )
        for known, taken, mixing, late, new, trend in grid
        if taken >= mixing >= late and (late or not new)
    }
    assert found == set(VERDICTS)


def test_what_may_be_missing_is_not_called_none() -> None:
    assert triage(known=False)["verdict"] == "not known"
    odd = extfrag(1, 512, U, 9, taken=1, own=False)
    assert triage(chunk_of([odd]))["verdict"] == "not known"
    assert triage(chunk_of([odd, extfrag(2, 512, U, M, taken=1, own=False)]))["verdict"] == "quiet now"


def test_events_without_a_page_count_but_hit_no_block() -> None:
    rows = [extfrag(t * SECOND, -1, U, M, taken=1, own=t == 59) for t in (1, 58, 59)]
    found = triage(chunk_of(rows))
    assert (found["events_without_page"], found["extfrag_malformed"]) == (3, 0)
    assert (found["claims_from_movable"], found["steals_from_movable"], found["steals"]["blocks"]) == (
        1,
        2,
        0,
    )
    assert found["verdict"] == "fragmenting"


def test_before_3_12_claims_and_steals_are_not_told_apart(tmp_path: Path) -> None:
    rows = [
        extfrag(1 * SECOND, 512, U, M, taken=8, own=False),
        extfrag(2 * SECOND, 1024, U, M, taken=9, own=False),
        extfrag(3 * SECOND, 1536, M, U, taken=3, own=False),
    ]
    path = write_events(tmp_path / "old.kev", rows, extra=BEFORE_3_12)
    found = triage_recording(Recording.open(path))
    assert (found["claims_told_from_steals"], found["claims_or_steals_from_movable"]) == (False, 1)
    assert found["claims_whole_block_from_movable"] == 1
    assert found["evacuation"] is found["steals"] is found["pageblocks"] is None
    assert "steals_from_movable" not in found
    assert found["requesters"] == [
        {
            "type": "unmovable", "order_asked": 0, "gfp": None, "claims": 0, "claims_whole_block": 1, "steals": 0,
            "claims_or_steals": 1,
        }
    ]  # fmt: skip
    counted = recorded_outcome(Recording.open(path)).metrics
    assert counted["claims_or_steals_from_movable"] == 1
    assert not {"claims_from_movable", "steals_from_movable", "steals_by_movable"} & set(counted)
    assert not {"claims_from_movable", "steals_from_movable"} & set(counted["rates"])
    kinds = [(one["kind"], one["events"]) for one in counted["extfrag_events"]]
    assert kinds == [("claim_block", 1), ("claim_or_steal", 1), ("claim_or_steal", 1)]
    for kernel, told in (("3.11.10", False), ("2.6.39", False), ("3.12.0", True), ("", True)):
        path = write_events(tmp_path / f"of-{kernel}.kev", rows, kernel=kernel)
        assert triage_recording(Recording.open(path))["claims_told_from_steals"] == told
    new = triage_recording(Recording.open(write_events(tmp_path / "new.kev", rows)))
    assert (new["claims_told_from_steals"], new["steals_from_movable"]) == (True, 2)


def test_bursts_reach_over_chunks() -> None:
    claims = [extfrag(i * BURST_NS // 3, 512 * i, U, M, taken=4, own=True) for i in range(9)]
    assert triage(chunk_of(claims))["evacuation"]["most_within_burst"] == 4
    assert triage(*(chunk_of([row]) for row in claims))["evacuation"]["most_within_burst"] == 4


def test_a_quiet_machine_is_not_an_empty_recording(tmp_path: Path) -> None:
    shots = [proc_snapshot(0, "start", {2: 4}), proc_snapshot(90 * SECOND, "end", {2: 4})]
    quiet = Recording.open(write_events(tmp_path / "quiet.kev", [], snapshots=shots, **ON))
    found = triage_recording(quiet)
    assert (found["verdict"], found["seconds"], found["extfrag_recorded"]) == ("not fragmenting", 90.0, True)
    outcome = recorded_outcome(quiet)
    assert (outcome.metrics["extfrag"], outcome.metrics["recorded_seconds"]) == (0, 90.0)
    assert outcome.metrics["end"]["blocks"]["movable"] == 3
    with pytest.raises(KevacuateError, match="holds no events"):
        triage_recording(Recording.open(write_events(tmp_path / "empty.kev", [], **ON)))


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ({"missed": 3}, "lost_events"),
        ({"quality": {"imported": {"lines_not_read": 3}}}, "lines_not_read"),
        ({"quality": {"imported": {"events_not_read": {"mm_page_alloc_extfrag": 3}}}}, "events_not_read"),
    ],
)
def test_lost_and_unread_events_leave_the_verdict_open(tmp_path: Path, more: Any, key: str) -> None:
    calm = [event(t * SECOND, K.MM_PAGE_FREE, 1) for t in (0, 60)]
    full = triage_recording(Recording.open(write_events(tmp_path / "full.kev", calm, **ON)))
    assert full["verdict"] == "not fragmenting"
    other = {"imported": {"events_not_read": {"mm_page_free": 3}, "lines_not_read": 0}}
    apart = triage_recording(Recording.open(write_events(tmp_path / "apart.kev", calm, quality=other, **ON)))
    assert apart["verdict"] == "not fragmenting"
    found = triage_recording(Recording.open(write_events(tmp_path / "lossy.kev", calm, **ON, **more)))
    assert (found["verdict"], found[key]) == ("not known", 3)


TIMES = (
    ([event(0, K.MM_PAGE_FREE, 1), event(60 * SECOND, K.VMSCAN_KSWAPD_SLEEP)], (), MINUTE),
    ([event(0, K.MM_PAGE_FREE, 1)], ((5, 60),), MINUTE),
    ([event(20 * SECOND, K.MM_PAGE_FREE, 1)], ((0, 60),), MINUTE),
    ([event(7 * SECOND, K.VMSCAN_KSWAPD_SLEEP)], ((9, 11),), (7 * SECOND, 11 * SECOND)),
)
"""Events that a triage does not read, times (s) of snapshots, and the recording's span."""


@pytest.mark.parametrize(("others", "shots", "span"), TIMES)
def test_the_time_of_a_recording_is_its_own(tmp_path: Path, others: Any, shots: Any, span: Any) -> None:
    claims = [extfrag(10 * SECOND + i, 512 * i, U, M, taken=4, own=True) for i in range(3)]
    rows = sorted([*others, *claims], key=lambda row: row["ts"])
    snapshots = [proc_snapshot(t * SECOND, f"{i}", {1: 1}) for pair in shots for i, t in enumerate(pair)]
    path = write_events(tmp_path / "x.kev", rows, snapshots=snapshots)
    recording = Recording.open(path)
    seconds = (span[1] - span[0]) / SECOND
    assert (recording.span, recording.seconds) == (span, seconds)
    found = triage_recording(Recording.open(path))
    assert (found["seconds"], found["verdict"]) == (seconds, "fragmenting" if seconds == 4 else "quiet now")
    metrics = recorded_outcome(Recording.open(path)).metrics
    assert metrics["recorded_seconds"] == seconds
    assert metrics["rates"]["claims_from_movable"] == pytest.approx(3 / seconds)
    about = about_recording(Recording.open(path))
    assert about["recorded_seconds"] == seconds
    assert about["events_per_second"] == pytest.approx(len(rows) / seconds)


def test_a_recording_without_events_or_snapshots_has_no_time(tmp_path: Path) -> None:
    recording = Recording.open(write_events(tmp_path / "empty.kev", []))
    assert (recording.span, recording.seconds) == (None, 0.0)


def test_a_directory_of_raw_traces_has_the_span_of_its_import(tmp_path: Path) -> None:
    raw = Recording.open(DATA / "raw-1cpu")
    assert raw.span == raw.save(tmp_path / "made.kev").span
    assert raw.span is not None
    assert raw.span[0] < raw.span[1]


def test_stories_and_traces_do_not_tell_them_apart_either(tmp_path: Path) -> None:
    rows = [
        event(5, K.MM_PAGE_FREE, 7),
        extfrag(1005, 512, U, M, taken=8, own=False),
        extfrag(2005, 1024, U, M, taken=9, own=False),
    ]
    old = Recording.open(write_events(tmp_path / "old.kev", rows, extra=BEFORE_3_12))
    new = Recording.open(write_events(tmp_path / "new.kev", rows))
    for recording, said in ((old, (NOT_TOLD, 1)), (new, (0, 0))):
        for pfn, t, d in zip((512, 1024), (1000, 2000), said, strict=True):
            (record,) = recorded_happenings(recording, pfn, pfn + 1)[0].tolist()
            assert (record[0], record[-1]) == (t, d)  # from the recording's own beginning
