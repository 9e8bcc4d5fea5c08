# SPDX-License-Identifier: GPL-2.0-or-later
"""The lists of the multi-gen LRU (include/linux/mm_inline.h), uses and tiers of folios, and what refaults tell of them.

A folio's `gen` is where it belongs; the list on which it stands may be that of an older generation, until eviction sorts it.
"""

from __future__ import annotations

from dataclasses import dataclass

from .constants import (
    A_ACTIVE,
    A_DIRTY,
    A_FILE,
    A_LRU,
    A_MLOCKED,
    A_ON_LRU,
    A_RECLAIM,
    A_REFERENCED,
    A_WORKINGSET,
    A_WRITEBACK,
)
from .machine import Lruvec, Machine
from .zone import Page, PageList

GENS = 4
TIERS = 4
ANON, FILE = 0, 1
Key = tuple[int, int, int]  # generation, type, zone index


@dataclass
class History:
    """Of a tier of a type: pages evicted, protected and read again of this generation, and averages of those before it."""

    evicted: int = 0
    protected: int = 0
    refaulted: int = 0
    avg_total: int = 0
    avg_refaulted: int = 0

    @property
    def position(self) -> tuple[int, int]:
        """(pages read again, pages that left or were protected)."""
        return self.refaulted + self.avg_refaulted, self.evicted + self.protected + self.avg_total

    def roll(self) -> None:
        """The generation is over."""
        self.avg_refaulted, self.avg_total = (value // 2 for value in self.position)
        self.evicted = self.protected = self.refaulted = 0


class Generations:
    """`struct lru_gen_folio` of a node."""

    def __init__(self) -> None:
        self.max_seq = 3
        self.min_seq = [0, 0]
        keys = [(gen, kind, index) for gen in range(GENS) for kind in (ANON, FILE) for index in range(4)]
        self.lists = {key: PageList() for key in keys}
        self.pages = dict.fromkeys(keys, 0)
        self.history = {(kind, tier): History() for kind in (ANON, FILE) for tier in range(TIERS)}

    def generations(self, kind: int) -> list[int]:
        """The generations of a type, oldest first."""
        return [seq % GENS for seq in range(self.min_seq[kind], self.max_seq + 1)]

    def active(self, gen: int) -> bool:
        """Whether it is one of the two youngest."""
        return gen in (self.max_seq % GENS, (self.max_seq - 1) % GENS)

    def list_with(self, pfn: int) -> PageList:
        """The list on which a folio stands."""
        return next(pages for pages in self.lists.values() if pfn in pages._items)


def kind_of(page: Page) -> int:
    """`folio_is_file_lru`."""
    return FILE if page.attr & A_FILE else ANON


def gens_of(m: Machine, page: Page) -> Generations:
    """The generations of the folio's node."""
    gens = m.lruvecs[m.zone_of(page.pfn).node].gens
    assert isinstance(gens, Generations)
    return gens


def key_of(m: Machine, page: Page, gen: int) -> Key:
    """Where a folio of that generation belongs."""
    return gen, kind_of(page), m.zone_of(page.pfn).index


def recount(lruvec: Lruvec) -> None:
    """Active and inactive pages: those of the generations, and folios that are in none for want of an owner."""
    gens = lruvec.gens
    for index in range(4):
        for kind in (ANON, FILE):
            pages = [0, 0]
            for gen in range(GENS):
                pages[gens.active(gen)] += gens.pages[gen, kind, index]
            for active in (0, 1):
                lru = 2 * kind + active
                lruvec.sizes[index, lru] = lruvec.loose[index, lru] + pages[active]


def set_gen(m: Machine, page: Page, gen: int) -> None:
    """The folio belongs to that generation from now on, -1: to none."""
    gens = gens_of(m, page)
    if page.gen >= 0:
        gens.pages[key_of(m, page, page.gen)] -= page.size
    if gen >= 0:
        gens.pages[key_of(m, page, gen)] += page.size
    page.gen = gen
    recount(m.lruvecs[m.zone_of(page.pfn).node])


def seq_for(gens: Generations, page: Page, reclaiming: bool = False) -> int:
    """`lru_gen_folio_seq`."""
    workingset = bool(page.attr & A_WORKINGSET)
    rejected = page.attr & A_RECLAIM and page.attr & (A_DIRTY | A_WRITEBACK)
    if page.attr & A_ACTIVE:
        seq = gens.max_seq if workingset else gens.max_seq - 1
    elif reclaiming:
        seq = gens.max_seq - 3
    elif kind_of(page) == ANON or rejected:
        seq = gens.max_seq - 1
    else:
        seq = gens.max_seq - (2 if workingset or page.attr & A_REFERENCED else 3)
    return max(seq, gens.min_seq[kind_of(page)])


def add(m: Machine, page: Page, reclaiming: bool = False) -> None:
    """`lru_gen_add_folio`."""
    gens = gens_of(m, page)
    gen = seq_for(gens, page, reclaiming) % GENS
    page.attr &= ~A_ACTIVE
    set_gen(m, page, gen)
    pages = gens.lists[key_of(m, page, gen)]
    if reclaiming:
        pages.add_tail(page.pfn)
    else:
        pages.add_head(page.pfn)


def remove(m: Machine, page: Page, reclaiming: bool = False) -> None:
    """`lru_gen_del_folio`."""
    gens = gens_of(m, page)
    if gens.active(page.gen) and not reclaiming:
        page.attr |= A_ACTIVE
    gens.list_with(page.pfn).remove(page.pfn)
    set_gen(m, page, -1)


def move(m: Machine, page: Page, at_head: bool) -> None:
    """Onto the list of the folio's generation."""
    gens = gens_of(m, page)
    gens.list_with(page.pfn).remove(page.pfn)
    pages = gens.lists[key_of(m, page, page.gen)]
    if at_head:
        pages.add_head(page.pfn)
    else:
        pages.add_tail(page.pfn)


def split(m: Machine, lower: Page, upper: Page) -> None:
    """A folio on the LRU was halved; a half without an owner is in no generation."""
    lruvec = m.lruvecs[m.zone_of(upper.pfn).node]
    gens, index = lruvec.gens, m.zone_of(upper.pfn).index
    loose = (index, 2 * kind_of(upper) + bool(upper.attr & A_ACTIVE))
    if lower.obj >= 0 and upper.obj >= 0:
        upper.gen, upper.refs = lower.gen, lower.refs
        gens.list_with(lower.pfn).insert_before(upper.pfn, lower.pfn)
    elif lower.obj >= 0:
        gens.pages[key_of(m, lower, lower.gen)] -= upper.size
        lruvec.loose[loose] += upper.size
    elif upper.obj >= 0:
        lruvec.loose[loose] -= upper.size
        add(m, upper)
    recount(lruvec)


# Uses.


def uses(page: Page) -> int:
    """`folio_lru_refs`."""
    return 1 + page.refs if page.attr & A_REFERENCED else 0


def tier_of(uses_: int, workingset: bool) -> int:
    """`lru_tier_from_refs`."""
    return 3 if workingset else (0, 0, 1, 2, 2)[uses_]


def worn(page: Page) -> bool:
    """Whether the folio has been used so often that it is promoted whatever its tier is."""
    return uses(page) == 4 and bool(page.attr & A_WORKINGSET)


def use(m: Machine, page: Page) -> None:
    """`lru_gen_inc_refs`."""
    if page.attr & A_MLOCKED and page.attr & A_ON_LRU:
        m.reached["unevictable folio used again"] += 1
        return
    if not page.attr & A_REFERENCED:
        page.attr |= A_REFERENCED
        page.refs = 0
    elif page.refs < 3:
        page.refs += page.obj >= 0
    else:
        m.reached["generations: folio used often"] += 1
        page.attr |= A_WORKINGSET


def use_seen(m: Machine, page: Page) -> bool:
    """`lru_gen_set_refs`: an accessed bit was found by reclaim; activate?"""
    if not page.attr & A_REFERENCED and not page.attr & A_WORKINGSET:
        page.attr |= A_REFERENCED
        page.refs = 0
        return False
    if uses(page) > 1:
        page.attr = page.attr & ~A_REFERENCED | A_WORKINGSET
        page.refs = 0
    else:
        use(m, page)
    return True


# Eviction and refaults, as far as they are remembered.


def evicted(m: Machine, page: Page) -> int:
    """`lru_gen_eviction`: the token."""
    gens, kind = gens_of(m, page), kind_of(page)
    gens.history[kind, tier_of(uses(page), bool(page.attr & A_WORKINGSET))].evicted += page.size
    return 4 * gens.min_seq[kind] + max(uses(page) - 1, 0)


def refaulted(m: Machine, page: Page, node: int, token: int, workingset: bool) -> None:
    """`lru_gen_refault`."""
    gens, kind = gens_of(m, page), kind_of(page)
    name = "file" if kind == FILE else "anon"
    if node != m.zone_of(page.pfn).node:
        m.reached["generations: refault on another node"] += 1
        return
    m.events[f"workingset_refault_{name}"] += page.size
    if gens.max_seq - token // 4 >= GENS:
        m.reached["generations: refault, too late"] += 1
        return
    m.reached["generations: refault in its tier"] += 1
    gens.history[kind, tier_of(token % 4 + 1, workingset)].refaulted += page.size
    if workingset:
        page.attr |= A_WORKINGSET
        m.events[f"workingset_restore_{name}"] += page.size
        if kind == ANON:
            m.events["workingset_activate_anon"] += page.size


def made_in_fault(page: Page) -> None:
    """`folio_add_lru`: what anonymous memory begins with."""
    if page.obj >= 0 and page.attr & A_LRU and not page.attr & (A_FILE | A_MLOCKED):
        page.attr |= A_ACTIVE if page.attr & A_WORKINGSET else A_REFERENCED
