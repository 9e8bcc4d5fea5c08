# SPDX-License-Identifier: GPL-2.0-or-later
"""From a recorded start state to the model's: what is taken over, and states that cannot be."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import synthetic
from start_tools import begun
from synthetic import Script, machine, start_objects, start_state, write_recording

from kevacuate.errors import KevacuateError
from kevacuate.measure.blocks import block_counts
from kevacuate.measure.frames import CONTENT_ABSENT
from kevacuate.mm import constants as k
from kevacuate.mm.check import check
from kevacuate.policy import parse_policy
from kevacuate.recording import AllocatorState, DemandOp, Recording, StartObjects
from kevacuate.recording.state import PcpPages
from kevacuate.runs.initial_state import skip_bits
from kevacuate.runs.options import ReplayOptions
from kevacuate.runs.replay import replay


def build(state: AllocatorState, objects: StartObjects | None = None, **changes: Any) -> Any:
    return begun(machine(**changes), state, objects or start_objects())


def test_every_page_is_in_the_state_the_recording_says() -> None:
    state = build(start_state())
    check(state)
    kinds = state.meta >> 4
    for pages, kind in (
        (synthetic.RESERVED, k.CHUNK_RESERVED),
        (synthetic.ANONYMOUS, k.CHUNK_ALLOC),
        (synthetic.START_OBJECTS, k.CHUNK_ALLOC),
        (range(synthetic.FIRST), k.CHUNK_RESERVED),
    ):
        assert set(kinds[pages.start : pages.stop].tolist()) == {kind}
    first = synthetic.START_OBJECTS.start
    assert state.obj[: len(synthetic.START_OBJECTS)].tolist() == list(synthetic.START_OBJECTS)
    assert state.link[2 * first + 1] & k.ATTR_ON_LRU
    assert (state.obj[len(synthetic.START_OBJECTS) :] == -1).all()


def test_the_zone_and_the_per_cpu_lists_are_as_recorded() -> None:
    recorded = start_state()
    zone = build(recorded).view.zone[0]
    assert list(zone.watermark) == [64, 80, 96, 112]
    assert zone.nr_free_pages == int((1 << recorded.free.order.astype(np.int64)).sum())
    pcp = build(recorded).view.pcp
    assert [own.batch for own in pcp] == [4, 4]
    assert [own.high_max for own in pcp] == [64, 64]


@pytest.mark.parametrize(
    ("spec", "number"), [("recorded", 16), ("none", 0), ("all", 16), ("0", 0), ("1", 16)]
)
def test_skip_bits_as_named(spec: str, number: int) -> None:
    policy = parse_policy(f"evacuate,skip-bits={spec}")
    assert int(skip_bits(start_state(skip=True), policy, 0).sum()) == number
    if spec == "recorded":
        assert int(skip_bits(start_state(skip=False), policy, 0).sum()) == 0


def test_a_larger_share_of_skip_bits_holds_the_smaller() -> None:
    some, more = (
        skip_bits(start_state(), parse_policy(f"evacuate,skip-bits={s}"), 3) for s in ("0.3", "0.7")
    )
    assert 0 < int(some.sum()) < int(more.sum()) < 16
    assert not (some & ~more).any()


def table(name: str, column: str, value: int, row: int = 0) -> Callable[[AllocatorState], AllocatorState]:
    """The state with one cell of a table changed."""

    def change(state: AllocatorState) -> AllocatorState:
        rows = getattr(state, name)
        new = getattr(rows, column).copy()
        new[row] = value
        return replace(state, **{name: rows._replace(**{column: new})})

    return change


def on_pcp(pindex: int, pfn: int, cpu: int = 0) -> Callable[[AllocatorState], AllocatorState]:
    """The state with one entry of a per-CPU list."""
    page = PcpPages(
        np.array([2], np.int16),
        np.array([cpu], np.int16),
        np.array([pindex], np.int8),
        np.array([pfn], np.int64),
    )
    return lambda state: replace(state, pcp_pages=page)


def zones(**values: Any) -> Callable[[AllocatorState], AllocatorState]:
    return lambda state: replace(state, zones=(replace(state.zones[0], **values),))


BAD_STATES: dict[str, tuple[Callable[[AllocatorState], AllocatorState], str]] = {
    "order": (table("free", "order", 11), "an order that the machine does not have"),
    "negative order": (table("free", "order", -1), "an order that the machine does not have"),
    "type": (table("free", "mt", 6), "a type that does not exist"),
    "zone": (table("free", "zone", 1), "a zone that it does not describe"),
    "beyond": (table("free", "pfn", synthetic.END, 3), "outside their zone or not aligned"),
    "negative": (table("free", "pfn", -1024, 3), "outside their zone or not aligned"),
    "unaligned": (table("free", "pfn", 2048 + 512, 3), "outside their zone or not aligned"),
    "twice": (table("free", "pfn", 2048, 3), "twice"),
    "block type": (table("blocks", "mt", 7), "pageblocks of a type that does not exist"),
    "block place": (table("blocks", "pfn", 2048 + 1), "pageblocks that are none"),
    "block beyond": (table("blocks", "pfn", 1 << 40), "pageblocks that are none"),
    "pcp CPU": (table("pcp", "cpu", 2), "a CPU that the machine does not have"),
    "pcp batch": (table("pcp", "batch", 0), "without a batch size"),
    "pcp high": (table("pcp", "high_max", -5), "of an impossible size"),
    "pcp list": (on_pcp(14, synthetic.RESERVED.start), "a per-CPU list that does not exist"),
    "pcp page": (on_pcp(3, synthetic.RESERVED.start + 1), "per-CPU pages outside their zone or not aligned"),
    "pcp page's CPU": (on_pcp(0, synthetic.RESERVED.start, 9), "a CPU that the machine does not have"),
    "pcp page free too": (on_pcp(0, synthetic.END - 1), "twice"),
    "zone elsewhere": (zones(start_pfn=0), "has no zone Normal"),
    "zone too long": (zones(spanned=1 << 40), "cannot be modelled"),
    "mark": (zones(watermark=(1 << 40,) * 4), "a mark or reserve that is no number of pages"),
    "negative mark": (zones(watermark=(64, 80, -96, 112)), "a mark or reserve that is no number of pages"),
    "reserve": (zones(lowmem_reserve=(0, 0, 1 << 31, 0)), "a mark or reserve that is no number of pages"),
    "managed": (zones(managed=-1), "a mark or reserve that is no number of pages"),
}


@pytest.mark.parametrize("case", list(BAD_STATES))
def test_an_impossible_state_is_one_sentence(case: str) -> None:
    change, words = BAD_STATES[case]
    with pytest.raises(KevacuateError, match=words) as caught:
        build(change(start_state()))
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


def test_a_list_entry_that_is_right_is_no_error() -> None:
    state = build(on_pcp(3, synthetic.RESERVED.start)(start_state()))
    check(state)
    assert [pcp.count for pcp in state.view.pcp] == [2, 0]


@pytest.mark.parametrize(
    ("pfn", "order", "words"),
    [
        (synthetic.END, 0, "objects outside"),
        (-1, 0, "objects outside"),
        (synthetic.RESERVED.start + 1, 1, "objects outside"),
        (synthetic.RESERVED.start, 11, "objects of an order"),
        (synthetic.END - 1, 0, "twice"),
    ],
)
def test_impossible_start_objects(pfn: int, order: int, words: str) -> None:
    start = StartObjects(np.array([pfn]), np.array([order], np.uint8), np.zeros(1, np.uint8))
    with pytest.raises(KevacuateError, match=words):
        build(start_state(), start)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hugepage_order": 11}, "huge pages of order 11"),
        ({"hugepage_order": -2}, "huge pages of order -2"),
        ({"pageblock_order": 14}, "pageblocks that are none"),
        ({"pageblock_order": 0}, "cannot be modelled"),
        ({"extra": {"cpu_node": [0]}}, "gives 1 CPUs a node"),
        ({"extra": {"cpu_node": [0, 8]}}, "1 to 8 nodes"),
        ({"extra": {"cpu_node": [0, -1]}}, "nodes are numbered from 0"),
        ({"extra": {"cpu_node": [-1, 0]}}, "nodes are numbered from 0"),
        ({"zone_names": ("DMA", "DMA32", "Normal", "9" * 400)}, "a zone '9{39}, which"),
        ({"cpus": 1025}, "1 to 1024 CPUs"),
        ({"zone_names": ("DMA", "DMA32", "Normal", "Odd")}, "a zone 'Odd'"),
    ],
)
def test_machines_that_the_model_cannot_hold(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(KevacuateError, match=words):
        build(start_state(), **changes)


def test_a_machine_without_huge_pages_replays(tmp_path: Path) -> None:
    script = Script()
    for obj in range(100, 110):
        script.alloc(obj, 9)
    path = write_recording(tmp_path / "x.kev", script, described=machine(hugepage_order=-1))
    assert replay(Recording.open(path)).metrics["allocations"] == 10


def with_a_hole(blocks: int) -> AllocatorState:
    """The start state, the last blocks of whose zone do not exist."""
    state, end = start_state(), synthetic.END - blocks * synthetic.BLOCK
    free = type(state.free)(*(column[state.free.pfn < end] for column in state.free))
    there = type(state.blocks)(*(column[state.blocks.pfn < end] for column in state.blocks))
    flags = state.page_flags
    assert flags is not None
    return replace(
        state,
        free=free,
        blocks=there,
        page_flags=np.r_[flags[:end], np.full(len(flags) - end, 1 << 20, np.uint64)],
    )


def test_holes_are_no_blocks() -> None:
    counts, _ = block_counts(build(with_a_hole(4)))
    assert counts.start.tolist() == list(range(synthetic.FIRST, synthetic.END - 4 * 512, 512))
    assert len(block_counts(build(start_state()))[0].start) == 16


def test_blocks_that_come_to_exist_later_are_shown_from_then_on(tmp_path: Path) -> None:
    script = Script(step=1000)
    script.alloc(500)
    script.add(DemandOp.FREE_PFN, order=10, aux=synthetic.END - 1024, t=10_000_000)
    script.alloc(501, t=20_000_000)
    path = write_recording(tmp_path / "x.kev", script, state=with_a_hole(4))
    run = replay(Recording.open(path), options=ReplayOptions(samples=10, keep=True))
    assert run.metrics["frees_refused"] == 0
    blocks = [sum(counts.values()) for counts in run.series["blocks"]]
    assert (blocks[0], blocks[-1]) == (12, 14)
    assert run.series["free_pages"][-1] - run.series["free_pages"][0] > 1000
    assert run.frames is not None
    assert len(run.frames.start) == 14, "two blocks never exist"
    absent = [int((run.frames.at(i).content == CONTENT_ABSENT).sum()) for i in (0, -1)]
    assert absent == [2, 0]


def test_a_part_of_a_block_that_does_not_exist_is_no_memory(tmp_path: Path) -> None:
    script = Script(step=1000)
    script.alloc(500)
    script.add(DemandOp.FREE_PFN, order=8, aux=synthetic.END - 512)
    path = write_recording(tmp_path / "x.kev", script, state=with_a_hole(4))
    run = replay(Recording.open(path), options=ReplayOptions(samples=2))
    assert run.metrics["frees_refused"] == 1
    assert sum(run.series["blocks"][-1].values()) == 12


def test_pages_beyond_the_last_flag_are_nobody_s_and_not_in_use() -> None:
    whole = start_state()
    assert whole.page_flags is not None
    cut = synthetic.ANONYMOUS.start
    state = build(replace(whole, page_flags=whole.page_flags[:cut]))
    check(state)
    assert set((state.meta[cut : synthetic.ANONYMOUS.stop] >> 4).tolist()) == {k.CHUNK_RESERVED}
