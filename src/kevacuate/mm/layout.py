# SPDX-License-Identifier: GPL-2.0-or-later
"""The model's state: which arrays there are, their dtypes and shapes, and how a machine's description becomes them.

Nine bytes a page (``link`` and ``meta``) and two a pageblock, plus what CPUs, zones and workers need: the records of
:mod:`kevacuate.mm.fields`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.errors import KevacuateError
from kevacuate.kernel.regions import REGION_ORDER, nr_regions, region_span
from kevacuate.mm import constants as k
from kevacuate.mm.fields import (
    CompactControl,
    Config,
    Counters,
    Cpu,
    EvacuateItem,
    LogRecord,
    Node,
    PageblockContent,
    PerCpuPages,
    Region,
    ScanControl,
    SlowPath,
    SwapRecord,
    View,
    Worker,
    Zone,
)
from kevacuate.mm.profile import PROFILES, Profile
from kevacuate.records import plain, seen_as

Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
UInt8Array = npt.NDArray[np.uint8]


@seen_as(View)
class State(NamedTuple):
    """All of a simulated machine, as flat arrays. By names, from Python: ``state.view.zone[0].nr_free_pages``.

    Attributes
    ----------
    link : int32[2 * (pages + lists)]
        Next and previous of every page and every list's sentinel; of an allocated page: object id and attributes.
    meta : uint8[pages]
        State (high nibble) and order (low nibble) of every chunk's head; 0 elsewhere.
    block : uint8[2 * pageblocks]
        Type, skip and isolate bits; zone number (255: none). Of a kernel that notes the types of pages on per-CPU lists: those
        behind it, uint8[pages]. Where regions are kept: what every chunk in use was taken for, uint8[pages], behind that.
    zone, cfg, stat, node, cpu, worker, item, cc, log : int64
        The records of :mod:`kevacuate.mm.fields`, one behind the other; of ``cfg`` and ``stat`` one. What a policy of hooks keeps
        lies behind ``stat`` (:func:`policy_words`).
    pcp : int32
        Per-CPU lists' records: zone by zone, in each CPU by CPU.
    folios : int64[nodes * 2 << pageblock order]
        Of every node's compaction: its sources, then their destinations. In a closed loop behind those, int64[5 << pageblock
        order], of direct compactions: sources, destinations, unmapped sources, failed ones, pages of split folios; then of
        every node's compaction pages of split folios; then those of evacuations, and their destinations. Last the five lists of
        contiguous allocation (:func:`contig_folios`).
    obj : int32[objects]
        First pfn of every object; -1 nowhere, -2 dropped as clean page cache (a replay adds -3, never allocated for want
        of pages).
    slow : int64
        The record of the request that is in the slow path of a closed loop.
    lru : int32[2 * (list heads, batches, objects)]
        In closed loop: the LRU lists (:mod:`kevacuate.mm.lruvec`), linked by object; of a dropped object its shadow entry. With
        lru_gen behind that a word an object, its generation and uses. In open loop empty.
    sc : int64
        Scan controls of every node's kswapd, and of direct reclaim.
    region : int64
        The records of all zones' regions, then heads of their lists; empty where no regions are kept, as the next.
    pageblock : int32
        What every pageblock holds.
    swap : int64
        In closed loop with swap the records of its slots, of zspages, and of heads of lists; else empty.
    mapping : int32
        In closed loop, of the files whose pages the demand numbers: what is where in the page cache, and who has read what
        (:mod:`kevacuate.runs.readahead`); else empty.
    """

    link: Int32Array
    meta: UInt8Array
    block: UInt8Array
    zone: Int64Array
    pcp: Int32Array
    cfg: Int64Array
    stat: Int64Array
    node: Int64Array
    cpu: Int64Array
    worker: Int64Array
    item: Int64Array
    cc: Int64Array
    folios: Int64Array
    log: Int64Array
    obj: Int32Array
    slow: Int64Array
    lru: Int32Array
    sc: Int64Array
    region: Int64Array
    pageblock: Int32Array
    swap: Int64Array
    mapping: Int32Array

    @property
    def view(self) -> View:
        """The same memory by named fields, to read and to write, with plain ints."""
        view: View = plain(View, self)
        return view


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
    ``compaction``: kcompactd runs. Sysctls of vm: ``compaction_proactiveness`` (0 to 100), ``extfrag_threshold``
    (0 to 1000), ``watermark_boost_factor``, ``defrag_mode``, ``pcp_high_fraction``
    (percpu_pagelist_high_fraction), ``compact_unevictable_allowed``,
    ``stat_interval_ns`` (stat_interval).

    Of a closed loop: ``shrink_inactive_ns`` and ``shrink_active_ns`` are what reclaim costs a page scanned (a recorded kernel
    took 4.1 and 1.0 us, medians of its calls, on a machine 25 times slower); ``kswapd_slice_ns`` is how long kswapd or
    kcompactd, then tasks, have the CPU that they share (0: nobody shares it); ``dirty_expire_ns`` is after how long dirty folios
    are written (vm.dirty_expire_centisecs), ``flush_ns`` how long that takes, times the time scale, once reclaim asks for it
    (:mod:`kevacuate.mm.writeback`).

    ``lru_gen``: the multi-gen LRU (:mod:`kevacuate.mm.lru_gen`), in closed loop; in open loop there are no lists.

    Swap, in closed loop alone: ``swap_pages`` are the slots of a zram device, 0 for none. ``zram_bytes`` is what a page
    compresses to, ``zram_write_ns`` what compressing it costs reclaim. ``swappiness`` is vm.swappiness. ``anon_used`` are
    thousandths of the anonymous pages that are used all the time (:mod:`kevacuate.mm.swap_use`). All but swappiness are inputs
    that nobody recorded.
    """

    npages: int
    zones: tuple[ZoneConfig, ...]
    cpu_node: tuple[int, ...] = (0,)
    max_page_order: int = 10
    pageblock_order: int = 9
    hpage_pmd_order: int = 9
    distance: tuple[tuple[int, ...], ...] | None = None
    zone_dma32: bool = True
    defrag_mode: bool = False
    watermark_boost_factor: int = 15000
    page_group_by_mobility_disabled: bool = False
    pcp_high_fraction: int = 0
    free_high_batch: bool = False
    open_loop: bool = False
    vmstat_phase_ns: int = 0
    stat_interval_ns: int = 1_000_000_000
    compaction: bool = False
    compaction_proactiveness: int = 20
    extfrag_threshold: int = 500
    compact_unevictable_allowed: bool = True
    kswapd_wake_ns: int = 50_000
    kswapd_run_ns: int = 1_000_000
    shrink_inactive_ns: int = 165
    shrink_active_ns: int = 40
    kswapd_slice_ns: int = 0
    dirty_expire_ns: int = 30_000_000_000
    flush_ns: int = 1_400_000
    swap_pages: int = 0
    swappiness: int = 60
    lru_gen: bool = False
    anon_used: int = 500
    zram_bytes: int = 1365
    zram_write_ns: int = 2_500
    profile: Profile = PROFILES["7.2"]

    @property
    def nodes(self) -> int:
        """Number of nodes: the highest one named by a zone or a CPU, plus one."""
        return 1 + max([z.node for z in self.zones] + list(self.cpu_node))


CLAIM_TYPES = {
    "both": 1 << k.MIGRATE_UNMOVABLE | 1 << k.MIGRATE_RECLAIMABLE,
    "unmovable": 1 << k.MIGRATE_UNMOVABLE,
    "reclaimable": 1 << k.MIGRATE_RECLAIMABLE,
}
"""For which types a claim of a movable block queues it, a bit each."""


@dataclass(frozen=True)
class RegionConfig:
    """Regions, and what policies do by them. Fields bear the names that they have in ``cfg``.

    ``region_order``: order of a region, at least MAX_PAGE_ORDER; 0 keeps none; REGION_AUTO takes 1 GiB, on machines of less than
    16 GiB the largest order of which they hold 16. ``region_fullness``: per cent of a region's pageblocks that are free, from
    which it counts as half full, mostly empty, almost empty; the series' own cut-offs were not seen.

    ``region_steer_claims``, ``region_steer_refills``: entries of a list that steering looks at, 0: none (:mod:`.region_steer`).
    ``region_passes``: __rmqueue goes by regions (:mod:`.region_passes`). ``region_reserve_least``, ``region_reserve_percent``:
    free pageblocks that a tainted region keeps from movable requests, whichever is more. ``region_half_rule``: pass 2b keeps the
    rule that half of a block be free or alike. ``region_pack_above``: with more regions ALLOC_NOFRAGMENT does not keep a request
    from passes 2b to 2d. ``region_taint_nofragment``: nor ever from pass 3. ``region_cheap_taints``: nor has a cheap fallback.

    ``region_worker``: tainted regions have one, with the marks at which it begins and ends (:mod:`.region_worker`).

    ``region_nofragment_kept``: the slow path has ALLOC_NOFRAGMENT until reclaim and compaction have failed, as under defrag_mode,
    and alloc_pages_bulk has it. ``region_evacuate``: a request that is not movable then makes room in tainted regions, out of so
    many pageblocks (:mod:`.region_evacuate`). ``region_shrink``: slabs are shrunk by the pressure of regions, each
    2**``region_shrink_priority``-th (:mod:`.region_shrink`).

    ``region_contig``: contiguous allocations of a region or more ask the regions' counters (:mod:`.contig_regions`). They give up
    after ``region_contig_tries`` ranges (0: after all), and leave out those of which less than ``region_contig_free`` per cent is
    free.
    """

    region_order: int = 0
    region_fullness: tuple[int, int, int] = (25, 50, 75)
    region_steer_claims: int = 0
    region_steer_refills: int = 0
    region_passes: bool = False
    region_reserve_least: int = 4
    region_reserve_percent: int = 3
    region_half_rule: bool = False
    region_pack_above: int = 8
    region_taint_nofragment: bool = False
    region_cheap_taints: bool = True
    region_worker: bool = False
    region_start_blocks: int = 1
    region_start_pages: int = 2
    region_stop_blocks: int = 2
    region_stop_pages: int = 3
    region_cooldown_ns: int = 5_000_000_000
    region_nofragment_kept: bool = False
    region_evacuate: bool = False
    region_evacuate_blocks: int = 8
    region_shrink: bool = False
    region_shrink_priority: int = 4
    region_contig: bool = False
    region_contig_tries: int = 0
    region_contig_free: int = 0

    def order_on(self, npages: int, least: int) -> int:
        """The order of a region on a machine of so many pages; *least* is the order of its largest chunk."""
        if self.region_order != k.REGION_AUTO:
            return self.region_order
        return min(max((npages // LEAST_REGIONS).bit_length() - 1, least), REGION_ORDER)


LEAST_REGIONS = 16
"""Regions that a machine has at least where their order is chosen by its size: the series has a rule for more than 8."""


@dataclass(frozen=True)
class EvacuationConfig:
    """The evacuation patch and what it costs in virtual time (ns on a native machine).

    Defaults of the costs: ``migrate_ns`` 1.1 us a page, ``isolate_ns`` 7 us for 32 LRU pages, ``scan_ns`` 4 ns a page
    that cannot be isolated, measured on a native 6.18 kernel (AMD EPYC) with ``compact_memory``; ``irq_work_ns`` and
    ``wakeup_ns`` are the order of an irq_work and of an idle CPU's kworker; ``work_ns`` and ``reclaim_ns`` are
    estimates. ``time_scale`` multiplies them all: how much
    slower than that machine the recorded one is. ``regions``: which regions are kept.

    What follows ``skip_hint`` up to the costs is the patch as posted unless it is turned: :class:`kevacuate.mm.fields.Config`
    says what each is.
    """

    evacuate: bool = False
    pool: int = 64
    wq: str = "per_cpu"
    ready: tuple[bool, ...] | None = None
    skip_hint: bool = True
    claims: str = "both"
    on_steal: bool = False
    guard: bool = True
    recheck: bool = True
    tries: int = 1
    pass_failed: bool = False
    drain_first: bool = False
    queue_twice: bool = True
    wait_for_item: bool = False
    drop_clean: bool = True
    any_target: bool = True
    isolate_block: bool = False
    work_ns: int = 1_000
    irq_work_ns: int = 2_000
    wakeup_ns: int = 30_000
    scan_ns: int = 4
    isolate_ns: int = 219
    reclaim_ns: int = 400
    migrate_ns: int = 1_100
    time_scale: int = 1
    regions: RegionConfig = RegionConfig()


@dataclass(frozen=True)
class StateOptions:
    """Sizes that are ours alone: object table entries, log level (0 to 3) and log records kept."""

    objects: int = 1 << 16
    log_level: int = 1
    log_capacity: int = 1 << 16


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


def _region_problems(machine: MachineConfig, regions: RegionConfig) -> list[tuple[bool, str]]:
    """What may be wrong with the regions, and whether it is."""
    order, cuts = regions.region_order, regions.region_fullness
    steers = regions.region_steer_claims or regions.region_steer_refills
    acts = regions.region_passes or regions.region_worker or regions.region_shrink or steers
    acts = acts or regions.region_contig
    return [
        (bool(acts) and not order, "a policy that goes by regions needs an order of regions"),
        (
            regions.region_passes and machine.profile.fallback == "steal_suitable",
            f"Linux {machine.profile.name} has no modes of __rmqueue, so no passes over regions",
        ),
        (
            regions.region_evacuate and not regions.region_passes,
            "evacuation for a request needs passes over regions",
        ),
        (regions.region_passes and machine.npages >= 1 << 29, "passes over regions take at most 2^29 pages"),
        (
            order not in (0, k.REGION_AUTO) and not machine.max_page_order <= order <= 30,
            f"a region of this machine has an order from {machine.max_page_order} to 30",
        ),
        (not 0 <= regions.region_contig_free <= 100, "a share of free pages is 0 to 100 per cent"),
        (
            not 0 <= cuts[0] <= cuts[1] <= cuts[2] <= 100,
            "the cut-offs of fullness are three shares from 0 to 100 per cent, in order",
        ),
    ]


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
        (policy.claims not in CLAIM_TYPES, f"claims is one of {', '.join(CLAIM_TYPES)}"),
        (machine.swap_pages and machine.open_loop, "swap needs a closed loop"),
        (not 0 <= machine.swap_pages < 1 << 28, "swap has less than 2^28 pages"),
        (not 1 <= machine.zram_bytes <= k.PAGE_SIZE, "a page compresses to 1 to 4096 bytes"),
        (not 0 <= machine.swappiness <= k.MAX_SWAPPINESS, "swappiness is 0 to 200"),
        (not 0 <= machine.anon_used <= 1000, "anonymous pages in use are 0 to 1000 thousandths"),
        (policy.wq not in ("per_cpu", "per_node"), "wq is per_cpu or per_node"),
        (
            not 0 <= machine.compaction_proactiveness <= 100 or not 0 <= machine.extfrag_threshold <= 1000,
            "vm.compaction_proactiveness is 0 to 100, vm.extfrag_threshold 0 to 1000",
        ),
        (
            machine.watermark_boost_factor < 0
            or machine.pcp_high_fraction < 0
            or machine.stat_interval_ns < 1,
            "vm.watermark_boost_factor and vm.percpu_pagelist_high_fraction are not negative, vm.stat_interval is positive",
        ),
        (policy.pool < 0 or policy.time_scale < 0, "pool and time_scale are not negative"),
        (policy.tries < 1, "tries is at least 1"),
        (
            machine.defrag_mode and not machine.profile.defrag_mode,
            f"Linux {machine.profile.name} has no defrag_mode",
        ),
    ]
    for wrong, text in [*problems, *_zone_problems(machine)]:
        if wrong:
            raise KevacuateError(f"This machine cannot be modelled: {text}; change its description.")
    for wrong, text in _region_problems(machine, policy.regions):
        if wrong:
            raise KevacuateError(f"This policy cannot go by regions here: {text}; change its knobs.")


def _zone_problems(machine: MachineConfig) -> Iterator[tuple[bool, str]]:
    """What may be wrong with zones and their nodes: whether it is, and what."""
    owner: dict[int, int] = {}
    nodes = [*machine.cpu_node, *(zone.node for zone in machine.zones)]
    yield min(nodes, default=0) < 0, "nodes are numbered from 0"
    for i, zone in enumerate(machine.zones):
        bad = not 0 <= zone.start_pfn < zone.end_pfn <= machine.npages or not 0 <= zone.index <= 3
        yield bad, f"zone {i} spans pfns {zone.start_pfn} to {zone.end_pfn} of {machine.npages}"
        pages = (*zone.watermark, *zone.lowmem_reserve, zone.managed or 0)
        yield (
            not all(0 <= number < 1 << 31 for number in pages),
            f"zone {i} has a mark or reserve that is no number of pages",
        )
        first, last = zone.start_pfn >> machine.pageblock_order, (zone.end_pfn - 1) >> machine.pageblock_order
        shared = owner.get(first, i) != i or owner.get(last, i) != i
        yield shared, f"zone {i} shares a pageblock with another zone"
        owner[first] = owner[last] = i


def _zonelist(machine: MachineConfig, node: int) -> list[int]:
    """The zones that a node allocates from: its own first, then by distance."""
    nodes, zones = machine.nodes, machine.zones

    def rank(other: int) -> tuple[int, int]:
        near = machine.distance[node][other] if machine.distance else (10 if other == node else 20)
        return (near if other != node else -1), (other - node) % nodes

    return sorted(range(len(zones)), key=lambda z: (rank(zones[z].node), -zones[z].index))


def _set_profile(cfg: Config, machine: MachineConfig) -> None:
    """The kernel profile's fields."""
    profile = machine.profile
    cfg.steal_suitable = profile.fallback == "steal_suitable"
    cfg.refuse_highatomic = profile.claim_refuses_highatomic
    cfg.merge_retypes = profile.merge_retypes
    cfg.free_piece_order = machine.pageblock_order if profile.split_by_block else machine.max_page_order
    cfg.split_by_block = profile.split_by_block
    cfg.pcp_type_cached = profile.pcp_type == "cached"
    cfg.pcp_type_base = 2 * (cfg.npages >> machine.pageblock_order)
    cfg.pcp_fixed = profile.pcp_tuning == "fixed"
    cfg.sub_batches = profile.pcp_tuning == "sub_batches"
    cfg.free_high_shift = 1 if profile.pcp_tuning == "sub_batches" else 31
    cfg.below_high = profile.below_high
    cfg.decay = profile.decay
    cfg.free_highatomic = profile.free_highatomic
    cfg.reserve_any_path = profile.reserve_point == "get_page_from_freelist"
    cfg.reserve_one_more = profile.reserve_size == "hundredth_and_block"
    cfg.isolate_type = profile.isolate == "type"
    cfg.skip_awake = profile.skip_awake_nodes and machine.nodes > 1
    cfg.boost_wakes_all = profile.boost_wakes_all
    cfg.lists_follow_blocks = profile.lists_follow_blocks


NOT_COPIED = {
    "npages", "zones", "cpu_node", "distance", "pcp_high_fraction", "free_high_batch", "vmstat_phase_ns", "stat_interval_ns",
    "kswapd_wake_ns", "kswapd_run_ns", "dirty_expire_ns", "zram_bytes", "profile", "wq", "claims", "ready", "objects", "regions",
}  # fmt: skip
"""Fields of descriptions that reach the state by other ways than under their own name in ``cfg``."""


def _copy_named(
    cfg: Config, description: MachineConfig | EvacuationConfig | RegionConfig | StateOptions
) -> None:
    """Copy the description's fields to those of the same name.

    Raises LookupError for a field that ``cfg`` lacks and :data:`NOT_COPIED` does not name: the model would never see it.
    """
    for one in dataclass_fields(description):
        if one.name in NOT_COPIED:
            continue
        if one.name not in Config.FIELDS:
            where = f"{type(description).__name__}.{one.name}"
            raise LookupError(
                f"{where} is neither a field of Config nor in NOT_COPIED: the model would not see it."
            )
        setattr(cfg, one.name, getattr(description, one.name))


def _set_config(cfg: Config, machine: MachineConfig, policy: EvacuationConfig, options: StateOptions) -> None:
    """``cfg``: what bears the same name in a description, then the rest."""
    for description in (machine, policy, policy.regions, options):
        _copy_named(cfg, description)
    chunk = 1 << machine.max_page_order
    cfg.npages = (machine.npages + chunk - 1) // chunk * chunk
    cfg.npages_real = machine.npages
    cfg.nr_zones, cfg.nr_cpus, cfg.nr_nodes = len(machine.zones), len(machine.cpu_node), machine.nodes
    cfg.stat_interval, cfg.vmstat_phase = machine.stat_interval_ns, machine.vmstat_phase_ns
    cfg.dirty_expire = machine.dirty_expire_ns
    cfg.kswapd_wake, cfg.kswapd_run = machine.kswapd_wake_ns, machine.kswapd_run_ns
    cfg.per_node = policy.wq == "per_node"
    cfg.claims = CLAIM_TYPES[policy.claims]
    cfg.notes_slab = policy.regions.region_shrink  # or a policy's file says so
    cfg.nr_workers = cfg.nr_nodes if cfg.per_node else cfg.nr_cpus
    cfg.compaction_hpage_order = machine.hpage_pmd_order if machine.hpage_pmd_order >= 0 else k.PMD_ORDER
    cfg.nr_pcp_lists = k.NR_PCP_LISTS if machine.hpage_pmd_order >= 0 else k.NR_PCP_LISTS - 2
    cfg.pcp_base = cfg.npages + cfg.nr_zones * k.LISTS_PER_ZONE
    _set_lru(cfg, machine, options.objects)
    cfg.contig_cc = cfg.nr_nodes + 1 - cfg.open_loop
    cfg.evacuated_parts = (3 * cfg.nr_nodes + 5) << cfg.pageblock_order
    _set_profile(cfg, machine)
    _set_zram(cfg, machine)
    _set_watchers(cfg, machine, policy.regions)


def _set_lru(cfg: Config, machine: MachineConfig, objects: int) -> None:
    """Where what stands in ``lru``. In open loop there are no lists, so no generations."""
    cfg.lru_gen = machine.lru_gen and not machine.open_loop
    cfg.lru_gen_heads = k.LRU_HEADS + cfg.nr_cpus * k.LRU_BATCH
    cfg.lru_first = cfg.lru_gen_heads + cfg.lru_gen * cfg.nr_nodes * k.NR_GEN_LISTS
    cfg.lru_gen_words = 2 * (cfg.lru_first + objects)


def zspage_shape(size: int) -> tuple[int, int]:
    """(pages, objects) of a zspage of the class in which *size* bytes are stored (mm/zsmalloc.c:474, :2043 at 7.2).

    The chain is that which wastes least, of at most ZS_MAX_PAGES_PER_ZSPAGE pages.
    """
    steps = -(-max(size + k.ZS_HANDLE_SIZE - k.ZS_MIN_ALLOC_SIZE, 0) // k.ZS_SIZE_CLASS_DELTA)
    size = min(k.ZS_MIN_ALLOC_SIZE + steps * k.ZS_SIZE_CLASS_DELTA, k.PAGE_SIZE)
    chain = 1
    if size & (size - 1):
        chain = min(range(1, k.ZS_MAX_PAGES_PER_ZSPAGE + 1), key=lambda pages: pages * k.PAGE_SIZE % size)
    return chain, chain * k.PAGE_SIZE // size


def _set_zram(cfg: Config, machine: MachineConfig) -> None:
    """The one size class of the zram device, and room for as many zspages as there may be."""
    cfg.zs_chain = cfg.zs_objs = cfg.nr_zspages = cfg.zs_heads = 0
    if not cfg.swap_pages:
        return
    cfg.zs_chain, cfg.zs_objs = zspage_shape(machine.zram_bytes)
    cfg.nr_zspages = max(min(cfg.swap_pages, cfg.npages // cfg.zs_chain), 1)
    cfg.zs_heads = cfg.swap_pages + cfg.nr_zspages


def zspage_ids(cfg: Config) -> int:
    """Ids that the pages of all zspages take in the table of objects."""
    return cfg.nr_zspages * cfg.zs_chain


def _new_swap(cfg: Config) -> Int64Array:
    """Free slots and zspages, each on its stack, the first on top; lists of zspages without any."""
    if not cfg.swap_pages:
        return SwapRecord.new(0)
    swap = SwapRecord.new(cfg.zs_heads + k.NR_ZS_FULLNESS)
    table = SwapRecord.table(swap)
    table["obj"][:] = table["prev"][:] = -1
    table["due"][:] = k.NEVER
    table["next"][:] = np.arange(len(table["next"])) + 1
    table["next"][[cfg.swap_pages - 1, cfg.zs_heads - 1]] = -1
    heads = np.arange(cfg.zs_heads, len(table["next"]))
    table["next"][cfg.zs_heads :] = table["prev"][cfg.zs_heads :] = heads
    return swap


def _set_watchers(cfg: Config, machine: MachineConfig, regions: RegionConfig) -> None:
    """The regions' numbers, and which parts of the model somebody looks at."""
    order = cfg.region_order = regions.order_on(cfg.npages, machine.max_page_order)
    cfg.list_watch = (1 if cfg.log_level >= 3 else 0) | (2 if order else 0)
    cfg.pcp_notes = int(bool(cfg.pcp_type_cached or order))
    cfg.commit_noted = int(bool(cfg.pcp_fixed or order))
    cfg.hooks = k.REGIONS if order else 0
    cfg.nofragment_kept = int(cfg.defrag_mode or cfg.region_nofragment_kept)
    cfg.nofragment_apart = int(not cfg.zone_dma32 or cfg.defrag_mode or not cfg.region_cheap_taints)
    cfg.region_link = cfg.pcp_base + cfg.nr_zones * cfg.nr_cpus * k.PCP_LISTS if cfg.region_passes else 0
    cfg.region_note = cfg.pcp_type_base + (cfg.npages if cfg.pcp_type_cached else 0)
    number = 0
    for z, zone in enumerate(machine.zones if order else ()):
        cfg.region_first[z] = number - (zone.start_pfn >> order)
        number += nr_regions(zone.start_pfn, zone.end_pfn, order)
    cfg.nr_regions = number


def _set_node(s: View, machine: MachineConfig, policy: EvacuationConfig, node: int) -> None:
    """A node with nothing to do, and its kcompactd's compact_control."""
    pgdat, cfg = s.node[node], s.cfg
    pgdat.cpu = machine.cpu_node.index(node) if node in machine.cpu_node else 0
    zonelist = _zonelist(machine, node)
    pgdat.nr_zonelist = len(zonelist)
    for i, z in enumerate(zonelist):
        pgdat.zonelist[i] = z
    pgdat.evacuate_ready = policy.ready is None or policy.ready[node]
    pgdat.evacuate_pending = pgdat.kswapd_highest_zoneidx = -1
    pgdat.kswapd_due = pgdat.shrink_due = k.NEVER
    pgdat.kswapd_run_highest_zoneidx = pgdat.kcompactd_highest_zoneidx = k.ZONE_MOVABLE
    pgdat.kcompactd_due = k.KCOMPACTD_NS if cfg.compaction and cfg.compaction_proactiveness else k.NEVER
    _set_kcompactd(s, node)


def _set_kcompactd(s: View, node: int) -> None:
    """The compact_control of a node's kcompactd: for GFP_KERNEL, light."""
    cc, cfg = s.cc[node], s.cfg
    cc.sources = node * (2 << cfg.pageblock_order)
    cc.targets = cc.sources + (1 << cfg.pageblock_order)
    cc.parts = (2 * cfg.nr_nodes + 5 + node) << cfg.pageblock_order
    cc.freepages = k.FREEPAGES
    cc.mode = k.MIGRATE_SYNC_LIGHT
    cc.gfp_mask = k.GFP_KERNEL
    cc.migratetype = k.MIGRATE_UNMOVABLE
    cc.as_first = cfg.open_loop


def _set_direct_compaction(s: View) -> None:
    """What direct compactions share in a closed loop: a compact_control behind the nodes', and room for their lists."""
    cfg = s.cfg
    cc = s.cc[cfg.nr_nodes]
    s.stat.capture_zone = s.stat.captured_pfn = -1
    cc.direct_compaction = 1
    cc.freepages = k.FREEPAGES_DIRECT
    block = 1 << cfg.pageblock_order
    cc.sources = cfg.nr_nodes * 2 * block
    cc.targets = cc.sources + block
    cc.unmapped = cc.targets + block
    cc.failures = cc.unmapped + block
    cc.parts = cc.failures + block


def contig_lists(machine: MachineConfig) -> int:
    """Index in ``folios`` of contiguous allocation's lists: behind those of compactions and evacuations."""
    direct = 0 if machine.open_loop else 1
    return (machine.nodes * (2 + direct) + direct * 7) << machine.pageblock_order


def contig_folios(machine: MachineConfig) -> int:
    """Most folios of such a list: less than COMPACT_CLUSTER_MAX pages, and the largest folio, all of them split."""
    return k.COMPACT_CLUSTER_MAX + (1 << machine.max_page_order)


def _set_contig(s: View, machine: MachineConfig) -> None:
    """The compact_control of contiguous allocation, the last one but a policy's, and room for its lists."""
    cc, most = s.cc[s.cfg.contig_cc], contig_folios(machine)
    cc.order, cc.mode = -1, k.MIGRATE_SYNC
    cc.sources = contig_lists(machine)
    cc.targets, cc.unmapped, cc.failures, cc.parts = (cc.sources + i * most for i in range(1, 5))


def _set_zone(zone: Zone, config: ZoneConfig) -> None:
    """A zone with nothing free yet."""
    zone.node, zone.index = config.node, config.index
    zone.zone_start_pfn, zone.zone_end_pfn = config.start_pfn, config.end_pfn
    zone.managed_pages = zone.present_pages = config.managed_pages
    for i in range(4):
        zone.watermark[i], zone.lowmem_reserve[i] = config.watermark[i], config.lowmem_reserve[i]


def _set_records(s: View, machine: MachineConfig, policy: EvacuationConfig) -> None:
    """Every record but ``cfg`` and ``pcp``, as it is before anything has happened."""
    s.stat.evacuate_freelist = s.stat.evacuate_waiting = s.stat.capture_order = -1
    s.stat.flush_due = s.cfg.dirty_expire
    s.stat.policy_due = s.stat.swap_due = k.NEVER
    s.stat.swap_first = s.stat.swap_last = s.stat.swap_free = s.stat.zspage_free = -1
    if s.cfg.swap_pages:
        s.stat.nr_swap_pages, s.stat.swap_free, s.stat.zspage_free = s.cfg.swap_pages, 0, s.cfg.swap_pages
    for node in range(s.cfg.nr_nodes):
        s.sc[node].kswapd = 1
    for node in range(s.cfg.nr_nodes):
        s.node[node].max_seq = k.MIN_NR_GENS + 1  # lru_gen_init_lruvec
        _set_node(s, machine, policy, node)
    if not s.cfg.open_loop:
        _set_direct_compaction(s)
    _set_contig(s, machine)
    for zone, config in zip(s.zone, machine.zones, strict=True):
        _set_zone(zone, config)
    for worker in s.worker:
        worker.due = k.NEVER
        worker.item = worker.head = worker.tail = -1
    for number, cpu in enumerate(s.cpu):
        cpu.node = machine.cpu_node[number]
        tick = s.cfg.vmstat_phase + number * 12_000_000
        cpu.vmstat_due = tick if tick > 0 else tick + s.cfg.stat_interval


def set_pcp_bounds(state: State, machine: MachineConfig) -> None:
    """Recompute batch, high_min and high_max of every per-CPU list set from the zones' marks and sizes."""
    cpus = len(machine.cpu_node)
    fixed = machine.profile.pcp_tuning == "fixed"
    for z, zone in enumerate(state.view.zone):
        low = zone.watermark[k.WMARK_LOW] + zone.watermark_boost
        local = machine.cpu_node.count(zone.node) or cpus
        batch = zone_batchsize(zone.managed_pages)
        high_min, high_max = pcp_high_bounds(zone.managed_pages, low, batch, local, machine.pcp_high_fraction)
        for cpu in range(cpus):
            pcp = state.view.pcp[z * cpus + cpu]
            pcp.batch, pcp.high_min, pcp.high_max = batch, high_min, high_min if fixed else high_max
            if fixed:
                pcp.high = high_min


def _new_link(cfg: Config) -> Int32Array:
    """Pages on no list, and empty lists: the zones', the CPUs', and where regions have their own a node a page and theirs."""
    lists = cfg.nr_zones * k.LISTS_PER_ZONE + cfg.nr_zones * cfg.nr_cpus * k.PCP_LISTS
    own = cfg.npages + cfg.nr_regions * k.LISTS_PER_ZONE if cfg.region_link else 0
    link = np.repeat(np.arange(cfg.npages + lists + own, dtype=np.int32), 2)
    link[: 2 * cfg.npages] = -1
    return link


def _page_notes(cfg: Config) -> UInt8Array:
    """Room for what is noted of every page: its type on a per-CPU list where the kernel notes that, what it was taken for."""
    return np.zeros(cfg.npages * (bool(cfg.pcp_type_cached) + bool(cfg.region_order)), np.uint8)


def _new_regions(cfg: Config, machine: MachineConfig) -> Int64Array:
    """Regions without pages, on no list, and heads of empty lists behind them."""
    if not cfg.region_order:
        return Region.new(0)
    heads = 2 * k.NR_FULLNESS * cfg.nr_zones
    regions = Region.new(cfg.nr_regions + heads)
    table = Region.table(regions)
    table["next"][:] = table["prev"][:] = np.arange(len(table["next"]))
    table["fullness"][:] = -1
    number = 0
    for z, zone in enumerate(machine.zones):
        for own in range(nr_regions(zone.start_pfn, zone.end_pfn, cfg.region_order)):
            start, end = region_span(own, zone.start_pfn, zone.end_pfn, cfg.region_order)
            blocks = ((end - 1) >> cfg.pageblock_order) - (start >> cfg.pageblock_order) + 1
            table["zone"][number], table["start_pfn"][number], table["end_pfn"][number] = z, start, end
            table["total"][number] = table["nr_reserved"][number] = blocks
            number += 1
    return regions


def _new_lru(cfg: Config, objects: int) -> Int32Array:
    """Empty LRU lists and batches, and room for so many objects; nothing in open loop."""
    if cfg.open_loop:
        return np.zeros(0, np.int32)
    lru = np.zeros(cfg.lru_gen_words + cfg.lru_gen * objects, np.int32)
    lru[: 2 * k.LRU_HEADS] = np.repeat(np.arange(k.LRU_HEADS, dtype=np.int32), 2)
    first, end = cfg.lru_gen_heads, cfg.lru_first
    lru[2 * first : 2 * end] = np.repeat(np.arange(first, end, dtype=np.int32), 2)
    return lru


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
    config = Config.new()
    cfg = Config(config.data)
    _set_config(cfg, machine, policy, options)
    direct = 0 if machine.open_loop else 1
    npages, zones, cpus, nodes = cfg.npages, cfg.nr_zones, cfg.nr_cpus, cfg.nr_nodes
    link = _new_link(cfg)
    block = np.empty((npages >> machine.pageblock_order, 2), np.uint8)
    block[:, 0], block[:, 1] = k.MIGRATE_MOVABLE, k.NO_ZONE
    for z, its in enumerate(machine.zones):
        last = (its.end_pfn - 1) >> machine.pageblock_order
        block[its.start_pfn >> machine.pageblock_order : last + 1, 1] = z
    state = State(
        link=link,
        meta=np.full(npages, k.CHUNK_RESERVED << 4, np.uint8),
        block=np.concatenate([block.reshape(-1), _page_notes(cfg)]),
        zone=Zone.new(zones),
        pcp=PerCpuPages.new(zones * cpus),
        cfg=config,
        stat=Counters.new(),
        node=Node.new(nodes),
        cpu=Cpu.new(cpus),
        worker=Worker.new(cfg.nr_workers),
        item=EvacuateItem.new(cfg.pool + (npages >> machine.pageblock_order if cfg.wait_for_item else 0)),
        cc=CompactControl.new(nodes + direct + 1),
        folios=np.zeros(contig_lists(machine) + 5 * contig_folios(machine), np.int64),
        log=LogRecord.new(options.log_capacity),
        obj=np.full(max(options.objects, 1), -1, np.int32),
        slow=SlowPath.new(),
        lru=_new_lru(cfg, max(options.objects, 1)),
        sc=ScanControl.new(nodes + 1),
        region=_new_regions(cfg, machine),
        pageblock=PageblockContent.new(npages >> machine.pageblock_order if cfg.region_order else 0),
        swap=_new_swap(cfg),
        mapping=np.zeros(0, np.int32),
    )
    _set_records(state.view, machine, policy)
    set_pcp_bounds(state, machine)
    if machine.free_high_batch:
        PerCpuPages.table(state.pcp)["flags"] |= k.PCPF_FREE_HIGH_BATCH
    return state


def policy_words(state: State) -> Int64Array:
    """What a policy of hooks keeps, to read and to write: words behind the counters; none under other policies."""
    return state.stat[Counters.STRIDE :]


def with_policy_words(state: State, words: list[int]) -> State:
    """The same state with so many words for a policy; the other arrays are shared."""
    counters = state.stat[: Counters.STRIDE]
    return state._replace(stat=np.concatenate([counters, np.array(words, np.int64)]))


def with_policy_worker(state: State) -> State:
    """The same state with what a policy's worker has of its own; the other arrays are shared.

    It has the last worker's record, the last compact_control, and in ``folios`` room for that's lists.
    """
    view, block = state.view, 1 << state.view.cfg.pageblock_order
    state = state._replace(
        worker=np.concatenate([state.worker, Worker.new()]),
        cc=np.concatenate([state.cc, CompactControl.new()]),
        folios=np.concatenate([state.folios, np.zeros(5 * block, np.int64)]),
    )
    own = state.view
    own.worker[view.cfg.nr_workers].due = k.NEVER
    own.worker[view.cfg.nr_workers].item = -1
    cc = own.cc[view.cfg.contig_cc + 1]
    cc.direct_compaction = 1
    cc.mode, cc.gfp_mask, cc.migratetype = k.MIGRATE_SYNC_LIGHT, k.GFP_KERNEL, k.MIGRATE_MOVABLE
    cc.freepages = k.FREEPAGES_DIRECT
    cc.sources = state.folios.size - 5 * block
    cc.targets, cc.unmapped, cc.failures, cc.parts = (cc.sources + i * block for i in range(1, 5))
    return state


def log_table(state: State) -> Int64Array:
    """The log's records, int64[records, 8], in the order of :class:`~kevacuate.mm.fields.LogRecord`'s fields; no copy."""
    view = state.view
    kept = min(view.stat.nr_log, view.cfg.log_capacity)
    return state.log[: kept * LogRecord.STRIDE].reshape(-1, LogRecord.STRIDE)


def grow_objects(state: State, size: int) -> State:
    """The same state with room for *size* objects, or for twice as many as now; the other arrays are shared."""
    return state if size <= state.obj.size else with_objects(state, max(size, 2 * state.obj.size))


def with_objects(state: State, size: int) -> State:
    """The same state with room for exactly *size* objects, more than now; the other arrays but ``cfg`` are shared."""
    obj: Any = np.full(size, -1, np.int32)
    obj[: state.obj.size] = state.obj
    if not state.lru.size:
        return state._replace(obj=obj)
    state = state._replace(cfg=state.cfg.copy())
    cfg = state.view.cfg
    lru = np.zeros(state.lru.size + (2 + cfg.lru_gen) * (obj.size - state.obj.size), np.int32)
    links = cfg.lru_gen_words
    cfg.lru_gen_words = 2 * (cfg.lru_first + size)
    lru[:links] = state.lru[:links]
    lru[cfg.lru_gen_words :][: state.lru.size - links] = state.lru[links:]
    return state._replace(obj=obj, lru=lru)


def state_bytes(state: State) -> dict[str, int]:
    """Bytes per array, by name."""
    return {name: int(getattr(state, name).nbytes) for name in State._fields}
