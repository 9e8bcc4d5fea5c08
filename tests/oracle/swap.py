# SPDX-License-Identifier: GPL-2.0-or-later
"""Swap to a zram device: zsmalloc (mm/zsmalloc.c), slots, writing a folio, `do_swap_page` (mm/memory.c), `workingset_refault`.

All pages compress to one size. A page that is in use (an input) is read again a while after it was written.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .constants import (
    A_ACTIVATING,
    A_ACTIVE,
    A_LRU,
    A_MOVABLE_OPS,
    A_PINNED,
    A_REFERENCED,
    A_WORKINGSET,
    ACTIVE_ANON,
    ACTIVE_FILE,
    AF_KSWAPD,
    AF_NO_WATERMARKS,
    GFP_HIGHMEM,
    GFP_HIGHUSER_MOVABLE,
    GFP_IO,
    GFP_MOVABLE,
    GFP_NOWARN,
    GFP_RECLAIM,
    INACTIVE_ANON,
    INACTIVE_FILE,
    LOOK_UNIT,
    LOOK_UNITS,
    MOVABLE,
    SWAP_CLUSTER_MAX,
    WMARK_LOW,
)
from .generations import evicted, use_seen
from .machine import Machine
from .page_alloc import (
    alloc_flags_nofragment,
    alloc_pages,
    cma_flag,
    free_by_owner,
    get_page_from_freelist,
    gfp_migratetype,
    gfp_to_alloc_flags,
    prep_new_page,
    prepare_alloc_pages,
    wake_all_kswapds,
)
from .split import code_of, find_names, keep_spare
from .zone import Page

PAGE = 4096


@dataclass
class Zspage:
    """Some pages and how many objects are in them; `names` are the objects that its pages are."""

    number: int
    names: range
    inuse: int = 0
    group: int = 0


@dataclass
class Entry:
    """A slot that is taken: whose page is in it, its shadow entry, when it is used again."""

    obj: int
    zspage: Zspage
    node: int = 0
    age: int = 0
    active: bool = False
    due: int = -1


@dataclass
class Swap:
    """The device. Free slots and zspages are stacks, the top last; groups hold zspages, the newest first."""

    pages: int
    chain: int
    objects: int
    first_name: int = 0
    free: list[int] = field(default_factory=list)
    free_zspages: list[int] = field(default_factory=list)
    groups: list[list[Zspage]] = field(default_factory=lambda: [[] for _ in range(12)])
    entries: dict[int, Entry] = field(default_factory=dict)
    slots: dict[int, int] = field(default_factory=dict)  # by object
    queue: list[int] = field(default_factory=list)  # slots of pages that are used again, in order

    @property
    def due(self) -> int:
        """When the next page is used again; -1: none is."""
        return self.entries[self.queue[0]].due if self.queue else -1


def shape(compressed: int) -> tuple[int, int]:
    """Pages and objects of a zspage."""
    size = 32
    while size < compressed + 8 and size < PAGE:
        size += 16
    if size in (32, 64, 128, 256, 512, 1024, 2048, 4096):
        return 1, PAGE // size
    waste = [(pages * PAGE % size, pages) for pages in range(1, 9)]
    pages = min(waste)[1]
    return pages, pages * PAGE // size


def new_swap(m: Machine) -> Swap:
    """An empty device."""
    chain, objects = shape(m.config.zram_bytes)
    pages = m.config.swap_pages
    rounded = -(-m.config.npages >> m.config.max_page_order) << m.config.max_page_order
    swap = Swap(pages, chain, objects)
    swap.free = list(range(pages))[::-1]
    swap.free_zspages = list(range(max(min(pages, rounded // chain), 1)))[::-1]
    return swap


def has_room(m: Machine) -> bool:
    """Whether a slot is free."""
    return m.swap is not None and bool(m.swap.free)


# zsmalloc.


def group_of(swap: Swap, zspage: Zspage) -> int:
    """`get_fullness_group`."""
    if zspage.inuse in (0, swap.objects):
        return 11 if zspage.inuse else 0
    return 1 + 100 * zspage.inuse // swap.objects // 10


def alloc_zpdesc(m: Machine, node: int, name: int) -> bool:
    """A page, at any price but reclaim."""
    gfp = GFP_RECLAIM | GFP_NOWARN | GFP_HIGHMEM | GFP_MOVABLE
    ac = prepare_alloc_pages(m, node, 0, gfp_migratetype(m, 0, MOVABLE, gfp), gfp)
    pfn = -1
    if ac.zones:
        flags = WMARK_LOW | alloc_flags_nofragment(m, ac.zones[0], gfp) | cma_flag(ac)
        pfn = get_page_from_freelist(m, ac, flags)
    if pfn < 0:
        flags = gfp_to_alloc_flags(m, ac)
        wake_all_kswapds(m, ac)
        pfn = get_page_from_freelist(m, ac, flags)
        if pfn < 0:
            wake_all_kswapds(m, ac)
            pfn = get_page_from_freelist(m, ac, AF_NO_WATERMARKS | cma_flag(ac) | flags & AF_KSWAPD)
            m.reached["zspage: page without marks"] += pfn >= 0
    if pfn >= 0:
        prep_new_page(m, pfn, 0, A_MOVABLE_OPS, name)
    return pfn >= 0


def zs_malloc(m: Machine, swap: Swap, node: int) -> Zspage | None:
    """Room for an object in the fullest zspage that has some, or in a new one."""
    for group in range(10, -1, -1):
        if swap.groups[group]:
            zspage = swap.groups[group][0]
            break
    else:
        if not swap.free_zspages:
            return None
        number = swap.free_zspages.pop()
        first = swap.first_name + number * swap.chain
        zspage = Zspage(number, range(first, first + swap.chain), group=-1)
        for name in zspage.names:
            if not alloc_zpdesc(m, node, name):
                free_zspage(m, swap, zspage, name - first)
                return None
        m.events["zspages_alloc"] += 1
    zspage.inuse += 1
    fix_group(swap, zspage)
    return zspage


def fix_group(swap: Swap, zspage: Zspage) -> None:
    """`fix_fullness_group`."""
    group = group_of(swap, zspage)
    if group == zspage.group:
        return
    if zspage.group >= 0:
        swap.groups[zspage.group].remove(zspage)
    if group:
        swap.groups[group].insert(0, zspage)
    zspage.group = group


def free_zspage(m: Machine, swap: Swap, zspage: Zspage, pages: int) -> None:
    """Give its first pages back."""
    for name in zspage.names[:pages]:
        m.reached["page of a zspage freed while it is moved"] += m.heads[m.obj_pfn[name]].state != 3
        free_by_owner(m, m.obj_pfn[name])
    swap.free_zspages.append(zspage.number)


def zs_free(m: Machine, swap: Swap, zspage: Zspage) -> None:
    """An object less."""
    zspage.inuse -= 1
    fix_group(swap, zspage)
    if not zspage.inuse:
        m.events["zspages_free"] += 1
        free_zspage(m, swap, zspage, swap.chain)


# Use, and what reclaim makes of it.


def in_use(m: Machine, obj: int) -> bool:
    """Whether the object's page is used all the time."""
    return (obj * 2654435761 // 4096 % 1048576) * 1000 // 1048576 < m.config.anon_used


def look(m: Machine, page: Page) -> bool:
    """Was the anonymous folio used since the last look? At the first look the fault that made it is seen."""
    now = 1 + m.now // LOOK_UNIT % LOOK_UNITS
    before, page.dirtied = page.dirtied, now
    return not before or (before != now and in_use(m, page.obj))


def decide_anon(m: Machine, gfp: int, page: Page) -> str:
    """What becomes of an anonymous folio that is neither locked nor under writeback, in words."""
    twice = bool(page.attr & A_REFERENCED)
    used = look(m, page)
    if used and m.config.lru_gen:
        return "activated, anonymous and used twice" if use_seen(m, page) else "kept, anonymous and used"
    if used:
        page.attr |= A_REFERENCED
        return "activated, anonymous and used twice" if twice else "kept, anonymous and used"
    if not m.config.lru_gen:
        page.attr &= ~A_REFERENCED
    if not gfp & GFP_IO or page.attr & (A_PINNED | A_ACTIVATING):
        return "kept, may not be swapped"
    assert m.swap is not None
    if len(m.swap.free) < page.size:
        m.events["swap_full"] += page.size
        return "activated, swap is full"
    return swap_out(m, m.swap, page)


def swap_out(m: Machine, swap: Swap, page: Page) -> str:
    """Write the folio."""
    names = [page.obj]
    first = -1
    if page.order:
        first = find_names(m, page.order)
        if first < 0:
            m.events["swap_without_ids"] += page.size
            return "activated, no names for its pages"
        names = [m.first_part + first + i for i in range(page.size)]
    node = m.zone_of(page.pfn).node
    taken: list[int] = []
    for name in names:
        zspage = zs_malloc(m, swap, node)
        if zspage is None:
            for slot in reversed(taken):
                free_slot(m, swap, slot)
            m.events["swpout_failed"] += page.size
            return "kept, no memory to compress it to"
        slot = swap.free.pop()
        swap.entries[slot] = Entry(name, zspage)
        taken.append(slot)
    lruvec = m.lruvecs[node]
    age = evicted(m, page) if m.config.lru_gen else lruvec.nonresident_age
    for slot, name in reversed(list(zip(taken, names, strict=True))):
        entry = swap.entries[slot]
        entry.node, entry.age, entry.active = node, age, bool(page.attr & A_WORKINGSET)
        m.obj_pfn[name] = -2
        swap.slots[name] = slot
        if in_use(m, name):
            enqueue(m, swap, slot)
    lruvec.nonresident_age += 0 if m.config.lru_gen else page.size
    if page.order:
        m.obj_pfn[page.obj] = code_of(first, page.order)
        keep_spare(m)
        m.reached["large folio swapped"] += 1
    m.events["pswpout"] += page.size
    m.events["thp_swpout"] += page.order == m.config.hpage_pmd_order
    return "swapped"


# Slots.


def enqueue(m: Machine, swap: Swap, slot: int) -> None:
    """Its page is used again in a while."""
    swap.entries[slot].due = m.now + LOOK_UNIT
    swap.queue.append(slot)


def free_slot(m: Machine, swap: Swap, slot: int) -> None:
    """The page in the slot is not wanted there any more."""
    if slot in swap.queue:
        swap.queue.remove(slot)
    entry = swap.entries.pop(slot)
    zs_free(m, swap, entry.zspage)
    swap.slots.pop(entry.obj, None)
    swap.free.append(slot)


def is_swapped(m: Machine, obj: int) -> bool:
    """Whether the object's page is in swap."""
    return m.swap is not None and obj in m.swap.slots


def free_swapped(m: Machine, obj: int) -> None:
    """The owner gives the page up."""
    assert m.swap is not None
    m.reached["page freed in swap"] += 1
    m.events["swap_freed"] += 1
    free_slot(m, m.swap, m.swap.slots[obj])
    m.obj_pfn[obj] = -1


def do_swap_page(m: Machine, obj: int) -> None:
    """A fault on a page in swap, on this CPU."""
    swap = m.swap
    assert swap is not None
    slot = swap.slots[obj]
    if slot in swap.queue:
        swap.queue.remove(slot)
        swap.entries[slot].due = -1
    if alloc_pages(m, -1, 0, MOVABLE, GFP_HIGHUSER_MOVABLE, A_LRU, obj) >= 0:
        free_slot(m, swap, slot)
        m.events["pswpin"] += 1
        m.reached["page read from swap"] += 1
        return
    m.events["swpin_failed"] += 1
    m.obj_pfn[obj] = -2
    enqueue(m, swap, slot)


def used_again(m: Machine) -> None:
    """The next page in the queue is used."""
    assert m.swap is not None
    obj = m.swap.entries[m.swap.queue[0]].obj
    m.cpu = obj % len(m.config.cpu_node)
    do_swap_page(m, obj)


def lru_note_cost(m: Machine, node: int, file: bool, io: int, rotated: int) -> None:
    """Reclaim has cost so much; once the sum is a quarter of the lists, the past counts half."""
    cost = io * SWAP_CLUSTER_MAX + rotated
    if m.swap is None or not cost:
        return
    lruvec = m.lruvecs[node]
    lruvec.costs[file] += cost
    lists = sum(lruvec.size(lru) for lru in (INACTIVE_ANON, ACTIVE_ANON, INACTIVE_FILE, ACTIVE_FILE))
    if sum(lruvec.costs) > lists // 4:
        lruvec.costs = [value // 2 for value in lruvec.costs]
        m.reached["costs of reclaim decay"] += 1


def anon_refault(m: Machine, page: Page, entry: Entry) -> None:
    """`workingset_refault` of a page that was in swap."""
    m.events["workingset_refault_anon"] += 1
    evicted_from = m.lruvecs[entry.node]
    if evicted_from.nonresident_age - entry.age > competitors(m, entry.node, file=False):
        m.reached["anonymous refault, too late to be active"] += 1
        return
    page.attr |= A_ACTIVE
    node = m.zone_of(page.pfn).node
    m.lruvecs[node].nonresident_age += 1
    m.lruvecs[node].activated_anon += 1
    m.events["workingset_activate_anon"] += 1
    if entry.active:
        page.attr |= A_WORKINGSET
        m.events["workingset_restore_anon"] += 1
        lru_note_cost(m, node, False, 1, 0)


def competitors(m: Machine, node: int, *, file: bool) -> int:
    """The pages that a refault competes with."""
    lruvec = m.lruvecs[node]
    lists = [ACTIVE_FILE] if file else [ACTIVE_FILE, INACTIVE_FILE]
    if has_room(m):
        lists += [ACTIVE_ANON, INACTIVE_ANON] if file else [ACTIVE_ANON]
    return sum(lruvec.size(lru) for lru in lists)
