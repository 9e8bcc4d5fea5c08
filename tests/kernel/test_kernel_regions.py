# SPDX-License-Identifier: GPL-2.0-or-later
"""Where regions lie."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from kevacuate.kernel.regions import REGION_ORDER, nr_regions, region_base, region_of, region_span


@given(start=st.integers(0, 1 << 26), pages=st.integers(1, 1 << 22), order=st.integers(3, 18))
def test_regions_tile_their_zone(start: int, pages: int, order: int) -> None:
    end = start + pages
    spans = [region_span(r, start, end, order) for r in range(min(nr_regions(start, end, order), 64))]
    assert spans[0][0] == start
    assert all(before[1] == after[0] for before, after in pairwise(spans))
    last = region_span(nr_regions(start, end, order) - 1, start, end, order)
    assert last[1] == end
    for first, behind in [*spans, last]:
        assert region_of(first, start, order) == region_of(behind - 1, start, order)
        assert 0 < behind - first <= 1 << order


def test_a_zone_that_begins_within_a_region_has_part_of_it() -> None:
    gib = 1 << REGION_ORDER
    start, end = 4096, 3 * gib + 512
    assert region_base(start, REGION_ORDER) == 0
    assert nr_regions(start, end, REGION_ORDER) == 4
    assert region_span(0, start, end, REGION_ORDER) == (start, gib)
    assert region_span(3, start, end, REGION_ORDER) == (3 * gib, end)
    assert [region_of(pfn, start, REGION_ORDER) for pfn in (start, gib - 1, gib, end - 1)] == [0, 0, 1, 3]
