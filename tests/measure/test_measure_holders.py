# SPDX-License-Identifier: GPL-2.0-or-later
"""Who holds the blocks, of pages planted by hand: blocks of eight pages, and sums worked out on paper."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import kevacuate
from kevacuate.measure.holders import (
    ABSENT,
    FREE,
    MOVABLE,
    UNCLEAR,
    UNKNOWN,
    HeldPages,
    Holder,
    Holders,
    find_holders,
)
from kevacuate.measure.holders_by_flags import state_holders
from kevacuate.measure.moments import recorded_blocks
from kevacuate.measure.pages import UNMOVABLE as PAGES_UNMOVABLE
from kevacuate.recording import AllocatorState, Recording
from kevacuate.recording.state import UNCLEAR as UNCLEAR_FLAG
from kevacuate.recording.state import FreePages, PcpPages
from kevacuate.reports.holders import label, size, table, words

UNMOVABLE_TYPE, MOVABLE_TYPE, RECLAIMABLE_TYPE = 0, 1, 2
NAMELESS, DENTRY, TABLES, MAYBE = range(4)
HOLDERS = (
    Holder(UNKNOWN, ""),
    Holder("slab", "dentry", ("names_cache", "other")),
    Holder("page table", ""),
    Holder(UNCLEAR, ""),
)
F, M, A = FREE, MOVABLE, ABSENT
BLOCKS = (
    # type, pages, what is expected of it
    (MOVABLE_TYPE, [F, F, M, M, M, M, M, DENTRY]),  # held by dentry alone, 7 otherwise
    (MOVABLE_TYPE, [DENTRY, DENTRY, DENTRY, TABLES, F, F, F, M]),  # held by both, 4 otherwise
    (UNMOVABLE_TYPE, [TABLES, F, F, F, F, F, F, F]),  # nearly empty: by page tables alone, 7 otherwise
    (UNMOVABLE_TYPE, [TABLES, TABLES, F, F, F, F, F, F]),  # not nearly empty, not movable: not held
    (RECLAIMABLE_TYPE, [DENTRY] * 8),  # full of dentries: not held
    (MOVABLE_TYPE, [M] * 8),  # nothing that cannot move
    (MOVABLE_TYPE, [MAYBE, M, M, M, M, M, M, M]),  # perhaps
    (RECLAIMABLE_TYPE, [MAYBE, F, F, F, F, F, F, F]),  # perhaps
    (MOVABLE_TYPE, [A, A, A, A, A, A, NAMELESS, F]),  # half a block, of movable type: held, 1 otherwise
    (UNMOVABLE_TYPE, [A, A, A, A, A, A, NAMELESS, F]),  # half a block is never free as one: not held
    (-1, [A] * 8),  # none
)


def pages(blocks: object = BLOCKS, holders: tuple[Holder, ...] = HOLDERS, **given: object) -> HeldPages:
    code = np.array([code for _, eight in blocks for code in eight], np.int32)  # type: ignore[attr-defined]
    types = np.array([mt for mt, _ in blocks], np.int8)  # type: ignore[attr-defined]
    values = {"not_told": ("Nothing of pipes is told.",), "caches": {"dentry": 12, "filp": 300}}
    return HeldPages(code, holders, types, 3, "vmcore", "v", "7.2", "read", **(values | given))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def found() -> Holders:
    return find_holders(pages())


def test_blocks_are_counted_as_by_hand(found: Holders) -> None:
    assert found.held.tolist() == [True, True, True, *[False] * 5, True, False, False]
    assert found.blocks == {
        "present": 10,
        "unmovable": 7,
        "held": 4,
        "movable_type": 3,
        "nearly_empty": 2,
        "unclear": 2,
        "otherwise": 7 + 4 + 7 + 1,
    }


def test_holders_are_counted_and_ranked_as_by_hand(found: Holders) -> None:
    rows = {row.holder: row for row in found.rows}
    assert [row.holder for row in found.rows] == [HOLDERS[i] for i in (DENTRY, TABLES, NAMELESS, MAYBE)]
    assert rows[HOLDERS[DENTRY]][1:] == (12, 2, 1, 2, 4, 11, 7)
    assert rows[HOLDERS[TABLES]][1:] == (4, 2, 1, 1, 2, 11, 7)
    assert rows[HOLDERS[NAMELESS]][1:] == (2, 1, 1, 1, 1, 1, 1)
    assert rows[HOLDERS[MAYBE]][1:] == (2, 0, 0, 0, 0, 0, 0)


def test_the_share_of_a_nearly_empty_block_is_the_callers() -> None:
    assert find_holders(pages(), 0.25).held.tolist()[3] is True
    assert find_holders(pages(), 0.24).held.tolist()[3] is False
    none = find_holders(pages(), 0.0)
    assert (none.blocks["nearly_empty"], none.blocks["held"]) == (0, 3)


def test_pages_that_may_be_free_rank_last_and_count_against_nearly_empty() -> None:
    two = (
        (MOVABLE_TYPE, [MAYBE, MAYBE, MAYBE, TABLES, F, F, F, F]),
        (RECLAIMABLE_TYPE, [MAYBE, TABLES, F, F, F, F, F, F]),
    )
    found = find_holders(pages(two))
    assert found.held.tolist() == [True, False]
    assert [row.holder.kind for row in found.rows] == ["page table", UNCLEAR]
    assert [row.alone for row in found.rows] == [0, 0]


def test_a_block_names_its_holders(found: Holders) -> None:
    assert found.of_block(1) == ((HOLDERS[DENTRY], 3), (HOLDERS[TABLES], 1))
    assert found.of_block(5) == ()
    assert [entry["pfn"] for entry in found.blocks_json()] == [0, 8, 16, 64]
    assert [entry["type"] for entry in found.blocks_json()] == ["movable", "movable", "unmovable", "movable"]


def test_a_machine_without_such_pages_has_no_holder() -> None:
    found = find_holders(pages(((MOVABLE_TYPE, [M] * 8),), ()))
    assert found.rows == ()
    assert found.blocks["held"] == 0
    assert "0 of 1 pageblocks are held" in words(found.to_json())


def test_pages_past_the_last_block_and_a_last_part_of_one_are_no_fault() -> None:
    cut = pages(((MOVABLE_TYPE, [TABLES, M, M]),))
    assert find_holders(cut).blocks["held"] == 1
    assert find_holders(cut).rows[0].otherwise == 2


def test_the_json_holds_what_is_said(found: Holders) -> None:
    said = json.loads(json.dumps(found.to_json(), allow_nan=False))
    first = said["holders"][0]
    assert (first["name"], first["blocks"], first["merged_with"]) == ("dentry", 2, ["names_cache", "other"])
    assert said["blocks"]["held"] == 4
    text = words(said)
    assert (
        "slab dentry: 2 blocks, 44 KiB of them otherwise free or movable; 1 of them it holds alone." in text
    )
    assert "2 more may be held" in text
    assert "filp 1.2 MiB, dentry 48 KiB" in text
    assert text.endswith("Nothing of pipes is told.")


def test_the_table_shows_the_first_rows_and_how_many_more(found: Holders) -> None:
    with Path(os.devnull).open("w") as nowhere:
        console = Console(width=200, record=True, file=nowhere)
        console.print(table(found.to_json(), 1))
    text = console.export_text()
    assert "slab dentry (with names_cache, other)" in text
    assert "2 more: --all" in text
    assert "page table" not in text


def test_the_table_fits_eighty_columns(found: Holders) -> None:
    with Path(os.devnull).open("w") as nowhere:
        console = Console(width=80, record=True, file=nowhere)
        console.print(table(found.to_json()))
    text = console.export_text()
    assert all(len(line) <= 80 for line in text.splitlines())
    row = next(line for line in text.splitlines() if "slab dentry" in line)
    assert row.split()[-5:] == ["44", "KiB", "28", "KiB", "12"]


def test_names_and_sizes() -> None:
    assert (
        label({"kind": UNKNOWN, "name": "charged to cgroup /a"})
        == "unknown kernel page, charged to cgroup /a"
    )
    assert (
        label({"kind": "slab", "name": "a", "merged_with": list("bcdef")})
        == "slab a (with b, c, d and 2 more)"
    )
    assert [size(n) for n in (1, 255, 256, 262143, 262144)] == [
        "4 KiB",
        "1020 KiB",
        "1.0 MiB",
        "1,024.0 MiB",
        "1.0 GiB",
    ]


SHIPPED = Path(kevacuate.__file__).parent / "data/stock-churn-1g-smp1-s3.kev"


def state_of(words: list[int], free: list[tuple[int, int]], cached: list[int]) -> AllocatorState:
    """A state of one zone with these page flags, free chunks (pfn, order), and pages on CPU 0's list."""
    state = Recording.open(SHIPPED).start
    assert state is not None
    none = np.zeros(0, np.int64)
    lists = dict.fromkeys(FreePages._fields, none) | {
        "pfn": np.array([pfn for pfn, _ in free], np.int64), "order": np.array([order for _, order in free], np.int8),
    }  # fmt: skip
    pages = dict.fromkeys(PcpPages._fields, none) | {
        "pfn": np.array(cached, np.int64), "pindex": np.zeros(len(cached), np.int8),
    }  # fmt: skip
    zone = replace(state.zones[0], start_pfn=0, spanned=16)
    return replace(
        state, zones=(zone,), free=FreePages(**lists), pcp_pages=PcpPages(**pages),
        page_flags=np.array(words, np.uint64),
    )  # fmt: skip


LRU_PAGE, SLAB_PAGE, HEAD, TAIL, BUDDY, TABLE, RESERVED = (1 << bit for bit in (5, 7, 15, 16, 10, 26, 32))


def test_a_recorded_blocks_unmovable_pages_by_hand() -> None:
    words = [
        *(
            0,
            0,
            SLAB_PAGE | HEAD,
            TAIL,
            TAIL,
            TAIL,
            LRU_PAGE,
            TABLE,
        ),  # a slab of 4 pages reaches into the second block
        *(0, 0, BUDDY, int(UNCLEAR_FLAG), RESERVED, SLAB_PAGE, 1),  # the last page has no flag: no page
    ]
    state = state_of(words, [(13, 0)], [1])
    assert [(holder.kind, n) for holder, n in state_holders(state, 4, 8, 9) or ()] == [
        ("slab", 2),
        ("page table", 1),
    ]
    assert [(holder.kind, n) for holder, n in state_holders(state, 0, 4, 9) or ()] == [
        ("slab", 2),
        ("unknown kernel page", 1),
    ]
    assert [(holder.kind, n) for holder, n in state_holders(state, 8, 16, 9) or ()] == [
        ("unknown kernel page", 4),  # two without a flag, one just taken from the buddy, one locked
        (UNCLEAR, 1),
    ]
    assert state_holders(state, 6, 7, 9) == ()
    assert state_holders(replace(state, page_flags=None), 0, 4, 9) is None


def test_a_recorded_blocks_unmovable_pages_are_those_of_the_map() -> None:
    recording = Recording.open(SHIPPED)
    state, order, huge = recording.start, recording.machine.pageblock_order, recording.machine.hugepage_order
    assert state is not None
    counts = recorded_blocks(state, order, huge)
    assert counts is not None
    rows = list(zip(counts.start.tolist(), counts.pages[:, PAGES_UNMOVABLE].tolist(), strict=True))[::5]
    for first, unmovable in rows:
        holders = state_holders(state, first, first + (1 << order), huge)
        assert holders is not None
        assert sum(n for _, n in holders) == unmovable
    assert sum(unmovable for _, unmovable in rows) > 1000
