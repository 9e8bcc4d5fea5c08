# SPDX-License-Identifier: GPL-2.0-or-later
"""Stories from records made by hand: what is told, what is summed up, what is worked out from what went before."""

from __future__ import annotations

import numpy as np
import pytest

from kevacuate.mm import constants as k
from kevacuate.observe.event_records import NOTE_COMPACT_FROM
from kevacuate.recording import PageAttr
from kevacuate.reports.gfp import gfp_words
from kevacuate.reports.story.place import Place
from kevacuate.reports.story.story import Story, compared, tell
from kevacuate.reports.story.words import duration
from kevacuate.runs.noting import (
    NOTE_ALLOC,
    NOTE_DROPPED,
    NOTE_FREE,
    NOTE_MOVED_IN,
    NOTE_MOVED_OUT,
    NOTE_START,
)

U, M, R = k.MIGRATE_UNMOVABLE, k.MIGRATE_MOVABLE, k.MIGRATE_RECLAIMABLE
BLOCK = Place(4, 2048, 2560, 9, "Normal", 0)
PAGE = Place(4, 2051, 2052, 9, "Normal", 0)
PINNED = int(PageAttr.LRU | PageAttr.PINNED) << 32
LRU = int(PageAttr.LRU) << 32

EVACUATION = [
    (0, NOTE_START, 0, 2048, 0, 0, LRU, 1),
    (0, NOTE_START, 0, 2049, 1, 0, 0, -1),
    (100, NOTE_ALLOC, 0, 2051, 0, M, k.GFP_HIGHUSER_MOVABLE + PINNED, 2),
    (200, NOTE_ALLOC, 0, 2052, 2, U, k.GFP_KERNEL, 3),
    (300, NOTE_FREE, 0, 2052, 2, 0, 0, 3),
    (900, k.L_EVAC_CLAIM, 1, 2048, 256 * U + M, 300, 200, 0),
    (950, k.L_EVAC_CLAIM, 1, 2048, 256 * U + M, 301, 199, 0),
    (1000, k.L_EVAC_CLAIM, 1, 2048, 256 * U + M, 320, 180, 1),
    (1000, k.L_BLOCK_TYPE, 1, 2048, M, U, 0, 0),
    (1000, k.L_EVAC_QUEUED, 1, 2048, 63, 0, 0, 0),
    (1000, k.L_EXTFRAG, 1, 2100, 0, 6, 256 * U + M, 1),
    (3000, k.L_IRQ_WORK, 1, -1, 0, 2, 0, 0),
    (9000, k.L_EVAC_STARTED, 1, 2048, 256 * U + 1, 320, 180, 63),
    (9000, k.L_EVAC_ISOLATE, 1, 2048, 0, 3, 0, 200),
    (9500, NOTE_DROPPED, 1, 2400, 0, 0, 0, 77),
    (9500, k.L_EVAC_RECLAIM, 1, 2048, 1, 2, 0, 0),
    (9900, NOTE_MOVED_OUT, 1, 2048, 0, 5000, 0, 1),
    (9900, k.L_EVAC_MIGRATE, 1, 2048, 1, 2, 1, 1),
    (9900, k.L_EVAC_PUTBACK, 1, 2048, 1, 0, 0, 0),
    (9900, k.L_EVAC_FINISHED, 1, 2048, 3, 1, 1, 256 + k.WHY_MIGRATE_FAILED),
    (20000, NOTE_ALLOC, 0, 2300, 0, U, k.GFP_KERNEL, 9),
    (21000, NOTE_MOVED_IN, 0, 2301, 0, 0, 0, 10),
    (22000, k.L_EXTFRAG, 0, 2302, 0, 1, 256 * R + U, 0),
]  # fmt: skip


def story(
    records: list[tuple[int, ...]] = EVACUATION, place: Place = BLOCK, source: str = "evacuate"
) -> Story:
    return tell(np.array(records, np.int64).reshape(-1, 8), place, source)


def kinds(told: Story) -> list[str]:
    return [step.kind for step in told.steps]


def test_the_story_of_an_evacuated_block() -> None:
    told = story()
    assert kinds(told) == [
        "traffic", "claim refused", "claimed", "type", "queued", "handed over", "started", "isolated", "reclaimed", "migrated",
        "put back", "traffic", "finished", "traffic",
    ]  # fmt: skip
    by_kind = {step.kind: step for step in told.steps}
    assert by_kind["claimed"].facts == {"for": "unmovable", "from": "movable", "free": 320, "movable": 180}
    assert by_kind["claim refused"].facts["times"] == 2
    assert by_kind["handed over"].facts["wait_ns"] == 2000
    assert by_kind["started"].facts["waited_ns"] == 8000
    assert "skip bit" in by_kind["started"].text
    assert by_kind["finished"].facts["took_ns"] == 900
    assert by_kind["finished"].facts["failed"] == 1
    assert told.start == "in use at the start: 1 movable, 2 other pages"


def test_traffic_is_summed_up_in_pages() -> None:
    first, meanwhile, last = (step for step in story().steps if step.kind == "traffic")
    assert first.facts["allocated"] == {"movable": 1, "unmovable": 4}
    assert first.facts["freed"] == 4
    assert (first.t, first.facts["until_ns"]) == (100, 300)
    assert (meanwhile.facts["dropped"], meanwhile.facts["moved_out"]) == (1, 1)
    assert meanwhile.text.startswith("meanwhile, ")
    assert (last.facts["allocated"], last.facts["moved_in"]) == ({"unmovable": 1}, 1)
    assert last.facts["steals"] == {"reclaimable": 1}


def test_the_summary_says_what_came_back_in() -> None:
    said = story().summary
    assert said.startswith(
        "Claimed 1 time (for unmovable); 1 evacuation queued, 1 started; 3 isolated, 1 dropped"
    )
    assert "since then 1 movable, 1 unmovable pages came in" in said


def test_why_a_page_failed_is_said_where_it_is_known() -> None:
    failed = next(step for step in story().steps if step.kind == "migrated")
    assert failed.facts["stuck"] == {"pinned": 1}
    assert failed.text.endswith("what cannot be moved in this block: 1 pinned")
    recorded = next(step for step in story(source="recorded").steps if step.kind == "migrated")
    assert "stuck" not in recorded.facts
    no_memory = [(0, k.L_EVAC_MIGRATE, 0, 2048, -k.ENOMEM, 4, 1, 3)]
    assert story(no_memory).steps[0].text.endswith("3 failed: no free page to move them to")


def test_the_story_of_a_page_tells_every_request_and_only_what_touches_it() -> None:
    told = story(place=PAGE)
    assert kinds(told) == ["allocated", "claimed", "type", "queued", "started", "isolated", "finished"]
    assert told.steps[0].text == "allocated, object 2: order 0, movable, GFP_HIGHUSER_MOVABLE"
    assert all(step.text.startswith("its block: ") for step in told.steps[1:])
    beyond = story(place=Place(4, 2048 + 300, 2048 + 301, 9, "Normal", 0))
    assert "isolated" not in kinds(beyond)


def test_a_chunk_covers_its_pages() -> None:
    told = story(place=Place(4, 2055, 2056, 9, "Normal", 0))
    assert kinds(told)[:2] == ["allocated", "freed"]
    assert "(chunk at 0x804)" in told.steps[0].text
    assert kinds(story(place=Place(4, 2056, 2057, 9, "Normal", 0)))[0] == "claimed"


def test_recorded_events_name_the_task() -> None:
    told = story([(5, NOTE_ALLOC, 0, 2051, 0, U, k.GFP_ATOMIC, 4242)], PAGE, "recorded")
    assert told.steps[0].text == "allocated by task 4242: order 0, unmovable, GFP_ATOMIC"
    unknown = story([(5, NOTE_ALLOC, 0, 2051, 0, U, 0, -1)], PAGE, "recorded")
    assert unknown.steps[0].text == "allocated: order 0, unmovable, alloc_pages_bulk"


def test_a_claim_without_its_counts() -> None:
    stock = story([(5, k.L_EXTFRAG, 0, 2100, 0, 6, 256 * U + M, 1)], source="recorded")
    assert stock.steps[0].text.startswith("claimed (counts not recorded)")
    whole = story([(5, k.L_EXTFRAG, 0, 2048, 0, 9, 256 * U + M, 1)])
    assert whole.steps[0].text.startswith("claimed, all of it free")
    assert whole.summary == "Claimed 1 time (for unmovable); no evacuation was queued."


def test_other_blocks_are_left_out() -> None:
    others = [tuple(v + 512 if i == 3 and v >= 0 else v for i, v in enumerate(row)) for row in EVACUATION]
    assert story(others).steps == ()
    assert story([]).summary == "Nothing happened to it."


def test_compaction_is_told() -> None:
    told = story([(5, NOTE_COMPACT_FROM, 0, 2048, 2200, 152, 32, 0)], source="recorded")
    assert kinds(told) == ["compaction"]


def test_the_comparison_says_what_became_of_it() -> None:
    pair = [story([], source="mainline"), story()]
    assert compared(pair)[-1].startswith("Under the other policy the block was never claimed")
    assert compared([story(), story()])[-1].startswith("evacuate: ")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (k.GFP_KERNEL, "GFP_KERNEL"),
        (k.GFP_KERNEL | k.GFP_ZERO, "GFP_KERNEL|__GFP_ZERO"),
        (k.GFP_HIGHUSER_MOVABLE, "GFP_HIGHUSER_MOVABLE"),
        (0, "0"),
        (1 << 23, "0x800000"),
    ],
)
def test_gfp_by_name(flags: int, words: str) -> None:
    assert gfp_words(flags) == words


def test_durations() -> None:
    assert [duration(n) for n in (7, 1500, 2_500_000, 3 * 10**9)] == ["7 ns", "1.5 us", "2.5 ms", "3 s"]


def test_a_hostile_zone_name_is_text() -> None:
    said = Place(4, 2048, 2560, 9, "\x1b[2J\u202e", 0).text
    assert "\\x1b[2J\\u202e" in said
    assert said.isprintable()
