# SPDX-License-Identifier: GPL-2.0-or-later
"""What an evacuation finds in its block, as the evacuation level follows it through the events before."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from demand_tools import VMALLOC, alloc, chunk_of, free, isolate_free

from kevacuate import verify
from kevacuate.fidelity.evacuation.folios import Look, hidden_destinations, on_lru
from kevacuate.fidelity.evacuation.pages import MovablePages
from kevacuate.fidelity.evacuation.views import ISOLATE
from kevacuate.fidelity.event_rows import wide
from kevacuate.recording import KevWriter, Recording
from kevacuate.recording.schema import EventKind as K

DATA = Path(__file__).parent.parent / "data"
BLOCK = 0x800
"""A pageblock that is free when the two-CPU excerpt's machine boots."""
NPAGES = 0x40000


def boot_state():
    boot = Recording.open(DATA / "two-cpus.kev").boot
    assert boot is not None
    return boot


def followed(*events) -> MovablePages:
    pages = MovablePages(NPAGES, 2, boot_state_with_one_block(), 9)
    rows = wide(chunk_of(list(events)))
    pages.feed(rows, 100, 0, rows.rows)
    return pages


def boot_state_with_one_block():
    """The boot state with one free chunk: the block."""
    state = boot_state()
    one = state.free._replace(
        zone=state.free.zone[:1],
        order=np.array([9], np.int8),
        mt=np.array([1], np.int8),
        pfn=np.array([BLOCK]),
    )
    return dataclasses.replace(
        state, free=one, pcp_pages=type(state.pcp_pages)(*(x[:0] for x in state.pcp_pages))
    )


def folios(pages: MovablePages) -> list[tuple[int, int]]:
    look = pages.look(BLOCK, 512)
    return list(zip(look.folios.offset.tolist(), look.folios.order.tolist(), strict=True))


def test_only_movable_allocations_are_folios_and_frees_end_them() -> None:
    pages = followed(
        alloc(BLOCK + 3),
        alloc(BLOCK + 8, 2),
        alloc(BLOCK + 4, gfp=VMALLOC),
        alloc(BLOCK + 5),
        free(BLOCK + 5),
    )
    assert folios(pages) == [(3, 0), (8, 2)]
    look = pages.look(BLOCK, 512)
    assert look.folios.pages == 5
    assert look.folios.rank.tolist() == [1, 2]
    assert look.folios.since.tolist() == [100, 101]
    assert look.unknown == 0
    assert int(look.unused.sum()) == 512 - 6


def test_a_part_freed_by_itself_splits_the_folio() -> None:
    pages = followed(alloc(BLOCK + 8, 2), free(BLOCK + 9))
    assert folios(pages) == [(8, 0), (10, 0), (11, 0)]


def test_compactions_takings_are_known_only_where_it_took_all_of_a_range() -> None:
    whole = followed(isolate_free(BLOCK, BLOCK + 4, 4))
    assert folios(whole) == [(0, 0), (1, 0), (2, 0), (3, 0)]
    part = followed(isolate_free(BLOCK, BLOCK + 4, 3))
    assert folios(part) == []
    assert (whole.destinations, whole.open_ranges, part.destinations, part.open_ranges) == (4, 0, 0, 1)


def test_list_operations_tell_what_was_taken_and_not_handed_out() -> None:
    event = type(alloc(0))
    taken = event(K.GT_LIST, BLOCK, 2, a=2)
    handed = event(K.MM_PAGE_ALLOC_ZONE_LOCKED, BLOCK + 1)
    back = event(K.GT_LIST, BLOCK + 2, 1, a=0)
    assert folios(followed(taken)) == [(0, 0), (1, 0), (2, 0), (3, 0)]
    assert folios(followed(taken, handed, back)) == [(0, 0)]


def test_flags_give_back_what_was_followed() -> None:
    before = followed(alloc(BLOCK + 3), alloc(BLOCK + 8, 2), alloc(BLOCK + 4, gfp=VMALLOC))
    state = dataclasses.replace(boot_state_with_one_block(), tag="m", page_flags=before.flags())
    nothing = type(state.free)(*(column[:0] for column in state.free))
    after = MovablePages(NPAGES, 2, dataclasses.replace(state, free=nothing), 9)
    assert folios(after) == folios(before)
    unknown = MovablePages(NPAGES, 2, dataclasses.replace(state, free=nothing, page_flags=None), 9)
    assert unknown.look(BLOCK, 512).unknown == 512


def look_at(allocated: int, *, first: int = 0) -> Look:
    """A block whose page n was the n-th movable allocation of CPU 0."""
    pages = followed(*(alloc(BLOCK + n) for n in range(first, allocated)))
    return pages.look(BLOCK, 512)


@pytest.mark.parametrize(
    ("counted", "more", "expected"),
    [(10, 0, 10), (8, 2, 8), (8, 28, 8), (8, 29, 39), (8, 31, 39), (10, 31, 41)],
)
def test_young_folios_wait_until_a_batch_of_31_is_full(counted: int, more: int, expected: int) -> None:
    start, now = look_at(10), look_at(10 + more)
    waiting = start.folios.where(~start.folios.among(start.folios.oldest(counted)))
    assert waiting.pages == 10 - counted
    assert on_lru(start, now, waiting).offset.tolist() == list(range(expected))


def test_hidden_destinations_take_the_highest_aligned_room() -> None:
    start = look_at(4)
    assert hidden_destinations(start, 0).size == 0
    assert hidden_destinations(start, 128).tolist() == list(range(384, 512))
    assert hidden_destinations(start, 5).tolist() == [507, *range(508, 512)]


def test_what_a_call_isolated_does_not_go_into_what_it_found(tmp_path: Path) -> None:
    """The kernel's own figures changed: as many mismatches as changes, so no decision was read from them."""
    recording = Recording.open(DATA / "one-cpu.kev")
    whole = verify(recording, ["evacuation"]).levels["evacuation"]
    kind = "isolate calls: pages, first and last offset"
    assert whole.kinds[kind].decisions > 10
    assert whole.mismatches == 0

    target = tmp_path / "shifted.kev"
    with KevWriter(target, recording.machine) as writer:
        for state in recording.states:
            writer.add_state(state)
        for chunk in recording.events():
            call = (chunk.kind == K.GT_EVAC) & (chunk.order == ISOLATE)
            writer.add_events(chunk._replace(d=np.where(call, chunk.d + 1, chunk.d)))
        writer.set_losses(recording.losses)
    shifted = verify(target, ["evacuation"]).levels["evacuation"].kinds[kind]
    assert shifted.decisions == whole.kinds[kind].decisions
    assert shifted.mismatches == shifted.decisions
