# SPDX-License-Identifier: GPL-2.0-or-later
"""Who holds the blocks, of pages planted by hand: blocks of eight pages, and sums worked out on paper."""

import json

import numpy as np
import pytest
from rich.console import Console

from kevacuate.observe.holders import (
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
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(table(found.to_json(), 1))
    text = console.export_text()
    assert "slab dentry (with names_cache, other)" in text
    assert "2 more: --all" in text
    assert "page table" not in text


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
