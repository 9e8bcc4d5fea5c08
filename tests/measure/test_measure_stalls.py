# SPDX-License-Identifier: GPL-2.0-or-later
"""Stalls paired, against values worked out by hand and against a script that shares nothing with the package."""

import io
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from measure.stall_reference import Stall, stalls
from recorded_tools import DATA, K, chunk_of, event, write_events

from kevacuate.kernel.compaction import RESULTS
from kevacuate.kernel.gfp import GFP_ATOMIC, GFP_KERNEL, GFP_TRANSHUGE
from kevacuate.measure.stallfigures import percentile, stall_figures
from kevacuate.measure.stalls import DIRECT_COMPACTION, DIRECT_RECLAIM, StallCounter
from kevacuate.observe.stalls import Waits
from kevacuate.observe.triage import triage_recording
from kevacuate.recording import EventChunk, Recording
from kevacuate.recording.procfs import parse_vmstat
from kevacuate.reports.ftrace import write_ftrace

US = 1000
SUCCESS, COMPLETE = RESULTS.index("success"), RESULTS.index("complete")
Row = dict[str, Any]


def reclaim(
    begin: int, end: int, pid: int, pages: int, order: int = 0, gfp: int = GFP_KERNEL, cpu: int = 0
) -> list[Row]:
    """A direct reclaim, microseconds."""
    return [
        event(begin * US, K.VMSCAN_DIRECT_RECLAIM_BEGIN, pid=pid, order=order, gfp=gfp, cpu=cpu),
        event(end * US, K.VMSCAN_DIRECT_RECLAIM_END, pid=pid, a=pages, cpu=cpu),
    ]


def attempt(at: int, pid: int, order: int = 9, gfp: int = GFP_TRANSHUGE) -> Row:
    return event(at * US, K.COMPACTION_TRY_TO_COMPACT_PAGES, pid=pid, order=order, gfp=gfp)


def run(
    begin: int, end: int, pid: int, result: int, zone: tuple[int, int] = (0, 1000), sync: int = 0
) -> list[Row]:
    """compact_zone, microseconds."""
    where = {"pid": pid, "order": sync, "b": zone[0], "c": zone[1]}
    return [
        event(begin * US, K.COMPACTION_BEGIN, pfn=10, a=900, **where),
        event(end * US, K.COMPACTION_END, pfn=10, a=900, d=result, **where),
    ]


def alloc(at: int, pid: int, order: int = 9, gfp: int = GFP_TRANSHUGE, pfn: int = 512) -> Row:
    return event(at * US, K.MM_PAGE_ALLOC, pfn=pfn, pid=pid, order=order, gfp=gfp, mt=1)


def counted(
    *rows: Row | list[Row], cuts: tuple[int, ...] = (), kcompactd: tuple[int, ...] = ()
) -> StallCounter:
    """The rows, in order of time, in chunks that end before the places *cuts*."""
    flat = [row for part in rows for row in (part if isinstance(part, list) else [part])]
    flat.sort(key=lambda row: row["ts"])
    counter = StallCounter(set(kcompactd))
    for first, last in zip((0, *cuts), (*cuts, len(flat)), strict=True):
        counter.add(chunk_of(flat[first:last]))
    counter.finish()
    return counter


def figures(counter: StallCounter, names: dict[int, str] | None = None) -> dict[str, Any]:
    return stall_figures(counter, names or {}, 0)


MIXED = [
    *reclaim(10, 40, 1, 32, order=3),
    *reclaim(20, 25, 2, 0, cpu=1),  # on another CPU, inside the first
    event(22 * US, K.VMSCAN_WAKEUP_KSWAPD, pid=1, order=3, a=0),
    attempt(50, 1, order=3, gfp=GFP_KERNEL),
    *run(51, 60, 1, COMPLETE, (0, 1000), sync=1),
    *run(55, 58, 2, SUCCESS, (0, 1000)),  # task 2 did not ask: another's compaction
    *run(61, 64, 1, SUCCESS, (1000, 2000), sync=1),
    alloc(62, 2, 0, GFP_ATOMIC),
    alloc(70, 1, 3, GFP_KERNEL),
]


@pytest.mark.parametrize("cut", [0, *range(1, 15)])
def test_pairs_are_of_one_task_whatever_lies_between(cut: int) -> None:
    found = figures(counted(MIXED, cuts=(cut,) if cut else ()))
    assert found["direct_reclaim"] | {"worst": None} == {
        "count": 2, "total_ns": 35 * US, "p50_ns": 5 * US, "p99_ns": 30 * US, "worst_ns": 30 * US, "failed": 1,
        "pages_reclaimed": 32, "worst": None,
    }  # fmt: skip
    assert found["direct_reclaim"]["worst"] == {
        "at_seconds": 10e-6, "ts": 10 * US, "ns": 30 * US, "pid": 1, "task": None, "order": 3, "gfp": GFP_KERNEL,
    }  # fmt: skip
    assert found["direct_compaction"]["total_ns"] == 12 * US
    assert found["direct_compaction"]["results"] == {"complete": 1, "success": 1}
    assert found["direct_compaction"]["failed"] == 1
    assert found["other_compaction"]["total_ns"] == 3 * US
    assert found["kcompactd"]["count"] == 0
    assert found["allocations"]["count"] == 1
    assert found["allocations"]["total_ns"] == 60 * US
    assert (
        found["allocations"]["not_seen"] == 1
    )  # task 2's reclaim was for order 0, and its answer did not come
    assert found["begins_without_end"] == found["ends_without_begin"] == 0


def test_by_request_and_by_task() -> None:
    names = {1: "make", 2: "make", 3: "qemu"}
    found = figures(counted(MIXED, reclaim(100, 101, 3, 1)), names)
    assert [(row["stall"], row["order"], row["gfp"], row["count"], row["failed"]) for row in found["requests"]] == [
        ("direct_reclaim", 3, GFP_KERNEL, 1, 0), ("direct_compaction", 3, GFP_KERNEL, 2, 1),
        ("direct_reclaim", 0, GFP_KERNEL, 2, 1),
    ]  # fmt: skip
    make, qemu = found["tasks"]
    assert (make["task"], make["pid"], make["pids"], make["count"], make["total_ns"]) == (
        "make",
        None,
        2,
        4,
        47 * US,
    )
    assert (make["direct_reclaims"], make["direct_compactions"], make["direct_compaction_ns"]) == (
        2,
        2,
        12 * US,
    )
    assert (qemu["task"], qemu["pid"], qemu["worst_ns"]) == ("qemu", 3, US)


def test_what_does_not_pair_is_counted() -> None:
    begins = [reclaim(1, 9, 1, 1)[0], reclaim(2, 9, 1, 1)[0]]
    found = figures(counted(begins, reclaim(0, 4, 1, 5)[1], reclaim(0, 5, 1, 5)[1]))
    assert (found["begins_without_end"], found["ends_without_begin"]) == (1, 1)
    assert found["direct_reclaim"]["total_ns"] == 2 * US
    lost = [attempt(1, 1), run(2, 0, 1, SUCCESS, (0, 1000))[0], run(0, 7, 1, SUCCESS, (1000, 2000))[1]]
    found = figures(counted(lost))  # the first zone's end and the second's begin were lost
    assert (found["begins_without_end"], found["ends_without_begin"]) == (1, 1)
    assert found["direct_compaction"]["count"] == 0
    found = figures(counted(reclaim(1, 2, -1, 3), attempt(3, -1)))
    assert (found["events_without_task"], found["direct_reclaim"]["count"], found["attempts_to_compact"]) == (
        2,
        0,
        0,
    )


def test_attempts_that_begin_in_no_zone() -> None:
    skipped, go_on = RESULTS.index("skipped"), RESULTS.index("continue")
    rows = [
        attempt(1, 1), event(2 * US, K.COMPACTION_DEFERRED, pid=1, order=9),
        attempt(3, 1), event(4 * US, K.COMPACTION_SUITABLE, pid=1, order=9, c=skipped),
        attempt(5, 1), event(6 * US, K.COMPACTION_SUITABLE, pid=1, order=9, c=SUCCESS),
        attempt(7, 1),
        attempt(8, 1), event(9 * US, K.COMPACTION_SUITABLE, pid=1, order=9, c=go_on), *run(10, 12, 1, SUCCESS),
        event(13 * US, K.COMPACTION_DEFERRED, pid=2, order=9),
    ]  # fmt: skip
    found = figures(counted(rows))
    assert found["attempts_to_compact"] == 5
    assert found["attempts_without_run"] == {
        "deferred": 1,
        "not_suitable": 1,
        "enough_free": 1,
        "not_told": 1,
    }


def test_kcompactd_is_known_by_name_or_by_its_wake() -> None:
    woken = [event(1 * US, K.COMPACTION_KCOMPACTD_WAKE, pid=30, order=9), *run(2, 5, 30, COMPLETE)]
    found = figures(counted(woken, run(6, 7, 31, SUCCESS), run(8, 9, 32, SUCCESS), kcompactd=(31,)))
    assert found["kcompactd"]["count"] == 2
    assert found["kcompactd"]["worst"]["order"] == 9
    assert found["other_compaction"]["count"] == 1
    named = [*run(1, 4, 33, SUCCESS), event(2 * US, K.COMPACTION_FINISHED, pid=33, order=4, c=SUCCESS)]
    assert figures(counted(named))["other_compaction"]["worst"]["order"] == 4


def test_an_allocation_lasts_to_its_own_answer() -> None:
    inside = alloc(15, 1, 9, GFP_KERNEL)  # reclaim itself allocates
    first = [
        *reclaim(10, 20, 1, 1, 9, GFP_TRANSHUGE),
        inside,
        alloc(25, 1, 9, GFP_ATOMIC),
        alloc(30, 1),
        alloc(50, 1),
    ]
    found = counted(first)
    assert found.requests["ns"].tolist() == [20 * US]
    failed = [*reclaim(60, 61, 2, 0, 9, GFP_TRANSHUGE), alloc(70, 2, pfn=-1)]
    assert figures(counted(first, failed))["allocations"]["failed"] == 1
    other = [*reclaim(60, 61, 2, 0, 9, GFP_TRANSHUGE), alloc(70, 2, 0, GFP_KERNEL), alloc(80, 2)]
    found = counted(other)
    assert (len(found.requests), found.requests_not_seen) == (0, 1)


@pytest.mark.parametrize(
    ("count", "p50", "p99"), [(1, 1, 1), (2, 1, 2), (100, 50, 99), (101, 51, 100), (200, 100, 198)]
)
def test_percentiles_are_nearest_rank(count: int, p50: int, p99: int) -> None:
    values = np.random.default_rng(1).permutation(np.arange(1, count + 1))
    assert (percentile(values, 50), percentile(values, 99)) == (p50, p99)


def ours(recording: Recording) -> list[Stall]:
    """The stalls that tasks waited in, as the reference gives them."""
    waits = Waits(recording)
    for chunk in recording.events(chunk_rows=1 << 12):
        waits.add(chunk)
    return [
        (int(one["ts"]), int(one["ns"]), int(one["pid"]), "reclaim", int(one["order"]), str(one["result"]))
        if one["kind"] == DIRECT_RECLAIM
        else (
            int(one["ts"]),
            int(one["ns"]),
            int(one["pid"]),
            "compaction",
            int(one["order"]),
            RESULTS[one["result"]],
        )
        for one in waits.stalls.stalls
        if one["kind"] in (DIRECT_RECLAIM, DIRECT_COMPACTION)
    ]


def reference(recording: Recording) -> list[Stall]:
    """The stalls in what ``kevacuate export --ftrace`` writes."""
    out = io.BytesIO()
    write_ftrace(recording, out)
    return stalls(out.getvalue().decode().splitlines())


def random_rows(seed: int) -> list[Row]:
    """Six tasks that wait at random; background work and interrupts between."""
    draw = random.Random(seed)
    rows: list[Row] = []
    for pid in range(1, 7):
        at = draw.randrange(50)
        for _ in range(60):
            order, long = draw.choice((0, 3, 9)), draw.randrange(1, 400)
            asked = {"order": order, "gfp": GFP_TRANSHUGE if order == 9 else GFP_KERNEL}
            if draw.random() < 0.5:
                rows += reclaim(at, at + long, pid, draw.randrange(40), **asked)
            else:
                rows.append(attempt(at, pid, **asked))
                for zone in range(draw.randrange(3)):
                    rows += run(
                        at + 1,
                        at + long,
                        pid,
                        draw.choice((SUCCESS, COMPLETE)),
                        (zone * 1000, zone * 1000 + 1000),
                    )
                    at += long
            at += long + 1
            rows.append(alloc(at, pid, order, asked["gfp"], draw.choice((-1, 512))))
            at += draw.randrange(100)
    rows += [one for n in range(40) for one in run(n * 700, n * 700 + 90, 99, SUCCESS)]
    return sorted(rows, key=lambda row: row["ts"])


@pytest.mark.parametrize("seed", range(3))
def test_stalls_are_those_of_the_exported_text(seed: int, tmp_path: Path) -> None:
    recording = Recording.open(write_events(tmp_path / "x.kev", random_rows(seed)))
    found = ours(recording)
    assert found == reference(recording)
    assert len(found) > 300


def test_stalls_of_an_excerpt_are_those_of_its_exported_text() -> None:
    recording = Recording.open(DATA / "reclaim-1cpu")
    found = ours(recording)
    assert found == reference(recording)
    assert [kind for _, _, _, kind, _, _ in found].count("compaction") == 18
    (one,) = [stall for stall in found if stall[3] == "reclaim"]
    assert one[4:] == (9, "1")


def truths() -> list[Path]:
    """The recordings of real kernels with direct reclaim beside the one that the environment names."""
    named = os.environ.get("KEVACUATE_GROUND_TRUTH")
    if not named:
        return []
    root = Path(named) if (Path(named) / "outcomes.csv").exists() else Path(named).parent
    found = [
        path.parent.parent.parent for path in root.glob("*/formats/vmscan/mm_vmscan_direct_reclaim_begin")
    ]
    return sorted(path for path in found if "pressure" in path.name)


@pytest.mark.skipif(not truths(), reason="needs KEVACUATE_GROUND_TRUTH beside recordings under pressure")
@pytest.mark.parametrize("path", truths(), ids=lambda path: path.name)
def test_stalls_of_real_kernels(path: Path) -> None:
    recording = Recording.open(path)
    assert ours(recording) == reference(recording)
    found = triage_recording(recording)["stalls"]
    shots = sorted(path.glob("snap-*"))
    first, last = (parse_vmstat((shot / "vmstat").read_text()) for shot in (shots[0], shots[-1]))
    allocstall = sum(last[name] - first[name] for name in last if name.startswith("allocstall_"))
    assert found["direct_reclaim"]["count"] == allocstall > 200
    with_run = found["attempts_to_compact"] - sum(found["attempts_without_run"].values())
    assert with_run == last["compact_stall"] - first["compact_stall"]


HOSTILE = (-(2**63), -1, 0, 1, 2**31, 2**62, 2**63 - 1)


def hostile_chunks(seed: int) -> list[EventChunk]:
    """Events in order of time with values that no kernel has."""
    draw = random.Random(seed)
    kinds = [kind for kind in K if draw.random() < 0.9]
    rows = [
        event(
            at, draw.choice(kinds), pfn=draw.choice(HOSTILE), pid=draw.choice((-1, 0, 1, 2, 2**31 - 1)),
            order=draw.choice((-128, -1, 0, 9, 127)), gfp=draw.choice((0, 1 << 10, 2**32 - 1)),
            **{name: draw.choice(HOSTILE) for name in "abcd"},
        )
        for at in range(2000)
    ]  # fmt: skip
    return [chunk_of(rows[n : n + 300]) for n in range(0, 2000, 300)]


@pytest.mark.parametrize("seed", range(4))
def test_hostile_events_are_counted_and_no_more(seed: int, tmp_path: Path) -> None:
    waits = Waits(Recording.open(write_events(tmp_path / "x.kev", [attempt(1, 1)])))
    for chunk in hostile_chunks(seed):
        waits.add(chunk)
    found = waits.result()
    assert found is not None
    assert found["begins_without_end"] + found["ends_without_begin"] + found["events_without_task"] > 0
