# SPDX-License-Identifier: GPL-2.0-or-later
"""The state and the log as text, for people."""

from __future__ import annotations

from collections.abc import Callable

from kevacuate.mm import constants as k
from kevacuate.mm.layout import State
from kevacuate.mm.log import unpack_types
from kevacuate.mm.movable import can_move
from kevacuate.mm.read_state import list_length


def block_picture(state: State, number: int) -> str:
    """A pageblock: number, type, skip bit, and a character a page, 64 to a line.

    ``.`` free, ``p`` on a per-CPU list, ``m`` in use and can move (:func:`~kevacuate.mm.movable.can_move`), ``b`` in a CPU's LRU
    batch, so that it cannot move yet, ``U`` in use and cannot, ``i`` isolated to be moved, ``c`` free and held by a compaction,
    ``-`` reserved.
    """
    pageblock_order = state.view.cfg.pageblock_order
    start = number << pageblock_order
    bits = int(state.block[2 * number])
    mt = k.MIGRATE_ISOLATE if bits & k.PB_ISOLATE else bits & k.PB_TYPE_MASK
    pages = "".join(_page_letter(state, pfn) for pfn in range(start, start + (1 << pageblock_order)))
    title = f"block {number:>3} {k.MIGRATE_NAMES[mt]:<11}{'skip ' if bits & k.PB_COMPACT_SKIP else '     '}"
    lines = [pages[at : at + 64] for at in range(0, len(pages), 64)]
    return title + ("\n" + " " * len(title)).join(lines)


def _page_letter(state: State, pfn: int) -> str:
    """The character of one page."""
    head = pfn
    for order in range(state.view.cfg.max_page_order + 1):
        head = (pfn >> order) << order
        meta = int(state.meta[head])
        if meta >> 4 != k.CHUNK_TAIL and head + (1 << (meta & 15)) > pfn:
            break
    page_state = int(state.meta[head]) >> 4
    if page_state == k.CHUNK_ALLOC:
        attr = int(state.link[2 * head + 1])
        return "m" if can_move(attr) else "b" if attr & k.ATTR_IN_BATCH else "U"
    letters = {
        k.CHUNK_BUDDY: ".",
        k.CHUNK_PCP: "p",
        k.CHUNK_ISOLATED: "i",
        k.CHUNK_RESERVED: "-",
        k.CHUNK_COMPACT: "c",
    }
    return letters.get(page_state, "?")


def free_lists_picture(state: State) -> str:
    """Free chunks by type and order, as /proc/pagetypeinfo prints them."""
    orders = state.view.cfg.max_page_order + 1
    lines = ["free chunks at order  " + "".join(f"{order:>5}" for order in range(orders))]
    for z in range(state.view.cfg.nr_zones):
        for mt, name in enumerate(k.MIGRATE_NAMES[:4]):
            counts = [list_length(state, z, order, mt) for order in range(orders)]
            lines.append(f"zone {z} {name:<15}" + "".join(f"{count:>5}" for count in counts))
    return "\n".join(lines)


def describe(state: State, record: list[int]) -> str:
    """One log record as a line; empty for kinds that a story does not need."""
    t, kind, cpu, pfn, a, b, c, d = record
    words = _WORDS.get(kind)
    if words is None:
        return ""
    block = pfn >> state.view.cfg.pageblock_order
    zone = int(state.block[2 * block + 1]) if pfn >= 0 else 0
    text = words(block, pfn, a, b, c, d).replace("kevacuate/N", f"kevacuate/{state.view.zone[zone].node}")
    return f"{t / 1000:>9.1f} us  CPU {cpu}  {text}"


def _claim(block: int, _pfn: int, a: int, b: int, c: int, d: int) -> str:
    what = "claimed" if d else "not claimed"
    start, own = (k.MIGRATE_NAMES[mt] for mt in unpack_types(a))
    return f"try_to_claim_block: {own} block {block} for {start}: {b} pages free, {c} movable: {what}"


def _extfrag(block: int, pfn: int, a: int, b: int, c: int, d: int) -> str:
    kind = "claim" if d else "steal"
    start, own = (k.MIGRATE_NAMES[mt] for mt in unpack_types(c))
    return f"mm_page_alloc_extfrag: {kind}: {start} order {a} takes pfn {pfn} of {own} block {block} (from order {b})"


def _isolate(block: int, _pfn: int, a: int, b: int, c: int, d: int) -> str:
    ret = " (-EAGAIN: too many isolated)" if a else ""
    return f"isolate_migratepages_range: block {block}, pages {c} to {d}: {b} isolated{ret}"


_PRIORITIES = ("COMPACT_PRIO_SYNC_FULL", "COMPACT_PRIO_SYNC_LIGHT", "COMPACT_PRIO_ASYNC")

Words = Callable[[int, int, int, int, int, int], str]

_WORDS: dict[int, Words] = {
    k.L_EXTFRAG: _extfrag,
    k.L_EVAC_CLAIM: _claim,
    k.L_EVAC_QUEUED: lambda block, pfn, a, b, c, d: (
        f"queue_pageblock_evacuate: block {block}, item {a}, node {b}"
    ),
    k.L_EVAC_DROPPED: lambda block, pfn, a, b, c, d: (
        f"queue_pageblock_evacuate: block {block} dropped, no item left"
    ),
    k.L_IRQ_WORK: lambda block, pfn, a, b, c, d: (
        f"evacuate_irq_work_fn: node {a}, {b} item{'s' if b != 1 else ''} queued to kevacuate/{a}"
    ),
    k.L_EVAC_STARTED: lambda block, pfn, a, b, c, d: (
        f"kevacuate/N starts evacuate_pageblock: block {block}, {k.MIGRATE_NAMES[a >> 8]}, {b} pages free, {c} on the LRU"
        + (", skip bit set" if a & 1 else "")
    ),
    k.L_EVAC_SKIPPED: lambda block, pfn, a, b, c, d: (
        f"evacuate_pageblock: block {block} is movable again: nothing to do"
    ),
    k.L_EVAC_ISOLATE: _isolate,
    k.L_EVAC_RECLAIM: lambda block, pfn, a, b, c, d: f"reclaim_clean_pages_from_list: {a} dropped, {b} left",
    k.L_EVAC_MIGRATE: lambda block, pfn, a, b, c, d: (
        f"migrate_pages: {b} given, {c} moved, {d} failed: returns {a}"
    ),
    k.L_EVAC_PUTBACK: lambda block, pfn, a, b, c, d: f"putback_movable_pages: {a} back on the LRU",
    k.L_EVAC_FINISHED: lambda block, pfn, a, b, c, d: (
        f"evacuation of block {block} ended: {k.WHY_NAMES[d & 255]}; {a} isolated, {b} dropped, {c} migrated, {d >> 8} failed"
    ),
    k.L_ALLOC_FAILED: lambda block, pfn, a, b, c, d: f"allocation of order {a}, {k.MIGRATE_NAMES[b]} failed",
    k.L_BLOCK_TYPE: lambda block, pfn, a, b, c, d: (
        f"set_pageblock_migratetype: block {block} {k.MIGRATE_NAMES[a]} -> {k.MIGRATE_NAMES[b]}"
    ),
    k.L_COMPACT_BEGIN: lambda block, pfn, a, b, c, d: (
        f"{'a policy compacts a range' if d == k.FOR_A_POLICY else 'compact_zone begins'}: order {b}, "
        f"scanners at pfn {pfn} and {a}"
    ),
    k.L_COMPACT_MIGRATE: lambda block, pfn, a, b, c, d: (
        f"compaction: up to pfn {pfn}: {a} folios moved, {b} failed"
    ),
    k.L_COMPACT_END: lambda block, pfn, a, b, c, d: (
        f"compact_zone ends: {k.COMPACT_NAMES[c]}; scanners at pfn {pfn} and {a}"
    ),
    k.L_DIRECT_COMPACT: lambda block, pfn, a, b, c, d: (
        f"direct compaction for order {a}, {_PRIORITIES[c]}, from node {d} on"
    ),
    k.L_DIRECT_COMPACT_END: lambda block, pfn, a, b, c, d: (
        f"direct compaction: {k.COMPACT_NAMES[b]}" + (f", pfn {pfn} captured" if pfn >= 0 else "")
    ),
    k.L_OOM: lambda block, pfn, a, b, c, d: (
        f"out of memory: nothing left to reclaim for order {a}, {k.MIGRATE_NAMES[b]}"
    ),
    k.L_KSWAPD: lambda block, pfn, a, b, c, d: f"kswapd{a}: {('woken', 'begins', 'ends')[b - 1]}",
}
