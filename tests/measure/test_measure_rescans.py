# SPDX-License-Identifier: GPL-2.0-or-later
"""Compaction that goes in circles, and who wakes kswapd: hand-made streams of which the answer is known."""

import random
from typing import Any

import pytest
from recorded_tools import K, chunk_of, event

from kevacuate.kernel.compaction import RESULTS
from kevacuate.kernel.gfp import (
    GFP_ATOMIC,
    GFP_COMP,
    GFP_DIRECT_RECLAIM,
    GFP_KERNEL,
    GFP_NOWARN,
)
from kevacuate.measure import rescans
from kevacuate.measure.rescans import LEAST_SCANS, LONGEST_PAUSE_NS, RescanCounter
from kevacuate.measure.wakes import WakeCounter, as_vmalloc_asks

MS = 1_000_000
SUCCESS, COMPLETE = RESULTS.index("success"), RESULTS.index("complete")
Row = dict[str, Any]


def scan(
    at: int,
    start: int = 512,
    end: int = 1024,
    taken: int = 0,
    scanned: int = 512,
    kind: K = K.COMPACTION_ISOLATE_FREEPAGES,
) -> Row:
    return event(at, kind, pfn=start, a=end, b=scanned, c=taken)


def found(*rows: Row, chunk: int = 1000) -> dict[str, Any]:
    counter = RescanCounter()
    listed = sorted(rows, key=lambda row: row["ts"])
    for first in range(0, len(listed), chunk):
        counter.add(chunk_of(listed[first : first + chunk]))
    counter.finish()
    return counter.result(0)


@pytest.mark.parametrize("chunk", [1, 3, 1000])
def test_a_streak_of_ten_is_named_and_one_of_nine_is_not(chunk: int) -> None:
    assert (LEAST_SCANS, LONGEST_PAUSE_NS) == (10, 1000 * MS)
    nine = [scan(n * MS, 2048, 2560) for n in range(9)]
    ten = [scan(n * MS, scanned=100) for n in range(3, 13)]
    row = found(*nine, *ten, chunk=chunk)["free pages"]
    assert row == {
        "scans": 19, "pages_scanned": 9 * 512 + 1000, "streaks": 1, "scans_in_streaks": 10, "pages_scanned_in_streaks": 1000,
        "worst": {"first_pfn": 512, "end_pfn": 1024, "scans": 10, "pages_scanned": 1000, "at_seconds": 0.003, "seconds": 0.009},
    }  # fmt: skip


def test_a_page_taken_a_pause_or_another_scanner_breaks_it() -> None:
    assert found(*(scan(n * MS, taken=n == 5) for n in range(15)))["free pages"]["streaks"] == 0
    assert found(*(scan(n * MS, taken=n == 5) for n in range(16)))["free pages"]["scans_in_streaks"] == 10
    for pause, streaks in ((LONGEST_PAUSE_NS, 1), (LONGEST_PAUSE_NS + 1, 0)):
        rows = [scan(n * MS + (pause - MS if n > 5 else 0)) for n in range(12)]
        assert found(*rows)["free pages"]["streaks"] == streaks
    other = [
        scan(n * MS, kind=(K.COMPACTION_ISOLATE_FREEPAGES, K.COMPACTION_ISOLATE_MIGRATEPAGES)[n % 2])
        for n in range(18)
    ]
    assert [row["streaks"] for row in found(*other).values()] == [0, 0]
    assert found(*(scan(n * MS, scanned=0) for n in range(20))) == {}


def run(at: int, pfns: tuple[int, int], zone: int = 0, result: int = COMPLETE, pid: int = 5) -> list[Row]:
    where = {"pid": pid, "a": pfns[1], "b": zone, "c": 100_000}
    return [
        event(at, K.COMPACTION_BEGIN, pfn=pfns[0], **where),
        event(at + MS, K.COMPACTION_END, pfn=pfns[0] + 64, d=result, **where),
    ]


def test_runs_that_begin_at_the_same_place() -> None:
    same = [row for n in range(12) for row in run(10 * n * MS, (512, 90_000))]
    worst = found(*same)["runs"]["worst"]
    assert (worst["first_pfn"], worst["end_pfn"], worst["scans"]) == (512, 90_000, 12)
    whole = found(*(row for n in range(12) for row in run(10 * n * MS, (0, 90_000))))
    assert whole == {}  # each is a pass over the whole zone
    better = [
        row
        for n in range(18)
        for row in run(10 * n * MS, (512, 90_000), result=SUCCESS if n == 9 else COMPLETE)
    ]
    assert found(*better)["runs"]["streaks"] == 0
    on = [row for n in range(12) for row in run(10 * n * MS, (512 + 512 * n, 90_000))]
    assert found(*on)["runs"]["streaks"] == 0


def test_no_more_ranges_are_followed_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(1)
    rows = [scan(n * 10, draw.randrange(1 << 40), 0) for n in range(5000)]
    rows += [scan(n * 4000, 77, 99) for n in range(12)]
    monkeypatch.setattr(rescans, "MOST_RANGES", 500)
    counter = RescanCounter()
    listed = sorted(rows, key=lambda row: row["ts"])
    for first in range(0, len(listed), 100):
        counter.add(chunk_of(listed[first : first + 100]))
        assert len(counter._open) <= 500
    counter.finish()
    worst = counter.result(0)["free pages"]["worst"]
    assert (worst["first_pfn"], worst["scans"]) == (77, 12)


VMALLOC = (GFP_KERNEL | GFP_NOWARN) & ~GFP_DIRECT_RECLAIM


@pytest.mark.parametrize(
    ("order", "gfp", "like"),
    [
        (10, VMALLOC, True), (1, VMALLOC, True), (0, VMALLOC, False), (9, VMALLOC | GFP_DIRECT_RECLAIM, False),
        (3, VMALLOC | GFP_COMP, False), (4, VMALLOC & ~GFP_NOWARN, False), (4, GFP_ATOMIC, False),
    ],
)  # fmt: skip
def test_attempts_as_vmalloc_makes_them(order: int, gfp: int, like: bool) -> None:
    assert as_vmalloc_asks(order, gfp) is like


def test_who_wakes_for_what() -> None:
    rows = [event(n, K.VMSCAN_WAKEUP_KSWAPD, pid=7 + n % 2, order=10, gfp=VMALLOC) for n in range(6)]
    rows += [event(10 + n, K.VMSCAN_WAKEUP_KSWAPD, pid=9, order=0, gfp=0) for n in range(2)]
    rows += [event(20 + n, K.COMPACTION_WAKEUP_KCOMPACTD, pid=50, order=(9, 9, -1)[n]) for n in range(3)]
    counter = WakeCounter()
    for first in range(0, len(rows), 4):
        counter.add(chunk_of(rows[first : first + 4]))
    result = counter.result({7: "modprobe", 8: "modprobe", 50: "kswapd0"})
    assert result["kswapd_wakes"] == {
        "count": 8,
        "requests": [
            {"order": 10, "count": 6, "gfp": VMALLOC, "boosted": False, "as_vmalloc": True,
             "tasks": [{"task": "modprobe", "pid": None, "count": 6}]},
            {"order": 0, "count": 2, "gfp": None, "boosted": True, "as_vmalloc": False,
             "tasks": [{"task": None, "pid": 9, "count": 2}]},
        ],
    }  # fmt: skip
    assert [(row["order"], row["count"]) for row in result["kcompactd_wakes"]["requests"]] == [
        (9, 2),
        (-1, 1),
    ]
    untold = WakeCounter()  # a kernel whose event has no gfp
    untold.add(chunk_of([event(1, K.VMSCAN_WAKEUP_KSWAPD, pid=1, order=0)]))
    assert untold.result({})["kswapd_wakes"]["requests"][0]["boosted"] is False
