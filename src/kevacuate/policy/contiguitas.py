# SPDX-License-Identifier: GPL-2.0-or-later
"""``contiguitas``: every zone in two, kernel memory below a border and all other memory above it; the border moves.

After Contiguitas (ISCA 2023), its part in software. Its page is docs/policies/contiguitas.md.
"""

from __future__ import annotations

from typing import Any

from kevacuate.policy.api import (
    FALLBACK_EMPTY,
    MIGRATE_HIGHATOMIC,
    MIGRATE_MOVABLE,
    MIGRATE_PCPTYPES,
    MIGRATE_RECLAIMABLE,
    MIGRATE_UNMOVABLE,
    WMARK_HIGH,
    WMARK_LOW,
    WMARK_MIN,
    Hooks,
    by_block,
    by_zone,
    claim_block,
    counter,
    free_list_first,
    free_list_next,
    free_pages_of_block,
    get_pfnblock_migratetype,
    isolate_block,
    knob,
    max_page_order,
    migrate_batch,
    migrate_cursor,
    movable_pages_of_block,
    nr_zones,
    pageblock_order,
    spent,
    unisolate_block,
    wake_worker,
    wmark_pages,
    zone_end_pfn,
    zone_start_pfn,
)

SOON = 100_000
"""In how many ns the worker runs after a request found the unmovable side empty."""

LOOK = 4096
"""Pageblocks that the worker looks over in each zone at a time, for those of a type that is not their side's."""

LEAST_CHUNKS = 4
"""Chunks of the largest order below which a zone is not divided."""


class Contiguitas(Hooks):
    """Keeps unmovable memory below a border in each zone and movable memory above it; the border moves by pressure."""

    start_percent = knob(4, "of a zone that lies below the border at first [%]", least=1, most=50)
    most_percent = knob(
        50, "of a zone that may lie below the border [%]", least=1, most=90, at_least="start_percent"
    )
    period_ms = knob(100, "how often the worker looks at both sides' free memory [ms]", least=1)
    budget_us = knob(
        10_000, "virtual time after which it stops moving pages until it runs again [us]", least=10
    )
    border = by_zone()
    todo = by_zone()
    seen = by_zone()
    short = by_zone()
    held = by_block()
    below = counter("pages below the borders at the end", "pages", better="lower")
    taken = counter("pageblocks taken from the movable side", "blocks")
    given = counter("pageblocks given back to it", "blocks")
    moved = counter("pages moved out of them", "pages", better="lower")
    unmovable_short = counter("unmovable requests that found their side empty", "requests", better="lower")
    movable_short = counter("movable requests that found their side empty", "requests", better="lower")

    def gfp_migratetype(self, s: Any, gfp: int, order: int, mt: int) -> int:
        """Reclaimable requests go to the unmovable side."""
        return MIGRATE_UNMOVABLE if mt == MIGRATE_RECLAIMABLE else mt

    def find_suitable_fallback(
        self, s: Any, z: int, order: int, start_type: int, claimable: int, mt: int
    ) -> int:
        """No request leaves its side. The first order that is asked about tells a request."""
        if self.border[z] < 0:
            return mt
        if claimable and order == max_page_order(s):
            if start_type == MIGRATE_MOVABLE:
                self.movable_short += 1
            else:
                self.unmovable_short += 1
                self.short[z] += 1
                if self.short[z] == 1:
                    wake_worker(s, SOON)
        return FALLBACK_EMPTY

    def free_one_page(self, s: Any, z: int, pfn: int, order: int, mt: int, fpi: int, tail: int) -> int:
        """What lies in the half of a side that is next to the border is taken last."""
        if self.border[z] > 0 and mt == MIGRATE_UNMOVABLE:
            return 1 if pfn >= (zone_start_pfn(s, z) + self.border[z]) // 2 else 0
        if self.border[z] > 0 and mt == MIGRATE_MOVABLE:
            return 1 if pfn < (zone_end_pfn(s, z) + self.border[z]) // 2 else 0
        return tail

    def free_pages(self, s: Any, z: int, mt: int, most: int) -> int:
        """Pages on the lists of a type, counted up to *most*, from the largest chunks on."""
        found = 0
        order = max_page_order(s)
        while order >= 0 and found < most:
            pfn = free_list_first(s, z, order, mt)
            while pfn >= 0 and found < most:
                found += 1 << order
                pfn = free_list_next(s, pfn)
            order -= 1
        return found

    def is_free(self, s: Any, pfn: int) -> bool:
        """Whether a pageblock is free."""
        return free_pages_of_block(s, pfn) == 1 << pageblock_order(s)

    def release(self, s: Any, pfn: int) -> int:
        """Undo a pageblock's isolation."""
        block = pfn >> pageblock_order(s)
        if self.held[block]:
            unisolate_block(s, pfn)
            self.held[block] = 0
        return 0

    def emptied(self, s: Any, pfn: int) -> int:
        """Move what can move out of a pageblock; 0 if the budget ended first."""
        end = pfn + (1 << pageblock_order(s))
        at = pfn
        while at < end:
            if spent(s) >= self.budget_us * 1000:
                return 0
            self.moved += migrate_batch(s, at)
            if migrate_cursor(s) <= at:
                return 0
            at = migrate_cursor(s)
        return 1

    def take(self, s: Any, pfn: int) -> int:
        """Give a pageblock to the unmovable side once what moves has left it; 0 if that is to be gone on with.

        A huge page stays until it is freed: isolation leaves such folios alone.
        """
        block = pfn >> pageblock_order(s)
        mt = get_pfnblock_migratetype(s, pfn)
        if not (MIGRATE_UNMOVABLE < mt < MIGRATE_PCPTYPES or self.held[block]):
            return 1
        if not self.is_free(s, pfn):
            if self.held[block] == 0 and isolate_block(s, pfn):
                self.held[block] = 1
            if not self.emptied(s, pfn):
                return 0
        self.release(s, pfn)
        if claim_block(s, pfn, MIGRATE_UNMOVABLE):
            self.taken += 1
        return 1

    def may_give(self, s: Any, pfn: int) -> bool:
        """Whether a pageblock next to the border holds nothing that the movable side may not have."""
        if get_pfnblock_migratetype(s, pfn) == MIGRATE_HIGHATOMIC:
            return False
        return free_pages_of_block(s, pfn) + movable_pages_of_block(s, pfn) == 1 << pageblock_order(s)

    def give(self, s: Any, pfn: int) -> int:
        """Give a pageblock back to the movable side."""
        self.release(s, pfn)
        if get_pfnblock_migratetype(s, pfn) == MIGRATE_UNMOVABLE and claim_block(s, pfn, MIGRATE_MOVABLE):
            self.given += 1
        return 0

    def begin(self, s: Any, z: int) -> int:
        """Draw a zone's border, between chunks of the largest order. A zone of few chunks has none."""
        chunk = 1 << max_page_order(s)
        base = zone_start_pfn(s, z) // chunk * chunk
        pages = zone_end_pfn(s, z) - base
        if pages < LEAST_CHUNKS * chunk:
            self.border[z] = -1
            return 0
        self.todo[z] = base
        self.seen[z] = base
        self.border[z] = base + max(pages * self.start_percent // 100 // chunk, 1) * chunk
        return 0

    def settle(self, s: Any, z: int) -> int:
        """Look for pageblocks of a type that is not their side's: left over, of other origin, or merged."""
        size = 1 << pageblock_order(s)
        pfn = self.seen[z]
        for _ in range(min(LOOK, (zone_end_pfn(s, z) - zone_start_pfn(s, z)) // size)):
            if pfn >= zone_end_pfn(s, z):
                pfn = zone_start_pfn(s, z) // size * size
            mt = get_pfnblock_migratetype(s, pfn)
            if pfn < self.todo[z]:
                self.take(s, pfn)
            elif pfn >= self.border[z] and 0 <= mt < MIGRATE_PCPTYPES and mt != MIGRATE_MOVABLE:
                claim_block(s, pfn, MIGRATE_MOVABLE)
            pfn += size
            if spent(s) >= self.budget_us * 1000:
                break
        self.seen[z] = pfn
        return 0

    def go_on(self, s: Any, z: int) -> int:
        """Take the pageblocks up to the border; how many pages that has freed, -1 if the budget ended first."""
        gained = 0
        while self.todo[z] < self.border[z]:
            if not self.take(s, self.todo[z]):
                return -1
            if get_pfnblock_migratetype(s, self.todo[z]) == MIGRATE_UNMOVABLE:
                gained += free_pages_of_block(s, self.todo[z])
            self.todo[z] += 1 << pageblock_order(s)
        return gained

    def expand(self, s: Any, z: int, want: int) -> int:
        """Move the border up until the unmovable side has so many free pages more, while there is where to move pages to."""
        chunk = 1 << max_page_order(s)
        base = zone_start_pfn(s, z) // chunk * chunk
        pages = zone_end_pfn(s, z) - base
        most = base + pages * self.most_percent // 100
        floor = wmark_pages(s, z, WMARK_MIN) * (zone_end_pfn(s, z) - self.border[z]) // pages + chunk
        while want > 0 and self.border[z] + chunk <= most:
            if self.free_pages(s, z, MIGRATE_MOVABLE, floor) < floor:
                return 0
            self.border[z] += chunk
            gained = self.go_on(s, z)
            if gained < 0:
                return 0
            want -= gained
        return 0

    def shrink(self, s: Any, z: int, want: int) -> int:
        """Move the border down by so many pages, as far as nothing unmovable is in the way."""
        chunk = 1 << max_page_order(s)
        size = 1 << pageblock_order(s)
        while want > 0 and self.border[z] - chunk > zone_start_pfn(s, z):
            first = self.border[z] - chunk
            for pfn in range(first, self.border[z], size):
                if not self.may_give(s, pfn):
                    return 0
            for pfn in range(first, self.border[z], size):
                self.give(s, pfn)
            self.border[z] = first
            self.todo[z] = first
            want -= chunk
        return 0

    def resize(self, s: Any, z: int) -> int:
        """Move the border where one side is below its low mark. Marks are the zone's, by each side's share of it."""
        chunk = 1 << max_page_order(s)
        pages = zone_end_pfn(s, z) - zone_start_pfn(s, z)
        own = self.border[z] - zone_start_pfn(s, z)
        low = wmark_pages(s, z, WMARK_LOW) * own // pages
        high = wmark_pages(s, z, WMARK_HIGH) * own // pages + chunk
        free = self.free_pages(s, z, MIGRATE_UNMOVABLE, high + 16 * chunk)
        if self.short[z]:
            return self.expand(s, z, max(high - free, 0) + (own >> 4))
        if free < low:
            return self.expand(s, z, high - free)
        low = wmark_pages(s, z, WMARK_LOW) * (pages - own) // pages
        if free >= high + chunk and self.free_pages(s, z, MIGRATE_MOVABLE, low) < low:
            return self.shrink(s, z, free - high)
        return 0

    def worker(self, s: Any) -> int:
        """The thread that moves borders."""
        self.below = 0
        for z in range(nr_zones(s)):
            if self.border[z] == 0:
                self.begin(s, z)
            if self.border[z] > 0:
                if self.go_on(s, z) >= 0:
                    self.resize(s, z)
                self.settle(s, z)
                self.short[z] = 0
                self.below += self.border[z] - zone_start_pfn(s, z)
        return int(self.period_ms) * 1_000_000
