# SPDX-License-Identifier: GPL-2.0-or-later
"""The model's state: which arrays there are, their dtypes and shapes, and how a machine's description becomes them.

Nine bytes a page (``link`` and ``meta``) and two a pageblock, plus what CPUs, zones and workers need. What each index
of the flat arrays means is in :mod:`kevacuate.mm.constants`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.errors import KevacuateError
from kevacuate.mm import constants as k
from kevacuate.mm.disjoint import arrays_apart
from kevacuate.mm.profile import PROFILES, Profile

Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
UInt8Array = npt.NDArray[np.uint8]


class State(NamedTuple):
    """All of a simulated machine. Nobody but :mod:`kevacuate.mm` indexes these arrays.

    Attributes
    ----------
    link : int32[2 * (pages + lists)]
        Next and previous of every page and every list's sentinel; of an allocated page: object id and attributes.
    meta : uint8[pages]
        State (high nibble) and order (low nibble) of every chunk's head; 0 elsewhere.
    block : uint8[2 * pageblocks]
        Type, skip and isolate bits; zone number (255: none). Of a kernel that notes the types of pages on per-CPU lists: those
        behind it, uint8[pages].
    zone : int64[zones * 64]
        Fields ``Z_*`` of every zone, nr_free per order included.
    pcp : int32[zones * CPUs * 8]
        Fields ``P_*`` of every per-CPU list set.
    cfg : int64
        Parameters ``C_*``, then ready flags, CPU nodes, node CPUs, zonelists.
    stat : int64[T_SIZE]
        Clock and counters ``T_*``.
    work : int64
        Evacuate items, pending lists, workers, kswapds, vmstat ticks.
    lru : int32[CPUs * 32]
        lru_add batches.
    log : int64[8 * capacity]
        The event log.
    obj : int32[objects]
        First pfn of every object; -1 nowhere, -2 dropped as clean page cache (a replay adds -3, never allocated for want
        of pages).
    """

    link: Int32Array
    meta: UInt8Array
    block: UInt8Array
    zone: Int64Array
    pcp: Int32Array
    cfg: Int64Array
    stat: Int64Array
    work: Int64Array
    lru: Int32Array
    log: Int64Array
    obj: Int32Array


arrays_apart(State, constant=("cfg",))


@dataclass(frozen=True)
class ZoneConfig:
    """A populated zone: node, zone index (0 DMA, 1 DMA32, 2 Normal, 3 Movable), span in pfns, what is reserved.

    ``watermark`` is (MIN, LOW, HIGH, PROMO) in pages, ``lowmem_reserve`` pages by highest zone index.
    ``managed`` defaults to the span less the reserved ranges.
    """

    node: int
    index: int
    start_pfn: int
    end_pfn: int
    reserved: tuple[tuple[int, int], ...] = ()
    watermark: tuple[int, int, int, int] = (0, 0, 0, 0)
    lowmem_reserve: tuple[int, int, int, int] = (0, 0, 0, 0)
    managed: int | None = None

    @property
    def managed_pages(self) -> int:
        """Pages the allocator manages."""
        if self.managed is not None:
            return self.managed
        return self.end_pfn - self.start_pfn - sum(end - start for start, end in self.reserved)


@dataclass(frozen=True)
class MachineConfig:
    """A machine: its shape and the kernel's tunables. Times in ns.

    ``open_loop``: requests were satisfied by the recorded kernel, after reclaim if need be, so the model's slow path takes
    their pages below the watermarks rather than fail. ``profile``: which kernel it runs.
    ``compaction``: kcompactd runs. Sysctls of vm: ``proactiveness`` (compaction_proactiveness, 0 to 100), ``extfrag_threshold``
    (0 to 1000), ``watermark_boost_factor``, ``defrag_mode``, ``pcp_high_fraction`` (percpu_pagelist_high_fraction),
    ``stat_interval_ns`` (stat_interval).
    """

    npages: int
    zones: tuple[ZoneConfig, ...]
    cpu_node: tuple[int, ...] = (0,)
    max_page_order: int = 10
    pageblock_order: int = 9
    hpage_order: int = 9
    distance: tuple[tuple[int, ...], ...] | None = None
    zone_dma32: bool = True
    defrag_mode: bool = False
    watermark_boost_factor: int = 15000
    mobility_disabled: bool = False
    pcp_high_fraction: int = 0
    free_high_batch: bool = False
    open_loop: bool = False
    vmstat_phase_ns: int = 0
    stat_interval_ns: int = 1_000_000_000
    compaction: bool = False
    proactiveness: int = 20
    extfrag_threshold: int = 500
    kswapd_wake_ns: int = 50_000
    kswapd_run_ns: int = 1_000_000
    profile: Profile = PROFILES["7.2"]

    @property
    def nodes(self) -> int:
        """Number of nodes: the highest one named by a zone or a CPU, plus one."""
        return 1 + max([z.node for z in self.zones] + list(self.cpu_node))


@dataclass(frozen=True)
class EvacuationConfig:
    """The evacuation patch and what it costs in virtual time (ns on a native machine).

    Defaults of the costs: ``migrate_ns`` 1.1 us a page, ``isolate_ns`` 7 us for 32 LRU pages, ``scan_ns`` 4 ns a page
    that cannot be isolated, measured on a native 6.18 kernel (AMD EPYC) with ``compact_memory``; ``irq_work_ns`` and
    ``wakeup_ns`` are the order of an irq_work and of an idle CPU's kworker; ``work_ns`` and ``reclaim_ns`` are
    estimates. ``time_scale`` multiplies them all: how much
    slower than that machine the recorded one is.
    """

    evacuate: bool = False
    pool: int = 64
    wq: str = "per_cpu"
    ready: tuple[bool, ...] | None = None
    skip_hint: bool = True
    work_ns: int = 1_000
    irq_work_ns: int = 2_000
    wakeup_ns: int = 30_000
    scan_ns: int = 4
    isolate_ns: int = 219
    reclaim_ns: int = 400
    migrate_ns: int = 1_100
    time_scale: int = 1


@dataclass(frozen=True)
class StateOptions:
    """Sizes that are ours alone: object table entries, log level (0 to 3) and log records kept."""

    objects: int = 1 << 16
    log_level: int = 1
    log_capacity: int = 1 << 16
    boot: bool = field(default=True)


def zone_batchsize(managed: int) -> int:
    """pcp batch of a zone in pages (zone_batchsize, mm/page_alloc.c:6032 at 7.2)."""
    batch = min(managed >> 12, 64)
    if batch <= 1:
        return 1
    batch += batch // 2
    return int((1 << (batch.bit_length() - 1)) - 1)


def pcp_high_bounds(managed: int, low: int, batch: int, cpus: int, fraction: int) -> tuple[int, int]:
    """(high_min, high_max) of a zone's per-CPU lists in pages (mm/page_alloc.c:6080 at 7.2)."""
    if fraction:
        high = max(managed // fraction // cpus, 4 * batch)
        return high, high
    return max(low // cpus, 4 * batch), max(managed // 8 // cpus, 4 * batch)


def _check(machine: MachineConfig, policy: EvacuationConfig) -> None:
    """Refuse a machine that the layout cannot hold."""
    problems = [
        (not 1 <= len(machine.cpu_node) <= 1024, "a machine has 1 to 1024 CPUs"),
        (not 1 <= machine.nodes <= 8, "a machine has 1 to 8 nodes"),
        (not 1 <= len(machine.zones) <= 32, "a machine has 1 to 32 populated zones"),
        (not 0 < machine.npages < 1 << 30, "a machine has 1 to 2^30 - 1 page frames"),
        (
            not 1 <= machine.pageblock_order <= machine.max_page_order <= 13,
            "orders: 1 <= pageblock <= max <= 13",
        ),
        (policy.wq not in ("per_cpu", "per_node"), "wq is per_cpu or per_node"),
        (
            not 0 <= machine.proactiveness <= 100 or not 0 <= machine.extfrag_threshold <= 1000,
            "vm.compaction_proactiveness is 0 to 100, vm.extfrag_threshold 0 to 1000",
        ),
        (
            machine.watermark_boost_factor < 0
            or machine.pcp_high_fraction < 0
            or machine.stat_interval_ns < 1,
            "vm.watermark_boost_factor and vm.percpu_pagelist_high_fraction are not negative, vm.stat_interval is positive",
        ),
        (policy.pool < 0 or policy.time_scale < 0, "pool and time_scale are not negative"),
        (
            machine.defrag_mode and not machine.profile.defrag_mode,
            f"Linux {machine.profile.name} has no defrag_mode",
        ),
    ]
    owner: dict[int, int] = {}
    for i, zone in enumerate(machine.zones):
        bad = not 0 <= zone.start_pfn < zone.end_pfn <= machine.npages or not 0 <= zone.index <= 3
        problems.append((bad, f"zone {i} spans pfns {zone.start_pfn} to {zone.end_pfn} of {machine.npages}"))
        first, last = zone.start_pfn >> machine.pageblock_order, (zone.end_pfn - 1) >> machine.pageblock_order
        shared = owner.get(first, i) != i or owner.get(last, i) != i
        problems.append((shared, f"zone {i} shares a pageblock with another zone"))
        owner[first] = owner[last] = i
    for wrong, text in problems:
        if wrong:
            raise KevacuateError(f"This machine cannot be modelled: {text}; change its description.")


def _zonelists(machine: MachineConfig) -> list[int]:
    """Per node: the number of zones, then the zones, own ones first, then by distance; padded to zones + 1."""
    nodes, zones = machine.nodes, machine.zones
    flat: list[int] = []
    for node in range(nodes):

        def rank(other: int, node: int = node) -> tuple[int, int]:
            near = machine.distance[node][other] if machine.distance else (10 if other == node else 20)
            return (near if other != node else -1), (other - node) % nodes

        order = sorted(range(len(zones)), key=lambda z: (rank(zones[z].node), -zones[z].index))
        flat += [len(order), *order]
    return flat


def _profile_switches(machine: MachineConfig, npages: int) -> dict[int, int]:
    """The kernel profile's fields of ``cfg``."""
    profile = machine.profile
    return {
        k.C_STEAL_SUITABLE: profile.fallback == "steal_suitable",
        k.C_REFUSE_HIGHATOMIC: profile.claim_refuses_highatomic,
        k.C_MERGE_RETYPES: profile.merge_retypes,
        k.C_FREE_PIECE_ORDER: machine.pageblock_order if profile.split_by_block else machine.max_page_order,
        k.C_SPLIT_BY_BLOCK: profile.split_by_block,
        k.C_PCP_TYPE_CACHED: profile.pcp_type == "cached",
        k.C_OFF_PCP_TYPE: 2 * (npages >> machine.pageblock_order),
        k.C_PCP_FIXED: profile.pcp_tuning == "fixed",
        k.C_SUB_BATCHES: profile.pcp_tuning == "sub_batches",
        k.C_FREE_HIGH_SHIFT: 1 if profile.pcp_tuning == "sub_batches" else 31,
        k.C_BELOW_HIGH: profile.below_high,
        k.C_DECAY: profile.decay,
        k.C_FREE_HIGHATOMIC: profile.free_highatomic,
        k.C_RESERVE_ANY_PATH: profile.reserve_point == "get_page_from_freelist",
        k.C_RESERVE_ONE_MORE: profile.reserve_size == "hundredth_and_block",
        k.C_ISOLATE_TYPE: profile.isolate == "type",
        k.C_SKIP_AWAKE: profile.skip_awake_nodes and machine.nodes > 1,
        k.C_BOOST_WAKES_ALL: profile.boost_wakes_all,
        k.C_LISTS_FOLLOW_BLOCKS: profile.lists_follow_blocks,
    }


def _config_array(machine: MachineConfig, policy: EvacuationConfig, options: StateOptions) -> Int64Array:
    """``cfg``, without the offsets into ``work``."""
    nodes, cpus, zones = machine.nodes, len(machine.cpu_node), len(machine.zones)
    chunk = 1 << machine.max_page_order
    npages = (machine.npages + chunk - 1) // chunk * chunk
    off_ready = k.C_FIXED
    off_cpu_node = off_ready + nodes
    off_node_cpu = off_cpu_node + cpus
    off_zonelist = off_node_cpu + nodes
    cfg = np.zeros(off_zonelist + nodes * (zones + 1), np.int64)
    ready = policy.ready if policy.ready is not None else (True,) * nodes
    values = {
        k.C_NPAGES: npages,
        k.C_NPAGES_REAL: machine.npages,
        k.C_NZONES: zones,
        k.C_NCPUS: cpus,
        k.C_NNODES: nodes,
        k.C_MAX_PAGE_ORDER: machine.max_page_order,
        k.C_PAGEBLOCK_ORDER: machine.pageblock_order,
        k.C_HPAGE_ORDER: machine.hpage_order,
        k.C_ZONE_DMA32: machine.zone_dma32,
        k.C_DEFRAG_MODE: machine.defrag_mode,
        k.C_OPEN_LOOP: machine.open_loop,
        k.C_BOOST_FACTOR: machine.watermark_boost_factor,
        k.C_MOBILITY_DISABLED: machine.mobility_disabled,
        k.C_LOG_LEVEL: options.log_level,
        k.C_LOG_CAPACITY: options.log_capacity,
        k.C_VMSTAT_PHASE: machine.vmstat_phase_ns,
        k.C_KSWAPD_WAKE: machine.kswapd_wake_ns,
        k.C_KSWAPD_RUN: machine.kswapd_run_ns,
        k.C_COMPACTION: machine.compaction,
        k.C_PROACTIVENESS: machine.proactiveness,
        k.C_EXTFRAG_THRESHOLD: machine.extfrag_threshold,
        k.C_STAT_INTERVAL: machine.stat_interval_ns,
        k.C_NWORKERS: nodes if policy.wq == "per_node" else cpus,
        k.C_EVACUATE: policy.evacuate,
        k.C_POOL: policy.pool,
        k.C_PER_NODE: policy.wq == "per_node",
        k.C_SKIP_HINT: policy.skip_hint,
        k.C_WORK_NS: policy.work_ns,
        k.C_IRQ_WORK_NS: policy.irq_work_ns,
        k.C_WAKEUP_NS: policy.wakeup_ns,
        k.C_SCAN_NS: policy.scan_ns,
        k.C_ISOLATE_NS: policy.isolate_ns,
        k.C_RECLAIM_NS: policy.reclaim_ns,
        k.C_MIGRATE_NS: policy.migrate_ns,
        k.C_TIME_SCALE: policy.time_scale,
        k.C_NR_PCP_LISTS: k.NR_PCP_LISTS if machine.hpage_order >= 0 else k.NR_PCP_LISTS - 2,
        k.C_PCP_BASE: npages + zones * k.LISTS_PER_ZONE,
        k.C_OFF_READY: off_ready,
        k.C_OFF_CPU_NODE: off_cpu_node,
        k.C_OFF_NODE_CPU: off_node_cpu,
        k.C_OFF_ZONELIST: off_zonelist,
    }
    for index, value in {**values, **_profile_switches(machine, npages)}.items():
        cfg[index] = int(value)
    cfg[off_ready:off_cpu_node] = ready
    cfg[off_cpu_node:off_node_cpu] = machine.cpu_node
    for node in range(nodes):
        own = [cpu for cpu, its in enumerate(machine.cpu_node) if its == node]
        cfg[off_node_cpu + node] = own[0] if own else 0
    cfg[off_zonelist:] = _zonelists(machine)
    return cfg


def kcompactd_size(cfg: Int64Array) -> int:
    """Entries of ``work`` that a kcompactd takes: its fields, a pageblock's worth of sources, as many destinations."""
    return k.KC_LISTS + (2 << int(cfg[k.C_PAGEBLOCK_ORDER]))


def _work_array(cfg: Int64Array) -> Int64Array:
    """``work``, and its offsets written into *cfg*."""
    pool, nodes, cpus = int(cfg[k.C_POOL]), int(cfg[k.C_NNODES]), int(cfg[k.C_NCPUS])
    workers = int(cfg[k.C_NWORKERS])
    at = k.W_FIXED
    for index, size in (
        (k.C_OFF_ITEMS, pool * k.IS),
        (k.C_OFF_PENDING, nodes),
        (k.C_OFF_WORKERS, workers * k.WS),
        (k.C_OFF_KSWAPD, nodes * k.KS),
        (k.C_OFF_TICKS, cpus),
        (k.C_OFF_KCOMPACTD, nodes * kcompactd_size(cfg)),
    ):
        cfg[index] = at
        at += size
    work = np.zeros(at, np.int64)
    work[k.W_FREELIST] = -1
    work[cfg[k.C_OFF_PENDING] : cfg[k.C_OFF_WORKERS]] = -1
    for worker in range(workers):
        base = int(cfg[k.C_OFF_WORKERS]) + worker * k.WS
        work[base + k.WK_DUE] = k.NEVER
        work[base + k.WK_ITEM] = work[base + k.WK_HEAD] = work[base + k.WK_TAIL] = -1
    for offset, first in ((k.KS_DUE, k.NEVER), (k.KS_HI, -1), (k.KS_RUN_HI, k.ZONE_MOVABLE)):
        work[int(cfg[k.C_OFF_KSWAPD]) + offset : cfg[k.C_OFF_TICKS] : k.KS] = first
    for node in range(nodes):
        base = int(cfg[k.C_OFF_KCOMPACTD]) + node * kcompactd_size(cfg)
        looks = cfg[k.C_COMPACTION] and cfg[k.C_PROACTIVENESS]
        work[base + k.KC_DUE] = k.KCOMPACTD_NS if looks else k.NEVER
        work[base + k.KC_HI] = k.ZONE_MOVABLE
    for cpu in range(cpus):
        tick = int(cfg[k.C_VMSTAT_PHASE]) + cpu * 12_000_000
        work[int(cfg[k.C_OFF_TICKS]) + cpu] = tick if tick > 0 else tick + int(cfg[k.C_STAT_INTERVAL])
    return work


def _zone_array(machine: MachineConfig) -> Int64Array:
    """``zone`` with nothing free yet."""
    zone = np.zeros(len(machine.zones) * k.ZS, np.int64)
    for z, config in enumerate(machine.zones):
        fields = zone[z * k.ZS : (z + 1) * k.ZS]
        fields[k.Z_NODE], fields[k.Z_INDEX] = config.node, config.index
        fields[k.Z_START], fields[k.Z_END] = config.start_pfn, config.end_pfn
        fields[k.Z_MANAGED] = fields[k.Z_PRESENT] = config.managed_pages
        fields[k.Z_WMARK : k.Z_WMARK + 4] = config.watermark
        fields[k.Z_LOWMEM : k.Z_LOWMEM + 4] = config.lowmem_reserve
    return zone


def set_pcp_bounds(state: State, machine: MachineConfig) -> None:
    """Recompute batch, high_min and high_max of every per-CPU list set from the zones' marks and sizes."""
    cpus = len(machine.cpu_node)
    pcp = state.pcp.reshape(len(machine.zones), cpus, k.PS)
    for z in range(len(machine.zones)):
        node = int(state.zone[z * k.ZS + k.Z_NODE])
        managed = int(state.zone[z * k.ZS + k.Z_MANAGED])
        low = int(state.zone[z * k.ZS + k.Z_WMARK + k.WMARK_LOW] + state.zone[z * k.ZS + k.Z_BOOST])
        local = machine.cpu_node.count(node) or cpus
        batch = zone_batchsize(managed)
        pcp[z, :, k.P_BATCH] = batch
        high_min, high_max = pcp_high_bounds(managed, low, batch, local, machine.pcp_high_fraction)
        fixed = machine.profile.pcp_tuning == "fixed"
        pcp[z, :, k.P_HIGH_MIN], pcp[z, :, k.P_HIGH_MAX] = high_min, high_min if fixed else high_max
        if fixed:
            pcp[z, :, k.P_HIGH] = high_min


def _pcp_types(machine: MachineConfig, npages: int) -> UInt8Array:
    """Room for the type noted of every page on a per-CPU list; none where the kernel notes none."""
    return np.zeros(npages if machine.profile.pcp_type == "cached" else 0, np.uint8)


def build_state(
    machine: MachineConfig,
    policy: EvacuationConfig | None = None,
    options: StateOptions | None = None,
) -> State:
    """Arrays for *machine* in which every page is RESERVED and every list empty.

    Raises
    ------
    KevacuateError
        The machine cannot be modelled; says why.
    """
    policy = policy or EvacuationConfig()
    options = options or StateOptions()
    _check(machine, policy)
    cfg = _config_array(machine, policy, options)
    work = _work_array(cfg)
    npages, zones, cpus = int(cfg[k.C_NPAGES]), len(machine.zones), len(machine.cpu_node)
    sentinels = zones * k.LISTS_PER_ZONE + zones * cpus * k.PCP_LISTS
    link = np.empty(2 * (npages + sentinels), np.int32)
    link[: 2 * npages] = -1
    link[2 * npages :] = np.repeat(np.arange(npages, npages + sentinels, dtype=np.int32), 2)
    block = np.empty((npages >> machine.pageblock_order, 2), np.uint8)
    block[:, 0], block[:, 1] = k.MIGRATE_MOVABLE, k.NO_ZONE
    for z, config in enumerate(machine.zones):
        last = (config.end_pfn - 1) >> machine.pageblock_order
        block[config.start_pfn >> machine.pageblock_order : last + 1, 1] = z
    state = State(
        link=link,
        meta=np.full(npages, k.PG_RESERVED << 4, np.uint8),
        block=np.concatenate([block.reshape(-1), _pcp_types(machine, npages)]),
        zone=_zone_array(machine),
        pcp=np.zeros(zones * cpus * k.PS, np.int32),
        cfg=cfg,
        stat=np.zeros(k.T_SIZE, np.int64),
        work=work,
        lru=np.zeros(cpus * k.LS, np.int32),
        log=np.zeros(options.log_capacity * k.LR, np.int64),
        obj=np.full(max(options.objects, 1), -1, np.int32),
    )
    set_pcp_bounds(state, machine)
    state.stat[k.T_CAPTURE_ORDER] = -1
    if machine.free_high_batch:
        state.pcp[k.P_FLAGS :: k.PS] |= k.PCPF_FREE_HIGH_BATCH
    return state


def copy_state(state: State) -> State:
    """A deep copy: two runs can start from one state."""
    return State._make(array.copy() for array in state)


def grow_objects(state: State, size: int) -> State:
    """The same state with room for *size* objects; the other arrays are shared."""
    if size <= state.obj.size:
        return state
    obj: Any = np.full(max(size, 2 * state.obj.size), -1, np.int32)
    obj[: state.obj.size] = state.obj
    return state._replace(obj=obj)


def state_bytes(state: State) -> dict[str, int]:
    """Bytes per array, by name."""
    return {name: int(getattr(state, name).nbytes) for name in State._fields}
