# SPDX-License-Identifier: GPL-2.0-or-later
"""The follower of the generations counts what is not the oracle's: a few events by hand."""

from __future__ import annotations

import pytest
from follow_generations import ISOLATED, PROTECTED, Follower, Row

from kevacuate.kernel.hooks import DumpKind, FolioFlag, GenOp
from kevacuate.recording import EventKind

FILE, OLDEST, MIN_SEQ, MAX_SEQ = 1, 0, 4, 7
FLAGS = FolioFlag.FILE | (OLDEST + 1) << 20
"""A folio of a file in the oldest generation, never used."""


def gen(op: int, pfn: int = -1, a: int = 0, flags: int = FLAGS, b: int = 0, c: int = 0) -> Row:
    """An event of gt_gen about files, of an order 0 folio."""
    return Row(EventKind.GT_GEN, 1, pfn, 0, flags, op | FILE << 8 | a << 24, b, c)


def dump(pfns: tuple[int, ...]) -> list[Row]:
    """A dump of which the oldest generation of files has these folios, the head first."""
    seqs = [(0, MAX_SEQ), (1, MIN_SEQ), (2, MIN_SEQ)]
    rows = [Row(EventKind.GT_DUMP, 1, -1, 0, DumpKind.GEN_SEQ, number, 0, seq) for number, seq in seqs]
    folio = DumpKind.GEN_FOLIO
    rows += [
        Row(EventKind.GT_DUMP, 1, -1, 0, folio, FILE << 7, OLDEST << 8, FLAGS << 32 | pfn) for pfn in pfns
    ]
    return [*rows, Row(EventKind.GT_DUMP, 1, -1, 0, DumpKind.LRU_END, 0, 0, 0)]


def followed(*rows: Row) -> Follower:
    """A follower that has seen a dump of folios 1, 2 and 3, then these rows."""
    follower = Follower()
    for row in (*dump((1, 2, 3)), *rows):
        follower.feed(row)
    return follower


EVICT = gen(GenOp.EVICT, 64, b=MIN_SEQ, c=MIN_SEQ)


def taken(pfn: int, what: int = ISOLATED, tier: int = 3, flags: int = FLAGS) -> Row:
    return gen(GenOp.SORTED, pfn, what, flags, tier, MIN_SEQ)


def test_folios_go_from_the_tail_and_shrink_folio_list_looks_at_them_in_that_order() -> None:
    looked = [Row(EventKind.GT_REC, 1, pfn, 0, FolioFlag.FILE, 0, 0, 0) for pfn in (3, 2)]
    follower = followed(EVICT, taken(3), taken(2), *looked)
    assert not +follower.wrong
    assert follower.made["which folio stands at the tail"] == 2
    assert follower.made["which folio is reclaimed next"] == 2
    assert list(follower.lists[OLDEST, FILE]) == [1]


@pytest.mark.parametrize(
    ("row", "what"),
    [
        (taken(2), "which folio stands at the tail"),
        (taken(3, tier=0), "the last tier that is not protected"),
        (taken(3, PROTECTED), "what becomes of the folio at the tail"),
        (gen(GenOp.SHADOW, 3, b=1), "the tier of an evicted folio"),
    ],
)
def test_another_decision_is_counted(row: Row, what: str) -> None:
    assert +followed(EVICT, row).wrong == {what: 1}


def test_a_dump_is_compared_with_what_was_followed() -> None:
    new = gen(GenOp.LISTED, 4, 1)
    assert not +followed(new, *dump((4, 1, 2, 3))).wrong
    rotated = gen(GenOp.LISTED, 4, 3)
    assert not +followed(rotated, *dump((1, 2, 3, 4))).wrong
    assert +followed(new, *dump((1, 2, 3, 4))).wrong == {"order of a generation of files, in a dump": 1}
    freed = Row(EventKind.MM_PAGE_FREE, 1, 2, 0, 0, 0, 0, 0)
    assert not +followed(freed, *dump((1, 3))).wrong
