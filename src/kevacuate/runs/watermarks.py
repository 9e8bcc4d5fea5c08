# SPDX-License-Identifier: GPL-2.0-or-later
"""Marks and per-CPU bounds of a replay whose policy gives other settings than were recorded, as the kernel recomputes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kevacuate.mm import constants as k
from kevacuate.mm.layout import MachineConfig, State, set_pcp_bounds
from kevacuate.mm.load_state import setup_per_zone_wmarks
from kevacuate.mm.marks import ZoneSize, boot_min_free_kbytes
from kevacuate.recording import AllocatorState, Machine
from kevacuate.recording.settings import recorded_settings
from kevacuate.runs.memory import near

SCALE_FACTOR = 10
"""vm.watermark_scale_factor by default."""


def sizes_of(machine: Machine, state: AllocatorState) -> list[ZoneSize]:
    """Zone index and managed pages of every zone."""
    names = {zone.start_pfn: zone.name for zone in machine.zones}
    return [ZoneSize(k.ZONE_NAMES.index(names[zone.start_pfn]), zone.managed) for zone in state.zones]


def min_free_kbytes(machine: Machine, recorded: AllocatorState) -> int:
    """The recorded machine's vm.min_free_kbytes: as recorded, else as its marks tell it.

    The MIN marks of all zones but Movable add up to it, less what each division loses. So it is the least value of which the
    kernel's formula makes the recorded marks, or their sum where none does (marks set at boot, before the zones had all pages).
    """
    known = recorded_settings(machine).get("min_free_kbytes")
    if known is not None:
        return known
    sizes = sizes_of(machine, recorded)
    own = [
        (size.managed, int(zone.watermark[k.WMARK_MIN]))
        for size, zone in zip(sizes, recorded.zones, strict=True)
        if size.index != k.ZONE_MOVABLE
    ]
    total, pages = sum(least for _, least in own), sum(managed for managed, _ in own)
    fits = (
        wanted
        for wanted in range(total, total + len(own) + 1)
        if all(wanted * managed // max(pages, 1) == least for managed, least in own)
    )
    return 4 * next(fits, total)


def scale_factor(machine: Machine, recorded: AllocatorState) -> int:
    """The recorded machine's vm.watermark_scale_factor: as recorded, else as the gaps between its marks tell it.

    Where the gap is the quarter of MIN that is its least, the factor may be anything up to it: then it is the default.
    """
    known = recorded_settings(machine).get("watermark_scale_factor")
    if known is not None:
        return known
    found = SCALE_FACTOR
    for zone in recorded.zones:
        gap = zone.watermark[k.WMARK_LOW] - zone.watermark[k.WMARK_MIN]
        by_default = zone.managed * SCALE_FACTOR // 10000
        if zone.managed and gap > max(zone.watermark[k.WMARK_MIN] // 4, by_default) + 1:
            found = max(found, -(-gap * 10000 // zone.managed))
    return found


def new_min_free_kbytes(machine: Machine, recorded: AllocatorState, sizes: Sequence[ZoneSize]) -> int:
    """vm.min_free_kbytes of the machine with zones of these *sizes*: the kernel's own choice where the recorded one was that."""
    had, before = min_free_kbytes(machine, recorded), sizes_of(machine, recorded)
    pageblock = 1 << machine.pageblock_order
    for huge_pages in (True, False):
        if near(had, boot_min_free_kbytes(before, pageblock, huge_pages=huge_pages)):
            return boot_min_free_kbytes(sizes, pageblock, huge_pages=huge_pages)
    return had


def setup_marks(
    state: State,
    config: MachineConfig,
    machine: Machine,
    recorded: AllocatorState,
    settings: dict[str, Any],
) -> None:
    """Recompute what *settings* change; *recorded* is the start state as it was recorded, *state* has the zones' new sizes."""
    given = recorded_settings(machine)
    if {"min_free_kbytes", "watermark_scale_factor", "memory"} & set(settings):
        sizes = [ZoneSize(zone.index, zone.managed_pages) for zone in state.view.zone]
        kbytes = settings.get("min_free_kbytes")
        if kbytes is None and "memory" in settings:
            kbytes = new_min_free_kbytes(machine, recorded, sizes)
        elif kbytes is None:
            kbytes = min_free_kbytes(machine, recorded)
        factor = settings.get("watermark_scale_factor", scale_factor(machine, recorded))
        setup_per_zone_wmarks(state, config, kbytes, factor)
    elif settings.get("percpu_pagelist_high_fraction", 0) != given.get("percpu_pagelist_high_fraction", 0):
        set_pcp_bounds(state, config)
