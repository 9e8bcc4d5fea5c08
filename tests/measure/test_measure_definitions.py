# SPDX-License-Identifier: GPL-2.0-or-later
"""The definitions themselves, at their edges: which pages can move, what a block is, what a claim or a steal is."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import synthetic
from recorded_tools import M, R, U, chunk_of, event, extfrag, write_events

from kevacuate.demand.start_objects import pages_in_use
from kevacuate.kernel import extfrag as kinds
from kevacuate.kernel import pageflags as pf
from kevacuate.kernel.extfrag import CLAIM, CLAIM_BLOCK, STEAL, extfrag_kind
from kevacuate.kernel.pcp import pcp_index, pcp_order
from kevacuate.live.tap import parse_line
from kevacuate.live.view import Extfrag
from kevacuate.measure.blocks import BlockCounts, block_kinds, is_mixed
from kevacuate.measure.extfrag import ExtfragTable, extfrag_of, from_movable, queues_evacuation
from kevacuate.measure.history import History
from kevacuate.measure.moments import recorded_blocks, state_moment
from kevacuate.measure.pages import (
    FREE,
    MOVABLE,
    PCP,
    RESERVED,
    UNMOVABLE,
    count_classes,
    flag_classes,
    page_classes,
)
from kevacuate.mm import constants as k
from kevacuate.mm.log import unpack_types
from kevacuate.mm.movable import can_move
from kevacuate.observe.event_records import allocator_records
from kevacuate.observe.triage import triage_recording
from kevacuate.recording import EventKind, Recording
from kevacuate.recording.state import PcpPages
from kevacuate.recording.statefiles import read_state
from kevacuate.reports.triage.words import SHORT_SECONDS, words

ORDER = 9
TAKEN = [
    (8, 0, STEAL),
    (9, 0, STEAL),
    (10, 0, STEAL),
    (8, 1, CLAIM),
    (9, 1, CLAIM_BLOCK),
    (10, 1, CLAIM_BLOCK),
]
"""Order taken, change_ownership, what that is."""


def bits(*names: str) -> int:
    return sum(1 << getattr(pf, f"KPF_{name}") for name in names)


def test_bits_are_those_of_the_kernel_s_header() -> None:
    numbers = {
        "LRU": 5, "SLAB": 7, "BUDDY": 10, "ANON": 12, "SWAPBACKED": 14, "COMPOUND_HEAD": 15, "COMPOUND_TAIL": 16, "HUGE": 17,
        "NOPAGE": 20, "THP": 22, "OFFLINE": 23, "PGTABLE": 26, "RESERVED": 32,
    }  # fmt: skip
    assert {name: getattr(pf, f"KPF_{name}") for name in numbers} == numbers


PAGES = [
    ((), UNMOVABLE),
    (("LRU",), MOVABLE),
    (("ANON",), MOVABLE),
    (("LRU", "SWAPBACKED"), MOVABLE),
    (("SWAPBACKED",), UNMOVABLE),
    (("SLAB",), UNMOVABLE),
    (("SLAB", "ANON"), UNMOVABLE),
    (("PGTABLE", "ANON"), UNMOVABLE),
    (("BUDDY",), FREE),
    (("NOPAGE",), RESERVED),
    (("RESERVED",), RESERVED),
    (("OFFLINE",), RESERVED),
    (("RESERVED", "LRU"), RESERVED),
    (("COMPOUND_HEAD", "LRU"), MOVABLE),
    (("COMPOUND_TAIL",), MOVABLE),
    (("COMPOUND_TAIL",), MOVABLE),
    (("COMPOUND_HEAD",), UNMOVABLE),
    (("COMPOUND_TAIL",), UNMOVABLE),
    (("COMPOUND_HEAD", "OFFLINE"), RESERVED),
    (("COMPOUND_TAIL",), RESERVED),
    (("LRU",), MOVABLE),
    (("COMPOUND_TAIL",), UNMOVABLE),
]
"""Pages in order of pfn: their flags, and the class that they have. The last tail follows no head."""


def test_which_pages_can_move() -> None:
    flags = np.array([bits(*names) for names, _ in PAGES], np.uint64)
    assert flag_classes(flags).tolist() == [which for _, which in PAGES]
    movable = pf.movable_pages(flags) & ~pf.absent_pages(flags)
    assert movable.tolist() == [which == MOVABLE for _, which in PAGES]


@pytest.mark.parametrize(
    ("attr", "moves"),
    [
        (0, False),
        (k.ATTR_LRU, True),
        (k.ATTR_LRU | k.ATTR_IN_BATCH, True),
        (k.ATTR_LRU | k.ATTR_FILE, False),
        (k.ATTR_LRU | k.ATTR_FILE | k.ATTR_IN_BATCH, False),
        (k.ATTR_LRU | k.ATTR_FILE | k.ATTR_ON_LRU, True),
        (k.ATTR_LRU | k.ATTR_ON_LRU | k.ATTR_PINNED, True),
        (k.ATTR_MOVABLE_OPS, True),
        (k.ATTR_FILE, False),
    ],
)
def test_which_pages_of_the_model_can_move(attr: int, moves: bool) -> None:
    assert can_move(attr) is moves


def test_what_a_block_is() -> None:
    mt = np.array([M, M, M, M, U, U, R])
    movable, unmovable = np.array([1, 0, 511, 0, 1, 0, 7]), np.array([1, 1, 0, 0, 1, 1, 0])
    found = block_kinds(mt, movable, unmovable)
    assert found.mixed.tolist() == [True, False, False, False, True, False, False]
    assert found.polluted.tolist() == [True, True, False, False, False, False, False]
    assert found.with_unmovable.tolist() == [True, True, False, False, True, True, False]
    assert is_mixed(movable, unmovable).tolist() == found.mixed.tolist()
    pages = np.zeros((7, 5), np.int32)
    pages[:, MOVABLE], pages[:, UNMOVABLE], pages[:, FREE], pages[:, PCP] = movable, unmovable, 3, 2
    counts = BlockCounts(mt.astype(np.int8), pages, np.arange(7))
    assert [kind.tolist() for kind in counts.kinds] == [kind.tolist() for kind in found]


def test_classes_are_counted_by_block() -> None:
    counts = count_classes(np.array([FREE, MOVABLE, MOVABLE, UNMOVABLE, RESERVED, FREE], np.uint8), 2)
    assert counts[:, : RESERVED + 1].tolist() == [[1, 0, 2, 1, 0], [1, 0, 0, 0, 1]]


def test_the_order_of_a_per_cpu_list() -> None:
    index = np.arange(14)
    assert pcp_order(index, 9).tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 9, 9]
    assert pcp_order(index, 7).tolist()[9:] == [3, 3, 3, 7, 7]
    assert pcp_order(index, 13).tolist()[-1] == 13
    orders, types = np.array([0, 0, 1, 3, 3, 9, 9, 9]), np.array([0, 2, 1, 0, 2, 0, 1, 2])
    assert pcp_index(orders, types).tolist() == [0, 2, 4, 9, 11, 12, 13, 12]


@pytest.mark.parametrize(("taken", "own", "kind"), TAKEN)
def test_claim_and_steal_wherever_they_are_told(taken: int, own: int, kind: int) -> None:
    assert extfrag_kind(taken, ORDER, own) == kind
    assert extfrag_kind(np.array([taken]), ORDER, np.array([own])).tolist() == [kind]
    chunk = chunk_of([extfrag(1, 512, U, M, taken=taken, own=bool(own), order=3)])
    events, malformed = extfrag_of(chunk, ORDER)
    assert (events.kind.tolist(), malformed) == ([kind], 0)
    assert (events.order_asked.tolist(), events.order_taken.tolist()) == ([3], [taken])
    history = History(allocator_records(chunk), ORDER)
    (flow,) = history.flows()
    assert (flow.kind, flow.wanted, flow.source, flow.order_asked, flow.order_taken) == (kind, U, M, 3, taken)
    live = Extfrag(0.0, 0, "", 512, U, M, 3, taken, own != 0)
    assert live.kind(ORDER) == kind
    said = live.as_dict(ORDER)
    assert (said["kind"], said["order_asked"], said["order_taken"]) == (kinds.KIND_NAMES[kind], 3, taken)
    assert (said["for"], said["from"]) == ("unmovable", "movable")
    assert live.queues(ORDER) is (kind == CLAIM)
    assert bool(queues_evacuation(kind, U, M)) is (kind == CLAIM)


def test_an_event_of_trace_pipe_tells_the_two_orders_apart() -> None:
    line = (
        "job-1     [000] d..2.  1.500000: mm_page_alloc_extfrag: page=0 pfn=0x200 alloc_order=2 fallback_order=9 "
        "pageblock_order=9 alloc_migratetype=0 fallback_migratetype=1 fragmenting=0 change_ownership=1"
    )
    seen = parse_line(line, 0.0)
    assert seen is not None
    assert (seen.order_asked, seen.order_taken, seen.kind(ORDER)) == (2, 9, CLAIM_BLOCK)


def test_whose_blocks_are_fragmented() -> None:
    wanted, source = np.meshgrid(np.arange(6), np.arange(6), indexing="ij")
    found = np.argwhere(from_movable(wanted, source)).tolist()
    assert found == [[U, M], [R, M]]
    for kind in (STEAL, CLAIM, CLAIM_BLOCK):
        queued = np.argwhere(queues_evacuation(np.full((6, 6), kind), wanted, source)).tolist()
        assert queued == (found if kind == CLAIM else [])


def test_the_figures_of_events() -> None:
    """Every kind, pair of types and order around a pageblock's, each pair another number of times."""
    table = ExtfragTable(ORDER)
    often = {
        (U, U): 1,
        (U, M): 2,
        (U, R): 4,
        (M, U): 8,
        (M, M): 16,
        (M, R): 32,
        (R, U): 64,
        (R, M): 128,
        (R, R): 256,
    }
    rows = [
        extfrag(0, 0, start, source, taken=taken, own=bool(own))
        for (start, source), times in often.items()
        for taken, own, _ in TAKEN
        for _ in range(times)
    ]
    table.add(*extfrag_of(chunk_of(rows), ORDER))
    found = table.metrics()
    claims, whole, steals = 1, 2, 3  # of the six in TAKEN
    assert {name: n for name, n in found.items() if name != "extfrag_events"} == {
        "extfrag": 6 * 511,
        "extfrag_below_pageblock": 2 * 511,
        "claims_from_movable": claims * (2 + 128),
        "claims_whole_block_from_movable": whole * (2 + 128),
        "steals_from_movable": steals * (2 + 128),
        "claims_by_movable": claims * (8 + 32),
        "claims_whole_block_by_movable": whole * (8 + 32),
        "steals_by_movable": steals * (8 + 16 + 32),
        "extfrag_malformed": 0,
    }
    assert sum(row["events"] for row in found["extfrag_events"]) == 6 * 511
    one = {"kind": "claim", "for": "reclaimable", "from": "movable", "order_taken": 8, "events": 128}
    assert one in found["extfrag_events"]


def test_a_pair_of_types_is_packed_alike_in_every_record() -> None:
    events = [
        extfrag(1, 512, U, M, taken=8, own=True),
        event(2, EventKind.GT_EVAC, 512, order=0, a=256 * U + M, d=1),
    ]
    records = allocator_records(chunk_of(events))
    assert records[:, 1].tolist() == [k.L_EXTFRAG, k.L_EVAC_CLAIM]
    assert [unpack_types(int(records[0, 6])), unpack_types(int(records[1, 4]))] == [(U, M), (U, M)]


@pytest.mark.parametrize(("seconds", "sample"), [(SHORT_SECONDS - 1, True), (SHORT_SECONDS, False)])
def test_what_is_a_sample(tmp_path: Path, seconds: int, sample: bool) -> None:
    assert SHORT_SECONDS == 600
    rows = [extfrag(at * 10**9, 512, U, M, taken=4, own=True) for at in (0, seconds)]
    triage = triage_recording(Recording.open(write_events(tmp_path / "a.kev", rows)))
    assert triage["seconds"] == seconds
    assert ("a sample, not its life" in words(triage)) is sample


@pytest.mark.parametrize("order", [9, 10, 7, 13])
def test_huge_pages_on_per_cpu_lists_have_the_machines_order(order: int) -> None:
    """9 is that of x86-64, 10 of 32-bit x86 without PAE, 13 of arm64 with 64 KiB pages: each reader takes the machine's."""
    start = synthetic.start_state(page_flags=False)
    zone = replace(start.zones[0], start_pfn=0, spanned=1 << 15)
    huge = PcpPages(
        *(
            np.array([value], column.dtype)
            for value, column in zip((0, 0, 13, 1 << 14), start.pcp_pages, strict=True)
        )
    )
    nothing = type(start.free)(*(column[:0] for column in start.free))
    state = replace(start, zones=[zone], free=nothing, pcp_pages=huge)
    assert int((~pages_in_use(state, order)).sum()) == 1 << order
    assert int((page_classes(state, order) == PCP).sum()) == 1 << order


@pytest.mark.parametrize(
    "function", [pcp_order, pages_in_use, page_classes, recorded_blocks, state_moment, read_state]
)
def test_no_order_of_a_huge_page_is_taken_unsaid(function: Callable[..., Any]) -> None:
    assert inspect.signature(function).parameters["hugepage_order"].default is inspect.Parameter.empty
