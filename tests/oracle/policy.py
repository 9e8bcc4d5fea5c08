# SPDX-License-Identifier: GPL-2.0-or-later
"""A policy of hooks in the oracle: its file as ordinary Python, with the oracle's own answers to what hooks may ask."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

from .buddy import block_inside, move_freepages_block, move_to_free_list
from .constants import AF_CMA, AF_NOFRAGMENT, BUDDY, CMA, FALLBACKS, ISOLATE, MOVABLE, PCPTYPES
from .fallback import block_pages, may_try_claim, rule_allows
from .irqwork import queue_pageblock_evacuate, zone_unlock
from .isolation import set_migratetype_isolate, unset_migratetype_isolate
from .kcompactd import wakeup_kcompactd
from .machine import Machine
from .policy_work import compact_range, migrate_batch, shrink_slab
from .unmovable import has_unmovable_page

EMPTY, NOCLAIM = -1, -2
TRY_CLAIM, TRY_STEAL, TRY_END = 16, 17, -1


class Policy:
    """An instance of a class of hooks, whose functions are these here.

    `words` is what it keeps, as the model keeps it: the number of pageblocks, the fields, the rows by pageblock.
    """

    def __init__(self, cls: type, words: list[int], space: dict[str, Any], hooks: tuple[str, ...]) -> None:
        self.words, self.hooks = words, frozenset(hooks)
        self.instance = cls(words)
        self.due = 0 if "worker" in self.hooks else -1
        self.busy = self.cost = self.cursor = self.cpu_ns = 0
        self.notes_slab = False
        for name, value in list(space.items()):
            if isinstance(value, ModuleType):
                if value.__name__ == "kevacuate.policy.api":
                    space[name] = SimpleNamespace(**{**vars(value), **TWINS})
                continue
            if (
                name in TWINS
                and getattr(getattr(value, "py_func", value), "__module__", "") == "kevacuate.mm.policy_calls"
            ):
                space[name] = TWINS[name]

    def ask(self, m: Machine, hook: str, mainline: int, *numbers: int) -> int:
        """The policy's answer; mainline's if it has no such hook."""
        if hook not in self.hooks:
            return mainline
        m.reached[f"hook {hook}"] += 1
        answer = getattr(self.instance, hook)(m, *map(int, numbers))
        return 0 if answer is None else int(answer)


def run_worker(m: Machine) -> None:
    """The policy's worker, then what it has queued."""
    assert m.policy is not None
    policy = m.policy
    policy.due = -1
    policy.cost = 0
    m.cpu = m.kswapds[0].cpu
    delay = policy.ask(m, "worker", 0)
    took = policy.cost * m.config.time_scale
    policy.cpu_ns += policy.cost
    policy.busy = m.now + max(took, 1000)
    if policy.due >= 0:
        policy.due = max(policy.due, policy.busy)
    if delay > 0:
        wake_worker(m, took + delay)
    for zone in m.zones:
        zone_unlock(m, zone)


def wake_worker(m: Machine, delay: int) -> None:
    """Run the worker then, or earlier."""
    assert m.policy is not None
    due = max(m.now + delay, m.policy.busy)
    m.policy.due = due if m.policy.due < 0 else min(m.policy.due, due)


def in_a_zone(m: Machine, pfn: int) -> bool:
    """Whether a zone has the page frame."""
    return m._block_zone[pfn // m.block_pages] is not None


def free_list_next(m: Machine, pfn: int) -> int:
    """The chunk behind this one on its list."""
    page = m.heads.get(pfn)
    if page is None or page.state != BUDDY:
        return -1
    pfns = list(m.zone_of(pfn).free_area[page.order].free_list[page.mt])
    at = pfns.index(pfn) + 1
    return pfns[at] if at < len(pfns) else -1


def evacuate_block(m: Machine, pfn: int) -> bool:
    """Queue the block, movable or not."""
    if not in_a_zone(m, pfn):
        return False
    zone, waiting = m.zone_of(pfn), len(m.free_items)
    queue_pageblock_evacuate(m, zone, pfn - pfn % m.block_pages, asked=True)
    if len(m.free_items) == waiting:
        return False
    m.items[m.pending[zone.node][0]].movable = m.get_pageblock_migratetype(pfn) == MOVABLE
    return True


def claim_block(m: Machine, pfn: int, mt: int) -> bool:
    """Retype a block and its free pages, or the larger free chunk that it is in."""
    if not in_a_zone(m, pfn):
        return False
    zone, old = m.zone_of(pfn), m.get_pageblock_migratetype(pfn)
    if old >= PCPTYPES or m.config.page_group_by_mobility_disabled or block_inside(m, zone, pfn) < 0:
        return False
    large = m.covering(pfn - pfn % m.block_pages)
    if large is None or large.order <= m.config.pageblock_order:
        return move_freepages_block(m, zone, pfn, old, mt) >= 0
    if large.state != BUDDY:
        return False
    move_to_free_list(m, zone, large, m.get_pageblock_migratetype(large.pfn), mt)
    m.change_pageblock_range(large.pfn, large.order, mt)
    return True


def find_suitable_fallback(m: Machine, z: int, order: int, start: int, claimable: bool) -> int:
    """Mainline's answer."""
    if claimable and not may_try_claim(m, order, start):
        return NOCLAIM
    lists = m.zones[z].free_area[order].free_list
    return next((mt for mt in FALLBACKS[start] if len(lists[mt])), EMPTY)


def rmqueue_turn(m: Machine, mt: int, flags: int, turn: int) -> int:
    """Mainline's order of turns."""
    turns = [
        mt,
        *([CMA] if flags & AF_CMA else []),
        TRY_CLAIM,
        *([] if flags & AF_NOFRAGMENT else [TRY_STEAL]),
    ]
    return turns[turn] if turn < len(turns) else TRY_END


def isolate_block(m: Machine, pfn: int) -> bool:
    """set_migratetype_isolate."""
    return in_a_zone(m, pfn) and set_migratetype_isolate(m, pfn // m.block_pages)


def unisolate_block(m: Machine, pfn: int) -> None:
    """unset_migratetype_isolate."""
    if in_a_zone(m, pfn) and m.get_pageblock_migratetype(pfn) == ISOLATE:
        unset_migratetype_isolate(m, pfn // m.block_pages)


TWINS: dict[str, Callable[..., Any]] = {
    "now": lambda m: m.now,
    "nr_zones": lambda m: len(m.zones),
    "nr_pageblocks": lambda m: len(m.blocks),
    "pageblock_order": lambda m: m.config.pageblock_order,
    "max_page_order": lambda m: m.config.max_page_order,
    "page_zone": lambda m, pfn: m.zone_of(pfn).number if in_a_zone(m, pfn) else -1,
    "nr_free_pages": lambda m, z: m.zones[z].nr_free,
    "managed_pages": lambda m, z: m.zones[z].managed,
    "wmark_pages": lambda m, z, mark: m.zones[z].wmark_pages(mark),
    "nr_free": lambda m, z, order: m.zones[z].free_area[order].nr_free,
    "nr_free_of_type": lambda m, z, order, mt: min(len(m.zones[z].free_area[order].free_list[mt]), 1024),
    "free_list_first": lambda m, z, order, mt: m.zones[z].free_area[order].free_list[mt].head(),
    "free_list_next": free_list_next,
    "get_pfnblock_migratetype": lambda m, pfn: m.get_pageblock_migratetype(pfn) if in_a_zone(m, pfn) else -1,
    "free_pages_of_block": lambda m, pfn: block_pages(m, pfn)[0] if in_a_zone(m, pfn) else 0,
    "movable_pages_of_block": lambda m, pfn: block_pages(m, pfn)[1] if in_a_zone(m, pfn) else 0,
    "evacuations_pending": lambda m: len(m.items) - len(m.free_items),
    "should_try_claim_block": may_try_claim,
    "find_suitable_fallback": find_suitable_fallback,
    "enough_to_claim": lambda m, pfn, start: (
        in_a_zone(m, pfn) and rule_allows(m, *block_pages(m, pfn), start, m.get_pageblock_migratetype(pfn))
    ),
    "rmqueue_turn": rmqueue_turn,
    "evacuate_block": evacuate_block,
    "wake_worker": wake_worker,
    "claim_block": claim_block,
    "isolate_block": isolate_block,
    "unisolate_block": unisolate_block,
    "nr_nodes": lambda m: m.nodes,
    "zone_node": lambda m, z: m.zones[z].node,
    "zone_start_pfn": lambda m, z: m.zones[z].start_pfn,
    "zone_end_pfn": lambda m, z: m.zones[z].end_pfn,
    "has_unmovable_page": lambda m, pfn: in_a_zone(m, pfn) and has_unmovable_page(m, pfn),
    "migrate_batch": lambda m, pfn: migrate_batch(m, pfn) if in_a_zone(m, pfn) else 0,
    "migrate_cursor": lambda m: m.policy.cursor,
    "compact_range": lambda m, start, end: compact_range(m, start, end) if in_a_zone(m, start) else 0,
    "shrink_slab": shrink_slab,
    "spent": lambda m: m.policy.cost * m.config.time_scale,
    "wakeup_kcompactd": lambda m, node, order: wakeup_kcompactd(m, node, order, 3),
}
"""What hooks may call, by name."""
