# SPDX-License-Identifier: GPL-2.0-or-later
"""A recorded machine with less memory: ``memory=0.8`` of a policy.

What is taken away are pageblocks that are wholly free at the start, of each node the highest first, until the node manages that
share of its pages. It is what offlining memory blocks does where nothing has to be migrated. ``mem=`` would take the highest
addresses, where pages in use may lie: what the kernel would have put elsewhere then, no recording tells.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from kevacuate.errors import KevacuateError
from kevacuate.kernel.pageflags import KPF_NOPAGE
from kevacuate.mm import constants as k
from kevacuate.mm.marks import LOWMEM_RESERVE_RATIO, ZoneSize, lowmem_reserve
from kevacuate.recording import AllocatorState, Machine
from kevacuate.recording.state import Blocks, FreePages, ZoneState

NEAR = 0.03
"""A recorded figure that differs by so small a share from the kernel's own choice is that choice: it was made at boot, and the
pages of the kernel's init sections came to the zone later (2.4 % of a zone of 440 MiB was seen)."""


class TooSmallError(KevacuateError):
    """A share of the memory that cannot be: *why*, and the *least* that can."""

    def __init__(self, share: float, why: str, least: float) -> None:
        super().__init__(
            f"memory={share:g} cannot be replayed: {why}. Give at least memory={rounded_up(least):g}."
        )
        self.why, self.least = why, least


def rounded_up(share: float) -> float:
    """The next thousandth that is not below."""
    return math.ceil(share * 1000) / 1000


def near(value: float, other: float) -> bool:
    """Whether two figures are one, but for what changed after boot."""
    return abs(value - other) <= NEAR * max(abs(value), abs(other))


def smaller(machine: Machine, recorded: AllocatorState, share: float) -> AllocatorState:
    """The start state with that *share* of each node's memory; marks are as recorded, reserves as the kernel sets them.

    Raises
    ------
    KevacuateError
        Too few pageblocks are free.
    """
    if share == 1:
        return recorded
    gone = np.sort(
        np.concatenate([_taken(machine, recorded, node, share) for node in sorted(_nodes(machine))])
    )
    managed = {
        zone.index: zone.managed - (int(_inside(zone, gone).sum()) << machine.pageblock_order)
        for zone in recorded.zones
    }
    keep = ~np.isin(recorded.blocks.pfn, gone)
    return replace(
        recorded,
        zones=tuple(resized(machine, recorded, zone, managed) for zone in recorded.zones),
        free=_free_without(recorded.free, gone, machine.pageblock_order),
        blocks=Blocks._make(column[keep] for column in recorded.blocks),
        page_flags=_flags_without(recorded.page_flags, gone, machine.pageblock_order),
    )


def _nodes(machine: Machine) -> set[int]:
    """The nodes that have memory."""
    return {zone.node for zone in machine.zones}


def _node_zones(machine: Machine, recorded: AllocatorState, node: int) -> list[ZoneState]:
    """The populated zones of a node."""
    own = {zone.start_pfn for zone in machine.zones if zone.node == node}
    return [zone for zone in recorded.zones if zone.start_pfn in own]


def _inside(zone: ZoneState, pfn: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which pages lie in the zone's span."""
    return (pfn >= zone.start_pfn) & (pfn < zone.start_pfn + zone.spanned)


def _taken(machine: Machine, recorded: AllocatorState, node: int, share: float) -> npt.NDArray[np.int64]:
    """The pageblocks that the node gives up, by their first pfn."""
    zones, size = _node_zones(machine, recorded, node), 1 << machine.pageblock_order
    managed = sum(zone.managed for zone in zones)
    wanted = round(managed * (1 - share) / size)
    free = recorded.free
    whole = (free.order >= machine.pageblock_order) & ~np.isin(free.mt, (k.MIGRATE_CMA, k.MIGRATE_ISOLATE))
    firsts = [
        np.arange(pfn, pfn + (1 << order), size)
        for pfn, order in zip(free.pfn[whole].tolist(), free.order[whole].tolist(), strict=True)
    ]
    blocks = np.sort(np.concatenate([np.zeros(0, np.int64), *firsts]).astype(np.int64))
    own = np.zeros(len(blocks), np.bool_)
    for zone in zones:
        own |= _inside(zone, blocks)
    blocks = blocks[own]
    if wanted > len(blocks):
        least = 1 - len(blocks) * size / max(managed, 1)
        where = f" of node {node}" if len(_nodes(machine)) > 1 else ""
        why = f"{wanted:,} pageblocks{where} would go, and {len(blocks):,} are free at the start"
        raise TooSmallError(share, why, least)
    return blocks[len(blocks) - wanted :]


def _free_without(free: FreePages, gone: npt.NDArray[np.int64], pageblock_order: int) -> FreePages:
    """The free lists without these blocks; what remains of a larger chunk goes to the tail of its list."""
    if not len(gone):
        return free
    at = np.searchsorted(gone, free.pfn)
    beyond = np.append(gone, np.iinfo(np.int64).max)
    hit = beyond[at] < free.pfn + np.left_shift(1, free.order.astype(np.int64))
    rest = [
        (free.zone[i], order, free.mt[i], pfn)
        for i in np.flatnonzero(hit).tolist()
        for pfn, order in _rest(int(free.pfn[i]), int(free.order[i]), set(gone.tolist()), pageblock_order)
    ]
    more = np.array(rest, np.int64).reshape(-1, 4).T
    return FreePages._make(
        np.concatenate([np.asarray(column)[~hit], np.asarray(new, np.asarray(column).dtype)])
        for column, new in zip(free, more, strict=True)
    )


def _rest(pfn: int, order: int, gone: set[int], pageblock_order: int) -> Iterator[tuple[int, int]]:
    """(pfn, order) of the chunks that a chunk leaves without its blocks in *gone*."""
    inside = any(pfn <= block < pfn + (1 << order) for block in gone)
    if not inside:
        yield pfn, order
    elif order > pageblock_order:
        yield from _rest(pfn, order - 1, gone, pageblock_order)
        yield from _rest(pfn + (1 << (order - 1)), order - 1, gone, pageblock_order)


def _flags_without(
    flags: npt.NDArray[np.uint64] | None, gone: npt.NDArray[np.int64], pageblock_order: int
) -> npt.NDArray[np.uint64] | None:
    """The page flags, with no page behind the pfns of these blocks."""
    if flags is None:
        return None
    changed = flags.copy()
    for pfn in gone.tolist():
        changed[pfn : pfn + (1 << pageblock_order)] = np.uint64(1) << np.uint64(KPF_NOPAGE)
    return changed


def resized(
    machine: Machine, recorded: AllocatorState, zone: ZoneState, managed: dict[int, int]
) -> ZoneState:
    """The zone with its new size and reserves."""
    ratio = reserve_ratio(machine, recorded, zone)
    after = replace(recorded, zones=tuple(replace(one, managed=managed[one.index]) for one in recorded.zones))
    lost = zone.managed - managed[zone.index]
    return replace(
        zone,
        managed=managed[zone.index],
        present=zone.present - lost,
        lowmem_reserve=reserves(machine, after, zone, ratio),
    )


def reserves(machine: Machine, state: AllocatorState, zone: ZoneState, ratio: int) -> tuple[int, ...]:
    """The zone's lowmem_reserve with this vm.lowmem_reserve_ratio; of zones that the model does not have, as it was."""
    new = lowmem_reserve(_sizes(machine, state, zone), zone_index(machine, zone), ratio)
    reserve = [
        new[k.ZONE_NAMES.index(name)] if name in k.ZONE_NAMES else pages
        for name, pages in zip(machine.zone_names, zone.lowmem_reserve, strict=False)
    ]
    return (*reserve, *zone.lowmem_reserve[len(reserve) :])


def _sizes(machine: Machine, state: AllocatorState, zone: ZoneState) -> list[ZoneSize]:
    """The zones of the zone's node."""
    node = next(info.node for info in machine.zones if info.start_pfn == zone.start_pfn)
    own = _node_zones(machine, state, node)
    return [ZoneSize(zone_index(machine, one), one.managed) for one in own]


def zone_index(machine: Machine, zone: ZoneState) -> int:
    """The zone's index in the model."""
    return k.ZONE_NAMES.index(next(z.name for z in machine.zones if z.start_pfn == zone.start_pfn))


def reserve_ratio(machine: Machine, state: AllocatorState, zone: ZoneState) -> int:
    """vm.lowmem_reserve_ratio of the zone: the kernel's default where the recorded reserves fit it, else what they come to."""
    index, sizes = zone_index(machine, zone), _sizes(machine, state, zone)
    above = sum(size.managed for size in sizes if size.index > index)
    recorded = max(zone.lowmem_reserve, default=0)
    if not above or near(above / LOWMEM_RESERVE_RATIO[index] if index < 3 else 0, recorded):
        return LOWMEM_RESERVE_RATIO[index]
    return above // recorded if recorded else 0
