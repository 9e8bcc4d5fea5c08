# SPDX-License-Identifier: GPL-2.0-or-later
"""What is counted of recorded kernels: hand-made streams, and recordings that ship with the tests, counted a second time."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import synthetic
from recorded_tools import DATA, K, M, R, U, chunk_of, event, extfrag

from kevacuate.kernel.pageflags import movable_pages
from kevacuate.measure.moments import moments_of, snapshot_moment, state_moment, vmstat_change
from kevacuate.measure.recorded import RecordedCounter, recorded_kinds
from kevacuate.measure.triage import TriageCounter
from kevacuate.observe.outcomes import recorded_outcome
from kevacuate.observe.triage import triage_recording
from kevacuate.recording import Recording

SHIPPED = ["one-cpu.kev", "two-cpus.kev"]


def counted(rows: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    counter = RecordedCounter(9, **more)
    counter.add(chunk_of(rows))
    return counter.metrics()


def slow_counts(recording: Recording) -> Counter[str]:
    """The outcomes' definitions, event by event."""
    slow: Counter[str] = Counter()
    for chunk in recording.events():
        columns = [getattr(chunk, n).tolist() for n in ("kind", "pfn", "order", "mt", "a", "b", "c", "d")]
        for kind, pfn, order, mt, a, b, c, d in zip(*columns, strict=True):
            if kind == K.MM_PAGE_ALLOC:
                slow["allocations"] += 1
                slow["pages_allocated"] += 1 << order if pfn >= 0 else 0
            elif kind == K.MM_PAGE_ALLOC_EXTFRAG:
                slow["extfrag"] += 1
                if mt in (U, R) and b == M:
                    name = "steals" if not c else "claims" if a < 9 else "claims_whole_block"
                    slow[f"{name}_from_movable"] += 1
                slow["steals_by_movable"] += mt == M and not c
            elif kind == K.GT_EVAC and order == 0:
                slow["claims_refused"] += d == 0
            elif kind == K.GT_EVAC and order == 9:
                for name, pages in (("isolated", a), ("dropped", b), ("migrated", c), ("failed", d >> 8)):
                    slow[f"pages_{name}"] += pages
            elif kind == K.GT_EVAC:
                slow["evacuations_queued"] += order == 1
                slow["evacuations_started_with_skip_bit"] += order == 4 and a & 255 != 0
            elif kind == K.COMPACTION_MIGRATEPAGES:
                slow["compaction_pages_migrated"] += a
    return slow


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_recording_counted_twice(name: str) -> None:
    recording = Recording.open(DATA / name)
    found = recorded_outcome(recording).metrics
    slow = slow_counts(recording)
    assert {key: found[key] for key in slow} == dict(slow)
    assert slow["extfrag"] == recording.quality["events_by_kind"]["MM_PAGE_ALLOC_EXTFRAG"] > 0
    triage = triage_recording(recording)
    assert triage["evacuation"]["would_queue"] == slow["claims_from_movable"] == slow["evacuations_queued"]
    assert triage["steals"]["events"] == slow["steals_from_movable"]
    assert triage["requests_matched"] + triage["requests_unmatched"] == sum(
        slow[f"{kind}_from_movable"] for kind in ("claims", "claims_whole_block", "steals")
    )


@pytest.mark.parametrize("rows", [1_000, 7_919])
def test_chunks_do_not_matter(rows: int) -> None:
    recording = Recording.open(DATA / "two-cpus.kev")
    whole, cut = (RecordedCounter(9, hooks=True) for _ in range(2))
    live, parts = (TriageCounter(9, recording.span or (0, 0)) for _ in range(2))
    for chunk in recording.events(chunk_rows=1 << 20):
        whole.add(chunk)
        live.add(chunk)
    for chunk in recording.events(chunk_rows=rows):
        cut.add(chunk)
        parts.add(chunk)
    assert whole.metrics() == cut.metrics()
    a, b = live.result(huge_order=9), parts.result(huge_order=9)
    for one in (a, b):
        one.pop("requesters")  # a request may be found or not at the end of a chunk
        one.pop("requests_matched")
        one.pop("requests_unmatched")
    assert a == b


def test_what_was_not_recorded_is_absent_not_zero() -> None:
    rows = [extfrag(1, 0, U, M, taken=2, own=True), event(10**9 + 1, K.COMPACTION_END)]
    seen = counted(rows, seconds=1.0)
    assert seen["claims_from_movable"] == 1
    assert seen["compaction_runs"] == 1
    assert seen["rates"] == {
        "extfrag": 1.0,
        "claims_from_movable": 1.0,
        "steals_from_movable": 0.0,
        "compaction_runs": 1.0,
    }
    absent = {
        "allocations",
        "claims_refused",
        "evacuations_queued",
        "compaction_pages_migrated",
        "direct_reclaims",
    }
    assert not absent & set(seen)
    switched_on = counted(rows, recorded=frozenset({int(K.MM_PAGE_ALLOC), int(K.COMPACTION_MIGRATEPAGES)}))
    assert (switched_on["allocations"], switched_on["compaction_pages_migrated"]) == (0, 0)
    assert "kcompactd_wakes" not in switched_on
    hooked = counted(rows, hooks=True)
    assert (hooked["kcompactd_wakes"], hooked["evacuations_queued"]) == (0, 0)
    assert "direct_reclaims" not in hooked


def test_which_kinds_were_switched_on() -> None:
    from dataclasses import replace

    events = {"kmem/mm_page_alloc_extfrag": "", "compaction/mm_compaction_end": "", "x/unheard_of": ""}
    described = replace(synthetic.machine(), events=events)
    assert recorded_kinds(described) is None
    described = replace(described, extra={"mode": "light"})
    assert recorded_kinds(described) == {K.MM_PAGE_ALLOC_EXTFRAG, K.COMPACTION_END}


def test_the_moment_of_a_state() -> None:
    state = synthetic.start_state()
    moment = state_moment(state, 9, 9)
    objects = len(synthetic.START_OBJECTS)
    assert moment["movable_pages"] == objects
    assert moment["free_pages"] == int((1 << state.free.order.astype(np.int64)).sum())
    assert moment["free_by_order"] == np.bincount(state.free.order, minlength=11).tolist()
    assert moment["blocks"]["movable"] == len(state.blocks.pfn)
    assert moment["unmovable_pages"] == len(synthetic.ANONYMOUS)
    blocks = {pfn >> 9 for pfn in synthetic.ANONYMOUS}
    assert moment["polluted_blocks"] == moment["blocks_with_unmovable"] == len(blocks)
    assert moment["mixed_blocks"] == len(blocks & {pfn >> 9 for pfn in synthetic.START_OBJECTS})
    bare = state_moment(synthetic.start_state(page_flags=False), 9, 9)
    assert "mixed_blocks" not in bare
    assert bare["free_by_order"] == moment["free_by_order"]


def test_tail_pages_are_as_their_head() -> None:
    head, tail, lru, anon = (1 << n for n in (15, 16, 5, 12))
    flags = np.array([head | lru, tail, tail, head, tail, lru, 0, anon, tail | lru], np.uint64)
    assert movable_pages(flags).tolist() == [True, True, True, False, False, True, False, True, True]


@dataclass
class Zone:
    chunks: tuple[int, ...]
    blocks_by_type: dict[str, int]


@dataclass
class Snapshot:
    ts: int
    label: str
    zones: list[Zone]
    vmstat: dict[str, int] = field(default_factory=dict)


def test_moments_of_proc_alone() -> None:
    zones = [
        Zone((3, 0, 1), {"Unmovable": 2, "Movable": 5}),
        Zone((1,) + (0,) * 9 + (2,), {"Movable": 1, "HighAtomic": 1}),
    ]
    moment = snapshot_moment(Snapshot(5, "start", zones), 9, 9)
    assert moment["blocks"] | {"x": 0} == {
        "unmovable": 2, "movable": 6, "reclaimable": 0, "highatomic": 1, "cma": 0, "isolate": 0, "x": 0,
    }  # fmt: skip
    assert moment["free_pages"] == 4 + 4 + 2048
    assert moment["free_by_order"][10] == 2
    assert moment["huge_pages_free"] == 4
    assert moment["unusable_free_index"][9] == 8 * 1000 // 2056
    assert "mixed_blocks" not in moment


def test_labels_that_repeat_are_numbered_in_order_of_time() -> None:
    labels = [(30, "periodic"), (10, "start"), (20, "periodic"), (40, "end")]
    snapshots = [Snapshot(ts, label, [Zone((ts,), {})]) for ts, label in labels]
    found = moments_of([], snapshots, 9, 9)
    assert [(label, m["free_pages"]) for label, m in found.items()] == [
        ("start", 10), ("periodic 1", 20), ("periodic 2", 30), ("end", 40),
    ]  # fmt: skip


def test_a_state_counts_before_a_snapshot_of_its_label() -> None:
    found = moments_of([synthetic.start_state()], [Snapshot(9, "start", []), Snapshot(10, "end", [])], 9, 9)
    assert list(found) == ["start", "end"]
    assert "mixed_blocks" in found["start"]


def test_counters_of_vmstat() -> None:
    first = {"pgalloc_dma": 1, "pgalloc_normal": 10, "compact_stall": 4, "thp_fault_alloc": 1}
    last = {"pgalloc_dma": 3, "pgalloc_normal": 50, "compact_stall": 9}
    assert vmstat_change([Snapshot(0, "a", [], first), Snapshot(1, "b", [], last)]) == {
        "pgalloc": 42,
        "compact_stall": 5,
    }
    assert vmstat_change([Snapshot(0, "a", [], first)]) == {}
