# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's settings as knobs of a policy: marks as the kernel computes them, memory taken away, huge faults rewritten."""

from __future__ import annotations

from dataclasses import replace as replaced
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import synthetic
from recorded_tools import DATA

from kevacuate import Recording
from kevacuate.demand.build import build_demand
from kevacuate.errors import KevacuateError
from kevacuate.kernel import gfp as g
from kevacuate.mm import constants as k
from kevacuate.mm.check import check
from kevacuate.mm.fields import PerCpuPages
from kevacuate.mm.marks import (
    LOWMEM_RESERVE_RATIO,
    ZoneSize,
    boot_min_free_kbytes,
    lowmem_reserve,
    zone_wmarks,
)
from kevacuate.policy import Policy, parse_policy
from kevacuate.recording import DemandOp
from kevacuate.recording.settings import recorded_settings
from kevacuate.runs.huge_faults import DEFRAG, HugeFaults, huge_faults
from kevacuate.runs.memory import smaller
from kevacuate.runs.options import ReplayOptions
from kevacuate.runs.replay import Replay, replay
from kevacuate.runs.watermarks import min_free_kbytes, scale_factor, sizes_of

RECORDED = (
    None,
    "one-cpu.kev",
    "two-cpus.kev",
    "raw-1cpu",
    "raw-2cpu",
    "debian-6.1/state.kev",
    "debian-6.1/buddy.kev",
)
"""None: the recording that ships. debian-6.1/both.kev is not here: its marks were set before the zones had all pages."""


def opened(name: str | None) -> Recording:
    return Recording.shipped() if name is None else Recording.open(DATA / name)


@pytest.mark.parametrize("name", RECORDED)
def test_the_formula_gives_the_kernels_own_marks_for_the_recorded_setting(name: str | None) -> None:
    recording = opened(name)
    machine, state = recording.machine, recording.start
    assert state is not None
    kbytes = min_free_kbytes(machine, state)
    assert kbytes == recorded_settings(machine).get("min_free_kbytes", 22528)  # THP's 11 pageblocks
    marks = zone_wmarks(sizes_of(machine, state), kbytes, scale_factor(machine, state))
    assert [list(mark) for mark in marks] == [list(zone.watermark) for zone in state.zones]


def test_the_kernels_own_choice_at_boot_is_the_recorded_one() -> None:
    recording = Recording.shipped()
    sizes = sizes_of(recording.machine, recording.start)
    assert boot_min_free_kbytes(sizes, 512, huge_pages=True) == 22528
    assert boot_min_free_kbytes([ZoneSize(2, 1 << 18)], 512, huge_pages=False) == 4096  # the comment's 1024MB
    assert boot_min_free_kbytes([ZoneSize(2, 1 << 12)], 512, huge_pages=False) == 512  # 16MB
    small = boot_min_free_kbytes([ZoneSize(2, 40_000)], 512, huge_pages=True)
    assert small == (40_000 - zone_wmarks([ZoneSize(2, 40_000)], 1600, 10)[0][2]) // 20 * 4  # 5 % at most


def test_marks_of_a_kernel_with_two_zones_and_their_reserves() -> None:
    """DMA32 and Normal of a recorded 4 GiB machine of Linux 7.2.13."""
    zones = [ZoneSize(1, 767_045), ZoneSize(2, 243_669)]
    kbytes = boot_min_free_kbytes(zones, 512, huge_pages=True)
    assert zone_wmarks(zones, kbytes, 10) == [(8548, 10685, 12822, 14959), (2715, 3393, 4071, 4749)]
    assert lowmem_reserve(zones, 1, LOWMEM_RESERVE_RATIO[1]) == (0, 0, 951, 951)
    assert lowmem_reserve(zones, 2, LOWMEM_RESERVE_RATIO[2]) == (0, 0, 0, 0)
    assert lowmem_reserve(zones, 1, 0) == (0, 0, 0, 0)


def test_a_movable_zone_keeps_little_and_a_scale_factor_widens_the_gaps() -> None:
    marks = zone_wmarks([ZoneSize(2, 200_000), ZoneSize(3, 100_000)], 40_000, 100)
    assert marks == [(10_000, 12_500, 15_000, 17_500), (97, 1347, 2597, 3847)]
    assert zone_wmarks([ZoneSize(3, 10)], 400, 10)[0][0] == 32
    assert zone_wmarks([ZoneSize(2, 200_000)], 4, 1000) == [(1, 20_001, 40_001, 60_001)]


def started(recording: Recording, spec: str) -> Replay:
    return Replay(recording, build_demand(recording), parse_policy(spec), ReplayOptions(samples=2))


def marks_of(one: Replay) -> list[int]:
    return [one.state.view.zone[0].watermark[i] for i in range(4)]


@pytest.mark.parametrize(
    "spec",
    ["min_free_kbytes=22528", "watermark_scale_factor=10", "percpu_pagelist_high_fraction=0", "memory=1"],
)
def test_a_recorded_value_given_again_changes_nothing(spec: str) -> None:
    recording = Recording.shipped()
    plain, again = started(recording, "mainline").state, started(recording, f"mainline,{spec}").state
    for name, column in zip(plain._fields, plain, strict=True):
        assert (column == getattr(again, name)).all(), name


def test_given_marks_move_the_marks_and_the_per_cpu_bounds() -> None:
    recording = Recording.shipped()
    one = started(recording, "mainline,min_free_kbytes=65536")
    assert marks_of(one) == [16_384, 20_480, 24_576, 28_672]
    assert one.state.view.pcp[0].high_min == 20_480
    assert marks_of(started(recording, "mainline,watermark_scale_factor=100")) == [5632, 8175, 10_718, 13_261]
    both = started(recording, "evacuate,min_free_kbytes=4000,watermark_scale_factor=100")
    assert marks_of(both) == [1000, 3543, 6086, 8629]
    eighth = started(recording, "mainline,percpu_pagelist_high_fraction=16").state
    assert (
        PerCpuPages.table(eighth.pcp)["high_min"][0]
        == PerCpuPages.table(eighth.pcp)["high_max"][0]
        == 254_386 // 16
    )


@pytest.mark.parametrize(
    ("knob", "field", "value"),
    [
        ("compaction_proactiveness=7", "compaction_proactiveness", 7),
        ("extfrag_threshold=250", "extfrag_threshold", 250),
        ("watermark_boost_factor=0", "watermark_boost_factor", 0),
        ("defrag_mode=1", "defrag_mode", 1),
        ("compact_unevictable_allowed=0", "compact_unevictable_allowed", 0),
    ],
)
def test_a_given_sysctl_is_in_the_models_state_in_place_of_the_recorded_one(
    knob: str, field: str, value: int, tmp_path: Path
) -> None:
    name = knob.partition("=")[0]
    described = synthetic.machine(
        extra={"settings": {name: 1 - value if name in ("defrag_mode", "compact_unevictable_allowed") else 9}}
    )
    recording = Recording.open(synthetic.write_recording(tmp_path / "a.kev", described=described))
    one = started(recording, f"mainline,{knob}")
    assert getattr(one.state.view.cfg, field) == value
    used = one.run().provenance["vm_settings"]
    assert used["given"] == {name: value}
    assert used["replayed"][name] == value
    assert name not in used["not_recorded"]


def test_a_kernel_without_defrag_mode_refuses_it(tmp_path: Path) -> None:
    described = synthetic.machine(kernel="6.12.3")
    recording = Recording.open(synthetic.write_recording(tmp_path / "a.kev", described=described))
    with pytest.raises(KevacuateError, match=r"Linux 6.12, the recording's profile, has no vm.defrag_mode"):
        replay(recording, "mainline,defrag_mode=1")
    replay(recording, "mainline,defrag_mode=0", options=ReplayOptions(samples=2))


def test_memory_is_taken_from_free_pageblocks_the_highest_first() -> None:
    recording = Recording.shipped()
    machine, state = recording.machine, recording.start
    less = smaller(machine, state, 0.8)
    gone = np.setdiff1d(state.blocks.pfn, less.blocks.pfn)
    assert len(gone) == round(254_386 * 0.2 / 512)
    assert less.zones[0].managed == 254_386 - 512 * len(gone)
    free = {
        page
        for pfn, order in zip(state.free.pfn.tolist(), state.free.order.tolist(), strict=True)
        for page in range(pfn, pfn + (1 << order), 512)
        if order >= 9
    }
    assert set(gone.tolist()) == set(sorted(free)[-len(gone) :])
    pages = lambda some: int(np.left_shift(1, some.free.order.astype(np.int64)).sum())  # noqa: E731
    assert pages(less) == pages(state) - 512 * len(gone)


@pytest.mark.parametrize("share", ["0.05", "0.33", "0.801", "0.999"])
@pytest.mark.parametrize("page_flags", [True, False])
def test_a_smaller_machine_is_consistent(share: str, page_flags: bool, tmp_path: Path) -> None:
    recording = Recording.shipped()
    if not page_flags:
        object.__setattr__(recording, "start", replaced(recording.start, page_flags=None))
    one = started(recording, f"evacuate,memory={share}")
    check(one.state)
    zone = one.state.view.zone[0]
    assert abs(zone.managed_pages - float(share) * 254_386) <= 256
    taken = 254_386 - zone.managed_pages
    assert zone.nr_free_pages == started(recording, "mainline").state.view.zone[0].nr_free_pages - taken
    assert one.start_blocks == 512 - taken // 512
    assert marks_of(one) == list(zone_wmarks([ZoneSize(1, zone.managed_pages)], 4 * marks_of(one)[0], 10)[0])


def test_marks_of_a_smaller_machine_are_the_kernels_own_choice_or_the_users() -> None:
    recording = Recording.shipped()
    assert marks_of(started(recording, "mainline,memory=0.5"))[0] == 5632  # two and nine blocks, as before
    least = marks_of(started(recording, "mainline,memory=0.2"))[0]
    assert (
        least
        == boot_min_free_kbytes(
            [ZoneSize(1, round(254_386 * 0.8 / 512) * -512 + 254_386)], 512, huge_pages=True
        )
        // 4
    )
    assert least < 5632  # the twentieth of memory
    extra = {"settings": {"min_free_kbytes": 9000}}
    object.__setattr__(recording, "machine", replaced(recording.machine, extra=extra))
    assert marks_of(started(recording, "mainline,memory=0.5"))[0] == 2250


def test_a_share_that_too_few_free_blocks_allow_is_refused_and_the_least_is_told() -> None:
    recording = Recording.shipped()
    with pytest.raises(KevacuateError, match=r"482 are free at the start. Give at least memory=0.03\.$"):
        replay(recording, "mainline,memory=0.01")
    started(recording, "mainline,memory=0.03")


def test_each_node_gives_its_share_and_reserves_follow() -> None:
    machine, state = two_nodes()
    less = smaller(machine, state, 0.75)
    assert [zone.managed for zone in less.zones] == [4096, 2048, 3072]
    assert less.zones[0].lowmem_reserve == (0, 0, 2048 // 256, 2048 // 256)
    assert less.zones[1].lowmem_reserve == less.zones[2].lowmem_reserve == (0, 0, 0, 0)


def two_nodes() -> tuple[Any, Any]:
    """Node 0 with DMA32 and Normal, node 1 with Normal, all free in chunks of order 10."""
    plain = synthetic.start_state(page_flags=False)
    spans = [(0, 4096, 0, "DMA32", 1), (4096, 4096, 0, "Normal", 2), (8192, 4096, 1, "Normal", 18)]
    reserve = {1: (0, 0, 4096 // 256, 4096 // 256)}
    base, info = plain.zones[0], synthetic.machine().zones[0]
    zones = tuple(
        replaced(base, index=index, name=name, start_pfn=start, spanned=size, present=size, managed=size,
                 lowmem_reserve=reserve.get(index, (0, 0, 0, 0)))
        for start, size, _, name, index in spans
    )  # fmt: skip
    infos = tuple(
        replaced(info, node=node, name=name, start_pfn=start, spanned=size, present=size, managed=size)
        for start, size, node, name, _ in spans
    )
    pfn = np.arange(0, 12_288, 1024)
    owner = np.repeat([1, 2, 18], 4).astype(np.int16)
    free = type(plain.free)(owner, np.full(12, 10, np.int8), np.ones(12, np.int8), pfn)
    firsts = np.arange(0, 12_288, 512)
    blocks = type(plain.blocks)(np.repeat(owner, 2), firsts, np.ones(24, np.int8), np.zeros(24, np.bool_))
    return synthetic.machine(zones=infos), replaced(plain, zones=zones, free=free, blocks=blocks)


LIGHT = g.GFP_TRANSHUGE_LIGHT
DIRECT, KSWAPD, NORETRY = g.GFP_DIRECT_RECLAIM, g.GFP_KSWAPD_RECLAIM, g.GFP_NORETRY


@pytest.mark.parametrize(
    ("defrag", "plain", "madvised"),
    [
        ("always", DIRECT | NORETRY, DIRECT),
        ("defer", KSWAPD, KSWAPD),
        ("defer+madvise", KSWAPD, DIRECT),
        ("madvise", 0, DIRECT),
        ("never", 0, 0),
    ],
)
def test_a_huge_fault_tries_as_hard_as_vma_thp_gfp_mask_says(defrag: str, plain: int, madvised: int) -> None:
    script = synthetic.Script()
    for number, effort in enumerate((DIRECT | NORETRY, DIRECT, KSWAPD, 0)):
        script.alloc(number, 9, mt=1, gfp=LIGHT | effort | g.GFP_ACCOUNT)
    script.alloc(9, 9, mt=0, gfp=g.GFP_KERNEL | g.GFP_COMP)
    script.alloc(10, 0, mt=1, gfp=LIGHT)
    chunk = script.chunk()
    assert huge_faults(chunk, 9).tolist() == [True] * 4 + [False] * 2
    rows = HugeFaults(9, enabled=None, defrag=defrag, first_object=99).rewritten(chunk)
    wanted = [LIGHT | g.GFP_ACCOUNT | effort for effort in (plain, madvised, plain, plain)]
    assert rows.gfp.tolist() == [*wanted, *chunk.gfp.tolist()[4:]]
    assert set(DEFRAG) == {"always", "defer", "defer+madvise", "madvise", "never"}


def test_a_forbidden_huge_fault_becomes_base_pages_that_share_its_life() -> None:
    script = synthetic.Script()
    script.alloc(0, 0, mt=1)
    script.alloc(1, 3, mt=1, gfp=LIGHT | DIRECT | NORETRY, attr=synthetic.ANON)
    script.alloc(2, 3, mt=1, gfp=LIGHT | DIRECT)
    script.add(2, 1, 3, aux=3)  # split: 1 keeps the lower half, 3 is the upper
    script.free(0)
    script.free(3)
    script.alloc(3, 0, mt=0)  # the id again, of something else
    script.free(1)
    script.alloc(4, 3, mt=1, gfp=LIGHT)
    script.free(3)
    made = HugeFaults(3, enabled="madvise", defrag=None, first_object=100)
    whole = script.chunk()
    rows = [
        (int(c.op[i]), int(c.obj[i]), int(c.order[i]))
        for at in range(0, 10, 3)  # as it comes in chunks
        for c in [made.rewritten(type(whole)(*(column[at : at + 3] for column in whole)))]
        for i in range(len(c.op))
    ]
    assert rows == [
        (0, 0, 0), *((0, 100 + i, 0) for i in range(8)), (0, 2, 3), (1, 0, 0), *((1, 104 + i, 0) for i in range(4)),
        (0, 3, 0), *((1, 100 + i, 0) for i in range(4)), *((0, 108 + i, 0) for i in range(8)), (1, 3, 0),
    ]  # fmt: skip
    never = HugeFaults(3, enabled="never", defrag=None, first_object=100).rewritten(whole)
    assert set(never.order.tolist()) == {0}
    born = (never.obj >= 100) & (never.op == 0)
    assert set(never.gfp[born].tolist()) == {g.GFP_HIGHUSER_MOVABLE}
    assert (never.attr[born] == synthetic.ANON).sum() == 8


def test_in_a_closed_loop_base_pages_have_their_own_shadows() -> None:
    script = synthetic.Script()
    script.alloc(1, 2, mt=1, gfp=LIGHT)
    script.add(DemandOp.ACCESS, 1, 2, mt=1, gfp=LIGHT)
    script.add(DemandOp.TRUNCATE, 1, 2, aux=7)
    script.add(DemandOp.RECLAIM, 1, 2, aux=40)
    script.alloc(1, 2, mt=1, gfp=LIGHT, aux=40)
    rows = HugeFaults(2, enabled="never", defrag=None, first_object=50).rewritten(script.chunk())
    told = [
        tuple(int(column[i]) for column in (rows.op, rows.obj, rows.order, rows.aux))
        for i in range(len(rows.op))
    ]
    assert told == [
        *((0, 50 + i, 0, 0) for i in range(4)), *((6, 50 + i, 0, 0) for i in range(4)), (7, 1, 2, 7),
        *((5, 50 + i, 0, 40 + i) for i in range(4)), *((0, 50 + i, 0, 40 + i) for i in range(4)),
    ]  # fmt: skip
    assert set(rows.gfp[:8].tolist()) == {g.GFP_HIGHUSER_MOVABLE}


def test_a_replay_in_base_pages_allocates_as_many_pages(tmp_path: Path) -> None:
    script = synthetic.Script()
    for number in range(100, 108):
        script.alloc(number, 9, mt=1, gfp=LIGHT | DIRECT | NORETRY, attr=synthetic.ANON)
    for number in range(100, 108, 2):
        script.free(number, 9)
    path = synthetic.write_recording(tmp_path / "huge.kev", script=script)
    ends = {}
    for spec in (
        "mainline",
        "mainline,thp_enabled=never",
        "mainline,thp_enabled=madvise",
        "mainline,thp_defrag=madvise",
    ):
        run = replay(path, spec, options=ReplayOptions(samples=2))
        ends[spec] = run.metrics["end"]["free_pages"] + run.metrics["end"].get("pcp_pages", 0)
        assert run.metrics["demand_rows"] == 12
        assert run.metrics["allocations_failed"] == 0
    one = Replay(Recording.open(path), build_demand(Recording.open(path)), Policy("x", "mainline", {"thp_enabled": "never"}),
                 ReplayOptions(samples=2))  # fmt: skip
    one.run()
    check(one.state)
    in_use = (one.state.meta >> 4 == k.CHUNK_ALLOC) & (one.state.link[: 2 * len(one.state.meta) : 2] >= 0)
    assert in_use.sum() == 4 * 512 + len(synthetic.START_OBJECTS)
    assert set((one.state.meta[in_use] & 15).tolist()) == {0}
