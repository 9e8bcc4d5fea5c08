# SPDX-License-Identifier: GPL-2.0-or-later
"""Compaction that goes in circles, and who wakes kswapd: hand-made streams of which the answer is known."""

import io
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from measure.rescan_reference import count
from measure.test_measure_stalls import truths
from recorded_tools import DATA, K, chunk_of, event, write_events

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
from kevacuate.measure.wakes import WAKE_KINDS, WakeCounter, as_vmalloc_asks
from kevacuate.recording import Recording
from kevacuate.reports.ftrace import write_ftrace

MS = 1_000_000
SUCCESS, COMPLETE = RESULTS.index("success"), RESULTS.index("complete")
WAKES = {int(kind): f"mm_{kind.name.lower()}" for kind in WAKE_KINDS}
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


# -- against a script that shares nothing with the package ----------------------------------------------------

COLUMNS = ("scans", "pages_scanned", "streaks", "scans_in_streaks", "pages_scanned_in_streaks")
Wakes = Counter[tuple[str, int, int]]


def ours(recording: Recording) -> tuple[dict[str, tuple[int, ...]], Wakes, list[list[int]]]:
    """By scanner what the reference has; wakes by event, order and task id; how often each order and gfp woke."""
    scans, wakes = RescanCounter(), WakeCounter()
    for chunk in recording.events(chunk_rows=1 << 12):
        scans.add(chunk)
        wakes.add(chunk)
    scans.finish()
    found = {}
    for name, row in scans.result(0).items():
        longest = row["worst"]["scans"] if row["worst"] else 0
        found[name] = (*(row[column] for column in COLUMNS), longest)
    by_task: Wakes = Counter()
    for kind, event_name in WAKES.items():
        for key, n in wakes.counts[kind].top():
            by_task[event_name, key >> 32 >> 23, key & 0xFFFFFFFF] += n
    return found, by_task, [sorted(wakes.by_request(kind).values()) for kind in WAKES]


def reference(recording: Recording) -> tuple[dict[str, tuple[int, ...]], Wakes, list[list[int]]]:
    """The same of what ``kevacuate export --ftrace`` writes."""
    out = io.BytesIO()
    write_ftrace(recording, out)
    found, wakes = count(out.getvalue().decode().splitlines())
    by_task: Wakes = Counter()
    requests: dict[str, Counter[tuple[str, str]]] = {name: Counter() for name in WAKES.values()}
    for (name, order, gfp, pid), n in wakes.items():
        by_task[name, int(order), int(pid)] += n
        requests[name][order, gfp] += n
    return found, by_task, [sorted(counts.values()) for counts in requests.values()]


def busy_rows(seed: int) -> list[Row]:
    """Scans of a few ranges that seldom take a page, runs that begin at few places, and wakes for a few orders."""
    draw = random.Random(seed)
    rows: list[Row] = []
    at = MS
    for _ in range(3000):
        at += draw.choice((1000, 3 * MS) * 7 + (700 * MS,))
        start = 512 * draw.choice((2, 2, 2, 3, 9))
        what = draw.random()
        if what < 0.6:
            kind = draw.choice((K.COMPACTION_ISOLATE_MIGRATEPAGES, K.COMPACTION_ISOLATE_FREEPAGES))
            taken = draw.choice((0,) * 39 + (4,))
            rows.append(scan(at, start, start + 512, taken, draw.choice((0, 40, 512)), kind))
        elif what < 0.9:
            place, result = draw.choice((512, 512, 512, 0)), draw.choice((COMPLETE,) * 29 + (SUCCESS,))
            rows += run(at, (place, 90_000), result=result, pid=draw.choice((5, 6)))
            at += MS
        else:
            gfp = draw.choice((GFP_ATOMIC, GFP_KERNEL, VMALLOC))
            where = {"pid": draw.randrange(7, 10), "order": draw.choice((0, 3, 10))}
            rows.append(event(at, K.VMSCAN_WAKEUP_KSWAPD, gfp=gfp, **where))
            rows.append(event(at, K.COMPACTION_WAKEUP_KCOMPACTD, **where))
    return rows


@pytest.mark.parametrize("seed", range(3))
def test_rescans_and_wakes_are_those_of_the_exported_text(seed: int, tmp_path: Path) -> None:
    recording = Recording.open(write_events(tmp_path / "x.kev", busy_rows(seed)))
    found = ours(recording)
    assert found == reference(recording)
    assert set(found[0]) == {"pages to move", "free pages", "runs"}
    assert min(row[2] for row in found[0].values()) > 3, "each scanner has streaks"
    assert len(found[1]) == 18
    assert [len(counts) for counts in found[2]] == [9, 3]


def test_rescans_and_wakes_of_an_excerpt_are_those_of_its_exported_text() -> None:
    recording = Recording.open(DATA / "reclaim-1cpu")
    found = ours(recording)
    assert found == reference(recording)
    assert found[0]["pages to move"][0] > 20
    assert found[1].total() > 0


@pytest.mark.skipif(not truths(), reason="needs KEVACUATE_GROUND_TRUTH beside recordings under pressure")
@pytest.mark.parametrize("path", truths(), ids=lambda path: path.name)
def test_rescans_and_wakes_of_real_kernels(path: Path) -> None:
    recording = Recording.open(path)
    found = ours(recording)
    assert found == reference(recording)
    assert found[0]["free pages"][0] > 1000
    assert found[1].total() > 50
