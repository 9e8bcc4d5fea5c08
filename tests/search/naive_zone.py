# SPDX-License-Identifier: GPL-2.0-or-later
"""The oracle of searched free lists: every list is a Python list, every search looks at all that is free and takes the best."""

from __future__ import annotations

MOVABLE = 1
FALLBACKS = {0: (2, 1), 1: (2, 0), 2: (0, 1)}
"""Mainline's order (mm/page_alloc.c:fallbacks, 7.2)."""


class NaiveZone:
    """A zone of *pages* page frames, the first *reserved* of which do not exist, in regions of 2**region_order."""

    def __init__(self, pages: int, reserved: int, region_order: int, pageblock: int, max_order: int) -> None:
        self.pages, self.size, self.pageblock, self.max_order = pages, 1 << region_order, pageblock, max_order
        self.lists: dict[tuple[int, int], list[int]] = {}
        self.block = [MOVABLE] * ((pages >> pageblock) + 1)
        self.used: dict[int, tuple[int, int]] = {}
        self.reserved = reserved
        blocks = 1 << (region_order - pageblock)
        self.reserve = max(blocks * 3 // 96, min(4, blocks // 4))
        at = reserved
        while at < pages:
            order = max_order
            while at % (1 << order) or at + (1 << order) > pages:
                order -= 1
            self._list(order, MOVABLE).append(at)
            at += 1 << order

    def _list(self, order: int, mt: int) -> list[int]:
        return self.lists.setdefault((order, mt), [])

    def free_chunks(self) -> list[tuple[int, int, int, int]]:
        """(page, order, type, place on its list) of all that is free."""
        return [
            (pfn, order, mt, place)
            for (order, mt), list_ in self.lists.items()
            for place, pfn in enumerate(list_)
        ]

    def region(self, pfn: int) -> int:
        return pfn // self.size

    def present(self, region: int) -> int:
        return min((region + 1) * self.size, self.pages) - max(region * self.size, self.reserved)

    def is_tainted(self, region: int) -> bool:
        return any(mt != MOVABLE and self.region(pfn) == region for pfn, (_, mt) in self.used.items())

    def categories(self) -> dict[int, tuple[str, int]]:
        """What each region is, and its class of fullness, 0 for the fullest."""
        regions = range(-(-self.pages // self.size))
        free, blocks = dict.fromkeys(regions, 0), dict.fromkeys(regions, 0)
        for pfn, order, _, _ in self.free_chunks():
            free[self.region(pfn)] += 1 << order
            if order >= self.pageblock:
                blocks[self.region(pfn)] += 1 << (order - self.pageblock)
        tainted = {self.region(pfn) for pfn, (_, mt) in self.used.items() if mt != MOVABLE}
        found = {}
        for region in regions:
            if free[region] == self.present(region):
                found[region] = "empty", 0
                continue
            name = (
                "clean" if region not in tainted else "tight" if blocks[region] <= self.reserve else "tainted"
            )
            found[region] = name, min(4 * free[region] // self.present(region), 3)
        return found

    def best(
        self, mt: int, orders: range, largest: bool, categories: tuple[str, ...]
    ) -> tuple[int, int, int] | None:
        """(page, order, type) of the chunk that comes first: by category, fullness, region, order, place on its list."""
        kinds = self.categories()
        ranked = [
            (
                categories.index(kinds[self.region(pfn)][0]),
                kinds[self.region(pfn)][1],
                self.region(pfn),
                -order if largest else order,
                place,
                (pfn, order, of),
            )
            for pfn, order, of, place in self.free_chunks()
            if of == mt and order in orders and kinds[self.region(pfn)][0] in categories
        ]
        return min(ranked)[-1] if ranked else None

    def by_region(self, order: int, mt: int) -> tuple[tuple[int, int, int], str] | None:
        """The series' passes."""
        every = range(order, self.max_order + 1)
        blocks = range(max(order, self.pageblock), self.max_order + 1)
        below = range(order, self.pageblock)
        others = {0: (1, 2), 1: (2, 0), 2: (1, 0)}[mt]

        def whole(*where: str) -> list[tuple[int, range, bool, tuple[str, ...], str]]:
            return [(mt, every, False, where, "take"), *((o, blocks, False, where, "claim") for o in others)]

        def inside(*where: str) -> list[tuple[int, range, bool, tuple[str, ...], str]]:
            first, second = others
            return [
                *whole(*where),
                (first, below, True, where, "claim block"),
                (second, below, False, where, "borrow"),
            ]

        if mt == MOVABLE:
            rest = [(o, below, False, ("tight", "tainted", "clean", "empty"), "borrow") for o in others]
            passes = [*whole("clean"), *whole("empty"), *whole("tainted"), *whole("tight"), *rest]
        else:
            passes = [*inside("tight", "tainted"), *inside("empty"), *inside("clean")]
        for of, orders, largest, where, action in passes:
            found = self.best(of, orders, largest, where)
            if found:
                return found, action
        return None

    def smallest(self, order: int, mt: int, ahead: int | None) -> tuple[int, int, int] | None:
        for current in range(order, self.max_order + 1):
            list_ = self._list(current, mt)
            if list_:
                pfn = list_[0]
                if ahead is not None and mt == MOVABLE and current >= self.pageblock:
                    target = self.fullest_clean()
                    pfn = next((p for p in list_[: ahead + 1] if self.region(p) == target), pfn)
                return pfn, current, mt
        return None

    def fullest_clean(self) -> int | None:
        """The fullest clean region with a free pageblock."""
        having = {self.region(pfn) for pfn, order, _, _ in self.free_chunks() if order >= self.pageblock}
        kinds = self.categories()
        ranked = [(kinds[region], region) for region in having]
        return min(((kind[1], region) for kind, region in ranked if kind[0] == "clean"), default=(0, None))[1]

    def mainline(self, order: int, mt: int, ahead: int | None) -> tuple[tuple[int, int, int], str] | None:
        """__rmqueue; with *ahead*, patches 11 and 12 of the series."""
        found = self.smallest(order, mt, ahead)
        if found:
            return found, "take"
        for current in range(self.max_order, order - 1, -1):
            if mt == MOVABLE and current < self.pageblock // 2:
                break
            other = next((o for o in FALLBACKS[mt] if self._list(current, o)), None)
            if other is None:
                continue
            list_ = self._list(current, other)
            pfn = list_[0]
            if ahead is not None and mt != MOVABLE:
                pfn = next((p for p in list_[: ahead + 1] if self.is_tainted(self.region(p))), pfn)
            if current >= self.pageblock:
                return (pfn, current, other), "claim"
            start = pfn >> self.pageblock << self.pageblock
            if self.half_is_alike(start, mt, other):
                self.retype(start, mt)
                again = self.smallest(order, mt, ahead)
                assert again
                return again, "take"
        for current in range(order, self.max_order + 1):
            for other in FALLBACKS[mt]:
                if self._list(current, other):
                    return (self._list(current, other)[0], current, other), "borrow"
        return None

    def half_is_alike(self, start: int, mt: int, block_mt: int) -> bool:
        end = start + (1 << self.pageblock)
        free = sum(1 << order for pfn, order, _, _ in self.free_chunks() if start <= pfn < end)
        movable = sum(1 << o for pfn, (o, of) in self.used.items() if start <= pfn < end and of == MOVABLE)
        alike = movable if mt == MOVABLE else end - start - free - movable if block_mt == MOVABLE else 0
        return free + alike >= (end - start) // 2

    def retype(self, start: int, mt: int) -> None:
        """Move a pageblock's free chunks, ascending, to the tails of another type's lists."""
        end = start + (1 << self.pageblock)
        for pfn, order, old, _ in sorted(chunk for chunk in self.free_chunks() if start <= chunk[0] < end):
            self._list(order, old).remove(pfn)
            self._list(order, mt).append(pfn)
        self.block[start >> self.pageblock] = mt

    def alloc(self, rule: str, order: int, mt: int) -> int:
        """The page that a rule gives, or -1."""
        if not any(chunk[1] >= order for chunk in self.free_chunks()):
            return -1
        chosen = (
            self.by_region(order, mt)
            if rule == "regions"
            else self.mainline(order, mt, 8 if rule == "look-ahead" else None)
        )
        assert chosen, "a chunk is large enough, and no pass finds it"
        (pfn, high, of), action = chosen
        if action == "claim block":
            self.retype(pfn >> self.pageblock << self.pageblock, mt)
            of = mt
        self._list(high, of).remove(pfn)
        if action == "claim":
            for block in range(pfn >> self.pageblock, (pfn + (1 << high)) >> self.pageblock):
                self.block[block] = mt
            of = mt
        while high > order:
            high -= 1
            self._list(high, of).insert(0, pfn + (1 << high))
        self.used[pfn] = order, mt
        return pfn

    def free(self, pfn: int) -> None:
        order, _ = self.used.pop(pfn)
        piece = min(order, self.pageblock)
        for start in range(pfn, pfn + (1 << order), 1 << piece):
            self._free_piece(start, piece)

    def _is_free(self, pfn: int, order: int) -> int | None:
        """The type of the free chunk of exactly *order* at *pfn*."""
        return next((mt for mt in range(3) if pfn in self._list(order, mt)), None)

    def _free_piece(self, pfn: int, order: int) -> None:
        mt = self.block[pfn >> self.pageblock]
        while order < self.max_order:
            other = self._is_free(pfn ^ (1 << order), order)
            if other is None:
                break
            self._list(order, other).remove(pfn ^ (1 << order))
            if order >= self.pageblock:
                for block in range(1 << (order - self.pageblock)):
                    self.block[((pfn ^ (1 << order)) >> self.pageblock) + block] = mt
            pfn &= ~(1 << order)
            order += 1
        # page_alloc.c:885: if the pair above is complete but for this chunk, wait at the tail for it
        above = (pfn & ~(1 << order)) ^ (1 << (order + 1))
        if order < self.max_order - 1 and self._is_free(above, order + 1) is not None:
            self._list(order, mt).append(pfn)
        else:
            self._list(order, mt).insert(0, pfn)
