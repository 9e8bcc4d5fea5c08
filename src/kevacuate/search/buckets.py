# SPDX-License-Identifier: GPL-2.0-or-later
"""Which bucket a region is in: what it holds, and how full it is.

The series keeps a matrix of lists [clean or tainted][fullness] and a list of empty regions; its cut-offs of fullness were not to
be seen, so here they are quarters. Tainted is told apart by the reserve that patch 19 of the series keeps: a tainted region gives
movable requests pages only above it. A region is tainted while it holds a page that was asked for as unmovable or reclaimable.
"""

from __future__ import annotations

from kevacuate.jit import part
from kevacuate.search.cost import bucket_line, look, region_line, touch, word_line
from kevacuate.search.fields import (
    BITMAPS,
    BY_REGION,
    CLASSES,
    CLEAN,
    EMPTY,
    FLAT,
    FLIPS,
    LOOK_AHEAD,
    REGIONS_LOOKED_AT,
    SETS_BY_BUCKET,
    T_BUCKET,
    TAINTED,
    TIGHT,
    TYPED_BITMAPS,
    SearchView,
)
from kevacuate.search.lists import flip, trace

UNMOVABLE, MOVABLE, RECLAIMABLE = 0, 1, 2


@part
def is_tainted(s: SearchView, number: int) -> bool:
    """Whether a region holds a page that was asked for as unmovable or reclaimable."""
    region = s.region[number]
    return region.used[UNMOVABLE] + region.used[RECLAIMABLE] > 0


@part
def bucket_of(s: SearchView, number: int) -> int:
    """The bucket that a region belongs in."""
    region = s.region[number]
    if region.nr_free == region.present:
        return EMPTY * CLASSES
    fullness = min(region.nr_free * CLASSES // region.present, CLASSES - 1)
    if not is_tainted(s, number):
        return CLEAN * CLASSES + fullness
    if region.free_blocks <= s.cfg.reserve:
        return TIGHT * CLASSES + fullness
    return TAINTED * CLASSES + fullness


@part
def touch_region(s: SearchView, number: int) -> None:
    """A region's record is touched by the forms that keep lists of regions."""
    touch(s, BY_REGION, region_line(number))
    if s.cfg.rule == LOOK_AHEAD:
        touch(s, FLAT, region_line(number))


@part
def touch_bucket(s: SearchView, bucket: int) -> None:
    """The head of a bucket's list is touched by the forms that keep lists of regions."""
    touch(s, BY_REGION, bucket_line(bucket))
    if s.cfg.rule == LOOK_AHEAD:
        touch(s, FLAT, bucket_line(bucket))


@part
def leave_bucket(s: SearchView, number: int) -> None:
    """Take a region off its bucket's list."""
    region = s.region[number]
    touch_region(s, number)
    if region.next >= 0:
        s.region[region.next].prev = region.prev
        touch_region(s, region.next)
    if region.prev >= 0:
        s.region[region.prev].next = region.next
        touch_region(s, region.prev)
    else:
        s.bucket[region.bucket] = region.next
        touch_bucket(s, region.bucket)


@part
def enter_bucket(s: SearchView, number: int, bucket: int) -> None:
    """Put a region on a bucket's list, behind those of lower number: a bitmap's find-first takes the lowest, so shall this."""
    before, behind = -1, s.bucket[bucket]
    touch_bucket(s, bucket)
    while 0 <= behind < number:
        look(s, BY_REGION, REGIONS_LOOKED_AT, 1)
        touch_region(s, behind)
        before, behind = behind, s.region[behind].next
    region = s.region[number]
    region.prev, region.next, region.bucket = before, behind, bucket
    if before >= 0:
        s.region[before].next = number
    else:
        s.bucket[bucket] = number
    if behind >= 0:
        s.region[behind].prev = number
        touch_region(s, behind)


@part
def flip_bucket(s: SearchView, bucket: int, number: int) -> None:
    """Change a region's bit in a bucket's bitmap, which both forms of bitmaps keep."""
    which = SETS_BY_BUCKET + bucket
    flip(s, which, number, BITMAPS)
    look(s, TYPED_BITMAPS, FLIPS, 1)
    touch(s, TYPED_BITMAPS, word_line(which * s.cfg.words + (number >> 6)))


@part
def settle(s: SearchView, number: int) -> None:
    """At the end of an operation: move the region that it changed to the bucket that it now belongs in."""
    region = s.region[number]
    bucket = bucket_of(s, number)
    old = region.bucket
    if bucket == old:
        return
    s.stat.moved += 1
    if bucket < CLEAN * CLASSES <= old:
        s.stat.tainted += 1
    if old >= 0:
        leave_bucket(s, number)
    enter_bucket(s, number, bucket)
    trace(s, T_BUCKET, number, old, bucket)
    if s.cfg.regional:
        if old >= 0:
            flip_bucket(s, old, number)
        flip_bucket(s, bucket, number)
