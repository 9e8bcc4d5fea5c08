# SPDX-License-Identifier: GPL-2.0-or-later
"""The tuning level: on an excerpt of a real recording as it is and altered, and on hand-made events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kevacuate import Recording, verify
from kevacuate.fidelity.event_rows import wide
from kevacuate.fidelity.level import Given
from kevacuate.fidelity.tuning.books import (
    CAUSES,
    D_DECAY,
    D_DRAIN,
    D_HIGH,
    D_REFILL,
    KINDS,
    X_AMOUNT,
    X_BROKEN,
    X_REFILL,
)
from kevacuate.fidelity.tuning.level import TuningLevel, best_phase
from kevacuate.measure.fidelity import LevelResult
from kevacuate.recording import AllocatorState, EventChunk, EventKind, KevWriter
from kevacuate.recording.state import PcpPages

DATA = Path(__file__).parent.parent / "data"
ONE_CPU, TWO_CPUS = DATA / "one-cpu.kev", DATA / "two-cpus.kev"
SOURCE = Recording.open(ONE_CPU)
BEGIN = SOURCE.states[0]

RMQ, DRAINED, FREED, ALLOCATED = (
    EventKind.GT_RMQ,
    EventKind.MM_PAGE_PCPU_DRAIN,
    EventKind.MM_PAGE_FREE,
    EventKind.MM_PAGE_ALLOC,
)
LIST_PAGES = 0x10000
"""First pfn of the pages on the hand-made list."""


def altered(target: Path, change: Callable[[EventChunk], EventChunk]) -> LevelResult:
    """The tuning level on the one-CPU excerpt with other events."""
    with KevWriter(target, SOURCE.machine) as writer:
        for chunk in SOURCE.events():
            writer.add_events(change(chunk))
        for state in SOURCE.states:
            writer.add_state(state)
        writer.set_losses(SOURCE.losses)
        writer.set_quality({})
    return verify(target, ["tuning"]).levels["tuning"]


def one_more(kind: int, which: int) -> Callable[[EventChunk], EventChunk]:
    """The kernel asked for one more, in the given gt_rmq of a kind."""

    def change(chunk: EventChunk) -> EventChunk:
        count = chunk.d.copy()
        count[np.flatnonzero((chunk.kind == RMQ) & (chunk.a == kind))[which]] += 1
        return chunk._replace(d=count)

    return change


def without_a_drain(chunk: EventChunk) -> EventChunk:
    """The kernel's first drain after the first insertion did not happen."""
    insertion = np.flatnonzero((chunk.kind == RMQ) & (chunk.a == 5))[0]
    drain = next(i for i in np.flatnonzero((chunk.kind == RMQ) & (chunk.a == 2)) if i > insertion)
    return chunk.take(np.arange(chunk.rows) != drain)


def made(rows: list[dict[str, int]]) -> EventChunk:
    """Events by hand: times in milliseconds after the start, everything else 0 or absent by default."""
    columns: dict[str, Any] = {name: [row.get(name, 0) for row in rows] for name in EventChunk._fields}
    columns["ts"] = [BEGIN.ts + round(row["ms"] * 1e6) for row in rows]
    columns["pfn"] = [row.get("pfn", -1) for row in rows]
    return wide(EventChunk(**{name: np.array(values, np.int64) for name, values in columns.items()}))


def begun(count: int, *, active: bool = False, below: bool = False, **fields: int) -> AllocatorState:
    """A start state whose only list holds *count* movable pages."""
    nothing = np.zeros(count, np.int16)
    pages = PcpPages(nothing, nothing, (nothing + 1).astype(np.int8), LIST_PAGES + np.arange(count))
    own = {name: np.array([value], np.int32) for name, value in fields.items()}
    zone = replace(BEGIN.zones[0], flags=2 * active + 4 * below)
    return replace(
        BEGIN,
        zones=(zone,),
        pcp=BEGIN.pcp._replace(count=np.array([count], np.int32), **own),
        pcp_pages=pages,
    )


def level_of(start: AllocatorState, rows: list[dict[str, int]], *dumps: AllocatorState) -> LevelResult:
    """What the level says of hand-made events, with dumps in between at their times."""
    level = TuningLevel(Given.of(SOURCE, start))
    chunk, done = made(rows), 0
    for dump in [*dumps, None]:
        end = chunk.rows if dump is None else int(np.searchsorted(chunk.ts, dump.ts))
        level.feed(chunk.take(slice(done, end)), done)
        done = end
        if dump is not None:
            level.at_state(dump)
    return level.finish()


def insertion(ms: float, pid: int, pfn: int, count: int) -> dict[str, Any]:
    return {"ms": ms, "pid": pid, "kind": RMQ, "a": 5, "pfn": pfn, "mt": 1, "d": count}


def sub_batch(ms: float, pid: int, first: int, count: int, mt: int = 1) -> list[dict[str, Any]]:
    """A gt_rmq 2, and the pages that it drains."""
    request = {"ms": ms, "pid": pid, "kind": RMQ, "a": 2, "mt": mt, "d": count}
    pages = [{"ms": ms, "pid": pid, "kind": DRAINED, "pfn": first + n, "mt": 1} for n in range(count)]
    return [request, *pages]


def test_one_cpu_refills_drains_and_fields_are_the_kernels() -> None:
    level = verify(ONE_CPU, ["tuning"]).levels["tuning"]
    assert level.mismatches == 0, level.first
    assert level.kinds[KINDS[D_REFILL]].decisions == 32
    assert level.kinds[KINDS[D_DRAIN]].decisions == 42
    assert level.dumps == {"1": True}
    assert not any(
        "gt_rmq 2" in name and "full" not in name and "before" not in name for name in level.inputs
    )
    assert any("are not counted as decisions" in note for note in level.notes)


def test_two_cpus_without_insertions() -> None:
    level = verify(TWO_CPUS, ["tuning"]).levels["tuning"]
    assert level.kinds[KINDS[D_REFILL]].exactness == 1.0
    assert level.kinds[KINDS[D_DRAIN]].decisions > 100
    assert level.exactness is not None
    assert level.exactness > 0.99


def test_a_recording_without_refills_and_drains_does_not_exercise_it() -> None:
    stock = verify(
        DATA.parent.parent / "src" / "kevacuate" / "data" / "stock-churn-1g-smp1-s3.kev", ["tuning"]
    )
    assert stock.levels["tuning"].not_exercised
    assert not stock.passes(0.0)


def test_a_refill_of_another_size_is_a_mismatch(tmp_path: Path) -> None:
    level = altered(tmp_path / "refill.kev", one_more(0, 3))
    assert level.kinds[KINDS[D_REFILL]].mismatches == 1
    assert level.causes[CAUSES[X_REFILL]] == 1
    assert level.first is not None
    assert "size of a refill" in level.first.what
    assert level.first.around == () or any(line.startswith(">") for line in level.first.around)


def test_a_sub_batch_of_another_size_is_a_mismatch(tmp_path: Path) -> None:
    level = altered(tmp_path / "drain.kev", one_more(2, 5))
    assert level.kinds[KINDS[D_DRAIN]].mismatches == 1
    assert level.causes == {CAUSES[X_AMOUNT]: 1}


def test_a_drain_that_did_not_happen_is_a_mismatch(tmp_path: Path) -> None:
    level = altered(tmp_path / "none.kev", without_a_drain)
    assert level.kinds[KINDS[D_DRAIN]].mismatches >= 1


def test_a_field_that_differs_at_a_dump_is_a_mismatch_and_resynchronising_is_counted() -> None:
    rows = [{"ms": 1, "pid": 7, "kind": ALLOCATED, "pfn": 0x20000}]
    start = begun(10, high=8000)
    right = replace(start, tag="x", ts=BEGIN.ts + 2_000_000)
    wrong = replace(right, pcp=right.pcp._replace(high=np.array([8001], np.int32)))
    assert level_of(start, rows, right).mismatches == 0
    level = level_of(start, rows, wrong)
    assert level.kinds[KINDS[D_HIGH]].mismatches == 1
    assert level.dumps == {"x": False}
    assert level.first is not None
    assert (level.first.position, level.first.model, level.first.kernel) == (
        -1,
        "8000, with count 10",
        "8001",
    )
    resynced = TuningLevel(Given.of(SOURCE, start, resync=True))
    resynced.at_state(wrong)
    resynced.at_state(wrong)
    assert resynced.finish().resyncs == 1


def test_refills_that_bring_nothing_still_change_the_tuning() -> None:
    def refill(ms: float, count: int) -> dict[str, Any]:
        return {"ms": ms, "pid": 7, "kind": RMQ, "a": 0, "d": count, "pfn": -1}

    ramp = [refill(n, count) for n, count in enumerate((63, 126, 252, 504, 1008, 2016, 2016), 1)]
    freed = insertion(8, 7, 0x20000, 1)
    start = begun(0, high=0, alloc_factor=0, free_count=0)
    level = level_of(start, [*ramp, freed, refill(9, 252)])
    assert level.kinds[KINDS[D_REFILL]].decisions == 8
    assert level.mismatches == 0
    assert level_of(start, [*ramp, freed, refill(9, 2016)]).causes == {CAUSES[X_REFILL]: 1}
    again = insertion(8.5, 7, 0x20001, 2)
    assert level_of(start, [*ramp, freed, again, refill(9, 126)]).mismatches == 0


def test_a_drain_goes_on_after_another_task_came_between_its_sub_batches() -> None:
    start = begun(251, active=True, high=7040, alloc_factor=0, free_count=150)
    rows = [
        insertion(1, 100, 0x20000, 252),
        *sub_batch(1.1, 100, LIST_PAGES, 63),
        insertion(2, 200, 0x20001, 190),
        *sub_batch(3, 100, LIST_PAGES + 63, 63),
        *sub_batch(3.1, 100, LIST_PAGES + 126, 25),
    ]
    level = level_of(start, rows)
    assert level.kinds[KINDS[D_DRAIN]].decisions == 1
    assert level.mismatches == 0
    assert level_of(start, rows[:-26]).causes == {CAUSES[X_BROKEN]: 1}


def test_a_drain_whose_list_was_emptied_meanwhile_is_over() -> None:
    start = begun(251, active=True, high=7040, alloc_factor=0, free_count=150)
    rows = [
        insertion(1, 100, 0x20000, 252),
        *sub_batch(1.1, 100, LIST_PAGES, 63),
        {"ms": 2, "pid": 200, "kind": RMQ, "a": 2, "mt": 0, "d": 189},  # a full drain asks for all there is
        *[{"ms": 2.1, "pid": 200, "kind": DRAINED, "pfn": LIST_PAGES + n, "mt": 1} for n in range(63, 251)],
        {"ms": 2.1, "pid": 200, "kind": DRAINED, "pfn": 0x20000, "mt": 1},
        {"ms": 3, "pid": 100, "kind": FREED, "pfn": 0x20001},
    ]
    level = level_of(start, rows)
    assert level.inputs["full drains: compaction, drain_all_pages (gt_rmq 2)"] == 1
    assert level.mismatches == 0


@pytest.mark.parametrize(
    ("order", "event", "ends"),
    [
        (0, EventKind.COMPACTION_SUITABLE, True),
        (0, EventKind.COMPACTION_WAKEUP_KCOMPACTD, True),
        (9, EventKind.COMPACTION_SUITABLE, False),  # should_continue_reclaim asks, too
        (9, EventKind.COMPACTION_WAKEUP_KCOMPACTD, True),
    ],
)
def test_kswapd_is_not_active_once_it_wakes_kcompactd(order: int, event: int, ends: bool) -> None:
    start = begun(251, high=7040, alloc_factor=0, free_count=0)
    rows = [
        {"ms": 1, "pid": 28, "kind": EventKind.VMSCAN_BALANCE_PGDAT_BEGIN, "order": order, "b": 2},
        {"ms": 2, "pid": 28, "kind": event, "order": 9},
        insertion(3, 7, 0x20000, 252),
    ]
    level = level_of(start, rows)
    assert level.mismatches == (0 if ends else 1)  # of a list with 252 pages an active kswapd leaves 189
    told = "kswapd's activity: balance_pgdat at its wake-up of kcompactd, before its end's event"
    assert level.inputs.get(told, 0) == ends
    rows[1]["pid"] = 24  # kcompactd asks by itself
    assert level_of(start, rows).mismatches == 1


def test_below_high_is_cleared_at_the_end_of_a_drain_not_between_its_sub_batches() -> None:
    start = begun(7200, below=True, high=9000, alloc_factor=0, free_count=126)
    rows = [
        insertion(1, 100, 0x20000, 7201),
        *sub_batch(1.1, 100, LIST_PAGES, 63),
        insertion(2, 200, 0x20001, 7139),  # the first task was preempted: the zone is still below its mark
        *sub_batch(2.1, 200, LIST_PAGES + 63, 63),
        *sub_batch(2.2, 200, LIST_PAGES + 126, 63),
        *sub_batch(2.3, 200, LIST_PAGES + 189, 2),
        insertion(3, 300, 0x20002, 7012),
        *sub_batch(4, 100, LIST_PAGES + 191, 63),
        *sub_batch(4.1, 100, LIST_PAGES + 254, 1),
    ]
    level = level_of(start, rows)
    assert level.kinds[KINDS[D_DRAIN]].decisions == 2
    assert level.mismatches == 0


def test_below_high_is_cleared_before_compaction_takes_free_pages() -> None:
    start = begun(7200, below=True, high=9000, alloc_factor=0, free_count=20)
    free = int(np.left_shift(1, start.free.order.astype(np.int64)).sum())
    taken = {"pid": 24, "kind": EventKind.GT_LIST, "a": 2, "order": 10, "mt": 1, "pfn": 0x30000}
    rows = [
        insertion(1, 100, 0x20000, 7201),
        *sub_batch(1.1, 100, LIST_PAGES, 63),
        *[{"ms": 2, **taken} for _ in range(free >> 10)],
        insertion(3, 200, 0x20001, 7139),
    ]
    level = level_of(start, rows)
    assert level.kinds[KINDS[D_DRAIN]].decisions == 1
    assert level.mismatches == 0


def test_ticks_of_the_vmstat_worker_are_rounded_to_eight_jiffies() -> None:
    """Three seconds of 992 ms and one of 1,024: a dump 8 ms before each tick, and one 8 ms behind it."""
    start = begun(100, high=60000)
    ticks = [{"ms": ms, "pid": 7, "kind": ALLOCATED, "pfn": 0x20000} for ms in range(2, 4400, 2)]
    high, dumps = 60000, []
    for at in (300, 1292, 2284, 3276, 4300):
        for ms in (at - 8, at + 8):
            own = start.pcp._replace(high=np.array([high], np.int32))
            dumps.append(replace(start, tag=str(ms), ts=BEGIN.ts + ms * 1_000_000, pcp=own))
            high -= (high >> 3) if ms < at else 0
    level = level_of(start, ticks, *dumps)
    assert level.kinds[KINDS[D_HIGH]].decisions == 10
    assert level.mismatches == 0, level.dumps


def test_the_phase_is_fitted_and_one_number() -> None:
    ticks = [{"ms": ms, "pid": 7, "kind": ALLOCATED, "pfn": 0x20000} for ms in range(10, 900, 10)]
    start = begun(100, high=12000)
    phase = (BEGIN.ts // 1_000_000 + 300 - 20) % 1000  # the wheel rounds up, by 8 to 32 ms
    before, after = (
        replace(start, tag=tag, ts=BEGIN.ts + ms * 1_000_000) for tag, ms in (("before", 250), ("after", 350))
    )
    after = replace(after, pcp=after.pcp._replace(high=np.array([12000 - 1500], np.int32)))
    level = level_of(start, ticks, before, after)
    assert level.dumps == {"before": True, "after": True}
    note = next(note for note in level.notes if "was fitted" in note)
    fitted = round(float(note.split("fitted. ")[1].split(" s")[0]) * 1000)
    assert abs((fitted - phase + 500) % 1000 - 500) <= 60


def test_a_decay_that_drains_happens_when_it_is_seen() -> None:
    start = begun(7100, high=8000, free_count=0)
    tick = [{"ms": ms, "pid": 7, "kind": ALLOCATED, "pfn": 0x20000} for ms in range(10, 1300, 10)]
    freed = insertion(5, 7, 0x30000, 7101)
    rows = sorted([freed, *tick, *sub_batch(605, 9, LIST_PAGES, 61, mt=0)], key=lambda row: row["ms"])
    level = level_of(start, rows)
    assert level.kinds[KINDS[D_DECAY]].decisions >= 1
    assert level.mismatches == 0
    assert level_of(start, [freed, *tick]).kinds[KINDS[D_DECAY]].mismatches == 1


@pytest.mark.parametrize("comes", [True, False])
def test_a_decay_whose_worker_is_late_has_not_happened_until_it_drains(comes: bool) -> None:
    """The first tick, at 300 ms, drains nothing; the second, 992 or 1,024 ms later, has 460 pages to drain."""
    start = begun(7499, high=9000, free_count=0)
    ticks = [{"ms": ms, "pid": 7, "kind": ALLOCATED, "pfn": 0x20000} for ms in range(2, 2200, 2)]
    ticks.insert(0, insertion(1, 7, 0x30000, 7500))
    drains = [
        row
        for n in range(0, 460, 63)
        for row in sub_batch(1700.5 + n / 1000, 9, LIST_PAGES + n, min(63, 460 - n), mt=0)
    ]
    dumps = []
    for ms, high in ((292, 9000), (308, 7875), (2190, 7040 if comes else 7875)):
        own = start.pcp._replace(high=np.array([high], np.int32), free_count=np.array([1], np.int32))
        dumps.append(replace(start, tag=str(ms), ts=BEGIN.ts + ms * 1_000_000, pcp=own))
    rows = sorted([*ticks, *(drains if comes else [])], key=lambda row: row["ms"])
    level = level_of(start, rows, *dumps)
    assert level.kinds[KINDS[D_HIGH]].mismatches == 0
    assert level.mismatches == (0 if comes else 1)
    assert level.kinds[KINDS[D_DECAY]].decisions == (8 if comes else 1)


@pytest.mark.parametrize(
    ("equal", "expected"),
    [
        (range(10, 21), (15, 11)),
        ([*range(240, 250), *range(5)], (247, 15)),
        ([7, *range(100, 104)], (101, 4)),
    ],
)
def test_of_equal_phases_the_middle_of_the_longest_row_is_taken(
    equal: range, expected: tuple[int, int]
) -> None:
    mismatches = np.full(250, 9)
    mismatches[list(equal)] = 2
    phase, fits, ascending = best_phase(mismatches)
    assert (phase, fits) == expected
    assert ascending[0] == 2


def test_no_phase_is_better_than_another_without_evidence() -> None:
    assert best_phase(np.zeros(250, np.int64))[:2] == (0, 250)
