# SPDX-License-Identifier: GPL-2.0-or-later
"""Page kinds, whole recordings, stored demands."""

from __future__ import annotations

import numpy as np
import pytest
from demand_pack import pack
from demand_tools import ANON, TARGET, VMALLOC, Event, alloc, chunk_of, compiled, free

from kevacuate.demand import pagekinds as pk
from kevacuate.demand.build import build_demand
from kevacuate.demand.pagekinds import PageKindModel
from kevacuate.demand.quality import DemandQuality
from kevacuate.errors import KevacuateError
from kevacuate.kernel import gfp as gfp_bits
from kevacuate.recording import AllocatorState, Machine, Recording, ZoneState
from kevacuate.recording.kev import KevWriter
from kevacuate.recording.requests import COMPOUND, request_classes
from kevacuate.recording.state import Blocks, FreePages, PcpFields, PcpPages

NONE = PageKindModel(0, 0, 0, 0, 0, 0, 0, 0)
READAHEAD = 0x152C4A | gfp_bits.GFP_NOWARN | gfp_bits.GFP_NORETRY
WRITE = TARGET | gfp_bits.GFP_WRITE
BUFFER = 0x148C48
THP = (TARGET | gfp_bits.GFP_NOMEMALLOC | gfp_bits.GFP_NOWARN | gfp_bits.GFP_NORETRY) & ~gfp_bits.GFP_ZERO
LRU, FILE = pk.A_LRU, pk.A_LRU | pk.A_FILE


@pytest.mark.parametrize(
    ("gfp", "mt", "attr"),
    [
        (ANON, 1, LRU),
        (TARGET, 1, LRU),
        (THP, 1, LRU),
        (READAHEAD & ~gfp_bits.GFP_FS, 1, FILE),
        (WRITE, 1, FILE),
        (BUFFER, 1, FILE),
        (BUFFER & ~gfp_bits.GFP_MOVABLE, 0, FILE),
        (0x42800, 0, FILE),
        (0x440DC0, 0, 0),
        (VMALLOC, 0, 0),
        (0xD2C40, 2, 0),
    ],
)
def test_class_by_gfp(gfp, mt, attr):
    assert compiled([alloc(8, mt=mt, gfp=gfp)], kinds=NONE)[2] == [attr]


def test_known_kinds_win():
    known = (np.array([0, 2]), np.array([FILE | pk.A_DIRTY, pk.KNOWN_KERNEL], np.uint8))
    attr = compiled([alloc(8), alloc(9), alloc(10)], kinds=NONE, known=known)[2]
    assert attr == [FILE | pk.A_DIRTY, LRU, 0]


def test_draws_follow_the_shares_and_the_seed():
    events = [alloc(i, gfp=WRITE) for i in range(4000)]
    model = PageKindModel(seed=5, dirty_written=0.25, pinned=0.5, busy=0.1, writeback=0.5)
    attr = np.array(compiled(events, kinds=model)[2])
    for bit, share in [(pk.A_DIRTY, 0.25), (pk.A_PINNED, 0.5), (pk.A_BUSY, 0.1), (pk.A_WRITEBACK, 0.125)]:
        assert abs(np.mean(attr & bit != 0) - share) < 0.03
    assert (attr == np.array(compiled(events, kinds=model)[2])).all()
    other = PageKindModel(seed=6, dirty_written=0.25, pinned=0.5, busy=0.1, writeback=0.5)
    assert (attr != np.array(compiled(events, kinds=other)[2])).any()


@pytest.mark.parametrize(
    "wrong", [{"busy": -0.1}, {"dirty_read": 1.5}, {"pinned": float("nan")}, {"seed": -1}]
)
def test_shares_are_checked(wrong):
    with pytest.raises(KevacuateError):
        PageKindModel(**wrong)


def test_what_compactions_show_is_the_share_of_pinned_folios():
    assert round(203_286 * PageKindModel().pinned) == 6


def test_flags_to_attr():
    flags = np.array([1 << 5, 1 << 5 | 1 << 4, 1 << 5 | 1 << 14, 1 << 7, 1 << 23, 0], np.uint64)
    assert pk.attr_from_flags(flags).tolist() == [FILE, FILE | pk.A_DIRTY, LRU, 0, pk.A_MOVABLE_OPS, 0]
    known = pk.known_attr(flags, np.array([1, 1, 1, 0, 1, 1], np.uint8))
    assert known.tolist() == [FILE, FILE | pk.A_DIRTY, LRU, 128, 128 | 64, 0]


PAGES = 1024


def state(ts, in_use, flags):
    free_pfn = np.array([p for p in range(PAGES) if p not in in_use and p != 900], np.int64)
    zeros = np.zeros(len(free_pfn), np.int8)
    one = np.zeros(1, np.int16)
    words = np.zeros(PAGES, np.uint64)
    for pfn, word in flags.items():
        words[pfn] = word
    return AllocatorState(
        tag="x",
        ts=ts,
        ts_begin=ts,
        cpu=0,
        ordinal=-1,
        zones=(ZoneState(index=0, name="DMA32", spanned=PAGES, present=PAGES, managed=PAGES),),
        free=FreePages(zeros.astype(np.int16), zeros, zeros + 1, free_pfn),
        blocks=Blocks(*(np.zeros(2, t) for t in (np.int16, np.int64, np.int8, np.bool_))),
        pcp=PcpFields(*([one] * 2), *([one.astype(np.int32) + 1] * 9)),
        pcp_pages=PcpPages(one, one, np.zeros(1, np.int8), np.array([900])),
        page_flags=words,
    )


@pytest.fixture
def recording(tmp_path):
    lru = 1 << 5
    head, tail = lru | 1 << 15, lru | 1 << 16
    start = state(5, {7, 16, 17, 18, 19, 30}, {7: lru, 16: head, 17: tail, 18: tail, 19: tail})
    later = state(45, {7, 16, 40, 41}, {7: lru, 40: lru | 1 << 4, 41: 1 << 7})
    events = [alloc(40, gfp=ANON), alloc(41, mt=0), free(16, 2), alloc(42), free(7), free(30)]
    machine = Machine("7.2", "x86_64", 1, (0,), (), (), 4096, 9, 9, 14, "global", {})
    with KevWriter(tmp_path / "a.kev", machine) as writer:
        writer.add_events(chunk_of([Event(3, 1), *events]))
        writer.add_state(start)
        writer.add_state(later)
    return Recording.open(tmp_path / "a.kev")


def rows(demand):
    chunks = list(demand.chunks())
    return [np.concatenate(columns).tolist() for columns in zip(*chunks, strict=True)]


def test_recording_from_its_start_state(recording):
    demand = build_demand(recording, kinds=NONE)
    assert [c.tolist() for c in demand.start_objects] == [[7, 16], [0, 2], [FILE, FILE]]
    t, op, _, obj, order, _, _, attr, aux, _ = rows(demand)
    assert op == [0, 0, 1, 0, 1, 3]
    assert t == [15, 25, 35, 45, 55, 65]
    assert (obj[2], order[2], obj[4], aux[5]) == (1, 2, 0, 30)
    assert attr[:4] == [FILE | pk.A_DIRTY, 0, 0, LRU]
    assert demand.quality.allocs == 3
    assert demand.max_objects == 4


def test_pack_and_read_back(recording, tmp_path):
    fresh = build_demand(recording)
    packed = Recording.open(pack(recording, tmp_path / "b.kev"))
    assert packed.has_demand
    assert not list(packed.events())
    stored = build_demand(packed)
    assert rows(stored) == rows(fresh)
    assert [c.tolist() for c in stored.start_objects] == [c.tolist() for c in fresh.start_objects]
    assert stored.quality == fresh.quality
    assert len(packed.start.free.pfn) == len(recording.start.free.pfn)


def test_a_stored_demand_can_be_drawn_anew(recording, tmp_path):
    packed = Recording.open(pack(recording, tmp_path / "b.kev"))
    model = PageKindModel(seed=3, pinned=0.5, pinned_buffer=0.5, dirty_read=1, dirty_written=1)
    again, fresh = build_demand(packed, kinds=model, chunk_rows=2), build_demand(recording, kinds=model)
    assert rows(again) == rows(fresh)
    assert again.start_objects.attr.tolist() == fresh.start_objects.attr.tolist()


def test_no_start_state(tmp_path):
    machine = Machine("7.2", "x86_64", 1, (0,), (), (), 4096, 9, 9, 14, "global", {})
    with KevWriter(tmp_path / "a.kev", machine) as writer:
        writer.add_events(chunk_of([alloc(1)]))
    empty = Recording.open(tmp_path / "a.kev")
    with pytest.raises(KevacuateError, match="no state"):
        build_demand(empty)
    with pytest.raises(KevacuateError, match="no state"):
        pack(empty, tmp_path / "b.kev")


def test_quality_round_trip():
    quality = DemandQuality(alloc_events=10, free_events=10, orphan_frees=2)
    assert quality.trusted == 0.9
    assert DemandQuality.from_dict(quality.as_dict()) == quality
    with pytest.raises(KevacuateError, match="newer"):
        DemandQuality.from_dict({"what": 1})


def test_the_recorder_and_the_replay_class_requests_alike() -> None:
    rng = np.random.default_rng(11)
    gfp = rng.integers(0, 1 << 27, 20_000).astype(np.uint32) & rng.integers(0, 1 << 27, 20_000).astype(
        np.uint32
    )
    gfp |= np.where(rng.random(20_000) < 0.3, pk.READAHEAD, 0).astype(np.uint32)
    mt = rng.integers(0, 3, 20_000).astype(np.int8)
    alone = [pk.page_class.py_func(int(g), int(m)) for g, m in zip(gfp, mt, strict=True)]
    found = request_classes(gfp, mt)
    assert (found & 7).tolist() == alone
    assert ((found & COMPOUND != 0) == (gfp & gfp_bits.GFP_COMP != 0)).all()
    assert len(set(alone)) == 5
