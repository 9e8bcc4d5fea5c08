# SPDX-License-Identifier: GPL-2.0-or-later
"""The three forms of the search choose equal pages, and those of a naive oracle; each fault planted in a form is noticed."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search.naive_zone import NaiveZone

from kevacuate.demand.objects import OP_ALLOC, OP_FREE
from kevacuate.errors import KevacuateError
from kevacuate.recording import DemandChunk
from kevacuate.recording.demand import DEMAND_TYPES
from kevacuate.search import fields as f
from kevacuate.search.check import problems
from kevacuate.search.churn import churn, fill, generator
from kevacuate.search.machine import ZoneShape, all_free
from kevacuate.search.zone import run_rows

ROW = DemandChunk(*(np.zeros(1, dtype) for dtype in DEMAND_TYPES.values()))


def one(search: f.Search, op: int, obj: int, order: int = 0, mt: int = 0) -> int:
    """One operation; where the object lies then."""
    ROW.op[0], ROW.obj[0], ROW.order[0], ROW.mt[0] = op, obj, order, mt
    assert run_rows(search, ROW, 0, 1) == 1
    return int(search.at[obj])


@st.composite
def small_zones(draw: st.DrawFn) -> ZoneShape:
    """Zones of up to seven regions of 64 to 256 pages, in pageblocks of 8 or 16, clipped at both ends; 70 regions at times."""
    pageblock = draw(st.sampled_from((3, 4)))
    region_order = draw(st.integers(6, 8))
    many = draw(st.integers(0, 7)) == 0
    regions = 70 if many else draw(st.integers(1, 6))
    region_order = 6 if many else region_order
    first = draw(st.integers(0, 3)) << region_order
    block = 1 << (pageblock + 1)
    start = first + block * draw(st.integers(0, (1 << region_order) // block - 1))
    end = first + (regions << region_order) - block * draw(st.integers(0, (1 << region_order) // block - 1))
    return ZoneShape(
        start,
        max(end, start + block),
        region_order=region_order,
        pageblock_order=pageblock,
        max_page_order=pageblock + 1,
    )


OPERATIONS = st.lists(
    st.tuples(st.booleans(), st.integers(0, 5), st.integers(0, 2), st.integers(0, 999)), max_size=60
)
"""Request or free, order and type, which object."""


class Both:
    """A searched zone and its oracle, which must lie alike after each operation."""

    def __init__(self, shape: ZoneShape) -> None:
        self.shape, self.rule = shape, f.RULE_NAMES[shape.rule]
        self.search = all_free(shape)
        self.search.view.cfg.counting = 1
        first = shape.start_pfn - shape.base
        self.oracle = NaiveZone(
            shape.npages, first, shape.region_order, shape.pageblock_order, shape.max_page_order
        )
        self.live: list[int] = []
        self.number = self.tainted = 0

    def request(self, order: int, mt: int) -> None:
        """One request: both take the same page."""
        before = self.oracle.categories()
        pfn = one(self.search, OP_ALLOC, self.number, order, mt)
        assert pfn == self.oracle.alloc(self.rule, order, mt)
        if pfn >= 0:
            self.live.append(self.number)
            after = self.oracle.categories()[self.oracle.region(pfn)][0]
            was = before[self.oracle.region(pfn)][0]
            self.tainted += was in ("clean", "empty") and after in ("tight", "tainted")
        self.number += 1

    def free(self, which: int) -> None:
        """One free."""
        obj = self.live.pop(which % len(self.live))
        self.oracle.free(int(self.search.at[obj]))
        one(self.search, OP_FREE, obj)

    def crowd(self, seed: int, requests: int) -> None:
        """Fill the zone with small chunks, mostly movable, and free every third: what is free then lies in small pieces."""
        draw = random.Random(seed)
        for _ in range(requests):
            self.request(
                draw.choice((0, 0, 1, 2, self.shape.pageblock_order)), draw.choice((0, 1, 1, 1, 1, 2))
            )
        for _ in range(len(self.live) // 3):
            self.free(draw.randrange(1000))


@pytest.mark.parametrize("rule", range(3), ids=f.RULE_NAMES)
@settings(max_examples=25, deadline=None)
@given(
    shape=small_zones(),
    form=st.integers(0, 3),
    crowd=st.integers(0, 90),
    seed=st.integers(),
    operations=OPERATIONS,
)
def test_every_form_takes_the_oracles_page(
    rule: int,
    form: int,
    shape: ZoneShape,
    crowd: int,
    seed: int,
    operations: list[tuple[bool, int, int, int]],
) -> None:
    both = Both(ZoneShape(**{**vars(shape), "rule": rule, "form": form if rule == f.REGIONS else f.FLAT}))
    both.crowd(seed, crowd)
    for asks, order, mt, which in operations:
        if asks or not both.live:
            both.request(min(order, shape.max_page_order), mt)
        else:
            both.free(which)
    stat = both.search.view.stat
    assert list(stat.wrong) == [0] * f.NR_FORMS
    assert (stat.unfound, stat.tainted) == (0, both.tainted)
    assert problems(both.search) == []


def test_the_oracles_block_has_the_largest_chunk() -> None:
    both = Both(ZoneShape(0, 32, region_order=5, pageblock_order=3, max_page_order=4))
    for order, mt in ((3, 0), (3, 0), *[(0, 1)] * 16):
        both.request(order, mt)
    movable = {int(both.search.at[obj]): obj for obj in range(2, 18)}
    for pfn in (16, 24, 25, 26, 27):
        both.free(both.live.index(movable[pfn]))
    both.request(0, 0)
    assert int(both.search.at[18]) == 24
    assert (both.search.view.stat.block_claims, both.search.block[2], both.search.block[3]) == (1, 1, 0)


def churned(rows: int = 20_000, **what: int) -> f.Search:
    """A zone of eight regions of 32 MiB under the generated demand."""
    npages = 1 << 16
    search = all_free(ZoneShape(0, npages, region_order=13, objects=npages // 2, **what))
    made = generator(npages, 1)
    for chunk in fill(made, npages):
        run_rows(search, chunk, 0, chunk.t.size)
    search.view.cfg.counting = 1
    for chunk in churn(made, npages, rows):
        assert run_rows(search, chunk, 0, chunk.t.size) == chunk.t.size
    return search


@pytest.mark.parametrize("rule", range(3), ids=f.RULE_NAMES)
def test_the_state_equals_a_recount(rule: int) -> None:
    search = churned(rule=rule)
    assert problems(search) == []
    assert search.view.stat.unfound == 0


def test_whichever_form_decides_the_zone_ends_alike() -> None:
    ended = [churned(form=form) for form in range(f.NR_FORMS)]
    for search in ended:
        assert list(search.view.stat.wrong) == [0] * f.NR_FORMS
        assert search.view.stat.not_walked == 0
        for name in (
            "link",
            "meta",
            "block",
            "region",
            "nr_free",
            "bucket",
            "bits",
            "at",
            "hist",
            "sum",
            "worst",
        ):
            assert np.array_equal(getattr(search, name), getattr(ended[0], name)), name


def break_flat(search: f.Search) -> None:
    """The longest flat list of single movable pages loses all but its first chunk."""
    head = search.view.cfg.npages + 1
    first = search.link[2 * head]
    search.link[2 * first] = search.link[2 * head + 1] = head


def break_regions(search: f.Search) -> None:
    """Every bucket forgets its first region."""
    for bucket in range(f.NR_BUCKETS):
        if search.bucket[bucket] >= 0:
            search.bucket[bucket] = search.view.region[int(search.bucket[bucket])].next


def break_bitmaps(search: f.Search) -> None:
    """The bitmaps per order are empty."""
    search.bits[: f.SETS_BY_TYPE * search.view.cfg.words] = 0


def break_typed_bitmaps(search: f.Search) -> None:
    """Those per order and type are."""
    search.bits[f.SETS_BY_TYPE * search.view.cfg.words : f.SETS_BY_BUCKET * search.view.cfg.words] = 0


BREAKS: tuple[Callable[[f.Search], None], ...] = (
    break_flat,
    break_regions,
    break_bitmaps,
    break_typed_bitmaps,
)


@pytest.mark.parametrize("form", range(f.NR_FORMS), ids=f.FORM_NAMES)
def test_a_broken_form_is_noticed(form: int) -> None:
    search = churned(2_000, form=(form + 1) % f.NR_FORMS)
    assert problems(search) == []
    BREAKS[form](search)
    assert problems(search), "the recount sees it"
    for obj in range(30):
        search.at[obj] = -1
        one(search, OP_ALLOC, obj, 0, obj % 3)
    wrong = list(search.view.stat.wrong)
    assert wrong[form] > 0, "the comparison sees it"
    assert not any(wrong[other] for other in range(f.NR_FORMS) if other != form)


@pytest.mark.parametrize(
    ("start", "end", "order", "said"),
    [
        (8, 8, 18, "cannot span pfns 8 to 8"),
        (0, (1 << 28) + 1, 18, "at most 1 TiB"),
        (0, 1 << 20, 9, "make it larger"),
    ],
)
def test_a_zone_that_cannot_be_is_refused(start: int, end: int, order: int, said: str) -> None:
    with pytest.raises(KevacuateError, match=said):
        ZoneShape(start, end, region_order=order)
