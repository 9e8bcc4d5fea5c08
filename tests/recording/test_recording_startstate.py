# SPDX-License-Identifier: GPL-2.0-or-later
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from kevacuate.errors import KevacuateError
from kevacuate.recording import AllocatorState, EventChunk, EventKind, Recording
from kevacuate.recording.evidence import Evidence, History, touches
from kevacuate.recording.snapshot import (
    Snapshot,
    read_snapshots,
    snapshot_from_texts,
    write_snapshots,
)
from kevacuate.recording.startstate import PageSnapshot, StateFacts, build_state, free_chunks
from kevacuate.recording.state import UNCLEAR, Guesses
from kevacuate.recording.statefiles import read_state, write_state

K = EventKind
LRU, SLAB, BUDDY = 1 << 5, 1 << 7, 1 << 10
FACTS = StateFacts(block_order=9, hugepage_order=9, nr_pcp_lists=14)
ZONEINFO = """Node 0, zone   Normal
  pages free     1024
        boost    5
        min      15
        low      25
        high     35
        promo    45
        spanned  4096
        present  4096
        managed  4000
        protection: (0, 7)
  pagesets
    cpu: 0
              count:    3
              high:     100
              batch:    63
              high_min: 90
              high_max: 200
  vm stats threshold: 24
  start_pfn:           0
Node 0, zone   Device
  pages free     0
        present  0
"""
PAGETYPEINFO = """Free pages count per migrate type at order       0      1
Node    0, zone   Normal, type    Unmovable      4 >100000

Number of blocks type     Unmovable      Movable  Reclaimable   HighAtomic      Isolate
Node 0, zone   Normal            2            5            1            0            0
"""
TEXTS = {
    "zoneinfo": ZONEINFO,
    "buddyinfo": "Node 0, zone   Normal      3      1 \n",
    "pagetypeinfo": PAGETYPEINFO,
    "vmstat": "pgalloc_normal 12\nnr_free_pages 3\n",
}


def chunk_of(*events: tuple[int, int, EventKind, int, int, int]) -> EventChunk:
    """Events (ts, cpu, kind, pfn, order, mt); an extfrag's fallback is of its own order and type."""
    ts, cpu, kind, pfn, order, mt = (np.array(column) for column in zip(*events, strict=True))
    zeros = np.zeros(len(ts), np.int64)
    return EventChunk(
        ts.astype(np.int64),
        cpu.astype(np.uint16),
        zeros.astype(np.int32),
        kind.astype(np.uint8),
        pfn.astype(np.int64),
        order.astype(np.int8),
        mt.astype(np.int8),
        zeros.astype(np.uint32),
        order.astype(np.int64),
        mt.astype(np.int64),
        zeros,
        zeros,
    )


def state_of(
    flags: npt.NDArray[np.uint64], *events: tuple[int, int, EventKind, int, int, int]
) -> AllocatorState:
    """The state at 200 of pages read from 100 on, with events."""
    snapshot = snapshot_from_texts(TEXTS, 200, "start")
    evidence = Evidence(len(flags), 9, 200)
    if events:
        evidence.add(chunk_of(*events))
    pages = PageSnapshot(flags, None, 100, 200, len(flags), np.array([100]))
    return build_state(snapshot, pages, FACTS, evidence)


def in_use() -> npt.NDArray[np.uint64]:
    """Flags of 4096 pages of slabs."""
    return np.full(4096, SLAB, np.uint64)


def pcp_of(state: AllocatorState) -> list[tuple[int, int, int]]:
    """(cpu, pindex, pfn) of all chunks on per-CPU lists, in list order."""
    p = state.pcp_pages
    return list(zip(p.cpu.tolist(), p.pindex.tolist(), p.pfn.tolist(), strict=True))


def test_texts_become_figures_and_come_back_from_disk(tmp_path: Path) -> None:
    snapshot = snapshot_from_texts(TEXTS, 7, "start")
    (zone,) = snapshot.zones
    assert (zone.free, zone.boost, zone.managed, zone.watermark) == (1024, 5, 4000, (15, 25, 35, 45))
    assert zone.protection == (0, 7)
    assert zone.chunks == (3, 1)
    assert zone.chunks_by_type == {"Unmovable": (4, 100000)}
    assert zone.blocks_by_type["Movable"] == 5
    (pcp,) = zone.pcp
    assert (pcp.cpu, pcp.count, pcp.high, pcp.batch, pcp.high_min, pcp.high_max) == (0, 3, 100, 63, 90, 200)
    assert snapshot.vmstat == {"pgalloc_normal": 12, "nr_free_pages": 3}
    write_snapshots(tmp_path / "s", [snapshot, snapshot])
    assert read_snapshots(tmp_path / "s") == (snapshot, snapshot)
    assert isinstance(snapshot, Snapshot)


def test_chunks_are_the_largest_aligned_ones() -> None:
    rng = np.random.default_rng(5)
    free = rng.random(5000) < 0.9
    free[1024:3072] = True
    seen = np.zeros(5000, np.int64)
    for order, heads in free_chunks(free):
        for head in heads.tolist():
            size = 1 << order
            assert head % size == 0
            seen[head : head + size] += 1
            buddy = head ^ size
            whole = free[buddy : buddy + size]
            assert order == 10 or len(whole) < size or not whole.all(), "a pair of buddies was not merged"
    assert (seen == free).all()
    assert any(order == 10 and len(heads) == 2 for order, heads in free_chunks(free))


def test_zone_fields_without_boost() -> None:
    state = state_of(in_use())
    (zone,) = state.zones
    assert (zone.watermark, zone.boost, zone.lowmem_reserve) == ((10, 20, 30, 40), 5, (0, 7))
    assert state.ordinal == -1
    assert (state.ts_begin, state.ts) == (100, 200)
    assert len(state.approximate) == 4
    assert state.pcp.batch.tolist() == [63]


def test_pages_on_per_cpu_lists_are_known_by_their_first_event() -> None:
    state = state_of(
        in_use(),
        (300, 1, K.MM_PAGE_ALLOC, 20, 0, 1),
        (310, 1, K.MM_PAGE_ALLOC, 10, 0, 1),
        (320, 0, K.MM_PAGE_ALLOC, 32, 2, 0),
        (330, 1, K.MM_PAGE_PCPU_DRAIN, 30, 0, 1),
        (340, 1, K.MM_PAGE_PCPU_DRAIN, 31, 0, 1),
        (350, 1, K.MM_PAGE_FREE, 20, 0, 0),
        (360, 0, K.MM_PAGE_FREE, 50, 0, 0),
        (370, 0, K.MM_PAGE_ALLOC, 50, 0, 1),
    )
    # CPU 1's list: taken from the head in this order, drained from the tail; page 50 was in use
    assert pcp_of(state) == [(0, 6, 32), (1, 1, 20), (1, 1, 10), (1, 1, 31), (1, 1, 30)]
    assert state.free.pfn.size == 0


def test_events_while_the_flags_were_read_are_followed() -> None:
    flags = in_use()
    flags[0:8] = BUDDY
    flags[64:68] = BUDDY
    state = state_of(
        flags,
        (90, 0, K.MM_PAGE_PCPU_DRAIN, 70, 0, 1),  # before: the flags know it
        (110, 0, K.MM_PAGE_ALLOC_ZONE_LOCKED, 0, 2, 0),
        (120, 0, K.MM_PAGE_ALLOC, 0, 2, 0),
        (130, 0, K.MM_PAGE_ALLOC_ZONE_LOCKED, 64, 0, 1),
        (140, 1, K.MM_PAGE_FREE, 80, 0, 0),
        (150, 0, K.MM_PAGE_FREE, 1024, 10, 0),
    )
    chunks = sorted(zip(state.free.pfn.tolist(), state.free.order.tolist(), strict=True))
    assert chunks == [(4, 2), (65, 0), (66, 1), (1024, 10)]
    assert pcp_of(state) == [(0, 1, 64), (1, 0, 80)]


def test_flags_are_right_where_later_events_contradict_them() -> None:
    flags = in_use()
    flags[0:4] = BUDDY
    state = state_of(
        flags,
        (300, 0, K.MM_PAGE_FREE, 0, 0, 0),  # taken silently in between
        (310, 0, K.MM_PAGE_ALLOC_ZONE_LOCKED, 100, 0, 0),  # came silently in between
    )
    assert state.free.pfn.tolist() == [0]
    assert state.free.order.tolist() == [2]


def test_block_types_are_named_by_events_or_fill_the_numbers_up() -> None:
    flags = np.zeros(4096, np.uint64)
    flags[:] = LRU
    flags[512:1024] = SLAB  # the most slabs: reclaimable
    flags[1024:1300] = 1 << 26  # page tables
    flags[1300:1536] = SLAB
    state = state_of(flags, (300, 0, K.MM_PAGE_ALLOC_ZONE_LOCKED, 4000, 0, 0))
    assert state.blocks.mt.tolist() == [1, 2, 0, 1, 1, 1, 1, 0]
    assert "1 are named by events" in state.approximate[1]


CLAIM = (
    (300, 0, K.MM_PAGE_ALLOC_ZONE_LOCKED, 700, 0, 0),
    (301, 1, K.MM_PAGE_FREE, 900, 0, 0),
    (302, 0, K.MM_PAGE_ALLOC_EXTFRAG, 700, 0, 0),
)
"""An unmovable request claims the second block by a movable chunk of order 5, and gets a single page out of it."""


def claimed(*pieces: slice) -> Evidence:
    """What the claim is evidence of, if its events come in these pieces."""
    events = chunk_of(*CLAIM)
    events.a[2], events.b[2], events.c[2] = 5, 1, 1
    evidence = Evidence(4096, 9, 200)
    for piece in pieces:
        evidence.add(events.take(piece))
    return evidence


@pytest.mark.parametrize("pieces", [[slice(0, 3)], [slice(0, 1), slice(1, 3)], [slice(0, 2), slice(2, 3)]])
def test_a_claim_names_the_type_that_the_block_had_before(pieces: list[slice]) -> None:
    # the kernel tells of the page that it takes, by the new type, before it tells of the claim
    assert claimed(*pieces).block_mt.tolist() == [-1, 1, *[-1] * 7]


def test_a_page_that_no_claim_follows_names_its_block() -> None:
    assert claimed(slice(0, 2)).block_mt[1] == 0


def test_a_claim_below_pageblock_order_tells_of_the_page_taken_only() -> None:
    # that page need not begin the chunk of order 5: pages behind it may be in use
    assert np.flatnonzero(claimed(slice(0, 3)).code).tolist() == [700, 900]


@pytest.mark.parametrize("kind", [K.MM_PAGE_ALLOC, K.MM_PAGE_FREE, K.MM_PAGE_ALLOC_EXTFRAG])
def test_a_page_to_which_a_size_cannot_be_added_is_no_evidence(kind: EventKind) -> None:
    past = [((1 << 63) - 1, 0), ((1 << 63) - 8, 10), (4095, 1), (-1, 0)]
    chunk = chunk_of((300, 0, kind, 4094, 1, 0), *((301, 0, kind, pfn, order, 0) for pfn, order in past))
    assert touches(chunk, 4096, 9).pfn.tolist() == [4094, 4095]
    evidence = Evidence(4096, 9, 200)
    evidence.add(chunk)
    assert np.flatnonzero(evidence.code).tolist() == [4094, 4095]


def test_the_lists_begin_with_what_is_taken_first() -> None:
    flags = in_use()
    for pfn in (4, 8, 16, 32):
        flags[pfn] = BUDDY
    state = state_of(
        flags,
        (300, 0, K.MM_PAGE_ALLOC_ZONE_LOCKED, 32, 0, 0),
        (310, 0, K.MM_PAGE_ALLOC_ZONE_LOCKED, 8, 0, 0),
    )
    assert state.free.pfn.tolist() == [32, 8, 4, 16]


@pytest.mark.parametrize("before", [False, True])
def test_memory_that_grew_after_the_events_were_first_followed(before: bool) -> None:
    flags = in_use()
    flags[[4, 3000]] = BUDDY
    evidence = Evidence(2048, 9, 200)
    evidence.add(chunk_of((300, 0, K.MM_PAGE_ALLOC_ZONE_LOCKED, 4, 0, 0)))
    pages = PageSnapshot(flags, None, 100, 200, len(flags), np.array([100]))
    known = (None, History(2048, 9)) if before else (evidence, None)
    state = build_state(snapshot_from_texts(TEXTS, 200, "start"), pages, FACTS, *known)
    assert sorted(state.free.pfn.tolist()) == [4, 3000]


def counted(blocks: int) -> dict[str, str]:
    """The texts of /proc with so many movable pageblocks, and no others, in /proc/pagetypeinfo."""
    row = f"Node 0, zone   Normal            0            {blocks}            0            0            0"
    text = PAGETYPEINFO[: PAGETYPEINFO.rindex("Node")] + row + "\n"
    return TEXTS | {"pagetypeinfo": text}


def state_with_blocks(
    flags: npt.NDArray[np.uint64], blocks: int, *events: tuple[int, int, EventKind, int, int, int]
) -> AllocatorState:
    """The state at 200 of a machine with so many pageblocks, its pages read from 100 on."""
    evidence = Evidence(len(flags), 9, 200)
    if events:
        evidence.add(chunk_of(*events))
    pages = PageSnapshot(flags, None, 100, 200, len(flags), np.array([100]))
    return build_state(snapshot_from_texts(counted(blocks), 200, "start"), pages, FACTS, evidence)


def test_blocks_without_any_flag_are_holes_beyond_what_the_kernel_counts() -> None:
    flags = in_use()
    flags[512:1024] = 0  # alone among others: the kernel's
    flags[2048:4096] = 0
    assert state_with_blocks(flags, 4).blocks.pfn.tolist() == [0, 512, 1024, 1536]
    assert state_with_blocks(flags, 5).blocks.pfn.tolist() == [0, 512, 1024, 1536, 2048]
    assert state_with_blocks(flags, 3).blocks.pfn.tolist() == [0, 1024, 1536]
    state = state_with_blocks(flags, 4)
    assert state.guesses is not None
    assert state.guesses.silent_blocks == 1
    assert "1 blocks show no page flags" in state.approximate[-1]


def test_memory_that_is_given_to_the_allocator_later_is_no_block_at_the_start() -> None:
    flags = in_use()
    flags[1024:2048] = 0
    given = (300, 0, K.MM_PAGE_FREE, 1024, 9, 0)
    assert 1024 not in state_with_blocks(flags, 6, given).blocks.pfn
    assert 1536 in state_with_blocks(flags, 7, given).blocks.pfn
    assert 1024 not in state_with_blocks(flags, 7, given).blocks.pfn
    used = (250, 0, K.MM_PAGE_FREE, 1100, 0, 0)
    assert 1024 in state_with_blocks(flags, 6, used, given).blocks.pfn


ALLOC, FREE = K.MM_PAGE_ALLOC, K.MM_PAGE_FREE
GFP_USER = 0x100CCA  # GFP_HIGHUSER_MOVABLE and __GFP_HARDWALL, as anonymous memory asks
GFP_READAHEAD = 0x1 << 3 | 0x1 << 13 | 0x1 << 16 | 0x1 << 6 | 0x1 << 7


def flags_of(
    flags: npt.NDArray[np.uint64],
    events: list[tuple[int, int, EventKind, int, int, int]],
    gfp: int = GFP_USER,
) -> npt.NDArray[np.uint64]:
    """The state's page flags after events, whose requests all bear the same gfp flags."""
    evidence = Evidence(len(flags), 9, 200)
    chunk = chunk_of(*events)
    evidence.add(chunk._replace(gfp=np.full(chunk.rows, gfp, np.uint32)))
    pages = PageSnapshot(flags, None, 100, 200, len(flags), np.array([100]))
    found = build_state(snapshot_from_texts(TEXTS, 200, "start"), pages, FACTS, evidence).page_flags
    assert found is not None
    return found


def test_an_allocation_while_the_flags_were_read_wins_over_them() -> None:
    flags = in_use()
    flags[8:16] = BUDDY
    flags[16] = 0
    words = flags_of(
        flags,
        [
            (150, 0, ALLOC, 8, 0, 1),
            (160, 0, ALLOC, 16, 0, 1),
            (170, 0, ALLOC, 20, 0, 1),
            (180, 0, ALLOC, 9, 0, 0),
        ],
    )
    assert [bool(words[pfn] & LRU) for pfn in (8, 16, 20, 9)] == [True, True, True, False]
    assert words[9] == 0, "the kernel's, whatever the flags were"
    assert words[10] == BUDDY


def test_an_allocation_just_before_the_flags_were_read_speaks_where_they_are_silent() -> None:
    flags = in_use()
    flags[16:20] = 0
    words = flags_of(flags, [(50, 0, ALLOC, 16, 0, 1), (60, 0, ALLOC, 17, 0, 0), (70, 0, ALLOC, 30, 0, 1)])
    assert words[16] & LRU
    assert words[17] == 0, "asked for by the kernel, in use for certain"
    assert words[18] == UNCLEAR
    assert words[30] == SLAB, "flags that say something are right"


def test_a_page_freed_before_or_after_its_flags_were_read_is_on_a_per_cpu_list() -> None:
    flags = in_use()
    flags[16] = 0
    flags[24] = LRU
    state = state_of(flags, (50, 1, FREE, 16, 0, 1), (150, 1, FREE, 24, 0, 1))
    assert pcp_of(state) == [(1, 1, 24), (1, 1, 16)]
    assert state.page_flags is not None
    assert state.page_flags[24] == 0


def test_a_large_allocation_has_a_head_and_tails() -> None:
    words = flags_of(in_use(), [(150, 0, ALLOC, 8, 2, 1)], GFP_READAHEAD | 1 << 18)
    assert [int(word) for word in words[8:12]] == [LRU | 1 << 15] + [LRU | 1 << 16] * 3


def test_what_is_guessed_is_counted_and_comes_back_from_disk(tmp_path: Path) -> None:
    flags = in_use()
    flags[100:110] = 0
    state = state_of(
        flags,
        (300, 0, ALLOC, 100, 0, 0),
        (310, 0, FREE, 101, 0, 0),
        (320, 0, K.MM_PAGE_ALLOC_ZONE_LOCKED, 600, 0, 0),
    )
    assert state.guesses == Guesses(
        blocks=8, block_types=7, silent_blocks=0, pcp_pages=3, pcp_pages_unknown=2, unclear_pages=8
    )
    assert not state.skip_known
    write_state(tmp_path / "s", state)
    back = read_state(tmp_path / "s", 9)
    assert (back.guesses, back.skip_known) == (state.guesses, False)


def test_a_later_state_knows_what_the_last_events_left() -> None:
    flags = in_use()
    flags[40:44] = 0
    history = History(len(flags), 9)
    history.add(
        chunk_of(
            (20, 1, FREE, 40, 0, 1),
            (30, 0, K.MM_PAGE_ALLOC_EXTFRAG, 0, 0, 0),
            (40, 0, K.MM_PAGE_ALLOC_ZONE_LOCKED, 41, 0, 0),
        )
    )
    pages = PageSnapshot(flags, None, 100, 200, len(flags), np.array([100]))
    state = build_state(snapshot_from_texts(TEXTS, 200, "end"), pages, FACTS, history=history)
    assert pcp_of(state) == [(0, 0, 41), (1, 1, 40)]
    assert state.guesses is not None
    assert (state.guesses.block_types, state.guesses.pcp_pages_unknown) == (7, 1)


@pytest.mark.skipif("KEVACUATE_GROUND_TRUTH" not in os.environ, reason="needs KEVACUATE_GROUND_TRUTH")
def test_against_the_dump_of_a_real_kernel() -> None:
    path = Path(os.environ["KEVACUATE_GROUND_TRUTH"])
    recording = Recording.open(path)
    real = next(s for s in recording.states if s.tag == "0")
    directory = next(path.glob("snap-0-*"))
    texts = {
        name: (directory / name).read_text() for name in ("zoneinfo", "buddyinfo", "pagetypeinfo", "vmstat")
    }
    flags = real.page_flags
    assert flags is not None
    pages = PageSnapshot(flags, None, real.ts, real.ts, len(flags), np.array([real.ts]))
    evidence = Evidence(len(flags), 9, real.ts)
    for chunk in recording.events(after=real):
        evidence.add(chunk._replace(ts=np.maximum(chunk.ts, real.ts + 1)))
    facts = StateFacts(9, recording.machine.hugepage_order, recording.machine.nr_pcp_lists)
    ours = build_state(snapshot_from_texts(texts, real.ts, "start"), pages, facts, evidence)
    true = set(zip(real.free.pfn.tolist(), real.free.order.tolist(), real.free.mt.tolist(), strict=True))
    found = set(zip(ours.free.pfn.tolist(), ours.free.order.tolist(), ours.free.mt.tolist(), strict=True))
    assert len(true & found) > 0.99 * len(true)
    assert set(pcp_of(ours)) == set(pcp_of(real))
    types = dict(zip(ours.blocks.pfn.tolist(), ours.blocks.mt.tolist(), strict=True))
    right = [
        types.get(p) == m for p, m in zip(real.blocks.pfn.tolist(), real.blocks.mt.tolist(), strict=True)
    ]
    assert np.mean(right) > 0.99


def kept_history(path: Path) -> History:
    """A history of 4096 pages, written to a file."""
    history = History(4096, 9)
    history.add(chunk_of((300, 1, K.MM_PAGE_ALLOC, 700, 3, 1)))
    history.save(path)
    return history


def test_a_kept_history_is_read_as_it_was(tmp_path: Path) -> None:
    kept, read = kept_history(tmp_path / "h.npz"), History.load(tmp_path / "h.npz", 9)
    for name in (*History.COLUMNS, "block_mt"):
        assert getattr(read, name).dtype == getattr(kept, name).dtype
        assert np.array_equal(getattr(read, name), getattr(kept, name))


def test_a_history_that_was_not_written_to_its_end_is_refused(tmp_path: Path) -> None:
    kept_history(tmp_path / "h.npz")
    data = (tmp_path / "h.npz").read_bytes()
    for length in (0, 1, 3, 100, len(data) // 2, len(data) - 1):
        (tmp_path / "h.npz").write_bytes(data[:length])
        with pytest.raises(KevacuateError, match="cannot be read: record again"):
            History.load(tmp_path / "h.npz", 9)


@pytest.mark.parametrize("name", ["code", "order", "block_mt"])
@pytest.mark.parametrize("wrong", [np.zeros(7, np.uint8), np.zeros((2, 2)), np.array("x")])
def test_a_history_whose_columns_do_not_fit_is_refused(
    tmp_path: Path, name: str, wrong: npt.NDArray[np.generic]
) -> None:
    kept = kept_history(tmp_path / "h.npz")
    columns = {column: getattr(kept, column) for column in (*History.COLUMNS, "block_mt")}
    np.savez(tmp_path / "h.npz", **(columns | {name: wrong}))
    with pytest.raises(KevacuateError, match="cannot be read: record again"):
        History.load(tmp_path / "h.npz", 9)
