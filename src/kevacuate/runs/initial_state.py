# SPDX-License-Identifier: GPL-2.0-or-later
"""From a recorded start state to the model's state."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from kevacuate.demand.start_objects import pages_in_use
from kevacuate.errors import KevacuateError
from kevacuate.kernel.pageflags import (
    KPF_ACTIVE,
    KPF_MLOCKED,
    KPF_REFERENCED,
    KPF_UNEVICTABLE,
    absent_pages,
    flag,
    movable_pages,
)
from kevacuate.mm import constants as k
from kevacuate.mm import entry, load_state
from kevacuate.mm.fields import PerCpuPages
from kevacuate.mm.layout import MachineConfig, State, StateOptions, ZoneConfig, build_state
from kevacuate.mm.profile import profile_for
from kevacuate.mm.region_count import load_regions
from kevacuate.policy import Policy
from kevacuate.policy.install import with_hooks
from kevacuate.recording import AllocatorState, Machine, StartObjects
from kevacuate.runs.lru_state import hidden_attr, load_reclaim, oldest_first
from kevacuate.runs.memory import smaller
from kevacuate.runs.options import ReplayOptions
from kevacuate.runs.startcheck import refuse_impossible
from kevacuate.runs.sysctls import CLOSED_ALONE, model_settings
from kevacuate.runs.watermarks import setup_marks

EMULATED_TIME_SCALE = 25
"""How many times slower than the costs' native machine an emulated (qemu TCG) recorded kernel is.

In a recorded kernel that ignores the skip hint, 54 real evacuations took 23 times (median) what the costs of
:class:`~kevacuate.mm.layout.EvacuationConfig` say; queue to start took 0.85 to 4.6 ms (medians of three recordings),
27 to 140 times irq_work plus wakeup.
"""

EMULATED_KSWAPD_RUN_NS = 29_000_000
"""Median time from balance_pgdat_begin to _end in an emulated recorded kernel (161 runs)."""

EMULATED_KSWAPD_WAKE_NS = 250_000
"""Median time from mm_vmscan_wakeup_kswapd to balance_pgdat_begin in an emulated recorded kernel with one CPU (94 runs).

A second recording has 374,000 (110 runs). Used in closed loop, where it decides what is allocated before kswapd reclaims.
"""

SHARED_CPU_SLICE_NS = 2_500_000
"""How long kswapd has the CPU before a task does, on a machine of one CPU: mean of 538 slices of a recorded kernel.

A second recording has 3,100,000 (742 slices). Whatever the machine's speed: the scheduler's slice and tick are times
(kernel/sched/fair.c, sysctl_sched_base_slice 0.7 ms; a lazy preemption in the kernel waits for the tick, 4 ms at HZ 250).
"""


def kswapd_wake_ns(machine: Machine, closed: bool) -> int:
    """From wakeup_kswapd to balance_pgdat on the recorded machine, ns."""
    if closed and machine.hooks:
        return EMULATED_KSWAPD_WAKE_NS
    return MachineConfig.kswapd_wake_ns * (EMULATED_TIME_SCALE if machine.hooks else 1)


def zone_index(name: str) -> int:
    """The model's zone index of a zone's name."""
    if name not in k.ZONE_NAMES:
        known = ", ".join(k.ZONE_NAMES)
        raise KevacuateError(
            f"The recording has a zone {name!r:.40}, which the model does not know: it knows {known}."
        )
    return k.ZONE_NAMES.index(name)


def node_distances(machine: Machine, nodes: int) -> tuple[tuple[int, ...], ...] | None:
    """The recorded distances between *nodes* nodes, which order the zonelists; None if they were not recorded.

    Raises
    ------
    KevacuateError
        They are not a table of that many nodes.
    """
    table = machine.extra.get("node_distance")
    if table is None:
        return None
    rows = table if isinstance(table, list) else []
    good = [row for row in rows if isinstance(row, list) and len(row) == len(rows) >= nodes]
    known = all(isinstance(x, int) and 10 <= x <= 255 for row in good for x in row)
    if len(good) != len(rows) or not rows or not known:
        raise KevacuateError(
            f"The recording's table of node distances is not one of {nodes} nodes with distances of 10 to 255: record again."
        )
    return tuple(tuple(row) for row in good)


def _zone_configs(machine: Machine, state: AllocatorState) -> tuple[ZoneConfig, ...]:
    """The recorded zones as the model describes zones."""
    zones = []
    for info in machine.zones:
        recorded = next((z for z in state.zones if z.start_pfn == info.start_pfn), None)
        if recorded is None:
            raise KevacuateError(
                f"The start state has no zone {info.name} of node {info.node}: record again."
            )
        reserve = [0, 0, 0, 0]
        for i, pages in enumerate(recorded.lowmem_reserve[: len(machine.zone_names)]):
            reserve[zone_index(machine.zone_names[i])] = int(pages)
        mark = [*recorded.watermark, 0, 0, 0, 0]
        zones.append(
            ZoneConfig(
                node=info.node,
                index=zone_index(info.name),
                start_pfn=int(recorded.start_pfn),
                end_pfn=int(recorded.start_pfn) + int(recorded.spanned),
                watermark=(int(mark[0]), int(mark[1]), int(mark[2]), int(mark[3])),
                lowmem_reserve=(reserve[0], reserve[1], reserve[2], reserve[3]),
                managed=int(recorded.managed),
            )
        )
    if not zones:
        raise KevacuateError("The recording's start state has no zones: it cannot be replayed, record again.")
    return tuple(zones)


def machine_config(
    machine: Machine,
    state: AllocatorState,
    settings: Mapping[str, Any] = MappingProxyType({}),
    *,
    closed: bool = False,
) -> MachineConfig:
    """The recorded machine as the model describes machines, with the profile of the recorded kernel and its vm sysctls.

    *settings* are a policy's, in place of recorded ones. *closed*: of a replay in which the model reclaims by itself.

    Raises
    ------
    KevacuateError
        The model cannot hold it, its kernel's release is none, or a sysctl has a value that the kernel does not take.

    """
    zones = _zone_configs(machine, state)
    nodes = machine.extra.get("cpu_node", (0,) * machine.cpus)
    if len(nodes) != machine.cpus:
        raise KevacuateError(
            f"The recording gives {len(nodes)} CPUs a node, but its machine has {machine.cpus}: record again."
        )
    most = int(machine.extra.get("max_page_order", max(10, machine.pageblock_order)))
    if not -1 <= machine.hugepage_order <= most:
        raise KevacuateError(
            f"The recording has huge pages of order {machine.hugepage_order}, but the largest is {most}: record again."
        )
    if not closed and (of_reclaim := [name for name in CLOSED_ALONE if settings.get(name)]):
        why = "needs a closed loop, as an open one takes reclaim as recorded: give --loop closed."
        raise KevacuateError(f"A policy with {of_reclaim[0]} {why}")
    profile = profile_for(machine.kernel)[0]
    return MachineConfig(
        npages=max(zone.end_pfn for zone in zones),
        zones=zones,
        cpu_node=tuple(nodes),
        distance=node_distances(machine, 1 + max([zone.node for zone in zones] + list(nodes))),
        pageblock_order=machine.pageblock_order,
        hpage_pmd_order=machine.hugepage_order,
        max_page_order=most,
        kswapd_run_ns=EMULATED_KSWAPD_RUN_NS if machine.hooks else MachineConfig.kswapd_run_ns,
        kswapd_wake_ns=kswapd_wake_ns(machine, closed),
        kswapd_slice_ns=SHARED_CPU_SLICE_NS if closed and machine.cpus == 1 else 0,
        zone_dma32="DMA32" in machine.zone_names,
        open_loop=not closed,
        profile=profile,
        compaction=True,
        **model_settings(machine, profile, settings),
    )


def default_time_scale(machine: Machine) -> int:
    """How much slower than the costs' machine the recorded one is: 1, but an emulated kernel's for the hooked kernels."""
    return EMULATED_TIME_SCALE if machine.hooks else 1


def splitmix64(values: np.ndarray, seed: int) -> np.ndarray:
    """A well-mixed 64-bit hash of each value (Steele, Lea, Flood 2014), the same on every machine."""
    with np.errstate(over="ignore"):
        x = (
            values.astype(np.uint64)
            + np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15)
            + np.uint64(0x9E3779B97F4A7C15)
        )
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def skip_bits(state: AllocatorState, policy: Policy, seed: int) -> np.ndarray:
    """Which of the recorded blocks carry the skip bit at the start (bool), as the policy's knob names it."""
    wanted = policy.skip_bits
    blocks = state.blocks.pfn.size
    if wanted == "recorded":
        return np.asarray(state.blocks.skip, np.bool_)
    if isinstance(wanted, str):
        return np.full(blocks, wanted == "all")
    drawn = splitmix64(np.arange(blocks), seed) >> np.uint64(11)
    return drawn.astype(np.float64) < wanted * 2.0**53


def _load_pcp(state: State, recorded: AllocatorState, zone_of: np.ndarray) -> None:
    """The fields of every per-CPU list set as recorded; counts were set from the lists.

    A kernel with a fixed high has no bounds: both are that high.
    """
    cpus = state.view.cfg.nr_cpus
    pcp = PerCpuPages.table(state.pcp)
    row = zone_of[recorded.pcp.zone] * cpus + recorded.pcp.cpu
    for name in ("high", "high_min", "high_max", "batch", "flags", "alloc_factor", "free_count"):
        pcp[name][row] = getattr(recorded.pcp, name)
    if state.view.cfg.pcp_fixed:
        pcp["high_min"][row] = pcp["high_max"][row] = recorded.pcp.high


def load_compaction(state: State, recorded: AllocatorState, zone_of: np.ndarray) -> None:
    """Where compaction's scanners start, and whether it is deferred."""
    for zone in recorded.zones:
        own = state.view.zone[zone_of[zone.index]]
        own.compact_cached_free_pfn = zone.cached_free_pfn
        own.compact_cached_migrate_pfn[0], own.compact_cached_migrate_pfn[1] = (
            *zone.cached_migrate_pfn,
            0,
            0,
        )[:2]
        own.compact_considered = zone.compact_considered
        own.compact_defer_shift = min(max(zone.compact_defer_shift, 0), k.COMPACT_MAX_DEFER_SHIFT)
        own.compact_order_failed = zone.compact_order_failed


def zone_numbers(config: MachineConfig, recorded: AllocatorState) -> np.ndarray:
    """Recorded zone index (as in ``gt_rmq``) to the model's zone number."""
    numbers = np.zeros(max(zone.index for zone in recorded.zones) + 1, np.int64)
    for zone in recorded.zones:
        numbers[zone.index] = next(i for i, own in enumerate(config.zones) if own.start_pfn == zone.start_pfn)
    return numbers


def _load_lists(state: State, recorded: AllocatorState, skip: np.ndarray, zone_of: np.ndarray) -> None:
    """Pageblocks, free lists and per-CPU lists as recorded; *zone_of* is the model's number of each recorded zone."""
    load_state.load_pageblocks(
        state,
        recorded.blocks.pfn.astype(np.int64),
        recorded.blocks.mt.astype(np.int64),
        skip,
    )
    free, pages = recorded.free, recorded.pcp_pages
    load_state.load_free_lists(
        state,
        zone_of[free.zone],
        free.order.astype(np.int64),
        free.mt.astype(np.int64),
        free.pfn.astype(np.int64),
    )
    load_state.load_pcp_lists(
        state,
        zone_of[pages.zone],
        pages.cpu.astype(np.int64),
        pages.pindex.astype(np.int64),
        pages.pfn.astype(np.int64),
    )


def initial_state(
    machine: Machine,
    config: MachineConfig,
    whole: AllocatorState,
    recorded: AllocatorState,
    start: StartObjects,
    policy: Policy,
    options: ReplayOptions,
    objects: int,
    skip: np.ndarray,
) -> State:
    """The model's state at the recording's start, ready for the first row of the demand.

    *config* is of :func:`machine_config`, *whole* the start as recorded, *recorded* what :func:`start_of` leaves of it. *objects*
    is the least number of objects to have room for, *skip* a bool per block of the start: see :func:`skip_bits`.

    Raises
    ------
    KevacuateError
        The state is inconsistent, or the model cannot hold the machine.
    """
    settings = policy.settings
    refuse_impossible(config, recorded, start)
    evacuation = policy.evacuation(default_time_scale(machine), config.nodes)
    sizes = StateOptions(objects=max(objects, start.pfn.size + 1), log_capacity=options.log_capacity)
    state = build_state(config, evacuation, sizes)
    zone_of = zone_numbers(config, recorded)
    _load_lists(state, recorded, skip, zone_of)
    _load_pcp(state, recorded, zone_of)
    load_compaction(state, recorded, zone_of)
    pfn, order = start.pfn.astype(np.int64), start.order.astype(np.int64)
    attr, ages = start_attr(state, recorded, start), oldest_first(recorded, start)
    load_state.load_allocated(state, pfn, order, attr, 0, ages)
    load_reclaim(state, recorded, start)
    load_state.load_in_use(state, *_pages_of_nobody(state, recorded, settings.get("memory", 1)))
    load_regions(state)
    setup_marks(state, config, machine, whole, settings)
    entry.late_initcall(state, 1)
    load_due(state, recorded)
    _draw_phases(state, options.seed)
    return with_hooks(state, policy.hooks, policy.hook_knobs)


def start_attr(state: State, recorded: AllocatorState, start: StartObjects) -> np.ndarray:
    """The attributes of the start's objects; in closed loop with what their page flags say of their place on the LRU lists.

    The order on each list is known of a start state that a closed loop came to (:mod:`kevacuate.runs.lru_state`). Of others it is
    not: the lower the pfn, the older a folio is taken to be.
    """
    attr = start.attr.astype(np.int64)
    flags = recorded.page_flags
    if not state.view.cfg.open_loop:
        attr |= hidden_attr(recorded, start)
    if state.view.cfg.open_loop or flags is None:
        return attr
    own = flags[start.pfn]
    for bit, name in (
        (KPF_ACTIVE, k.ATTR_ACTIVE),
        (KPF_REFERENCED, k.ATTR_REFERENCED),
        (KPF_UNEVICTABLE, k.ATTR_MLOCKED),
        (KPF_MLOCKED, k.ATTR_MLOCKED),
    ):
        attr |= np.where(flag(own, bit), name, 0)
    return attr & np.where(attr & k.ATTR_MLOCKED, ~k.ATTR_ACTIVE, -1)


def load_due(state: State, recorded: AllocatorState) -> None:
    """When the background works next, where the state says so; no kcompactd then that it does not name is due."""
    if not recorded.due:
        return
    for number, cpu in enumerate(state.view.cpu):
        cpu.vmstat_due = recorded.due.get(f"vmstat{number}", cpu.vmstat_due)
    for number, node in enumerate(state.view.node):
        node.kcompactd_due = recorded.due.get(f"kcompactd{number}", k.NEVER)


def _draw_phases(state: State, seed: int) -> None:
    """Draw when the vmstat workers and the kcompactds (their timeout) first run; seed 0 leaves them as they are."""
    if seed == 0:
        return
    interval = state.view.cfg.stat_interval
    drawn = [int(value) >> 32 for value in splitmix64(np.arange(2), seed)]
    for cpu in state.view.cpu:
        cpu.vmstat_due -= drawn[0] * interval >> 32
        cpu.vmstat_due += interval if cpu.vmstat_due < 0 else 0
    for node in state.view.node:
        if node.kcompactd_due != k.NEVER:
            node.kcompactd_due = drawn[1] * k.KCOMPACTD_NS >> 32


def start_of(machine: Machine, recorded: AllocatorState, policy: Policy) -> AllocatorState:
    """The start state of a replay: as recorded, but for the memory that the policy takes away.

    Raises
    ------
    KevacuateError
        As :func:`kevacuate.runs.memory.smaller`.
    """
    return smaller(machine, recorded, policy.settings.get("memory", 1))


def _pages_of_nobody(state: State, recorded: AllocatorState, memory: float) -> tuple[np.ndarray, np.ndarray]:
    """Pages in use that no object holds and that are the allocator's, where page flags tell; and their attributes.

    Those that can move by their flags (an older demand does not hold anonymous pages that were on no LRU list yet) count as such,
    but nobody moves them.
    """
    used = np.flatnonzero(pages_in_use(recorded, state.view.cfg.hpage_pmd_order))
    used = used[state.meta[used] == k.CHUNK_RESERVED << 4]
    if memory < 1:  # what was taken away is in no block, and nobody's
        used = used[state.block[2 * (used >> state.view.cfg.pageblock_order)] & k.PB_ABSENT == 0]
    if recorded.page_flags is not None:
        used = used[used < len(recorded.page_flags)]  # /proc/kpageflags ends where memory does
        used = used[~absent_pages(recorded.page_flags)[used]]
        return used, np.where(movable_pages(recorded.page_flags)[used], k.ATTR_LRU, 0)
    return used, np.zeros(len(used), np.int64)
