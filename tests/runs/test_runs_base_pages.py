# SPDX-License-Identifier: GPL-2.0-or-later
"""A closed loop whose model cannot satisfy a huge fault, or a large folio of the page cache: base pages take its place."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from synthetic import ANON, END, FILE, FIRST, Script, reordered, write_recording

from kevacuate.demand.build import build_demand
from kevacuate.demand.pagekinds import PageKindModel
from kevacuate.demand.quality import DemandQuality
from kevacuate.errors import KevacuateError
from kevacuate.kernel import gfp as g
from kevacuate.mm import constants as k
from kevacuate.mm.check import check
from kevacuate.policy import parse_policy
from kevacuate.recording import DemandOp, PageAttr, Recording
from kevacuate.runs.base_page_ids import more_base_pages
from kevacuate.runs.base_pages import CLEAR_PAGE_NS, FAULT_NS
from kevacuate.runs.huge_faults import HugeFaults
from kevacuate.runs.noting import NOTE_ALLOC, NOTE_FREE, NotingReplay
from kevacuate.runs.options import ReplayOptions
from kevacuate.runs.replay import Replay, replay
from kevacuate.runs.variation import Variation

HUGE, SIZE = 9, 512
FAULT = g.GFP_TRANSHUGE | g.GFP_NORETRY
ASKED = {"mt": k.MIGRATE_MOVABLE, "gfp": FAULT, "attr": ANON}
PINNED = int(PageAttr.LRU | PageAttr.PINNED)
OBJECTS, SHADOWS = 9_000, 2_048
FIRST_OBJECT, HELD = 100, 7_600
"""Objects of pinned pages that fill the machine; every second of them is freed then."""
PLUG = (g.GFP_HIGHUSER_MOVABLE | g.GFP_COMP) & ~g.GFP_RECLAIM
PLUGS = 7_800
FAULTS = 8_000
"""Objects from here on are huge faults."""
STEP = 2_000


def fragmented(every: int = 2, attr: int = PINNED, mt: int = k.MIGRATE_MOVABLE) -> Script:
    """Pages that cannot move, but for each one in *every*: no chunk of any size is free, nor can compaction make one."""
    script = Script(STEP)
    for obj in range(FIRST_OBJECT, FIRST_OBJECT + HELD):
        script.alloc(obj, mt=mt, attr=attr)
    for obj in range(FIRST_OBJECT, FIRST_OBJECT + HELD, every):
        script.free(obj)
    for number in range(100):  # what was not filled, down to order 1
        script.alloc(PLUGS + number, max(9 - number // 4, 1), mt=mt, attr=attr, gfp=PLUG)
    return script


def fault(script: Script, obj: int = FAULTS, order: int = HUGE, **more: int) -> None:
    script.alloc(obj, order, **(ASKED | more))


def stored(path: Path, script: Script, **counts: int) -> Path:
    quality = DemandQuality(
        **{"alloc_events": 1, "peak_objects": OBJECTS, "peak_shadows": SHADOWS, "attempts": 1} | counts
    )
    facts = {"quality": quality.as_dict(), "page_kinds": asdict(PageKindModel())}
    return write_recording(path / "made.kev", script, facts=facts)


def begun(path: Path, policy: str = "mainline", loop: str = "closed", kind: type[Replay] = Replay) -> Replay:
    recording = Recording.open(path)
    run = kind(recording, build_demand(recording), parse_policy(policy), ReplayOptions(loop=loop))
    run._next_sample = run._interval = k.NEVER
    return run


def fed(path: Path, script: Script, policy: str = "mainline", loop: str = "closed", **counts: int) -> Replay:
    """A replay of all rows, before its last sample; the state keeps the model's rules."""
    run = begun(stored(path, script, **counts), policy, loop)
    for chunk in run.demand.chunks(closed=run.loop.closed):
        run.feed(chunk)
    check(run.state)
    return run


def more(run: Replay, script: Script) -> Replay:
    """Further rows, later."""
    script.rows = [(row[0] + run._last_time + STEP, *row[1:]) for row in script.rows]
    run.feed(script.chunk())
    check(run.state)
    return run


def base_pages(run: Replay) -> np.ndarray:
    """What the table holds for the ids of base pages."""
    stat = run.state.view.stat
    return run.state.obj[stat.first_base_page : stat.first_base_page + stat.nr_base_pages]


def used_pages(run: Replay) -> int:
    """Pages that objects have: the whole table's."""
    held = run.state.obj[run.state.obj >= 0]
    return int(np.left_shift(1, (run.state.meta[held] & 15).astype(np.int64)).sum())


def free_pages(run: Replay) -> int:
    """Free pages: in the buddy lists and on per-CPU lists."""
    meta = run.state.meta[FIRST:END]
    free = np.isin(meta >> 4, (k.CHUNK_BUDDY, k.CHUNK_PCP))
    return int(np.left_shift(1, (meta[free] & 15).astype(np.int64)).sum())


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, int]:
    """Used and free pages of the fragmented machine."""
    run = fed(tmp_path_factory.mktemp("before"), fragmented())
    assert not any(list(run.state.view.zone[0].free_area)[1:])
    return used_pages(run), free_pages(run)


def test_a_huge_fault_that_fails_takes_as_many_base_pages(tmp_path: Path, before: tuple[int, int]) -> None:
    script = fragmented()
    fault(script)
    run = fed(tmp_path, script)
    stat = run.state.view.stat
    assert (stat.base_pages, stat.base_pages_failed, stat.thp_fault_fallback) == (SIZE, 0, 1)
    assert used_pages(run) == before[0] + SIZE
    assert free_pages(run) == before[1] - SIZE
    held = base_pages(run)[:SIZE]
    assert np.unique(held).size == SIZE
    assert (run.state.meta[held] == k.CHUNK_ALLOC << 4).all()
    first = stat.first_base_page
    assert run.state.link[2 * held].tolist() == list(range(first, first + SIZE))
    assert (run.state.link[2 * held + 1] & k.ATTR_LRU).all()
    assert run.state.obj[FAULTS] < -4


def test_their_faults_take_time_in_which_the_background_runs(tmp_path: Path) -> None:
    """On a CPU that is shared; the recorded task had no time but for the huge page, which was cleared."""
    run = fed(tmp_path, fragmented())
    view = run.state.view
    view.cfg.kswapd_slice_ns, view.cfg.time_scale = 1_000_000, 2
    row = Script()
    fault(row)
    began = run._last_time + STEP
    due = began + SIZE * FAULT_NS
    view.cpu[0].vmstat_due = view.stat.next_due = due
    more(run, row)
    assert view.stat.base_pages == SIZE
    assert view.cpu[0].vmstat_due == due + view.cfg.stat_interval
    assert view.stat.now == began + 2 * SIZE * FAULT_NS
    assert view.stat.late == 2 * SIZE * (FAULT_NS - CLEAR_PAGE_NS)


def test_elsewhere_they_are_taken_in_one_moment(tmp_path: Path) -> None:
    run = fed(tmp_path, fragmented())
    row = Script()
    fault(row)
    more(run, row)
    assert (run.state.view.stat.now, run.state.view.stat.late) == (run._last_time, 0)


def test_the_open_loop_has_none(tmp_path: Path) -> None:
    script = fragmented()
    fault(script)
    script.add(DemandOp.ATTEMPT, 0, HUGE, **ASKED)
    run = fed(tmp_path, script, loop="open")
    stat = run.state.view.stat
    assert (stat.base_pages, stat.nr_base_pages, stat.thp_fault_fallback, stat.attempts) == (0, 0, 1, 0)
    assert run.state.obj[FAULTS] == -3


def test_no_other_request_falls_back(tmp_path: Path) -> None:
    script = fragmented()
    fault(script, gfp=g.GFP_HIGHUSER_MOVABLE | g.GFP_COMP | g.GFP_NORETRY)
    fault(script, FAULTS + 1, order=4)
    fault(script, FAULTS + 2, mt=k.MIGRATE_UNMOVABLE, gfp=g.GFP_KERNEL | g.GFP_COMP | g.GFP_NORETRY, attr=0)
    run = fed(tmp_path, script)
    assert run.state.obj[FAULTS : FAULTS + 3].tolist() == [-3] * 3
    assert run.state.view.stat.base_pages == 0


def test_freeing_the_object_frees_them(tmp_path: Path, before: tuple[int, int]) -> None:
    script = fragmented()
    fault(script)
    script.free(FAULTS, HUGE)
    run = fed(tmp_path, script)
    assert (used_pages(run), free_pages(run)) == before
    assert (base_pages(run) == -1).all()
    assert run.state.obj[FAULTS] == -1
    again = Script()
    again.free(FAULTS, HUGE)
    with pytest.raises(KevacuateError, match=f"frees object {FAULTS}, which was never allocated or is freed"):
        more(run, again)


@pytest.mark.parametrize("seed", range(4))
def test_halving_shares_them_out_down_to_single_pages(
    tmp_path: Path, before: tuple[int, int], seed: int
) -> None:
    """Random halvings and frees: each part has its share of the pages, and all of them come back."""
    rng = np.random.default_rng(seed)
    script = fragmented()
    fault(script)
    run = fed(tmp_path, script)
    start = base_pages(run)[:SIZE].tolist()
    parts, spare = {FAULTS: (0, HUGE)}, FAULTS + 1
    while parts:
        rows = Script()
        obj = int(rng.choice(list(parts)))
        first, order = parts.pop(obj)
        if order and rng.random() < 0.7:
            rows.add(DemandOp.SPLIT, obj, order, aux=spare)
            parts |= {obj: (first, order - 1), spare: (first + (1 << order - 1), order - 1)}
            spare += 1
        else:
            rows.free(obj, order)
        more(run, rows)
        assert used_pages(run) == before[0] + sum(1 << order for _, order in parts.values())
        for obj, (first, order) in parts.items():
            if order == 0:
                assert run.state.obj[obj] == start[first]
                assert run.state.link[2 * start[first]] == obj
    assert (used_pages(run), free_pages(run)) == before
    assert (base_pages(run) == -1).all()


def test_a_single_page_cannot_be_halved(tmp_path: Path) -> None:
    script = fragmented()
    fault(script)
    for order in range(HUGE, 0, -1):
        script.add(DemandOp.SPLIT, FAULTS, order, aux=FAULTS + order)
    script.add(DemandOp.SPLIT, FAULTS, 1, aux=FAULTS + 50)
    with pytest.raises(KevacuateError, match=f"splits object {FAULTS}"):
        fed(tmp_path, script)


def test_an_object_in_base_pages_is_in_use(tmp_path: Path) -> None:
    script = fragmented()
    fault(script)
    fault(script)
    with pytest.raises(KevacuateError, match=f"allocates object {FAULTS}, which is still in use"):
        fed(tmp_path, script)


def test_what_cannot_be_had_stays_failed(tmp_path: Path) -> None:
    """Faults until memory is full: the last ones have a part, or nothing; all is given back at the end."""
    script = fragmented()
    count = HELD // 2 // SIZE + 4
    for obj in range(FAULTS, FAULTS + count):
        fault(script, obj)
    run = fed(tmp_path, script)
    stat = run.state.view.stat
    assert stat.base_pages_failed > 0
    assert stat.base_pages + stat.base_pages_failed == count * SIZE
    assert (base_pages(run) >= 0).sum() == stat.base_pages
    assert (run.state.obj[FAULTS : FAULTS + count] == -3).any()
    failed = int((base_pages(run) == -3).sum())
    assert 0 <= failed < stat.base_pages_failed
    whole = int((run.state.obj[FAULTS : FAULTS + count] == -3).sum())
    rows = Script()
    for obj in range(FAULTS, FAULTS + count):
        rows.free(obj, HUGE)
    more(run, rows)
    assert run.state.view.stat.failed_then_freed == failed + whole
    assert (base_pages(run) == -1).all()


def test_ids_are_found_again_and_the_table_grows(tmp_path: Path) -> None:
    script = fragmented()
    for obj in range(FAULTS, FAULTS + 5):
        fault(script, obj)
    run = fed(tmp_path, script)
    stat = run.state.view.stat
    assert stat.base_pages == 5 * SIZE
    assert stat.nr_base_pages >= 5 * SIZE
    assert run.state.obj.size == stat.first_base_page + stat.nr_base_pages
    grown = stat.nr_base_pages
    rows = Script()
    for turn in range(40):
        rows.free(FAULTS + turn % 5, HUGE)
        fault(rows, FAULTS + turn % 5)
    more(run, rows)
    assert run.state.view.stat.base_pages == 45 * SIZE
    assert run.state.view.stat.nr_base_pages <= 2 * grown < 45 * SIZE
    for _ in range(12):
        run.state = more_base_pages(run.state)
    assert run.state.view.stat.nr_base_pages == 2 * END
    check(run.state)


def test_chunks_and_a_second_run_change_nothing(tmp_path: Path) -> None:
    script = fragmented()
    for obj in range(FAULTS, FAULTS + 6):
        fault(script, obj)
    path = stored(tmp_path, script)
    runs = [
        replay(path, "evacuate", options=ReplayOptions(loop="closed", chunk_rows=rows, samples=7))
        for rows in (1 << 18, 1 << 18, 1, 5)
    ]
    assert len({run.provenance["final_state_digest"] for run in runs}) == 1
    assert all(run.metrics == runs[0].metrics for run in runs)
    assert runs[0].metrics["base_pages"] == 6 * SIZE


def movable_base_pages(tmp_path: Path, policy: str) -> tuple[Replay, np.ndarray]:
    """A fault in base pages, whose pageblocks have no pinned pages any more."""
    script = fragmented()
    fault(script)
    run = fed(tmp_path, script, policy)
    old = base_pages(run)[:SIZE].copy()
    blocks, rows = np.unique(old // SIZE), Script()
    for obj in range(FIRST_OBJECT + 1, FIRST_OBJECT + HELD, 2):
        if run.state.obj[obj] // SIZE in blocks:
            rows.free(obj)
    more(run, rows)
    run.state.block[::2] &= 0xFF ^ k.PB_COMPACT_SKIP  # what the fault's own compaction has left behind
    zone = run.state.view.zone[0]
    zone.compact_cached_migrate_pfn[0] = zone.compact_cached_migrate_pfn[1] = zone.zone_start_pfn
    zone.compact_cached_free_pfn = (zone.zone_end_pfn - 1) // SIZE * SIZE
    zone.compact_considered = zone.compact_defer_shift = 0
    return run, old


def moved(run: Replay, old: np.ndarray) -> int:
    """How many base pages are elsewhere; all are there, and their own."""
    now = base_pages(run)[:SIZE]
    assert np.unique(now).size == SIZE
    first = run.state.view.stat.first_base_page
    assert run.state.link[2 * now].tolist() == list(range(first, first + SIZE))
    return int((now != old).sum())


def test_evacuation_moves_them_one_by_one(tmp_path: Path) -> None:
    run, old = movable_base_pages(tmp_path, "evacuate")
    rows = Script(STEP)
    for obj in range(FIRST_OBJECT, FIRST_OBJECT + 200, 2):
        rows.alloc(obj, order=1, mt=k.MIGRATE_UNMOVABLE)
    rows.alloc(FIRST_OBJECT + 2_000, t=rows.rows[-1][0] + 10**9)
    more(run, rows)
    stat = run.state.view.stat
    assert stat.migrated > 0
    assert 0 < moved(run, old) <= stat.migrated
    rows = Script()
    rows.free(FAULTS, HUGE)
    more(run, rows)
    assert (base_pages(run) == -1).all()


def test_compaction_moves_them_one_by_one(tmp_path: Path) -> None:
    run, old = movable_base_pages(tmp_path, "mainline")
    rows = Script(STEP)
    for obj in range(FIRST_OBJECT, FIRST_OBJECT + 400, 2):
        rows.alloc(obj, order=2, mt=k.MIGRATE_MOVABLE, attr=PINNED)
    rows.alloc(FIRST_OBJECT + 2_000, t=rows.rows[-1][0] + 10**9)
    more(run, rows)
    stat = run.state.view.stat
    assert 0 < moved(run, old) <= stat.pgmigrate_success
    rows = Script()
    rows.free(FAULTS, HUGE)
    more(run, rows)
    assert (base_pages(run)[:SIZE] == -1).all()


def test_notes_account_for_them(tmp_path: Path) -> None:
    script = fragmented()
    fault(script)
    script.free(FAULTS, HUGE)
    path = stored(tmp_path, script)
    run = begun(path, kind=NotingReplay)
    assert isinstance(run, NotingReplay)
    run.watch(FIRST, END)
    for chunk in run.demand.chunks(closed=True):
        run.feed(chunk)
    run.take_log()
    notes = run.records()
    own = notes[notes[:, 7] >= run.state.view.stat.first_base_page]
    assert (own[:, 1] == NOTE_ALLOC).sum() == (own[:, 1] == NOTE_FREE).sum() == SIZE
    assert (own[:, 4] == 0).all()
    plain = fed(tmp_path / "plain", script)
    assert (plain.state.meta == run.state.meta).all()


FOLIO = {"mt": k.MIGRATE_MOVABLE, "gfp": PLUG, "attr": FILE}


def large_folio(order: int = 3) -> Script:
    """A folio of the page cache that the model has in base pages."""
    script = fragmented()
    script.alloc(FAULTS, order, **FOLIO)
    return script


def drop(run: Replay, *numbers: int) -> None:
    """Drop base pages, as reclaim does."""
    from kevacuate.mm import entry

    for number in numbers:
        entry.lru_add_drain_all(run.state)
        at = run.state.view.stat.first_base_page + number
        entry.free(run.state, 0, int(run.state.obj[at]))
        run.state.obj[at] = -2
        entry_at = 2 * (run.state.view.cfg.lru_first + at)
        run.state.lru[entry_at : entry_at + 2] = (
            0  # its shadow entry: node 0, evicted when its lists were new
        )


def test_a_large_folio_of_the_page_cache_takes_small_ones(tmp_path: Path) -> None:
    run = fed(tmp_path, large_folio())
    assert run.state.view.stat.base_pages == 8
    held = base_pages(run)[:8]
    assert (run.state.link[2 * held + 1] & k.ATTR_FILE).all()
    drop(run, 2, 5)
    rows = Script()
    rows.add(DemandOp.ACCESS, FAULTS, 3, **FOLIO)
    more(run, rows)
    held = base_pages(run)[:8]
    assert (held >= 0).all()
    assert (run.state.link[2 * held + 1] & k.ATTR_REFERENCED).all()
    assert run.state.view.stat.refault_pages == 2
    assert run.state.view.stat.workingset_refault_file == 2
    rows = Script()
    rows.free(FAULTS, 3)
    more(run, rows)
    assert (base_pages(run) == -1).all()


def test_dropped_base_pages_are_freed_as_dropped(tmp_path: Path) -> None:
    run = fed(tmp_path, large_folio())
    drop(run, 0, 7)
    rows = Script()
    rows.add(DemandOp.SPLIT, FAULTS, 3, aux=FAULTS + 1)
    rows.free(FAULTS, 2)
    rows.add(DemandOp.SPLIT, FAULTS + 1, 2, aux=FAULTS + 2)
    rows.add(DemandOp.SPLIT, FAULTS + 2, 1, aux=FAULTS + 3)
    more(run, rows)
    assert run.state.obj[FAULTS + 3] == -2
    rows = Script()
    for obj, order in ((FAULTS + 1, 1), (FAULTS + 2, 0), (FAULTS + 3, 0)):
        rows.free(obj, order)
    more(run, rows)
    assert run.state.view.stat.dropped_then_freed == 2
    assert (base_pages(run) == -1).all()


def test_reclaimed_by_the_recorded_kernel_each_has_its_own_shadow(
    tmp_path: Path, before: tuple[int, int]
) -> None:
    script = large_folio()
    script.add(DemandOp.RECLAIM, FAULTS, 3, aux=16)
    run = fed(tmp_path, script)
    stat = run.state.view.stat
    assert stat.kept_pages == 8
    assert (base_pages(run) == -1).all()
    shadows = slice(stat.first_shadow + 16, stat.first_shadow + 24)
    old = run.state.obj[shadows].tolist()
    assert run.state.link[2 * run.state.obj[shadows]].tolist() == list(range(shadows.start, shadows.stop))
    rows = Script()
    rows.alloc(FAULTS + 1, 3, aux=16, **FOLIO)  # the whole of it is read again
    more(run, rows)
    assert base_pages(run)[base_pages(run) >= 0].tolist() == old
    assert run.state.view.stat.hit_pages == 8
    rows = Script()
    rows.add(DemandOp.RECLAIM, FAULTS + 1, 3, aux=16)
    rows.alloc(FAULTS + 1, 0, aux=17, **FOLIO)
    rows.add(DemandOp.TRUNCATE, 0, 3, aux=16)
    rows.free(FAULTS + 1)
    more(run, rows)
    assert run.state.view.stat.truncated_pages == 7
    assert (used_pages(run), free_pages(run)) == before


def test_of_what_is_read_again_dropped_pages_are_allocated(tmp_path: Path) -> None:
    script = large_folio()
    script.add(DemandOp.RECLAIM, FAULTS, 3, aux=16)
    run = fed(tmp_path, script)
    first = run.state.view.stat.first_shadow + 16
    drop(run, *(first + i - run.state.view.stat.first_base_page for i in (0, 3)))
    rows = Script()
    rows.alloc(FAULTS + 1, 3, aux=16, **FOLIO)
    more(run, rows)
    stat = run.state.view.stat
    assert (stat.hit_pages, stat.workingset_refault_file) == (6, 2)
    assert (base_pages(run) >= 0).sum() == 8
    assert (run.state.obj[first : first + 8] == -1).all()


def test_a_large_folio_that_is_used_again_falls_back_too(tmp_path: Path) -> None:
    run = fed(tmp_path, fragmented())
    run.state.obj[FAULTS] = -2
    rows = Script()
    rows.add(DemandOp.ACCESS, FAULTS, 3, **FOLIO)
    more(run, rows)
    stat = run.state.view.stat
    assert (stat.base_pages, stat.refault_pages, stat.refaults_failed) == (8, 8, 0)
    assert run.state.obj[FAULTS] < -4


def test_an_attempt_is_given_back(tmp_path: Path, before: tuple[int, int]) -> None:
    script = Script(STEP)
    script.add(DemandOp.ATTEMPT, 0, HUGE, **ASKED)
    script.rows += [(row[0] + 10 * STEP, *row[1:]) for row in fragmented().rows]
    script.add(DemandOp.ATTEMPT, 0, HUGE, **ASKED)
    script.add(DemandOp.ATTEMPT, 0, 3, mt=k.MIGRATE_UNMOVABLE, gfp=g.GFP_ATOMIC)
    run = fed(tmp_path, script)
    stat = run.state.view.stat
    assert (stat.attempts, stat.attempts_given_back) == (3, 1)
    assert (stat.thp_fault_alloc, stat.thp_fault_fallback) == (1, 1)
    assert stat.compact_stall + stat.direct_reclaims > 0
    assert (used_pages(run), free_pages(run)) == before


def test_attempts_follow_the_settings_of_huge_faults() -> None:
    script = Script()
    script.alloc(0, 0, mt=1)
    script.add(DemandOp.ATTEMPT, 0, HUGE, **ASKED)
    script.add(DemandOp.ATTEMPT, 0, 3, mt=1, gfp=g.GFP_ATOMIC)
    script.free(0)
    never = HugeFaults(HUGE, enabled="never", defrag=None, first_object=10).rewritten(script.chunk())
    assert [(int(o), int(n)) for o, n in zip(never.op, never.order, strict=True)] == [(0, 0), (8, 3), (1, 0)]
    defer = HugeFaults(HUGE, enabled=None, defrag="defer", first_object=10).rewritten(script.chunk())
    assert defer.gfp[1] == g.GFP_TRANSHUGE_LIGHT | g.GFP_KSWAPD_RECLAIM
    assert defer.gfp[2] == g.GFP_ATOMIC


def test_attempts_keep_their_task_when_tasks_are_shifted() -> None:
    script = Script()
    for obj in range(64, 80):
        script.alloc(obj, 0, mt=1)
        script.add(DemandOp.ATTEMPT, 0, HUGE, **ASKED)
    rows = script.chunk()
    rows = rows._replace(task=(np.arange(rows.t.size) // 4 % 3).astype(np.int32))
    other, ids = reordered(rows, 0, 3, Variation(interleave_ns=10**7, interleave_period_ns=10**7))
    assert ids == 16
    assert (np.bincount(other.op) == np.bincount(rows.op)).all()
    for task in range(3):
        assert other.op[other.task == task].tolist() == rows.op[rows.task == task].tolist()


CASES = {
    "order": ({"order": 11}, "an order above MAX_PAGE_ORDER"),
    "largest order": ({"order": 255}, "an order above MAX_PAGE_ORDER"),
    "type": ({"mt": 3}, "a migratetype that nobody can ask for"),
    "cpu": ({"cpu": 2}, "a CPU that the machine does not have"),
    "object": ({"obj": -1}, "an object id outside the table"),
    "time": ({"t": 1 << 62}, "a time that runs backwards or is years away"),
}


@pytest.mark.parametrize("name", CASES)
def test_attempts_that_cannot_be(tmp_path: Path, name: str) -> None:
    row, words = CASES[name]
    script = Script()
    script.alloc(FAULTS)
    values = {"obj": 0, "order": HUGE, **ASKED} | row
    script.add(DemandOp.ATTEMPT, values.pop("obj"), values.pop("order"), **values)
    with pytest.raises(KevacuateError, match=words):
        fed(tmp_path, script)


HOSTILE = {
    "reclaimed by another order": ((DemandOp.RECLAIM, FAULTS, 3, 16), "reclaims object 8000"),
    "its base page freed": ((DemandOp.FREE, OBJECTS + SHADOWS, 0, 0), "an object id outside the table"),
    "its base page halved": ((DemandOp.SPLIT, OBJECTS + SHADOWS, 1, 5), "an object id outside the table"),
    "halved into itself": ((DemandOp.SPLIT, FAULTS, HUGE, FAULTS), "splits object 8000"),
    "halved into another": ((DemandOp.SPLIT, FAULTS, HUGE, FIRST_OBJECT + 1), "splits object 8000"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_rows_of_base_pages_that_cannot_be(tmp_path: Path, name: str) -> None:
    (op, obj, order, aux), words = HOSTILE[name]
    script = fragmented()
    fault(script)
    script.add(op, obj, order, aux=aux)
    with pytest.raises(KevacuateError, match=words):
        fed(tmp_path, script)


@pytest.mark.parametrize("seed", range(3))
def test_random_rows_never_break_the_model(tmp_path: Path, seed: int) -> None:
    """Rows drawn at random about few objects and shadows: each is replayed or refused, and the state stays whole."""
    rng = np.random.default_rng(seed)
    script = fragmented(3)
    run = fed(tmp_path, script)
    ops = [0, 0, 0, 1, 2, 5, 5, 6, 7, 8]
    refused = 0
    for _ in range(600):
        rows = Script()
        op, order = int(rng.choice(ops)), int(rng.choice([0, 1, 2, 3, HUGE]))
        kind = ASKED if order == HUGE else FOLIO
        obj = FAULTS + int(rng.integers(12)) if op not in (7, 8) else 0
        aux = (
            FAULTS + int(rng.integers(12))
            if op == 2
            else (512 * int(rng.integers(1, 3)) if op in (0, 5, 7) else 0)
        )
        if op == 0 and rng.random() < 0.5:
            aux = 0
        rows.add(op, obj, max(order, 1) if op == 2 else order, aux=aux, **kind)
        try:
            more(run, rows)
        except KevacuateError:
            refused += 1
            check(run.state)
    assert 0 < refused < 600
    assert run.state.view.stat.base_pages > SIZE
    own = base_pages(run)
    assert (own >= -3).all()
    assert used_pages(run) + free_pages(run) <= END - FIRST
